//! A machine made of tables, for tests.

use crate::host::{DirEntry, Family, Host, SystemError, User};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Knows what the tables say and nothing else.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeHost {
    pub(crate) files: HashMap<PathBuf, Vec<u8>>,
    pub(crate) directories: HashMap<PathBuf, Vec<DirEntry>>,
    pub(crate) links: HashMap<PathBuf, PathBuf>,
    pub(crate) programs: HashSet<PathBuf>,
    pub(crate) users: Vec<User>,
    pub(crate) group_numbers: HashMap<String, u32>,
    pub(crate) services: HashMap<(String, String), u16>,
    pub(crate) names: HashMap<String, Vec<IpAddr>>,
    pub(crate) networks: HashMap<String, u32>,
    pub(crate) variables: HashMap<String, String>,
    pub(crate) rules: bool,
}

fn missing() -> SystemError {
    SystemError { number: 2, text: "No such file or directory".to_owned() }
}

impl FakeHost {
    /// A small Debian: root, nobody and ctf; a few services and programs.
    pub(crate) fn debian() -> Self {
        let mut host = Self::default();
        for (name, id) in [("root", 0), ("nobody", 65534), ("ctf", 1000)] {
            host.users.push(User { name: name.to_owned(), uid: id, gid: id });
            host.group_numbers.insert(name.to_owned(), id);
        }
        for (name, protocol, port) in [
            ("echo", "tcp", 7),
            ("echo", "udp", 7),
            ("daytime", "tcp", 13),
            ("chargen", "udp", 19),
            ("ftp", "tcp", 21),
            ("telnet", "tcp", 23),
            ("tftp", "udp", 69),
            ("auth", "tcp", 113),
        ] {
            host.services.insert((name.to_owned(), protocol.to_owned()), port);
        }
        host.programs.extend(["/bin/sh", "/usr/sbin/in.telnetd", "/usr/sbin/in.tftpd"].map(PathBuf::from));
        host.directories.insert("/var/log".into(), Vec::new());
        host.names.insert("localhost".into(), vec!["127.0.0.1".parse().unwrap()]);
        host.names
            .insert("two.example".into(), ["192.0.2.1", "2001:db8::1"].map(|a| a.parse().unwrap()).into());
        host.variables.extend([("PATH", "/bin"), ("HOME", "/")].map(|(k, v)| (k.to_owned(), v.to_owned())));
        host
    }

    pub(crate) fn file(&mut self, path: &str, text: impl AsRef<[u8]>) {
        self.files.insert(path.into(), text.as_ref().to_vec());
    }

    pub(crate) fn directory(&mut self, path: &str, names: &[(&str, bool)]) {
        let entry = |&(name, regular): &(&str, bool)| DirEntry { name: name.as_bytes().to_vec(), regular };
        self.directories.insert(path.into(), names.iter().map(entry).collect());
    }
}

impl Host for FakeHost {
    fn read(&self, path: &Path) -> Result<Vec<u8>, SystemError> {
        self.files.get(path).cloned().ok_or_else(missing)
    }
    fn directory(&self, path: &Path) -> Result<Vec<DirEntry>, SystemError> {
        self.directories.get(path).cloned().ok_or_else(missing)
    }
    fn link(&self, path: &Path) -> Option<PathBuf> {
        self.links.get(path).cloned()
    }
    fn executable(&self, path: &Path) -> Result<(), SystemError> {
        if self.programs.contains(path) { Ok(()) } else { Err(missing()) }
    }
    fn user(&self, name: &str) -> Option<User> {
        self.users.iter().find(|user| user.name == name).cloned()
    }
    fn user_by_id(&self, uid: u32) -> Option<User> {
        self.users.iter().find(|user| user.uid == uid).cloned()
    }
    fn group(&self, name: &str) -> Option<u32> {
        self.group_numbers.get(name).copied()
    }
    fn groups_of(&self, user: &str, primary: u32) -> Option<Vec<u32>> {
        self.user(user).map(|_| vec![primary, 100])
    }
    fn service_port(&self, name: &str, protocol: &str) -> Option<u16> {
        self.services.get(&(name.to_owned(), protocol.to_owned())).copied()
    }
    fn protocol(&self, name: &str) -> Option<i32> {
        [("tcp", 6), ("udp", 17), ("icmp", 1)]
            .into_iter()
            .find(|(known, _)| *known == name)
            .map(|(_, number)| number)
    }
    fn rpc_number(&self, name: &str) -> Option<u32> {
        (name == "rstatd").then_some(100_001)
    }
    fn addresses(&self, name: &str, family: Family) -> Vec<IpAddr> {
        let wanted = |address: &IpAddr| match family {
            Family::Any => true,
            Family::V4 => address.is_ipv4(),
            Family::V6 => address.is_ipv6(),
        };
        self.names.get(&name.to_ascii_lowercase()).into_iter().flatten().copied().filter(wanted).collect()
    }
    fn network(&self, name: &str) -> Option<u32> {
        self.networks.get(name).copied()
    }
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }
    fn hosts_tables_active(&self) -> bool {
        self.rules
    }
}

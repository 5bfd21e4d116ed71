//! Fuzz targets for what root and the workers read, and the machine they are read on: its files come from the input, everything else from
//! small tables.
#![forbid(unsafe_code)]

#[path = "../../crates/tls/src/der.rs"]
mod der; // where the certificates of the target look for it
mod protocol {
    //! What the reader of packets takes from the messages.
    pub use crate::scan_kind::ScanKind;
}
#[path = "../../crates/workers/src/protocol/scan_kind.rs"]
#[allow(dead_code, reason = "sets of kinds are the tracker's")]
mod scan_kind;
pub mod tables;
pub mod targets;
mod units;

pub use units::Units;

use portreeve_conf::{DirEntry, Family, Host, SystemError, User};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

/// The main file of every target.
pub const MAIN: &str = "/etc/xinetd.conf";

/// A machine whose files are the parts of the input: the main one, then `/etc/d/a`, `/etc/d/b`, `/etc/d/c`.
pub struct Machine<'a> {
    files: Vec<&'a [u8]>,
}

impl<'a> Machine<'a> {
    /// Cuts the input into files at the byte 0xff, which no text holds.
    pub fn new(input: &'a [u8]) -> Self {
        Self { files: input.split(|&byte| byte == 0xff).take(4).collect() }
    }
}

const INCLUDED: [&str; 3] = ["/etc/d/a", "/etc/d/b", "/etc/d/c"];

fn missing() -> SystemError {
    SystemError { number: 2, text: "No such file or directory".to_owned() }
}

impl Host for Machine<'_> {
    fn read(&self, path: &Path) -> Result<Vec<u8>, SystemError> {
        let names = std::iter::once(MAIN).chain(INCLUDED);
        let found = names.zip(&self.files).find(|(name, _)| Path::new(name) == path);
        found.map(|(_, bytes)| bytes.to_vec()).ok_or_else(missing)
    }
    fn directory(&self, path: &Path) -> Result<Vec<DirEntry>, SystemError> {
        if path != Path::new("/etc/d") {
            return Err(missing());
        }
        let names = ["c", "a", "b", "x.conf", "y~", "sub"];
        Ok(names.map(|name| DirEntry { name: name.into(), regular: name != "sub" }).into())
    }
    fn executable(&self, path: &Path) -> Result<(), SystemError> {
        if path.starts_with("/bin") { Ok(()) } else { Err(missing()) }
    }
    fn user(&self, name: &str) -> Option<User> {
        (name == "root").then(|| User { name: name.to_owned(), uid: 0, gid: 0 })
    }
    fn user_by_id(&self, uid: u32) -> Option<User> {
        (uid == 0).then(|| User { name: "root".to_owned(), uid, gid: 0 })
    }
    fn group(&self, name: &str) -> Option<u32> {
        (name == "root").then_some(0)
    }
    fn groups_of(&self, _: &str, primary: u32) -> Option<Vec<u32>> {
        Some(vec![primary])
    }
    fn service_port(&self, name: &str, protocol: &str) -> Option<u16> {
        let tcp = [("echo", 7), ("telnet", 23), ("auth", 113)];
        tcp.into_iter().find(|(known, _)| *known == name && protocol == "tcp").map(|(_, port)| port)
    }
    fn protocol(&self, name: &str) -> Option<i32> {
        [("tcp", 6), ("udp", 17), ("icmp", 1)].into_iter().find(|(known, _)| *known == name).map(|(_, n)| n)
    }
    fn rpc_number(&self, name: &str) -> Option<u32> {
        (name == "rstatd").then_some(100_001)
    }
    fn addresses(&self, name: &str, family: Family) -> Vec<IpAddr> {
        let all = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        let wanted = |address: &IpAddr| match family {
            Family::Any => true,
            Family::V4 => address.is_ipv4(),
            Family::V6 => address.is_ipv6(),
        };
        // Names that start with a letter of the first half of the alphabet resolve.
        let known = name.starts_with(|c: char| c.is_ascii_lowercase() && c < 'n');
        all.into_iter().filter(|address| known && wanted(address)).collect()
    }
    fn network(&self, name: &str) -> Option<u32> {
        [("office", 10), ("zone", 0x7f00_0000), ("zero", 0)]
            .into_iter()
            .find(|(n, _)| *n == name)
            .map(|(_, n)| n)
    }
    fn variable(&self, name: &str) -> Option<String> {
        (name == "PATH").then(|| "/bin".to_owned())
    }
    fn hosts_tables_active(&self) -> bool {
        self.files.len() == 4
    }
}

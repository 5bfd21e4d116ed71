//! The examples, and the configuration of the demonstration, are read as they stand: everything in them is served, and
//! the reader has nothing to say about them.

use portreeve::demo::services::{self, Scene};
use portreeve_conf::{DirEntry, Family, Host, Reading, SystemError, User, read};
use portreeve_policy::{
    Arrival, CompiledRules, Facts, HostState, Now, Outcome, Proof, ServiceState, explain,
};
use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A machine that has every user, group and program, and these files.
struct Obliging(BTreeMap<PathBuf, Vec<u8>>);

fn missing() -> SystemError {
    SystemError { number: 2, text: "No such file or directory".into() }
}

impl Host for Obliging {
    fn read(&self, path: &Path) -> Result<Vec<u8>, SystemError> {
        self.0.get(path).cloned().ok_or_else(missing)
    }
    fn directory(&self, path: &Path) -> Result<Vec<DirEntry>, SystemError> {
        let inside = self.0.keys().filter(|file| file.parent() == Some(path));
        let name = |file: &PathBuf| file.file_name().expect("a name").as_encoded_bytes().to_vec();
        let entries: Vec<_> = inside.map(|file| DirEntry { name: name(file), regular: true }).collect();
        if entries.is_empty() && path != Path::new("/dev") { Err(missing()) } else { Ok(entries) }
    }
    fn executable(&self, _: &Path) -> Result<(), SystemError> {
        Ok(())
    }
    fn user(&self, name: &str) -> Option<User> {
        Some(User { name: name.into(), uid: if name == "root" { 0 } else { 1000 }, gid: 1000 })
    }
    fn user_by_id(&self, uid: u32) -> Option<User> {
        Some(User { name: "somebody".into(), uid, gid: uid })
    }
    fn group(&self, _: &str) -> Option<u32> {
        Some(1000)
    }
    fn groups_of(&self, _: &str, primary: u32) -> Option<Vec<u32>> {
        Some(vec![primary])
    }
    fn service_port(&self, name: &str, _: &str) -> Option<u16> {
        match name {
            "rsync" => Some(873),
            "tftp" => Some(69),
            _ => None,
        }
    }
    fn protocol(&self, name: &str) -> Option<i32> {
        match name {
            "tcp" => Some(6),
            "udp" => Some(17),
            _ => None,
        }
    }
    fn rpc_number(&self, _: &str) -> Option<u32> {
        None
    }
    fn addresses(&self, _: &str, _: Family) -> Vec<IpAddr> {
        Vec::new()
    }
    fn network(&self, _: &str) -> Option<u32> {
        None
    }
    fn variable(&self, _: &str) -> Option<String> {
        None
    }
    fn hosts_tables_active(&self) -> bool {
        false
    }
}

fn assert_served_as_written(reading: &Reading, wanted: &[&str]) {
    assert_eq!(reading.fatal, None);
    assert!(reading.diagnostics.is_empty(), "{:#?}", reading.diagnostics);
    assert!(reading.left_out.is_empty(), "{:#?}", reading.left_out);
    let mut ids: Vec<_> = reading.services.iter().map(|service| service.id.as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, wanted);
}

#[test]
fn the_examples_are_served_as_written() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let text = |path: PathBuf| fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut files = BTreeMap::from([(PathBuf::from("/etc/xinetd.conf"), text(examples.join("xinetd.conf")))]);
    for entry in fs::read_dir(examples.join("xinetd.d")).expect("examples/xinetd.d") {
        let entry = entry.expect("entry");
        files.insert(Path::new("/etc/xinetd.d").join(entry.file_name()), text(entry.path()));
    }
    let count = files.len() - 1;
    files.insert("/opt/challenge/busy.txt".into(), b"come back later\n".to_vec());
    let reading = read(&Obliging(files), Path::new("/etc/xinetd.conf"));
    assert_served_as_written(&reading, &["challenge", "check_mk", "mysqlchk", "rsync", "tftp", "tripwire"]);
    assert_eq!(reading.services.len(), count, "each file has one service");
    let sets_limits =
        |id: &str| reading.services.iter().any(|s| s.id == id && s.limits.instances.value == Some(60));
    assert!(sets_limits("mysqlchk"), "the defaults apply");
}

#[test]
fn the_demonstration_shows_what_it_says() {
    let minute = 600;
    let shown = services::all(Scene { user: "somebody", script: Path::new("/tmp/hello"), minute }, &[])
        .expect("ports are free");
    let file = PathBuf::from("/demo/xinetd.conf");
    let text = services::configuration(&shown).into_bytes();
    let reading = read(&Obliging(BTreeMap::from([(file.clone(), text)])), &file);
    assert_served_as_written(&reading, &["daytime", "echo", "elsewhere", "hello", "hours", "tripwire"]);
    for (id, refused_by) in [
        ("hello", None),
        ("echo", None),
        ("daytime", None),
        ("elsewhere", Some("only_from")),
        ("hours", Some("access_times")),
        ("tripwire", Some("sensor")),
    ] {
        let service = reading.services.iter().find(|service| service.id == id).expect(id);
        let rules = CompiledRules::new(portreeve::rules::of(service));
        let arrival = Arrival {
            peer: portreeve_policy::Peer::Inet(([127, 0, 0, 1], 4711).into()),
            proof: Proof::Handshake,
        };
        let now = Now { mono: Duration::from_secs(1), minute };
        let checks =
            explain(&rules, &ServiceState::new(), &HostState::default(), &arrival, &Facts::default(), &now);
        let refusing = checks.iter().find(|check| check.outcome == Outcome::Refuse).map(|check| check.name);
        assert_eq!(refusing, refused_by, "{id}");
    }
}

//! Which user a worker becomes, and that it cannot come back.

use crate::protocol::Worker;
use rustix::thread::{CapabilitySet, CapabilitySets};
use std::io::{self, Read};

/// A user and a group by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// User; never 0.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Ids {
    /// Reads `UID:GID`, as the supervisor writes it on a worker's command line. Root is no one to become.
    pub fn parse(text: &str) -> Option<Self> {
        let (uid, gid) = text.split_once(':')?;
        let ids = Ids { uid: uid.parse().ok()?, gid: gid.parse().ok()? };
        (ids.uid != 0 && ids.gid != 0).then_some(ids)
    }

    /// Numbers for a machine where nobody made users for the workers: one each, from the range that neither
    /// distributions nor systemd's dynamic users hand out, so that they share nothing with any other program.
    fn fixed(worker: Worker) -> Self {
        let number = match worker {
            Worker::Resolver => 61_101,
            Worker::Builtin => 61_102,
            Worker::Proxy => 61_103,
            Worker::Registrar => 61_104,
            Worker::Header => 61_105,
            Worker::Tls => 61_106,
            Worker::Ledger => 61_107,
            Worker::Firewall => 61_108,
            Worker::Sensor => 61_109,
        };
        Ids { uid: number, gid: number }
    }
}

/// Becomes, in this order of preference: the given user, the local user `portreeve-NAME`, the fixed numbers, and where
/// a user namespace maps none of these, nobody.
pub(super) fn leave_root(worker: Worker, ids: Option<Ids>) -> io::Result<()> {
    // Otherwise they all go with the user id.
    rustix::thread::set_keep_capabilities(!kept(worker).is_empty())?;
    if let Some(ids) = ids {
        return portreeve_sys::process::become_user(ids.uid, ids.gid);
    }
    let ids = worker_ids(worker);
    match portreeve_sys::process::become_user(ids.uid, ids.gid) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            portreeve_sys::process::become_user(65_534, 65_534)
        }
        other => other,
    }
}

/// The user that the builtin worker becomes: commands that hosts.allow and hosts.deny order for a built-in service run as
/// that one, as they do in the process that serves it. Reads /etc/passwd.
pub fn builtin_ids() -> Ids {
    worker_ids(Worker::Builtin)
}

/// The user that a worker becomes. Reads /etc/passwd.
pub fn worker_ids(worker: Worker) -> Ids {
    local_user(&format!("portreeve-{}", worker.name())).unwrap_or_else(|| Ids::fixed(worker))
}

/// The user's line of /etc/passwd. Not the name service: that may load plug-ins and ask the network, and this is still
/// root; a package makes its users in the file.
fn local_user(name: &str) -> Option<Ids> {
    let mut text = Vec::new();
    std::fs::File::open("/etc/passwd").ok()?.take(4 << 20).read_to_end(&mut text).ok()?;
    find_user(&String::from_utf8_lossy(&text), name)
}

fn find_user(passwd: &str, name: &str) -> Option<Ids> {
    let line = passwd.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let mut fields = line.split(':').skip(1);
    Ids::parse(&format!("{}:{}", fields.next()?, fields.next()?))
}

/// What a worker keeps of root: nothing, but for the one whose work is the kernel's packet filter.
fn kept(worker: Worker) -> CapabilitySet {
    if worker == Worker::Firewall { CapabilitySet::NET_ADMIN } else { CapabilitySet::empty() }
}

/// Empties every capability set of this thread, the only one, but for what its work needs and it has.
pub(super) fn drop_capabilities(worker: Worker) -> io::Result<()> {
    rustix::thread::clear_ambient_capability_set()?;
    let kept = rustix::thread::capabilities(None)?.permitted & kept(worker);
    let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets)?;
    Ok(rustix::thread::set_keep_capabilities(false)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_strictly() {
        assert_eq!(Ids::parse("12:34"), Some(Ids { uid: 12, gid: 34 }));
        for bad in ["", "12", "12:", ":34", "0:0", "0:5", "5:0", "-1:2", "1:2:3", "1 :2", "4294967296:1"] {
            assert_eq!(Ids::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\n\
                      portreeve-builtin2:x:7:8::/:/bin/false\n\
                      portreeve-builtin:x:901:902::/nonexistent:/usr/sbin/nologin\n\
                      broken:x:\n";
        assert_eq!(find_user(passwd, "portreeve-builtin"), Some(Ids { uid: 901, gid: 902 }));
        assert_eq!(find_user(passwd, "portreeve-resolver"), None);
        assert_eq!(find_user(passwd, "broken"), None);
        assert_eq!(find_user(passwd, "root"), None, "root is never a worker's user");
    }
}

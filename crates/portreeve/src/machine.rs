//! The machine this command runs on, as [`portreeve_conf::Host`] asks for it. Name look-ups may block: this is for
//! commands that a person waits for, never for the supervisor.

use crate::failure::system_text;
use portreeve_conf::{DirEntry, Family, Host, SystemError, User};
use portreeve_sys::names;
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::IpAddr;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// A configuration file that is larger is refused.
const FILE_LIMIT: u64 = 4 << 20;
/// A directory with more entries is refused.
const ENTRY_LIMIT: usize = 65_536;
/// File too large.
const EFBIG: i32 = 27;
/// The tables of TCP Wrappers.
const TABLES: [&str; 2] = ["/etc/hosts.allow", "/etc/hosts.deny"];

/// This machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine;

fn failed(error: &io::Error) -> SystemError {
    SystemError { number: error.raw_os_error().unwrap_or(0), text: system_text(error) }
}

fn too_big() -> SystemError {
    failed(&io::Error::from_raw_os_error(EFBIG))
}

fn known(user: names::User) -> User {
    User { name: user.name, uid: user.uid, gid: user.gid }
}

impl Host for Machine {
    fn read(&self, path: &Path) -> Result<Vec<u8>, SystemError> {
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(|error| failed(&error))?;
        file.take(FILE_LIMIT + 1).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
        if bytes.len() as u64 > FILE_LIMIT { Err(too_big()) } else { Ok(bytes) }
    }

    fn directory(&self, path: &Path) -> Result<Vec<DirEntry>, SystemError> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(path).map_err(|error| failed(&error))? {
            let entry = entry.map_err(|error| failed(&error))?;
            if entries.len() == ENTRY_LIMIT {
                return Err(too_big());
            }
            // Follows symbolic links, as xinetd does; a dangling one is not a regular file.
            let regular = fs::metadata(entry.path()).is_ok_and(|meta| meta.is_file());
            entries.push(DirEntry { name: entry.file_name().into_vec(), regular });
        }
        Ok(entries)
    }

    fn is_directory(&self, path: &Path) -> Result<bool, SystemError> {
        fs::metadata(path).map(|meta| meta.is_dir()).map_err(|error| failed(&error))
    }

    fn link(&self, path: &Path) -> Option<PathBuf> {
        fs::read_link(path).ok()
    }

    fn executable(&self, path: &Path) -> Result<(), SystemError> {
        rustix::fs::access(path, rustix::fs::Access::EXEC_OK).map_err(|errno| failed(&errno.into()))
    }

    fn user(&self, name: &str) -> Option<User> {
        names::user(name).ok().map(known)
    }

    fn user_by_id(&self, uid: u32) -> Option<User> {
        names::user_by_id(uid).ok().map(known)
    }

    fn group(&self, name: &str) -> Option<u32> {
        names::group(name).ok().map(|group| group.gid)
    }

    fn groups_of(&self, user: &str, primary: u32) -> Option<Vec<u32>> {
        names::group_list(user, primary).ok()
    }

    fn service_port(&self, name: &str, protocol: &str) -> Option<u16> {
        names::service_port(name, protocol).ok()
    }

    fn protocol(&self, name: &str) -> Option<i32> {
        // As the daemon: the two that every service names need no database (a container has none).
        match name {
            "tcp" => Some(6),
            "udp" => Some(17),
            _ => names::protocol(name).ok(),
        }
    }

    fn rpc_number(&self, name: &str) -> Option<u32> {
        names::rpc_number(name).ok()
    }

    fn addresses(&self, name: &str, family: Family) -> Vec<IpAddr> {
        let family = match family {
            Family::Any => names::Family::Any,
            Family::V4 => names::Family::V4,
            Family::V6 => names::Family::V6,
        };
        names::addresses(name, family).unwrap_or_default()
    }

    fn network(&self, name: &str) -> Option<u32> {
        names::network(name).ok()
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn hosts_tables_active(&self) -> bool {
        // A table that is there and cannot be read may hold rules.
        TABLES.iter().any(|table| match self.read(Path::new(table)) {
            Ok(bytes) => holds_rule(&bytes),
            Err(error) => error.number != 2,
        })
    }
}

/// Whether a table of TCP Wrappers has a line that is neither empty nor a comment.
fn holds_rule(table: &[u8]) -> bool {
    table.split(|b| *b == b'\n').any(|line| match line.first() {
        None | Some(b'#') => false,
        _ => !line.trim_ascii().is_empty(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_answers_as_the_system_does() {
        let root = Machine.user("root").unwrap();
        assert_eq!((root.uid, root.gid), (0, 0));
        assert_eq!(Machine.user_by_id(0).unwrap().name, "root");
        assert_eq!(Machine.user("no such user"), None);
        assert_eq!(Machine.read(Path::new("/nonexistent")).unwrap_err().text, "No such file or directory");
        assert_eq!(Machine.executable(Path::new("/bin/sh")), Ok(()));
        assert_eq!(Machine.executable(Path::new("/etc/passwd")).unwrap_err().text, "Permission denied");
    }

    #[test]
    fn an_endless_file_is_refused() {
        assert_eq!(Machine.read(Path::new("/dev/zero")).unwrap_err().number, EFBIG);
    }

    #[test]
    fn only_rules_make_a_table_active() {
        for (table, wanted) in [
            (&b""[..], false),
            (b"# ALL: ALL\n\n  \n", false),
            (b"ALL: ALL", true),
            (b"\n# x\nsshd: 192.0.2.", true),
            (b"  # not a comment for tcp_wrappers", true),
        ] {
            assert_eq!(holds_rule(table), wanted, "{table:?}");
        }
    }
}

//! The machine as a conversion sees it: what the source names may live on another one, so users, groups, programs and host
//! names are believed, and no name service is asked. For the conversion itself, sections that are switched off are read to their
//! end, and what each file said is kept for its comments.

use crate::host::{DirEntry, Family, Host, SystemError, User};
use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

/// See the module.
pub(crate) struct Lenient<'a> {
    host: &'a dyn Host,
    /// To judge which services are served: files are as they are, and names that this machine lacks have some number.
    judges: bool,
    /// The files that were read, as they were.
    pub(crate) read: RefCell<Vec<(PathBuf, Vec<u8>)>>,
}

impl<'a> Lenient<'a> {
    pub(crate) fn new(host: &'a dyn Host) -> Self {
        Self { host, judges: false, read: RefCell::default() }
    }

    pub(crate) fn judge(host: &'a dyn Host) -> Self {
        Self { judges: true, ..Self::new(host) }
    }
}

/// A number for a name that this machine does not know, the same each time.
fn invented(name: &str) -> u16 {
    let hash =
        name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    49_152 + u16::try_from(hash % 16_384).unwrap_or(0)
}

/// `disable = yes` becomes a comment of the same length: behind that line xinetd reads nothing of a section.
fn opened(bytes: &[u8]) -> Vec<u8> {
    let mut opened = bytes.to_vec();
    let mut start = 0;
    for line in bytes.split(|byte| *byte == b'\n') {
        let mut words = line.split(|byte| byte.is_ascii_whitespace()).filter(|word| !word.is_empty());
        let mut is =
            |wanted: &str| words.next().is_some_and(|word| word.eq_ignore_ascii_case(wanted.as_bytes()));
        if is("disable")
            && is("=")
            && is("yes")
            && let Some(first) = opened.get_mut(start)
        {
            *first = b'#';
        }
        start += line.len() + 1;
    }
    opened
}

impl Host for Lenient<'_> {
    fn read(&self, path: &Path) -> Result<Vec<u8>, SystemError> {
        let bytes = self.host.read(path)?;
        if self.judges {
            return Ok(bytes);
        }
        let opened = opened(&bytes);
        self.read.borrow_mut().push((path.to_owned(), bytes));
        Ok(opened)
    }
    fn directory(&self, path: &Path) -> Result<Vec<DirEntry>, SystemError> {
        self.host.directory(path)
    }
    fn link(&self, path: &Path) -> Option<PathBuf> {
        self.host.link(path)
    }
    fn is_directory(&self, _: &Path) -> Result<bool, SystemError> {
        // Neither a directory nor missing, as far as anybody here knows.
        Err(SystemError { number: 13, text: "Permission denied".to_owned() })
    }
    fn executable(&self, _: &Path) -> Result<(), SystemError> {
        Ok(())
    }
    fn user(&self, name: &str) -> Option<User> {
        Some(User { name: name.to_owned(), uid: 0, gid: 0 })
    }
    fn user_by_id(&self, uid: u32) -> Option<User> {
        Some(User { name: uid.to_string(), uid, gid: uid })
    }
    fn group(&self, _: &str) -> Option<u32> {
        Some(0)
    }
    fn groups_of(&self, _: &str, primary: u32) -> Option<Vec<u32>> {
        Some(vec![primary])
    }
    fn service_port(&self, name: &str, protocol: &str) -> Option<u16> {
        self.host.service_port(name, protocol).or_else(|| self.judges.then(|| invented(name)))
    }
    fn protocol(&self, name: &str) -> Option<i32> {
        self.host.protocol(name)
    }
    fn rpc_number(&self, name: &str) -> Option<u32> {
        self.host.rpc_number(name).or_else(|| self.judges.then(|| invented(name).into()))
    }
    fn addresses(&self, _: &str, family: Family) -> Vec<IpAddr> {
        vec![match family {
            Family::V6 => Ipv6Addr::LOCALHOST.into(),
            _ => Ipv4Addr::LOCALHOST.into(),
        }]
    }
    fn network(&self, name: &str) -> Option<u32> {
        self.host.network(name)
    }
    fn variable(&self, _: &str) -> Option<String> {
        None
    }
    fn hosts_tables_active(&self) -> bool {
        self.host.hosts_tables_active()
    }
}

#[cfg(test)]
mod tests {
    use super::opened;

    #[test]
    fn only_the_line_that_switches_off_is_put_away() {
        let text =
            b"service a\n{\n\tdisable = yes\n\tDisable  =  YES # x\n\tdisable = no\n\tdisabled = yes\n}\n";
        let opened = opened(text);
        assert_eq!(opened.len(), text.len());
        let kept =
            b"service a\n{\n#disable = yes\n#Disable  =  YES # x\n\tdisable = no\n\tdisabled = yes\n}\n";
        assert_eq!(opened, kept);
    }
}

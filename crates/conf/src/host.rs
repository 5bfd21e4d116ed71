//! What the language asks of the machine it is read on. Every answer is injected, so reading stays pure.

use crate::content::Content;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// An entry of an included directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// Name as bytes; xinetd sorts by bytes.
    pub name: Vec<u8>,
    /// A regular file, or a symbolic link to one.
    pub regular: bool,
}

/// A user of the user database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
}

/// Which family a name is to be resolved in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// Any.
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

/// The errno of a failed call and its text (`No such file or directory`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemError {
    /// errno.
    pub number: i32,
    /// strerror(errno).
    pub text: String,
}

/// The machine as the reader of a configuration sees it. A look-up that has no answer yet (the supervisor asks its
/// resolver worker) returns `None` and is remembered by the implementation, which then has the file read again.
pub trait Host {
    /// The bytes of a file. At most a few MiB are to be returned; more is an error (`EFBIG`).
    fn read(&self, path: &Path) -> Result<Vec<u8>, SystemError>;
    /// The same, to be shared: whoever keeps what was read holds it once.
    fn content(&self, path: &Path) -> Result<Content, SystemError> {
        self.read(path).map(Content::from)
    }
    /// The entries of a directory, in any order, without `.` and `..`.
    fn directory(&self, path: &Path) -> Result<Vec<DirEntry>, SystemError>;
    /// Whether the path is a directory; links are followed. Asked once or twice for each service, so a real machine does not list it.
    fn is_directory(&self, path: &Path) -> Result<bool, SystemError> {
        self.directory(path).map(|_| true)
    }
    /// Where a symbolic link leads, as written in it; `None` for what is none. systemd's aliases are links.
    fn link(&self, _path: &Path) -> Option<PathBuf> {
        None
    }
    /// access(2) with X_OK by the real uid.
    fn executable(&self, path: &Path) -> Result<(), SystemError>;
    /// getpwnam(3).
    fn user(&self, name: &str) -> Option<User>;
    /// getpwuid(3).
    fn user_by_id(&self, uid: u32) -> Option<User>;
    /// getgrnam(3).
    fn group(&self, name: &str) -> Option<u32>;
    /// getgrouplist(3): supplementary groups of a user, the given primary one included.
    fn groups_of(&self, user: &str, primary: u32) -> Option<Vec<u32>>;
    /// getservbyname(3): the port in host order.
    fn service_port(&self, name: &str, protocol: &str) -> Option<u16>;
    /// getprotobyname(3).
    fn protocol(&self, name: &str) -> Option<i32>;
    /// getrpcbyname(3).
    fn rpc_number(&self, name: &str) -> Option<u32>;
    /// getaddrinfo(3) of a host name; empty when it does not resolve.
    fn addresses(&self, name: &str, family: Family) -> Vec<IpAddr>;
    /// getnetbyname(3): the network number in host order as glibc gives it.
    fn network(&self, name: &str) -> Option<u32>;
    /// A variable of the supervisor's own environment.
    fn variable(&self, name: &str) -> Option<String>;
    /// Whether hosts.allow or hosts.deny hold an active rule.
    fn hosts_tables_active(&self) -> bool;
}

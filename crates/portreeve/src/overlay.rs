//! A machine on which one file has other contents: what a configuration will say once the file is written.

use portreeve_conf::{DirEntry, Family, Host, SystemError, User};
use std::net::IpAddr;
use std::path::Path;

/// The machine below, but for one file.
pub struct Overlay<'a> {
    /// The machine.
    pub below: &'a dyn Host,
    /// Whether a path leads to the file, by whatever name.
    pub is_it: &'a dyn Fn(&Path) -> bool,
    /// What the file holds.
    pub contents: &'a [u8],
}

impl Host for Overlay<'_> {
    fn read(&self, path: &Path) -> Result<Vec<u8>, SystemError> {
        if (self.is_it)(path) { Ok(self.contents.to_vec()) } else { self.below.read(path) }
    }
    fn directory(&self, path: &Path) -> Result<Vec<DirEntry>, SystemError> {
        self.below.directory(path)
    }
    fn is_directory(&self, path: &Path) -> Result<bool, SystemError> {
        self.below.is_directory(path)
    }
    fn executable(&self, path: &Path) -> Result<(), SystemError> {
        self.below.executable(path)
    }
    fn user(&self, name: &str) -> Option<User> {
        self.below.user(name)
    }
    fn user_by_id(&self, uid: u32) -> Option<User> {
        self.below.user_by_id(uid)
    }
    fn group(&self, name: &str) -> Option<u32> {
        self.below.group(name)
    }
    fn groups_of(&self, user: &str, primary: u32) -> Option<Vec<u32>> {
        self.below.groups_of(user, primary)
    }
    fn service_port(&self, name: &str, protocol: &str) -> Option<u16> {
        self.below.service_port(name, protocol)
    }
    fn protocol(&self, name: &str) -> Option<i32> {
        self.below.protocol(name)
    }
    fn rpc_number(&self, name: &str) -> Option<u32> {
        self.below.rpc_number(name)
    }
    fn addresses(&self, name: &str, family: Family) -> Vec<IpAddr> {
        self.below.addresses(name, family)
    }
    fn network(&self, name: &str) -> Option<u32> {
        self.below.network(name)
    }
    fn variable(&self, name: &str) -> Option<String> {
        self.below.variable(name)
    }
    fn hosts_tables_active(&self) -> bool {
        self.below.hosts_tables_active()
    }
}

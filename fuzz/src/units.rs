//! A machine with one directory of units, `/u`.

use crate::{Machine, missing};
use portreeve_conf::{DirEntry, Family, Host, SystemError, User};
use std::net::IpAddr;
use std::path::Path;

/// See the module.
pub struct Units {
    files: Vec<(String, Vec<u8>)>,
}

impl Units {
    /// Cuts the input into a socket, the service of its connections, its own service, and a drop-in, at the byte 0xff.
    pub fn new(input: &[u8]) -> Self {
        let names = ["a.socket", "a@.service", "a.service", "a.socket.d/x.conf"];
        let parts = input.split(|&byte| byte == 0xff);
        Self {
            files: names
                .into_iter()
                .zip(parts)
                .map(|(name, part)| (name.to_owned(), part.to_vec()))
                .collect(),
        }
    }

    /// These files.
    pub fn of(files: Vec<(String, String)>) -> Self {
        Self { files: files.into_iter().map(|(name, text)| (name, text.into_bytes())).collect() }
    }
}

impl Host for Units {
    fn read(&self, path: &Path) -> Result<Vec<u8>, SystemError> {
        let found = self.files.iter().find(|(name, _)| Path::new("/u").join(name) == path);
        found.map(|(_, bytes)| bytes.clone()).ok_or_else(missing)
    }
    fn directory(&self, path: &Path) -> Result<Vec<DirEntry>, SystemError> {
        let inside = path.strip_prefix("/u").map_err(|_| missing())?;
        let of = |name: &str| match name.split_once('/') {
            Some((directory, file)) => (Path::new(directory) == inside).then(|| file.to_owned()),
            None => inside.as_os_str().is_empty().then(|| name.to_owned()),
        };
        let names = self.files.iter().filter_map(|(name, _)| of(name));
        Ok(names.map(|name| DirEntry { name: name.into_bytes(), regular: true }).collect())
    }
    fn executable(&self, path: &Path) -> Result<(), SystemError> {
        Machine::new(b"").executable(path)
    }
    fn user(&self, name: &str) -> Option<User> {
        Machine::new(b"").user(name)
    }
    fn user_by_id(&self, uid: u32) -> Option<User> {
        Machine::new(b"").user_by_id(uid)
    }
    fn group(&self, name: &str) -> Option<u32> {
        Machine::new(b"").group(name)
    }
    fn groups_of(&self, _: &str, primary: u32) -> Option<Vec<u32>> {
        Some(vec![primary])
    }
    fn service_port(&self, name: &str, protocol: &str) -> Option<u16> {
        Machine::new(b"").service_port(name, protocol)
    }
    fn protocol(&self, name: &str) -> Option<i32> {
        Machine::new(b"").protocol(name)
    }
    fn rpc_number(&self, name: &str) -> Option<u32> {
        Machine::new(b"").rpc_number(name)
    }
    fn addresses(&self, name: &str, family: Family) -> Vec<IpAddr> {
        Machine::new(b"").addresses(name, family)
    }
    fn network(&self, name: &str) -> Option<u32> {
        Machine::new(b"").network(name)
    }
    fn variable(&self, _: &str) -> Option<String> {
        None
    }
    fn hosts_tables_active(&self) -> bool {
        true
    }
}

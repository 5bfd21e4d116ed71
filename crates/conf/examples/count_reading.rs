//! What reading a configuration costs in instructions; for benches/instructions, which counts what happens in `measured`.
//!
//!   count_reading read    an xinetd.conf of 500 services, from bytes to services
//!
//! Exits with 1 when not all of them are accepted.

use portreeve_conf::{DirEntry, Family, Host, Reading, SystemError, User, read};
use std::fmt::Write;
use std::hint::black_box;
use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;

const SERVICES: usize = 500;

/// A machine that has one file, and whatever the file names.
struct Machine(Vec<u8>);

impl Host for Machine {
    fn read(&self, _: &Path) -> Result<Vec<u8>, SystemError> {
        Ok(self.0.clone())
    }
    fn directory(&self, _: &Path) -> Result<Vec<DirEntry>, SystemError> {
        Err(SystemError { number: 20, text: "Not a directory".to_owned() })
    }
    fn executable(&self, _: &Path) -> Result<(), SystemError> {
        Ok(())
    }
    fn user(&self, name: &str) -> Option<User> {
        Some(User { name: name.to_owned(), uid: 20_000, gid: 20_000 })
    }
    fn user_by_id(&self, _: u32) -> Option<User> {
        None
    }
    fn group(&self, _: &str) -> Option<u32> {
        Some(20_000)
    }
    fn groups_of(&self, _: &str, primary: u32) -> Option<Vec<u32>> {
        Some(vec![primary])
    }
    fn service_port(&self, _: &str, _: &str) -> Option<u16> {
        None
    }
    fn protocol(&self, name: &str) -> Option<i32> {
        (name == "tcp").then_some(6)
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

fn file() -> Vec<u8> {
    let mut text = String::from("defaults\n{\n\tlog_type = SYSLOG daemon info\n\tcps = 50 10\n}\n");
    for number in 0..SERVICES {
        let port = 10_000 + number;
        let _ = write!(
            text,
            "# number {number}\nservice s{number}\n{{\n\ttype = UNLISTED\n\tsocket_type = stream\n\tprotocol = tcp\n\tport = {port}\n\
             \twait = no\n\tuser = nobody\n\tserver = /usr/bin/check\n\tserver_args = -a {number} --long\n\tonly_from = 10.0.0.0/8 \
             192.168.1.0/24 2001:db8::/32\n\tper_source = 10\n\tinstances = 60\n\tdisable = no\n}}\n"
        );
    }
    text.into_bytes()
}

#[inline(never)]
fn measured(machine: &Machine) -> Reading {
    black_box(read(machine, Path::new("/etc/xinetd.conf")))
}

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() != Some("read") {
        return ExitCode::from(2);
    }
    let reading = measured(&Machine(file()));
    ExitCode::from(u8::from(reading.services.len() != SERVICES))
}

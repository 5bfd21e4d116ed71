//! The part of THE table about what a supervisor has found on the machine: files of its own, who a client is, the addresses of names, numbers
//! that nobody has.

use crate::wire::{Bad, Fd, Field, Reader, Writer};
use std::net::IpAddr;
use std::time::Duration;

records! {
    /// A file that we have made.
    FileState {
        /// Device.
        4 dev: u64,
        /// Inode.
        4 ino: u64,
        /// To whom it was given.
        4 owner: Option<u32>,
    }
    /// A client on a unix socket.
    LocalState {
        /// Process.
        4 pid: i32,
        /// User.
        4 uid: u32,
        /// Group.
        4 gid: u32,
    }
    /// A target that is a name.
    TargetNameState {
        /// The name.
        9 host: String,
        /// The port of the target.
        9 port: u16,
        /// The addresses that it has.
        9 addresses: Vec<IpAddr>,
        /// When they were asked for.
        9 last: Duration,
        /// How long they hold since then.
        9 lasts: Duration,
    }
    /// A number that a service has as its user, and that systemd is kept from giving to another.
    DynamicUserState {
        /// The id of the service.
        9 service: String,
        /// Its number.
        9 id: u32,
        /// systemd's file for it, which is locked.
        9 lock: Fd,
    }
}

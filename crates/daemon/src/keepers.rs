//! Who holds our sockets in case we die: the watcher (`run --watch`), and a service manager that has a store for descriptors
//! (systemd's FileDescriptorStoreMax=). Told whenever a listener comes or goes; never waited for. Whoever holds a socket keeps
//! its clients in the queue until the next supervisor asks for its address.

use crate::slot::{Listener, SlotId, State};
use crate::supervisor::Supervisor;
use crate::timers::Alarm;
use crate::watcher::{
    FREE, KEEP, KEEP_MADE, KNOWS, MADE, MOST, NOTICE, STANDS, STANDS_BY, STEPPED_IN, UPGRADE,
};
use portreeve_conf::{Endpoint, Level};
use portreeve_sys::{seqpacket, systemd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use std::fmt::Write;
use std::time::Duration;

/// How long a channel that is full is left alone.
const REST: Duration = Duration::from_millis(20);
/// What names in the store begin with; others there are none of ours.
pub const PREFIX: &str = "portreeve-";

/// Who holds them.
#[derive(Debug, Default)]
pub struct Keepers {
    /// The channel to the watcher.
    pub watcher: Option<OwnedFd>,
    /// The names that the service manager has.
    pub stored: Vec<String>,
    /// As many as a service manager can give back; `None`: not known.
    pub room: Option<u64>,
    /// There are too many, and it was said.
    full: bool,
}

/// systemd gives them back under numbers below the soft limit of what it starts, beside some of its own. It moves each to the next number
/// that is free above its place, and fails where there is none: with half of the numbers there always is.
const BESIDE: u64 = 32;

impl Keepers {
    /// Of a process that was started with this soft limit of descriptors.
    pub fn within(soft: u64) -> Self {
        Self { room: Some((soft / 2).saturating_sub(BESIDE)), ..Self::default() }
    }
}

/// Behind it, of one whose file we have not made: whoever handed it to us has it too, and its file is theirs.
const GIVEN: &str = "given-";

/// Whether the file of a socket that was kept under this name was made by a supervisor, which is to remove it.
pub fn made_here(name: &str) -> bool {
    name == MADE || name.strip_prefix(PREFIX).is_some_and(|rest| !rest.starts_with(GIVEN))
}

/// The name of a socket in the store: what `Spare` knows it by, in the letters that a name may have.
fn name(listener: &Listener, stream: bool) -> String {
    let given = if is_given(listener) { GIVEN } else { "" };
    let kind = if stream { "stream" } else { "dgram" };
    format!("{PREFIX}{given}{kind}-{}", spelled(listener.address().to_string().as_bytes()))
}

/// The longest address that is spelled letter by letter: the service manager takes 255 bytes of a name.
const SPELLED: usize = 200;

/// An address in the letters that a name may have, no two alike: a colon, which it may not have, is `_`; what else is unusual is `%` and
/// its number. A path that becomes too long by that is `%-` and all of its bytes as numbers: at most 108, as the kernel takes them.
fn spelled(address: &[u8]) -> String {
    let mut text = String::new();
    for &byte in address {
        match byte {
            b':' => text.push('_'),
            byte if byte.is_ascii_alphanumeric() || b".[]/@-".contains(&byte) => text.push(char::from(byte)),
            byte => {
                let _ = write!(text, "%{byte:02x}");
            }
        }
    }
    if text.len() > SPELLED {
        text = "%-".to_owned();
        for byte in address {
            let _ = write!(text, "{byte:02x}");
        }
    }
    text
}

/// Whether a socket has a file that is somebody else's.
fn is_given(listener: &Listener) -> bool {
    matches!(listener.address(), Endpoint::Path(_)) && listener.file.is_none()
}

impl Supervisor {
    /// What the store has given back is there still; it lets go of what no service wants.
    pub fn know_store(&mut self) {
        let names = self.spare.names.iter().filter(|name| name.starts_with(PREFIX));
        self.keepers.stored.extend(names.cloned());
    }

    /// A channel to the watcher.
    pub fn have_watcher(&mut self, channel: OwnedFd) {
        let _ = rustix::net::sockopt::set_socket_send_buffer_size(&channel, 4 << 20);
        if let Ok(other) = channel.try_clone() {
            systemd::notify_through(other, NOTICE);
        }
        self.keepers.watcher = Some(channel);
    }

    /// Whether the watcher, which may be of a former version, leaves our place to who stands by. It answers at once or never.
    pub fn watcher_knows_who_stands_by(&self) -> bool {
        let Some(watcher) = &self.keepers.watcher else { return false };
        let mut buffer = [0; 8];
        // What was said too late to a question of before is no answer to this one.
        while seqpacket::recv(watcher, &mut buffer).is_ok_and(|received| received.len > 0) {}
        if seqpacket::send(watcher, &[STANDS_BY], None).is_err() {
            return false;
        }
        let wait = Timespec { tv_sec: 1, tv_nsec: 0 };
        let _ = poll(&mut [PollFd::new(watcher, PollFlags::IN)], Some(&wait));
        let answer = seqpacket::recv(watcher, &mut buffer);
        answer.is_ok_and(|received| buffer.get(..received.len) == Some(&[KNOWS]))
    }

    /// Tells the watcher that we become another version, with this one to start if that dies, and which process takes the place then.
    pub fn tell_watcher_who_stands_by(&self, pid: Option<i32>) {
        let (Some(watcher), Some(held)) = (&self.keepers.watcher, &self.upgrade.back) else { return };
        let number = pid.map(i32::to_le_bytes);
        let message: Vec<u8> = [UPGRADE].into_iter().chain(number.into_iter().flatten()).collect();
        let _ = seqpacket::send(watcher, &message, Some(held.as_fd()));
    }

    /// Tells the watcher that we stand, and whether it is as the process that stood by.
    pub fn tell_watcher_we_stand(&self, stepped_in: bool) {
        if let Some(watcher) = &self.keepers.watcher {
            let _ = seqpacket::send(watcher, &[if stepped_in { STEPPED_IN } else { STANDS }], None);
        }
    }

    /// Shuts the sockets of a slot at once, whoever else holds it: its address is wanted elsewhere, or nobody is to be in its queue. One
    /// that a program has is its own.
    pub fn shut_listeners(&mut self, id: SlotId) {
        let held = self.are_held();
        let Some(slot) = self.slots.get(&id).filter(|slot| held && slot.status != State::Suspended) else {
            return;
        };
        for listener in &slot.listeners {
            let _ = rustix::net::shutdown(&listener.fd, rustix::net::Shutdown::Read);
        }
    }

    /// Whether somebody else holds our sockets.
    pub fn are_held(&self) -> bool {
        self.keepers.watcher.is_some() || !self.keepers.stored.is_empty()
    }

    /// The listeners have changed: whoever holds them is told.
    pub fn tell_keepers(&mut self) {
        let store = self.keepers.watcher.is_none() && std::env::var_os("NOTIFY_SOCKET").is_some();
        if self.keepers.watcher.is_none() && !store {
            return;
        }
        let sockets = self.slots.values().flat_map(|slot| {
            slot.listeners.iter().map(|l| (name(l, slot.is_stream()), l.fd.as_fd(), l.file.is_some()))
        });
        let sockets: Vec<_> = sockets.collect();
        let room = self.keepers.room.filter(|_| store).and_then(|room| usize::try_from(room).ok());
        let most = room.map_or(MOST, |room| room.min(MOST));
        let many = sockets.len() > most;
        if many && !self.keepers.full {
            let why = if most < MOST {
                ", the soft limit of descriptors that it has set (LimitNOFILE=)"
            } else {
                ""
            };
            let held = if store { "the service manager" } else { "the watcher" };
            let text = format!("{} sockets are open; {held} holds {most}{why}", sockets.len());
            self.log.say(&self.stamp, Level::Warning, &text);
        }
        self.keepers.full = many;
        let mut again = false;
        if let Some(watcher) = &self.keepers.watcher {
            let said = |kind: u8, at: usize| {
                let [low, high] = u16::try_from(at).unwrap_or(u16::MAX).to_le_bytes();
                [kind, low, high]
            };
            let kept = sockets.iter().take(MOST).enumerate();
            let sent = kept
                .map(|(at, (_, fd, made))| {
                    let kind = if *made { KEEP_MADE } else { KEEP };
                    seqpacket::send(watcher, &said(kind, at), Some(*fd))
                })
                .chain([seqpacket::send(watcher, &said(FREE, sockets.len().min(MOST)), None)])
                .collect::<std::io::Result<()>>();
            match sent {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => again = true,
                Err(_) => self.keepers.watcher = None,
            }
        }
        if store {
            let gone: Vec<String> = self
                .keepers
                .stored
                .iter()
                .filter(|stored| !sockets.iter().any(|(name, ..)| name == *stored))
                .cloned()
                .collect();
            for name in gone {
                if systemd::notify(&format!("FDSTOREREMOVE=1\nFDNAME={name}")).is_ok() {
                    self.keepers.stored.retain(|stored| *stored != name);
                } else {
                    again = true;
                }
            }
            for (name, fd, _) in &sockets {
                if self.keepers.stored.contains(name) {
                    continue;
                }
                // One more than it can give back, and it starts nobody any more.
                if self.keepers.stored.len() >= most {
                    break;
                }
                if systemd::notify_with(&format!("FDSTORE=1\nFDPOLL=0\nFDNAME={name}"), *fd).is_ok() {
                    self.keepers.stored.push(name.clone());
                } else {
                    again = true;
                }
            }
        }
        if again {
            self.timers.set(self.stamp.mono() + REST, Alarm::Keepers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_addresses_have_one_name() {
        for (address, name) in [
            ("0.0.0.0:7", "0.0.0.0_7"),
            ("[fe80::1%eth0]:7", "[fe80__1%25eth0]_7"),
            ("/run/a b", "/run/a%20b"),
            ("/run/a_b", "/run/a%5fb"),
            ("/run/a:b", "/run/a_b"),
            ("/run/a%20b", "/run/a%2520b"),
            ("@\u{e9}", "@%c3%a9"),
        ] {
            assert_eq!(spelled(address.as_bytes()), name);
        }
        let long = |last: u8| spelled(&[&[b' '; 107][..], &[last]].concat());
        assert!(
            long(b'a') != long(b'b') && PREFIX.len() + GIVEN.len() + "stream-".len() + long(0).len() <= 255
        );
        let every: Vec<String> = (0..=255u8).map(|byte| spelled(&[byte])).collect();
        let mut once = every.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), every.len());
    }

    #[test]
    fn whose_file_it_is() {
        for (name, made) in
            [(MADE, true), ("portreeve-stream-/run/s", true), ("portreeve-given-stream-/run/s", false)]
        {
            assert_eq!(made_here(name), made, "{name}");
        }
        for name in ["given", "unknown", "s.socket", ""] {
            assert!(!made_here(name), "{name}");
        }
    }
}

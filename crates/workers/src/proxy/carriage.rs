//! One carried connection: a client, its target, and a flow each way. Knows no epoll; says when it must be looked at
//! again and how it ended.

use super::flow::{Desk, Flow, Side};
use crate::protocol::Carried;
use rustix::io::Errno;
use rustix::net::{RecvFlags, Shutdown};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// How long a target may take to accept, where the idle time is not shorter.
const CONNECT: Duration = Duration::from_secs(30);
/// After the target has closed its half: so long may the client say nothing. Most have closed for good.
const TARGET_CLOSED: Duration = Duration::from_secs(60);
/// How long what nobody takes any more is read before the connection is closed over it.
const LINGER: Duration = Duration::from_secs(2);
/// How many bytes of it.
const WASTE: u64 = 1024 * 1024;

/// Which end an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Client,
    Target,
}

/// What epoll says of an end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Signs {
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// It has closed its half, or all of it.
    pub(super) closing: bool,
    /// It has hung up or failed.
    pub(super) broken: bool,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// An event.
    Wait,
    /// Another turn, after the others have had theirs.
    Again,
    /// It is over.
    Over(Carried),
}

/// A connection.
#[derive(Debug)]
pub(super) struct Carriage {
    pub(super) client: Side,
    pub(super) target: Side,
    up: Flow,
    down: Flow,
    connected: bool,
    broke: bool,
    begun: Duration,
    idle: Duration,
    moved: Duration,
    linger: Option<Duration>,
}

impl Carriage {
    /// A client whose target's connect is under way, and what each is told before all else.
    pub(super) fn new(
        (client, banner): (OwnedFd, Vec<u8>),
        (target, head): (OwnedFd, Vec<u8>),
        idle: Duration,
        desk: &mut Desk,
        now: Duration,
    ) -> Self {
        Carriage {
            client: Side::new(client),
            target: Side::new(target),
            up: Flow::new(head, desk),
            down: Flow::new(banner, desk),
            connected: false,
            broke: false,
            begun: now,
            idle,
            moved: now,
            linger: None,
        }
    }

    /// Bytes from the client and from the target.
    pub(super) fn traffic(&self) -> (u64, u64) {
        (self.up.bytes, self.down.bytes)
    }

    /// When it ends if nothing moves until then.
    pub(super) fn deadline(&self) -> Duration {
        if let Some(linger) = self.linger {
            return linger;
        }
        let (since, patience) = match self.connected {
            false => (self.begun, self.idle.min(CONNECT)),
            true if self.down.ended() => (self.moved, self.idle.min(TARGET_CLOSED)),
            true => (self.moved, self.idle),
        };
        since.saturating_add(patience)
    }

    /// How it ends when the deadline has come.
    pub(super) fn expired(&self) -> Carried {
        match (self.linger, self.connected) {
            (Some(_), _) => self.over(),
            (None, true) => Carried::Idle,
            (None, false) => Carried::Unreached(u16::try_from(Errno::TIMEDOUT.raw_os_error()).unwrap_or(0)),
        }
    }

    fn over(&self) -> Carried {
        if self.broke { Carried::Broken } else { Carried::Complete }
    }

    /// Something has changed at an end.
    pub(super) fn note(&mut self, end: End, signs: Signs) {
        let side = match end {
            End::Client => &mut self.client,
            End::Target => &mut self.target,
        };
        side.readable |= signs.readable || signs.closing || signs.broken;
        side.writable |= signs.writable || signs.broken;
        side.closing |= signs.closing || signs.broken;
    }

    /// Does what can be done now.
    pub(super) fn step(&mut self, signs: Option<(End, Signs)>, desk: &mut Desk, now: Duration) -> Next {
        if let Some((end, signs)) = signs {
            self.note(end, signs);
        }
        if !self.connected {
            match signs {
                // It did not wait for the target.
                Some((End::Client, signs)) if signs.broken => return Next::Over(Carried::Broken),
                Some((End::Target, signs)) if signs.writable || signs.broken => {
                    match rustix::net::sockopt::socket_error(&self.target.fd) {
                        Ok(Ok(())) => {}
                        Ok(Err(errno)) | Err(errno) => {
                            return Next::Over(Carried::Unreached(
                                u16::try_from(errno.raw_os_error()).unwrap_or(0),
                            ));
                        }
                    }
                    self.connected = true;
                    self.moved = now;
                }
                _ => return Next::Wait,
            }
        }
        let halves = (self.up.ended(), self.down.ended());
        let up = self.up.pump(&mut self.client, &mut self.target, desk);
        let down = self.down.pump(&mut self.target, &mut self.client, desk);
        if up.source_broke || down.sink_broke {
            self.down.die(desk);
        }
        if down.source_broke || up.sink_broke {
            self.up.die(desk);
        }
        let broke = [up.source_broke, up.sink_broke, down.source_broke, down.sink_broke].contains(&true);
        self.broke |= broke;
        if up.moved || down.moved || halves != (self.up.ended(), self.down.ended()) {
            self.moved = now;
        }
        match (self.up.ended(), self.down.ended()) {
            (true, true) => return Next::Over(self.over()),
            _ if self.up.dead() && self.down.dead() => return Next::Over(Carried::Broken),
            (true, false) if self.down.dead() && self.down.wasted > WASTE => return Next::Over(self.over()),
            (false, true) if self.up.dead() && self.up.wasted > WASTE => return Next::Over(self.over()),
            (true, false) if self.down.dead() => self.linger(now),
            (false, true) if self.up.dead() => self.linger(now),
            _ => {}
        }
        // What broke has changed what the other flow is to do.
        if up.more || down.more || broke { Next::Again } else { Next::Wait }
    }

    fn linger(&mut self, now: Duration) {
        self.linger.get_or_insert(now.saturating_add(LINGER));
    }

    /// Ends both connections, whoever else may still hold a descriptor.
    pub(super) fn hang_up(mut self, desk: &mut Desk) {
        self.up.drop_kept(desk);
        self.down.drop_kept(desk);
        if !self.connected {
            // Closing over what the client has said already would answer it with a reset.
            let _ = rustix::net::recv(&self.client.fd, &mut desk.chunk[..], RecvFlags::DONTWAIT);
        }
        let _ = rustix::net::shutdown(&self.client.fd, Shutdown::Both);
        let _ = rustix::net::shutdown(&self.target.fd, Shutdown::Both);
    }
}

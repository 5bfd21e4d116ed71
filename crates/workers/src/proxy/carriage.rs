//! One carried connection: a client, its target, and a flow each way. Knows no epoll; says when it must be looked at
//! again and how it ended.

use super::flow::{Desk, Flow, Side};
use crate::protocol::Carried;
use rustix::io::Errno;
use rustix::net::{RecvFlags, Shutdown};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// How long the supervisor may take to name a target: it always does, or ends the connection.
const AIM: Duration = Duration::from_secs(60);
/// After the target has closed its half: so long may the client say nothing. Most have closed for good.
const TARGET_CLOSED: Duration = Duration::from_secs(60);
/// How long what nobody takes any more is read before the connection is closed over it.
const LINGER: Duration = Duration::from_secs(2);
/// How many bytes of it.
const WASTE: u64 = 1024 * 1024;

/// A target whose connect is under way.
pub(super) struct Aim {
    pub(super) target: OwnedFd,
    /// How long it may take to accept.
    pub(super) patience: Duration,
    /// That it has accepted is to be told.
    pub(super) tell: bool,
}

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
    /// The target was not reached; errno. Another one may come.
    Unreached(u16),
    /// It is over.
    Over(Carried),
}

/// A connection.
#[derive(Debug)]
pub(super) struct Carriage {
    pub(super) client: Side,
    /// None until the supervisor names one (again).
    target: Option<Side>,
    up: Flow,
    down: Flow,
    connected: bool,
    broke: bool,
    /// That the target has accepted is to be told; it has, and was not told yet.
    tell: (bool, bool),
    /// Until when a target must have been named, or must have accepted.
    aimed: Duration,
    idle: Duration,
    moved: Duration,
    linger: Option<Duration>,
}

impl Carriage {
    /// A client without a target yet, and what each is told before all else.
    pub(super) fn new(
        client: OwnedFd,
        banner: Vec<u8>,
        head: Vec<u8>,
        idle: Duration,
        desk: &mut Desk,
        now: Duration,
    ) -> Self {
        Carriage {
            client: Side::new(client),
            target: None,
            up: Flow::new(head, desk),
            down: Flow::new(banner, desk),
            connected: false,
            broke: false,
            tell: (false, false),
            aimed: now.saturating_add(AIM),
            idle,
            moved: now,
            linger: None,
        }
    }

    /// Whether a target may come.
    pub(super) fn wants_target(&self) -> bool {
        self.target.is_none()
    }

    /// A target comes. Nothing was carried before, so it gets all that the client has said: at once, since one that is near has mostly
    /// accepted by now. Nothing is watched yet, so what is taken here brings no event.
    pub(super) fn aim(&mut self, aim: Aim, desk: &mut Desk, now: Duration) -> Next {
        let target = self.target.insert(Side::new(aim.target));
        self.tell = (aim.tell, false);
        self.aimed = now.saturating_add(aim.patience);
        match self.up.knock(&mut self.client, target, desk) {
            Ok(true) => {
                self.reached(now);
                self.carry(desk, now)
            }
            Ok(false) => {
                target.writable = false;
                Next::Wait
            }
            Err(errno) => self.unreached(errno, now),
        }
    }

    /// The target has accepted.
    fn reached(&mut self, now: Duration) {
        self.connected = true;
        self.tell.1 = self.tell.0;
        self.moved = now;
    }

    /// It has not.
    fn unreached(&mut self, errno: Errno, now: Duration) -> Next {
        self.lose_target(now);
        Next::Unreached(u16::try_from(errno.raw_os_error()).unwrap_or(0))
    }

    /// Both ends, as far as there are two.
    pub(super) fn sides(&mut self) -> impl Iterator<Item = (End, &mut Side)> {
        let target = self.target.as_mut().map(|target| (End::Target, target));
        std::iter::once((End::Client, &mut self.client)).chain(target)
    }

    /// Whether it is to be told now that the target has accepted; true once.
    pub(super) fn reached_to_tell(&mut self) -> bool {
        std::mem::take(&mut self.tell.1)
    }

    /// The target comes to nothing: its descriptor is closed, and with it the watch over it ends.
    fn lose_target(&mut self, now: Duration) {
        self.target = None;
        self.aimed = now.saturating_add(AIM);
    }

    /// Bytes from the client and from the target; what was taken for a target that was never reached went nowhere.
    pub(super) fn traffic(&self) -> (u64, u64) {
        if self.connected { (self.up.bytes, self.down.bytes) } else { (0, 0) }
    }

    /// When it ends if nothing moves until then.
    pub(super) fn deadline(&self) -> Duration {
        if let Some(linger) = self.linger {
            return linger;
        }
        let (since, patience) = match self.connected {
            false => return self.aimed,
            true if self.down.ended() => (self.moved, self.idle.min(TARGET_CLOSED)),
            true => (self.moved, self.idle),
        };
        since.saturating_add(patience)
    }

    /// How it ends when the deadline has come; `None`: it does not, but its target was not reached.
    pub(super) fn expired(&mut self, now: Duration) -> Option<Carried> {
        match (self.linger, self.connected) {
            (Some(_), _) => Some(self.over()),
            (None, true) => Some(Carried::Idle),
            (None, false) if self.target.is_none() => Some(Carried::Broken),
            (None, false) => {
                self.lose_target(now);
                None
            }
        }
    }

    fn over(&self) -> Carried {
        if self.broke { Carried::Broken } else { Carried::Complete }
    }

    /// Something has changed at an end.
    pub(super) fn note(&mut self, end: End, signs: Signs) {
        let side = match (end, &mut self.target) {
            (End::Client, _) => &mut self.client,
            (End::Target, Some(target)) => target,
            (End::Target, None) => return,
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
        let Some(target) = &mut self.target else {
            return match signs {
                Some((End::Client, signs)) if signs.broken => Next::Over(Carried::Broken),
                _ => Next::Wait,
            };
        };
        if !self.connected {
            match signs {
                // It did not wait for the target.
                Some((End::Client, signs)) if signs.broken => return Next::Over(Carried::Broken),
                Some((End::Target, signs)) if signs.writable || signs.broken => {
                    // A connect that came to nothing has left an error, and then epoll says so.
                    let error = signs.broken.then(|| rustix::net::sockopt::socket_error(&target.fd));
                    if let Some(Ok(Err(errno)) | Err(errno)) = error {
                        return self.unreached(errno, now);
                    }
                    self.reached(now);
                }
                _ => return Next::Wait,
            }
        }
        self.carry(desk, now)
    }

    /// Carries what can be carried now; the target has accepted.
    fn carry(&mut self, desk: &mut Desk, now: Duration) -> Next {
        let Some(target) = &mut self.target else { return Next::Wait };
        let halves = (self.up.ended(), self.down.ended());
        let up = self.up.pump(&mut self.client, target, desk, self.down.ended());
        let down = self.down.pump(target, &mut self.client, desk, self.up.ended());
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

    /// Ends both connections, whoever else may still hold a descriptor; what is left is to close them.
    pub(super) fn hang_up(mut self, desk: &mut Desk) -> impl Iterator<Item = OwnedFd> {
        self.part(desk);
        std::iter::once(self.client.fd).chain(self.target.map(|target| target.fd))
    }

    fn part(&mut self, desk: &mut Desk) {
        self.up.drop_kept(desk);
        self.down.drop_kept(desk);
        if self.up.ended() && self.down.ended() && !self.broke {
            // One was told already, and closing tells the other: of what it has said nothing is unread.
            return;
        }
        if !self.connected {
            // Closing over what the client has said already would answer it with a reset.
            let _ = rustix::net::recv(&self.client.fd, &mut desk.chunk[..], RecvFlags::DONTWAIT);
        }
        let _ = rustix::net::shutdown(&self.client.fd, Shutdown::Both);
        if let Some(target) = &self.target {
            let _ = rustix::net::shutdown(&target.fd, Shutdown::Both);
        }
    }
}

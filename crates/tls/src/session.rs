//! One connection: a client, later its target, and a flow each way. Knows no epoll; says when it must be looked at again and
//! how it ended. A target is asked for only once the client has shaken hands, so who cannot do that reaches nobody.

use crate::certificate::facts;
use crate::end::{End, Shake};
use crate::flow::{Desk, Flow};
use crate::material::reason;
use portreeve_workers::protocol::{Carried, FromTls, Sealed};
use rustix::io::Errno;
use rustls::{Connection, ProtocolVersion};
use std::time::Duration;

/// How long a client may take to shake hands.
const HANDSHAKE: Duration = Duration::from_secs(15);
/// How long the supervisor may take to find a target: it may ask the client's ident server.
const TARGET: Duration = Duration::from_secs(90);
/// How long a target may take to shake hands, where the idle time is not shorter.
const CONNECT: Duration = Duration::from_secs(30);
/// After the target has closed its half: so long may the client say nothing. Most have closed for good.
const TARGET_CLOSED: Duration = Duration::from_secs(60);
/// How long what nobody takes any more is read before the connection is closed over it.
const LINGER: Duration = Duration::from_secs(2);
/// How many bytes of it.
const WASTE: u64 = 1024 * 1024;

/// Which end an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Client,
    Target,
}

/// What epoll says of an end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Signs {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) closing: bool,
    pub(crate) broken: bool,
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Next {
    /// An event.
    Wait,
    /// Another turn, after the others have had theirs.
    Again,
    /// The supervisor is told, and asked for a (next) target; or told of one that accepted, and there is another turn.
    Tell(FromTls, bool),
    /// It is over.
    Over(Sealed),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The client shakes hands.
    Shaking,
    /// The supervisor is to name a target.
    Waiting,
    /// The target is to accept.
    Connecting,
    /// The target shakes hands.
    TargetShaking,
    Carrying,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: End,
    pub(crate) target: Option<End>,
    stage: Stage,
    up: Flow,
    down: Flow,
    broke: bool,
    since: Duration,
    patience: Duration,
    tell: bool,
    idle: Duration,
    moved: Duration,
    linger: Option<Duration>,
}

impl Session {
    pub(crate) fn new(client: End, banner: Vec<u8>, idle: Duration, desk: &mut Desk, now: Duration) -> Self {
        let stage = if client.secure.is_some() { Stage::Shaking } else { Stage::Waiting };
        let (up, down) = (Flow::new(Vec::new(), desk), Flow::new(banner, desk));
        Session {
            client,
            target: None,
            stage,
            up,
            down,
            broke: false,
            since: now,
            patience: Duration::ZERO,
            tell: false,
            idle,
            moved: now,
            linger: None,
        }
    }

    /// Whether it waits for a target.
    pub(crate) fn waits(&self) -> bool {
        self.stage == Stage::Waiting
    }

    /// Whether it has a target.
    pub(crate) fn is_led(&self) -> bool {
        self.target.is_some()
    }

    /// Its target has come.
    pub(crate) fn lead_to(
        &mut self,
        target: End,
        head: Vec<u8>,
        (patience, tell): (Duration, bool),
        desk: &mut Desk,
        now: Duration,
    ) {
        self.target = Some(target);
        (self.patience, self.tell) = (patience, tell);
        self.up = Flow::new(head, desk);
        (self.stage, self.since) = (Stage::Connecting, now);
    }

    /// The target has not accepted in its time: the supervisor may have another.
    pub(crate) fn give_up_target(&mut self, ticket: u64, desk: &mut Desk, now: Duration) -> Option<FromTls> {
        (self.stage == Stage::Connecting).then(|| self.unreached(ticket, Errno::TIMEDOUT, desk, now))
    }

    fn unreached(&mut self, ticket: u64, errno: Errno, desk: &mut Desk, now: Duration) -> FromTls {
        self.up.drop_kept(desk);
        self.target = None;
        (self.stage, self.since) = (Stage::Waiting, now);
        FromTls::Unreached { ticket, errno: u16::try_from(errno.raw_os_error()).unwrap_or(0) }
    }

    /// Bytes from the client and from the target.
    pub(crate) fn traffic(&self) -> (u64, u64) {
        (self.up.bytes, self.down.bytes)
    }

    /// When it ends if nothing moves until then.
    pub(crate) fn deadline(&self) -> Duration {
        if let Some(linger) = self.linger {
            return linger;
        }
        let (since, patience) = match self.stage {
            Stage::Shaking => (self.since, HANDSHAKE),
            Stage::Waiting => (self.since, TARGET),
            Stage::Connecting => (self.since, self.patience),
            Stage::TargetShaking => (self.since, self.idle.min(CONNECT)),
            Stage::Carrying if self.down.ended() => (self.moved, self.idle.min(TARGET_CLOSED)),
            Stage::Carrying => (self.moved, self.idle),
        };
        since.saturating_add(patience)
    }

    /// How it ends when the deadline has come.
    pub(crate) fn expired(&self) -> Sealed {
        match self.stage {
            _ if self.linger.is_some() => self.over(),
            Stage::Shaking => {
                Sealed::Handshake(format!("it has not come to an end in {} seconds", HANDSHAKE.as_secs()))
            }
            Stage::Waiting | Stage::Connecting => Sealed::Carried(Carried::Broken),
            Stage::TargetShaking => Sealed::Target("it took too long".to_owned()),
            Stage::Carrying => Sealed::Carried(Carried::Idle),
        }
    }

    fn over(&self) -> Sealed {
        Sealed::Carried(if self.broke { Carried::Broken } else { Carried::Complete })
    }

    fn note(&mut self, which: Which, signs: Signs) {
        let end = match (which, &mut self.target) {
            (Which::Client, _) => &mut self.client,
            (Which::Target, Some(target)) => target,
            (Which::Target, None) => return,
        };
        end.readable |= signs.readable || signs.closing || signs.broken;
        end.writable |= signs.writable || signs.broken;
        end.closing |= signs.closing || signs.broken;
    }

    /// Does what can be done now.
    pub(crate) fn step(
        &mut self,
        ticket: u64,
        signs: Option<(Which, Signs)>,
        desk: &mut Desk,
        now: Duration,
    ) -> Next {
        if let Some((which, signs)) = signs {
            self.note(which, signs);
        }
        let client_broke = matches!(signs, Some((Which::Client, signs)) if signs.broken);
        match self.stage {
            Stage::Shaking => return self.shake(ticket, now),
            Stage::Waiting | Stage::Connecting | Stage::TargetShaking if client_broke => {
                return Next::Over(Sealed::Carried(Carried::Broken));
            }
            Stage::Waiting => {
                // Tickets for later sessions and the like; nothing is read.
                let _ = self.client.flush();
                return Next::Wait;
            }
            Stage::Connecting => {
                let Some(target) = self.target.as_mut().filter(|target| target.writable) else {
                    return Next::Wait;
                };
                if let Ok(Err(errno)) | Err(errno) = rustix::net::sockopt::socket_error(&target.fd) {
                    return Next::Tell(self.unreached(ticket, errno, desk, now), false);
                }
                self.stage = if target.secure.is_some() { Stage::TargetShaking } else { Stage::Carrying };
                (self.since, self.moved) = (now, now);
                if self.tell {
                    return Next::Tell(FromTls::Reached { ticket }, true);
                }
            }
            Stage::TargetShaking | Stage::Carrying => {}
        }
        if self.stage == Stage::TargetShaking {
            match self.target.as_mut().map(End::shake) {
                Some(Shake::Done) => (self.stage, self.moved) = (Stage::Carrying, now),
                Some(Shake::Later) => return Next::Wait,
                Some(Shake::Again) => return Next::Again,
                Some(Shake::Failed(why)) => return Next::Over(Sealed::Target(reason(&why))),
                None => return Next::Over(Sealed::Carried(Carried::Broken)),
            }
        }
        self.carry(desk, now)
    }

    fn shake(&mut self, ticket: u64, now: Duration) -> Next {
        match self.client.shake() {
            Shake::Later => Next::Wait,
            Shake::Again => Next::Again,
            Shake::Failed(why) => Next::Over(Sealed::Handshake(reason(&why))),
            Shake::Done => {
                (self.stage, self.since) = (Stage::Waiting, now);
                Next::Tell(self.told(ticket), false)
            }
        }
    }

    /// What is known of a client that has shaken hands.
    fn told(&self, ticket: u64) -> FromTls {
        let Some(Connection::Server(connection)) = self.client.secure.as_deref() else {
            return FromTls::Shaken {
                ticket,
                newest: false,
                server_name: None,
                protocol: None,
                subject: None,
            };
        };
        let certificate = connection.peer_certificates().and_then(|chain| chain.first());
        let subject = certificate.and_then(|certificate| facts(certificate)).and_then(|facts| facts.subject);
        let printable = |name: &&[u8]| !name.iter().any(u8::is_ascii_control);
        FromTls::Shaken {
            ticket,
            newest: connection.protocol_version() == Some(ProtocolVersion::TLSv1_3),
            server_name: connection.server_name().filter(|name| name.len() <= 255).map(str::to_owned),
            protocol: connection.alpn_protocol().filter(printable).map(<[u8]>::to_vec),
            subject: subject.map(String::into_bytes),
        }
    }

    fn carry(&mut self, desk: &mut Desk, now: Duration) -> Next {
        let Some(target) = &mut self.target else { return Next::Wait };
        let halves = (self.up.ended(), self.down.ended());
        let up = self.up.pump(&mut self.client, target, desk);
        let down = self.down.pump(target, &mut self.client, desk);
        if up.source_broke || down.sink_broke {
            self.down.die(desk);
        }
        if down.source_broke || up.sink_broke {
            self.up.die(desk);
        }
        let broke = up.source_broke || up.sink_broke || down.source_broke || down.sink_broke;
        self.broke |= broke;
        if up.moved || down.moved || halves != (self.up.ended(), self.down.ended()) {
            self.moved = now;
        }
        match (self.up.ended(), self.down.ended()) {
            (true, true) => return Next::Over(self.over()),
            _ if self.up.dead() && self.down.dead() => return Next::Over(Sealed::Carried(Carried::Broken)),
            (true, false) if self.down.dead() && self.down.wasted > WASTE => return Next::Over(self.over()),
            (false, true) if self.up.dead() && self.up.wasted > WASTE => return Next::Over(self.over()),
            (true, false) if self.down.dead() => self.linger(now),
            (false, true) if self.up.dead() => self.linger(now),
            _ => {}
        }
        if up.more || down.more || broke { Next::Again } else { Next::Wait }
    }

    fn linger(&mut self, now: Duration) {
        self.linger.get_or_insert(now.saturating_add(LINGER));
    }

    /// Ends both connections.
    pub(crate) fn hang_up(mut self, desk: &mut Desk) {
        self.up.drop_kept(desk);
        self.down.drop_kept(desk);
        self.client.hang_up(&mut desk.chunk);
        if let Some(target) = &self.target {
            target.hang_up(&mut desk.chunk);
        }
    }
}

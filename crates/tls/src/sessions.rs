//! All connections of this worker: a bounded table, who is watched, who gets another turn, who has waited too long.

use crate::end::End;
use crate::flow::Desk;
use crate::material::{Material, reason};
use crate::session::{Next, Session, Signs, Which};
use portreeve_workers::Outbox;
use portreeve_workers::protocol::{BadMessage, Carried, FromTls, Sealed};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, Connection, ServerConnection};
use std::collections::{HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Those that have waited too long are looked for at most this often; so late may one end.
const SWEEP: Duration = Duration::from_millis(250);

/// The number of an end in epoll's events.
fn number(ticket: u64, which: Which) -> u64 {
    ticket << 1 | u64::from(which == Which::Target)
}

/// Where a client is carried.
pub(crate) struct Led {
    pub(crate) fd: OwnedFd,
    pub(crate) name: String,
    pub(crate) head: Vec<u8>,
    pub(crate) patience: Duration,
    pub(crate) tell: bool,
}

/// All connections by ticket. Tickets are the supervisor's and never used twice, so an event of one that has ended cannot
/// hit another.
pub(crate) struct Sessions {
    most: usize,
    places: HashMap<u64, Session>,
    again: VecDeque<u64>,
    desk: Desk,
    next_sweep: Option<Duration>,
    /// Nobody names a target any more, and nobody new comes.
    leaving: bool,
}

impl Sessions {
    pub(crate) fn new(most: usize) -> Self {
        let (places, again) = (HashMap::new(), VecDeque::new());
        Sessions { most, places, again, desk: Desk::new(), next_sweep: None, leaving: false }
    }

    /// A client has come.
    #[allow(clippy::too_many_arguments)]
    pub(crate) fn begin(
        &mut self,
        (ticket, idle_seconds, banner): (u64, u32, Vec<u8>),
        client: OwnedFd,
        material: &Material,
        epoll: &OwnedFd,
        out: &mut Outbox<FromTls>,
        now: Duration,
    ) {
        let secure = material.server.clone().map(ServerConnection::new).transpose();
        let idle = Duration::from_secs(u64::from(idle_seconds.max(1)));
        let (client, failed) = match secure {
            Ok(secure) => (End::new(client, secure.map(Connection::Server)), None),
            Err(error) => (End::new(client, None), Some(Sealed::Handshake(reason(&error.to_string())))),
        };
        let session = Session::new(client, banner, idle, &mut self.desk, now);
        if let Some(outcome) = failed {
            self.over(ticket, session, outcome, out);
        } else if self.places.len() >= self.most || self.places.contains_key(&ticket) {
            self.over(ticket, session, Sealed::Carried(Carried::Full), out);
        } else if watch(epoll, &session.client.fd, ticket, Which::Client).is_err() {
            self.over(ticket, session, Sealed::Carried(Carried::Broken), out);
        } else {
            self.look_at(session.deadline());
            self.places.insert(ticket, session);
        }
    }

    /// The target of a client has come. One that the client did not wait for is closed.
    pub(crate) fn lead(
        &mut self,
        ticket: u64,
        led: Led,
        material: &Material,
        (epoll, now): (&OwnedFd, Duration),
        out: &mut Outbox<FromTls>,
    ) -> Result<(), BadMessage> {
        let Some(session) = self.places.get_mut(&ticket) else { return Ok(()) };
        if !session.waits() {
            return Err(BadMessage::OutOfTurn("Target"));
        }
        let Led { fd, name, head, patience, tell } = led;
        let secure = match (name, &material.client) {
            (name, _) if name.is_empty() => None,
            (_, None) => return Err(BadMessage::OutOfTurn("Target")),
            (name, Some(config)) => {
                let server = ServerName::try_from(name).map_err(|error| error.to_string());
                let connection = server.and_then(|server| {
                    ClientConnection::new(config.clone(), server).map_err(|error| error.to_string())
                });
                match connection {
                    Ok(connection) => Some(Connection::Client(connection)),
                    Err(why) => {
                        self.finish(ticket, Sealed::Target(reason(&why)), out);
                        return Ok(());
                    }
                }
            }
        };
        if watch(epoll, &fd, ticket, Which::Target).is_err() {
            self.finish(ticket, Sealed::Carried(Carried::Broken), out);
            return Ok(());
        }
        session.lead_to(End::new(fd, secure), head, (patience, tell), &mut self.desk, now);
        let deadline = session.deadline();
        self.look_at(deadline);
        Ok(())
    }

    fn look_at(&mut self, deadline: Duration) {
        self.next_sweep = Some(self.next_sweep.map_or(deadline, |sweep| sweep.min(deadline)));
    }

    /// An end of a connection has changed.
    pub(crate) fn wake(&mut self, data: u64, flags: EventFlags, out: &mut Outbox<FromTls>, now: Duration) {
        let which = if data & 1 == 1 { Which::Target } else { Which::Client };
        let signs = Signs {
            readable: flags.contains(EventFlags::IN),
            writable: flags.contains(EventFlags::OUT),
            closing: flags.contains(EventFlags::RDHUP),
            broken: flags.intersects(EventFlags::HUP | EventFlags::ERR),
        };
        self.step(data >> 1, Some((which, signs)), out, now);
    }

    fn step(&mut self, ticket: u64, signs: Option<(Which, Signs)>, out: &mut Outbox<FromTls>, now: Duration) {
        let Some(session) = self.places.get_mut(&ticket) else { return };
        let before = session.deadline();
        let next = session.step(ticket, signs, &mut self.desk, now);
        let deadline = session.deadline();
        match next {
            Next::Over(outcome) => self.finish(ticket, outcome, out),
            Next::Again => self.again.push_back(ticket),
            Next::Tell(FromTls::Unreached { .. }, _) if self.leaving => {
                self.finish(ticket, Sealed::Carried(Carried::Broken), out);
            }
            Next::Tell(message, again) => {
                out.put(message);
                if again {
                    self.again.push_back(ticket);
                }
            }
            Next::Wait => {}
        }
        // Progress puts it off; only what has become shorter must be looked at earlier.
        if deadline < before {
            self.look_at(deadline);
        }
    }

    /// The supervisor wants us to leave: who has a target goes on.
    pub(crate) fn leave(&mut self, out: &mut Outbox<FromTls>) {
        self.leaving = true;
        let lost: Vec<_> = self.places.extract_if(|_, session| !session.is_led()).collect();
        for (ticket, session) in lost {
            self.over(ticket, session, Sealed::Carried(Carried::Ended), out);
        }
    }

    /// Whether we are to leave and may.
    pub(crate) fn are_over(&self) -> bool {
        self.leaving && self.places.is_empty()
    }

    /// Whether somebody is waiting for another turn.
    pub(crate) fn is_busy(&self) -> bool {
        !self.again.is_empty()
    }

    /// Gives each of those that had more to do another turn.
    pub(crate) fn go_on(&mut self, out: &mut Outbox<FromTls>, now: Duration) {
        for _ in 0..self.again.len() {
            if let Some(ticket) = self.again.pop_front() {
                self.step(ticket, None, out, now);
            }
        }
    }

    /// Ends a connection on the supervisor's word.
    pub(crate) fn end(&mut self, ticket: u64, out: &mut Outbox<FromTls>) {
        self.finish(ticket, Sealed::Carried(Carried::Ended), out);
    }

    /// There is no descriptor for a client, or for its target.
    pub(crate) fn give_up(&mut self, ticket: u64, out: &mut Outbox<FromTls>) {
        let outcome = Sealed::Carried(Carried::Full);
        if self.places.contains_key(&ticket) {
            self.finish(ticket, outcome, out);
        } else {
            out.put(FromTls::Done { ticket, bytes_in: 0, bytes_out: 0, outcome });
        }
    }

    fn finish(&mut self, ticket: u64, outcome: Sealed, out: &mut Outbox<FromTls>) {
        if let Some(session) = self.places.remove(&ticket) {
            self.over(ticket, session, outcome, out);
        }
    }

    fn over(&mut self, ticket: u64, session: Session, outcome: Sealed, out: &mut Outbox<FromTls>) {
        let (bytes_in, bytes_out) = session.traffic();
        session.hang_up(&mut self.desk);
        out.put(FromTls::Done { ticket, bytes_in, bytes_out, outcome });
    }

    /// When [`Sessions::sweep`] is next worth a call.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.next_sweep
    }

    /// Ends what has waited too long.
    pub(crate) fn sweep(&mut self, out: &mut Outbox<FromTls>, now: Duration) {
        if self.next_sweep.is_none_or(|sweep| now < sweep) {
            return;
        }
        for (&ticket, session) in &mut self.places {
            if session.deadline() <= now
                && !self.leaving
                && let Some(message) = session.give_up_target(ticket, &mut self.desk, now)
            {
                out.put(message);
            }
        }
        let late: Vec<_> = self.places.extract_if(|_, session| session.deadline() <= now).collect();
        for (ticket, session) in late {
            let outcome = session.expired();
            self.over(ticket, session, outcome, out);
        }
        let first = self.places.values().map(Session::deadline).min();
        self.next_sweep = first.map(|first| first.max(now + SWEEP));
    }
}

/// Told of changes, once for each: what each end can do is remembered in between.
fn watch(epoll: &OwnedFd, fd: &OwnedFd, ticket: u64, which: Which) -> rustix::io::Result<()> {
    let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
    epoll::add(epoll, fd, EventData::new_u64(number(ticket, which)), flags)
}

//! All carried connections: a bounded table, who is watched, who gets another turn, who has been idle too long.

use super::carriage::{Aim, Carriage, End, Next, Signs};
use super::flow::{Desk, Side, Watched};
use crate::outbox::Outbox;
use crate::protocol::{Carried, FromProxy};
use portreeve_sys::closing::close_all;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

/// Idle connections are looked for at most this often; so late may one end.
const SWEEP: Duration = Duration::from_millis(250);

/// So many descriptors wait for the end of a turn to be closed.
const MOST_ENDED: usize = 64;

const TIMED_OUT: u16 = Errno::TIMEDOUT.raw_os_error().unsigned_abs() as u16;

/// A connection that begins.
pub(super) struct Arrived {
    pub(super) ticket: u64,
    pub(super) banner: Vec<u8>,
    pub(super) head: Vec<u8>,
    pub(super) idle_seconds: u32,
    pub(super) client: OwnedFd,
}

/// The number of an end in epoll's events.
pub(super) fn number(ticket: u64, end: End) -> u64 {
    ticket << 1 | u64::from(end == End::Target)
}

/// Told of changes, once for each: what each end can do is remembered in between. That it takes more is told of one that did not.
fn watch(epoll: &OwnedFd, side: &mut Side, ticket: u64, end: End) -> rustix::io::Result<()> {
    let (before, wanted) = (side.watched, side.wanted());
    if before == wanted {
        return Ok(());
    }
    side.watched = wanted;
    let mut flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
    flags.set(EventFlags::OUT, wanted == Watched::Room);
    let data = EventData::new_u64(number(ticket, end));
    match before {
        Watched::Nothing => epoll::add(epoll, &side.fd, data, flags),
        Watched::Words | Watched::Room => epoll::modify(epoll, &side.fd, data, flags),
    }
}

/// All connections by ticket. Tickets are the supervisor's and never used twice, so an event of one that has ended cannot
/// hit another.
pub(super) struct Carriages {
    most: usize,
    places: HashMap<u64, Carriage>,
    again: VecDeque<u64>,
    /// Of whom something is to be watched that is not yet.
    unwatched: Vec<u64>,
    /// Descriptors that are to be closed.
    ended: Vec<OwnedFd>,
    desk: Desk,
    next_sweep: Option<Duration>,
    /// Nobody names a target any more, and nobody new comes.
    leaving: bool,
}

impl Carriages {
    pub(super) fn new(most: usize) -> Self {
        let (places, again, unwatched, ended) = (HashMap::new(), VecDeque::new(), Vec::new(), Vec::new());
        Carriages {
            most,
            places,
            again,
            unwatched,
            ended,
            desk: Desk::new(),
            next_sweep: None,
            leaving: false,
        }
    }

    /// Whether there is one of this ticket.
    pub(super) fn knows(&self, ticket: u64) -> bool {
        self.places.contains_key(&ticket)
    }

    /// What is read into: between two turns nothing in it matters.
    pub(super) fn buffer(&mut self) -> &mut [u8] {
        &mut self.desk.chunk
    }

    /// Takes a client in; its target comes later.
    pub(super) fn begin(&mut self, arrived: Arrived, out: &mut Outbox<FromProxy>, now: Duration) {
        let Arrived { ticket, banner, head, idle_seconds, client } = arrived;
        let idle = Duration::from_secs(u64::from(idle_seconds.max(1)));
        let carriage = Carriage::new(client, banner, head, idle, &mut self.desk, now);
        if self.places.len() >= self.most || self.places.contains_key(&ticket) {
            self.over(ticket, carriage, Carried::Full, out);
            return;
        }
        self.look_at(carriage.deadline());
        self.places.insert(ticket, carriage);
        self.unwatched.push(ticket);
    }

    /// A client gets a target, whose connect is under way or over.
    pub(super) fn aim(&mut self, ticket: u64, aim: Aim, out: &mut Outbox<FromProxy>, now: Duration) {
        let Some(carriage) = self.places.get_mut(&ticket).filter(|carriage| carriage.wants_target()) else {
            return;
        };
        let next = carriage.aim(aim, &mut self.desk, now);
        let deadline = carriage.deadline();
        self.unwatched.push(ticket);
        self.look_at(deadline);
        self.follow(ticket, next, out);
    }

    /// Once a turn, when all that could be done is done: watches who is new, and whoever is to take more again.
    pub(super) fn watch(&mut self, epoll: &OwnedFd, out: &mut Outbox<FromProxy>) {
        while let Some(ticket) = self.unwatched.pop() {
            let Some(carriage) = self.places.get_mut(&ticket) else { continue };
            if carriage.sides().any(|(end, side)| watch(epoll, side, ticket, end).is_err()) {
                self.finish(ticket, Carried::Broken, out);
            }
        }
    }

    /// Once a turn: closes what has ended in it.
    pub(super) fn close(&mut self) {
        self.ended.sort_unstable_by_key(AsRawFd::as_raw_fd);
        close_all(self.ended.drain(..));
    }

    fn look_at(&mut self, deadline: Duration) {
        self.next_sweep = Some(self.next_sweep.map_or(deadline, |sweep| sweep.min(deadline)));
    }

    /// An end of a connection has changed.
    pub(super) fn wake(&mut self, data: u64, flags: EventFlags, out: &mut Outbox<FromProxy>, now: Duration) {
        let end = if data & 1 == 1 { End::Target } else { End::Client };
        let signs = Signs {
            readable: flags.contains(EventFlags::IN),
            writable: flags.contains(EventFlags::OUT),
            closing: flags.contains(EventFlags::RDHUP),
            broken: flags.intersects(EventFlags::HUP | EventFlags::ERR),
        };
        self.step(data >> 1, Some((end, signs)), out, now);
    }

    fn step(&mut self, ticket: u64, signs: Option<(End, Signs)>, out: &mut Outbox<FromProxy>, now: Duration) {
        let Some(carriage) = self.places.get_mut(&ticket) else { return };
        let before = carriage.deadline();
        let next = carriage.step(signs, &mut self.desk, now);
        let deadline = carriage.deadline();
        if carriage.sides().any(|(_, side)| side.watched != side.wanted()) {
            self.unwatched.push(ticket);
        }
        // Progress puts it off; only what has become shorter must be looked at earlier.
        if deadline < before {
            self.look_at(deadline);
        }
        self.follow(ticket, next, out);
    }

    /// What comes of a step.
    fn follow(&mut self, ticket: u64, next: Next, out: &mut Outbox<FromProxy>) {
        if self.places.get_mut(&ticket).is_some_and(Carriage::reached_to_tell) {
            out.put(FromProxy::Reached { ticket });
        }
        match next {
            Next::Unreached(_) if self.leaving => self.finish(ticket, Carried::Broken, out),
            Next::Unreached(errno) => out.put(FromProxy::Unreached { ticket, errno }),
            Next::Over(outcome) => self.finish(ticket, outcome, out),
            Next::Again => self.again.push_back(ticket),
            Next::Wait => {}
        }
    }

    /// The supervisor wants us to leave: who has a target goes on.
    pub(super) fn leave(&mut self, out: &mut Outbox<FromProxy>) {
        self.leaving = true;
        let lost: Vec<_> = self.places.extract_if(|_, carriage| carriage.wants_target()).collect();
        for (ticket, carriage) in lost {
            self.over(ticket, carriage, Carried::Ended, out);
        }
    }

    /// Whether we are to leave and may.
    pub(super) fn are_over(&self) -> bool {
        self.leaving && self.places.is_empty()
    }

    /// Whether somebody is waiting for another turn.
    pub(super) fn is_busy(&self) -> bool {
        !self.again.is_empty()
    }

    /// Gives each of those that had more to do another turn.
    pub(super) fn go_on(&mut self, out: &mut Outbox<FromProxy>, now: Duration) {
        for _ in 0..self.again.len() {
            if let Some(ticket) = self.again.pop_front() {
                self.step(ticket, None, out, now);
            }
        }
    }

    /// Ends a connection on the supervisor's word.
    pub(super) fn end(&mut self, ticket: u64, out: &mut Outbox<FromProxy>) {
        self.finish(ticket, Carried::Ended, out);
    }

    /// There is no descriptor for the target of a client.
    pub(super) fn give_up(&mut self, ticket: u64, out: &mut Outbox<FromProxy>) {
        self.finish(ticket, Carried::Full, out);
    }

    fn finish(&mut self, ticket: u64, outcome: Carried, out: &mut Outbox<FromProxy>) {
        if let Some(carriage) = self.places.remove(&ticket) {
            self.over(ticket, carriage, outcome, out);
        }
    }

    fn over(&mut self, ticket: u64, carriage: Carriage, outcome: Carried, out: &mut Outbox<FromProxy>) {
        let (bytes_in, bytes_out) = carriage.traffic();
        self.ended.extend(carriage.hang_up(&mut self.desk));
        if self.ended.len() >= MOST_ENDED {
            self.close();
        }
        out.put(FromProxy::Done { ticket, bytes_in, bytes_out, outcome });
    }

    /// When [`Carriages::sweep`] is next worth a call.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.next_sweep
    }

    /// Ends what has been idle too long.
    pub(super) fn sweep(&mut self, out: &mut Outbox<FromProxy>, now: Duration) {
        if self.next_sweep.is_none_or(|sweep| now < sweep) {
            return;
        }
        let late = self.places.iter().filter(|(_, carriage)| carriage.deadline() <= now);
        let late: Vec<u64> = late.map(|(&ticket, _)| ticket).collect();
        for ticket in late {
            let Some(carriage) = self.places.get_mut(&ticket) else { continue };
            match carriage.expired(now) {
                Some(outcome) => self.finish(ticket, outcome, out),
                None if self.leaving => self.finish(ticket, Carried::Broken, out),
                None => out.put(FromProxy::Unreached { ticket, errno: TIMED_OUT }),
            }
        }
        let first = self.places.values().map(Carriage::deadline).min();
        self.next_sweep = first.map(|first| first.max(now + SWEEP));
    }
}

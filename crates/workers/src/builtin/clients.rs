//! The clients of the stream services: a bounded table, who waits for what, who has been idle too long.

use super::client::{Client, Desk, Next};
use super::engine::Event;
use super::shell::Reports;
use crate::outbox::Outbox;
use crate::protocol::{BuiltinKind, FromBuiltin, Outcome};
use rustix::event::epoll::{self, EventData, EventFlags};
use std::collections::{BTreeSet, HashMap};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// The idle time of a client whose service names none.
const USUAL_IDLE: Duration = Duration::from_secs(3600);
/// Idle clients are looked for at most this often; so late may one end.
const SWEEP: Duration = Duration::from_millis(250);

/// A tarpit says a character so often.
const DRIP: Duration = Duration::from_secs(10);
/// Of four places for clients, traps take three: the other built-ins go on.
const TRAPS: (usize, usize) = (3, 4);

/// Clients at once that are told about this host: each holds its text.
const MOST_REPORTS: usize = 16;

/// A client that begins.
pub(super) struct Arrived {
    pub(super) ticket: u64,
    pub(super) kind: BuiltinKind,
    /// What daytime and time say.
    pub(super) text: Vec<u8>,
    /// What servers, services and xadmin tell of this host.
    pub(super) reports: Reports,
    pub(super) idle_seconds: u32,
    pub(super) fd: OwnedFd,
}

struct Place {
    ticket: u64,
    client: Client,
    /// It holds a text about this host.
    reports: bool,
    /// When the next character of a tarpit is due.
    drip: Option<Duration>,
    idle: Duration,
    moved: Duration,
    progress: u64,
    /// What epoll watches for; nothing before the first wait.
    watched: Option<EventFlags>,
}

/// All clients by ticket. Tickets are the supervisor's and never used twice, so an event of a client that has ended
/// cannot hit another.
pub(super) struct Clients {
    most: usize,
    places: HashMap<u64, Place>,
    /// Those of traps; the oldest has the smallest number.
    held: BTreeSet<u64>,
    desk: Desk,
    next_sweep: Option<Duration>,
}

impl Clients {
    pub(super) fn new(most: usize, desk: Desk) -> Self {
        Clients { most, places: HashMap::new(), held: BTreeSet::new(), desk, next_sweep: None }
    }

    pub(super) fn desk(&mut self) -> &mut Desk {
        &mut self.desk
    }

    /// Begins to serve a client: at once, since what it wants is often there already.
    pub(super) fn begin(
        &mut self,
        arrived: Arrived,
        epoll: &OwnedFd,
        out: &mut Outbox<FromBuiltin>,
        now: Duration,
    ) {
        let Arrived { ticket, kind, text, reports, idle_seconds, fd } = arrived;
        let client = Client::new(fd, kind, text, reports);
        let idle = match idle_seconds {
            0 => USUAL_IDLE,
            seconds => Duration::from_secs(u64::from(seconds)),
        };
        let reports = kind.reports();
        let too_many = reports && self.places.values().filter(|place| place.reports).count() >= MOST_REPORTS;
        let drip = (kind == BuiltinKind::Tarpit).then_some(now + DRIP);
        let mut place = Place { ticket, client, reports, drip, idle, moved: now, progress: 0, watched: None };
        if kind.holds() && self.held.len() >= (self.most * TRAPS.0 / TRAPS.1).max(1) {
            // Who has been there longest makes room.
            if let Some(oldest) = self.held.first().copied() {
                self.finish(oldest, Outcome::Idle, epoll, out);
            }
        }
        if too_many || self.places.len() >= self.most || self.places.contains_key(&ticket) {
            place.end(Outcome::Full, out);
            return;
        }
        match place.step(&mut self.desk, epoll, now) {
            Some(outcome) => place.end(outcome, out),
            None => {
                let deadline = place.deadline();
                self.next_sweep = Some(self.next_sweep.map_or(deadline, |sweep| sweep.min(deadline)));
                if kind.holds() {
                    self.held.insert(ticket);
                }
                self.places.insert(ticket, place);
            }
        }
    }

    /// A client can go on.
    pub(super) fn wake(
        &mut self,
        ticket: u64,
        epoll: &OwnedFd,
        out: &mut Outbox<FromBuiltin>,
        now: Duration,
    ) {
        let Some(place) = self.places.get_mut(&ticket) else { return };
        if let Some(outcome) = place.step(&mut self.desk, epoll, now) {
            self.finish(ticket, outcome, epoll, out);
        }
    }

    /// Ends a client on the supervisor's word.
    pub(super) fn end(&mut self, ticket: u64, epoll: &OwnedFd, out: &mut Outbox<FromBuiltin>) {
        self.finish(ticket, Outcome::Ended, epoll, out);
    }

    fn finish(&mut self, ticket: u64, outcome: Outcome, epoll: &OwnedFd, out: &mut Outbox<FromBuiltin>) {
        self.held.remove(&ticket);
        if let Some(place) = self.places.remove(&ticket) {
            place.leave(epoll);
            place.end(outcome, out);
        }
    }

    /// Whether nobody is served.
    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// When [`Clients::sweep`] is next worth a call.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.next_sweep
    }

    /// Ends who has been idle too long.
    pub(super) fn sweep(&mut self, epoll: &OwnedFd, out: &mut Outbox<FromBuiltin>, now: Duration) {
        if self.next_sweep.is_none_or(|sweep| now < sweep) {
            return;
        }
        for (ticket, place) in self.places.extract_if(|_, place| place.is_over(now)) {
            self.held.remove(&ticket);
            place.leave(epoll);
            place.end(Outcome::Idle, out);
        }
        let first = self.places.values().map(Place::deadline).min();
        self.next_sweep = first.map(|first| first.max(now + SWEEP));
    }
}

impl Place {
    fn deadline(&self) -> Duration {
        let idle = self.moved.saturating_add(self.idle);
        self.drip.map_or(idle, |drip| drip.min(idle))
    }

    /// Whether it has been silent for too long, or is gone; one of a tarpit gets its next character.
    fn is_over(&mut self, now: Duration) -> bool {
        if self.drip.is_some_and(|drip| drip <= now) {
            self.drip = Some(now + DRIP);
            if !self.client.drip() {
                return true;
            }
            if self.client.progress() != self.progress {
                (self.progress, self.moved) = (self.client.progress(), now);
            }
        }
        self.moved.saturating_add(self.idle) <= now
    }

    /// Lets the client do what it can, and watches for what it waits for. Says how it ended, if it did.
    fn step(&mut self, desk: &mut Desk, epoll: &OwnedFd, now: Duration) -> Option<Outcome> {
        let next = self.client.step(desk);
        if self.client.progress() != self.progress {
            self.progress = self.client.progress();
            self.moved = now;
        }
        let flags = match next {
            Next::End(outcome) => return Some(outcome),
            Next::Wait(flags) if self.watched == Some(flags) => return None,
            Next::Wait(flags) => flags,
        };
        let data = EventData::new_u64(Event::Client(self.ticket).number());
        let done = match self.watched {
            None => epoll::add(epoll, &self.client.fd, data, flags),
            Some(_) => epoll::modify(epoll, &self.client.fd, data, flags),
        };
        if done.is_err() {
            return Some(Outcome::Broken);
        }
        self.watched = Some(flags);
        None
    }

    /// Out of epoll, explicitly: a copy of the descriptor that is on its way elsewhere would keep it in.
    fn leave(&self, epoll: &OwnedFd) {
        if self.watched.is_some() {
            let _ = epoll::delete(epoll, &self.client.fd);
        }
    }

    fn end(self, outcome: Outcome, out: &mut Outbox<FromBuiltin>) {
        let (bytes_in, bytes_out) = (self.client.bytes_in, self.client.bytes_out);
        self.client.hang_up();
        out.put(FromBuiltin::Done { ticket: self.ticket, bytes_in, bytes_out, outcome });
    }
}

#[cfg(test)]
mod tests {
    use super::super::client::READ;
    use super::super::texts;
    use super::*;
    use crate::protocol::{FromBuiltin, parts};
    use portreeve_sys::seqpacket;
    use rustix::event::epoll::CreateFlags;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    struct Bench {
        clients: Clients,
        epoll: OwnedFd,
        out: Outbox<FromBuiltin>,
        supervisor: OwnedFd,
    }

    impl Bench {
        fn new() -> Self {
            let (supervisor, ours) = seqpacket::pair().unwrap();
            let desk =
                Desk { scratch: vec![0; READ].into(), datagrams: None, chargen: texts::chargen_block() };
            Bench {
                clients: Clients::new(8, desk),
                epoll: epoll::create(CreateFlags::CLOEXEC).unwrap(),
                out: Outbox::new(ours),
                supervisor,
            }
        }

        fn begin(&mut self, ticket: u64, kind: BuiltinKind, idle_seconds: u32, now: u64) -> UnixStream {
            let (client, server) = UnixStream::pair().unwrap();
            let fd = OwnedFd::from(server);
            let arrived =
                Arrived { ticket, kind, text: Vec::new(), reports: Reports::default(), idle_seconds, fd };
            self.clients.begin(arrived, &self.epoll, &mut self.out, Duration::from_secs(now));
            client
        }

        fn sweep(&mut self, now: u64) -> Vec<(u64, Outcome)> {
            self.clients.sweep(&self.epoll, &mut self.out, Duration::from_secs(now));
            self.out.send().unwrap();
            let mut ended = Vec::new();
            let mut buffer = [0; 4096];
            while let Ok(received) = seqpacket::recv(&self.supervisor, &mut buffer) {
                for message in parts(&buffer[..received.len]) {
                    match FromBuiltin::decode(message.unwrap()).unwrap() {
                        FromBuiltin::Done { ticket, outcome, .. } => ended.push((ticket, outcome)),
                        other => panic!("{other:?}"),
                    }
                }
            }
            ended
        }
    }

    #[test]
    fn a_client_without_progress_ends_after_its_idle_time() {
        let mut bench = Bench::new();
        let first = bench.begin(1, BuiltinKind::Echo, 10, 100);
        let second = bench.begin(2, BuiltinKind::Discard, 20, 100);
        assert_eq!(bench.sweep(109), []);
        (&first).write_all(b"x").unwrap();
        bench.clients.wake(1, &bench.epoll, &mut bench.out, Duration::from_secs(109));
        assert_eq!(bench.sweep(118), []);
        assert_eq!(bench.sweep(119), [(1, Outcome::Idle)]);
        assert_eq!(bench.sweep(120), [(2, Outcome::Idle)]);
        assert_eq!((&first).read(&mut [0; 8]).unwrap(), 1, "what it was owed came first");
        assert_eq!((&second).read(&mut [0; 8]).unwrap(), 0);
        assert_eq!(bench.clients.deadline(), None, "nobody is there to be looked for");
    }

    #[test]
    fn a_client_of_chargen_that_only_talks_makes_no_progress() {
        let mut bench = Bench::new();
        let client = bench.begin(1, BuiltinKind::Chargen, 10, 100);
        for now in 101..110 {
            (&client).write_all(b"keep me").unwrap();
            bench.clients.wake(1, &bench.epoll, &mut bench.out, Duration::from_secs(now));
            assert_eq!(bench.sweep(now), []);
        }
        assert_eq!(bench.sweep(111), [(1, Outcome::Idle)]);
    }

    #[test]
    fn a_tarpit_says_a_character_now_and_then_and_hears_of_the_end() {
        let mut bench = Bench::new();
        let client = bench.begin(1, BuiltinKind::Tarpit, 300, 100);
        (&client).write_all(b"a line\r\n").unwrap();
        for now in 101..=130 {
            assert_eq!(bench.sweep(now), []);
        }
        client.set_nonblocking(true).unwrap();
        let mut said = [0; 8];
        assert_eq!((&client).read(&mut said).unwrap(), 3, "three in thirty seconds");
        assert!(!said.starts_with(b"SSH"));
        drop(client);
        bench.clients.wake(1, &bench.epoll, &mut bench.out, Duration::from_secs(131));
        assert_eq!(bench.sweep(131), [(1, Outcome::Complete)]);
    }

    #[test]
    fn traps_make_room_for_each_other_and_leave_some_to_others() {
        let mut bench = Bench::new();
        let held: Vec<_> = (1..=20).map(|ticket| bench.begin(ticket, BuiltinKind::Trap, 0, 100)).collect();
        let ended: Vec<u64> = bench.sweep(100).into_iter().map(|(ticket, _)| ticket).collect();
        assert_eq!(ended, (1..=14).collect::<Vec<_>>(), "six of eight places, the oldest go");
        let echo = bench.begin(21, BuiltinKind::Echo, 0, 100);
        (&echo).write_all(b"x").unwrap();
        bench.clients.wake(21, &bench.epoll, &mut bench.out, Duration::from_secs(101));
        assert_eq!((&echo).read(&mut [0; 8]).unwrap(), 1);
        drop(held);
    }

    /// What a held client costs this process, apart from what the kernel has for its socket.
    #[test]
    fn a_mebibyte_holds_thousands() {
        let one = size_of::<(u64, Place)>() + size_of::<u64>() * 2;
        assert!(one <= 400, "{one} bytes");
    }

    #[test]
    fn no_idle_time_means_the_usual_one() {
        let mut bench = Bench::new();
        let _client = bench.begin(1, BuiltinKind::Echo, 0, 100);
        assert_eq!(bench.sweep(100 + USUAL_IDLE.as_secs() - 1), []);
        assert_eq!(bench.sweep(100 + USUAL_IDLE.as_secs()), [(1, Outcome::Idle)]);
    }
}

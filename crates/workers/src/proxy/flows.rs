//! The flows of datagram services: a table that is bounded altogether, for each service and for each source. One begins with the
//! first datagram of a source, waits for the supervisor to connect a socket to its target, and ends when nothing more comes.

use super::crowd::{Age, Crowd};
use crate::protocol::Carried;
use portreeve_sys::pktinfo::Here;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

/// How long one without an answer, or whose client has said nothing since, is kept; less where the idle time is less.
const UNCERTAIN: Duration = Duration::from_secs(30);
/// How long the supervisor may take to name a target.
const AIM: Duration = Duration::from_secs(10);
/// Datagrams of one flow that wait for its target.
const KEPT: usize = 4;
/// Bytes of those of all flows.
const KEPT_MOST: usize = 4 << 20;

/// By what a datagram is known to be of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) slot: u32,
    /// By which socket of it.
    pub(super) socket: u16,
    pub(super) source: SocketAddr,
    /// Where the source sends to, and so where answers come from.
    pub(super) here: Option<Here>,
}

/// The bounds of one service.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limits {
    pub(super) most: usize,
    pub(super) per_source: usize,
    pub(super) prefix: (u8, u8),
    pub(super) idle: Duration,
}

/// A flow.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) key: Key,
    pub(super) listener: Rc<OwnedFd>,
    /// By which it is counted.
    network: IpAddr,
    idle: Duration,
    age: Age,
    moved: Duration,
    /// The supervisor's mark, once it has given a target.
    pub(super) ticket: Option<u64>,
    /// None until there is one (again).
    pub(super) target: Option<OwnedFd>,
    /// That it has answered is to be told.
    pub(super) tell: bool,
    /// What waits for a target; while there was no answer, its first datagram, for another target.
    kept: Vec<Vec<u8>>,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

impl Flow {
    pub(super) fn is_young(&self) -> bool {
        self.age == Age::Young
    }

    fn deadline(&self) -> Duration {
        let patience = match (&self.target, self.age) {
            (None, _) => AIM,
            (Some(_), Age::Known) => self.idle,
            (Some(_), Age::Young | Age::Answered) => self.idle.min(UNCERTAIN),
        };
        self.moved.saturating_add(patience)
    }

    /// How it ends when its time is over.
    fn outcome(&self) -> Carried {
        if self.target.is_some() { Carried::Idle } else { Carried::Broken }
    }
}

/// Why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    Service,
    Source,
}

/// A flow that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) flow: Flow,
    pub(super) outcome: Carried,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Flows {
    most: usize,
    flows: HashMap<u64, Flow>,
    by_key: HashMap<Key, u64>,
    by_ticket: HashMap<u64, u64>,
    services: HashMap<u32, Crowd>,
    sources: HashMap<(u32, IpAddr), Crowd>,
    kept: usize,
    last: u64,
    next_sweep: Option<Duration>,
}

/// So often at most is looked for those whose time is over.
const SWEEP: Duration = Duration::from_millis(250);

impl Flows {
    pub(super) fn new(most: usize) -> Self {
        Flows { most, ..Flows::default() }
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Flow> {
        self.flows.get_mut(&number)
    }

    pub(super) fn of(&self, key: &Key) -> Option<u64> {
        self.by_key.get(key).copied()
    }

    pub(super) fn by_ticket(&self, ticket: u64) -> Option<u64> {
        self.by_ticket.get(&ticket).copied()
    }

    pub(super) fn of_slot(&self, slot: u32) -> Vec<u64> {
        self.flows.iter().filter(|(_, flow)| flow.key.slot == slot).map(|(&number, _)| number).collect()
    }

    /// Makes room for one more of a source, and says who had to go for it.
    pub(super) fn make_room(&mut self, key: &Key, limits: &Limits) -> Result<Vec<Ended>, Full> {
        let mut gone = Vec::new();
        let source = (key.slot, portreeve_policy::network(key.source.ip(), limits.prefix));
        if self.sources.get(&source).map_or(0, |crowd| crowd.count) >= limits.per_source.max(1) {
            let crowd = self.sources.get_mut(&source);
            gone.push(Self::first(crowd, &self.flows).ok_or(Full::Source)?);
        }
        let gone_here = gone.len();
        let of_service = self.services.get(&key.slot).map_or(0, |crowd| crowd.count);
        if of_service >= limits.most + gone_here {
            gone.push(Self::first(self.services.get_mut(&key.slot), &self.flows).ok_or(Full::Service)?);
        } else if self.flows.len() >= self.most + gone_here {
            // Whoever has most gives way, or a service without a flow could be kept out by another's.
            let most = self.services.iter_mut().max_by_key(|(_, crowd)| crowd.count);
            gone.push(Self::first(most.map(|(_, crowd)| crowd), &self.flows).ok_or(Full::Service)?);
        }
        let outcome = Carried::Crowded;
        Ok(gone.into_iter().filter_map(|number| self.end(number, outcome)).collect())
    }

    fn first(crowd: Option<&mut Crowd>, flows: &HashMap<u64, Flow>) -> Option<u64> {
        crowd?.first(|number| flows.get(&number).map(|flow| flow.age))
    }

    /// A flow begins, with its first datagram.
    pub(super) fn begin(
        &mut self,
        key: Key,
        listener: Rc<OwnedFd>,
        limits: &Limits,
        bytes: &[u8],
        now: Duration,
    ) -> u64 {
        self.last += 1;
        let number = self.last;
        let network = portreeve_policy::network(key.source.ip(), limits.prefix);
        let flow = Flow {
            key,
            listener,
            network,
            idle: limits.idle,
            age: Age::Young,
            moved: now,
            ticket: None,
            target: None,
            tell: false,
            kept: Vec::new(),
            bytes_in: 0,
            bytes_out: 0,
        };
        self.look_at(flow.deadline());
        self.flows.insert(number, flow);
        self.by_key.insert(key, number);
        self.keep(number, bytes);
        self.services.entry(key.slot).or_default().count += 1;
        self.sources.entry((key.slot, network)).or_default().count += 1;
        number
    }

    fn note(&mut self, number: u64, age: Age) {
        let Some(flow) = self.flows.get_mut(&number) else { return };
        flow.age = age;
        let (slot, network) = (flow.key.slot, flow.network);
        let age_of = |number: u64| self.flows.get(&number).map(|flow| flow.age);
        let crowds = [self.services.get_mut(&slot), self.sources.get_mut(&(slot, network))];
        crowds.into_iter().flatten().for_each(|crowd| crowd.note(number, age, age_of));
    }

    fn look_at(&mut self, deadline: Duration) {
        self.next_sweep = Some(self.next_sweep.map_or(deadline, |sweep| sweep.min(deadline)));
    }

    /// Keeps a datagram for the target that comes; one too many is lost, as datagrams may be.
    pub(super) fn keep(&mut self, number: u64, bytes: &[u8]) {
        let Some(flow) = self.flows.get_mut(&number) else { return };
        if flow.kept.len() < KEPT && self.kept + bytes.len() <= KEPT_MOST {
            flow.kept.push(bytes.to_vec());
            self.kept += bytes.len();
        }
    }

    /// What was kept; the first is kept on while there was no answer.
    pub(super) fn take_kept(&mut self, number: u64) -> Vec<Vec<u8>> {
        let Some(flow) = self.flows.get_mut(&number) else { return Vec::new() };
        let kept = std::mem::take(&mut flow.kept);
        self.kept -= kept.iter().map(Vec::len).sum::<usize>();
        if let Some(first) = kept.first().filter(|_| flow.age == Age::Young) {
            self.kept += first.len();
            flow.kept.push(first.clone());
        }
        kept
    }

    /// The supervisor has given a target.
    pub(super) fn lead(&mut self, number: u64, ticket: u64, target: OwnedFd, tell: bool, now: Duration) {
        let Some(flow) = self.flows.get_mut(&number) else { return };
        let first = flow.ticket.replace(ticket).is_none();
        flow.target = Some(target);
        flow.tell = tell;
        flow.moved = now;
        let deadline = flow.deadline();
        self.by_ticket.insert(ticket, number);
        self.look_at(deadline);
        if first {
            // Not before: one that has not even been sent to its target makes no room, or nobody would be in a flood.
            self.note(number, Age::Young);
        }
    }

    /// The target comes to nothing; its descriptor is closed, and with it the watch over it ends.
    pub(super) fn lose_target(&mut self, number: u64, now: Duration) {
        let Some(flow) = self.flows.get_mut(&number) else { return };
        flow.target = None;
        flow.moved = now;
        let deadline = flow.deadline();
        self.look_at(deadline);
    }

    /// The client has said something.
    pub(super) fn said(&mut self, number: u64, now: Duration) {
        let Some(flow) = self.flows.get_mut(&number) else { return };
        // One that waits for a target does not wait longer for it.
        if flow.target.is_some() {
            flow.moved = now;
        }
        if flow.age == Age::Answered {
            self.note(number, Age::Known);
        }
    }

    /// The target has answered.
    pub(super) fn answered(&mut self, number: u64, now: Duration) {
        let Some(flow) = self.flows.get_mut(&number) else { return };
        flow.moved = now;
        if flow.age == Age::Young {
            let kept = std::mem::take(&mut flow.kept);
            self.kept -= kept.iter().map(Vec::len).sum::<usize>();
            self.note(number, Age::Answered);
        }
    }

    /// Takes one out.
    pub(super) fn end(&mut self, number: u64, outcome: Carried) -> Option<Ended> {
        let flow = self.flows.remove(&number)?;
        self.by_key.remove(&flow.key);
        if let Some(ticket) = flow.ticket {
            self.by_ticket.remove(&ticket);
        }
        self.kept -= flow.kept.iter().map(Vec::len).sum::<usize>();
        let (slot, network) = (flow.key.slot, flow.network);
        if let Some(crowd) = self.services.get_mut(&slot) {
            crowd.count -= 1;
            if crowd.count == 0 {
                self.services.remove(&slot);
            }
        }
        if let Some(crowd) = self.sources.get_mut(&(slot, network)) {
            crowd.count -= 1;
            if crowd.count == 0 {
                self.sources.remove(&(slot, network));
            }
        }
        Some(Ended { flow, outcome })
    }

    /// When [`Flows::sweep`] is next worth a call.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.next_sweep
    }

    /// Takes out those whose time is over.
    pub(super) fn sweep(&mut self, now: Duration) -> Vec<Ended> {
        if self.next_sweep.is_none_or(|sweep| now < sweep) {
            return Vec::new();
        }
        let late = self.flows.iter().filter(|(_, flow)| flow.deadline() <= now);
        let late: Vec<(u64, Carried)> = late.map(|(&number, flow)| (number, flow.outcome())).collect();
        let ended = late.into_iter().filter_map(|(number, outcome)| self.end(number, outcome)).collect();
        let first = self.flows.values().map(Flow::deadline).min();
        self.next_sweep = first.map(|first| first.max(now + SWEEP));
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { most: 6, per_source: 4, prefix: (32, 64), idle: Duration::from_secs(100) };

    fn fd() -> OwnedFd {
        rustix::fs::open("/dev/null", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()).unwrap()
    }

    fn key(slot: u32, source: &str) -> Key {
        Key { slot, socket: 0, source: source.parse().unwrap(), here: None }
    }

    struct Bed {
        flows: Flows,
        tickets: u64,
    }

    impl Bed {
        fn new(most: usize) -> Bed {
            Bed { flows: Flows::new(most), tickets: 100 }
        }

        /// A flow that has its target, and whoever had to go for it.
        fn begin(&mut self, slot: u32, source: &str, at: u64) -> Result<(u64, Vec<SocketAddr>), Full> {
            let (number, gone) = self.wait(slot, source, at)?;
            self.tickets += 1;
            self.flows.lead(number, self.tickets, fd(), false, Duration::from_secs(at));
            assert_eq!(self.flows.take_kept(number), [b"first"]);
            Ok((number, gone))
        }

        fn wait(&mut self, slot: u32, source: &str, at: u64) -> Result<(u64, Vec<SocketAddr>), Full> {
            let key = key(slot, source);
            let gone = self.flows.make_room(&key, &LIMITS)?;
            let now = Duration::from_secs(at);
            let number = self.flows.begin(key, Rc::new(fd()), &LIMITS, b"first", now);
            assert_eq!(self.flows.of(&key), Some(number));
            Ok((number, gone.iter().map(|ended| ended.flow.key.source).collect()))
        }

        fn known(&mut self, number: u64) {
            self.flows.answered(number, Duration::ZERO);
            self.flows.said(number, Duration::ZERO);
        }
    }

    #[test]
    fn a_source_gives_way_to_itself_and_its_conversations_to_nobody() {
        let mut bed = Bed::new(100);
        for port in 1..=4 {
            assert_eq!(bed.begin(1, &format!("192.0.2.1:{port}"), 0).unwrap().1, []);
        }
        let (fifth, gone) = bed.begin(1, "192.0.2.1:5", 0).unwrap();
        assert_eq!(gone, ["192.0.2.1:1".parse().unwrap()]);
        assert_eq!(bed.begin(1, "192.0.2.2:1", 0).unwrap().1, [], "another source");
        for number in [2, 3, 4, fifth] {
            bed.known(number);
        }
        assert_eq!(bed.begin(1, "192.0.2.1:6", 0).err(), Some(Full::Source));
        assert_eq!(bed.flows.flows.len(), 5);
    }

    #[test]
    fn one_that_waits_for_its_target_makes_no_room() {
        let mut bed = Bed::new(100);
        for n in 1..=6 {
            bed.wait(1, &format!("192.0.2.{n}:1"), 0).unwrap();
        }
        assert_eq!(bed.wait(1, "192.0.2.7:1", 0).err(), Some(Full::Service));
        bed.flows.lead(3, 7, fd(), false, Duration::ZERO);
        assert_eq!(bed.wait(1, "192.0.2.7:1", 0).unwrap().1, ["192.0.2.3:1".parse().unwrap()]);
    }

    #[test]
    fn whoever_has_most_gives_way_to_another_service() {
        let mut bed = Bed::new(5);
        for n in 1..=5 {
            bed.begin(1, &format!("192.0.2.{n}:1"), 0).unwrap();
        }
        assert_eq!(bed.begin(2, "192.0.2.9:1", 0).unwrap().1, ["192.0.2.1:1".parse().unwrap()]);
        assert_eq!(bed.flows.of_slot(2).len(), 1);
    }

    #[test]
    fn times_end_and_nothing_is_left() {
        let mut bed = Bed::new(100);
        let young = bed.begin(1, "192.0.2.1:1", 0).unwrap().0;
        let known = bed.begin(1, "192.0.2.2:1", 0).unwrap().0;
        bed.known(known);
        let waiting = bed.wait(1, "192.0.2.3:1", 0).unwrap().0;
        let mut ended = |at: u64| -> Vec<(u64, Carried)> {
            let ended = bed.flows.sweep(Duration::from_secs(at));
            let number =
                |source: SocketAddr| u64::from(source.ip() == "192.0.2.1".parse::<IpAddr>().unwrap());
            ended.iter().map(|ended| (number(ended.flow.key.source), ended.outcome)).collect()
        };
        assert_eq!((young, waiting), (1, 3));
        assert_eq!(ended(9), []);
        assert_eq!(ended(10), [(0, Carried::Broken)]);
        assert_eq!(ended(29), []);
        assert_eq!(ended(30), [(1, Carried::Idle)]);
        assert_eq!(ended(99), []);
        assert_eq!(ended(100), [(0, Carried::Idle)]);
        let flows = &bed.flows;
        assert!(flows.flows.is_empty() && flows.by_key.is_empty() && flows.by_ticket.is_empty());
        assert!(flows.services.is_empty() && flows.sources.is_empty());
        assert_eq!((flows.kept, flows.deadline()), (0, None));
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut bed = Bed::new(10_000);
        let (number, _) = bed.wait(1, "192.0.2.1:1", 0).unwrap();
        for _ in 0..9 {
            bed.flows.keep(number, b"more");
        }
        assert_eq!(bed.flows.flows[&number].kept.len(), KEPT);
        bed.flows.keep(number, &[0; 100]);
        bed.flows.kept = KEPT_MOST - 4;
        let (other, _) = bed.wait(2, "192.0.2.2:1", 0).unwrap();
        assert_eq!(bed.flows.flows[&other].kept.len(), 0, "no room for it");
    }
}

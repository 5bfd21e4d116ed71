//! The table of what runs on behalf of clients: programs by process id, built-in sessions by ticket. Owns the seats;
//! dropping an entry frees its seat.

use crate::admit::Client;
use crate::announce::End;
use crate::log::Stamp;
use crate::path_ways::Awaited;
use crate::slot::SlotId;
use crate::targets::Place;
use portreeve_policy::{Peer, Seat};
use portreeve_sys::reap::Status;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

/// A running program.
#[derive(Debug)]
pub struct Child {
    /// Of which slot.
    pub slot: SlotId,
    /// Its place in the limits, given back when the entry goes.
    pub seat: Option<Seat>,
    /// Monotonic start.
    pub started: Duration,
    /// Start in seconds since 1970, for the duration that xinetd logs.
    pub started_wall: i64,
    /// The client, where it is known.
    pub peer: Option<Peer>,
    /// It has the slot's own socket (wait=yes).
    pub holds_socket: bool,
    /// It was told to end: when it is to be killed if it has not.
    pub kill_at: Option<Duration>,
    /// Its slot was removed with `on_remove = kill`, so no EXIT line follows (reference xinetd §11.3).
    pub forgotten: bool,
    /// The number of its start in the ledger.
    pub event: u64,
}

/// Where a client was sent so far.
#[derive(Debug, Default)]
pub struct Leg {
    /// The places, the last one last; so many as `Targets` tries one client at.
    pub tried: Vec<Place>,
    /// When it was sent to the last of them.
    pub began: Duration,
    /// Since when the queue of a unix socket is full, or this machine lacks what a connection takes.
    pub busy: Option<Duration>,
    /// The places of `tried` that were so in this round; the others are not tried again.
    pub full: Vec<Place>,
    /// A connection to a unix socket that is being begun: the last of `tried`.
    pub awaits: Option<Awaited>,
    /// The connection that the client comes by, whatever a PROXY header says.
    pub came: Option<Ends>,
    /// That to the last of the places.
    pub goes: Option<Ends>,
    /// Of datagrams: the worker's mark, while it has been given no target.
    pub number: Option<u64>,
}

impl Leg {
    /// The places without one that has not answered yet.
    pub fn without_awaited(&self) -> &[Place] {
        match (&self.awaits, self.tried.split_last()) {
            (Some(_), Some((_, before))) => before,
            _ => &self.tried,
        }
    }
}

/// A connection by its ends: of whoever began it, and of who accepted. Two connections may share one of them.
pub type Ends = (SocketAddr, SocketAddr);

/// A session in the builtin worker, or a connection in the proxy worker.
#[derive(Debug)]
pub struct Session {
    /// Of which slot.
    pub slot: SlotId,
    /// Its place in the limits, given back when the entry goes.
    pub seat: Option<Seat>,
    /// Start in seconds since 1970.
    pub started_wall: i64,
    /// Monotonic start.
    pub started: Duration,
    /// The client.
    pub peer: Option<Peer>,
    /// It is carried by a worker of TLS.
    pub sealed: bool,
    /// To where it is carried.
    pub way: Option<Leg>,
    /// Whether an EXIT line follows (echo, discard, chargen) or not (daytime, time), as in xinetd.
    pub logs_exit: bool,
    /// The worker that has it is leaving: its number.
    pub leaving: Option<u32>,
    /// The number of its start in the ledger.
    pub event: u64,
    /// Bytes from the client and to it, once they are known.
    pub bytes: Option<(u64, u64)>,
}

impl Session {
    /// Its end, to be announced. Nobody has a process of its own here, so the pid is 0.
    pub fn end(&self, stamp: &Stamp, status: Status) -> End {
        End {
            event: self.event,
            peer: self.peer,
            status: Some(status),
            pid: 0,
            seconds: stamp.wall() - self.started_wall,
            lasted: stamp.mono().saturating_sub(self.started),
            usage: None,
            bytes: self.bytes,
            logged: self.logs_exit,
        }
    }
}

/// A connection in a worker that serves TLS.
#[derive(Debug)]
pub struct Behind {
    /// The worker.
    pub link: u32,
    /// Of which slot.
    pub slot: SlotId,
    /// The client, while it shakes hands.
    pub client: Option<(Box<Client>, Seat)>,
    /// What each target is told first: a PROXY header, or nothing.
    pub head: Vec<u8>,
    /// The worker is leaving: its number.
    pub leaving: Option<u32>,
}

impl Behind {
    /// Whether this worker has it, and not one that leaves.
    pub fn is_with(&self, link: u32) -> bool {
        self.link == link && self.leaving.is_none()
    }
}

/// A client that waits for a start that the kernel refused.
#[derive(Debug)]
pub struct PutOff {
    /// The client; it counts the starts that failed.
    pub client: Client,
    /// When to try again.
    pub at: Duration,
}

/// Everything that runs or waits to run.
#[derive(Debug, Default)]
pub struct Children {
    /// Programs by process id.
    pub programs: HashMap<i32, Child>,
    /// Built-in sessions by ticket.
    pub sessions: HashMap<u64, Session>,
    /// Connections and flows of datagrams that the proxy worker carries, by ticket.
    pub carried: HashMap<u64, Session>,
    /// How many of them are flows.
    pub flows: usize,
    /// Connections to targets, with the ticket: a client that comes by one comes round.
    pub ends: BTreeMap<Ends, u64>,
    /// The ports at which connections are, or were, accepted: one to another port does not come round.
    pub doors: BTreeSet<u16>,
    /// Connections that a worker of TLS has, by ticket; those of redirected services are in `carried` too.
    pub sealed: HashMap<u64, Behind>,
    /// Those of the programs that are not our children.
    pub orphans: crate::orphans::Orphans,
    /// Clients whose program could not be started, in the order of their next try.
    pub put_off: Vec<PutOff>,
    /// Clients that wait a moment for a seat, the first of them first, and until when.
    pub seatless: VecDeque<PutOff>,
    /// The moment for which the alarm of the first of them was set last.
    pub seatless_alarm: Duration,
    /// The programs that were started last, the newest behind; some of them have ended.
    recent: VecDeque<i32>,
    /// Of each slot those that were started last and run, the newest behind.
    of_slot: HashMap<SlotId, Newest>,
    /// How often the kernel has said that children have ended.
    pub told: u64,
    /// How often it had when the newest of all were looked at for want of a process.
    looked: u64,
    /// When they are to be looked at, few or all.
    pub looks: Looks,
}

/// The newest running programs of a slot.
#[derive(Debug, Default)]
struct Newest {
    pids: VecDeque<i32>,
    /// How often the kernel had told of ends when they were looked at for want of a seat.
    looked: u64,
}

/// So many of them are remembered.
const NEWEST_OF_SLOT: usize = 128;

/// When programs that may have ended are to be looked at. An alarm is set for each moment; one whose moment was dropped means nothing,
/// and rings all the same.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Looks {
    /// At those that are remembered as new.
    pub glance: Option<Duration>,
    /// At all.
    pub all: Option<Duration>,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// A look at those that are remembered as new.
    Glance,
    /// A look at all.
    All,
}

impl Looks {
    /// What is due now, if anything is. It is due once.
    pub fn due(&mut self, now: Duration) -> Option<Due> {
        if self.all.take_if(|at| *at <= now).is_some() {
            return Some(Due::All);
        }
        self.glance.take_if(|at| *at <= now).map(|_| Due::Glance)
    }
}

/// So many of the newest programs are remembered: those that end soon are among them.
const RECENT: usize = 256;

/// Most clients that may wait for a start to be tried again.
pub const MOST_PUT_OFF: usize = 512;

impl Children {
    /// A program was started.
    pub fn begin(&mut self, pid: i32, child: Child) {
        if self.recent.len() >= RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(pid);
        let newest = self.of_slot.entry(child.slot).or_default();
        if newest.pids.len() >= NEWEST_OF_SLOT {
            newest.pids.pop_front();
        }
        newest.pids.push_back(pid);
        self.programs.insert(pid, child);
    }

    /// A program has ended and is in the table no more.
    pub fn end(&mut self, pid: i32) -> Option<Child> {
        let child = self.programs.remove(&pid)?;
        if let Some(newest) = self.of_slot.get_mut(&child.slot) {
            if let Some(at) = newest.pids.iter().rposition(|&other| other == pid) {
                newest.pids.remove(at);
            }
            if newest.pids.is_empty() {
                self.of_slot.remove(&child.slot);
            }
        }
        Some(child)
    }

    /// Whether there are programs of this slot that may have ended.
    pub fn may_end(&self, slot: SlotId) -> bool {
        self.of_slot.contains_key(&slot)
    }

    /// The newest programs of a slot, unless they were looked at since the kernel last told of an end.
    pub fn unseen_of(&mut self, slot: SlotId) -> Vec<i32> {
        let told = self.told;
        let unseen = self.of_slot.get_mut(&slot).filter(|newest| newest.looked != told);
        unseen.map_or_else(Vec::new, |newest| {
            newest.looked = told;
            newest.pids.iter().rev().copied().collect()
        })
    }

    /// The newest programs of all, in the same way.
    pub fn unseen(&mut self) -> Vec<i32> {
        if std::mem::replace(&mut self.looked, self.told) == self.told {
            return Vec::new();
        }
        self.newest(NEWEST_OF_SLOT)
    }

    /// The newest `most` of the remembered programs that have not been reaped, the newest first. The others among them are forgotten.
    pub fn newest(&mut self, most: usize) -> Vec<i32> {
        let mut found = Vec::with_capacity(most.min(self.recent.len()));
        while found.len() < most
            && let Some(pid) = self.recent.pop_back()
        {
            if self.programs.contains_key(&pid) {
                found.push(pid);
            }
        }
        self.recent.extend(found.iter().rev());
        found
    }

    /// Drops the clients of a slot that wait to be served; how many of them for another start.
    pub fn drop_waiting(&mut self, slot: SlotId) -> usize {
        self.seatless.retain(|p| p.client.slot != slot);
        let before = self.put_off.len();
        self.put_off.retain(|p| p.client.slot != slot);
        before - self.put_off.len()
    }

    /// Process ids of a slot's programs.
    pub fn of(&self, slot: SlotId) -> Vec<i32> {
        self.programs.iter().filter(|(_, c)| c.slot == slot).map(|(&pid, _)| pid).collect()
    }

    /// Whether anything still names this slot.
    pub fn name(&self, slot: SlotId) -> bool {
        self.programs.values().any(|c| c.slot == slot)
            || self.sessions.values().any(|s| s.slot == slot)
            || self.carried.values().any(|s| s.slot == slot)
            || self.sealed.values().any(|s| s.slot == slot)
            || self.put_off.iter().chain(&self.seatless).any(|p| p.client.slot == slot)
    }

    /// Monotonic start of the oldest instance of a slot.
    pub fn oldest(&self, slot: SlotId) -> Option<Duration> {
        let programs = self.programs.values().filter(|c| c.slot == slot).map(|c| c.started);
        let sessions =
            self.sessions.values().chain(self.carried.values()).filter(|s| s.slot == slot).map(|s| s.started);
        programs.chain(sessions).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn child() -> Child {
        Child {
            slot: 1,
            seat: None,
            started: Duration::ZERO,
            started_wall: 0,
            peer: None,
            holds_socket: false,
            kill_at: None,
            forgotten: false,
            event: 0,
        }
    }

    /// An alarm of a moment that a look has made pointless is none of a moment to come, and one moment is due once.
    #[test]
    fn an_old_alarm_means_nothing() {
        let at = Duration::from_millis;
        let mut looks = Looks { glance: Some(at(20)), all: Some(at(25)) };
        // All were looked at before either came; then a signal set them anew.
        (looks.glance, looks.all) = (Some(at(40)), Some(at(45)));
        assert_eq!((looks.due(at(20)), looks.due(at(25))), (None, None));
        assert_eq!(
            (looks.due(at(40)), looks.due(at(40)), looks.due(at(41))),
            (Some(Due::Glance), None, None)
        );
        assert_eq!((looks.due(at(45)), looks.due(at(45))), (Some(Due::All), None));
        assert_eq!(looks.due(at(99)), None, "nothing is set");
    }

    /// Of a slot those that run are looked at once for each time that the kernel tells, and nothing stays of one that has none.
    #[test]
    fn a_slot_is_looked_at_once_for_what_the_kernel_tells() {
        let mut children = Children::default();
        (1..=3).for_each(|pid| children.begin(pid, child()));
        children.begin(9, Child { slot: 2, ..child() });
        assert_eq!((children.unseen_of(1), children.unseen()), (vec![], vec![]), "nobody has told of an end");
        children.told += 1;
        assert!(children.end(2).is_some() && children.end(2).is_none());
        assert_eq!((children.unseen_of(1), children.unseen_of(1)), (vec![3, 1], vec![]));
        assert_eq!((children.unseen(), children.unseen()), (vec![9, 3, 1], vec![]));
        assert_eq!(children.unseen_of(2), [9]);
        (10..=20_000).for_each(|pid| children.begin(pid, child()));
        children.told += 1;
        assert_eq!(children.unseen_of(1).len(), NEWEST_OF_SLOT);
        assert!(children.may_end(1));
        let all: Vec<i32> = children.programs.keys().copied().collect();
        assert!(all.into_iter().all(|pid| children.end(pid).is_some()));
        assert!(children.of_slot.is_empty() && !children.may_end(1));
    }

    #[test]
    fn the_newest_are_those_that_run_and_who_ended_is_forgotten() {
        let mut children = Children::default();
        (1..=10).for_each(|pid| children.begin(pid, child()));
        for pid in [10, 8, 2] {
            children.end(pid);
        }
        assert_eq!(children.newest(3), [9, 7, 6]);
        assert_eq!(children.newest(usize::MAX), [9, 7, 6, 5, 4, 3, 1]);
        assert_eq!(children.recent, [1, 3, 4, 5, 6, 7, 9]);
        (11..=20_000).for_each(|pid| children.begin(pid, child()));
        assert_eq!((children.recent.len(), children.newest(1)), (RECENT, vec![20_000]));
    }
}

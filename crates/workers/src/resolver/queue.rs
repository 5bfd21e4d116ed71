//! Who asks what: questions wait in a bounded queue, the same question is asked once for all who wait for it, and a client's
//! names are remembered for a few seconds. Pure; the clock is given.

use super::pool::Found;
use crate::protocol::{HostName, NamesAnswer, Question, ToResolver};
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Tickets that may wait, of all questions together.
pub(super) const WAITING: usize = 256;
/// How long the names of an address are believed. Short: it is for bursts of one client, DNS has its own caches.
const BELIEVED: Duration = Duration::from_secs(10);
/// Addresses that are remembered.
const REMEMBERED: usize = 1024;

/// What is asked of the name service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Job {
    Names(IpAddr),
    Host(SocketAddr),
    Entry(Question),
}

impl Job {
    /// Whether it usually asks the network. One thread never takes such a job, so that a dead DNS server does not keep a
    /// reload from finding its users.
    fn is_slow(&self) -> bool {
        matches!(
            self,
            Job::Names(_)
                | Job::Host(_)
                | Job::Entry(Question::Addresses(..) | Question::Target(..) | Question::InNetgroup(..))
        )
    }
}

/// What becomes of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// A thread will take it.
    Queued,
    /// Somebody else asked the same; it will be answered with that.
    Joined,
    /// It was answered a moment ago.
    Known(Found),
    /// There is no room.
    Full,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    slow: VecDeque<Job>,
    quick: VecDeque<Job>,
    waiting: HashMap<Job, Vec<u64>>,
    tickets: usize,
    known: HashMap<Job, (Duration, Found)>,
}

/// A question without its ticket; `None` for one that is not the pool's.
pub(super) fn job_of(question: ToResolver) -> Option<(u64, Job)> {
    match question {
        ToResolver::Reverse { ticket, address } => Some((ticket, Job::Names(address.to_canonical()))),
        ToResolver::Host { ticket, address } => Some((ticket, Job::Host(without_port(address)))),
        ToResolver::Lookup { ticket, question } => Some((ticket, Job::Entry(question))),
        ToResolver::Ident { .. } | ToResolver::Ping { .. } => None,
    }
}

/// A mapped IPv4 address is looked up as IPv4 (reference tcp-wrappers A11); of an IPv6 one the scope counts too.
fn without_port(address: SocketAddr) -> SocketAddr {
    match (address, address.ip().to_canonical()) {
        (_, IpAddr::V4(v4)) => SocketAddr::new(v4.into(), 0),
        (SocketAddr::V6(v6), _) => std::net::SocketAddrV6::new(*v6.ip(), 0, 0, v6.scope_id()).into(),
        (v4, _) => SocketAddr::new(v4.ip(), 0),
    }
}

impl Queue {
    /// Takes a question in.
    pub(super) fn ask(&mut self, ticket: u64, job: Job, now: Duration) -> Fate {
        if let Some((until, found)) = self.known.get(&job)
            && now < *until
        {
            return Fate::Known(found.clone());
        }
        if self.tickets >= WAITING {
            return Fate::Full;
        }
        self.tickets += 1;
        if let Some(tickets) = self.waiting.get_mut(&job) {
            tickets.push(ticket);
            return Fate::Joined;
        }
        self.waiting.insert(job.clone(), vec![ticket]);
        if job.is_slow() {
            self.slow.push_back(job)
        } else {
            self.quick.push_back(job)
        }
        Fate::Queued
    }

    /// The next job for a thread that takes slow ones, or that does not. Quick ones go first: they are a reload's, and
    /// somebody waits for it.
    pub(super) fn take(&mut self, slow_too: bool) -> Option<Job> {
        self.quick.pop_front().or_else(|| if slow_too { self.slow.pop_front() } else { None })
    }

    /// A job is done: who waits for it. What could not be asked for is not remembered; the next client asks again.
    pub(super) fn done(&mut self, job: &Job, found: &Found, now: Duration) -> Vec<u64> {
        let is_name = match found {
            Found::Names(names) => *names != NamesAnswer::Unavailable,
            Found::Host(host) => *host != HostName::Unavailable,
            Found::Entry(_) => false,
        };
        if is_name {
            if self.known.len() >= REMEMBERED {
                self.known.retain(|_, (until, _)| now < *until);
            }
            if self.known.len() < REMEMBERED {
                self.known.insert(job.clone(), (now + BELIEVED, found.clone()));
            }
        }
        let tickets = self.waiting.remove(job).unwrap_or_default();
        self.tickets = self.tickets.saturating_sub(tickets.len());
        tickets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(last: u8) -> Job {
        Job::Names(IpAddr::from([192, 0, 2, last]))
    }

    const NOW: Duration = Duration::from_secs(100);

    #[test]
    fn the_same_question_is_asked_once() {
        let mut queue = Queue::default();
        assert_eq!(queue.ask(1, names(1), NOW), Fate::Queued);
        assert_eq!(queue.ask(2, names(1), NOW), Fate::Joined);
        let job = queue.take(true).unwrap();
        assert_eq!(queue.take(true), None);
        assert_eq!(queue.ask(3, names(1), NOW), Fate::Joined, "it is under way");
        let answer = Found::Names(NamesAnswer::Known(vec!["a.example".into()]));
        assert_eq!(queue.done(&job, &answer, NOW), [1, 2, 3]);
        assert_eq!(queue.ask(4, names(1), NOW), Fate::Known(answer));
        assert_eq!(queue.ask(5, names(1), NOW + BELIEVED), Fate::Queued, "believed for seconds only");
    }

    #[test]
    fn a_failure_is_not_remembered() {
        let mut queue = Queue::default();
        queue.ask(1, names(1), NOW);
        let job = queue.take(true).unwrap();
        assert_eq!(queue.done(&job, &Found::Names(NamesAnswer::Unavailable), NOW), [1]);
        assert_eq!(queue.ask(2, names(1), NOW), Fate::Queued);
    }

    #[test]
    fn the_queue_is_bounded_and_frees_itself() {
        let mut queue = Queue::default();
        for ticket in 0..WAITING as u64 {
            assert_ne!(queue.ask(ticket, names((ticket % 200) as u8), NOW), Fate::Full);
        }
        assert_eq!(queue.ask(999, names(1), NOW), Fate::Full);
        let job = queue.take(true).unwrap();
        queue.done(&job, &Found::Names(NamesAnswer::Unavailable), NOW);
        assert_eq!(queue.ask(999, names(250), NOW), Fate::Queued);
    }

    #[test]
    fn quick_jobs_pass_slow_ones() {
        let mut queue = Queue::default();
        let user = Job::Entry(Question::User("root".into()));
        queue.ask(1, names(1), NOW);
        queue.ask(2, user.clone(), NOW);
        assert_eq!(queue.take(false), Some(user));
        assert_eq!(queue.take(false), None, "a thread for quick ones never waits for DNS");
        assert_eq!(queue.take(true), Some(names(1)));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut queue = Queue::default();
        for n in 0..2 * REMEMBERED as u32 {
            let job = Job::Names(IpAddr::from(std::net::Ipv4Addr::from(n)));
            queue.ask(u64::from(n), job.clone(), NOW);
            queue.done(&job, &Found::Names(NamesAnswer::Known(Vec::new())), NOW);
        }
        assert_eq!(queue.known.len(), REMEMBERED);
    }
}

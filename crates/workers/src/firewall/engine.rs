//! The loop: takes bans from the supervisor to the kernel, and looks after them when somebody else has changed the tables, and
//! every half minute. A look is made in steps between the messages, so that no ban waits for one; nor does a repair wait for bans. What should not be
//! there is looked for where somebody may have put it there. Never gives up: what the kernel refuses is tried again, and said.

use super::comparison::{Found, Scope};
use super::enforcer::Enforcer;
use super::netlink::Netlink;
use super::pace::{Pace, ROUTINE};
use crate::outbox::Outbox;
use crate::protocol::{BadMessage, FromFirewall, Hold, MAX_MESSAGE, ToFirewall};
use portreeve_policy::{MOST_BANS, Prefix};
use portreeve_sys::{clock, seqpacket, sock_destroy};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

/// Changes within this time are looked at together; a restart of a firewall is many.
const SETTLE: Duration = Duration::from_millis(50);
/// So many bans are looked at from both sides each time: what nobody has put there is not there, and to see it costs little.
const SMALL: usize = 10_000;
/// Dumps that are made where somebody may have put something in: one can leave it out, where a set's hash grows meanwhile; the next is made
/// with the next look, when it has grown.
const DUMPS: u8 = 2;
/// After the kernel has refused.
const AGAIN: Duration = Duration::from_secs(5);
/// Bans that wait for the rest of their list; no list is longer.
const MOST_HELD: usize = MOST_BANS;
/// Networks whose connections the kernel is asked for one by one; for more, it tells of all connections.
const ASKED_APART: usize = 4;
/// Messages of the supervisor in one turn.
const MESSAGES: usize = 64;

/// Whether the worker goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goes {
    On,
    /// The supervisor has closed the channel.
    Home,
}

/// The worker's whole state.
pub(super) struct Engine {
    /// How the table may be held, the best way first.
    holds: &'static [Hold],
    out: Outbox<FromFirewall>,
    message: Box<[u8]>,
    /// Given to the enforcer when the list is whole.
    asking: Option<OwnedFd>,
    looking: Option<OwnedFd>,
    listening: Option<Netlink>,
    /// To find and end connections with.
    diag: Option<OwnedFd>,
    /// The list while it comes, and where the kernel takes none.
    gathered: BTreeMap<Prefix, Option<Duration>>,
    whole: bool,
    /// Bans whose list goes on in another message: they go to the kernel together. One that comes alone meanwhile goes before them.
    held: BTreeMap<Prefix, Option<Duration>>,
    enforcer: Option<Enforcer>,
    /// Changes since the list was whole that have been given to the kernel.
    changes: u64,
    /// When to look at the kernel next without a reason, and when with one.
    look: Duration,
    reason: Option<Duration>,
    pace: Pace,
    /// Somebody else may have put elements into our sets; and so many dumps are to tell of those.
    strangers: bool,
    seeks: u8,
    /// The kernel has taken, or had, all that it was to have when this was told last.
    stands: bool,
}

impl Engine {
    pub(super) fn new(channel: OwnedFd, holds: &'static [Hold]) -> Self {
        Engine {
            holds,
            out: Outbox::new(channel),
            message: vec![0; MAX_MESSAGE].into(),
            asking: None,
            looking: None,
            listening: None,
            diag: None,
            gathered: BTreeMap::new(),
            whole: false,
            held: BTreeMap::new(),
            enforcer: None,
            changes: 0,
            look: clock::monotonic() + ROUTINE,
            reason: None,
            pace: Pace::default(),
            strangers: false,
            seeks: 0,
            stands: false,
        }
    }

    /// With a table that stands.
    #[cfg(test)]
    pub(super) fn stand(&mut self, enforcer: Enforcer, listening: OwnedFd) {
        (self.enforcer, self.listening, self.whole) = (Some(enforcer), Some(Netlink::over(listening)), true);
    }

    /// Whether no look goes on, and the next one is the one of routine.
    #[cfg(test)]
    pub(super) fn rests(&self) -> bool {
        !self.looks() && self.next_look() > clock::monotonic() + ROUTINE / 2
    }

    /// Whether a look goes on and makes way now.
    #[cfg(test)]
    pub(super) fn makes_way(&self) -> bool {
        self.looks() && self.pace.next_step() > clock::monotonic()
    }

    /// Whether a look goes on that is for what the kernel has and should not.
    pub(super) fn looks_for_strangers(&self) -> bool {
        self.enforcer.as_ref().is_some_and(|enforcer| enforcer.compares_for(Scope::Strangers))
    }

    fn next_look(&self) -> Duration {
        self.reason.map_or(self.look, |reason| reason.min(self.look))
    }

    /// Whether a look goes on.
    pub(super) fn looks(&self) -> bool {
        self.enforcer.as_ref().is_some_and(Enforcer::compares)
    }

    /// Waits and does what there is to do.
    ///
    /// # Errors
    /// The channel fails or brings what it may not.
    pub(super) fn turn(&mut self) -> io::Result<Goes> {
        let (spoken, changed) = self.wait()?;
        if spoken {
            self.pace.hear(clock::monotonic());
            if self.listen()? == Goes::Home {
                return Ok(Goes::Home);
            }
        }
        if changed {
            self.note_changes();
        }
        let now = clock::monotonic();
        // What may be missing does not wait for the end of a dump.
        let free = !self.looks() || self.reason.is_some() && self.looks_for_strangers();
        if free && self.whole && self.next_look() <= now {
            self.look = now + self.pace.routine();
            self.pace.begin();
            // What is heard within the next moments may come behind what this look has seen.
            self.reason = self.reason.filter(|reason| *reason > now);
            self.look_after(now);
        } else if self.looks() && self.pace.next_step() <= now {
            self.look_on(now);
        }
        self.out.send()?;
        Ok(Goes::On)
    }

    fn wait(&self) -> io::Result<(bool, bool)> {
        let next = match self.reason {
            Some(reason) if self.looks_for_strangers() => self.pace.next_step().min(reason),
            _ if self.looks() => self.pace.next_step(),
            _ => self.next_look(),
        };
        let left = next.saturating_sub(clock::monotonic());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(30),
            tv_nsec: left.subsec_nanos().into(),
        };
        let wants = if self.out.is_empty() { PollFlags::IN } else { PollFlags::IN | PollFlags::OUT };
        let mut fds = vec![PollFd::from_borrowed_fd(self.out.channel().as_fd(), wants)];
        if let Some(listening) = &self.listening {
            fds.push(PollFd::from_borrowed_fd(listening.fd().as_fd(), PollFlags::IN));
        }
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) => Ok((
                fds.first().is_some_and(|fd| !fd.revents().is_empty()),
                fds.get(1).is_some_and(|fd| !fd.revents().is_empty()),
            )),
            Err(Errno::INTR) => Ok((false, false)),
            Err(error) => Err(error.into()),
        }
    }

    fn listen(&mut self) -> io::Result<Goes> {
        // Changes that came together go to the kernel together.
        let (mut bans, mut pardons) = (Vec::new(), Vec::new());
        for _ in 0..MESSAGES {
            let received = match seqpacket::recv(self.out.channel().as_fd(), &mut self.message) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            };
            if received.len == 0 {
                return Ok(Goes::Home);
            }
            let bytes = self.message.get(..received.len).unwrap_or_default();
            let message = ToFirewall::decode(bytes).map_err(io::Error::other)?;
            if received.fd.is_some() != message.carries_descriptor() {
                return Err(io::Error::other(BadMessage::BadValue("descriptor")));
            }
            let now = clock::monotonic();
            match (message, received.fd) {
                (ToFirewall::Asking, fd) => self.asking = fd,
                (ToFirewall::Looking, fd) => self.looking = fd,
                (ToFirewall::Listening, fd) => self.listening = fd.map(Netlink::over),
                (ToFirewall::Diag, fd) => self.diag = fd,
                (ToFirewall::Bans { bans: list, more }, _) => {
                    self.flush(&mut Vec::new(), &mut pardons);
                    let until =
                        |left: Option<u64>| left.map(|left| now.saturating_add(Duration::from_millis(left)));
                    let list = list.into_iter().map(|(prefix, left)| (prefix, until(left)));
                    if more {
                        for (prefix, until) in list {
                            // What was said of it before is not said any more, and counts.
                            self.changes += u64::from(self.held.insert(prefix, until).is_some());
                        }
                        if self.held.len() >= MOST_HELD {
                            self.flush_held();
                        }
                    } else if list.len() == 0 {
                        self.flush(&mut bans, &mut Vec::new());
                        self.flush_held();
                    } else {
                        for (prefix, until) in list {
                            self.changes += u64::from(self.held.remove(&prefix).is_some());
                            bans.push((prefix, until));
                        }
                    }
                }
                (ToFirewall::Pardon(list), _) => {
                    self.flush(&mut bans, &mut Vec::new());
                    for prefix in list {
                        self.changes += u64::from(self.held.remove(&prefix).is_some());
                        pardons.push(prefix);
                    }
                }
                (ToFirewall::Stand, _) => {
                    self.flush(&mut bans, &mut pardons);
                    self.flush_held();
                    self.whole = true;
                    self.changes = 0;
                    self.look = now;
                    // After an upgrade: the kernel has acknowledged all of it, and to look at a long list takes its time.
                    if self.stands {
                        let all = self.enforcer.as_ref().map_or(0, Enforcer::len);
                        self.tell(Found { wanted: all, enforced: all, ..Found::default() });
                    }
                }
                (ToFirewall::Cut(list), _) => {
                    // After they are dropped, or they would come again.
                    self.flush(&mut bans, &mut pardons);
                    self.cut(&list);
                }
            }
        }
        self.flush(&mut bans, &mut pardons);
        Ok(Goes::On)
    }

    /// A list is whole.
    fn flush_held(&mut self) {
        let mut held = std::mem::take(&mut self.held).into_iter().collect();
        self.flush(&mut held, &mut Vec::new());
    }

    /// Gives the kernel, or the list that it will get, what has come; both are never full at once.
    fn flush(&mut self, bans: &mut Vec<(Prefix, Option<Duration>)>, pardons: &mut Vec<Prefix>) {
        if bans.is_empty() && pardons.is_empty() {
            return;
        }
        let now = clock::monotonic();
        let done = match &mut self.enforcer {
            Some(enforcer) => enforcer.pardon(pardons, now).and_then(|()| enforcer.ban(bans, now)),
            None => {
                for prefix in pardons.iter() {
                    self.gathered.remove(prefix);
                }
                self.gathered.extend(bans.iter().copied());
                Ok(())
            }
        };
        self.changes += (bans.len() + pardons.len()) as u64;
        bans.clear();
        pardons.clear();
        match (done, &mut self.enforcer) {
            (Ok(()), Some(enforcer)) => {
                enforcer.expire(now);
                let (all, rebuilt) = (enforcer.len(), enforcer.made_anew());
                let enforced = if rebuilt { 0 } else { all };
                self.tell(Found { wanted: all, enforced, rebuilt, ..Found::default() });
            }
            (Ok(()), None) => {}
            (Err(error), _) => {
                // Who was let in may still be there, and the list does not say so any more.
                self.strangers = true;
                self.refused(&error, now);
            }
        }
    }

    /// Ends the connections that these networks have with this host, and tells.
    fn cut(&mut self, networks: &[Prefix]) {
        let (mut connections, mut errno) = (0u32, 0);
        if let Err(error) = self.end_connections(networks, &mut connections) {
            errno = error.raw_os_error().and_then(|errno| u16::try_from(errno).ok()).unwrap_or(1);
        }
        self.out.put(FromFirewall::Cut { connections, errno });
    }

    fn end_connections(&self, networks: &[Prefix], ended: &mut u32) -> io::Result<()> {
        let diag = self.diag.as_ref().ok_or(Errno::BADF)?;
        let mut found = Vec::new();
        if networks.len() <= ASKED_APART {
            for network in networks {
                let within = Some((network.address(), network.len()));
                found.extend(sock_destroy::connections(diag, within, |peer| network.contains(peer))?);
            }
        } else {
            let list: BTreeSet<Prefix> = networks.iter().copied().collect();
            let lengths: BTreeSet<u8> = networks.iter().map(Prefix::len).collect();
            let wanted = |peer| lengths.iter().any(|length| list.contains(&Prefix::around(peer, *length)));
            found = sock_destroy::connections(diag, None, wanted)?;
        }
        for connection in &found {
            *ended += u32::from(sock_destroy::destroy(diag, connection)?);
        }
        Ok(())
    }

    /// Something has changed in nf_tables. Other tables are others' business, however busy they are, and what we change ourselves
    /// is no news.
    fn note_changes(&mut self) {
        let Some(listening) = &mut self.listening else { return };
        let own = self.enforcer.as_ref().and_then(Enforcer::port);
        match listening.heard(own) {
            Ok(heard) if !heard.ours && !heard.lost => return,
            Ok(heard) => self.strangers |= heard.added || heard.lost,
            // One that cannot tell any more: there is still the routine.
            Err(_) => self.listening = None,
        }
        let soon = clock::monotonic() + SETTLE;
        self.reason = Some(self.reason.map_or(soon, |reason| reason.min(soon)));
    }

    /// Makes the kernel's bans what they are to be: at once where there is no table yet, or in the steps that follow.
    fn look_after(&mut self, now: Duration) {
        match &mut self.enforcer {
            Some(enforcer) => enforcer.begin_to_compare(Scope::Wanted),
            None => match self.begin(now) {
                Ok(found) => self.tell(found),
                Err(error) => self.refused(&error, now),
            },
        }
    }

    /// The next step of a look; tells once it is over. One for strangers follows, where there may be any.
    fn look_on(&mut self, now: Duration) {
        let strangers = self.looks_for_strangers();
        let Some(enforcer) = &mut self.enforcer else { return };
        match enforcer.compare_on(now) {
            Ok(None) => {}
            Ok(Some(found)) if strangers => {
                self.seeks = self.seeks.saturating_sub(1);
                if found.strange > 0 || found.rebuilt {
                    self.tell(found);
                }
            }
            Ok(Some(found)) => {
                // What is heard from now on asks for another one.
                if std::mem::take(&mut self.strangers) || self.listening.is_none() {
                    self.seeks = DUMPS;
                }
                if self.seeks > 0 || enforcer.len() <= SMALL {
                    enforcer.begin_to_compare(Scope::Strangers);
                }
                self.tell(found);
            }
            Err(error) => self.refused(&error, now),
        }
        self.pace.step(now, clock::monotonic(), strangers, !self.looks());
    }

    fn begin(&mut self, now: Duration) -> io::Result<Found> {
        let sockets = match (&self.asking, &self.looking) {
            (Some(asking), Some(looking)) => (asking.try_clone()?, looking.try_clone()?),
            _ => return Err(Errno::BADF.into()),
        };
        let bans = std::mem::take(&mut self.gathered);
        let enforcer = match Enforcer::begin_as(self.holds, sockets, bans.clone(), now) {
            Ok(enforcer) => enforcer,
            Err(error) => {
                self.gathered = bans;
                return Err(error);
            }
        };
        let all = enforcer.len();
        self.enforcer = Some(enforcer);
        Ok(Found { wanted: all, enforced: all, ..Found::default() })
    }

    fn tell(&mut self, found: Found) {
        let Some(enforcer) = &self.enforcer else { return };
        self.stands = !found.rebuilt;
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        self.out.put(FromFirewall::Standing {
            hold: enforcer.hold(),
            wanted: count(found.wanted),
            enforced: count(found.enforced),
            strange: count(found.strange),
            rebuilt: found.rebuilt,
            changes: self.changes,
        });
    }

    fn refused(&mut self, error: &io::Error, now: Duration) {
        let errno = error.raw_os_error().and_then(|errno| u16::try_from(errno).ok()).unwrap_or(0);
        let wanted = self.enforcer.as_ref().map_or(self.gathered.len(), Enforcer::len);
        (self.look, self.reason, self.stands) = (now + AGAIN, Some(now + AGAIN), false);
        self.out.put(FromFirewall::Refused { errno, wanted: u32::try_from(wanted).unwrap_or(u32::MAX) });
    }
}

//! Whether the program of a service may be started: is its content one that somebody answers for (`verify_server`). What is asked here
//! and what is executed is one open file, so nothing comes between. Opens and compares; hashes nothing (`hashing`), and knows of the
//! list only what `trusted` says. What cannot be told is no: with `refuse` nobody is served then. A path that leads to where somebody else
//! answers is never looked up (`elsewhere`).

use crate::elsewhere::Seen;
use crate::programs::slot_name;
use crate::slot::{Slot, SlotId, State};
use crate::supervisor::Supervisor;
use crate::timers::Alarm;
use portreeve_conf::{Action, Level, ProgramDigest, Verify};
use portreeve_policy::Reason;
use portreeve_sys::program::Program;
use portreeve_sys::source::reason;
use portreeve_sys::spawn::Stays;
use rustix::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

/// Why a slot is paused while its program is hashed; over an upgrade too.
pub const UNDER_WAY: &str = "its program is being verified";
/// A slot that waits for that is looked at again after this time, whatever happened to whoever hashes.
const LOOK: Duration = Duration::from_secs(1);
const LOOSE: &str = "others than root may write to it";
/// How long a service rests whose program has the socket and may not be started.
const REST: Duration = Duration::from_secs(5);

/// What is known of a slot's program.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// Nobody has looked.
    #[default]
    Unknown,
    /// It is on the list.
    Listed,
    /// It is not, or that cannot be told: why.
    Not(String),
}

/// What may be done with it.
#[derive(Debug)]
pub enum Fit {
    /// It may be started by its path.
    ByPath,
    /// It may be started by this descriptor.
    This(OwnedFd, Stays),
    /// It is being hashed.
    UnderWay,
    /// It may not be started.
    Refused,
}

/// The program of a slot that is to be verified.
fn asked(slot: &Slot) -> Option<(Verify, &str)> {
    match &slot.service.action {
        Action::External { server, .. } if slot.service.verify != Verify::No => {
            Some((slot.service.verify, server))
        }
        _ => None,
    }
}

/// Whether a slot's program is this one, and is to be verified.
pub fn is_of(slot: &Slot, server: &str) -> bool {
    asked(slot).is_some_and(|(_, own)| own == server)
}

impl Supervisor {
    /// Whether a slot's program may be started now.
    pub fn fit(&mut self, id: SlotId) -> Fit {
        let Some((verify, server)) = self.slots.get(&id).and_then(asked) else { return Fit::ByPath };
        let server = server.to_owned();
        self.trusted.refresh();
        let is_elsewhere = self.mounts.borrow_mut().remote(Path::new(&server)).is_some();
        let (trust, program) =
            if is_elsewhere { self.looked_at_elsewhere(&server) } else { self.looked_at(id, &server) };
        let fit = match (verify, &trust, program) {
            // By the path it would be looked up.
            (Verify::Warn, Trust::Listed | Trust::Not(_), Some((fd, stays))) if is_elsewhere => {
                Fit::This(fd, stays)
            }
            // What is started all the same is started as always.
            (Verify::Warn, ..) if !is_elsewhere => Fit::ByPath,
            (Verify::No, ..) => Fit::ByPath,
            (Verify::Refuse, Trust::Listed, Some((fd, stays))) => Fit::This(fd, stays),
            (_, Trust::Unknown, _) => Fit::UnderWay,
            _ => Fit::Refused,
        };
        let is_started = !matches!(fit, Fit::Refused);
        self.note_trust(id, is_started, &server, trust);
        fit
    }

    /// What is to be said of a program, and what to start; nothing where it is being hashed.
    fn looked_at(&mut self, id: SlotId, server: &str) -> (Trust, Option<(OwnedFd, Stays)>) {
        let now = self.stamp.mono();
        let program = match Program::open(Path::new(server)) {
            Err(error) => return (Trust::Not(format!("it cannot be opened: {}", reason(&error))), None),
            Ok(program) if program.is_loose => {
                return (Trust::Not(LOOSE.to_owned()), None);
            }
            Ok(program) => program,
        };
        match self.hashing.of(&program.identity, now).map(|known| known.found.clone()) {
            None => {
                let awaited = program.identity;
                // First: it may be over at once.
                if let Some(slot) = self.slots.get_mut(&id) {
                    slot.verified.awaits = Some(awaited);
                }
                self.hash(awaited, program.fd);
                (Trust::Unknown, None)
            }
            Some(Err(why)) => (Trust::Not(why), None),
            Some(Ok((digest, stays))) => (self.listed(server, &digest), Some((program.fd, stays))),
        }
    }

    /// The same of one that nobody here may look up.
    fn looked_at_elsewhere(&mut self, server: &str) -> (Trust, Option<(OwnedFd, Stays)>) {
        match self.seen_elsewhere(server) {
            Seen::UnderWay => (Trust::Unknown, None),
            Seen::Nothing(why) => (Trust::Not(why), None),
            Seen::Loose(stays, memory) => (Trust::Not(LOOSE.to_owned()), Some((memory, stays))),
            Seen::This(digest, stays, memory) => (self.listed(server, &digest), Some((memory, stays))),
        }
    }

    fn listed(&self, server: &str, digest: &ProgramDigest) -> Trust {
        self.trusted.has(server, digest).map_or_else(Trust::Not, |()| Trust::Listed)
    }

    /// Says what is new of a program, once.
    fn note_trust(&mut self, id: SlotId, is_started: bool, server: &str, trust: Trust) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        if trust == Trust::Unknown || slot.verified.trust == trust {
            return;
        }
        let before = std::mem::replace(&mut slot.verified.trust, trust.clone());
        let name = slot_name(self, id);
        match trust {
            Trust::Not(why) if !is_started => {
                let text = format!("service {name}: {server} is not started: {why}");
                self.say(Level::Error, &text);
            }
            Trust::Not(why) => {
                let text = format!("service {name}: {server} is started although {why}");
                self.say(Level::Warning, &text);
            }
            Trust::Listed if before != Trust::Unknown => {
                let text = format!("service {name}: {server} is one that is answered for again");
                self.say(Level::Notice, &text);
            }
            Trust::Listed | Trust::Unknown => {}
        }
    }

    /// Whether clients of a slot may be taken now; otherwise the slot rests and the kernel holds them.
    pub fn may_take(&mut self, id: SlotId) -> bool {
        let holds = self.slots.get(&id).is_some_and(|slot| slot.service.wait);
        match self.fit(id) {
            Fit::ByPath | Fit::This(..) => true,
            Fit::UnderWay => {
                self.pause(id, self.stamp.mono() + LOOK, UNDER_WAY);
                false
            }
            // There is nobody to be refused where the program itself accepts.
            Fit::Refused if holds => {
                self.hold(id, Reason::Program, self.stamp.mono() + REST);
                false
            }
            Fit::Refused => true,
        }
    }

    /// Looks at the program of a slot before its first client comes.
    pub fn verify_ahead(&mut self, id: SlotId) {
        let _ = self.fit(id);
    }

    /// Something has been hashed: whoever waited for it goes on.
    pub fn programs_known(&mut self, waited: impl Fn(&Slot) -> bool) {
        let ids: Vec<SlotId> =
            self.slots.iter().filter(|(_, slot)| waited(slot)).map(|(&id, _)| id).collect();
        for &id in &ids {
            if let Some(verified) = self.slots.get_mut(&id).and_then(|slot| slot.verified.made()) {
                verified.awaits = None;
            }
            let fit = self.fit(id);
            let rests = |slot: &Slot| matches!(&slot.status, State::Paused(_, why) if why == UNDER_WAY);
            if !matches!(fit, Fit::UnderWay) && self.slots.get(&id).is_some_and(rests) {
                self.resume_slot(id);
            }
        }
        let now = self.stamp.mono();
        for put_off in self.children.put_off.iter_mut().filter(|one| ids.contains(&one.client.slot)) {
            put_off.at = put_off.at.min(now);
        }
        self.children.put_off.sort_by_key(|put_off| put_off.at);
        self.timers.set(now, Alarm::Retry);
    }

    /// What `status` and `explain` say of a slot's program: the word of its setting, the word of its state, and why.
    pub fn trust_of<'a>(&'a self, slot: &'a Slot) -> Option<(&'static str, &'static str, &'a str)> {
        let (verify, _) = asked(slot)?;
        let (word, why) = match &slot.verified.trust {
            Trust::Unknown => ("being verified", ""),
            Trust::Listed => ("listed", ""),
            Trust::Not(why) => ("not listed", why.as_str()),
        };
        Some((verify.word(), word, why))
    }
}

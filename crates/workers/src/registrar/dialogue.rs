//! How a list is worked through with rpcbind: its table is read, and what must change is asked for, one call after the
//! other. Decides which entries are touched; does no input or output and knows no clock.
//!
//! An entry that points elsewhere is somebody's: it goes only where the supervisor, which can see whether a socket is
//! there, has said so. What is withdrawn goes only while it still points to us.

use super::xdr::{self, Bad, Call, Entry, Mapping, Reply, Version};
use crate::protocol::{Entered, MAX_OWNER, Registration};
use std::collections::VecDeque;

/// A list under way.
#[derive(Debug)]
pub(super) struct Dialogue {
    /// The supervisor's mark.
    pub(super) round: u64,
    wanted: Vec<(Registration, bool)>,
    withdrawn: Vec<Registration>,
    entered: Vec<Entered>,
    version: Version,
    xid: u32,
    /// Calls to come; `None` while the table is not known yet.
    steps: Option<VecDeque<Step>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// Enter the wanted one with this index.
    Set(usize),
    /// Enter what was there before, because version 2 has thrown it away with its neighbour.
    Restore(Registration),
    Unset(Registration),
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Send this and wait for the answer.
    Say(Vec<u8>),
    /// All is done.
    Done(Vec<Entered>),
}

impl Dialogue {
    /// Begins with a list. `xid` is the number of the last call of this connection.
    pub(super) fn new(
        round: u64,
        wanted: Vec<(Registration, bool)>,
        withdrawn: Vec<Registration>,
        version: Version,
        xid: u32,
    ) -> Self {
        let entered = vec![Entered::Refused; wanted.len()];
        Dialogue { round, wanted, withdrawn, entered, version, xid, steps: None }
    }

    /// The version that rpcbind was found to know, and the last call's number.
    pub(super) fn known(&self) -> (Version, u32) {
        (self.version, self.xid)
    }

    /// The first call.
    pub(super) fn begin(&mut self) -> Vec<u8> {
        self.say(Call::Dump)
    }

    fn say(&mut self, call: Call<'_>) -> Vec<u8> {
        self.xid = self.xid.wrapping_add(1);
        xdr::call(self.xid, self.version, call)
    }

    /// Takes the answer to the last call.
    pub(super) fn answer(&mut self, record: &[u8]) -> Result<Next, Bad> {
        let reply = xdr::reply(self.xid, record)?;
        let Some(step) = self.steps.as_mut().map(VecDeque::pop_front) else {
            return self.answer_to_dump(reply);
        };
        let done = match reply {
            Reply::Accepted(result) => xdr::boolean(result)?,
            Reply::Rejected | Reply::WrongVersion => false,
        };
        if let Some(Step::Set(index)) = step
            && let Some(entered) = self.entered.get_mut(index)
        {
            *entered = if done { Entered::Registered } else { Entered::Refused };
        }
        Ok(self.next())
    }

    fn answer_to_dump(&mut self, reply: Reply<'_>) -> Result<Next, Bad> {
        match reply {
            Reply::Accepted(result) => {
                let table = xdr::table(self.version, result)?;
                self.plan(&table);
                Ok(self.next())
            }
            Reply::WrongVersion => {
                self.version = self.version.lower().ok_or(Bad)?;
                Ok(Next::Say(self.begin()))
            }
            Reply::Rejected => Err(Bad),
        }
    }

    fn next(&mut self) -> Next {
        let mapping = |registration: &Registration| Mapping {
            program: registration.program,
            version: registration.version,
            netid: registration.netid(),
            address: registration.address,
        };
        match self.steps.as_ref().and_then(VecDeque::front).cloned() {
            Some(Step::Unset(registration)) => Next::Say(self.say(Call::Unset(mapping(&registration)))),
            Some(Step::Restore(registration)) => Next::Say(self.say(Call::Set(mapping(&registration)))),
            Some(Step::Set(index)) => match self.wanted.get(index).copied() {
                Some((registration, _)) => Next::Say(self.say(Call::Set(mapping(&registration)))),
                None => Next::Done(std::mem::take(&mut self.entered)),
            },
            None => Next::Done(std::mem::take(&mut self.entered)),
        }
    }

    /// What is to be done to make of this table what is wanted.
    fn plan(&mut self, table: &[Entry]) {
        let version = self.version;
        let mut gone: Vec<Registration> = Vec::new();
        for registration in &self.withdrawn {
            let still_ours = table.iter().any(|entry| points_to(entry, registration, version));
            // One that is wanted again is wanted.
            let wanted = self.wanted.iter().any(|(wanted, _)| wanted == registration);
            if still_ours && !wanted {
                gone.push(*registration);
            }
        }
        let mut sets = Vec::new();
        for (index, (registration, replace)) in self.wanted.iter().enumerate() {
            if version == Version::Two && registration.address.is_ipv6() {
                self.entered[index] = Entered::NoPlace;
                continue;
            }
            let there = table.iter().find(|entry| is_entry(entry, registration));
            let with_us = |entry: &Entry| points_to(entry, registration, version);
            self.entered[index] = match there {
                Some(entry) if with_us(entry) && !gone.iter().any(|one| one.same_entry(registration)) => {
                    Entered::Registered
                }
                Some(entry) if !with_us(entry) && !*replace => Entered::Taken {
                    address: entry.address,
                    owner: entry.owner.chars().take(MAX_OWNER).collect(),
                },
                Some(_) => {
                    gone.push(*registration);
                    sets.push(index);
                    Entered::Refused
                }
                None => {
                    sets.push(index);
                    Entered::Refused
                }
            };
        }
        let mut steps: VecDeque<Step> = gone.iter().copied().map(Step::Unset).collect();
        if version == Version::Two {
            steps.extend(neighbours(table, &gone).into_iter().map(Step::Restore));
        }
        steps.extend(sets.into_iter().map(Step::Set));
        self.steps = Some(steps);
    }
}

/// Version 2 forgets a version of a program for udp and tcp alike: the other one is entered again.
fn neighbours(table: &[Entry], gone: &[Registration]) -> Vec<Registration> {
    let lost = |entry: &&Entry| {
        let same = |one: &Registration| (one.program, one.version) == (entry.program, entry.version);
        gone.iter().any(same) && !gone.iter().any(|one| is_entry(entry, one))
    };
    let again = |entry: &Entry| {
        let datagrams = match entry.netid.as_str() {
            "udp" => true,
            "tcp" => false,
            _ => return None,
        };
        Some(Registration {
            program: entry.program,
            version: entry.version,
            datagrams,
            address: entry.address?,
        })
    };
    table.iter().filter(lost).filter_map(again).collect()
}

fn is_entry(entry: &Entry, registration: &Registration) -> bool {
    (entry.program, entry.version) == (registration.program, registration.version)
        && entry.netid == registration.netid()
}

/// Whether the entry is this registration. Version 2 tells ports alone.
fn points_to(entry: &Entry, registration: &Registration, version: Version) -> bool {
    let same = |address: std::net::SocketAddr| match version {
        Version::Two => address.port() == registration.address.port(),
        Version::Three | Version::Four => {
            (address.ip(), address.port()) == (registration.address.ip(), registration.address.port())
        }
    };
    is_entry(entry, registration) && entry.address.is_some_and(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registration(version: u32, datagrams: bool, address: &str) -> Registration {
        Registration { program: 100_001, version, datagrams, address: address.parse().unwrap() }
    }

    fn entry(version: u32, netid: &str, address: &str) -> Entry {
        let address = xdr::from_universal(address);
        Entry { program: 100_001, version, netid: netid.to_owned(), address, owner: "superuser".to_owned() }
    }

    fn planned(
        version: Version,
        table: &[Entry],
        wanted: &[(Registration, bool)],
        withdrawn: &[Registration],
    ) -> (Vec<Step>, Vec<Entered>) {
        let mut dialogue = Dialogue::new(1, wanted.to_vec(), withdrawn.to_vec(), version, 0);
        dialogue.plan(table);
        (dialogue.steps.unwrap().into(), dialogue.entered)
    }

    #[test]
    fn only_what_is_missing_is_entered() {
        let (udp, tcp) = (registration(1, true, "0.0.0.0:2561"), registration(1, false, "0.0.0.0:2562"));
        let table = [entry(1, "udp", "0.0.0.0.10.1"), entry(2, "tcp", "0.0.0.0.10.2")];
        let (steps, entered) = planned(Version::Four, &table, &[(udp, false), (tcp, false)], &[]);
        assert_eq!(steps, [Step::Set(1)]);
        assert_eq!(entered[0], Entered::Registered);
    }

    #[test]
    fn what_is_anothers_goes_on_the_word_of_the_supervisor_alone() {
        let own = registration(1, true, "0.0.0.0:2561");
        let table = [entry(1, "udp", "0.0.0.0.10.9"), entry(1, "udp6", "::.10.9")];
        let (steps, entered) = planned(Version::Four, &table, &[(own, false)], &[]);
        assert_eq!(steps, []);
        let address = "0.0.0.0:2569".parse().ok();
        assert_eq!(entered, [Entered::Taken { address, owner: "superuser".to_owned() }]);
        let (steps, _) = planned(Version::Four, &table, &[(own, true)], &[]);
        assert_eq!(steps, [Step::Unset(own), Step::Set(0)]);
        // Withdrawn, yet it points to somebody else by now.
        assert_eq!(planned(Version::Four, &table, &[], &[own]).0, []);
        let table = [entry(1, "udp", "0.0.0.0.10.1")];
        assert_eq!(planned(Version::Four, &table, &[], &[own]).0, [Step::Unset(own)]);
        assert_eq!(planned(Version::Four, &table, &[(own, false)], &[own]).0, [], "wanted again");
    }

    #[test]
    fn a_service_that_moved_is_entered_anew() {
        let (old, new) = (registration(1, false, "0.0.0.0:2561"), registration(1, false, "0.0.0.0:2600"));
        let table = [entry(1, "tcp", "0.0.0.0.10.1")];
        let (steps, _) = planned(Version::Four, &table, &[(new, true)], &[old]);
        assert_eq!(steps, [Step::Unset(old), Step::Unset(new), Step::Set(0)]);
    }

    #[test]
    fn portmap_forgets_both_protocols_so_the_other_is_entered_again() {
        let own = registration(1, true, "10.0.0.1:2561");
        let table = [
            entry(1, "udp", "0.0.0.0.10.1"),
            entry(1, "tcp", "0.0.0.0.10.7"),
            entry(2, "tcp", "0.0.0.0.10.7"),
        ];
        let (steps, _) = planned(Version::Two, &table, &[], &[own]);
        assert_eq!(steps, [Step::Unset(own), Step::Restore(registration(1, false, "0.0.0.0:2567"))]);
        let six = registration(1, true, "[::]:2561");
        let (steps, entered) = planned(Version::Two, &table, &[(own, false), (six, false)], &[]);
        assert_eq!((steps.len(), entered), (0, vec![Entered::Registered, Entered::NoPlace]));
    }

    fn answer(xid: u32, status: u32, result: &[u32]) -> Vec<u8> {
        [&[xid, 1, 0, 0, 0, status], result].concat().iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn the_best_version_that_both_know_is_spoken() {
        let own = registration(1, true, "0.0.0.0:2561");
        let mut dialogue = Dialogue::new(1, vec![(own, false)], Vec::new(), Version::Four, 7);
        let first = dialogue.begin();
        assert_eq!(first[4..8], 8u32.to_be_bytes());
        assert!(matches!(dialogue.answer(&answer(8, 2, &[2, 3])), Ok(Next::Say(_))));
        assert!(matches!(dialogue.answer(&answer(9, 2, &[2, 2])), Ok(Next::Say(_))));
        assert_eq!(dialogue.known(), (Version::Two, 10));
        let Ok(Next::Say(set)) = dialogue.answer(&answer(10, 0, &[0])) else { panic!("no call") };
        // pmap_set: program, version, 17 for udp, the port.
        let words: Vec<u32> =
            set[44..].chunks(4).map(|word| u32::from_be_bytes(word.try_into().unwrap())).collect();
        assert_eq!(words, [100_001, 1, 17, 2561]);
        assert_eq!(dialogue.answer(&answer(11, 0, &[1])), Ok(Next::Done(vec![Entered::Registered])));
        assert_eq!(dialogue.answer(&answer(1, 0, &[1])), Err(Bad), "an answer to another call");
    }
}

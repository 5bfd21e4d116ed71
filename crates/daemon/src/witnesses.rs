//! Instances that tell of their own client (`evidence = yes`): each has a descriptor, whose other end is here. What is read from one is
//! a word out of a fixed table; the address is that of the arrival, whatever is written. Bounded for each instance, and nothing waits.

use crate::evidence::Weighed;
use crate::slot::SlotId;
use crate::supervisor::{Supervisor, Token};
use portreeve_conf::Level;
use portreeve_handover::{ProgramState, WitnessState};
use portreeve_policy::evidence::{Evidence, Grade, Kind};
use portreeve_sys::{highfd, seqpacket};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use std::collections::HashMap;
use std::ffi::CString;
use std::net::IpAddr;

/// The variable that names the descriptor.
pub const VARIABLE: &str = "PORTREEVE_EVIDENCE_FD";
/// So many words are heard of one instance; then its descriptor is closed.
pub const MOST_TOLD: u32 = 64;
/// The longest word.
const LONGEST: usize = 32;
/// Words of one instance that are heard in one turn.
const AT_ONCE: usize = 8;

/// The instances, by process.
pub type Witnesses = HashMap<u32, Witness>;

/// One of them.
#[derive(Debug)]
pub struct Witness {
    /// Our end.
    pub fd: OwnedFd,
    /// Of which service.
    pub slot: SlotId,
    /// Its client.
    pub source: IpAddr,
    /// Who that is a proxy said.
    pub proxied: bool,
    /// The number of its start in the ledger.
    pub event: u64,
    /// Words that were heard.
    pub told: u32,
}

/// The two ends for an instance that is about to start.
#[derive(Debug)]
pub struct Ends {
    ours: OwnedFd,
    /// The instance's.
    pub theirs: OwnedFd,
}

impl Supervisor {
    /// The ends for an instance of this service, if it is to have them. Without a descriptor to spare it starts without.
    pub fn witness_ends(&mut self, id: SlotId, has_address: bool) -> Option<Ends> {
        let wanted = self.slots.get(&id).is_some_and(|slot| slot.service.evidence);
        if !wanted || !has_address {
            return None;
        }
        let ends = seqpacket::pair().and_then(|(ours, theirs)| {
            // Whoever writes there waits for nobody but in a full queue; programs expect a descriptor that blocks.
            rustix::io::ioctl_fionbio(&theirs, false)?;
            Ok(Ends { ours: highfd::park(ours, self.base)?, theirs })
        });
        match ends {
            Ok(ends) => Some(ends),
            Err(error) => {
                let name = crate::programs::slot_name(self, id);
                let text = format!("service {name}: an instance cannot tell of its client: {error}");
                self.say(Level::Warning, &text);
                None
            }
        }
    }

    /// The instance runs.
    pub fn hear_witness(&mut self, pid: i32, ends: Ends, source: IpAddr, proxied: bool) {
        let (Ok(number), Some(child)) = (u32::try_from(pid), self.children.programs.get(&pid)) else {
            return;
        };
        let (slot, event) = (child.slot, child.event);
        self.add_witness(number, Witness { fd: ends.ours, slot, source, proxied, event, told: 0 });
    }

    /// Watches one, which may be left by a former version.
    pub fn add_witness(&mut self, number: u32, witness: Witness) {
        if self.watch(witness.fd.as_fd(), Token::Witness(number)).is_ok() {
            self.witnesses.insert(number, witness);
        }
    }

    /// An instance has told something, or its descriptor is closed everywhere.
    pub fn witness_event(&mut self, number: u32) {
        for _ in 0..AT_ONCE {
            if !self.hear_word(number) {
                return;
            }
        }
    }

    /// An instance has ended: what it told last is heard first. Whether it has told anything, as far as is known.
    pub fn witness_ended(&mut self, pid: i32) -> bool {
        let Ok(number) = u32::try_from(pid) else { return false };
        let told = |s: &Self| s.witnesses.get(&number).is_none_or(|witness| witness.told > 0);
        let had = self.witnesses.contains_key(&number);
        let mut any = had && told(self);
        while self.hear_word(number) {
            any = true;
        }
        any |= had && told(self);
        self.witnesses.remove(&number);
        any
    }

    /// Hears one word; whether there may be another.
    fn hear_word(&mut self, number: u32) -> bool {
        let Some(witness) = self.witnesses.get_mut(&number) else { return false };
        let mut bytes = [0u8; LONGEST];
        // What comes attached is closed by the kernel: nobody takes it.
        let word = match rustix::net::recv(&witness.fd, &mut bytes, RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
            Ok((_, length)) if length > 0 => bytes.get(..length),
            Err(Errno::AGAIN) => return false,
            Err(Errno::INTR) => return true,
            Ok(_) | Err(_) => {
                self.witnesses.remove(&number);
                return false;
            }
        };
        witness.told += 1;
        let (slot, event, told) = (witness.slot, witness.event, witness.told);
        let (source, proxied) = (witness.source, witness.proxied);
        let kind = word.and_then(kind_of);
        if told >= MOST_TOLD {
            self.witnesses.remove(&number);
        }
        let name = crate::programs::slot_name(self, slot);
        match kind {
            Some(kind) => {
                let evidence =
                    Evidence { source, grade: Grade::Authenticated, kind, service: &name, count: 1, proxied };
                let _: Weighed = self.weigh_evidence_of(&evidence, event);
            }
            None if told == 1 => {
                let known: Vec<&str> = Kind::TOLD.iter().map(|kind| kind.word()).collect();
                let text = format!(
                    "service {name}: instance {number} has told what is no kind of evidence; {} are known",
                    known.join(", ")
                );
                self.say(Level::Warning, &text);
            }
            None => {}
        }
        told < MOST_TOLD
    }
}

/// One as a record.
pub fn leave(witness: &Witness) -> WitnessState {
    let Witness { fd, source, proxied, told, .. } = witness;
    WitnessState { fd: crate::handover::fd(fd), source: Some(*source), proxied: *proxied, told: *told }
}

impl Supervisor {
    /// What a former version left.
    pub fn take_over_witness(&mut self, program: &ProgramState, left: &WitnessState) {
        let (Ok(number), Some(source)) = (u32::try_from(program.pid), left.source) else { return };
        // One that cannot be had tells nothing more; its program runs on.
        let Ok(fd) = self.adopt(left.fd) else { return };
        let (slot, event, proxied, told) = (program.slot, program.event, left.proxied, left.told);
        self.add_witness(number, Witness { fd, slot, source, proxied, event, told });
    }
}

/// What a word means: one of the table, alone on its line.
fn kind_of(bytes: &[u8]) -> Option<Kind> {
    let word = std::str::from_utf8(bytes).ok()?.trim_ascii();
    Kind::of_word(word).filter(|kind| Kind::TOLD.contains(kind))
}

/// The variable for descriptor `fd`.
pub fn variable(fd: usize) -> CString {
    CString::new(format!("{VARIABLE}={fd}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_one_of_the_table_and_nothing_else() {
        for (bytes, kind) in [
            (&b"login"[..], Some(Kind::Login)),
            (b"user\n", Some(Kind::User)),
            (b" success ", Some(Kind::Success)),
            (b"abuse\0", None),
            (b"sensor", None),
            (b"scan", None),
            (b"login 192.0.2.1", None),
            (b"LOGIN", None),
            (b"\xff", None),
            (b"\n", None),
        ] {
            assert_eq!(kind_of(bytes), kind, "{bytes:?}");
        }
    }
}

//! Between the probe's consent and the exec, where the new version speaks other messages than a worker: whoever such a worker has in
//! the middle of something that needs another word from us (a header that has not come, a handshake) gets a moment to bring it
//! to its end, and nobody new gets there. The kernel's queues take who comes. So too, with any new version, the threads that connect to
//! unix sockets: an exec would wait for them. Whether one that does not come back ends the upgrade is decided in `going`.

use crate::seal::is_sealed;
use crate::slot::{Slot, SlotId, State};
use crate::supervisor::Supervisor;
use crate::timers::Alarm;
use portreeve_workers::protocol::Worker;
use rustix::fd::OwnedFd;
use std::time::Duration;

/// How long it may take. Whoever is silent for longer has it begin again, or is refused.
const MOMENT: Duration = Duration::from_secs(5);

/// What is waited for.
#[derive(Debug)]
pub struct Settling {
    /// The new executable.
    pub executable: OwnedFd,
    /// The control client that asked.
    pub client: Option<u32>,
    until: Duration,
    workers: Vec<Worker>,
}

impl Settling {
    /// Whether a slot rests meanwhile.
    fn rests(&self, slot: &Slot) -> bool {
        let reads = self.workers.contains(&Worker::Header) && slot.workers().any(|w| w == Worker::Header);
        reads || self.workers.contains(&Worker::Tls) && is_sealed(&slot.service)
    }
}

impl Supervisor {
    /// The probe is content, and these workers will leave.
    pub fn settle(&mut self, executable: OwnedFd, client: Option<u32>, workers: Vec<Worker>) {
        let until = self.stamp.mono() + MOMENT;
        let settling = Settling { executable, client, until, workers };
        let ids: Vec<SlotId> =
            self.slots.iter().filter(|(_, slot)| settling.rests(slot)).map(|(&id, _)| id).collect();
        self.upgrade.settling = Some(settling);
        ids.into_iter().for_each(|id| self.poll_slot(id, false));
        self.timers.set(until, Alarm::Settled);
    }

    /// Whether a slot must not be polled for this reason.
    pub fn is_settling(&self, id: SlotId) -> bool {
        let settling = self.upgrade.settling.as_ref();
        settling.zip(self.slots.get(&id)).is_some_and(|(settling, slot)| settling.rests(slot))
    }

    /// What is waited for has come about, or has had its time.
    pub fn settled(&mut self) -> Option<(OwnedFd, Option<u32>)> {
        let now = self.stamp.mono();
        let busy = |worker: &Worker| match worker {
            Worker::Header => self.headers.len() > 0,
            Worker::Tls => self.children.sealed.values().any(|behind| behind.client.is_some()),
            _ => false,
        };
        let on_the_way = self.ways.len() > 0;
        let ready = |settling: &mut Settling| {
            now >= settling.until || !on_the_way && !settling.workers.iter().any(busy)
        };
        let Settling { executable, client, .. } = self.upgrade.settling.take_if(ready)?;
        Some((executable, client))
    }

    /// The upgrade is off: who rested for it goes on.
    pub fn rest_no_more(&mut self) {
        self.upgrade.settling = None;
        let ids: Vec<SlotId> = self.slots.keys().copied().collect();
        for id in ids {
            let fronted =
                |slot: &Slot| is_sealed(&slot.service) || slot.workers().any(|w| w == Worker::Header);
            if self.slots.get(&id).is_some_and(|slot| slot.status == State::Active && fronted(slot)) {
                self.poll_slot(id, true);
            }
        }
    }
}

//! Somebody asks for a seat where none is left: what has ended gives its own back first. Else whoever comes again at the end of its
//! connection keeps the loop accepting, and is refused, while nobody takes what has ended. Looks only at what could have freed the
//! seat, waits for nothing but that those who were launched are executed, and leaves the rest to the loop's next turn.
//!
//! A client of a worker sees the end of its connection before the worker can tell of it here. So a few of those who find no seat there
//! wait for one, for a moment, before they are refused. Whoever comes for a program does not wait: the kernel knows which have ended.

use crate::admit::Client;
use crate::children::PutOff;
use crate::hosts::source_of;
use crate::reap::CROWD;
use crate::seal::is_sealed;
use crate::slot::{Manner, Slot, SlotId};
use crate::staff::{FIRST_TLS, Staff};
use crate::supervisor::Supervisor;
use crate::timers::Alarm;
use portreeve_policy::{Cause, Refusal};
use portreeve_sys::signals;
use portreeve_workers::protocol::Worker;
use std::net::IpAddr;
use std::time::Duration;

/// Most messages of one worker that are heard out of turn in one wake-up: a burst of accepts, each of which finds one that has ended,
/// and as many that are about something else.
const OUT_OF_TURN: usize = 256;

/// So many clients wait for a seat at once: as many as one wake-up accepts. In a flood the others are refused at once, and cost no more
/// than ever.
pub const MOST_WAITING: usize = 64;
/// Of one source: one that floods leaves room for others.
const MOST_OF_SOURCE: usize = 16;
/// How long.
const MOMENT: Duration = Duration::from_millis(200);

impl Supervisor {
    /// A client that is to be refused: it waits for a seat where that is all that it lacks, else it is given back.
    pub fn wait_for_seat(&mut self, mut client: Client, refusal: &Refusal) -> Option<Client> {
        let lacks =
            matches!(refusal.cause, Cause::ServiceLimit | Cause::PerSourceLimit | Cause::ProcessLimit);
        let by_worker = self.slots.get(&client.slot).is_some_and(is_held_by_worker);
        let more = refusal.change.is_some() || refusal.rest.is_some() || refusal.sensor.is_some();
        if !lacks || !by_worker || more || client.waited || self.children.seatless.len() >= MOST_WAITING {
            return Some(client);
        }
        let source = source_of(client.peer.source());
        let of_source = |waits: &&PutOff| source_of(waits.client.peer.source()) == source;
        if self.children.seatless.iter().filter(of_source).count() >= MOST_OF_SOURCE {
            return Some(client);
        }
        client.waited = true;
        let at = self.stamp.mono() + MOMENT;
        self.children.seatless.push_back(PutOff { client, at });
        None
    }

    /// Once a turn: who has waited for a seat that is there now, and who has waited for long enough, is judged again.
    pub fn seat_who_waits(&mut self) {
        let now = self.stamp.mono();
        for _ in 0..self.children.seatless.len() {
            let Some(PutOff { client, at }) = self.children.seatless.pop_front() else { return };
            if now < at && self.lacks_seat(client.slot, Some(client.peer.source())) {
                self.children.seatless.push_back(PutOff { client, at });
            } else {
                self.take_in(client);
            }
        }
        if let Some(first) = self.children.seatless.front()
            && self.children.seatless_alarm != first.at
        {
            self.children.seatless_alarm = first.at;
            self.timers.set(first.at, Alarm::Seats);
        }
    }

    /// Has what has ended give its seats back, where there is none for this client. What is not full costs nothing; what is, one look
    /// at each worker that may have news, and one at the newest programs for each time that the kernel tells of an end: a flood of
    /// refusals buys no more.
    pub fn seek_seat(&mut self, id: SlotId, source: Option<IpAddr>) {
        if !self.lacks_seat(id, source) {
            return;
        }
        // Whoever is under way may be at its end when all have landed.
        if self.spawner.launched() > 0 {
            self.land();
        }
        self.hear_of_ends(id, source);
        self.look_for_ends(id, source);
    }

    fn lacks_seat(&self, id: SlotId, source: Option<IpAddr>) -> bool {
        self.host.is_full()
            || self.slots.get(&id).is_some_and(|slot| slot.state.is_full(slot.rules(), source))
    }

    /// What workers have ended: their word waits in the channel.
    fn hear_of_ends(&mut self, id: SlotId, source: Option<IpAddr>) {
        let Some(slot) = self.slots.get(&id) else { return };
        let host = self.host.is_full();
        let leaving: Vec<u32> = self.staff.leaving.iter().map(|leaving| leaving.number).collect();
        for index in links(slot, host, self.staff.links.len()) {
            while self.hear_out_of_turn(index) {
                if !self.lacks_seat(id, source) {
                    return;
                }
            }
        }
        for number in leaving {
            if !self.lacks_seat(id, source) {
                return;
            }
            self.hear_leaving(number);
        }
    }

    /// One packet of a worker, unless it is being heard already: what it says may bring in somebody who seeks a seat.
    fn hear_out_of_turn(&mut self, index: u32) -> bool {
        let now = self.stamp.mono();
        let Some(link) = self.staff.link_mut(index).filter(|link| link.channel.is_some()) else {
            return false;
        };
        if link.out_of_turn.0 != now {
            link.out_of_turn = (now, 0);
        }
        if link.out_of_turn.1 >= OUT_OF_TURN {
            return false;
        }
        let heard = self.hear_packet(index);
        if let Some(link) = self.staff.link_mut(index) {
            link.out_of_turn.1 += heard;
        }
        heard > 0
    }

    /// Programs that have ended, of this service and, where the host has as many as it may, of all.
    fn look_for_ends(&mut self, id: SlotId, source: Option<IpAddr>) {
        let Some(slot) = self.slots.get(&id) else { return };
        let here = self.children.may_end(id) && slot.state.is_full(slot.rules(), source);
        let host = self.host.is_full();
        if !here && !host {
            return;
        }
        if let Some(pid) = signals::take_child() {
            self.children.told += 1;
            // The others that it may stand for, and what is no program, are for the end of this turn.
            let now = self.stamp.mono();
            if self.children.programs.len() >= CROWD {
                self.timers.set(now, Alarm::Ended(pid));
            } else if self.children.looks.all != Some(now) {
                self.look_at_all(now);
            }
        }
        let mut pids = if here { self.children.unseen_of(id) } else { Vec::new() };
        if host {
            pids.append(&mut self.children.unseen());
        }
        for pid in pids {
            self.bury_one(pid);
        }
    }
}

/// Whether a client's seat is given back by the word of a worker.
fn is_held_by_worker(slot: &Slot) -> bool {
    let carries = matches!(slot.manner(), Manner::Builtin(_) | Manner::Mux | Manner::Redirect);
    carries || is_sealed(&slot.service)
}

/// The workers that hold seats of this service, or of any.
fn links(slot: &Slot, host: bool, all: usize) -> Vec<u32> {
    if host {
        let holders = [Worker::Builtin, Worker::Proxy, Worker::Header].map(Staff::index);
        let sealed = (FIRST_TLS..all).filter_map(|at| u32::try_from(at).ok());
        return holders.into_iter().chain(sealed).collect();
    }
    slot.workers().map(Staff::index).chain(slot.tls).collect()
}

//! Redirected datagram services: gives each source that the proxy worker asks for a socket that is connected to its target, and
//! keeps the account of it as of a redirected connection.

use crate::children::{Leg, Session};
use crate::duty::Duty;
use crate::redirects::canonical;
use crate::slot::{Manner, Slot, SlotId};
use crate::supervisor::Supervisor;
use portreeve_sys::socket;
use portreeve_workers::protocol::{ToProxy, Worker};
use std::net::SocketAddr;

/// Flows of one source where `per_source` says nothing.
const OF_ONE_SOURCE: usize = 512;

impl Supervisor {
    /// Most flows of a slot, and most of one source of it.
    pub fn flow_bounds(&self, slot: &Slot) -> (usize, usize) {
        let of = |limit: Option<u32>| limit.map(|limit| limit as usize);
        let most = of(slot.service.limits.instances.value).unwrap_or(self.most_flows).min(self.most_flows);
        (most, of(slot.service.limits.per_source.value).unwrap_or(OF_ONE_SOURCE).min(most))
    }

    /// Tells the worker how many flows a slot may have.
    pub fn bound_flows(&mut self, id: SlotId) {
        let Some(slot) = self.slots.get(&id).filter(|slot| slot.manner() == Manner::RedirectDatagrams) else {
            return;
        };
        let (most, per_source) = self.flow_bounds(slot);
        let message = ToProxy::Flows {
            slot: id,
            most: u32::try_from(most).unwrap_or(u32::MAX),
            per_source: u32::try_from(per_source).unwrap_or(u32::MAX),
            prefix: slot.service.per_source_prefix.value,
            idle_seconds: slot.service.idle_timeout,
        };
        self.tell_proxy(&message, None);
    }

    /// A source has begun a flow.
    pub fn begin_flow(&mut self, id: SlotId, number: u64, source: SocketAddr, local: Option<SocketAddr>) {
        let came = local.map(|local| canonical(source, local));
        let serves = |slot: &Slot| {
            slot.manner() == Manner::RedirectDatagrams && !slot.has_ended() && slot.order.duty == Duty::Serve
        };
        let room = self.children.flows < self.most_flows && self.slots.get(&id).is_some_and(serves);
        if !room || self.is_own(source) || self.comes_round(id, came) {
            self.tell_proxy(&ToProxy::NoFlow { number }, None);
            return;
        }
        let ticket = self.ticket();
        let now = self.now();
        let Some(slot) = self.slots.get_mut(&id) else { return };
        slot.state.count_starts(1, slot.rules(), &now);
        let event = self.announcer.start(&mut self.sinks, &self.stamp, slot, 0, Some(source.into()));
        let session = Session {
            slot: id,
            peer: Some(source.into()),
            seat: None,
            started_wall: self.stamp.wall(),
            started: self.stamp.mono(),
            sealed: false,
            way: Some(Leg { came, number: Some(number), ..Leg::default() }),
            logs_exit: true,
            leaving: None,
            event,
            bytes: None,
        };
        self.children.carried.insert(ticket, session);
        self.children.flows += 1;
        self.aim(ticket);
    }

    /// Whether a source is a datagram service of ours, or says so: what answers it would answer itself, without end.
    fn is_own(&self, source: SocketAddr) -> bool {
        let there = |slot: &Slot| slot.listeners.iter().any(|l| port(l) == Some(source.port()));
        let port = self.slots.values().any(|slot| slot.manner().owner().is_some() && there(slot));
        port && socket::is_own(source.ip())
    }

    /// Flows of a slot whose target is none any more end; the next datagram begins another one.
    pub fn end_stray_flows(&mut self, id: SlotId) {
        let Some(slot) = self.slots.get(&id).filter(|slot| slot.manner() == Manner::RedirectDatagrams) else {
            return;
        };
        let stray = |session: &Session| {
            let place = session.way.as_ref().and_then(|leg| leg.tried.last());
            session.slot == id && place.is_some_and(|place| slot.targets.target_of(place).is_none())
        };
        let all = self.children.carried.iter();
        let tickets: Vec<u64> = all.filter(|(_, session)| stray(session)).map(|(&t, _)| t).collect();
        for ticket in tickets {
            self.tell_proxy(&ToProxy::End { ticket }, None);
        }
    }

    /// Flows of a slot.
    pub fn flows_of(&self, id: SlotId) -> usize {
        self.children.carried.values().filter(|session| session.slot == id).count()
    }

    /// The proxy worker is ready.
    pub fn proxy_ready(&mut self) {
        self.give_all_datagrams(Worker::Proxy);
        self.proxy_has_room();
    }
}

fn port(listener: &crate::slot::Listener) -> Option<u16> {
    listener.address().address().map(|address| address.port())
}

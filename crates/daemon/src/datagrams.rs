//! Datagram services of the workers that own the sockets (built-ins, `redirect`): hands over sockets and policy, and announces what is
//! reported. What an admitted datagram leads to is the worker's.

use crate::builtins::kind_of;
use crate::duty::Duty;
use crate::slot::{Manner, Slot, SlotId};
use crate::staff::Presence;
use crate::supervisor::Supervisor;
use portreeve_conf::Level;
use portreeve_policy::Reason;
use portreeve_sys::{filter, pktinfo};
use portreeve_workers::protocol::{Datagrams, Policy, RateNote, ToBuiltin, ToProxy, Worker, rules_messages};
use rustix::fd::{AsFd, OwnedFd};

/// The workers that own datagram sockets.
pub const OWNERS: [Worker; 2] = [Worker::Builtin, Worker::Proxy];

impl Supervisor {
    /// Tells a worker that owns datagram sockets.
    pub fn tell_policy(&mut self, worker: Worker, policy: Policy, fd: Option<OwnedFd>) -> bool {
        match worker {
            Worker::Builtin => self.tell_builtin(&ToBuiltin::Policy(policy), fd.map(Into::into)),
            Worker::Proxy => self.tell_proxy(&ToProxy::Policy(policy), fd.map(Into::into)),
            _ => false,
        }
    }

    /// A worker is ready: it gets the datagram sockets that are its own, and what it must know of the policy.
    pub fn give_all_datagrams(&mut self, worker: Worker) {
        self.hosts.given.retain(|&given| given != worker);
        self.tell_all_bans(worker);
        let own = |slot: &Slot| slot.manner().owner() == Some(worker);
        let ids: Vec<SlotId> = self.slots.iter().filter(|(_, slot)| own(slot)).map(|(&id, _)| id).collect();
        for id in ids {
            self.give_datagrams(id);
        }
    }

    /// Hands the worker the datagram sockets of a slot and its policy.
    pub fn give_datagrams(&mut self, id: SlotId) {
        let Some(slot) = self.slots.get(&id) else { return };
        let manner = slot.manner();
        let Some(worker) = manner.owner().filter(|_| slot.order.duty == Duty::Serve) else { return };
        // One that is not ready yet gets all of it then, the tables before the sockets.
        if self.staff.link(worker).presence != Presence::Ready {
            return;
        }
        let fds: Vec<OwnedFd> = slot.listeners.iter().filter_map(|l| l.fd.try_clone().ok()).collect();
        if fds.is_empty() {
            return;
        }
        for (n, fd) in fds.into_iter().enumerate() {
            let more = n > 0;
            match manner {
                Manner::BuiltinDatagrams(kind) => {
                    let message = ToBuiltin::Datagrams { slot: id, kind: kind_of(kind), more };
                    self.tell_builtin(&message, Some(fd.into()));
                }
                _ => {
                    prepare(&fd);
                    self.tell_proxy(&ToProxy::Datagrams { slot: id, more }, Some(fd.into()));
                }
            }
        }
        self.give_rules(id);
    }

    /// Hands the worker the policy of a datagram slot.
    pub fn give_rules(&mut self, id: SlotId) {
        // First: until it has them it refuses.
        self.give_tables();
        let Some(slot) = self.slots.get(&id) else { return };
        let Some(worker) = slot.manner().owner() else { return };
        if self.staff.link(worker).presence != Presence::Ready {
            return;
        }
        let daemon = (!slot.service.nolibwrap).then(|| slot.service.wrap_name.to_string());
        let on = slot.service.log_success;
        let log_served = on.host || on.pid || on.exit || on.duration;
        match rules_messages(id, log_served, slot.rules().rules()) {
            Ok(messages) => {
                self.bound_flows(id);
                self.tell_policy(worker, Policy::Wrapped { slot: id, daemon }, None);
                for message in messages {
                    self.tell_policy(worker, message, None);
                }
            }
            Err(error) => {
                // Without its policy the worker serves nobody: closed.
                let text = format!(
                    "service {}: its lists are too long for the {} worker ({error})",
                    slot.id(),
                    worker.name()
                );
                self.say(Level::Error, &text);
            }
        }
    }

    /// Hands the workers the tables as they stand, for their datagrams.
    pub fn give_tables(&mut self) {
        for worker in OWNERS {
            let asked = |slot: &Slot| slot.manner().owner() == Some(worker) && !slot.service.nolibwrap;
            let ready = self.staff.link(worker).presence == Presence::Ready;
            if self.hosts.given.contains(&worker) || !ready || !self.slots.values().any(asked) {
                continue;
            }
            match self.hosts.send() {
                Ok((file, allow, deny)) => {
                    if self.tell_policy(worker, Policy::Tables { allow, deny }, Some(file)) {
                        self.hosts.given.push(worker);
                    }
                }
                Err(error) => {
                    // It goes by the former ones: better that than none, and it is said.
                    let text = format!(
                        "hosts.allow and hosts.deny cannot be given to the {} worker: {error}",
                        worker.name()
                    );
                    self.say(Level::Error, &text);
                }
            }
        }
    }

    /// The workers shall leave the datagram sockets of a slot alone, whichever has them.
    pub fn take_datagrams(&mut self, id: SlotId) {
        if self.slots.get(&id).is_some_and(Slot::is_stream) {
            return;
        }
        for worker in OWNERS {
            // One that is not ready yet may have the socket on its way.
            if self.staff.link(worker).presence != Presence::Off {
                self.tell_policy(worker, Policy::Forget { slot: id }, None);
            }
        }
    }

    /// What a limit does to a service's datagrams.
    pub fn heard_of_rate(&mut self, id: SlotId, note: RateNote) {
        match note {
            RateNote::Full { .. } => self.say_minute(id),
            RateNote::Resumed => self.say_rate(id, false),
            RateNote::Tripped { .. } | RateNote::Paused { .. } => self.say_rate(id, true),
        }
    }

    /// A worker reports.
    pub fn heard_of_datagrams(&mut self, report: &Datagrams) {
        let now = self.now();
        let Some(slot) = self.slots.get_mut(&report.slot) else { return };
        slot.state.count_starts(report.served_count, slot.rules(), &now);
        for peer in &report.served {
            self.announcer.served(&mut self.sinks, &self.stamp, slot, 0, Some((*peer).into()));
        }
        slot.counts.accepted += report.served_count;
        let asked =
            report.served_count > 0 || report.refused_by.iter().any(|(reason, _)| *reason == Reason::Libwrap);
        slot.counts.lost += report.lost;
        for &(reason, count) in &report.refused_by {
            slot.counts.refuse(reason, count);
        }
        for refusal in &report.refused {
            let (why, source) = ((refusal.reason, None), Some(refusal.source.into()));
            self.announcer.refused(&mut self.sinks, &self.stamp, slot, why, source);
        }
        if asked {
            self.has_asked(report.slot);
        }
    }
}

/// Answers are to come from the address that was sent to. What was sent to a broadcast or multicast address does not even arrive,
/// unless the service is a group's: every host of the network would answer it, and the sender may be forged. Where the kernel can
/// do neither, nothing else here is worse for it.
fn prepare(fd: &OwnedFd) {
    let bound = crate::listeners::local_address(fd);
    let _ = pktinfo::tell(fd, bound.as_ref().is_ok_and(std::net::SocketAddr::is_ipv6));
    if bound.is_ok_and(|bound| !bound.ip().is_multicast()) {
        let _ = filter::attach(fd.as_fd(), &filter::unicast_only());
    }
}

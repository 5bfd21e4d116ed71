//! What a person orders of one service while it is served: hold, drain, stop and the way back; and the end of one
//! instance. Owns the order of each slot; the listener's own states (pause, overload, retry) stand beside it and go on.

use crate::control::failure;
use crate::json::Json;
use crate::slot::{Manner, Slot, SlotId, State};
use crate::supervisor::Supervisor;
use crate::timers::Alarm;
use portreeve_conf::Level;
use portreeve_policy::{Peer, Prefix};
use portreeve_sys::reap::Signal;
use std::collections::BTreeSet;
use std::time::Duration;

/// What a service does by order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Duty {
    /// Serves.
    #[default]
    Serve,
    /// Accepts nobody; the kernel's queue takes the clients.
    Hold,
    /// Its listener is closed; what runs goes on to its end.
    Drain,
    /// Its listener is closed; what ran was told to end.
    Stop,
}

/// An order and how long it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// What.
    pub duty: Duty,
    /// Reloads do not end it.
    pub keep: bool,
}

impl Order {
    /// Whether the listener is closed by order.
    pub fn closes(self) -> bool {
        matches!(self.duty, Duty::Drain | Duty::Stop)
    }
}

/// The words of the control socket.
pub const VERBS: [&str; 5] = ["hold", "release", "drain", "stop", "start"];

impl Supervisor {
    /// The answer to `hold`, `release`, `drain`, `stop` and `start`.
    pub fn order(&mut self, verb: &str, service: &str, keep: bool) -> String {
        let ids = match self.slots_named(service) {
            Ok(ids) => ids,
            Err(why) => return failure(&why),
        };
        let duty = match verb {
            "hold" => Duty::Hold,
            "drain" => Duty::Drain,
            "stop" => Duty::Stop,
            _ => Duty::Serve,
        };
        if verb == "release"
            && let Some(slot) = ids.iter().find_map(|id| self.slots.get(id)).filter(|s| s.order.closes())
        {
            return failure(&format!("{} is {}, not held; `start` opens it", slot.id(), order_word(slot)));
        }
        for &id in &ids {
            let how = if keep { ", reloads included" } else { "" };
            let name = crate::programs::slot_name(self, id);
            self.say(Level::Notice, &format!("service {name}: {verb} by command{how}"));
            self.set_order(id, Order { duty, keep });
        }
        Json::object(|j| {
            j.plain("ok", true);
            j.list("services", |j| {
                for slot in ids.iter().filter_map(|id| self.slots.get(id)) {
                    j.item(|j| {
                        j.text("id", slot.id());
                        j.text("state", order_word(slot));
                        j.plain("running", slot.state.running());
                    });
                }
            });
        })
    }

    /// The slots that a person means: by id, else by the service's name.
    pub fn slots_named(&self, service: &str) -> Result<Vec<SlotId>, String> {
        let served = || self.slots.iter().filter(|(_, s)| s.status != State::Removed);
        let by_id: Vec<SlotId> = served().filter(|(_, s)| s.id() == service).map(|(&id, _)| id).collect();
        if !by_id.is_empty() {
            return Ok(by_id);
        }
        let by_name: Vec<SlotId> =
            served().filter(|(_, s)| s.service.name == service).map(|(&id, _)| id).collect();
        if !by_name.is_empty() {
            return Ok(by_name);
        }
        let mut known: Vec<&str> = served().map(|(_, s)| s.id()).take(8).collect();
        known.sort_unstable();
        Err(format!("no service {service}; there are {}", known.join(", ")))
    }

    /// Puts an order into force.
    pub fn set_order(&mut self, id: SlotId, order: Order) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let before = std::mem::replace(&mut slot.order, order);
        self.bound_queue(id);
        match order.duty {
            Duty::Serve => {}
            Duty::Hold => {
                self.take_datagrams(id);
                self.poll_slot(id, false);
            }
            Duty::Drain | Duty::Stop => {
                self.take_datagrams(id);
                self.poll_slot(id, false);
                self.shut_listeners(id);
                self.close_listeners(id);
                if let Some(slot) = self.slots.get_mut(&id) {
                    slot.forget_missing();
                    slot.status = State::Active;
                    self.registry.stale = true;
                }
                // Whoever has the socket keeps its own copy; there is none here for it to give back.
                self.children
                    .programs
                    .values_mut()
                    .filter(|c| c.slot == id)
                    .for_each(|c| c.holds_socket = false);
            }
        }
        if order.duty == Duty::Stop {
            self.children.drop_waiting(id);
            self.end_programs(id, Signal::TERM);
            self.end_sessions(id);
            self.end_carried(id);
            self.end_headers(id);
        }
        if before.closes() && !order.closes() {
            self.open_slot(id);
        } else if before.duty == Duty::Hold && order.duty == Duty::Serve {
            self.go_on_serving(id);
        }
    }

    /// A held service accepts again, unless something else holds it back.
    fn go_on_serving(&mut self, id: SlotId) {
        let Some(slot) = self.slots.get(&id) else { return };
        if slot.manner().owner().is_some() {
            self.give_datagrams(id);
        } else if slot.status == State::Active {
            self.poll_slot(id, true);
            self.attach_filter(id);
        }
    }

    /// A reload ends the orders that were not meant to stay.
    pub fn end_passing_orders(&mut self) {
        let passing = |slot: &Slot| slot.order.duty != Duty::Serve && !slot.order.keep;
        let ids: Vec<SlotId> =
            self.slots.iter().filter(|(_, slot)| passing(slot)).map(|(&id, _)| id).collect();
        for id in ids {
            if self.slots.get(&id).is_some_and(|s| s.status != State::Removed) {
                self.set_order(id, Order::default());
            }
        }
    }

    /// The answer to `kill`: one instance of ours, by the number that `instances` shows. A process in the table has not been
    /// reaped, so its number is nobody else's.
    pub fn kill_instance(&mut self, which: &str, now: bool) -> String {
        let (kind, digits) = match which.as_bytes().first() {
            Some(b'b') => ("session", which.get(1..)),
            Some(b'r') => ("connection", which.get(1..)),
            _ => ("process", Some(which)),
        };
        let Some(number) = digits.and_then(|d| d.parse::<u64>().ok()) else {
            return failure("expected an instance as `instances` shows it: a process number, bN or rN");
        };
        let slot = match kind {
            "session" => self.children.sessions.get(&number).map(|s| s.slot),
            "connection" => self.children.carried.get(&number).map(|s| s.slot),
            _ => i32::try_from(number).ok().and_then(|pid| self.children.programs.get(&pid)).map(|c| c.slot),
        };
        let Some(slot) = slot else { return failure(&format!("{which} is no running instance of ours")) };
        let name = crate::programs::slot_name(self, slot);
        self.say(Level::Notice, &format!("service {name}: instance {which} is ended by command"));
        match kind {
            "session" => self.end_session_by_order(number),
            "connection" => self.end_carried_by_order(number),
            _ => {
                if let Ok(pid) = i32::try_from(number) {
                    self.end_program(pid, if now { Signal::KILL } else { Signal::TERM });
                }
            }
        }
        Json::object(|j| {
            j.plain("ok", true);
            j.text("service", name);
            j.text("instance", which);
        })
    }

    /// A program is told to end, and killed if it has not after a while.
    fn end_program(&mut self, pid: i32, signal: Signal) {
        self.signal(pid, signal);
        let kill_at = self.stamp.mono() + crate::stop::GRACE;
        if let Some(child) = self.children.programs.get_mut(&pid) {
            child.kill_at = Some(kill_at);
            self.timers.set(kill_at, Alarm::Kill);
        }
    }

    /// Ends the instances that serve clients of these networks, by the client's address as it was admitted; how many. What
    /// accepts by itself (`wait = yes`) is nobody's.
    pub fn end_instances_of(&mut self, networks: &[Prefix]) -> usize {
        let list: BTreeSet<Prefix> = networks.iter().copied().collect();
        let lengths: BTreeSet<u8> = networks.iter().map(Prefix::len).collect();
        let of_it = |peer: Option<Peer>| {
            let Some(peer) = peer.and_then(Peer::address) else { return false };
            lengths.iter().any(|length| list.contains(&Prefix::around(peer.ip().to_canonical(), *length)))
        };
        let children = &self.children;
        let running = |kill_at: Option<Duration>| kill_at.is_none();
        let programs: Vec<i32> = children
            .programs
            .iter()
            .filter(|(_, child)| running(child.kill_at) && of_it(child.peer))
            .map(|(pid, _)| *pid)
            .collect();
        let sessions: Vec<u64> =
            children.sessions.iter().filter(|(_, s)| of_it(s.peer)).map(|(number, _)| *number).collect();
        let carried: Vec<u64> =
            children.carried.iter().filter(|(_, s)| of_it(s.peer)).map(|(number, _)| *number).collect();
        programs.iter().for_each(|pid| self.end_program(*pid, Signal::TERM));
        sessions.iter().for_each(|number| self.end_session_by_order(*number));
        carried.iter().for_each(|number| self.end_carried_by_order(*number));
        programs.len() + sessions.len() + carried.len()
    }

    /// The answer to `instances`: what runs, of one service or of all.
    pub fn instances(&mut self, service: Option<&str>) -> String {
        self.look_at_programs();
        let only = match service.map(|service| self.slots_named(service)).transpose() {
            Ok(only) => only,
            Err(why) => return failure(&why),
        };
        let wanted = |slot: SlotId| only.as_ref().is_none_or(|ids| ids.contains(&slot));
        let now = self.stamp.mono();
        let children = &self.children;
        let programs = children.programs.iter().map(|(pid, c)| (pid.to_string(), c.slot, c.peer, c.started));
        let sessions = children.sessions.iter().map(|(n, s)| (format!("b{n}"), s.slot, s.peer, s.started));
        let carried = children.carried.iter().map(|(n, s)| (format!("r{n}"), s.slot, s.peer, s.started));
        let mut all: Vec<_> = programs.chain(sessions).chain(carried).filter(|i| wanted(i.1)).collect();
        all.sort_by_key(|(_, slot, _, started)| (*slot, *started));
        Json::object(|j| {
            j.plain("ok", true);
            j.list("instances", |j| {
                for (instance, slot, peer, started) in &all {
                    j.item(|j| {
                        j.text("instance", instance);
                        j.text("service", self.slots.get(slot).map_or("", Slot::id));
                        match peer {
                            Some(Peer::Inet(address)) => j.text("peer", address),
                            Some(Peer::Local(who)) => {
                                j.text("peer", format_args!("uid {}, pid {}", who.uid, who.pid));
                            }
                            None => j.optional("peer", None::<u8>),
                        }
                        j.plain("seconds", now.saturating_sub(*started).as_secs());
                        let program = self.program_of(*slot, *started);
                        match program {
                            Some((program, _)) => j.text("program", program.word()),
                            None => j.optional("program", None::<u8>),
                        }
                        j.plain("script", program.is_some_and(|(_, script)| script));
                    });
                }
            });
        })
    }
}

/// What a slot does, as `status` says it.
pub fn order_word(slot: &Slot) -> &'static str {
    match slot.order.duty {
        Duty::Serve => slot.status.word(),
        Duty::Hold => "held",
        Duty::Drain if slot.state.running() > 0 => "draining",
        Duty::Drain => "drained",
        Duty::Stop if slot.state.running() > 0 => "stopping",
        Duty::Stop => "stopped",
    }
}

/// Of a program with `wait = yes` that runs: the order reaches it when it ends.
const ITS_OWN: &str = "its program has the socket and goes on, no other is started";

/// What there is to say about an order.
pub fn order_note(slot: &Slot) -> Option<String> {
    let keep = if slot.order.keep { "; reloads do not end it" } else { "" };
    let has_socket = slot.manner() == Manner::Wait && slot.state.running() > 0;
    let (text, back) = match slot.order.duty {
        Duty::Serve => return None,
        Duty::Hold if has_socket => (ITS_OWN, "release"),
        Duty::Drain if has_socket => (ITS_OWN, "start"),
        Duty::Hold if slot.service.mux.is_some() => {
            ("who names it at tcpmux is told that it is not available", "release")
        }
        Duty::Hold => ("nobody is accepted, the kernel's queue takes the clients", "release"),
        Duty::Drain => ("no new clients", "start"),
        Duty::Stop => ("stopped by command", "start"),
    };
    Some(format!("{text} until `{back}`{keep}"))
}

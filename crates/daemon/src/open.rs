//! Opens the listeners of a slot, and opens again what was not to be had: an address or interface that comes later, a place
//! that somebody else has. What is open serves meanwhile.

use crate::listeners::{self, Opened};
use crate::machine::percent_m;
use crate::slot::{Listener, Missing, SlotId, State};
use crate::supervisor::Supervisor;
use crate::timers::Alarm;
use portreeve_conf::{Endpoint, Level, Listen, Rare, SocketType};
use portreeve_sys::socket;
use rustix::event::epoll;
use rustix::fd::AsFd;
use std::time::Duration;

/// Listeners that could not be opened and are named in the log; of the others the number is told.
const NAMED: usize = 8;

/// How often the interfaces of listeners are looked at: a socket of one that was removed hears nothing ever again, not even
/// when another of the same name comes.
const LOOK: Duration = Duration::from_secs(2);

/// How long until it is looked again whether a worker has let go of a datagram socket.
const LETS_GO: Duration = Duration::from_millis(20);

impl Supervisor {
    /// Opens those listeners of a slot that are not open. For what could not be opened it sets the alarm for another try.
    pub fn open_slot(&mut self, id: SlotId) {
        if self.stopping.is_some() {
            return;
        }
        let Some(slot) = self.slots.get_mut(&id).filter(|slot| !slot.order.closes()) else { return };
        if slot.service.mux.is_some() {
            // Its clients come through tcpmux.
            slot.status = State::Active;
            return;
        }
        let service = slot.service.clone();
        let name = slot.id().to_owned();
        let first = slot.trouble.tries == 0;
        let (mut missing, mut fell_back, mut opened_any, mut old) = (Vec::new(), false, false, false);
        let mut taken = Vec::new();
        let queue = slot.queue();
        let places = service.listen.endpoints();
        let alone = places.len() == 1;
        slot.listeners.reserve_exact(places.len().saturating_sub(slot.listeners.len()));
        for place in places {
            if slot.listeners.iter().any(|listener| listener.place == place) {
                continue;
            }
            match listeners::open(&service.listen, &place, queue, &mut self.spare, self.base) {
                Ok(opened) => {
                    let (fd, address, file) = (opened.fd, opened.address, opened.file);
                    let number = slot.free_number();
                    slot.listeners.push(Listener::new(number, place, fd, address, file));
                    fell_back |= opened.fell_back;
                    opened_any = true;
                    old |= !opened.fresh;
                }
                Err(error) if service.listen.socket == SocketType::Dgram && listeners::in_use(&error) => {
                    taken.push((place, error));
                }
                Err(error) => missing.push(Missing { place, why: percent_m(&error) }),
            }
        }
        for (place, error) in taken {
            match self.open_beside(&service.listen, &place, queue) {
                Some(Opened { fd, address, .. }) => {
                    let Some(slot) = self.slots.get_mut(&id) else { return };
                    let number = slot.free_number();
                    slot.listeners.push(Listener::new(number, place, fd, address, None));
                    opened_any = true;
                }
                None => missing.push(Missing { place, why: percent_m(&error) }),
            }
        }
        let Some(slot) = self.slots.get_mut(&id) else { return };
        if let Some(Missing { why, .. }) = missing.first() {
            let trouble = &mut *slot.trouble;
            trouble.tries = trouble.tries.saturating_add(1);
            if slot.listeners.is_empty() {
                slot.status = State::Retrying(trouble.tries, why.clone());
            }
            trouble.lent = trouble.lent.saturating_sub(1);
            let wait = match trouble.lent {
                0 => Duration::from_secs(1 << (trouble.tries - 1).min(6)),
                // Not a try: the worker that had the socket of before has yet to let go of it.
                _ => {
                    trouble.tries = 0;
                    LETS_GO
                }
            };
            let at = self.stamp.mono() + wait;
            (trouble.try_at, trouble.missing) = (Some(at), missing);
            self.timers.set(at, Alarm::Listen(id));
        } else {
            slot.trouble = Rare::default();
        }
        let lent = slot.trouble.lent;
        let on_a_device = slot.listeners.iter().any(|listener| device(listener).is_some());
        if first && lent == 0 {
            self.say_missing(id, &name, alone);
        }
        if fell_back {
            self.say(Level::Notice, &format!("IPv6 socket creation failed for service {name}, trying IPv4"));
        }
        if opened_any {
            self.registry.stale = true;
            if on_a_device {
                self.watch_devices();
            }
            // The queue of a new one is as long as it has to be.
            if old {
                self.bound_queue(id);
            }
            self.employ(id);
        }
    }

    /// A datagram socket at this place, where what is in the way are our own at other addresses.
    fn open_beside(&self, listen: &Listen, place: &Endpoint, queue: i32) -> Option<Opened> {
        let port = place.address()?.port();
        let listeners = self.slots.values().filter(|slot| slot.service.listen.socket == SocketType::Dgram);
        let others: Vec<_> = listeners
            .flat_map(|slot| &slot.listeners)
            .filter(|other| {
                other.place != *place && other.address().address().is_some_and(|a| a.port() == port)
            })
            .map(|other| other.fd.as_fd())
            .collect();
        if others.is_empty() {
            return None;
        }
        listeners::open_beside(listen, place, queue, (&others, self.spare.unsaid), self.base).ok()
    }

    fn say_missing(&mut self, id: SlotId, name: &str, alone: bool) {
        let Some(slot) = self.slots.get(&id) else { return };
        let mut lines: Vec<String> = Vec::new();
        for Missing { place, why } in slot.trouble.missing.iter().take(NAMED) {
            // xinetd's line; where there are several the address tells which.
            let place = if alone { String::new() } else { format!(" address = {place}") };
            lines.push(format!("bind failed ({why}). service = {name}{place}"));
        }
        if let Some(more @ 1..) = slot.trouble.missing.len().checked_sub(NAMED) {
            lines.push(format!("bind failed for {more} more addresses of service {name}"));
        }
        for line in lines {
            self.say(Level::Error, &line);
        }
    }

    /// Gives the open listeners to whoever serves them: the poller or the builtin worker. One that comes to others does what
    /// they do.
    pub fn put_to_work(&mut self, id: SlotId) {
        self.bound_queue(id);
        self.employ(id);
    }

    fn employ(&mut self, id: SlotId) {
        let Some(slot) = self.slots.get(&id) else { return };
        let manner = slot.manner();
        if matches!(slot.status, State::Paused(..) | State::Suspended) {
            return;
        }
        let worker = self.worker_state(slot);
        let Some(slot) = self.slots.get_mut(&id) else { return };
        match manner {
            _ if manner.owner().is_some() => {
                slot.status = worker;
                self.give_datagrams(id);
            }
            _ if worker == State::NoWorker => slot.status = worker,
            _ => {
                slot.status = State::Active;
                self.poll_slot(id, true);
                self.attach_filter(id);
            }
        }
    }

    /// Sees to it that the interfaces of listeners are looked at, if there are any.
    pub fn watch_devices(&mut self) {
        if self.devices_set || self.stopping.is_some() {
            return;
        }
        if self.slots.values().any(|slot| slot.listeners.iter().any(|l| device(l).is_some())) {
            self.devices_set = true;
            self.timers.set(self.stamp.mono() + LOOK, Alarm::Devices);
        }
    }

    /// The alarm: listeners whose interface has gone are opened anew, as soon as there is one of the name.
    pub fn look_at_devices(&mut self) {
        self.devices_set = false;
        let mut struck = Vec::new();
        for (&id, slot) in &mut self.slots {
            // What a program has is its own until it ends.
            if slot.status == State::Suspended {
                continue;
            }
            let gone = |listener: &mut Listener| {
                let now = device(listener).map(|_| socket::device(&listener.fd));
                now.is_some_and(|now| now.ok().flatten().as_deref() != device(listener))
            };
            for listener in slot.listeners.extract_if(.., gone) {
                if listener.polled {
                    let _ = epoll::delete(&self.epoll, &listener.fd);
                }
                struck.push(id);
            }
        }
        struck.dedup();
        for id in struck {
            self.take_datagrams(id);
            let name = crate::programs::slot_name(self, id);
            self.say(Level::Warning, &format!("service {name}: an interface that it listens on has gone"));
            self.open_slot(id);
        }
        self.watch_devices();
    }

    /// The alarm: another try.
    pub fn listen_again(&mut self, id: SlotId) {
        let now = self.stamp.mono();
        let Some(trouble) = self.slots.get_mut(&id).and_then(|slot| slot.trouble.made()) else { return };
        let due = trouble.try_at.is_some_and(|at| at <= now);
        if !due || trouble.missing.is_empty() || self.stopping.is_some() {
            return;
        }
        trouble.try_at = None;
        let tries = trouble.tries;
        // Loud at first, then once an hour or so.
        if trouble.lent == 0 && (tries < 10 || tries % 60 == 0) {
            self.say(Level::Notice, &format!("bind retry attempt {tries}"));
        }
        self.try_missing(id);
    }

    /// Another try for what is missing.
    pub fn try_missing(&mut self, id: SlotId) {
        let Some(slot) = self.slots.get(&id) else { return };
        let (tries, before) = (slot.trouble.tries, slot.listeners.len());
        self.open_slot(id);
        let Some(slot) = self.slots.get(&id).filter(|slot| slot.listeners.len() > before) else { return };
        let text = match slot.trouble.missing.len() {
            _ if tries == 0 => return self.tell_builtin_ports(),
            0 => format!("service {} listens after {tries} tries", slot.id()),
            left => format!("service {} listens after {tries} tries, at {left} addresses not yet", slot.id()),
        };
        self.say(Level::Notice, &text);
        self.tell_builtin_ports();
    }
}

/// The interface that a listener is for.
fn device(listener: &Listener) -> Option<&str> {
    match &listener.place {
        Endpoint::Inet { device, .. } => device.as_deref(),
        Endpoint::Path(_) | Endpoint::Abstract(_) => None,
    }
}

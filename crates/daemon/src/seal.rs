//! Services behind TLS: an admitted client is handed to the worker that has its certificates, and is served once it has shaken
//! hands, by a program over a connection within this host or by a connection to the target. Who cannot shake hands starts
//! nothing and reaches nobody.
//!
//! A worker process has one set of certificates and keys. The supervisor opens their files and hands the descriptors on; it
//! reads no byte of them. While a worker is away, or has no certificates that it can use, its listeners are not polled: the
//! kernel holds the clients, and nobody is served in the clear.

use crate::admit::Client;
use crate::certificates::Set;
use crate::children::Behind;
use crate::pair::pair;
use crate::slot::{Manner, Slot, SlotId, State};
use crate::staff::{FIRST_TLS, Keyed, Link, Presence};
use crate::supervisor::Supervisor;
use crate::targets::{Choice, Place};
use portreeve_conf::{Action, Level, Service, Target};
use portreeve_policy::{Peer, Reason, Seat};
use portreeve_sys::reap::Status;
use portreeve_workers::protocol::{FromTls, Sealed, ToTls};
use rustix::fd::{AsFd, OwnedFd};
use std::ffi::CString;
use std::rc::Rc;
use std::time::Duration;

/// Most sets of certificates at once, each with a process of its own.
pub const MOST_SETS: usize = 16;
/// So many messages may wait for a worker before its listeners rest.
const CROWDED: usize = 64;
/// Why a handshake failed is said in the daemon's log at most once in this time for each worker; FAIL lines count all.
const REASONS: Duration = Duration::from_secs(1);
/// Seconds for a program's connection, which is there already.
const CONNECTED: u16 = 30;

/// What a client has shown in its handshake, for the program that serves it.
#[derive(Debug)]
pub struct Shield {
    /// The mark of its connection in the worker.
    pub ticket: u64,
    /// Variables of the program's environment.
    pub variables: Vec<CString>,
    /// The worker knows the program that serves it, or it needs none.
    pub led: bool,
}

/// Whether clients of the service speak TLS.
pub fn is_sealed(service: &Service) -> bool {
    service.tls.as_ref().is_some_and(|tls| !tls.pairs.is_empty())
}

impl Supervisor {
    /// Sends a message; false when it cannot go.
    pub fn tell_tls(&mut self, index: u32, message: &ToTls, fd: Option<OwnedFd>) -> bool {
        let mut bytes = Vec::new();
        message.encode(&mut bytes).is_ok() && self.tell_link(index, bytes, fd.map(Into::into))
    }

    /// The worker for a service with TLS; `None` where it needs none, and where there are too many already, which is said.
    pub fn tls_worker(&mut self, service: &Service) -> Option<u32> {
        let set = Set::of(service.tls.as_ref()?);
        let links = self.staff.links.iter().skip(FIRST_TLS);
        let known = links.clone().position(|link| link.set.as_deref() == Some(&set));
        let free = || links.clone().position(|link| link.set.is_none() && link.presence == Presence::Off);
        let at = match known.or_else(free) {
            Some(at) => FIRST_TLS + at,
            None if links.len() < MOST_SETS => {
                self.staff.links.push(Link::new(portreeve_workers::protocol::Worker::Tls));
                self.staff.links.len() - 1
            }
            None => {
                let text = format!(
                    "service {}: more than {MOST_SETS} different sets of certificates; it is held",
                    service.id
                );
                self.say(Level::Error, &text);
                return None;
            }
        };
        let index = u32::try_from(at).ok()?;
        let link = self.staff.links.get_mut(at)?;
        if known.is_none() {
            link.set = Some(Rc::new(set));
            link.keyed = Keyed::No;
        }
        if link.presence == Presence::Off {
            self.start_worker(index);
        }
        Some(index)
    }

    /// After a reload: files are opened again, and workers that nobody needs any more go once they are idle.
    pub fn tls_reloaded(&mut self) {
        for at in FIRST_TLS..self.staff.links.len() {
            let Ok(index) = u32::try_from(at) else { return };
            let used = self.slots.values().any(|s| s.tls == Some(index) && s.status != State::Removed);
            let Some(link) = self.staff.links.get_mut(at) else { return };
            if !used {
                link.set = None;
                self.retire_if_idle(index);
            } else if link.presence == Presence::Ready {
                self.hand_files(index);
            }
        }
    }

    fn retire_if_idle(&mut self, index: u32) {
        let idle =
            self.staff.links.get(index as usize).is_some_and(|link| link.set.is_none() && link.holds == 0);
        if idle {
            self.staff.retire_link(index);
        }
    }

    /// Whether the worker of this slot takes clients now.
    pub fn tls_takes(&self, index: Option<u32>) -> bool {
        let Some(link) = index.and_then(|index| self.staff.links.get(index as usize)) else { return false };
        link.presence == Presence::Ready
            && link.keyed == Keyed::Yes
            && link.backlog() <= CROWDED
            && link.holds < self.most_sealed
    }

    /// The worker takes clients (again).
    pub fn tls_has_room(&mut self, index: u32) {
        if !self.tls_takes(Some(index)) {
            return;
        }
        for id in self.tls_slots(index) {
            if let Some(slot) = self.slots.get_mut(&id)
                && slot.status == State::NoWorker
            {
                slot.status = State::Active;
                self.poll_slot(id, true);
                self.attach_filter(id);
            }
        }
    }

    /// Why a service behind TLS is held.
    pub fn tls_note(&self, slot: &Slot) -> String {
        let link = slot.tls.and_then(|index| self.staff.links.get(index as usize));
        if let Some(link) = link.filter(|link| !link.why.is_empty()) {
            return format!("the worker that serves its TLS does not run: {}", link.why);
        }
        match link.map(|link| &link.keyed) {
            None => format!("more than {MOST_SETS} different sets of certificates"),
            Some(Keyed::Wrong(why)) => format!("its TLS cannot be served: {why}"),
            Some(Keyed::Yes) => "the worker that serves its TLS has all the clients it can hold".to_owned(),
            Some(Keyed::No) => "the worker that serves its TLS is not ready".to_owned(),
        }
    }

    /// Whether the files of a service with TLS are of no use, as they are now.
    pub fn tls_is_unusable(&self, slot: &Slot) -> bool {
        let sealed = slot.service.tls.is_some();
        let link = slot.tls.and_then(|index| self.staff.links.get(index as usize));
        sealed && link.is_none_or(|link| matches!(link.keyed, Keyed::Wrong(_)) || !link.stale.is_empty())
    }

    /// That a service is served with files that have been replaced since, by others that cannot be used.
    pub fn tls_stale(&self, slot: &Slot) -> Option<String> {
        let link = slot.tls.and_then(|index| self.staff.links.get(index as usize))?;
        let stale = !link.stale.is_empty();
        stale.then(|| format!("its new TLS cannot be used: {}; what was in use goes on", link.stale))
    }

    fn tls_slots(&self, index: u32) -> Vec<SlotId> {
        self.slots.iter().filter(|(_, slot)| slot.tls == Some(index)).map(|(&id, _)| id).collect()
    }

    fn rest_sealed(&mut self, index: u32) {
        for id in self.tls_slots(index) {
            if let Some(slot) = self.slots.get_mut(&id)
                && slot.status == State::Active
            {
                slot.status = State::NoWorker;
                self.poll_slot(id, false);
            }
        }
    }

    /// Hands a client over; `client` waits here for its handshake, or is carried already.
    fn begin_sealed(
        &mut self,
        ticket: u64,
        id: SlotId,
        fd: OwnedFd,
        client: Option<(Box<Client>, Seat)>,
    ) -> bool {
        let Some(slot) = self.slots.get(&id) else { return false };
        let (Some(index), idle_seconds) = (slot.tls, slot.service.idle_timeout) else { return false };
        // It was parked, and the worker has died in the meantime: one that has no certificates yet shall not get it.
        if !self.tls_is_ready(Some(index)) {
            return false;
        }
        let banner = slot.banners.clone();
        let banner = self.banner_text(id, banner.success.as_ref());
        if !self.tell_tls(index, &ToTls::Client { ticket, idle_seconds, banner }, Some(fd)) {
            return false;
        }
        let (head, leaving) = (Vec::new(), None);
        self.children.sealed.insert(ticket, Behind { link: index, slot: id, client, head, leaving });
        if let Some(link) = self.staff.links.get_mut(index as usize) {
            link.holds += 1;
        }
        self.make_room(index);
        if !self.tls_takes(Some(index)) {
            self.rest_sealed(index);
        }
        true
    }

    /// An admitted client is to shake hands first.
    pub fn seal(&mut self, mut client: Client, seat: Seat) {
        client.local = client.local.or_else(|| crate::listeners::local_address(&client.fd).ok());
        let (ticket, id) = (self.ticket(), client.slot);
        // Its worker is not there, or no descriptor is left: it waits, as a program's client does that cannot be started.
        let ready = self.slots.get(&id).is_some_and(|slot| self.tls_is_ready(slot.tls));
        let copy = if ready { rustix::io::fcntl_dupfd_cloexec(client.fd.as_fd(), 3).ok() } else { None };
        let Some(fd) = copy else {
            drop(seat);
            client.attempts += 1;
            self.put_off(client, Reason::Tls);
            return;
        };
        let peer = client.peer;
        if !self.begin_sealed(ticket, id, fd, Some((Box::new(client), seat))) {
            self.say_not_sealed(id, peer);
        }
    }

    fn tls_is_ready(&self, index: Option<u32>) -> bool {
        let link = index.and_then(|index| self.staff.links.get(index as usize));
        link.is_some_and(|link| link.presence == Presence::Ready && link.keyed == Keyed::Yes)
    }

    /// The worker takes no more messages.
    fn say_not_sealed(&mut self, id: SlotId, peer: Peer) {
        let name = crate::programs::slot_name(self, id);
        let text = format!("service {name}: the worker that serves its TLS cannot be told of {peer}");
        self.say(Level::Error, &text);
        if let Some(slot) = self.slots.get_mut(&id) {
            self.announcer.fail(&mut self.sinks, &self.stamp, slot, (Reason::Tls, None), Some(peer));
        }
    }

    /// The worker has spoken.
    pub fn heard_tls(&mut self, index: u32, message: FromTls) {
        match message {
            FromTls::Ready { .. } => {}
            FromTls::Keyed { wrong } => self.has_said_keyed(index, wrong),
            FromTls::Shaken { ticket, newest, server_name, protocol, subject } => {
                let variables = variables(newest, server_name, protocol, subject);
                self.shaken(index, ticket, variables);
            }
            FromTls::Reached { ticket } if self.is_of(index, ticket) => self.target_reached(ticket),
            FromTls::Unreached { ticket, errno } if self.is_of(index, ticket) => {
                match self.children.carried.contains_key(&ticket) {
                    true => self.target_unreached(ticket, errno),
                    false => self.unseal(ticket),
                }
            }
            FromTls::Done { ticket, bytes_in, bytes_out, outcome } if self.is_of(index, ticket) => {
                self.unsealed(ticket, (bytes_in, bytes_out), outcome);
            }
            FromTls::Reached { .. } | FromTls::Unreached { .. } | FromTls::Done { .. } => {}
        }
    }

    fn is_of(&self, index: u32, ticket: u64) -> bool {
        self.children.sealed.get(&ticket).is_some_and(|behind| behind.is_with(index))
    }

    fn shaken(&mut self, index: u32, ticket: u64, variables: Vec<CString>) {
        let behind = self.children.sealed.get_mut(&ticket).filter(|behind| behind.is_with(index));
        // It was ended here in the meantime.
        let Some(behind) = behind else { return };
        let Some((mut client, seat)) = behind.client.take() else {
            if self.stopping.is_none() {
                self.lose_worker(index, "it told twice of one client");
            }
            return;
        };
        client.shield = Some(Box::new(Shield { ticket, variables, led: false }));
        if client.left {
            // What the tables ordered of it stayed with the former version: they are asked anew.
            drop(seat);
            self.judge(*client);
        } else {
            self.admit(*client, seat);
        }
    }

    /// A client that has shaken hands gets its way to the program that serves it. False when it has none and is let go.
    pub fn lead_client(&mut self, client: &mut Client) -> bool {
        let Some(ticket) = client.shield.as_ref().filter(|shield| !shield.led).map(|shield| shield.ticket)
        else {
            return true;
        };
        let slot = self.slots.get(&client.slot).filter(|slot| !slot.has_ended());
        let twist = client.orders().is_some_and(|orders| orders.twist.is_some());
        let (program, nodelay) = match slot.map(|slot| (slot.manner(), slot.service.listen.nodelay)) {
            Some((Manner::Spawn, nodelay)) => (true, nodelay),
            Some((Manner::Redirect, nodelay)) => (twist, nodelay),
            _ => {
                self.unseal(ticket);
                return false;
            }
        };
        let led = !program
            || pair(nodelay).is_ok_and(|(program, worker)| {
                client.fd = program.into();
                self.lead(ticket, worker)
            });
        if !led {
            self.unseal(ticket);
            self.say_not_led(client);
        } else if let Some(shield) = &mut client.shield {
            shield.led = true;
        }
        led
    }

    /// There is no descriptor for its way to a program, or the worker takes no word.
    fn say_not_led(&mut self, client: &Client) {
        let name = crate::programs::slot_name(self, client.slot);
        let text = format!("service {name}: no way from TLS to a program for {}", client.peer);
        self.say(Level::Error, &text);
        if let Some(slot) = self.slots.get_mut(&client.slot) {
            self.announcer.fail(&mut self.sinks, &self.stamp, slot, (Reason::Tls, None), Some(client.peer));
        }
    }

    /// Tells the worker of the program that serves a client.
    fn lead(&mut self, ticket: u64, fd: OwnedFd) -> bool {
        let Some(index) = self.children.sealed.get(&ticket).map(|behind| behind.link) else { return false };
        let (name, head) = (String::new(), Vec::new());
        let target = ToTls::Target { ticket, name, head, patience_seconds: CONNECTED, tell: false };
        self.tell_tls(index, &target, Some(fd))
    }

    /// Tells the worker of a target of a redirected service.
    pub fn lead_to(&mut self, ticket: u64, choice: &Choice, patience_seconds: u16, fd: OwnedFd) -> bool {
        let known = self.children.sealed.get(&ticket).filter(|behind| behind.leaving.is_none());
        let Some(behind) = known else { return false };
        let (index, head) = (behind.link, behind.head.clone());
        let name = self.slots.get(&behind.slot).map(|slot| name_to_check(slot, &choice.place));
        let Some(name) = name.flatten() else { return false };
        let target = ToTls::Target { ticket, name, head, patience_seconds, tell: choice.doubtful };
        self.tell_tls(index, &target, Some(fd))
    }

    /// Has a client of a redirected service carried by the worker of TLS.
    pub fn carry_sealed(&mut self, client: Client, ticket: u64, head: Vec<u8>) -> bool {
        if client.shield.is_none() && !self.begin_sealed(ticket, client.slot, client.fd.into_fd(), None) {
            return false;
        }
        match self.children.sealed.get_mut(&ticket) {
            Some(behind) => behind.head = head,
            None => return false,
        }
        true
    }

    /// Ends a connection of the worker.
    pub fn unseal(&mut self, ticket: u64) {
        if let Some(behind) = self.children.sealed.remove(&ticket) {
            let (message, mut bytes) = (ToTls::End { ticket }, Vec::new());
            match behind.leaving {
                Some(number) if message.encode(&mut bytes).is_ok() => self.end_with_leaving(number, bytes),
                _ => {
                    self.tell_tls(behind.link, &message, None);
                    self.let_go(behind.link);
                }
            }
            self.forget_if_done(behind.slot);
        }
    }

    fn let_go(&mut self, index: u32) {
        if let Some(link) = self.staff.links.get_mut(index as usize) {
            link.holds = link.holds.saturating_sub(1);
        }
        self.tls_has_room(index);
        self.retire_if_idle(index);
    }

    /// A connection of the worker has ended.
    fn unsealed(&mut self, ticket: u64, (bytes_in, bytes_out): (u64, u64), outcome: Sealed) {
        let Some(Behind { link, slot, client, .. }) = self.children.sealed.remove(&ticket) else { return };
        if let Some((client, seat)) = client {
            drop(seat);
            self.say_not_shaken(link, &client, &outcome);
        } else if self.children.carried.contains_key(&ticket) {
            match outcome {
                Sealed::Carried(outcome) => self.carried(ticket, (bytes_in, bytes_out), outcome),
                Sealed::Handshake(_) => self.end_of_carried(ticket, Status::Exited(1)),
                Sealed::Target(why) => {
                    let target =
                        self.aimed_at(ticket).map_or_else(String::new, |(_, place, _)| place.to_string());
                    let name = crate::programs::slot_name(self, slot);
                    let text = format!("service {name}: TLS with the target {target}: {why}");
                    self.say(Level::Error, &text);
                    self.end_of_carried(ticket, Status::Exited(0));
                }
            }
        }
        self.let_go(link);
        self.forget_if_done(slot);
    }

    /// One line in the log of the service, and now and then why.
    pub fn say_not_shaken(&mut self, index: u32, client: &Client, outcome: &Sealed) {
        let now = self.stamp.mono();
        let why = match outcome {
            Sealed::Handshake(why) | Sealed::Target(why) => why.as_str(),
            Sealed::Carried(_) => "the connection ended",
        };
        if let Some(link) = self.staff.links.get_mut(index as usize)
            && link.quiet_until <= now
        {
            link.quiet_until = now + REASONS;
            let name = crate::programs::slot_name(self, client.slot);
            let text = format!("service {name}: no TLS with {}: {why}", client.peer);
            self.say(Level::Info, &text);
        }
        if let Some(slot) = self.slots.get_mut(&client.slot) {
            self.announcer.fail(&mut self.sinks, &self.stamp, slot, (Reason::Tls, None), Some(client.peer));
        }
    }

    /// Ends all of a slot's.
    pub fn end_sealed(&mut self, id: SlotId) {
        let tickets: Vec<u64> =
            self.children.sealed.iter().filter(|(_, behind)| behind.slot == id).map(|(&t, _)| t).collect();
        for ticket in tickets {
            self.unseal(ticket);
        }
    }

    /// A worker is gone, and its connections with it.
    pub fn tls_lost(&mut self, index: u32) {
        if let Some(link) = self.staff.links.get_mut(index as usize) {
            (link.keyed, link.holds, link.handed) = (Keyed::No, 0, 0);
            link.stale.clear();
        }
        self.rest_sealed(index);
        let of = |behind: &Behind| behind.is_with(index);
        let tickets: Vec<u64> =
            self.children.sealed.iter().filter(|(_, behind)| of(behind)).map(|(&t, _)| t).collect();
        for ticket in tickets {
            let Some(Behind { slot, client, .. }) = self.children.sealed.remove(&ticket) else { continue };
            if let Some((client, seat)) = client {
                drop(seat);
                if let Some(slot) = self.slots.get_mut(&slot) {
                    self.announcer.fail(
                        &mut self.sinks,
                        &self.stamp,
                        slot,
                        (Reason::Tls, None),
                        Some(client.peer),
                    );
                }
            }
            self.end_of_carried(ticket, Status::Signaled(9));
            self.forget_if_done(slot);
        }
    }
}

/// The name that a target's certificate must hold; empty where it is spoken to in the clear, none where it cannot be checked.
fn name_to_check(slot: &Slot, place: &Place) -> Option<String> {
    if slot.service.tls.as_ref().is_none_or(|tls| tls.connect.is_none()) {
        return Some(String::new());
    }
    let Action::Redirect(targets) = &slot.service.action else { return None };
    match targets.get(slot.targets.target_of(place)?)? {
        Target::Host { host, .. } => Some(host.clone()),
        Target::Path(_) => None,
    }
}

fn variables(
    newest: bool,
    server_name: Option<String>,
    protocol: Option<Vec<u8>>,
    subject: Option<Vec<u8>>,
) -> Vec<CString> {
    let mut all = vec![format!("TLS_PROTOCOL=TLSv1.{}", if newest { 3 } else { 2 }).into_bytes()];
    let texts = [
        ("TLS_SERVER_NAME=", server_name.map(String::into_bytes)),
        ("TLS_ALPN=", protocol),
        ("TLS_CLIENT_SUBJECT=", subject),
    ];
    all.extend(
        texts.into_iter().filter_map(|(name, value)| Some([name.as_bytes(), value?.as_slice()].concat())),
    );
    // Control characters, NUL among them, do not come through the channel.
    all.into_iter().filter_map(|variable| CString::new(variable).ok()).collect()
}

//! Puts a configuration into force: everything is parsed and judged first, then swapped as a whole or not at all. Services
//! that stay keep their socket, instances and counters; a service whose new entry is wrong keeps its old one (reference
//! xinetd §11.3, §15.2 no. 10).

use crate::banner::Banners;
use crate::by_id::ById;
use crate::editions::Editions;
use crate::launch::Plan;
use crate::listeners;
use crate::log::SinkId;
use crate::reading::Purpose;
use crate::recorded::Answers;
use crate::slot::{Listener, Slot, SlotId, State};
use crate::supervisor::Supervisor;
use crate::targets::Targets;
use crate::timers::Alarm;
use crate::translate::{self, Policy};
use crate::unchanged::Said;
use crate::verify::Trust;
use portreeve_conf::{
    Action, Diagnostic, Fatal, Level, OnRemove, Rare, Reading as Result, Service, Severity, Text,
};
use portreeve_policy::ServiceState;
use portreeve_sys::reap::Signal;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

/// What a reload did, for whoever asked.
#[derive(Debug, Default)]
pub struct Changes {
    /// Whether it was put into force.
    pub applied: bool,
    /// Services that are new.
    pub new: Vec<Text>,
    /// Services that are as they were.
    pub kept: Vec<Text>,
    /// Services that were changed.
    pub changed: Vec<Text>,
    /// Services that are gone.
    pub dropped: Vec<Text>,
    /// Services whose new entry is wrong and that go on as they were.
    pub held: Vec<Text>,
    /// Why nothing was applied.
    pub why_not: Option<String>,
}

/// How often, every 20 ms, it is looked whether a worker has let go of a datagram socket.
const LOOKS: u8 = 50;

/// By then what follows from a reading is over: workers that say that they are there, rpcbind, whoever keeps our sockets.
const FOLLOWS: Duration = Duration::from_millis(100);

impl Supervisor {
    /// Reads the configuration again, for a signal or a control client.
    pub fn reload(&mut self, client: Option<u32>) {
        if self.stopping.is_some() {
            return;
        }
        if let Some(reading) = &mut self.reading {
            // The files may have changed after they were read: once more when this reading is done.
            reading.ask_again();
            if let Some(client) = client {
                self.answer_busy(client);
            }
            return;
        }
        let _ = portreeve_sys::systemd::notify(&format!(
            "RELOADING=1\nMONOTONIC_USEC={}",
            portreeve_sys::clock::monotonic().as_micros()
        ));
        self.say(Level::Notice, "Starting reconfiguration");
        self.read_configuration(Purpose::Reload(client));
    }

    /// A reading is complete.
    pub fn apply(&mut self, purpose: Purpose, result: Result, answers: Answers) {
        for line in &result.log {
            self.say(line.level, &line.text);
        }
        let start = purpose == Purpose::Start;
        let refused = self.refuses(start, &result);
        if let Some((why, code)) = refused {
            if start {
                self.end_unstarted(code, &why, &result.diagnostics);
            } else {
                self.say(Level::Warning, "reconfiguration failed");
            }
            let changes = Changes { why_not: Some(why), ..Changes::default() };
            self.reloaded(purpose, changes, result.diagnostics);
            return;
        }
        let diagnostics = result.diagnostics.clone();
        self.answers = Rc::new(answers);
        self.said = Said::by(&result);
        let changes = self.swap(start, result);
        // The code that did it, most of it, rests until the next, as does that of all that follows from it.
        self.rest_at = self.stamp.mono() + FOLLOWS;
        self.timers.set(self.rest_at, Alarm::Rest);
        self.reloaded(purpose, changes, diagnostics);
    }

    /// Whether nothing of this may be used: the reason and, at the start, the exit status.
    fn refuses(&mut self, start: bool, result: &Result) -> Option<(String, u8)> {
        match result.fatal {
            Some(Fatal::Unreadable) => {
                if start {
                    self.critical("init_services", "couldn't get configuration. Exiting...");
                }
                return Some(("the configuration file cannot be read".to_owned(), 1));
            }
            Some(Fatal::Defaults) => {
                if start {
                    self.say(Level::Warning, "Exiting...");
                }
                return Some(("a value in defaults is wrong".to_owned(), 2));
            }
            None => {}
        }
        if start {
            if result.services.is_empty() && !self.options.stayalive {
                self.critical("init_services", "no services. Exiting...");
                return Some(("there is no service".to_owned(), 1));
            }
            return None;
        }
        let wrong = result.diagnostics.iter().any(|d| d.severity == Severity::Error && d.service.is_none());
        if result.services.is_empty() && wrong && !self.slots.is_empty() {
            return Some(("the file has errors and no service; the running services stay".to_owned(), 1));
        }
        None
    }

    fn swap(&mut self, start: bool, result: Result) -> Changes {
        let mut changes = Changes { applied: true, ..Changes::default() };
        if !start {
            self.begin_swap();
        }
        self.protect_instead(translate::protected(&result.settings.protect, result.served()));
        self.bans.groups = result.settings.protect_groups;
        self.bans.protection = None;
        self.want_sensor(result.settings.watch_scans);
        self.trusted.go_by(result.settings.trusted_programs.as_deref());
        self.defaults_dump = result.settings.dump;
        self.files = result.files;
        let mut seen: HashMap<Text, u32> = HashMap::new();
        let mut numbered = |service: Rc<Service>| {
            if result.ids_differ {
                return Some((service, 0));
            }
            let next = seen.entry(service.id.clone()).or_default();
            *next += 1;
            Some((service, *next - 1))
        };
        let mut new: Vec<Option<(Rc<Service>, u32)>> =
            result.services.into_iter().map(&mut numbered).collect();
        let ids = new.iter().flatten().map(|(service, _)| service.id.clone()).collect();
        let by_id = ById::of(ids, result.ids_differ);

        let (mut moved, mut guess) = (Vec::new(), 0);
        for id in self.slots.keys().copied().collect::<Vec<_>>() {
            let Some(slot) = self.slots.get(&id).filter(|s| s.status != State::Removed) else { continue };
            let old = slot.service.clone();
            let name = old.id.clone();
            let fits =
                |n: &Option<(Rc<Service>, u32)>| n.as_ref().is_some_and(|(n, _)| same_service(&old, n));
            let successor = by_id.all(&name, guess).find(|&index| new.get(index).is_some_and(fits));
            guess = successor.map_or(guess, |at| at + 1);
            if let Some((service, nth)) = successor.and_then(|index| new.get_mut(index)?.take()) {
                let same = service.serves_as(&old);
                if self.readjust(id, service, nth, same) {
                    moved.push(id);
                }
                if same { changes.kept.push(name) } else { changes.changed.push(name) }
            } else if result.left_out.iter().any(|l| l.id.eq_ignore_ascii_case(&name) && !l.intended)
                && !by_id.all(&name, guess).any(|index| new.get(index).is_some_and(Option::is_some))
            {
                let text = format!("service {name}: its new entry is wrong; it goes on as it was");
                self.say(Level::Error, &text);
                changes.held.push(name);
            } else {
                changes.dropped.push(name);
                // In its turn, as xinetd says it.
                self.remove(id);
            }
        }
        // Sockets are given up by now, so that a service that takes over their place takes over the socket.
        self.spare.held = self.are_held();
        self.spare.unsaid = portreeve_sys::socket::v6only_unsaid();
        for id in moved {
            self.open_slot(id);
        }
        let mut editions = Editions::default();
        for (service, nth) in new.into_iter().flatten() {
            changes.new.push(service.id.clone());
            self.add(service, nth, &mut editions);
        }
        self.conclude(start, &changes);
        changes
    }

    /// Tells whoever waits for it.
    pub fn reloaded(&mut self, purpose: Purpose, changes: Changes, diagnostics: Vec<Diagnostic>) {
        match purpose {
            Purpose::Start => {
                if self.exit.is_none() {
                    let _ = portreeve_sys::systemd::notify("READY=1");
                    if let Some(readiness) = self.readiness.take() {
                        readiness.report(0);
                    }
                }
            }
            Purpose::Reload(client) => {
                let _ = portreeve_sys::systemd::notify("READY=1");
                if let Some(client) = client {
                    self.answer_when_keyed(client, changes, diagnostics);
                }
            }
        }
    }

    /// A service that is new.
    fn add(&mut self, service: Rc<Service>, nth: u32, editions: &mut Editions) {
        let id = self.next_slot;
        self.next_slot += 1;
        let sink = match self.sinks.open(&service.id, &service.log_type) {
            Ok(sink) => sink,
            Err(error) => {
                self.say(Level::Error, &format!("creation of {} log failed", service.id));
                let text = format!("Service {} failed to start and is deactivated.", service.id);
                self.say(Level::Error, &text);
                self.say(Level::Error, &format!("service {}: its log: {error}", service.id));
                return;
            }
        };
        let mut slot = self.new_slot(service, (nth, None), self.answers.clone(), sink);
        for worker in slot.workers() {
            self.need_worker(worker);
        }
        slot.edition = editions.of(&slot, &mut self.mounts.borrow_mut());
        self.slots.insert(id, slot);
        self.watch_targets(id);
        self.open_slot(id);
        if self.slots.get(&id).is_some_and(Slot::available) {
            let name = crate::programs::slot_name(self, id);
            self.say(Level::Debug, &format!("Started service: {name}"));
        }
    }

    /// A slot without a socket, that has served nobody.
    pub fn new_slot(
        &mut self,
        service: Rc<Service>,
        (nth, group): (u32, Option<u32>),
        origin: Rc<Answers>,
        sink: SinkId,
    ) -> Slot {
        let group = group.unwrap_or_else(|| self.free_group(&service, nth));
        let targets = Targets::following(Rare::default(), &service, self.stamp.mono());
        Slot {
            origin,
            nth,
            group,
            targets,
            proxies: translate::proxies(&service).map(Rc::new),
            policy: Policy::of(&service),
            plan: Plan::of(&service, group, &self.inherited),
            edition: Rc::default(),
            verified: Rare::default(),
            tls: self.tls_worker(&service),
            banners: Banners::of(&service),
            state: ServiceState::new(),
            sink,
            listeners: Vec::new(),
            trouble: Rare::default(),
            status: State::Active,
            order: crate::duty::Order::default(),
            counts: Rare::default(),
            told: Rare::default(),
            rate_alarm: None,
            overloaded: false,
            unfiltered: false,
            hold_logged: false,
            service,
        }
    }

    /// A service that stays: new settings for new clients, the same sockets where its places are the same. Whether it has
    /// others, which are to be opened.
    fn readjust(&mut self, id: SlotId, service: Rc<Service>, nth: u32, same: bool) -> bool {
        // By its former id, which may differ in case.
        let name = crate::programs::slot_name(self, id);
        self.say(Level::Notice, &format!("readjusting service {name}"));
        let answers = self.answers.clone();
        let Some(slot) = self.slots.get_mut(&id) else { return false };
        let old = slot.service.clone();
        if same {
            // Its lines may have moved: what is told of them says where they are now.
            slot.policy = Policy::of(&service);
            if service.sandbox.is_some() {
                // Links that it names may lead elsewhere by now.
                slot.plan = Plan::of(&service, slot.group, &self.inherited);
            }
            (slot.service, slot.origin, slot.nth) = (service, answers, nth);
            return false;
        }
        if old.log_type != service.log_type {
            match self.sinks.open(&service.id, &service.log_type) {
                Ok(sink) => {
                    if let Some(slot) = self.slots.get_mut(&id) {
                        let before = std::mem::replace(&mut slot.sink, sink);
                        self.sinks.close(before);
                    }
                }
                Err(error) => {
                    self.say(Level::Error, &format!("creation of {} log failed", service.id));
                    self.say(Level::Error, &format!("service {}: {error}; it goes on as it was", service.id));
                    return false;
                }
            }
        }
        let service_rights = service.listen.rights;
        let stays = listeners::stays(&old.listen, &service.listen);
        let places = if old.listen == service.listen { None } else { Some(service.listen.endpoints()) };
        let places = places.filter(|places| !stays || old.listen.endpoints() != *places);
        let other_places = places.is_some();
        let group = self.slots.get(&id).map_or(0, |slot| slot.group);
        let plan = Plan::of(&service, group, &self.inherited);
        let tls = self.tls_worker(&service);
        let Some(slot) = self.slots.get_mut(&id) else { return false };
        let (manner, queue) = (slot.manner(), slot.queue());
        let other_tls = slot.tls != tls || slot.service.tls.is_some() != service.tls.is_some();
        slot.tls = tls;
        slot.policy = Policy::of(&service);
        slot.proxies = translate::proxies(&service).map(Rc::new);
        slot.plan = plan;
        if old.action != service.action {
            slot.edition = Rc::default();
        }
        if (old.action != service.action || old.verify != service.verify)
            && let Some(verified) = slot.verified.made()
        {
            verified.trust = Trust::Unknown;
        }
        slot.banners = Banners::of(&service);
        slot.hold_logged = false;
        (slot.origin, slot.nth) = (answers, nth);
        slot.service = service;
        let queue_now = slot.queue();
        let workers = slot.workers();
        let before = std::mem::take(&mut slot.targets);
        slot.targets = Targets::following(before, &slot.service, self.stamp.mono());
        let other_manner = other_tls || slot.manner() != manner;
        for worker in workers {
            self.need_worker(worker);
        }
        self.watch_targets(id);
        self.end_stray_flows(id);
        if other_manner || other_places {
            self.take_datagrams(id);
        }
        if let Some(places) = places {
            self.give_up(id, |listener| !stays || !places.contains(&listener.place));
        }
        let Some(slot) = self.slots.get_mut(&id) else { return false };
        let moved = other_places && slot.listeners.is_empty();
        if other_places {
            slot.forget_missing();
            if manner.owner().is_some() {
                slot.trouble.lent = LOOKS;
            } else if let Some(trouble) = slot.trouble.made() {
                trouble.lent = 0;
            }
        }
        if moved {
            slot.status = State::Active;
            self.end_instances(id, old.on_remove);
            // Whoever is left to end in peace has the old socket, not the one that comes.
            self.children.programs.values_mut().filter(|c| c.slot == id).for_each(|c| c.holds_socket = false);
        } else {
            if listeners::other_options(&old.listen, &slot.service.listen) {
                for listener in &slot.listeners {
                    let _ = listeners::set_options(&listener.fd, &slot.service.listen);
                }
            }
            if old.listen.rights != service_rights {
                self.renew_rights(id);
            }
            if queue_now != queue {
                self.bound_queue(id);
            }
            if other_manner {
                self.serve_otherwise(id);
            } else {
                self.give_rules(id);
            }
            // A service that was held back by its old limits is looked at with the new ones.
            if let Some(slot) = self.slots.get_mut(&id)
                && let State::Paused(until, _) = &mut slot.status
                && slot.service.wait
            {
                *until = self.stamp.mono();
                self.timers.set(self.stamp.mono(), Alarm::Unpause(id));
            }
        }
        other_places
    }

    /// Some listeners of a slot are no longer its own; whoever wants their place in this reload takes them over.
    fn give_up(&mut self, id: SlotId, which: impl Fn(&Listener) -> bool) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let kind = slot.service.listen.socket;
        for listener in slot.listeners.extract_if(.., |listener| which(listener)) {
            if listener.polled {
                let _ = rustix::event::epoll::delete(&self.epoll, &listener.fd);
            }
            self.spare.keep(listener.kept(kind));
        }
    }

    /// A service that became another built-in, a sensor, or a built-in that was one: on the same socket.
    fn serve_otherwise(&mut self, id: SlotId) {
        let Some(slot) = self.slots.get(&id) else { return };
        for listener in &slot.listeners {
            let _ = listeners::adopt(&listener.fd, &slot.service.listen);
        }
        if matches!(slot.status, State::Active | State::NoWorker) {
            self.poll_slot(id, false);
            self.put_to_work(id);
        }
    }

    /// A service that is gone.
    fn remove(&mut self, id: SlotId) {
        self.take_datagrams(id);
        self.give_up(id, |_| true);
        let Some(slot) = self.slots.get_mut(&id) else { return };
        slot.forget_missing();
        let name = slot.id().to_owned();
        let how = slot.service.on_remove;
        slot.status = State::Removed;
        self.end_instances(id, how);
        self.say(Level::Notice, &format!("service {name} deactivated"));
        self.forget_if_done(id);
    }

    fn end_instances(&mut self, id: SlotId, how: OnRemove) {
        let dropped = self.children.drop_waiting(id);
        let name = crate::programs::slot_name(self, id);
        for _ in 0..dropped {
            self.say(Level::Notice, &format!("dropping retry attempt for service {name}"));
        }
        if how == OnRemove::Drain {
            return;
        }
        self.end_programs(id, Signal::KILL);
        for pid in self.children.of(id) {
            if let Some(child) = self.children.programs.get_mut(&pid) {
                child.forgotten = true;
                child.holds_socket = false;
            }
        }
        self.end_sessions(id);
        self.end_carried(id);
        self.end_headers(id);
    }
}

/// xinetd's test of whether an entry is the same service (reference xinetd §11.3): id, kind, wait, protocol, socket
/// type and port.
fn same_service(old: &Service, new: &Service) -> bool {
    let kind = |s: &Service| {
        let outside = matches!(s.action, Action::External { .. } | Action::Redirect(_));
        s.types.contains("INTERNAL") || !outside
    };
    let unlisted = |s: &Service| s.types.contains("UNLISTED");
    old.id.eq_ignore_ascii_case(&new.id)
        && old.mux.is_some() == new.mux.is_some()
        && kind(old) == kind(new)
        && unlisted(old) == unlisted(new)
        && old.wait == new.wait
        && old.listen.protocol == new.listen.protocol
        && old.listen.socket == new.listen.socket
        && match (old.rpc, new.rpc) {
            // rpcbind tells the port: another one is no other service.
            (Some(old), Some(new)) => old.program == new.program,
            (None, None) => old.listen.port == new.listen.port,
            _ => false,
        }
}

//! Each record of a state becomes what it was: a slot with its sockets, a program, a session, a client on its way. Descriptors are
//! duplicated, so that what the former version left stays as it is until this one stands.

use super::ends;
use super::going::Upgrade;
use super::resume::Left;
use super::workers::Leaves;
use crate::admit::Client;
use crate::children::{Behind, Child, Leg, PutOff, Session};
use crate::control::Control;
use crate::duty::{Duty, Order};
use crate::headers::{Awaited, Front};
use crate::hosts::Want;
use crate::log;
use crate::mux::Owed;
use crate::recorded::Answers;
use crate::seal::Shield;
use crate::slot::{Counts, Listener, SlotId, State as Status};
use crate::staff::FIRST_TLS;
use crate::supervisor::Supervisor;
use crate::targets::Place;
use crate::timers::Alarm;
use portreeve_conf::{Level, Rare, Service};
use portreeve_handover::{
    AwaitedState, ClientState, Fd, ProgramState, RateState, SealedState, SeatState, SessionState, SlotState,
};
use portreeve_policy::{Ban, Peer, Prefix, Reason, SavedRate, Seat, ServiceState};
use portreeve_sys::handover;
use portreeve_sys::lifeline::Lifeline;
use portreeve_workers::protocol::Preamble;
use rustix::fd::OwnedFd;
use std::ffi::{CString, OsString};
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::rc::Rc;

/// What begins once the new version stands.
#[derive(Debug)]
pub struct Rest {
    clients: Vec<(Client, ClientState)>,
    no_ledger: bool,
    header: Option<u32>,
    /// The policy of bans was being read.
    settings_awaited: bool,
}

impl Supervisor {
    /// A descriptor of ours for one that was left.
    pub fn adopt(&self, fd: Fd) -> Result<OwnedFd, String> {
        self.adopt_at(fd, self.base)
    }

    fn adopt_at(&self, fd: Fd, least: i32) -> Result<OwnedFd, String> {
        let adopted = if self.upgrade.takes { handover::take(fd.0) } else { handover::adopt(fd.0, least) };
        adopted.map_err(|error| format!("descriptor {} is lost: {error}", fd.0))
    }

    /// All of it, without a word to anybody: as long as this is not done, the former version can go on from the same records. What
    /// is to be said and done then is given back.
    pub fn take_over(&mut self, left: Left) -> Result<Rest, String> {
        let Left { state, readings, services, .. } = left;
        self.since = state.since;
        self.generation = state.generation;
        self.strangers = state.strangers;
        (self.headers.given_up, self.shaking_given_up) = (state.headers_given_up, state.shaking_given_up);
        self.next_slot = state.next_slot;
        self.next_ticket = state.last_ticket;
        self.inherited.files = state.files;
        self.options.pidfile = state.pidfile.map(|path| PathBuf::from(OsString::from_vec(path.0)));
        self.upgrade = Upgrade {
            executable: PathBuf::from(OsString::from_vec(state.executable.0)),
            back: handover::own_executable().ok(),
            count: state.upgrades,
            takes: self.upgrade.takes,
            ..Upgrade::default()
        };
        if let Some((answers, read)) = state.current.and_then(|at| readings.get(at as usize)) {
            self.answers = answers.clone();
            self.host.protect = crate::translate::protected(&read.settings.protect, read.served());
            self.bans.groups.clone_from(&read.settings.protect_groups);
            self.sensor.wanted = read.settings.watch_scans;
            self.trusted.go_by(read.settings.trusted_programs.as_deref());
            self.defaults_dump.clone_from(&read.settings.dump);
            self.files.clone_from(&read.files);
        }
        for denied in state.denied {
            if let Some(address) = denied.address {
                let network = Prefix::around(address, denied.length.unwrap_or(u8::MAX));
                let ban = Ban {
                    until: denied.until,
                    term: denied.term,
                    strikes: denied.strikes,
                    inside: denied.inside,
                    reason: denied.reason.into(),
                };
                let _ = self.host.denied.deny(network, ban);
            }
        }
        self.take_over_book(&state.ban_policy, &state.scores, &state.strikes);
        if let Some(next) = self.host.denied.next_expiry() {
            self.timers.set(next, Alarm::Denied);
        }
        (self.keepers.stored, self.keepers.room) = (state.stored, state.store_room);
        if let Some(channel) = state.watcher {
            let channel = self.adopt(channel)?;
            self.have_watcher(channel);
        }
        if let Some(ledger) = &state.ledger {
            self.announcer.ledger.take_over(ledger);
            self.take_over_keeping(ledger);
        }
        if let Some((read, write)) = state.lifeline {
            self.lifeline = Some(Lifeline { read: self.adopt(read)?, write: self.adopt(write)? });
        }
        self.staff.retired_before(&state.retired);
        for left in state.elsewhere {
            let memory = self.adopt(left.memory)?;
            self.elsewhere.take_over(left, memory);
        }
        for leaving in &state.leaving {
            self.take_over_leaving(leaving)?;
        }
        for user in state.dynamic_users {
            crate::dynamic_users::have(user.service, user.id, self.adopt(user.lock)?);
        }
        let leaves = self.take_over_workers(&state.workers)?;
        for (slot, service) in state.slots.into_iter().zip(services) {
            let origin = readings.get(slot.reading as usize).map(|(answers, _)| answers.clone());
            self.take_over_slot(slot, service, origin.unwrap_or_default())?;
        }
        for program in &state.programs {
            self.take_over_program(program)?;
        }
        for session in state.sessions {
            let (ticket, mut session) = self.session(&session);
            session.leaving = session.leaving.or(leaves.builtin);
            self.children.sessions.insert(ticket, session);
        }
        for sealed in &state.sealed {
            self.take_over_sealed(sealed, &leaves)?;
        }
        for session in state.carried {
            let (ticket, mut session) = self.session(&session);
            if session.sealed {
                self.sealed_carried += 1;
            } else {
                session.leaving = session.leaving.or(leaves.proxy);
            }
            if session.way.as_ref().is_some_and(|leg| leg.busy.is_some()) {
                self.timers.set(self.stamp.mono(), Alarm::Aim(ticket));
            }
            self.children.flows += usize::from(self.is_flow(&session));
            self.children.carried.insert(ticket, session);
        }
        for hook in &state.hooks {
            self.hooks.take_over(hook);
            if hook.watched.is_some() {
                self.watch_orphan(hook.pid, hook.watched)?;
            }
            self.timers.set(hook.until, Alarm::Hook(hook.pid));
        }
        self.hooks.counts(&state.hook_counts);
        self.hosts.resident = state.tables_asked;
        if let Some(control) = state.control {
            let mut restored = Control::default();
            restored.take_over(self, control)?;
            self.control = restored;
        }
        let clients: Vec<Client> =
            state.clients.iter().map(|client| self.client(client)).collect::<Result<_, _>>()?;
        let clients = clients.into_iter().zip(state.clients).collect();
        Ok(Rest {
            clients,
            no_ledger: state.ledger.is_none(),
            header: leaves.header,
            settings_awaited: state.settings_awaited,
        })
    }

    /// What begins once this version stands. Nothing in it can fail.
    pub fn begin_again(&mut self, rest: Rest) {
        if rest.settings_awaited {
            self.read_ban_settings();
        }
        if rest.no_ledger {
            // Of a version that had none.
            self.want_ledger();
        }
        for (mut client, left) in rest.clients {
            match (left.awaited, left.at) {
                // Without a seat its service is gone, and so it is.
                (Some(awaited), _) => {
                    if let Some(seat) = client.seat.take() {
                        let mut by = awaited_by(&awaited, client, seat);
                        by.leaving = awaited.leaving.or(rest.header);
                        self.await_on(awaited.ticket, by);
                    }
                }
                (None, Some(at)) => {
                    self.timers.set(at, Alarm::Retry);
                    self.children.put_off.push(PutOff { client, at });
                }
                (None, None) => self.judge_again(client),
            }
        }
        // Whoever waited for a seat comes behind those who wait for a start, and its turn is sooner.
        self.children.put_off.sort_by_key(|put_off| put_off.at);
        self.begin_leaving();
        self.tls_indices().for_each(|index| self.tls_has_room(index));
        self.filters_stale = true;
        // rpcbind is asked whether it still has what it had.
        (self.registry.stale, self.registry.doubtful) = (true, true);
        let now = self.stamp.mono();
        self.timers.set(now, Alarm::Ends);
        self.timers.set(now, Alarm::Kill);
        self.begin_to_watch_tables();
        self.begin_bans();
        self.want_sensor(self.sensor.wanted);
        self.give_tables();
    }

    /// A client that had not been decided: judged anew, or only its ident server asked again where it was admitted.
    fn judge_again(&mut self, client: Client) {
        if client.seat.is_none() {
            self.take_in(client);
        } else if let Some(client) = self.park(client, Want::Identity) {
            self.identified(client);
        }
    }

    fn take_over_slot(
        &mut self,
        left: SlotState,
        service: Rc<Service>,
        origin: Rc<Answers>,
    ) -> Result<(), String> {
        let sink = match self.sinks.open(&service.id, &service.log_type) {
            Ok(sink) => sink,
            Err(error) => {
                // The log's file is gone since: its clients are served without one rather than not at all.
                self.say(Level::Error, &format!("service {}: its log: {error}", service.id));
                log::SinkId::None
            }
        };
        // A former version told its groups apart by the place of the entry.
        let numbers = (left.nth, Some(left.group.unwrap_or(left.nth)));
        let mut slot = self.new_slot(service, numbers, origin, sink);
        slot.state = ServiceState::restored(&rate(&left.rate), &left.starts);
        slot.order = Order {
            duty: match left.duty {
                1 => Duty::Hold,
                2 => Duty::Drain,
                3 => Duty::Stop,
                _ => Duty::Serve,
            },
            keep: left.keep,
        };
        slot.status = match left.status {
            1 => Status::Paused(left.until, left.why.into()),
            2 => Status::Closed(left.until),
            3 => Status::Suspended,
            4 => Status::NoWorker,
            5 => Status::Retrying(left.attempt, left.why),
            6 => Status::Removed,
            _ => Status::Active,
        };
        let refused =
            left.refused.iter().filter_map(|(word, n)| Some((Reason::by_word(word)?, *n))).collect();
        if left.attempt > 0 {
            slot.trouble.tries = left.attempt;
        }
        slot.counts = Rare::of(Counts {
            accepted: left.accepted,
            refused,
            start_failures: left.start_failures,
            lost: left.lost,
            gone: left.gone,
            crowded: left.crowded,
        });
        if let Some(targets) = slot.targets.made() {
            targets.take_over(&left.names);
        }
        if left.last_refused.is_some() {
            slot.told.last_refused = left.last_refused;
        }
        slot.overloaded = left.overloaded;
        slot.unfiltered = left.unfiltered;
        slot.hold_logged = left.hold_logged;
        let places = slot.service.listen.endpoints();
        let mut polled = false;
        slot.listeners.reserve_exact(left.listeners.len());
        for listener in &left.listeners {
            let fd = self.adopt(listener.fd)?;
            let address = crate::listeners::bound_to(&fd)
                .map_err(|error| format!("the socket of service {}: {error}", left.service))?;
            polled |= listener.polled;
            let place = places.iter().find(|place| place.to_string() == listener.place);
            let place = place.cloned().unwrap_or_else(|| address.clone());
            let number = slot.free_number();
            let file = listener.file.as_ref().map(ends::file);
            slot.listeners.push(Listener::new(number, place, fd, address, file));
        }
        // What was not open is tried at once.
        if matches!(slot.status, Status::Active | Status::NoWorker | Status::Paused(..))
            && !slot.order.closes()
        {
            slot.note_missing(&places);
            if !slot.trouble.missing.is_empty() {
                slot.trouble.try_at = Some(self.stamp.mono());
                self.timers.set(self.stamp.mono(), Alarm::Listen(left.id));
            }
        }
        if slot.status == Status::Active && self.worker_state(&slot) != Status::Active {
            // One that it needs is new, and says when it is there.
            (slot.status, polled) = (Status::NoWorker, false);
        }
        let id = left.id;
        for worker in slot.workers() {
            self.need_worker(worker);
        }
        match slot.status {
            Status::Paused(until, _) => self.timers.set(until, Alarm::Unpause(id)),
            Status::Retrying(..) => {
                slot.note_missing(&places);
                slot.trouble.try_at = Some(self.stamp.mono());
                self.timers.set(self.stamp.mono(), Alarm::Listen(id));
            }
            _ => {}
        }
        self.slots.insert(id, slot);
        self.watch_devices();
        self.poll_slot(id, polled);
        self.watch_rate(id);
        self.watch_targets(id);
        Ok(())
    }

    fn seat(&self, slot: SlotId, left: Option<&SeatState>) -> Option<Seat> {
        let slot = self.slots.get(&slot)?;
        let prefix = slot.rules().rules().per_source_prefix;
        left.map(|left| slot.state.reseat(&self.host, left.source, prefix))
    }

    fn take_over_program(&mut self, left: &ProgramState) -> Result<(), String> {
        let child = Child {
            slot: left.slot,
            seat: self.seat(left.slot, left.seat.as_ref()),
            started: left.started,
            started_wall: left.started_wall,
            peer: ends::peer(left.peer, left.local.as_ref()),
            holds_socket: left.holds_socket,
            kill_at: left.kill_at,
            forgotten: left.forgotten,
            event: left.event,
        };
        if let Some(at) = left.kill_at {
            self.timers.set(at, Alarm::Kill);
        }
        self.children.begin(left.pid, child);
        if let Some(witness) = &left.witness {
            self.take_over_witness(left, witness);
        }
        if left.orphan {
            self.watch_orphan(left.pid, left.watched)?;
        }
        Ok(())
    }

    fn session(&self, left: &SessionState) -> (u64, Session) {
        let session = Session {
            slot: left.slot,
            seat: self.seat(left.slot, left.seat.as_ref()),
            started_wall: left.started_wall,
            started: left.started,
            peer: ends::peer(left.peer, left.local.as_ref()),
            sealed: left.sealed,
            way: left.tried.as_ref().map(|tried| Leg {
                tried: tried.iter().map(place).collect(),
                began: self.stamp.mono(),
                busy: left.busy,
                ..Leg::default()
            }),
            logs_exit: left.logs_exit,
            leaving: left.leaving,
            event: left.event,
            bytes: None,
        };
        (left.ticket, session)
    }

    fn client(&self, left: &ClientState) -> Result<Client, String> {
        // Low numbers are for clients: a program that is started copies no other.
        let fd = self.adopt_at(left.fd, 3)?;
        let peer = ends::peer(Some(left.peer.0), left.local.as_ref()).ok_or("a client is lost")?;
        let fd = self.spawner.connection(fd, matches!(peer, Peer::Local(_)));
        let mut client = Client::new(left.slot, fd, peer);
        client.attempts = left.attempts;
        client.counted = left.counted;
        client.acted = left.acted;
        client.front = match left.front {
            0 => Front::Unread,
            1 => Front::Direct,
            _ => Front::Proxied(left.destination),
        };
        client.owed = match left.owed {
            0 => Owed::Nothing,
            1 => Owed::Refusal,
            _ => Owed::Both,
        };
        client.event = left.event;
        client.seat = self.seat(left.slot, left.seat.as_ref());
        client.left = true;
        client.shield = left.shield.as_ref().map(|shield| {
            let variables = shield.variables.iter().filter_map(|word| CString::new(word.0.clone()).ok());
            Box::new(Shield { ticket: shield.ticket, variables: variables.collect(), led: true })
        });
        Ok(client)
    }

    /// A connection in a worker of TLS: in the same one, or in one that leaves.
    fn take_over_sealed(&mut self, left: &SealedState, leaves: &Leaves) -> Result<(), String> {
        let at = usize::try_from(left.worker).unwrap_or(usize::MAX);
        let leaving = left.leaving.or(leaves.tls.get(at).copied().flatten());
        let link = left.worker.saturating_add(u32::try_from(FIRST_TLS).unwrap_or(0));
        let client = match &left.client {
            Some(state) => {
                let mut client = self.client(state)?;
                client.seat.take().map(|seat| (Box::new(client), seat))
            }
            None => None,
        };
        if leaving.is_none()
            && let Some(link) = self.staff.link_mut(link)
        {
            link.holds += 1;
        }
        let head = left.head.0.clone();
        self.children.sealed.insert(left.ticket, Behind { link, slot: left.slot, client, head, leaving });
        Ok(())
    }
}

fn awaited_by(left: &AwaitedState, client: Client, seat: Seat) -> Awaited {
    let what = if left.what == 0 { Preamble::Proxy } else { Preamble::Mux };
    Awaited { client, seat, what, since: left.since, until: left.until, tries: left.tries, leaving: None }
}

fn place((address, path): &(Option<SocketAddr>, String)) -> Place {
    address.map_or_else(|| Place::Path(path.as_str().into()), Place::Ip)
}

fn rate(left: &RateState) -> SavedRate {
    SavedRate {
        window_start: left.window_start,
        window_count: left.window_count,
        sources: left.sources.clone(),
        overflow: left.overflow,
        phase: left.phase,
        until: left.until,
        resume: left.resume,
        tripped_at: left.tripped_at,
        owed: left.owed,
    }
}

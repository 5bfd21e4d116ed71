//! The state as the next version finds it: read and checked whole, then taken over. Until everything stands, the descriptors
//! that the former version left stay as they are, so that it can be executed again and find them.

use super::going::{Upgrade, back};
use crate::admit::Client;
use crate::boot;
use crate::children::{Child, Leg, PutOff, Session};
use crate::control::Control;
use crate::duty::{Duty, Order};
use crate::headers::{Awaited, Front};
use crate::hosts::Want;
use crate::json::Json;
use crate::log;
use crate::mux::Owed;
use crate::options::Options;
use crate::recorded::{Answers, Replay};
use crate::slot::{Counts, Listener, SlotId, State as Status};
use crate::supervisor::Supervisor;
use crate::targets::Place;
use crate::timers::Alarm;
use portreeve_conf::{Level, Reading, Service};
use portreeve_handover::{
    AwaitedState, ClientState, Fd, MOST, ProgramState, RateState, SeatState, SessionState, SlotState, State,
};
use portreeve_policy::{Reason, SavedRate, Seat, ServiceState};
use portreeve_sys::handover;
use portreeve_workers::protocol::Preamble;
use rustix::fd::OwnedFd;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;

/// What a probe says that could go on.
pub const CONTENT: &str = "this version can go on";

/// A state, and the configuration in it as this version reads it.
#[derive(Debug)]
pub struct Left {
    state: State,
    /// Numbers of the descriptors that it names.
    named: Vec<i32>,
    readings: Vec<(Rc<Answers>, Reading)>,
    /// The service of each slot.
    services: Vec<Rc<Service>>,
}

impl Left {
    /// Reads and checks everything that can be checked without touching a descriptor.
    ///
    /// # Errors
    /// In words: a state of another version, a service that this version does not accept.
    pub fn read(bytes: &[u8], options: &Options) -> Result<Self, String> {
        let (mut state, fds) = State::decode(bytes).map_err(|error| error.to_string())?;
        let readings: Vec<(Rc<Answers>, Reading)> = std::mem::take(&mut state.readings)
            .into_iter()
            .map(|reading| {
                let answers = Answers(reading.answers);
                let read = portreeve_conf::read_sources(&Replay::new(&answers), &options.sources);
                (Rc::new(answers), read)
            })
            .collect();
        if state.current.is_none_or(|at| readings.len() <= at as usize) {
            return Err("it names no configuration".to_owned());
        }
        let services = state.slots.iter().map(|slot| service(slot, &readings)).collect::<Result<_, _>>()?;
        for slot in &state.slots {
            if slot.status > 6 || slot.duty > 3 || slot.rate.phase > 3 || slot.rate.owed > 2 {
                return Err(format!(
                    "service {} is in a state that this version does not know",
                    slot.service
                ));
            }
        }
        let known = |client: &ClientState| {
            client.front <= 2
                && client.owed <= 2
                && client.awaited.as_ref().is_none_or(|awaited| awaited.what <= 1)
        };
        if !state.clients.iter().all(known) {
            return Err("a client is in a state that this version does not know".to_owned());
        }
        if let Some(worker) = state.workers.iter().find(|w| w.presence > 3) {
            return Err(format!("worker {} is in a state that this version does not know", worker.name));
        }
        let own = portreeve_workers::protocol::VERSION;
        if let Some(worker) = state.workers.iter().find(|w| w.channel.is_some() && w.protocol != own) {
            let (name, other) = (&worker.name, worker.protocol);
            return Err(format!("worker {name} speaks version {other} of the messages, this one {own}"));
        }
        Ok(Self { state, named: fds.into_iter().map(|fd| fd.0).collect(), readings, services })
    }
}

/// The service of a slot, in the reading that it comes from.
fn service(slot: &SlotState, readings: &[(Rc<Answers>, Reading)]) -> Result<Rc<Service>, String> {
    let services = readings.get(slot.reading as usize).map(|(_, read)| &read.services);
    let mut named = services.into_iter().flatten().filter(|service| service.id == slot.service);
    match named.nth(slot.nth as usize) {
        Some(service) => Ok(Rc::new(service.clone())),
        None => Err(format!("it does not accept the entry of service {}", slot.service)),
    }
}

/// The probe: says on standard output whether it could go on, and why not.
pub fn prober(options: &Options, state: i32) -> ExitCode {
    let read = handover::adopt(state, 3)
        .and_then(|fd| handover::read_sealed(fd, MOST))
        .map_err(|error| format!("the state cannot be read: {error}"))
        .and_then(|bytes| Left::read(&bytes, options));
    let (text, code) = match read {
        Ok(left) => (format!("{CONTENT}: {} services\n", left.services.len()), ExitCode::SUCCESS),
        Err(why) => (format!("{why}\n"), ExitCode::from(1)),
    };
    let _ = rustix::io::write(rustix::stdio::stdout(), text.as_bytes());
    code
}

/// Goes on where the former version left, or executes it again. `returned` is that version itself, back again: it has nobody
/// to go back to.
pub fn successor(options: &Options, state: i32, returned: bool) -> ExitCode {
    let bytes = handover::adopt(state, 3).and_then(|fd| handover::read_sealed(fd, MOST));
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(error) => return boot::complain(options, &format!("no state to go on from: {error}")),
    };
    let way_back = State::decode(&bytes).ok().and_then(|(left, fds)| {
        let held = handover::adopt(left.back?.0, 3).ok().filter(|_| !returned)?;
        Some((held, fds.into_iter().map(|fd| fd.0).collect::<Vec<i32>>()))
    });
    // A version that panics here has been probed in vain; the former one goes on all the same.
    if let Some((held, named)) = &way_back
        && let Ok(held) = held.try_clone()
    {
        let (argv, named) = (options.argv.clone(), named.clone());
        let held = std::sync::Mutex::new(Some(held));
        std::panic::set_hook(Box::new(move |panic| {
            say_failed(&panic.to_string());
            if let Some(held) = held.lock().ok().and_then(|mut held| held.take()) {
                let _ = back(held, &argv, state, &named);
            }
        }));
    }
    match resume(options, &bytes, state, returned) {
        Ok(supervisor) => {
            let _ = std::panic::take_hook();
            drop(way_back);
            supervisor.serve()
        }
        Err(why) => {
            say_failed(&why);
            match way_back {
                Some((held, named)) => {
                    let error = back(held, &options.argv, state, &named);
                    boot::complain(options, &format!("the former version cannot be executed: {error}"))
                }
                None => boot::complain(options, &why),
            }
        }
    }
}

fn say_failed(why: &str) {
    let text =
        format!("portreeve-gate: the new version cannot go on: {why}; the former one is executed again\n");
    let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
}

fn resume(options: &Options, bytes: &[u8], number: i32, returned: bool) -> Result<Supervisor, String> {
    let mut options = options.clone();
    options.make_absolute();
    let left = Left::read(bytes, &options)?;
    let mut supervisor = boot::build(&options, portreeve_sys::limits::nofile(), None)?;
    let from = left.state.version.clone();
    let named = left.named.clone();
    let client = left.state.asked_by;
    supervisor.take_over(left)?;
    if !returned {
        supervisor.upgrade.count += 1;
    }
    // It stands: what was left open for a way back goes.
    handover::close_left(&named);
    handover::close_left(&[number]);
    let own = env!("CARGO_PKG_VERSION");
    if returned {
        supervisor.end_upgrade(client, "the new executable could not go on");
    } else {
        let text = format!("Upgrade: {own} goes on where {from} left");
        supervisor.say(Level::Notice, &text);
        if let Some(client) = client {
            let answer = Json::object(|j| {
                j.plain("ok", true);
                j.text("from", &from);
                j.text("to", own);
                j.plain("pid", std::process::id());
                j.plain("services", supervisor.slots.len());
            });
            supervisor.answer(client, answer);
        }
    }
    supervisor.sign_of_life();
    Ok(supervisor)
}

impl Supervisor {
    /// A descriptor of ours for one that was left.
    pub fn adopt(&self, fd: Fd) -> Result<OwnedFd, String> {
        handover::adopt(fd.0, self.base).map_err(|error| format!("descriptor {} is lost: {error}", fd.0))
    }

    fn take_over(&mut self, left: Left) -> Result<(), String> {
        let Left { state, readings, services, .. } = left;
        self.since = state.since;
        self.generation = state.generation;
        self.strangers = state.strangers;
        self.next_slot = state.next_slot;
        self.next_ticket = state.last_ticket;
        self.inherited.files = state.files;
        self.options.pidfile = state.pidfile.map(|path| PathBuf::from(OsString::from_vec(path.0)));
        self.upgrade = Upgrade {
            executable: PathBuf::from(OsString::from_vec(state.executable.0)),
            back: handover::own_executable().ok(),
            count: state.upgrades,
            ..Upgrade::default()
        };
        if let Some((answers, read)) = state.current.and_then(|at| readings.get(at as usize)) {
            self.answers = answers.clone();
            self.host.protect = crate::translate::protected(&read.settings.protect, read.services.iter());
            self.defaults_dump.clone_from(&read.settings.dump);
            self.files.clone_from(&read.files);
        }
        for denied in state.denied {
            if let Some(address) = denied.address {
                let _ = self.host.denied.restore(address, denied.until, denied.term);
            }
        }
        if let Some(next) = self.host.denied.next_expiry() {
            self.timers.set(next, Alarm::Denied);
        }
        self.keepers.stored = state.stored;
        if let Some(channel) = state.watcher {
            let channel = self.adopt(channel)?;
            self.have_watcher(channel);
        }
        for worker in &state.workers {
            self.take_over_worker(worker)?;
        }
        self.staff.retired_before(&state.retired);
        for (slot, service) in state.slots.into_iter().zip(services) {
            let origin = readings.get(slot.reading as usize).map(|(answers, _)| answers.clone());
            self.take_over_slot(slot, service, origin.unwrap_or_default())?;
        }
        state.programs.into_iter().for_each(|program| self.take_over_program(&program));
        for session in state.sessions {
            let (ticket, session) = self.session(&session);
            self.children.sessions.insert(ticket, session);
        }
        for session in state.carried {
            let (ticket, session) = self.session(&session);
            if session.way.as_ref().is_some_and(|leg| leg.busy.is_some()) {
                self.timers.set(self.stamp.mono(), Alarm::Aim(ticket));
            }
            self.children.carried.insert(ticket, session);
        }
        let now = self.stamp.mono();
        for hook in &state.hooks {
            self.hooks.take_over(hook);
            self.timers.set(hook.until, Alarm::Hook(hook.pid));
        }
        self.hooks.counts(&state.hook_counts);
        if let Some(control) = state.control {
            let mut restored = Control::default();
            restored.take_over(self, control)?;
            self.control = restored;
        }
        let clients: Vec<Client> =
            state.clients.iter().map(|client| self.client(client)).collect::<Result<_, _>>()?;
        // Nothing can fail from here on.
        for (mut client, left) in clients.into_iter().zip(state.clients) {
            match (left.awaited, left.at) {
                // Without a seat its service is gone, and so it is.
                (Some(awaited), _) => {
                    if let Some(seat) = client.seat.take() {
                        self.await_on(awaited.ticket, awaited_by(&awaited, client, seat));
                    }
                }
                (None, Some(at)) => {
                    self.timers.set(at, Alarm::Retry);
                    self.children.put_off.push(PutOff { client, at });
                }
                (None, None) => self.judge_again(client),
            }
        }
        self.filters_stale = true;
        // rpcbind is asked whether it still has what it had.
        (self.registry.stale, self.registry.doubtful) = (true, true);
        self.timers.set(now, Alarm::Ends);
        self.timers.set(now, Alarm::Kill);
        self.begin_to_watch_tables();
        self.give_tables();
        Ok(())
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
        let mut slot = self.new_slot(service, origin, sink);
        slot.nth = left.nth;
        slot.state = ServiceState::restored(&rate(&left.rate));
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
        slot.tries = left.attempt;
        slot.counts = Counts {
            accepted: left.accepted,
            refused,
            start_failures: left.start_failures,
            lost: left.lost,
            gone: 0,
        };
        slot.last_refused = left.last_refused;
        slot.overloaded = left.overloaded;
        slot.unfiltered = left.unfiltered;
        slot.hold_logged = left.hold_logged;
        let places = slot.service.listen.endpoints();
        let mut polled = false;
        for listener in &left.listeners {
            let fd = self.adopt(listener.fd)?;
            let address = crate::listeners::bound_to(&fd)
                .map_err(|error| format!("the socket of service {}: {error}", left.service))?;
            polled |= listener.polled;
            let place = places.iter().find(|place| place.to_string() == listener.place);
            let place = place.cloned().unwrap_or_else(|| address.clone());
            let number = slot.free_number();
            slot.listeners.push(Listener { number, place, fd, address, polled: false });
        }
        // What was not open is tried at once.
        if matches!(slot.status, Status::Active | Status::NoWorker | Status::Paused(..))
            && !slot.order.closes()
        {
            slot.note_missing(&places);
            if !slot.missing.is_empty() {
                slot.try_at = Some(self.stamp.mono());
                self.timers.set(self.stamp.mono(), Alarm::Listen(left.id));
            }
        }
        if slot.service.tls.is_some() && slot.status == Status::Active {
            // Its new worker says when.
            (slot.status, polled) = (Status::NoWorker, false);
        }
        let id = left.id;
        match slot.status {
            Status::Paused(until, _) => self.timers.set(until, Alarm::Unpause(id)),
            Status::Retrying(..) => {
                slot.note_missing(&places);
                slot.try_at = Some(self.stamp.mono());
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
        let prefix = slot.rules.rules().per_source_prefix;
        left.map(|left| slot.state.reseat(&self.host, left.source, prefix))
    }

    fn take_over_program(&mut self, left: &ProgramState) {
        let child = Child {
            slot: left.slot,
            seat: self.seat(left.slot, left.seat.as_ref()),
            started: left.started,
            started_wall: left.started_wall,
            peer: left.peer,
            holds_socket: left.holds_socket,
            kill_at: left.kill_at,
            forgotten: left.forgotten,
        };
        if let Some(at) = left.kill_at {
            self.timers.set(at, Alarm::Kill);
        }
        self.children.programs.insert(left.pid, child);
    }

    fn session(&self, left: &SessionState) -> (u64, Session) {
        let session = Session {
            slot: left.slot,
            seat: self.seat(left.slot, left.seat.as_ref()),
            started_wall: left.started_wall,
            started: left.started,
            peer: left.peer,
            sealed: false,
            way: left.tried.as_ref().map(|tried| Leg {
                tried: tried.iter().map(place).collect(),
                began: self.stamp.mono(),
                busy: left.busy,
                ..Leg::default()
            }),
            logs_exit: left.logs_exit,
        };
        (left.ticket, session)
    }

    fn client(&self, left: &ClientState) -> Result<Client, String> {
        // Low numbers are for clients: a program that is started copies no other.
        let fd = handover::adopt(left.fd.0, 3).map_err(|error| format!("a client is lost: {error}"))?;
        let mut client = Client::new(left.slot, fd, left.peer.0);
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
        client.seat = self.seat(left.slot, left.seat.as_ref());
        Ok(client)
    }
}

fn awaited_by(left: &AwaitedState, client: Client, seat: Seat) -> Awaited {
    let what = if left.what == 0 { Preamble::Proxy } else { Preamble::Mux };
    Awaited { client, seat, what, since: left.since, until: left.until, tries: left.tries }
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

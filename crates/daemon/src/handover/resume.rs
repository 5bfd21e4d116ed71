//! The state as the next version finds it: read and checked whole, then taken over. Until everything stands, the descriptors
//! that the former version left stay as they are, so that it can be executed again and find them.

use super::going::back;
use super::guard::{Starter, dismiss, has_ended, starter};
use super::probe::OTHERS;
use super::workers::must_leave;
use crate::boot;
use crate::json::Json;
use crate::options::Options;
use crate::recorded::{Answers, Replay};
use crate::supervisor::Supervisor;
use portreeve_conf::{Level, Reading, Service};
use portreeve_handover::{ClientState, MOST, SlotState, State};
use portreeve_sys::handover;
use std::process::ExitCode;
use std::rc::Rc;

/// What a probe says that could go on.
pub const CONTENT: &str = "this version can go on";

/// A state, and the configuration in it as this version reads it.
#[derive(Debug)]
pub struct Left {
    /// What was left.
    pub state: State,
    /// Numbers of the descriptors that it names.
    named: Vec<i32>,
    /// Each configuration.
    pub readings: Vec<(Rc<Answers>, Reading)>,
    /// The service of each slot.
    pub services: Vec<Rc<Service>>,
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
                let answers = Answers::of_written(reading.answers);
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
        let shaking = state.sealed.iter().filter_map(|sealed| sealed.client.as_ref());
        if !state.clients.iter().chain(shaking).all(known) {
            return Err("a client is in a state that this version does not know".to_owned());
        }
        if state.ledger.as_ref().is_some_and(|ledger| ledger.journal > 3) {
            return Err("the ledger is in a state that this version does not know".to_owned());
        }
        if let Some(worker) = state.workers.iter().find(|w| w.presence > 3 || w.keyed > 2) {
            return Err(format!("worker {} is in a state that this version does not know", worker.name));
        }
        Ok(Self { state, named: fds.into_iter().map(|fd| fd.0).collect(), readings, services })
    }
}

/// The service of a slot, in the reading that it comes from.
fn service(slot: &SlotState, readings: &[(Rc<Answers>, Reading)]) -> Result<Rc<Service>, String> {
    let services = readings.get(slot.reading as usize).map(|(_, read)| &read.services);
    let mut named = services.into_iter().flatten().filter(|service| service.id == slot.service);
    match named.nth(slot.nth as usize) {
        Some(service) => Ok(service.clone()),
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
        Ok(left) => {
            let leave: Vec<&str> =
                left.state.workers.iter().filter(|w| must_leave(w)).map(|w| w.name.as_str()).collect();
            let leave = if leave.is_empty() { String::new() } else { format!("{OTHERS}{}", leave.join(" ")) };
            (format!("{CONTENT}: {} services{leave}\n", left.services.len()), ExitCode::SUCCESS)
        }
        Err(why) => (format!("{why}\n"), ExitCode::from(1)),
    };
    let _ = rustix::io::write(rustix::stdio::stdout(), text.as_bytes());
    code
}

/// How this process has come to go on from a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A newer version, in the place of the former one.
    Forward,
    /// That former one, back again: it has nobody to go back to.
    Back,
    /// That former one in another process, and what became of the newer one.
    Beside(&'static str),
}

/// Goes on where the former version left, or executes it again.
pub fn go_on(options: &Options, number: i32, way: Way) -> ExitCode {
    let bytes = match handover::read_left(number, MOST) {
        Ok(bytes) => bytes,
        Err(error) => return boot::complain(options, &format!("no state to go on from: {error}")),
    };
    let way_back = State::decode(&bytes).ok().and_then(|(left, fds)| {
        let held = left.back.filter(|_| way == Way::Forward)?;
        Some((held.0, fds.into_iter().map(|fd| fd.0).collect::<Vec<i32>>()))
    });
    // A version that panics here has been probed in vain; the former one goes on all the same.
    if let Some((held, named)) = way_back.clone() {
        let argv = options.argv.clone();
        std::panic::set_hook(Box::new(move |panic| {
            say_failed(&panic.to_string());
            let _ = back(held, &argv, number, &named);
        }));
    }
    match resume(options, &bytes, number, way) {
        Ok(supervisor) => supervisor.serve(),
        Err(why) => match way_back {
            Some((held, named)) => {
                say_failed(&why);
                let error = back(held, &options.argv, number, &named);
                boot::complain(options, &format!("the former version cannot be executed: {error}"))
            }
            None => boot::complain(options, &why),
        },
    }
}

fn say_failed(why: &str) {
    let text =
        format!("portreeve-gate: the new version cannot go on: {why}; the former one is executed again\n");
    let _ = rustix::io::write(rustix::stdio::stderr(), text.as_bytes());
}

fn resume(options: &Options, bytes: &[u8], number: i32, way: Way) -> Result<Supervisor, String> {
    let mut options = options.clone();
    options.make_absolute();
    let mut left = Left::read(bytes, &options)?;
    let mut supervisor = boot::build(&options, portreeve_sys::limits::nofile(), None)?;
    let from = left.state.version.clone();
    let mut named = std::mem::take(&mut left.named);
    let client = left.state.asked_by;
    let guard = left.state.guard;
    let starter = if left.state.watcher.is_some() { Starter::Watcher } else { starter() };
    // systemd takes the one that stands by for us, and starts another when that one has ended: two would serve.
    if let Some(guard) = guard.filter(|_| starter == Starter::Systemd)
        && handover::adopt(guard.0, 3).is_ok_and(|guard| has_ended(&guard))
    {
        return Err("the process that stood by has ended, and the service manager starts another".to_owned());
    }
    supervisor.upgrade.takes = way != Way::Forward;
    let held = left.state.back.as_ref().map(|held| held.0);
    let rest = supervisor.take_over(left)?;
    // It stands, and nobody has noticed anything yet: no client, no worker. What was left open for a way back goes, and whoever stands
    // by. From here on nobody else could go on from what was left.
    let _ = std::panic::take_hook();
    match way {
        Way::Forward => {
            supervisor.upgrade.count += 1;
            named.retain(|&number| guard.is_none_or(|guard| guard.0 != number));
            handover::close_left(&named);
        }
        // The executable that we were started from is held by a descriptor of our own.
        Way::Back => handover::close_left(held.as_slice()),
        Way::Beside(_) => {
            handover::close_left(held.as_slice());
            supervisor.has_another_number();
        }
    }
    if let Some(guard) = guard.and_then(|guard| handover::take(guard.0).ok()) {
        dismiss(&guard, starter);
    }
    handover::close_left(&[number]);
    supervisor.upgrade.takes = false;
    supervisor.tell_watcher_we_stand(matches!(way, Way::Beside(_)));
    supervisor.begin_again(rest);
    let own = env!("CARGO_PKG_VERSION");
    match way {
        Way::Back => supervisor.end_upgrade(client, "the new executable could not go on"),
        Way::Beside(how) => {
            let pid = std::process::id();
            let why = format!("the new executable {how}; process {pid} steps in");
            supervisor.end_upgrade(client, &why);
        }
        Way::Forward => {
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
    }
    supervisor.sign_of_life();
    Ok(supervisor)
}

impl Supervisor {
    /// Another process than before: the file that names it is written anew.
    fn has_another_number(&mut self) {
        let written = self.options.pidfile.as_deref().map(portreeve_sys::file::write_pidfile);
        if let Some(Err(error)) = written {
            self.say(Level::Warning, &format!("cannot write the file with our process number: {error}"));
        }
    }
}

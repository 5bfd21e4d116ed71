//! The end of stale instances: who first, who not yet, who never. Signals go to the process that was looked at, by its descriptor.

use super::{Account, Arguments, instance, ours, processes};
use crate::answer::items;
use crate::control::Socket;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use portreeve_audit::stale::{self, Instance};
use portreeve_sys::idle::Process;
use portreeve_sys::reap::Signal;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

/// How often it looks again while instances have time left.
const PAUSE: Duration = Duration::from_secs(2);
/// Instances that are told to end at once; the next ones when these have.
const AT_ONCE: usize = 64;
/// After SIGKILL: longer only in a system call that cannot be interrupted.
const KILLED: Duration = Duration::from_secs(5);

/// How they are retired.
#[derive(Clone, Debug)]
pub(super) struct Manner {
    /// Ids; none: all of them.
    pub services: Option<Vec<String>>,
    pub idle_first: bool,
    pub idle_only: bool,
    pub idle: Duration,
    pub after: Duration,
    pub grace: Duration,
}

impl Manner {
    pub(super) fn of(arguments: &Arguments, services: Option<Vec<String>>) -> Self {
        Self {
            services,
            idle_first: arguments.idle_first,
            idle_only: arguments.idle_only,
            idle: arguments.idle,
            after: arguments.after,
            grace: arguments.grace,
        }
    }
}

/// One that is to go.
struct Candidate {
    instance: Instance,
    process: Process,
    silent: Option<Duration>,
}

/// Retires until nothing is left that may go. Fine when no stale instance is left.
pub(super) fn run(arguments: &Arguments, manner: &Manner, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let mut account = Account { json: arguments.json, ..Account::default() };
    let begun = Instant::now();
    let deadline = begun + manner.after;
    let own = own_line();
    let mut told = BTreeSet::new();
    // Whom SIGKILL did not end is not told again.
    let mut stuck = BTreeSet::new();
    let left = loop {
        let mut found = candidates(&arguments.socket, manner)?;
        // Who began after us has what is on disk; should that look old too, all that come would be ended for ever.
        let younger = |candidate: &Candidate| candidate.instance.seconds < begun.elapsed().as_secs();
        found.retain(|candidate| !stuck.contains(&candidate.instance.pid) && !younger(candidate));
        let mut left = 0;
        found.retain(|candidate| match spared(candidate, &own) {
            Some(why) => {
                left += 1;
                told.insert((candidate.instance.pid, candidate.instance.service.clone(), why));
                false
            }
            None => true,
        });
        let late = Instant::now() >= deadline;
        order(&mut found, manner.idle_first);
        let may_go = |candidate: &Candidate| {
            let silent = candidate.silent.is_some_and(|silent| silent >= manner.idle);
            match (manner.idle_only, manner.idle_first, late) {
                (true, ..) => silent,
                (false, _, true) => true,
                (false, idle_first, false) => idle_first && silent,
            }
        };
        let (go, stay): (Vec<_>, Vec<_>) = found.into_iter().partition(may_go);
        let ended = go.len();
        for group in chunks(go, AT_ONCE) {
            end(&group, manner.grace, &mut account, &mut stuck, out)?;
        }
        // Who connected while these ended already has the new code: nothing grows behind our back but what was missed.
        if stay.is_empty() && ended == 0 {
            break left + stuck.len();
        }
        if late && ended == 0 {
            for candidate in &stay {
                let how = "left: its connection is not silent";
                account.add(out, &candidate.instance.pid.to_string(), &candidate.instance.service, how)?;
            }
            break left + stay.len() + stuck.len();
        }
        if !late && ended == 0 {
            let wait = deadline.saturating_duration_since(Instant::now()).min(PAUSE);
            wait_for_any(&stay, wait);
        }
    };
    for (pid, service, why) in told {
        account.add(out, &pid.to_string(), &service, why)?;
    }
    if arguments.json {
        out.json(&json!({"retired": account.lines, "left": left}))?;
    } else if account.lines.is_empty() && left == 0 {
        use std::io::Write;
        writeln!(out, "no instance of our services runs old code")?;
    }
    Ok(if left == 0 { Exit::Fine } else { Exit::Found })
}

fn chunks(mut all: Vec<Candidate>, size: usize) -> Vec<Vec<Candidate>> {
    let mut groups = Vec::new();
    while !all.is_empty() {
        let rest = all.split_off(all.len().min(size));
        groups.push(std::mem::replace(&mut all, rest));
    }
    groups
}

/// The stale instances, each by a descriptor. A number that the daemon still lists after the descriptor was opened is the same
/// process: the daemon has not reaped it. What is looked at afterwards is looked at in that process.
fn candidates(socket: &Socket, manner: &Manner) -> Result<Vec<Candidate>, Failure> {
    let first = socket.ask("instances").map_err(Failure::from)?;
    let open = |instance: Instance| Some((instance.pid, Process::open(instance.pid).ok()?));
    let mut held: BTreeMap<u32, Process> =
        items(&first, "instances").iter().filter_map(instance).filter_map(open).collect();
    let (ours, gap) = ours(socket);
    if let Some(gap) = gap {
        return Err(Failure::new(gap));
    }
    let stale = processes(&ours)?;
    let mut found: BTreeMap<u32, Instance> = BTreeMap::new();
    for instance in stale.processes.into_iter().filter_map(|stale| stale.instance) {
        if manner.services.as_ref().is_none_or(|services| services.contains(&instance.service)) {
            found.entry(instance.pid).or_insert(instance);
        }
    }
    let candidates = found.into_values().filter_map(|instance| {
        let process = held.remove(&instance.pid)?;
        let silent = process.silent(0);
        Some(Candidate { instance, process, silent })
    });
    Ok(candidates.collect())
}

/// Who goes first.
fn order(found: &mut [Candidate], idle_first: bool) {
    found.sort_by_key(|candidate| {
        let silent = candidate.silent.filter(|_| idle_first);
        std::cmp::Reverse((silent, candidate.instance.seconds))
    });
}

/// What tells the session that this command is called from.
struct Own {
    line: BTreeSet<u32>,
    client: Option<String>,
    session: Option<String>,
}

/// Our parents, the ssh client that our environment names (a terminal multiplexer is no child of the session), and the audit session.
fn own_line() -> Own {
    /// Longer lines of parents are somebody's joke.
    const LONGEST: usize = 256;
    let proc = Path::new("/proc");
    let mut line = BTreeSet::from([std::process::id()]);
    let mut at = std::process::id();
    while let Some(parent) = stale::parent(proc, at).filter(|parent| *parent > 0) {
        if line.len() >= LONGEST || !line.insert(parent) {
            break;
        }
        at = parent;
    }
    let client = std::env::var("SSH_CONNECTION").ok().and_then(|text| {
        let words: Vec<_> = text.split(' ').collect();
        let (address, port) = (words.first()?.parse::<std::net::IpAddr>().ok()?, words.get(1)?.parse().ok()?);
        Some(std::net::SocketAddr::new(address.to_canonical(), port).to_string())
    });
    Own { line, client, session: session(std::process::id()) }
}

/// The audit session of a process; none where the kernel has none, or nobody has logged in.
fn session(pid: u32) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/sessionid")).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty() && text != "4294967295" && text != "0")
}

/// Why this one is not to go, if so.
fn spared(candidate: &Candidate, own: &Own) -> Option<&'static str> {
    let peer = candidate
        .instance
        .peer
        .parse::<std::net::SocketAddr>()
        .ok()
        .map(|peer| std::net::SocketAddr::new(peer.ip().to_canonical(), peer.port()).to_string());
    let same_session = own.session.is_some() && session(candidate.instance.pid) == own.session;
    let ours =
        own.line.contains(&candidate.instance.pid) || (peer.is_some() && peer == own.client) || same_session;
    ours.then_some("left: this is the session that you are in")
}

/// Tells these to end, waits, and ends who has not.
fn end(
    group: &[Candidate],
    grace: Duration,
    account: &mut Account,
    stuck: &mut BTreeSet<u32>,
    out: &mut Output<'_>,
) -> Result<(), Failure> {
    let mut refused = BTreeSet::new();
    for candidate in group {
        // One that has just ended is no fault.
        if let Err(error) = candidate.process.signal(Signal::TERM)
            && error.raw_os_error() != Some(rustix::io::Errno::SRCH.raw_os_error())
        {
            refused.insert(candidate.instance.pid);
        }
    }
    let until = Instant::now() + grace;
    for candidate in group {
        let instance = &candidate.instance;
        let how = if refused.contains(&instance.pid) {
            stuck.insert(instance.pid);
            "left: it may not be signalled by this user"
        } else if candidate.process.ended_within(until.saturating_duration_since(Instant::now())) {
            "ended"
        } else {
            let _ = candidate.process.signal(Signal::KILL);
            if candidate.process.ended_within(KILLED) {
                "killed: it did not end by itself"
            } else {
                stuck.insert(instance.pid);
                "left: it does not even end when it is killed"
            }
        };
        let what = format!("{} {}", instance.pid, instance.peer);
        account.add(out, what.trim_end(), &instance.service, how)?;
    }
    Ok(())
}

/// Until one of them has ended, or the time is over.
fn wait_for_any(stay: &[Candidate], wait: Duration) {
    match stay {
        [] => {}
        [one] => drop(one.process.ended_within(wait)),
        _ => std::thread::sleep(wait),
    }
}

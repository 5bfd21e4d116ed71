//! `portreeve firewall apply`: puts the plan on trial, and waits for what becomes of it. The way back is armed before anything is
//! loaded, in processes that outlive this one.

use super::plan::{refused, write_cut};
use super::root_only;
use crate::escape;
use crate::failure::{Exit, Failure, system_text};
use crate::firewall::host::{self, Configuration, Seen};
use crate::firewall::sessions::Typed;
use crate::firewall::state::{Store, Trial, since_boot};
use crate::firewall::{text, trial, watchdog, witness};
use crate::output::{Output, Paint};
use portreeve_sys::sock_diag::Connection;
use serde_json::json;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Milliseconds after which the watchdogs are late.
const LATE: u64 = 3000;

/// Put the plan on trial: load it, and take it back unless it is confirmed
///
/// First two watchdogs are started that take the rules back when the time is over, whatever becomes of this command or of the session;
/// a boot takes them back too. Then the rules are loaded, in one transaction. To confirm, begin a NEW connection to this host
/// and type there what is printed. The command is refused if the session that it is typed in could not come back.
/// Exit codes: 0 confirmed, 1 taken back, 2 nothing was loaded.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Take the rules back after this time, as 60s or 5m
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = within)]
    pub confirm_within: Duration,
    /// Load them although the session that this is typed in could not come back
    #[arg(long)]
    pub force: bool,
    /// Run this by the shell once they are loaded: its exit code 0 confirms, any other takes them back
    #[arg(long, value_name = "COMMAND")]
    pub probe: Option<String>,
    /// Do not wait for the end of the trial
    #[arg(long, conflicts_with = "probe")]
    pub no_wait: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub configuration: Configuration,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

fn within(text: &str) -> Result<Duration, String> {
    let day = Duration::from_secs(86_400);
    let span = crate::since::span(text).filter(|span| *span >= Duration::from_secs(1) && *span <= day);
    span.ok_or_else(|| "expected a time from 1s to 1d, as 60s or 5m".to_owned())
}

/// Tries.
pub(super) fn run(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    root_only("loads rules")?;
    let store = Store::open()?;
    let lock = store.lock()?;
    trial::settle(&store, &lock)?;
    let mut seen = host::look(&arguments.configuration)?;
    let table = text::table(&seen.plan);
    if let Some(why) = refused(&table, &mut seen.gaps) {
        return Err(Failure::new(format!("nothing was loaded: the kernel does not take the rules: {why}")));
    }
    refuse_to_cut_off(arguments, &seen)?;
    if !arguments.json {
        write_cut(out, &seen)?;
        for note in seen.plan.notes.iter().filter(|note| note.counts) {
            writeln!(out, "{} {}", out.paint(Paint::Yellow, "note:"), escape::text(&note.text))?;
        }
    }
    let pending = trial::arm(&store, &lock, &table, seen.listing.clone(), arguments.confirm_within)?;
    for seat in 0..watchdog::SEATS {
        if let Err(failure) = watchdog::start(seat, &pending.token) {
            trial::undo(&store, &lock, &pending, "there was no watchdog")?;
            return Err(Failure::new(format!("nothing was loaded: {failure}")));
        }
    }
    let sessions: Vec<&Connection> = match &seen.typed {
        Typed::Remotely(held) => held.iter().map(|(_, connection)| connection).collect(),
        Typed::Console(_) | Typed::Unknown => Vec::new(),
    };
    let witness = witness::table(&seen.plan, arguments.confirm_within, &sessions);
    let unwitnessed = trial::load(&store, &lock, &pending, &witness, arguments.confirm_within)?;
    drop(lock);
    let token = &pending.token;
    let seconds = arguments.confirm_within.as_secs();
    if arguments.json {
        out.json_line(&json!({ "ok": true, "token": token, "within": seconds, "state": "on trial", "unwitnessed": unwitnessed }))?;
    } else {
        if let Some(why) = &unwitnessed {
            writeln!(
                out,
                "{} connections that begin cannot be noted ({}): no login confirms; --console and --probe do",
                out.paint(Paint::Yellow, "note:"),
                escape::text(why)
            )?;
        }
        writeln!(
            out,
            "the rules are on trial; in {seconds} s they are taken back, unless a new connection confirms them"
        )?;
        if arguments.probe.is_none() {
            writeln!(out, "leave this session open, log in anew (ssh -o ControlPath=none), and type there:")?;
            writeln!(out, "  {}", out.paint(Paint::Bold, &format!("portreeve firewall confirm {token}")))?;
        }
    }
    out.flush()?;
    if arguments.no_wait {
        return Ok(Exit::Fine);
    }
    if let Some(command) = &arguments.probe {
        probe(&store, token, command, arguments.confirm_within)?;
    }
    wait(&store, token, arguments.json, out)
}

fn refuse_to_cut_off(arguments: &Arguments, seen: &Seen) -> Result<(), Failure> {
    let cut = seen.own_session_cut();
    if cut.is_empty() || arguments.force {
        return Ok(());
    }
    let peers: Vec<String> = cut.iter().map(|one| format!("{} at {}", one.peer, one.local)).collect();
    let settings = arguments.configuration.settings.display();
    Err(Failure::with_help(
        format!(
            "nothing was loaded: the session that you type in could not come back: {}",
            escape::text(&peers.join(", "))
        ),
        format!(
            "name where you come from in management of [firewall] in {settings}; --force loads them all the same"
        ),
    ))
}

/// Runs the probe, and ends the trial by what it says.
fn probe(store: &Store, token: &str, command: &str, within: Duration) -> Result<(), Failure> {
    let said = shell(command, within);
    let lock = store.lock()?;
    let Trial::Running(pending) = store.trial(token) else { return Ok(()) };
    if since_boot() >= pending.deadline {
        return trial::undo(store, &lock, &pending, "nobody confirmed in time");
    }
    match said {
        Ok(status) if status.success() && trial::is_loaded(&pending.table)? => {
            trial::keep(store, &lock, store.read()?, &pending, &format!("the probe `{command}`"))
        }
        Ok(status) if status.success() => {
            trial::undo(store, &lock, &pending, "another program changed the rules during the trial")
        }
        Ok(status) => trial::undo(store, &lock, &pending, &format!("the probe ended with {status}")),
        Err(why) => trial::undo(store, &lock, &pending, &format!("the probe: {why}")),
    }
}

fn shell(command: &str, patience: Duration) -> Result<ExitStatus, String> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| system_text(&error))?;
    let begun = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) if begun.elapsed() < patience => std::thread::sleep(Duration::from_millis(50)),
            Ok(None) | Err(_) => {
                let group = rustix::process::Pid::from_raw(child.id().cast_signed());
                let _ = group
                    .map(|group| rustix::process::kill_process_group(group, rustix::process::Signal::KILL));
                let _ = child.wait();
                return Err("it did not end in time".to_owned());
            }
        }
    }
}

/// Waits for the end of the trial; a watchdog or another command ends it.
fn wait(store: &Store, token: &str, as_json: bool, out: &mut Output<'_>) -> Result<Exit, Failure> {
    loop {
        match store.trial(token) {
            // Should both watchdogs have been killed, this process is there still.
            Trial::Running(pending) if since_boot() >= pending.deadline.saturating_add(LATE) => {
                let lock = store.lock()?;
                trial::settle(store, &lock)?;
            }
            Trial::Running(_) => std::thread::sleep(Duration::from_millis(200)),
            Trial::Unknown => {
                return Err(Failure::new("what is kept of the trial is gone: the watchdogs take it back"));
            }
            Trial::Ended => break,
        }
    }
    let last = store.read()?.last.filter(|last| last.token == token);
    let (confirmed, why) =
        last.map_or((false, "another trial followed".to_owned()), |last| (last.confirmed, last.why));
    if as_json {
        out.json_line(&json!({ "ok": confirmed, "token": token, "state": if confirmed { "confirmed" } else { "taken back" }, "why": why }))?;
    } else {
        let paint = if confirmed { Paint::Green } else { Paint::Red };
        writeln!(out, "{}", out.paint(paint, &escape::text(&why)))?;
    }
    Ok(if confirmed { Exit::Fine } else { Exit::Found })
}

//! `portreeve firewall confirm`, `rollback` and `load`: how a trial ends, and what is loaded at boot.

use super::root_only;
use crate::escape;
use crate::failure::{Exit, Failure, system_text};
use crate::firewall::proof::{self, Facts};
use crate::firewall::sessions::{self, Typed};
use crate::firewall::state::{Pending, Store, boot};
use crate::firewall::{trial, witness};
use crate::output::Output;
use std::io::Write;
use std::path::Path;

/// Confirm the rules on trial, from a connection that they let in
///
/// It counts only from a session whose TCP connection began after the rules were loaded: the socket that the ssh server above this
/// process holds is compared with those that there were then, and the kernel must have noted that it began as one unknown to connection tracking, so that the rules let it in. A further channel of an older connection does not count, nor one of this host to itself.
/// Exit codes: 0 confirmed, 2 not confirmed; the trial then goes on until its time is over.
#[derive(clap::Args, Debug)]
pub struct Confirm {
    /// What `apply` printed
    #[arg(value_name = "TOKEN", required_unless_present = "console")]
    pub token: Option<String>,
    /// Confirm from the console of the machine itself (a virtual console, a serial line), which no rule can cut
    #[arg(long)]
    pub console: bool,
}

/// Take the rules on trial back now
///
/// With --confirmed the rules that were confirmed last are taken back, to what ran before them.
#[derive(clap::Args, Debug)]
pub struct Rollback {
    /// Say nothing where no trial is under way
    #[arg(long)]
    pub if_pending: bool,
    /// Take back what was confirmed
    #[arg(long, conflicts_with = "if_pending")]
    pub confirmed: bool,
}

/// Load the rules that were confirmed last: for the boot
///
/// A trial that nobody confirmed before the boot is forgotten, and never loaded.
#[derive(clap::Args, Debug)]
pub struct Load {}

fn current(store: &Store) -> Result<Pending, Failure> {
    let state = store.read()?;
    state.pending.ok_or_else(|| {
        let last = state
            .last
            .map_or_else(String::new, |last| format!("; the last one was {}", escape::text(&last.why)));
        Failure::new(format!("no rules are on trial{last}"))
    })
}

/// Confirms.
pub(super) fn confirm(arguments: &Confirm, out: &mut Output<'_>) -> Result<Exit, Failure> {
    root_only("confirms rules")?;
    let store = Store::open()?;
    let lock = store.lock()?;
    trial::settle(&store, &lock)?;
    let pending = current(&store)?;
    if arguments.token.as_ref().is_some_and(|token| *token != pending.token) {
        return Err(Failure::new("this is not the token of the rules on trial"));
    }
    let Some(loaded) = &pending.loaded else {
        return Err(Failure::new("the rules are not loaded yet"));
    };
    if !trial::is_loaded(&pending.table)? {
        return Err(Failure::with_help(
            "the rules in the kernel are not those on trial: another program changed them, so nothing is proven",
            "`portreeve firewall rollback`, then apply again",
        ));
    }
    let connections = sessions::connections()
        .map_err(|error| Failure::new(format!("connections cannot be listed: {}", system_text(&error))))?;
    let typed = sessions::typed(Path::new("/proc"), &connections);
    let by = match (&typed, arguments.console) {
        (Typed::Console(name), true) => format!("the console {name}"),
        (Typed::Remotely(_), true) => {
            return Err(Failure::new("not confirmed: this session came over the network, it is no console"));
        }
        (Typed::Unknown, true) => {
            return Err(Failure::new("not confirmed: the controlling terminal is no console of the machine"));
        }
        (_, false) => {
            let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
            let own = proof::own_addresses(&read("/proc/net/fib_trie"), &read("/proc/net/if_inet6"));
            let tick = 1000 / rustix::param::clock_ticks_per_second().max(1);
            let listening = sessions::listening().map_err(|error| {
                Failure::new(format!("the sockets cannot be listed: {}", system_text(&error)))
            })?;
            let facts = Facts { typed: &typed, loaded, listening: &listening, own: &own, tick };
            let connection = proof::by_connection(&facts, witness::ask)
                .map_err(|why| Failure::new(format!("not confirmed: {}", escape::text(&why))))?;
            format!("a new connection from {}", connection.peer)
        }
    };
    trial::keep(&store, &lock, store.read()?, &pending, &by)?;
    writeln!(out, "confirmed by {by}: the rules stay, and are loaded at boot")?;
    Ok(Exit::Fine)
}

/// Takes back.
pub(super) fn rollback(arguments: &Rollback, out: &mut Output<'_>) -> Result<Exit, Failure> {
    root_only("takes rules back")?;
    let store = Store::open()?;
    let lock = store.lock()?;
    let mut state = store.read()?;
    if let Some(pending) = &state.pending {
        if pending.boot != boot() {
            trial::settle(&store, &lock)?;
        } else {
            trial::undo(&store, &lock, pending, "by command")?;
        }
        writeln!(out, "the trial is over: its rules are taken back")?;
        return Ok(Exit::Fine);
    }
    if arguments.if_pending {
        return Ok(Exit::Fine);
    }
    if !arguments.confirmed {
        return Err(Failure::with_help(
            "no rules are on trial",
            "--confirmed takes back what was confirmed last",
        ));
    }
    let Some(before) = state.before.take() else {
        return Err(Failure::new("nothing was confirmed that could be taken back"));
    };
    trial::replace(before.as_deref(), Some(&lock)).map_err(|failed| Failure::new(failed.to_string()))?;
    state.confirmed = before.map(|table| crate::firewall::state::Kept {
        table,
        at: portreeve_sys::clock::wall_seconds(),
        by: "rollback".to_owned(),
    });
    store.write(&lock, &state)?;
    let now = if state.confirmed.is_some() {
        "the rules before them are loaded"
    } else {
        "there are none of ours now"
    };
    writeln!(out, "what was confirmed last is taken back: {now}")?;
    Ok(Exit::Fine)
}

/// Loads.
pub(super) fn load(_arguments: &Load, out: &mut Output<'_>) -> Result<Exit, Failure> {
    root_only("loads rules")?;
    let store = Store::open()?;
    let lock = store.lock()?;
    trial::settle(&store, &lock)?;
    let state = store.read()?;
    if state.pending.is_some() {
        return Err(Failure::new("rules are on trial: `confirm` or `rollback` first"));
    }
    let Some(kept) = &state.confirmed else {
        writeln!(out, "no rules were ever confirmed: nothing is loaded")?;
        return Ok(Exit::Fine);
    };
    trial::replace(Some(&kept.table), Some(&lock))
        .map_err(|failed| Failure::new(format!("the confirmed rules could not be loaded: {failed}")))?;
    writeln!(out, "the rules that were confirmed by {} are loaded", escape::text(&kept.by))?;
    Ok(Exit::Fine)
}

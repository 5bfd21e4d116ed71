//! `portreeve listeners`: what listens on this host, who it is, and how far it is bound. Changes nothing but the baseline, when told to.

use super::drift;
use crate::control::Socket;
use crate::escape;
use crate::failure::{Exit, Failure, system_text};
use crate::looking;
use crate::output::{Output, Paint};
use crate::since;
use crate::table::{Cell, Table};
use portreeve_audit::baseline;
use portreeve_audit::inventory::{Inventory, Listener, Served};
use portreeve_audit::packages::Owner;
use portreeve_audit::ports::Secrecy;
use portreeve_audit::process::Image;
use portreeve_audit::scope::Scope;
use portreeve_audit::share;
use portreeve_audit::suggest;
use portreeve_audit::waivers::Day;
use portreeve_sys::{clock, names};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Show what listens on this host
///
/// Every TCP, UDP, unix, raw, packet and vsock socket that listens, in all network namespaces that this process can see: who
/// holds it, which unit, container, package or service of ours that is, who reaches it through the firewalls (nftables, iptables,
/// Docker's published ports), and when it served last. Root sees all; below the table stands what could not be seen.
#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    #[allow(missing_docs)]
    pub verb: Option<Verb>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub socket: Socket,
    /// Go on looking, and tell what comes and what goes: `listeners watch` with its defaults
    #[arg(long)]
    pub watch: bool,
    /// A directory with a ledger, instead of the one that portreeve.toml names
    #[arg(long, value_name = "DIR")]
    pub ledger: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// What to do with the list.
#[derive(clap::Subcommand, Debug)]
pub enum Verb {
    /// Answer for all that listens now: write it to the baseline
    ///
    /// What is in the baseline already keeps its owner and day, unless that has passed; what no longer listens is dropped. From then on
    /// `portreeve audit` tells what listens beside it, and what is missing. The former file is kept as FILE.before.
    Accept(Accept),
    /// Name what can be turned off, and why
    ///
    /// Never served in so many days by the ledger, plaintext, a debugging port, a program of no package, a second server of the same
    /// protocol: each with the command that stops it for good, and the one that undoes that. Nothing is changed. Exit code 1 when there is
    /// something.
    Suggest(Suggest),
    /// Whether all that is declared listens, and nothing else
    ///
    /// Compares with the baseline: after a reboot, from a unit (pkg/systemd/portreeve-verify.service), or at any time. Exit codes: 0 it is
    /// so, 1 something is missing or unexpected, 2 it could not be told (no baseline).
    Verify(drift::Verify),
    /// Go on looking, and tell what comes and what goes
    ///
    /// One line for each change. Processes' numbers have no part in it: a restart is no change, as what is missing at one look must
    /// be missing at the next. Ends with a signal.
    Watch(drift::Watching),
}

/// `listeners suggest`.
#[derive(clap::Args, Debug)]
pub struct Suggest {
    /// Days without a client that are many
    #[arg(long, default_value = "30", value_parser = clap::value_parser!(u16).range(1..))]
    pub days: u16,
    /// A directory with a ledger, instead of the one that portreeve.toml names
    #[arg(long, value_name = "DIR")]
    pub ledger: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub socket: Socket,
}

/// `listeners accept`.
#[derive(clap::Args, Debug)]
pub struct Accept {
    /// Who answers for what is new
    #[arg(long)]
    pub owner: String,
    /// The last day on which that holds, as 2027-06-30
    #[arg(long, value_name = "DAY", value_parser = day)]
    pub expires: Day,
    /// The baseline
    #[arg(long, value_name = "FILE", default_value = baseline::PATH)]
    pub baseline: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub socket: Socket,
}

fn day(text: &str) -> Result<Day, String> {
    let day = Day::read(text).ok_or("expected a day of the calendar, as 2027-06-30")?;
    if day < Day::today() {
        return Err("this day has passed".to_owned());
    }
    Ok(day)
}

fn accept(arguments: &Accept, out: &mut Output<'_>) -> Result<Exit, Failure> {
    if arguments.owner.trim().is_empty() {
        return Err(Failure::new("--owner must name somebody"));
    }
    let path = &arguments.baseline;
    let before = baseline::read(path).map_err(Failure::new)?;
    let inventory = looking::take(&arguments.socket)?;
    let former = before.clone().unwrap_or_default();
    let now = baseline::accept(&inventory, &former, &arguments.owner, arguments.expires, Day::today());
    let beside = |end: &str| {
        let mut name = path.clone().into_os_string();
        name.push(end);
        PathBuf::from(name)
    };
    let failed =
        |error: io::Error| Failure::new(format!("{}: {}", escape::os(path.as_os_str()), system_text(&error)));
    if before.is_some() {
        std::fs::copy(path, beside(".before")).map_err(failed)?;
    }
    // Whole or not at all: another name first.
    let new = beside(".new");
    let written = write_new(&new, &baseline::text(&now)).and_then(|()| std::fs::rename(&new, path));
    written.map_err(|error| {
        let _ = std::fs::remove_file(&new);
        failed(error)
    })?;
    let changed = now.iter().filter(|(key, answer)| former.get(key) != Some(answer)).count();
    let dropped = former.keys().filter(|key| !now.contains_key(key)).count();
    writeln!(
        out,
        "{}: {} listeners, {changed} of them accepted now by {} until {}, {dropped} dropped",
        escape::os(path.as_os_str()),
        now.len(),
        escape::text(&arguments.owner),
        arguments.expires,
    )?;
    write_gaps(out, &inventory.gaps)?;
    Ok(Exit::Fine)
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    // A former run may have been cut off.
    let _ = std::fs::remove_file(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn suggest(arguments: &Suggest, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let inventory = looking::all(&arguments.socket, arguments.ledger.as_deref())?;
    let now = clock::wall_seconds().saturating_mul(1_000_000);
    let found = suggest::suggest(&inventory, now, i64::from(arguments.days));
    if arguments.json {
        let all: Vec<_> = found.iter().map(suggest::Suggestion::json).collect();
        out.json(&serde_json::json!({"suggestions": all, "served_since": inventory.served_since, "gaps": inventory.gaps}))?;
    } else {
        for one in &found {
            let more = if one.more == 0 { String::new() } else { format!(" and {} more", one.more) };
            let holder = out.paint(Paint::Bold, &escape::text(&one.holder));
            writeln!(out, "{holder}: {}{more}", escape::text(&one.subject))?;
            for reason in &one.reasons {
                writeln!(out, "  because {}", escape::text(&reason.text))?;
            }
            writeln!(out, "  stop {}", escape::text(&one.command))?;
            writeln!(out, "  undo {}", escape::text(&one.undo))?;
        }
        if found.is_empty() {
            writeln!(out, "nothing to turn off")?;
        }
        write_gaps(out, &inventory.gaps)?;
    }
    Ok(if found.is_empty() { Exit::Fine } else { Exit::Found })
}

/// Looks and prints.
pub fn run(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    match &arguments.verb {
        Some(Verb::Accept(arguments)) => return accept(arguments, out),
        Some(Verb::Suggest(arguments)) => return suggest(arguments, out),
        Some(Verb::Verify(arguments)) => return drift::verify(arguments, out),
        Some(Verb::Watch(arguments)) => return drift::watch(arguments, out),
        None if arguments.watch => {
            let (baseline, every) = (baseline::PATH.into(), std::time::Duration::from_secs(2));
            let (json, socket) = (arguments.json, arguments.socket.clone());
            return drift::watch(&drift::Watching { every, baseline, json, socket }, out);
        }
        None => {}
    }
    let inventory = looking::all(&arguments.socket, arguments.ledger.as_deref())?;
    if arguments.json {
        inventory.json(|part| out.write_all(escape::json_text(part).as_bytes()))?;
        writeln!(out)?;
    } else {
        write(out, &inventory)?;
    }
    // The process ends here: ten thousand listeners need not be taken apart first.
    std::mem::forget(inventory);
    Ok(Exit::Fine)
}

fn write(out: &mut Output<'_>, inventory: &Inventory) -> io::Result<()> {
    let users: BTreeMap<u32, String> =
        inventory.listeners.iter().filter_map(Listener::uid).map(|uid| (uid, String::new())).collect();
    let users: BTreeMap<u32, String> = users.into_keys().map(|uid| (uid, user(uid))).collect();
    for (at, group) in inventory.listeners.chunk_by(|a, b| a.namespace == b.namespace).enumerate() {
        let namespace = group.first().map_or("own", |listener| &listener.namespace);
        if namespace != "own" {
            let gap = if at > 0 { "\n" } else { "" };
            writeln!(
                out,
                "{gap}{}",
                out.paint(Paint::Bold, &format!("network namespace {}", escape::text(namespace)))
            )?;
        }
        let mut table = Table::new(&[
            "protocol",
            "address",
            "reachable by",
            "process",
            "user",
            "unit",
            "package",
            "service",
            "served",
            "secrecy",
        ]);
        for rows in share::pieces(group, |group| group.iter().map(|listener| row(listener, &users)).collect())
        {
            table.rows(rows);
        }
        table.write(out, 0)?;
        std::mem::forget(table);
    }
    if inventory.listeners.is_empty() {
        writeln!(out, "nothing listens")?;
    }
    write_gaps(out, &inventory.gaps)?;
    if inventory.vanished > 0 {
        writeln!(out, "{} processes ended meanwhile", inventory.vanished)?;
    }
    if let Some(since) = inventory.served_since {
        writeln!(out, "served: since {}", since::local(since))?;
    }
    if let Some(why) = inventory.no_packages {
        writeln!(out, "packages are not known: {why}")?;
    }
    Ok(())
}

/// What is missing, a line each.
pub(super) fn write_gaps(out: &mut Output<'_>, gaps: &[String]) -> io::Result<()> {
    for gap in gaps {
        writeln!(out, "{} {}", out.paint(Paint::Yellow, "not seen:"), escape::text(gap))?;
    }
    Ok(())
}

fn row(listener: &Listener, users: &BTreeMap<u32, String>) -> Vec<Cell> {
    let nothing = || Cell::fixed("-");
    let open = listener.socket.scope() != Scope::Host && listener.open_to_all();
    let paint = if open { Paint::Yellow } else { Paint::Plain };
    let home = listener.process().map(|process| &process.home);
    let container = home.and_then(|home| home.container.as_ref());
    let unit = match (container, home.and_then(|home| home.unit.as_deref())) {
        (Some(container), _) => Cell::of(format!("{} {}", container.runtime, container.name)),
        (None, Some(unit)) => unit.into(),
        (None, None) => nothing(),
    };
    let package = match &listener.package {
        Owner::Package(name) => name.into(),
        Owner::Nobody => Cell::fixed("none"),
        Owner::Unknown(_) => nothing(),
    };
    let secrecy = match listener.usual() {
        None | Some((_, Secrecy::Unknown)) => nothing(),
        Some((name, secrecy)) => Cell::of(format!("{name}: {}", secrecy.word())),
    };
    vec![
        Cell::fixed(listener.socket.protocol.word()),
        Cell::of(listener.socket.address()),
        listener.reach.as_ref().map_or_else(nothing, |reach| Cell::painted(reach.line(), paint)),
        process(listener),
        listener.uid().and_then(|uid| users.get(&uid)).map_or_else(nothing, Cell::from),
        unit,
        package,
        listener.service.as_ref().map_or_else(nothing, Cell::from),
        served(listener),
        secrecy,
    ]
}

/// When it served last, and how often.
fn served(listener: &Listener) -> Cell {
    match listener.served {
        None => Cell::fixed("-"),
        Some(Served { times: 0, .. }) => Cell::fixed("never"),
        Some(Served { last, times }) => Cell::of(format!("{} ({times}x)", since::local(last))),
    }
}

/// The user's name on this host, else the number.
fn user(uid: u32) -> String {
    names::user_by_id(uid).map_or_else(|_| uid.to_string(), |user| user.name)
}

fn process(listener: &Listener) -> Cell {
    let Some(process) = listener.process() else { return Cell::fixed("-") };
    let more = match listener.processes.len() {
        1 => String::new(),
        all => format!(" +{}", all - 1),
    };
    let image = match process.image {
        Image::Same | Image::Unknown => String::new(),
        image => format!(" ({})", image.word()),
    };
    let paint = if image.is_empty() { Paint::Plain } else { Paint::Yellow };
    Cell::painted(format!("{}[{}]{more}{image}", process.name, process.pid), paint)
}

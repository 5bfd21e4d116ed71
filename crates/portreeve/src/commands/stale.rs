//! `portreeve stale`: which processes run code that is no longer what is on disk, and their gentle end. Looks only, unless told to
//! retire or to restart.

mod policy;
mod restart;
mod retire;

use super::audit::write_finding;
use super::listeners::write_gaps;
use crate::answer::{items, number, text};
use crate::control::{Socket, Unanswered};
use crate::escape;
use crate::failure::{Exit, Failure, system_text};
use crate::output::Output;
use crate::since;
use crate::table::Table;
use portreeve_audit::inventory::Inventory;
use portreeve_audit::report::{Report, Waived};
use portreeve_audit::stale::{self, Instance, Ours, Stale, check, kernel, microcode};
use portreeve_audit::waivers::{self, Day};
use serde_json::json;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Show what still runs old code after an upgrade, and retire it
///
/// Every process whose program or libraries are no longer those on disk, compared by device, inode and build-id in its own
/// root; the kernel and the microcode beside those that are installed. Root sees all; below the table stands what could not be
/// seen. Exit code 1 when something is stale and not waived.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Of this service of ours only
    #[arg(value_name = "SERVICE")]
    pub service: Option<String>,
    /// End the stale instances of our services: SIGTERM, the oldest first, then SIGKILL
    #[arg(long)]
    pub retire: bool,
    /// With --retire: those whose connection has been silent for the longest time first
    #[arg(long, requires = "retire")]
    pub idle_first: bool,
    /// With --retire: only those whose connection is silent
    #[arg(long, requires = "retire")]
    pub idle_only: bool,
    /// From when on a connection counts as silent
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = time)]
    pub idle: Duration,
    /// With --retire: leave them so much time to end by themselves; with --idle-first or --idle-only, the silent ones not
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = time)]
    pub after: Duration,
    /// With --retire: from SIGTERM to SIGKILL
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = time)]
    pub grace: Duration,
    /// Restart the systemd units whose main process is stale, each once
    #[arg(long, conflicts_with = "retire")]
    pub restart_units: bool,
    /// Do what portreeve.toml says is to be done after an upgrade of packages
    #[arg(long, conflicts_with_all = ["retire", "restart_units", "service"])]
    pub after_upgrade: bool,
    /// Findings that somebody answers for
    #[arg(long, value_name = "FILE", default_value = waivers::PATH)]
    pub waivers: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub socket: Socket,
    /// Answer in JSON
    #[arg(long, conflicts_with = "sarif")]
    pub json: bool,
    /// Answer in SARIF 2.1.0
    #[arg(long, conflicts_with_all = ["retire", "restart_units", "after_upgrade"])]
    pub sarif: bool,
}

fn time(text: &str) -> Result<Duration, String> {
    since::span(text).ok_or_else(|| "expected a number and s, m, h or d, as 10m".to_owned())
}

/// What the running daemon says of itself; nothing where there is none. And why it is not known, if so.
pub(super) fn ours(socket: &Socket) -> (Ours, Option<String>) {
    let pid = |object| number(object, "pid").and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 1);
    let answers = socket.ask("status").and_then(|status| Ok((status, socket.ask("instances")?)));
    match answers {
        Ok((status, answer)) => {
            let pids = pid(&status).into_iter().chain(items(&status, "workers").iter().filter_map(pid));
            let instances = items(&answer, "instances").iter().filter_map(instance).collect();
            (Ours { pids: pids.collect(), instances }, None)
        }
        Err(Unanswered::NoDaemon(_)) => (Ours::default(), None),
        Err(Unanswered::Failed(failure)) => {
            (Ours::default(), Some(format!("which processes are instances of ours is not known: {failure}")))
        }
    }
}

/// An instance that is a process; the daemon's own sessions are none.
fn instance(answer: &serde_json::Value) -> Option<Instance> {
    Some(Instance {
        pid: text(answer, "instance").parse().ok().filter(|pid| *pid > 1)?,
        service: text(answer, "service").to_owned(),
        peer: text(answer, "peer").to_owned(),
        seconds: number(answer, "seconds").unwrap_or(0),
        older: text(answer, "program") == "older" && answer["script"] == true,
    })
}

/// Looks at everything.
pub(super) fn look(socket: &Socket) -> Result<Stale, Failure> {
    let (ours, gap) = ours(socket);
    let mut stale = processes(&ours)?;
    stale.gaps.extend(gap);
    stale.kernel = kernel::look(Path::new("/proc"), Path::new("/"));
    stale.microcode = microcode::look(Path::new("/proc"), Path::new("/"));
    Ok(stale)
}

fn processes(ours: &Ours) -> Result<Stale, Failure> {
    stale::processes(Path::new("/proc"), ours)
        .map_err(|error| Failure::new(format!("/proc cannot be read: {}", system_text(&error))))
}

/// The ids of the services that a person means: by id, else by name; also one that is gone and whose instances run on. A word that is
/// none is an error: nobody is to believe that what was mistyped runs no old code.
fn meant(socket: &Socket, word: &str) -> Result<Vec<String>, Failure> {
    let (status, answer) = (socket.ask("status")?, socket.ask("instances")?);
    let services: Vec<(&str, &str)> = items(&status, "services")
        .iter()
        .map(|service| (text(service, "id"), text(service, "name")))
        .collect();
    let instances = items(&answer, "instances").iter().map(|instance| text(instance, "service"));
    let ids = services.iter().map(|(id, _)| *id).chain(instances);
    if ids.clone().any(|id| id == word) {
        return Ok(vec![word.to_owned()]);
    }
    let named: Vec<String> =
        services.iter().filter(|(_, name)| *name == word).map(|(id, _)| (*id).to_owned()).collect();
    if !named.is_empty() {
        return Ok(named);
    }
    let help = match portreeve_conf::nearest(word, ids) {
        Some(near) => format!("did you mean {near}?"),
        None => "`portreeve status` lists them".to_owned(),
    };
    Err(Failure::with_help(format!("no service `{}`", escape::text(word)), help))
}

/// Looks, weighs and prints; or does what it was told to.
pub fn run(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    if arguments.after_upgrade {
        return policy::run(arguments, out);
    }
    let services = arguments.service.as_ref().map(|word| meant(&arguments.socket, word)).transpose()?;
    if arguments.retire {
        return retire::run(arguments, &retire::Manner::of(arguments, services), out);
    }
    let mut stale = look(&arguments.socket)?;
    if arguments.restart_units {
        return restart::run(&stale, arguments.json, out);
    }
    if let Some(services) = &services {
        let wanted = |found: &stale::StaleProcess| {
            found.instance.as_ref().is_some_and(|i| services.contains(&i.service))
        };
        stale.processes.retain(wanted);
        (stale.kernel, stale.microcode) = Default::default();
    }
    report(arguments, &stale, out)
}

fn report(arguments: &Arguments, stale: &Stale, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let waivers = waivers::read(&arguments.waivers).map_err(Failure::new)?;
    let gaps = Inventory { gaps: stale.gaps.clone(), ..Inventory::default() };
    let report = Report::new(&gaps, check::check(stale), &waivers, Day::today());
    if arguments.sarif {
        out.json(&report.sarif(env!("CARGO_PKG_VERSION")))?;
    } else if arguments.json {
        let mut answer = stale.json();
        if let Some(fields) = answer.as_object_mut() {
            let whole = report.json();
            fields.insert("findings".to_owned(), whole["findings"].clone());
            fields.insert("open".to_owned(), whole["open"].clone());
        }
        out.json(&answer)?;
    } else {
        write(out, stale, &report)?;
    }
    Ok(if report.open().next().is_some() { Exit::Found } else { Exit::Fine })
}

fn write(out: &mut Output<'_>, stale: &Stale, report: &Report) -> io::Result<()> {
    let mut table = Table::new(&["process", "of", "old code"]);
    for found in &stale.processes {
        let first =
            found.files.first().map_or_else(String::new, |file| format!("{} ({})", file.path, file.word()));
        let more = match found.files.len() {
            0 | 1 => String::new(),
            all => format!(" and {} more", all - 1),
        };
        let of = match &found.instance {
            Some(instance) if instance.pid == found.process.pid => {
                format!("{} {}", instance.service, instance.peer)
            }
            Some(instance) => format!("{} of {}", instance.service, instance.pid),
            None => check::group(found).word(),
        };
        table.row(vec![
            format!("{}[{}]", found.process.name, found.process.pid).into(),
            of.trim_end().to_owned().into(),
            format!("{first}{more}").into(),
        ]);
    }
    if !table.is_empty() {
        table.write(out, 0)?;
        writeln!(out)?;
    }
    for (finding, waived) in &report.findings {
        match waived {
            Waived::By(waiver) => writeln!(
                out,
                "waived {}: {}: by {} until {}\n",
                finding.check.id,
                escape::text(&finding.subject),
                escape::text(&waiver.owner),
                waiver.expires
            )?,
            _ => {
                write_finding(out, finding)?;
                writeln!(out)?;
            }
        }
    }
    for (id, why) in &report.not_applicable {
        writeln!(out, "{id} does not apply: {why}")?;
    }
    write_gaps(out, &report.gaps)?;
    writeln!(
        out,
        "{} processes with {} files looked at, {} of them read; {} run old code",
        stale.looked,
        stale.files,
        stale.read,
        stale.processes.len()
    )
}

/// One line of an account: for people now, for machines at the end.
#[derive(Debug, Default)]
struct Account {
    json: bool,
    lines: Vec<serde_json::Value>,
}

impl Account {
    fn add(&mut self, out: &mut Output<'_>, what: &str, of: &str, how: &str) -> io::Result<()> {
        if self.json {
            self.lines.push(json!({"what": what, "of": of, "how": how}));
            return Ok(());
        }
        writeln!(out, "{} {}: {}", escape::text(of), escape::text(what), escape::text(how))?;
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instances_are_read_leniently() {
        let answer = json!({"instance": "812", "service": "ssh", "peer": "192.0.2.1:5", "seconds": 9, "program": "older", "script": true});
        let wanted = Instance {
            pid: 812,
            service: "ssh".to_owned(),
            peer: "192.0.2.1:5".to_owned(),
            seconds: 9,
            older: true,
        };
        assert_eq!(instance(&answer), Some(wanted));
        for none in ["b7", "r7", "1", "0", "-3", ""] {
            assert_eq!(instance(&json!({"instance": none})), None, "{none}");
        }
        let binary = json!({"instance": "7", "program": "older", "script": false});
        assert!(!instance(&binary).unwrap().older, "of a program the build-id tells");
    }
}

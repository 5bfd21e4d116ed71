//! `portreeve check`: reads a configuration as the daemon would and says what would be served, what not, and why; and what
//! is wrong with hosts.allow and hosts.deny. Opens no socket, starts no program. The JSON names are a promise to scripts.

use crate::certificates;
use crate::confinement;
use crate::describe;
use crate::escape;
use crate::failure::{Exit, Failure};
use crate::finding::Finding;
use crate::hosts_tables::HostsTables;
use crate::labels;
use crate::machine::Machine;
use crate::output::{Output, Paint};
use crate::remote_targets;
use crate::settings;
use crate::snippet;
use crate::table::{Cell, Table};
use crate::trusting;
use portreeve_conf::{Fatal, Host, LeftOut, Reading, Service, Severity, Sources};
use portreeve_sys::label::SELINUX;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// The configuration that is read where none is named.
pub const DEFAULT_FILE: &str = "/etc/xinetd.conf";

/// Say what a configuration would serve, and what not and why; and what is wrong with hosts.allow and hosts.deny
///
/// The tables are looked at when a service is subject to them, or when they are named. Exit codes: 0 all is served as
/// written, 1 something would not be or a rule does not do what it says, 2 a file cannot be read.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Configuration file [default: /etc/xinetd.conf, unless only tables, an inetd.conf or units are named]
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Read this inetd.conf; after the configuration file where --file names one
    #[arg(long, value_name = "FILE")]
    pub inetd: Option<PathBuf>,
    /// Read the sockets of this directory of systemd's units, or of this .socket; may be repeated, earlier ones win
    #[arg(long, value_name = "PATH")]
    pub systemd: Vec<PathBuf>,
    /// Look at this hosts.allow; one that is not named then counts as empty
    #[arg(long, value_name = "FILE")]
    pub allow: Option<PathBuf>,
    /// Look at this hosts.deny
    #[arg(long, value_name = "FILE")]
    pub deny: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// Reads and prints.
pub fn run(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let (allow, deny) = (arguments.allow.as_deref(), arguments.deny.as_deref());
    let named = allow.is_some() || deny.is_some();
    let tables = HostsTables::named(allow, deny)?;
    // Without a configuration of xinetd's the tables may be there for programs that ask them by themselves.
    let chosen = Sources::named(arguments.file.as_deref(), arguments.inetd.as_deref(), &arguments.systemd);
    let alone = chosen.is_none() && (named || (!Path::new(DEFAULT_FILE).exists() && tables.any()));
    let sources = match chosen {
        Some(sources) => Some(sources),
        None => (!alone).then(|| Sources::xinetd(DEFAULT_FILE)),
    };
    check(&Machine, sources.as_ref(), &tables, named || alone, arguments.json, out)
}

fn check(
    host: &dyn Host,
    sources: Option<&Sources>,
    tables: &HostsTables,
    asked: bool,
    as_json: bool,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let reading = sources.map(|sources| portreeve_conf::read_sources(host, sources));
    let subject = reading.iter().flat_map(Reading::served).any(is_subject);
    let tables = (asked || subject).then_some(tables);
    let findings = tables.map(HostsTables::findings).unwrap_or_default();
    let (mut of_machine, held) = reading.as_ref().map(certificates::findings).unwrap_or_default();
    of_machine.extend(reading.iter().flat_map(|reading| labels::findings(reading, Path::new(SELINUX))));
    let kernel = confinement::Kernel::running();
    of_machine.extend(reading.iter().flat_map(|reading| confinement::findings(reading, &kernel)));
    of_machine.extend(reading.iter().flat_map(trusting::findings));
    of_machine.extend(of_settings(Path::new(settings::PATH)));
    let mut mounts = portreeve_sys::mounts::Mounts::default();
    of_machine.extend(reading.iter().flat_map(|reading| remote_targets::findings(reading, &mut mounts)));
    if as_json {
        out.json(&to_json(reading.as_ref(), &held, tables, &[&of_machine[..], &findings].concat()))?;
    } else {
        if let Some(reading) = &reading {
            write(out, reading, &of_machine, &held)?;
        }
        if let Some(tables) = tables {
            write_tables(out, tables, &findings)?;
        }
    }
    if let Some(reading) = reading.as_ref().filter(|reading| reading.fatal == Some(Fatal::Unreadable)) {
        out.flush()?;
        return Err(Failure::new(unreadable(reading)));
    }
    let fine = reading.as_ref().is_none_or(as_written)
        && findings.iter().chain(&of_machine).all(|finding| finding.severity < Severity::Error);
    Ok(if fine { Exit::Fine } else { Exit::Found })
}

/// What is wrong with `[bans]` of portreeve.toml, and which services it names that there are none of.
fn of_settings(path: &Path) -> Option<Finding> {
    let why = settings::bans(path).err()?;
    let mut parts = why.splitn(4, ':');
    let placed = (
        parts.next(),
        parts.next().and_then(|n| n.parse().ok()),
        parts.next().and_then(|n| n.parse().ok()),
        parts.next(),
    );
    let (file, line, column, message) = match placed {
        (Some(file), Some(line), Some(column), Some(message)) => {
            (file.to_owned(), line, column, message.trim().to_owned())
        }
        _ => (path.display().to_string(), 0, 0, why),
    };
    Some(Finding {
        severity: Severity::Error,
        code: "settings".to_owned(),
        file,
        line,
        column,
        length: 0,
        message,
        help: None,
        source_line: None,
        service: None,
        classic: None,
        replacement: None,
    })
}

/// Which file cannot be read, for a reading that ended there.
pub fn unreadable(reading: &Reading) -> String {
    let said = reading.diagnostics.iter().find(|d| d.place.is_none() && d.severity == Severity::Error);
    said.map_or_else(
        || "the configuration cannot be read".to_owned(),
        |d| escape::text(&d.message).into_owned(),
    )
}

/// Whether hosts.allow and hosts.deny say who may use the service.
fn is_subject(service: &Service) -> bool {
    !service.nolibwrap && !service.flags.contains("SENSOR")
}

/// Whether everything in the files is served as its author wrote it.
fn as_written(reading: &Reading) -> bool {
    reading.fatal.is_none()
        && reading.left_out.iter().all(|entry| entry.intended)
        && reading.diagnostics.iter().all(|d| d.severity < Severity::Error)
}

fn to_json(
    reading: Option<&Reading>,
    held: &BTreeSet<String>,
    tables: Option<&HostsTables>,
    findings: &[Finding],
) -> Value {
    let usable = reading.is_some_and(|reading| reading.fatal.is_none());
    let readings = || reading.into_iter();
    let served = readings()
        .flat_map(|r| &r.services)
        .map(|service| service_json(service, usable, held.contains(service.id.as_str())));
    let left_out = readings().flat_map(|r| &r.left_out).map(left_out_json);
    let said = readings().flat_map(|r| &r.diagnostics).map(Finding::from);
    let said = said.map(|finding| finding.to_json()).chain(findings.iter().map(Finding::to_json));
    let table = |(which, path, file): (&str, &Path, &crate::hosts_tables::File)| json!({ "table": which, "file": escape::os(path.as_os_str()), "state": file.state_word() });
    json!({
        "services": served.chain(left_out).collect::<Vec<_>>(),
        "diagnostics": said.collect::<Vec<_>>(),
        "files": readings().flat_map(|r| &r.files).map(|file| escape::os(file.as_os_str())).collect::<Vec<_>>(),
        "tables": tables.map(|tables| tables.files().map(table).collect::<Vec<_>>()).unwrap_or_default(),
        "fatal": reading.and_then(|reading| reading.fatal).map(|fatal| match fatal {
            Fatal::Unreadable => "unreadable",
            Fatal::Defaults => "defaults",
        }),
    })
}

fn service_json(service: &Service, usable: bool, held: bool) -> Value {
    let texts = |list: &portreeve_conf::AddressList| {
        list.as_ref().map(|list| list.iter().map(|entry| entry.text.to_string()).collect::<Vec<_>>())
    };
    json!({
        "name": service.name.as_str(),
        "id": service.id.as_str(),
        "accepted": usable,
        "held": held,
        "reason": (!usable).then_some("`defaults` is bad, nothing is served"),
        "intended": false,
        "file": &*service.place.file,
        "line": service.place.line,
        "address": describe::place(service),
        "protocol": service.listen.protocol.0.as_str(),
        "rpc": service.rpc.map(|rpc| json!({ "program": rpc.program, "versions": rpc.versions })),
        "wait": service.wait,
        "action": describe::action_word(service),
        "does": describe::does(service),
        "user": service.ids.user.as_ref().map(|user| &user.name),
        "instances": service.limits.instances.value,
        "per_source": service.limits.per_source.value,
        "cps": [service.limits.cps.value.0, service.limits.cps.value.1],
        "max_load": service.max_load.as_ref().map(|load| load.value),
        "access_times": service.access_times.as_ref().map(|windows| describe::hours(&windows.value)),
        "only_from": texts(&service.limits.only_from),
        "no_access": texts(&service.no_access),
        "sandbox": service.sandbox.as_ref().map(|sandbox| &sandbox.words),
    })
}

fn left_out_json(entry: &LeftOut) -> Value {
    json!({
        "name": entry.name.as_str(),
        "id": entry.id.as_str(),
        "accepted": false,
        "reason": entry.reason,
        "intended": entry.intended,
        "file": &*entry.place.file,
        "line": entry.place.line,
    })
}

fn write(
    out: &mut Output<'_>,
    reading: &Reading,
    of_machine: &[Finding],
    held: &BTreeSet<String>,
) -> io::Result<()> {
    for diagnostic in &reading.diagnostics {
        snippet::write(out, &Finding::from(diagnostic))?;
    }
    for finding in of_machine {
        snippet::write(out, finding)?;
    }
    match reading.fatal {
        Some(Fatal::Unreadable) => return Ok(()),
        Some(Fatal::Defaults) => {
            let text = out.paint(Paint::Red, "nothing would be served: a value in `defaults` is bad");
            return writeln!(out, "{text}");
        }
        None => {}
    }
    write_served(out, &reading.services)?;
    if !held.is_empty() {
        let title = out.paint(Paint::Red, "held, since their TLS cannot be served");
        let ids: Vec<_> = held.iter().map(|id| escape::text(id)).collect();
        writeln!(out, "{title}\n  {}\n", ids.join(" "))?;
    }
    let (off, broken): (Vec<_>, Vec<_>) = reading.left_out.iter().partition(|entry| entry.intended);
    write_left_out(out, "not served", Paint::Red, &broken)?;
    write_left_out(out, "switched off", Paint::Plain, &off)?;
    writeln!(
        out,
        "{} read: {} served, {} not served, {} switched off",
        plural(reading.files.len(), "file"),
        reading.services.len(),
        broken.len(),
        off.len()
    )
}

fn write_tables(out: &mut Output<'_>, tables: &HostsTables, findings: &[Finding]) -> io::Result<()> {
    for finding in findings {
        snippet::write(out, finding)?;
    }
    let state = |(_, path, file): (&str, &Path, &crate::hosts_tables::File)| {
        format!("{} {}", escape::os(path.as_os_str()), file.state_word())
    };
    let files = tables.files().map(state).collect::<Vec<_>>().join(", ");
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    writeln!(
        out,
        "{files}: {}, {}, {}",
        plural(count(Severity::Error), "error"),
        plural(count(Severity::Warning), "warning"),
        plural(count(Severity::Note), "note")
    )
}

fn plural(n: usize, word: &str) -> String {
    if n == 1 { format!("1 {word}") } else { format!("{n} {word}s") }
}

fn write_served(out: &mut Output<'_>, services: &[Rc<Service>]) -> io::Result<()> {
    if services.is_empty() {
        return writeln!(out, "nothing would be served\n");
    }
    let title = out.paint(Paint::Green, "would be served");
    writeln!(out, "{title}")?;
    let mut table = Table::new(&["service", "listens on", "user", "does", "limits"]);
    for service in services {
        table.row(vec![
            service.id.as_str().into(),
            describe::listens(service).into(),
            describe::runs_as(service).into(),
            describe::does(service).into(),
            describe::limits(service).into(),
        ]);
    }
    table.write(out, 2)?;
    writeln!(out)
}

fn write_left_out(out: &mut Output<'_>, title: &str, paint: Paint, entries: &[&LeftOut]) -> io::Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let title = out.paint(paint, title);
    writeln!(out, "{title}")?;
    let mut table = Table::new(&["service", "entry", "why"]);
    for entry in entries {
        table.row(vec![Cell::from(&entry.id), entry.place.to_string().into(), entry.reason.as_str().into()]);
    }
    table.write(out, 2)?;
    writeln!(out)
}

//! `portreeve check`: reads a configuration as the daemon would and says what would be served, what not, and why.
//! Opens no socket, starts no program. The JSON names are a promise to scripts.

use crate::describe;
use crate::escape;
use crate::failure::{Exit, Failure};
use crate::finding::Finding;
use crate::machine::Machine;
use crate::output::{Output, Paint};
use crate::snippet;
use crate::table::{Cell, Table};
use portreeve_conf::{Fatal, Host, LeftOut, Reading, Service, Severity};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The configuration that is read where none is named.
pub const DEFAULT_FILE: &str = "/etc/xinetd.conf";

/// Say what a configuration would serve, and what not and why
///
/// Exit codes: 0 all is served as written, 1 something would not be, 2 the file cannot be read.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Configuration file
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_FILE)]
    pub file: PathBuf,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// Reads and prints.
pub fn run(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    check(&Machine, &arguments.file, arguments.json, out)
}

fn check(host: &dyn Host, file: &Path, as_json: bool, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let reading = portreeve_conf::read(host, file);
    if as_json {
        out.json(&to_json(&reading))?;
    } else {
        write(out, &reading)?;
    }
    if reading.fatal == Some(Fatal::Unreadable) {
        out.flush()?;
        return Err(Failure::new(format!("{} cannot be read", escape::os(file.as_os_str()))));
    }
    Ok(if as_written(&reading) { Exit::Fine } else { Exit::Found })
}

/// Whether everything in the files is served as its author wrote it.
fn as_written(reading: &Reading) -> bool {
    reading.fatal.is_none()
        && reading.left_out.iter().all(|entry| entry.intended)
        && reading.diagnostics.iter().all(|d| d.severity < Severity::Error)
}

fn to_json(reading: &Reading) -> Value {
    let usable = reading.fatal.is_none();
    let served = reading.services.iter().map(|service| service_json(service, usable));
    let left_out = reading.left_out.iter().map(left_out_json);
    json!({
        "services": served.chain(left_out).collect::<Vec<_>>(),
        "diagnostics": reading.diagnostics.iter().map(|d| Finding::from(d).to_json()).collect::<Vec<_>>(),
        "files": reading.files.iter().map(|file| escape::os(file.as_os_str())).collect::<Vec<_>>(),
        "fatal": reading.fatal.map(|fatal| match fatal {
            Fatal::Unreadable => "unreadable",
            Fatal::Defaults => "defaults",
        }),
    })
}

fn service_json(service: &Service, usable: bool) -> Value {
    let texts = |list: &portreeve_conf::AddressList| {
        list.as_ref().map(|list| list.iter().map(|entry| entry.text.clone()).collect::<Vec<_>>())
    };
    json!({
        "name": service.name,
        "id": service.id,
        "accepted": usable,
        "reason": (!usable).then_some("`defaults` is bad, nothing is served"),
        "intended": false,
        "file": &*service.place.file,
        "line": service.place.line,
        "address": describe::address(service).to_string(),
        "protocol": service.listen.protocol.0,
        "wait": service.wait,
        "action": describe::action_word(service),
        "does": describe::does(service),
        "user": service.ids.user.as_ref().map(|user| &user.name),
        "instances": service.instances.value,
        "per_source": service.per_source.value,
        "cps": [service.cps.value.0, service.cps.value.1],
        "max_load": service.max_load.as_ref().map(|load| load.value),
        "access_times": service.access_times.as_ref().map(|windows| describe::hours(&windows.value)),
        "only_from": texts(&service.only_from),
        "no_access": texts(&service.no_access),
    })
}

fn left_out_json(entry: &LeftOut) -> Value {
    json!({
        "name": entry.name,
        "id": entry.id,
        "accepted": false,
        "reason": entry.reason,
        "intended": entry.intended,
        "file": &*entry.place.file,
        "line": entry.place.line,
    })
}

fn write(out: &mut Output<'_>, reading: &Reading) -> io::Result<()> {
    for diagnostic in &reading.diagnostics {
        snippet::write(out, &Finding::from(diagnostic))?;
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

fn plural(n: usize, word: &str) -> String {
    if n == 1 { format!("1 {word}") } else { format!("{n} {word}s") }
}

fn write_served(out: &mut Output<'_>, services: &[Service]) -> io::Result<()> {
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

//! `portreeve listeners`: what listens on this host, who it is, and how far it is bound. Looks only.

use crate::control::Socket;
use crate::escape;
use crate::failure::{Exit, Failure};
use crate::looking;
use crate::output::{Output, Paint};
use crate::table::{Cell, Table};
use portreeve_audit::inventory::{Inventory, Listener};
use portreeve_audit::packages::Owner;
use portreeve_audit::ports::Secrecy;
use portreeve_audit::process::Image;
use portreeve_sys::names;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Show what listens on this host
///
/// Every TCP, UDP, unix, raw, packet and vsock socket that listens, in all network namespaces that this process can see: who
/// holds it, which unit, container, package or service of ours that is, and how far its address reaches. No firewall is
/// looked at. Root sees all; below the table stands what could not be seen.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub socket: Socket,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// Looks and prints.
pub fn run(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let inventory = looking::take(&arguments.socket)?;
    if arguments.json {
        out.json(&inventory.json())?;
    } else {
        write(out, &inventory)?;
    }
    Ok(Exit::Fine)
}

fn write(out: &mut Output<'_>, inventory: &Inventory) -> io::Result<()> {
    let mut users = BTreeMap::new();
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
            "protocol", "address", "scope", "process", "user", "unit", "package", "service", "secrecy",
        ]);
        group.iter().for_each(|listener| table.row(row(listener, &mut users)));
        table.write(out, 0)?;
    }
    if inventory.listeners.is_empty() {
        writeln!(out, "nothing listens")?;
    }
    write_gaps(out, &inventory.gaps)?;
    if inventory.vanished > 0 {
        writeln!(out, "{} processes ended meanwhile", inventory.vanished)?;
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

fn row(listener: &Listener, users: &mut BTreeMap<u32, String>) -> Vec<Cell> {
    let scope = listener.socket.scope();
    let paint = if scope.from_everywhere() { Paint::Yellow } else { Paint::Plain };
    let home = listener.process().map(|process| &process.home);
    let container = home.and_then(|home| home.container.as_ref());
    let unit = match (container, home.and_then(|home| home.unit.as_deref())) {
        (Some(container), _) => format!("{} {}", container.runtime, container.name),
        (None, Some(unit)) => unit.to_owned(),
        (None, None) => "-".to_owned(),
    };
    let package = match &listener.package {
        Owner::Package(name) => name.as_str(),
        Owner::Nobody => "none",
        Owner::Unknown(_) => "-",
    };
    let secrecy = match listener.usual() {
        None | Some((_, Secrecy::Unknown)) => "-".to_owned(),
        Some((name, secrecy)) => format!("{name}: {}", secrecy.word()),
    };
    vec![
        listener.socket.protocol.word().into(),
        listener.socket.address().into(),
        Cell::painted(scope.word(), paint),
        process(listener),
        listener.uid().map_or("-", |uid| users.entry(uid).or_insert_with(|| user(uid))).into(),
        unit.into(),
        package.into(),
        listener.service.as_deref().unwrap_or("-").into(),
        secrecy.into(),
    ]
}

/// The user's name on this host, else the number.
fn user(uid: u32) -> String {
    names::user_by_id(uid).map_or_else(|_| uid.to_string(), |user| user.name)
}

fn process(listener: &Listener) -> Cell {
    let Some(process) = listener.process() else { return "-".into() };
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

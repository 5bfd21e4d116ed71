//! `portreeve convert`: what can be said in other languages. Reads files and prints; writes where `--out` says and nowhere else.

mod clients;
mod decisions;
mod files;
mod nft;
mod service;
mod services;
mod systemd;

use crate::escape;
use crate::failure::{Exit, Failure};
use crate::hosts_tables::{HostsTables, list};
use crate::output::Output;
use clap::{Subcommand, ValueEnum};
use clients::Lists;
use decisions::{Decisions, LeftOut, decide};
use serde_json::json;
use service::Service;
use std::io::Write;
use std::path::PathBuf;

/// Say in another language what a file says
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// What is to be converted
    #[command(subcommand)]
    pub what: What,
}

#[derive(Debug, Subcommand)]
#[allow(missing_docs)]
pub enum What {
    Hosts(Hosts),
    Inetd(services::Inetd),
    Xinetd(services::Xinetd),
    Systemd(services::Systemd),
}

/// Say what hosts.allow and hosts.deny decide by addresses as a firewall does
///
/// The first match of both tables decides there too. What needs more than the client's address (names, users, commands) is
/// left out, and named with its line. Exit codes: 0 all was converted, 1 something was left out, 2 could not run.
#[derive(clap::Args, Debug)]
pub struct Hosts {
    /// Language to print
    #[arg(long, value_name = "LANGUAGE")]
    pub to: Language,
    /// Read this hosts.allow; with one table named, the other counts as empty [default: /etc/hosts.allow]
    #[arg(long, value_name = "FILE")]
    pub allow: Option<PathBuf>,
    /// Read this hosts.deny [default: /etc/hosts.deny]
    #[arg(long, value_name = "FILE")]
    pub deny: Option<PathBuf>,
    /// A daemon that the tables are asked for: NAME=PORT/tcp or NAME=PORT/udp; for systemd also NAME or NAME=UNIT.service
    #[arg(long, value_name = "NAME=WHERE", required = true, value_parser = service::parse)]
    pub daemon: Vec<Service>,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// A language to convert to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// A ruleset of nftables, in a table of its own
    Nft,
    /// Drop-ins for units of systemd
    Systemd,
}

/// Converts and prints.
pub fn run(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let hosts = match &arguments.what {
        What::Hosts(hosts) => hosts,
        What::Inetd(inetd) => return services::inetd(inetd, out),
        What::Xinetd(xinetd) => return services::xinetd(xinetd, out),
        What::Systemd(systemd) => return services::systemd(systemd, out),
    };
    if let Some(service) =
        hosts.daemon.iter().find(|service| hosts.to == Language::Nft && service.port.is_none())
    {
        let message = format!("nft must know a port for `{}`", service.daemon);
        return Err(Failure::with_help(message, format!("write --daemon {}=PORT/tcp", service.daemon)));
    }
    let tables = HostsTables::named(hosts.allow.as_deref(), hosts.deny.as_deref())?;
    let (text, left_out) = convert(hosts, &tables)?;
    if hosts.json {
        let left = |left: &LeftOut| json!({ "file": left.file, "line": (left.line > 0).then_some(left.line), "reason": left.reason });
        out.json(&json!({ "text": text, "left_out": left_out.iter().map(left).collect::<Vec<_>>() }))?;
    } else {
        write!(out, "{text}")?;
        for left in &left_out {
            // Nothing can be done about a standard error that fails.
            let _ = writeln!(std::io::stderr(), "portreeve: left out: {}", told(left));
        }
    }
    Ok(if left_out.is_empty() { Exit::Fine } else { Exit::Found })
}

fn told(left: &LeftOut) -> String {
    match (left.file.as_str(), left.line) {
        ("", _) => left.reason.clone(),
        (file, 0) => format!("{file}: {}", left.reason),
        (file, line) => format!("{file}:{line}: {}", left.reason),
    }
}

fn convert(hosts: &Hosts, tables: &HostsTables) -> Result<(String, Vec<LeftOut>), Failure> {
    let mut found: Vec<(Service, Decisions)> = Vec::new();
    let mut left_out: Vec<LeftOut> = Vec::new();
    let mut read = |path: &[u8]| list(path);
    for service in &hosts.daemon {
        let port = service.port.map(|(port, _)| port);
        let mut lists = Lists::new(&mut read);
        let decisions = decide(&tables.tables(), service.daemon.as_bytes(), port, &mut lists);
        left_out.extend(decisions.left_out.iter().cloned());
        if !found.iter().any(|(known, _)| known == service) {
            found.push((service.clone(), decisions));
        }
    }
    let mut body = String::new();
    match hosts.to {
        Language::Nft => nft::write(&mut body, &found),
        Language::Systemd => systemd::write(&mut body, &found, &mut left_out),
    }
    .map_err(|error| Failure::new(error.to_string()))?;
    left_out.sort();
    left_out.dedup();
    Ok((format!("{}{body}", head(hosts.to, tables, &left_out)), left_out))
}

/// What a reader of the result must know.
fn head(to: Language, tables: &HostsTables, left_out: &[LeftOut]) -> String {
    let files =
        tables.files().map(|(_, path, _)| escape::os(path.as_os_str())).collect::<Vec<_>>().join(" and ");
    let mut head =
        format!("# Made by portreeve from {files}: what they say of addresses, as they were then.\n");
    head.push_str(match to {
        Language::Nft => "# Load it with nft -f. ALL is read as: all daemons named here.\n",
        Language::Systemd => {
            "# ALL is read as: all units named here. The lists hold for whatever the unit sends and receives, also for\n\
             # connections it opens itself, and add up with lists that the unit has already.\n"
        }
    });
    for left in left_out {
        head.push_str(&format!("# left out: {}\n", told(left)));
    }
    if to == Language::Nft {
        head.push('\n');
    }
    head
}

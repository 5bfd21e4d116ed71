//! `portreeve denied`: the sources that a sensor has denied, shown and cleared. The list is the daemon's.

use crate::answer::{items, number, span, text};
use crate::control::Socket;
use crate::escape;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::table::Table;
use serde_json::Value;
use std::io::Write;
use std::net::IpAddr;

/// Show or clear the sources that a sensor has denied
#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    #[allow(missing_docs)]
    pub verb: Option<Verb>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub list: List,
}

/// What to do with the list.
#[derive(clap::Subcommand, Debug)]
pub enum Verb {
    /// Show every denied source and for how long it stays denied (the default)
    List(List),
    /// Let a source in again
    Clear(Clear),
}

/// `denied list`, and `denied` alone.
#[derive(clap::Args, Debug)]
pub struct List {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub socket: Socket,
    /// Answer in JSON, as the daemon gives it
    #[arg(long)]
    pub json: bool,
}

/// `denied clear`.
#[derive(clap::Args, Debug)]
pub struct Clear {
    /// An address, or `all`
    #[arg(value_name = "ADDRESS|all", value_parser = whom)]
    pub whom: Whom,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub socket: Socket,
    /// Answer in JSON, as the daemon gives it
    #[arg(long)]
    pub json: bool,
}

/// Whose entry is cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// Everybody's.
    All,
    /// One source's.
    One(IpAddr),
}

fn whom(word: &str) -> Result<Whom, String> {
    if word == "all" {
        return Ok(Whom::All);
    }
    word.parse::<IpAddr>()
        .map(|address| Whom::One(address.to_canonical()))
        .map_err(|_| "neither an IPv4 or IPv6 address nor `all`".to_owned())
}

/// Asks and prints.
pub fn run(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    match &arguments.verb {
        None => show(&arguments.list, out),
        Some(Verb::List(list)) => show(list, out),
        Some(Verb::Clear(which)) => clear(which, out),
    }
}

fn clear(arguments: &Clear, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let whom = match arguments.whom {
        Whom::All => "all".to_owned(),
        Whom::One(address) => address.to_string(),
    };
    let answer = arguments.socket.ask(&format!("undeny {whom}"))?;
    let removed = number(&answer, "removed");
    if arguments.json {
        out.json(&answer)?;
    } else {
        match removed {
            Some(0) => writeln!(out, "{whom}: was not denied")?,
            Some(n) => writeln!(out, "{whom}: cleared ({n})")?,
            None => writeln!(out, "{whom}: cleared")?,
        }
    }
    Ok(if removed == Some(0) { Exit::Found } else { Exit::Fine })
}

fn show(list: &List, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let answer = list.socket.ask("denied")?;
    if list.json {
        out.json(&answer)?;
        return Ok(Exit::Fine);
    }
    let denied = items(&answer, "denied");
    if denied.is_empty() {
        writeln!(out, "nobody is denied")?;
        return Ok(Exit::Fine);
    }
    let bans = in_kernel(&answer);
    let mut table = Table::new(&["address", "for another"]);
    for entry in denied {
        let left = number(entry, "seconds_left").map_or_else(|| "until cleared".to_owned(), span);
        table.row(vec![escape::text(text(entry, "address")).into(), left.into()]);
    }
    table.write(out, 0)?;
    if let Some(bans) = bans {
        writeln!(out, "{bans}")?;
    }
    Ok(Exit::Fine)
}

/// A line on what the kernel does about who is denied; none where nothing is to be known.
pub(super) fn in_kernel(answer: &Value) -> Option<String> {
    let bans = answer.get("bans")?;
    let state = escape::text(text(bans, "kernel"));
    match (number(bans, "enforced"), number(bans, "wanted")) {
        (Some(enforced), Some(wanted)) => {
            let table = escape::text(text(bans, "table"));
            let note = if state == "enforced" { String::new() } else { format!("; {state}") };
            Some(format!("bans: enforced {enforced} of {wanted} in the kernel, table {table}{note}"))
        }
        _ if state.starts_with("refused") => {
            Some(format!("bans: the kernel has {state}; the daemon's own check is the only one"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_all_are_taken() {
        assert_eq!(whom("all"), Ok(Whom::All));
        assert_eq!(whom("::ffff:192.0.2.1"), Ok(Whom::One("192.0.2.1".parse().unwrap())));
        for bad in ["", "ALL", "host.example", "192.0.2.0/24", "127.1"] {
            assert!(whom(bad).is_err(), "{bad}");
        }
    }
}

//! `portreeve explain`: why a client of a service is admitted or refused, check by check, with the line that decides.
//! Asks the running daemon, whose counters are the true ones; without one, answers from a file with empty counters.

mod port;

use crate::answer::{items, place, text};
use crate::commands::check::DEFAULT_FILE;
use crate::control::{Socket, Unanswered};
use crate::escape;
use crate::failure::{Exit, Failure};
use crate::machine::Machine;
use crate::output::{Output, Paint};
use crate::rehearse;
use crate::table::{Cell, Table};
use portreeve_conf::Sources;
use portreeve_policy::Peer;
use serde_json::Value;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;

/// Explain why a client would be admitted or refused
///
/// Each check in the order in which it is made, with the file and line that decides, and what is done with the client then. Where a
/// PROXY header is read, the checks on the proxy come first (part `peer`); where the service is named to tcpmux, those of tcpmux. With --file, --inetd or --systemd the answer comes from
/// those files, as if nobody were connected; else from the running daemon, or from /etc/xinetd.conf when none runs.
/// Asked about a port, as `22/tcp`, it goes through everything a packet meets: what listens there, the kernel's chains (bans, the
/// host firewall, other tables; what cannot be judged is `unclear`), and the checks of a service of ours.
/// Exit codes: 0 admitted, 1 refused or not to be said without the client's name, 2 could not answer.
#[derive(clap::Args, Clone, Debug)]
pub struct Arguments {
    /// Id or name of the service; or a port, as 22/tcp or 53/udp
    #[arg(value_name = "SERVICE|PORT/PROTOCOL")]
    pub service: String,
    /// The address that connects: the client's, or its proxy's (see --client); of a service on a unix socket a user, as `uid=1000`
    #[arg(value_name = "ADDRESS|uid=UID")]
    pub address: Peer,
    /// The client that a PROXY header of this address names, where the service reads one
    #[arg(long, value_name = "ADDRESS")]
    pub client: Option<IpAddr>,
    /// At this time of day instead of now
    #[arg(long, value_name = "HH:MM", value_parser = minute_of_day)]
    pub at: Option<u16>,
    /// Answer from this configuration file, not from the daemon
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Answer from this inetd.conf; after the configuration file where --file names one
    #[arg(long, value_name = "FILE")]
    pub inetd: Option<PathBuf>,
    /// Answer from the sockets of this directory of systemd's units, or of this .socket; may be repeated
    #[arg(long, value_name = "PATH")]
    pub systemd: Vec<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub socket: Socket,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

fn minute_of_day(word: &str) -> Result<u16, String> {
    let wrong = || "expected a time of day from 00:00 to 23:59".to_owned();
    let (hour, minute) = word.split_once(':').ok_or_else(wrong)?;
    let number = |digits: &str, limit: u16| match digits.len() {
        1 | 2 if digits.bytes().all(|b| b.is_ascii_digit()) => {
            digits.parse::<u16>().ok().filter(|n| *n < limit)
        }
        _ => None,
    };
    match (number(hour, 24), number(minute, 60)) {
        (Some(hour), Some(minute)) => Ok(hour * 60 + minute),
        _ => Err(wrong()),
    }
}

/// Asks and prints.
pub fn run(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    if let Some(port) = port::asked(&arguments.service) {
        return port::run(arguments, port?, out);
    }
    let answer = answer(arguments)?;
    if arguments.json {
        out.json(&answer)?;
    } else {
        write(out, &answer)?;
    }
    Ok(if text(&answer, "verdict") == "admit" { Exit::Fine } else { Exit::Found })
}

/// The daemon's answer, or that from a file.
fn answer(arguments: &Arguments) -> Result<Value, Failure> {
    let from_file = |files: &Sources| {
        let asked = rehearse::Asked {
            service: &arguments.service,
            peer: arguments.address,
            client: arguments.client,
            at: arguments.at,
        };
        rehearse::explain(&Machine, files, &asked)
    };
    match Sources::named(arguments.file.as_deref(), arguments.inetd.as_deref(), &arguments.systemd) {
        Some(files) => from_file(&files),
        None => match arguments.socket.ask(&request(arguments)?) {
            Ok(answer) => Ok(answer),
            // Who named a socket wants that daemon's answer and no other.
            Err(Unanswered::NoDaemon(_)) if arguments.socket.control.is_none() => {
                from_file(&Sources::xinetd(DEFAULT_FILE))
            }
            Err(unanswered) => Err(unanswered.into()),
        },
    }
}

fn request(arguments: &Arguments) -> Result<String, Failure> {
    if arguments.service.is_empty() || arguments.service.contains(char::is_whitespace) {
        return Err(Failure::new(format!(
            "`{}` is no service: an id is one word",
            escape::text(&arguments.service)
        )));
    }
    let at = arguments.at.map_or_else(String::new, |minute| format!(" {minute}"));
    let client = arguments.client.map_or_else(String::new, |client| format!(" for {client}"));
    Ok(format!("explain {} {}{at}{client}", arguments.service, arguments.address.word()))
}

fn write(out: &mut Output<'_>, answer: &Value) -> io::Result<()> {
    let verdict = text(answer, "verdict");
    let paint = match verdict {
        "admit" => Paint::Green,
        "refuse" => Paint::Red,
        _ => Paint::Yellow,
    };
    let shown = out.paint(paint, &escape::text(verdict));
    let source = text(answer, "source");
    let (service, address) = (escape::text(text(answer, "service")), escape::text(text(answer, "address")));
    let client = match text(answer, "client") {
        "" => String::new(),
        client => format!(" for {}", escape::text(client)),
    };
    writeln!(out, "{service} from {address}{client}: {shown}")?;
    let checks = items(answer, "checks");
    // A way of one part needs no word for it.
    let parts = checks.iter().any(|check| !text(check, "part").is_empty());
    let columns = ["part", "check", "outcome", "detail", "written at"];
    let mut table = Table::new(&columns[usize::from(!parts)..]);
    for check in checks {
        let outcome = text(check, "outcome");
        let mut row: Vec<Cell> = Vec::new();
        if parts {
            row.push(text(check, "part").into());
        }
        row.extend([
            text(check, "name").into(),
            Cell::painted(outcome, outcome_paint(outcome)),
            text(check, "detail").into(),
            place(check).into(),
        ]);
        table.row(row);
    }
    table.write(out, 2)?;
    let note = text(answer, "note");
    if !note.is_empty() {
        writeln!(out, "{service} now: {}", escape::text(note))?;
    }
    if !source.is_empty() {
        writeln!(out, "from {}, as if nobody were connected", escape::text(source))?;
    }
    Ok(())
}

fn outcome_paint(outcome: &str) -> Paint {
    match outcome {
        "refuse" => Paint::Red,
        "pass" => Paint::Green,
        "needs names" => Paint::Yellow,
        _ => Paint::Dim,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day() {
        for (word, wanted) in [("00:00", 0), ("7:05", 425), ("23:59", 1439)] {
            assert_eq!(minute_of_day(word), Ok(wanted));
        }
        for bad in ["", "24:00", "12:60", "12", "+1:00", "1:-1", "noon", "012:00", "12:00:00"] {
            assert!(minute_of_day(bad).is_err(), "{bad}");
        }
    }
}

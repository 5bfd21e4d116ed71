//! `portreeve events`: the journal, read from its database. It needs no running daemon, and holds up none.

use crate::answer::span;
use crate::escape;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Paint};
use crate::settings;
use crate::since;
use portreeve_ledger::{DEFAULT_DIRECTORY, FILE, Fault, Filter, Keep, Reader, Record};
use serde_json::{Map, Value};
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Events that are shown where no moment is named.
const LAST: usize = 50;
/// How often the database is looked at for news.
const LOOK: Duration = Duration::from_millis(250);

/// Show what happened: who was served, how that ended, who was refused and why
///
/// Reads the ledger's database, whether the daemon runs or not. Without --since the last 50 events are shown.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Go on showing events as they come
    #[arg(long, short)]
    pub follow: bool,
    /// Not before: `1h`, `30m`, `2d`, `today`, `yesterday`, or `2026-11-28 09:30`
    #[arg(long, value_name = "WHEN", value_parser = when)]
    pub since: Option<i64>,
    /// Of this service
    #[arg(long, value_name = "ID")]
    pub service: Option<String>,
    /// From this address or network
    #[arg(long, value_name = "ADDRESS[/LENGTH]", value_parser = network)]
    pub source: Option<(IpAddr, u8)>,
    /// Refused for this reason, or banned with it, as the log has it: `address`, `service_limit`, ...
    #[arg(long, value_name = "WORD")]
    pub reason: Option<String>,
    /// A directory with a ledger, instead of the one that portreeve.toml names
    #[arg(long, value_name = "DIR")]
    pub ledger: Option<PathBuf>,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
}

fn when(text: &str) -> Result<i64, String> {
    let now = portreeve_sys::clock::wall_seconds();
    let moment = since::moment(text, now).and_then(|seconds| seconds.checked_mul(1_000_000));
    moment.ok_or_else(|| "expected 30m, 1h, 2d, today, yesterday, or a date as 2026-11-28 09:30".to_owned())
}

fn network(text: &str) -> Result<(IpAddr, u8), String> {
    let (address, length) =
        text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let wrong = || "expected an address, or a network as 192.0.2.0/24".to_owned();
    let address = address.parse::<IpAddr>().map_err(|_| wrong())?.to_canonical();
    let most = if address.is_ipv4() { 32 } else { 128 };
    let length = length.map_or(Ok(most), |length| length.parse::<u8>()).map_err(|_| wrong())?;
    if length > most {
        Err(format!("a network of this kind has a length of at most {most}"))
    } else {
        Ok((address, length))
    }
}

/// Reads and prints.
pub fn run(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    portreeve_sys::clock::load_zone();
    let directory = directory_of(arguments.ledger.as_ref())?;
    let failed = |fault: Fault| failure(&directory, &fault);
    let mut reader = Reader::open(&directory).map_err(failed)?;
    let filter = Filter {
        since: arguments.since,
        service: arguments.service.clone(),
        source: arguments.source,
        reason: arguments.reason.clone(),
    };
    let begin = match arguments.since {
        Some(_) => reader.place_of_first(&filter),
        None => reader.place_of_last(&filter, LAST),
    };
    let mut place = begin.map_err(failed)?;
    loop {
        place = show(&reader, &filter, place, arguments.json, out).map_err(|why| why.failure(failed))?;
        if !arguments.follow {
            return Ok(Exit::Fine);
        }
        out.flush()?;
        loop {
            std::thread::sleep(LOOK);
            if reader.is_replaced() {
                // Damaged, or removed by hand: the new one is followed from its beginning.
                if let Ok(new) = Reader::open(&directory) {
                    (reader, place) = (new, 0);
                    break;
                }
            }
            if reader.has_news().map_err(failed)? {
                break;
            }
        }
    }
}

/// Why reading stopped.
enum Stopped {
    Output(io::Error),
    Ledger(Fault),
}

impl Stopped {
    fn failure(self, failed: impl FnOnce(Fault) -> Failure) -> Failure {
        match self {
            Self::Output(error) => Failure::Output(error),
            Self::Ledger(fault) => failed(fault),
        }
    }
}

fn show(
    reader: &Reader,
    filter: &Filter,
    place: i64,
    json: bool,
    out: &mut Output<'_>,
) -> Result<i64, Stopped> {
    let mut written = Ok(());
    let place = reader
        .read(filter, place, |record| {
            written = if json { out.json_line(&object(record)) } else { line(record, out) };
            written.is_ok()
        })
        .map_err(Stopped::Ledger)?;
    written.map(|()| place).map_err(Stopped::Output)
}

/// The directory that is asked for, that the settings name, or the usual one.
pub(super) fn directory_of(ordered: Option<&PathBuf>) -> Result<PathBuf, Failure> {
    if let Some(directory) = ordered {
        return Ok(directory.clone());
    }
    match settings::ledger(Path::new(settings::PATH)).map_err(Failure::new)?.keep {
        Keep::In(directory) => Ok(directory),
        Keep::IfThere => Ok(DEFAULT_DIRECTORY.into()),
        Keep::Off => Err(Failure::with_help(
            "no events are kept",
            format!("{}: take `keep = false` out", settings::PATH),
        )),
    }
}

pub(super) fn failure(directory: &Path, fault: &Fault) -> Failure {
    let message = format!("{}: {fault}", directory.join(FILE).display());
    Failure::with_help(
        message,
        "`portreeve status` says whether a ledger is kept and where; root and the group portreeve may read it",
    )
}

fn object(record: &Record) -> Value {
    let mut object = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        object.insert(name.to_owned(), value.unwrap_or(Value::Null));
    };
    let text = |value: &Option<String>| value.as_deref().map(Value::from);
    let number = |value: Option<i64>| value.map(Value::from);
    put("seq", number(Some(record.seq)));
    put("id", number(Some(record.id)));
    put("time", number(Some(record.time)));
    put("kind", Some(record.kind.as_str().into()));
    put("service", text(&record.service));
    put("source", text(&record.source));
    put("port", number(record.port));
    put("prefix", text(&record.prefix));
    put("verdict", text(&record.verdict));
    put("reason", text(&record.reason));
    put("rule", text(&record.rule));
    put("pid", number(record.pid));
    put("status", number(record.status));
    put("signal", number(record.signal));
    put("duration", number(record.duration));
    put("user_cpu", number(record.user_cpu));
    put("system_cpu", number(record.system_cpu));
    put("max_rss", number(record.max_rss));
    put("bytes_in", number(record.bytes_in));
    put("bytes_out", number(record.bytes_out));
    put("count", number(Some(record.count)));
    put("origin", text(&record.origin));
    put("uid", number(record.uid));
    Value::Object(object)
}

fn line(record: &Record, out: &mut Output<'_>) -> io::Result<()> {
    let paint = match record.kind.as_str() {
        "refuse" | "deny" | "ban" | "evidence" | "spared" => Paint::Yellow,
        "dropped" => Paint::Red,
        _ => Paint::Plain,
    };
    let kind = format!("{:<8}", escape::text(&record.kind));
    let service = escape::text(record.service.as_deref().unwrap_or("-"));
    // Of a ban of a network it is the network.
    let source = escape::text(record.source.as_ref().or(record.prefix.as_ref()).map_or("-", |source| source));
    let said = what(record);
    let text = format!(
        "{}  {}  {service:<16}  {source:<15}  {}",
        since::local(record.time),
        out.paint(paint, &kind),
        escape::text(&said)
    );
    writeln!(out, "{}", text.trim_end())
}

/// What there is to say beyond who and when.
fn what(record: &Record) -> String {
    let mut parts = Vec::new();
    let mut part = |text: String| parts.push(text);
    if let Some(reason) = &record.reason {
        let rule = record.rule.as_ref().map_or_else(String::new, |rule| format!(" by {rule}"));
        part(format!("{reason}{rule}"));
    }
    if let Some(pid) = record.pid {
        part(format!("pid {pid}"));
    }
    if let Some(status) = record.status {
        part(format!("status {status}"));
    }
    if let Some(signal) = record.signal {
        part(format!("signal {signal}"));
    }
    match (record.kind.as_str(), record.duration) {
        ("ban" | "deny", Some(duration)) => {
            part(format!("for {}", span(duration.div_euclid(1_000_000).unsigned_abs())));
        }
        ("ban" | "deny", None) if record.origin.is_some() => part("until it is removed".to_owned()),
        (_, Some(duration)) => part(format!("after {}", time(duration))),
        (_, None) => {}
    }
    match (&record.origin, record.uid) {
        (Some(origin), Some(uid)) => part(format!("by {origin}, uid {uid}")),
        (Some(origin), None) if record.kind != "deny" => part(format!("by {origin}")),
        _ => {}
    }
    if let (Some(user), Some(system)) = (record.user_cpu, record.system_cpu) {
        part(format!("CPU {}", time(user + system)));
    }
    if let Some(kib) = record.max_rss {
        part(format!("{kib} KiB"));
    }
    if let (Some(from), Some(to)) = (record.bytes_in, record.bytes_out) {
        part(format!("{from} bytes in, {to} out"));
    }
    if record.kind == "dropped" {
        part(format!("{} events were lost", record.count));
    } else if record.count > 1 {
        part(format!("{} times", record.count));
    }
    parts.join(", ")
}

/// Microseconds in seconds, or below one in milliseconds.
fn time(micros: i64) -> String {
    let thousandths = |n: i64| format!("{}.{:03}", n / 1_000, n % 1_000);
    if micros < 1_000_000 { thousandths(micros) + " ms" } else { thousandths(micros / 1_000) + " s" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_strictly() {
        let v4 = |last, length| Ok((IpAddr::from([192, 0, 2, last]), length));
        assert_eq!(network("192.0.2.7"), v4(7, 32));
        assert_eq!(network("::ffff:192.0.2.7"), v4(7, 32));
        assert_eq!(network("192.0.2.0/24"), v4(0, 24));
        for bad in ["", "host", "192.0.2.0/33", "::/129", "192.0.2.0/", "192.0.2.0/x"] {
            assert!(network(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_line_moves_no_cursor() {
        let record = Record {
            time: 1_000_000,
            kind: "refuse".into(),
            service: Some("a\u{1b}[2J".into()),
            reason: Some("address\n1970 start".into()),
            rule: Some("/etc/x:3".into()),
            count: 1,
            ..Record::default()
        };
        let mut sink = Vec::new();
        line(&record, &mut Output::plain(&mut sink)).unwrap();
        let shown = String::from_utf8(sink).unwrap();
        assert_eq!(shown.matches('\n').count(), 1, "{shown}");
        assert!(shown.contains("a\\x1b[2J") && shown.contains("address\\n1970 start by /etc/x:3"), "{shown}");
        let mut sink = Vec::new();
        Output::plain(&mut sink).json_line(&object(&record)).unwrap();
        let value: Value = serde_json::from_slice(&sink).unwrap();
        assert_eq!(value["service"], "a\u{1b}[2J");
        assert_eq!(value["pid"], Value::Null);
    }

    #[test]
    fn an_exit_says_what_it_used() {
        let record = Record {
            kind: "exit".into(),
            pid: Some(7),
            signal: Some(9),
            duration: Some(1_234_567),
            user_cpu: Some(1_000),
            system_cpu: Some(2_500),
            bytes_in: Some(4),
            bytes_out: Some(5),
            count: 1,
            ..Record::default()
        };
        assert_eq!(what(&record), "pid 7, signal 9, after 1.234 s, CPU 3.500 ms, 4 bytes in, 5 out");
    }
}

//! `portreeve scans`: who was seen scanning this host, how, and how much of it is proven.

use crate::answer::{items, number, span, text};
use crate::control::Socket;
use crate::escape;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::table::Table;
use serde_json::Value;
use std::io::{self, Write};

/// Show who scans this host
///
/// Sources that have probed ten or more ports where nothing is within a day, and were seen to within the last one. What is seen
/// may be forged; the column `proof` says what is known besides: `address` (the source has completed a handshake with a service, so
/// it is real, and the probes may still be another's), `trap` (it has spoken with a trap). Needs `watch_scans = yes` in
/// `defaults`. Exit code 1 when somebody scans.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub socket: Socket,
    /// Answer in JSON, as the daemon gives it
    #[arg(long)]
    pub json: bool,
}

/// Asks and prints.
pub fn run(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let answer = arguments.socket.ask("scans")?;
    let all = items(&answer, "scans");
    let exit = if all.is_empty() { Exit::Fine } else { Exit::Found };
    if arguments.json {
        out.json(&answer)?;
        return Ok(exit);
    }
    if let Some(sensor) = answer.get("sensor") {
        write_sensor(out, sensor)?;
    }
    if all.is_empty() {
        writeln!(out, "nobody was seen scanning")?;
        return Ok(exit);
    }
    let mut table = Table::new(&["source", "how", "targets", "first", "last", "proof", "ports"]);
    for scan in all {
        let words = |name| items(scan, name).iter().filter_map(Value::as_str).collect::<Vec<_>>();
        let ports: Vec<String> =
            items(scan, "ports").iter().filter_map(Value::as_u64).map(|port| port.to_string()).collect();
        let flag = |name| scan.get(name).and_then(Value::as_bool) == Some(true);
        let sources = number(scan, "sources").unwrap_or(1);
        let proof = match text(scan, "proof") {
            _ if flag("banned") => "banned".to_owned(),
            "none" if sources > 1 => format!("none, {sources} sources"),
            "none" if flag("decoys") => "none, decoys".to_owned(),
            word => word.to_owned(),
        };
        let ago = |name| number(scan, name).map_or_else(|| "-".to_owned(), |at| format!("{} ago", span(at)));
        table.row(vec![
            escape::text(text(scan, "network")).into(),
            escape::text(&words("kinds").join(",")).into(),
            number(scan, "targets").unwrap_or(0).to_string().into(),
            ago("first_seconds").into(),
            ago("last_seconds").into(),
            escape::text(&proof).into(),
            ports.join(" ").into(),
        ]);
    }
    table.write(out, 0)?;
    Ok(exit)
}

/// The sensor in one line, for `status` too; nothing where it is not wanted.
pub fn write_sensor(out: &mut Output<'_>, sensor: &Value) -> io::Result<()> {
    let of = |name| number(sensor, name).unwrap_or(0);
    let state = text(sensor, "state");
    match state {
        "off" => return writeln!(out, "sensor: off (`watch_scans = yes` in `defaults` starts it)"),
        "refused" | "half blind" => {
            write!(out, "sensor: {state}: {}", escape::text(text(sensor, "why")))?;
        }
        _ => write!(out, "sensor: {}", escape::text(state))?,
    }
    write!(
        out,
        ", {} probes in {} packets, {} of {} sources remembered, {} scan",
        of("probes"),
        of("packets"),
        of("sources"),
        of("most_sources"),
        of("scans")
    )?;
    for (name, what) in [
        ("dropped_by_kernel", "packets dropped"),
        ("turned_away", "probes of senders for whom there was no room"),
        ("evicted", "sources made room"),
        ("unjudged", "segments not judged"),
        ("untold", "not told in time"),
        ("forgotten", "scans forgotten"),
    ] {
        if of(name) > 0 {
            write!(out, ", {} {what}", of(name))?;
        }
    }
    writeln!(out)
}

//! `portreeve status`: what the running daemon serves, and how full its limits are. Reads the control socket only.

use super::{ban, scans};
use crate::answer::{count, items, number, span, text};
use crate::control::Socket;
use crate::escape;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Paint};
use crate::table::{Cell, Table};
use serde_json::Value;
use std::io::{self, Write};

/// Show what the running daemon serves
///
/// For each service: its state, address, running instances, accepted and refused clients, limits and their fill.
/// Exit code 1 when a service still waits for its address, has certificates that cannot be used, a worker is down, or the ledger cannot be opened.
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
    let answer = arguments.socket.ask("status")?;
    if arguments.json {
        out.json(&answer)?;
    } else {
        write(out, &answer)?;
    }
    Ok(exit(&answer))
}

fn exit(answer: &Value) -> Exit {
    let unusable = |service: &Value| service.get("tls_unusable").and_then(Value::as_bool) == Some(true);
    let service_down = items(answer, "services")
        .iter()
        .any(|service| matches!(text(service, "state"), "failed" | "retrying") || unusable(service));
    let worker_down = items(answer, "workers").iter().any(|worker| text(worker, "state") == "down");
    let no_ledger = answer.get("ledger").is_some_and(|ledger| text(ledger, "state") == "failed");
    if service_down || worker_down || no_ledger { Exit::Found } else { Exit::Fine }
}

fn write(out: &mut Output<'_>, answer: &Value) -> io::Result<()> {
    writeln!(
        out,
        "portreeve {}, pid {}, up {}, {} running, configuration {} (generation {})",
        escape::text(text(answer, "version")),
        count(answer, "pid"),
        number(answer, "uptime_seconds").map_or_else(|| "-".to_owned(), span),
        count(answer, "running"),
        escape::text(text(answer, "config")),
        count(answer, "generation"),
    )?;
    let mut table =
        Table::new(&["service", "state", "address", "running", "accepted", "refused", "oldest", "limits"]);
    for service in items(answer, "services") {
        table.row(vec![
            text(service, "id").into(),
            Cell::painted(text(service, "state"), paint(text(service, "state"))),
            address(service).into(),
            count(service, "running").into(),
            count(service, "accepted").into(),
            refused(service).into(),
            number(service, "oldest_seconds").map_or_else(|| "-".to_owned(), span).into(),
            limits(service).into(),
        ]);
    }
    if table.is_empty() {
        writeln!(out, "no service")?;
    } else {
        table.write(out, 0)?;
    }
    for service in items(answer, "services") {
        let note = text(service, "note");
        if !note.is_empty() {
            writeln!(out, "{}: {}", escape::text(text(service, "id")), escape::text(note))?;
        }
        if let Some(rpc) = service.get("rpc").filter(|rpc| !rpc.is_null()) {
            writeln!(
                out,
                "{}: RPC program {}, versions {}, port {}; {} of {} entries at rpcbind",
                escape::text(text(service, "id")),
                count(rpc, "program"),
                escape::text(text(rpc, "versions")),
                number(rpc, "port").map_or_else(|| "-".to_owned(), |port| port.to_string()),
                count(rpc, "registered"),
                count(rpc, "of"),
            )?;
        }
        let sandbox: Vec<_> = items(service, "sandbox").iter().filter_map(Value::as_str).collect();
        if !sandbox.is_empty() {
            let id = escape::text(text(service, "id"));
            writeln!(out, "{id}: sandbox {}", escape::text(&sandbox.join(" ")))?;
        }
        if let Some(program) = service.get("program").filter(|program| !program.is_null()) {
            let why = text(program, "why");
            let trust = text(program, "trust");
            let paint = if trust == "not listed" { Paint::Red } else { Paint::Plain };
            let colon = if why.is_empty() { "" } else { ": " };
            let line = format!("verify_server {}, program {trust}{colon}{why}", text(program, "verify"));
            let line = out.paint(paint, &escape::text(&line));
            writeln!(out, "{}: {line}", escape::text(text(service, "id")))?;
        }
        for target in items(service, "targets").iter().filter(|target| text(target, "state") == "failing") {
            writeln!(
                out,
                "{}: target {}: {}, failed {} times in a row, set aside for {} s",
                escape::text(text(service, "id")),
                escape::text(text(target, "place")),
                escape::text(text(target, "error")),
                count(target, "failures"),
                count(target, "aside_seconds"),
            )?;
        }
        if let Some(failures @ 1..) = number(service, "start_failures") {
            writeln!(out, "{}: {failures} starts failed", escape::text(text(service, "id")))?;
        }
    }
    write_process(out, answer)
}

/// Workers that are not running, bounds that have been reached: silence means that all is well.
fn write_process(out: &mut Output<'_>, answer: &Value) -> io::Result<()> {
    for worker in items(answer, "workers") {
        write!(
            out,
            "worker {}: {}",
            escape::text(text(worker, "name")),
            out_paint(out, text(worker, "state"))
        )?;
        if let Some(pid @ 1..) = number(worker, "pid") {
            write!(out, ", pid {pid}")?;
        }
        if let Some(restarts @ 1..) = number(worker, "restarts") {
            write!(out, ", restarted {restarts} times")?;
        }
        let why = text(worker, "why");
        if !why.is_empty() {
            write!(out, ": {}", escape::text(why))?;
        }
        let confinement = text(worker, "confinement");
        if text(worker, "state") == "ready" && !confinement.is_empty() {
            write!(out, ", confinement {}", escape::text(confinement))?;
        }
        writeln!(out)?;
    }
    if let Some(bans) = ban::in_kernel(answer) {
        writeln!(out, "{bans}")?;
    }
    if let Some(sensor) = answer.get("sensor").filter(|sensor| text(sensor, "state") != "off") {
        scans::write_sensor(out, sensor)?;
    }
    for table in items(answer, "tables").iter().filter(|table| text(table, "state") != "missing") {
        let lines = number(table, "lines").unwrap_or(0);
        let watched = table.get("watched").and_then(Value::as_bool) == Some(true);
        let watched = if watched { "watched" } else { "looked at for each client" };
        let (path, state) = (escape::text(text(table, "path")), escape::text(text(table, "state")));
        writeln!(out, "table {path}: {state}, {lines} lines, {watched}")?;
    }
    if let Some(hooks) = answer.get("hooks")
        && let Some(started @ 1..) = number(hooks, "started")
    {
        let of = |name| number(hooks, name).unwrap_or(0);
        let (running, limit, killed) = (of("running"), of("limit"), of("killed"));
        writeln!(
            out,
            "commands of hosts.allow and hosts.deny: {running} of {limit} run, {started} started, {killed} killed"
        )?;
    }
    if let Some(ledger) = answer.get("ledger") {
        write_ledger(out, ledger)?;
    }
    for bound in items(answer, "bounds") {
        let (used, limit) = (number(bound, "used").unwrap_or(0), number(bound, "limit").unwrap_or(u64::MAX));
        let dropped = number(bound, "dropped").unwrap_or(0);
        if dropped > 0 || used >= limit {
            let name = escape::text(text(bound, "name"));
            writeln!(out, "bound {name}: {used} of {limit} used, {dropped} dropped")?;
        }
    }
    if let Some(lost @ 1..) = answer.get("log").and_then(|log| number(log, "dropped")) {
        writeln!(out, "{}", out.paint(Paint::Red, &format!("{lost} log lines could not be written")))?;
    }
    Ok(())
}

/// Where the journal of events is, and how full.
fn write_ledger(out: &mut Output<'_>, ledger: &Value) -> io::Result<()> {
    let (state, note) = (text(ledger, "state"), escape::text(text(ledger, "note")));
    let mib = |name| number(ledger, name).unwrap_or(0) as f64 / f64::from(1 << 20);
    write!(
        out,
        "ledger: {}",
        if state == "failed" { out.paint(Paint::Red, state) } else { escape::text(state).into() }
    )?;
    if state == "open" {
        write!(
            out,
            " {}, {:.1} of {:.0} MiB, {} events written",
            escape::text(text(ledger, "path")),
            mib("bytes"),
            mib("most_bytes"),
            count(ledger, "written")
        )?;
    }
    if let Some(dropped @ 1..) = number(ledger, "dropped") {
        write!(out, ", {}", out.paint(Paint::Red, &format!("{dropped} dropped")))?;
    }
    if !note.is_empty() {
        write!(out, ", {note}")?;
    }
    writeln!(out)
}

fn out_paint(out: &Output<'_>, state: &str) -> String {
    let shown = escape::text(state);
    out.paint(if state == "down" { Paint::Red } else { Paint::Plain }, &shown)
}

fn paint(state: &str) -> Paint {
    match state {
        "active" => Paint::Green,
        "failed" | "retrying" => Paint::Red,
        _ => Paint::Yellow,
    }
}

fn address(service: &Value) -> String {
    let wait = if service.get("wait").and_then(Value::as_bool) == Some(true) { " wait" } else { "" };
    if text(service, "address") == "tcpmux" {
        return "behind tcpmux".to_owned();
    }
    let (address, protocol) = (text(service, "address"), text(service, "protocol"));
    // The address of a unix socket may have slashes itself.
    let between = if protocol == "unix" { " " } else { "/" };
    format!("{address}{between}{protocol}{wait}")
}

fn refused(service: &Value) -> String {
    let reasons = service.get("refused").and_then(Value::as_object);
    let counts: Vec<_> = reasons
        .into_iter()
        .flatten()
        .filter_map(|(reason, n)| n.as_u64().filter(|n| *n > 0).map(|n| format!("{n} {reason}")))
        .collect();
    if counts.is_empty() { "0".to_owned() } else { counts.join(", ") }
}

fn limits(service: &Value) -> String {
    let shown: Vec<_> = items(service, "limits")
        .iter()
        .filter_map(|limit| {
            let (name, bound) = (text(limit, "name"), number(limit, "limit")?);
            // Each source has its own fill; `explain` tells that of one.
            let of_one_source = name == "per_source";
            let used = number(limit, "used").filter(|_| !of_one_source);
            Some(used.map_or_else(|| format!("{name} {bound}"), |used| format!("{name} {used}/{bound}")))
        })
        .collect();
    shown.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answer(state: &str) -> Value {
        json!({"ok": true, "version": "0.1.0", "pid": 7, "uptime_seconds": 61, "config": "/etc/xinetd.conf",
        "generation": 2, "running": 1, "workers": [{"name": "builtin", "state": "ready", "pid": 9, "restarts": 0,
        "confinement": "seccomp"}], "bounds": [{"name": "parked", "used": 0, "limit": 8, "dropped": 3}],
        "log": {"dropped": 0}, "services": [{"id": "a\u{1b}b", "name": "a", "state": state, "address": "[::]:7",
        "protocol": "tcp", "wait": false, "running": 1, "accepted": 5, "refused": {"address": 2, "time": 0},
        "start_failures": 0, "oldest_seconds": 4, "limits": [{"name": "instances", "used": 1, "limit": 10},
        {"name": "per_source", "used": 0, "limit": null}], "note": ""}]})
    }

    #[test]
    fn a_person_sees_a_table() {
        let mut sink = Vec::new();
        write(&mut Output::plain(&mut sink), &answer("active")).unwrap();
        let shown = String::from_utf8(sink).unwrap();
        assert!(shown.contains("up 1m 1s"), "{shown}");
        assert!(
            shown.contains(
                "a\\x1bb   active  [::]:7/tcp  1        5         2 address  4s      instances 1/10"
            ),
            "{shown}"
        );
        assert!(shown.contains("bound parked: 0 of 8 used, 3 dropped"), "{shown}");
    }

    #[test]
    fn a_dead_service_is_a_finding_and_a_throttled_one_is_not() {
        for (state, wanted) in [
            ("active", Exit::Fine),
            ("throttled", Exit::Fine),
            ("failed", Exit::Found),
            ("retrying", Exit::Found),
        ] {
            assert_eq!(exit(&answer(state)), wanted, "{state}");
        }
        let mut held = answer("paused");
        held["services"][0]["tls_unusable"] = json!(true);
        assert_eq!(exit(&held), Exit::Found, "nobody is served");
        let mut down = answer("active");
        down["workers"][0]["state"] = json!("down");
        down["workers"][0]["why"] = json!("it could not be started: no\nsuch file");
        assert_eq!(exit(&down), Exit::Found);
        let mut sink = Vec::new();
        write(&mut Output::plain(&mut sink), &down).unwrap();
        let shown = String::from_utf8(sink).unwrap();
        assert!(
            shown.contains("worker builtin: down, pid 9: it could not be started: no\\nsuch file"),
            "{shown}"
        );
    }

    #[test]
    fn what_has_no_port_of_its_own() {
        let mut answer = answer("active");
        answer["services"][0]["address"] = json!("tcpmux");
        answer["services"][0]["rpc"] =
            json!({"program": 100001, "versions": "1-3", "port": 799, "registered": 2, "of": 3});
        let mut sink = Vec::new();
        write(&mut Output::plain(&mut sink), &answer).unwrap();
        let shown = String::from_utf8(sink).unwrap();
        assert!(shown.contains("  behind tcpmux  "), "{shown}");
        let rpc = "RPC program 100001, versions 1-3, port 799; 2 of 3 entries at rpcbind";
        assert!(shown.contains(rpc), "{shown}");
    }

    #[test]
    fn an_answer_without_its_fields_is_still_shown() {
        let mut sink = Vec::new();
        write(&mut Output::plain(&mut sink), &json!({"ok": true, "services": [{}]})).unwrap();
    }
}

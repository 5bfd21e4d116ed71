//! `portreeve explain 22/tcp ADDRESS`: a port and a source through everything in the order in which a packet meets it: what listens,
//! the kernel's chains (bans, the host firewall, other tables), and for a service of ours the daemon's own checks. Asks and prints.

use super::{Arguments, outcome_paint};
use crate::answer::{items, place, text};
use crate::escape;
use crate::failure::{Exit, Failure};
use crate::firewall::port::{Port, Transport};
use crate::firewall::ruleset::Ruleset;
use crate::firewall::walk::{Fate, Probe, walk};
use crate::firewall::{TABLE, nft, witness};
use crate::looking;
use crate::output::{Output, Paint};
use crate::table::{Cell, Table};
use portreeve_audit::inventory::{Inventory, Listener};
use portreeve_audit::sockets::Place;
use serde_json::json;
use std::io::{self, Write};
use std::net::IpAddr;

/// The table of the bans.
const BANS: &str = "inet portreeve";

/// One stage of the way.
struct Stage {
    name: String,
    outcome: &'static str,
    detail: String,
    place: String,
}

/// The port that the words ask about; `None` where they name a service.
pub(super) fn asked(word: &str) -> Option<Result<Port, Failure>> {
    let digits = word.split_once('/')?.0;
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit() || b == b'-') {
        return None;
    }
    let port = word.parse::<Port>().map_err(Failure::new);
    Some(port.and_then(|port| {
        let one = port.first == port.last && !matches!(port.transport, Transport::Other(_));
        one.then_some(port).ok_or_else(|| Failure::new(format!("{word}: one port was expected, as 22/tcp")))
    }))
}

/// Asks and prints.
pub(super) fn run(arguments: &Arguments, port: Port, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let Some(source) = arguments.address.address().map(|address| address.ip().to_canonical()) else {
        return Err(Failure::new("a port is reached from an address: ask about one"));
    };
    let inventory = looking::take(&arguments.socket)?;
    let mut gaps = inventory.gaps.clone();
    let mut stages = Vec::new();
    let listener = listener(&inventory, port, source, &mut stages);
    let sent = kernel(port, source, listener, &mut stages, &mut gaps);
    let service = listener.and_then(|listener| listener.service.clone()).filter(|id| !id.starts_with('('));
    let refused = stages.iter().any(|stage| stage.outcome == "refuse");
    if let Some(id) = service.filter(|_| !sent) {
        daemon(arguments, &id, refused, &mut stages, &mut gaps);
    }
    let has = |outcome: &str| stages.iter().any(|stage| stage.outcome == outcome);
    let verdict = if sent {
        "sent elsewhere"
    } else if has("refuse") && !has("may be sent") {
        "refuse"
    } else if has("may be sent") || has("unclear") || has("needs names") {
        "unclear"
    } else if has("none") {
        "refuse"
    } else {
        "admit"
    };
    if arguments.json {
        let stage = |stage: &Stage| json!({ "name": stage.name, "outcome": stage.outcome, "detail": stage.detail, "written_at": stage.place });
        out.json(&json!({
            "ok": true, "port": port.to_string(), "address": source, "verdict": verdict,
            "stages": stages.iter().map(stage).collect::<Vec<_>>(), "gaps": gaps,
        }))?;
    } else {
        write(out, port, source, verdict, &stages, &gaps)?;
    }
    Ok(if verdict == "admit" { Exit::Fine } else { Exit::Found })
}

/// Who answers there, and where it is bound.
fn listener<'a>(
    inventory: &'a Inventory,
    port: Port,
    source: IpAddr,
    stages: &mut Vec<Stage>,
) -> Option<&'a Listener> {
    let takes = |listener: &&Listener| match listener.socket.place {
        Place::Ip { address, port: at, v6_only } => {
            let family = match address {
                IpAddr::V4(_) => source.is_ipv4(),
                IpAddr::V6(v6) => {
                    !source.is_ipv4() || (v6.is_unspecified() && !v6_only) || v6.to_ipv4_mapped().is_some()
                }
            };
            at == port.first
                && listener.namespace == "own"
                && listener.socket.protocol.word() == port.transport.word()
                && family
                && (source.is_loopback() || !address.to_canonical().is_loopback())
        }
        _ => false,
    };
    let found: Vec<&Listener> = inventory.listeners.iter().filter(takes).collect();
    let stage =
        |outcome, detail| Stage { name: "listener".to_owned(), outcome, detail, place: String::new() };
    let Some(first) = found.first() else {
        let detail = "nothing listens there that this address could reach".to_owned();
        stages.push(stage("none", detail));
        return None;
    };
    let who = match (&first.service, first.process()) {
        (Some(service), _) if !service.starts_with('(') => format!("our service {service}"),
        (_, Some(process)) => {
            let unit = process.home.unit.as_ref().map_or_else(String::new, |unit| format!(", {unit}"));
            format!("{} {}{unit}", process.name, process.pid)
        }
        (_, None) => "a process that is not seen".to_owned(),
    };
    let more =
        if found.len() > 1 { format!(", and {} more at this port", found.len() - 1) } else { String::new() };
    stages.push(stage("pass", format!("{who} at {}{more}", first.socket)));
    Some(first)
}

/// What the kernel's chains do; whether they send it elsewhere.
fn kernel(
    port: Port,
    source: IpAddr,
    listener: Option<&Listener>,
    stages: &mut Vec<Stage>,
    gaps: &mut Vec<String>,
) -> bool {
    if source.is_loopback() {
        let detail = "by loopback; what chains say of it is not asked".to_owned();
        stages.push(Stage { name: "kernel".to_owned(), outcome: "pass", detail, place: String::new() });
        return false;
    }
    let seen = gaps.len();
    crate::firewall::host::legacy(gaps);
    let ruleset = nft::run("nft", &["-j", "list", "ruleset"], "")
        .map_err(|failed| failed.to_string())
        .and_then(|json| Ruleset::read(&json));
    let ruleset = match ruleset {
        Ok(ruleset) => ruleset,
        Err(why) => {
            gaps.push(format!("the kernel's rules: {why}"));
            let detail = "its rules could not be read".to_owned();
            stages.push(Stage {
                name: "kernel".to_owned(),
                outcome: "unclear",
                detail,
                place: String::new(),
            });
            return false;
        }
    };
    if ruleset.chains.values().any(|chain| chain.hook == "ingress") {
        gaps.push("chains of the hook ingress: they are not looked at".to_owned());
    }
    // What is not looked into may decide: no client is said to come in then.
    if gaps.len() > seen {
        let detail = "there are rules that are not looked into".to_owned();
        stages.push(Stage { name: "kernel".to_owned(), outcome: "unclear", detail, place: String::new() });
    }
    let to = listener.and_then(|listener| match listener.socket.place {
        Place::Ip { address, .. } if !address.is_unspecified() => Some(address),
        _ => None,
    });
    let probe = Probe { transport: port.transport, port: port.first, source, to, interface: None };
    let steps = walk(&ruleset, &probe);
    if steps.is_empty() {
        let detail = "no table has a chain for it".to_owned();
        stages.push(Stage { name: "kernel".to_owned(), outcome: "pass", detail, place: String::new() });
    }
    let mut sent = false;
    for step in steps {
        let name = match step.table.as_str() {
            BANS => format!("bans ({})", step.chain),
            table if table == format!("inet {TABLE}") => format!("host firewall ({})", step.chain),
            table if table == format!("inet {}", witness::TABLE) => {
                format!("the witness of the trial ({})", step.chain)
            }
            _ => step.chain.clone(),
        };
        let (outcome, detail) = match step.fate {
            Fate::Passes => ("pass", step.detail),
            Fate::Refused => ("refuse", step.detail),
            Fate::Unclear => ("unclear", step.detail),
            Fate::MaySend => ("may be sent", step.detail),
            Fate::Sent(to) => {
                sent = true;
                (
                    "sent",
                    format!("to {to}, {}; chains of `forward` decide, and no chain of `input`", step.detail),
                )
            }
        };
        stages.push(Stage { name, outcome, detail, place: String::new() });
    }
    sent
}

/// The daemon's own checks. Where the kernel refuses already they are told as what they would be.
fn daemon(arguments: &Arguments, id: &str, refused: bool, stages: &mut Vec<Stage>, gaps: &mut Vec<String>) {
    let answer = match super::answer(&Arguments { service: id.to_owned(), ..arguments.clone() }) {
        Ok(answer) => answer,
        Err(failure) => return gaps.push(format!("the checks of {id}: {failure}")),
    };
    for check in items(&answer, "checks") {
        let outcome = match text(check, "outcome") {
            // One refusal is the reason; a later one is not reached.
            "refuse" | "pass" | "needs names" if refused => "not reached",
            "refuse" => "refuse",
            "pass" => "pass",
            "needs names" => "needs names",
            "not set" => "not set",
            _ => "not reached",
        };
        stages.push(Stage {
            name: text(check, "name").to_owned(),
            outcome,
            detail: text(check, "detail").to_owned(),
            place: place(check),
        });
    }
}

fn write(
    out: &mut Output<'_>,
    port: Port,
    source: IpAddr,
    verdict: &str,
    stages: &[Stage],
    gaps: &[String],
) -> io::Result<()> {
    let paint = match verdict {
        "admit" => Paint::Green,
        "refuse" => Paint::Red,
        _ => Paint::Yellow,
    };
    writeln!(out, "{port} from {source}: {}", out.paint(paint, verdict))?;
    let mut table = Table::new(&["stage", "outcome", "detail", "written at"]);
    for stage in stages {
        let paint = match stage.outcome {
            "sent" | "may be sent" | "unclear" | "none" => Paint::Yellow,
            outcome => outcome_paint(outcome),
        };
        table.row(vec![
            stage.name.as_str().into(),
            Cell::painted(stage.outcome, paint),
            stage.detail.as_str().into(),
            stage.place.as_str().into(),
        ]);
    }
    table.write(out, 2)?;
    for gap in gaps {
        writeln!(out, "{} {}", out.paint(Paint::Yellow, "not seen:"), escape::text(gap))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_told_from_a_service() {
        for word in ["22/tcp", "53/udp"] {
            assert!(asked(word).is_some_and(|port| port.is_ok()), "{word}");
        }
        for word in ["22/tpc", "1-2/tcp", "0/tcp", "70000/tcp"] {
            assert!(asked(word).is_some_and(|port| port.is_err()), "{word}");
        }
        for word in ["echo", "echo/tcp", "22", "", "/tcp", "uid=7"] {
            assert!(asked(word).is_none(), "{word}");
        }
    }
}

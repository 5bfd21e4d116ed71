//! A decision from a file, without a daemon: reads the configuration, finds the service, asks the same policy that the
//! daemon asks, with counters that nobody has touched. The answer has the shape of the daemon's.

use crate::commands::check::unreadable;
use crate::escape;
use crate::failure::Failure;
use crate::rehearse_tables;
use crate::rules;
use portreeve_conf::{Fatal, Host, Reading, Service, SocketType, Sources};
use portreeve_policy::{
    AddressSet, Arrival, Check, CompiledRules, Facts, HostState, Now, Outcome, Proof, ServiceState, TABLES,
    Tables, explain as decide,
};
use portreeve_sys::{clock, limits, socket};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};

/// Explains what the service `wanted` (id or name) of a configuration would say to a client from `address`, at this
/// minute of the local day or now.
pub fn explain(
    host: &dyn Host,
    sources: &Sources,
    wanted: &str,
    address: IpAddr,
    at: Option<u16>,
) -> Result<Value, Failure> {
    let reading = portreeve_conf::read_sources(host, sources);
    let shown = shown(sources);
    match reading.fatal {
        Some(Fatal::Unreadable) => return Err(Failure::new(unreadable(&reading))),
        Some(Fatal::Defaults) => {
            return Err(Failure::with_help(
                format!("nothing of {shown} would be served: a value in `defaults` is bad"),
                format!("`portreeve check -f {}` shows which", escape::os(sources.main().as_os_str())),
            ));
        }
        None => {}
    }
    let service = find(&reading, wanted, &shown)?;
    let facts = Facts { load: limits::load_average(), ..Facts::default() };
    let now = Now { mono: clock::monotonic(), minute: at.unwrap_or_else(minute) };
    let checks = checks(&reading, service, address, &facts, &now);
    Ok(answer(service, address, &checks, &shown))
}

fn shown(sources: &Sources) -> String {
    let main = escape::os(sources.main().as_os_str());
    match sources {
        Sources::Both { inetd, .. } => format!("{main} and {}", escape::os(inetd.as_os_str())),
        Sources::Xinetd(_) | Sources::Inetd(..) => main,
    }
}

fn checks(reading: &Reading, service: &Service, address: IpAddr, facts: &Facts, now: &Now) -> Vec<Check> {
    let compiled = CompiledRules::new(rules::of(service));
    let host = HostState::new(None, AddressSet::build(rules::list(&reading.settings.protect)));
    // A dual-stack listener sees an IPv4 client by its mapped address, and the address rules are read accordingly.
    let bound = at(service, address);
    let peer = match (address, bound.map(|bound| bound.ip())) {
        (IpAddr::V4(v4), Some(IpAddr::V6(_))) => IpAddr::V6(v4.to_ipv6_mapped()),
        _ => address,
    };
    let proof = Proof::of_handshake(service.listen.socket == SocketType::Stream);
    let arrival = Arrival { peer: SocketAddr::new(peer, 0), proof };
    let state = ServiceState::new();
    let mut facts = facts.clone();
    facts.tables = if service.nolibwrap { Tables::Off } else { Tables::NotAsked };
    let mut checks = decide(&compiled, &state, &host, &arrival, &facts, now);
    // The tables are asked only where no other check refuses; so here too.
    if checks.last().is_some_and(|check| check.name == TABLES && check.outcome == Outcome::NeedsNames) {
        let local = match proof {
            Proof::Handshake => bound.and_then(|bound| socket::address_towards(bound, arrival.peer)),
            _ => bound,
        };
        let (tables, detail) = rehearse_tables::ask(&service.wrap_name, arrival.peer, local);
        facts.tables = tables;
        checks = decide(&compiled, &state, &host, &arrival, &facts, now);
        if let Some(check) = checks.last_mut() {
            check.detail = detail;
        }
    }
    checks
}

/// The listener that a client of this address would come to: of its family, or the first of all.
fn at(service: &Service, client: IpAddr) -> Option<SocketAddr> {
    let places = service.listen.endpoints();
    let mut addresses = places.iter().filter_map(|place| place.address());
    let first = addresses.clone().next();
    addresses.find(|address| address.is_ipv4() == client.is_ipv4()).or(first)
}

fn find<'a>(reading: &'a Reading, wanted: &str, file: &str) -> Result<&'a Service, Failure> {
    let services = &reading.services;
    let by_id = services.iter().find(|service| service.id.eq_ignore_ascii_case(wanted));
    let by_name = || services.iter().find(|service| service.name.eq_ignore_ascii_case(wanted));
    by_id.or_else(by_name).ok_or_else(|| {
        let shown = escape::text(wanted);
        match reading.left_out.iter().find(|entry| entry.id == wanted || entry.name == wanted) {
            Some(entry) => Failure::new(format!(
                "{shown} is not served ({}): {}",
                escape::text(&entry.place.to_string()),
                escape::text(&entry.reason)
            )),
            None => {
                let known: Vec<_> = services.iter().map(|service| escape::text(&service.id)).collect();
                Failure::with_help(
                    format!("{file} has no service {shown}"),
                    format!("it has: {}", known.join(" ")),
                )
            }
        }
    })
}

/// The minute of the local day.
pub fn minute() -> u16 {
    clock::load_zone();
    let now = clock::local(clock::wall_seconds());
    u16::from(now.hour) * 60 + u16::from(now.minute)
}

fn answer(service: &Service, address: IpAddr, checks: &[Check], source: &str) -> Value {
    let has = |outcome| checks.iter().any(|check| check.outcome == outcome);
    let verdict = if has(Outcome::Refuse) {
        "refuse"
    } else if has(Outcome::NeedsNames) {
        "needs names"
    } else {
        "admit"
    };
    let checks: Vec<_> = checks
        .iter()
        .map(|check| {
            json!({
                "name": check.name,
                "outcome": word(check.outcome),
                "detail": check.detail,
                "file": check.origin.as_ref().map(|origin| &*origin.file),
                "line": check.origin.as_ref().map(|origin| origin.line),
            })
        })
        .collect();
    json!({ "ok": true, "service": service.id, "address": address.to_string(), "verdict": verdict, "checks": checks,
        "source": source })
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "pass",
        Outcome::Refuse => "refuse",
        Outcome::NotSet => "not set",
        Outcome::NeedsNames => "needs names",
        Outcome::NotReached => "not reached",
    }
}

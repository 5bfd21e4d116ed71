//! A decision from a file, without a daemon: reads the configuration, finds the service, asks the same policy that the
//! daemon asks, with counters that nobody has touched. The answer has the shape of the daemon's.

use crate::commands::check::unreadable;
use crate::escape;
use crate::failure::Failure;
use crate::rehearse_tables;
use crate::rules;
use portreeve_conf::{Action, Fatal, Host, Reading, Service, SocketType, Sources, Step};
use portreeve_policy::{
    AddressSet, Arrival, Check, CompiledRules, Facts, HostState, Now, Outcome, Peer, Proof, ServiceState,
    TABLES, Tables, end_at_refusal, explain as decide, explain_front,
};
use portreeve_sys::{clock, limits, socket};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};

/// What is asked of a configuration.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Id or name of the service.
    pub service: &'a str,
    /// The socket's peer.
    pub peer: Peer,
    /// The client that the peer's PROXY header names.
    pub client: Option<IpAddr>,
    /// A minute of the local day, instead of now.
    pub at: Option<u16>,
}

/// Explains what a service of a configuration would say to a client.
pub fn explain(host: &dyn Host, sources: &Sources, asked: &Asked<'_>) -> Result<Value, Failure> {
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
    let service = find(&reading, asked.service, &shown)?;
    match asked.peer {
        Peer::Inet(_) if service.listen.is_local() => {
            let text = format!("the clients of {} come by a unix socket", escape::text(&service.id));
            return Err(Failure::with_help(text, "ask about a user, as `uid=1000`".to_owned()));
        }
        Peer::Local(_) if !service.listen.is_local() => {
            let text = format!("the clients of {} have addresses", escape::text(&service.id));
            return Err(Failure::with_help(text, "ask about one".to_owned()));
        }
        Peer::Inet(_) | Peer::Local(_) => {}
    }
    let now = Now { mono: clock::monotonic(), minute: asked.at.unwrap_or_else(minute) };
    let mut checks = way(&reading, service, asked, &now);
    end_at_refusal(&mut checks);
    Ok(answer(service, asked, &checks, &shown))
}

fn shown(sources: &Sources) -> String {
    sources.paths().map(|path| escape::os(path.as_os_str())).collect::<Vec<_>>().join(" and ")
}

/// The whole way: through tcpmux where the service is named to it, on the peer where its header is read, on the client, and
/// then what is done with it. As `explain` in the daemon has it.
fn way(reading: &Reading, service: &Service, asked: &Asked<'_>, now: &Now) -> Vec<Check> {
    let steps = |service: &Service| {
        let step = |step: Step| Check::pass(step.name, step.detail, step.place.as_ref().map(rules::origin));
        service.steps().into_iter().map(step).collect::<Vec<_>>()
    };
    if service.mux.is_none() {
        let mut checks = door(reading, service, asked, now, "client");
        let part = checks.last().map_or("", |check| check.part);
        checks.extend(steps(service).into_iter().map(|check| Check { part, ..check }));
        return checks;
    }
    let mux = reading.served().find(|service| service.action == Action::Mux);
    let mut checks = mux.map(|mux| door(reading, mux, asked, now, "tcpmux")).unwrap_or_default();
    let place = Some(rules::origin(&service.place));
    let line = match mux {
        Some(_) => Check::pass("line", format!("the client names {}", service.name), place),
        None => Check::refuse("line", "no service tcpmux is served, so nobody can name it".to_owned(), place),
    };
    checks.push(Check { part: "tcpmux", ..line });
    let client = judged(mux.unwrap_or(service), asked);
    let own = self::checks(reading, service, client, asked.client.is_some(), now);
    checks.extend(own.into_iter().chain(steps(service)).map(|check| Check { part: "service", ..check }));
    checks
}

/// The checks of a service with a socket: those on the peer, where a header is read, and those on the client.
fn door(
    reading: &Reading,
    service: &Service,
    asked: &Asked<'_>,
    now: &Now,
    part: &'static str,
) -> Vec<Check> {
    let mut checks = Vec::new();
    if service.proxy_protocol.is_some_and(|proxy| proxy.accept) {
        let compiled = CompiledRules::new(rules::of(service));
        let host = HostState::new(None, AddressSet::build(rules::list(&reading.settings.protect)));
        let arrival = Arrival { peer: arrives(service, asked.peer), proof: Proof::Handshake };
        let (proxies, load) = (rules::list(&service.proxy_from), limits::load_average());
        checks = explain_front(&compiled, &ServiceState::new(), &host, &arrival, &proxies, load, now);
        let names = match asked.client {
            Some(client) => format!("the PROXY header names {client}"),
            None => "the peer speaks for itself (--client says whom it names)".to_owned(),
        };
        checks.push(Check::pass("header", names, None));
    } else if asked.client.is_some() {
        let why = "the service reads no PROXY header, so nobody can name a client".to_owned();
        checks.push(Check::refuse("header", why, Some(rules::origin(&service.place))));
    }
    checks.iter_mut().for_each(|check| check.part = "peer");
    let part = if checks.is_empty() && part == "client" { "" } else { part };
    let own = self::checks(reading, service, judged(service, asked), asked.client.is_some(), now);
    checks.extend(own.into_iter().map(|check| Check { part, ..check }));
    checks
}

/// Whom the checks of a service with this socket are about. What a header names comes as it is written there.
fn judged(service: &Service, asked: &Asked<'_>) -> Peer {
    asked.client.map_or_else(|| arrives(service, asked.peer), |client| client.to_canonical().into())
}

/// A dual-stack listener sees an IPv4 client by its mapped address, and the address rules are read accordingly.
fn arrives(service: &Service, peer: Peer) -> Peer {
    match (peer, peer.address().and_then(|address| at(service, address.ip()))) {
        (Peer::Inet(SocketAddr::V4(v4)), Some(SocketAddr::V6(_))) => {
            IpAddr::V6(v4.ip().to_ipv6_mapped()).into()
        }
        _ => peer,
    }
}

fn checks(reading: &Reading, service: &Service, client: Peer, named: bool, now: &Now) -> Vec<Check> {
    let compiled = CompiledRules::new(rules::of(service));
    let host = HostState::new(None, AddressSet::build(rules::list(&reading.settings.protect)));
    let bound = client.address().and_then(|address| at(service, address.ip()));
    let proof = match service.listen.socket == SocketType::Stream {
        true if named => Proof::Proxy,
        proven => Proof::of_handshake(proven),
    };
    let arrival = Arrival { peer: client, proof };
    let state = ServiceState::new();
    let tables = if service.nolibwrap { Tables::Off } else { Tables::NotAsked };
    let mut facts = Facts { load: limits::load_average(), tables, ..Facts::default() };
    let mut checks = decide(&compiled, &state, &host, &arrival, &facts, now);
    // The tables are asked only where no other check refuses; so here too.
    if checks.last().is_some_and(|check| check.name == TABLES && check.outcome == Outcome::NeedsNames) {
        let (tables, detail) = match arrival.peer.address() {
            Some(peer) => {
                let local = match proof {
                    Proof::Handshake | Proof::Proxy => {
                        bound.and_then(|bound| socket::address_towards(bound, peer))
                    }
                    Proof::Nothing => bound,
                };
                rehearse_tables::ask(&service.wrap_name, peer, local)
            }
            // With rules in them the service would not be served.
            None => (Tables::Granted, "they hold no rule".to_owned()),
        };
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
    let by_id = reading.served().find(|service| service.id.eq_ignore_ascii_case(wanted));
    let by_name = || reading.served().find(|service| service.name.eq_ignore_ascii_case(wanted));
    by_id.or_else(by_name).ok_or_else(|| {
        let shown = escape::text(wanted);
        match reading.left_out.iter().find(|entry| entry.id == wanted || entry.name == wanted) {
            Some(entry) => Failure::new(format!(
                "{shown} is not served ({}): {}",
                escape::text(&entry.place.to_string()),
                escape::text(&entry.reason)
            )),
            None => {
                let known: Vec<_> = reading.served().map(|service| escape::text(&service.id)).collect();
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

fn answer(service: &Service, asked: &Asked<'_>, checks: &[Check], source: &str) -> Value {
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
                "part": check.part,
                "name": check.name,
                "outcome": word(check.outcome),
                "detail": check.detail,
                "file": check.origin.as_ref().map(|origin| &*origin.file),
                "line": check.origin.as_ref().map(|origin| origin.line),
            })
        })
        .collect();
    json!({ "ok": true, "service": service.id.as_str(), "address": asked.peer.word(), "client": asked.client, "verdict": verdict, "checks": checks,
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

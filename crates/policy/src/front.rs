//! What is decided on the socket's peer alone, before the header in front of the connection is read: whether it may send one,
//! and whether there is room to wait for it. Who the client is, and so its rate, its share and its lists, comes after.

use crate::address::{AddressIndex, Match, Rule};
use crate::arrival::{Arrival, Names, Now};
use crate::checks;
use crate::decide::cause_of;
use crate::explain::{self, Check};
use crate::rate::Pace;
use crate::rules::CompiledRules;
use crate::state::{HostState, ServiceState};
use crate::verdict::{Cause, Refusal, Verdict};
use std::net::SocketAddr;

/// Decides whether the header of this connection is awaited. `trusted`: its peer is one of those that may send one.
///
/// The seat of the admission is held while the header is awaited and must be dropped right before [`decide`](crate::decide) is
/// asked about the client that it names: so silence takes up no more than `instances`. It counts for no source, because the
/// proxy's own address is not one.
pub fn decide_front(
    compiled: &CompiledRules,
    state: &ServiceState,
    host: &HostState,
    arrival: &Arrival,
    trusted: bool,
    load: Option<f64>,
    now: &Now,
) -> Verdict {
    let rules = compiled.rules();
    let refuse = |cause, attribute| Verdict::Refuse(Refusal::new(cause, rules.origin(attribute)));
    if !trusted {
        // Counted as one that a list refuses, whose turn comes after the rate: a flood of strangers shall not cost a line each. A
        // proxy's connection is counted when its client is known.
        let pace = state.write(|counters| {
            counters.rate.admit(rules.cps, rules.overload_closes, Some(arrival.source()), now.mono)
        });
        if let Pace::Refuse(change, excess) = pace {
            let refusal = Refusal::new(cause_of(excess), rules.origin("cps"));
            return Verdict::Refuse(Refusal { change, ..refusal });
        }
        return refuse(Cause::NoProxy, "proxy_from");
    }
    if host.denies(arrival.peer, now.mono) {
        return refuse(Cause::Denied, "");
    }
    if checks::load_too_high(rules, load) {
        return refuse(Cause::Load, "max_load");
    }
    if checks::out_of_hours(rules, now.minute) {
        return refuse(Cause::Time, "access_times");
    }
    if state.read(|counters| checks::instances_taken(rules, &counters.occupancy)) {
        return refuse(Cause::ServiceLimit, "instances");
    }
    if checks::processes_taken(host) {
        return refuse(Cause::ProcessLimit, "process_limit");
    }
    Verdict::Admit(state.occupy(host, None, rules.per_source_prefix))
}

/// Explains what [`decide_front`] would say to this peer now, check by check. `proxies`: who may send a header.
pub fn explain_front(
    compiled: &CompiledRules,
    state: &ServiceState,
    host: &HostState,
    arrival: &Arrival,
    proxies: &[Rule],
    load: Option<f64>,
    now: &Now,
) -> Vec<Check> {
    let rules = compiled.rules();
    let proxy = |from: SocketAddr| AddressIndex::build(proxies).matches(from.ip(), &Names::Unavailable);
    let Some(Match::Yes(at)) = arrival.peer.address().map(proxy) else {
        let place = proxies.first().map(|rule| rule.origin.clone());
        let detail = format!("none of {} rules matches: it may send no PROXY header", proxies.len());
        let mut checks =
            vec![explain::rate(rules, state, arrival, now), Check::refuse("proxy_from", detail, place)];
        explain::end_at_refusal(&mut checks);
        return checks;
    };
    let rule = proxies.get(at);
    let text = rule.map_or("", |rule| rule.text.as_str());
    let place = rule.map(|rule| rule.origin.clone());
    let mut checks = vec![
        Check::pass("proxy_from", format!("{text} matches: it may send a PROXY header"), place),
        explain::denied(host, arrival, now),
        explain::load(rules, load),
        explain::hours(rules, now),
        explain::instances(rules, state),
        explain::process_limit(host),
    ];
    explain::end_at_refusal(&mut checks);
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{AddressSet, Pattern};
    use crate::arrival::{Facts, Peer, Proof};
    use crate::rules::{Origin, Rules};
    use std::time::Duration;

    fn arrival(peer: &str, proof: Proof) -> Arrival {
        Arrival { peer: Peer::Inet(peer.parse().unwrap()), proof }
    }

    #[test]
    fn silence_holds_an_instance_and_a_stranger_none() {
        let rules = CompiledRules::new(Rules { instances: Some(2), per_source: Some(1), ..Rules::default() });
        let (state, mut host) = (ServiceState::new(), HostState::new(None, AddressSet::build(Vec::new())));
        let now = Now { mono: Duration::from_secs(1), minute: 0 };
        let front = |host: &HostState, trusted| {
            decide_front(&rules, &state, host, &arrival("192.0.2.1:1", Proof::Handshake), trusted, None, &now)
        };
        match front(&host, false) {
            Verdict::Refuse(refusal) => assert_eq!(refusal.cause, Cause::NoProxy),
            other => panic!("{other:?}"),
        }
        let Verdict::Admit(first) = front(&host, true) else { panic!("there is room") };
        let Verdict::Admit(_second) = front(&host, true) else { panic!("the proxy's address is no source") };
        assert!(matches!(front(&host, true), Verdict::Refuse(Refusal { cause: Cause::ServiceLimit, .. })));
        drop(first);
        let client = arrival("198.51.100.7:5", Proof::Proxy);
        let verdict = crate::decide(&rules, &state, &mut host, &client, &Facts::default(), &now, false);
        assert!(matches!(verdict, Verdict::Admit(_)), "{verdict:?}");
        assert_eq!(state.running(), 2, "the second awaits, the client has a seat of its own");
    }

    /// What is explained is what is decided, and by which line.
    #[test]
    fn the_explanation_agrees() {
        use crate::explain::Outcome;
        let origin = |line| Origin { file: "f".into(), line };
        let proxies = [Rule {
            text: "192.0.2.0/24".to_owned(),
            origin: origin(7),
            pattern: Pattern::V4(0xc000_0200, 24),
        }];
        let closed = Rules { windows: Some(vec![(1, 1)]), ..Rules::default() };
        let full = Rules { instances: Some(1), origins: vec![("instances", origin(9))], ..Rules::default() };
        let loaded = Rules { max_load: Some(1.0), ..Rules::default() };
        let slow = Rules { cps: (1, 10), ..Rules::default() };
        let now = Now { mono: Duration::from_secs(1), minute: 700 };
        for rules in [Rules::default(), closed, full, loaded, slow] {
            let rules = CompiledRules::new(rules);
            let (state, host) = (ServiceState::new(), HostState::new(None, AddressSet::build(Vec::new())));
            for peer in ["192.0.2.1:1", "192.0.2.1:1", "198.51.100.7:5", "198.51.100.7:5", "198.51.100.7:5"] {
                let arrival = arrival(peer, Proof::Handshake);
                let checks = explain_front(&rules, &state, &host, &arrival, &proxies, Some(2.0), &now);
                let refused = checks.iter().find(|check| check.outcome == Outcome::Refuse);
                let trusted = peer.starts_with("192");
                match decide_front(&rules, &state, &host, &arrival, trusted, Some(2.0), &now) {
                    Verdict::Admit(seat) => {
                        assert_eq!(refused, None);
                        assert_eq!(checks[0].origin, Some(origin(7)));
                        std::mem::forget(seat);
                    }
                    Verdict::Refuse(refusal) => {
                        let refused = refused.expect("a check refuses");
                        match refusal.cause {
                            Cause::NoProxy => assert_eq!(refused.name, "proxy_from"),
                            _ => assert_eq!(refused.origin, refusal.rule, "{refused:?}"),
                        }
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    #[test]
    fn strangers_are_counted_by_the_rate_and_proxies_are_not() {
        let rules = CompiledRules::new(Rules { cps: (2, 10), ..Rules::default() });
        let (state, host) = (ServiceState::new(), HostState::new(None, AddressSet::build(Vec::new())));
        let now = Now { mono: Duration::from_secs(1), minute: 0 };
        let front = |peer: &str, trusted| {
            decide_front(&rules, &state, &host, &arrival(peer, Proof::Handshake), trusted, None, &now)
        };
        for _ in 0..20 {
            assert!(matches!(front("192.0.2.1:1", true), Verdict::Admit(_)), "of a proxy");
        }
        let cause = |verdict| match verdict {
            Verdict::Refuse(refusal) => refusal.cause,
            other => panic!("{other:?}"),
        };
        let causes: Vec<Cause> = (0..20).map(|_| cause(front("198.51.100.7:5", false))).collect();
        assert_eq!(causes.iter().filter(|cause| **cause == Cause::NoProxy).count(), 2);
        assert_eq!(causes.last(), Some(&Cause::SourceRate));
        assert_eq!(cause(front("198.51.100.8:5", false)), Cause::NoProxy, "another is within its share");
    }
}

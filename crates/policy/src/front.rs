//! What is decided on the socket's peer alone, before the header in front of the connection is read: whether it may send one,
//! and whether there is room to wait for it. Who the client is, and so its rate, its share and its lists, comes after.

use crate::arrival::{Arrival, Now};
use crate::checks;
use crate::decide::cause_of;
use crate::rate::Pace;
use crate::rules::CompiledRules;
use crate::state::{HostState, ServiceState};
use crate::verdict::{Cause, Refusal, Verdict};

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
    if host.denies(arrival.peer.ip(), now.mono) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::AddressSet;
    use crate::arrival::{Facts, Proof};
    use crate::rules::Rules;
    use std::time::Duration;

    fn arrival(peer: &str, proof: Proof) -> Arrival {
        Arrival { peer: peer.parse().unwrap(), proof }
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

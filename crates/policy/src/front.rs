//! What is decided on the socket's peer alone, before the header in front of the connection is read: whether it may send one,
//! and whether there is room to wait for it. Who the client is, and so its rate, its share and its lists, comes after.

use crate::arrival::{Arrival, Now};
use crate::checks;
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
    use crate::arrival::Facts;
    use crate::rules::Rules;
    use std::time::Duration;

    fn arrival(peer: &str, proven: bool) -> Arrival {
        Arrival { peer: peer.parse().unwrap(), proven }
    }

    #[test]
    fn silence_holds_an_instance_and_a_stranger_none() {
        let rules = CompiledRules::new(Rules { instances: Some(2), per_source: Some(1), ..Rules::default() });
        let (state, mut host) = (ServiceState::new(), HostState::new(None, AddressSet::build(Vec::new())));
        let now = Now { mono: Duration::from_secs(1), minute: 0 };
        let front = |host: &HostState, trusted| {
            decide_front(&rules, &state, host, &arrival("192.0.2.1:1", true), trusted, None, &now)
        };
        match front(&host, false) {
            Verdict::Refuse(refusal) => assert_eq!(refusal.cause, Cause::NoProxy),
            other => panic!("{other:?}"),
        }
        let Verdict::Admit(first) = front(&host, true) else { panic!("there is room") };
        let Verdict::Admit(_second) = front(&host, true) else { panic!("the proxy's address is no source") };
        assert!(matches!(front(&host, true), Verdict::Refuse(Refusal { cause: Cause::ServiceLimit, .. })));
        drop(first);
        let client = arrival("198.51.100.7:5", false);
        let verdict = crate::decide(&rules, &state, &mut host, &client, &Facts::default(), &now, false);
        assert!(matches!(verdict, Verdict::Admit(_)), "{verdict:?}");
        assert_eq!(state.running(), 2, "the second awaits, the client has a seat of its own");
    }
}

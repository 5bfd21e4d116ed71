//! Processes of this host, which come over unix sockets and have no address: what counts them, and what is not about them.

#![allow(clippy::unwrap_used)] // the models and helpers of tests may, too

mod world;

use portreeve_policy::*;
use world::*;

fn process(uid: u32, pid: i32) -> Arrival {
    Arrival { peer: Peer::Local(Credentials { pid, uid, gid: 7 }), proof: Proof::Handshake }
}

fn verdict(rules: &Rules, state: &ServiceState, host: &mut HostState, arrival: &Arrival) -> Verdict {
    decide(&CompiledRules::new(rules.clone()), state, host, arrival, &Facts::default(), &at(0), false)
}

fn nobody_protected() -> HostState {
    HostState::new(None, AddressSet::build(Vec::new()))
}

#[test]
fn one_source_is_one_user() {
    let rules = Rules { per_source: Some(1), ..unlimited() };
    let (state, mut host) = (ServiceState::new(), nobody_protected());
    let Verdict::Admit(seat) = verdict(&rules, &state, &mut host, &process(1000, 1)) else { panic!() };
    let second = verdict(&rules, &state, &mut host, &process(1000, 2));
    assert!(matches!(second, Verdict::Refuse(Refusal { cause: Cause::PerSourceLimit, .. })), "{second:?}");
    // 1000 and 1001 are one IPv4 network of any usual size, and two users.
    assert!(matches!(verdict(&rules, &state, &mut host, &process(1001, 3)), Verdict::Admit(_)));
    drop(seat);
    assert!(matches!(verdict(&rules, &state, &mut host, &process(1000, 4)), Verdict::Admit(_)));
}

#[test]
fn no_list_of_addresses_lets_a_process_in() {
    for words in ["", "0.0.0.0/0 ::/0", "localhost .example.org", "0.0.3.232"] {
        let rules = Rules { only_from: Some(list(words, 1)), ..unlimited() };
        let verdict = verdict(&rules, &ServiceState::new(), &mut nobody_protected(), &process(1000, 1));
        let cause = match verdict {
            Verdict::Refuse(refusal) => refusal.cause,
            other => panic!("{words}: {other:?}"),
        };
        assert_eq!(cause, Cause::NotInOnlyFrom, "{words}");
    }
}

#[test]
fn a_denied_address_is_no_user() {
    let mut host = nobody_protected();
    let sensor = Rules { sensor: Some(Denial::Forever), ..unlimited() };
    let address = stream("0.0.3.232");
    let hit = verdict(&sensor, &ServiceState::new(), &mut host, &address);
    assert!(
        matches!(hit, Verdict::Refuse(Refusal { sensor: Some(SensorHit::Denied { .. }), .. })),
        "{hit:?}"
    );
    assert!(host.denies(address.peer, at(0).mono));
    let other = verdict(&unlimited(), &ServiceState::new(), &mut host, &process(1000, 1));
    assert!(matches!(other, Verdict::Admit(_)), "{other:?}");
    // And a process that touches a sensor is no address that could be denied.
    let hit = verdict(&sensor, &ServiceState::new(), &mut host, &process(1000, 1));
    assert!(matches!(hit, Verdict::Refuse(Refusal { sensor: Some(SensorHit::Forgeable), .. })), "{hit:?}");
    assert_eq!(host.denied.len(), 1);
}

#[test]
fn a_log_line_holds_no_address() {
    assert_eq!(process(1000, 42).peer.to_string(), "<no address> peer_pid=42 peer_uid=1000 peer_gid=7");
    assert_eq!(stream("192.0.2.1").peer.to_string(), "192.0.2.1");
}

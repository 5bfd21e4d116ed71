//! `explain` says what `decide` does, in order, and changes nothing.

#![allow(clippy::unwrap_used)] // the models and helpers of tests may, too

mod world;

use portreeve_policy::*;
use proptest::prelude::*;
use std::time::Duration;
use world::*;

const NAMES: [&str; 13] = [
    "cps",
    "max_load",
    "access_times",
    "instances",
    "per_source",
    "source_starts_per_minute",
    "starts_per_minute",
    "process_limit",
    "denied",
    "sensor",
    "no_access",
    "only_from",
    "hosts_access",
];

fn lines(checks: &[Check]) -> Vec<String> {
    let line = |check: &Check| {
        let at = check
            .origin
            .as_ref()
            .map_or(String::new(), |origin| format!(" [{}:{}]", origin.file, origin.line));
        format!("{} {:?} {}{at}", check.name, check.outcome, check.detail)
    };
    checks.iter().map(line).collect()
}

#[test]
fn an_admitted_client() {
    let mut world = World::new(Rules {
        max_load: Some(4.0),
        windows: Some(vec![(480, 1020)]),
        instances: Some(5),
        per_source: Some(2),
        only_from: Some(list("192.0.2.0/24 .example.org", 7)),
        no_access: Some(list("192.0.2.9", 9)),
        origins: vec![("instances", origin(3)), ("per_source", origin(4))],
        ..Rules::default()
    });
    world.facts.load = Some(0.25);
    world.host.process_limit = Some(100);
    let _seat = seat(world.ask(stream("192.0.2.1"), at(0)));
    assert_eq!(
        lines(&world.explain(stream("192.0.2.1"), at(0))),
        [
            "cps Pass 50 connections per second, 10 seconds of wait; the service is open",
            "max_load Pass the load is 0.25, the limit 4",
            "access_times Pass it is 12:00",
            "instances Pass 1 of 5 running [/etc/xinetd.d/s1:3]",
            "per_source Pass 1 of 2 running for 192.0.2.1/32 [/etc/xinetd.d/s1:4]",
            "source_starts_per_minute NotSet ",
            "starts_per_minute NotSet ",
            "process_limit Pass 1 of 100 running on this host",
            "denied NotSet ",
            "sensor NotSet ",
            "no_access Pass none of 1 rules matches",
            "only_from Pass 192.0.2.0/24 matches [/etc/xinetd.d/s1:7]",
            "hosts_access NotSet ",
        ]
    );
}

#[test]
fn a_refusal_ends_the_explanation_at_the_line_that_decides() {
    let world = World::new(Rules {
        windows: Some(vec![(800, 900)]),
        instances: Some(5),
        origins: vec![("access_times", origin(12))],
        ..unlimited()
    });
    assert_eq!(
        lines(&world.explain(stream("192.0.2.1"), at(0)))[..4],
        [
            "cps NotSet ",
            "max_load NotSet ",
            "access_times Refuse it is 12:00, open again at 13:20 [/etc/xinetd.d/s1:12]",
            "instances NotReached "
        ]
    );
}

#[test]
fn both_lists() {
    let world = World::new(Rules {
        only_from: Some(list("192.0.2.0/24", 7)),
        no_access: Some(list("198.51.100.1 192.0.2.1", 8)),
        ..unlimited()
    });
    assert_eq!(
        lines(&world.explain(stream("192.0.2.1"), at(0)))[10..],
        [
            "no_access Refuse 192.0.2.1 matches; only_from matches too, and no_access wins [/etc/xinetd.d/s1:9]",
            "only_from NotReached ",
            "hosts_access NotReached ",
        ]
    );
}

#[test]
fn an_overload_and_a_denial() {
    let mut world = World::new(Rules { cps: (2, 10), origins: vec![("cps", origin(5))], ..Rules::default() });
    for _ in 0..3 {
        let _ = world.ask(stream("203.0.113.1"), at(0));
    }
    assert_eq!(
        lines(&world.explain(stream("203.0.113.1"), at(0)))[0],
        "cps Refuse 2 connections per second, 10 seconds of wait; the service is throttled, the share of one source \
         is 2 per second; the source is above its share of the connections per second [/etc/xinetd.d/s1:5]"
    );
    let denied = |world: &World, peer: &str, now| lines(&world.explain(stream(peer), now))[8].clone();
    world.host.denied.deny(ip("192.0.2.1"), Ban::by_hand(Some(at(1500).mono), "")).unwrap();
    world.host.denied.deny(ip("192.0.2.2"), Ban::by_hand(None, "")).unwrap();
    assert_eq!(denied(&world, "::ffff:192.0.2.1", at(0)), "denied Refuse denied for another 2 seconds");
    assert_eq!(denied(&world, "192.0.2.1", at(1500)), "denied Pass not among the 2 denied sources");
    assert_eq!(denied(&world, "192.0.2.2", at(0)), "denied Refuse denied until cleared");
    world.host.protect = AddressSet::build(list("192.0.2.2", 1));
    assert_eq!(denied(&world, "192.0.2.2", at(0)), "denied Pass denied, but protected");
}

#[test]
fn a_sensor() {
    for (denial, arrival, expected) in [
        (Denial::For(Duration::from_secs(60)), stream("192.0.2.1"), "the source is denied for 1 minute"),
        (Denial::For(Duration::from_secs(600)), stream("192.0.2.1"), "the source is denied for 10 minutes"),
        (Denial::Forever, stream("192.0.2.1"), "the source is denied until cleared"),
        (Denial::Forever, stream("::1"), "the source is protected: the hit is logged only"),
        (Denial::Forever, datagram("192.0.2.1"), "the address may be forged: the hit is logged only"),
        (Denial::Never, stream("192.0.2.1"), "the hit is logged only"),
    ] {
        let mut world = World::new(Rules { sensor: Some(denial), ..unlimited() });
        world.host.protect = AddressSet::build(list("::1", 1));
        let checks = lines(&world.explain(arrival, at(0)));
        assert_eq!(checks[9], format!("sensor Refuse the service is a sensor; {expected}"));
        assert!(world.host.denied.is_empty(), "explaining trips nothing");
    }
}

fn any_list() -> impl Strategy<Value = Option<Vec<Rule>>> {
    let word = prop_oneof![
        4 => Just("192.0.2.1"),
        4 => Just("192.0.2.0/30"),
        2 => Just("2001:db8::/64"),
        1 => Just("::/0"),
        2 => Just(".example.org"),
        1 => Just("a.example.org"),
    ];
    proptest::option::of(proptest::collection::vec(word, 0..3).prop_map(|words| list(&words.join(" "), 1)))
}

prop_compose! {
    fn any_service()(
        cps in prop_oneof![Just((0, 0)), (1u32..5, 0u32..4)],
        overload_closes in any::<bool>(),
        max_load in proptest::option::weighted(0.2, Just(1.0)),
        windows in proptest::option::weighted(0.2, Just(vec![(720, 721)])),
        instances in proptest::option::weighted(0.4, 0u32..4),
        per_source in proptest::option::weighted(0.4, 0u32..3),
        starts_per_minute in proptest::option::weighted(0.2, 1u32..5),
        source_starts_per_minute in proptest::option::weighted(0.2, 1u32..4),
        v4 in prop_oneof![Just(32u8), Just(24), Just(31)],
        sensor in proptest::option::weighted(0.1, prop_oneof![
            Just(Denial::Never), Just(Denial::Forever), Just(Denial::For(Duration::from_secs(2)))
        ]),
        only_from in any_list(),
        no_access in any_list(),
    ) -> Rules {
        let per_source_prefix = (v4, 64);
        Rules {
            cps, overload_closes, max_load, windows, instances, per_source, per_source_prefix, starts_per_minute,
            source_starts_per_minute, sensor, only_from, no_access, origins: Vec::new(),
        }
    }
}

#[derive(Clone, Debug)]
struct Ask {
    peer: &'static str,
    proven: bool,
    gap: u64,
    minute: u16,
    load: Option<f64>,
    names: Names,
    tables: Tables,
    keeps: bool,
    frees: bool,
    service: usize,
}

prop_compose! {
    fn any_ask()(
        peer in prop_oneof![
            Just("192.0.2.1"), Just("::ffff:192.0.2.1"), Just("192.0.2.2"), Just("192.0.2.9"), Just("2001:db8::1"),
            Just("2001:db8::2"), Just("::1"),
        ],
        proven in proptest::bool::weighted(0.8),
        gap in prop_oneof![3 => Just(0u64), 2 => 0u64..1500, 1 => 1500u64..9000],
        minute in 719u16..723,
        load in prop_oneof![Just(None), Just(Some(0.5)), Just(Some(1.5))],
        names in prop_oneof![
            Just(Names::NotAsked), Just(Names::Unavailable), Just(Names::Known(Vec::new())),
            Just(known(&["a.example.org"])), Just(known(&["b.example.org", "x.example.net"])),
        ],
        tables in prop_oneof![
            3 => Just(Tables::Off), 1 => Just(Tables::NotAsked), 1 => Just(Tables::Granted),
            1 => Just(Tables::Refused(Cause::HostsTables, None)),
        ],
        keeps in any::<bool>(),
        frees in proptest::bool::weighted(0.3),
        service in 0usize..3,
    ) -> Ask {
        Ask { peer, proven, gap, minute, load, names, tables, keeps, frees, service }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn explain_agrees_with_decide(
        services in proptest::collection::vec(any_service(), 3),
        process_limit in proptest::option::weighted(0.3, 0u32..5),
        asks in proptest::collection::vec(any_ask(), 1..40),
    ) {
        let mut host = HostState::new(process_limit, AddressSet::build(list("192.0.2.9", 1)));
        let services: Vec<_> =
            services.into_iter().map(|rules| (CompiledRules::new(rules), ServiceState::new())).collect();
        let mut seats = Vec::new();
        let mut ms = 0;
        for ask in asks {
            ms += ask.gap;
            let (rules, state) = &services[ask.service];
            let now = Now { minute: ask.minute, ..at(ms) };
            let arrival = Arrival { proof: Proof::of_handshake(ask.proven), ..stream(ask.peer) };
            let facts = Facts { names: ask.names.clone(), load: ask.load, tables: ask.tables.clone() };
            if ask.frees {
                seats.pop();
            }
            let before = (state.running(), state.rate_view(&now), state.deadline(), host.denied.len());
            let checks = explain(rules, state, &host, &arrival, &facts, &now);
            prop_assert_eq!(before, (state.running(), state.rate_view(&now), state.deadline(), host.denied.len()));
            prop_assert_eq!(&explain(rules, state, &host, &arrival, &facts, &now), &checks);
            prop_assert_eq!(checks.iter().map(|check| check.name).collect::<Vec<_>>(), NAMES.to_vec());

            let refusing = checks.iter().find(|check| check.outcome == Outcome::Refuse);
            let asking = checks.iter().any(|check| check.outcome == Outcome::NeedsNames);
            let verdict = decide(rules, state, &mut host, &arrival, &facts, &now, false);
            match verdict {
                Verdict::Admit(seat) => {
                    prop_assert!(refusing.is_none() && !asking, "{:?}", checks);
                    if ask.keeps {
                        seats.push(seat);
                    }
                }
                Verdict::NeedNames | Verdict::NeedTables => {
                    prop_assert!(refusing.is_none() && asking, "{:?}", checks);
                }
                Verdict::Refuse(refusal) => {
                    let Some(refusing) = refusing else { return Err(TestCaseError::fail(format!("{refusal:?}"))) };
                    let name = match refusal.cause {
                        Cause::ServiceRate | Cause::SourceRate => "cps",
                        Cause::ServiceMinute | Cause::SourceShare => "starts_per_minute",
                        Cause::SourceMinute => "source_starts_per_minute",
                        Cause::Load => "max_load",
                        Cause::Time => "access_times",
                        Cause::ServiceLimit => "instances",
                        Cause::PerSourceLimit => "per_source",
                        Cause::ProcessLimit => "process_limit",
                        Cause::Denied => "denied",
                        Cause::Sensor => "sensor",
                        Cause::NoAccess | Cause::BothLists => "no_access",
                        Cause::NotInOnlyFrom => "only_from",
                        Cause::NamesUnavailable => refusing.name,
                        Cause::HostsTables | Cause::HostsUnavailable => "hosts_access",
                        // Decided before, on the proxy, or afterwards, on the program: `decide` never says it.
                        Cause::NoProxy | Cause::NoHeader | Cause::Program => "",
                    };
                    prop_assert_eq!(refusing.name, name, "{:?}", checks);
                    prop_assert_eq!(&refusing.origin, &refusal.rule);
                    let after = checks.iter().skip_while(|check| check.outcome != Outcome::Refuse).skip(1);
                    prop_assert!(after.into_iter().all(|check| check.outcome == Outcome::NotReached));
                }
            }
        }
    }
}

//! Bans of networks that overlap, each with its own end, against a plain list of them.

#![allow(clippy::unwrap_used)] // the models and helpers of tests may, too

use portreeve_policy::{Ban, Denied, Prefix, later};
use proptest::prelude::*;
use std::net::IpAddr;
use std::time::Duration;

/// Few networks, so that they meet: lengths 8 to 32 around four IPv4 addresses, and the same, mapped, and IPv6.
fn network() -> impl Strategy<Value = Prefix> {
    (address(), prop_oneof![Just(0u8), Just(1), Just(8), Just(16), Just(24)]).prop_map(|(address, less)| {
        let most = if address.is_ipv4() { 32 } else { 128 };
        Prefix::around(address, most - less)
    })
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop::sample::select(vec![
        "10.1.2.3",
        "10.1.2.4",
        "10.1.9.1",
        "10.200.0.1",
        "::ffff:10.1.2.3",
        "2001:db8::1",
        "2001:db8::1:1",
    ])
    .prop_map(|text| text.parse().unwrap())
}

#[derive(Clone, Debug)]
enum Step {
    Ban(Prefix, Option<u16>),
    Remove(Prefix),
    Expire,
    Wait(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (network(), proptest::option::of(0u16..3000)).prop_map(|(network, ms)| Step::Ban(network, ms)),
        2 => network().prop_map(Step::Remove),
        1 => Just(Step::Expire),
        3 => (0u16..1500).prop_map(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn an_address_is_denied_while_a_network_that_holds_it_is(
        steps in proptest::collection::vec(step(), 1..60),
        asked in proptest::collection::vec(address(), 1..4),
    ) {
        let mut list = Denied::default();
        let mut model: Vec<(Prefix, Option<Duration>)> = Vec::new();
        let mut now = Duration::ZERO;
        for step in steps {
            match step {
                Step::Ban(network, after) => {
                    let until = after.map(|ms| now + Duration::from_millis(ms.into()));
                    prop_assert_eq!(list.deny(network, Ban::by_hand(until, "")), Ok(()));
                    model.retain(|entry| entry.0 != network);
                    model.push((network, until));
                }
                Step::Remove(network) => {
                    let there = model.iter().any(|entry| entry.0 == network);
                    prop_assert_eq!(list.remove(network), there);
                    model.retain(|entry| entry.0 != network);
                }
                Step::Expire => {
                    let mut gone = list.expire(now);
                    gone.sort();
                    let ended = |entry: &(Prefix, Option<Duration>)| entry.1.is_some_and(|end| end <= now);
                    let mut wanted: Vec<Prefix> =
                        model.iter().filter(|entry| ended(entry)).map(|entry| entry.0).collect();
                    wanted.sort();
                    prop_assert_eq!(gone, wanted);
                    model.retain(|entry| !ended(entry));
                }
                Step::Wait(ms) => now += Duration::from_millis(ms.into()),
            }
            for ip in &asked {
                let holding = || model.iter().filter(|entry| entry.0.contains(*ip));
                let denied = holding().any(|entry| entry.1.is_none_or(|end| now < end));
                prop_assert_eq!(list.contains(*ip, now), denied, "{} at {:?}", ip, now);
                prop_assert_eq!(list.until(*ip), holding().map(|entry| entry.1).reduce(later));
                let around = Prefix::around(*ip, if ip.to_canonical().is_ipv4() { 16 } else { 112 });
                let mut inside: Vec<Prefix> =
                    model.iter().map(|entry| entry.0).filter(|network| around.covers(network)).collect();
                inside.sort();
                prop_assert_eq!(list.inside(around).map(|(network, _)| network).collect::<Vec<_>>(), inside);
            }
            prop_assert_eq!(list.len(), model.len());
            prop_assert_eq!(list.next_expiry(), model.iter().filter_map(|entry| entry.1).min());
            let mut walked = Vec::new();
            while let Some((network, _)) = list.after(walked.last().copied()).next() {
                walked.push(network);
            }
            prop_assert_eq!(walked.len(), model.len());
        }
    }
}

//! What a decision costs in instructions; for benches/instructions, which counts what happens in `measured`.
//!
//!   count_decisions admit|refuse|banned    4096 decisions about as many sources
//!
//! Everything else is set-up and not counted. Exits with 1 when a verdict is not the one that the case is about.

use portreeve_policy::{
    Arrival, Ban, CompiledRules, Facts, HostState, Now, Origin, Pattern, Proof, Rule, Rules, ServiceState,
    Verdict, decide,
};
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

const TIMES: u32 = 4096;

/// Sources in 10.0.0.0/8, far apart.
fn source(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0A00_0000 | number.wrapping_mul(2_654_435_761) >> 8)
}

/// A service with a limit of each kind, and lists of ten nets.
fn rules(first: u8) -> Rules {
    let net = |number: u8| {
        let address = u32::from_be_bytes([first.wrapping_add(number), 0, 0, 0]);
        let origin = Origin { file: "/etc/xinetd.d/counted".into(), line: u32::from(number) };
        Rule {
            text: format!("{}.0.0.0/8", first.wrapping_add(number)),
            origin,
            pattern: Pattern::V4(address, 8),
        }
    };
    Rules {
        cps: (100_000, 10),
        windows: Some(vec![(480, 1080)]),
        instances: Some(10_000),
        per_source: Some(10),
        only_from: Some((0..10).map(net).collect()),
        no_access: Some((100..110).map(net).collect()),
        ..Rules::default()
    }
}

#[inline(never)]
fn measured(rules: &CompiledRules, state: &ServiceState, host: &mut HostState) -> u32 {
    let mut admitted = 0;
    for number in 0..TIMES {
        let peer = SocketAddr::new(source(number).into(), 40_000).into();
        let arrival = Arrival { peer, proof: Proof::Handshake };
        let now = Now { mono: Duration::from_millis(1_000_000 + u64::from(number)), minute: 720 };
        let verdict = decide(rules, state, host, &arrival, &Facts::default(), &now, false);
        admitted += u32::from(matches!(black_box(verdict), Verdict::Admit(_)));
    }
    admitted
}

fn main() -> ExitCode {
    let case = std::env::args().nth(1).unwrap_or_default();
    let mut host = HostState::default();
    let (first, expected) = match case.as_str() {
        "admit" => (5, TIMES),
        "refuse" => (50, 0),
        "banned" => {
            for number in 0..100_000 {
                if host.denied.deny(IpAddr::from(source(number)), Ban::by_hand(None, "")).is_err() {
                    return ExitCode::from(2);
                }
            }
            (5, 0)
        }
        _ => return ExitCode::from(2),
    };
    let (rules, state) = (CompiledRules::new(rules(first)), ServiceState::new());
    let admitted = measured(&rules, &state, &mut host);
    ExitCode::from(u8::from(admitted != expected))
}

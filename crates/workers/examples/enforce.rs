//! For scripts/bench: the kernel's part of bans alone, without a daemon. `enforce hold COUNT ADDRESS` bans so many networks and the
//! address in one transaction, says how long that, the next ones, and a comparison with the kernel and its longest step took, and holds them
//! until its input ends.

use portreeve_policy::Prefix;
use portreeve_workers::Enforcer;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

fn main() -> std::io::Result<()> {
    let words: Vec<String> = std::env::args().collect();
    let count: u32 = words.get(2).and_then(|word| word.parse().ok()).unwrap_or(0);
    let address: Option<Prefix> = words.get(3).and_then(|word| word.parse().ok());
    let now = portreeve_sys::clock::monotonic();
    let end = Some(now + Duration::from_secs(3600));
    let many = (0..count).map(|n| (Prefix::host(((100 << 24) + n * 3).to_be_bytes().into()), end));
    let bans: Vec<_> = many.chain(address.map(|address| (address, None))).collect();
    let begun = Instant::now();
    let mut enforcer =
        Enforcer::begin((portreeve_sys::netlink::asking()?, portreeve_sys::netlink::asking()?), bans, now)?;
    let load = begun.elapsed();
    let mut one = Vec::new();
    for n in 0..1000u32 {
        let ban = (Prefix::host(((10 << 24) + n).to_be_bytes().into()), end);
        let begun = Instant::now();
        enforcer.ban(&[ban], now)?;
        one.push(begun.elapsed());
    }
    one.sort_unstable();
    let (begun, mut longest) = (Instant::now(), Duration::ZERO);
    enforcer.begin_to_compare();
    while enforcer.compares() {
        let step = Instant::now();
        enforcer.compare_on(portreeve_sys::clock::monotonic())?;
        longest = longest.max(step.elapsed());
    }
    let look = begun.elapsed();
    let ms = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1000.0);
    writeln!(
        std::io::stdout(),
        "{{\"load_ms\": {:.1}, \"add_p50\": {:.3}, \"add_p99\": {:.3}, \"look_ms\": {:.1}, \"look_step\": {:.3}}}",
        ms(Some(&load)),
        ms(one.get(500)),
        ms(one.get(990)),
        ms(Some(&look)),
        ms(Some(&longest))
    )?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

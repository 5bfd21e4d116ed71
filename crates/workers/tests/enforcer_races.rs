//! Bans that come, go and end while the kernel is compared with the list, step by step, and while others change it: against a plain map,
//! with nft(8) as the witness. The test runs itself again in a network namespace of its own.

#[path = "../../../compliance/src/skip.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with tests that need more of it")]
mod skip;

use portreeve_policy::Prefix;
use portreeve_workers::{Enforcer, Found, Scope};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::time::Duration;

const INSIDE: &str = "PORTREEVE_TEST_INSIDE";
const NAME: &str = "what_comes_meanwhile_is_neither_undone_nor_missed";
/// So many that the kernel tells of them in several portions.
const MANY: u32 = 1600;
/// Of these something happens.
const FEW: u32 = 40;

#[derive(Clone, Debug)]
enum Act {
    Ban(u32, bool),
    Pardon(u32),
    /// Many at once, from this one on.
    BanMany(u32),
    PardonMany(u32),
    /// Time goes on a little, and ends are forgotten.
    Expire,
    Step(u8),
}

/// What somebody else does to a table that is everybody's.
#[derive(Clone, Copy, Debug)]
enum Foreign {
    Delete(u32),
    Add(u32),
    Flush,
}

fn host(n: u32) -> Prefix {
    Prefix::host(address(n).into())
}

/// In the midst of the many, and beside them.
fn address(n: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0a00_0000 + n * (MANY + 1000) / FEW)
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..FEW, any::<bool>()).prop_map(|(n, ends)| Act::Ban(n, ends)),
        4 => (0..FEW).prop_map(Act::Pardon),
        1 => (0..MANY).prop_map(Act::BanMany),
        1 => (0..MANY).prop_map(Act::PardonMany),
        1 => Just(Act::Expire),
        6 => (1u8..6).prop_map(Act::Step),
    ]
}

fn foreign() -> impl Strategy<Value = Foreign> {
    prop_oneof![
        8 => (0..FEW).prop_map(Foreign::Delete),
        8 => (0..FEW).prop_map(Foreign::Add),
        1 => Just(Foreign::Flush),
    ]
}

fn nft(script: &str) -> String {
    use std::io::Write;
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("nft starts");
    child.stdin.take().expect("its input").write_all(script.as_bytes()).expect("it reads");
    let ended = child.wait_with_output().expect("it ends");
    String::from_utf8_lossy(&ended.stdout).into_owned()
}

/// What of it cannot be done, because it is so already, is left.
fn disturb(acts: &[Foreign]) {
    for act in acts {
        match act {
            Foreign::Delete(n) => nft(&format!("delete element inet portreeve v4_32 {{ {} }}", address(*n))),
            Foreign::Add(n) => nft(&format!("add element inet portreeve v4_32 {{ {} }}", address(*n))),
            Foreign::Flush => nft("flush set inet portreeve v4_32"),
        };
    }
}

/// The kernel's set: each address, and whether it has an end.
fn kernel() -> BTreeMap<Prefix, bool> {
    let text = nft("list set inet portreeve v4_32\n");
    let Some((_, list)) = text.split_once("elements = {") else { return BTreeMap::new() };
    let list = list.split('}').next().unwrap_or_default();
    let element = |one: &str| {
        let mut words = one.split_whitespace();
        let address: Ipv4Addr = words.next().expect("an address").parse().expect("an address");
        (Prefix::host(address.into()), words.next() == Some("timeout"))
    };
    list.split(',').map(element).collect()
}

fn now() -> Duration {
    portreeve_sys::clock::monotonic()
}

struct Race {
    enforcer: Enforcer,
    /// What was found, and whether all that is wanted was looked for.
    found: Option<Found>,
    halves: u8,
    model: BTreeMap<Prefix, bool>,
}

impl Race {
    fn begin() -> Race {
        let many = (0..MANY).map(|n| Prefix::host(Ipv4Addr::from_bits(0x0a00_0000 + n).into()));
        let model: BTreeMap<Prefix, bool> = many.map(|prefix| (prefix, true)).collect();
        let end = now() + Duration::from_secs(3600);
        let sockets = (
            portreeve_sys::netlink::asking().expect("a socket"),
            portreeve_sys::netlink::asking().expect("a socket"),
        );
        let bans = model.keys().map(|prefix| (*prefix, Some(end)));
        Race {
            enforcer: Enforcer::begin_open(sockets, bans, now()).expect("a table"),
            found: None,
            halves: 0,
            model,
        }
    }

    fn ban(&mut self, networks: impl Iterator<Item = Prefix>, ends: bool) {
        let until = ends.then(|| now() + Duration::from_secs(3600));
        let bans: Vec<_> = networks.map(|network| (network, until)).collect();
        self.enforcer.ban(&bans, now()).expect("it takes them");
        self.model.extend(bans.iter().map(|(network, _)| (*network, ends)));
    }

    fn pardon(&mut self, networks: impl Iterator<Item = Prefix>) {
        let gone: Vec<Prefix> = networks.collect();
        self.enforcer.pardon(&gone, now()).expect("it lets them in");
        self.model.retain(|network, _| !gone.contains(network));
    }

    fn act(&mut self, act: &Act) {
        let many =
            |from: u32| (from..from + 300).map(|n| Prefix::host(Ipv4Addr::from_bits(0x0a00_0000 + n).into()));
        match act {
            Act::Ban(n, ends) => self.ban(std::iter::once(host(*n)), *ends),
            Act::Pardon(n) => self.pardon(std::iter::once(host(*n))),
            Act::BanMany(from) => self.ban(many(*from), true),
            Act::PardonMany(from) => self.pardon(many(*from)),
            Act::Expire => self.enforcer.expire(now()),
            Act::Step(count) => (0..*count).for_each(|_| self.step()),
        }
    }

    fn begin_to_compare(&mut self) {
        self.enforcer.begin_to_compare(Scope::Wanted);
    }

    /// One of a look for what is wanted, and of one for what is not.
    fn step(&mut self) {
        let had = self.found;
        self.found = self.enforcer.compare_on(now()).expect("it looks").or(had);
        if !self.enforcer.compares() {
            self.halves += 1;
            if self.halves == 1 {
                self.enforcer.begin_to_compare(Scope::Strangers);
            }
        }
    }

    /// What was found, where it was not over already.
    fn finish(&mut self) -> Option<Found> {
        for _ in 0..10_000 {
            if !self.enforcer.compares() {
                return self.found;
            }
            self.step();
        }
        panic!("it does not end");
    }
}

/// `before` happens behind our back; then a comparison goes on while we ban and let in, and others do `meanwhile`.
fn run(before: &[Foreign], acts: &[Act], meanwhile: &[Foreign]) -> Result<(), TestCaseError> {
    nft("delete table inet portreeve");
    let begun = now();
    // Ends that differ by two seconds differ. A machine that stops us for so long makes some differ, and they are mended.
    let in_time = || now() - begun < Duration::from_secs(2);
    let mut race = Race::begin();
    prop_assert_eq!(&kernel(), &race.model);
    disturb(before);
    race.begin_to_compare();
    let half = acts.len() / 2;
    acts.iter().take(half).for_each(|act| race.act(act));
    disturb(meanwhile);
    acts.iter().skip(half).for_each(|act| race.act(act));
    let found = race.finish();
    if before.is_empty() && meanwhile.is_empty() && in_time() {
        // Nobody is blamed for what we did ourselves.
        let clean = |found: Found| found.enforced == found.wanted && found.strange == 0 && !found.rebuilt;
        prop_assert!(found.is_none_or(clean), "{:?}", found);
    }
    if meanwhile.is_empty() {
        // One comparison is enough, and whatever we have said meanwhile stands.
        prop_assert_eq!(&but_left_out(kernel(), &race.model, before), &race.model);
    }
    let found = race.enforcer.compare().expect("it looks");
    prop_assert_eq!(found.wanted, race.model.len());
    let all = [before, meanwhile].concat();
    prop_assert_eq!(&but_left_out(kernel(), &race.model, &all), &race.model);
    // Soon nothing is left to be mended, nor left out.
    let mut last = None;
    for _ in 0..10 {
        let found = race.enforcer.compare().expect("it looks");
        last = Some((found.enforced, found.strange, found.rebuilt, kernel() == race.model));
        if last == Some((race.model.len(), 0, false, true)) {
            break;
        }
    }
    prop_assert_eq!(last, Some((race.model.len(), 0, false, true)));
    Ok(())
}

/// The kernel's set without what others have put there and nobody wants: one dump can leave it out, while the set's hash grows
/// (`firewall/comparison.rs`).
fn but_left_out(
    mut kernel: BTreeMap<Prefix, bool>,
    model: &BTreeMap<Prefix, bool>,
    foreign: &[Foreign],
) -> BTreeMap<Prefix, bool> {
    let added =
        |prefix: &Prefix| foreign.iter().any(|act| matches!(act, Foreign::Add(n) if host(*n) == *prefix));
    kernel.retain(|prefix, _| model.contains_key(prefix) || !added(prefix));
    kernel
}

#[test]
fn what_comes_meanwhile_is_neither_undone_nor_missed() {
    if std::env::var_os(INSIDE).is_none() {
        return again();
    }
    let lists = (
        prop_oneof![1 => Just(Vec::new()), 1 => proptest::collection::vec(foreign(), 1..6)],
        proptest::collection::vec(act(), 1..30),
        prop_oneof![2 => Just(Vec::new()), 1 => proptest::collection::vec(foreign(), 1..4)],
    );
    let config = ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() };
    let ran = proptest::test_runner::TestRunner::new(config)
        .run(&lists, |(before, acts, meanwhile)| run(&before, &acts, &meanwhile));
    ran.unwrap();
}

/// In a network namespace, where it has to pass.
fn again() {
    if !rustix::process::geteuid().is_root() {
        return skip::skip(skip::Reason::NoRoot);
    }
    if !skip::has_programs(&["nft", "unshare"]) {
        return;
    }
    let works = Command::new("unshare").args(["-n", "nft", "list", "ruleset"]).output();
    if !works.is_ok_and(|ended| ended.status.success()) {
        return skip::skip(skip::Reason::NoNamespaces);
    }
    let ended = Command::new("unshare")
        .arg("-n")
        .arg(std::env::current_exe().expect("a path"))
        .args(["--exact", NAME, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare starts");
    let said = String::from_utf8_lossy(&ended.stdout).into_owned() + &String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && said.contains("1 passed"), "{said}");
}

//! The list of bans and a kernel that hears of its changes late, or loses them with its worker, against a model that asks the same
//! question of every address from scratch.

use super::{changes, parts, wanted};
use portreeve_policy::{Ban, Denied, Prefix};
use proptest::prelude::*;
use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

/// A kernel that has what it was told, each until its end.
#[derive(Default)]
struct Kernel {
    has: BTreeMap<Prefix, Option<Duration>>,
    /// Told, and not heard yet: the channel keeps the order.
    coming: VecDeque<super::KernelChanges>,
}

impl Kernel {
    fn hear(&mut self) {
        if let Some(changes) = self.coming.pop_front() {
            // As the supervisor sends them.
            changes.pardons.iter().for_each(|network| {
                self.has.remove(network);
            });
            self.has.extend(changes.bans);
        }
    }

    fn drops(&self, ip: IpAddr, now: Duration) -> bool {
        self.has.iter().any(|(network, until)| network.contains(ip) && until.is_none_or(|until| now < until))
    }
}

/// An entry as the model has it.
#[derive(Clone, Copy)]
struct Entry {
    until: Option<Duration>,
    by_sensor: bool,
}

/// Whether the kernel should drop an address: some ban that lasts holds it, or one of its subscriber has tripped a sensor, and nobody
/// protected is hit.
fn should(list: &BTreeMap<Prefix, Entry>, protected: &[Prefix], ip: IpAddr, now: Duration) -> bool {
    let free = |network: &Prefix| !protected.iter().any(|one| one.meets(network));
    list.iter().filter(|(_, entry)| entry.until.is_none_or(|until| now < until)).any(|(network, entry)| {
        let whole = Prefix::subscriber(network.address());
        let wide = entry.by_sensor && network.is_host() && free(&whole);
        let hit = if wide { whole } else { *network };
        hit.contains(ip) && free(&hit)
    })
}

#[derive(Clone, Debug)]
enum Act {
    /// By hand, for so many seconds; 0 is for ever.
    Add(Prefix, u64),
    Trip(Prefix, u64),
    Remove(Prefix),
    /// Time goes on, and what has ended is dropped from the list; or it is not yet.
    Pass(u64, bool),
    /// The kernel hears of one change.
    Hear,
    /// The worker dies: what was on its way is lost, and the next one gets the whole list. The kernel goes on meanwhile.
    Renew,
}

/// Few networks that overlap, so that they meet often.
fn network() -> impl Strategy<Value = Prefix> {
    prop_oneof![
        (0u8..6).prop_map(|n| Prefix::host([192, 0, 2, n].into())),
        (29u8..=32).prop_map(|length| Prefix::around([192, 0, 2, 0].into(), length)),
        (0u16..3, 0u16..3)
            .prop_map(|(net, host)| Prefix::host([0x2001, 0xdb8, 0, net, 0, 0, 0, host].into())),
        (0u16..3, 62u8..=64)
            .prop_map(|(net, length)| Prefix::around([0x2001, 0xdb8, 0, net, 0, 0, 0, 0].into(), length)),
        (0u16..3).prop_map(|host| Prefix::host([0x64, 0xff9b, 0, 0, 0, 0, 0, host].into())),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (network(), 0u64..6).prop_map(|(network, time)| Act::Add(network, time)),
        3 => (network(), 0u64..6).prop_map(|(network, time)| Act::Trip(network, time)),
        3 => network().prop_map(Act::Remove),
        3 => (1u64..3, any::<bool>()).prop_map(|(time, expires)| Act::Pass(time, expires)),
        4 => Just(Act::Hear),
        1 => Just(Act::Renew),
    ]
}

fn everybody() -> Vec<IpAddr> {
    let v4 = (0..8u8).map(|n| IpAddr::from([192, 0, 2, n]));
    let v6 = (0..5u16)
        .flat_map(|net| (0..4u16).map(move |host| IpAddr::from([0x2001, 0xdb8, 0, net, 0, 0, 0, host])));
    let behind = (0..4u16).map(|host| IpAddr::from([0x64, 0xff9b, 0, 0, 0, 0, 0, host]));
    v4.chain(v6).chain(behind).collect()
}

fn run(acts: Vec<Act>, protected: &[Prefix]) -> Result<(), TestCaseError> {
    let mut protects = |network: &Prefix| protected.iter().any(|one| one.meets(network));
    let (mut denied, mut model, mut kernel) = (Denied::default(), BTreeMap::new(), Kernel::default());
    let mut now = Duration::from_secs(1);
    for act in acts {
        let mut changed = Vec::new();
        match act {
            Act::Add(network, time) => {
                let until = (time > 0).then(|| now + Duration::from_secs(time));
                changed = denied.expire(now);
                denied.deny(network, Ban::by_hand(until, "")).expect("room");
                model.insert(network, Entry { until, by_sensor: false });
                changed.push(network);
            }
            // As `Denied::trip`: of one that is banned by hand, or for as long, nothing changes.
            Act::Trip(network, time) if network.is_host() => {
                let until = (time > 0).then(|| now + Duration::from_secs(time));
                let term = (time > 0).then(|| Duration::from_secs(time));
                if denied.get(network).is_none_or(|ban| !ban.lasts(now)) {
                    denied.deny(network, Ban::by_sensor(until, term, "")).expect("room");
                    model.insert(network, Entry { until, by_sensor: true });
                    changed.push(network);
                }
            }
            Act::Trip(..) => {}
            Act::Remove(network) => {
                if denied.remove(network) {
                    changed.push(network);
                }
                model.remove(&network);
            }
            Act::Pass(time, expires) => {
                now += Duration::from_secs(time);
                if expires {
                    changed = denied.expire(now);
                }
            }
            Act::Hear => kernel.hear(),
            Act::Renew => {
                kernel.coming.clear();
                let all = denied.iter().flat_map(|(network, _)| parts(&network)).collect::<Vec<_>>();
                let whole =
                    all.iter().filter_map(|part| Some((*part, wanted(&denied, &mut protects, part, now)?)));
                kernel.has = whole.collect();
            }
        }
        if !changed.is_empty() {
            kernel.coming.push_back(changes(&denied, &mut protects, &changed, now));
        }
        // What is on its way is the only difference.
        if kernel.coming.is_empty() {
            for ip in everybody() {
                let (is, should) = (kernel.drops(ip, now), should(&model, protected, ip, now));
                prop_assert_eq!(is, should, "{} at {:?}: {:?}", ip, now, kernel.has);
            }
        }
        // Nobody who is protected, whatever has come or not.
        for one in protected {
            prop_assert!(!kernel.has.keys().any(|network| network.meets(one)));
        }
    }
    while !kernel.coming.is_empty() {
        kernel.hear();
    }
    for ip in everybody() {
        prop_assert_eq!(kernel.drops(ip, now), should(&model, protected, ip, now), "{} in the end", ip);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn the_kernel_drops_whom_the_list_means(
        acts in proptest::collection::vec(act(), 1..60),
        protected in proptest::sample::subsequence(
            vec![Prefix::host([192, 0, 2, 3].into()), Prefix::host([0x2001, 0xdb8, 0, 1, 0, 0, 0, 2].into())],
            0..=2
        ),
    ) {
        run(acts, &protected)?;
    }
}

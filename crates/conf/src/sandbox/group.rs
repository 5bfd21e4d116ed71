//! What a control group of the service's own keeps: amounts (systemd.resource-control(5)) and devices. Pure: how much a share comes to,
//! and which number a device has, the machine knows.

use super::addresses::Addresses;
use super::key::Word;
use super::shares::{self, Quota, Weight};

/// How much there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// Bytes, or processes.
    Number(u64),
    /// Of what the machine has, in hundredths.
    Percent(u64),
}

/// `DeviceAllow` of one device, or of a kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Which.
    pub what: Devices,
    /// It may be read.
    pub read: bool,
    /// It may be written.
    pub write: bool,
    /// A node of it may be made.
    pub make: bool,
}

/// Which devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Devices {
    /// That of a node.
    Node(String),
    /// All of a kind in /proc/devices; `*` is any letters.
    Kind {
        /// Block devices, else character devices.
        block: bool,
        /// Its name there.
        name: String,
    },
}

/// What a group of its own is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// `MemoryMax`, bytes.
    pub memory_max: Option<Amount>,
    /// `MemoryHigh`, bytes.
    pub memory_high: Option<Amount>,
    /// `MemorySwapMax`, bytes.
    pub swap_max: Option<Amount>,
    /// `TasksMax`, processes and threads.
    pub tasks_max: Option<Amount>,
    /// `CPUQuota` and `CPUQuotaPeriodSec`.
    pub cpu_quota: Option<Quota>,
    /// `CPUWeight`.
    pub cpu_weight: Option<Weight>,
    /// `IOWeight`.
    pub io_weight: Option<Weight>,
    /// The devices that there are; `None` where all are.
    pub devices: Option<Vec<Device>>,
    /// With whom packets are exchanged; `None` where with everybody.
    pub addresses: Option<Addresses>,
}

impl Group {
    /// Whether there must be one.
    pub fn is_needed(&self) -> bool {
        *self != Self::default()
    }

    /// What controllers keep: each setting, its controller, and whether it is said.
    pub fn bounds(&self) -> [(&'static str, &'static str, bool); 7] {
        [
            ("MemoryMax", "memory", self.memory_max.is_some()),
            ("MemoryHigh", "memory", self.memory_high.is_some()),
            ("MemorySwapMax", "memory", self.swap_max.is_some()),
            ("TasksMax", "pids", self.tasks_max.is_some()),
            ("CPUQuota", "cpu", self.cpu_quota.is_some()),
            ("CPUWeight", "cpu", self.cpu_weight.is_some()),
            ("IOWeight", "io", self.io_weight.is_some()),
        ]
    }
}

/// What DevicePolicy=closed allows.
const CLOSED: &[&str] =
    &["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx"];

/// An amount as systemd writes it; `infinity` is `Some(None)`.
pub(super) fn amount(text: &str) -> Option<Option<Amount>> {
    if text == "infinity" {
        return Some(None);
    }
    if let Some(share) = text.strip_suffix('%') {
        return share
            .parse()
            .ok()
            .filter(|share| (1..=100).contains(share))
            .map(|n| Some(Amount::Percent(n)));
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match text.get(digits.len()..)? {
        "" | "B" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        "P" => 50,
        "E" => 60,
        _ => return None,
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number = digits.parse::<u64>().ok()?.checked_mul(1 << shift)?;
    Some(Some(Amount::Number(number)))
}

/// `WHAT` or `WHAT:rwm`.
pub(super) fn device(text: &str) -> Option<Device> {
    // A node's name may hold colons.
    let meant = |may: &str| may.len() <= 3 && may.bytes().all(|byte| byte.is_ascii_alphabetic());
    let (what, may) = text.rsplit_once(':').filter(|(_, may)| meant(may)).unwrap_or((text, "rwm"));
    if may.is_empty() || !may.bytes().all(|byte| b"rwm".contains(&byte)) {
        return None;
    }
    let kind = |block, name: &str| {
        let fine = !name.is_empty() && !name.contains('/');
        fine.then(|| Devices::Kind { block, name: name.to_owned() })
    };
    let what = match (what.strip_prefix("char-"), what.strip_prefix("block-")) {
        (Some(name), _) => kind(false, name)?,
        (_, Some(name)) => kind(true, name)?,
        _ if what.starts_with("/dev/") && !what.split('/').any(|part| part == "..") => {
            Devices::Node(super::key::clean(what))
        }
        _ => return None,
    };
    let has = |letter| may.contains(letter);
    Some(Device { what, read: has('r'), write: has('w'), make: has('m') })
}

pub(super) fn group(words: &[Word]) -> Group {
    let value = |key: &str| words.iter().rev().find(|word| word.key == key).map(|word| word.value.as_str());
    let amount = |key| value(key).and_then(amount).flatten();
    let listed = || words.iter().filter(|word| word.key == "DeviceAllow").filter_map(|w| device(&w.value));
    let node =
        |path: &&str| Device { what: Devices::Node((*path).to_owned()), read: true, write: true, make: true };
    let closed = || {
        let terminals = Devices::Kind { block: false, name: "pts".to_owned() };
        let terminals = Device { what: terminals, read: true, write: true, make: false };
        CLOSED.iter().map(node).chain([terminals])
    };
    let devices = match value("DevicePolicy") {
        Some("strict") => Some(listed().collect()),
        Some("closed") => Some(closed().chain(listed()).collect()),
        // Without a list all are there.
        _ => listed().next().map(|_| closed().chain(listed()).collect()),
    };
    let share = value("CPUQuota").and_then(shares::share);
    let period = value("CPUQuotaPeriodSec").and_then(crate::systemd::span);
    let weight = |key, idle| value(key).and_then(|text| shares::weight(text, idle));
    Group {
        memory_max: amount("MemoryMax"),
        memory_high: amount("MemoryHigh"),
        swap_max: amount("MemorySwapMax"),
        tasks_max: amount("TasksMax"),
        cpu_quota: share.map(|share| Quota::new(share, period)),
        cpu_weight: weight("CPUWeight", true),
        io_weight: weight("IOWeight", false),
        devices,
        addresses: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts() {
        for (text, wanted) in [
            ("64M", Some(Some(Amount::Number(64 << 20)))),
            ("0", Some(Some(Amount::Number(0)))),
            ("5%", Some(Some(Amount::Percent(5)))),
            ("infinity", Some(None)),
            ("101%", None),
            ("-1", None),
            ("1.5G", None),
            ("1Q", None),
            ("", None),
            ("M", None),
            ("99999999P", None),
        ] {
            assert_eq!(amount(text), wanted, "{text}");
        }
    }

    #[test]
    fn devices() {
        let of = |text| device(text).map(|device| (device.what, device.read, device.write, device.make));
        let node = |path: &str| Devices::Node(path.to_owned());
        let kind = |block, name: &str| Devices::Kind { block, name: name.to_owned() };
        assert_eq!(of("/dev/null"), Some((node("/dev/null"), true, true, true)));
        assert_eq!(of("/dev//net/./tun:rw"), Some((node("/dev/net/tun"), true, true, false)));
        assert_eq!(of("/dev/disk/pci-0:00:r"), Some((node("/dev/disk/pci-0:00"), true, false, false)));
        assert_eq!(of("char-pts:r"), Some((kind(false, "pts"), true, false, false)));
        assert_eq!(of("block-*"), Some((kind(true, "*"), true, true, true)));
        for text in [
            "/etc/passwd",
            "/dev/../etc/passwd",
            "null",
            "char-",
            "char-a/b",
            "/dev/null:rx",
            "/dev/null:",
            "",
        ] {
            assert_eq!(of(text), None, "{text}");
        }
    }

    #[test]
    fn a_policy_and_its_list() {
        let of = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|word| super::super::word(word).unwrap()).collect();
            group(&words).devices.map(|devices| devices.len())
        };
        let closed = CLOSED.len() + 1;
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["DevicePolicy=auto"]), None);
        assert_eq!(of(&["DevicePolicy=closed"]), Some(closed));
        assert_eq!(of(&["DevicePolicy=strict"]), Some(0));
        assert_eq!(of(&["DeviceAllow=/dev/kmsg:r"]), Some(closed + 1));
        assert_eq!(of(&["DevicePolicy=strict", "DeviceAllow=/dev/kmsg:r"]), Some(1));
    }
}

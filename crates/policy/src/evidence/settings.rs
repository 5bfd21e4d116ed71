//! What the administrator says about bans for evidence: THE table of keys, their bounds and defaults. Values only: who reads the file
//! is the command line, and the supervisor gets lines of `KEY NUMBER [SERVICE]`.

use super::Grade;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// Services with thresholds of their own, at most.
const MOST_SERVICES: usize = 256;
/// The longest name of a service, in bytes.
const LONGEST_NAME: usize = 255;
const DAY: u64 = 86_400;

/// How a value is written, and its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kin {
    /// `true` or `false`.
    Switch,
    /// A time, from so many seconds to so many.
    Span(u64, u64),
    /// A number.
    Count(u64, u64),
    /// A number of pieces, or `"never"`, which is 0 here.
    Pieces(u64),
    /// One of these lengths of a network, or `false`, which is 0 here.
    Length(u64, u64, u64),
}

/// A key of `[bans]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What is written behind it.
    pub kin: Kin,
    /// Its default, as a file has it.
    pub default: &'static str,
    /// May also be said of one service.
    pub of_service: bool,
    /// What it is for, in one line.
    pub text: &'static str,
}

const fn key(
    name: &'static str,
    kin: Kin,
    default: &'static str,
    of_service: bool,
    text: &'static str,
) -> Key {
    Key { name, kin, default, of_service, text }
}

/// Every key.
pub const KEYS: [Key; 16] = [
    key(
        "act",
        Kin::Switch,
        "true",
        false,
        "false: evidence is scored and reported, and nobody is banned for it",
    ),
    key(
        "authenticated",
        Kin::Pieces(1_000_000),
        "5",
        true,
        "so many pieces that instances tell (failed logins) are a ban, or \"never\"",
    ),
    key(
        "proven",
        Kin::Pieces(1_000_000),
        "10",
        true,
        "so many pieces that a handshake proves are a ban, or \"never\"",
    ),
    key(
        "forgeable",
        Kin::Pieces(1_000_000),
        "100",
        true,
        "so many pieces that may be forged are reported; they never ban",
    ),
    key("half_life", Kin::Span(1, 30 * DAY), "\"30m\"", false, "after this time a piece counts half"),
    key("time", Kin::Span(1, 365 * DAY), "\"1h\"", false, "how long a first ban lasts"),
    key(
        "factor",
        Kin::Count(1, 1000),
        "4",
        false,
        "each further ban of the same source lasts so many times as long, where instances told the evidence",
    ),
    key("longest", Kin::Span(1, 3650 * DAY), "\"7d\"", false, "no ban lasts longer"),
    key(
        "memory",
        Kin::Span(1, 3650 * DAY),
        "\"30d\"",
        false,
        "how long after its end a ban counts as a former one",
    ),
    key("most", Kin::Count(0, 100_000), "10000", false, "bans for evidence at once"),
    key("most_a_minute", Kin::Count(0, 100_000), "1000", false, "new bans for evidence within a minute"),
    key(
        "rollup_v4",
        Kin::Length(20, 31, 1),
        "false",
        false,
        "ban the whole IPv4 network of this length (20 to 31) around many banned sources",
    ),
    key("rollup_v6", Kin::Length(48, 56, 8), "false", false, "the same in IPv6: 56, or 48 (by way of 56)"),
    key(
        "rollup_sources",
        Kin::Count(2, 100_000),
        "5",
        false,
        "so many banned sources of it are needed for that",
    ),
    key(
        "rollup_share",
        Kin::Count(1, 100),
        "75",
        false,
        "they must be so many of a hundred that are known of it",
    ),
    key("rollup_most", Kin::Count(0, 10_000), "100", false, "networks that are banned whole at once"),
];

/// How many pieces are a ban; `None` is never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Thresholds {
    /// Of forgeable ones: reported, never a ban.
    pub forgeable: Option<u32>,
    /// Of proven ones.
    pub proven: Option<u32>,
    /// Of authenticated ones.
    pub authenticated: Option<u32>,
}

impl Thresholds {
    /// That of a grade.
    pub fn of(&self, grade: Grade) -> Option<u32> {
        match grade {
            Grade::Forgeable => self.forgeable,
            Grade::Proven => self.proven,
            Grade::Authenticated => self.authenticated,
        }
    }
}

/// What one service has of its own; the outer `None` is the general one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OfService {
    forgeable: Option<Option<u32>>,
    proven: Option<Option<u32>>,
    authenticated: Option<Option<u32>>,
}

/// The policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BanPolicy {
    /// Bans, and does not only report.
    pub act: bool,
    /// After this time a piece counts half.
    pub half_life: Duration,
    /// How long a first ban lasts.
    pub time: Duration,
    /// How many times as long each further one.
    pub factor: u32,
    /// No ban lasts longer.
    pub longest: Duration,
    /// How long a ban counts after its end.
    pub memory: Duration,
    /// Bans for evidence at once.
    pub most: u32,
    /// New ones within a minute.
    pub most_a_minute: u32,
    /// The length of IPv4 networks that are banned whole.
    pub rollup_v4: Option<u8>,
    /// The shortest length of IPv6 networks that are.
    pub rollup_v6: Option<u8>,
    /// So many banned sources are needed.
    pub rollup_sources: u32,
    /// Of a hundred known ones.
    pub rollup_share: u32,
    /// Networks that are banned whole at once.
    pub rollup_most: u32,
    pub(super) thresholds: Thresholds,
    pub(super) services: BTreeMap<String, OfService>,
}

impl Default for BanPolicy {
    fn default() -> Self {
        Self {
            act: true,
            half_life: Duration::from_secs(30 * 60),
            time: Duration::from_secs(3600),
            factor: 4,
            longest: Duration::from_secs(7 * DAY),
            memory: Duration::from_secs(30 * DAY),
            most: 10_000,
            most_a_minute: 1000,
            rollup_v4: None,
            rollup_v6: None,
            rollup_sources: 5,
            rollup_share: 75,
            rollup_most: 100,
            thresholds: Thresholds { forgeable: Some(100), proven: Some(10), authenticated: Some(5) },
            services: BTreeMap::new(),
        }
    }
}

/// What is wrong with a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadSetting(pub String);

impl fmt::Display for BadSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadSetting {}

impl Key {
    /// The key of this name.
    pub fn of_name(name: &str) -> Option<&'static Key> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// What is expected, in words.
    pub fn expected(&self) -> String {
        let Key { name, kin, .. } = self;
        match kin {
            Kin::Switch => format!("{name} must be true or false"),
            Kin::Span(least, most) => {
                format!("{name} must be a time from {least}s to {}d, as \"30m\" or \"12h\"", most / DAY)
            }
            Kin::Count(least, most) => format!("{name} must be a number from {least} to {most}"),
            Kin::Pieces(most) => format!("{name} must be a number from 1 to {most}, or \"never\""),
            Kin::Length(least, most, 1) => {
                format!("{name} must be a length from {least} to {most}, or false")
            }
            Kin::Length(least, most, _) => format!("{name} must be {most} or {least}, or false"),
        }
    }

    fn takes(&self, value: u64) -> bool {
        match self.kin {
            Kin::Switch => value <= 1,
            Kin::Span(least, most) | Kin::Count(least, most) => (least..=most).contains(&value),
            Kin::Pieces(most) => value <= most,
            Kin::Length(least, most, step) => {
                value == 0 || ((least..=most).contains(&value) && (value - least).is_multiple_of(step))
            }
        }
    }
}

impl BanPolicy {
    /// Sets one key, of all services or of one.
    ///
    /// # Errors
    /// There is no such key, or its value is beyond its bounds.
    pub fn set(&mut self, service: Option<&str>, name: &str, value: u64) -> Result<(), BadSetting> {
        let key = Key::of_name(name).ok_or_else(|| BadSetting(format!("there is no {name}")))?;
        if !key.takes(value) {
            return Err(BadSetting(key.expected()));
        }
        let number = u32::try_from(value).unwrap_or(u32::MAX);
        let pieces = Some(number).filter(|number| *number > 0);
        if let Some(service) = service {
            if !key.of_service {
                return Err(BadSetting(format!("{name} is no setting of one service")));
            }
            if service.is_empty() || service.len() > LONGEST_NAME || service.chars().any(char::is_control) {
                return Err(BadSetting(format!("{service:?} is no name of a service")));
            }
            if self.services.len() >= MOST_SERVICES && !self.services.contains_key(service) {
                return Err(BadSetting(format!("more than {MOST_SERVICES} services")));
            }
            let own = self.services.entry(service.to_owned()).or_default();
            match name {
                "forgeable" => own.forgeable = Some(pieces),
                "proven" => own.proven = Some(pieces),
                _ => own.authenticated = Some(pieces),
            }
            return Ok(());
        }
        let span = Duration::from_secs(value);
        let length = u8::try_from(value).ok().filter(|length| *length > 0);
        match name {
            "act" => self.act = value == 1,
            "forgeable" => self.thresholds.forgeable = pieces,
            "proven" => self.thresholds.proven = pieces,
            "authenticated" => self.thresholds.authenticated = pieces,
            "half_life" => self.half_life = span,
            "time" => self.time = span,
            "factor" => self.factor = number,
            "longest" => self.longest = span,
            "memory" => self.memory = span,
            "most" => self.most = number,
            "most_a_minute" => self.most_a_minute = number,
            "rollup_v4" => self.rollup_v4 = length,
            "rollup_v6" => self.rollup_v6 = length,
            "rollup_sources" => self.rollup_sources = number,
            "rollup_share" => self.rollup_share = number,
            _ => self.rollup_most = number,
        }
        Ok(())
    }

    fn get(&self, name: &str) -> u64 {
        let pieces = |threshold: Option<u32>| u64::from(threshold.unwrap_or(0));
        let length = |length: Option<u8>| u64::from(length.unwrap_or(0));
        match name {
            "act" => u64::from(self.act),
            "forgeable" => pieces(self.thresholds.forgeable),
            "proven" => pieces(self.thresholds.proven),
            "authenticated" => pieces(self.thresholds.authenticated),
            "half_life" => self.half_life.as_secs(),
            "time" => self.time.as_secs(),
            "factor" => self.factor.into(),
            "longest" => self.longest.as_secs(),
            "memory" => self.memory.as_secs(),
            "most" => self.most.into(),
            "most_a_minute" => self.most_a_minute.into(),
            "rollup_v4" => length(self.rollup_v4),
            "rollup_v6" => length(self.rollup_v6),
            "rollup_sources" => self.rollup_sources.into(),
            "rollup_share" => self.rollup_share.into(),
            _ => self.rollup_most.into(),
        }
    }

    /// How many pieces of a grade about a service are a ban.
    pub fn threshold(&self, grade: Grade, service: &str) -> Option<u32> {
        let own = self.services.get(service).and_then(|own| match grade {
            Grade::Forgeable => own.forgeable,
            Grade::Proven => own.proven,
            Grade::Authenticated => own.authenticated,
        });
        own.unwrap_or_else(|| self.thresholds.of(grade))
    }

    /// The services with thresholds of their own.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        self.services.keys().map(String::as_str)
    }

    /// The lengths of the networks that are banned whole, the longest first.
    pub(crate) fn lengths(&self, v4: bool) -> impl Iterator<Item = u8> {
        let last = if v4 { self.rollup_v4 } else { self.rollup_v6 };
        let first = if v4 { last } else { last.map(|_| 56) };
        let steps = last.zip(first).map(|(last, first)| (last..=first).rev().step_by(8));
        steps.into_iter().flatten()
    }

    /// How long the `strikes`-th ban of a source lasts; the first one is 1.
    pub fn time_of(&self, strikes: u32) -> Duration {
        let times = self.factor.checked_pow(strikes.saturating_sub(1)).unwrap_or(u32::MAX);
        self.time.saturating_mul(times).min(self.longest)
    }

    /// Everything as lines, for the supervisor.
    pub fn to_lines(&self) -> String {
        let mut text = String::new();
        for key in KEYS {
            text.push_str(&format!("{} {}\n", key.name, self.get(key.name)));
        }
        for (service, own) in &self.services {
            let own =
                [("forgeable", own.forgeable), ("proven", own.proven), ("authenticated", own.authenticated)];
            for (name, value) in own {
                if let Some(value) = value {
                    text.push_str(&format!("{name} {} {service}\n", value.unwrap_or(0)));
                }
            }
        }
        text
    }

    /// Reads such lines.
    ///
    /// # Errors
    /// A line that is none.
    pub fn from_lines(text: &str) -> Result<Self, BadSetting> {
        let mut policy = Self::default();
        for line in text.lines() {
            let mut words = line.splitn(3, ' ');
            let (name, value) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let value = value.parse().map_err(|_| BadSetting(format!("{line:?} is no setting")))?;
            policy.set(words.next(), name, value)?;
        }
        Ok(policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_kept_and_read_back() {
        let mut policy = BanPolicy::default();
        assert_eq!(BanPolicy::from_lines(&policy.to_lines()), Ok(policy.clone()));
        for (n, key) in KEYS.iter().enumerate() {
            let value = match key.kin {
                Kin::Switch => 0,
                Kin::Span(least, _) | Kin::Count(least, _) => least + n as u64,
                Kin::Pieces(_) => 40 + n as u64,
                Kin::Length(least, ..) => least,
            };
            assert_ne!(policy.get(key.name), value, "{}", key.name);
            assert_eq!(policy.set(None, key.name, value), Ok(()));
            assert_eq!(policy.get(key.name), value, "{}", key.name);
        }
        assert_eq!(policy.set(Some("a b"), "proven", 0), Ok(()));
        assert_eq!(policy.set(Some("s1"), "authenticated", 9), Ok(()));
        assert_eq!(BanPolicy::from_lines(&policy.to_lines()), Ok(policy.clone()));
        assert_eq!(policy.threshold(Grade::Proven, "a b"), None);
        assert_eq!(policy.threshold(Grade::Proven, "s1"), policy.threshold(Grade::Proven, ""));
        assert_eq!(policy.threshold(Grade::Authenticated, "s1"), Some(9));
    }

    #[test]
    fn what_is_beyond_the_bounds_is_refused() {
        let mut policy = BanPolicy::default();
        for (service, name, value) in [
            (None, "act", 2),
            (None, "half_life", 0),
            (None, "rollup_v4", 19),
            (None, "rollup_v4", 32),
            (None, "rollup_v6", 52),
            (None, "rollup_v6", 64),
            (None, "rollup_share", 101),
            (None, "factor", 0),
            (None, "nothing", 1),
            (Some("s1"), "time", 60),
            (Some(""), "proven", 1),
            (Some("a\nb"), "proven", 1),
        ] {
            assert!(policy.set(service, name, value).is_err(), "{name} {value}");
        }
        assert_eq!(policy, BanPolicy::default());
        for text in ["act", "act x", "act -1", "half_life 9999999999999999999999", "proven 1 \u{7}"] {
            assert!(BanPolicy::from_lines(text).is_err(), "{text}");
        }
        for n in 0..MOST_SERVICES {
            assert_eq!(policy.set(Some(&format!("s{n}")), "proven", 1), Ok(()));
        }
        assert!(policy.set(Some("one more"), "proven", 1).is_err());
        assert_eq!(policy.set(Some("s0"), "proven", 2), Ok(()));
    }

    #[test]
    fn a_repeater_is_banned_for_longer_up_to_a_bound() {
        let policy = BanPolicy::default();
        let hours: Vec<u64> = (0..6).map(|strikes| policy.time_of(strikes).as_secs() / 3600).collect();
        assert_eq!(hours, [1, 1, 4, 16, 64, 168]);
        assert_eq!(policy.time_of(u32::MAX), policy.longest);
        let short = BanPolicy { time: policy.longest * 2, ..policy.clone() };
        assert_eq!(short.time_of(1), policy.longest);
        let v6 =
            |last| BanPolicy { rollup_v6: last, ..BanPolicy::default() }.lengths(false).collect::<Vec<_>>();
        assert_eq!((v6(None), v6(Some(56)), v6(Some(48))), (vec![], vec![56], vec![56, 48]));
        let v4 = BanPolicy { rollup_v4: Some(24), ..policy };
        assert_eq!(v4.lengths(true).collect::<Vec<_>>(), [24]);
    }
}

//! What is held against a source, how much it is worth, and when it is enough. Pure: the clock is the caller's, and so is the list of
//! bans; nobody is banned here.
//!
//! The grade says who can have made a piece of evidence. What anybody can forge in another's name is counted by itself and never
//! bans; what a completed handshake proves may ban; what an instance says of its own client may also make the next ban longer.

mod book;
mod rollup;
mod saved;
mod scores;
mod settings;
mod strikes;

pub use book::{Due, Outcome, Scorebook, Sentence, Standing};
pub use rollup::{MOST_GOOD, RollUp, Wider};
pub use saved::SavedScore;
pub use scores::{Held, MOST_SCORED, MOST_SUSPECTED};
pub use settings::{BadSetting, BanPolicy, KEYS, Key, Kin, Thresholds};
pub use strikes::MOST_STRUCK;

use std::fmt;
use std::net::IpAddr;

/// Who can have made a piece of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// Anybody, in anybody's name: a datagram, a SYN, a stealth probe.
    Forgeable,
    /// Whoever has the address: it has completed a handshake with us.
    Proven,
    /// A running instance of ours, of its own client; or root.
    Authenticated,
}

impl Grade {
    /// All of them.
    pub const ALL: [Grade; 3] = [Grade::Forgeable, Grade::Proven, Grade::Authenticated];

    /// As people and files write it.
    pub fn word(self) -> &'static str {
        match self {
            Grade::Forgeable => "forgeable",
            Grade::Proven => "proven",
            Grade::Authenticated => "authenticated",
        }
    }

    /// What that word means.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|grade| grade.word() == word)
    }
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What is held against a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It touched a sensor.
    Sensor,
    /// It probed ports where nothing listens.
    Scan,
    /// It spoke with a trap.
    Trap,
    /// A failed login.
    Login,
    /// A login as somebody who does not exist.
    User,
    /// It abused a service in another way.
    Abuse,
    /// A login that succeeded: held against nobody. It marks a source as well-behaved.
    Success,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 7] =
        [Kind::Sensor, Kind::Scan, Kind::Trap, Kind::Login, Kind::User, Kind::Abuse, Kind::Success];
    /// Those that an instance may tell of its client.
    pub const TOLD: [Kind; 4] = [Kind::Login, Kind::User, Kind::Abuse, Kind::Success];

    /// As people, files and instances write it.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Sensor => "sensor",
            Kind::Scan => "scan",
            Kind::Trap => "trap",
            Kind::Login => "login",
            Kind::User => "user",
            Kind::Abuse => "abuse",
            Kind::Success => "success",
        }
    }

    /// What that word means.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.word() == word)
    }

    /// So many of it, in words.
    pub fn counted(self, count: u32) -> String {
        let (one, many) = match self {
            Kind::Sensor => ("touch of a sensor", "touches of sensors"),
            Kind::Scan => ("scan", "scans"),
            Kind::Trap => ("talk with a trap", "talks with traps"),
            Kind::Login => ("failed login", "failed logins"),
            Kind::User => ("login of nobody", "logins of nobody"),
            Kind::Abuse => ("abuse", "abuses"),
            Kind::Success => ("successful login", "successful logins"),
        };
        format!("{count} {}", if count == 1 { one } else { many })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A piece of evidence, or some of the same kind at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence<'a> {
    /// Against whom: mapped or not.
    pub source: IpAddr,
    /// Who can have made it.
    pub grade: Grade,
    /// What.
    pub kind: Kind,
    /// The service that it is about; empty where it is about the host.
    pub service: &'a str,
    /// How many pieces.
    pub count: u32,
    /// The source is what a PROXY header said: it is judged by itself, and a ban acts in this daemon alone.
    pub proxied: bool,
}

impl Evidence<'_> {
    /// As the ledger has it: grade, kind, and whether a proxy says who it is.
    pub fn reason(&self) -> String {
        let proxied = if self.proxied { " by proxy" } else { "" };
        format!("{} {}{proxied}", self.grade, self.kind)
    }
}

/// What the ledger's words about evidence mean, as [`Evidence::reason`] writes them.
pub fn of_reason(reason: &str) -> Option<(Grade, Kind, bool)> {
    let mut words = reason.splitn(3, ' ');
    let (grade, kind) = (Grade::of_word(words.next()?)?, Kind::of_word(words.next()?)?);
    match words.next() {
        None => Some((grade, kind, false)),
        Some("by proxy") => Some((grade, kind, true)),
        Some(_) => None,
    }
}

#[cfg(test)]
mod model_tests;

//! THE answer: who reaches a listener, in words and for machines. Pure.

use super::ranges::{Family, Ranges};
use serde_json::{Value, json};

/// Networks that are named; more are counted.
const MOST_NAMED: usize = 4;

/// Who reaches a listener, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// Nobody, not even this host's own programs by its address.
    Nobody,
    /// This host's own programs.
    Host,
    /// Some networks.
    Some,
    /// That cannot be told.
    Unknown,
    /// Whoever can send to this host.
    Anyone,
}

impl Who {
    /// The word for machines.
    pub fn word(self) -> &'static str {
        match self {
            Who::Nobody => "nobody",
            Who::Host => "host",
            Who::Some => "some",
            Who::Unknown => "unknown",
            Who::Anyone => "anyone",
        }
    }
}

/// The answer for one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// In one word.
    pub who: Who,
    /// For people: `anyone`, `10.0.0.0/8`, `this host`, `nobody`, `unknown`.
    pub text: String,
    /// Ways that lead to it beside its own address: `port 81 of this host`.
    pub ways: Vec<String>,
    /// Where its own port leads instead: `172.17.0.2:80`.
    pub instead: Vec<String>,
    /// Why something is not known.
    pub why: Vec<String>,
}

impl Reach {
    /// An answer that needs no ruleset.
    pub fn plain(who: Who, text: &str) -> Reach {
        Reach { who, text: text.to_owned(), ways: Vec::new(), instead: Vec::new(), why: Vec::new() }
    }

    /// Not known, and why.
    pub fn unknown(why: impl Into<String>) -> Reach {
        Reach { why: vec![why.into()], ..Reach::plain(Who::Unknown, "unknown") }
    }

    /// Whether it cannot be ruled out that anybody reaches it.
    pub fn maybe_anyone(&self) -> bool {
        self.who >= Who::Unknown
    }

    /// For a table: with the reason, and the ways.
    pub fn line(&self) -> String {
        let mut line = self.text.clone();
        if !self.instead.is_empty() {
            line.push_str(&format!(" -> {}", self.instead.join(", ")));
        }
        if !self.ways.is_empty() {
            line.push_str(&format!(" (by {})", self.ways.join(", ")));
        }
        if let Some(why) = self.why.first().filter(|_| self.text.contains("unknown")) {
            line.push_str(&format!(" ({why})"));
        }
        line
    }

    /// The fields for machines.
    pub fn json(&self) -> Value {
        json!({
            "who": self.who.word(),
            "text": self.text,
            "ways": self.ways,
            "instead": self.instead,
            "why": self.why,
        })
    }
}

/// Who arrives, of those who could.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Arrived {
    /// They surely do.
    pub surely: Ranges,
    /// They may.
    pub maybe: Ranges,
}

impl Arrived {
    /// Who arrives by one way or another.
    pub fn or(&self, other: &Arrived) -> Arrived {
        Arrived { surely: self.surely.or(&other.surely), maybe: self.maybe.or(&other.maybe) }
    }
}

/// Every source that a packet from outside may have.
pub fn sources(family: Family) -> Ranges {
    let network =
        |text: &str, length| text.parse().map_or_else(|_| Ranges::none(), |a| Ranges::network(a, length));
    let never = match family {
        Family::V4 => [("0.0.0.0", 8), ("127.0.0.0", 8), ("224.0.0.0", 3)],
        Family::V6 => [("::", 128), ("::1", 128), ("ff00::", 8)],
    };
    never.iter().fold(Ranges::all(family), |all, (address, length)| all.minus(&network(address, *length)))
}

/// Words for those who arrive, of those who could.
pub fn words(family: Family, arrived: &Arrived, possible: &Ranges) -> (Who, String) {
    let surely = arrived.surely.and(possible);
    let unknown = arrived.maybe.and(possible).minus(&surely);
    let (who, text) = known(family, &surely, possible);
    match (unknown.is_empty(), who) {
        (true, _) => (who, text),
        (false, Who::Nobody) => (Who::Unknown, "unknown".to_owned()),
        (false, _) => (Who::Unknown, format!("{text}; of others unknown")),
    }
}

fn known(family: Family, surely: &Ranges, possible: &Ranges) -> (Who, String) {
    if surely.is_empty() {
        return (Who::Nobody, "nobody".to_owned());
    }
    let but = possible.minus(surely);
    if but.is_empty() {
        return (Who::Anyone, "anyone".to_owned());
    }
    let named = |set: &Ranges| match set.networks(family, MOST_NAMED) {
        Some(networks) => networks.join(", "),
        None => format!("{} networks", set.pieces()),
    };
    // Few are kept out of all: everybody else comes in.
    let few_kept_out = but.pieces() < surely.pieces().saturating_add(1) && but.size() < surely.size() / 4;
    if few_kept_out {
        return (Who::Anyone, format!("anyone but {}", named(&but)));
    }
    (Who::Some, named(surely))
}

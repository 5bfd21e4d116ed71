//! A ruleset of netfilter in one form, whoever wrote it: chains of rules with tests and verdicts. Pure.
//!
//! A test is judged for one packet whose source is not fixed: it gives the sources that surely pass and those that may. What
//! is not understood passes for none surely and for all maybe, and has a word for what it is: nothing is guessed.

use super::ranges::{Family, Ranges};
use std::collections::HashMap;

/// Where in the kernel a base chain stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Hook {
    Ingress,
    Prerouting,
    Input,
    Forward,
}

/// Whose packets a table sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Sees {
    Ip,
    Ip6,
    Inet,
    Netdev,
}

impl Sees {
    fn family(self, family: Family) -> bool {
        match self {
            Sees::Ip => family == Family::V4,
            Sees::Ip6 => family == Family::V6,
            Sees::Inet | Sees::Netdev => true,
        }
    }

    /// nft's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Sees::Ip => "ip",
            Sees::Ip6 => "ip6",
            Sees::Inet => "inet",
            Sees::Netdev => "netdev",
        }
    }
}

/// What a rule does with a packet that passes its tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The base chain is done.
    Accept,
    /// The packet is gone.
    Drop,
    /// Back to the chain that called.
    Return,
    /// The next rule.
    Continue,
    /// Another chain of the table, and back.
    Jump(String),
    /// Another chain of the table.
    Goto(String),
    /// Sent to another address (this host's own: None) and port (the same: None).
    To(Option<std::net::IpAddr>, Option<u16>),
    /// What comes of it is not known.
    Unknown(String),
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// Always, or never.
    Is(bool),
    /// The family of the packet.
    Family(Family),
    /// The transport protocol is one of these.
    Protocol(Vec<u8>),
    /// The port that it is sent to is in one of these ranges.
    Port(Vec<(u16, u16)>),
    /// Sent from one of these, of this family.
    From(Family, Ranges),
    /// Sent to one of these, of this family.
    To(Family, Ranges),
    /// The interface that it came by; `*` at the end: any with this beginning.
    In(String),
    /// The interface that it leaves by.
    Out(String),
    /// It was sent to one of this host's own addresses.
    ToLocal,
    /// It was given another destination before.
    Translated,
    /// It cannot be told; what it is.
    Unknown(String),
    /// The opposite.
    Not(Box<Test>),
    /// All of them.
    All(Vec<Test>),
    /// One of them.
    Any(Vec<Test>),
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its place in the chain, from 1.
    pub number: usize,
    /// What must hold.
    pub test: Test,
    /// What happens then; several where a map says which: the first that holds.
    pub verdicts: Vec<(Test, Verdict)>,
}

/// Where a base chain is entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    /// The hook.
    pub hook: Hook,
    /// Lower ones come first.
    pub priority: i64,
    /// What comes of a packet that no rule decides: it goes on, or is dropped.
    pub accepts: bool,
    /// For ingress: the devices.
    pub devices: Vec<String>,
}

/// A chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Whose packets it sees.
    pub sees: Sees,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Where it is entered; None: from other chains.
    pub base: Option<Base>,
    /// Its rules.
    pub rules: Vec<Rule>,
}

impl Chain {
    /// What people call it.
    pub fn label(&self) -> String {
        format!("{} {} {}", self.sees.word(), self.table, self.name)
    }
}

/// All chains of a network namespace.
#[derive(Clone, Debug, Default)]
pub struct Ruleset {
    /// The chains.
    pub chains: Vec<Chain>,
    index: HashMap<(Sees, String, String), usize>,
    /// A part of it could not be read at all; why. Nothing is known then.
    pub unread: Vec<String>,
}

impl Ruleset {
    /// Adds a chain.
    pub fn add(&mut self, chain: Chain) {
        self.index.insert((chain.sees, chain.table.clone(), chain.name.clone()), self.chains.len());
        self.chains.push(chain);
    }

    /// Another chain of a chain's table.
    pub fn beside(&self, chain: &Chain, name: &str) -> Option<&Chain> {
        let key = (chain.sees, chain.table.clone(), name.to_owned());
        self.index.get(&key).and_then(|at| self.chains.get(*at))
    }

    /// A chain to add rules to.
    pub fn chain(&mut self, sees: Sees, table: &str, name: &str) -> Option<&mut Chain> {
        let at = *self.index.get(&(sees, table.to_owned(), name.to_owned()))?;
        self.chains.get_mut(at)
    }

    /// The base chains of a hook that see such a packet, in order.
    pub fn at(&self, hook: Hook, family: Family, interface: &str) -> Vec<&Chain> {
        let enters = |chain: &&Chain| {
            chain.sees.family(family)
                && chain.base.as_ref().is_some_and(|base| {
                    base.hook == hook
                        && (hook != Hook::Ingress || base.devices.iter().any(|device| device == interface))
                })
        };
        let mut found: Vec<_> = self.chains.iter().filter(enters).collect();
        found.sort_by_key(|chain| chain.base.as_ref().map(|base| base.priority));
        found
    }

    /// The tables of a family are another's to tell: iptables shows what nft cannot.
    pub fn forget(&mut self, sees: Sees, tables: &[String]) {
        self.chains.retain(|chain| chain.sees != sees || !tables.contains(&chain.table));
        self.index = self
            .chains
            .iter()
            .enumerate()
            .map(|(at, chain)| ((chain.sees, chain.table.clone(), chain.name.clone()), at))
            .collect();
    }

    /// The same, with another name before its tables'.
    pub fn renamed(self, before: &str) -> Ruleset {
        let mut renamed = Ruleset { unread: self.unread, ..Ruleset::default() };
        for mut chain in self.chains {
            chain.table = format!("{before} {}", chain.table);
            renamed.add(chain);
        }
        renamed
    }

    /// The chains of another ruleset beside these.
    pub fn join(&mut self, other: Ruleset) {
        other.chains.into_iter().for_each(|chain| self.add(chain));
        self.unread.extend(other.unread);
    }

    /// Every test of every rule, for what is asked of all of them.
    pub fn each_test(&self, mut look: impl FnMut(&Test)) {
        fn walk(test: &Test, look: &mut dyn FnMut(&Test)) {
            look(test);
            match test {
                Test::Not(inner) => walk(inner, look),
                Test::All(inner) | Test::Any(inner) => inner.iter().for_each(|test| walk(test, look)),
                _ => {}
            }
        }
        for rule in self.chains.iter().flat_map(|chain| &chain.rules) {
            walk(&rule.test, &mut look);
            rule.verdicts.iter().for_each(|(test, _)| walk(test, &mut look));
        }
    }
}

/// A packet that opens a connection, from a source that is not fixed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Its family.
    pub family: Family,
    /// Its transport protocol.
    pub protocol: u8,
    /// The port that it is sent to; None where there is none.
    pub port: Option<u16>,
    /// Where it is sent to.
    pub to: u128,
    /// Whether that is an address of this host.
    pub local: bool,
    /// The interface that it comes by.
    pub interface: String,
    /// The interface that it leaves by, where it does and that is known.
    pub out: Option<String>,
    /// Whether it was given another destination.
    pub translated: bool,
}

/// A set that may be everything, without its cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Side {
    /// No source.
    Nothing,
    /// Every source.
    Everything,
    /// These.
    These(Ranges),
}

impl Side {
    fn of(is: bool) -> Side {
        if is { Side::Everything } else { Side::Nothing }
    }

    /// What of a set is in it.
    pub fn of_flow(&self, flow: &Ranges) -> Ranges {
        match self {
            Side::Nothing => Ranges::none(),
            Side::Everything => flow.clone(),
            Side::These(these) => flow.and(these),
        }
    }

    /// What of a set is not in it.
    pub fn rest(&self, flow: &Ranges) -> Ranges {
        match self {
            Side::Nothing => flow.clone(),
            Side::Everything => Ranges::none(),
            Side::These(these) => flow.minus(these),
        }
    }

    fn and(self, other: Side) -> Side {
        match (self, other) {
            (Side::Nothing, _) | (_, Side::Nothing) => Side::Nothing,
            (Side::Everything, other) | (other, Side::Everything) => other,
            (Side::These(a), Side::These(b)) => Side::These(a.and(&b)),
        }
    }

    fn or(self, other: Side) -> Side {
        match (self, other) {
            (Side::Everything, _) | (_, Side::Everything) => Side::Everything,
            (Side::Nothing, other) | (other, Side::Nothing) => other,
            (Side::These(a), Side::These(b)) => Side::These(a.or(&b)),
        }
    }

    fn not(self, family: Family) -> Side {
        match self {
            Side::Nothing => Side::Everything,
            Side::Everything => Side::Nothing,
            Side::These(these) => Side::These(Ranges::all(family).minus(&these)),
        }
    }
}

/// Who passes a test: surely, and maybe (which has all that surely pass).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passes {
    /// These do.
    pub surely: Side,
    /// Others do not.
    pub maybe: Side,
}

impl Test {
    /// Judges it for a packet.
    pub fn passes(&self, packet: &Packet) -> Passes {
        let both = |side: Side| Passes { surely: side.clone(), maybe: side };
        let is = |is: bool| both(Side::of(is));
        match self {
            Test::Is(value) => is(*value),
            Test::Family(family) => is(*family == packet.family),
            Test::Protocol(protocols) => is(protocols.contains(&packet.protocol)),
            Test::Port(ranges) => match packet.port {
                Some(port) => is(ranges.iter().any(|(first, last)| (*first..=*last).contains(&port))),
                // A raw socket sees them all.
                None => Passes { surely: Side::Nothing, maybe: Side::Everything },
            },
            Test::From(family, _) | Test::To(family, _) if *family != packet.family => is(false),
            Test::From(_, sources) => both(Side::These(sources.clone())),
            Test::To(_, destinations) => is(destinations.has(packet.to)),
            Test::In(name) => is(named(name, &packet.interface)),
            Test::Out(name) => match &packet.out {
                Some(out) => is(named(name, out)),
                // To this host itself: by none.
                None if packet.local => is(false),
                None => Passes { surely: Side::Nothing, maybe: Side::Everything },
            },
            Test::ToLocal => is(packet.local),
            Test::Translated => is(packet.translated),
            Test::Unknown(_) => Passes { surely: Side::Nothing, maybe: Side::Everything },
            Test::Not(test) => {
                let inner = test.passes(packet);
                Passes { surely: inner.maybe.not(packet.family), maybe: inner.surely.not(packet.family) }
            }
            Test::All(tests) => {
                let mut all = both(Side::Everything);
                for test in tests {
                    let one = test.passes(packet);
                    all = Passes { surely: all.surely.and(one.surely), maybe: all.maybe.and(one.maybe) };
                    if all.maybe == Side::Nothing {
                        break;
                    }
                }
                all
            }
            Test::Any(tests) => {
                let mut any = both(Side::Nothing);
                for test in tests {
                    let one = test.passes(packet);
                    any = Passes { surely: any.surely.or(one.surely), maybe: any.maybe.or(one.maybe) };
                    if any.surely == Side::Everything {
                        break;
                    }
                }
                any
            }
        }
    }

    /// What of it cannot be told, in a few words.
    pub fn unknown(&self) -> Option<&str> {
        match self {
            Test::Unknown(what) => Some(what),
            Test::Not(inner) => inner.unknown(),
            Test::All(tests) | Test::Any(tests) => tests.iter().find_map(Test::unknown),
            _ => None,
        }
    }
}

fn named(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}

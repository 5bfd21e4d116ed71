//! What a decision says: admitted with a seat, refused with a reason, or names needed. Words and values only.

use crate::denied::SensorHit;
use crate::rate::RateChange;
use crate::rules::Origin;
use crate::state::Seat;
use std::time::Duration;

/// The answer to one arrival.
#[derive(Debug)]
#[must_use]
pub enum Verdict {
    /// Start the server; keep the seat for as long as it runs.
    Admit(Seat),
    /// Turn the client away.
    Refuse(Refusal),
    /// Ask for the peer's names and decide again with `resumed`. Nothing is held meanwhile.
    NeedNames,
    /// Ask hosts.allow and hosts.deny and decide again with `resumed`. Nothing is held meanwhile.
    NeedTables,
}

/// Why a client was refused, in xinetd's classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// cps.
    Rate,
    /// max_load.
    Load,
    /// access_times.
    Time,
    /// instances.
    ServiceLimit,
    /// per_source.
    PerSourceLimit,
    /// `-limit`.
    ProcessLimit,
    /// Denied source, sensor, no_access or only_from.
    Address,
    /// hosts.allow and hosts.deny.
    Libwrap,
    /// The process could not be started.
    Fork,
    /// What must stand in front of the connection did not come, or is none.
    Header,
    /// The client's TLS handshake failed.
    Tls,
    /// Nobody answers for the content of the program.
    Program,
}

impl Reason {
    /// All of them.
    pub const ALL: [Reason; 12] = [
        Reason::Rate,
        Reason::Load,
        Reason::Time,
        Reason::ServiceLimit,
        Reason::PerSourceLimit,
        Reason::ProcessLimit,
        Reason::Address,
        Reason::Libwrap,
        Reason::Fork,
        Reason::Header,
        Reason::Tls,
        Reason::Program,
    ];

    /// The reason with this word.
    pub fn by_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.word() == word)
    }

    /// What xinetd writes after `FAIL: id ` (reference xinetd §10.3).
    pub fn word(self) -> &'static str {
        match self {
            Reason::Rate => "connections per second",
            Reason::Load => "load",
            Reason::Time => "time",
            Reason::ServiceLimit => "service_limit",
            Reason::PerSourceLimit => "per_source_limit",
            Reason::ProcessLimit => "process_limit",
            Reason::Address => "address",
            Reason::Libwrap => "libwrap",
            Reason::Fork => "fork",
            Reason::Header => "header",
            Reason::Tls => "tls",
            Reason::Program => "program",
        }
    }
}

/// The precise cause of a refusal, where xinetd's reason covers several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The service exceeds its cps.
    ServiceRate,
    /// The source exceeds its share of the cps of an overloaded service.
    SourceRate,
    /// The service has had all the starts that it may have in a minute, within everybody's share.
    ServiceMinute,
    /// The service has had them, and the source more than its share.
    SourceShare,
    /// The source has had all the starts that one source may have in a minute.
    SourceMinute,
    /// The load average reached max_load.
    Load,
    /// Outside access_times.
    Time,
    /// All instances are taken.
    ServiceLimit,
    /// The source has all its instances.
    PerSourceLimit,
    /// The host has all its processes.
    ProcessLimit,
    /// A sensor or an operator denied the source.
    Denied,
    /// The service is a sensor.
    Sensor,
    /// A rule of no_access matches.
    NoAccess,
    /// Rules of no_access and only_from match. xinetd logs `only_from list and no_access list match equally`.
    BothLists,
    /// No rule of only_from matches.
    NotInOnlyFrom,
    /// The verdict hangs on the peer's names and they could not be asked for.
    NamesUnavailable,
    /// hosts.allow and hosts.deny refuse the client.
    HostsTables,
    /// The verdict of hosts.allow and hosts.deny hangs on a name, user, netgroup or command that could not be asked.
    HostsUnavailable,
    /// The peer may not send a PROXY header here: `proxy_from` does not name it.
    NoProxy,
    /// The header did not come in time, or is none.
    NoHeader,
    /// The program is not one that somebody answers for, or that cannot be told.
    Program,
}

impl Cause {
    /// xinetd's class of this cause.
    pub fn reason(self) -> Reason {
        match self {
            Cause::ServiceRate
            | Cause::SourceRate
            | Cause::ServiceMinute
            | Cause::SourceShare
            | Cause::SourceMinute => Reason::Rate,
            Cause::Load => Reason::Load,
            Cause::Time => Reason::Time,
            Cause::ServiceLimit => Reason::ServiceLimit,
            Cause::PerSourceLimit => Reason::PerSourceLimit,
            Cause::ProcessLimit => Reason::ProcessLimit,
            Cause::Denied
            | Cause::Sensor
            | Cause::NoAccess
            | Cause::BothLists
            | Cause::NotInOnlyFrom
            | Cause::NamesUnavailable
            | Cause::NoProxy => Reason::Address,
            Cause::NoHeader => Reason::Header,
            Cause::Program => Reason::Program,
            Cause::HostsTables | Cause::HostsUnavailable => Reason::Libwrap,
        }
    }

    /// One clause for a person.
    pub fn text(self) -> &'static str {
        match self {
            Cause::ServiceRate => "the service gets more connections per second than cps allows",
            Cause::SourceRate => "the source is above its share of the connections per second",
            Cause::ServiceMinute => "the service has had all its starts of this minute",
            Cause::SourceShare => "the source has had its share of the service's starts of this minute",
            Cause::SourceMinute => "the source has had all its starts of this minute",
            Cause::Load => "the load average has reached max_load",
            Cause::Time => "it is outside access_times",
            Cause::ServiceLimit => "all instances are taken",
            Cause::PerSourceLimit => "the source has all the instances that per_source allows",
            Cause::ProcessLimit => "all processes of the host are taken",
            Cause::Denied => "the source is on the list of denied sources",
            Cause::Sensor => "the service is a sensor",
            Cause::NoAccess => "a rule of no_access matches",
            Cause::BothLists => "rules of only_from and no_access both match, and no_access wins",
            Cause::NotInOnlyFrom => "no rule of only_from matches",
            Cause::NamesUnavailable => "a rule may match by name and the names could not be asked for",
            Cause::HostsTables => "hosts.allow and hosts.deny refuse the client",
            Cause::HostsUnavailable => {
                "a rule of hosts.allow or hosts.deny hangs on what could not be asked for"
            }
            Cause::NoProxy => "proxy_from does not name the peer",
            Cause::Program => "nobody answers for the content of the program",
            Cause::NoHeader => "what must stand in front of the connection did not come, or is none",
        }
    }
}

/// A refusal. Made without allocation: there may be very many.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// xinetd's class.
    pub reason: Reason,
    /// What exactly.
    pub cause: Cause,
    /// `cause` in words.
    pub text: &'static str,
    /// The line that decides, where one does.
    pub rule: Option<Origin>,
    /// The change of the rate limit that this arrival brought about.
    pub change: Option<RateChange>,
    /// The listener is to be left alone until this monotonic moment.
    pub rest: Option<Duration>,
    /// What this arrival did to a sensor.
    pub sensor: Option<SensorHit>,
}

impl Refusal {
    /// A refusal for this cause, by the line that decides.
    pub fn new(cause: Cause, rule: Option<&Origin>) -> Self {
        let (reason, text) = (cause.reason(), cause.text());
        Refusal { reason, cause, text, rule: rule.cloned(), change: None, rest: None, sensor: None }
    }
}

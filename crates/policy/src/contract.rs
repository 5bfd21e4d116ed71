//! Types that other crates rely on. (Being split into one file per idea.)

use crate::arrival::{Arrival, Facts, Now};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Where a rule was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// File.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: u32,
}

/// One address pattern with its text and origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// As written.
    pub text: String,
    /// Where.
    pub origin: Origin,
    /// What it matches.
    pub pattern: Pattern,
}

/// What an address rule matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// IPv4 network and prefix length. Also matches IPv4 clients of dual-stack sockets.
    V4(u32, u8),
    /// IPv6 network and prefix length. Matches IPv6 peers, mapped ones in their mapped form, never plain IPv4 peers.
    V6(u128, u8),
    /// Host name, compared without case.
    Name(String),
    /// Host name suffix with its dot, compared without case.
    Suffix(String),
}

/// What the limits and lists of one service are.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// Connections per second (0 = off) and wait seconds.
    pub cps: (u32, u32),
    /// Whether a tripped rate closes the listener as xinetd does.
    pub overload_closes: bool,
    /// max_load.
    pub max_load: Option<f64>,
    /// access_times: minutes of the day, both ends inclusive.
    pub windows: Option<Vec<(u16, u16)>>,
    /// instances.
    pub instances: Option<u32>,
    /// per_source.
    pub per_source: Option<u32>,
    /// Prefix lengths that per_source counts by, IPv4 and IPv6.
    pub per_source_prefix: (u8, u8),
    /// SENSOR: how long a proven source is denied.
    pub sensor: Option<Denial>,
    /// only_from; `Some(empty)` refuses everybody.
    pub only_from: Option<Vec<Rule>>,
    /// no_access.
    pub no_access: Option<Vec<Rule>>,
    /// Where each limit was written, for `explain`: (attribute, origin).
    pub origins: Vec<(&'static str, Origin)>,
}

/// How long a sensor denies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// Not at all.
    Never,
    /// For this long.
    For(Duration),
    /// Until cleared.
    Forever,
}

/// Why a client was refused. `word` is what xinetd writes after `FAIL: id `.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Reason {
    Rate,
    Load,
    Time,
    ServiceLimit,
    PerSourceLimit,
    ProcessLimit,
    Address,
    Libwrap,
    Fork,
}

#[allow(dead_code)]
pub(crate) fn signature_only(_: &Arrival, _: &Facts, _: &Now, _: IpAddr) {}

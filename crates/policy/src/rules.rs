//! What the configuration asks of one service, as plain data, and the same made ready for decisions.
//!
//! `Rules` is what crosses crate and process boundaries (the builtin worker gets a copy); it may hold no handle and no
//! derived data. `CompiledRules` derives what it needs and changes nothing.

use crate::address::{AddressIndex, Rule};
use crate::rate::minute::Limits;
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
    /// starts_per_minute.
    pub starts_per_minute: Option<u32>,
    /// source_starts_per_minute.
    pub source_starts_per_minute: Option<u32>,
    /// SENSOR: how long a proven source is denied.
    pub sensor: Option<Denial>,
    /// only_from; `Some(empty)` refuses everybody.
    pub only_from: Option<Vec<Rule>>,
    /// no_access.
    pub no_access: Option<Vec<Rule>>,
    /// Where each limit was written, for `explain`: (attribute, origin). The attribute names are xinetd's: `cps`,
    /// `max_load`, `access_times`, `instances`, `per_source`, `starts_per_minute`, `source_starts_per_minute`, `only_from`, `no_access`, `deny_time`, `flags`.
    pub origins: Vec<(&'static str, Origin)>,
}

impl Rules {
    pub(crate) fn minute(&self) -> Limits {
        Limits { service: self.starts_per_minute, source: self.source_starts_per_minute }
    }

    /// Where `attribute` was written, if it was.
    pub fn origin(&self, attribute: &str) -> Option<&Origin> {
        self.origins.iter().find(|(name, _)| *name == attribute).map(|(_, origin)| origin)
    }
}

impl Default for Rules {
    /// A service whose configuration says nothing (reference xinetd §16.6): 50 connections per second with 10 seconds
    /// of wait, and no other limit.
    fn default() -> Self {
        Rules {
            cps: (50, 10),
            overload_closes: false,
            max_load: None,
            windows: None,
            instances: None,
            per_source: None,
            per_source_prefix: (32, 64),
            starts_per_minute: None,
            source_starts_per_minute: None,
            sensor: None,
            only_from: None,
            no_access: None,
            origins: Vec::new(),
        }
    }
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

/// The rules of one service with their address lists compiled; made at load and at reload, never changed.
#[derive(Clone, Debug)]
pub struct CompiledRules {
    rules: Rules,
    only_from: Option<AddressIndex>,
    no_access: Option<AddressIndex>,
}

impl CompiledRules {
    /// Compiles the lists of `rules`.
    pub fn new(rules: Rules) -> Self {
        CompiledRules {
            only_from: rules.only_from.as_deref().map(AddressIndex::build),
            no_access: rules.no_access.as_deref().map(AddressIndex::build),
            rules,
        }
    }

    /// The plain data, as given to [`CompiledRules::new`].
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Whether some verdict of this service may depend on the peer's names.
    pub fn needs_names(&self) -> bool {
        [&self.only_from, &self.no_access].into_iter().flatten().any(AddressIndex::needs_names)
    }

    pub(crate) fn only_from(&self) -> Option<&AddressIndex> {
        self.only_from.as_ref()
    }

    pub(crate) fn no_access(&self) -> Option<&AddressIndex> {
        self.no_access.as_ref()
    }
}

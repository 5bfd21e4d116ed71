//! The rules of a datagram service on their way to the worker: a head, the lists in parts, an end.
//!
//! Texts and origins of rules stay with the supervisor (`explain` is its work); only what decides travels.

use super::Policy;
use super::wire::{BadMessage, Reader, Writer};
use portreeve_policy::{Origin, Pattern, Rule, Rules};
use std::sync::Arc;

/// The most entries of one list. More is an error when the rules are sent, never a shorter list.
pub const MAX_RULES: usize = 128 * 1024;

/// The most windows of access_times.
const MAX_WINDOWS: usize = 1440;

/// Entries of one message: even names of the greatest length stay below the longest message.
const PART: usize = 240;

/// A list of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// only_from.
    OnlyFrom,
    /// no_access.
    NoAccess,
}

/// What applies to datagrams of [`Rules`], without the lists. A datagram occupies no instance, so of `instances` and
/// `per_source` it is the 0 that counts; a SENSOR never comes here.
#[derive(Clone, Debug, PartialEq)]
pub struct RulesHead {
    /// cps: rate (0 = off) and wait seconds.
    pub cps: (u32, u32),
    /// Whether a tripped rate closes as xinetd does.
    pub overload_closes: bool,
    /// max_load.
    pub max_load: Option<f64>,
    /// access_times.
    pub windows: Option<Vec<(u16, u16)>>,
    /// instances.
    pub instances: Option<u32>,
    /// per_source.
    pub per_source: Option<u32>,
    /// starts_per_minute; that of one source means nothing where the source may be forged.
    pub starts_per_minute: Option<u32>,
    /// Whether only_from is set at all.
    pub only_from: bool,
    /// Whether no_access is set at all.
    pub no_access: bool,
}

/// The messages that bring `rules` to the worker, in order.
///
/// # Errors
/// A list longer than [`MAX_RULES`], or a name that the protocol does not carry.
pub fn rules_messages(slot: u32, log_served: bool, rules: &Rules) -> Result<Vec<Policy>, BadMessage> {
    let head = RulesHead {
        cps: rules.cps,
        overload_closes: rules.overload_closes,
        max_load: rules.max_load,
        windows: rules.windows.clone(),
        instances: rules.instances,
        per_source: rules.per_source,
        starts_per_minute: rules.starts_per_minute,
        only_from: rules.only_from.is_some(),
        no_access: rules.no_access.is_some(),
    };
    let mut messages = vec![Policy::RulesHead { slot, log_served, head }];
    for (list, entries) in [(List::OnlyFrom, &rules.only_from), (List::NoAccess, &rules.no_access)] {
        let entries = entries.as_deref().unwrap_or_default();
        if entries.len() > MAX_RULES {
            return Err(BadMessage::TooLong("address list"));
        }
        for part in entries.chunks(PART) {
            let patterns = part.iter().map(|rule| rule.pattern.clone()).collect();
            messages.push(Policy::RulesPart { slot, list, patterns });
        }
    }
    messages.push(Policy::RulesEnd { slot });
    // A rule that cannot travel must be known before the first message leaves: half a list is another list.
    let mut scratch = Vec::new();
    messages.iter().try_for_each(|message| message.encode(&mut scratch))?;
    Ok(messages)
}

/// Rules that are still arriving.
#[derive(Clone, Debug)]
pub struct RulesInParts {
    head: RulesHead,
    /// Whether served sources are to be reported.
    pub log_served: bool,
    only_from: Vec<Rule>,
    no_access: Vec<Rule>,
    nowhere: Origin,
}

impl RulesInParts {
    /// Begins with the head.
    pub fn new(head: RulesHead, log_served: bool) -> Self {
        let nowhere = Origin { file: Arc::from(""), line: 0 };
        Self { head, log_served, only_from: Vec::new(), no_access: Vec::new(), nowhere }
    }

    /// Adds a part.
    ///
    /// # Errors
    /// A list that grows beyond [`MAX_RULES`], or entries of a list that the head says is not set.
    pub fn add(&mut self, list: List, patterns: Vec<Pattern>) -> Result<(), BadMessage> {
        let (set, rules) = match list {
            List::OnlyFrom => (self.head.only_from, &mut self.only_from),
            List::NoAccess => (self.head.no_access, &mut self.no_access),
        };
        if !set {
            return Err(BadMessage::BadValue("entries of an unset list"));
        }
        if rules.len() + patterns.len() > MAX_RULES {
            return Err(BadMessage::TooLong("address list"));
        }
        let nowhere = &self.nowhere;
        rules.extend(patterns.into_iter().map(|pattern| Rule {
            text: String::new(),
            origin: nowhere.clone(),
            pattern,
        }));
        Ok(())
    }

    /// The complete rules.
    pub fn finish(self) -> Rules {
        Rules {
            cps: self.head.cps,
            overload_closes: self.head.overload_closes,
            max_load: self.head.max_load,
            windows: self.head.windows,
            instances: self.head.instances,
            per_source: self.head.per_source,
            per_source_prefix: (32, 64),
            starts_per_minute: self.head.starts_per_minute,
            source_starts_per_minute: None,
            sensor: None,
            only_from: self.head.only_from.then_some(self.only_from),
            no_access: self.head.no_access.then_some(self.no_access),
            origins: Vec::new(),
        }
    }
}

pub(super) fn put_head(writer: &mut Writer<'_>, head: &RulesHead) -> Result<(), BadMessage> {
    writer.u32(head.cps.0);
    writer.u32(head.cps.1);
    writer.flag(head.overload_closes);
    if head.max_load.is_some_and(|load| !load.is_finite()) {
        return Err(BadMessage::BadValue("max_load"));
    }
    writer.option(head.max_load, |writer, load| writer.u64(load.to_bits()));
    writer.flag(head.windows.is_some());
    if let Some(windows) = &head.windows {
        writer.count("access_times", windows.len(), MAX_WINDOWS)?;
        for (from, to) in windows {
            writer.u16(*from);
            writer.u16(*to);
        }
    }
    for limit in [head.instances, head.per_source, head.starts_per_minute] {
        writer.option(limit, |writer, limit| writer.u32(limit));
    }
    writer.flag(head.only_from);
    writer.flag(head.no_access);
    Ok(())
}

pub(super) fn take_head(input: &mut Reader<'_>) -> Result<RulesHead, BadMessage> {
    Ok(RulesHead {
        cps: (input.u32()?, input.u32()?),
        overload_closes: input.flag("overload")?,
        max_load: input.option("max_load", |input| {
            let load = f64::from_bits(input.u64()?);
            if load.is_finite() { Ok(load) } else { Err(BadMessage::BadValue("max_load")) }
        })?,
        windows: input.option("access_times", |input| {
            input.list("access_times", MAX_WINDOWS, |input| Ok((input.u16()?, input.u16()?)))
        })?,
        instances: input.option("instances", Reader::u32)?,
        per_source: input.option("per_source", Reader::u32)?,
        starts_per_minute: input.option("starts_per_minute", Reader::u32)?,
        only_from: input.flag("only_from")?,
        no_access: input.flag("no_access")?,
    })
}

pub(super) fn put_patterns(writer: &mut Writer<'_>, patterns: &[Pattern]) -> Result<(), BadMessage> {
    writer.count("address list part", patterns.len(), PART)?;
    for pattern in patterns {
        match pattern {
            Pattern::V4(network, length) => {
                writer.u8(0);
                writer.u32(*network);
                writer.u8(*length);
            }
            Pattern::V6(network, length) => {
                writer.u8(1);
                writer.u128(*network);
                writer.u8(*length);
            }
            Pattern::Name(name) => {
                writer.u8(2);
                writer.name("host name", name)?;
            }
            Pattern::Suffix(suffix) => {
                writer.u8(3);
                writer.name("host name suffix", suffix)?;
            }
        }
    }
    Ok(())
}

pub(super) fn take_patterns(input: &mut Reader<'_>) -> Result<Vec<Pattern>, BadMessage> {
    input.list("address list part", PART, |input| {
        Ok(match input.u8()? {
            0 => Pattern::V4(input.u32()?, prefix_length(input, 32)?),
            1 => Pattern::V6(input.u128()?, prefix_length(input, 128)?),
            2 => Pattern::Name(input.name("host name")?),
            3 => Pattern::Suffix(input.name("host name suffix")?),
            _ => return Err(BadMessage::BadValue("address rule")),
        })
    })
}

fn prefix_length(input: &mut Reader<'_>, most: u8) -> Result<u8, BadMessage> {
    let length = input.u8()?;
    if length > most { Err(BadMessage::BadValue("prefix length")) } else { Ok(length) }
}

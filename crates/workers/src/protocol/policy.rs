//! What a worker that owns datagram sockets must know of the policy: the rules of each service, hosts.allow and hosts.deny, and who is
//! denied. The builtin and the proxy worker are told the same.

use super::firewall::MAX_BANS;
use super::rules::{List, RulesHead, put_head, put_patterns, take_head, take_patterns};
use super::wire::{BadMessage, Reader, Writer};
use portreeve_policy::{Pattern, Prefix};

/// The longest of hosts.allow and hosts.deny that is sent, in bytes: it is read for each datagram.
pub const MAX_TABLE: usize = 1 << 20;

const RULES_HEAD: u8 = 35;
const RULES_PART: u8 = 36;
const RULES_END: u8 = 37;
const FORGET: u8 = 38;
const BANS: u8 = 39;
const WRAPPED: u8 = 42;
const TABLES: u8 = 43;
const PARDON: u8 = 46;

/// One of the tables on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableSent {
    /// There is none.
    Missing,
    /// It cannot be read, or is too long to be sent.
    Unreadable,
    /// So many bytes of the file.
    Text(u32),
}

impl TableSent {
    fn put(self, writer: &mut Writer<'_>) {
        match self {
            TableSent::Missing => writer.u8(0),
            TableSent::Unreadable => writer.u8(1),
            TableSent::Text(length) => {
                writer.u8(2);
                writer.u32(length);
            }
        }
    }

    fn take(input: &mut Reader<'_>) -> Result<Self, BadMessage> {
        Ok(match input.u8()? {
            0 => TableSent::Missing,
            1 => TableSent::Unreadable,
            2 => match input.u32()? {
                length if length as usize <= MAX_TABLE => TableSent::Text(length),
                _ => return Err(BadMessage::TooLong("table")),
            },
            _ => return Err(BadMessage::BadValue("table")),
        })
    }
}

/// What is told of the policy. New rules are the messages of [`super::rules_messages`]: the old ones hold until their end.
#[derive(Clone, Debug, PartialEq)]
pub enum Policy {
    /// New rules for a slot begin.
    RulesHead {
        /// Of which service.
        slot: u32,
        /// Whether the sources of served datagrams are to be reported (START lines).
        log_served: bool,
        /// All but the lists.
        head: RulesHead,
    },
    /// More entries of a list.
    RulesPart {
        /// Of which service.
        slot: u32,
        /// Which list.
        list: List,
        /// The entries.
        patterns: Vec<Pattern>,
    },
    /// The new rules are complete and take effect.
    RulesEnd {
        /// Of which service.
        slot: u32,
    },
    /// Under which daemon name hosts.allow and hosts.deny are asked about the datagrams of a slot; `None`: they are not.
    Wrapped {
        /// Of which service.
        slot: u32,
        /// The name.
        daemon: Option<String>,
    },
    /// hosts.allow and hosts.deny as they stand now. Carries a file with their texts, one behind the other.
    Tables {
        /// hosts.allow.
        allow: TableSent,
        /// hosts.deny.
        deny: TableSent,
    },
    /// Close the datagram service.
    Forget {
        /// Which.
        slot: u32,
    },
    /// These are banned, each for so many milliseconds more; none is for ever. No part of them is protected.
    Bans(Vec<(Prefix, Option<u64>)>),
    /// These are banned no more.
    Pardon(Vec<Prefix>),
}

impl Policy {
    /// Whether a descriptor travels with this message.
    pub fn carries_descriptor(&self) -> bool {
        matches!(self, Policy::Tables { .. })
    }

    /// Of which service it is; of none where it stands for all.
    pub fn slot(&self) -> Option<u32> {
        match self {
            Policy::RulesHead { slot, .. }
            | Policy::RulesPart { slot, .. }
            | Policy::RulesEnd { slot }
            | Policy::Wrapped { slot, .. }
            | Policy::Forget { slot } => Some(*slot),
            Policy::Tables { .. } | Policy::Bans(_) | Policy::Pardon(_) => None,
        }
    }

    /// Writes the message into `out`, replacing what it held.
    ///
    /// # Errors
    /// A list or name beyond the protocol's bounds.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), BadMessage> {
        let mut writer;
        match self {
            Policy::RulesHead { slot, log_served, head } => {
                writer = Writer::new(out, RULES_HEAD);
                writer.u32(*slot);
                writer.flag(*log_served);
                put_head(&mut writer, head)?;
            }
            Policy::RulesPart { slot, list, patterns } => {
                writer = Writer::new(out, RULES_PART);
                writer.u32(*slot);
                writer.flag(*list == List::NoAccess);
                put_patterns(&mut writer, patterns)?;
            }
            Policy::RulesEnd { slot } => {
                writer = Writer::new(out, RULES_END);
                writer.u32(*slot);
            }
            Policy::Wrapped { slot, daemon } => {
                writer = Writer::new(out, WRAPPED);
                writer.u32(*slot);
                writer.flag(daemon.is_some());
                if let Some(daemon) = daemon {
                    writer.name("daemon", daemon)?;
                }
            }
            Policy::Tables { allow, deny } => {
                writer = Writer::new(out, TABLES);
                allow.put(&mut writer);
                deny.put(&mut writer);
            }
            Policy::Forget { slot } => {
                writer = Writer::new(out, FORGET);
                writer.u32(*slot);
            }
            Policy::Bans(bans) => {
                writer = Writer::new(out, BANS);
                writer.count("bans", bans.len(), MAX_BANS)?;
                for (prefix, left) in bans {
                    writer.prefix(prefix);
                    writer.option(*left, Writer::u64);
                }
            }
            Policy::Pardon(prefixes) => {
                writer = Writer::new(out, PARDON);
                writer.count("pardons", prefixes.len(), MAX_BANS)?;
                prefixes.iter().for_each(|prefix| writer.prefix(prefix));
            }
        }
        writer.finish()
    }

    /// Reads what follows the tag.
    pub(super) fn take(tag: u8, input: &mut Reader<'_>) -> Result<Self, BadMessage> {
        Ok(match tag {
            RULES_HEAD => Policy::RulesHead {
                slot: input.u32()?,
                log_served: input.flag("log_served")?,
                head: take_head(input)?,
            },
            RULES_PART => Policy::RulesPart {
                slot: input.u32()?,
                list: if input.flag("list")? { List::NoAccess } else { List::OnlyFrom },
                patterns: take_patterns(input)?,
            },
            RULES_END => Policy::RulesEnd { slot: input.u32()? },
            WRAPPED => Policy::Wrapped {
                slot: input.u32()?,
                daemon: input.option("daemon", |input| input.name("daemon"))?,
            },
            TABLES => Policy::Tables { allow: TableSent::take(input)?, deny: TableSent::take(input)? },
            FORGET => Policy::Forget { slot: input.u32()? },
            BANS => {
                Policy::Bans(input.list("bans", MAX_BANS, |input| {
                    Ok((input.prefix()?, input.option("left", Reader::u64)?))
                })?)
            }
            PARDON => Policy::Pardon(input.list("pardons", MAX_BANS, Reader::prefix)?),
            other => return Err(BadMessage::UnknownTag(other)),
        })
    }
}

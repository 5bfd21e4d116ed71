//! Bans on their way to the ledger's store and back: which to keep, which to forget, and those that are kept. Times are the wall
//! clock's, since they outlast the machine's.

use super::wire::{BadMessage, Reader, Writer};

/// The most bans, or networks, in one message.
pub const MAX_KEPT: usize = 200;
/// The longest reason of a ban, in bytes.
pub const MAX_REASON: usize = 200;

const KEEP: u8 = 113;
const FORGET: u8 = 114;
const RECALL: u8 = 115;
const GATHER: u8 = 116;
const KEEP_GATHERED: u8 = 117;
const GATHER_FORGOTTEN: u8 = 118;
const FORGET_GATHERED: u8 = 119;

/// Who has made a ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// An operator, by hand.
    Operator,
    /// A sensor.
    Sensor,
    /// The policy, for evidence.
    Evidence,
    /// The same, where a proxy says who it is: it acts in the daemon alone.
    EvidenceInside,
}

const MAKERS: [Maker; 4] = [Maker::Operator, Maker::Sensor, Maker::Evidence, Maker::EvidenceInside];

impl Maker {
    /// The word in the database.
    pub fn word(self) -> &'static str {
        match self {
            Maker::Operator => "operator",
            Maker::Sensor => "sensor",
            Maker::Evidence => "evidence",
            Maker::EvidenceInside => "evidence by proxy",
        }
    }

    /// What that word means; whatever is not known is an operator's.
    pub fn of_word(word: &str) -> Self {
        MAKERS.into_iter().find(|maker| maker.word() == word).unwrap_or(Maker::Operator)
    }
}

/// A ban as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptBan {
    /// The network, as `address/length`.
    pub network: String,
    /// Since when, microseconds since 1970.
    pub since: i64,
    /// Until when; for ever without.
    pub until: Option<i64>,
    /// Who has made it.
    pub maker: Maker,
    /// The how manieth ban of this network it is.
    pub strikes: u32,
    /// What for.
    pub reason: String,
}

impl KeptBan {
    pub(super) fn put(&self, writer: &mut Writer<'_>) {
        writer.short(&self.network);
        writer.u64(self.since.cast_unsigned());
        writer.option(self.until, |writer, until| writer.u64(until.cast_unsigned()));
        writer.u8(MAKERS.iter().position(|maker| *maker == self.maker).unwrap_or(0) as u8);
        writer.u32(self.strikes);
        writer.short(&self.reason);
    }

    pub(super) fn take(input: &mut Reader<'_>) -> Result<Self, BadMessage> {
        Ok(KeptBan {
            network: input.short("network")?.to_owned(),
            since: input.u64()?.cast_signed(),
            until: input.option("until", |input| Ok(input.u64()?.cast_signed()))?,
            maker: *MAKERS.get(usize::from(input.u8()?)).ok_or(BadMessage::BadValue("maker of a ban"))?,
            strikes: input.u32()?,
            reason: input.short("reason")?.to_owned(),
        })
    }
}

/// What the supervisor tells the ledger about bans. Each is answered: by `Kept`, and `Recall` by `Recalled`, the last one marked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BanOrder {
    /// Keep these, in place of what is kept of the same networks.
    Keep(Vec<KeptBan>),
    /// Keep these no longer.
    Forget(Vec<String>),
    /// Say which are kept and have not ended. What was gathered is forgotten.
    Recall,
    /// Keep these together with those that follow, all of them or none, once [`BanOrder::KeepGathered`] comes. Of a network that is to be
    /// kept or forgotten meanwhile, that counts.
    Gather(Vec<KeptBan>),
    /// All that was gathered is there.
    KeepGathered,
    /// Keep these no longer, together with those that follow, once [`BanOrder::ForgetGathered`] comes; but those that are to be kept since.
    GatherForgotten(Vec<String>),
    /// All of those are there.
    ForgetGathered,
}

impl BanOrder {
    /// Whether these bytes are one of these messages, and not a batch of events.
    pub fn is_one(bytes: &[u8]) -> bool {
        let all = [KEEP, FORGET, RECALL, GATHER, KEEP_GATHERED, GATHER_FORGOTTEN, FORGET_GATHERED];
        bytes.first().is_some_and(|tag| all.contains(tag))
    }

    /// Writes the message into `out`, replacing what it held.
    ///
    /// # Errors
    /// A list beyond the protocol's bounds.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), BadMessage> {
        let mut writer;
        match self {
            BanOrder::Keep(bans) | BanOrder::Gather(bans) => {
                writer = Writer::new(out, if matches!(self, BanOrder::Keep(_)) { KEEP } else { GATHER });
                writer.count("bans", bans.len(), MAX_KEPT)?;
                bans.iter().for_each(|ban| ban.put(&mut writer));
            }
            BanOrder::Forget(networks) | BanOrder::GatherForgotten(networks) => {
                let now = matches!(self, BanOrder::Forget(_));
                writer = Writer::new(out, if now { FORGET } else { GATHER_FORGOTTEN });
                writer.count("networks", networks.len(), MAX_KEPT)?;
                networks.iter().for_each(|network| writer.short(network));
            }
            BanOrder::Recall => writer = Writer::new(out, RECALL),
            BanOrder::KeepGathered => writer = Writer::new(out, KEEP_GATHERED),
            BanOrder::ForgetGathered => writer = Writer::new(out, FORGET_GATHERED),
        }
        writer.finish()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// Bytes that are no such message.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadMessage> {
        let (tag, mut input) = Reader::new(bytes)?;
        let order = match tag {
            KEEP => BanOrder::Keep(input.list("bans", MAX_KEPT, KeptBan::take)?),
            FORGET => BanOrder::Forget(networks(&mut input)?),
            GATHER_FORGOTTEN => BanOrder::GatherForgotten(networks(&mut input)?),
            FORGET_GATHERED => BanOrder::ForgetGathered,
            RECALL => BanOrder::Recall,
            GATHER => BanOrder::Gather(input.list("bans", MAX_KEPT, KeptBan::take)?),
            KEEP_GATHERED => BanOrder::KeepGathered,
            other => return Err(BadMessage::UnknownTag(other)),
        };
        input.finish()?;
        Ok(order)
    }
}

fn networks(input: &mut Reader<'_>) -> Result<Vec<String>, BadMessage> {
    input.list("networks", MAX_KEPT, |input| Ok(input.short("network")?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_heard_and_nothing_else() {
        let ban = |until| KeptBan {
            network: "192.0.2.0/24".into(),
            since: -1,
            until,
            maker: if until.is_none() { Maker::Sensor } else { Maker::EvidenceInside },
            strikes: 3,
            reason: "\u{e9}".into(),
        };
        let mut bytes = Vec::new();
        for order in [
            BanOrder::Keep(vec![ban(None), ban(Some(i64::MAX))]),
            BanOrder::Forget(vec!["2001:db8::/32".into()]),
            BanOrder::Recall,
            BanOrder::Gather(vec![ban(None)]),
            BanOrder::KeepGathered,
            BanOrder::GatherForgotten(vec!["192.0.2.0/24".into()]),
            BanOrder::ForgetGathered,
        ] {
            order.encode(&mut bytes).unwrap();
            assert!(BanOrder::is_one(&bytes));
            assert_eq!(BanOrder::decode(&bytes), Ok(order));
            for length in 0..bytes.len() {
                assert!(BanOrder::decode(&bytes[..length]).is_err());
            }
            bytes.push(0);
            assert!(BanOrder::decode(&bytes).is_err());
        }
        let many = BanOrder::Keep(vec![ban(None); MAX_KEPT + 1]);
        assert_eq!(many.encode(&mut bytes), Err(BadMessage::TooLong("bans")));
        let longest = KeptBan { reason: "x".repeat(MAX_REASON), network: "x".repeat(43), ..ban(Some(1)) };
        assert_eq!(BanOrder::Keep(vec![longest; MAX_KEPT]).encode(&mut bytes), Ok(()));
    }
}

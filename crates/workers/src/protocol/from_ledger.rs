//! What the ledger tells the supervisor: whether there is a database, and what became of each batch.

use super::kept::{KeptBan, MAX_KEPT};
use super::referee::{Missing, put_ready, tag, take_ready};
use super::wire::{BadMessage, Reader, Writer};

/// The longest sentence, in bytes.
const MAX_WHY: usize = 1024;
/// The longest path that is passed on.
const MAX_PATH: usize = 4096;

/// What the ledger tells the supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromLedger {
    /// First message: it is confined.
    Ready {
        /// What of the confinement is missing.
        missing: Vec<Missing>,
    },
    /// The database is open; events are written from now on.
    Opened {
        /// Where it is.
        path: String,
        /// The most bytes that it may have.
        most_bytes: u64,
        /// Seconds after which an event is deleted.
        keep_seconds: u64,
        /// Bytes that it has.
        bytes: u64,
        /// The largest number of an event in it: new ones are above it.
        last_id: u64,
        /// What happened on the way, for the log; empty when nothing did.
        note: String,
    },
    /// There is none: nothing is sent, and the ledger is not started again before a reload.
    Closed {
        /// Whether that is as the settings want it.
        wanted: bool,
        /// Why.
        why: String,
    },
    /// A batch has been dealt with.
    Written {
        /// Events that are in the database now.
        written: u32,
        /// Events that could not be written.
        lost: u32,
        /// Bytes that the database has.
        bytes: u64,
        /// What is wrong, each time that this changes; empty when nothing is.
        trouble: Option<String>,
    },
    /// What was to be kept or forgotten of bans is on the disk; or it is not, and why.
    Kept {
        /// What is wrong; empty when it is done.
        trouble: String,
        /// These were those that were gathered.
        gathered: bool,
    },
    /// Bans that are kept.
    Recalled {
        /// They.
        bans: Vec<KeptBan>,
        /// There are no more.
        last: bool,
        /// Why they could not be read; empty when they could.
        trouble: String,
    },
}

impl FromLedger {
    /// Writes the message into `out`, replacing what it held.
    ///
    /// # Errors
    /// A text that is too long or holds control characters.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), BadMessage> {
        let mut writer;
        match self {
            FromLedger::Ready { missing } => {
                writer = Writer::new(out, tag::READY);
                put_ready(&mut writer, missing);
            }
            FromLedger::Opened { path, most_bytes, keep_seconds, bytes, last_id, note } => {
                writer = Writer::new(out, tag::OPENED);
                writer.printable("path", path.as_bytes(), MAX_PATH)?;
                for number in [most_bytes, keep_seconds, bytes, last_id] {
                    writer.u64(*number);
                }
                writer.printable("note", note.as_bytes(), MAX_WHY)?;
            }
            FromLedger::Closed { wanted, why } => {
                writer = Writer::new(out, tag::CLOSED);
                writer.flag(*wanted);
                writer.printable("reason", why.as_bytes(), MAX_WHY)?;
            }
            FromLedger::Kept { trouble, gathered } => {
                writer = Writer::new(out, tag::KEPT);
                writer.printable("trouble", trouble.as_bytes(), MAX_WHY)?;
                writer.flag(*gathered);
            }
            FromLedger::Recalled { bans, last, trouble } => {
                writer = Writer::new(out, tag::RECALLED);
                writer.count("bans", bans.len(), MAX_KEPT)?;
                bans.iter().for_each(|ban| ban.put(&mut writer));
                writer.flag(*last);
                writer.printable("trouble", trouble.as_bytes(), MAX_WHY)?;
            }
            FromLedger::Written { written, lost, bytes, trouble } => {
                writer = Writer::new(out, tag::WRITTEN);
                writer.u32(*written);
                writer.u32(*lost);
                writer.u64(*bytes);
                writer.flag(trouble.is_some());
                if let Some(trouble) = trouble {
                    writer.printable("trouble", trouble.as_bytes(), MAX_WHY)?;
                }
            }
        }
        writer.finish()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// Bytes that are no such message.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadMessage> {
        let (tag, mut input) = Reader::new(bytes)?;
        let message = match tag {
            tag::READY => FromLedger::Ready { missing: take_ready(&mut input)? },
            tag::OPENED => FromLedger::Opened {
                path: text(&mut input, "path", MAX_PATH)?,
                most_bytes: input.u64()?,
                keep_seconds: input.u64()?,
                bytes: input.u64()?,
                last_id: input.u64()?,
                note: text(&mut input, "note", MAX_WHY)?,
            },
            tag::CLOSED => FromLedger::Closed {
                wanted: input.flag("wanted")?,
                why: text(&mut input, "reason", MAX_WHY)?,
            },
            tag::KEPT => FromLedger::Kept {
                trouble: text(&mut input, "trouble", MAX_WHY)?,
                gathered: input.flag("gathered")?,
            },
            tag::RECALLED => FromLedger::Recalled {
                bans: input.list("bans", MAX_KEPT, KeptBan::take)?,
                last: input.flag("last")?,
                trouble: text(&mut input, "trouble", MAX_WHY)?,
            },
            tag::WRITTEN => FromLedger::Written {
                written: input.u32()?,
                lost: input.u32()?,
                bytes: input.u64()?,
                trouble: input.option("trouble", |input| text(input, "trouble", MAX_WHY))?,
            },
            other => return Err(BadMessage::UnknownTag(other)),
        };
        input.finish()?;
        Ok(message)
    }
}

/// A sentence as a message takes it: no control character, not too long.
pub fn sentence(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut left = MAX_WHY;
    plain
        .take_while(|c| {
            left = left.saturating_sub(c.len_utf8());
            left > 0
        })
        .collect()
}

fn text(input: &mut Reader<'_>, what: &'static str, most: usize) -> Result<String, BadMessage> {
    String::from_utf8(input.printable(what, most)?).map_err(|_| BadMessage::BadValue(what))
}

#[cfg(test)]
mod tests {
    use super::super::kept::Maker;
    use super::*;

    #[test]
    fn what_is_said_is_heard_and_nothing_else() {
        let all = [
            FromLedger::Ready { missing: vec![Missing::Landlock] },
            FromLedger::Opened {
                path: "/var/lib/l/ledger.db".into(),
                most_bytes: 1,
                keep_seconds: 2,
                bytes: 3,
                last_id: u64::MAX,
                note: sentence("it was\ndamaged"),
            },
            FromLedger::Closed { wanted: true, why: "off".into() },
            FromLedger::Written { written: 1, lost: 2, bytes: 3, trouble: Some(String::new()) },
            FromLedger::Written { written: 1, lost: 0, bytes: 3, trouble: None },
            FromLedger::Kept { trouble: "the disk is full".into(), gathered: true },
            FromLedger::Recalled {
                bans: vec![KeptBan {
                    network: "192.0.2.0/24".into(),
                    since: 1,
                    until: Some(2),
                    maker: Maker::Evidence,
                    strikes: 2,
                    reason: "r".into(),
                }],
                last: true,
                trouble: "none".into(),
            },
        ];
        let mut bytes = Vec::new();
        for message in all {
            message.encode(&mut bytes).unwrap();
            assert_eq!(FromLedger::decode(&bytes), Ok(message));
            for length in 0..bytes.len() {
                assert!(FromLedger::decode(&bytes[..length]).is_err());
            }
            bytes.push(0);
            assert!(FromLedger::decode(&bytes).is_err());
        }
        let long = FromLedger::Closed { wanted: true, why: "x".repeat(MAX_WHY + 1) };
        assert_eq!(long.encode(&mut bytes), Err(BadMessage::TooLong("reason")));
        let cut = FromLedger::Closed { wanted: true, why: sentence(&"\u{e9}\n".repeat(MAX_WHY)) };
        assert_eq!(cut.encode(&mut bytes), Ok(()));
    }
}

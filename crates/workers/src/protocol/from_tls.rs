//! What a worker that serves TLS tells the supervisor. Texts in it come from what strangers sent, so they are bounded and hold
//! no control character.

use super::from_proxy::Carried;
use super::referee::{Missing, put_ready, tag, take_ready};
use super::to_tls::TlsFile;
use super::wire::{BadMessage, Reader, Writer};

/// The longest reason, in bytes.
pub const MAX_WHY: usize = 200;
/// The longest subject of a certificate, in bytes.
pub const MAX_SUBJECT: usize = 512;
/// The longest name of a protocol that is passed on.
const MAX_PROTOCOL: usize = 255;

/// What is wrong with the files that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongFile {
    /// Which kind of file.
    pub kind: TlsFile,
    /// Of which pair.
    pub index: u8,
    /// What, as the rest of a sentence.
    pub why: String,
}

/// How a connection behind TLS ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sealed {
    /// As one of the proxy's.
    Carried(Carried),
    /// The client's handshake failed.
    Handshake(String),
    /// The target's handshake failed, or its certificate is not the right one.
    Target(String),
}

/// What a worker that serves TLS tells the supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromTls {
    /// First message: it is confined and waits for its files.
    Ready {
        /// What of the confinement is missing.
        missing: Vec<Missing>,
    },
    /// The files that came last are in use, or why not; then those before them still are.
    Keyed {
        /// What is wrong.
        wrong: Option<WrongFile>,
    },
    /// A client has shaken hands and waits for its target.
    Shaken {
        /// Which.
        ticket: u64,
        /// TLS 1.3, not 1.2.
        newest: bool,
        /// The host that it asked for (SNI).
        server_name: Option<String>,
        /// The protocol that was agreed on (ALPN).
        protocol: Option<Vec<u8>>,
        /// The subject of its certificate, which was verified.
        subject: Option<Vec<u8>>,
    },
    /// A target has accepted, which was asked for.
    Reached {
        /// Of the client.
        ticket: u64,
    },
    /// A target was not reached. The client waits for another one, or for `End`.
    Unreached {
        /// Of the client.
        ticket: u64,
        /// Why.
        errno: u16,
    },
    /// A connection has ended and its descriptors are closed.
    Done {
        /// Of the client.
        ticket: u64,
        /// Bytes from the client to the target.
        bytes_in: u64,
        /// Bytes from the target to the client.
        bytes_out: u64,
        /// How it ended.
        outcome: Sealed,
    },
}

impl FromTls {
    /// Writes the message into `out`, replacing what it held.
    ///
    /// # Errors
    /// A text that is too long or holds control characters.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), BadMessage> {
        let mut writer;
        match self {
            FromTls::Ready { missing } => {
                writer = Writer::new(out, tag::READY);
                put_ready(&mut writer, missing);
            }
            FromTls::Keyed { wrong } => {
                writer = Writer::new(out, tag::KEYED);
                writer.flag(wrong.is_some());
                if let Some(WrongFile { kind, index, why }) = wrong {
                    kind.put(&mut writer);
                    writer.u8(*index);
                    writer.printable("reason", why.as_bytes(), MAX_WHY)?;
                }
            }
            FromTls::Shaken { ticket, newest, server_name, protocol, subject } => {
                writer = Writer::new(out, tag::SHAKEN);
                writer.u64(*ticket);
                writer.flag(*newest);
                writer.flag(server_name.is_some());
                if let Some(name) = server_name {
                    writer.host("server name", name)?;
                }
                for (what, value, most) in
                    [("protocol", protocol, MAX_PROTOCOL), ("subject", subject, MAX_SUBJECT)]
                {
                    writer.flag(value.is_some());
                    if let Some(value) = value {
                        writer.printable(what, value, most)?;
                    }
                }
            }
            FromTls::Reached { ticket } => {
                writer = Writer::new(out, tag::REACHED);
                writer.u64(*ticket);
            }
            FromTls::Unreached { ticket, errno } => {
                writer = Writer::new(out, tag::UNREACHED);
                writer.u64(*ticket);
                writer.u16(*errno);
            }
            FromTls::Done { ticket, bytes_in, bytes_out, outcome } => {
                writer = Writer::new(out, tag::SEALED);
                writer.u64(*ticket);
                writer.u64(*bytes_in);
                writer.u64(*bytes_out);
                match outcome {
                    Sealed::Carried(carried) => {
                        writer.u8(0);
                        carried.put(&mut writer);
                    }
                    Sealed::Handshake(why) => {
                        writer.u8(1);
                        writer.printable("reason", why.as_bytes(), MAX_WHY)?;
                    }
                    Sealed::Target(why) => {
                        writer.u8(2);
                        writer.printable("reason", why.as_bytes(), MAX_WHY)?;
                    }
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
            tag::READY => FromTls::Ready { missing: take_ready(&mut input)? },
            tag::KEYED => FromTls::Keyed {
                wrong: input.option("wrong file", |input| {
                    Ok(WrongFile { kind: TlsFile::take(input)?, index: input.u8()?, why: reason(input)? })
                })?,
            },
            tag::SHAKEN => FromTls::Shaken {
                ticket: input.u64()?,
                newest: input.flag("newest")?,
                server_name: input.option("server name", |input| input.host("server name"))?,
                protocol: input.option("protocol", |input| input.printable("protocol", MAX_PROTOCOL))?,
                subject: input.option("subject", |input| input.printable("subject", MAX_SUBJECT))?,
            },
            tag::REACHED => FromTls::Reached { ticket: input.u64()? },
            tag::UNREACHED => FromTls::Unreached { ticket: input.u64()?, errno: input.u16()? },
            tag::SEALED => FromTls::Done {
                ticket: input.u64()?,
                bytes_in: input.u64()?,
                bytes_out: input.u64()?,
                outcome: match input.u8()? {
                    0 => Sealed::Carried(Carried::take(&mut input)?),
                    1 => Sealed::Handshake(reason(&mut input)?),
                    2 => Sealed::Target(reason(&mut input)?),
                    _ => return Err(BadMessage::BadValue("outcome")),
                },
            },
            other => return Err(BadMessage::UnknownTag(other)),
        };
        input.finish()?;
        Ok(message)
    }
}

fn reason(input: &mut Reader<'_>) -> Result<String, BadMessage> {
    let text = input.printable("reason", MAX_WHY)?;
    String::from_utf8(text).map_err(|_| BadMessage::BadValue("reason"))
}

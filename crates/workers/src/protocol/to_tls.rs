//! What the supervisor tells a worker that serves TLS. First the files, one message for each, then [`ToTls::Use`]; the same
//! again when they are to be read anew. A client comes as [`ToTls::Client`]; its target follows once it has shaken hands.

use super::MAX_NAME;
use super::to_proxy::{MAX_BANNER, MAX_HEAD};
use super::wire::{BadMessage, Reader, Writer};

/// Most certificates, and most protocols, of one worker.
pub const MAX_TLS_FILES: usize = 16;
/// The longest name of a protocol (RFC 7301).
const MAX_PROTOCOL: usize = 255;

const FILE: u8 = 70;
const USE: u8 = 71;
const CLIENT: u8 = 72;
const TARGET: u8 = 73;
const END: u8 = 74;

/// What a file of TLS holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsFile {
    /// A certificate with its chain.
    Certificate,
    /// Its key.
    Key,
    /// The authorities of clients' certificates.
    ClientAuthorities,
    /// The authorities of targets' certificates.
    TargetAuthorities,
    /// The same: the system's own.
    SystemAuthorities,
}

impl TlsFile {
    const ALL: [TlsFile; 5] = [
        TlsFile::Certificate,
        TlsFile::Key,
        TlsFile::ClientAuthorities,
        TlsFile::TargetAuthorities,
        TlsFile::SystemAuthorities,
    ];

    pub(super) fn put(self, out: &mut Writer<'_>) {
        out.u8(Self::ALL.iter().position(|kind| *kind == self).unwrap_or(0) as u8);
    }

    pub(super) fn take(input: &mut Reader<'_>) -> Result<Self, BadMessage> {
        let number = usize::from(input.u8()?);
        Self::ALL.get(number).copied().ok_or(BadMessage::BadValue("kind of file"))
    }
}

/// What the supervisor tells a worker that serves TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToTls {
    /// A file, open for reading. Carries its descriptor.
    File {
        /// What it holds.
        kind: TlsFile,
        /// Which pair it belongs to, from 0.
        index: u8,
    },
    /// All files have come: use them from now on. Answered by one `Keyed`.
    Use {
        /// Whether clients speak TLS.
        accept: bool,
        /// Whether targets are spoken to by TLS.
        connect: bool,
        /// The protocols that are offered to clients.
        protocols: Vec<Vec<u8>>,
    },
    /// A client. Carries its descriptor. Answered by exactly one `Done`, and before that by `Shaken` where clients speak TLS.
    Client {
        /// The supervisor's mark of this connection.
        ticket: u64,
        /// End after this many seconds without progress; at least 1.
        idle_seconds: u32,
        /// What the client is told once there is a target.
        banner: Vec<u8>,
    },
    /// A target for a client that has none. Carries the socket, whose connect is under way or done. Answered by `Unreached` if it
    /// comes to nothing; an unknown ticket has just ended and is ignored.
    Target {
        /// The client's mark.
        ticket: u64,
        /// The name that the target's certificate must hold; empty where the target is spoken to in the clear.
        name: String,
        /// What the target is told before the client's first byte: a PROXY header, or nothing.
        head: Vec<u8>,
        /// How long it may take to accept.
        patience_seconds: u16,
        /// Say `Reached` when it has accepted.
        tell: bool,
    },
    /// End a connection. Answered by its `Done`; an unknown ticket has just ended and is ignored.
    End {
        /// Which.
        ticket: u64,
    },
}

impl ToTls {
    /// Whether a descriptor travels with this message.
    pub fn carries_descriptor(&self) -> bool {
        matches!(self, ToTls::File { .. } | ToTls::Client { .. } | ToTls::Target { .. })
    }

    /// Writes the message into `out`, replacing what it held.
    ///
    /// # Errors
    /// Something is longer than the protocol allows.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), BadMessage> {
        let mut writer;
        match self {
            ToTls::File { kind, index } => {
                writer = Writer::new(out, FILE);
                kind.put(&mut writer);
                writer.u8(*index);
            }
            ToTls::Use { accept, connect, protocols } => {
                writer = Writer::new(out, USE);
                writer.flag(*accept);
                writer.flag(*connect);
                writer.count("protocols", protocols.len(), MAX_TLS_FILES)?;
                for protocol in protocols {
                    writer.blob("protocol", protocol, MAX_PROTOCOL)?;
                }
            }
            ToTls::Client { ticket, idle_seconds, banner } => {
                writer = Writer::new(out, CLIENT);
                writer.u64(*ticket);
                writer.u32(*idle_seconds);
                writer.blob("banner", banner, MAX_BANNER)?;
            }
            ToTls::Target { ticket, name, head, patience_seconds, tell } => {
                writer = Writer::new(out, TARGET);
                writer.u64(*ticket);
                writer.blob("name", name.as_bytes(), MAX_NAME)?;
                writer.blob("head", head, MAX_HEAD)?;
                writer.u16(*patience_seconds);
                writer.flag(*tell);
            }
            ToTls::End { ticket } => {
                writer = Writer::new(out, END);
                writer.u64(*ticket);
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
            FILE => ToTls::File { kind: TlsFile::take(&mut input)?, index: input.u8()? },
            USE => ToTls::Use {
                accept: input.flag("accept")?,
                connect: input.flag("connect")?,
                protocols: input
                    .list("protocols", MAX_TLS_FILES, |input| input.blob("protocol", MAX_PROTOCOL))?,
            },
            CLIENT => ToTls::Client {
                ticket: input.u64()?,
                idle_seconds: input.u32()?,
                banner: input.blob("banner", MAX_BANNER)?,
            },
            TARGET => ToTls::Target {
                ticket: input.u64()?,
                name: String::from_utf8(input.blob("name", MAX_NAME)?)
                    .map_err(|_| BadMessage::BadValue("name"))?,
                head: input.blob("head", MAX_HEAD)?,
                patience_seconds: input.u16()?,
                tell: input.flag("tell")?,
            },
            END => ToTls::End { ticket: input.u64()? },
            other => return Err(BadMessage::UnknownTag(other)),
        };
        input.finish()?;
        Ok(message)
    }
}

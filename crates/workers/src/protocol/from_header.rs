//! What the header worker tells the supervisor: for each connection it was given, what its first bytes name.

use super::referee::{Missing, put_ready, tag, take_ready};
use super::wire::{BadMessage, Reader, Writer};
use crate::header::MAX_MUX_NAME;
use std::net::SocketAddr;

/// What stood in front of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A PROXY header that names the client. What it says is the proxy's word; no handshake proved it.
    Proxied {
        /// The client.
        from: SocketAddr,
        /// Where the client had connected to.
        to: SocketAddr,
    },
    /// A PROXY header by which the proxy speaks for itself.
    Direct,
    /// A line of tcpmux: the name of a service, without control bytes.
    Name(Vec<u8>),
    /// Nothing that could be read.
    Failed(Fault),
}

/// Why there was nothing to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The other side has closed or reset the connection.
    Ended,
    /// The bytes are not what they should be.
    Malformed,
    /// They are more than there may be.
    TooLong,
    /// The worker has as many connections as it may.
    Full,
}

const FAULTS: [Fault; 4] = [Fault::Ended, Fault::Malformed, Fault::TooLong, Fault::Full];

/// What the header worker tells the supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromHeader {
    /// First message: it is confined and waits for connections.
    Ready {
        /// What of the confinement is missing.
        missing: Vec<Missing>,
    },
    /// A connection was read, and the worker's copy of it is closed.
    Read {
        /// Of the connection.
        ticket: u64,
        /// What was found.
        found: Found,
    },
}

impl FromHeader {
    /// Writes the message into `out`, replacing what it held.
    ///
    /// # Errors
    /// A name that is empty, too long, or has control bytes.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), BadMessage> {
        let mut writer;
        match self {
            FromHeader::Ready { missing } => {
                writer = Writer::new(out, tag::READY);
                put_ready(&mut writer, missing);
            }
            FromHeader::Read { ticket, found } => {
                writer = Writer::new(out, tag::HEADER);
                writer.u64(*ticket);
                put_found(&mut writer, found)?;
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
            tag::READY => FromHeader::Ready { missing: take_ready(&mut input)? },
            tag::HEADER => FromHeader::Read { ticket: input.u64()?, found: take_found(&mut input)? },
            other => return Err(BadMessage::UnknownTag(other)),
        };
        input.finish()?;
        Ok(message)
    }
}

fn put_found(writer: &mut Writer<'_>, found: &Found) -> Result<(), BadMessage> {
    match found {
        Found::Proxied { from, to } => {
            writer.u8(0);
            writer.socket_address(*from);
            writer.socket_address(*to);
        }
        Found::Direct => writer.u8(1),
        Found::Name(name) => {
            writer.u8(2);
            writer.printable("service name", name, MAX_MUX_NAME)?;
        }
        Found::Failed(fault) => {
            writer.u8(3 + (FAULTS.iter().position(|f| f == fault).unwrap_or(0) as u8));
        }
    }
    Ok(())
}

fn take_found(input: &mut Reader<'_>) -> Result<Found, BadMessage> {
    Ok(match input.u8()? {
        0 => Found::Proxied { from: plain(input.socket_address()?)?, to: plain(input.socket_address()?)? },
        1 => Found::Direct,
        2 => match input.printable("service name", MAX_MUX_NAME)? {
            name if name.is_empty() => return Err(BadMessage::BadValue("service name")),
            name => Found::Name(name),
        },
        other => {
            let fault = FAULTS.get(usize::from(other) - 3).ok_or(BadMessage::BadValue("found"))?;
            Found::Failed(*fault)
        }
    })
}

/// A PROXY header has neither a flow label nor a scope, and a mapped address is unwrapped: what has them did not come from one.
fn plain(address: SocketAddr) -> Result<SocketAddr, BadMessage> {
    let bare = SocketAddr::new(address.ip().to_canonical(), address.port());
    if bare == address { Ok(address) } else { Err(BadMessage::BadValue("proxied address")) }
}

//! Messages on their way to the supervisor. Never blocks, never reorders, never drops; whoever fills it must stop.

use crate::protocol::{
    BadMessage, Bundle, FromBuiltin, FromFirewall, FromHeader, FromLedger, FromProxy, FromRegistrar,
    FromSensor, FromTls,
};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// From here on no new work is taken in: what is under way adds at most one message per client to it.
const CROWDED: usize = 1024;

/// What a worker can say.
pub trait Word {
    /// Whether several may share a packet.
    const TOGETHER: bool = false;

    /// Writes the message into `out`, replacing what it held.
    fn write(&self, out: &mut Vec<u8>) -> Result<(), BadMessage>;
}

impl Word for FromBuiltin {
    const TOGETHER: bool = true;

    fn write(&self, out: &mut Vec<u8>) -> Result<(), BadMessage> {
        self.encode(out)
    }
}

impl Word for FromProxy {
    const TOGETHER: bool = true;

    fn write(&self, out: &mut Vec<u8>) -> Result<(), BadMessage> {
        self.encode(out)
    }
}

impl Word for FromRegistrar {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), BadMessage> {
        self.encode(out)
    }
}

impl Word for FromFirewall {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), BadMessage> {
        self.encode(out)
    }
}

impl Word for FromSensor {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), BadMessage> {
        self.encode(out)
    }
}

impl Word for FromHeader {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), BadMessage> {
        self.encode(out)
    }
}

impl Word for FromLedger {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), BadMessage> {
        self.encode(out)
    }
}

impl Word for FromTls {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), BadMessage> {
        self.encode(out)
    }
}

/// The channel and what waits for it.
#[derive(Debug)]
pub struct Outbox<M> {
    channel: OwnedFd,
    waiting: VecDeque<M>,
    bytes: Vec<u8>,
    bundle: Bundle,
}

impl<M: Word> Outbox<M> {
    /// Nothing waits yet.
    pub fn new(channel: OwnedFd) -> Self {
        Outbox { channel, waiting: VecDeque::new(), bytes: Vec::new(), bundle: Bundle::default() }
    }

    /// The channel.
    pub fn channel(&self) -> &OwnedFd {
        &self.channel
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether no new work is to be taken in.
    pub fn is_crowded(&self) -> bool {
        self.waiting.len() >= CROWDED
    }

    /// Adds a message.
    pub fn put(&mut self, message: M) {
        self.waiting.push_back(message);
    }

    /// Adds what there is.
    pub fn put_all(&mut self, messages: impl IntoIterator<Item = M>) {
        self.waiting.extend(messages);
    }

    /// Sends what the channel takes.
    ///
    /// # Errors
    /// The supervisor has gone, or a message of ours breaks the protocol.
    pub fn send(&mut self) -> io::Result<()> {
        while !self.waiting.is_empty() {
            self.bundle.clear();
            for message in self.waiting.iter().take(if M::TOGETHER { usize::MAX } else { 1 }) {
                message.write(&mut self.bytes).map_err(io::Error::other)?;
                if !self.bundle.add(&self.bytes) {
                    break;
                }
            }
            match portreeve_sys::seqpacket::send(self.channel.as_fd(), self.bundle.packet(), None) {
                Ok(()) => drop(self.waiting.drain(..self.bundle.count())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

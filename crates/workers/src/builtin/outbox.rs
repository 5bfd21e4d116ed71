//! Messages on their way to the supervisor. Never blocks, never reorders, never drops; whoever fills it must stop.

use crate::protocol::FromBuiltin;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// From here on no new work is taken in: what is under way adds at most one message per client to it.
const CROWDED: usize = 1024;

/// The channel and what waits for it.
#[derive(Debug)]
pub(super) struct Outbox {
    channel: OwnedFd,
    waiting: VecDeque<FromBuiltin>,
    bytes: Vec<u8>,
}

impl Outbox {
    pub(super) fn new(channel: OwnedFd) -> Self {
        Outbox { channel, waiting: VecDeque::new(), bytes: Vec::new() }
    }

    pub(super) fn channel(&self) -> &OwnedFd {
        &self.channel
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn is_crowded(&self) -> bool {
        self.waiting.len() >= CROWDED
    }

    pub(super) fn put(&mut self, message: FromBuiltin) {
        self.waiting.push_back(message);
    }

    /// Sends what the channel takes.
    ///
    /// # Errors
    /// The supervisor has gone, or a message of ours breaks the protocol.
    pub(super) fn send(&mut self) -> io::Result<()> {
        while let Some(message) = self.waiting.front() {
            message.encode(&mut self.bytes).map_err(io::Error::other)?;
            match portreeve_sys::seqpacket::send(self.channel.as_fd(), &self.bytes, None) {
                Ok(()) => {
                    self.waiting.pop_front();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

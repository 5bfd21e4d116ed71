//! One direction of a carried connection: from a source to a sink, with at most one chunk kept in between. A sink that
//! does not take what is kept stops the reading of its source, and of nothing else.

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use std::os::fd::OwnedFd;

/// Bytes read at once at most. All connections share the buffer; what a sink does not take is kept for it alone.
pub(super) const CHUNK: usize = 256 * 1024;
/// Bytes read at once of a connection whose sink was slow.
const SMALL: usize = 16 * 1024;
/// Bytes read at once while much is kept for others.
const SCARCE: usize = 4 * 1024;
/// From here on chunks are small: so much is kept for slow sinks at once, and little more.
const KEPT_MOST: usize = 64 * 1024 * 1024;
/// Reads of one direction before the others get their turn.
const ROUNDS: usize = 8;

/// What all connections share: the worker has one thread.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) chunk: Box<[u8]>,
    /// Bytes kept for slow sinks, of all connections.
    pub(super) kept: usize,
}

impl Desk {
    pub(super) fn new() -> Self {
        Desk { chunk: vec![0; CHUNK].into(), kept: 0 }
    }
}

/// One end, and what is known of it since the last event (epoll tells of changes only).
#[derive(Debug)]
pub(super) struct Side {
    pub(super) fd: OwnedFd,
    pub(super) readable: bool,
    pub(super) writable: bool,
    /// It has closed its half: a short read is not the last one.
    pub(super) closing: bool,
    /// What is watched of it.
    pub(super) watched: Watched,
}

/// What of an end brings an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watched {
    Nothing,
    /// What it says, and its end.
    Words,
    /// And that it takes more.
    Room,
}

impl Side {
    /// Whoever comes takes something: that it does not is seen when it is tried, and only then waited for.
    pub(super) fn new(fd: OwnedFd) -> Self {
        Side { fd, readable: false, writable: true, closing: false, watched: Watched::Nothing }
    }

    /// What must be watched of it now.
    pub(super) fn wanted(&self) -> Watched {
        if self.writable && self.watched != Watched::Room { Watched::Words } else { Watched::Room }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Bytes are carried.
    Open,
    /// The source has ended; what is kept goes out, then the sink is told.
    Ending,
    /// The sink takes nothing any more. What the source says is thrown away: closing over it would reset the
    /// connection, and with it lose what goes the other way.
    Dead,
    Ended,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Flow {
    stage: Stage,
    kept: Vec<u8>,
    sent: usize,
    size: usize,
    /// Bytes that were thrown away since nobody takes them.
    pub(super) wasted: u64,
    /// Bytes that were taken from the source to be carried.
    pub(super) bytes: u64,
}

/// How a turn of a flow ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pumped {
    /// Something went through.
    pub(super) moved: bool,
    /// There is more to do at once; its turn is over.
    pub(super) more: bool,
    /// The source broke: its other direction has no sink.
    pub(super) source_broke: bool,
    /// The sink broke.
    pub(super) sink_broke: bool,
}

enum Moved {
    Bytes(usize),
    Later,
    Gone,
}

impl Flow {
    /// Nothing carried yet; `first` is for the sink before all else and counts as no traffic.
    pub(super) fn new(first: Vec<u8>, desk: &mut Desk) -> Self {
        desk.kept += first.len();
        Flow { stage: Stage::Open, kept: first, sent: 0, size: 4 * SMALL, wasted: 0, bytes: 0 }
    }

    pub(super) fn ended(&self) -> bool {
        self.stage == Stage::Ended
    }

    pub(super) fn dead(&self) -> bool {
        self.stage == Stage::Dead
    }

    /// Its sink is gone.
    pub(super) fn die(&mut self, desk: &mut Desk) {
        self.drop_kept(desk);
        self.stage = if matches!(self.stage, Stage::Open | Stage::Dead) { Stage::Dead } else { Stage::Ended };
    }

    /// Gives back what is kept.
    pub(super) fn drop_kept(&mut self, desk: &mut Desk) {
        desk.kept -= self.kept.len();
        (self.kept, self.sent) = (Vec::new(), 0);
    }

    /// Sends what there is to a sink whose connect may be under way: who takes it has accepted. Whether it has; where not, nothing is
    /// lost.
    ///
    /// # Errors
    /// How its connect failed.
    pub(super) fn knock(
        &mut self,
        source: &mut Side,
        sink: &mut Side,
        desk: &mut Desk,
    ) -> Result<bool, Errno> {
        if self.kept.is_empty() {
            // A target that does not accept holds what was taken for as long as its connect takes.
            let takes = self.stage == Stage::Open && desk.kept < KEPT_MOST;
            let Some(buffer) = desk.chunk.get_mut(..self.size).filter(|_| takes) else {
                return Ok(false);
            };
            let n = match read(&source.fd, buffer) {
                Moved::Bytes(0) => {
                    self.stage = Stage::Ending;
                    0
                }
                Moved::Bytes(n) => n,
                // What broke says so to whoever watches it.
                Moved::Later | Moved::Gone => 0,
            };
            // As in `pump`: an end that has come while there was no target brings no event any more.
            source.readable = n == self.size || source.closing;
            self.bytes += n as u64;
            self.kept = buffer.get(..n).unwrap_or_default().to_vec();
            desk.kept += n;
        }
        if self.kept.is_empty() {
            return Ok(false);
        }
        let sent = send(&sink.fd, &self.kept);
        self.sent = *sent.as_ref().unwrap_or(&0);
        if self.sent >= self.kept.len() {
            self.drop_kept(desk);
        }
        match sent {
            Ok(_) => Ok(true),
            Err(Errno::AGAIN) => Ok(false),
            Err(errno) => Err(errno),
        }
    }

    /// Carries what can be carried now. Where it is the `last` direction, its end is told by closing.
    pub(super) fn pump(&mut self, source: &mut Side, sink: &mut Side, desk: &mut Desk, last: bool) -> Pumped {
        let mut pumped = Pumped { moved: false, more: false, source_broke: false, sink_broke: false };
        for _ in 0..ROUNDS {
            if let Some(rest) = self.kept.get(self.sent..).filter(|rest| !rest.is_empty()) {
                if !sink.writable {
                    return pumped;
                }
                match write(&sink.fd, rest) {
                    Moved::Bytes(n) => {
                        pumped.moved = true;
                        self.sent += n;
                        if self.sent >= self.kept.len() {
                            self.drop_kept(desk);
                        }
                    }
                    Moved::Later => sink.writable = false,
                    Moved::Gone => {
                        pumped.sink_broke = true;
                        self.die(desk);
                    }
                }
                continue;
            }
            match self.stage {
                Stage::Ended => return pumped,
                Stage::Ending => {
                    if !last {
                        let _ = rustix::net::shutdown(&sink.fd, Shutdown::Write);
                    }
                    self.stage = Stage::Ended;
                    return pumped;
                }
                Stage::Open | Stage::Dead if !source.readable => return pumped,
                Stage::Open | Stage::Dead => {}
            }
            let size = if desk.kept >= KEPT_MOST { SCARCE } else { self.size };
            let Some(buffer) = desk.chunk.get_mut(..size) else { return pumped };
            let n = match read(&source.fd, buffer) {
                Moved::Bytes(0) => {
                    self.stage = if self.stage == Stage::Dead { Stage::Ended } else { Stage::Ending };
                    continue;
                }
                Moved::Bytes(n) => n,
                Moved::Later => {
                    source.readable = false;
                    return pumped;
                }
                Moved::Gone => {
                    pumped.source_broke = true;
                    self.stage = if self.stage == Stage::Dead { Stage::Ended } else { Stage::Ending };
                    continue;
                }
            };
            // It had no more, and whatever comes brings an event; only an end that has come already brings none.
            if n < size && !source.closing {
                source.readable = false;
            }
            if self.stage == Stage::Dead {
                self.wasted += n as u64;
                continue;
            }
            pumped.moved = true;
            self.bytes += n as u64;
            self.pass(sink, desk, n, &mut pumped);
        }
        pumped.more =
            source.readable || !self.kept.is_empty() && sink.writable || self.stage == Stage::Ending;
        pumped
    }

    /// Writes what was just read; keeps what the sink does not take.
    fn pass(&mut self, sink: &mut Side, desk: &mut Desk, n: usize, pumped: &mut Pumped) {
        let got = desk.chunk.get(..n).unwrap_or_default();
        let written = match if sink.writable { write(&sink.fd, got) } else { Moved::Later } {
            Moved::Bytes(written) => written,
            Moved::Later => {
                sink.writable = false;
                0
            }
            Moved::Gone => {
                pumped.sink_broke = true;
                self.die(desk);
                return;
            }
        };
        match got.get(written..).filter(|rest| !rest.is_empty()) {
            Some(rest) => {
                self.kept = rest.to_vec();
                desk.kept += self.kept.len();
                self.size = written.next_power_of_two().clamp(SMALL, CHUNK);
            }
            None if n == self.size => self.size = (self.size * 2).min(CHUNK),
            None => {}
        }
    }
}

fn read(fd: &OwnedFd, buffer: &mut [u8]) -> Moved {
    loop {
        return match rustix::net::recv(fd, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((n, _)) => Moved::Bytes(n),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => Moved::Later,
            Err(_) => Moved::Gone,
        };
    }
}

fn write(fd: &OwnedFd, bytes: &[u8]) -> Moved {
    match send(fd, bytes) {
        Ok(n) => Moved::Bytes(n),
        Err(Errno::AGAIN) => Moved::Later,
        Err(_) => Moved::Gone,
    }
}

fn send(fd: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    rustix::io::retry_on_intr(|| rustix::net::send(fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL))
}

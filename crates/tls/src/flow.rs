//! One direction of a connection: from a source to a sink, with at most one chunk kept in between. A sink that does not take
//! what is kept stops the reading of its source, and of nothing else.

use crate::end::{End, Moved};

/// Bytes read at once at most: what one record of TLS holds.
pub(crate) const CHUNK: usize = 16 * 1024;
/// Bytes read at once while much is kept for others.
const SCARCE: usize = 4 * 1024;
/// From here on chunks are small.
const KEPT_MOST: usize = 32 * 1024 * 1024;
/// Reads of one direction before the others get their turn.
const ROUNDS: usize = 8;

/// What all connections share: the worker has one thread.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) chunk: Box<[u8]>,
    /// Bytes kept for slow sinks, of all connections.
    pub(crate) kept: usize,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Desk { chunk: vec![0; CHUNK].into(), kept: 0 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Bytes are carried.
    Open,
    /// The source has ended; what is kept goes out, then the sink is told.
    Ending,
    /// The sink takes nothing any more. What the source says is thrown away.
    Dead,
    Ended,
}

/// One direction.
#[derive(Debug)]
pub(crate) struct Flow {
    stage: Stage,
    kept: Vec<u8>,
    sent: usize,
    /// The source has said itself that it has ended.
    whole: bool,
    /// Bytes that were thrown away since nobody takes them.
    pub(crate) wasted: u64,
    /// Bytes that were taken from the source to be carried.
    pub(crate) bytes: u64,
}

/// How a turn of a flow ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pumped {
    /// Something went through.
    pub(crate) moved: bool,
    /// There is more to do at once; its turn is over.
    pub(crate) more: bool,
    /// The source broke: its other direction has no sink.
    pub(crate) source_broke: bool,
    /// The sink broke.
    pub(crate) sink_broke: bool,
}

impl Flow {
    /// Nothing carried yet; `first` is for the sink before all else and counts as no traffic.
    pub(crate) fn new(first: Vec<u8>, desk: &mut Desk) -> Self {
        desk.kept += first.len();
        Flow { stage: Stage::Open, kept: first, sent: 0, whole: true, wasted: 0, bytes: 0 }
    }

    pub(crate) fn ended(&self) -> bool {
        self.stage == Stage::Ended
    }

    pub(crate) fn dead(&self) -> bool {
        self.stage == Stage::Dead
    }

    /// Its sink is gone.
    pub(crate) fn die(&mut self, desk: &mut Desk) {
        self.drop_kept(desk);
        self.stage = if matches!(self.stage, Stage::Open | Stage::Dead) { Stage::Dead } else { Stage::Ended };
    }

    /// Gives back what is kept.
    pub(crate) fn drop_kept(&mut self, desk: &mut Desk) {
        desk.kept -= self.kept.len();
        (self.kept, self.sent) = (Vec::new(), 0);
    }

    /// Carries what can be carried now.
    pub(crate) fn pump(&mut self, source: &mut End, sink: &mut End, desk: &mut Desk) -> Pumped {
        let mut pumped = Pumped::default();
        for _ in 0..ROUNDS {
            if !self.kept.is_empty() {
                let rest = self.kept.get(self.sent..).unwrap_or_default();
                match sink.write(rest) {
                    Moved::Bytes(n) => {
                        pumped.moved = true;
                        self.sent += n;
                        if self.sent >= self.kept.len() {
                            self.drop_kept(desk);
                        }
                    }
                    Moved::Later => return pumped,
                    Moved::Again => {}
                    Moved::Cut | Moved::Gone => {
                        pumped.sink_broke = true;
                        self.die(desk);
                    }
                }
                continue;
            }
            match self.stage {
                Stage::Ended => return pumped,
                Stage::Ending => {
                    match sink.finish(self.whole) {
                        Moved::Later => return pumped,
                        Moved::Gone => pumped.sink_broke = true,
                        _ => {}
                    }
                    self.stage = Stage::Ended;
                    pumped.moved = true;
                    return pumped;
                }
                // Nothing is read for a sink that has not taken what it was given.
                Stage::Open => match sink.flush() {
                    Moved::Later => return pumped,
                    Moved::Gone => {
                        pumped.sink_broke = true;
                        self.die(desk);
                        continue;
                    }
                    _ => {}
                },
                Stage::Dead => {}
            }
            let size = if desk.kept >= KEPT_MOST { SCARCE } else { CHUNK };
            let Some(buffer) = desk.chunk.get_mut(..size) else { return pumped };
            let n = match source.read(buffer) {
                Moved::Bytes(0) => {
                    self.end(true);
                    continue;
                }
                Moved::Bytes(n) => n,
                Moved::Later => return pumped,
                Moved::Again => continue,
                Moved::Cut => {
                    self.end(false);
                    continue;
                }
                Moved::Gone => {
                    pumped.source_broke = true;
                    self.end(false);
                    continue;
                }
            };
            if self.stage == Stage::Dead {
                self.wasted += n as u64;
                continue;
            }
            pumped.moved = true;
            self.bytes += n as u64;
            let got = desk.chunk.get(..n).unwrap_or_default();
            let written = match sink.write(got) {
                Moved::Bytes(written) => written,
                Moved::Later | Moved::Again => 0,
                Moved::Cut | Moved::Gone => {
                    pumped.sink_broke = true;
                    self.die(desk);
                    continue;
                }
            };
            if let Some(rest) = got.get(written..).filter(|rest| !rest.is_empty()) {
                self.kept = rest.to_vec();
                desk.kept += self.kept.len();
            }
        }
        pumped.more = self.stage != Stage::Ended;
        pumped
    }

    /// The source says nothing more.
    fn end(&mut self, whole: bool) {
        self.whole = whole;
        self.stage = if self.stage == Stage::Dead { Stage::Ended } else { Stage::Ending };
    }
}

//! One datagram service: its sockets, who may use it, what it answers.

use super::client::Desk;
use super::silence::Silence;
use super::texts::{self, LINE_BYTES, PERIOD};
use crate::datagram::{Judge, Standing};
use crate::protocol::{BuiltinKind, FromBuiltin};
use portreeve_policy::Now;
use portreeve_sys::clock;
use portreeve_sys::datagrams::{Answer, Batch, MANY};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Datagrams of one service before the others get their turn. The rest waits in the kernel: nothing is thrown away.
const ROUND: usize = 64;
/// The longest chargen answer, as xinetd's.
const CHARGEN: usize = 1024;

/// A datagram service.
pub(super) struct Service {
    slot: u32,
    kind: BuiltinKind,
    pub(super) sockets: Vec<OwnedFd>,
    pub(super) judge: Judge,
    at: usize,
}

/// What a round of datagrams shares.
pub(super) struct Round<'a> {
    pub(super) now: Now,
    pub(super) wall: i64,
    pub(super) standing: &'a mut Standing,
    pub(super) silence: &'a Silence,
    pub(super) desk: &'a mut Desk,
}

impl Service {
    /// A service that waits for its rules.
    pub(super) fn new(slot: u32, kind: BuiltinKind) -> Self {
        Service { slot, kind, sockets: Vec::new(), judge: Judge::new(slot), at: 0 }
    }

    /// Whether datagrams are to be read now.
    pub(super) fn listens(&self) -> bool {
        self.judge.is_ready() && !self.judge.is_paused()
    }

    /// Answers what waits in one of its sockets, a bounded part of it. Returns what the supervisor must hear of the rate.
    pub(super) fn serve(&mut self, number: u16, round: &mut Round<'_>) -> Vec<FromBuiltin> {
        let mut notes = Vec::new();
        let text = match self.kind {
            BuiltinKind::Daytime => texts::daytime(&clock::local(round.wall)).into_bytes(),
            BuiltinKind::Time => texts::time(round.wall).to_vec(),
            _ => Vec::new(),
        };
        let mut batch = round.desk.datagrams.take().unwrap_or_default();
        let mut left = ROUND;
        while left > 0 && self.listens() {
            let Some(socket) = self.sockets.get(usize::from(number)) else { break };
            let most = MANY.min(left).min(self.judge.at_once(&round.now));
            match batch.receive(socket, most) {
                Ok(came) => {
                    self.take(number, &batch, came, &text, round, &mut notes);
                    left -= came.clamp(1, left);
                    if came < most {
                        // It had no more: the next call would say so at the price of a system call.
                        break;
                    }
                }
                // A refused earlier answer is reported on the socket and cleared by this; the next call goes on.
                Err(Errno::INTR | Errno::CONNREFUSED | Errno::HOSTUNREACH | Errno::NETUNREACH) => left -= 1,
                Err(_) => break,
            }
        }
        round.desk.datagrams = Some(batch);
        notes
    }

    /// Judges each of the datagrams that came, and answers those that are admitted.
    fn take(
        &mut self,
        number: u16,
        batch: &Batch,
        came: usize,
        text: &[u8],
        round: &mut Round<'_>,
        notes: &mut Vec<FromBuiltin>,
    ) {
        let Some(socket) = self.sockets.get(usize::from(number)) else { return };
        let local = || rustix::net::getsockname(socket).ok().and_then(portreeve_sys::socket::ip);
        let mut answers = [Answer::default(); MANY];
        let mut answered = 0;
        for to in 0..came {
            let Some((request, source)) = batch.datagram(to) else { continue };
            // First, so that a loop of two services does not even use up the rate of the real clients.
            if self.kind != BuiltinKind::Discard && round.silence.keeps(source) {
                self.judge.report.muted();
                continue;
            }
            let (admitted, note) = self.judge.judge(source, local, round.standing, &round.now);
            notes.extend(note.map(|note| FromBuiltin::Rate { slot: self.slot, note }));
            if !admitted {
                continue;
            }
            self.judge.report.served(source, self.judge.names_served());
            let bytes = match self.kind {
                BuiltinKind::Echo => request,
                BuiltinKind::Daytime | BuiltinKind::Time => text,
                BuiltinKind::Chargen => {
                    // Never more than was sent: whoever forges a source gains nothing by it.
                    let at = self.at;
                    self.at = (at + LINE_BYTES) % PERIOD;
                    let rest = round.desk.chargen.get(at..).unwrap_or_default();
                    rest.get(..request.len().min(CHARGEN)).unwrap_or_default()
                }
                BuiltinKind::Discard => continue,
                // Told over streams alone; the protocol has no such datagrams.
                BuiltinKind::Servers
                | BuiltinKind::Services
                | BuiltinKind::Xadmin
                | BuiltinKind::Trap
                | BuiltinKind::Tarpit => continue,
            };
            if let Some(place) = answers.get_mut(answered) {
                *place = Answer { to, bytes };
                answered += 1;
            }
        }
        batch.answer(socket, answers.get(..answered).unwrap_or_default());
    }

    /// When [`Service::tick`] is next needed.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.judge.deadline()
    }

    /// Lets time pass: pauses end, reports leave.
    pub(super) fn tick(&mut self, now: &Now) -> [Option<FromBuiltin>; 2] {
        let (note, report) = self.judge.tick(now);
        [note.map(|note| FromBuiltin::Rate { slot: self.slot, note }), report.map(FromBuiltin::Datagrams)]
    }

    /// The last report.
    pub(super) fn last_words(&mut self, now: Duration) -> Option<FromBuiltin> {
        self.judge.last_words(now).map(FromBuiltin::Datagrams)
    }
}

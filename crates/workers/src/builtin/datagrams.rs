//! One datagram service: its sockets, who may use it, what it answers.

use super::client::Desk;
use super::silence::Silence;
use super::texts::{self, LINE_BYTES, PERIOD};
use crate::datagram::{Judge, Standing};
use crate::protocol::{BuiltinKind, FromBuiltin};
use portreeve_policy::Now;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Datagrams of one service before the others get their turn. The rest waits in the kernel: nothing is thrown away.
const BATCH: usize = 64;
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
        let mut buffer = std::mem::take(&mut round.desk.datagram);
        for _ in 0..BATCH {
            if !self.listens() {
                break;
            }
            let Some(socket) = self.sockets.get(usize::from(number)) else { break };
            match rustix::net::recvfrom(socket, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((length, _, from)) => {
                    let request = buffer.get(..length).unwrap_or_default();
                    let Some(source) = from.and_then(portreeve_sys::socket::ip) else { continue };
                    notes.extend(self.take(number, request, source, round));
                }
                Err(Errno::INTR) => {}
                // A refused earlier answer is reported on the socket and cleared by this; the next call goes on.
                Err(Errno::CONNREFUSED | Errno::HOSTUNREACH | Errno::NETUNREACH) => {}
                Err(_) => break,
            }
        }
        round.desk.datagram = buffer;
        notes
    }

    fn take(
        &mut self,
        number: u16,
        request: &[u8],
        source: SocketAddr,
        round: &mut Round<'_>,
    ) -> Option<FromBuiltin> {
        // First, so that a loop of two services does not even use up the rate of the real clients.
        if self.kind != BuiltinKind::Discard && round.silence.keeps(source) {
            self.judge.report.muted();
            return None;
        }
        let socket = self.sockets.get(usize::from(number));
        let local = || rustix::net::getsockname(socket?).ok().and_then(portreeve_sys::socket::ip);
        let (admitted, note) = self.judge.judge(source, local, round.standing, &round.now);
        if admitted {
            self.judge.report.served(source, self.judge.names_served());
            self.answer(number, request, source, round);
        }
        note.map(|note| FromBuiltin::Rate { slot: self.slot, note })
    }

    fn answer(&mut self, number: u16, request: &[u8], source: SocketAddr, round: &Round<'_>) {
        match self.kind {
            BuiltinKind::Echo => self.send(number, request, source),
            BuiltinKind::Discard => {}
            // Told over streams alone; the protocol has no such datagrams.
            BuiltinKind::Servers
            | BuiltinKind::Services
            | BuiltinKind::Xadmin
            | BuiltinKind::Trap
            | BuiltinKind::Tarpit => {}
            BuiltinKind::Chargen => {
                // Never more than was sent: whoever forges a source gains nothing by it.
                let length = request.len().min(CHARGEN);
                let text = round.desk.chargen.get(self.at..).and_then(|rest| rest.get(..length));
                self.send(number, text.unwrap_or_default(), source);
                self.at = (self.at + LINE_BYTES) % PERIOD;
            }
            BuiltinKind::Daytime => {
                let text = texts::daytime(&portreeve_sys::clock::local(round.wall));
                self.send(number, text.as_bytes(), source);
            }
            BuiltinKind::Time => self.send(number, &texts::time(round.wall), source),
        }
    }

    /// An answer that the kernel does not take is lost, as answers to datagrams may be.
    fn send(&self, number: u16, bytes: &[u8], to: SocketAddr) {
        let Some(socket) = self.sockets.get(usize::from(number)) else { return };
        let _ = rustix::net::sendto(socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL, &to);
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

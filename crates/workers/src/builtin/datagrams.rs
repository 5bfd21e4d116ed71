//! One datagram service: its sockets, its rules, what it answers. The verdict is `policy`'s; host names cannot be asked for
//! here, so where a rule could match by name the datagram is refused (`Unavailable`, design §2).

use super::client::Desk;
use super::report::Report;
use super::silence::Silence;
use super::tables::Texts;
use super::texts::{self, LINE_BYTES, PERIOD};
use crate::protocol::{BuiltinKind, FromBuiltin, RateNote, RulesInParts};
use portreeve_policy::{
    Arrival, CompiledRules, Facts, HostState, Names, Now, Proof, RateChange, Reason, ServiceState, Tables,
    Verdict, decide_datagram,
};
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
    /// New rules whose end has not come yet.
    pub(super) incoming: Option<RulesInParts>,
    rules: Option<(CompiledRules, bool)>,
    /// Under which name the tables are asked; `None`: they are not.
    pub(super) wrapped: Option<String>,
    state: ServiceState,
    paused: bool,
    at: usize,
    report: Report,
}

/// What a round of datagrams shares.
pub(super) struct Round<'a> {
    pub(super) now: Now,
    pub(super) wall: i64,
    pub(super) host: &'a mut HostState,
    pub(super) silence: &'a Silence,
    pub(super) tables: &'a Texts,
    pub(super) desk: &'a mut Desk,
}

impl Service {
    /// A service that waits for its rules.
    pub(super) fn new(slot: u32, kind: BuiltinKind) -> Self {
        Service {
            slot,
            kind,
            sockets: Vec::new(),
            incoming: None,
            rules: None,
            wrapped: None,
            state: ServiceState::new(),
            paused: false,
            at: 0,
            report: Report::default(),
        }
    }

    /// The complete rules take effect; the counters stay.
    pub(super) fn obey(&mut self, rules: RulesInParts) {
        let log_served = rules.log_served;
        self.rules = Some((CompiledRules::new(rules.finish()), log_served));
    }

    /// Whether datagrams are to be read now.
    pub(super) fn listens(&self) -> bool {
        self.rules.is_some() && !self.paused
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
                    let change = self.judge(number, request, source, round);
                    notes.extend(change.and_then(|change| self.follow(change, round.now.mono)));
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

    fn judge(
        &mut self,
        number: u16,
        request: &[u8],
        source: SocketAddr,
        round: &mut Round<'_>,
    ) -> Option<RateChange> {
        // First, so that a loop of two services does not even use up the rate of the real clients.
        if self.kind != BuiltinKind::Discard && round.silence.keeps(source) {
            self.report.muted();
            return None;
        }
        let (rules, log_served) = self.rules.as_ref()?;
        let arrival = Arrival { peer: source.into(), proof: Proof::Nothing };
        let load = rules.rules().max_load.and_then(|_| portreeve_sys::limits::load_average());
        let tables = if self.wrapped.is_some() { Tables::NotAsked } else { Tables::Off };
        let mut facts = Facts { names: Names::Unavailable, load, tables };
        let mut verdict =
            decide_datagram(rules, &self.state, round.host, &arrival, &facts, &round.now, false);
        if let (Verdict::NeedTables, Some(daemon)) = (&verdict, &self.wrapped) {
            let socket = self.sockets.get(usize::from(number));
            let local =
                socket.and_then(|fd| rustix::net::getsockname(fd).ok()).and_then(portreeve_sys::socket::ip);
            facts.tables = round.tables.ask(daemon, source, local);
            verdict = decide_datagram(rules, &self.state, round.host, &arrival, &facts, &round.now, true);
        }
        match verdict {
            Verdict::Admit(_) => {
                self.report.served(source, *log_served);
                self.answer(number, request, source, round);
                None
            }
            Verdict::Refuse(refusal) => {
                self.report.refused(source, refusal.reason, round.now.mono);
                refusal.change
            }
            // It has been told that they are unavailable and does not ask; if it did, the answer is the same.
            Verdict::NeedNames | Verdict::NeedTables => {
                self.report.refused(source, Reason::Address, round.now.mono);
                None
            }
        }
    }

    fn answer(&mut self, number: u16, request: &[u8], source: SocketAddr, round: &Round<'_>) {
        match self.kind {
            BuiltinKind::Echo => self.send(number, request, source),
            BuiltinKind::Discard => {}
            // Told over streams alone; the protocol has no such datagrams.
            BuiltinKind::Servers | BuiltinKind::Services | BuiltinKind::Xadmin => {}
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

    /// What the rate limit wants, and what is to be said about it.
    fn follow(&mut self, change: RateChange, now: Duration) -> Option<FromBuiltin> {
        self.paused = !change.accepts();
        let seconds = |until: Duration| {
            let left = until.saturating_sub(now);
            u32::try_from(left.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
        };
        let note = match change {
            RateChange::Throttled { until } => RateNote::Tripped { seconds: seconds(until) },
            RateChange::Paused { until } => RateNote::Paused { seconds: seconds(until) },
            // The socket is the supervisor's to close; here the queue is left alone, and the log line is the same.
            RateChange::Closed { until } => RateNote::Tripped { seconds: seconds(until) },
            RateChange::Resumed => RateNote::Resumed,
        };
        Some(FromBuiltin::Rate { slot: self.slot, note })
    }

    /// When [`Service::tick`] is next needed.
    pub(super) fn deadline(&self) -> Option<Duration> {
        [self.state.deadline(), self.report.deadline()].into_iter().flatten().min()
    }

    /// Lets time pass: pauses end, reports leave.
    pub(super) fn tick(&mut self, now: &Now) -> [Option<FromBuiltin>; 2] {
        let change = match &self.rules {
            Some((rules, _)) => self.state.tick(rules, now),
            None => None,
        };
        let note = change.and_then(|change| self.follow(change, now.mono));
        [note, self.report.take(self.slot, now.mono)]
    }

    /// The last report.
    pub(super) fn last_words(&mut self, now: Duration) -> Option<FromBuiltin> {
        self.report.take_now(self.slot, now)
    }
}

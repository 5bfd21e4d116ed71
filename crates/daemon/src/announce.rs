//! Says what happened to a client: the service's log line (xinetd's format, reference xinetd §10.3), the counters and the
//! ledger's event. The one place where START, EXIT and FAIL are written.

use crate::ban_orders::micros;
use crate::ledger::Ledger;
use crate::log::{Sinks, Stamp};
use crate::slot::Slot;
use portreeve_policy::{Origin, Peer, Prefix, Reason};
use portreeve_sys::reap::Status;
use portreeve_workers::protocol::{Banned, Ended, Ending, Event, EventKind, Usage};
use std::fmt::Write;
use std::time::Duration;

/// Writes records without allocating for each.
#[derive(Debug)]
pub struct Announcer {
    /// The journal of events.
    pub ledger: Ledger,
    line: String,
}

/// The end of an instance.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// The number that its start has in the ledger.
    pub event: u64,
    /// The client.
    pub peer: Option<Peer>,
    /// How it ended. Of a process that is no child of ours it may not be known.
    pub status: Option<Status>,
    /// Its process; 0 where it had none of its own.
    pub pid: i32,
    /// How long it lasted by the clock on the wall, which is what xinetd logs.
    pub seconds: i64,
    /// How long it lasted.
    pub lasted: Duration,
    /// What its process used.
    pub usage: Option<Usage>,
    /// Bytes from the client and to it, where they went through us.
    pub bytes: Option<(u64, u64)>,
    /// Whether an EXIT line follows.
    pub logged: bool,
}

impl Announcer {
    /// Nothing was said yet.
    pub fn new() -> Self {
        Self { ledger: Ledger::new(), line: String::new() }
    }

    /// A client is served. `pid` is 0 for built-ins that need no process, as in xinetd. Returns its number in the ledger.
    pub fn start(
        &mut self,
        sinks: &mut Sinks,
        stamp: &Stamp,
        slot: &mut Slot,
        pid: i32,
        peer: Option<Peer>,
    ) -> u64 {
        slot.counts.accepted += 1;
        self.served(sinks, stamp, slot, pid, peer)
    }

    /// The same for one that is counted elsewhere.
    pub fn served(
        &mut self,
        sinks: &mut Sinks,
        stamp: &Stamp,
        slot: &Slot,
        pid: i32,
        peer: Option<Peer>,
    ) -> u64 {
        let id = self.ledger.id();
        self.ledger.note(&Event { pid, ..event(EventKind::Start, id, stamp, slot, peer) });
        self.start_line(sinks, stamp, slot, pid, peer);
        id
    }

    /// The START line alone.
    pub fn start_line(
        &mut self,
        sinks: &mut Sinks,
        stamp: &Stamp,
        slot: &Slot,
        pid: i32,
        peer: Option<Peer>,
    ) {
        let on = slot.service.log_success;
        if !(on.host || on.pid || on.exit || on.duration || on.userid || on.traffic) {
            return;
        }
        self.line.clear();
        self.line.push_str("START: ");
        self.line.push_str(&crate::escape::escaped(slot.id()));
        if on.pid {
            let _ = write!(self.line, " pid={pid}");
        }
        if on.host {
            self.from(peer);
        }
        sinks.write(slot.sink, stamp, self.line.as_bytes());
    }

    /// A client's program or session has ended.
    pub fn exit(&mut self, sinks: &mut Sinks, stamp: &Stamp, slot: &Slot, end: &End) {
        let how = end.status.map(|status| match status {
            Status::Exited(status) => Ending::Exited(status),
            Status::Signaled(signal) => Ending::Signaled(signal),
        });
        let duration_us = u64::try_from(end.lasted.as_micros()).unwrap_or(u64::MAX);
        let ended = how.map(|how| Ended { how, duration_us, usage: end.usage, bytes: end.bytes });
        let exit = event(EventKind::Exit, end.event, stamp, slot, end.peer);
        self.ledger.note(&Event { pid: end.pid, ended, ..exit });
        if end.logged {
            self.exit_line(sinks, stamp, slot, end.status, end.pid, end.seconds);
        }
    }

    /// The EXIT line alone. `seconds` since it started; without a status that is not known.
    pub fn exit_line(
        &mut self,
        sinks: &mut Sinks,
        stamp: &Stamp,
        slot: &Slot,
        status: Option<Status>,
        pid: i32,
        seconds: i64,
    ) {
        let on = slot.service.log_success;
        if !(on.exit || on.duration) {
            return;
        }
        self.line.clear();
        self.line.push_str("EXIT: ");
        self.line.push_str(&crate::escape::escaped(slot.id()));
        if on.exit {
            let _ = match status {
                Some(Status::Exited(code)) => write!(self.line, " status={code}"),
                Some(Status::Signaled(signal)) => write!(self.line, " signal={signal}"),
                None => Ok(()),
            };
        }
        if on.pid {
            let _ = write!(self.line, " pid={pid}");
        }
        if on.duration {
            let _ = write!(self.line, " duration={seconds}(sec)");
        }
        sinks.write(slot.sink, stamp, self.line.as_bytes());
    }

    /// What a redirected client and its target have said to each other, in bytes. Comes before EXIT.
    pub fn traffic(&mut self, sinks: &mut Sinks, stamp: &Stamp, slot: &Slot, bytes_in: u64, bytes_out: u64) {
        if !slot.service.log_success.traffic {
            return;
        }
        self.line.clear();
        self.line.push_str("TRAFFIC: ");
        self.line.push_str(&crate::escape::escaped(slot.id()));
        let _ = write!(self.line, " in={bytes_in}(bytes) out={bytes_out}(bytes)");
        sinks.write(slot.sink, stamp, self.line.as_bytes());
    }

    /// A client is refused, by this line of a file where one decides. Returns its number in the ledger.
    pub fn fail(
        &mut self,
        sinks: &mut Sinks,
        stamp: &Stamp,
        slot: &mut Slot,
        (reason, rule): (Reason, Option<&Origin>),
        peer: Option<Peer>,
    ) -> u64 {
        slot.counts.refuse(reason, 1);
        self.refused(sinks, stamp, slot, (reason, rule), peer)
    }

    /// The same for one that is counted elsewhere.
    pub fn refused(
        &mut self,
        sinks: &mut Sinks,
        stamp: &Stamp,
        slot: &Slot,
        (reason, rule): (Reason, Option<&Origin>),
        peer: Option<Peer>,
    ) -> u64 {
        let id = self.ledger.id();
        let rule = rule.map(|origin| (&*origin.file, origin.line));
        let refuse = event(EventKind::Refuse, id, stamp, slot, peer);
        self.ledger.note(&Event { reason: reason.word(), rule, ..refuse });
        self.fail_line(sinks, stamp, slot, reason, peer);
        id
    }

    /// A refused client is denied for a time because it has tripped a sensor.
    pub fn denied(&mut self, stamp: &Stamp, slot: &Slot, id: u64, peer: Peer, until: Option<Duration>) {
        let deny = event(EventKind::Deny, id, stamp, slot, Some(peer));
        let banned = peer.address().map(|peer| Banned {
            network: Prefix::host(peer.ip()),
            origin: "sensor",
            uid: None,
            for_us: until.map(|until| micros(until.saturating_sub(stamp.mono()))),
        });
        self.ledger.note(&Event { reason: "sensor", banned, ..deny });
    }

    /// A network was banned, or is no more: an event of its own.
    pub fn of_ban(&mut self, stamp: &Stamp, kind: EventKind, banned: Banned<'_>, reason: &str) {
        self.of_bans(stamp, kind, banned, reason, 1);
    }

    /// The same for so many within it.
    pub fn of_bans(&mut self, stamp: &Stamp, kind: EventKind, banned: Banned<'_>, reason: &str, count: u32) {
        let id = self.ledger.id();
        self.ledger.note(&Event {
            kind,
            id,
            at: stamp.mono(),
            service: "",
            peer: None,
            reason,
            rule: None,
            pid: 0,
            count,
            ended: None,
            banned: Some(banned),
        });
    }

    fn fail_line(
        &mut self,
        sinks: &mut Sinks,
        stamp: &Stamp,
        slot: &Slot,
        reason: Reason,
        peer: Option<Peer>,
    ) {
        let on = slot.service.log_failure;
        if !(on.host || on.userid || on.attempt) {
            return;
        }
        self.line.clear();
        self.line.push_str("FAIL: ");
        self.line.push_str(&crate::escape::escaped(slot.id()));
        self.line.push(' ');
        self.line.push_str(reason.word());
        if on.host {
            self.from(peer);
        }
        sinks.write(slot.sink, stamp, self.line.as_bytes());
    }

    fn from(&mut self, peer: Option<Peer>) {
        let _ = match peer {
            Some(peer) => write!(self.line, " from={peer}"),
            None => write!(self.line, " from=<no address>"),
        };
    }
}

fn event<'a>(kind: EventKind, id: u64, stamp: &Stamp, slot: &'a Slot, peer: Option<Peer>) -> Event<'a> {
    Event {
        kind,
        id,
        at: stamp.mono(),
        service: slot.id(),
        peer: peer.and_then(Peer::address),
        reason: "",
        rule: None,
        pid: 0,
        count: 1,
        ended: None,
        banned: None,
    }
}

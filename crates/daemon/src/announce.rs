//! Says what happened to a client: the service's log line (xinetd's format, reference xinetd §10.3) and the counters.
//! The one place where START, EXIT and FAIL are written.

use crate::log::{Sinks, Stamp};
use crate::slot::Slot;
use portreeve_policy::Reason;
use portreeve_sys::reap::Status;
use std::fmt::Write;
use std::net::SocketAddr;

/// Writes records without allocating for each.
#[derive(Debug, Default)]
pub struct Announcer {
    line: String,
}

impl Announcer {
    /// A client is served. `pid` is 0 for built-ins that need no process, as in xinetd.
    pub fn start(
        &mut self,
        sinks: &mut Sinks,
        stamp: &Stamp,
        slot: &mut Slot,
        pid: i32,
        peer: Option<SocketAddr>,
    ) {
        slot.counts.accepted += 1;
        self.start_line(sinks, stamp, slot, pid, peer);
    }

    /// The START line alone.
    pub fn start_line(
        &mut self,
        sinks: &mut Sinks,
        stamp: &Stamp,
        slot: &Slot,
        pid: i32,
        peer: Option<SocketAddr>,
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

    /// A client's program or session has ended. `seconds` since it started.
    pub fn exit(
        &mut self,
        sinks: &mut Sinks,
        stamp: &Stamp,
        slot: &Slot,
        status: Status,
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
                Status::Exited(code) => write!(self.line, " status={code}"),
                Status::Signaled(signal) => write!(self.line, " signal={signal}"),
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

    /// A client is refused.
    pub fn fail(
        &mut self,
        sinks: &mut Sinks,
        stamp: &Stamp,
        slot: &mut Slot,
        reason: Reason,
        peer: Option<SocketAddr>,
    ) {
        slot.counts.refuse(reason, 1);
        self.fail_line(sinks, stamp, slot, reason, peer);
    }

    /// The FAIL line alone.
    pub fn fail_line(
        &mut self,
        sinks: &mut Sinks,
        stamp: &Stamp,
        slot: &Slot,
        reason: Reason,
        peer: Option<SocketAddr>,
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

    fn from(&mut self, peer: Option<SocketAddr>) {
        let _ = match peer {
            Some(peer) => write!(self.line, " from={}", peer.ip()),
            None => write!(self.line, " from=<no address>"),
        };
    }
}

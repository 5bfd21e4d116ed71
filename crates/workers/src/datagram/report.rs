//! What happened at a datagram service, gathered into a few messages a second. Keeps to xinetd's rule that the same refused
//! source is named once a minute (reference xinetd §3.2), for more than the last source, and bounded.

use crate::protocol::{Datagrams, MAX_REPORTED, Refusal};
use portreeve_policy::Reason;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

/// So often at most a report leaves.
pub(crate) const EVERY: Duration = Duration::from_millis(250);
/// A refused source is named again after this long.
const AGAIN: Duration = Duration::from_secs(60);
/// Sources that are remembered as named; when all places are taken no further one is named, or a flood of forged sources
/// would write a log line each.
const REMEMBERED: usize = 1024;

/// One service's report in the making.
#[derive(Debug, Default)]
pub(crate) struct Report {
    served: Vec<SocketAddr>,
    served_count: u64,
    refused: Vec<Refusal>,
    by_reason: Vec<(Reason, u64)>,
    muted: u64,
    lost: u64,
    named: HashMap<(SocketAddr, Reason), Duration>,
    sent: Option<Duration>,
}

impl Report {
    /// A datagram was served; `named` asks for a START line.
    pub(crate) fn served(&mut self, source: SocketAddr, named: bool) {
        self.served_count += 1;
        if named {
            if self.served.len() < MAX_REPORTED {
                self.served.push(source);
            } else {
                self.lost += 1;
            }
        }
    }

    /// A datagram was left without an answer.
    pub(crate) fn muted(&mut self) {
        self.muted += 1;
    }

    /// A datagram was refused.
    pub(crate) fn refused(&mut self, source: SocketAddr, reason: Reason, now: Duration) {
        match self.by_reason.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += 1,
            None => self.by_reason.push((reason, 1)),
        }
        if let Some(refusal) = self.refused.iter_mut().find(|r| r.source == source && r.reason == reason) {
            refusal.count = refusal.count.saturating_add(1);
            return;
        }
        let key = (source, reason);
        if self.named.get(&key).is_some_and(|at| now < *at + AGAIN) {
            return;
        }
        if self.named.len() >= REMEMBERED {
            self.named.retain(|_, at| now < *at + AGAIN);
        }
        if self.refused.len() >= MAX_REPORTED || self.named.len() >= REMEMBERED {
            self.lost += 1;
            return;
        }
        self.named.insert(key, now);
        self.refused.push(Refusal { source, reason, count: 1 });
    }

    fn is_empty(&self) -> bool {
        self.served_count == 0 && self.by_reason.is_empty() && self.muted == 0
    }

    /// When the report may leave; `None` while there is nothing to say.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        if self.is_empty() { None } else { Some(self.sent.map_or(Duration::ZERO, |sent| sent + EVERY)) }
    }

    /// The report, if it may leave now.
    pub(crate) fn take(&mut self, slot: u32, now: Duration) -> Option<Datagrams> {
        if self.deadline()? > now { None } else { self.take_now(slot, now) }
    }

    /// The report, if there is anything to say: the service ends.
    pub(crate) fn take_now(&mut self, slot: u32, now: Duration) -> Option<Datagrams> {
        if self.is_empty() {
            return None;
        }
        self.sent = Some(now);
        let refused_by = std::mem::take(&mut self.by_reason);
        Some(Datagrams {
            slot,
            served: std::mem::take(&mut self.served),
            served_count: std::mem::take(&mut self.served_count),
            refused: std::mem::take(&mut self.refused),
            refused_count: refused_by.iter().map(|(_, count)| count).sum(),
            refused_by,
            muted: std::mem::take(&mut self.muted),
            lost: std::mem::take(&mut self.lost),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn parts(message: Option<Datagrams>) -> (Vec<Refusal>, u64, u64) {
        match message {
            Some(Datagrams { refused, refused_count, lost, .. }) => (refused, refused_count, lost),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_same_source_is_named_once_a_minute_and_always_counted() {
        let mut report = Report::default();
        for _ in 0..5 {
            report.refused(source(4000), Reason::Address, at(100));
        }
        let (named, count, _) = parts(report.take(1, at(100)));
        assert_eq!((named.len(), named[0].count, count), (1, 5, 5));
        report.refused(source(4000), Reason::Address, at(159));
        report.refused(source(4000), Reason::Time, at(159));
        let (named, count, _) = parts(report.take(1, at(159)));
        assert_eq!((named.len(), named[0].reason, count), (1, Reason::Time, 2), "another reason is named");
        report.refused(source(4000), Reason::Address, at(160));
        let (named, count, _) = parts(report.take(1, at(160)));
        assert_eq!((named.len(), count), (1, 1), "a minute later it is named again");
    }

    #[test]
    fn reports_are_rare_and_empty_ones_never_leave() {
        let mut report = Report::default();
        assert_eq!((report.deadline(), report.take(1, at(9))), (None, None));
        report.served(source(4000), false);
        assert!(report.take(1, at(9)).is_some());
        report.served(source(4000), false);
        assert_eq!(report.take(1, at(9) + EVERY / 2), None);
        assert_eq!(report.deadline(), Some(at(9) + EVERY));
        assert!(report.take(1, at(9) + EVERY).is_some());
    }

    #[test]
    fn a_flood_of_forged_sources_is_counted_and_not_named() {
        let mut report = Report::default();
        let (mut named, mut counted, mut lost) = (0, 0, 0);
        for round in 0..20 {
            for port in 0..1000 {
                report.refused(source(1024 + round * 1000 + port), Reason::Address, at(100));
            }
            let (refused, count, unnamed) = parts(report.take_now(1, at(100)));
            named += refused.len();
            counted += count;
            lost += unnamed;
        }
        assert_eq!((named, counted), (REMEMBERED, 20_000));
        assert_eq!(lost, 20_000 - REMEMBERED as u64);
        assert!(report.named.len() <= REMEMBERED);
    }

    #[test]
    fn served_sources_are_named_on_request_and_bounded() {
        let mut report = Report::default();
        for _ in 0..MAX_REPORTED + 3 {
            report.served(source(4000), true);
        }
        report.served(source(4000), false);
        match report.take_now(1, at(1)) {
            Some(Datagrams { served, served_count, lost, .. }) => {
                assert_eq!((served.len(), served_count, lost), (MAX_REPORTED, MAX_REPORTED as u64 + 4, 3));
            }
            other => panic!("{other:?}"),
        }
    }
}

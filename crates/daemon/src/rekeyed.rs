//! When a reload is answered that has handed certificates to the workers of TLS: once each of them has said whether it can use them, or has had
//! its time. What cannot be used is a finding of the reload, as everything that is not in force.

use crate::reload::Changes;
use crate::slot::{Slot, State};
use crate::staff::{FIRST_TLS, Keyed, Link, Presence};
use crate::supervisor::Supervisor;
use crate::timers::Alarm;
use portreeve_conf::{Diagnostic, Severity};
use std::time::Duration;

/// How long the workers may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// An answer that waits for them.
#[derive(Debug)]
pub struct Rekeying {
    client: u32,
    changes: Changes,
    diagnostics: Vec<Diagnostic>,
    until: Duration,
}

/// Whether a worker has certificates to look at.
fn looks(link: &Link) -> bool {
    link.set.is_some() && (link.handed > 0 || link.presence == Presence::Starting)
}

impl Supervisor {
    /// A reload is done, but for what the workers of TLS say.
    pub fn answer_when_keyed(&mut self, client: u32, changes: Changes, diagnostics: Vec<Diagnostic>) {
        // One before it is told what is known by now: a later reading has overtaken it.
        self.answer_keyed(true);
        let until = self.stamp.mono() + PATIENCE;
        self.timers.set(until, Alarm::Keyed);
        self.rekeying = Some(Rekeying { client, changes, diagnostics, until });
        self.answer_keyed(false);
    }

    /// Gives the answer if nothing is awaited any more, or it must be given `now`.
    pub fn answer_keyed(&mut self, now: bool) {
        let late = self.rekeying.as_ref().is_some_and(|rekeying| rekeying.until <= self.stamp.mono());
        let waits = self.staff.links.iter().skip(FIRST_TLS).any(looks);
        if waits && !now && !late {
            return;
        }
        let Some(Rekeying { client, changes, mut diagnostics, .. }) = self.rekeying.take() else { return };
        if changes.applied {
            diagnostics.extend(self.slots.values().filter_map(|slot| self.tls_finding(slot)));
        }
        self.answer_reload(client, &changes, &diagnostics);
    }

    fn tls_finding(&self, slot: &Slot) -> Option<Diagnostic> {
        let tls = slot.service.tls.as_ref().filter(|_| slot.status != State::Removed)?;
        let link = slot.tls.and_then(|index| self.staff.links.get(index as usize));
        let unsaid = link.is_none_or(|link| link.keyed != Keyed::Yes || looks(link));
        if !unsaid && !self.tls_is_unusable(slot) {
            return None;
        }
        let why = self.tls_stale(slot).unwrap_or_else(|| self.tls_note(slot));
        let named = tls.pairs.first().map(|(certificate, _)| certificate);
        let connect = tls.connect.as_ref().and_then(|connect| connect.ca.as_ref());
        Some(Diagnostic {
            severity: Severity::Error,
            code: "tls-file",
            place: named.or(connect).and_then(|file| file.place.clone()),
            message: format!("service {}: {why}", slot.id()),
            help: Some(
                "mend the files, then reload; `portreeve check` says what is wrong with them".to_owned(),
            ),
            source_line: None,
            service: Some(slot.id().to_owned()),
            classic: None,
        })
    }
}

//! The decision for a stream service with `wait = yes`: xinetd starts the server, the server accepts, no peer is known.
//!
//! Addresses are enforced by the filter on the listener. What remains is whether to start the server now; xinetd
//! suspends the service for ever when not (reference xinetd §3.3), so a hold here always names the moment to ask again.

use crate::arrival::{Facts, Now};
use crate::checks;
use crate::rate::Pace;
use crate::rate::minute::Room;
use crate::rules::CompiledRules;
use crate::schedule;
use crate::state::{HostState, Seat, ServiceState};
use crate::verdict::Reason;
use std::time::Duration;

/// What passes by itself and soon: the load average (the kernel renews it every 5 seconds), a full limit.
const SOON: Duration = Duration::from_secs(5);
/// What only a reload changes; and the longest sleep through a clock that may be set.
const SELDOM: Duration = Duration::from_secs(600);

/// The answer to a client waiting at the listener of a stream service with `wait = yes`.
#[derive(Debug)]
#[must_use]
pub enum WaitVerdict {
    /// Start the server; keep the seat for as long as it runs.
    Start(Seat),
    /// Leave the listener alone, open, and ask again then.
    Hold {
        /// Why. `Rate` begins an overload: [`ServiceState::tick`] returns `Resumed` when it ends, and with
        /// `overload = close` the listener is to be closed meanwhile, as [`ServiceState::rate_view`] says.
        reason: Reason,
        /// Monotonic moment to ask again; for access_times at most ten minutes ahead, since the clock may be set.
        until: Duration,
    },
}

/// Decides whether to start the server of a stream service with `wait = yes` for whoever waits at its listener.
pub fn decide_wait(
    compiled: &CompiledRules,
    state: &ServiceState,
    host: &mut HostState,
    facts: &Facts,
    now: &Now,
) -> WaitVerdict {
    let rules = compiled.rules();
    let hold = |reason, time| WaitVerdict::Hold { reason, until: now.mono.saturating_add(time) };

    let pace = state.write(|c| c.rate.admit(rules.cps, rules.overload_closes, None, now.mono));
    if let Pace::Refuse(..) = pace {
        let until = state.deadline().filter(|&until| until > now.mono);
        return WaitVerdict::Hold { reason: Reason::Rate, until: until.unwrap_or(now.mono) };
    }
    if checks::load_too_high(rules, facts.load) {
        return hold(Reason::Load, SOON);
    }
    if checks::out_of_hours(rules, now.minute) {
        return hold(Reason::Time, until_open(rules.windows.as_deref().unwrap_or_default(), now.minute));
    }
    if state.read(|c| checks::instances_taken(rules, &c.occupancy)) {
        return hold(Reason::ServiceLimit, if rules.instances == Some(0) { SELDOM } else { SOON });
    }
    if let Room::Full(until) = state.write(|c| c.minute.room(rules.minute(), None, now.mono)) {
        return WaitVerdict::Hold { reason: Reason::Rate, until };
    }
    if checks::processes_taken(host) {
        return hold(Reason::ProcessLimit, SOON);
    }
    WaitVerdict::Start(state.claim_unnamed(host, rules, now))
}

/// How long to sleep until the service may be open. The seconds of the minute are not known: sleep to the minute before
/// the opening, then look often.
fn until_open(windows: &[(u16, u16)], minute: u16) -> Duration {
    match schedule::minutes_until_open(windows, minute) {
        None => SELDOM,
        Some(minutes) => Duration::from_secs(60 * u64::from(minutes.saturating_sub(1))).clamp(SOON, SELDOM),
    }
}

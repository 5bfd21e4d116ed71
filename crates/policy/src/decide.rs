//! The decision: xinetd's checks in xinetd's order, all of them before any process exists (reference xinetd §3.1).
//!
//! The order is contract: the first reason found is the one that is logged. An admission takes a seat in the same call
//! that checked for room, so two arrivals can never share the last one.

use crate::arrival::{Arrival, Facts, Names, Now, Peer, Proof, Tables};
use crate::checks::{self, Access};
use crate::denied::SensorHit;
use crate::rate::minute::Room;
use crate::rate::{Excess, Pace};
use crate::rules::{CompiledRules, Denial};
use crate::state::{HostState, Seat, ServiceState};
use crate::verdict::{Cause, Refusal, Verdict};

/// Decides on one arrival at a service that gets a process.
///
/// `resumed` is a further call, after [`Verdict::NeedNames`] or [`Verdict::NeedTables`], or for one that has waited for a place, here or
/// with a former version of the caller: the arrival is not counted by the rate again, everything else is checked again. Who is
/// asked for names brings them, or that they are unavailable, so three calls are the most.
pub fn decide(
    rules: &CompiledRules,
    state: &ServiceState,
    host: &mut HostState,
    arrival: &Arrival,
    facts: &Facts,
    now: &Now,
    resumed: bool,
) -> Verdict {
    match judge(rules, state, host, arrival, facts, now, resumed) {
        Ok(()) => Verdict::Admit(state.claim(host, arrival, rules.rules(), now)),
        Err(Stop::Refuse(refusal)) => Verdict::Refuse(refusal),
        Err(Stop::NeedNames) => Verdict::NeedNames,
        Err(Stop::NeedTables) => Verdict::NeedTables,
    }
}

/// Decides on one datagram for a built-in service: the same checks, yet nothing runs and so the seat occupies nothing
/// (reference xinetd §6.2). One that is admitted is a start of the minute.
pub fn decide_datagram(
    rules: &CompiledRules,
    state: &ServiceState,
    host: &mut HostState,
    arrival: &Arrival,
    facts: &Facts,
    now: &Now,
    resumed: bool,
) -> Verdict {
    match judge(rules, state, host, arrival, facts, now, resumed) {
        Ok(()) => {
            state.count_start(arrival.starter(), rules.rules(), now);
            Verdict::Admit(Seat::none())
        }
        Err(Stop::Refuse(refusal)) => Verdict::Refuse(refusal),
        Err(Stop::NeedNames) => Verdict::NeedNames,
        Err(Stop::NeedTables) => Verdict::NeedTables,
    }
}

enum Stop {
    Refuse(Refusal),
    NeedNames,
    NeedTables,
}

fn judge(
    compiled: &CompiledRules,
    state: &ServiceState,
    host: &mut HostState,
    arrival: &Arrival,
    facts: &Facts,
    now: &Now,
    resumed: bool,
) -> Result<(), Stop> {
    let rules = compiled.rules();
    let source = arrival.source();
    let refuse = |cause, attribute| Err(Stop::Refuse(Refusal::new(cause, rules.origin(attribute))));

    if !resumed {
        let pace = state.write(|c| c.rate.admit(rules.cps, rules.overload_closes, Some(source), now.mono));
        if let Pace::Refuse(change, excess) = pace {
            let refusal = Refusal::new(cause_of(excess), rules.origin("cps"));
            return Err(Stop::Refuse(Refusal { change, ..refusal }));
        }
    }
    if checks::load_too_high(rules, facts.load) {
        return refuse(Cause::Load, "max_load");
    }
    if checks::out_of_hours(rules, now.minute) {
        return refuse(Cause::Time, "access_times");
    }
    if state.read(|c| checks::instances_taken(rules, &c.occupancy)) {
        return refuse(Cause::ServiceLimit, "instances");
    }
    if state.read(|c| checks::source_is_full(rules, &c.occupancy, source)) {
        return refuse(Cause::PerSourceLimit, "per_source");
    }
    match state.write(|c| c.minute.room(rules.minute(), arrival.starter(), now.mono)) {
        Room::Free => {}
        Room::SourceFull => return refuse(Cause::SourceMinute, "source_starts_per_minute"),
        Room::AboveShare => return refuse(Cause::SourceShare, "starts_per_minute"),
        Room::Full(until) => {
            let refusal = Refusal::new(Cause::ServiceMinute, rules.origin("starts_per_minute"));
            return Err(Stop::Refuse(Refusal { rest: Some(until), ..refusal }));
        }
    }
    if checks::processes_taken(host) {
        return refuse(Cause::ProcessLimit, "process_limit");
    }
    // Before the sensor's own only_from, which does not protect anybody from it (reference xinetd §5).
    let denied = host.denies(arrival.peer, now.mono);
    let sensor = rules.sensor.map(|denial| touch(host, arrival, denial, now));
    if denied || sensor.is_some() {
        let (cause, attribute) = if denied { (Cause::Denied, "") } else { (Cause::Sensor, "flags") };
        return Err(Stop::Refuse(Refusal { sensor, ..Refusal::new(cause, rules.origin(attribute)) }));
    }
    match checks::access(rules, checks::lists(compiled, arrival.peer, &facts.names)) {
        Access::Admit => {}
        Access::Refuse(cause, rule) => return Err(Stop::Refuse(Refusal::new(cause, rule))),
        Access::NeedNames => return Err(Stop::NeedNames),
    }
    match &facts.tables {
        Tables::Off | Tables::Granted => Ok(()),
        Tables::NotAsked => Err(Stop::NeedTables),
        Tables::Refused(cause, rule) => Err(Stop::Refuse(Refusal::new(*cause, rule.as_ref()))),
    }
}

/// Whether the lists of a service refuse this address whatever its names are.
pub fn turns_away(compiled: &CompiledRules, peer: Peer) -> bool {
    let lists = checks::lists(compiled, peer, &Names::NotAsked);
    matches!(checks::access(compiled.rules(), lists), Access::Refuse(..))
}

pub(crate) fn cause_of(excess: Excess) -> Cause {
    match excess {
        Excess::Service => Cause::ServiceRate,
        Excess::Source => Cause::SourceRate,
    }
}

/// What a hit on a sensor comes to. A forged source is never denied, or anybody could lock out anybody; a protected one
/// is never denied at all.
fn touch(host: &mut HostState, arrival: &Arrival, denial: Denial, now: &Now) -> SensorHit {
    if denial == Denial::Never {
        SensorHit::Never
    } else if arrival.proof != Proof::Handshake || arrival.peer.address().is_none() {
        SensorHit::Forgeable
    } else if host.protects(arrival.peer) {
        SensorHit::Protected
    } else {
        host.denied.trip(arrival.source(), denial, now.mono)
    }
}

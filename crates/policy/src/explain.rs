//! The decision in words: every check in order, what it found, and the line that decides. Changes nothing.
//!
//! Asks the same checks as `decide`; the rate, which counts, is asked on a copy. A property test holds the two together.

use crate::address::{Match, Rule};
use crate::arrival::{Arrival, Facts, Names, Now, Proof, Tables};
use crate::checks::{self, Access, Lists};
use crate::decide::cause_of;
use crate::rate::Pace;
use crate::rate::minute::{Limits, Room};
use crate::rules::{CompiledRules, Denial, Origin, Rules};
use crate::schedule;
use crate::state::{HostState, ServiceState};
use crate::verdict::Cause;
use std::time::Duration;

/// One check of an explanation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// On which part of a way of several: a word of the caller's, empty where there is one part.
    pub part: &'static str,
    /// What is checked; an attribute's name where there is one.
    pub name: &'static str,
    /// What it found.
    pub outcome: Outcome,
    /// The numbers behind it, for a person.
    pub detail: String,
    /// The line that decides, where one does.
    pub origin: Option<Origin>,
}

/// The check of hosts.allow and hosts.deny.
pub const TABLES: &str = "hosts_access";

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It lets the client pass.
    Pass,
    /// It refuses the client.
    Refuse,
    /// Nothing is configured.
    NotSet,
    /// It depends on the peer's names, which nobody asked for yet.
    NeedsNames,
    /// An earlier check refuses the client.
    NotReached,
}

/// Explains what [`decide`](crate::decide) would say to this arrival now, check by check. The client is refused when a
/// check refuses, names are needed when none refuses and one needs names, and otherwise it is admitted.
pub fn explain(
    compiled: &CompiledRules,
    state: &ServiceState,
    host: &HostState,
    arrival: &Arrival,
    facts: &Facts,
    now: &Now,
) -> Vec<Check> {
    let rules = compiled.rules();
    let mut checks = vec![
        rate(rules, state, arrival, now),
        load(rules, facts.load),
        hours(rules, now),
        instances(rules, state),
        per_source(rules, state, arrival),
        source_starts(rules, state, arrival, now),
        starts(rules, state, arrival, now),
        process_limit(host),
        denied(host, arrival, now),
        sensor(rules, host, arrival),
    ];
    let lists = checks::lists(compiled, arrival.peer, &facts.names);
    checks.extend(access(rules, lists, &facts.names));
    // Nobody asks the tables before the names that an earlier check needs are there.
    let waits = checks.iter().any(|check| check.outcome == Outcome::NeedsNames);
    checks.push(tables(if waits && !matches!(facts.tables, Tables::Off) {
        &Tables::NotAsked
    } else {
        &facts.tables
    }));

    end_at_refusal(&mut checks);
    checks
}

/// After the first refusal nothing is reached.
pub fn end_at_refusal(checks: &mut [Check]) {
    let refused = checks.iter().position(|check| check.outcome == Outcome::Refuse).unwrap_or(checks.len());
    for check in checks.iter_mut().skip(refused + 1) {
        *check = Check { part: check.part, outcome: Outcome::NotReached, ..not_set(check.name) };
    }
}

impl Check {
    /// A step that lets the client pass.
    pub fn pass(name: &'static str, detail: String, origin: Option<Origin>) -> Self {
        check(name, false, detail, origin.as_ref())
    }

    /// One that refuses it.
    pub fn refuse(name: &'static str, detail: String, origin: Option<Origin>) -> Self {
        check(name, true, detail, origin.as_ref())
    }
}

pub(crate) fn check(name: &'static str, refuses: bool, detail: String, origin: Option<&Origin>) -> Check {
    let outcome = if refuses { Outcome::Refuse } else { Outcome::Pass };
    Check { part: "", name, outcome, detail, origin: origin.cloned() }
}

fn not_set(name: &'static str) -> Check {
    Check { part: "", name, outcome: Outcome::NotSet, detail: String::new(), origin: None }
}

pub(crate) fn rate(rules: &Rules, state: &ServiceState, arrival: &Arrival, now: &Now) -> Check {
    let (limit, wait) = rules.cps;
    if limit == 0 {
        return not_set("cps");
    }
    let (pace, view) = state.read(|counters| {
        let mut copy = counters.rate.clone();
        let pace = copy.admit(rules.cps, rules.overload_closes, Some(arrival.source()), now.mono);
        (pace, copy.view(now.mono))
    });
    let mut detail =
        format!("{limit} connections per second, {wait} seconds of wait; the service is {}", view.state);
    if let Some(share) = view.share {
        detail.push_str(&format!(", the share of one source is {share} per second"));
    }
    if let Pace::Refuse(_, excess) = pace {
        detail.push_str("; ");
        detail.push_str(cause_of(excess).text());
    }
    check("cps", pace != Pace::Pass, detail, rules.origin("cps"))
}

pub(crate) fn load(rules: &Rules, load: Option<f64>) -> Check {
    let Some(limit) = rules.max_load else { return not_set("max_load") };
    let detail = match load {
        Some(load) => format!("the load is {load:.2}, the limit {limit}"),
        None => format!("the load is unknown, the limit {limit}"),
    };
    check("max_load", checks::load_too_high(rules, load), detail, rules.origin("max_load"))
}

pub(crate) fn hours(rules: &Rules, now: &Now) -> Check {
    let Some(windows) = rules.windows.as_deref() else { return not_set("access_times") };
    let refuses = checks::out_of_hours(rules, now.minute);
    let mut detail = format!("it is {}", clock(now.minute));
    if refuses {
        match schedule::next_open(windows, now.minute) {
            Some(open) => detail.push_str(&format!(", open again at {}", clock(open))),
            None => detail.push_str(", never open"),
        }
    }
    check("access_times", refuses, detail, rules.origin("access_times"))
}

fn clock(minute: u16) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

pub(crate) fn instances(rules: &Rules, state: &ServiceState) -> Check {
    let Some(limit) = rules.instances else { return not_set("instances") };
    let (refuses, running) =
        state.read(|c| (checks::instances_taken(rules, &c.occupancy), c.occupancy.running()));
    check("instances", refuses, format!("{running} of {limit} running"), rules.origin("instances"))
}

fn per_source(rules: &Rules, state: &ServiceState, arrival: &Arrival) -> Check {
    let Some(limit) = rules.per_source else { return not_set("per_source") };
    let source = arrival.source();
    let (refuses, running) = state.read(|c| {
        (
            checks::source_is_full(rules, &c.occupancy, source),
            c.occupancy.from(source, rules.per_source_prefix),
        )
    });
    let network = crate::source::counted(source, rules.per_source_prefix);
    let (network, prefix) = (network.address(), network.len());
    let detail = format!("{running} of {limit} running for {network}/{prefix}");
    check("per_source", refuses, detail, rules.origin("per_source"))
}

fn starts(rules: &Rules, state: &ServiceState, arrival: &Arrival, now: &Now) -> Check {
    const NAME: &str = "starts_per_minute";
    let Some(limit) = rules.starts_per_minute else { return not_set(NAME) };
    let source = arrival.starter();
    let ((all, _), room) = state.write(|c| {
        let alone = Limits { source: None, ..rules.minute() };
        (c.minute.had(source, now.mono), c.minute.room(alone, source, now.mono))
    });
    let mut detail = format!("{all} starts within the last minute, the limit is {limit}");
    if room == Room::AboveShare {
        detail.push_str(&format!("; {}", Cause::SourceShare.text()));
    }
    check(NAME, room != Room::Free, detail, rules.origin(NAME))
}

fn source_starts(rules: &Rules, state: &ServiceState, arrival: &Arrival, now: &Now) -> Check {
    const NAME: &str = "source_starts_per_minute";
    let Some(limit) = rules.source_starts_per_minute else { return not_set(NAME) };
    let source = arrival.starter();
    let (_, had) = state.write(|c| c.minute.had(source, now.mono));
    let detail = format!("{had} starts of the source within the last minute, the limit is {limit}");
    check(NAME, had >= limit, detail, rules.origin(NAME))
}

pub(crate) fn process_limit(host: &HostState) -> Check {
    let Some(limit) = host.process_limit.filter(|&limit| limit > 0) else { return not_set("process_limit") };
    let detail = format!("{} of {limit} running on this host", host.running());
    check("process_limit", checks::processes_taken(host), detail, None)
}

pub(crate) fn denied(host: &HostState, arrival: &Arrival, now: &Now) -> Check {
    let Some(address) = arrival.peer.address().filter(|_| !host.denied.is_empty()) else {
        return not_set("denied");
    };
    let refuses = host.denies(arrival.peer, now.mono);
    let detail = match host.denied.until(address.ip()) {
        Some(_) if !refuses && host.protects(arrival.peer) => "denied, but protected".to_owned(),
        Some(Some(until)) if refuses => {
            let left = until.saturating_sub(now.mono);
            format!("denied for another {} seconds", left.as_secs() + u64::from(left.subsec_nanos() > 0))
        }
        Some(None) => "denied until cleared".to_owned(),
        _ => format!("not among the {} denied sources", host.denied.len()),
    };
    check("denied", refuses, detail, None)
}

fn sensor(rules: &Rules, host: &HostState, arrival: &Arrival) -> Check {
    let Some(denial) = rules.sensor else { return not_set("sensor") };
    let consequence = match denial {
        Denial::Never => "the hit is logged only".to_owned(),
        _ if arrival.proof == Proof::Nothing => {
            "the address may be forged: the hit is logged only".to_owned()
        }
        _ if arrival.proof == Proof::Proxy => {
            "the source is a proxy's word: the hit is logged only".to_owned()
        }
        _ if host.protects(arrival.peer) => "the source is protected: the hit is logged only".to_owned(),
        Denial::For(time) => format!("the source is denied for {}", minutes(time)),
        Denial::Forever => "the source is denied until cleared".to_owned(),
    };
    check("sensor", true, format!("the service is a sensor; {consequence}"), rules.origin("flags"))
}

fn minutes(time: Duration) -> String {
    match time.as_secs() {
        60 => "1 minute".to_owned(),
        seconds if seconds % 60 == 0 => format!("{} minutes", seconds / 60),
        seconds => format!("{seconds} seconds"),
    }
}

/// What the caller found in hosts.allow and hosts.deny; it alone can say more of it.
fn tables(tables: &Tables) -> Check {
    match tables {
        Tables::Off => not_set(TABLES),
        Tables::NotAsked => Check { outcome: Outcome::NeedsNames, ..not_set(TABLES) },
        Tables::Granted => check(TABLES, false, String::new(), None),
        Tables::Refused(cause, rule) => check(TABLES, true, cause.text().to_owned(), rule.as_ref()),
    }
}

/// The two lists. Which of them carries a refusal follows from the rules of [`checks::access`].
fn access(rules: &Rules, lists: Lists, names: &Names) -> [Check; 2] {
    let verdict = checks::access(rules, lists);
    let mut no_access = list("no_access", rules.no_access.as_deref(), lists.no_access, names);
    let mut only_from = list("only_from", rules.only_from.as_deref(), lists.only_from, names);
    if let Access::Refuse(cause, origin) = verdict {
        let blamed = match cause {
            Cause::NotInOnlyFrom => &mut only_from,
            Cause::NamesUnavailable if lists.no_access != Some(Match::Unavailable) => &mut only_from,
            _ => &mut no_access,
        };
        blamed.outcome = Outcome::Refuse;
        blamed.origin = origin.cloned();
        if cause == Cause::BothLists {
            blamed.detail.push_str("; only_from matches too, and no_access wins");
        }
    }
    [no_access, only_from]
}

/// One list on its own: what matched. Whether that refuses is for the two together to say.
fn list(name: &'static str, rules: Option<&[Rule]>, found: Option<Match>, names: &Names) -> Check {
    let (Some(rules), Some(found)) = (rules, found) else { return not_set(name) };
    let asked = match names {
        Names::Known(names) if names.is_empty() => ", the peer has no confirmed name",
        _ => "",
    };
    let (outcome, detail, origin) = match found {
        Match::Yes(at) => {
            let rule = rules.get(at);
            let text = rule.map_or("", |rule| rule.text.as_str());
            (Outcome::Pass, format!("{text} matches"), rule.map(|rule| rule.origin.clone()))
        }
        Match::No if rules.is_empty() => (Outcome::Pass, "the list is empty".to_owned(), None),
        Match::No => (Outcome::Pass, format!("none of {} rules matches{asked}", rules.len()), None),
        Match::NeedNames => {
            (Outcome::NeedsNames, "no address rule matches, a name rule may".to_owned(), None)
        }
        Match::Unavailable => {
            (Outcome::Pass, "no address rule matches, and the names could not be asked for".to_owned(), None)
        }
    };
    Check { part: "", name, outcome, detail, origin }
}

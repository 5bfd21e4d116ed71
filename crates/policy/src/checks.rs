//! The single checks, each a question without side effects. `decide` asks them in order, `wait` some of them, `explain`
//! all of them: sharing them is what keeps the explanation true.

use crate::address::{AddressIndex, Match};
use crate::arrival::{Names, Peer};
use crate::occupancy::Occupancy;
use crate::rules::{CompiledRules, Origin, Rules};
use crate::schedule;
use crate::state::HostState;
use crate::verdict::Cause;
use std::net::IpAddr;

/// max_load. A load that could not be read refuses nobody, as in xinetd.
pub(crate) fn load_too_high(rules: &Rules, load: Option<f64>) -> bool {
    matches!((rules.max_load, load), (Some(limit), Some(load)) if load >= limit)
}

/// access_times.
pub(crate) fn out_of_hours(rules: &Rules, minute: u16) -> bool {
    rules.windows.as_deref().is_some_and(|windows| !schedule::is_open(windows, minute))
}

/// instances.
pub(crate) fn instances_taken(rules: &Rules, occupancy: &Occupancy) -> bool {
    rules.instances.is_some_and(|limit| occupancy.running() >= limit)
}

/// per_source.
pub(crate) fn source_is_full(rules: &Rules, occupancy: &Occupancy, source: IpAddr) -> bool {
    rules.per_source.is_some_and(|limit| occupancy.from(source, rules.per_source_prefix) >= limit)
}

/// `-limit`; 0 is no limit.
pub(crate) fn processes_taken(host: &HostState) -> bool {
    host.process_limit.is_some_and(|limit| limit > 0 && host.running() >= limit)
}

/// What the two lists say together.
#[derive(Debug)]
pub(crate) enum Access<'a> {
    Admit,
    Refuse(Cause, Option<&'a Origin>),
    NeedNames,
}

/// Each list's answer, `None` where it is not set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lists {
    pub(crate) no_access: Option<Match>,
    pub(crate) only_from: Option<Match>,
}

/// Asks both lists about `peer` as it arrived. Nothing in a list is about a process of this host.
pub(crate) fn lists(rules: &CompiledRules, peer: Peer, names: &Names) -> Lists {
    let ask = |list: &AddressIndex| peer.address().map_or(Match::No, |at| list.matches(at.ip(), names));
    Lists { no_access: rules.no_access().map(ask), only_from: rules.only_from().map(ask) }
}

/// no_access and only_from (reference xinetd §4.1): deny wins, no best match. Names are asked for only where they can
/// change the verdict: not when no_access matches by address, nor when nothing in only_from can match.
pub(crate) fn access(rules: &Rules, lists: Lists) -> Access<'_> {
    if let Some(Match::Yes(matched)) = lists.no_access {
        let both = matches!(lists.only_from, Some(Match::Yes(_)));
        let cause = if both { Cause::BothLists } else { Cause::NoAccess };
        let rule = rules.no_access.as_ref().and_then(|list| list.get(matched));
        return Access::Refuse(cause, rule.map(|rule| &rule.origin));
    }
    match (lists.no_access, lists.only_from) {
        (_, Some(Match::No)) => Access::Refuse(Cause::NotInOnlyFrom, rules.origin("only_from")),
        (Some(Match::Unavailable), _) => Access::Refuse(Cause::NamesUnavailable, rules.origin("no_access")),
        (_, Some(Match::Unavailable)) => Access::Refuse(Cause::NamesUnavailable, rules.origin("only_from")),
        (Some(Match::NeedNames), _) | (_, Some(Match::NeedNames)) => Access::NeedNames,
        (_, Some(Match::Yes(_)) | None) => Access::Admit,
    }
}

//! From a service as it was read to the rules that decide about its clients: what the supervisor does at reload, here
//! for commands that answer from a file. The only place of this crate where the two languages meet.

use portreeve_conf::{Action, AddressEntry, AddressMatch, DenyTime, Overload, Place, Service, Set};
use portreeve_policy::{Denial, Origin, Pattern, Rule, Rules};
use std::time::Duration;

/// The rules of a service.
pub fn of(service: &Service) -> Rules {
    Rules {
        cps: service.limits.cps.value,
        overload_closes: service.overload.value == Overload::Close,
        max_load: service.max_load.as_ref().map(|load| load.value),
        windows: service.access_times.as_ref().map(|set| set.value.iter().map(|w| (w.from, w.to)).collect()),
        instances: service.limits.instances.value,
        per_source: service.limits.per_source.value,
        per_source_prefix: service.per_source_prefix.value,
        starts_per_minute: service.starts_per_minute.value,
        source_starts_per_minute: service.source_starts_per_minute.value,
        sensor: (service.action == Action::Sensor).then(|| match service.deny_time.value {
            DenyTime::Never => Denial::Never,
            DenyTime::Minutes(minutes) => Denial::For(Duration::from_secs(u64::from(minutes) * 60)),
            DenyTime::Forever => Denial::Forever,
        }),
        only_from: service.limits.only_from.as_deref().map(list),
        no_access: service.no_access.as_deref().map(list),
        origins: origins(service),
    }
}

/// The rules of an address list, in its order.
pub fn list(entries: &[AddressEntry]) -> Vec<Rule> {
    entries.iter().flat_map(rules_of).collect()
}

/// One word may stand for several networks (a factorized address); each keeps the word and its place.
fn rules_of(entry: &AddressEntry) -> Vec<Rule> {
    let patterns = match &entry.matches {
        AddressMatch::V4(networks) => {
            networks.iter().map(|(network, bits)| Pattern::V4(*network, *bits)).collect()
        }
        AddressMatch::V6(network, bits) => vec![Pattern::V6(*network, *bits)],
        AddressMatch::Name(name) => vec![Pattern::Name(name.clone())],
        AddressMatch::Suffix(suffix) => vec![Pattern::Suffix(suffix.clone())],
    };
    let rule = |pattern| Rule { text: entry.text.to_string(), origin: origin(&entry.place), pattern };
    patterns.into_iter().map(rule).collect()
}

/// A place as policy has it.
pub fn origin(place: &Place) -> Origin {
    Origin { file: (*place.file).into(), line: place.line }
}

fn origins(service: &Service) -> Vec<(&'static str, Origin)> {
    fn of<T>(set: &Set<T>) -> Option<&Place> {
        set.place.as_ref()
    }
    let places = [
        ("cps", of(&service.limits.cps)),
        ("max_load", service.max_load.as_ref().and_then(of)),
        ("access_times", service.access_times.as_ref().and_then(of)),
        ("instances", of(&service.limits.instances)),
        ("per_source", of(&service.limits.per_source)),
        ("starts_per_minute", of(&service.starts_per_minute)),
        ("source_starts_per_minute", of(&service.source_starts_per_minute)),
        ("only_from", service.limits.only_from_place.as_ref()),
        ("no_access", service.no_access.as_ref().and_then(|list| list.first()).map(|entry| &entry.place)),
        ("deny_time", of(&service.deny_time)),
    ];
    places.into_iter().filter_map(|(name, place)| place.map(|place| (name, origin(place)))).collect()
}

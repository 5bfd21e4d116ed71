//! From `conf`'s words to `policy`'s: the one place where both are seen.

use portreeve_conf::{self as conf, Action, AddressEntry, AddressMatch, DenyTime, Overload, Service};
use portreeve_policy::{AddressSet, CompiledRules, Denial, Origin, Pattern, Rule, Rules};
use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Longer lists are compiled when the configuration is read, so that no client waits for it.
const SHORT: usize = 16;

/// The compiled policy of a service, made when the first client asks for it: of a thousand services few are called within the hour, and
/// one with short lists is made in a microsecond.
#[derive(Debug, Default)]
pub struct Policy(OnceCell<Rc<CompiledRules>>);

impl Policy {
    /// For a service as it was read.
    pub fn of(service: &Service) -> Self {
        let policy = Self::default();
        let lists = [&service.limits.only_from, &service.no_access];
        if lists.into_iter().flatten().map(Vec::len).sum::<usize>() > SHORT {
            policy.get(service);
        }
        policy
    }

    /// The policy.
    pub fn get(&self, service: &Service) -> &Rc<CompiledRules> {
        self.0.get_or_init(|| Rc::new(CompiledRules::new(rules(service))))
    }
}

/// The policy of a service.
fn rules(service: &Service) -> Rules {
    let (mut origins, mut files) = (Vec::new(), Files::default());
    let mut note = |name: &'static str, place: &Option<conf::Place>| {
        if let Some(place) = place {
            origins.push((name, files.origin(place)));
        }
    };
    note("cps", &service.limits.cps.place);
    note("instances", &service.limits.instances.place);
    note("per_source", &service.limits.per_source.place);
    note("starts_per_minute", &service.starts_per_minute.place);
    note("source_starts_per_minute", &service.source_starts_per_minute.place);
    note("deny_time", &service.deny_time.place);
    note("only_from", &service.limits.only_from_place);
    note("no_access", &service.no_access.as_deref().and_then(<[_]>::first).map(|entry| entry.place.clone()));
    if let Some(load) = &service.max_load {
        note("max_load", &load.place);
    }
    if let Some(times) = &service.access_times {
        note("access_times", &times.place);
    }
    let sensor = matches!(service.action, Action::Sensor).then(|| match service.deny_time.value {
        DenyTime::Never => Denial::Never,
        DenyTime::Minutes(minutes) => Denial::For(Duration::from_secs(u64::from(minutes) * 60)),
        DenyTime::Forever => Denial::Forever,
    });
    Rules {
        cps: service.limits.cps.value,
        overload_closes: service.overload.value == Overload::Close,
        max_load: service.max_load.as_ref().map(|m| m.value),
        windows: service.access_times.as_ref().map(|t| t.value.iter().map(|w| (w.from, w.to)).collect()),
        instances: service.limits.instances.value,
        per_source: service.limits.per_source.value,
        // A process is counted by its user, and a user is nobody else.
        per_source_prefix: if service.listen.is_local() {
            (32, 128)
        } else {
            service.per_source_prefix.value
        },
        starts_per_minute: service.starts_per_minute.value,
        source_starts_per_minute: service.source_starts_per_minute.value,
        sensor,
        only_from: service.limits.only_from.as_deref().map(addresses),
        no_access: service.no_access.as_deref().map(addresses),
        origins,
    }
}

/// Who may send a PROXY header to this service; `None` where none is read.
pub fn proxies(service: &Service) -> Option<AddressSet> {
    let accepts = service.proxy_protocol.is_some_and(|proxy| proxy.accept);
    accepts.then(|| AddressSet::build(addresses(&service.proxy_from)))
}

/// The sources that no ban touches: those of `protect`, of lists that say so, and all proxies, which come on behalf of others.
pub fn protected<'a>(protect: &[AddressEntry], services: impl Iterator<Item = &'a Service>) -> AddressSet {
    let mut rules = addresses(protect);
    services.for_each(|service| {
        rules.extend(addresses(&service.proxy_from));
        if service.protect_only_from {
            let names = |rule: &Rule| matches!(rule.pattern, Pattern::Name(_) | Pattern::Suffix(_));
            let entries = service.limits.only_from.as_deref().unwrap_or_default();
            rules.extend(addresses(entries).into_iter().filter(|rule| !names(rule)));
        }
    });
    AddressSet::build(rules)
}

/// Address words as rules; a factorized word becomes several.
pub fn addresses(entries: &[AddressEntry]) -> Vec<Rule> {
    let (mut rules, mut files) = (Vec::with_capacity(entries.len()), Files::default());
    for entry in entries {
        let mut add = |pattern| {
            rules.push(Rule { text: entry.text.to_string(), origin: files.origin(&entry.place), pattern });
        };
        match &entry.matches {
            AddressMatch::V4(nets) => nets.iter().for_each(|&(net, bits)| add(Pattern::V4(net, bits))),
            AddressMatch::V6(net, bits) => add(Pattern::V6(*net, *bits)),
            AddressMatch::Name(name) => add(Pattern::Name(name.clone())),
            AddressMatch::Suffix(suffix) => add(Pattern::Suffix(suffix.clone())),
        }
    }
    rules
}

/// The names of files as policy shares them: rules of one file have one.
#[derive(Default)]
struct Files(Option<(conf::Shared, Arc<str>)>);

impl Files {
    fn origin(&mut self, place: &conf::Place) -> Origin {
        let file = match &self.0 {
            Some((known, file)) if *known == place.file => Arc::clone(file),
            _ => Arc::from(&*place.file),
        };
        self.0 = Some((place.file.clone(), Arc::clone(&file)));
        Origin { file, line: place.line }
    }
}

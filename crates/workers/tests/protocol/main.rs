//! The messages: what is written is read back, and no bytes at all make reading panic.

#![allow(clippy::unwrap_used, reason = "tests, their generators and helpers")]

mod carriers;

use portreeve_policy::{Origin, Pattern, Prefix, Reason, Rule, Rules};
use portreeve_workers::protocol::{
    Answer, BadMessage, BuiltinKind, Carried, Datagrams, Entered, Family, Fault, Found, FromBuiltin,
    FromHeader, FromProxy, FromRegistrar, FromResolver, HostName, IdentAnswer, IdentFailure, List,
    MAX_BANNER, MAX_HEAD, MAX_MESSAGE, MAX_NAME, MAX_OWNER, MAX_REGISTRATIONS, MAX_REPORT, MAX_RULES,
    Mismatch, Missing, NamesAnswer, Outcome, Policy, Preamble, Question, RateNote, Referee, Refusal,
    Registration, RulesHead, RulesInParts, TableSent, ToBuiltin, ToHeader, ToProxy, ToRegistrar, ToResolver,
    Trouble, Worker, rules_messages,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

fn ip() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|n| IpAddr::V4(Ipv4Addr::from(n))),
        any::<u128>().prop_map(|n| IpAddr::V6(Ipv6Addr::from(n))),
    ]
}

fn prefix() -> impl Strategy<Value = Prefix> {
    (ip(), any::<u8>()).prop_map(|(ip, length)| Prefix::around(ip, length))
}

fn socket_address() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        (any::<u32>(), any::<u16>()).prop_map(|(n, port)| SocketAddr::from((Ipv4Addr::from(n), port))),
        (any::<u128>(), any::<u16>(), any::<u32>(), any::<u32>())
            .prop_map(|(n, port, flow, scope)| SocketAddrV6::new(n.into(), port, flow, scope).into()),
    ]
}

fn kind() -> impl Strategy<Value = BuiltinKind> {
    select(&BuiltinKind::ALL[..])
}

fn name() -> impl Strategy<Value = String> {
    "[^\\p{Cc}]{0,60}"
}

fn host() -> impl Strategy<Value = String> {
    "[A-Za-z0-9_.-]{1,255}"
}

fn missing() -> impl Strategy<Value = Vec<Missing>> {
    subsequence(&Missing::ALL[..], 0..=Missing::ALL.len())
}

fn reason() -> impl Strategy<Value = Reason> {
    use Reason::*;
    select(vec![Rate, Load, Time, ServiceLimit, PerSourceLimit, ProcessLimit, Address, Libwrap, Fork])
}

fn pattern() -> impl Strategy<Value = Pattern> {
    prop_oneof![
        (any::<u32>(), 0..=32u8).prop_map(|(n, length)| Pattern::V4(n, length)),
        (any::<u128>(), 0..=128u8).prop_map(|(n, length)| Pattern::V6(n, length)),
        name().prop_map(Pattern::Name),
        name().prop_map(Pattern::Suffix),
    ]
}

fn head() -> impl Strategy<Value = RulesHead> {
    (
        any::<(u32, u32)>(),
        any::<bool>(),
        option::of(-1e9..1e9f64),
        option::of(vec(any::<(u16, u16)>(), 0..20)),
        any::<[Option<u32>; 3]>(),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(cps, overload_closes, max_load, windows, limits, only_from, no_access)| RulesHead {
            cps,
            overload_closes,
            max_load,
            windows,
            instances: limits[0],
            per_source: limits[1],
            starts_per_minute: limits[2],
            only_from,
            no_access,
        })
}

fn datagram_kind() -> impl Strategy<Value = BuiltinKind> {
    select(BuiltinKind::ALL.into_iter().filter(|kind| !kind.is_stream_only()).collect::<Vec<_>>())
}

#[test]
fn what_reports_has_no_datagrams_and_a_report_a_bound() {
    let mut bytes = Vec::new();
    for kind in BuiltinKind::ALL {
        ToBuiltin::Datagrams { slot: 1, kind, more: false }.encode(&mut bytes).unwrap();
        assert_eq!(ToBuiltin::decode(&bytes).is_err(), kind.is_stream_only(), "{kind:?}");
    }
    for (servers, services) in [(MAX_REPORT as u32 + 1, 0), (0, u32::MAX)] {
        ToBuiltin::Report { servers, services }.encode(&mut bytes).unwrap();
        assert!(ToBuiltin::decode(&bytes).is_err());
    }
}

fn policy() -> impl Strategy<Value = Policy> {
    prop_oneof![
        (any::<u32>(), any::<bool>(), head()).prop_map(|(slot, log_served, head)| Policy::RulesHead {
            slot,
            log_served,
            head
        }),
        (any::<u32>(), select(vec![List::OnlyFrom, List::NoAccess]), vec(pattern(), 0..100))
            .prop_map(|(slot, list, patterns)| Policy::RulesPart { slot, list, patterns }),
        any::<u32>().prop_map(|slot| Policy::RulesEnd { slot }),
        (any::<u32>(), option::of(name())).prop_map(|(slot, daemon)| Policy::Wrapped { slot, daemon }),
        (table_sent(), table_sent()).prop_map(|(allow, deny)| Policy::Tables { allow, deny }),
        any::<u32>().prop_map(|slot| Policy::Forget { slot }),
        vec((prefix(), option::of(any::<u64>())), 0..100).prop_map(Policy::Bans),
        vec(prefix(), 0..100).prop_map(Policy::Pardon),
    ]
}

fn to_builtin() -> impl Strategy<Value = ToBuiltin> {
    prop_oneof![
        (any::<u64>(), kind(), any::<u32>(), socket_address()).prop_map(
            |(ticket, kind, idle_seconds, peer)| ToBuiltin::Serve { ticket, kind, idle_seconds, peer }
        ),
        (0..=MAX_REPORT as u32, 0..=MAX_REPORT as u32)
            .prop_map(|(servers, services)| ToBuiltin::Report { servers, services }),
        (any::<u32>(), datagram_kind(), any::<bool>()).prop_map(|(slot, kind, more)| ToBuiltin::Datagrams {
            slot,
            kind,
            more
        }),
        policy().prop_map(ToBuiltin::Policy),
        vec(any::<u16>(), 0..300).prop_map(ToBuiltin::BuiltinPorts),
        any::<u64>().prop_map(|ticket| ToBuiltin::End { ticket }),
    ]
}

fn note() -> impl Strategy<Value = RateNote> {
    prop_oneof![
        any::<u32>().prop_map(|seconds| RateNote::Tripped { seconds }),
        any::<u32>().prop_map(|seconds| RateNote::Paused { seconds }),
        Just(RateNote::Resumed),
    ]
}

fn datagrams() -> impl Strategy<Value = Datagrams> {
    let refusal = (socket_address(), reason(), any::<u32>()).prop_map(|(source, reason, count)| Refusal {
        source,
        reason,
        count,
    });
    (
        any::<u32>(),
        vec(socket_address(), 0..40),
        any::<u64>(),
        vec(refusal, 0..40),
        any::<u64>(),
        vec((reason(), any::<u64>()), 0..9),
        any::<(u64, u64)>(),
    )
        .prop_map(|(slot, served, served_count, refused, refused_count, refused_by, (muted, lost))| {
            Datagrams { slot, served, served_count, refused, refused_count, refused_by, muted, lost }
        })
}

fn from_builtin() -> impl Strategy<Value = FromBuiltin> {
    let outcome =
        select(vec![Outcome::Complete, Outcome::Idle, Outcome::Broken, Outcome::Full, Outcome::Ended]);
    prop_oneof![
        missing().prop_map(|missing| FromBuiltin::Ready { missing }),
        (any::<u64>(), any::<u64>(), any::<u64>(), outcome).prop_map(
            |(ticket, bytes_in, bytes_out, outcome)| FromBuiltin::Done {
                ticket,
                bytes_in,
                bytes_out,
                outcome
            }
        ),
        datagrams().prop_map(FromBuiltin::Datagrams),
        (any::<u32>(), note()).prop_map(|(slot, note)| FromBuiltin::Rate { slot, note }),
    ]
}

fn table_sent() -> impl Strategy<Value = TableSent> {
    prop_oneof![
        Just(TableSent::Missing),
        Just(TableSent::Unreadable),
        (0u32..=1 << 20).prop_map(TableSent::Text),
    ]
}

fn host_name() -> impl Strategy<Value = HostName> {
    let mismatches = vec![Mismatch::NoName, Mismatch::NoAddress, Mismatch::OtherName, Mismatch::OtherAddress];
    prop_oneof![
        host().prop_map(HostName::Name),
        Just(HostName::Unknown),
        Just(HostName::Unavailable),
        select(mismatches).prop_map(HostName::Paranoid),
    ]
}

fn ident_answer() -> impl Strategy<Value = IdentAnswer> {
    let printable = || vec(prop_oneof![32u8..127, 128u8..=255], 0..100);
    let failures =
        vec![IdentFailure::NoServer, IdentFailure::Timeout, IdentFailure::System, IdentFailure::Receiving];
    prop_oneof![
        (option::of(printable()), any::<bool>(), printable())
            .prop_map(|(user, good, text)| IdentAnswer::Line { user, good, text }),
        select(failures).prop_map(IdentAnswer::Failed),
        Just(IdentAnswer::Unavailable),
    ]
}

fn question() -> impl Strategy<Value = Question> {
    let family = select(vec![Family::Any, Family::V4, Family::V6]);
    prop_oneof![
        name().prop_map(Question::User),
        any::<u32>().prop_map(Question::UserById),
        name().prop_map(Question::Group),
        (name(), any::<u32>()).prop_map(|(user, gid)| Question::GroupsOf(user, gid)),
        (name(), name()).prop_map(|(name, protocol)| Question::ServicePort(name, protocol)),
        name().prop_map(Question::Protocol),
        name().prop_map(Question::RpcNumber),
        name().prop_map(Question::Network),
        (host(), family).prop_map(|(name, family)| Question::Addresses(name, family)),
        (name(), name()).prop_map(|(group, host)| Question::InNetgroup(group, host)),
    ]
}

fn to_resolver() -> impl Strategy<Value = ToResolver> {
    prop_oneof![
        (any::<u64>(), ip()).prop_map(|(ticket, address)| ToResolver::Reverse { ticket, address }),
        (any::<u64>(), question()).prop_map(|(ticket, question)| ToResolver::Lookup { ticket, question }),
        any::<u64>().prop_map(|ticket| ToResolver::Ping { ticket }),
        (any::<u64>(), socket_address()).prop_map(|(ticket, address)| ToResolver::Host { ticket, address }),
        (any::<u64>(), socket_address(), socket_address(), any::<u16>()).prop_map(
            |(ticket, ours, theirs, seconds)| { ToResolver::Ident { ticket, ours, theirs, seconds } }
        ),
    ]
}

fn from_resolver() -> impl Strategy<Value = FromResolver> {
    let names = prop_oneof![vec(host(), 0..16).prop_map(NamesAnswer::Known), Just(NamesAnswer::Unavailable)];
    let answer = prop_oneof![
        Just(Answer::NotFound),
        Just(Answer::Unavailable),
        (name(), any::<u32>(), any::<u32>()).prop_map(|(name, uid, gid)| Answer::User { name, uid, gid }),
        any::<u32>().prop_map(Answer::Group),
        vec(any::<u32>(), 0..300).prop_map(Answer::Groups),
        any::<u16>().prop_map(Answer::Port),
        any::<i32>().prop_map(Answer::Protocol),
        any::<u32>().prop_map(Answer::RpcNumber),
        any::<u32>().prop_map(Answer::Network),
        vec(ip(), 0..256).prop_map(Answer::Addresses),
        any::<bool>().prop_map(Answer::Member),
    ];
    prop_oneof![
        missing().prop_map(|missing| FromResolver::Ready { missing }),
        (any::<u64>(), names).prop_map(|(ticket, names)| FromResolver::Names { ticket, names }),
        (any::<u64>(), answer).prop_map(|(ticket, answer)| FromResolver::Answer { ticket, answer }),
        any::<u64>().prop_map(|ticket| FromResolver::Pong { ticket }),
        (any::<u64>(), host_name()).prop_map(|(ticket, host)| FromResolver::Host { ticket, host }),
        (any::<u64>(), ident_answer()).prop_map(|(ticket, answer)| FromResolver::User { ticket, answer }),
    ]
}

/// Every shorter form of a message is refused, and so is a longer one.
fn exact<T: std::fmt::Debug>(bytes: &[u8], decode: impl Fn(&[u8]) -> Result<T, BadMessage>) {
    for length in 0..bytes.len() {
        assert!(decode(&bytes[..length]).is_err(), "cut to {length} of {}", bytes.len());
    }
    let mut longer = bytes.to_vec();
    longer.push(0);
    assert!(decode(&longer).is_err());
}

proptest! {
    #[test]
    fn messages_to_builtin_survive(message in to_builtin()) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes).unwrap();
        prop_assert!(bytes.len() <= MAX_MESSAGE);
        prop_assert_eq!(ToBuiltin::decode(&bytes), Ok(message));
        exact(&bytes, ToBuiltin::decode);
    }

    #[test]
    fn messages_from_builtin_survive(message in from_builtin()) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes).unwrap();
        prop_assert_eq!(FromBuiltin::decode(&bytes), Ok(message));
        exact(&bytes, FromBuiltin::decode);
    }

    #[test]
    fn messages_to_resolver_survive(message in to_resolver()) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes).unwrap();
        prop_assert_eq!(ToResolver::decode(&bytes), Ok(message));
        exact(&bytes, ToResolver::decode);
    }

    #[test]
    fn messages_from_resolver_survive(message in from_resolver()) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes).unwrap();
        prop_assert_eq!(FromResolver::decode(&bytes), Ok(message));
        exact(&bytes, FromResolver::decode);
    }

    #[test]
    fn no_bytes_make_reading_panic(first in 0..80u8, rest in vec(any::<u8>(), 0..400)) {
        let mut bytes = vec![first];
        bytes.extend(rest);
        let _ = ToBuiltin::decode(&bytes);
        let _ = FromBuiltin::decode(&bytes);
        let _ = ToResolver::decode(&bytes);
        let _ = FromResolver::decode(&bytes);
    }

    #[test]
    fn a_changed_byte_never_makes_another_shape(message in from_resolver(), at in any::<usize>(), to in any::<u8>()) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes).unwrap();
        let at = at % bytes.len();
        bytes[at] = to;
        // Whatever is understood can be said again, with the same bytes: there is one form of each message.
        if let Ok(understood) = FromResolver::decode(&bytes) {
            let mut again = Vec::new();
            understood.encode(&mut again).unwrap();
            prop_assert_eq!(again, bytes);
        }
    }

    #[test]
    fn rules_arrive_as_they_were(
        head in head(),
        only_from in vec(pattern(), 0..700),
        no_access in vec(pattern(), 0..10),
        log_served in any::<bool>(),
    ) {
        let rules = rules_of(&head, only_from.clone(), no_access.clone());
        let messages = rules_messages(3, log_served, &rules).unwrap();
        let got = assemble(&messages);
        prop_assert_eq!(got.1, log_served);
        prop_assert_eq!(patterns(got.0.only_from.as_deref()), head.only_from.then_some(only_from));
        prop_assert_eq!(patterns(got.0.no_access.as_deref()), head.no_access.then_some(no_access));
        prop_assert_eq!((got.0.cps, got.0.max_load, got.0.windows), (head.cps, head.max_load, head.windows));
    }
}

fn rules_of(head: &RulesHead, only_from: Vec<Pattern>, no_access: Vec<Pattern>) -> Rules {
    let origin = Origin { file: "t".into(), line: 1 };
    let list = |patterns: Vec<Pattern>| {
        patterns
            .into_iter()
            .map(|pattern| Rule { text: "t".into(), origin: origin.clone(), pattern })
            .collect::<Vec<_>>()
    };
    Rules {
        cps: head.cps,
        overload_closes: head.overload_closes,
        max_load: head.max_load,
        windows: head.windows.clone(),
        starts_per_minute: head.starts_per_minute,
        only_from: head.only_from.then(|| list(only_from)),
        no_access: head.no_access.then(|| list(no_access)),
        ..Rules::default()
    }
}

fn patterns(rules: Option<&[Rule]>) -> Option<Vec<Pattern>> {
    rules.map(|rules| rules.iter().map(|rule| rule.pattern.clone()).collect())
}

/// What the worker makes of the messages, through their bytes.
fn assemble(messages: &[Policy]) -> (Rules, bool) {
    let mut parts: Option<RulesInParts> = None;
    let mut bytes = Vec::new();
    for message in messages {
        message.encode(&mut bytes).unwrap();
        match ToBuiltin::decode(&bytes).unwrap() {
            ToBuiltin::Policy(Policy::RulesHead { slot: 3, log_served, head }) => {
                parts = Some(RulesInParts::new(head, log_served));
            }
            ToBuiltin::Policy(Policy::RulesPart { slot: 3, list, patterns }) => {
                parts.as_mut().unwrap().add(list, patterns).unwrap();
            }
            ToBuiltin::Policy(Policy::RulesEnd { slot: 3 }) => {
                let parts = parts.unwrap();
                let log_served = parts.log_served;
                return (parts.finish(), log_served);
            }
            other => panic!("{other:?}"),
        }
    }
    panic!("no end");
}

#[test]
fn names_are_checked_on_both_sides() {
    let mut bytes = Vec::new();
    let long = "a".repeat(MAX_NAME + 1);
    for name in ["a\nb", "a\u{0}b", "a\u{7f}", "a\u{85}b", long.as_str()] {
        let question = Question::User(name.into());
        assert!(ToResolver::Lookup { ticket: 1, question }.encode(&mut bytes).is_err(), "{name:?}");
    }
    for name in ["", "a b", "a/b", "a%b", "ä.example", "a\nb", long.as_str()] {
        let names = NamesAnswer::Known(vec![name.into()]);
        assert!(FromResolver::Names { ticket: 1, names }.encode(&mut bytes).is_err(), "{name:?}");
        assert!(!FromResolver::is_host_name(name));
    }
    // The same on the way in: a good message whose one letter is replaced.
    let names = NamesAnswer::Known(vec!["x".into()]);
    FromResolver::Names { ticket: 1, names }.encode(&mut bytes).unwrap();
    *bytes.last_mut().unwrap() = b'\n';
    assert_eq!(FromResolver::decode(&bytes), Err(BadMessage::BadValue("host name")));
    *bytes.last_mut().unwrap() = 0xff;
    assert_eq!(FromResolver::decode(&bytes), Err(BadMessage::BadValue("host name")));
}

#[test]
fn lists_beyond_their_bounds_are_errors_and_never_shorter_lists() {
    let mut bytes = Vec::new();
    let names = NamesAnswer::Known(vec!["x".into(); 17]);
    assert_eq!(
        FromResolver::Names { ticket: 1, names }.encode(&mut bytes),
        Err(BadMessage::TooLong("names"))
    );
    assert!(ToBuiltin::BuiltinPorts(vec![1; 20_000]).encode(&mut bytes).is_err());
    let head = RulesHead {
        cps: (0, 0),
        overload_closes: false,
        max_load: None,
        windows: None,
        instances: Some(0),
        per_source: None,
        starts_per_minute: None,
        only_from: true,
        no_access: false,
    };
    let many = rules_of(&head, vec![Pattern::V4(0, 0); MAX_RULES + 1], Vec::new());
    assert_eq!(rules_messages(1, false, &many).unwrap_err(), BadMessage::TooLong("address list"));
    let odd = rules_of(&head, vec![Pattern::Name("a\nb".into())], Vec::new());
    assert!(rules_messages(1, false, &odd).is_err());
    let mut parts = RulesInParts::new(head.clone(), false);
    assert!(parts.add(List::NoAccess, vec![Pattern::V4(0, 0)]).is_err(), "the head says there is none");
    for _ in 0..MAX_RULES {
        parts.add(List::OnlyFrom, vec![Pattern::V4(0, 0)]).unwrap();
    }
    assert!(parts.add(List::OnlyFrom, vec![Pattern::V4(0, 0)]).is_err());
    // A claimed length costs no memory: the bytes are not there.
    assert_eq!(ToBuiltin::decode(&[40, 0xff, 0x3f, 1, 2]), Err(BadMessage::Truncated));
    assert!(ToBuiltin::decode(&vec![40; MAX_MESSAGE + 1]).is_err());
}

#[test]
fn the_referee_knows_who_may_say_what_and_when() {
    let bytes_of = |message: &FromBuiltin| {
        let mut bytes = Vec::new();
        message.encode(&mut bytes).unwrap();
        bytes
    };
    let ready = bytes_of(&FromBuiltin::Ready { missing: vec![Missing::Landlock] });
    let done =
        bytes_of(&FromBuiltin::Done { ticket: 1, bytes_in: 0, bytes_out: 0, outcome: Outcome::Complete });
    let rate = bytes_of(&FromBuiltin::Rate { slot: 1, note: RateNote::Resumed });
    let mut names = Vec::new();
    FromResolver::Names { ticket: 1, names: NamesAnswer::Unavailable }.encode(&mut names).unwrap();

    let mut referee = Referee::new(Worker::Builtin);
    assert_eq!(referee.from_builtin(&done), Err(BadMessage::OutOfTurn("Done")), "before Ready");
    assert!(!referee.ready());
    assert_eq!(referee.from_builtin(&ready), Ok(FromBuiltin::Ready { missing: vec![Missing::Landlock] }));
    assert!(referee.ready());
    assert!(referee.from_builtin(&done).is_ok() && referee.from_builtin(&rate).is_ok());
    assert_eq!(referee.from_builtin(&ready), Err(BadMessage::OutOfTurn("Ready")), "twice");
    assert_eq!(referee.from_builtin(&names), Err(BadMessage::OutOfTurn("Names")), "the resolver's");
    assert_eq!(referee.from_builtin(&[]), Err(BadMessage::Empty));
    assert_eq!(referee.from_builtin(&[33]), Err(BadMessage::UnknownTag(33)), "the supervisor's own");

    let mut referee = Referee::new(Worker::Resolver);
    assert!(referee.from_resolver(&ready).is_ok());
    assert!(referee.from_resolver(&names).is_ok());
    for other in [&done, &rate] {
        assert!(matches!(referee.from_resolver(other), Err(BadMessage::OutOfTurn(_))));
    }
}

#[test]
fn workers_have_their_names() {
    for worker in Worker::ALL {
        assert_eq!(Worker::by_name(worker.name()), Some(worker));
    }
    assert_eq!(Worker::by_name("supervisor"), None);
}

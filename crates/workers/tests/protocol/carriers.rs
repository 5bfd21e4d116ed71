//! What is said by the workers that hold connections of others: proxy, registrar, header.

use super::*;

#[test]
fn the_proxys_messages_come_back_and_are_its_own() {
    let mut bytes = Vec::new();
    for message in [
        ToProxy::Client {
            ticket: u64::MAX,
            idle_seconds: 1,
            banner: b"\x00\xffhello".to_vec(),
            head: b"PROXY".to_vec(),
        },
        ToProxy::Client {
            ticket: 1,
            idle_seconds: 1,
            banner: vec![b'x'; MAX_BANNER],
            head: vec![b'h'; MAX_HEAD],
        },
        ToProxy::Target { ticket: 7, patience_seconds: 30, tell: true },
        ToProxy::End { ticket: 7 },
        ToProxy::Policy(Policy::Forget { slot: 7 }),
        ToProxy::Datagrams { slot: 7, more: true },
        ToProxy::Flows { slot: 7, most: 8, per_source: u32::MAX, prefix: (32, 64), idle_seconds: 120 },
        ToProxy::Flow { number: u64::MAX, ticket: 7, tell: true },
        ToProxy::NoFlow { number: 7 },
    ] {
        message.encode(&mut bytes).unwrap();
        assert_eq!(ToProxy::decode(&bytes), Ok(message));
        for cut in 0..bytes.len().min(32) {
            assert!(ToProxy::decode(&bytes[..cut]).is_err());
        }
    }
    let long =
        ToProxy::Client { ticket: 1, idle_seconds: 1, banner: vec![b'x'; MAX_BANNER + 1], head: Vec::new() };
    assert_eq!(long.encode(&mut bytes), Err(BadMessage::TooLong("banner")));
    let mut referee = Referee::new(Worker::Proxy);
    let ready = FromProxy::Ready { missing: vec![Missing::Landlock] };
    ready.encode(&mut bytes).unwrap();
    assert_eq!(referee.from_proxy(&bytes), Ok(ready));
    let outcomes = [Carried::Complete, Carried::Idle, Carried::Broken, Carried::Full, Carried::Ended];
    let outcomes = outcomes.into_iter().chain([Carried::Crowded]);
    for outcome in outcomes {
        let done = FromProxy::Done { ticket: 1, bytes_in: 2, bytes_out: u64::MAX, outcome };
        done.encode(&mut bytes).unwrap();
        assert_eq!(referee.from_proxy(&bytes), Ok(done));
    }
    let (source, local) = ("[2001:db8::1]:7".parse().unwrap(), "192.0.2.1:9".parse().ok());
    let refused = vec![Refusal { source, reason: Reason::Rate, count: 9 }];
    let report =
        Datagrams { slot: 7, served: vec![source], refused, refused_count: 9, ..Datagrams::default() };
    for message in [
        FromProxy::Reached { ticket: 3 },
        FromProxy::Unreached { ticket: 3, errno: 111 },
        FromProxy::Want { slot: 7, number: u64::MAX, source, local },
        FromProxy::Want { slot: 7, number: 1, source, local: None },
        FromProxy::Datagrams(report),
        FromProxy::Rate { slot: 7, note: RateNote::Resumed },
    ] {
        let mut other = Vec::new();
        message.encode(&mut other).unwrap();
        assert_eq!(referee.from_proxy(&other), Ok(message));
    }
    let other = Referee::new(Worker::Builtin).from_builtin(&bytes);
    assert_eq!(other, Err(BadMessage::OutOfTurn("Done")));
    *bytes.last_mut().unwrap() = 9;
    assert_eq!(referee.from_proxy(&bytes), Err(BadMessage::BadValue("outcome")));
    FromBuiltin::Done { ticket: 1, bytes_in: 0, bytes_out: 0, outcome: Outcome::Complete }
        .encode(&mut bytes)
        .unwrap();
    assert_eq!(referee.from_proxy(&bytes), Err(BadMessage::OutOfTurn("Done")), "the builtin worker's");
}

#[test]
fn the_registrars_messages_come_back_and_are_its_own() {
    let registration = |version, address: &str| Registration {
        program: 100_001,
        version,
        datagrams: version % 2 == 0,
        address: address.parse().unwrap(),
    };
    let (four, six) = (registration(1, "127.0.0.1:7"), registration(2, "[2001:db8::1]:65535"));
    assert_eq!((four.netid(), six.netid()), ("tcp", "udp6"));
    let mut bytes = Vec::new();
    for message in [
        ToRegistrar::Connection,
        ToRegistrar::List { round: 7, wanted: vec![(four, true), (six, false)], withdrawn: vec![six] },
        ToRegistrar::List {
            round: u64::MAX,
            wanted: vec![(six, false); MAX_REGISTRATIONS],
            withdrawn: vec![six; MAX_REGISTRATIONS],
        },
    ] {
        message.encode(&mut bytes).unwrap();
        assert_eq!(ToRegistrar::decode(&bytes), Ok(message));
        for cut in 0..bytes.len().min(64) {
            assert!(ToRegistrar::decode(&bytes[..cut]).is_err());
        }
    }
    let many = vec![(six, false); MAX_REGISTRATIONS + 1];
    let long = ToRegistrar::List { round: 1, wanted: many, withdrawn: Vec::new() };
    assert_eq!(long.encode(&mut bytes), Err(BadMessage::TooLong("wanted")));

    let mut referee = Referee::new(Worker::Registrar);
    let ready = FromRegistrar::Ready { missing: Vec::new() };
    ready.encode(&mut bytes).unwrap();
    assert_eq!(referee.from_registrar(&bytes), Ok(ready));
    let taken = |owner: &str| Entered::Taken { address: Some(six.address), owner: owner.to_owned() };
    let longest = taken(&"x".repeat(MAX_OWNER));
    for message in [
        FromRegistrar::Done {
            round: 7,
            entered: vec![
                Entered::Registered,
                Entered::Taken { address: None, owner: String::new() },
                taken("superuser"),
                Entered::Refused,
                Entered::NoPlace,
            ],
        },
        FromRegistrar::Done { round: 8, entered: vec![longest; MAX_REGISTRATIONS] },
        FromRegistrar::Lost { why: Trouble::Closed },
        FromRegistrar::Lost { why: Trouble::Failed(111) },
        FromRegistrar::Lost { why: Trouble::Silent },
        FromRegistrar::Lost { why: Trouble::Nonsense },
    ] {
        message.encode(&mut bytes).unwrap();
        assert_eq!(referee.from_registrar(&bytes), Ok(message));
        for cut in 0..bytes.len().min(64) {
            assert!(FromRegistrar::decode(&bytes[..cut]).is_err());
        }
        assert!(matches!(Referee::new(Worker::Proxy).from_proxy(&bytes), Err(BadMessage::OutOfTurn(_))));
    }
    // An owner that would drive a terminal is not taken over.
    let mut hostile = Vec::new();
    FromRegistrar::Done { round: 1, entered: vec![taken("a")] }.encode(&mut hostile).unwrap();
    *hostile.last_mut().unwrap() = 0x1b;
    assert!(referee.from_registrar(&hostile).is_err());
}

#[test]
fn the_header_workers_messages_come_back_and_are_its_own() {
    let mut bytes = Vec::new();
    for message in [
        ToHeader::Read { ticket: u64::MAX, what: Preamble::Proxy },
        ToHeader::Read { ticket: 7, what: Preamble::Mux },
        ToHeader::Forget { ticket: 7 },
    ] {
        message.encode(&mut bytes).unwrap();
        assert_eq!(ToHeader::decode(&bytes), Ok(message));
        for cut in 0..bytes.len() {
            assert!(ToHeader::decode(&bytes[..cut]).is_err());
        }
    }
    let mut referee = Referee::new(Worker::Header);
    FromHeader::Ready { missing: Vec::new() }.encode(&mut bytes).unwrap();
    assert!(referee.from_header(&bytes).is_ok());
    let (v4, v6) = ("192.0.2.7:80".parse().unwrap(), "[2001:db8::7]:65535".parse().unwrap());
    let faults = [Fault::Ended, Fault::Malformed, Fault::TooLong, Fault::Full].map(Found::Failed);
    let found = [
        Found::Proxied { from: v4, to: v4 },
        Found::Proxied { from: v6, to: v4 },
        Found::Direct,
        Found::Name(b"f\xefnger".to_vec()),
        Found::Name(vec![b'x'; 255]),
    ];
    for found in found.into_iter().chain(faults) {
        let message = FromHeader::Read { ticket: 9, found };
        message.encode(&mut bytes).unwrap();
        assert_eq!(referee.from_header(&bytes), Ok(message));
    }
    let other = Referee::new(Worker::Proxy).from_proxy(&bytes);
    assert_eq!(other, Err(BadMessage::OutOfTurn("Read")));
    for bad in [b"".to_vec(), b"a\nb".to_vec(), vec![b'x'; 256]] {
        let message = FromHeader::Read { ticket: 9, found: Found::Name(bad.clone()) };
        let sent = message.encode(&mut bytes).map(|()| FromHeader::decode(&bytes));
        assert!(!matches!(sent, Ok(Ok(_))), "{bad:?}");
    }
    // What a header cannot say is not believed: a mapped address, a scope.
    for odd in ["[::ffff:192.0.2.7]:80", "[fe80::1%7]:80"] {
        let from = odd.parse().unwrap();
        FromHeader::Read { ticket: 9, found: Found::Proxied { from, to: v4 } }.encode(&mut bytes).unwrap();
        assert_eq!(referee.from_header(&bytes), Err(BadMessage::BadValue("proxied address")), "{odd}");
    }
}

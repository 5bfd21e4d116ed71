//! What is written is read; anything else is refused, whatever it is.

use super::*;

fn full() -> State {
    let seat = Some(SeatState { source: Some("2001:db8::7".parse().unwrap()) });
    let peer: SocketAddr = "[fe80::1%3]:7".parse().unwrap();
    State {
        version: "0.1.0".into(),
        executable: Bytes(b"/usr/sbin/portreeve-gate".to_vec()),
        back: Some(Fd(9)),
        since: Duration::new(5, 999_999_999),
        readings: vec![ReadingState { answers: vec![(Bytes(b"q".to_vec()), Bytes(vec![0; 300]))] }],
        current: Some(0),
        slots: vec![SlotState {
            id: 7,
            service: "s\u{e9}".into(),
            listeners: vec![ListenerState {
                fd: Fd(4097),
                polled: true,
                place: "[::]:7".into(),
                file: Some(FileState { dev: 1 << 40, ino: 7, owner: Some(65534) }),
            }],
            refused: vec![("address".into(), 3)],
            last_refused: Some((peer, Duration::from_secs(1))),
            starts: vec![(Duration::from_secs(7), Some("192.0.2.1".parse().unwrap())), (Duration::MAX, None)],
            gone: 3,
            crowded: 4,
            rate: RateState {
                sources: vec![("192.0.2.1".parse().unwrap(), (4, true))],
                overflow: Some((1, false)),
                ..RateState::default()
            },
            ..SlotState::default()
        }],
        programs: vec![ProgramState { pid: 12, seat: seat.clone(), peer: Some(peer), ..Default::default() }],
        clients: vec![ClientState { fd: Fd(5), seat: seat.clone(), ..Default::default() }],
        sealed: vec![SealedState {
            ticket: 8,
            client: Some(ClientState {
                fd: Fd(12),
                seat,
                shield: Some(ShieldState { ticket: 8, variables: vec![Bytes(b"A=b".to_vec())] }),
                ..Default::default()
            }),
            leaving: Some(1),
            ..Default::default()
        }],
        leaving: vec![LeavingState { name: "tls".into(), channel: Fd(13), ..Default::default() }],
        guard: Some(Fd(14)),
        elsewhere: vec![ElsewhereState {
            server: "/net/x".into(),
            identity: "1:2:3:-4:5".into(),
            digest: "00".repeat(32),
            script: true,
            memory: Fd(17),
        }],
        lifeline: Some((Fd(15), Fd(16))),
        ledger: Some(LedgerState { asked: true, not_kept: "full".into(), ..Default::default() }),
        denied: vec![DeniedState {
            address: Some("192.0.2.1".parse().unwrap()),
            until: None,
            term: Some(None),
            length: Some(24),
            reason: "why".into(),
            strikes: 2,
            inside: true,
        }],
        workers: vec![WorkerState {
            channel: Some(Fd(6)),
            set: Some(SetState { connect: Some(Some("/etc/ca.pem".into())), ..Default::default() }),
            waiting: vec![MessageState { bytes: Bytes(vec![1]), fd: Some(Fd(7)) }],
            ..Default::default()
        }],
        control: Some(ControlState {
            listener: Fd(10),
            clients: vec![ControlClientState {
                fd: Fd(11),
                answer: Some(Bytes(vec![2])),
                ..Default::default()
            }],
            ..Default::default()
        }),
        ..State::default()
    }
}

#[test]
fn what_is_written_is_read() {
    let (bytes, mut fds) = full().encode().unwrap();
    fds.sort_unstable();
    assert_eq!(fds, [5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 4097].map(Fd));
    assert_eq!(State::decode(&bytes), Ok((full(), fds)));
}

#[test]
fn each_cut_and_each_surplus_is_refused() {
    let (mut bytes, _) = full().encode().unwrap();
    for cut in 0..bytes.len() {
        assert!(State::decode(&bytes[..cut]).is_err(), "{cut}");
    }
    bytes.push(0);
    assert_eq!(State::decode(&bytes), Err(Bad::Surplus));
}

#[test]
fn each_changed_byte_is_read_or_refused_without_harm() {
    let (bytes, _) = full().encode().unwrap();
    for at in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut changed = bytes.clone();
            changed[at] = value;
            if let Ok((state, _)) = State::decode(&changed) {
                // What was read is written the same: nothing was guessed.
                assert_eq!(state.encode().unwrap().0, changed, "byte {at} = {value}");
            }
        }
    }
}

#[test]
fn other_versions_and_other_files_are_named() {
    let (mut bytes, _) = full().encode().unwrap();
    assert_eq!(State::decode(b"#!/bin/sh"), Err(Bad::NoState));
    for version in [0, VERSION + 1, u32::MAX] {
        bytes[MAGIC.len()..MAGIC.len() + 4].copy_from_slice(&version.to_le_bytes());
        assert_eq!(State::decode(&bytes), Err(Bad::Version(version)));
    }
}

#[test]
fn a_descriptor_has_one_owner_and_is_none_of_the_first_three() {
    let twice = State {
        clients: vec![
            ClientState { fd: Fd(5), ..Default::default() },
            ClientState { fd: Fd(5), ..Default::default() },
        ],
        ..State::default()
    };
    assert_eq!(State::decode(&twice.encode().unwrap().0), Err(Bad::Value("a descriptor named once")));
    for wrong in [-1, 0, 2] {
        let state = State { back: Some(Fd(wrong)), ..State::default() };
        assert_eq!(State::decode(&state.encode().unwrap().0), Err(Bad::Value("a descriptor")));
    }
}

#[test]
fn a_length_that_lies_allocates_nothing() {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(u32::MAX.to_le_bytes());
    assert_eq!(State::decode(&bytes), Err(Bad::Short));
}

/// What version 2 wrote of all this: its fields are what they were, and those that it did not know are empty.
#[test]
fn the_former_version_is_read() {
    let (state, _) = State::decode(include_bytes!("version-2.state")).unwrap();
    let mut wanted = full();
    wanted.slots[0].starts.clear();
    (wanted.slots[0].gone, wanted.slots[0].crowded) = (0, 0);
    wanted.workers[0].set = None;
    wanted.slots[0].listeners[0].file = None;
    wanted.denied[0].length = None;
    wanted.denied[0].reason.clear();
    (wanted.denied[0].strikes, wanted.denied[0].inside) = (0, false);
    (wanted.sealed, wanted.leaving, wanted.guard) = Default::default();
    (wanted.lifeline, wanted.ledger) = (None, None);
    wanted.elsewhere.clear();
    assert_eq!(state, wanted);
}

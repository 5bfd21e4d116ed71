//! The builtin worker serves every built-in from behind its walls, and answers nothing that was sent to a crowd.

use crate::has_namespaces;
use crate::hired::Hired;
use portreeve_workers::protocol::{
    BuiltinKind, Datagrams, FromBuiltin, Outcome, Referee, ToBuiltin, Worker, rules_messages,
};
use std::io::{ErrorKind, Read, Seek, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::process::Command;

pub(crate) fn a_confined_builtin_serves_everything() {
    let worker = Hired::new(Worker::Builtin);
    let mut referee = Referee::new(Worker::Builtin);
    assert!(matches!(referee.from_builtin(&worker.hear()), Ok(FromBuiltin::Ready { .. })));
    let mut bytes = Vec::new();
    for (ticket, kind) in (1..).zip(BuiltinKind::ALL) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, peer) = listener.accept().unwrap();
        if kind.reports() {
            let report = rustix::fs::memfd_create("report", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
            let mut report = std::fs::File::from(report);
            report.write_all(b"runs\nserved\n").unwrap();
            report.rewind().unwrap();
            ToBuiltin::Report { servers: 5, services: 7 }.encode(&mut bytes).unwrap();
            worker.send(&bytes, Some(report.as_fd()));
        }
        ToBuiltin::Serve { ticket, kind, idle_seconds: 30, peer }.encode(&mut bytes).unwrap();
        worker.send(&bytes, Some(server.as_fd()));
        drop(server);
        client.write_all(&[b'x'; 100_000]).or_else(gone).unwrap();
        client.shutdown(Shutdown::Write).or_else(gone).unwrap();
        let mut got = Vec::new();
        (&client).take(100_000).read_to_end(&mut got).or_else(|error| gone(error).map(|()| 0)).unwrap();
        // A tarpit says nothing for ten seconds, and hears that its client has gone.
        drop(client);
        let expected = match kind {
            BuiltinKind::Echo | BuiltinKind::Chargen => 100_000..=100_000,
            BuiltinKind::Discard | BuiltinKind::Trap | BuiltinKind::Tarpit => 0..=0,
            BuiltinKind::Daytime => 20..=40,
            BuiltinKind::Time => 4..=4,
            BuiltinKind::Servers => 5..=5,
            BuiltinKind::Services => 7..=7,
            // A prompt, and no answer to a line without an end.
            BuiltinKind::Xadmin => 2..=2,
        };
        assert!(expected.contains(&got.len()), "{kind:?}: {} bytes", got.len());
        match referee.from_builtin(&worker.hear()).unwrap() {
            FromBuiltin::Done { ticket: t, outcome: Outcome::Complete, .. } => assert_eq!(t, ticket),
            other => panic!("{other:?}"),
        }
    }
    // Every branch of the policy that asks the kernel something: the load, the hour.
    let rules = portreeve_policy::Rules {
        max_load: Some(1e9),
        windows: Some(vec![(0, 1439)]),
        ..portreeve_policy::Rules::default()
    };
    for (slot, kind) in (1..).zip(BuiltinKind::ALL.into_iter().filter(|kind| !kind.is_stream_only())) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        ToBuiltin::Datagrams { slot, kind, more: false }.encode(&mut bytes).unwrap();
        worker.send(&bytes, Some(socket.as_fd()));
        for message in rules_messages(slot, true, &rules).unwrap() {
            message.encode(&mut bytes).unwrap();
            worker.send(&bytes, None);
        }
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"12345", socket.local_addr().unwrap()).unwrap();
        match referee.from_builtin(&worker.hear()).unwrap() {
            FromBuiltin::Datagrams(Datagrams { slot: s, served_count: 1, .. }) => assert_eq!(s, slot),
            other => panic!("{other:?}"),
        }
        client.set_nonblocking(true).unwrap();
        let answer = client.recv(&mut [0; 64]);
        match kind {
            BuiltinKind::Discard => assert_eq!(answer.unwrap_err().kind(), ErrorKind::WouldBlock),
            BuiltinKind::Time => assert_eq!(answer.unwrap(), 4),
            BuiltinKind::Daytime => assert!(answer.unwrap() > 20),
            BuiltinKind::Echo | BuiltinKind::Chargen => assert_eq!(answer.unwrap(), 5),
            _ => unreachable!("left out"),
        }
    }
    worker.dismiss();
}

/// daytime and time close while the client still talks.
fn gone(error: std::io::Error) -> std::io::Result<()> {
    match error.kind() {
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::NotConnected => Ok(()),
        _ => Err(error),
    }
}

pub(crate) fn what_was_sent_to_a_crowd_is_not_answered() {
    if !has_namespaces() {
        return;
    }
    let script = "ip link set lo up && ip link add crowd0 type veth peer name crowd1 \
                  && ip addr add 10.9.0.1/24 brd + dev crowd0 && ip link set crowd1 up && ip link set crowd0 up \
                  && exec \"$0\" --child crowd";
    let mut shell = Command::new("unshare");
    let ended = shell.args(["-n", "sh", "-c", script]).arg(std::env::current_exe().unwrap()).status();
    assert!(ended.unwrap().success());
}

/// The child of that test, in the network that its parent made.
pub(crate) fn crowd() {
    let worker = Hired::new(Worker::Builtin);
    worker.hear();
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let mut bytes = Vec::new();
    let client = UdpSocket::bind("10.9.0.1:0").unwrap();
    client.set_broadcast(true).unwrap();
    let send = |to: &str, text: &[u8]| client.send_to(text, (to, port)).unwrap();
    // It does arrive where nobody looks at how it was addressed: this network shows what it shall show.
    let plain = UdpSocket::bind("0.0.0.0:0").unwrap();
    client.send_to(b"to all", ("10.9.0.255", plain.local_addr().unwrap().port())).unwrap();
    plain.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    assert_eq!(plain.recv(&mut [0; 16]).unwrap(), 6);
    ToBuiltin::Datagrams { slot: 1, kind: BuiltinKind::Echo, more: false }.encode(&mut bytes).unwrap();
    worker.send(&bytes, Some(socket.as_fd()));
    for message in rules_messages(1, false, &portreeve_policy::Rules::default()).unwrap() {
        message.encode(&mut bytes).unwrap();
        worker.send(&bytes, None);
    }
    send("10.9.0.1", b"one");
    client.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    assert_eq!(client.recv(&mut [0; 16]).unwrap(), 3);
    send("10.9.0.255", b"to all of the network");
    send("255.255.255.255", b"to all");
    send("10.9.0.1", b"again");
    let mut answer = [0; 64];
    let n = client.recv(&mut answer).unwrap();
    assert_eq!(&answer[..n], b"again", "what was sent to all has been answered");
    worker.dismiss();
}

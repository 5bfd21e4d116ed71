//! The proxy worker carries from behind its walls, and says of a target that refuses that it does.

use crate::hired::Hired;
use portreeve_workers::protocol::{Carried, FromProxy, Referee, ToProxy, Worker};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};

fn on_its_way_to(target: SocketAddr) -> OwnedFd {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
    let _ = rustix::net::connect(&socket, &target);
    socket
}

pub(crate) fn a_confined_proxy_carries() {
    let worker = Hired::new(Worker::Proxy);
    let mut referee = Referee::new(Worker::Proxy);
    assert!(matches!(referee.from_proxy(&worker.hear()), Ok(FromProxy::Ready { .. })));
    let front = TcpListener::bind("127.0.0.1:0").unwrap();
    let back = TcpListener::bind("127.0.0.1:0").unwrap();
    let (mut bytes, mut bytes2) = (Vec::new(), Vec::new());
    let mut carry = |ticket, target: OwnedFd| {
        let client = TcpStream::connect(front.local_addr().unwrap()).unwrap();
        let (server, _) = front.accept().unwrap();
        ToProxy::Client { ticket, idle_seconds: 30, banner: b"hi\n".to_vec(), head: Vec::new() }
            .encode(&mut bytes)
            .unwrap();
        worker.send(&bytes, Some(server.as_fd()));
        ToProxy::Target { ticket, patience_seconds: 30, tell: true }.encode(&mut bytes).unwrap();
        worker.send(&bytes, Some(target.as_fd()));
        client
    };
    let mut client = carry(1, on_its_way_to(back.local_addr().unwrap()));
    let (mut target, _) = back.accept().unwrap();
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    target.read_to_string(&mut text).unwrap();
    assert_eq!(text, "question");
    target.write_all(b"answer").unwrap();
    drop(target);
    text.clear();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hi\nanswer");
    assert_eq!(referee.from_proxy(&worker.hear()), Ok(FromProxy::Reached { ticket: 1 }));
    let done = FromProxy::Done { ticket: 1, bytes_in: 8, bytes_out: 6, outcome: Carried::Complete };
    assert_eq!(referee.from_proxy(&worker.hear()), Ok(done));
    let nobody = back.local_addr().unwrap();
    drop(back);
    // The refusal comes to whoever holds the socket; connect(2) itself may have told it already on loopback.
    let client2 = carry(2, on_its_way_to(nobody));
    match referee.from_proxy(&worker.hear()) {
        Ok(FromProxy::Unreached { ticket: 2, .. }) => {}
        // Only where connect(2) has taken the refusal already is nothing left of it.
        other => panic!("{other:?}"),
    }
    let back = TcpListener::bind("127.0.0.1:0").unwrap();
    ToProxy::Target { ticket: 2, patience_seconds: 30, tell: false }.encode(&mut bytes2).unwrap();
    worker.send(&bytes2, Some(on_its_way_to(back.local_addr().unwrap()).as_fd()));
    let (target, _) = back.accept().unwrap();
    drop(target);
    let mut client = client2;
    client.shutdown(Shutdown::Write).unwrap();
    text.clear();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "hi\n", "told once, when a target has accepted");
    match referee.from_proxy(&worker.hear()) {
        Ok(FromProxy::Done { ticket: 2, bytes_in: 0, bytes_out: 0, .. }) => {}
        other => panic!("{other:?}"),
    }
    worker.dismiss();
}

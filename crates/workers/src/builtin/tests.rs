//! The whole worker in a thread, over loopback and socket pairs, driven as the supervisor drives it.

mod limits;

use super::*;
use crate::protocol::{
    BuiltinKind, Datagrams, FromBuiltin, MAX_MESSAGE, Outcome, Policy, RateNote, ToBuiltin, parts,
    rules_messages,
};
use portreeve_policy::{Origin, Pattern, Reason, Rule, Rules};
use portreeve_sys::seqpacket;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Duration;

/// Long enough for any machine; reached only by a failure.
const PATIENCE: Duration = Duration::from_secs(30);

struct Worker {
    channel: OwnedFd,
    /// Messages that came in one packet with another and were not heard yet.
    heard: RefCell<VecDeque<FromBuiltin>>,
    thread: Option<JoinHandle<ExitCode>>,
}

impl Worker {
    fn start(bounds: Bounds) -> Self {
        let (channel, theirs) = seqpacket::pair().unwrap();
        let thread = Some(std::thread::spawn(move || run(theirs, bounds)));
        Worker { channel, heard: RefCell::default(), thread }
    }

    fn usual() -> Self {
        Self::start(Bounds { clients: 16, services: 8 })
    }

    fn tell(&self, message: &ToBuiltin, fd: Option<BorrowedFd<'_>>) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes).unwrap();
        loop {
            match seqpacket::send(&self.channel, &bytes, fd) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.wait(PollFlags::OUT),
                other => return other.unwrap(),
            }
        }
    }

    fn wait(&self, flags: PollFlags) {
        let limit = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
        let n = poll(&mut [PollFd::new(&self.channel, flags)], Some(&limit)).unwrap();
        assert_eq!(n, 1, "the worker says nothing");
    }

    /// The next message; `None` when the worker has closed the channel.
    fn hear_or_end(&self) -> Option<FromBuiltin> {
        let mut heard = self.heard.borrow_mut();
        if heard.is_empty() {
            self.wait(PollFlags::IN);
            let mut buffer = vec![0; MAX_MESSAGE];
            let received = seqpacket::recv(&self.channel, &mut buffer).unwrap();
            if received.len > 0 {
                let all = parts(&buffer[..received.len]);
                heard.extend(all.map(|message| FromBuiltin::decode(message.unwrap()).unwrap()));
            }
        }
        heard.pop_front()
    }

    fn hear(&self) -> FromBuiltin {
        self.hear_or_end().expect("the worker has ended")
    }

    fn serve(&self, ticket: u64, kind: BuiltinKind, fd: impl AsFd) {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 40_000));
        self.tell(&ToBuiltin::Serve { ticket, kind, idle_seconds: 0, peer }, Some(fd.as_fd()));
    }

    fn done(&self) -> (u64, u64, u64, Outcome) {
        match self.hear() {
            FromBuiltin::Done { ticket, bytes_in, bytes_out, outcome } => {
                (ticket, bytes_in, bytes_out, outcome)
            }
            other => panic!("{other:?}"),
        }
    }

    /// A datagram service of `kind` under `rules`, and a client's socket that is connected to it.
    fn datagrams(&self, slot: u32, kind: BuiltinKind, rules: &Rules) -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        self.tell(&ToBuiltin::Datagrams { slot, kind, more: false }, Some(socket.as_fd()));
        self.rules(slot, rules);
        (client_of(address), address)
    }

    fn rules(&self, slot: u32, rules: &Rules) {
        for message in rules_messages(slot, true, rules).unwrap() {
            self.tell(&ToBuiltin::Policy(message), None);
        }
    }

    /// All messages up to now were obeyed when this returns: a client that comes after them has been served.
    fn settle(&self) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        self.serve(u64::MAX >> 2, BuiltinKind::Time, theirs);
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        (&ours).read_exact(&mut [0; 4]).unwrap();
        while !matches!(self.hear(), FromBuiltin::Done { .. }) {}
    }

    fn end(mut self) -> ExitCode {
        let thread = self.thread.take().unwrap();
        drop(self);
        thread.join().unwrap()
    }
}

fn client_of(address: SocketAddr) -> UdpSocket {
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.connect(address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
}

fn unlimited() -> Rules {
    Rules { cps: (0, 0), ..Rules::default() }
}

fn nobody(patterns: impl IntoIterator<Item = Pattern>) -> Rules {
    let origin = Origin { file: "t".into(), line: 1 };
    let rule = |pattern| Rule { text: "t".into(), origin: origin.clone(), pattern };
    Rules { no_access: Some(patterns.into_iter().map(rule).collect()), ..unlimited() }
}

/// A connection over TCP: the client's end and the worker's.
fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.set_write_timeout(Some(PATIENCE)).unwrap();
    (client, listener.accept().unwrap().0)
}

#[test]
fn echo_returns_everything_after_the_client_has_closed_its_side() {
    let worker = Worker::usual();
    let (mut client, server) = tcp();
    worker.serve(1, BuiltinKind::Echo, server);
    let sent: Vec<u8> = (0..8u32 << 20).map(|n| (n / 251) as u8 ^ n as u8).collect();
    let writer = {
        let (mut client, sent) = (client.try_clone().unwrap(), sent.clone());
        std::thread::spawn(move || {
            client.write_all(&sent).unwrap();
            client.shutdown(std::net::Shutdown::Write).unwrap();
        })
    };
    let mut got = Vec::new();
    client.read_to_end(&mut got).unwrap();
    writer.join().unwrap();
    assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
    let size = sent.len() as u64;
    assert_eq!(worker.done(), (1, size, size, Outcome::Complete));
    assert_eq!(format!("{:?}", worker.end()), format!("{:?}", ExitCode::SUCCESS));
}

#[test]
fn echo_stops_reading_from_a_client_that_does_not_read() {
    let worker = Worker::usual();
    let (client, server) = UnixStream::pair().unwrap();
    client.set_nonblocking(true).unwrap();
    worker.serve(1, BuiltinKind::Echo, server);
    let (mut written, mut refused) = (0, 0);
    let block = [b'x'; 8192];
    // Refused twice with the worker at rest in between: it does not take any more.
    while refused < 2 {
        match (&client).write(&block) {
            Ok(n) => (written, refused) = (written + n, 0),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                refused += 1;
                worker.settle();
            }
            Err(error) => panic!("{error}"),
        }
        assert!(written < 64 << 20, "nothing stops it");
    }
    client.set_nonblocking(false).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut got = Vec::new();
    (&client).read_to_end(&mut got).unwrap();
    assert_eq!(got.len(), written);
    assert_eq!(worker.done(), (1, written as u64, written as u64, Outcome::Complete));
}

#[test]
fn discard_reads_to_the_end_and_says_nothing() {
    let worker = Worker::usual();
    let (mut client, server) = tcp();
    worker.serve(1, BuiltinKind::Discard, server);
    client.write_all(&[1; 300_000]).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut got = Vec::new();
    client.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"");
    assert_eq!(worker.done(), (1, 300_000, 0, Outcome::Complete));
}

#[test]
fn chargen_goes_on_until_the_client_leaves() {
    let worker = Worker::usual();
    let (mut client, server) = tcp();
    worker.serve(1, BuiltinKind::Chargen, server);
    client.write_all(b"thrown away").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut got = vec![0; texts::PERIOD * 40];
    client.read_exact(&mut got).unwrap();
    let block = texts::chargen_block();
    assert!(
        got.chunks(texts::PERIOD).all(|cycle| cycle == &block[..texts::PERIOD]),
        "the pattern has a seam"
    );
    drop(client);
    let (ticket, bytes_in, bytes_out, outcome) = worker.done();
    assert_eq!((ticket, bytes_in, outcome), (1, 11, Outcome::Complete));
    assert!(bytes_out >= got.len() as u64);
}

#[test]
fn daytime_and_time_speak_first_and_close() {
    let worker = Worker::usual();
    portreeve_sys::clock::load_zone();
    for (kind, length) in [(BuiltinKind::Daytime, 26), (BuiltinKind::Time, 4)] {
        let (mut client, server) = tcp();
        client.write_all(b"hello?").unwrap();
        worker.serve(7, kind, server);
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        assert!(got.len() >= length - 3 && got.len() <= length + 3, "{got:?}");
        let (ticket, _, bytes_out, outcome) = worker.done();
        assert_eq!((ticket, bytes_out, outcome), (7, got.len() as u64, Outcome::Complete));
    }
}

#[test]
fn clients_above_the_bound_are_closed_and_reported() {
    let worker = Worker::start(Bounds { clients: 2, services: 1 });
    let pairs: Vec<_> = (0..3).map(|_| tcp()).collect();
    for (ticket, (_, server)) in (0..).zip(&pairs) {
        worker.serve(ticket, BuiltinKind::Echo, server);
    }
    assert_eq!(worker.done(), (2, 0, 0, Outcome::Full));
    assert_eq!(
        (&pairs[2].0).read(&mut [0; 1]).unwrap(),
        0,
        "it was closed, though the supervisor holds a copy"
    );
    worker.tell(&ToBuiltin::End { ticket: 0 }, None);
    worker.tell(&ToBuiltin::End { ticket: 77 }, None);
    assert_eq!(worker.done(), (0, 0, 0, Outcome::Ended));
    let (mut client, server) = tcp();
    worker.serve(3, BuiltinKind::Echo, server);
    client.write_all(b"room again").unwrap();
    let mut got = [0; 10];
    client.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"room again");
}

#[test]
fn every_queued_datagram_is_answered_whole() {
    let worker = Worker::usual();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let client = client_of(socket.local_addr().unwrap());
    // Queued before anybody listens; xinetd would answer one and throw four away (reference xinetd §3.2).
    let sizes = [0usize, 1, 1024, 2049, 65_507];
    let requests: Vec<Vec<u8>> = sizes.iter().map(|&size| (0..size).map(|n| n as u8).collect()).collect();
    for request in &requests {
        client.send(request).unwrap();
    }
    worker
        .tell(&ToBuiltin::Datagrams { slot: 5, kind: BuiltinKind::Echo, more: false }, Some(socket.as_fd()));
    worker.settle();
    client.set_nonblocking(true).unwrap();
    assert!(client.recv(&mut [0; 1]).is_err(), "nothing is answered before the rules are complete");
    client.set_nonblocking(false).unwrap();
    worker.rules(5, &unlimited());
    for request in &requests {
        let mut answer = vec![0; 65_536];
        let n = client.recv(&mut answer).unwrap();
        assert!(&answer[..n] == request.as_slice(), "{} bytes came back as {n}", request.len());
    }
    let (mut listed, mut counted) = (0, 0);
    while counted < 5 {
        match worker.hear() {
            FromBuiltin::Datagrams(Datagrams { slot: 5, served, served_count, .. }) => {
                assert!(served.iter().all(|source| *source == client.local_addr().unwrap()));
                (listed, counted) = (listed + served.len(), counted + served_count);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((listed, counted), (5, 5));
}

#[test]
fn a_chargen_answer_is_never_larger_than_its_request() {
    let worker = Worker::usual();
    let (client, _) = worker.datagrams(1, BuiltinKind::Chargen, &unlimited());
    for size in [0usize, 1, 73, 74, 512, 1024, 1025, 9000] {
        client.send(&vec![0; size]).unwrap();
        let n = client.recv(&mut [0; 65_536]).unwrap();
        assert_eq!(n, size.min(1024));
    }
}

#[test]
fn daytime_and_time_answer_datagrams() {
    let worker = Worker::usual();
    let (day, _) = worker.datagrams(1, BuiltinKind::Daytime, &unlimited());
    let (time, _) = worker.datagrams(2, BuiltinKind::Time, &unlimited());
    let mut answer = [0; 64];
    day.send(b"").unwrap();
    let n = day.recv(&mut answer).unwrap();
    assert!(answer[..n].ends_with(b"\r\n"), "{:?}", &answer[..n]);
    time.send(b"").unwrap();
    assert_eq!(time.recv(&mut answer).unwrap(), 4);
}

#[test]
fn another_builtin_is_never_answered() {
    let worker = Worker::usual();
    let (client, address) = worker.datagrams(1, BuiltinKind::Echo, &unlimited());
    let port = client.local_addr().unwrap().port();
    worker.tell(&ToBuiltin::BuiltinPorts(vec![port]), None);
    worker.settle();
    client.send(b"loop").unwrap();
    match worker.hear() {
        FromBuiltin::Datagrams(Datagrams {
            slot: 1, served_count: 0, refused_count: 0, muted: 1, ..
        }) => {}
        other => panic!("{other:?}"),
    }
    client.set_nonblocking(true).unwrap();
    assert_eq!(client.recv(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
    let other = client_of(address);
    other.send(b"still there").unwrap();
    assert_eq!(other.recv(&mut [0; 32]).unwrap(), 11);
}

#[test]
fn refusals_come_in_few_messages_and_name_a_source_once() {
    let worker = Worker::usual();
    let (client, _) = worker.datagrams(1, BuiltinKind::Echo, &nobody([Pattern::V4(0x7f00_0000, 8)]));
    worker.settle();
    for _ in 0..100 {
        client.send(b"let me in").unwrap();
    }
    let (mut messages, mut named, mut counted) = (0, Vec::new(), 0);
    while counted < 100 {
        match worker.hear() {
            FromBuiltin::Datagrams(Datagrams {
                refused, refused_count, refused_by, served_count: 0, ..
            }) => {
                assert_eq!(refused_by, [(Reason::Address, refused_count)]);
                messages += 1;
                named.extend(refused);
                counted += refused_count;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(named.len(), 1, "{named:?}");
    assert_eq!((named[0].source, named[0].reason), (client.local_addr().unwrap(), Reason::Address));
    assert!(messages < 50, "{messages} messages for 100 datagrams");
    client.set_nonblocking(true).unwrap();
    assert!(client.recv(&mut [0; 8]).is_err(), "a refused datagram was answered");
}

#[test]
fn ten_thousand_rules_arrive_in_parts_and_the_last_one_counts() {
    let worker = Worker::usual();
    let others = (0..10_000u32).map(|n| Pattern::V4(0x0a00_0000 + n, 32));
    let last = Pattern::V4(0x7f00_0001, 32);
    let (client, _) = worker.datagrams(1, BuiltinKind::Echo, &nobody(others.clone()));
    client.send(b"in").unwrap();
    assert_eq!(client.recv(&mut [0; 8]).unwrap(), 2);
    worker.rules(1, &nobody(others.chain([last])));
    worker.settle();
    client.send(b"out").unwrap();
    loop {
        match worker.hear() {
            FromBuiltin::Datagrams(Datagrams { refused_count: 0, .. }) => {}
            FromBuiltin::Datagrams(Datagrams { refused_count: 1, .. }) => break,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_rule_by_name_refuses_because_nobody_can_be_asked() {
    let worker = Worker::usual();
    let rules = nobody([Pattern::Suffix(".example".into())]);
    let (client, _) = worker.datagrams(1, BuiltinKind::Echo, &rules);
    client.send(b"?").unwrap();
    match worker.hear() {
        FromBuiltin::Datagrams(Datagrams { refused_by, .. }) => {
            assert_eq!(refused_by, [(Reason::Address, 1)])
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_ban_takes_effect_and_ends() {
    let worker = Worker::usual();
    let (client, _) = worker.datagrams(1, BuiltinKind::Echo, &unlimited());
    let network = portreeve_policy::Prefix::around(Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(), 120);
    worker.tell(&ToBuiltin::Policy(Policy::Bans(vec![(network, None)])), None);
    worker.settle();
    client.send(b"banned").unwrap();
    match worker.hear() {
        FromBuiltin::Datagrams(Datagrams { refused_by, .. }) => {
            assert_eq!(refused_by, [(Reason::Address, 1)])
        }
        other => panic!("{other:?}"),
    }
    worker.tell(&ToBuiltin::Policy(Policy::Pardon(vec![network])), None);
    worker.settle();
    client.send(b"back").unwrap();
    assert_eq!(client.recv(&mut [0; 8]).unwrap(), 4);
    worker.tell(&ToBuiltin::Policy(Policy::Bans(vec![(network, Some(0))])), None);
    worker.settle();
    client.send(b"over").unwrap();
    assert_eq!(client.recv(&mut [0; 8]).unwrap(), 4);
}

#[test]
fn an_overload_is_announced_and_heals() {
    let worker = Worker::usual();
    let (client, _) = worker.datagrams(1, BuiltinKind::Echo, &Rules { cps: (3, 1), ..Rules::default() });
    for _ in 0..10 {
        client.send(b"flood").unwrap();
    }
    let mut notes = Vec::new();
    while notes.last() != Some(&RateNote::Resumed) {
        if let FromBuiltin::Rate { slot: 1, note } = worker.hear() {
            notes.push(note);
        }
    }
    assert!(matches!(notes[0], RateNote::Tripped { seconds: 1 }), "{notes:?}");
    let fresh = Rules { cps: (0, 0), ..Rules::default() };
    worker.rules(1, &fresh);
    worker.settle();
    client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    while client.recv(&mut [0; 8]).is_ok() {}
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.send(b"again").unwrap();
    assert_eq!(client.recv(&mut [0; 8]).unwrap(), 5);
}

#[test]
fn a_forgotten_socket_is_left_alone_and_reported_to_the_last() {
    let worker = Worker::usual();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let client = client_of(socket.local_addr().unwrap());
    worker
        .tell(&ToBuiltin::Datagrams { slot: 1, kind: BuiltinKind::Echo, more: false }, Some(socket.as_fd()));
    worker.rules(1, &unlimited());
    client.send(b"one").unwrap();
    client.recv(&mut [0; 8]).unwrap();
    worker.tell(&ToBuiltin::Policy(Policy::Forget { slot: 1 }), None);
    worker.settle();
    client.send(b"two").unwrap();
    worker.settle();
    socket.set_nonblocking(true).unwrap();
    assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 3, "the datagram is the supervisor's again");
}

#[test]
fn a_message_that_makes_no_sense_ends_the_worker() {
    let sense = ToBuiltin::Policy(Policy::RulesEnd { slot: 1 });
    for (bytes, attach) in [(vec![250u8], false), (vec![33, 1], false), (vec![37, 0, 0, 0, 0], true)] {
        let worker = Worker::usual();
        let (_, theirs) = UnixStream::pair().unwrap();
        seqpacket::send(&worker.channel, &bytes, attach.then_some(theirs.as_fd())).unwrap();
        assert_eq!(worker.hear_or_end(), None);
        assert_eq!(format!("{:?}", worker.end()), format!("{:?}", ExitCode::FAILURE));
    }
    let worker = Worker::usual();
    worker.datagrams(1, BuiltinKind::Echo, &unlimited());
    worker.tell(&sense, None);
    assert_eq!(worker.hear_or_end(), None, "an end without a beginning");
}

//! Carried connections over socket pairs: order, halves, back-pressure, ends. No clock but the one the tests turn.

use super::carriage::Aim;
use super::carriages::{Arrived, Carriages};
use crate::outbox::Outbox;
use crate::protocol::{Carried, FromProxy, parts};
use portreeve_sys::seqpacket;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

struct Bench {
    carriages: Carriages,
    epoll: OwnedFd,
    out: Outbox<FromProxy>,
    supervisor: OwnedFd,
    now: Duration,
}

impl Bench {
    fn new(most: usize) -> Self {
        let (supervisor, ours) = seqpacket::pair().unwrap();
        Bench {
            carriages: Carriages::new(most),
            epoll: epoll::create(CreateFlags::CLOEXEC).unwrap(),
            out: Outbox::new(ours),
            supervisor,
            now: Duration::from_secs(100),
        }
    }

    /// A client and a target whose middle the worker holds.
    fn begin(&mut self, ticket: u64, banner: &str, idle_seconds: u32) -> (UnixStream, UnixStream) {
        let (client, theirs) = UnixStream::pair().unwrap();
        let (target, ours) = UnixStream::pair().unwrap();
        for end in [&client, &target] {
            end.set_nonblocking(true).unwrap();
        }
        let arrived =
            Arrived { ticket, banner: banner.into(), head: Vec::new(), idle_seconds, client: theirs.into() };
        self.carriages.begin(arrived, &mut self.out, self.now);
        self.aim(ticket, ours.into());
        (client, target)
    }

    fn aim(&mut self, ticket: u64, target: OwnedFd) {
        let aim = Aim { target, patience: Duration::from_secs(30), tell: false };
        self.carriages.aim(ticket, aim, &mut self.out, self.now);
        self.carriages.watch(&self.epoll, &mut self.out);
    }

    /// Until nothing happens any more by itself.
    fn settle(&mut self) -> Vec<(u64, u64, u64, Carried)> {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(64);
        for _ in 0..10_000 {
            events.clear();
            let none = Timespec { tv_sec: 0, tv_nsec: 0 };
            epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&none)).unwrap();
            if events.is_empty() && !self.carriages.is_busy() {
                break;
            }
            self.carriages.go_on(&mut self.out, self.now);
            for event in &events {
                self.carriages.wake(event.data.u64(), event.flags, &mut self.out, self.now);
            }
            self.carriages.watch(&self.epoll, &mut self.out);
        }
        self.carriages.sweep(&mut self.out, self.now);
        self.carriages.close();
        self.out.send().unwrap();
        let (mut done, mut buffer) = (Vec::new(), [0; 4096]);
        while let Ok(received) = seqpacket::recv(&self.supervisor, &mut buffer) {
            for message in parts(&buffer[..received.len]) {
                match FromProxy::decode(message.unwrap()).unwrap() {
                    FromProxy::Done { ticket, bytes_in, bytes_out, outcome } => {
                        done.push((ticket, bytes_in, bytes_out, outcome));
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        done
    }
}

fn said(mut end: &UnixStream) -> String {
    let mut all = Vec::new();
    match end.read_to_end(&mut all) {
        Ok(_) => all.extend(b"$"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
    }
    String::from_utf8(all).unwrap()
}

/// A socket on its way to a port of this host.
fn on_its_way_to(port: u16) -> OwnedFd {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
    let _ = rustix::net::connect(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    socket
}

/// What the client said was sent to the first target already when that turned out to have refused: the next one gets it all the same.
#[test]
fn what_a_refusing_target_did_not_take_the_next_one_gets() {
    let mut bench = Bench::new(8);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (client, theirs) = UnixStream::pair().unwrap();
    (&client).write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let (banner, head) = (b"hello\n".to_vec(), b"PROXY\n".to_vec());
    let arrived = Arrived { ticket: 1, banner, head, idle_seconds: 60, client: theirs.into() };
    bench.carriages.begin(arrived, &mut bench.out, bench.now);
    for _ in 0..2 {
        bench.aim(1, on_its_way_to(nobody));
        bench.out.send().unwrap();
        let mut buffer = [0; 64];
        let received = seqpacket::recv(&bench.supervisor, &mut buffer).unwrap();
        let errno = Errno::CONNREFUSED.raw_os_error() as u16;
        let said = FromProxy::decode(&buffer[..received.len]);
        assert_eq!(said, Ok(FromProxy::Unreached { ticket: 1, errno }));
    }
    let (target, ours) = UnixStream::pair().unwrap();
    target.set_nonblocking(true).unwrap();
    client.set_nonblocking(true).unwrap();
    bench.aim(1, ours.into());
    assert_eq!(bench.settle(), []);
    assert_eq!((said(&client).as_str(), said(&target).as_str()), ("hello\n", "PROXY\nquestion$"));
    target.shutdown(Shutdown::Write).unwrap();
    assert_eq!(bench.settle(), [(1, 8, 0, Carried::Complete)]);
}

/// What was taken from a client for a target that never came went nowhere, and counts for nothing.
#[test]
fn what_no_target_got_is_no_traffic() {
    let mut bench = Bench::new(8);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (client, theirs) = UnixStream::pair().unwrap();
    (&client).write_all(b"question").unwrap();
    let (banner, head) = (Vec::new(), Vec::new());
    let arrived = Arrived { ticket: 1, banner, head, idle_seconds: 60, client: theirs.into() };
    bench.carriages.begin(arrived, &mut bench.out, bench.now);
    bench.aim(1, on_its_way_to(nobody));
    bench.out.send().unwrap();
    seqpacket::recv(&bench.supervisor, &mut [0; 64]).unwrap();
    bench.now += Duration::from_secs(61);
    assert_eq!(bench.settle(), [(1, 0, 0, Carried::Broken)]);
}

/// The end of what a client says has come before its target has: the event of that is over, and the target is told all the same.
#[test]
fn who_ends_before_there_is_a_target_has_ended_for_it() {
    for late in [true, false] {
        let mut bench = Bench::new(8);
        let (client, theirs) = UnixStream::pair().unwrap();
        let (target, ours) = UnixStream::pair().unwrap();
        target.set_nonblocking(true).unwrap();
        let (banner, head) = (Vec::new(), Vec::new());
        let arrived = Arrived { ticket: 1, banner, head, idle_seconds: 60, client: theirs.into() };
        bench.carriages.begin(arrived, &mut bench.out, bench.now);
        if late {
            // Watched, and heard of once.
            bench.carriages.watch(&bench.epoll, &mut bench.out);
            assert_eq!(bench.settle(), []);
        }
        (&client).write_all(b"question").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        if late {
            assert_eq!(bench.settle(), []);
        }
        bench.aim(1, ours.into());
        assert_eq!(bench.settle(), []);
        assert_eq!(said(&target), "question$", "{late}");
    }
}

/// A target whose queue is full accepts when there is room, and then gets what was said in the meantime.
#[test]
fn a_target_that_accepts_late_gets_everything_in_order() {
    let mut bench = Bench::new(8);
    let listener = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&listener, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let listener = TcpListener::from(listener);
    let port = listener.local_addr().unwrap().port();
    let before = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (client, theirs) = UnixStream::pair().unwrap();
    client.set_nonblocking(true).unwrap();
    (&client).write_all(b"one ").unwrap();
    let (banner, head) = (b"hello\n".to_vec(), Vec::new());
    let arrived = Arrived { ticket: 1, banner, head, idle_seconds: 60, client: theirs.into() };
    bench.carriages.begin(arrived, &mut bench.out, bench.now);
    bench.aim(1, on_its_way_to(port));
    (&client).write_all(b"two").unwrap();
    assert_eq!(bench.settle(), []);
    assert_eq!(said(&client), "", "nobody has accepted");
    drop(listener.accept().unwrap());
    // Its SYN is sent again after a second.
    let (mut target, _) = listener.accept().unwrap();
    target.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let begun = Instant::now();
    let mut got = [0; 7];
    target.set_nonblocking(true).unwrap();
    let mut have = 0;
    while have < got.len() && begun.elapsed() < Duration::from_secs(10) {
        assert_eq!(bench.settle(), []);
        have += target.read(&mut got[have..]).unwrap_or(0);
    }
    assert_eq!(&got, b"one two");
    assert_eq!(said(&client), "hello\n");
    drop(before);
}

#[test]
fn bytes_go_both_ways_and_each_half_closes_by_itself() {
    let mut bench = Bench::new(8);
    let (client, target) = bench.begin(1, "hello\n", 60);
    (&client).write_all(b"question").unwrap();
    assert_eq!(bench.settle(), []);
    assert_eq!((said(&client).as_str(), said(&target).as_str()), ("hello\n", "question"));
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(bench.settle(), []);
    assert_eq!(said(&target), "$", "the half is closed");
    (&target).write_all(b"answer").unwrap();
    assert_eq!(bench.settle(), []);
    assert_eq!(said(&client), "answer");
    target.shutdown(Shutdown::Write).unwrap();
    assert_eq!(bench.settle(), [(1, 8, 6, Carried::Complete)], "the banner is no traffic");
    assert_eq!(said(&client), "$");
}

#[test]
fn what_was_said_before_an_end_arrives_before_it() {
    let mut bench = Bench::new(8);
    let (client, target) = bench.begin(1, "", 60);
    (&target).write_all(b"all there is").unwrap();
    target.shutdown(Shutdown::Write).unwrap();
    (&client).write_all(b"late").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(bench.settle(), [(1, 4, 12, Carried::Complete)]);
    assert_eq!((said(&client).as_str(), said(&target).as_str()), ("all there is$", "late$"));
}

#[test]
fn a_reader_that_does_not_read_stops_its_writer_and_nobody_else() {
    let mut bench = Bench::new(8);
    let (slow, flood) = bench.begin(1, "", 60);
    let (quick, echo) = bench.begin(2, "", 60);
    let chunk = [b'x'; 65_536];
    let mut written = 0;
    // Until nothing more is taken: sockets and one chunk, never all there is.
    let mut stuck = 0;
    while stuck < 3 && written < 64 << 20 {
        match (&flood).write(&chunk) {
            Ok(n) => (written, stuck) = (written + n, 0),
            Err(_) => stuck += 1,
        }
        assert_eq!(bench.settle(), []);
    }
    assert!(written < 8 << 20, "{written} bytes were taken for a reader that does not read");
    (&quick).write_all(b"x").unwrap();
    assert_eq!(bench.settle(), []);
    assert_eq!(said(&echo), "x");
    // Not by dropping it: a program that another test is starting holds all descriptors until it is executed.
    flood.shutdown(Shutdown::Both).unwrap();
    let mut got = 0;
    let mut buffer = vec![0; 1 << 20];
    let mut done = Vec::new();
    while let Ok(n @ 1..) = (&slow).read(&mut buffer) {
        got += n;
        done.extend(bench.settle());
    }
    assert_eq!(got, written, "what was taken arrives");
    slow.shutdown(Shutdown::Both).unwrap();
    done.extend(bench.settle());
    assert!(matches!(done[..], [(1, 0, out, _)] if out == written as u64), "{done:?}");
}

#[test]
fn an_answer_arrives_although_the_question_is_refused() {
    let mut bench = Bench::new(8);
    let (client, target) = bench.begin(1, "", 60);
    target.shutdown(Shutdown::Read).unwrap();
    (&target).write_all(b"too long").unwrap();
    for _ in 0..64 {
        let _ = (&client).write(&[b'x'; 4096]);
        assert_eq!(bench.settle(), []);
    }
    assert_eq!(said(&client), "too long");
    target.shutdown(Shutdown::Write).unwrap();
    bench.settle();
    assert_eq!(said(&client), "$");
    client.shutdown(Shutdown::Write).unwrap();
    assert!(matches!(bench.settle()[..], [(1, _, 8, Carried::Broken)]));
}

#[test]
fn silence_ends_and_progress_puts_it_off() {
    let mut bench = Bench::new(8);
    let (client, _target) = bench.begin(1, "", 10);
    let (_other, other_target) = bench.begin(2, "", 600);
    assert_eq!(bench.settle(), []);
    bench.now = Duration::from_secs(109);
    (&client).write_all(b"x").unwrap();
    assert_eq!(bench.settle(), []);
    bench.now = Duration::from_secs(118);
    assert_eq!(bench.settle(), []);
    bench.now = Duration::from_secs(119);
    assert_eq!(bench.settle(), [(1, 1, 0, Carried::Idle)]);
    // A target that has closed its half has mostly gone.
    other_target.shutdown(Shutdown::Write).unwrap();
    assert_eq!(bench.settle(), []);
    bench.now = Duration::from_secs(170);
    assert_eq!(bench.settle(), []);
    bench.now = Duration::from_secs(179);
    assert_eq!(bench.settle(), [(2, 0, 0, Carried::Idle)]);
}

#[test]
fn no_more_than_may_be_and_ended_on_a_word() {
    let mut bench = Bench::new(1);
    let (first, _one) = bench.begin(1, "", 60);
    let (second, _two) = bench.begin(2, "", 60);
    assert_eq!(bench.settle(), [(2, 0, 0, Carried::Full)]);
    assert_eq!((said(&first).as_str(), said(&second).as_str()), ("", "$"));
    bench.carriages.end(7, &mut bench.out);
    bench.carriages.end(1, &mut bench.out);
    assert_eq!(bench.settle(), [(1, 0, 0, Carried::Ended)]);
    assert_eq!(said(&first), "$");
}

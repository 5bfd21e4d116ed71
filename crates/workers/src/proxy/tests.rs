//! Carried connections over socket pairs: order, halves, back-pressure, ends. No clock but the one the tests turn.

use super::carriage::Aim;
use super::carriages::{Arrived, Carriages};
use crate::outbox::Outbox;
use crate::protocol::{Carried, FromProxy, parts};
use portreeve_sys::seqpacket;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags};
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

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
        self.carriages.begin(arrived, &self.epoll, &mut self.out, self.now);
        let aim = Aim { target: ours.into(), patience: Duration::from_secs(30), tell: false };
        self.carriages.aim(ticket, aim, &self.epoll, &mut self.out, self.now);
        (client, target)
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
        }
        self.carriages.sweep(&mut self.out, self.now);
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

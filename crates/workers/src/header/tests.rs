//! The worker over real sockets: headers in every cut, what follows them, what is none. The supervisor is played.

use super::engine::{Engine, Goes};
use crate::protocol::{Fault, Found, FromHeader, Preamble, ToHeader};
use portreeve_sys::seqpacket;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};

struct Bench {
    engine: Engine,
    supervisor: OwnedFd,
    front: TcpListener,
}

impl Bench {
    fn new(most: usize) -> Self {
        let (supervisor, ours) = seqpacket::pair().unwrap();
        let front = TcpListener::bind("127.0.0.1:0").unwrap();
        Bench { engine: Engine::new(ours, most).unwrap(), supervisor, front }
    }

    /// A client and the supervisor's end of its connection, of which the worker has a copy.
    fn begin(&mut self, ticket: u64, what: Preamble) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(self.front.local_addr().unwrap()).unwrap();
        client.set_nodelay(true).unwrap();
        let (server, _) = self.front.accept().unwrap();
        self.tell(ToHeader::Read { ticket, what }, Some(&server));
        (client, server)
    }

    fn tell(&mut self, message: ToHeader, copy: Option<&TcpStream>) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes).unwrap();
        seqpacket::send(&self.supervisor, &bytes, copy.map(|copy| copy.as_fd())).unwrap();
        assert_eq!(self.engine.turn().unwrap(), Goes::On);
    }

    fn answer(&mut self) -> Option<(u64, Found)> {
        let mut buffer = [0; 1024];
        let received = seqpacket::recv(&self.supervisor, &mut buffer).ok()?;
        match FromHeader::decode(&buffer[..received.len]).unwrap() {
            FromHeader::Read { ticket, found } => Some((ticket, found)),
            other => panic!("{other:?}"),
        }
    }

    /// Turns until there is an answer; each turn waits for an event.
    fn until_answer(&mut self) -> (u64, Found) {
        for _ in 0..10_000 {
            if let Some(answer) = self.answer() {
                return answer;
            }
            self.engine.turn().unwrap();
        }
        panic!("no answer");
    }
}

fn v2() -> Vec<u8> {
    let block = [192, 0, 2, 7, 198, 51, 100, 1, 0x30, 0x39, 0x01, 0xbb, 4, 0, 1, 9];
    [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x10"[..], &block].concat()
}

fn proxied() -> Found {
    Found::Proxied { from: "192.0.2.7:12345".parse().unwrap(), to: "198.51.100.1:443".parse().unwrap() }
}

#[test]
fn a_header_in_every_cut_is_read_and_what_follows_stays() {
    let v1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 12345 443\r\n";
    for header in [v1, &v2()] {
        let mut bench = Bench::new(4);
        for cut in 0..=header.len() {
            let (mut client, mut server) = bench.begin(cut as u64, Preamble::Proxy);
            client.write_all(&header[..cut]).unwrap();
            if cut > 0 && cut < header.len() {
                // The worker has seen the beginning.
                bench.engine.turn().unwrap();
                assert_eq!(bench.answer(), None, "{cut}");
            }
            client.write_all(&[&header[cut..], b"\r\nthe rest"].concat()).unwrap();
            assert_eq!(bench.until_answer(), (cut as u64, proxied()));
            drop(client);
            let mut rest = String::new();
            server.read_to_string(&mut rest).unwrap();
            assert_eq!(rest, "\r\nthe rest", "{cut}");
        }
    }
}

#[test]
fn a_byte_at_a_time_is_read_too() {
    for (bytes, what, expected) in [
        (&v2()[..], Preamble::Proxy, proxied()),
        (b"finger\r\n", Preamble::Mux, Found::Name(b"finger".to_vec())),
    ] {
        let mut bench = Bench::new(4);
        let (mut client, mut server) = bench.begin(1, what);
        for (at, byte) in bytes.iter().enumerate() {
            client.write_all(&[*byte]).unwrap();
            bench.engine.turn().unwrap();
            if at + 1 < bytes.len() {
                assert_eq!(bench.answer(), None, "{at}");
            }
        }
        assert_eq!(bench.until_answer(), (1, expected));
        client.write_all(b"x").unwrap();
        drop(client);
        let mut rest = Vec::new();
        server.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"x");
    }
}

#[test]
fn what_is_no_header_is_said_and_not_taken() {
    let long = [b'x'; 4000];
    for (bytes, what, fault) in [
        (&b"GET / HTTP/1.0\r\n"[..], Preamble::Proxy, Fault::Malformed),
        (b"PROXY TCP4 1 2 3 4\r\n", Preamble::Proxy, Fault::Malformed),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff", Preamble::Proxy, Fault::TooLong),
        (&long, Preamble::Mux, Fault::TooLong),
        (b"\r\n", Preamble::Mux, Fault::Malformed),
    ] {
        let mut bench = Bench::new(4);
        let (mut client, mut server) = bench.begin(1, what);
        client.write_all(bytes).unwrap();
        assert_eq!(bench.until_answer(), (1, Found::Failed(fault)));
        drop(client);
        let mut rest = Vec::new();
        server.read_to_end(&mut rest).unwrap();
        // Of tcpmux it is, since the client is answered: what is left unread would reset the connection.
        let left = if what == Preamble::Mux { &[][..] } else { bytes };
        assert_eq!(rest.len(), left.len(), "{}", bytes.escape_ascii());
    }
}

#[test]
fn an_urgent_byte_in_a_header_is_no_reason_to_spin() {
    let mut bench = Bench::new(4);
    let (client, _server) = bench.begin(1, Preamble::Mux);
    (&client).write_all(b"fin").unwrap();
    bench.engine.turn().unwrap();
    assert_eq!(bench.answer(), None);
    rustix::net::send(&client, b"!", rustix::net::SendFlags::OOB).unwrap();
    (&client).write_all(b"ger").unwrap();
    assert_eq!(bench.until_answer(), (1, Found::Failed(Fault::Malformed)));
}

#[test]
fn a_beginning_wakes_the_worker_once() {
    let mut bench = Bench::new(4);
    let (mut client, _server) = bench.begin(1, Preamble::Proxy);
    client.write_all(b"PROXY TCP4 192.0.2.7 ").unwrap();
    bench.engine.turn().unwrap();
    // A turn waits for an event. Were the beginning one again, this turn would come before the message and leave it.
    let (mut other, _server_2) = bench.begin(2, Preamble::Mux);
    other.write_all(b"x\r\n").unwrap();
    bench.engine.turn().unwrap();
    assert_eq!(bench.answer(), Some((2, Found::Name(b"x".to_vec()))));
    client.write_all(b"198.51.100.1 12345 443\r\nrest").unwrap();
    assert_eq!(bench.until_answer(), (1, proxied()));
}

#[test]
fn who_leaves_or_is_too_much_or_is_forgotten() {
    let mut bench = Bench::new(2);
    let (first, _server) = bench.begin(1, Preamble::Proxy);
    let (_second, _other) = bench.begin(2, Preamble::Mux);
    let (_third, _another) = bench.begin(3, Preamble::Mux);
    assert_eq!(bench.until_answer(), (3, Found::Failed(Fault::Full)));
    drop(first);
    assert_eq!(bench.until_answer(), (1, Found::Failed(Fault::Ended)));
    bench.tell(ToHeader::Forget { ticket: 2 }, None);
    bench.tell(ToHeader::Forget { ticket: 77 }, None);
    let (mut fourth, _server) = bench.begin(4, Preamble::Mux);
    fourth.write_all(b"HELP\r\n").unwrap();
    assert_eq!(bench.until_answer(), (4, Found::Name(b"HELP".to_vec())));
    assert_eq!(bench.answer(), None);
}

#[test]
fn a_message_without_its_descriptor_ends_the_worker() {
    let mut bench = Bench::new(2);
    let mut bytes = Vec::new();
    ToHeader::Read { ticket: 1, what: Preamble::Mux }.encode(&mut bytes).unwrap();
    seqpacket::send(&bench.supervisor, &bytes, None).unwrap();
    assert!(bench.engine.turn().is_err());
}

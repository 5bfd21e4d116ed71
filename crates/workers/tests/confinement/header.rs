//! The header worker reads from behind its walls, and takes nothing that is not the header's.

use crate::hired::Hired;
use portreeve_workers::protocol::{Found, FromHeader, Preamble, Referee, ToHeader, Worker};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;

pub(crate) fn a_confined_header_worker_reads() {
    let worker = Hired::new(Worker::Header);
    let mut referee = Referee::new(Worker::Header);
    assert!(matches!(referee.from_header(&worker.hear()), Ok(FromHeader::Ready { .. })));
    let front = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(front.local_addr().unwrap()).unwrap();
    let (mut server, _) = front.accept().unwrap();
    let mut bytes = Vec::new();
    ToHeader::Read { ticket: 1, what: Preamble::Proxy }.encode(&mut bytes).unwrap();
    worker.send(&bytes, Some(server.as_fd()));
    client.write_all(b"PROXY TCP4 192.0.2.7 198.51.100.1 1234 443\r\nthe rest").unwrap();
    let (from, to) = ("192.0.2.7:1234".parse().unwrap(), "198.51.100.1:443".parse().unwrap());
    let read = FromHeader::Read { ticket: 1, found: Found::Proxied { from, to } };
    assert_eq!(referee.from_header(&worker.hear()), Ok(read));
    drop(client);
    let mut rest = String::new();
    server.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "the rest");
    worker.dismiss();
}

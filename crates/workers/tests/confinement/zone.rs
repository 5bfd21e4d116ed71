//! A name server for tests: the reverse zone of 192.0.2.0/24 and the names it leads to. Just enough of RFC 1035.

use std::net::UdpSocket;

/// Its name leads back to it.
pub(crate) const HONEST: u8 = 1;
/// It claims the name of another.
pub(crate) const LIAR: u8 = 2;
/// It has no name.
pub(crate) const NAMELESS: u8 = 3;
/// The server cannot tell.
pub(crate) const FAILING: u8 = 4;
/// The server says nothing.
pub(crate) const SILENT: u8 = 5;

const A: u16 = 1;
const PTR: u16 = 12;
const SERVFAIL: u8 = 2;
const NXDOMAIN: u8 = 3;

/// Answers on 127.0.0.1 port 53 until the process ends.
pub(crate) fn serve() {
    let socket = UdpSocket::bind("127.0.0.1:53").unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((n, from)) = socket.recv_from(&mut buffer) {
            if let Some(reply) = reply(&buffer[..n]) {
                socket.send_to(&reply, from).unwrap();
            }
        }
    });
}

fn reply(query: &[u8]) -> Option<Vec<u8>> {
    let (name, end) = question(query);
    let kind = u16::from_be_bytes([query[end], query[end + 1]]);
    let (code, data) = match (name.as_str(), kind) {
        ("1.2.0.192.in-addr.arpa", PTR) => (0, Some(labels("honest.example"))),
        ("2.2.0.192.in-addr.arpa", PTR) => (0, Some(labels("honest.example"))),
        ("4.2.0.192.in-addr.arpa", _) => (SERVFAIL, None),
        ("5.2.0.192.in-addr.arpa", _) => return None,
        ("honest.example", A) => (0, Some(vec![192, 0, 2, HONEST])),
        ("honest.example", _) => (0, None),
        _ => (NXDOMAIN, None),
    };
    let mut reply = query[..2].to_vec();
    reply.extend([0x85, 0x80 | code, 0, 1, 0, u8::from(data.is_some()), 0, 0, 0, 0]);
    reply.extend(&query[12..end + 4]);
    if let Some(data) = data {
        // The name by a pointer to the question, type and class as asked, a minute to live.
        reply.extend([0xc0, 12]);
        reply.extend(&query[end..end + 4]);
        reply.extend([0, 0, 0, 60]);
        reply.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        reply.extend(data);
    }
    Some(reply)
}

/// The asked name in lower case, and where its type begins.
fn question(query: &[u8]) -> (String, usize) {
    let (mut at, mut labels) = (12, Vec::new());
    while query[at] != 0 {
        let length = usize::from(query[at]);
        labels.push(String::from_utf8_lossy(&query[at + 1..=at + length]).to_lowercase());
        at += length + 1;
    }
    (labels.join("."), at + 1)
}

fn labels(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes
}

//! Any bytes as what a proxy sends first: the header is found at the same place however the bytes arrive, what follows it
//! changes nothing, it is bounded, and what it names can be written down and is read as the same again.

#[path = "../../../crates/workers/src/header/proxy.rs"]
mod proxy;

use proxy::{MAX_PROXY_HEADER, ProxyHeader, proxy_header};
use std::net::SocketAddr;

/// One input.
pub fn run(input: &[u8]) {
    let found = proxy_header(input);
    // Where it is decided, and whether it was decided otherwise before.
    for cut in 0..input.len() {
        let seen = proxy_header(&input[..cut]);
        match (seen, found) {
            (ProxyHeader::Begun, _) => {
                assert!(cut < MAX_PROXY_HEADER, "more is awaited than is ever looked at");
                if let ProxyHeader::Whole(end, _) = found {
                    assert!(cut < end, "awaited although it is whole");
                }
            }
            (ProxyHeader::Whole(end, _), _) => {
                assert!(end <= cut);
                assert_eq!(seen, found, "what follows it changes it");
            }
            (ProxyHeader::Bad(_), ProxyHeader::Bad(_)) => {}
            (ProxyHeader::Bad(_), _) => panic!("refused at {cut}, accepted with more"),
        }
    }
    let ProxyHeader::Whole(end, ends) = found else { return };
    assert!((1..=MAX_PROXY_HEADER.min(input.len())).contains(&end));
    let Some(ends) = ends else { return };
    let mapped = |address: &SocketAddr| address.ip() != address.ip().to_canonical();
    assert!(!mapped(&ends.from) && !mapped(&ends.to), "a mapped address is an IPv4 one");
    if ends.from.is_ipv4() != ends.to.is_ipv4() {
        return;
    }
    let family = if ends.from.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (ends.from, ends.to);
    let line = format!("PROXY {family} {} {} {} {}\r\n", from.ip(), to.ip(), from.port(), to.port());
    assert_eq!(proxy_header(line.as_bytes()), ProxyHeader::Whole(line.len(), Some(ends)), "{line:?}");
}

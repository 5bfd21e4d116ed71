//! Free ports on loopback, found by binding them. Between finding and serving another process may take one; the gate
//! then says so and tries again, so nothing is reserved here.

use crate::failure::Failure;
use std::net::{Ipv4Addr, TcpListener};

/// Ports are looked for from here on: above the well-known ones, below those the kernel hands out.
const FIRST: u16 = 20_000;
const LAST: u16 = 29_999;

/// The first port for the wish or after it that nobody listens on, and that is not `taken`.
pub fn free(wish: u16, taken: &[u16]) -> Result<u16, Failure> {
    (FIRST.saturating_add(wish)..=LAST)
        .find(|port| !taken.contains(port) && TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .ok_or_else(|| Failure::new(format!("no port from {FIRST} to {LAST} on 127.0.0.1 can be bound")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taken_ports_are_passed_over() {
        let first = free(500, &[]).unwrap();
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, first));
        let next = free(500, &[]).unwrap();
        assert!(next > first || held.is_err());
        assert_ne!(free(500, &[next]).unwrap(), next);
    }
}

//! An address as text, without the machinery of formatting and without memory of its own: each client is named several
//! times, in its log lines and in the variables of its program. Spells as the standard library does.

use std::fmt::{self, Write};
use std::net::{IpAddr, Ipv4Addr};

/// The longest is `ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255`.
const LONGEST: usize = 45;

/// The text of an address.
#[derive(Clone, Copy, Debug)]
pub struct AddressText {
    bytes: [u8; LONGEST],
    len: usize,
}

impl AddressText {
    /// Of this address.
    #[must_use]
    pub fn of(ip: IpAddr) -> Self {
        let mut text = Self { bytes: [0; LONGEST], len: 0 };
        match ip {
            IpAddr::V4(ip) => text.dotted(ip),
            IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
                Some(mapped) => {
                    text.push(b"::ffff:");
                    text.dotted(mapped);
                }
                None => {
                    let _ = write!(text, "{ip}");
                }
            },
        }
        text
    }

    /// It.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.bytes.get(..self.len).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
    }

    fn push(&mut self, text: &[u8]) {
        let end = self.len + text.len();
        if let Some(place) = self.bytes.get_mut(self.len..end) {
            place.copy_from_slice(text);
            self.len = end;
        }
    }

    fn dotted(&mut self, ip: Ipv4Addr) {
        for (index, octet) in ip.octets().into_iter().enumerate() {
            if index > 0 {
                self.push(b".");
            }
            let digits = [b'0' + octet / 100, b'0' + octet / 10 % 10, b'0' + octet % 10];
            let leading = usize::from(octet < 100) + usize::from(octet < 10);
            self.push(digits.get(leading..).unwrap_or_default());
        }
    }
}

impl Write for AddressText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_spelt_as_the_standard_library_spells_it() {
        let edges = [0u8, 1, 9, 10, 19, 99, 100, 101, 199, 200, 249, 255];
        for a in edges {
            for b in edges {
                let v4 = Ipv4Addr::new(a, b, b, a);
                for ip in [IpAddr::V4(v4), v4.to_ipv6_mapped().into(), v4.to_ipv6_compatible().into()] {
                    assert_eq!(AddressText::of(ip).as_str(), ip.to_string());
                }
            }
        }
        let others =
            ["::", "::1", "2001:db8::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "64:ff9b::192.0.2.1"];
        for text in others {
            let ip: IpAddr = text.parse().unwrap();
            assert_eq!(AddressText::of(ip).as_str(), ip.to_string());
        }
    }
}

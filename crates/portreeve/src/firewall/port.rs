//! A port as people write it: `22/tcp`, `5000-5010/udp`, or a protocol without ports, `esp`. Text in, text out; opens nothing.

use std::fmt;
use std::str::FromStr;

/// What is carried in IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Transport {
    Tcp,
    Udp,
    UdpLite,
    Sctp,
    /// One without ports, by its number.
    Other(u8),
}

/// The protocols without ports that have a name here.
const OTHERS: [(&str, u8); 6] =
    [("ipip", 4), ("gre", 47), ("esp", 50), ("ah", 51), ("ospf", 89), ("vrrp", 112)];
const WITH_PORTS: [(&str, Transport); 4] = [
    ("tcp", Transport::Tcp),
    ("udp", Transport::Udp),
    ("udplite", Transport::UdpLite),
    ("sctp", Transport::Sctp),
];

impl Transport {
    /// The word for it.
    pub fn word(self) -> String {
        let with =
            WITH_PORTS.iter().find(|(_, transport)| *transport == self).map(|(word, _)| (*word).to_owned());
        with.unwrap_or_else(|| {
            let number = self.number();
            let named = OTHERS.iter().find(|(_, other)| *other == number);
            named.map_or_else(|| number.to_string(), |(word, _)| (*word).to_owned())
        })
    }

    /// Its number in IP.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::UdpLite => 136,
            Self::Sctp => 132,
            Self::Other(number) => number,
        }
    }

    /// The transport of this word, where it has ports.
    pub fn with_ports(word: &str) -> Option<Self> {
        WITH_PORTS.iter().find(|(known, _)| *known == word).map(|(_, transport)| *transport)
    }
}

/// Ports of a transport, both ends included; 0 to 0 for a protocol without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub struct Port {
    pub transport: Transport,
    pub first: u16,
    pub last: u16,
}

impl Port {
    /// One port.
    pub fn one(transport: Transport, port: u16) -> Self {
        Self { transport, first: port, last: port }
    }

    /// Whether this port of this transport is among them.
    pub fn holds(&self, transport: Transport, port: u16) -> bool {
        self.transport == transport && (self.first..=self.last).contains(&port)
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.transport.word();
        match (self.transport, self.first, self.last) {
            (Transport::Other(_), ..) => f.write_str(&word),
            (_, first, last) if first == last => write!(f, "{first}/{word}"),
            (_, first, last) => write!(f, "{first}-{last}/{word}"),
        }
    }
}

impl FromStr for Port {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || {
            format!(
                "{text:?} is no port: expected a number or a range and a protocol, as \"22/tcp\" or \"5000-5010/udp\" (tcp, udp, udplite, sctp), or one of {}",
                OTHERS.map(|(word, _)| word).join(", ")
            )
        };
        let Some((numbers, word)) = text.split_once('/') else {
            let other = OTHERS.iter().find(|(word, _)| *word == text);
            return other
                .map(|(_, number)| Port { transport: Transport::Other(*number), first: 0, last: 0 })
                .ok_or_else(expected);
        };
        let transport = Transport::with_ports(word).ok_or_else(expected)?;
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.len() <= 5 && digits.bytes().all(|b| b.is_ascii_digit());
            digits.parse::<u16>().ok().filter(|port| plain && *port > 0)
        };
        let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
        let (first, last) = number(first).zip(number(last)).ok_or_else(expected)?;
        if first > last {
            return Err(format!("{text:?} ends before it begins"));
        }
        Ok(Port { transport, first, last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_read_back() {
        for text in ["22/tcp", "1-65535/udp", "5000-5010/sctp", "53/udplite", "esp", "vrrp"] {
            assert_eq!(text.parse::<Port>().unwrap().to_string(), text);
        }
        assert_eq!("7-7/tcp".parse::<Port>().unwrap().to_string(), "7/tcp");
        for bad in [
            "",
            "22",
            "22/",
            "/tcp",
            "0/tcp",
            "65536/tcp",
            "+1/tcp",
            "1-/tcp",
            "a/tcp",
            "1/icmp",
            "ESP",
            "1 /tcp",
        ] {
            let error = bad.parse::<Port>().unwrap_err();
            assert!(error.contains("expected a number or a range"), "{error}");
        }
        assert_eq!("9-8/tcp".parse::<Port>().unwrap_err(), "\"9-8/tcp\" ends before it begins");
    }
}

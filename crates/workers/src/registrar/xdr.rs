//! What is said to rpcbind and what it answers, as bytes: ONC RPC over a stream (RFC 5531, record marking §11), rpcbind's
//! versions 3 and 4 and portmap's version 2 (RFC 1833). Pure; needs nothing but the standard library, so that the fuzz
//! target takes this very file.
//!
//! The answers are a stranger's: every length is held against what is left and against a bound of ours.

use std::net::{IpAddr, SocketAddr};

/// rpcbind's own program number.
const RPCBIND: u32 = 100_000;
/// The longest answer: a table of [`MOST_ENTRIES`] fits well.
pub(super) const LONGEST: usize = 1 << 20;
/// The most entries of rpcbind's table that are read.
pub(super) const MOST_ENTRIES: usize = 8192;
/// The longest string in an answer.
const LONGEST_STRING: usize = 512;
/// IPPROTO_TCP and IPPROTO_UDP, as version 2 names them.
const TCP: u32 = 6;
const UDP: u32 = 17;

/// The versions of rpcbind's protocol, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// rpcbind.
    Four,
    /// The same calls of the former version.
    Three,
    /// portmap: ports instead of addresses, IPv4 alone.
    Two,
}

impl Version {
    fn number(self) -> u32 {
        match self {
            Version::Four => 4,
            Version::Three => 3,
            Version::Two => 2,
        }
    }

    /// The next one to try where this is not known.
    pub(super) fn lower(self) -> Option<Self> {
        match self {
            Version::Four => Some(Version::Three),
            Version::Three => Some(Version::Two),
            Version::Two => None,
        }
    }
}

/// An entry of rpcbind's table as it is called in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mapping<'a> {
    /// Program number.
    pub(super) program: u32,
    /// Version of the program.
    pub(super) version: u32,
    /// tcp, udp, tcp6, udp6.
    pub(super) netid: &'a str,
    /// Where it is served.
    pub(super) address: SocketAddr,
}

/// What is asked of rpcbind. The numbers are the same in all three versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call<'a> {
    /// Enter this.
    Set(Mapping<'a>),
    /// Forget this; version 2 forgets it for udp and tcp alike.
    Unset(Mapping<'a>),
    /// Say what you have.
    Dump,
}

/// An entry of rpcbind's table as it told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Program number.
    pub(super) program: u32,
    /// Version of the program.
    pub(super) version: u32,
    /// Any word.
    pub(super) netid: String,
    /// Where it is served; `None` for what is no IP address and port.
    pub(super) address: Option<SocketAddr>,
    /// Whose; empty in version 2.
    pub(super) owner: String,
}

/// Why bytes are no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bad;

/// What an answer says before its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply<'a> {
    /// The call was carried out; these bytes are the result.
    Accepted(&'a [u8]),
    /// The version is not known there.
    WrongVersion,
    /// It was not carried out.
    Rejected,
}

struct Writer(Vec<u8>);

impl Writer {
    fn word(&mut self, word: u32) {
        self.0.extend_from_slice(&word.to_be_bytes());
    }

    fn string(&mut self, text: &str) {
        self.word(u32::try_from(text.len()).unwrap_or(0));
        self.0.extend_from_slice(text.as_bytes());
        while !self.0.len().is_multiple_of(4) {
            self.0.push(0);
        }
    }
}

/// A call as the record that is sent. No credentials: rpcbind asks the socket who we are.
pub(super) fn call(xid: u32, version: Version, call: Call<'_>) -> Vec<u8> {
    let mut out = Writer(Vec::with_capacity(128));
    out.word(0); // the record's length, at the end
    let procedure = match call {
        Call::Set(_) => 1,
        Call::Unset(_) => 2,
        Call::Dump => 4,
    };
    // CALL, RPC version 2, then credentials and verifier of the kind AUTH_NONE.
    for word in [xid, 0, 2, RPCBIND, version.number(), procedure, 0, 0, 0, 0] {
        out.word(word);
    }
    if let Call::Set(mapping) | Call::Unset(mapping) = call {
        out.word(mapping.program);
        out.word(mapping.version);
        if version == Version::Two {
            out.word(if mapping.netid.starts_with("udp") { UDP } else { TCP });
            out.word(u32::from(mapping.address.port()));
        } else {
            out.string(mapping.netid);
            out.string(&universal(mapping.address));
            out.string(""); // the owner: rpcbind writes what the socket says
        }
    }
    let length = u32::try_from(out.0.len() - 4).unwrap_or(0);
    out.0[..4].copy_from_slice(&(length | 1 << 31).to_be_bytes());
    out.0
}

/// A universal address (RFC 5665 §5.2.3): the port is two numbers behind the address.
pub(super) fn universal(address: SocketAddr) -> String {
    let port = address.port();
    format!("{}.{}.{}", address.ip(), port >> 8, port & 0xff)
}

/// The address that a universal one means; `None` where it is none of IPv4 or IPv6.
pub(super) fn from_universal(text: &str) -> Option<SocketAddr> {
    let (rest, low) = text.rsplit_once('.')?;
    let (ip, high) = rest.rsplit_once('.')?;
    let byte =
        |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u8>().ok()).flatten();
    let ip: IpAddr = ip.parse().ok()?;
    Some(SocketAddr::new(ip, u16::from_be_bytes([byte(high)?, byte(low)?])))
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Bad> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Bad)?;
        self.0 = rest;
        Ok(taken)
    }

    fn word(&mut self) -> Result<u32, Bad> {
        let bytes: [u8; 4] = self.take(4)?.try_into().map_err(|_| Bad)?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn opaque(&mut self, most: usize) -> Result<&'a [u8], Bad> {
        let length = self.word()? as usize;
        if length > most {
            return Err(Bad);
        }
        let bytes = self.take(length)?;
        self.take(length.next_multiple_of(4) - length)?;
        Ok(bytes)
    }

    /// A string, cleaned of what no log should hold.
    fn string(&mut self) -> Result<String, Bad> {
        let text = String::from_utf8_lossy(self.opaque(LONGEST_STRING)?);
        Ok(text.chars().map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect())
    }
}

/// Reads the head of an answer to the call `xid` (RFC 5531 §9).
///
/// # Errors
/// What is no answer, or one to another call: the calls go one after the other, so there is none.
pub(super) fn reply(xid: u32, record: &[u8]) -> Result<Reply<'_>, Bad> {
    let mut input = Reader(record);
    if input.word()? != xid || input.word()? != 1 {
        return Err(Bad);
    }
    match input.word()? {
        0 => {}
        1 => return Ok(Reply::Rejected),
        _ => return Err(Bad),
    }
    let _verifier = (input.word()?, input.opaque(400)?);
    Ok(match input.word()? {
        0 => Reply::Accepted(input.0),
        2 => Reply::WrongVersion,
        _ => Reply::Rejected,
    })
}

/// The result of SET and UNSET.
///
/// # Errors
/// Anything but one boolean.
pub(super) fn boolean(result: &[u8]) -> Result<bool, Bad> {
    match result {
        [0, 0, 0, 0] => Ok(false),
        [0, 0, 0, 1] => Ok(true),
        _ => Err(Bad),
    }
}

/// The result of DUMP: a list with a boolean before each entry and one at the end.
///
/// # Errors
/// What is none, or has more than [`MOST_ENTRIES`].
pub(super) fn table(version: Version, result: &[u8]) -> Result<Vec<Entry>, Bad> {
    let mut input = Reader(result);
    let mut entries = Vec::new();
    loop {
        match input.word()? {
            0 if input.0.is_empty() => return Ok(entries),
            1 if entries.len() < MOST_ENTRIES => {}
            _ => return Err(Bad),
        }
        let (program, number) = (input.word()?, input.word()?);
        entries.push(if version == Version::Two {
            let (protocol, port) = (input.word()?, input.word()?);
            let netid = match protocol {
                TCP => "tcp".to_owned(),
                UDP => "udp".to_owned(),
                other => other.to_string(),
            };
            let port = u16::try_from(port).ok();
            let address = port.map(|port| SocketAddr::from(([0, 0, 0, 0], port)));
            Entry { program, version: number, netid, address, owner: String::new() }
        } else {
            let netid = input.string()?;
            let address = from_universal(&input.string()?);
            Entry { program, version: number, netid, address, owner: input.string()? }
        });
    }
}

/// Puts records together from what a stream brings.
#[derive(Debug, Default)]
pub(super) struct Records {
    fragment: Vec<u8>,
    record: Vec<u8>,
}

impl Records {
    /// Takes bytes in; gives the record that they complete. One call, one answer: bytes behind it are an error.
    ///
    /// # Errors
    /// A record longer than [`LONGEST`], or bytes too many.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>, Bad> {
        self.fragment.extend_from_slice(bytes);
        loop {
            let Some((mark, rest)) = self.fragment.split_first_chunk::<4>() else { return Ok(None) };
            let mark = u32::from_be_bytes(*mark);
            let length = (mark & !(1 << 31)) as usize;
            if self.record.len() + length > LONGEST {
                return Err(Bad);
            }
            let Some((fragment, rest)) = rest.split_at_checked(length) else { return Ok(None) };
            self.record.extend_from_slice(fragment);
            let (last, behind) = (mark >> 31 == 1, !rest.is_empty());
            // Empty fragments without end would keep us busy for nothing.
            if length == 0 && !last || last && behind {
                return Err(Bad);
            }
            self.fragment = rest.to_vec();
            if last {
                return Ok(Some(std::mem::take(&mut self.record)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn a_call_is_one_record() {
        let mapping =
            Mapping { program: 100_001, version: 3, netid: "udp6", address: "[::1]:2561".parse().unwrap() };
        let bytes = call(9, Version::Four, Call::Set(mapping));
        let head = [0x8000_0000 | 72, 9, 0, 2, 100_000, 4, 1, 0, 0, 0, 0, 100_001, 3, 4];
        assert_eq!(bytes[..56], words(&head));
        assert_eq!(&bytes[56..], b"udp6\0\0\0\x08::1.10.1\0\0\0\0");
        assert_eq!(bytes.len() - 4, 72);
        assert_eq!(call(1, Version::Two, Call::Dump).len(), 44);
    }

    #[test]
    fn universal_addresses() {
        for (text, address) in [
            ("0.0.0.0.0.111", Some("0.0.0.0:111")),
            ("10.0.0.7.128.82", Some("10.0.0.7:32850")),
            ("::.1.1", Some("[::]:257")),
            ("2001:db8::7.0.7", Some("[2001:db8::7]:7")),
            ("/run/rpcbind.sock", None),
            ("", None),
            ("1.2.3.4.5", None),
            ("0.0.0.0.256.1", None),
            ("0.0.0.0.+1.1", None),
            ("fe80::1%eth0.1.1", None),
        ] {
            let address = address.map(|address| address.parse().unwrap());
            assert_eq!(from_universal(text), address, "{text}");
            assert!(address.is_none_or(|address| universal(address) == text));
        }
    }

    #[test]
    fn answers_by_their_heads() {
        let accepted = words(&[7, 1, 0, 0, 0, 0, 1]);
        assert_eq!(reply(7, &accepted), Ok(Reply::Accepted(&words(&[1]))));
        assert_eq!(reply(8, &accepted), Err(Bad), "another call's");
        assert_eq!(reply(7, &words(&[7, 0, 0, 0, 0, 0])), Err(Bad), "a call");
        assert_eq!(reply(7, &words(&[7, 1, 0, 0, 0, 2, 2, 2])), Ok(Reply::WrongVersion));
        assert_eq!(reply(7, &words(&[7, 1, 1, 1, 5])), Ok(Reply::Rejected));
        assert_eq!(reply(7, &words(&[7, 1, 0, 0, 0x7fff_ffff, 0])), Err(Bad), "a verifier without end");
        for cut in 0..20 {
            assert_eq!(reply(7, &accepted[..cut]), Err(Bad), "{cut}");
        }
        assert_eq!((boolean(&words(&[1])), boolean(&words(&[0]))), (Ok(true), Ok(false)));
        assert_eq!((boolean(&words(&[2])), boolean(&[])), (Err(Bad), Err(Bad)));
    }

    #[test]
    fn tables_are_bounded_and_clean() {
        let portmap = words(&[1, 100_000, 2, 6, 111, 1, 7, 1, 132, 70_000, 0]);
        let table = table(Version::Two, &portmap).unwrap();
        assert_eq!((table[0].netid.as_str(), table[0].address), ("tcp", "0.0.0.0:111".parse().ok()));
        assert_eq!((table[1].netid.as_str(), table[1].address), ("132", None));
        let mut owner = words(&[1, 7, 1, 3]);
        owner.extend(b"tcp\0");
        owner.extend(words(&[0, 4]));
        owner.extend(b"a\x1b\nb");
        owner.extend(words(&[0]));
        assert_eq!(super::table(Version::Four, &owner).unwrap()[0].owner, "a??b");
        let endless = [1u32, 7, 1, 6, 7].repeat(MOST_ENTRIES + 1);
        assert_eq!(super::table(Version::Two, &words(&endless)), Err(Bad));
        assert_eq!(super::table(Version::Two, &words(&[0, 0])), Err(Bad), "bytes behind the end");
        assert_eq!(super::table(Version::Four, &words(&[1, 7, 1, u32::MAX])), Err(Bad));
    }

    #[test]
    fn records_come_together() {
        let mut records = Records::default();
        assert_eq!(records.feed(&[0, 0, 0]), Ok(None));
        assert_eq!(records.feed(&[2, b'a', b'b', 0x80, 0]), Ok(None));
        assert_eq!(records.feed(&[0, 1, b'c']), Ok(Some(b"abc".to_vec())));
        assert_eq!(records.feed(&[0x80, 0, 0, 0]), Ok(Some(Vec::new())));
        assert_eq!(records.feed(&[0x80, 0, 0, 1, b'x', b'y']), Err(Bad), "two answers to one call");
        assert_eq!(Records::default().feed(&words(&[0])), Err(Bad));
        assert_eq!(Records::default().feed(&words(&[0xffff_ffff])), Err(Bad));
    }
}

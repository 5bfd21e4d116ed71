//! The binary form of numbers, strings, addresses and lists. Knows no message.

use super::{MAX_MESSAGE, MAX_NAME};
use portreeve_policy::Prefix;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Why bytes are not a message, or a value cannot be put into one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMessage {
    /// No byte at all.
    #[error("an empty message")]
    Empty,
    /// A tag that the receiver does not know.
    #[error("unknown message tag {0}")]
    UnknownTag(u8),
    /// A message that ends before its last field.
    #[error("a message that ends too early")]
    Truncated,
    /// Bytes after the last field.
    #[error("bytes after the end of a message")]
    TrailingBytes,
    /// More than the protocol allows.
    #[error("{0}: more than the protocol allows")]
    TooLong(&'static str),
    /// A value that this field cannot have.
    #[error("{0}: not a possible value")]
    BadValue(&'static str),
    /// A known message that this worker may not send, or not now.
    #[error("{0}: not this worker's to say, or not now")]
    OutOfTurn(&'static str),
}

/// Appends fields to a message.
pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Starts a message in an emptied buffer.
    pub(super) fn new(out: &'a mut Vec<u8>, tag: u8) -> Self {
        out.clear();
        out.push(tag);
        Self { out }
    }

    /// Goes on in a buffer, behind what it holds.
    pub(super) fn after(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// Ends the message; too long a one is an error of the sender.
    pub(super) fn finish(self) -> Result<(), BadMessage> {
        if self.out.len() > MAX_MESSAGE { Err(BadMessage::TooLong("message")) } else { Ok(()) }
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    pub(super) fn flag(&mut self, value: bool) {
        self.out.push(u8::from(value));
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn u128(&mut self, value: u128) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }

    /// `None` as 0; `Some` as 1 and the value.
    pub(super) fn option<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            put(self, value);
        }
    }

    /// A name: checked here as well, so that the sender hears of a bad one instead of the receiver dying of it.
    pub(super) fn name(&mut self, what: &'static str, value: &str) -> Result<(), BadMessage> {
        check_name(what, value)?;
        self.text(what, value, MAX_NAME)
    }

    /// A host name; the empty one is a bad one.
    pub(super) fn host(&mut self, what: &'static str, value: &str) -> Result<(), BadMessage> {
        check_host(what, value)?;
        self.text(what, value, MAX_NAME)
    }

    /// Bytes that a stranger wrote, without control characters.
    pub(super) fn printable(
        &mut self,
        what: &'static str,
        value: &[u8],
        most: usize,
    ) -> Result<(), BadMessage> {
        check_printable(what, value)?;
        self.count(what, value.len(), most)?;
        self.out.extend_from_slice(value);
        Ok(())
    }

    /// Bytes of any kind that the supervisor read from a file of the administrator's.
    pub(super) fn blob(&mut self, what: &'static str, value: &[u8], most: usize) -> Result<(), BadMessage> {
        self.count(what, value.len(), most)?;
        self.out.extend_from_slice(value);
        Ok(())
    }

    /// A text of at most 255 bytes, with its length in one; a longer one is cut at the end of a character.
    pub(super) fn short(&mut self, value: &str) {
        let mut end = value.len().min(MAX_NAME);
        while !value.is_char_boundary(end) {
            end -= 1;
        }
        let cut = &value[..end];
        self.out.push(u8::try_from(cut.len()).unwrap_or(0));
        self.out.extend_from_slice(cut.as_bytes());
    }

    fn text(&mut self, what: &'static str, value: &str, most: usize) -> Result<(), BadMessage> {
        self.count(what, value.len(), most)?;
        self.out.extend_from_slice(value.as_bytes());
        Ok(())
    }

    /// The length of a list or string, which may not exceed `most`.
    pub(super) fn count(&mut self, what: &'static str, length: usize, most: usize) -> Result<(), BadMessage> {
        match u16::try_from(length) {
            Ok(short) if length <= most => {
                self.u16(short);
                Ok(())
            }
            _ => Err(BadMessage::TooLong(what)),
        }
    }

    pub(super) fn ip(&mut self, value: IpAddr) {
        match value {
            IpAddr::V4(v4) => {
                self.u8(4);
                self.out.extend_from_slice(&v4.octets());
            }
            IpAddr::V6(v6) => {
                self.u8(6);
                self.out.extend_from_slice(&v6.octets());
            }
        }
    }

    pub(super) fn prefix(&mut self, value: &Prefix) {
        self.ip(value.address());
        self.u8(value.len());
    }

    pub(super) fn socket_address(&mut self, value: SocketAddr) {
        self.ip(value.ip());
        self.u16(value.port());
        if let SocketAddr::V6(v6) = value {
            self.u32(v6.flowinfo());
            self.u32(v6.scope_id());
        }
    }
}

/// Takes fields from a message, front to back.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// The tag and a reader of what follows it.
    pub(super) fn new(bytes: &'a [u8]) -> Result<(u8, Self), BadMessage> {
        if bytes.len() > MAX_MESSAGE {
            return Err(BadMessage::TooLong("message"));
        }
        let (tag, rest) = bytes.split_first().ok_or(BadMessage::Empty)?;
        Ok((*tag, Self { rest }))
    }

    /// Nothing may follow the last field.
    pub(super) fn finish(self) -> Result<(), BadMessage> {
        if self.rest.is_empty() { Ok(()) } else { Err(BadMessage::TrailingBytes) }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BadMessage> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(BadMessage::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, BadMessage> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn flag(&mut self, what: &'static str) -> Result<bool, BadMessage> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(BadMessage::BadValue(what)),
        }
    }

    pub(super) fn u16(&mut self) -> Result<u16, BadMessage> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, BadMessage> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, BadMessage> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn u128(&mut self) -> Result<u128, BadMessage> {
        self.array().map(u128::from_le_bytes)
    }

    pub(super) fn option<T>(
        &mut self,
        what: &'static str,
        take: impl FnOnce(&mut Self) -> Result<T, BadMessage>,
    ) -> Result<Option<T>, BadMessage> {
        if self.flag(what)? { take(self).map(Some) } else { Ok(None) }
    }

    pub(super) fn name(&mut self, what: &'static str) -> Result<String, BadMessage> {
        let text = self.text(what, MAX_NAME)?;
        check_name(what, text)?;
        Ok(text.to_owned())
    }

    pub(super) fn host(&mut self, what: &'static str) -> Result<String, BadMessage> {
        let text = self.text(what, MAX_NAME)?;
        check_host(what, text)?;
        Ok(text.to_owned())
    }

    pub(super) fn printable(&mut self, what: &'static str, most: usize) -> Result<Vec<u8>, BadMessage> {
        let bytes = self.bytes(what, most)?;
        check_printable(what, bytes)?;
        Ok(bytes.to_vec())
    }

    pub(super) fn blob(&mut self, what: &'static str, most: usize) -> Result<Vec<u8>, BadMessage> {
        self.bytes(what, most).map(<[u8]>::to_vec)
    }

    pub(super) fn short(&mut self, what: &'static str) -> Result<&'a str, BadMessage> {
        let length = usize::from(self.u8()?);
        let (head, rest) = self.rest.split_at_checked(length).ok_or(BadMessage::Truncated)?;
        self.rest = rest;
        std::str::from_utf8(head).map_err(|_| BadMessage::BadValue(what))
    }

    fn text(&mut self, what: &'static str, most: usize) -> Result<&'a str, BadMessage> {
        std::str::from_utf8(self.bytes(what, most)?).map_err(|_| BadMessage::BadValue(what))
    }

    fn bytes(&mut self, what: &'static str, most: usize) -> Result<&'a [u8], BadMessage> {
        let length = self.count(what, most)?;
        let (head, rest) = self.rest.split_at_checked(length).ok_or(BadMessage::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    pub(super) fn count(&mut self, what: &'static str, most: usize) -> Result<usize, BadMessage> {
        let length = usize::from(self.u16()?);
        if length > most { Err(BadMessage::TooLong(what)) } else { Ok(length) }
    }

    /// A counted list. Memory follows the bytes that are really there, not the count that is claimed.
    pub(super) fn list<T>(
        &mut self,
        what: &'static str,
        most: usize,
        mut take: impl FnMut(&mut Self) -> Result<T, BadMessage>,
    ) -> Result<Vec<T>, BadMessage> {
        let count = self.count(what, most)?;
        let mut list = Vec::with_capacity(count.min(self.rest.len()));
        for _ in 0..count {
            list.push(take(self)?);
        }
        Ok(list)
    }

    pub(super) fn ip(&mut self) -> Result<IpAddr, BadMessage> {
        match self.u8()? {
            4 => Ok(IpAddr::V4(Ipv4Addr::from(self.array::<4>()?))),
            6 => Ok(IpAddr::V6(Ipv6Addr::from(self.array::<16>()?))),
            _ => Err(BadMessage::BadValue("address family")),
        }
    }

    /// A network in its one form, and in no other.
    pub(super) fn prefix(&mut self) -> Result<Prefix, BadMessage> {
        let (address, length) = (self.ip()?, self.u8()?);
        let prefix = Prefix::around(address, length);
        let same = (prefix.address(), prefix.len()) == (address, length);
        same.then_some(prefix).ok_or(BadMessage::BadValue("prefix"))
    }

    pub(super) fn socket_address(&mut self) -> Result<SocketAddr, BadMessage> {
        let ip = self.ip()?;
        let port = self.u16()?;
        Ok(match ip {
            IpAddr::V4(v4) => SocketAddrV4::new(v4, port).into(),
            IpAddr::V6(v6) => SocketAddrV6::new(v6, port, self.u32()?, self.u32()?).into(),
        })
    }
}

/// What an ident server wrote: any bytes but control characters.
pub(super) fn check_printable(what: &'static str, value: &[u8]) -> Result<(), BadMessage> {
    if value.iter().any(u8::is_ascii_control) { Err(BadMessage::BadValue(what)) } else { Ok(()) }
}

/// A name of a local database (user, group, service, path of a home): any text without control characters.
pub(super) fn check_name(what: &'static str, value: &str) -> Result<(), BadMessage> {
    if value.len() > MAX_NAME {
        return Err(BadMessage::TooLong(what));
    }
    if value.chars().any(char::is_control) { Err(BadMessage::BadValue(what)) } else { Ok(()) }
}

/// A host name: letters, digits, `-`, `_` and dots. Whatever else DNS can carry must not reach a log, an environment
/// or a comparison with a rule.
pub(super) fn check_host(what: &'static str, value: &str) -> Result<(), BadMessage> {
    if value.len() > MAX_NAME {
        return Err(BadMessage::TooLong(what));
    }
    let usual = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if value.is_empty() || !value.bytes().all(usual) { Err(BadMessage::BadValue(what)) } else { Ok(()) }
}

//! How values stand in the bytes: little endian, texts and lists with their length in front, an option as a byte 0 or 1.
//! The reader trusts nothing, allocates no more than there are bytes, and never panics.

use std::fmt;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::time::Duration;

/// Most bytes of a whole state: the texts of the configuration, and some hundred bytes for each client and each ban.
pub const MOST: usize = 512 << 20;

/// A descriptor of the process that wrote, by its number; the process that reads has it under the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fd(pub i32);

/// Why bytes are no state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bad {
    /// Not written by any supervisor.
    NoState,
    /// A version that this one does not read.
    Version(u32),
    /// They end in the middle.
    Short,
    /// Some follow the end.
    Surplus,
    /// A value that cannot be, by what it should be.
    Value(&'static str),
    /// More than [`MOST`] bytes.
    TooLong,
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bad::NoState => f.write_str("it is no state of a supervisor"),
            Bad::Version(n) => {
                write!(f, "it has version {n}, and this supervisor reads 1 to {}", crate::VERSION)
            }
            Bad::Short => f.write_str("it ends in the middle of a record"),
            Bad::Surplus => f.write_str("bytes follow its end"),
            Bad::Value(what) => write!(f, "a value is not {what}"),
            Bad::TooLong => write!(f, "it is longer than {} MiB", MOST >> 20),
        }
    }
}

impl std::error::Error for Bad {}

/// Bytes under construction, and the descriptors that they name.
#[derive(Debug, Default)]
pub struct Writer {
    pub(crate) bytes: Vec<u8>,
    pub(crate) fds: Vec<Fd>,
}

/// Bytes that are read, from the first to the last.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    /// The version that they were written in.
    pub(crate) version: u32,
    pub(crate) fds: Vec<Fd>,
}

impl<'a> Reader<'a> {
    /// Reads bytes of this version.
    pub fn new(bytes: &'a [u8], version: u32) -> Self {
        Reader { rest: bytes, version, fds: Vec::new() }
    }

    /// The next `n` bytes.
    ///
    /// # Errors
    /// There are fewer.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Bad> {
        let (head, rest) = self.rest.split_at_checked(n).ok_or(Bad::Short)?;
        self.rest = rest;
        Ok(head)
    }

    /// # Errors
    /// Something is left.
    pub fn end(&self) -> Result<(), Bad> {
        if self.rest.is_empty() { Ok(()) } else { Err(Bad::Surplus) }
    }

    /// A length of things that take at least a byte each.
    fn length(&mut self) -> Result<usize, Bad> {
        let n = usize::try_from(u32::read(self)?).map_err(|_| Bad::Short)?;
        if n > self.rest.len() { Err(Bad::Short) } else { Ok(n) }
    }
}

/// The bytes of one value.
pub fn to_bytes(value: &impl Field) -> Vec<u8> {
    let mut to = Writer::default();
    value.write(&mut to);
    to.bytes
}

/// The value that these bytes are, in this version.
///
/// # Errors
/// They are none.
pub fn from_bytes<T: Field>(bytes: &[u8]) -> Result<T, Bad> {
    let mut from = Reader::new(bytes, crate::VERSION);
    let value = T::read(&mut from)?;
    from.end()?;
    Ok(value)
}

/// A value that stands in the bytes.
pub trait Field: Sized {
    /// Appends it.
    fn write(&self, to: &mut Writer);
    /// Takes it off.
    ///
    /// # Errors
    /// The bytes are none.
    fn read(from: &mut Reader<'_>) -> Result<Self, Bad>;
}

macro_rules! number {
    ($($kind:ty),*) => {$(
        impl Field for $kind {
            fn write(&self, to: &mut Writer) {
                to.bytes.extend_from_slice(&self.to_le_bytes());
            }
            fn read(from: &mut Reader<'_>) -> Result<Self, Bad> {
                let bytes = from.take(size_of::<Self>())?;
                Ok(Self::from_le_bytes(bytes.try_into().map_err(|_| Bad::Short)?))
            }
        }
    )*};
}

number!(u8, u16, u32, u64, u128, i32, i64);

impl Field for bool {
    fn write(&self, to: &mut Writer) {
        u8::from(*self).write(to);
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, Bad> {
        match u8::read(from)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Bad::Value("0 or 1")),
        }
    }
}

/// A byte string: a list of bytes, written as one piece.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub Vec<u8>);

impl Field for Bytes {
    fn write(&self, to: &mut Writer) {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX).write(to);
        to.bytes.extend_from_slice(&self.0);
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, Bad> {
        let n = from.length()?;
        Ok(Bytes(from.take(n)?.to_vec()))
    }
}

impl Field for String {
    fn write(&self, to: &mut Writer) {
        Bytes(self.as_bytes().to_vec()).write(to);
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, Bad> {
        String::from_utf8(Bytes::read(from)?.0).map_err(|_| Bad::Value("UTF-8"))
    }
}

impl Field for Duration {
    fn write(&self, to: &mut Writer) {
        self.as_secs().write(to);
        self.subsec_nanos().write(to);
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, Bad> {
        let (seconds, nanos) = (u64::read(from)?, u32::read(from)?);
        if nanos >= 1_000_000_000 { Err(Bad::Value("a time")) } else { Ok(Duration::new(seconds, nanos)) }
    }
}

impl Field for Fd {
    fn write(&self, to: &mut Writer) {
        to.fds.push(*self);
        self.0.write(to);
    }
    /// One that is named twice would have two owners.
    fn read(from: &mut Reader<'_>) -> Result<Self, Bad> {
        let fd = Fd(i32::read(from)?);
        if fd.0 < 3 {
            return Err(Bad::Value("a descriptor"));
        }
        from.fds.push(fd);
        Ok(fd)
    }
}

impl Field for IpAddr {
    fn write(&self, to: &mut Writer) {
        match self {
            IpAddr::V4(ip) => {
                4u8.write(to);
                ip.to_bits().write(to);
            }
            IpAddr::V6(ip) => {
                6u8.write(to);
                ip.to_bits().write(to);
            }
        }
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, Bad> {
        match u8::read(from)? {
            4 => Ok(IpAddr::V4(u32::read(from)?.into())),
            6 => Ok(IpAddr::V6(u128::read(from)?.into())),
            _ => Err(Bad::Value("an address")),
        }
    }
}

impl Field for SocketAddr {
    fn write(&self, to: &mut Writer) {
        self.ip().write(to);
        self.port().write(to);
        if let SocketAddr::V6(v6) = self {
            v6.flowinfo().write(to);
            v6.scope_id().write(to);
        }
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, Bad> {
        let (ip, port) = (IpAddr::read(from)?, u16::read(from)?);
        Ok(match ip {
            IpAddr::V4(_) => SocketAddr::new(ip, port),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, port, u32::read(from)?, u32::read(from)?).into(),
        })
    }
}

impl<T: Field> Field for Option<T> {
    fn write(&self, to: &mut Writer) {
        self.is_some().write(to);
        if let Some(value) = self {
            value.write(to);
        }
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, Bad> {
        if bool::read(from)? { T::read(from).map(Some) } else { Ok(None) }
    }
}

impl<T: Field> Field for Vec<T> {
    fn write(&self, to: &mut Writer) {
        u32::try_from(self.len()).unwrap_or(u32::MAX).write(to);
        self.iter().for_each(|value| value.write(to));
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, Bad> {
        let n = from.length()?;
        // Grown as values are really there: a length alone allocates little.
        let mut list = Vec::with_capacity(n.min(1024));
        for _ in 0..n {
            list.push(T::read(from)?);
        }
        Ok(list)
    }
}

impl<A: Field, B: Field> Field for (A, B) {
    fn write(&self, to: &mut Writer) {
        self.0.write(to);
        self.1.write(to);
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, Bad> {
        Ok((A::read(from)?, B::read(from)?))
    }
}

impl Default for Fd {
    /// None that can be read back.
    fn default() -> Self {
        Fd(-1)
    }
}

/// A socket address that a record must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketAddrField(pub SocketAddr);

impl Default for SocketAddrField {
    fn default() -> Self {
        SocketAddrField(SocketAddr::from(([0, 0, 0, 0], 0)))
    }
}

impl Field for SocketAddrField {
    fn write(&self, to: &mut Writer) {
        self.0.write(to);
    }
    fn read(from: &mut Reader<'_>) -> Result<Self, Bad> {
        SocketAddr::read(from).map(SocketAddrField)
    }
}

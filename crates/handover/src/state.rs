//! A state as bytes and back: what it begins with, its length, its version, and that it names no descriptor twice.

use crate::table::{MAGIC, State, VERSION};
use crate::wire::{Bad, Fd, Field, MOST, Reader, Writer};

impl State {
    /// The bytes, and the descriptors that they name.
    ///
    /// # Errors
    /// Longer than [`MOST`].
    pub fn encode(&self) -> Result<(Vec<u8>, Vec<Fd>), Bad> {
        let mut to = Writer::default();
        to.bytes.extend_from_slice(MAGIC);
        VERSION.write(&mut to);
        self.write(&mut to);
        if to.bytes.len() > MOST { Err(Bad::TooLong) } else { Ok((to.bytes, to.fds)) }
    }

    /// The state that these bytes are, and the descriptors that it names.
    ///
    /// # Errors
    /// They are none, or of a version that is not read.
    pub fn decode(bytes: &[u8]) -> Result<(Self, Vec<Fd>), Bad> {
        if bytes.len() > MOST {
            return Err(Bad::TooLong);
        }
        let mut head = Reader::new(bytes, VERSION);
        if head.take(MAGIC.len()).ok() != Some(MAGIC) {
            return Err(Bad::NoState);
        }
        let version = u32::read(&mut head)?;
        if !(1..=VERSION).contains(&version) {
            return Err(Bad::Version(version));
        }
        head.version = version;
        let state = Self::read(&mut head)?;
        head.end()?;
        let mut fds = head.fds;
        let named = fds.len();
        fds.sort_unstable();
        fds.dedup();
        if fds.len() != named {
            return Err(Bad::Value("a descriptor named once"));
        }
        Ok((state, fds))
    }
}

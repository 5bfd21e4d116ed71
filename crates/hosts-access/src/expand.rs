//! %-letters in commands and banners (reference A10). What goes in is cleaned in place: the request's own text changes, and
//! with it what later patterns see.

use crate::inquiry::{Inquiry, Stop};
use crate::request::Request;
use crate::table::Place;
use crate::world::{End, World};

/// The longest expansion, in bytes. The original ends its whole process beyond.
pub const LONGEST_EXPANSION: usize = 8190;

/// Why a text could not be expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpandError {
    /// Longer than [`LONGEST_EXPANSION`]. What is to be said of it.
    TooLong(Vec<u8>),
    /// The world does not know a name or user yet.
    Pending,
}

impl From<ExpandError> for Stop {
    fn from(error: ExpandError) -> Self {
        match error {
            ExpandError::TooLong(text) => Self::Broken(text),
            ExpandError::Pending => Self::Pending,
        }
    }
}

/// Whether a byte may reach a shell unharmed.
#[must_use]
pub const fn is_clean(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'@' | b'%' | b'-' | b'_' | b'=' | b'+' | b':' | b',' | b'.' | b'/')
}

/// Makes every byte that could mean something to a shell a `_`.
pub fn clean(text: &mut [u8]) {
    for byte in text.iter_mut().filter(|byte| !is_clean(**byte)) {
        *byte = b'_';
    }
}

/// Expands `text` for `request`, whose attributes are asked for where needed and cleaned in place. `place` is the rule's, for
/// warnings. A name or user that could not be asked for becomes `unknown`.
///
/// # Errors
/// If the result is too long or the world answers [`crate::Answer::Pending`].
pub fn expand(
    text: &[u8],
    request: &mut Request,
    world: &mut dyn World,
    place: Option<Place>,
) -> Result<Vec<u8>, ExpandError> {
    let mut inquiry = Inquiry::new(request, world);
    inquiry.place = place;
    inquiry.expand(text)
}

impl Inquiry<'_> {
    pub(crate) fn expand(&mut self, text: &[u8]) -> Result<Vec<u8>, ExpandError> {
        let mut result = Vec::with_capacity(text.len());
        let mut rest = text;
        while let [first, after @ ..] = rest {
            let before = result.len();
            rest = match after {
                [letter, after @ ..] if *first == b'%' => {
                    self.letter(*letter, &mut result)?;
                    after
                }
                _ => {
                    result.push(*first);
                    after
                }
            };
            if result.len() > LONGEST_EXPANSION {
                result.truncate(before.min(30));
                return Err(ExpandError::TooLong(
                    [b"percent_x: expansion too long: ", result.as_slice(), b"..."].concat(),
                ));
            }
        }
        Ok(result)
    }

    fn letter(&mut self, letter: u8, result: &mut Vec<u8>) -> Result<(), ExpandError> {
        let pending = |_| ExpandError::Pending;
        match letter {
            b'a' => self.address(End::Client, result),
            b'A' => self.address(End::Server, result),
            b'c' => {
                // User and host are put together in a text of their own: what the request holds is not cleaned.
                let user = self.request.user;
                if user.is_empty() || user.as_bytes().eq_ignore_ascii_case(b"unknown") {
                    self.name_or_address(End::Client, result);
                } else {
                    let at = result.len();
                    result.extend_from_slice(user.as_bytes());
                    result.push(b'@');
                    result.extend_from_slice(self.info(End::Client));
                    clean_from(result, at);
                }
            }
            b'd' => self.daemon_name(result),
            b'h' => self.name_or_address(End::Client, result),
            b'H' => self.name_or_address(End::Server, result),
            b'n' => self.name(End::Client, result).map_err(pending)?,
            b'N' => self.name(End::Server, result).map_err(pending)?,
            b'p' => result.extend_from_slice(self.request.pid.to_string().as_bytes()),
            b'r' => self.port(End::Client, result),
            b'R' => self.port(End::Server, result),
            b's' => {
                if self.info(End::Server).eq_ignore_ascii_case(b"unknown") {
                    self.daemon_name(result);
                } else {
                    let at = result.len();
                    result.extend_from_slice(self.request.daemon.as_bytes());
                    result.push(b'@');
                    result.extend_from_slice(self.info(End::Server));
                    clean_from(result, at);
                }
            }
            b'u' => {
                if self.ask_user().map_err(pending)? {
                    clean(self.request.user.as_mut_bytes());
                    result.extend_from_slice(self.request.user.as_bytes());
                } else {
                    self.missed = true;
                    result.extend_from_slice(b"unknown");
                }
            }
            b'%' => result.push(b'%'),
            letter => self.warn([b"unrecognized %".as_slice(), &[letter]].concat()),
        }
        Ok(())
    }

    /// What is known of one end without asking: its name, or its address.
    fn info(&self, end: End) -> &[u8] {
        let host = self.request.end(end);
        if host.has_name() { host.name.as_bytes() } else { host.address() }
    }

    fn address(&mut self, end: End, result: &mut Vec<u8>) {
        let host = self.request.end_mut(end);
        clean(host.addr.as_mut_bytes());
        result.extend_from_slice(host.address());
    }

    fn name_or_address(&mut self, end: End, result: &mut Vec<u8>) {
        if self.request.end(end).has_name() {
            let host = self.request.end_mut(end);
            clean(host.name.as_mut_bytes());
            result.extend_from_slice(host.name.as_bytes());
        } else {
            self.address(end, result);
        }
    }

    fn name(&mut self, end: End, result: &mut Vec<u8>) -> Result<(), Stop> {
        if self.ask_name(end)? {
            let host = self.request.end_mut(end);
            clean(host.name.as_mut_bytes());
            result.extend_from_slice(host.name.as_bytes());
        } else {
            self.missed = true;
            result.extend_from_slice(b"unknown");
        }
        Ok(())
    }

    fn daemon_name(&mut self, result: &mut Vec<u8>) {
        clean(self.request.daemon.as_mut_bytes());
        result.extend_from_slice(self.request.daemon.as_bytes());
    }

    fn port(&self, end: End, result: &mut Vec<u8>) {
        let port = self.request.end(end).socket.map_or(0, |socket| socket.port());
        result.extend_from_slice(port.to_string().as_bytes());
    }
}

fn clean_from(result: &mut [u8], at: usize) {
    clean(result.get_mut(at..).unwrap_or_default());
}

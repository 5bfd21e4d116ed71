//! IP options with which an IPv4 connection came: a source route lets a client claim an address that is not its own, so
//! the connection is shut down; others are cleared (reference A12). Linux gives the options as they stand in the
//! header; the original skips four bytes first, as on BSD, and misses a route there.

use crate::ends::said;
use crate::log::{ERR, Log, NOTICE, WARNING, escaped};
use rustix::net::Shutdown;
use std::os::fd::AsFd;

/// What a connection's options amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Options {
    /// None.
    Absent,
    /// A loose or strict source route among them.
    SourceRoute,
    /// Others.
    Harmless,
}

const END: u8 = 0;
const NOTHING: u8 = 1;
const LOOSE_ROUTE: u8 = 131;
const STRICT_ROUTE: u8 = 137;

/// Reads the options of a header.
#[must_use]
pub fn understand(bytes: &[u8]) -> Options {
    let mut rest = bytes;
    while let [kind, after @ ..] = rest {
        match *kind {
            END => break,
            NOTHING => rest = after,
            LOOSE_ROUTE | STRICT_ROUTE => return Options::SourceRoute,
            _ => {
                // A length that is too small would never end.
                let Some(length) = after.first().map(|l| usize::from(*l)).filter(|l| *l >= 2) else { break };
                rest = rest.get(length..).unwrap_or_default();
            }
        }
    }
    if bytes.is_empty() { Options::Absent } else { Options::Harmless }
}

/// Looks at the options of the connection and does what they deserve; `client` is who is named in the log. After a source
/// route the connection is dead, and the caller goes on, so that it is decided and logged as any other.
///
/// # Errors
/// `socket` is no socket; said already.
pub fn check(socket: impl AsFd, client: &[u8], log: &mut dyn Log) -> Result<(), rustix::io::Errno> {
    let socket = socket.as_fd();
    let ours = rustix::net::getsockname(socket).inspect_err(|errno| {
        log.line(ERR, &said(b"getpeername: ", *errno));
    })?;
    if !portreeve_sys::socket::ip(ours).is_some_and(|address| address.is_ipv4()) {
        return Ok(());
    }
    let Ok(options) = portreeve_sys::ip_options::get(socket) else { return Ok(()) };
    let client = escaped(client);
    match understand(&options) {
        Options::Absent => {}
        Options::SourceRoute => {
            let line = [b"refused connect from ", &client[..], b" with IP source routing options"].concat();
            log.line(WARNING, &line);
            let _ = rustix::net::shutdown(socket, Shutdown::Both);
        }
        Options::Harmless => {
            let numbers: String = options.iter().map(|byte| format!(" {byte:02x}")).collect();
            let line =
                [b"connect from ", &client[..], b" with IP options (ignored):", numbers.as_bytes()].concat();
            log.line(NOTICE, &line);
            if let Err(error) = portreeve_sys::ip_options::clear(socket) {
                let why = portreeve_sys::source::reason(&error);
                log.line(ERR, &[b"setsockopt IP_OPTIONS NULL: ", why.as_bytes()].concat());
                let _ = rustix::net::shutdown(socket, Shutdown::Both);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_found_at_every_position() {
        let loose = [131, 7, 4, 10, 0, 0, 1];
        let record = [7, 7, 8, 127, 0, 0, 1];
        let strict = [137, 7, 4, 10, 0, 0, 1];
        assert_eq!(understand(&[]), Options::Absent);
        assert_eq!(understand(&record), Options::Harmless);
        assert_eq!(understand(&loose), Options::SourceRoute);
        assert_eq!(understand(&strict), Options::SourceRoute);
        for before in 0..8 {
            let mut bytes = vec![1; before];
            bytes.extend_from_slice(&loose);
            assert_eq!(understand(&bytes), Options::SourceRoute, "{before}");
        }
        assert_eq!(understand(&[&record[..], &[1], &loose].concat()), Options::SourceRoute);
        // Behind the end of the list there is padding, inside of another option its data.
        assert_eq!(understand(&[&[0][..], &loose].concat()), Options::Harmless);
        assert_eq!(understand(&[&[7, 10, 4][..], &loose].concat()), Options::Harmless);
        for bad in [&[7][..], &[7, 0, 131], &[7, 1, 131], &[7, 200]] {
            assert_eq!(understand(bad), Options::Harmless);
        }
    }
}

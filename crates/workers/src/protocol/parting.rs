//! What is the same in every version of the messages. A worker outlives the supervisor that has started it; the next one may
//! speak another version, and then gives it no more work: it says [`LEAVE`], the worker brings what it has to its end, says of each
//! that it is over, and ends. For that, and for nothing else, the two need a common language, and here it is:
//!
//! * [`LEAVE`], one byte;
//! * several messages in one packet (`bundle`);
//! * a message that ends one connection begins with its tag and the ticket, and those tags are never given to others:
//!   `End` to the builtin, proxy and TLS workers, `Done` from them, `Read` from the header worker.

use super::Worker;
use super::referee::tag;

/// To a worker: nothing new comes. End when what you have is over.
pub const LEAVE: [u8; 1] = [255];

/// The version of all other messages, as text in the executable. Any change of a message is a new version.
static MARK: [u8; 21] = *b"portreeve messages 06";

/// The version of the messages of this executable.
#[must_use]
pub fn version() -> u32 {
    // Read where it stands: a test writes another version into a copy of the executable.
    let mark = std::hint::black_box(&MARK);
    let digit = |byte: Option<&u8>| byte.map_or(0, |byte| u32::from(byte.wrapping_sub(b'0')));
    digit(mark.get(19)) * 10 + digit(mark.get(20))
}

/// The ticket of a connection that a worker of any version says is over.
#[must_use]
pub fn over(worker: Worker, message: &[u8]) -> Option<u64> {
    let wanted = match worker {
        Worker::Builtin => tag::DONE,
        Worker::Proxy => tag::CARRIED,
        Worker::Tls => tag::SEALED,
        Worker::Header => tag::HEADER,
        Worker::Resolver | Worker::Registrar | Worker::Ledger | Worker::Firewall | Worker::Sensor => {
            return None;
        }
    };
    let (tag, rest) = message.split_first()?;
    let ticket = rest.first_chunk::<8>().filter(|_| *tag == wanted)?;
    Some(u64::from_le_bytes(*ticket))
}

#[cfg(test)]
mod tests {
    use super::super::{
        Carried, Fault, Found, FromBuiltin, FromHeader, FromProxy, FromTls, Outcome, Sealed, ToBuiltin,
        ToHeader, ToProxy, ToTls,
    };
    use super::*;

    #[test]
    fn the_version_is_what_stands_in_the_executable() {
        assert_eq!(version(), 6);
    }

    /// These bytes are written here once and for all: a supervisor of another version reads them.
    #[test]
    fn what_ends_a_connection_is_the_same_in_every_version() {
        let ticket = 0x0807_0605_0403_0201;
        let of = |encode: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = Vec::new();
            encode(&mut bytes);
            bytes[..9].to_vec()
        };
        let begins = |tag: u8| [tag, 1, 2, 3, 4, 5, 6, 7, 8];
        let (bytes_in, bytes_out) = (0, 0);
        let done = FromBuiltin::Done { ticket, bytes_in, bytes_out, outcome: Outcome::Complete };
        let carried = FromProxy::Done { ticket, bytes_in, bytes_out, outcome: Carried::Idle };
        let sealed =
            FromTls::Done { ticket, bytes_in, bytes_out, outcome: Sealed::Carried(Carried::Complete) };
        let read = FromHeader::Read { ticket, found: Found::Failed(Fault::Ended) };
        let words = [
            (Worker::Builtin, 2, of(&|to| done.encode(to).unwrap())),
            (Worker::Proxy, 10, of(&|to| carried.encode(to).unwrap())),
            (Worker::Tls, 42, of(&|to| sealed.encode(to).unwrap())),
            (Worker::Header, 30, of(&|to| read.encode(to).unwrap())),
        ];
        for (worker, tag, bytes) in words {
            assert_eq!(bytes, begins(tag), "{worker:?}");
            assert_eq!(over(worker, &bytes), Some(ticket));
            assert_eq!(over(worker, &bytes[..8]), None);
            assert_eq!(over(Worker::Resolver, &bytes), None);
        }
        assert_eq!(of(&|to| ToBuiltin::End { ticket }.encode(to).unwrap()), begins(41));
        assert_eq!(of(&|to| ToProxy::End { ticket }.encode(to).unwrap()), begins(67));
        assert_eq!(of(&|to| ToTls::End { ticket }.encode(to).unwrap()), begins(74));
        assert!(ToBuiltin::decode(&LEAVE).is_err() && ToTls::decode(&LEAVE).is_err());
        assert!(ToProxy::decode(&LEAVE).is_err() && ToHeader::decode(&LEAVE).is_err());
    }
}

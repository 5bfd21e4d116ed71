//! What one supervisor leaves to the next when it executes a new version of itself in its place.
//!
//! Pure: bytes in, records out. It opens nothing and knows descriptors by number only; what the records mean is the daemon's
//! affair. The bytes come from a file that the supervisor itself has sealed, but from another version of it, so they are read
//! as strictly as a stranger's: every length is held against what is there, and a byte too many is an error.
//!
//! | file | holds |
//! |---|---|
//! | [`wire`](Field) | how a number, a text, a list, a record stand in the bytes |
//! | [`state`](State::encode) | all of it as bytes, and back |
//! | [`table`](State) | THE table: every record, its fields, and since which version each is there |
#![forbid(unsafe_code)]

mod state;
mod table;
mod wire;

pub use table::*;
pub use wire::{Bad, Bytes, Fd, Field, MOST, Reader, SocketAddrField, Writer, from_bytes, to_bytes};

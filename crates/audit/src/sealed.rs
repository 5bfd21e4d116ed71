//! Whether files are what they were: table of contents.
//!
//! A baseline is what was seen of each path, signed with a key that this host need not have, and tied to the baseline before it.

pub mod chain; //   the baselines of a host, one after the other
pub mod compare; // a baseline and what is there now
pub mod crew; //    many files looked at at once, told in order
pub mod digest; //  one open file, whole
pub mod entry; //   what is recorded of one path
pub mod foreign; // changes as Tripwire and AIDE tell them
pub mod key; //     who may sign a baseline
pub mod look; //    one path, as it is
pub mod mask; //    which properties count
pub mod report; //  changes, for people and machines
pub mod rules; //   which paths, and which of their properties
pub mod text; //    a baseline as bytes
pub mod tree; //    the paths below some roots, in one order

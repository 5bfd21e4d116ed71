//! Whether files are what they were: table of contents.
//!
//! A baseline is what was seen of each path, signed with a key that this host need not have, and tied to the baseline before it.

pub mod aide_database; // an AIDE database as a record
pub mod aide_export; // a record as an AIDE database
pub mod authority; // who may sign which baseline
pub mod budget; //    what a run may take of the machine
pub mod carried; //   the rules of AIDE and Tripwire
pub mod chain; //     the baselines of a host, one after the other
pub mod compare; //   a baseline and what is there now
pub mod crew; //      many files looked at at once, told in order
pub mod digest; //    one open file, whole
mod draft; //         a baseline that is being written
pub mod entry; //     what is recorded of one path
pub mod findings; //  changes as findings
pub mod foreign; //   changes as Tripwire and AIDE tell them
pub mod hash; //      the digest of files
mod huge; //          the digest of huge files
pub mod journal; //   what a run that was cut off had read
pub mod key; //       who may sign a baseline
mod lines; //         a baseline's file, line by line
pub mod look; //      one path, as it is
pub mod mask; //      which properties count
pub mod reading; //   how files are read
pub mod report; //    changes, for people and machines
pub mod rules; //     which paths, and which of their properties
pub mod text; //      a baseline as bytes
pub mod tree; //      the paths below some roots, in one order

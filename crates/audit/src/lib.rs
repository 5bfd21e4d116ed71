//! What listens on this host, and what is wrong with it: table of contents.
//!
//! It looks and reports: it changes nothing, listens nowhere, and starts nothing but the listing programs of the packet filters and of rpm. The daemon never links it, so that nothing
//! that reads /proc and other people's files lies in the process that root's ports depend on.
#![forbid(unsafe_code)]

pub mod baseline; //  listeners that somebody answers for, and drift
mod bounded; //       files and directories read up to a bound
pub mod cgroup; //    unit and container of a process, from its control group
pub mod checks; //    THE table of checks
pub mod exposure; //  the checks of listeners
pub mod finding; //   one finding, as every check gives it
pub mod holders; //   which processes hold which sockets
pub mod integrity; // the files of packages beside what the packages brought
pub mod inventory; // every listener with all that is known of it
pub mod live; //      what happens to protected paths, and who did it
pub mod namespaces; // the network namespaces that this process can see
mod outside; //       programs of this host that are asked
pub mod packages; //  which package brought a file
pub mod ports; //     which protocols show what they carry
pub mod process; //   one process as /proc shows it
pub mod reach; //     who reaches a listener, through the firewalls
pub mod report; //    findings with waivers, as JSON and as SARIF
pub mod scope; //     from where an address can be reached
pub mod sealed; //    files beside a signed baseline of them
pub mod share; //     much of the same kind, by all processors
pub mod sockets; //   the sockets of one network namespace
pub mod stale; //     processes that run code that is no longer on disk
pub mod suggest; //   what can be turned off, and why
mod vsock; //         vsock sockets that the kernel does not list
pub mod waivers; //   findings that somebody answers for, until a day
pub mod watch; //     what came and what went between two looks

//! The same behaviour, asked of the original and of ours.
//!
//! A test states what a client, an administrator or a started program can see, and [`both`] asks it of
//! `/usr/sbin/xinetd` and of `portreeve-gate`, each in private network, mount and process namespaces of its own.
//! Where ours differs on purpose, the test states both expectations under the name that the difference has in
//! `docs/guide/differences.md` ([`World::fix`]). `PORTREEVE_COMPLIANCE=theirs|ours|both` selects a side.
//!
//! ```text
//! side      which side, and where its executable is
//! skip      the only reasons for which a test may be skipped
//! world     private namespaces with files, one for each side of each test
//! init      the first process in there (runs in the probe executable)
//! entry     configurations: entries with sensible attributes, changed one by one
//! daemon    a running super-server: start, signal, reload, status
//! hierarchy  control groups of this machine
//! client    connections and datagrams from any loopback address
//! flood     connections from any number of sources, as fast as they come
//! inetd     one client, and the program that inetd would start for it (runs in the probe executable)
//! libwrap   libwrap.so.0 under programs of others
//! lines     log lines: stamps checked and removed, process numbers replaced
//! listen    a program that gets its sockets as systemd hands them over (runs in the probe executable)
//! manager   a service manager with a store for descriptors (runs in the probe executable)
//! predictors  tcpdmatch and tcpdchk against the originals, over drawn cases
//! probe     the program that services start: reports how it was started
//! process_one  a real systemd as process 1
//! tls       services behind TLS, certificates, curl
//! tcpd      tcpd and the programs beside it, called as inetd calls them
//! ```
#![forbid(unsafe_code)]

pub mod client;
pub mod daemon;
pub mod entry;
pub mod flood;
pub mod hierarchy;
pub mod house;
pub mod impostor;
pub mod inetd;
pub mod init;
pub mod libwrap;
pub mod lines;
pub mod listen;
pub mod manager;
pub mod neighbour;
pub mod predictors;
pub mod probe;
pub mod process_one;
pub mod side;
pub mod skip;
pub mod tcpd;
pub mod tls;
pub mod wait;
pub mod world;

pub use client::{Answer, Connection, End};
pub use daemon::{Daemon, Start, signals};
pub use entry::{Config, Entry};
pub use side::Side;
pub use skip::{Reason, skip};
pub use wait::{DEADLINE, until};
pub use world::{Ended, World, both, ours, theirs};

//! The confined processes of the super-server, and the messages between them and the supervisor.
//!
//! Root never parses a byte that came from the network; whatever does is a worker: a process of its own, started by the
//! supervisor with one channel on descriptor 3, confined before it reads its first message, killed when it says what it may
//! not say, and started again with back-off. The supervisor serves on while a worker is away.
//!
//! | worker | does | file |
//! |---|---|---|
//! | `resolver` | asks the name services: host names with forward confirmation, users, groups, netgroups, services, networks; and ident servers | [`resolver`](run_resolver) |
//! | `builtin` | answers echo, discard, chargen, daytime, time; decides on datagrams by a copy of the policy | [`builtin`](run_builtin) |
//! | `proxy` | carries bytes and datagrams between the clients of `redirect` and their targets; decides on datagrams as `builtin` does | [`proxy`](run_proxy) |
//! | `registrar` | tells rpcbind where the RPC services are | [`registrar`](run_registrar) |
//! | `firewall` | has the kernel drop who is banned | [`firewall`](run_firewall) |
//! | `sensor` | watches for stealth scans | [`sensor`](run_sensor) |
//! | `header` | reads what stands in front of a connection: PROXY headers, lines of tcpmux | [`header`](run_header) |
//! | `tls` | speaks TLS with clients and targets; one for each set of certificates | the crate `portreeve-tls` |
//!
//! # What a worker may do
//!
//! | | resolver | builtin | proxy | registrar | header | tls | firewall | sensor |
//! |---|---|---|---|---|---|---|---|---|
//! | user | `portreeve-resolver`, else number 61101 | `portreeve-builtin`, else number 61102 | `portreeve-proxy`, else number 61103 | `portreeve-registrar`, else number 61104 | `portreeve-header`, else number 61105 | `portreeve-tls`, else number 61106 | `portreeve-firewall`, else number 61108 | `portreeve-sensor`, else number 61109 |
//! | groups, capabilities | none | none | none | none | none | none | CAP_NET_ADMIN | none |
//! | files | read `/etc /usr /lib* /run /var/lib /var/db` | none | none | none | none | reads those it is handed (certificates, keys, authorities) | none | none |
//! | network | any connection (ident: from a port of the kernel's choice), no TCP listener | the sockets it is handed, no new one | the sockets it is handed, no new one: the supervisor connects | the connection to rpcbind that it is handed, no new one | reads from the sockets it is handed copies of, no new one | the sockets it is handed, no new one: the supervisor connects | the two netlink sockets that it is handed, no new one | the packet socket and the two of netlink that it is handed, no new one; it sends through netlink and its channel alone |
//! | processes | threads; no other program | one thread; no other program | one thread; no other program | one thread; no other program | one thread; no other program | one thread; no other program | one thread; no other program | one thread; no other program |
//! | signals | to itself | to itself | to itself | to itself | to itself | to itself | to itself | to itself |
//! | descriptors | 1024 | 8192: 4096 clients, 2048 datagram services | 20480: 7672 connections, 4096 flows of datagrams, 1024 sockets | 32 | 1088: 1024 connections | 8256: 4096 connections, two each | 16 | 16 |
//! | core file, tracing | no | no | no | no | no | no | no | no |
//! | after the supervisor's death | killed | killed | killed | killed | killed | killed | killed | killed |
//! | says | `Ready`, `Names`, `Host`, `User`, `Answer`, `Pong` | `Ready`, `Done`, `Datagrams`, `Rate` | `Ready`, `Reached`, `Unreached`, `Done`, `Want`, `Datagrams`, `Rate` | `Ready`, `Done`, `Lost` | `Ready`, `Read` | `Ready`, `Keyed`, `Shaken`, `Reached`, `Unreached`, `Done` | `Ready`, `Standing`, `Refused` | `Ready`, `Watching`, `Scans` |
//!
//! Two more are parts of the executable `portreeve`. The worker of TLS may do what the proxy may, and read the files that it is
//! handed. The ledger has one directory, in which it does with files what it likes; no network, 64 descriptors, one thread; says
//! `Ready`, `Opened`, `Closed`, `Written`. Their numbers are 61106 and 61107.
//!
//! Files and the network are Landlock's, processes and calls seccomp's; each also stands where the other is missing, as far
//! as it can. What a kernel lacks is reported in `Ready` and shown by `status`. Without root a worker keeps the supervisor's
//! user. A root that may not change users (a container without those capabilities) is kept only behind both Landlock and
//! seccomp.
//!
//! # What is carried for `redirect`
//!
//! One process carries all connections, 7672 at most. A chunk that one side does not take stops the reading of the other side of
//! that connection alone; what is kept is bounded for each (256 KiB) and for all (64 MiB, then 4 KiB for each). Each half closes by
//! itself. A target that does not accept in time is told of, and the client waits for the next one; after a target's half has
//! closed, a client that says nothing for a minute is let go.
//!
//! # What the built-ins do differently from xinetd
//!
//! * Streams: an idle time (an hour where the service names none), 4096 clients at most; one that does not take its echo is not
//!   read from either. `chargen` includes `~`.
//! * Datagrams: every queued one is answered (xinetd throws all but one away), whole up to the longest. A chargen answer is
//!   never larger than its request. No answer to a source port below 1024, to a port of our own built-ins, to a source that is no
//!   single host, or to what was sent to a broadcast or multicast address.
//! * Datagrams and rules by host name: nobody can be asked here, so where such a rule could decide, the datagram is refused.
//! * A refused source is named in the log once a minute, up to 1024 of them; all are counted.
#![forbid(unsafe_code)]

mod builtin;
mod confine;
mod datagram;
mod entry;
mod firewall;
mod header;
mod outbox;
pub mod protocol;
mod proxy;
mod registrar;
mod resolver;
mod sensor;
mod tls;

pub use builtin::{most_clients, run_builtin};
pub use confine::{Ids, builtin_ids, confine, worker_ids};
pub use entry::{complain, enter, main, supervisor_has_gone};
pub use firewall::{
    Beside, Enforcer, Found, Scope, TABLE as FIREWALL_TABLE, beside, run_firewall, run_firewall_openly,
};
pub use header::{
    Endpoints, MAX_MUX_LINE, MAX_MUX_NAME, MAX_PROXY_HEADER, MuxLine, ProxyHeader, Unreadable, most_read,
    mux_line, proxy_header, run_header,
};
pub use outbox::{Outbox, Word};
pub use proxy::{most_carried, most_flows, run_proxy};
pub use registrar::run_registrar;
pub use resolver::run_resolver;
pub use sensor::{Candidate, SENSOR_BOUNDS, read_packet, run_sensor};
pub use tls::{DESCRIPTORS as TLS_DESCRIPTORS, most_sealed};

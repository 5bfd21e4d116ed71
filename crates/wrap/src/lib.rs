//! A request met in this very process: its names are looked up here, ident is asked, and what the matched rule orders is
//! done to this process. For tcpd and libwrap, which are such processes; the supervisor never links it.
//!
//! | file | decides |
//! |---|---|
//! | [`tables`] | what each table is at this moment |
//! | [`compiled`] | whether the compiled tables on the disk may be believed; writes them |
//! | [`live`] | the world of an evaluation: [`LiveWorld`] |
//! | [`names`] | which name an address has |
//! | [`ident`] | who the user at the client is |
//! | [`ends`] | who the client of a socket is |
//! | [`route`] | what IP options do to a connection |
//! | [`shell`] | how commands run: spawn, twist, aclexec |
//! | [`banners`] | what a banner file sends |
//! | [`privilege`] | becoming a user or a group |
//! | [`who`] | how log lines name the client |
//! | [`log`] | prefixes, severities, escaping |

#![forbid(unsafe_code)]

pub mod banners;
pub mod compiled;
pub mod ends;
pub mod ident;
pub mod live;
pub mod log;
pub mod names;
pub mod privilege;
pub mod route;
pub mod shell;
pub mod tables;
pub mod who;

pub use live::{LiveWorld, Severities};
pub use log::{Log, Paths, SystemLog};

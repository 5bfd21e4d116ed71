//! systemd's language as far as sockets need it: `X.socket` with `X@.service` or `X.service`, read into a sheet and written from
//! one (systemd.syntax(7), systemd.unit(5), systemd.socket(5), systemd.exec(5)).

mod addresses;
mod binds;
mod command;
mod find;
mod keys;
mod limits;
mod listen;
mod local;
mod networks;
mod pair;
mod read;
mod sandbox;
mod serve;
mod service;
mod specifier;
mod unit;
mod words;
mod write;
mod write_clients;
mod write_listen;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_sandbox;
#[cfg(test)]
mod tests_serving;
#[cfg(test)]
mod tests_unix;

pub use networks::Network;
pub use read::from_systemd;
pub(crate) use serve::gather;
pub use unit::{Fault, Unit, parse};
pub(crate) use unit::{boolean, span};
pub use write::{File, to_systemd};

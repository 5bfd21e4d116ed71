//! One configuration in the words of another: each language is read into a [`Sheet`] and written from one, so every pair of
//! languages has the same losses, and each loss is named.

mod account;
mod from_inetd;
mod from_xinetd;
mod lenient;
mod sheet;
mod to_inetd;
mod to_xinetd;
mod unix;

#[cfg(test)]
mod tests;

pub(crate) use account::{Account, Stop};
pub use from_inetd::from_inetd;
pub use from_xinetd::from_xinetd;
pub(crate) use lenient::Lenient;
pub(crate) use sheet::plain;
pub use sheet::{Note, Piece, Said, Sheet, Stanza};
pub use to_inetd::to_inetd;
pub use to_xinetd::to_xinetd;

//! What the administrator says of the ledger. Values only; they are read from portreeve.toml by the command line's crate.

use std::path::PathBuf;
use std::time::Duration;

/// No smaller database is of use: SQLite's own pages take some of it.
pub const LEAST_SIZE: u64 = 1 << 20;

/// Whether there is a ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Where its directory is: an installed service has one, and a program that somebody tries out does not.
    #[default]
    IfThere,
    /// No.
    Off,
    /// In this directory, which is made if need be.
    In(PathBuf),
}

/// The settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether and where.
    pub keep: Keep,
    /// The most bytes of the database.
    pub most_bytes: u64,
    /// For how long an event is kept.
    pub keep_for: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { keep: Keep::IfThere, most_bytes: 256 << 20, keep_for: Duration::from_secs(90 * 86_400) }
    }
}

//! Who is banned: the store. It keeps what it is told; whether somebody may be banned, and that they are kept out, is decided and
//! done elsewhere.

use crate::fault::Fault;
use crate::store::Store;
use rusqlite::{OptionalExtension, Row, params};

/// A ban.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// The network, as `address/length`.
    pub prefix: String,
    /// Since when, microseconds since 1970.
    pub since: i64,
    /// Until when; for ever without.
    pub until: Option<i64>,
    /// Who asked for it: `sensor`, `policy`, `operator`, the name of a fleet.
    pub origin: String,
    /// What for.
    pub reason: String,
    /// The how manieth ban of this network it is.
    pub strikes: u32,
}

fn ban(row: &Row<'_>) -> rusqlite::Result<Ban> {
    Ok(Ban {
        prefix: row.get(0)?,
        since: row.get(1)?,
        until: row.get(2)?,
        origin: row.get(3)?,
        reason: row.get(4)?,
        strikes: row.get(5)?,
    })
}

const COLUMNS: &str = "prefix, since, until, origin, reason, strikes";

impl Store {
    /// Adds a ban, or replaces that of the same network; the strikes of one that has ended go on. It is on the disk when this
    /// returns, so it outlasts a loss of power. Returns the strikes.
    ///
    /// # Errors
    /// It was not added.
    pub fn ban(&mut self, ban: &Ban) -> Result<u32, Fault> {
        self.db.pragma_update(None, "synchronous", "FULL")?;
        let strikes = self.db.query_row(
            "INSERT INTO bans (prefix, since, until, origin, reason, strikes) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (prefix) DO UPDATE SET since = excluded.since, until = excluded.until,
             origin = excluded.origin, reason = excluded.reason,
             strikes = bans.strikes + (bans.until IS NOT NULL AND bans.until <= excluded.since)
             RETURNING strikes",
            params![ban.prefix, ban.since, ban.until, ban.origin, ban.reason, ban.strikes],
            |row| row.get(0),
        );
        self.db.pragma_update(None, "synchronous", "NORMAL")?;
        Ok(strikes?)
    }

    /// Ends a ban; its strikes are forgotten. False when there was none.
    ///
    /// # Errors
    /// It was not ended.
    pub fn unban(&mut self, prefix: &str) -> Result<bool, Fault> {
        self.db.pragma_update(None, "synchronous", "FULL")?;
        let removed = self.db.execute("DELETE FROM bans WHERE prefix = ?1", params![prefix]);
        self.db.pragma_update(None, "synchronous", "NORMAL")?;
        Ok(removed? > 0)
    }

    /// The ban of a network, ended or not.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn ban_of(&self, prefix: &str) -> Result<Option<Ban>, Fault> {
        let sql = format!("SELECT {COLUMNS} FROM bans WHERE prefix = ?1");
        Ok(self.db.query_row(&sql, params![prefix], ban).optional()?)
    }

    /// Those that hold at `now`, microseconds since 1970, in the order of their networks.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn bans(&self, now: i64) -> Result<Vec<Ban>, Fault> {
        let sql = format!("SELECT {COLUMNS} FROM bans WHERE until IS NULL OR until > ?1 ORDER BY prefix");
        let mut statement = self.db.prepare(&sql)?;
        let bans = statement.query_map(params![now], ban)?;
        Ok(bans.collect::<Result<_, _>>()?)
    }
}

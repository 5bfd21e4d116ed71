//! Who is banned: the store. It keeps what it is told; whether somebody may be banned, and that they are kept out, is decided and
//! done elsewhere.

use crate::fault::Fault;
use crate::store::Store;
use rusqlite::{Connection, OptionalExtension, Row, params};

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

/// A change of the store.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// Adds or replaces one.
    Ban(&'a Ban),
    /// Ends that of this network.
    Unban(&'a str),
}

fn ban(row: &Row<'_>) -> rusqlite::Result<Ban> {
    Ok(Ban {
        prefix: row.get(0)?,
        since: row.get(1)?,
        until: row.get(2)?,
        origin: row.get(3)?,
        reason: row.get(4)?,
        // Whatever somebody has written there.
        strikes: u32::try_from(row.get::<_, i64>(5)?.max(0)).unwrap_or(u32::MAX),
    })
}

/// Ended bans for evidence that are told of, at most.
const MOST_STRUCK: usize = 20_000;
const COLUMNS: &str = "prefix, since, until, origin, reason, strikes";

impl Store {
    /// Adds bans, or replaces those of the same networks; the strikes of one that has ended go on. They are on the disk when this
    /// returns, so they outlast a loss of power.
    ///
    /// # Errors
    /// None was added.
    pub fn ban(&mut self, bans: &[Ban]) -> Result<(), Fault> {
        self.change(bans.iter().map(Change::Ban))
    }

    /// Ends bans; their strikes are forgotten.
    ///
    /// # Errors
    /// None was ended.
    pub fn unban(&mut self, prefixes: &[String]) -> Result<(), Fault> {
        self.change(prefixes.iter().map(|prefix| Change::Unban(prefix)))
    }

    /// Many of both, in their order, in one transaction: the disk is waited for once.
    ///
    /// # Errors
    /// Nothing was changed.
    pub fn change<'a>(&mut self, changes: impl Iterator<Item = Change<'a>>) -> Result<(), Fault> {
        self.durably(|db| {
            let mut ended = db.prepare("DELETE FROM bans WHERE prefix = ?1")?;
            let mut statement = db.prepare(
            "INSERT INTO bans (prefix, since, until, origin, reason, strikes) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (prefix) DO UPDATE SET since = excluded.since, until = excluded.until,
             origin = excluded.origin, reason = excluded.reason,
             strikes = CASE WHEN excluded.origin LIKE 'evidence%' THEN excluded.strikes
                       ELSE bans.strikes + (bans.until IS NOT NULL AND bans.until <= excluded.since) END
            ",
            )?;
            for change in changes {
                match change {
                    Change::Ban(Ban { prefix, since, until, origin, reason, strikes }) => {
                        statement.execute(params![prefix, since, until, origin, reason, strikes])?
                    }
                    Change::Unban(prefix) => ended.execute(params![prefix])?,
                };
            }
            Ok(())
        })
    }

    /// One transaction that is on the disk, whole or not at all, when this returns.
    fn durably(&mut self, change: impl FnOnce(&Connection) -> rusqlite::Result<()>) -> Result<(), Fault> {
        self.db.pragma_update(None, "synchronous", "FULL")?;
        let done = self.db.execute_batch("BEGIN IMMEDIATE").and_then(|()| {
            let done = change(&self.db).and_then(|()| self.db.execute_batch("COMMIT"));
            if done.is_err() {
                let _ = self.db.execute_batch("ROLLBACK");
            }
            done
        });
        self.db.pragma_update(None, "synchronous", "NORMAL")?;
        Ok(done?)
    }

    /// The ban of a network, ended or not.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn ban_of(&self, prefix: &str) -> Result<Option<Ban>, Fault> {
        let sql = format!("SELECT {COLUMNS} FROM bans WHERE prefix = ?1");
        Ok(self.db.query_row(&sql, params![prefix], ban).optional()?)
    }

    /// Those that hold at `now`, and the latest of those for evidence that have ended: they count when a network is banned again.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn bans_and_strikes(&self, now: i64) -> Result<Vec<Ban>, Fault> {
        let mut bans = self.bans(now)?;
        let sql = format!(
            "SELECT {COLUMNS} FROM bans WHERE until <= ?1 AND origin LIKE 'evidence%' ORDER BY until DESC LIMIT {MOST_STRUCK}"
        );
        let mut statement = self.db.prepare(&sql)?;
        let ended = statement.query_map(params![now], ban)?;
        bans.extend(sound(ended)?);
        Ok(bans)
    }

    /// Those that hold at `now`, microseconds since 1970, in the order of their networks.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn bans(&self, now: i64) -> Result<Vec<Ban>, Fault> {
        let sql = format!("SELECT {COLUMNS} FROM bans WHERE until IS NULL OR until > ?1 ORDER BY prefix");
        let mut statement = self.db.prepare(&sql)?;
        let bans = statement.query_map(params![now], ban)?;
        sound(bans)
    }
}

/// Those that can be understood: one row that somebody has spoilt is no reason to let everybody in.
fn sound(bans: impl Iterator<Item = rusqlite::Result<Ban>>) -> Result<Vec<Ban>, Fault> {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error};
    let mut found = Vec::new();
    for ban in bans {
        match ban {
            Ok(ban) => found.push(ban),
            Err(
                FromSqlConversionFailure(..)
                | IntegralValueOutOfRange(..)
                | InvalidColumnType(..)
                | Utf8Error(..),
            ) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(found)
}

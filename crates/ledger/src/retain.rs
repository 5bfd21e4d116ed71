//! What is deleted and when: events that are too old, and the oldest ones while the database is too large. A little at a time,
//! so that no step holds up the next batch for long.

use crate::fault::Fault;
use crate::settings::Settings;
use crate::store::{Store, micros};
use rusqlite::{Connection, params};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Events that one step deletes at most: more than a batch of 32 KiB brings, so that the database shrinks while it is written.
const STEP: u32 = 1000;
/// Pages that one step gives back at most.
const PAGES: u64 = 256;
/// The longest log. It grows only while somebody reads for a long time; beyond this, events are dropped rather than the disk
/// filled.
const MOST_LOG: u64 = 64 << 20;

/// The bounds of a database.
#[derive(Debug)]
pub(crate) struct Bounds {
    page_bytes: u64,
    most_bytes: u64,
    keep_for: Duration,
}

impl Bounds {
    pub(crate) fn new(db: &Connection, settings: &Settings) -> Result<Self, Fault> {
        let page_bytes = pragma(db, "page_size")?.max(512);
        // Whatever happens it grows no larger; the rest up to here is for the step that deletes.
        let most_pages = settings.most_bytes.div_ceil(page_bytes) + 256;
        db.query_row(&format!("PRAGMA max_page_count = {most_pages}"), [], |_| Ok(()))?;
        Ok(Self { page_bytes, most_bytes: settings.most_bytes, keep_for: settings.keep_for })
    }

    /// Whether the log may grow by another batch.
    pub(crate) fn check_log(&self, db: &Connection, path: &Path) -> Result<(), Fault> {
        if log_bytes(path) <= MOST_LOG {
            return Ok(());
        }
        let _ = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if log_bytes(path) > MOST_LOG {
            let text = "the log of the database is too long, because somebody reads it without an end";
            return Err(Fault::Passing(text.to_owned()));
        }
        Ok(())
    }
}

fn log_bytes(path: &Path) -> u64 {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    std::fs::metadata(name).map_or(0, |log| log.len())
}

fn pragma(db: &Connection, name: &str) -> Result<u64, Fault> {
    let value: i64 = db.query_row(&format!("PRAGMA {name}"), [], |row| row.get(0))?;
    Ok(u64::try_from(value).unwrap_or(0))
}

impl Store {
    /// Bytes on the disk: the database and its log.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn bytes(&self) -> Result<u64, Fault> {
        Ok(pragma(&self.db, "page_count")? * self.bounds.page_bytes + log_bytes(&self.path))
    }

    /// Whether its file is larger than it may be. Pages that are free are used before it grows.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn is_too_large(&self) -> Result<bool, Fault> {
        Ok(pragma(&self.db, "page_count")? * self.bounds.page_bytes > self.bounds.most_bytes)
    }

    /// One step. True when there is more to delete.
    ///
    /// # Errors
    /// Nothing was deleted.
    pub fn retain(&mut self) -> Result<bool, Fault> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.retain_at(now)
    }

    pub(crate) fn retain_at(&mut self, now: Duration) -> Result<bool, Fault> {
        let bounds = &self.bounds;
        let oldest = micros(now.saturating_sub(bounds.keep_for));
        // The last event stays whatever its age: numbers go on from it.
        let old = self.db.execute(
            "DELETE FROM events WHERE seq IN (SELECT seq FROM events WHERE time < ?1 ORDER BY time LIMIT ?2)
             AND seq < (SELECT max(seq) FROM events)",
            params![oldest, STEP],
        )?;
        let pages = pragma(&self.db, "page_count")?;
        let free = pragma(&self.db, "freelist_count")?;
        let used = pages.saturating_sub(free) * bounds.page_bytes;
        let mut surplus = 0;
        if used > bounds.most_bytes {
            surplus = self.db.execute(
                "DELETE FROM events WHERE seq < (SELECT min(seq) FROM events) + ?1
                 AND seq < (SELECT max(seq) FROM events)",
                params![STEP],
            )?;
        }
        // Pages that are free below the bound are for the events to come.
        let too_many = pages.saturating_sub(bounds.most_bytes / bounds.page_bytes).min(free).min(PAGES);
        if too_many > 0 {
            // One page a row.
            let mut statement = self.db.prepare(&format!("PRAGMA incremental_vacuum({too_many})"))?;
            let mut pages = statement.query([])?;
            while pages.next()?.is_some() {}
        }
        // Bans that ended as long ago as events are kept count no more as former ones.
        self.db.execute("DELETE FROM bans WHERE until < ?1", params![oldest])?;
        Ok(old >= STEP as usize || surplus > 0 || too_many == PAGES)
    }

    /// How many events there are.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn count(&self) -> Result<u64, Fault> {
        let count: i64 = self.db.query_row("SELECT count(*) FROM events", [], |row| row.get(0))?;
        Ok(u64::try_from(count).unwrap_or(0))
    }
}

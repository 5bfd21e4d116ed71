//! The tables, and the way from each version to the next. A step is never changed once it was released: the database of a user
//! has gone through it.

use crate::fault::Fault;
use rusqlite::{Connection, TransactionBehavior};

/// One step: what makes the version after it from the one before.
pub(crate) type Step = &'static str;

/// In the file's head, for file(1) and for us: "prtr".
const APPLICATION: i32 = 0x7072_7472;

/// The steps, the first one from an empty file.
pub(crate) const STEPS: &[Step] = &["
CREATE TABLE events (
  seq        INTEGER PRIMARY KEY,
  id         INTEGER NOT NULL,
  time       INTEGER NOT NULL,
  kind       TEXT NOT NULL,
  service    TEXT,
  source     TEXT,
  port       INTEGER,
  prefix     TEXT,
  verdict    TEXT,
  reason     TEXT,
  rule       TEXT,
  pid        INTEGER,
  status     INTEGER,
  signal     INTEGER,
  duration   INTEGER,
  user_cpu   INTEGER,
  system_cpu INTEGER,
  max_rss    INTEGER,
  bytes_in   INTEGER,
  bytes_out  INTEGER,
  count      INTEGER NOT NULL DEFAULT 1
);
CREATE INDEX events_time ON events (time);
CREATE TABLE bans (
  prefix  TEXT PRIMARY KEY,
  since   INTEGER NOT NULL,
  until   INTEGER,
  origin  TEXT NOT NULL,
  reason  TEXT NOT NULL,
  strikes INTEGER NOT NULL DEFAULT 1
) WITHOUT ROWID;
CREATE VIEW log AS
  SELECT seq, id, strftime('%Y-%m-%d %H:%M:%f', time / 1000000.0, 'unixepoch', 'localtime') AS at,
         kind, service, source, reason, rule, pid, status, signal, round(duration / 1000000.0, 6) AS seconds, count
  FROM events;
CREATE VIEW connections AS
  SELECT id, max(service) AS service, max(source) AS source, max(pid) AS pid,
         min(CASE kind WHEN 'start' THEN time END) AS started,
         max(CASE kind WHEN 'exit' THEN time END) AS ended,
         max(status) AS status, max(signal) AS signal, max(duration) AS duration,
         max(user_cpu) AS user_cpu, max(system_cpu) AS system_cpu, max(max_rss) AS max_rss,
         max(bytes_in) AS bytes_in, max(bytes_out) AS bytes_out
  FROM events WHERE kind IN ('start', 'exit') GROUP BY id;
", "
ALTER TABLE events ADD COLUMN origin TEXT;
ALTER TABLE events ADD COLUMN uid INTEGER;
CREATE INDEX bans_until ON bans (until);
DROP VIEW log;
CREATE VIEW log AS
  SELECT seq, id, strftime('%Y-%m-%d %H:%M:%f', time / 1000000.0, 'unixepoch', 'localtime') AS at,
         kind, service, source, reason, rule, pid, status, signal, round(duration / 1000000.0, 6) AS seconds, count,
         prefix, origin, uid
  FROM events;
"];

/// The version that this program writes and reads.
pub const VERSION: usize = STEPS.len();

/// The version of a database; 0 of an empty one.
pub(crate) fn version(db: &Connection) -> Result<usize, Fault> {
    let version: i64 = db.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let application: i64 = db.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    if application != i64::from(APPLICATION) && (application != 0 || version != 0) {
        return Err(Fault::Foreign("it is the database of another program".to_owned()));
    }
    usize::try_from(version).map_err(|_| Fault::Foreign("its version is none of ours".to_owned()))
}

/// Whether a database is for us: empty, or of a version that these steps lead to.
pub(crate) fn check(db: &Connection, steps: &[Step]) -> Result<usize, Fault> {
    let found = version(db)?;
    if found > steps.len() {
        let text = format!("it is of version {found}, and this program knows {} at most", steps.len());
        return Err(Fault::Foreign(text));
    }
    Ok(found)
}

/// Brings a database to the version after the last of `steps`, all of them or none. Returns the version that it had.
pub(crate) fn migrate(db: &mut Connection, steps: &[Step]) -> Result<usize, Fault> {
    let found = check(db, steps)?;
    let missing = steps.get(found..).unwrap_or_default();
    if missing.is_empty() {
        return Ok(found);
    }
    let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for step in missing {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", i64::try_from(steps.len()).unwrap_or(i64::MAX))?;
    transaction.commit()?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATER: &[Step] = &[
        STEPS[0],
        STEPS[1],
        "ALTER TABLE events ADD COLUMN country TEXT",
        "UPDATE events SET country = 'x'",
    ];

    #[test]
    fn each_version_becomes_the_latest() {
        let mut db = Connection::open_in_memory().unwrap();
        assert_eq!(migrate(&mut db, STEPS).unwrap(), 0);
        assert_eq!(version(&db).unwrap(), VERSION);
        db.execute("INSERT INTO events (id, time, kind) VALUES (1, 2, 'start')", []).unwrap();
        assert_eq!(migrate(&mut db, LATER).unwrap(), 2);
        let country: String =
            db.query_row("SELECT country FROM events WHERE id = 1", [], |row| row.get(0)).unwrap();
        assert_eq!(country, "x", "the data stays and every step was taken");
        assert_eq!(migrate(&mut db, LATER).unwrap(), 4, "and none twice");
        let newer = migrate(&mut db, STEPS).unwrap_err();
        assert!(matches!(newer, Fault::Foreign(_)), "{newer:?}");
    }

    #[test]
    fn a_step_that_fails_leaves_everything_as_it_was() {
        let mut db = Connection::open_in_memory().unwrap();
        migrate(&mut db, STEPS).unwrap();
        assert!(migrate(&mut db, &[STEPS[0], STEPS[1], "CREATE TABLE more (a)", "no SQL"]).is_err());
        assert_eq!(version(&db).unwrap(), VERSION);
        assert!(db.prepare("SELECT * FROM more").is_err());
    }

    #[test]
    fn the_database_of_another_program_is_left_alone() {
        let mut db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE theirs (a); PRAGMA user_version = 1").unwrap();
        assert!(matches!(migrate(&mut db, STEPS), Err(Fault::Foreign(_))));
    }
}

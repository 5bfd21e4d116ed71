//! The database as its writer has it: opened, brought up to date, written in batches. A batch is one transaction: it is there
//! whole or not at all, and putting it there waits for no disk.

use crate::directory::FILE;
use crate::fault::Fault;
use crate::retain::Bounds;
use crate::schema::{self, STEPS};
use crate::settings::Settings;
use portreeve_policy::Prefix;
use portreeve_workers::protocol::{Ending, Event, EventKind};
use rusqlite::{Connection, OpenFlags, Statement, params};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How long another writer (somebody's sqlite3) may hold us up.
const BUSY: Duration = Duration::from_secs(2);
/// Pages of the log after which it is copied into the database.
const LOG_PAGES: u32 = 1000;
/// Bytes that are left of the log after that.
const LOG_BYTES: u32 = 4 << 20;

/// The database, open for writing.
#[derive(Debug)]
pub struct Store {
    pub(crate) db: Connection,
    pub(crate) path: PathBuf,
    pub(crate) bounds: Bounds,
}

/// Events to be written together.
#[derive(Debug)]
pub struct Batch<'a> {
    /// When the monotonic clock stood at zero.
    pub wall_at_zero: Duration,
    /// Events that were lost before these, which is an event too.
    pub dropped: u64,
    /// The events.
    pub events: &'a [Event<'a>],
}

impl Store {
    /// Opens the database of this directory, or makes it. A damaged one is moved aside, and a new one begun; then a sentence
    /// says so.
    ///
    /// # Errors
    /// It cannot be opened, or is not for this program.
    pub fn open(directory: &Path, settings: &Settings) -> Result<(Self, Option<String>), Fault> {
        let path = directory.join(FILE);
        match Self::open_sound(&path, settings) {
            Ok(store) => Ok((store, None)),
            Err(Fault::Damaged(why)) => {
                let aside = set_aside(&path).map_err(|error| {
                    Fault::Passing(format!("it is damaged ({why}), and cannot be moved aside: {error}"))
                })?;
                let store = Self::open_sound(&path, settings)?;
                Ok((store, Some(format!("the database was damaged ({why}); it is {} now", aside.display()))))
            }
            Err(other) => Err(other),
        }
    }

    /// The same after it has turned out to be damaged: what is left of it goes aside.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn begin_anew(self, settings: &Settings) -> Result<(Self, String), Fault> {
        let path = self.path.clone();
        drop(self);
        let aside = set_aside(&path).map_err(|error| {
            Fault::Passing(format!("the database is damaged, and cannot be moved aside: {error}"))
        })?;
        let store = Self::open_sound(&path, settings)?;
        Ok((store, format!("the database is damaged; it is {} now, and a new one is begun", aside.display())))
    }

    fn open_sound(path: &Path, settings: &Settings) -> Result<Self, Fault> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NOFOLLOW
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut db = Connection::open_with_flags(path, flags)?;
        db.busy_timeout(BUSY)?;
        // Nothing of another program's database is changed.
        schema::check(&db, STEPS)?;
        // Before the first table: pages that became free can be given back.
        db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        // A crash of the machine may cost the last batches, and never the database; nothing waits for the disk but the copying
        // of the log.
        db.pragma_update(None, "synchronous", "NORMAL")?;
        db.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
        db.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
        db.pragma_update(None, "cache_size", -1024)?;
        db.pragma_update(None, "temp_store", "MEMORY")?;
        // Without them a reader that may not write in the directory could not open the database once nobody has it open.
        let mut stays = 1;
        db.file_control(None::<&str>, rusqlite::FileControl::PersistWal(&mut stays))?;
        schema::migrate(&mut db, STEPS)?;
        let bounds = Bounds::new(&db, settings)?;
        let store = Self { db, path: path.to_owned(), bounds };
        // One that is damaged where it is written next shows it here.
        store.last_id()?;
        insertion(&store.db)?;
        Ok(store)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The largest number of an event.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn last_id(&self) -> Result<u64, Fault> {
        // Numbers grow with the events, so the last of those that are here is among the last ones.
        let sql = "SELECT max(id) FROM (SELECT id FROM events ORDER BY seq DESC LIMIT 10000)";
        let last: Option<i64> = self.db.query_row(sql, [], |row| row.get(0))?;
        Ok(u64::try_from(last.unwrap_or(0)).unwrap_or(0))
    }

    /// Writes a batch.
    ///
    /// # Errors
    /// None of it was written.
    pub fn write(&mut self, batch: &Batch<'_>) -> Result<(), Fault> {
        self.bounds.check_log(&self.db, &self.path)?;
        self.db.execute_batch("BEGIN IMMEDIATE")?;
        let written =
            insert_all(&self.db, batch).and_then(|()| self.db.execute_batch("COMMIT").map_err(Fault::from));
        if written.is_err() && !self.db.is_autocommit() {
            // What cannot even be undone is undone by whoever opens the file next.
            let _ = self.db.execute_batch("ROLLBACK");
        }
        written
    }

    /// Keeps no page in memory.
    pub fn shrink(&self) {
        // What cannot be freed stays.
        let _ = self.db.execute_batch("PRAGMA shrink_memory");
    }

    /// Copies the log into the database, so that it is short: for the end.
    pub fn settle(&self) {
        // A reader may prevent it, and then the next writer does it.
        let _ = self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }
}

fn insertion(db: &Connection) -> Result<Statement<'_>, Fault> {
    Ok(db.prepare(
        "INSERT INTO events (id, time, kind, service, source, port, prefix, verdict, reason, rule, pid, status, signal,
         duration, user_cpu, system_cpu, max_rss, bytes_in, bytes_out, count, origin, uid)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    )?)
}

fn insert_all(db: &Connection, batch: &Batch<'_>) -> Result<(), Fault> {
    if batch.dropped > 0 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        db.execute(
            "INSERT INTO events (id, time, kind, count) VALUES (0, ?, 'dropped', ?)",
            params![micros(now), number(batch.dropped)],
        )?;
    }
    let mut statement = insertion(db)?;
    let mut texts = Texts::default();
    for event in batch.events {
        insert(&mut statement, &mut texts, event, batch.wall_at_zero)?;
    }
    Ok(())
}

/// Texts of one event, in the memory of those of the event before.
#[derive(Default)]
struct Texts {
    source: String,
    prefix: String,
    rule: String,
}

fn insert(
    statement: &mut Statement<'_>,
    texts: &mut Texts,
    event: &Event<'_>,
    wall_at_zero: Duration,
) -> Result<(), Fault> {
    let banned = event.banned;
    let whom = banned.map(|banned| banned.network).filter(Prefix::is_host).map(|host| host.address());
    let source = event.peer.map(|peer| peer.ip().to_canonical()).or(whom);
    // Of a connection what counts as one source, of a ban what is banned.
    let of_ban = matches!(event.kind, EventKind::Ban | EventKind::Unban);
    let ban = banned.filter(|_| of_ban).map(|banned| banned.network);
    let prefix = ban.or(source.map(Prefix::subscriber));
    let verdict = match event.kind {
        EventKind::Start | EventKind::Exit => Some("admitted"),
        EventKind::Refuse => Some("refused"),
        EventKind::Scan
        | EventKind::Deny
        | EventKind::Evidence
        | EventKind::Ban
        | EventKind::Unban
        | EventKind::Spared => None,
    };
    let (status, signal) = match event.ended.map(|ended| ended.how) {
        Some(Ending::Exited(status)) => (Some(status), None),
        Some(Ending::Signaled(signal)) => (None, Some(signal)),
        None => (None, None),
    };
    let usage = event.ended.and_then(|ended| ended.usage);
    let bytes = event.ended.and_then(|ended| ended.bytes);
    statement.execute(params![
        number(event.id),
        micros(wall_at_zero + event.at),
        event.kind.word(),
        (!event.service.is_empty()).then_some(event.service),
        source.map(|source| in_text(&mut texts.source, format_args!("{source}"))),
        event.peer.map(|peer| peer.port()),
        prefix
            .map(|prefix| in_text(&mut texts.prefix, format_args!("{}/{}", prefix.address(), prefix.len()))),
        verdict,
        (!event.reason.is_empty()).then_some(event.reason),
        event.rule.map(|(file, line)| in_text(&mut texts.rule, format_args!("{file}:{line}"))),
        (event.pid != 0).then_some(event.pid),
        status,
        signal,
        event.ended.map(|ended| ended.duration_us).or(banned.and_then(|banned| banned.for_us)).map(number),
        usage.map(|usage| number(usage.user_us)),
        usage.map(|usage| number(usage.system_us)),
        usage.map(|usage| number(usage.max_rss_kib)),
        bytes.map(|(from, _)| number(from)),
        bytes.map(|(_, to)| number(to)),
        event.count,
        banned.map(|banned| banned.origin),
        banned.and_then(|banned| banned.uid),
    ])?;
    Ok(())
}

fn in_text<'a>(text: &'a mut String, what: std::fmt::Arguments<'_>) -> &'a str {
    text.clear();
    // A String takes whatever there is.
    let _ = text.write_fmt(what);
    text
}

/// As SQLite has numbers.
pub(crate) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

/// Moves a database with what belongs to it aside; the one that was moved there before goes.
fn set_aside(path: &Path) -> std::io::Result<PathBuf> {
    let name = |path: &Path, end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        PathBuf::from(name)
    };
    let aside = name(path, ".damaged");
    for end in ["-wal", "-shm", ""] {
        match std::fs::rename(name(path, end), name(&aside, end)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(aside)
}

//! Reading the ledger: a database that somebody else writes, or nobody. It is opened for reading alone, and no question keeps it
//! open for long, so that the writer's log does not grow.

use crate::directory::FILE;
use crate::fault::Fault;
use crate::schema;
use rusqlite::{Connection, OpenFlags, Row, params};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Records of one question to the database.
const PAGE: usize = 1000;

/// Which records are wanted.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Not before this, microseconds since 1970.
    pub since: Option<i64>,
    /// Of this service.
    pub service: Option<String>,
    /// From an address of this network: address and length.
    pub source: Option<(IpAddr, u8)>,
    /// With this reason.
    pub reason: Option<String>,
}

/// Who was served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// From when on that is known, microseconds since 1970; None without any event.
    pub since: Option<i64>,
    /// Service, the last time, and how often.
    pub services: Vec<(String, i64, i64)>,
}

/// A record as the database has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the columns of the table, described in docs/guide/ledger.md")]
pub struct Record {
    pub seq: i64,
    pub id: i64,
    pub time: i64,
    pub kind: String,
    pub service: Option<String>,
    pub source: Option<String>,
    pub port: Option<i64>,
    pub prefix: Option<String>,
    pub verdict: Option<String>,
    pub reason: Option<String>,
    pub rule: Option<String>,
    pub pid: Option<i64>,
    pub status: Option<i64>,
    pub signal: Option<i64>,
    pub duration: Option<i64>,
    pub user_cpu: Option<i64>,
    pub system_cpu: Option<i64>,
    pub max_rss: Option<i64>,
    pub bytes_in: Option<i64>,
    pub bytes_out: Option<i64>,
    pub count: i64,
    pub origin: Option<String>,
    pub uid: Option<i64>,
}

const COLUMNS: &str = "seq, id, time, kind, service, source, port, prefix, verdict, reason, rule, pid, status, signal, duration, \
                       user_cpu, system_cpu, max_rss, bytes_in, bytes_out, count, ";
/// What later versions have.
const ADDED: [(usize, &str); 2] = [(2, "origin"), (2, "uid")];

/// The columns of a record in a database of this version.
fn columns(version: usize) -> String {
    let added = ADDED.map(|(since, name)| if version >= since { name } else { "NULL" });
    COLUMNS.to_owned() + &added.join(", ")
}

fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record {
        seq: row.get(0)?,
        id: row.get(1)?,
        time: row.get(2)?,
        kind: row.get(3)?,
        service: row.get(4)?,
        source: row.get(5)?,
        port: row.get(6)?,
        prefix: row.get(7)?,
        verdict: row.get(8)?,
        reason: row.get(9)?,
        rule: row.get(10)?,
        pid: row.get(11)?,
        status: row.get(12)?,
        signal: row.get(13)?,
        duration: row.get(14)?,
        user_cpu: row.get(15)?,
        system_cpu: row.get(16)?,
        max_rss: row.get(17)?,
        bytes_in: row.get(18)?,
        bytes_out: row.get(19)?,
        count: row.get(20)?,
        origin: row.get(21)?,
        uid: row.get(22)?,
    })
}

/// The database, open for reading.
#[derive(Debug)]
pub struct Reader {
    db: Connection,
    path: PathBuf,
    inode: u64,
    seen: Option<i64>,
    /// Of a record.
    columns: String,
}

impl Reader {
    /// Opens the database of this directory.
    ///
    /// # Errors
    /// There is none, it cannot be read, or it is of a newer version.
    pub fn open(directory: &Path) -> Result<Self, Fault> {
        let refused = |error: std::io::Error| {
            Fault::Passing(format!("it cannot be opened: {}", crate::directory::text(&error)))
        };
        // SQLite follows no link then: the directory is the ledger's own, and whoever reads may be root.
        let path = std::fs::canonicalize(directory).map_err(refused)?.join(FILE);
        let inode = std::fs::metadata(&path).map_err(refused)?.ino();
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_NOFOLLOW
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(&path, flags)?;
        // What stands in its schema is not ours to trust.
        db.pragma_update(None, "trusted_schema", false)?;
        db.busy_timeout(Duration::from_secs(5))?;
        let version = schema::version(&db)?;
        if version == 0 || version > schema::VERSION {
            let text = format!("it is of version {version}, and this program reads {}", schema::VERSION);
            return Err(Fault::Foreign(text));
        }
        Ok(Self { db, path, inode, seen: None, columns: columns(version) })
    }

    /// Whether another file is there in its place, which has to be opened then.
    pub fn is_replaced(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|there| there.ino() != self.inode)
    }

    /// Whether it may have changed since this was asked for the last time.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn has_news(&mut self) -> Result<bool, Fault> {
        let now: i64 = self.db.query_row("PRAGMA data_version", [], |row| row.get(0))?;
        Ok(self.seen.replace(now) != Some(now))
    }

    /// The place from which the last `most` records that are wanted begin, for [`Reader::read`].
    ///
    /// # Errors
    /// It cannot be read.
    pub fn place_of_last(&self, filter: &Filter, most: usize) -> Result<i64, Fault> {
        let (mut left, mut before) = (most, i64::MAX);
        let columns = &self.columns;
        let sql = format!("SELECT {columns} FROM events WHERE seq < ?1 ORDER BY seq DESC LIMIT {PAGE}");
        let mut statement = self.db.prepare(&sql)?;
        while left > 0 {
            let (mut any, from) = (false, before);
            let records = statement.query_map(params![from], record)?;
            for found in records {
                let found = found?;
                any = true;
                before = found.seq;
                if filter.wants(&found) {
                    left -= 1;
                    if left == 0 {
                        break;
                    }
                }
            }
            if !any {
                break;
            }
        }
        Ok(before.saturating_sub(1).min(self.last()?))
    }

    /// The place behind the last record.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn last(&self) -> Result<i64, Fault> {
        let last: Option<i64> = self.db.query_row("SELECT max(seq) FROM events", [], |row| row.get(0))?;
        Ok(last.unwrap_or(0))
    }

    /// The place from which records of the filter can begin.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn place_of_first(&self, filter: &Filter) -> Result<i64, Fault> {
        let Some(since) = filter.since else { return Ok(0) };
        let sql = "SELECT min(seq) FROM events WHERE time >= ?1";
        let first: Option<i64> = self.db.query_row(sql, params![since], |row| row.get(0))?;
        Ok(match first {
            Some(first) => first - 1,
            None => self.last()?,
        })
    }

    /// When each service was served last and how often, in the last `most` events; and the time of the first of them.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn served(&self, most: i64) -> Result<Served, Fault> {
        let after = self.last()?.saturating_sub(most);
        let sql = "SELECT min(time) FROM events WHERE seq > ?1";
        let since: Option<i64> = self.db.query_row(sql, params![after], |row| row.get(0))?;
        let sql = "SELECT service, max(time), count(*) FROM events WHERE seq > ?1 AND kind = 'start' AND service IS NOT NULL \
                   GROUP BY service";
        let mut statement = self.db.prepare(sql)?;
        let rows = statement.query_map(params![after], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        Ok(Served { since, services: rows.collect::<Result<_, _>>()? })
    }

    /// Gives the wanted records behind a place to `take`, in their order, until there is none or it answers false. Returns the
    /// place to go on from.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(
        &self,
        filter: &Filter,
        mut place: i64,
        mut take: impl FnMut(&Record) -> bool,
    ) -> Result<i64, Fault> {
        let columns = &self.columns;
        let sql = format!("SELECT {columns} FROM events WHERE seq > ?1 ORDER BY seq LIMIT {PAGE}");
        let mut statement = self.db.prepare(&sql)?;
        loop {
            // A page at a time: whoever writes to a slow terminal shall not keep the writer's log from being emptied.
            let page: Vec<Record> = statement.query_map(params![place], record)?.collect::<Result<_, _>>()?;
            for found in &page {
                place = found.seq;
                if filter.wants(found) && !take(found) {
                    return Ok(place);
                }
            }
            if page.len() < PAGE {
                return Ok(place);
            }
        }
    }
}

impl Filter {
    /// Whether a record is wanted.
    pub fn wants(&self, record: &Record) -> bool {
        let same = |wanted: &Option<String>, has: &Option<String>| wanted.is_none() || wanted == has;
        let within = |(network, length): (IpAddr, u8)| {
            let source = record.source.as_deref().and_then(|source| source.parse().ok());
            match source {
                Some(source) => is_within(source, network, length),
                // A ban of a network is about everybody in it.
                None => record
                    .prefix
                    .as_deref()
                    .and_then(prefix)
                    .is_some_and(|(banned, of_it)| is_within(banned, network, length.min(of_it))),
            }
        };
        self.since.is_none_or(|since| record.time >= since)
            && same(&self.service, &record.service)
            && same(&self.reason, &record.reason)
            && self.source.is_none_or(within)
    }
}

fn prefix(text: &str) -> Option<(IpAddr, u8)> {
    let (address, length) = text.split_once('/')?;
    Some((address.parse().ok()?, length.parse().ok()?))
}

fn is_within(address: IpAddr, network: IpAddr, length: u8) -> bool {
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => {
            let rest = 32u32.saturating_sub(u32::from(length));
            (u64::from(u32::from(a)) >> rest) == (u64::from(u32::from(n)) >> rest)
        }
        (IpAddr::V6(a), IpAddr::V6(n)) => {
            let rest = 128u32.saturating_sub(u32::from(length));
            u128::from(a).checked_shr(rest).unwrap_or(0) == u128::from(n).checked_shr(rest).unwrap_or(0)
        }
        _ => false,
    }
}

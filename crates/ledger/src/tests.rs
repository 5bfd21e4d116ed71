//! The database without the worker: what is written is read, by others too; it is bounded, outlasts damage, and a full disk.

use crate::directory::FILE;
use crate::{Ban, Batch, Fault, Filter, Keep, LEAST_SIZE, Reader, Record, Served, Settings, Store};
use portreeve_workers::protocol::{Banned, Ended, Ending, Event, EventKind, Usage};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

mod retention; // what is deleted, and how much of it at once

/// A directory for one test, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("portreeve-ledger-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Self(std::fs::canonicalize(path).unwrap())
    }

    fn store(&self) -> Store {
        self.store_with(&Settings::default())
    }

    fn store_with(&self, settings: &Settings) -> Store {
        let (store, note) = Store::open(&self.0, settings).unwrap();
        assert_eq!(note, None);
        store
    }

    fn reader(&self) -> Reader {
        Reader::open(&self.0).unwrap()
    }

    fn records(&self, filter: &Filter) -> Vec<Record> {
        let mut all = Vec::new();
        self.reader()
            .read(filter, 0, |record| {
                all.push(record.clone());
                true
            })
            .unwrap();
        all
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn event(id: u64) -> Event<'static> {
    Event {
        kind: EventKind::Start,
        id,
        at: Duration::from_secs(id),
        service: "s1",
        peer: Some("192.0.2.7:4000".parse().unwrap()),
        reason: "",
        rule: None,
        pid: 12,
        count: 1,
        ended: None,
        banned: None,
    }
}

const HOUR: Duration = Duration::from_secs(3600);

fn write(store: &mut Store, events: &[Event<'_>]) -> Result<(), Fault> {
    store.write(&Batch { wall_at_zero: HOUR, dropped: 0, events })
}

/// Events `from..to`, in batches as the supervisor sends them.
fn fill(store: &mut Store, from: u64, to: u64) {
    for first in (from..to).step_by(300) {
        let events: Vec<_> = (first..to.min(first + 300)).map(event).collect();
        write(store, &events).unwrap();
    }
}

/// A ban is about a network: its source is an address only where one address is banned, and whoever asks for one in it sees it.
#[test]
fn bans_are_events_of_their_network() {
    let scratch = Scratch::new();
    let mut store = scratch.store();
    let of = |id, kind, network: &str, uid, for_us| Event {
        kind,
        peer: None,
        service: "",
        pid: 0,
        reason: "why",
        banned: Some(Banned { network: network.parse().unwrap(), origin: "operator", uid, for_us }),
        ..event(id)
    };
    write(
        &mut store,
        &[
            of(1, EventKind::Ban, "198.51.100.0/24", Some(7), None),
            of(2, EventKind::Ban, "2001:db8::9", None, Some(u64::MAX)),
            of(3, EventKind::Unban, "198.51.100.0/24", Some(0), None),
        ],
    )
    .unwrap();
    let from =
        |text: &str, length| Filter { source: Some((text.parse().unwrap(), length)), ..Filter::default() };
    let seen = scratch.records(&from("198.51.100.77", 32));
    assert_eq!(seen.iter().map(|one| &*one.kind).collect::<Vec<_>>(), ["ban", "unban"]);
    assert_eq!((seen[0].source.as_deref(), seen[0].prefix.as_deref()), (None, Some("198.51.100.0/24")));
    assert_eq!((seen[0].uid, seen[0].origin.as_deref(), seen[0].duration), (Some(7), Some("operator"), None));
    assert_eq!((seen[0].service.as_deref(), seen[0].verdict.as_deref()), (None, None));
    let seen = scratch.records(&from("2001:db8::", 64));
    assert_eq!(seen[0].source.as_deref(), Some("2001:db8::9"));
    assert_eq!((seen[0].prefix.as_deref(), seen[0].duration), (Some("2001:db8::9/128"), Some(i64::MAX)));
    assert!(scratch.records(&from("203.0.113.1", 32)).is_empty());
}

/// A database of the first version, which no daemon has opened since: its events are shown without what they do not have.
#[test]
fn an_older_database_is_read_as_it_is() {
    let scratch = Scratch::new();
    let mut db = rusqlite::Connection::open(scratch.0.join(FILE)).unwrap();
    crate::schema::migrate(&mut db, &crate::schema::STEPS[..1]).unwrap();
    db.execute("INSERT INTO events (id, time, kind, service) VALUES (1, 2, 'start', 's1')", []).unwrap();
    drop(db);
    let seen = scratch.records(&Filter::default());
    assert_eq!((seen.len(), seen[0].count, &seen[0].origin), (1, 1, &None));
    let mut store = scratch.store();
    write(&mut store, &[event(3)]).unwrap();
    assert_eq!(scratch.records(&Filter::default()).len(), 2, "brought up to date, with what was there");
}

#[test]
fn every_column_is_written_and_read() {
    let scratch = Scratch::new();
    let mut store = scratch.store();
    let ended = Ended {
        how: Ending::Signaled(9),
        duration_us: 5,
        usage: Some(Usage { user_us: 1, system_us: 2, max_rss_kib: 3 }),
        bytes: Some((4, 6)),
    };
    let exit = Event { kind: EventKind::Exit, ended: Some(ended), ..event(1) };
    let refuse = Event {
        kind: EventKind::Refuse,
        peer: Some("[2001:db8::7:1]:9".parse().unwrap()),
        reason: "address",
        rule: Some(("/etc/xinetd.d/s1", 7)),
        pid: 0,
        count: 3,
        ..event(2)
    };
    store.write(&Batch { wall_at_zero: HOUR, dropped: 8, events: &[exit, refuse] }).unwrap();
    let all = scratch.records(&Filter::default());
    assert_eq!((all[0].kind.as_str(), all[0].count), ("dropped", 8), "the lost ones are an event too");
    assert_eq!(
        all[1],
        Record {
            seq: 2,
            id: 1,
            time: 3_601_000_000,
            kind: "exit".into(),
            service: Some("s1".into()),
            source: Some("192.0.2.7".into()),
            port: Some(4000),
            prefix: Some("192.0.2.7/32".into()),
            verdict: Some("admitted".into()),
            reason: None,
            rule: None,
            pid: Some(12),
            status: None,
            signal: Some(9),
            duration: Some(5),
            user_cpu: Some(1),
            system_cpu: Some(2),
            max_rss: Some(3),
            bytes_in: Some(4),
            bytes_out: Some(6),
            count: 1,
            origin: None,
            uid: None,
        }
    );
    let refused = &all[2];
    assert_eq!(refused.prefix.as_deref(), Some("2001:db8::/64"));
    assert_eq!(refused.verdict.as_deref(), Some("refused"));
    assert_eq!(refused.reason.as_deref(), Some("address"));
    assert_eq!(refused.rule.as_deref(), Some("/etc/xinetd.d/s1:7"));
    assert_eq!((refused.pid, refused.count, refused.status, refused.bytes_in), (None, 3, None, None));
}

#[test]
fn filters_keep_what_is_wanted() {
    let scratch = Scratch::new();
    let mut store = scratch.store();
    let other =
        Event { peer: Some("[2001:db8::7]:9".parse().unwrap()), service: "s2", reason: "time", ..event(2) };
    write(&mut store, &[event(1), other, event(3)]).unwrap();
    let ids = |filter: &Filter| scratch.records(filter).iter().map(|record| record.id).collect::<Vec<_>>();
    assert_eq!(ids(&Filter { service: Some("s2".into()), ..Filter::default() }), [2]);
    assert_eq!(ids(&Filter { reason: Some("time".into()), ..Filter::default() }), [2]);
    assert_eq!(ids(&Filter { since: Some(3_602_000_000), ..Filter::default() }), [2, 3]);
    let from = |network: &str, length| Filter {
        source: Some((network.parse().unwrap(), length)),
        ..Filter::default()
    };
    assert_eq!(ids(&from("192.0.2.0", 24)), [1, 3]);
    assert_eq!(ids(&from("192.0.2.6", 32)), []);
    assert_eq!(ids(&from("0.0.0.0", 0)), [1, 3]);
    assert_eq!(ids(&from("2001:db8::", 64)), [2]);
    assert_eq!(ids(&from("::", 0)), [2]);
    let reader = scratch.reader();
    let last = |most| reader.place_of_last(&Filter::default(), most).unwrap();
    assert_eq!((last(1), last(2), last(9)), (2, 1, 0));
    let since = Filter { since: Some(3_602_000_000), ..Filter::default() };
    assert_eq!(reader.place_of_first(&since).unwrap(), 1);
    let never = Filter { since: Some(i64::MAX), ..Filter::default() };
    assert_eq!(reader.place_of_first(&never).unwrap(), 3);
}

#[test]
fn a_reader_sees_news_and_numbers_go_on() {
    let scratch = Scratch::new();
    let mut store = scratch.store();
    write(&mut store, &[event(70)]).unwrap();
    let mut reader = scratch.reader();
    assert!(reader.has_news().unwrap());
    assert!(!reader.has_news().unwrap());
    write(&mut store, &[event(71)]).unwrap();
    assert!(reader.has_news().unwrap());
    drop(store);
    let store = scratch.store();
    assert_eq!(store.last_id().unwrap(), 71);
    assert!(!reader.is_replaced());
}

#[test]
fn a_damaged_database_goes_aside_and_a_new_one_is_begun() {
    let scratch = Scratch::new();
    std::fs::write(scratch.0.join(FILE), b"this is no database, whatever it is called".repeat(100)).unwrap();
    let (mut store, note) = Store::open(&scratch.0, &Settings::default()).unwrap();
    let note = note.unwrap();
    assert!(note.contains("not a database") && note.contains("ledger.db.damaged"), "{note}");
    fill(&mut store, 0, 3000);
    store.settle();
    drop(store);
    // A page in the middle, as a failing disk leaves it.
    let bytes = std::fs::read(scratch.0.join(FILE)).unwrap();
    let mut broken = bytes.clone();
    broken[4096..].fill(0xff);
    std::fs::write(scratch.0.join(FILE), broken).unwrap();
    let mut reader = scratch.reader();
    let (store, note) = Store::open(&scratch.0, &Settings::default()).unwrap();
    assert!(note.is_some_and(|note| note.contains("damaged")));
    assert_eq!(store.count().unwrap(), 0);
    assert!(reader.is_replaced() && reader.has_news().is_ok());
    let mut files: Vec<_> =
        std::fs::read_dir(&scratch.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    assert!(files.len() <= 6, "one is kept aside, not one for each time: {files:?}");
}

#[test]
fn damage_that_shows_while_writing_costs_the_former_events_alone() {
    let scratch = Scratch::new();
    let mut store = scratch.store();
    fill(&mut store, 0, 5000);
    store.settle();
    let path = scratch.0.join(FILE);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[100..].fill(0xee);
    std::fs::write(&path, bytes).unwrap();
    // What it has in memory would do for a while.
    store.db.release_memory().unwrap();
    let store = match write(&mut store, &[event(5000)]) {
        Err(Fault::Damaged(_)) => store.begin_anew(&Settings::default()).unwrap().0,
        other => panic!("{other:?}"),
    };
    assert_eq!(store.count().unwrap(), 0);
}

#[test]
fn a_newer_or_foreign_database_is_left_alone() {
    let scratch = Scratch::new();
    drop(scratch.store());
    let path = scratch.0.join(FILE);
    let db = rusqlite::Connection::open(&path).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    drop(db);
    let before = std::fs::read(&path).unwrap();
    assert!(matches!(Store::open(&scratch.0, &Settings::default()), Err(Fault::Foreign(_))));
    assert!(matches!(Reader::open(&scratch.0), Err(Fault::Foreign(_))));
    assert!(std::fs::read(&path).unwrap() == before, "not a byte of it is changed");
}

#[test]
fn a_link_in_its_place_is_not_followed() {
    let scratch = Scratch::new();
    let target = scratch.0.join("precious");
    std::fs::write(&target, b"").unwrap();
    std::os::unix::fs::symlink(&target, scratch.0.join(FILE)).unwrap();
    assert!(Store::open(&scratch.0, &Settings::default()).is_err());
    assert_eq!(std::fs::read(&target).unwrap(), b"");
    assert!(Reader::open(&scratch.0).is_err(), "nor by a reader, who may be root");
}

#[test]
fn what_a_writer_left_when_it_was_killed_is_there() {
    let scratch = Scratch::new();
    let mut store = scratch.store();
    fill(&mut store, 0, 900);
    // As after SIGKILL: the files as they are now, opened by another process's writer elsewhere.
    let copy = Scratch::new();
    for name in ["ledger.db", "ledger.db-wal"] {
        std::fs::copy(scratch.0.join(name), copy.0.join(name)).unwrap();
    }
    assert_eq!(copy.store().count().unwrap(), 900);
    // And half of its log, as after a loss of power: whole batches up to somewhere.
    let torn = Scratch::new();
    std::fs::copy(scratch.0.join("ledger.db"), torn.0.join("ledger.db")).unwrap();
    let log = std::fs::read(scratch.0.join("ledger.db-wal")).unwrap();
    std::fs::write(torn.0.join("ledger.db-wal"), &log[..log.len() * 3 / 4]).unwrap();
    let (store, _) = Store::open(&torn.0, &Settings::default()).unwrap();
    assert!([300, 600].contains(&store.count().unwrap()), "{}", store.count().unwrap());
}

#[test]
fn a_reader_that_never_ends_costs_events_and_not_the_disk() {
    let scratch = Scratch::new();
    let mut store = scratch.store();
    fill(&mut store, 0, 300);
    let db = rusqlite::Connection::open(scratch.0.join(FILE)).unwrap();
    db.execute_batch("BEGIN").unwrap();
    let _: i64 = db.query_row("SELECT count(*) FROM events", [], |row| row.get(0)).unwrap();
    let events: Vec<_> = (0..5000).map(event).collect();
    let fault = (0..500).find_map(|_| write(&mut store, &events).err());
    assert!(matches!(&fault, Some(Fault::Passing(why)) if why.contains("log")), "{fault:?}");
    let log = std::fs::metadata(scratch.0.join("ledger.db-wal")).unwrap().len();
    assert!(log < 72 << 20, "{log}");
    db.execute_batch("COMMIT").unwrap();
    write(&mut store, &events).unwrap();
}

#[test]
fn bans_are_kept_listed_and_ended() {
    let scratch = Scratch::new();
    let mut store = scratch.store();
    let ban = |prefix: &str, since, until| Ban {
        prefix: prefix.into(),
        since,
        until,
        origin: "sensor".into(),
        reason: "tripped".into(),
        strikes: 1,
    };
    let strikes = |store: &Store| store.ban_of("192.0.2.1/32").unwrap().map(|ban| ban.strikes);
    store.ban(&[ban("192.0.2.1/32", 10, Some(20)), ban("2001:db8::/64", 10, None)]).unwrap();
    store.ban(&[ban("192.0.2.1/32", 15, Some(30))]).unwrap();
    assert_eq!(strikes(&store), Some(1), "longer, and no strike more");
    let at =
        |store: &Store, now| store.bans(now).unwrap().into_iter().map(|ban| ban.prefix).collect::<Vec<_>>();
    assert_eq!(at(&store, 29), ["192.0.2.1/32", "2001:db8::/64"]);
    assert_eq!(at(&store, 30), ["2001:db8::/64"], "to the microsecond");
    store.ban(&[ban("192.0.2.1/32", 40, Some(50))]).unwrap();
    assert_eq!(strikes(&store), Some(2), "again after it had ended");
    drop(store);
    let mut store = scratch.store();
    assert_eq!(strikes(&store), Some(2));
    store.unban(&["192.0.2.1/32".into(), "192.0.2.9/32".into()]).unwrap();
    assert_eq!(strikes(&store), None);
    assert_eq!(at(&store, 45), ["2001:db8::/64"]);
    while store.retain_at(HOUR * 24 * 365).unwrap() {}
    assert_eq!(at(&store, 45), ["2001:db8::/64"], "for ever is for ever");
}

#[test]
fn the_directory_follows_the_settings() {
    use crate::directory::{Place, prepare};
    let settings = |keep| Settings { keep, ..Settings::default() };
    assert!(matches!(prepare(&settings(Keep::Off)), Place::None(true, _)));
    let relative = prepare(&settings(Keep::In("there".into())));
    assert!(matches!(&relative, Place::None(false, why) if why.contains("begin with /")), "{relative:?}");
    let scratch = Scratch::new();
    let link = scratch.0.join("link");
    std::os::unix::fs::symlink(&scratch.0, &link).unwrap();
    assert!(matches!(prepare(&settings(Keep::In(link))), Place::None(false, _)));
    let open = scratch.0.join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    if portreeve_sys::process::is_root() {
        let refused = prepare(&settings(Keep::In(open)));
        assert!(matches!(&refused, Place::None(false, why) if why.contains("others")), "{refused:?}");
    }
    let new = scratch.0.join("new");
    assert_eq!(prepare(&settings(Keep::In(new.clone()))), Place::Here(new.clone()));
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&new).unwrap());
    assert_eq!(mode & 0o027, 0, "the group does not write, and others do nothing: {mode:o}");
}

/// Only what is asked for is in the way of the test below.
fn is_empty(directory: &Path) -> bool {
    std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none())
}

#[test]
fn without_a_ledger_nothing_is_made() {
    let scratch = Scratch::new();
    let settings = Settings { keep: Keep::In(scratch.0.join("a/b")), ..Settings::default() };
    assert!(matches!(crate::directory::prepare(&settings), crate::directory::Place::None(false, _)));
    assert!(is_empty(&scratch.0));
}

#[test]
fn who_was_served_is_counted_within_a_bound() {
    let scratch = Scratch::new();
    let mut store = scratch.store();
    assert_eq!(scratch.reader().served(100).unwrap(), Served::default());
    fill(&mut store, 1, 11);
    write(
        &mut store,
        &[Event { kind: EventKind::Refuse, ..event(11) }, Event { service: "s2", ..event(12) }],
    )
    .unwrap();
    let micros = |id: i64| 3_600_000_000 + id * 1_000_000;
    let all = scratch.reader().served(100).unwrap();
    assert_eq!(all.since, Some(micros(1)));
    assert_eq!(all.services, [("s1".to_owned(), micros(10), 10), ("s2".to_owned(), micros(12), 1)]);
    let some = scratch.reader().served(4).unwrap();
    assert_eq!((some.since, some.services[0].2), (Some(micros(9)), 2));
}

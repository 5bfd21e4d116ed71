//! The questions in docs/guide/ledger.md are answered: by the library that writes the database, and by the sqlite3 of the machine.

#![allow(clippy::unwrap_used, reason = "a test: its helpers too")]

#[path = "../../../compliance/src/skip.rs"]
#[allow(dead_code, unreachable_pub, reason = "these tests use a part of it")]
mod skip;

use portreeve_ledger::{Batch, FILE, Settings, Store};
use portreeve_workers::protocol::{Banned, Ended, Ending, Event, EventKind};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const GUIDE: &str = include_str!("../../../docs/guide/ledger.md");

fn questions() -> Vec<&'static str> {
    GUIDE.split("```sql\n").skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

/// One client served, one that failed, one refused, one banned.
fn sample(directory: &std::path::Path) {
    let (mut store, _) = Store::open(directory, &Settings::default()).unwrap();
    let start = Event {
        kind: EventKind::Start,
        id: 1,
        at: Duration::from_secs(1),
        service: "s1",
        peer: Some("192.0.2.7:4000".parse().unwrap()),
        reason: "",
        rule: None,
        pid: 12,
        count: 1,
        ended: None,
        banned: None,
    };
    let ended = |how| Some(Ended { how, duration_us: 2_000, usage: None, bytes: None });
    let network = "198.51.100.0/24".parse().unwrap();
    let banned = Banned { network, origin: "operator", uid: Some(0), for_us: None };
    let events = [
        start,
        Event { kind: EventKind::Exit, ended: ended(Ending::Exited(0)), ..start },
        Event { id: 2, ..start },
        Event { id: 2, kind: EventKind::Exit, ended: ended(Ending::Signaled(9)), ..start },
        Event { id: 3, kind: EventKind::Refuse, reason: "address", pid: 0, ..start },
        Event { id: 4, kind: EventKind::Ban, peer: None, service: "", pid: 0, banned: Some(banned), ..start },
    ];
    let wall_at_zero = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    store.write(&Batch { wall_at_zero, dropped: 0, events: &events }).unwrap();
}

#[test]
fn the_questions_of_the_guide_are_answered() {
    let directory: PathBuf = std::env::temp_dir().join(format!("portreeve-guide-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let directory = std::fs::canonicalize(directory).unwrap();
    sample(&directory);
    let path = directory.join(FILE);
    let questions = questions();
    assert!(questions.len() >= 6, "they were found");
    let with_tool = skip::has_programs(&["sqlite3"]);
    for question in &questions {
        let db =
            rusqlite::Connection::open_with_flags(&path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let mut statement = db.prepare(question).unwrap_or_else(|error| panic!("{question}: {error}"));
        let mut rows = statement.query([]).unwrap();
        let mut count = 0;
        while rows.next().unwrap_or_else(|error| panic!("{question}: {error}")).is_some() {
            count += 1;
        }
        // The one about a certain moment finds nobody.
        assert!(count > 0 || question.contains("2026-"), "{question}");
        if with_tool {
            let output = Command::new("sqlite3").arg("-readonly").arg(&path).arg(question).output().unwrap();
            assert!(output.status.success(), "{question}: {}", String::from_utf8_lossy(&output.stderr));
            let lines = String::from_utf8(output.stdout).unwrap().lines().count();
            assert_eq!(lines, count, "{question}: the same answer");
        }
    }
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn the_guide_names_every_column() {
    let directory: PathBuf = std::env::temp_dir().join(format!("portreeve-columns-{}", std::process::id()));
    std::fs::create_dir(&directory).unwrap();
    let directory = std::fs::canonicalize(directory).unwrap();
    sample(&directory);
    let db = rusqlite::Connection::open(directory.join(FILE)).unwrap();
    for table in ["events", "bans"] {
        let mut statement = db.prepare(&format!("SELECT name FROM pragma_table_info('{table}')")).unwrap();
        let names = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        for name in names.map(Result::unwrap) {
            let named =
                GUIDE.split('`').skip(1).step_by(2).any(|code| code.split(' ').any(|word| word == name));
            assert!(named, "{table}.{name}");
        }
    }
    assert!(GUIDE.contains(&format!("now {}", portreeve_ledger::VERSION)));
    std::fs::remove_dir_all(&directory).unwrap();
}

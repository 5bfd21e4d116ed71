//! The worker as the supervisor hires it, behind its walls: this program runs itself as a child, which becomes the worker. What it
//! writes is there for others, after it was killed and on a disk that was full.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test with its own main")]

#[path = "worker/hired.rs"]
mod hired;
#[path = "../../../compliance/src/skip.rs"]
#[allow(dead_code, unreachable_pub, reason = "these tests use a part of it")]
mod skip;

use hired::{Hired, batch, batch_since};
use portreeve_ledger::{Filter, Keep, LEAST_SIZE, Reader, Settings};
use portreeve_sys::process::is_root;
use portreeve_workers::protocol::{BanOrder, FromLedger, KeptBan, Maker, Missing};
use skip::{Reason, has_programs, skip};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

const CASES: &[(&str, fn())] = &[
    ("a_confined_ledger_writes_what_it_is_sent", a_confined_ledger_writes_what_it_is_sent),
    ("what_was_acknowledged_is_there_after_a_kill", what_was_acknowledged_is_there_after_a_kill),
    ("a_list_is_kept_whole_or_not_at_all", a_list_is_kept_whole_or_not_at_all),
    ("what_is_too_much_and_too_old_goes_while_it_writes", what_is_too_much_and_too_old_goes_while_it_writes),
    ("it_keeps_little_in_memory_while_nothing_comes", it_keeps_little_in_memory_while_nothing_comes),
    ("a_full_disk_costs_events_until_there_is_room", a_full_disk_costs_events_until_there_is_room),
    (
        "without_a_ledger_it_says_why_and_goes_when_dismissed",
        without_a_ledger_it_says_why_and_goes_when_dismissed,
    ),
    ("members_of_the_group_read_it_and_nobody_else", members_of_the_group_read_it_and_nobody_else),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().map(String::as_str) == Some("--child") {
        return child(&words[1], &words[2..]);
    }
    let wanted: Vec<&String> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str()));
    let cases: Vec<_> = CASES.iter().filter(|(name, _)| is_wanted(name)).collect();
    if words.iter().any(|word| word == "--list") {
        cases.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for (name, case) in &cases {
        let thread = std::thread::Builder::new().name((*name).to_owned()).spawn(case).unwrap();
        let ok = thread.join().is_ok();
        println!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
        failed += usize::from(!ok);
    }
    let (word, passed) = (if failed == 0 { "ok" } else { "FAILED" }, cases.len() - failed);
    let left_out = CASES.len() - cases.len();
    println!("test result: {word}. {passed} passed; {failed} failed; 0 ignored; {left_out} filtered out");
    ExitCode::from(u8::from(failed != 0))
}

fn child(role: &str, words: &[String]) -> ExitCode {
    match role {
        "worker" => {
            let channel = portreeve_sys::stdio::take_third().unwrap();
            let keep = match words[1].as_str() {
                "off" => Keep::Off,
                directory => Keep::In(directory.into()),
            };
            let mut settings = Settings { keep, ..Settings::default() };
            if let [_, _, most_bytes, seconds] = words {
                settings.most_bytes = most_bytes.parse().unwrap();
                settings.keep_for = Duration::from_secs(seconds.parse().unwrap());
            }
            portreeve_ledger::main([words[0].clone().into()], channel, Ok(settings))
        }
        // As a member of a group, or of none: how many events there are to read.
        "read" => {
            let number = |at: usize| words[at].parse::<u32>().unwrap();
            portreeve_sys::process::become_user(number(1), number(2)).unwrap();
            match count(Path::new(&words[0])) {
                Ok(count) => println!("{count}"),
                Err(why) => println!("no: {why}"),
            }
            ExitCode::SUCCESS
        }
        // In a mount namespace of its own.
        "full" => {
            full_disk(Path::new(&words[0]));
            ExitCode::SUCCESS
        }
        other => panic!("no role {other}"),
    }
}

fn count(directory: &Path) -> Result<usize, String> {
    let reader = Reader::open(directory).map_err(|fault| fault.to_string())?;
    let mut count = 0;
    let filter = Filter::default();
    reader
        .read(&filter, 0, |_| {
            count += 1;
            true
        })
        .map_err(|fault| fault.to_string())?;
    Ok(count)
}

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("portreeve-ledger-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        // Other users shall find the way.
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        Self(path)
    }

    fn ledger(&self) -> PathBuf {
        self.0.join("ledger")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn a_confined_ledger_writes_what_it_is_sent() {
    let scratch = Scratch::new("writes");
    let mut worker = Hired::new(scratch.ledger().to_str().unwrap());
    let missing = worker.ready();
    let kernel = [Missing::Landlock, Missing::LandlockPart, Missing::Seccomp, Missing::OwnUser];
    for part in &missing {
        assert!(kernel.contains(part), "{part:?}");
    }
    assert!(!is_root() || !missing.contains(&Missing::OwnUser));
    match worker.hear() {
        FromLedger::Opened { path, last_id: 0, note, .. } => {
            assert_eq!(
                (path.as_str(), note.as_str()),
                (scratch.ledger().join("ledger.db").to_str().unwrap(), "")
            );
        }
        other => panic!("{other:?}"),
    }
    for first in (0..5000).step_by(100) {
        worker.send(&batch(first, 100, 0));
        match worker.hear() {
            FromLedger::Written { written: 100, lost: 0, trouble: None, bytes } => assert!(bytes > 0),
            other => panic!("{other:?}"),
        }
    }
    // What is in the channel when the supervisor leaves is written all the same.
    worker.send(&batch(5000, 100, 0));
    worker.dismiss();
    assert_eq!(count(&scratch.ledger()), Ok(5100));
    let files: Vec<_> = std::fs::read_dir(scratch.ledger()).unwrap().map(|entry| entry.unwrap()).collect();
    for file in &files {
        let meta = file.metadata().unwrap();
        assert_eq!(meta.mode() & 0o777, 0o640, "{file:?}");
        assert!(!is_root() || meta.uid() != 0, "{file:?} belongs to the ledger's own user");
    }
    // The next one goes on from there.
    let mut worker = Hired::new(scratch.ledger().to_str().unwrap());
    worker.ready();
    assert!(matches!(worker.hear(), FromLedger::Opened { last_id: 5099, .. }));
    worker.dismiss();
}

fn what_was_acknowledged_is_there_after_a_kill() {
    let scratch = Scratch::new("killed");
    let mut acknowledged = 0;
    for _ in 0..5 {
        let mut worker = Hired::new(scratch.ledger().to_str().unwrap());
        worker.ready();
        assert!(matches!(worker.hear(), FromLedger::Opened { note, .. } if note.is_empty()));
        for first in (0..2000).step_by(100) {
            worker.send(&batch(first, 100, 0));
        }
        for _ in 0..7 {
            let FromLedger::Written { written, lost: 0, .. } = worker.hear() else { panic!("not written") };
            acknowledged += written as usize;
        }
        worker.kill();
        let there = count(&scratch.ledger()).unwrap();
        assert!(there >= acknowledged, "{there} of {acknowledged}");
        assert_eq!(there % 100, 0, "whole batches");
        acknowledged = there;
    }
}

/// It may be large, it may keep for a minute; nothing that comes is lost for that.
fn what_is_too_much_and_too_old_goes_while_it_writes() {
    let scratch = Scratch::new("bounded");
    let mut worker = Hired::bounded(scratch.ledger().to_str().unwrap(), LEAST_SIZE, 60);
    worker.ready();
    assert!(matches!(worker.hear(), FromLedger::Opened { .. }));
    let write = |worker: &mut Hired, batch: &[u8], count: u32| {
        worker.send(batch);
        match worker.hear() {
            FromLedger::Written { written, lost: 0, trouble: None, .. } => assert_eq!(written, count),
            other => panic!("{other:?}"),
        }
    };
    for first in (0..40_000).step_by(300) {
        write(&mut worker, &batch(first, 300, 0), 300);
    }
    let there = count(&scratch.ledger()).unwrap();
    assert!((1000..20_000).contains(&there), "{there} of 40,200");
    // Those of 1970 are not too much, but too old.
    write(&mut worker, &batch_since(Duration::ZERO, 50_000, 100), 100);
    std::thread::sleep(Duration::from_millis(1100));
    write(&mut worker, &batch(60_000, 1, 0), 1);
    let old = || {
        let mut old = 0;
        let reader = Reader::open(&scratch.ledger()).unwrap();
        reader
            .read(&Filter::default(), 0, |one| {
                old += usize::from((50_000..60_000).contains(&one.id));
                true
            })
            .unwrap();
        old
    };
    let gone = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        old() == 0
    });
    assert!(gone, "{} old events are left", old());
    worker.dismiss();
}

/// A megabyte of pages and what SQLite has for code are given back, and come again with the next events.
fn it_keeps_little_in_memory_while_nothing_comes() {
    let scratch = Scratch::new("rests");
    let mut worker = Hired::new(scratch.ledger().to_str().unwrap());
    worker.ready();
    assert!(matches!(worker.hear(), FromLedger::Opened { .. }));
    let write = |worker: &mut Hired, first: u64| {
        for first in (first..first + 6000).step_by(300) {
            worker.send(&batch(first, 300, 0));
            assert!(matches!(worker.hear(), FromLedger::Written { written: 300, lost: 0, .. }));
        }
        worker.resident_kib()
    };
    let busy = write(&mut worker, 0);
    let mut idle = busy;
    for _ in 0..100 {
        std::thread::sleep(Duration::from_millis(50));
        idle = worker.resident_kib();
        if idle + 1500 < busy {
            break;
        }
    }
    assert!(idle + 1500 < busy, "{busy} KiB while it wrote, {idle} KiB once it waits");
    write(&mut worker, 6000);
    worker.dismiss();
    assert_eq!(count(&scratch.ledger()), Ok(12_000));
}

/// Whoever ends in the midst of a list, nothing of it is there; what was said of a network meanwhile is the later word.
fn a_list_is_kept_whole_or_not_at_all() {
    let scratch = Scratch::new("gathered");
    let ban = |network: &str, reason: &str| KeptBan {
        network: network.to_owned(),
        since: 1,
        until: None,
        maker: Maker::Operator,
        strikes: 0,
        reason: reason.to_owned(),
    };
    let begin = || {
        let mut worker = Hired::new(scratch.ledger().to_str().unwrap());
        worker.ready();
        assert!(matches!(worker.hear(), FromLedger::Opened { .. }));
        worker
    };
    let order = |worker: &mut Hired, order: &BanOrder| {
        let mut bytes = Vec::new();
        order.encode(&mut bytes).unwrap();
        worker.send(&bytes);
        let is_last = *order == BanOrder::KeepGathered;
        match worker.hear() {
            FromLedger::Kept { trouble, gathered } => assert_eq!((trouble.as_str(), gathered), ("", is_last)),
            other => panic!("{other:?}"),
        }
    };
    let there = |worker: &mut Hired| {
        let mut bytes = Vec::new();
        BanOrder::Recall.encode(&mut bytes).unwrap();
        worker.send(&bytes);
        match worker.hear() {
            FromLedger::Recalled { bans, last: true, .. } => {
                bans.into_iter().map(|ban| format!("{} {}", ban.network, ban.reason)).collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        }
    };
    let list = |from: u8| {
        BanOrder::Gather((from..from + 3).map(|n| ban(&format!("192.0.2.{n}/32"), "listed")).collect())
    };
    let mut worker = begin();
    order(&mut worker, &list(1));
    order(&mut worker, &BanOrder::Keep(vec![ban("198.51.100.1/32", "alone")]));
    worker.kill();
    let mut worker = begin();
    assert_eq!(there(&mut worker), ["198.51.100.1/32 alone"]);
    order(&mut worker, &list(1));
    // The supervisor has gone.
    worker.dismiss();
    let mut worker = begin();
    order(&mut worker, &list(1));
    // It begins anew.
    assert_eq!(there(&mut worker), ["198.51.100.1/32 alone"]);
    order(&mut worker, &list(1));
    order(&mut worker, &BanOrder::Forget(vec!["192.0.2.2/32".to_owned()]));
    order(&mut worker, &BanOrder::Keep(vec![ban("192.0.2.3/32", "by hand")]));
    order(&mut worker, &list(4));
    order(&mut worker, &BanOrder::KeepGathered);
    worker.kill();
    let mut worker = begin();
    assert_eq!(
        there(&mut worker),
        [
            "192.0.2.1/32 listed",
            "192.0.2.3/32 by hand",
            "192.0.2.4/32 listed",
            "192.0.2.5/32 listed",
            "192.0.2.6/32 listed",
            "198.51.100.1/32 alone"
        ]
    );
    // Forgotten together, or not at all; who is banned meanwhile stays.
    let leave =
        |from: u8| BanOrder::GatherForgotten((from..from + 3).map(|n| format!("192.0.2.{n}/32")).collect());
    order(&mut worker, &leave(1));
    worker.kill();
    let mut worker = begin();
    assert_eq!(there(&mut worker).len(), 6);
    order(&mut worker, &leave(1));
    // It begins anew.
    assert_eq!(there(&mut worker).len(), 6);
    order(&mut worker, &BanOrder::ForgetGathered);
    assert_eq!(there(&mut worker).len(), 6);
    order(&mut worker, &leave(1));
    order(&mut worker, &BanOrder::Keep(vec![ban("192.0.2.3/32", "anew")]));
    order(&mut worker, &leave(4));
    order(&mut worker, &BanOrder::Gather(vec![ban("192.0.2.5/32", "of a list")]));
    order(&mut worker, &BanOrder::KeepGathered);
    order(&mut worker, &BanOrder::ForgetGathered);
    worker.kill();
    let mut worker = begin();
    assert_eq!(there(&mut worker), ["192.0.2.3/32 anew", "192.0.2.5/32 of a list", "198.51.100.1/32 alone"]);
    worker.dismiss();
}

fn without_a_ledger_it_says_why_and_goes_when_dismissed() {
    for (keep, as_wanted) in [("off", true), ("/nonexistent/a/b", false)] {
        let mut worker = Hired::new(keep);
        worker.ready();
        match worker.hear() {
            FromLedger::Closed { wanted, why } => {
                assert_eq!(wanted, as_wanted, "{why}");
                assert!(as_wanted || why.contains("No such file or directory"), "{why}");
            }
            other => panic!("{other:?}"),
        }
        worker.send(&batch(0, 1, 0));
        worker.dismiss();
    }
}

fn a_full_disk_costs_events_until_there_is_room() {
    if !is_root() {
        return skip(Reason::NoRoot);
    }
    if !has_programs(&["unshare", "mount"]) {
        return;
    }
    let works = Command::new("unshare").args(["-m", "true"]).stderr(Stdio::null()).status();
    if !works.unwrap().success() {
        return skip(Reason::NoNamespaces);
    }
    let scratch = Scratch::new("full");
    let script = "mount -t tmpfs -o size=1m,mode=755 tmpfs \"$1\" && exec \"$0\" --child full \"$1\"";
    let status = Command::new("unshare")
        .args(["-m", "sh", "-c", script])
        .args([std::env::current_exe().unwrap().as_path(), &scratch.0])
        .status();
    assert!(status.unwrap().success());
}

/// A file system of 1 MiB that somebody else fills.
fn full_disk(disk: &Path) {
    let directory = disk.join("ledger");
    let mut worker = Hired::new(directory.to_str().unwrap());
    worker.ready();
    assert!(matches!(worker.hear(), FromLedger::Opened { .. }));
    worker.send(&batch(0, 100, 0));
    assert!(matches!(worker.hear(), FromLedger::Written { written: 100, .. }));
    std::fs::write(disk.join("filler"), vec![1; 1 << 20]).unwrap_err();
    let (mut written, mut lost, mut troubles) = (100, 0, Vec::new());
    for n in 1..40 {
        worker.send(&batch(n * 100, 100, 0));
        let FromLedger::Written { written: more, lost: gone, trouble, .. } = worker.hear() else { panic!() };
        (written, lost) = (written + more, lost + gone);
        troubles.extend(trouble);
    }
    assert!(lost > 0 && troubles.len() == 1 && troubles[0].contains("full"), "{lost} lost, {troubles:?}");
    std::fs::remove_file(disk.join("filler")).unwrap();
    worker.send(&batch(4000, 100, u64::from(lost)));
    assert!(
        matches!(worker.hear(), FromLedger::Written { written: 100, lost: 0, trouble: Some(none), .. } if none.is_empty())
    );
    worker.dismiss();
    assert_eq!(count(&directory), Ok(written as usize + 100 + 1), "with the one that counts the lost");
}

fn members_of_the_group_read_it_and_nobody_else() {
    if !is_root() {
        return skip(Reason::NoRoot);
    }
    let scratch = Scratch::new("read");
    let directory = scratch.ledger();
    let mut worker = Hired::new(directory.to_str().unwrap());
    worker.ready();
    worker.hear();
    worker.send(&batch(0, 100, 0));
    worker.hear();
    let gid = std::fs::metadata(&directory).unwrap().gid();
    let read_as = |gid: u32| {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--child", "read", directory.to_str().unwrap(), "4242", &gid.to_string()])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(read_as(gid), "100\n", "while it is written");
    assert!(read_as(4242).starts_with("no: "), "{}", read_as(4242));
    worker.dismiss();
    assert_eq!(read_as(gid), "100\n", "and when nobody writes");
}

//! What a confined worker may not do, what is left of it without root, and that it ends with its supervisor.

use crate::skip::{Reason, skip};
use crate::tried::{Tried, lacks};
use crate::{again, is_root};
use portreeve_sys::process;
use portreeve_workers::confine;
use portreeve_workers::protocol::{Missing, Worker};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode, Stdio};

pub(crate) fn all_but_the_resolver_reach_nothing() {
    for worker in ["builtin", "header", "proxy", "registrar", "ledger", "sensor"] {
        let tried = Tried::by(&["try", worker]);
        if !lacks(&tried, Missing::Seccomp) {
            tried.may_only(&["memory"]);
        }
        let status = tried.status();
        assert!(status.contains("NoNewPrivs:\t1"), "{status}");
        assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
        tried.end();
    }
}

pub(crate) fn the_resolver_reads_where_names_live_and_nowhere_else() {
    let tried = Tried::by(&["try", "resolver"]);
    let mut allowed = vec!["read /etc/passwd", "socket", "connect", "connect by sending", "thread", "memory"];
    if lacks(&tried, Missing::Seccomp) || lacks(&tried, Missing::Landlock) {
        return tried.end();
    }
    if tried.has(&format!("missing: {}", Missing::LandlockPart.word())) {
        allowed.extend(["listen", "signal parent"].iter().filter(|name| tried.has(&format!("{name}: yes"))));
    }
    tried.may_only(&allowed);
    tried.end();
}

pub(crate) fn another_program_is_death() {
    if !std::fs::read_to_string("/proc/self/status").unwrap().contains("Seccomp:") {
        return skip(Reason::NoSeccomp);
    }
    for worker in ["builtin", "header", "resolver", "proxy", "registrar", "ledger", "sensor"] {
        let output = again(&["exec", worker]).stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.signal(), Some(Signal::SYS.as_raw()), "{worker}: {output:?}");
        assert!(!output.status.core_dumped());
    }
}

pub(crate) fn root_is_given_up() {
    if !is_root() {
        return;
    }
    let mut users = Vec::new();
    for worker in ["builtin", "header", "resolver", "proxy", "registrar", "ledger", "sensor"] {
        let tried = Tried::by(&["try", worker]);
        let status = tried.status();
        let ids = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            line.split_whitespace().map(|n| n.parse::<u32>().unwrap()).collect::<Vec<_>>()
        };
        let (uid, gid) = (ids("Uid:"), ids("Gid:"));
        assert!(uid[0] != 0 && uid.iter().all(|n| *n == uid[0]), "{status}");
        assert!(gid[0] != 0 && gid.iter().all(|n| *n == gid[0]), "{status}");
        assert_eq!(ids("Groups:"), [0u32; 0], "{status}");
        assert!(!tried.has(&format!("missing: {}", Missing::OwnUser.word())));
        users.push(uid[0]);
        tried.end();
    }
    users.sort_unstable();
    users.dedup();
    assert_eq!(users.len(), 7, "workers must not share a user");
}

pub(crate) fn without_root_only_the_own_user_is_missing() {
    let role = if process::is_root() { "unprivileged" } else { "as it is" };
    let tried = Tried::by(&["try", "builtin", role]);
    assert!(tried.has(&format!("missing: {}", Missing::OwnUser.word())), "{:?}", tried.lines);
    for part in [Missing::NoNewPrivileges, Missing::ParentDeath, Missing::Limits, Missing::Dumpable] {
        assert!(!tried.has(&format!("missing: {}", part.word())), "{:?}", tried.lines);
    }
    if !lacks(&tried, Missing::Seccomp) {
        tried.may_only(&["memory"]);
    }
    tried.end();
}

pub(crate) fn a_root_that_may_not_change_users_is_confined_all_the_same() {
    if !is_root() {
        return;
    }
    let whole = Tried::by(&["try", "builtin"]);
    let walls = !lacks(&whole, Missing::Landlock) && !lacks(&whole, Missing::Seccomp);
    whole.end();
    // Whether it runs depends on the other walls; on a kernel without them it must not.
    let mut tried = again(&["try", "builtin", "powerless"]).spawn().unwrap();
    drop(tried.stdin.take());
    let mut out = String::new();
    tried.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!(tried.wait().unwrap().success(), walls, "{out}");
    if !walls {
        return;
    }
    assert!(out.contains(&format!("missing: {}", Missing::OwnUser.word())), "{out}");
    assert!(
        !out.contains(": yes") || out.matches(": yes").count() == 1 && out.contains("memory: yes"),
        "{out}"
    );
}

pub(crate) fn a_worker_ends_with_its_supervisor() {
    let mut supervisor = again(&["orphan"]).spawn().unwrap();
    let stdin = supervisor.stdin.take().unwrap();
    let mut out = BufReader::new(supervisor.stdout.take().unwrap());
    let mut line = String::new();
    while line != "end\n" {
        line.clear();
        assert_ne!(out.read_line(&mut line).unwrap(), 0, "the worker ended early");
    }
    kill_process(Pid::from_child(&supervisor), Signal::KILL).unwrap();
    supervisor.wait().unwrap();
    // The worker's standard input is still open, so only the supervisor's death can end it and close this pipe.
    let limit = Timespec { tv_sec: 30, tv_nsec: 0 };
    let n = poll(&mut [PollFd::new(out.get_ref(), PollFlags::IN)], Some(&limit)).unwrap();
    assert_eq!(n, 1, "the worker lives on");
    assert_eq!(out.read_line(&mut line).unwrap(), 0);
    drop(stdin);
}

/// One that is busy and looks at nothing ends with the last who has the other end of what its life hangs on, and not with the process
/// that has started it.
pub(crate) fn a_worker_ends_with_its_lifeline() {
    let tried = Tried::by(&["try", "builtin", "hanging"]);
    assert!(!tried.has(&format!("missing: {}", Missing::ParentDeath.word())), "{:?}", tried.lines);
    tried.killed();

    let mut supervisor = again(&["orphan", "hanging"]).spawn().unwrap();
    let stdin = supervisor.stdin.take().unwrap();
    let mut out = BufReader::new(supervisor.stdout.take().unwrap());
    let mut line = String::new();
    while line != "end\n" {
        line.clear();
        assert_ne!(out.read_line(&mut line).unwrap(), 0, "the worker ended early");
    }
    kill_process(Pid::from_child(&supervisor), Signal::KILL).unwrap();
    supervisor.wait().unwrap();
    let limit = Timespec { tv_sec: 0, tv_nsec: 300_000_000 };
    let n = poll(&mut [PollFd::new(out.get_ref(), PollFlags::IN)], Some(&limit)).unwrap();
    assert_eq!(n, 0, "the worker has ended");
    drop(stdin);
    assert_eq!(out.read_line(&mut line).unwrap(), 0, "it ends");
}

/// The child that must die: it confines itself and calls for another program.
pub(crate) fn run_another(words: &[String]) -> ExitCode {
    confine(Worker::by_name(words.first().unwrap()).unwrap(), None, None).unwrap();
    let error = Command::new("/bin/true").exec();
    println!("still here: {error}");
    ExitCode::FAILURE
}

/// A supervisor that dies at once and leaves a worker behind, which holds this standard output.
pub(crate) fn leave_an_orphan(words: &[String]) {
    let how = words.first().map_or("", String::as_str);
    let worker =
        again(&["try", "builtin", how]).stdin(Stdio::inherit()).stdout(Stdio::inherit()).spawn().unwrap();
    // Not before the worker is confined: it says so by writing, which our parent reads.
    let _ = std::io::stdin().read(&mut [0; 1]);
    drop(worker);
}

//! The walls around real workers: this program runs itself as a child, which confines itself and then tries what it must not,
//! or serves as the supervisor's worker would. As root it also shows that root is given up. Here: the list of tests, their
//! account in libtest's words, and the roles of the children.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test with its own main")]

#[path = "confinement/builtin.rs"]
mod builtin;
#[path = "confinement/header.rs"]
mod header;
#[path = "confinement/hired.rs"]
mod hired;
#[path = "confinement/proxy.rs"]
mod proxy;
#[path = "confinement/resolver.rs"]
mod resolver;
#[path = "confinement/sensor.rs"]
mod sensor;
#[path = "../../../compliance/src/skip.rs"]
#[allow(dead_code, unreachable_pub, reason = "these tests use a part of it")]
mod skip;
#[path = "confinement/tried.rs"]
mod tried;
#[path = "confinement/walls.rs"]
mod walls;
#[path = "confinement/zone.rs"]
mod zone;

use portreeve_workers::main as worker_main;
use skip::{Reason, has_programs, skip};
use std::process::{Command, ExitCode, Stdio};

const CASES: &[(&str, fn())] = &[
    ("all_but_the_resolver_reach_nothing", walls::all_but_the_resolver_reach_nothing),
    (
        "the_resolver_reads_where_names_live_and_nowhere_else",
        walls::the_resolver_reads_where_names_live_and_nowhere_else,
    ),
    ("another_program_is_death", walls::another_program_is_death),
    ("root_is_given_up", walls::root_is_given_up),
    ("without_root_only_the_own_user_is_missing", walls::without_root_only_the_own_user_is_missing),
    (
        "a_root_that_may_not_change_users_is_confined_all_the_same",
        walls::a_root_that_may_not_change_users_is_confined_all_the_same,
    ),
    ("a_worker_ends_with_its_supervisor", walls::a_worker_ends_with_its_supervisor),
    ("a_worker_ends_with_its_lifeline", walls::a_worker_ends_with_its_lifeline),
    ("a_confined_builtin_serves_everything", builtin::a_confined_builtin_serves_everything),
    ("what_was_sent_to_a_crowd_is_not_answered", builtin::what_was_sent_to_a_crowd_is_not_answered),
    ("a_confined_proxy_carries", proxy::a_confined_proxy_carries),
    ("the_sensor_sends_nothing", sensor::the_sensor_sends_nothing),
    ("a_confined_header_worker_reads", header::a_confined_header_worker_reads),
    ("a_confined_resolver_answers_everything", resolver::a_confined_resolver_answers_everything),
    (
        "a_confined_resolver_asks_dns_and_tells_no_from_nobody",
        resolver::a_confined_resolver_asks_dns_and_tells_no_from_nobody,
    ),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().map(String::as_str) == Some("--child") {
        return child(words.get(1).unwrap(), words.get(2..).unwrap_or_default());
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
        // A thread of its own, one after the other: its name is what a skip names, and its panic is its own.
        let thread = std::thread::Builder::new().name((*name).to_owned()).spawn(case).unwrap();
        let ok = thread.join().is_ok();
        println!("test {name} ... {}", if ok { "ok" } else { "FAILED" });
        failed += usize::from(!ok);
    }
    // As libtest says it: scripts/test adds these lines up.
    let (word, passed) = (if failed == 0 { "ok" } else { "FAILED" }, cases.len() - failed);
    let left_out = CASES.len() - cases.len();
    println!("test result: {word}. {passed} passed; {failed} failed; 0 ignored; {left_out} filtered out");
    ExitCode::from(u8::from(failed != 0))
}

/// What the children do.
fn child(role: &str, words: &[String]) -> ExitCode {
    match role {
        "worker" => {
            let channel = portreeve_sys::stdio::take_third().unwrap();
            return worker_main(words.iter().map(Into::into), channel);
        }
        "try" => tried::report(words),
        "exec" => return walls::run_another(words),
        "mute" => return sensor::try_to_send(),
        "orphan" => walls::leave_an_orphan(words),
        // In namespaces of its own: a name server that this test controls, and a resolver that asks it.
        "dns" => {
            zone::serve();
            resolver::dns_answers();
        }
        // In a namespace of its own with a network of its own.
        "crowd" => builtin::crowd(),
        other => panic!("no role {other}"),
    }
    ExitCode::SUCCESS
}

/// This program again, in a role.
fn again(words: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("--child").args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// Whether a network of our own can be had; skips the test if not.
fn has_namespaces() -> bool {
    if !is_root() {
        return false;
    }
    if !has_programs(&["unshare", "ip", "mount"]) {
        return false;
    }
    let works = Command::new("unshare").args(["-n", "-m", "true"]).stderr(Stdio::null()).status();
    if !works.unwrap().success() {
        skip(Reason::NoNamespaces);
        return false;
    }
    true
}

/// Whether this is root; skips the test if not.
fn is_root() -> bool {
    let root = portreeve_sys::process::is_root();
    if !root {
        skip(Reason::NoRoot);
    }
    root
}

//! What a baseline and a check ask the kernel for each file does not grow with the directory that it is in.

#![allow(clippy::unwrap_used)] // the helpers of tests may, too

#[path = "../../../compliance/src/skip.rs"]
#[allow(dead_code, unreachable_pub, reason = "the test uses a part of it")]
mod skip;

mod integrity_home;

use integrity_home::Home;
use std::fs;
use std::process::Command;

/// System calls of a command, but for those by which threads wait for one another and get memory: chance decides about these.
fn calls(home: &Home, line: &str) -> u64 {
    let output = Command::new("strace")
        .args(["-f", "-q", "-c", "-o", "calls", env!("CARGO_BIN_EXE_portreeve"), "integrity"])
        .args(line.split(' '))
        .current_dir(&home.0)
        .env("NO_COLOR", "1")
        .output()
        .expect("strace runs");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    let table = fs::read_to_string(home.path("calls")).expect("what strace counted");
    let chance = ["futex", "sched_yield", "brk", "mmap", "munmap", "mremap", "madvise", "mprotect", "total"];
    let count = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let counts = words.len() >= 5 && words.last().is_some_and(|name| !chance.contains(name));
        counts.then(|| words.get(3)?.parse::<u64>().ok())?
    };
    table.lines().filter_map(count).sum()
}

#[test]
fn a_file_costs_the_same_in_a_large_directory() {
    if !skip::has_programs(&["strace"]) {
        return;
    }
    let few = 400;
    let counts = [few, 10 * few].map(|number| {
        let home = Home::new(&format!("flat{number}"));
        home.fine("key key --public key.pub --no-passphrase");
        for at in 0..number {
            fs::write(home.path(&format!("tree/file-{at:05}")), "x").expect("written");
        }
        let init = calls(&home, "init --key key --store store tree");
        let check = "check --store store --public key.pub --waivers none --journal notes";
        let whole = calls(&home, check);
        // What was written within two seconds of the record is read by a quick check, too.
        std::thread::sleep(std::time::Duration::from_millis(2100));
        home.fine("accept --key key --store store --all");
        (init, whole, calls(&home, &format!("{check} --quick --sample 0")))
    });
    let [(init, whole, quick), (inits, wholes, quicks)] = counts;
    // What does not depend on the number of files is in both, so ten times as many files are less than ten times the calls.
    assert!(inits <= 10 * init && wholes <= 10 * whole && quicks <= 10 * quick, "{counts:?}");
    // A quick check asks once for each file that is untouched.
    assert!(quicks < 10 * few * 5 / 4 + 1000, "{counts:?}");
    assert!(inits > 4 * 10 * few, "nothing was counted: {counts:?}");
}

//! tcpdmatch and tcpdchk against the original's, with tables that a grammar draws: the same arguments, tables and names
//! for both, compared byte for byte. What is drawn depends on the seed alone.
//!
//! ```text
//! command  the command line
//! draw     deterministic choices
//! words    patterns, near the client that asks
//! tables   lists, rules, options, files, and the ways in which files are broken
//! odd      the same, odder than people write them
//! corpus   real tables with the original's answers
//! recorded the recorded answers
//! room     private namespaces, and both programs in them
//! ```

pub mod command;
pub mod corpus;
pub mod draw;
pub mod odd;
pub mod recorded;
pub mod room;
pub mod tables;
pub mod words;

use room::{Ended, Room};
use std::path::Path;

/// One case: what both programs are given.
#[derive(Clone, Debug, Default)]
pub struct Case {
    /// `tcpdmatch` or `tcpdchk`.
    pub tool: &'static str,
    /// Its arguments.
    pub arguments: Vec<Vec<u8>>,
    /// Files: absolute, or in the working directory.
    pub files: Vec<(String, Vec<u8>)>,
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// Cases that were run.
    pub cases: u64,
    /// Cases in which the original granted, denied, delegated, or said nothing of it.
    pub verdicts: [u64; 4],
    /// Cases in which a rule matched.
    pub matched: u64,
    /// Cases in which the original was killed by a signal or hung; ours must do neither.
    pub original_crashed: u64,
    /// Cases in which the two differ.
    pub different: u64,
}

/// Which cases are drawn.
pub type Grammar = fn(u64) -> Case;

/// Runs `cases` cases from `seed` on and calls `show` for each that differs. `shim` makes the original print its
/// diagnostics; without it they are taken out of ours.
///
/// # Errors
/// When a program cannot be run at all.
pub fn compare(
    room: &Room,
    ours: &Path,
    shim: Option<&Path>,
    grammar: Grammar,
    seed: u64,
    cases: u64,
    show: &mut dyn FnMut(u64, &Case, &Ended, &Ended),
) -> std::io::Result<Account> {
    let mut account = Account::default();
    for number in seed..seed.saturating_add(cases) {
        let case = grammar(number);
        room.prepare(&case)?;
        let theirs = room.run(Path::new("/usr/sbin"), &case, shim)?;
        let mut mine = room.run(ours, &case, None)?;
        // Theirs does not tell without the shim.
        account.matched += u64::from(mine.stdout.windows(9).any(|part| part == b"matched: "));
        if shim.is_none() {
            mine.stdout = without_diagnostics(&mine.stdout);
        }
        account.cases += 1;
        let verdict = ["access:   granted", "access:   denied", "access:   delegated"]
            .iter()
            .position(|verdict| theirs.stdout.windows(verdict.len()).any(|part| part == verdict.as_bytes()));
        if let Some(count) = account.verdicts.get_mut(verdict.unwrap_or(3)) {
            *count += 1;
        }
        if theirs.status.is_none() {
            account.original_crashed += 1;
            if mine.status.is_some() {
                continue;
            }
        }
        if !theirs.same(&mine) {
            account.different += 1;
            show(number, &case, &theirs, &mine);
        }
    }
    Ok(account)
}

/// What the tools of Debian 12 print: without the lines that go to their system log.
fn without_diagnostics(stdout: &[u8]) -> Vec<u8> {
    let diagnostic = |line: &&[u8]| {
        [&b"warning: "[..], b"error: ", b"matched:  ", b"option:   "]
            .iter()
            .any(|start| line.starts_with(start))
    };
    stdout
        .split_inclusive(|byte| *byte == b'\n')
        .filter(|line| !diagnostic(line))
        .flatten()
        .copied()
        .collect()
}

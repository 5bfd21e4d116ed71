//! The command line of the comparison. `portreeve-differential-predictors --ours DIR` and one of
//! `[--shim FILE] [--seed N] [--cases N] [--grammar plain|odd]` (drawn cases against the original), `--corpus DIR` (real tables),
//! `--recorded DIR` (recorded answers). DIR of `--ours` holds tcpdmatch and tcpdchk. Ends with 0 when nothing differs,
//! 1 when something does, 2 when it could not run.

use super::room::{Names, Room, enter};
use super::{Account, compare, corpus, odd, recorded, tables};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// So many differences are shown whole.
const SHOWN: u64 = 10;

#[derive(Default)]
struct Call {
    ours: PathBuf,
    shim: Option<PathBuf>,
    corpus: Option<PathBuf>,
    recorded: Option<PathBuf>,
    seed: u64,
    cases: u64,
    odd: bool,
}

fn read() -> Result<Call, String> {
    let mut call = Call { cases: 2000, ..Call::default() };
    let mut words = std::env::args_os().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{} needs a value", word.display()))?;
        let number = || value.to_str().and_then(|text| text.parse().ok()).ok_or("not a number".to_owned());
        match word.to_str() {
            Some("--ours") => call.ours = PathBuf::from(value),
            Some("--shim") => call.shim = Some(PathBuf::from(value)),
            Some("--corpus") => call.corpus = Some(PathBuf::from(value)),
            Some("--recorded") => call.recorded = Some(PathBuf::from(value)),
            Some("--seed") => call.seed = number()?,
            Some("--cases") => call.cases = number()?,
            Some("--grammar") => match value.to_str() {
                Some("plain") => call.odd = false,
                Some("odd") => call.odd = true,
                _ => return Err("--grammar is plain or odd".to_owned()),
            },
            _ => return Err(format!("unknown: {}", word.display())),
        }
    }
    if call.ours.as_os_str().is_empty() { Err("--ours DIR is missing".to_owned()) } else { Ok(call) }
}

fn run(out: &mut dyn Write) -> Result<bool, String> {
    let said = |error: std::io::Error| error.to_string();
    let call = read()?;
    enter().map_err(|error| format!("no namespaces: {error}"))?;
    if let Some(oracle) = call.recorded {
        let output = recorded::replay(&oracle, &call.ours).map_err(said)?;
        out.write_all(&output.stdout).and_then(|()| out.write_all(&output.stderr)).map_err(said)?;
        return Ok(!output.status.success());
    }
    if let Some(files) = call.corpus {
        let room = Room::new(Names::Localhost).map_err(|error| format!("no room: {error}"))?;
        return Ok(corpus::replay(&room, &files, &call.ours, out).map_err(said)? > 0);
    }
    let room = Room::new(Names::Drawn).map_err(|error| format!("no room: {error}"))?;
    let mut shown = 0;
    let mut show = |number: u64,
                    case: &super::Case,
                    theirs: &super::room::Ended,
                    ours: &super::room::Ended| {
        shown += 1;
        if shown > SHOWN {
            return;
        }
        let words: Vec<_> = case.arguments.iter().map(|word| word.escape_ascii().to_string()).collect();
        let files: Vec<_> =
            case.files.iter().map(|(name, bytes)| format!("{name}: {}\n", bytes.escape_ascii())).collect();
        let (tool, words, files) = (case.tool, words.join(" "), files.concat());
        // A closed output is nothing to report to.
        let _ = writeln!(out, "--- case {number}: {tool} {words}\n{files}theirs: {theirs:?}\nours: {ours:?}");
    };
    let grammar = if call.odd { odd::case } else { tables::case };
    let account = compare(&room, &call.ours, call.shim.as_deref(), grammar, call.seed, call.cases, &mut show);
    let account: Account = account.map_err(said)?;
    let [granted, denied, delegated, none] = account.verdicts;
    writeln!(
        out,
        "{} cases: {granted} granted, {denied} denied, {delegated} delegated, {none} without a verdict; {} with a \
         matching rule; original crashed in {}; {} different",
        account.cases, account.matched, account.original_crashed, account.different
    )
    .map_err(said)?;
    Ok(account.different > 0)
}

/// The whole program.
pub fn main() -> ExitCode {
    match run(&mut std::io::stdout()) {
        Ok(different) => ExitCode::from(u8::from(different)),
        Err(why) => {
            // Nothing can be done about a standard error that fails.
            let _ = writeln!(std::io::stderr(), "portreeve-differential-predictors: {why}");
            ExitCode::from(2)
        }
    }
}

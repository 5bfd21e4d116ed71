//! How the outcome of `portreeve integrity check` is told: lines, other programs' forms, findings. Decides the exit code.

use crate::commands::audit::write_finding;
use crate::escape;
use crate::explaining::Judged;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Paint};
use crate::sealing;
use portreeve_audit::integrity::transactions::Transaction;
use portreeve_audit::inventory::Inventory;
use portreeve_audit::report::{Report, Waived};
use portreeve_audit::sealed::authority::Standing;
use portreeve_audit::sealed::chain::Baseline;
use portreeve_audit::sealed::compare::Change;
use portreeve_audit::sealed::entry::hex;
use portreeve_audit::sealed::reading::Reading;
use portreeve_audit::sealed::report::{Form, json, lines};
use portreeve_audit::sealed::{findings, foreign};
use portreeve_audit::waivers::{Day, Waiver};
use serde_json::json;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::Ordering;

/// How changes are told.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Format {
    /// A line each, with what it was and what it is
    Text,
    /// Findings with their commands
    Findings,
    /// The nine columns of rpm -V
    Rpm,
    /// The lines of Tripwire's report of level 1; no explanations
    Tripwire,
    /// AIDE's JSON; no explanations
    AideJson,
    /// Everything, for machines
    Json,
    /// SARIF 2.1.0
    Sarif,
}

/// What a check found.
pub(super) struct Outcome<'a> {
    pub(super) judged: Judged,
    pub(super) gaps: &'a [(Vec<u8>, String)],
    /// Changes that were not kept.
    pub(super) more: u64,
    pub(super) baseline: &'a Baseline,
    pub(super) standing: Option<Standing>,
    pub(super) store: &'a Path,
    pub(super) reading: &'a Reading,
    /// Seconds since 1970.
    pub(super) begun: i64,
    pub(super) waivers: &'a [Waiver],
}

/// Tells it.
pub(super) fn tell(outcome: &Outcome<'_>, format: Format, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let unseen = Inventory { gaps: unseen(outcome), ..Inventory::default() };
    let found = findings::findings(&outcome.judged.unexplained);
    let report = Report::new(&unseen, found, outcome.waivers, Day::today());
    if matches!(format, Format::Rpm | Format::Tripwire | Format::AideJson) {
        // Those forms have no place for it, and whoever reads them reads nothing else there.
        let mut stderr = io::stderr().lock();
        for gap in &unseen.gaps {
            let _ = writeln!(stderr, "portreeve: {}", escape::text(gap));
        }
    }
    match format {
        Format::Tripwire => out.write_all(foreign::tripwire(&outcome.judged.all()).as_bytes())?,
        Format::AideJson => out.json(&aide(outcome))?,
        Format::Json => out.json(&whole(outcome, &report))?,
        Format::Sarif => out.json(&report.sarif(env!("CARGO_PKG_VERSION")))?,
        Format::Rpm => {
            for change in &outcome.judged.unexplained {
                writeln!(out, "{}", escape::text(&lines(change, Form::Rpm)))?;
            }
        }
        Format::Text => {
            for change in &outcome.judged.unexplained {
                writeln!(out, "{}", escape::text(&lines(change, Form::People)))?;
            }
            summary(outcome, &report, out)?;
        }
        Format::Findings => {
            for (finding, _) in report.open() {
                write_finding(out, finding)?;
                writeln!(out)?;
            }
            summary(outcome, &report, out)?;
        }
    }
    // What somebody mounted over a directory hides it from us, too.
    let fine = report.open().next().is_none()
        && outcome.judged.unexplained.len() <= findings::MOST
        && outcome.judged.unknown == 0
        && outcome.more == 0;
    Ok(if fine { Exit::Fine } else { Exit::Found })
}

/// What the answer does not rest on, in sentences.
fn unseen(outcome: &Outcome<'_>) -> Vec<String> {
    let judged = &outcome.judged;
    let name = |path: &[u8]| escape::os(OsStr::from_bytes(path));
    let mut all: Vec<String> =
        outcome.gaps.iter().map(|(path, why)| format!("{}: {why}", name(path))).collect();
    all.extend(judged.gap.as_ref().map(|gap| format!("no package explains anything: {gap}")));
    if judged.unknown > 0 {
        all.push(format!("{} recorded paths are below what was not seen", judged.unknown));
    }
    if outcome.more > 0 {
        all.push(format!("{} more changes are counted and not told", outcome.more));
    }
    all
}

fn aide(outcome: &Outcome<'_>) -> serde_json::Value {
    let ended = i64::try_from(sealing::now()).unwrap_or(0);
    let baseline = outcome.baseline;
    let run = foreign::Run {
        begun: outcome.begun,
        ended,
        paths: baseline.entries,
        hash: baseline.header.hash,
        rules: &baseline.header.rules,
    };
    let name = format!("{}/{:06}.baseline", outcome.store.display(), baseline.number);
    foreign::aide(&outcome.judged.all(), run, (&name, &baseline.digest))
}

fn whole(outcome: &Outcome<'_>, report: &Report) -> serde_json::Value {
    let (baseline, judged) = (outcome.baseline, &outcome.judged);
    let progress = &outcome.reading.progress;
    let findings = report.json();
    json!({
        "baseline": baseline.number,
        "created": baseline.header.created,
        "digest": hex(&baseline.digest),
        "signer": hex(&baseline.header.signer),
        "hash": baseline.header.hash.word(),
        "trusted": outcome.standing.is_some(),
        "appended_since": match outcome.standing {
            Some(Standing::Appended(number)) => json!(number),
            _ => json!(null),
        },
        "paths": baseline.entries,
        "bytes_read": progress.bytes.load(Ordering::Relaxed),
        "resumed": progress.resumed.load(Ordering::Relaxed),
        "unexplained": judged.unexplained.iter().map(json).collect::<Vec<_>>(),
        "explained": judged.explained.iter().map(|(package, changes)| json!({
            "package": package,
            "transaction": judged.transactions.get(package).map(|done| json!({ "when": done.when, "what": done.what, "run": done.run })),
            "changes": changes.iter().map(json).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "not_kept": outcome.more,
        "unknown": judged.unknown,
        "packages": judged.gap.as_deref().unwrap_or("known"),
        "gaps": outcome.gaps.iter().map(|(path, why)| json!({
            "path": escape::os(OsStr::from_bytes(path)),
            "why": why,
        })).collect::<Vec<_>>(),
        "findings": findings["findings"],
        "open": findings["open"],
    })
}

/// A package, what it explains, and what was done with it.
type Part<'a> = (&'a String, &'a Vec<Change>, Option<&'a Transaction>);

/// Packages of one run that are named.
const MOST_NAMED: usize = 5;

/// A line for each run of the package manager, and for each package of which no run is known.
fn explanations(judged: &Judged) -> Vec<String> {
    let mut runs: BTreeMap<(&str, &str), Vec<Part<'_>>> = BTreeMap::new();
    for (package, changes) in &judged.explained {
        let done = judged.transactions.get(package);
        let run = done.map_or("", |done| done.run.as_str());
        let alone = if run.is_empty() { package.as_str() } else { "" };
        runs.entry((run, alone)).or_default().push((package, changes, done));
    }
    let paths = |count: usize| format!("{count} {} as", if count == 1 { "path" } else { "paths" });
    let line = |all: Vec<Part<'_>>| match all.as_slice() {
        [(package, changes, done)] => {
            let done = done.map_or(String::new(), |done| format!("; {} on {}", done.what, done.when));
            format!("explained: {package}: {} the package has them{done}", paths(changes.len()))
        }
        several => {
            let named: Vec<String> = several
                .iter()
                .take(MOST_NAMED)
                .map(|(package, _, done)| format!("{package} ({})", done.map_or("", |done| &done.what)))
                .collect();
            let more = several.len() - named.len();
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            let when = several.iter().filter_map(|(.., done)| done.as_ref()).map(|done| &done.when).min();
            format!(
                "explained: {} packages: {} the packages have them; on {}: {}{more}",
                several.len(),
                paths(several.iter().map(|(_, changes, _)| changes.len()).sum()),
                when.map_or("", String::as_str),
                named.join(", "),
            )
        }
    };
    runs.into_values().map(line).collect()
}

fn summary(outcome: &Outcome<'_>, report: &Report, out: &mut Output<'_>) -> io::Result<()> {
    let judged = &outcome.judged;
    for line in explanations(judged) {
        writeln!(out, "{}", out.paint(Paint::Dim, &escape::text(&line)))?;
    }
    let mut waived = 0;
    for (finding, by) in &report.findings {
        let Waived::By(waiver) = by else { continue };
        waived += 1;
        let (subject, owner) = (escape::text(&finding.subject), escape::text(&waiver.owner));
        let line = format!(
            "waived: {subject}: by {owner} until {}: {}",
            waiver.expires,
            escape::text(&waiver.reason)
        );
        writeln!(out, "{}", out.paint(Paint::Dim, &line))?;
    }
    sealing::tell_gaps(out, outcome.gaps, &[])?;
    if let Some(gap) = &judged.gap {
        let line = format!("no package explains anything: {gap}");
        writeln!(out, "{}", escape::text(&line))?;
    }
    if judged.unknown > 0 {
        writeln!(out, "{} recorded paths are below what was not seen", judged.unknown)?;
    }
    let signed = match outcome.standing {
        Some(Standing::Signed) => "signed by the trusted key".to_owned(),
        Some(Standing::Appended(number)) => {
            format!("appended; the last one that the trusted key signed is baseline {number}")
        }
        None => "signed by a key that nobody vouches for (--public)".to_owned(),
    };
    let waived = if waived == 0 { String::new() } else { format!(" ({waived} waived)") };
    writeln!(
        out,
        "{} unexplained{waived}, {} explained, of {} paths in baseline {}, {signed}",
        judged.unexplained.len() as u64 + outcome.more,
        judged.explained.values().map(Vec::len).sum::<usize>(),
        outcome.baseline.entries,
        outcome.baseline.number,
    )
}

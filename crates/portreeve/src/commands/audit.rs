//! `portreeve audit`: runs every check and prints the findings. Looks only.

use super::listeners::write_gaps;
use crate::control::Socket;
use crate::escape;
use crate::failure::{Exit, Failure};
use crate::looking;
use crate::output::{Output, Paint};
use portreeve_audit::baseline;
use portreeve_audit::checks::{
    BASELINE_ADDED, BASELINE_CHANGED, BASELINE_REMOVED, BASELINE_UNSEEN, Check, INTEGRITY_CHANGED,
    INTEGRITY_CONFFILE, INTEGRITY_MISSING, LISTENER_MISSING, LISTENER_UNEXPECTED, Severity,
};
use portreeve_audit::exposure::{self, Outcome};
use portreeve_audit::finding::Finding;
use portreeve_audit::report::{Report, Waived};
use portreeve_audit::waivers::{self, Day};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Look for what is wrong with this host
///
/// Each finding says what was seen, why it matters, the command that mends it, what that may break, and how to undo it. Nothing is
/// changed. The checks stand in docs/man/checks.md. A finding that somebody answers for is waived in /etc/portreeve/waivers.toml,
/// until a day. Exit code 1 when a finding is not waived.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub socket: Socket,
    /// Findings that somebody answers for
    #[arg(long, value_name = "FILE", default_value = waivers::PATH)]
    pub waivers: PathBuf,
    /// Listeners that somebody answers for
    #[arg(long, value_name = "FILE", default_value = baseline::PATH)]
    pub baseline: PathBuf,
    /// Leave out what reads files, which takes seconds to minutes: those of packages, and what changed since the last signed baseline
    #[arg(long)]
    pub quick: bool,
    /// Answer in JSON
    #[arg(long, conflicts_with = "sarif")]
    pub json: bool,
    /// Answer in SARIF 2.1.0
    #[arg(long)]
    pub sarif: bool,
}

/// The checks that need a baseline.
const DRIFT: [&Check; 2] = [&LISTENER_UNEXPECTED, &LISTENER_MISSING];

/// The checks that read every file of every package.
const FILES: [&Check; 3] = [&INTEGRITY_CHANGED, &INTEGRITY_MISSING, &INTEGRITY_CONFFILE];

/// The checks that compare with a signed baseline.
const SEALED: [&Check; 4] = [&BASELINE_CHANGED, &BASELINE_ADDED, &BASELINE_REMOVED, &BASELINE_UNSEEN];

/// Looks, weighs and prints.
pub fn run(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let waivers = waivers::read(&arguments.waivers).map_err(Failure::new)?;
    let accepted = baseline::read(&arguments.baseline).map_err(Failure::new)?;
    let mut inventory = looking::all(&arguments.socket, None)?;
    let today = Day::today();
    let mut outcome = exposure::check(&inventory);
    match accepted {
        Some(accepted) => outcome.findings.extend(baseline::drift(&inventory, &accepted, today)),
        None => outcome
            .not_applicable
            .extend(DRIFT.map(|check| (check.id, "there is no baseline (portreeve listeners accept)"))),
    }
    let stale = super::stale::look(&arguments.socket)?;
    let code = portreeve_audit::stale::check::check(&stale);
    outcome.findings.extend(code.findings);
    outcome.not_applicable.extend(code.not_applicable);
    inventory
        .gaps
        .extend(stale.gaps.into_iter().filter(|gap| !inventory.gaps.contains(gap)).collect::<Vec<_>>());
    if arguments.quick {
        let files = FILES.iter().chain(&SEALED);
        outcome
            .not_applicable
            .extend(files.map(|check| (check.id, "it takes seconds, and --quick was given")));
    } else {
        inventory.gaps.extend(files_too(&mut outcome)?);
    }
    let report = Report::new(&inventory, outcome, &waivers, today);
    if arguments.json {
        out.json(&report.json())?;
    } else if arguments.sarif {
        out.json(&report.sarif(env!("CARGO_PKG_VERSION")))?;
    } else {
        write(out, &report)?;
    }
    Ok(if report.open().next().is_some() { Exit::Found } else { Exit::Fine })
}

/// The checks that read files. What could not be seen is given back.
fn files_too(outcome: &mut Outcome) -> Result<Vec<String>, Failure> {
    let mut gaps = Vec::new();
    let root = Path::new("/");
    if super::integrity::has_packages(root) {
        let integrity = super::integrity::look(root, &[])?;
        let files = portreeve_audit::integrity::check::check(&integrity, false);
        let before = outcome.findings.len();
        outcome.findings.extend(files.findings);
        outcome.not_applicable.extend(files.not_applicable);
        let counts = integrity.differences.iter().filter(|difference| !difference.conffile).count();
        let more = counts.saturating_sub(outcome.findings.len() - before);
        if more > 0 {
            gaps.push(format!("{more} more files of packages differ; see portreeve integrity packages"));
        }
        gaps.extend(integrity.gaps);
    } else {
        outcome.not_applicable.extend(FILES.map(|check| (check.id, "this host has no database of packages")));
    }
    match super::sealed::check::for_audit()? {
        Some((found, unseen)) => {
            outcome.findings.extend(found.findings);
            gaps.extend(unseen);
        }
        None => {
            let why = "there is no signed baseline (portreeve integrity init)";
            outcome.not_applicable.extend(SEALED.map(|check| (check.id, why)));
        }
    }
    Ok(gaps)
}

/// Files of one package, of one check, from so many on are shown together: where documents were left out there are hundreds.
const TOGETHER: usize = 4;

/// What is shown together: the check and the package.
fn group(finding: &Finding) -> Option<(&'static str, &str)> {
    let of_files = FILES.iter().any(|check| check.id == finding.check.id);
    let package = finding.evidence("package").filter(|package| of_files && !package.is_empty())?;
    Some((finding.check.id, package))
}

/// Files of a package as one finding.
fn together(of: &[&Finding]) -> Option<Finding> {
    let first = *of.first()?;
    let (_, package) = group(first)?;
    let paths: Vec<&str> = of.iter().take(TOGETHER - 1).map(|finding| finding.subject.as_str()).collect();
    let paths = format!("{}, …", paths.join(", "));
    let evidence = vec![("package", package.to_owned()), ("files", of.len().to_string()), ("path", paths)];
    Some(Finding { subject: format!("{package}, {} files", of.len()), evidence, ..first.clone() })
}

fn write(out: &mut Output<'_>, report: &Report) -> io::Result<()> {
    let mut groups: BTreeMap<_, Vec<&Finding>> = BTreeMap::new();
    for (finding, waived) in &report.findings {
        if let (Waived::No, Some(group)) = (waived, group(finding)) {
            groups.entry(group).or_default().push(finding);
        }
    }
    groups.retain(|_, of| of.len() >= TOGETHER);
    for (finding, waived) in &report.findings {
        if let (Waived::No, Some(group)) = (waived, group(finding))
            && let Some(of) = groups.get_mut(&group)
        {
            // The first one stands for all.
            if let Some(all) = together(&std::mem::take(of)) {
                write_finding(out, &all)?;
                writeln!(out)?;
            }
            continue;
        }
        match waived {
            Waived::By(waiver) => writeln!(
                out,
                "{} {}: {}: waived by {} until {}: {}\n",
                out.paint(Paint::Dim, "waived"),
                finding.check.id,
                escape::text(&finding.subject),
                escape::text(&waiver.owner),
                waiver.expires,
                escape::text(&waiver.reason),
            )?,
            Waived::No => write_finding(out, finding)?,
            Waived::Expired(waiver) => {
                write_finding(out, finding)?;
                let owner = escape::text(&waiver.owner).into_owned();
                write_field(
                    out,
                    "waiver",
                    &format!("of {owner}, expired on {}: it counts again", waiver.expires),
                )?;
            }
        }
        if !matches!(waived, Waived::By(_)) {
            writeln!(out)?;
        }
    }
    for (id, why) in &report.not_applicable {
        writeln!(out, "{id} does not apply: {why}")?;
    }
    for waiver in &report.unused {
        writeln!(
            out,
            "line {} of the waivers, for {}, waives nothing",
            waiver.line,
            escape::text(&waiver.id)
        )?;
    }
    write_gaps(out, &report.gaps)?;
    let (apply, clean) = report.score();
    let waived = report.findings.len() - report.open().count();
    writeln!(
        out,
        "{} listeners; {clean} of {apply} checks are clean; {} findings, {waived} more waived",
        report.listeners,
        report.open().count(),
    )
}

pub(super) fn write_finding(out: &mut Output<'_>, finding: &Finding) -> io::Result<()> {
    let paint = match finding.severity() {
        Severity::High => Paint::Red,
        Severity::Medium => Paint::Yellow,
        Severity::Low => Paint::Plain,
    };
    let severity = out.paint(paint, finding.severity().word());
    writeln!(
        out,
        "{severity} {}: {}: {}",
        finding.check.id,
        escape::text(&finding.subject),
        finding.check.title
    )?;
    let pid = finding.pid.map(|pid| ("pid", pid.to_string()));
    let evidence = finding.evidence.iter().cloned().chain(pid);
    let evidence: Vec<_> = evidence.map(|(name, value)| format!("{name} {}", escape::text(&value))).collect();
    write_field(out, "evidence", &evidence.join(", "))?;
    write_field(out, "why", finding.check.why)?;
    write_field(out, "fix", &finding.fix)?;
    write_field(out, "risk", finding.check.risk)?;
    write_field(out, "undo", &finding.undo)
}

fn write_field(out: &mut Output<'_>, name: &str, text: &str) -> io::Result<()> {
    writeln!(out, "  {} {}", out.paint(Paint::Dim, &format!("{name:<9}")), escape::text(text))
}

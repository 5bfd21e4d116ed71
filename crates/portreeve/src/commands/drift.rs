//! `portreeve listeners verify` and `watch`: whether what listens is what was declared, at once and from now on. Looks only.

use crate::control::Socket;
use crate::escape;
use crate::failure::{Exit, Failure};
use crate::looking;
use crate::output::{Output, Paint};
use crate::since;
use portreeve_audit::baseline::{self, Accepted, Key};
use portreeve_audit::checks::LISTENER_MISSING;
use portreeve_audit::finding::Finding;
use portreeve_audit::waivers::Day;
use portreeve_audit::watch::{Change, Watch, is_accepted};
use portreeve_sys::clock;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long apart it is looked while something is awaited.
const APART: Duration = Duration::from_secs(1);
/// A look may cost this share of the time between two: one part in so many.
const SHARE: u32 = 20;

/// `listeners verify`.
#[derive(clap::Args, Debug)]
pub struct Verify {
    /// Say since which boot
    #[arg(long)]
    pub since_boot: bool,
    /// Wait so long for what is declared to be up: 30s, 2m
    #[arg(long, value_name = "SPAN", value_parser = span, default_value = "0s")]
    pub wait: Duration,
    /// Listeners that somebody answers for
    #[arg(long, value_name = "FILE", default_value = baseline::PATH)]
    pub baseline: PathBuf,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub socket: Socket,
}

/// `listeners watch`.
#[derive(clap::Args, Debug)]
pub struct Watching {
    /// Time between two looks: 2s, 1m; longer where a look takes more than a twentieth of it
    #[arg(long, value_name = "SPAN", value_parser = span, default_value = "2s")]
    pub every: Duration,
    /// Listeners that somebody answers for, if the file is there
    #[arg(long, value_name = "FILE", default_value = baseline::PATH)]
    pub baseline: PathBuf,
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub socket: Socket,
}

fn span(text: &str) -> Result<Duration, String> {
    since::span(text).ok_or_else(|| "expected a span as 30s or 2m".to_owned())
}

/// Compares once, or until all is up.
pub fn verify(arguments: &Verify, out: &mut Output<'_>) -> Result<Exit, Failure> {
    clock::load_zone();
    let accepted = baseline::read(&arguments.baseline).map_err(Failure::new)?.ok_or_else(|| {
        let path = escape::os(arguments.baseline.as_os_str());
        Failure::with_help(
            format!("{path}: nothing is declared: there is no such file"),
            "`portreeve listeners accept --owner OWNER --expires DAY` writes what listens now",
        )
    })?;
    let until = Instant::now() + arguments.wait;
    let (findings, gaps) = loop {
        let inventory = looking::take(&arguments.socket)?;
        let findings = baseline::drift(&inventory, &accepted, Day::today());
        let missing = findings.iter().any(|finding| *finding.check == LISTENER_MISSING);
        if !missing || Instant::now() + APART > until {
            break (findings, inventory.gaps);
        }
        std::thread::sleep(APART);
    };
    let boot = arguments.since_boot.then(booted).flatten();
    let (missing, unexpected): (Vec<_>, Vec<_>) =
        findings.iter().partition(|finding| *finding.check == LISTENER_MISSING);
    if arguments.json {
        let all = |list: &[&Finding]| list.iter().map(|finding| finding.json()).collect::<Vec<_>>();
        out.json(&json!({
            "declared": accepted.len(),
            "missing": all(&missing),
            "unexpected": all(&unexpected),
            "boot": boot,
            "gaps": gaps,
        }))?;
    } else {
        for (word, list) in [("missing", &missing), ("unexpected", &unexpected)] {
            for finding in list {
                let executable = finding.evidence("executable").unwrap_or("-");
                let (word, subject) = (out.paint(Paint::Yellow, word), escape::text(&finding.subject));
                writeln!(out, "{word}: {subject}: {}", escape::text(executable))?;
            }
        }
        super::listeners::write_gaps(out, &gaps)?;
        let since = boot
            .map_or_else(String::new, |at| format!(" since the boot at {}", since::local(at * 1_000_000)));
        writeln!(
            out,
            "{} declared, {} missing, {} unexpected{since}",
            accepted.len(),
            missing.len(),
            unexpected.len()
        )?;
    }
    Ok(if findings.is_empty() { Exit::Fine } else { Exit::Found })
}

/// When this host was started, seconds since 1970.
fn booted() -> Option<i64> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// Looks again and again, and says what changed.
pub fn watch(arguments: &Watching, out: &mut Output<'_>) -> Result<Exit, Failure> {
    clock::load_zone();
    let mut watch = Watch::default();
    loop {
        let began = Instant::now();
        let accepted = baseline::read(&arguments.baseline).map_err(Failure::new)?;
        let inventory = looking::take(&arguments.socket)?;
        for (change, key) in watch.look(&inventory) {
            tell(change, &key, accepted.as_ref(), arguments.json, out)?;
        }
        out.flush()?;
        let cost = began.elapsed();
        std::thread::sleep(arguments.every.max(APART / 10).max(cost * SHARE));
    }
}

fn tell(
    change: Change,
    key: &Key,
    accepted: Option<&Accepted>,
    json: bool,
    out: &mut Output<'_>,
) -> Result<(), Failure> {
    let [protocol, address, namespace] = &key.place;
    let known = accepted.map(|accepted| is_accepted(key, accepted, Day::today()));
    let now = clock::wall_seconds();
    if json {
        out.json_line(&json!({
            "time": now,
            "change": change.word(),
            "protocol": protocol,
            "address": address,
            "namespace": namespace,
            "executable": key.executable,
            "uid": key.uid,
            "accepted": known,
        }))?;
        return Ok(());
    }
    let word = match change {
        Change::Came => out.paint(Paint::Yellow, change.word()),
        Change::Gone => change.word().to_owned(),
    };
    let elsewhere =
        if namespace == "own" { String::new() } else { format!(" in {}", escape::text(namespace)) };
    let answer = match (change, known) {
        (Change::Came, Some(false)) => ", nobody answers for it",
        (Change::Gone, Some(true)) => ", which is declared",
        _ => "",
    };
    writeln!(
        out,
        "{}  {word}  {} {}{elsewhere}  {} of user {}{answer}",
        since::local(now * 1_000_000),
        escape::text(protocol),
        escape::text(address),
        escape::text(&key.executable),
        escape::text(&key.uid),
    )?;
    Ok(())
}

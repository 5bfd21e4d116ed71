//! `portreeve integrity`: whether files still are what they were. The verbs of signed baselines are in `sealed.rs`, `chain.rs` and `import.rs`.

use super::audit::write_finding;
use super::listeners::write_gaps;
use super::{chain, import, integrity_watch, sealed, trust};
use crate::failure::{Exit, Failure, system_text};
use crate::output::Output;
use portreeve_audit::integrity::{self, Integrity, Progress, check, rpm};
use portreeve_audit::inventory::Inventory;
use portreeve_audit::report::Report;
use portreeve_audit::waivers::{self, Day};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Check whether files still are what they were
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(subcommand)]
    #[allow(missing_docs)]
    pub verb: Verb,
}

/// What they are compared with.
#[derive(clap::Subcommand, Debug)]
pub enum Verb {
    /// Compare the files of packages with what the packages brought
    ///
    /// As `dpkg --verify`, `debsums` and `rpm -Va`: sums, missing files, diversions, and what dpkg-statoverride ordered, with all
    /// processors. Exit code 1 when a file differs that is no file of configuration.
    Packages(Packages),
    /// Make a key that signs baselines
    Key(chain::NewKey),
    /// Make the first signed baseline of what is there
    Init(sealed::init::Init),
    /// Compare what is there with the last baseline
    ///
    /// What no package explains comes first. Exit code 1 when there is any.
    Check(sealed::check::Check),
    /// Show one path, as the baseline has it and as it is
    Explain(sealed::explain::Explain),
    /// Make the next baseline, with what some paths or all are now
    Accept(sealed::accept::Accept),
    /// Write a baseline as JSON or as an AIDE database
    Export(sealed::export::Export),
    /// Go through the chain of baselines
    History(chain::History),
    /// Write the list of programs that `verify_server` starts
    ///
    /// A program is put onto it where a package brought it as it is, where the last signed baseline has its content, or where you name it
    /// with --answer-for. Programs that are not asked about stay as they are. The daemon looks at the list whenever it starts such a
    /// program. Exit code 1 when nobody answers for one.
    Trust(trust::Trust),
    /// Tell what happens to the protected paths, and who did it
    ///
    /// By fanotify, on the whole file systems that the paths are on; the process is named by a descriptor where the kernel has that (Linux
    /// 5.15), with executable, user, login session and unit. Events of one path and process are one line. What found no room is counted
    /// and said. Exit code 1 when something happened.
    Watch(integrity_watch::Watch),
    /// Write the rules of AIDE or Tripwire as an integrity.toml
    ///
    /// Every line that says something that ours cannot is named on standard error. Exit code 1 when there is any.
    Import(import::Import),
}

/// How the answer is written.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A line each in rpm's nine columns
    Rpm,
    /// Findings with their commands
    Findings,
    /// Everything, for machines
    Json,
    /// SARIF 2.1.0
    Sarif,
}

/// `integrity packages`.
#[derive(clap::Args, Debug)]
pub struct Packages {
    /// Only these packages
    #[arg(value_name = "PACKAGE")]
    pub packages: Vec<String>,
    /// Of the system below this directory
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,
    /// How the answer is written
    #[arg(long, value_enum, default_value = "rpm")]
    pub format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// Changed files of configuration count too
    #[arg(long)]
    pub conffiles: bool,
    /// Findings that somebody answers for
    #[arg(long, value_name = "FILE", default_value = waivers::PATH)]
    pub waivers: PathBuf,
}

/// Looks and prints.
pub fn run(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    match &arguments.verb {
        Verb::Packages(arguments) => packages(arguments, out),
        Verb::Key(arguments) => chain::key(arguments, out),
        Verb::Init(arguments) => sealed::init::init(arguments, out),
        Verb::Check(arguments) => sealed::check::check(arguments, out),
        Verb::Explain(arguments) => sealed::explain::explain(arguments, out),
        Verb::Accept(arguments) => sealed::accept::accept(arguments, out),
        Verb::Export(arguments) => sealed::export::export(arguments, out),
        Verb::History(arguments) => chain::history(arguments, out),
        Verb::Trust(arguments) => trust::trust(arguments, out),
        Verb::Watch(arguments) => integrity_watch::watch(arguments, out),
        Verb::Import(arguments) => import::import(arguments, out),
    }
}

fn packages(arguments: &Packages, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let waivers = waivers::read(&arguments.waivers).map_err(Failure::new)?;
    let integrity = look(&arguments.root, &arguments.packages)?;
    let gaps = Inventory { gaps: integrity.gaps.clone(), ..Inventory::default() };
    let outcome = check::check(&integrity, arguments.conffiles);
    let report = Report::new(&gaps, outcome, &waivers, Day::today());
    match if arguments.json { Format::Json } else { arguments.format } {
        Format::Json => {
            let mut answer = integrity.json();
            if let Some(fields) = answer.as_object_mut() {
                let whole = report.json();
                fields.insert("findings".to_owned(), whole["findings"].clone());
                fields.insert("open".to_owned(), whole["open"].clone());
            }
            out.json(&answer)?;
        }
        Format::Sarif => out.json(&report.sarif(env!("CARGO_PKG_VERSION")))?,
        Format::Rpm => {
            for difference in &integrity.differences {
                writeln!(out, "{}", difference.line())?;
            }
            write_gaps_to_stderr(&integrity);
        }
        Format::Findings => {
            for (finding, _) in report.open() {
                write_finding(out, finding)?;
                writeln!(out)?;
            }
            write_gaps(out, &integrity.gaps)?;
            writeln!(out, "{}", summary(&integrity))?;
        }
    }
    Ok(if report.open().next().is_some() { Exit::Found } else { Exit::Fine })
}

/// Whoever reads the lines reads nothing else there.
fn write_gaps_to_stderr(integrity: &Integrity) {
    let mut stderr = io::stderr().lock();
    for gap in &integrity.gaps {
        let _ = writeln!(stderr, "portreeve: {gap}");
    }
    if stderr.is_terminal() {
        let _ = writeln!(stderr, "{}", summary(integrity));
    }
}

fn summary(integrity: &Integrity) -> String {
    let mut text = format!(
        "{} packages, {} files, {} MiB read; {} differ",
        integrity.packages,
        integrity.files,
        integrity.bytes >> 20,
        integrity.differences.len() + integrity.more,
    );
    if integrity.excluded > 0 {
        text.push_str(&format!("; {} left out by dpkg's path-exclude", integrity.excluded));
    }
    if integrity.without_sums > 0 {
        text.push_str(&format!("; {} packages have no sums", integrity.without_sums));
    }
    text
}

/// Whether there is a database of packages that can be asked.
pub(super) fn has_packages(root: &Path) -> bool {
    root.join("var/lib/dpkg/status").exists() || rpm::is_there(root)
}

/// Looks, and shows how far it is where somebody looks on.
pub(super) fn look(root: &Path, only: &[String]) -> Result<Integrity, Failure> {
    let failed = |error: io::Error| {
        Failure::new(format!(
            "the packages below {} cannot be checked: {}",
            root.display(),
            system_text(&error)
        ))
    };
    if !root.join("var/lib/dpkg/status").exists() {
        if rpm::is_there(root) {
            return rpm::packages(root, only).map_err(failed);
        }
        let help =
            "expected var/lib/dpkg/status, or a database of rpm in usr/lib/sysimage/rpm or var/lib/rpm";
        return Err(Failure::with_help(format!("{} has no database of packages", root.display()), help));
    }
    let progress = Arc::new(Progress::default());
    let shows = io::stderr().is_terminal().then(|| {
        let progress = progress.clone();
        std::thread::spawn(move || show(&progress))
    });
    let looked = integrity::packages(root, only, &progress).map_err(failed);
    if let Some(shows) = shows {
        let _ = shows.join();
    }
    looked
}

/// One line that is written over, from the second second on.
fn show(progress: &Progress) {
    let begun = Instant::now();
    let mut shown = false;
    while !progress.is_over() {
        std::thread::sleep(Duration::from_millis(50));
        let (done, all) = progress.get();
        let elapsed = begun.elapsed();
        if elapsed < Duration::from_secs(1) || all == 0 || elapsed.subsec_millis() % 200 >= 60 {
            continue;
        }
        shown = true;
        let _ = write!(io::stderr(), "\r{}\x1b[K", bar(done, all, elapsed));
    }
    if shown {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
}

fn bar(done: u64, all: u64, elapsed: Duration) -> String {
    const WIDTH: u64 = 30;
    let share = (u128::from(done) * u128::from(WIDTH) / u128::from(all.max(1))) as usize;
    let filled = share.min(WIDTH as usize);
    let rate = (done as f64 / elapsed.as_secs_f64().max(0.001)) as u64;
    let left = all
        .saturating_sub(done)
        .checked_div(rate)
        .map_or_else(String::new, |seconds| format!(", {} left", crate::answer::span(seconds)));
    format!(
        "[{}{}] {} %, {} MiB/s{left}",
        "#".repeat(filled),
        " ".repeat(WIDTH as usize - filled),
        u128::from(done) * 100 / u128::from(all.max(1)),
        rate >> 20,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_says_how_far_it_is() {
        let half = bar(512 << 20, 1 << 30, Duration::from_secs(2));
        assert_eq!(half, format!("[{}{}] 50 %, 256 MiB/s, 2s left", "#".repeat(15), " ".repeat(15)));
        assert_eq!(bar(0, 0, Duration::ZERO), format!("[{}] 0 %, 0 MiB/s", " ".repeat(30)));
    }
}

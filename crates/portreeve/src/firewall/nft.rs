//! nft(8), run with a text and a time limit. The command is a person's own, as root: it reads the same language that the person
//! reads, its `-f` is one transaction of the kernel, and no second writer of that language is needed. Knows no rule.

use super::state::Lock;
use crate::failure::system_text;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Where programs of the system are; the caller's PATH does not count.
const PLACES: [&str; 6] = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin"];
/// The kernel answers within a second; a hundred thousand rules take a few.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of an answer.
const LONGEST: u64 = 64 << 20;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failed {
    /// The program is not installed.
    Absent(String),
    /// What it said.
    Said(String),
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failed::Absent(program) => write!(f, "{program} is not installed (package nftables or iptables)"),
            Failed::Said(text) => f.write_str(text),
        }
    }
}

/// Runs a program of the system with `input`, and gives what it printed.
///
/// # Errors
/// It is not there, it said no, or it took too long.
pub fn run(program: &str, arguments: &[&str], input: &str) -> Result<String, Failed> {
    run_holding(program, arguments, input, None)
}

/// The same; the program holds `held` too, for as long as it runs, and its output goes there.
fn run_holding(program: &str, arguments: &[&str], input: &str, held: Option<File>) -> Result<String, Failed> {
    let path = PLACES.iter().map(|place| Path::new(place).join(program)).find(|path| path.is_file());
    let path = path.ok_or_else(|| Failed::Absent(program.to_owned()))?;
    let said = |what: String| Failed::Said(format!("{program}: {what}"));
    let mut child = Command::new(&path)
        .args(arguments)
        .env_clear()
        .env("PATH", PLACES.join(":"))
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(held.map_or_else(Stdio::piped, Stdio::from))
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| said(system_text(&error)))?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let input = input.to_owned();
    // A program that ends before it has read all is told by its status.
    let writer = std::thread::spawn(move || drop(stdin.map(|mut stdin| stdin.write_all(input.as_bytes()))));
    let out = std::thread::spawn(move || all(stdout));
    let err = std::thread::spawn(move || all(stderr));
    let begun = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Some(status),
            Ok(None) if begun.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(2)),
            Ok(None) | Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
        }
    };
    let (out, err) = (out.join().unwrap_or_default(), err.join().unwrap_or_default());
    drop(writer.join());
    match status {
        Some(status) if status.success() => Ok(out),
        Some(_) => Err(said(first_words(&err))),
        None => Err(said(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}

/// The first complaint without the line that it is about.
fn first_words(text: &str) -> String {
    let lines: Vec<&str> =
        text.lines().filter(|line| !line.trim_matches(['^', '~', ' ', '\t']).is_empty()).take(3).collect();
    if lines.is_empty() { "it failed without a word".to_owned() } else { lines.join(" / ") }
}

fn all(from: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    let _ = from.map(|from| from.take(LONGEST).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Loads a text in one transaction. `lock` is held by nft as well: should this process die meanwhile, the lock is free only when
/// nft has ended, so nobody takes rules back that are loaded a moment later.
///
/// # Errors
/// As [`run`]; nothing was changed then.
pub fn load(text: &str, lock: Option<&Lock>) -> Result<(), Failed> {
    run_holding("nft", &["-f", "-"], text, lock.and_then(Lock::shared)).map(drop)
}

/// Whether the kernel would take it; changes nothing.
///
/// # Errors
/// As [`run`].
pub fn check(text: &str) -> Result<(), Failed> {
    run("nft", &["-c", "-f", "-"], text).map(drop)
}

/// Our table as the kernel has it, without counts; `None` where it has none.
///
/// # Errors
/// As [`run`].
pub fn listing(table: &str) -> Result<Option<String>, Failed> {
    match run("nft", &["-s", "list", "table", "inet", table], "") {
        Ok(text) => Ok(Some(text)),
        Err(Failed::Said(what)) if what.contains("No such file or directory") => Ok(None),
        Err(failed) => Err(failed),
    }
}

//! Restarts of systemd's units whose main process is stale. Each once: who was restarted by us a short while ago, or by anybody within
//! its start limit's interval, is left alone, so no lingering session can drive a unit into its limit.

use super::Account;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use portreeve_audit::stale::Stale;
use portreeve_audit::stale::check::{Group, by_reboot, group};
use portreeve_sys::clock;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// When which unit was restarted by us; gone after a boot, as the times in it.
const RECORD: &str = "/run/portreeve/restarted.json";
/// So long no unit is restarted again.
const AGAIN: u64 = 3600;
/// Longer records are not ours.
const LONGEST: u64 = 1 << 20;

/// What systemd says of a unit.
#[derive(Debug, Default, PartialEq, Eq)]
struct Unit {
    main: u32,
    active: bool,
    refuses: bool,
    interval: Duration,
    entered: Duration,
}

/// Restarts what may be.
pub(super) fn run(stale: &Stale, json: bool, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let mut account = Account { json, ..Account::default() };
    let mut units: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
    let mut left = 0;
    for found in &stale.processes {
        match group(found) {
            Group::Unit(unit) if unit.ends_with(".service") => {
                units.entry(unit).or_default().insert(found.process.pid);
            }
            _ => left += 1,
        }
    }
    let own = own_unit();
    let path =
        std::env::var_os("PORTREEVE_RESTARTED").map_or_else(|| RECORD.into(), std::path::PathBuf::from);
    let mut record = read(&path);
    let now = clock::monotonic();
    for (unit, pids) in &units {
        let why = match reason(unit, pids, own.as_deref(), &record, now, &systemctl) {
            Some(why) => why,
            None => {
                // Before the restart: one that never comes back must not be tried again either.
                record.insert(unit.clone(), json!(now.as_secs()));
                write(&path, &record)?;
                match systemctl(&["try-restart", "--", unit]) {
                    Ok(_) => {
                        account.add(out, "unit", unit, "restarted")?;
                        continue;
                    }
                    Err(error) => format!("its restart failed: {error}"),
                }
            }
        };
        left += 1;
        account.add(out, "unit", unit, &format!("left: {why}"))?;
    }
    if json {
        out.json(&json!({"units": account.lines, "left": left}))?;
    } else if left > 0 {
        use std::io::Write;
        writeln!(out, "{left} left; `portreeve stale` shows each with its command")?;
    } else if units.is_empty() {
        use std::io::Write;
        writeln!(out, "no unit runs old code")?;
    }
    Ok(if left == 0 { Exit::Fine } else { Exit::Found })
}

/// Why a unit is not restarted, if so.
fn reason(
    unit: &str,
    pids: &BTreeSet<u32>,
    own: Option<&str>,
    record: &serde_json::Map<String, Value>,
    now: Duration,
    ask: &dyn Fn(&[&str]) -> Result<String, String>,
) -> Option<String> {
    if by_reboot(unit) {
        return Some("its restart ends everybody's session; reboot".to_owned());
    }
    if own == Some(unit) {
        return Some("this command runs in it".to_owned());
    }
    if let Some(at) = record.get(unit).and_then(Value::as_u64)
        && now.as_secs() < at.saturating_add(AGAIN)
    {
        return Some(
            "it was restarted within this hour; what is old is left over, or the package is not whole"
                .to_owned(),
        );
    }
    let names = "--property=MainPID,ActiveState,RefuseManualStop,RefuseManualStart,StartLimitIntervalUSec,ActiveEnterTimestampMonotonic";
    let shown = match ask(&["show", names, "--", unit]) {
        Ok(text) => read_unit(&text),
        Err(error) => return Some(format!("systemctl says nothing of it: {error}")),
    };
    if !shown.active {
        return Some("it is not active; what is old is left over from it".to_owned());
    }
    if shown.refuses {
        return Some("it refuses to be restarted by hand".to_owned());
    }
    if !pids.contains(&shown.main) {
        return Some(format!(
            "its main process {} has the new code; what is old is left over: end the processes {}",
            shown.main,
            pids.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
        ));
    }
    if now.saturating_sub(shown.entered) < shown.interval {
        return Some(
            "it started within the time of its start limit; another start would count against it".to_owned(),
        );
    }
    None
}

fn read_unit(text: &str) -> Unit {
    let mut unit = Unit::default();
    for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
        match name {
            "MainPID" => unit.main = value.parse().unwrap_or(0),
            "ActiveState" => unit.active = value == "active" || value == "reloading",
            "RefuseManualStop" | "RefuseManualStart" => unit.refuses |= value == "yes",
            "StartLimitIntervalUSec" => unit.interval = span(value),
            "ActiveEnterTimestampMonotonic" => {
                unit.entered = Duration::from_micros(value.parse().unwrap_or(0))
            }
            _ => {}
        }
    }
    unit
}

/// systemd's spans: `10s`, `1min 30s`, `500ms`, `1.500000s`, `1w 2d`, `infinity`. What is not known is long: better left alone than restarted once too
/// often.
fn span(text: &str) -> Duration {
    const DAY: u64 = 86_400_000;
    let units = [
        ("us", 0),
        ("ms", 1),
        ("s", 1000),
        ("min", 60_000),
        ("h", 3_600_000),
        ("d", DAY),
        ("w", 7 * DAY),
        ("month", 31 * DAY),
        ("y", 366 * DAY),
    ];
    let word = |word: &str| {
        if word == "0" {
            return Some(0);
        }
        let (number, unit) = word.split_at(word.find(|c: char| !c.is_ascii_digit() && c != '.')?);
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        let (_, milliseconds) = units.iter().find(|(name, _)| *name == unit)?;
        let more = if part.is_empty() { 0 } else { *milliseconds };
        whole.parse::<u64>().ok()?.checked_mul(*milliseconds)?.checked_add(more)
    };
    let words: Option<Vec<u64>> = text.split(' ').map(word).collect();
    words.map_or(Duration::MAX, |all| Duration::from_millis(all.into_iter().fold(0, u64::saturating_add)))
}

fn systemctl(arguments: &[&str]) -> Result<String, String> {
    let output =
        Command::new("systemctl").args(arguments).stdin(Stdio::null()).output().map_err(|e| e.to_string())?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}

/// The unit that this process runs in.
fn own_unit() -> Option<String> {
    portreeve_audit::process::read(Path::new("/proc"), std::process::id())?.home.unit
}

fn read(path: &Path) -> serde_json::Map<String, Value> {
    use std::io::Read;
    let mut text = String::new();
    let file = std::fs::File::open(path).map(|file| file.take(LONGEST).read_to_string(&mut text));
    match file.ok().and_then(|_| serde_json::from_str(&text).ok()) {
        Some(Value::Object(record)) => record,
        _ => serde_json::Map::new(),
    }
}

/// Without the record nothing is restarted: it is what ends a loop.
fn write(path: &Path, record: &serde_json::Map<String, Value>) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(format!("{}: {}", path.display(), crate::failure::system_text(&error)))
    };
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(failed)?;
    }
    let new = path.with_extension("new");
    std::fs::write(&new, Value::Object(record.clone()).to_string()).map_err(failed)?;
    std::fs::rename(&new, path).map_err(failed)
}

/// For the policy: whether any stale process is a unit's.
pub(super) fn units(stale: &Stale) -> usize {
    stale.processes.iter().filter(|found| matches!(group(found), Group::Unit(_))).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Why `ssh.service` is left, when 812 is stale in it and systemd says this of it.
    fn left(shown: &str, record: &[(&str, u64)], own: Option<&str>) -> Option<String> {
        let text = format!(
            "MainPID=812\nActiveState=active\nRefuseManualStop=no\nStartLimitIntervalUSec=10s\n{shown}\n"
        );
        let record = record.iter().map(|(unit, at)| ((*unit).to_owned(), json!(at))).collect();
        let now = Duration::from_secs(10_000);
        let ask = |_: &[&str]| Ok(text.clone());
        reason("ssh.service", &BTreeSet::from([812, 900]), own, &record, now, &ask)
    }

    #[test]
    fn a_unit_is_restarted_once_and_for_its_main_process_only() {
        assert_eq!(left("", &[], None), None);
        assert_eq!(left("", &[("cron.service", 9_999)], Some("cron.service")), None);
        // The lingering session of liske/needrestart#340: no restart ends it, so none is made.
        let why = left("MainPID=4000", &[], None).expect("left");
        assert!(why.contains("main process 4000 has the new code") && why.contains("812, 900"), "{why}");
        assert!(
            left("", &[("ssh.service", 9_000)], None).is_some_and(|why| why.contains("within this hour"))
        );
        assert_eq!(left("", &[("ssh.service", 6_000)], None), None, "an hour later");
        let started = "ActiveEnterTimestampMonotonic=9995000000";
        assert!(left(started, &[], None).is_some_and(|why| why.contains("start limit")));
        assert_eq!(left("ActiveEnterTimestampMonotonic=9000000000", &[], None), None);
        assert!(left("RefuseManualStart=yes", &[], None).is_some_and(|why| why.contains("refuses")));
        assert!(left("ActiveState=failed", &[], None).is_some_and(|why| why.contains("not active")));
        assert!(left("", &[], Some("ssh.service")).is_some_and(|why| why.contains("runs in it")));
        let none = |_: &[&str]| Err("no bus".to_owned());
        let record = serde_json::Map::new();
        let why = |unit: &str| reason(unit, &BTreeSet::from([1]), None, &record, Duration::ZERO, &none);
        assert!(why("dbus.service").is_some_and(|why| why.contains("reboot")));
        assert!(why("user@0.service").is_some_and(|why| why.contains("reboot")));
        assert!(why("x.service").is_some_and(|why| why.contains("no bus")));
    }

    #[test]
    fn what_systemd_says_is_read() {
        let text = "MainPID=812\nActiveState=active\nRefuseManualStop=no\nStartLimitIntervalUSec=1min 30s\n\
            ActiveEnterTimestampMonotonic=5000000\nrubbish\n";
        let wanted = Unit {
            main: 812,
            active: true,
            refuses: false,
            interval: Duration::from_secs(90),
            entered: Duration::from_secs(5),
        };
        assert_eq!(read_unit(text), wanted);
        assert_eq!(span("10s"), Duration::from_secs(10));
        for (text, seconds) in
            [("0", 0), ("500us", 0), ("1.500000s", 2), ("1w 1d", 8 * 86_400), ("1month", 31 * 86_400)]
        {
            assert_eq!(span(text), Duration::from_secs(seconds), "{text}");
        }
        for long in ["infinity", "", "x", "99999999999999999999s"] {
            assert_eq!(span(long), Duration::MAX, "{long}");
        }
    }
}

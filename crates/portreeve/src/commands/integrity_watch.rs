//! `portreeve integrity watch`: what happens to the protected paths, as it happens, and who did it. Changes nothing; what it has missed it
//! counts and says.

use super::sealed::{PUBLIC, Where, trusted};
use crate::failure::{Exit, Failure, system_text};
use crate::output::{Output, Paint};
use crate::sealing;
use portreeve_audit::integrity::shown;
use portreeve_audit::live::Live;
use portreeve_audit::live::gather::Line;
use portreeve_audit::live::who::Who;
use portreeve_audit::sealed::chain::Store;
use portreeve_audit::sealed::rules::{self, Rules};
use serde_json::{Value, json};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// What the kernel lacks, or this process.
const NEEDS: &str = "fanotify with names needs Linux 5.9, CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH of the machine itself: root of a container has them not. `portreeve integrity check` needs neither";

/// `integrity watch`.
#[derive(clap::Args, Debug)]
pub struct Watch {
    /// Look at these paths; else at those of the last baseline, else at those of the rules
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub place: Where,
    /// The public half of the key that may sign baselines
    #[arg(long, value_name = "FILE", default_value = PUBLIC)]
    pub public: PathBuf,
    /// Where there is no baseline: what to look at
    #[arg(long, value_name = "FILE", default_value = rules::PATH)]
    pub rules: PathBuf,
    /// End after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub seconds: Option<u64>,
    /// End as soon as something has happened
    #[arg(long)]
    pub once: bool,
    /// What happens to a path within so many milliseconds is one line for each process
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(10..=600_000))]
    pub together: u64,
    /// A line of JSON each
    #[arg(long)]
    pub json: bool,
}

/// Looks on and tells.
pub(super) fn watch(arguments: &Watch, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let (rules, from) = looked_at(arguments)?;
    let mut live = Live::new(rules).map_err(|error| {
        Failure::with_help(format!("nothing can be watched: {}", system_text(&error)), NEEDS)
    })?;
    if live.file_systems() == 0 {
        let why = live.gaps.first().map_or_else(
            || "none of the paths is there".to_owned(),
            |(path, why)| format!("{}: {why}", shown(path)),
        );
        return Err(Failure::with_help(format!("nothing can be watched: {why}"), NEEDS));
    }
    begin(arguments, &live, &from, out)?;
    let end = arguments.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let together = Duration::from_millis(arguments.together);
    let mut told = Told::default();
    loop {
        let turn = Instant::now() + together;
        let turn = end.map_or(turn, |end| end.min(turn));
        while let Some(left) = turn.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            live.look(left).map_err(|error| Failure::new(format!("fanotify: {}", system_text(&error))))?;
        }
        tell(arguments, &mut live, &mut told, out)?;
        out.flush()?;
        if end.is_some_and(|end| Instant::now() >= end) || (arguments.once && told.anything()) {
            break;
        }
    }
    summary(arguments, &live, &told, out)?;
    Ok(if told.anything() { Exit::Found } else { Exit::Fine })
}

/// What was told so far.
#[derive(Debug, Default)]
struct Told {
    lines: u64,
    events: u64,
    unkept: u64,
    overflows: u64,
}

impl Told {
    fn anything(&self) -> bool {
        self.lines + self.unkept + self.overflows > 0
    }
}

fn looked_at(arguments: &Watch) -> Result<(Rules, String), Failure> {
    if !arguments.paths.is_empty() {
        return Ok((
            Rules::of(&super::sealed::bytes(&arguments.paths)?),
            "the paths that were named".to_owned(),
        ));
    }
    let key = trusted(&arguments.public)?;
    let store = Store::new(&arguments.place.store);
    match store.last().map_err(Failure::new)? {
        Some(baseline) => {
            if let Some(key) = &key {
                store.standing(&baseline, key).map_err(Failure::new)?;
            }
            Ok((baseline.header.rules.clone(), format!("the paths of baseline {}", baseline.number)))
        }
        None => Ok((
            sealing::rules(&arguments.rules)?,
            "the paths of the rules, since there is no baseline".to_owned(),
        )),
    }
}

fn begin(arguments: &Watch, live: &Live, from: &str, out: &mut Output<'_>) -> io::Result<()> {
    if arguments.json {
        let gaps: Vec<Value> =
            live.gaps.iter().map(|(path, why)| json!({ "path": shown(path), "why": why })).collect();
        out.json_line(&json!({
            "event": "watching", "at": sealing::now(), "by": from, "file_systems": live.file_systems(), "gaps": gaps,
        }))?;
    } else {
        let systems = match live.file_systems() {
            1 => "1 file system".to_owned(),
            several => format!("{several} file systems"),
        };
        writeln!(out, "watching {from}, on {systems}")?;
        for (path, why) in &live.gaps {
            writeln!(out, "{} {}: {why}", out.paint(Paint::Yellow, "not watched:"), shown(path))?;
        }
    }
    out.flush()
}

fn tell(arguments: &Watch, live: &mut Live, told: &mut Told, out: &mut Output<'_>) -> io::Result<()> {
    let (lines, unkept) = live.take();
    let now = sealing::now();
    for line in &lines {
        told.lines += 1;
        told.events += line.count;
        match arguments.json {
            true => out.json_line(&of_line(now, line))?,
            false => writeln!(
                out,
                "{now} {} {} by {}",
                out.paint(Paint::Red, &line.deed.words().join("+")),
                shown(&line.path),
                of_who(&line.who)
            )?,
        }
    }
    told.unkept += unkept;
    let overflows = live.overflows - told.overflows;
    told.overflows = live.overflows;
    if overflows + unkept > 0 {
        let help = "portreeve integrity check --quick";
        match arguments.json {
            true => out.json_line(&json!({
                "event": "lost", "at": now, "overflows": overflows, "not_kept": unkept, "then": help,
            }))?,
            false => {
                let text = format!(
                    "{now} lost: the kernel's queue overflowed {overflows} times, {unkept} events found no room; `{help}` says what was missed"
                );
                writeln!(out, "{}", out.paint(Paint::Yellow, &text))?;
            }
        }
    }
    Ok(())
}

fn summary(arguments: &Watch, live: &Live, told: &Told, out: &mut Output<'_>) -> io::Result<()> {
    let Told { lines, events, unkept, overflows } = told;
    if arguments.json {
        return out.json_line(&json!({
            "event": "end", "at": sealing::now(), "lines": lines, "events": events, "not_kept": unkept,
            "overflows": overflows, "homeless": live.homeless,
        }));
    }
    writeln!(
        out,
        "{events} events in {lines} lines; {unkept} found no room, the queue overflowed {overflows} times, {} in directories that had gone",
        live.homeless
    )
}

fn of_line(now: u64, line: &Line) -> Value {
    let Who { pid, name, executable, uid, login, session, home, certain } = &line.who;
    json!({
        "event": "change", "at": now, "path": shown(&line.path), "what": line.deed.words(), "count": line.count,
        "pid": pid, "name": name, "exe": executable, "uid": uid, "login_uid": login, "session": session,
        "unit": home, "pid_certain": certain,
    })
}

/// `pid 12 /usr/bin/vim uid 0, login 1000 session 4, ssh.service`
fn of_who(who: &Who) -> String {
    if who.pid == 0 {
        return "a process of another pid namespace".to_owned();
    }
    let text = |text: &str| shown(text.as_bytes());
    let mut said = format!("pid {}", who.pid);
    match who.executable.as_ref().or(who.name.as_ref()) {
        Some(executable) => said.push_str(&format!(" {}", text(executable))),
        None => said.push_str(", which has ended"),
    }
    if let Some(uid) = who.uid {
        said.push_str(&format!(" uid {uid}"));
    }
    if let (Some(login), Some(session)) = (who.login, who.session) {
        said.push_str(&format!(", login {login} session {session}"));
    }
    if let Some(home) = &who.home {
        said.push_str(&format!(", {}", text(home)));
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_it_was_is_one_line_of_plain_text() {
        let who = Who {
            pid: 7,
            executable: Some("/tmp/\u{1b}[2Jx".to_owned()),
            uid: Some(0),
            login: Some(1000),
            session: Some(4),
            home: Some("ssh.service".to_owned()),
            ..Who::default()
        };
        assert_eq!(of_who(&who), "pid 7 /tmp/\\x1b[2Jx uid 0, login 1000 session 4, ssh.service");
        assert_eq!(of_who(&Who { pid: 7, ..Who::default() }), "pid 7, which has ended");
        assert_eq!(of_who(&Who::default()), "a process of another pid namespace");
    }
}

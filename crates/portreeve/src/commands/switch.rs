//! `portreeve disable` and `portreeve enable`: the entry of a service is switched in its file, and the running daemon reads it.
//! Nothing is written unless the configuration would be right with it; what is written is whole.

use crate::answer::{items, text};
use crate::commands::check::DEFAULT_FILE;
use crate::commands::{inetd, reload};
use crate::control::{Socket, Unanswered};
use crate::difference;
use crate::escape;
use crate::failure::{Exit, Failure, system_text};
use crate::finding::Finding;
use crate::machine::Machine;
use crate::output::Output;
use crate::overlay::Overlay;
use crate::snippet;
use crate::switching::{Candidate, Meant, State, Survey, name, new_errors, state};
use portreeve_conf::switch::{NameList, Switch, of_inetd, of_xinetd};
use portreeve_conf::{Host, Inetd, InetdUse, Place, Reading, Sources, Text, read_sources};
use portreeve_sys::replace::Original;
use serde_json::{Value, json};
use std::fs::canonicalize;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A longer file is none of ours.
const LONGEST: u64 = 4 << 20;
/// How often, and how long apart, a daemon is asked that is busy with another reload.
const TRIES: u32 = 40;
const APART: Duration = Duration::from_millis(250);

/// Switch a service off, now and at the next start: in its file, which the daemon then reads again
///
/// The line `disable` of its entry says `yes` then, or is added; a line of inetd.conf gets `#<off># ` before it, as from
/// Debian's update-inetd. Nothing else in the file changes, and nothing is written if the configuration would have an error that it has not now.
/// Programs that serve its clients are killed, as in xinetd, unless its entry has `on_remove = drain`. As with every reload, orders (`hold`,
/// `stop`) without --keep end. Exit codes: 0 it is off, 1 the file is changed and the daemon did not take all of it, 2 nothing was changed.
#[derive(clap::Args, Debug)]
pub struct Disable {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub what: What,
}

/// Switch a service on again, now and at the next start: in its file, which the daemon then reads again
///
/// The reverse of `disable`. What somebody has made a comment with a plain `#`, and what `enabled` or `disabled` of `defaults`
/// keep off, is named and left alone. Exit codes: 0 it is on, 1 the file is changed and the daemon did not take all of it, 2
/// nothing was changed.
#[derive(clap::Args, Debug)]
pub struct Enable {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub what: What,
}

/// Which service, in which files, of which daemon.
#[derive(clap::Args, Debug)]
pub struct What {
    /// A service's id, its name, or FILE:LINE of its entry
    #[arg(value_name = "SERVICE")]
    pub service: String,
    /// Configuration file [default: those of the running daemon; where none runs, /etc/xinetd.conf, else /etc/inetd.conf]
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// An inetd.conf; after the configuration file where --file names one
    #[arg(long, value_name = "FILE")]
    pub inetd: Option<PathBuf>,
    /// Show what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub socket: Socket,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// `disable`.
pub fn disable(arguments: &Disable, out: &mut Output<'_>) -> Result<Exit, Failure> {
    switch(&arguments.what, false, out)
}

/// `enable`.
pub fn enable(arguments: &Enable, out: &mut Output<'_>) -> Result<Exit, Failure> {
    switch(&arguments.what, true, out)
}

fn switch(what: &What, on: bool, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let (sources, daemon) = choose(what)?;
    let before = read_sources(&Machine, &sources);
    unit(what, on, &before)?;
    let survey = survey(&before, &sources);
    match survey.find(&what.service, on, &before)? {
        Meant::Already(entries) => already(what, on, &entries, &before, &daemon, out),
        Meant::One(candidate) => {
            if on {
                survey.can_be_switched_on(&candidate.switch, &before)?;
            }
            let edit = prepare(&survey, candidate, on, &before, &sources, out)?;
            finish(what, candidate, on, edit, &daemon, out)
        }
    }
}

/// A unit of systemd is not switched by an edit of its file: links say whether it is on.
fn unit(what: &What, on: bool, reading: &Reading) -> Result<(), Failure> {
    let served = reading.services.iter().map(|service| (&service.id, &service.name, &service.place));
    let left_out = reading.left_out.iter().map(|left| (&left.id, &left.name, &left.place));
    let is_it = |(id, name, place): &(&Text, &Text, &Place)| {
        (**id == what.service || **name == what.service) && place.file.ends_with(".socket")
    };
    let Some((_, _, place)) = served.chain(left_out).find(is_it) else { return Ok(()) };
    let unit = Path::new(&*place.file).file_name().unwrap_or_default();
    let verb = if on { "enable" } else { "disable" };
    let message = format!("{} is a unit of systemd; nothing was changed", escape::text(&place.file));
    let help = format!(
        "`systemctl {verb} {}`, or the link that it would make or remove by hand; then `portreeve reload`",
        escape::os(unit)
    );
    Err(Failure::with_help(message, help))
}

/// What is known of the daemon.
enum Daemon {
    /// None runs.
    None,
    /// One runs on other files.
    Elsewhere(String),
    /// One runs on these files; its `status`.
    Ours(Value),
}

/// The files that are meant: those that are named, else those of the running daemon, else the usual ones.
fn choose(what: &What) -> Result<(Sources, Daemon), Failure> {
    let named = Sources::named(what.file.as_deref(), what.inetd.as_deref(), &[]);
    let status = match what.socket.ask("status") {
        Ok(status) => status,
        // Who named a socket wants the files of that daemon.
        Err(Unanswered::NoDaemon(failure)) if named.is_none() && what.socket.control.is_some() => {
            return Err(failure);
        }
        Err(Unanswered::NoDaemon(_)) => {
            let usual = || {
                let there = |file: &&str| Path::new(file).exists();
                match [DEFAULT_FILE, inetd::DEFAULT_FILE].iter().find(|file| there(file)) {
                    Some(&inetd::DEFAULT_FILE) => {
                        Ok(Sources::of_inetd(inetd::DEFAULT_FILE, InetdUse::default()))
                    }
                    Some(file) => Ok(Sources::xinetd(*file)),
                    None => Err(Failure::with_help(
                        "no daemon runs, and there is no /etc/xinetd.conf",
                        "name the file with --file or --inetd",
                    )),
                }
            };
            return Ok((named.map_or_else(usual, Ok)?, Daemon::None));
        }
        Err(Unanswered::Failed(failure)) => return Err(failure),
    };
    let its = sources_of(&status);
    Ok(match named {
        None => (its, Daemon::Ours(status)),
        Some(named) if same_files(&named, &its) => (its, Daemon::Ours(status)),
        Some(named) => (named, Daemon::Elsewhere(its.main().display().to_string())),
    })
}

fn sources_of(status: &Value) -> Sources {
    let (main, inetd) = (PathBuf::from(text(status, "config")), PathBuf::from(text(status, "inetd")));
    let units: Vec<PathBuf> =
        items(status, "units").iter().filter_map(Value::as_str).map(PathBuf::from).collect();
    let inetd = Some(inetd).filter(|inetd| !inetd.as_os_str().is_empty());
    // Where there is no file of xinetd's, the first of the others stands for all of them.
    let main = Some(main).filter(|main| Some(main) != inetd.as_ref() && Some(main) != units.first());
    let mut sources = Sources { main, units, ..Sources::default() };
    let optional = sources.main.is_some();
    sources.inetd = inetd.map(|path| Inetd { path, usage: InetdUse::default(), optional });
    sources
}

/// Whether two configurations have the same files, by whatever name.
fn same_files(one: &Sources, other: &Sources) -> bool {
    let real = |path: &Path| canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let all = |sources: &Sources| sources.paths().map(real).collect::<Vec<_>>();
    all(one) == all(other)
}

/// Every entry of every file that was read.
fn survey(reading: &Reading, sources: &Sources) -> Survey {
    let mut survey = Survey::default();
    for file in &reading.files {
        // What cannot be read any more has been told by the reading, or is told when it is opened.
        let Ok(bytes) = Machine.read(file) else { continue };
        let (entries, lists) = entries(file, &bytes, sources);
        survey.lists.extend(lists);
        survey.candidates.extend(entries.into_iter().map(|switch| Candidate { file: file.clone(), switch }));
    }
    survey
}

/// The entries of one file, and the lists of its `defaults`.
fn entries(file: &Path, bytes: &[u8], sources: &Sources) -> (Vec<Switch>, Vec<NameList>) {
    let shown = file.to_string_lossy();
    if sources.inetd() == Some(file) {
        return (of_inetd(&shown, bytes), Vec::new());
    }
    let found = of_xinetd(&shown, bytes);
    (found.entries, found.lists)
}

/// A file that is ready to be replaced, and by what.
struct Edit {
    original: Original,
    before: Vec<u8>,
    after: Vec<u8>,
    /// How many services there are afterwards.
    served: usize,
}

/// The edit, after the configuration was read with it.
fn prepare(
    survey: &Survey,
    candidate: &Candidate,
    on: bool,
    before: &Reading,
    sources: &Sources,
    out: &mut Output<'_>,
) -> Result<Edit, Failure> {
    let shown = escape::os(candidate.file.as_os_str());
    let refused = |why: &dyn std::fmt::Display| Failure::new(format!("{shown}: {why}; nothing was changed"));
    let mut original = Original::open(&candidate.file).map_err(|error| refused(&error))?;
    let bytes = original.read(LONGEST).map_err(|error| refused(&system_text(&error)))?;
    let entries = |bytes: &[u8]| entries(&candidate.file, bytes, sources).0;
    // Found again in the very bytes that are edited: those of the survey may be older.
    let edited = entries(&bytes).iter().find(|e| **e == candidate.switch).and_then(|e| e.switched(&bytes));
    let Some(edited) = edited else {
        return Err(refused(&"it was changed by somebody else in the meantime"));
    };
    let Some(switched) = entries(&edited).into_iter().find(|e| e.place == candidate.switch.place) else {
        return Err(refused(&"the entry would not be the same one"));
    };
    let is_it = |path: &Path| original.is_at(path);
    let after = read_sources(&Overlay { below: &Machine, is_it: &is_it, contents: &edited }, sources);
    let errors = new_errors(before, &after);
    for error in &errors {
        snippet::write(out, &Finding::from(*error))?;
    }
    survey.judge(&switched, on, &after)?;
    if !errors.is_empty() {
        return Err(refused(&"the configuration would have errors that it has not now"));
    }
    Ok(Edit { original, before: bytes, after: edited, served: after.services.len() })
}

/// Writes, has the daemon read it, and says so.
fn finish(
    what: &What,
    candidate: &Candidate,
    on: bool,
    edit: Edit,
    daemon: &Daemon,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let shown = escape::os(candidate.file.as_os_str());
    let difference = difference::unified(&candidate.file.to_string_lossy(), &edit.before, &edit.after);
    if what.dry_run {
        if what.json {
            out.json(&answer(candidate, on, false, &difference, None, ""))?;
        } else {
            out.write_all(difference.as_bytes())?;
        }
        return Ok(Exit::Fine);
    }
    let unsynced = edit
        .original
        .replace(&edit.after)
        .map_err(|error| Failure::new(format!("{shown}: {error}; nothing was changed")))?;
    if !what.json {
        let word = if on { "on" } else { "off" };
        writeln!(
            out,
            "{}: switched {word} in {}",
            name(&candidate.switch),
            escape::text(&candidate.switch.place.to_string())
        )?;
        if let Some(error) = unsynced {
            let error = system_text(&error);
            writeln!(
                out,
                "the directory could not be written to the disk ({error}): a power failure may undo it"
            )?;
        }
    }
    take(what, candidate, on, &difference, daemon, edit.served, out)
}

/// Has the daemon read its files again, and says what came of it.
fn take(
    what: &What,
    candidate: &Candidate,
    on: bool,
    difference: &str,
    daemon: &Daemon,
    served: usize,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let (note, exit, reloaded) = match daemon {
        Daemon::None => ("no daemon answers: it counts from the next start on".to_owned(), Exit::Fine, None),
        Daemon::Elsewhere(main) => {
            let main = escape::text(main);
            (format!("the daemon that runs reads {main}, and was left alone"), Exit::Fine, None)
        }
        Daemon::Ours(_) => match reloaded(&what.socket) {
            Ok(answer) if reload::applied(&answer) && served == 0 => {
                let note =
                    "nothing is served any more: a daemon without -stayalive ends, and does not start again";
                (note.to_owned(), reload::verdict(&answer), Some(answer))
            }
            Ok(answer) if reload::applied(&answer) => (String::new(), reload::verdict(&answer), Some(answer)),
            Ok(answer) => ("the file stays as it is now".to_owned(), Exit::Found, Some(answer)),
            Err(failure) => (
                format!("the file stays as it is now, and the daemon has not read it: {failure}"),
                Exit::Found,
                None,
            ),
        },
    };
    if what.json {
        out.json(&answer(candidate, on, true, difference, reloaded.as_ref(), &note))?;
        return Ok(exit);
    }
    if let Some(answer) = &reloaded {
        reload::write(out, answer)?;
    }
    if !note.is_empty() {
        writeln!(out, "{}", escape::lines(&note))?;
    }
    Ok(exit)
}

/// A reload; behind one that is under way.
fn reloaded(socket: &Socket) -> Result<Value, Failure> {
    let mut tries = 1;
    loop {
        match socket.ask("reload") {
            Err(Unanswered::Failed(failure))
                if tries < TRIES && failure.to_string().contains("a reload is under way") =>
            {
                tries += 1;
                std::thread::sleep(APART);
            }
            other => return Ok(other?),
        }
    }
}

/// Nothing is to be written. The daemon may not have read it yet.
fn already(
    what: &What,
    on: bool,
    entries: &[&Candidate],
    reading: &Reading,
    daemon: &Daemon,
    out: &mut Output<'_>,
) -> Result<Exit, Failure> {
    let late = entries
        .iter()
        .find(|candidate| matches!(daemon, Daemon::Ours(status) if is_late(candidate, on, reading, status)));
    if !what.json {
        for candidate in entries {
            let why = match state(&candidate.switch, reading) {
                State::Off(reason) => format!("off: {reason}"),
                _ => "on".to_owned(),
            };
            let place = candidate.switch.place.to_string();
            writeln!(
                out,
                "{}: already {} ({})",
                name(&candidate.switch),
                escape::text(&why),
                escape::text(&place)
            )?;
        }
    }
    match (late, entries.first()) {
        (Some(candidate), _) if !what.dry_run => {
            if !what.json {
                writeln!(out, "the daemon has not read it yet")?;
            }
            take(what, candidate, on, "", daemon, reading.services.len(), out)
        }
        (_, Some(candidate)) if what.json => {
            out.json(&answer(candidate, on, false, "", None, "already so"))?;
            Ok(Exit::Fine)
        }
        _ => Ok(Exit::Fine),
    }
}

/// Whether the daemon does not yet do what the files say of an entry.
fn is_late(candidate: &Candidate, on: bool, reading: &Reading, status: &Value) -> bool {
    let does = |id: &str| {
        items(status, "services").iter().any(|s| text(s, "id") == id && text(s, "state") != "removed")
    };
    match state(&candidate.switch, reading) {
        State::Served(ids) => on && !ids.iter().all(|id| does(id)),
        _ => {
            let elsewhere = |id: &String| reading.services.iter().any(|service| service.id == *id);
            candidate.switch.ids.iter().any(|id| !on && does(id) && !elsewhere(id))
        }
    }
}

fn answer(
    candidate: &Candidate,
    on: bool,
    written: bool,
    difference: &str,
    reloaded: Option<&Value>,
    note: &str,
) -> Value {
    json!({
        "ids": candidate.switch.ids,
        "name": candidate.switch.name,
        "file": &*candidate.switch.place.file,
        "line": candidate.switch.place.line,
        "wanted": if on { "on" } else { "off" },
        "written": written && !difference.is_empty(),
        "difference": difference,
        "reload": reloaded,
        "note": note,
    })
}

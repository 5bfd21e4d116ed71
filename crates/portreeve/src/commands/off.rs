//! `portreeve off` and `portreeve on`: stop what listens, now and at the next boot, as one step that can be undone.

use super::switch;
use crate::control::Socket;
use crate::escape;
use crate::failure::{Exit, Failure};
use crate::off::act;
use crate::off::journal::{self, Record};
use crate::off::plan::Step;
use crate::off::session::Session;
use crate::off::target::{Look, Target, port};
use crate::output::Output;
use crate::since;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;

/// Stop what listens, now and at the next boot
///
/// WHAT is a service of ours, a unit (telnet.socket), an init script, an entry of a foreign inetd.conf, or a port (23, tcp:23, 69/udp) and
/// whoever listens there; `service:`, `unit:`, `init:` and `inetd:` say which is meant. A service is switched off in its file, as
/// `disable` does; a unit is disabled and stopped with its socket (masked where it cannot be disabled); a script is kept from starting and
/// stopped; a line of inetd.conf becomes a comment, and inetd reads it again. What was before is written down first, and `portreeve on`
/// puts it back. If a step fails, those before it are undone. What carries the session you are in is refused without --force. Without
/// WHAT: what is off. Exit codes: 0 it is off, 1 something is off (without WHAT), 2 nothing was changed.
#[derive(clap::Args, Debug)]
pub struct Off {
    /// What to stop
    pub what: Option<String>,
    /// Even what carries the session you are in
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub how: How,
}

/// Undo what `portreeve off` did
///
/// WHAT as `off` was given it, or as `portreeve off` lists it. All is put back as it was: what was disabled before stays so.
#[derive(clap::Args, Debug)]
pub struct On {
    /// What to start again
    pub what: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub how: How,
}

/// What both have.
#[derive(clap::Args, Debug)]
pub struct How {
    /// Show the steps, and do none
    #[arg(long)]
    pub dry_run: bool,
    /// Where it is written down what was before
    #[arg(long, value_name = "DIR", default_value = journal::DIRECTORY)]
    pub journal: PathBuf,
    /// Another systemctl, for tests
    #[arg(long, value_name = "FILE", default_value = "systemctl", hide = true)]
    pub systemctl: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub socket: Socket,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// `off`.
pub fn off(arguments: &Off, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let how = &arguments.how;
    let Some(what) = &arguments.what else { return list(how, out) };
    let look = Look { socket: &how.socket, systemctl: &how.systemctl };
    let target = look.find(what)?;
    let number = port(what).map(|(_, number)| number);
    let carried = Session::look().is_carried_by(&target.units(), target.word(), number);
    if carried && !arguments.force && !how.dry_run {
        return Err(Failure::with_help(
            format!("{} carries the session that you are in; nothing was done", escape::text(&target.name())),
            "--force stops it all the same",
        ));
    }
    let name = target.name();
    if journal::read(&how.journal, &name)?.is_some() {
        writeln!(out, "{}: already off; `portreeve on {0}` puts it back", escape::text(&name))?;
        return Ok(Exit::Fine);
    }
    if let Target::Ours(id) = &target {
        return ours(how, id, &name, false, out);
    }
    let steps = look.plan(&target)?;
    if steps.is_empty() {
        writeln!(out, "{}: neither starts nor runs; nothing to do", escape::text(&name))?;
        return Ok(Exit::Fine);
    }
    if how.dry_run {
        return show(how, &name, &steps, false, out);
    }
    let at = portreeve_sys::clock::wall_seconds();
    let record = Record { name: name.clone(), at, steps };
    if !journal::write(&how.journal, &record)? {
        return Err(Failure::new(format!("{}: another `off` is under way", escape::text(&name))));
    }
    for (done, step) in record.steps.iter().enumerate() {
        let Err(why) = act::make(step) else { continue };
        let back: Vec<String> =
            record.steps.iter().take(done + 1).rev().filter_map(|step| act::undo(step).err()).collect();
        let all_back = back.is_empty();
        if all_back {
            journal::remove(&how.journal, &name)?;
        }
        let rest = if all_back {
            "what was done before is undone".to_owned()
        } else {
            format!(
                "and not all could be undone: {}; the record is kept in {}",
                back.join("; "),
                how.journal.display()
            )
        };
        return Err(Failure::new(escape::lines(&format!("{why}; {rest}"))));
    }
    told(how, &name, &record.steps, false, out)
}

/// `on`.
pub fn on(arguments: &On, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let how = &arguments.how;
    let known = journal::names(&how.journal);
    let fits = |name: &&String| {
        **name == arguments.what
            || name.split_once(':').is_some_and(|(_, rest)| {
                rest == arguments.what
                    || [".service", ".socket"]
                        .iter()
                        .any(|end| rest.strip_suffix(end) == Some(&arguments.what))
            })
    };
    let found: Vec<_> = known.iter().filter(fits).collect();
    let name = match found.as_slice() {
        [one] => (*one).clone(),
        [] => {
            let help = if known.is_empty() {
                "nothing is off by `portreeve off`".to_owned()
            } else {
                format!("there is {}", escape::text(&known.join(", ")))
            };
            let message = format!("`portreeve off` switched no {} off", escape::text(&arguments.what));
            return Err(Failure::with_help(message, help));
        }
        _ => return Err(Failure::new(format!("several are meant: {}", escape::text(&known.join(", "))))),
    };
    let Some(record) = journal::read(&how.journal, &name)? else {
        return Err(Failure::new("it was switched on in the meantime"));
    };
    if let Some(id) = name.strip_prefix("service:") {
        return ours(how, id, &name, true, out);
    }
    if how.dry_run {
        return show(how, &name, &record.steps, true, out);
    }
    let failed: Vec<String> = backwards(&record.steps).filter_map(|step| act::undo(step).err()).collect();
    if !failed.is_empty() {
        let rest = format!("the record is kept in {}: mend that, and call it again", how.journal.display());
        return Err(Failure::with_help(escape::lines(&failed.join("; ")), rest));
    }
    journal::remove(&how.journal, &name)?;
    told(how, &name, &record.steps, true, out)
}

/// As they are undone: but a process reads its configuration after it was written.
fn backwards(steps: &[Step]) -> impl Iterator<Item = &Step> {
    let (signals, rest): (Vec<_>, Vec<_>) =
        steps.iter().rev().partition(|step| matches!(step, Step::Hangup { .. }));
    rest.into_iter().chain(signals)
}

/// A service of ours: `disable` and `enable` know how, and undo each other exactly.
fn ours(how: &How, id: &str, name: &str, on: bool, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let what = switch::What {
        service: id.to_owned(),
        file: None,
        inetd: None,
        dry_run: how.dry_run,
        socket: how.socket.clone(),
        json: how.json,
    };
    if on {
        let exit = switch::enable(&switch::Enable { what }, out)?;
        if !how.dry_run {
            journal::remove(&how.journal, name)?;
        }
        return Ok(exit);
    }
    let at = portreeve_sys::clock::wall_seconds();
    let record = Record { name: name.to_owned(), at, steps: Vec::new() };
    if !how.dry_run {
        journal::write(&how.journal, &record)?;
    }
    switch::disable(&switch::Disable { what }, out).inspect_err(|_| drop(journal::remove(&how.journal, name)))
}

fn show(how: &How, name: &str, steps: &[Step], on: bool, out: &mut Output<'_>) -> Result<Exit, Failure> {
    if how.json {
        let steps: Vec<_> = steps.iter().map(Step::json).collect();
        out.json(
            &json!({"what": name, "wanted": if on { "on" } else { "off" }, "done": false, "steps": steps}),
        )?;
        return Ok(Exit::Fine);
    }
    if on {
        for step in backwards(steps).filter(|step| !step.undo_words().is_empty()) {
            writeln!(out, "would {}", escape::text(&step.undo_words()))?;
        }
    } else {
        for step in steps {
            writeln!(out, "would {}", escape::text(&step.words()))?;
        }
    }
    Ok(Exit::Fine)
}

fn told(how: &How, name: &str, steps: &[Step], on: bool, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let word = if on { "on" } else { "off" };
    if how.json {
        let steps: Vec<_> = steps.iter().map(Step::json).collect();
        out.json(&json!({"what": name, "wanted": word, "done": true, "steps": steps}))?;
        return Ok(Exit::Fine);
    }
    writeln!(out, "{}: {word}, now and at the next boot", escape::text(name))?;
    if !on {
        writeln!(out, "`portreeve on {}` puts it back as it was", escape::text(name))?;
    }
    Ok(Exit::Fine)
}

fn list(how: &How, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let names = journal::names(&how.journal);
    let records: Vec<Record> = names
        .iter()
        .map(|name| journal::read(&how.journal, name))
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .flatten()
        .collect();
    if how.json {
        let record = |record: &Record| json!({"what": record.name, "since": record.at});
        out.json(&json!({"off": records.iter().map(record).collect::<Vec<_>>()}))?;
    } else if records.is_empty() {
        writeln!(out, "nothing is off by `portreeve off`")?;
    } else {
        portreeve_sys::clock::load_zone();
        for record in &records {
            writeln!(out, "{}  since {}", escape::text(&record.name), since::local(record.at * 1_000_000))?;
        }
    }
    Ok(if records.is_empty() { Exit::Fine } else { Exit::Found })
}

//! `portreeve demo`: shows the gate at work without root, without a file, on loopback. Puts the parts of `crate::demo`
//! together and prints; decides nothing about serving.

use crate::demo::house::House;
use crate::demo::services::{self, Scene, Shown};
use crate::demo::watch::{Event, Gate};
use crate::escape;
use crate::failure::{Exit, Failure, system_text};
use crate::output::{Output, Paint};
use crate::rehearse;
use portreeve_sys::signals::{Signal, SignalFd};
use portreeve_sys::{names, signals};
use serde_json::json;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// How long the gate may take until it serves.
const PATIENCE: Duration = Duration::from_secs(15);
/// The line that says how many services are served (reference xinetd §11.1).
const SERVING: &str = "Started working: ";

/// Show it at work: on loopback, without root, without a file
///
/// Serves a few services on 127.0.0.1 from a configuration of its own, prints a line to try for each, then what
/// happens. Ctrl-C ends it and leaves nothing behind.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// One JSON object a line: `ready` first, then `line` for each event
    #[arg(long)]
    pub json: bool,
}

/// Serves, prints events, ends.
pub fn run(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    // Signals become data first: from here on nothing ends this process without the house being removed.
    let wanted = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT];
    let told = signals::take_over(&wanted)
        .map_err(|error| Failure::new(format!("signals cannot be taken over: {}", system_text(&error))))?;
    let house = House::new()?;
    let script = house.write("hello", 0o700, services::HELLO)?;
    let shown = services::all(Scene { user: &user(), script: &script, minute: rehearse::minute() })?;
    let configuration = house.write("xinetd.conf", 0o600, &services::configuration(&shown))?;
    let control = house.path().join("control");
    let mut gate = Gate::start(&configuration, &control)?;
    let mut teller = Teller { json: arguments.json, control: &control, configuration: &configuration };
    let ended = serve(&mut gate, &told, &shown, &mut teller, out);
    let mut late = Vec::new();
    let status = gate.end(|line| late.push(line.to_owned()));
    // A reader that went away ends the demonstration, but the gate is ended all the same.
    for line in &late {
        teller.line(out, line)?;
    }
    match ended? {
        Event::Ended => {
            let how = status.map_or_else(|| "in an unknown way".to_owned(), |status| status.to_string());
            Err(Failure::new(format!("the gate ended by itself ({how}); what it said stands above")))
        }
        _ => {
            teller.end(out)?;
            Ok(Exit::Fine)
        }
    }
}

fn serve(
    gate: &mut Gate,
    told: &SignalFd,
    shown: &[Shown],
    teller: &mut Teller<'_>,
    out: &mut Output<'_>,
) -> Result<Event, Failure> {
    let mut introduced = false;
    loop {
        let patience = (!introduced).then_some(PATIENCE);
        match gate.next(told, patience)? {
            Event::Line(line) if !introduced => {
                teller.line(out, &line)?;
                if line.contains(SERVING) {
                    introduced = true;
                    teller.introduce(out, shown, gate.pid())?;
                }
            }
            Event::Line(line) => teller.line(out, &line)?,
            Event::Nothing => {
                return Err(Failure::new(format!("the gate did not serve within {} s", PATIENCE.as_secs())));
            }
            end @ (Event::Told | Event::Ended) => return Ok(end),
        }
    }
}

/// The user this runs as, as the configuration wants it: a name, or the number where it has no name.
fn user() -> String {
    let uid = rustix::process::geteuid().as_raw();
    names::user_by_id(uid).map_or_else(|_| uid.to_string(), |user| user.name)
}

/// Prints the demonstration, for people or for machines.
struct Teller<'a> {
    json: bool,
    control: &'a Path,
    configuration: &'a Path,
}

impl Teller<'_> {
    fn introduce(&mut self, out: &mut Output<'_>, shown: &[Shown], pid: u32) -> std::io::Result<()> {
        if self.json {
            let services: Vec<_> = shown
                .iter()
                .map(|s| json!({ "name": s.name, "port": s.port, "shows": s.shows, "try": s.attempt }))
                .collect();
            let ready = json!({ "event": "ready", "pid": pid, "control": escape::os(self.control.as_os_str()),
                "configuration": escape::os(self.configuration.as_os_str()), "services": services });
            writeln!(out, "{ready}")?;
            return out.flush();
        }
        writeln!(out, "\nportreeve serves. In another terminal, try:\n")?;
        for service in shown {
            let name = out.paint(Paint::Bold, &format!("{:<10}", service.name));
            writeln!(out, "  {name} {}\n             {}", service.shows, service.attempt)?;
        }
        let own = std::env::current_exe()
            .map_or_else(|_| "portreeve".to_owned(), |path| escape::os(path.as_os_str()));
        let control = escape::os(self.control.as_os_str());
        writeln!(out, "\n  and what the daemon knows:\n")?;
        for rest in ["status", "explain elsewhere 127.0.0.1", "denied list", "denied clear all"] {
            writeln!(out, "             {own} {rest} --control {control}")?;
        }
        writeln!(
            out,
            "\nThe configuration is {}. Ctrl-C ends it.\n",
            escape::os(self.configuration.as_os_str())
        )?;
        out.flush()
    }

    fn line(&mut self, out: &mut Output<'_>, line: &str) -> std::io::Result<()> {
        if self.json {
            writeln!(out, "{}", json!({ "event": "line", "line": line }))?;
        } else if !line.contains("]: DEBUG: ") {
            let paint = match line {
                l if l.contains(": FAIL: ") || l.contains(" ERROR: ") || l.contains("CRITICAL: ") => {
                    Paint::Red
                }
                l if l.contains(": START: ") => Paint::Green,
                l if l.contains(": EXIT: ") => Paint::Plain,
                _ => Paint::Dim,
            };
            let text = out.paint(paint, &escape::text(line));
            writeln!(out, "{text}")?;
        }
        out.flush()
    }

    fn end(&mut self, out: &mut Output<'_>) -> std::io::Result<()> {
        if self.json {
            writeln!(out, "{}", json!({ "event": "end" }))?;
        } else {
            writeln!(out, "\nended; nothing is left behind")?;
        }
        out.flush()
    }
}

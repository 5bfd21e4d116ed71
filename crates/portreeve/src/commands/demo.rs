//! `portreeve demo`: shows the gate at work without root, without a file, on loopback. Puts the parts of `crate::demo`
//! together and prints; decides nothing about serving.

use crate::demo::house::House;
use crate::demo::services::{self, Scene, Shown};
use crate::demo::teller::Teller;
use crate::demo::watch::{Event, Gate};
use crate::failure::{Exit, Failure, system_text};
use crate::output::Output;
use crate::rehearse;
use portreeve_sys::signals::{Signal, SignalFd};
use portreeve_sys::{names, signals};
use std::time::Duration;

/// How long the gate may take until it serves.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often other ports are looked for when somebody took one in between.
const ATTEMPTS: u32 = 5;

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

/// How a gate's time ended.
enum Outcome {
    /// Somebody wants the demonstration to end.
    Told,
    /// The gate ended by itself.
    Died,
    /// Somebody else was quicker at one of the ports.
    Overtaken,
}

/// Serves, prints events, ends.
pub fn run(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    // Signals become data first: from here on nothing ends this process without the house being removed.
    let wanted = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT];
    let told = signals::take_over(&wanted)
        .map_err(|error| Failure::new(format!("signals cannot be taken over: {}", system_text(&error))))?;
    let house = House::new()?;
    let script = house.write("hello", 0o700, services::HELLO)?;
    let (user, control) = (user(), house.path().join("control"));
    let scene = Scene { user: &user, script: &script, minute: rehearse::minute() };
    let mut taken = Vec::new();
    for attempt in 1..=ATTEMPTS {
        let shown = services::all(scene, &taken)?;
        let name = if attempt == 1 { "xinetd.conf".to_owned() } else { format!("xinetd-{attempt}.conf") };
        let configuration = house.write(&name, 0o600, &services::configuration(&shown))?;
        let teller = Teller { json: arguments.json, control: &control, configuration: &configuration };
        let mut gate = Gate::start(&configuration, &control)?;
        let outcome = serve(&mut gate, &told, &shown, &teller, out);
        let mut late = Vec::new();
        let status = gate.end(|line| late.push(line.to_owned()));
        // A reader that went away ends the demonstration, but the gate is ended all the same.
        for line in &late {
            teller.line(out, line)?;
        }
        match outcome? {
            Outcome::Told => {
                teller.end(out)?;
                return Ok(Exit::Fine);
            }
            Outcome::Died => {
                let how = status.map_or_else(|| "in an unknown way".to_owned(), |status| status.to_string());
                return Err(Failure::new(format!(
                    "the gate ended by itself ({how}); what it said stands above"
                )));
            }
            Outcome::Overtaken => taken.extend(shown.iter().map(|service| service.port)),
        }
    }
    Err(Failure::new(format!("in {ATTEMPTS} attempts not all ports could be had")))
}

fn serve(
    gate: &mut Gate,
    told: &SignalFd,
    shown: &[Shown],
    teller: &Teller<'_>,
    out: &mut Output<'_>,
) -> Result<Outcome, Failure> {
    let mut introduced = false;
    loop {
        let patience = (!introduced).then_some(PATIENCE);
        match gate.next(told, patience)? {
            Event::Line(line) => {
                teller.line(out, &line)?;
                match serving(&line) {
                    Some(count) if !introduced && count < shown.len() => return Ok(Outcome::Overtaken),
                    Some(_) if !introduced => {
                        introduced = true;
                        teller.introduce(out, shown, gate.pid())?;
                    }
                    _ => {}
                }
            }
            Event::Nothing => {
                return Err(Failure::new(format!("the gate did not serve within {} s", PATIENCE.as_secs())));
            }
            Event::Told => return Ok(Outcome::Told),
            Event::Ended => return Ok(Outcome::Died),
        }
    }
}

/// How many services the gate says it serves: `Started working: 6 available services` (reference xinetd §11.1).
fn serving(line: &str) -> Option<usize> {
    let (_, rest) = line.split_once("Started working: ")?;
    rest.split_whitespace().next()?.parse().ok()
}

/// The user this runs as, as the configuration wants it: a name, or the number where it has no name.
fn user() -> String {
    let uid = rustix::process::geteuid().as_raw();
    names::user_by_id(uid).map_or_else(|_| uid.to_string(), |user| user.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gate_says_how_many_it_serves() {
        assert_eq!(
            serving("26/11/22@19:37:31 portreeve[1]: NOTICE: Started working: 1 available service"),
            Some(1)
        );
        assert_eq!(serving("NOTICE: Started service: echo"), None);
    }
}

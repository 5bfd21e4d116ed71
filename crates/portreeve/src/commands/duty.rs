//! `portreeve hold`, `release`, `drain`, `stop`, `start`: what one service does, by order. The daemon carries the order out;
//! this asks, and for `drain` and `stop` waits until nothing runs any more.

use crate::answer::{count, items, number, text};
use crate::control::Socket;
use crate::escape;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use serde_json::Value;
use std::io::Write;
use std::time::{Duration, Instant};

/// How often it is looked whether something still runs.
const LOOK: Duration = Duration::from_millis(200);

/// Stop accepting; the kernel's queue keeps new clients
///
/// Nobody is refused while a package is upgraded: clients wait and are served after `release`. The queue has room for
/// net.core.somaxconn of them. A reload ends a hold unless --keep is given; an upgrade does not.
#[derive(clap::Args, Debug)]
pub struct Hold {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub which: Which,
    /// Reloads do not end it
    #[arg(long)]
    pub keep: bool,
}

/// Accept again after `hold`
#[derive(clap::Args, Debug)]
pub struct Release {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub which: Which,
}

/// Take no new clients, and wait until those that are served have ended
///
/// The listener is closed: who connects is refused by the kernel. A program that has the socket itself (wait = yes) serves
/// on until it ends. Exit code 1 when something still runs after --timeout.
#[derive(clap::Args, Debug)]
pub struct Drain {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub ending: Ending,
}

/// Take no new clients, and end those that are served
///
/// Programs get SIGTERM, and SIGKILL 2.5 seconds later. Until `start`, the next reload or the next start of the daemon;
/// `portreeve disable` is for good. Exit code 1 when something still runs after --timeout.
#[derive(clap::Args, Debug)]
pub struct Stop {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub ending: Ending,
}

/// Serve again after `stop`, `drain` or `hold`
#[derive(clap::Args, Debug)]
pub struct Start {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub which: Which,
}

/// Which service, of which daemon.
#[derive(clap::Args, Debug)]
pub struct Which {
    /// A service's id, or its name
    #[arg(value_name = "SERVICE")]
    pub service: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub socket: Socket,
    /// Answer in JSON, as the daemon gives it
    #[arg(long)]
    pub json: bool,
}

/// An order that is carried out in time.
#[derive(clap::Args, Debug)]
pub struct Ending {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub which: Which,
    /// Reloads do not end it
    #[arg(long)]
    pub keep: bool,
    /// Wait no longer than this for what runs to end; 0 does not wait at all [default: no limit]
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u32>,
}

/// `hold`.
pub fn hold(arguments: &Hold, out: &mut Output<'_>) -> Result<Exit, Failure> {
    order("hold", &arguments.which, arguments.keep, out)
}

/// `release`.
pub fn release(arguments: &Release, out: &mut Output<'_>) -> Result<Exit, Failure> {
    order("release", &arguments.which, false, out)
}

/// `start`.
pub fn start(arguments: &Start, out: &mut Output<'_>) -> Result<Exit, Failure> {
    order("start", &arguments.which, false, out)
}

/// `drain`.
pub fn drain(arguments: &Drain, out: &mut Output<'_>) -> Result<Exit, Failure> {
    end("drain", &arguments.ending, out)
}

/// `stop`.
pub fn stop(arguments: &Stop, out: &mut Output<'_>) -> Result<Exit, Failure> {
    end("stop", &arguments.ending, out)
}

fn order(verb: &str, which: &Which, keep: bool, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let answer = ask(verb, which, keep)?;
    show(which, &answer, out)?;
    Ok(Exit::Fine)
}

fn ask(verb: &str, which: &Which, keep: bool) -> Result<Value, Failure> {
    let service = word(&which.service)?;
    let keep = if keep { " keep" } else { "" };
    Ok(which.socket.ask(&format!("{verb} {service}{keep}"))?)
}

/// A request is words with spaces between; a service's id has none.
fn word(service: &str) -> Result<&str, Failure> {
    if service.is_empty() || service.contains(char::is_whitespace) {
        return Err(Failure::new(format!("`{}` is no service's id", escape::text(service))));
    }
    Ok(service)
}

fn end(verb: &str, ending: &Ending, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let mut answer = ask(verb, &ending.which, ending.keep)?;
    let until = ending.timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds.into()));
    let ids: Vec<String> = items(&answer, "services").iter().map(|s| text(s, "id").to_owned()).collect();
    while running(&answer) > 0 && until.is_none_or(|until| Instant::now() < until) {
        std::thread::sleep(LOOK);
        let mut status = ending.which.socket.ask("status")?;
        if let Some(services) = status.get_mut("services").and_then(Value::as_array_mut) {
            services.retain(|service| ids.iter().any(|id| id == text(service, "id")));
        }
        answer = status;
    }
    let left = running(&answer);
    show(&ending.which, &answer, out)?;
    Ok(if left == 0 { Exit::Fine } else { Exit::Found })
}

fn running(answer: &Value) -> u64 {
    items(answer, "services").iter().filter_map(|service| number(service, "running")).sum()
}

fn show(which: &Which, answer: &Value, out: &mut Output<'_>) -> Result<(), Failure> {
    if which.json {
        return Ok(out.json(answer)?);
    }
    for service in items(answer, "services") {
        let (id, state) = (escape::text(text(service, "id")), escape::text(text(service, "state")));
        writeln!(out, "{id}: {state}, {} running", count(service, "running"))?;
    }
    Ok(())
}

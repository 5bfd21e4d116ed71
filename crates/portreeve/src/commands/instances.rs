//! `portreeve instances` and `portreeve kill`: what runs for clients now, and the end of one of them.

use crate::answer::{items, number, span, text};
use crate::control::Socket;
use crate::escape;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::table::Table;
use std::io::Write;

/// Show what runs for clients now
///
/// A number is a process; bN a session in the builtin worker; rN a connection that is redirected. The column program says whether
/// the file that it was started from is still there: current, older (another content has its name now) or gone.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Of this service only
    #[arg(value_name = "SERVICE")]
    pub service: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub socket: Socket,
    /// Answer in JSON, as the daemon gives it
    #[arg(long)]
    pub json: bool,
}

/// End one running instance
///
/// Only what the daemon itself has started, by the number that `instances` shows. A program gets SIGTERM, and SIGKILL
/// 2.5 seconds later.
#[derive(clap::Args, Debug)]
pub struct Kill {
    /// A number as `instances` shows it
    #[arg(value_name = "INSTANCE")]
    pub instance: String,
    /// SIGKILL at once
    #[arg(long)]
    pub now: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub socket: Socket,
    /// Answer in JSON, as the daemon gives it
    #[arg(long)]
    pub json: bool,
}

/// Asks and prints.
pub fn run(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let request = match &arguments.service {
        Some(service) => format!("instances {service}"),
        None => "instances".to_owned(),
    };
    let answer = arguments.socket.ask(&request)?;
    if arguments.json {
        out.json(&answer)?;
        return Ok(Exit::Fine);
    }
    let all = items(&answer, "instances");
    if all.is_empty() {
        writeln!(out, "nothing runs")?;
        return Ok(Exit::Fine);
    }
    let mut table = Table::new(&["instance", "service", "client", "for", "program"]);
    for instance in all {
        let peer = Some(text(instance, "peer")).filter(|peer| !peer.is_empty()).unwrap_or("-");
        table.row(vec![
            escape::text(text(instance, "instance")).into(),
            escape::text(text(instance, "service")).into(),
            escape::text(peer).into(),
            number(instance, "seconds").map_or_else(|| "-".to_owned(), span).into(),
            escape::text(Some(text(instance, "program")).filter(|word| !word.is_empty()).unwrap_or("-"))
                .into(),
        ]);
    }
    table.write(out, 0)?;
    Ok(Exit::Fine)
}

/// Asks and prints.
pub fn kill(arguments: &Kill, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let now = if arguments.now { " now" } else { "" };
    let answer = arguments.socket.ask(&format!("kill {}{now}", arguments.instance))?;
    if arguments.json {
        out.json(&answer)?;
    } else {
        let (service, instance) = (text(&answer, "service"), text(&answer, "instance"));
        writeln!(out, "{}: instance {} told to end", escape::text(service), escape::text(instance))?;
    }
    Ok(Exit::Fine)
}

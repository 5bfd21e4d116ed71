//! `portreeve upgrade`: has the running daemon go over to the executable that now lies where its own was. The daemon has the
//! new one probed first; this only asks and reports.

use crate::answer::{count, text};
use crate::control::Socket;
use crate::escape;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use std::io::Write;

/// Have the running daemon go over to the new version of its executable
///
/// The new executable is probed first, then executed in place: same process, same sockets, and whatever runs goes on. When
/// it cannot go on from where the running version is, that version goes on and this command says why. The configuration
/// stays the one in force; `reload` reads the files. SIGUSR2 does the same. See docs/guide/upgrade.md.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub socket: Socket,
    /// Answer in JSON, as the daemon gives it
    #[arg(long)]
    pub json: bool,
}

/// Asks and prints.
pub fn run(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let answer = arguments.socket.ask("upgrade")?;
    if arguments.json {
        out.json(&answer)?;
        return Ok(Exit::Fine);
    }
    let (from, to) = (escape::text(text(&answer, "from")), escape::text(text(&answer, "to")));
    writeln!(
        out,
        "upgraded from {from} to {to}: pid {}, {} services",
        count(&answer, "pid"),
        count(&answer, "services")
    )?;
    Ok(Exit::Fine)
}

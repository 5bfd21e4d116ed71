//! `portreeve dump`: has the running daemon write its state under xinetd's headings, as SIGUSR1 does.

use crate::answer::text;
use crate::control::Socket;
use crate::escape;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use std::io::Write;

/// Have the running daemon write its state to its dump file (as SIGUSR1 does)
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
    let answer = arguments.socket.ask("dump")?;
    if arguments.json {
        out.json(&answer)?;
        return Ok(Exit::Fine);
    }
    writeln!(out, "dumped to {}", escape::text(text(&answer, "file")))?;
    Ok(Exit::Fine)
}

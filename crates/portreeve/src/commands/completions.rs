//! `portreeve completions`: a completion script for a shell, generated from the commands' own definitions.

use crate::commands::Cli;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use clap::CommandFactory;
use std::io::Write;

/// Print a completion script for a shell
///
/// For bash: portreeve completions bash > /etc/bash_completion.d/portreeve
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// Prints it.
pub fn run(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    // Through a buffer: the generator panics when its writer fails, and a closed pipe must not.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "portreeve", &mut script);
    out.write_all(&script)?;
    Ok(Exit::Fine)
}

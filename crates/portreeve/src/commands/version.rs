//! `portreeve version`: which release this is.

use crate::failure::{Exit, Failure};
use crate::output::Output;
use std::io::Write;

/// Print the version
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// Prints it.
pub fn run(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    if arguments.json {
        out.json(&serde_json::json!({ "version": version }))?;
    } else {
        writeln!(out, "portreeve {version}")?;
    }
    Ok(Exit::Fine)
}

//! `portreeve firewall`: the host firewall. This file lists its verbs; each has a file, and what they decide is in `crate::firewall`.

mod export;
mod plan;

use crate::failure::{Exit, Failure};
use crate::output::Output;

/// The host firewall: plan it, try it, confirm it, take it back
///
/// One table of nf_tables, `inet portreeve_host`, lets in what this host really serves: our services from where their only_from and
/// no_access say, and what portreeve.toml names in [firewall]. All else is logged and dropped. No other table is touched, and
/// bans have their own.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(subcommand)]
    #[allow(missing_docs)]
    pub verb: Verb,
}

#[derive(clap::Subcommand, Debug)]
#[allow(missing_docs)]
pub enum Verb {
    Plan(plan::Arguments),
    Export(export::Arguments),
}

/// Runs a verb.
pub fn run(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    match &arguments.verb {
        Verb::Plan(arguments) => plan::run(arguments, out),
        Verb::Export(arguments) => export::run(arguments, out),
    }
}

//! `portreeve firewall`: the host firewall. This file lists its verbs; each has a file, and what they decide is in `crate::firewall`.

mod apply;
mod confirm;
mod export;
mod plan;
mod show;

use crate::failure::{Exit, Failure};
use crate::firewall::watchdog;
use crate::output::Output;

/// The host firewall: plan it, try it, confirm it, take it back
///
/// One table of nf_tables, `inet portreeve_host`, lets in what this host really serves: our services from where their only_from and
/// no_access say, and what portreeve.toml names in [firewall]. All else is logged and dropped. No other table is touched (a second one
/// notes connections while rules are tried), and bans have their own.
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
    Apply(apply::Arguments),
    Confirm(confirm::Confirm),
    Rollback(confirm::Rollback),
    Show(show::Arguments),
    Load(confirm::Load),
    Export(export::Arguments),
    #[command(hide = true)]
    Watch(Watch),
}

/// The watchdog of a trial; `apply` starts it
#[derive(clap::Args, Debug)]
pub struct Watch {
    /// Which one
    #[arg(value_parser = clap::value_parser!(u8).range(0..i64::from(watchdog::SEATS)))]
    pub seat: u8,
    /// Of which trial
    pub token: String,
}

/// Runs a verb.
pub fn run(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    match &arguments.verb {
        Verb::Plan(arguments) => plan::run(arguments, out),
        Verb::Apply(arguments) => apply::run(arguments, out),
        Verb::Confirm(arguments) => confirm::confirm(arguments, out),
        Verb::Rollback(arguments) => confirm::rollback(arguments, out),
        Verb::Show(arguments) => show::run(arguments, out),
        Verb::Load(arguments) => confirm::load(arguments, out),
        Verb::Export(arguments) => export::run(arguments, out),
        Verb::Watch(arguments) => {
            root_only("watches a trial")?;
            watchdog::watch(arguments.seat, &arguments.token).map(|()| Exit::Fine)
        }
    }
}

fn root_only(what: &str) -> Result<(), Failure> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::with_help(format!("only root {what}"), "try it with sudo or doas"))
}

//! The commands: one file each, with its arguments, its help and what it does. This file only lists them.

pub mod attributes;
pub mod audit;
pub mod ban;
mod ban_evidence;
mod ban_preview;
pub mod chain;
pub mod check;
pub mod compile_hosts;
pub mod completions;
pub mod convert;
pub mod demo;
pub mod drift;
pub mod dump;
pub mod duty;
pub mod events;
pub mod evidence;
pub mod explain;
pub mod firewall;
pub mod import;
pub mod inetd;
pub mod instances;
pub mod integrity;
mod integrity_watch;
pub mod links;
pub mod listeners;
pub mod off;
pub mod reload;
pub mod run;
pub mod safe_finger;
pub mod scans;
pub mod sealed;
pub mod stale;
pub mod status;
pub mod switch;
pub mod tcpd;
pub mod tcpdchk;
pub mod tcpdmatch;
pub mod trust;
mod try_from;
pub mod upgrade;
pub mod version;

use crate::failure::{Exit, Failure};
use crate::output::Output;
use clap::{Parser, Subcommand};

/// How every command ends, for the foot of the help and of the manual pages.
pub const EXIT_CODES: &str = "Exit codes: 0 fine, 1 found something to look at, 2 could not run.";

/// Keeps a host's ports: a super-server that reads xinetd's files.
#[derive(Debug, Parser)]
#[command(name = "portreeve", version, after_help = EXIT_CODES, max_term_width = 100, subcommand_value_name = "COMMAND", subcommand_help_heading = "Commands")]
pub struct Cli {
    #[command(subcommand)]
    #[allow(missing_docs)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
#[allow(missing_docs)]
pub enum Command {
    Run(run::Arguments),
    Inetd(inetd::Arguments),
    Check(check::Arguments),
    Status(status::Arguments),
    Explain(explain::Arguments),
    Reload(reload::Arguments),
    Upgrade(upgrade::Arguments),
    Hold(duty::Hold),
    Release(duty::Release),
    Drain(duty::Drain),
    Stop(duty::Stop),
    Start(duty::Start),
    Disable(switch::Disable),
    Enable(switch::Enable),
    Instances(instances::Arguments),
    Kill(instances::Kill),
    #[command(alias = "denied")]
    Ban(ban::Arguments),
    Evidence(evidence::Arguments),
    Events(events::Arguments),
    Firewall(firewall::Arguments),
    Scans(scans::Arguments),
    Listeners(listeners::Arguments),
    Off(off::Off),
    On(off::On),
    Audit(audit::Arguments),
    Stale(stale::Arguments),
    Integrity(integrity::Arguments),
    Dump(dump::Arguments),
    Attributes(attributes::Arguments),
    Convert(convert::Arguments),
    Tcpdmatch(tcpdmatch::Arguments),
    Tcpdchk(tcpdchk::Arguments),
    Tcpd(tcpd::Arguments),
    #[command(name = "safe_finger")]
    SafeFinger(safe_finger::Arguments),
    TryFrom(try_from::Arguments),
    CompileHosts(compile_hosts::Arguments),
    Demo(demo::Arguments),
    Links(links::Arguments),
    Completions(completions::Arguments),
    Version(version::Arguments),
}

/// Runs one command.
pub fn dispatch(command: Command, out: &mut Output<'_>) -> Result<Exit, Failure> {
    match command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Inetd(arguments) => inetd::run(&arguments),
        Command::Check(arguments) => check::run(&arguments, out),
        Command::Status(arguments) => status::run(&arguments, out),
        Command::Explain(arguments) => explain::run(&arguments, out),
        Command::Reload(arguments) => reload::run(&arguments, out),
        Command::Upgrade(arguments) => upgrade::run(&arguments, out),
        Command::Hold(arguments) => duty::hold(&arguments, out),
        Command::Release(arguments) => duty::release(&arguments, out),
        Command::Drain(arguments) => duty::drain(&arguments, out),
        Command::Stop(arguments) => duty::stop(&arguments, out),
        Command::Start(arguments) => duty::start(&arguments, out),
        Command::Disable(arguments) => switch::disable(&arguments, out),
        Command::Enable(arguments) => switch::enable(&arguments, out),
        Command::Instances(arguments) => instances::run(&arguments, out),
        Command::Kill(arguments) => instances::kill(&arguments, out),
        Command::Ban(arguments) => ban::run(&arguments, out),
        Command::Evidence(arguments) => evidence::run(&arguments, out),
        Command::Events(arguments) => events::run(&arguments, out),
        Command::Firewall(arguments) => firewall::run(&arguments, out),
        Command::Scans(arguments) => scans::run(&arguments, out),
        Command::Listeners(arguments) => listeners::run(&arguments, out),
        Command::Off(arguments) => off::off(&arguments, out),
        Command::On(arguments) => off::on(&arguments, out),
        Command::Audit(arguments) => audit::run(&arguments, out),
        Command::Stale(arguments) => stale::run(&arguments, out),
        Command::Integrity(arguments) => integrity::run(&arguments, out),
        Command::Dump(arguments) => dump::run(&arguments, out),
        Command::Attributes(arguments) => attributes::run(&arguments, out),
        Command::Convert(arguments) => convert::run(&arguments, out),
        Command::Tcpdmatch(arguments) => tcpdmatch::run(&arguments, out),
        Command::Tcpdchk(arguments) => tcpdchk::run(&arguments, out),
        Command::Tcpd(arguments) => tcpd::run(&arguments),
        Command::SafeFinger(arguments) => Ok(safe_finger::run(&arguments)),
        Command::TryFrom(_) => crate::applets::try_from::run(out),
        Command::CompileHosts(arguments) => compile_hosts::run(&arguments, out),
        Command::Demo(arguments) => demo::run(&arguments, out),
        Command::Links(arguments) => links::run(&arguments, out),
        Command::Completions(arguments) => completions::run(&arguments, out),
        Command::Version(arguments) => version::run(&arguments, out),
    }
}

//! `portreeve tcpdchk`: the program of that name. Its options are its own; this file only hands them on.

use crate::applets::tcpdchk;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use std::ffi::{OsStr, OsString};

const LONG: &str = "\
Check hosts.allow and hosts.deny with TCP Wrappers' own checks (as tcpdchk)

  portreeve tcpdchk [-a] [-d] [-i INETD.CONF] [-v]

The checks, their words and their order are those of the original, for scripts that read them. They know neither globs \
nor port patterns, and ask the name service for every host name. `portreeve check` has better ones. A link to portreeve \
with the name tcpdchk does the same.

  -a   name the rules of hosts.allow that grant without saying so
  -d   tables in the working directory instead of /etc
  -i   where inetd.conf is (default /etc/inetd.conf, if there is one)
  -v   list every rule with its verdict";

/// Exit codes, for the foot of the help.
pub const ENDS: &str = "Exit codes: 0 checked, whatever was found; 1 a wrong call.";

#[allow(missing_docs)]
#[derive(clap::Args, Debug)]
#[command(about = "Check hosts.allow and hosts.deny with TCP Wrappers' own checks (as tcpdchk)", long_about = LONG, after_help = ENDS)]
pub struct Arguments {
    /// tcpdchk's options
    #[arg(value_name = "OPTION", trailing_var_arg = true, allow_hyphen_values = true)]
    pub options: Vec<OsString>,
}

/// Checks.
pub fn run(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    tcpdchk::run(OsStr::new("portreeve tcpdchk"), &arguments.options, out)
}

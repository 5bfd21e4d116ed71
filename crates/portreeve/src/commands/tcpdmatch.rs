//! `portreeve tcpdmatch`: the program of that name. Its options are its own; this file only hands them on.

use crate::applets::tcpdmatch;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use std::ffi::{OsStr, OsString};

const LONG: &str = "\
Predict what hosts.allow and hosts.deny say of one client (as tcpdmatch)

  portreeve tcpdmatch [-d] [-i INETD.CONF] DAEMON[@SERVER] [USER@]CLIENT

Nothing that a rule orders is done. Everything that TCP Wrappers' tcpdmatch prints is printed, and its diagnostics too, \
at their place: which rule matched, which options it has, what is wrong. A name stands for all of its addresses; the \
prediction is made for each. A link to portreeve with the name tcpdmatch does the same.

  -d   tables in the working directory instead of /etc
  -i   where inetd.conf is (default /etc/inetd.conf, if there is one)

SERVER matters only to rules for daemon@host, and must have one address. CLIENT is a host name, an address, `unknown` \
or `paranoid`. USER is what the client's ident server would say.";

/// Exit codes, for the foot of the help.
pub const ENDS: &str =
    "Exit codes: 0 predicted (also a refusal), 1 not: a wrong call, or a host without an address.";

#[allow(missing_docs)]
#[derive(clap::Args, Debug)]
#[command(about = "Predict what hosts.allow and hosts.deny say of one client (as tcpdmatch)", long_about = LONG, after_help = ENDS)]
pub struct Arguments {
    /// tcpdmatch's options and operands
    #[arg(value_name = "ARGUMENT", trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<OsString>,
}

/// Predicts.
pub fn run(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    tcpdmatch::run(OsStr::new("portreeve tcpdmatch"), &arguments.arguments, out)
}

//! `portreeve safe_finger`: the program of that name. Its arguments are finger's; this file only hands them on.

use crate::applets::safe_finger;
use crate::failure::Exit;
use std::ffi::OsString;

const LONG: &str = "\
Run finger for a rule that fingers back, and let nothing harmful through (as safe_finger)

  in.telnetd: ALL: spawn (/usr/sbin/safe_finger -l @%h | mail -s %d-%h root) &

finger runs as nobody if we are root, with the PATH /bin:/usr/bin:/sbin:/usr/sbin, for at most a minute. Of what it says, \
printable ASCII and white space pass; \\ is doubled, other bytes become \\NNN; each line begins with a blank, so that it can \
be no mail header and no command of mail(1), and is broken after 128 columns; after 100000 bytes the rest is cut off.

A link to portreeve with the name safe_finger does the same.";

#[allow(missing_docs)]
#[derive(clap::Args, Debug)]
#[command(about = "Run finger for a rule, and let nothing harmful through (as safe_finger)", long_about = LONG, after_help = "Exit codes: 0 finger ended well or its minute was over, 1 it did not.")]
pub struct Arguments {
    /// finger's options and operands
    #[arg(value_name = "ARGUMENT", trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<OsString>,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> Exit {
    if safe_finger::run(&arguments.arguments) { Exit::Fine } else { Exit::Found }
}

//! `portreeve run`: becomes the supervisor. Its options are the gate's; this file only hands them on.

use crate::failure::{Exit, Failure};
use crate::gate;
use std::ffi::OsString;

/// Run the daemon (replaces this process by portreeve-gate)
///
/// The options are xinetd's, with one dash or two; what portreeve adds is marked +.
///
///   -f FILE           configuration [/etc/xinetd.conf]
///   -dontfork         stay in the foreground
///   -filelog FILE     write the daemon's log to FILE
///   -syslog FACILITY  send it to this syslog facility [daemon]
///   -pidfile FILE     write the process id to FILE
///   -stayalive        keep running with no service
///   -limit N          at most N instances of all services together
///   -control PATH     + control socket
///   -d                debug: foreground, more to say
///   -version          print the version
///   -cc N, -logprocs N, -reuse, -shutdownprocs N   accepted, without effect
#[derive(clap::Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Arguments {
    /// xinetd's options
    #[arg(value_name = "OPTION", trailing_var_arg = true, allow_hyphen_values = true)]
    pub options: Vec<OsString>,
}

/// Replaces this process; comes back only when that failed.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    Err(gate::become_gate("run", &arguments.options))
}

#[cfg(test)]
mod tests {
    use crate::commands::{Cli, Command};
    use clap::Parser;

    #[test]
    fn single_dash_options_pass_through_untouched() {
        for given in [
            &["-f", "/etc/xinetd.conf", "-dontfork"][..],
            &["-filelog", "/dev/stdout", "-d"],
            &["--control", "/x", "-limit", "3", "-version"],
            &["-stayalive", "-reuse", "-cc", "5", "--", "-x"],
            &[],
        ] {
            let cli = Cli::try_parse_from(["portreeve", "run"].iter().chain(given)).unwrap();
            let Command::Run(run) = cli.command else { panic!() };
            assert_eq!(run.options, given, "{given:?}");
        }
    }
}

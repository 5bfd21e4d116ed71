//! `portreeve run`: becomes the supervisor. Its options are the gate's; this file only hands them on.

use crate::failure::{Exit, Failure};
use crate::gate;
use std::ffi::OsString;

/// The gate's options as its own usage text has them; a test compares the two.
const LONG: &str = "\
Run the daemon (replaces this process by portreeve-gate)

It stays in the foreground and logs to standard error, unless an option says otherwise; a service manager wants nothing \
else. The options are xinetd's, with one dash or two; + marks those that xinetd does not have.

  -f FILE           configuration file (default /etc/xinetd.conf)
  -inetd FILE     + serve this inetd.conf; after the configuration file where -f names one
  -systemd PATH   + serve the sockets of this directory of systemd's units, or of this .socket; may be repeated, earlier ones
                    win; after the other files
  -inetd_compat     serve /etc/inetd.conf too, after the configuration file
  -filelog FILE     write the daemon's log to FILE
  -syslog FACILITY  send the daemon's log to syslog under FACILITY
  -pidfile FILE     write the process id to FILE
  -stayalive        keep running with no service
  -dontfork         stay in the foreground; implies -stayalive
  -d                stay in the foreground and log to standard error
  -limit N          start at most N programs at once, over all services
  -control PATH   + control socket (default /run/portreeve/control)
  -log-refused    + log START and EXIT also for clients that are refused by address
  -ledger DIR     + keep the journal of events in DIR, or `off` (default: what portreeve.toml says)
  -watch          + stay in the foreground, hold the sockets, start the daemon again if it crashes
  -version          print the version
  -logprocs N, -cc SECONDS, -reuse, -shutdownprocs N
                    accepted for xinetd's sake, without effect";

#[allow(missing_docs)]
#[derive(clap::Args, Debug)]
#[command(about = "Run the daemon (replaces this process by portreeve-gate)", long_about = LONG)]
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
            &["-inetd", "/etc/inetd.conf"],
            &["-inetd_compat"],
            &["-systemd", "/etc/portreeve/units", "-systemd", "x.socket"],
            &["-stayalive", "-reuse", "-cc", "5", "--", "-x"],
            &[],
        ] {
            let cli = Cli::try_parse_from(["portreeve", "run"].iter().chain(given)).unwrap();
            let Command::Run(run) = cli.command else { panic!() };
            assert_eq!(run.options, given, "{given:?}");
        }
    }
}

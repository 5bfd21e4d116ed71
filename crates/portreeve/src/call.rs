//! From argv to an exit code: the table of program names, the parsing of arguments, and the printing of failures.

use crate::commands::{self, Cli};
use crate::escape;
use crate::failure::{COULD_NOT_RUN, Exit, Failure};
use crate::gate;
use crate::output::Output;
use clap::Parser;
use std::ffi::{OsStr, OsString};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::process::ExitCode;

/// What a program does when called by another name than its own. Links are made by `portreeve links`.
pub struct Applet {
    /// The last component of argv\[0\].
    pub name: &'static str,
    /// What the name stands for, for `portreeve links --help` and the manual.
    pub about: &'static str,
    run: fn(&[OsString]) -> Failure,
}

/// Every name this program answers to, other than its own.
pub const APPLETS: &[Applet] = &[Applet {
    name: "xinetd",
    about: "the daemon, with xinetd's own options",
    run: |args| gate::become_gate("xinetd", args),
}];

/// The whole program: reads the process's arguments, runs what they ask for, prints what went wrong.
pub fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let called = arguments.next().unwrap_or_default();
    let rest: Vec<OsString> = arguments.collect();
    if let Some(applet) = applet(&called) {
        return failed(&(applet.run)(&rest), applet.name);
    }
    let cli = match Cli::try_parse_from([OsString::from("portreeve")].into_iter().chain(rest)) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version end with 0, a wrong call with 2. A closed terminal is nothing to report to.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(COULD_NOT_RUN));
        }
    };
    let mut stdout = std::io::stdout().lock();
    let mut out = Output::standard(&mut stdout);
    let ended = commands::dispatch(cli.command, &mut out).and_then(|exit| {
        out.flush()?;
        Ok(exit)
    });
    match ended {
        Ok(Exit::Fine) => ExitCode::SUCCESS,
        Ok(Exit::Found) => ExitCode::from(1),
        Err(Failure::Output(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => failed(&failure, "portreeve"),
    }
}

fn applet(called: &OsStr) -> Option<&'static Applet> {
    let name = Path::new(called).file_name()?;
    APPLETS.iter().find(|applet| name == applet.name)
}

fn failed(failure: &Failure, name: &str) -> ExitCode {
    // Nothing can be done about a standard error that fails.
    let _ = writeln!(std::io::stderr(), "{name}: {}", escape::lines(&failure.to_string()));
    ExitCode::from(COULD_NOT_RUN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_names_are_applets() {
        for (called, wanted) in [
            ("xinetd", Some("xinetd")),
            ("/usr/sbin/xinetd", Some("xinetd")),
            ("portreeve", None),
            ("/opt/xinetd/portreeve", None),
            ("xinetd2", None),
            ("", None),
        ] {
            assert_eq!(applet(OsStr::new(called)).map(|a| a.name), wanted, "{called}");
        }
    }
}

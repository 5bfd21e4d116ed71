//! From argv to an exit code: the table of program names, the parsing of arguments, and the printing of failures.

use crate::applets::{itox, safe_finger, tcpd, tcpdchk, tcpdmatch, try_from};
use crate::commands::{self, Cli};
use crate::escape;
use crate::failure::{COULD_NOT_RUN, Exit, Failure};
use crate::gate;
use crate::output::Output;
use crate::settings;
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
    /// Given argv\[0\] as it is and what follows.
    run: fn(&OsStr, &[OsString]) -> ExitCode,
}

/// Every name this program answers to, other than its own.
pub const APPLETS: &[Applet] = &[
    Applet {
        name: "xinetd",
        about: "the daemon, with xinetd's own options",
        run: |_, args| failed(&gate::become_gate("xinetd", args), "xinetd"),
    },
    Applet {
        name: "inetd",
        about: "the daemon for an inetd.conf, with the options of openbsd-inetd",
        run: |_, args| failed(&gate::become_gate("inetd", args), "inetd"),
    },
    Applet {
        name: "tcpdmatch",
        about: "predicts what the tables say of a client",
        run: |called, args| with_output("tcpdmatch", |out| tcpdmatch::run(called, args, out)),
    },
    Applet {
        name: "tcpdchk",
        about: "checks the tables, as TCP Wrappers did",
        run: |called, args| with_output("tcpdchk", |out| tcpdchk::run(called, args, out)),
    },
    Applet { name: "tcpd", about: "stands in front of a daemon that inetd starts", run: tcpd::run },
    Applet {
        name: "safe_finger",
        about: "runs finger for a rule, and lets nothing harmful through",
        run: |_, args| if safe_finger::run(args) { ExitCode::SUCCESS } else { ExitCode::FAILURE },
    },
    Applet {
        name: "try-from",
        about: "says what the tables see of a connection",
        run: |_, _| with_output("try-from", try_from::run),
    },
    Applet {
        name: "itox",
        about: "inetd.conf in, xinetd.conf out, as xinetd's own",
        run: |called, args| with_output("itox", |out| itox::run(called, args, out)),
    },
];

/// The whole program: reads the process's arguments, runs what they ask for, prints what went wrong.
pub fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    let called = arguments.next().unwrap_or_default();
    let rest: Vec<OsString> = arguments.collect();
    let started_by = portreeve_sys::process::started_by().unwrap_or_default();
    if let Some(applet) = applet_of(Path::new(&started_by), &called) {
        return (applet.run)(&called, &rest);
    }
    // The supervisor's own call: no command for people, and read before anything is opened or parsed.
    if rest.first().is_some_and(|word| word == "worker") {
        return worker(rest.into_iter().skip(1));
    }
    let cli = match Cli::try_parse_from([OsString::from("portreeve")].into_iter().chain(rest)) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version end with 0, a wrong call with 2. A closed terminal is nothing to report to.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(COULD_NOT_RUN));
        }
    };
    with_output("portreeve", |out| commands::dispatch(cli.command, out))
}

/// The workers that are too heavy for the gate.
fn worker(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.collect();
    if arguments.first().is_some_and(|word| word == BANS) {
        return bans_for_supervisor();
    }
    if let Some((word, words)) = arguments.split_first()
        && word == DIGEST
    {
        return crate::digest::for_supervisor(words);
    }
    if arguments.first().is_some_and(|word| word == GROUPS) {
        portreeve_sys::cgroup::give_back();
        return ExitCode::SUCCESS;
    }
    match portreeve_sys::stdio::take_third() {
        // It reads its settings while it is root.
        Some(channel) if arguments.first().is_some_and(|word| word == "ledger") => {
            let settings = settings::ledger(Path::new(settings::PATH));
            portreeve_ledger::main(arguments, channel, settings)
        }
        Some(channel) => portreeve_tls::main(arguments, channel),
        None => {
            let _ = writeln!(std::io::stderr(), "portreeve: a worker is started by the supervisor");
            ExitCode::from(COULD_NOT_RUN)
        }
    }
}

/// The supervisor's word for the settings of bans, as lines on the standard output.
const BANS: &str = "bans";
/// The supervisor's word for the digest of a program.
const DIGEST: &str = "digest";
/// The unit's word when the supervisor is gone: controllers of control groups are given back.
const GROUPS: &str = "groups";
/// The longest answer: what a pipe takes while nobody reads it.
const MOST_SAID: usize = 60 * 1024;

fn bans_for_supervisor() -> ExitCode {
    let said = settings::bans(Path::new(settings::PATH)).map(|policy| policy.to_lines());
    let said = said.and_then(|lines| match lines.len() {
        0..MOST_SAID => Ok(lines),
        _ => Err(format!("{}: [bans.service] holds too much", settings::PATH)),
    });
    let (text, code) = match &said {
        Ok(lines) => (lines, ExitCode::SUCCESS),
        Err(why) => (why, ExitCode::FAILURE),
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Runs what writes to standard output, as `name`, and turns how it ended into an exit code.
fn with_output(name: &str, run: impl FnOnce(&mut Output<'_>) -> Result<Exit, Failure>) -> ExitCode {
    let mut stdout = std::io::stdout().lock();
    let mut out = Output::standard(&mut stdout);
    let ended = run(&mut out).and_then(|exit| {
        out.flush()?;
        Ok(exit)
    });
    match ended {
        Ok(Exit::Fine) => ExitCode::SUCCESS,
        Ok(Exit::Found) => ExitCode::from(1),
        Err(Failure::Output(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => failed(&failure, name),
    }
}

/// The path that was executed says more than argv\[0\]: inetd calls tcpd by the name of a daemon. A link to a link counts
/// too, so that a daemon's own path may lead to tcpd.
fn applet_of(started_by: &Path, called: &OsStr) -> Option<&'static Applet> {
    /// Longer chains of links are none that the kernel follows.
    const LINKS: usize = 40;
    let mut path = started_by.to_owned();
    for _ in 0..LINKS {
        if let Some(found) = applet(path.as_os_str()) {
            return Some(found);
        }
        let Ok(target) = std::fs::read_link(&path) else { break };
        // A relative target is meant from the link's directory; an absolute one replaces it.
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    applet(called)
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
    fn the_path_that_was_executed_comes_first() {
        let here = std::env::temp_dir().join(format!("portreeve-test-call-{}", std::process::id()));
        std::fs::create_dir(&here).unwrap();
        let link = |name: &str, target: &str| {
            std::os::unix::fs::symlink(target, here.join(name)).unwrap();
            here.join(name)
        };
        let tcpd = link("tcpd", "portreeve");
        let daemon = link("in.telnetd", "./tcpd");
        let round = link("round", "round");
        let found = |path: &Path, called: &str| applet_of(path, OsStr::new(called)).map(|applet| applet.name);
        assert_eq!(found(&tcpd, "in.telnetd"), Some("tcpd"));
        assert_eq!(found(&tcpd, "xinetd"), Some("tcpd"));
        assert_eq!(found(&daemon, "in.telnetd"), Some("tcpd"));
        assert_eq!(found(&round, "in.telnetd"), None);
        assert_eq!(found(&here.join("portreeve"), "xinetd"), Some("xinetd"));
        assert_eq!(found(Path::new(""), "/usr/sbin/tcpd"), Some("tcpd"));
        std::fs::remove_dir_all(here).unwrap();
    }

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

//! `tcpdchk`: checks the tables as TCP Wrappers did. Arguments, checks, output and exit codes are the original's, those
//! that make little sense included (reference A14); `portreeve check` has better ones.

mod lists;

use super::getopt;
use super::inetd::{Programs, Wrapped, real_daemon_dir};
use super::inspect::look;
use super::notice::Notice;
use super::predict::{HERE, Predict, SYSTEM, complain};
use crate::failure::{Exit, Failure};
use crate::output::Output;
use hosts_access::lines::Lines;
use hosts_access::split::Rule;
use hosts_access::{Field, Host, Place, Processed, Request, Settings, Which, process_options};
use lists::Lists;
use portreeve_sys::source::{Source, reason};
use portreeve_wrap::log::Paths;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What follows the program's name in the usage text.
const USAGE: &[u8] = b" [-a] [-d] [-i inet_conf] [-v]
\t-a: report rules with implicit \"ALLOW\" at end
\t-d: use allow/deny files in current directory
\t-i: location of inetd.conf file
\t-v: list all rules
";

/// The longest table that is read, in bytes.
const LONGEST_TABLE: usize = 64 << 20;

/// Programs of Debian that evaluate the tables themselves.
const WRAPPED: &[&str] = &[
    "portmap",
    "mountd",
    "statd",
    "ugidd",
    "redir",
    "rlinetd",
    "sshd",
    "atftpd",
    "diald",
    "esound",
    "gdm",
    "gnome-session",
    "icecast",
    "icecast_admin",
    "icecast_client",
    "icecast_source",
    "mysqld",
    "ntop",
    "pptpd",
    "rquotad",
    "sendmail",
    "smail",
];

/// The words of a call.
struct Call {
    tables: Paths<'static>,
    inetd: Option<Vec<u8>>,
    implicit: bool,
    verbose: bool,
}

/// Runs it. `called` is the program's name as usage and errors print it.
///
/// # Errors
/// Only a standard output that fails.
pub fn run(called: &OsStr, arguments: &[OsString], out: &mut Output<'_>) -> Result<Exit, Failure> {
    let terminal = out.terminal;
    let mut notice = Notice::new(out, terminal);
    let exit = match read(called, arguments) {
        Ok(call) => check(&call, &mut notice),
        Err(exit) => exit,
    };
    notice.end()?;
    Ok(exit)
}

fn read(called: &OsStr, arguments: &[OsString]) -> Result<Call, Exit> {
    let found = getopt::read(arguments, b"adv", b"i");
    if found.wrong.is_some() || !found.operands.is_empty() {
        return Err(getopt::usage(called, found.wrong.as_deref(), USAGE));
    }
    let mut call = Call { tables: SYSTEM, inetd: None, implicit: false, verbose: false };
    for (letter, value) in found.options {
        match letter {
            b'a' => call.implicit = true,
            b'd' => call.tables = HERE,
            b'v' => call.verbose = true,
            _ => call.inetd = value,
        }
    }
    Ok(call)
}

fn check(call: &Call, notice: &mut Notice<'_>) -> Exit {
    let daemons = real_daemon_dir(notice);
    if let Err(reason) = look(&daemons, notice) {
        notice.warn(&[b"REAL_DAEMON_DIR ", &daemons, b": ", reason.as_bytes()]);
    }
    let mut programs = match Programs::read(call.inetd.as_deref(), daemons, notice) {
        Ok(programs) => programs,
        Err(reason) => {
            let path = call.inetd.as_deref().unwrap_or_default();
            complain(notice, &[b"open ", path, b": ", reason.as_bytes(), b"\n"]);
            return Exit::Found;
        }
    };
    for name in WRAPPED {
        programs.set(name.as_bytes(), Wrapped::Yes);
    }
    if call.verbose {
        notice.line(&[b"Using network configuration file: ", programs.file_name()]);
    }
    let _ = look(call.tables.allow, notice);
    let _ = look(call.tables.deny, notice);
    let mut tables = Checked { call, lists: Lists::new(programs), request: stand_in() };
    tables.table(Which::Allow, notice);
    tables.table(Which::Deny, notice);
    Exit::Fine
}

/// A request of which everything is known, so that no option looks anything up.
fn stand_in() -> Request {
    let host =
        |name: &str, addr: &str| Host { name: Field::from(name), addr: Field::from(addr), socket: None };
    Request {
        daemon: Field::from("daemon_name"),
        user: Field::from("user_name"),
        pid: std::process::id(),
        client: host("client_hostname", "client_addr"),
        server: host("server_hostname", "server_addr"),
    }
}

struct Checked<'c> {
    call: &'c Call,
    lists: Lists,
    request: Request,
}

impl Checked<'_> {
    /// Checks every rule of one table.
    fn table(&mut self, which: Which, notice: &mut Notice<'_>) {
        let path = self.call.tables.path(which);
        let text = match Source::open(Path::new(OsStr::from_bytes(path))) {
            Ok(Source::Missing | Source::Directory(_)) => return,
            Ok(Source::Readable(file)) => file.read(LONGEST_TABLE),
            Err(error) => Err(error),
        };
        let text = match text {
            Ok(text) => text,
            Err(error) => {
                notice.warn(&[b"cannot open ", path, b": ", reason(&error).as_bytes()]);
                return;
            }
        };
        let mut lines = Lines::new(&text);
        while let Some(line) = lines.next() {
            let place = Place { which, line: line.number };
            notice.context = Some((path.to_vec(), line.number));
            // The evaluation ends at such a line; here the next ones are checked too.
            if !line.complete {
                notice.warn(&[b"missing newline or line too long"]);
            } else if !line.is_comment() && !line.is_blank() {
                match Rule::new(line.text) {
                    Some(rule) => self.rule(&rule, place, path, notice),
                    None => notice.warn(&[b"missing \":\" separator"]),
                }
            }
        }
        notice.context = None;
    }

    fn rule(&mut self, rule: &Rule<'_>, place: Place, path: &[u8], notice: &mut Notice<'_>) {
        let verbose = self.call.verbose;
        if verbose {
            notice.line(&[b"\n>>> Rule ", path, format!(" line {}:", place.line).as_bytes()]);
            lists::print(b"daemons:  ", rule.daemons, notice);
        }
        self.lists.daemons(rule.daemons, notice);
        if verbose {
            lists::print(b"clients:  ", rule.clients, notice);
        }
        self.lists.clients(rule.clients, notice);
        let grants = place.which == Which::Allow;
        let processed = match rule.options {
            Some(options) => self.options(options, place, notice),
            None => Processed::Through,
        };
        let open = matches!(processed, Processed::Through | Processed::Withdrawn);
        if grants && self.call.implicit && open {
            notice.warn(&[b"implicit \"allow\" at end of rule"]);
        }
        let granted = match processed {
            Processed::Granted => true,
            Processed::Through | Processed::Withdrawn | Processed::Delegated => grants,
            _ => false,
        };
        if verbose {
            notice.line(&[b"access:   ", if granted { b"granted" } else { b"denied" }]);
        }
    }

    /// The options, checked in their order without doing what they order.
    fn options(&mut self, options: &[u8], place: Place, notice: &mut Notice<'_>) -> Processed {
        // The line's newline belongs to the last option.
        let text = [options, b"\n"].concat();
        let settings = Settings { options: true, verbose: self.call.verbose.into(), resident: false };
        let mut world = Predict::new(notice, self.call.tables);
        process_options(&text, Some(place), &mut self.request, &mut world, &settings)
    }
}

//! tcpd: stands in front of a daemon that inetd starts. Who is it, do the tables allow it, log it; then the daemon, or five
//! seconds and nothing (reference A12). Writes nothing but log lines: its standard channels are the client.

mod program;

use crate::settings;
use hosts_access::{Field, Request, Settings, Verdict, evaluate};
use portreeve_wrap::ends::Ends;
use portreeve_wrap::log::{ERR, escaped};
use portreeve_wrap::{LiveWorld, Log, Paths, Severities, SystemLog, route, shell, tables, who};
use program::{NoProgram, Program};
use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Both tables.
const ALLOW: &[u8] = b"/etc/hosts.allow";
const DENY: &[u8] = b"/etc/hosts.deny";

/// Becomes the daemon, or ends after the pause of a refusal. Comes back only when it was called for no daemon.
pub fn run(called: &OsStr, arguments: &[OsString]) -> ExitCode {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let found = Program::of_call(called, arguments, || settings::real_daemon_dir(Path::new(settings::PATH)));
    let name = found.as_ref().map_or(&b"tcpd"[..], |program| &program.daemon);
    SystemLog::open(&CString::new(name).unwrap_or_default());
    let mut log = SystemLog;
    let stdin = std::io::stdin();
    let program = match found {
        Ok(program) => program,
        Err(NoProgram::OwnName) => return own_name(stdin.as_fd(), &mut log),
        Err(NoProgram::Settings(what)) => {
            log.line(ERR, &escaped([b"error: ", what.as_bytes()].concat().as_slice()));
            shell::end(Some(stdin.as_fd()));
        }
    };
    wrap(&program, stdin.as_fd(), &mut log)
}

/// Decides, and becomes the program or ends.
fn wrap(program: &Program, socket: BorrowedFd<'_>, log: &mut SystemLog) -> ! {
    let ends = Ends::of(socket, &mut |text| log.line(ERR, &[b"warning: ", &text[..]].concat()));
    let mut request =
        Request { daemon: Field::new(&program.daemon), pid: std::process::id(), ..Request::default() };
    ends.tell(&mut request);
    let datagram = Some(socket).filter(|_| ends.datagram); // a refusal swallows it
    if route::check(socket, &who::client(&request), log).is_err() {
        shell::end(datagram);
    }
    let (verdict, severities) = decide(&mut request, socket, &ends, log);
    if verdict != Verdict::Granted {
        tell(log, severities.deny, b"refused connect from ", &request);
        shell::end(datagram);
    }
    tell(log, severities.allow, b"connect from ", &request);
    SystemLog::close();
    let error = Command::new(&program.path).arg0(&program.called).args(&program.arguments).exec();
    let why = portreeve_sys::source::reason(&error);
    let line = [b"error: cannot execute ", program.path.as_bytes(), b": ", why.as_bytes()].concat();
    log.line(ERR, &escaped(&line));
    shell::end(datagram);
}

fn decide(
    request: &mut Request,
    socket: BorrowedFd<'_>,
    ends: &Ends,
    log: &mut SystemLog,
) -> (Verdict, Severities) {
    let opened = tables::open(ALLOW, DENY);
    let tables = opened.tables();
    let mut world = LiveWorld::new(log, Paths::of(&tables)).with_socket(socket, ends);
    let settings = Settings { options: true, verbose: 0, resident: false };
    let decision = evaluate(&tables, request, &mut world, &settings);
    (decision.verdict, world.severities)
}

fn tell(log: &mut SystemLog, severity: i32, what: &[u8], request: &Request) {
    let address = request.client.address();
    let line = [what, &who::client(request)[..], b" (", address, b")"].concat();
    log.line(severity, &escaped(&line));
}

/// Called as `tcpd`, it is in front of nothing. The original executes itself for ever.
fn own_name(socket: BorrowedFd<'_>, log: &mut SystemLog) -> ExitCode {
    let usage = "error: called by its own name; inetd must call tcpd with a daemon's name or path as its argv[0], \
                 and anybody else with: tcpd -- PROGRAM [ARGUMENT...]";
    log.line(ERR, usage.as_bytes());
    if rustix::net::sockopt::socket_type(socket).is_err() {
        // No client: a person.
        let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("tcpd: {usage}\n").as_bytes());
        return ExitCode::from(crate::failure::COULD_NOT_RUN);
    }
    shell::end(Some(socket))
}

//! `tcpdmatch`: what the tables say of one client and one daemon, without doing any of it. Arguments, output and exit
//! codes are those of TCP Wrappers (reference A13), with the diagnostics where its manual puts them.

use super::getopt;
use super::hosts::{self, UNKNOWN, is_paranoid, is_unknown};
use super::inetd::{Programs, Wrapped, base, real_daemon_dir};
use super::inspect::look;
use super::notice::Notice;
use super::predict::{HERE, Predict, SYSTEM, complain};
use crate::failure::{Exit, Failure};
use crate::output::Output;
use hosts_access::split::at_unbracketed;
use hosts_access::{Field, Host, Request, Settings, Verdict, clean, evaluate};
use portreeve_sys::names::HostEntry;
use portreeve_wrap::log::Paths;
use std::ffi::{OsStr, OsString};

/// What follows the program's name in the usage text.
const USAGE: &[u8] = b" [-d] [-i inet_conf] daemon[@host] [user@]host
\t-d: use allow/deny files in current directory
\t-i: location of inetd.conf file
";

/// The words of a call.
struct Call {
    tables: Paths<'static>,
    inetd: Option<Vec<u8>>,
    daemon: Vec<u8>,
    server: Option<Vec<u8>>,
    user: Option<Vec<u8>>,
    client: Vec<u8>,
}

/// Runs it. `called` is the program's name as usage and errors print it.
///
/// # Errors
/// Only a standard output that fails.
pub fn run(called: &OsStr, arguments: &[OsString], out: &mut Output<'_>) -> Result<Exit, Failure> {
    let terminal = out.terminal;
    let mut notice = Notice::new(out, terminal);
    let exit = match read(called, arguments) {
        Ok(call) => predict(call, &mut notice).unwrap_or(Exit::Found),
        Err(exit) => exit,
    };
    notice.end()?;
    Ok(exit)
}

fn read(called: &OsStr, arguments: &[OsString]) -> Result<Call, Exit> {
    let found = getopt::read(arguments, b"d", b"i");
    let mut call = Call {
        tables: SYSTEM,
        inetd: None,
        daemon: Vec::new(),
        server: None,
        user: None,
        client: Vec::new(),
    };
    for (letter, value) in found.options {
        match letter {
            b'd' => call.tables = HERE,
            _ => call.inetd = value,
        }
    }
    let [daemon, client] = &found.operands[..] else {
        return Err(getopt::usage(called, found.wrong.as_deref(), USAGE));
    };
    if found.wrong.is_some() {
        return Err(getopt::usage(called, found.wrong.as_deref(), USAGE));
    }
    (call.daemon, call.server) = match at_unbracketed(daemon, b'@') {
        Some((daemon, server)) => (daemon.to_vec(), Some(server.to_vec())),
        None => (daemon.clone(), None),
    };
    (call.user, call.client) = match at_unbracketed(client, b'@') {
        Some((user, client)) => (Some(user.to_vec()), client.to_vec()),
        None => (None, client.clone()),
    };
    Ok(call)
}

/// The whole prediction; `None` where it cannot be made, which has been said.
fn predict(mut call: Call, notice: &mut Notice<'_>) -> Option<Exit> {
    if call.daemon.starts_with(b"/") {
        let name = base(&call.daemon).to_vec();
        notice.warn(&[&call.daemon, b": daemon name normalized to: ", &name]);
        call.daemon = name;
    }
    let programs = programs(call.inetd.as_deref(), notice)?;
    match programs.get(&call.daemon) {
        Wrapped::Unknown => {
            notice.warn(&[&call.daemon, b": no such process name in ", programs.file_name()]);
        }
        Wrapped::No => notice.warn(&[&call.daemon, b": service possibly not wrapped"]),
        Wrapped::Yes | Wrapped::Perhaps => {}
    }
    let _ = look(call.tables.allow, notice);
    let _ = look(call.tables.deny, notice);

    let mut request = Request {
        daemon: Field::new(&call.daemon),
        user: Field::new(call.user.as_deref().unwrap_or(UNKNOWN.as_bytes())),
        pid: std::process::id(),
        ..Request::default()
    };
    request.server = server(call.server.as_deref(), notice)?;
    let opened = portreeve_wrap::tables::open(call.tables.allow, call.tables.deny);
    let one = |request: &mut Request, notice: &mut Notice<'_>| {
        tell(request, notice);
        let mut world = Predict::new(notice, call.tables);
        let settings = Settings { options: true, verbose: 2, resident: false };
        let decision = evaluate(&opened.tables(), request, &mut world, &settings);
        world.end(&decision);
        let word: &[u8] = match decision.verdict {
            Verdict::Granted => b"granted",
            Verdict::Delegated => b"delegated",
            // This world never answers that it must be asked again.
            Verdict::Denied | Verdict::Pending => b"denied",
        };
        notice.line(&[b"access:   ", word]);
    };

    let client = &call.client;
    if hosts::is_address(client) {
        request.client.addr = Field::new(client);
        one(&mut request, notice);
    } else if is_unknown(client) || is_paranoid(client) {
        request.client.name = Field::new(client);
        one(&mut request, notice);
    } else {
        let HostEntry { addresses, .. } = hosts::find(client, notice)?;
        for (index, address) in addresses.iter().enumerate() {
            if index > 0 {
                notice.put(b"\n");
            }
            let (name, addr) = hosts::describe(*address, notice);
            request.client = Host { name, addr, socket: Some(*address) };
            one(&mut request, notice);
        }
    }
    Some(Exit::Fine)
}

/// What inetd.conf says; `None` and a word on standard error if the file that was named cannot be opened.
fn programs(path: Option<&[u8]>, notice: &mut Notice<'_>) -> Option<Programs> {
    let daemons = real_daemon_dir(notice);
    let mut programs = match Programs::read(path, daemons, notice) {
        Ok(programs) => programs,
        Err(reason) => {
            complain(notice, &[b"open ", path.unwrap_or_default(), b": ", reason.as_bytes(), b"\n"]);
            return None;
        }
    };
    // They are started by nobody's tcpd.
    programs.set(b"portmap", Wrapped::No);
    programs.set(b"rpcbind", Wrapped::No);
    Some(programs)
}

/// Our end, which must have one address if it is named.
fn server(name: Option<&[u8]>, notice: &mut Notice<'_>) -> Option<Host> {
    let name = name.unwrap_or(UNKNOWN.as_bytes());
    if is_unknown(name) || is_paranoid(name) {
        return Some(Host { name: Field::new(name), ..Host::default() });
    }
    let entry = hosts::find(name, notice)?;
    let mut described = Vec::new();
    for address in &entry.addresses {
        let (name, addr) = hosts::describe(*address, notice);
        described.push(Host { name, addr, socket: Some(*address) });
    }
    if described.len() > 1 {
        complain(
            notice,
            &[b"Error: ", name, b" has more than one address\n", b"Please specify an address instead\n"],
        );
        return None;
    }
    described.pop()
}

/// Prints what is known of the request. Printing cleans it, and the tables then see the cleaned text (reference A10).
fn tell(request: &mut Request, notice: &mut Notice<'_>) {
    let known: [(&[u8], &mut Field, bool); 6] = [
        (b"client:   hostname ", &mut request.client.name, true),
        (b"client:   address  ", &mut request.client.addr, true),
        (b"client:   username ", &mut request.user, true),
        (b"server:   hostname ", &mut request.server.name, true),
        (b"server:   address  ", &mut request.server.addr, true),
        (b"server:   process  ", &mut request.daemon, false),
    ];
    for (title, field, asked_for) in known {
        if field.is_empty() && asked_for {
            *field = Field::from(UNKNOWN);
        }
        clean(field.as_mut_bytes());
        if !is_unknown(field.as_bytes()) {
            notice.line(&[title, field.as_bytes()]);
        }
    }
}

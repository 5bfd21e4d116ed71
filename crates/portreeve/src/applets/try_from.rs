//! try-from: says what the tables see of the connection on its standard input, each attribute looked up (reference A16).
//! For `rsh host try-from` and for services under test; it decides nothing.

use crate::failure::{Exit, Failure};
use crate::output::Output;
use hosts_access::{Field, Request, expand};
use portreeve_wrap::ends::Ends;
use portreeve_wrap::log::ERR;
use portreeve_wrap::{LiveWorld, Log, Paths, SystemLog};
use std::io::Write;
use std::os::fd::AsFd;

/// In this order: a user that is known already is part of the client's info.
const LINES: &[u8] = b"client address  (%%a): %a
client hostname (%%n): %n
client username (%%u): %u
client info     (%%c): %c
server address  (%%A): %A
server hostname (%%N): %N
server process  (%%d): %d
server info     (%%s): %s
";

/// Prints the lines.
pub fn run(out: &mut Output<'_>) -> Result<Exit, Failure> {
    let mut log = SystemLog;
    let stdin = std::io::stdin();
    let ends = Ends::of(&stdin, &mut |text| log.line(ERR, &[b"warning: ", &text[..]].concat()));
    let mut request =
        Request { daemon: Field::from("try-from"), pid: std::process::id(), ..Request::default() };
    ends.tell(&mut request);
    let mut world =
        LiveWorld::new(&mut log, Paths { allow: b"", deny: b"" }).with_socket(stdin.as_fd(), &ends);
    for line in LINES.split_inclusive(|byte| *byte == b'\n') {
        // Eight short attributes: neither too long nor waited for.
        let text = expand(line, &mut request, &mut world, None).unwrap_or_default();
        out.write_all(&text)?;
    }
    Ok(Exit::Fine)
}

//! `itox`: inetd.conf on standard input, xinetd.conf on standard output. The conversion is `conf::inetd::itox`; this file
//! reads, writes and says how it is called.

use crate::failure::{Exit, Failure, system_text};
use crate::output::Output;
use portreeve_conf::inetd::itox;
use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What is read of standard input. A real inetd.conf is a few KiB.
const MAX_INPUT: u64 = 16 << 20;

/// Converts; exit code 1 after a wrong call or a line that cannot be read, as the original.
///
/// # Errors
/// Standard input or output failed.
pub fn run(called: &OsStr, args: &[OsString], out: &mut Output<'_>) -> Result<Exit, Failure> {
    let mut stderr = std::io::stderr();
    let daemon_dir = match args {
        [] => None,
        // The original looked at the number of arguments only.
        [_, directory] => Some(directory.as_bytes()),
        _ => {
            let name = Path::new(called).file_name().unwrap_or(called);
            let _ = writeln!(stderr, "Usage: {} [-daemon_dir dir_path]", name.display());
            return Ok(Exit::Found);
        }
    };
    let mut text = Vec::new();
    let read = std::io::stdin().lock().take(MAX_INPUT + 1).read_to_end(&mut text);
    read.map_err(|error| Failure::new(format!("standard input: {}", system_text(&error))))?;
    if text.len() as u64 > MAX_INPUT {
        return Err(Failure::new("standard input is longer than 16 MiB: that is no inetd.conf"));
    }
    match itox::convert(&text, daemon_dir) {
        Ok(converted) => {
            // Nothing can be done about a standard error that fails.
            let _ = stderr.write_all(&converted.warnings);
            out.write_all(&converted.sections)?;
            Ok(Exit::Fine)
        }
        Err((stopped, warnings)) => {
            let _ = stderr.write_all(&warnings).and_then(|()| writeln!(stderr, "{stopped}"));
            Ok(Exit::Found)
        }
    }
}

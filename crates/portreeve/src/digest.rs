//! `portreeve worker digest`: the SHA-256 of the program that the supervisor has open on the standard input, in one line. It has nothing
//! but that file to read and that line to say.

use portreeve_audit::sealed::digest::digests;
use portreeve_conf::digest_text;
use portreeve_sys::process;
use std::io::Write;
use std::process::ExitCode;

/// Who reads programs: a user of its own, as the workers are (see docs/guide/security.md).
const USER: u32 = 61_110;

/// Reads and says.
pub(crate) fn for_supervisor() -> ExitCode {
    let said = confined().and_then(|()| digests(std::io::stdin(), false));
    let (line, code) = match said {
        Ok(read) => {
            // What the kernel does not map itself, somebody opens by a name.
            let kind = if read.begins == b"\x7fELF" { "elf" } else { "script" };
            (format!("{} {kind}\n", digest_text(&read.sha256)), ExitCode::SUCCESS)
        }
        Err(why) => (why, ExitCode::FAILURE),
    };
    match std::io::stdout().write_all(line.as_bytes()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Root reads nothing here: the file is open.
fn confined() -> Result<(), String> {
    let told = |error: std::io::Error| crate::failure::system_text(&error);
    if process::is_root() {
        match process::become_user(USER, USER) {
            // A user namespace that has no such number has nobody.
            Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => {
                process::become_user(65_534, 65_534).map_err(told)?;
            }
            other => other.map_err(told)?,
        }
    }
    process::no_new_privs().map_err(told)?;
    process::set_dumpable(false).map_err(told)
}

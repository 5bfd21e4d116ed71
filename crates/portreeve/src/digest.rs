//! `portreeve worker digest`: the SHA-256 of the program that the supervisor has open on the standard input, in one line. It has nothing
//! but that file to read and that line to say. `portreeve worker digest PATH MOST [FORMER]` opens the path itself, since the supervisor may not wait for
//! whoever answers there, and leaves what it reads in the memory on its standard input; nothing where the file is what FORMER says.

use portreeve_audit::sealed::digest::digests;
use portreeve_conf::digest_text;
use portreeve_sys::process;
use portreeve_sys::program::Program;
use portreeve_sys::source::Identity;
use std::ffi::OsString;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

/// Who reads programs: a user of its own, as the workers are (see docs/guide/security.md).
const USER: u32 = 61_110;
/// Bytes that are copied at once.
const CHUNK: usize = 128 * 1024;

/// Reads and says.
pub(crate) fn for_supervisor(words: &[OsString]) -> ExitCode {
    let said = match words {
        [] => confined().and_then(|()| here(std::io::stdin())),
        [path, rest @ ..] => elsewhere(Path::new(path), rest),
    };
    let (line, code) = match said {
        Ok(line) => (line, ExitCode::SUCCESS),
        Err(why) => (why, ExitCode::FAILURE),
    };
    match std::io::stdout().write_all(line.as_bytes()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

fn here(file: impl AsFd) -> Result<String, String> {
    let read = digests(file, false)?;
    // What the kernel does not map itself, somebody opens by a name.
    let kind = if read.begins == b"\x7fELF" { "elf" } else { "script" };
    Ok(format!("{} {kind}\n", digest_text(&read.sha256)))
}

/// What is hashed is what stands in the memory: nobody else can write there.
fn elsewhere(path: &Path, words: &[OsString]) -> Result<String, String> {
    let word = |at: usize| words.get(at).and_then(|word| word.to_str()).unwrap_or("");
    let told = |error: std::io::Error| crate::failure::system_text(&error);
    let program = Program::open(path).map_err(|error| format!("it cannot be opened: {}", told(error)))?;
    confined()?;
    let before = text(&program.identity);
    // Its identity does not tell who may write to it.
    if before == word(1) && !program.is_loose {
        return Ok("same\n".to_owned());
    }
    let most: u64 = word(0).parse().map_err(|_| "a number of bytes was expected")?;
    let memory = std::io::stdin();
    let copied = copy(&program.fd, &memory, most).map_err(|error| match error.kind() {
        std::io::ErrorKind::FileTooLarge => {
            format!("it has more than the {most} bytes that there is room for")
        }
        _ => format!("it cannot be read: {}", told(error)),
    })?;
    let after = match Program::of(program.fd.try_clone().map_err(told)?) {
        Ok(after) => text(&after.identity),
        // Who is not root may not ask a FUSE file system that was mounted without allow_other. What was read is what is hashed.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => before.clone(),
        Err(error) => return Err(told(error)),
    };
    // By its size the room is counted, so it has to be the true one.
    if after != before || copied != program.identity.size {
        return Err("it was changed while it was read".to_owned());
    }
    let loose = if program.is_loose { " loose" } else { "" };
    Ok(format!("{}{loose} of {before}\n", here(&memory)?.trim_end()))
}

fn copy(from: impl AsFd, to: impl AsFd, most: u64) -> std::io::Result<u64> {
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    loop {
        let read = match rustix::io::pread(&from, &mut buffer, at) {
            Ok(0) => return Ok(at),
            Ok(read) => read,
            Err(rustix::io::Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        };
        let mut chunk = buffer.get(..read).unwrap_or_default();
        while !chunk.is_empty() {
            let written = rustix::io::pwrite(&to, chunk, at)?;
            chunk = chunk.get(written..).unwrap_or_default();
            at += written as u64;
            if at > most {
                return Err(std::io::ErrorKind::FileTooLarge.into());
            }
        }
    }
}

/// What tells a content, as the supervisor reads it.
fn text(Identity { dev, inode, size, mtime, ctime }: &Identity) -> String {
    format!("{dev}:{inode}:{size}:{mtime}:{ctime}")
}

/// Root reads nothing: the file is open by then.
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

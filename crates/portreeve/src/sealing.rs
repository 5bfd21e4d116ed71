//! What the commands about sealed baselines share: keys, passphrases and rules from files, and what is told of gaps. Writes new files alone.

use crate::escape;
use crate::failure::{Failure, system_text};
use crate::output::{Output, Paint};
use portreeve_audit::sealed::compare::Change;
use portreeve_audit::sealed::crew::{self, Task};
use portreeve_audit::sealed::entry::Entry;
use portreeve_audit::sealed::key::Key;
use portreeve_audit::sealed::reading::Reading;
use portreeve_audit::sealed::report::{Form, lines};
use portreeve_audit::sealed::rules::{self, Rules};
use portreeve_audit::sealed::tree::Step;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Most bytes of a key's file, of a passphrase, of the rules.
const LARGEST: u64 = 1024 * 1024;

/// A failure with a file's name.
pub fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("{}: {}", escape::os(path.as_os_str()), system_text(error)))
}

/// The text of a file, up to a bound.
pub fn text(path: &Path) -> Result<String, Failure> {
    use std::io::Read;
    let mut text = String::new();
    let file = File::open(path).map_err(|error| failed(path, &error))?;
    file.take(LARGEST).read_to_string(&mut text).map_err(|error| failed(path, &error))?;
    Ok(text)
}

/// The rules of a file; where the usual one is not there, the usual rules.
pub fn rules(path: &Path) -> Result<Rules, Failure> {
    if path == Path::new(rules::PATH) && !path.exists() {
        return Ok(Rules::usual());
    }
    Rules::read(&escape::os(path.as_os_str()), &text(path)?).map_err(Failure::new)
}

/// The key of a file, unlocked.
pub fn key(path: &Path, passphrase_file: Option<&Path>) -> Result<Key, Failure> {
    let ask = || match passphrase_file {
        Some(file) => passphrase_in(file).map_err(|failure| failure.to_string()),
        None => hidden("passphrase: ").map_err(|failure| failure.to_string()),
    };
    let named = |why: String| Failure::new(format!("{}: {why}", escape::os(path.as_os_str())));
    Key::read(&text(path)?, ask).map_err(named)
}

/// The first line of a file.
pub fn passphrase_in(path: &Path) -> Result<Vec<u8>, Failure> {
    let text = text(path)?;
    let line = text.lines().next().filter(|line| !line.is_empty());
    let line = line
        .ok_or_else(|| Failure::new(format!("{}: its first line is empty", escape::os(path.as_os_str()))))?;
    Ok(line.as_bytes().to_vec())
}

/// Asks twice.
pub fn new_passphrase() -> Result<Vec<u8>, Failure> {
    let first = hidden("new passphrase: ")?;
    if first.is_empty() {
        return Err(Failure::with_help("the passphrase is empty", "--no-passphrase makes a key without one"));
    }
    if hidden("again: ")? == first { Ok(first) } else { Err(Failure::new("these were two passphrases")) }
}

/// A line from the terminal that is not shown.
fn hidden(prompt: &str) -> Result<Vec<u8>, Failure> {
    let help = "no terminal to ask for the passphrase: --passphrase-file names a file";
    let tty = File::options().read(true).write(true).open("/dev/tty").map_err(|_| Failure::new(help))?;
    let before = tcgetattr(&tty).map_err(|error| failed(Path::new("/dev/tty"), &error.into()))?;
    let mut quiet = before.clone();
    quiet.local_modes.remove(LocalModes::ECHO);
    let _ = (&tty).write_all(prompt.as_bytes());
    tcsetattr(&tty, OptionalActions::Flush, &quiet)
        .map_err(|error| failed(Path::new("/dev/tty"), &error.into()))?;
    let mut line = Vec::new();
    let read = BufReader::new(&tty).read_until(b'\n', &mut line);
    let _ = tcsetattr(&tty, OptionalActions::Flush, &before);
    let _ = (&tty).write_all(b"\n");
    read.map_err(|error| failed(Path::new("/dev/tty"), &error))?;
    Ok(line.trim_ascii_end().to_vec())
}

/// Writes a file that must not exist.
pub fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = File::options();
    let file = options.write(true).create_new(true).mode(mode).open(path);
    let mut file = file.map_err(|error| failed(path, &error))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| {
        // Half a file is none.
        let _ = std::fs::remove_file(path);
        failed(path, &error)
    })
}

/// Looks at these paths and hands on those that are there.
pub fn look_at(steps: impl Iterator<Item = Step>, reading: &Reading, mut tell: impl FnMut(Entry)) {
    let tasks = steps.map(|step| Task::Look(step, None, false));
    let told = crew::work(tasks, 1, reading, |seen| {
        if let Ok(now) = seen.now {
            tell(now);
        }
        Ok::<(), std::convert::Infallible>(())
    });
    told.unwrap_or_else(|never| match never {});
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The host's name.
pub fn host() -> String {
    String::from_utf8_lossy(rustix::system::uname().nodename().to_bytes()).into_owned()
}

/// Threads that read: as many as there are processors, and one more that waits for the disk.
pub fn workers() -> usize {
    std::thread::available_parallelism().map_or(2, |n| n.get() + 1).min(64)
}

/// Prints the digest as a picture. Where there are colours it is dark on a light ground: many cameras read no other.
pub fn picture(out: &mut Output<'_>, digest: &str) -> Result<(), Failure> {
    use qrcode::render::unicode::Dense1x2;
    let code = qrcode::QrCode::new(digest).map_err(|error| Failure::new(format!("no picture: {error}")))?;
    for line in code.render::<Dense1x2>().build().lines() {
        writeln!(out, "{}", out.paint(Paint::Paper, line))?;
    }
    Ok(())
}

/// What was not looked at, a line each.
pub fn tell_gaps(out: &mut Output<'_>, gaps: &[(Vec<u8>, String)], unseen: &[Change]) -> io::Result<()> {
    for (path, why) in gaps {
        let path = escape::os(OsStr::from_bytes(path));
        writeln!(out, "{} {path}: {}", out.paint(Paint::Yellow, "not seen:"), escape::text(why))?;
    }
    for change in unseen {
        writeln!(out, "{}", escape::text(&lines(change, Form::People)))?;
    }
    Ok(())
}

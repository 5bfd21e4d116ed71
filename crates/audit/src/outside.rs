//! Programs of this host that are asked, and change nothing: bounded in time and in what they say.

use crate::bounded;
use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Where they are looked for: never in the caller's PATH.
const DIRECTORIES: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];
/// Bytes of an answer.
const LONGEST: usize = 256 << 20;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The output of the first of these programs that is there. `any_status`: it may end with another status than 0.
pub(crate) fn run(programs: &[&str], arguments: &[&OsStr], any_status: bool) -> Result<Vec<u8>, String> {
    let places =
        programs.iter().flat_map(|name| DIRECTORIES.map(|directory| Path::new(directory).join(name)));
    let Some(program) = places.into_iter().find(|path| path.exists()) else {
        return Err(format!("there is no {}", programs.join(" or ")));
    };
    let failed = |what: &dyn std::fmt::Display| format!("{}: {what}", program.display());
    let mut child = Command::new(&program)
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| failed(&bounded::words(&error)))?;
    let output = child.stdout.take();
    // Read beside: a program that hangs is ended, and its reader with it.
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let most = u64::try_from(LONGEST).unwrap_or(u64::MAX);
        let read = output.map(|output| output.take(most + 1).read_to_end(&mut bytes));
        read.is_some_and(|read| read.is_ok()).then_some(bytes)
    });
    let until = Instant::now() + PATIENCE;
    while !reader.is_finished() {
        if Instant::now() > until {
            let _ = child.kill();
            let _ = child.wait();
            return Err(failed(&format!("no answer in {} seconds", PATIENCE.as_secs())));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let status = child.wait().map_err(|error| failed(&bounded::words(&error)))?;
    match reader.join() {
        Ok(Some(bytes)) if bytes.len() <= LONGEST && (any_status || status.success()) => Ok(bytes),
        Ok(Some(bytes)) if bytes.len() > LONGEST => Err(failed(&"its answer is too long")),
        _ => Err(failed(&status)),
    }
}

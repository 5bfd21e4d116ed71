//! Shell commands that a rule orders: beside the server (`spawn`), instead of it (`twist`), or asked for their status
//! (`aclexec`). Decides what they find on their descriptors: the null device, and only for `twist` the client.

use crate::ends::{said, swallow};
use portreeve_sys::beside::{self, End};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

/// How long a refusal pauses before it ends: so that a client in a loop starts no process each time.
pub const PAUSE: Duration = Duration::from_secs(5);

const SHELL: &CStr = c"/bin/sh";

fn run(shell: &CStr, command: &[u8]) -> Result<beside::Ended, Errno> {
    // As the original reads it: up to a NUL byte.
    let command = command.split(|byte| *byte == 0).next().unwrap_or_default();
    let command = CString::new(command).map_err(|_| Errno::INVAL)?;
    beside::run(shell, &[c"sh".into(), c"-c".into(), command])
}

/// Runs a command and waits for it; nobody asks how it ended. `&` at its end is the way not to wait.
pub fn spawn(command: &[u8], warn: &mut dyn FnMut(Vec<u8>)) {
    match run(SHELL, command).map(|ended| ended.end) {
        Ok(End::NotExecuted(errno)) => warn(said(b"execl /bin/sh: ", errno)),
        Ok(_) => {}
        Err(errno) => warn(said(b"cannot fork: ", errno)),
    }
}

/// What a command said about a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Status 0: the rule stands.
    Stands,
    /// Any other status, or a signal.
    Fails,
    /// It could not be asked.
    Unavailable,
}

/// Runs a command and asks for its status.
pub fn aclexec(command: &[u8], warn: &mut dyn FnMut(Vec<u8>)) -> Answer {
    ask(SHELL, command, warn)
}

fn ask(shell: &CStr, command: &[u8], warn: &mut dyn FnMut(Vec<u8>)) -> Answer {
    match run(shell, command) {
        Ok(ended) => match ended.end {
            End::Status(0) => Answer::Stands,
            End::Status(_) => Answer::Fails,
            End::Signal(signal) => {
                warn(format!("process {} exited with signal {signal}", ended.pid).into_bytes());
                Answer::Fails
            }
            End::NotExecuted(errno) => {
                warn(said(b"aclexec_option: /bin/sh: ", errno));
                Answer::Unavailable
            }
        },
        Err(errno) => {
            warn(said(b"cannot fork: ", errno));
            Answer::Unavailable
        }
    }
}

/// Becomes the command, with the client on descriptors 0, 1 and 2; returns only when that is impossible, after saying why.
/// The caller then ends: see [`end`].
pub fn twist(command: &[u8], socket: Option<BorrowedFd<'_>>, warn: &mut dyn FnMut(Vec<u8>)) {
    if let Err(errno) = client_on_stdio(socket) {
        warn(said(b"twist_option: dup: ", errno));
        return;
    }
    let command = command.split(|byte| *byte == 0).next().unwrap_or_default();
    let error = Command::new("/bin/sh").arg0("sh").arg("-c").arg(std::ffi::OsStr::from_bytes(command)).exec();
    let why = portreeve_sys::source::reason(&error);
    warn([b"twist_option: /bin/sh: ", why.as_bytes()].concat());
}

fn client_on_stdio(socket: Option<BorrowedFd<'_>>) -> Result<(), Errno> {
    let socket = socket.ok_or(Errno::BADF)?;
    if socket.as_raw_fd() > 2 {
        // The command has it three times already.
        rustix::io::fcntl_setfd(socket, rustix::io::FdFlags::CLOEXEC)?;
    }
    // A socket that stands on one of the three is kept while the others are made.
    let kept = rustix::io::fcntl_dupfd_cloexec(socket, 3)?;
    rustix::stdio::dup2_stdin(&kept)?;
    rustix::stdio::dup2_stdout(&kept)?;
    rustix::stdio::dup2_stderr(&kept)
}

/// Ends this process as a refusal does: a waiting datagram is swallowed, five seconds pass, status 0. The original does
/// this in whatever program called it, and such programs rely on it.
pub fn end(datagram: Option<BorrowedFd<'_>>) -> ! {
    if let Some(socket) = datagram {
        swallow(socket);
    }
    std::thread::sleep(PAUSE);
    #[expect(clippy::disallowed_methods, reason = "a refusal ends the program that asked, as documented")]
    std::process::exit(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_asked() {
        let mut said = Vec::new();
        let mut warn = |text: Vec<u8>| said.push(String::from_utf8(text).unwrap());
        assert_eq!(aclexec(b"exit 0", &mut warn), Answer::Stands);
        assert_eq!(aclexec(b"exit 1", &mut warn), Answer::Fails);
        assert_eq!(aclexec(b"no-such-command", &mut warn), Answer::Fails);
        assert_eq!(aclexec(b"kill -9 $$", &mut warn), Answer::Fails);
        spawn(b"exit 3", &mut warn);
        assert_eq!(ask(c"/nonexistent", b"exit 0", &mut warn), Answer::Unavailable, "nobody was asked");
        assert_eq!(said.len(), 2, "{said:?}");
        assert_eq!(said[1], "aclexec_option: /bin/sh: No such file or directory");
        assert!(said[0].starts_with("process ") && said[0].ends_with(" exited with signal 9"), "{said:?}");
    }
}

//! The control socket's client: one request line out, one JSON object in, both bounded. Decides which socket; knows no
//! verb's meaning. What comes back is the daemon's word, not trusted text: whoever prints it escapes it.

use crate::escape;
use crate::failure::{Failure, system_text};
use serde_json::Value;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The system daemon's socket.
pub const SYSTEM: &str = "/run/portreeve/control";
/// Names another socket, as `--control` does.
pub const VARIABLE: &str = "PORTREEVE_CONTROL";
/// An answer that is longer is refused: a status of 1000 services has about a megabyte.
const ANSWER_LIMIT: u64 = 64 << 20;
/// A reload may ask name servers; nothing else takes as long.
const PATIENCE: Duration = Duration::from_secs(120);

/// Which daemon is meant.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Socket {
    /// Control socket of the daemon [default: your own daemon's, else /run/portreeve/control]
    #[arg(long, value_name = "PATH", env = VARIABLE)]
    pub control: Option<PathBuf>,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Unanswered {
    /// No daemon listens there.
    NoDaemon(Failure),
    /// Everything else, a refusal by the daemon included.
    Failed(Failure),
}

impl From<Unanswered> for Failure {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::NoDaemon(failure) | Unanswered::Failed(failure) => failure,
        }
    }
}

impl Socket {
    /// The socket's path: the option or variable, else the user's own daemon's when there is one, else the system's.
    pub fn path(&self) -> PathBuf {
        self.control.clone().unwrap_or_else(|| {
            default_path(rustix::process::geteuid().is_root(), |name| std::env::var_os(name))
        })
    }

    /// Sends one request and returns the object that answers it.
    pub fn ask(&self, request: &str) -> Result<Value, Unanswered> {
        let path = self.path();
        let shown = escape::os(path.as_os_str());
        // A line end inside would be a second request; no verb takes one.
        if request.chars().any(char::is_control) {
            let message =
                format!("`{}` cannot be asked: it holds a control character", escape::text(request));
            return Err(Unanswered::Failed(Failure::new(message)));
        }
        let bytes = exchange(&path, request).map_err(|error| unreachable_socket(&shown, &error))?;
        let answer: Value = serde_json::from_slice(&bytes).map_err(|error| {
            Unanswered::Failed(Failure::new(format!("the answer from {shown} is not JSON: {error}")))
        })?;
        match answer.get("ok").and_then(Value::as_bool) {
            Some(true) => Ok(answer),
            _ => {
                let why = answer.get("error").and_then(Value::as_str).unwrap_or("it gives no reason");
                Err(Unanswered::Failed(Failure::new(format!("the daemon refused: {}", escape::text(why)))))
            }
        }
    }
}

impl Socket {
    /// Sends a list of bans behind `import`; the daemon's answer, a refusal too.
    /// `progress` hears how many hundredths of it are applied, where that takes long.
    pub fn import(
        &self,
        list: &str,
        cut: bool,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Value, Unanswered> {
        let path = self.path();
        let shown = escape::os(path.as_os_str());
        let request = format!("import {}{}\n{list}", list.len(), if cut { " cut" } else { "" });
        let bytes = exchange_bytes(&path, request.as_bytes(), progress)
            .map_err(|error| unreachable_socket(&shown, &error))?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Unanswered::Failed(Failure::new(format!("the answer from {shown} is not JSON: {error}")))
        })
    }
}

fn default_path(root: bool, variable: impl Fn(&str) -> Option<std::ffi::OsString>) -> PathBuf {
    if !root && let Some(directory) = variable("XDG_RUNTIME_DIR") {
        let own = Path::new(&directory).join("portreeve/control");
        if own.is_absolute() && own.exists() {
            return own;
        }
    }
    PathBuf::from(SYSTEM)
}

fn exchange(path: &Path, request: &str) -> io::Result<Vec<u8>> {
    exchange_bytes(path, format!("{request}\n").as_bytes(), &mut |_| {})
}

/// What is white in front of the answer are words of progress, a space for each hundredth. Each of them renews the patience.
fn exchange_bytes(path: &Path, request: &[u8], progress: &mut dyn FnMut(usize)) -> io::Result<Vec<u8>> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // One that refuses may do so before it has read everything: what it says counts.
    let written = stream.write_all(request);
    let (mut bytes, mut hundredths) = (Vec::new(), 0);
    let mut chunk = vec![0; 64 * 1024];
    let read = loop {
        match stream.read(&mut chunk) {
            Ok(0) => break Ok(()),
            Ok(count) => {
                let mut came = chunk.get(..count).unwrap_or_default();
                if bytes.is_empty() {
                    let answer = came.trim_ascii_start();
                    let white = came.len() - answer.len();
                    let spaces = came.iter().take(white).filter(|byte| **byte == b' ').count();
                    if spaces > 0 {
                        hundredths += spaces;
                        progress(hundredths);
                    }
                    came = answer;
                }
                bytes.extend_from_slice(came);
                if bytes.len() as u64 > ANSWER_LIMIT {
                    break Ok(());
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => break Err(error),
        }
    };
    if bytes.len() as u64 > ANSWER_LIMIT {
        return Err(io::Error::other("the answer is longer than 64 MiB"));
    }
    if bytes.is_empty() {
        written?;
        read?;
        return Err(io::Error::other("the connection was closed without an answer"));
    }
    Ok(bytes)
}

fn unreachable_socket(shown: &str, error: &io::Error) -> Unanswered {
    let why = system_text(error);
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => Unanswered::NoDaemon(Failure::with_help(
            format!("no daemon answers at {shown}: {why}"),
            "start one with `portreeve run -f FILE`, or name its socket with --control",
        )),
        ErrorKind::PermissionDenied => Unanswered::Failed(Failure::with_help(
            format!("{shown} may not be opened: {why}"),
            "root and the members of the socket's group may; changes need root",
        )),
        ErrorKind::WouldBlock | ErrorKind::TimedOut => Unanswered::Failed(Failure::new(format!(
            "the daemon at {shown} gave no answer within {} s",
            PATIENCE.as_secs()
        ))),
        _ => Unanswered::Failed(Failure::new(format!("{shown}: {why}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;
    use std::os::unix::net::UnixListener;

    /// A daemon that answers one request with these bytes; gives back what it was asked.
    fn answering(name: &str, answer: &'static [u8]) -> (Socket, std::thread::JoinHandle<Vec<u8>>) {
        let path = std::env::temp_dir().join(format!("portreeve-test-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let socket = Socket { control: Some(path.clone()) };
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = Vec::new();
            let mut byte = [0];
            while stream.read(&mut byte).unwrap() == 1 {
                asked.push(byte[0]);
                if byte[0] == b'\n' {
                    break;
                }
            }
            stream.write_all(answer).unwrap();
            std::fs::remove_file(&path).unwrap();
            asked
        });
        (socket, thread)
    }

    #[test]
    fn an_answer_comes_back() {
        let (socket, thread) = answering("ok", b"{\"ok\":true,\"pid\":7}\n");
        assert_eq!(socket.ask("status").unwrap()["pid"], 7);
        assert_eq!(thread.join().unwrap(), b"status\n");
    }

    #[test]
    fn white_in_front_of_an_answer_is_progress() {
        let (socket, thread) = answering("slow", b"  \t {\"ok\":true, \"imported\":7}\n");
        let mut said = Vec::new();
        let answer = socket.import("x\n", false, &mut |hundredths| said.push(hundredths)).unwrap();
        assert_eq!((&answer["imported"], said.last()), (&Value::from(7), Some(&3)));
        assert_eq!(thread.join().unwrap(), b"import 2\n");
    }

    #[test]
    fn refusals_rubbish_and_silence_are_failures() {
        for (name, answer, wanted) in [
            ("no", &b"{\"ok\":false,\"error\":\"only \x1b[2J root\"}"[..], "not JSON"),
            (
                "esc",
                b"{\"ok\":false,\"error\":\"only \\u001b[2J root\"}",
                "the daemon refused: only \\x1b[2J root",
            ),
            ("bad", b"hello", "not JSON"),
            ("none", b"", "closed without an answer"),
            ("odd", b"{}", "no reason"),
        ] {
            let (socket, thread) = answering(name, answer);
            let failure = Failure::from(socket.ask("status").unwrap_err()).to_string();
            assert!(failure.contains(wanted), "{failure}");
            thread.join().unwrap();
        }
    }

    #[test]
    fn nobody_there_is_said_with_the_remedy() {
        let socket = Socket { control: Some("/nonexistent/control".into()) };
        match socket.ask("status") {
            Err(Unanswered::NoDaemon(failure)) => {
                assert!(failure.to_string().contains("portreeve run"), "{failure}")
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_is_one_line() {
        let socket = Socket { control: Some("/nonexistent/control".into()) };
        assert!(matches!(socket.ask("explain a\nunban all"), Err(Unanswered::Failed(_))));
    }

    #[test]
    fn a_user_without_a_daemon_asks_the_systems() {
        let set = |name: &str| (name == "XDG_RUNTIME_DIR").then(|| OsString::from("/nonexistent"));
        assert_eq!(default_path(false, set), Path::new(SYSTEM));
        assert_eq!(default_path(true, set), Path::new(SYSTEM));
        assert_eq!(default_path(false, |_| None), Path::new(SYSTEM));
    }
}

//! libwrap.so.0, theirs and ours, under programs that neither side built: a private `/etc` with the tables of a test, the
//! library that the side of the world puts before them, and what they write to the system log.

use crate::init::HERE;
use crate::side::{Side, workspace};
use crate::wait::must;
use crate::world::{Ended, World};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Environment of programs that are linked to libwrap.
const ENV: &[&str] = &["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/run/w", "TZ=UTC", "LC_ALL=C"];

/// Our library; `PORTREEVE_LIBWRAP` names another one.
pub fn ours() -> PathBuf {
    std::env::var_os("PORTREEVE_LIBWRAP").map_or_else(|| workspace().join("dist/libwrap.so.0"), PathBuf::from)
}

/// A world with a private `/etc`, a system log, and the library of its side.
pub struct Wrapped<'a> {
    /// The world.
    pub world: &'a World,
    log: Arc<Log>,
    reader: Option<JoinHandle<()>>,
    env: Vec<String>,
}

/// What was written to the system log. It is read all the time: a full socket would stop the programs.
#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    ended: AtomicBool,
}

impl Log {
    fn read(&self, socket: &UnixDatagram) {
        let mut buffer = vec![0_u8; 65536];
        while !self.ended.load(Ordering::Relaxed) {
            // The deadline of a read that finds nothing is the pace at which the end is looked for.
            let Ok(count) = socket.recv(&mut buffer) else { continue };
            let text = String::from_utf8_lossy(&buffer[..count]);
            let line = without_stamp(text.trim_end_matches(['\0', '\n']));
            self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    }
}

impl Drop for Wrapped<'_> {
    fn drop(&mut self) {
        self.log.ended.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl<'a> Wrapped<'a> {
    /// Sets the world up. `/etc` is a copy in memory: nothing that is written there reaches the machine.
    ///
    /// # Panics
    /// When that fails.
    pub fn new(world: &'a World) -> Self {
        let copy = "set -e; mkdir /run/etc; mount -t tmpfs -o mode=755 etc /run/etc; cp -a /etc/. /run/etc/; \
                    mount --move /run/etc /etc";
        let (how, output) = world.run(&["/bin/sh", "-c", copy], ENV);
        assert_eq!(how, Ended::Status(0), "{output}");
        let socket = UnixDatagram::bind(world.path("dev-log")).expect("a system log");
        let everybody = std::fs::Permissions::from_mode(0o666);
        std::fs::set_permissions(world.path("dev-log"), everybody).expect("to open it");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a deadline");
        let log = Arc::new(Log::default());
        let writes = Arc::clone(&log);
        let reader = std::thread::spawn(move || writes.read(&socket));
        let mut env: Vec<String> = ENV.iter().map(|word| (*word).to_owned()).collect();
        if world.side == Side::Ours {
            let library = std::fs::read(ours()).expect("dist/libwrap.so.0; scripts/build makes it");
            world.write_mode("lib/libwrap.so.0", library, 0o755);
            env.push(format!("LD_LIBRARY_PATH={HERE}/lib"));
        }
        let wrapped = Self { world, log, reader: Some(reader), env };
        wrapped.tables("", "");
        wrapped
    }

    /// The environment that brings the library of this side.
    pub fn env(&self) -> Vec<&str> {
        self.env.iter().map(String::as_str).collect()
    }

    /// Replaces a file of `/etc`.
    pub fn etc(&self, name: &str, text: &str) {
        let path = self.world.inside(&format!("/etc/{name}"));
        std::fs::write(&path, text).expect("to write");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("to set the mode");
    }

    /// Replaces both tables.
    pub fn tables(&self, allow: &str, deny: &str) {
        self.etc("hosts.allow", allow);
        self.etc("hosts.deny", deny);
    }

    /// Starts a program and waits until it listens on a TCP port.
    pub fn start(&self, name: &str, argv: &[&str], port: u16) -> u32 {
        let pid = self.world.spawn(name, argv, &self.env());
        must(&format!("{} listens", argv.join(" ")), || {
            if !self.world.alive(pid) {
                panic!("{argv:?} ended: {}{}", self.read(name, "out"), self.read(name, "err"));
            }
            self.listens(port)
        });
        pid
    }

    /// Whether somebody listens on a TCP port inside.
    pub fn listens(&self, port: u16) -> bool {
        let wanted = format!(":{port:04X} ");
        ["tcp", "tcp6"].iter().any(|table| {
            let text = std::fs::read_to_string(self.world.inside(&format!("/proc/1/net/{table}")))
                .unwrap_or_default();
            // Local address, remote address, state; 0A is LISTEN.
            text.lines().any(|line| line.contains(&wanted) && line.split_whitespace().nth(3) == Some("0A"))
        })
    }

    fn read(&self, name: &str, channel: &str) -> String {
        self.world.read(&format!("{name}.{channel}"))
    }

    /// A process has the library of this side in its memory, and no other.
    pub fn uses_library(&self, pid: u32) {
        let maps =
            std::fs::read_to_string(self.world.inside(&format!("/proc/{pid}/maps"))).unwrap_or_default();
        let paths: Vec<&str> = maps
            .lines()
            .filter_map(|line| line.split_whitespace().nth(5))
            .filter(|path| path.contains("libwrap.so"))
            .collect();
        let ours = |path: &&str| path.contains("/lib/libwrap.so.0") && !path.contains("x86_64");
        assert!(!paths.is_empty(), "process {pid} has no libwrap: {maps}");
        assert!(paths.iter().all(|path| ours(path) == (self.world.side == Side::Ours)), "{paths:?}");
    }

    /// What was logged since the last question: priority and text, without stamp; process numbers are `N`.
    pub fn logged(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lines.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until a line that contains `words` was logged, and gives all lines until then.
    ///
    /// # Panics
    /// When it does not come.
    pub fn expect_logged(&self, words: &str) -> Vec<String> {
        let mut lines = Vec::new();
        must(&format!("`{words}` is logged"), || {
            lines.extend(self.logged());
            lines.iter().any(|line| line.contains(words))
        });
        lines
    }
}

/// `<30>Nov 22 22:22:22 sshd[77]: text` becomes `<30>sshd[N]: text`.
fn without_stamp(line: &str) -> String {
    let (priority, rest) = line.split_once('>').unwrap_or(("", line));
    let rest = rest.get(16..).unwrap_or(rest);
    let (tag, text) = rest.split_once(": ").unwrap_or((rest, ""));
    let tag = match tag.split_once('[') {
        Some((name, _)) => format!("{name}[N]"),
        None => tag.to_owned(),
    };
    format!("{priority}>{tag}: {text}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn stamps_and_numbers_are_taken_out() {
        let line = "<38>Nov  2 03:04:05 sshd[77]: refused connect from a (b: c)";
        assert_eq!(super::without_stamp(line), "<38>sshd[N]: refused connect from a (b: c)");
        assert_eq!(super::without_stamp("<30>Nov 22 03:04:05 socat: x"), "<30>socat: x");
    }
}

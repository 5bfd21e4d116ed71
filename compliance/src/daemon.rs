//! A running super-server in a world: start, signals, reload, logs, status. Knows how each side is called, and nothing
//! about what a test expects.

use crate::entry::Config;
use crate::init::{HERE, PROBE};
use crate::lines::{daemon_line, service_line, split_daemon_line};
use crate::side::Side;
use crate::wait::{DEADLINE, must, until};
use crate::world::{Ended, World};
use serde_json::Value;

/// Signal numbers of Linux that tests send.
pub mod signals {
    #![allow(missing_docs)]
    pub const HUP: i32 = 1;
    pub const INT: i32 = 2;
    pub const QUIT: i32 = 3;
    pub const ABRT: i32 = 6;
    pub const KILL: i32 = 9;
    pub const USR1: i32 = 10;
    pub const USR2: i32 = 12;
    pub const PIPE: i32 = 13;
    pub const ALRM: i32 = 14;
    pub const TERM: i32 = 15;
    pub const CONT: i32 = 18;
    pub const STOP: i32 = 19;
    pub const TSTP: i32 = 20;
}

/// How the super-server is started, where that is not the usual.
#[derive(Clone, Debug)]
pub struct Start {
    /// Options after the usual ones.
    pub options: Vec<String>,
    /// The whole environment.
    pub env: Vec<String>,
    /// A program that starts it: `["setpriv", "--reuid=1000"]`.
    pub through: Vec<String>,
}

impl Default for Start {
    fn default() -> Start {
        Start { options: Vec::new(), env: environment(), through: Vec::new() }
    }
}

/// The environment that super-servers get when a test does not say otherwise.
pub fn environment() -> Vec<String> {
    ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TZ=UTC"]
        .map(str::to_owned)
        .to_vec()
}

/// A super-server that listens.
pub struct Daemon<'a> {
    /// Where it runs.
    pub world: &'a World,
    /// Its process number inside.
    pub pid: u32,
}

impl World {
    /// Starts the super-server with this configuration and waits until it listens.
    ///
    /// # Panics
    /// When it does not say that it works.
    pub fn start(&self, config: &Config) -> Daemon<'_> {
        self.start_with(config, Start::default())
    }

    /// The same with options.
    ///
    /// # Panics
    /// When it does not say that it works.
    pub fn start_with(&self, config: &Config, start: Start) -> Daemon<'_> {
        let before = self.daemon_log().iter().filter(|l| l.contains("Started working: ")).count();
        let daemon = Daemon { world: self, pid: self.launch(config, &start) };
        must("the super-server says that it works", || {
            if let Some(how) = self.ended(daemon.pid) {
                panic!("the super-server ended with {how:?}: {}", self.read("daemon.err"));
            }
            self.daemon_log().iter().filter(|l| l.contains("Started working: ")).count() > before
        });
        daemon
    }

    /// Starts the super-server and waits for nothing.
    pub fn launch(&self, config: &Config, start: &Start) -> u32 {
        self.write("xinetd.conf", config.text(self.side));
        let executable = self.side.executable();
        let executable = executable.to_str().expect("a path in UTF-8").to_owned();
        let (conf, log, pid) =
            (format!("{HERE}/xinetd.conf"), format!("{HERE}/daemon.log"), format!("{HERE}/daemon.pid"));
        let control = format!("{HERE}/control");
        let mut argv: Vec<&str> = start.through.iter().map(String::as_str).collect();
        argv.push(&executable);
        if self.side == Side::Ours {
            argv.push("run");
        }
        argv.extend(["-dontfork", "-f", &conf, "-filelog", &log, "-pidfile", &pid]);
        if self.side == Side::Ours {
            argv.extend(["--control", &control]);
        }
        argv.extend(start.options.iter().map(String::as_str));
        let env: Vec<&str> = start.env.iter().map(String::as_str).collect();
        self.spawn("daemon", &argv, &env)
    }

    /// The daemon log without stamps and numbers: `LEVEL: TEXT`.
    pub fn daemon_log(&self) -> Vec<String> {
        self.read("daemon.log").lines().map(daemon_line).collect()
    }

    /// The log file of a service (see [`crate::Entry::bare`]), without stamps and numbers.
    pub fn service_log(&self, id: &str) -> Vec<String> {
        self.read(&format!("log/{id}")).lines().map(service_line).collect()
    }

    /// Waits until the log of a service holds exactly these lines, in any order: xinetd's parent and child write side by
    /// side, so their order is not fixed.
    ///
    /// # Panics
    /// When it does not within the deadline.
    pub fn expect_log<S: AsRef<str>>(&self, id: &str, lines: &[S]) {
        let mut expected: Vec<String> = lines.iter().map(|l| l.as_ref().to_owned()).collect();
        expected.sort();
        let sorted = || {
            let mut lines = self.service_log(id);
            lines.sort();
            lines
        };
        let enough = || (sorted().len() >= expected.len()).then_some(());
        until(DEADLINE, || if sorted() == expected { Some(()) } else { enough().and(None) });
        assert_eq!(sorted(), expected, "log of service {id}, {}", self.side.name());
    }

    /// Waits until the daemon log holds these lines one after the other, others between them or not.
    ///
    /// # Panics
    /// When it does not within the deadline.
    pub fn expect_daemon_log<S: AsRef<str>>(&self, lines: &[S]) {
        let missing = || {
            let log = self.daemon_log();
            let mut log = log.iter();
            lines.iter().map(AsRef::as_ref).find(|wanted| !log.any(|line| line == wanted)).map(str::to_owned)
        };
        if until(DEADLINE, || missing().is_none().then_some(())).is_none() {
            let (missing, log) = (missing().unwrap_or_default(), self.daemon_log().join("\n  "));
            panic!("{}: no line `{missing}` at its place in the daemon log:\n  {log}", self.side.name());
        }
    }

    /// How many lines of the daemon log hold this text.
    pub fn daemon_log_count(&self, text: &str) -> usize {
        self.daemon_log().iter().filter(|line| line.contains(text)).count()
    }

    /// The program names in the daemon log.
    pub fn daemon_log_programs(&self) -> Vec<String> {
        let text = self.read("daemon.log");
        let mut names: Vec<String> =
            text.lines().filter_map(|l| split_daemon_line(l).map(|(name, ..)| name.to_owned())).collect();
        names.sort();
        names.dedup();
        names
    }
}

impl Daemon<'_> {
    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        assert!(self.world.signal(self.pid, signal), "the super-server is gone");
    }

    /// Puts another configuration in place, sends HUP and waits for the end of the reconfiguration.
    pub fn reload(&self, config: &Config) {
        self.reload_text(&config.text(self.world.side));
    }

    /// The same with text as it is.
    pub fn reload_text(&self, text: &str) {
        let before = self.world.daemon_log_count("Reconfigured: ");
        self.world.write("xinetd.conf", text);
        self.signal(signals::HUP);
        must("the reconfiguration ends", || self.world.daemon_log_count("Reconfigured: ") > before);
    }

    /// Whether it runs.
    pub fn runs(&self) -> bool {
        self.world.ended(self.pid).is_none() && self.world.alive(self.pid)
    }

    /// Ends it with TERM and gives how it ended.
    pub fn stop(&self) -> Ended {
        self.signal(signals::TERM);
        self.world.wait(self.pid)
    }

    /// Open descriptors of the super-server.
    pub fn descriptors(&self) -> usize {
        let path = self.world.inside(&format!("/proc/{}/fd", self.pid));
        std::fs::read_dir(path).map(Iterator::count).unwrap_or(0)
    }

    /// Sends one request to the control socket, from inside, and gives the whole answer. Ours only.
    pub fn control(&self, request: &str) -> String {
        let (how, answer) = self.world.run(&[PROBE, "control", &format!("{HERE}/control"), request], &[]);
        assert_eq!(how, Ended::Status(0), "asking `{request}`: {answer}");
        answer
    }

    /// The answer to `status`.
    pub fn status(&self) -> Value {
        let answer = self.control("status");
        serde_json::from_str(&answer).unwrap_or_else(|e| panic!("status is not JSON ({e}): {answer}"))
    }

    /// The part of `status` about one service.
    pub fn service_status(&self, id: &str) -> Value {
        let status = self.status();
        let found = status.get("services").and_then(Value::as_array).and_then(|all| {
            all.iter().find(|service| service.get("id").and_then(Value::as_str) == Some(id)).cloned()
        });
        found.unwrap_or_else(|| panic!("no service {id} in status: {status}"))
    }

    /// A number in the status of a service, by its path: `/refused/address`; 0 when absent.
    pub fn count(&self, id: &str, pointer: &str) -> u64 {
        self.service_status(id).pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
    }
}

impl World {
    /// Starts the super-server without `-filelog`: its own messages go to syslog. Waits for nothing.
    pub fn launch_syslog(&self, config: &Config, start: &Start) -> u32 {
        self.write("xinetd.conf", config.text(self.side));
        let executable = self.side.executable();
        let mut argv: Vec<String> = vec![executable.to_string_lossy().into_owned()];
        if self.side == Side::Ours {
            argv.push("run".to_owned());
        }
        argv.extend(["-dontfork".to_owned(), "-f".to_owned(), format!("{HERE}/xinetd.conf")]);
        argv.extend(["-pidfile".to_owned(), format!("{HERE}/daemon.pid")]);
        if self.side == Side::Ours {
            argv.extend(["--control".to_owned(), format!("{HERE}/control")]);
        }
        argv.extend(start.options.iter().cloned());
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        let env: Vec<&str> = start.env.iter().map(String::as_str).collect();
        self.spawn("daemon", &argv, &env)
    }
}

//! tcpd and the programs beside it, called as inetd calls them ([`crate::inetd`]): one client each, and what the client, the
//! system log and inetd see of it.

use crate::client::Connection;
use crate::init::{HERE, PROBE};
use crate::side::{Side, workspace};
use crate::wait::{DEADLINE, must, until};
use crate::world::World;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The environment that inetd has.
const ENV: &[&str] = &["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TZ=UTC"];

/// What one call came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// All that the client received; empty for datagrams.
    pub received: String,
    /// Exit status; -1 for a signal.
    pub status: i32,
    /// Datagrams that still wait.
    pub left: usize,
    /// `PRIORITY NAME[N]: TEXT` for each line of the system log under the daemon's name, numbers of processes as N.
    pub log: Vec<String>,
}

/// A world in which tcpd is called.
pub struct Inetd<'a> {
    world: &'a World,
    log: &'a Log,
}

/// The system log of a world, read all the time.
#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    ended: AtomicBool,
}

/// A program of TCP Wrappers, or ours of that name.
pub fn program(world: &World, name: &str) -> String {
    match world.side {
        Side::Theirs if name == "tcpd" => "/usr/sbin/tcpd".to_owned(),
        Side::Theirs => format!("/usr/sbin/{name}"),
        Side::Ours => {
            let own = std::env::var_os("PORTREEVE")
                .map_or_else(|| workspace().join("dist/portreeve"), PathBuf::from);
            let link = world.path("bin").join(name);
            std::fs::create_dir_all(world.path("bin")).expect("a directory");
            // Clients of one test may ask for it at the same time.
            match std::os::unix::fs::symlink(own, link) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => panic!("a link: {error}"),
                _ => {}
            }
            format!("{HERE}/bin/{name}")
        }
    }
}

/// Runs `body` with tables, the system log being read.
pub fn with_tables(world: &World, allow: &str, deny: &str, body: impl FnOnce(&Inetd<'_>)) {
    world.write("etc/hosts.allow", allow);
    world.write("etc/hosts.deny", deny);
    let socket = UnixDatagram::bind(world.path("dev-log")).expect("a system log");
    let everybody = std::fs::Permissions::from_mode(0o666);
    std::fs::set_permissions(world.path("dev-log"), everybody).expect("to open it");
    socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a deadline");
    let log = Log::default();
    std::thread::scope(|scope| {
        scope.spawn(|| log.read(&socket));
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            body(&Inetd { world, log: &log });
        }));
        log.ended.store(true, Ordering::Relaxed);
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
}

impl Log {
    fn read(&self, socket: &UnixDatagram) {
        let mut buffer = vec![0_u8; 65536];
        while !self.ended.load(Ordering::Relaxed) {
            let Ok(count) = socket.recv(&mut buffer) else { continue };
            let text = String::from_utf8_lossy(&buffer[..count]).into_owned();
            self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(text);
        }
    }
}

/// `<30>Nov 22 22:00:00 name[7]: text` as `30 name[N]: text`.
fn without_stamp(line: &str) -> Option<String> {
    let (priority, rest) = line.strip_prefix('<')?.split_once('>')?;
    let rest = rest.get("Nov 22 22:00:00 ".len()..)?.trim_end_matches(['\0', '\n']);
    let (name, rest) = rest.split_once('[')?;
    let (_, text) = rest.split_once("]: ")?;
    let text = crate::lines::without_numbers(text).replace("process ", "process #");
    let text: String = match text.split_once("process #") {
        Some((before, after)) => {
            format!("{before}process N{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
        }
        None => text,
    };
    Some(format!("{priority} {name}[N]: {text}"))
}

impl Inetd<'_> {
    /// Calls `executable` as `argv` for a connection to `port` from 127.0.0.1, which sends `bytes`.
    pub fn stream(&self, port: u16, executable: &str, argv: &[&str], bytes: &[u8]) -> Outcome {
        self.stream_from("127.0.0.1", port, executable, argv, bytes)
    }

    /// The same from another address.
    pub fn stream_from(
        &self,
        from: &str,
        port: u16,
        executable: &str,
        argv: &[&str],
        bytes: &[u8],
    ) -> Outcome {
        let to = if from.contains(':') { "[::1]" } else { "127.0.0.1" };
        let (pid, name) = self.call("tcp", &format!("{to}:{port}"), executable, argv);
        let connection: Option<Connection> = until(DEADLINE, || crate::client::dial(from, port).ok());
        let mut connection = connection.expect("a connection");
        connection.send(bytes);
        let received = connection.read_all().text();
        self.outcome(pid, &name, argv, received)
    }

    /// Calls it for a connection of which the client never hears again, and waits for the end.
    pub fn deaf(&self, port: u16, executable: &str, argv: &[&str]) -> Outcome {
        let (pid, name) = self.call("tcp", &format!("127.0.0.1:{port}"), executable, argv);
        let connection = until(DEADLINE, || crate::client::dial("127.0.0.1", port).ok());
        let outcome = self.outcome(pid, &name, argv, String::new());
        drop(connection.expect("a connection"));
        outcome
    }

    /// Calls it for two datagrams to `port`.
    pub fn datagrams(&self, port: u16, executable: &str, argv: &[&str]) -> Outcome {
        let (pid, name) = self.call("udp", &format!("127.0.0.1:{port}"), executable, argv);
        let client = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        client.connect(("127.0.0.1", port)).expect("to connect");
        let wanted = format!(":{port:04X} 00000000:0000 ");
        must("somebody takes datagrams", || {
            // The network of this thread, which is in the world.
            std::fs::read_to_string("/proc/thread-self/net/udp").is_ok_and(|table| table.contains(&wanted))
        });
        for text in [b"one", b"two"] {
            client.send(text).expect("to send");
        }
        self.outcome(pid, &name, argv, String::new())
    }

    /// Calls it without a client.
    pub fn nobody(&self, executable: &str, argv: &[&str]) -> Outcome {
        let (pid, name) = self.call("file", "", executable, argv);
        self.outcome(pid, &name, argv, String::new())
    }

    fn call(&self, kind: &str, address: &str, executable: &str, argv: &[&str]) -> (u32, String) {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let name = format!("inetd{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let mut words = vec![PROBE, "inetd", kind, address, executable];
        words.extend(argv);
        (self.world.spawn(&name, &words, ENV), name)
    }

    fn outcome(&self, pid: u32, name: &str, argv: &[&str], received: String) -> Outcome {
        self.world.wait(pid);
        let printed = self.world.read(&format!("{name}.out"));
        let (status, left) = printed.trim().split_once(' ').unwrap_or_else(|| {
            panic!("{argv:?}: {printed:?}, {}", self.world.read(&format!("{name}.err")));
        });
        let daemon = argv.first().and_then(|called| called.rsplit('/').next()).unwrap_or_default();
        Outcome {
            received,
            status: status.parse().expect("a status"),
            left: left.parse().expect("a number"),
            log: self.logged(daemon),
        }
    }

    /// The lines of the system log under a name. Whoever wrote them has ended, so that they are there.
    pub fn logged(&self, name: &str) -> Vec<String> {
        // Datagrams of a dead process are read within the pace of the reader.
        std::thread::sleep(Duration::from_millis(100));
        let lines = self.log.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let own =
            |line: &String| line.split_once(' ').is_some_and(|(_, l)| l.starts_with(&format!("{name}[")));
        lines.iter().filter_map(|line| without_stamp(line)).filter(own).collect()
    }
}

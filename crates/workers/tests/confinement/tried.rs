//! A child that confines itself as a worker does and then tries everything once, and what its parent reads of it.

use crate::again;
use crate::skip::{Reason, skip};
use portreeve_workers::confine;
use portreeve_workers::protocol::{Missing, Worker};
use rustix::io::Errno;
use rustix::net::SendFlags;
use rustix::process::Pid;
use rustix::thread::CapabilitySets;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};

/// The child's side: what is missing, what it may, then it waits for the end of its input.
pub(crate) fn report(words: &[String]) {
    if words.get(1).map(String::as_str) == Some("unprivileged") {
        portreeve_sys::process::become_user(65_534, 65_534).unwrap();
    }
    if words.get(1).map(String::as_str) == Some("powerless") {
        let none = rustix::thread::CapabilitySet::empty();
        let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
        rustix::thread::set_capabilities(None, sets).unwrap();
    }
    let worker = Worker::by_name(words.first().unwrap()).unwrap();
    // Opened before: what a confined process may do with a socket it already has.
    let socket =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap();
    let parent = rustix::process::getppid().unwrap();
    let mut input = std::fs::File::from(rustix::stdio::stdin().try_clone_to_owned().unwrap());
    // A pipe on standard input would be what its life hangs on.
    if words.get(1).map(String::as_str) != Some("hanging") {
        rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null").unwrap()).unwrap();
    }
    let missing = confine(worker, None, None).unwrap();
    let mut out = std::io::stdout();
    for part in &missing {
        writeln!(out, "missing: {}", part.word()).unwrap();
    }
    for (name, allowed) in attempts(&socket, parent) {
        writeln!(out, "{name}: {}", if allowed { "yes" } else { "no" }).unwrap();
    }
    writeln!(out, "end").unwrap();
    out.flush().unwrap();
    if words.get(1).map(String::as_str) == Some("hanging") {
        // Busy, and looks at nothing.
        let begun = std::time::Instant::now();
        while begun.elapsed().as_secs() < 60 {
            std::hint::spin_loop();
        }
    }
    let _ = input.read(&mut [0; 1]);
}

fn attempts(socket: &OwnedFd, parent: Pid) -> Vec<(&'static str, bool)> {
    let scratch = std::env::temp_dir();
    let listener: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let refused = |result: rustix::io::Result<()>| {
        // Refused by the other side, or by nobody: the kernel let it try.
        !matches!(result, Err(Errno::PERM | Errno::ACCESS | Errno::NOSYS))
    };
    vec![
        ("read /etc/passwd", std::fs::read("/etc/passwd").is_ok()),
        ("read scratch", std::fs::read_dir(&scratch).is_ok()),
        ("read /proc/self/maps", std::fs::read("/proc/self/maps").is_ok()),
        ("write scratch", std::fs::write(scratch.join("portreeve-must-not-be"), b"x").is_ok()),
        ("write /dev/null", std::fs::write("/dev/null", b"x").is_ok()),
        ("socket", UdpSocket::bind("127.0.0.1:0").is_ok()),
        ("connect", refused(rustix::net::connect(socket, &listener))),
        ("connect by sending", refused(fast_open(socket, listener))),
        ("listen", TcpListener::bind("127.0.0.1:0").is_ok()),
        ("thread", std::thread::Builder::new().spawn(|| ()).is_ok_and(|thread| thread.join().is_ok())),
        ("process", Command::new("/bin/true").spawn().is_ok()),
        ("signal parent", rustix::process::test_kill_process(parent).is_ok()),
        ("memory", vec![1u8; 8 << 20].iter().map(|&b| u64::from(b)).sum::<u64>() == 8 << 20),
    ]
}

/// MSG_FASTOPEN: bytes that connect.
fn fast_open(socket: &OwnedFd, to: SocketAddr) -> rustix::io::Result<()> {
    let flags = SendFlags::from_bits_retain(0x2000_0000) | SendFlags::NOSIGNAL;
    rustix::net::sendto(socket, b"x", flags, &to).map(drop)
}

/// The parent's side.
pub(crate) struct Tried {
    child: Child,
    pub(crate) lines: Vec<String>,
}

impl Tried {
    pub(crate) fn by(words: &[&str]) -> Self {
        let mut child = again(words).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut lines = Vec::new();
        for line in out.lines() {
            let line = line.unwrap();
            if line == "end" {
                return Tried { child, lines };
            }
            lines.push(line);
        }
        panic!("the child ended early ({:?}): {lines:?}", child.wait());
    }

    pub(crate) fn has(&self, line: &str) -> bool {
        self.lines.iter().any(|l| l == line)
    }

    /// The child may do exactly these.
    pub(crate) fn may_only(&self, allowed: &[&str]) {
        for line in self.lines.iter().filter(|line| !line.starts_with("missing: ")) {
            let (name, answer) = line.split_once(": ").unwrap();
            assert_eq!(answer == "yes", allowed.contains(&name), "{line} in {:#?}", self.lines);
        }
    }

    pub(crate) fn status(&self) -> String {
        std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap()
    }

    /// What its life hangs on is let go.
    pub(crate) fn killed(mut self) {
        drop(self.child.stdin.take());
        assert_eq!(self.child.wait().unwrap().signal(), Some(9), "{:?}", self.lines);
    }

    pub(crate) fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success(), "{:?}", self.lines);
    }
}

/// Whether a part of the kernel is not there, which is then a named skip; what does not rest on it is still checked.
pub(crate) fn lacks(tried: &Tried, part: Missing) -> bool {
    let lacks = tried.has(&format!("missing: {}", part.word()));
    if lacks {
        skip(match part {
            Missing::Landlock | Missing::LandlockPart => Reason::NoLandlock,
            Missing::Seccomp => Reason::NoSeccomp,
            other => panic!("no kernel is without {other:?}"),
        });
    }
    lacks
}

//! Private mount and network namespaces with the names that the cases ask for, and the programs run in them one after
//! the other. Touches nothing of the machine: whatever is written lies on file systems of its own.

use super::Case;
use rustix::mount::{MountFlags, mount};
use rustix::process::{Resource, Rlimit, prlimit, setrlimit};
use std::ffi::{CString, OsStr};
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What the namespaces' first process finds in its environment.
const INSIDE: &str = "PORTREEVE_PREDICTORS_INSIDE";

const HOSTS: &str = "127.0.0.1 localhost\n::1 ip6-localhost ip6-loopback\n10.1.2.3 alpha.example.com alpha\n\
10.1.2.4 beta.example.com\n10.1.3.5 gamma.sub.example.com\n192.168.7.7 trusted\n203.0.113.9 evil.example.net\n\
10.9.9.8 canon.example.com weird.example.com\n10.9.9.9 weird.example.com\n10.9.9.11 1.2.3.4 numname\n\
10.9.9.20 multi.example.com\n10.9.9.21 multi.example.com\n2001:db8::10 six.example.com\n\
2001:db8::11 dual.example.com\n10.9.9.30 dual.example.com\n10.9.9.40 MixedCase.Example.COM\n";
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files\nnetworks: files\nprotocols: files\nservices: files\nnetgroup: files\n";
const NETGROUPS: &str = "trustedhosts (trusted,,) (alpha.example.com,,)\nnested trustedhosts (beta.example.com,,)\n\
anyhost (,,)\nonlydom (trusted,,otherdom)\n";

/// Where the cases live.
const HERE: &str = "/run/twc";

/// Seconds of computing after which a program counts as one that does not end.
const LONGEST: u64 = 5;

/// How a program ended.
#[derive(Clone)]
pub struct Ended {
    /// Its process number.
    pub number: u32,
    /// Its exit status; none if a signal ended it.
    pub status: Option<i32>,
    /// What it printed.
    pub stdout: Vec<u8>,
    /// What it complained of.
    pub stderr: Vec<u8>,
}

impl Ended {
    /// Whether both ended alike, but for their process numbers (`%p`).
    pub fn same(&self, other: &Self) -> bool {
        let without_number = |ended: &Self| replaced(&ended.stdout, ended.number.to_string().as_bytes());
        let printed = self.stdout == other.stdout || without_number(self) == without_number(other);
        self.status == other.status && self.stderr == other.stderr && printed
    }
}

impl std::fmt::Debug for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "status {:?}\n{}", self.status, String::from_utf8_lossy(&self.stdout))?;
        if self.stderr.is_empty() {
            Ok(())
        } else {
            write!(f, "stderr {}", String::from_utf8_lossy(&self.stderr))
        }
    }
}

/// The namespaces, around this process.
pub struct Room(PathBuf);

/// Starts this very program again in namespaces of its own; comes back only there, or when that failed.
///
/// # Errors
/// What unshare(1) could not do.
pub fn enter() -> io::Result<()> {
    if std::env::var_os(INSIDE).is_some() {
        return Ok(());
    }
    let own = std::env::current_exe()?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--propagation", "private"]).arg(own);
    Err(command.args(std::env::args_os().skip(1)).env(INSIDE, "1").exec())
}

/// Which names the room knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// Those that drawn cases ask for.
    Drawn,
    /// The loopback's alone.
    Localhost,
}

impl Room {
    /// Furnishes the namespaces that [`enter`] made.
    ///
    /// # Errors
    /// When they were not made, or cannot be mounted in.
    pub fn new(names: Names) -> io::Result<Self> {
        if std::env::var_os(INSIDE).is_none() {
            return Err(io::Error::other("not in namespaces of its own"));
        }
        let kept: Vec<_> = ["passwd", "group", "services", "protocols", "ld.so.cache", "ld.so.conf"]
            .iter()
            .filter_map(|name| Some((*name, fs::read(Path::new("/etc").join(name)).ok()?)))
            .collect();
        for directory in ["/etc", "/run"] {
            let mode = CString::new("mode=755").unwrap_or_default();
            mount("none", directory, "tmpfs", MountFlags::empty(), Some(mode.as_c_str()))?;
        }
        let hosts = match names {
            Names::Drawn => HOSTS,
            Names::Localhost => "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n",
        };
        for (name, bytes) in kept {
            fs::write(Path::new("/etc").join(name), bytes)?;
        }
        for (name, text) in [
            ("hosts", hosts),
            ("nsswitch.conf", NSSWITCH),
            ("netgroup", NETGROUPS),
            ("host.conf", "multi on\n"),
            ("gai.conf", ""),
        ] {
            fs::write(Path::new("/etc").join(name), text)?;
        }
        Command::new("ip").args(["link", "set", "lo", "up"]).status()?;
        // The original crashes now and then: its memory is of no interest.
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        setrlimit(Resource::Core, none)?;
        Ok(Self(PathBuf::from(HERE)))
    }

    /// Writes what the case's programs find.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn prepare(&self, case: &Case) -> io::Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let work = self.0.join("w");
        fs::create_dir_all(&work)?;
        fs::create_dir(self.0.join("dir"))?;
        for (name, bytes) in &case.files {
            let path = work.join(name);
            if let Some(directory) = path.parent() {
                fs::create_dir_all(directory)?;
            }
            fs::write(path, bytes)?;
        }
        Ok(())
    }

    /// Runs the case's program of this directory. One that does not end counts as crashed.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn run(&self, directory: &Path, case: &Case, shim: Option<&Path>) -> io::Result<Ended> {
        let mut command = Command::new(directory.join(case.tool));
        command.arg0(case.tool).args(case.arguments.iter().map(|argument| OsStr::from_bytes(argument)));
        command.env_clear().env("LC_ALL", "C").env("TZ", "UTC").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        if let Some(shim) = shim {
            command.env("LD_PRELOAD", shim);
        }
        command
            .current_dir(self.0.join("w"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let number = child.id();
        // Its pattern of many stars takes the original for ever.
        if let Some(pid) = rustix::process::Pid::from_raw(number.cast_signed()) {
            let seconds = Rlimit { current: Some(LONGEST), maximum: Some(LONGEST) };
            // It may have ended by now.
            let _ = prlimit(Some(pid), Resource::Cpu, seconds);
        }
        let mut ended = Ended { number, status: None, stdout: Vec::new(), stderr: Vec::new() };
        // Both fit into their pipes: the tables are small.
        if let Some(stdout) = child.stdout.as_mut() {
            stdout.read_to_end(&mut ended.stdout)?;
        }
        if let Some(stderr) = child.stderr.as_mut() {
            stderr.read_to_end(&mut ended.stderr)?;
        }
        let status = child.wait()?;
        ended.status = if status.signal().is_some() { None } else { status.code() };
        Ok(ended)
    }
}

fn replaced(text: &[u8], number: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(number) {
            out.extend_from_slice(b"<PID>");
            rest = after;
        } else {
            out.push(*first);
            rest = after;
        }
    }
    out
}

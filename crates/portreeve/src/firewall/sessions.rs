//! The TCP connections of this host, and which of them this process was typed in: what a session is is told by the sockets that
//! the processes above this one hold, never by an environment that anybody can set. Looks only.

use portreeve_sys::sock_diag::{self, Connection, Transport};
use rustix::process::Pid;
use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};

/// Processes above this one that are looked at.
const MOST_ABOVE: usize = 64;

/// Every connection, of both families.
///
/// # Errors
/// The kernel does not list them.
pub fn connections() -> io::Result<Vec<Connection>> {
    let fd = sock_diag::asking()?;
    let mut all = sock_diag::connections(&fd, false)?.sockets;
    match sock_diag::connections(&fd, true) {
        Ok(dump) => all.extend(dump.sockets),
        Err(error) if sock_diag::is_unsupported(&error) => {}
        Err(error) => return Err(error),
    }
    Ok(all)
}

/// The ports at which this host takes connections.
///
/// # Errors
/// The kernel does not list them.
pub fn listening() -> io::Result<BTreeSet<u16>> {
    let fd = sock_diag::asking()?;
    let mut ports = BTreeSet::new();
    for v6 in [false, true] {
        match sock_diag::inet(&fd, v6, Transport::Tcp) {
            Ok(dump) => ports.extend(dump.sockets.iter().map(|socket| socket.port)),
            Err(error) if v6 && sock_diag::is_unsupported(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(ports)
}

/// A process above this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Above {
    /// Its number.
    pub pid: u32,
    /// Its short name.
    pub name: String,
    /// When it began, in ticks since the boot.
    pub began: u64,
    /// The inodes of the sockets that it holds.
    pub sockets: HashSet<u32>,
}

/// The processes above this one, the nearest first.
pub fn above(proc: &Path) -> Vec<Above> {
    let mut found = Vec::new();
    let mut next = rustix::process::getppid().map(Pid::as_raw_nonzero).map(|pid| pid.get().cast_unsigned());
    while let Some(pid) = next.filter(|_| found.len() < MOST_ABOVE) {
        let directory = proc.join(pid.to_string());
        let Some(stat) = std::fs::read_to_string(directory.join("stat")).ok().and_then(|text| stat(&text))
        else {
            break;
        };
        found.push(Above {
            pid,
            name: stat.name,
            began: stat.began,
            sockets: sockets(&directory.join("fd")),
        });
        next = Some(stat.parent).filter(|parent| *parent > 0);
    }
    found
}

/// When a process began, in ticks since the boot; `None` when it has ended.
pub fn began(process: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let dead = text.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']));
    stat(&text).filter(|_| !dead).map(|stat| stat.began)
}

struct Stat {
    name: String,
    parent: u32,
    tty: u32,
    began: u64,
}

/// proc_pid_stat(5): number, (name), state, parent, group, session, terminal, ... the 22nd is when it began.
fn stat(text: &str) -> Option<Stat> {
    let (front, rest) = text.rsplit_once(')')?;
    let name = front.split_once('(')?.1.to_owned();
    let words: Vec<&str> = rest.split_whitespace().collect();
    Some(Stat {
        name,
        parent: words.get(1)?.parse().ok()?,
        tty: words.get(4)?.parse::<i32>().ok()?.cast_unsigned(),
        began: words.get(19)?.parse().ok()?,
    })
}

fn sockets(directory: &PathBuf) -> HashSet<u32> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let links = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    links
        .filter_map(|link| {
            let text = link.to_str()?;
            text.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
        })
        .collect()
}

/// What this process was typed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Typed {
    /// In these connections: one, or several that nest.
    Remotely(Vec<(Above, Connection)>),
    /// At a terminal of the machine itself.
    Console(String),
    /// It cannot be told: under a multiplexer of terminals, a timer, a service.
    Unknown,
}

/// Finds out.
pub fn typed(proc: &Path, connections: &[Connection]) -> Typed {
    let above = above(proc);
    let mut held = Vec::new();
    for process in &above {
        let own = connections.iter().filter(|one| one.inode != 0 && process.sockets.contains(&one.inode));
        held.extend(own.map(|connection| (process.clone(), connection.clone())));
    }
    if !held.is_empty() {
        return Typed::Remotely(held);
    }
    let tty = std::fs::read_to_string(proc.join("self/stat"))
        .ok()
        .and_then(|text| stat(&text))
        .map_or(0, |stat| stat.tty);
    console(tty).map_or(Typed::Unknown, Typed::Console)
}

/// The name of a controlling terminal that is the machine's own: a virtual console, a serial line, the hypervisor's. One of a
/// pair that programs make (ssh, screen, xterm) is none.
fn console(tty: u32) -> Option<String> {
    // As the kernel encodes it here: minor bits 31-20 and 7-0, major 19-8.
    let (major, minor) = (tty >> 8 & 0xfff, tty & 0xff | tty >> 12 & 0xfff00);
    match (major, minor) {
        (4, 1..=63) => Some(format!("tty{minor}")),
        (4, 64..=255) => Some(format!("ttyS{}", minor - 64)),
        (5, 1) => Some("console".to_owned()),
        (204, _) => Some(format!("serial line {minor}")),
        (229, _) => Some(format!("hvc{minor}")),
        (188, _) => Some(format!("ttyUSB{minor}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_it_calls_itself() {
        let text = "77 (a) b (c) S 5 77 77 34816 77 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 1 1";
        let read = stat(text).unwrap();
        assert_eq!((read.name.as_str(), read.parent, read.tty, read.began), ("a) b (c", 5, 34816, 4711));
        assert!(stat("77 (x S").is_none() && stat("").is_none());
    }

    #[test]
    fn a_pair_of_terminals_is_no_console() {
        let of = |major: u32, minor: u32| console(minor & 0xff | major << 8 | (minor >> 8) << 20);
        assert_eq!(of(4, 1).as_deref(), Some("tty1"));
        assert_eq!(of(4, 64).as_deref(), Some("ttyS0"));
        assert_eq!(of(5, 1).as_deref(), Some("console"));
        assert_eq!(of(229, 0).as_deref(), Some("hvc0"));
        for (major, minor) in [(0, 0), (136, 0), (136, 300), (143, 1), (3, 0), (5, 0), (5, 2), (4, 0)] {
            assert_eq!(of(major, minor), None, "{major}:{minor}");
        }
    }

    #[test]
    fn the_processes_above_are_found() {
        let found = above(Path::new("/proc"));
        assert!(
            found.first().is_some_and(|first| first.pid == std::os::unix::process::parent_id()),
            "{found:?}"
        );
    }
}

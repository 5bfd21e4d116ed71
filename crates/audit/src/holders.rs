//! Who holds which sockets: the descriptors of all processes, read with all processors. A process may end at any moment: what has gone is
//! counted and no error. Reads links of /proc and opens nothing that a process holds.

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, RawDir};
use rustix::io::Errno;
use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Holders of one socket that are looked at.
const MOST_HOLDERS: usize = 64;
/// Threads, whatever the machine has.
const MOST_THREADS: usize = 16;
/// A process with more descriptors than this is looked at by several threads, so many descriptors at a time.
const PART: usize = 512;

/// Who holds which sockets.
#[derive(Debug, Default)]
pub struct Holders {
    /// Inode → processes, in order of their numbers.
    pub by_socket: HashMap<u32, Vec<u32>>,
    /// Processes that ended while they were looked at.
    pub vanished: usize,
    /// Processes whose descriptors this process may not see.
    pub hidden: usize,
}

/// The descriptors of a process that are still to be looked at.
struct Part {
    pid: u32,
    directory: std::sync::Arc<OwnedFd>,
    numbers: Vec<u32>,
}

/// What one thread has found.
#[derive(Default)]
struct Found {
    sockets: Vec<(u32, u32)>,
    vanished: Vec<u32>,
    hidden: Vec<u32>,
}

impl Found {
    fn failed(&mut self, pid: u32, error: Errno) {
        match error {
            // The directory may be listed, and what it holds be hidden.
            Errno::ACCESS | Errno::PERM => self.hidden.push(pid),
            _ => self.vanished.push(pid),
        }
    }
}

/// Looks through the descriptors of these processes for these sockets.
pub fn holders(proc: &Path, pids: &[u32], wanted: &HashSet<u32>) -> Holders {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).clamp(1, MOST_THREADS);
    let parts: Mutex<Vec<Part>> = Mutex::default();
    let mut all = everywhere(threads, pids.len(), |at, found| {
        let Some(pid) = pids.get(at).copied() else { return };
        match list(proc, pid) {
            Ok((directory, numbers)) if numbers.len() <= PART => {
                look(pid, &directory, &numbers, wanted, found)
            }
            Ok((directory, numbers)) => {
                let directory = std::sync::Arc::new(directory);
                let part = |some: &[u32]| Part { pid, directory: directory.clone(), numbers: some.to_vec() };
                if let Ok(mut parts) = parts.lock() {
                    parts.extend(numbers.chunks(PART).map(part));
                }
            }
            Err(error) => found.failed(pid, error),
        }
    });
    let parts = parts.into_inner().unwrap_or_default();
    all.extend(everywhere(threads, parts.len(), |at, found| {
        if let Some(Part { pid, directory, numbers }) = parts.get(at) {
            look(*pid, directory, numbers, wanted, found);
        }
    }));
    together(all)
}

/// Does `work` for each number below `count`, by this thread and others.
fn everywhere(threads: usize, count: usize, work: impl Fn(usize, &mut Found) + Sync) -> Vec<Found> {
    let next = AtomicUsize::new(0);
    let go = || {
        let mut found = Found::default();
        loop {
            match next.fetch_add(1, Ordering::Relaxed) {
                at if at < count => work(at, &mut found),
                _ => return found,
            }
        }
    };
    std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(count))
            // With fewer it takes longer.
            .filter_map(|_| std::thread::Builder::new().spawn_scoped(scope, go).ok())
            .collect();
        let own = go();
        others.into_iter().filter_map(|other| other.join().ok()).chain([own]).collect()
    })
}

fn together(all: Vec<Found>) -> Holders {
    let mut holders = Holders::default();
    let mut sockets = Vec::with_capacity(all.iter().map(|found| found.sockets.len()).sum());
    let (mut vanished, mut hidden) = (HashSet::new(), HashSet::new());
    for found in all {
        sockets.extend(found.sockets);
        vanished.extend(found.vanished);
        hidden.extend(found.hidden);
    }
    sockets.sort_unstable();
    // Two descriptors of one socket are one holder.
    sockets.dedup();
    for (socket, pid) in sockets {
        let pids: &mut Vec<u32> = holders.by_socket.entry(socket).or_default();
        if pids.len() < MOST_HOLDERS {
            pids.push(pid);
        }
    }
    (holders.vanished, holders.hidden) = (vanished.len(), hidden.len());
    holders
}

/// The numbers of a process's descriptors.
fn list(proc: &Path, pid: u32) -> rustix::io::Result<(OwnedFd, Vec<u32>)> {
    let path = proc.join(pid.to_string()).join("fd");
    let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut buffer = [MaybeUninit::uninit(); 16 * 1024];
    let mut numbers = Vec::new();
    let mut entries = RawDir::new(&fd, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        // `.` and `..` are none.
        numbers.extend(entry.file_name().to_str().ok().and_then(|name| name.parse::<u32>().ok()));
    }
    Ok((fd, numbers))
}

fn look(pid: u32, directory: &OwnedFd, numbers: &[u32], wanted: &HashSet<u32>, found: &mut Found) {
    let mut name = [0; 11];
    let mut link = [MaybeUninit::uninit(); 64];
    for number in numbers {
        let link = rustix::fs::readlinkat_raw(directory, decimal(*number, &mut name), &mut link);
        match link {
            // A longer one is none of a socket.
            Ok((link, _)) => {
                if let Some(inode) = socket(link).filter(|inode| wanted.contains(inode)) {
                    found.sockets.push((inode, pid));
                }
            }
            Err(error @ (Errno::ACCESS | Errno::PERM)) => return found.failed(pid, error),
            // It was closed meanwhile.
            Err(_) => {}
        }
    }
}

/// A number as the name of a file.
fn decimal(mut number: u32, name: &mut [u8; 11]) -> &CStr {
    let mut at = name.len() - 1;
    loop {
        at -= 1;
        if let Some(digit) = name.get_mut(at) {
            *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        }
        number /= 10;
        if number == 0 || at == 0 {
            return name.get(at..).and_then(|name| CStr::from_bytes_until_nul(name).ok()).unwrap_or(c"0");
        }
    }
}

/// The inode in `socket:[4711]`.
fn socket(link: &[u8]) -> Option<u32> {
    std::str::from_utf8(link.strip_prefix(b"socket:[")?.strip_suffix(b"]")?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_names() {
        for number in [0, 7, 10, 4711, u32::MAX] {
            assert_eq!(decimal(number, &mut [0; 11]).to_str().unwrap(), number.to_string());
        }
    }

    #[test]
    fn holders_of_a_few_and_of_many_descriptors() {
        let proc = std::env::temp_dir().join(format!("portreeve-holders-{}", std::process::id()));
        let link = |pid: u32, number: u32, target: &str| {
            std::fs::create_dir_all(proc.join(format!("{pid}/fd"))).unwrap();
            std::os::unix::fs::symlink(target, proc.join(format!("{pid}/fd/{number}"))).unwrap();
        };
        for (number, target) in
            ["socket:[12]", "socket:[]", "socket:[99999999999]", "/x", "socket:[12]"].iter().enumerate()
        {
            link(7, u32::try_from(number).unwrap(), target);
        }
        let many = 3 * u32::try_from(PART).unwrap() + 1;
        for number in 0..many {
            link(9, number, &format!("socket:[{}]", 1000 + number));
        }
        link(9, many, "socket:[12]");
        let mut wanted: HashSet<u32> = (1000..1000 + many).collect();
        wanted.insert(12);
        let found = holders(&proc, &[9, 7, 8], &wanted);
        assert_eq!(found.by_socket.len(), wanted.len());
        assert_eq!(found.by_socket[&12], [7, 9]);
        assert!((1000..1000 + many).all(|inode| found.by_socket[&inode] == [9]));
        assert_eq!((found.vanished, found.hidden), (1, 0));
        std::fs::remove_dir_all(&proc).unwrap();
    }
}

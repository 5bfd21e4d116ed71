//! Who holds which sockets: the descriptors of all processes, read with all processors, while the kernel still lists the sockets. A process may
//! end at any moment: what has gone is counted and no error. Reads links of /proc and opens nothing that a process holds.

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, RawDir, SeekFrom};
use rustix::io::Errno;
use std::collections::HashSet;
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

/// Holders of one socket that are looked at.
const MOST_HOLDERS: usize = 64;
/// Descriptors of other sockets that one thread tells.
const MOST_OTHERS: usize = 1 << 16;
/// Descriptors of network namespaces that one thread tells.
const MOST_NAMESPACES: usize = 4096;
/// Threads, whatever the machine has.
const MOST_THREADS: usize = 8;
/// Descriptors that one thread keeps before it is known which are wanted.
const MOST_UNSIFTED: usize = 1 << 16;
/// A process with more descriptors than this is looked at by several threads, so many descriptors at a time.
const PART: usize = 512;
/// Bytes of a listing that the kernel gives at once: a part's entries and a few, so that a part is handed over while the next is listed.
const ROOM: usize = 16 * 1024;

/// Who holds which sockets.
#[derive(Debug, Default)]
pub struct Holders {
    /// The processes of each socket.
    pub by_socket: BySocket,
    /// Processes that ended while they were looked at.
    pub vanished: usize,
    /// Processes whose descriptors this process may not see.
    pub hidden: usize,
    /// Descriptors of other sockets than the wanted ones, up to a bound; where they were asked for.
    pub others: Vec<Descriptor>,
    /// Descriptors of other sockets beyond that bound.
    pub not_told: usize,
    /// Descriptors of network namespaces, up to a bound.
    pub namespaces: Vec<Descriptor>,
}

/// Which processes hold which sockets: ten thousand sockets are one table.
#[derive(Debug, Default)]
pub struct BySocket {
    /// Inodes in order, with where their processes begin.
    sockets: Vec<(u32, usize)>,
    /// Of each socket in order of their numbers.
    pids: Vec<u32>,
}

impl BySocket {
    /// Of pairs of socket and process, in order and each once.
    fn of_pairs(pairs: &[(u32, u32)]) -> Self {
        let mut all =
            Self { sockets: Vec::with_capacity(pairs.len()), pids: Vec::with_capacity(pairs.len()) };
        for holders in pairs.chunk_by(|a, b| a.0 == b.0) {
            let inode = holders.first().map_or(0, |pair| pair.0);
            all.sockets.push((inode, all.pids.len()));
            all.pids.extend(holders.iter().take(MOST_HOLDERS).map(|pair| pair.1));
        }
        all
    }

    /// The processes that hold a socket, in order of their numbers.
    pub fn of(&self, inode: u32) -> &[u32] {
        let Ok(at) = self.sockets.binary_search_by_key(&inode, |socket| socket.0) else { return &[] };
        let begin = self.sockets.get(at).map_or(0, |socket| socket.1);
        let end = self.sockets.get(at + 1).map_or(self.pids.len(), |socket| socket.1);
        self.pids.get(begin..end).unwrap_or_default()
    }

    /// The sockets that somebody holds.
    pub fn sockets(&self) -> impl Iterator<Item = u32> {
        self.sockets.iter().map(|socket| socket.0)
    }

    /// Whoever holds one, once for each.
    pub fn processes(&self) -> impl Iterator<Item = u32> {
        self.pids.iter().copied()
    }

    /// The holders of one more.
    pub(crate) fn add(&mut self, inode: u32, pids: &[u32]) {
        let mut pairs: Vec<(u32, u32)> =
            self.sockets().flat_map(|inode| self.of(inode).iter().map(move |pid| (inode, *pid))).collect();
        pairs.extend(pids.iter().map(|pid| (inode, *pid)));
        pairs.sort_unstable();
        pairs.dedup();
        *self = Self::of_pairs(&pairs);
    }
}

/// A descriptor of a socket, or of a network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Descriptor {
    /// The socket, or the namespace.
    pub inode: u32,
    /// The process.
    pub pid: u32,
    /// Its number there.
    pub number: u32,
}

/// The descriptors of a process that are still to be looked at.
struct Part {
    pid: u32,
    directory: Arc<OwnedFd>,
    numbers: Vec<u32>,
}

/// What one thread has found.
#[derive(Default)]
struct Found {
    /// All sockets, of which it is not known yet whether they are wanted.
    unsifted: Vec<Descriptor>,
    sockets: Vec<(u32, u32)>,
    vanished: Vec<u32>,
    hidden: Vec<u32>,
    others: Vec<Descriptor>,
    not_told: usize,
    namespaces: Vec<Descriptor>,
}

impl Found {
    fn failed(&mut self, pid: u32, error: Errno) {
        match error {
            // The directory may be listed, and what it holds be hidden.
            Errno::ACCESS | Errno::PERM => self.hidden.push(pid),
            _ => self.vanished.push(pid),
        }
    }

    /// Keeps what is wanted.
    fn sift(&mut self, wanted: &Wanted) {
        for descriptor in self.unsifted.drain(..) {
            if wanted.inodes.contains(&descriptor.inode) {
                self.sockets.push((descriptor.inode, descriptor.pid));
            } else if wanted.others.is_some_and(|most| self.others.len() < most) {
                self.others.push(descriptor);
            } else {
                self.not_told += usize::from(wanted.others.is_some());
            }
        }
    }
}

/// What is looked for.
#[derive(Debug, Default)]
pub struct Wanted {
    inodes: HashSet<u32>,
    /// So many other sockets of each thread, too.
    others: Option<usize>,
}

impl Wanted {
    /// These sockets; `others`: what other sockets there are is told, too.
    pub fn these(inodes: HashSet<u32>, others: bool) -> Self {
        Self { inodes, others: others.then_some(MOST_OTHERS) }
    }
}

/// Looks through the descriptors of these processes, while `first` finds out for which sockets: what it is told of those, and what `first`
/// gave.
pub fn holders<T>(proc: &Path, pids: &[u32], first: impl FnOnce() -> (Wanted, T)) -> (Holders, T) {
    let search = Search {
        proc,
        pids,
        wanted: OnceLock::new(),
        next: AtomicUsize::new(0),
        desk: Mutex::new(Desk { parts: Vec::new(), at_work: 0 }),
        more: Condvar::new(),
    };
    let go = || search.work();
    std::thread::scope(|scope| {
        // However `first` ends: who waits to be told would wait for ever.
        let told = Told(&search);
        let others: Vec<_> = (0..threads())
            // With fewer it takes longer.
            .filter_map(|_| std::thread::Builder::new().spawn_scoped(scope, go).ok())
            .collect();
        let (wanted, other) = first();
        let _ = search.wanted.set(wanted);
        drop(told);
        let own = go();
        let all = others.into_iter().filter_map(|other| other.join().ok()).chain([own]).collect();
        (together(all), other)
    })
}

/// How many look at once.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).clamp(1, MOST_THREADS)
}

/// Says that nothing is wanted where nobody has said anything.
struct Told<'a, 'b>(&'a Search<'b>);

impl Drop for Told<'_, '_> {
    fn drop(&mut self) {
        self.0.wanted.get_or_init(Wanted::default);
    }
}

/// What the threads share.
struct Search<'a> {
    proc: &'a Path,
    pids: &'a [u32],
    /// Known after a while.
    wanted: OnceLock<Wanted>,
    /// The place of the next process that nobody has begun.
    next: AtomicUsize,
    desk: Mutex<Desk>,
    /// There are parts, or nobody is left who could make some.
    more: Condvar,
}

struct Desk {
    parts: Vec<Part>,
    /// Threads that list a process, and so may make parts.
    at_work: usize,
}

impl Search<'_> {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One thread's work: parts of large processes first, while whoever lists them goes on; then the next process.
    fn work(&self) -> Found {
        let mut found = Found::default();
        let mut room = vec![MaybeUninit::uninit(); ROOM];
        loop {
            let mut desk = self.desk();
            let part = loop {
                if let Some(part) = desk.parts.pop() {
                    break Some(part);
                }
                if self.next.load(Ordering::Relaxed) < self.pids.len() {
                    desk.at_work += 1;
                    break None;
                }
                if desk.at_work == 0 {
                    drop(desk);
                    found.sift(self.wanted.wait());
                    return found;
                }
                desk = self.more.wait(desk).unwrap_or_else(PoisonError::into_inner);
            };
            drop(desk);
            match part {
                Some(Part { pid, directory, numbers }) => {
                    look(pid, &directory, &numbers, &self.wanted, &mut found);
                }
                None => {
                    let _leaving = Leaving(self);
                    if let Some(pid) = self.pids.get(self.next.fetch_add(1, Ordering::Relaxed))
                        && let Err(error) = self.process(*pid, &mut room, &mut found)
                    {
                        found.failed(*pid, error);
                    }
                }
            }
        }
    }

    /// Looks at a process's descriptors. Of one that has many, the others take parts as soon as their numbers are known.
    fn process(&self, pid: u32, room: &mut [MaybeUninit<u8>], found: &mut Found) -> rustix::io::Result<()> {
        let path = self.proc.join(pid.to_string()).join("fd");
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = Arc::new(rustix::fs::open(path, flags, Mode::empty())?);
        let hand_over = |numbers: Vec<u32>| {
            self.desk().parts.push(Part { pid, directory: directory.clone(), numbers });
            self.more.notify_one();
        };
        let usual = usually_taken(&directory);
        for first in (0..usual).step_by(PART) {
            let last = usual.min(first.saturating_add(PART as u32));
            hand_over((first..last).collect());
        }
        if usual > 0 {
            // The kernel lists the descriptor N at the place N + 2.
            rustix::fs::seek(&directory, SeekFrom::Start(u64::from(usual) + 2))?;
        }
        let mut numbers = Vec::new();
        let mut entries = RawDir::new(&directory, room);
        while let Some(entry) = entries.next() {
            // `.` and `..` are none.
            numbers.extend(entry?.file_name().to_str().ok().and_then(|name| name.parse::<u32>().ok()));
            if numbers.len() >= PART {
                hand_over(std::mem::take(&mut numbers));
            }
        }
        look(pid, &directory, &numbers, &self.wanted, found);
        Ok(())
    }
}

/// How many descriptors a process has that has many, and so the numbers that they have but for a few: the lowest that is free is taken first.
/// Looking at these needs no list of them, which costs as much as a third of the looking. 0 where the kernel does not say (before Linux 6.2).
fn usually_taken(directory: &OwnedFd) -> u32 {
    /// PROC_SUPER_MAGIC.
    const PROC: u64 = 0x9fa0;
    let is_proc = || rustix::fs::fstatfs(directory).is_ok_and(|there| there.f_type as u64 == PROC);
    let count = rustix::fs::fstat(directory).map_or(0, |seen| u32::try_from(seen.st_size).unwrap_or(0));
    if count as usize > PART && is_proc() { count } else { 0 }
}

/// Says that a process was listed, however that ended: who waits for its parts would wait for ever.
struct Leaving<'a>(&'a Search<'a>);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.desk().at_work -= 1;
        self.0.more.notify_all();
    }
}

fn together(all: Vec<Found>) -> Holders {
    let mut holders = Holders::default();
    let mut sockets = Vec::with_capacity(all.iter().map(|found| found.sockets.len()).sum());
    let (mut vanished, mut hidden) = (HashSet::new(), HashSet::new());
    for found in all {
        sockets.extend(found.sockets);
        vanished.extend(found.vanished);
        hidden.extend(found.hidden);
        holders.others.extend(found.others);
        holders.not_told += found.not_told;
        holders.namespaces.extend(found.namespaces);
    }
    sockets.sort_unstable();
    // Two descriptors of one socket are one holder.
    sockets.dedup();
    holders.by_socket = BySocket::of_pairs(&sockets);
    (holders.vanished, holders.hidden) = (vanished.len(), hidden.len());
    holders
}

fn look(pid: u32, directory: &OwnedFd, numbers: &[u32], wanted: &OnceLock<Wanted>, found: &mut Found) {
    let mut name = [0; 11];
    let mut link = [MaybeUninit::uninit(); 64];
    for &number in numbers {
        match rustix::fs::readlinkat_raw(directory, decimal(number, &mut name), &mut link) {
            // A longer one is none of a socket.
            Ok((link, _)) => {
                let descriptor = |inode| Descriptor { inode, pid, number };
                if let Some(inode) = inode_of(link, b"socket:[") {
                    found.unsifted.push(descriptor(inode));
                } else if let Some(inode) = inode_of(link, b"net:[")
                    && found.namespaces.len() < MOST_NAMESPACES
                {
                    found.namespaces.push(descriptor(inode));
                }
            }
            Err(error @ (Errno::ACCESS | Errno::PERM)) => return found.failed(pid, error),
            // It was closed meanwhile.
            Err(_) => {}
        }
    }
    if found.unsifted.len() >= MOST_UNSIFTED {
        found.sift(wanted.wait());
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

/// The inode in `socket:[4711]`, or in `net:[4711]`.
fn inode_of(link: &[u8], kind: &[u8]) -> Option<u32> {
    std::str::from_utf8(link.strip_prefix(kind)?.strip_suffix(b"]")?).ok()?.parse().ok()
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

    /// What has many descriptors is not listed from the beginning: gaps among the low numbers, and descriptors beyond their count.
    #[test]
    fn descriptors_of_a_real_process_are_found_wherever_they_are() {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        use std::os::fd::{AsFd, AsRawFd};
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
        let mut sockets: Vec<OwnedFd> =
            (0..2 * PART + 50).map(|_| std::net::UdpSocket::bind("127.0.0.1:0").unwrap().into()).collect();
        // Every third low one goes; a few are far beyond the count of those that are left.
        let mut at = 0;
        sockets.retain(|_| {
            at += 1;
            at % 3 != 0
        });
        let far: Vec<OwnedFd> = (0..5)
            .map(|at| {
                let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
                rustix::io::fcntl_dupfd_cloexec(socket.as_fd(), 4000 + 7 * at).unwrap()
            })
            .collect();
        sockets.extend(far);
        let inode = |fd: &OwnedFd| {
            let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap();
            inode_of(link.to_str().unwrap().as_bytes(), b"socket:[").unwrap()
        };
        let wanted: HashSet<u32> = sockets.iter().map(inode).collect();
        let own = std::process::id();
        let (found, ()) = holders(Path::new("/proc"), &[own], || (Wanted::these(wanted.clone(), false), ()));
        assert_eq!(found.by_socket.sockets().collect::<HashSet<_>>(), wanted);
        assert!(wanted.iter().all(|inode| found.by_socket.of(*inode) == [own]));
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
        let these = |others: bool| {
            let wanted = Wanted::these(wanted.clone(), others);
            move || (wanted, ())
        };
        let (found, ()) = holders(&proc, &[9, 7, 8], these(false));
        assert_eq!(found.by_socket.sockets().collect::<HashSet<_>>(), wanted);
        assert_eq!(found.by_socket.of(12), [7, 9]);
        assert!((1000..1000 + many).all(|inode| found.by_socket.of(inode) == [9]));
        assert!(found.by_socket.of(13).is_empty());
        let mut more = found.by_socket;
        more.add(13, &[9, 8]);
        assert_eq!((more.of(13), more.of(12), more.of(1000)), (&[8, 9][..], &[7, 9][..], &[9][..]));
        assert_eq!((found.vanished, found.hidden), (1, 0));
        // What is beyond the bound is counted: it may be what is looked for.
        let others = |most: usize| {
            let wanted = Wanted { inodes: HashSet::from([12]), others: Some(most) };
            let (found, ()) = holders(&proc, &[9], || (wanted, ()));
            (found.others.len() + found.not_told, found.not_told > 0)
        };
        let many = usize::try_from(many).unwrap();
        assert_eq!((others(many), others(2)), ((many, false), (many, true)));
        assert_eq!(holders(&proc, &[9], these(true)).0.not_told, 0);
        std::fs::remove_dir_all(&proc).unwrap();
    }
}

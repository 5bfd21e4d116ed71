//! The network namespaces that this process can see: through the processes of /proc, their descriptors and their sockets, the names that
//! ip-netns(8) gives, and where others have mounted one.

use crate::bounded;
use crate::holders::Descriptor;
use portreeve_sys::{mounts, net_namespace};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use std::collections::{BTreeMap, HashSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Namespaces that are looked into.
const MOST: usize = 4096;
/// Sockets, of those that no list has, whose namespace is asked for: five microseconds each.
const MOST_SOCKETS: usize = 1 << 16;
/// Bytes of the table of mounts.
const LONGEST: usize = 16 << 20;
/// Where ip-netns(8) keeps its names.
const NAMES: &str = "/run/netns";

/// One network namespace.
#[derive(Debug)]
pub struct Namespace {
    /// The inode of its file: its number as lsns(8) shows it.
    pub number: u64,
    /// Its name by ip-netns(8).
    pub name: Option<String>,
    /// Whether this process is in it.
    pub own: bool,
    /// Its file.
    pub fd: OwnedFd,
}

impl Namespace {
    /// The word for people: `own` for this process's own, its name, or its number.
    pub fn label(&self) -> String {
        match &self.name {
            _ if self.own => "own".to_owned(),
            // A name that looks like one of ours is not taken.
            Some(name) if name != "own" && !name.starts_with("net:[") => name.clone(),
            _ => format!("net:[{}]", self.number),
        }
    }
}

/// What there is.
#[derive(Debug)]
pub struct Namespaces {
    /// This process's own first, then in order of their numbers.
    pub all: Vec<Namespace>,
    /// Processes whose namespace this process may not know.
    pub hidden: usize,
    /// Namespaces beyond the bound.
    pub cut: usize,
}

impl Namespaces {
    /// Adds those to which only these descriptors lead: in which no process is, and that have no name. Whether there were any.
    pub fn add_kept(&mut self, proc: &Path, kept: &[Descriptor]) -> bool {
        let before = self.all.len();
        for one in kept {
            let number = u64::from(one.inode);
            if self.all.len() >= MOST || self.all.iter().any(|space| space.number == number) {
                continue;
            }
            let path = proc.join(format!("{}/fd/{}", one.pid, one.number));
            // The descriptor may be another by now: nothing else is opened, since this only looks at what is there already.
            let is_there = || std::fs::metadata(&path).is_ok_and(|there| there.ino() == number);
            let is_link = std::fs::read_link(&path)
                .is_ok_and(|link| link.as_os_str() == format!("net:[{number}]").as_str());
            if let Some(fd) = (is_link && is_there()).then(|| open(&path).ok()).flatten() {
                self.all.push(Namespace { number, name: None, own: false, fd });
            }
        }
        self.all.len() > before
    }

    /// Adds those that nothing but a socket keeps: whoever made it there has left. Of sockets that no list of the known ones has. Whether
    /// there were any.
    pub fn add_of_sockets(&mut self, others: &[Descriptor]) -> bool {
        let before = self.all.len();
        let mut known: HashSet<u64> = self.all.iter().map(|space| space.number).collect();
        let mut asked = HashSet::new();
        for one in others {
            if asked.len() >= MOST_SOCKETS || self.all.len() >= MOST || asked.contains(&one.inode) {
                continue;
            }
            // Of another holder, should this one have ended.
            let Ok((number, fd)) = net_namespace::of_socket(one.pid, one.number, one.inode) else { continue };
            asked.insert(one.inode);
            if known.insert(number) {
                self.all.push(Namespace { number, name: None, own: false, fd });
            }
        }
        self.all.len() > before
    }
}

/// Finds them.
///
/// # Errors
/// /proc is not there.
pub fn find(proc: &Path, pids: &[u32]) -> io::Result<Namespaces> {
    let own_path = proc.join("self/ns/net");
    let own = std::fs::metadata(&own_path)?;
    let mut files: BTreeMap<u64, (PathBuf, Option<String>)> = BTreeMap::new();
    let mut hidden = 0;
    for pid in pids {
        let path = proc.join(pid.to_string()).join("ns/net");
        match std::fs::metadata(&path) {
            Ok(there) => drop(files.entry(there.ino()).or_insert((path, None))),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => hidden += 1,
            // It has ended.
            Err(_) => {}
        }
    }
    for entry in std::fs::read_dir(NAMES).into_iter().flatten().filter_map(Result::ok).take(MOST) {
        // A name whose mount has gone is an empty file of another file system.
        let Ok(there) = std::fs::metadata(entry.path()) else { continue };
        if there.dev() != own.dev() {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        files.entry(there.ino()).or_insert_with(|| (entry.path(), None)).1.get_or_insert(name);
    }
    // A container runtime keeps those of its containers so.
    let mounts = bounded::file(&proc.join("self/mountinfo"), LONGEST).unwrap_or_default();
    for (number, path) in mounts::network_namespaces(&String::from_utf8_lossy(&mounts)).into_iter().take(MOST)
    {
        if std::fs::metadata(&path).is_ok_and(|there| (there.dev(), there.ino()) == (own.dev(), number)) {
            files.entry(number).or_insert((path, None));
        }
    }
    files.remove(&own.ino());
    let cut = files.len().saturating_sub(MOST);
    let mut all = vec![Namespace { number: own.ino(), name: None, own: true, fd: open(&own_path)? }];
    for (number, (path, name)) in files.into_iter().take(MOST) {
        // Between the two looks its last process may have ended.
        if let Ok(fd) = open(&path) {
            all.push(Namespace { number, name, own: false, fd });
        }
    }
    Ok(Namespaces { all, hidden, cut })
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// The processes of /proc.
///
/// # Errors
/// /proc is not there.
pub fn processes(proc: &Path) -> io::Result<Vec<u32>> {
    /// No kernel has more (PID_MAX_LIMIT).
    const MOST_PROCESSES: usize = 1 << 22;
    bounded::numbers(proc, MOST_PROCESSES)
}

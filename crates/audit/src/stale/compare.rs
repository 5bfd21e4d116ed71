//! Whether a mapped file still is what is on disk: by device and inode, else by build-id, else by content. Each file is looked at
//! once for all processes that map it.

use super::build_id::{self, Build, Mapped};
use super::maps::Mapping;
use super::roots::{self, Roots, There, View};
use rustix::fs::{FileType, Stat};
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes that are compared where neither file has a build-id.
const MOST_CONTENT: u64 = 256 << 20;
/// Names that programs map and execute without a file on disk behind them: memory, devices, and what a compiler or a library
/// unpacked for itself.
const PASSING: [&[u8]; 12] = [
    b"/memfd:",
    b"/dev/",
    b"/SYSV",
    b"/[",
    b"/anon_hugepage",
    b"/i915",
    b"/drm",
    b"/dmabuf",
    b"/tmp/",
    b"/var/tmp/",
    b"/run/user/",
    b"/proc/",
];

/// What became of a mapped file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is still there, or an equal one is.
    Same,
    /// Another build has its name: the running build-id and the one on disk.
    Rebuilt(String, String),
    /// Another file has its name, and at least one of the two has no build-id.
    Replaced,
    /// Its name has gone.
    Gone,
    /// That is no program's file.
    Passing,
    /// It cannot be told.
    Unknown,
}

/// What was looked at already.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    /// By view, device and inode; with the name that was looked at.
    fates: HashMap<(usize, u64, u64), (Vec<u8>, Fate)>,
    builds: HashMap<(u64, u64, i64, u64, i64), Build>,
    /// Files that were opened and read.
    pub read: usize,
}

impl Compared {
    /// How many files were looked at.
    pub(crate) fn files(&self) -> usize {
        self.fates.len()
    }

    /// The fate of a mapped file.
    pub(crate) fn fate(&mut self, roots: &Roots, directory: &Path, view: &View, mapping: &Mapping) -> Fate {
        let key = (view.number, mapping.device, mapping.inode);
        if let Some((path, known)) = self.fates.get(&key)
            && *path == mapping.path
        {
            return known.clone();
        }
        let fate = self.look(roots, directory, view, mapping);
        // A process that ended meanwhile says nothing about the others.
        if fate != Fate::Unknown {
            self.fates.insert(key, (mapping.path.clone(), fate.clone()));
        }
        fate
    }

    fn look(&mut self, roots: &Roots, directory: &Path, view: &View, mapping: &Mapping) -> Fate {
        let whole = mapping.path.as_slice();
        // A file may be called " (deleted)": the name as it is comes first.
        let mut there = roots.find(directory, view, whole);
        let mut bare = whole;
        if let (There::Nothing, Some(name)) = (&there, whole.strip_suffix(b" (deleted)")) {
            bare = name;
            there = roots.find(directory, view, name);
        }
        if passing(view.inside(bare).unwrap_or(bare)) {
            return Fate::Passing;
        }
        match there {
            There::Unknown => Fate::Unknown,
            There::Nothing => match self.running(directory, mapping) {
                (Build::Other, _) => Fate::Passing,
                // The process may have gone, and its namespace with it.
                (Build::Unreadable, _) => Fate::Unknown,
                _ => Fate::Gone,
            },
            There::File(file) => self.against(directory, mapping, &file),
        }
    }

    /// Compares with the file of that name.
    fn against(&mut self, directory: &Path, mapping: &Mapping, file: &OwnedFd) -> Fate {
        let Ok(stat) = rustix::fs::fstat(file) else { return Fate::Unknown };
        if (stat.st_dev, stat.st_ino) == (mapping.device, mapping.inode) {
            return Fate::Same;
        }
        let (running, source) = self.running(directory, mapping);
        match running {
            Build::Other => return Fate::Passing,
            Build::Unreadable => return Fate::Unknown,
            Build::Id(_) | Build::None => {}
        }
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Fate::Replaced;
        }
        // With layers or volumes the kernel shows one device in maps and another in stat.
        if let Some(source) = &source
            && rustix::fs::fstat(source)
                .is_ok_and(|own| (own.st_dev, own.st_ino) == (stat.st_dev, stat.st_ino))
        {
            return Fate::Same;
        }
        let Some((disk, file)) = self.on_disk(file, &stat) else { return Fate::Unknown };
        match (running.hex(), disk.hex()) {
            (Some(running), Some(disk)) if running == disk => Fate::Same,
            (Some(running), Some(disk)) => Fate::Rebuilt(running, disk),
            (None, None) if source.as_ref().zip(file.as_ref()).is_some_and(|(a, b)| equal(a, b)) => {
                Fate::Same
            }
            _ => Fate::Replaced,
        }
    }

    fn on_disk(&mut self, file: &OwnedFd, stat: &Stat) -> Option<(Build, Option<File>)> {
        let ctime =
            stat.st_ctime.wrapping_mul(1_000_000_000).wrapping_add(i64::try_from(stat.st_ctime_nsec).ok()?);
        let mtime =
            stat.st_mtime.wrapping_mul(1_000_000_000).wrapping_add(i64::try_from(stat.st_mtime_nsec).ok()?);
        let key = (stat.st_dev, stat.st_ino, ctime, u64::try_from(stat.st_size).ok()?, mtime);
        if let Some(known @ Build::Id(_)) = self.builds.get(&key) {
            return Some((known.clone(), None));
        }
        let open = roots::reopened(file)?;
        self.read += 1;
        let build = build_id::read(&open);
        self.builds.insert(key, build.clone());
        Some((build, Some(open)))
    }

    /// The running file: by the kernel's own link to it, else from the process's memory.
    fn running(&mut self, directory: &Path, mapping: &Mapping) -> (Build, Option<File>) {
        self.read += 1;
        if let Some((_, start, length)) = mapping.parts.first() {
            let link = directory.join("map_files").join(format!("{start:x}-{:x}", start + length));
            if let Ok(file) = File::open(link) {
                return (build_id::read(&file), Some(file));
            }
        }
        match File::open(directory.join("mem")) {
            Ok(memory) => (build_id::read(&Mapped { memory, parts: mapping.parts.clone() }), None),
            Err(_) => (Build::Unreadable, None),
        }
    }
}

fn passing(path: &[u8]) -> bool {
    PASSING.iter().any(|start| path.starts_with(start))
}

/// Whether two files hold the same.
fn equal(one: &File, other: &File) -> bool {
    let length = |file: &File| file.metadata().map(|metadata| metadata.len()).ok();
    let (Some(a), Some(b)) = (length(one), length(other)) else { return false };
    if a != b || a > MOST_CONTENT {
        return false;
    }
    let (mut left, mut right) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    let mut at = 0;
    while at < a {
        let part = usize::try_from(a - at).unwrap_or(usize::MAX).min(left.len());
        let (Some(x), Some(y)) = (left.get_mut(..part), right.get_mut(..part)) else { return false };
        if one.read_exact_at(x, at).is_err() || other.read_exact_at(y, at).is_err() || x != y {
            return false;
        }
        at += part as u64;
    }
    true
}

//! The paths below some roots, each directory before what is in it, names sorted. Goes by descriptors, so that a directory that is
//! swapped for a link meanwhile leads nowhere else; stays on the file systems of the roots.

use super::mask::Mask;
use super::rules::Rules;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, StatxFlags};
use rustix::io::Errno;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Directories within directories; each costs a descriptor.
const DEEPEST: usize = 512;

/// Bytes of names that the kernel gives at once.
const ROOM: usize = 64 * 1024;

/// `STATX_ATTR_MOUNT_ROOT` of statx(2).
const MOUNT_ROOT: u64 = 0x2000;

/// A path to look at.
#[derive(Clone, Debug)]
pub struct Step {
    /// The directory that it is in.
    pub dir: Arc<OwnedFd>,
    /// Its name there.
    pub name: Vec<u8>,
    /// All of it.
    pub path: Vec<u8>,
    /// What counts of it.
    pub mask: Mask,
}

struct Frame {
    dir: Arc<OwnedFd>,
    path: Vec<u8>,
    /// The names that are left, the next one last, and what readdir says they are.
    names: Vec<(Vec<u8>, FileType)>,
    /// What counts of all that is in it, where no rule names anything there.
    mask: Option<Mask>,
}

/// A walk. What could not be entered is in `gaps`.
pub struct Tree<'a> {
    rules: &'a Rules,
    /// The roots that are left, the next one last.
    roots: Vec<Vec<u8>>,
    frames: Vec<Frame>,
    /// What was not looked at, and why.
    pub gaps: Vec<(Vec<u8>, String)>,
    /// Where the kernel puts names.
    room: Vec<MaybeUninit<u8>>,
}

impl<'a> Tree<'a> {
    /// A walk below the roots of these rules.
    pub fn new(rules: &'a Rules) -> Self {
        let mut roots = rules.roots();
        roots.reverse();
        Self { rules, roots, frames: Vec::new(), gaps: Vec::new(), room: vec![MaybeUninit::uninit(); ROOM] }
    }

    fn gap(&mut self, path: Vec<u8>, why: impl Into<String>) {
        self.gaps.push((path, why.into()));
    }

    /// Goes into a directory, if it may.
    fn enter(&mut self, step: &Step, is_root: bool) {
        let mask = self.rules.mask_below(&step.path);
        if mask.is_some_and(Mask::is_empty) {
            return;
        }
        if self.frames.len() >= DEEPEST {
            return self.gap(step.path.clone(), format!("more than {DEEPEST} directories deep"));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = match rustix::fs::openat(&step.dir, step.name.as_slice(), flags, Mode::empty()) {
            Ok(dir) => dir,
            // It has become something else, or nothing: whoever looks at it says so.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return,
            Err(error) => return self.gap(step.path.clone(), words(error)),
        };
        let mounted = || {
            let seen = rustix::fs::statx(&dir, "", AtFlags::EMPTY_PATH, StatxFlags::TYPE).ok()?;
            Some(seen.stx_attributes.bits() & MOUNT_ROOT != 0)
        };
        if !is_root && mounted() == Some(true) {
            let why = "another file system is mounted here; name it in `paths` to look below";
            return self.gap(step.path.clone(), why);
        }
        match names(&dir, &mut self.room) {
            Ok(names) => {
                self.frames.push(Frame { dir: Arc::new(dir), path: step.path.clone(), names, mask });
            }
            Err(error) => self.gap(step.path.clone(), words(error)),
        }
    }

    fn root(&mut self) -> Option<Step> {
        let path = self.roots.pop()?;
        let cut = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        let (parent, name) = path.split_at(cut);
        let parent = if parent.is_empty() { b"/" } else { parent };
        let name = name.strip_prefix(b"/").filter(|name| !name.is_empty()).unwrap_or(b".");
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::openat(CWD, parent, flags, Mode::empty()) {
            Ok(dir) => {
                let mask = self.rules.mask(&path);
                Some(Step { dir: Arc::new(dir), name: name.to_vec(), path, mask })
            }
            Err(error) => {
                self.gap(path, words(error));
                None
            }
        }
    }

    /// The next path, and whether it is a directory as far as readdir tells.
    fn advance(&mut self) -> Option<(Step, FileType, bool)> {
        while let Some(frame) = self.frames.last_mut() {
            if let Some((name, kind)) = frame.names.pop() {
                let slash: &[u8] = if frame.path == b"/" { b"" } else { b"/" };
                let path = [frame.path.as_slice(), slash, &name].concat();
                let mask = match frame.mask {
                    Some(mask) if !self.rules.is_left_out(&name) => mask,
                    Some(_) => Mask::default(),
                    None => self.rules.mask(&path),
                };
                return Some((Step { dir: frame.dir.clone(), name, path, mask }, kind, false));
            }
            self.frames.pop();
        }
        while !self.roots.is_empty() {
            if let Some(step) = self.root() {
                return Some((step, FileType::Unknown, true));
            }
        }
        None
    }
}

impl Iterator for Tree<'_> {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        loop {
            let (step, kind, is_root) = self.advance()?;
            let counts = !step.mask.is_empty();
            if (counts || self.rules.reaches_below(&step.path)) && is_directory(&step, kind) {
                self.enter(&step, is_root);
            }
            if counts {
                return Some(step);
            }
        }
    }
}

fn is_directory(step: &Step, kind: FileType) -> bool {
    if kind != FileType::Unknown {
        return kind == FileType::Directory;
    }
    let seen = rustix::fs::statat(&step.dir, step.name.as_slice(), AtFlags::SYMLINK_NOFOLLOW);
    seen.is_ok_and(|seen| FileType::from_raw_mode(seen.st_mode) == FileType::Directory)
}

/// The names in a directory that was just opened, the first one last. By the descriptor itself: Dir would open the directory once more.
fn names(dir: &OwnedFd, room: &mut [MaybeUninit<u8>]) -> rustix::io::Result<Vec<(Vec<u8>, FileType)>> {
    let mut names = Vec::new();
    let mut entries = RawDir::new(dir, room);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push((name.to_vec(), entry.file_type()));
        }
    }
    names.sort_unstable_by(|a, b| b.0.cmp(&a.0));
    Ok(names)
}

fn words(error: Errno) -> String {
    crate::bounded::words(&error.into())
}

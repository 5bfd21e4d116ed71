//! Where the file that a process calls by a name is on disk now: in its own mount namespace and root, without leaving it through a
//! link. /proc shows names as seen from the root of the namespace, so a process that went into a chroot after it had
//! mapped its libraries still names them from outside.

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The mount namespaces, each with a process whose root is that of the whole namespace.
#[derive(Debug, Default)]
pub(crate) struct Roots {
    whole: HashMap<Vec<u8>, PathBuf>,
    numbers: HashMap<(Vec<u8>, Vec<u8>), usize>,
}

/// How a process sees files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    /// The number of this view: equal for processes that see the same.
    pub number: usize,
    /// Its mount namespace, as `mnt:[4026531841]`.
    pub namespace: Vec<u8>,
    /// Its root as the namespace names it.
    pub root: Vec<u8>,
}

impl View {
    /// A name as the process itself has it; None for what lies outside of its root.
    pub(crate) fn inside<'a>(&self, path: &'a [u8]) -> Option<&'a [u8]> {
        match self.root.as_slice() {
            b"/" => Some(path),
            root => path.strip_prefix(root).filter(|rest| rest.starts_with(b"/")),
        }
    }
}

/// What is there now.
#[derive(Debug)]
pub(crate) enum There {
    /// This file; opened for looking only.
    File(OwnedFd),
    /// Nothing.
    Nothing,
    /// That cannot be looked at.
    Unknown,
}

impl Roots {
    /// The view of a process, which from now on may answer for its namespace. None when it has ended or hides.
    pub(crate) fn view(&mut self, directory: &Path) -> Option<View> {
        let link = |name: &str| {
            std::fs::read_link(directory.join(name)).ok().map(|link| link.as_os_str().as_bytes().to_vec())
        };
        let (namespace, root) = (link("ns/mnt")?, link("root")?);
        if root == b"/" && !self.whole.contains_key(&namespace) {
            self.whole.insert(namespace.clone(), directory.join("root"));
        }
        let next = self.numbers.len();
        let number = *self.numbers.entry((namespace.clone(), root.clone())).or_insert(next);
        Some(View { number, namespace, root })
    }

    /// Where a name leads from the view of this process.
    pub(crate) fn find(&self, directory: &Path, view: &View, path: &[u8]) -> There {
        let inside = view.inside(path);
        match (inside, self.whole.get(&view.namespace)) {
            (Some(path), _) => open(&directory.join("root"), path),
            (None, Some(root)) => open(root, path),
            (None, None) => There::Unknown,
        }
    }
}

/// Where a name leads that one process has, without the views of all others: this process and the first one may answer for a
/// namespace.
pub(crate) fn look(directory: &Path, path: &[u8]) -> There {
    let mut roots = Roots::default();
    if let Some(proc) = directory.parent() {
        roots.view(&proc.join("self"));
        roots.view(&proc.join("1"));
    }
    match roots.view(directory) {
        Some(view) => roots.find(directory, &view, path),
        None => There::Unknown,
    }
}

fn open(root: &Path, path: &[u8]) -> There {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let Ok(root) = rustix::fs::openat(CWD, root, flags | OFlags::DIRECTORY, Mode::empty()) else {
        return There::Unknown;
    };
    let start = path.iter().position(|byte| *byte != b'/').unwrap_or(path.len());
    let relative = path.get(start..).unwrap_or_default();
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(&root, relative, flags, Mode::empty(), resolve) {
        Ok(file) => There::File(file),
        Err(Errno::NOENT | Errno::NOTDIR) => There::Nothing,
        Err(_) => There::Unknown,
    }
}

/// Opens for reading what was opened for looking: a regular file, as its caller has made sure.
pub(crate) fn reopened(file: &OwnedFd) -> Option<File> {
    use std::os::fd::AsRawFd;
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()
}

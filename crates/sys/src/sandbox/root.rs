//! A directory that becomes the root of a child, in a mount namespace of its own, with the file systems of the kernel in it. Raw calls; no
//! allocation. Nothing of the host but what is mounted there stays within reach: the old root is taken away, not only hidden.

use super::call;
use super::mounts::{
    EMPTY_PATH, Link, Mount, NO_PROGRAMS, Place, RECURSIVE, close, lead_there, pointer, take, take_at,
};
use super::points::{self, Point};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::ffi::{CStr, CString, c_int};
use std::path::{Path, PathBuf};

/// What becomes the root.
#[derive(Debug)]
pub struct Root {
    /// Without links.
    pub path: CString,
    /// As it was written, where that is another name.
    pub link: Option<Link>,
    /// /proc, /sys, /dev and /run are put there, where they are directories and nothing is mounted on them.
    pub api: bool,
    /// What steps lie over in the /run that is put there.
    pub points: Vec<Point>,
}

/// It is the root of a mount.
const MOUNT_ROOT: u64 = 0x2000; // STATX_ATTR_MOUNT_ROOT
const RUN: u64 = libc::MS_NOSUID | libc::MS_NODEV;

impl Root {
    /// In the child, in a mount namespace of its own, apart from others. `at` is told of the step that something is made for.
    pub(super) fn enter(&self, mounts: &[Mount], at: impl Fn(usize)) -> Result<(), c_int> {
        lead_there(self.link.as_slice(), |_| {})?;
        let outside = |path: &CStr| if self.api { take(path, RECURSIVE).map(Tree) } else { Ok(Tree(-1)) };
        let (system, devices) = (outside(c"/sys")?, outside(c"/dev")?);
        let place = Place::of(&self.path, libc::O_DIRECTORY)?;
        let tree = Tree(take_at(&place, RECURSIVE)?);
        place.cover(tree.0)?;
        call(libc::SYS_fchdir, [tree.0 as usize, 0, 0, 0, 0])?;
        let here = pointer(c".");
        match call(libc::SYS_pivot_root, [here, here, 0, 0, 0]) {
            // The old root lies over the new one now.
            Ok(_) => call(libc::SYS_umount2, [here, libc::MNT_DETACH as usize, 0, 0, 0])?,
            // It is the kernel's first one, or a directory: it cannot be taken away.
            Err(libc::EINVAL) => call(libc::SYS_chroot, [here, 0, 0, 0, 0])?,
            Err(errno) => return Err(errno),
        };
        call(libc::SYS_chdir, [pointer(c"/"), 0, 0, 0, 0])?;
        if self.api {
            fill(c"/proc", |place| place.mount(c"proc", NO_PROGRAMS, c""))?;
            fill(c"/sys", |place| place.cover(system.0))?;
            fill(c"/dev", |place| place.cover(devices.0))?;
            fill(c"/run", |place| {
                place.mount(c"tmpfs", RUN, c"mode=0755,size=10%")?;
                points::make(&self.points, mounts, &Place::of(c"/run", libc::O_DIRECTORY)?, &at)
            })?;
            call(libc::SYS_chdir, [pointer(c"/"), 0, 0, 0, 0])?;
        }
        Ok(())
    }
}

struct Tree(c_int);

impl Drop for Tree {
    fn drop(&mut self) {
        if self.0 >= 0 {
            close(self.0);
        }
    }
}

/// Puts something onto a directory, unless there is none or something is there.
fn fill(path: &CStr, put: impl FnOnce(&Place) -> Result<(), c_int>) -> Result<(), c_int> {
    match Place::of(path, libc::O_DIRECTORY) {
        Ok(place) if is_mounted(&place)? => Ok(()),
        Ok(place) => put(&place),
        Err(libc::ENOENT | libc::ENOTDIR) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn is_mounted(place: &Place) -> Result<bool, c_int> {
    let mut found = std::mem::MaybeUninit::<libc::statx>::zeroed();
    let all = [place.0 as usize, pointer(c""), EMPTY_PATH, 0, found.as_mut_ptr() as usize];
    call(libc::SYS_statx, all)?;
    // SAFETY: zeroed memory is a valid statx, and the kernel has filled it.
    Ok(unsafe { found.assume_init() }.stx_attributes & MOUNT_ROOT != 0)
}

/// Where a path of such a root lies outside of it: links are followed as in there. For whoever looks from outside; what is found may be
/// another by the time of a start.
///
/// # Errors
/// As open(2).
pub fn path_in(root: &Path, path: &Path) -> std::io::Result<PathBuf> {
    let dir = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let found = rustix::fs::openat2(&dir, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)?;
    let name = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&found));
    std::fs::read_link(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_below_the_root() {
        let here = std::env::temp_dir().join(format!("portreeve-root-{}", std::process::id()));
        std::fs::create_dir_all(here.join("usr/bin")).unwrap();
        let here = here.canonicalize().unwrap();
        std::fs::write(here.join("usr/bin/box"), "").unwrap();
        symlink("/usr/bin", here.join("bin")).unwrap();
        symlink("../../../../usr/bin/box", here.join("usr/bin/sh")).unwrap();
        let found = |path: &str| path_in(&here, Path::new(path));
        for path in ["/bin/sh", "/usr/bin/box", "/../bin/box"] {
            assert_eq!(found(path).unwrap(), here.join("usr/bin/box"), "{path}");
        }
        assert_eq!(found("/bin/none").unwrap_err().kind(), std::io::ErrorKind::NotFound);
        std::fs::remove_dir_all(here).unwrap();
    }
}

//! Control groups of version 2 (cgroups(7)) below the one that this process may divide: where that is, groups in it, limits, and what is
//! left of a process that is gone. Knows no service. Nothing is made before the first group is asked for.
//!
//! A group belongs to a process as long as that holds a lock on its directory, so several can share one place.

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Where this process itself is once the place is divided: a group with controllers for others may have no processes of its own.
const LEAF: &str = "supervisor";
const PREFIX: &str = "portreeve-";

/// The groups of this process.
#[derive(Debug)]
pub struct Groups {
    place: OwnedFd,
    /// The kernel's root group, which needs no leaf.
    root: bool,
    own: OwnedFd,
    name: String,
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

impl Groups {
    /// Those of this process; what was left by others that are gone, and is empty, is removed.
    ///
    /// # Errors
    /// A sentence: what is missing.
    pub fn of_this_process() -> Result<Self, String> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let (root, mounted) =
            mount_of(&mounts).ok_or("no file system of control groups, version 2, is mounted")?;
        let line = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let here = line.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
        let below = Path::new(here).strip_prefix(&root).map_err(|_| {
            format!("the control group `{here}` is not within what is mounted at {}", mounted.display())
        })?;
        let here = mounted.join(below);
        let place = delegated(&here, &mounted).ok_or_else(|| {
            format!("the control group {} is not delegated (a unit needs `Delegate=yes`)", here.display())
        })?;
        let text = |error: io::Error| format!("{}: {error}", place.display());
        let root = !place.join("cgroup.events").exists();
        let fd = rustix::fs::open(&place, DIRECTORY, Mode::empty()).map_err(|e| text(e.into()))?;
        // Process numbers are told apart by their namespace.
        let name = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default().display().to_string();
        let name: String = name.chars().filter(char::is_ascii_digit).collect();
        let name = format!("{PREFIX}{name}-{}", std::process::id());
        let own = make(&fd, &name).map_err(text)?;
        rustix::fs::flock(&own, FlockOperation::NonBlockingLockShared).map_err(|e| text(e.into()))?;
        let groups = Self { place: fd, root, own, name };
        groups.remove_others();
        Ok(groups)
    }

    /// Whether limits of this controller (`memory`, `pids`) can be set in the groups; makes it so where it can be.
    ///
    /// # Errors
    /// Why not.
    pub fn enable(&self, controller: &str) -> io::Result<()> {
        let there = read(&self.place, "cgroup.controllers")?;
        if !there.split_ascii_whitespace().any(|known| known == controller) {
            let text = format!("the controller `{controller}` is not there");
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        let on = |dir: &OwnedFd| {
            let on = read(dir, "cgroup.subtree_control")?;
            Ok::<bool, io::Error>(on.split_ascii_whitespace().any(|known| known == controller))
        };
        let word = format!("+{controller}");
        if !on(&self.place)? {
            if !self.root {
                self.leave()?;
            }
            write(&self.place, "cgroup.subtree_control", &word)?;
        }
        if on(&self.own)? { Ok(()) } else { write(&self.own, "cgroup.subtree_control", &word) }
    }

    /// Moves all processes that are in the place itself, which are ours, into the leaf.
    fn leave(&self) -> io::Result<()> {
        /// Each round finds who came meanwhile.
        const ROUNDS: usize = 8;
        let leaf = make(&self.place, LEAF)?;
        for _ in 0..ROUNDS {
            let here = read(&self.place, "cgroup.procs")?;
            if here.trim().is_empty() {
                break;
            }
            for pid in here.split_ascii_whitespace() {
                match write(&leaf, "cgroup.procs", pid) {
                    Err(error) if error.raw_os_error() != Some(libc::ESRCH) => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// The group of this name, made where it is not there. The name is any text.
    ///
    /// # Errors
    /// `ENAMETOOLONG`, `EACCES`, `EROFS`, `EAGAIN` (there are too many).
    pub fn group(&self, name: &str) -> io::Result<OwnedFd> {
        make(&self.own, &spelled(name))
    }

    /// What there is; each by its name as it is spelled, with whether a process is in it.
    #[must_use]
    pub fn all(&self) -> Vec<(String, bool)> {
        let names = children(&self.own);
        let populated = |name: &String| {
            let events = open(&self.own, name).and_then(|dir| read(&dir, "cgroup.events"));
            events.is_ok_and(|events| events.contains("populated 1"))
        };
        names.into_iter().map(|name| (name.clone(), populated(&name))).collect()
    }

    /// Removes a group in which nobody is.
    pub fn remove(&self, spelled: &str) {
        let _ = rustix::fs::unlinkat(&self.own, spelled, AtFlags::REMOVEDIR);
    }

    /// Takes the limits of a group back.
    pub fn lift(&self, spelled: &str) {
        if let Ok(dir) = open(&self.own, spelled) {
            for file in ["memory.max", "memory.high", "memory.swap.max", "pids.max"] {
                let _ = write(&dir, file, "max");
            }
        }
    }

    /// Removes all of this process's that is empty, and what is left of others.
    pub fn end(&self) {
        self.all().iter().for_each(|(name, _)| self.remove(name));
        let _ = rustix::fs::unlinkat(&self.place, &*self.name, AtFlags::REMOVEDIR);
        self.remove_others();
    }

    /// Removes what others have left that are gone, where nobody is in it any more.
    pub fn remove_others(&self) {
        for name in children(&self.place) {
            if !is_of_ours(&name) || name == self.name {
                continue;
            }
            let Ok(dir) = open(&self.place, &name) else { continue };
            if rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive).is_err() {
                continue;
            }
            for inner in children(&dir) {
                let _ = rustix::fs::unlinkat(&dir, &*inner, AtFlags::REMOVEDIR);
            }
            let _ = rustix::fs::unlinkat(&self.place, &*name, AtFlags::REMOVEDIR);
        }
    }
}

/// Whether a group has the name of a daemon: others begin names as we do.
fn is_of_ours(name: &str) -> bool {
    let numbers = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    numbers.is_some_and(|(namespace, pid)| is_number(namespace) && is_number(pid))
}

/// The controllers that the whole hierarchy has here, by name; `None` where none of version 2 is mounted.
#[must_use]
pub fn controllers() -> Option<String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let (_, mounted) = mount_of(&mounts)?;
    Some(std::fs::read_to_string(mounted.join("cgroup.controllers")).unwrap_or_default())
}

/// A name as that of a directory which no file of the kernel's can have, and none is like another's. What is longer than a name may be
/// is refused by the kernel.
#[must_use]
pub fn spelled(name: &str) -> String {
    let mut text = "service-".to_owned();
    for byte in name.bytes() {
        match byte {
            byte if byte.is_ascii_alphanumeric() || b"_-".contains(&byte) => text.push(char::from(byte)),
            byte => text.push_str(&format!("%{byte:02x}")),
        }
    }
    text
}

/// Writes a value into a file of a group, without waiting for memory to be given back where the kernel can do without (6.16).
///
/// # Errors
/// As write(2); `ENOENT` where the controller is not there.
pub fn write(dir: &OwnedFd, file: &str, value: &str) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let fd = rustix::fs::openat(dir, file, flags, Mode::empty())?;
    match rustix::io::write(&fd, value.as_bytes()) {
        Ok(_) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// The file by which a child joins a group.
///
/// # Errors
/// As open(2).
pub fn joining(dir: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(rustix::fs::openat(dir, "cgroup.procs", flags, Mode::empty())?)
}

fn open(dir: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(dir, name, DIRECTORY, Mode::empty())?)
}

fn make(dir: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    match rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => open(dir, name),
        Err(errno) => Err(errno.into()),
    }
}

fn read(dir: &OwnedFd, file: &str) -> io::Result<String> {
    use std::io::Read;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let fd = rustix::fs::openat(dir, file, flags, Mode::empty())?;
    let mut text = String::new();
    std::fs::File::from(fd).take(1 << 20).read_to_string(&mut text)?;
    Ok(text)
}

fn children(dir: &OwnedFd) -> Vec<String> {
    let Ok(entries) = rustix::fs::Dir::read_from(dir) else { return Vec::new() };
    let directories = entries.flatten().filter(|entry| entry.file_type() == rustix::fs::FileType::Directory);
    let names = directories.filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned));
    names.filter(|name| !name.starts_with('.')).collect()
}

/// Root and place of the first mount of version 2.
fn mount_of(mounts: &str) -> Option<(PathBuf, PathBuf)> {
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        if !after.starts_with("cgroup2 ") {
            return None;
        }
        let mut fields = before.split(' ').skip(3);
        Some((PathBuf::from(fields.next()?), PathBuf::from(fields.next()?)))
    })
}

/// The group that this process may divide: its own or the one above, where systemd says so, or the root of what it sees.
fn delegated(here: &Path, mounted: &Path) -> Option<PathBuf> {
    let said = |path: &Path| {
        ["trusted.delegate", "user.delegate"].iter().any(|name| {
            let mut value = [0; 8];
            let read = rustix::fs::getxattr(path, *name, &mut value[..]);
            read.is_ok_and(|length| value.get(..length) == Some(b"1"))
        })
    };
    let above = || here.parent().filter(|above| above.starts_with(mounted));
    let in_leaf = here.file_name().is_some_and(|name| name == LEAF) && above() == Some(mounted);
    if said(here) || here == mounted {
        Some(here.to_owned())
    } else if in_leaf || above().is_some_and(said) {
        above().map(Path::to_owned)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_elsewhere_or_is_like_another() {
        for (name, wanted) in [
            ("ftp", "service-ftp"),
            ("../x", "service-%2e%2e%2fx"),
            (".", "service-%2e"),
            ("cgroup.procs", "service-cgroup%2eprocs"),
            ("a/b", "service-a%2fb"),
            ("a%2fb", "service-a%252fb"),
            ("", "service-"),
        ] {
            assert_eq!(spelled(name), wanted);
        }
    }

    #[test]
    fn only_daemons_groups_are_removed() {
        for (name, ours) in [
            ("portreeve-4026531836-7", true),
            ("portreeve-trial-7", false),
            ("portreeve-7", false),
            ("portreeve-7-", false),
        ] {
            assert_eq!(is_of_ours(name), ours, "{name}");
        }
    }

    #[test]
    fn the_mount_is_found_among_others() {
        let mounts = "30 29 0:26 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n31 30 0:27 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
             32 30 0:28 /a /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(mount_of(mounts), Some(("/a".into(), "/sys/fs/cgroup/unified".into())));
        assert_eq!(mount_of("30 29 0:26 / /sys/fs/cgroup rw - tmpfs cgroup2 rw\n"), None);
    }
}

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
    /// Whose the place is.
    kind: Kind,
    /// Whether whoever ends this process calls [`give_back`].
    given_back: bool,
    own: OwnedFd,
    name: String,
}

/// What is known of a place that may be divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A unit of systemd's, whose processes begin in the group itself.
    Unit,
    /// One whose processes begin in the leaf.
    UnitWithLeaf,
    /// The root of what is seen, where others may be.
    Shared,
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NOFOLLOW);

impl Groups {
    /// Those of this process; what was left by others that are gone, and is empty, is removed. `given_back`: whoever ends this process
    /// calls [`give_back`].
    ///
    /// # Errors
    /// A sentence: what is missing.
    pub fn of_this_process(given_back: bool) -> Result<Self, String> {
        let (place, kind) = place()?;
        let text = |error: io::Error| format!("{}: {error}", place.display());
        let root = !place.join("cgroup.events").exists();
        let fd = rustix::fs::open(&place, DIRECTORY, Mode::empty()).map_err(|e| text(e.into()))?;
        // Process numbers are told apart by their namespace.
        let name = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default().display().to_string();
        let name: String = name.chars().filter(char::is_ascii_digit).collect();
        let name = format!("{PREFIX}{name}-{}", std::process::id());
        let own = locked(&fd, &name).map_err(text)?;
        let groups = Self { place: fd, root, kind, given_back, own, name };
        groups.remove_others();
        Ok(groups)
    }

    /// Whether limits of this controller (`memory`, `pids`, `cpu`, `io`) can be set in the groups; makes it so where it can be.
    ///
    /// A group with controllers for others takes no process, so systemd could not start its unit again while somebody is left in it.
    ///
    /// # Errors
    /// Why not.
    pub fn enable(&self, controller: &str) -> io::Result<()> {
        if self.kind == Kind::Unit && !self.given_back {
            let text = "the unit could not be started again (it needs `DelegateSubgroup=supervisor`, or `ExecStopPost=` as ours has it)";
            return Err(io::Error::other(text));
        }
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

    /// Moves all processes that are in the place itself into the leaf. Where others may be, nobody is moved unless all are ours.
    fn leave(&self) -> io::Result<()> {
        /// Each round finds who came meanwhile.
        const ROUNDS: usize = 8;
        let leaf = make(&self.place, LEAF)?;
        for _ in 0..ROUNDS {
            let here = read(&self.place, "cgroup.procs")?;
            if here.trim().is_empty() {
                break;
            }
            let stranger = || here.split_ascii_whitespace().find(|pid| !is_kin(pid));
            if self.kind == Kind::Shared
                && let Some(pid) = stranger()
            {
                let text = format!("process {pid}, which is not ours, is in the control group to be divided");
                return Err(io::Error::other(text));
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

    /// Whether nobody has removed them.
    #[must_use]
    pub fn are_there(&self) -> bool {
        is_there(&self.own)
    }

    /// The group of this name, made where it is not there. The name is [`spelled`], with letters behind it that no such name has.
    ///
    /// # Errors
    /// `ENAMETOOLONG`, `EACCES`, `EROFS`, `EAGAIN` (there are too many).
    pub fn group(&self, name: &str) -> io::Result<OwnedFd> {
        make(&self.own, name)
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

    /// Takes the limits of a group back: each file with what is no limit.
    pub fn lift<'a>(&self, spelled: &str, files: impl IntoIterator<Item = (&'a str, &'a str)>) {
        if let Ok(dir) = open(&self.own, spelled) {
            for (file, value) in files {
                let _ = write(&dir, file, value);
            }
        }
    }

    /// Removes all of this process's that is empty, and what is left of others.
    pub fn end(&self) {
        self.all().iter().for_each(|(name, _)| self.remove(name));
        let _ = rustix::fs::unlinkat(&self.place, &*self.name, AtFlags::REMOVEDIR);
        self.remove_others();
        if self.kind == Kind::Unit {
            no_controllers(&self.place);
        }
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

/// A group that nobody else removes. Until it is locked another one that tidies up may do so, and holds the lock meanwhile.
fn locked(place: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    const TRIES: u32 = 50;
    let mut last = io::Error::from(Errno::AGAIN);
    for _ in 0..TRIES {
        let made = make(place, name).and_then(|own| {
            rustix::fs::flock(&own, FlockOperation::NonBlockingLockShared)?;
            Ok(own)
        });
        match made {
            Ok(own) if is_there(&own) => return Ok(own),
            Ok(_) => {}
            Err(error) if [libc::EAGAIN, libc::ENOENT].map(Some).contains(&error.raw_os_error()) => {
                last = error
            }
            Err(error) => return Err(error),
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    Err(last)
}

/// A group that is removed has no files any more.
fn is_there(dir: &OwnedFd) -> bool {
    read(dir, "cgroup.procs").is_ok()
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

/// The group that this process may divide.
fn place() -> Result<(PathBuf, Kind), String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let (root, mounted) =
        mount_of(&mounts).ok_or("no file system of control groups, version 2, is mounted")?;
    let line = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let here = line.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let below = Path::new(here).strip_prefix(&root).map_err(|_| {
        format!("the control group `{here}` is not within what is mounted at {}", mounted.display())
    })?;
    let here = mounted.join(below);
    delegated(&here, &mounted, is_said).ok_or_else(|| {
        format!("the control group {} is not delegated (a unit needs `Delegate=yes`)", here.display())
    })
}

/// Whether systemd says that a group is for its processes to divide.
fn is_said(path: &Path) -> bool {
    ["trusted.delegate", "user.delegate"].iter().any(|name| {
        let mut value = [0; 8];
        let read = rustix::fs::getxattr(path, *name, &mut value[..]);
        read.is_ok_and(|length| value.get(..length) == Some(b"1"))
    })
}

/// Its own or the one above, where systemd says so, or the root of what it sees.
fn delegated(here: &Path, mounted: &Path, said: impl Fn(&Path) -> bool) -> Option<(PathBuf, Kind)> {
    let above = here.parent().filter(|above| above.starts_with(mounted));
    let in_leaf = here.file_name().is_some_and(|name| name == LEAF);
    match above {
        Some(above) if in_leaf && said(above) => Some((above.to_owned(), Kind::UnitWithLeaf)),
        _ if said(here) => Some((here.to_owned(), Kind::Unit)),
        Some(above) if said(above) => Some((above.to_owned(), Kind::Unit)),
        Some(above) if in_leaf && above == mounted => Some((above.to_owned(), Kind::Shared)),
        _ if here == mounted => Some((here.to_owned(), Kind::Shared)),
        _ => None,
    }
}

/// Takes the controllers of this process's unit away from what is left in it, so that systemd can start it again: in a group that hands
/// them on to others no process may be. The limits of who is left go with them. Nothing, where there is no unit.
pub fn give_back() {
    let Ok((path, Kind::Unit | Kind::UnitWithLeaf)) = place() else { return };
    let Ok(place) = rustix::fs::open(&path, DIRECTORY, Mode::empty()) else { return };
    no_controllers(&place);
}

fn no_controllers(place: &OwnedFd) {
    let off = |dir: &OwnedFd| {
        let on = read(dir, "cgroup.subtree_control").unwrap_or_default();
        for controller in on.split_ascii_whitespace() {
            let _ = write(dir, "cgroup.subtree_control", &format!("-{controller}"));
        }
    };
    for name in children(place).iter().filter(|name| is_of_ours(name)) {
        let _ = open(place, name).map(|dir| off(&dir));
    }
    off(place);
}

/// Whether a process is this one, one that it comes from, or one that comes from it.
fn is_kin(pid: &str) -> bool {
    /// No line of descent is longer.
    const GENERATIONS: usize = 64;
    let parent = |pid: &str| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("PPid:").map(|pid| pid.trim().to_owned()))
    };
    let comes_from = |young: &str, old: &str| {
        let mut line = std::iter::successors(Some(young.to_owned()), |pid| parent(pid));
        line.by_ref().take(GENERATIONS).any(|pid| pid == old)
    };
    let own = std::process::id().to_string();
    // One of another namespace has no number; one that is gone is nobody.
    pid != "0" && (parent(pid).is_none() || comes_from(pid, &own) || comes_from(&own, pid))
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
    fn who_is_kin() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let own = std::process::id().to_string();
        let parent = std::os::unix::process::parent_id().to_string();
        let known = [own, parent, child.id().to_string()].map(|pid| is_kin(&pid));
        // Of another namespace, and one whose parent is gone.
        let mut sh = std::process::Command::new("sh");
        let stranger = sh.args(["-c", "sleep 60 >&- 2>&- & echo $!"]).output().unwrap();
        let stranger = String::from_utf8(stranger.stdout).unwrap();
        let others = ["0", stranger.trim()].map(is_kin);
        std::process::Command::new("kill").arg(stranger.trim()).status().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!((known, others), ([true; 3], [false; 2]));
    }

    #[test]
    fn a_place_to_divide() {
        for (here, unit, wanted) in [
            ("/g/s/p", "/g/s/p", Some(("/g/s/p", Kind::Unit))),
            ("/g/s/p/supervisor", "/g/s/p", Some(("/g/s/p", Kind::UnitWithLeaf))),
            ("/g/s/p/.control", "/g/s/p", Some(("/g/s/p", Kind::Unit))),
            ("/g/s/p", "", None),
            ("/g/s/p/supervisor", "", None),
            ("/g/supervisor", "", Some(("/g", Kind::Shared))),
            ("/g", "", Some(("/g", Kind::Shared))),
            ("/g", "/", Some(("/g", Kind::Shared))),
        ] {
            let found = delegated(Path::new(here), Path::new("/g"), |path| path == Path::new(unit));
            assert_eq!(found, wanted.map(|(path, kind)| (PathBuf::from(path), kind)), "{here} {unit}");
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

//! Where looking up a path may wait for somebody else: another machine or a program that is a file system's server (NFS, FUSE). Told by
//! the kernel's table of mounts and by the links on the way; no path is touched from the first such mount on.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::{HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Kinds of file systems behind which somebody else answers; and `fuse` and `fuseblk` with all that begins with one of them and a dot.
const REMOTE: [&str; 16] = [
    "fuse",
    "fuseblk",
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "afs",
    "ceph",
    "glusterfs",
    "lustre",
    "gfs2",
    "ocfs2",
    "virtiofs",
    "autofs",
];
/// Where the kernel has the table.
const TABLE: &str = "/proc/self/mountinfo";
/// Room to begin with, for a table that is read in one piece.
const USUAL_TABLE: usize = 16 << 10;
/// The longest table that is read.
const LONGEST: u64 = 16 << 20;
/// Links on one way, as path_resolution(7) has it.
const MOST_LINKS: usize = 40;

/// The mounts behind which somebody else answers.
#[derive(Debug, Default)]
pub struct Mounts {
    /// The open table tells when it has changed.
    table: Option<File>,
    remote: HashMap<PathBuf, String>,
}

impl Mounts {
    /// Those of this table.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self { table: None, remote: remote(text) }
    }

    /// The kind of the file system, as `nfs4`, that looking up this path would ask, if any. Never waits for it.
    pub fn remote(&mut self, path: &Path) -> Option<&str> {
        self.refresh();
        self.on_the_way(path)
    }

    /// Reads the table where it has changed. Without one (no /proc) every path counts as local.
    fn refresh(&mut self) {
        if let Some(table) = &self.table {
            let mut asked = [PollFd::new(table, PollFlags::PRI)];
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            if !matches!(poll(&mut asked, Some(&now)), Ok(changed) if changed > 0) {
                return;
            }
        } else {
            self.table = File::open(TABLE).ok();
        }
        let Some(table) = &mut self.table else { return };
        // The kernel makes it anew for each read.
        let mut text = Vec::with_capacity(USUAL_TABLE);
        let read = table.seek(SeekFrom::Start(0)).and_then(|_| table.take(LONGEST).read_to_end(&mut text));
        match read {
            Ok(_) => self.remote = remote(&String::from_utf8_lossy(&text)),
            // Its news is told once: what could not be read is opened anew.
            Err(_) => self.table = None,
        }
    }

    /// The first mount on the way that counts, by the table as it was read.
    fn on_the_way(&self, path: &Path) -> Option<&str> {
        if self.remote.is_empty() {
            return None;
        }
        let mut left: VecDeque<OsString> = parts(path);
        let mut here = PathBuf::from("/");
        let mut links = 0;
        loop {
            if let Some(kind) = self.remote.get(&here) {
                return Some(kind);
            }
            match left.pop_front() {
                None => return None,
                Some(part) if part == ".." => drop(here.pop()),
                Some(part) => {
                    let next = here.join(part);
                    // What is mounted there hides a link of that name.
                    let link =
                        if self.remote.contains_key(&next) { None } else { std::fs::read_link(&next).ok() };
                    let Some(link) = link else {
                        here = next;
                        continue;
                    };
                    links += 1;
                    if links > MOST_LINKS {
                        return None;
                    }
                    if link.is_absolute() {
                        here = PathBuf::from("/");
                    }
                    for part in parts(&link).into_iter().rev() {
                        left.push_front(part);
                    }
                }
            }
        }
    }
}

/// The names of a path, and `..`.
fn parts(path: &Path) -> VecDeque<OsString> {
    let name = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        _ => None,
    };
    path.components().filter_map(name).collect()
}

/// The network namespaces that a table says are mounted somewhere, by their numbers: a container's may have no process.
#[must_use]
pub fn network_namespaces(text: &str) -> Vec<(u64, PathBuf)> {
    let of = |line: &str| {
        let (head, tail) = line.split_once(" - ")?;
        let mut words = head.split(' ').skip(3);
        let number = words.next()?.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()?;
        let point = PathBuf::from(OsStr::from_bytes(&unescaped(words.next()?)));
        tail.starts_with("nsfs ").then_some((number, point))
    };
    text.lines().filter_map(of).collect()
}

/// The places of a table where somebody else's file system is the last that was mounted.
fn remote(text: &str) -> HashMap<PathBuf, String> {
    let mut found = HashMap::new();
    for line in text.lines() {
        let Some((head, tail)) = line.split_once(" - ") else { continue };
        let (Some(point), Some(kind)) = (head.split(' ').nth(4), tail.split(' ').next()) else { continue };
        let point = PathBuf::from(OsStr::from_bytes(&unescaped(point)));
        if REMOTE.contains(&kind) || kind.starts_with("fuse.") || kind.starts_with("fuseblk.") {
            found.insert(point, kind.to_owned());
        } else {
            found.remove(&point);
        }
    }
    found
}

/// Blanks and their like stand as `\040` there.
fn unescaped(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        let digits = bytes.get(at + 1..at + 4).filter(|_| byte == b'\\');
        let number = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        out.push(number.unwrap_or(byte));
        at += if number.is_some() { 4 } else { 1 };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn every_mount_on_the_way_counts() {
        let mounts = Mounts::of(
            "22 1 0:20 / / rw,relatime shared:1 - ext4 /dev/vda1 rw\n\
             30 22 0:25 / /run rw,nosuid - tmpfs tmpfs rw\n\
             31 22 0:26 / /srv/with\\040blank rw - nfs4 host:/x rw\n\
             32 22 0:27 / /mnt/s rw - fuse.sshfs host:/ rw\n\
             33 32 0:28 / /mnt/s/local rw - tmpfs tmpfs rw\n\
             34 22 0:29 / /mnt/over rw - fuse x rw\n\
             35 34 0:30 / /mnt/over rw - tmpfs tmpfs rw\n\
             36 22 8:17 / /mnt/stick rw - fuseblk /dev/sdb1 rw\n\
             nonsense\n",
        );
        for (path, kind) in [
            ("/run/x", None),
            ("/srv/with blank/bin/x", Some("nfs4")),
            ("/srv/with/x", None),
            ("/mnt/s", Some("fuse.sshfs")),
            ("/mnt/stick/x", Some("fuseblk")),
            // The way leads through it, whatever is mounted below.
            ("/mnt/s/local/x", Some("fuse.sshfs")),
            ("/run/../mnt/s/x", Some("fuse.sshfs")),
            ("/mnt/over/x", None),
        ] {
            assert_eq!(mounts.on_the_way(Path::new(path)), kind, "{path}");
        }
        assert_eq!(Mounts::of("").on_the_way(Path::new("/x")), None);
    }

    #[test]
    fn links_are_followed_without_touching_what_they_lead_to() {
        let here = std::env::temp_dir().join(format!("portreeve-mounts-{}", std::process::id()));
        std::fs::create_dir_all(here.join("a")).unwrap();
        let here = here.canonicalize().unwrap();
        // Nothing is there: whoever looked would see that.
        let mounts = Mounts::of(&format!("1 0 0:1 / {}/far rw - nfs4 host:/ rw\n", here.display()));
        symlink("../far/bin", here.join("a/bin")).unwrap();
        symlink(here.join("a"), here.join("b")).unwrap();
        symlink("loop", here.join("loop")).unwrap();
        for (path, kind) in
            [("b/bin/x", Some("nfs4")), ("b/x", None), ("loop/x", None), ("a/../far", Some("nfs4"))]
        {
            assert_eq!(mounts.on_the_way(&here.join(path)), kind, "{path}");
        }
        std::fs::remove_dir_all(here).unwrap();
    }

    #[test]
    fn mounted_namespaces_are_told() {
        let text = "40 22 0:4 net:[4026532281] /run/docker/netns/a\\040b rw - nsfs nsfs rw\n\
                    41 22 0:4 mnt:[4026532282] /run/x rw - nsfs nsfs rw\n\
                    42 22 0:5 net:[7] /run/y rw - tmpfs tmpfs rw\nnonsense\n";
        assert_eq!(network_namespaces(text), [(4_026_532_281, PathBuf::from("/run/docker/netns/a b"))]);
    }

    #[test]
    fn the_table_of_this_machine_is_read_once() {
        let mut mounts = Mounts::default();
        assert_eq!(mounts.remote(Path::new("/proc/self/exe/none")), None);
        assert!(mounts.table.is_some());
        assert_eq!(mounts.remote(Path::new("/proc")), None);
    }
}

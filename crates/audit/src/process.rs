//! A process as /proc shows it: what it is. A process may end at any moment: what has gone is
//! counted and no error.

use crate::bounded;
use crate::cgroup::{self, Home};
use crate::stale::roots::{self, There};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes of a command line, and of the other files.
const LONGEST: usize = 4096;

/// Whether what a process runs is what is on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image {
    /// The same file.
    Same,
    /// The file has gone.
    Deleted,
    /// Another file has its name.
    Replaced,
    /// It never was on disk: memfd_create(2).
    Memory,
    /// This process may not see it.
    Unknown,
}

impl Image {
    /// The word for people and machines.
    pub fn word(self) -> &'static str {
        match self {
            Image::Same => "same",
            Image::Deleted => "deleted",
            Image::Replaced => "replaced",
            Image::Memory => "memory",
            Image::Unknown => "unknown",
        }
    }
}

/// One process.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its short name (comm).
    pub name: String,
    /// Its executable's path, without the kernel's " (deleted)".
    pub executable: Option<String>,
    /// Whether that is still the file of that name.
    pub image: Image,
    /// Its arguments; the first 4 KiB.
    pub arguments: Vec<String>,
    /// Its effective user.
    pub uid: Option<u32>,
    /// Unit and container.
    pub home: Home,
    /// Whether its root directory is ours: else this host's packages say nothing of its files.
    pub our_root: bool,
}

/// Reads one process; None when it has ended.
pub fn read(proc: &Path, pid: u32) -> Option<Process> {
    let directory = proc.join(pid.to_string());
    let status = bounded::file(&directory.join("status"), LONGEST).ok()?;
    let file = |name: &str| bounded::file(&directory.join(name), LONGEST).unwrap_or_default();
    let name = String::from_utf8_lossy(&file("comm")).trim_end_matches('\n').to_owned();
    let arguments = file("cmdline");
    let arguments = arguments.strip_suffix(&[0]).unwrap_or(&arguments);
    let arguments = match arguments {
        [] => Vec::new(),
        all => all.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect(),
    };
    let (executable, image) = image(&directory);
    Some(Process {
        pid,
        name,
        executable,
        image,
        arguments,
        uid: effective_uid(&String::from_utf8_lossy(&status)),
        home: cgroup::home(&String::from_utf8_lossy(&file("cgroup"))),
        our_root: same(&directory.join("root"), Path::new("/")).unwrap_or(false),
    })
}

/// The second number of `Uid:`.
fn effective_uid(status: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().nth(1)?.parse().ok()
}

/// Compares what runs with the file of that name in the process's own root, by device and inode: a file may be called
/// " (deleted)".
fn image(directory: &Path) -> (Option<String>, Image) {
    let running = directory.join("exe");
    let Ok(link) = std::fs::read_link(&running) else { return (None, Image::Unknown) };
    let Ok(metadata) = std::fs::metadata(&running) else { return (None, Image::Unknown) };
    let bytes = link.as_os_str().as_bytes();
    if bytes.starts_with(b"/memfd:") && metadata.nlink() == 0 {
        return (Some(String::from_utf8_lossy(bytes).into_owned()), Image::Memory);
    }
    let whole = inside(directory, bytes);
    let (bytes, there) = match bytes.strip_suffix(b" (deleted)") {
        Some(name) if metadata.nlink() == 0 || whole != Ok(Some(key(&metadata))) => {
            (name, inside(directory, name))
        }
        _ => (bytes, whole),
    };
    let image = match there {
        Ok(Some(there)) if there == key(&metadata) => Image::Same,
        Ok(Some(_)) => Image::Replaced,
        Ok(None) => Image::Deleted,
        Err(()) => Image::Unknown,
    };
    (Some(String::from_utf8_lossy(bytes).into_owned()), image)
}

/// Device and inode of the file that a process calls so, in its own mount namespace: one that went into a chroot still has
/// its executable from outside.
fn inside(directory: &Path, path: &[u8]) -> Result<Option<(u64, u64)>, ()> {
    match roots::look(directory, path) {
        There::File(file) => {
            rustix::fs::fstat(&file).map(|stat| Some((stat.st_dev, stat.st_ino))).map_err(drop)
        }
        There::Nothing => Ok(None),
        There::Unknown => Err(()),
    }
}

fn key(metadata: &std::fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn is(there: &std::fs::Metadata, running: &std::fs::Metadata) -> bool {
    (there.dev(), there.ino()) == (running.dev(), running.ino())
}

fn same(one: &Path, other: &Path) -> io::Result<bool> {
    Ok(is(&std::fs::metadata(one)?, &std::fs::metadata(other)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_read() {
        let own = read(Path::new("/proc"), std::process::id()).unwrap();
        assert_eq!(own.image, Image::Same);
        assert_eq!(own.executable.as_deref().map(Path::new), std::env::current_exe().ok().as_deref());
        assert!(own.our_root && own.uid.is_some() && !own.arguments.is_empty());
    }

    #[test]
    fn odd_content_is_no_panic() {
        let proc = std::env::temp_dir().join(format!("portreeve-proc-{}", std::process::id()));
        let one = proc.join("7");
        std::fs::create_dir_all(one.join("fd")).unwrap();
        assert!(read(&proc, 7).is_none());
        for name in ["status", "comm", "cmdline", "cgroup"] {
            std::fs::write(one.join(name), b"Uid:\n\xff\xfe\0\0Uid: x y\n:::").unwrap();
        }
        std::fs::create_dir(one.join("root")).unwrap();
        let odd = read(&proc, 7).unwrap();
        assert_eq!((odd.uid, odd.image, odd.home), (None, Image::Unknown, Home::default()));
        std::fs::remove_dir_all(&proc).unwrap();
    }
}

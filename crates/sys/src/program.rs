//! A program, opened to be hashed and then executed by its descriptor. Never waits for a pipe or a device; executes nothing.

use crate::source::Identity;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// A program that is open for reading.
#[derive(Debug)]
pub struct Program {
    /// Its descriptor.
    pub fd: OwnedFd,
    /// What tells its content, as long as nobody sets the clock.
    pub identity: Identity,
    /// Whether somebody else than root and this process's user may write to it.
    pub is_loose: bool,
}

impl Program {
    /// Opens what `path` leads to; links are followed, as execve(2) follows them.
    ///
    /// # Errors
    /// From open(2) and fstat(2); `EACCES` where it is no regular file, as execve(2) says.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        Self::of(rustix::fs::open(path, flags, Mode::empty())?)
    }

    /// The same of a file that is open.
    ///
    /// # Errors
    /// From fstat(2); `EACCES` where it is no regular file.
    pub fn of(fd: OwnedFd) -> io::Result<Self> {
        let stat = rustix::fs::fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Errno::ACCESS.into());
        }
        let owned = [0, rustix::process::geteuid().as_raw()].contains(&stat.st_uid);
        let open = Mode::from_raw_mode(stat.st_mode).intersects(Mode::WGRP | Mode::WOTH);
        Ok(Self { fd, identity: Identity::of(&stat), is_loose: !owned || open })
    }
}

/// Whether a file, opened without following a link, and each directory above its path are root's or this process's user's and nobody
/// else may write there; a directory that others may write to will do where it is sticky. Otherwise the path that is at fault.
///
/// # Errors
/// From stat(2) and realpath(3).
pub fn loose_part(path: &Path) -> io::Result<Option<std::path::PathBuf>> {
    let own = rustix::process::geteuid().as_raw();
    let real = match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => std::fs::canonicalize(parent)?.join(name),
        _ => return Err(Errno::INVAL.into()),
    };
    for part in real.ancestors() {
        let stat = rustix::fs::lstat(part)?;
        let mode = Mode::from_raw_mode(stat.st_mode);
        let others = mode.intersects(Mode::WGRP | Mode::WOTH);
        let sticky = part != real && mode.contains(Mode::SVTX);
        if ![0, own].contains(&stat.st_uid) || (others && !sticky) {
            return Ok(Some(part.to_owned()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_program_is_a_regular_file_that_root_alone_writes() {
        let here = std::env::temp_dir().join(format!("portreeve-program-{}", std::process::id()));
        std::fs::create_dir_all(&here).unwrap();
        let at = here.join("x");
        std::fs::write(&at, "#!/bin/sh\n").unwrap();
        let chmod = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        chmod(&at, 0o755);
        assert!(!Program::open(&at).unwrap().is_loose);
        symlink("x", here.join("link")).unwrap();
        assert_eq!(Program::open(&here.join("link")).unwrap().identity, Program::open(&at).unwrap().identity);
        assert_eq!(loose_part(&at).unwrap(), None);
        for mode in [0o775, 0o757] {
            chmod(&at, mode);
            assert!(Program::open(&at).unwrap().is_loose, "{mode:o}");
            assert_eq!(loose_part(&at).unwrap(), Some(at.canonicalize().unwrap()));
        }
        chmod(&at, 0o644);
        chmod(&here, 0o777);
        assert_eq!(loose_part(&at).unwrap(), Some(here.canonicalize().unwrap()));
        chmod(&here, 0o1777);
        assert_eq!(loose_part(&at).unwrap(), None);
        assert_eq!(Program::open(&here).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(Program::open(&here.join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        let pipe = here.join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert_eq!(Program::open(&pipe).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        std::fs::remove_dir_all(here).unwrap();
    }
}

//! Where the database is. Made ready while this process is still root: the directory belongs to the ledger's own user, with the
//! group that may read the control socket, so that its members read the database too and nobody else does.

use crate::settings::{Keep, Settings};
use portreeve_sys::process::is_root;
use portreeve_workers::protocol::Worker;
use portreeve_workers::worker_ids;
use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Where the directory is, unless the settings say otherwise.
pub const DEFAULT_DIRECTORY: &str = "/var/lib/portreeve/ledger";
/// What the database is called in it.
pub const FILE: &str = "ledger.db";
/// Whose members may read.
const GROUP: &str = "portreeve";
/// Nobody, where a user namespace has no other number.
const NOBODY: u32 = 65_534;

/// What is to be done about the settings' directory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It is here.
    Here(PathBuf),
    /// There is no ledger, and why; whether that is what the settings want.
    None(bool, String),
}

/// Finds the directory and makes it ready.
pub(crate) fn prepare(settings: &Settings) -> Place {
    let directory = match &settings.keep {
        Keep::Off => return Place::None(true, "it is switched off".to_owned()),
        Keep::In(directory) => directory.clone(),
        Keep::IfThere => {
            let default = Path::new(DEFAULT_DIRECTORY);
            let parent = default.parent().unwrap_or(default);
            if !is_root() {
                return Place::None(true, "without root there is one only where it is asked for".to_owned());
            }
            if !parent.is_dir() {
                return Place::None(true, format!("there is no directory {}", parent.display()));
            }
            default.to_owned()
        }
    };
    match make(&directory) {
        Ok(whole) => Place::Here(whole),
        Err(error) => Place::None(false, format!("{}: {}", directory.display(), text(&error))),
    }
}

fn make(directory: &Path) -> io::Result<PathBuf> {
    if !directory.is_absolute() {
        return Err(io::Error::other("the directory must begin with /"));
    }
    match std::fs::DirBuilder::new().mode(0o750).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // No symbolic link in the last place, and what is looked at is what is changed.
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(directory, flags, Mode::empty())?;
    if is_root() {
        own(&opened)?;
    }
    // SQLite follows no link anywhere in a path, so the path that it gets has none.
    std::fs::canonicalize(directory)
}

/// The directory becomes the ledger's, and files that are made in it get its group.
fn own(directory: &OwnedFd) -> io::Result<()> {
    let meta = File::from(directory.try_clone()?).metadata()?;
    let ids = worker_ids(Worker::Ledger);
    // A directory of somebody else's, or one that others write in, is not taken away from them.
    if meta.uid() != 0 && meta.uid() != ids.uid && meta.uid() != NOBODY {
        return Err(io::Error::other(format!(
            "it belongs to user {}, neither root nor the ledger",
            meta.uid()
        )));
    }
    if meta.uid() == 0 && meta.mode() & 0o022 != 0 {
        return Err(io::Error::other(
            "others than root may write in it; give the ledger a directory of its own",
        ));
    }
    let gid = readers().unwrap_or(ids.gid);
    match rustix::fs::fchown(directory, Some(Uid::from_raw(ids.uid)), Some(Gid::from_raw(gid))) {
        Err(Errno::INVAL) => {
            rustix::fs::fchown(directory, Some(Uid::from_raw(NOBODY)), Some(Gid::from_raw(NOBODY)))?;
        }
        // A root that may not change owners does not change users either; then it is root's.
        Err(Errno::PERM) | Ok(()) => {}
        Err(other) => return Err(other.into()),
    }
    // Files get its group.
    Ok(rustix::fs::fchmod(directory, Mode::from_raw_mode(0o2750))?)
}

/// The group whose members may read, of /etc/group: see the supervisor's control socket.
fn readers() -> Option<u32> {
    let mut text = String::new();
    File::open("/etc/group").ok()?.take(4 << 20).read_to_string(&mut text).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(GROUP)?.strip_prefix(':'))?;
    line.split(':').nth(1)?.parse().ok()
}

/// strerror(3)'s text alone.
pub(crate) fn text(error: &io::Error) -> String {
    let text = error.to_string();
    text.find(" (os error ").map_or(text.clone(), |at| text[..at].to_owned())
}

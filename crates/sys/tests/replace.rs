//! A file replaced in one step: what stays of it, and what stands against it.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use portreeve_sys::replace::{Original, Refused};
use rustix::fs::{FileType, FlockOperation, Mode, XattrFlags};
use rustix::io::Errno;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("portreeve-replace-{}-{name}", std::process::id()));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Every name in it.
    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(&self.0).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn replace(path: &Path, text: &str) -> Result<(), Refused> {
    Original::open(path)?.replace(text.as_bytes()).map(|unsynced| assert!(unsynced.is_none()))
}

/// An access list by which user 1234 has these rights: version 2, then (tag, rights, id).
fn access_list(rights: u16) -> Vec<u8> {
    let all = u32::MAX;
    let entries = [(1u16, 6u16, all), (2, rights, 1234), (4, 4, all), (0x10, rights, all), (0x20, 0, all)];
    let mut list = 2u32.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        list.extend([tag.to_le_bytes(), rights.to_le_bytes()].concat());
        list.extend(id.to_le_bytes());
    }
    list
}

#[test]
fn the_contents_change_and_nothing_else() {
    let here = Dir::new("same");
    let path = here.file("conf", "old");
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    let before = fs::metadata(&path).unwrap();
    let mut old = File::open(&path).unwrap();
    let mut original = Original::open(&path).unwrap();
    assert_eq!(original.read(3).unwrap(), b"old");
    assert_eq!(original.read(2).unwrap_err().raw_os_error(), Some(Errno::FBIG.raw_os_error()));
    assert!(original.is_at(&path) && !original.is_at(&here.0));
    assert!(original.replace(b"new\0").unwrap().is_none());
    let after = fs::metadata(&path).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new\0");
    assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
    assert_ne!(after.ino(), before.ino());
    let mut seen = String::new();
    std::io::Read::read_to_string(&mut old, &mut seen).unwrap();
    assert_eq!(seen, "old", "whoever has the old file open still has it");
    assert_eq!(here.names(), ["conf"]);
}

#[test]
fn owner_and_attributes_stay() {
    let here = Dir::new("attributes");
    let path = here.file("conf", "old");
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(1234), Some(2345)).unwrap();
    }
    let file = File::open(&path).unwrap();
    let taken = rustix::fs::fsetxattr(&file, c"user.origin", b"by \xff hand", XattrFlags::empty());
    let list = access_list(4);
    let listed = rustix::fs::fsetxattr(&file, c"system.posix_acl_access", &list, XattrFlags::empty());
    let before = fs::metadata(&path).unwrap();
    replace(&path, "new").unwrap();
    let after = fs::metadata(&path).unwrap();
    assert_eq!((after.mode(), after.uid(), after.gid()), (before.mode(), before.uid(), before.gid()));
    let mut value = [0; 256];
    for (set, name, wanted) in
        [(taken, c"user.origin", &b"by \xff hand"[..]), (listed, c"system.posix_acl_access", &list)]
    {
        if let Err(errno) = set {
            assert_eq!(errno, Errno::OPNOTSUPP, "a file system without attributes");
            continue;
        }
        let length = rustix::fs::getxattr(&path, name, &mut value).unwrap();
        assert_eq!(&value[..length], wanted, "{name:?}");
    }
}

#[test]
fn an_access_list_of_the_directory_is_not_taken_over() {
    let here = Dir::new("inherited");
    let path = here.file("conf", "old");
    let list = access_list(7);
    let set = rustix::fs::setxattr(&here.0, c"system.posix_acl_default", &list, XattrFlags::empty());
    if set == Err(Errno::OPNOTSUPP) {
        return;
    }
    set.unwrap();
    replace(&path, "new").unwrap();
    let mut value = [0; 256];
    let found = rustix::fs::getxattr(&path, c"system.posix_acl_access", &mut value);
    assert_eq!(found, Err(Errno::NODATA));
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o644);
}

#[test]
fn a_link_stays_and_what_it_leads_to_is_replaced() {
    let here = Dir::new("links");
    fs::create_dir(here.0.join("real")).unwrap();
    here.file("real/conf", "old");
    symlink("real", here.0.join("way")).unwrap();
    symlink("way/../real/conf", here.0.join("one")).unwrap();
    symlink(here.0.join("one"), here.0.join("two")).unwrap();
    replace(&here.0.join("two"), "new").unwrap();
    assert_eq!(fs::read_to_string(here.0.join("real/conf")).unwrap(), "new");
    assert_eq!(fs::read_link(here.0.join("one")).unwrap(), Path::new("way/../real/conf"));
    assert_eq!(here.names(), ["one", "real", "two", "way"]);
    assert_eq!(fs::read_dir(here.0.join("real")).unwrap().count(), 1);
    symlink("round", here.0.join("round")).unwrap();
    let round = Original::open(&here.0.join("round")).unwrap_err().to_string();
    assert_eq!(round, "Too many levels of symbolic links");
}

#[test]
fn what_stands_against_it_is_said_and_nothing_is_written() {
    let here = Dir::new("against");
    let path = here.file("conf", "old");
    let refusal = |path: &Path| replace(path, "new").unwrap_err().to_string();
    assert_eq!(refusal(&here.0.join("none")), "No such file or directory");
    assert_eq!(refusal(&here.0), "it is no regular file");
    rustix::fs::mknodat(rustix::fs::CWD, here.0.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    assert_eq!(refusal(&here.0.join("pipe")), "it is no regular file");
    fs::hard_link(&path, here.0.join("other")).unwrap();
    assert!(refusal(&path).starts_with("it has other names"), "{}", refusal(&path));
    fs::remove_file(here.0.join("other")).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
    assert!(refusal(&path).starts_with("everybody may write it;"), "{}", refusal(&path));
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    fs::set_permissions(&here.0, Permissions::from_mode(0o777)).unwrap();
    assert!(refusal(&path).starts_with("everybody may write its directory;"), "{}", refusal(&path));
    fs::set_permissions(&here.0, Permissions::from_mode(0o1777)).unwrap();
    replace(&path, "sticky").unwrap();
    fs::set_permissions(&here.0, Permissions::from_mode(0o755)).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "sticky");
    assert_eq!(here.names(), ["conf", "pipe"]);
}

#[test]
fn what_was_changed_in_the_meantime_is_not_replaced() {
    let here = Dir::new("meantime");
    let path = here.file("conf", "old");
    let change: [fn(&Path); 4] = [
        |path| fs::write(path, "another").unwrap(),
        |path| fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap(),
        |path| {
            fs::write(path.with_extension("new"), "ano").unwrap();
            fs::rename(path.with_extension("new"), path).unwrap();
        },
        |path| fs::remove_file(path).unwrap(),
    ];
    for change in change {
        let original = Original::open(&path).unwrap();
        change(&path);
        let before = fs::read(&path).ok();
        assert!(matches!(original.replace(b"new"), Err(Refused::Changed)));
        assert_eq!(fs::read(&path).ok(), before);
    }
    assert_eq!(here.names(), [""; 0]);
}

#[test]
fn two_at_once_come_one_after_the_other() {
    let here = Dir::new("two");
    let path = here.file("conf", "");
    let add = |mark: &str| {
        let mut original = Original::open(&path).unwrap();
        let mut text = original.read(100).unwrap();
        text.extend(mark.as_bytes());
        original.replace(&text).unwrap();
    };
    std::thread::scope(|scope| {
        for mark in ["a", "b", "c", "d"] {
            scope.spawn(move || (0..5).for_each(|_| add(mark)));
        }
    });
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.len(), 20, "{text}");
    let holder = File::open(&path).unwrap();
    rustix::fs::flock(&holder, FlockOperation::LockExclusive).unwrap();
    assert!(matches!(Original::open(&path), Err(Refused::Locked)));
}

//! The files of listening unix sockets, against whoever would have root make them elsewhere, give away what is not theirs or
//! remove what others have.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

mod skip;

use portreeve_sys::local::{self, Kind, Name, Rights};
use portreeve_sys::unix::UnixError;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

const OURS: Rights = Rights { mode: 0o600, owner: None, group: None };

/// A directory of one test, removed with it.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("portreeve-local-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        mode(&path, 0o755);
        Self(path)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn sub(&self, name: &str, permissions: u32, owner: u32) -> PathBuf {
        let path = self.at(name);
        std::fs::create_dir(&path).unwrap();
        mode(&path, permissions);
        if owner != 0 {
            chown(&path, Some(owner), None).unwrap();
        }
        path
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn mode(path: &Path, permissions: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(permissions)).unwrap();
}

fn open(path: &Path) -> Result<(), String> {
    local::listen(path, Kind::Stream, &OURS).map(drop).map_err(|error| error.to_string())
}

#[test]
fn every_kind_with_its_rights_whatever_the_umask_is() {
    let dir = Dir::new();
    for (name, kind, permissions) in
        [("s", Kind::Stream, 0o666), ("q", Kind::Seqpacket, 0o707), ("d", Kind::Dgram, 0)]
    {
        let path = dir.at(name);
        let (fd, id) = local::listen(&path, kind, &Rights { mode: permissions, ..OURS }).unwrap();
        let meta = std::fs::symlink_metadata(&path).unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.dev(), meta.ino()), (permissions, id.dev, id.ino));
        assert_eq!(local::name_of(&fd), Some(Name::Path(path.clone().into())));
        assert!(local::remove(&path, id, None) && !path.exists());
    }
    let name = format!("portreeve-{}", std::process::id());
    let fd = local::listen_abstract(name.as_bytes(), Kind::Stream).unwrap();
    assert_eq!(local::name_of(&fd), Some(Name::Abstract(name.clone().into())));
    assert!(local::listen_abstract(name.as_bytes(), Kind::Stream).is_err(), "it is taken");
    assert!(local::listen_abstract(&[b'x'; 108], Kind::Stream).is_err());
    assert_eq!(local::name_of(std::net::TcpListener::bind("127.0.0.1:0").unwrap()), None);
}

#[test]
fn links_lead_where_only_trusted_people_lead_them() {
    let dir = Dir::new();
    let real = dir.sub("real", 0o755, 0);
    symlink(&real, dir.at("absolute")).unwrap();
    symlink("../real", real.join("round")).unwrap();
    symlink("loop", dir.at("loop")).unwrap();
    assert_eq!(open(&dir.at("absolute/round/round/s")), Ok(()));
    assert!(real.join("s").exists());
    assert!(open(&dir.at("loop/s")).unwrap_err().contains("Too many levels"), "it ends");
    // At the end a link is a file of its own, wherever it leads.
    symlink(dir.at("made"), dir.at("link")).unwrap();
    assert!(matches!(local::listen(&dir.at("link"), Kind::Stream, &OURS), Err(UnixError::NotASocket(_))));
    assert!(!dir.at("made").exists() && dir.at("link").is_symlink());
    assert!(open(&dir.at("none/s")).unwrap_err().contains("No such file"));
    std::fs::write(dir.at("file"), "").unwrap();
    assert!(open(&dir.at("file/s")).unwrap_err().contains("Not a directory"));
}

#[test]
fn directories_of_others_are_not_trusted() {
    if !skip::is_root() {
        return;
    }
    let dir = Dir::new();
    for (name, permissions, owner) in [("any", 0o777, 0), ("group", 0o775, 0), ("theirs", 0o755, 1000)] {
        let sub = dir.sub(name, permissions, owner);
        assert!(open(&sub.join("s")).unwrap_err().contains("others may write"), "{name}");
        std::fs::create_dir(sub.join("below")).unwrap();
        assert!(open(&sub.join("below/s")).unwrap_err().contains("others may write"), "above it: {name}");
        assert!(!sub.join("s").exists() && !sub.join("below/s").exists());
    }
    let sticky = dir.sub("sticky", 0o1777, 0);
    assert_eq!(open(&sticky.join("s")), Ok(()));
    // A link there may be anybody's.
    symlink(&dir.0, sticky.join("link")).unwrap();
    std::os::unix::fs::lchown(sticky.join("link"), Some(1000), None).unwrap();
    assert!(open(&sticky.join("link/s")).is_err());
    // Whoever is to own the socket may own its directory, and no other.
    let theirs = Rights { owner: Some(1000), ..OURS };
    let path = dir.at("theirs/s");
    let (_fd, id) = local::listen(&path, Kind::Stream, &theirs).unwrap();
    assert_eq!(std::fs::symlink_metadata(&path).unwrap().uid(), 1000);
    assert!(local::listen(&dir.at("theirs/below/s"), Kind::Stream, &theirs).is_err());
    assert!(!local::remove(&path, id, None) && local::remove(&path, id, Some(1000)));
}

#[test]
fn who_serves_is_left_alone_and_who_has_gone_is_replaced() {
    let dir = Dir::new();
    let path = dir.at("s");
    let live = UnixListener::bind(&path).unwrap();
    assert!(
        matches!(local::listen(&path, Kind::Dgram, &OURS), Err(UnixError::InUse(_))),
        "of another kind too"
    );
    drop(live);
    let (_first, id) = local::listen(&path, Kind::Stream, &OURS).unwrap();
    let datagrams = dir.at("d");
    let live = UnixDatagram::bind(&datagrams).unwrap();
    assert!(matches!(local::listen(&datagrams, Kind::Stream, &OURS), Err(UnixError::InUse(_))));
    drop(live);
    assert!(local::listen(&datagrams, Kind::Stream, &OURS).is_ok());
    // Only the very file is ours to remove or to give away.
    std::fs::remove_file(&path).unwrap();
    let _theirs = UnixListener::bind(&path).unwrap();
    assert!(!local::remove(&path, id, None));
    assert!(matches!(local::set_rights(&path, id, &OURS), Err(UnixError::Replaced(_))));
    assert!(UnixStream::connect(&path).is_ok());
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "text").unwrap();
    assert!(!local::remove(&path, id, None) && path.exists());
}

/// Nobody connects before the rights are right: a client of another user tries all the time.
#[test]
fn there_is_no_moment_in_between() {
    if !skip::is_root() {
        return;
    }
    let dir = Dir::new();
    let path = dir.at("s");
    let (over, came) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let stranger = || {
                while !over.load(Ordering::Relaxed) {
                    came.fetch_add(u32::from(UnixStream::connect(&path).is_ok()), Ordering::Relaxed);
                }
            };
            portreeve_sys::acting::as_user(65534, 65534, &[], stranger).unwrap();
        });
        for _ in 0..300 {
            let (_fd, id) = local::listen(&path, Kind::Stream, &OURS).unwrap();
            assert!(local::remove(&path, id, None));
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(came.load(Ordering::Relaxed), 0);
}

/// The file that a socket was bound to is told from another one of its name.
#[test]
fn a_kept_socket_knows_its_file() {
    if !skip::is_root() {
        return;
    }
    let dir = Dir::new();
    let path = dir.at("s");
    let (fd, id) = local::listen(&path, Kind::Stream, &OURS).unwrap();
    assert_eq!(local::file_of(&fd, &path), Some(id));
    std::fs::remove_file(&path).unwrap();
    assert_eq!(local::file_of(&fd, &path), None);
    let (theirs, other) = local::listen(&path, Kind::Stream, &OURS).unwrap();
    assert_eq!(local::file_of(&fd, &path), None);
    assert_eq!(local::file_of(&theirs, &path), Some(other));
    let abstracted = local::listen_abstract(b"portreeve-no-file", Kind::Stream).unwrap();
    assert_eq!(local::file_of(&abstracted, &dir.at("none")), None);
}

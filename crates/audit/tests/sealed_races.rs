//! Directories that are swapped for links while they are walked: nothing outside of the tree is taken for something inside. And what a walk costs
//! the kernel for each path, whatever the size of a directory.

#![allow(clippy::unwrap_used)] // the helpers of tests may, too

use portreeve_audit::sealed::entry::{Content, Entry, Kind};
use portreeve_audit::sealed::hash::Hash;
use portreeve_audit::sealed::look::{CHUNK, look};
use portreeve_audit::sealed::reading::Reading;
use portreeve_audit::sealed::rules::Rules;
use portreeve_audit::sealed::tree::{Step, Tree};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// `tree` has files of content `inside`, `outside` has the same names with content `outside`; `beside` is a link to it.
struct World(PathBuf);

impl World {
    fn new(name: &str) -> Self {
        let home = std::env::temp_dir().join(format!("portreeve-races-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&home);
        for (place, content) in [("tree/etc/deep", "inside"), ("outside/deep", "outside")] {
            fs::create_dir_all(home.join(place)).unwrap();
            let above = home.join(place).parent().unwrap().to_owned();
            for file in ["one", "two", "deep/three"] {
                fs::write(above.join(file), content).unwrap();
            }
        }
        fs::write(home.join("outside/secret"), "outside").unwrap();
        symlink(home.join("outside"), home.join("beside")).unwrap();
        World(home)
    }

    fn rules(&self) -> Rules {
        Rules::of(&[self.0.join("tree").as_os_str().as_bytes().to_vec()])
    }

    /// The directory and the link change places, at once.
    fn swap(&self) {
        let (there, link) = (self.0.join("tree/etc"), self.0.join("beside"));
        renameat_with(CWD, there, CWD, link, RenameFlags::EXCHANGE).unwrap();
    }

    fn below(&self, step: &Step) -> String {
        let path = Path::new(std::ffi::OsStr::from_bytes(&step.path));
        path.strip_prefix(self.0.join("tree")).unwrap().display().to_string()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn seen(step: &Step) -> Option<Entry> {
    look(step, None, false, &mut vec![0; CHUNK], &Reading::default()).ok()
}

fn is_from_outside(entry: &Entry) -> bool {
    entry.content == Content::Digest(Hash::Sha256.once(b"outside"))
}

/// Swapped at each moment of the walk once: before the directory is entered, and behind each path that is told.
#[test]
fn a_directory_that_becomes_a_link_leads_nowhere() {
    let whole = World::new("whole");
    let count = Tree::new(&whole.rules()).count();
    assert_eq!(count, 6);
    for moment in 0..count {
        let world = World::new("swap");
        let rules = world.rules();
        let mut told = Vec::new();
        for (at, step) in Tree::new(&rules).enumerate() {
            if at == moment {
                world.swap();
            }
            let path = world.below(&step);
            assert!(!path.contains("secret"), "moment {moment}: a name from outside: {path}");
            if let Some(entry) = seen(&step) {
                assert!(!is_from_outside(&entry), "moment {moment}: {path} was read outside");
                told.push((path, entry.kind));
            }
        }
        let etc = told.iter().find(|(path, _)| path == "etc").map(|(_, kind)| *kind);
        // Told before the swap it is a directory, then a link; what was entered is walked to its end all the same.
        assert_eq!(etc, Some(if moment <= 1 { Kind::Link } else { Kind::Directory }), "moment {moment}");
        assert_eq!(told.len(), if moment == 0 { 2 } else { count }, "moment {moment}: {told:?}");
    }
}

/// The same while somebody swaps as fast as the kernel lets him.
#[test]
fn nothing_outside_is_read_while_somebody_swaps() {
    let world = World::new("storm");
    let rules = world.rules();
    let over = AtomicBool::new(false);
    let (mut links, mut entered) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                world.swap();
                std::thread::yield_now();
            }
        });
        // Both must have been met, so that the walk was in between.
        for _ in 0..200_000 {
            for step in Tree::new(&rules) {
                let path = world.below(&step);
                let entry = seen(&step);
                if path.contains("secret") || entry.as_ref().is_some_and(is_from_outside) {
                    over.store(true, Ordering::Relaxed);
                    panic!("{path} was read outside");
                }
                links += u32::from(path == "etc" && entry.is_some_and(|entry| entry.kind == Kind::Link));
                entered += u32::from(path == "etc/deep/three");
            }
            if links >= 200 && entered >= 200 {
                break;
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(links >= 200 && entered >= 200, "{links} links, {entered} entered");
}

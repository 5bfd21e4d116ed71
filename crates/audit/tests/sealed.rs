//! A signed baseline over a real tree: what was planted is found, what was damaged or forged is refused.

#![allow(clippy::unwrap_used)] // the helpers of tests may, too

use portreeve_audit::sealed::chain::{Digest, Header, Store};
use portreeve_audit::sealed::compare::{Change, Comparison, Depth, Sample};
use portreeve_audit::sealed::entry::{Content, Entry};
use portreeve_audit::sealed::hash::Hash;
use portreeve_audit::sealed::key::{Key, Use};
use portreeve_audit::sealed::reading::Reading;
use portreeve_audit::sealed::report::{Form, columns, lines};
use portreeve_audit::sealed::rules::Rules;
use portreeve_audit::sealed::tree::Tree;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// A tree, a store and a key, removed at the end.
struct World {
    home: PathBuf,
    tree: PathBuf,
    store: Store,
    key: Key,
}

impl World {
    fn new(name: &str) -> Self {
        let home = std::env::temp_dir().join(format!("portreeve-sealed-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&home);
        let tree = home.join("tree");
        fs::create_dir_all(tree.join("bin")).unwrap();
        fs::create_dir_all(tree.join("etc/pam.d")).unwrap();
        fs::write(tree.join("bin/ls"), "the real one").unwrap();
        fs::write(tree.join("bin/cat"), "meow").unwrap();
        fs::write(tree.join("etc/pam.d/login"), "auth required").unwrap();
        symlink("ls", tree.join("bin/dir")).unwrap();
        fs::write(tree.join(OsStr::from_bytes(b"etc/odd\xff\n name\x1b")), "").unwrap();
        rustix::fs::mknodat(CWD, tree.join("etc/pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let (key, _) = Key::generate(Use::Any, None).unwrap();
        World { store: Store::new(&home.join("store")), home, tree, key }
    }

    fn rules(&self) -> Rules {
        Rules::of(&[self.tree.as_os_str().as_bytes().to_vec()])
    }

    fn header(&self, parent: Option<Digest>) -> Header {
        Header {
            created: 1,
            host: "here".to_owned(),
            parent,
            signer: self.key.public(),
            successor: None,
            hash: Hash::Sha256,
            rules: self.rules(),
        }
    }

    fn seal(&self, parent: Option<Digest>) -> (u32, Digest, u64) {
        let header = self.header(parent);
        let mut draft = self.store.begin(self.store.lock().unwrap(), &header).unwrap();
        let gaps = look(&header.rules, &Reading::default(), |now| draft.add(now).unwrap());
        assert!(gaps.is_empty(), "{gaps:?}");
        draft.finish(&self.key).unwrap()
    }

    fn changes_at(&self, depth: Depth) -> (Vec<Change>, u64) {
        let baseline = self.store.last().unwrap().unwrap();
        let rules = baseline.header.rules.clone();
        let (mut changes, reading) = (Vec::new(), Reading::default());
        let paths = baseline.paths().unwrap();
        let comparison = Comparison { rules: &rules, depth, workers: 3, reading: &reading };
        comparison
            .run(paths, &mut Tree::new(&rules), |change, _| {
                changes.extend(change);
                Ok(())
            })
            .unwrap();
        (changes, reading.progress.bytes.load(Ordering::Relaxed))
    }

    /// Whether the last baseline is whole and the host key's.
    fn verified(&self, host_key: &Key) -> Result<(), String> {
        let last = self.store.last()?.ok_or("there is none")?;
        self.store.standing(&last, &host_key.public())?;
        last.verify()
    }

    /// The lines of all changes, the tree's own path left out.
    fn changes(&self) -> Vec<String> {
        let tree = format!("{}/", self.tree.display());
        self.changes_at(Depth::All)
            .0
            .iter()
            .map(|change| lines(change, Form::People).replace(&tree, ""))
            .collect()
    }

    fn baseline(&self, number: u32) -> PathBuf {
        self.home.join(format!("store/{number:06}.baseline"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.home);
    }
}

/// Looks at all paths, and hands on what is there. What was not seen.
fn look(rules: &Rules, reading: &Reading, mut tell: impl FnMut(&Entry)) -> Vec<(Vec<u8>, String)> {
    let mut tree = Tree::new(rules);
    let comparison = Comparison { rules, depth: Depth::All, workers: 4, reading };
    comparison
        .run(std::iter::empty(), &mut tree, |_, now| {
            now.into_iter().for_each(&mut tell);
            Ok(())
        })
        .unwrap();
    tree.gaps
}

/// Untouched files are taken for what they were, except one of so many.
fn touched(one_of: u64) -> Depth {
    Depth::Touched(Sample { one_of, seed: 7, recorded: i64::MAX })
}

fn set_times(path: &Path, seconds: i64, nanos: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

#[test]
fn nothing_planted_nothing_found() {
    let world = World::new("calm");
    let (number, _, paths) = world.seal(None);
    assert_eq!((number, paths), (1, 10));
    assert_eq!(world.changes(), Vec::<String>::new());
}

#[test]
fn each_planted_change_is_found() {
    let world = World::new("planted");
    world.seal(None);
    let ls = world.tree.join("bin/ls");
    // Same size, same time, another content.
    let before = fs::metadata(&ls).unwrap();
    fs::write(&ls, "the evil one").unwrap();
    set_times(&ls, before.mtime(), before.mtime_nsec());
    fs::set_permissions(world.tree.join("bin/cat"), fs::Permissions::from_mode(0o4755)).unwrap();
    set_times(&world.tree.join("etc/pam.d/login"), 1_000_000, 5);
    fs::write(world.tree.join("bin/new"), "").unwrap();
    fs::remove_file(world.tree.join("etc/pipe")).unwrap();
    fs::remove_file(world.tree.join("bin/dir")).unwrap();
    symlink("/tmp/evil", world.tree.join("bin/dir")).unwrap();
    let said = world.changes();
    let begins = |start: &str| said.iter().filter(|line| line.starts_with(start)).count();
    assert_eq!(begins("changed  bin/ls: digest "), 1, "{said:#?}");
    assert_eq!(begins("changed  bin/cat: mode "), 1, "{said:#?}");
    assert!(said.iter().any(|line| line.contains("bin/cat: mode") && line.ends_with("-> 4755")), "{said:#?}");
    assert_eq!(begins("changed  etc/pam.d/login: mtime "), 1, "{said:#?}");
    assert_eq!(begins("added    bin/new: file"), 1, "{said:#?}");
    assert_eq!(begins("removed  etc/pipe: pipe"), 1, "{said:#?}");
    assert!(
        said.iter()
            .any(|line| line.starts_with("changed  bin/dir: ") && line.contains("target ls -> /tmp/evil"))
    );
    assert_eq!(said.len(), 6, "{said:#?}");
}

#[test]
fn a_quick_look_reads_what_was_touched_and_finds_the_same() {
    let world = World::new("quick");
    world.seal(None);
    let (none, read) = world.changes_at(touched(0));
    assert_eq!((none.len(), read), (0, 0));
    let ls = world.tree.join("bin/ls");
    let before = fs::metadata(&ls).unwrap();
    fs::write(&ls, "the evil one").unwrap();
    // The time of the content can be set back, that of the inode cannot.
    set_times(&ls, before.mtime(), before.mtime_nsec());
    let (changes, read) = world.changes_at(touched(0));
    assert!(
        matches!(&changes[..], [Change::Changed(_, now, what)] if now.path.ends_with(b"/bin/ls") && what.letters() == "S")
    );
    assert_eq!(read, 12);
    let Change::Changed(_, now, what) = &changes[0] else { panic!() };
    assert!(matches!(now.content, Content::Digest(_)));
    assert_eq!(columns(*what), "..5......");
    assert!(world.changes_at(touched(1)).1 > 12, "each untouched one is read too");
    // What was changed as the record was made may have been changed again in the same tick.
    let racy = Depth::Touched(Sample { one_of: 0, seed: 0, recorded: before.ctime() });
    assert!(world.changes_at(racy).1 > 12);
}

#[test]
fn a_baseline_that_was_damaged_or_forged_is_refused() {
    let world = World::new("forged");
    world.seal(None);
    let path = world.baseline(1);
    let good = fs::read(&path).unwrap();
    for at in (0..good.len()).step_by(7) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, &bad).unwrap();
        assert!(world.verified(&world.key).is_err(), "byte {at} was changed");
    }
    for length in [0, 1, good.len() / 2, good.len() - 1] {
        fs::write(&path, &good[..length]).unwrap();
        assert!(world.verified(&world.key).is_err(), "cut to {length} bytes");
    }
    fs::write(&path, [&good[..], b"x"].concat()).unwrap();
    assert!(world.verified(&world.key).unwrap_err().contains("a signature was expected at its end"));
    // Lines between the paths and what was signed of them, and the same trailer twice.
    let end = good.windows(5).position(|five| five == b"\nend ").unwrap() + 1;
    for between in [&b"x\n"[..], &good[end..]] {
        fs::write(&path, [&good[..end], between, &good[end..]].concat()).unwrap();
        assert!(world.verified(&world.key).is_err());
    }
    fs::write(&path, &good).unwrap();
    let (other, _) = Key::generate(Use::Any, None).unwrap();
    let said = world.verified(&other).unwrap_err();
    assert!(said.contains("it is signed by the key"), "{said}");
    assert_eq!(world.verified(&world.key), Ok(()));
}

#[test]
fn a_baseline_that_changes_while_it_is_read_is_an_error() {
    let world = World::new("swapped");
    world.seal(None);
    let baseline = world.store.last().unwrap().unwrap();
    let path = world.baseline(1);
    let text = fs::read_to_string(&path).unwrap();
    // In place, so that the open file is the changed one.
    fs::write(&path, text.replacen("/bin/ls - ", "/bin/l5 - ", 1)).unwrap();
    let last = baseline.paths().unwrap().last().unwrap();
    assert!(last.unwrap_err().contains("changed while it was read"));
}

#[test]
fn each_baseline_names_the_one_before_it() {
    let world = World::new("chain");
    let (_, first, _) = world.seal(None);
    fs::write(world.tree.join("bin/new"), "").unwrap();
    let (number, second, _) = world.seal(Some(first));
    assert_eq!(number, 2);
    assert_ne!(first, second);
    let last = world.store.last().unwrap().unwrap();
    assert_eq!(last.header.parent, Some(world.store.open(1).unwrap().digest));
    assert_eq!(world.changes(), Vec::<String>::new());
}

#[test]
fn what_was_cut_off_leaves_nothing_and_one_writes_at_a_time() {
    let world = World::new("cut");
    let header = world.header(None);
    let draft = world.store.begin(world.store.lock().unwrap(), &header).unwrap();
    assert!(world.store.lock().unwrap_err().contains("another run"));
    drop(draft);
    assert_eq!(fs::read_dir(world.home.join("store")).unwrap().count(), 0);
    // One that was killed left its file.
    fs::write(world.home.join("store/unfinished"), "half").unwrap();
    assert_eq!(world.seal(None).0, 1);
    assert_eq!(fs::read_dir(world.home.join("store")).unwrap().count(), 1);
}

#[test]
fn a_full_directory_and_what_is_left_out() {
    let world = World::new("full");
    for number in 0..3000 {
        fs::write(world.tree.join(format!("etc/{number}")), "").unwrap();
    }
    fs::write(world.tree.join("etc/x.pyc"), "").unwrap();
    let tree = world.tree.display();
    let text = format!(
        "leave_out = [\"*.pyc\"]\n[paths]\n\"{tree}\" = \"usual\"\n\"{tree}/bin\" = \"off\"\n\"{tree}/bin/ls\" = \"+S\"\n"
    );
    let rules = Rules::read("rules", &text).unwrap();
    let mut seen = Vec::new();
    look(&rules, &Reading::default(), |now| seen.push(now.path.clone()));
    // The tree, bin/ls, etc with its four and the numbers; neither bin itself nor what else is in it.
    assert_eq!(
        seen.len(),
        3000 + 7,
        "{:?}",
        seen.iter().take(9).map(|p| String::from_utf8_lossy(p)).collect::<Vec<_>>()
    );
    assert!(seen.windows(2).all(|pair| portreeve_audit::sealed::entry::order(&pair[0], &pair[1]).is_lt()));
    assert!(!seen.iter().any(|path| path.ends_with(b".pyc") || path.ends_with(b"/bin/cat")));
}

//! What the commands about sealed baselines share: keys and passphrases, who explains a change, how far a run is.

use crate::escape;
use crate::failure::{Failure, system_text};
use crate::output::{Output, Paint};
use portreeve_audit::integrity;
use portreeve_audit::packages::{DPKG, Owner, Owners};
use portreeve_audit::sealed::compare::Change;
use portreeve_audit::sealed::crew::{self, Progress, Task};
use portreeve_audit::sealed::entry::{Entry, order};
use portreeve_audit::sealed::key::Key;
use portreeve_audit::sealed::report::{Form, lines};
use portreeve_audit::sealed::rules::{self, Rules, is_below};
use portreeve_audit::sealed::tree::Step;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Changes that are kept and told; the rest is counted.
pub const MOST_CHANGES: usize = 100_000;

/// Most bytes of a key's file, of a passphrase, of the rules.
const LARGEST: u64 = 1024 * 1024;

/// A failure with a file's name.
pub fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("{}: {}", escape::os(path.as_os_str()), system_text(error)))
}

fn text(path: &Path) -> Result<String, Failure> {
    use std::io::Read;
    let mut text = String::new();
    let file = File::open(path).map_err(|error| failed(path, &error))?;
    file.take(LARGEST).read_to_string(&mut text).map_err(|error| failed(path, &error))?;
    Ok(text)
}

/// The rules of a file; where the usual one is not there, the usual rules.
pub fn rules(path: &Path) -> Result<Rules, Failure> {
    if path == Path::new(rules::PATH) && !path.exists() {
        return Ok(Rules::usual());
    }
    Rules::read(&escape::os(path.as_os_str()), &text(path)?).map_err(Failure::new)
}

/// The key of a file, unlocked.
pub fn key(path: &Path, passphrase_file: Option<&Path>) -> Result<Key, Failure> {
    let ask = || match passphrase_file {
        Some(file) => passphrase_in(file).map_err(|failure| failure.to_string()),
        None => hidden("passphrase: ").map_err(|failure| failure.to_string()),
    };
    let named = |why: String| Failure::new(format!("{}: {why}", escape::os(path.as_os_str())));
    Key::read(&text(path)?, ask).map_err(named)
}

/// The first line of a file.
pub fn passphrase_in(path: &Path) -> Result<Vec<u8>, Failure> {
    let text = text(path)?;
    let line = text.lines().next().filter(|line| !line.is_empty());
    let line = line
        .ok_or_else(|| Failure::new(format!("{}: its first line is empty", escape::os(path.as_os_str()))))?;
    Ok(line.as_bytes().to_vec())
}

/// Asks twice.
pub fn new_passphrase() -> Result<Vec<u8>, Failure> {
    let first = hidden("new passphrase: ")?;
    if first.is_empty() {
        return Err(Failure::with_help("the passphrase is empty", "--no-passphrase makes a key without one"));
    }
    if hidden("again: ")? == first { Ok(first) } else { Err(Failure::new("these were two passphrases")) }
}

/// A line from the terminal that is not shown.
fn hidden(prompt: &str) -> Result<Vec<u8>, Failure> {
    let help = "no terminal to ask for the passphrase: --passphrase-file names a file";
    let tty = File::options().read(true).write(true).open("/dev/tty").map_err(|_| Failure::new(help))?;
    let before = tcgetattr(&tty).map_err(|error| failed(Path::new("/dev/tty"), &error.into()))?;
    let mut quiet = before.clone();
    quiet.local_modes.remove(LocalModes::ECHO);
    let _ = (&tty).write_all(prompt.as_bytes());
    tcsetattr(&tty, OptionalActions::Flush, &quiet)
        .map_err(|error| failed(Path::new("/dev/tty"), &error.into()))?;
    let mut line = Vec::new();
    let read = BufReader::new(&tty).read_until(b'\n', &mut line);
    let _ = tcsetattr(&tty, OptionalActions::Flush, &before);
    let _ = (&tty).write_all(b"\n");
    read.map_err(|error| failed(Path::new("/dev/tty"), &error))?;
    Ok(line.trim_ascii_end().to_vec())
}

/// Writes a file that must not exist.
pub fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = File::options();
    let file = options.write(true).create_new(true).mode(mode).open(path);
    let mut file = file.map_err(|error| failed(path, &error))?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(|error| {
        // Half a file is none.
        let _ = std::fs::remove_file(path);
        failed(path, &error)
    })
}

/// Looks at these paths and hands on those that are there.
pub fn look_at(steps: impl Iterator<Item = Step>, mut tell: impl FnMut(Entry)) {
    let tasks = steps.map(|step| Task::Look(step, None, false));
    let told = crew::work(tasks, 1, &Progress::default(), |seen| {
        if let Ok(now) = seen.now {
            tell(now);
        }
        Ok::<(), std::convert::Infallible>(())
    });
    told.unwrap_or_else(|never| match never {});
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The host's name.
pub fn host() -> String {
    String::from_utf8_lossy(rustix::system::uname().nodename().to_bytes()).into_owned()
}

/// Threads that read: as many as there are processors, and one more that waits for the disk.
pub fn workers() -> usize {
    std::thread::available_parallelism().map_or(2, |n| n.get() + 1).min(64)
}

/// The digest as a picture.
pub fn picture(digest: &str) -> Result<String, Failure> {
    use qrcode::render::unicode::Dense1x2;
    let code = qrcode::QrCode::new(digest).map_err(|error| Failure::new(format!("no picture: {error}")))?;
    Ok(code.render::<Dense1x2>().build() + "\n")
}

/// Changes, sorted by whether a package explains them.
#[derive(Debug, Default)]
pub struct Judged {
    /// Nobody explains them.
    pub unexplained: Vec<Change>,
    /// By package.
    pub explained: BTreeMap<String, Vec<Change>>,
    /// Recorded paths that are below one which could not be entered: nobody knows what became of them.
    pub unknown: usize,
}

impl Judged {
    /// A change is explained when the file is a package's and is what that package brought: its sum, its kind, its presence. What is
    /// below a path that could not be entered is not told as lost. The database of packages is that below `root`.
    pub fn new(changes: Vec<Change>, gaps: &[(Vec<u8>, String)], root: &Path) -> Self {
        let mut judged = Self::default();
        let unknown = |change: &Change| {
            matches!(change, Change::Removed(_)) && gaps.iter().any(|(path, _)| is_below(change.path(), path))
        };
        let mut changes = changes;
        let all = changes.len();
        changes.retain(|change| !unknown(change));
        judged.unknown = all - changes.len();
        let path_of = |change: &Change| String::from_utf8(change.path().to_vec()).ok();
        let paths: BTreeSet<String> = changes.iter().filter_map(path_of).collect();
        let owners = Owners::of(&root.join(DPKG.trim_start_matches('/')), None, &paths);
        let owner = |change: &Change| match owners.owner(&path_of(change)?) {
            Owner::Package(name) => Some(name),
            Owner::Nobody | Owner::Unknown(_) => None,
        };
        let names: BTreeSet<String> = changes.iter().filter_map(owner).collect();
        let names: Vec<String> = names.into_iter().collect();
        let looked = if names.is_empty() {
            Ok(integrity::Integrity::default())
        } else {
            integrity::packages(root, &names, &integrity::Progress::default())
        };
        // Where the packages cannot be looked at, they explain nothing.
        let wrong: Option<HashSet<Vec<u8>>> = looked
            .ok()
            .filter(|looked| looked.more == 0 && looked.gaps.is_empty() && looked.without_sums == 0)
            .map(|looked| looked.differences.into_iter().map(|difference| difference.path).collect());
        for change in changes {
            let there = matches!(change, Change::Added(_) | Change::Changed(..));
            // Lists of packages have the names from before the directories were merged, too.
            let path = change.path();
            let short = path.strip_prefix(b"/usr").unwrap_or(path);
            let as_brought =
                wrong.as_ref().is_some_and(|wrong| !wrong.contains(path) && !wrong.contains(short));
            match owner(&change).filter(|_| there && as_brought && content_alone(&change)) {
                Some(package) => judged.explained.entry(package).or_default().push(change),
                None => judged.unexplained.push(change),
            }
        }
        judged
    }

    /// All of them, by path.
    pub fn all(&self) -> Vec<Change> {
        let mut all: Vec<Change> =
            self.unexplained.iter().chain(self.explained.values().flatten()).cloned().collect();
        all.sort_by(|a, b| order(a.path(), b.path()));
        all
    }
}

/// Whether nothing changed of which a package's sums say nothing: who owns it and who may do what.
fn content_alone(change: &Change) -> bool {
    match change {
        Change::Changed(_, _, what) => {
            ['t', 'p', 'u', 'g', 'x', 'e', 'r'].iter().all(|letter| !what.has(*letter))
        }
        // A set-uid file that is new is told even where a package brought it.
        Change::Added(now) => now.mode & 0o6000 == 0 && now.attributes.is_empty(),
        Change::Removed(_) | Change::Unseen(..) => false,
    }
}

/// What was not looked at, a line each.
pub fn tell_gaps(out: &mut Output<'_>, gaps: &[(Vec<u8>, String)], unseen: &[Change]) -> io::Result<()> {
    for (path, why) in gaps {
        let path = String::from_utf8_lossy(path);
        writeln!(
            out,
            "{} {}: {}",
            out.paint(Paint::Yellow, "not seen:"),
            escape::text(&path),
            escape::text(why)
        )?;
    }
    for change in unseen {
        writeln!(out, "{}", escape::text(&lines(change, Form::People)))?;
    }
    Ok(())
}

/// Does something and shows on a terminal how far it is, from the second second on.
pub fn watched<T>(progress: &Progress, all: Option<u64>, work: impl FnOnce() -> T) -> T {
    if !io::stderr().is_terminal() {
        return work();
    }
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| show(progress, all, &over));
        let done = work();
        over.store(true, Ordering::Relaxed);
        done
    })
}

fn show(progress: &Progress, all: Option<u64>, over: &AtomicBool) {
    let begun = Instant::now();
    let mut shown = false;
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(100));
        let elapsed = begun.elapsed();
        if elapsed < Duration::from_secs(1) {
            continue;
        }
        shown = true;
        let (paths, bytes) = (progress.paths.load(Ordering::Relaxed), progress.bytes.load(Ordering::Relaxed));
        let line = bar(paths, bytes, all, elapsed);
        let _ = write!(io::stderr(), "\r{line}\x1b[K");
    }
    if shown {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
}

fn bar(paths: u64, bytes: u64, all: Option<u64>, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs().max(1);
    let rate = (bytes >> 20) / seconds;
    match all.filter(|all| *all > 0) {
        None => format!("{paths} paths, {} MiB, {rate} MiB/s", bytes >> 20),
        Some(all) => {
            let left = all.saturating_sub(paths) * seconds / paths.max(1);
            let percent = (paths * 100 / all).min(100);
            format!("{percent} % of {all} paths, {rate} MiB/s, {} left", crate::answer::span(left))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, mode: u32) -> Entry {
        use portreeve_audit::sealed::entry::{Content, Kind};
        Entry {
            path: path.into(),
            kind: Kind::File,
            mode,
            uid: 0,
            gid: 0,
            size: 3,
            mtime: (1, 0),
            ctime: (1, 0),
            inode: 1,
            device: 1,
            links: 1,
            rdev: 0,
            content: Content::Digest([0; 32]),
            target: Vec::new(),
            attributes: Vec::new(),
            flags: None,
        }
    }

    /// A system with one package, whose files are below /bin as before the directories were merged.
    fn root(name: &str, content: &str) -> std::path::PathBuf {
        let root = std::env::temp_dir().join(format!("portreeve-sealing-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(root.join("var/lib/dpkg/info")).unwrap();
        std::fs::create_dir_all(root.join("usr/bin")).unwrap();
        std::os::unix::fs::symlink("usr/bin", root.join("bin")).unwrap();
        std::fs::write(root.join("usr/bin/tool"), content).unwrap();
        let status = "Package: tool\nStatus: install ok installed\nArchitecture: all\nVersion: 2\n\n";
        std::fs::write(root.join("var/lib/dpkg/status"), status).unwrap();
        std::fs::write(root.join("var/lib/dpkg/info/tool.list"), "/.\n/bin\n/bin/tool\n").unwrap();
        // That of `new`.
        let sums = "22af645d1859cb5ca6da0c484f1f37ea  bin/tool\n";
        std::fs::write(root.join("var/lib/dpkg/info/tool.md5sums"), sums).unwrap();
        root
    }

    fn judge(content: &str, what: &str) -> (usize, usize) {
        let root = root(what, content);
        let mask = portreeve_audit::sealed::mask::Mask::read(what).unwrap();
        let path = "/usr/bin/tool";
        let changed = Change::Changed(Box::new(entry(path, 0o755)), Box::new(entry(path, 0o755)), mask);
        let new = Change::Added(Box::new(entry("/usr/bin/stranger", 0o755)));
        let judged = Judged::new(vec![changed, new], &[], &root);
        let _ = std::fs::remove_dir_all(&root);
        (judged.explained.get("tool").map_or(0, Vec::len), judged.unexplained.len())
    }

    #[test]
    fn a_package_explains_what_it_brought_and_nothing_else() {
        assert_eq!(judge("new", "smS"), (1, 1));
        // Another content than the package's, also under the name that its list has not.
        assert_eq!(judge("bad", "smS+"), (0, 2));
        // Who may do what is nothing that a sum explains.
        assert_eq!(judge("new", "smSp"), (0, 2));
    }

    #[test]
    fn what_is_below_a_gap_is_not_lost() {
        let lost = || Change::Removed(Box::new(entry("/srv/a/b", 0o644)));
        let gap = (b"/srv/a".to_vec(), "mounted".to_owned());
        let judged = Judged::new(vec![lost()], &[gap], Path::new("/nonexistent"));
        assert_eq!((judged.unexplained.len(), judged.unknown), (0, 1));
        assert_eq!(Judged::new(vec![lost()], &[], Path::new("/nonexistent")).unexplained.len(), 1);
    }

    #[test]
    fn the_bar_says_what_is_known() {
        assert_eq!(bar(10, 5 << 20, None, Duration::from_secs(5)), "10 paths, 5 MiB, 1 MiB/s");
        assert_eq!(bar(50, 0, Some(100), Duration::from_secs(5)), "50 % of 100 paths, 0 MiB/s, 5s left");
    }
}

//! Who explains a change: the package that brought the file, where its database says that it is as it was brought. Changes nothing.

use portreeve_audit::integrity;
use portreeve_audit::integrity::rpm::{Compared, Record};
use portreeve_audit::integrity::transactions::{Done, Transaction, Transactions};
use portreeve_audit::packages::{DPKG, Owner, Owners};
use portreeve_audit::sealed::compare::Change;
use portreeve_audit::sealed::entry::{Kind, order};
use portreeve_audit::sealed::rules::is_below;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;
use std::path::Path;

/// Changes, sorted by whether a package explains them.
#[derive(Debug, Default)]
pub struct Judged {
    /// Nobody explains them.
    pub unexplained: Vec<Change>,
    /// By package.
    pub explained: BTreeMap<String, Vec<Change>>,
    /// What was done with these packages, as far as dpkg's log or rpm's database says.
    pub transactions: BTreeMap<String, Transaction>,
    /// Why no package explains anything, where they could not be looked at to the end.
    pub gap: Option<String>,
    /// Recorded paths that are below one which could not be entered: nobody knows what became of them.
    pub unknown: usize,
}

impl Judged {
    /// A change is explained when the file is a package's and is what that package brought, by its sum, its kind, its presence (of rpm: by all that
    /// it compares), and dpkg's log or rpm's database says of the package that it was installed since, unless the log does not reach back to then. What is
    /// below a path that could not be entered is not told as lost. The database of packages is that below `root`; `since` is in seconds since 1970.
    pub fn new(changes: Vec<Change>, gaps: &[(Vec<u8>, String)], root: &Path, since: u64) -> Self {
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
        let brought = Packages::of(root, &paths, since);
        judged.gap = brought.wrong.as_ref().err().cloned();
        // Where a link leads no list of dpkg's says: first what else the packages brought.
        let (links, others): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(|change| brought.rpm.is_none() && new_target(change).is_some());
        for change in others {
            let by = path_of(&change).and_then(|path| brought.explain(&change, &path));
            judged.add(change, by);
        }
        for change in links {
            let by = path_of(&change).and_then(|path| brought.explain(&change, &path));
            let by = by.filter(|(package, _)| judged.brought_target(package, &change));
            judged.add(change, by);
        }
        let sort = |all: &mut Vec<Change>| all.sort_by(|a, b| order(a.path(), b.path()));
        sort(&mut judged.unexplained);
        judged.explained.values_mut().for_each(sort);
        judged
    }

    fn add(&mut self, change: Change, by: Option<(String, Option<Transaction>)>) {
        match by {
            Some((package, done)) => {
                if let Some(done) = done {
                    self.transactions.insert(package.clone(), done);
                }
                self.explained.entry(package).or_default().push(change);
            }
            None => self.unexplained.push(change),
        }
    }

    /// Whether a link leads to a file that is new with the same package, as `libx.so.1` to its next version. Any other place may be somebody's
    /// who made the link, also one that the package had before.
    fn brought_target(&self, package: &str, change: &Change) -> bool {
        let Some(target) = new_target(change) else { return false };
        let Some(target) = lexically(change.path(), target) else { return false };
        self.explained.get(package).is_some_and(|all| {
            let is_new = |one: &Change| matches!(one, Change::Added(now) if now.kind == Kind::File);
            all.iter().any(|one| is_new(one) && one.path() == target)
        })
    }

    /// All of them, by path.
    pub fn all(&self) -> Vec<Change> {
        let mut all: Vec<Change> =
            self.unexplained.iter().chain(self.explained.values().flatten()).cloned().collect();
        all.sort_by(|a, b| order(a.path(), b.path()));
        all
    }
}

/// Where a link leads that did not lead there.
fn new_target(change: &Change) -> Option<&[u8]> {
    match change {
        Change::Added(now) if now.kind == Kind::Link => Some(&now.target),
        Change::Changed(_, now, what) if now.kind == Kind::Link && what.has('k') => Some(&now.target),
        _ => None,
    }
}

/// The path that a link names, where no other link is followed.
fn lexically(link: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    let above = link.get(..link.iter().rposition(|byte| *byte == b'/')?)?;
    let mut parts: Vec<&[u8]> = Vec::new();
    let whole = if target.starts_with(b"/") { target.to_vec() } else { [above, target].join(&b'/') };
    for part in whole.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    Some([b"/".as_slice(), &parts.join(&b'/')].concat())
}

/// What the packages of a system say of some paths.
struct Packages {
    owners: Owners,
    /// What they say is not as it was brought; or why they cannot be looked at: then they explain nothing.
    wrong: Result<HashSet<Vec<u8>>, String>,
    /// Where dpkg keeps them: of which files it has a sum.
    summed: HashSet<Vec<u8>>,
    /// Where rpm keeps them: what it compares of each file.
    rpm: Option<Record>,
    transactions: Transactions,
}

impl Packages {
    fn of(root: &Path, paths: &BTreeSet<String>, since: u64) -> Self {
        let since = i64::try_from(since).unwrap_or(i64::MAX);
        let dpkg = root.join("var/lib/dpkg/status").exists();
        let place = root.join(DPKG.trim_start_matches('/'));
        // Where dpkg keeps the packages, what rpm would say explains nothing.
        let owners = Owners::of(&place, dpkg.then_some(Path::new("/nonexistent")), paths);
        let mut names: Vec<String> = paths
            .iter()
            .filter_map(|path| match owners.owner(path) {
                Owner::Package(name) => Some(name),
                Owner::Nobody | Owner::Unknown(_) => None,
            })
            .collect();
        names.sort_unstable();
        names.dedup();
        let kept = |looked: io::Result<integrity::Integrity>| {
            let looked = looked.map_err(|error| error.to_string())?;
            match looked.gaps.into_iter().next() {
                Some(gap) => Err(gap),
                None if looked.more > 0 || looked.without_sums > 0 => {
                    Err("more differs than is kept, or packages have no sums".to_owned())
                }
                None => Ok(looked.differences.into_iter().map(|one| one.path).collect()),
            }
        };
        if dpkg || !integrity::rpm::is_there(root) {
            let asked: BTreeSet<&[u8]> =
                paths.iter().flat_map(|path| [path.as_bytes(), short(path).as_bytes()]).collect();
            let (looked, summed) = match names.as_slice() {
                [] => (Ok(integrity::Integrity::default()), Ok(HashSet::new())),
                names => (
                    integrity::packages(root, names, &integrity::Progress::default()),
                    integrity::summed(root, names, &asked),
                ),
            };
            return Self {
                owners,
                wrong: kept(looked),
                summed: summed.unwrap_or_default(),
                rpm: None,
                transactions: Transactions::since(root, since),
            };
        }
        let wanted = paths.iter().map(|path| path.as_bytes().to_vec()).collect();
        let (record, unknown) = match integrity::rpm::record(root, &names, &wanted) {
            Ok(record) => (record, None),
            Err(error) => (Record::default(), Some(error.to_string())),
        };
        let looked = match names.as_slice() {
            [] => Ok(integrity::Integrity::default()),
            names => integrity::rpm::packages(root, names),
        };
        let wrong = unknown.map_or_else(|| kept(looked), Err);
        let transactions = Transactions::of_rpm(&record, since);
        Self { owners, wrong, summed: HashSet::new(), rpm: Some(record), transactions }
    }

    /// Who explains a change, and by what that was done.
    fn explain(&self, change: &Change, path: &str) -> Option<(String, Option<Transaction>)> {
        let Owner::Package(package) = self.owners.owner(path) else { return None };
        let wrong = self.wrong.as_ref().ok()?;
        let either =
            |set: &HashSet<Vec<u8>>| set.contains(path.as_bytes()) || set.contains(short(path).as_bytes());
        if either(wrong) {
            return None;
        }
        // A file that stands in a list without a sum may hold anything.
        let is_file = match change {
            Change::Added(now) | Change::Changed(_, now, _) => now.kind == Kind::File,
            Change::Removed(_) | Change::Unseen(..) => false,
        };
        if self.rpm.is_none() && is_file && !either(&self.summed) {
            return None;
        }
        let compared = match &self.rpm {
            // What rpm says nothing about it may not have looked at: a ghost, a merged directory's other name.
            Some(record) => Some(*record.files.get(path.as_bytes())?),
            None => None,
        };
        if !covers(change, compared) {
            return None;
        }
        match self.transactions.of(&package) {
            Done::By(done) => Some((package, Some(done.clone()))),
            Done::Unknown => Some((package, None)),
            Done::Nothing => None,
        }
    }
}

/// Lists of packages have the names from before the directories were merged, too.
fn short(path: &str) -> &str {
    path.strip_prefix("/usr").unwrap_or(path)
}

/// Whether nothing changed of which the package says nothing. dpkg has sums alone; rpm has what it compares: owners, modes and capabilities too.
fn covers(change: &Change, compared: Option<Compared>) -> bool {
    let by = |letter| compared.is_some_and(|compared| compared.has(letter));
    let content = |kind: Kind| match (kind, compared) {
        (_, None) => true,
        (Kind::File, _) => by('5'),
        (Kind::Link, _) => by('L'),
        _ => by('M'),
    };
    match change {
        Change::Changed(before, now, what) => {
            // A set-uid bit that is new is told whoever brought it.
            let privileged = now.mode & 0o6000 & !before.mode != 0;
            let rest = [('p', 'M'), ('u', 'U'), ('g', 'G'), ('P', 'P'), ('r', 'D')];
            content(now.kind)
                && !privileged
                && ['t', 'x', 'A', 'Z', 'e'].iter().all(|letter| !what.has(*letter))
                && rest.iter().all(|(ours, theirs)| !what.has(*ours) || by(*theirs))
        }
        // A set-uid file that is new, or one with capabilities, is told even where a package brought it; and one of which it says neither
        // whose it is nor who may write it. A link has no mode.
        Change::Added(now) => {
            let told = |letter| compared.is_none() || by(letter);
            content(now.kind)
                && (now.kind == Kind::Link || told('M'))
                && told('U')
                && told('G')
                && now.mode & 0o6000 == 0
                && now.attributes.is_empty()
        }
        Change::Removed(_) | Change::Unseen(..) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portreeve_audit::sealed::entry::Entry;

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
            known: portreeve_audit::sealed::mask::Mask::ALL,
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
        let judged = Judged::new(vec![changed, new], &[], &root, 0);
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
    fn who_brought_it_must_have_come_since() {
        let root = root("log", "new");
        let mask = portreeve_audit::sealed::mask::Mask::read("smS").unwrap();
        let path = "/usr/bin/tool";
        let changed = Change::Changed(Box::new(entry(path, 0o755)), Box::new(entry(path, 0o755)), mask);
        std::fs::create_dir_all(root.join("var/log")).unwrap();
        let judge = |log: &str| {
            std::fs::write(root.join("var/log/dpkg.log"), log).unwrap();
            // In the year 2000.
            Judged::new(vec![changed.clone()], &[], &root, 950_000_000)
        };
        let before = "1999-01-01 00:00:00 startup archives unpack\n";
        let upgrade = "2001-01-01 00:00:00 upgrade tool:all 1 2\n";
        assert_eq!(judge(before).unexplained.len(), 1);
        let explained = judge(&[before, upgrade].concat());
        assert_eq!(explained.transactions["tool"].what, "upgrade 1 -> 2");
        // The log does not reach back: nobody knows.
        assert_eq!(judge("2001-01-01 00:00:00 startup archives unpack\n").explained.len(), 1);
        let _ = std::fs::remove_dir_all(&root);
    }

    /// Where a package says nothing of mode or owner, nobody answers for those of a file that was not there before.
    #[test]
    fn a_new_file_is_explained_where_content_mode_and_owners_are() {
        let new = Change::Added(Box::new(entry("/usr/bin/new", 0o777)));
        for (letters, explained) in [
            ("5SLUGTMDP", true),
            ("5UGM", true),
            ("5UG", false),
            ("5GM", false),
            ("5UM", false),
            ("UGM", false),
        ] {
            assert_eq!(covers(&new, Some(Compared::of(letters))), explained, "{letters}");
        }
        assert!(covers(&new, None), "dpkg");
        let link = Change::Added(Box::new(Entry { kind: Kind::Link, ..entry("/usr/bin/link", 0o777) }));
        assert!(covers(&link, Some(Compared::of("LUG"))) && !covers(&link, Some(Compared::of("LU"))));
    }

    #[test]
    fn what_is_below_a_gap_is_not_lost() {
        let lost = || Change::Removed(Box::new(entry("/srv/a/b", 0o644)));
        let gap = (b"/srv/a".to_vec(), "mounted".to_owned());
        let judged = Judged::new(vec![lost()], &[gap], Path::new("/nonexistent"), 0);
        assert_eq!((judged.unexplained.len(), judged.unknown), (0, 1));
        assert_eq!(Judged::new(vec![lost()], &[], Path::new("/nonexistent"), 0).unexplained.len(), 1);
    }
}

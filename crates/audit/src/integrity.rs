//! Whether the files of packages still are what the packages brought. Looks only. Memory is bounded by the largest package, not by
//! the number of files: each is read again when its turn comes, and only differences are kept.

mod brought; //  single files
pub mod check; // from differences to findings
mod columns; //  rpm's nine columns, and our words
mod dpkg; //     dpkg's database, read below a root
mod exclude; //  what dpkg's own configuration leaves out
pub mod rpm; //  the same through rpm
pub mod transactions; // what dpkg's log says it did
mod verify; //   one file beside what is known of it

pub use brought::Brought;
pub use columns::Columns;
pub use verify::Found;

use dpkg::{Database, Listed, Package};
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use verify::Verifier;

/// Differences that are kept; the rest is counted.
const MOST_KEPT: usize = 200_000;
/// A package of more than this is looked at by several threads.
const PART: u64 = 32 << 20;
const MOST_PARTS: u64 = 64;
/// Threads, whatever the machine has.
const MOST_THREADS: usize = 64;

/// A file that is not what its package brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its name, below the root that was looked at.
    pub path: Vec<u8>,
    /// The package.
    pub package: String,
    /// A file of configuration, which is there to be changed.
    pub conffile: bool,
    /// What was found.
    pub found: Found,
}

impl Difference {
    /// The line of `rpm -V`, with the name escaped.
    pub fn line(&self) -> String {
        let mark = if self.conffile { 'c' } else { ' ' };
        format!("{} {mark} {}", self.found.columns(), shown(&self.path))
    }

    /// The fields for machines.
    pub fn json(&self) -> Value {
        let sum = |sum: [u8; 16]| sum.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let (expected, found) = match &self.found {
            Found::Differs { sums: Some((expected, found)), .. } => (Some(sum(*expected)), Some(sum(*found))),
            _ => (None, None),
        };
        json!({
            "path": shown(&self.path),
            "package": self.package,
            "conffile": self.conffile,
            "columns": self.found.columns(),
            "what": self.found.words(),
            "expected_md5": expected,
            "found_md5": found,
        })
    }
}

/// A name with whatever is no plain text as `\xNN`.
pub fn shown(path: &[u8]) -> String {
    let mut text = String::new();
    for chunk in path.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                letter if letter.is_control() => text.push_str(&format!("\\x{:02x}", u32::from(letter))),
                letter => text.push(letter),
            }
        }
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

/// What was found, and what could not be looked at.
#[derive(Debug, Default)]
pub struct Integrity {
    /// In order of their names.
    pub differences: Vec<Difference>,
    /// More than are kept.
    pub more: usize,
    /// Packages, files that were looked at, and bytes that were read.
    pub packages: usize,
    /// Files that were looked at.
    pub files: usize,
    /// Bytes that were read.
    pub bytes: u64,
    /// Files that dpkg's own configuration leaves out, and that are not there.
    pub excluded: usize,
    /// Packages without a list of sums: of their files only the presence is known.
    pub without_sums: usize,
    /// What could not be looked at, in sentences.
    pub gaps: Vec<String>,
}

impl Integrity {
    /// The whole for machines.
    pub fn json(&self) -> Value {
        json!({
            "differences": self.differences.iter().map(Difference::json).collect::<Vec<_>>(),
            "more": self.more,
            "packages": self.packages,
            "files": self.files,
            "bytes": self.bytes,
            "excluded": self.excluded,
            "packages_without_sums": self.without_sums,
            "gaps": self.gaps,
        })
    }

    /// Those that count: a changed file of configuration is what it is there for.
    pub fn open(&self) -> impl Iterator<Item = &Difference> {
        self.differences.iter().filter(|difference| !difference.conffile)
    }
}

/// How far it is, for whoever looks on.
#[derive(Debug, Default)]
pub struct Progress {
    done: AtomicU64,
    all: AtomicU64,
    over: AtomicBool,
}

impl Progress {
    /// Weights that are done, and all of them. They are the packages' sizes as far as those are known.
    pub fn get(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.all.load(Ordering::Relaxed))
    }

    /// Whether nothing more comes.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

/// Which of these paths dpkg's packages have a sum of, by the names that the lists have. Of all others their lists say that they are there, and no more.
///
/// # Errors
/// The database cannot be read.
pub fn summed(root: &Path, packages: &[String], paths: &BTreeSet<&[u8]>) -> io::Result<HashSet<Vec<u8>>> {
    let database = Database::read(root)?;
    let mut found = HashSet::new();
    for package in database.packages.iter().filter(|package| packages.iter().any(|name| package.is(name))) {
        let files = database.files(package, 0, 1).map_err(io::Error::other)?.all;
        let known = files.iter().filter(|listed| listed.sum.is_some() && paths.contains(listed.really()));
        found.extend(known.map(|listed| listed.really().to_vec()));
    }
    Ok(found)
}

/// A share of a package's files.
struct Part<'a> {
    package: &'a Package,
    number: u64,
    of: u64,
}

/// Looks at the files of all packages of dpkg below `root`, or of those that are named.
///
/// # Errors
/// There is no database, a package that is named is not in it, or a thread cannot be started.
pub fn packages(root: &Path, only: &[String], progress: &Progress) -> io::Result<Integrity> {
    let looked = look(root, only, progress);
    progress.over.store(true, Ordering::Relaxed);
    looked
}

fn look(root: &Path, only: &[String], progress: &Progress) -> io::Result<Integrity> {
    let mut database = Database::read(root)?;
    if let Some(unknown) = only.iter().find(|name| !database.packages.iter().any(|package| package.is(name)))
    {
        return Err(io::Error::other(format!("no package {unknown} is installed")));
    }
    if !only.is_empty() {
        database.packages.retain(|package| only.iter().any(|name| package.is(name)));
    }
    // The largest first, so that none is left for the end.
    database.packages.sort_by_key(|package| std::cmp::Reverse(package.size));
    let parts: Vec<Part<'_>> = database.packages.iter().flat_map(shares).collect();
    progress.all.store(parts.iter().map(weight).sum(), Ordering::Relaxed);
    let verifier = Verifier::new(root)?;
    let next = AtomicUsize::new(0);
    let whole = Mutex::new(Integrity {
        packages: database.packages.len(),
        gaps: database.gaps.clone(),
        ..Integrity::default()
    });
    let work = || {
        let mut buffer = vec![0; 256 << 10];
        while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
            let found = look_at(&database, &verifier, part, &mut buffer);
            if let Ok(mut whole) = whole.lock() {
                add(&mut whole, found);
            }
            progress.done.fetch_add(weight(part), Ordering::Relaxed);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).clamp(1, MOST_THREADS);
    std::thread::scope(|scope| {
        for _ in 1..threads {
            // With fewer it takes longer.
            drop(std::thread::Builder::new().spawn_scoped(scope, work));
        }
        work();
    });
    let mut whole = whole.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    whole.differences.sort_by(|a, b| (&a.path, &a.package).cmp(&(&b.path, &b.package)));
    // Libraries of several architectures share files; one line is enough.
    whole.differences.dedup_by(|a, b| a.path == b.path && a.found == b.found);
    Ok(whole)
}

fn shares(package: &Package) -> impl Iterator<Item = Part<'_>> {
    let of = (package.size / PART + 1).min(MOST_PARTS);
    (0..of).map(move |number| Part { package, number, of })
}

fn weight(part: &Part<'_>) -> u64 {
    part.package.size / part.of + 4096
}

fn add(whole: &mut Integrity, found: Integrity) {
    let room = MOST_KEPT.saturating_sub(whole.differences.len());
    whole.more += found.differences.len().saturating_sub(room);
    whole.differences.extend(found.differences.into_iter().take(room));
    whole.files += found.files;
    whole.bytes += found.bytes;
    whole.excluded += found.excluded;
    whole.without_sums += found.without_sums;
    for gap in found.gaps {
        if whole.gaps.len() < 100 && !whole.gaps.contains(&gap) {
            whole.gaps.push(gap);
        }
    }
}

fn look_at(database: &Database, verifier: &Verifier, part: &Part<'_>, buffer: &mut [u8]) -> Integrity {
    let mut integrity = Integrity::default();
    let files = match database.files(part.package, part.number, part.of) {
        Ok(files) => files,
        Err(gap) => {
            integrity.gaps.push(gap);
            return integrity;
        }
    };
    integrity.without_sums = usize::from(part.number == 0 && files.without_sums);
    for listed in &files.all {
        let Listed { path, .. } = listed;
        integrity.files += 1;
        let (found, bytes) = verifier.look(listed, database.ordered(path), buffer);
        integrity.bytes += bytes;
        match found {
            Found::Same => {}
            Found::Missing if database.excludes(path) => integrity.excluded += 1,
            Found::Unreadable(why) => {
                integrity.gaps.push(format!("{} cannot be read: {why}", shown(path)));
            }
            found => integrity.differences.push(Difference {
                path: listed.really().to_vec(),
                package: part.package.name.clone(),
                conffile: listed.conffile,
                found,
            }),
        }
    }
    integrity
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_as_text() {
        assert_eq!(shown(b"/a\x1b[2J\xff\n/\xc3\xa9"), "/a\\x1b[2J\\xff\\x0a/\u{e9}");
    }
}

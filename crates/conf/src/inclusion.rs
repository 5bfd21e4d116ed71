//! Follows `include` and `includedir` and puts what all files say into one order. Owns the bounds that keep a cycle or a
//! tree of files from running away; understands no attribute.

use crate::ast::{Entry, Inclusion, Item, Word};
use crate::codes;
use crate::content::Content;
use crate::diagnostic::{Classic, Level};
use crate::host::{DirEntry, Host, SystemError};
use crate::inetd;
use crate::lex::Source;
use crate::report::{Finding, Order, Report};
use crate::sources::InetdUse;
use crate::syntax::{self, Event};
use crate::systemd;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

/// Inclusions inside one another.
const DEEPEST: usize = 16;
/// Files in all.
const MOST_FILES: usize = 4096;
/// Lines of a section, rather too few, to begin with enough room for all of a file.
const USUAL_SECTION: usize = 8;
/// But not for more than so many.
const MOST_FORESEEN: usize = 4096;
/// Bytes in all.
const MOST_BYTES: usize = 64 << 20;

/// A section with its place in the order of reading.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) entry: Entry,
    base: Order,
}

impl Found {
    /// Where a line of this section stands in the order of reading.
    pub(crate) fn order(&self, line: u32) -> Order {
        self.base + Order::from(line)
    }

    /// Where the section starts.
    pub(crate) fn start(&self) -> Order {
        self.order(self.entry.place.line)
    }
}

/// A service whose section was never read.
#[derive(Debug)]
pub(crate) struct Lost {
    pub(crate) name: Word,
    pub(crate) reason: String,
    /// Somebody wants it so.
    pub(crate) intended: bool,
    pub(crate) order: Order,
}

/// What all files say.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub(crate) found: Vec<Found>,
    pub(crate) lost: Vec<Lost>,
    pub(crate) files: Vec<PathBuf>,
}

/// Reads the main file and all that it includes; the error of the main file, if it cannot be read.
pub(crate) fn gather(host: &dyn Host, main: &Path, report: &mut Report) -> Result<Gathered, SystemError> {
    let content = host.content(main)?;
    let mut gatherer =
        Gatherer { host, report, gathered: Gathered::default(), next: 0, bytes: 0, full: false };
    gatherer.file(main, content, &mut Vec::new());
    Ok(gatherer.gathered)
}

/// Adds what an inetd.conf says, after all that was gathered; the file's error, if it cannot be read.
pub(crate) fn gather_inetd(
    host: &dyn Host,
    path: &Path,
    usage: InetdUse,
    gathered: &mut Gathered,
    report: &mut Report,
) -> Result<(), SystemError> {
    let content = host.content(path)?;
    gathered.files.push(path.to_owned());
    let source = Rc::new(Source::new(&path.to_string_lossy(), content.clone()));
    report.source(&source);
    let base = gathered.behind();
    let entries = inetd::gather(&path.to_string_lossy(), content.bytes(), usage, base, report);
    gathered.found.extend(entries.into_iter().map(|entry| Found { entry, base }));
    Ok(())
}

/// Adds what units of systemd say, after all that was gathered; the path that cannot be read, and why.
pub(crate) fn gather_units(
    host: &dyn Host,
    paths: &[PathBuf],
    gathered: &mut Gathered,
    report: &mut Report,
) -> Result<(), (PathBuf, SystemError)> {
    let units = systemd::gather(host, paths, gathered.behind(), report)?;
    gathered.files.extend(units.files);
    gathered.lost.extend(units.lost);
    let found = |(base, entry)| Found { entry, base };
    gathered.found.extend(units.entries.into_iter().map(found));
    Ok(())
}

impl Gathered {
    /// The order of what is read next from elsewhere.
    fn behind(&self) -> Order {
        self.found.iter().map(|found| found.start() + 1).max().unwrap_or(0) + (Order::MAX >> 3)
    }
}

struct Gatherer<'a> {
    host: &'a dyn Host,
    report: &'a mut Report,
    gathered: Gathered,
    next: Order,
    bytes: usize,
    full: bool,
}

/// Without `.` and doubled slashes, so that a cycle is seen however it is spelled.
fn plain(path: &Path) -> PathBuf {
    path.components().filter(|component| *component != Component::CurDir).collect()
}

impl Gatherer<'_> {
    fn file(&mut self, path: &Path, content: Content, open: &mut Vec<PathBuf>) {
        self.bytes += content.bytes().len();
        self.gathered.files.push(path.to_owned());
        let source = Rc::new(Source::new(&path.to_string_lossy(), content));
        self.report.source(&source);
        open.push(plain(path));
        self.gathered.found.reserve((source.last_line() as usize / USUAL_SECTION).min(MOST_FORESEEN));
        let mut base = self.next;
        for event in syntax::parse(&source) {
            let line = Order::from(syntax::line_of(&event));
            match event {
                Event::Item(Item::Entry(entry)) => self.gathered.found.push(Found { entry, base }),
                Event::Finding(_, finding) => self.report.add(base + line, finding),
                Event::Log(_, classic) => self.report.log(base + line, classic),
                Event::Lost { name, reason } => {
                    self.gathered.lost.push(Lost { name, reason, intended: false, order: base + line })
                }
                Event::Item(Item::Inclusion(inclusion)) => {
                    self.next = base + line + 1;
                    self.include(&inclusion, base + line, open);
                    base = self.next - line;
                }
            }
        }
        // One more than there are lines: what is said about the end comes after the last line.
        self.next = base + Order::from(source.last_line()) + 2;
        open.pop();
    }

    fn include(&mut self, inclusion: &Inclusion, order: Order, open: &mut Vec<PathBuf>) {
        let Word { text, utf8, place } = &inclusion.path;
        if !utf8 {
            let finding = Finding::new(&codes::NOT_UTF8, place.clone(), "the path is not UTF-8");
            return self.report.add(order, finding);
        }
        if !text.starts_with('/') {
            let message = format!("the path `{text}` does not start with `/`");
            self.report.add(order, Finding::new(&codes::RELATIVE_INCLUDE, place.clone(), message));
        }
        if inclusion.directory {
            return self.directory(&inclusion.path, order, open);
        }
        let path = PathBuf::from(text.as_str());
        if !self.allowed(&path, &inclusion.path, order, open) {
            return;
        }
        match self.host.content(&path) {
            Ok(content) => {
                self.reading(text, &inclusion.path, order);
                self.file(&path, content, open);
            }
            Err(error) => self.unreadable(text, &inclusion.path, order, &error),
        }
    }

    fn reading(&mut self, path: &str, word: &Word, order: Order) {
        let text = format!("Reading included configuration file: {path}");
        self.report.log(order, Classic::at(Level::Debug, &text, &word.place));
    }

    fn unreadable(&mut self, path: &str, word: &Word, order: Order, error: &SystemError) {
        let classic = format!("Unable to open included configuration file: {path}");
        let message = format!("`{path}` cannot be read: {}", error.text);
        let finding = Finding::new(&codes::INCLUDE_UNREADABLE, word.place.clone(), message)
            .classic(Classic::at(Level::Error, &classic, &word.place));
        self.report.add(order, finding);
    }

    /// Whether a file may be read at all: not one that is being read, not too deep, not too many.
    fn allowed(&mut self, path: &Path, word: &Word, order: Order, open: &[PathBuf]) -> bool {
        let wanted = plain(path);
        if let Some(at) = open.iter().position(|file| *file == wanted) {
            let shown = |file: &PathBuf| format!("`{}`", file.display());
            let chain: Vec<String> = open.iter().skip(at).chain([&wanted]).map(shown).collect();
            let message = format!("a file includes itself: {}", chain.join(" includes "));
            self.report.add(order, Finding::new(&codes::INCLUDE_CYCLE, word.place.clone(), message));
            return false;
        }
        if open.len() > DEEPEST {
            let message = format!(
                "more than {DEEPEST} inclusions inside one another; `{}` is not read",
                path.display()
            );
            self.report.add(order, Finding::new(&codes::INCLUDE_DEPTH, word.place.clone(), message));
            return false;
        }
        if self.gathered.files.len() >= MOST_FILES || self.bytes >= MOST_BYTES {
            if !std::mem::replace(&mut self.full, true) {
                let message =
                    format!("more than {MOST_FILES} files or {} MiB; the rest is not read", MOST_BYTES >> 20);
                self.report.add(order, Finding::new(&codes::INCLUDE_DEPTH, word.place.clone(), message));
            }
            return false;
        }
        true
    }

    fn directory(&mut self, word: &Word, order: Order, open: &mut Vec<PathBuf>) {
        let mut entries = match self.host.directory(Path::new(word.text.as_str())) {
            Ok(entries) => entries,
            Err(error) => {
                let classic = format!("Unable to read included directory: {}", word.text);
                let message = format!("the directory `{}` cannot be read: {}", word.text, error.text);
                let finding = Finding::new(&codes::INCLUDE_UNREADABLE, word.place.clone(), message)
                    .classic(Classic::at(Level::Error, &classic, &word.place));
                return self.report.add(order, finding);
            }
        };
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let (read, skipped): (Vec<_>, Vec<_>) = entries.into_iter().partition(|entry| is_read(&entry.name));
        self.skipped(&skipped, word, order);
        for entry in read {
            let order = self.next.max(order);
            let mut path = word.text.as_bytes().to_vec();
            path.push(b'/');
            path.extend_from_slice(&entry.name);
            let path = Path::new(OsStr::from_bytes(&path));
            let shown = path.to_string_lossy();
            if !entry.regular {
                let message = format!("`{shown}` is not a regular file; it is skipped");
                let classic = format!("{shown} is not a regular file. It is being skipped.");
                let finding = Finding::new(&codes::NOT_REGULAR, word.place.clone(), message)
                    .classic(Classic::new(Level::Error, classic));
                self.report.add(order, finding);
                continue;
            }
            if !self.allowed(path, word, order, open) {
                continue;
            }
            match self.host.content(path) {
                Ok(content) => {
                    self.reading(&shown, word, order);
                    self.next = order + 1;
                    self.file(path, content, open);
                }
                Err(error) => self.unreadable(&shown, word, order, &error),
            }
        }
    }

    /// Names with a dot are skipped as xinetd skips them; for `*.conf` that is rarely meant.
    fn skipped(&mut self, skipped: &[DirEntry], word: &Word, order: Order) {
        let wanted = |entry: &&DirEntry| entry.name.ends_with(b".conf") && !entry.name.starts_with(b".");
        let names: Vec<String> = skipped
            .iter()
            .filter(wanted)
            .map(|entry| String::from_utf8_lossy(&entry.name).into_owned())
            .collect();
        if names.is_empty() {
            return;
        }
        let shown = names.iter().take(5).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let more = if names.len() > 5 { format!(" and {} more", names.len() - 5) } else { String::new() };
        let message = format!(
            "{shown}{more} in `{}` {} skipped: names with a dot are not read",
            word.text,
            if names.len() == 1 { "is" } else { "are" }
        );
        let finding = Finding::new(&codes::SKIPPED_FILE, word.place.clone(), message)
            .help("rename the files so that their names hold no dot");
        self.report.add(order, finding);
    }
}

/// xinetd's rule for the names that `includedir` reads.
fn is_read(name: &[u8]) -> bool {
    !name.is_empty() && !name.contains(&b'.') && !name.ends_with(b"~")
}

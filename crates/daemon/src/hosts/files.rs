//! The two tables and the /file lists as they stand on the disk. They are looked at for each client, so that an edit
//! counts from the next connection on, as ever; read only when they have changed. Evaluates nothing.

use crate::hosts::compiled::{self, CompiledTables, SMALL};
use hosts_access::image::{Compiled, Original, Stamp, State, Text};
use hosts_access::lint::{Severity, lint_both};
use hosts_access::{Content, ListFile, Place, Table, Tables, View, Which};
use portreeve_sys::source::{Identity, Source, reason};
use portreeve_workers::protocol::{MAX_TABLE, TableSent};
use rustix::fd::OwnedFd;
use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io::{Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The longest table that is read, in bytes; a longer one counts as unreadable.
const LONGEST_TABLE: usize = 64 << 20;
/// The longest /file list; a longer one is an error of the table that names it.
const LONGEST_LIST: usize = 1 << 20;
/// Lists that are remembered.
const LISTS: usize = 64;
/// The longest tables that are linted at a change, both together in bytes.
const LINTED: usize = 64 * 1024;
/// Errors that are said at a change; `portreeve check` says all.
const MOST_ERRORS: usize = 20;
/// Messages that are remembered as said.
const SAID: usize = 256;
/// A file that was changed this short a time before it was read may change again without a new time stamp.
pub const SETTLED: Duration = Duration::from_secs(2);

/// Both tables and the lists that they name.
#[derive(Debug)]
pub struct Files {
    allow: TableFile,
    deny: TableFile,
    compiled: CompiledTables,
    /// Lists, by path.
    pub lists: Lists,
    said: HashSet<String>,
    /// The builtin worker has these texts.
    pub given: bool,
}

/// What `status` shows of a table.
#[derive(Debug)]
pub struct TableView {
    /// Its path.
    pub path: &'static str,
    /// What is there: `missing`, `unreadable`, or `in force`.
    pub state: &'static str,
    /// Lines that are neither empty nor a comment.
    pub lines: usize,
    /// When it was read, in seconds since 1970.
    pub read_at: u64,
}

#[derive(Debug)]
struct TableFile {
    path: &'static str,
    mark: Mark,
    held: Held,
    /// Counts the contents that were held, by which a compiled form knows its own.
    edition: u64,
    read_at: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum Held {
    Missing,
    Unreadable(String),
    Text(Vec<u8>),
}

/// By what a change is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// To be read in any case: never read, or changed so shortly before that a further change might not show.
    Unsettled,
    /// Nothing was there.
    Nothing,
    /// It could not even be looked at.
    Failed(i32),
    /// What was there.
    Is(Identity),
}

impl Mark {
    fn of(path: &Path) -> Self {
        match Identity::at(path) {
            Ok(None) => Self::Nothing,
            Ok(Some(identity)) => Self::Is(identity),
            Err(error) => Self::Failed(error.raw_os_error().unwrap_or(0)),
        }
    }

    /// This mark, if it will tell the next change.
    fn settled(identity: Identity, regular: bool) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let changed = Duration::from_nanos(u64::try_from(identity.ctime).unwrap_or(0));
        if regular && now.saturating_sub(changed) > SETTLED { Self::Is(identity) } else { Self::Unsettled }
    }
}

impl TableFile {
    fn new(path: &'static str) -> Self {
        Self { path, mark: Mark::Unsettled, held: Held::Missing, edition: 0, read_at: 0 }
    }

    /// Reads the table if it is not the one that is held. Whether its content is another now.
    fn refresh(&mut self) -> bool {
        let path = Path::new(self.path);
        if self.mark != Mark::Unsettled && Mark::of(path) == self.mark {
            return false;
        }
        let (mark, held) = match Source::open(path) {
            Ok(Source::Missing) => (Mark::Nothing, Held::Missing),
            Ok(Source::Directory(identity)) => (Mark::Is(identity), Held::Missing),
            Ok(Source::Readable(file)) => match file.read(LONGEST_TABLE) {
                Ok(text) => (Mark::settled(file.identity(), file.is_regular()), Held::Text(text)),
                Err(error) => (Mark::Unsettled, Held::Unreadable(reason(&error))),
            },
            Err(error) => (Mark::of(path), Held::Unreadable(reason(&error))),
        };
        self.mark = mark;
        if held == self.held {
            return false;
        }
        self.held = held;
        self.edition += 1;
        self.read_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        true
    }

    fn table(&self) -> Table<'_> {
        Table { path: self.path.as_bytes(), content: self.content() }
    }

    /// The table as its index has it.
    fn compiled<'a>(&'a self, index: View<'a>) -> Table<'a> {
        let content = match &self.held {
            Held::Text(_) => Content::Compiled(Compiled { index, text: self }),
            Held::Missing | Held::Unreadable(_) => self.content(),
        };
        Table { path: self.path.as_bytes(), content }
    }

    /// What can be compiled of it: the text that is held, however new the file is, or nothing at all.
    fn original(&self) -> Option<Original<'_>> {
        let path = self.path.as_bytes();
        match (self.mark, &self.held) {
            (Mark::Nothing, Held::Missing) => Some(Original { path, text: b"", state: State::Absent }),
            (_, Held::Text(text)) => {
                let stamp = Stamp { dev: 0, inode: self.edition, size: 0, mtime: 0, ctime: 0 };
                Some(Original { path, text, state: State::File(stamp) })
            }
            _ => None,
        }
    }

    /// The same with the state of its file, by which others know it; only if its next change will show.
    fn settled(&self) -> Option<Original<'_>> {
        let original = self.original()?;
        match self.mark {
            Mark::Nothing => Some(original),
            Mark::Is(identity) => Some(Original { state: compiled::state(identity), ..original }),
            Mark::Unsettled | Mark::Failed(_) => None,
        }
    }

    fn is_empty(&self) -> bool {
        match &self.held {
            Held::Missing => true,
            Held::Unreadable(_) => false,
            Held::Text(text) => text.is_empty(),
        }
    }

    fn view(&self) -> TableView {
        let (state, lines) = match &self.held {
            Held::Missing => ("missing", 0),
            Held::Unreadable(_) => ("unreadable", 0),
            Held::Text(text) => {
                ("in force", text.split(|&b| b == b'\n').filter(|line| is_rule(line)).count())
            }
        };
        TableView { path: self.path, state, lines, read_at: self.read_at }
    }
}

impl Text for TableFile {
    fn content(&self) -> Content<'_> {
        match &self.held {
            Held::Missing => Content::Missing,
            Held::Unreadable(why) => Content::Unreadable(why),
            Held::Text(text) => Content::Text(text),
        }
    }
}

fn is_rule(line: &[u8]) -> bool {
    !line.trim_ascii().is_empty() && line.first() != Some(&b'#')
}

impl Files {
    /// Nothing is read yet.
    pub fn new() -> Self {
        Self {
            allow: TableFile::new("/etc/hosts.allow"),
            deny: TableFile::new("/etc/hosts.deny"),
            compiled: CompiledTables::default(),
            lists: Lists::default(),
            said: HashSet::new(),
            given: false,
        }
    }

    /// Looks at both tables. The paths of those whose content is another than at the last look.
    pub fn refresh(&mut self) -> Vec<&'static str> {
        let changed: Vec<_> = [&mut self.allow, &mut self.deny]
            .into_iter()
            .filter_map(|t| t.refresh().then_some(t.path))
            .collect();
        if !changed.is_empty() {
            self.said.clear();
            self.given = false;
        }
        changed
    }

    /// Whether there is nothing to ask.
    pub fn are_empty(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty()
    }

    /// Whether either may hold a rule.
    pub fn hold_rules(&self) -> bool {
        self.views().iter().any(|table| table.lines > 0 || table.state == "unreadable")
    }

    /// The tables, compiled if they are long and that is done, and the lists beside them.
    pub fn tables(&mut self) -> (Tables<'_>, &mut Lists) {
        self.leave();
        // A short table may name a long list.
        let lists = self.lists.bytes();
        let image = match (self.allow.original(), self.deny.original()) {
            (Some(allow), Some(deny)) if allow.text.len() + deny.text.len() + lists > SMALL => {
                self.compiled.image(&allow, &deny)
            }
            _ => {
                self.compiled.forget();
                None
            }
        };
        let tables = match image {
            Some(image) => {
                Tables { allow: self.allow.compiled(image.allow()), deny: self.deny.compiled(image.deny()) }
            }
            None => Tables { allow: self.allow.table(), deny: self.deny.table() },
        };
        (tables, &mut self.lists)
    }

    /// The tables as texts, of which every step can be told, and the lists beside them.
    pub fn texts(&mut self) -> (Tables<'_>, &mut Lists) {
        (Tables { allow: self.allow.table(), deny: self.deny.table() }, &mut self.lists)
    }

    /// Begins to compile them if they are long, so that the next client finds it done.
    pub fn prepare(&mut self) {
        let _ = self.tables();
        self.leave();
    }

    /// Leaves what is compiled to others, once a further change of the tables would show.
    fn leave(&mut self) {
        if let (true, Some(allow), Some(deny)) =
            (self.compiled.bytes().is_some(), self.allow.settled(), self.deny.settled())
        {
            self.compiled.leave(&allow, &deny);
        }
    }

    /// The path of a table.
    pub fn path(&self, which: Which) -> &'static str {
        match which {
            Which::Allow => self.allow.path,
            Which::Deny => self.deny.path,
        }
    }

    /// A place as messages name it.
    pub fn place(&self, place: Place) -> String {
        format!("{}, line {}", self.path(place.which), place.line)
    }

    /// Whether this text is news since the tables last changed. What a broken table has to say is said once, not to each
    /// client; so it is bounded.
    pub fn is_news(&mut self, text: &str) -> bool {
        self.said.len() < SAID && self.said.insert(text.to_owned())
    }

    /// Both texts in a file of their own, for the builtin worker.
    pub fn send(&self) -> std::io::Result<(OwnedFd, TableSent, TableSent)> {
        let file = rustix::fs::memfd_create("hosts-tables", MemfdFlags::CLOEXEC)?;
        let mut file = std::fs::File::from(file);
        let mut add = |held: &Held| -> std::io::Result<TableSent> {
            Ok(match held {
                Held::Missing => TableSent::Missing,
                Held::Text(text) if text.len() <= MAX_TABLE => {
                    file.write_all(text)?;
                    TableSent::Text(u32::try_from(text.len()).unwrap_or(0))
                }
                Held::Text(_) | Held::Unreadable(_) => TableSent::Unreadable,
            })
        };
        let (allow, deny) = (add(&self.allow.held)?, add(&self.deny.held)?);
        file.rewind()?;
        Ok((file.into(), allow, deny))
    }

    /// Their paths.
    pub fn paths(&self) -> [&'static str; 2] {
        [self.allow.path, self.deny.path]
    }

    /// What the linter calls an error in them, with file and line. Of tables that are too long nothing: it takes its time.
    pub fn errors(&mut self) -> Vec<String> {
        let length = |table: &TableFile| match &table.held {
            Held::Text(text) => text.len(),
            Held::Missing | Held::Unreadable(_) => 0,
        };
        if length(&self.allow) + length(&self.deny) > LINTED {
            return Vec::new();
        }
        let tables = Tables { allow: self.allow.table(), deny: self.deny.table() };
        let lists = &mut self.lists;
        let findings = lint_both(&tables, &mut |path| {
            Some(match lists.read(path) {
                ListFile::Bytes(bytes) => ListFile::Bytes(bytes.into_owned()),
                ListFile::Absent => ListFile::Absent,
                ListFile::Unreadable(why) => ListFile::Unreadable(why),
                ListFile::TooLarge => ListFile::TooLarge,
            })
        });
        let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
        errors
            .take(MOST_ERRORS)
            .map(|found| {
                let path = String::from_utf8_lossy(&found.path);
                format!("{path}:{}:{}: {}", found.line, found.column, found.message)
            })
            .collect()
    }

    /// Bytes of the compiled form, where there is one.
    pub fn compiled_bytes(&self) -> Option<usize> {
        self.compiled.bytes()
    }

    /// For `status`.
    pub fn views(&self) -> [TableView; 2] {
        [self.allow.view(), self.deny.view()]
    }
}

/// The lists that rules name by path.
#[derive(Debug, Default)]
pub struct Lists(HashMap<Vec<u8>, (Identity, Vec<u8>)>);

impl Lists {
    /// How many bytes are remembered.
    fn bytes(&self) -> usize {
        self.0.values().map(|(_, bytes)| bytes.len()).sum()
    }

    /// The bytes of a list. Only a regular file is read: nothing else comes to an end for certain.
    pub fn read(&mut self, path: &[u8]) -> ListFile<Cow<'_, [u8]>> {
        let place = Path::new(OsStr::from_bytes(path));
        let current = match Mark::of(place) {
            Mark::Nothing => return ListFile::Absent,
            Mark::Is(identity) => self.0.get(path).is_some_and(|(held, _)| *held == identity),
            Mark::Failed(_) | Mark::Unsettled => false,
        };
        if current {
            return match self.0.get(path) {
                Some((_, bytes)) => ListFile::Bytes(Cow::Borrowed(bytes)),
                None => ListFile::Absent,
            };
        }
        self.0.remove(path);
        let file = match Source::open(place) {
            Ok(Source::Missing | Source::Directory(_)) => return ListFile::Absent,
            Ok(Source::Readable(file)) if file.is_regular() => file,
            Ok(Source::Readable(_)) => return ListFile::Unreadable(reason(&Errno::INVAL.into())),
            Err(error) => return ListFile::Unreadable(reason(&error)),
        };
        let bytes = match file.read(LONGEST_LIST) {
            Ok(bytes) => bytes,
            Err(error) if error.raw_os_error() == Some(Errno::FBIG.raw_os_error()) => {
                return ListFile::TooLarge;
            }
            Err(error) => return ListFile::Unreadable(reason(&error)),
        };
        let Mark::Is(identity) = Mark::settled(file.identity(), true) else {
            return ListFile::Bytes(Cow::Owned(bytes));
        };
        if self.0.len() >= LISTS {
            self.0.clear();
        }
        let (_, bytes) = self.0.entry(path.to_vec()).or_insert((identity, bytes));
        ListFile::Bytes(Cow::Borrowed(bytes))
    }
}

//! hosts.allow and hosts.deny as the commands look at them: which files, their bytes, and what the linter says of them.
//! Evaluates nothing.

use crate::escape;
use crate::failure::Failure;
use crate::finding::Finding;
use hosts_access::lint::{self, lint_both};
use hosts_access::{Content, ListFile, Table, Tables};
use portreeve_conf::Severity;
use portreeve_sys::source::{Source, reason};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The tables of this machine: allow, deny.
pub const DEFAULT: [&str; 2] = ["/etc/hosts.allow", "/etc/hosts.deny"];
/// The longest table, and the longest list that a table names, in bytes.
const LONGEST: usize = 64 << 20;

/// Both tables as they stand.
pub struct HostsTables {
    /// hosts.allow.
    pub allow: File,
    /// hosts.deny.
    pub deny: File,
}

/// One table as it stands.
pub struct File {
    /// Its path; `None`: none was named, and it counts as empty.
    pub path: Option<PathBuf>,
    /// What it holds.
    pub state: State,
}

/// What a table's file is.
pub enum State {
    /// It does not exist, or is a directory.
    Missing,
    /// It cannot be read. The system's word.
    Unreadable(String),
    /// Its bytes.
    Text(Vec<u8>),
}

fn read(path: &Path) -> State {
    match Source::open(path) {
        Ok(Source::Missing | Source::Directory(_)) => State::Missing,
        Ok(Source::Readable(file)) => match file.read(LONGEST) {
            Ok(text) => State::Text(text),
            Err(error) => State::Unreadable(reason(&error)),
        },
        Err(error) => State::Unreadable(reason(&error)),
    }
}

impl File {
    fn at(path: &Path) -> Self {
        Self { path: Some(path.to_owned()), state: read(path) }
    }

    fn none() -> Self {
        Self { path: None, state: State::Missing }
    }

    /// A file that somebody named must be there.
    fn named(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Self::none()) };
        let file = Self::at(path);
        let why = match &file.state {
            State::Text(_) => return Ok(file),
            State::Missing => "there is no such file",
            State::Unreadable(why) => why,
        };
        Err(Failure::new(format!("{} cannot be read: {why}", escape::os(path.as_os_str()))))
    }

    /// The path as messages name it.
    fn name(&self) -> &[u8] {
        self.path.as_ref().map_or(&b""[..], |path| path.as_os_str().as_bytes())
    }

    fn table(&self) -> Table<'_> {
        let content = match &self.state {
            State::Missing => Content::Missing,
            State::Unreadable(why) => Content::Unreadable(why),
            State::Text(text) => Content::Text(text),
        };
        Table { path: self.name(), content }
    }

    /// The word for its state, for JSON.
    pub fn state_word(&self) -> &'static str {
        match self.state {
            State::Missing => "missing",
            State::Unreadable(_) => "unreadable",
            State::Text(_) => "read",
        }
    }
}

impl HostsTables {
    /// The tables of this machine, at [`DEFAULT`].
    pub fn of_this_machine() -> Self {
        let [allow, deny] = DEFAULT.map(|path| File::at(Path::new(path)));
        Self { allow, deny }
    }

    /// The tables that were named; one that was not counts as empty. With none named, those of this machine.
    ///
    /// # Errors
    /// If a named one cannot be read.
    pub fn named(allow: Option<&Path>, deny: Option<&Path>) -> Result<Self, Failure> {
        if allow.is_none() && deny.is_none() {
            return Ok(Self::of_this_machine());
        }
        Ok(Self { allow: File::named(allow)?, deny: File::named(deny)? })
    }

    /// Both, for the language.
    pub fn tables(&self) -> Tables<'_> {
        Tables { allow: self.allow.table(), deny: self.deny.table() }
    }

    /// Whether there is any file.
    pub fn any(&self) -> bool {
        [&self.allow, &self.deny].into_iter().any(|file| !matches!(file.state, State::Missing))
    }

    /// Those that are named, with their paths.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, &Path, &File)> {
        [("allow", &self.allow), ("deny", &self.deny)]
            .into_iter()
            .filter_map(|(which, file)| Some((which, file.path.as_deref()?, file)))
    }

    /// What is to be said of them.
    pub fn findings(&self) -> Vec<Finding> {
        let found = lint_both(&self.tables(), &mut |path| Some(list(path)));
        found.iter().map(finding).collect()
    }
}

/// A `/file` list of a table.
pub fn list(path: &[u8]) -> ListFile<Vec<u8>> {
    match read(Path::new(OsStr::from_bytes(path))) {
        State::Missing => ListFile::Absent,
        State::Unreadable(why) => ListFile::Unreadable(why),
        State::Text(bytes) => ListFile::Bytes(bytes),
    }
}

fn finding(found: &lint::Finding) -> Finding {
    Finding {
        severity: match found.severity {
            lint::Severity::Note => Severity::Note,
            lint::Severity::Warning => Severity::Warning,
            lint::Severity::Error => Severity::Error,
        },
        code: found.code.word.to_owned(),
        file: escape::os(OsStr::from_bytes(&found.path)),
        line: found.line,
        column: found.column,
        length: found.length,
        message: found.message.clone(),
        help: Some(found.help.clone()),
        source_line: (found.line > 0).then(|| in_place(&found.source_line)),
        service: None,
        classic: None,
        replacement: found.replacement.clone(),
    }
}

/// A line as text in which every byte keeps its place: what is no UTF-8 becomes `?`.
fn in_place(line: &[u8]) -> String {
    let mut text = String::with_capacity(line.len());
    for chunk in line.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '?'));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_keep_their_place() {
        assert_eq!(in_place(b"a\xff\xc3b\xc3\xa4"), "a??b\u{e4}");
    }

    #[test]
    fn what_is_named_must_be_there() {
        let Err(failure) = HostsTables::named(Some(Path::new("/nonexistent/a")), None) else { panic!() };
        assert!(failure.to_string().contains("/nonexistent/a cannot be read"), "{failure}");
        let Ok(one) = HostsTables::named(None, Some(Path::new("/etc/passwd"))) else { panic!() };
        assert_eq!(one.files().count(), 1);
        assert!(one.any());
    }
}

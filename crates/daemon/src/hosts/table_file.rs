//! One table as it stands on the disk: looked at for each client, read when it has changed. Of a table that is compiled only
//! what tells its text from another is kept; whoever needs the text reads it again, and has what is there then. Evaluates
//! nothing, and does not know the other table.

use crate::hosts::compiled::{self, Copy};
use crate::hosts::silence::is_silent;
use hosts_access::image::{Compiled, Stamp, State, Text};
use hosts_access::{Content, Table, View};
use portreeve_sys::source::{Identity, Source, reason};
use rustix::io::Errno;
use std::cell::OnceCell;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The longest table that is read, in bytes; a longer one counts as unreadable.
pub const LONGEST_TABLE: usize = 64 << 20;
/// A file that was changed this short a time before it was read may change again without a new time stamp.
pub const SETTLED: Duration = Duration::from_secs(2);

/// What `status` shows of a table.
#[derive(Debug)]
pub struct TableView {
    /// Its path.
    pub path: &'static str,
    /// What is there: `missing`, `unreadable`, or `in force`.
    pub state: &'static str,
    /// Lines that are neither empty nor a comment.
    pub lines: usize,
    /// Bytes of its text that are in memory; none once it is compiled.
    pub text_bytes: usize,
    /// When it was read, in seconds since 1970.
    pub read_at: u64,
}

/// A table.
#[derive(Debug)]
pub struct TableFile {
    /// Where it is.
    pub path: &'static str,
    mark: Mark,
    held: Held,
    /// What was read because the text that was let go was needed once more: counts for the evaluation in hand.
    again: OnceCell<(Mark, Held)>,
    /// Counts the contents that were held, by which a compiled form knows its own.
    edition: u64,
    read_at: u64,
    /// Nothing in it can match anybody or be complained of: it is not there, or holds comments and empty lines alone, as the tables do
    /// that distributions install.
    says_nothing: bool,
}

/// What is known of a table's content.
#[derive(Debug)]
enum Held {
    Missing,
    Unreadable(String),
    Text(Arc<Vec<u8>>),
    /// It is compiled, and its text was let go.
    Gist(Gist),
}

impl Held {
    fn content(&self) -> Content<'_> {
        match self {
            Self::Missing => Content::Missing,
            Self::Unreadable(why) => Content::Unreadable(why),
            Self::Text(text) => Content::Text(text),
            Self::Gist(_) => Content::Unreadable("its text was let go"),
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Missing, Self::Missing) => true,
            (Self::Unreadable(one), Self::Unreadable(other)) => one == other,
            (Self::Text(one), Self::Text(other)) => one == other,
            (Self::Text(text), Self::Gist(gist)) | (Self::Gist(gist), Self::Text(text)) => gist.is_of(text),
            _ => false,
        }
    }
}

/// What is kept of a text that was let go.
#[derive(Clone, Debug)]
pub struct Gist {
    len: usize,
    lines: usize,
    /// By a key of this process: nobody can write another text of the same digest but by chance, once in 2⁶⁴.
    digest: u64,
    key: RandomState,
}

impl Gist {
    /// Of this text; takes a millisecond for each megabyte.
    pub fn of(text: &[u8]) -> Self {
        let key = RandomState::new();
        Self { len: text.len(), lines: rules(text), digest: key.hash_one(text), key }
    }

    fn is_of(&self, text: &[u8]) -> bool {
        self.len == text.len() && self.key.hash_one(text) == self.digest
    }
}

fn rules(text: &[u8]) -> usize {
    text.split(|&byte| byte == b'\n')
        .filter(|line| line.first() != Some(&b'#') && !line.trim_ascii().is_empty())
        .count()
}

/// By what a change is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
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
    /// Of what is at `path` now.
    pub fn of(path: &Path) -> Self {
        match Identity::at(path) {
            Ok(None) => Self::Nothing,
            Ok(Some(identity)) => Self::Is(identity),
            Err(error) => Self::Failed(error.raw_os_error().unwrap_or(0)),
        }
    }

    /// This mark, if it will tell the next change.
    pub fn settled(identity: Identity, regular: bool) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let changed = Duration::from_nanos(u64::try_from(identity.ctime).unwrap_or(0));
        if regular && now.saturating_sub(changed) > SETTLED { Self::Is(identity) } else { Self::Unsettled }
    }
}

/// Whether a file that could not be opened may be opened the next time although it has not changed.
fn passes(error: &std::io::Error) -> bool {
    let lasting = [
        Errno::ACCESS,
        Errno::PERM,
        Errno::LOOP,
        Errno::NOTDIR,
        Errno::NAMETOOLONG,
        Errno::INVAL,
        Errno::NXIO,
    ];
    !lasting.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// What is at `path` now, as a whole.
fn read(path: &Path) -> (Mark, Held) {
    match Source::open(path) {
        Ok(Source::Missing) => (Mark::Nothing, Held::Missing),
        Ok(Source::Directory(identity)) => (Mark::Is(identity), Held::Missing),
        Ok(Source::Readable(file)) => match file.read(LONGEST_TABLE) {
            Ok(text) => {
                // Of a file that was written to meanwhile the mark would tell another content.
                let whole = file.is_regular() && file.is_unchanged().unwrap_or(false);
                (Mark::settled(file.identity(), whole), Held::Text(Arc::new(text)))
            }
            Err(error) => (Mark::Unsettled, Held::Unreadable(reason(&error))),
        },
        // What this machine lacked for a moment says nothing of the file.
        Err(error) if passes(&error) => (Mark::Unsettled, Held::Unreadable(reason(&error))),
        Err(error) => (Mark::of(path), Held::Unreadable(reason(&error))),
    }
}

impl TableFile {
    /// The table at `path`; nothing is read yet.
    pub fn new(path: &'static str) -> Self {
        Self {
            path,
            mark: Mark::Unsettled,
            held: Held::Missing,
            again: OnceCell::new(),
            edition: 0,
            read_at: 0,
            says_nothing: false,
        }
    }

    /// Reads the table if it is not the one that is known. Whether its content is another now.
    pub fn refresh(&mut self) -> bool {
        self.finish();
        let path = Path::new(self.path);
        if self.mark != Mark::Unsettled && Mark::of(path) == self.mark {
            return false;
        }
        let (mark, held) = read(path);
        let same = held.is_same(&self.held);
        self.mark = mark;
        self.held = held;
        if !same || self.edition == 0 {
            self.says_nothing = match &self.held {
                Held::Missing => true,
                Held::Text(text) => is_silent(text),
                Held::Unreadable(_) | Held::Gist(_) => false,
            };
        }
        if !same {
            self.edition += 1;
            self.read_at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        }
        !same
    }

    /// Has the text at hand again, if it was let go and the file is still what it was. If it is not, its text counts as it
    /// is now, and the next look will tell of the change.
    pub fn recall(&mut self) {
        if !matches!(self.held, Held::Gist(_)) {
            return;
        }
        let (mark, held) = self.again.take().unwrap_or_else(|| read(Path::new(self.path)));
        if mark == self.mark && matches!(held, Held::Text(_)) {
            self.held = held;
        } else {
            self.again = OnceCell::from((mark, held));
        }
    }

    /// Lets the text go, whose compiled form is in force and whose gist is this; only if a change of the file will show.
    pub fn let_go(&mut self, gist: &Gist) {
        if let (Mark::Is(_), Held::Text(_)) = (self.mark, &self.held) {
            self.held = Held::Gist(gist.clone());
        }
    }

    /// The evaluation is over for which a text was read again.
    pub fn finish(&mut self) {
        self.again.take();
    }

    /// The table as its text has it.
    pub fn table(&self) -> Table<'_> {
        Table { path: self.path.as_bytes(), content: self.content() }
    }

    /// The table as its index has it.
    pub fn compiled<'a>(&'a self, index: View<'a>) -> Table<'a> {
        let content = match &self.held {
            Held::Text(_) | Held::Gist(_) => Content::Compiled(Compiled { index, text: self }),
            Held::Missing | Held::Unreadable(_) => self.content(),
        };
        Table { path: self.path.as_bytes(), content }
    }

    /// What a compiled form knows the content by; nothing if there is none to compile.
    pub fn state(&self) -> Option<State> {
        match (self.mark, &self.held) {
            (Mark::Nothing, Held::Missing) => Some(State::Absent),
            (_, Held::Text(_) | Held::Gist(_)) => {
                Some(State::File(Stamp { dev: 0, inode: self.edition, size: 0, mtime: 0, ctime: 0 }))
            }
            _ => None,
        }
    }

    /// What others know the content by: the state of its file, if its next change will show.
    pub fn settled(&self) -> Option<State> {
        match (self.state()?, self.mark) {
            (_, Mark::Nothing) => Some(State::Absent),
            (_, Mark::Is(identity)) => Some(compiled::state(identity)),
            (_, Mark::Unsettled | Mark::Failed(_)) => None,
        }
    }

    /// What is to be compiled: the text that is held, however new the file is, or nothing at all.
    pub fn copy(&self) -> Option<Copy> {
        let text = match &self.held {
            Held::Text(text) => Arc::clone(text),
            Held::Missing => Arc::default(),
            Held::Unreadable(_) | Held::Gist(_) => return None,
        };
        Some(Copy { path: self.path, text, state: self.state()? })
    }

    /// Bytes of its text.
    pub fn len(&self) -> usize {
        match &self.held {
            Held::Missing | Held::Unreadable(_) => 0,
            Held::Text(text) => text.len(),
            Held::Gist(gist) => gist.len,
        }
    }

    /// Whether there is nothing in it to evaluate.
    pub fn says_nothing(&self) -> bool {
        self.says_nothing
    }

    /// For `status`.
    pub fn view(&self) -> TableView {
        let (state, lines, text_bytes) = match &self.held {
            Held::Missing => ("missing", 0, 0),
            Held::Unreadable(_) => ("unreadable", 0, 0),
            Held::Text(text) => ("in force", rules(text), text.len()),
            Held::Gist(gist) => ("in force", gist.lines, 0),
        };
        TableView { path: self.path, state, lines, text_bytes, read_at: self.read_at }
    }
}

impl Text for TableFile {
    /// The text; one that was let go is read, once until [`TableFile::finish`], and may be another by then.
    fn content(&self) -> Content<'_> {
        match &self.held {
            Held::Gist(_) => self.again.get_or_init(|| read(Path::new(self.path))).1.content(),
            held => held.content(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::OpenOptions;
    use std::io::Write;
    use std::path::PathBuf;

    #[test]
    fn only_what_lasts_is_believed_of_a_file_that_did_not_open() {
        let error = |errno: Errno| std::io::Error::from_raw_os_error(errno.raw_os_error());
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::IO, Errno::STALE] {
            assert!(passes(&error(errno)), "{errno}");
        }
        for errno in [Errno::ACCESS, Errno::LOOP, Errno::NOTDIR, Errno::INVAL] {
            assert!(!passes(&error(errno)), "{errno}");
        }
    }

    /// A table on the disk that is old enough to be believed, in a directory that goes with it.
    struct Here(PathBuf, &'static str);

    impl Here {
        fn new(name: &str, text: &str) -> Self {
            let here = std::env::temp_dir().join(format!("portreeve-table-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&here).unwrap();
            let path = here.join("table").to_str().unwrap().to_owned().leak();
            std::fs::write(&*path, text).unwrap();
            Self(here, path)
        }

        /// Its table, whose text was let go.
        fn compiled(&self) -> TableFile {
            std::thread::sleep(SETTLED + SETTLED / 20);
            let mut table = TableFile::new(self.1);
            assert!(table.refresh());
            assert!(matches!(table.mark, Mark::Is(_)), "old enough");
            table.let_go(&Gist::of(&std::fs::read(self.1).unwrap()));
            assert_eq!(table.view().text_bytes, 0);
            table
        }

        /// Writes in place and leaves no trace but the time of change.
        fn write_unseen(&self, text: &str) {
            let modified = std::fs::metadata(self.1).unwrap().modified().unwrap();
            let mut file = OpenOptions::new().write(true).open(self.1).unwrap();
            file.write_all(text.as_bytes()).unwrap();
            file.set_modified(modified).unwrap();
        }
    }

    impl Drop for Here {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    type Expected = fn(&Content<'_>) -> bool;

    fn text(table: &TableFile) -> &[u8] {
        match table.content() {
            Content::Text(text) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_text_that_was_let_go_is_known_and_read_again() {
        let here = Here::new("again", "# one\n\nd: 10.0.0.1\n");
        let mut table = here.compiled();
        let state = table.state();
        assert_eq!((table.len(), table.view().lines, table.says_nothing()), (19, 1, false));
        assert!(!table.refresh(), "nothing has happened");
        assert_eq!(text(&table), b"# one\n\nd: 10.0.0.1\n");
        table.finish();
        assert!(table.copy().is_none(), "only what is held is compiled");
        table.recall();
        assert_eq!(table.copy().unwrap().text.len(), 19);
        assert_eq!(table.state(), state, "the same content");
        table.let_go(&Gist::of(b"# one\n\nd: 10.0.0.1\n"));
        // The same bytes with other times: read, and no other content.
        std::fs::write(here.1, "# one\n\nd: 10.0.0.1\n").unwrap();
        assert!(!table.refresh());
        assert_eq!(table.state(), state);
        assert_eq!(
            table.view().text_bytes,
            19,
            "it may change again unseen, so it is compared for two seconds"
        );
        table.let_go(&Gist::of(b"# one\n\nd: 10.0.0.1\n"));
        assert_eq!(table.view().text_bytes, 19, "and so it is not let go");
        std::fs::write(here.1, "# one\n\nd: 10.0.0.2\n").unwrap();
        assert!(table.refresh());
        assert_ne!(table.state(), state);
    }

    #[test]
    fn an_edit_between_the_look_and_the_reading_is_another_text() {
        let here = Here::new("between", "d: 10.0.0.1\n");
        for recalled in [false, true] {
            here.write_unseen("d: 10.0.0.1\n");
            let mut table = here.compiled();
            let state = table.state();
            assert!(!table.refresh());
            // Same inode, size and time of modification.
            here.write_unseen("d: 10.0.0.2\n");
            if recalled {
                table.recall();
            }
            assert_eq!(text(&table), b"d: 10.0.0.2\n", "what is there counts");
            assert!(table.copy().is_none(), "and is not taken for what was compiled");
            assert_eq!(table.state(), state);
            assert!(table.refresh(), "the next look tells");
            assert_ne!(table.state(), state);
            assert_eq!(table.copy().unwrap().text.as_slice(), b"d: 10.0.0.2\n");
        }
    }

    #[test]
    fn what_takes_the_place_of_the_file_counts() {
        let here = Here::new("place", "d: 10.0.0.1\n");
        let renamed = here.0.join("new");
        let cases: [(&dyn Fn(), Expected); 4] = [
            (&|| std::fs::remove_file(here.1).unwrap(), |found| matches!(found, Content::Missing)),
            (
                &|| {
                    std::fs::write(&renamed, "d: 10.0.0.1\n").unwrap();
                    std::fs::rename(&renamed, here.1).unwrap();
                },
                |found| matches!(found, Content::Text(b"d: 10.0.0.1\n")),
            ),
            (
                &|| {
                    std::fs::remove_file(here.1).unwrap();
                    std::os::unix::fs::symlink("table", here.1).unwrap();
                },
                |found| matches!(found, Content::Unreadable(_)),
            ),
            (
                &|| {
                    std::fs::remove_file(here.1).unwrap();
                    std::fs::create_dir(here.1).unwrap();
                },
                |found| matches!(found, Content::Missing),
            ),
        ];
        for (number, (change, expected)) in cases.into_iter().enumerate() {
            // Whatever the last one left.
            let _ = std::fs::remove_file(here.1);
            std::fs::write(here.1, "d: 10.0.0.1\n").unwrap();
            let mut table = here.compiled();
            assert!(!table.refresh());
            change();
            assert!(expected(&table.content()), "{number}: {:?}", table.content());
            assert_eq!(table.refresh(), number != 1, "{number}: the same text is no other");
            assert!(expected(&table.content()), "{number}: {:?}", table.content());
        }
    }
}

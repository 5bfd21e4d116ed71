//! The compiled tables as a file: what a fresh process reads parts of instead of 100,000 lines. Writes it, and decides whether
//! it may be believed. For the default tables only: nobody compiles others.
//!
//! Both tables are open, as the caller may open them, before this file is looked at; it counts only if both and every `/file`
//! list are what it was made from. So it never says what the text would not say, nor anything to somebody who may not read
//! the text.

use hosts_access::image::{self, Image, Lists, Original, State};
use portreeve_sys::parts::{self, Parts};
use portreeve_sys::source::{self, Identity, Source, reason};
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The table that is asked first.
pub const ALLOW: &str = "/etc/hosts.allow";
/// The table that is asked then.
pub const DENY: &str = "/etc/hosts.deny";
/// Their compiled form.
pub use hosts_access::image::MAP;

/// Tables of at most so many bytes are walked faster than the compiled form is opened.
pub const SMALL: u64 = 16 << 10;
/// The longest `/file` list that is taken in; a rule with a longer one is evaluated as it stands.
const LONGEST_LIST: usize = 1 << 20;
/// The largest compiled form that is believed.
const LARGEST: usize = 1 << 30;
/// A table that was just edited is waited for: until its time tells that nobody edits it again unnoticed.
const SETTLES: Duration = Duration::from_millis(2100);

/// Where the tables and their compiled form are, and whose that must be.
#[derive(Clone, Debug)]
pub struct Places {
    /// `hosts.allow`.
    pub allow: PathBuf,
    /// `hosts.deny`.
    pub deny: PathBuf,
    /// The compiled form.
    pub map: PathBuf,
    /// The user who writes it, besides root.
    pub owner: u32,
}

impl Default for Places {
    fn default() -> Self {
        Self { allow: ALLOW.into(), deny: DENY.into(), map: MAP.into(), owner: 0 }
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Bytes of both tables.
    pub text: usize,
    /// Bytes of the compiled form.
    pub compiled: usize,
    /// Whether every user may read it; otherwise only root, as one of the tables or lists.
    pub public: bool,
}

/// Why the tables could not be compiled.
#[derive(Debug)]
pub enum Error {
    /// A table cannot be read: the system's word.
    Table(PathBuf, String),
    /// The compiled form cannot be written: the system's word.
    Map(PathBuf, String),
    /// The tables are too large for it.
    TooLarge,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table(path, why) => write!(f, "{}: {why}; nothing was written", path.display()),
            Self::Map(path, why) => write!(f, "{} cannot be written: {why}", path.display()),
            Self::TooLarge => f.write_str("the tables are too large to be compiled; nothing was written"),
        }
    }
}

impl std::error::Error for Error {}

/// Compiles both tables and puts the result in its place, whole or not at all. Takes two seconds if one of them, or a
/// list, was changed within the last two.
///
/// # Errors
/// A table that cannot be read, a place that cannot be written. What was there before then still stands.
pub fn write(places: &Places) -> Result<Written, Error> {
    let mut made = Made::new(places)?;
    if !Image::open(&made.bytes).is_some_and(|image| image.is_settled()) {
        std::thread::sleep(SETTLES);
        made = Made::new(places)?;
    }
    let Made { bytes, text, public } = made;
    let unwritten = |error: std::io::Error| Error::Map(places.map.clone(), reason(&error));
    if let Some(directory) = places.map.parent() {
        make_directory(directory).map_err(unwritten)?;
    }
    parts::replace(&places.map, &bytes, if public { 0o644 } else { 0o600 }).map_err(unwritten)?;
    Ok(Written { text, compiled: bytes.len(), public })
}

/// A compiled form, before it is written.
struct Made {
    bytes: Vec<u8>,
    text: usize,
    public: bool,
}

impl Made {
    fn new(places: &Places) -> Result<Self, Error> {
        let begun = now();
        let (allow, deny) = (Table::open(&places.allow)?, Table::open(&places.deny)?);
        let mut lists = Disk { public: true };
        let bytes =
            image::compile(&allow.original(), &deny.original(), &mut lists, begun).ok_or(Error::TooLarge)?;
        let public = lists.public && [&allow, &deny].into_iter().all(Table::is_public);
        Ok(Self { bytes, text: allow.text.len() + deny.text.len(), public })
    }
}

/// The compiled form, open.
#[derive(Debug)]
pub(crate) struct Map(Parts);

impl Map {
    pub(crate) fn image(&self) -> Option<Image<'_>> {
        Image::open_parts(self)
    }
}

impl image::Parts for Map {
    fn size(&self) -> usize {
        self.0.size()
    }

    fn part(&self, at: usize, len: usize) -> Option<&[u8]> {
        self.0.part(at, len)
    }
}

/// The compiled form, if it may be believed: `allow` and `deny` are what the open tables are.
pub(crate) fn believed(places: &Places, allow: State, deny: State) -> Option<Map> {
    let map = Map(Parts::open(&places.map, places.owner, LARGEST).ok()?);
    let fresh = map.image()?.is_fresh(|found| match found {
        image::Source::Allow(path) => (path == places.allow.as_os_str().as_bytes()).then_some(allow),
        image::Source::Deny(path) => (path == places.deny.as_os_str().as_bytes()).then_some(deny),
        image::Source::List(path) => match Source::open(Path::new(OsStr::from_bytes(path))) {
            Ok(source) => state(&source),
            Err(_) => None,
        },
    });
    fresh.then_some(map)
}

/// The state of what was opened, if the compiled form can know of it.
pub(crate) fn state(source: &Source) -> Option<State> {
    match source {
        Source::Missing => Some(State::Absent),
        Source::Readable(file) if file.is_regular() => Some(State::File(stamp(file.identity()))),
        Source::Directory(_) | Source::Readable(_) => None,
    }
}

fn stamp(identity: Identity) -> image::Stamp {
    let Identity { dev, inode, size, mtime, ctime } = identity;
    image::Stamp { dev, inode, size, mtime, ctime }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(0)
}

fn is_public(path: &Path) -> bool {
    source::is_public(path).unwrap_or(false)
}

/// Makes the directory with the usual rights, whatever the mask is, if it is not there; not those above it.
fn make_directory(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    match std::fs::DirBuilder::new().mode(0o755).create(path) {
        Ok(()) => std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// A table, read.
struct Table {
    path: PathBuf,
    text: Vec<u8>,
    state: State,
}

impl Table {
    fn open(path: &Path) -> Result<Self, Error> {
        let unread = |why: String| Error::Table(path.to_owned(), why);
        let source = Source::open(path).map_err(|error| unread(reason(&error)))?;
        let state = state(&source).ok_or_else(|| unread("not a regular file".to_owned()))?;
        let text = match source {
            Source::Readable(file) => {
                file.read(crate::tables::LONGEST).map_err(|error| unread(reason(&error)))?
            }
            Source::Missing | Source::Directory(_) => Vec::new(),
        };
        Ok(Self { path: path.to_owned(), text, state })
    }

    fn is_public(&self) -> bool {
        self.state == State::Absent || is_public(&self.path)
    }

    fn original(&self) -> Original<'_> {
        Original { path: self.path.as_os_str().as_bytes(), text: &self.text, state: self.state }
    }
}

/// The lists on the disk.
struct Disk {
    /// Whether every user may read those that were read.
    public: bool,
}

impl Lists for Disk {
    fn read(&mut self, path: &[u8]) -> Option<(State, Vec<u8>)> {
        let path = Path::new(OsStr::from_bytes(path));
        let source = Source::open(path).ok()?;
        let state = state(&source)?;
        let bytes = match &source {
            Source::Readable(file) => file.read(LONGEST_LIST).ok()?,
            Source::Missing | Source::Directory(_) => Vec::new(),
        };
        if state != State::Absent {
            self.public &= is_public(path);
        }
        Some((state, bytes))
    }
}

//! The compiled form of both tables: bytes that are the same in a process and in a file. This module owns its head: what it was
//! made from, and whether that still stands. What is behind the head belongs to `index`.
//!
//! An image is believed only where nothing else can be: the caller opens both tables and every `/file` list first and
//! compares. Whatever is missing, stale, cut or contradicts itself means the text.
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | [`MAGIC`] |
//! | 8 | 4 | [`FORMAT`] |
//! | 12 | 4 | length of the image |
//! | 16 | 8 | when it was begun, nanoseconds since 1970; 0 if it is not for a file |
//! | 24 | 8 | sources: where, how many |
//! | 32 | 4 | the index of `hosts.allow`: where |
//! | 36 | 4 | that of `hosts.deny` |
//! | 40 | 4 | the version of this crate, a text: where |

pub use crate::index::bytes::Parts;
use crate::index::bytes::{Bytes, Doubtful, offset};
use crate::index::{Inlined, Output, TooLarge, View, build};
use crate::table::Content;
use std::collections::HashMap;
use std::rc::Rc;

/// Where the compiled form of the default tables is, for processes that start for each client.
pub const MAP: &str = "/var/cache/portreeve/hosts.map";

const MAGIC: u64 = u64::from_le_bytes(*b"hostsmap");
/// Counts up with every change of the layout or of what an index means.
const FORMAT: u32 = 2;
const HEAD: usize = 44;
/// A source: its path, its state, then the stamp's five numbers.
const SOURCE: u32 = 8 + 5 * 8;
/// A file that changed later than this before the image was begun may change again within the same tick of its clock.
const SETTLED: i64 = 2_000_000_000;

/// What tells one content of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// Device.
    pub dev: u64,
    /// Inode.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// Last change of the content, nanoseconds since 1970.
    pub mtime: i64,
    /// Last change of content or inode, nanoseconds since 1970.
    pub ctime: i64,
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Nothing.
    Absent,
    /// A regular file that this process can open.
    File(Stamp),
}

/// Which source of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// The table `hosts.allow`, at this path.
    Allow(&'a [u8]),
    /// The table `hosts.deny`, at this path.
    Deny(&'a [u8]),
    /// A `/file` list that a table names.
    List(&'a [u8]),
}

/// How many `/file` lists an image takes in; rules that name more are walked.
const MOST_LISTS: usize = 64;

/// One table, to be compiled.
#[derive(Clone, Copy, Debug)]
pub struct Original<'a> {
    /// Its path.
    pub path: &'a [u8],
    /// Its bytes; none if there is no such file.
    pub text: &'a [u8],
    /// What the path led to before the bytes were read.
    pub state: State,
}

/// The `/file` lists that the tables name.
pub trait Lists {
    /// What `path` leads to and then its bytes (none if there is no such file). Nothing if it is no regular file, cannot be
    /// opened or is too long: then rules that name it are evaluated as they stand.
    fn read(&mut self, path: &[u8]) -> Option<(State, Vec<u8>)>;
}

/// Compiles both tables. `begun` is the time in nanoseconds since 1970, taken before any of the files was opened; 0 if the
/// image will not be a file. Nothing if it would be larger than 4 GiB.
#[must_use]
pub fn compile(
    allow: &Original<'_>,
    deny: &Original<'_>,
    lists: &mut dyn Lists,
    begun: i64,
) -> Option<Vec<u8>> {
    write(allow, deny, lists, begun).ok()
}

fn write(
    allow: &Original<'_>,
    deny: &Original<'_>,
    lists: &mut dyn Lists,
    begun: i64,
) -> Result<Vec<u8>, TooLarge> {
    let mut inlined = Inlined::default();
    let mut made = indexes(allow, deny, lists, &mut inlined)?;
    if inlined.too_much {
        made = indexes(allow, deny, lists, &mut Inlined::never())?;
    }
    let (mut out, allow_index, deny_index, lists) = made;
    let mut sources = vec![(allow.path.to_vec(), allow.state), (deny.path.to_vec(), deny.state)];
    sources.extend(lists);
    let mut paths = Vec::with_capacity(sources.len());
    for (path, _) in &sources {
        paths.push(out.text(path)?);
    }
    let version = out.text(env!("CARGO_PKG_VERSION").as_bytes())?;
    let sources_at = out.here()?;
    for (path, (_, state)) in paths.iter().zip(&sources) {
        let (kind, stamp) = match state {
            State::Absent => (0, Stamp { dev: 0, inode: 0, size: 0, mtime: 0, ctime: 0 }),
            State::File(stamp) => (1, *stamp),
        };
        out.number(*path);
        out.number::<u32>(kind);
        let times = [stamp.mtime, stamp.ctime].map(i64::cast_unsigned);
        [stamp.dev, stamp.inode, stamp.size].into_iter().chain(times).for_each(|number| out.number(number));
    }
    out.set(0, MAGIC);
    out.set(8, FORMAT);
    let len = out.here()?;
    out.set(12, len);
    out.set(16, begun.cast_unsigned());
    out.set(24, sources_at);
    out.set(28, u32::try_from(sources.len()).map_err(|_| TooLarge)?);
    out.set(32, allow_index);
    out.set(36, deny_index);
    out.set(40, version);
    Ok(out.finish())
}

/// An image with both indexes (where they are), and the lists that were read for it.
type Indexes = (Output, u32, u32, Vec<(Vec<u8>, State)>);

fn indexes(
    allow: &Original<'_>,
    deny: &Original<'_>,
    lists: &mut dyn Lists,
    inlined: &mut Inlined,
) -> Result<Indexes, TooLarge> {
    let mut out = Output::new(HEAD);
    let mut seen = Seen { lists, by_path: HashMap::new(), sources: Vec::new() };
    let allow_index = build(allow.text, &mut seen, inlined, &mut out)?;
    let deny_index = build(deny.text, &mut seen, inlined, &mut out)?;
    Ok((out, allow_index, deny_index, seen.sources))
}

/// The lists read so far: each once, so that all rules see one content.
struct Seen<'a> {
    lists: &'a mut dyn Lists,
    by_path: HashMap<Vec<u8>, Option<Rc<[u8]>>>,
    sources: Vec<(Vec<u8>, State)>,
}

impl crate::index::Lists for Seen<'_> {
    fn bytes(&mut self, path: &[u8]) -> Option<Rc<[u8]>> {
        if let Some(bytes) = self.by_path.get(path) {
            return bytes.clone();
        }
        let read = if self.sources.len() < MOST_LISTS { self.lists.read(path) } else { None };
        let bytes = read.map(|(state, bytes)| {
            self.sources.push((path.to_vec(), state));
            Rc::from(bytes)
        });
        self.by_path.insert(path.to_vec(), bytes.clone());
        bytes
    }
}

/// The text of a compiled table, for what the index cannot answer. Only asked for then, so it need not be at hand.
pub trait Text: std::fmt::Debug {
    /// [`Content::Missing`], [`Content::Unreadable`] or [`Content::Text`].
    fn content(&self) -> Content<'_>;
}

/// A compiled table, for [`Content::Compiled`].
#[derive(Clone, Copy, Debug)]
pub struct Compiled<'a> {
    /// Its index.
    pub index: View<'a>,
    /// Its text.
    pub text: &'a dyn Text,
}

/// A compiled pair of tables.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    bytes: Bytes<'a>,
    allow: u32,
    deny: u32,
}

impl<'a> Image<'a> {
    /// Looks at the head alone, in constant time; everything behind it is checked where it is used.
    #[must_use]
    pub fn open(bytes: &'a [u8]) -> Option<Self> {
        Self::read(Bytes::Whole(bytes)).ok()
    }

    /// The same of an image that is read in parts.
    #[must_use]
    pub fn open_parts(parts: &'a dyn Parts) -> Option<Self> {
        Self::read(Bytes::Parts(parts)).ok()
    }

    fn read(bytes: Bytes<'a>) -> Result<Self, Doubtful> {
        let sound = bytes.u64(0)? == MAGIC
            && bytes.u32(8)? == FORMAT
            && usize::try_from(bytes.u32(12)?) == Ok(bytes.len())
            && bytes.text(bytes.u32(40)?)? == env!("CARGO_PKG_VERSION").as_bytes();
        if !sound {
            return Err(Doubtful);
        }
        Ok(Self { bytes, allow: bytes.u32(32)?, deny: bytes.u32(36)? })
    }

    /// The index of `hosts.allow`, for [`crate::Content::Compiled`].
    #[must_use]
    pub fn allow(&self) -> View<'a> {
        View::new(self.bytes, self.allow)
    }

    /// The index of `hosts.deny`.
    #[must_use]
    pub fn deny(&self) -> View<'a> {
        View::new(self.bytes, self.deny)
    }

    /// What it was made from: both tables, then every list.
    #[must_use]
    pub fn sources(&self) -> Option<Vec<(Source<'a>, State)>> {
        self.read_sources().ok()
    }

    /// Whether it was made from what `look` finds now: it is settled, and every source is in the recorded state. `look`
    /// opens the source as the caller may, and gives nothing for what is not a readable regular file.
    pub fn is_fresh(&self, mut look: impl FnMut(Source<'a>) -> Option<State>) -> bool {
        let Ok(sources) = self.read_sources() else { return false };
        self.all_settled(&sources) && sources.into_iter().all(|(source, state)| look(source) == Some(state))
    }

    /// Whether every source had been as it is recorded for two seconds when the image was begun. Otherwise it may have been
    /// edited again without a trace, and the image is never fresh.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.read_sources().is_ok_and(|sources| self.all_settled(&sources))
    }

    fn all_settled(&self, sources: &[(Source<'_>, State)]) -> bool {
        let begun = self.bytes.u64(16).map_or(0, u64::cast_signed);
        sources.iter().all(|(_, state)| match state {
            State::Absent => true,
            State::File(stamp) => begun.checked_sub(SETTLED).is_some_and(|limit| stamp.ctime < limit),
        })
    }

    fn read_sources(&self) -> Result<Vec<(Source<'a>, State)>, Doubtful> {
        let (start, count) = (self.bytes.u32(24)?, self.bytes.u32(28)?);
        if count < 2 {
            return Err(Doubtful);
        }
        let bytes = self.bytes;
        // All of them must be there before room is made for them.
        bytes.slice(start, usize::try_from(offset(0, count, SOURCE)?).map_err(|_| Doubtful)?)?;
        (0..count)
            .map(|index| {
                let at = offset(start, index, SOURCE)?;
                let path = bytes.text(bytes.u32(at)?)?;
                let number = |field| bytes.u64(offset(offset(at, 2, 4)?, field, 8)?);
                let state = match bytes.u32(offset(at, 1, 4)?)? {
                    0 => State::Absent,
                    1 => State::File(Stamp {
                        dev: number(0)?,
                        inode: number(1)?,
                        size: number(2)?,
                        mtime: number(3)?.cast_signed(),
                        ctime: number(4)?.cast_signed(),
                    }),
                    _ => return Err(Doubtful),
                };
                let source = match index {
                    0 => Source::Allow(path),
                    1 => Source::Deny(path),
                    _ => Source::List(path),
                };
                Ok((source, state))
            })
            .collect()
    }
}

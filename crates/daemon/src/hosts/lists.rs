//! The `/file` lists that rules name by path: looked at each time, read when they have changed. Of a list that is compiled
//! with the tables only its length is kept. Evaluates nothing.

use super::table_file::Mark;
use hosts_access::ListFile;
use portreeve_sys::source::{Identity, Source, reason};
use rustix::io::Errno;
use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The longest list; a longer one is an error of the table that names it.
const LONGEST_LIST: usize = 1 << 20;
/// Lists that are remembered.
const LISTS: usize = 64;

/// The lists, by path.
#[derive(Debug, Default)]
pub struct Lists(HashMap<Vec<u8>, Listed>);

/// One of them.
#[derive(Debug)]
struct Listed {
    identity: Identity,
    len: usize,
    /// Let go once they are compiled.
    bytes: Option<Vec<u8>>,
}

impl Lists {
    /// How many bytes they had when they were read.
    pub fn bytes(&self) -> usize {
        self.0.values().map(|list| list.len).sum()
    }

    /// How many of them are still held.
    #[cfg(test)]
    pub fn held(&self) -> usize {
        self.0.values().map(|list| list.bytes.as_ref().map_or(0, Vec::len)).sum()
    }

    /// Lets the bytes of a list go.
    pub fn let_go(&mut self, path: &[u8]) {
        if let Some(list) = self.0.get_mut(path) {
            list.bytes = None;
        }
    }

    /// The bytes of a list. Only a regular file is read: nothing else comes to an end for certain.
    pub fn read(&mut self, path: &[u8]) -> ListFile<Cow<'_, [u8]>> {
        let place = Path::new(OsStr::from_bytes(path));
        let current = match Mark::of(place) {
            Mark::Nothing => return ListFile::Absent,
            Mark::Is(identity) => {
                self.0.get(path).is_some_and(|list| list.identity == identity && list.bytes.is_some())
            }
            Mark::Failed(_) | Mark::Unsettled => false,
        };
        if current {
            return match self.0.get(path).and_then(|list| list.bytes.as_deref()) {
                Some(bytes) => ListFile::Bytes(Cow::Borrowed(bytes)),
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
        let listed = Listed { identity, len: bytes.len(), bytes: None };
        let listed = self.0.entry(path.to_vec()).or_insert(listed);
        ListFile::Bytes(Cow::Borrowed(listed.bytes.insert(bytes)))
    }
}

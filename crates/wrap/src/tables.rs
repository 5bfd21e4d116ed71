//! Opens both tables as they stand at this moment, as the original does for every request, and decides what each is:
//! missing, unreadable, text, or (later) the mapped compiled form. Evaluates nothing.

use hosts_access::{Content, Table, Tables};
use portreeve_sys::source::{Source, reason};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The longest table that is read, in bytes; a longer one counts as unreadable.
pub const LONGEST: usize = 64 << 20;

/// Both tables, of one moment. Borrow them with [`Opened::tables`].
#[derive(Debug)]
pub struct Opened {
    allow: Held,
    deny: Held,
}

/// One table with what keeps it alive.
#[derive(Debug)]
struct Held {
    path: Vec<u8>,
    content: Kept,
}

#[derive(Debug)]
enum Kept {
    Missing,
    Unreadable(String),
    Text(Vec<u8>),
}

/// Opens the tables at these paths. Never waits: a pipe counts as unreadable.
#[must_use]
pub fn open(allow: &[u8], deny: &[u8]) -> Opened {
    Opened { allow: Held::open(allow), deny: Held::open(deny) }
}

impl Opened {
    /// Both tables, for [`hosts_access::evaluate`].
    #[must_use]
    pub fn tables(&self) -> Tables<'_> {
        Tables { allow: self.allow.table(), deny: self.deny.table() }
    }
}

impl Held {
    fn open(path: &[u8]) -> Self {
        let content = match Source::open(Path::new(OsStr::from_bytes(path))) {
            Ok(Source::Missing | Source::Directory(_)) => Kept::Missing,
            Ok(Source::Readable(file)) => match file.read(LONGEST) {
                Ok(text) => Kept::Text(text),
                Err(error) => Kept::Unreadable(reason(&error)),
            },
            Err(error) => Kept::Unreadable(reason(&error)),
        };
        Self { path: path.to_vec(), content }
    }

    fn table(&self) -> Table<'_> {
        let content = match &self.content {
            Kept::Missing => Content::Missing,
            Kept::Unreadable(why) => Content::Unreadable(why),
            Kept::Text(text) => Content::Text(text),
        };
        Table { path: &self.path, content }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open_one(path: &Path) -> Opened {
        open(path.as_os_str().as_bytes(), b"/nonexistent/hosts.deny")
    }

    #[test]
    fn each_state_of_a_file_is_told_apart() {
        let here = std::env::temp_dir().join(format!("portreeve-tables-{}", std::process::id()));
        std::fs::create_dir_all(&here).unwrap();
        let file = here.join("hosts.allow");
        assert!(matches!(open_one(&file).tables().allow.content, Content::Missing));
        assert!(matches!(open_one(&here).tables().allow.content, Content::Missing), "a directory is empty");
        std::fs::write(&file, "d: ALL\n").unwrap();
        let opened = open_one(&file);
        assert!(matches!(opened.tables().allow.content, Content::Text(b"d: ALL\n")));
        assert_eq!(opened.tables().allow.path, file.as_os_str().as_bytes());
        let below = open_one(&file.join("x"));
        assert!(matches!(below.tables().allow.content, Content::Unreadable("Not a directory")));
        assert!(matches!(open_one(Path::new("/dev/null")).tables().allow.content, Content::Text(b"")));
        assert!(matches!(open_one(Path::new("/dev/zero")).tables().allow.content, Content::Unreadable(_)));
        std::fs::remove_dir_all(here).unwrap();
    }
}

//! Opens both tables as they stand at this moment, as the original does for every request, and decides what each is:
//! missing, unreadable, compiled, or text. Evaluates nothing.

use crate::compiled::{self, Map, Places, SMALL};
use hosts_access::image::{Compiled, Image, Text};
use hosts_access::{Content, Table, Tables, Which};
use portreeve_sys::source::{Readable, Source, reason};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;

/// The longest table that is read, in bytes; a longer one counts as unreadable.
pub const LONGEST: usize = 64 << 20;

/// Both tables, of one moment. Borrow them with [`Opened::tables`].
#[derive(Debug)]
pub struct Opened {
    allow: Held,
    deny: Held,
    /// Their compiled form, if it may be believed.
    map: Option<Map>,
}

/// One table with what keeps it alive.
#[derive(Debug)]
struct Held {
    path: Vec<u8>,
    kept: Kept,
}

#[derive(Debug)]
enum Kept {
    Missing,
    Unreadable(String),
    Text(Vec<u8>),
    Unread(Unread),
}

/// A table that is open and, while the compiled form can answer, not read.
#[derive(Debug)]
struct Unread {
    file: Readable,
    text: OnceLock<Result<Vec<u8>, String>>,
}

/// Opens the tables at these paths. Never waits: a pipe counts as unreadable. The default ones may come compiled.
#[must_use]
pub fn open(allow: &[u8], deny: &[u8]) -> Opened {
    let places =
        (allow == compiled::ALLOW.as_bytes() && deny == compiled::DENY.as_bytes()).then(Places::default);
    open_at(allow, deny, places.as_ref())
}

fn open_at(allow: &[u8], deny: &[u8], places: Option<&Places>) -> Opened {
    let source = |path: &[u8]| Source::open(Path::new(OsStr::from_bytes(path)));
    let [allow_source, deny_source] = [allow, deny].map(source);
    if let Err(error) = &deny_source
        && matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
    {
        // With one descriptor left the tables can be read one after the other, as the original always does.
        let allow = Held { path: allow.to_vec(), kept: Kept::new(allow_source, false) };
        let deny = Held { path: deny.to_vec(), kept: Kept::new(source(deny), false) };
        return Opened { allow, deny, map: None };
    }
    let state = |source: &std::io::Result<Source>| source.as_ref().ok().and_then(compiled::state);
    let long = [&allow_source, &deny_source].into_iter().any(is_long);
    let map = match (places, state(&allow_source), state(&deny_source)) {
        (Some(places), Some(allow), Some(deny)) if long => compiled::believed(places, allow, deny),
        _ => None,
    };
    let hold = |path: &[u8], source| {
        let unread = map.is_some() && is_long(&source);
        Held { path: path.to_vec(), kept: Kept::new(source, unread) }
    };
    Opened { allow: hold(allow, allow_source), deny: hold(deny, deny_source), map }
}

fn is_long(source: &std::io::Result<Source>) -> bool {
    matches!(source, Ok(Source::Readable(file)) if file.identity().size > SMALL)
}

impl Opened {
    /// Both tables, for [`hosts_access::evaluate`].
    #[must_use]
    pub fn tables(&self) -> Tables<'_> {
        let image = self.map.as_ref().and_then(Map::image);
        Tables { allow: self.allow.table(Which::Allow, image), deny: self.deny.table(Which::Deny, image) }
    }

    /// Whether the compiled form is used.
    #[must_use]
    pub fn is_compiled(&self) -> bool {
        self.map.is_some()
    }

    /// Whether a table is long enough for a compiled form to be used.
    #[must_use]
    pub fn is_long(&self) -> bool {
        [&self.allow, &self.deny].into_iter().any(|held| match &held.kept {
            Kept::Text(text) => u64::try_from(text.len()).unwrap_or(u64::MAX) > SMALL,
            Kept::Unread(_) => true,
            Kept::Missing | Kept::Unreadable(_) => false,
        })
    }
}

impl Kept {
    fn new(source: std::io::Result<Source>, unread: bool) -> Self {
        match source {
            Ok(Source::Missing | Source::Directory(_)) => Self::Missing,
            Ok(Source::Readable(file)) if unread => Self::Unread(Unread { file, text: OnceLock::new() }),
            Ok(Source::Readable(file)) => match file.read(LONGEST) {
                Ok(text) => Self::Text(text),
                Err(error) => Self::Unreadable(reason(&error)),
            },
            Err(error) => Self::Unreadable(reason(&error)),
        }
    }
}

impl Text for Unread {
    fn content(&self) -> Content<'_> {
        let text = self.text.get_or_init(|| self.file.read(LONGEST).map_err(|error| reason(&error)));
        match text {
            Ok(text) => Content::Text(text),
            Err(why) => Content::Unreadable(why),
        }
    }
}

impl Held {
    fn table<'a>(&'a self, which: Which, image: Option<Image<'a>>) -> Table<'a> {
        let content = match (&self.kept, image) {
            (Kept::Missing, _) => Content::Missing,
            (Kept::Unreadable(why), _) => Content::Unreadable(why),
            (Kept::Text(text), _) => Content::Text(text),
            (Kept::Unread(unread), Some(image)) => {
                let index = match which {
                    Which::Allow => image.allow(),
                    Which::Deny => image.deny(),
                };
                Content::Compiled(Compiled { index, text: unread })
            }
            (Kept::Unread(unread), None) => unread.content(),
        };
        Table { path: &self.path, content }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hosts_access::image::{self, State};
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;
    use std::time::{Duration, SystemTime};

    /// A directory of its own with two long tables, a list, and places for their compiled form.
    struct Set {
        here: PathBuf,
        places: Places,
        list: PathBuf,
    }

    impl Set {
        fn new(name: &str) -> Self {
            let here = std::env::temp_dir().join(format!("portreeve-tables-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&here).unwrap();
            let file = |name: &str| here.join(name);
            let list = file("list");
            std::fs::write(&list, "10.9.9.9\n").unwrap();
            let places = Places {
                allow: file("hosts.allow"),
                deny: file("hosts.deny"),
                map: file("cache/hosts.map"),
                owner: rustix_euid(),
            };
            std::fs::write(&places.allow, format!("{}d: {}\n", long(), list.display())).unwrap();
            std::fs::write(&places.deny, "ALL: ALL\n").unwrap();
            Self { here, places, list }
        }

        /// As after `portreeve compile-hosts`.
        fn compiled(name: &str) -> Self {
            let set = Self::new(name);
            compiled::write(&set.places).unwrap();
            assert!(set.open().is_compiled(), "what was just written is believed");
            set
        }

        fn open(&self) -> Opened {
            let path = |path: &Path| path.as_os_str().as_bytes().to_vec();
            open_at(&path(&self.places.allow), &path(&self.places.deny), Some(&self.places))
        }
    }

    impl Drop for Set {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.here);
        }
    }

    fn rustix_euid() -> u32 {
        std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap())
    }

    /// More than [`SMALL`] bytes of rules.
    fn long() -> String {
        let rules: Vec<String> = (0..2000).map(|n| format!("d: 10.0.{}.{}\n", n / 250, n % 250)).collect();
        rules.concat()
    }

    fn open_one(path: &Path) -> Opened {
        open(path.as_os_str().as_bytes(), b"/nonexistent/hosts.deny")
    }

    #[test]
    fn each_state_of_a_file_is_told_apart() {
        let set = Set::new("states");
        let file = set.here.join("table");
        assert!(matches!(open_one(&file).tables().allow.content, Content::Missing));
        assert!(
            matches!(open_one(&set.here).tables().allow.content, Content::Missing),
            "a directory is empty"
        );
        std::fs::write(&file, "d: ALL\n").unwrap();
        let opened = open_one(&file);
        assert!(matches!(opened.tables().allow.content, Content::Text(b"d: ALL\n")));
        assert_eq!(opened.tables().allow.path, file.as_os_str().as_bytes());
        let below = open_one(&file.join("x"));
        assert!(matches!(below.tables().allow.content, Content::Unreadable("Not a directory")));
        assert!(matches!(open_one(Path::new("/dev/null")).tables().allow.content, Content::Text(b"")));
        assert!(matches!(open_one(Path::new("/dev/zero")).tables().allow.content, Content::Unreadable(_)));
    }

    #[test]
    fn a_fresh_compiled_form_is_used_for_long_tables_only() {
        let set = Set::compiled("fresh");
        let opened = set.open();
        assert!(matches!(opened.tables().allow.content, Content::Compiled(_)));
        assert!(matches!(opened.tables().deny.content, Content::Text(b"ALL: ALL\n")));
        let Content::Compiled(compiled) = opened.tables().allow.content else { panic!("not compiled") };
        let text = std::fs::read(&set.places.allow).unwrap();
        assert!(
            matches!(compiled.text.content(), Content::Text(found) if found == text),
            "the text is at hand"
        );
        let mode = std::fs::metadata(&set.places.map).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, if is_reachable(&set.here) { 0o644 } else { 0o600 });
        let cache = std::fs::metadata(set.places.map.parent().unwrap()).unwrap().permissions().mode();
        assert_eq!(cache & 0o777, 0o755, "whatever the mask of whoever runs this");
        std::fs::write(&set.places.allow, "d: 10.0.0.1\n").unwrap();
        assert!(!set.open().is_compiled(), "short tables are read");
    }

    fn is_reachable(path: &Path) -> bool {
        portreeve_sys::source::is_public(path).unwrap()
    }

    #[test]
    fn any_edit_makes_it_stale() {
        let set = Set::compiled("stale");
        // Same size, same modification time: only the time of change tells.
        let text = std::fs::read_to_string(&set.places.allow).unwrap();
        let modified = std::fs::metadata(&set.places.allow).unwrap().modified().unwrap();
        let mut file = std::fs::OpenOptions::new().write(true).open(&set.places.allow).unwrap();
        file.write_all(text.replace("10.0.0.0", "10.7.7.7").as_bytes()).unwrap();
        file.set_modified(modified).unwrap();
        drop(file);
        assert_eq!(std::fs::metadata(&set.places.allow).unwrap().modified().unwrap(), modified);
        assert!(!set.open().is_compiled(), "edited");
        compiled::write(&set.places).unwrap();
        assert!(set.open().is_compiled(), "compiled again");

        // The same bytes in another file.
        let copy = set.here.join("copy");
        std::fs::copy(&set.places.deny, &copy).unwrap();
        std::fs::rename(&copy, &set.places.deny).unwrap();
        assert!(!set.open().is_compiled(), "replaced");
        compiled::write(&set.places).unwrap();

        std::fs::write(&set.list, "10.8.8.8\n").unwrap();
        assert!(!set.open().is_compiled(), "a list was edited");
        compiled::write(&set.places).unwrap();
        std::fs::remove_file(&set.list).unwrap();
        assert!(!set.open().is_compiled(), "a list is gone");
        compiled::write(&set.places).unwrap();
        assert!(set.open().is_compiled(), "absent as when it was compiled");
        std::fs::write(&set.list, "10.8.8.8\n").unwrap();
        assert!(!set.open().is_compiled(), "a list has come");
        compiled::write(&set.places).unwrap();
        std::fs::remove_file(&set.places.deny).unwrap();
        assert!(!set.open().is_compiled(), "a table is gone");
    }

    #[test]
    fn a_table_that_was_edited_a_moment_before_is_not_believed() {
        let set = Set::new("moment");
        let opened = [&set.places.allow, &set.places.deny].map(|path| Source::open(path).unwrap());
        let text = std::fs::read(&set.places.allow).unwrap();
        let path = |path: &Path| path.as_os_str().as_bytes().to_vec();
        let [allow, deny] = [&set.places.allow, &set.places.deny].map(|place| path(place));
        let states = opened.map(|source| compiled::state(&source).unwrap());
        struct NoList;
        impl image::Lists for NoList {
            fn read(&mut self, _: &[u8]) -> Option<(State, Vec<u8>)> {
                None
            }
        }
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        for (later, believed) in [(0, false), (1900, false), (2500, true)] {
            let begun = i64::try_from((now + Duration::from_millis(later)).as_nanos()).unwrap();
            let bytes = image::compile(
                &image::Original { path: &allow, text: &text, state: states[0] },
                &image::Original { path: &deny, text: b"ALL: ALL\n", state: states[1] },
                &mut NoList,
                begun,
            )
            .unwrap();
            std::fs::create_dir_all(set.places.map.parent().unwrap()).unwrap();
            portreeve_sys::parts::replace(&set.places.map, &bytes, 0o644).unwrap();
            assert_eq!(set.open().is_compiled(), believed, "{later} ms");
        }
    }

    #[test]
    fn a_torn_or_foreign_file_is_not_believed() {
        let set = Set::compiled("torn");
        let whole = std::fs::read(&set.places.map).unwrap();
        for len in [0, 1, 8, 43, 44, 100, whole.len() / 2, whole.len() - 1] {
            portreeve_sys::parts::replace(&set.places.map, &whole[..len], 0o644).unwrap();
            assert!(!set.open().is_compiled(), "cut at {len}");
        }
        portreeve_sys::parts::replace(&set.places.map, &[&whole[..], b"x"].concat(), 0o644).unwrap();
        assert!(!set.open().is_compiled(), "longer");
        portreeve_sys::parts::replace(&set.places.map, &whole, 0o666).unwrap();
        assert!(!set.open().is_compiled(), "anybody may write it");
        portreeve_sys::parts::replace(&set.places.map, &whole, 0o644).unwrap();
        assert!(set.open().is_compiled());
        let mut others = set.places.clone();
        others.deny = set.here.join("other");
        std::fs::copy(&set.places.deny, &others.deny).unwrap();
        let path = |path: &Path| path.as_os_str().as_bytes().to_vec();
        let opened = open_at(&path(&others.allow), &path(&others.deny), Some(&others));
        assert!(!opened.is_compiled(), "made from other tables");
    }

    #[test]
    fn nothing_is_told_that_the_caller_could_not_read() {
        let set = Set::new("secret");
        std::fs::set_permissions(&set.places.deny, std::fs::Permissions::from_mode(0o600)).unwrap();
        let written = compiled::write(&set.places).unwrap();
        assert!(!written.public);
        let mode = std::fs::metadata(&set.places.map).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // A table that cannot be opened is in error, whatever was compiled.
        std::fs::remove_file(&set.places.allow).unwrap();
        std::os::unix::fs::symlink("hosts.allow", &set.places.allow).unwrap();
        let opened = set.open();
        assert!(!opened.is_compiled());
        assert!(matches!(opened.tables().allow.content, Content::Unreadable(_)));
        assert!(compiled::write(&set.places).is_err(), "and nothing is compiled from it");
    }
}

//! The tables compiled in memory, so that a long one costs no more than a short one. Made by a thread that lives no longer
//! than that: a million rules take a fifth of a second, and the loop must not wait for them. Believed only while both tables
//! and every list that they name are what it was made from; until then, and without it, the text is evaluated. While it is
//! believed nobody holds the text.

use crate::hosts::map;
use crate::hosts::table_file::{Gist, LONGEST_TABLE};
use hosts_access::image::{self, Image, Original, Source as Of, Stamp, State};
use portreeve_sys::source::{Identity, Source};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The longest list that is compiled with the tables; a rule with a longer one is evaluated as it stands.
const LONGEST_LIST: usize = 1 << 20;
/// How soon after one attempt the next may begin: somebody may be writing to a list.
const PAUSE: Duration = Duration::from_secs(1);

/// The compiled tables, and whoever is making them.
#[derive(Debug, Default)]
pub struct CompiledTables {
    made: Option<Made>,
    work: Option<JoinHandle<Option<Made>>>,
    begun: Option<Instant>,
    leaving: Option<JoinHandle<()>>,
    /// Of what tables the last file was left, or tried to be, since the image was made.
    left: Option<[State; 2]>,
}

/// What a thread has made.
#[derive(Debug)]
struct Made {
    image: Vec<u8>,
    gists: [Gist; 2],
}

/// One table, to be compiled by a thread: its text is shared with the loop, not copied.
#[derive(Clone, Debug)]
pub struct Copy {
    /// Its path.
    pub path: &'static str,
    /// Its bytes; none if there is no such file.
    pub text: Arc<Vec<u8>>,
    /// What its content is known by.
    pub state: State,
}

impl Copy {
    fn original(&self) -> Original<'_> {
        Original { path: self.path.as_bytes(), text: &self.text, state: self.state }
    }
}

impl CompiledTables {
    /// Whether what is held was made from the tables whose contents are known by these states, and from the lists as they
    /// are; if not, it is given up.
    pub fn stands(&mut self, allow: State, deny: State) -> bool {
        if let Some(work) = self.work.take_if(|work| work.is_finished()) {
            // A thread that could not do it leaves the text in force.
            self.made = work.join().ok().flatten();
            self.left = None;
        }
        let stands = self.image().is_some_and(|image| stands(&image, allow, deny));
        if !stands {
            self.forget();
        }
        stands
    }

    /// The image that is held.
    pub fn image(&self) -> Option<Image<'_>> {
        Image::open(&self.made.as_ref()?.image)
    }

    /// The gists of the tables that the image was made from.
    pub fn gists(&self) -> Option<&[Gist; 2]> {
        Some(&self.made.as_ref()?.gists)
    }

    /// Bytes of what is held; none while the text is evaluated.
    pub fn bytes(&self) -> Option<usize> {
        Some(self.made.as_ref()?.image.len())
    }

    /// Whether a thread is making one.
    pub fn is_coming(&self) -> bool {
        self.work.is_some()
    }

    /// Gives up what is held: the tables are others, or short, or cannot be read.
    pub fn forget(&mut self) {
        self.made = None;
    }

    /// Begins to compile these tables.
    pub fn begin(&mut self, allow: Copy, deny: Copy) {
        if self.work.is_some() || self.begun.is_some_and(|begun| begun.elapsed() < PAUSE) {
            return;
        }
        self.begun = Some(Instant::now());
        // Without a thread the text stays in force.
        self.work = thread(move || {
            let image = image::compile(&allow.original(), &deny.original(), &mut Disk, now()?)?;
            Some(Made { image, gists: [Gist::of(&allow.text), Gist::of(&deny.text)] })
        });
    }

    /// Leaves the tables compiled for others, once: with the states of their files, by which others know them. They are read
    /// anew for it: nothing else needs their texts.
    pub fn leave(&mut self, paths: [&'static str; 2], states: [State; 2]) {
        if self.left == Some(states) || self.leaving.as_ref().is_some_and(|work| !work.is_finished()) {
            return;
        }
        self.left = Some(states);
        if !map::is_wanted() {
            return;
        }
        self.leaving = thread(move || {
            // Others then walk the text, as they would without this daemon; `compile-hosts` says why.
            let _ = compile_files(paths).is_some_and(|image| map::leave(&image).is_ok());
        });
    }
}

/// The image of both tables as they are on the disk, for a file.
fn compile_files(paths: [&'static str; 2]) -> Option<Vec<u8>> {
    let begun = now()?;
    let [allow, deny] = paths.map(|path| {
        let (state, text) = read(Path::new(path), LONGEST_TABLE)?;
        Some(Copy { path, text: Arc::new(text), state })
    });
    image::compile(&allow?.original(), &deny?.original(), &mut Disk, begun)
}

fn now() -> Option<i64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_nanos()).ok()
}

fn thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<JoinHandle<T>> {
    std::thread::Builder::new().name("tables".to_owned()).spawn(work).ok()
}

fn stands(image: &Image<'_>, allow: State, deny: State) -> bool {
    image.is_fresh(|source| match source {
        Of::Allow(_) => Some(allow),
        Of::Deny(_) => Some(deny),
        Of::List(path) => match Identity::at(Path::new(OsStr::from_bytes(path))) {
            Ok(None) => Some(State::Absent),
            Ok(Some(identity)) => Some(state(identity)),
            Err(_) => None,
        },
    })
}

/// The state of a file that is what it is known to be.
pub fn state(identity: Identity) -> State {
    let Identity { dev, inode, size, mtime, ctime } = identity;
    State::File(Stamp { dev, inode, size, mtime, ctime })
}

/// The lists on the disk.
struct Disk;

impl image::Lists for Disk {
    fn read(&mut self, path: &[u8]) -> Option<(State, Vec<u8>)> {
        read(Path::new(OsStr::from_bytes(path)), LONGEST_LIST)
    }
}

/// What a path leads to and then its bytes, if an image can be made of that.
fn read(path: &Path, longest: usize) -> Option<(State, Vec<u8>)> {
    match Source::open(path).ok()? {
        Source::Missing => Some((State::Absent, Vec::new())),
        Source::Readable(file) if file.is_regular() => {
            Some((state(file.identity()), file.read(longest).ok()?))
        }
        Source::Directory(_) | Source::Readable(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether there is an image within ten seconds.
    fn made(tables: &mut CompiledTables, allow: &Copy, deny: &Copy) -> bool {
        (0..1000).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            stands_or_begins(tables, allow, deny)
        })
    }

    fn stands_or_begins(tables: &mut CompiledTables, allow: &Copy, deny: &Copy) -> bool {
        let stands = tables.stands(allow.state, deny.state);
        if !stands {
            tables.begin(allow.clone(), deny.clone());
        }
        stands
    }

    #[test]
    fn an_image_stands_until_something_changes() {
        let here = std::env::temp_dir().join(format!("portreeve-compiled-{}", std::process::id()));
        std::fs::create_dir_all(&here).unwrap();
        let list = here.join("list");
        let text = format!("d: 10.0.0.1 {}\n", list.display());
        let old = |inode| State::File(Stamp { dev: 1, inode, size: 1, mtime: 1, ctime: 1 });
        let allow = Copy { path: "allow", text: Arc::new(text.into_bytes()), state: old(1) };
        let deny = Copy { path: "deny", text: Arc::default(), state: State::Absent };
        let mut tables = CompiledTables::default();
        assert!(!stands_or_begins(&mut tables, &allow, &deny), "it takes its time");
        assert!(tables.is_coming());
        assert!(made(&mut tables, &allow, &deny), "a list that is not there");
        assert!(!tables.is_coming());
        std::fs::write(&list, "10.0.0.2\n").unwrap();
        assert!(!stands_or_begins(&mut tables, &allow, &deny), "the list has come");
        assert!(made(&mut tables, &allow, &deny), "when the list has been left alone for two seconds");
        let edited = Copy { state: old(2), ..allow };
        assert!(!stands_or_begins(&mut tables, &edited, &deny), "another table");
        assert!(made(&mut tables, &edited, &deny));
        tables.forget();
        assert!(tables.image().is_none());
        assert!(!tables.stands(edited.state, deny.state));
        std::fs::remove_dir_all(here).unwrap();
    }
}

//! The tables compiled in memory, so that a long one costs no more than a short one. Made by a thread that lives no longer
//! than that: a million rules take a fifth of a second, and the loop must not wait for them. Believed only while both tables
//! and every list that they name are what it was made from; until then, and without it, the text is evaluated.

use crate::hosts::map;
use hosts_access::image::{self, Image, Original, Source as Made, Stamp, State};
use portreeve_sys::source::{Identity, Source};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Tables that are not longer than this, both together and with the lists that they name, in bytes, are evaluated as they stand.
pub const SMALL: usize = 16 << 10;
/// The longest list that is compiled with the tables; a rule with a longer one is evaluated as it stands.
const LONGEST_LIST: usize = 1 << 20;
/// How soon after one attempt the next may begin: somebody may be writing to a list.
const PAUSE: Duration = Duration::from_secs(1);

/// The compiled tables, and whoever is making them.
#[derive(Debug, Default)]
pub struct CompiledTables {
    image: Vec<u8>,
    work: Option<JoinHandle<Option<Vec<u8>>>>,
    begun: Option<Instant>,
    leaving: Option<JoinHandle<()>>,
    /// Of what tables the last file was left, or tried to be, since the image was made.
    left: Option<[State; 2]>,
}

impl CompiledTables {
    /// The image of these tables, if there is one by now; if not, one is begun.
    pub fn image(&mut self, allow: &Original<'_>, deny: &Original<'_>) -> Option<Image<'_>> {
        if let Some(work) = self.work.take_if(|work| work.is_finished()) {
            // A thread that could not do it leaves the text in force.
            self.image = work.join().ok().flatten().unwrap_or_default();
            self.left = None;
        }
        if !Image::open(&self.image).is_some_and(|image| stands(&image, allow, deny)) {
            self.image = Vec::new();
            self.begin(allow, deny);
            return None;
        }
        Image::open(&self.image)
    }

    /// Bytes of what is held; none while the text is evaluated.
    pub fn bytes(&self) -> Option<usize> {
        Some(self.image.len()).filter(|&length| length > 0)
    }

    /// Gives up what is held: the tables are short now, or cannot be read.
    pub fn forget(&mut self) {
        self.image = Vec::new();
    }

    fn begin(&mut self, allow: &Original<'_>, deny: &Original<'_>) {
        if self.work.is_some() || self.begun.is_some_and(|begun| begun.elapsed() < PAUSE) {
            return;
        }
        self.begun = Some(Instant::now());
        let work = compile(allow, deny);
        // Without a thread the text stays in force.
        self.work = thread(move || work().map(|(image, ..)| image));
    }

    /// Leaves these tables compiled for others, once: with the states of their files, by which others know them.
    pub fn leave(&mut self, allow: &Original<'_>, deny: &Original<'_>) {
        let states = [allow.state, deny.state];
        if self.left == Some(states) || self.leaving.as_ref().is_some_and(|work| !work.is_finished()) {
            return;
        }
        self.left = Some(states);
        if !map::is_wanted() {
            return;
        }
        let work = compile(allow, deny);
        self.leaving = thread(move || {
            if let Some((image, allow, deny)) = work() {
                // Others then walk the text, as they would without this daemon; `compile-hosts` says why.
                let _ = map::leave(&image, &allow.original(), &deny.original());
            }
        });
    }
}

/// A table of a thread's own.
struct Copy {
    path: Vec<u8>,
    text: Vec<u8>,
    state: State,
}

impl Copy {
    fn of(table: &Original<'_>) -> Self {
        Self { path: table.path.to_vec(), text: table.text.to_vec(), state: table.state }
    }

    fn original(&self) -> Original<'_> {
        Original { path: &self.path, text: &self.text, state: self.state }
    }
}

/// The work of compiling both tables, to be done by a thread.
fn compile(
    allow: &Original<'_>,
    deny: &Original<'_>,
) -> impl FnOnce() -> Option<(Vec<u8>, Copy, Copy)> + Send + use<> {
    let (allow, deny) = (Copy::of(allow), Copy::of(deny));
    move || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
        let begun = i64::try_from(since.as_nanos()).ok()?;
        let image = image::compile(&allow.original(), &deny.original(), &mut Disk, begun)?;
        Some((image, allow, deny))
    }
}

fn thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<JoinHandle<T>> {
    std::thread::Builder::new().name("tables".to_owned()).spawn(work).ok()
}

fn stands(image: &Image<'_>, allow: &Original<'_>, deny: &Original<'_>) -> bool {
    image.is_fresh(|source| match source {
        Made::Allow(path) => (path == allow.path).then_some(allow.state),
        Made::Deny(path) => (path == deny.path).then_some(deny.state),
        Made::List(path) => match Identity::at(Path::new(OsStr::from_bytes(path))) {
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
        match Source::open(Path::new(OsStr::from_bytes(path))).ok()? {
            Source::Missing => Some((State::Absent, Vec::new())),
            Source::Readable(file) if file.is_regular() => {
                Some((state(file.identity()), file.read(LONGEST_LIST).ok()?))
            }
            Source::Directory(_) | Source::Readable(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether there is an image within ten seconds.
    fn made(tables: &mut CompiledTables, allow: &Original<'_>, deny: &Original<'_>) -> bool {
        (0..1000).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            tables.image(allow, deny).is_some()
        })
    }

    #[test]
    fn an_image_stands_until_something_changes() {
        let here = std::env::temp_dir().join(format!("portreeve-compiled-{}", std::process::id()));
        std::fs::create_dir_all(&here).unwrap();
        let list = here.join("list");
        let text = format!("d: 10.0.0.1 {}\n", list.display());
        let old = |inode| State::File(Stamp { dev: 1, inode, size: 1, mtime: 1, ctime: 1 });
        let allow = Original { path: b"allow", text: text.as_bytes(), state: old(1) };
        let deny = Original { path: b"deny", text: b"", state: State::Absent };
        let mut tables = CompiledTables::default();
        assert!(tables.image(&allow, &deny).is_none(), "it takes its time");
        assert!(made(&mut tables, &allow, &deny), "a list that is not there");
        std::fs::write(&list, "10.0.0.2\n").unwrap();
        assert!(tables.image(&allow, &deny).is_none(), "the list has come");
        assert!(made(&mut tables, &allow, &deny), "when the list has been left alone for two seconds");
        let edited = Original { state: old(2), ..allow };
        assert!(tables.image(&edited, &deny).is_none(), "another table");
        assert!(made(&mut tables, &edited, &deny));
        tables.forget();
        assert!(tables.image(&edited, &deny).is_none());
        std::fs::remove_dir_all(here).unwrap();
    }
}

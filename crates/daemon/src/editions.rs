//! Whether an instance was started from the program that has its service's path now. Looked at when the configuration is read and when
//! somebody asks, never when a client comes: what counts is whether the file's content is younger than the instance. The build-id is
//! left to the audit, which parses other people's files; this is one stat(2), and of a script that changed its text.

use crate::slot::{Slot, SlotId};
use crate::supervisor::Supervisor;
use portreeve_conf::{Action, Shown, Text, shown};
use portreeve_sys::clock;
use portreeve_sys::mounts::Mounts;
use portreeve_sys::sandbox::path_in;
use portreeve_sys::source::{Identity, Source};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// A longer script is told by its file alone.
const LONGEST_SCRIPT: usize = 64 << 10;
/// The kernel stamps files with a clock that lags behind by a tick.
const TICK: i64 = 10_000_000;

/// What a service's program was when it was last looked at.
#[derive(Clone, Debug, Default)]
pub struct Edition {
    seen: Option<Identity>,
    /// Of a script: what tells its text.
    text: Option<u64>,
    /// Since when it has had this content, in nanoseconds since 1970.
    since: i64,
    /// It lies where somebody else answers.
    elsewhere: bool,
}

/// The programs of one reading that were looked at: a thousand services of one program are one look.
#[derive(Debug, Default)]
pub struct Editions(HashMap<Text, Rc<Edition>>, Rc<Edition>);

impl Editions {
    /// What the program of a new slot is.
    pub fn of(&mut self, slot: &Slot, mounts: &mut Mounts) -> Rc<Edition> {
        let Action::External { server, .. } = &slot.service.action else { return Rc::clone(&self.1) };
        let there = self::server(slot).unwrap_or_default();
        let own = there == Path::new(&**server);
        if let Some(seen) = self.0.get(server).filter(|_| own) {
            return Rc::clone(seen);
        }
        let mut edition = Edition::default();
        edition.look(&there, mounts);
        let edition = Rc::new(edition);
        if own {
            self.0.insert(server.clone(), Rc::clone(&edition));
        }
        edition
    }
}

/// What an instance was started from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// What is there now.
    Current,
    /// Something before it.
    Older,
    /// Nothing is there now.
    Gone,
}

impl Program {
    /// The word for machines.
    pub fn word(self) -> &'static str {
        match self {
            Self::Current => "current",
            Self::Older => "older",
            Self::Gone => "gone",
        }
    }
}

impl Edition {
    /// Looks at the file again. Where looking could wait for somebody else, nothing is known.
    pub fn look(&mut self, server: &Path, mounts: &mut Mounts) {
        self.elsewhere = mounts.remote(server).is_some();
        if self.elsewhere {
            return;
        }
        let now = Identity::at(server).ok().flatten();
        if now == self.seen {
            return;
        }
        let text = now.and_then(|_| script(server));
        let same_text = text.is_some() && text == self.text;
        // What runs cannot be written to, and another time stamp is no other program.
        let place = |identity: Identity| (identity.dev, identity.inode, identity.size);
        let same_file = text.is_none() && self.text.is_none() && now.map(place) == self.seen.map(place);
        if let Some(now) = now.filter(|_| !same_text && !same_file) {
            self.since = now.ctime;
        }
        // Of one that has gone the text is kept: an equal one may come back.
        if now.is_some() {
            self.text = text;
        }
        self.seen = now;
    }

    /// What an instance was started from that started at this time, in nanoseconds since 1970.
    pub fn of(&self, started: i64) -> Program {
        match self.seen {
            None => Program::Gone,
            Some(_) if started < self.since.saturating_add(TICK) => Program::Older,
            Some(_) => Program::Current,
        }
    }

    /// Whether it is a script, which an interpreter has read.
    pub fn is_script(&self) -> bool {
        self.text.is_some()
    }
}

/// What tells the text of a script; none of what is none, or too long.
fn script(server: &Path) -> Option<u64> {
    let Ok(Source::Readable(file)) = Source::open(server) else { return None };
    let text = file.is_regular().then(|| file.read(LONGEST_SCRIPT).ok())??;
    let mut hasher = DefaultHasher::new();
    text.starts_with(b"#!").then(|| {
        text.hash(&mut hasher);
        hasher.finish()
    })
}

/// The program of a slot that starts one, where it lies outside of a view of its own.
fn server(slot: &Slot) -> Option<PathBuf> {
    let Action::External { server, .. } = &slot.service.action else { return None };
    let path = Path::new(server);
    let Some(sandbox) = &slot.service.sandbox else { return Some(path.to_owned()) };
    if let Shown::Host(bound) = shown(sandbox.mounts.as_deref().unwrap_or_default(), server, false) {
        return Some(PathBuf::from(bound));
    }
    // Where nothing is there, nothing is looked at in its place.
    let root = sandbox.root.as_deref();
    Some(root.map_or_else(|| path.to_owned(), |root| path_in(Path::new(root), path).unwrap_or_default()))
}

impl Supervisor {
    /// Looks at the program of a service.
    fn look_at_program(&mut self, id: SlotId) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let Some(server) = server(slot) else { return };
        Rc::make_mut(&mut slot.edition).look(&server, &mut self.mounts.borrow_mut());
    }

    /// Looks at the programs of all services that have instances.
    pub fn look_at_programs(&mut self) {
        let mut ids: Vec<SlotId> = self.children.programs.values().map(|child| child.slot).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter().for_each(|id| self.look_at_program(id));
    }

    /// What an instance was started from, and whether that is a script; `None` of one that lies where nobody here looks.
    pub fn program_of(&self, slot: SlotId, started: Duration) -> Option<(Program, bool)> {
        let slot = self.slots.get(&slot)?;
        server(slot).filter(|_| !slot.edition.elsewhere)?;
        let nanoseconds = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        let age = clock::monotonic().saturating_sub(started);
        let started = nanoseconds(clock::wall()).saturating_sub(nanoseconds(age));
        Some((slot.edition.of(started), slot.edition.is_script()))
    }

    /// How many instances of a service were started from something else than what is there now.
    pub fn older_of(&self, id: SlotId) -> usize {
        let old =
            |started| self.program_of(id, started).is_some_and(|(program, _)| program != Program::Current);
        self.children.programs.values().filter(|child| child.slot == id && old(child.started)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn now() -> i64 {
        i64::try_from(clock::wall().as_nanos()).unwrap()
    }

    /// Until the clock of files stands at another time.
    fn later(at: &Path) {
        let ctime = |path: &Path| Identity::at(path).unwrap().unwrap().ctime;
        let probe = at.with_extension("probe");
        let before = now();
        for _ in 0..1000 {
            fs::write(&probe, "").unwrap();
            if ctime(&probe) > before.saturating_add(2 * TICK) {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        fs::remove_file(&probe).unwrap();
    }

    #[test]
    fn another_content_is_another_edition_and_another_time_stamp_is_none() {
        for (text, other) in
            [("#!/bin/sh\necho 1\n", "#!/bin/sh\necho 2\n"), ("\x7fELF one", "\x7fELF longer")]
        {
            let at =
                std::env::temp_dir().join(format!("portreeve-edition-{}-{}", std::process::id(), text.len()));
            fs::write(&at, text).unwrap();
            later(&at);
            let (mut edition, mut mounts) = (Edition::default(), Mounts::default());
            edition.look(&at, &mut mounts);
            let started = now();
            assert_eq!(edition.of(started), Program::Current);
            later(&at);
            // touch(1), and for scripts the same text by rename.
            let touched = fs::File::options().append(true).open(&at).unwrap();
            touched.set_modified(std::time::SystemTime::now()).unwrap();
            edition.look(&at, &mut mounts);
            assert_eq!(edition.of(started), Program::Current, "{text}");
            if edition.is_script() {
                fs::write(at.with_extension("new"), text).unwrap();
                fs::rename(at.with_extension("new"), &at).unwrap();
                edition.look(&at, &mut mounts);
                assert_eq!(edition.of(started), Program::Current);
            }
            fs::write(at.with_extension("new"), other).unwrap();
            fs::rename(at.with_extension("new"), &at).unwrap();
            edition.look(&at, &mut mounts);
            assert_eq!(edition.of(started), Program::Older, "{text}");
            later(&at);
            assert_eq!(edition.of(now()), Program::Current);
            fs::remove_file(&at).unwrap();
            edition.look(&at, &mut mounts);
            assert_eq!(edition.of(now()), Program::Gone);
        }
    }
}

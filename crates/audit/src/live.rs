//! What happens to the paths of a baseline while somebody looks: table of contents, and the look itself. Changes nothing, opens no file
//! that somebody named.

pub mod gather; // many events as few lines
pub mod who; //    the process that did it

use crate::sealed::rules::Rules;
use gather::{Deed, Gathered, Line};
use portreeve_sys::fanotify::{Directory, Event, LOST, Notifier};
use std::collections::HashMap;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;
use who::Who;

/// Directories whose paths are remembered, for events that outlive them.
const MOST_DIRECTORIES: usize = 8192;

/// Looks on.
#[derive(Debug)]
pub struct Live {
    notifier: Notifier,
    rules: Rules,
    gathered: Gathered,
    known: HashMap<Directory, Vec<u8>>,
    own: u32,
    /// Paths whose file system cannot be looked at, and why.
    pub gaps: Vec<(Vec<u8>, String)>,
    /// How often the kernel had no room for more.
    pub overflows: u64,
    /// Events in directories that had gone before their path could be told.
    pub homeless: u64,
}

impl Live {
    /// Marks the file systems that the rules look at.
    ///
    /// # Errors
    /// What [`Notifier::new`] says.
    pub fn new(rules: Rules) -> io::Result<Self> {
        let mut notifier = Notifier::new()?;
        let mut gaps = Vec::new();
        for root in rules.roots() {
            let path = Path::new(std::ffi::OsStr::from_bytes(&root));
            // A link is looked at by the directory that it is in.
            let link = std::fs::symlink_metadata(path).is_ok_and(|there| there.is_symlink());
            let path = if link { path.parent().unwrap_or(path) } else { path };
            match notifier.mark(path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => gaps.push((root, crate::bounded::words(&error))),
            }
        }
        Ok(Self {
            notifier,
            rules,
            gathered: Gathered::default(),
            known: HashMap::new(),
            own: std::process::id(),
            gaps,
            overflows: 0,
            homeless: 0,
        })
    }

    /// How many file systems are looked at.
    pub fn file_systems(&self) -> usize {
        self.notifier.marked()
    }

    /// Looks on for at most so long, and takes in what there is.
    ///
    /// # Errors
    /// From the kernel.
    pub fn look(&mut self, patience: Duration) -> io::Result<()> {
        let mut doers: HashMap<u32, Who> = HashMap::new();
        for event in self.notifier.wait(patience)? {
            if event.mask & LOST != 0 {
                self.overflows += 1;
            } else if event.pid != self.own
                && let Some(path) = self.path(&event)
                && let Some(deed) = self.counts(&path, event.mask)
            {
                // Within one batch a number is one process: read while it is most likely still there.
                let who =
                    doers.entry(event.pid).or_insert_with(|| Who::of(event.pid, event.process.as_ref()));
                self.gathered.add(path, deed, who);
            }
        }
        Ok(())
    }

    /// What was gathered since the last call, in order of time, and how many events found no room.
    pub fn take(&mut self) -> (Vec<Line>, u64) {
        self.gathered.take()
    }

    fn path(&mut self, event: &Event) -> Option<Vec<u8>> {
        let directory = event.directory.as_ref()?;
        let mut path = match self.notifier.path(directory) {
            Ok(path) => {
                if self.known.len() >= MOST_DIRECTORIES {
                    self.known.clear();
                }
                // Of others nothing is told, and so nothing is remembered.
                if !self.rules.mask(&path).is_empty() || self.rules.reaches_below(&path) {
                    self.known.insert(directory.clone(), path.clone());
                }
                path
            }
            Err(_) => match self.known.get(directory) {
                Some(path) => path.clone(),
                None => {
                    self.homeless += 1;
                    return None;
                }
            },
        };
        if let Some(name) = &event.name {
            if path != b"/" {
                path.push(b'/');
            }
            path.extend_from_slice(name);
        }
        Some(path)
    }

    /// What of an event counts for a path.
    fn counts(&self, path: &[u8], mask: u64) -> Option<Deed> {
        let counts = self.rules.mask(path);
        let has = |letters: &[char]| letters.iter().any(|letter| counts.has(*letter));
        let mut deed = Deed::of(mask);
        if !has(&['S', 's', 'm']) {
            deed = deed.without(Deed::WRITTEN);
        }
        if !has(&['p', 'u', 'g', 'x', 'e', 'm', 'n', 'c']) {
            deed = deed.without(Deed::ATTRIBUTES);
        }
        (!counts.is_empty() && !deed.is_empty()).then_some(deed)
    }
}

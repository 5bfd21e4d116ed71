//! What a configuration says, taken as a whole. Data only.

use crate::diagnostic::{Classic, Diagnostic};
use crate::place::Place;
use crate::service::{AddressEntry, Service};
use crate::text::Text;
use std::path::PathBuf;
use std::rc::Rc;

/// What a configuration says, taken as a whole.
#[derive(Clone, Debug)]
pub struct Reading {
    /// Services that can be served, in the order of their entries. Empty where `fatal` is set.
    pub services: Vec<Rc<Service>>,
    /// No two of them have the same id, whatever its case.
    pub ids_differ: bool,
    /// Entries that cannot or shall not be served, with the reason.
    pub left_out: Vec<LeftOut>,
    /// The daemon's own settings from `defaults`.
    pub settings: Settings,
    /// Everything there is to say to a person, in the order of reading.
    pub diagnostics: Vec<Diagnostic>,
    /// What belongs into the daemon's log, in order: xinetd's own lines byte for byte (also those that add nothing for
    /// a person, such as `removing X`), and ours where xinetd is silent. The daemon writes these and nothing else.
    pub log: Vec<Classic>,
    /// Every file that was read, the main one first.
    pub files: Vec<PathBuf>,
    /// A condition under which nothing of this may be used: bad `defaults`, unreadable main file.
    pub fatal: Option<Fatal>,
}

impl Reading {
    /// The services that can be served.
    pub fn served(&self) -> impl Iterator<Item = &Service> + Clone {
        self.services.iter().map(|service| &**service)
    }
}

/// An entry that is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Name of the entry.
    pub name: Text,
    /// id.
    pub id: Text,
    /// The entry's first line.
    pub place: Place,
    /// Why, in one sentence.
    pub reason: String,
    /// Left out because its author said so (`disable = yes`, `enabled`, `disabled`): not an error.
    pub intended: bool,
}

/// Why a whole configuration cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fatal {
    /// The main file could not be read.
    Unreadable,
    /// A value in `defaults` is bad: nothing may be served with other limits than were meant.
    Defaults,
}

/// Settings of `defaults` that belong to the daemon and to no service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// `protect`: sources that no sensor denies.
    pub protect: Vec<AddressEntry>,
    /// `protect_groups`: whose login sessions are protected beside root's; `None` = not written.
    pub protect_groups: Option<Vec<String>>,
    /// `watch_scans`: the sensor for stealth scans runs.
    pub watch_scans: bool,
    /// `trusted_programs`: the list that `verify_server` goes by; `None` = not written.
    pub trusted_programs: Option<String>,
    /// What `defaults` set: the lines of the dump below `Service defaults`, without their tab.
    pub dump: Vec<String>,
}

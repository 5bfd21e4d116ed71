//! Which entry of a configuration a person means to switch off or on, whether there is anything to do, and whether the
//! configuration would be right afterwards. Reads what it is given; writes nothing.

use crate::escape;
use crate::failure::Failure;
use portreeve_conf::switch::{NameList, Switch};
use portreeve_conf::{Diagnostic, LeftOut, Place, Reading, Severity};
use std::path::{Path, PathBuf};

/// An entry and the file that holds it.
#[derive(Debug)]
pub struct Candidate {
    /// The file, as it was opened.
    pub file: PathBuf,
    /// The entry.
    pub switch: Switch,
}

/// All files of a configuration.
#[derive(Debug, Default)]
pub struct Survey {
    /// Every entry that can be switched, in the order of reading.
    pub candidates: Vec<Candidate>,
    /// What `defaults` say of all.
    pub lists: Vec<NameList>,
}

/// What comes of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It is served, under these ids.
    Served(Vec<String>),
    /// Its author has switched it off; in these words.
    Off(String),
    /// It is not served although it is switched on; the reason.
    Wrong(String),
}

/// Whom a person means.
#[derive(Debug)]
pub enum Meant<'a> {
    /// This one, and it is not as they want it.
    One(&'a Candidate),
    /// All of these are as they want them.
    Already(Vec<&'a Candidate>),
}

impl Survey {
    /// The entry that `word` means: a `FILE:LINE`, an id, or a name. Where several have a name, the only one that is to be
    /// changed.
    ///
    /// # Errors
    /// None, several, or one that a person has switched off by hand; with what there is.
    pub fn find(&self, word: &str, on: bool, reading: &Reading) -> Result<Meant<'_>, Failure> {
        let tests: [&dyn Fn(&Switch) -> bool; 3] = [
            &|switch| switch.place.to_string() == word,
            &|switch| switch.ids.iter().any(|id| id == word),
            &|switch| switch.name == word,
        ];
        let found = tests
            .iter()
            .map(|test| self.candidates.iter().filter(|c| test(&c.switch)).collect::<Vec<_>>())
            .find(|found| !found.is_empty())
            .ok_or_else(|| self.nobody(word))?;
        let (ours, by_hand): (Vec<_>, Vec<_>) = found.into_iter().partition(|c| !c.switch.by_hand());
        let done = |candidate: &&Candidate| match state(&candidate.switch, reading) {
            State::Served(_) => on,
            State::Off(_) => !on,
            State::Wrong(_) => false,
        };
        let (done, open): (Vec<_>, Vec<_>) = ours.into_iter().partition(done);
        match (open.as_slice(), done.as_slice(), by_hand.as_slice()) {
            ([one], _, _) => Ok(Meant::One(one)),
            ([], [], [_, ..]) if !on => Ok(Meant::Already(by_hand)),
            ([], [], [one, ..]) => Err(Failure::with_help(
                format!("{}: the line is a comment: somebody put a `#` before it", shown(&one.switch.place)),
                "take the `#` away by hand; only what `#<off>#` switches off is switched on here",
            )),
            ([], _, _) => Ok(Meant::Already(done)),
            (several, _, _) => Err(ambiguous(word, several, reading)),
        }
    }

    fn nobody(&self, word: &str) -> Failure {
        let mut known: Vec<&str> =
            self.candidates.iter().flat_map(|c| &c.switch.ids).map(String::as_str).collect();
        known.sort_unstable();
        known.dedup();
        let more = if known.len() > 8 { " …" } else { "" };
        known.truncate(8);
        let message = format!("no entry has the id or the name `{}`", escape::text(word));
        let unit = format!("{word}.socket");
        let systemd = ["/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system"];
        if !word.contains('/') && systemd.iter().any(|directory| Path::new(directory).join(&unit).exists()) {
            let help =
                format!("`systemctl disable --now {}` is for the socket of systemd", escape::text(&unit));
            return Failure::with_help(message, help);
        }
        match known.is_empty() {
            true => Failure::new(format!("{message}; there are none")),
            false => {
                Failure::with_help(message, format!("there are {}{more}", escape::text(&known.join(", "))))
            }
        }
    }

    /// The lists of `defaults` that keep an entry off, for a person: `disabled` at FILE:LINE.
    fn keeping_off(&self, ids: &[String]) -> String {
        let names =
            |list: &&NameList| list.ids.iter().any(|name| ids.iter().any(|id| name.eq_ignore_ascii_case(id)));
        let disabled = self.lists.iter().filter(|list| list.attribute == "disabled").find(names);
        let enabled = self.lists.iter().rfind(|list| list.attribute == "enabled");
        match (disabled, enabled) {
            (Some(list), _) => format!("take it out of `disabled` at {}", shown(&list.place)),
            (None, Some(list)) => format!("add it to `enabled` at {}", shown(&list.place)),
            (None, None) => "see `portreeve check`".to_owned(),
        }
    }

    /// Whether switching an entry on can be done in its entry.
    ///
    /// # Errors
    /// It is on already, and not served for another reason.
    pub fn can_be_switched_on(&self, switch: &Switch, reading: &Reading) -> Result<(), Failure> {
        match state(switch, reading) {
            _ if switch.off => Ok(()),
            State::Served(_) => Ok(()),
            State::Off(reason) => Err(self.held_off(switch, &reason)),
            State::Wrong(reason) => Err(Failure::with_help(
                format!("{} is switched on and yet not served: {}", name(switch), escape::text(&reason)),
                "`portreeve check` shows the line",
            )),
        }
    }

    fn held_off(&self, switch: &Switch, reason: &str) -> Failure {
        Failure::with_help(
            format!("{} would not be served: {}; nothing was changed", name(switch), escape::text(reason)),
            self.keeping_off(&switch.ids),
        )
    }

    /// Whether the configuration as it would be is what was asked for, and has no error that it had not before.
    ///
    /// # Errors
    /// It is not; nothing may be written.
    pub fn judge(&self, switch: &Switch, on: bool, after: &Reading) -> Result<(), Failure> {
        match (on, state(switch, after)) {
            (true, State::Served(_)) | (false, State::Off(_)) => Ok(()),
            (true, State::Off(reason)) => Err(self.held_off(switch, &reason)),
            (true, State::Wrong(reason)) => Err(Failure::new(format!(
                "{} would not be served: {}; nothing was changed",
                name(switch),
                escape::text(&reason)
            ))),
            (false, State::Served(_) | State::Wrong(_)) => Err(Failure::new(format!(
                "{} cannot be switched off in its entry; nothing was changed",
                name(switch)
            ))),
        }
    }
}

/// The errors that a configuration has and had not before.
pub fn new_errors<'a>(before: &Reading, after: &'a Reading) -> Vec<&'a Diagnostic> {
    // Lines move; what is said and of which file stays.
    let key = |d: &Diagnostic| (d.code, d.message.clone(), d.place.as_ref().map(|place| place.file.clone()));
    let errors = |reading: &'a Reading| reading.diagnostics.iter().filter(|d| d.severity == Severity::Error);
    let mut had: Vec<_> =
        before.diagnostics.iter().filter(|d| d.severity == Severity::Error).map(key).collect();
    let is_new = |d: &&Diagnostic| match had.iter().position(|old| *old == key(d)) {
        Some(at) => {
            had.swap_remove(at);
            false
        }
        None => true,
    };
    errors(after).filter(is_new).collect()
}

/// What a reading says of an entry.
pub fn state(switch: &Switch, reading: &Reading) -> State {
    let here = |place: &Place| (&place.file, place.line) == (&switch.place.file, switch.place.line);
    let served: Vec<_> =
        reading.services.iter().filter(|s| here(&s.place)).map(|s| s.id.to_string()).collect();
    if !served.is_empty() {
        return State::Served(served);
    }
    match reading.left_out.iter().find(|entry| here(&entry.place)) {
        Some(LeftOut { reason, intended: true, .. }) => State::Off(reason.clone()),
        Some(LeftOut { reason, .. }) => State::Wrong(reason.clone()),
        None if switch.off => State::Off("a mark before its line makes it a comment".to_owned()),
        None => State::Wrong("its line cannot be served".to_owned()),
    }
}

/// An entry for a person: its id, or the one that it has among others of its name.
pub fn name(switch: &Switch) -> String {
    escape::text(&switch.ids.join(", ")).into_owned()
}

fn shown(place: &Place) -> String {
    escape::text(&place.to_string()).into_owned()
}

fn ambiguous(word: &str, several: &[&Candidate], reading: &Reading) -> Failure {
    let line = |candidate: &&Candidate| {
        let word = match state(&candidate.switch, reading) {
            State::Served(_) => "served",
            State::Off(_) => "off",
            State::Wrong(_) => "not served",
        };
        format!("\n  {}: {}, {word}", shown(&candidate.switch.place), name(&candidate.switch))
    };
    let list: String = several.iter().map(line).collect();
    Failure::with_help(
        format!(
            "{} entries are meant by `{}`; nothing was changed:{list}",
            several.len(),
            escape::text(word)
        ),
        "name one by its id, or by FILE:LINE as above",
    )
}

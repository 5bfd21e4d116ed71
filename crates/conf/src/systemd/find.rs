//! Which files a unit is made of: the file of its name from the first directory that has one, its drop-ins from all of them,
//! aliases and templates (systemd.unit(5)). Looks only into the directories it was given; understands no setting.

use super::unit::{Unit, parse};
use crate::convert::Note;
use crate::host::Host;
use crate::place::Place;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The most drop-ins of a unit.
const MOST_DROP_INS: usize = 256;

/// Links behind one another that are followed.
const MOST_LINKS: usize = 8;

/// A unit with its drop-ins.
pub(super) struct Loaded {
    /// Its own name, whatever alias it was asked for by; with the instance, if it has one.
    pub(super) name: String,
    pub(super) unit: Unit,
    /// Its file.
    pub(super) place: Place,
    /// The file is empty, or a link to /dev/null.
    pub(super) masked: bool,
}

/// See the module.
pub(super) struct Finder<'a> {
    pub(super) host: &'a dyn Host,
    /// Earlier ones win.
    pub(super) directories: Vec<PathBuf>,
    /// What was read, so that its lines can be shown.
    pub(super) files: RefCell<Vec<(PathBuf, Vec<u8>)>>,
}

/// The parts of `X@Y.suffix`: the template's name (`X@.suffix`), where there is an instance.
pub(super) fn template(name: &str) -> Option<String> {
    let (stem, suffix) = name.rsplit_once('.')?;
    let (prefix, instance) = stem.split_once('@')?;
    (!instance.is_empty()).then(|| format!("{prefix}@.{suffix}"))
}

fn suffix(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or_default()
}

fn first(path: &Path) -> Place {
    Place { file: path.to_string_lossy().into(), line: 1, column: 0, length: 0 }
}

/// Something about a file as a whole.
pub(super) fn note(file: &str, text: String) -> Note {
    let place = Place { file: file.into(), line: 1, column: 0, length: 0 };
    Note { place: Some(place), service: None, about: None, lost: true, text }
}

impl<'a> Finder<'a> {
    pub(super) fn new(host: &'a dyn Host, directories: Vec<PathBuf>) -> Self {
        Self { host, directories, files: RefCell::default() }
    }

    /// The name behind an alias: that of the unit which a link leads to, if it is another one of the same type.
    pub(super) fn own_name(&self, name: &str) -> String {
        let mut name = name.to_owned();
        for _ in 0..MOST_LINKS {
            let link = self.directories.iter().find_map(|directory| {
                let path = directory.join(&name);
                self.host.read(&path).ok().map(|_| self.host.link(&path))
            });
            let target = link.flatten();
            let Some(target) = target.as_ref().and_then(|path| path.file_name()?.to_str()) else { break };
            // A link to the template of its name is an instance, which has its own name.
            if target == name || suffix(target) != suffix(&name) || template(&name).as_deref() == Some(target)
            {
                break;
            }
            name = target.to_owned();
        }
        name
    }

    /// The sockets that are switched on by links in `.wants` and `.requires` beside the units; `None` where no
    /// directory has such.
    pub(super) fn wanted(&self) -> Option<BTreeSet<String>> {
        let mut wanted = None;
        for directory in &self.directories {
            for entry in self.host.directory(directory).unwrap_or_default() {
                let Ok(name) = String::from_utf8(entry.name) else { continue };
                if !name.ends_with(".wants") && !name.ends_with(".requires") {
                    continue;
                }
                let Ok(links) = self.host.directory(&directory.join(&name)) else { continue };
                let names = links.into_iter().filter_map(|link| String::from_utf8(link.name).ok());
                let sockets = names.filter(|name| name.ends_with(".socket"));
                wanted.get_or_insert_with(BTreeSet::new).extend(sockets.map(|name| self.own_name(&name)));
            }
        }
        wanted
    }

    /// The unit of a name or an alias; of an instance, the template where it has no file of its own.
    pub(super) fn load(&self, asked: &str, notes: &mut Vec<Note>) -> Option<Loaded> {
        if asked.contains('/') || asked.starts_with('.') || asked.contains('\0') {
            return None;
        }
        let name = self.own_name(asked);
        let by_name = |name: &str| {
            self.directories.iter().find_map(|directory| {
                let path = directory.join(name);
                Some((path.clone(), self.host.read(&path).ok()?))
            })
        };
        let (path, bytes) = by_name(&name)
            .or_else(|| by_name(&template(&name)?))
            // The alias of a unit that lies elsewhere.
            .or_else(|| by_name(asked))?;
        let mut unit = Unit::default();
        let masked = bytes.is_empty();
        self.read(&path, bytes, &mut unit, notes);
        if !masked {
            for path in self.drop_ins(&[&name, asked]) {
                match self.host.read(&path) {
                    Ok(bytes) => self.read(&path, bytes, &mut unit, notes),
                    Err(error) => {
                        let fault = format!("the drop-in cannot be read: {}", error.text);
                        notes.push(note(&path.to_string_lossy(), fault));
                    }
                }
            }
        }
        Some(Loaded { name, unit, place: first(&path), masked })
    }

    fn read(&self, path: &Path, bytes: Vec<u8>, unit: &mut Unit, notes: &mut Vec<Note>) {
        for fault in parse(&path.to_string_lossy(), &bytes, unit) {
            let Note { service, about, lost, .. } = note("", String::new());
            notes.push(Note { place: Some(fault.place), service, about, lost, text: fault.text });
        }
        let mut files = self.files.borrow_mut();
        if !files.iter().any(|(known, _)| known == path) {
            files.push((path.to_owned(), bytes));
        }
    }

    /// In the order of their names; of equal names, the one that is nearer to the unit's own, an empty one too.
    fn drop_ins(&self, names: &[&str]) -> Vec<PathBuf> {
        let mut found: BTreeMap<Vec<u8>, PathBuf> = BTreeMap::new();
        for directory in self.drop_in_directories(names) {
            for entry in self.host.directory(&directory).unwrap_or_default() {
                if entry.name.ends_with(b".conf") && found.len() < MOST_DROP_INS {
                    let path = directory.join(String::from_utf8_lossy(&entry.name).as_ref());
                    found.entry(entry.name).or_insert(path);
                }
            }
        }
        found.into_values().collect()
    }

    /// Those of the unit's names, then `socket.d`, which is for every socket.
    fn drop_in_directories(&self, names: &[&str]) -> Vec<PathBuf> {
        let mut all: Vec<PathBuf> = Vec::new();
        let mut names: Vec<&str> = names.to_vec();
        names.dedup();
        for name in &names {
            let stems = stems(name);
            for directory in &self.directories {
                all.extend(stems.iter().map(|stem| directory.join(format!("{stem}.d"))));
            }
        }
        let kind = names.first().map_or("", |name| suffix(name));
        all.extend(self.directories.iter().map(|directory| directory.join(format!("{kind}.d"))));
        all
    }
}

/// An instance that stands for all of them.
const ANY: &str = "\u{1}";

/// The names whose drop-ins count for a unit, in systemd's order: its own, its template's, `a-b-` and `a-` of what it begins with.
fn stems(name: &str) -> Vec<String> {
    let mut all = Vec::new();
    match name.rsplit_once("@.") {
        // Of a template, what holds for each instance.
        Some((prefix, suffix)) => {
            stems_into(&format!("{prefix}@{ANY}.{suffix}"), &mut all);
            all.retain(|name| !name.contains(ANY));
        }
        None => stems_into(name, &mut all),
    }
    all
}

fn stems_into(name: &str, all: &mut Vec<String>) {
    if all.len() >= MOST_DROP_INS {
        return;
    }
    all.push(name.to_owned());
    if let Some(template) = template(name) {
        stems_into(&template, all);
    }
    let Some((stem, suffix)) = name.rsplit_once('.') else { return };
    let (prefix, instance) = stem.split_once('@').unwrap_or((stem, ""));
    let whole = prefix.strip_suffix('-').unwrap_or(prefix);
    let Some((before, _)) = whole.rsplit_once('-').filter(|(before, _)| !before.is_empty()) else { return };
    let at = if instance.is_empty() { "" } else { "@" };
    stems_into(&format!("{before}-{at}{instance}.{suffix}"), all);
}

#[cfg(test)]
mod tests {
    use super::{stems, template};

    #[test]
    fn names_and_what_they_begin_with() {
        assert_eq!(template("a@b.socket").as_deref(), Some("a@.socket"));
        assert_eq!((template("a@.socket"), template("a.socket")), (None, None));
        // As systemd 252 reads them (`systemd-analyze verify`).
        for (name, wanted) in [
            ("a.socket", &["a.socket"][..]),
            ("-a.socket", &["-a.socket"]),
            ("a-b-c.socket", &["a-b-c.socket", "a-b-.socket", "a-.socket"]),
            (
                "a-b@i-j.service",
                &["a-b@i-j.service", "a-b@.service", "a-.service", "a-@i-j.service", "a-@.service"],
            ),
            ("a-b@.service", &["a-b@.service", "a-.service", "a-@.service"]),
        ] {
            assert_eq!(stems(name), wanted, "{name}");
        }
        assert!(stems(&"a-".repeat(5_000)).len() < 300);
    }
}

//! Directories with units as a sheet: finds each socket, its drop-ins and its service. Files are looked for in the order of the
//! directories, as systemd does in its own; others are not looked into.

use super::pair::{descriptions, pair};
use super::unit::{Unit, parse};
use crate::convert::{Note, Piece, Sheet, plain};
use crate::host::{Host, SystemError};
use crate::place::Place;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The most sockets that are read.
const MOST_SOCKETS: usize = 4096;

/// The most drop-ins of a unit.
const MOST_DROP_INS: usize = 256;

/// A unit with its drop-ins.
pub(super) struct Loaded {
    pub(super) name: String,
    pub(super) unit: Unit,
    place: Place,
}

/// Reads the sockets at `paths`: each a `.socket` file, or a directory of units.
///
/// # Errors
/// The path that cannot be read, and the system's word for it.
pub fn from_systemd(host: &dyn Host, paths: &[PathBuf]) -> Result<Sheet, (PathBuf, SystemError)> {
    let mut directories: Vec<PathBuf> = Vec::new();
    let mut wanted: Vec<(PathBuf, String)> = Vec::new();
    let mut sheet = Sheet::default();
    for path in paths {
        let directory = host.is_directory(path).map_err(|error| (path.clone(), error))?;
        if !directory {
            // A file without a directory lies here.
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            directories.push(parent.unwrap_or(Path::new(".")).to_owned());
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            wanted.push((path.clone(), name));
            continue;
        }
        directories.push(path.clone());
        let entries = host.directory(path).map_err(|error| (path.clone(), error))?;
        let mut names: Vec<String> =
            entries.into_iter().filter_map(|entry| String::from_utf8(entry.name).ok()).collect();
        names.retain(|name| name.ends_with(".socket"));
        names.sort_unstable();
        wanted.extend(names.into_iter().map(|name| (path.join(&name), name)));
    }
    let mut seen = BTreeSet::new();
    wanted.retain(|(_, name)| seen.insert(name.clone()));
    let finder = Finder { host, directories };
    for (number, (path, name)) in wanted.iter().enumerate() {
        if number >= MOST_SOCKETS {
            sheet.notes.push(note(
                &path.to_string_lossy(),
                format!("more than {MOST_SOCKETS} sockets: the rest is not read"),
            ));
            break;
        }
        if !name.ends_with(".socket") {
            sheet.notes.push(note(&path.to_string_lossy(), "it is no `.socket`".to_owned()));
            continue;
        }
        finder.socket(name, &mut sheet);
    }
    Ok(sheet)
}

fn note(file: &str, text: String) -> Note {
    let place = Place { file: file.into(), line: 1, column: 0, length: 0 };
    Note { place: Some(place), service: None, about: None, lost: true, text }
}

struct Finder<'a> {
    host: &'a dyn Host,
    directories: Vec<PathBuf>,
}

impl Finder<'_> {
    fn socket(&self, name: &str, sheet: &mut Sheet) {
        let Sheet { pieces, notes } = sheet;
        let Some(socket) = self.load(name, notes) else {
            pieces.push(Piece::Lost(plain(name)));
            notes.push(note(name, format!("`{name}` cannot be read")));
            return;
        };
        if socket.unit.settings.is_empty() {
            pieces.push(Piece::Comment(format!(" {}: is masked or empty", plain(name))));
            return;
        }
        let mut comments = socket.unit.comments.clone();
        comments.extend(descriptions(&socket));
        let mut of_service = Vec::new();
        let mut find = |target: &str, notes: &mut Vec<Note>| {
            let found = self.load(target, notes).filter(|found| !found.unit.settings.is_empty())?;
            of_service.clone_from(&found.unit.comments);
            Some(found)
        };
        let found = pair(self.host, &socket, &mut find, &mut comments, notes);
        comments.extend(of_service);
        pieces.extend(comments.into_iter().map(|comment| Piece::Comment(plain(&comment))));
        match found {
            Ok(stanzas) => pieces.extend(stanzas.into_iter().map(Piece::Service)),
            Err(why) => {
                pieces.push(Piece::Lost(format!("{}: {}", plain(name), plain(&why))));
                let text = format!("`{name}` is not carried over: {why}");
                let service = name.strip_suffix(".socket").map(str::to_owned);
                notes.push(Note { place: Some(socket.place), service, about: None, lost: true, text });
            }
        }
    }

    /// The file of a unit from the first directory that has it, and its drop-ins from all of them.
    fn load(&self, name: &str, notes: &mut Vec<Note>) -> Option<Loaded> {
        if name.contains('/') || name.starts_with('.') || name.contains('\0') {
            return None;
        }
        let (path, bytes) = self.directories.iter().find_map(|directory| {
            let path = directory.join(name);
            Some((path.clone(), self.host.read(&path).ok()?))
        })?;
        let mut unit = Unit::default();
        let read = |path: &Path, bytes: &[u8], unit: &mut Unit, notes: &mut Vec<Note>| {
            for fault in parse(&path.to_string_lossy(), bytes, unit) {
                let Note { service, about, lost, .. } = note("", String::new());
                notes.push(Note { place: Some(fault.place), service, about, lost, text: fault.text });
            }
        };
        read(&path, &bytes, &mut unit, notes);
        if unit.settings.is_empty() {
            // Masked, whatever drop-ins say.
            return Some(Loaded { name: name.to_owned(), unit, place: first(&path) });
        }
        let mut drop_ins: BTreeMap<Vec<u8>, PathBuf> = BTreeMap::new();
        for directory in &self.directories {
            let directory = directory.join(format!("{name}.d"));
            for entry in self.host.directory(&directory).unwrap_or_default() {
                if entry.name.ends_with(b".conf") && drop_ins.len() < MOST_DROP_INS {
                    let path = directory.join(String::from_utf8_lossy(&entry.name).as_ref());
                    drop_ins.entry(entry.name).or_insert(path);
                }
            }
        }
        for path in drop_ins.values() {
            match self.host.read(path) {
                Ok(bytes) => read(path, &bytes, &mut unit, notes),
                Err(error) => {
                    let fault = format!("the drop-in cannot be read: {}", error.text);
                    notes.push(note(&path.to_string_lossy(), fault));
                }
            }
        }
        Some(Loaded { name: name.to_owned(), unit, place: first(&path) })
    }
}

fn first(path: &Path) -> Place {
    Place { file: path.to_string_lossy().into(), line: 1, column: 0, length: 0 }
}

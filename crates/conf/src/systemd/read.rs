//! Directories with units as a sheet: which sockets there are, and each with its service. Which files a unit is made of is
//! `find`'s; what they say is `pair`'s.

use super::find::{Finder, Loaded, note, template};
use super::pair::{descriptions, pair};
use super::unit::Setting;
use super::words::name_of_unit;
use crate::convert::{Note, Piece, Sheet, Stanza, plain};
use crate::host::{Host, SystemError};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The most sockets that are read.
const MOST_SOCKETS: usize = 4096;

/// Behind the name of a socket, before why.
pub(super) const NOT_CARRIED: &str = "is not carried over: ";

/// A path that cannot be read, and the system's word for it.
pub(crate) type Unreadable = (PathBuf, SystemError);

/// A file by its path, and what stands in it.
pub(crate) type Contents = (PathBuf, Vec<u8>);

/// Reads the sockets at `paths`: each a `.socket` file, or a directory of units.
///
/// # Errors
/// The path that cannot be read, and the system's word for it.
pub fn from_systemd(host: &dyn Host, paths: &[PathBuf]) -> Result<Sheet, (PathBuf, SystemError)> {
    Ok(units(host, paths, false)?.0)
}

/// The same, with all files that were read. `serving`: of a socket that is switched off only the name counts.
pub(crate) fn units(
    host: &dyn Host,
    paths: &[PathBuf],
    serving: bool,
) -> Result<(Sheet, Vec<Contents>), Unreadable> {
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
        // A directory of drop-ins ends otherwise; a link to /dev/null is no regular file.
        let names = entries.into_iter().filter_map(|entry| String::from_utf8(entry.name).ok());
        let mut names: Vec<String> = names.filter(|name| name.ends_with(".socket")).collect();
        names.sort_unstable();
        wanted.extend(names.into_iter().map(|name| (path.join(&name), name)));
    }
    let finder = Finder::new(host, directories);
    let switched_on = finder.wanted();
    // Instances have no file of their own.
    for name in switched_on.iter().flatten().filter(|name| template(name).is_some()) {
        wanted.push((PathBuf::from(name), name.clone()));
    }
    let mut seen = BTreeSet::new();
    for (path, name) in wanted {
        let own = finder.own_name(&name);
        if !seen.insert(own.clone()) {
            continue;
        }
        if seen.len() > MOST_SOCKETS {
            let text = format!("more than {MOST_SOCKETS} sockets: the rest is not read");
            sheet.notes.push(note(&path.to_string_lossy(), text));
            break;
        }
        if !name.ends_with(".socket") {
            sheet.notes.push(note(&path.to_string_lossy(), "it is no `.socket`".to_owned()));
            continue;
        }
        let on = switched_on.as_ref().map(|all| all.contains(&own));
        socket(&finder, &name, on, serving, &mut sheet);
    }
    Ok((sheet, finder.files.into_inner()))
}

/// One socket; `on` says whether it is switched on, where the directories say so.
fn socket(finder: &Finder<'_>, name: &str, on: Option<bool>, serving: bool, sheet: &mut Sheet) {
    let Sheet { pieces, notes } = sheet;
    let before = notes.len();
    let Some(socket) = finder.load(name, notes) else {
        pieces.push(Piece::Lost(plain(name)));
        notes.push(note(name, format!("`{name}` cannot be read")));
        return;
    };
    if socket.masked {
        pieces.push(Piece::Comment(format!(" {}: is masked or empty", plain(name))));
        return;
    }
    if socket.name.contains("@.") {
        let text = format!(" {}: is a template; its instances stand for themselves", plain(name));
        pieces.push(Piece::Comment(text));
        return;
    }
    let installed = |s: &Setting| s.section == "Install" && !s.value.is_empty();
    let off = on.map_or_else(|| !socket.unit.settings.iter().any(installed), |on| !on);
    if off && serving {
        notes.truncate(before);
        let name = name_of_unit(name.strip_suffix(".socket").unwrap_or(name));
        pieces.push(Piece::Service(Stanza { place: socket.place, name, off, said: Vec::new() }));
        return;
    }
    let mut comments = socket.unit.comments.clone();
    comments.extend(descriptions(&socket));
    let mut of_service = Vec::new();
    let mut find = |target: &str, notes: &mut Vec<Note>| -> Option<Loaded> {
        let found = finder.load(target, notes).filter(|found| !found.masked)?;
        of_service.clone_from(&found.unit.comments);
        Some(found)
    };
    let found = pair(finder.host, &socket, off, &mut find, &mut comments, notes);
    comments.extend(of_service);
    pieces.extend(comments.into_iter().map(|comment| Piece::Comment(plain(&comment))));
    match found {
        Ok(stanzas) => pieces.extend(stanzas.into_iter().map(Piece::Service)),
        Err(why) => {
            pieces.push(Piece::Lost(format!("{}: {}", plain(name), plain(&why))));
            let text = format!("`{name}` {NOT_CARRIED}{why}");
            let service = name.strip_suffix(".socket").map(str::to_owned);
            notes.push(Note { place: Some(socket.place), service, about: None, lost: true, text });
        }
    }
}

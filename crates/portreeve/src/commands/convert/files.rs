//! Puts files into a directory: all of them or none, each whole, and none over one that exists unless that is wanted.

use crate::escape;
use crate::failure::{Failure, system_text};
use portreeve_conf::systemd::File;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Places them. On a failure what was new is gone again.
pub(super) fn place(directory: &Path, files: &[File], replace: bool) -> Result<(), Failure> {
    if !replace
        && let Some(known) =
            files.iter().map(|file| directory.join(&file.name)).find(|path| path.symlink_metadata().is_ok())
    {
        let message = format!("{} exists; nothing was written", escape::os(known.as_os_str()));
        return Err(Failure::with_help(message, "--force replaces it"));
    }
    let mut staged: Vec<(PathBuf, PathBuf)> = Vec::new();
    let mut placed: Vec<PathBuf> = Vec::new();
    let done = files
        .iter()
        .try_for_each(|file| {
            let path = directory.join(format!(".{}.{}", file.name, std::process::id()));
            stage(&path, &file.text).map_err(|error| (path.clone(), error))?;
            staged.push((path, directory.join(&file.name)));
            Ok(())
        })
        .and_then(|()| {
            staged.iter().try_for_each(|(from, to)| {
                let flags = if replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
                renameat_with(CWD, from, CWD, to, flags).map_err(|errno| (to.clone(), errno.into()))?;
                placed.push(to.clone());
                Ok(())
            })
        });
    done.map_err(|(path, error): (PathBuf, io::Error)| {
        // A file that cannot be removed either is no worse than one that could not be written.
        staged.iter().for_each(|(path, _)| drop(fs::remove_file(path)));
        let mut message = format!("{}: {}", escape::os(path.as_os_str()), system_text(&error));
        if replace && !placed.is_empty() {
            message.push_str(&format!("; {} of {} units were replaced before", placed.len(), files.len()));
        } else {
            placed.iter().for_each(|path| drop(fs::remove_file(path)));
        }
        Failure::new(message)
    })
}

fn stage(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(path)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> File {
        File { name: name.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn all_or_none_and_nothing_that_exists() {
        let directory = std::env::temp_dir().join(format!("portreeve-place-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let names = || {
            let entries = fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
            names.sort();
            names
        };
        place(&directory, &[file("a", "1"), file("b", "2")], false).unwrap();
        assert_eq!(names(), ["a", "b"]);
        assert!(place(&directory, &[file("c", "3"), file("a", "x")], false).is_err());
        assert_eq!(names(), ["a", "b"]);
        assert_eq!(fs::read_to_string(directory.join("a")).unwrap(), "1");
        // A second one of a name is seen at its turn, and what was placed before it goes.
        assert!(place(&directory, &[file("c", "3"), file("x/y", "4")], false).is_err());
        assert_eq!(names(), ["a", "b"]);
        place(&directory, &[file("a", "x")], true).unwrap();
        assert_eq!(fs::read_to_string(directory.join("a")).unwrap(), "x");
        // A link is replaced, not followed.
        std::os::unix::fs::symlink(directory.join("a"), directory.join("l")).unwrap();
        assert!(place(&directory, &[file("l", "y")], false).is_err());
        place(&directory, &[file("l", "y")], true).unwrap();
        assert_eq!(fs::read_to_string(directory.join("a")).unwrap(), "x");
        assert!(place(&directory.join("none"), &[file("a", "x")], false).is_err());
        fs::remove_dir_all(&directory).unwrap();
    }
}

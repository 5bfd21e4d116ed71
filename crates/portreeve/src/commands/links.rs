//! `portreeve links`: the symbolic links by which this program answers to other programs' names. Made only where the
//! user says, over nothing that is not already such a link.

use crate::call::APPLETS;
use crate::escape;
use crate::failure::{Exit, Failure, system_text};
use crate::output::Output;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Make links (xinetd, tcpd, tcpdmatch …) to this program in a directory
///
/// Called by such a name, portreeve takes that program's options. A file that is there already and is no link to
/// portreeve is left alone, and named.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Directory, for example /usr/local/sbin
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// What became of one link.
#[derive(Debug, PartialEq, Eq)]
enum Link {
    Made,
    There,
    Foreign(&'static str),
}

/// Makes the links.
pub fn run(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let own = std::env::current_exe().and_then(std::fs::canonicalize).map_err(|error| {
        Failure::new(format!("the path of this executable is not known: {}", system_text(&error)))
    })?;
    make(&own, &arguments.directory, arguments.json, out)
}

fn make(own: &Path, directory: &Path, json: bool, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let mut exit = Exit::Fine;
    let mut answers = Vec::new();
    for applet in APPLETS {
        let path = directory.join(applet.name);
        let link = link(own, &path).map_err(|error| {
            Failure::new(format!("{} cannot be made: {}", escape::os(path.as_os_str()), system_text(&error)))
        })?;
        let shown = escape::os(path.as_os_str());
        let (word, text) = match link {
            Link::Made => ("made", format!("{shown}: made ({})", applet.about)),
            Link::There => ("there", format!("{shown}: is there already")),
            Link::Foreign(what) => {
                exit = Exit::Found;
                ("foreign", format!("{shown}: left alone, it is {what} and not a link to this program"))
            }
        };
        answers.push(serde_json::json!({ "path": shown, "name": applet.name, "state": word }));
        if !json {
            writeln!(out, "{text}")?;
        }
    }
    if json {
        out.json(&serde_json::json!({ "target": escape::os(own.as_os_str()), "links": answers }))?;
    }
    Ok(exit)
}

fn link(own: &Path, path: &Path) -> std::io::Result<Link> {
    // symlink(2) never follows or replaces: whoever wins a race, nothing is overwritten.
    match std::os::unix::fs::symlink(own, path) {
        Ok(()) => Ok(Link::Made),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let what = std::fs::symlink_metadata(path)?.file_type();
            Ok(if what.is_symlink() && std::fs::canonicalize(path).is_ok_and(|target| target == own) {
                Link::There
            } else if what.is_symlink() {
                Link::Foreign("a link to another file")
            } else if what.is_dir() {
                Link::Foreign("a directory")
            } else {
                Link::Foreign("a file")
            })
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_made_once_and_foreign_files_stay() {
        let directory = std::env::temp_dir().join(format!("portreeve-test-links-{}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let own = std::fs::canonicalize(std::env::current_exe().unwrap()).unwrap();
        let path = directory.join("xinetd");
        assert_eq!(link(&own, &path).unwrap(), Link::Made);
        assert_eq!(link(&own, &path).unwrap(), Link::There);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "foreign").unwrap();
        let mut sink = Vec::new();
        let exit = make(&own, &directory, false, &mut Output::plain(&mut sink)).unwrap();
        assert_eq!(exit, Exit::Found);
        assert_eq!(std::fs::read(&path).unwrap(), b"foreign");
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/nonexistent", &path).unwrap();
        assert_eq!(link(&own, &path).unwrap(), Link::Foreign("a link to another file"));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}

//! `portreeve convert inetd|xinetd|systemd`: services in the words of another super-server. The languages are conf's; this file
//! reads, prints or has files written, and says line by line what could not be carried over.

use super::files;
use crate::escape;
use crate::failure::{Exit, Failure, system_text};
use crate::machine::Machine;
use crate::output::Output;
use clap::ValueEnum;
use portreeve_conf::Host;
use portreeve_conf::convert::{Note, Sheet, from_inetd, from_xinetd, to_inetd, to_xinetd};
use portreeve_conf::systemd::{File, from_systemd, to_systemd};
use serde_json::json;
use std::collections::HashSet;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// The longest file that is read, in bytes. A real one has a few KiB.
const LONGEST: u64 = 16 << 20;

/// Say in another language what inetd.conf serves
///
/// Every dialect is read: those of the BSDs, of Debian and of Solaris. In xinetd's language the result serves what `portreeve
/// inetd` serves: with the user's groups, the tables asked only where tcpd asked them. Comments stay, services that are
/// switched off stay off. `tcp` is both address families, as on Linux, unless a line beside it serves IPv6; a BSD's was IPv4
/// alone. What has no counterpart is named with its line. Exit codes: 0 all was converted, 1 something was left out, 2 could
/// not run.
#[derive(clap::Args, Debug)]
pub struct Inetd {
    /// The file, `-` for standard input
    #[arg(value_name = "FILE", default_value = "/etc/inetd.conf")]
    pub file: PathBuf,
    /// Language to print
    #[arg(long, value_name = "LANGUAGE", default_value = "xinetd")]
    pub to: To,
    /// Where the servers are that tcpd starts without a path
    #[arg(long, value_name = "DIRECTORY", default_value = "/usr/sbin")]
    pub daemon_dir: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub how: How,
}

/// Say in another language what xinetd's files serve
///
/// Reads the file and all that it includes; `defaults` is laid out, so that each service says all that holds for it. Users and
/// programs need not exist here. What has no counterpart is named with its line; where that would let in somebody whom the
/// files keep out, the service is written switched off. Exit codes: 0 all was converted, 1 something was left out, 2 could not
/// run.
#[derive(clap::Args, Debug)]
pub struct Xinetd {
    /// The main file
    #[arg(value_name = "FILE", default_value = "/etc/xinetd.conf")]
    pub file: PathBuf,
    /// Language to print
    #[arg(long, value_name = "LANGUAGE")]
    pub to: To,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub how: How,
}

/// Say in another language what systemd's socket units serve
///
/// Reads each .socket with its drop-ins and its service, from the directories named and from no others; earlier ones win. Name
/// /etc/systemd/system and /usr/lib/systemd/system to have both. Each setting without a counterpart is named with its line; a
/// socket that would be served otherwise than it is (by a user who does not exist, to clients who are refused) is left out. Exit
/// codes: 0 all was converted, 1 something was left out, 2 could not run.
#[derive(clap::Args, Debug)]
pub struct Systemd {
    /// Directories of units, and .socket files
    #[arg(value_name = "PATH", default_value = "/etc/systemd/system")]
    pub paths: Vec<PathBuf>,
    /// Language to print
    #[arg(long, value_name = "LANGUAGE", default_value = "xinetd")]
    pub to: To,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub how: How,
}

/// Where the result goes.
#[derive(clap::Args, Debug, Default)]
pub struct How {
    /// Write the units into this directory instead of printing them; none that exists is touched
    #[arg(long, value_name = "DIRECTORY")]
    pub out: Option<PathBuf>,
    /// With --out, replace units that exist
    #[arg(long, requires = "out")]
    pub force: bool,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// A language to convert to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum To {
    /// Sections of xinetd, which portreeve reads
    Xinetd,
    /// Socket and service units
    Systemd,
    /// Lines of inetd.conf
    Inetd,
}

/// Converts an inetd.conf.
pub(super) fn inetd(inetd: &Inetd, out: &mut Output<'_>) -> Result<Exit, Failure> {
    other(inetd.to, To::Inetd)?;
    let bytes = read(&inetd.file)?;
    let sheet = from_inetd(&inetd.file.to_string_lossy(), &bytes, &inetd.daemon_dir);
    told(sheet, inetd.to, &inetd.how, out)
}

/// Converts xinetd's files.
pub(super) fn xinetd(xinetd: &Xinetd, out: &mut Output<'_>) -> Result<Exit, Failure> {
    other(xinetd.to, To::Xinetd)?;
    let sheet = from_xinetd(&Machine, &xinetd.file)
        .map_err(|error| Failure::new(format!("{}: {}", escape::os(xinetd.file.as_os_str()), error.text)))?;
    told(sheet, xinetd.to, &xinetd.how, out)
}

/// Converts units.
pub(super) fn systemd(systemd: &Systemd, out: &mut Output<'_>) -> Result<Exit, Failure> {
    other(systemd.to, To::Systemd)?;
    let sheet = from_systemd(&Machine, &systemd.paths)
        .map_err(|(path, error)| Failure::new(format!("{}: {}", escape::os(path.as_os_str()), error.text)))?;
    told(sheet, systemd.to, &systemd.how, out)
}

fn other(to: To, from: To) -> Result<(), Failure> {
    let same = || Failure::with_help("it is written in that language already", "name another one with --to");
    if to == from { Err(same()) } else { Ok(()) }
}

/// What was written.
enum Written {
    One(String),
    Files(Vec<File>),
}

fn told(mut sheet: Sheet, to: To, how: &How, out: &mut Output<'_>) -> Result<Exit, Failure> {
    if how.out.is_some() && to != To::Systemd {
        return Err(Failure::with_help(
            "--out is for units, which are many files",
            "redirect the output: > FILE",
        ));
    }
    let mut notes = std::mem::take(&mut sheet.notes);
    let (written, more) = match to {
        To::Xinetd => (Written::One(to_xinetd(&sheet)), Vec::new()),
        To::Inetd => {
            let (text, more) = to_inetd(&sheet, Machine.hosts_tables_active());
            (Written::One(text), more)
        }
        To::Systemd => {
            let (files, more) = to_systemd(&sheet, &Machine);
            (Written::Files(files), more)
        }
    };
    notes.extend(more);
    // What `defaults` says is missing in every service alike.
    let mut seen = HashSet::new();
    notes.retain(|note| seen.insert((note.place.clone(), note.lost, note.text.clone())));
    if let (Some(directory), Written::Files(files)) = (&how.out, &written) {
        files::place(directory, files, how.force)?;
    }
    if how.json {
        json_out(&written, &notes, out)?;
    } else {
        match &written {
            Written::One(text) => out.write_all(text.as_bytes())?,
            Written::Files(files) => {
                for (number, file) in files.iter().enumerate() {
                    match &how.out {
                        Some(directory) => {
                            writeln!(out, "{}", escape::os(directory.join(&file.name).as_os_str()))?
                        }
                        None => {
                            let gap = if number == 0 { "" } else { "\n" };
                            write!(out, "{gap}# /etc/systemd/system/{}\n{}", file.name, file.text)?;
                        }
                    }
                }
            }
        }
        for note in &notes {
            // Nothing can be done about a standard error that fails.
            let _ = writeln!(std::io::stderr(), "{}", escape::lines(&line(note)));
        }
    }
    Ok(if notes.iter().any(|note| note.lost) { Exit::Found } else { Exit::Fine })
}

fn line(note: &Note) -> String {
    let place = note.place.as_ref().map(|place| format!("{place}: ")).unwrap_or_default();
    format!("portreeve: {place}{}{}", if note.lost { "left out: " } else { "" }, note.text)
}

fn json_out(written: &Written, notes: &[Note], out: &mut Output<'_>) -> Result<(), Failure> {
    let note = |note: &Note| {
        let place = note.place.as_ref();
        json!({
            "file": place.map(|place| &*place.file),
            "line": place.map(|place| place.line),
            "column": place.map(|place| place.column).filter(|column| *column > 0),
            "service": note.service,
            "about": note.about,
            "left_out": note.lost,
            "message": note.text,
        })
    };
    let notes = notes.iter().map(note).collect::<Vec<_>>();
    let value = match written {
        Written::One(text) => json!({ "text": text, "notes": notes }),
        Written::Files(files) => {
            let files = files.iter().map(|file| json!({ "name": file.name, "text": file.text }));
            json!({ "files": files.collect::<Vec<_>>(), "notes": notes })
        }
    };
    Ok(out.json(&value)?)
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(format!("{}: {}", escape::os(file.as_os_str()), system_text(&error)))
    };
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().lock().take(LONGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        std::fs::File::open(file)
            .and_then(|opened| opened.take(LONGEST + 1).read_to_end(&mut bytes))
            .map_err(failed)?;
    }
    if bytes.len() as u64 > LONGEST {
        return Err(Failure::new(format!(
            "{} is longer than 16 MiB: that is no inetd.conf",
            escape::os(file.as_os_str())
        )));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(file: &Path, to: To, how: How) -> (Result<Exit, Failure>, String) {
        let arguments = Inetd { file: file.to_owned(), to, daemon_dir: "/usr/sbin".into(), how };
        let mut printed = Vec::new();
        let exit = inetd(&arguments, &mut Output::plain(&mut printed));
        (exit, String::from_utf8(printed).unwrap())
    }

    #[test]
    fn what_is_printed_and_how_it_ends() {
        let file = std::env::temp_dir().join(format!("portreeve-convert-inetd-{}", std::process::id()));
        for (text, to, exit, expected) in [
            ("# c\necho stream tcp nowait root internal\n", To::Xinetd, Exit::Fine, "# c\nservice echo\n{\n"),
            ("a strem tcp nowait root /bin/x x\n", To::Xinetd, Exit::Found, "# not carried over: a strem"),
            (
                "7 stream tcp nowait root /bin/x x\n",
                To::Systemd,
                Exit::Fine,
                "# /etc/systemd/system/7.socket\n",
            ),
            ("echo stream tcp nowait root internal\n", To::Systemd, Exit::Found, ""),
        ] {
            std::fs::write(&file, text).unwrap();
            let (ended, printed) = converted(&file, to, How::default());
            assert_eq!(ended.unwrap(), exit, "{text}");
            assert!(printed.starts_with(expected), "{printed}");
        }
        assert!(converted(&file, To::Inetd, How::default()).0.is_err(), "the same language");
        let out = How { out: Some(std::env::temp_dir()), ..How::default() };
        assert!(converted(&file, To::Xinetd, out).0.is_err(), "--out is for units");
        std::fs::remove_file(&file).unwrap();
        assert!(converted(&file, To::Xinetd, How::default()).0.is_err(), "no such file");
    }
}

//! The same where rpm keeps the packages: rpm itself looks (`rpm -Va`), and what it says is read up to a bound. And what rpm looks at in each
//! file: of a `%ghost` it compares no content, so its silence says nothing of that.

use super::{Difference, Found, Integrity};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

/// Bytes of its output.
const LONGEST: u64 = 64 << 20;

/// Where rpm's database is below a root, if there is one. This host's own rpm may look elsewhere (Debian's in the home directory).
fn database(root: &Path) -> Option<&'static str> {
    ["/usr/lib/sysimage/rpm", "/var/lib/rpm"].into_iter().find(|directory| {
        let below = root.join(directory.trim_start_matches('/'));
        ["rpmdb.sqlite", "Packages.db", "Packages"].iter().any(|name| below.join(name).exists())
    })
}

/// Whether there is a database of rpm below a root.
pub fn is_there(root: &Path) -> bool {
    database(root).is_some()
}

/// rpm, with the database below a root.
fn rpm(root: &Path) -> Command {
    let mut command = Command::new("rpm");
    if let Some(directory) = database(root) {
        command.args(["--dbpath", directory]);
    }
    command.arg("--root").arg(root).env("LC_ALL", "C").stdin(Stdio::null());
    command
}

/// Lets rpm look at all packages, or at these.
///
/// # Errors
/// rpm cannot be started, or says that it could not look.
pub fn packages(root: &Path, only: &[String]) -> io::Result<Integrity> {
    let mut command = rpm(root);
    // Its scripts say what they like; they are not asked. Dependencies are not the files' matter.
    command.args(["-V", "--noscripts", "--nodeps"]);
    match only {
        [] => command.arg("-a"),
        names => command.arg("--").args(names),
    };
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut integrity = Integrity::default();
    if let Some(output) = child.stdout.take() {
        for text in BufReader::new(output.take(LONGEST)).split(b'\n') {
            let text = text?;
            match line(&text) {
                Some(difference) => integrity.differences.push(difference),
                None if text.starts_with(b"package ") => {
                    return Err(io::Error::other(String::from_utf8_lossy(&text).into_owned()));
                }
                None => {}
            }
        }
    }
    let mut complaint = Vec::new();
    if let Some(errors) = child.stderr.take() {
        errors.take(64 << 10).read_to_end(&mut complaint)?;
    }
    let status = child.wait()?;
    let complaint = String::from_utf8_lossy(&complaint).trim().to_owned();
    if !complaint.is_empty() {
        integrity.gaps.push(format!("rpm says: {complaint}"));
    }
    // 1 is what it says when something differs, too.
    if !status.success() && integrity.differences.is_empty() {
        let why = if complaint.is_empty() { format!("rpm ended with {status}") } else { complaint };
        return Err(io::Error::other(why));
    }
    integrity.differences.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(integrity)
}

/// What rpm compares of a file, by the letters of its columns: `5` its content, `L` where it leads, `M` its mode and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compared(u32);

impl Compared {
    /// RPMVERIFY_*, by their places.
    const LETTERS: [char; 9] = ['5', 'S', 'L', 'U', 'G', 'T', 'M', 'D', 'P'];

    /// Whether it compares this.
    pub fn has(self, letter: char) -> bool {
        Self::LETTERS.iter().position(|own| *own == letter).is_some_and(|bit| self.0 & 1 << bit != 0)
    }
}

/// A package as rpm's database has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// When it was put there, in seconds since 1970.
    pub installed: i64,
    /// The transaction that put it there.
    pub transaction: u64,
    /// `1:2.3-4`
    pub version: String,
}

/// What rpm's database has of packages and of some of their files.
#[derive(Debug, Default)]
pub struct Record {
    /// By name; of several of one name the last.
    pub packages: BTreeMap<String, Known>,
    /// What is compared of these files; a `%ghost` is not among them.
    pub files: HashMap<Vec<u8>, Compared>,
}

/// Reads what is known of these packages and of those of their files that are wanted.
///
/// # Errors
/// rpm cannot be started, or does not know one.
pub fn record(root: &Path, names: &[String], wanted: &HashSet<Vec<u8>>) -> io::Result<Record> {
    const LINES: &str =
        "[%{=NAME} %{=INSTALLTIME} %{=INSTALLTID} %{=EVR} %{FILEFLAGS} %{FILEVERIFYFLAGS} %{FILENAMES}\n]";
    let mut record = Record::default();
    if names.is_empty() {
        return Ok(record);
    }
    let mut command = rpm(root);
    command.args(["-q", "--queryformat", LINES, "--"]).args(names);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    if let Some(output) = child.stdout.take() {
        for text in BufReader::new(output.take(LONGEST)).split(b'\n') {
            record.add(&text?, wanted);
        }
    }
    match child.wait()? {
        status if status.success() => Ok(record),
        status => Err(io::Error::other(format!("rpm -q ended with {status}"))),
    }
}

impl Record {
    fn add(&mut self, line: &[u8], wanted: &HashSet<Vec<u8>>) {
        /// RPMFILE_GHOST.
        const GHOST: u32 = 1 << 6;
        let mut words = line.splitn(7, |byte| *byte == b' ');
        let mut word = || words.next().and_then(|word| std::str::from_utf8(word).ok());
        let head = (|| {
            let name = word()?.to_owned();
            let (installed, transaction) = (word()?.parse().ok()?, word()?.parse().ok()?);
            let known = Known { installed, transaction, version: word()?.to_owned() };
            Some((name, known, word()?.parse::<u32>().ok()?, word()?.parse::<u32>().ok()?))
        })();
        let (Some((name, known, flags, compared)), Some(path)) = (head, words.next()) else { return };
        if wanted.contains(path) && flags & GHOST == 0 {
            // Of two packages that share it, what both compare.
            let both = self.files.get(path).map_or(compared, |other| other.0 & compared);
            self.files.insert(path.to_vec(), Compared(both));
        }
        let last = self.packages.entry(name).or_default();
        if known.installed >= last.installed {
            *last = known;
        }
    }
}

/// `S.5....T.  c /etc/x`, `missing   c /etc/x`, `missing     /x (Permission denied)`
fn line(text: &[u8]) -> Option<Difference> {
    let (columns, rest) = text.split_at_checked(9)?;
    let missing = columns == b"missing  ";
    if !missing && !columns.iter().all(|byte| b"SM5DLUGTP.?".contains(byte)) {
        return None;
    }
    let rest = rest.strip_prefix(b"  ").or_else(|| rest.strip_prefix(b" "))?;
    let (mark, path) = rest.split_at(rest.iter().position(|byte| *byte == b'/')?);
    let found = match missing {
        true => Found::Missing,
        false => Found::Told(String::from_utf8_lossy(columns).into_owned()),
    };
    Some(Difference { path: path.to_vec(), package: String::new(), conffile: mark.contains(&b'c'), found })
}

/// The letters in words.
pub(super) fn words(columns: &str) -> Vec<&'static str> {
    let all = [
        ('S', "size"),
        ('M', "mode"),
        ('5', "content"),
        ('D', "device"),
        ('L', "link"),
        ('U', "owner"),
        ('G', "group"),
        ('T', "time"),
        ('P', "capabilities"),
    ];
    all.into_iter().filter(|(letter, _)| columns.contains(*letter)).map(|(_, word)| word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ghost_is_not_compared_and_the_last_of_a_name_counts() {
        let mut record = Record::default();
        let wanted = [b"/a b".to_vec(), b"/ghost".to_vec(), b"/half".to_vec()].into();
        for line in [
            "market 100 7 1-1 0 4294967295 /a b",
            "market 200 8 1:2-1 64 4294967295 /ghost",
            "market 150 9 0-1 1 4294967294 /half",
            "market 150 9 0-1 0 4294967295 /unwanted",
            "market x y",
            "",
        ] {
            record.add(line.as_bytes(), &wanted);
        }
        let last = Known { installed: 200, transaction: 8, version: "1:2-1".to_owned() };
        assert_eq!(record.packages["market"], last);
        let compared = |path: &[u8], letter| record.files.get(path).map(|file| file.has(letter));
        assert_eq!((compared(b"/a b", '5'), compared(b"/a b", 'P')), (Some(true), Some(true)));
        assert_eq!((compared(b"/half", '5'), compared(b"/half", 'S')), (Some(false), Some(true)));
        assert_eq!((compared(b"/ghost", '5'), compared(b"/unwanted", '5')), (None, None));
    }

    #[test]
    fn rpms_lines() {
        let read = |text: &str| {
            let found = line(text.as_bytes())?;
            Some((found.line(), found.found.words().join(" ")))
        };
        for (text, wanted) in [
            ("missing   c /etc/demo.conf", "missing"),
            (".M.......    /usr/bin/one", "mode"),
            ("S.5....T.  c /etc/x y", "size content time"),
        ] {
            let (shown, words) = read(text).expect(text);
            assert_eq!(words, wanted);
            assert_eq!(
                shown.split_whitespace().collect::<Vec<_>>(),
                text.split_whitespace().collect::<Vec<_>>()
            );
        }
        for odd in ["", "Unsatisfied dependencies for x: /y", "S.5", "package x is not installed"] {
            assert_eq!(read(odd), None, "{odd}");
        }
    }
}

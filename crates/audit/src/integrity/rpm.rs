//! The same where rpm keeps the packages: rpm itself looks (`rpm -Va`), and what it says is read up to a bound. And what rpm looks at in each
//! file: of a `%ghost` it compares no content, so its silence says nothing of that.

use super::{Difference, Found, Integrity};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Bytes of its output; one that says more is not believed in part.
const LONGEST: usize = 64 << 20;
/// Bytes of its complaints that are kept.
const LONGEST_COMPLAINT: usize = 64 << 10;
/// Bytes that are read at once.
const ROOM: usize = 64 << 10;
/// How long it may take: it reads every file of the packages that it is asked for.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

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
    looked(&mut command, only.len())
}

/// What such a run of it finds of so many packages that were named. What it has not looked at to its end it has not looked at.
fn looked(command: &mut Command, named: usize) -> io::Result<Integrity> {
    let mut integrity = Integrity::default();
    let differences = &mut integrity.differences;
    let ended = ask(command, (PATIENCE, LONGEST), |text| {
        match line(text) {
            Some(difference) => differences.push(difference),
            None if text.starts_with(b"package ") => {
                return Err(io::Error::other(String::from_utf8_lossy(text).into_owned()));
            }
            None => {}
        }
        Ok(())
    })?;
    // When something differs it says 1, or how many of the packages that were named.
    let differ = |code: i32| code == 1 || usize::try_from(code).is_ok_and(|code| code <= named);
    let whole = match ended.status.code() {
        Some(0) => true,
        Some(code) => differ(code) && !integrity.differences.is_empty(),
        None => false,
    };
    if !whole {
        let status = ended.status;
        let why = if ended.complaint.is_empty() { String::new() } else { format!(": {}", ended.complaint) };
        return Err(io::Error::other(format!("rpm ended with {status}{why}")));
    }
    if !ended.complaint.is_empty() {
        integrity.gaps.push(format!("rpm says: {}", ended.complaint));
    }
    integrity.differences.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(integrity)
}

/// How a run of it ended, and what it complained of.
struct Ended {
    status: ExitStatus,
    complaint: String,
}

/// One that is running; it is ended when nobody waits for it any more.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs it and gives each line of its output. Both of its pipes are read as they fill, and neither time nor bytes are without a bound.
fn ask(
    command: &mut Command,
    (patience, longest): (Duration, usize),
    mut each: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<Ended> {
    let until = Instant::now() + patience;
    let late = || {
        let words = format!("rpm has not ended in {} seconds", patience.as_secs());
        io::Error::new(io::ErrorKind::TimedOut, words)
    };
    let mut running = Running(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?);
    let (mut output, mut errors) = (running.0.stdout.take(), running.0.stderr.take());
    let mut room = vec![0; ROOM];
    let (mut line, mut complaint, mut all) = (Vec::new(), Vec::new(), 0);
    while output.is_some() || errors.is_some() {
        let left = until.checked_duration_since(Instant::now()).ok_or_else(late)?;
        let pipes = [output.as_ref().map(AsFd::as_fd), errors.as_ref().map(AsFd::as_fd)];
        let [said, complained] = readable(pipes, left)?;
        if said && let Some(pipe) = &mut output {
            let count = pipe.read(&mut room)?;
            all += count;
            if all > longest {
                return Err(io::Error::other("rpm says more than is read of it"));
            }
            for part in room.get(..count).unwrap_or_default().split_inclusive(|byte| *byte == b'\n') {
                line.extend_from_slice(part);
                if line.pop_if(|last| *last == b'\n').is_some() {
                    each(&line)?;
                    line.clear();
                }
            }
            if count == 0 {
                output = None;
            }
        }
        if complained && let Some(pipe) = &mut errors {
            let count = pipe.read(&mut room)?;
            let rest = LONGEST_COMPLAINT - complaint.len();
            complaint.extend_from_slice(room.get(..count.min(rest)).unwrap_or_default());
            if count == 0 {
                errors = None;
            }
        }
    }
    if !line.is_empty() {
        each(&line)?;
    }
    loop {
        if let Some(status) = running.0.try_wait()? {
            let complaint = String::from_utf8_lossy(&complaint).trim().to_owned();
            return Ok(Ended { status, complaint });
        }
        if Instant::now() > until {
            return Err(late());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits for one of these pipes; which of them has something, or its end.
fn readable(pipes: [Option<BorrowedFd<'_>>; 2], left: Duration) -> io::Result<[bool; 2]> {
    let left =
        Timespec { tv_sec: i64::try_from(left.as_secs()).unwrap_or(60), tv_nsec: left.subsec_nanos().into() };
    let open = pipes.iter().flatten();
    let mut fds: Vec<PollFd<'_>> = open.map(|pipe| PollFd::from_borrowed_fd(*pipe, PollFlags::IN)).collect();
    match poll(&mut fds, Some(&left)) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok([false; 2]),
        Err(error) => return Err(error.into()),
    }
    let mut said = fds.iter().map(|fd| !fd.revents().is_empty());
    Ok(pipes.map(|pipe| pipe.is_some() && said.next().unwrap_or(false)))
}

/// What rpm compares of a file, by the letters of its columns: `5` its content, `L` where it leads, `M` its mode and so on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compared(u32);

impl Compared {
    /// RPMVERIFY_*, by their places.
    const LETTERS: [char; 9] = ['5', 'S', 'L', 'U', 'G', 'T', 'M', 'D', 'P'];

    /// What these letters say.
    pub fn of(letters: &str) -> Compared {
        let bits = Self::LETTERS.iter().enumerate().filter(|(_, letter)| letters.contains(**letter));
        Compared(bits.fold(0, |all, (bit, _)| all | 1 << bit))
    }

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
    let ended = ask(&mut command, (PATIENCE, LONGEST), |text| {
        record.add(text, wanted);
        Ok(())
    })?;
    match ended.status {
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

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]).stdin(Stdio::null());
        command
    }

    /// Whoever waits for the end of its output first waits for ever.
    #[test]
    fn what_it_complains_of_at_length_is_read_beside_its_output() {
        let script = "i=0; while [ $i -lt 3000 ]; do echo 'error: a line of some fifty letters and a number' >&2; i=$((i+1)); done; \
                      echo '..5......    /usr/bin/one'; exit 1";
        let found = looked(&mut shell(script), 1).unwrap();
        assert_eq!(found.differences[0].path, b"/usr/bin/one");
        assert!(
            found.gaps[0].len() < LONGEST_COMPLAINT + 100 && found.gaps[0].starts_with("rpm says: error")
        );
    }

    #[test]
    fn one_that_hangs_or_says_too_much_is_ended() {
        let bounds = (Duration::from_millis(50), 1000);
        for script in ["exec sleep 60", "exec >&- 2>&-; exec sleep 60"] {
            let error = ask(&mut shell(script), bounds, |_| Ok(())).err().unwrap();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{script}");
        }
        let script = "while echo '..5......    /usr/bin/one'; do :; done";
        let error = ask(&mut shell(script), (PATIENCE, 1000), |_| Ok(())).err().unwrap();
        assert!(error.to_string().contains("more than is read"), "{error}");
    }

    /// What stands behind the place where it was cut off would be as it was brought.
    #[test]
    fn one_that_was_cut_off_has_found_nothing() {
        let line = "echo '..5......    /usr/bin/one'";
        for (end, named, whole) in [
            ("exit 1", 0, true),
            ("exit 1", 3, true),
            ("exit 3", 3, true),
            ("exit 4", 3, false),
            ("exit 2", 0, false),
            ("kill -9 $$", 3, false),
            ("kill -15 $$", 3, false),
        ] {
            let found = looked(&mut shell(&format!("{line}; {end}")), named);
            assert_eq!(found.is_ok(), whole, "{end} of {named}: {found:?}");
        }
        assert!(looked(&mut shell("exit 1"), 1).is_err());
        assert!(looked(&mut shell("exit 0"), 1).unwrap().differences.is_empty());
    }

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

//! The same where rpm keeps the packages: rpm itself looks (`rpm -Va`), and what it says is read up to a bound.

use super::{Difference, Found, Integrity};
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

/// Lets rpm look at all packages, or at these.
///
/// # Errors
/// rpm cannot be started, or says that it could not look.
pub fn packages(root: &Path, only: &[String]) -> io::Result<Integrity> {
    let mut command = Command::new("rpm");
    if let Some(directory) = database(root) {
        command.args(["--dbpath", directory]);
    }
    // Its scripts say what they like; they are not asked. Dependencies are not the files' matter.
    command.arg("--root").arg(root).args(["-V", "--noscripts", "--nodeps"]);
    match only {
        [] => command.arg("-a"),
        names => command.arg("--").args(names),
    };
    let mut child = command
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
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

//! Changes as other programs tell them, so that scripts go on working: Tripwire's report of level 1, AIDE's JSON (aide.conf(5),
//! `report_format=json`), after captures of Tripwire 2.4.3.7 and AIDE 0.18.3.

use super::compare::Change;
use super::entry::{Content, Entry, Kind, Moment};
use super::hash::Hash;
use super::mask::Mask;
use super::rules::Rules;
use serde_json::{Map, Value, json};

/// The lines of `twprint -t 1`.
pub fn tripwire(changes: &[Change]) -> String {
    let mut text = String::new();
    let word = |change: &Change| match change {
        Change::Added(_) => Some("Added"),
        Change::Removed(_) => Some("Removed"),
        Change::Changed(..) => Some("Modified"),
        Change::Unseen(..) => None,
    };
    for part in ["Added", "Removed", "Modified"] {
        for change in changes.iter().filter(|change| word(change) == Some(part)) {
            text.push_str(&format!("{part}:\t\"{}\"\n", super::text::escape(change.path())));
        }
    }
    text
}

/// When a comparison began and ended, in seconds since 1970, and how many paths there were.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// Begin.
    pub begun: i64,
    /// End.
    pub ended: i64,
    /// Paths.
    pub paths: u64,
    /// The digest of files.
    pub hash: Hash,
    /// What counted of a path.
    pub rules: &'a Rules,
}

/// AIDE's report. Its `databases` holds the digest of the baseline under its name.
pub fn aide(changes: &[Change], run: Run<'_>, baseline: (&str, &[u8; 32])) -> Value {
    let (mut added, mut removed, mut changed, mut details) = (Map::new(), Map::new(), Map::new(), Map::new());
    for change in changes {
        let path = super::text::escape(change.path());
        match change {
            Change::Added(now) => {
                added.insert(path, json!(format!("{}{}", letter(now.kind), "+".repeat(17))))
            }
            Change::Removed(before) => {
                removed.insert(path, json!(format!("{}{}", letter(before.kind), "-".repeat(17))))
            }
            Change::Changed(before, now, what) => {
                details.insert(path.clone(), Value::Object(detail(before, now, *what, run.hash)));
                let compared = run.rules.mask(change.path()).and(before.known);
                changed.insert(path, json!(summary(before, now, *what, compared)))
            }
            Change::Unseen(..) => None,
        };
    }
    let none = changes.is_empty();
    let outline = match none {
        true => "AIDE found NO differences between database and filesystem. Looks okay!!",
        false => "AIDE found differences between database and filesystem!!",
    };
    json!({
        "start_time": time(run.begun),
        "aide_version": concat!("portreeve ", env!("CARGO_PKG_VERSION")),
        "outline": outline,
        "number_of_entries": {
            "total": run.paths,
            "added": added.len(),
            "removed": removed.len(),
            "changed": changed.len(),
        },
        "added": added,
        "removed": removed,
        "changed": changed,
        "details": details,
        "databases": { baseline.0: { "sha256": base64(baseline.1) } },
        "end_time": time(run.ended),
        "run_time_seconds": (run.ended - run.begun).max(0),
    })
}

fn letter(kind: Kind) -> char {
    match kind {
        Kind::File => 'f',
        other => other.letter(),
    }
}

/// What of the compared properties this kind of path has. The others have a blank, as AIDE leaves it.
fn has(kind: Kind, compared: Mask) -> Mask {
    let none = match kind {
        Kind::File => "+k",
        Kind::Directory => "+kmnsS",
        Kind::Link => "+nsSAPe",
        _ => "+knsSe",
    };
    compared.and_not(Mask::read(none).unwrap_or_default())
}

/// `YlZbpugamcinHAXSEC`: a letter where it changed, `.` where not, a blank where nothing is compared.
fn summary(before: &Entry, now: &Entry, what: Mask, compared: Mask) -> String {
    let compared = has(now.kind, compared);
    let mark = |letter, shown| match (what.has(letter), compared.has(letter)) {
        (true, _) => shown,
        (false, true) => '.',
        (false, false) => ' ',
    };
    let size = match now.size.cmp(&before.size) {
        _ if !compared.has('s') && !what.has('s') => ' ',
        std::cmp::Ordering::Less => '<',
        std::cmp::Ordering::Equal => '=',
        std::cmp::Ordering::Greater => '>',
    };
    let marks = [
        mark('p', 'p'),
        mark('u', 'u'),
        mark('g', 'g'),
        ' ',
        mark('m', 'm'),
        mark('c', 'c'),
        mark('i', 'i'),
        mark('n', 'n'),
        mark('S', 'H'),
        mark('A', 'A'),
        mark('x', 'X'),
        mark('Z', 'S'),
        mark('e', 'E'),
        mark('P', 'C'),
    ];
    [letter(now.kind), mark('k', 'l'), size, ' '].into_iter().chain(marks).collect()
}

fn detail(before: &Entry, now: &Entry, what: Mask, hash: Hash) -> Map<String, Value> {
    // Of SHA-512 half is kept: that is no SHA-512 of AIDE's.
    let digest = if hash == Hash::Sha512 { "sha512 (first half)" } else { hash.word() };
    let names = [
        ('t', "file_type"),
        ('p', "perm"),
        ('u', "uid"),
        ('g', "gid"),
        ('s', "size"),
        ('m', "modify_time"),
        ('c', "change_time"),
        ('S', digest),
        ('k', "link_name"),
        ('n', "link_count"),
        ('i', "inode"),
        ('A', "acl"),
        ('x', "xattrs"),
        ('Z', "selinux"),
        ('P', "capabilities"),
        ('e', "e2fsattrs"),
        ('r', "rdev"),
        ('d', "device"),
    ];
    let mut all = Map::new();
    for (letter, name) in names.into_iter().filter(|(letter, _)| what.has(*letter)) {
        all.insert(name.to_owned(), json!({ "old": value(before, letter), "new": value(now, letter) }));
    }
    all
}

fn value(entry: &Entry, letter: char) -> Value {
    match letter {
        't' => json!(match entry.kind {
            Kind::File => "File",
            Kind::Directory => "Directory",
            Kind::Link => "Link",
            Kind::CharacterDevice => "Character device",
            Kind::BlockDevice => "Block device",
            Kind::Pipe => "FIFO",
            Kind::Socket => "Socket",
        }),
        'p' => json!(permissions(entry)),
        'u' => json!(entry.uid),
        'g' => json!(entry.gid),
        's' => json!(entry.size),
        'm' => json!(moment(entry.mtime)),
        'c' => json!(moment(entry.ctime)),
        'n' => json!(entry.links),
        'i' => json!(entry.inode),
        'S' => match &entry.content {
            Content::Digest(digest) => json!(base64(digest)),
            _ => json!(entry.value('S')),
        },
        other => json!(entry.value(other)),
    }
}

fn moment((seconds, _): Moment) -> String {
    time(seconds)
}

/// `1970-01-01 00:00:00 +0000`, by the days of the civil calendar (eras of 400 years that begin in March).
fn time(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400) + 719_468, seconds.rem_euclid(86_400));
    let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = era * 400 + year + i64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} +0000",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

/// As `ls -l` writes it.
fn permissions(entry: &Entry) -> String {
    let mut text = String::from(entry.kind.letter());
    for (shift, special, set, unset) in [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')]
    {
        let bits = entry.mode >> shift & 7;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (entry.mode & special != 0, bits & 1 != 0) {
            (true, true) => set,
            (true, false) => unset,
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// RFC 4648, with its padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .chain([0, 0].iter())
            .take(3)
            .fold(0_usize, |word, byte| word << 8 | usize::from(*byte));
        for at in 0..4 {
            let letter = LETTERS.get(word >> (18 - 6 * at) & 63).filter(|_| at <= chunk.len());
            text.push(letter.map_or('=', |letter| char::from(*letter)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(mode: u32, size: u64) -> Entry {
        Entry {
            path: b"/etc/conf".to_vec(),
            kind: Kind::File,
            mode,
            uid: 0,
            gid: 0,
            size,
            mtime: (0, 0),
            ctime: (0, 0),
            inode: 1,
            device: 1,
            links: 1,
            rdev: 0,
            content: Content::Digest([0; 32]),
            target: Vec::new(),
            attributes: Vec::new(),
            flags: None,
            known: Mask::ALL,
        }
    }

    #[test]
    fn words_of_the_captures() {
        let (before, now) = (file(0o755, 6), file(0o4755, 11));
        assert_eq!(
            (permissions(&before), permissions(&now)),
            ("-rwxr-xr-x".to_owned(), "-rwsr-xr-x".to_owned())
        );
        let what = Mask::read("+pS").unwrap();
        // As AIDE's captures have it under a rule with these properties.
        let compared = Mask::read("+ptugsmcinSAxek").unwrap();
        assert_eq!(summary(&before, &now, what, compared), "f > p.. ....H.. . ");
        let marks = |what: &str| summary(&before, &file(0, 6), Mask::read(what).unwrap(), compared);
        assert_eq!(marks("+p"), "f = p.. ....... . ");
        let of = |kind, what: &str| {
            let (before, now) = (Entry { kind, ..before.clone() }, Entry { kind, ..file(0, 6) });
            summary(&before, &now, Mask::read(what).unwrap(), compared)
        };
        assert_eq!(of(Kind::Link, "+ki"), "ll  ... ..i   .   ");
        assert_eq!(of(Kind::Directory, "+pug"), "d   pug  ..  .. . ");
        assert_eq!(of(Kind::Pipe, "+t"), "p   ... ...  ..   ");
        assert_eq!(base64(b""), "");
        assert_eq!(
            (base64(b"f"), base64(b"fo"), base64(b"foo")),
            ("Zg==".into(), "Zm8=".into(), "Zm9v".into())
        );
        let changes =
            [Change::Changed(Box::new(before), Box::new(now.clone()), what), Change::Added(Box::new(now))];
        assert_eq!(tripwire(&changes), "Added:\t\"/etc/conf\"\nModified:\t\"/etc/conf\"\n");
        let rules = Rules::of(&[b"/etc".to_vec()]);
        let run = Run { begun: 0, ended: 2, paths: 8, hash: Hash::Sha256, rules: &rules };
        let report = aide(&changes, run, ("b", &[0; 32]));
        // Inode and ctime do not count there.
        assert_eq!(report["changed"]["/etc/conf"], "f > p.. .  .H.....");
        assert_eq!(report["added"]["/etc/conf"], "f+++++++++++++++++");
        assert_eq!(report["details"]["/etc/conf"]["perm"]["new"], "-rwsr-xr-x");
        assert_eq!(time(1_709_210_096), "2024-02-29 12:34:56 +0000");
        assert_eq!(time(-1), "1969-12-31 23:59:59 +0000");
        assert_eq!(report["start_time"], "1970-01-01 00:00:00 +0000");
        assert_eq!(report["number_of_entries"]["changed"], 1);
    }
}

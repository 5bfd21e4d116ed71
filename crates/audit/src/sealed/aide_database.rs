//! An AIDE database as the record of a tree: what its lines know becomes entries, and what they do not know is not compared. Reads one file; believes
//! nothing in it but its text.

use super::entry::{Content, Entry, Kind, order};
use super::hash::Hash;
use super::mask::Mask;
use super::text::escape;
use std::collections::BTreeMap;
use std::io::BufRead;

/// The longest line, and most lines: what a host with ten million files would have is beyond the memory of a check.
const LONGEST: u64 = 1 << 20;
const MOST: usize = 4_000_000;

/// Bits of the field `attr` (attributes.h of AIDE 0.17 and 0.18, and what 0.16 writes), and the letter of what they know.
const BITS: [(u32, char); 14] = [
    (1, 'k'),
    (2, 'p'),
    (3, 'u'),
    (4, 'g'),
    (5, 's'),
    (7, 'c'),
    (8, 'm'),
    (9, 'i'),
    (11, 'n'),
    (21, 'A'),
    (33, 'x'),
    (35, 't'),
    (36, 'e'),
    (37, 'P'),
];
const SHA256: u32 = 30;
const SHA512: u32 = 31;
const SELINUX: u32 = 32;

/// What a database holds.
#[derive(Debug, Default)]
pub struct Database {
    /// In the order of a walk.
    pub entries: Vec<Entry>,
    /// Which digest they have.
    pub hash: Hash,
    /// Files whose content is known by no digest of ours.
    pub without_digest: u64,
}

type Fields<'a> = BTreeMap<&'a str, &'a str>;

/// Reads a database that is not compressed.
///
/// # Errors
/// What is wrong, with the line.
pub fn read(mut reader: impl BufRead) -> Result<Database, String> {
    let (mut names, mut rows, mut number) = (Vec::new(), Vec::new(), 0_usize);
    let (mut sha256, mut sha512) = (0_u64, 0_u64);
    let mut line = Vec::new();
    let mut ended = false;
    loop {
        line.clear();
        number += 1;
        let read = std::io::Read::take(&mut reader, LONGEST).read_until(b'\n', &mut line);
        if read.map_err(|error| crate::bounded::words(&error))? == 0 {
            break;
        }
        if number == 1 && line.starts_with(&[0x1f, 0x8b]) {
            return Err("it is compressed: `zcat FILE | …` with /dev/stdin in its place reads it".to_owned());
        }
        let wrong = |why: &str| format!("line {number}: {why}");
        let text = std::str::from_utf8(line.trim_ascii_end()).map_err(|_| wrong("it is no text"))?;
        if !line.ends_with(b"\n") {
            return Err(wrong("it is cut off, or too long"));
        }
        if let Some(spec) = text.strip_prefix("@@db_spec ") {
            names = spec.split_whitespace().map(str::to_owned).collect();
            continue;
        }
        if text == "@@end_db" {
            ended = true;
            break;
        }
        if text.is_empty() || text.starts_with('#') || text.starts_with("@@") {
            continue;
        }
        if names.is_empty() {
            return Err(wrong("it is no AIDE database: `@@db_spec` was expected before"));
        }
        let values: Vec<&str> = text.split(' ').collect();
        if values.len() != names.len() {
            return Err(wrong(&format!("{} fields were expected, {} found", names.len(), values.len())));
        }
        let fields: Fields<'_> = names.iter().map(String::as_str).zip(values).collect();
        let (entry, long) = entry(&fields).map_err(|why| wrong(&why))?;
        sha256 += u64::from(matches!(entry.content, Content::Digest(_)));
        sha512 += u64::from(long.is_some());
        rows.push((entry, long));
        if rows.len() > MOST {
            return Err(wrong("there are too many paths"));
        }
    }
    if !ended {
        return Err("it is cut off: `@@end_db` was expected at its end".to_owned());
    }
    let hash = if sha256 >= sha512 { Hash::Sha256 } else { Hash::Sha512 };
    let mut without_digest = 0;
    let mut entries: Vec<Entry> = rows
        .into_iter()
        .map(|(mut entry, long)| {
            if hash == Hash::Sha512 {
                entry.content = long.map_or(Content::None, Content::Digest);
            }
            if entry.kind == Kind::File && entry.content == Content::None {
                entry.known = entry.known.without('S');
                without_digest += 1;
            }
            entry
        })
        .collect();
    entries.sort_by(|a, b| order(&a.path, &b.path));
    if let Some([one, _]) = entries.windows(2).find(|pair| matches!(pair, [a, b] if a.path == b.path)) {
        return Err(format!("{} is in it twice", escape(&one.path)));
    }
    Ok(Database { entries, hash, without_digest })
}

/// An entry, with the first half of its SHA-512.
fn entry(fields: &Fields<'_>) -> Result<(Entry, Option<[u8; 32]>), String> {
    let field = |name: &str| fields.get(name).copied();
    let number = |name: &str| -> Result<u64, String> {
        field(name).map_or(Ok(0), |text| text.parse().map_err(|_| format!("{name} is no number")))
    };
    let path = field("name").and_then(unescaped).filter(|path| path.first() == Some(&b'/'));
    let path = path.ok_or("a path was expected")?;
    let perm = field("perm")
        .and_then(|perm| u32::from_str_radix(perm, 8).ok())
        .ok_or("perm was expected, in octal")?;
    let kind = kind(perm).ok_or("perm says no kind of file")?;
    let bits = number("attr")?;
    let has = |bit: u32| bits >> bit & 1 == 1;
    let is_file = kind == Kind::File;
    let mut known = Mask::default().with('t').with('S');
    for (bit, letter) in BITS {
        if has(bit) {
            known = known.with(letter);
        }
    }
    let mut attributes = Vec::new();
    if has(21) && !field("acl").is_none_or(is_plain) {
        // Its text is another form of the list than what the kernel keeps.
        known = known.without('A');
    }
    if has(37) && field("capabilities").is_some_and(|text| text != "0") {
        known = known.without('P');
    }
    if has(SELINUX) {
        known = known.with('Z');
        if let Some(label) = field("selinux").filter(|text| *text != "0") {
            let label = unbase64(label).ok_or("selinux cannot be read")?;
            // The kernel's value has its end in it.
            attributes.push((b"security.selinux".to_vec(), first(&[&label[..], b"\0"].concat())));
        }
    }
    if let Some(text) = field("xattrs").filter(|_| has(33)) {
        attributes.extend(xattrs(text).ok_or("xattrs cannot be read")?);
    }
    attributes.sort_unstable();
    let digest = |name, bit| match field(name).filter(|text| has(bit) && *text != "0" && is_file) {
        Some(text) => unbase64(text).map(Some).ok_or_else(|| format!("{name} cannot be read")),
        None => Ok(None),
    };
    let short =
        digest("sha256", SHA256)?.map(|bytes| bytes.try_into().map_err(|_| "sha256 has another length"));
    let long = digest("sha512", SHA512)?
        .map(|bytes| bytes.first_chunk::<32>().copied().ok_or("sha512 has another length"));
    let moment = |name| -> Result<(i64, u32), String> {
        let text = field(name).filter(|text| *text != "0");
        let seconds = text.map_or(Some(0), |text| String::from_utf8(unbase64(text)?).ok()?.parse().ok());
        seconds.map(|seconds| (seconds, 0)).ok_or_else(|| format!("{name} cannot be read"))
    };
    let target = field("lname").filter(|text| *text != "0" && kind == Kind::Link);
    let entry = Entry {
        path,
        kind,
        mode: perm & 0o7777,
        uid: u32::try_from(number("uid")?).map_err(|_| "uid is no number")?,
        gid: u32::try_from(number("gid")?).map_err(|_| "gid is no number")?,
        size: if is_file { number("size")? } else { 0 },
        mtime: moment("mtime")?,
        ctime: moment("ctime")?,
        inode: number("inode")?,
        device: 0,
        links: if is_file { number("lcount")? } else { 1 },
        rdev: 0,
        content: short.transpose()?.map_or(Content::None, Content::Digest),
        target: target.map_or(Some(Vec::new()), unescaped).ok_or("lname cannot be read")?,
        attributes,
        flags: match field("e2fsattrs").filter(|_| has(36)) {
            Some(text) => Some(text.parse().map_err(|_| "e2fsattrs is no number")?),
            None => None,
        },
        // Only files and directories are opened for their flags.
        known: if matches!(kind, Kind::File | Kind::Directory) { known } else { known.without('e') },
    };
    Ok((entry, long.transpose()?))
}

fn kind(perm: u32) -> Option<Kind> {
    Some(match perm & 0o170_000 {
        0o100_000 => Kind::File,
        0o040_000 => Kind::Directory,
        0o120_000 => Kind::Link,
        0o020_000 => Kind::CharacterDevice,
        0o060_000 => Kind::BlockDevice,
        0o010_000 => Kind::Pipe,
        0o140_000 => Kind::Socket,
        _ => return None,
    })
}

/// Whether an ACL says no more than the mode does.
fn is_plain(text: &str) -> bool {
    if text == "0" {
        return true;
    }
    let Some((access, default)) = text.strip_prefix("POSIX,").and_then(|lists| lists.split_once(',')) else {
        return false;
    };
    let lines = unbase64(access).and_then(|bytes| String::from_utf8(bytes).ok());
    let three = |text: String| {
        let mut lines = text.lines().filter(|line| !line.is_empty());
        lines.all(|line| ["user::", "group::", "other::"].iter().any(|start| line.starts_with(start)))
    };
    default == "0" && (access == "0" || lines.is_some_and(three))
}

fn xattrs(text: &str) -> Option<Vec<(Vec<u8>, [u8; 16])>> {
    if text == "0" {
        return Some(Vec::new());
    }
    let mut parts = text.split(',');
    let count: usize = parts.next()?.parse().ok()?;
    let mut all = Vec::new();
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        all.push((unescaped(name)?, first(&unbase64(value)?)));
    }
    (all.len() == count).then_some(all)
}

fn first(value: &[u8]) -> [u8; 16] {
    let mut first = [0; 16];
    first.copy_from_slice(Hash::Sha256.once(value).get(..16).unwrap_or(&[0; 16]));
    first
}

/// AIDE writes what is no letter as `%HH`.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, tail) = tail.split_at_checked(2)?;
        let [byte] = super::entry::unhex::<1>(std::str::from_utf8(digits).ok()?)?;
        bytes.push(byte);
        rest = tail;
    }
    Some(bytes)
}

/// RFC 4648, with its padding.
fn unbase64(text: &str) -> Option<Vec<u8>> {
    let value = |letter: u8| match letter {
        b'A'..=b'Z' => Some(letter - b'A'),
        b'a'..=b'z' => Some(letter - b'a' + 26),
        b'0'..=b'9' => Some(letter - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let body = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || text.len() - body.len() > 2 {
        return None;
    }
    let (mut bytes, mut word, mut bits) = (Vec::with_capacity(text.len()), 0_u32, 0);
    for letter in body.bytes() {
        word = word << 6 | u32::from(value(letter)?);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((word >> bits & 0xff) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of AIDE 0.18.3.
    const TEXT: &str = "\
@@begin_db
# This file was generated by Aide, version 0.18.3
@@db_spec name lname perm uid gid size ctime mtime inode bcount lcount md5 attr acl sha256 sha512 selinux xattrs e2fsattrs capabilities 
/t 0 40755 0 0 4096 MTc5NTg4MjA3NA== MTc5NTg4MjA3NA== 11329613 8 3 0 111671250877 POSIX,dXNlcjo6cnd4Cmdyb3VwOjpyLXgKb3RoZXI6OnIteAo=,0 0 0 0 0 524288 0
/t/a%20b 0 100644 0 7 3 MTc5NTg4MjA3NA== MTc5NTg4MjA3NA== 11329615 8 1 dk76iD3aHhHbR2ccSju9ng== 114892480445 POSIX,dXNlcjo6cnctCmdyb3VwOjpyLS0Kb3RoZXI6OnItLQo=,0 mOpuTyFvL7S2n/+bOkSELDhobKaF8/VdxIxdP7EQe+Q= 14q7BUJzaGX5RwRSFgnCMNrAOi82nQQ6whLWkzuRQQ4GOZ43+cXMiENqMXNzMMHI7MssL583TWL3FkMqMtUPrA== 0 1,user.x,aGVsbG8= 524288 0
/t/l a 120777 0 0 1 MTc5NTg4MjA3NA== MTc5NTg4MjA3NA== 11329616 0 1 0 42949676991 0 0 0 0 0 0 0
@@end_db
";

    #[test]
    fn a_database_of_aide_is_read() {
        let database = read(TEXT.as_bytes()).unwrap();
        let [top, file, link] = &database.entries[..] else { panic!("{:?}", database.entries) };
        assert_eq!((top.kind, top.mode, top.size), (Kind::Directory, 0o755, 0));
        assert_eq!(
            (&file.path[..], file.gid, file.size, file.mtime),
            (&b"/t/a b"[..], 7, 3, (1_795_882_074, 0))
        );
        assert_eq!(file.content, Content::Digest(Hash::Sha256.once(b"hi\n")));
        assert_eq!(file.attributes, [(b"user.x".to_vec(), first(b"hello"))]);
        assert_eq!((link.kind, &link.target[..]), (Kind::Link, &b"a"[..]));
        for (letter, known) in
            [('S', true), ('m', true), ('A', true), ('e', true), ('r', false), ('d', false)]
        {
            assert_eq!(file.known.has(letter), known, "{letter}");
        }
        assert_eq!((database.hash, database.without_digest), (Hash::Sha256, 0));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (from, to, expected) in [
            ("@@end_db\n", "", "it is cut off: `@@end_db`"),
            ("@@db_spec ", "# ", "line 4: it is no AIDE database"),
            ("/t/l a ", "/t/l ", "line 6: 20 fields were expected, 19 found"),
            ("/t/l a ", "/t a ", "/t is in it twice"),
            ("120777", "999", "line 6: perm was expected"),
            ("mOpuTy", "m!puTy", "line 5: sha256 cannot be read"),
            ("1,user.x", "2,user.x", "line 5: xattrs cannot be read"),
        ] {
            let said = read(TEXT.replace(from, to).as_bytes()).unwrap_err();
            assert!(said.starts_with(expected), "{from}: {said}");
        }
        assert!(read(&b"\x1f\x8b\x08\n"[..]).unwrap_err().contains("compressed"));
        let sha512 = TEXT.replace("mOpuTyFvL7S2n/+bOkSELDhobKaF8/VdxIxdP7EQe+Q=", "0");
        let database = read(sha512.as_bytes()).unwrap();
        assert_eq!(
            (database.hash, &database.entries[1].content),
            (Hash::Sha512, &Content::Digest(Hash::Sha512.once(b"hi\n")))
        );
    }
}

//! A baseline as an AIDE database (0.17 and later), for whoever compares with AIDE: what AIDE has a field for. Makes text; reads and writes nothing.

use super::entry::{Content, Entry, Kind};
use super::hash::Hash;

/// What stands before the paths.
pub const HEAD: &str = "@@begin_db\n# made by portreeve from a signed baseline, whose signature is not in here\n\
    @@db_spec name lname attr perm uid gid size mtime ctime inode lcount sha256\n";
/// What stands behind them.
pub const END: &str = "@@end_db\n";

/// Bits of the field `attr` for what a line knows of every path: name, type, mode, owner, group, ctime, mtime, inode.
const USUAL: u64 = 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 7 | 1 << 8 | 1 << 9 | 1 << 35;
const LINK: u64 = 1 << 1;
/// Size and number of names: of a file alone, as a record has no other.
const OF_FILE: u64 = 1 << 5 | 1 << 11;
const SHA256: u64 = 1 << 30;

/// The line of a path. A digest that is none of AIDE's (BLAKE3, or of the blocks of a huge file) is left out, and said to be unknown.
pub fn line(entry: &Entry, hash: Hash) -> String {
    let digest = match &entry.content {
        Content::Digest(digest) if hash == Hash::Sha256 && entry.known.has('S') => base64(digest),
        _ => "0".to_owned(),
    };
    let mut bits = USUAL;
    let mut add = |is: bool, bit| bits |= if is { bit } else { 0 };
    add(entry.kind == Kind::Link, LINK);
    add(entry.kind == Kind::File, OF_FILE);
    add(digest != "0", SHA256);
    let target = if entry.kind == Kind::Link { escaped(&entry.target) } else { "0".to_owned() };
    format!(
        "{} {target} {bits} {:o} {} {} {} {} {} {} {} {digest}\n",
        escaped(&entry.path),
        kind_bits(entry.kind) | entry.mode,
        entry.uid,
        entry.gid,
        entry.size,
        base64(entry.mtime.0.to_string().as_bytes()),
        base64(entry.ctime.0.to_string().as_bytes()),
        entry.inode,
        entry.links,
    )
}

fn kind_bits(kind: Kind) -> u32 {
    match kind {
        Kind::File => 0o100_000,
        Kind::Directory => 0o040_000,
        Kind::Link => 0o120_000,
        Kind::CharacterDevice => 0o020_000,
        Kind::BlockDevice => 0o060_000,
        Kind::Pipe => 0o010_000,
        Kind::Socket => 0o140_000,
    }
}

/// What is no letter, digit or usual sign of a path as `%HH`.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'/' | b'.' | b'-' | b'_' => text.push(char::from(*byte)),
            letter if letter.is_ascii_alphanumeric() => text.push(char::from(*letter)),
            other => text.push_str(&format!("%{other:02x}")),
        }
    }
    text
}

/// RFC 4648, with its padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let letter = |word: u32, at: u32| LETTERS.get((word >> at & 63) as usize).map_or('=', |l| char::from(*l));
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        text.push(letter(word, 18));
        text.push(letter(word, 12));
        text.push(if three.len() > 1 { letter(word, 6) } else { '=' });
        text.push(if three.len() > 2 { letter(word, 0) } else { '=' });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::aide_database::read;
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let first = read(
            "@@begin_db\n@@db_spec name lname attr perm uid gid size mtime ctime inode lcount sha256\n\
             /t 0 34359739293 40755 0 0 0 MTc5NTg4MjA3NA== MTc5NTg4MjA3NA== 5 1 0\n\
             /t/a%20%ff%25b 0 35433483197 104755 3 7 3 MTc5NTg4MjA3NA== MTc5NTg4MjA3NQ== 6 2 mOpuTyFvL7S2n/+bOkSELDhobKaF8/VdxIxdP7EQe+Q=\n\
             /t/l a/%0a 34359739295 120777 0 0 0 MTc5NTg4MjA3NA== MTc5NTg4MjA3NA== 7 1 0\n@@end_db\n"
                .as_bytes(),
        )
        .unwrap();
        let text = |hash| {
            let lines: String = first.entries.iter().map(|entry| line(entry, hash)).collect();
            format!("{HEAD}{lines}{END}")
        };
        let again = read(text(Hash::Sha256).as_bytes()).unwrap();
        assert_eq!(again.entries, first.entries);
        assert_eq!(again.without_digest, 0);
        // Another digest is not passed off as SHA-256.
        assert_eq!(read(text(Hash::Blake3).as_bytes()).unwrap().without_digest, 1);
    }

    #[test]
    fn base64_has_its_padding() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}

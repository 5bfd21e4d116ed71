//! A baseline as bytes: a line for each path, so that people and other programs can read it. Strict: what it does not know, it
//! refuses, with the line.

use super::entry::{Content, Entry, Kind, Moment, hex, unhex};
use super::mask::Mask;
use std::fmt::Write;

/// The longest line that is read: a path and a target of 4096 bytes each, escaped, and attributes.
pub const LONGEST: usize = 128 * 1024;

/// Bytes as one word: what is no printable ASCII, and the backslash, as `\xHH`.
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_graphic() && byte != b'\\' {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// The bytes of such a word.
pub fn unescape(text: &str) -> Option<Vec<u8>> {
    // Almost every name is as it is.
    if !text.as_bytes().contains(&b'\\') {
        return Some(text.as_bytes().to_vec());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'\\' {
            bytes.push(first);
            continue;
        }
        let (digits, tail) = tail.strip_prefix(b"x")?.split_at_checked(2)?;
        let [byte] = unhex::<1>(std::str::from_utf8(digits).ok()?)?;
        bytes.push(byte);
        rest = tail;
    }
    Some(bytes)
}

fn word(bytes: &[u8]) -> String {
    if bytes.is_empty() { "-".to_owned() } else { escape(bytes) }
}

/// A word that is `-` stands for nothing; a lone dash itself is written escaped.
fn named(bytes: &[u8]) -> String {
    if bytes == b"-" { "\\x2d".to_owned() } else { word(bytes) }
}

/// The line of an entry, its end included.
pub fn line(entry: &Entry) -> String {
    let content = match &entry.content {
        Content::None => "-".to_owned(),
        Content::Digest(digest) => hex(digest),
        Content::Blocks(digest) => format!("blocks:{}", hex(digest)),
        Content::Changing => "changing".to_owned(),
        Content::Unreadable(number) => format!("error:{number}"),
    };
    let one = |(name, digest): &(Vec<u8>, [u8; 16])| format!("{}={}", escape_name(name), hex(digest));
    let attributes: Vec<_> = entry.attributes.iter().map(one).collect();
    let attributes = if attributes.is_empty() { "-".to_owned() } else { attributes.join(",") };
    let flags = entry.flags.map_or("-".to_owned(), |flags| format!("{flags:x}"));
    let known = if entry.known == Mask::ALL { "*".to_owned() } else { entry.known.letters() };
    format!(
        "{} {} {:o} {} {} {} {}.{:09} {}.{:09} {} {:x} {} {:x} {content} {} {attributes} {flags} {known}\n",
        escape(&entry.path),
        entry.kind.letter(),
        entry.mode,
        entry.uid,
        entry.gid,
        entry.size,
        entry.mtime.0,
        entry.mtime.1,
        entry.ctime.0,
        entry.ctime.1,
        entry.inode,
        entry.device,
        entry.links,
        entry.rdev,
        named(&entry.target),
    )
}

/// In the name of an attribute the signs between attributes are escaped too.
fn escape_name(name: &[u8]) -> String {
    escape(name).replace(',', "\\x2c").replace('=', "\\x3d")
}

/// The entry of a line without its end.
///
/// # Errors
/// What is wrong with it.
pub fn entry(line: &str) -> Result<Entry, String> {
    let mut words = [""; 17];
    let mut found = 0;
    for word in line.split(' ') {
        if let Some(place) = words.get_mut(found) {
            *place = word;
        }
        found += 1;
    }
    if found != words.len() {
        return Err(format!("{} words expected, {found} found", words.len()));
    }
    let [
        path,
        kind,
        mode,
        uid,
        gid,
        size,
        mtime,
        ctime,
        inode,
        device,
        links,
        rdev,
        content,
        target,
        attributes,
        flags,
        known,
    ] = words;
    let bad = |what: &str| format!("{what} cannot be read");
    let path = unescape(path).filter(|path| path.first() == Some(&b'/')).ok_or_else(|| bad("the path"))?;
    let mut letters = kind.chars();
    let kind = letters
        .next()
        .filter(|_| letters.next().is_none())
        .and_then(Kind::of)
        .ok_or_else(|| bad("the kind"))?;
    Ok(Entry {
        path,
        kind,
        mode: u32::from_str_radix(mode, 8)
            .ok()
            .filter(|mode| *mode < 0o10000)
            .ok_or_else(|| bad("the mode"))?,
        uid: uid.parse().map_err(|_| bad("the user"))?,
        gid: gid.parse().map_err(|_| bad("the group"))?,
        size: size.parse().map_err(|_| bad("the size"))?,
        mtime: moment(mtime).ok_or_else(|| bad("the mtime"))?,
        ctime: moment(ctime).ok_or_else(|| bad("the ctime"))?,
        inode: inode.parse().map_err(|_| bad("the inode"))?,
        device: u64::from_str_radix(device, 16).map_err(|_| bad("the filesystem"))?,
        links: links.parse().map_err(|_| bad("the links"))?,
        rdev: u64::from_str_radix(rdev, 16).map_err(|_| bad("the device"))?,
        content: self::content(content).ok_or_else(|| bad("the digest"))?,
        target: if target == "-" { Vec::new() } else { unescape(target).ok_or_else(|| bad("the target"))? },
        attributes: self::attributes(attributes).ok_or_else(|| bad("the attributes"))?,
        flags: match flags {
            "-" => None,
            digits => Some(u32::from_str_radix(digits, 16).map_err(|_| bad("the flags"))?),
        },
        known: Mask::read(known).map_err(|_| bad("what is known"))?,
    })
}

fn moment(text: &str) -> Option<Moment> {
    let (seconds, nanos) = text.split_once('.')?;
    let nanos = Some(nanos).filter(|nanos| nanos.len() == 9)?.parse().ok()?;
    Some((seconds.parse().ok()?, nanos))
}

fn content(text: &str) -> Option<Content> {
    Some(match text {
        "-" => Content::None,
        "changing" => Content::Changing,
        _ => match text.strip_prefix("error:") {
            Some(number) => Content::Unreadable(number.parse().ok()?),
            None => match text.strip_prefix("blocks:") {
                Some(digest) => Content::Blocks(unhex(digest)?),
                None => Content::Digest(unhex(text)?),
            },
        },
    })
}

fn attributes(text: &str) -> Option<Vec<(Vec<u8>, [u8; 16])>> {
    if text == "-" {
        return Some(Vec::new());
    }
    text.split(',')
        .map(|one| {
            let (name, digest) = one.split_once('=')?;
            Some((unescape(name)?, unhex(digest)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_entry() -> impl Strategy<Value = Entry> {
        let name = || prop::collection::vec(1_u8.., 0..20);
        let content = prop_oneof![
            Just(Content::None),
            any::<[u8; 32]>().prop_map(Content::Digest),
            any::<[u8; 32]>().prop_map(Content::Blocks),
            Just(Content::Changing),
            (1..200).prop_map(Content::Unreadable)
        ];
        let times = (any::<i64>(), 0_u32..1_000_000_000, any::<i64>(), 0_u32..1_000_000_000);
        let numbers = (0_u32..0o10000, any::<u32>(), any::<u32>(), any::<u64>(), any::<u64>(), any::<u64>());
        let attributes =
            prop::collection::vec((prop::collection::vec(1_u8.., 1..12), any::<[u8; 16]>()), 0..3);
        (name(), 0..Kind::ALL.len(), numbers, times, content, name(), attributes, any::<Option<u32>>())
            .prop_map(
                |(
                    name,
                    kind,
                    (mode, uid, gid, size, inode, device),
                    (m, mn, c, cn),
                    content,
                    target,
                    attributes,
                    flags,
                )| {
                    Entry {
                        path: [b"/", &name[..]].concat(),
                        kind: Kind::ALL[kind].0,
                        mode,
                        uid,
                        gid,
                        size,
                        mtime: (m, mn),
                        ctime: (c, cn),
                        inode,
                        device,
                        links: size ^ 1,
                        rdev: device / 3,
                        content,
                        target,
                        attributes,
                        flags,
                        known: if flags.is_some() { Mask::ALL } else { Mask::usual().without('S') },
                    }
                },
            )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(written in any_entry()) {
            let text = line(&written);
            prop_assert!(text.ends_with('\n') && text.trim_end().is_ascii());
            prop_assert_eq!(entry(text.trim_end_matches('\n')), Ok(written));
        }

        #[test]
        fn any_line_is_read_or_refused(text in ".{0,200}") {
            let _ = entry(&text);
            let _ = unescape(&text);
        }
    }

    #[test]
    fn a_lone_dash_is_a_target_too() {
        assert_eq!(unescape(&named(b"-")), Some(b"-".to_vec()));
        assert_eq!(named(b""), "-");
    }
}

//! `/proc/PID/maps`: the files that a process executes from its memory. Pure.

use std::collections::HashMap;

/// A file that is mapped, and executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    /// Device and inode, as the kernel shows them here: a file system with volumes or layers shows others to stat(2).
    pub device: u64,
    /// Its inode.
    pub inode: u64,
    /// Its name, with the kernel's " (deleted)".
    pub path: Vec<u8>,
    /// Offset in the file, address and length of its parts.
    pub parts: Vec<(u64, u64, u64)>,
}

/// Files of one process that are looked at.
const MOST_FILES: usize = 4096;
/// Parts of one file that are kept; the first has the header.
const MOST_PARTS: usize = 8;

/// The executed files, in the order of their first part. What is no file has no inode.
pub(crate) fn executed(text: &[u8]) -> Vec<Mapping> {
    let mut found: Vec<(Mapping, bool)> = Vec::new();
    let mut places: HashMap<(u64, u64), usize> = HashMap::new();
    for line in text.split(|byte| *byte == b'\n') {
        let Some((part, executed, key, path)) = read(line) else { continue };
        let at = *places.entry(key).or_insert(found.len());
        if at == found.len() {
            if found.len() >= MOST_FILES {
                break;
            }
            let (device, inode) = key;
            found.push((Mapping { device, inode, path: unescaped(path), parts: Vec::new() }, false));
        }
        if let Some((mapping, runs)) = found.get_mut(at) {
            *runs |= executed;
            if mapping.parts.len() < MOST_PARTS {
                mapping.parts.push(part);
            }
        }
    }
    found.into_iter().filter(|(_, runs)| *runs).map(|(mapping, _)| mapping).collect()
}

/// Offset, address and length.
type Part = (u64, u64, u64);
/// A part, whether it is executed, device and inode, and the name.
type Line<'a> = (Part, bool, (u64, u64), &'a [u8]);

/// `55d0-55d8 r-xp 00002000 fe:00 1234     /usr/bin/x`
fn read(line: &[u8]) -> Option<Line<'_>> {
    let mut rest = line;
    let mut word = || {
        let end = rest.iter().position(|byte| *byte == b' ')?;
        let (word, after) = rest.split_at(end);
        rest = after.get(1..)?;
        std::str::from_utf8(word).ok()
    };
    let (range, flags, offset, device, inode) = (word()?, word()?, word()?, word()?, word()?);
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let (start, end) = range.split_once('-')?;
    let (start, end) = (hex(start)?, hex(end)?);
    let (major, minor) = device.split_once(':')?;
    let device = rustix::fs::makedev(u32::try_from(hex(major)?).ok()?, u32::try_from(hex(minor)?).ok()?);
    let inode: u64 = inode.parse().ok()?;
    let path = rest.trim_ascii_start();
    if inode == 0 || !path.starts_with(b"/") {
        return None;
    }
    let part = (hex(offset)?, start, end.checked_sub(start)?);
    Some((part, flags.as_bytes().get(2) == Some(&b'x'), (device, inode), path))
}

/// The kernel writes a line end in a name as `\012`.
fn unescaped(path: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        match rest.strip_prefix(b"\\012") {
            Some(after) => {
                plain.push(b'\n');
                rest = after;
            }
            None => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_executed_counts() {
        let text = b"1000-2000 r--p 00000000 fe:01 7                /usr/lib/a b.so (deleted)\n\
            2000-3000 r-xp 00001000 fe:01 7                /usr/lib/a b.so (deleted)\n\
            3000-4000 r--p 00000000 fe:01 8                /usr/lib/locale-archive\n\
            5000-6000 r-xp 00000000 00:00 0                [vdso]\n\
            6000-7000 rwxp 00000000 00:01 9                /memfd:jit (deleted)\n\
            7000-8000 r-xp 00000000 fe:01 10               /x\\012y\n\
            rubbish\n-- rwxp 0 0:0 1 /x\n9-1 r-xp 0 1:1 5 /back\n";
        let found = executed(text);
        let names: Vec<_> = found.iter().map(|m| String::from_utf8_lossy(&m.path).into_owned()).collect();
        assert_eq!(names, ["/usr/lib/a b.so (deleted)", "/memfd:jit (deleted)", "/x\ny"]);
        assert_eq!(found[0].parts, [(0, 0x1000, 0x1000), (0x1000, 0x2000, 0x1000)]);
        assert_eq!((found[0].device, found[0].inode), (rustix::fs::makedev(0xfe, 1), 7));
    }
}

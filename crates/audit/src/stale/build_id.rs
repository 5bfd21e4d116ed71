//! The build-id of an ELF file, read from the file or from the memory of a process, up to a bound. Decides nothing else: whoever
//! made the bytes may have made them to harm, so every offset is checked and nothing is believed but the note's own words.

use std::fs::File;
use std::os::unix::fs::FileExt;

/// Program headers that are looked at.
const MOST_HEADERS: u16 = 256;
/// Bytes of one segment of notes.
const MOST_NOTES: u64 = 64 << 10;
/// Bytes of a build-id; SHA-1 has 20.
const LONGEST_ID: usize = 64;
const PT_NOTE: u32 = 4;
const NT_GNU_BUILD_ID: u32 = 3;

/// Bytes that are read by their place in the file.
pub(crate) trait Source {
    /// Fills the buffer, or tells that it cannot.
    fn fill(&self, offset: u64, buffer: &mut [u8]) -> bool;
}

impl Source for File {
    fn fill(&self, offset: u64, buffer: &mut [u8]) -> bool {
        self.read_exact_at(buffer, offset).is_ok()
    }
}

/// A file as a process has it in its memory: where the parts are.
#[derive(Debug)]
pub(crate) struct Mapped {
    /// `/proc/PID/mem`.
    pub memory: File,
    /// Offset in the file, address and length.
    pub parts: Vec<(u64, u64, u64)>,
}

impl Source for Mapped {
    fn fill(&self, offset: u64, buffer: &mut [u8]) -> bool {
        let Some(end) = offset.checked_add(buffer.len() as u64) else { return false };
        let part = self.parts.iter().find(|(from, _, length)| {
            offset >= *from && from.checked_add(*length).is_some_and(|to| end <= to)
        });
        let address = part.and_then(|(from, address, _)| address.checked_add(offset - from));
        address.is_some_and(|address| self.memory.read_exact_at(buffer, address).is_ok())
    }
}

/// What the bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Build {
    /// A program or a library with this build-id.
    Id(Vec<u8>),
    /// A program or a library without one.
    None,
    /// No ELF file.
    Other,
    /// The beginning cannot be read.
    Unreadable,
}

impl Build {
    /// The id in hexadecimal digits.
    pub fn hex(&self) -> Option<String> {
        match self {
            Build::Id(bytes) => Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
            _ => None,
        }
    }
}

/// Reads it.
pub(crate) fn read(source: &impl Source) -> Build {
    let mut start = [0; 64];
    // The header of 32 bits is 52 bytes long, and a file may end there.
    if !source.fill(0, start.get_mut(..52).unwrap_or_default()) {
        return Build::Unreadable;
    }
    if start.get(..4) != Some(b"\x7fELF") {
        return Build::Other;
    }
    let wide = match start.get(4) {
        Some(1) => false,
        Some(2) => true,
        _ => return Build::Other,
    };
    if wide && !source.fill(0, &mut start) {
        return Build::Unreadable;
    }
    let words = Words { big: start.get(5) == Some(&2) };
    let (table, size, count) = if wide {
        (words.long(&start, 32), words.half(&start, 54), words.half(&start, 56))
    } else {
        (u64::from(words.word(&start, 28)), words.half(&start, 42), words.half(&start, 44))
    };
    if size < if wide { 56 } else { 32 } {
        return Build::None;
    }
    for index in 0..count.min(MOST_HEADERS) {
        let mut header = [0; 56];
        let length = if wide { 56 } else { 32 };
        let Some(at) = table.checked_add(u64::from(index) * u64::from(size)) else { break };
        if !source.fill(at, header.get_mut(..length).unwrap_or_default()) {
            break;
        }
        if words.word(&header, 0) != PT_NOTE {
            continue;
        }
        let (offset, bytes, align) = if wide {
            (words.long(&header, 8), words.long(&header, 32), words.long(&header, 48))
        } else {
            let word = |at| u64::from(words.word(&header, at));
            (word(4), word(16), word(28))
        };
        let mut notes = vec![0; usize::try_from(bytes.min(MOST_NOTES)).unwrap_or(0)];
        if !source.fill(offset, &mut notes) {
            continue;
        }
        if let Some(id) = id_in(&notes, words, if align == 8 { 8 } else { 4 }) {
            return Build::Id(id);
        }
    }
    Build::None
}

/// The build-id among these notes.
fn id_in(mut notes: &[u8], words: Words, align: usize) -> Option<Vec<u8>> {
    while notes.len() >= 12 {
        let length = |at| usize::try_from(words.word(notes, at)).ok();
        let (name, content, kind) = (length(0)?, length(4)?, words.word(notes, 8));
        let begin = 12usize.checked_add(name)?.checked_next_multiple_of(align)?;
        let end = begin.checked_add(content)?;
        let (called, found) = (notes.get(12..12usize.checked_add(name)?)?, notes.get(begin..end)?);
        if kind == NT_GNU_BUILD_ID && called == b"GNU\0" && (1..=LONGEST_ID).contains(&content) {
            return Some(found.to_vec());
        }
        notes = notes.get(end.checked_next_multiple_of(align)?..)?;
    }
    None
}

#[derive(Clone, Copy)]
struct Words {
    big: bool,
}

impl Words {
    fn number<const N: usize>(self, bytes: &[u8], at: usize) -> [u8; N] {
        let mut found = [0; N];
        if let Some(part) = bytes.get(at..at + N) {
            found.copy_from_slice(part);
        }
        if self.big {
            found.reverse();
        }
        found
    }
    fn half(self, bytes: &[u8], at: usize) -> u16 {
        u16::from_le_bytes(self.number(bytes, at))
    }
    fn word(self, bytes: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(self.number(bytes, at))
    }
    fn long(self, bytes: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(self.number(bytes, at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Source for Vec<u8> {
        fn fill(&self, offset: u64, buffer: &mut [u8]) -> bool {
            let at = usize::try_from(offset).unwrap_or(usize::MAX);
            let found = at.checked_add(buffer.len()).and_then(|end| self.get(at..end));
            found.map(|bytes| buffer.copy_from_slice(bytes)).is_some()
        }
    }

    fn image(notes: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 56];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = 1;
        bytes[64] = 4;
        bytes[64 + 8] = 120;
        bytes[64 + 32..64 + 34].copy_from_slice(&u16::try_from(notes.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(notes);
        bytes
    }

    const NOTE: &[u8] = b"\x04\0\0\0\x03\0\0\0\x03\0\0\0GNU\0\xab\xcd\xef\0";

    #[test]
    fn the_note_is_found_and_odd_bytes_are_none() {
        assert_eq!(read(&image(NOTE)), Build::Id(vec![0xab, 0xcd, 0xef]));
        let other = b"\x04\0\0\0\x04\0\0\0\x01\0\0\0GNU\0abcd";
        assert_eq!(read(&image(&[other, NOTE].concat())).hex().as_deref(), Some("abcdef"));
        for odd in [&b""[..], b"\x04", &[0xff; 64], b"\x04\0\0\0\xff\xff\xff\xff\x03\0\0\0GNU\0", &[0; 64]] {
            assert_eq!(read(&image(odd)), Build::None, "{odd:?}");
        }
        assert_eq!(read(&b"#!/bin/sh".to_vec()), Build::Unreadable);
        assert_eq!(read(&vec![b'x'; 100]), Build::Other);
        // Every cut and every flipped byte: no panic, no endless loop.
        let whole = image(&[other, NOTE].concat());
        for at in 0..whole.len() {
            read(&whole[..at].to_vec());
            for byte in [0, 1, 0x7f, 0xff] {
                let mut bent = whole.clone();
                bent[at] = byte;
                read(&bent);
            }
        }
    }

    #[test]
    fn this_program_has_the_id_that_readelf_shows() {
        let path = std::env::current_exe().unwrap();
        let own = read(&File::open(&path).unwrap());
        let Ok(output) = std::process::Command::new("readelf").arg("-n").arg(&path).output() else { return };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let shown = text.lines().find_map(|line| line.trim().strip_prefix("Build ID: "));
        assert_eq!(own.hex().as_deref(), shown);
    }
}

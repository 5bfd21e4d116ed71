//! The pages of our own executable that this process has mapped. Gives up those of its code, which come back when they are used; decides
//! nothing about when that is worth it.

use rustix::mm::{Advice, madvise};
use std::io::Read;
use std::sync::OnceLock;

/// Where the code of this program is: from, to. It stays there for as long as the process lives.
static CODE: OnceLock<Vec<(usize, usize)>> = OnceLock::new();

/// A part of the address space, as a line of /proc/self/maps tells of it.
#[derive(Debug, PartialEq, Eq)]
struct Mapping<'a> {
    start: usize,
    end: usize,
    rights: &'a str,
    offset: u64,
    /// Device and inode.
    file: (&'a str, &'a str),
}

/// Looks up where the code of this program is, for one who will not be able to read /proc when it lets go of it.
pub fn locate() {
    CODE.get_or_init(|| {
        // In one piece: the kernel makes the table anew for each read.
        let mut maps = String::with_capacity(8 << 10);
        let read = std::fs::File::open("/proc/self/maps").and_then(|mut file| file.read_to_string(&mut maps));
        let here = let_go as fn() as usize;
        let found = if read.is_ok() { of_code(&maps, here) } else { Vec::new() };
        found.iter().map(|mapping| (mapping.start, mapping.end)).collect()
    });
}

/// Lets go of the code of this program that is not running: what reads a configuration, or makes a worker ready, is a megabyte or three, most
/// of it mapped only because the kernel maps what lies around a page that is touched. What is used comes back from the page cache without
/// reading a disk. Without /proc nothing happens.
pub fn let_go() {
    locate();
    for &(start, end) in CODE.get().into_iter().flatten() {
        let address = std::ptr::with_exposed_provenance_mut(start);
        // SAFETY: the range is a private mapping of the executable's file that may not be written to, and never was: what the loader
        // relocates lies in the segment that is writable at first, whose offset is not 0. Nobody unmaps it: it is what is running. So all
        // its pages are those of the file, which nobody can write to while it is executed, and the next access finds the same bytes.
        let _ = unsafe { madvise(address, end.saturating_sub(start), Advice::LinuxDontNeed) };
    }
}

/// The code, and the constants at the file's beginning, of the file whose code is at `here`.
fn of_code(maps: &str, here: usize) -> Vec<Mapping<'_>> {
    let all: Vec<Mapping<'_>> = maps.lines().filter_map(mapping).collect();
    let own = all.iter().find(|m| m.rights == "r-xp" && (m.start..m.end).contains(&here)).map(|m| m.file);
    let code = |m: &Mapping<'_>| m.rights == "r-xp" || m.rights == "r--p" && m.offset == 0;
    all.into_iter().filter(|m| Some(m.file) == own && m.file.1 != "0" && code(m)).collect()
}

fn mapping(line: &str) -> Option<Mapping<'_>> {
    let mut words = line.split_ascii_whitespace();
    let (start, end) = words.next()?.split_once('-')?;
    let hex = |text| usize::from_str_radix(text, 16).ok();
    let (start, end, rights) = (hex(start)?, hex(end)?, words.next()?);
    let offset = u64::from_str_radix(words.next()?, 16).ok()?;
    Some(Mapping { start, end, rights, offset, file: (words.next()?, words.next()?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_have_been_written_to_is_let_go() {
        let maps = "\
55d0-55e0 r--p 00000000 fe:00 7   /usr/bin/gate
55e0-5600 r-xp 00010000 fe:00 7   /usr/bin/gate
5600-5610 r--p 00030000 fe:00 7   /usr/bin/gate
5610-5620 rw-p 00040000 fe:00 7   /usr/bin/gate
5700-5800 rw-p 00000000 00:00 0   [heap]
7f00-7f10 r--p 00000000 fe:00 9   /usr/lib/libc.so.6
7f10-7f20 r-xp 00010000 fe:00 9   /usr/lib/libc.so.6
";
        let ranges = |here| of_code(maps, here).iter().map(|m| (m.start, m.end)).collect::<Vec<_>>();
        assert_eq!(ranges(0x55e8), [(0x55d0, 0x55e0), (0x55e0, 0x5600)]);
        assert_eq!(ranges(0x5708), [], "that is no code");
        assert_eq!(ranges(0x1), []);
    }

    #[test]
    fn the_program_goes_on_with_less_in_memory() {
        let mapped = || {
            let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
            let own = std::fs::read_link("/proc/self/exe").unwrap();
            let mut ours = false;
            let mut sum = 0;
            for line in maps.lines() {
                if line.split_ascii_whitespace().next().is_some_and(|word| word.contains('-')) {
                    ours = line.ends_with(own.to_str().unwrap()) && line.contains(" r-xp ");
                } else if let Some(rest) = line.strip_prefix("Rss:").filter(|_| ours) {
                    sum += rest.trim().trim_end_matches(" kB").parse::<usize>().unwrap();
                }
            }
            sum
        };
        let format = || (0..1000).map(|n| format!("{n:?} {:?}", f64::from(n))).collect::<String>();
        let (before, said) = (mapped(), format());
        assert!(before > 0);
        let_go();
        assert!(mapped() <= before);
        assert_eq!(format(), said);
    }
}

//! The processor's microcode beside the files that hold a newer one. A guest cannot load any, so there nothing is said. The files are
//! read up to a bound, and every offset in them is checked.

use crate::bounded;
use serde_json::{Value, json};
use std::path::Path;

/// Bytes of a file of microcode.
const LONGEST: usize = 16 << 20;

/// What is known of the microcode.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Microcode {
    /// The revision that runs.
    pub running: Option<u32>,
    /// The newest that is installed for this processor.
    pub installed: Option<u32>,
    /// Why nothing can be said, if so.
    pub unknown: Option<&'static str>,
}

impl Microcode {
    /// The revision that the next boot would load, if it is newer.
    pub fn awaits(&self) -> Option<u32> {
        self.installed.filter(|installed| self.running.is_some_and(|running| *installed > running))
    }

    /// The fields for machines.
    pub fn json(&self) -> Value {
        let hex = |revision: Option<u32>| revision.map(|revision| format!("{revision:#x}"));
        json!({"running": hex(self.running), "installed": hex(self.installed), "awaits": hex(self.awaits()), "unknown": self.unknown})
    }
}

/// Looks at the first processor of `proc`, and for its files below `root`.
pub fn look(proc: &Path, root: &Path) -> Microcode {
    let text = bounded::file(&proc.join("cpuinfo"), 64 << 10).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let unknown = |why| Microcode { unknown: Some(why), ..Microcode::default() };
    let value = |name: &str| {
        let first = text.split("\n\n").next().unwrap_or_default();
        first.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == name).then(|| value.trim().to_owned())
        })
    };
    let number = |name: &str| {
        let text = value(name)?;
        text.strip_prefix("0x").map_or_else(|| text.parse().ok(), |hex| u32::from_str_radix(hex, 16).ok())
    };
    if value("flags").is_some_and(|flags| flags.split(' ').any(|flag| flag == "hypervisor")) {
        return unknown("this is a guest, the microcode is its host's");
    }
    let (Some(family), Some(model), Some(stepping), Some(running)) =
        (number("cpu family"), number("model"), number("stepping"), number("microcode"))
    else {
        return unknown("the processor shows no microcode");
    };
    let firmware = |name: &str| {
        let read = |at: &str| bounded::file(&root.join(at).join(name), LONGEST).ok();
        read("usr/lib/firmware").or_else(|| read("lib/firmware"))
    };
    let installed = match value("vendor_id").as_deref() {
        Some("GenuineIntel") => firmware(&format!("intel-ucode/{family:02x}-{model:02x}-{stepping:02x}"))
            .and_then(|bytes| intel(&bytes, signature(family, model, stepping))),
        Some("AuthenticAMD") => {
            let name = match family {
                0..0x15 => "amd-ucode/microcode_amd.bin".to_owned(),
                family => format!("amd-ucode/microcode_amd_fam{family:02x}h.bin"),
            };
            firmware(&name).and_then(|bytes| amd(&bytes, signature(family, model, stepping)))
        }
        _ => return unknown("the processor is neither Intel's nor AMD's"),
    };
    match installed {
        Some(_) => Microcode { running: Some(running), installed, unknown: None },
        None => Microcode {
            running: Some(running),
            installed: None,
            unknown: Some("no microcode for this processor is installed"),
        },
    }
}

/// The word by which files name a processor (CPUID leaf 1, EAX).
fn signature(family: u32, model: u32, stepping: u32) -> u32 {
    let (base, extended) = if family > 15 { (15, family - 15) } else { (family, 0) };
    (extended << 20) | ((model >> 4) << 16) | (base << 8) | ((model & 15) << 4) | (stepping & 15)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// The newest revision for this signature in Intel's file: updates behind each other, each with a header of 48 bytes. The
/// kinds of sockets (platform flags) are not told apart.
fn intel(mut bytes: &[u8], signature: u32) -> Option<u32> {
    let mut newest = None;
    while let (Some(1), Some(revision), Some(of), Some(size)) =
        (word(bytes, 0), word(bytes, 4), word(bytes, 12), word(bytes, 32))
    {
        // Without sizes it is one of the first, with 2000 bytes behind the header.
        let size = if size == 0 { 2048 } else { size };
        if of == signature {
            newest = newest.max(Some(revision));
        }
        match bytes.get(usize::try_from(size).ok()?..) {
            Some(rest) if size >= 48 => bytes = rest,
            _ => break,
        }
    }
    newest
}

/// The newest revision for this signature in AMD's file: a table of the processors that count as equal, then the patches.
fn amd(bytes: &[u8], signature: u32) -> Option<u32> {
    if word(bytes, 0)? != 0x0041_4d44 || word(bytes, 4)? != 0 {
        return None;
    }
    let table = usize::try_from(word(bytes, 8)?).ok()?;
    let mut rest = bytes.get(12usize.checked_add(table)?..)?;
    let entries = bytes.get(12..12 + table)?.chunks_exact(16);
    let equal: Vec<[u8; 2]> = entries
        .filter(|entry| word(entry, 0) == Some(signature))
        .filter_map(|entry| entry.get(12..14)?.try_into().ok())
        .collect();
    let mut newest = None;
    while let (Some(1), Some(size)) = (word(rest, 0), word(rest, 4)) {
        let Some(patch) = rest.get(8..8usize.checked_add(usize::try_from(size).ok()?)?) else { break };
        let of: Option<[u8; 2]> = patch.get(24..26).and_then(|word| word.try_into().ok());
        if of.is_some_and(|of| equal.contains(&of)) {
            newest = newest.max(word(patch, 4));
        }
        rest = rest.get(8 + patch.len()..)?;
    }
    newest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn intels_and_amds_files() {
        assert_eq!(signature(6, 0x9e, 10), 0x906ea);
        assert_eq!(signature(0x17, 0x71, 0), 0x0087_0f10);
        let update =
            |revision, of| [words(&[1, revision, 0, of, 0, 0, 0, 0, 48 + 8]), vec![0; 12 + 8]].concat();
        let file = [update(0xde, 0x906ea), update(0xf4, 0x906ea), update(0xff, 0x906eb)].concat();
        assert_eq!(intel(&file, 0x906ea), Some(0xf4));
        assert_eq!(intel(&file, 1), None);
        let table = [words(&[0x0087_0f10, 0, 0, 0x8710]), words(&[0, 0, 0, 0])].concat();
        let patch = |revision, of| words(&[1, 28, 0, revision, 0, 0, 0, 0, of]);
        let file =
            [words(&[0x0041_4d44, 0, 32]), table, patch(0x0870_1030, 0x8710), patch(0x0aff_ffff, 0x1111)]
                .concat();
        assert_eq!(amd(&file, 0x0087_0f10), Some(0x0870_1030));
        for at in 0..file.len() {
            amd(&file[..at], 0x0087_0f10);
            let mut bent = file.clone();
            bent[at] = 0xff;
            amd(&bent, 0x0087_0f10);
            intel(&bent, 0x906ea);
        }
    }

    #[test]
    fn a_guest_has_its_hosts() {
        let at = std::env::temp_dir().join(format!("portreeve-microcode-{}", std::process::id()));
        std::fs::create_dir_all(at.join("lib/firmware/intel-ucode")).unwrap();
        let cpu = "vendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 158\nstepping\t: 10\nmicrocode\t: 0xde\nflags\t\t: fpu";
        let update = [words(&[1, 0xf4, 0, 0x906ea, 0, 0, 0, 0, 48]), vec![0; 12]].concat();
        std::fs::write(at.join("lib/firmware/intel-ucode/06-9e-0a"), update).unwrap();
        std::fs::write(at.join("cpuinfo"), format!("{cpu} vme\n")).unwrap();
        assert_eq!(look(&at, &at).awaits(), Some(0xf4));
        std::fs::write(at.join("cpuinfo"), format!("{cpu} hypervisor\n")).unwrap();
        assert_eq!((look(&at, &at).awaits(), look(&at, &at).unknown.is_some()), (None, true));
        std::fs::remove_dir_all(&at).unwrap();
    }
}

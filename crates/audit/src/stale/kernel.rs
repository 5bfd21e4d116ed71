//! The running kernel beside those that are installed. A kernel of the same flavour that is newer, or the same one built again, waits
//! for a reboot. In a container the kernel is not this system's.

use crate::bounded;
use serde_json::{Value, json};
use std::cmp::Ordering;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Kernels that are looked at.
const MOST: usize = 256;
/// The files that show a container's inside.
const CONTAINER: [&str; 3] = ["run/systemd/container", ".dockerenv", "run/.containerenv"];

/// What is known of the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kernel {
    /// The running release, as `uname -r`.
    pub running: String,
    /// The newest that is installed, of the same flavour.
    pub newest: Option<String>,
    /// The build of the running release that is installed, where it is another one.
    pub rebuilt: Option<String>,
    /// Why nothing can be said, if so.
    pub unknown: Option<&'static str>,
}

impl Kernel {
    /// What a reboot would bring, if anything.
    pub fn awaits(&self) -> Option<&str> {
        let newest = self.newest.as_deref().filter(|newest| *newest != self.running);
        newest.or(self.rebuilt.as_deref())
    }

    /// The fields for machines.
    pub fn json(&self) -> Value {
        json!({"running": self.running, "installed": self.newest, "awaits": self.awaits(), "unknown": self.unknown})
    }
}

/// Looks below `root`, with the kernel's own words from `proc`.
pub fn look(proc: &Path, root: &Path) -> Kernel {
    let word = |name: &str| {
        let text = bounded::file(&proc.join("sys/kernel").join(name), 4096).unwrap_or_default();
        String::from_utf8_lossy(&text).trim().to_owned()
    };
    let running = word("osrelease");
    let known = |unknown| Kernel { running: running.clone(), unknown: Some(unknown), ..Kernel::default() };
    if running.is_empty() {
        return known("the running release cannot be read");
    }
    if CONTAINER.iter().any(|name| root.join(name).exists()) {
        return known("this is a container, its kernel is the host's");
    }
    let installed = installed(root);
    if installed.is_empty() {
        return known("no kernel is installed below /boot or /usr/lib/modules");
    }
    let same = installed.iter().filter(|release| flavour(release) == flavour(&running));
    let Some(newest) = same.max_by(|a, b| compare(a, b)) else {
        return known("no kernel of the running one's flavour is installed");
    };
    let newer = compare(newest, &running) == Ordering::Greater || !installed.contains(&running);
    let rebuilt = image_version(&root.join(format!("boot/vmlinuz-{running}")))
        .filter(|image| !image.is_empty() && !image.contains(&word("version")));
    Kernel {
        newest: Some(if newer { newest.clone() } else { running.clone() }),
        rebuilt,
        running,
        unknown: None,
    }
}

/// The releases that have an image in /boot, or one among their modules.
fn installed(root: &Path) -> Vec<String> {
    let names = |directory: &str| {
        let entries = std::fs::read_dir(root.join(directory)).into_iter().flatten().take(MOST);
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect::<Vec<_>>()
    };
    let mut found: Vec<String> =
        names("boot").iter().filter_map(|name| Some(name.strip_prefix("vmlinuz-")?.to_owned())).collect();
    // Fedora's and Arch's kernels lie among their modules.
    let modules = names("usr/lib/modules").into_iter().chain(names("lib/modules"));
    found.extend(modules.filter(|name| {
        ["usr/lib/modules", "lib/modules"].iter().any(|at| root.join(at).join(name).join("vmlinuz").exists())
    }));
    found.retain(|release| release.starts_with(|c: char| c.is_ascii_digit()) && !release.ends_with(".old"));
    found.sort();
    found.dedup();
    found
}

/// What tells kernels apart that do not follow each other: `amd64`, `cloud-amd64`, `generic`, `arch`.
fn flavour(release: &str) -> String {
    let words: Vec<&str> = release.split(['-', '+']).collect();
    let last = words.len().saturating_sub(1);
    let named =
        words.iter().enumerate().filter(|(_, word)| word.starts_with(|c: char| c.is_ascii_alphabetic()));
    let named =
        named.map(
            |(at, word)| if at == last { word } else { word.trim_end_matches(|c: char| c.is_ascii_digit()) },
        );
    named.collect::<Vec<_>>().join("-")
}

/// Numbers by their size, everything else by its letters.
pub(crate) fn compare(one: &str, other: &str) -> Ordering {
    let parts = |text: &str| {
        let mut parts: Vec<(u64, String)> = Vec::new();
        for part in text.split(['.', '-', '_', '+', '~']) {
            let end = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
            let (digits, rest) = part.split_at(end);
            parts.push((digits.parse().unwrap_or(0), rest.to_owned()));
        }
        parts
    };
    parts(one).cmp(&parts(other))
}

/// The words in an x86 image that the kernel shows as its release and version. Empty where there are none; None without an image.
fn image_version(path: &Path) -> Option<String> {
    let file = File::open(path).ok()?;
    let mut header = [0; 4];
    file.read_exact_at(&mut header, 0x202).ok()?;
    if header != *b"HdrS" {
        return None;
    }
    let mut at = [0; 2];
    file.read_exact_at(&mut at, 0x20e).ok()?;
    let mut text = [0; 256];
    let length = file.read_at(&mut text, u64::from(u16::from_le_bytes(at)) + 0x200).ok()?;
    let text = text.get(..length)?.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_follow_each_other_by_number_and_flavour() {
        for (older, newer) in [
            ("6.1.0-9-amd64", "6.1.0-18-amd64"),
            ("5.14.0-70.el9.x86_64", "5.14.0-427.13.1.el9_4.x86_64"),
            ("6.7.9-arch1-1", "6.7.10-arch1-1"),
            ("5.15.0-91-generic", "6.2.0-1-generic"),
        ] {
            assert_eq!(compare(older, newer), Ordering::Less);
            assert_eq!(flavour(older), flavour(newer));
        }
        assert_eq!(flavour("6.7.9-arch1-1"), flavour("6.7.10-arch2-1"));
        for (one, other) in
            [("6.1.0-18-amd64", "6.1.0-18-cloud-amd64"), ("6.1.0-rpi7-rpi-v8", "6.1.0-rpi7-rpi-v7l")]
        {
            assert_ne!(flavour(one), flavour(other));
        }
    }

    #[test]
    fn a_newer_kernel_awaits_a_reboot() {
        let at = std::env::temp_dir().join(format!("portreeve-kernel-{}", std::process::id()));
        let (proc, root) = (at.join("proc"), at.join("root"));
        std::fs::create_dir_all(proc.join("sys/kernel")).unwrap();
        std::fs::create_dir_all(root.join("boot")).unwrap();
        std::fs::write(proc.join("sys/kernel/osrelease"), "6.1.0-9-amd64\n").unwrap();
        std::fs::write(proc.join("sys/kernel/version"), "#1 SMP Debian 6.1.27-1\n").unwrap();
        let image = |release: &str, build: &str| {
            let mut bytes = vec![0; 0x400];
            bytes[0x202..0x206].copy_from_slice(b"HdrS");
            bytes[0x20e] = 0x80;
            let text = format!("{release} (x@y) {build}\0");
            bytes[0x280..0x280 + text.len()].copy_from_slice(text.as_bytes());
            std::fs::write(root.join(format!("boot/vmlinuz-{release}")), bytes).unwrap();
        };
        let awaits = || look(&proc, &root).awaits().map(str::to_owned);
        assert!(look(&proc, &root).unknown.is_some_and(|why| why.contains("no kernel is installed")));
        image("6.1.0-9-amd64", "#1 SMP Debian 6.1.27-1");
        assert_eq!((awaits(), look(&proc, &root).unknown), (None, None));
        image("6.1.0-9-amd64", "#1 SMP Debian 6.1.38-1");
        assert!(awaits().is_some_and(|image| image.contains("6.1.38")));
        image("6.1.0-10-cloud-amd64", "");
        image("6.1.0-10-amd64", "");
        assert_eq!(awaits().as_deref(), Some("6.1.0-10-amd64"));
        std::fs::write(root.join(".dockerenv"), "").unwrap();
        assert!(awaits().is_none());
        std::fs::remove_dir_all(&at).unwrap();
    }
}

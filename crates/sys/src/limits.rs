//! What this process may use and what the machine is doing: descriptors, load, own size.

use rustix::process::{Resource, Rlimit};
use std::io;

/// A pair of soft and hard limit; `u64::MAX` is infinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// What the kernel enforces.
    pub soft: u64,
    /// How far the soft limit may be raised.
    pub hard: u64,
}

/// The limit on descriptors. Read it before [`raise_nofile`]: services get their limit from this one.
#[must_use]
pub fn nofile() -> Pair {
    let Rlimit { current, maximum } = rustix::process::getrlimit(Resource::Nofile);
    Pair { soft: current.unwrap_or(u64::MAX), hard: maximum.unwrap_or(u64::MAX) }
}

/// Raises the soft limit on descriptors to the hard one, at most to `cap`; never lowers it. Returns the new soft
/// limit. Nothing is sized by it, so an infinite limit costs nothing.
///
/// # Errors
/// From setrlimit; the old limit then still holds.
pub fn raise_nofile(cap: u64) -> io::Result<u64> {
    let Pair { soft, hard } = nofile();
    let wanted = hard.min(cap);
    if wanted <= soft {
        return Ok(soft);
    }
    let maximum = (hard != u64::MAX).then_some(hard);
    let current = (wanted != u64::MAX).then_some(wanted);
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current, maximum })?;
    Ok(wanted)
}

/// Memory of this many bytes or more is the system's again as soon as it is freed.
const LARGE: i32 = 128 << 10;

/// From here on large memory is mapped by itself, however much was freed before: glibc would learn from what is freed and
/// keep up to 64 MiB of it for the next time, which for a daemon that reads something long once is never.
pub fn return_large_memory() {
    // SAFETY: mallopt(3) has no precondition; it takes the arena's lock by itself, and an option that it refuses changes nothing.
    let _ = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE) };
}

/// The load average over the last minute, from sysinfo(2): one system call and no file, so it may be asked for
/// each connection.
#[must_use]
pub fn load_average() -> Option<f64> {
    let info = rustix::system::sysinfo();
    // Fixed point with 16 fractional bits (SI_LOAD_SHIFT).
    u32::try_from(info.loads[0]).ok().map(|raw| f64::from(raw) / 65536.0)
}

/// The resident size of this process in bytes, from `/proc/self/statm`.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(u64::try_from(rustix::param::page_size()).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_agrees_with_proc() {
        let Ok(text) = std::fs::read_to_string("/proc/loadavg") else { return };
        let theirs: f64 = text.split(' ').next().unwrap().parse().unwrap();
        // The two are read at different moments, and the kernel updates every five seconds.
        assert!((load_average().unwrap() - theirs).abs() < 4.0, "{:?} {theirs}", load_average());
    }

    #[test]
    fn raising_never_lowers() {
        let before = nofile();
        assert_eq!(raise_nofile(1).unwrap(), before.soft);
        let now = raise_nofile(before.soft.saturating_add(1)).unwrap();
        assert_eq!(now, before.soft.saturating_add(1).min(before.hard).max(before.soft));
        assert_eq!(nofile().soft, now);
    }

    #[test]
    fn resident_size_is_that_of_a_small_process() {
        let size = resident_bytes().unwrap();
        assert!((256 << 10..4 << 30).contains(&size), "{size}");
    }
}

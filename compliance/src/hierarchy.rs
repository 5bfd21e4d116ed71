//! Control groups of version 2 as this machine has them.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

/// Where control groups of version 2 are mounted, and what can be kept there; `None` where nobody may make one.
pub fn hierarchy() -> Option<(PathBuf, String)> {
    static TRIALS: AtomicU32 = AtomicU32::new(0);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let line = mounts.lines().find(|line| line.contains(" - cgroup2 "))?;
    let place = PathBuf::from(line.split(' ').nth(4)?);
    // A mount that is read-only, as in most containers, takes no directory. Each its own: tests of one process look at once.
    let number = TRIALS.fetch_add(1, Ordering::Relaxed);
    let trial = place.join(format!("portreeve-trial-{}-{number}", std::process::id()));
    std::fs::create_dir(&trial).ok()?;
    std::fs::remove_dir(&trial).ok()?;
    let controllers = std::fs::read_to_string(place.join("cgroup.controllers")).ok()?;
    Some((place, controllers))
}

/// Whether these controllers are all there.
pub fn has_controllers(wanted: &[&str]) -> bool {
    let there = hierarchy().map(|(_, controllers)| controllers).unwrap_or_default();
    wanted.iter().all(|name| there.split_whitespace().any(|known| known == *name))
}

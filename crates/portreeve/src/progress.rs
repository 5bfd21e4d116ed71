//! How far a run over many files is, shown on a terminal. Shows; decides nothing.

use portreeve_audit::sealed::reading::Progress;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What there is to do, as far as it is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Whole {
    /// Paths.
    pub paths: u64,
    /// Bytes that are read of them; 0: not known.
    pub bytes: u64,
}

/// Does something and shows on a terminal how far it is, from the second second on.
pub fn watched<T>(progress: &Progress, all: Option<Whole>, work: impl FnOnce() -> T) -> T {
    if !io::stderr().is_terminal() {
        return work();
    }
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| show(progress, all, &over));
        let done = work();
        over.store(true, Ordering::Relaxed);
        done
    })
}

fn show(progress: &Progress, all: Option<Whole>, over: &AtomicBool) {
    let begun = Instant::now();
    let mut shown = false;
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(100));
        let elapsed = begun.elapsed();
        if elapsed < Duration::from_secs(1) {
            continue;
        }
        shown = true;
        let (paths, bytes) = (progress.paths.load(Ordering::Relaxed), progress.bytes.load(Ordering::Relaxed));
        let line = bar(Whole { paths, bytes }, all, elapsed);
        let _ = write!(io::stderr(), "\r{line}\x1b[K");
    }
    if shown {
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
}

fn bar(done: Whole, all: Option<Whole>, elapsed: Duration) -> String {
    const WIDTH: u64 = 24;
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    let rate = (done.bytes >> 20).saturating_mul(1000) / millis;
    let Some(all) = all.filter(|all| all.paths > 0) else {
        return format!("{} paths, {} MiB, {rate} MiB/s", done.paths, done.bytes >> 20);
    };
    // Bytes tell more than paths, where they are known.
    let (part, whole) = if all.bytes > 0 { (done.bytes, all.bytes) } else { (done.paths, all.paths) };
    let part = part.min(whole);
    let share = |of: u64| u64::try_from(u128::from(part) * u128::from(of) / u128::from(whole)).unwrap_or(of);
    let left = u128::from(whole - part) * u128::from(millis) / u128::from(part.max(1)) / 1000;
    let left = match part {
        0 => String::new(),
        _ => format!(", {} left", crate::answer::span(u64::try_from(left).unwrap_or(u64::MAX))),
    };
    let filled = share(WIDTH) as usize;
    format!(
        "[{}{}] {} % of {} paths, {rate} MiB/s{left}",
        "#".repeat(filled),
        " ".repeat(WIDTH as usize - filled),
        share(100),
        all.paths,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_says_what_is_known() {
        let (five, done) = (Duration::from_secs(5), |paths, bytes: u64| Whole { paths, bytes: bytes << 20 });
        assert_eq!(bar(done(10, 5), None, five), "10 paths, 5 MiB, 1 MiB/s");
        let half = format!("[{}{}] 50 % of 100 paths, ", "#".repeat(12), " ".repeat(12));
        assert_eq!(bar(done(50, 0), Some(done(100, 0)), five), format!("{half}0 MiB/s, 5s left"));
        assert_eq!(bar(done(90, 500), Some(done(100, 1000)), five), format!("{half}100 MiB/s, 5s left"));
        let none = format!("[{}] 0 % of 100 paths, 0 MiB/s", " ".repeat(24));
        assert_eq!(bar(done(0, 0), Some(done(100, 7)), five), none);
    }
}

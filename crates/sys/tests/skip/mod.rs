//! A skipped test says so in the words that scripts/test counts. `sys` cannot depend on the crate that owns them, so its
//! file is taken in.

#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test program uses a part of it")]

#[path = "../../../../compliance/src/skip.rs"]
mod reasons;

pub(crate) use reasons::{Reason, skip, skip_as};

/// Whether this is root; skips the calling test if not.
pub(crate) fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip(Reason::NoRoot);
    }
    root
}

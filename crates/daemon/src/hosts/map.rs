//! The compiled tables as a file, for processes that start for each client (tcpd, programs on libwrap.so.0): they read a few
//! parts of it instead of reading 100,000 lines. Written only where its directory is, which `portreeve compile-hosts` or a package makes;
//! never believed by the supervisor itself, which has its own in memory.

use hosts_access::image::{Image, MAP, Source, State};
use portreeve_sys::{parts, source};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Whether there is a place for it.
pub fn is_wanted() -> bool {
    Path::new(MAP).parent().is_some_and(Path::is_dir)
}

/// Leaves `image` for others, whole or not at all; readable by everybody only if all that it was made from is.
///
/// # Errors
/// It could not be written; what was there stands, and is seen to be stale by whoever opens it.
pub fn leave(image: &[u8]) -> io::Result<()> {
    let map = Path::new(MAP);
    // A table that was edited a moment ago is not settled: nobody would believe the file.
    let settled = Image::open(image).is_some_and(|image| image.is_settled());
    if !settled || !is_wanted() {
        return Ok(());
    }
    parts::replace(map, image, if public(image) { 0o644 } else { 0o600 })
}

/// Whether everybody may read all that it was made from. Asked after it was made: whoever closes a table later changes its
/// times, and the file is stale.
fn public(image: &[u8]) -> bool {
    let sources = Image::open(image).and_then(|image| image.sources()).unwrap_or_default();
    !sources.is_empty()
        && sources.iter().all(|(source, state)| {
            let (Source::Allow(path) | Source::Deny(path) | Source::List(path)) = source;
            *state == State::Absent || source::is_public(Path::new(OsStr::from_bytes(path))).unwrap_or(false)
        })
}

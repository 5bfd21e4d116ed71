//! Files and directories read up to a bound: /proc and other people's directories hold what they like. And the words for an error.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Bytes for which room is made beforehand, at most.
const LIKELY: usize = 1 << 20;

/// The first `most` bytes of a file.
pub(crate) fn file(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    // A file of /proc has no length: then it grows as it comes. One that has is read with one call, and another that finds its end.
    let length = file.metadata().map_or(0, |there| usize::try_from(there.len()).unwrap_or(usize::MAX));
    let mut bytes = Vec::with_capacity(length.min(most).min(LIKELY).saturating_add(1));
    file.take(u64::try_from(most).unwrap_or(u64::MAX)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The names in a directory that are numbers, in order: the processes of /proc.
pub(crate) fn numbers(path: &Path, most: usize) -> io::Result<Vec<u32>> {
    let mut found: Vec<u32> = std::fs::read_dir(path)?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .take(most)
        .collect();
    found.sort_unstable();
    Ok(found)
}

/// An error as the C library words it.
pub(crate) fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

//! Files and directories read up to a bound: /proc and other people's directories hold what they like. And the words for an error.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The first `most` bytes of a file.
pub(crate) fn file(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(u64::try_from(most).unwrap_or(u64::MAX)).read_to_end(&mut bytes)?;
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

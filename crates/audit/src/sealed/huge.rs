//! Huge files: whoever may write one byte at the end of 2^60 must not keep a check busy for a year. From a size on, holes and blocks of
//! zeros are passed over. The digest depends on size and content alone, not on which blocks are allocated.

use super::hash::Hash;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use std::os::fd::OwnedFd;

/// From this size on, in bytes.
pub(super) const HUGE: u64 = 4 << 30;

/// Of one block, in bytes.
const BLOCK: u64 = 64 * 1024;

/// The digest of the blocks that hold something, each after its place, and of the size at the end. `read` is told how many bytes were read;
/// when it says no, the answer is `INTR`.
///
/// # Errors
/// The file cannot be read, or is shorter than `size`: `NODATA`.
pub(super) fn digest(
    fd: &OwnedFd,
    size: u64,
    hash: Hash,
    buffer: &mut [u8],
    read: &mut dyn FnMut(u64) -> bool,
) -> rustix::io::Result<[u8; 32]> {
    let room = buffer.len() / BLOCK as usize * BLOCK as usize;
    let buffer = buffer.get_mut(..room).filter(|buffer| !buffer.is_empty()).ok_or(Errno::INVAL)?;
    let mut hasher = hash.begin();
    let mut at = 0;
    while at < size {
        at = match seek(fd, SeekFrom::Data(at)) {
            Ok(data) => data / BLOCK * BLOCK,
            // Nothing but holes from here on.
            Err(Errno::NXIO) => break,
            // The file system knows no holes: all is data.
            Err(_) => at,
        };
        let wanted = usize::try_from(size.saturating_sub(at)).unwrap_or(room).min(room);
        let n = fill(fd, buffer.get_mut(..wanted).unwrap_or_default(), at)?;
        if n < wanted {
            return Err(Errno::NODATA);
        }
        for block in buffer.get(..n).unwrap_or_default().chunks(BLOCK as usize) {
            if block.iter().any(|byte| *byte != 0) {
                hasher.update(&at.to_le_bytes());
                hasher.update(block);
            }
            at += block.len() as u64;
        }
        if !read(n as u64) {
            return Err(Errno::INTR);
        }
    }
    hasher.update(&size.to_le_bytes());
    Ok(hasher.finish())
}

/// Reads until the buffer is full or the file ends.
fn fill(fd: &OwnedFd, buffer: &mut [u8], from: u64) -> rustix::io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match rustix::io::pread(fd, rest, from + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    fn of(name: &str, size: u64, parts: &[(u64, &[u8])]) -> ([u8; 32], u64) {
        let path = std::env::temp_dir().join(format!("portreeve-huge-{name}-{}", std::process::id()));
        let file = std::fs::File::create_new(&path).unwrap();
        file.set_len(size).unwrap();
        for (at, bytes) in parts {
            file.write_all_at(bytes, *at).unwrap();
        }
        drop(file);
        let fd = OwnedFd::from(std::fs::File::open(&path).unwrap());
        std::fs::remove_file(&path).unwrap();
        let mut read = 0;
        let mut count = |n| {
            read += n;
            true
        };
        (digest(&fd, size, Hash::Sha256, &mut vec![0; 256 * 1024], &mut count).unwrap(), read)
    }

    #[test]
    fn holes_cost_nothing_and_content_decides() {
        let (far, read) = of("far", 1 << 40, &[((1 << 40) - 1, b"x")]);
        assert!(read <= 256 * 1024, "{read} bytes read of a tebibyte of holes");
        // Zeros that are written are what a hole is.
        assert_eq!(of("zeros", 1 << 40, &[(5 << 20, &[0; 200_000]), ((1 << 40) - 1, b"x")]).0, far);
        let others = [
            of("place", 1 << 40, &[((1 << 40) - 70_000, b"x")]).0,
            of("byte", 1 << 40, &[((1 << 40) - 1, b"y")]).0,
            of("size", (1 << 40) + 1, &[((1 << 40) - 1, b"x")]).0,
            of("more", 1 << 40, &[(0, b"x"), ((1 << 40) - 1, b"x")]).0,
        ];
        assert!(others.iter().all(|other| *other != far));
    }
}

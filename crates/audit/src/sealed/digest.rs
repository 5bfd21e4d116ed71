//! The digests of one open file: SHA-256, and MD5 where a list of dpkg is asked. Reads it until it is the same before and after; opens
//! nothing.

use md5::{Digest as _, Md5};
use ring::digest::{Context, SHA256};
use rustix::fd::AsFd;
use rustix::fs::{AtFlags, FileType, Statx, StatxFlags};
use rustix::io::Errno;

/// How often a file that changes while it is read is begun anew.
const TRIES: usize = 3;
/// What is read at once.
const CHUNK: usize = 128 * 1024;

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digests {
    /// SHA-256.
    pub sha256: [u8; 32],
    /// MD5, where it was asked for.
    pub md5: Option<[u8; 16]>,
    /// Its first four bytes, fewer of a shorter file.
    pub begins: Vec<u8>,
}

/// Reads a regular file from its beginning, wherever its descriptor stands.
///
/// # Errors
/// A sentence: it is no regular file, cannot be read, or changes all the time.
pub fn digests(fd: impl AsFd, md5: bool) -> Result<Digests, String> {
    let told = |error: Errno| crate::bounded::words(&error.into());
    let stat = || rustix::fs::statx(&fd, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).map_err(told);
    let mut buffer = vec![0; CHUNK];
    let mut before = stat()?;
    if FileType::from_raw_mode(before.stx_mode.into()) != FileType::RegularFile {
        return Err("it is no regular file".to_owned());
    }
    for _ in 0..TRIES {
        settle(&before);
        let read = whole(&fd, md5, &mut buffer).map_err(told)?;
        let after = stat()?;
        if same(&before, &after) {
            return Ok(read);
        }
        before = after;
    }
    Err("it changes all the time".to_owned())
}

/// The kernel stamps changes with a clock that stands still for some milliseconds: what was changed a moment ago could be changed once
/// more without a trace. Of a file whose time is in the future nothing more is known by waiting.
fn settle(seen: &Statx) {
    const TICK: i128 = 20_000_000;
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
    let age = nanoseconds(now.tv_sec, now.tv_nsec)
        - nanoseconds(seen.stx_ctime.tv_sec, i64::from(seen.stx_ctime.tv_nsec));
    if (0..TICK).contains(&age) {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn same(a: &Statx, b: &Statx) -> bool {
    let of = |s: &Statx| {
        (
            s.stx_ino,
            s.stx_size,
            s.stx_mtime.tv_sec,
            s.stx_mtime.tv_nsec,
            s.stx_ctime.tv_sec,
            s.stx_ctime.tv_nsec,
        )
    };
    of(a) == of(b)
}

fn whole(fd: &impl AsFd, with_md5: bool, buffer: &mut [u8]) -> Result<Digests, Errno> {
    let (mut context, mut md5) = (Context::new(&SHA256), with_md5.then(Md5::new));
    let (mut at, mut begins) = (0, Vec::new());
    loop {
        let read = match rustix::io::pread(fd, &mut *buffer, at) {
            Ok(0) => break,
            Ok(read) => read,
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error),
        };
        let chunk = buffer.get(..read).unwrap_or_default();
        if at == 0 {
            begins = chunk.get(..4).unwrap_or(chunk).to_vec();
        }
        context.update(chunk);
        if let Some(md5) = &mut md5 {
            md5.update(chunk);
        }
        at += read as u64;
    }
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(context.finish().as_ref());
    Ok(Digests { sha256, md5: md5.map(|md5| md5.finalize().into()), begins })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Write};

    #[test]
    fn known_sums_and_what_is_no_file() {
        let path = std::env::temp_dir().join(format!("portreeve-digest-{}", std::process::id()));
        File::create(&path).unwrap().write_all(b"abc").unwrap();
        let mut file = File::open(&path).unwrap();
        file.read_exact(&mut [0; 2]).unwrap();
        let read = digests(&file, true).unwrap();
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(&read.sha256), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(hex(&read.md5.unwrap()), "900150983cd24fb0d6963f7d28e17f72");
        assert_eq!(read.begins, b"abc");
        std::fs::remove_file(&path).unwrap();
        assert!(digests(File::open("/dev/null").unwrap(), false).is_err());
        assert!(digests(File::open("/").unwrap(), false).is_err());
    }
}

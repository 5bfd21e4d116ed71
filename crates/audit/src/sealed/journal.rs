//! What a run has read of files already, so that one that is cut off goes on where it was. Owns its file. Nothing in it is believed unless it was
//! written by the same run's kind: every block has a code (HMAC) under a secret of the caller, and a file that anybody else could write is thrown away.

use super::entry::Entry;
use super::hash::Hash;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, ftruncate};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const HEAD: &[u8; 30] = b"portreeve-integrity-journal 1\n";
const NONCE: usize = 16;
const CODE: usize = 32;

/// Of one file: what it is known by, and its digest.
const RECORD: usize = 16 + 32;

/// Files whose digests are written at once, at most, and how long none is written, at most. After so many bytes of one file, at once.
const BLOCK: usize = 1024;
const PATIENCE: Duration = Duration::from_secs(1);
const LARGE: u64 = 64 << 20;

/// Records that are kept in memory, 49 bytes each.
const MOST: usize = 400_000;

/// Seconds since the last change of a file within which another may leave no trace in its times.
const RACY: i64 = 2;

/// The file of it, and what is in it.
pub struct Journal {
    path: PathBuf,
    key: hmac::Key,
    known: HashMap<[u8; 16], [u8; 32]>,
    pending: Mutex<Pending>,
}

struct Pending {
    /// Made when there is something to write.
    file: Option<File>,
    nonce: [u8; NONCE],
    blocks: u64,
    records: Vec<u8>,
    written: Instant,
    /// It cannot be written: the run goes on without.
    broken: bool,
}

/// What a file is known by: device, inode, size, both times, whether its blocks count or all of it.
fn identity(entry: &Entry, blocks: bool) -> [u8; 16] {
    let ((m, mn), (c, cn)) = (entry.mtime, entry.ctime);
    let mut bytes = Vec::with_capacity(64);
    for number in [entry.device, entry.inode, entry.size, u64::from(mn), u64::from(cn), u64::from(blocks)] {
        bytes.extend(number.to_le_bytes());
    }
    bytes.extend(m.to_le_bytes());
    bytes.extend(c.to_le_bytes());
    let mut first = [0; 16];
    first.copy_from_slice(Hash::Sha256.once(&bytes).get(..16).unwrap_or(&[0; 16]));
    first
}

fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs().try_into().unwrap_or(i64::MAX))
}

impl Journal {
    /// The journal at a path, with what an earlier run left there unless that is older than `oldest`. `None` while another run has it.
    pub fn open(path: &Path, secret: &[u8; 32], oldest: Duration) -> Option<Self> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let mut journal = Journal {
            path: path.to_owned(),
            key,
            known: HashMap::new(),
            pending: Mutex::new(Pending {
                file: None,
                nonce: [0; NONCE],
                blocks: 0,
                records: Vec::new(),
                written: Instant::now(),
                broken: false,
            }),
        };
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(fd) = rustix::fs::open(path, flags, Mode::empty()) else {
            // A link, or nothing.
            let _ = std::fs::remove_file(path);
            return Some(journal);
        };
        let file = File::from(fd);
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return None;
        }
        if !is_ours(&file, oldest) || journal.read(file).is_err() {
            journal.known.clear();
            let _ = std::fs::remove_file(path);
        }
        Some(journal)
    }

    /// Files of which the digest is known.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Reads what is whole, and cuts off what is not.
    fn read(&mut self, mut file: File) -> io::Result<()> {
        let foreign = || io::Error::from(io::ErrorKind::InvalidData);
        let mut head = [0; HEAD.len()];
        let mut nonce = [0; NONCE];
        file.read_exact(&mut head)?;
        file.read_exact(&mut nonce)?;
        if &head != HEAD {
            return Err(foreign());
        }
        let (mut blocks, mut good) = (0_u64, (HEAD.len() + NONCE) as u64);
        while let Ok(records) = self.block(&mut file, &nonce, blocks) {
            for record in records.chunks_exact(RECORD).take(MOST.saturating_sub(self.known.len())) {
                let (Some(identity), Some(digest)) = (record.first_chunk(), record.last_chunk()) else {
                    continue;
                };
                self.known.insert(*identity, *digest);
            }
            blocks += 1;
            good += (4 + records.len() + CODE) as u64;
        }
        if blocks == 0 {
            return Err(foreign());
        }
        ftruncate(&file, good)?;
        file.seek(SeekFrom::Start(good))?;
        let pending = self.pending.get_mut().unwrap_or_else(PoisonError::into_inner);
        (pending.file, pending.nonce, pending.blocks) = (Some(file), nonce, blocks);
        Ok(())
    }

    fn block(&self, file: &mut File, nonce: &[u8; NONCE], number: u64) -> io::Result<Vec<u8>> {
        let mut count = [0; 4];
        file.read_exact(&mut count)?;
        let records = u32::from_le_bytes(count) as usize;
        if records == 0 || records > BLOCK {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut bytes = vec![0; records * RECORD];
        let mut code = [0; CODE];
        file.read_exact(&mut bytes)?;
        file.read_exact(&mut code)?;
        hmac::verify(&self.key, &message(nonce, number, &bytes), &code)
            .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        Ok(bytes)
    }

    /// The digest of a file that is as it was when an earlier run read it.
    pub(super) fn known(&self, entry: &Entry, blocks: bool) -> Option<[u8; 32]> {
        if self.known.is_empty() {
            return None;
        }
        self.known.get(&identity(entry, blocks)).copied()
    }

    /// A file was read; a later run need not.
    pub(super) fn note(&self, entry: &Entry, blocks: bool, digest: &[u8; 32]) {
        if entry.ctime.0.max(entry.mtime.0).saturating_add(RACY) > now() {
            return;
        }
        let identity = identity(entry, blocks);
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if pending.broken {
            return;
        }
        pending.records.extend(identity);
        pending.records.extend(digest);
        let full = pending.records.len() >= BLOCK * RECORD;
        if full || entry.size >= LARGE || pending.written.elapsed() > PATIENCE {
            pending.broken = self.write(&mut pending).is_err();
        }
    }

    fn write(&self, pending: &mut Pending) -> io::Result<()> {
        if pending.file.is_none() {
            let mut options = File::options();
            std::os::unix::fs::OpenOptionsExt::mode(options.write(true).create_new(true), 0o600);
            let mut file = options.open(&self.path)?;
            flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            SystemRandom::new()
                .fill(&mut pending.nonce)
                .map_err(|_| io::Error::from(io::ErrorKind::Other))?;
            file.write_all(&[HEAD, pending.nonce.as_slice()].concat())?;
            pending.file = Some(file);
        }
        let records = std::mem::take(&mut pending.records);
        let code = hmac::sign(&self.key, &message(&pending.nonce, pending.blocks, &records));
        let count = u32::try_from(records.len() / RECORD).unwrap_or(0).to_le_bytes();
        if let Some(file) = &mut pending.file {
            file.write_all(&[&count, records.as_slice(), code.as_ref()].concat())?;
        }
        pending.blocks += 1;
        pending.written = Instant::now();
        Ok(())
    }

    /// The run has come to its end: nobody needs it any more.
    pub fn remove(&self) {
        let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        if pending.file.is_some() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn message(nonce: &[u8; NONCE], number: u64, records: &[u8]) -> Vec<u8> {
    [nonce.as_slice(), &number.to_le_bytes(), records].concat()
}

/// Whether nobody else can have written it.
fn is_ours(file: &File, oldest: Duration) -> bool {
    let Ok(seen) = file.metadata() else { return false };
    let age = now().saturating_sub(seen.mtime());
    let fresh = age >= 0 && u64::try_from(age).is_ok_and(|age| age <= oldest.as_secs());
    let private = seen.uid() == rustix::process::geteuid().as_raw() && seen.mode() & 0o077 == 0;
    seen.is_file() && seen.nlink() == 1 && private && fresh
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sealed::entry::{Content, Kind};
    use crate::sealed::mask::Mask;
    use std::os::unix::fs::{PermissionsExt, symlink};

    const DAY: Duration = Duration::from_secs(86_400);

    fn file(inode: u64) -> Entry {
        Entry {
            path: b"/x".to_vec(),
            kind: Kind::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: LARGE,
            mtime: (1, 2),
            ctime: (3, 4),
            inode,
            device: 5,
            links: 1,
            rdev: 0,
            content: Content::None,
            target: Vec::new(),
            attributes: Vec::new(),
            flags: None,
            known: Mask::ALL,
        }
    }

    struct Home(PathBuf);

    impl Home {
        fn new(name: &str) -> Self {
            let home = std::env::temp_dir().join(format!("portreeve-journal-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&home);
            std::fs::create_dir(&home).unwrap();
            Home(home)
        }

        fn path(&self) -> PathBuf {
            self.0.join("journal")
        }

        fn open(&self, secret: u8) -> Journal {
            Journal::open(&self.path(), &[secret; 32], DAY).unwrap()
        }

        fn write(&self, inodes: std::ops::Range<u64>) {
            let journal = self.open(1);
            for inode in inodes {
                journal.note(&file(inode), false, &[7; 32]);
            }
        }

        fn knows(&self, secret: u8) -> usize {
            self.open(secret).len()
        }
    }

    impl Drop for Home {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn what_was_read_is_known_to_the_next_run_alone() {
        let home = Home::new("next");
        home.write(0..3);
        assert_eq!(std::fs::metadata(home.path()).unwrap().mode() & 0o777, 0o600);
        let next = home.open(1);
        assert_eq!(next.known(&file(2), false), Some([7; 32]));
        assert_eq!((next.known(&file(2), true), next.known(&file(3), false)), (None, None));
        let mut touched = file(2);
        touched.ctime.1 += 1;
        assert_eq!(next.known(&touched, false), None);
        assert!(Journal::open(&home.path(), &[1; 32], DAY).is_none(), "one run at a time");
        drop(next);
        home.write(3..5);
        assert_eq!(home.knows(1), 5);
        home.open(1).remove();
        assert!(!home.path().exists());
        let mut young = file(1);
        young.ctime.0 = now();
        home.open(1).note(&young, false, &[7; 32]);
        assert!(!home.path().exists(), "a file may still change within the same tick");
    }

    #[test]
    fn what_is_foreign_or_damaged_is_thrown_away() {
        let home = Home::new("foreign");
        home.write(0..3);
        assert_eq!(home.knows(2), 0);
        assert!(!home.path().exists());
        // The last block is not whole, or was changed: those before it count.
        for damage in [0_usize, 1] {
            home.write(0..3);
            let mut bytes = std::fs::read(home.path()).unwrap();
            let at = bytes.len() - 40;
            if damage == 0 {
                bytes.truncate(at)
            } else {
                bytes[at] ^= 1
            }
            std::fs::write(home.path(), bytes).unwrap();
            assert_eq!(home.knows(1), 2);
            std::fs::remove_file(home.path()).unwrap();
        }
        // A block from another journal under the same secret.
        home.write(0..1);
        let other = std::fs::read(home.path()).unwrap();
        std::fs::remove_file(home.path()).unwrap();
        home.write(1..2);
        let bytes = [&std::fs::read(home.path()).unwrap()[..], &other[HEAD.len() + NONCE..]].concat();
        std::fs::write(home.path(), &bytes).unwrap();
        assert_eq!(home.knows(1), 1);
        for act in [
            |path: &Path| std::fs::set_permissions(path, PermissionsExt::from_mode(0o644)).unwrap(),
            |path: &Path| std::fs::hard_link(path, path.with_extension("second")).unwrap(),
            |path: &Path| {
                let elsewhere = path.with_extension("elsewhere");
                std::fs::rename(path, &elsewhere).unwrap();
                symlink(elsewhere, path).unwrap();
            },
            |path: &Path| std::fs::write(path, "portreeve").unwrap(),
        ] {
            std::fs::write(home.path(), &bytes).unwrap();
            std::fs::set_permissions(home.path(), PermissionsExt::from_mode(0o600)).unwrap();
            assert_eq!(home.knows(1), 1);
            act(&home.path());
            assert_eq!(home.knows(1), 0);
        }
        std::fs::write(home.path(), &bytes).unwrap();
        std::fs::set_permissions(home.path(), PermissionsExt::from_mode(0o600)).unwrap();
        let old = rustix::fs::Timespec { tv_sec: now() - 90_000, tv_nsec: 0 };
        let times = rustix::fs::Timestamps { last_access: old, last_modification: old };
        rustix::fs::utimensat(rustix::fs::CWD, home.path(), &times, rustix::fs::AtFlags::empty()).unwrap();
        assert_eq!(home.knows(1), 0, "it is too old");
    }
}

//! The baselines of a host, one after the other: each is signed, and names the digest of the one before it, so that who holds a
//! digest of yesterday sees when yesterday was written anew. Owns the directory that they are in. Who may sign is decided in `authority`.

use super::draft::Draft;
use super::entry::Entry;
use super::hash::Hash;
use super::key::{Public, is_signed};
use super::lines::{Lines, Trailer, finished, header, trailer};
use super::rules::Rules;
use super::text;
use ring::digest::{Context, SHA256};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Where they are.
pub const STORE: &str = "/var/lib/portreeve/integrity";

const END: &str = ".baseline";

/// SHA-256 of a baseline's header and its last line but one, which holds the SHA-256 of the paths.
pub type Digest = [u8; 32];

/// What stands before the paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Seconds since 1970.
    pub created: u64,
    /// Name of the host.
    pub host: String,
    /// The digest of the baseline before it.
    pub parent: Option<Digest>,
    /// Who signs it; part of what is signed, so that the same record by another hand is another baseline.
    pub signer: Public,
    /// Who else than the holder of the host's key may sign the one after it.
    pub successor: Option<Public>,
    /// The digest of files.
    pub hash: Hash,
    /// What was looked at.
    pub rules: Rules,
}

/// A baseline whose signature was checked. What its signature says of its paths is checked by whoever reads them to their end.
#[derive(Debug)]
pub struct Baseline {
    /// Its number.
    pub number: u32,
    /// Its head.
    pub header: Header,
    /// Its digest.
    pub digest: Digest,
    /// Paths in it.
    pub entries: u64,
    /// Bytes of the files in it.
    pub bytes: u64,
    trailer: Trailer,
    /// Lines of the header, and where the paths begin.
    begin: (u64, u64),
    file: File,
    path: PathBuf,
}

/// The directory of baselines.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
}

/// The right to write a baseline.
#[derive(Debug)]
pub struct Lock(rustix::fd::OwnedFd);

pub(super) fn failed(path: &Path, error: &io::Error) -> String {
    format!("{}: {}", text::escape(path.as_os_str().as_encoded_bytes()), crate::bounded::words(error))
}

impl Store {
    /// The directory at this path.
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    /// The numbers of the baselines, in order.
    ///
    /// # Errors
    /// The directory cannot be read; that there is none is no error.
    pub fn numbers(&self) -> Result<Vec<u32>, String> {
        let entries = match std::fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(&self.dir, &error)),
        };
        let number = |entry: io::Result<std::fs::DirEntry>| {
            entry
                .ok()?
                .file_name()
                .to_str()?
                .strip_suffix(END)
                .filter(|digits| digits.len() == 6)?
                .parse()
                .ok()
        };
        let mut numbers: Vec<u32> = entries.filter_map(number).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn path(&self, number: u32) -> PathBuf {
        self.dir.join(format!("{number:06}{END}"))
    }

    /// The last baseline, if there is any.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn last(&self) -> Result<Option<Baseline>, String> {
        self.numbers()?.last().map(|number| self.open(*number)).transpose()
    }

    /// A baseline; its signature is checked, by the key that it names.
    ///
    /// # Errors
    /// It cannot be read, is damaged or forged.
    pub fn open(&self, number: u32) -> Result<Baseline, String> {
        let path = self.path(number);
        let mut file = File::open(&path).map_err(|error| failed(&path, &error))?;
        let named = |why: String| format!("{}: {why}", text::escape(path.as_os_str().as_encoded_bytes()));
        let (trailer, end) = trailer(&mut file).map_err(named)?;
        file.rewind().map_err(|error| failed(&path, &error))?;
        let mut lines = Lines::new(file.try_clone().map_err(|error| failed(&path, &error))?, 0, 0);
        let header = header(&mut lines).map_err(named)?;
        let begin = (lines.number, lines.at);
        // The text itself, not what was read of it.
        let mut context = Context::new(&SHA256);
        let mut text = Vec::new();
        let read = file.rewind().and_then(|()| (&file).take(begin.1).read_to_end(&mut text));
        read.map_err(|error| failed(&path, &error))?;
        context.update(&text);
        context.update(end.as_bytes());
        let digest = finished(context);
        if !is_signed(&header.signer, &digest, &trailer.signature) {
            return Err(named("the signature is not of this baseline: it was damaged or forged".to_owned()));
        }
        let (entries, bytes) = (trailer.entries, trailer.bytes);
        Ok(Baseline { number, header, digest, entries, bytes, trailer, begin, file, path })
    }

    /// Nobody else writes a baseline while this is held. Makes the directory where there is none.
    ///
    /// # Errors
    /// It cannot be made, or somebody else is at it.
    pub fn lock(&self) -> Result<Lock, String> {
        use std::os::unix::fs::DirBuilderExt;
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir);
        made.map_err(|error| failed(&self.dir, &error))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let lock = rustix::fs::open(&self.dir, flags, Mode::empty())
            .map_err(|error| failed(&self.dir, &error.into()))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| format!("{}: another run is writing a baseline", self.dir.display()))?;
        Ok(Lock(lock))
    }

    /// Begins the next baseline.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn begin(&self, lock: Lock, header: &Header) -> Result<Draft, String> {
        let number = self.numbers()?.last().map_or(1, |last| last + 1);
        let new = self.dir.join("unfinished");
        // Of a run that was cut off.
        let _ = std::fs::remove_file(&new);
        Draft::begin(header, new, (number, self.path(number)), lock.0)
    }

    /// Where a run that writes a baseline notes what it has read.
    pub fn journal(&self) -> PathBuf {
        self.dir.join("journal")
    }
}

impl Baseline {
    /// Its paths, in the order of a walk. The last item is an error when they are not what the signature says.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn paths(&self) -> Result<Paths, String> {
        let again = || -> io::Result<File> {
            let mut file = self.file.try_clone()?;
            file.seek(SeekFrom::Start(self.begin.1))?;
            Ok(file)
        };
        let file = again().map_err(|error| failed(&self.path, &error))?;
        let lines = Lines::new(file, self.begin.0, self.begin.1);
        Ok(Paths { lines, trailer: self.trailer.clone(), name: self.path.clone(), read: 0, over: false })
    }

    /// Reads all of it.
    ///
    /// # Errors
    /// Its paths are not what its signature says.
    pub fn verify(&self) -> Result<(), String> {
        self.paths()?.try_for_each(|entry| entry.map(drop))
    }
}

/// The paths of a baseline.
pub struct Paths {
    lines: Lines,
    trailer: Trailer,
    name: PathBuf,
    read: u64,
    over: bool,
}

impl Iterator for Paths {
    type Item = Result<Entry, String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let (number, at) = (self.lines.number + 1, self.lines.at);
        let found = match self.lines.line() {
            Ok(line) if line.starts_with("end ") => {
                self.over = true;
                let whole = at == self.trailer.at && self.read == self.trailer.entries;
                if whole && self.lines.digest() == self.trailer.body {
                    return None;
                }
                Err("its paths are not those that were signed: it was damaged or forged, or changed while it was read".to_owned())
            }
            Ok(line) => text::entry(line).map_err(|why| format!("line {number}: {why}")),
            Err(why) => Err(why),
        };
        self.lines.count();
        self.read += 1;
        self.over |= found.is_err();
        Some(
            found.map_err(|why| format!("{}: {why}", text::escape(self.name.as_os_str().as_encoded_bytes()))),
        )
    }
}

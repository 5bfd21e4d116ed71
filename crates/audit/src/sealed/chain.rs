//! The baselines of a host, one after the other: each is signed, and names the digest of the one before it, so that who holds a
//! digest of yesterday sees when yesterday was written anew. Owns the directory that they are in.

use super::entry::{Entry, hex, unhex};
use super::key::{Key, Public, is_signed};
use super::rules::Rules;
use super::text::{self, LONGEST};
use ring::digest::{Context, SHA256};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// Where they are.
pub const STORE: &str = "/var/lib/portreeve/integrity";

const HEAD: &str = "portreeve-integrity 1";
const END: &str = ".baseline";

/// SHA-256 of all of a baseline but its signature.
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
    /// What was looked at.
    pub rules: Rules,
}

/// A baseline whose signature was checked.
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
    file: File,
    path: PathBuf,
}

/// The directory of baselines.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
}

fn failed(path: &Path, error: &io::Error) -> String {
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
    /// It is damaged, or signed by another key than `trusted`.
    pub fn last(&self, trusted: Option<&Public>) -> Result<Option<Baseline>, String> {
        self.numbers()?.last().map(|number| self.open(*number, trusted)).transpose()
    }

    /// A baseline; its signature is checked over all of it.
    ///
    /// # Errors
    /// As [`Store::last`].
    pub fn open(&self, number: u32, trusted: Option<&Public>) -> Result<Baseline, String> {
        let path = self.path(number);
        let file = File::open(&path).map_err(|error| failed(&path, &error))?;
        let mut reader = Lines::new(file);
        let named = |why: String| format!("{}: {why}", text::escape(path.as_os_str().as_encoded_bytes()));
        let header = header(&mut reader).map_err(named)?;
        let mut entries = 0;
        let digest = loop {
            if let Some(count) = reader.line().map_err(named)?.strip_prefix("end ") {
                if count.parse() != Ok(entries) {
                    let why = format!("it ends after {entries} paths, not after {count}");
                    return Err(named(format!("line {}: {why}", reader.number)));
                }
                break reader.digest();
            }
            entries += 1;
        };
        let line = reader.line().map_err(named)?.to_owned();
        let signer = header.signer;
        let Some(signature) = line.strip_prefix("signature ").and_then(unhex) else {
            return Err(named(format!("line {}: a signature was expected", reader.number)));
        };
        if !reader.is_at_end() {
            return Err(named("there is more after the signature".to_owned()));
        }
        if !is_signed(&signer, &digest, &signature) {
            return Err(named("the signature is not of this baseline: it was damaged or forged".to_owned()));
        }
        if let Some(trusted) = trusted.filter(|trusted| **trusted != signer) {
            let (signer, trusted) = (hex(&signer), hex(trusted));
            return Err(named(format!(
                "it is signed by the key {signer}, not by the key {trusted} that is trusted"
            )));
        }
        let file = reader.into_file();
        Ok(Baseline { number, header, digest, entries, file, path })
    }

    /// Begins the next baseline; nobody else can meanwhile.
    ///
    /// # Errors
    /// The directory cannot be made or written, or somebody else is at it.
    pub fn begin(&self, header: &Header) -> Result<Draft, String> {
        use std::os::unix::fs::DirBuilderExt;
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir);
        made.map_err(|error| failed(&self.dir, &error))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let lock = rustix::fs::open(&self.dir, flags, Mode::empty())
            .map_err(|error| failed(&self.dir, &error.into()))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| format!("{}: another run is writing a baseline", self.dir.display()))?;
        let number = self.numbers()?.last().map_or(1, |last| last + 1);
        let new = self.dir.join("unfinished");
        // Of a run that was cut off.
        let _ = std::fs::remove_file(&new);
        let mut options = std::fs::OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::mode(options.write(true).create_new(true), 0o600);
        let file = options.open(&new).map_err(|error| failed(&new, &error))?;
        let mut draft = Draft {
            file: BufWriter::with_capacity(256 * 1024, file),
            context: Context::new(&SHA256),
            entries: 0,
            number,
            new,
            path: self.path(number),
            finished: false,
            lock,
        };
        let parent = header.parent.map_or("-".to_owned(), |digest| hex(&digest));
        let host = text::escape(header.host.as_bytes());
        draft.put(&format!(
            "{HEAD}\ncreated {}\nhost {host}\nparent {parent}\nsigner {}\n",
            header.created,
            hex(&header.signer)
        ))?;
        for line in header.rules.lines() {
            draft.put(&format!("{line}\n"))?;
        }
        draft.put("paths\n")?;
        Ok(draft)
    }
}

/// A baseline that is being written; dropped, it leaves nothing.
pub struct Draft {
    file: BufWriter<File>,
    context: Context,
    entries: u64,
    number: u32,
    new: PathBuf,
    path: PathBuf,
    finished: bool,
    lock: rustix::fd::OwnedFd,
}

impl Draft {
    fn put(&mut self, line: &str) -> Result<(), String> {
        self.context.update(line.as_bytes());
        self.file.write_all(line.as_bytes()).map_err(|error| failed(&self.new, &error))
    }

    /// The next path, in the order of a walk.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn add(&mut self, entry: &Entry) -> Result<(), String> {
        self.entries += 1;
        self.put(&text::line(entry))
    }

    /// Signs it and puts it into the chain, whole or not at all. Its number, its digest and its paths.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(mut self, key: &Key) -> Result<(u32, Digest, u64), String> {
        self.put(&format!("end {}\n", self.entries))?;
        let mut digest = [0; 32];
        digest.copy_from_slice(self.context.clone().finish().as_ref());
        let signature = format!("signature {}\n", hex(&key.sign(&digest)));
        let written = (|| {
            self.file.write_all(signature.as_bytes())?;
            self.file.flush()?;
            self.file.get_ref().sync_all()?;
            std::fs::rename(&self.new, &self.path)?;
            rustix::fs::fsync(&self.lock)?;
            Ok(())
        })();
        written.map_err(|error: io::Error| failed(&self.new, &error))?;
        self.finished = true;
        Ok((self.number, digest, self.entries))
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.finished {
            let _ = std::fs::remove_file(&self.new);
        }
    }
}

/// Lines of bounded length, each part of the digest of all.
struct Lines {
    reader: BufReader<File>,
    context: Context,
    line: Vec<u8>,
    number: u64,
}

impl Lines {
    fn new(file: File) -> Self {
        let reader = BufReader::with_capacity(256 * 1024, file);
        Self { reader, context: Context::new(&SHA256), line: Vec::new(), number: 0 }
    }

    fn line(&mut self) -> Result<&str, String> {
        self.line.clear();
        self.number += 1;
        let most = LONGEST as u64;
        let read = self.reader.by_ref().take(most).read_until(b'\n', &mut self.line);
        read.map_err(|error| crate::bounded::words(&error))?;
        self.context.update(&self.line);
        let Some(line) = self.line.strip_suffix(b"\n") else {
            return Err(format!(
                "line {}: the baseline was cut off here, or the line is too long",
                self.number
            ));
        };
        std::str::from_utf8(line).map_err(|_| format!("line {}: it is no text", self.number))
    }

    fn digest(&self) -> Digest {
        let mut digest = [0; 32];
        digest.copy_from_slice(self.context.clone().finish().as_ref());
        digest
    }

    fn is_at_end(&mut self) -> bool {
        self.reader.fill_buf().is_ok_and(<[u8]>::is_empty)
    }

    fn into_file(self) -> File {
        self.reader.into_inner()
    }
}

fn header(lines: &mut Lines) -> Result<Header, String> {
    let mut field = |name: &str| {
        let line = lines.line()?.to_owned();
        let value = line.strip_prefix(name).map(str::to_owned);
        value.ok_or_else(|| format!("line {}: `{}` was expected", lines.number, name.trim()))
    };
    if !field(HEAD)?.is_empty() {
        return Err("it is of another version of portreeve".to_owned());
    }
    let created = field("created ")?.parse().map_err(|_| "line 2: seconds since 1970 were expected")?;
    let host = text::unescape(&field("host ")?).ok_or("line 3: the host cannot be read")?;
    let parent = match field("parent ")?.as_str() {
        "-" => None,
        digits => Some(unhex(digits).ok_or("line 4: the digest cannot be read")?),
    };
    let signer = unhex(&field("signer ")?).ok_or("line 5: the key cannot be read")?;
    let mut rules = Vec::new();
    loop {
        let line = lines.line()?;
        if line == "paths" {
            break;
        }
        rules.push(line.to_owned());
        if rules.len() > 4000 {
            return Err("there are too many rules".to_owned());
        }
    }
    let rules = Rules::from_lines(rules.iter().map(String::as_str)).ok_or("the rules cannot be read")?;
    Ok(Header { created, host: String::from_utf8_lossy(&host).into_owned(), parent, signer, rules })
}

impl Baseline {
    /// Its paths, in the order of a walk. The last item is an error when the file is no longer the one whose signature was checked.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn paths(&self) -> Result<Paths, String> {
        let again = || -> io::Result<File> {
            let mut file = self.file.try_clone()?;
            file.rewind()?;
            Ok(file)
        };
        let mut lines = Lines::new(again().map_err(|error| failed(&self.path, &error))?);
        header(&mut lines)?;
        Ok(Paths { lines, digest: self.digest, name: self.path.clone(), over: false })
    }
}

/// The paths of a baseline.
pub struct Paths {
    lines: Lines,
    digest: Digest,
    name: PathBuf,
    over: bool,
}

impl Iterator for Paths {
    type Item = Result<Entry, String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let number = self.lines.number + 1;
        let found = match self.lines.line() {
            Ok(line) if line.starts_with("end ") => {
                self.over = true;
                if self.lines.digest() == self.digest {
                    return None;
                }
                Err("it was changed while it was read".to_owned())
            }
            Ok(line) => text::entry(line).map_err(|why| format!("line {number}: {why}")),
            Err(why) => Err(why),
        };
        self.over |= found.is_err();
        Some(
            found.map_err(|why| format!("{}: {why}", text::escape(self.name.as_os_str().as_encoded_bytes()))),
        )
    }
}

//! A baseline that is being written: into a file of another name, which takes its place in the chain whole or not at all.

use super::chain::{Digest, Header, failed};
use super::entry::{Entry, hex};
use super::key::Key;
use super::lines::{end_line, finished, header_lines};
use super::text;
use ring::digest::{Context, SHA256};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// A baseline that is being written; dropped, it leaves nothing.
pub struct Draft {
    file: BufWriter<File>,
    /// The digest of the header so far.
    head: Context,
    body: Context,
    entries: u64,
    bytes: u64,
    number: u32,
    new: PathBuf,
    path: PathBuf,
    finished: bool,
    lock: rustix::fd::OwnedFd,
}

impl Draft {
    /// Begins in a directory that `lock` holds.
    pub(super) fn begin(
        header: &Header,
        new: PathBuf,
        (number, path): (u32, PathBuf),
        lock: rustix::fd::OwnedFd,
    ) -> Result<Self, String> {
        let mut options = std::fs::OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::mode(options.write(true).create_new(true), 0o600);
        let file = options.open(&new).map_err(|error| failed(&new, &error))?;
        let mut draft = Draft {
            file: BufWriter::with_capacity(256 * 1024, file),
            head: Context::new(&SHA256),
            body: Context::new(&SHA256),
            entries: 0,
            bytes: 0,
            number,
            new,
            path,
            finished: false,
            lock,
        };
        let text = header_lines(header);
        draft.head.update(text.as_bytes());
        draft.put(text.as_bytes())?;
        Ok(draft)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.file.write_all(bytes).map_err(|error| failed(&self.new, &error))
    }

    /// The next path, in the order of a walk.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn add(&mut self, entry: &Entry) -> Result<(), String> {
        self.entries += 1;
        self.bytes = self.bytes.saturating_add(entry.size);
        let line = text::line(entry);
        self.body.update(line.as_bytes());
        self.put(line.as_bytes())
    }

    /// Signs it and puts it into the chain, whole or not at all. Its number, its digest and its paths.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(mut self, key: &Key) -> Result<(u32, Digest, u64), String> {
        let end = end_line(self.entries, self.bytes, &finished(self.body.clone()));
        self.head.update(end.as_bytes());
        let digest = finished(self.head.clone());
        let signature = format!("signature {}\n", hex(&key.sign(&digest)));
        let written = (|| {
            self.file.write_all(end.as_bytes())?;
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

    /// Where it will be.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.finished {
            let _ = std::fs::remove_file(&self.new);
        }
    }
}

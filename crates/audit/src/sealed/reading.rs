//! How files are read in a run: by which hash, within which budget, what an earlier run read already; and how far it is.

use super::budget::Budget;
use super::entry::Entry;
use super::hash::Hash;
use super::journal::Journal;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How far it has come; others may look.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes of files read.
    pub bytes: AtomicU64,
    /// Paths done.
    pub paths: AtomicU64,
    /// Files that an earlier run had read.
    pub resumed: AtomicU64,
    /// Nobody wants to know any more.
    pub over: AtomicBool,
}

/// How files are read.
#[derive(Default)]
pub struct Reading {
    /// By which algorithm.
    pub hash: Hash,
    /// How far it is.
    pub progress: Progress,
    /// What it may take.
    pub budget: Option<Budget>,
    /// What was read before, and is written down for a run that comes after this one.
    pub journal: Option<Journal>,
}

impl Reading {
    /// These bytes were read. Whether to go on.
    pub(super) fn read(&self, bytes: u64) -> bool {
        self.progress.bytes.fetch_add(bytes, Ordering::Relaxed);
        let over = || self.progress.over.load(Ordering::Relaxed);
        if let Some(budget) = &self.budget {
            budget.spend(bytes, over);
        }
        !over()
    }

    /// The digest of a file, where an earlier run has read it as it is.
    pub(super) fn known(&self, entry: &Entry, blocks: bool) -> Option<[u8; 32]> {
        let known = self.journal.as_ref()?.known(entry, blocks)?;
        self.progress.resumed.fetch_add(1, Ordering::Relaxed);
        Some(known)
    }

    /// A file was read.
    pub(super) fn note(&self, entry: &Entry, blocks: bool, digest: &[u8; 32]) {
        if let Some(journal) = &self.journal {
            journal.note(entry, blocks, digest);
        }
    }
}

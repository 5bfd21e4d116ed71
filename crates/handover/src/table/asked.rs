//! The part of THE table about what was asked and read before: the configuration's questions to the machine, and programs that are held in memory.

use crate::wire::{Bad, Bytes, Fd, Field, Reader, Writer};

records! {
    /// What one reading of the configuration asked of the machine, and the answers, as [`crate::Field`] writes them.
    ReadingState {
        /// Question and answer.
        1 answers: Vec<(Bytes, Bytes)>,
    }
    /// A program that lies where somebody else answers, and its content.
    ElsewhereState {
        /// Its path.
        9 server: String,
        /// What tells the content: device, inode, size and the two times, with colons between.
        9 identity: String,
        /// Its SHA-256.
        9 digest: String,
        /// It is a script.
        9 script: bool,
        /// The sealed memory that holds it.
        9 memory: Fd,
    }
}

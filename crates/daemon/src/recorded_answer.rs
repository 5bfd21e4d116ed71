//! One recorded answer of the machine: as it is written for another version, but of a file, whose text is held once with the services
//! that were read from it. Decides nothing.

use crate::machine::error_text;
use portreeve_conf::{Content, SystemError};
use portreeve_handover::{Bytes, Field, from_bytes, to_bytes};
use std::borrow::Cow;

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub enum Recorded {
    /// As a former or a later version writes it.
    Written(Vec<u8>),
    /// A file, which the services that were read from it share.
    File(Content),
}

impl Recorded {
    /// As it is handed over.
    pub fn written(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Written(bytes) => bytes.into(),
            Self::File(content) => to_bytes(&(Some(Bytes(content.bytes().to_vec())), 0)).into(),
        }
    }

    /// What was said; `None` where it is of another form.
    pub fn read<T: Field>(&self) -> Option<T> {
        from_bytes(&self.written()).ok()
    }

    /// The same of the question for a file.
    pub fn file(&self) -> Option<Result<Content, SystemError>> {
        match self {
            Self::File(content) => Some(Ok(content.clone())),
            Self::Written(bytes) => {
                from_bytes(bytes).ok().map(|answer| result(answer, |bytes: Bytes| bytes.0.into()))
            }
        }
    }
}

/// A value or an errno, as fields.
pub type Fallible<T> = (Option<T>, i32);

/// As it is written.
pub fn fallible<T, U>(result: Result<T, SystemError>, write: impl FnOnce(T) -> U) -> Fallible<U> {
    match result {
        Ok(value) => (Some(write(value)), 0),
        Err(error) => (None, error.number),
    }
}

/// As it was said.
pub fn result<T, U>(answer: Fallible<T>, read: impl FnOnce(T) -> U) -> Result<U, SystemError> {
    let (value, number) = answer;
    value.map(read).ok_or_else(|| of_number(number))
}

fn of_number(number: i32) -> SystemError {
    SystemError { number, text: error_text(&std::io::Error::from_raw_os_error(number)) }
}

//! How a command ends: the three exit codes, and an error as a person needs it. Prints nothing itself.

use std::fmt;
use std::io;

/// How a command that could run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Exit code 0: all is well.
    Fine,
    /// Exit code 1: it ran, and there is something to look at.
    Found,
}

/// Exit code of a command that could not run.
pub const COULD_NOT_RUN: u8 = 2;

/// Why a command could not run: exit code 2.
#[derive(Debug)]
pub enum Failure {
    /// What is wrong and where, in one sentence; and what to do about it.
    Told {
        /// The sentence.
        message: String,
        /// The remedy.
        help: Option<String>,
    },
    /// Standard output failed. A reader that went away (`| head`) is no error.
    Output(io::Error),
}

impl Failure {
    /// A failure without a remedy.
    pub fn new(message: impl Into<String>) -> Self {
        Self::Told { message: message.into(), help: None }
    }

    /// A failure with its remedy.
    pub fn with_help(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::Told { message: message.into(), help: Some(help.into()) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Told { message, help: None } => f.write_str(message),
            Self::Told { message, help: Some(help) } => write!(f, "{message}\n  help: {help}"),
            Self::Output(error) => write!(f, "standard output: {}", system_text(error)),
        }
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// The error as the C library words it, without Rust's ` (os error 2)`.
pub fn system_text(error: &io::Error) -> String {
    let text = error.to_string();
    match error.raw_os_error() {
        Some(number) => text.strip_suffix(&format!(" (os error {number})")).unwrap_or(&text).to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_errors_read_as_the_c_library_words_them() {
        assert_eq!(system_text(&io::Error::from_raw_os_error(2)), "No such file or directory");
        assert_eq!(system_text(&io::Error::other("odd")), "odd");
    }
}

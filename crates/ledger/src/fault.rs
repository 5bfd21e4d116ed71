//! What a failure of SQLite means for us: three kinds, for each of which something else is done.

use rusqlite::ErrorCode;

/// Why something could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// No room, no access, an error of the disk, another process in the way: it may pass by itself.
    #[error("{0}")]
    Passing(String),
    /// The file is damaged, or is no database.
    #[error("{0}")]
    Damaged(String),
    /// The file is sound and not for this program: a newer version made it, or another program.
    #[error("{0}")]
    Foreign(String),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        let text = match &error {
            rusqlite::Error::SqliteFailure(_, Some(text)) => text.clone(),
            other => other.to_string(),
        };
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Fault::Damaged(text),
            Some(ErrorCode::DiskFull) => {
                Fault::Passing("the disk is full, or the database as large as it may be".to_owned())
            }
            // Tables that are not as they were made: somebody has changed them by hand.
            None | Some(ErrorCode::TypeMismatch | ErrorCode::SchemaChanged) => Fault::Damaged(text),
            _ => Fault::Passing(text),
        }
    }
}

//! The demonstration's private directory: made for one run, removed with it. Only its owner may enter it, so the
//! control socket and the scripts in it are out of others' reach.

use crate::escape;
use crate::failure::{Failure, system_text};
use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A socket's path has at most 107 bytes; this leaves room for the names inside.
const LONGEST: usize = 80;

/// The directory; dropping it removes it.
#[derive(Debug)]
pub struct House(PathBuf);

impl House {
    /// Makes it under the directory for temporary files.
    pub fn new() -> Result<Self, Failure> {
        let mut parent = std::env::temp_dir();
        if !parent.is_absolute() || parent.as_os_str().len() > LONGEST {
            parent = PathBuf::from("/tmp");
        }
        let process = std::process::id();
        // mkdir(2) never takes over what is there: somebody else's directory of this name only costs another try.
        let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
        for attempt in 0..100 {
            let path = parent.join(format!("portreeve-demo-{process}-{attempt}"));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
                Err(error) => {
                    last = error;
                    break;
                }
            }
        }
        let shown = escape::os(parent.as_os_str());
        Err(Failure::new(format!("no directory can be made in {shown}: {}", system_text(&last))))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file into it.
    pub fn write(&self, name: &str, mode: u32, text: &str) -> Result<PathBuf, Failure> {
        let path = self.0.join(name);
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|error| {
                Failure::new(format!("{}: {}", escape::os(path.as_os_str()), system_text(&error)))
            })?;
        Ok(path)
    }
}

impl Drop for House {
    fn drop(&mut self) {
        // Nothing can be done about what cannot be removed.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_is_private_and_goes_away() {
        let house = House::new().unwrap();
        let path = house.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        house.write("a", 0o600, "x").unwrap();
        assert!(house.write("a", 0o600, "y").is_err(), "nothing is overwritten");
        drop(house);
        assert!(!path.exists());
    }
}

//! What was before something was switched off: a file for each, root's alone, written before anything is done.

use super::plan::Step;
use crate::escape;
use crate::failure::{Failure, system_text};
use serde_json::{Value, json};
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Where they are.
pub const DIRECTORY: &str = "/var/lib/portreeve-off";
/// No record is longer.
const LONGEST: u64 = 16 << 20;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What was switched off, as it is named: `unit:telnet.socket`.
    pub name: String,
    /// When, seconds since 1970.
    pub at: i64,
    /// What was done.
    pub steps: Vec<Step>,
}

/// A name as a file's.
fn file(directory: &Path, name: &str) -> PathBuf {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-@:".contains(c);
    let safe = |c: char| if plain(c) { c.to_string() } else { format!("%{:02x}", u32::from(c)) };
    directory.join(name.chars().map(safe).collect::<String>() + ".json")
}

fn failed(path: &Path) -> impl Fn(io::Error) -> Failure {
    let path = escape::os(path.as_os_str());
    move |error| Failure::new(format!("{path}: {}", system_text(&error)))
}

/// Writes it; false when there is one of that name.
pub fn write(directory: &Path, record: &Record) -> Result<bool, Failure> {
    let made = DirBuilder::new().mode(0o700).create(directory);
    if let Err(error) =
        made.or_else(|error| if error.kind() == io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })
    {
        return Err(failed(directory)(error));
    }
    owned(directory)?;
    let path = file(directory, &record.name);
    let steps: Vec<Value> = record.steps.iter().map(Step::json).collect();
    let text = format!("{:#}\n", json!({"name": record.name, "at": record.at, "steps": steps}));
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    let mut opened = match opened {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        other => other.map_err(failed(&path))?,
    };
    let written = opened.write_all(text.as_bytes()).and_then(|()| opened.sync_all());
    written.map_err(|error| {
        let _ = std::fs::remove_file(&path);
        failed(&path)(error)
    })?;
    Ok(true)
}

/// What `on` runs comes from there: nobody else may write it.
fn owned(path: &Path) -> Result<(), Failure> {
    let there = std::fs::symlink_metadata(path).map_err(failed(path))?;
    if there.uid() != portreeve_sys::process::euid()
        || there.mode() & 0o022 != 0
        || there.file_type().is_symlink()
    {
        let path = escape::os(path.as_os_str());
        return Err(Failure::new(format!("{path}: it is not this user's alone; nothing was done")));
    }
    Ok(())
}

/// Reads it; None when there is none of that name.
pub fn read(directory: &Path, name: &str) -> Result<Option<Record>, Failure> {
    let path = file(directory, name);
    if !path.exists() {
        return Ok(None);
    }
    owned(directory)?;
    owned(&path)?;
    let mut text = String::new();
    let opened = std::fs::File::open(&path).map_err(failed(&path))?;
    opened.take(LONGEST).read_to_string(&mut text).map_err(failed(&path))?;
    let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    let steps = value.get("steps").and_then(Value::as_array);
    let steps = steps.and_then(|steps| steps.iter().map(Step::read).collect::<Option<Vec<_>>>());
    let at = value.get("at").and_then(Value::as_i64);
    match (steps, at) {
        (Some(steps), Some(at)) => Ok(Some(Record { name: name.to_owned(), at, steps })),
        _ => Err(Failure::new(format!(
            "{}: this is no record of `portreeve off`",
            escape::os(path.as_os_str())
        ))),
    }
}

/// Removes it: it is on again.
pub fn remove(directory: &Path, name: &str) -> Result<(), Failure> {
    let path = file(directory, name);
    std::fs::remove_file(&path).map_err(failed(&path))
}

/// The names of all.
pub fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    let name = |path: PathBuf| {
        let text = std::fs::read_to_string(path).ok()?;
        let value: Value = serde_json::from_str(&text).ok()?;
        value.get("name").and_then(Value::as_str).map(str::to_owned)
    };
    let mut names: Vec<_> = entries.filter_map(|entry| name(entry.path())).collect();
    names.sort();
    names
}

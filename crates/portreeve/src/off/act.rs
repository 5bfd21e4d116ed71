//! Doing the steps, or all of them back.

use super::plan::Step;
use crate::failure::system_text;
use portreeve_sys::reap;
use portreeve_sys::replace::Original;
use rustix::process::{Pid, Signal};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

/// Files that are edited are no longer.
const LONGEST: u64 = 16 << 20;

/// Does one.
///
/// # Errors
/// What failed, in a sentence.
pub fn make(step: &Step) -> Result<(), String> {
    match step {
        Step::Run { run, .. } => run_words(run),
        Step::Edit { file, before, after } => edit(file, before, after),
        Step::Links { .. } => Ok(()),
        Step::Hangup { name } => hangup(name),
    }
}

/// Undoes one.
///
/// # Errors
/// What failed, in a sentence.
pub fn undo(step: &Step) -> Result<(), String> {
    match step {
        Step::Run { undo, .. } => run_words(undo),
        Step::Edit { file, before, after } => edit(file, after, before),
        Step::Links { name, links } => put_back(name, links),
        Step::Hangup { name } => hangup(name),
    }
}

fn run_words(words: &[String]) -> Result<(), String> {
    let Some((program, arguments)) = words.split_first() else { return Ok(()) };
    let told = |what: String| format!("{}: {what}", words.join(" "));
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| told(system_text(&error)))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).lines().next().unwrap_or_default().to_owned();
    Err(told(format!("{} {said}", output.status)))
}

/// Writes `to` where the file holds `from`. Where somebody else has changed it since, the lines that differ between the two are replaced,
/// if each of them is there once; else nothing is written.
fn edit(file: &str, from: &str, to: &str) -> Result<(), String> {
    let told = |what: &dyn std::fmt::Display| format!("{file}: {what}");
    let mut original = Original::open(Path::new(file)).map_err(|error| told(&error))?;
    let bytes = original.read(LONGEST).map_err(|error| told(&system_text(&error)))?;
    if bytes == to.as_bytes() {
        return Ok(());
    }
    let new = if bytes == from.as_bytes() { Some(to.as_bytes().to_vec()) } else { patched(&bytes, from, to) };
    let Some(new) = new else {
        return Err(told(&"it was changed by somebody else since; it is left as it is"));
    };
    original.replace(&new).map_err(|error| told(&error))?;
    Ok(())
}

/// The lines of `from` that are others in `to`, changed in what is there now.
fn patched(now: &[u8], from: &str, to: &str) -> Option<Vec<u8>> {
    let mut text = std::str::from_utf8(now).ok()?.to_owned();
    let (old, new): (Vec<_>, Vec<_>) =
        (from.split_inclusive('\n').collect(), to.split_inclusive('\n').collect());
    if old.len() != new.len() {
        return None;
    }
    for (old, new) in old.iter().zip(&new).filter(|(old, new)| old != new) {
        let mut places = text.split_inclusive('\n').scan(0, |at, line| {
            let start = *at;
            *at += line.len();
            Some((start, line))
        });
        let mut found = places.by_ref().filter(|(_, line)| line == old).map(|(start, _)| start);
        let (start, second) = (found.next()?, found.next());
        if second.is_some() {
            return None;
        }
        text.replace_range(start..start + old.len(), new);
    }
    Some(text.into_bytes())
}

fn hangup(name: &str) -> Result<(), String> {
    let all =
        portreeve_audit::namespaces::processes(Path::new("/proc")).map_err(|error| system_text(&error))?;
    for pid in all {
        let Some(process) = portreeve_audit::process::read(Path::new("/proc"), pid) else { continue };
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        if let (true, true, Some(number)) = (process.name == name, process.our_root, number) {
            reap::kill(number, Signal::HUP)
                .map_err(|error| format!("{name}[{pid}]: {}", system_text(&error.into())))?;
        }
    }
    Ok(())
}

/// The links of a script in /etc/rc?.d, and where they lead.
pub fn links(name: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for level in "0123456S".chars() {
        let directory = format!("rc{level}.d");
        for entry in std::fs::read_dir(Path::new("/etc").join(&directory)).into_iter().flatten().flatten() {
            let file = entry.file_name().to_string_lossy().into_owned();
            let is_its = file.get(3..) == Some(name) && file.starts_with(['S', 'K']);
            if let (true, Ok(target)) = (is_its, std::fs::read_link(entry.path())) {
                found.push((format!("{directory}/{file}"), target.to_string_lossy().into_owned()));
            }
        }
    }
    found.sort();
    found
}

fn put_back(name: &str, wanted: &[(String, String)]) -> Result<(), String> {
    let now = links(name);
    let told = |link: &str, error: std::io::Error| format!("/etc/{link}: {}", system_text(&error));
    for (link, _) in now.iter().filter(|link| !wanted.contains(link)) {
        std::fs::remove_file(Path::new("/etc").join(link)).map_err(|error| told(link, error))?;
    }
    for (link, target) in wanted.iter().filter(|link| !now.contains(link)) {
        symlink(target, Path::new("/etc").join(link)).map_err(|error| told(link, error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_changed_where_others_wrote_too() {
        let (before, after) = ("# a\ntelnet x\ntime y\n", "# a\n#<off># telnet x\ntime y\n");
        let now = "# b\ntime z\n#<off># telnet x\n# new\n";
        let back = patched(now.as_bytes(), after, before).map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(back.as_deref(), Some("# b\ntime z\ntelnet x\n# new\n"));
        assert_eq!(patched(b"# nothing\n", after, before), None);
        assert_eq!(patched(b"#<off># telnet x\n#<off># telnet x\n", after, before), None);
        assert_eq!(patched(b"\xff", after, before), None);
    }
}

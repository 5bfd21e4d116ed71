//! Which processes run code that is no longer what is on disk. Looks at all processes that this one may see, and changes nothing.

pub mod build_id; //  the build-id of an ELF file
pub mod check; //     from what is stale to findings
pub mod compare; //   one mapped file beside the file on disk
pub mod kernel; //    the running kernel beside those that are installed
mod maps; //          what a process executes from its memory
pub mod microcode; // the processor's microcode beside the file of it
pub(crate) mod roots; // names as a process sees them

use crate::bounded;
use crate::namespaces;
use crate::process::{self, Process};
use compare::{Compared, Fate};
use roots::Roots;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// Bytes of one list of mappings: some hundred thousand of them.
const LONGEST_MAPS: usize = 32 << 20;
/// Old files that are named for one process.
const MOST_NAMED: usize = 64;

/// A file that a process executes and that is no longer on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OldFile {
    /// Its name, as the process's mount namespace has it.
    pub path: String,
    /// What became of it.
    pub fate: Fate,
}

impl OldFile {
    /// `rebuilt`, `replaced` or `gone`.
    pub fn word(&self) -> &'static str {
        match self.fate {
            Fate::Rebuilt(..) => "rebuilt",
            Fate::Gone => "gone",
            _ => "replaced",
        }
    }

    fn json(&self) -> Value {
        let (running, disk) = match &self.fate {
            Fate::Rebuilt(running, disk) => (Some(running), Some(disk)),
            _ => (None, None),
        };
        json!({"path": self.path, "how": self.word(), "running_build_id": running, "disk_build_id": disk})
    }
}

/// An instance of a service of ours, as the daemon tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instance {
    /// Its process.
    pub pid: u32,
    /// The service.
    pub service: String,
    /// The client.
    pub peer: String,
    /// Since when it runs, in seconds.
    pub seconds: u64,
    /// The daemon saw its program change since it started: of scripts nothing else tells.
    pub older: bool,
}

/// What the running daemon says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ours {
    /// The supervisor and its workers.
    pub pids: Vec<u32>,
    /// What it has started for clients.
    pub instances: Vec<Instance>,
}

/// A process that runs old code.
#[derive(Clone, Debug)]
pub struct StaleProcess {
    /// The process.
    pub process: Process,
    /// What is old: the executable first.
    pub files: Vec<OldFile>,
    /// Its executable is old itself.
    pub executable: bool,
    /// The instance of ours that it is, or descends from.
    pub instance: Option<Instance>,
    /// It is the supervisor, or a worker of it.
    pub daemon: bool,
}

impl StaleProcess {
    fn json(&self) -> Value {
        json!({
            "pid": self.process.pid,
            "name": self.process.name,
            "executable": self.process.executable,
            "uid": self.process.uid,
            "unit": self.process.home.unit,
            "container": self.process.home.container.as_ref().map(|c| json!({"runtime": c.runtime, "name": c.name})),
            "files": self.files.iter().map(OldFile::json).collect::<Vec<_>>(),
            "service": self.instance.as_ref().map(|instance| &instance.service),
            "instance": self.instance.as_ref().map(|instance| instance.pid),
        })
    }
}

/// What was found, and what could not be seen.
#[derive(Debug, Default)]
pub struct Stale {
    /// By number.
    pub processes: Vec<StaleProcess>,
    /// The kernel.
    pub kernel: kernel::Kernel,
    /// The microcode.
    pub microcode: microcode::Microcode,
    /// Processes that were looked at.
    pub looked: usize,
    /// Different files that they execute.
    pub files: usize,
    /// Files that had to be read.
    pub read: usize,
    /// Processes that ended meanwhile.
    pub vanished: usize,
    /// What could not be seen, in sentences.
    pub gaps: Vec<String>,
}

/// Looks at all processes below `proc`.
///
/// # Errors
/// /proc is not there.
pub fn processes(proc: &Path, ours: &Ours) -> io::Result<Stale> {
    let pids = namespaces::processes(proc)?;
    let mut stale = Stale::default();
    let (mut roots, mut compared) = (Roots::default(), Compared::default());
    let by_pid: BTreeMap<u32, &Instance> =
        ours.instances.iter().map(|instance| (instance.pid, instance)).collect();
    let (mut hidden, mut unknown) = (0, 0);
    // First who may answer for a mount namespace.
    let directories = pids.into_iter().map(|pid| (pid, proc.join(pid.to_string())));
    let views: Vec<_> =
        directories.map(|(pid, directory)| (pid, roots.view(&directory), directory)).collect();
    for (pid, view, directory) in views {
        let text = match bounded::file(&directory.join("maps"), LONGEST_MAPS) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                hidden += 1;
                continue;
            }
            Err(_) => {
                stale.vanished += 1;
                continue;
            }
        };
        let files = maps::executed(&text);
        // A kernel thread, or a process that has ended and was not waited for.
        if files.is_empty() {
            continue;
        }
        let Some(view) = view else {
            hidden += 1;
            continue;
        };
        stale.looked += 1;
        let mut old = Vec::new();
        let mut blind = false;
        for mapping in &files {
            let fate = compared.fate(&roots, &directory, &view, mapping);
            match fate {
                Fate::Same | Fate::Passing => {}
                Fate::Unknown => blind = true,
                Fate::Rebuilt(..) | Fate::Replaced | Fate::Gone => {
                    let name = mapping.path.strip_suffix(b" (deleted)").unwrap_or(&mapping.path);
                    old.push(OldFile { path: String::from_utf8_lossy(name).into_owned(), fate });
                }
            }
        }
        if blind {
            match directory.join("maps").exists() {
                true => unknown += 1,
                false => stale.vanished += 1,
            }
        }
        let instance = instance_of(proc, pid, &by_pid);
        if instance.is_some_and(|instance| instance.older && instance.pid == pid) && old.is_empty() {
            let path = "the program of its service".to_owned();
            old.push(OldFile { path, fate: Fate::Replaced });
        }
        if old.is_empty() {
            continue;
        }
        let Some(process) = process::read(proc, pid) else {
            stale.vanished += 1;
            continue;
        };
        let is_executable = |file: &OldFile| process.executable.as_deref() == Some(file.path.as_str());
        old.sort_by_key(|file| !is_executable(file));
        let executable = old.first().is_some_and(is_executable);
        old.truncate(MOST_NAMED);
        let daemon = ours.pids.contains(&pid);
        let instance = instance.cloned();
        stale.processes.push(StaleProcess { process, files: old, executable, instance, daemon });
    }
    stale.files = compared.files();
    stale.read = compared.read;
    if hidden > 0 {
        stale.gaps.push(format!("{hidden} processes hide what they run from this user"));
    }
    if unknown > 0 {
        stale.gaps.push(format!("{unknown} processes have files that this user cannot compare"));
    }
    Ok(stale)
}

/// The instance that a process is, or descends from.
fn instance_of<'a>(proc: &Path, pid: u32, instances: &BTreeMap<u32, &'a Instance>) -> Option<&'a Instance> {
    /// Longer lines of parents are somebody's joke.
    const LONGEST_LINE: usize = 64;
    if instances.is_empty() {
        return None;
    }
    let mut at = pid;
    for _ in 0..LONGEST_LINE {
        if let Some(instance) = instances.get(&at) {
            return Some(instance);
        }
        at = parent(proc, at).filter(|parent| *parent > 1)?;
    }
    None
}

/// The parent of a process.
pub fn parent(proc: &Path, pid: u32) -> Option<u32> {
    let text = bounded::file(&proc.join(pid.to_string()).join("stat"), 4096).ok()?;
    // The name stands in parentheses, and may hold some.
    let end = text.iter().rposition(|byte| *byte == b')')?;
    std::str::from_utf8(text.get(end + 1..)?).ok()?.split_whitespace().nth(1)?.parse().ok()
}

impl Stale {
    /// The whole for machines.
    pub fn json(&self) -> Value {
        json!({
            "processes": self.processes.iter().map(StaleProcess::json).collect::<Vec<_>>(),
            "kernel": self.kernel.json(),
            "microcode": self.microcode.json(),
            "looked": self.looked,
            "files": self.files,
            "read": self.read,
            "vanished": self.vanished,
            "gaps": self.gaps,
        })
    }
}

//! Where `portreeve-gate` is, and how this process becomes it. Parses none of its options.

use crate::escape;
use crate::failure::{Failure, system_text};
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The name of the privileged executable.
pub const NAME: &str = "portreeve-gate";
/// The name under which the gate executes this executable.
const COMPANION: &str = "portreeve";

/// The gate's path: beside this executable, in `../lib/portreeve` from it, last of all on `PATH`. The order makes an
/// installation use its own gate, whatever `PATH` the caller has.
pub fn find() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe().map_err(|error| {
        Failure::new(format!("the path of this executable is not known: {}", system_text(&error)))
    })?;
    let candidates = candidates(&own, std::env::var_os("PATH").as_deref());
    candidates.iter().find(|path| executable(path)).cloned().ok_or_else(|| {
        let places: Vec<_> = candidates.iter().take(2).map(|path| escape::os(path.as_os_str())).collect();
        Failure::with_help(
            format!("{NAME} was not found: it is neither {}, nor on PATH", places.join(" nor ")),
            format!("{NAME} comes with this executable; install both in one directory"),
        )
    })
}

/// Where the gate at this path looks for the executable that serves TLS, this one: beside itself, or in `bin` where it is in
/// `lib/portreeve`. The same stands in `daemon`, which decides.
fn companions(gate: &Path) -> Vec<PathBuf> {
    let above = gate.ancestors().nth(3).map(|prefix| prefix.join("bin").join(COMPANION));
    [Some(gate.with_file_name(COMPANION)), above].into_iter().flatten().collect()
}

/// The gate that would be run, where it would not find the executable that serves TLS; and where it would look.
pub fn without_companion() -> Option<(PathBuf, Vec<PathBuf>)> {
    // Of itself it knows the place behind all links.
    let gate = find().ok()?.canonicalize().ok()?;
    let places = companions(&gate);
    (!places.iter().any(|path| path.is_file())).then_some((gate, places))
}

fn candidates(own: &Path, search: Option<&std::ffi::OsStr>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    if let Some(directory) = own.parent() {
        found.push(directory.join(NAME));
        if let Some(prefix) = directory.parent() {
            found.push(prefix.join("lib/portreeve").join(NAME));
        }
    }
    // An empty or relative element of PATH means the working directory: a program that may run as root does not look there.
    let directories = search.map(std::env::split_paths);
    found.extend(directories.into_iter().flatten().filter(|d| d.is_absolute()).map(|d| d.join(NAME)));
    found
}

fn executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Replaces this process by `portreeve-gate WORD ARGS…`; comes back only with the reason why not.
pub fn become_gate(word: &str, arguments: &[OsString]) -> Failure {
    let path = match find() {
        Ok(path) => path,
        Err(failure) => return failure,
    };
    let error = Command::new(&path).arg0(NAME).arg(word).args(arguments).exec();
    Failure::new(format!("{} cannot be executed: {}", escape::os(path.as_os_str()), system_text(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn its_own_installation_comes_first_and_the_working_directory_never() {
        let found =
            candidates(Path::new("/opt/x/bin/portreeve"), Some(OsStr::new("/usr/bin::relative:/bin")));
        let wanted = [
            "/opt/x/bin/portreeve-gate",
            "/opt/x/lib/portreeve/portreeve-gate",
            "/usr/bin/portreeve-gate",
            "/bin/portreeve-gate",
        ];
        assert_eq!(found, wanted.map(PathBuf::from));
    }
}

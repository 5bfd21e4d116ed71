//! The only reasons for which a test may be skipped, printed and counted. A reason that CI cannot have fails there.
//! Tests of crates that may not depend on this one take the file in by its path, so it needs nothing but std.

use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};

/// What this machine or kernel lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The tests run without root: no namespaces, no uid changes.
    NoRoot,
    /// The kernel or the container does not allow new namespaces.
    NoNamespaces,
    /// No writable cgroup hierarchy with the pids controller.
    NoPidsController,
    /// No writable hierarchy of control groups, version 2.
    NoControlGroups,
    /// That hierarchy has not the controllers `memory`, `pids` and, where it is asked for, `cpu`.
    NoMemoryController,
    /// The network namespace has no IPv6.
    NoIpv6,
    /// The kernel has no Landlock, or less of it than the test rests on.
    NoLandlock,
    /// The kernel has no seccomp filters.
    NoSeccomp,
    /// The machine has no virtual console that nobody uses.
    NoConsole,
    /// No systemd can be process 1 of namespaces here: no writable cgroup v2, or no layers of file systems.
    NoProcessOne,
    /// The kernel has no vsock sockets.
    NoVsock,
    /// The kernel has no FUSE, or the container does not allow it.
    NoFuse,
    /// The folder with the recorded answers does not lie beside this checkout.
    NoShared,
    /// This program is not installed. Not in CI: `compliance/packages.txt` is installed there.
    NoProgram(&'static str),
    /// This program is not installed, and scripts/test could not reach the package registry to install it.
    NoRegistry(&'static str),
}

impl Reason {
    /// Why a program is absent: because nobody installed it, or because scripts/test found no registry to install it
    /// from and says so by `PORTREEVE_NO_REGISTRY=1`.
    pub fn absent(program: &'static str) -> Reason {
        match std::env::var_os("PORTREEVE_NO_REGISTRY") {
            Some(value) if value == "1" => Reason::NoRegistry(program),
            _ => Reason::NoProgram(program),
        }
    }

    /// Whether a CI machine may lack it. Programs and root are the job's own business.
    fn allowed_in_ci(self) -> bool {
        match self {
            Reason::NoNamespaces
            | Reason::NoPidsController
            | Reason::NoControlGroups
            | Reason::NoMemoryController
            | Reason::NoIpv6
            | Reason::NoLandlock
            | Reason::NoSeccomp
            | Reason::NoConsole
            | Reason::NoFuse
            | Reason::NoProcessOne
            | Reason::NoVsock
            | Reason::NoRegistry(_) => true,
            Reason::NoRoot | Reason::NoShared | Reason::NoProgram(_) => false,
        }
    }
}

static SKIPPED: AtomicU32 = AtomicU32::new(0);

/// Prints and counts that the calling test is skipped. With `PORTREEVE_SKIPS=FILE` a line is appended to FILE too, so
/// that scripts/test can total them over all executables.
///
/// # Panics
/// In CI (`CI=true`), for a reason that CI cannot have.
pub fn skip(reason: Reason) {
    skip_as(std::thread::current().name().unwrap_or("a test"), reason);
}

/// [`skip`] for a test without libtest's harness, whose thread is not named after it.
///
/// # Panics
/// As [`skip`].
pub fn skip_as(test: &str, reason: Reason) {
    let count = SKIPPED.fetch_add(1, Ordering::Relaxed) + 1;
    let line = format!("SKIPPED ({count}) {test}: {reason:?}\n");
    // Past libtest's capture: a skip must be seen although the test passes.
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(path) = std::env::var_os("PORTREEVE_SKIPS")
        && let Ok(mut file) = std::fs::OpenOptions::new().append(true).create(true).open(path)
    {
        let _ = file.write_all(line.as_bytes());
    }
    if std::env::var("CI").is_ok_and(|v| v == "true") && !reason.allowed_in_ci() {
        panic!("{reason:?} is not a reason to skip a test in CI");
    }
}

/// Whether all these programs are installed; skips the test if not.
pub fn has_programs(programs: &[&'static str]) -> bool {
    for program in programs {
        if find_program(program).is_none() {
            skip(Reason::absent(program));
            return false;
        }
    }
    true
}

/// Where a program is, over PATH and the sbin directories.
pub fn find_program(program: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':')
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/lib/git-core"])
        .map(|dir| std::path::Path::new(dir).join(program))
        .find(|path| path.is_file())
}

//! The recorded answers (../shared/oracle), put to ours by their own replayer, on a machine that has no more daemons than
//! the one they were recorded on.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

/// Where the real directory of daemons is, while links stand in its place.
const BEHIND: &str = "/mnt/sbin";

/// Runs the replayer inside the namespaces of this process, which it will furnish by itself.
///
/// # Errors
/// When nothing can be mounted, or the replayer cannot be run.
pub fn replay(oracle: &Path, ours: &Path) -> io::Result<Output> {
    let answers = oracle.join("public.jsonl");
    hide(&absent_daemons(&fs::read_to_string(&answers)?))?;
    Command::new("python3")
        .arg(oracle.join("replay.py"))
        .arg(answers)
        .args(["--merged", "--only", "tcpdmatch,tcpdchk"])
        .arg("--tcpdmatch")
        .arg(ours.join("tcpdmatch"))
        .arg("--tcpdchk")
        .arg(ours.join("tcpdchk"))
        // The replayer need not make namespaces: it is in some.
        .env("TWC_NS", "1")
        .output()
}

/// Names that the recorded answers did not find in the directory of daemons.
fn absent_daemons(answers: &str) -> Vec<String> {
    let mut names: Vec<String> = answers
        .split(": not found in /usr/sbin")
        .filter_map(|before| before.rsplit([' ', '"', '\n']).next())
        .filter(|name| !name.is_empty() && !name.contains('/'))
        .map(str::to_owned)
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Puts links to all daemons but these in their directory's place.
fn hide(names: &[String]) -> io::Result<()> {
    let mount = |arguments: &[&str]| -> io::Result<()> {
        let status = Command::new("mount").args(arguments).status()?;
        if status.success() {
            Ok(())
        } else {
            Err(io::Error::other(format!("mount {arguments:?}: {status}")))
        }
    };
    mount(&["-t", "tmpfs", "-o", "mode=755", "none", "/mnt"])?;
    fs::create_dir(BEHIND)?;
    mount(&["--bind", "/usr/sbin", BEHIND])?;
    mount(&["-t", "tmpfs", "-o", "mode=755", "none", "/usr/sbin"])?;
    for entry in fs::read_dir(BEHIND)? {
        let name = entry?.file_name();
        if !names.iter().any(|absent| name == absent.as_str()) {
            symlink(Path::new(BEHIND).join(&name), Path::new("/usr/sbin").join(&name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::absent_daemons;

    #[test]
    fn absent_daemons_are_read_from_the_answers() {
        let answers = r#""warning: inetd.conf, line 1: sshd: not found in /usr/sbin: No such\nwarning: inetd.conf, line 2: in.x: not found in /usr/sbin: No""#;
        assert_eq!(absent_daemons(answers), ["in.x", "sshd"]);
    }
}

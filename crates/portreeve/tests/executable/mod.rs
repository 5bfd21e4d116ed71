//! Programs that a test makes and then runs. A process that another test's thread is just starting has all that is open here until its
//! execve, and what somebody has open for writing cannot be executed (ETXTBSY): so processes of their own write them.
#![allow(dead_code, unreachable_pub, reason = "each test takes what it needs")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// A script or a program with this content, for everybody to run.
pub fn write(path: &Path, content: impl AsRef<[u8]>) {
    let mut writer = Command::new("sh")
        .args(["-c", "cat >\"$0\" && chmod 755 \"$0\""])
        .arg(path)
        .stdin(Stdio::piped())
        .spawn()
        .expect("sh runs");
    writer.stdin.take().expect("a pipe").write_all(content.as_ref()).expect("taken");
    assert!(writer.wait().expect("it ends").success(), "{}", path.display());
}

/// A copy of a program.
pub fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) {
    let copied = Command::new("cp").arg(from.as_ref()).arg(to.as_ref()).status();
    assert!(copied.expect("cp runs").success(), "{}", to.as_ref().display());
}

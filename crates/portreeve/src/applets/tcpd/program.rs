//! Which program tcpd stands in front of, from how it was called (reference A12). Pure.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// A program to be executed if the tables allow.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Program {
    /// What is executed.
    pub(super) path: OsString,
    /// Its argv\[0\].
    pub(super) called: OsString,
    /// The rest of its argv.
    pub(super) arguments: Vec<OsString>,
    /// Its name in the tables and in the log.
    pub(super) daemon: Vec<u8>,
}

/// Why there is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoProgram {
    /// Called by its own name, and not with `-- PROGRAM`: there is no daemon of that name but tcpd itself.
    OwnName,
    /// The settings cannot be understood.
    Settings(String),
}

impl Program {
    /// `called` is argv\[0\] as inetd gave it: a path, or the name of a daemon in `directory`. Or it is tcpd's own name, and
    /// `-- PROGRAM ARGUMENT...` follows.
    pub(super) fn of_call(
        called: &OsStr,
        arguments: &[OsString],
        directory: impl FnOnce() -> Result<PathBuf, String>,
    ) -> Result<Self, NoProgram> {
        if last_part(called) != b"tcpd" {
            let path = path(called, directory)?;
            let called = if is_path(called) { last_part(called) } else { called.as_bytes() };
            return Ok(Self {
                path,
                called: OsString::from_vec(called.to_vec()),
                arguments: arguments.to_vec(),
                daemon: called.to_vec(),
            });
        }
        match arguments {
            [dashes, program, rest @ ..] if dashes == "--" && last_part(program) != b"tcpd" => Ok(Self {
                path: path(program, directory)?,
                called: program.clone(),
                arguments: rest.to_vec(),
                daemon: last_part(program).to_vec(),
            }),
            _ => Err(NoProgram::OwnName),
        }
    }
}

fn path(name: &OsStr, directory: impl FnOnce() -> Result<PathBuf, String>) -> Result<OsString, NoProgram> {
    if is_path(name) {
        return Ok(name.to_owned());
    }
    // Joined as text: `sub/x` and even `../x` are what the original executes.
    let mut path = directory().map_err(NoProgram::Settings)?.into_os_string();
    path.push("/");
    path.push(name);
    Ok(path)
}

fn is_path(name: &OsStr) -> bool {
    name.as_bytes().first() == Some(&b'/')
}

/// What follows the last slash.
fn last_part(name: &OsStr) -> &[u8] {
    name.as_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(words: &[&str]) -> Result<Program, NoProgram> {
        let (called, arguments) = words.split_first().unwrap();
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        Program::of_call(OsStr::new(called), &arguments, || Ok(PathBuf::from("/usr/sbin")))
    }

    #[test]
    fn forms_of_a_call() {
        for (words, path, called, arguments, daemon) in [
            (&["in.x", "-l"][..], "/usr/sbin/in.x", "in.x", &["-l"][..], "in.x"),
            (&["/opt/in.x", "-l"], "/opt/in.x", "in.x", &["-l"], "in.x"),
            (&["sub/x"], "/usr/sbin/sub/x", "sub/x", &[], "sub/x"),
            (&["in.x", "--", "/bin/y"], "/usr/sbin/in.x", "in.x", &["--", "/bin/y"], "in.x"),
            (&["tcpd", "--", "/opt/y", "-v"], "/opt/y", "/opt/y", &["-v"], "y"),
            (&["/usr/sbin/tcpd", "--", "y", "--"], "/usr/sbin/y", "y", &["--"], "y"),
            (&[""], "/usr/sbin/", "", &[], ""),
        ] {
            let found = call(words).unwrap();
            assert_eq!(found.path, path, "{words:?}");
            assert_eq!(found.called, called, "{words:?}");
            assert_eq!(found.arguments, arguments, "{words:?}");
            assert_eq!(found.daemon, daemon.as_bytes(), "{words:?}");
        }
    }

    #[test]
    fn it_never_executes_itself() {
        for words in
            [&["tcpd"][..], &["/usr/sbin/tcpd", "/bin/y"], &["tcpd", "--"], &["tcpd", "--", "/x/tcpd"]]
        {
            assert_eq!(call(words), Err(NoProgram::OwnName), "{words:?}");
        }
        let wrong = Program::of_call(OsStr::new("x"), &[], || Err("why".to_owned()));
        assert_eq!(wrong, Err(NoProgram::Settings("why".to_owned())));
        let path = Program::of_call(OsStr::new("/x"), &[], || Err("not asked".to_owned()));
        assert!(path.is_ok());
    }
}

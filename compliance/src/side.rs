//! Which side a test speaks to, where its executable is and how it is called.

use std::path::PathBuf;

/// The two super-servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The original xinetd.
    Theirs,
    /// portreeve.
    Ours,
}

impl Side {
    /// The sides that `PORTREEVE_COMPLIANCE` selects; both without it.
    ///
    /// # Panics
    /// When the variable holds another word: a misspelt selection must not pass as an empty one.
    pub fn selected() -> Vec<Side> {
        match std::env::var("PORTREEVE_COMPLIANCE").as_deref() {
            Err(_) | Ok("" | "both") => vec![Side::Theirs, Side::Ours],
            Ok("theirs") => vec![Side::Theirs],
            Ok("ours") => vec![Side::Ours],
            Ok(other) => panic!("PORTREEVE_COMPLIANCE is `{other}`; it may be theirs, ours or both"),
        }
    }

    /// The executable.
    pub fn executable(self) -> PathBuf {
        match self {
            Side::Theirs => PathBuf::from("/usr/sbin/xinetd"),
            Side::Ours => match std::env::var_os("PORTREEVE_GATE") {
                Some(path) => PathBuf::from(path),
                None => workspace().join("dist/portreeve-gate"),
            },
        }
    }

    /// What scripts print.
    pub fn name(self) -> &'static str {
        match self {
            Side::Theirs => "theirs",
            Side::Ours => "ours",
        }
    }
}

/// Our executables and our unit, and where a package puts them.
pub fn packaged() -> Vec<(PathBuf, &'static str)> {
    let gate = Side::Ours.executable();
    let unit = workspace().join("pkg/systemd/portreeve.service");
    vec![
        (unit, "/etc/systemd/system/portreeve.service"),
        (gate.with_file_name("portreeve"), "/usr/sbin/portreeve"),
        (gate, "/usr/sbin/portreeve-gate"),
    ]
}

/// The project's root directory.
pub fn workspace() -> PathBuf {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().map(PathBuf::from).unwrap_or(manifest)
}

//! `/etc/portreeve/portreeve.toml`: what is this program's own and has no place in the files of xinetd or TCP Wrappers. The
//! file need not be there; a file that cannot be understood is an error and never a default, since it may name programs.

mod bans;
mod firewall;
mod ledger;
mod stale;

pub use bans::bans;
pub use firewall::{Allowed, Egress, HostFirewall, firewall, interface_name};
pub use ledger::ledger;
pub use stale::{AfterUpgrade, after_upgrade};

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use toml_span::Span;
use toml_span::value::ValueInner;

/// Where the settings are.
pub const PATH: &str = "/etc/portreeve/portreeve.toml";

/// Where tcpd finds the daemons that it is called for, unless the settings say otherwise. Chosen when this is built.
pub const REAL_DAEMON_DIR: &str = match option_env!("PORTREEVE_REAL_DAEMON_DIR") {
    Some(directory) => directory,
    None => "/usr/sbin",
};

/// More than this is no settings file.
const LONGEST: u64 = 1 << 20;

/// The directory of the daemons that tcpd wraps: `real_daemon_dir`, an absolute path.
///
/// # Errors
/// A sentence with the place.
pub fn real_daemon_dir(path: &Path) -> Result<PathBuf, String> {
    let text = match read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(PathBuf::from(REAL_DAEMON_DIR)),
        Err(error) => return Err(format!("{}: {}", path.display(), crate::failure::system_text(&error))),
    };
    directory_in(&text).map_err(|(span, what)| {
        let (line, column) = place(&text, span.start);
        format!("{}:{line}:{column}: {what}", path.display())
    })
}

fn read(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;
    let file = std::fs::File::open(path)?;
    let metadata = file.metadata()?;
    // It names the directory that root's tcpd executes from.
    if metadata.is_file() && metadata.mode() & 0o022 != 0 {
        return Err(std::io::Error::other("others than its owner may write it; take that away (chmod go-w)"));
    }
    if metadata.len() > LONGEST {
        return Err(std::io::Error::other("longer than 1 MiB: that is no settings file"));
    }
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text)?;
    Ok(text)
}

fn directory_in(text: &str) -> Result<PathBuf, (Span, String)> {
    let mut document = toml_span::parse(text).map_err(|error| (error.span, error.to_string()))?;
    let span = document.span;
    let ValueInner::Table(mut table) = document.take() else {
        return Err((span, "expected keys and values".to_owned()));
    };
    let Some(mut value) = table.remove("real_daemon_dir") else { return Ok(PathBuf::from(REAL_DAEMON_DIR)) };
    let span = value.span;
    match value.take() {
        ValueInner::String(directory) if directory.starts_with('/') => Ok(PathBuf::from(directory.as_ref())),
        ValueInner::String(_) => Err((span, "real_daemon_dir must begin with /".to_owned())),
        _ => Err((span, "real_daemon_dir must be a path in quotes, as \"/usr/sbin\"".to_owned())),
    }
}

/// Line and column, from 1, of a byte.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at.min(text.len())).unwrap_or(text);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_of_the_daemons() {
        for (text, wanted) in [
            ("", Ok(REAL_DAEMON_DIR)),
            ("other = 1\n[later]\nreal_daemon_dir = 3\n", Ok(REAL_DAEMON_DIR)),
            ("real_daemon_dir = \"/usr/libexec\" # FreeBSD's\n", Ok("/usr/libexec")),
            ("real_daemon_dir = 'usr'", Err("1:20: real_daemon_dir must begin with /")),
            (
                "\nreal_daemon_dir = 7",
                Err("2:19: real_daemon_dir must be a path in quotes, as \"/usr/sbin\""),
            ),
        ] {
            let found = directory_in(text).map_err(|(span, what)| {
                let (line, column) = place(text, span.start);
                format!("{line}:{column}: {what}")
            });
            assert_eq!(found.as_deref().map_err(String::as_str), wanted.map(Path::new), "{text}");
        }
        assert!(directory_in("real_daemon_dir = \"").is_err());
        let missing = Path::new("/nonexistent/portreeve.toml");
        assert_eq!(real_daemon_dir(missing), Ok(PathBuf::from(REAL_DAEMON_DIR)));
        let open = std::env::temp_dir().join(format!("portreeve-settings-{}", std::process::id()));
        std::fs::write(&open, "real_daemon_dir = \"/opt\"\n").unwrap();
        for (mode, wanted) in [(0o644, Ok(PathBuf::from("/opt"))), (0o664, Err(())), (0o646, Err(()))] {
            use std::os::unix::fs::PermissionsExt;
            std::fs::set_permissions(&open, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(real_daemon_dir(&open).map_err(|_| ()), wanted, "{mode:o}");
        }
        std::fs::remove_file(&open).unwrap();
        let directory = real_daemon_dir(Path::new("/")).unwrap_err();
        assert_eq!(directory, "/: Is a directory");
    }
}

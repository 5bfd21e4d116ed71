//! A look at a path that the tables or inetd.conf name: whether it is there, and a warning for it and for every directory
//! above it that everybody may write to. Changes nothing.

use super::notice::Notice;
use crate::failure::system_text;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;

/// The metadata of `path`, or the system's word for why there is none. Directories above are only looked at when the path
/// is absolute and leads somewhere.
pub(super) fn look(path: &[u8], notice: &mut Notice<'_>) -> Result<Metadata, String> {
    let found = std::fs::metadata(OsStr::from_bytes(path)).map_err(|error| system_text(&error))?;
    warn_of(path, &found, notice);
    let mut below = path;
    while below.len() > 1 && below.starts_with(b"/") {
        let cut = below.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        below = below.get(..cut.max(1)).unwrap_or(b"/");
        let Ok(parent) = std::fs::metadata(OsStr::from_bytes(below)) else { break };
        warn_of(below, &parent, notice);
    }
    Ok(found)
}

fn warn_of(path: &[u8], found: &Metadata, notice: &mut Notice<'_>) {
    if found.permissions().mode() & 0o002 != 0 {
        notice.warn(&[path, b": world writable"]);
    }
}

/// Whether its owner may execute it.
pub(super) fn executable(found: &Metadata) -> bool {
    found.permissions().mode() & 0o100 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_world_writable_directory_above_is_named() {
        let here = std::env::temp_dir().join(format!("portreeve-inspect-{}", std::process::id()));
        std::fs::create_dir(&here).unwrap();
        std::fs::set_permissions(&here, std::fs::Permissions::from_mode(0o777)).unwrap();
        let file = here.join("f");
        std::fs::write(&file, "").unwrap();
        let mut sink = Vec::new();
        let mut notice = Notice::new(&mut sink, false);
        assert!(look(file.as_os_str().as_bytes(), &mut notice).is_ok_and(|found| !executable(&found)));
        assert_eq!(look(b"/nonexistent/x", &mut notice).err().as_deref(), Some("No such file or directory"));
        notice.end().unwrap();
        let text = String::from_utf8(sink).unwrap();
        assert!(text.starts_with(&format!("warning: {}: world writable\n", here.display())), "{text}");
        std::fs::remove_dir_all(&here).unwrap();
    }
}

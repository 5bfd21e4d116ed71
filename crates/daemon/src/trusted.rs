//! The list of programs that somebody answers for, as `portreeve integrity trust` writes it: the SHA-256 of each by the path in `server`.
//! Read again whenever the file is another one. It counts only where root alone can have written it; whatever is wrong with it, no
//! program is on it. Knows nothing of services.

use portreeve_conf::{ProgramDigest, digest_text, trusted_programs};
use portreeve_sys::program::{Program, loose_part};
use portreeve_sys::source::{Identity, Source, reason};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Where it is, unless `trusted_programs` says otherwise.
pub const PATH: &str = "/etc/portreeve/trusted-programs";
/// The longest list that is read: ten thousand programs.
const LONGEST: usize = 2 << 20;

/// The list.
#[derive(Debug, Default)]
pub struct Trusted {
    path: PathBuf,
    /// The file that was read; `None` before the first reading.
    seen: Option<Option<Identity>>,
    programs: HashMap<String, Vec<ProgramDigest>>,
    /// Why nothing is on it; empty when all is well.
    trouble: String,
}

impl Trusted {
    /// Goes by the list at this path from now on.
    pub fn go_by(&mut self, path: Option<&str>) {
        self.path = PathBuf::from(path.unwrap_or(PATH));
        self.seen = None;
    }

    /// Reads the same list once more when it is next needed, as after each reload.
    pub fn look_again(&mut self) {
        self.seen = None;
    }

    /// Reads it where it is another file than the one that was read.
    pub fn refresh(&mut self) {
        let now = Identity::at(&self.path).ok().flatten();
        if self.seen == Some(now) {
            return;
        }
        self.seen = Some(now);
        self.programs.clear();
        self.trouble.clear();
        match read(&self.path) {
            Ok(programs) => self.programs = programs,
            Err(why) => self.trouble = format!("{}: {why}", self.path.display()),
        }
    }

    /// Whether this content is the program's, or why not.
    pub fn has(&self, server: &str, digest: &ProgramDigest) -> Result<(), String> {
        if !self.trouble.is_empty() {
            return Err(self.trouble.clone());
        }
        let list = self.path.display();
        match self.programs.get(server) {
            None => Err(format!("it is not in {list}")),
            Some(known) if known.contains(digest) => Ok(()),
            Some(_) => Err(format!("its SHA-256 {} is not the one in {list}", digest_text(digest))),
        }
    }

    /// How many programs are on it.
    pub fn len(&self) -> usize {
        self.programs.len()
    }

    /// Why nothing is on it.
    pub fn trouble(&self) -> &str {
        &self.trouble
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn read(path: &Path) -> Result<HashMap<String, Vec<ProgramDigest>>, String> {
    let words = |error: std::io::Error| reason(&error);
    if let Some(part) = loose_part(path).map_err(words)? {
        let whose = "is not root's alone: owner root and no right to write for group and others are expected";
        return Err(format!("{} {whose}", part.display()));
    }
    let Source::Readable(file) = Source::open(path).map_err(words)? else {
        return Err("a file was expected".to_owned());
    };
    // What is read is what was looked at: it may have been renamed over meanwhile.
    let again = Program::open(path).map_err(words)?;
    if again.is_loose || again.identity != file.identity() {
        return Err("it is being changed".to_owned());
    }
    let text = file.read(LONGEST).map_err(words)?;
    let mut programs: HashMap<String, Vec<ProgramDigest>> = HashMap::new();
    for program in trusted_programs(&text)? {
        programs.entry(program.server).or_default().push(program.digest);
    }
    Ok(programs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use portreeve_conf::program_digest;
    use std::os::unix::fs::{PermissionsExt, symlink};

    const HEAD: &str = "portreeve-trusted 1";
    const DIGITS: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    #[test]
    fn it_counts_where_root_alone_can_have_written_it() {
        let here = std::env::temp_dir().join(format!("portreeve-trusted-{}", std::process::id()));
        std::fs::create_dir_all(&here).unwrap();
        let at = here.join("list");
        let mut trusted = Trusted::default();
        trusted.go_by(at.to_str());
        let digest = program_digest(DIGITS).unwrap();
        let mut says = |expected: &str| {
            trusted.refresh();
            let said = trusted.has("/x", &digest).err().unwrap_or_default();
            assert!(said.contains(expected) && said.is_empty() == expected.is_empty(), "{expected}: {said}");
        };
        says("No such file");
        let chmod = |mode| {
            std::fs::set_permissions(&at, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        std::fs::write(&at, format!("{HEAD}\nsha256 {DIGITS} w /x\n")).unwrap();
        chmod(0o600);
        says("");
        chmod(0o664);
        says("is not root's alone");
        chmod(0o644);
        says("");
        std::fs::write(&at, format!("{HEAD}\nsha256 {} w /x\n", DIGITS.replace('0', "1"))).unwrap();
        says("is not the one in");
        std::fs::write(&at, format!("{HEAD}\nsha256 {DIGITS} w /y\n")).unwrap();
        says("it is not in");
        std::fs::rename(&at, here.join("other")).unwrap();
        symlink("other", &at).unwrap();
        // A link has every right to write, and may lead anywhere.
        says("is not root's alone");
        std::fs::remove_dir_all(here).unwrap();
    }
}

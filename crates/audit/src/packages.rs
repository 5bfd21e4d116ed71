//! Which package brought a file: dpkg's lists, read once and up to a bound; rpm is asked (`rpm -qf`), whose database has several forms.

use crate::outside;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;

/// Where dpkg keeps its lists.
pub const DPKG: &str = "/var/lib/dpkg/info";
/// Where rpm keeps its database, and the files of its forms.
const RPM: [&str; 2] = ["/usr/lib/sysimage/rpm", "/var/lib/rpm"];
const RPM_FILES: [&str; 3] = ["rpmdb.sqlite", "Packages.db", "Packages"];
/// Paths that one call of rpm is given.
const AT_ONCE: usize = 200;
/// Lists that are looked at.
const MOST_LISTS: usize = 50_000;
/// Bytes of one list, and of all.
const LONGEST: usize = 32 << 20;
const MOST_BYTES: usize = 1 << 30;

/// The owner of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This package, as `openssh-server`.
    Package(String),
    /// No package of this host's database has it.
    Nobody,
    /// That cannot be told here; why.
    Unknown(&'static str),
}

/// The owners of some files.
#[derive(Debug, Default)]
pub struct Owners {
    found: BTreeMap<String, String>,
    /// Of which rpm cannot tell, since the file has gone.
    gone: BTreeSet<String>,
    /// Why the database says nothing, if so.
    missing: Option<&'static str>,
}

impl Owners {
    /// Looks these paths up: in dpkg's lists in `directory`, and in rpm's database.
    pub fn of(directory: &Path, rpm: Option<&Path>, paths: &BTreeSet<String>) -> Owners {
        let mut owners = Owners::default();
        owners.dpkg(directory, paths);
        let there = |directory: &Path| RPM_FILES.iter().any(|file| directory.join(file).exists());
        let places = rpm.map_or_else(|| RPM.map(Path::new).to_vec(), |place| vec![place]);
        if places.into_iter().any(there) {
            let left: Vec<&String> = paths.iter().filter(|path| !owners.found.contains_key(*path)).collect();
            owners.rpm(rpm, &left);
        }
        owners
    }

    /// Asks rpm for what dpkg does not know.
    fn rpm(&mut self, place: Option<&Path>, paths: &[&String]) {
        let ask = |paths: &[&String]| {
            let mut arguments: Vec<&OsStr> = Vec::new();
            if let Some(place) = place {
                arguments.extend([OsStr::new("--dbpath"), place.as_os_str()]);
            }
            arguments.extend(["-qf", "--queryformat", "%{NAME}\n", "--"].map(OsStr::new));
            arguments.extend(paths.iter().map(|path| OsStr::new(path.as_str())));
            outside::run(&["rpm"], &arguments, true)
                .map(|text| String::from_utf8_lossy(&text).lines().map(str::to_owned).collect::<Vec<_>>())
        };
        let word = |line: &String| !line.is_empty() && !line.contains(' ');
        for some in paths.chunks(AT_ONCE) {
            let Ok(lines) = ask(some) else {
                self.missing = self.missing.or(Some("rpm, which has a database here, cannot be asked"));
                return;
            };
            if lines.len() == some.len() {
                for (path, line) in some.iter().zip(&lines).filter(|(_, line)| word(line)) {
                    self.found.insert((*path).clone(), line.clone());
                }
                continue;
            }
            // Files that have gone, or of several packages: one at a time.
            for path in some {
                match ask(&[path]).ok().as_deref() {
                    Some([line, ..]) if word(line) => drop(self.found.insert((*path).clone(), line.clone())),
                    Some([_, ..]) => {}
                    _ => drop(self.gone.insert((*path).clone())),
                }
            }
        }
        self.missing = None;
    }

    /// The lists of dpkg. A path below /usr/bin and its like is looked for as /bin too: lists keep the name from before the
    /// directories were merged.
    fn dpkg(&mut self, directory: &Path, paths: &BTreeSet<String>) {
        let owners = self;
        let Ok(entries) = std::fs::read_dir(directory) else {
            owners.missing = Some("this host has no database of dpkg or rpm");
            return;
        };
        let mut wanted: BTreeMap<&[u8], &str> = BTreeMap::new();
        for path in paths {
            wanted.insert(path.as_bytes(), path);
            if let Some(short) = path
                .strip_prefix("/usr")
                .filter(|rest| ["/bin/", "/sbin/", "/lib"].iter().any(|start| rest.starts_with(start)))
            {
                wanted.entry(short.as_bytes()).or_insert(path);
            }
        }
        let mut lengths = vec![false; wanted.keys().map(|path| path.len() + 1).max().unwrap_or(0)];
        wanted.keys().for_each(|path| lengths[path.len()] = true);
        let (mut lists, mut left) = (0, MOST_BYTES);
        let mut text = Vec::with_capacity(1 << 20);
        for entry in entries.filter_map(Result::ok) {
            let name = entry.file_name();
            let Some(package) = name.to_str().and_then(|name| name.strip_suffix(".list")) else { continue };
            lists += 1;
            if owners.found.len() == paths.len() {
                break;
            }
            // One room for all: hundreds of lists are read.
            let most = u64::try_from(LONGEST.min(left)).unwrap_or(u64::MAX);
            text.clear();
            let opened = std::fs::File::open(entry.path());
            let _ = opened.and_then(|file| file.take(most).read_to_end(&mut text));
            left -= text.len().min(left);
            if lists > MOST_LISTS || left == 0 {
                owners.missing = Some("the database of dpkg is larger than what is read of it");
                return;
            }
            for line in text.split(|byte| *byte == b'\n') {
                // Most lines are of another length than any that is wanted.
                if !lengths.get(line.len()).copied().unwrap_or(false) {
                    continue;
                }
                if let Some(path) = wanted.get(line) {
                    // libc6:amd64 is libc6, of this machine's kind.
                    let package = package.split(':').next().unwrap_or(package);
                    owners.found.insert((*path).to_owned(), package.to_owned());
                }
            }
        }
        if lists == 0 {
            owners.missing = Some("the database of dpkg is empty");
        }
    }

    /// Who owns this path, which was asked for.
    pub fn owner(&self, path: &str) -> Owner {
        match (self.found.get(path), self.missing) {
            (Some(package), _) => Owner::Package(package.clone()),
            (None, Some(why)) => Owner::Unknown(why),
            (None, None) if self.gone.contains(path) => {
                Owner::Unknown("rpm tells nothing of a file that has gone")
            }
            (None, None) => Owner::Nobody,
        }
    }

    /// Why nothing is known of packages, if so.
    pub fn missing(&self) -> Option<&'static str> {
        self.missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_say_who_owns_a_file() {
        let directory = std::env::temp_dir().join(format!("portreeve-packages-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("ssh.list"), "/.\n/usr\n/usr/sbin/sshd\n").unwrap();
        std::fs::write(directory.join("libc6:amd64.list"), b"/lib/ld.so\n\xff\xfe\n/bin/old").unwrap();
        std::fs::write(directory.join("ssh.md5sums"), "/usr/bin/none\n").unwrap();
        let paths = ["/usr/sbin/sshd", "/usr/lib/ld.so", "/usr/bin/old", "/usr/bin/none", "/opt/x"];
        let owners =
            Owners::of(&directory, Some(&directory), &paths.iter().map(|path| (*path).to_owned()).collect());
        let package = |name: &str| Owner::Package(name.to_owned());
        let wanted = [package("ssh"), package("libc6"), package("libc6"), Owner::Nobody, Owner::Nobody];
        assert_eq!(paths.map(|path| owners.owner(path)), wanted);
        std::fs::remove_dir_all(&directory).unwrap();
        let none = Owners::of(&directory, Some(&directory), &BTreeSet::new());
        assert!(matches!(none.owner("/x"), Owner::Unknown(why) if why.contains("rpm")));
    }
}

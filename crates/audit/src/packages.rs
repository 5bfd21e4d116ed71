//! Which package brought a file: dpkg's lists, read once and up to a bound; rpm is asked (`rpm -qf`), whose database has several forms.

use crate::outside;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

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
/// Threads, whatever the machine has.
const MOST_THREADS: usize = 16;

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
        let there = |directory: &&Path| RPM_FILES.iter().any(|file| directory.join(file).exists());
        let places = rpm.map_or_else(|| RPM.map(Path::new).to_vec(), |place| vec![place]);
        if let Some(place) = places.into_iter().find(there) {
            let left: Vec<&String> = paths.iter().filter(|path| !owners.found.contains_key(*path)).collect();
            owners.rpm(place, &left);
        }
        owners
    }

    /// Asks rpm for what dpkg does not know, and says where the database is: another distribution's rpm looks elsewhere.
    fn rpm(&mut self, place: &Path, paths: &[&String]) {
        let ask = |paths: &[&String]| {
            let mut arguments: Vec<&OsStr> = vec![OsStr::new("--dbpath"), place.as_os_str()];
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
        let wanted = Wanted::new(wanted);
        let mut lists: Vec<(String, PathBuf)> = entries
            .filter_map(Result::ok)
            .filter_map(|entry| {
                let name = entry.file_name();
                Some((name.to_str()?.strip_suffix(".list")?.to_owned(), entry.path()))
            })
            .take(MOST_LISTS + 1)
            .collect();
        if lists.is_empty() {
            owners.missing = Some("the database of dpkg is empty");
        }
        // What is named like a program is read first: reading ends when all is known.
        let names: Vec<&str> = paths.iter().filter_map(|path| path.rsplit('/').next()).collect();
        lists.sort_by_cached_key(|(package, _)| {
            std::cmp::Reverse(names.iter().map(|name| alike(name, package)).max())
        });
        let (found, cut) = wanted.among(&lists, paths.len());
        owners.found.extend(found);
        if cut || lists.len() > MOST_LISTS {
            owners.missing = Some("the database of dpkg is larger than what is read of it");
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

/// How many letters two names begin with alike.
fn alike(one: &str, other: &str) -> usize {
    one.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count()
}

/// The names that are looked for in lists, with the path that each stands for.
struct Wanted<'a> {
    paths: BTreeMap<&'a [u8], &'a str>,
    /// Most lines are of another length than any that is wanted.
    lengths: Vec<bool>,
}

impl<'a> Wanted<'a> {
    fn new(paths: BTreeMap<&'a [u8], &'a str>) -> Self {
        let longest = paths.keys().map(|path| path.len()).max().unwrap_or(0);
        let mut lengths = vec![false; longest + 1];
        for path in paths.keys() {
            if let Some(length) = lengths.get_mut(path.len()) {
                *length = true;
            }
        }
        Self { paths, lengths }
    }

    /// The owners by these lists, read by all processors until `enough` are known; and whether a bound ended that.
    fn among(&self, lists: &[(String, PathBuf)], enough: usize) -> (BTreeMap<String, String>, bool) {
        let (next, bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let found: Mutex<BTreeMap<String, String>> = Mutex::default();
        let known = AtomicUsize::new(0);
        let work = || {
            let mut buffer = vec![0; 64 << 10];
            while known.load(Ordering::Relaxed) < enough
                && bytes.load(Ordering::Relaxed) <= MOST_BYTES
                && let Some((package, path)) = lists.get(next.fetch_add(1, Ordering::Relaxed))
            {
                let text = whole(path, &mut buffer);
                bytes.fetch_add(text.len(), Ordering::Relaxed);
                // libc6:amd64 is libc6, of this machine's kind.
                let package = package.split(':').next().unwrap_or(package);
                for path in self.lines_of(text) {
                    if let Ok(mut found) = found.lock() {
                        let owner = found.entry(path.to_owned()).or_insert_with(|| package.to_owned());
                        // Of several the first by name, whoever is read first.
                        if package < owner.as_str() {
                            package.clone_into(owner);
                        }
                        known.store(found.len(), Ordering::Relaxed);
                    }
                }
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from).clamp(1, MOST_THREADS);
        std::thread::scope(|scope| {
            for _ in 1..threads.min(lists.len()) {
                // With fewer it takes longer.
                drop(std::thread::Builder::new().spawn_scoped(scope, work));
            }
            work();
        });
        let cut = bytes.into_inner() > MOST_BYTES;
        (found.into_inner().unwrap_or_default(), cut)
    }

    fn lines_of<'t>(&'t self, text: &'t [u8]) -> impl Iterator<Item = &'a str> + 't {
        let ends = memchr::memchr_iter(b'\n', text).chain([text.len()]);
        let mut begin = 0;
        let lines = ends.map(move |end| {
            let line = text.get(begin..end).unwrap_or_default();
            begin = end.saturating_add(1);
            line
        });
        let lines = lines.filter(|line| self.lengths.get(line.len()).copied().unwrap_or(false));
        lines.filter_map(|line| self.paths.get(line).copied())
    }
}

/// The bytes of a list, up to a bound, in one room for all: hundreds of lists are read. Nothing of one that cannot be.
fn whole<'b>(path: &Path, buffer: &'b mut Vec<u8>) -> &'b [u8] {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut length = 0;
    if let Ok(file) = rustix::fs::open(path, flags, Mode::empty()) {
        loop {
            let room = buffer.get_mut(length..).unwrap_or_default();
            let offered = room.len();
            match rustix::io::read(&file, room) {
                Ok(read) => length += read,
                Err(Errno::INTR) => continue,
                Err(_) => break,
            }
            // A regular file gives all that it has.
            if length < buffer.len() || offered == 0 || length >= LONGEST {
                break;
            }
            buffer.resize((buffer.len() * 2).min(LONGEST), 0);
        }
    }
    buffer.get(..length).unwrap_or_default()
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

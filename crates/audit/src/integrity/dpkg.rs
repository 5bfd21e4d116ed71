//! dpkg's database below a root: which packages are installed, what files they have, with which sums; what was diverted, and what an
//! administrator ordered of owner and mode. Everything is read up to a bound; a line that cannot be understood is left out.

use super::exclude::Excluded;
use crate::bounded;
use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

/// Bytes of the status file, and of one list.
const LONGEST_STATUS: usize = 256 << 20;
const LONGEST_LIST: usize = 64 << 20;
/// Packages.
const MOST: usize = 200_000;

/// An installed package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Package {
    /// Its name; with the architecture where there are several.
    pub name: String,
    architecture: String,
    /// Bytes that it has, as it says itself.
    pub size: u64,
    /// Files of configuration, with their sums, and whether they may be missing.
    conffiles: Vec<(Vec<u8>, [u8; 16], bool)>,
}

impl Package {
    /// Whether a person means this one.
    pub(super) fn is(&self, name: &str) -> bool {
        match name.split_once(':') {
            Some((name, architecture)) => self.name == name && self.architecture == architecture,
            None => self.name == name,
        }
    }
}

/// A file of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed {
    /// Its name in the list.
    pub path: Vec<u8>,
    /// Where it is instead, if it was diverted.
    pub diverted: Option<Vec<u8>>,
    /// Its sum, where it has one.
    pub sum: Option<[u8; 16]>,
    /// A file of configuration.
    pub conffile: bool,
    /// An upgrade was told to remove it.
    pub may_be_missing: bool,
}

impl Listed {
    /// Where it really is.
    pub(super) fn really(&self) -> &[u8] {
        self.diverted.as_deref().unwrap_or(&self.path)
    }
}

/// The files of a package.
#[derive(Debug, Default)]
pub(super) struct Files {
    pub all: Vec<Listed>,
    /// It has no list of sums, or an empty one, and files.
    pub without_sums: bool,
}

/// What `dpkg-statoverride` ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ordered {
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub mode: u32,
}

/// The database.
#[derive(Debug)]
pub(super) struct Database {
    info: PathBuf,
    pub packages: Vec<Package>,
    /// From → to, and whose own file stays.
    diversions: HashMap<Vec<u8>, (Vec<u8>, Vec<u8>)>,
    orders: HashMap<Vec<u8>, Ordered>,
    excluded: Excluded,
    /// What cannot be understood, in sentences.
    pub gaps: Vec<String>,
}

impl Database {
    pub(super) fn read(root: &Path) -> io::Result<Database> {
        let directory = root.join("var/lib/dpkg");
        let status = bounded::file(&directory.join("status"), LONGEST_STATUS + 1)?;
        let mut gaps = Vec::new();
        if status.len() > LONGEST_STATUS {
            gaps.push("dpkg's status file is larger than what is read of it".to_owned());
        }
        let packages: Vec<_> = paragraphs(&status).filter_map(package).take(MOST).collect();
        let file = |name: &str| bounded::file(&directory.join(name), LONGEST_LIST).unwrap_or_default();
        let ids = |name: &str| numbers(&bounded::file(&root.join(name), LONGEST_LIST).unwrap_or_default());
        let (users, groups) = (ids("etc/passwd"), ids("etc/group"));
        Ok(Database {
            info: directory.join("info"),
            packages,
            diversions: diversions(&file("diversions")),
            orders: orders(&file("statoverride"), &users, &groups),
            excluded: Excluded::read(root),
            gaps,
        })
    }

    /// What was ordered of a file, by its name in the list.
    pub(super) fn ordered(&self, path: &[u8]) -> Option<&Ordered> {
        self.orders.get(path)
    }

    pub(super) fn excludes(&self, path: &[u8]) -> bool {
        self.excluded.has(path)
    }

    /// A share of the files of a package: every `of`-th from this number on.
    pub(super) fn files(&self, package: &Package, number: u64, of: u64) -> Result<Files, String> {
        let both = [format!("{}:{}", package.name, package.architecture), package.name.clone()];
        let read = |base: &str, end: &str| {
            bounded::file(&self.info.join(format!("{base}.{end}")), LONGEST_LIST).ok()
        };
        let Some((base, list)) = both.iter().find_map(|base| Some((base, read(base, "list")?))) else {
            return Err(format!("package {} has no list of its files", package.name));
        };
        let text = read(base, "md5sums").unwrap_or_default();
        let sums: HashMap<_, _> = text.split(|byte| *byte == b'\n').filter_map(sum_line).collect();
        let conffiles: HashMap<&[u8], ([u8; 16], bool)> =
            package.conffiles.iter().map(|(path, sum, gone)| (path.as_slice(), (*sum, *gone))).collect();
        let mut files = Files::default();
        let mut unknown = false;
        let paths = list.split(|byte| *byte == b'\n').filter(|path| path.starts_with(b"/"));
        for (at, path) in paths.enumerate() {
            let conffile = conffiles.get(path);
            let sum = sums.get(path.get(1..).unwrap_or_default()).copied();
            unknown |= conffile.is_none() && sum.is_none() && has_name(path);
            if at as u64 % of != number {
                continue;
            }
            let diverted = match self.diversions.get(path) {
                Some((to, by)) if by.as_slice() != package.name.as_bytes() => Some(to.clone()),
                _ => None,
            };
            files.all.push(Listed {
                path: path.to_vec(),
                diverted,
                sum: conffile.map(|(sum, _)| *sum).or(sum),
                conffile: conffile.is_some(),
                may_be_missing: conffile.is_some_and(|(_, gone)| *gone),
            });
        }
        files.without_sums = sums.is_empty() && unknown;
        Ok(files)
    }
}

/// Whether it lies deeper than what every package lists: directories as `/usr/share/doc`.
fn has_name(path: &[u8]) -> bool {
    path.iter().filter(|byte| **byte == b'/').count() > 4
}

fn paragraphs(text: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    let mut lines = text.split(|byte| *byte == b'\n');
    std::iter::from_fn(move || {
        let mut found = Vec::new();
        for line in lines.by_ref() {
            if line.is_empty() && !found.is_empty() {
                return Some(found);
            }
            if !line.is_empty() {
                found.push(line);
            }
        }
        (!found.is_empty()).then_some(found)
    })
}

/// A paragraph of the status file, where the package is installed.
fn package(lines: Vec<&[u8]>) -> Option<Package> {
    let field = |name: &str| {
        let found = lines.iter().find_map(|line| {
            let (key, value) = line.split_at_checked(name.len())?;
            key.eq_ignore_ascii_case(name.as_bytes()).then(|| value.strip_prefix(b":"))?
        })?;
        Some(String::from_utf8_lossy(found.trim_ascii()).into_owned())
    };
    let status = field("Status")?;
    let state = status.split(' ').next_back()?;
    if !["installed", "unpacked", "half-configured", "triggers-awaited", "triggers-pending"].contains(&state)
    {
        return None;
    }
    let begin = lines.iter().position(|line| line.to_ascii_lowercase().starts_with(b"conffiles:"));
    let conffiles = begin.map_or(&[][..], |begin| lines.get(begin + 1..).unwrap_or_default());
    let conffiles =
        conffiles.iter().take_while(|line| line.starts_with(b" ")).filter_map(|line| conffile(line));
    let name = field("Package").filter(|name| is_name(name))?;
    let architecture = field("Architecture").filter(|name| is_name(name))?;
    Some(Package {
        name,
        architecture,
        size: field("Installed-Size")
            .and_then(|size| size.parse::<u64>().ok())
            .unwrap_or(0)
            .saturating_mul(1024),
        conffiles: conffiles.collect(),
    })
}

/// No name leads out of the directory of lists.
fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-._".contains(&byte))
}

/// ` /etc/x 0123…cdef obsolete`
fn conffile(line: &[u8]) -> Option<(Vec<u8>, [u8; 16], bool)> {
    let mut rest = line.strip_prefix(b" ")?;
    let mut gone = false;
    for (word, goes) in
        [(&b" remove-on-upgrade"[..], true), (b" obsolete", false), (b" remove-on-upgrade", true)]
    {
        if let Some(shorter) = rest.strip_suffix(word) {
            rest = shorter;
            gone |= goes;
        }
    }
    let at = rest.iter().rposition(|byte| *byte == b' ')?;
    let (path, sum) = rest.split_at(at);
    Some((path.to_vec(), hexadecimal(sum.get(1..)?)?, gone))
}

/// `0123…cdef  usr/bin/x`; md5sum(1) writes a backslash before a line whose name holds some.
fn sum_line(line: &[u8]) -> Option<(Cow<'_, [u8]>, [u8; 16])> {
    let (line, escaped) = line.strip_prefix(b"\\").map_or((line, false), |rest| (rest, true));
    let (sum, rest) = line.split_at_checked(32)?;
    let name = rest.strip_prefix(b"  ").or_else(|| rest.strip_prefix(b" *"))?;
    let name = name.strip_prefix(b"./").unwrap_or(name);
    let sum = hexadecimal(sum)?;
    if !escaped {
        return Some((Cow::Borrowed(name), sum));
    }
    let mut path = Vec::new();
    let mut letters = name.iter();
    while let Some(letter) = letters.next() {
        path.push(match letter {
            b'\\' => match letters.next()? {
                b'n' => b'\n',
                b'r' => b'\r',
                other => *other,
            },
            letter => *letter,
        });
    }
    Some((Cow::Owned(path), sum))
}

fn hexadecimal(text: &[u8]) -> Option<[u8; 16]> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.len() == 32 && text.is_ascii())?;
    let mut sum = [0; 16];
    for (at, byte) in sum.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(sum)
}

/// Three lines each: from, to, and the package whose own file stays (`:` for none).
fn diversions(text: &[u8]) -> HashMap<Vec<u8>, (Vec<u8>, Vec<u8>)> {
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    let three = |lines: &[&[u8]]| match lines {
        [from, to, by] => Some((from.to_vec(), (to.to_vec(), by.to_vec()))),
        _ => None,
    };
    lines.chunks_exact(3).filter_map(three).collect()
}

/// `root shadow 2755 /usr/bin/x`, ids also as `#1000`.
fn orders(
    text: &[u8],
    users: &HashMap<Vec<u8>, u32>,
    groups: &HashMap<Vec<u8>, u32>,
) -> HashMap<Vec<u8>, Ordered> {
    let line = |line: &[u8]| {
        let mut words = line.splitn(4, |byte| *byte == b' ');
        let (user, group, mode, path) = (words.next()?, words.next()?, words.next()?, words.next()?);
        let id = |word: &[u8], known: &HashMap<Vec<u8>, u32>| match word.strip_prefix(b"#") {
            Some(digits) => std::str::from_utf8(digits).ok()?.parse().ok(),
            None => known.get(word).copied(),
        };
        let mode = u32::from_str_radix(std::str::from_utf8(mode).ok()?, 8).ok()?;
        Some((path.to_vec(), Ordered { uid: id(user, users), gid: id(group, groups), mode }))
    };
    text.split(|byte| *byte == b'\n').filter_map(line).collect()
}

/// Names and numbers of /etc/passwd or /etc/group.
fn numbers(text: &[u8]) -> HashMap<Vec<u8>, u32> {
    let line = |line: &[u8]| {
        let mut words = line.split(|byte| *byte == b':');
        let name = words.next()?.to_vec();
        Some((name, std::str::from_utf8(words.nth(1)?).ok()?.parse().ok()?))
    };
    text.split(|byte| *byte == b'\n').filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_database() {
        let sum = [0x0f; 16];
        let hex = "0f".repeat(16);
        let line = |text: &'static str| sum_line(text.as_bytes());
        let line = |text: String| line(text.leak());
        assert_eq!(line(format!("{hex}  usr/bin/a b")), Some((Cow::Borrowed(&b"usr/bin/a b"[..]), sum)));
        assert_eq!(line(format!("\\{hex}  usr/a\\nb\\\\")), Some((Cow::Owned(b"usr/a\nb\\".to_vec()), sum)));
        for odd in ["", "0f", &hex, &format!("{hex} x"), "zz".repeat(16).as_str()] {
            assert_eq!(line(odd.to_owned()), None, "{odd}");
        }
        let wanted = |gone| Some((b"/etc/a b".to_vec(), sum, gone));
        assert_eq!(conffile(format!(" /etc/a b {hex}").as_bytes()), wanted(false));
        assert_eq!(conffile(format!(" /etc/a b {hex} obsolete").as_bytes()), wanted(false));
        assert_eq!(conffile(format!(" /etc/a b {hex} obsolete remove-on-upgrade").as_bytes()), wanted(true));
        assert_eq!(conffile(b" /etc/x newconffile"), None);
    }

    #[test]
    fn packages_and_what_was_ordered() {
        let hex = "00".repeat(16);
        let text = format!(
            "Package: a\nStatus: install ok installed\nArchitecture: amd64\nInstalled-Size: 7\nConffiles:\n /etc/a {hex}\nDescription: x\n y\n\n\
             Package: b\nStatus: deinstall ok config-files\nArchitecture: all\n\n\
             Package: ../c\nStatus: install ok installed\nArchitecture: all\n\nrubbish\n"
        );
        let found: Vec<_> = paragraphs(text.as_bytes()).filter_map(package).collect();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].name.as_str(), found[0].size, found[0].conffiles.len()), ("a", 7168, 1));
        assert!(found[0].is("a") && found[0].is("a:amd64") && !found[0].is("a:i386"));
        let users = numbers(b"root:x:0:0:\nman:x:6:\nbad\n");
        let found = orders(b"root man 2755 /usr/bin/x y\nnobody #9 644 /z\nodd\n", &users, &users);
        assert_eq!(found[&b"/usr/bin/x y"[..]], Ordered { uid: Some(0), gid: Some(6), mode: 0o2755 });
        assert_eq!(found[&b"/z"[..]], Ordered { uid: None, gid: Some(9), mode: 0o644 });
        let diverted = diversions(b"/bin/a\n/bin/a.old\nme\n/b\n/c\n:\n/odd\n");
        assert_eq!((diverted.len(), &diverted[&b"/b"[..]]), (2, &(b"/c".to_vec(), b":".to_vec())));
    }
}

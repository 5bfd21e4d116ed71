//! Whether a package brought a file as it is: by the sum that dpkg's list has of it, or by rpm's word. Looks at single files.

use super::dpkg::Database;
use crate::packages::{DPKG, Owner, Owners};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

/// Files, by the names that they have without links, with what packages say of them.
#[derive(Debug, Default)]
pub struct Brought {
    files: BTreeMap<String, (String, Option<[u8; 16]>)>,
    missing: Option<&'static str>,
}

impl Brought {
    /// Looks these paths up in the database below `root`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn of(root: &Path, paths: &BTreeSet<String>) -> io::Result<Self> {
        let owners = Owners::of(&root.join(DPKG.trim_start_matches('/')), None, paths);
        let mut brought = Self { missing: owners.missing(), ..Self::default() };
        let owned: Vec<(&String, String)> = paths
            .iter()
            .filter_map(|path| match owners.owner(path) {
                Owner::Package(name) => Some((path, name)),
                Owner::Nobody | Owner::Unknown(_) => None,
            })
            .collect();
        if owned.is_empty() {
            return Ok(brought);
        }
        let dpkg = root.join("var/lib/dpkg/status").exists().then(|| Database::read(root)).transpose()?;
        for (path, name) in owned {
            let sum = dpkg.as_ref().and_then(|database| sum(database, &name, path));
            brought.files.insert(path.clone(), (name, sum));
        }
        Ok(brought)
    }

    /// The package whose file this is, where it is as the package brought it.
    ///
    /// # Errors
    /// Why no package answers for it.
    pub fn explains(&self, root: &Path, path: &str, md5: &[u8; 16]) -> Result<String, String> {
        match self.files.get(path) {
            None => Err(match self.missing {
                Some(why) => format!("packages cannot be asked: {why}"),
                None => "no package brought it".to_owned(),
            }),
            Some((package, Some(sum))) if sum == md5 => Ok(package.clone()),
            Some((package, Some(_))) => Err(format!("it is not what package {package} brought")),
            Some((package, None)) => by_rpm(root, package, path),
        }
    }
}

fn sum(database: &Database, name: &str, path: &str) -> Option<[u8; 16]> {
    let package = database.packages.iter().find(|package| package.is(name))?;
    let files = database.files(package, 0, 1).ok()?;
    // Lists have the names from before the directories were merged, too.
    let short = path.strip_prefix("/usr").unwrap_or(path);
    let one = |listed: &&super::dpkg::Listed| {
        [path.as_bytes(), short.as_bytes()].contains(&listed.really()) && listed.sum.is_some()
    };
    files.all.iter().find(one)?.sum
}

fn by_rpm(root: &Path, package: &str, path: &str) -> Result<String, String> {
    if !super::rpm::is_there(root) {
        return Err(format!("package {package} has no sum of it"));
    }
    let name = [package.to_owned()];
    let wanted = [path.as_bytes().to_vec()].into();
    let record = super::rpm::record(root, &name, &wanted).map_err(|error| error.to_string())?;
    if !record.files.get(path.as_bytes()).is_some_and(|compared| compared.has('5')) {
        return Err(format!("package {package} has no digest of it"));
    }
    let looked = super::rpm::packages(root, &name).map_err(|error| error.to_string())?;
    match looked.differences.iter().find(|difference| difference.path == path.as_bytes()) {
        None => Ok(package.to_owned()),
        Some(_) => Err(format!("it is not what package {package} brought")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_answers_for_what_it_brought() {
        let root = std::env::temp_dir().join(format!("portreeve-brought-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(root.join("var/lib/dpkg/info")).unwrap();
        let status = "Package: tool\nStatus: install ok installed\nArchitecture: all\nVersion: 2\n\n";
        std::fs::write(root.join("var/lib/dpkg/status"), status).unwrap();
        std::fs::write(root.join("var/lib/dpkg/info/tool.list"), "/.\n/bin\n/bin/tool\n/bin/bare\n").unwrap();
        let sums = "0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f  bin/tool\n";
        std::fs::write(root.join("var/lib/dpkg/info/tool.md5sums"), sums).unwrap();
        let paths = ["/usr/bin/tool", "/bin/bare", "/opt/x"].map(str::to_owned);
        let brought = Brought::of(&root, &paths.into_iter().collect()).unwrap();
        let asked = |path, md5| brought.explains(&root, path, &[md5; 16]);
        assert_eq!(asked("/usr/bin/tool", 0x0f), Ok("tool".to_owned()));
        assert_eq!(asked("/usr/bin/tool", 0x0e), Err("it is not what package tool brought".to_owned()));
        assert_eq!(asked("/bin/bare", 0), Err("package tool has no sum of it".to_owned()));
        assert_eq!(asked("/opt/x", 0), Err("no package brought it".to_owned()));
        std::fs::remove_dir_all(&root).unwrap();
    }
}

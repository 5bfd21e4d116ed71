//! Which files make up a configuration, and how an inetd.conf among them is used. Data only: `resolve` reads them.

use std::path::{Path, PathBuf};

/// The files of a configuration, in the order in which they are read. What `defaults` in the first says holds for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// A file of xinetd's language and all that it includes.
    pub main: Option<PathBuf>,
    /// An inetd.conf.
    pub inetd: Option<Inetd>,
    /// Directories of systemd's units, and `.socket` files; earlier ones win.
    pub units: Vec<PathBuf>,
}

/// An inetd.conf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inetd {
    /// Where.
    pub path: PathBuf,
    /// What the command line says of it.
    pub usage: InetdUse,
    /// Whether it may be missing: xinetd with `-inetd_compat` then serves without a word (reference xinetd §12.1).
    pub optional: bool,
}

/// What an inetd's command line says of all services of its file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InetdUse {
    /// hosts.allow and hosts.deny are asked for every program (openbsd-inetd's `-l`), not only behind tcpd.
    pub tables: bool,
    /// Programs get a few harmless variables of inetd's environment instead of all (openbsd-inetd without `-E`).
    pub few_variables: bool,
    /// How often a service whose line does not say so may be started within a minute (openbsd-inetd's `-R`).
    pub starts_per_minute: Option<u32>,
}

impl Sources {
    /// A file of xinetd's language.
    pub fn xinetd(main: impl Into<PathBuf>) -> Self {
        Self { main: Some(main.into()), ..Self::default() }
    }

    /// An inetd.conf alone.
    pub fn of_inetd(path: impl Into<PathBuf>, usage: InetdUse) -> Self {
        let inetd = Inetd { path: path.into(), usage, optional: false };
        Self { inetd: Some(inetd), ..Self::default() }
    }

    /// What options say: a file of xinetd's language, an inetd.conf, units. `None` where none is named.
    pub fn named(main: Option<&Path>, inetd: Option<&Path>, units: &[PathBuf]) -> Option<Self> {
        let inetd = inetd.and_then(|path| Self::of_inetd(path, InetdUse::default()).inetd);
        let named = Self { main: main.map(Path::to_owned), inetd, units: units.to_vec() };
        (named != Self::default()).then_some(named)
    }

    /// All that is named, in the order of reading.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let inetd = self.inetd.iter().map(|inetd| inetd.path.as_path());
        self.main.iter().map(PathBuf::as_path).chain(inetd).chain(self.units.iter().map(PathBuf::as_path))
    }

    /// The file that stands for the configuration where one is named.
    pub fn main(&self) -> &Path {
        self.paths().next().unwrap_or(Path::new(""))
    }

    /// The inetd.conf among the files.
    pub fn inetd(&self) -> Option<&Path> {
        self.inetd.as_ref().map(|inetd| inetd.path.as_path())
    }

    /// The same files, each path changed by `change`.
    #[must_use]
    pub fn map(self, change: impl Fn(PathBuf) -> PathBuf) -> Self {
        Self {
            main: self.main.map(&change),
            inetd: self.inetd.map(|inetd| Inetd { path: change(inetd.path), ..inetd }),
            units: self.units.into_iter().map(&change).collect(),
        }
    }
}

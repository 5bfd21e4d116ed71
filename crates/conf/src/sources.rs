//! Which files make up a configuration, and how an inetd.conf among them is used. Data only: `resolve` reads them.

use std::path::{Path, PathBuf};

/// The files of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sources {
    /// A file of xinetd's language and all that it includes.
    Xinetd(PathBuf),
    /// The same, and after it an inetd.conf (`-inetd_compat`, reference xinetd §12.1).
    Both {
        /// The file of xinetd's language.
        main: PathBuf,
        /// inetd.conf.
        inetd: PathBuf,
        /// Whether it may be missing: xinetd then serves without a word.
        optional: bool,
    },
    /// An inetd.conf alone.
    Inetd(PathBuf, InetdUse),
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
    /// What two options say: a file of xinetd's language, an inetd.conf, or both. `None` where neither is named.
    pub fn named(main: Option<&Path>, inetd: Option<&Path>) -> Option<Self> {
        Some(match (main.map(Path::to_owned), inetd.map(Path::to_owned)) {
            (Some(main), Some(inetd)) => Self::Both { main, inetd, optional: false },
            (Some(main), None) => Self::Xinetd(main),
            (None, Some(inetd)) => Self::Inetd(inetd, InetdUse::default()),
            (None, None) => return None,
        })
    }

    /// The file that stands for the configuration where one is named.
    pub fn main(&self) -> &Path {
        match self {
            Self::Xinetd(main) | Self::Both { main, .. } | Self::Inetd(main, _) => main,
        }
    }

    /// The inetd.conf among the files.
    pub fn inetd(&self) -> Option<&Path> {
        match self {
            Self::Xinetd(_) => None,
            Self::Both { inetd, .. } | Self::Inetd(inetd, _) => Some(inetd),
        }
    }

    /// The same files, each path changed by `change`.
    #[must_use]
    pub fn map(self, change: impl Fn(PathBuf) -> PathBuf) -> Self {
        match self {
            Self::Xinetd(main) => Self::Xinetd(change(main)),
            Self::Both { main, inetd, optional } => {
                Self::Both { main: change(main), inetd: change(inetd), optional }
            }
            Self::Inetd(inetd, usage) => Self::Inetd(change(inetd), usage),
        }
    }
}

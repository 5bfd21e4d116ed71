//! The view of the file system that words of `sandbox` come to: which path is read-only, empty, inaccessible or another place of the host,
//! and where programs are executed. Their order is `order`'s. Touches no file.

use super::key::{Word, clean};
use super::order::in_order;

/// What is done with a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// Nothing is there.
    Inaccessible,
    /// An empty file system in memory.
    Empty {
        /// Nothing can be written there.
        read_only: bool,
        /// No program is executed from there.
        no_programs: bool,
        /// A set-user-ID program there is an ordinary one.
        no_suid: bool,
        /// A device there is none.
        no_devices: bool,
        /// Options of tmpfs(5).
        options: String,
    },
    /// /dev with the few devices that do nothing.
    Devices,
    /// /proc with these options.
    Processes(String),
    /// A place of the host.
    Bind {
        /// Absolute, on the host, whatever the root directory is.
        source: String,
        /// Nothing can be written there.
        read_only: bool,
        /// With all that is mounted below it.
        recursive: bool,
    },
    /// Nothing can be written.
    ReadOnly,
    /// As outside, within what is read-only.
    AsOutside,
    /// No program is executed from there.
    NoPrograms,
    /// Programs are, within what has none.
    Programs,
}

/// A path and what is done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Absolute.
    pub path: String,
    /// What.
    pub kind: MountKind,
    /// It need not be there; of a bind, its source.
    pub optional: bool,
    /// The word that asks for it.
    pub because: String,
}

/// A temporary directory of its own, and how much may be in it.
const TMP: &str = "mode=1777,size=10%";

/// The steps in their order; `None` where no word is about the file system.
pub(super) fn plan(words: &[Word], root: Option<&str>) -> Option<Vec<Mount>> {
    let mut all = Plan { mounts: Vec::new(), view: false };
    let value = |key: &str| words.iter().rev().find(|word| word.key == key).map(|word| word.value.as_str());
    let on = |key: &str| value(key) == Some("yes");
    all.view |= on("PrivateMounts") || on("PrivateIPC") || root.is_some();
    let system = value("ProtectSystem").filter(|value| *value != "no");
    if let Some(how) = system {
        let because = words.iter().rev().find(|word| word.key == "ProtectSystem").map(Word::text);
        let because = because.unwrap_or_default();
        if how == "strict" {
            all.add("/", MountKind::ReadOnly, false, &because);
            for path in ["/dev", "/proc", "/sys"] {
                all.add(path, MountKind::AsOutside, true, &because);
            }
        } else {
            let etc = Some("/etc").filter(|_| how == "full");
            // Where /usr was not merged, the others are directories; else they are links to it.
            for path in ["/usr", "/boot", "/efi", "/bin", "/lib", "/lib64", "/sbin"].into_iter().chain(etc) {
                all.add(path, MountKind::ReadOnly, true, &because);
            }
        }
    }
    let home = match value("ProtectHome") {
        Some("yes") => Some(MountKind::Inaccessible),
        Some("read-only") => Some(MountKind::ReadOnly),
        Some("tmpfs") => Some(empty("mode=0755", true)),
        _ => None,
    };
    for path in ["/home", "/root", "/run/user"].into_iter().filter(|_| home.is_some()) {
        all.add(path, home.clone().unwrap_or(MountKind::ReadOnly), true, "ProtectHome");
    }
    if value("PrivateTmp").is_some_and(|value| value != "no") {
        all.add("/tmp", empty(TMP, false), true, "PrivateTmp");
        all.add("/var/tmp", empty(TMP, false), true, "PrivateTmp");
    }
    if on("PrivateDevices") {
        all.add("/dev", MountKind::Devices, false, "PrivateDevices");
    }
    // What is in shared memory by name lies there; there systemd removes what is left in the end (RemoveIPC).
    if on("DynamicUser") {
        all.add("/dev/shm", empty(TMP, false), true, "DynamicUser");
    }
    if on("ProtectKernelTunables") {
        for path in [
            "/proc/sys",
            "/proc/sysrq-trigger",
            "/proc/latency_stats",
            "/proc/mtrr",
            "/proc/apm",
            "/proc/acpi",
            "/proc/asound",
            "/proc/bus",
            "/proc/scsi",
            "/proc/timer_stats",
            "/proc/fs",
            "/proc/irq",
            "/sys",
        ] {
            all.add(path, MountKind::ReadOnly, true, "ProtectKernelTunables");
        }
        for path in ["/proc/kallsyms", "/proc/kcore"] {
            all.add(path, MountKind::Inaccessible, true, "ProtectKernelTunables");
        }
    }
    if on("ProtectKernelModules") {
        for path in ["/lib/modules", "/usr/lib/modules"] {
            all.add(path, MountKind::Inaccessible, true, "ProtectKernelModules");
        }
    }
    if on("ProtectKernelLogs") {
        for path in ["/dev/kmsg", "/proc/kmsg"] {
            all.add(path, MountKind::Inaccessible, true, "ProtectKernelLogs");
        }
    }
    if on("ProtectControlGroups") {
        all.add("/sys/fs/cgroup", MountKind::ReadOnly, true, "ProtectControlGroups");
    }
    let hidden = value("ProtectProc").filter(|value| *value != "default").map(|how| format!("hidepid={how}"));
    let subset = value("ProcSubset").filter(|value| *value == "pid").map(|_| "subset=pid".to_owned());
    let options: Vec<String> = hidden.into_iter().chain(subset).collect();
    if !options.is_empty() {
        all.add("/proc", MountKind::Processes(options.join(",")), false, "ProtectProc, ProcSubset");
    }
    for word in words {
        let kind = match word.key {
            "ReadWritePaths" => MountKind::AsOutside,
            "ReadOnlyPaths" => MountKind::ReadOnly,
            "InaccessiblePaths" => MountKind::Inaccessible,
            "ExecPaths" => MountKind::Programs,
            "NoExecPaths" => MountKind::NoPrograms,
            "BindPaths" | "BindReadOnlyPaths" => {
                let Some(bind) = word.bind() else { continue };
                let read_only = word.key == "BindReadOnlyPaths";
                let kind = MountKind::Bind { source: bind.source, read_only, recursive: bind.recursive };
                all.add(&bind.destination, kind, bind.optional, &word.text());
                continue;
            }
            "TemporaryFileSystem" => {
                let (path, options) = word.value.split_once(':').unwrap_or((&word.value, ""));
                all.add(path, with_options(options), false, &word.text());
                continue;
            }
            _ => continue,
        };
        // What lies outside of the root is not to be seen at all.
        if let Some((path, optional)) = below_root(&word.value, root) {
            all.add(path, kind, optional, &word.text());
        }
    }
    (all.view || !all.mounts.is_empty()).then(|| in_order(all.mounts))
}

/// The path below the root that a word names, and whether it need not be there; `None` where it lies outside. As in systemd a path is
/// one of the host's, and with `+` one below the root directory.
pub(super) fn below_root<'a>(value: &'a str, root: Option<&str>) -> Option<(&'a str, bool)> {
    let (path, optional) = value.strip_prefix('-').map_or((value, false), |path| (path, true));
    let path = match (path.strip_prefix('+'), root) {
        (Some(path), _) => path,
        (None, None) => path,
        (None, Some(root)) if path == root => "/",
        (None, Some(root)) => path.strip_prefix(root).filter(|rest| rest.starts_with('/'))?,
    };
    Some((path, optional))
}

fn empty(options: &str, read_only: bool) -> MountKind {
    MountKind::Empty {
        read_only,
        no_programs: false,
        no_suid: true,
        no_devices: true,
        options: options.to_owned(),
    }
}

fn with_options(text: &str) -> MountKind {
    let (mut read_only, mut no_programs, mut no_suid, mut no_devices) = (false, false, false, true);
    let mut options: Vec<&str> = Vec::new();
    for option in text.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" | "rw" => read_only = option == "ro",
            "noexec" | "exec" => no_programs = option == "noexec",
            "nosuid" | "suid" => no_suid = option == "nosuid",
            "nodev" | "dev" => no_devices = option == "nodev",
            other => options.push(other),
        }
    }
    for (name, default) in [("mode=", "mode=0755"), ("size=", "size=10%")] {
        if !options.iter().any(|option| option.starts_with(name)) {
            options.push(default);
        }
    }
    MountKind::Empty { read_only, no_programs, no_suid, no_devices, options: options.join(",") }
}

struct Plan {
    mounts: Vec<Mount>,
    view: bool,
}

impl Plan {
    fn add(&mut self, path: &str, kind: MountKind, optional: bool, because: &str) {
        self.mounts.push(Mount { path: clean(path), kind, optional, because: because.to_owned() });
    }
}

//! What `portreeve check` says of sandboxes: those that could not be put on here, so that no client would be served. Looks at the paths as
//! whoever calls; what is there by the time of a start is another matter.

use crate::finding::Finding;
use portreeve_conf::{
    Action, Mount, MountKind, Reading, Sandbox, Service, Severity, Shown, Users, cover_of, executes,
    in_order, shown, without_links,
};
use portreeve_sys::sandbox::path_in;
use std::fs::read_link;
use std::io::ErrorKind;
use std::path::Path;

/// What this kernel can do.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// It can give a program a view of the file system.
    pub views: bool,
    /// It makes user namespaces.
    pub users: bool,
    /// The controllers of control groups, version 2; `None` where there are no such groups.
    pub controllers: Option<String>,
}

impl Kernel {
    /// The one that runs.
    pub fn running() -> Self {
        Self {
            views: portreeve_sys::sandbox::kernel_has_views(),
            users: portreeve_sys::user_namespace::are_made(),
            controllers: portreeve_sys::cgroup::controllers(),
        }
    }
}

/// All there is to say, in the order of the services.
pub fn findings(reading: &Reading, kernel: &Kernel) -> Vec<Finding> {
    let confined = reading.services.iter().filter_map(|service| Some((service, service.sandbox.as_ref()?)));
    confined
        .flat_map(|(service, sandbox)| {
            let more = of(service, sandbox, kernel.views);
            of_kernel(service, sandbox, kernel).into_iter().chain(more)
        })
        .collect()
}

fn of_kernel(service: &Service, sandbox: &Sandbox, kernel: &Kernel) -> Vec<Finding> {
    let (id, group, mut found) = (&service.id, &sandbox.group, Vec::new());
    if sandbox.users != Users::Outside && !kernel.users {
        let text =
            format!("service `{id}`: this kernel makes no user namespaces, which `PrivateUsers` needs");
        let help = "see /proc/sys/user/max_user_namespaces, or take the setting out";
        found.push(finding(service, sandbox, "sandbox-kernel", text, help));
    }
    let kept = [("devices", group.devices.is_some()), ("addresses", group.addresses.is_some())];
    for (what, _) in kept.iter().filter(|(_, is_said)| *is_said && kernel.controllers.is_none()) {
        let text = format!("service `{id}`: no control groups of version 2 are mounted, which keep {what}");
        found.push(finding(
            service,
            sandbox,
            "sandbox-kernel",
            text,
            "mount cgroup2, or take the settings out",
        ));
    }
    let controllers = kernel.controllers.as_deref().unwrap_or_default();
    for (key, controller, is_said) in group.bounds() {
        if is_said && !controllers.split_ascii_whitespace().any(|known| known == controller) {
            let message = format!(
                "service `{id}`: `{key}` is not kept here: there is no controller `{controller}` of version 2"
            );
            let help = "boot with control groups of version 2 alone, or take the setting out";
            let severity = Severity::Warning;
            let error = finding(service, sandbox, "sandbox-group", String::new(), help);
            found.push(Finding { severity, message, ..error });
        }
    }
    found
}

fn of(service: &Service, sandbox: &Sandbox, views: bool) -> Vec<Finding> {
    let Some(mounts) = &sandbox.mounts else { return Vec::new() };
    let id = &service.id;
    if !views && (!mounts.is_empty() || sandbox.root.is_some()) {
        let text = format!("service `{id}`: this kernel has no mount_setattr(2), which its `sandbox` needs");
        let help = "Linux 5.12 has it; before that take the settings about the file system out";
        return vec![finding(service, sandbox, "sandbox-kernel", text, help)];
    }
    let root = sandbox.root.as_deref();
    if let Some(root) = root.filter(|root| Path::new(root).try_exists().is_ok_and(|exists| !exists)) {
        let text = format!("service `{id}`: `RootDirectory={root}`: there is no `{root}`");
        return vec![finding(service, sandbox, "sandbox-path", text, "make it, or take the setting out")];
    }
    let mounts = Mounts::of(sandbox, mounts);
    let mut found: Vec<Finding> = mounts
        .missing()
        .map(|(mount, path)| {
            let text = format!("service `{id}`: `{}`: there is no `{path}`", mount.because);
            let bind = matches!(mount.kind, MountKind::Bind { .. });
            let help = match bind && path == mount.path {
                true => "make it: on the host and in a root directory nothing is made",
                false => "make it, or write `-` before the path where it need not be there",
            };
            finding(service, sandbox, "sandbox-path", text, help)
        })
        .collect();
    let Action::External { server, .. } = &service.action else { return found };
    let path = mounts.real(server);
    if let Some(mount) = mounts.hides(&path) {
        let text = format!("service `{id}`: `{server}` is not there behind `{}`", mount.because);
        let help = "have the program elsewhere, or take the setting out";
        found.push(finding(service, sandbox, "sandbox-path", text, help));
    } else if let Some(root) = root.filter(|_| mounts.is_gone(&path, false)) {
        let text = format!("service `{id}`: there is no `{server}` below `{root}`");
        let help = "the program, its interpreter and its libraries must be there";
        found.push(finding(service, sandbox, "sandbox-path", text, help));
    } else if let (Shown::Host(place), true) =
        (shown(&mounts.all, &path, false), mounts.is_gone(&path, false))
    {
        let text = format!("service `{id}`: `{server}` is `{place}` of the host, and there is none");
        let help = "have the program there, or take the setting out";
        found.push(finding(service, sandbox, "sandbox-path", text, help));
    }
    if let Err(mount) = executes(&mounts.all, &path) {
        let text = format!("service `{id}`: `{server}` is not executed behind `{}`", mount.because);
        let help = "name it, what interprets it and its libraries in `ExecPaths=`";
        found.push(finding(service, sandbox, "sandbox-path", text, help));
    }
    found
}

/// The steps of a view, their paths as far as links can be told by whoever looks from outside.
struct Mounts<'a> {
    root: Option<&'a str>,
    api: bool,
    all: Vec<Mount>,
}

impl<'a> Mounts<'a> {
    fn of(sandbox: &'a Sandbox, mounts: &[Mount]) -> Self {
        let written = Self { root: sandbox.root.as_deref(), api: sandbox.api, all: mounts.to_vec() };
        let real = |mount: &Mount| Mount { path: written.real(&mount.path), ..mount.clone() };
        let all = in_order(mounts.iter().map(real).collect());
        Self { all, ..written }
    }

    /// A path without links. What lies under a cover leads nowhere.
    fn real(&self, path: &str) -> String {
        let leads = |place: &Path| {
            let there = shown(&self.all, place.to_str()?, true) == Shown::Root;
            let inside = place.strip_prefix("/").unwrap_or(place);
            read_link(Path::new(self.root.unwrap_or("/")).join(inside)).ok().filter(|_| there)
        };
        without_links(path, &leads).unwrap_or_else(|| path.to_owned())
    }

    /// Whether nothing is there. Whoever may not look cannot tell. `inside`: what a step puts at the path itself does not count.
    fn is_gone(&self, path: &str, inside: bool) -> bool {
        let gone = |path: &str| Path::new(path).try_exists().is_ok_and(|exists| !exists);
        match (shown(&self.all, path, inside), self.root) {
            (Shown::Host(place), _) => gone(&place),
            (Shown::New, _) => false,
            (Shown::Root, _) if self.is_given(path) => false,
            (Shown::Root, None) => gone(path),
            (Shown::Root, Some(root)) => path_in(Path::new(root), Path::new(path))
                .is_err_and(|error| error.kind() == ErrorKind::NotFound),
        }
    }

    /// What is put there need not be there before.
    fn is_given(&self, path: &str) -> bool {
        self.api && ["/proc", "/sys", "/dev", "/run"].iter().any(|api| Path::new(path).starts_with(api))
    }

    /// Steps with the path that is missing for them.
    fn missing(&self) -> impl Iterator<Item = (&Mount, &str)> {
        self.all.iter().enumerate().filter_map(|(index, mount)| {
            if let MountKind::Bind { source, .. } = &mount.kind {
                let gone = Path::new(source).try_exists().is_ok_and(|exists| !exists);
                return match (gone, mount.optional) {
                    (true, true) => None,
                    (true, false) => Some((mount, source.as_str())),
                    (false, _) => self.is_gone(&mount.path, true).then_some((mount, mount.path.as_str())),
                };
            }
            let cover = cover_of(&self.all, index).and_then(|cover| self.all.get(cover));
            let empty = |mount: &Mount| matches!(mount.kind, MountKind::Empty { .. });
            // In a new file system there is what other steps lie over.
            let made = |other: &Mount| Path::new(&other.path).starts_with(&mount.path) && makes(other);
            let gone = match cover.is_some_and(empty) {
                true => !self.all.iter().any(made),
                false => self.is_gone(&mount.path, true),
            };
            (gone && !mount.optional).then_some((mount, mount.path.as_str()))
        })
    }

    /// The step behind which a path is not to be seen.
    fn hides(&self, path: &str) -> Option<&Mount> {
        let covers = |mount: &&Mount| {
            let own = matches!(mount.kind, MountKind::ReadOnly | MountKind::Programs | MountKind::NoPrograms);
            !own && Path::new(path).starts_with(&mount.path)
        };
        let nearest = self.all.iter().rev().find(covers);
        nearest.filter(|mount| !matches!(mount.kind, MountKind::Bind { .. } | MountKind::AsOutside))
    }
}

fn makes(mount: &Mount) -> bool {
    matches!(mount.kind, MountKind::Bind { .. } | MountKind::Empty { .. })
}

fn finding(service: &Service, sandbox: &Sandbox, code: &str, text: String, help: &str) -> Finding {
    let place = sandbox.place.as_ref().unwrap_or(&service.place);
    Finding {
        severity: Severity::Error,
        code: code.to_owned(),
        file: place.file.to_string(),
        line: place.line,
        column: place.column.into(),
        length: place.length.into(),
        message: format!("{text}: no client would be served"),
        help: Some(help.to_owned()),
        source_line: None,
        service: Some(service.id.to_string()),
        classic: None,
        replacement: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;
    use portreeve_conf::Sources;

    fn said(words: &str, views: bool) -> Vec<String> {
        said_of(words, &Kernel { views, users: true, controllers: Some("memory pids".to_owned()) })
    }

    fn said_of(words: &str, kernel: &Kernel) -> Vec<String> {
        let name = format!("portreeve-confinement-{}-{:?}", std::process::id(), std::thread::current().id());
        let file = std::env::temp_dir().join(name);
        let entry = format!(
            "service a\n{{\n\ttype = UNLISTED\n\tport = 20601\n\tsocket_type = stream\n\tprotocol = tcp\n\twait = no\n\
             \tuser = root\n\tserver = /bin/sh\n\tsandbox = {words}\n}}\n"
        );
        std::fs::write(&file, entry).unwrap();
        let reading = portreeve_conf::read_sources(&Machine, &Sources::xinetd(&file));
        std::fs::remove_file(&file).unwrap();
        assert_eq!(reading.services.len(), 1, "{:#?}", reading.diagnostics);
        let found = findings(&reading, kernel);
        let warns = |finding: &Finding| finding.code == "sandbox-group";
        assert!(found.iter().all(|f| f.line == 10 && (f.severity == Severity::Warning) == warns(f)));
        found.into_iter().map(|finding| format!("{}: {}", finding.code, finding.message)).collect()
    }

    #[test]
    fn what_would_keep_everybody_out_is_said() {
        assert_eq!(
            said("ProtectSystem=strict ReadOnlyPaths=-/no/such PrivateTmp", true),
            Vec::<String>::new()
        );
        let missing = "sandbox-path: service `a`: `ReadOnlyPaths=/no/such`: there is no `/no/such`: no client would be served";
        assert_eq!(said("ReadOnlyPaths=/no/such", true), [missing]);
        let gone = "sandbox-path: service `a`: `/bin/sh` is not there behind `InaccessiblePaths=/bin`: no client would be served";
        assert_eq!(said("InaccessiblePaths=/bin", true), [gone]);
        let gone = "sandbox-path: service `a`: `/bin/sh` is not executed behind `NoExecPaths=/`: no client would be served";
        assert_eq!(said("NoExecPaths=/ ExecPaths=/var", true), [gone]);
        let kernel = "sandbox-kernel: service `a`: this kernel has no mount_setattr(2), which its `sandbox` needs: no client would be served";
        assert_eq!(said("ProtectSystem", false), [kernel]);
        assert_eq!(said("NoNewPrivileges", false), Vec::<String>::new());
    }

    #[test]
    fn what_is_bound_is_looked_for_on_both_sides() {
        let nothing = Vec::<String>::new();
        for words in [
            "BindPaths=/usr:/mnt BindReadOnlyPaths=-/no/such:/no/where",
            "TemporaryFileSystem=/var BindPaths=/etc:/var/new/etc ReadOnlyPaths=/var/new TemporaryFileSystem=/var/x",
            "NoExecPaths=/ ExecPaths=/bin ExecPaths=/usr",
            "TemporaryFileSystem=/usr BindReadOnlyPaths=/usr/bin",
            "BindReadOnlyPaths=/usr/lib:/mnt ReadOnlyPaths=/mnt/os-release",
        ] {
            assert_eq!(said(words, true), nothing, "{words}");
        }
        for (words, wanted) in [
            ("BindPaths=/no/such:/mnt", "`BindPaths=/no/such:/mnt`: there is no `/no/such`"),
            ("BindPaths=/etc:/no/such", "`BindPaths=/etc:/no/such`: there is no `/no/such`"),
            ("BindPaths=-/etc:/no/such", "`BindPaths=-/etc:/no/such`: there is no `/no/such`"),
            (
                "TemporaryFileSystem=/var BindPaths=/etc:/var/a BindPaths=/etc:/var/a/b",
                "`BindPaths=/etc:/var/a/b`: there is no `/var/a/b`",
            ),
            (
                "TemporaryFileSystem=/var ReadOnlyPaths=/var/lib",
                "`ReadOnlyPaths=/var/lib`: there is no `/var/lib`",
            ),
            ("BindPaths=/etc:/usr", "`/bin/sh` is `/etc/bin/"),
        ] {
            let said = said(words, true);
            let start = format!("sandbox-path: service `a`: {wanted}");
            assert!(said.len() == 1 && said[0].starts_with(&start), "{words}: {said:#?}");
        }
    }

    #[test]
    fn what_the_kernel_lacks_is_said() {
        let words = "PrivateUsers DevicePolicy=closed MemoryMax=1G TasksMax=5";
        assert_eq!(said(words, true), Vec::<String>::new());
        let shares = "CPUQuota=20% CPUWeight=idle IOWeight=5";
        let lacks = |key, controller| {
            format!(
                "sandbox-group: service `a`: `{key}` is not kept here: there is no controller `{controller}` of version 2"
            )
        };
        let wanted = [lacks("CPUQuota", "cpu"), lacks("CPUWeight", "cpu"), lacks("IOWeight", "io")];
        assert_eq!(said(shares, true), wanted);
        let poor = Kernel { views: true, users: false, controllers: None };
        let no_groups = "sandbox-kernel: service `a`: no control groups of version 2 are mounted, which keep addresses: no client would be served";
        assert_eq!(said("IPAddressDeny=any", true), Vec::<String>::new());
        assert_eq!(said_of("IPAddressDeny=any", &poor), [no_groups]);
        assert_eq!(
            said_of(words, &poor),
            [
                "sandbox-kernel: service `a`: this kernel makes no user namespaces, which `PrivateUsers` needs: no client would be served",
                "sandbox-kernel: service `a`: no control groups of version 2 are mounted, which keep devices: no client would be served",
                "sandbox-group: service `a`: `MemoryMax` is not kept here: there is no controller `memory` of version 2",
                "sandbox-group: service `a`: `TasksMax` is not kept here: there is no controller `pids` of version 2",
            ]
        );
        let without = Kernel { views: true, users: true, controllers: Some("cpu pids".to_owned()) };
        assert_eq!(said_of(words, &without).len(), 1);
    }
}

//! Where a process belongs: its systemd unit and its container, read from the names of its control group. Pure.

/// Unit and container of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Home {
    /// The outermost unit, as `ssh.service`: the one that the system's manager knows. What is below it may be named by whoever runs there.
    pub unit: Option<String>,
    /// The container that it runs in.
    pub container: Option<Container>,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Who runs it, as its control group is named: `docker`, `podman`, `containerd`, `cri-o`, `lxc`, `nspawn`, `container`.
    pub runtime: &'static str,
    /// Its name, or the first twelve characters of its number.
    pub name: String,
}

/// Prefixes of the last word of a group, and whose they are.
const SCOPES: [(&str, &str); 5] = [
    ("docker-", "docker"),
    ("libpod-", "podman"),
    ("cri-containerd-", "containerd"),
    ("crio-", "cri-o"),
    ("machine-", "nspawn"),
];

/// What `/proc/PID/cgroup` says. The unified hierarchy counts, else systemd's own.
pub fn home(text: &str) -> Home {
    let path = |wanted: fn(&str, &str) -> bool| {
        text.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
            (wanted(number, controllers) && path != "/").then_some(path)
        })
    };
    let unified = path(|number, controllers| number == "0" && controllers.is_empty());
    let Some(path) = unified.or_else(|| path(|_, controllers| controllers == "name=systemd")) else {
        return Home::default();
    };
    let mut home = Home::default();
    let words: Vec<_> = path.split('/').filter(|word| !word.is_empty()).collect();
    for (at, word) in words.iter().enumerate() {
        home.container = container(word, at.checked_sub(1).and_then(|before| words.get(before)).copied());
        if home.container.is_some() {
            break;
        }
        if home.unit.is_none() && is_unit(word) {
            home.unit = Some((*word).to_owned());
        }
    }
    home
}

fn is_unit(word: &str) -> bool {
    [".service", ".scope", ".socket", ".mount", ".swap"]
        .iter()
        .any(|end| word.ends_with(end) && word.len() > end.len())
}

fn container(word: &str, before: Option<&str>) -> Option<Container> {
    let short = |name: &str| name.chars().take(12).collect();
    if let Some(scope) = word.strip_suffix(".scope") {
        for (prefix, runtime) in SCOPES {
            let Some(name) = scope.strip_prefix(prefix).filter(|name| !name.is_empty()) else { continue };
            if is_number(name) {
                return Some(Container { runtime, name: short(name) });
            }
            if runtime == "nspawn" {
                return Some(Container { runtime, name: name.to_owned() });
            }
        }
    }
    if let Some(name) = word.strip_prefix("lxc.payload.").filter(|name| !name.is_empty()) {
        return Some(Container { runtime: "lxc", name: name.to_owned() });
    }
    if before == Some("lxc") {
        return Some(Container { runtime: "lxc", name: word.to_owned() });
    }
    if is_number(word) {
        let runtime = if before == Some("docker") { "docker" } else { "container" };
        return Some(Container { runtime, name: short(word) });
    }
    None
}

/// The 64 hexadecimal digits that runtimes give their containers.
fn is_number(word: &str) -> bool {
    word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_and_containers() {
        let id = "0123456789abcdef".repeat(4);
        let of = |path: &str| home(&format!("0::{path}\n"));
        let shown = |home: Home| {
            let container = home.container.map(|c| format!("{} {}", c.runtime, c.name));
            (home.unit.unwrap_or_default(), container.unwrap_or_default())
        };
        for (path, unit, container) in [
            ("/system.slice/ssh.service".to_owned(), "ssh.service", ""),
            ("/".to_owned(), "", ""),
            ("/user.slice/user-0.slice/session-3.scope".to_owned(), "session-3.scope", ""),
            (format!("/system.slice/docker-{id}.scope/init"), "", "docker 0123456789ab"),
            (format!("/docker/{id}"), "", "docker 0123456789ab"),
            (format!("/machine.slice/libpod-{id}.scope/container"), "", "podman 0123456789ab"),
            (
                format!("/kubepods.slice/kubepods-pod1.slice/cri-containerd-{id}.scope"),
                "",
                "containerd 0123456789ab",
            ),
            (format!("/kubepods/besteffort/pod1/{id}"), "", "container 0123456789ab"),
            ("/lxc.payload.web/system.slice/nginx.service".to_owned(), "", "lxc web"),
            ("/machine.slice/machine-deb.scope/payload".to_owned(), "", "nspawn deb"),
            ("/system.slice/x.service/docker-12.scope".to_owned(), "x.service", ""),
            // A user's own manager, or a service with a tree of its own, may name its groups as it likes.
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/ssh.service".to_owned(),
                "user@1000.service",
                "",
            ),
            ("/system.slice/own.service/ssh.service".to_owned(), "own.service", ""),
        ] {
            assert_eq!(shown(of(&path)), (unit.to_owned(), container.to_owned()), "{path}");
        }
        let old = "12:pids:/x\n1:name=systemd:/system.slice/cron.service\n0::/\n";
        assert_eq!(home(old).unit.as_deref(), Some("cron.service"));
        for odd in ["", "\n\n", "0", "0:", "0::", "::::", "0::/.service"] {
            assert_eq!(home(odd), Home::default(), "{odd:?}");
        }
    }
}

//! The view of a sandbox in the form in which `sys` puts it on: each path as it is without links, and which step makes what another lies
//! over. Looks at links and at nothing else; what is there by the time of a start shows then.

use portreeve_conf::{Mount, MountKind, Sandbox, Shown, cover_of, in_order, shown, without_links};
use portreeve_sys::sandbox as sys;
use std::ffi::CString;
use std::fs::read_link;
use std::path::Path;

/// How often paths are looked at again since what covers them was a link itself. What has not settled then starts nothing: a link is left.
const ROUNDS: usize = 8;

/// What there is to be put on.
#[derive(Debug, Default)]
pub struct View {
    pub root: Option<sys::Root>,
    pub mounts: Option<Vec<sys::Mount>>,
    /// Names that led to the paths of those.
    pub links: Vec<sys::Link>,
    /// Names that led to sources.
    pub sources: Vec<sys::Link>,
}

pub fn prepare(sandbox: &Sandbox) -> View {
    let written = sandbox.root.as_deref();
    let mut root = written.map(|written| {
        let path = outside(written);
        let link = (path != written).then(|| link(written, &path));
        sys::Root { path: text(&path), link, api: sandbox.api, points: Vec::new() }
    });
    let Some(mounts) = &sandbox.mounts else { return View { root, ..View::default() } };
    let (mut links, mut sources) = (Vec::new(), Vec::new());
    let mounts: Vec<Mount> = mounts.iter().map(|mount| from_source(mount, &mut sources)).collect();
    let mounts = resolved(written.unwrap_or_default(), &mounts, &mut links);
    let devices = mounts.iter().any(|mount| mount.kind == MountKind::Devices);
    // Where a control group keeps devices a node may lie anywhere.
    let no_devices = devices && sandbox.group.devices.is_none();
    let index = |(index, mount)| made(&mounts, index, mount, no_devices);
    let mut made: Vec<sys::Mount> = mounts.iter().enumerate().map(index).collect();
    for (index, mount) in mounts.iter().enumerate() {
        let (points, below) = match cover_of(&mounts, index) {
            _ if !matches!(mount.kind, MountKind::Bind { .. } | MountKind::Empty { .. }) => continue,
            Some(cover) => match (mounts.get(cover), made.get_mut(cover)) {
                (Some(cover), Some(made)) if is_new(cover, &mount.path) => {
                    (&mut made.points, cover.path.as_str())
                }
                _ => continue,
            },
            None => match &mut root {
                Some(root) if root.api => (&mut root.points, "/run"),
                _ => continue,
            },
        };
        let below = mount.path.strip_prefix(below).and_then(|rest| rest.strip_prefix('/'));
        points.extend(below.and_then(|below| sys::Point::new(index, below)));
    }
    View { root, mounts: Some(made), links, sources }
}

/// Whether a step makes a file system in which this path can be made.
fn is_new(cover: &Mount, path: &str) -> bool {
    match cover.kind {
        MountKind::Empty { .. } => true,
        MountKind::Devices => !sys::is_kept(path),
        _ => false,
    }
}

/// The same with a source without links; one that was a name is told.
fn from_source(mount: &Mount, names: &mut Vec<sys::Link>) -> Mount {
    let mut mount = mount.clone();
    if let MountKind::Bind { source, .. } = &mut mount.kind {
        let path = outside(source);
        if path != *source {
            names.push(link(source, &path));
            *source = path;
        }
    }
    mount
}

/// A place of the host.
fn outside(written: &str) -> String {
    without_links(written, &|place| read_link(place).ok()).unwrap_or_else(|| written.to_owned())
}

/// Each path as it is without links: a link into what another step covers, or uncovers, would undo that step. And the links, so that
/// none of them leads elsewhere by the time of a start. What lies under a cover leads nowhere.
fn resolved(root: &str, mounts: &[Mount], links: &mut Vec<sys::Link>) -> Vec<Mount> {
    let mut known = in_order(mounts.to_vec());
    let mut paths: Vec<String> = Vec::new();
    for _ in 0..ROUNDS {
        let leads = |place: &Path| {
            let covered = place.to_str().is_none_or(|place| match shown(&known, place, true) {
                Shown::Root => false,
                // What is bound where it is leads where it led.
                Shown::Host(source) => !root.is_empty() || source != place,
                Shown::New => true,
            });
            let inside = place.strip_prefix("/").unwrap_or(place);
            let place = if root.is_empty() { place.to_owned() } else { Path::new(root).join(inside) };
            if covered { None } else { read_link(place).ok() }
        };
        let found = |mount: &Mount| without_links(&mount.path, &leads).unwrap_or_else(|| mount.path.clone());
        paths = mounts.iter().map(found).collect();
        let moved = |(mount, path): (&Mount, &String)| Mount { path: path.clone(), ..mount.clone() };
        let next = in_order(mounts.iter().zip(&paths).map(moved).collect());
        let covers = |mounts: &[Mount]| -> Vec<String> {
            mounts
                .iter()
                .filter(|mount| mount.kind != MountKind::ReadOnly)
                .map(|mount| mount.path.clone())
                .collect()
        };
        let settled = covers(&next) == covers(&known);
        known = next;
        if settled {
            break;
        }
    }
    let names = mounts.iter().zip(&paths).filter(|(mount, path)| mount.path != **path);
    links.extend(names.map(|(mount, path)| link(&mount.path, path)));
    known
}

fn link(name: &str, path: &str) -> sys::Link {
    sys::Link { name: text(name), path: text(path) }
}

fn text(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

fn made(mounts: &[Mount], index: usize, mount: &Mount, no_devices: bool) -> sys::Mount {
    let before = mounts.get(..index).unwrap_or_default();
    let above = shown(before, &mount.path, true);
    let bind = |source: &str, read_only, recursive| {
        let source = text(source);
        sys::MountKind::Bind { source, read_only, recursive, no_devices }
    };
    let kind = match (&mount.kind, &above) {
        (MountKind::ReadOnly, _) => sys::MountKind::ReadOnly,
        // In what is bound that is the source's; a link of whoever may write there leads nowhere.
        (MountKind::AsOutside, Shown::Host(source)) => bind(source, false, true),
        (MountKind::AsOutside, _) => sys::MountKind::AsOutside,
        (MountKind::Inaccessible, _) => sys::MountKind::Inaccessible,
        (MountKind::Devices, _) => sys::MountKind::Devices,
        (MountKind::Programs, _) => sys::MountKind::Programs(true),
        (MountKind::NoPrograms, _) => sys::MountKind::Programs(false),
        (MountKind::Processes(options), _) => sys::MountKind::Processes(text(options)),
        (MountKind::Bind { source, read_only, recursive }, _) => bind(source, *read_only, *recursive),
        (MountKind::Empty { read_only, no_programs, no_suid, no_devices, options }, _) => {
            let flags = [
                (*read_only, sys::READ_ONLY),
                (*no_suid, sys::NO_SUID),
                (*no_devices, sys::NO_DEVICES),
                (*no_programs, sys::NO_PROGRAMS),
            ];
            let flags = flags.iter().filter(|(on, _)| *on).fold(0, |all, (_, flag)| all | flag);
            sys::MountKind::Empty { flags, options: text(options) }
        }
    };
    let mut made = sys::Mount::new(text(&mount.path), kind, mount.optional, mount.because.clone());
    made.in_bind = matches!(above, Shown::Host(_));
    made
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::tests::nothing;
    use std::os::unix::fs::symlink;

    /// A directory of its own with these links in it, without links.
    fn place(name: &str, links: &[(&str, &str)]) -> String {
        let here = std::env::temp_dir().join(format!("portreeve-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&here);
        std::fs::create_dir_all(here.join("a/b")).unwrap();
        let here = std::fs::canonicalize(here).unwrap();
        for (target, name) in links {
            symlink(target, here.join(name)).unwrap();
        }
        here.into_os_string().into_string().unwrap()
    }

    fn path(root: &str, path: &str) -> Option<String> {
        let step = Mount {
            path: path.to_owned(),
            kind: MountKind::ReadOnly,
            optional: false,
            because: String::new(),
        };
        let mut links = Vec::new();
        let found = resolved(root, &[step], &mut links).remove(0).path;
        assert_eq!(links.len(), usize::from(found != path));
        Some(found)
    }

    #[test]
    fn a_place_is_found_through_links_and_beyond_what_is_there() {
        let here = place(
            "links",
            &[
                ("a/b", "inner"),
                ("inner/../b", "round"),
                ("/no/such", "dangling"),
                ("two", "one"),
                ("one", "two"),
                ("../a", "a/self"),
            ],
        );
        for (name, wanted) in [
            ("/a/b", Some(format!("{here}/a/b"))),
            ("/inner", Some(format!("{here}/a/b"))),
            ("/round/x/y", Some(format!("{here}/a/b/x/y"))),
            ("/a/self/self/b", Some(format!("{here}/a/b"))),
            ("/not/there", Some(format!("{here}/not/there"))),
            ("/dangling/x", Some("/no/such/x".to_owned())),
            // It stays as it is, and starts nothing.
            ("/one", Some(format!("{here}/one"))),
        ] {
            assert_eq!(path("", &format!("{here}{name}")), wanted, "{name}");
        }
        assert_eq!(path("", "/"), Some("/".to_owned()));
        // Below a root of its own a link leads below it, and no way leads above.
        for (name, wanted) in
            [("/dangling/x", "/no/such/x"), ("/inner", "/a/b"), ("/a/self/../../../inner/x", "/a/b/x")]
        {
            assert_eq!(path(&here, name).as_deref(), Some(wanted), "{name}");
        }
        std::fs::remove_dir_all(here).unwrap();
    }

    fn step(path: &str, kind: MountKind) -> Mount {
        Mount { path: path.to_owned(), kind, optional: false, because: path.to_owned() }
    }

    fn bind(source: &str) -> MountKind {
        MountKind::Bind { source: source.to_owned(), read_only: true, recursive: true }
    }

    fn empty() -> MountKind {
        MountKind::Empty {
            read_only: true,
            no_programs: false,
            no_suid: false,
            no_devices: true,
            options: String::new(),
        }
    }

    fn points(points: &[sys::Point]) -> Vec<(usize, &str)> {
        points.iter().map(|point| (point.step, point.path.to_str().unwrap())).collect()
    }

    #[test]
    fn what_is_bound_is_made_in_what_is_new_alone() {
        let mounts = in_order(vec![
            step("/dev", MountKind::Devices),
            step("/dev/net/tun", bind("/s")),
            step("/dev/shm/x", bind("/s")),
            step("/mnt", bind("/s")),
            step("/mnt/new", bind("/s")),
            step("/run/a/b", bind("/s")),
            step("/v", empty()),
            step("/v/a/b", bind("/s")),
            step("/v/a/b/c", empty()),
            step("/v/a/b/d", bind("/s")),
            step("/v/in", empty()),
            step("/v/in/e", bind("/s")),
            step("/v/in", MountKind::ReadOnly),
        ]);
        let index = |path: &str| mounts.iter().position(|mount| mount.path == path).unwrap();
        let mut sandbox = Sandbox { mounts: Some(mounts.clone()), ..nothing() };
        let view = prepare(&sandbox);
        let made = view.mounts.unwrap();
        let of = |path: &str| points(&made[index(path)].points);
        assert_eq!(of("/dev"), [(index("/dev/net/tun"), "net/tun")]);
        assert_eq!(of("/v"), [(index("/v/a/b"), "a/b"), (index("/v/in"), "in")]);
        assert_eq!(of("/v/in"), [(index("/v/in/e"), "e")]);
        assert_eq!((of("/mnt"), of("/v/a/b")), (vec![], vec![]));
        assert!(view.root.is_none() && view.links.is_empty());
        (sandbox.root, sandbox.api) = (Some("/no/such/root".to_owned()), true);
        let view = prepare(&sandbox);
        assert_eq!(points(&view.root.unwrap().points), [(index("/run/a/b"), "a/b")]);
        sandbox.api = false;
        assert!(prepare(&sandbox).root.unwrap().points.is_empty());
    }

    /// What lies in a bind is what its source has there; no link leads from there.
    #[test]
    fn below_a_bind_the_source_counts() {
        let here = place("binds", &[("a", "source"), ("/etc", "a/evil"), ("b", "place"), ("a", "cover")]);
        std::fs::create_dir_all(format!("{here}/b/evil")).unwrap();
        let at = |rest: &str| format!("{here}/{rest}");
        let mounts = in_order(vec![
            step(&at("place"), bind(&at("source"))),
            step(&at("place/data"), MountKind::AsOutside),
            step(&at("place/evil/x"), MountKind::AsOutside),
            step(&at("place/secret"), MountKind::Inaccessible),
            step(&at("cover"), empty()),
            step(&at("cover/evil"), bind("/s")),
        ]);
        let sandbox = Sandbox { mounts: Some(mounts), ..nothing() };
        let view = prepare(&sandbox);
        let made = view.mounts.unwrap();
        let told: Vec<String> = made
            .iter()
            .map(|mount| match &mount.kind {
                sys::MountKind::Bind { source, read_only, .. } => {
                    format!("{} {} {read_only}", mount.because, source.to_str().unwrap())
                }
                other => format!(
                    "{} {} {}",
                    mount.because,
                    mount.in_bind,
                    matches!(other, sys::MountKind::Empty { .. })
                ),
            })
            .map(|text| text.replace(&here, ""))
            .collect();
        assert_eq!(
            told,
            [
                "/cover false true",
                "/cover/evil /s true",
                "/place /a true",
                "/place/data /a/data false",
                "/place/evil/x /a/evil/x false",
                "/place/secret true false",
            ]
        );
        assert_eq!(points(&made[0].points), [(1, "evil")]);
        let name = |link: &sys::Link| link.name.to_str().unwrap().replace(&here, "");
        assert_eq!(view.sources.iter().map(name).collect::<Vec<_>>(), ["/source"]);
        let mut names: Vec<String> = view.links.iter().map(name).collect();
        names.sort_unstable();
        let wanted = ["/cover", "/cover/evil", "/place", "/place/data", "/place/evil/x", "/place/secret"];
        assert_eq!(names, wanted);
        std::fs::remove_dir_all(here).unwrap();
    }
}

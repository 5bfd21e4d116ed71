//! The order of the steps of a view: shallower before deeper, so that what lies deeper stands; and what is seen at a path then. Who lifts
//! what comes last, since it is about what all others have put there. Touches no file.

use super::mounts::{Mount, MountKind};

/// Whether `path` is `above` or lies below it. Both are clean.
fn within(path: &str, above: &str) -> bool {
    let rest = path.strip_prefix(above);
    above == "/" || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Of one path the lesser comes first. Norbind before rbind, as in systemd.
fn rank(kind: &MountKind) -> u8 {
    match kind {
        MountKind::Inaccessible => 0,
        MountKind::Empty { .. } => 1,
        MountKind::Devices => 2,
        MountKind::Processes(_) => 3,
        MountKind::Bind { recursive, .. } => 4 + u8::from(*recursive),
        MountKind::ReadOnly => 6,
        MountKind::AsOutside => 7,
        MountKind::NoPrograms => 8,
        MountKind::Programs => 9,
    }
}

fn sort(mounts: &mut [Mount]) {
    let order = |a: &Mount, b: &Mount| a.path.split('/').cmp(b.path.split('/'));
    mounts.sort_by(|a, b| order(a, b).then(rank(&a.kind).cmp(&rank(&b.kind))));
}

/// Shallower before deeper; of one path what allows least; nothing below what is inaccessible; where programs are executed, behind all
/// others. Once more where links are resolved: two names of one place must not stand beside each other.
pub fn in_order(mounts: Vec<Mount>) -> Vec<Mount> {
    let of_programs = |mount: &Mount| matches!(mount.kind, MountKind::NoPrograms | MountKind::Programs);
    let (of_programs, mut mounts): (Vec<Mount>, Vec<Mount>) = mounts.into_iter().partition(of_programs);
    sort(&mut mounts);
    let mut kept: Vec<Mount> = Vec::new();
    for mut mount in mounts {
        if let Some(first) = kept.last_mut().filter(|first| first.path == mount.path) {
            if first.joins(&mut mount) {
                continue;
            }
        } else if again(&mount, &kept) || is_hidden(&mount.path, &kept) {
            continue;
        }
        kept.push(mount);
    }
    let rights = executed(of_programs, &kept);
    kept.extend(rights);
    kept
}

fn is_hidden(path: &str, kept: &[Mount]) -> bool {
    kept.iter().any(|other| other.kind == MountKind::Inaccessible && within(path, &other.path))
}

/// What is read-only is so with all below it; what need not be there is not missed. The same of what has no programs, and of what has.
fn again(mount: &Mount, kept: &[Mount]) -> bool {
    let around = kept.iter().rev().find(|other| within(&mount.path, &other.path));
    let alike = matches!(mount.kind, MountKind::ReadOnly | MountKind::NoPrograms | MountKind::Programs);
    mount.optional && alike && around.is_some_and(|other| other.kind == mount.kind)
}

/// Where programs are executed and where not: the deeper path counts, of one path the one that forbids.
fn executed(mut steps: Vec<Mount>, view: &[Mount]) -> Vec<Mount> {
    if steps.iter().any(|step| step.kind == MountKind::Programs) {
        // What is lifted above them does not lift what these were mounted with.
        let without = |mount: &&Mount| {
            matches!(
                mount.kind,
                MountKind::Empty { no_programs: true, .. } | MountKind::Devices | MountKind::Processes(_)
            )
        };
        let again = |mount: &Mount| Mount { kind: MountKind::NoPrograms, optional: true, ..mount.clone() };
        steps.extend(view.iter().filter(without).map(again));
    }
    sort(&mut steps);
    let mut kept: Vec<Mount> = Vec::new();
    for mut step in steps {
        if let Some(first) = kept.last_mut().filter(|first| first.path == step.path) {
            first.joins(&mut step);
        } else if !again(&step, &kept) && !is_hidden(&step.path, view) {
            kept.push(step);
        }
    }
    kept
}

impl Mount {
    /// Whether this, which allows less, is also what another step of the same path asks for; false where the other is to be carried out
    /// after it: something new there may be read-only as well.
    fn joins(&mut self, other: &mut Self) -> bool {
        match (&mut self.kind, &mut other.kind) {
            (MountKind::Devices | MountKind::Processes(_), MountKind::Bind { .. })
            | (
                MountKind::Empty { .. }
                | MountKind::Devices
                | MountKind::Processes(_)
                | MountKind::Bind { .. },
                MountKind::ReadOnly,
            ) => {
                return false;
            }
            (MountKind::Empty { read_only: empty, .. }, MountKind::Bind { read_only, .. }) => {
                *read_only |= *empty;
                return false;
            }
            // The first one counts, and whether its source may be missing.
            (MountKind::Bind { read_only, .. }, MountKind::Bind { read_only: other, .. }) => {
                *read_only |= *other;
                return true;
            }
            (MountKind::Bind { .. }, _) => return true,
            (
                MountKind::Empty { read_only, no_programs, no_suid, no_devices, options },
                MountKind::Empty { read_only: r, no_programs: p, no_suid: s, no_devices: d, options: later },
            ) => {
                *read_only |= *r;
                *no_programs |= *p;
                *no_suid |= *s;
                *no_devices |= *d;
                // What was said of this path stands behind what a switch brings.
                options.clone_from(later);
            }
            _ => {}
        }
        // That of a bind is about its source, which lies elsewhere.
        if self.optional && !other.optional && !matches!(other.kind, MountKind::Bind { .. }) {
            self.optional = false;
            self.because.clone_from(&other.because);
        }
        true
    }
}

/// What is seen at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// What the root has there.
    Root,
    /// This place of the host.
    Host(String),
    /// Something that was made for the program, or nothing.
    New,
}

fn covers(kind: &MountKind) -> bool {
    !matches!(kind, MountKind::ReadOnly | MountKind::NoPrograms | MountKind::Programs)
}

/// The step, of an ordered list, that says what is there before this one: the nearest above it that puts something there.
pub fn cover_of(mounts: &[Mount], index: usize) -> Option<usize> {
    let path = &mounts.get(index)?.path;
    let above = |other: &Mount| covers(&other.kind) && other.path != *path && within(path, &other.path);
    mounts.iter().take(index).rposition(above)
}

/// What is seen at a path of an ordered list. `inside`: a step at the path itself does not count.
pub fn shown(mounts: &[Mount], path: &str, inside: bool) -> Shown {
    let there = |other: &&Mount| {
        // What stays as outside is what the others have put there.
        let puts = covers(&other.kind) && other.kind != MountKind::AsOutside;
        puts && within(path, &other.path) && !(inside && other.path == path)
    };
    match mounts.iter().rev().find(there).map(|step| (&step.kind, &step.path)) {
        None => Shown::Root,
        Some((MountKind::Bind { source, .. }, at)) => Shown::Host(below(source, path, at)),
        Some(_) => Shown::New,
    }
}

/// What lies below `source` as `path` lies below `above`.
fn below(source: &str, path: &str, above: &str) -> String {
    let rest = path.strip_prefix(above).unwrap_or_default().trim_start_matches('/');
    super::key::clean(&format!("{source}/{rest}"))
}

/// The step that keeps programs at a path from being executed, of an ordered list.
pub fn executes<'a>(mounts: &'a [Mount], path: &str) -> Result<(), &'a Mount> {
    let about = |step: &&Mount| matches!(step.kind, MountKind::NoPrograms | MountKind::Programs);
    let nearest = mounts.iter().rev().filter(about).find(|step| within(path, &step.path));
    nearest.filter(|step| step.kind == MountKind::NoPrograms).map_or(Ok(()), Err)
}

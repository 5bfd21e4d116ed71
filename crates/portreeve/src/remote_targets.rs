//! Unix sockets that `redirect` leads to and that lie where looking up a path may wait for another machine or program. Decides by the table of
//! mounts: a look at the path itself would wait as well.

use crate::finding::Finding;
use portreeve_conf::{Action, Reading, Severity, Target};
use std::path::Path;

/// Kinds of filesystems behind which somebody else answers.
const REMOTE: [&str; 14] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "afs",
    "ceph",
    "glusterfs",
    "lustre",
    "gfs2",
    "ocfs2",
    "virtiofs",
    "autofs",
];

/// What there is to say, given the text of /proc/self/mountinfo.
pub fn findings(reading: &Reading, mounts: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for service in &reading.services {
        let Action::Redirect(targets) = &service.action else { continue };
        for target in targets {
            let Target::Path(path) = target else { continue };
            let Some(kind) = kind_of(mounts, Path::new(path)).filter(|kind| is_remote(kind)) else {
                continue;
            };
            found.push(Finding {
                severity: Severity::Warning,
                code: "remote-target".to_owned(),
                file: service.place.file.to_string(),
                line: service.place.line,
                column: service.place.column.into(),
                length: service.place.length.into(),
                message: format!(
                    "service {}: its target {path} lies on a filesystem of type {kind}: while that does not answer, its clients wait in vain",
                    service.id
                ),
                help: Some("put the socket on a local filesystem, such as /run".to_owned()),
                source_line: None,
                service: Some(service.id.to_string()),
                classic: None,
                replacement: None,
            });
        }
    }
    found
}

fn is_remote(kind: &str) -> bool {
    REMOTE.contains(&kind) || kind == "fuse" || kind.starts_with("fuse.")
}

/// The type of the filesystem in which a path lies: that of the longest mount point above it, the last one where there are several.
fn kind_of<'a>(mounts: &'a str, path: &Path) -> Option<&'a str> {
    let mut best: Option<(usize, &str)> = None;
    for line in mounts.lines() {
        let Some((head, tail)) = line.split_once(" - ") else { continue };
        let (Some(point), Some(kind)) = (head.split(' ').nth(4), tail.split(' ').next()) else { continue };
        let point = unescaped(point);
        if path.starts_with(&point) && best.is_none_or(|(length, _)| point.len() >= length) {
            best = Some((point.len(), kind));
        }
    }
    best.map(|(_, kind)| kind)
}

/// Blanks stand as `\040` there.
fn unescaped(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 0:20 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
30 22 0:25 / /run rw,nosuid - tmpfs tmpfs rw
31 22 0:26 / /srv/with\\040blank rw - nfs4 host:/x rw
32 22 0:27 / /mnt/s rw - fuse.sshfs host:/ rw
33 32 0:28 / /mnt/s/local rw - tmpfs tmpfs rw
";

    #[test]
    fn the_longest_mount_point_counts() {
        for (path, kind, remote) in [
            ("/run/x.sock", "tmpfs", false),
            ("/runner/x.sock", "ext4", false),
            ("/srv/with blank/x.sock", "nfs4", true),
            ("/mnt/s/x", "fuse.sshfs", true),
            ("/mnt/s/local/x", "tmpfs", false),
        ] {
            let found = kind_of(MOUNTS, Path::new(path)).unwrap();
            assert_eq!((found, is_remote(found)), (kind, remote), "{path}");
        }
        assert_eq!(kind_of("nonsense\n", Path::new("/x")), None);
    }
}

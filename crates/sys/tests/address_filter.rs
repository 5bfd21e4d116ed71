//! What the kernel says to programs about addresses: to the longest, and to one after the other.

mod skip;

use portreeve_sys::address_filter::{Net, restrict};
use std::os::fd::OwnedFd;

/// A group of version 2 that goes with this.
struct Group(std::path::PathBuf);

impl Group {
    fn new() -> Option<Self> {
        let name = format!("portreeve-sys-addresses-{}", std::process::id());
        let bases = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
        let paths = bases.iter().map(|base| std::path::Path::new(base).join(&name));
        // What is no hierarchy but the folder of some makes a plain one, which goes at once.
        let mut made = paths.filter(|path| std::fs::create_dir(path).is_ok()).map(Self);
        made.find(|made| made.0.join("cgroup.procs").exists())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn the_longest_is_taken_and_each_replaces_the_one_before() {
    let Some(group) = skip::is_root().then(Group::new).flatten() else {
        return skip::skip(skip::Reason::NoControlGroups);
    };
    let dir: OwnedFd = std::fs::File::open(&group.0).unwrap().into();
    let net = |n: u128| -> Net { ((0x2001_0db8_u128 << 96 | n << 1).to_be_bytes().into(), 127) };
    let long: Vec<Net> = (0..512).map(net).collect();
    for (allow, deny) in [(&long[..256], &long[256..]), (&[], &long[..]), (&long[..], &[])] {
        restrict(&dir, allow, deny).unwrap();
    }
    // One group has at most 64 programs.
    for _ in 0..100 {
        restrict(&dir, &[], &long[..1]).unwrap();
    }
}

//! Listening vsock sockets on a kernel that has them and does not list them (vsock_diag): among the sockets that no list has, found by what the
//! processes that hold them show. Looks only.

use crate::holders::Descriptor;
use crate::sockets::{Place, Protocol, Socket};
use portreeve_sys::vsock;
use std::collections::BTreeMap;
use std::path::Path;

/// Those among these descriptors, with who holds them.
pub(crate) fn among(proc: &Path, others: &[Descriptor]) -> Vec<(Socket, Vec<u32>)> {
    let mut by_inode: BTreeMap<u32, Vec<&Descriptor>> = BTreeMap::new();
    for descriptor in others {
        by_inode.entry(descriptor.inode).or_default().push(descriptor);
    }
    let listener = |(inode, all): (u32, Vec<&Descriptor>)| {
        let first = all.first()?;
        if !vsock::is_one(proc, first.pid, first.number) {
            return None;
        }
        let found = vsock::listening(first.pid, first.number, inode).ok()??;
        let place = Place::Vsock(found.context, found.port);
        let socket = Socket { protocol: Protocol::Vsock, place, interface: None, uid: None, inode };
        let mut pids: Vec<u32> = all.iter().map(|one| one.pid).collect();
        pids.sort_unstable();
        pids.dedup();
        Some((socket, pids))
    };
    by_inode.into_iter().filter_map(listener).collect()
}

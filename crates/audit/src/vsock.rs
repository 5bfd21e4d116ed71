//! Listening vsock sockets on a kernel that has them and does not list them (vsock_diag): among the sockets that no list has, found by what the
//! processes that hold them show. Looks only.

use crate::holders::Descriptor;
use crate::sockets::{Place, Protocol, Socket};
use portreeve_sys::sock_diag::Vsock;
use portreeve_sys::vsock;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// What is found.
#[derive(Debug)]
pub(crate) struct Among {
    /// Those that listen, with who holds them.
    pub(crate) listening: Vec<(Socket, Vec<u32>)>,
    /// Sockets of which no holder could be looked at, though one is there.
    pub(crate) not_seen: usize,
}

/// Those among these descriptors.
pub(crate) fn among(proc: &Path, others: &[Descriptor]) -> Among {
    those(others, |one| match vsock::is_one(proc, one.pid, one.number)? {
        true => vsock::listening(one.pid, one.number, one.inode),
        false => Ok(None),
    })
}

/// By what `look` says of a descriptor. One holder may end, or put something else in its place: then another of them shows the same socket.
fn those(others: &[Descriptor], look: impl Fn(&Descriptor) -> io::Result<Option<Vsock>>) -> Among {
    let mut by_inode: BTreeMap<u32, Vec<&Descriptor>> = BTreeMap::new();
    for descriptor in others {
        by_inode.entry(descriptor.inode).or_default().push(descriptor);
    }
    let mut among = Among { listening: Vec::new(), not_seen: 0 };
    for (inode, all) in by_inode {
        let (mut found, mut failed) = (None, false);
        for one in &all {
            match look(one) {
                Ok(Some(socket)) => {
                    found = Some(socket);
                    break;
                }
                Ok(None) => {}
                Err(error) => failed |= !is_gone(&error),
            }
        }
        let Some(found) = found else {
            among.not_seen += usize::from(failed);
            continue;
        };
        let place = Place::Vsock(found.context, found.port);
        let socket = Socket { protocol: Protocol::Vsock, place, interface: None, uid: None, inode };
        let mut pids: Vec<u32> = all.iter().map(|one| one.pid).collect();
        pids.sort_unstable();
        pids.dedup();
        among.listening.push((socket, pids));
    }
    among
}

/// The process has ended, or has closed it.
fn is_gone(error: &io::Error) -> bool {
    [Errno::NOENT, Errno::SRCH, Errno::BADF]
        .iter()
        .any(|gone| error.raw_os_error() == Some(gone.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_holder_shows_a_socket_and_one_that_nobody_shows_is_counted() {
        let one = |inode, pid| Descriptor { inode, pid, number: 3 };
        let all = [one(7, 1), one(7, 2), one(8, 3), one(9, 4), one(9, 1), one(10, 5)];
        let found = those(&all, |descriptor| match descriptor.pid {
            1 => Err(Errno::SRCH.into()),
            2 | 4 => Ok((descriptor.inode == 7).then_some(Vsock { context: 1, port: 22, inode: 7 })),
            // Its process forbids it.
            3 => Err(Errno::PERM.into()),
            _ => Err(Errno::NOENT.into()),
        });
        let (socket, pids) = &found.listening[0];
        assert_eq!((socket.inode, pids.as_slice(), found.listening.len()), (7, &[1, 2][..], 1));
        assert_eq!(found.not_seen, 1);
    }
}

//! Clients and the files of unix sockets in the records of a handover. Before version 3 every client had an address.

use crate::local::OwnFile;
use portreeve_handover::{FileState, LocalState, SocketAddrField};
use portreeve_policy::{Credentials, Peer};
use portreeve_sys::local::FileId;
use std::net::SocketAddr;

/// A process as a record has it; `None` of a client with an address.
pub fn leave_local(peer: Option<Peer>) -> Option<LocalState> {
    match peer {
        Some(Peer::Local(Credentials { pid, uid, gid })) => Some(LocalState { pid, uid, gid }),
        Some(Peer::Inet(_)) | None => None,
    }
}

/// The address of a record, where there must be one; nothing is read from it where the client is a process.
pub fn leave_address(peer: Peer) -> SocketAddrField {
    peer.address().map_or_else(SocketAddrField::default, SocketAddrField)
}

/// The client of a record.
pub fn peer(address: Option<SocketAddr>, local: Option<&LocalState>) -> Option<Peer> {
    match local {
        Some(&LocalState { pid, uid, gid }) => Some(Peer::Local(Credentials { pid, uid, gid })),
        None => address.map(Peer::Inet),
    }
}

/// The file of a unix socket as a record has it.
pub fn leave_file(file: OwnFile) -> FileState {
    FileState { dev: file.id.dev, ino: file.id.ino, owner: file.owner }
}

/// The file of a record.
pub fn file(left: &FileState) -> OwnFile {
    OwnFile { id: FileId { dev: left.dev, ino: left.ino }, owner: left.owner }
}

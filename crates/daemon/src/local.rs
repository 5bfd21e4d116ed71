//! Unix sockets of services: opening them, the rights and the life of their files, and who is at the other end. Whoever goes for good takes
//! the file along; whoever only hands the socket on leaves it.

use crate::slot::{Listener, SlotId};
use crate::supervisor::Supervisor;
use portreeve_conf::{Endpoint, Level, Listen, SocketType};
use portreeve_policy::{Credentials, Peer};
use portreeve_sys::local::{self, FileId, Kind, Name, Rights};
use portreeve_sys::spawn::Spawner;
use portreeve_sys::unix;
use rustix::fd::{AsFd, OwnedFd};
use rustix::net::SocketAddrAny;
use std::io;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A file that this program has made, or its predecessor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnFile {
    /// Which.
    pub id: FileId,
    /// To whom it was given, who may own its directory too.
    pub owner: Option<u32>,
}

impl OwnFile {
    /// Removes it, if it is still what stands at `place`.
    pub fn remove(self, place: &Endpoint) {
        if let Endpoint::Path(path) = place {
            local::remove(Path::new(path), self.id, self.owner);
        }
    }
}

fn rights(listen: &Listen) -> Rights {
    let rights = listen.rights;
    Rights { mode: rights.mode, owner: rights.owner, group: rights.group }
}

/// Opens a unix socket.
pub fn open(listen: &Listen, place: &Endpoint) -> io::Result<(OwnedFd, Option<OwnFile>)> {
    let kind = match listen.socket {
        SocketType::Stream => Kind::Stream,
        SocketType::Seqpacket => Kind::Seqpacket,
        SocketType::Dgram => Kind::Dgram,
        SocketType::Raw => return Err(io::ErrorKind::Unsupported.into()),
    };
    match place {
        Endpoint::Path(path) => {
            let (fd, id) = local::listen(Path::new(path), kind, &rights(listen)).map_err(io::Error::other)?;
            Ok((fd, Some(OwnFile { id, owner: listen.rights.owner })))
        }
        Endpoint::Abstract(name) => Ok((local::listen_abstract(name.as_bytes(), kind)?, None)),
        Endpoint::Inet { .. } => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// Gives the file of a socket that goes on the rights that the service has by now.
pub fn set_rights(listen: &Listen, place: &Endpoint, file: Option<&mut OwnFile>) -> io::Result<()> {
    let (Endpoint::Path(path), Some(file)) = (place, file) else { return Ok(()) };
    local::set_rights(Path::new(path), file.id, &rights(listen)).map_err(io::Error::other)?;
    file.owner = listen.rights.owner;
    Ok(())
}

/// The file of a unix socket that somebody kept for us, if it still stands there.
pub fn file_of(fd: impl AsFd, place: &Endpoint) -> Option<OwnFile> {
    let Endpoint::Path(path) = place else { return None };
    let id = local::file_of(fd, Path::new(path))?;
    Some(OwnFile { id, owner: None })
}

/// Where a unix socket is bound; `None` of others.
pub fn bound_to(fd: impl AsFd) -> Option<Endpoint> {
    Some(match local::name_of(fd)? {
        Name::Path(path) => Endpoint::Path(String::from_utf8_lossy(path.as_bytes()).into_owned()),
        Name::Abstract(name) => Endpoint::Abstract(String::from_utf8_lossy(&name).into_owned()),
    })
}

/// Who has connected. `None` where it is not to be found out, and then nobody is served.
pub fn peer(fd: impl AsFd, address: Option<SocketAddrAny>) -> Option<Peer> {
    if let Some(address) = address.and_then(|address| SocketAddr::try_from(address).ok()) {
        return Some(Peer::Inet(address));
    }
    // Of sockets without credentials the kernel says that they are nobody's.
    let who = unix::peer_credentials(fd).ok().filter(|who| who.uid != u32::MAX)?;
    Some(Peer::Local(Credentials { pid: who.pid, uid: who.uid, gid: who.gid }))
}

/// Closes a listener. With a unix socket goes what the clients in its queue have sent along.
pub fn part(spawner: &Spawner, place: &Endpoint, listener: OwnedFd) {
    if place.address().is_none() {
        spawner.part_from(listener, matches!(place, Endpoint::Abstract(_)));
    }
}

impl Supervisor {
    /// Closes the listeners of a slot; nobody takes them over.
    pub fn close_listeners(&mut self, id: SlotId) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        for Listener { place, file, fd, .. } in slot.listeners.drain(..) {
            if let Some(file) = file {
                file.remove(&place);
            }
            part(&self.spawner, &place, fd);
        }
    }

    /// The sockets of a slot stay, and who may connect may have changed.
    pub fn renew_rights(&mut self, id: SlotId) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let listen = &slot.service.listen;
        let set = |l: &mut Listener| set_rights(listen, &l.place, l.file.as_deref_mut()).err();
        let failed: Vec<String> = slot
            .listeners
            .iter_mut()
            .filter_map(set)
            .map(|error| {
                format!("service {}: {error}; the socket's rights are as they were", slot.service.id)
            })
            .collect();
        for text in failed {
            self.say(Level::Error, &text);
        }
    }
}

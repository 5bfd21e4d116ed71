//! Opens the sockets of services: family and address as reference xinetd §2.3, taken over from systemd or from the
//! service that had the place before, parked at high descriptor numbers so that children need not close them.

use crate::keepers::made_here;
use crate::local::{self, OwnFile};
use portreeve_conf::{Endpoint, FamilyFlag, Listen, SocketType};
use portreeve_sys::spawn::Spawner;
use portreeve_sys::{filter, highfd, socket};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// A socket that waits.
#[derive(Debug)]
pub struct Kept {
    /// Where it is bound.
    pub place: Endpoint,
    /// What kind it is.
    pub kind: SocketType,
    /// It.
    pub fd: OwnedFd,
    /// The file that goes when nobody wants it.
    pub file: Option<OwnFile>,
}

/// Sockets that wait for a service to want them: from LISTEN_FDS, or of a service that a reload removes or moves.
#[derive(Debug, Default)]
pub struct Spare {
    sockets: Vec<Kept>,
    /// What the service manager calls those that it handed over.
    pub names: Vec<String>,
    /// Somebody else holds them too: whoever is to be closed is shut down.
    pub held: bool,
    /// What a new IPv6 socket does where nothing is said; `None` where that was not asked in this turn of the loop.
    pub unsaid: Option<bool>,
}

impl Spare {
    /// Keeps a socket for whoever wants its place.
    pub fn keep(&mut self, kept: Kept) {
        self.sockets.push(kept);
    }

    /// Lets go of what nobody has wanted; of unix sockets by `spawner`.
    pub fn let_go(&mut self, spawner: &Spawner) {
        for Kept { place, file, fd, .. } in std::mem::take(self).sockets {
            if let Some(file) = file {
                file.remove(&place);
            }
            local::part(spawner, &place, fd);
        }
    }

    /// Takes the sockets that systemd handed over: IP and unix sockets. The file of a unix one belongs to whoever made it.
    pub fn from_systemd(base: i32) -> Self {
        let mut spare = Self::default();
        for portreeve_sys::systemd::Inherited { fd, name } in portreeve_sys::systemd::listen_fds() {
            let ours = made_here(&name);
            spare.names.push(name);
            let kind = match rustix::net::sockopt::socket_type(&fd) {
                Ok(rustix::net::SocketType::STREAM) if listens(&fd) => SocketType::Stream,
                Ok(rustix::net::SocketType::DGRAM) => SocketType::Dgram,
                Ok(rustix::net::SocketType::SEQPACKET) if listens(&fd) => SocketType::Seqpacket,
                _ => continue,
            };
            if let Ok(place) = bound_to(&fd)
                && let Ok(()) = rustix::io::ioctl_fionbio(&fd, true)
                && let Ok(fd) = highfd::park(fd, base)
            {
                match local::file_of(&fd, &place) {
                    // Nobody could find it any more.
                    None if matches!(place, Endpoint::Path(_)) => {}
                    file => spare.keep(Kept { place, kind, fd, file: file.filter(|_| ours) }),
                }
            }
        }
        spare
    }

    /// A socket of one that is not to be had this way is closed, so that the place can be bound anew.
    fn take(&mut self, place: &Endpoint, listen: &Listen) -> Option<(OwnedFd, Option<OwnFile>)> {
        let at = self.sockets.iter().position(|kept| kept.place == *place && kept.kind == listen.socket)?;
        let Kept { fd, mut file, .. } = self.sockets.swap_remove(at);
        let families = !place.address().is_some_and(|address| address.is_ipv6())
            || listen.socket == SocketType::Raw
            || rustix::net::sockopt::ipv6_v6only(&fd).is_ok_and(|only| only == listen.v6only);
        let same = socket::protocol(&fd).is_ok_and(|number| number == number_of(listen));
        if !families && listen.socket == SocketType::Stream {
            // Another is opened beside it, and serves who waits in its queue.
            self.sockets.push(Kept { place: place.clone(), kind: listen.socket, fd, file });
            return None;
        }
        let adopted = families
            && same
            && adopt(&fd, listen).is_ok()
            && (place.address().is_none() || socket::share(&fd, false).is_ok())
            && local::set_rights(listen, place, file.as_mut()).is_ok();
        if !adopted && let Some(file) = file {
            file.remove(place);
        }
        adopted.then_some((fd, file))
    }

    /// Lets a listener be opened beside those of the same port. Whether there are any.
    fn share(&self, place: &Endpoint) -> bool {
        let Some(port) = place.address().map(|address| address.port()) else { return false };
        let in_the_way = |kept: &&Kept| {
            kept.kind == SocketType::Stream && kept.place.address().is_some_and(|a| a.port() == port)
        };
        let shared = |kept: &Kept| socket::share(&kept.fd, true).is_ok();
        self.sockets.iter().filter(in_the_way).map(shared).fold(false, |any, one| any | one)
    }

    /// The stream listeners that nobody has wanted: there may be clients in their queues.
    pub fn take_streams(&mut self) -> Vec<OwnedFd> {
        let streams = |kept: &mut Kept| kept.kind == SocketType::Stream && kept.place.address().is_some();
        self.sockets.extract_if(.., streams).map(|kept| kept.fd).collect()
    }

    /// Closes what may be in the way of this place: a spare socket of the same port, as that of every address is where one
    /// address is to be bound, or one of another kind at the same path. Whether there was any.
    fn make_way(&mut self, place: &Endpoint) -> bool {
        let before = self.sockets.len();
        let port = |place: &Endpoint| place.address().map(|address| address.port());
        let held = self.held;
        self.sockets.retain(|Kept { place: other, fd, file, .. }| {
            let stays = if port(place).is_some() { port(other) != port(place) } else { other != place };
            if held && !stays {
                let _ = rustix::net::shutdown(fd, rustix::net::Shutdown::Read);
            }
            if let Some(file) = file.filter(|_| !stays) {
                file.remove(other);
            }
            stays
        });
        self.sockets.len() < before
    }
}

fn listens(fd: &OwnedFd) -> bool {
    rustix::net::sockopt::socket_acceptconn(fd).unwrap_or(false)
}

/// Makes a socket that served otherwise before as `open` would have made it: it may block (a wait=yes program had it),
/// carry a filter of addresses, or have other options.
pub fn adopt(fd: impl AsFd, listen: &Listen) -> std::io::Result<()> {
    let fd = fd.as_fd();
    rustix::io::ioctl_fionbio(fd, true)?;
    filter::detach(fd)?;
    set_options(fd, listen)
}

/// Numbers of protocols (/etc/protocols).
const TCP: u32 = 6;
const MPTCP: u32 = 262;

fn number_of(listen: &Listen) -> u32 {
    u32::try_from(listen.protocol.1).unwrap_or(0)
}

/// Sets the options that may change while a socket serves; connections accepted from now on have them.
pub fn set_options(fd: impl AsFd, listen: &Listen) -> std::io::Result<()> {
    if listen.socket == SocketType::Stream && !listen.is_local() {
        // Of TCP's kin alone; another protocol that was told to have it says that it has none.
        if listen.nodelay || matches!(number_of(listen), TCP | MPTCP) {
            rustix::net::sockopt::set_tcp_nodelay(&fd, listen.nodelay)?;
        }
        rustix::net::sockopt::set_socket_keepalive(&fd, listen.keepalive)?;
    }
    Ok(())
}

/// Whether any of them is another one.
pub fn other_options(old: &Listen, new: &Listen) -> bool {
    (old.nodelay, old.keepalive, old.protocol.1) != (new.nodelay, new.keepalive, new.protocol.1)
}

/// Whether a socket of the service as it was may serve it as it is to be, at the same place. The flag IPv6 says what holds
/// without a flag: both are IPv6 sockets for both families.
pub fn stays(old: &Listen, new: &Listen) -> bool {
    let is_v4 = |listen: &Listen| listen.family == FamilyFlag::V4;
    is_v4(old) == is_v4(new) && old.v6only == new.v6only
}

/// What came of opening a listener.
#[derive(Debug)]
pub struct Opened {
    /// The socket, non-blocking, parked.
    pub fd: OwnedFd,
    /// Where it is bound; a port 0 is resolved.
    pub address: Endpoint,
    /// The file of a unix socket.
    pub file: Option<OwnFile>,
    /// IPv6 was not to be had and IPv4 was taken.
    pub fell_back: bool,
    /// It was opened here, with the queue that was asked for.
    pub fresh: bool,
}

/// Opens one listener of a service, with a queue of this length.
pub fn open(
    listen: &Listen,
    place: &Endpoint,
    queue: i32,
    spare: &mut Spare,
    base: i32,
) -> std::io::Result<Opened> {
    if let Some((fd, file)) = spare.take(place, listen) {
        return Ok(Opened { fd, address: place.clone(), file, fell_back: false, fresh: false });
    }
    if !matches!(place, Endpoint::Inet { .. }) {
        spare.make_way(place);
        let (fd, file) = local::open(listen, place)?;
        let fd = highfd::park(fd, base)?;
        return Ok(Opened { fd, address: place.clone(), file, fell_back: false, fresh: false });
    }
    let unsaid = spare.unsaid;
    let beside = |error: &std::io::Error, spare: &Spare| {
        in_use(error) && listen.socket == SocketType::Stream && spare.share(place)
    };
    let opened = match open_at(listen, place, queue, (false, unsaid)) {
        Err(error) if beside(&error, spare) => open_at(listen, place, queue, (true, unsaid)),
        other => other,
    };
    let opened = match opened {
        Err(error) if in_use(&error) && spare.make_way(place) => {
            open_at(listen, place, queue, (false, unsaid))
        }
        other => other,
    };
    match opened {
        Err(error) if listen.may_fall_back() && no_ipv6(&error) => {
            let Endpoint::Inet { address, device } = place else { return Err(error) };
            let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), address.port());
            let v4 = Endpoint::Inet { address, device: device.clone() };
            let (fd, fresh) = match spare.take(&v4, listen) {
                Some((fd, _)) => (fd, false),
                None => (open_at(listen, &v4, queue, (false, unsaid))?, true),
            };
            Ok(Opened { fell_back: true, fresh, ..finish(fd, &v4, base)? })
        }
        Err(error) => Err(error),
        Ok(fd) => finish(fd, place, base),
    }
}

/// Opens a datagram listener beside those of ours that have its port at other addresses, as xinetd's SO_REUSEADDR allows: each datagram goes to the
/// one whose address says the most. By SO_REUSEPORT, which lets no other
/// user join them meanwhile.
pub fn open_beside(
    listen: &Listen,
    place: &Endpoint,
    queue: i32,
    (others, unsaid): (&[BorrowedFd<'_>], Option<bool>),
    base: i32,
) -> std::io::Result<Opened> {
    let share = |shared: bool| others.iter().try_for_each(|fd| socket::share(fd, shared));
    let opened = share(true).and_then(|()| open_at(listen, place, queue, (true, unsaid)));
    share(false)?;
    finish(opened?, place, base)
}

/// Whether somebody has the place.
pub fn in_use(error: &std::io::Error) -> bool {
    rustix::io::Errno::from_io_error(error) == Some(rustix::io::Errno::ADDRINUSE)
}

fn no_ipv6(error: &std::io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(error);
    matches!(errno, Some(rustix::io::Errno::AFNOSUPPORT | rustix::io::Errno::ADDRNOTAVAIL))
}

fn open_at(
    listen: &Listen,
    place: &Endpoint,
    queue: i32,
    (beside, unsaid): (bool, Option<bool>),
) -> std::io::Result<OwnedFd> {
    let Endpoint::Inet { address, device } = place else {
        return Err(std::io::ErrorKind::Unsupported.into());
    };
    let options = socket::ListenOptions {
        v6only: listen.v6only,
        v6only_unsaid: unsaid,
        nodelay: listen.nodelay,
        keepalive: listen.keepalive,
        freebind: listen.freebind,
        device: device.as_deref(),
        beside,
        backlog: u32::try_from(queue).ok(),
    };
    let protocol = number_of(listen);
    match listen.socket {
        SocketType::Stream => socket::listen_stream(*address, protocol, options),
        SocketType::Dgram => socket::bind_dgram(*address, protocol, options),
        SocketType::Seqpacket => socket::listen_seqpacket(*address, protocol, options),
        SocketType::Raw => socket::bind_raw(*address, protocol, options),
    }
}

/// The kernel is asked only for what it has chosen: a thousand services are thousands of calls.
fn finish(fd: OwnedFd, place: &Endpoint, base: i32) -> std::io::Result<Opened> {
    let chosen = place.address().is_some_and(|address| address.port() == 0);
    let address = if chosen { bound_to(&fd)? } else { place.clone() };
    let fd = highfd::park(fd, base)?;
    Ok(Opened { fd, address, file: None, fell_back: false, fresh: true })
}

/// Where a socket is bound.
pub fn bound_to(fd: impl AsFd) -> std::io::Result<Endpoint> {
    if let Some(place) = local::bound_to(fd.as_fd()) {
        return Ok(place);
    }
    let address = local_address(fd.as_fd())?;
    Ok(Endpoint::Inet { address, device: socket::device(fd)? })
}

/// The local address of an IP socket.
pub fn local_address(fd: impl AsFd) -> std::io::Result<SocketAddr> {
    let any = rustix::net::getsockname(fd)?;
    SocketAddr::try_from(any).map_err(|_| std::io::Error::from(std::io::ErrorKind::Unsupported))
}

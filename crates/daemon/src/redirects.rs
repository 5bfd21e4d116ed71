//! Redirected services: connects to the target, without waiting, and hands both ends to the proxy worker; announces what
//! it reports. While the worker is away their listeners are not polled, so the kernel holds the clients and none is lost.
//!
//! The supervisor connects so that the worker, which reads what strangers send, need not be able to: the target is the
//! administrator's word, and connect(2) reads nothing.

use crate::admit::Client;
use crate::banner::Banner;
use crate::children::Session;
use crate::listeners::bound_to;
use crate::machine::percent_m;
use crate::proxy_header;
use crate::slot::{Manner, SlotId, State};
use crate::staff::Presence;
use crate::supervisor::Supervisor;
use portreeve_conf::Level;
use portreeve_policy::Seat;
use portreeve_sys::process;
use portreeve_sys::reap::Status;
use portreeve_workers::protocol::{Carried, FromProxy, MAX_BANNER, ToProxy, Worker};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use std::net::SocketAddr;

/// So many messages may wait for the worker before its listeners rest.
const CROWDED: usize = 64;

impl Supervisor {
    fn tell_proxy(&mut self, message: &ToProxy, fd: Option<OwnedFd>) -> bool {
        let mut bytes = Vec::new();
        message.encode(&mut bytes).is_ok() && self.tell(Worker::Proxy, bytes, fd)
    }

    /// Hands an admitted client to the worker, with a connection to its target under way.
    pub fn carry(&mut self, client: Client, seat: Seat, target: SocketAddr) {
        let Client { slot: id, fd, peer, local, .. } = client;
        let ticket = self.ticket();
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let idle_seconds = slot.service.idle_timeout;
        let version = slot.service.proxy_protocol.and_then(|proxy| proxy.send);
        let keepalive = slot.service.listen.keepalive;
        let owner = crate::launch::ids(&slot.service).filter(|_| process::is_root()).map(|ids| ids.uid);
        let banners = slot.banners.clone();
        // Nobody has a process of its own here, so all are pid 0.
        self.announcer.start(&mut self.sinks, &self.stamp, slot, 0, Some(peer));
        let session = Session {
            slot: id,
            seat: Some(seat),
            started_wall: self.stamp.wall(),
            started: self.stamp.mono(),
            peer: Some(peer),
            target: Some(target),
            logs_exit: true,
        };
        self.children.carried.insert(ticket, session);
        let begun = match begin_connect(target, keepalive, owner) {
            Ok(begun) => begun,
            Err(errno) => {
                self.say_unreached(target, errno);
                self.end_of_carried(ticket, Status::Exited(0));
                return;
            }
        };
        let banner = self.banner_text(id, banners.success.as_ref());
        let head = version.map_or_else(Vec::new, |version| {
            let local = local.or_else(|| bound_to(&fd).ok());
            proxy_header::stream(version, peer, local)
        });
        let told = self.tell_proxy(&ToProxy::Client { ticket, idle_seconds, banner, head }, Some(fd))
            && self.tell_proxy(&ToProxy::Target { ticket }, Some(begun));
        if !told {
            self.end_of_carried(ticket, Status::Exited(1));
        } else if self.staff.link(Worker::Proxy).backlog() > CROWDED || self.carried_full() {
            self.rest_redirects();
        }
    }

    fn banner_text(&mut self, id: SlotId, banner: Option<&Banner>) -> Vec<u8> {
        let mut told = Vec::new();
        let take = |text: &[u8]| told.extend(text.iter().take(MAX_BANNER));
        if let Some(path) = banner.and_then(|banner| banner.with_text(self.stamp.mono(), take)) {
            let name = crate::programs::slot_name(self, id);
            let text = format!("service = {name}, open of banner {path} failed");
            self.say(Level::Error, &text);
        }
        told
    }

    /// xinetd's words (reference xinetd §8).
    fn say_unreached(&mut self, target: SocketAddr, errno: Errno) {
        let text = format!("can't connect to remote host {}: {}", target.ip(), percent_m(&errno.into()));
        self.say(Level::Error, &text);
    }

    fn end_of_carried(&mut self, ticket: u64, status: Status) {
        let was_full = self.carried_full();
        let Some(session) = self.children.carried.remove(&ticket) else { return };
        if session.logs_exit
            && let Some(slot) = self.slots.get(&session.slot)
        {
            let seconds = self.stamp.wall() - session.started_wall;
            self.announcer.exit(&mut self.sinks, &self.stamp, slot, status, 0, seconds);
        }
        self.forget_if_done(session.slot);
        if was_full {
            self.proxy_has_room();
        }
    }

    /// Whether the worker has all the connections it can hold; more clients wait in the kernel's queue.
    fn carried_full(&self) -> bool {
        self.children.carried.len() >= self.most_carried
    }

    /// The worker has spoken.
    pub fn heard_proxy(&mut self, message: FromProxy) {
        let FromProxy::Done { ticket, bytes_in, bytes_out, outcome } = message else { return };
        let Some(session) = self.children.carried.get(&ticket) else { return };
        let status = match outcome {
            Carried::Unreached(errno) => {
                if let Some(target) = session.target {
                    self.say_unreached(target, Errno::from_raw_os_error(i32::from(errno)));
                }
                Status::Exited(0)
            }
            Carried::Full => Status::Exited(1),
            Carried::Complete | Carried::Idle | Carried::Broken | Carried::Ended => {
                if let Some(slot) = self.slots.get(&session.slot) {
                    self.announcer.traffic(&mut self.sinks, &self.stamp, slot, bytes_in, bytes_out);
                }
                Status::Exited(0)
            }
        };
        self.end_of_carried(ticket, status);
    }

    /// Ends the connections of a slot. Their EXIT says status 0 and no TRAFFIC comes before it, as in xinetd.
    pub fn end_carried(&mut self, id: SlotId) {
        let of = |session: &Session| session.slot == id;
        let tickets: Vec<u64> = self
            .children
            .carried
            .iter()
            .filter(|(_, session)| of(session))
            .map(|(&ticket, _)| ticket)
            .collect();
        for ticket in tickets {
            self.tell_proxy(&ToProxy::End { ticket }, None);
            self.end_of_carried(ticket, Status::Exited(0));
        }
    }

    /// Ends one connection.
    pub fn end_carried_by_order(&mut self, ticket: u64) {
        self.tell_proxy(&ToProxy::End { ticket }, None);
        self.end_of_carried(ticket, Status::Exited(0));
    }

    fn redirect_slots(&self) -> Vec<SlotId> {
        let redirect = |manner| matches!(manner, Manner::Redirect(_));
        self.slots.iter().filter(|(_, slot)| redirect(slot.manner())).map(|(&id, _)| id).collect()
    }

    fn rest_redirects(&mut self) {
        for id in self.redirect_slots() {
            if let Some(slot) = self.slots.get_mut(&id)
                && slot.status == State::Active
            {
                slot.status = State::NoWorker;
                self.poll_slot(id, false);
            }
        }
    }

    /// The worker is ready, or takes messages (again).
    pub fn proxy_has_room(&mut self) {
        if self.staff.link(Worker::Proxy).presence != Presence::Ready
            || self.carried_full()
            || self.staff.link(Worker::Proxy).backlog() > CROWDED
        {
            return;
        }
        for id in self.redirect_slots() {
            if let Some(slot) = self.slots.get_mut(&id)
                && slot.status == State::NoWorker
                && slot.service.tls.is_none()
            {
                slot.status = State::Active;
                self.poll_slot(id, true);
                self.attach_filter(id);
            }
        }
    }

    /// The worker is gone, and its connections with it.
    pub fn proxy_lost(&mut self) {
        self.rest_redirects();
        let tickets: Vec<u64> = self.children.carried.keys().copied().collect();
        for ticket in tickets {
            self.end_of_carried(ticket, Status::Signaled(9));
        }
    }
}

/// A socket on its way to the target. `owner` is the user that it is counted as, by ident servers and by the kernel's rules:
/// the service's, as in xinetd.
fn begin_connect(target: SocketAddr, keepalive: bool, owner: Option<u32>) -> Result<OwnedFd, Errno> {
    let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    sockopt::set_tcp_nodelay(&fd, true)?;
    if keepalive {
        sockopt::set_socket_keepalive(&fd, true)?;
    }
    if let Some(uid) = owner {
        // A kernel that does not know it counts it as ours.
        let _ = rustix::fs::fchown(&fd, Some(rustix::fs::Uid::from_raw(uid)), None);
    }
    match rustix::net::connect(&fd, &target) {
        Ok(()) | Err(Errno::INPROGRESS | Errno::INTR) => Ok(fd),
        Err(errno) => Err(errno),
    }
}

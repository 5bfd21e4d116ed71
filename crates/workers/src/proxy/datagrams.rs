//! Datagram services that are redirected: takes what comes by their sockets, decides on the first datagram of a source, and carries
//! what follows between it and its target. A target's socket comes from the supervisor; answers leave by the socket that the source
//! has sent to, from the address that it has sent to.

use super::flows::{Ended, Flows, Full, Key, Limits};
use crate::datagram::{Judge, Standing};
use crate::outbox::Outbox;
use crate::protocol::{BadMessage, Carried, FromProxy, Policy};
use portreeve_policy::{Now, Reason};
use portreeve_sys::socket::forget_errors;
use portreeve_sys::{clock, pktinfo};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

/// Datagrams of one socket before the others get their turn. The rest waits in the kernel.
const BATCH: usize = 64;
/// No datagram is longer, so none is cut.
const LONGEST: usize = 65_536;
/// Flows that wait for the supervisor's answer at once.
const MOST_WANTED: usize = 256;
/// Flows that begin within a second, of all services together: so much of the supervisor's time may a flood take.
const MOST_BEGUN: u32 = 2000;

/// The numbers of sockets and flows in epoll's events; tickets of connections have neither bit.
const FLOW: u64 = 1 << 63;
const SOCKET: u64 = 1 << 62;

/// Whether an event is about a datagram service.
pub(super) fn is_ours(data: u64) -> bool {
    data & (FLOW | SOCKET) != 0
}

struct Socket {
    fd: Rc<OwnedFd>,
    address: SocketAddr,
}

struct Service {
    sockets: Vec<Socket>,
    watched: bool,
    judge: Judge,
    limits: Limits,
}

/// What a turn shares with the connections.
pub(super) struct Turn<'a> {
    pub(super) epoll: &'a OwnedFd,
    pub(super) out: &'a mut Outbox<FromProxy>,
    /// At least as long as a datagram can be.
    pub(super) buffer: &'a mut [u8],
    pub(super) now: Duration,
}

/// All datagram services.
pub(super) struct Datagrams {
    most_sockets: usize,
    services: BTreeMap<u32, Service>,
    flows: Flows,
    standing: Standing,
    wanted: usize,
    /// The second that is counted, and what has begun in it.
    begun: (Duration, u32),
}

impl Datagrams {
    pub(super) fn new(most_flows: usize, most_sockets: usize) -> Self {
        let (services, flows) = (BTreeMap::new(), Flows::new(most_flows));
        let (standing, begun) = (Standing::default(), (Duration::ZERO, 0));
        Datagrams { most_sockets, services, flows, standing, wanted: 0, begun }
    }

    /// A socket of a service.
    pub(super) fn add(&mut self, slot: u32, more: bool, fd: OwnedFd, turn: &mut Turn<'_>) {
        if !more {
            self.forget(slot, turn);
        }
        let sockets: usize = self.services.values().map(|service| service.sockets.len()).sum();
        let address = rustix::net::getsockname(&fd).ok().and_then(portreeve_sys::socket::ip);
        let Some(address) = address.filter(|_| sockets < self.most_sockets) else { return };
        self.watch(slot, false, turn.epoll);
        let service = self.services.entry(slot).or_insert_with(|| Service {
            sockets: Vec::new(),
            watched: false,
            judge: Judge::new(slot),
            limits: Limits::default(),
        });
        service.sockets.push(Socket { fd: Rc::new(fd), address });
        self.watch(slot, true, turn.epoll);
    }

    /// The bounds of a service.
    pub(super) fn bound(&mut self, slot: u32, limits: Limits) {
        if let Some(service) = self.services.get_mut(&slot) {
            service.limits = limits;
        }
    }

    /// What is told of the policy.
    ///
    /// # Errors
    /// Rules in parts that have no head.
    pub(super) fn learn(
        &mut self,
        policy: Policy,
        fd: Option<OwnedFd>,
        turn: &mut Turn<'_>,
    ) -> Result<(), BadMessage> {
        match (policy, fd) {
            (Policy::Tables { allow, deny }, Some(file)) => self.standing.read(file, allow, deny),
            (Policy::Bans(bans), _) => self.standing.ban(bans, turn.now),
            (Policy::Pardon(networks), _) => self.standing.pardon(networks),
            (Policy::Forget { slot }, _) => self.forget(slot, turn),
            (policy, _) => {
                let Some(slot) = policy.slot() else { return Ok(()) };
                if let Some(service) = self.services.get_mut(&slot) {
                    service.judge.obey(policy)?;
                }
                self.watch(slot, true, turn.epoll);
            }
        }
        Ok(())
    }

    /// In epoll from when it has rules, until it is forgotten.
    fn watch(&mut self, slot: u32, wanted: bool, epoll: &OwnedFd) {
        let Some(service) = self.services.get_mut(&slot) else { return };
        let wanted = wanted && service.judge.is_ready();
        if service.watched == wanted {
            return;
        }
        service.watched = wanted;
        for (number, socket) in (0u64..).zip(&service.sockets) {
            // What is refused is there already, or gone already. Explicitly taken out: the supervisor holds a copy of the
            // socket, so closing ours does not end the watch.
            let _ = if wanted {
                let data = EventData::new_u64(SOCKET | number << 32 | u64::from(slot));
                epoll::add(epoll, &*socket.fd, data, EventFlags::IN)
            } else {
                epoll::delete(epoll, &*socket.fd)
            };
        }
    }

    fn forget(&mut self, slot: u32, turn: &mut Turn<'_>) {
        self.watch(slot, false, turn.epoll);
        for number in self.flows.of_slot(slot) {
            let ended = self.flows.end(number, Carried::Ended);
            ended.into_iter().for_each(|ended| tell_end(ended, turn.out));
        }
        if let Some(mut service) = self.services.remove(&slot) {
            turn.out.put_all(service.judge.last_words(turn.now).map(FromProxy::Datagrams));
        }
    }

    /// The supervisor wants us to leave: the next worker has the sockets.
    pub(super) fn leave(&mut self, turn: &mut Turn<'_>) {
        for slot in self.services.keys().copied().collect::<Vec<_>>() {
            self.forget(slot, turn);
        }
    }

    /// Something has come by a socket of a service, or from a target.
    pub(super) fn wake(&mut self, data: u64, turn: &mut Turn<'_>) {
        if data & FLOW != 0 {
            self.hear_target(data & !FLOW, turn);
        } else {
            self.hear_clients((data & 0xffff_ffff) as u32, ((data >> 32) & 0xffff) as u16, turn);
        }
    }

    fn hear_clients(&mut self, slot: u32, number: u16, turn: &mut Turn<'_>) {
        let service = self.services.get(&slot);
        let Some(socket) = service.and_then(|service| service.sockets.get(usize::from(number))) else {
            return;
        };
        let (fd, address) = (socket.fd.clone(), socket.address);
        let civil = clock::local(clock::wall_seconds());
        let now = Now { mono: turn.now, minute: u16::from(civil.hour) * 60 + u16::from(civil.minute) };
        let buffer = std::mem::take(&mut turn.buffer);
        for _ in 0..BATCH {
            let Some(space) = buffer.get_mut(..LONGEST) else { break };
            match pktinfo::receive(&*fd, space) {
                Ok(came) => {
                    let bytes = space.get(..came.len).unwrap_or_default();
                    let key = Key { slot, socket: number, source: came.source, here: came.here };
                    match self.flows.of(&key) {
                        Some(number) => self.send_on(number, bytes, turn),
                        None => self.begin(key, &fd, address, bytes, &now, turn),
                    }
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR | Errno::CONNREFUSED | Errno::HOSTUNREACH | Errno::NETUNREACH) => {}
                Err(_) => break,
            }
        }
        turn.buffer = buffer;
    }

    /// The first datagram of a source.
    fn begin(
        &mut self,
        key: Key,
        fd: &Rc<OwnedFd>,
        address: SocketAddr,
        bytes: &[u8],
        now: &Now,
        turn: &mut Turn<'_>,
    ) {
        let Some(service) = self.services.get_mut(&key.slot) else { return };
        if !is_answerable(key.source) {
            service.judge.report.muted();
            return;
        }
        let local = key.here.map(|here| SocketAddr::new(here.ip, address.port()));
        let (admitted, note) = service.judge.judge(key.source, || local, &mut self.standing, now);
        turn.out.put_all(note.map(|note| FromProxy::Rate { slot: key.slot, note }));
        if !admitted {
            return;
        }
        if now.mono >= self.begun.0 + Duration::from_secs(1) {
            self.begun = (now.mono, 0);
        }
        if self.begun.1 >= MOST_BEGUN || self.wanted >= MOST_WANTED || turn.out.is_crowded() {
            service.judge.report.refused(key.source, Reason::Rate, now.mono);
            return;
        }
        match self.flows.make_room(&key, &service.limits) {
            Ok(gone) => gone.into_iter().for_each(|ended| tell_end(ended, turn.out)),
            Err(full) => {
                let reason = match full {
                    Full::Service => Reason::ServiceLimit,
                    Full::Source => Reason::PerSourceLimit,
                };
                service.judge.report.refused(key.source, reason, now.mono);
                return;
            }
        }
        let number = self.flows.begin(key, fd.clone(), &service.limits, bytes, now.mono);
        self.begun.1 += 1;
        self.wanted += 1;
        turn.out.put(FromProxy::Want { slot: key.slot, number, source: key.source, local });
    }

    /// The supervisor has a target for a flow, or has none.
    pub(super) fn answer(&mut self, number: u64, given: Option<(u64, OwnedFd, bool)>, turn: &mut Turn<'_>) {
        self.wanted = self.wanted.saturating_sub(1);
        match given {
            Some((ticket, target, tell)) if self.flows.get_mut(number).is_some() => {
                self.lead(number, ticket, target, tell, turn);
            }
            // It has made room meanwhile.
            Some((ticket, ..)) => turn.out.put(done(ticket, 0, 0, Carried::Crowded)),
            None => drop(self.flows.end(number, Carried::Ended)),
        }
    }

    /// Another target for a flow that has lost its own. False: there is no such flow.
    pub(super) fn aim(&mut self, ticket: u64, target: OwnedFd, tell: bool, turn: &mut Turn<'_>) -> bool {
        let Some(number) = self.flows.by_ticket(ticket) else { return false };
        self.lead(number, ticket, target, tell, turn);
        true
    }

    fn lead(&mut self, number: u64, ticket: u64, target: OwnedFd, tell: bool, turn: &mut Turn<'_>) {
        let data = EventData::new_u64(FLOW | number);
        let watched = epoll::add(turn.epoll, &target, data, EventFlags::IN);
        self.flows.lead(number, ticket, target, tell, turn.now);
        if watched.is_err() {
            let ended = self.flows.end(number, Carried::Broken);
            ended.into_iter().for_each(|ended| tell_end(ended, turn.out));
            return;
        }
        for bytes in self.flows.take_kept(number) {
            self.send_on(number, &bytes, turn);
        }
    }

    /// Ends a flow on the supervisor's word. False: there is no such flow.
    pub(super) fn end(&mut self, ticket: u64, out: &mut Outbox<FromProxy>) -> bool {
        let Some(number) = self.flows.by_ticket(ticket) else { return false };
        let ended = self.flows.end(number, Carried::Ended);
        ended.into_iter().for_each(|ended| tell_end(ended, out));
        true
    }

    fn send_on(&mut self, number: u64, bytes: &[u8], turn: &mut Turn<'_>) {
        self.flows.said(number, turn.now);
        let Some(flow) = self.flows.get_mut(number) else { return };
        let Some(target) = &flow.target else {
            self.flows.keep(number, bytes);
            return;
        };
        match rustix::net::send(target, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(sent) => flow.bytes_in += sent as u64,
            // Of an earlier one: nobody listens there. This one waits for another target.
            Err(errno @ Errno::CONNREFUSED) => {
                if !flow.is_young() {
                    self.flows.keep(number, bytes);
                }
                self.lose(number, errno, turn);
            }
            // The same by a router's word. The first one was kept for the next target.
            Err(errno) if flow.is_young() && is_away(errno) => self.lose(number, errno, turn),
            // Lost, as datagrams may be.
            Err(_) => {}
        }
    }

    /// Answers, a bounded part of what waits.
    fn hear_target(&mut self, number: u64, turn: &mut Turn<'_>) {
        for _ in 0..BATCH {
            let Some(flow) = self.flows.get_mut(number) else { return };
            let (Some(target), Some(space)) = (&flow.target, turn.buffer.get_mut(..LONGEST)) else { return };
            match rustix::net::recv(target, &mut *space, RecvFlags::DONTWAIT) {
                Ok((len, _)) => {
                    let bytes = space.get(..len).unwrap_or_default();
                    if let Ok(sent) = pktinfo::send(&*flow.listener, bytes, flow.key.source, flow.key.here) {
                        flow.bytes_out += sent as u64;
                    }
                    if let (true, Some(ticket)) = (std::mem::take(&mut flow.tell), flow.ticket) {
                        turn.out.put(FromProxy::Reached { ticket });
                    }
                    self.flows.answered(number, turn.now);
                }
                Err(Errno::AGAIN) => return forget_errors(target),
                Err(Errno::INTR) => {}
                Err(errno @ Errno::CONNREFUSED) => return self.lose(number, errno, turn),
                // A router's word, which may pass: it counts while there was no answer.
                Err(errno) if flow.is_young() && is_away(errno) => return self.lose(number, errno, turn),
                Err(_) => {}
            }
        }
    }

    fn lose(&mut self, number: u64, errno: Errno, turn: &mut Turn<'_>) {
        self.flows.lose_target(number, turn.now);
        if let Some(ticket) = self.flows.get_mut(number).and_then(|flow| flow.ticket) {
            let errno = u16::try_from(errno.raw_os_error()).unwrap_or(0);
            turn.out.put(FromProxy::Unreached { ticket, errno });
        }
    }

    /// When [`Datagrams::tick`] is next needed.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let services = self.services.values().filter_map(|service| service.judge.deadline()).min();
        [services, self.flows.deadline(), self.standing.deadline()].into_iter().flatten().min()
    }

    /// Lets time pass: flows, overloads and bans end, reports leave.
    pub(super) fn tick(&mut self, out: &mut Outbox<FromProxy>, now: Duration) {
        self.flows.sweep(now).into_iter().for_each(|ended| tell_end(ended, out));
        self.standing.tick(now);
        for (&slot, service) in &mut self.services {
            if service.judge.deadline().is_none_or(|deadline| deadline > now) {
                continue;
            }
            let (note, report) = service.judge.tick(&Now { mono: now, minute: 0 });
            out.put_all(note.map(|note| FromProxy::Rate { slot, note }));
            out.put_all(report.map(FromProxy::Datagrams));
        }
    }
}

fn done(ticket: u64, bytes_in: u64, bytes_out: u64, outcome: Carried) -> FromProxy {
    FromProxy::Done { ticket, bytes_in, bytes_out, outcome }
}

/// One that the supervisor does not know of yet is told of when it answers.
fn tell_end(Ended { flow, outcome }: Ended, out: &mut Outbox<FromProxy>) {
    if let Some(ticket) = flow.ticket {
        out.put(done(ticket, flow.bytes_in, flow.bytes_out, outcome));
    }
}

/// What ICMP says of a target that cannot be reached: no way there, or somebody in between who lets nothing pass.
fn is_away(errno: Errno) -> bool {
    let words = [
        Errno::HOSTUNREACH,
        Errno::NETUNREACH,
        Errno::HOSTDOWN,
        Errno::ACCESS,
        Errno::NOPROTOOPT,
        Errno::NONET,
    ];
    words.contains(&errno)
}

/// Whether the source can be that of one host, and its port be sent to.
fn is_answerable(source: SocketAddr) -> bool {
    let host = match source.ip().to_canonical() {
        IpAddr::V4(v4) => v4.octets()[0] != 0 && v4 < Ipv4Addr::new(224, 0, 0, 0),
        IpAddr::V6(v6) => !v6.is_unspecified() && !v6.is_multicast(),
    };
    host && source.port() != 0
}

//! The built-in services: hands their clients and datagram sockets to the builtin worker and announces what it reports.
//! While the worker is away their listeners are not polled, so the kernel holds the clients and none is lost.

use crate::admit::Client;
use crate::children::Session;
use crate::slot::{Manner, Slot, SlotId, State};
use crate::staff::Presence;
use crate::supervisor::Supervisor;
use portreeve_conf::{Builtin, Level};
use portreeve_policy::Seat;
use portreeve_sys::farewell::Connection;
use portreeve_sys::reap::Status;
use portreeve_workers::protocol::{BuiltinKind, FromBuiltin, Outcome, ToBuiltin, Worker};
use rustix::net::sockopt;
use std::net::SocketAddr;

/// So many messages may wait for the worker before its listeners rest.
const CROWDED: usize = 64;

/// The same in the words of the worker.
pub fn kind_of(builtin: Builtin) -> BuiltinKind {
    match builtin {
        Builtin::Echo => BuiltinKind::Echo,
        Builtin::Discard => BuiltinKind::Discard,
        Builtin::Chargen => BuiltinKind::Chargen,
        Builtin::Daytime => BuiltinKind::Daytime,
        Builtin::Time => BuiltinKind::Time,
        Builtin::Servers => BuiltinKind::Servers,
        Builtin::Services => BuiltinKind::Services,
        Builtin::Xadmin => BuiltinKind::Xadmin,
        Builtin::Trap => BuiltinKind::Trap,
        Builtin::Tarpit => BuiltinKind::Tarpit,
    }
}

impl Supervisor {
    /// Tells the builtin worker.
    pub fn tell_builtin(&mut self, message: &ToBuiltin, fd: Option<Connection>) -> bool {
        let mut bytes = Vec::new();
        message.encode(&mut bytes).is_ok() && self.tell(Worker::Builtin, bytes, fd)
    }

    /// Hands an admitted client to the worker.
    pub fn serve_builtin(&mut self, client: Client, seat: Seat, kind: Builtin) {
        let Client { slot: id, fd, peer, front, .. } = client;
        let proxied = front.is_proxied();
        let ticket = self.ticket();
        let Some(slot) = self.slots.get_mut(&id) else { return };
        // daytime and time hold no instance and end without a line, as in xinetd (reference xinetd §9.1). Nobody has a
        // process of its own here, so all are pid 0.
        let lasts = !matches!(kind, Builtin::Daytime | Builtin::Time);
        let idle_seconds = slot.service.idle_timeout;
        let name = kind_of(kind).holds().then(|| slot.service.id.clone());
        let event = self.announcer.start(&mut self.sinks, &self.stamp, slot, 0, Some(peer));
        let session = Session {
            slot: id,
            seat: lasts.then_some(seat),
            started_wall: self.stamp.wall(),
            started: self.stamp.mono(),
            peer: Some(peer),
            way: None,
            sealed: false,
            logs_exit: lasts,
            leaving: None,
            event,
            bytes: None,
        };
        self.children.sessions.insert(ticket, session);
        if kind == Builtin::Tarpit {
            // What is never read needs no room; neither does what is said a character at a time.
            let _ = sockopt::set_socket_recv_buffer_size(&fd, 1);
            let _ = sockopt::set_socket_send_buffer_size(&fd, 1);
        }
        if let Some(name) = name.filter(|_| peer.address().is_some()) {
            self.trapped(peer.source(), &name, proxied);
        }
        // A process of this host has none.
        let peer = peer.address().unwrap_or(SocketAddr::from(([0; 4], 0)));
        let message = ToBuiltin::Serve { ticket, kind: kind_of(kind), idle_seconds, peer };
        let told = !kind.tells_of_us() || self.report(kind, ticket);
        if !told || !self.tell_builtin(&message, Some(fd)) {
            self.end_session(ticket, Status::Exited(1));
        } else if self.staff.link(Worker::Builtin).backlog() > CROWDED || self.sessions_full() {
            self.rest_builtins();
        }
    }

    /// Gives the worker what its next client is to be told of this host.
    fn report(&mut self, kind: Builtin, ticket: u64) -> bool {
        match self.tell_of_us(kind, ticket) {
            Ok((file, servers, services)) => {
                self.tell_builtin(&ToBuiltin::Report { servers, services }, Some(file.into()))
            }
            Err(error) => {
                let error = crate::machine::percent_m(&error);
                self.say(Level::Error, &format!("what runs cannot be told: {error}"));
                false
            }
        }
    }

    /// A session has ended: EXIT, and room for the next.
    pub fn end_session(&mut self, ticket: u64, status: Status) {
        let was_full = self.sessions_full();
        let Some(session) = self.children.sessions.remove(&ticket) else { return };
        if let Some(slot) = self.slots.get(&session.slot) {
            let end = session.end(&self.stamp, status);
            self.announcer.exit(&mut self.sinks, &self.stamp, slot, &end);
        }
        self.forget_if_done(session.slot);
        if was_full {
            self.builtin_has_room();
        }
    }

    /// Whether the worker has all the clients it can hold; more wait in the kernel's queue.
    fn sessions_full(&self) -> bool {
        self.children.sessions.len() >= self.most_sessions
    }

    /// Whether the worker takes another client.
    pub fn builtin_takes(&self) -> bool {
        self.staff.link(Worker::Builtin).presence == Presence::Ready && !self.sessions_full()
    }

    /// The worker has spoken.
    pub fn heard_builtin(&mut self, message: FromBuiltin) {
        match message {
            FromBuiltin::Ready { .. } => {}
            FromBuiltin::Done { ticket, .. } if self.session_leaves(ticket).is_some() => {}
            FromBuiltin::Done { ticket, bytes_in, bytes_out, outcome } => {
                if let Some(session) = self.children.sessions.get_mut(&ticket) {
                    session.bytes = Some((bytes_in, bytes_out));
                }
                let status = match outcome {
                    Outcome::Complete | Outcome::Idle | Outcome::Broken | Outcome::Ended => Status::Exited(0),
                    Outcome::Full => Status::Exited(1),
                };
                self.end_session(ticket, status);
            }
            FromBuiltin::Datagrams(report) => self.heard_of_datagrams(&report),
            FromBuiltin::Rate { slot, note } => self.heard_of_rate(slot, note),
        }
    }

    fn builtin_slots(&self) -> Vec<SlotId> {
        let builtin = |m| matches!(m, Manner::Builtin(_) | Manner::BuiltinDatagrams(_));
        self.slots.iter().filter(|(_, s)| builtin(s.manner())).map(|(&id, _)| id).collect()
    }

    /// The worker is ready: it gets what it must know, and the built-ins are served.
    pub fn builtin_ready(&mut self) {
        self.tell_builtin_ports();
        self.give_all_datagrams(Worker::Builtin);
        self.builtin_has_room();
    }

    /// Tells the worker at which ports our own built-ins answer, so that none answers another.
    pub fn tell_builtin_ports(&mut self) {
        if self.staff.link(Worker::Builtin).presence == Presence::Off {
            return;
        }
        let listeners = self.builtin_slots();
        let listeners = listeners.iter().filter_map(|id| self.slots.get(id)).flat_map(|s| &s.listeners);
        let mut ports: Vec<u16> = listeners.filter_map(|l| Some(l.address().address()?.port())).collect();
        ports.sort_unstable();
        ports.dedup();
        self.tell_builtin(&ToBuiltin::BuiltinPorts(ports), None);
    }

    /// Ends the sessions of a slot.
    pub fn end_sessions(&mut self, id: SlotId) {
        let tickets: Vec<u64> =
            self.children.sessions.iter().filter(|(_, s)| s.slot == id).map(|(&t, _)| t).collect();
        for ticket in tickets {
            self.end_session_by_order(ticket);
        }
    }

    /// Ends one session.
    pub fn end_session_by_order(&mut self, ticket: u64) {
        let message = ToBuiltin::End { ticket };
        let mut bytes = Vec::new();
        match self.session_leaves(ticket) {
            Some(number) if message.encode(&mut bytes).is_ok() => self.end_with_leaving(number, bytes),
            _ => drop(self.tell_builtin(&message, None)),
        }
    }

    /// The number of the leaving worker that has this session, if one has.
    fn session_leaves(&self, ticket: u64) -> Option<u32> {
        self.children.sessions.get(&ticket)?.leaving
    }

    fn rest_builtins(&mut self) {
        for id in self.builtin_slots() {
            let Some(slot) = self.slots.get_mut(&id) else { continue };
            if matches!(slot.manner(), Manner::Builtin(_)) && slot.status == State::Active {
                slot.status = State::NoWorker;
                self.poll_slot(id, false);
            }
        }
    }

    /// The worker takes messages (again).
    pub fn builtin_has_room(&mut self) {
        if !self.builtin_takes() {
            return;
        }
        for id in self.builtin_slots() {
            let takes = self.slots.get(&id).is_some_and(|slot| self.worker_state(slot) == State::Active);
            let Some(slot) = self.slots.get_mut(&id) else { continue };
            if takes && slot.status == State::NoWorker {
                slot.status = State::Active;
                if matches!(slot.manner(), Manner::Builtin(_)) {
                    self.poll_slot(id, true);
                }
            }
        }
        // tcpmux, in front of them.
        self.header_has_room();
    }

    /// The worker is gone, and its sessions with it.
    pub fn builtin_lost(&mut self) {
        let own = self.children.sessions.iter().filter(|(_, session)| session.leaving.is_none());
        let tickets: Vec<u64> = own.map(|(&ticket, _)| ticket).collect();
        for ticket in tickets {
            self.end_session(ticket, Status::Signaled(9));
        }
        for id in self.builtin_slots() {
            if let Some(slot) = self.slots.get_mut(&id)
                && slot.status == State::Active
            {
                slot.status = State::NoWorker;
                self.poll_slot(id, false);
            }
        }
        self.header_has_room();
    }

    /// Whether a service may be polled now: the workers that it needs are there.
    pub fn worker_state(&self, slot: &Slot) -> State {
        let takes = |worker| match worker {
            Worker::Header => self.header_takes(),
            other => self.staff.link(other).presence == Presence::Ready,
        };
        // What is asked for behind tcpmux may be a built-in, and nobody waits there for a worker that only just begins.
        let begins =
            slot.manner() == Manner::Mux && self.staff.link(Worker::Builtin).presence == Presence::Starting;
        let clear = !begins && (slot.service.tls.is_none() || self.tls_takes(slot.tls));
        if clear && slot.workers().all(takes) { State::Active } else { State::NoWorker }
    }
}

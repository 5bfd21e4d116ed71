//! The state of this supervisor as records. Changes nothing: it is made for the probe too.

use crate::admit::Client;
use crate::children::{Behind, Session};
use crate::duty::Duty;
use crate::handover::ends;
use crate::headers::{Awaited, Front};
use crate::mux::Owed;
use crate::recorded::Answers;
use crate::slot::{Slot, State as Status};
use crate::supervisor::Supervisor;
use crate::targets::Place;
use portreeve_handover::{
    AwaitedState, Bytes, ClientState, DeniedState, Fd, ListenerState, ProgramState, RateState, ReadingState,
    SealedState, SeatState, SessionState, ShieldState, SlotState, State,
};
use portreeve_policy::{Peer, Seat};
use portreeve_sys::handover::number;
use portreeve_workers::protocol::Preamble;
use rustix::fd::AsFd;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

/// A descriptor as a record has it.
pub fn fd(fd: impl AsFd) -> Fd {
    Fd(number(fd))
}

/// A path as a record has it.
pub fn path(path: &Path) -> Bytes {
    Bytes(path.as_os_str().as_bytes().to_vec())
}

/// Most starts of the last minute that are handed over, of all services; beyond them the oldest of a service are forgotten early.
const MOST_STARTS: usize = 262_144;

fn seat(seat: Option<&Seat>) -> Option<SeatState> {
    seat.and_then(Seat::holder).map(|source| SeatState { source })
}

impl Supervisor {
    /// All of it.
    pub fn leave(&self) -> State {
        let mut readings: Vec<Rc<Answers>> = Vec::new();
        let mut index = |answers: &Rc<Answers>| {
            let at = readings.iter().position(|known| Rc::ptr_eq(known, answers)).unwrap_or_else(|| {
                readings.push(answers.clone());
                readings.len() - 1
            });
            u32::try_from(at).unwrap_or(u32::MAX)
        };
        let current = index(&self.answers);
        let mut room = MOST_STARTS;
        let slots = self.slots.iter().map(|(&id, slot)| {
            let starts = slot.state.save_starts(room);
            room -= starts.len();
            SlotState { id, reading: index(&slot.origin), starts, ..leave_slot(slot) }
        });
        let slots = slots.collect();
        let programs = self.children.programs.iter().map(|(&pid, child)| ProgramState {
            pid,
            slot: child.slot,
            seat: seat(child.seat.as_ref()),
            started: child.started,
            started_wall: child.started_wall,
            peer: child.peer.and_then(Peer::address),
            local: ends::leave_local(child.peer),
            holds_socket: child.holds_socket,
            kill_at: child.kill_at,
            forgotten: child.forgotten,
            orphan: self.children.orphans.contains_key(&pid),
            watched: self.children.orphans.get(&pid).map(fd),
            event: child.event,
            witness: u32::try_from(pid)
                .ok()
                .and_then(|pid| self.witnesses.get(&pid))
                .map(crate::witnesses::leave),
        });
        let put_off = self.children.put_off.iter().chain(&self.children.seatless);
        let put_off = put_off.map(|put_off| (&put_off.client, Some(put_off.at)));
        // Who is refused already waits for nothing but a line in the log.
        let parked = self.parked.undecided().map(|client| (client, None));
        let decided = put_off.chain(parked).map(leave_client);
        State {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            executable: path(&self.upgrade.executable),
            back: self.upgrade.back.as_ref().map(fd),
            since: self.since,
            generation: self.generation,
            upgrades: self.upgrade.count,
            strangers: self.strangers,
            next_slot: self.next_slot,
            last_ticket: self.next_ticket,
            pidfile: self.options.pidfile.as_deref().map(path),
            files: self.inherited.files,
            readings: readings.iter().map(|answers| ReadingState { answers: answers.written() }).collect(),
            current: Some(current),
            slots,
            programs: programs.collect(),
            sessions: self.children.sessions.iter().map(leave_session).collect(),
            carried: self.children.carried.iter().map(leave_session).collect(),
            clients: decided.chain(self.headers.awaited().map(leave_awaited)).collect(),
            denied: self
                .host
                .denied
                .iter()
                .map(|(network, ban)| DeniedState {
                    address: Some(network.address()),
                    until: ban.until,
                    term: ban.term,
                    length: Some(network.len()),
                    reason: ban.reason.to_string(),
                    strikes: ban.strikes,
                    inside: ban.inside,
                })
                .collect(),
            hooks: self.hooks.leave(&self.children.orphans),
            hook_counts: vec![self.hooks.started, self.hooks.dropped, self.hooks.killed],
            workers: self.staff.links.iter().map(|link| link.leave(&self.children.orphans)).collect(),
            retired: self.ends_unheard(),
            control: self.control.leave(),
            asked_by: None,
            watcher: self.keepers.watcher.as_ref().map(fd),
            stored: self.keepers.stored.clone(),
            store_room: self.keepers.room,
            sealed: self.children.sealed.iter().map(leave_sealed).collect(),
            leaving: self.staff.leaving.iter().map(|one| one.leave(&self.children.orphans)).collect(),
            dynamic_users: crate::dynamic_users::leave(),
            lifeline: self.lifeline.as_ref().map(|line| (fd(&line.read), fd(&line.write))),
            guard: None,
            ledger: Some(self.bans.keeping.leave(self.announcer.ledger.leave())),
            headers_given_up: self.headers.given_up,
            shaking_given_up: self.shaking_given_up,
            ban_policy: self.book.policy().to_lines(),
            scores: self.leave_scores(),
            strikes: self.leave_strikes(),
            settings_awaited: self.ban_settings.reader().is_some(),
            tables_asked: self.hosts.resident,
            elsewhere: self.elsewhere.leave(),
        }
    }

    /// Processes whose end is nobody's news there: workers that were killed, and who reads something for us alone: his pipe ends here, and the
    /// next version has it read again.
    fn ends_unheard(&self) -> Vec<i32> {
        let mut pids = self.staff.retired().to_vec();
        pids.extend(self.hashing.readers());
        pids.extend(self.ban_settings.reader());
        pids
    }
}

fn leave_slot(slot: &Slot) -> SlotState {
    let (status, until, attempt, why) = match &slot.status {
        Status::Active => (0, Duration::ZERO, slot.trouble.tries, String::new()),
        Status::Paused(until, why) => (1, *until, 0, why.to_string()),
        Status::Closed(until) => (2, *until, 0, String::new()),
        Status::Suspended => (3, Duration::ZERO, 0, String::new()),
        Status::NoWorker => (4, Duration::ZERO, 0, String::new()),
        Status::Retrying(_, why) => (5, Duration::ZERO, slot.trouble.tries, why.clone()),
        Status::Removed => (6, Duration::ZERO, 0, String::new()),
    };
    let duty = match slot.order.duty {
        Duty::Serve => 0,
        Duty::Hold => 1,
        Duty::Drain => 2,
        Duty::Stop => 3,
    };
    let rate = slot.state.save_rate();
    let listeners = slot.listeners.iter().map(|listener| ListenerState {
        fd: fd(&listener.fd),
        polled: listener.polled,
        place: listener.place.to_string(),
        file: listener.file.as_deref().copied().map(ends::leave_file),
    });
    SlotState {
        service: slot.id().to_owned(),
        nth: slot.nth,
        listeners: listeners.collect(),
        status,
        until,
        attempt,
        why,
        duty,
        keep: slot.order.keep,
        accepted: slot.counts.accepted,
        refused: slot.counts.refused.iter().map(|(reason, n)| (reason.word().to_owned(), *n)).collect(),
        start_failures: slot.counts.start_failures,
        lost: slot.counts.lost,
        gone: slot.counts.gone,
        crowded: slot.counts.crowded,
        names: slot.targets.leave(),
        group: Some(slot.group),
        last_refused: slot.told.last_refused,
        overloaded: slot.overloaded,
        unfiltered: slot.unfiltered,
        hold_logged: slot.hold_logged,
        rate: RateState {
            window_start: rate.window_start,
            window_count: rate.window_count,
            sources: rate.sources,
            overflow: rate.overflow,
            phase: rate.phase,
            until: rate.until,
            resume: rate.resume,
            tripped_at: rate.tripped_at,
            owed: rate.owed,
        },
        ..SlotState::default()
    }
}

fn leave_session((&ticket, session): (&u64, &Session)) -> SessionState {
    SessionState {
        ticket,
        slot: session.slot,
        seat: seat(session.seat.as_ref()),
        started: session.started,
        started_wall: session.started_wall,
        peer: session.peer.and_then(Peer::address),
        local: ends::leave_local(session.peer),
        tried: session.way.as_ref().map(|leg| leg.without_awaited().iter().map(tried).collect()),
        // Who waits for a thread of ours is sent there again.
        busy: session
            .way
            .as_ref()
            .and_then(|leg| leg.busy.or_else(|| leg.awaits.as_ref().map(|_| leg.began))),
        logs_exit: session.logs_exit,
        sealed: session.sealed,
        event: session.event,
        leaving: session.leaving,
    }
}

fn leave_sealed((&ticket, behind): (&u64, &Behind)) -> SealedState {
    let client = behind
        .client
        .as_ref()
        .map(|(client, place)| ClientState { seat: seat(Some(place)), ..leave_client((client, None)) });
    let first = u32::try_from(crate::staff::FIRST_TLS).unwrap_or(0);
    SealedState {
        ticket,
        worker: behind.link.saturating_sub(first),
        slot: behind.slot,
        client,
        head: Bytes(behind.head.clone()),
        leaving: behind.leaving,
    }
}

fn tried(place: &Place) -> (Option<SocketAddr>, String) {
    match place {
        Place::Ip(address) => (Some(*address), String::new()),
        Place::Path(path) => (None, path.to_string()),
    }
}

fn leave_client((client, at): (&Client, Option<Duration>)) -> ClientState {
    ClientState {
        slot: client.slot,
        fd: fd(&client.fd),
        peer: ends::leave_address(client.peer),
        local: ends::leave_local(Some(client.peer)),
        attempts: client.attempts,
        counted: client.counted,
        acted: client.acted,
        front: match client.front {
            Front::Unread => 0,
            Front::Direct => 1,
            Front::Proxied(_) => 2,
        },
        at,
        seat: seat(client.seat.as_ref()),
        destination: client.front.destination(),
        owed: match client.owed {
            Owed::Nothing => 0,
            Owed::Refusal => 1,
            Owed::Both => 2,
        },
        awaited: None,
        shield: client.shield.as_ref().map(|shield| ShieldState {
            ticket: shield.ticket,
            variables: shield.variables.iter().map(|word| Bytes(word.to_bytes().to_vec())).collect(),
        }),
        event: client.event,
    }
}

fn leave_awaited((ticket, awaited): (u64, &Awaited)) -> ClientState {
    let what = match awaited.what {
        Preamble::Proxy => 0,
        Preamble::Mux => 1,
    };
    let Awaited { since, until, tries, leaving, .. } = *awaited;
    ClientState {
        seat: seat(Some(&awaited.seat)),
        awaited: Some(AwaitedState { ticket, what, since, until, tries, leaving }),
        ..leave_client((&awaited.client, None))
    }
}

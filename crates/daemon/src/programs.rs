//! Starts the program of an admitted client, and tries again what the kernel refused for want of processes (xinetd's
//! rule, reference xinetd §7: every 5 s, five times, then FAIL fork). Ends are in `reap`.

use crate::admit::Client;
use crate::children::{Child, MOST_PUT_OFF, PutOff};
use crate::client_variables::{Ends, client_variables};
use crate::hosts::Orders;
use crate::listeners::local_address;
use crate::local;
use crate::machine::percent_m;
use crate::passing::{self, How};
use crate::slot::SlotId;
use crate::supervisor::Supervisor;
use crate::timers::Alarm;
use crate::verify::Fit;
use portreeve_conf::Level;
use portreeve_policy::{Cause, Peer, Reason, Refusal, Seat};
use portreeve_sys::label::Selinux;
use portreeve_sys::spawn::{Image, NotStarted, SpawnError, Stage, Stays, Stdio};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::time::Duration;

/// Time between two tries.
const RETRY: Duration = Duration::from_secs(5);
/// Tries, the first included.
const TRIES: u32 = 5;

impl Supervisor {
    /// Starts the program for an admitted client.
    pub fn start_program(&mut self, mut client: Client, seat: Seat) {
        let program = match self.fit(client.slot) {
            Fit::ByPath => None,
            Fit::This(fd, stays) => Some((fd, stays)),
            // It has changed since the client was admitted.
            Fit::UnderWay => {
                drop(seat);
                client.attempts += 1;
                self.put_off(client, Reason::Program);
                return;
            }
            Fit::Refused => {
                drop(seat);
                self.refuse(client, &Refusal::new(Cause::Program, None));
                return;
            }
        };
        let witness = self.witness_ends(client.slot, client.peer.address().is_some());
        let Some(slot) = self.slots.get(&client.slot) else { return };
        let Some(plan) = slot.plan(&self.inherited) else { return };
        let bound = slot.sole().and_then(|l| l.address().address()).filter(|a| !a.ip().is_unspecified());
        let local = bound.or(client.local).or_else(|| local_address(&client.fd).ok());
        // One that has an address is no unix socket, and need not be asked once more.
        let path = if local.is_some() { None } else { local::bound_to(&client.fd) };
        let ends = Ends { peer: Some(client.peer), local, path: path.as_ref() };
        let variables = client_variables(&ends, true);
        let shown = client.shield.as_ref().map_or(&[][..], |shield| &shield.variables);
        let variables: Vec<&CStr> = shown.iter().map(AsRef::as_ref).chain(variables.iter()).collect();
        let changed = client.orders().and_then(|orders| self.changed_program(slot, orders));
        let image: &Image = changed.as_ref().unwrap_or(&plan.image);
        let Some(label) = self.label(&client, image) else { return };
        let evidence = witness.as_ref().map(|ends| ends.theirs.as_fd());
        let how = How {
            listen_fds: plan.listen_fds.as_deref(),
            label: label.as_deref(),
            evidence,
            program: by_descriptor(&program),
        };
        // What is in flight is closed here without lingering.
        let lingers = client.orders().is_some_and(|orders| orders.linger.is_some());
        if how.is_plain() && changed.is_none() && !lingers && self.spawner.flies(image, client.fd.as_fd()) {
            match self.spawner.launch(&plan.image, &variables, client.fd, client.slot) {
                Ok(pid) => {
                    let pid = pid.as_raw_nonzero().get();
                    self.started(client.slot, pid, Some(client.peer), Some(seat), false);
                }
                Err((errno, fd)) => {
                    client.fd = fd;
                    self.not_forked(client, seat, errno);
                }
            }
            return;
        }
        match passing::start(&mut self.spawner, image, variables, how, &[client.fd.as_fd()]) {
            Ok(pid) => {
                let pid = pid.as_raw_nonzero().get();
                self.started(client.slot, pid, Some(client.peer), Some(seat), false);
                if let Some(ends) = witness {
                    let source = client.peer.source();
                    self.hear_witness(pid, ends, source, client.front.is_proxied());
                }
            }
            Err(SpawnError::Child { pid, stage: Stage::Cgroup, errno })
                if client.attempts == 0 && self.regroup(client.slot, errno) =>
            {
                self.was_no_start(pid.as_raw_nonzero().get());
                client.attempts += 1;
                self.start_program(client, seat);
            }
            Err(SpawnError::Child { pid, stage, errno }) => {
                let pid = pid.as_raw_nonzero().get();
                self.started(client.slot, pid, Some(client.peer), Some(seat), false);
                self.say_not_executed(client.slot, &plan.server, part(image), stage, errno);
            }
            Err(SpawnError::Clone(errno)) => self.not_forked(client, seat, errno),
        }
    }

    /// The kernel made no process for an admitted client.
    fn not_forked(&mut self, mut client: Client, seat: Seat, errno: Errno) {
        drop(seat);
        let name = slot_name(self, client.slot);
        self.say(Level::Error, &format!("{name}: fork failed: {}", percent_m(&errno.into())));
        client.attempts += 1;
        self.put_off(client, Reason::Fork);
    }

    /// Waits for the programs that were launched to be executed, and closes their clients here. Before that nothing else is waited for.
    pub fn land(&mut self) {
        for NotStarted { image, tag, stage, errno } in self.spawner.land() {
            self.say_not_executed(tag, &image.path().to_string_lossy(), "", stage, errno);
        }
    }

    /// Starts the command that answers an admitted client instead of the service (`twist`).
    pub fn start_twist(&mut self, mut client: Client, seat: Seat) {
        let Some(slot) = self.slots.get(&client.slot) else { return };
        let Some(orders) = client.orders() else { return };
        let Some(image) = self.changed_program(slot, orders) else { return };
        self.say_twist(orders);
        let shown = client.shield.as_ref().map_or(&[][..], |shield| &shield.variables);
        let path = local::bound_to(&client.fd);
        let ends = Ends { peer: Some(client.peer), local: client.local, path: path.as_ref() };
        let variables = client_variables(&ends, true);
        let variables: Vec<&CStr> = shown.iter().map(AsRef::as_ref).chain(variables.iter()).collect();
        let Some(label) = self.label(&client, &image) else { return };
        let stdio = Stdio::Client(client.fd.as_fd());
        match self.spawner.spawn_labeled(&image, &variables, stdio, label.as_deref()) {
            Ok(pid) => {
                self.started(client.slot, pid.as_raw_nonzero().get(), Some(client.peer), Some(seat), false);
            }
            Err(SpawnError::Child { pid, stage: Stage::Cgroup, errno })
                if client.attempts == 0 && self.regroup(client.slot, errno) =>
            {
                self.was_no_start(pid.as_raw_nonzero().get());
                client.attempts += 1;
                self.start_twist(client, seat);
            }
            Err(SpawnError::Child { pid, stage, errno }) => {
                let pid = pid.as_raw_nonzero().get();
                self.started(client.slot, pid, Some(client.peer), Some(seat), false);
                self.say_not_executed(client.slot, "/bin/sh", part(&image), stage, errno);
            }
            Err(SpawnError::Clone(errno)) => {
                let name = slot_name(self, client.slot);
                self.say(Level::Error, &format!("{name}: fork failed: {}", percent_m(&errno.into())));
                if let Some(slot) = self.slots.get_mut(&client.slot) {
                    slot.counts.start_failures += 1;
                    self.announcer.fail(
                        &mut self.sinks,
                        &self.stamp,
                        slot,
                        (Reason::Fork, None),
                        Some(client.peer),
                    );
                }
            }
        }
    }

    /// The security context that the program of a LABELED service gets for this client, and for no other service; `None` where it cannot be
    /// had: that is logged, and nothing may be started.
    fn label(&mut self, client: &Client, image: &Image) -> Option<Option<CString>> {
        let slot = self.slots.get_mut(&client.slot)?;
        if !slot.service.flags.contains("LABELED") {
            return Some(None);
        }
        match Selinux::default().for_client(&client.fd, image.path()) {
            Ok(label) => Some(Some(label)),
            Err(error) => {
                slot.counts.start_failures += 1;
                self.announcer.fail(
                    &mut self.sinks,
                    &self.stamp,
                    slot,
                    (Reason::Fork, None),
                    Some(client.peer),
                );
                let name = slot_name(self, client.slot);
                self.say(Level::Error, &format!("Changing process context failed for {name}: {error}"));
                None
            }
        }
    }

    /// A command answers instead of the service: said in libwrap's words.
    pub fn say_twist(&mut self, orders: &Orders) {
        if let Some(command) = &orders.twist {
            let text = format!("twist {} to {}", orders.client, String::from_utf8_lossy(command));
            self.say(Level::Warning, &text);
        }
    }

    /// Takes a new process into the table and announces it.
    pub fn started(
        &mut self,
        id: SlotId,
        pid: i32,
        peer: Option<Peer>,
        seat: Option<Seat>,
        holds_socket: bool,
    ) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let event = self.announcer.start(&mut self.sinks, &self.stamp, slot, pid, peer);
        let child = Child {
            slot: id,
            seat,
            started: self.stamp.mono(),
            started_wall: self.stamp.wall(),
            peer,
            holds_socket,
            kill_at: None,
            forgotten: false,
            event,
        };
        self.is_a_child(pid);
        self.children.begin(pid, child);
    }

    /// A process that came to nothing, and whose start is tried again.
    fn was_no_start(&mut self, pid: i32) {
        self.is_a_child(pid);
        self.staff.retire(pid);
    }

    /// The process came to be and the program did not: said in xinetd's words. The child exits with status 1.
    /// `part` is that of the sandbox which could not be put on.
    pub fn say_not_executed(&mut self, id: SlotId, server: &str, part: &str, stage: Stage, errno: Errno) {
        let error = percent_m(&errno.into());
        let text = match stage {
            Stage::Label => {
                let name = slot_name(self, id);
                format!("Changing process context failed for {name}: {error}")
            }
            Stage::Exec => format!("execv( {server} ) failed: {error}"),
            Stage::Setgid => format!("setgid failed: {error}"),
            Stage::Setgroups => format!("setgroups( 0, NULL ) failed: {error}"),
            Stage::Setuid => format!("setuid failed: {error}"),
            Stage::Sandbox => {
                let name = slot_name(self, id);
                format!("{name}: {server} is not started, sandbox: {part}: {error}")
            }
            other => format!("starting {server} failed: {other}: {error}"),
        };
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.counts.start_failures += 1;
        }
        self.say(Level::Error, &text);
    }

    /// A client that cannot be served now waits for another try, with no seat meanwhile; `why` is what its FAIL line says when there
    /// is none.
    pub fn put_off(&mut self, client: Client, why: Reason) {
        let Some(slot) = self.slots.get_mut(&client.slot) else { return };
        slot.counts.start_failures += u64::from(why == Reason::Fork);
        let noretry = slot.service.noretry;
        if noretry || client.attempts >= TRIES || self.children.put_off.len() >= MOST_PUT_OFF {
            if !noretry && why == Reason::Fork {
                let name = slot_name(self, client.slot);
                self.say(Level::Error, &format!("service {name}: too many consecutive fork failures"));
            }
            if let Some(slot) = self.slots.get_mut(&client.slot) {
                self.announcer.fail(&mut self.sinks, &self.stamp, slot, (why, None), Some(client.peer));
            }
            if let Some(shield) = &client.shield {
                self.unseal(shield.ticket);
            }
            return;
        }
        let at = self.stamp.mono() + RETRY;
        self.timers.set(at, Alarm::Retry);
        self.children.put_off.push(PutOff { client, at });
    }

    /// The alarm: whoever has waited long enough is judged again, all checks but the rate.
    pub fn retry_starts(&mut self) {
        let now = self.stamp.mono();
        while self.children.put_off.first().is_some_and(|p| p.at <= now) {
            let PutOff { client, .. } = self.children.put_off.remove(0);
            self.judge(client);
        }
    }
}

/// A program as a start takes it.
pub fn by_descriptor(program: &Option<(OwnedFd, Stays)>) -> Option<(BorrowedFd<'_>, Stays)> {
    program.as_ref().map(|(fd, stays)| (fd.as_fd(), *stays))
}

/// The part of its sandbox that an image was at when its start failed.
pub fn part(image: &Image) -> &str {
    image.sandbox().map_or("", |sandbox| sandbox.failed())
}

/// id of a slot, for messages.
pub fn slot_name(supervisor: &Supervisor, id: SlotId) -> String {
    supervisor.slots.get(&id).map(|s| s.id().to_owned()).unwrap_or_default()
}

//! Takes arrivals in: accepts, asks policy, and carries out the verdict. The pipeline of ARCHITECTURE §4 reads from top to
//! bottom here; what a verdict entails stands in the files that are called.

use crate::banner::{self, Banner};
use crate::headers::Front;
use crate::hosts::{Consulted, Known, Orders, Want};
use crate::identity;
use crate::local;
use crate::machine::percent_m;
use crate::mux::Owed;
use crate::seal::{Shield, is_sealed};
use crate::slot::{ListenerId, Manner, Slot, SlotId, State};
use crate::supervisor::Supervisor;
use crate::timers::Alarm;
use crate::verify::Fit;
use portreeve_conf::Level;
use portreeve_policy::evidence::{Evidence, Grade, Kind};
use portreeve_policy::{
    Arrival, Cause, Facts, Peer, Reason, Refusal, Seat, SensorHit, Tables, Verdict, decide,
};
use portreeve_sys::farewell::Connection;
use portreeve_sys::limits;
use portreeve_sys::reap::Status;
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

/// Most connections accepted per wake-up and listener; the rest come with the next.
const ACCEPTS: usize = 64;

/// How long a listener rests when no descriptor is left.
const STARVED: Duration = Duration::from_millis(200);

/// An accepted connection on its way.
#[derive(Debug)]
pub struct Client {
    /// At which slot.
    pub slot: SlotId,
    /// Its socket.
    pub fd: Connection,
    /// The peer as the socket names it.
    pub peer: Peer,
    /// Our end, once it was asked for.
    pub local: Option<SocketAddr>,
    /// Starts of its program that the kernel refused.
    pub attempts: u32,
    /// The rate has counted it.
    pub counted: bool,
    /// It has waited for a seat.
    pub waited: bool,
    /// What was found out about it.
    pub known: Box<Known>,
    /// What hosts.allow and hosts.deny say of it.
    pub consulted: Option<Box<Consulted>>,
    /// They were asked for tcpmux before, which chose this service.
    pub asked: bool,
    /// What they order was carried out.
    pub acted: bool,
    /// What it has shown in its TLS handshake, once that is done.
    pub shield: Option<Box<Shield>>,
    /// A former version of this process had accepted it.
    pub left: bool,
    /// Its seat, while its ident server is asked.
    pub seat: Option<Seat>,
    /// What its PROXY header said.
    pub front: Front,
    /// What tcpmux owes it.
    pub owed: Owed,
    /// The number in the ledger of what tcpmux began for it.
    pub event: u64,
}

impl Client {
    /// A client that was just accepted.
    pub fn new(slot: SlotId, fd: Connection, peer: Peer) -> Self {
        Self {
            slot,
            fd,
            peer,
            local: None,
            attempts: 0,
            counted: false,
            waited: false,
            known: Box::default(),
            consulted: None,
            asked: false,
            acted: false,
            shield: None,
            left: false,
            seat: None,
            front: Front::Unread,
            owed: Owed::Nothing,
            event: 0,
        }
    }

    /// The same connection, of which nothing is known yet.
    pub fn afresh(self) -> Self {
        Self { front: self.front, ..Self::new(self.slot, self.fd, self.peer) }
    }

    /// What hosts.allow and hosts.deny order.
    pub fn orders(&self) -> Option<&Orders> {
        self.consulted.as_deref().map(|consulted| &consulted.orders)
    }
}

impl Supervisor {
    /// A listener of a slot has something.
    pub fn arrivals(&mut self, id: SlotId, number: ListenerId) {
        if !self.may_take(id) {
            return;
        }
        let Some(slot) = self.slots.get(&id) else { return };
        match slot.manner() {
            Manner::Spawn | Manner::Builtin(_) | Manner::Mux | Manner::Redirect => {
                self.accept_all(id, number)
            }
            Manner::Sensor if slot.is_stream() => self.accept_all(id, number),
            Manner::Sensor => self.sensor_datagrams(id, number),
            // A process that sends datagrams seldom has a name, and what is known of it comes with the datagram.
            Manner::Wait if slot.is_stream() || slot.is_local() => self.start_wait_stream(id),
            Manner::Wait => self.start_wait_datagram(id, number),
            Manner::BuiltinDatagrams(_) | Manner::RedirectDatagrams => self.poll_slot(id, false),
        }
    }

    fn accept_all(&mut self, id: SlotId, number: ListenerId) {
        for _ in 0..ACCEPTS {
            let Some(listener) = self.slots.get(&id).and_then(|s| s.listener(number)) else { return };
            if !listener.polled {
                return;
            }
            match acceptfrom_with(&listener.fd, SocketFlags::CLOEXEC) {
                Ok((fd, address)) => {
                    self.starved = false;
                    let is_local = self.slots.get(&id).is_some_and(Slot::is_local);
                    let fd = self.spawner.connection(fd, is_local);
                    if self.is_nobody(id, &fd) {
                        continue;
                    }
                    if let Some(peer) = local::peer(&fd, address) {
                        if peer.address().is_some() {
                            self.scanner_at_service(peer.source());
                        }
                        self.take_in(Client::new(id, fd, peer));
                    }
                }
                Err(Errno::AGAIN) => return,
                // The client is gone again before it was taken.
                Err(Errno::CONNABORTED | Errno::INTR | Errno::PROTO) => {}
                Err(error) => {
                    self.accept_failed(id, error);
                    return;
                }
            }
        }
    }

    /// In an overload, who connected and reset it in the queue takes nobody's turn and starts nothing.
    fn is_nobody(&mut self, id: SlotId, fd: &Connection) -> bool {
        // Who has closed a unix socket has not reset it: what was sent is still to be read.
        let asked = |slot: &&mut Slot| slot.overloaded && !slot.is_local();
        let Some(slot) = self.slots.get_mut(&id).filter(asked) else { return false };
        let gone = crate::rates::is_gone(fd);
        slot.counts.gone += u64::from(gone);
        gone
    }

    /// No descriptor (or no memory): the kernel holds the clients until there is one. xinetd closes the service instead.
    fn accept_failed(&mut self, id: SlotId, error: Errno) {
        if !self.starved {
            self.starved = true;
            let name = self.slots.get(&id).map(|s| s.id().to_owned()).unwrap_or_default();
            self.say(Level::Error, &format!("service {name}, accept: {}", percent_m(&error.into())));
        }
        self.pause(id, self.stamp.mono() + STARVED, "no descriptor is left");
    }

    /// One connection, of which nothing is decided yet: its PROXY header comes first, where there must be one.
    pub fn take_in(&mut self, client: Client) {
        let reads = self.slots.get(&client.slot).is_some_and(|slot| slot.proxies.is_some());
        if reads && client.front == Front::Unread {
            self.await_proxy(client);
        } else if client.counted {
            self.judge(client);
        } else {
            self.arrival(client);
        }
    }

    /// One client. `banner` goes to everybody; then policy is asked.
    pub fn arrival(&mut self, client: Client) {
        let Some(banners) = self.slots.get(&client.slot).map(|s| s.banners.clone()) else { return };
        self.send_banner(&client, banners.always.as_ref());
        self.judge(client);
    }

    fn send_banner(&mut self, client: &Client, banner: Option<&Banner>) {
        // Nothing is said in the clear to who expects TLS.
        if self.slots.get(&client.slot).is_some_and(|slot| is_sealed(&slot.service)) {
            return;
        }
        if let Some(path) = banner::send(client.fd.as_fd(), banner, self.stamp.mono()) {
            let name = crate::programs::slot_name(self, client.slot);
            let text = format!("service = {name}, open of banner {path} failed");
            self.say(Level::Error, &text);
        }
    }

    /// Asks policy and does what it says; first for a new client, again whenever something it waited for has come.
    pub fn judge(&mut self, mut client: Client) {
        // Whatever the tables said before, they are asked anew: they, or what is known, may have changed since.
        client.consulted = None;
        loop {
            let now = self.now();
            self.seek_seat(client.slot, Some(client.peer.source()));
            let Some(slot) = self.slots.get_mut(&client.slot) else { return };
            // Its answer came, or its next try, after a reload took the service away: nothing is started for it any more.
            if slot.has_ended() {
                return;
            }
            let arrival = Arrival { peer: client.peer, proof: client.front.proof() };
            let load = slot.rules().rules().max_load.and_then(|_| limits::load_average());
            let tables = match &client.consulted {
                _ if slot.service.nolibwrap => Tables::Off,
                Some(consulted) => consulted.tables.clone(),
                None => Tables::NotAsked,
            };
            let facts = Facts { names: client.known.names.clone(), load, tables };
            let resumed = std::mem::replace(&mut client.counted, true);
            let want =
                match decide(slot.rules(), &slot.state, &mut self.host, &arrival, &facts, &now, resumed) {
                    Verdict::Admit(seat) => {
                        let id = client.slot;
                        self.admit(client, seat);
                        self.watch_rate(id);
                        return;
                    }
                    Verdict::Refuse(refusal) => {
                        let id = client.slot;
                        match self.wait_for_seat(client, &refusal) {
                            Some(client) => self.refuse(client, &refusal),
                            None => self.watch_rate(id),
                        }
                        return;
                    }
                    Verdict::NeedNames => Want::Names,
                    Verdict::NeedTables => match self.consult(&mut client) {
                        Some(want) => want,
                        None => continue,
                    },
                };
            match self.park(client, want) {
                Some(again) => client = again,
                None => return,
            }
        }
    }

    /// What follows for a client that is admitted; a second time when it has shaken hands.
    pub fn admit(&mut self, mut client: Client, seat: Seat) {
        self.carry_out(&mut client);
        let twisted = client.orders().is_some_and(|orders| orders.twist.is_some());
        if !twisted && matches!(self.fit(client.slot), Fit::Refused) {
            drop(seat);
            self.refuse(client, &Refusal::new(Cause::Program, None));
            return;
        }
        let sealed = self.slots.get(&client.slot).is_some_and(|slot| is_sealed(&slot.service));
        if sealed && client.shield.is_none() {
            self.seal(client, seat);
            return;
        }
        if !self.lead_client(&mut client) {
            return;
        }
        let Some(slot) = self.slots.get(&client.slot) else { return };
        // A command instead of the server answers at once, as in xinetd's child.
        if twisted {
            self.start_twist(client, seat);
            return;
        }
        let (banners, userid) = (slot.banners.clone(), identity::asks(slot));
        self.say_go(&mut client);
        // That of a redirected service is sent once its target has answered.
        if slot.manner() != Manner::Redirect {
            self.send_banner(&client, banners.success.as_ref());
        }
        client.seat = Some(seat);
        if userid && client.known.ident.is_none() {
            if let Some(client) = self.park(client, Want::Identity) {
                self.identified(client);
            }
            return;
        }
        self.identified(client);
    }

    /// An admitted client, whose ident server has been asked if it had to be.
    pub fn identified(&mut self, mut client: Client) {
        let Some(seat) = client.seat.take() else { return };
        let Some(slot) = self.slots.get(&client.slot).filter(|s| !s.has_ended()) else { return };
        let (manner, asked) = (slot.manner(), identity::asks(slot));
        let (id, peer, ident) = (client.slot, client.peer, client.known.ident.clone());
        let stays = self.may_stay(&client);
        if !stays {
            if let Some(shield) = &client.shield {
                self.unseal(shield.ticket);
            }
            drop(client);
        } else if let Manner::Builtin(kind) = manner {
            self.serve_builtin(client, seat, kind);
        } else if manner == Manner::Mux {
            self.serve_mux(client, seat);
        } else if manner == Manner::Redirect {
            self.carry(client, seat);
        } else {
            self.start_program(client, seat);
        }
        if asked {
            self.log_identity(id, peer, ident.as_ref());
        }
    }

    /// The one way out for a client that is not served.
    pub fn refuse(&mut self, mut client: Client, refusal: &Refusal) {
        if refusal.reason == Reason::Libwrap {
            self.carry_out(&mut client);
            self.say_refused_by_tables(client.slot, client.peer, client.consulted.as_deref(), refusal);
        }
        let Some(banners) = self.slots.get(&client.slot).map(|s| s.banners.clone()) else { return };
        self.say_not_available(&mut client);
        self.send_banner(&client, banners.fail.as_ref());
        let (id, peer) = (client.slot, client.peer);
        let in_child = matches!(refusal.reason, Reason::Address | Reason::Libwrap);
        let strict = self.options.log_refused && in_child;
        let now = self.stamp.mono();
        let Some(slot) = self.slots.get_mut(&id) else { return };
        // A flood must not cost a line each; where the listener closes there is none.
        let named = match refusal.reason {
            Reason::Rate if slot.rules().rules().overload_closes => Some(0),
            Reason::Rate => slot.told.named.takes(peer.source(), now).map(|_| 0),
            Reason::Header => slot.told.headerless.takes(peer.source(), now),
            _ => Some(0),
        };
        let Some(unsaid) = named else {
            slot.counts.refuse(refusal.reason, 1);
            client.fd.end();
            drop(client);
            return self.after_refusal(id, peer, refusal);
        };
        if strict {
            self.announcer.start_line(&mut self.sinks, &self.stamp, slot, 0, Some(peer));
        }
        let why = (refusal.reason, refusal.rule.as_ref());
        let event = self.announcer.fail(&mut self.sinks, &self.stamp, slot, why, Some(peer));
        if matches!(refusal.sensor, Some(SensorHit::Denied { .. } | SensorHit::Extended { .. })) {
            let until = self.host.denied.get(peer.source()).and_then(|ban| ban.until);
            self.announcer.denied(&self.stamp, slot, event, peer, until);
        }
        if strict {
            self.announcer.exit_line(&mut self.sinks, &self.stamp, slot, Some(Status::Exited(0)), 0, 0);
        }
        let userid = identity::asks_refused(slot, refusal.reason);
        if let Some(shield) = &client.shield {
            self.unseal(shield.ticket);
        }
        if unsaid > 0 {
            let name = crate::programs::slot_name(self, id);
            let text =
                format!("service {name}: {unsaid} more connections of {} had no PROXY header", peer.source());
            self.say(Level::Warning, &text);
        }
        if userid && client.known.ident.is_none() {
            // Its connection stays for as long: the server is asked about it.
            client = match self.park(client, Want::Culprit) {
                Some(client) => client,
                None => return self.after_refusal(id, peer, refusal),
            };
        } else if userid {
            self.log_identity(id, peer, client.known.ident.as_ref());
        }
        client.fd.end();
        drop(client);
        self.after_refusal(id, peer, refusal);
    }

    /// What a refusal says in the daemon's log and does to the listener.
    pub fn after_refusal(&mut self, id: SlotId, peer: Peer, refusal: &Refusal) {
        match refusal.cause {
            Cause::Load => {
                let text = format!("refused connect from {peer} due to excessive load");
                self.say(Level::Error, &text);
            }
            Cause::BothLists => {
                let name = self.slots.get(&id).map(|s| s.id().to_owned()).unwrap_or_default();
                let text = format!(
                    "Service={name}: only_from list and no_access list match equally the address {peer}"
                );
                self.say(Level::Error, &text);
            }
            _ => {}
        }
        if let Some(hit) = refusal.sensor {
            self.sensor_hit(id, peer, hit);
        }
        if let Some(until) = refusal.rest {
            self.rest_for_the_minute(id, until);
        }
        if let Some(change) = refusal.change {
            self.rate_changed(id, change);
        } else {
            // It may owe a change that no verdict has carried.
            self.watch_rate(id);
        }
    }

    fn sensor_hit(&mut self, id: SlotId, peer: Peer, hit: SensorHit) {
        let source = peer.source();
        match hit {
            SensorHit::Denied { until } | SensorHit::Extended { until } => {
                let minutes = until.map_or(-1, |until| {
                    let left = until.saturating_sub(self.stamp.mono()).as_secs().div_ceil(60);
                    i64::try_from(left).unwrap_or(i64::MAX)
                });
                let text = format!("Adding {peer} to the global_no_access list for {minutes} minutes");
                self.critical("process_sensor", &text);
                let name = self.slots.get(&id).map(|s| s.id().to_owned()).unwrap_or_default();
                self.scanner_at_trap(source);
                self.host.denied.explain(source, &format!("tripped the sensor {name}"));
                self.bans_changed(&[source.into()]);
                self.keep_bans(&[source.into()]);
            }
            SensorHit::Full => self.critical("process_sensor", "Maximum global_no_access count reached."),
            SensorHit::Protected => {
                let name = self.slots.get(&id).map(|s| s.id().to_owned()).unwrap_or_default();
                let text = format!("{source} tripped the sensor {name} and is protected: not denied");
                self.say(Level::Warning, &text);
            }
            // A datagram, or the word of a proxy: scored, and never more.
            SensorHit::Forgeable => {
                let name = self.slots.get(&id).map(|s| s.id().to_owned()).unwrap_or_default();
                let (grade, kind) = (Grade::Forgeable, Kind::Sensor);
                if peer.address().is_some() {
                    let touch = Evidence { source, grade, kind, service: &name, count: 1, proxied: false };
                    self.weigh_evidence(&touch);
                }
            }
            SensorHit::AlreadyDenied | SensorHit::Never => {}
        }
    }

    /// Stops polling a listener until a moment.
    pub fn pause(&mut self, id: SlotId, until: Duration, why: impl Into<Cow<'static, str>>) {
        self.poll_slot(id, false);
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.status = State::Paused(until, why.into());
            self.timers.set(until, Alarm::Unpause(id));
        }
    }

    /// What has held a slot back is over: it is polled, unless a worker that it needs is not there.
    pub fn resume_slot(&mut self, id: SlotId) {
        let Some(state) = self.slots.get(&id).map(|slot| self.worker_state(slot)) else { return };
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.status = state;
        }
        let active = self.slots.get(&id).is_some_and(|slot| slot.status == State::Active);
        self.poll_slot(id, active);
    }

    /// A pause may be over.
    pub fn unpause(&mut self, id: SlotId) {
        let now = self.stamp.mono();
        let Some(slot) = self.slots.get(&id) else { return };
        if let State::Paused(until, _) = slot.status
            && until <= now
        {
            self.resume_slot(id);
        }
    }
}

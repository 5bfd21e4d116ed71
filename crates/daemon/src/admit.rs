//! Takes arrivals in: accepts, asks policy, and carries out the verdict. The pipeline of ARCHITECTURE §4 reads from top to
//! bottom here; what a verdict entails stands in the files that are called.

use crate::banner::{self, Banner};
use crate::machine::percent_m;
use crate::slot::{Manner, SlotId, State};
use crate::supervisor::Supervisor;
use crate::timers::Alarm;
use portreeve_conf::Level;
use portreeve_policy::{Arrival, Cause, Facts, Names, Reason, Refusal, Seat, SensorHit, Verdict, decide};
use portreeve_sys::limits;
use portreeve_sys::reap::Status;
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
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
    pub fd: OwnedFd,
    /// The peer as the socket names it.
    pub peer: SocketAddr,
    /// Starts of its program that the kernel refused.
    pub attempts: u32,
}

impl Supervisor {
    /// The socket of a slot has something.
    pub fn arrivals(&mut self, id: SlotId) {
        let Some(slot) = self.slots.get(&id) else { return };
        match slot.manner() {
            Manner::Spawn | Manner::Builtin(_) => self.accept_all(id),
            Manner::Sensor if slot.is_stream() => self.accept_all(id),
            Manner::Sensor => self.sensor_datagrams(id),
            Manner::Wait if slot.is_stream() => self.start_wait_stream(id),
            Manner::Wait => self.start_wait_datagram(id),
            Manner::BuiltinDatagrams(_) => self.poll_slot(id, false),
        }
    }

    fn accept_all(&mut self, id: SlotId) {
        for _ in 0..ACCEPTS {
            let Some(listener) = self.slots.get(&id).and_then(|s| s.listener.as_ref()) else { return };
            if !listener.polled {
                return;
            }
            match acceptfrom_with(&listener.fd, SocketFlags::CLOEXEC) {
                Ok((fd, Some(address))) => {
                    self.starved = false;
                    if let Ok(peer) = SocketAddr::try_from(address) {
                        self.arrival(Client { slot: id, fd, peer, attempts: 0 });
                    }
                }
                Ok((_, None)) => {}
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

    /// No descriptor (or no memory): the kernel holds the clients until there is one. xinetd closes the service instead.
    fn accept_failed(&mut self, id: SlotId, error: Errno) {
        if !self.starved {
            self.starved = true;
            let name = self.slots.get(&id).map(|s| s.id().to_owned()).unwrap_or_default();
            self.say(Level::Error, &format!("service {name}, accept: {}", percent_m(&error.into())));
        }
        self.pause(id, self.stamp.mono() + STARVED, "no descriptor is left");
    }

    /// One client. `banner` goes to everybody; then policy is asked.
    fn arrival(&mut self, client: Client) {
        let Some(banners) = self.slots.get(&client.slot).map(|s| s.banners.clone()) else { return };
        self.send_banner(&client, banners.always.as_ref());
        self.judge(client, Names::NotAsked, false);
    }

    fn send_banner(&mut self, client: &Client, banner: Option<&Banner>) {
        if let Some(path) = banner::send(client.fd.as_fd(), banner, self.stamp.mono()) {
            let name = crate::programs::slot_name(self, client.slot);
            let text = format!("service = {name}, open of banner {path} failed");
            self.say(Level::Error, &text);
        }
    }

    /// The second decision, with names (or without hope of any).
    pub fn decided_names(&mut self, client: Client, names: Names) {
        self.judge(client, names, true);
    }

    /// Asks policy and does what it says. `resumed` when the rate has counted this client already.
    pub fn judge(&mut self, client: Client, names: Names, resumed: bool) {
        let now = self.now();
        let Some(slot) = self.slots.get_mut(&client.slot) else { return };
        // Its names came, or its next try, after a reload took the service away: nothing is started for it any more.
        if slot.status == State::Removed {
            return;
        }
        let arrival = Arrival { peer: client.peer, proven: true };
        let load = slot.rules.rules().max_load.and_then(|_| limits::load_average());
        let facts = Facts { names, load };
        match decide(&slot.rules, &slot.state, &mut self.host, &arrival, &facts, &now, resumed) {
            Verdict::Admit(seat) => {
                let id = client.slot;
                self.admit(client, seat);
                self.watch_rate(id);
            }
            Verdict::NeedNames => self.park(client),
            Verdict::Refuse(refusal) => self.refuse(client, &refusal),
        }
    }

    fn admit(&mut self, client: Client, seat: Seat) {
        let Some(slot) = self.slots.get(&client.slot) else { return };
        let (manner, banners) = (slot.manner(), slot.banners.clone());
        self.send_banner(&client, banners.success.as_ref());
        match manner {
            Manner::Builtin(kind) => self.serve_builtin(client, seat, kind),
            _ => self.start_program(client, seat),
        }
    }

    /// The one way out for a client that is not served.
    pub fn refuse(&mut self, client: Client, refusal: &Refusal) {
        let Some(banners) = self.slots.get(&client.slot).map(|s| s.banners.clone()) else { return };
        self.send_banner(&client, banners.fail.as_ref());
        let Client { slot: id, fd, peer, .. } = client;
        let strict = self.options.log_refused && refusal.reason == Reason::Address;
        let Some(slot) = self.slots.get_mut(&id) else { return };
        if strict {
            self.announcer.start_line(&mut self.sinks, &self.stamp, slot, 0, Some(peer));
        }
        self.announcer.fail(&mut self.sinks, &self.stamp, slot, refusal.reason, Some(peer));
        if strict {
            self.announcer.exit(&mut self.sinks, &self.stamp, slot, Status::Exited(0), 0, 0);
        }
        drop(fd);
        self.after_refusal(id, peer, refusal);
    }

    /// What a refusal says in the daemon's log and does to the listener.
    pub fn after_refusal(&mut self, id: SlotId, peer: SocketAddr, refusal: &Refusal) {
        match refusal.cause {
            Cause::Load => {
                let text = format!("refused connect from {} due to excessive load", peer.ip());
                self.say(Level::Error, &text);
            }
            Cause::BothLists => {
                let name = self.slots.get(&id).map(|s| s.id().to_owned()).unwrap_or_default();
                let text = format!(
                    "Service={name}: only_from list and no_access list match equally the address {}",
                    peer.ip()
                );
                self.say(Level::Error, &text);
            }
            _ => {}
        }
        if let Some(hit) = refusal.sensor {
            self.sensor_hit(id, peer, hit);
        }
        if let Some(change) = refusal.change {
            self.rate_changed(id, change);
        } else if refusal.reason == Reason::Rate {
            self.watch_rate(id);
        }
    }

    fn sensor_hit(&mut self, id: SlotId, peer: SocketAddr, hit: SensorHit) {
        let source = peer.ip().to_canonical();
        match hit {
            SensorHit::Denied { until } | SensorHit::Extended { until } => {
                let minutes = until.map_or(-1, |until| {
                    let left = until.saturating_sub(self.stamp.mono()).as_secs().div_ceil(60);
                    i64::try_from(left).unwrap_or(i64::MAX)
                });
                let text = format!("Adding {} to the global_no_access list for {minutes} minutes", peer.ip());
                self.critical("process_sensor", &text);
                if let Some(until) = until {
                    self.timers.set(until, Alarm::Denied);
                }
                self.denied_changed(source, true, until);
            }
            SensorHit::Full => self.critical("process_sensor", "Maximum global_no_access count reached."),
            SensorHit::Protected => {
                let name = self.slots.get(&id).map(|s| s.id().to_owned()).unwrap_or_default();
                let text = format!("{source} tripped the sensor {name} and is protected: not denied");
                self.say(Level::Warning, &text);
            }
            SensorHit::AlreadyDenied | SensorHit::Forgeable | SensorHit::Never => {}
        }
    }

    /// Stops polling a listener until a moment.
    pub fn pause(&mut self, id: SlotId, until: Duration, why: &'static str) {
        self.poll_slot(id, false);
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.status = State::Paused(until, why);
            self.timers.set(until, Alarm::Unpause(id));
        }
    }

    /// A pause may be over.
    pub fn unpause(&mut self, id: SlotId) {
        let now = self.stamp.mono();
        let Some(slot) = self.slots.get_mut(&id) else { return };
        if let State::Paused(until, _) = slot.status
            && until <= now
        {
            slot.status = State::Active;
            self.poll_slot(id, true);
        }
    }
}

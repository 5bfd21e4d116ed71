//! wait=yes services: one program gets the socket itself, which is not polled until it ends (reference xinetd §9.4). A
//! refusal never leaves the service dead (§15.2 no. 1), and of a datagram socket only a refused datagram is taken, never
//! the queue (no. 15). Strangers are kept from a stream listener by a socket filter, since nobody here accepts.

use crate::client_variables::{Ends, client_variables};
use crate::hosts::{Known, Orders};
use crate::machine::percent_m;
use crate::passing::{self, How};
use crate::programs::{by_descriptor, part, slot_name};
use crate::slot::{Listener, ListenerId, Manner, Slot, SlotId, State};
use crate::supervisor::Supervisor;
use crate::timers::Alarm;
use crate::verify::Fit;
use portreeve_conf::Level;
use portreeve_policy::{
    Arrival, Cause, Facts, Pattern, Peer, Prefix, Proof, RateChange, Reason, Rule, Seat, Tables, Verdict,
    WaitVerdict, decide, decide_wait,
};
use portreeve_sys::spawn::{SpawnError, Stage};
use portreeve_sys::{clock, filter, limits, socket};
use rustix::fd::AsFd;
use rustix::net::RecvFlags;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// How long a socket rests after the kernel refused a process for it (xinetd's retry interval).
const FORK_PAUSE: Duration = Duration::from_secs(5);
/// How long a stream service with `wait = yes` rests while hosts.allow or hosts.deny hold a rule.
const TABLES_PAUSE: Duration = Duration::from_secs(2);
/// Refused datagrams taken per wake-up.
const REFUSALS: usize = 64;
/// A source that is refused again within this time is not logged again (reference xinetd §3.2).
const SAME_SOURCE: Duration = Duration::from_secs(60);
/// Bans that a filter has where the kernel drops whom they are about anyway.
const MOST_FILTERED: usize = 1024;
/// What one IPv6 host has at its disposal. Denied sources count by it where one by one they do not fit into a filter, so
/// that nobody fills it, and thereby stops the service, from addresses that cost nothing.
const ONE_HOST: u8 = 64;

impl Supervisor {
    /// A connection waits at a stream listener of a wait=yes service.
    pub fn start_wait_stream(&mut self, id: SlotId) {
        let now = self.now();
        self.refresh_tables();
        self.seek_seat(id, None);
        let Some(slot) = self.slots.get_mut(&id) else { return };
        // Rules that have come since the configuration was read, which refuses such a service: nobody can ask about its
        // clients, so they wait.
        if !slot.service.nolibwrap && self.hosts.hold_rules() {
            self.hold(id, Reason::Libwrap, now.mono + TABLES_PAUSE);
            return;
        }
        let load = slot.rules().rules().max_load.and_then(|_| limits::load_average());
        let facts = Facts { load, ..Facts::default() };
        match decide_wait(slot.rules(), &slot.state, &mut self.host, &facts, &now) {
            WaitVerdict::Start(seat) => self.start_holder(id, None, seat, None),
            WaitVerdict::Hold { reason, until } => self.hold(id, reason, until),
        }
        self.watch_rate(id);
    }

    /// Its program is not started for a reason that is no client's.
    pub fn hold(&mut self, id: SlotId, reason: Reason, until: Duration) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        if !slot.hold_logged {
            slot.hold_logged = true;
            self.announcer.fail(&mut self.sinks, &self.stamp, slot, (reason, None), None);
        }
        if reason == Reason::Rate {
            self.say_rate(id, true);
            if self.slots.get(&id).is_some_and(|s| s.state.rate_view(&self.now()).state == "closed") {
                self.rate_changed(id, RateChange::Closed { until });
                return;
            }
        }
        // A moment that has come already would spin the loop.
        let until = until.max(self.stamp.mono() + Duration::from_millis(250));
        self.pause(id, until, reason.word());
    }

    /// Datagrams wait at the socket of a wait=yes service.
    pub fn start_wait_datagram(&mut self, id: SlotId, number: ListenerId) {
        let now = self.now();
        for _ in 0..REFUSALS {
            let Some(slot) = self.slots.get_mut(&id) else { return };
            let Some(listener) = slot.listener(number) else { return };
            let peer = match socket::peek_source(&listener.fd) {
                Ok(Some(peer)) => peer,
                Ok(None) => return,
                Err(_) => {
                    // An error of the socket (an ICMP answer to an earlier send) is read off and done with.
                    let _ = rustix::net::sockopt::socket_error(&listener.fd);
                    return;
                }
            };
            let from = Peer::Inet(peer);
            self.seek_seat(id, Some(from.source()));
            let Some(slot) = self.slots.get_mut(&id) else { return };
            let Some(listener) = slot.listener(number) else { return };
            let arrival = Arrival { peer: from, proof: Proof::Nothing };
            let load = slot.rules().rules().max_load.and_then(|_| limits::load_average());
            let tables = if slot.service.nolibwrap { Tables::Off } else { Tables::NotAsked };
            let mut facts = Facts { load, tables, ..Facts::default() };
            let mut verdict =
                decide(slot.rules(), &slot.state, &mut self.host, &arrival, &facts, &now, false);
            let mut consulted = None;
            if let Verdict::NeedTables = verdict {
                // Nobody waits for the name of a datagram's claimed sender: docs/guide/differences.md.
                let local = listener.address().address();
                let Ok(said) = self.ask_tables(id, peer, local, &Known::default(), true) else { return };
                facts.tables = said.tables.clone();
                consulted = Some(said);
                let Some(slot) = self.slots.get_mut(&id) else { return };
                verdict = decide(slot.rules(), &slot.state, &mut self.host, &arrival, &facts, &now, true);
            }
            let orders = consulted.as_ref().map(|consulted| &consulted.orders);
            match verdict {
                Verdict::Admit(seat) => {
                    self.spawn_beside(id, peer.ip(), orders);
                    if let Some(orders) = orders {
                        self.say_twist(orders);
                    }
                    self.start_holder(id, Some(from), seat, orders);
                    self.watch_rate(id);
                    return;
                }
                Verdict::NeedNames | Verdict::NeedTables => {
                    self.refuse_datagram(id, number, peer, Reason::Address);
                }
                Verdict::Refuse(refusal) => {
                    let said = self.refuse_datagram(id, number, peer, refusal.reason);
                    if refusal.reason == Reason::Libwrap {
                        self.spawn_beside(id, peer.ip(), orders);
                    }
                    if said && refusal.reason == Reason::Libwrap {
                        self.say_refused_by_tables(id, from, consulted.as_ref(), &refusal);
                    }
                    if refusal.cause != Cause::Load {
                        self.after_refusal(id, from, &refusal);
                    }
                }
            }
            if !self.slots.get(&id).and_then(|s| s.listener(number)).is_some_and(|l| l.polled) {
                return;
            }
        }
    }

    /// Takes one datagram off the queue and says so, once a minute for one source. Whether it was said now.
    pub fn refuse_datagram(
        &mut self,
        id: SlotId,
        number: ListenerId,
        peer: SocketAddr,
        reason: Reason,
    ) -> bool {
        let now = self.stamp.mono();
        let Some(slot) = self.slots.get_mut(&id) else { return false };
        if let Some(listener) = slot.listener(number) {
            let mut byte = [0u8; 1];
            let _ = rustix::net::recv(&listener.fd, &mut byte, RecvFlags::DONTWAIT);
        }
        let again =
            slot.told.last_refused.is_some_and(|(p, at)| p == peer && now.saturating_sub(at) < SAME_SOURCE);
        if again {
            slot.counts.refuse(reason, 1);
        } else {
            slot.told.last_refused = Some((peer, now));
            self.announcer.fail(&mut self.sinks, &self.stamp, slot, (reason, None), Some(Peer::Inet(peer)));
        }
        !again
    }

    /// Datagrams at a sensor: logged and counted; a claimed address is never denied for them (ARCHITECTURE §7).
    pub fn sensor_datagrams(&mut self, id: SlotId, number: ListenerId) {
        self.start_wait_datagram(id, number);
    }

    fn start_holder(&mut self, id: SlotId, peer: Option<Peer>, seat: Seat, orders: Option<&Orders>) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        slot.hold_logged = false;
        let stream = slot.is_stream();
        let twisted = orders.is_some_and(|orders| orders.twist.is_some());
        let program = match if twisted { Fit::ByPath } else { self.fit(id) } {
            Fit::ByPath => None,
            Fit::This(fd, stays) => Some((fd, stays)),
            // It has changed in this very moment: the socket is looked at again.
            Fit::UnderWay | Fit::Refused => return,
        };
        let Some(slot) = self.slots.get(&id) else { return };
        let (Some(plan), [first, ..]) = (slot.plan(&self.inherited), slot.listeners.as_slice()) else {
            return;
        };
        let local = first.address().address().filter(|_| !stream && slot.listeners.len() == 1);
        let path = Some(first.address()).filter(|_| slot.is_local() && slot.listeners.len() == 1);
        let variables = client_variables(&Ends { peer, local, path }, false);
        let changed = orders.and_then(|orders| self.changed_program(slot, orders));
        let image = changed.as_ref().unwrap_or(&plan.image);
        // The program expects sockets that block; while it runs nobody here touches them. In the order of the configuration.
        let places = slot.service.listen.endpoints();
        let mut listeners: Vec<&Listener> = slot.listeners.iter().collect();
        listeners.sort_by_key(|listener| places.iter().position(|place| *place == listener.place));
        let low = listeners.iter().map(|listener| {
            let _ = rustix::io::ioctl_fionbio(&listener.fd, false);
            rustix::io::fcntl_dupfd_cloexec(&listener.fd, 3)
        });
        // What a rule has answer instead of the program has its client where a shell expects it.
        let listen_fds = plan.listen_fds.as_deref().filter(|_| !twisted);
        let how = How { listen_fds, program: by_descriptor(&program), ..How::default() };
        let outcome = low.collect::<Result<Vec<_>, _>>().map_err(SpawnError::Clone).and_then(|low| {
            let sockets: Vec<_> = low.iter().map(AsFd::as_fd).collect();
            passing::start(&mut self.spawner, image, variables.iter().collect(), how, &sockets)
        });
        let pid = match outcome {
            Ok(pid) => pid.as_raw_nonzero().get(),
            Err(SpawnError::Child { pid, stage, errno }) => {
                if stage == Stage::Cgroup {
                    // For the next start.
                    self.regroup(id, errno);
                }
                self.say_not_executed(id, &plan.server, part(image), stage, errno);
                pid.as_raw_nonzero().get()
            }
            Err(SpawnError::Clone(errno)) => {
                drop(seat);
                let name = slot_name(self, id);
                self.say(Level::Error, &format!("{name}: fork failed: {}", percent_m(&errno.into())));
                self.released(id);
                if let Some(slot) = self.slots.get_mut(&id) {
                    slot.counts.start_failures += 1;
                }
                self.pause(id, self.stamp.mono() + FORK_PAUSE, "fork failed");
                return;
            }
        };
        self.poll_slot(id, false);
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.status = State::Suspended;
        }
        self.started(id, pid, peer, Some(seat), true);
    }

    /// The program that had the socket has ended.
    pub fn released(&mut self, id: SlotId) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        for listener in &slot.listeners {
            let _ = rustix::io::ioctl_fionbio(&listener.fd, true);
        }
        if slot.status == State::Suspended {
            slot.status = State::Active;
            let unfiltered = slot.unfiltered;
            self.poll_slot(id, true);
            if unfiltered {
                self.attach_filter(id);
            }
        }
    }

    /// Puts what has changed in the list of denied sources onto the listeners, once a wake-up and at most a tenth of the
    /// time: whoever trips a sensor from thousands of addresses shall not keep the supervisor at compiling filters.
    pub fn renew_filters(&mut self) {
        if !self.filters_stale {
            return;
        }
        let begun = clock::monotonic();
        if begun < self.filters_rest {
            if !self.filters_set {
                self.filters_set = true;
                self.timers.set(self.filters_rest, Alarm::Filters);
            }
            return;
        }
        self.filters_stale = false;
        for id in self.slots.keys().copied().collect::<Vec<_>>() {
            self.attach_filter(id);
        }
        let ended = clock::monotonic();
        self.filters_rest = ended + ended.saturating_sub(begun) * 9;
    }

    /// Puts the filter of a wait=yes stream service onto its listener, anew at each change of lists or denied sources.
    pub fn attach_filter(&mut self, id: SlotId) {
        let asked = |slot: &Slot| slot.manner() == Manner::Wait && slot.is_stream();
        if !self.slots.get(&id).is_some_and(asked) {
            return;
        }
        let denied = self.denied_by_filter();
        let Some(slot) = self.slots.get(&id) else { return };
        let put_on = |listener: &Listener, address: SocketAddr, bits| {
            let dual = address.is_ipv6() && !slot.service.listen.v6only;
            match program(slot.rules().rules(), &denied, dual, bits) {
                Ok(None) => {
                    let _ = filter::detach(&listener.fd);
                    Ok(())
                }
                Ok(Some(program)) => filter::attach(&listener.fd, &program).map_err(|e| e.to_string()),
                Err(too_long) => Err(too_long.to_string()),
            }
        };
        let outcome = slot.listeners.iter().try_for_each(|listener| {
            let Some(address) = listener.address().address() else { return Ok(()) };
            put_on(listener, address, 128).or_else(|_| put_on(listener, address, ONE_HOST))
        });
        match outcome {
            Ok(()) => self.filter_fits(id),
            Err(error) => self.filter_does_not_fit(id, error),
        }
    }

    /// The networks that a filter has to keep out. Of a long list those that the kernel does not drop already.
    fn denied_by_filter(&mut self) -> Vec<Prefix> {
        let now = self.stamp.mono();
        let lasting = self.host.denied.iter().filter(|(_, ban)| ban.lasts(now)).map(|(network, _)| network);
        let mut denied: Vec<Prefix> = lasting.filter(|network| !self.host.protect.meets(network)).collect();
        if denied.len() > MOST_FILTERED && self.kernel_enforces() {
            denied.retain(|network| self.protected_in(network).is_some());
        }
        denied
    }

    /// Rather nobody than everybody: the service rests until the lists fit, which each change of them and each source
    /// that is denied no longer tries again. A program that has the socket keeps it with the filter of before.
    fn filter_does_not_fit(&mut self, id: SlotId, error: String) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        let news = !std::mem::replace(&mut slot.unfiltered, true);
        let name = slot.id().to_owned();
        if slot.status != State::Suspended {
            slot.status = State::Retrying(0, error.clone());
            self.poll_slot(id, false);
        }
        if news {
            self.say(Level::Error, &format!("service {name}: its address lists cannot be put onto its listener ({error}); it is not served"));
        }
    }

    fn filter_fits(&mut self, id: SlotId) {
        let Some(slot) = self.slots.get_mut(&id) else { return };
        if !std::mem::take(&mut slot.unfiltered) {
            return;
        }
        let name = slot.id().to_owned();
        if matches!(slot.status, State::Retrying(..)) {
            slot.status = State::Active;
            self.poll_slot(id, true);
        }
        self.say(Level::Notice, &format!("service {name}: its address lists are on its listener again"));
    }
}

/// The filter for a listener: denied sources (IPv6 ones by their first `v6_bits`) and no_access away, then only_from in.
/// `None` when everybody may come.
fn program(
    rules: &portreeve_policy::Rules,
    denied: &[Prefix],
    dual: bool,
    v6_bits: u8,
) -> Result<Option<Vec<filter::Insn>>, filter::TooLong> {
    let (mut deny4, mut deny6) = nets(rules.no_access.as_deref().unwrap_or_default(), dual);
    for network in denied {
        match network.address() {
            IpAddr::V4(ip) => deny4.push((ip.to_bits(), network.len())),
            IpAddr::V6(ip) => deny6.push((ip.to_bits(), network.len().min(v6_bits))),
        }
    }
    let allow = rules.only_from.as_deref().map(|rules| nets(rules, dual));
    if deny4.is_empty() && deny6.is_empty() && allow.is_none() {
        return Ok(None);
    }
    let allow = allow.as_ref().map(|(v4, v6)| (v4.as_slice(), v6.as_slice()));
    filter::allow_sources(&deny4, &deny6, allow).map(Some)
}

type Nets = (Vec<(u32, u8)>, Vec<(u128, u8)>);

/// The networks of the rules. On a dual-stack socket (`dual`) an IPv6 rule that covers mapped addresses is an IPv4 rule
/// too, because mapped clients arrive as IPv4 packets.
fn nets(rules: &[Rule], dual: bool) -> Nets {
    const MAPPED: u128 = 0xffff << 32;
    let mut nets = Nets::default();
    for rule in rules {
        match &rule.pattern {
            Pattern::V4(net, bits) => nets.0.push((*net, *bits)),
            Pattern::V6(net, bits) => {
                nets.1.push((*net, *bits));
                if dual && *bits >= 96 && *net >> 32 == 0xffff {
                    nets.0.push((u32::try_from(*net & 0xffff_ffff).unwrap_or(0), bits - 96));
                } else if dual && *bits < 96 && (MAPPED ^ *net) & prefix_mask(*bits) == 0 {
                    nets.0.push((0, 0));
                }
            }
            Pattern::Name(_) | Pattern::Suffix(_) => {}
        }
    }
    nets
}

fn prefix_mask(bits: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use portreeve_policy::Origin;

    fn rule(pattern: Pattern) -> Rule {
        Rule { text: String::new(), origin: Origin { file: "f".into(), line: 1 }, pattern }
    }

    #[test]
    fn ipv6_rules_reach_mapped_clients_only_on_dual_stack_sockets() {
        let all = [rule(Pattern::V6(0, 0))];
        assert_eq!(nets(&all, true).0, [(0, 0)]);
        assert!(nets(&all, false).0.is_empty());
        let one = [rule(Pattern::V6((0xffff << 32) | 0x7f00_0001, 128))];
        assert_eq!(nets(&one, true).0, [(0x7f00_0001, 32)]);
        let other = [rule(Pattern::V6(0x2001_0db8 << 96, 32))];
        assert!(nets(&other, true).0.is_empty());
    }
}

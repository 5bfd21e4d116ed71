//! The counters decisions are made on: per service, per host, and the seat that an admitted client holds.
//!
//! Counters change in two places only: an admission takes a [`Seat`], its drop gives everything back. A reload changes
//! rules and never counters.

use crate::address::AddressSet;
use crate::arrival::{Arrival, Now, Peer};
use crate::checks;
use crate::denied::Denied;
use crate::occupancy::Occupancy;
use crate::rate::minute::{Limits, Minute};
use crate::rate::{Rate, RateChange, RateView, SavedRate};
use crate::rules::{CompiledRules, Rules};
use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

/// The counters of one service, kept across reloads. They are made when the first client comes: of a thousand services few are called
/// within the hour.
#[derive(Debug, Default)]
pub struct ServiceState {
    inner: OnceCell<Rc<RefCell<Counters>>>,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) occupancy: Occupancy,
    pub(crate) rate: Rate,
    pub(crate) minute: Minute,
}

impl ServiceState {
    /// The counters of a service that nobody uses yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a client has ever come. Until then no limit is reached and no moment is due.
    pub fn was_called(&self) -> bool {
        self.inner.get().is_some()
    }

    /// Running instances. Unlike xinetd's, the count survives a stop for overload (reference xinetd §6.1).
    pub fn running(&self) -> u32 {
        self.known(0, |counters| counters.occupancy.running())
    }

    /// Whether `instances`, or `per_source` for this source, leave no room: what an end may change.
    pub fn is_full(&self, rules: &CompiledRules, source: Option<IpAddr>) -> bool {
        let rules = rules.rules();
        self.known(false, |counters| {
            let occupancy = &counters.occupancy;
            checks::instances_taken(rules, occupancy)
                || source.is_some_and(|source| checks::source_is_full(rules, occupancy, source))
        })
    }

    /// Distinct sources of the running instances, by the prefix that per_source counts by.
    pub fn sources(&self) -> usize {
        self.known(0, |counters| counters.occupancy.sources())
    }

    /// Running instances of the source that has most: how near anybody is to per_source.
    pub fn most_of_one_source(&self) -> u32 {
        self.known(0, |counters| counters.occupancy.most_of_one_source())
    }

    /// Starts within the last minute, where a limit counts them.
    pub fn starts_in_the_minute(&self, now: &Now) -> u32 {
        let Some(counters) = self.inner.get() else { return 0 };
        let (all, _) = counters.borrow_mut().minute.had(None, now.mono);
        u32::try_from(all).unwrap_or(u32::MAX)
    }

    /// The state of the rate limit, for status.
    pub fn rate_view(&self, now: &Now) -> RateView {
        self.read(|counters| counters.rate.view(now.mono))
    }

    /// The state of the rate limit as plain values.
    pub fn save_rate(&self) -> SavedRate {
        self.read(|counters| counters.rate.save())
    }

    /// The newest `most` starts of the last minute, the oldest of them first, and for whom they were.
    pub fn save_starts(&self, most: usize) -> Vec<(Duration, Option<IpAddr>)> {
        self.read(|counters| counters.minute.save(most))
    }

    /// Counters with this state of the rate limit, these starts of the last minute, and nobody inside.
    pub fn restored(rate: &SavedRate, starts: &[(Duration, Option<IpAddr>)]) -> Self {
        let (rate, minute) = (Rate::restore(rate), Minute::restore(starts));
        let counters = Counters { rate, minute, ..Counters::default() };
        ServiceState { inner: OnceCell::from(Rc::new(RefCell::new(counters))) }
    }

    /// The seat of an instance that was admitted by a former process: asked about nothing, counted as before.
    pub fn reseat(&self, host: &HostState, source: Option<IpAddr>, prefix: (u8, u8)) -> Seat {
        self.occupy(host, source, prefix)
    }

    /// The monotonic moment at which [`ServiceState::tick`] must next be called, `None` while nothing is due. A moment
    /// in the past means at once; ask again after every decision.
    pub fn deadline(&self) -> Option<Duration> {
        self.known(None, |counters| counters.rate.deadline())
    }

    /// Lets time pass: ends a pause or an overload whose time has come and returns the change that the listener must
    /// follow. Harmless when nothing is due. Call it after a reload too: a reload that switches cps off ends an overload.
    pub fn tick(&self, rules: &CompiledRules, now: &Now) -> Option<RateChange> {
        self.inner.get()?.borrow_mut().rate.tick(rules.rules().cps, now.mono)
    }

    /// How many arrivals may be taken before they are decided on, so that none is taken that a limit, after those before it, leaves in
    /// the kernel's queue. At least one.
    pub fn at_once(&self, rules: &CompiledRules, now: &Now) -> u64 {
        match rules.rules().starts_per_minute {
            Some(_) => 1,
            None => self.read(|counters| counters.rate.at_once(rules.rules().cps, now.mono)),
        }
    }

    pub(crate) fn read<T>(&self, read: impl FnOnce(&Counters) -> T) -> T {
        match self.inner.get() {
            Some(counters) => read(&counters.borrow()),
            None => read(&uncalled()),
        }
    }

    pub(crate) fn write<T>(&self, write: impl FnOnce(&mut Counters) -> T) -> T {
        write(&mut self.counters().borrow_mut())
    }

    #[inline]
    fn counters(&self) -> &Rc<RefCell<Counters>> {
        self.inner.get().unwrap_or_else(|| self.first_called())
    }

    #[cold]
    fn first_called(&self) -> &Rc<RefCell<Counters>> {
        self.inner.get_or_init(Rc::default)
    }

    /// What the counters say, and what they would say of a service that nobody has called.
    fn known<T>(&self, uncalled: T, read: impl FnOnce(&Counters) -> T) -> T {
        self.inner.get().map_or(uncalled, |counters| read(&counters.borrow()))
    }

    /// Claims an instance for the source of `arrival`, a process of the host and a start of the minute.
    pub(crate) fn claim(&self, host: &HostState, arrival: &Arrival, rules: &Rules, now: &Now) -> Seat {
        let source = arrival.source();
        self.count_start(arrival.starter(), rules, now);
        self.occupy(host, Some(source), rules.per_source_prefix)
    }

    /// The same for a server that accepts by itself.
    pub(crate) fn claim_unnamed(&self, host: &HostState, rules: &Rules, now: &Now) -> Seat {
        self.count_start(None, rules, now);
        self.occupy(host, None, rules.per_source_prefix)
    }

    /// Starts that a worker has admitted by a copy of the rules, for status and explanations; as many as a limit can be about.
    pub fn count_starts(&self, count: u64, rules: &CompiledRules, now: &Now) {
        let most = u64::from(rules.rules().starts_per_minute.unwrap_or(0));
        (0..count.min(most)).for_each(|_| self.count_start(None, rules.rules(), now));
    }

    pub(crate) fn count_start(&self, source: Option<IpAddr>, rules: &Rules, now: &Now) {
        if rules.minute() != Limits::default() {
            self.write(|counters| counters.minute.count(source, now.mono));
        }
    }

    pub(crate) fn occupy(&self, host: &HostState, source: Option<IpAddr>, prefix: (u8, u8)) -> Seat {
        let place = self.write(|counters| {
            counters.occupancy.count_by(prefix);
            counters.occupancy.enter(source)
        });
        host.running.set(host.running.get().saturating_add(1));
        Seat { claim: Some(Claim { service: Rc::clone(self.counters()), host: host.running.clone(), place }) }
    }
}

#[cold]
fn uncalled() -> Counters {
    Counters::default()
}

/// What all services share.
#[derive(Debug, Default)]
pub struct HostState {
    /// `-limit`: processes of all services together. `None` and 0 are no limit, as in xinetd.
    pub process_limit: Option<u32>,
    /// The sources that sensors and operators deny.
    pub denied: Denied,
    /// Sources that are never denied, whatever they trip. Address rules only: names are not looked up for it.
    pub protect: AddressSet,
    running: Rc<Cell<u32>>,
}

impl HostState {
    /// An empty deny list, nothing running.
    pub fn new(process_limit: Option<u32>, protect: AddressSet) -> Self {
        HostState { process_limit, protect, ..Self::default() }
    }

    /// Running instances of all services.
    pub fn running(&self) -> u32 {
        self.running.get()
    }

    /// Whether `-limit` leaves no room for another process.
    pub fn is_full(&self) -> bool {
        checks::processes_taken(self)
    }

    /// Whether the deny list refuses `peer` now. Protection beats a denial even when it was configured after it.
    pub fn denies(&self, peer: impl Into<Peer>, now: Duration) -> bool {
        let peer = peer.into();
        let denied = |address: SocketAddr| self.denied.contains(address.ip(), now);
        peer.address().is_some_and(denied) && !self.protects(peer)
    }

    /// Whether no sensor denies `peer`.
    pub fn protects(&self, peer: Peer) -> bool {
        peer.address().is_some_and(|address| self.protect.matches_address(address.ip()))
    }
}

/// What an admitted client occupies: one instance, one of its source's, one process. Dropping it gives all three back,
/// so it lives where the server process is kept until that is reaped.
#[must_use = "dropping the seat at once gives the instance back while it runs"]
pub struct Seat {
    claim: Option<Claim>,
}

struct Claim {
    service: Rc<RefCell<Counters>>,
    host: Rc<Cell<u32>>,
    place: u32,
}

impl Seat {
    /// A seat that occupies nothing, for a service without a process.
    pub(crate) fn none() -> Self {
        Seat { claim: None }
    }

    /// Whose it is, if it occupies anything; the inner `None` where the address is not known.
    pub fn holder(&self) -> Option<Option<IpAddr>> {
        let claim = self.claim.as_ref()?;
        Some(claim.service.borrow().occupancy.occupant(claim.place))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(Claim { service, host, place }) = self.claim.take() {
            service.borrow_mut().occupancy.leave(place);
            host.set(host.get().saturating_sub(1));
        }
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").field("place", &self.claim.as_ref().map(|claim| claim.place)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_makes_no_counters_and_a_client_does() {
        let (state, host) = (ServiceState::new(), HostState::default());
        let now = Now { mono: Duration::from_secs(9), minute: 0 };
        assert_eq!((state.running(), state.sources(), state.most_of_one_source()), (0, 0, 0));
        assert_eq!((state.starts_in_the_minute(&now), state.deadline()), (0, None));
        assert_eq!(state.save_starts(9), []);
        assert_eq!(state.rate_view(&now), ServiceState::restored(&state.save_rate(), &[]).rate_view(&now));
        assert!(!state.was_called());
        let seat = state.reseat(&host, None, (32, 64));
        assert!(state.was_called() && state.running() == 1 && host.running() == 1);
        drop(seat);
        assert_eq!((state.running(), host.running()), (0, 0));
    }
}

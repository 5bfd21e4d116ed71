//! cps: how many connections per second a service takes, and what overload does (reference xinetd §6.1).
//!
//! When the rate trips is decided by xinetd's own numbers ([`window`]). What happens then is not: xinetd closes the
//! listener, so that any host can keep a service off with N + 1 connections. Here overload goes through three measures:
//!
//! 1. every source above its share is refused until the overload ends;
//! 2. when the rest still exceeds the rate, the listener pauses, only until the rate has room for one more, and never
//!    beyond the end of the overload. The kernel's queue holds the clients;
//! 3. after the wait time all is forgotten and the service takes everybody again. Nothing a peer does prolongs it.
//!
//! `overload = close` keeps xinetd's behaviour instead.

pub(crate) mod minute;
mod saved;
mod sources;
mod window;

pub use saved::SavedRate;
use sources::SourceTable;
use std::net::IpAddr;
use std::time::Duration;
use window::Window;

/// A change of the rate limit's state. An overload begins with the first change after none or after `Resumed` and ends
/// with `Resumed`; in between `Throttled` and `Paused` may alternate many times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateChange {
    /// The listener accepts; sources above their share are refused until this monotonic moment.
    Throttled {
        /// End of the overload.
        until: Duration,
    },
    /// The listener must not be accepted from until this monotonic moment; it stays open.
    Paused {
        /// End of the pause.
        until: Duration,
    },
    /// `overload = close`: the listener is to be closed until this monotonic moment.
    Closed {
        /// End of the overload.
        until: Duration,
    },
    /// The overload is over: the listener accepts, nobody is throttled.
    Resumed,
}

impl RateChange {
    /// Whether the listener is to be accepted from after this change.
    pub fn accepts(&self) -> bool {
        matches!(self, RateChange::Throttled { .. } | RateChange::Resumed)
    }
}

/// The state of the rate limit, for status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateView {
    /// `open`, `throttled`, `paused` or `closed`.
    pub state: &'static str,
    /// Monotonic moment at which the overload ends.
    pub until: Option<Duration>,
    /// Connections per second that one source may make while throttled or paused.
    pub share: Option<u32>,
    /// Sources seen in the window, those that share the overflow counted as one.
    pub sources: usize,
    /// Sources refused until the overload ends.
    pub refused_sources: usize,
}

/// What the rate limit says to one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Within the rate.
    Pass,
    /// Refused, with the change that this connection brought about.
    Refuse(Option<RateChange>, Excess),
}

/// Who is too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Excess {
    /// The service as a whole.
    Service,
    /// This source, above its share.
    Source,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    Throttled {
        until: Duration,
    },
    Paused {
        until: Duration,
        resume: Duration,
    },
    Closed {
        until: Duration,
    },
}

/// The rate state of one service. Cloned by `explain`, which asks the copy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rate {
    window: Window,
    sources: SourceTable,
    phase: Phase,
    /// The rate that tripped, to show the share.
    tripped_at: u32,
    /// A change that no verdict carried and that `tick` still has to tell.
    owed: Option<RateChange>,
}

impl Rate {
    /// Counts one connection. `cps` is (connections per second, wait seconds), `source` is unknown where the server
    /// itself accepts.
    pub(crate) fn admit(
        &mut self,
        cps: (u32, u32),
        closes: bool,
        source: Option<IpAddr>,
        now: Duration,
    ) -> Pace {
        let (limit, wait) = cps;
        self.settle(limit, now);
        if limit == 0 {
            return Pace::Pass;
        }
        match self.phase {
            // Accepted before the listener stopped: not counted, so that a full queue cannot stretch the pause.
            Phase::Paused { .. } | Phase::Closed { .. } => return Pace::Refuse(None, Excess::Service),
            Phase::Throttled { .. } if source.is_some_and(|source| self.sources.is_refused(source)) => {
                return Pace::Refuse(None, Excess::Source);
            }
            Phase::Open | Phase::Throttled { .. } => {}
        }
        if self.window.count(limit, now) {
            self.sources.next_window();
        }
        match (self.phase, source) {
            // A server that ends without accepting would be started in a loop: there the stop lasts a second at least.
            (Phase::Open, None) if closes => self.admit_or_close(limit, wait.max(1), now),
            (Phase::Open, Some(_)) if closes => self.admit_or_close(limit, wait, now),
            (_, Some(source)) => self.admit_by_share(limit, wait, source, now),
            (_, None) => self.admit_or_wait(limit, wait, now),
        }
    }

    /// How many arrivals may be taken at once before the limit can want the rest left where they wait; at least one.
    pub(crate) fn at_once(&self, (limit, _): (u32, u32), now: Duration) -> u64 {
        match self.phase {
            _ if limit == 0 => u64::MAX,
            Phase::Open => self.window.until_exceeded(limit, now),
            Phase::Throttled { .. } | Phase::Paused { .. } | Phase::Closed { .. } => 1,
        }
    }

    /// xinetd's way.
    fn admit_or_close(&mut self, limit: u32, wait: u32, now: Duration) -> Pace {
        if !self.window.exceeds(limit, now) {
            return Pace::Pass;
        }
        let until = now.saturating_add(seconds(wait));
        self.phase = Phase::Closed { until };
        self.refuse(RateChange::Closed { until }, limit, Excess::Service)
    }

    /// Without a source there is no share: everybody waits.
    fn admit_or_wait(&mut self, limit: u32, wait: u32, now: Duration) -> Pace {
        if !self.window.exceeds(limit, now) {
            return Pace::Pass;
        }
        let until = self.end_of_overload(wait, now);
        self.phase = Phase::Paused { until, resume: until };
        self.refuse(RateChange::Paused { until }, limit, Excess::Service)
    }

    fn admit_by_share(&mut self, limit: u32, wait: u32, source: IpAddr, now: Duration) -> Pace {
        self.sources.count(source);
        if self.phase == Phase::Open {
            if !self.window.exceeds(limit, now) {
                return Pace::Pass;
            }
            return self.trip(limit, wait, source, now);
        }
        if self.sources.refuse_if_above(source, limit, self.window.elapsed(now)) {
            // The attempt is nobody's load. What the source was admitted for before stays counted: else many sources
            // that each make one connection too many would pass without limit.
            self.window.forget_one();
            return Pace::Refuse(None, Excess::Source);
        }
        if !self.window.exceeds(limit, now) {
            return Pace::Pass;
        }
        self.pause(limit, self.end_of_overload(wait, now))
    }

    /// The rate is exceeded for the first time: those above their share go, and what remains is counted alone.
    fn trip(&mut self, limit: u32, wait: u32, source: IpAddr, now: Duration) -> Pace {
        let until = self.end_of_overload(wait, now);
        let rest = self.sources.refuse_all_above(limit, self.window.elapsed(now));
        self.window.keep(rest);
        if self.window.exceeds(limit, now) {
            return self.pause(limit, until);
        }
        self.phase = Phase::Throttled { until };
        let change = RateChange::Throttled { until };
        if self.sources.is_refused(source) {
            self.refuse(change, limit, Excess::Source)
        } else {
            self.tripped_at = limit;
            self.owed = Some(change);
            Pace::Pass
        }
    }

    /// The rest exceeds the rate: nobody until there is room again, and never beyond the end of the overload.
    fn pause(&mut self, limit: u32, until: Duration) -> Pace {
        self.window.forget_one(); // refused, it is no load
        let resume = self.window.room_at(limit).min(until);
        self.phase = Phase::Paused { until, resume };
        self.refuse(RateChange::Paused { until: resume }, limit, Excess::Service)
    }

    /// The end of the overload that runs, or of one that begins now. At least a second: xinetd's `cps = N 0` still
    /// holds the rate, because there the window goes on.
    fn end_of_overload(&self, wait: u32, now: Duration) -> Duration {
        match self.phase {
            Phase::Throttled { until } | Phase::Paused { until, .. } | Phase::Closed { until } => until,
            Phase::Open => now.saturating_add(seconds(wait.max(1))),
        }
    }

    /// The verdict carries the change, which makes an older one that nobody was told pointless.
    fn refuse(&mut self, change: RateChange, limit: u32, excess: Excess) -> Pace {
        self.tripped_at = limit;
        self.owed = None;
        Pace::Refuse(Some(change), excess)
    }

    /// Ends what has run out of time by `now`.
    fn settle(&mut self, limit: u32, now: Duration) {
        let until = match self.phase {
            Phase::Open => return,
            Phase::Throttled { until } | Phase::Paused { until, .. } | Phase::Closed { until } => until,
        };
        if now >= until || limit == 0 {
            // xinetd's window goes on over the stop; ours begins afresh, for the sources' sake.
            if !matches!(self.phase, Phase::Closed { .. }) || limit == 0 {
                self.window = Window::default();
            }
            self.sources.clear();
            self.phase = Phase::Open;
            self.owed = Some(RateChange::Resumed);
        } else if let Phase::Paused { until, resume } = self.phase
            && now >= resume
        {
            self.phase = Phase::Throttled { until };
            self.owed = Some(RateChange::Throttled { until });
        }
    }

    pub(crate) fn tick(&mut self, (limit, _): (u32, u32), now: Duration) -> Option<RateChange> {
        self.settle(limit, now);
        self.owed.take()
    }

    pub(crate) fn deadline(&self) -> Option<Duration> {
        if self.owed.is_some() {
            return Some(Duration::ZERO);
        }
        match self.phase {
            Phase::Open => None,
            Phase::Paused { resume, .. } => Some(resume),
            Phase::Throttled { until } | Phase::Closed { until } => Some(until),
        }
    }

    pub(crate) fn view(&self, now: Duration) -> RateView {
        let (state, until) = match self.phase {
            Phase::Open => ("open", None),
            Phase::Throttled { until } => ("throttled", Some(until)),
            Phase::Paused { until, resume } if now >= resume => ("throttled", Some(until)),
            Phase::Paused { until, .. } => ("paused", Some(until)),
            Phase::Closed { until } => ("closed", Some(until)),
        };
        let (state, until) =
            if until.is_some_and(|until| now >= until) { ("open", None) } else { (state, until) };
        let shared = matches!(state, "throttled" | "paused");
        RateView {
            state,
            until,
            share: shared.then(|| self.sources.share(self.tripped_at)),
            sources: self.sources.len(),
            refused_sources: if shared { self.sources.refused() } else { 0 },
        }
    }
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.into())
}

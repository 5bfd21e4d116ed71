//! xinetd's arithmetic of cps (reference xinetd §6.1): a whole-second clock, a window as many seconds long as the rate
//! is high, integer division. These numbers are the contract; they decide when a rate trips and nothing else.

use std::time::Duration;

/// The running window: its first second and the connections counted since.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Window {
    start: u64,
    count: u64,
}

impl Window {
    /// Its first second and its count.
    pub(crate) fn parts(&self) -> (u64, u64) {
        (self.start, self.count)
    }

    /// A window of these.
    pub(crate) fn of(start: u64, count: u64) -> Self {
        Window { start, count }
    }

    /// Counts one connection; whether it began a new window.
    pub(crate) fn count(&mut self, limit: u32, now: Duration) -> bool {
        let second = now.as_secs();
        if self.count == 0 || second.saturating_sub(self.start) >= u64::from(limit) {
            *self = Window { start: second, count: 1 };
            return true;
        }
        self.count += 1;
        false
    }

    /// Seconds by which a count is divided: at least one.
    pub(crate) fn elapsed(&self, now: Duration) -> u64 {
        now.as_secs().saturating_sub(self.start).max(1)
    }

    /// Whether the connections of the window are more than `limit` per second.
    pub(crate) fn exceeds(&self, limit: u32, now: Duration) -> bool {
        self.count / self.elapsed(now) > u64::from(limit)
    }

    /// How many more may be counted now, until with the last of them the window exceeds; at least one.
    pub(crate) fn until_exceeded(&self, limit: u32, now: Duration) -> u64 {
        let limit = u64::from(limit);
        let begins = self.count == 0 || now.as_secs().saturating_sub(self.start) >= limit;
        let (count, elapsed) = if begins { (0, 1) } else { (self.count, self.elapsed(now)) };
        (limit + 1).saturating_mul(elapsed).saturating_sub(count).max(1)
    }

    /// Only `count` connections of the window stay counted.
    pub(crate) fn keep(&mut self, count: u64) {
        self.count = count;
    }

    /// The last connection counted does not count.
    pub(crate) fn forget_one(&mut self) {
        self.count = self.count.saturating_sub(1);
    }

    /// The first moment at which one more connection would not exceed the rate. It lies after the last counted one when
    /// the window exceeds the rate now.
    pub(crate) fn room_at(&self, limit: u32) -> Duration {
        let limit = u64::from(limit);
        // (count + 1) / e <= limit, in whole numbers, first holds at this e; at e = limit the window ends anyway.
        let elapsed = (self.count + 1) / (limit + 1) + 1;
        Duration::from_secs(self.start.saturating_add(elapsed.min(limit.max(1))))
    }
}

#[cfg(test)]
mod tests {
    use super::Window;
    use std::time::Duration;

    #[test]
    fn what_may_be_counted_at_once_does_not_exceed_before_its_end() {
        for limit in [1u32, 2, 3, 7, 50] {
            for count in 0..120 {
                for later in [0, 1, 2, 6, 7, 49, 50, 90] {
                    let (mut window, now) = (Window { start: 100, count }, Duration::from_secs(100 + later));
                    let until = window.until_exceeded(limit, now);
                    for n in 1..=until {
                        window.count(limit, now);
                        assert!(n == until || !window.exceeds(limit, now), "{n} of {until}, {limit} {count}");
                    }
                    assert!(window.exceeds(limit, now), "{limit} {count} {later}: {until}");
                }
            }
        }
    }

    #[test]
    fn room_is_the_first_second_that_takes_one_more() {
        for limit in [1u32, 2, 3, 7, 50] {
            for count in 1..400 {
                let window = Window { start: 100, count };
                let room = window.room_at(limit);
                let takes = |now: Duration| {
                    let mut later = window;
                    later.count(limit, now);
                    !later.exceeds(limit, now)
                };
                assert!(takes(room), "cps {limit}, {count} counted, {room:?}");
                if !takes(Duration::from_secs(100)) {
                    assert!(!takes(room - Duration::from_secs(1)), "cps {limit}, {count} counted, {room:?}");
                }
            }
        }
    }
}

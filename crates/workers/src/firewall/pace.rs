//! How often the kernel is looked at without a reason, and when a look goes on that asks it for all that it has. Such a dump the kernel begins
//! anew for each portion, and walks over what it has told already: with a million bans ten milliseconds. It makes way to others. To ask
//! for who is to be there takes short steps that nobody has to wait for, so neither that nor a repair makes way. Pure: knows no socket.

use std::time::Duration;

/// A look without a reason: what no notification told.
pub(super) const ROUTINE: Duration = Duration::from_secs(30);
/// Of the time the looks of routine take a hundredth at most, dumps aside.
const SHARE: u32 = 100;
/// A step of a dump that takes less is followed by the next at once.
const SHORT: Duration = Duration::from_millis(1);
/// So long after a message of the supervisor others are likely to come.
const BUSY: Duration = Duration::from_millis(50);
/// While they come, a step is followed by a rest of so many times what it took, so that one in a hundred meets it; but not of more than that.
const FACTOR: u32 = 100;
const LONGEST: Duration = Duration::from_secs(1);

/// What is known of the looks so far.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The supervisor's last message.
    heard: Duration,
    /// The end of the last step, and what it took where it was one of a dump.
    stepped: Duration,
    took: Duration,
    /// What the look that goes on has taken, and what the last one took.
    spent: Duration,
    whole: Duration,
}

impl Pace {
    /// The supervisor has said something.
    pub(super) fn hear(&mut self, now: Duration) {
        self.heard = now;
    }

    /// A look begins, in place of one that went on.
    pub(super) fn begin(&mut self) {
        (self.spent, self.took) = (Duration::ZERO, Duration::ZERO);
    }

    /// A step was taken; `of_dump`: it read a portion of one; `over`: it was the last.
    pub(super) fn step(&mut self, began: Duration, ended: Duration, of_dump: bool, over: bool) {
        let took = ended.saturating_sub(began);
        (self.stepped, self.took) = (ended, if of_dump { took } else { Duration::ZERO });
        self.spent += took - self.took;
        if over {
            (self.whole, self.spent) = (std::mem::take(&mut self.spent), Duration::ZERO);
        }
    }

    /// When the look may go on.
    pub(super) fn next_step(&self) -> Duration {
        let rest = match self.took {
            short if short < SHORT => return Duration::ZERO,
            long if self.stepped < self.heard + BUSY => long * FACTOR,
            long => long,
        };
        self.stepped + rest.min(LONGEST)
    }

    /// How long after the last look the next one of routine begins.
    pub(super) fn routine(&self) -> Duration {
        ROUTINE.max(self.whole.saturating_mul(SHARE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn long_steps_of_a_dump_leave_time_to_others_and_more_of_it_to_who_speaks() {
        let mut pace = Pace::default();
        pace.step(ms(1000), ms(1000) + SHORT / 2, true, false);
        assert_eq!(pace.next_step(), Duration::ZERO, "a short list is looked through at once");
        pace.step(ms(2000), ms(2003), true, false);
        assert_eq!(pace.next_step(), ms(2006));
        pace.hear(ms(2004));
        assert_eq!(pace.next_step(), ms(2303));
        pace.step(ms(2303), ms(2403), true, false);
        assert_eq!(pace.next_step(), ms(2503), "nobody has spoken for a while");
        pace.hear(ms(2403));
        assert_eq!(pace.next_step(), ms(3403));
    }

    /// Whoever has himself banned again and again would else put off that the kernel drops the others again.
    #[test]
    fn what_is_asked_for_by_name_waits_for_nobody_who_speaks() {
        let mut pace = Pace::default();
        pace.hear(ms(1000));
        pace.step(ms(1000), ms(1010), true, false);
        assert_eq!(pace.next_step(), ms(2010));
        pace.begin();
        assert_eq!(pace.next_step(), Duration::ZERO, "a new one waits for no former one");
        pace.hear(ms(1011));
        pace.step(ms(1011), ms(1031), false, false);
        assert_eq!(pace.next_step(), Duration::ZERO);
    }

    #[test]
    fn looks_that_take_long_are_rare() {
        let mut pace = Pace::default();
        assert_eq!(pace.routine(), ROUTINE);
        pace.step(ms(0), ms(4000), false, false);
        assert_eq!(pace.routine(), ROUTINE, "it is not over");
        pace.step(ms(4000), ms(4999), true, false);
        pace.step(ms(5000), ms(8000), false, true);
        assert_eq!(pace.routine(), ms(700_000), "without the dump, which has a pace of its own");
        pace.step(ms(9000), ms(9010), false, true);
        assert_eq!(pace.routine(), ROUTINE);
    }
}

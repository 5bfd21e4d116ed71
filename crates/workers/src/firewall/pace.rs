//! When the kernel is looked at, and when a look goes on. The kernel begins a dump anew for each portion and walks over all that it has
//! told already, so a look at a million bans takes seconds of it, and a step of one ten milliseconds. What is only looked after makes way to others;
//! what somebody has changed, and what is known to be missing, does not wait for whoever goes on speaking. Pure: knows no socket.

use std::time::Duration;

/// A look without a reason: what no notification told.
pub(super) const ROUTINE: Duration = Duration::from_secs(30);
/// Of the time the looks of routine take a hundredth at most.
const SHARE: u32 = 100;
/// A step that takes less is followed by the next at once.
const SHORT: Duration = Duration::from_millis(1);
/// So long after a message of the supervisor others are likely to come.
const BUSY: Duration = Duration::from_millis(50);
/// While they come, a step is followed by a rest of so many times what it took, but not of more than that.
const FACTOR: u32 = 20;
const LONGEST: Duration = Duration::from_secs(1);
/// A look with a reason that has taken so long could not keep its second anyway: from there on, half of the time is others'.
const PROMPT: Duration = Duration::from_secs(2);

/// What a look is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Haste {
    /// Nobody has told of anything.
    #[default]
    Routine,
    /// Somebody has changed something.
    Reason,
    /// Something is missing, or may be.
    Mends,
}

/// What is known of the looks so far.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The supervisor's last message.
    heard: Duration,
    /// The end of the last step, and what it took.
    stepped: Duration,
    took: Duration,
    /// What the look that goes on has taken, and what the last one took.
    spent: Duration,
    whole: Duration,
    haste: Haste,
}

impl Pace {
    /// The supervisor has said something.
    pub(super) fn hear(&mut self, now: Duration) {
        self.heard = now;
    }

    /// A look begins, in place of one that went on.
    pub(super) fn begin(&mut self, haste: Haste) {
        (self.spent, self.took, self.haste) = (Duration::ZERO, Duration::ZERO, haste);
    }

    /// The look that goes on is for this, too.
    pub(super) fn hurry(&mut self, haste: Haste) {
        self.haste = self.haste.max(haste);
    }

    /// A step was taken; `over`: it was the last.
    pub(super) fn step(&mut self, began: Duration, ended: Duration, over: bool) {
        (self.stepped, self.took) = (ended, ended.saturating_sub(began));
        self.spent += self.took;
        if over {
            (self.whole, self.spent) = (std::mem::take(&mut self.spent), Duration::ZERO);
        }
    }

    /// When the look may go on.
    pub(super) fn next_step(&self) -> Duration {
        let rest = match self.took {
            short if short < SHORT => return Duration::ZERO,
            _ if self.haste == Haste::Mends => return Duration::ZERO,
            _ if self.haste == Haste::Reason && self.spent < PROMPT => return Duration::ZERO,
            long if self.haste == Haste::Reason => long.min(LONGEST),
            long if self.stepped < self.heard + BUSY => (long * FACTOR).min(LONGEST),
            long => long.min(LONGEST),
        };
        self.stepped + rest
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
    fn long_steps_leave_time_to_others_and_more_of_it_to_who_speaks() {
        let mut pace = Pace::default();
        pace.step(ms(1000), ms(1000) + SHORT / 2, false);
        assert_eq!(pace.next_step(), Duration::ZERO, "a short list is looked through at once");
        pace.step(ms(2000), ms(2010), false);
        assert_eq!(pace.next_step(), ms(2020));
        pace.hear(ms(2015));
        assert_eq!(pace.next_step(), ms(2210));
        pace.step(ms(2210), ms(2310), false);
        assert_eq!(pace.next_step(), ms(2410), "nobody has spoken for a while");
        pace.hear(ms(2310));
        assert_eq!(pace.next_step(), ms(3310));
    }

    /// Whoever has himself banned again and again would else put off that the kernel drops the others again.
    #[test]
    fn what_has_a_reason_waits_for_nobody_who_speaks() {
        let mut pace = Pace::default();
        pace.begin(Haste::Routine);
        pace.hear(ms(1000));
        pace.step(ms(1000), ms(1010), false);
        assert_eq!(pace.next_step(), ms(1210));
        pace.hurry(Haste::Reason);
        assert_eq!(pace.next_step(), Duration::ZERO);
        pace.hurry(Haste::Routine);
        assert_eq!(pace.next_step(), Duration::ZERO, "it keeps its reason");
        pace.step(ms(1010), ms(1010) + PROMPT, false);
        pace.hear(ms(1010) + PROMPT);
        assert_eq!(
            pace.next_step(),
            ms(1010) + PROMPT + LONGEST,
            "one that takes long rests as long as it works"
        );
        pace.hurry(Haste::Mends);
        assert_eq!(pace.next_step(), Duration::ZERO);
        pace.begin(Haste::Routine);
        pace.step(ms(5000), ms(5010), false);
        assert_eq!(pace.next_step(), ms(5020), "the next one has none");
    }

    #[test]
    fn looks_that_take_long_are_rare() {
        let mut pace = Pace::default();
        assert_eq!(pace.routine(), ROUTINE);
        pace.step(ms(0), ms(4000), false);
        assert_eq!(pace.routine(), ROUTINE, "it is not over");
        pace.step(ms(5000), ms(8000), true);
        assert_eq!(pace.routine(), ms(700_000));
        pace.step(ms(9000), ms(9010), true);
        assert_eq!(pace.routine(), ROUTINE);
    }
}

//! What an evaluation comes to, and why.

use crate::table::Place;

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The client may go on.
    Granted,
    /// It may not.
    Denied,
    /// A `twist` answers instead of the server: [`crate::Act::Twist`] was given to the world.
    Delegated,
    /// The world answered [`crate::Answer::Pending`]: evaluate again, with a new world of acts, when it knows.
    Pending,
}

/// Why it was decided so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// No rule of either table matches.
    NoRule,
    /// The rule at `by`, or an `allow` or `deny` option there.
    Rule,
    /// An option of the rule at `by` is wrong, or what it ordered cannot be done.
    BadOption,
    /// `hosts.deny` cannot be read, or not beyond `by`: nobody knows what it refuses.
    BrokenTable,
    /// A name, user or netgroup that could change the verdict could not be asked for (never said of a true negative).
    Unavailable,
}

/// A verdict with its reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What was decided.
    pub verdict: Verdict,
    /// Why.
    pub why: Why,
    /// The rule or the broken line that decided.
    pub by: Option<Place>,
}

//! Why the tables decide as they do: the evaluation itself, with its steps noted. Never a second evaluator.

use crate::evaluate::{Settings, decide};
use crate::process::Processed;
use crate::request::Request;
use crate::table::{Place, Tables};
use crate::verdict::Decision;
use crate::world::World;

/// As many steps are kept; of a table with more rules for the daemon only these.
pub const MOST_STEPS: usize = 1000;

/// What became of a line that the evaluation looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The daemon list matches, the client list does not.
    OtherClient,
    /// It would perhaps match, had a name, user or netgroup been told.
    Unknown,
    /// It matches, and its options come to this.
    Matched(Processed),
    /// It matches and would grant, but the rule at this place, which could refuse, is unknown: nothing of it is done.
    Unsettled(Place),
    /// It has no colon that counts, and is passed over.
    NoColon,
    /// The table is in error here.
    Broken,
}

impl std::fmt::Display for Outcome {
    /// What became of it, for a person: the end of a sentence that begins with the rule.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::OtherClient => "is for other clients",
            Self::Unknown => "depends on a name, user or netgroup that could not be asked for",
            Self::Matched(Processed::Through) => "matches",
            Self::Matched(Processed::Granted) => "matches, and its option allow grants",
            Self::Matched(Processed::Denied) => "matches, and its option deny refuses",
            Self::Matched(Processed::Delegated) => {
                "matches, and its option twist answers instead of the server"
            }
            Self::Matched(Processed::Wrong) => "matches, and refuses because an option is wrong",
            Self::Matched(Processed::Withdrawn) => {
                "matches, but its aclexec says no: no rule of this table counts"
            }
            Self::Matched(Processed::Unavailable) => {
                "matches, and refuses because its aclexec could not be asked"
            }
            Self::Matched(Processed::Broken) => {
                "matches, but its options grow too long: the table is in error"
            }
            Self::Matched(Processed::Pending) => "matches, and its options wait for an answer",
            Self::Unsettled(place) => {
                return write!(f, "matches, but the rule in line {} might have refused", place.line);
            }
            Self::NoColon => "has no colon and is passed over",
            Self::Broken => "is in error, and the table with it",
        })
    }
}

/// One line that the evaluation looked at. Rules of other daemons are not among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where it stands.
    pub place: Place,
    /// The rule; empty where it could not be read.
    pub rule: Vec<u8>,
    /// The words of its lists that matched, or might have had they been told: for the daemons, then for the clients, one for
    /// each part between EXCEPTs. Of a rule for another client the last one may be the exception.
    pub words: Vec<Vec<u8>>,
    /// What became of it.
    pub outcome: Outcome,
}

/// A decision and the way to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// What was decided.
    pub decision: Decision,
    /// The lines that were looked at, in order; the last one of them decided, if any rule did.
    pub steps: Vec<Step>,
    /// How many more there were after the first [`MOST_STEPS`]; the last is kept in any case.
    pub left_out: usize,
}

/// Decides on `request`, and tells how. The world is asked and ordered as by [`crate::evaluate`].
/// Give it the tables' text: of a compiled table only some steps can be told.
pub fn explain(
    tables: &Tables<'_>,
    request: &mut Request,
    world: &mut dyn World,
    settings: &Settings,
) -> Explanation {
    let mut steps = Steps { noted: Some(Vec::new()), left_out: 0 };
    let decision = decide(tables, request, world, settings, &mut steps);
    Explanation { decision, steps: steps.noted.unwrap_or_default(), left_out: steps.left_out }
}

/// The steps of one evaluation, if somebody wants them.
pub(crate) struct Steps {
    noted: Option<Vec<Step>>,
    left_out: usize,
}

impl Steps {
    pub(crate) fn none() -> Self {
        Self { noted: None, left_out: 0 }
    }

    pub(crate) fn wanted(&self) -> bool {
        self.noted.is_some()
    }

    pub(crate) fn add(&mut self, place: Place, rule: &[u8], words: &[Vec<u8>], outcome: Outcome) {
        let Some(noted) = &mut self.noted else { return };
        if noted.len() == MOST_STEPS {
            noted.pop();
            self.left_out += 1;
        }
        noted.push(Step { place, rule: rule.to_vec(), words: words.to_vec(), outcome });
    }
}

//! Where the scan of a table gets its rules from: THE HOOK for compiled tables. The walk over a table's text yields every rule;
//! an index yields, in the same order, those that can match this request, together with whatever the walk would have
//! said on the way (lines without a colon, a broken end). Both give the same decision, because only the scan decides.

use crate::lines::{Line, Lines};
use crate::split::Rule;

/// What the scan meets next.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Met<'a> {
    /// A rule.
    Rule(Candidate<'a>),
    /// A line without a colon that counts; skipped with a warning. Its number.
    NoColon(u32),
    /// The table ends here in error: a line without newline, or too long. Its number.
    Broken(u32),
}

/// A rule that may match.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate<'a> {
    /// Its line.
    pub(crate) number: u32,
    /// The whole rule, for `explain`; may be empty.
    pub(crate) text: &'a [u8],
    /// The daemon list.
    pub(crate) daemons: Clause<'a>,
    /// The client list.
    pub(crate) clients: Clause<'a>,
    /// The options; `Some` of nothing is one empty option.
    pub(crate) options: Option<&'a [u8]>,
}

/// A list of a candidate.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Clause<'a> {
    /// To be matched.
    Text(&'a [u8]),
    /// Known to match, from what an index is told: the daemon's name and the client's address.
    #[allow(dead_code, reason = "the walk never knows; an index does")]
    Matches(&'a [u8]),
}

/// The rules of a table in their order, for one request.
pub(crate) trait Candidates {
    /// The next.
    fn next(&mut self) -> Option<Met<'_>>;
}

/// Every rule of a table's text.
pub(crate) struct Walk<'t> {
    lines: Lines<'t>,
}

impl<'t> Walk<'t> {
    pub(crate) fn new(table: &'t [u8]) -> Self {
        Self { lines: Lines::new(table) }
    }
}

impl Candidates for Walk<'_> {
    #[inline]
    fn next(&mut self) -> Option<Met<'_>> {
        // A broken end counts even where it is a comment.
        while self.lines.advance() {
            let line = self.lines.current();
            if !line.complete || !(line.is_comment() || line.is_blank()) {
                return Some(met(&self.lines.current()));
            }
        }
        None
    }
}

#[inline]
fn met<'a>(line: &Line<'a>) -> Met<'a> {
    if !line.complete {
        return Met::Broken(line.number);
    }
    let Some(rule) = Rule::new(line.text) else { return Met::NoColon(line.number) };
    Met::Rule(Candidate {
        number: line.number,
        text: line.text,
        daemons: Clause::Text(rule.daemons),
        clients: Clause::Text(rule.clients),
        options: rule.options,
    })
}

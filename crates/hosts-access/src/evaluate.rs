//! THE evaluation: both tables, top-down, first match wins (reference A1). tcpd, libwrap, the daemon and the predictors all
//! call it.

use crate::candidates::{Candidate, Candidates, Clause, Met, Walk};
use crate::explain::{Outcome, Steps};
use crate::inquiry::{Inquiry, Stop};
use crate::message::Message;
use crate::process::{Outlook, Processed, outlook};
use crate::request::Request;
use crate::table::{Content, Place, Tables, Which};
use crate::verdict::{Decision, Verdict, Why};
use crate::world::{Act, Done, World};
use crate::{Field, Truth};

/// How to evaluate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Options after the client list (the build of every distribution), or one shell command.
    pub options: bool,
    /// 0; 1 says each option; 2 says the matched line too.
    pub verbose: u8,
    /// A resident process (one that has evaluated before) may not `twist`. Predictors, which never twist, leave it out.
    pub resident: bool,
}

/// Decides on `request`.
pub fn evaluate(
    tables: &Tables<'_>,
    request: &mut Request,
    world: &mut dyn World,
    settings: &Settings,
) -> Decision {
    decide(tables, request, world, settings, &mut Steps::none())
}

/// The same, with every step noted.
pub(crate) fn decide(
    tables: &Tables<'_>,
    request: &mut Request,
    world: &mut dyn World,
    settings: &Settings,
    steps: &mut Steps,
) -> Decision {
    let mut evaluation =
        Evaluation { inquiry: Inquiry::new(request, world), settings, steps, unknown: None, daemons: None };
    if evaluation.steps.wanted() {
        evaluation.inquiry.words = Some(Vec::new());
    }
    let decision = evaluation.tables(tables);
    evaluation.inquiry.leave();
    decision
}

const PENDING: Decision = Decision { verdict: Verdict::Pending, why: Why::Unavailable, by: None };

struct Evaluation<'a> {
    inquiry: Inquiry<'a>,
    settings: &'a Settings,
    steps: &'a mut Steps,
    /// The first rule that would perhaps have matched, had its names been told, and would not plainly have granted.
    unknown: Option<Place>,
    /// The daemon list that was matched last, and how: many rules have the same.
    daemons: Option<(Field, bool)>,
}

impl Evaluation<'_> {
    fn tables(&mut self, tables: &Tables<'_>) -> Decision {
        let decision = self
            .table(tables.allow.path, &tables.allow.content, Which::Allow)
            .or_else(|| self.table(tables.deny.path, &tables.deny.content, Which::Deny))
            .unwrap_or(Decision { verdict: Verdict::Granted, why: Why::NoRule, by: None });
        match (decision.verdict, self.unknown) {
            (Verdict::Granted | Verdict::Delegated, Some(unknown)) => unavailable(unknown),
            _ => decision,
        }
    }

    /// What a table decides, if it does.
    fn table(&mut self, path: &[u8], content: &Content<'_>, which: Which) -> Option<Decision> {
        self.inquiry.begin();
        self.daemons = None;
        match content {
            Content::Missing => None,
            Content::Unreadable(reason) => {
                self.inquiry.warn([b"cannot open ", path, b": ", reason.as_bytes()].concat());
                broken(which, None)
            }
            Content::Text(text) => self.scan(Walk::new(text), which),
            Content::Compiled(compiled) => {
                // An index leaves out rules that an explanation shows.
                let candidates =
                    if self.steps.wanted() { None } else { compiled.candidates(&mut self.inquiry) };
                match candidates {
                    Some(candidates) => self.scan(candidates, which),
                    None => self.table(path, &compiled.text.content(), which),
                }
            }
        }
    }

    fn scan(&mut self, mut candidates: impl Candidates, which: Which) -> Option<Decision> {
        let decision = self.first_match(&mut candidates, which);
        // Only a decision keeps the line in hand, for what the caller says afterwards.
        if decision.is_none() {
            self.inquiry.leave();
        }
        decision
    }

    fn first_match(&mut self, candidates: &mut impl Candidates, which: Which) -> Option<Decision> {
        while let Some(met) = candidates.next() {
            match met {
                Met::Rule(rule) => {
                    let place = Place { which, line: rule.number };
                    self.inquiry.place = Some(place);
                    match self.matches(&rule) {
                        Ok(Truth::No) => {}
                        Ok(Truth::Unknown) => self.remember(&rule, place),
                        Ok(Truth::Yes) => return self.matched(&rule, place),
                        Err(stop) => return self.stopped(stop, place),
                    }
                }
                Met::NoColon(line) => {
                    let place = Place { which, line };
                    self.inquiry.place = Some(place);
                    self.inquiry.warn("missing \":\" separator");
                    self.step(place, &[], Outcome::NoColon);
                }
                Met::Broken(line) => {
                    let place = Place { which, line };
                    self.inquiry.place = Some(place);
                    self.inquiry.warn("missing newline or line too long");
                    self.inquiry.warn("all the subsequent rules will be ignored");
                    self.step(place, &[], Outcome::Broken);
                    return broken(which, Some(place));
                }
            }
        }
        None
    }

    fn daemons(&mut self, daemons: &[u8]) -> Result<Truth, Stop> {
        if let Some(words) = &mut self.inquiry.words {
            words.clear();
        } else if let Some((last, matches)) = &self.daemons
            && last.as_bytes() == daemons
        {
            return Ok((*matches).into());
        }
        let matches = self.inquiry.daemons(daemons)?;
        // What asks about a host is asked each time.
        if daemons.len() <= Field::MAX && !daemons.contains(&b'@') {
            self.daemons = Some((Field::new(daemons), matches == Truth::Yes));
        }
        Ok(matches)
    }

    #[inline]
    fn matches(&mut self, rule: &Candidate<'_>) -> Result<Truth, Stop> {
        let daemons = match rule.daemons {
            Clause::Text(daemons) => self.daemons(daemons)?,
            Clause::Matches(_) => Truth::Yes,
        };
        if daemons == Truth::No {
            return Ok(Truth::No);
        }
        let clients = match rule.clients {
            Clause::Text(clients) => self.inquiry.clients(clients)?,
            Clause::Matches(_) => Truth::Yes,
        };
        if clients == Truth::No
            && let Some(place) = self.inquiry.place
        {
            self.step(place, rule.text, Outcome::OtherClient);
        }
        Ok(daemons.and(clients))
    }

    #[inline]
    fn step(&mut self, place: Place, rule: &[u8], outcome: Outcome) {
        if let Some(words) = &self.inquiry.words {
            let words = if matches!(outcome, Outcome::NoColon | Outcome::Broken) { &[][..] } else { words };
            self.steps.add(place, rule, words, outcome);
        }
    }

    /// A rule that would perhaps match.
    fn remember(&mut self, rule: &Candidate<'_>, place: Place) {
        self.step(place, rule.text, Outcome::Unknown);
        if outlook(rule.options, place.which, self.settings) != Outlook::Grants {
            self.unknown.get_or_insert(place);
        }
    }

    /// A rule that matches: its options, and what it decides. `None`: the table does not.
    fn matched(&mut self, rule: &Candidate<'_>, place: Place) -> Option<Decision> {
        // Nothing is done for a rule that might not be the one.
        if let Some(unknown) = self.unknown
            && outlook(rule.options, place.which, self.settings) != Outlook::Refuses
        {
            self.step(place, rule.text, Outcome::Unsettled(unknown));
            return Some(unavailable(unknown));
        }
        if self.settings.verbose >= 2 {
            self.inquiry.world.say(Message::Matched(place));
        }
        let processed = match rule.options {
            None => Ok(Processed::Through),
            Some(options) if self.settings.options => self.inquiry.options(options, self.settings),
            Some(command) => self.command(command),
        };
        let processed = match processed {
            Ok(processed) => processed,
            Err(stop) => return self.stopped(stop, place),
        };
        self.step(place, rule.text, Outcome::Matched(processed));
        let decided = |verdict, why| Some(Decision { verdict, why, by: Some(place) });
        match processed {
            Processed::Through if place.which == Which::Allow => decided(Verdict::Granted, Why::Rule),
            Processed::Through | Processed::Denied => decided(Verdict::Denied, Why::Rule),
            Processed::Granted => decided(Verdict::Granted, Why::Rule),
            Processed::Delegated => decided(Verdict::Delegated, Why::Rule),
            Processed::Wrong => decided(Verdict::Denied, Why::BadOption),
            Processed::Unavailable => decided(Verdict::Denied, Why::Unavailable),
            Processed::Withdrawn => None,
            Processed::Broken => broken(place.which, Some(place)),
            Processed::Pending => Some(PENDING),
        }
    }

    /// The third field as one shell command, where options are not spoken.
    fn command(&mut self, command: &[u8]) -> Result<Processed, Stop> {
        let command = self.inquiry.expand(crate::address::trimmed(command))?;
        if command.is_empty() {
            return Ok(Processed::Through);
        }
        match self.inquiry.act(&Act::Spawn(command)) {
            Done::Pending => Err(Stop::Pending),
            _ => Ok(Processed::Through),
        }
    }

    fn stopped(&mut self, stop: Stop, place: Place) -> Option<Decision> {
        match stop {
            Stop::Pending => Some(PENDING),
            Stop::Broken(text) => {
                self.inquiry.error(text);
                self.step(place, &[], Outcome::Broken);
                broken(place.which, Some(place))
            }
        }
    }
}

/// A table in error: `hosts.allow` has no more rules, `hosts.deny` refuses everybody.
fn broken(which: Which, by: Option<Place>) -> Option<Decision> {
    match which {
        Which::Allow => None,
        Which::Deny => Some(Decision { verdict: Verdict::Denied, why: Why::BrokenTable, by }),
    }
}

fn unavailable(by: Place) -> Decision {
    Decision { verdict: Verdict::Denied, why: Why::Unavailable, by: Some(by) }
}

//! A matched rule's options, one after the other (reference A7): checked, expanded and ordered at their turn, so that an error
//! in the third does not undo the first two.

use crate::Settings;
use crate::address::trimmed;
use crate::inquiry::{Inquiry, Stop};
use crate::message::Message;
use crate::option_syntax::{Field, fields, fields_of_text};
use crate::option_table::{OptionRule, Takes, find_option};
use crate::option_value::{Order, order};
use crate::request::Request;
use crate::table::{Place, Which};
use crate::world::{Act, Done, World};

/// What a rule's options come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Processed {
    /// They do not decide: the table does.
    Through,
    /// `allow`.
    Granted,
    /// `deny`.
    Denied,
    /// `twist`: the world was given [`Act::Twist`].
    Delegated,
    /// An option is wrong, or what it ordered cannot be done; it has been said. The client is refused.
    Wrong,
    /// An `aclexec` said no: no rule of this table matches.
    Withdrawn,
    /// An `aclexec` could not be asked. The client is refused.
    Unavailable,
    /// The options are longer than what can be expanded; it has been said. The table is in error.
    Broken,
    /// The world does not know yet.
    Pending,
}

/// The options of `text`, which the original's `process_options` is given directly: with the line's newline or without.
pub fn process_options(
    text: &[u8],
    place: Option<Place>,
    request: &mut Request,
    world: &mut dyn World,
    settings: &Settings,
) -> Processed {
    let mut inquiry = Inquiry::new(request, world);
    inquiry.place = place;
    let processed = inquiry.process(fields_of_text(text), settings);
    inquiry.leave();
    processed.unwrap_or_else(|stop| match stop {
        Stop::Pending => Processed::Pending,
        Stop::Broken(text) => {
            inquiry.place = place;
            inquiry.error(text);
            Processed::Broken
        }
    })
}

/// What a rule will come to, as far as can be told without running anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outlook {
    Grants,
    Refuses,
    Unsure,
}

/// What the options of a rule of `which` table will come to.
pub(crate) fn outlook(options: Option<&[u8]>, which: Which, settings: &Settings) -> Outlook {
    let of_table = if which == Which::Allow { Outlook::Grants } else { Outlook::Refuses };
    let Some(options) = options.filter(|_| settings.options) else { return of_table };
    let (mut unsure, mut may_be_wrong) = (false, false);
    for field in fields(options) {
        let Ok((rule, value)) = checked(&field) else { return Outlook::Refuses };
        if rule.expanded {
            // The value may grow too long, or be wrong; and a command may say anything.
            unsure |= matches!(order(rule.name, value), Ok(Order::Act(Act::Aclexec(_) | Act::Twist(_))));
            may_be_wrong = true;
            continue;
        }
        match order(rule.name, value) {
            Err(_) => return Outlook::Refuses,
            Ok(Order::Deny) => return Outlook::Refuses,
            Ok(Order::Allow) if may_be_wrong => return Outlook::Unsure,
            Ok(Order::Allow) => return Outlook::Grants,
            Ok(Order::Act(Act::User { .. } | Act::Group(_))) => may_be_wrong = true,
            Ok(Order::Act(_) | Order::AskUser(_)) => {}
        }
    }
    match of_table {
        Outlook::Refuses if !unsure => Outlook::Refuses,
        Outlook::Grants if !unsure && !may_be_wrong => Outlook::Grants,
        _ => Outlook::Unsure,
    }
}

/// An option's rule and its value (empty if it has none), or what is wrong with it before anything is run.
fn checked<'a>(field: &'a Field<'_>) -> Result<(&'static OptionRule, &'a [u8]), Vec<u8>> {
    let (keyword, value) = field.parts();
    if keyword.is_empty() {
        return Err(b"missing option name".to_vec());
    }
    let quoted = |before: &str, after: &str| [before.as_bytes(), keyword, after.as_bytes()].concat();
    let rule = find_option(keyword).ok_or_else(|| quoted("bad option name: \"", "\""))?;
    match (rule.takes, value) {
        (Takes::Value, None) => Err(quoted("option \"", "\" requires value")),
        (Takes::Nothing, Some(_)) => Err(quoted("option \"", "\" requires no value")),
        _ if rule.last && !field.last => Err(quoted("option \"", "\" must be at end")),
        _ => Ok((rule, value.unwrap_or_default())),
    }
}

impl Inquiry<'_> {
    /// The options of a rule of a table.
    pub(crate) fn options(&mut self, text: &[u8], settings: &Settings) -> Result<Processed, Stop> {
        self.process(fields(text), settings)
    }

    fn process<'a>(
        &mut self,
        fields: impl Iterator<Item = Field<'a>>,
        settings: &Settings,
    ) -> Result<Processed, Stop> {
        let mut withdrawn = false;
        let mut fields = fields.peekable();
        let warn_open = |inquiry: &mut Self, field: Option<&Field<'_>>| {
            if field.is_some_and(|field| field.open) {
                inquiry.warn("rule ends in \":\"");
            }
        };
        // The original reads each option before it handles the one before it.
        warn_open(self, fields.peek());
        while let Some(field) = fields.next() {
            warn_open(self, fields.peek());
            let (rule, value) = match checked(&field) {
                Ok(checked) => checked,
                Err(text) => return Ok(self.wrong(text)),
            };
            self.missed = false;
            let expanded;
            let value = if rule.expanded {
                expanded = self.expand(value)?;
                // A letter that expands to nothing may leave a blank at an end.
                trimmed(&expanded)
            } else {
                value
            };
            if settings.verbose >= 1 {
                self.world.say(Message::Option(field.parts().0.to_vec(), value.to_vec()));
            }
            match order(rule.name, value) {
                Err(text) => return Ok(self.wrong(text)),
                Ok(Order::Allow) => return Ok(Processed::Granted),
                Ok(Order::Deny) => return Ok(Processed::Denied),
                Ok(Order::AskUser(timeout)) => {
                    self.timeout = timeout.or(self.timeout);
                    self.ask_user()?;
                }
                Ok(Order::Act(Act::Twist(_))) if settings.resident => {
                    return Ok(self.wrong(b"twist option in resident process".to_vec()));
                }
                // Whether the command may be asked about a name that nobody could tell is not ours to guess.
                Ok(Order::Act(Act::Aclexec(_))) if self.missed => return Ok(Processed::Unavailable),
                Ok(Order::Act(act)) => {
                    let refusing = matches!(act, Act::Aclexec(_));
                    match self.act(&act) {
                        Done::Done if matches!(act, Act::Twist(_)) => return Ok(Processed::Delegated),
                        Done::Done => withdrawn &= !refusing,
                        Done::Refused => withdrawn = true,
                        Done::Wrong(text) => return Ok(self.wrong(text)),
                        Done::Unavailable => return Ok(Processed::Unavailable),
                        Done::Pending => return Err(Stop::Pending),
                    }
                }
            }
        }
        Ok(if withdrawn { Processed::Withdrawn } else { Processed::Through })
    }

    fn wrong(&mut self, text: Vec<u8>) -> Processed {
        self.error(text);
        Processed::Wrong
    }
}

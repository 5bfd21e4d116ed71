//! One line of a section: is there such an attribute, may it stand here, was it set before, has it the right number of
//! values? Only then is its value read. In xinetd's order and with xinetd's words (reference xinetd §1.3).

use crate::ast::{Assignment, Operator, Word};
use crate::attribute::{Attribute, Id, Values};
use crate::attributes;
use crate::codes;
use crate::diagnostic::{Classic, Level};
use crate::draft::Draft;
use crate::host::Host;
use crate::nearest::nearest;
use crate::report::{Finding, Order, Report};
use crate::values::{self, Line};

/// Applies a line to a draft and says what there is to say. Returns the attribute if the line took effect.
pub(crate) fn assign(
    host: &dyn Host,
    draft: &mut Draft,
    assignment: &Assignment,
    order: Order,
    report: &mut Report,
) -> Option<&'static Attribute> {
    let in_defaults = draft.name.is_none();
    let about =
        |finding: Finding, draft: &Draft| if in_defaults { finding } else { finding.service(draft.id()) };
    let attribute = match known(assignment, in_defaults) {
        Ok(attribute) => attribute,
        Err(finding) => {
            let finding = about(*finding, draft);
            report.add(order, lose(draft, assignment, finding));
            return None;
        }
    };
    let operator = match fits(attribute, assignment, draft) {
        Ok(operator) => operator,
        Err(finding) => {
            let finding = about(*finding, draft);
            report.add(order, lose(draft, assignment, finding));
            return None;
        }
    };
    let (values, comment) = attributes::without_comment(attribute, &assignment.values);
    if let Some(finding) = wrong_count(attribute, assignment, values) {
        let finding = about(finding, draft);
        report.add(order, lose(draft, assignment, finding));
        return None;
    }
    let mut line = Line { host, attribute, operator, name: &assignment.name, values, remarks: Vec::new() };
    let outcome = values::apply(draft, &mut line);
    for remark in std::mem::take(&mut line.remarks) {
        report.add(order, about(remark, draft));
    }
    match outcome {
        Ok(()) => {
            draft.marks.add(attribute.id);
            if let Some(finding) = about_comment(attribute, assignment, values, comment, draft) {
                report.add(order, about(finding, draft));
            }
            Some(attribute)
        }
        Err(bad) => {
            let finding = about(bad.finding(&line), draft);
            draft.break_off(finding.message());
            let finding = if in_defaults { finding } else { finding.classic(disabling(assignment)) };
            report.add(order, finding);
            None
        }
    }
}

/// A line that is void leaves a service as it would be without it, as in xinetd. One that was to bring TLS, a sandbox or
/// a verified program, misspelt or not, must not: the service would go on in the clear, or unconfined. That is an error, whatever it is for others.
fn lose(draft: &mut Draft, assignment: &Assignment, finding: Finding) -> Finding {
    let name = assignment.name.text.to_ascii_lowercase();
    if name == "tls" || name.starts_with("tls_") || name.starts_with("tls-") {
        draft.break_off(finding.message());
        return finding.of_kind(&codes::TLS_VOID);
    }
    if nearest(&name, ["sandbox"]).is_some() || name.starts_with("sandbox") {
        draft.break_off(finding.message());
        return finding.of_kind(&codes::SANDBOX_VOID);
    }
    if nearest(&name, ["verify_server"]).is_some() || name.starts_with("verify") {
        draft.break_off(finding.message());
        return finding.of_kind(&codes::VERIFY_VOID);
    }
    finding
}

fn disabling(assignment: &Assignment) -> Classic {
    let text = format!("Error parsing attribute {} - DISABLING SERVICE", assignment.name.text);
    Classic::at(Level::Error, &text, &assignment.name.place)
}

fn known(assignment: &Assignment, in_defaults: bool) -> Result<&'static Attribute, Box<Finding>> {
    let Word { text, place, .. } = &assignment.name;
    let attribute = attributes::find(text);
    let fits =
        |attribute: &&Attribute| if in_defaults { attribute.in_defaults() } else { attribute.in_service() };
    if let Some(attribute) = attribute.filter(fits) {
        return Ok(attribute);
    }
    let classic = match in_defaults {
        true => format!("attribute: {text} should not be in default section"),
        false => format!("bad service attribute: {text}"),
    };
    let classic = Classic::at(Level::Warning, &classic, place);
    let finding = match (attribute, in_defaults) {
        (Some(_), true) => Finding::new(
            &codes::NOT_IN_DEFAULTS,
            place.clone(),
            format!("`{text}` has no meaning in `defaults`"),
        )
        .help("write it in each service that needs it"),
        (Some(_), false) => Finding::new(
            &codes::UNKNOWN_ATTRIBUTE,
            place.clone(),
            format!("`{text}` has a meaning in `defaults` only"),
        ),
        (None, _) => {
            let names = attributes().iter().filter(fits).map(|attribute| attribute.name);
            let help = match text.to_ascii_lowercase().as_str() {
                "mdns" => Some("mdns was removed from xinetd; remove the line".to_owned()),
                _ => nearest(text, names).map(|near| format!("did you mean `{near}`?")),
            };
            Finding::new(&codes::UNKNOWN_ATTRIBUTE, place.clone(), format!("there is no attribute `{text}`"))
                .maybe_help(help)
        }
    };
    Err(Box::new(finding.classic(classic)))
}

/// The operator that counts, if the attribute may still be set and takes this one.
fn fits(
    attribute: &'static Attribute,
    assignment: &Assignment,
    draft: &Draft,
) -> Result<Operator, Box<Finding>> {
    let in_defaults = draft.name.is_none();
    // log_type is no list, but its own reader refuses a second one in `defaults`.
    let editable = attribute.list || in_defaults && attribute.id == Id::LogType;
    let Word { text, place, .. } = &assignment.name;
    let name = draft.shown_name();
    let operator = assignment.operator;
    if editable {
        return Ok(if in_defaults && operator == Operator::Set { Operator::Add } else { operator });
    }
    if draft.marks.has(attribute.id) {
        let classic = format!("Service {name}: attribute already set: {text}");
        let message = format!("`{text}` was set before; this line is ignored");
        let finding = Finding::new(&codes::ALREADY_SET, place.clone(), message);
        return Err(Box::new(finding.classic(Classic::at(Level::Warning, &classic, place))));
    }
    if operator != Operator::Set {
        let shown = operator.text();
        let classic = format!("Service {name}: operator '{shown}' cannot be used for attribute '{text}'");
        let message = format!("`{text}` is no list, `{shown}` cannot change it; this line is ignored");
        let finding =
            Finding::new(&codes::OPERATOR, place.clone(), message).help(format!("write `{text} = …`"));
        return Err(Box::new(finding.classic(Classic::at(Level::Warning, &classic, place))));
    }
    Ok(operator)
}

fn wrong_count(attribute: &Attribute, assignment: &Assignment, values: &[Word]) -> Option<Finding> {
    let given = values.len();
    let wanted = match attribute.values {
        Values::Exactly(wanted) if given != wanted => wanted,
        Values::AtLeast(wanted) if given < wanted => wanted,
        Values::Forms { xinetd } if given == 0 => xinetd,
        _ => return None,
    };
    let Word { text, place, .. } = &assignment.name;
    let classic = format!("attribute {text} expects {wanted} values and {given} values were specified");
    let plural = if wanted == 1 { "" } else { "s" };
    let (code, message) = match given {
        0 => (&codes::NO_VALUE, format!("`{text}` has no value; this line is ignored")),
        _ => (
            &codes::WRONG_COUNT,
            format!("`{text}` takes {wanted} value{plural}, not {given}; this line is ignored"),
        ),
    };
    let finding = Finding::new(code, place.clone(), message).help(format!("{text} = {}", attribute.form));
    Some(finding.classic(Classic::at(Level::Warning, &classic, place)))
}

/// What to say about a `#` in a line that took effect.
fn about_comment(
    attribute: &Attribute,
    assignment: &Assignment,
    values: &[Word],
    comment: bool,
    draft: &Draft,
) -> Option<Finding> {
    let name = &assignment.name.text;
    let remedy = "put the comment on a line of its own";
    if comment {
        let place = assignment.values.get(values.len()).map_or(&assignment.name.place, |word| &word.place);
        let effect = match attribute.values {
            Values::Exactly(_) | Values::AtLeast(_) | Values::Forms { .. } => "ignores this line",
            _ => "takes the comment for values",
        };
        let used = joined(values.iter().map(|word| word.text.as_str()));
        let message = format!("xinetd {effect} because of the comment; here `{name}` is `{used}`");
        return Some(Finding::new(&codes::TRAILING_COMMENT, place.clone(), message).help(remedy));
    }
    // The words of a closed set were checked, and `env` has had its say.
    if !attribute.list || attribute.id == Id::Env {
        return None;
    }
    let first = values.iter().find(|word| word.text.starts_with('#'))?;
    let used = effective(attribute, values, draft);
    let message = match used.is_empty() {
        true => format!("`#` starts no comment in a list, and no word of this line takes effect in `{name}`"),
        false => format!("`#` starts no comment in a list: what takes effect in `{name}` is `{used}`"),
    };
    Some(Finding::new(&codes::HASH_IN_LIST, first.place.clone(), message).help(remedy))
}

fn joined<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.collect::<Vec<_>>().join(" ")
}

/// The words of a list line that the list has taken up.
fn effective(attribute: &Attribute, values: &[Word], draft: &Draft) -> String {
    let set = match attribute.id {
        Id::OnlyFrom => &draft.only_from,
        Id::NoAccess => &draft.no_access,
        Id::Protect => &draft.protect,
        Id::ProxyFrom => &draft.proxy_from,
        _ => &None,
    };
    let used = |word: &&Word| match (attribute.id, set) {
        (Id::Passenv, _) => draft.passenv.iter().flatten().any(|name| *word.text == **name),
        (_, Some(set)) => set.entries.iter().any(|(_, _, place)| *place == word.place),
        _ => true,
    };
    joined(values.iter().filter(used).map(|word| word.text.as_str()))
}

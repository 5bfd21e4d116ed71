//! A xinetd.conf with all that it includes as a sheet: `defaults` and the operators `+=`, `-=` laid out, so that each service
//! says all that holds for it. A line that xinetd ignores is named and left out; a service that it would not serve is kept,
//! switched off.

use super::lenient::Lenient;
use super::sheet::{Note, Piece, Said, Sheet, Stanza, plain};
use crate::assign::assign;
use crate::ast::{Assignment, Operator};
use crate::attribute::{Attribute, Id};
use crate::attributes::{self, attributes};
use crate::diagnostic::{Diagnostic, Severity};
use crate::draft::Draft;
use crate::host::{Host, SystemError};
use crate::inclusion::{Found, gather};
use crate::place::Place;
use crate::report::Report;
use std::collections::{HashMap, HashSet};
use std::path::Path;

/// Reads the main file and all that it includes.
///
/// # Errors
/// The system's word, when the main file cannot be read.
pub fn from_xinetd(host: &dyn Host, main: &Path) -> Result<Sheet, SystemError> {
    let judged = crate::resolve::read(&Lenient::judge(host), main);
    let served: HashSet<(&str, u32)> =
        judged.services.iter().map(|service| (service.place.file.as_ref(), service.place.line)).collect();
    let host = Lenient::new(host);
    let mut report = Report::default();
    let gathered = gather(&host, main, &mut report)?;
    let mut sheet = Sheet::default();
    let mut defaults = Held::default();
    let mut draft = Draft::default();
    for found in gathered.found.iter().filter(|found| found.entry.name.is_none()) {
        defaults.read(&host, &mut draft, found, &mut report, &mut sheet.notes);
    }
    let mut margins = Margins::new(&host);
    for found in gathered.found.iter().filter(|found| found.entry.name.is_some()) {
        margins.before(&found.entry.place, &mut sheet.pieces);
        let place = &found.entry.place;
        let on = served.contains(&(place.file.as_ref(), place.line));
        service(&host, (&defaults, &draft), found, on, &mut report, &mut sheet);
    }
    margins.rest(&mut sheet.pieces);
    for lost in gathered.lost {
        sheet.pieces.push(Piece::Lost(format!("service {}", plain(&lost.name.text))));
        sheet.notes.push(note(Some(lost.name.place), &lost.name.text, None, true, lost.reason));
    }
    if let Some(said) = defaults.get("protect") {
        let text = "`protect` is a setting of the whole daemon and has no place in a service";
        sheet.notes.push(note(Some(said.place.clone()), "", Some("protect"), true, text));
    }
    let (mut diagnostics, _) = report.finish();
    // What keeps a service from being served as a whole.
    let known: HashSet<_> =
        diagnostics.iter().map(|known| (known.place.clone(), known.message.clone())).collect();
    let new = |found: &Diagnostic| !known.contains(&(found.place.clone(), found.message.clone()));
    diagnostics.extend(
        judged.diagnostics.into_iter().filter(|found| found.severity == Severity::Error && new(found)),
    );
    sheet.notes.extend(diagnostics.into_iter().filter_map(from_diagnostic));
    Ok(sheet)
}

fn note(
    place: Option<Place>,
    service: &str,
    about: Option<&str>,
    lost: bool,
    text: impl Into<String>,
) -> Note {
    let service = Some(service.to_owned()).filter(|service| !service.is_empty());
    Note { place, service, about: about.map(str::to_owned), lost, text: text.into() }
}

/// What is wrong with the source itself.
fn from_diagnostic(diagnostic: Diagnostic) -> Option<Note> {
    let Diagnostic { severity, place, message, help, service, .. } = diagnostic;
    let text = match help {
        Some(help) => format!("{message}; {help}"),
        None => message,
    };
    (severity != Severity::Note).then(|| Note {
        place,
        service,
        about: None,
        lost: severity == Severity::Error,
        text,
    })
}

/// What a section says so far.
#[derive(Clone, Default)]
struct Held {
    said: Vec<(&'static Attribute, Said)>,
}

impl Held {
    fn get(&self, name: &str) -> Option<&Said> {
        self.said.iter().find(|(_, said)| said.name == name).map(|(_, said)| said)
    }

    /// Reads the lines of a section that take effect; whether `-=` could be followed everywhere.
    fn read(
        &mut self,
        host: &dyn Host,
        draft: &mut Draft,
        found: &Found,
        report: &mut Report,
        notes: &mut Vec<Note>,
    ) -> bool {
        let mut followed = true;
        for assignment in &found.entry.assignments {
            let order = found.order(assignment.name.place.line);
            if let Some(attribute) = assign(host, draft, assignment, order, report)
                && !self.apply(attribute, assignment, draft.name.is_none())
            {
                followed = false;
                let name = &assignment.name.text;
                let text =
                    format!("what this line takes out of `{name}` is not written there in the same words");
                let place = Some(assignment.name.place.clone());
                notes.push(note(place, draft.id(), Some(attribute.name), true, text));
            }
        }
        followed
    }

    /// One line; false if it takes out what nobody put in.
    fn apply(&mut self, attribute: &'static Attribute, line: &Assignment, in_defaults: bool) -> bool {
        // `interface` is `bind`.
        let attribute = attributes().iter().find(|known| known.id == attribute.id).unwrap_or(attribute);
        let (values, _) = attributes::without_comment(attribute, &line.values);
        let values = values.iter().map(|word| word.text.as_str()).collect::<Vec<_>>();
        let place = &line.name.place;
        let operator = match line.operator {
            Operator::Set if in_defaults && attribute.list => Operator::Add,
            operator => operator,
        };
        let at = self.said.iter().position(|(known, _)| known.id == attribute.id);
        let old = at.map(|at| self.said.remove(at).1);
        let mut words: Vec<String> = match (&old, operator) {
            (Some(old), Operator::Add | Operator::Remove) => {
                old.value.split_whitespace().map(str::to_owned).collect()
            }
            _ => Vec::new(),
        };
        let mut followed = true;
        match operator {
            Operator::Set | Operator::Add => words.extend(values.iter().map(|word| (*word).to_owned())),
            Operator::Remove => {
                for value in values {
                    let before = words.len();
                    words.retain(|word| !word.eq_ignore_ascii_case(value));
                    // Words of a closed set need not be there.
                    followed &=
                        words.len() < before || attribute.id == Id::Passenv || !attribute.words().is_empty();
                }
            }
        }
        let said = Said { name: attribute.name, value: words.join(" "), place: place.clone() };
        self.said.insert(at.unwrap_or(self.said.len()), (attribute, said));
        followed
    }
}

fn service(
    host: &Lenient<'_>,
    (defaults, defaults_draft): (&Held, &Draft),
    found: &Found,
    on: bool,
    report: &mut Report,
    sheet: &mut Sheet,
) {
    let Some(name) = &found.entry.name else { return };
    let mut draft = Draft::starting_from(&name.text, defaults_draft);
    // What a line of the service edits starts from `defaults`.
    let inherited = defaults.said.iter().filter(|(attribute, _)| attribute.in_service());
    let (edited, filled): (Vec<_>, Vec<_>) = inherited.cloned().partition(|(attribute, _)| attribute.list);
    let mut held = Held { said: edited };
    let followed = held.read(host, &mut draft, found, report, &mut sheet.notes);
    for (attribute, said) in filled {
        if !held.said.iter().any(|(known, _)| known.id == attribute.id) {
            held.said.push((attribute, said));
        }
    }
    of_ports(&mut held, &draft, &mut sheet.notes);
    held.said.sort_by_key(|(attribute, _)| attributes().iter().position(|known| known.id == attribute.id));
    let hostile = |text: &str| text.chars().any(char::is_control);
    if !name.utf8 || hostile(&name.text) || held.said.iter().any(|(_, said)| hostile(&said.value)) {
        sheet.pieces.push(Piece::Lost(format!("service {}", plain(&name.text))));
        let text = "a word of this service holds control bytes, or its name is not UTF-8";
        sheet.notes.push(note(Some(name.place.clone()), "", None, true, text));
        return;
    }
    let said = held.said.into_iter().map(|(_, said)| said).filter(|said| said.name != "disable").collect();
    let place = found.entry.place.clone();
    sheet.pieces.push(Piece::Service(Stanza {
        place,
        name: name.text.to_string(),
        off: !(on && followed),
        said,
    }));
}

/// Takes out of a service on unix sockets what `defaults` says of addresses: it does not hold there, and would be an error in the
/// service itself.
fn of_ports(held: &mut Held, draft: &Draft, notes: &mut Vec<Note>) {
    let local = |said: &Said| said.value.split_whitespace().any(|word| word.starts_with(['/', '@']));
    if !held.get("bind").is_some_and(local) {
        return;
    }
    let of_defaults = |id| !draft.marks.has(id);
    held.said.retain_mut(|(attribute, said)| match attribute.id {
        id @ (Id::OnlyFrom | Id::NoAccess) if of_defaults(id) => {
            let text = format!("`{}` of `defaults` does not hold for clients of a unix socket", said.name);
            notes.push(note(Some(said.place.clone()), draft.id(), Some(attribute.name), false, text));
            false
        }
        Id::V6only => !of_defaults(Id::V6only),
        id @ (Id::LogOnSuccess | Id::LogOnFailure) if of_defaults(id) => {
            let words = said.value.split_whitespace().filter(|word| !word.eq_ignore_ascii_case("USERID"));
            said.value = words.collect::<Vec<_>>().join(" ");
            true
        }
        _ => true,
    });
}

/// The comments of the files, each with its line, and the lines on which sections end.
struct Margins {
    files: Vec<Margin>,
    of: HashMap<String, usize>,
}

struct Margin {
    /// Not yet given out, in order.
    comments: std::collections::VecDeque<(u32, String)>,
    ends: Vec<u32>,
}

impl Margins {
    fn new(host: &Lenient<'_>) -> Self {
        let mut margins = Self { files: Vec::new(), of: HashMap::new() };
        for (path, bytes) in host.read.borrow().iter() {
            let text = String::from_utf8_lossy(bytes);
            let lines = || (1u32..).zip(text.lines());
            let comment = |(number, line): (u32, &str)| {
                let comment = line.trim_start().strip_prefix('#')?;
                Some((number, plain(comment.trim_end())))
            };
            let ends = lines().filter(|(_, line)| line.trim() == "}").map(|(number, _)| number).collect();
            let name = path.to_string_lossy().into_owned();
            // A file that is read twice has its comments once.
            margins.of.entry(name).or_insert(margins.files.len());
            margins.files.push(Margin { comments: lines().filter_map(comment).collect(), ends });
        }
        margins
    }

    fn end(margin: &Margin, start: u32) -> u32 {
        let at = margin.ends.partition_point(|end| *end < start);
        margin.ends.get(at).copied().unwrap_or(u32::MAX)
    }

    /// The comments up to the end of the section that starts there.
    fn before(&mut self, start: &Place, pieces: &mut Vec<Piece>) {
        let margin = self.of.get(&*start.file).and_then(|at| self.files.get_mut(*at));
        let Some(margin) = margin else { return };
        let end = Self::end(margin, start.line);
        while margin.comments.front().is_some_and(|(line, _)| *line <= end) {
            pieces.extend(margin.comments.pop_front().map(|(_, comment)| Piece::Comment(comment)));
        }
    }

    fn rest(self, pieces: &mut Vec<Piece>) {
        let first: std::collections::BTreeSet<usize> = self.of.values().copied().collect();
        for (at, margin) in self.files.into_iter().enumerate() {
            if first.contains(&at) {
                pieces.extend(margin.comments.into_iter().map(|(_, comment)| Piece::Comment(comment)));
            }
        }
    }
}

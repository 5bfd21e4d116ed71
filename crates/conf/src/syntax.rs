//! Lines to sections, with xinetd's own recovery: what a missing brace swallows here is what it swallows there
//! (reference xinetd §1.2, §1.3), so that the same services are left. Knows one attribute, `disable`, because reading a
//! section stops there.

use crate::ast::{Assignment, End, Entry, File, Inclusion, Item, Operator, Word};
use crate::attributes;
use crate::codes;
use crate::diagnostic::{Classic, Diagnostic, Level};
use crate::lex::{Line, MAX_LINE, Source, is_space};
use crate::nearest::nearest;
use crate::place::Place;
use crate::report::{Finding, Order, Report};
use std::collections::VecDeque;
use std::rc::Rc;

const KEYWORDS: [&str; 4] = ["service", "defaults", "include", "includedir"];

/// What was read, in the order of the file.
#[derive(Debug)]
pub(crate) enum Event {
    /// A section or an inclusion.
    Item(Item),
    /// Something to say about a line.
    Finding(u32, Finding),
    /// A line for the log alone.
    Log(u32, Classic),
    /// A service that was not even read.
    Lost { name: Word, reason: String },
}

/// Reads one file into its syntax tree, and the findings about its syntax. Includes nothing and asks no [`crate::Host`]:
/// what the words mean is not looked at.
pub fn parse_file(name: &str, bytes: &[u8]) -> (File, Vec<Diagnostic>) {
    let source = Rc::new(Source::new(name, bytes.to_vec().into()));
    let (mut file, mut report) = (File::default(), Report::default());
    report.source(&source);
    for event in parse(&source) {
        match event {
            Event::Item(item) => file.items.push(item),
            Event::Finding(line, finding) => report.add(Order::from(line), finding),
            Event::Log(..) | Event::Lost { .. } => {}
        }
    }
    (file, report.finish().0)
}

/// Reads a file. Includes nothing.
pub(crate) fn parse(source: &Source) -> impl Iterator<Item = Event> {
    read(source, false)
}

/// The same without the stop at `disable = yes`: also what is switched off is read to its end.
pub(crate) fn parse_whole(source: &Source) -> impl Iterator<Item = Event> {
    read(source, true)
}

/// One event after the other: a thousand sections are not gathered here once more.
fn read(source: &Source, whole: bool) -> impl Iterator<Item = Event> {
    let mut reader = Reader {
        source,
        next: 0,
        events: VecDeque::new(),
        assignments: Vec::new(),
        defaults_found: false,
        whole,
    };
    reader.oddities();
    std::iter::from_fn(move || {
        while reader.events.is_empty() && reader.section() {}
        reader.events.pop_front()
    })
}

struct Reader<'a> {
    source: &'a Source,
    next: usize,
    /// What was found and not taken yet.
    events: VecDeque<Event>,
    /// Room for the lines of a section.
    assignments: Vec<Assignment>,
    defaults_found: bool,
    whole: bool,
}

/// Why a line is not an assignment.
struct NotAssignment {
    name: String,
    classic: String,
    message: String,
    help: Option<String>,
}

impl<'a> Reader<'a> {
    /// The next line that is neither empty nor a comment.
    fn line(&mut self) -> Option<Line<'a>> {
        loop {
            let line = self.source.line(self.next)?;
            self.next += 1;
            if !line.is_blank() {
                return Some(line);
            }
        }
    }

    /// The line that was read last, as xinetd counts.
    fn here(&self) -> u32 {
        u32::try_from(self.next).unwrap_or(u32::MAX).clamp(1, self.source.last_line().max(1))
    }

    fn say(&mut self, line: u32, finding: Finding) {
        self.events.push_back(Event::Finding(line, finding));
    }

    fn oddities(&mut self) {
        let source = self.source;
        if source.byte_order_mark {
            self.say(
                1,
                Finding::new(
                    &codes::BYTE_ORDER_MARK,
                    source.place(1),
                    "the file starts with a byte order mark",
                ),
            );
        }
        if let Some((line, count)) = source.carriage_returns {
            let message =
                format!("{count} line{} of this file end in CR LF", if count == 1 { "" } else { "s" });
            self.say(line, Finding::new(&codes::CRLF, source.place(line), message));
        }
        if let Some(line) = source.nul {
            self.say(
                line,
                Finding::new(&codes::NUL, source.place(line), "the line holds a NUL byte and ends there"),
            );
        }
    }

    /// Reads one thing at the top level; false at the end of the file.
    fn section(&mut self) -> bool {
        let Some(line) = self.line() else { return false };
        if self.too_long(line) {
            self.skip();
            return true;
        }
        let words: Vec<Word> = self.source.words(line, 0).collect();
        let Some(keyword) = words.first() else { return true };
        match keyword.text.to_ascii_lowercase().as_str() {
            "service" => self.named(line, &words, Self::service),
            "include" => self.named(line, &words, |reader, _, path| reader.inclusion(false, path)),
            "includedir" => self.named(line, &words, |reader, _, path| reader.inclusion(true, path)),
            "defaults" => {
                self.extra_words(&words, 1);
                self.defaults(line);
            }
            _ => {
                self.unknown(keyword);
                self.skip();
            }
        }
        true
    }

    fn named(&mut self, line: Line<'a>, words: &[Word], then: impl FnOnce(&mut Self, Line<'a>, Word)) {
        self.extra_words(words, 2);
        if let Some(name) = words.get(1) {
            return then(self, line, name.clone());
        }
        let place = words.first().map(|keyword| keyword.place.clone());
        let text = words.first().map_or("", |keyword| keyword.text.as_str());
        let finding = Finding::new(&codes::NAME_MISSING, place, format!("`{text}` needs a name behind it"))
            .classic(Classic::at(Level::Error, "service name missing", &self.source.place(line.number)));
        self.say(line.number, finding);
        self.skip();
    }

    fn extra_words(&mut self, words: &[Word], from: usize) {
        let Some(extra) = words.get(from).filter(|word| !word.text.starts_with(['#', '{'])) else { return };
        let message = format!("`{}` and what follows on this line is ignored", extra.text);
        let finding = Finding::new(&codes::EXTRA_WORDS, extra.place.clone(), message);
        self.say(extra.place.line, finding);
    }

    fn unknown(&mut self, keyword: &Word) {
        let line = keyword.place.line;
        let help = match keyword.text.as_str() {
            "}" => Some("this `}` closes nothing".to_owned()),
            "{" => Some("this `{` belongs to no section".to_owned()),
            text => nearest(text, KEYWORDS).map(|near| format!("did you mean `{near}`?")),
        };
        let message = format!("`{}` is no keyword", keyword.text);
        let finding = Finding::new(&codes::UNKNOWN_SECTION, keyword.place.clone(), message)
            .maybe_help(help)
            .classic(Classic::at(Level::Error, "missing service keyword", &self.source.place(line)));
        self.say(line, finding);
    }

    fn inclusion(&mut self, directory: bool, path: Word) {
        self.events.push_back(Event::Item(Item::Inclusion(Inclusion { directory, path })));
    }

    /// Whether `{` stands alone on the next line; says so if not, and skips the section.
    fn opened(&mut self, line: Line<'a>, name: Option<&Word>) -> bool {
        let next = self.line();
        if next.is_some_and(|next| next.is_only(b'{')) {
            return true;
        }
        let here = self.source.place(self.here());
        let shown = name.map_or("(null)", |name| name.text.as_str());
        let place =
            next.map_or_else(|| self.source.place(line.number), |next| self.source.place(next.number));
        let help = if line.text.ends_with(b"{") || next.is_some_and(|n| n.text.trim_ascii().starts_with(b"{"))
        {
            "put `{` on a line of its own"
        } else {
            "a line with `{` alone must follow"
        };
        let title = name.map_or("`defaults`".to_owned(), |name| format!("service `{}`", name.text));
        let finding = Finding::new(&codes::BRACE_MISSING, place, format!("{title} has no `{{` line"))
            .help(help)
            .classic(Classic::at(Level::Error, &format!("Service {shown}: missing '{{'"), &here));
        self.say(here.line, finding);
        if let Some(name) = name {
            let reason = format!("it has no `{{` on the line after `service {}`", name.text);
            self.events.push_back(Event::Lost { name: name.clone(), reason });
        }
        if let Some(next) = next {
            self.swallowed(next);
        }
        self.skip();
        false
    }

    fn service(&mut self, line: Line<'a>, name: Word) {
        if !self.opened(line, Some(&name)) {
            return;
        }
        let entry = self.entry(line, Some(name));
        let end = entry.end;
        self.events.push_back(Event::Item(Item::Entry(entry)));
        if end != End::Closed {
            self.skip();
        }
    }

    fn defaults(&mut self, line: Line<'a>) {
        if !self.opened(line, None) {
            return;
        }
        if self.defaults_found {
            let message = "this file has had its `defaults` already; this one is ignored";
            let text = "only 1 defaults entry is allowed. This entry will be ignored";
            let here = self.source.place(self.here());
            let finding = Finding::new(&codes::SECOND_DEFAULTS, self.source.place(line.number), message)
                .classic(Classic::at(Level::Error, text, &here));
            self.say(line.number, finding);
            return self.skip();
        }
        let entry = self.entry(line, None);
        // A broken one does not count, and is not skipped to its end: its remaining lines are read as if they stood
        // outside. That is how xinetd comes to lose the service behind it.
        self.defaults_found = entry.end == End::Closed;
        self.events.push_back(Event::Item(Item::Entry(entry)));
    }

    /// Reads the lines of a section up to its `}`, or to where reading it stops.
    fn entry(&mut self, first: Line<'a>, name: Option<Word>) -> Entry {
        let place = self.source.place(first.number);
        let mut entry = Entry { place, name, assignments: Vec::new(), end: End::Broken };
        // They grow where those of the section before have grown, and are kept in as much room as they take.
        let mut assignments = std::mem::take(&mut self.assignments);
        entry.end = self.lines(&entry, &mut assignments);
        entry.assignments.reserve_exact(assignments.len());
        entry.assignments.append(&mut assignments);
        self.assignments = assignments;
        entry
    }

    fn lines(&mut self, entry: &Entry, assignments: &mut Vec<Assignment>) -> End {
        loop {
            let Some(line) = self.line() else {
                self.unfinished(entry);
                return End::Broken;
            };
            if line.is_only(b'}') {
                return End::Closed;
            }
            if self.too_long(line) {
                return End::Broken;
            }
            match self.assignment(line) {
                Ok(assignment) => assignments.push(assignment),
                Err(not) => {
                    self.not_assignment(line, entry, not);
                    return End::Broken;
                }
            }
            if !self.whole && entry.name.is_some() && attributes::stops_reading(assignments) {
                return End::SwitchedOff;
            }
        }
    }

    fn unfinished(&mut self, entry: &Entry) {
        let line = self.here();
        let message = format!("the file ends inside {}", title(entry));
        let finding = Finding::new(&codes::SECTION_UNFINISHED, entry.place.clone(), message)
            .help("close it with `}` on a line of its own")
            .classic(Classic::at(Level::Error, "incomplete entry", &self.source.place(line)));
        // Behind whatever there is to say about the last line itself.
        self.say(line + 1, finding);
    }

    fn too_long(&mut self, line: Line<'a>) -> bool {
        if line.text.len() <= MAX_LINE {
            return false;
        }
        let message = format!("a line of {} bytes is longer than {MAX_LINE}", line.text.len());
        self.say(line.number, Finding::new(&codes::LINE_TOO_LONG, self.source.place(line.number), message));
        true
    }

    fn not_assignment(&mut self, line: Line<'a>, entry: &Entry, not: NotAssignment) {
        let mut help = not.help;
        if KEYWORDS.iter().any(|keyword| not.name.eq_ignore_ascii_case(keyword)) {
            let text = format!(
                "{} that starts at line {} has no `}}` before this line",
                title(entry),
                entry.place.line
            );
            help = Some(text);
        } else if entry.name.is_none() {
            help.get_or_insert_default().push_str("; this line and the rest of `defaults` have no effect");
        }
        let place = self.source.place(line.number);
        let finding = Finding::new(&codes::SYNTAX, place.clone(), not.message)
            .maybe_help(help)
            .classic(Classic::at(Level::Error, &not.classic, &place));
        self.say(line.number, finding);
        if entry.name.is_some() {
            self.swallowed(line);
        }
    }

    /// A `service` line that is skipped takes its service with it: that is worth saying.
    fn swallowed(&mut self, line: Line<'a>) {
        let mut words = self.source.words(line, 0);
        if !words.next().is_some_and(|word| word.text.eq_ignore_ascii_case("service")) {
            return;
        }
        let Some(name) = words.next() else { return };
        let message = format!("service `{}` is skipped with the section before it", name.text);
        let finding = Finding::new(&codes::SWALLOWED, name.place.clone(), message).service(&name.text);
        self.say(line.number, finding);
        let reason = "it is skipped because the section before it is not closed".to_owned();
        self.events.push_back(Event::Lost { name, reason });
    }

    /// Skips everything up to the next line that holds `}` alone.
    fn skip(&mut self) {
        loop {
            let Some(line) = self.line() else {
                let line = self.here();
                let text = "missing } in last service entry";
                let classic = Classic::at(Level::Warning, text, &self.source.place(line));
                self.events.push_back(Event::Log(line + 1, classic));
                return;
            };
            if line.is_only(b'}') {
                return;
            }
            self.swallowed(line);
        }
    }

    fn assignment(&self, line: Line<'a>) -> Result<Assignment, NotAssignment> {
        let at = |i: usize| line.text.get(i).copied();
        let find = |from: usize, is: fn(u8) -> bool| {
            let rest = line.text.get(from..).unwrap_or_default();
            from + rest.iter().position(|&byte| is(byte)).unwrap_or(rest.len())
        };
        let skip_space = |from: usize| find(from, |byte| !is_space(byte));
        let start = line.indent;
        let end = find(start, |byte| is_space(byte) || byte == b'=');
        let name = self.source.word(line, start, end);
        let operator_at = skip_space(end);
        let not = |classic: String, message: String, help: Option<String>| {
            Err(NotAssignment { name: name.text.to_string(), classic, message, help })
        };
        if at(end) == Some(b'=') {
            return not(
                format!("Attribute {} needs a space before operator", name.text),
                format!("`{}=` needs white space before the `=`", name.text),
                Some(format!("write `{} = …`", name.text)),
            );
        }
        let (operator, values_at) = match (at(operator_at), at(operator_at + 1)) {
            (Some(b'='), _) => (Operator::Set, operator_at + 1),
            (Some(b'+'), Some(b'=')) => (Operator::Add, operator_at + 2),
            (Some(b'-'), Some(b'=')) => (Operator::Remove, operator_at + 2),
            // With blanks behind a bare name xinetd notices; without, its scanner runs on into the next line.
            (None, _) if end < line.text.len() => {
                let classic = format!("Nothing after attribute: {}", name.text);
                return not(classic, format!("nothing follows `{}`", name.text), None);
            }
            _ => {
                let classic = format!("Bad operator for attribute: {}", name.text);
                return not(classic, format!("`{}` is not followed by `=`, `+=` or `-=`", name.text), None);
            }
        };
        Ok(Assignment { operator, values: self.source.words(line, values_at).collect(), name })
    }
}

fn title(entry: &Entry) -> String {
    match &entry.name {
        Some(name) => format!("service `{}`", name.text),
        None => "`defaults`".to_owned(),
    }
}

/// Where a word of an event stands: used to put events of several files in one order.
pub(crate) fn line_of(event: &Event) -> u32 {
    let line = |place: &Place| place.line;
    match event {
        Event::Item(Item::Entry(entry)) => line(&entry.place),
        Event::Item(Item::Inclusion(inclusion)) => line(&inclusion.path.place),
        Event::Finding(line, _) | Event::Log(line, _) => *line,
        Event::Lost { name, .. } => line(&name.place),
    }
}

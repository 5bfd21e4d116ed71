//! From a table's text to its index: cuts it into rules as the walk does, groups them by daemon list, and sorts what their
//! client lists say into columns. Bounded in what `/file` lists may add.

use super::bytes::{Key, NONE};
use super::flatten::Net;
use super::meaning::{Addresses, Meaning};
use super::write::{Class, Output, TableIndex, TooLarge};
use crate::address::is_space;
use crate::lines::Lines;
use crate::list::tokens;
use crate::matching::PAGE;
use crate::pattern::{DaemonName, DaemonPattern};
use crate::split::Rule;
use crate::text::TextPattern;
use std::collections::{HashMap, HashSet};

/// How deep files may name files and still be taken into the index.
const DEEPEST: u32 = 4;
/// How many bytes of files an index takes in, counted as [`crate::matching::MOST_LISTED`] counts.
const MOST_INLINED: u64 = 16 << 20;
/// How many words of both tables may name a file.
const MOST_NAMED: u32 = 64;
/// A longer word is for the language itself to judge.
const LONGEST_WORD: usize = 255;

/// What an index has taken in of files. The walk reads so much of files at one decision and no more; a decision by the index
/// must not come to another end because it reads less. So either all files are taken in that can be, and they are few, or
/// none is.
#[derive(Debug, Default)]
pub(crate) struct Inlined {
    /// None is taken in.
    never: bool,
    /// There was too much: the tables must be compiled again without.
    pub(crate) too_much: bool,
    bytes: u64,
    named: u32,
}

impl Inlined {
    /// Takes none in.
    pub(crate) fn never() -> Self {
        Self { never: true, ..Self::default() }
    }
}

/// The `/file` lists that a table names, read while it is compiled.
pub(crate) trait Lists {
    /// The bytes of the file at `path`, empty if there is none; nothing if the rule that names it must be walked.
    fn bytes(&mut self, path: &[u8]) -> Option<std::rc::Rc<[u8]>>;
}

/// Writes the index of the table `text`; where it is.
pub(crate) fn build(
    text: &[u8],
    lists: &mut dyn Lists,
    inlined: &mut Inlined,
    out: &mut Output,
) -> Result<u32, TooLarge> {
    let mut builder = Builder {
        index: TableIndex::default(),
        by_daemons: HashMap::new(),
        asking: HashSet::new(),
        lists,
        out,
        inlined,
    };
    let mut lines = Lines::new(text);
    while let Some(line) = lines.next() {
        if !line.complete {
            builder.index.broken = Some(line.number);
            break;
        }
        if line.is_comment() || line.is_blank() {
            continue;
        }
        match Rule::new(line.text) {
            Some(rule) => builder.rule(line.number, &rule)?,
            None => {
                let before = builder.count()?;
                builder.index.notes.push((before, line.number));
            }
        }
    }
    let Builder { index, out, .. } = builder;
    index.write(out)
}

struct Builder<'b> {
    index: TableIndex,
    by_daemons: HashMap<Box<[u8]>, usize>,
    /// Classes and options of which a rule that asks for the client's name is walked.
    asking: HashSet<(usize, u32)>,
    lists: &'b mut dyn Lists,
    out: &'b mut Output,
    inlined: &'b mut Inlined,
}

/// What a rule needs besides its place in the columns.
#[derive(Default)]
struct Needs {
    walk: bool,
    touch: bool,
}

impl Builder<'_> {
    /// The number of the next rule.
    fn count(&self) -> Result<u32, TooLarge> {
        u32::try_from(self.index.rules.len()).ok().filter(|count| *count < NONE).ok_or(TooLarge)
    }

    fn rule(&mut self, line: u32, rule: &Rule<'_>) -> Result<(), TooLarge> {
        let number = self.count()?;
        let place = match self.by_daemons.get(rule.daemons) {
            Some(place) => *place,
            None => self.new_class(rule.daemons)?,
        };
        let Some(class) = self.index.classes.get(place) else { return Err(TooLarge) };
        // Behind a rule of the same daemons that every client matches, none is reached.
        let reached = class.any == NONE;
        let options = match rule.options {
            Some(options) if reached => self.out.shared(options)?,
            _ => 0,
        };
        self.index.rules.push((line, options));
        if !reached {
            return Ok(());
        }
        let mut needs = Needs { walk: class.asks_server, touch: false };
        if !needs.walk {
            if tokens(rule.clients).any(|word| word.is_except()) {
                needs.walk = true;
            } else {
                for word in tokens(rule.clients) {
                    self.word(Meaning::of_client(word.text), place, number, 0, &mut needs);
                }
            }
        }
        let Some(class) = self.index.classes.get_mut(place) else { return Err(TooLarge) };
        // That a name is asked for shows (in log lines, or when it cannot be told), so the first rule that does it is walked
        // as well: the first of each kind of options, which say what a name that cannot be told would have changed. Those
        // behind it find the name asked for.
        if needs.walk || needs.touch && self.asking.insert((place, options)) {
            class.residual.push((number, self.out.text(rule.clients)?));
        }
        Ok(())
    }

    fn new_class(&mut self, daemons: &[u8]) -> Result<usize, TooLarge> {
        let place = self.index.classes.len();
        let number = u32::try_from(place).map_err(|_| TooLarge)?;
        let mut asks_server = false;
        let mut names: Option<Vec<Box<[u8]>>> = Some(Vec::new());
        for word in tokens(daemons) {
            let pattern = DaemonPattern::new(word.text);
            asks_server |= pattern.host.is_some();
            match pattern {
                DaemonPattern { daemon: DaemonName::Text(TextPattern::Exact(name)), host: None }
                    if !word.is_except() =>
                {
                    if let Some(names) = &mut names {
                        names.push(name.to_ascii_lowercase().into());
                    }
                }
                _ => names = None,
            }
        }
        match names {
            Some(mut names) => {
                names.sort_unstable();
                names.dedup();
                self.index.names.extend(names.into_iter().map(|name| (name, number)));
            }
            None => self.index.general.push(number),
        }
        let text = self.out.text(daemons)?;
        self.index.classes.push(Class::new(text, asks_server));
        self.by_daemons.insert(daemons.into(), place);
        Ok(place)
    }

    /// Takes one word of rule `number` into its class.
    fn word(&mut self, meaning: Meaning<'_>, place: usize, number: u32, depth: u32, needs: &mut Needs) {
        let addresses = match meaning {
            Meaning::Never => return,
            Meaning::Residual => {
                needs.walk = true;
                return;
            }
            Meaning::OnlyAsking => {
                needs.touch = true;
                return;
            }
            Meaning::File(path) => {
                needs.walk |= self.file(path, place, number, depth, needs).is_none();
                return;
            }
            Meaning::All => None,
            Meaning::Addresses(addresses) => Some(addresses),
            Meaning::Asking(addresses) => {
                needs.touch = true;
                Some(addresses)
            }
        };
        let Some(class) = self.index.classes.get_mut(place) else { return };
        match addresses {
            None => class.any = class.any.min(number),
            Some(Addresses::Host4(host)) => class.hosts4.push((host, number)),
            Some(Addresses::Net4(first, free)) => {
                class.nets4.push(Net { first, last: first.filled(free), rule: number });
            }
            Some(Addresses::Host6(host)) => class.hosts6.push((host, number)),
            Some(Addresses::Net6(first, free)) => match free.checked_sub(64) {
                Some(free) => {
                    let first = u64::try_from(first >> 64).unwrap_or(u64::MAX);
                    class.wide6.push(Net { first, last: first.filled(free), rule: number });
                }
                None => class.narrow6.push(Net { first, last: first.filled(free), rule: number }),
            },
        }
    }

    /// Takes the words of a file in; nothing if the rule must be walked.
    fn file(&mut self, path: &[u8], place: usize, number: u32, depth: u32, needs: &mut Needs) -> Option<()> {
        if depth == 0 {
            self.inlined.named = self.inlined.named.saturating_add(1);
            self.inlined.too_much |= self.inlined.named > MOST_NAMED;
        }
        if depth == DEEPEST || self.inlined.never || self.inlined.too_much {
            return None;
        }
        let bytes = self.lists.bytes(path)?;
        let cost = PAGE.max(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.inlined.bytes = self.inlined.bytes.saturating_add(cost);
        self.inlined.too_much |= self.inlined.bytes > MOST_INLINED;
        if bytes.contains(&0) || self.inlined.too_much {
            return None;
        }
        for word in bytes.split(|byte| is_space(*byte)).filter(|word| !word.is_empty()) {
            if word.len() > LONGEST_WORD {
                return None;
            }
            self.word(Meaning::of_listed(word), place, number, depth + 1, needs);
        }
        Some(())
    }
}

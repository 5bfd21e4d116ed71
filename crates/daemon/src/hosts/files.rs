//! The two tables and the /file lists as they stand on the disk. They are looked at for each client, so that an edit
//! counts from the next connection on, as ever; read only when they have changed. Evaluates nothing.
//!
//! Of long tables only the compiled form is in memory. Their texts are read again, whole, by whoever needs them: an
//! evaluation that the compiled form cannot answer (an address in an unusual spelling), `explain`, the builtin worker.

use crate::hosts::compiled::CompiledTables;
use crate::hosts::lists::Lists;
use crate::hosts::table_file::{TableFile, TableView};
use hosts_access::image::{Source, Text};
use hosts_access::lint::{Severity, lint_both};
use hosts_access::{Content, ListFile, Place, Tables, Which};
use portreeve_workers::protocol::{MAX_TABLE, TableSent, Worker};
use rustix::fd::OwnedFd;
use rustix::fs::MemfdFlags;
use std::collections::HashSet;
use std::io::{Seek, Write};

/// Tables that are not longer than this, both together and with the lists that they name, in bytes, are evaluated as they stand.
const SMALL: usize = 16 << 10;
/// The longest tables that are linted at a change, both together in bytes.
const LINTED: usize = 64 * 1024;
/// Errors that are said at a change; `portreeve check` says all.
const MOST_ERRORS: usize = 20;
/// Messages that are remembered as said.
const SAID: usize = 256;

/// Both tables and the lists that they name.
#[derive(Debug)]
pub struct Files {
    allow: TableFile,
    deny: TableFile,
    compiled: CompiledTables,
    /// Lists, by path.
    pub lists: Lists,
    said: HashSet<String>,
    /// The builtin worker has these texts.
    pub given: Vec<Worker>,
    /// They were asked for a service that xinetd answers in its own process, which from then on is one that may not `twist`.
    pub resident: bool,
}

impl Files {
    /// Nothing is read yet.
    pub fn new() -> Self {
        Self::at("/etc/hosts.allow", "/etc/hosts.deny")
    }

    fn at(allow: &'static str, deny: &'static str) -> Self {
        Self {
            allow: TableFile::new(allow),
            deny: TableFile::new(deny),
            compiled: CompiledTables::default(),
            lists: Lists::default(),
            said: HashSet::new(),
            given: Vec::new(),
            resident: false,
        }
    }

    /// Looks at both tables. The paths of those whose content is another than at the last look.
    pub fn refresh(&mut self) -> Vec<&'static str> {
        let changed: Vec<_> = [&mut self.allow, &mut self.deny]
            .into_iter()
            .filter_map(|t| t.refresh().then_some(t.path))
            .collect();
        if !changed.is_empty() {
            self.said.clear();
            self.given.clear();
        }
        changed
    }

    /// Whether there is nothing to ask.
    pub fn say_nothing(&self) -> bool {
        self.allow.says_nothing() && self.deny.says_nothing()
    }

    /// Whether either may hold a rule.
    pub fn hold_rules(&self) -> bool {
        self.views().iter().any(|table| table.lines > 0 || table.state == "unreadable")
    }

    /// The tables, compiled if they are long and that is done, and the lists beside them.
    pub fn tables(&mut self) -> (Tables<'_>, &mut Lists) {
        let long = self.are_long();
        let states = self.allow.state().zip(self.deny.state()).filter(|_| long);
        if states.is_some_and(|(allow, deny)| self.compiled.stands(allow, deny)) {
            self.let_go();
        } else {
            // What the compiled form said is to be read in the texts again.
            self.compiled.forget();
            self.allow.recall();
            self.deny.recall();
            if let (true, Some(allow), Some(deny)) = (long, self.allow.copy(), self.deny.copy()) {
                self.compiled.begin(allow, deny);
            }
        }
        let tables = match self.compiled.image() {
            Some(image) => {
                Tables { allow: self.allow.compiled(image.allow()), deny: self.deny.compiled(image.deny()) }
            }
            None => Tables { allow: self.allow.table(), deny: self.deny.table() },
        };
        (tables, &mut self.lists)
    }

    /// The tables as texts, of which every step can be told, and the lists beside them.
    pub fn texts(&mut self) -> (Tables<'_>, &mut Lists) {
        (Tables { allow: self.allow.table(), deny: self.deny.table() }, &mut self.lists)
    }

    /// The evaluation is over: what was read for it alone is let go.
    pub fn finish(&mut self) {
        self.allow.finish();
        self.deny.finish();
        if self.lists.bytes() == 0 {
            return;
        }
        for (source, _) in self.compiled.image().and_then(|image| image.sources()).unwrap_or_default() {
            if let Source::List(path) = source {
                self.lists.let_go(path);
            }
        }
    }

    /// Whether they are worth compiling. A short table may name a long list.
    fn are_long(&self) -> bool {
        self.allow.len() + self.deny.len() + self.lists.bytes() > SMALL
    }

    /// Begins to compile them if they are long, so that the next client finds it done. Whether it is not done yet.
    pub fn prepare(&mut self) -> bool {
        let _ = self.tables();
        self.finish();
        self.compiled.is_coming()
    }

    /// The compiled form is in force: it is left to others, and the texts are let go, once a further change of the tables
    /// would show.
    fn let_go(&mut self) {
        let (Some(allow), Some(deny)) = (self.allow.settled(), self.deny.settled()) else { return };
        self.compiled.leave([self.allow.path, self.deny.path], [allow, deny]);
        if let Some([allow, deny]) = self.compiled.gists() {
            self.allow.let_go(allow);
            self.deny.let_go(deny);
        }
    }

    /// The path of a table.
    pub fn path(&self, which: Which) -> &'static str {
        match which {
            Which::Allow => self.allow.path,
            Which::Deny => self.deny.path,
        }
    }

    /// A place as messages name it.
    pub fn place(&self, place: Place) -> String {
        format!("{}, line {}", self.path(place.which), place.line)
    }

    /// Whether this text is news since the tables last changed. What a broken table has to say is said once, not to each
    /// client; so it is bounded.
    pub fn is_news(&mut self, text: &str) -> bool {
        self.said.len() < SAID && self.said.insert(text.to_owned())
    }

    /// Both texts in a file of their own, for the builtin worker.
    pub fn send(&mut self) -> std::io::Result<(OwnedFd, TableSent, TableSent)> {
        let file = rustix::fs::memfd_create("hosts-tables", MemfdFlags::CLOEXEC)?;
        let mut file = std::fs::File::from(file);
        let mut add = |table: &TableFile| -> std::io::Result<TableSent> {
            if table.len() > MAX_TABLE {
                return Ok(TableSent::Unreadable);
            }
            Ok(match table.content() {
                Content::Missing => TableSent::Missing,
                Content::Text(text) if text.len() <= MAX_TABLE => {
                    file.write_all(text)?;
                    TableSent::Text(u32::try_from(text.len()).unwrap_or(0))
                }
                Content::Text(_) | Content::Unreadable(_) | Content::Compiled(_) => TableSent::Unreadable,
            })
        };
        let sent = add(&self.allow).and_then(|allow| Ok((allow, add(&self.deny)?)));
        self.finish();
        let (allow, deny) = sent?;
        file.rewind()?;
        Ok((file.into(), allow, deny))
    }

    /// Their paths.
    pub fn paths(&self) -> [&'static str; 2] {
        [self.allow.path, self.deny.path]
    }

    /// What the linter calls an error in them, with file and line. Of tables that are too long nothing: it takes its time.
    pub fn errors(&mut self) -> Vec<String> {
        if self.allow.len() + self.deny.len() > LINTED {
            return Vec::new();
        }
        let tables = Tables { allow: self.allow.table(), deny: self.deny.table() };
        let lists = &mut self.lists;
        let findings = lint_both(&tables, &mut |path| {
            Some(match lists.read(path) {
                ListFile::Bytes(bytes) => ListFile::Bytes(bytes.into_owned()),
                ListFile::Absent => ListFile::Absent,
                ListFile::Unreadable(why) => ListFile::Unreadable(why),
                ListFile::TooLarge => ListFile::TooLarge,
            })
        });
        let errors = findings.iter().filter(|finding| finding.severity == Severity::Error);
        errors
            .take(MOST_ERRORS)
            .map(|found| {
                let path = String::from_utf8_lossy(&found.path);
                format!("{path}:{}:{}: {}", found.line, found.column, found.message)
            })
            .collect()
    }

    /// Bytes of the compiled form, where there is one.
    pub fn compiled_bytes(&self) -> Option<usize> {
        self.compiled.bytes()
    }

    /// For `status`.
    pub fn views(&self) -> [TableView; 2] {
        [self.allow.view(), self.deny.view()]
    }
}

#[cfg(test)]
mod tests;

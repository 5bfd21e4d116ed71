//! Configurations: entries that work as they are, changed one attribute at a time. Writes text, decides nothing.

use crate::init::{HERE, PROBE};
use crate::side::Side;

/// One service entry. A fresh one is served to everybody and logs everything into a file of its own.
#[derive(Clone, Debug)]
pub struct Entry {
    name: String,
    lines: Vec<(String, String, Option<Side>)>,
}

impl Entry {
    /// A stream service that starts `/bin/echo served`.
    pub fn program(id: &str, port: u16) -> Entry {
        Entry::bare(id, port)
            .set("type", "UNLISTED")
            .set("socket_type", "stream")
            .set("protocol", "tcp")
            .set("wait", "no")
            .set("user", "root")
            .set("server", "/bin/echo")
            .set("server_args", "served")
    }

    /// A stream service that starts the probe with these words.
    pub fn probe(id: &str, port: u16, words: &str) -> Entry {
        Entry::program(id, port).set("server", PROBE).set("server_args", words)
    }

    /// A stream service that runs a shell command; the command may hold no white space but `${IFS}`.
    pub fn shell(id: &str, port: u16, command: &str) -> Entry {
        Entry::program(id, port).set("server", "/bin/sh").set("server_args", &format!("-c {command}"))
    }

    /// A datagram service, wait = yes, that starts the probe with these words.
    pub fn datagram(id: &str, port: u16, words: &str) -> Entry {
        Entry::probe(id, port, words).set("socket_type", "dgram").set("protocol", "udp").set("wait", "yes")
    }

    /// A built-in service; `name` is echo, daytime, …
    pub fn internal(name: &str, id: &str, port: u16, socket_type: &str) -> Entry {
        let protocol = if socket_type == "dgram" { "udp" } else { "tcp" };
        let wait = if socket_type == "dgram" { "yes" } else { "no" };
        let mut entry = Entry::bare(id, port)
            .set("type", "INTERNAL UNLISTED")
            .set("socket_type", socket_type)
            .set("protocol", protocol)
            .set("wait", wait);
        entry.name = name.to_owned();
        entry
    }

    /// A stream service that is redirected to these targets, at any rate.
    pub fn redirected(id: &str, port: u16, targets: &str) -> Entry {
        Entry::bare(id, port)
            .set("type", "UNLISTED")
            .set("socket_type", "stream")
            .set("protocol", "tcp")
            .set("wait", "no")
            .set("user", "root")
            .set("cps", "0 0")
            .set("redirect", targets)
    }

    /// Only what identifies the service and how it logs.
    pub fn bare(id: &str, port: u16) -> Entry {
        Entry { name: id.to_owned(), lines: Vec::new() }
            .set("id", id)
            .set("port", &port.to_string())
            .set("log_type", &format!("FILE {HERE}/log/{id}"))
            .set("log_on_success", "HOST PID EXIT DURATION")
            .set("log_on_failure", "HOST")
    }

    /// The entry under another name than its id.
    pub fn named(mut self, name: &str) -> Entry {
        self.name = name.to_owned();
        self
    }

    /// Sets an attribute, in place of an earlier value.
    pub fn set(mut self, attribute: &str, value: &str) -> Entry {
        let line = format!("{attribute} = {value}");
        match self.lines.iter_mut().find(|(name, ..)| name == attribute) {
            Some(found) => found.1 = line,
            None => self.lines.push((attribute.to_owned(), line, None)),
        }
        self
    }

    /// Takes an attribute out.
    pub fn unset(mut self, attribute: &str) -> Entry {
        self.lines.retain(|(name, ..)| name != attribute);
        self
    }

    /// A line as it is, after the others.
    pub fn line(mut self, line: &str) -> Entry {
        self.lines.push((String::new(), line.to_owned(), None));
        self
    }

    /// A line as it is, before the others: for `flags`, which xinetd wants before `server_args`.
    pub fn first(mut self, line: &str) -> Entry {
        self.lines.insert(0, (String::new(), line.to_owned(), None));
        self
    }

    /// A line that only one side gets: an extension that xinetd would warn about.
    pub fn only(mut self, side: Side, line: &str) -> Entry {
        self.lines.push((String::new(), line.to_owned(), Some(side)));
        self
    }

    fn text(&self, side: Side) -> String {
        let mut text = format!("service {}\n{{\n", self.name);
        for (_, line, only) in &self.lines {
            if only.is_none_or(|only| only == side) {
                text.push_str(&format!("\t{line}\n"));
            }
        }
        text.push_str("}\n");
        text
    }
}

/// A configuration file.
#[derive(Clone, Debug, Default)]
pub struct Config {
    defaults: Vec<String>,
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Entry(Entry),
    Text(String),
}

impl Config {
    /// An empty file.
    pub fn new() -> Config {
        Config::default()
    }

    /// A file with one entry.
    pub fn of(entry: Entry) -> Config {
        Config::new().with(entry)
    }

    /// Adds a line to the defaults section, which comes first.
    pub fn defaults(mut self, line: &str) -> Config {
        self.defaults.push(line.to_owned());
        self
    }

    /// Adds an entry.
    pub fn with(mut self, entry: Entry) -> Config {
        self.parts.push(Part::Entry(entry));
        self
    }

    /// Adds entries.
    pub fn with_all(self, entries: impl IntoIterator<Item = Entry>) -> Config {
        entries.into_iter().fold(self, Config::with)
    }

    /// Adds text as it is.
    pub fn raw(mut self, text: &str) -> Config {
        self.parts.push(Part::Text(text.to_owned()));
        self
    }

    /// The file for one side.
    pub fn text(&self, side: Side) -> String {
        let mut text = String::new();
        if !self.defaults.is_empty() {
            text.push_str("defaults\n{\n");
            for line in &self.defaults {
                text.push_str(&format!("\t{line}\n"));
            }
            text.push_str("}\n");
        }
        for part in &self.parts {
            match part {
                Part::Entry(entry) => text.push_str(&entry.text(side)),
                Part::Text(raw) => text.push_str(raw),
            }
        }
        text
    }
}

//! The account of one service while it is written in another language: what was taken up, what was said of it, and, when it is
//! closed, a note for all that nobody asked for. So nothing is lost in silence, an attribute of tomorrow included.

use super::sheet::{Note, Said, Stanza};

/// See the module.
pub(crate) struct Account<'a> {
    stanza: &'a Stanza,
    taken: Vec<&'static str>,
    notes: Vec<Note>,
    /// What was lost kept somebody out.
    open: bool,
}

impl<'a> Account<'a> {
    /// Opens it.
    pub(crate) fn new(stanza: &'a Stanza) -> Self {
        Self { stanza, taken: Vec::new(), notes: Vec::new(), open: false }
    }

    /// The attribute, which is hereby taken up.
    pub(crate) fn take(&mut self, name: &'static str) -> Option<&'a Said> {
        self.taken.push(name);
        self.stanza.said.iter().find(|said| said.name == name)
    }

    /// Its values.
    pub(crate) fn value(&mut self, name: &'static str) -> Option<&'a str> {
        self.take(name).map(|said| said.value.as_str())
    }

    /// Its values, in upper case.
    pub(crate) fn words(&mut self, name: &'static str) -> Vec<String> {
        let words = |value: &str| value.split_whitespace().map(str::to_ascii_uppercase).collect();
        self.value(name).map(words).unwrap_or_default()
    }

    /// An attribute that could not be carried over.
    pub(crate) fn lost(&mut self, name: &'static str, text: impl Into<String>) {
        self.note(name, true, text.into());
    }

    /// One that kept somebody out: the service is not to be served without it.
    pub(crate) fn opens(&mut self, name: &'static str, text: impl Into<String>) {
        self.open = true;
        self.note(name, true, format!("{}; so the service is switched off", text.into()));
    }

    /// Something that a reader of the result must know.
    pub(crate) fn told(&mut self, name: &'static str, text: impl Into<String>) {
        self.note(name, false, text.into());
    }

    fn note(&mut self, name: &'static str, lost: bool, text: String) {
        self.taken.push(name);
        let place = self.stanza.said.iter().find(|said| said.name == name).map(|said| &said.place);
        self.notes.push(Note {
            place: Some(place.unwrap_or(&self.stanza.place).clone()),
            service: Some(self.stanza.id().to_owned()),
            about: Some(name.to_owned()),
            lost,
            text,
        });
    }

    /// Closes it with the service written: names what was not taken up (`language` is where it has no place), and tells
    /// whether the service must be switched off, because something that kept clients out is missing.
    pub(crate) fn close(mut self, language: &str) -> (Vec<Note>, bool) {
        let left = self.stanza.said.iter().filter(|said| !self.taken.contains(&said.name));
        for name in left.map(|said| said.name).collect::<Vec<_>>() {
            match reason(name) {
                Reason::Keeps(why) => self.opens(name, format!("`{name}`: {language} {why}")),
                Reason::Plain => self.lost(name, format!("`{name}` has no counterpart in {language}")),
            }
        }
        (self.notes, self.open)
    }

    /// What was said, and nothing of what was not taken up.
    pub(crate) fn told_only(self) -> Vec<Note> {
        self.notes
    }

    /// Closes it with nothing written, for this reason.
    pub(crate) fn stop(mut self, stop: Stop) -> Vec<Note> {
        self.notes.retain(|note| note.lost);
        self.note(stop.0, true, format!("service `{}` is not carried over: {}", self.stanza.id(), stop.1));
        self.notes
    }
}

/// Why a service cannot be written at all: the attribute, and what is wrong.
pub(crate) struct Stop(pub(crate) &'static str, pub(crate) String);

impl Stop {
    pub(crate) fn new<T>(name: &'static str, text: impl Into<String>) -> Result<T, Self> {
        Err(Self(name, text.into()))
    }
}

enum Reason {
    Plain,
    /// It keeps clients out, or the program within bounds.
    Keeps(&'static str),
}

fn reason(name: &str) -> Reason {
    match name {
        "only_from" | "no_access" => Reason::Keeps("has no lists of clients"),
        "access_times" => Reason::Keeps("knows no hours"),
        "tls_cert" | "tls_key" | "tls_client_ca" => Reason::Keeps("has no TLS"),
        "sandbox" => Reason::Keeps("cannot confine a program"),
        "verify_server" => Reason::Keeps("verifies no program"),
        "proxy_protocol" | "proxy_from" => Reason::Keeps("does not know the PROXY protocol"),
        _ => Reason::Plain,
    }
}

//! Writes JSON for the control socket. Owns commas and escaping; knows nothing of what is said.
//! A writer of forty lines instead of a serializer in the privileged process.

use std::fmt::{Display, Write};

/// A JSON text under construction.
#[derive(Debug, Default)]
pub struct Json {
    text: String,
    comma: bool,
}

impl Json {
    /// An object written by `fill`.
    pub fn object(fill: impl FnOnce(&mut Self)) -> String {
        let mut json = Self::default();
        json.nest('{', '}', fill);
        json.text
    }

    fn nest(&mut self, open: char, close: char, fill: impl FnOnce(&mut Self)) {
        self.text.push(open);
        self.comma = false;
        fill(self);
        self.text.push(close);
        self.comma = true;
    }

    fn next(&mut self) {
        if self.comma {
            self.text.push(',');
        }
        self.comma = true;
    }

    fn key(&mut self, key: &str) {
        self.next();
        self.quoted(key);
        self.text.push(':');
    }

    fn quoted(&mut self, value: &str) {
        self.text.push('"');
        for c in value.chars() {
            match c {
                '"' => self.text.push_str("\\\""),
                '\\' => self.text.push_str("\\\\"),
                c if c.is_control() => {
                    let _ = write!(self.text, "\\u{:04x}", u32::from(c));
                }
                c => self.text.push(c),
            }
        }
        self.text.push('"');
    }

    /// `"key":"value"`.
    pub fn text(&mut self, key: &str, value: impl Display) {
        self.key(key);
        self.quoted(&value.to_string());
    }

    /// `"key":value` for numbers and truth values.
    pub fn plain(&mut self, key: &str, value: impl Display) {
        self.key(key);
        let _ = write!(self.text, "{value}");
    }

    /// `"key":value`, or null.
    pub fn optional(&mut self, key: &str, value: Option<impl Display>) {
        match value {
            Some(value) => self.plain(key, value),
            None => self.plain(key, "null"),
        }
    }

    /// `"key":{…}`.
    pub fn map(&mut self, key: &str, fill: impl FnOnce(&mut Self)) {
        self.key(key);
        self.nest('{', '}', fill);
    }

    /// `"key":[…]`.
    pub fn list(&mut self, key: &str, fill: impl FnOnce(&mut Self)) {
        self.key(key);
        self.nest('[', ']', fill);
    }

    /// `{…}` as an element of a list.
    pub fn item(&mut self, fill: impl FnOnce(&mut Self)) {
        self.next();
        self.nest('{', '}', fill);
    }

    /// `value` as an element of a list, for numbers.
    pub fn number(&mut self, value: impl Display) {
        self.next();
        let _ = write!(self.text, "{value}");
    }

    /// `"value"` as an element of a list.
    pub fn word(&mut self, value: &str) {
        self.next();
        self.quoted(value);
    }
}

#[cfg(test)]
mod tests {
    use super::Json;

    #[test]
    fn commas_and_escapes() {
        let text = Json::object(|j| {
            j.plain("ok", true);
            j.text("name", "a\"b\n");
            j.list("items", |j| {
                j.item(|j| j.plain("n", 1));
                j.word("x");
            });
            j.map("empty", |_| {});
            j.optional("none", None::<u32>);
        });
        assert_eq!(text, r#"{"ok":true,"name":"a\"b\u000a","items":[{"n":1},"x"],"empty":{},"none":null}"#);
    }
}

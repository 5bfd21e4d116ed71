//! Changes for people and machines: lines, the nine columns of `rpm -V`, JSON.

use super::compare::Change;
use super::entry::Entry;
use super::mask::Mask;
use super::text::escape;
use serde_json::{Value, json};

/// How changes are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A line each, with what it was and what it is.
    People,
    /// As `rpm -V` does.
    Rpm,
}

/// One change in lines, without an end.
pub fn lines(change: &Change, form: Form) -> String {
    match form {
        Form::People => people(change),
        Form::Rpm => rpm(change),
    }
}

fn people(change: &Change) -> String {
    let path = escape(change.path());
    match change {
        Change::Added(now) => {
            format!("added    {path}: {} {:04o} of {}:{}", now.kind.word(), now.mode, now.uid, now.gid)
        }
        Change::Removed(before) => format!("removed  {path}: {}", before.kind.word()),
        Change::Unseen(_, number) => {
            let error = std::io::Error::from_raw_os_error(*number);
            format!("unseen   {path}: {}", crate::bounded::words(&error))
        }
        Change::Changed(before, now, what) => {
            let one = |property: &super::mask::Property| {
                let value = |entry: &Entry| {
                    let value = entry.value(property.letter);
                    // Words may have spaces between them.
                    escape(short(&value).as_bytes()).replace("\\x20", " ")
                };
                format!("{} {} -> {}", property.name, value(before), value(now))
            };
            let all: Vec<_> = what.properties().map(one).collect();
            format!("changed  {path}: {}", all.join(", "))
        }
    }
}

/// A digest is told apart by its beginning.
fn short(value: &str) -> &str {
    match value.len() == 64 && value.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => value.get(..16).unwrap_or(value),
        false => value,
    }
}

/// `S.5....T.    /path`, `missing     /path`; what rpm has no word for is `added` and `unseen`.
fn rpm(change: &Change) -> String {
    let path = escape(change.path());
    match change {
        Change::Added(_) => format!("added        {path}"),
        Change::Removed(_) => format!("missing      {path}"),
        Change::Unseen(..) => format!("unseen       {path}"),
        Change::Changed(_, _, what) => format!("{}    {path}", columns(*what)),
    }
}

/// The nine columns.
pub fn columns(what: Mask) -> String {
    let mut columns = ['.'; 9];
    for (at, letter) in what.properties().filter_map(|property| property.rpm) {
        if let Some(column) = columns.get_mut(at) {
            *column = letter;
        }
    }
    columns.into_iter().collect()
}

/// One change for machines. A path that is no UTF-8 is in `path_bytes` too, escaped.
pub fn json(change: &Change) -> Value {
    let path = change.path();
    let mut value = match change {
        Change::Added(now) => json!({ "change": "added", "now": all(now) }),
        Change::Removed(before) => json!({ "change": "removed", "before": all(before) }),
        Change::Unseen(_, number) => json!({ "change": "unseen", "errno": number }),
        Change::Changed(before, now, what) => {
            let one = |property: &super::mask::Property| {
                json!({
                    "property": property.name,
                    "before": before.value(property.letter),
                    "now": now.value(property.letter),
                })
            };
            json!({
                "change": "changed",
                "columns": columns(*what),
                "properties": what.properties().map(one).collect::<Vec<_>>(),
            })
        }
    };
    if let Some(fields) = value.as_object_mut() {
        fields.insert("path".to_owned(), json!(String::from_utf8_lossy(path)));
        if std::str::from_utf8(path).is_err() {
            fields.insert("path_bytes".to_owned(), json!(escape(path)));
        }
    }
    value
}

/// All properties of an entry.
pub fn all(entry: &Entry) -> Value {
    let one =
        |property: &super::mask::Property| (property.name.to_owned(), json!(entry.value(property.letter)));
    Value::Object(super::mask::PROPERTIES.iter().map(one).collect())
}

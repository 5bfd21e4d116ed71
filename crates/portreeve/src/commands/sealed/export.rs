//! `portreeve integrity export`: a baseline for other programs, once all of it was checked.

use super::{PUBLIC, Where, baseline, standing, trusted};
use crate::escape;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use portreeve_audit::sealed::aide_export;
use portreeve_audit::sealed::chain::{Baseline, Store};
use portreeve_audit::sealed::entry::{Entry, hex};
use portreeve_audit::sealed::mask::PROPERTIES;
use portreeve_audit::sealed::text;
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::PathBuf;

/// In which form.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// All that is recorded, a line for each path
    Json,
    /// A database of AIDE 0.17 and later, with what that has fields for
    Aide,
}

/// `integrity export`.
#[derive(clap::Args, Debug)]
pub struct Export {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub place: Where,
    /// The public half of the host's key
    #[arg(long, value_name = "FILE", default_value = PUBLIC)]
    pub public: PathBuf,
    /// This baseline instead of the last one
    #[arg(long, value_name = "NUMBER")]
    pub baseline: Option<u32>,
    /// In which form
    #[arg(long, value_enum, default_value = "json")]
    pub format: Form,
}

/// Writes it to the standard output.
pub fn export(arguments: &Export, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let trusted = trusted(&arguments.public)?;
    let store = Store::new(&arguments.place.store);
    let baseline = baseline(&store, &arguments.place, arguments.baseline)?;
    standing(&store, &baseline, trusted.as_ref())?;
    // All of it before the first line: a part of a baseline that is damaged would be believed.
    baseline.verify().map_err(Failure::new)?;
    match arguments.format {
        Form::Json => as_json(&baseline, out),
        Form::Aide => as_aide(&baseline, out),
    }
}

fn as_json(baseline: &Baseline, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let header = &baseline.header;
    let head = json!({
        "baseline": baseline.number,
        "digest": hex(&baseline.digest),
        "created": header.created,
        "host": header.host,
        "signer": hex(&header.signer),
        "parent": header.parent.map(|parent| hex(&parent)),
        "hash": header.hash.word(),
    });
    let head = escape::json_text(head.to_string());
    write!(out, "{},\n\"paths\": [", head.trim_end_matches('}'))?;
    for (at, entry) in baseline.paths().map_err(Failure::new)?.enumerate() {
        let entry = entry.map_err(Failure::new)?;
        let line = escape::json_text(Value::Object(properties(&entry)).to_string());
        write!(out, "{}{line}", if at > 0 { ",\n" } else { "\n" })?;
    }
    writeln!(out, "\n]}}")?;
    Ok(Exit::Fine)
}

/// What is known of a path, by the names that `explain` has for it.
fn properties(entry: &Entry) -> Map<String, Value> {
    let known = PROPERTIES.iter().filter(|property| entry.known.has(property.letter));
    let path = ("path".to_owned(), Value::from(text::escape(&entry.path)));
    known.map(|p| (p.name.to_owned(), Value::from(entry.value(p.letter)))).chain([path]).collect()
}

fn as_aide(baseline: &Baseline, out: &mut Output<'_>) -> Result<Exit, Failure> {
    out.write_all(aide_export::HEAD.as_bytes())?;
    for entry in baseline.paths().map_err(Failure::new)? {
        let entry = entry.map_err(Failure::new)?;
        out.write_all(aide_export::line(&entry, baseline.header.hash).as_bytes())?;
    }
    out.write_all(aide_export::END.as_bytes())?;
    Ok(Exit::Fine)
}

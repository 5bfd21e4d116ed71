//! `portreeve integrity explain`: one path, as a baseline has it and as it is.

use super::{PUBLIC, Where, baseline, bytes, standing, trusted};
use crate::escape;
use crate::explaining::Judged;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::sealing;
use crate::table::Table;
use portreeve_audit::sealed::chain::Store;
use portreeve_audit::sealed::compare::{Change, what_counts};
use portreeve_audit::sealed::entry::Entry;
use portreeve_audit::sealed::mask::PROPERTIES;
use portreeve_audit::sealed::reading::Reading;
use portreeve_audit::sealed::rules::Rules;
use portreeve_audit::sealed::tree::Tree;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// `integrity explain`.
#[derive(clap::Args, Debug)]
pub struct Explain {
    /// The path
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub place: Where,
    /// The public half of the host's key
    #[arg(long, value_name = "FILE", default_value = PUBLIC)]
    pub public: PathBuf,
}

/// What is known of one path.
pub fn explain(arguments: &Explain, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let trusted = trusted(&arguments.public)?;
    let store = Store::new(&arguments.place.store);
    let baseline = baseline(&store, &arguments.place, None)?;
    standing(&store, &baseline, trusted.as_ref())?;
    let path = bytes(std::slice::from_ref(&arguments.path))?.pop().unwrap_or_default();
    let mut before = None;
    for entry in baseline.paths().map_err(Failure::new)? {
        let entry = entry.map_err(Failure::new)?;
        if entry.path == path {
            before = Some(entry);
        }
    }
    let mask = baseline.header.rules.mask(&path);
    let (rules, mut now) = (Rules::of(std::slice::from_ref(&path)), None);
    let mut tree = Tree::new(&rules);
    // A directory alone: what is below it is not asked for.
    let first = tree.by_ref().take(1);
    let reading = Reading { hash: baseline.header.hash, ..Reading::default() };
    sealing::look_at(first, &reading, |entry| now = Some(entry));
    let shown = escape::os(OsStr::from_bytes(&path));
    let judged = match (&before, &now) {
        (None, None) => {
            return Err(Failure::new(format!(
                "{shown} is neither there nor in baseline {}",
                baseline.number
            )));
        }
        (Some(before), None) => Some(Change::Removed(Box::new(before.clone()))),
        (None, Some(now)) => Some(Change::Added(Box::new(now.clone()))),
        (Some(before), Some(now)) => {
            let what = what_counts(now, before, mask);
            (!what.is_empty()).then(|| Change::Changed(Box::new(before.clone()), Box::new(now.clone()), what))
        }
    };
    let counts = if mask.is_empty() { "nothing: it is left out".to_owned() } else { mask.letters() };
    writeln!(out, "{shown}, baseline {}; what counts: {counts}", baseline.number)?;
    let mut table = Table::new(&["property", "before", "now", ""]);
    for property in PROPERTIES {
        let value = |entry: &Option<Entry>| {
            let known = entry.as_ref().filter(|entry| entry.known.has(property.letter));
            let value = known.map_or("-".to_owned(), |entry| entry.value(property.letter));
            escape::text(&value).into_owned()
        };
        let (was, is) = (value(&before), value(&now));
        let word = match (was == is, mask.has(property.letter)) {
            (true, _) => "",
            (false, true) => "differs",
            (false, false) => "differs, does not count",
        };
        table.row(vec![property.name.into(), was.into(), is.into(), word.into()]);
    }
    table.write(out, 0)?;
    let Some(change) = judged else {
        writeln!(out, "it is what the baseline says")?;
        return Ok(Exit::Fine);
    };
    let judged = Judged::new(vec![change], &[], std::path::Path::new("/"), baseline.header.created);
    match judged.explained.keys().next() {
        Some(package) => {
            let done = judged.transactions.get(package);
            let done = done.map_or(String::new(), |done| format!(", {} on {}", done.what, done.when));
            writeln!(out, "explained: package {package} has it like this{}", escape::text(&done))?;
            Ok(Exit::Fine)
        }
        None => {
            let why = judged.gap.map_or(String::new(), |gap| format!(": {gap}"));
            writeln!(out, "no package explains it{}", escape::text(&why))?;
            Ok(Exit::Found)
        }
    }
}

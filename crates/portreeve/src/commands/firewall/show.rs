//! `portreeve firewall show`: what is confirmed, what is on trial, and whether the kernel has it. Looks only.

use super::root_only;
use crate::answer::span;
use crate::escape;
use crate::failure::{Exit, Failure};
use crate::firewall::state::{Store, boot, since_boot};
use crate::firewall::{TABLE, nft, text, trial};
use crate::output::{Output, Paint};
use portreeve_sys::clock;
use serde_json::json;
use std::io::Write;

/// Show what is loaded, what is confirmed and what is on trial
///
/// Exit codes: 0 the kernel has what was confirmed, or nothing was; 1 it has not, or rules are on trial; 2 it could not look.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// Looks and prints.
pub(super) fn run(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    root_only("sees the rules")?;
    let state = Store::open()?.read()?;
    let listing = nft::listing(TABLE).map_err(|failed| Failure::new(failed.to_string()))?;
    let same =
        |table: &str| listing.as_ref().is_some_and(|listing| text::difference(listing, table).is_empty());
    let now = clock::wall_seconds();
    let pending = state.pending.as_ref().filter(|pending| pending.boot == boot());
    let left = pending.map(|pending| pending.deadline.saturating_sub(since_boot()) / 1000);
    let (word, fine) = match (&state.confirmed, pending, &listing) {
        (_, Some(pending), _) if trial::over(pending).is_some() => ("on trial, and its time is over", false),
        (_, Some(_), _) => ("on trial", false),
        (Some(kept), None, _) if same(&kept.table) => ("confirmed and loaded", true),
        (Some(_), None, None) => ("confirmed, and NOT loaded: `portreeve firewall load` loads it", false),
        (Some(_), None, Some(_)) => ("confirmed, and the kernel has OTHER rules", false),
        (None, None, Some(_)) => ("loaded, and never confirmed", false),
        (None, None, None) => ("none", true),
    };
    if arguments.json {
        out.json(&json!({
            "state": word,
            "fine": fine,
            "loaded": listing,
            "confirmed": state.confirmed.as_ref().map(|kept| json!({ "at": kept.at, "by": kept.by, "ruleset": kept.table })),
            "pending": pending.map(|pending| json!({ "seconds_left": left, "loaded": pending.loaded.is_some(), "ruleset": pending.table })),
            "last": state.last.as_ref().map(|last| json!({ "confirmed": last.confirmed, "why": last.why, "at": last.at })),
        }))?;
        return Ok(if fine { Exit::Fine } else { Exit::Found });
    }
    let paint = if fine { Paint::Green } else { Paint::Yellow };
    writeln!(out, "host firewall: {}", out.paint(paint, word))?;
    let ago = |at: i64| span(u64::try_from(now.saturating_sub(at)).unwrap_or(0));
    if let Some(left) = left {
        writeln!(out, "taken back in {}, unless it is confirmed", span(left))?;
    }
    if let Some(kept) = &state.confirmed {
        writeln!(out, "confirmed {} ago by {}", ago(kept.at), escape::text(&kept.by))?;
    }
    if let Some(last) = &state.last {
        writeln!(out, "the last trial ended {} ago: {}", ago(last.at), escape::text(&last.why))?;
    }
    if let Some(listing) = &listing {
        write!(out, "\n{}", escape::lines(listing))?;
    }
    Ok(if fine { Exit::Fine } else { Exit::Found })
}

//! `portreeve integrity history|key`: the chain of baselines, and the key that signs them. Writes keys and nothing else.

use super::sealed::{PUBLIC, Where};
use crate::escape;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::sealing;
use portreeve_audit::sealed::chain::{Baseline, Store};
use portreeve_audit::sealed::entry::hex;
use portreeve_audit::sealed::key::Key;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;

/// `integrity history`.
#[derive(clap::Args, Debug)]
pub struct History {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub place: Where,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// `integrity key`.
#[derive(clap::Args, Debug)]
pub struct NewKey {
    /// The file to write; it must not exist
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Where to write the public half
    #[arg(long, value_name = "FILE", default_value = PUBLIC)]
    pub public: PathBuf,
    /// No passphrase: whoever reads the file can sign
    #[arg(long, conflicts_with = "passphrase_file")]
    pub no_passphrase: bool,
    /// The file that holds the passphrase in its first line; else the terminal is asked
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// Lists the chain.
pub fn history(arguments: &History, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let store = Store::new(&arguments.place.store);
    let (mut former, mut broken, mut rows) = (None, false, Vec::new());
    let mut signer = None;
    for number in store.numbers().map_err(Failure::new)? {
        let (word, baseline) = match store.open(number, None) {
            Ok(baseline) => {
                let follows = former.is_none() || baseline.header.parent == former;
                let same = signer.is_none_or(|signer| signer == baseline.header.signer);
                (former, signer) = (Some(baseline.digest), Some(baseline.header.signer));
                let word = match (follows, same) {
                    (false, _) => "does not follow the one before it",
                    (true, false) => "signed by another key than the one before it",
                    (true, true) => "fine",
                };
                (word.to_owned(), Some(baseline))
            }
            Err(why) => {
                former = None;
                (why, None)
            }
        };
        broken |= word != "fine";
        rows.push((number, word, baseline));
    }
    if arguments.json {
        let row = |(number, word, baseline): &(u32, String, Option<Baseline>)| {
            let seen = |get: fn(&Baseline) -> serde_json::Value| baseline.as_ref().map(get);
            json!({
                "baseline": number,
                "state": word,
                "created": seen(|b| json!(b.header.created)),
                "digest": seen(|b| json!(hex(&b.digest))),
                "signer": seen(|b| json!(hex(&b.header.signer))),
                "paths": seen(|b| json!(b.entries)),
            })
        };
        out.json(&json!({ "baselines": rows.iter().map(row).collect::<Vec<_>>() }))?;
    } else {
        for (number, word, baseline) in &rows {
            let word = escape::text(word);
            match baseline {
                Some(b) => writeln!(
                    out,
                    "{number} {} {} paths, digest {}: {word}",
                    crate::since::local(
                        i64::try_from(b.header.created).unwrap_or(0).saturating_mul(1_000_000)
                    ),
                    b.entries,
                    hex(&b.digest),
                )?,
                None => writeln!(out, "{number} {word}")?,
            }
        }
        if rows.is_empty() {
            writeln!(out, "there is no baseline")?;
        }
    }
    Ok(if broken { Exit::Found } else { Exit::Fine })
}

/// Makes a key.
pub fn key(arguments: &NewKey, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let passphrase = match (arguments.no_passphrase, &arguments.passphrase_file) {
        (true, _) => None,
        (false, Some(file)) => Some(sealing::passphrase_in(file)?),
        (false, None) => Some(sealing::new_passphrase()?),
    };
    let (key, text) = Key::generate(passphrase.as_deref()).map_err(Failure::new)?;
    sealing::write_new(&arguments.file, &text, 0o600)?;
    let public = format!("public {}\n", hex(&key.public()));
    if let Err(failure) = sealing::write_new(&arguments.public, &public, 0o644) {
        // Half a pair is none.
        let _ = std::fs::remove_file(&arguments.file);
        return Err(failure);
    }
    writeln!(
        out,
        "{} signs; {} is what this host needs to check. Move the first off this host.",
        escape::os(arguments.file.as_os_str()),
        escape::os(arguments.public.as_os_str()),
    )?;
    Ok(Exit::Fine)
}

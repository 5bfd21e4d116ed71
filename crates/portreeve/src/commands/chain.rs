//! `portreeve integrity history|key`: the chain of baselines, and the key that signs them. Writes keys and nothing else.

use super::sealed::{PUBLIC, Where, digest, trusted};
use crate::escape;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::sealing;
use portreeve_audit::sealed::authority::broken;
use portreeve_audit::sealed::chain::{Baseline, Store};
use portreeve_audit::sealed::entry::hex;
use portreeve_audit::sealed::key::{Key, Public, Use};
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;

/// `integrity history`.
#[derive(clap::Args, Debug)]
pub struct History {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub place: Where,
    /// The public half of the host's key; without it, the key that signed the first baseline
    #[arg(long, value_name = "FILE", default_value = PUBLIC)]
    pub public: PathBuf,
    /// A digest that a baseline of the chain must have, as it was written down elsewhere; may be given more than once
    #[arg(long, value_name = "DIGEST")]
    pub anchor: Vec<String>,
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

/// One baseline of the chain.
struct Row {
    number: u32,
    /// Whether it is what it should be.
    fine: bool,
    word: String,
    baseline: Option<Baseline>,
}

/// What is wrong with a baseline, beside the one before it; else who signed it.
fn judge(baseline: &Baseline, former: Option<&Baseline>, host_key: &Public) -> (bool, &'static str) {
    let appended = baseline.header.signer != *host_key;
    match former {
        Some(former) => match broken(baseline, former, host_key) {
            Some(why) => (false, why),
            None if appended => (true, "fine, appended"),
            None => (true, "fine"),
        },
        None if appended => (false, "signed by another key than the host's"),
        None if baseline.number > 1 => (false, "the ones before it are gone"),
        None => (true, "fine"),
    }
}

fn rows(store: &Store, host_key: Option<Public>) -> Result<Vec<Row>, Failure> {
    let mut rows: Vec<Row> = Vec::new();
    let mut host_key = host_key;
    for number in store.numbers().map_err(Failure::new)? {
        let former =
            rows.last().and_then(|row| row.baseline.as_ref()).filter(|former| former.number + 1 == number);
        let opened = store.open(number).and_then(|baseline| baseline.verify().map(|()| baseline));
        let (fine, word, baseline) = match opened {
            Ok(baseline) => {
                let host_key = *host_key.get_or_insert(baseline.header.signer);
                let (fine, word) = judge(&baseline, former, &host_key);
                (fine, word.to_owned(), Some(baseline))
            }
            Err(why) => (false, why, None),
        };
        rows.push(Row { number, fine, word, baseline });
    }
    Ok(rows)
}

/// Lists the chain.
pub fn history(arguments: &History, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let store = Store::new(&arguments.place.store);
    let rows = rows(&store, trusted(&arguments.public)?)?;
    let mut broken = rows.iter().any(|row| !row.fine);
    let mut missing = Vec::new();
    for anchor in &arguments.anchor {
        let anchor = digest("--anchor", anchor)?;
        let holds =
            |row: &Row| row.fine && row.baseline.as_ref().is_some_and(|baseline| baseline.digest == anchor);
        if !rows.iter().any(holds) {
            broken = true;
            missing.push(hex(&anchor));
        }
    }
    if arguments.json {
        let row = |row: &Row| {
            let seen = |get: fn(&Baseline) -> serde_json::Value| row.baseline.as_ref().map(get);
            json!({
                "baseline": row.number,
                "fine": row.fine,
                "state": row.word,
                "created": seen(|b| json!(b.header.created)),
                "digest": seen(|b| json!(hex(&b.digest))),
                "signer": seen(|b| json!(hex(&b.header.signer))),
                "paths": seen(|b| json!(b.entries)),
            })
        };
        let rows = rows.iter().map(row).collect::<Vec<_>>();
        out.json(&json!({ "baselines": rows, "anchors_missing": missing }))?;
    } else {
        for Row { number, word, baseline, .. } in &rows {
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
        for anchor in &missing {
            writeln!(
                out,
                "no baseline that is fine has the digest {anchor}: the chain is not the one that was written down"
            )?;
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
    let (key, text) = Key::generate(Use::Any, passphrase.as_deref()).map_err(Failure::new)?;
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

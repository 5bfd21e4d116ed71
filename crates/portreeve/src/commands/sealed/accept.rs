//! `portreeve integrity accept`: the next baseline, with what some paths or all are now.

use super::{PUBLIC, Sparing, Where, baseline, bytes, reading, sealed, standing, trusted};
use crate::escape;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::progress::{Whole, watched};
use crate::sealing;
use crate::signing::{Signer, Signing};
use portreeve_audit::sealed::chain::{Header, Store};
use portreeve_audit::sealed::compare::{Change, Comparison, Depth};
use portreeve_audit::sealed::key::Use;
use portreeve_audit::sealed::report::{Form, lines};
use portreeve_audit::sealed::rules::is_below;
use portreeve_audit::sealed::tree::Tree;
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// `integrity accept`.
#[derive(clap::Args, Debug)]
pub struct Accept {
    /// Accept what these paths and all below them are now; of all others the record stays
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Accept everything
    #[arg(long, conflicts_with = "paths")]
    pub all: bool,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub place: Where,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub signing: Signing,
    /// With an append key: the public half of the host's key
    #[arg(long, value_name = "FILE", default_value = PUBLIC)]
    pub public: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub sparing: Sparing,
    /// Print the digest as a picture for a telephone, too
    #[arg(long)]
    pub qr: bool,
}

/// Writes the next baseline.
pub fn accept(arguments: &Accept, out: &mut Output<'_>) -> Result<Exit, Failure> {
    if arguments.paths.is_empty() && !arguments.all {
        return Err(Failure::with_help("nothing to accept", "name paths, or --all"));
    }
    let accepted = bytes(&arguments.paths)?;
    let counts = |path: &[u8]| arguments.all || accepted.iter().any(|above| is_below(path, above));
    let store = Store::new(&arguments.place.store);
    baseline(&store, &arguments.place, None)?;
    let key = arguments.signing.open()?;
    let lock = store.lock().map_err(Failure::new)?;
    let before = baseline(&store, &arguments.place, None)?;
    let signer = Signer::new(&arguments.signing, key, Some(&before))?;
    let host_key = match signer.key.use_() {
        Use::Any => Some(signer.key.public()),
        Use::Append => trusted(&arguments.public)?,
    };
    standing(&store, &before, host_key.as_ref())?;
    let header = Header {
        created: sealing::now(),
        host: sealing::host(),
        parent: Some(before.digest),
        signer: signer.key.public(),
        successor: signer.successor(),
        hash: before.header.hash,
        rules: before.header.rules.clone(),
    };
    let mut draft = store.begin(lock, &header).map_err(Failure::new)?;
    let reading = reading(&store, &signer.key, header.hash, &arguments.sparing);
    let mut taken = 0_u64;
    // What was named and not met: a slip of the hand is no next baseline.
    let mut unmet: Vec<&[u8]> = accepted.iter().map(Vec::as_slice).collect();
    let mut tree = Tree::new(&header.rules);
    let paths = before.paths().map_err(Failure::new)?;
    let comparison = Comparison {
        rules: &header.rules,
        depth: Depth::All,
        workers: sealing::workers(),
        reading: &reading,
    };
    let all = Whole { paths: before.entries, bytes: before.bytes };
    watched(&reading.progress, Some(all), || {
        comparison.run(paths, &mut tree, |change, now| {
            if let Some(met) = change.as_ref().map(Change::path).or(now.map(|now| now.path.as_slice())) {
                unmet.retain(|named| !is_below(met, named));
            }
            match (change, now) {
                (Some(change @ Change::Unseen(..)), _) => Err(lines(&change, Form::People)),
                (Some(change), now) if counts(change.path()) => {
                    taken += 1;
                    now.map_or(Ok(()), |now| draft.add(now))
                }
                (Some(Change::Changed(before, ..) | Change::Removed(before)), _) => draft.add(&before),
                (Some(Change::Added(_)), _) => Ok(()),
                (None, now) => now.map_or(Ok(()), |now| draft.add(now)),
            }
        })
    })
    .map_err(Failure::new)?;
    if let Some((path, why)) = tree.gaps.first() {
        // What is below it would be lost from the record.
        return Err(Failure::new(format!("{}: {why}", escape::os(OsStr::from_bytes(path)))));
    }
    if let Some(path) = unmet.first() {
        let message = format!(
            "{} is neither in baseline {} nor there among the paths that it is about",
            escape::os(OsStr::from_bytes(path)),
            before.number
        );
        let help = "nothing is accepted; `portreeve integrity check` names what differs";
        return Err(Failure::with_help(message, help));
    }
    writeln!(out, "{taken} changes accepted")?;
    let finished = draft.finish(&signer.key).map_err(Failure::new)?;
    signer.finished()?;
    sealed(out, finished, &reading, arguments.qr)?;
    Ok(Exit::Fine)
}

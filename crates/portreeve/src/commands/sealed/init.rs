//! `portreeve integrity init`: the first baseline.

use super::{Sparing, Where, bytes, reading, sealed};
use crate::escape;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::progress::watched;
use crate::sealing;
use crate::signing::{Signer, Signing};
use portreeve_audit::sealed::aide_database::{self, Database};
use portreeve_audit::sealed::chain::{Header, Store};
use portreeve_audit::sealed::compare::{Change, Comparison, Depth};
use portreeve_audit::sealed::entry::Entry;
use portreeve_audit::sealed::hash::Hash;
use portreeve_audit::sealed::rules::{self, Rules, is_below};
use portreeve_audit::sealed::tree::Tree;
use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};

/// The digest of files.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// With the processor's instructions for it
    Sha256,
    /// Faster where the processor has none
    Blake3,
}

/// `integrity init`.
#[derive(clap::Args, Debug)]
pub struct Init {
    /// What to look at: PATH = "MASK"; without the file, what packages bring and what root runs
    #[arg(long, value_name = "FILE", default_value = rules::PATH)]
    pub rules: PathBuf,
    /// Look at these paths instead, with the usual mask
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub place: Where,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub signing: Signing,
    /// The digest of files, in this baseline and all that follow
    #[arg(long, value_enum, default_value = "sha256")]
    pub hash: By,
    /// Take what this AIDE database says of the files for what they were, instead of looking at them
    #[arg(long, value_name = "FILE", conflicts_with_all = ["paths", "hash"])]
    pub from_aide: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub sparing: Sparing,
    /// Print the digest as a picture for a telephone, too
    #[arg(long)]
    pub qr: bool,
}

/// Writes the first baseline.
pub fn init(arguments: &Init, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let store = Store::new(&arguments.place.store);
    if store.last().map_err(Failure::new)?.is_some() {
        return Err(Failure::with_help(
            format!("there is a baseline in {}", escape::os(arguments.place.store.as_os_str())),
            "`portreeve integrity accept` writes the next one",
        ));
    }
    let database = arguments.from_aide.as_deref().map(database).transpose()?;
    let rules = match (&database, arguments.paths.is_empty()) {
        (Some(database), _) if arguments.rules == Path::new(rules::PATH) && !arguments.rules.exists() => {
            Rules::of(&tops(&database.entries))
        }
        (_, true) => sealing::rules(&arguments.rules)?,
        (_, false) => Rules::of(&bytes(&arguments.paths)?),
    };
    let key = arguments.signing.open()?;
    let lock = store.lock().map_err(Failure::new)?;
    let signer = Signer::new(&arguments.signing, key, None)?;
    let hash = match (&database, arguments.hash) {
        (Some(database), _) => database.hash,
        (None, By::Sha256) => Hash::Sha256,
        (None, By::Blake3) => Hash::Blake3,
    };
    let header = Header {
        created: sealing::now(),
        host: sealing::host(),
        parent: None,
        signer: signer.key.public(),
        successor: signer.successor(),
        hash,
        rules,
    };
    let mut draft = store.begin(lock, &header).map_err(Failure::new)?;
    let reading = reading(&store, &signer.key, hash, &arguments.sparing);
    if let Some(database) = database {
        let counts = |entry: &&Entry| !header.rules.mask(&entry.path).is_empty();
        database
            .entries
            .iter()
            .filter(counts)
            .try_for_each(|entry| draft.add(entry))
            .map_err(Failure::new)?;
        if database.without_digest > 0 {
            let word = database.hash.word();
            writeln!(
                out,
                "{} files have no {word} in the database: their content is not compared",
                database.without_digest
            )?;
        }
        let finished = draft.finish(&signer.key).map_err(Failure::new)?;
        signer.finished()?;
        sealed(out, finished, &reading, arguments.qr)?;
        return Ok(Exit::Fine);
    }
    let mut unseen = Vec::new();
    let mut tree = Tree::new(&header.rules);
    let comparison = Comparison {
        rules: &header.rules,
        depth: Depth::All,
        workers: sealing::workers(),
        reading: &reading,
    };
    watched(&reading.progress, None, || {
        comparison.run(std::iter::empty(), &mut tree, |change, now| {
            if let Some(change @ Change::Unseen(..)) = change {
                unseen.push(change);
            }
            now.map_or(Ok(()), |now| draft.add(now))
        })
    })
    .map_err(Failure::new)?;
    sealing::tell_gaps(out, &tree.gaps, &unseen)?;
    let finished = draft.finish(&signer.key).map_err(Failure::new)?;
    signer.finished()?;
    sealed(out, finished, &reading, arguments.qr)?;
    Ok(Exit::Fine)
}

fn database(path: &Path) -> Result<Database, Failure> {
    let file = File::open(path).map_err(|error| sealing::failed(path, &error))?;
    let named = |why: String| Failure::new(format!("{}: {why}", escape::os(path.as_os_str())));
    aide_database::read(BufReader::with_capacity(256 * 1024, file)).map_err(named)
}

/// The paths that are below no other.
fn tops(entries: &[Entry]) -> Vec<Vec<u8>> {
    let mut tops: Vec<Vec<u8>> = Vec::new();
    for entry in entries {
        if !tops.last().is_some_and(|top| is_below(&entry.path, top)) {
            tops.push(entry.path.clone());
        }
    }
    tops
}

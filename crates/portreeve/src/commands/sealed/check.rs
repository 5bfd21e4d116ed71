//! `portreeve integrity check`: what is there beside a baseline.

use super::told::{self, Format, Outcome};
use super::{PUBLIC, Sparing, Where, baseline, digest, standing, trusted};
use crate::escape;
use crate::explaining::Judged;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::progress::{Whole, watched};
use crate::sealing;
use portreeve_audit::exposure;
use portreeve_audit::sealed::chain::{Baseline, STORE, Store};
use portreeve_audit::sealed::compare::{Change, Comparison, Depth, Sample};
use portreeve_audit::sealed::entry::hex;
use portreeve_audit::sealed::findings;
use portreeve_audit::sealed::hash::Hash;
use portreeve_audit::sealed::journal::Journal;
use portreeve_audit::sealed::reading::Reading;
use portreeve_audit::sealed::tree::Tree;
use portreeve_audit::waivers;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Changes that are kept and told; the rest is counted.
const MOST_CHANGES: usize = 50_000;

/// A quick check reads one of so many untouched files.
const SAMPLE: u64 = 50;

/// How long what a check has read is believed by the next one.
const JOURNAL: Duration = Duration::from_secs(86_400);

/// `integrity check`.
#[derive(clap::Args, Debug)]
pub struct Check {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub place: Where,
    /// The public half of the host's key
    #[arg(long, value_name = "FILE", default_value = PUBLIC)]
    pub public: PathBuf,
    /// The digest that the baseline must have, as it was written down elsewhere
    #[arg(long, value_name = "DIGEST")]
    pub expect: Option<String>,
    /// A digest that the baseline or one before it must have; may be given more than once
    #[arg(long, value_name = "DIGEST")]
    pub anchor: Vec<String>,
    /// Compare with this baseline instead of the last one
    #[arg(long, value_name = "NUMBER")]
    pub baseline: Option<u32>,
    /// Read only files that are not untouched since, by inode, size and the two times
    #[arg(long)]
    pub quick: bool,
    /// With --quick: read one of this many untouched files all the same, others each time; 0 reads none
    #[arg(long, value_name = "N", default_value_t = SAMPLE)]
    pub sample: u64,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub sparing: Sparing,
    /// Where it is noted what was read, for a check that is cut off; /run/portreeve-integrity for root
    #[arg(long, value_name = "DIR")]
    pub journal: Option<PathBuf>,
    /// How changes are told
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// Findings that somebody answers for
    #[arg(long, value_name = "FILE", default_value = waivers::PATH)]
    pub waivers: PathBuf,
}

/// Compares.
pub fn check(arguments: &Check, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let waivers = waivers::read(&arguments.waivers).map_err(Failure::new)?;
    let trusted = trusted(&arguments.public)?;
    let store = Store::new(&arguments.place.store);
    let baseline = baseline(&store, &arguments.place, arguments.baseline)?;
    let standing = standing(&store, &baseline, trusted.as_ref())?;
    if let Some(expected) = &arguments.expect
        && digest("--expect", expected)? != baseline.digest
    {
        let message = format!("baseline {} has the digest {}", baseline.number, hex(&baseline.digest));
        let help = "it is not the one that was written down: nothing in it can be believed";
        return Err(Failure::with_help(message, help));
    }
    for anchor in &arguments.anchor {
        store.anchored(&baseline, &digest("--anchor", anchor)?).map_err(Failure::new)?;
    }
    let Compared { changes, more, gaps, reading, begun } = compared(arguments, &baseline)?;
    let outcome = Outcome {
        judged: Judged::new(changes, &gaps, Path::new("/"), baseline.header.created),
        gaps: &gaps,
        more,
        baseline: &baseline,
        standing,
        store: &arguments.place.store,
        reading: &reading,
        begun,
        waivers: &waivers,
    };
    told::tell(&outcome, if arguments.json { Format::Json } else { arguments.format }, out)
}

/// What a comparison came to.
struct Compared {
    changes: Vec<Change>,
    /// Changes that were not kept.
    more: u64,
    gaps: Vec<(Vec<u8>, String)>,
    reading: Reading,
    /// Seconds since 1970.
    begun: i64,
}

fn compared(arguments: &Check, baseline: &Baseline) -> Result<Compared, Failure> {
    let reading = Reading {
        hash: baseline.header.hash,
        budget: arguments.sparing.budget(),
        journal: journal(arguments, baseline)?,
        ..Reading::default()
    };
    let begun = i64::try_from(sealing::now()).unwrap_or(0);
    let rules = baseline.header.rules.clone();
    let comparison = Comparison {
        rules: &rules,
        depth: depth(arguments, baseline)?,
        workers: sealing::workers(),
        reading: &reading,
    };
    let (mut changes, mut more) = (Vec::new(), 0_u64);
    let mut tree = Tree::new(&rules);
    let paths = baseline.paths().map_err(Failure::new)?;
    let bytes = if arguments.quick { 0 } else { baseline.bytes };
    watched(&reading.progress, Some(Whole { paths: baseline.entries, bytes }), || {
        comparison.run(paths, &mut tree, |change, _| {
            match change {
                Some(change) if changes.len() < MOST_CHANGES => changes.push(change),
                Some(_) => more += 1,
                None => {}
            }
            Ok(())
        })
    })
    .map_err(Failure::new)?;
    if let Some(journal) = &reading.journal {
        journal.remove();
    }
    Ok(Compared { changes, more, gaps: tree.gaps, reading, begun })
}

/// What `audit` makes of it: a quick check by the last baseline, and what is not known. None where there is no baseline.
pub(crate) fn for_audit() -> Result<Option<(exposure::Outcome, Vec<String>)>, Failure> {
    let place = Where { store: STORE.into() };
    let store = Store::new(&place.store);
    let Some(last) = store.last().map_err(Failure::new)? else { return Ok(None) };
    let mut gaps = Vec::new();
    match trusted(Path::new(PUBLIC))? {
        Some(key) => drop(standing(&store, &last, Some(&key))?),
        None => {
            gaps.push(format!("whether the host's key signed baseline {}: there is no {PUBLIC}", last.number))
        }
    }
    let arguments = Check {
        place,
        public: PUBLIC.into(),
        expect: None,
        anchor: Vec::new(),
        baseline: None,
        quick: true,
        sample: SAMPLE,
        sparing: Sparing { max_rate: None, max_cpu: None },
        journal: None,
        format: Format::Text,
        json: false,
        waivers: waivers::PATH.into(),
    };
    let seen = compared(&arguments, &last)?;
    let judged = Judged::new(seen.changes, &seen.gaps, Path::new("/"), last.header.created);
    let gap = |(path, why): &(Vec<u8>, String)| format!("{}: {why}", escape::os(OsStr::from_bytes(path)));
    gaps.extend(seen.gaps.iter().map(gap));
    if seen.more > 0 {
        gaps.push(format!("{} more paths differ from baseline {}", seen.more, last.number));
    }
    Ok(Some((findings::findings(&judged.unexplained), gaps)))
}

fn depth(arguments: &Check, baseline: &Baseline) -> Result<Depth, Failure> {
    if !arguments.quick {
        return Ok(Depth::All);
    }
    let mut seed = [0; 8];
    // An intruder must not know which files a quick check reads.
    std::fs::File::open("/dev/urandom")
        .and_then(|mut random| std::io::Read::read_exact(&mut random, &mut seed))
        .map_err(|error| sealing::failed(Path::new("/dev/urandom"), &error))?;
    let recorded = i64::try_from(baseline.header.created).unwrap_or(i64::MAX);
    Ok(Depth::Touched(Sample { one_of: arguments.sample, seed: u64::from_le_bytes(seed), recorded }))
}

/// Where a check notes what it has read. Under no secret, so it lies where root of this boot alone writes, and counts for this boot alone: a check
/// from outside meets nothing that the host has prepared for it.
fn journal(arguments: &Check, baseline: &Baseline) -> Result<Option<Journal>, Failure> {
    if arguments.quick {
        return Ok(None);
    }
    let dir = match &arguments.journal {
        Some(dir) => dir.clone(),
        None if rustix::process::geteuid().is_root() => PathBuf::from("/run/portreeve-integrity"),
        None => match std::env::var_os("XDG_RUNTIME_DIR") {
            Some(dir) => PathBuf::from(dir).join("portreeve-integrity"),
            None => return Ok(None),
        },
    };
    let made = std::fs::DirBuilder::new().mode(0o700).create(&dir);
    if let Err(error) = made
        .or_else(|error| if error.kind() == std::io::ErrorKind::AlreadyExists { Ok(()) } else { Err(error) })
    {
        // Without a place for it a check can still be made.
        return if arguments.journal.is_some() { Err(sealing::failed(&dir, &error)) } else { Ok(None) };
    }
    let seen = std::fs::symlink_metadata(&dir).map_err(|error| sealing::failed(&dir, &error))?;
    if !seen.is_dir() || seen.uid() != rustix::process::geteuid().as_raw() || seen.mode() & 0o077 != 0 {
        let message = format!(
            "{}: others may write here: what was read is not noted in it",
            escape::os(dir.as_os_str())
        );
        return Err(Failure::with_help(message, "--journal names a directory of mode 0700"));
    }
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let name = hex(&baseline.digest);
    let purpose = format!("portreeve integrity check {boot} {name} {}", baseline.header.hash.word());
    let path = dir.join(format!("{}.journal", name.get(..16).unwrap_or(&name)));
    Ok(Journal::open(&path, &Hash::Sha256.once(purpose.as_bytes()), JOURNAL))
}

//! `portreeve integrity init|check|accept|explain|export`: files beside a signed baseline of them. What the five share: where baselines are, and who is
//! believed.

pub mod accept; //  the next baseline
pub mod check; //   what is there beside the last baseline
pub mod explain; // one path
pub mod export; //  a baseline for other programs
pub mod init; //    the first baseline
pub mod told; //    how changes are told

use crate::escape;
use crate::failure::Failure;
use crate::output::Output;
use crate::sealing;
use portreeve_audit::sealed::authority::Standing;
use portreeve_audit::sealed::budget::Budget;
use portreeve_audit::sealed::chain::{Baseline, Digest, STORE, Store};
use portreeve_audit::sealed::entry::{hex, unhex};
use portreeve_audit::sealed::hash::Hash;
use portreeve_audit::sealed::journal::Journal;
use portreeve_audit::sealed::key::{Key, Public, public_of};
use portreeve_audit::sealed::reading::Reading;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Where the public half of the host's key is.
pub const PUBLIC: &str = "/etc/portreeve/integrity.pub";

/// How long what a run that writes a baseline has read is believed by the next one.
const JOURNAL: Duration = Duration::from_secs(7 * 86_400);

/// Where baselines are.
#[derive(clap::Args, Debug)]
pub struct Where {
    /// The directory of the baselines
    #[arg(long, value_name = "DIR", default_value = STORE)]
    pub store: PathBuf,
}

/// What a run may take of a machine that has other work.
#[derive(clap::Args, Debug)]
pub struct Sparing {
    /// Read no more than this in a second
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub max_rate: Option<u64>,
    /// Take no more than this share of all processors
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub max_cpu: Option<u32>,
}

impl Sparing {
    /// From now on; none without a limit.
    fn budget(&self) -> Option<Budget> {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let rate = self.max_rate.map(|mebibytes| mebibytes << 20);
        let share = self.max_cpu.map(|hundredths| (hundredths, processors));
        (rate.is_some() || share.is_some()).then(|| Budget::new(rate, share))
    }
}

/// Paths as the kernel has them.
pub(crate) fn bytes(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, Failure> {
    let one = |path: &PathBuf| {
        let absolute = std::path::absolute(path).map_err(|error| sealing::failed(path, &error))?;
        let tidy: PathBuf = absolute.components().collect();
        Ok(tidy.as_os_str().as_bytes().to_vec())
    };
    paths.iter().map(one).collect()
}

/// The host's key; none where nobody put it in its usual place.
pub(crate) fn trusted(path: &Path) -> Result<Option<Public>, Failure> {
    match std::fs::read_to_string(path) {
        Ok(text) => public_of(&text)
            .map(Some)
            .ok_or_else(|| Failure::new(format!("{}: it is no public key", escape::os(path.as_os_str())))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && path == Path::new(PUBLIC) => Ok(None),
        Err(error) => Err(sealing::failed(path, &error)),
    }
}

/// A digest as somebody types it.
pub(crate) fn digest(option: &str, text: &str) -> Result<Digest, Failure> {
    let digest = unhex::<32>(text.trim());
    digest.ok_or_else(|| Failure::new(format!("{option}: 64 hexadecimal digits were expected")))
}

/// The last baseline, or one of before.
fn baseline(store: &Store, place: &Where, number: Option<u32>) -> Result<Baseline, Failure> {
    let found = match number {
        Some(number) => store.open(number).map(Some),
        None => store.last(),
    };
    found.map_err(Failure::new)?.ok_or_else(|| {
        let message = format!("there is no baseline in {}", escape::os(place.store.as_os_str()));
        Failure::with_help(message, "`portreeve integrity init` writes one")
    })
}

/// Who vouches for a baseline, where the host's key is known.
fn standing(
    store: &Store,
    baseline: &Baseline,
    trusted: Option<&Public>,
) -> Result<Option<Standing>, Failure> {
    trusted.map(|key| store.standing(baseline, key)).transpose().map_err(Failure::new)
}

/// How a run that writes a baseline reads. What it has read is noted in the store, under a secret of the key.
fn reading(store: &Store, key: &Key, hash: Hash, sparing: &Sparing) -> Reading {
    let purpose = format!("journal {} {}", hash.word(), sealing::host());
    let journal = Journal::open(&store.journal(), &key.secret(&purpose), JOURNAL);
    Reading { hash, journal, budget: sparing.budget(), ..Reading::default() }
}

/// A baseline is there: its digest, for whoever writes it down.
fn sealed(
    out: &mut Output<'_>,
    (number, digest, paths): (u32, Digest, u64),
    reading: &Reading,
    qr: bool,
) -> Result<(), Failure> {
    if let Some(journal) = &reading.journal {
        journal.remove();
    }
    let read = reading.progress.bytes.load(Ordering::Relaxed) >> 20;
    let resumed = match reading.progress.resumed.load(Ordering::Relaxed) {
        0 => String::new(),
        files => format!(", {files} files read before it was cut off"),
    };
    writeln!(out, "baseline {number}: {paths} paths, {read} MiB read{resumed}")?;
    writeln!(out, "digest {}", hex(&digest))?;
    writeln!(
        out,
        "Write the digest down where root of this host cannot: with it `check --expect` sees a baseline made anew."
    )?;
    if qr {
        sealing::picture(out, &hex(&digest))?;
    }
    Ok(())
}

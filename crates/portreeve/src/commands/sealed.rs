//! `portreeve integrity init|check|accept|explain`: files beside a signed baseline of them. Writes baselines, and nothing else.

use crate::escape;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Paint};
use crate::sealing::{self, Judged};
use crate::table::Table;
use portreeve_audit::sealed::chain::{Baseline, Header, STORE, Store};
use portreeve_audit::sealed::compare::{Change, Depth, compare};
use portreeve_audit::sealed::crew::Progress;
use portreeve_audit::sealed::entry::{Entry, hex, unhex};
use portreeve_audit::sealed::foreign;
use portreeve_audit::sealed::key::{Public, public_of};
use portreeve_audit::sealed::mask::PROPERTIES;
use portreeve_audit::sealed::report::{Form, json, lines};
use portreeve_audit::sealed::rules::{self, Rules, is_below};
use portreeve_audit::sealed::tree::Tree;
use serde_json::json;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Where the public half of the key is that may sign.
pub const PUBLIC: &str = "/etc/portreeve/integrity.pub";

/// Where baselines are.
#[derive(clap::Args, Debug)]
pub struct Where {
    /// The directory of the baselines
    #[arg(long, value_name = "DIR", default_value = STORE)]
    pub store: PathBuf,
}

/// Who signs.
#[derive(clap::Args, Debug)]
pub struct Signing {
    /// The key that signs; it need not stay on this host
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// The file that holds its passphrase in its first line; else the terminal is asked
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
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
    /// Print the digest as a picture for a telephone, too
    #[arg(long)]
    pub qr: bool,
}

/// How changes are told.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Format {
    /// A line each, with what it was and what it is
    Text,
    /// The nine columns of rpm -V
    Rpm,
    /// The lines of Tripwire's report of level 1; no explanations
    Tripwire,
    /// AIDE's JSON; no explanations
    AideJson,
    /// Everything, for machines
    Json,
}

/// `integrity check`.
#[derive(clap::Args, Debug)]
pub struct Check {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub place: Where,
    /// The public half of the key that may sign
    #[arg(long, value_name = "FILE", default_value = PUBLIC)]
    pub public: PathBuf,
    /// The digest that the baseline must have, as it was written down elsewhere
    #[arg(long, value_name = "DIGEST")]
    pub expect: Option<String>,
    /// Read only files that are not untouched since, by inode, size and the two times
    #[arg(long)]
    pub quick: bool,
    /// With --quick: read one of this many untouched files all the same; 0 reads none
    #[arg(long, value_name = "N", default_value_t = 50)]
    pub sample: u64,
    /// How changes are told
    #[arg(long, value_enum, default_value = "text")]
    pub format: Format,
    /// The same as --format json
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
}

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
    /// Print the digest as a picture for a telephone, too
    #[arg(long)]
    pub qr: bool,
}

/// `integrity explain`.
#[derive(clap::Args, Debug)]
pub struct Explain {
    /// The path
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub place: Where,
    /// The public half of the key that may sign
    #[arg(long, value_name = "FILE", default_value = PUBLIC)]
    pub public: PathBuf,
}

/// Paths as a baseline has them: absolute and tidy.
pub fn bytes(paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, Failure> {
    let one = |path: &PathBuf| {
        let absolute = std::path::absolute(path).map_err(|error| sealing::failed(path, &error))?;
        let tidy: PathBuf = absolute.components().collect();
        Ok(tidy.as_os_str().as_bytes().to_vec())
    };
    paths.iter().map(one).collect()
}

/// Writes the first baseline.
pub fn init(arguments: &Init, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let store = Store::new(&arguments.place.store);
    if store.last(None).map_err(Failure::new)?.is_some() {
        return Err(Failure::with_help(
            format!("there is a baseline in {}", escape::os(arguments.place.store.as_os_str())),
            "`portreeve integrity accept` writes the next one",
        ));
    }
    let rules = if arguments.paths.is_empty() {
        sealing::rules(&arguments.rules)?
    } else {
        Rules::of(&bytes(&arguments.paths)?)
    };
    let key = sealing::key(&arguments.signing.key, arguments.signing.passphrase_file.as_deref())?;
    let header =
        Header { created: sealing::now(), host: sealing::host(), parent: None, signer: key.public(), rules };
    let mut draft = store.begin(&header).map_err(Failure::new)?;
    let (progress, mut unseen) = (Progress::default(), Vec::new());
    let mut tree = Tree::new(&header.rules);
    sealing::watched(&progress, None, || {
        let workers = sealing::workers();
        compare(
            &header.rules,
            std::iter::empty(),
            &mut tree,
            Depth::All,
            workers,
            &progress,
            |change, now| {
                if let Some(change @ Change::Unseen(..)) = change {
                    unseen.push(change);
                }
                now.map_or(Ok(()), |now| draft.add(now))
            },
        )
    })
    .map_err(Failure::new)?;
    sealing::tell_gaps(out, &tree.gaps, &unseen)?;
    let finished = draft.finish(&key).map_err(Failure::new)?;
    sealed(out, finished, &progress, arguments.qr)?;
    Ok(Exit::Fine)
}

fn sealed(
    out: &mut Output<'_>,
    (number, digest, paths): (u32, [u8; 32], u64),
    progress: &Progress,
    qr: bool,
) -> Result<(), Failure> {
    let read = progress.bytes.load(std::sync::atomic::Ordering::Relaxed) >> 20;
    writeln!(out, "baseline {number}: {paths} paths, {read} MiB read")?;
    writeln!(out, "digest {}", hex(&digest))?;
    writeln!(
        out,
        "Write the digest down where root of this host cannot: with it `check --expect` sees a baseline made anew."
    )?;
    if qr {
        out.write_all(sealing::picture(&hex(&digest))?.as_bytes())?;
    }
    Ok(())
}

/// The public key of a file; none where the usual one is not there.
pub fn trusted(path: &std::path::Path) -> Result<Option<Public>, Failure> {
    match std::fs::read_to_string(path) {
        Ok(text) => public_of(&text)
            .map(Some)
            .ok_or_else(|| Failure::new(format!("{}: it is no public key", escape::os(path.as_os_str())))),
        Err(error)
            if error.kind() == std::io::ErrorKind::NotFound && path == std::path::Path::new(PUBLIC) =>
        {
            Ok(None)
        }
        Err(error) => Err(sealing::failed(path, &error)),
    }
}

fn last(store: &Store, place: &Where, trusted: Option<&Public>) -> Result<Baseline, Failure> {
    store.last(trusted).map_err(Failure::new)?.ok_or_else(|| {
        let message = format!("there is no baseline in {}", escape::os(place.store.as_os_str()));
        Failure::with_help(message, "`portreeve integrity init` writes one")
    })
}

/// Compares.
pub fn check(arguments: &Check, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let trusted = trusted(&arguments.public)?;
    let baseline = last(&Store::new(&arguments.place.store), &arguments.place, trusted.as_ref())?;
    if let Some(expected) = &arguments.expect {
        let expected = unhex::<32>(expected.trim());
        let expected =
            expected.ok_or_else(|| Failure::new("--expect: 64 hexadecimal digits were expected"))?;
        if expected != baseline.digest {
            let message = format!("baseline {} has the digest {}", baseline.number, hex(&baseline.digest));
            return Err(Failure::with_help(
                message,
                "it is not the one that was written down: nothing in it can be believed",
            ));
        }
    }
    let begun = i64::try_from(sealing::now()).unwrap_or(0);
    let depth = if arguments.quick { Depth::Touched(arguments.sample) } else { Depth::All };
    let format = if arguments.json { Format::Json } else { arguments.format };
    let (progress, mut changes, mut more) = (Progress::default(), Vec::new(), 0_u64);
    let rules = baseline.header.rules.clone();
    let mut tree = Tree::new(&rules);
    let paths = baseline.paths().map_err(Failure::new)?;
    sealing::watched(&progress, Some(baseline.entries), || {
        compare(&rules, paths, &mut tree, depth, sealing::workers(), &progress, |change, _| {
            match change {
                Some(change) if changes.len() < sealing::MOST_CHANGES => changes.push(change),
                Some(_) => more += 1,
                None => {}
            }
            Ok(())
        })
    })
    .map_err(Failure::new)?;
    let judged = Judged::new(changes, &tree.gaps, std::path::Path::new("/"));
    match format {
        Format::Tripwire => out.write_all(foreign::tripwire(&judged.all()).as_bytes())?,
        Format::AideJson => {
            let ended = i64::try_from(sealing::now()).unwrap_or(0);
            let run = foreign::Run { begun, ended, paths: baseline.entries };
            let name = format!("{}/{:06}.baseline", arguments.place.store.display(), baseline.number);
            out.json(&foreign::aide(&judged.all(), run, (&name, &baseline.digest)))?;
        }
        Format::Json => out.json(&json!({
            "baseline": baseline.number,
            "created": baseline.header.created,
            "digest": hex(&baseline.digest),
            "signer": hex(&baseline.header.signer),
            "trusted": trusted.is_some(),
            "paths": baseline.entries,
            "bytes_read": progress.bytes.load(std::sync::atomic::Ordering::Relaxed),
            "unexplained": judged.unexplained.iter().map(json).collect::<Vec<_>>(),
            "explained": judged.explained.iter().map(|(package, changes)| json!({
                "package": package,
                "changes": changes.iter().map(json).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
            "not_kept": more,
            "unknown": judged.unknown,
            "gaps": tree.gaps.iter().map(|(path, why)| json!({
                "path": String::from_utf8_lossy(path),
                "why": why,
            })).collect::<Vec<_>>(),
        }))?,
        Format::Text | Format::Rpm => {
            let form = if format == Format::Rpm { Form::Rpm } else { Form::People };
            for change in &judged.unexplained {
                writeln!(out, "{}", escape::text(&lines(change, form)))?;
            }
            if format == Format::Text {
                for (package, changes) in &judged.explained {
                    let paths = if changes.len() == 1 { "path" } else { "paths" };
                    let line =
                        format!("explained: {package}: {} {paths} as the package has them", changes.len());
                    writeln!(out, "{}", out.paint(Paint::Dim, &line))?;
                }
                sealing::tell_gaps(out, &tree.gaps, &[])?;
                if judged.unknown > 0 {
                    writeln!(out, "{} recorded paths are below what was not seen", judged.unknown)?;
                }
                let signed = if trusted.is_some() {
                    "signed by the trusted key"
                } else {
                    "signed by a key that nobody vouches for (--public)"
                };
                writeln!(
                    out,
                    "{} unexplained, {} explained, of {} paths in baseline {}, {signed}",
                    judged.unexplained.len() as u64 + more,
                    judged.explained.values().map(Vec::len).sum::<usize>(),
                    baseline.entries,
                    baseline.number,
                )?;
            }
        }
    }
    // What somebody mounted over a directory hides it from us, too.
    let fine = judged.unexplained.is_empty() && judged.unknown == 0 && more == 0;
    Ok(if fine { Exit::Fine } else { Exit::Found })
}

/// Writes the next baseline.
pub fn accept(arguments: &Accept, out: &mut Output<'_>) -> Result<Exit, Failure> {
    if arguments.paths.is_empty() && !arguments.all {
        return Err(Failure::with_help("nothing to accept", "name paths, or --all"));
    }
    let accepted = bytes(&arguments.paths)?;
    let counts = |path: &[u8]| arguments.all || accepted.iter().any(|above| is_below(path, above));
    let key = sealing::key(&arguments.signing.key, arguments.signing.passphrase_file.as_deref())?;
    let store = Store::new(&arguments.place.store);
    let before = last(&store, &arguments.place, Some(&key.public()))?;
    let rules = before.header.rules.clone();
    let header = Header {
        created: sealing::now(),
        host: sealing::host(),
        parent: Some(before.digest),
        signer: key.public(),
        rules: rules.clone(),
    };
    let mut draft = store.begin(&header).map_err(Failure::new)?;
    let (progress, mut taken) = (Progress::default(), 0_u64);
    let mut tree = Tree::new(&rules);
    let paths = before.paths().map_err(Failure::new)?;
    sealing::watched(&progress, Some(before.entries), || {
        let workers = sealing::workers();
        compare(&rules, paths, &mut tree, Depth::All, workers, &progress, |change, now| match (change, now) {
            (Some(change @ Change::Unseen(..)), _) => Err(lines(&change, Form::People)),
            (Some(change), now) if counts(change.path()) => {
                taken += 1;
                now.map_or(Ok(()), |now| draft.add(now))
            }
            (Some(Change::Changed(before, ..) | Change::Removed(before)), _) => draft.add(&before),
            (Some(Change::Added(_)), _) => Ok(()),
            (None, now) => now.map_or(Ok(()), |now| draft.add(now)),
        })
    })
    .map_err(Failure::new)?;
    if let Some((path, why)) = tree.gaps.first() {
        // What is below it would be lost from the record.
        let path = String::from_utf8_lossy(path).into_owned();
        return Err(Failure::new(format!("{}: {why}", escape::text(&path))));
    }
    writeln!(out, "{taken} changes accepted")?;
    let finished = draft.finish(&key).map_err(Failure::new)?;
    sealed(out, finished, &progress, arguments.qr)?;
    Ok(Exit::Fine)
}

/// What is known of one path.
pub fn explain(arguments: &Explain, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let trusted = trusted(&arguments.public)?;
    let baseline = last(&Store::new(&arguments.place.store), &arguments.place, trusted.as_ref())?;
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
    sealing::look_at(first, |entry| now = Some(entry));
    let shown = escape::text(&String::from_utf8_lossy(&path)).into_owned();
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
            let what = now.differs(before).and(mask);
            (!what.is_empty()).then(|| Change::Changed(Box::new(before.clone()), Box::new(now.clone()), what))
        }
    };
    let counts = if mask.is_empty() { "nothing: it is left out".to_owned() } else { mask.letters() };
    writeln!(out, "{shown}, baseline {}; what counts: {counts}", baseline.number)?;
    let mut table = Table::new(&["property", "before", "now", ""]);
    for property in PROPERTIES {
        let value = |entry: &Option<Entry>| {
            let value = entry.as_ref().map_or("-".to_owned(), |entry| entry.value(property.letter));
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
    let judged = Judged::new(vec![change], &[], std::path::Path::new("/"));
    match judged.explained.keys().next() {
        Some(package) => {
            writeln!(out, "explained: package {package} has it like this")?;
            Ok(Exit::Fine)
        }
        None => {
            writeln!(out, "no package explains it")?;
            Ok(Exit::Found)
        }
    }
}

//! `portreeve integrity trust`: the list of programs that `verify_server` goes by. Writes that list and nothing else, and nothing onto it
//! that nobody answers for: a package, a signed baseline, or whoever names the program here.

use super::sealed::{PUBLIC, Where, trusted};
use crate::escape;
use crate::failure::{Exit, Failure, system_text};
use crate::machine::Machine;
use crate::output::{Output, Paint};
use crate::table::{Cell, Table};
use crate::trusting;
use portreeve_audit::integrity::Brought;
use portreeve_audit::sealed::authority::Standing;
use portreeve_audit::sealed::chain::Store;
use portreeve_audit::sealed::digest::{Digests, digests};
use portreeve_audit::sealed::entry::Content;
use portreeve_audit::sealed::hash::Hash;
use portreeve_conf::{Action, Sources, TrustedProgram, Verify, digest_text, read_sources, trusted_text};
use portreeve_sys::program::{Program, loose_part};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// `integrity trust`.
#[derive(clap::Args, Debug)]
pub struct Trust {
    /// The configuration whose services have `verify_server` [default: /etc/xinetd.conf]
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The same of an inetd.conf; after the configuration file where --file names one
    #[arg(long, value_name = "FILE")]
    pub inetd: Option<PathBuf>,
    /// The same of systemd's units
    #[arg(long, value_name = "PATH")]
    pub systemd: Vec<PathBuf>,
    /// The list [default: what `trusted_programs` says]
    #[arg(long, value_name = "FILE")]
    pub list: Option<PathBuf>,
    /// You answer for this program as it is now; may be repeated
    #[arg(long, value_name = "PATH")]
    pub answer_for: Vec<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub place: Where,
    /// The public half of the key that may sign baselines
    #[arg(long, value_name = "FILE", default_value = PUBLIC)]
    pub public: PathBuf,
    /// Write nothing; say what would be written
    #[arg(long)]
    pub dry_run: bool,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// What was found out about a program.
struct Looked {
    server: String,
    /// Its content and who answers for it, or why nobody does.
    found: Result<TrustedProgram, String>,
}

/// Looks, writes and says.
pub fn trust(arguments: &Trust, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let sources = Sources::named(arguments.file.as_deref(), arguments.inetd.as_deref(), &arguments.systemd)
        .unwrap_or_else(|| Sources::xinetd(super::check::DEFAULT_FILE));
    let reading = read_sources(&Machine, &sources);
    if reading.fatal.is_some() {
        return Err(Failure::with_help(
            "the configuration cannot be used",
            "`portreeve check` says what is wrong with it",
        ));
    }
    let mut servers: BTreeSet<String> = arguments.answer_for.iter().cloned().collect();
    if let Some(odd) = servers.iter().find(|path| !path.starts_with('/') || path.contains(char::is_control)) {
        return Err(Failure::new(format!("{}: an absolute path was expected", escape::text(odd))));
    }
    servers.extend(reading.services.iter().filter_map(|service| match &service.action {
        Action::External { server, .. } if service.verify != Verify::No => Some(server.to_string()),
        _ => None,
    }));
    if servers.is_empty() {
        return Err(Failure::with_help(
            "no service has `verify_server`",
            "write it in `defaults` or in the services that are to have it",
        ));
    }
    let path = arguments.list.clone().unwrap_or_else(|| trusting::place(&reading));
    let before = trusting::list(&path).map_err(Failure::new)?.unwrap_or_default();
    let looked = look(arguments, servers, &before)?;
    let mut after: Vec<TrustedProgram> =
        before.into_iter().filter(|known| !looked.iter().any(|one| one.takes_the_place_of(known))).collect();
    after.extend(looked.iter().filter_map(|one| one.found.clone().ok()));
    after.sort_by(|a, b| (&a.server, a.digest).cmp(&(&b.server, b.digest)));
    if !arguments.dry_run {
        write_list(&path, &trusted_text(&after))?;
    }
    tell(arguments, &path, &looked, out)
}

impl Looked {
    fn takes_the_place_of(&self, known: &TrustedProgram) -> bool {
        self.found.is_ok() && known.server == self.server
    }
}

/// A program without links and its content, or why that cannot be told.
type Read = Result<(PathBuf, Digests), String>;

fn look(
    arguments: &Trust,
    servers: BTreeSet<String>,
    before: &[TrustedProgram],
) -> Result<Vec<Looked>, Failure> {
    let read: Vec<(String, Read)> =
        servers.into_iter().map(|server| (server.clone(), read(&server))).collect();
    let real = |path: &PathBuf| path.to_str().map(str::to_owned);
    let paths: BTreeSet<String> = read.iter().filter_map(|(_, read)| real(&read.as_ref().ok()?.0)).collect();
    let root = Path::new("/");
    let packages = Brought::of(root, &paths)
        .map_err(|error| Failure::new(format!("the packages cannot be asked: {}", system_text(&error))))?;
    let (number, recorded) = recorded(arguments, &paths)?;
    let judge = |(server, read): (String, Read)| {
        let found = read.and_then(|(path, digests)| {
            let digest = digests.sha256;
            let program = |who: String| TrustedProgram { digest, who, server: server.clone() };
            if arguments.answer_for.contains(&server) {
                return Ok(program(format!("person:{}", person())));
            }
            let path = real(&path).ok_or("its path is not UTF-8")?;
            let md5 = digests.md5.unwrap_or_default();
            let why = match packages.explains(root, &path, &md5) {
                Ok(package) => return Ok(program(format!("package:{package}"))),
                Err(why) => why,
            };
            match recorded.get(&path) {
                Some(known) if *known == digest => return Ok(program(format!("baseline:{number}"))),
                Some(_) => return Err(format!("{why}, and baseline {number} has another content")),
                None => {}
            }
            // Somebody has answered for just this.
            let person = |known: &&TrustedProgram| {
                known.server == server && known.digest == digest && known.who.starts_with("person:")
            };
            before.iter().find(person).cloned().ok_or(why)
        });
        Looked { server, found }
    };
    Ok(read.into_iter().map(judge).collect())
}

/// What a program is without links, and its content.
fn read(server: &str) -> Read {
    let told = |error: std::io::Error| system_text(&error);
    let program = Program::open(Path::new(server)).map_err(told)?;
    if program.is_loose {
        return Err("others than root may write to it: it would not be started".to_owned());
    }
    let read = digests(&program.fd, true)?;
    let real = std::fs::canonicalize(server).map_err(told)?;
    // The name that was asked about must be that of what was read.
    match Program::open(&real).map_err(told)?.identity == program.identity {
        true => Ok((real, read)),
        false => Err("it is being changed".to_owned()),
    }
}

/// The contents of these paths in the last baseline that the host's key itself signed, where there is one: whoever holds an append key
/// answers for no program.
fn recorded(
    arguments: &Trust,
    paths: &BTreeSet<String>,
) -> Result<(u32, BTreeMap<String, [u8; 32]>), Failure> {
    let Some(key) = trusted(&arguments.public)? else { return Ok((0, BTreeMap::new())) };
    let store = Store::new(&arguments.place.store);
    let Some(last) = store.last().map_err(Failure::new)? else {
        return Ok((0, BTreeMap::new()));
    };
    let baseline = match store.standing(&last, &key).map_err(Failure::new)? {
        Standing::Signed => last,
        Standing::Appended(number) => store.open(number).map_err(Failure::new)?,
    };
    // Another digest is none that a program could be compared with.
    if baseline.header.hash != Hash::Sha256 {
        return Ok((baseline.number, BTreeMap::new()));
    }
    let mut found = BTreeMap::new();
    for entry in baseline.paths().map_err(Failure::new)? {
        let entry = entry.map_err(Failure::new)?;
        if let (Content::Digest(digest), Ok(path)) = (&entry.content, std::str::from_utf8(&entry.path))
            && paths.contains(path)
        {
            found.insert(path.to_owned(), *digest);
        }
    }
    Ok((baseline.number, found))
}

/// Who calls, as one word.
fn person() -> String {
    let name = std::env::var("SUDO_USER").ok();
    let good = |name: &String| {
        !name.is_empty()
            && name.len() < 64
            && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    name.filter(good).unwrap_or_else(|| portreeve_sys::process::uid().to_string())
}

/// Puts the list in its place, whole or not at all.
fn write_list(path: &Path, text: &str) -> Result<(), Failure> {
    let told = |error: std::io::Error| {
        Failure::new(format!("{} cannot be written: {}", escape::os(path.as_os_str()), system_text(&error)))
    };
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".new-{}", std::process::id()));
    let beside = PathBuf::from(beside);
    let mut options = std::fs::OpenOptions::new();
    let made = options.write(true).create_new(true).mode(0o644).open(&beside);
    let written = made.and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        rustix::fs::fchmod(&file, rustix::fs::Mode::from_raw_mode(0o644))?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        std::fs::File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    });
    if written.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    written.map_err(told)?;
    match loose_part(path).map_err(told)? {
        None => Ok(()),
        Some(part) => Err(Failure::with_help(
            format!("{} is not root's alone", escape::os(part.as_os_str())),
            "the daemon does not go by a list that others can write",
        )),
    }
}

fn tell(arguments: &Trust, path: &Path, looked: &[Looked], out: &mut Output<'_>) -> Result<Exit, Failure> {
    let fine = looked.iter().all(|one| one.found.is_ok());
    if arguments.json {
        let one = |one: &Looked| match &one.found {
            Ok(program) => json!({
                "server": one.server, "sha256": digest_text(&program.digest), "who": program.who,
            }),
            Err(why) => json!({ "server": one.server, "why_not": why }),
        };
        out.json(&json!({
            "list": escape::os(path.as_os_str()),
            "written": !arguments.dry_run,
            "programs": looked.iter().map(one).collect::<Vec<_>>(),
        }))?;
    } else {
        let mut table = Table::new(&["program", "sha256", "answered for by"]);
        for one in looked {
            let cells = match &one.found {
                Ok(program) => {
                    let digest = digest_text(&program.digest).chars().take(16).collect::<String>();
                    vec![one.server.as_str().into(), digest.into(), program.who.as_str().into()]
                }
                Err(why) => vec![
                    one.server.as_str().into(),
                    "-".into(),
                    Cell::painted(format!("nobody: {why}"), Paint::Red),
                ],
            };
            table.row(cells);
        }
        table.write(out, 0)?;
        let done =
            if arguments.dry_run { "nothing was written" } else { "written; the daemon goes by it at once" };
        writeln!(out, "{}: {done}", escape::os(path.as_os_str()))?;
        if !fine {
            writeln!(
                out,
                "Look into what nobody answers for; --answer-for PATH makes you the one who does."
            )?;
        }
    }
    Ok(if fine { Exit::Fine } else { Exit::Found })
}

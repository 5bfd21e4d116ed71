//! `portreeve ban`: who is kept out of this host, by hand or by a sensor: made, removed, listed, explained. The list is the
//! daemon's, and so is the decision who may be banned.

use crate::answer::{items, number, span, text};
use crate::ban_lists;
use crate::control::Socket;
use crate::escape;
use crate::failure::{Exit, Failure, system_text};
use crate::output::Output;
use crate::since;
use crate::table::Table;
use portreeve_policy::Prefix;
use serde_json::Value;
use std::fs::File;
use std::io::{Read, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Parts of a list that are asked for at most: more than a daemon has.
const PARTS: usize = 1000;
/// The longest list that is imported, in bytes.
const LONGEST_LIST: u64 = 16 << 20;

/// Keep sources out of this host, and see who is
#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    #[allow(missing_docs)]
    pub verb: Option<Verb>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub list: List,
}

/// What to do.
#[derive(clap::Subcommand, Debug)]
pub enum Verb {
    /// Show every ban, by hand and by sensors, and how long it lasts (the default)
    List(List),
    /// Ban an address or a network, on every port of this host
    ///
    /// Who is protected is not banned: this host, its gateways and name servers, administrators' sessions, `protect`.
    Add(Add),
    /// Let an address or a network in again
    #[command(alias = "clear")]
    Remove(Remove),
    /// Ban everybody on a list, or, where one line is not right, nobody
    ///
    /// Reads what `export` writes (a line each: NETWORK SECONDS|forever REASON), plain lists with # and ; for comments, `fail2ban-client
    /// status JAIL`, `cscli decisions list -o raw` and `-o json`, and lines of hosts.deny for ALL daemons.
    Import(Import),
    /// Write every ban in the form that `import` reads
    Export(Export),
    /// Show which bans hold an address, and what protects it
    Why(Why),
    /// Show how many bans there are, and what the kernel does about them
    Status(List),
}

/// `ban list`, and `ban` alone.
#[derive(clap::Args, Debug)]
pub struct List {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub socket: Socket,
    /// Answer in JSON, as the daemon gives it
    #[arg(long)]
    pub json: bool,
}

/// `ban add`.
#[derive(clap::Args, Debug)]
pub struct Add {
    /// An address, or a network as 192.0.2.0/24
    pub network: Prefix,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub time: Time,
    /// What for; shown by `list` and `why`
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub socket: Socket,
    /// Answer in JSON, as the daemon gives it
    #[arg(long)]
    pub json: bool,
}

/// How long a ban lasts.
#[derive(clap::Args, Debug)]
#[group(multiple = false)]
pub struct Time {
    /// For so long: `30m`, `1h`, `2d` [default: 1h]
    #[arg(long = "for", value_name = "SPAN", value_parser = seconds)]
    pub span: Option<u64>,
    /// Until a moment: `2026-11-28 09:30`
    #[arg(long, value_name = "TIME", value_parser = seconds_until)]
    pub until: Option<u64>,
    /// Until it is removed
    #[arg(long)]
    pub forever: bool,
}

/// `ban remove`.
#[derive(clap::Args, Debug)]
pub struct Remove {
    /// What was banned, as `list` shows it, or `all`
    #[arg(value_name = "NETWORK|all", value_parser = which)]
    pub which: String,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub socket: Socket,
    /// Answer in JSON, as the daemon gives it
    #[arg(long)]
    pub json: bool,
}

/// `ban why`.
#[derive(clap::Args, Debug)]
pub struct Why {
    /// An address
    pub address: IpAddr,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub socket: Socket,
    /// Answer in JSON, as the daemon gives it
    #[arg(long)]
    pub json: bool,
}

/// `ban import`.
#[derive(clap::Args, Debug)]
pub struct Import {
    /// A file, or - for standard input
    #[arg(value_name = "FILE|-")]
    pub file: PathBuf,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub time: Time,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub socket: Socket,
    /// Answer in JSON, as the daemon gives it
    #[arg(long)]
    pub json: bool,
}

/// `ban export`.
#[derive(clap::Args, Debug)]
pub struct Export {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub socket: Socket,
}

fn seconds(text: &str) -> Result<u64, String> {
    let span = since::span(text).map(|span| span.as_secs()).filter(|seconds| *seconds > 0);
    span.ok_or_else(|| "expected a span as 30m, 1h or 2d".to_owned())
}

fn seconds_until(text: &str) -> Result<u64, String> {
    let now = portreeve_sys::clock::wall_seconds();
    // Spans and `yesterday` are understood as moments of the past, of which none is meant here.
    let moment = since::moment(text, now).ok_or("expected a moment as 2026-11-28 09:30")?;
    let left = u64::try_from(moment - now).ok().filter(|left| *left > 0);
    left.ok_or_else(|| "that moment is over".to_owned())
}

fn which(word: &str) -> Result<String, String> {
    if word == "all" {
        return Ok(word.to_owned());
    }
    word.parse::<Prefix>().map(|network| network.to_string()).map_err(|bad| format!("{bad}, nor is it `all`"))
}

/// Asks and prints.
pub fn run(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    match &arguments.verb {
        None => show(&arguments.list, out),
        Some(Verb::List(list)) => show(list, out),
        Some(Verb::Add(what)) => add(what, out),
        Some(Verb::Remove(which)) => remove(which, out),
        Some(Verb::Import(what)) => import(what, out),
        Some(Verb::Export(which)) => export(&which.socket, out),
        Some(Verb::Why(whom)) => why(whom, out),
        Some(Verb::Status(list)) => status(list, out),
    }
}

fn add(what: &Add, out: &mut Output<'_>) -> Result<Exit, Failure> {
    const HOUR: u64 = 3600;
    let time = match (what.time.forever, what.time.until.or(what.time.span)) {
        (true, _) => "forever".to_owned(),
        (false, seconds) => seconds.unwrap_or(HOUR).to_string(),
    };
    let network = what.network;
    let reason = what.reason.as_deref().unwrap_or_default();
    let answer = what.socket.ask(format!("ban {network} {time} {reason}").trim_end())?;
    if what.json {
        out.json(&answer)?;
        return Ok(Exit::Fine);
    }
    let lasts = match number(&answer, "seconds_left") {
        Some(seconds) => format!("for {}", span(seconds)),
        None => "until it is removed".to_owned(),
    };
    let again = answer.get("replaced").and_then(Value::as_bool) == Some(true);
    writeln!(
        out,
        "{network} is banned {lasts}{}",
        if again { ", instead of what was said before" } else { "" }
    )?;
    note(&answer, out)?;
    Ok(Exit::Fine)
}

fn import(what: &Import, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let shown = if what.file.as_os_str() == "-" { "-".into() } else { escape::os(what.file.as_os_str()) };
    let content = file_text(&what.file).map_err(|why| Failure::new(format!("{shown}: {why}")))?;
    let at = |line: usize, column: usize, why: &str| {
        Failure::new(format!("{shown}:{line}:{column}: {}; nothing was banned", escape::text(why)))
    };
    let list = ban_lists::read(&content).map_err(|wrong| at(wrong.line, wrong.column, &wrong.what))?;
    let mut request = String::new();
    for one in &list {
        let ordered = match (what.time.forever, what.time.until.or(what.time.span)) {
            (true, _) => Some(ban_lists::Time::Forever),
            (false, seconds) => seconds.map(ban_lists::Time::Seconds),
        };
        let time = match one.time.or(ordered) {
            Some(ban_lists::Time::Forever) => "forever".to_owned(),
            Some(ban_lists::Time::Seconds(seconds)) => seconds.to_string(),
            None => {
                let why = "the list does not say for how long; say it by --for, --until or --forever";
                return Err(at(one.line, 1, why));
            }
        };
        request.push_str(format!("{} {time} {}", one.network, one.reason).trim_end());
        request.push('\n');
    }
    if list.is_empty() {
        writeln!(out, "{shown} bans nobody")?;
        return Ok(Exit::Found);
    }
    let answer = what.socket.import(&request)?;
    if answer.get("ok").and_then(Value::as_bool) != Some(true) {
        let why = text(&answer, "error");
        let line =
            number(&answer, "line").and_then(|line| list.get(usize::try_from(line).ok()?.checked_sub(1)?));
        return Err(match line {
            Some(one) => at(
                one.line,
                1,
                why.split_once(": ").map_or(why, |(_, why)| why).trim_end_matches("; nothing was banned"),
            ),
            None => Failure::new(format!("the daemon refused: {}", escape::text(why))),
        });
    }
    if what.json {
        out.json(&answer)?;
        return Ok(Exit::Fine);
    }
    let (imported, new) = (number(&answer, "imported").unwrap_or(0), number(&answer, "new").unwrap_or(0));
    writeln!(out, "banned: {imported}, of which {new} were not before")?;
    note(&answer, out)?;
    Ok(Exit::Fine)
}

/// The text of a list, which has a bound.
fn file_text(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let source: Box<dyn Read> = if path.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(File::open(path).map_err(|error| system_text(&error))?)
    };
    source.take(LONGEST_LIST + 1).read_to_end(&mut bytes).map_err(|error| system_text(&error))?;
    if bytes.len() as u64 > LONGEST_LIST {
        return Err(format!("a list has at most {LONGEST_LIST} bytes; nothing was banned"));
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8; nothing was banned".to_owned())
}

fn export(socket: &Socket, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let answer = whole_list(socket)?;
    for ban in items(&answer, "list") {
        let time =
            number(ban, "seconds_left").map_or_else(|| "forever".to_owned(), |left| left.max(1).to_string());
        let (network, reason) = (text(ban, "network"), text(ban, "reason"));
        writeln!(out, "{}", escape::text(format!("{network} {time} {reason}").trim_end()))?;
    }
    Ok(Exit::Fine)
}

/// What a ban is worth where it is not worth all that it could be.
fn note(answer: &Value, out: &mut Output<'_>) -> Result<(), Failure> {
    let bans = answer.get("bans").unwrap_or(&Value::Null);
    let kernel = text(bans, "kernel");
    if kernel == "not used" || kernel.starts_with("refused") {
        let why = escape::text(kernel);
        writeln!(out, "only this daemon's own services are closed to it: the kernel is {why}")?;
    }
    not_kept(answer, out)
}

fn not_kept(answer: &Value, out: &mut Output<'_>) -> Result<(), Failure> {
    let why = text(answer, "not_kept");
    if !why.is_empty() {
        writeln!(out, "not kept over a restart: {}", escape::text(why))?;
    }
    Ok(())
}

fn remove(arguments: &Remove, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let which = &arguments.which;
    let answer = arguments.socket.ask(&format!("unban {which}"))?;
    let removed = number(&answer, "removed");
    if arguments.json {
        out.json(&answer)?;
    } else if which == "all" {
        writeln!(out, "bans removed: {}", removed.unwrap_or(0))?;
    } else {
        writeln!(out, "{which} is let in again")?;
    }
    Ok(if removed == Some(0) { Exit::Found } else { Exit::Fine })
}

fn why(whom: &Why, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let answer = whom.socket.ask(&format!("why {}", whom.address))?;
    let banned = answer.get("banned").and_then(Value::as_bool) == Some(true);
    if whom.json {
        out.json(&answer)?;
    } else {
        let address = whom.address.to_canonical();
        writeln!(out, "{address} is {}", if banned { "banned" } else { "not banned" })?;
        table(items(&answer, "list")).write(out, 2)?;
        if answer.get("protected").is_some() {
            writeln!(out, "protected: {}", escape::text(text(&answer, "protected")))?;
        }
    }
    Ok(if banned { Exit::Found } else { Exit::Fine })
}

fn status(list: &List, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let mut answer = list.socket.ask("bans")?;
    if list.json {
        for part in ["list", "next"] {
            answer.as_object_mut().and_then(|answer| answer.remove(part));
        }
        out.json(&answer)?;
        return Ok(Exit::Fine);
    }
    let (held, most) = (number(&answer, "held").unwrap_or(0), number(&answer, "most").unwrap_or(0));
    writeln!(out, "bans: {held}, of at most {most}")?;
    match in_kernel(&answer) {
        Some(bans) => writeln!(out, "{bans}")?,
        None => {
            let bans = answer.get("bans").unwrap_or(&Value::Null);
            writeln!(out, "bans in the kernel: {}", escape::text(text(bans, "kernel")))?;
        }
    }
    not_kept(&answer, out)?;
    Ok(Exit::Fine)
}

/// The whole list, as one answer.
fn whole_list(socket: &Socket) -> Result<Value, Failure> {
    let mut answer = socket.ask("bans")?;
    for _ in 0..PARTS {
        let Some(next) = answer.get("next").and_then(Value::as_str).map(str::to_owned) else { break };
        let mut part = socket.ask(&format!("bans after {next}"))?;
        let (Some(all), Some(part)) = (answer.as_object_mut(), part.as_object_mut()) else { break };
        let more = part.get_mut("list").map(Value::take);
        if let (Some(Value::Array(list)), Some(Value::Array(more))) = (all.get_mut("list"), more) {
            list.extend(more);
        }
        match part.remove("next") {
            Some(next) => all.insert("next".to_owned(), next),
            None => all.remove("next"),
        };
    }
    Ok(answer)
}

fn show(list: &List, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let answer = whole_list(&list.socket)?;
    if list.json {
        out.json(&answer)?;
        return Ok(Exit::Fine);
    }
    let bans = items(&answer, "list");
    if bans.is_empty() {
        writeln!(out, "nobody is banned")?;
        return Ok(Exit::Fine);
    }
    table(bans).write(out, 0)?;
    if let Some(bans) = in_kernel(&answer) {
        writeln!(out, "{bans}")?;
    }
    Ok(Exit::Fine)
}

fn table(bans: &[Value]) -> Table {
    let mut table = Table::new(&["network", "for another", "by", "reason"]);
    for ban in bans {
        let left = number(ban, "seconds_left").map_or_else(|| "until removed".to_owned(), span);
        table.row(vec![
            text(ban, "network").into(),
            left.into(),
            text(ban, "by").into(),
            text(ban, "reason").into(),
        ]);
    }
    table
}

/// A line on what the kernel does about who is banned; none where nothing is to be known.
pub(super) fn in_kernel(answer: &Value) -> Option<String> {
    let bans = answer.get("bans")?;
    let state = escape::text(text(bans, "kernel"));
    match (number(bans, "enforced"), number(bans, "wanted")) {
        (Some(enforced), Some(wanted)) => {
            let table = escape::text(text(bans, "table"));
            let note = if state == "enforced" { String::new() } else { format!("; {state}") };
            Some(format!("bans: enforced {enforced} of {wanted} in the kernel, table {table}{note}"))
        }
        _ if state.starts_with("refused") => {
            Some(format!("bans: the kernel has {state}; the daemon's own check is the only one"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_all_are_taken_and_nothing_else() {
        assert_eq!(which("all").as_deref(), Ok("all"));
        assert_eq!(which("::ffff:192.0.2.1").as_deref(), Ok("192.0.2.1"));
        assert_eq!(which("192.0.2.0/24").as_deref(), Ok("192.0.2.0/24"));
        for bad in ["", "ALL", "host.example", "192.0.2.1/24", "127.1"] {
            assert!(which(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_ban_lasts_for_some_time() {
        assert_eq!(seconds("90s"), Ok(90));
        assert!(seconds("0s").is_err() && seconds("1 h").is_err());
        assert!(seconds_until("9999-01-01").is_ok_and(|left| left > 1 << 30));
        for bad in ["yesterday", "1h", "1999-01-01", "soon"] {
            assert!(seconds_until(bad).is_err(), "{bad}");
        }
    }
}

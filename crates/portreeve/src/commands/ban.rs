//! `portreeve ban`: who is kept out of this host, by hand or by a sensor: made, removed, listed, explained. The list is the
//! daemon's, and so is the decision who may be banned.

mod lists;

use super::{ban_evidence, ban_preview};
use crate::answer::{items, number, span, text};
use crate::control::Socket;
use crate::escape;
use crate::failure::{Exit, Failure};
use crate::output::Output;
use crate::since;
use crate::table::Table;
use portreeve_policy::Prefix;
use portreeve_workers::Beside;
use serde_json::Value;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Parts of a list that are asked for at most: more than a daemon has.
const PARTS: usize = 1000;

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
    /// Show which bans hold an address, what protects it, and what is held against it
    Why(Why),
    /// Run a policy over the ledger: who would have been banned, and what that would have kept out
    ///
    /// Bans nobody. Exit code 1 when somebody would have been banned.
    Preview(ban_preview::Preview),
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
    /// End what it has running here: instances of our services, and every connection with it
    #[arg(long)]
    pub cut: bool,
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
    /// End what they have running here: instances of our services, and every connection with them
    #[arg(long)]
    pub cut: bool,
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
        Some(Verb::Import(what)) => lists::import(what, out),
        Some(Verb::Export(which)) => export(&which.socket, out),
        Some(Verb::Why(whom)) => why(whom, out),
        Some(Verb::Status(list)) => status(list, out),
        Some(Verb::Preview(what)) => ban_preview::run(what, out),
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
    let answer = what
        .socket
        .ask(format!("{} {network} {time} {reason}", if what.cut { "cut" } else { "ban" }).trim_end())?;
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
    cut(&answer, out)?;
    note(&answer, out)?;
    Ok(Exit::Fine)
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

/// What was ended by `--cut`.
fn cut(answer: &Value, out: &mut Output<'_>) -> Result<(), Failure> {
    let Some(ended) = number(answer, "ended") else { return Ok(()) };
    let instances = if ended == 1 { "1 instance".to_owned() } else { format!("{ended} instances") };
    writeln!(
        out,
        "told to end: {instances} of our services, and every other connection; the log says how many"
    )?;
    Ok(())
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
        ban_evidence::held(&answer, out)?;
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
    if portreeve_sys::process::is_root()
        && let Ok(beside) = portreeve_workers::beside(Path::new("/"))
    {
        others(&beside, out)?;
    }
    ban_evidence::status(&answer, out)?;
    Ok(Exit::Fine)
}

/// What others have in the kernel's packet filter, since it is asked about when somebody gets through, or does not.
fn others(beside: &Beside, out: &mut Output<'_>) -> Result<(), Failure> {
    let list = |names: &[String]| escape::text(&names.join(", ")).into_owned();
    for (what, names) in [
        ("beside it in nf_tables", &beside.tables),
        ("of containers", &beside.of_containers),
        ("iptables-legacy", &beside.legacy),
        ("flow tables, whose connections pass no other chain", &beside.flow_tables),
    ] {
        if !names.is_empty() {
            writeln!(out, "{what}: {}", list(names))?;
        }
    }
    Ok(())
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
            let mut note = if state == "enforced" { String::new() } else { format!("; {state}") };
            if let Some(changes) = number(bans, "on_their_way").filter(|changes| *changes > 0) {
                note = format!("{note}; {changes} changes on their way");
            }
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

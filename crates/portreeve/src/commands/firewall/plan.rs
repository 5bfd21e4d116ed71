//! `portreeve firewall plan`: the rules that follow from what is served, how they differ from what runs, and what they would cut.
//! Looks and prints; loads nothing. The JSON names are a promise to scripts.

use crate::escape;
use crate::failure::{Exit, Failure};
use crate::firewall::host::{self, Configuration, Seen};
use crate::firewall::plan::Chain;
use crate::firewall::{TABLE, nft, text};
use crate::output::{Output, Paint};
use crate::ranges::Family;
use crate::settings::Egress;
use crate::table::Table;
use serde_json::{Value, json};
use std::io::{self, Write};

/// Rows of one table for people; the rest is counted.
const SHOWN: usize = 40;

/// Show the rules that would be loaded, and what they would cut
///
/// They are made from the services in the configuration and from [firewall] in portreeve.toml. Shown are each rule with the line that
/// caused it, what no rule can say, the difference from what the kernel has now, connections of now that would be refused if
/// they began afresh, listeners that nobody could reach, and ports that others send elsewhere before these rules are asked.
/// Exit codes: 0 nothing to look at, 1 something would be cut or cannot be said, 2 it could not be made.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub configuration: Configuration,
    /// Print the ruleset too, as nftables reads it
    #[arg(long)]
    pub text: bool,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// Looks and prints.
pub(super) fn run(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let mut seen = host::look(&arguments.configuration)?;
    let table = text::table(&seen.plan);
    let refused = refused(&table, &mut seen.gaps);
    if arguments.json {
        out.json(&to_json(&seen, &table, refused.as_deref()))?;
    } else {
        write(out, &seen, &table, refused.as_deref(), arguments.text)?;
    }
    let found = refused.is_some()
        || seen.plan.notes.iter().any(|note| note.counts)
        || !seen.cut().is_empty()
        || !seen.unreachable().is_empty()
        || !seen.redirections.is_empty();
    Ok(if found { Exit::Found } else { Exit::Fine })
}

/// Why the kernel would not take it. Who may not ask it learns nothing of that.
pub(super) fn refused(table: &str, gaps: &mut Vec<String>) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        gaps.push("whether the kernel takes the rules: only root may ask".to_owned());
        return None;
    }
    match nft::check(&text::transaction(Some(table))) {
        Ok(()) => None,
        Err(nft::Failed::Absent(_)) => {
            gaps.push(
                "whether the kernel takes the rules: nft is not installed (package nftables)".to_owned(),
            );
            None
        }
        Err(failed) => Some(failed.to_string()),
    }
}

/// What would change in the kernel, a line each.
fn difference(seen: &Seen, table: &str) -> Vec<String> {
    let lines = text::difference(seen.listing.as_deref().unwrap_or_default(), table);
    lines.into_iter().map(|(sign, line)| format!("{sign} {line}")).collect()
}

pub(super) fn to_json(seen: &Seen, table: &str, refused: Option<&str>) -> Value {
    let rule = |rule: &crate::firewall::plan::Rule| {
        let of = |family: Family| {
            let networks = rule.peers.of(family).networks(family);
            networks
                .into_iter()
                .map(|(network, length)| format!("{}/{length}", family.text(network)))
                .collect::<Vec<_>>()
        };
        json!({
            "direction": if rule.chain == Chain::In { "in" } else { "out" },
            "port": rule.port.map(|port| port.to_string()),
            "interface": rule.device,
            "to": rule.to,
            "peers_v4": of(Family::V4),
            "peers_v6": of(Family::V6),
            "what": rule.cause.what,
            "place": rule.cause.place,
        })
    };
    let session = |cut: host::CutSession| {
        json!({
            "local": cut.connection.local,
            "peer": cut.connection.peer,
            "process": cut.process,
            "direction": if cut.incoming { "in" } else { "out" },
        })
    };
    let listener = |listener: &portreeve_audit::inventory::Listener| {
        json!({
            "protocol": listener.socket.protocol.word(),
            "address": listener.socket.address(),
            "process": listener.process().map(|process| &process.name),
            "service": listener.service,
        })
    };
    let redirection = |redirection: &crate::firewall::ruleset::Redirection| json!({ "chain": redirection.chain, "what": redirection.what, "to": redirection.to });
    let note = |note: &crate::firewall::plan::Note| json!({ "text": note.text, "place": note.place, "counts": note.counts });
    json!({
        "ok": refused.is_none(),
        "refused": refused,
        "egress": egress(seen.plan.egress),
        "rules": seen.plan.rules.iter().map(rule).collect::<Vec<_>>(),
        "notes": seen.plan.notes.iter().map(note).collect::<Vec<_>>(),
        "loaded": seen.listing.is_some(),
        "difference": difference(seen, table),
        "cut": {
            "own_session": seen.own_session_cut().iter().map(|one| one.peer.to_string()).collect::<Vec<_>>(),
            "sessions": seen.cut().into_iter().map(session).collect::<Vec<_>>(),
            "listeners": seen.unreachable().into_iter().map(listener).collect::<Vec<_>>(),
            "bypass": seen.redirections.iter().map(redirection).collect::<Vec<_>>(),
        },
        "gaps": seen.gaps,
        "ruleset": table,
    })
}

fn egress(egress: Egress) -> &'static str {
    match egress {
        Egress::Off => "off",
        Egress::Log => "log",
        Egress::Restrict => "restrict",
    }
}

/// From whom a rule lets in, in few words.
fn from(rule: &crate::firewall::plan::Rule) -> String {
    let mut words = Vec::new();
    for family in Family::BOTH {
        let ranges = rule.peers.of(family);
        if ranges.is_all(family) {
            words.push(if family == Family::V4 { "any IPv4".to_owned() } else { "any IPv6".to_owned() });
        } else {
            words.extend(ranges.networks(family).into_iter().map(|(network, length)| match length {
                full if full == family.bits() => family.text(network),
                length => format!("{}/{length}", family.text(network)),
            }));
        }
    }
    if words == ["any IPv4", "any IPv6"] {
        return "any".to_owned();
    }
    let more = words.len().saturating_sub(3);
    words.truncate(3);
    let mut text = words.join(" ");
    if more > 0 {
        text.push_str(&format!(" and {more} more"));
    }
    text
}

fn write(
    out: &mut Output<'_>,
    seen: &Seen,
    table: &str,
    refused: Option<&str>,
    whole: bool,
) -> io::Result<()> {
    let mut rows = Table::new(&["", "port", "peers", "here", "caused by"]);
    for rule in &seen.plan.rules {
        let here =
            [rule.to.map(|to| to.to_string()), rule.device.clone()].into_iter().flatten().collect::<Vec<_>>();
        rows.row(vec![
            if rule.chain == Chain::In { "in" } else { "out" }.into(),
            rule.port.map_or_else(|| "any".to_owned(), |port| port.to_string()).into(),
            from(rule).into(),
            here.join(" ").into(),
            rule.cause.to_string().into(),
        ]);
    }
    rows.write(out, 0)?;
    writeln!(
        out,
        "and on every host: loopback, answers, ICMP and ICMPv6 as RFC 4890 says, DHCP; all else is logged and dropped; egress: {}",
        egress(seen.plan.egress)
    )?;
    if whole {
        write!(out, "\n{}", escape::lines(table))?;
    }
    if let Some(why) = refused {
        writeln!(out, "\n{} {}", out.paint(Paint::Red, "the kernel does not take it:"), escape::text(why))?;
    }
    for note in &seen.plan.notes {
        let mark = out.paint(if note.counts { Paint::Yellow } else { Paint::Dim }, "note:");
        let place = note.place.as_ref().map_or_else(String::new, |place| format!(" ({place})"));
        writeln!(out, "{mark} {}", escape::text(&format!("{}{place}", note.text)))?;
    }
    write_cut(out, seen)?;
    let difference = difference(seen, table);
    match (&seen.listing, difference.is_empty()) {
        (None, _) => writeln!(out, "\nthe kernel has no table inet {TABLE}: all of this is new")?,
        (Some(_), true) => writeln!(out, "\nthe kernel has these rules already")?,
        (Some(_), false) => {
            writeln!(out, "\nwhat would change in the kernel:")?;
            for line in &difference {
                let paint = if line.starts_with('-') { Paint::Red } else { Paint::Green };
                writeln!(out, "{}", out.paint(paint, &escape::text(line)))?;
            }
        }
    }
    for gap in &seen.gaps {
        writeln!(out, "{} {}", out.paint(Paint::Yellow, "not seen:"), escape::text(gap))?;
    }
    Ok(())
}

/// What it would cut, with a heading for each kind.
pub(super) fn write_cut(out: &mut Output<'_>, seen: &Seen) -> io::Result<()> {
    for session in seen.own_session_cut() {
        let text =
            format!("{} could not come back: it is (or may be) the session that you type in", session.peer);
        writeln!(out, "{} {}", out.paint(Paint::Red, "cut:"), escape::text(&text))?;
    }
    let mut lines: Vec<String> = Vec::new();
    for cut in seen.cut() {
        let way = if cut.incoming { "from" } else { "to" };
        lines.push(format!(
            "{} at {} {way} {}: goes on, and would be refused if it began again",
            cut.process, cut.connection.local, cut.connection.peer
        ));
    }
    write_some(out, "session:", &lines)?;
    let name = |listener: &portreeve_audit::inventory::Listener| {
        let process = listener.process().map_or("-", |process| process.name.as_str());
        format!("{} {}: nobody else reaches it; [[firewall.allow]] would name it", listener.socket, process)
    };
    let lines: Vec<String> = seen.unreachable().into_iter().map(name).collect();
    write_some(out, "listener:", &lines)?;
    let lines: Vec<String> = seen
        .redirections
        .iter()
        .map(|one| {
            format!(
                "{} goes to {} by chain {}: these rules are never asked about it",
                one.what, one.to, one.chain
            )
        })
        .collect();
    write_some(out, "bypass:", &lines)
}

fn write_some(out: &mut Output<'_>, mark: &str, lines: &[String]) -> io::Result<()> {
    for line in lines.iter().take(SHOWN) {
        writeln!(out, "{} {}", out.paint(Paint::Yellow, mark), escape::text(line))?;
    }
    match lines.len().checked_sub(SHOWN) {
        Some(more @ 1..) => writeln!(out, "{mark} and {more} more (--json has all)"),
        _ => Ok(()),
    }
}

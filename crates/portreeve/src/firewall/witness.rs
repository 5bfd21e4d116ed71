//! The witness of a trial: a table of its own that is there while rules are on trial, behind every chain that refuses and behind
//! translation. It notes the addresses of each TCP connection that begins and comes so far: one that connection tracking did not
//! know (`ct state new`, or untracked), so that the rules decided about it and no older entry. Refuses nothing.

use super::nft::{self, Failed};
use super::plan::{Chain, Plan};
use super::port::Transport;
use portreeve_sys::sock_diag::Connection;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

/// The table, of family inet.
pub const TABLE: &str = "portreeve_trial";
/// Connections that a set holds. One that is full takes none; they leave it again by [`LONGEST`].
const MOST: usize = 1 << 16;
/// How long a connection is kept at most: whoever confirms later begins another one. A flood of those whom the rules let in fills a
/// set only if there are more than a hundred each second all the while.
const LONGEST: Duration = Duration::from_secs(600);
/// Behind the chains of `filter`, and behind translation on the way in (100), so that the addresses are those of the socket; before
/// connection tracking takes the connection for known (the last of all).
const PRIORITY: u32 = 1000;

/// What a trial knows of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Testimony {
    /// It began after the rules were loaded, and they let it in.
    Seen,
    /// It did not, as far as can be told; and why not further.
    Unseen(&'static str),
    /// It cannot be told.
    Unknown(String),
}

/// What removes the table, whether it is there or not.
pub fn removal() -> String {
    format!("add table inet {TABLE}\ndelete table inet {TABLE}\n")
}

/// The table, with sets of their own for the ports of ssh, which a busy service cannot fill.
pub fn table(plan: &Plan, within: Duration) -> String {
    let lifetime = within.min(LONGEST).as_secs().saturating_add(1);
    let mut text = format!("table inet {TABLE} {{\n");
    // Writing to a String cannot fail.
    for set in ["ssh", "rest"] {
        for (number, kind) in [(4, "ipv4_addr"), (6, "ipv6_addr")] {
            let _ = writeln!(
                text,
                "\tset {set}{number} {{\n\t\ttype {kind} . inet_service . {kind} . inet_service\n\t\tsize {MOST}\n\
                 \t\tflags dynamic,timeout\n\t\ttimeout {lifetime}s\n\t}}"
            );
        }
    }
    let note = |set: &str| {
        [("ip", 4), ("ip6", 6)].map(|(word, number)| {
            format!("\t\tupdate @{set}{number} {{ {word} saddr . tcp sport . {word} daddr . tcp dport }}\n")
        })
    };
    text.push_str("\tchain ssh {\n");
    text.extend(note("ssh"));
    let _ = writeln!(
        text,
        "\t}}\n\tchain input {{\n\t\ttype filter hook input priority {PRIORITY}; policy accept;\n\
         \t\tiif \"lo\" accept comment \"no rule is asked\"\n\
         \t\tmeta l4proto != tcp accept\n\
         \t\ttcp flags & (fin | syn | rst | ack) != syn accept comment \"begins nothing\"\n\
         \t\tct state established,related,invalid accept comment \"not let in by a rule for its port\""
    );
    let ports: BTreeSet<(u16, u16)> = plan
        .rules
        .iter()
        .filter(|rule| rule.chain == Chain::In && rule.is_ssh)
        .filter_map(|rule| rule.port.filter(|port| port.transport == Transport::Tcp))
        .map(|port| (port.first, port.last))
        .collect();
    for (first, last) in ports {
        let port = if first == last { first.to_string() } else { format!("{first}-{last}") };
        let _ = writeln!(text, "\t\ttcp dport {port} goto ssh");
    }
    text.extend(note("rest"));
    text.push_str("\t}\n}\n");
    text
}

/// Asks for a connection.
pub fn ask(connection: &Connection) -> Testimony {
    let (local, peer) = (connection.local, connection.peer);
    let (number, of) = match (peer.ip().to_canonical(), local.ip().to_canonical()) {
        (peer @ IpAddr::V4(_), local) => (4, (peer, local)),
        (peer, local) => (6, (peer, local)),
    };
    let element = format!("{{ {} . {} . {} . {} }}", of.0, peer.port(), of.1, local.port());
    let mut full = false;
    for set in ["ssh", "rest"].map(|set| format!("{set}{number}")) {
        match nft::run("nft", &["get", "element", "inet", TABLE, &set, &element], "") {
            Ok(_) => return Testimony::Seen,
            Err(Failed::Said(what)) if is_absent(&what) => {}
            Err(failed) => return Testimony::Unknown(failed.to_string()),
        }
        // Whether it is absent from the set, or the set is.
        match nft::run("nft", &["list", "set", "inet", TABLE, &set], "") {
            Ok(text) => full |= text.matches(" expires ").count() >= MOST,
            Err(Failed::Said(what)) if is_absent(&what) => {
                return Testimony::Unseen("the table that notes them is gone: another program removed it");
            }
            Err(failed) => return Testimony::Unknown(failed.to_string()),
        }
    }
    Testimony::Unseen(if full {
        "so many begin that it may not have been noted; wait a moment"
    } else {
        "it came in by an older entry of connection tracking, or waited here for too long"
    })
}

fn is_absent(said: &str) -> bool {
    said.contains("No such file or directory")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::plan::{Cause, Rule};
    use crate::ranges::Addresses;

    #[test]
    fn ports_of_ssh_have_sets_of_their_own() {
        let rule = |port: &str, is_ssh| Rule {
            chain: Chain::In,
            port: Some(port.parse().unwrap()),
            device: None,
            to: None,
            peers: Addresses::all(),
            cause: Cause { what: "ssh".to_owned(), place: "here:1".to_owned() },
            is_ssh,
        };
        let rules = vec![
            rule("22/tcp", true),
            rule("2200-2201/tcp", true),
            rule("22/udp", true),
            rule("80/tcp", false),
        ];
        let text = table(&Plan { rules, ..Plan::default() }, Duration::from_secs(60));
        let jumps: Vec<&str> = text.lines().filter(|line| line.contains("goto")).map(str::trim).collect();
        assert_eq!(jumps, ["tcp dport 22 goto ssh", "tcp dport 2200-2201 goto ssh"]);
        assert_eq!(text.matches("timeout 61s").count(), 4);
        assert_eq!(text.matches("size 65536").count(), 4);
        let day = table(&Plan::default(), Duration::from_secs(86_400));
        assert!(day.contains("timeout 601s") && !day.contains("goto"), "{day}");
    }
}

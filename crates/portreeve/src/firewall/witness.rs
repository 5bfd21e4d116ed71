//! The witness of a trial: a table of its own that is there while rules are on trial, behind every chain that refuses and behind
//! translation. It notes the addresses of each TCP connection that begins and comes so far: one that connection tracking did not
//! know (`ct state new`, or untracked), so that the rules decided about it and no older entry. Refuses nothing.
//!
//! Whoever floods those ports that everybody may reach, from forged addresses for instance, fills the sets and would so keep others from
//! confirming until their time is over. So those of whom it matters have sets of their own: the sessions that the rules were applied from, and whoever
//! tried to confirm while the others were full. Of one address to one port there are no more connections than there are ports.

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
/// Sessions that are watched; each has room for every port that a connection can come from.
const MOST_WATCHED: usize = 8;
const EVERY_PORT: usize = 1 << 16;
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
    /// So many begin that it may not have been noted. The next one from there to the same place will be.
    Crowded,
    /// It cannot be told.
    Unknown(String),
}

/// What removes the table, whether it is there or not.
pub fn removal() -> String {
    format!("add table inet {TABLE}\ndelete table inet {TABLE}\n")
}

/// The table, with sets of their own for the ports of ssh, which a busy service cannot fill, and for where these sessions come from, which
/// nobody can fill.
pub fn table(plan: &Plan, within: Duration, sessions: &[&Connection]) -> String {
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
    for (number, kind) in [(4, "ipv4_addr"), (6, "ipv6_addr")] {
        let of: BTreeSet<String> = sessions
            .iter()
            .map(|session| Tuple::of(session))
            .filter(|tuple| tuple.number == number)
            .map(|tuple| tuple.place())
            .take(MOST_WATCHED / 2)
            .collect();
        let of: Vec<String> = of.into_iter().collect();
        let elements =
            if of.is_empty() { String::new() } else { format!("\t\telements = {{ {} }}\n", of.join(", ")) };
        let _ = writeln!(
            text,
            "\tset watched{number} {{\n\t\ttype {kind} . {kind} . inet_service\n\t\tsize {MOST_WATCHED}\n{elements}\t}}\n\
             \tset seen{number} {{\n\t\ttype {kind} . inet_service . {kind} . inet_service\n\t\tsize {}\n\
             \t\tflags dynamic,timeout\n\t\ttimeout {lifetime}s\n\t}}",
            MOST_WATCHED * EVERY_PORT
        );
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
    for (word, number) in [("ip", 4), ("ip6", 6)] {
        let _ = writeln!(
            text,
            "\t\t{word} saddr . {word} daddr . tcp dport @watched{number} update @seen{number} \
             {{ {word} saddr . tcp sport . {word} daddr . tcp dport }} accept"
        );
    }
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

/// A connection as the sets name it: of which family, from where, to where.
struct Tuple {
    number: u8,
    peer: (IpAddr, u16),
    local: (IpAddr, u16),
}

impl Tuple {
    fn of(connection: &Connection) -> Self {
        let (peer, local) = (connection.peer, connection.local);
        let (from, to) = (peer.ip().to_canonical(), local.ip().to_canonical());
        Tuple {
            number: if from.is_ipv4() { 4 } else { 6 },
            peer: (from, peer.port()),
            local: (to, local.port()),
        }
    }

    /// Whatever comes from there to here.
    fn place(&self) -> String {
        format!("{} . {} . {}", self.peer.0, self.local.0, self.local.1)
    }

    fn element(&self) -> String {
        format!("{{ {} . {} . {} . {} }}", self.peer.0, self.peer.1, self.local.0, self.local.1)
    }
}

/// Asks for a connection. Where so many began that it may have been passed over, those that come from there to the same place are noted from now on.
pub fn ask(connection: &Connection) -> Testimony {
    let tuple = Tuple::of(connection);
    let (number, element) = (tuple.number, tuple.element());
    let mut full = false;
    for name in ["seen", "ssh", "rest"] {
        let set = format!("{name}{number}");
        // Checked and never done: whether it could be put there. To ask for one, nft(8) reads the set, and that of a crowd takes it seconds.
        match nft::run("nft", &["-c", "create", "element", "inet", TABLE, &set, &element], "") {
            Ok(_) => {}
            Err(Failed::Said(what)) if what.contains("File exists") => return Testimony::Seen,
            Err(Failed::Said(what)) if what.contains("Too many open files") => full = true,
            Err(Failed::Said(what)) if what.contains("No such file or directory") => {
                return Testimony::Unseen("the table that notes them is gone: another program removed it");
            }
            Err(failed) => return Testimony::Unknown(failed.to_string()),
        }
    }
    if !full {
        return Testimony::Unseen(
            "it came in by an older entry of connection tracking, or waited here for too long",
        );
    }
    let place = format!("{{ {} }}", tuple.place());
    match nft::run("nft", &["add", "element", "inet", TABLE, &format!("watched{number}"), &place], "") {
        Ok(_) => Testimony::Crowded,
        Err(_) => Testimony::Unseen("so many begin that it may not have been noted; wait a moment"),
    }
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
        let session = |peer: &str, local: &str| Connection {
            local: local.parse().unwrap(),
            peer: peer.parse().unwrap(),
            established: true,
            cookie: 1,
            inode: 1,
        };
        let sessions = [
            session("[::ffff:192.0.2.9]:4000", "[::ffff:192.0.2.1]:22"),
            session("192.0.2.9:4001", "192.0.2.1:22"),
            session("[2001:db8::9]:4000", "[2001:db8::1]:2200"),
        ];
        let sessions: Vec<&Connection> = sessions.iter().collect();
        let text = table(&Plan { rules, ..Plan::default() }, Duration::from_secs(60), &sessions);
        let watched: Vec<&str> =
            text.lines().filter(|line| line.contains("elements =")).map(str::trim).collect();
        assert_eq!(
            watched,
            ["elements = { 192.0.2.9 . 192.0.2.1 . 22 }", "elements = { 2001:db8::9 . 2001:db8::1 . 2200 }"]
        );
        let jumps: Vec<&str> = text.lines().filter(|line| line.contains("goto")).map(str::trim).collect();
        assert_eq!(jumps, ["tcp dport 22 goto ssh", "tcp dport 2200-2201 goto ssh"]);
        assert_eq!(text.matches("timeout 61s").count(), 6);
        assert_eq!(text.matches("size 65536").count(), 4);
        let day = table(&Plan::default(), Duration::from_secs(86_400), &[]);
        assert!(!day.contains("elements"), "{day}");
        assert!(day.contains("timeout 601s") && !day.contains("goto"), "{day}");
    }
}

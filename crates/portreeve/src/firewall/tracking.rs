//! Connection tracking's word on a connection that is to confirm a trial, beside the one of its socket (`proof`): an entry that was
//! there before the rules lets its packets in whatever they say, also those of another connection with the same ports. Asks by the
//! addresses of a socket, an entry at a time; changes nothing.

use super::state::Loaded;
use portreeve_sys::conntrack::{self, Entry};
use portreeve_sys::sock_diag::Connection;
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::io;

/// Entries that are noted when rules are loaded: of one port, so that a busy one leaves room for that of ssh, and of all.
const MOST_OF_A_PORT: usize = 4096;
const MOST: usize = 1 << 16;
/// Milliseconds that two clocks may differ by within a trial; beyond it somebody set the one on the wall. A thousandth of the time
/// is added, twice what the kernel is slewed by.
const SLACK: u64 = 1000;

/// What was asked of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tracking {
    /// It is not there, and why.
    Away(String),
    /// It has no entry with these addresses.
    Nothing,
    /// What it has.
    Entry(Entry),
}

/// The same moment by two clocks, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Since the boot.
    pub at: u64,
    /// Since 1970, by the clock on the wall.
    pub wall: u64,
}

/// Now.
pub fn now() -> Moment {
    let wall = u64::try_from(portreeve_sys::clock::wall().as_millis()).unwrap_or(0);
    Moment { at: super::state::since_boot(), wall }
}

/// Asks for a connection.
pub fn ask(connection: &Connection) -> Tracking {
    let entry = || conntrack::entry(conntrack::asking()?, connection.local, connection.peer);
    match entry() {
        Ok(None) => Tracking::Nothing,
        Ok(Some(entry)) => Tracking::Entry(entry),
        Err(error) => Tracking::Away(away(&error)),
    }
}

fn away(error: &io::Error) -> String {
    match Errno::from_io_error(error) {
        // What nfnetlink answers for a part that it has not.
        Some(Errno::INVAL | Errno::OPNOTSUPP | Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT) => {
            "this kernel has no ctnetlink (nf_conntrack_netlink)".to_owned()
        }
        Some(Errno::PERM | Errno::ACCESS) => "it may not be asked here (CAP_NET_ADMIN)".to_owned(),
        _ => crate::failure::system_text(error),
    }
}

/// Connections that came in, by their addresses, with the number of the entry that each had; `None` where it had none.
pub type Noted = BTreeMap<String, Option<u32>>;

fn name(connection: &Connection) -> String {
    format!("{} {}", connection.peer, connection.local)
}

/// Notes what there is. Nothing where connection tracking is not there.
pub fn note(connections: &[Connection], listening: &BTreeSet<u16>) -> Noted {
    let Ok(fd) = conntrack::asking() else { return Noted::new() };
    let mut of_port: BTreeMap<u16, usize> = BTreeMap::new();
    let mut found = Noted::new();
    for connection in connections.iter().filter(|one| listening.contains(&one.local.port())) {
        let count = of_port.entry(connection.local.port()).or_default();
        *count += 1;
        if *count > MOST_OF_A_PORT || found.len() >= MOST {
            continue;
        }
        let Ok(entry) = conntrack::entry(&fd, connection.local, connection.peer) else { break };
        found.insert(name(connection), entry.map(|entry| entry.id));
    }
    found
}

/// Whether the entry of a connection whose socket is new says the same. A note where it says nothing.
///
/// # Errors
/// Why it proves nothing; a connection that begins anew does.
pub fn judge(
    tracking: &Tracking,
    connection: &Connection,
    loaded: &Loaded,
    now: Moment,
) -> Result<Option<String>, String> {
    let entry = match tracking {
        Tracking::Away(why) => {
            return Ok(Some(format!(
                "connection tracking is not there: {why}; that the connection is new is known from its socket alone"
            )));
        }
        // Untracked, each of its packets is asked of the rules; they match no `established`.
        Tracking::Nothing => {
            return Ok(Some(
                "connection tracking has no entry of it (a rule of notrack, or a zone of its own); that the connection is new is known \
                 from its socket alone"
                    .to_owned(),
            ));
        }
        // What comes in is not tracked, and only what goes out is.
        Tracking::Entry(entry) if !entry.incoming && !entry.answered => {
            return Ok(Some(
                "connection tracking sees only what this host sends on it (a rule of notrack); that the connection is new is known from \
                 its socket alone"
                    .to_owned(),
            ));
        }
        Tracking::Entry(entry) => entry,
    };
    if !entry.incoming {
        return Err("was taken up by connection tracking in its midst, with a packet of this host, so the rules were not asked since".to_owned());
    }
    if !entry.is_established() {
        return Err(format!("is {} to connection tracking, not ESTABLISHED", entry.state));
    }
    let before = "came in by an entry of connection tracking that was there before the rules were loaded, of a former connection with the same ports";
    // Without an entry then, the one of now may have been taken up from the old connection since.
    if loaded.tracked.get(&name(connection)).is_some_and(|noted| noted.is_none_or(|id| id == entry.id)) {
        return Err(before.to_owned());
    }
    // Without a time, or with one of a former version's trial, the numbers have said what can be said.
    let (Some(began), true) = (entry.began, loaded.wall != 0) else { return Ok(None) };
    let passed = now.at.saturating_sub(loaded.at);
    let by_the_wall = loaded.wall.saturating_add(passed).abs_diff(now.wall);
    if by_the_wall > SLACK.saturating_add(passed / 1000) {
        return Ok(Some("the clock was set during the trial: when connection tracking saw the connection begin is not asked".to_owned()));
    }
    // One of the future is older than a clock that was put back.
    let began = began / 1_000_000;
    if began < loaded.wall || began > now.wall.saturating_add(SLACK) {
        return Err(before.to_owned());
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Connection {
        Connection {
            local: "192.0.2.1:22".parse().unwrap(),
            peer: "198.51.100.1:4000".parse().unwrap(),
            established: true,
            cookie: 8,
            inode: 9,
        }
    }

    fn entry(state: &'static str, began: Option<u64>) -> Entry {
        Entry { incoming: true, answered: true, state, id: 5, began }
    }

    #[test]
    fn an_entry_from_before_the_rules_proves_nothing() {
        let with = |id| Noted::from([(name(&connection()), id)]);
        // Another entry with the same ports, the same one, and one that came later.
        let fresh = Loaded { at: 1000, wall: 900_000, connections: Vec::new(), tracked: with(Some(6)) };
        let noted = Loaded { tracked: with(Some(5)), ..fresh.clone() };
        let later = Loaded { tracked: with(None), ..fresh.clone() };
        let former = Loaded { wall: 0, ..fresh.clone() };
        // Two seconds later, by both clocks; and where somebody set one of them.
        let now = Moment { at: 3000, wall: 902_000 };
        let set = Moment { at: 3000, wall: 907_000 };
        let at = |milliseconds: u64| Tracking::Entry(entry("ESTABLISHED", Some(milliseconds * 1_000_000)));
        let of =
            |incoming, answered| Tracking::Entry(Entry { incoming, answered, ..entry("ESTABLISHED", None) });
        let whole = of(true, true);
        let syn = Tracking::Entry(entry("SYN_RECV", None));
        let before = "an entry of connection tracking that was there before the rules";
        let alone = "known from its socket alone";
        for (tracking, loaded, now, wanted) in [
            (&whole, &fresh, now, Ok("")),
            (&whole, &noted, now, Err(before)),
            (&whole, &later, now, Err(before)),
            (&at(900_500), &fresh, now, Ok("")),
            (&at(900_500), &noted, now, Err(before)),
            (&at(899_999), &fresh, now, Err(before)),
            (&at(899_999), &former, now, Ok("")),
            (&at(904_000), &fresh, now, Err(before)),
            (&at(899_999), &fresh, set, Ok("the clock was set")),
            (&at(899_999), &noted, set, Err(before)),
            (&syn, &fresh, now, Err("is SYN_RECV to connection tracking")),
            (&of(false, true), &fresh, now, Err("in its midst")),
            (&of(false, false), &noted, now, Ok(alone)),
            (&Tracking::Nothing, &noted, now, Ok(alone)),
            (&Tracking::Nothing, &later, now, Ok(alone)),
            (
                &Tracking::Away("this kernel has none".to_owned()),
                &noted,
                now,
                Ok("is not there: this kernel has none; "),
            ),
        ] {
            let said = judge(tracking, &connection(), loaded, now);
            match (&said, wanted) {
                (Ok(None), Ok("")) => {}
                (Ok(Some(note)), Ok(part)) if !part.is_empty() => assert!(note.contains(part), "{note}"),
                (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
                other => panic!("{other:?} of {tracking:?}"),
            }
        }
    }

    #[test]
    fn why_it_is_not_there() {
        for (errno, part) in [
            (Errno::INVAL, "no ctnetlink"),
            (Errno::PROTONOSUPPORT, "no ctnetlink"),
            (Errno::PERM, "CAP_NET_ADMIN"),
        ] {
            let said = away(&errno.into());
            assert!(said.contains(part), "{said}");
        }
    }
}

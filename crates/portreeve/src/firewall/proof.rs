//! What confirms a trial: a connection that began after the rules were loaded and came in through them. A channel of an older
//! connection, one of this host to itself, and an environment that says what it likes prove nothing. Decides; changes nothing.

use super::sessions::{Above, Typed};
use super::state::Loaded;
use super::witness::Testimony;
use portreeve_sys::sock_diag::Connection;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// What is known when somebody confirms.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// What the command was typed in.
    pub typed: &'a Typed,
    /// What there was when the rules were loaded.
    pub loaded: &'a Loaded,
    /// Ports at which this host takes connections.
    pub listening: &'a BTreeSet<u16>,
    /// The addresses of this host.
    pub own: &'a [IpAddr],
    /// Milliseconds of a tick in which the kernel counts when a process began.
    pub tick: u64,
}

/// The connection that proves it; or why none does. `ask` asks the witness of the trial.
///
/// # Errors
/// A sentence.
pub fn by_connection<'a>(
    facts: &Facts<'a>,
    ask: impl Fn(&Connection) -> Testimony,
) -> Result<&'a Connection, String> {
    let held = match facts.typed {
        Typed::Remotely(held) => held,
        Typed::Console(name) => {
            return Err(format!("this is the console {name}: --console confirms from there"));
        }
        Typed::Unknown => {
            return Err("no process above this one holds a connection from elsewhere: log in anew (not through a multiplexer of \
                        terminals that ran before), and type it there"
                .to_owned());
        }
    };
    let mut why = String::new();
    for (process, connection) in held {
        match judge(facts, process, connection, &ask) {
            Ok(()) => return Ok(connection),
            // The nearest one says most.
            Err(reason) if why.is_empty() => why = reason,
            Err(_) => {}
        }
    }
    Err(why)
}

fn judge(
    facts: &Facts<'_>,
    process: &Above,
    connection: &Connection,
    ask: impl Fn(&Connection) -> Testimony,
) -> Result<(), String> {
    let whose = format!("the connection from {}, held by {} {},", connection.peer, process.name, process.pid);
    if !connection.established {
        return Err(format!("{whose} is not established"));
    }
    if !facts.listening.contains(&connection.local.port()) {
        return Err(format!("{whose} was begun by this host: nothing listens at {}", connection.local));
    }
    let peer = connection.peer.ip();
    if peer.is_loopback() || facts.own.contains(&peer) {
        return Err(format!("{whose} comes from this host itself, which the rules do not ask"));
    }
    let began_before = process.began.saturating_add(1).saturating_mul(facts.tick) < facts.loaded.at;
    if facts.loaded.connections.contains(&connection.cookie) || began_before {
        return Err(format!(
            "{whose} was there before the rules were loaded, so it proves nothing about them: begin a new one (ssh -o ControlPath=none)"
        ));
    }
    if !facts.loaded.witnessed {
        return Err("the kernel, or nft, notes no connections that begin, so nothing shows that the rules let this one in: confirm from \
                    the console (--console), or apply with --probe"
            .to_owned());
    }
    match ask(connection) {
        Testimony::Seen => Ok(()),
        Testimony::Unseen(why) => Err(format!(
            "{whose} was not seen to begin under the rules on trial ({why}), so it proves nothing about them: begin a new one"
        )),
        Testimony::Crowded => Err(format!(
            "{whose} may be new: so many begin that it may not have been noted. One that comes from {peer} from now on will be: log in once more \
             (ssh -o ControlPath=none)"
        )),
        Testimony::Unknown(why) => {
            Err(format!("{whose} may be new, and its beginning cannot be asked for ({why}): try again"))
        }
    }
}

/// The addresses of this host, from /proc: those of IPv4 in fib_trie, those of IPv6 in if_inet6.
pub fn own_addresses(fib_trie: &str, if_inet6: &str) -> Vec<IpAddr> {
    let mut last = None;
    let mut found = Vec::new();
    for line in fib_trie.lines().map(str::trim_start) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.trim_end().parse::<IpAddr>().ok();
        } else if line.starts_with("/32 host LOCAL") {
            found.extend(last);
        }
    }
    let v6 = |line: &str| {
        let digits = line.split_whitespace().next().filter(|digits| digits.len() == 32)?;
        u128::from_str_radix(digits, 16).ok().map(|bits| IpAddr::V6(bits.into()))
    };
    found.extend(if_inet6.lines().filter_map(v6));
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn held(peer: &str, local: &str, cookie: u64, began: u64) -> Typed {
        let connection = Connection {
            local: local.parse().unwrap(),
            peer: peer.parse().unwrap(),
            established: true,
            cookie,
            inode: 9,
        };
        let process = Above { pid: 5, name: "sshd".to_owned(), began, sockets: HashSet::from([9]) };
        Typed::Remotely(vec![(process, connection)])
    }

    #[test]
    fn only_a_fresh_connection_from_elsewhere_counts() {
        let loaded = Loaded { at: 1000, connections: vec![7], witnessed: true };
        let listening = BTreeSet::from([22]);
        let own = ["192.0.2.1".parse().unwrap()];
        let here = "192.0.2.1:22";
        for (typed, wanted) in [
            (held("198.51.100.1:4000", here, 8, 100), Ok(())),
            (held("198.51.100.1:4000", here, 7, 100), Err("was there before the rules")),
            (held("198.51.100.1:4000", here, 8, 98), Err("was there before the rules")),
            (held("127.0.0.1:4000", "127.0.0.1:22", 8, 100), Err("comes from this host itself")),
            (held("192.0.2.1:4000", here, 8, 100), Err("comes from this host itself")),
            (held("198.51.100.1:22", "192.0.2.1:4000", 8, 100), Err("was begun by this host")),
            (Typed::Unknown, Err("no process above")),
            (Typed::Console("tty1".to_owned()), Err("--console")),
            (Typed::Remotely(Vec::new()), Err("")),
        ] {
            let facts = Facts { typed: &typed, loaded: &loaded, listening: &listening, own: &own, tick: 10 };
            match (by_connection(&facts, |_| Testimony::Seen), wanted) {
                (Ok(_), Ok(())) => {}
                (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
                (found, wanted) => panic!("{found:?}, {wanted:?}"),
            }
        }
        let typed = held("198.51.100.1:4000", here, 8, 100);
        let former = Loaded { witnessed: false, ..loaded.clone() };
        for (loaded, said, part) in [
            (
                &loaded,
                Testimony::Unseen("gone"),
                "held by sshd 5, was not seen to begin under the rules on trial (gone)",
            ),
            (&loaded, Testimony::Unknown("no memory".to_owned()), "(no memory): try again"),
            (&loaded, Testimony::Crowded, "One that comes from 198.51.100.1 from now on will be"),
            (&former, Testimony::Seen, "--console"),
        ] {
            let facts = Facts { typed: &typed, loaded, listening: &listening, own: &own, tick: 10 };
            let why = by_connection(&facts, |_| said.clone()).unwrap_err();
            assert!(why.contains(part), "{why}");
        }
    }

    #[test]
    fn the_addresses_of_this_host() {
        let trie = "Main:\n     |-- 192.0.2.0\n        /24 link UNICAST\n     |-- 192.0.2.7\n        /32 host LOCAL\n";
        let v6 = "20010db8000000000000000000000007 02 40 00 80 eth0\nshort\n";
        let wanted: Vec<IpAddr> = ["192.0.2.7", "2001:db8::7"].map(|text| text.parse().unwrap()).to_vec();
        assert_eq!(own_addresses(trie, v6), wanted);
    }
}

//! The interfaces and rulesets of a network namespace, as they are now: rtnetlink, and the listing programs of nftables and iptables, which
//! change nothing. Bounded in time and size; what cannot be listed is said and makes the answers unknown.

use super::iptables;
use super::model::{Ruleset, Sees};
use super::nft;
use super::ranges::Family;
use super::space::Space;
use crate::bounded;
use crate::namespaces::Namespace;
use crate::outside::run;
use portreeve_sys::interfaces;
use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::ffi::OsStr;
use std::io;
use std::path::Path;

/// Looks into a namespace.
///
/// # Errors
/// It cannot be entered, or its interfaces cannot be listed.
pub fn space(namespace: &Namespace) -> io::Result<Space> {
    if namespace.own {
        return here();
    }
    std::thread::scope(|scope| {
        let inside = std::thread::Builder::new().spawn_scoped(scope, || {
            move_into_link_name_space(namespace.fd.as_fd(), Some(LinkNameSpaceType::Network))?;
            here()
        })?;
        inside.join().unwrap_or_else(|_| Err(io::Error::other("the thread inside of it failed")))
    })
}

/// Whether this process's namespace forwards: IPv4, IPv6.
pub fn forwards() -> (bool, bool) {
    let on = |path: &str| bounded::file(Path::new(path), 16).is_ok_and(|text| text.starts_with(b"1"));
    (on("/proc/sys/net/ipv4/ip_forward"), on("/proc/sys/net/ipv6/conf/all/forwarding"))
}

fn here() -> io::Result<Space> {
    let interfaces = interfaces::all()?;
    Ok(Space::new(interfaces, rules()))
}

fn rules() -> Ruleset {
    let mut rules = Ruleset::default();
    match interfaces::has_nftables() {
        Ok(false) => {}
        // A kernel without nftables has no rule of it.
        Err(error) if unsupported(&error) => {}
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            rules.unread.push("only root sees the firewall".to_owned());
        }
        Ok(true) | Err(_) => nftables(&mut rules),
    }
    for (family, word) in [(Family::V4, "ip"), (Family::V6, "ip6")] {
        legacy(&mut rules, family, word);
    }
    rules
}

fn unsupported(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::NOENT | Errno::OPNOTSUPP | Errno::PROTONOSUPPORT | Errno::INVAL)
    )
}

fn nftables(rules: &mut Ruleset) {
    let listed = match run(&["nft"], &["-j", "list", "ruleset"].map(OsStr::new), false) {
        Ok(text) => nft::read(&text),
        Err(why) => Err(why),
    };
    let mut listed = match listed {
        Ok(listed) => listed,
        Err(why) => {
            return rules.unread.push(format!("nftables has rules, and they cannot be listed: {why}"));
        }
    };
    for (sees, family, programs) in [
        (Sees::Ip, Family::V4, ["iptables-nft-save", "iptables-save"]),
        (Sees::Ip6, Family::V6, ["ip6tables-nft-save", "ip6tables-save"]),
    ] {
        let wanted: Vec<String> = listed
            .foreign
            .iter()
            .filter(|(word, _)| *word == sees.word())
            .map(|(_, table)| table.clone())
            .collect();
        if wanted.is_empty() {
            continue;
        }
        // What iptables-nft cannot tell stays as nft shows it: with unknown parts.
        let Ok(text) = run(&programs, &[], false) else { continue };
        let saved = iptables::read(&String::from_utf8_lossy(&text), family);
        let told: Vec<String> = wanted.into_iter().filter(|table| saved.tables.contains(table)).collect();
        let mut only = saved.ruleset;
        let others: Vec<String> =
            saved.tables.iter().filter(|table| !told.contains(table)).cloned().collect();
        only.forget(sees, &others);
        listed.ruleset.forget(sees, &told);
        listed.ruleset.join(only);
    }
    rules.join(listed.ruleset);
}

/// The tables of the older iptables, which nft does not show.
fn legacy(rules: &mut Ruleset, family: Family, word: &str) {
    let names = Path::new("/proc/thread-self/net").join(format!("{word}_tables_names"));
    match bounded::file(&names, 4096) {
        Ok(names) if !names.is_empty() => {}
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return rules.unread.push("only root sees the firewall".to_owned());
        }
        _ => return,
    }
    let programs = [format!("{word}tables-legacy-save"), format!("{word}tables-save")];
    match run(&[&programs[0], &programs[1]], &[], false) {
        Ok(text) => {
            rules.join(iptables::read(&String::from_utf8_lossy(&text), family).ruleset.renamed("legacy"))
        }
        Err(why) => {
            rules.unread.push(format!("iptables (legacy) has rules, and they cannot be listed: {why}"))
        }
    }
}

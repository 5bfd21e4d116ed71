//! What the kernel is to drop, by the list of bans: pure. A network of the list is one of the kernel's, except that who tripped a sensor
//! over IPv6 is dropped with the network that one subscriber has, unless somebody protected lies in it. Decides nothing
//! about who is banned or protected.

use portreeve_policy::{Ban, Denied, Prefix, later};
use std::time::Duration;

/// What the kernel gets: whom to drop until when, and whom no more.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct KernelChanges {
    /// `None` is for ever.
    pub bans: Vec<(Prefix, Option<Duration>)>,
    /// Whom it may or may not have.
    pub pardons: Vec<Prefix>,
}

/// What the subscriber has whose one address this is, where that is more.
fn subscriber(network: &Prefix) -> Option<Prefix> {
    let whole = Prefix::subscriber(network.address());
    (network.is_host() && whole != *network).then_some(whole)
}

/// The networks that the kernel may have for one of the list.
pub fn parts(network: &Prefix) -> impl Iterator<Item = Prefix> + use<> {
    [Some(*network), subscriber(network)].into_iter().flatten()
}

/// Until when the kernel is to drop exactly this network, the inner `None` being for ever; `None` when it is not.
pub fn wanted(
    denied: &Denied,
    protects: &mut impl FnMut(&Prefix) -> bool,
    network: &Prefix,
    now: Duration,
) -> Option<Option<Duration>> {
    let own = denied.get(*network).filter(|ban| ban.lasts(now) && !ban.inside);
    // One that tripped a sensor is banned with its network, where that can be.
    let tripped = own.is_some_and(|ban| ban.term.is_some());
    let mut end = own.map(|ban| ban.until);
    if tripped
        && let Some(whole) = subscriber(network)
        && !protects(&whole)
    {
        return None;
    }
    if !network.is_host() && network.address().is_ipv6() {
        let of_it = |host: &Prefix, ban: &Ban| ban.term.is_some() && subscriber(host) == Some(*network);
        let inside = denied.inside(*network).filter(|(host, ban)| ban.lasts(now) && of_it(host, ban));
        end = inside.map(|(_, ban)| ban.until).chain(end).reduce(later);
    }
    end.filter(|_| !protects(network))
}

/// What changes in the kernel because of these networks of the list.
pub fn changes(
    denied: &Denied,
    protects: &mut impl FnMut(&Prefix) -> bool,
    networks: &[Prefix],
    now: Duration,
) -> KernelChanges {
    let mut changes = KernelChanges::default();
    for part in networks.iter().flat_map(parts) {
        match wanted(denied, protects, &part, now) {
            Some(until) => changes.bans.push((part, until)),
            None => changes.pardons.push(part),
        }
    }
    changes
}

#[cfg(test)]
#[path = "ban_kernel/tests.rs"]
mod tests;

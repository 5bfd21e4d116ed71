//! With whom the sockets that a program makes may exchange packets (systemd.resource-control(5)). Pure: the kernel's part is `sys`'s.

use super::key::Word;
use crate::systemd::Network;

/// The most networks of both lists together, those left out that lie in another of the same list: each is looked at for each packet.
pub const MOST_NETWORKS: usize = 512;

/// What is allowed wins over what is denied; packets of all others pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// `IPAddressAllow`.
    pub allow: Vec<Network>,
    /// `IPAddressDeny`.
    pub deny: Vec<Network>,
}

/// The names that stand for networks.
pub(super) const NAMES: [&str; 4] = ["any", "localhost", "link-local", "multicast"];

/// IPv4 as mapped IPv6, which stands on no packet: what is meant.
pub(super) fn mapped(networks: &[Network]) -> Option<String> {
    networks.iter().find_map(|network| {
        let std::net::IpAddr::V6(address) = network.address() else { return None };
        let length = network.length().checked_sub(96)?;
        let address = address.to_ipv4_mapped()?;
        Some(if length == 32 { address.to_string() } else { format!("{address}/{length}") })
    })
}

/// What words come to; `None` where nothing is denied.
///
/// # Errors
/// A sentence, where that is too much or not what was meant.
pub(super) fn addresses(words: &[Word]) -> Result<Option<Addresses>, String> {
    let of = |key: &str| {
        let texts = words.iter().filter(|word| word.key == key).map(|word| word.value.as_str());
        least(texts.filter_map(Network::parse).flatten().collect())
    };
    let addresses = Addresses { allow: of("IPAddressAllow"), deny: of("IPAddressDeny") };
    let count = addresses.allow.len() + addresses.deny.len();
    if addresses.deny.is_empty() {
        let meant = "`IPAddressAllow` without an `IPAddressDeny` denies nobody; for these alone add `IPAddressDeny=any`";
        return if addresses.allow.is_empty() { Ok(None) } else { Err(meant.to_owned()) };
    }
    if count > MOST_NETWORKS {
        return Err(format!(
            "`IPAddressAllow` and `IPAddressDeny` come to {count} networks, and {MOST_NETWORKS} are the most"
        ));
    }
    Ok(Some(addresses))
}

/// Each network once, and none that lies in another.
fn least(mut networks: Vec<Network>) -> Vec<Network> {
    networks.sort_unstable();
    networks.dedup();
    // Of two that begin alike the larger stands first, and what lies in one stands directly behind it.
    let mut left: Vec<Network> = Vec::with_capacity(networks.len());
    for network in networks {
        if !left.last().is_some_and(|last| last.holds(network)) {
            left.push(network);
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Result<Option<(String, String)>, String> {
        let words: Vec<_> = words.iter().map(|word| super::super::word(word).unwrap()).collect();
        let text = |all: &[Network]| all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        addresses(&words).map(|all| all.map(|all| (text(&all.allow), text(&all.deny))))
    }

    #[test]
    fn lists_are_as_short_as_they_can_be() {
        let lists = |allow: &str, deny: &str| Ok(Some((allow.to_owned(), deny.to_owned())));
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&["IPAddressDeny=any", "IPAddressDeny=10.0.0.1"]), lists("", "0.0.0.0/0 ::/0"));
        assert_eq!(
            of(&[
                "IPAddressAllow=10.1.2.3/8",
                "IPAddressDeny=link-local",
                "IPAddressAllow=10.0.0.0/9",
                "IPAddressAllow=2001:db8::1",
                "IPAddressAllow=localhost",
                "IPAddressDeny=multicast",
                "IPAddressAllow=9.0.0.0/8",
            ]),
            lists(
                "9.0.0.0/8 10.0.0.0/8 127.0.0.0/8 ::1 2001:db8::1",
                "169.254.0.0/16 224.0.0.0/4 fe80::/64 ff00::/8"
            )
        );
        let why = of(&["IPAddressAllow=any"]).unwrap_err();
        assert!(why.contains("denies nobody"), "{why}");
        let many = |count: u32| {
            let one = |n: u32| format!("IPAddressDeny=10.{}.{}.0/24", n >> 8, n & 255);
            let words: Vec<_> = (0..count).map(one).collect();
            of(&words.iter().map(String::as_str).collect::<Vec<_>>()).map(|all| all.is_some())
        };
        assert_eq!(many(512), Ok(true));
        assert_eq!(
            many(513),
            Err("`IPAddressAllow` and `IPAddressDeny` come to 513 networks, and 512 are the most".to_owned())
        );
    }
}

//! only_from and no_access as `IPAddressAllow=` and `IPAddressDeny=`. What is allowed wins over what is denied there, and there
//! are no names: what cannot be said of who is allowed is left out, of who is denied it switches the service off.

use super::networks::{Network, without};
use crate::address::{Parsed, Pattern, parse};
use crate::convert::Account;
use crate::host::Host;

/// The lines; none where everybody is allowed.
pub(super) fn write(account: &mut Account<'_>, host: &dyn Host) -> Vec<String> {
    let only = account.value("only_from");
    let no = account.value("no_access");
    let allowed = only.map(|value| {
        let (networks, names) = networks(value, host);
        if !names.is_empty() {
            let text = format!("systemd asks for no names: `{}` is not let in", names.join(" "));
            account.lost("only_from", text);
        }
        networks
    });
    let denied = no.map(|value| {
        let (networks, names) = networks(value, host);
        if !names.is_empty() {
            account.opens(
                "no_access",
                format!("systemd asks for no names: `{}` is not kept out", names.join(" ")),
            );
        }
        networks
    });
    let line = |key: &str, networks: &[Network]| {
        networks.iter().map(|network| format!("{key}={network}")).collect::<Vec<_>>()
    };
    match (allowed, denied) {
        (None, None) => Vec::new(),
        (None, Some(denied)) => line("IPAddressDeny", &denied),
        (Some(allowed), denied) => {
            let denied = denied.unwrap_or_default();
            let Some(left) = without(&allowed, &denied) else {
                account.opens("only_from", "it comes to too many networks");
                return vec!["IPAddressDeny=any".to_owned()];
            };
            let allowed = if denied.is_empty() { allowed } else { left };
            if no.is_some() {
                account.told("no_access", "`no_access` is taken out of `only_from`");
                account.told("only_from", "what `no_access` names is taken out of `only_from`");
            }
            let mut lines = line("IPAddressAllow", &allowed);
            lines.push("IPAddressDeny=any".to_owned());
            lines
        }
    }
}

/// The networks of an address list, and its names.
fn networks<'a>(value: &'a str, host: &dyn Host) -> (Vec<Network>, Vec<&'a str>) {
    let (mut networks, mut names) = (Vec::new(), Vec::new());
    for word in value.split_whitespace() {
        if let Parsed::Patterns(patterns, _) = parse(word, host) {
            for pattern in patterns {
                match pattern {
                    Pattern::V4 { address, length, .. } => networks.push(Network::v4(address, length)),
                    Pattern::V6 { address, length, .. } => networks.push(Network::v6(address, length)),
                    Pattern::Name(_) => names.push(word),
                }
            }
        }
    }
    (networks, names)
}

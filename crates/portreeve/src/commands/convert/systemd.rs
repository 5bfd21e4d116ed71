//! Decisions as drop-ins of systemd's units. IPAddressAllow= and IPAddressDeny= know no order (what is allowed wins), so the
//! decisions are laid flat first: whom the tables refuse in the end.

use super::decisions::{Decisions, LeftOut};
use super::service::Service;
use crate::ranges::{Addresses, Family};
use std::fmt::{self, Write};

/// Writes the drop-ins, one for each unit. Ports of one unit must agree.
pub(super) fn write(
    text: &mut String,
    services: &[(Service, Decisions)],
    left_out: &mut Vec<LeftOut>,
) -> fmt::Result {
    let mut units: Vec<String> = services.iter().map(|(service, _)| service.unit()).collect();
    units.sort();
    units.dedup();
    for unit in units {
        let mut of = services.iter().filter(|(service, _)| service.unit() == unit).map(|(_, found)| found);
        let Some(first) = of.next() else { continue };
        let refused = first.refused();
        if of.any(|other| other.refused() != refused) {
            let reason = format!("{unit}: its ports have different rules, and a unit has one list for all");
            left_out.push(LeftOut { file: String::new(), line: 0, reason });
            continue;
        }
        unit_of(text, &unit, first, &refused)?;
    }
    Ok(())
}

fn unit_of(text: &mut String, unit: &str, decisions: &Decisions, refused: &Addresses) -> fmt::Result {
    writeln!(text, "\n# /etc/systemd/system/{unit}.d/hosts-access.conf\n[Service]")?;
    let (allow, deny) = match decisions.steps.as_slice() {
        [] => return writeln!(text, "# nobody is refused"),
        [deny] => (Addresses::default(), deny.clients.clone()),
        // What is allowed wins here too.
        [allow, deny] => (allow.clients.clone(), deny.clients.clone()),
        _ => {
            let allowed = Addresses::all().without(refused);
            let networks = |addresses: &Addresses| {
                let count = |family: &Family| addresses.of(*family).networks(*family).len();
                Family::BOTH.iter().map(count).sum::<usize>()
            };
            if networks(&allowed) < networks(refused) {
                (allowed, Addresses::all())
            } else {
                (Addresses::default(), refused.clone())
            }
        }
    };
    list(text, "IPAddressAllow", &allow)?;
    if deny == Addresses::all() {
        writeln!(text, "IPAddressDeny=any")
    } else {
        list(text, "IPAddressDeny", &deny)
    }
}

fn list(text: &mut String, key: &str, addresses: &Addresses) -> fmt::Result {
    for family in Family::BOTH {
        for (net, length) in addresses.of(family).networks(family) {
            let behind = if length == family.bits() { String::new() } else { format!("/{length}") };
            writeln!(text, "{key}={}{behind}", family.text(net))?;
        }
    }
    Ok(())
}

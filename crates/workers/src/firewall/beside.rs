//! What stands beside our table: the tables of others in nf_tables, and those of iptables-legacy. Only looked at, never touched, and by who
//! asks about bans, not by the worker. None of it lets in whom our table drops, but for flow tables, which are said so.

use super::attribute::Attributes;
use super::netlink::Netlink;
use super::table::{INET, TABLE, kind};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// Tables that are named at most.
const MOST: usize = 1000;

/// What others have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beside {
    /// Tables of nf_tables, as nft(8) names them: `ip filter`.
    pub tables: Vec<String>,
    /// Chains of Docker and Podman in them.
    pub of_containers: Vec<String>,
    /// Flow tables: connections that they forward pass no other chain.
    pub flow_tables: Vec<String>,
    /// Tables of iptables-legacy: `ip filter`, `ip6 nat`.
    pub legacy: Vec<String>,
}

/// Looks at the network namespace of the calling thread, and at `root`/proc.
///
/// # Errors
/// No privilege, or no nf_tables.
pub fn beside(root: &Path) -> io::Result<Beside> {
    let mut netlink = Netlink::over(portreeve_sys::netlink::asking()?);
    let mut seen = Beside::default();
    let mut tables: BTreeMap<(u8, String), ()> = BTreeMap::new();
    let own = |family: u8, table: &str| family == INET && table == TABLE;
    netlink.list(kind::GET_TABLE, |family, attributes: Attributes<'_>| {
        if let Some(table) = attributes.str(1).filter(|table| !own(family, table) && tables.len() < MOST) {
            tables.insert((family, table.to_owned()), ());
        }
    })?;
    seen.tables = tables.keys().map(|(family, table)| named(*family, table)).collect();
    netlink.list(kind::GET_CHAIN, |family, attributes| {
        let (Some(table), Some(chain)) = (attributes.str(1), attributes.str(3)) else { return };
        let of_containers = chain.starts_with("DOCKER") || chain.starts_with("NETAVARK");
        if of_containers && seen.of_containers.len() < MOST {
            seen.of_containers.push(format!("{} {chain}", named(family, table)));
        }
    })?;
    let flows = netlink.list(kind::GET_FLOW_TABLE, |family, attributes| {
        let (Some(table), Some(flow)) = (attributes.str(1), attributes.str(2)) else { return };
        if seen.flow_tables.len() < MOST {
            seen.flow_tables.push(format!("{} {flow}", named(family, table)));
        }
    });
    // A kernel before 4.16 has none.
    drop(flows);
    for (file, family) in [("ip_tables_names", "ip"), ("ip6_tables_names", "ip6")] {
        let text = std::fs::read_to_string(root.join("proc/net").join(file)).unwrap_or_default();
        seen.legacy.extend(text.lines().take(MOST).map(|table| format!("{family} {table}")));
    }
    Ok(seen)
}

fn named(family: u8, table: &str) -> String {
    let family = match family {
        INET => "inet",
        2 => "ip",
        3 => "arp",
        5 => "netdev",
        7 => "bridge",
        10 => "ip6",
        _ => "?",
    };
    format!("{family} {table}")
}

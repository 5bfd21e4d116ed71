//! What our table of nf_tables consists of, as messages: the table, a chain that sees every packet before anything else does,
//! and for each length of a network that is banned a set and the rule that asks it. Decides nothing about who is banned.
//!
//! One set for one length: a packet's source is cut to the length and looked up by hash, so a ban costs the same as the first
//! and the millionth, two bans can never overlap, and each ends by its own clock. (Sets of intervals refuse what overlaps.)
//!
//! ```text
//! table inet portreeve {
//!     set v4_32 { type ipv4_addr; flags timeout; }
//!     chain v4 { ip saddr @v4_32 counter drop; }
//!     chain bans { type filter hook prerouting priority raw; policy accept; iif lo accept; meta nfproto ipv4 jump v4; … }
//! }
//! ```

use super::attribute::{APPEND, Attributes, CREATE, Messages, REQUEST};
use portreeve_policy::Prefix;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// The name of our table, of family inet.
pub const TABLE: &str = "portreeve";
/// The chain that the kernel calls.
const BASE: &str = "bans";
/// The family of the table.
pub(super) const INET: u8 = 1;
const SUBSYSTEM: u16 = 10 << 8;
const HOOK_PREROUTING: u32 = 0;
/// Before connections are tracked: a banned packet costs no entry there.
const PRIORITY_RAW: i32 = -300;
/// The longest time of an element: beyond a century the kernel's own arithmetic is not to be tried.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Numbers of messages (linux/netfilter/nf_tables.h).
pub(super) mod kind {
    use super::SUBSYSTEM;
    pub(crate) const NEW_TABLE: u16 = SUBSYSTEM;
    pub(crate) const GET_TABLE: u16 = SUBSYSTEM | 1;
    pub(crate) const DEL_TABLE: u16 = SUBSYSTEM | 2;
    pub(crate) const NEW_CHAIN: u16 = SUBSYSTEM | 3;
    pub(crate) const GET_CHAIN: u16 = SUBSYSTEM | 4;
    pub(crate) const NEW_RULE: u16 = SUBSYSTEM | 6;
    pub(crate) const GET_RULE: u16 = SUBSYSTEM | 7;
    pub(crate) const NEW_SET: u16 = SUBSYSTEM | 9;
    pub(crate) const NEW_ELEMENTS: u16 = SUBSYSTEM | 12;
    pub(crate) const GET_ELEMENTS: u16 = SUBSYSTEM | 13;
    pub(crate) const DEL_ELEMENTS: u16 = SUBSYSTEM | 14;
    pub(crate) const GENERATION: u16 = SUBSYSTEM | 15;
    pub(crate) const GET_GENERATION: u16 = SUBSYSTEM | 16;
    pub(crate) const GET_FLOW_TABLE: u16 = SUBSYSTEM | 23;
    pub(crate) const BATCH_BEGIN: u16 = 0x10;
    pub(crate) const BATCH_END: u16 = 0x11;
}

/// The table is there, and does nothing.
pub(super) const DORMANT: u32 = 1;
/// Nobody but the socket that made the table may change it.
pub(super) const OWNER: u32 = 2;
/// It stays when that socket is closed.
pub(super) const PERSIST: u32 = 4;

/// The set of a network's length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kin {
    v6: bool,
    length: u8,
}

impl Kin {
    pub(super) fn of(prefix: &Prefix) -> Self {
        Kin { v6: prefix.address().is_ipv6(), length: prefix.len() }
    }

    pub(super) fn set(self) -> String {
        format!("{}_{}", self.chain(), self.length)
    }

    fn chain(self) -> &'static str {
        if self.v6 { "v6" } else { "v4" }
    }

    fn bits(self) -> u8 {
        if self.v6 { 128 } else { 32 }
    }

    /// The network of a key of this set.
    pub(super) fn prefix(self, key: &[u8]) -> Option<Prefix> {
        let address = match self.v6 {
            true => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(key).ok()?)),
            false => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(key).ok()?)),
        };
        Some(Prefix::around(address, self.length)).filter(|prefix| Kin::of(prefix) == self)
    }

    /// The mask of this length.
    fn mask(self) -> Vec<u8> {
        match Prefix::around(
            if self.v6 { IpAddr::V6(u128::MAX.into()) } else { IpAddr::V4(u32::MAX.into()) },
            self.length,
        )
        .address()
        {
            IpAddr::V4(mask) => mask.octets().to_vec(),
            IpAddr::V6(mask) => mask.octets().to_vec(),
        }
    }
}

impl Messages {
    /// Everything between this and [`Messages::batch_end`] takes effect at once, or not at all.
    pub(super) fn batch_begin(&mut self) {
        self.begin(kind::BATCH_BEGIN, REQUEST, 0, SUBSYSTEM >> 8);
    }

    pub(super) fn batch_end(&mut self) {
        self.begin(kind::BATCH_END, REQUEST, 0, SUBSYSTEM >> 8);
    }

    /// The table, with these flags.
    pub(super) fn new_table(&mut self, flags: u32) {
        self.begin(kind::NEW_TABLE, REQUEST | CREATE, INET, 0);
        self.put_str(1, TABLE);
        self.put_u32(2, flags);
    }

    pub(super) fn delete_table(&mut self) {
        self.begin(kind::DEL_TABLE, REQUEST, INET, 0);
        self.put_str(1, TABLE);
    }

    /// The chains, empty but for the way from the first into the others.
    pub(super) fn new_chains(&mut self) {
        for chain in ["v4", "v6"] {
            self.begin(kind::NEW_CHAIN, REQUEST | CREATE, INET, 0);
            self.put_str(1, TABLE);
            self.put_str(3, chain);
        }
        self.begin(kind::NEW_CHAIN, REQUEST | CREATE, INET, 0);
        self.put_str(1, TABLE);
        self.put_str(3, BASE);
        self.nest(4, |out| {
            out.put_u32(1, HOOK_PREROUTING);
            out.put(2, &PRIORITY_RAW.to_be_bytes());
        });
        self.put_u32(5, VERDICT_ACCEPT);
        self.put_str(7, "filter");
        // Whatever is banned: this host talks to itself.
        self.rule(BASE, |out| {
            out.expression("meta", |out| {
                out.put_u32(1, REGISTER);
                out.put_u32(2, META_IIF);
            });
            out.expression("cmp", |out| {
                out.put_u32(1, REGISTER);
                out.put_u32(2, 0);
                out.nest(3, |out| out.put(1, &LOOPBACK.to_ne_bytes()));
            });
            out.verdict(VERDICT_ACCEPT, None);
        });
        for (protocol, chain) in [(NFPROTO_IPV4, "v4"), (NFPROTO_IPV6, "v6")] {
            self.rule(BASE, |out| {
                out.only(protocol);
                out.verdict(VERDICT_JUMP, Some(chain));
            });
        }
    }

    /// A set, and the rule that drops whose source is in it.
    pub(super) fn new_set(&mut self, kin: Kin) {
        let (name, bytes) = (kin.set(), u32::from(kin.bits() / 8));
        self.begin(kind::NEW_SET, REQUEST | CREATE, INET, 0);
        self.put_str(1, TABLE);
        self.put_str(2, &name);
        self.put_u32(3, SET_TIMEOUT);
        self.put_u32(4, if kin.v6 { TYPE_IPV6 } else { TYPE_IPV4 });
        self.put_u32(5, bytes);
        // Only within the batch; by name it is found as well, but the kernel asks for one.
        self.put_u32(10, u32::from(kin.v6) << 8 | u32::from(kin.length));
        self.rule(kin.chain(), |out| {
            // The chain sees no other; said again, so that nft(8) can show the rule as people write it.
            out.only(if kin.v6 { NFPROTO_IPV6 } else { NFPROTO_IPV4 });
            out.expression("payload", |out| {
                out.put_u32(1, REGISTER);
                out.put_u32(2, NETWORK_HEADER);
                out.put_u32(3, if kin.v6 { 8 } else { 12 });
                out.put_u32(4, bytes);
            });
            if kin.length < kin.bits() {
                out.expression("bitwise", |out| {
                    out.put_u32(1, REGISTER);
                    out.put_u32(2, REGISTER);
                    out.put_u32(3, bytes);
                    out.nest(4, |out| out.put(1, &kin.mask()));
                    out.nest(5, |out| out.put(1, &vec![0; kin.mask().len()]));
                });
            }
            out.expression("lookup", |out| {
                out.put_str(1, &name);
                out.put_u32(2, REGISTER);
            });
            out.expression("counter", |out| {
                out.put_u64(1, 0);
                out.put_u64(2, 0);
            });
            out.verdict(VERDICT_DROP, None);
        });
    }

    fn rule(&mut self, chain: &str, fill: impl FnOnce(&mut Self)) {
        self.begin(kind::NEW_RULE, REQUEST | CREATE | APPEND, INET, 0);
        self.put_str(1, TABLE);
        self.put_str(2, chain);
        self.nest(4, fill);
    }

    fn expression(&mut self, name: &str, fill: impl FnOnce(&mut Self)) {
        self.nest(1, |out| {
            out.put_str(1, name);
            out.nest(2, fill);
        });
    }

    /// Goes on with packets of this protocol alone.
    fn only(&mut self, protocol: u8) {
        self.expression("meta", |out| {
            out.put_u32(1, REGISTER);
            out.put_u32(2, META_NFPROTO);
        });
        self.expression("cmp", |out| {
            out.put_u32(1, REGISTER);
            out.put_u32(2, 0);
            out.nest(3, |out| out.put(1, &[protocol]));
        });
    }

    fn verdict(&mut self, code: u32, chain: Option<&str>) {
        self.expression("immediate", |out| {
            out.put_u32(1, 0);
            out.nest(2, |out| {
                out.nest(2, |out| {
                    out.put_u32(1, code);
                    if let Some(chain) = chain {
                        out.put_str(2, chain);
                    }
                });
            });
        });
    }

    /// A set of our table, and keys of it: a question for these alone.
    pub(super) fn keys<'a>(&mut self, kin: Kin, prefixes: impl Iterator<Item = &'a Prefix>) {
        self.put_str(1, TABLE);
        self.put_str(2, &kin.set());
        self.nest(3, |out| {
            for prefix in prefixes {
                out.nest(1, |out| out.key(prefix));
            }
        });
    }

    fn key(&mut self, prefix: &Prefix) {
        self.nest(1, |out| match prefix.address() {
            IpAddr::V4(address) => out.put(1, &address.octets()),
            IpAddr::V6(address) => out.put(1, &address.octets()),
        });
    }

    /// Elements of one set, in as many messages as they need; each with the time that is left of it.
    pub(super) fn elements<'a>(
        &mut self,
        add: bool,
        kin: Kin,
        elements: impl Iterator<Item = (&'a Prefix, Option<Duration>)>,
    ) {
        let mut list = None;
        for (prefix, left) in elements {
            // An attribute's length has 16 bits.
            if self.message_len() > 60_000
                && let Some(list) = list.take()
            {
                self.close(list);
            }
            let list = *list.get_or_insert_with(|| {
                let (kind, flags) =
                    if add { (kind::NEW_ELEMENTS, REQUEST | CREATE) } else { (kind::DEL_ELEMENTS, REQUEST) };
                self.begin(kind, flags, INET, 0);
                self.put_str(1, TABLE);
                self.put_str(2, &kin.set());
                self.open(3)
            });
            let _ = list;
            self.nest(1, |out| {
                out.key(prefix);
                if let Some(left) = left.filter(|_| add) {
                    let millis = left.clamp(Duration::from_millis(1), LONGEST).as_millis();
                    out.put_u64(4, u64::try_from(millis).unwrap_or(u64::MAX));
                }
            });
        }
        if let Some(list) = list {
            self.close(list);
        }
    }
}

/// The elements in one message of a dump: key, and milliseconds left where it has an end.
pub(super) fn elements_in(attributes: Attributes<'_>) -> impl Iterator<Item = (&[u8], Option<u64>)> {
    attributes.nested(3).into_iter().flatten().filter_map(|(_, element)| {
        let element = Attributes(element);
        Some((element.nested(1)?.get(1)?, element.u64(5).or_else(|| element.u64(4))))
    })
}

const REGISTER: u32 = 1;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
const META_NFPROTO: u32 = 15;
const META_IIF: u32 = 4;
/// The index of the loopback interface, in every network namespace.
const LOOPBACK: u32 = 1;
const NETWORK_HEADER: u32 = 1;
const SET_TIMEOUT: u32 = 0x10;
/// nft's numbers for the types, which it shows sets by.
const TYPE_IPV4: u32 = 7;
const TYPE_IPV6: u32 = 8;
const VERDICT_DROP: u32 = 0;
const VERDICT_ACCEPT: u32 = 1;
const VERDICT_JUMP: u32 = -3i32 as u32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::attribute::messages;

    #[test]
    fn a_set_has_the_name_of_its_length() {
        for (prefix, name) in
            [("192.0.2.1", "v4_32"), ("10.0.0.0/8", "v4_8"), ("2001:db8::/64", "v6_64"), ("::/0", "v6_0")]
        {
            let kin = Kin::of(&prefix.parse().unwrap());
            assert_eq!(kin.set(), name);
        }
    }

    #[test]
    fn many_elements_are_many_messages_and_each_holds_its_own() {
        let all: Vec<Prefix> = (0..10_000u32).map(|n| Prefix::host(IpAddr::V4(n.into()))).collect();
        let mut out = Messages::starting_at(1);
        let kin = Kin::of(&all[0]);
        out.elements(true, kin, all.iter().map(|prefix| (prefix, Some(Duration::from_secs(1)))));
        let read: Vec<Prefix> = messages(out.bytes())
            .flat_map(|message| {
                elements_in(message.attributes()).filter_map(|(key, _)| kin.prefix(key)).collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(read, all);
        assert!(messages(out.bytes()).count() > 3);
        assert!(messages(out.bytes()).all(|message| message.body.len() < 65_535));
    }
}

//! What an operator orders about bans over the control socket: bans, pardons, lists, asks why. Decides what may be banned by
//! hand: nothing wider than a bound, nobody who is protected. Who may order is the control socket's to decide.

use crate::ban_list::millis_until;
use crate::control::failure;
use crate::json::Json;
use crate::supervisor::Supervisor;
use portreeve_conf::Level;
use portreeve_policy::{Ban, MOST_BANS, Prefix};
use portreeve_workers::protocol::{Banned, EventKind, MAX_REASON};
use std::time::Duration;

/// The widest networks that are banned by hand: the fewest leading bits.
const WIDEST_V4: u8 = 8;
const WIDEST_V6: u8 = 19;
/// Entries in one answer: it is written while nobody is served.
const MOST_LISTED: usize = 2000;

/// Who orders a ban, and how.
#[derive(Clone, Copy, Debug)]
pub struct By {
    /// The user at the control socket, where that is known.
    pub uid: Option<u32>,
    /// What the network has running here ends.
    pub cut: bool,
}

/// Microseconds, as events have them.
pub fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// Why a network is not banned by hand for its width alone.
pub fn too_wide(network: &Prefix) -> Option<String> {
    let (widest, family) =
        if network.address().is_ipv4() { (WIDEST_V4, "IPv4") } else { (WIDEST_V6, "IPv6") };
    (network.len() < widest).then(|| {
        format!("{network} is too wide: of {family} a ban takes a network of /{widest} or longer, since a wider one is no one's")
    })
}

/// How long: seconds, or `forever`, which is `None`.
pub fn term(word: &str) -> Result<Option<Duration>, String> {
    if word == "forever" {
        return Ok(None);
    }
    let seconds = word.parse().ok().filter(|seconds| *seconds > 0).map(Duration::from_secs);
    seconds
        .map(Some)
        .ok_or_else(|| format!("{word:?} is no time: seconds from now, or `forever`, was expected"))
}

impl Supervisor {
    /// `ban NETWORK forever|SECONDS [REASON...]`, or `cut` with the same words.
    pub fn order_ban(&mut self, by: By, network: &str, time: &str, reason: &[&str]) -> String {
        match self.ban_by_hand(by, network, time, &reason.join(" ")) {
            Ok(answer) => answer,
            Err(why) => failure(&why),
        }
    }

    fn ban_by_hand(&mut self, by: By, network: &str, time: &str, reason: &str) -> Result<String, String> {
        let network: Prefix = network.parse().map_err(|bad: portreeve_policy::BadPrefix| bad.to_string())?;
        let time = term(time)?;
        if reason.len() > MAX_REASON {
            return Err(format!("the reason has {} bytes; {MAX_REASON} are the most", reason.len()));
        }
        self.bannable_by_hand(&network)?;
        let now = self.stamp.mono();
        self.drop_ended_bans();
        let until = time.map(|time| now.saturating_add(time));
        let replaced = self.host.denied.get(network).is_some();
        let added = self.host.denied.deny(network, Ban::by_hand(until, reason));
        added.map_err(|full| full.to_string())?;
        self.spare_from_import(Some(network));
        self.bans_changed(&[network]);
        self.keep_bans(&[network]);
        let banned = Banned { network, origin: "operator", uid: by.uid, for_us: time.map(micros) };
        self.announcer.of_ban(&self.stamp, EventKind::Ban, banned, reason);
        let ended = by.cut.then(|| self.cut_off(&[network]));
        let span =
            time.map_or_else(|| "until it is removed".to_owned(), |time| format!("for {} s", time.as_secs()));
        let what_for = if reason.is_empty() { String::new() } else { format!(": {reason}") };
        let who = by.uid.map_or_else(String::new, |uid| format!(" of uid {uid}"));
        self.say(Level::Notice, &format!("{network} is banned by command{who} {span}{what_for}"));
        Ok(Json::object(|j| {
            j.plain("ok", true);
            j.text("network", network);
            j.optional("seconds_left", time.map(|time| time.as_secs()));
            j.plain("replaced", replaced);
            j.optional("ended", ended);
            self.bans_view(j);
            self.not_kept_view(j);
        }))
    }

    /// Whether an operator may ban this.
    pub fn bannable_by_hand(&mut self, network: &Prefix) -> Result<(), String> {
        let why = too_wide(network)
            .or_else(|| self.protected_in(network).map(|why| format!("{network} is protected: {why}")));
        why.map_or(Ok(()), Err)
    }

    /// `unban NETWORK`.
    pub fn order_unban(&mut self, uid: Option<u32>, which: &str) -> String {
        self.drop_ended_bans();
        let network = match which.parse::<Prefix>() {
            Ok(network) => network,
            Err(bad) => return failure(&format!("{bad}; an address, a network or `all` was expected")),
        };
        let was_to_come = self.spare_from_import(Some(network));
        if !was_to_come && self.host.denied.get(network).is_none() {
            let over: Vec<String> =
                self.host.denied.of(network.address()).map(|(over, _)| over.to_string()).collect();
            let hint = match over.is_empty() {
                true => String::new(),
                false => format!("; it lies in {}, which is", over.join(" and in ")),
            };
            return failure(&format!("{network} is not banned by itself{hint}"));
        }
        self.host.denied.remove(network);
        self.note_pardons(&[network], uid);
        self.bans_changed(&[network]);
        self.keep_bans(&[network]);
        self.book.pardon(&network);
        self.say(Level::Notice, "1 ban(s) removed by command");
        Json::object(|j| {
            j.plain("ok", true);
            j.plain("removed", 1);
        })
    }

    /// `bans [after NETWORK]`: a part of the list, and where the next one begins.
    pub fn list_bans(&mut self, after: Option<&str>) -> String {
        let after = match after.map(str::parse::<Prefix>) {
            None => None,
            Some(Ok(network)) => Some(network),
            Some(Err(bad)) => return failure(&bad.to_string()),
        };
        let part: Vec<(Prefix, Ban)> = self
            .host
            .denied
            .after(after)
            .take(MOST_LISTED)
            .map(|(network, ban)| (network, ban.clone()))
            .collect();
        Json::object(|j| {
            j.plain("ok", true);
            j.plain("held", self.host.denied.len());
            j.plain("most", MOST_BANS);
            self.bans_view(j);
            self.not_kept_view(j);
            self.evidence_status(j);
            if let Some((last, _)) = part.last().filter(|_| part.len() == MOST_LISTED) {
                j.text("next", last);
            }
            j.list("list", |j| {
                for (network, ban) in &part {
                    j.item(|j| self.ban_view(j, *network, ban));
                }
            });
        })
    }

    /// `why ADDRESS`: the bans that hold it, and whether anything protects it.
    pub fn why_banned(&mut self, address: &str) -> String {
        let Ok(address) = address.parse::<std::net::IpAddr>() else {
            return failure(&format!("{address:?} is no IPv4 or IPv6 address"));
        };
        let now = self.stamp.mono();
        let protected = self.protected_in(&Prefix::host(address));
        let bans: Vec<(Prefix, Ban)> = self
            .host
            .denied
            .of(address)
            .filter(|(_, ban)| ban.lasts(now))
            .map(|(network, ban)| (network, ban.clone()))
            .collect();
        let exempt = self.host.protect.matches_address(address);
        Json::object(|j| {
            j.plain("ok", true);
            j.text("address", address.to_canonical());
            j.plain("banned", !bans.is_empty() && !exempt);
            if let Some(why) = protected {
                j.text("protected", why);
            }
            self.evidence_view(j, address);
            j.list("list", |j| {
                for (network, ban) in &bans {
                    j.item(|j| self.ban_view(j, *network, ban));
                }
            });
        })
    }

    /// Says why bans are not kept, where they are not.
    pub fn not_kept_view(&self, j: &mut Json) {
        if let Some(why) = self.not_kept() {
            j.text("not_kept", why);
        }
    }

    fn ban_view(&self, j: &mut Json, network: Prefix, ban: &Ban) {
        let now = self.stamp.mono();
        j.text("network", network);
        j.text("by", ban.maker());
        j.text("reason", &ban.reason);
        j.optional("seconds_left", ban.until.map(|until| millis_until(until, now) / 1000));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_everybody_is_not_banned() {
        for (text, wide) in [
            ("0.0.0.0/0", true),
            ("10.0.0.0/7", true),
            ("10.0.0.0/8", false),
            ("::/0", true),
            ("::ffff:0.0.0.0/96", true),
            ("2000::/18", true),
            ("2000::/19", false),
            ("192.0.2.1", false),
        ] {
            let parsed = text.parse::<Prefix>().unwrap_or_else(|_| Prefix::around([10, 0, 0, 0].into(), 7));
            assert_eq!(too_wide(&parsed).is_some(), wide, "{text}");
        }
    }
}

//! Evidence against sources as the supervisor has it: weighs it by the policy, bans whom it is enough for, and says so. The one way
//! from evidence to a ban; whom no ban touches is asked here, what is enough is policy's to say.
//!
//! Whoever has evidence calls [`Supervisor::weigh_evidence`]: sensors, instances by their own descriptor, root by command, workers.

use crate::ban_orders::micros;
use crate::control::failure;
use crate::json::Json;
use crate::ledger::Ledger;
use crate::supervisor::Supervisor;
use portreeve_conf::Level;
use portreeve_policy::evidence::{Due, Evidence, Grade, Kind, Outcome, Sentence, Wider};
use portreeve_policy::{Ban, DeniedFull, Prefix, later};
use portreeve_workers::protocol::{Banned, Event, EventKind};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// So often in a row the same bound is said to have prevented a ban.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// Suspected sources that are told of in a minute.
const SUSPECTS: u32 = 20;
/// Sources with the highest scores that are shown.
const HIGHEST: usize = 10;

/// What was said last of bans that were not made.
#[derive(Debug, Default)]
pub struct Reported {
    /// Since when the minute counts, and the suspected sources that were told of in it.
    suspects: (Duration, u32),
    /// When a bound was last said to have prevented one.
    bound: Option<Duration>,
    /// Bans that were due and touched somebody protected, or were only to be reported.
    pub spared: u64,
    /// The last of them, in words.
    pub last: String,
}

impl Reported {
    /// Whether one more suspected source may be told of.
    fn takes_suspect(&mut self, now: Duration) -> bool {
        if now.saturating_sub(self.suspects.0) >= SAID_EVERY {
            self.suspects = (now, 0);
        }
        self.suspects.1 += 1;
        self.suspects.1 <= SUSPECTS
    }
}

/// What came of a piece of evidence, for whoever told it.
#[derive(Clone, Debug, PartialEq)]
pub enum Weighed {
    /// Scored, or counted: nothing follows.
    Noted,
    /// The source is banned already.
    BannedBefore,
    /// This network is banned now.
    Banned(Prefix),
    /// It would be, but: why not.
    Spared(String),
}

impl Supervisor {
    /// Weighs evidence that no connection of the ledger belongs to.
    pub fn weigh_evidence(&mut self, evidence: &Evidence<'_>) -> Weighed {
        let id = self.announcer.ledger.id();
        self.weigh_evidence_of(evidence, id)
    }

    /// Weighs evidence about the connection of this number.
    pub fn weigh_evidence_of(&mut self, evidence: &Evidence<'_>, id: u64) -> Weighed {
        let now = self.stamp.mono();
        let outcome = self.book.weigh(evidence, now);
        let suspected = matches!(outcome, Outcome::Suspected(_)) && self.reported.takes_suspect(now);
        // Whatever can be forged fills neither ledger nor log: a flood of it is a line a source, and few a minute.
        if evidence.grade != Grade::Forgeable || suspected {
            note(&mut self.announcer.ledger, evidence, id, now);
        }
        match outcome {
            Outcome::Suspected(_) if !suspected => Weighed::Noted,
            Outcome::Ignored | Outcome::Scored(_) => Weighed::Noted,
            Outcome::Suspected(_) => {
                let what = self.words_against(evidence);
                let text = format!(
                    "{} is suspected ({what}); its address may be forged, so it is not banned for it",
                    evidence.source.to_canonical()
                );
                self.say(Level::Notice, &text);
                Weighed::Noted
            }
            Outcome::Due(due) => self.pass_sentence(&due, evidence.service, id),
        }
    }

    /// `evidence ADDRESS KIND [SERVICE]`, which is root's.
    pub fn order_evidence(&mut self, address: &str, kind: &str, service: Option<&str>) -> String {
        let Ok(source) = address.parse::<IpAddr>() else {
            return failure(&format!("{address:?} is no IPv4 or IPv6 address"));
        };
        let Some(kind) = Kind::of_word(kind) else {
            let known: Vec<&str> = Kind::ALL.iter().map(|kind| kind.word()).collect();
            return failure(&format!("{kind:?} is no kind of evidence; known are {}", known.join(", ")));
        };
        let service = service.unwrap_or_default();
        let evidence =
            Evidence { source, grade: Grade::Authenticated, kind, service, count: 1, proxied: false };
        let weighed = self.weigh_evidence(&evidence);
        let now = self.stamp.mono();
        let score =
            self.book.against(source, now).into_iter().find(|s| s.grade == Grade::Proven && !s.proxied);
        Json::object(|j| {
            j.plain("ok", true);
            j.text("address", source.to_canonical());
            match &weighed {
                Weighed::Noted => j.text("outcome", "noted"),
                Weighed::BannedBefore => j.text("outcome", "banned before"),
                Weighed::Banned(network) => {
                    j.text("outcome", "banned");
                    j.text("network", network);
                }
                Weighed::Spared(why) => {
                    j.text("outcome", "spared");
                    j.text("why", why);
                }
            }
            j.plain("score_percent", score.map_or(0, |standing| percent(standing.level)));
        })
    }

    fn words_against(&self, evidence: &Evidence<'_>) -> String {
        let standing = self.book.against(evidence.source, self.stamp.mono());
        let forged = standing.into_iter().find(|standing| standing.grade == evidence.grade);
        forged.map_or_else(|| evidence.kind.counted(evidence.count), |standing| standing.held.words())
    }

    fn pass_sentence(&mut self, due: &Due, service: &str, id: u64) -> Weighed {
        let now = self.stamp.mono();
        if self.host.denied.contains(due.source, now) {
            self.book.spend(due);
            return Weighed::BannedBefore;
        }
        // Where somebody protected lies in the network of a source, the source's address alone.
        let networks = [due.network, Prefix::host(due.source)];
        let mut why_not = String::new();
        let mut found = None;
        for network in networks {
            match self.protected_in(&network) {
                None => {
                    found = Some(network);
                    break;
                }
                Some(why) => why_not = why,
            }
        }
        let Some(network) = found else {
            self.book.spend(due);
            return self.spared(due, &format!("it is protected: {why_not}"));
        };
        self.drop_ended_bans();
        match self.book.sentence(due, self.host.denied.for_evidence(), now) {
            Sentence::OnlyReported => self.spared(due, "bans for evidence are only reported (`act = false`)"),
            Sentence::TooMany(most) => {
                self.bound_reached(due, &format!("there are {most} bans for evidence, which are the most"))
            }
            Sentence::TooFast(most) => self.bound_reached(
                due,
                &format!("there were {most} within a minute, which are the most (`most_a_minute`)"),
            ),
            Sentence::Ban(time, strikes) => {
                let ban = Ban::for_evidence(now.saturating_add(time), strikes, due.proxied, &due.why);
                if let Err(DeniedFull) = self.enforce(network, ban, (due.source, service), id) {
                    return self.bound_reached(due, "the list of bans is full");
                }
                if !due.proxied {
                    self.roll_up(&network, (due.source, service), id);
                }
                Weighed::Banned(network)
            }
        }
    }

    /// Puts a ban for evidence on the list, and tells everybody.
    fn enforce(
        &mut self,
        network: Prefix,
        ban: Ban,
        (source, service): (IpAddr, &str),
        id: u64,
    ) -> Result<(), DeniedFull> {
        let now = self.stamp.mono();
        // One that was made for longer, by hand or otherwise, stays what it is.
        if let Some(former) = self.host.denied.get(network).filter(|former| former.lasts(now))
            && later(former.until, ban.until) == former.until
        {
            return Ok(());
        }
        let (until, strikes, why) = (ban.until, ban.strikes, ban.reason.clone());
        self.host.denied.deny(network, ban)?;
        self.bans_changed(&[network]);
        self.keep_bans(&[network]);
        let left = until.map_or(0, |until| until.saturating_sub(now).as_secs());
        let again = if strikes > 1 { format!(", ban {strikes} of it") } else { String::new() };
        self.say(Level::Notice, &format!("{network} is banned for {left} s: {why}{again}"));
        let for_us = until.map(|until| micros(until.saturating_sub(now)));
        let event = Event {
            kind: EventKind::Ban,
            reason: &why,
            banned: Some(Banned { network, origin: "evidence", uid: None, for_us }),
            ..event(id, now, SocketAddr::new(source, 0), service)
        };
        self.announcer.ledger.note(&event);
        Ok(())
    }

    fn roll_up(&mut self, network: &Prefix, (source, service): (IpAddr, &str), id: u64) {
        if !self.book.rolls_up() {
            return;
        }
        let now = self.stamp.mono();
        for wider in self.book.wider(network, &self.host.denied, now) {
            let (found, but) = match wider {
                Wider::Ban(found) => (found, self.protected_in(&found.network)),
                Wider::Spared(found, neighbour) => {
                    (found, Some(format!("{neighbour} of it has behaved well")))
                }
                Wider::Unknown(found) => {
                    (found, Some("so many behave well that not all are remembered".to_owned()))
                }
            };
            let why = format!("{} of {} known sources of it are banned", found.banned, found.known);
            if let Some(but) = but {
                self.report_spared(format!("{} would be banned ({why}), but {but}", found.network));
                continue;
            }
            match self.book.sentence_wide(found.network, self.host.denied.rolled_up(), now) {
                Sentence::Ban(time, strikes) => {
                    let ban = Ban::for_evidence(now.saturating_add(time), strikes, false, &why);
                    // A full list has been reported with the source.
                    let _ = self.enforce(found.network, ban, (source, service), id);
                }
                _ => self.report_spared(format!(
                    "{} would be banned ({why}), but so many whole networks are (`rollup_most`)",
                    found.network
                )),
            }
        }
    }

    fn spared(&mut self, due: &Due, why: &str) -> Weighed {
        self.report_spared(format!("{} would be banned ({}), but {why}", due.network, due.why));
        let now = self.stamp.mono();
        let id = self.announcer.ledger.id();
        let event = Event {
            kind: EventKind::Spared,
            reason: why,
            ..event(id, now, SocketAddr::new(due.source, 0), "")
        };
        self.announcer.ledger.note(&event);
        Weighed::Spared(why.to_owned())
    }

    fn report_spared(&mut self, text: String) {
        self.say(Level::Warning, &text);
        self.reported.spared += 1;
        self.reported.last = text;
    }

    /// A bound is said once a minute: an attack that reaches it must not fill the log.
    fn bound_reached(&mut self, due: &Due, why: &str) -> Weighed {
        let now = self.stamp.mono();
        if self.reported.bound.is_none_or(|said| now.saturating_sub(said) >= SAID_EVERY) {
            self.reported.bound = Some(now);
            let text = format!("{} is not banned ({}): {why}", due.network, due.why);
            self.say(Level::Error, &text);
        }
        Weighed::Spared(why.to_owned())
    }
}

impl Supervisor {
    /// What is held against an address, for `why`.
    pub fn evidence_view(&self, j: &mut Json, address: IpAddr) {
        let now = self.stamp.mono();
        j.plain("former_bans", self.book.strikes(&Prefix::subscriber(address), now));
        j.list("evidence", |j| {
            for standing in self.book.against(address, now) {
                j.item(|j| {
                    let may_ban = standing.grade != Grade::Forgeable;
                    j.text("against", Prefix::subscriber(address));
                    j.text("what", standing.held.words());
                    j.plain("may_ban", may_ban);
                    j.plain("by_proxy", standing.proxied);
                    j.plain("score_percent", percent(standing.level));
                    j.plain("seconds_ago", now.saturating_sub(standing.held.last).as_secs());
                });
            }
        });
    }

    /// How much is held against how many, for `bans`.
    pub fn evidence_status(&self, j: &mut Json) {
        let [scored, proxied, suspected, ..] = self.book.sizes();
        j.map("evidence", |j| {
            j.plain("act", self.book.policy().act);
            j.plain("bans", self.host.denied.for_evidence());
            j.plain("most", self.book.policy().most);
            j.plain("sources", scored + proxied);
            j.plain("suspected", suspected);
            j.plain("prevented", self.book.prevented());
            j.plain("spared", self.reported.spared);
            j.text("last_spared", &self.reported.last);
            j.text("trouble", &self.ban_settings.trouble);
            j.list("highest", |j| {
                for (network, held, level) in self.book.highest(self.stamp.mono()).take(HIGHEST) {
                    j.item(|j| {
                        j.text("network", network);
                        j.plain("score_percent", percent(level));
                        j.text("what", held.words());
                    });
                }
            });
        });
    }
}

/// A score in hundredths of what a ban takes.
pub fn percent(level: f64) -> u32 {
    (level * 100.0).round().clamp(0.0, 1e9) as u32
}

/// An event about somebody who is no client at this moment.
fn event(id: u64, at: Duration, peer: SocketAddr, service: &str) -> Event<'_> {
    Event {
        kind: EventKind::Evidence,
        id,
        at,
        service,
        peer: Some(peer),
        reason: "",
        rule: None,
        pid: 0,
        count: 1,
        ended: None,
        banned: None,
    }
}

fn note(ledger: &mut Ledger, evidence: &Evidence<'_>, id: u64, now: Duration) {
    let Evidence { source, service, count, .. } = *evidence;
    let reason = evidence.reason();
    ledger.note(&Event { reason: &reason, count, ..event(id, now, SocketAddr::new(source, 0), service) });
}

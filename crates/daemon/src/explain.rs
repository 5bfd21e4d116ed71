//! What `explain` answers: the whole way of a client, check by check, with the file and line that decides each. Takes part in
//! nothing: no count changes, nobody is asked.
//!
//! A way has up to three parts: what is decided on the socket's peer before its PROXY header is read (stage A), the checks of
//! tcpmux where the service is named to it, and those of the service itself, on the client.

use crate::control::failure;
use crate::json::Json;
use crate::slot::{Manner, Slot, SlotId, State};
use crate::supervisor::Supervisor;
use crate::translate;
use crate::verify::Trust;
use portreeve_conf::{Place, Step, VERIFIED, Verify};
use portreeve_policy::{
    Arrival, Check, Facts, Now, Origin, Outcome, Peer, Proof, TABLES, Tables, end_at_refusal, explain,
    explain_front,
};
use portreeve_sys::limits;
use std::net::{IpAddr, SocketAddr};

/// What is asked.
#[derive(Debug)]
pub struct Asked<'a> {
    /// Id or name of the service.
    pub service: &'a str,
    /// The socket's peer.
    pub peer: Peer,
    /// The client that the peer's PROXY header names.
    pub client: Option<IpAddr>,
    /// The minute of the day, instead of this one.
    pub minute: Option<u16>,
}

impl<'a> Asked<'a> {
    /// The words behind `explain`: `SERVICE ADDRESS [MINUTE] [for CLIENT]`.
    pub fn parse(words: &[&'a str]) -> Result<Self, String> {
        let [service, peer, rest @ ..] = words else { return Err("explain SERVICE ADDRESS".to_owned()) };
        let address = |word: &str| word.parse().map_err(|_| format!("{word} is not an address"));
        let (minute, client) = match rest {
            [] => (None, None),
            ["for", client] => (None, Some(*client)),
            [minute] => (Some(*minute), None),
            [minute, "for", client] => (Some(*minute), Some(*client)),
            _ => return Err("explain SERVICE ADDRESS [MINUTE] [for CLIENT]".to_owned()),
        };
        let of_day = |word: &str| {
            let minute = word.parse().ok().filter(|minute| *minute < 1440);
            minute.ok_or_else(|| "the minute of the day is a number from 0 to 1439".to_owned())
        };
        Ok(Self {
            service,
            peer: peer.parse().map_err(|error| format!("{peer}: {error}"))?,
            client: client.map(address).transpose()?,
            minute: minute.map(of_day).transpose()?,
        })
    }
}

impl Supervisor {
    /// The answer to `explain`.
    pub fn explain(&mut self, words: &[&str]) -> String {
        let asked = match Asked::parse(words) {
            Ok(asked) => asked,
            Err(error) => return failure(&error),
        };
        let named = |s: &&Slot| s.service.id == asked.service || s.service.name == asked.service;
        let Some(id) = self.slots.iter().find(|(_, slot)| named(slot)).map(|(&id, _)| id) else {
            let mut known: Vec<&str> = self.slots.values().map(Slot::id).take(8).collect();
            known.sort_unstable();
            return failure(&format!("no service {}; there are {}", asked.service, known.join(", ")));
        };
        self.verify_ahead(id);
        let local = self.slots.get(&id).is_some_and(Slot::is_local);
        match asked.peer {
            Peer::Inet(_) if local => {
                return failure("its clients come by a unix socket; ask about a user, as `uid=1000`");
            }
            Peer::Local(_) if !local => return failure("its clients have addresses; ask about one"),
            Peer::Inet(_) | Peer::Local(_) => {}
        }
        let mut checks = self.way(id, &asked);
        end_at_refusal(&mut checks);
        let Some(slot) = self.slots.get(&id) else { return failure("the service is gone") };
        let note = self.note(id, slot);
        let verdict = checks.iter().find_map(|check| match check.outcome {
            Outcome::Refuse => Some("refuse"),
            Outcome::NeedsNames => Some("needs names"),
            _ => None,
        });
        Json::object(|j| {
            j.plain("ok", true);
            j.text("service", slot.id());
            match asked.peer {
                Peer::Inet(address) => j.text("address", address.ip().to_canonical()),
                Peer::Local(_) => j.text("address", asked.peer.word()),
            }
            if let Some(client) = asked.client {
                j.text("client", client.to_canonical());
            }
            j.text("verdict", verdict.unwrap_or("admit"));
            j.text("note", note);
            j.list("checks", |j| {
                for check in &checks {
                    j.item(|j| {
                        j.text("part", check.part);
                        j.text("name", check.name);
                        j.text("outcome", outcome_word(check.outcome));
                        j.text("detail", &check.detail);
                        if let Some(origin) = &check.origin {
                            j.text("file", &origin.file);
                            j.plain("line", origin.line);
                        }
                    });
                }
            });
        })
    }

    fn way(&mut self, id: SlotId, asked: &Asked<'_>) -> Vec<Check> {
        let Some(slot) = self.slots.get(&id) else { return Vec::new() };
        if slot.service.mux.is_none() {
            let mut checks = self.door(id, asked, "client");
            let part = checks.last().map_or("", |check| check.part);
            checks.extend(self.steps(id).into_iter().map(|check| Check { part, ..check }));
            return checks;
        }
        let line = format!("the client names {}", slot.service.name);
        let place = Some(origin(&slot.service.place));
        let muxes = |slot: &Slot| slot.manner() == Manner::Mux && slot.status != State::Removed;
        let mux = self.slots.iter().find(|(_, slot)| muxes(slot)).map(|(&id, _)| id);
        let mut checks = match mux {
            Some(mux) => self.door(mux, asked, "tcpmux"),
            None => Vec::new(),
        };
        checks.push(match mux {
            Some(_) => Check { part: "tcpmux", ..Check::pass("line", line, place) },
            None => {
                let why = "no service tcpmux is served, so nobody can name it".to_owned();
                Check { part: "tcpmux", ..Check::refuse("line", why, place) }
            }
        });
        let peer = mux.and_then(|mux| self.slots.get(&mux)).map(|slot| judged(slot, asked));
        let mut own = self.checks(id, peer.unwrap_or(asked.peer), asked);
        own.extend(self.steps(id));
        checks.extend(own.into_iter().map(|check| Check { part: "service", ..check }));
        checks
    }

    /// The checks of a service with a socket: those on the peer, where a header is read, and those on the client.
    fn door(&mut self, id: SlotId, asked: &Asked<'_>, part: &'static str) -> Vec<Check> {
        let Some(slot) = self.slots.get(&id) else { return Vec::new() };
        let client = judged(slot, asked);
        let (now, load) = (self.moment(asked), limits::load_average());
        let mut checks = Vec::new();
        if slot.proxies.is_some() {
            let arrival = Arrival { peer: arrives(slot, asked.peer), proof: Proof::Handshake };
            let rules = translate::addresses(&slot.service.proxy_from);
            checks = explain_front(slot.rules(), &slot.state, &self.host, &arrival, &rules, load, &now);
            let names = match asked.client {
                Some(client) => format!("the PROXY header names {client}"),
                None => "the peer speaks for itself (--client says whom it names)".to_owned(),
            };
            checks.push(Check::pass("header", names, None));
            checks.iter_mut().for_each(|check| check.part = "peer");
        } else if asked.client.is_some() {
            let why = "the service reads no PROXY header, so nobody can name a client".to_owned();
            checks.push(Check {
                part: "peer",
                ..Check::refuse("header", why, Some(origin(&slot.service.place)))
            });
        }
        let part = if checks.is_empty() && part == "client" { "" } else { part };
        checks.extend(self.checks(id, client, asked).into_iter().map(|check| Check { part, ..check }));
        checks
    }

    fn moment(&self, asked: &Asked<'_>) -> Now {
        let mut now = self.now();
        now.minute = asked.minute.unwrap_or(now.minute);
        now
    }

    /// The checks of a service on a client, hosts.allow and hosts.deny among them.
    fn checks(&mut self, id: SlotId, client: Peer, asked: &Asked<'_>) -> Vec<Check> {
        let now = self.moment(asked);
        let Some(slot) = self.slots.get(&id) else { return Vec::new() };
        let proof = match slot.is_stream() {
            true if asked.client.is_some() => Proof::Proxy,
            proven => Proof::of_handshake(proven),
        };
        let arrival = Arrival { peer: client, proof };
        let tables = if slot.service.nolibwrap { Tables::Off } else { Tables::NotAsked };
        let mut facts = Facts { load: limits::load_average(), tables, ..Facts::default() };
        let mut checks = explain(slot.rules(), &slot.state, &self.host, &arrival, &facts, &now);
        // The tables are asked only where no other check refuses; so here too.
        let asks = |check: &Check| check.name == TABLES && check.outcome == Outcome::NeedsNames;
        if checks.last().is_some_and(asks) {
            let (tables, detail) = match arrival.peer.address() {
                Some(peer) => self.explain_tables(id, peer),
                None => (self.tables_on_processes().tables, "they hold no rule about processes".to_owned()),
            };
            facts.tables = tables;
            let Some(slot) = self.slots.get(&id) else { return checks };
            checks = explain(slot.rules(), &slot.state, &self.host, &arrival, &facts, &now);
            if let Some(check) = checks.last_mut() {
                check.detail = detail;
            }
        }
        checks
    }

    /// What is done with an admitted client.
    fn steps(&self, id: SlotId) -> Vec<Check> {
        let Some(slot) = self.slots.get(&id) else { return Vec::new() };
        let aside: Vec<String> = slot
            .targets
            .iter()
            .filter(|target| target.failures > 0)
            .map(|target| format!("; {} failed {} times in a row", target.place, target.failures))
            .collect();
        let step = |Step { name, mut detail, place }: Step| {
            if name == "redirect" {
                detail.extend(aside.iter().map(String::as_str));
            }
            if name == VERIFIED
                && let Some((verify, trust, why)) = self.trust_of(slot)
            {
                let colon = if why.is_empty() { "" } else { ": " };
                detail = format!("{verify}; it is {trust}{colon}{why}");
                if verify == Verify::Refuse.word() && matches!(slot.verified.trust, Trust::Not(_)) {
                    return Check::refuse(name, detail, place.as_ref().map(origin));
                }
            }
            Check::pass(name, detail, place.as_ref().map(origin))
        };
        slot.service.steps().into_iter().map(step).collect()
    }
}

/// Whom the checks of a service with this socket are about. What a header names comes as it is written there.
fn judged(slot: &Slot, asked: &Asked<'_>) -> Peer {
    asked.client.map_or_else(|| arrives(slot, asked.peer), |client| client.to_canonical().into())
}

/// As a client of this address arrives: an IPv4 one of a dual-stack socket mapped.
fn arrives(slot: &Slot, peer: Peer) -> Peer {
    let mut bound = slot.listeners.iter().filter_map(|listener| listener.address().address());
    let dual = bound.next().is_some_and(|a| a.is_ipv6()) && bound.all(|a| a.is_ipv6());
    match peer {
        Peer::Inet(SocketAddr::V4(v4)) if dual => IpAddr::V6(v4.ip().to_ipv6_mapped()).into(),
        other => other,
    }
}

fn origin(place: &Place) -> Origin {
    Origin { file: (*place.file).into(), line: place.line }
}

fn outcome_word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "pass",
        Outcome::Refuse => "refuse",
        Outcome::NotSet => "not set",
        Outcome::NeedsNames => "needs names",
        Outcome::NotReached => "not reached",
    }
}

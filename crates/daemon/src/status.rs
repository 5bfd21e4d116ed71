//! What `status` answers: a read-only view of the supervisor's state.

use crate::control::MOST_CLIENTS;
use crate::duty::{Duty, order_note, order_word};
use crate::hashing::{MOST_ELSEWHERE, MOST_WAITING as MOST_HASHED};
use crate::hosts::MOST_HOOKS;
use crate::json::Json;
use crate::ledger::MOST_BATCHES;
use crate::names::MOST_PARKED;
use crate::slot::{Manner, Slot, SlotId, State};
use crate::staff::{MOST_WAITING, Presence};
use crate::supervisor::Supervisor;
use crate::targets::Candidate;
use portreeve_policy::evidence::{MOST_GOOD, MOST_SCORED, MOST_STRUCK, MOST_SUSPECTED};
use portreeve_policy::{MOST_BANS, MOST_TRIPPED};
use portreeve_workers::protocol::{MAX_REGISTRATIONS, Missing, Worker};

/// Most listeners that are not open and are shown one by one.
const MISSING_SHOWN: usize = 16;

impl Supervisor {
    /// The answer to `status`.
    pub fn status(&self) -> String {
        Json::object(|j| {
            j.plain("ok", true);
            j.text("version", env!("CARGO_PKG_VERSION"));
            j.plain("pid", std::process::id());
            j.plain("uptime_seconds", self.stamp.mono().saturating_sub(self.since).as_secs());
            j.text("config", self.options.sources.main().display());
            match self.options.sources.inetd() {
                Some(inetd) => j.text("inetd", inetd.display()),
                None => j.optional("inetd", None::<u8>),
            }
            j.list("units", |j| {
                self.options.sources.units.iter().for_each(|path| j.word(&path.display().to_string()));
            });
            j.plain("generation", self.generation);
            j.plain("upgrades", self.upgrade.count);
            j.plain(
                "running",
                self.children.programs.len() + self.children.sessions.len() + self.children.carried.len(),
            );
            j.list("workers", |j| {
                self.staff.links.iter().for_each(|link| j.item(|j| worker(j, link)));
                self.staff.leaving.iter().for_each(|one| j.item(|j| leaving(j, one)));
            });
            j.list("bounds", |j| self.bounds(j));
            j.list("tables", |j| {
                for table in self.hosts.views() {
                    j.item(|j| {
                        j.text("path", table.path);
                        j.text("state", table.state);
                        j.plain("lines", table.lines);
                        j.plain("text_bytes", table.text_bytes);
                        j.plain("read_at", table.read_at);
                        j.plain("watched", self.watch_over.is_on());
                    });
                }
            });
            j.optional("compiled_tables_bytes", self.hosts.compiled_bytes());
            j.map("hooks", |j| {
                j.plain("running", self.hooks.len());
                j.plain("limit", MOST_HOOKS);
                j.plain("started", self.hooks.started);
                j.plain("dropped", self.hooks.dropped);
                j.plain("killed", self.hooks.killed);
            });
            j.map("ledger", |j| self.announcer.ledger.status(j));
            j.map("trusted_programs", |j| {
                j.text("path", self.trusted.path().display());
                j.plain("programs", self.trusted.len());
                j.text("trouble", self.trusted.trouble());
                j.plain("hashed", self.hashing.read);
                j.plain("failed", self.hashing.failed);
            });
            self.bans_view(j);
            self.sensor_view(j);
            j.map("log", |j| j.plain("dropped", self.log.dropped() + self.sinks.dropped()));
            j.list("services", |j| {
                for (&id, slot) in &self.slots {
                    j.item(|j| self.service(j, id, slot));
                }
            });
        })
    }

    fn bounds(&self, j: &mut Json) {
        let mut bound = |name: &str, used: usize, limit: usize, dropped: u64| {
            j.item(|j| {
                j.text("name", name);
                j.plain("used", used);
                j.plain("limit", limit);
                j.plain("dropped", dropped);
            });
        };
        let backlog: usize = self.staff.links.iter().map(crate::staff::Link::backlog).max().unwrap_or(0);
        let dropped: u64 = self.staff.links.iter().map(|l| l.dropped).sum();
        bound("clients waiting for names", self.parked.len(), MOST_PARKED, 0);
        bound("commands of hosts.allow and hosts.deny", self.hooks.len(), MOST_HOOKS, self.hooks.dropped);
        bound("clients waiting for a process", self.children.put_off.len(), crate::children::MOST_PUT_OFF, 0);
        bound("clients waiting for a seat", self.children.seatless.len(), crate::seats::MOST_WAITING, 0);
        bound("connections to unix sockets being begun", self.ways.len(), crate::path_ways::MOST, 0);
        bound("messages waiting for a worker", backlog, MOST_WAITING, dropped);
        bound("programs being hashed", self.hashing.len(), MOST_HASHED, 0);
        bound(
            "programs being started beside one another",
            self.spawner.launched(),
            portreeve_sys::spawn::MOST_IN_FLIGHT,
            0,
        );
        bound("connections to be let go", self.spawner.to_let_go(), portreeve_sys::farewell::MOST_WAITING, 0);
        bound("programs elsewhere being looked at", self.hashing.elsewhere(), MOST_ELSEWHERE, 0);
        let ledger = &self.announcer.ledger;
        let batches = ledger.waiting() + self.staff.link(Worker::Ledger).backlog();
        bound("batches waiting for the ledger", batches, MOST_BATCHES, ledger.dropped);
        bound("built-in sessions", self.children.sessions.len(), self.most_sessions, 0);
        let flows = self.children.flows;
        bound("carried connections", self.children.carried.len() - flows, self.most_carried, 0);
        let crowded = self.slots.values().map(|slot| slot.counts.crowded).sum();
        bound("flows of datagrams", flows, self.most_flows, crowded);
        bound("RPC registrations", self.registry.len(), MAX_REGISTRATIONS, 0);
        bound("headers awaited", self.headers.len(), self.most_headers, self.headers.given_up);
        bound(
            "connections behind TLS",
            self.children.sealed.len(),
            self.most_sealed * crate::seal::MOST_SETS,
            self.shaking_given_up,
        );
        bound("workers that leave", self.staff.leaving.len(), crate::leaving::MOST_LEAVING, 0);
        bound("bans", self.host.denied.len(), MOST_BANS, 0);
        bound("bans by sensors", self.host.denied.tripped(), MOST_TRIPPED, 0);
        bound(
            "bans for evidence",
            self.host.denied.for_evidence(),
            self.book.policy().most as usize,
            self.book.prevented(),
        );
        let [scored, proxied, suspected, struck, good] = self.book.sizes();
        let (pushed_out, suspected_out) = self.book.pushed_out();
        bound("sources with a score", scored + proxied, 2 * MOST_SCORED, pushed_out);
        bound("suspected sources", suspected, MOST_SUSPECTED, suspected_out);
        bound("sources banned before", struck, MOST_STRUCK, 0);
        bound("well-behaved sources", good, MOST_GOOD, 0);
        bound("control clients", self.control.len(), MOST_CLIENTS, 0);
        if let Some(limit) = self.host.process_limit {
            bound("processes", self.host.running() as usize, limit as usize, 0);
        }
    }

    fn service(&self, j: &mut Json, id: SlotId, slot: &Slot) {
        let service = &slot.service;
        j.text("id", &service.id);
        j.text("name", &service.name);
        j.text("state", if self.throttled(slot) { "throttled" } else { order_word(slot) });
        match service.mux {
            Some(_) => j.text("address", "tcpmux"),
            None => {
                let place = slot.sole().map_or_else(|| service.listen.summary(), |l| l.address().to_string());
                j.text("address", place);
            }
        }
        j.map("listeners", |j| {
            j.plain("open", slot.listeners.len());
            j.plain("wanted", if service.mux.is_some() { 0 } else { service.listen.count() });
        });
        j.list("not_open", |j| {
            for missing in slot.trouble.missing.iter().take(MISSING_SHOWN) {
                j.item(|j| {
                    j.text("address", &missing.place);
                    j.text("why", &missing.why);
                });
            }
        });
        j.text("protocol", &service.listen.protocol.0);
        j.plain("wait", service.wait);
        let flows = (slot.manner() == Manner::RedirectDatagrams).then(|| self.flows_of(id));
        j.plain("running", flows.map_or(slot.state.running(), |n| u32::try_from(n).unwrap_or(u32::MAX)));
        j.plain("accepted", slot.counts.accepted);
        j.map("refused", |j| slot.counts.refused.iter().for_each(|(reason, n)| j.plain(reason.word(), n)));
        j.plain("gone", slot.counts.gone);
        j.plain("start_failures", slot.counts.start_failures);
        j.plain("lost_records", slot.counts.lost);
        let oldest = self.children.oldest(id).map(|at| self.stamp.mono().saturating_sub(at).as_secs());
        j.optional("oldest_seconds", oldest);
        j.plain("older", self.older_of(id));
        j.list("limits", |j| {
            let mut limit = |name: &str, used: u32, limit: Option<u32>| {
                j.item(|j| {
                    j.text("name", name);
                    j.plain("used", used);
                    j.optional("limit", limit);
                });
            };
            match flows {
                Some(flows) => {
                    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
                    limit("flows", count(flows), Some(count(self.flow_bounds(slot).0)));
                }
                None => limit("instances", slot.state.running(), service.limits.instances.value),
            }
            if let Some(most) = service.starts_per_minute.value {
                limit("starts_per_minute", slot.state.starts_in_the_minute(&self.now()), Some(most));
            }
            let sources = u32::try_from(slot.state.sources()).unwrap_or(u32::MAX);
            limit("sources", sources, None);
            if service.limits.per_source.value.is_some() {
                limit("per_source", slot.state.most_of_one_source(), service.limits.per_source.value);
            }
        });
        j.list("targets", |j| slot.targets.iter().for_each(|target| j.item(|j| self.target(j, target))));
        let (registered, of, _) = self.registry.of(id);
        if let Some(rpc) = service.rpc {
            j.map("rpc", |j| {
                j.plain("program", rpc.program);
                j.text("versions", format_args!("{}-{}", rpc.versions.0, rpc.versions.1));
                j.optional("port", slot.port());
                j.plain("registered", registered);
                j.plain("of", of);
            });
        }
        j.list("sandbox", |j| {
            service.sandbox.iter().flat_map(|sandbox| &sandbox.words).for_each(|word| j.word(word));
        });
        if let Some((verify, trust, why)) = self.trust_of(slot) {
            j.map("program", |j| {
                j.text("verify", verify);
                j.text("trust", trust);
                j.text("why", why);
            });
        }
        j.text("note", self.note(id, slot));
        j.plain("tls_unusable", self.tls_is_unusable(slot));
    }

    /// What keeps a service from serving as it should.
    pub fn note(&self, id: SlotId, slot: &Slot) -> String {
        if let Some(note) = order_note(slot) {
            return note;
        }
        match &slot.status {
            State::Paused(_, why) => why.to_string(),
            State::NoWorker if slot.service.tls.is_some() => self.tls_note(slot),
            State::NoWorker => {
                "the worker that serves it is not ready, or has all the clients it can hold".to_owned()
            }
            State::Retrying(attempt, why) => format!("{why}, attempt {attempt}"),
            State::Closed(_) => "more connections per second than cps allows".to_owned(),
            State::Suspended => "a program has the socket".to_owned(),
            State::Removed => "no longer configured; instances are ending".to_owned(),
            State::Active if self.throttled(slot) => {
                "sources above their share of cps are refused".to_owned()
            }
            State::Active if !slot.trouble.missing.is_empty() => partly(slot),
            State::Active => self.tls_stale(slot).or_else(|| self.registry.of(id).2).unwrap_or_default(),
        }
    }

    fn throttled(&self, slot: &Slot) -> bool {
        let serves = slot.order.duty == Duty::Serve;
        serves && slot.status == State::Active && slot.state.rate_view(&self.now()).until.is_some()
    }

    fn target(&self, j: &mut Json, target: &Candidate) {
        j.text("place", &target.place);
        j.text("state", if target.failures > 0 { "failing" } else { "well" });
        j.plain("failures", target.failures);
        let error = target.error.map(|errno| crate::machine::error_text(&errno.into()));
        j.text("error", error.unwrap_or_default());
        j.plain("aside_seconds", target.aside.saturating_sub(self.stamp.mono()).as_secs());
    }
}

/// What is not open of a service that serves.
fn partly(slot: &Slot) -> String {
    let Some(first) = slot.trouble.missing.first() else { return String::new() };
    let (open, all) = (slot.listeners.len(), slot.listeners.len() + slot.trouble.missing.len());
    format!(
        "{open} of {all} addresses are open; {}: {}, attempt {}",
        first.place, first.why, slot.trouble.tries
    )
}

fn worker(j: &mut Json, link: &crate::staff::Link) {
    j.text("name", link.worker.name());
    j.text(
        "state",
        match link.presence {
            Presence::Off => "off",
            Presence::Starting => "starting",
            Presence::Ready => "ready",
            Presence::Down => "down",
        },
    );
    j.plain("pid", link.pid);
    j.plain("restarts", link.restarts);
    j.text("why", &link.why);
    confinement(j, &link.missing);
}

/// One that brings what it has to its end.
fn leaving(j: &mut Json, one: &crate::leaving::Leaving) {
    j.text("name", one.worker.name());
    j.text("state", "leaving");
    j.plain("pid", one.pid);
    j.plain("restarts", 0);
    j.text("why", "");
    confinement(j, &one.missing);
}

fn confinement(j: &mut Json, missing: &[Missing]) {
    let missing: Vec<String> = missing.iter().map(|m| m.word().to_owned()).collect();
    let confinement =
        if missing.is_empty() { "full".to_owned() } else { format!("without {}", missing.join(", ")) };
    j.text("confinement", confinement);
}

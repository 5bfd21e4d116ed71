//! Asks the tables about one client: one evaluation with what is known so far. Either something is missing, and the client
//! waits for it, or policy is told the verdict and the orders of the rule are kept for when it takes effect.

use super::known::Want;
use super::surroundings::Surroundings;
use crate::admit::Client;
use crate::hosts::Orders;
use crate::supervisor::Supervisor;
use hosts_access::{Field, Host, Message, Request, Settings, Verdict, Why, evaluate};
use portreeve_conf::Level;
use portreeve_policy::{Cause, Origin, Refusal, Tables};
use portreeve_sys::{names, process};
use std::net::SocketAddr;

/// The tables' word on a client.
#[derive(Debug)]
pub struct Consulted {
    /// For policy.
    pub tables: Tables,
    /// What the matched rule orders; to be carried out once.
    pub orders: Orders,
    /// What could not be asked for, if the verdict hangs on it.
    pub lacking: Option<&'static str>,
}

/// How the tables are read: as every distribution builds them. Each client is the first of its process in the original, so
/// `twist` is always allowed.
const SETTINGS: Settings = Settings { options: true, verbose: 0, resident: false };

impl Supervisor {
    /// Looks at the tables, and says so when they have changed.
    pub fn refresh_tables(&mut self) {
        for path in self.hosts.refresh() {
            if self.tables_seen {
                self.say(Level::Notice, &format!("{path} has changed; it counts from now on"));
            }
        }
        self.tables_seen = true;
    }

    /// Asks the tables about a client. What must be asked for first, or `None` when they have spoken.
    pub fn consult(&mut self, client: &mut Client, alone: bool) -> Option<Want> {
        self.refresh_tables();
        let slot = self.slots.get(&client.slot)?;
        if self.hosts.are_empty() {
            client.consulted = Some(Box::new(Consulted {
                tables: Tables::Granted,
                orders: Orders::default(),
                lacking: None,
            }));
            return None;
        }
        let ids = self.hook_ids(slot);
        let local = client.local.or_else(|| crate::listeners::bound_to(&client.fd).ok());
        client.local = local;
        let mut request = request(&slot.service.wrap_name, client.peer, local);
        let (tables, lists) = self.hosts.tables();
        let mut world = Surroundings {
            lists,
            known: &client.known,
            place: None,
            alone: alone || client.known.exhausted,
            ids,
            root: process::is_root(),
            want: None,
            lacking: None,
            acts: Vec::new(),
            become_ids: None,
            banners: Vec::new(),
            said: Vec::new(),
        };
        let decision = evaluate(&tables, &mut request, &mut world, &SETTINGS);
        if decision.verdict == Verdict::Pending {
            // An evaluation that waits for nothing would wait for ever.
            return Some(world.want.unwrap_or(Want::Nothing));
        }
        let Surroundings { acts, become_ids, banners, said, lacking, .. } = world;
        let orders = Orders::new(acts, become_ids, banners, shown(&request));
        let rule =
            decision.by.map(|place| Origin { file: self.hosts.path(place.which).into(), line: place.line });
        let tables = match decision.verdict {
            Verdict::Granted | Verdict::Delegated => Tables::Granted,
            _ if decision.why == Why::Unavailable => Tables::Refused(Cause::HostsUnavailable, rule),
            _ => Tables::Refused(Cause::HostsTables, rule),
        };
        client.consulted = Some(Box::new(Consulted { tables, orders, lacking }));
        for message in said {
            self.say_once(message);
        }
        None
    }

    /// The tables refuse a client: xinetd's words, and what could not be asked for.
    pub fn say_refused_by_tables(&mut self, client: &Client, refusal: &Refusal) {
        let Some(slot) = self.slots.get(&client.slot) else { return };
        let (id, wrap) = (slot.id().to_owned(), slot.service.wrap_name.clone());
        let level = client.orders().and_then(|orders| orders.severity).map_or(Level::Info, level_of);
        let text = format!("libwrap refused connection to {id} (libwrap={wrap}) from {}", client.peer.ip());
        self.say(level, &text);
        if refusal.cause == Cause::HostsUnavailable {
            let lacking = client.consulted.as_deref().and_then(|c| c.lacking).unwrap_or("an answer");
            let rule = match &refusal.rule {
                Some(rule) => format!("{}, line {}", rule.file, rule.line),
                None => "a rule".to_owned(),
            };
            let text = format!(
                "service {id}: {rule} hangs on {lacking}, which could not be asked for; {} is refused",
                client.peer.ip()
            );
            self.say(Level::Warning, &text);
        }
    }

    /// What an evaluation has to say: of a table that stays as it is, once.
    fn say_once(&mut self, message: Message) {
        let (level, word, place, text) = match &message {
            Message::Warning(place, text) => (Level::Error, "warning", *place, text),
            Message::Error(place, text) => (Level::Error, "error", *place, text),
            _ => return,
        };
        let place = place.map(|place| format!("{}: ", self.hosts.place(place))).unwrap_or_default();
        let text = format!("{word}: {place}{}", String::from_utf8_lossy(text));
        if self.hosts.is_news(&text) {
            self.say(level, &text);
        }
    }
}

/// The level that a `severity` option orders; its facility is left to the daemon's own log.
fn level_of(severity: i32) -> Level {
    match severity & 7 {
        0..=2 => Level::Critical,
        3 => Level::Error,
        4 => Level::Warning,
        5 => Level::Notice,
        6 => Level::Info,
        _ => Level::Debug,
    }
}

/// A request as xinetd makes it: the daemon's name and both ends of the connection.
pub fn request(daemon: &str, peer: SocketAddr, local: Option<SocketAddr>) -> Request {
    let end = |address: Option<SocketAddr>| Host {
        name: Field::EMPTY,
        addr: address
            .and_then(|a| names::address_text(a).ok())
            .map_or(Field::from("unknown"), |text| Field::new(&text)),
        socket: address,
    };
    Request {
        daemon: Field::from(daemon),
        user: Field::EMPTY,
        pid: std::process::id(),
        client: end(Some(peer)),
        server: end(local),
    }
}

/// The client as log lines name it: `user@host`, as far as it is known.
fn shown(request: &Request) -> String {
    let text = |field: &Field| String::from_utf8_lossy(field.as_bytes()).into_owned();
    let known = |field: &Field| !field.is_empty() && !field.as_bytes().eq_ignore_ascii_case(b"unknown");
    let host = match &request.client {
        client if known(&client.name) && client.name != Field::from("paranoid") => text(&client.name),
        client => text(&client.addr),
    };
    if known(&request.user) { format!("{}@{host}", text(&request.user)) } else { host }
}

//! Asks the tables about one client: one evaluation with what is known so far. Either something is missing, and the client
//! waits for it, or policy is told the verdict and the orders of the rule are kept for when it takes effect.

use super::known::{Known, Want};
use super::surroundings::Surroundings;
use super::table_file::SETTLED;
use crate::admit::Client;
use crate::hosts::Orders;
use crate::slot::{Manner, Slot, SlotId};
use crate::supervisor::Supervisor;
use crate::timers::Alarm;
use hosts_access::{Field, Host, Message, Request, Settings, Verdict, Why, evaluate};
use portreeve_conf::{Builtin, Level};
use portreeve_policy::{Cause, Origin, Peer, Refusal, Tables};
use portreeve_sys::names;
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

/// How the tables are read: as every distribution builds them. A client is the first of its process in the original, unless that has
/// asked for a service that it answers itself ([`Supervisor::has_asked`]) or for tcpmux: such a process may not `twist`.
pub const SETTINGS: Settings = Settings { options: true, verbose: 0, resident: false };

/// What the original says of a `twist` in such a process, and how to have it.
const RESIDENT: &[u8] = b"twist option in resident process";
const WHY_RESIDENT: &str = " (the tables were asked before for daytime, time, a datagram built-in or tcpmux, as in xinetd; with flags = \
                            NOLIBWRAP there they are not)";

impl Supervisor {
    /// Looks at the tables, and says so when they have changed.
    pub fn refresh_tables(&mut self) {
        let changed = self.hosts.refresh();
        if changed.is_empty() {
            return;
        }
        let news = std::mem::replace(&mut self.tables_seen, true);
        for path in changed.iter().filter(|_| news) {
            self.say(Level::Notice, &format!("{path} has changed; it counts from now on"));
        }
        for error in self.hosts.errors() {
            self.say(Level::Error, &error);
        }
        self.hosts.prepare();
        // A list that has just been written is compiled in once a further change of it would show.
        self.timers.set(self.stamp.mono() + SETTLED + SETTLED / 10, Alarm::Tables);
        self.watch_tables();
        self.give_tables();
    }

    /// Asks the tables about a client. What must be asked for first, or `None` when they have spoken.
    pub fn consult(&mut self, client: &mut Client) -> Option<Want> {
        let Some(peer) = client.peer.address() else {
            client.consulted = Some(Box::new(self.tables_on_processes()));
            return None;
        };
        client.local = client.local.or_else(|| crate::listeners::local_address(&client.fd).ok());
        let before = self.hosts.resident;
        self.hosts.resident |= client.asked;
        let answer = self.ask_tables(client.slot, peer, client.local, &client.known, false);
        self.hosts.resident = before;
        match answer {
            Ok(consulted) => {
                self.has_asked(client.slot);
                client.consulted = Some(Box::new(consulted));
                None
            }
            Err(want) => Some(want),
        }
    }

    /// The tables are about names and addresses. Rules that have come since the configuration was read, which refuses a service on a
    /// unix socket then, let no process in.
    pub fn tables_on_processes(&mut self) -> Consulted {
        self.refresh_tables();
        let (tables, lacking) = match self.hosts.hold_rules() {
            false => (Tables::Granted, None),
            true => (Tables::Refused(Cause::HostsUnavailable, None), Some("an address")),
        };
        Consulted { tables, orders: Orders::default(), lacking }
    }

    /// Asks the tables about whoever comes from `peer`. `alone`: nobody can be asked, so nothing is pending.
    pub fn ask_tables(
        &mut self,
        id: SlotId,
        peer: SocketAddr,
        local: Option<SocketAddr>,
        known: &Known,
        alone: bool,
    ) -> Result<Consulted, Want> {
        self.refresh_tables();
        let Some(slot) = self.slots.get(&id) else { return Err(Want::Nothing) };
        if self.hosts.say_nothing() {
            return Ok(Consulted { tables: Tables::Granted, orders: Orders::default(), lacking: None });
        }
        let ids = self.hook_ids(slot);
        let settings = Settings { resident: self.hosts.resident, ..SETTINGS };
        let mut request = request(&slot.service.wrap_name, peer, local);
        let (tables, lists) = self.hosts.tables();
        let mut world = Surroundings::new(lists, known, alone || known.exhausted, ids);
        let decision = evaluate(&tables, &mut request, &mut world, &settings);
        let Surroundings { acts, become_ids, banners, said, lacking, want, .. } = world;
        self.hosts.finish();
        if decision.verdict == Verdict::Pending {
            // An evaluation that waits for nothing would wait for ever.
            return Err(want.unwrap_or(Want::Nothing));
        }
        let orders = Orders::new(acts, become_ids, banners, shown(&request));
        let rule =
            decision.by.map(|place| Origin { file: self.hosts.path(place.which).into(), line: place.line });
        let tables = match decision.verdict {
            Verdict::Granted | Verdict::Delegated => Tables::Granted,
            // Had it been known, a rule that was passed over might have let the client in.
            _ if decision.why == Why::Unavailable || lacking.is_some() => {
                Tables::Refused(Cause::HostsUnavailable, rule)
            }
            _ => Tables::Refused(Cause::HostsTables, rule),
        };
        for message in said {
            self.say_once(message);
        }
        Ok(Consulted { tables, orders, lacking })
    }

    /// The tables were asked for a client of this slot. xinetd asks in its own process for what it answers there: `daytime` and `time`,
    /// and every built-in of datagrams; libwrap then takes it for a resident process, and so all processes that it starts.
    pub fn has_asked(&mut self, id: SlotId) {
        let by_itself = |slot: &Slot| match slot.manner() {
            // Behind tcpmux, in its process.
            Manner::Builtin(kind) => {
                slot.service.mux.is_none() && matches!(kind, Builtin::Daytime | Builtin::Time)
            }
            Manner::BuiltinDatagrams(_) => true,
            _ => false,
        };
        self.hosts.resident |=
            self.slots.get(&id).is_some_and(|slot| !slot.service.nolibwrap && by_itself(slot));
    }

    /// The tables refuse a client: xinetd's words, and what could not be asked for.
    pub fn say_refused_by_tables(
        &mut self,
        id: SlotId,
        peer: Peer,
        consulted: Option<&Consulted>,
        refusal: &Refusal,
    ) {
        let Some(slot) = self.slots.get(&id) else { return };
        let (name, wrap) = (slot.id().to_owned(), slot.service.wrap_name.clone());
        let text = format!("libwrap refused connection to {name} (libwrap={wrap}) from {peer}");
        match consulted.and_then(|consulted| consulted.orders.severity) {
            None => self.say(Level::Info, &text),
            Some(severity) => {
                let facility = u16::try_from(severity & 0x3f8).ok().filter(|&facility| facility != 0);
                self.log.say_as(&self.stamp, level_of(severity), facility, &text);
            }
        }
        if refusal.cause == Cause::HostsUnavailable {
            let lacking = consulted.and_then(|c| c.lacking).unwrap_or("an answer");
            let rule = match &refusal.rule {
                Some(rule) => format!("{}, line {}", rule.file, rule.line),
                None => "by no line".to_owned(),
            };
            let text = format!(
                "service {name}: {lacking} could not be asked for, and rules hang on it: {peer} is refused ({rule})"
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
        let why = if text.as_slice() == RESIDENT { WHY_RESIDENT } else { "" };
        let text = format!("{word}: {place}{}{why}", String::from_utf8_lossy(text));
        if self.hosts.is_news(&text) {
            self.say(level, &text);
        }
    }
}

/// The level that a `severity` option orders.
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

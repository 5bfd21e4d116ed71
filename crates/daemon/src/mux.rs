//! tcpmux (RFC 1078): the client of one service names another, which then serves it as if it had come there itself, with that
//! service's own limits, lists, tables, log and set-up. Only services of type TCPMUX and TCPMUXPLUS can be named.

use crate::admit::Client;
use crate::announce::End;
use crate::duty::Duty;
use crate::headers::Awaited;
use crate::slot::{Manner, Slot, SlotId, State};
use crate::supervisor::Supervisor;
use portreeve_conf::Mux;
use portreeve_policy::{Peer, Seat, turns_away};
use portreeve_sys::reap::Status;
use portreeve_sys::socket;
use portreeve_workers::protocol::Preamble;
use std::time::Duration;

/// What a client that came through tcpmux must still be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Owed {
    /// Nothing: it did not, or it was told, or its server tells it.
    #[default]
    Nothing,
    /// That it is refused, should it be; otherwise its server speaks first.
    Refusal,
    /// That, or that its server starts.
    Both,
}

const GO: &[u8] = b"+Go\r\n";
const NOT_FOUND: &[u8] = b"-Service name not found\r\n";
const NOT_AVAILABLE: &[u8] = b"-Service not available\r\n";

impl Supervisor {
    /// An admitted client of tcpmux: its line is awaited.
    pub fn serve_mux(&mut self, mut client: Client, seat: Seat) {
        let Some(slot) = self.slots.get_mut(&client.slot) else { return };
        // Nobody has a process of its own here, so the pid is 0.
        client.event = self.announcer.start(&mut self.sinks, &self.stamp, slot, 0, Some(client.peer));
        self.await_header(client, seat, Preamble::Mux);
    }

    /// The line has come: the service that it names takes the client over. One that is no line names nothing.
    pub fn chosen(&mut self, awaited: Awaited, name: &[u8]) {
        let Awaited { client, seat, since, .. } = awaited;
        if name.eq_ignore_ascii_case(b"help") {
            let list = self.mux_list(client.peer);
            tell(&client, &list);
        } else if let Some((id, kind)) = self.mux_slot(name) {
            // By order: held, drained or stopped; or a built-in has no room. There is no queue to hold it in.
            let takes = |slot: &Slot| {
                slot.order.duty == Duty::Serve
                    && (!matches!(slot.manner(), Manner::Builtin(_)) || self.builtin_takes())
            };
            if !self.slots.get(&id).is_some_and(takes) {
                tell(&client, NOT_AVAILABLE);
                self.end_of_mux(&client, since);
                return;
            }
            self.end_of_mux(&client, since);
            drop(seat);
            let owed = match kind {
                Mux::Plain => Owed::Refusal,
                Mux::Plus => Owed::Both,
            };
            let asked = self.slots.get(&client.slot).is_some_and(|slot| !slot.service.nolibwrap);
            self.arrival(Client { slot: id, owed, asked, ..client.afresh() });
            return;
        } else {
            tell(&client, NOT_FOUND);
        }
        self.end_of_mux(&client, since);
    }

    /// No line has come, or none that could be one.
    pub fn nothing_chosen(&mut self, awaited: Awaited) {
        self.end_of_mux(&awaited.client, awaited.since);
    }

    fn end_of_mux(&mut self, client: &Client, since: i64) {
        if let Some(slot) = self.slots.get(&client.slot) {
            let seconds = self.stamp.wall() - since;
            let end = End {
                event: client.event,
                peer: Some(client.peer),
                status: Some(Status::Exited(0)),
                pid: 0,
                seconds,
                lasted: Duration::from_secs(u64::try_from(seconds).unwrap_or(0)),
                usage: None,
                bytes: None,
                logged: true,
            };
            self.announcer.exit(&mut self.sinks, &self.stamp, slot, &end);
        }
    }

    fn mux_slots(&self) -> impl Iterator<Item = (SlotId, &Slot, Mux)> {
        let there = self.slots.iter().filter(|(_, slot)| slot.status != State::Removed);
        there.filter_map(|(&id, slot)| Some((id, slot, slot.service.mux?)))
    }

    fn mux_slot(&self, name: &[u8]) -> Option<(SlotId, Mux)> {
        let named = |slot: &Slot| slot.service.name.as_bytes().eq_ignore_ascii_case(name);
        self.mux_slots().find(|(_, slot, _)| named(slot)).map(|(id, _, kind)| (id, kind))
    }

    /// The names, one a line, without those of services whose lists turn this address away.
    fn mux_list(&self, peer: Peer) -> Vec<u8> {
        let there = self.mux_slots().filter(|(_, slot, _)| !turns_away(slot.rules(), peer));
        let mut names: Vec<&str> = there.map(|(_, slot, _)| slot.service.name.as_str()).collect();
        names.sort_unstable();
        names.iter().flat_map(|name| [name.as_bytes(), b"\r\n"].concat()).collect()
    }

    /// A client that came through tcpmux is served.
    pub fn say_go(&self, client: &mut Client) {
        if std::mem::take(&mut client.owed) == Owed::Both {
            tell(client, GO);
        }
    }

    /// A client that came through tcpmux is refused.
    pub fn say_not_available(&self, client: &mut Client) {
        if std::mem::take(&mut client.owed) != Owed::Nothing {
            tell(client, NOT_AVAILABLE);
        }
    }
}

/// A fresh connection takes these few bytes at once; one that does not is not waited for.
fn tell(client: &Client, text: &[u8]) {
    let _ = socket::send_now(&client.fd, text);
}

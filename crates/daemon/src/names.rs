//! Clients that wait for their host names: parked with a deadline and a cap per source, decided again when the resolver
//! has answered. A name that could not be asked for is Unavailable, never unknown (ARCHITECTURE §2).

use crate::admit::Client;
use crate::supervisor::Supervisor;
use crate::timers::Alarm;
use portreeve_policy::Names;
use portreeve_workers::protocol::{FromResolver, NamesAnswer, ToResolver, Worker};
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// Most clients that may wait for names at once.
pub const MOST_PARKED: usize = 1024;
/// Most of them from one source.
pub const MOST_PARKED_PER_SOURCE: usize = 16;
/// How long one may wait.
const DEADLINE: Duration = Duration::from_secs(15);

/// The parked clients, by ticket.
#[derive(Debug, Default)]
pub struct Parked {
    clients: HashMap<u64, Client>,
    per_source: HashMap<IpAddr, usize>,
}

impl Parked {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    fn room_for(&self, source: IpAddr) -> bool {
        self.clients.len() < MOST_PARKED
            && self.per_source.get(&source).is_none_or(|&n| n < MOST_PARKED_PER_SOURCE)
    }

    fn park(&mut self, ticket: u64, client: Client) {
        *self.per_source.entry(client.peer.ip().to_canonical()).or_default() += 1;
        self.clients.insert(ticket, client);
    }

    fn take(&mut self, ticket: u64) -> Option<Client> {
        let client = self.clients.remove(&ticket)?;
        let source = client.peer.ip().to_canonical();
        if let Some(n) = self.per_source.get_mut(&source) {
            *n -= 1;
            if *n == 0 {
                self.per_source.remove(&source);
            }
        }
        Some(client)
    }

    fn tickets(&self) -> Vec<u64> {
        self.clients.keys().copied().collect()
    }
}

impl Supervisor {
    /// The verdict on this client needs its names.
    pub fn park(&mut self, client: Client) {
        let source = client.peer.ip().to_canonical();
        if !self.parked.room_for(source) {
            self.decided_names(client, Names::Unavailable);
            return;
        }
        let ticket = self.ticket();
        self.need_worker(Worker::Resolver);
        let mut message = Vec::new();
        let sent = ToResolver::Reverse { ticket, address: source }.encode(&mut message).is_ok()
            && self.tell(Worker::Resolver, message, None);
        if !sent {
            self.decided_names(client, Names::Unavailable);
            return;
        }
        self.parked.park(ticket, client);
        self.timers.set(self.stamp.mono() + DEADLINE, Alarm::Names(ticket));
    }

    /// The resolver has spoken.
    pub fn heard_resolver(&mut self, message: FromResolver) {
        match message {
            FromResolver::Ready { .. } => {}
            FromResolver::Names { ticket, names } => {
                if let Some(client) = self.parked.take(ticket) {
                    let names = match names {
                        NamesAnswer::Known(names) => Names::Known(names),
                        NamesAnswer::Unavailable => Names::Unavailable,
                    };
                    self.decided_names(client, names);
                }
            }
            FromResolver::Answer { ticket, answer } => self.reading_answer(ticket, answer),
        }
    }

    /// A client has waited long enough.
    pub fn names_late(&mut self, ticket: u64) {
        if let Some(client) = self.parked.take(ticket) {
            self.decided_names(client, Names::Unavailable);
        }
    }

    /// The resolver is gone: nobody's names will come.
    pub fn resolver_lost(&mut self) {
        for ticket in self.parked.tickets() {
            self.names_late(ticket);
        }
        self.reading_lost_resolver();
    }
}

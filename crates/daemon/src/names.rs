//! Clients that wait for an answer (a host name, a user, the status of a command): parked with a deadline and a cap per
//! source, judged again when it has come. What could not be asked for is Unavailable, never unknown (ARCHITECTURE §2).

use crate::admit::Client;
use crate::hosts::{ROUNDS, Want, source_of};
use crate::supervisor::Supervisor;
use crate::timers::Alarm;
use hosts_access::{Done, End};
use portreeve_policy::Names;
use portreeve_workers::protocol::{FromResolver, NamesAnswer, Question, ToResolver, Worker};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Most clients that may wait for answers at once.
pub const MOST_PARKED: usize = 1024;
/// Most of them from one source.
pub const MOST_PARKED_PER_SOURCE: usize = 16;
/// How long one may wait for a name.
const DEADLINE: Duration = Duration::from_secs(15);
/// The longest that a rule may let one wait for an ident server.
const LONGEST_IDENT: u32 = 60;
/// How long the resolver may take to say that it is there.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the log of an admitted client waits for its ident server (xinetd's time).
const IDENTITY: u16 = 30;

/// A client that waits, and for what.
#[derive(Debug)]
struct Waiting {
    client: Client,
    want: Want,
}

/// The parked clients, by ticket.
#[derive(Debug, Default)]
pub struct Parked {
    clients: HashMap<u64, Waiting>,
    per_source: HashMap<IpAddr, usize>,
    /// The resolver has been asked whether it is there, and has not answered yet.
    ping: Option<u64>,
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

    fn park(&mut self, ticket: u64, client: Client, want: Want) {
        *self.per_source.entry(source_of(client.peer.source())).or_default() += 1;
        self.clients.insert(ticket, Waiting { client, want });
    }

    fn take(&mut self, ticket: u64) -> Option<(Client, Want)> {
        let Waiting { client, want } = self.clients.remove(&ticket)?;
        let source = source_of(client.peer.source());
        if let Some(n) = self.per_source.get_mut(&source) {
            *n -= 1;
            if *n == 0 {
                self.per_source.remove(&source);
            }
        }
        Some((client, want))
    }

    /// Those whose fate hangs on the answer; the others are refused already.
    pub fn undecided(&self) -> impl Iterator<Item = &Client> {
        self.clients.values().filter(|waiting| waiting.want != Want::Culprit).map(|waiting| &waiting.client)
    }

    /// Tickets of those that wait for the resolver.
    fn tickets(&self) -> Vec<u64> {
        let asks_resolver = |waiting: &Waiting| !matches!(waiting.want, Want::Command(_));
        self.clients.iter().filter(|(_, waiting)| asks_resolver(waiting)).map(|(&ticket, _)| ticket).collect()
    }
}

impl Supervisor {
    /// This client's verdict, or its log line, needs something. The client again when it cannot be asked for; what it
    /// wanted then counts as unavailable.
    pub fn park(&mut self, mut client: Client, want: Want) -> Option<Client> {
        client.known.rounds += 1;
        let room = self.parked.room_for(source_of(client.peer.source())) && client.known.rounds <= ROUNDS;
        let wait = room.then(|| self.ask(&mut client, &want)).flatten();
        let Some((ticket, wait)) = wait else {
            client.known.exhausted |= client.known.rounds > ROUNDS;
            client.known.set_unavailable(want);
            return Some(client);
        };
        self.parked.park(ticket, client, want);
        self.timers.set(self.stamp.mono() + wait, Alarm::Parked(ticket));
        None
    }

    /// Asks; the ticket, and how long to wait for the answer.
    fn ask(&mut self, client: &mut Client, want: &Want) -> Option<(u64, Duration)> {
        let ticket = self.ticket();
        let canonical = |address: SocketAddr| match address.ip().to_canonical() {
            IpAddr::V4(v4) => SocketAddr::new(v4.into(), address.port()),
            IpAddr::V6(_) => address,
        };
        let ident = |seconds: u16, local: Option<SocketAddr>| {
            let (ours, theirs) = (canonical(local?), canonical(client.peer.address()?));
            Some(ToResolver::Ident { ticket, ours, theirs, seconds })
        };
        // What a proxy says is no connection of ours: its ident server would be asked about another's, or about none.
        if client.front.is_proxied() && matches!(want, Want::User(_) | Want::Identity | Want::Culprit) {
            return None;
        }
        let local = client.local.or_else(|| crate::listeners::local_address(&client.fd).ok());
        let lookup = |question| ToResolver::Lookup { ticket, question };
        let mut wait = DEADLINE;
        let message = match want {
            Want::Names => {
                ToResolver::Reverse { ticket, address: client.peer.address()?.ip().to_canonical() }
            }
            Want::Name(End::Client) => ToResolver::Host { ticket, address: client.peer.address()? },
            Want::Name(End::Server) => ToResolver::Host { ticket, address: local? },
            Want::User(seconds) => {
                let seconds = (*seconds).clamp(1, LONGEST_IDENT);
                wait = Duration::from_secs(u64::from(seconds) + 5);
                ident(u16::try_from(seconds).unwrap_or(IDENTITY), local)?
            }
            Want::Identity | Want::Culprit => {
                wait = Duration::from_secs(u64::from(IDENTITY) + 5);
                ident(IDENTITY, local)?
            }
            Want::Netgroup(group, host) => lookup(Question::InNetgroup(group.clone(), host.clone())),
            Want::Entry(question) => lookup(question.clone()),
            Want::Command(command) => {
                let orders = crate::hosts::Orders::default();
                let started =
                    self.start_hook(client.slot, client.peer.source(), command, &orders, Some(ticket));
                return started.then_some((ticket, wait));
            }
            Want::Nothing => return None,
        };
        self.need_worker(Worker::Resolver);
        let mut bytes = Vec::new();
        let sent = message.encode(&mut bytes).is_ok() && self.tell(Worker::Resolver, bytes, None);
        if sent {
            self.see_that_resolver_lives();
        }
        sent.then_some((ticket, wait))
    }

    /// A resolver that is stopped or stuck answers nobody and does not die. Names may take their time; this answer may not.
    pub fn see_that_resolver_lives(&mut self) {
        if self.parked.ping.is_some() {
            return;
        }
        let ticket = self.ticket();
        let mut bytes = Vec::new();
        let ping = ToResolver::Ping { ticket };
        if ping.encode(&mut bytes).is_ok() && self.tell(Worker::Resolver, bytes, None) {
            self.parked.ping = Some(ticket);
            self.timers.set(self.stamp.mono() + PATIENCE, Alarm::Ping(ticket));
        }
    }

    /// The resolver has had its time to say that it is there.
    pub fn ping_late(&mut self, ticket: u64) {
        if self.parked.ping == Some(ticket) {
            self.lose_worker(crate::staff::Staff::index(Worker::Resolver), "it does not answer");
        }
    }

    /// The resolver has spoken.
    pub fn heard_resolver(&mut self, message: FromResolver) {
        let ticket = match &message {
            FromResolver::Ready { .. } => return,
            FromResolver::Pong { ticket } => {
                if self.parked.ping == Some(*ticket) {
                    self.parked.ping = None;
                }
                return;
            }
            FromResolver::Names { ticket, .. }
            | FromResolver::Answer { ticket, .. }
            | FromResolver::Host { ticket, .. }
            | FromResolver::User { ticket, .. } => *ticket,
        };
        let Some((mut client, want)) = self.parked.take(ticket) else {
            if let FromResolver::Answer { ticket, answer } = message
                && !self.target_answer(ticket, &answer)
            {
                self.reading_answer(ticket, answer);
            }
            return;
        };
        let known = &mut client.known;
        match (message, want.clone()) {
            (FromResolver::Names { names, .. }, Want::Names) => {
                known.names = match names {
                    NamesAnswer::Known(names) => Names::Known(names),
                    NamesAnswer::Unavailable => Names::Unavailable,
                }
            }
            (FromResolver::Host { host, .. }, Want::Name(end)) => known.set_name(end, &host),
            (FromResolver::User { answer, .. }, Want::User(_) | Want::Identity | Want::Culprit) => {
                known.ident = Some(answer);
            }
            (FromResolver::Answer { answer, .. }, want @ (Want::Netgroup(..) | Want::Entry(_))) => {
                known.set_entry(want, answer);
            }
            // An answer to another question than the one that was asked.
            (_, want) => known.set_unavailable(want),
        }
        self.go_on(client, &want);
    }

    /// A client has waited long enough.
    pub fn answer_late(&mut self, ticket: u64) {
        if let Some((mut client, want)) = self.parked.take(ticket) {
            client.known.set_unavailable(want.clone());
            self.go_on(client, &want);
        }
    }

    /// The command that a client waited for has ended.
    pub fn command_ended(&mut self, ticket: u64, done: Done) {
        if let Some((mut client, want)) = self.parked.take(ticket)
            && let Want::Command(command) = &want
        {
            client.known.set_command(command.clone(), done);
            self.go_on(client, &want);
        }
    }

    fn go_on(&mut self, client: Client, want: &Want) {
        match want {
            Want::Identity => self.identified(client),
            Want::Culprit => self.log_identity(client.slot, client.peer, client.known.ident.as_ref()),
            _ => self.judge(client),
        }
    }

    /// The resolver is gone: no answers will come.
    pub fn resolver_lost(&mut self) {
        self.parked.ping = None;
        for ticket in self.parked.tickets() {
            self.answer_late(ticket);
        }
        self.reading_lost_resolver();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_what_one_host_has() {
        let source = |text: &str| source_of(text.parse().unwrap()).to_string();
        assert_eq!(source("::ffff:192.0.2.1"), "192.0.2.1");
        assert_eq!(source("2001:db8::1"), source("2001:db8::2:3"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
    }
}

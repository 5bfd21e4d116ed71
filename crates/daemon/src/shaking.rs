//! Who makes room where a worker of TLS is full: of the clients that have not shaken hands yet, the one that has been silent for
//! longest, of the source that has most of them. Who means it needs milliseconds, so nobody is kept out by clients that only
//! connect; who has shaken hands is never put out.

use crate::hosts::source_of;
use crate::supervisor::Supervisor;
use portreeve_workers::protocol::Sealed;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;

/// Whose turn it is to go: each is a source and a ticket, and tickets rise with time.
fn first_to_go(shaking: impl Iterator<Item = (IpAddr, u64)>) -> Option<u64> {
    let mut sources: HashMap<IpAddr, (usize, Reverse<u64>)> = HashMap::new();
    for (source, ticket) in shaking {
        let (count, oldest) = sources.entry(source).or_insert((0, Reverse(u64::MAX)));
        *count += 1;
        *oldest = Reverse(ticket.min(oldest.0));
    }
    sources.into_values().max().map(|(_, Reverse(oldest))| oldest)
}

impl Supervisor {
    /// A worker has just got a client: where that was its last place, another one is found for the next.
    pub fn make_room(&mut self, index: u32) {
        if self.staff.links.get(index as usize).is_none_or(|link| link.holds < self.most_sealed) {
            return;
        }
        let shaking = self.children.sealed.iter().filter(|(_, behind)| behind.is_with(index));
        let shaking = shaking.filter_map(|(&ticket, behind)| {
            let (client, _) = behind.client.as_ref()?;
            Some((source_of(client.peer.source()), ticket))
        });
        let Some(ticket) = first_to_go(shaking) else { return };
        let taken = self.children.sealed.get_mut(&ticket).and_then(|behind| behind.client.take());
        if let Some((client, seat)) = taken {
            drop(seat);
            self.shaking_given_up += 1;
            let why =
                Sealed::Handshake("it has not shaken hands, and another client needs its place".to_owned());
            self.say_not_shaken(index, &client, &why);
        }
        self.unseal(ticket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(of: &[(u8, u64)]) -> Option<u64> {
        first_to_go(of.iter().map(|&(source, ticket)| (IpAddr::from([192, 0, 2, source]), ticket)))
    }

    #[test]
    fn the_source_with_most_makes_room_and_of_equals_the_oldest() {
        assert_eq!(first(&[]), None);
        assert_eq!(first(&[(1, 5)]), Some(5));
        assert_eq!(first(&[(1, 5), (2, 7), (2, 6)]), Some(6));
        assert_eq!(first(&[(1, 5), (2, 4), (3, 6)]), Some(4));
        assert_eq!(first(&[(1, 9), (1, 8), (2, 4), (2, 5)]), Some(4));
    }
}

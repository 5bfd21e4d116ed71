//! Listeners that a reload gave up because their service listens elsewhere now: who waits in their queues is served by the
//! listener that would have it today. Owns no socket for longer than this takes, and changes no listener of a service.

use crate::admit::Client;
use crate::local;
use crate::slot::{Manner, Slot, SlotId, State};
use crate::supervisor::Supervisor;
use portreeve_conf::Endpoint;
use rustix::fd::OwnedFd;
use rustix::net::{Shutdown, SocketFlags, acceptfrom_with, shutdown, sockopt};
use std::net::{IpAddr, SocketAddr};

/// Most clients of one such queue that are taken at once; serving waits for it.
const MOST: usize = 1024;

impl Supervisor {
    /// Empties the queues of listeners that are closed now. Clients of a place that nobody listens at any more go with them.
    pub fn serve_left(&mut self, listeners: Vec<OwnedFd>, held: bool) {
        for fd in listeners {
            let port = crate::listeners::local_address(&fd).map(|address| address.port());
            let Ok(port) = port else { continue };
            let heir = |slot: &Slot| {
                slot.listeners.iter().any(|l| l.address().address().is_some_and(|a| a.port() == port))
            };
            if !self.slots.values().any(heir) {
                continue;
            }
            for _ in 0..MOST {
                let Ok((client, peer)) = acceptfrom_with(&fd, SocketFlags::CLOEXEC) else { break };
                let at =
                    crate::listeners::local_address(&client).ok().and_then(|local| self.serves_at(local));
                if let Some(id) = at
                    && let Some(peer) = local::peer(&client, peer)
                {
                    self.take_in(Client::new(id, client.into(), peer));
                }
            }
            if held {
                // Others hold it too, and it would take clients from the one that listens now.
                let _ = shutdown(&fd, Shutdown::Read);
            }
        }
    }

    /// The service that accepts connections to this address now.
    fn serves_at(&self, local: SocketAddr) -> Option<SlotId> {
        let serves =
            |slot: &Slot| slot.is_stream() && slot.status == State::Active && slot.manner() != Manner::Wait;
        let mut own = self.slots.iter().filter(|(_, slot)| serves(slot));
        own.find(|(_, slot)| slot.listeners.iter().any(|l| l.polled && covers(l.address(), &l.fd, local)))
            .map(|(&id, _)| id)
    }
}

/// Whether a listener has the connections to this address.
fn covers(place: &Endpoint, fd: &OwnedFd, local: SocketAddr) -> bool {
    let Endpoint::Inet { address, device: None } = place else { return false };
    let (own, asked) = (address.ip(), local.ip().to_canonical());
    let every = match own {
        IpAddr::V4(own) => own.is_unspecified() && asked.is_ipv4(),
        IpAddr::V6(own) => {
            let alone = sockopt::ipv6_v6only(fd).unwrap_or(true);
            own.is_unspecified() && (asked.is_ipv6() || !alone)
        }
    };
    address.port() == local.port() && (every || own.to_canonical() == asked)
}

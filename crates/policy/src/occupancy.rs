//! Who occupies a service now: its running instances and how many each source has.
//!
//! Every occupant's own address is kept, so that a reload may change `per_source_prefix` and the counts stay true for
//! the instances that were admitted under the old one. Bounded by the running instances.

use crate::source::network;
use std::collections::HashMap;
use std::net::IpAddr;

/// Places whose memory an empty service keeps.
const KEPT: usize = 256;

#[derive(Debug)]
pub(crate) struct Occupancy {
    /// Occupants by place. A free place holds `Place::Free`, with the next free one.
    places: Vec<Place>,
    free: Option<u32>,
    running: u32,
    per_source: HashMap<IpAddr, u32>,
    prefix: (u8, u8),
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Free(Option<u32>),
    /// The address is unknown where the server itself accepts (stream, wait = yes).
    Taken(Option<IpAddr>),
}

impl Default for Occupancy {
    fn default() -> Self {
        let (places, per_source) = (Vec::new(), HashMap::new());
        Occupancy { places, free: None, running: 0, per_source, prefix: (32, 64) }
    }
}

impl Occupancy {
    pub(crate) fn running(&self) -> u32 {
        self.running
    }

    /// Distinct sources among the running instances.
    pub(crate) fn sources(&self) -> usize {
        self.per_source.len()
    }

    /// Instances of the source that has most.
    pub(crate) fn most_of_one_source(&self) -> u32 {
        self.per_source.values().copied().max().unwrap_or(0)
    }

    /// Instances from the network of `address`, counted by `prefix`.
    pub(crate) fn from(&self, address: IpAddr, prefix: (u8, u8)) -> u32 {
        let source = network(address, prefix);
        if prefix == self.prefix {
            return self.per_source.get(&source).copied().unwrap_or(0);
        }
        // A reload changed the prefix and nobody was admitted since.
        let same = |place: &&Place| matches!(place, Place::Taken(Some(a)) if network(*a, prefix) == source);
        self.places.iter().filter(same).count().try_into().unwrap_or(u32::MAX)
    }

    /// Counts by `prefix` from now on.
    pub(crate) fn count_by(&mut self, prefix: (u8, u8)) {
        if prefix == self.prefix {
            return;
        }
        self.prefix = prefix;
        self.per_source.clear();
        for place in &self.places {
            if let Place::Taken(Some(address)) = place {
                *self.per_source.entry(network(*address, prefix)).or_insert(0) += 1;
            }
        }
    }

    /// The address of whoever has a place.
    pub(crate) fn occupant(&self, at: u32) -> Option<IpAddr> {
        match self.places.get(at as usize) {
            Some(Place::Taken(address)) => *address,
            Some(Place::Free(_)) | None => None,
        }
    }

    /// Takes a place and returns its number for `leave`.
    pub(crate) fn enter(&mut self, address: Option<IpAddr>) -> u32 {
        self.running = self.running.saturating_add(1);
        if let Some(address) = address {
            *self.per_source.entry(network(address, self.prefix)).or_insert(0) += 1;
        }
        if let Some(at) = self.free
            && let Some(place) = self.places.get_mut(at as usize)
        {
            if let Place::Free(next) = *place {
                self.free = next;
            }
            *place = Place::Taken(address);
            return at;
        }
        self.places.push(Place::Taken(address));
        (self.places.len() - 1).try_into().unwrap_or(u32::MAX)
    }

    /// Gives a place back; only what `enter` returned, and once.
    pub(crate) fn leave(&mut self, at: u32) {
        let Some(place) = self.places.get_mut(at as usize) else { return };
        let Place::Taken(address) = *place else { return };
        *place = Place::Free(self.free);
        self.free = Some(at);
        self.running = self.running.saturating_sub(1);
        let Some(source) = address.map(|address| network(address, self.prefix)) else { return };
        if let Some(count) = self.per_source.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                self.per_source.remove(&source);
            }
        }
        if self.running == 0 && self.places.capacity() > KEPT {
            *self = Occupancy { prefix: self.prefix, ..Occupancy::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Occupancy;
    use std::net::IpAddr;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_changed_prefix_counts_the_instances_that_already_run() {
        let mut occupancy = Occupancy::default();
        let first = occupancy.enter(Some(ip("192.0.2.1")));
        occupancy.enter(Some(ip("192.0.2.2")));
        assert_eq!(occupancy.from(ip("192.0.2.9"), (24, 64)), 2, "before the change is made");
        occupancy.count_by((24, 64));
        assert_eq!(occupancy.from(ip("192.0.2.9"), (24, 64)), 2);
        assert_eq!(occupancy.sources(), 1);
        occupancy.leave(first);
        assert_eq!(occupancy.from(ip("192.0.2.9"), (24, 64)), 1);
        occupancy.count_by((32, 64));
        assert_eq!(occupancy.from(ip("192.0.2.2"), (32, 64)), 1);
        assert_eq!(occupancy.from(ip("192.0.2.1"), (32, 64)), 0);
    }

    #[test]
    fn places_are_used_again_and_left_once() {
        let mut occupancy = Occupancy::default();
        let a = occupancy.enter(Some(ip("192.0.2.1")));
        let b = occupancy.enter(None);
        occupancy.leave(a);
        occupancy.leave(a);
        assert_eq!((occupancy.running(), occupancy.sources()), (1, 0));
        assert_eq!(occupancy.enter(Some(ip("2001:db8::1"))), a);
        occupancy.leave(b);
        assert_eq!((occupancy.running(), occupancy.sources()), (1, 1));
        assert_eq!(occupancy.places.len(), 2);
    }
}

//! All services that are being served, by their number. Owns them one by one: in the nodes of the map, of which half is empty where
//! numbers only grow, stand addresses. Decides nothing about them.

use crate::slot::{Slot, SlotId};
use std::collections::BTreeMap;
use std::collections::btree_map::{Iter, IterMut};
use std::iter::Map;

/// The slots, in the order of their numbers.
#[derive(Debug, Default)]
pub struct Slots(BTreeMap<SlotId, Box<Slot>>);

type Shared<'a> = (&'a SlotId, &'a Slot);
type Exclusive<'a> = (&'a SlotId, &'a mut Slot);

impl Slots {
    /// The slot of this number.
    pub fn get(&self, id: &SlotId) -> Option<&Slot> {
        self.0.get(id).map(Box::as_ref)
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, id: &SlotId) -> Option<&mut Slot> {
        self.0.get_mut(id).map(Box::as_mut)
    }

    /// Whether there is one of this number.
    pub fn contains_key(&self, id: &SlotId) -> bool {
        self.0.contains_key(id)
    }

    /// Takes a slot in.
    pub fn insert(&mut self, id: SlotId, slot: Slot) {
        self.0.insert(id, Box::new(slot));
    }

    /// Forgets a slot.
    pub fn remove(&mut self, id: &SlotId) -> Option<Slot> {
        self.0.remove(id).map(|slot| *slot)
    }

    /// Their numbers.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &SlotId> {
        self.0.keys()
    }

    /// All of them.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &Slot> {
        self.0.values().map(Box::as_ref)
    }

    /// The same, to change them.
    pub fn values_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut Slot> {
        self.0.values_mut().map(Box::as_mut)
    }

    /// With their numbers.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Shared<'_>> {
        self.into_iter()
    }

    /// The same, to change them.
    pub fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = Exclusive<'_>> {
        self.into_iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> IntoIterator for &'a Slots {
    type Item = Shared<'a>;
    type IntoIter = Map<Iter<'a, SlotId, Box<Slot>>, fn((&'a SlotId, &'a Box<Slot>)) -> Shared<'a>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(|(id, slot)| (id, slot))
    }
}

impl<'a> IntoIterator for &'a mut Slots {
    type Item = Exclusive<'a>;
    type IntoIter = Map<IterMut<'a, SlotId, Box<Slot>>, fn((&'a SlotId, &'a mut Box<Slot>)) -> Exclusive<'a>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter_mut().map(|(id, slot)| (id, slot))
    }
}

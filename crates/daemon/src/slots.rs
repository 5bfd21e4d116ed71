//! All services that are being served, by their number. Numbers only grow and few services go, so they stand in one row, mostly each
//! where its number says. Decides nothing about them.

use crate::slot::{Slot, SlotId};
use std::iter::Map;
use std::slice::{Iter, IterMut};

/// The slots, in the order of their numbers.
#[derive(Debug, Default)]
pub struct Slots(Vec<Entry>);

/// By address: a slot is some two hundred bytes, and the row is moved when it grows.
type Entry = (SlotId, Box<Slot>);
type Shared<'a> = (&'a SlotId, &'a Slot);
type Exclusive<'a> = (&'a SlotId, &'a mut Slot);

impl Slots {
    /// The slot of this number.
    pub fn get(&self, id: &SlotId) -> Option<&Slot> {
        self.0.get(at(&self.0, *id).ok()?).map(|(_, slot)| &**slot)
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, id: &SlotId) -> Option<&mut Slot> {
        let at = at(&self.0, *id).ok()?;
        self.0.get_mut(at).map(|(_, slot)| &mut **slot)
    }

    /// Whether there is one of this number.
    pub fn contains_key(&self, id: &SlotId) -> bool {
        at(&self.0, *id).is_ok()
    }

    /// Takes a slot in.
    pub fn insert(&mut self, id: SlotId, slot: Slot) {
        match at(&self.0, id) {
            Ok(at) => self.0[at] = (id, Box::new(slot)),
            Err(at) => self.0.insert(at, (id, Box::new(slot))),
        }
    }

    /// Forgets a slot.
    pub fn remove(&mut self, id: &SlotId) -> Option<Slot> {
        at(&self.0, *id).ok().map(|at| *self.0.remove(at).1)
    }

    /// Their numbers.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &SlotId> {
        self.0.iter().map(|(id, _)| id)
    }

    /// All of them.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &Slot> {
        self.0.iter().map(|(_, slot)| &**slot)
    }

    /// The same, to change them.
    pub fn values_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut Slot> {
        self.0.iter_mut().map(|(_, slot)| &mut **slot)
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

/// Where in a row what has this number stands, or would.
fn at<T>(row: &[(SlotId, T)], id: SlotId) -> Result<usize, usize> {
    let first = row.first().map_or(id, |&(first, _)| first);
    let guess = usize::try_from(id.wrapping_sub(first)).unwrap_or(usize::MAX);
    match row.get(guess) {
        Some(&(there, _)) if there == id => Ok(guess),
        _ => row.binary_search_by_key(&id, |&(there, _)| there),
    }
}

impl<'a> IntoIterator for &'a Slots {
    type Item = Shared<'a>;
    type IntoIter = Map<Iter<'a, Entry>, fn(&'a Entry) -> Shared<'a>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter().map(|(id, slot)| (id, slot))
    }
}

impl<'a> IntoIterator for &'a mut Slots {
    type Item = Exclusive<'a>;
    type IntoIter = Map<IterMut<'a, Entry>, fn(&'a mut Entry) -> Exclusive<'a>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter_mut().map(|(id, slot)| (&*id, slot))
    }
}

#[cfg(test)]
mod tests {
    use super::at;

    #[test]
    fn a_number_is_found_whatever_went() {
        let row = |ids: &[u32]| ids.iter().map(|&id| (id, ())).collect::<Vec<_>>();
        assert_eq!(at(&row(&[]), 1), Err(0));
        for ids in [&[1, 2, 3, 4][..], &[3, 4, 9], &[7], &[1, 5, 6, u32::MAX]] {
            for (index, &id) in ids.iter().enumerate() {
                assert_eq!(at(&row(ids), id), Ok(index), "{ids:?}");
            }
            assert_eq!(at(&row(ids), 0), Err(0));
        }
        assert_eq!((at(&row(&[3, 4, 9]), 5), at(&row(&[3, 4, 9]), 10)), (Err(2), Err(3)));
    }
}

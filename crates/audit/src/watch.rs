//! What came and what went between two looks, told by what outlasts a restart: processes' numbers have no part in it. Pure.

use crate::baseline::{self, Key};
use crate::inventory::Inventory;
use std::collections::{BTreeMap, BTreeSet};

/// What changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It listens, and did not.
    Came,
    /// It does not listen any more.
    Gone,
}

impl Change {
    /// The word for people and machines.
    pub fn word(self) -> &'static str {
        match self {
            Change::Came => "came",
            Change::Gone => "gone",
        }
    }
}

/// What listened at the last look, by key.
#[derive(Debug, Default)]
pub struct Watch {
    there: BTreeSet<Key>,
    /// Missing at the last look: gone when it is missing once more, since a restart leaves a gap.
    missing: BTreeSet<Key>,
    begun: bool,
}

impl Watch {
    /// Takes a look in; what has changed since the one before. The first look changes nothing.
    pub fn look(&mut self, inventory: &Inventory) -> Vec<(Change, Key)> {
        let ports = baseline::handed_out();
        self.take(inventory.listeners.iter().filter_map(|listener| baseline::key(listener, ports)).collect())
    }

    fn take(&mut self, now: BTreeSet<Key>) -> Vec<(Change, Key)> {
        if !std::mem::replace(&mut self.begun, true) {
            self.there = now;
            return Vec::new();
        }
        let mut changes: Vec<_> =
            now.difference(&self.there).map(|key| (Change::Came, key.clone())).collect();
        let absent: BTreeSet<Key> = self.there.difference(&now).cloned().collect();
        let (gone, late): (BTreeSet<_>, BTreeSet<_>) =
            absent.into_iter().partition(|key| self.missing.contains(key));
        changes.extend(gone.into_iter().map(|key| (Change::Gone, key)));
        self.there = now;
        self.there.extend(late.iter().cloned());
        self.missing = late;
        changes
    }
}

/// Whether somebody answers for it today.
pub fn is_accepted(
    key: &Key,
    accepted: &BTreeMap<Key, (String, crate::waivers::Day)>,
    today: crate::waivers::Day,
) -> bool {
    accepted.get(key).is_some_and(|(_, until)| *until >= today)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(ports: &[u16]) -> BTreeSet<Key> {
        let key = |port: &u16| Key {
            place: ["tcp".to_owned(), format!("0.0.0.0:{port}"), "own".to_owned()],
            executable: "/x".to_owned(),
            uid: "0".to_owned(),
        };
        ports.iter().map(key).collect()
    }

    #[test]
    fn a_restart_is_no_change_and_a_death_is_one() {
        let mut watch = Watch::default();
        let mut look = |ports: &[u16]| -> Vec<String> {
            let changes = watch.take(keys(ports));
            changes.into_iter().map(|(change, key)| format!("{} {}", change.word(), key.place[1])).collect()
        };
        assert!(look(&[1, 2]).is_empty(), "the first look");
        assert_eq!(look(&[1, 2, 3]), ["came 0.0.0.0:3"]);
        assert!(look(&[1, 3]).is_empty(), "it may be a restart");
        assert!(look(&[1, 2, 3]).is_empty(), "it was");
        assert!(look(&[1, 3]).is_empty());
        assert_eq!(look(&[1, 3]), ["gone 0.0.0.0:2"]);
        assert!(look(&[1, 3]).is_empty());
        assert_eq!(look(&[1, 2, 3]), ["came 0.0.0.0:2"]);
    }
}

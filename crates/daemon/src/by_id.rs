//! Finds services by their ids, without regard to case, as all words of the language. Decides nothing about them.

use portreeve_conf::Text;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};

/// Where in a list the services of an id are.
#[derive(Debug)]
pub struct ById {
    first: HashMap<Id, usize>,
    /// Of each in the list the next of its id.
    next: Vec<Option<usize>>,
}

/// An id.
#[derive(Debug, Eq)]
struct Id(Text);

impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Hash for Id {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // In pieces: the hasher is slow about single bytes, and most ids are no longer than one.
        let mut piece = [0; 32];
        for part in self.0.as_bytes().chunks(piece.len()) {
            let lower = &mut piece[..part.len()];
            lower.copy_from_slice(part);
            lower.make_ascii_lowercase();
            state.write(lower);
        }
    }
}

impl ById {
    /// Of a list with these ids.
    pub fn of(ids: Vec<&Text>) -> Self {
        let count = ids.len();
        let mut all = Self { first: HashMap::with_capacity(count), next: vec![None; count] };
        for (index, &id) in ids.iter().enumerate().rev() {
            if let Some(next) = all.next.get_mut(index) {
                *next = all.first.insert(Id(id.clone()), index);
            }
        }
        all
    }

    /// Those of this id, in the order of the list.
    pub fn all(&self, id: &Text) -> impl Iterator<Item = usize> + Clone {
        let first = self.first.get(&Id(id.clone())).copied();
        std::iter::successors(first, |&index| self.next.get(index).copied().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_an_id_are_found_in_their_order_whatever_their_case() {
        let long = format!("{}-x", "a".repeat(40));
        let ids = ["a", "B", "A", "b", "a", "", &long].map(Text::from);
        let by_id = ById::of(ids.iter().collect());
        let found = |id: &str| by_id.all(&id.into()).collect::<Vec<_>>();
        assert_eq!(found("A"), [0, 2, 4]);
        assert_eq!(found("b"), [1, 3]);
        assert_eq!(found(""), [5]);
        assert_eq!(found(&long.to_uppercase()), [6]);
        assert_eq!(found("c"), []);
    }
}

//! Finds services by their ids, without regard to case, as all words of the language. Decides nothing about them.

use portreeve_conf::{Caseless, Text};
use std::collections::HashMap;

/// Where in a list the services of an id are.
#[derive(Debug)]
pub struct ById {
    first: HashMap<Caseless<Text>, usize>,
    /// Of each in the list the next of its id.
    next: Vec<Option<usize>>,
}

impl ById {
    /// Of a list with these ids.
    pub fn of(ids: Vec<&Text>) -> Self {
        let count = ids.len();
        let mut all = Self { first: HashMap::with_capacity(count), next: vec![None; count] };
        for (index, &id) in ids.iter().enumerate().rev() {
            if let Some(next) = all.next.get_mut(index) {
                *next = all.first.insert(Caseless(id.clone()), index);
            }
        }
        all
    }

    /// Those of this id, in the order of the list.
    pub fn all(&self, id: &Text) -> impl Iterator<Item = usize> + Clone {
        let first = self.first.get(&Caseless(id.clone())).copied();
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

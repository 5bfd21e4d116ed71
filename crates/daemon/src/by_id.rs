//! Finds services by their ids, without regard to case, as all words of the language. Decides nothing about them.

use portreeve_conf::{Caseless, Text};
use std::cell::OnceCell;
use std::collections::HashMap;

/// Where in a list the services of an id are.
#[derive(Debug)]
pub struct ById {
    ids: Vec<Text>,
    /// No two of them are the same.
    differ: bool,
    found: OnceCell<Found>,
}

#[derive(Debug)]
struct Found {
    first: HashMap<Caseless<Text>, usize>,
    /// Of each in the list the next of its id.
    next: Vec<Option<usize>>,
}

impl ById {
    /// Of a list with these ids.
    pub fn of(ids: Vec<Text>, differ: bool) -> Self {
        Self { ids, differ, found: OnceCell::new() }
    }

    /// Those of this id, in the order of the list. Where they all differ, it is looked at `guess` first: most lists are in the order of
    /// the one before.
    pub fn all(&self, id: &Text, guess: usize) -> impl Iterator<Item = usize> + Clone {
        let guessed = self.differ && self.ids.get(guess).is_some_and(|at| at.eq_ignore_ascii_case(id));
        let found = (!guessed).then(|| self.found.get_or_init(|| Found::of(&self.ids)));
        let first = match found {
            None => Some(guess),
            Some(found) => found.first.get(&Caseless(id.clone())).copied(),
        };
        std::iter::successors(first, move |&index| found?.next.get(index).copied().flatten())
    }
}

impl Found {
    fn of(ids: &[Text]) -> Self {
        let mut all = Self { first: HashMap::with_capacity(ids.len()), next: vec![None; ids.len()] };
        for (index, id) in ids.iter().enumerate().rev() {
            if let Some(next) = all.next.get_mut(index) {
                *next = all.first.insert(Caseless(id.clone()), index);
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_an_id_are_found_in_their_order_whatever_their_case() {
        let long = format!("{}-x", "a".repeat(40));
        let ids = ["a", "B", "A", "b", "a", "", &long].map(Text::from);
        let by_id = ById::of(ids.to_vec(), false);
        let found = |id: &str| by_id.all(&id.into(), 1).collect::<Vec<_>>();
        assert_eq!(found("A"), [0, 2, 4]);
        assert_eq!(found("b"), [1, 3]);
        assert_eq!(found(""), [5]);
        assert_eq!(found(&long.to_uppercase()), [6]);
        assert_eq!(found("c"), []);
    }

    #[test]
    fn a_guess_is_right_or_costs_nothing() {
        let by_id = ById::of(["a", "B", "c"].map(Text::from).to_vec(), true);
        let found = |id: &str, guess| by_id.all(&id.into(), guess).collect::<Vec<_>>();
        assert_eq!((found("A", 0), found("b", 1)), (vec![0], vec![1]));
        assert!(by_id.found.get().is_none(), "nobody had to look");
        assert_eq!((found("c", 0), found("c", 7), found("d", 2)), (vec![2], vec![2], vec![]));
    }
}

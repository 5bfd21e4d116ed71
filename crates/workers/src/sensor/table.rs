//! A table of bounded size, by a number that strangers choose. Sixteen places for each value of a keyed hash, so that nobody can
//! aim at another's place. The keys of a row lie together: a flood is looked for there, and touches nothing of those who are remembered.
//!
//! Who is remembered may not be pushed out cheaply: with forged senders an attacker has as many newcomers as packets. So those
//! who are there may be pushed out only so often, the table's size once in [`TURNOVER`], and a newcomer of a flood is mostly
//! turned away. Who makes room is chosen by chance among those who have been told of already, or else among all: being
//! forged, new, old, loud or quiet helps nobody to stay, and nobody to push another out.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;

/// Places for each value of the hash.
const WAYS: usize = 16;
/// In so many seconds a flood can replace all of a full table.
pub(super) const TURNOVER: u32 = 6 * 3600;

/// What is in a place.
pub(super) trait Place {
    /// The last second in which it counts. Never becomes earlier.
    fn counts_until(&self) -> u32;
    /// Whether it has been told of, and nothing is lost with it.
    fn is_told(&self, now: u32) -> bool;
}

/// Where something is. Another may be there later: its key tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct At(usize, usize);

#[derive(Debug)]
struct Row<P> {
    keys: [u64; WAYS],
    /// As many as there are, in the order of their keys.
    places: Vec<P>,
    /// Until then all of a full row count.
    all_count_until: u32,
}

impl<P: Place> Row<P> {
    fn new() -> Self {
        Row { keys: [0; WAYS], places: Vec::new(), all_count_until: 0 }
    }

    fn find(&self, key: u64) -> Option<usize> {
        self.keys.iter().take(self.places.len()).position(|one| *one == key)
    }

    /// One that counts no more.
    fn over(&mut self, now: u32) -> Option<usize> {
        if now <= self.all_count_until {
            return None;
        }
        let over = self.places.iter().position(|place| place.counts_until() < now);
        if over.is_none() {
            self.all_count_until = self.places.iter().map(P::counts_until).min().unwrap_or(0);
        }
        over
    }

    fn put(&mut self, way: usize, key: u64, place: P) {
        self.all_count_until = self.all_count_until.min(place.counts_until());
        if let Some(one) = self.keys.get_mut(way) {
            *one = key;
        }
        match self.places.get_mut(way) {
            Some(before) => *before = place,
            None => {
                // All of the row at once: it fills in a flood, and would be moved again and again.
                self.places.reserve_exact(WAYS - self.places.len());
                self.places.push(place);
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct Table<P> {
    rows: Vec<Row<P>>,
    hasher: RandomState,
    count: usize,
    /// Who may still be pushed out now, and when that was reckoned; in millionths.
    budget: u64,
    reckoned: u32,
    pub(super) evicted: u64,
    pub(super) turned_away: u64,
    dice: u64,
}

impl<P: Place> Table<P> {
    /// For `places`, a multiple of sixteen.
    pub(super) fn new(places: usize, now: u32) -> Self {
        let rows = (0..(places / WAYS).max(1)).map(|_| Row::new()).collect::<Vec<_>>();
        let hasher = RandomState::new();
        let dice = hasher.hash_one(places) | 1;
        let mut table =
            Table { rows, hasher, count: 0, budget: 0, reckoned: now, evicted: 0, turned_away: 0, dice };
        table.budget = table.most_budget();
        table
    }

    pub(super) fn places(&self) -> usize {
        self.rows.len() * WAYS
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// So many may be pushed out at once after a quiet time: a sixty-fourth of all.
    fn most_budget(&self) -> u64 {
        (self.places() as u64 * 1_000_000 / 64).max(1_000_000)
    }

    fn row(&self, key: u64) -> usize {
        // The remainder is below the number of rows.
        (self.hasher.hash_one(key) % self.rows.len() as u64) as usize
    }

    pub(super) fn get(&mut self, at: At) -> Option<&mut P> {
        self.rows.get_mut(at.0)?.places.get_mut(at.1)
    }

    pub(super) fn find(&self, key: u64) -> Option<At> {
        let row = self.row(key);
        let way = self.rows.get(row)?.find(key)?;
        Some(At(row, way))
    }

    /// The place of this key; where it has none, one is made with `new`, if there is room.
    pub(super) fn find_or_make(&mut self, key: u64, now: u32, new: impl FnOnce() -> P) -> Option<At> {
        let number = self.row(key);
        let row = self.rows.get_mut(number)?;
        if let Some(way) = row.find(key) {
            return Some(At(number, way));
        }
        let way = match row.places.len() {
            count if count < WAYS => {
                self.count += 1;
                count
            }
            _ => match row.over(now) {
                Some(way) => way,
                None => self.make_room(number, now)?,
            },
        };
        self.rows.get_mut(number)?.put(way, key, new());
        Some(At(number, way))
    }

    fn make_room(&mut self, row: usize, now: u32) -> Option<usize> {
        let passed = u64::from(now.saturating_sub(self.reckoned));
        let earned = passed.saturating_mul(self.places() as u64 * 1_000_000 / u64::from(TURNOVER));
        (self.budget, self.reckoned) = (self.budget.saturating_add(earned).min(self.most_budget()), now);
        let Some(left) = self.budget.checked_sub(1_000_000) else {
            self.turned_away += 1;
            return None;
        };
        self.budget = left;
        self.evicted += 1;
        let start = self.throw();
        let places = &self.rows.get(row)?.places;
        let told = (0..WAYS).map(|step| (start + step) % WAYS);
        told.into_iter().find(|way| places.get(*way).is_some_and(|place| place.is_told(now))).or(Some(start))
    }

    /// A way by chance: xorshift, of a seed that nobody knows.
    fn throw(&mut self) -> usize {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        (self.dice >> 32) as usize % WAYS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct One {
        last: u32,
        told: bool,
    }

    impl Place for One {
        fn counts_until(&self) -> u32 {
            self.last + 86_400
        }
        fn is_told(&self, _: u32) -> bool {
            self.told
        }
    }

    fn enter(table: &mut Table<One>, key: u64, now: u32, told: bool) -> bool {
        table.find_or_make(key, now, || One { last: now, told }).is_some()
    }

    #[test]
    fn a_flood_pushes_few_out_and_a_slow_one_stays() {
        let mut table = Table::new(4096, 0);
        (0..3000).for_each(|key| assert!(enter(&mut table, key, 0, false) || table.turned_away > 0));
        // An hour of a flood of a thousand newcomers a second.
        for second in 0..3600u32 {
            for n in 0..1000 {
                enter(&mut table, (1 << 40) + u64::from(second) * 1000 + n, second, false);
            }
        }
        assert_eq!(table.len(), 4096);
        // An hour is a sixth of the turnover; a sixty-fourth was saved up.
        assert!(table.evicted <= 4096 / 6 + 4096 / 64 + 1, "{}", table.evicted);
        assert!(table.turned_away > 3_500_000);
        let left = (0..3000).filter(|key| table.find(*key).is_some()).count();
        assert!(left > 2100, "{left} of 3000 are still there");
    }

    #[test]
    fn who_has_been_told_of_makes_room_first_and_who_is_over_always() {
        let mut table = Table::new(16, 0);
        (0..16).for_each(|key| assert!(enter(&mut table, key, 0, key == 5)));
        assert!(enter(&mut table, 100, 10, false), "one may always be pushed out after a quiet time");
        assert!(table.find(5).is_none(), "the one that was told of");
        assert!(!enter(&mut table, 101, 11, false));
        assert_eq!((table.evicted, table.turned_away), (1, 1));
        for key in 200..215 {
            assert!(enter(&mut table, key, 86_401, false), "a day later they count no more");
        }
        assert_eq!(table.evicted, 1);
    }
}

//! The book as plain values, for whoever goes on with it: the next version of the supervisor. Times are the same clock's.

use super::book::Scorebook;
use super::scores::Held;
use crate::prefix::Prefix;
use std::time::Duration;

/// Against whom, and in which table: 0 what may ban, 1 the same by the word of proxies, 2 what may be forged.
#[derive(Clone, Debug, PartialEq)]
pub struct SavedScore {
    /// The subscriber.
    pub network: Prefix,
    /// The table.
    pub table: u8,
    /// What.
    pub held: Held,
}

impl Scorebook {
    /// The highest `most` scores of each table.
    pub fn save_scores(&self, most: usize, now: Duration) -> Vec<SavedScore> {
        let tables = self.tables().into_iter().zip(0..);
        let saved = tables.flat_map(|(scores, table)| {
            let highest = scores.highest(now).take(most);
            highest.map(move |(network, held, _)| SavedScore { network, table, held: held.clone() })
        });
        saved.collect()
    }

    /// A score of before; one that is over is not taken.
    pub fn restore_score(&mut self, saved: SavedScore, now: Duration) {
        if let Some(scores) = self.tables_mut().into_iter().nth(saved.table.into()) {
            scores.restore(saved.network, saved.held, now);
        }
    }

    /// The `most` former bans that count for longest: how many, and until when.
    pub fn save_strikes(&self, most: usize) -> Vec<(Prefix, u32, Duration)> {
        self.struck().latest().take(most).collect()
    }
}

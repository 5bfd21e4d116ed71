//! What is held against whom, as records and back. An upgrade grants nobody a fresh start; of very many scores the highest go over.

use crate::supervisor::Supervisor;
use portreeve_handover::{ScoreState, StrikeState};
use portreeve_policy::Prefix;
use portreeve_policy::evidence::{BanPolicy, Held, Kind, SavedScore, Scorebook};

/// Scores of each table, and former bans, that go over at most.
const MOST: usize = 16_384;

impl Supervisor {
    /// The scores as records.
    pub fn leave_scores(&self) -> Vec<ScoreState> {
        let record = |saved: SavedScore| ScoreState {
            address: Some(saved.network.address()),
            length: saved.network.len(),
            table: saved.table,
            until: saved.held.until,
            counts: saved.held.counts.iter().map(|count| (*count).into()).collect(),
            service: saved.held.service.to_string(),
            last: saved.held.last,
            authenticated: saved.held.authenticated,
        };
        self.book.save_scores(MOST, self.stamp.mono()).into_iter().map(record).collect()
    }

    /// Former bans as records.
    pub fn leave_strikes(&self) -> Vec<StrikeState> {
        let record = |(network, count, until): (Prefix, u32, _)| StrikeState {
            address: Some(network.address()),
            length: network.len(),
            count,
            until,
        };
        self.book.save_strikes(MOST).into_iter().map(record).collect()
    }

    /// What a former version left.
    pub fn take_over_book(&mut self, policy: &str, scores: &[ScoreState], strikes: &[StrikeState]) {
        let now = self.stamp.mono();
        // Lines of another version that are not understood: the file is read at the next reload.
        self.book = Scorebook::new(BanPolicy::from_lines(policy).unwrap_or_default());
        for left in scores {
            let Some(address) = left.address else { continue };
            let mut counts = [0; Kind::ALL.len()];
            for (count, left) in counts.iter_mut().zip(&left.counts) {
                *count = u32::try_from(*left).unwrap_or(u32::MAX);
            }
            let held = Held {
                until: left.until,
                counts,
                service: left.service.as_str().into(),
                last: left.last,
                authenticated: left.authenticated,
            };
            let network = Prefix::around(address, left.length);
            self.book.restore_score(SavedScore { network, table: left.table, held }, now);
        }
        for left in strikes {
            if let Some(address) = left.address {
                self.book.remember(Prefix::around(address, left.length), left.count, left.until, now);
            }
        }
    }
}

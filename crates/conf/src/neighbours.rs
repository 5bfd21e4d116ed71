//! Which of the earlier services a later one is compared with: those whose ports may be its own, so that reading ten thousand
//! services is not fifty million comparisons. Decides nothing about them.

use crate::service::Listen;
use std::collections::BTreeSet;

/// Services by the port that they have, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    by_port: BTreeSet<(u16, usize)>,
    /// Those with several ports, or a path in place of one.
    others: Vec<usize>,
}

impl Neighbours {
    /// Takes service number `index` in; the numbers grow.
    pub(crate) fn add(&mut self, index: usize, listen: &Listen) {
        if listen.is_local() || listen.port != listen.last_port {
            self.others.push(index);
        } else {
            self.by_port.insert((listen.port, index));
        }
    }

    /// The numbers of all that can be at a port of `listen`, or at its path: the first comes first.
    pub(crate) fn of(&self, listen: &Listen) -> Vec<usize> {
        let mut all = self.others.clone();
        if !listen.is_local() {
            // A range that is written backwards was refused; it would panic here.
            let last = listen.last_port.max(listen.port);
            all.extend(self.by_port.range((listen.port, 0)..=(last, usize::MAX)).map(|&(_, at)| at));
        }
        all.sort_unstable();
        all
    }
}

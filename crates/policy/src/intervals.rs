//! Networks as sorted disjoint intervals, each with the smallest rule index that covers it.
//!
//! A look-up is one binary search, so that a list of 100 000 networks costs a connection hardly more than one of ten.
//! Works on numbers; knows nothing of what a match means.

/// Sorted boundaries: `covering[i]` holds from `starts[i]` up to the next start.
#[derive(Clone, Debug)]
pub(crate) struct Intervals<N> {
    starts: Vec<N>,
    /// Rule indices; `NOBODY` where no network covers.
    covering: Vec<u32>,
}

const NOBODY: u32 = u32::MAX;

impl<N> Default for Intervals<N> {
    fn default() -> Self {
        Intervals { starts: Vec::new(), covering: Vec::new() }
    }
}

/// An address as a number.
pub(crate) trait Number: Copy + Ord {
    /// The next number, unless this is the last.
    fn next(self) -> Option<Self>;
}

impl Number for u32 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Number for u128 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl<N: Number> Intervals<N> {
    /// Compiles `(first, last, rule)` ranges. They are networks: of two, one holds the other or they are disjoint.
    pub(crate) fn build(mut ranges: Vec<(N, N, usize)>) -> Self {
        // Outer networks first, so that the stack below always holds the chain of networks around the current one.
        ranges.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)).then(a.2.cmp(&b.2)));
        let mut built = Intervals { starts: Vec::new(), covering: Vec::new() };
        let mut around: Vec<(N, u32)> = Vec::new();
        for (first, last, rule) in ranges {
            built.leave(&mut around, Some(first));
            // Four bytes an index: the search lives on what fits into the cache. No list has that many lines.
            let rule = u32::try_from(rule).unwrap_or(NOBODY - 1);
            let rule = around.last().map_or(rule, |&(_, outer)| outer.min(rule));
            built.mark(first, rule);
            around.push((last, rule));
        }
        built.leave(&mut around, None);
        built.starts.shrink_to_fit();
        built.covering.shrink_to_fit();
        built
    }

    /// Ends the networks that end before `next` begins (all when `None`).
    fn leave(&mut self, around: &mut Vec<(N, u32)>, next: Option<N>) {
        while let Some(&(last, _)) = around.last() {
            if next.is_some_and(|next| next <= last) {
                break;
            }
            around.pop();
            if let Some(after) = last.next() {
                self.mark(after, around.last().map_or(NOBODY, |&(_, rule)| rule));
            }
        }
    }

    /// From `start` on, `rule` covers. A later mark at the same place wins; a mark that changes nothing is left out.
    fn mark(&mut self, start: N, rule: u32) {
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.covering.pop();
        }
        if self.covering.last().copied().unwrap_or(NOBODY) != rule {
            self.starts.push(start);
            self.covering.push(rule);
        }
    }

    /// The smallest index of the rules that cover `number`.
    pub(crate) fn first(&self, number: N) -> Option<usize> {
        let after = self.starts.partition_point(|start| *start <= number);
        let rule = *self.covering.get(after.checked_sub(1)?)?;
        (rule != NOBODY).then_some(rule as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::Intervals;

    #[test]
    fn merges_what_one_rule_covers() {
        let built = Intervals::<u32>::build(vec![(0, 255, 0), (16, 31, 1), (256, 511, 0)]);
        assert_eq!(built.starts, [0, 512]);
    }

    #[test]
    fn an_inner_network_with_a_smaller_index_is_named() {
        let built = Intervals::<u32>::build(vec![(0, 255, 5), (16, 31, 1)]);
        assert_eq!([15, 16, 31, 32, 256].map(|n| built.first(n)), [Some(5), Some(1), Some(1), Some(5), None]);
    }

    #[test]
    fn the_last_address_has_no_successor() {
        let built = Intervals::<u32>::build(vec![(u32::MAX, u32::MAX, 3), (0, u32::MAX, 9)]);
        assert_eq!(built.first(u32::MAX), Some(3));
        assert_eq!(built.first(0), Some(9));
    }
}

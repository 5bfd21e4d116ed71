//! From nets that lie in each other to steps that do not: at each step, the smallest number of a rule that has the net or
//! one around it. Two prefixes are disjoint or one holds the other, so one pass with a stack does it.

use super::bytes::{Key, NONE};

/// A net: its first and last address, and the rule that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Net<K> {
    pub(crate) first: K,
    pub(crate) last: K,
    pub(crate) rule: u32,
}

/// The steps: from each key on, up to the next, the rule is this one ([`NONE`]: no net there).
pub(crate) fn flatten<K: Key>(mut nets: Vec<Net<K>>) -> Vec<(K, u32)> {
    nets.sort_unstable_by(|a, b| a.first.cmp(&b.first).then(b.last.cmp(&a.last)).then(a.rule.cmp(&b.rule)));
    let mut steps = Steps { steps: Vec::with_capacity(nets.len().saturating_mul(2)) };
    // The nets around the place that the pass has come to, from the outermost.
    let mut around: Vec<Net<K>> = Vec::new();
    for net in nets {
        steps.leave(&mut around, |outer| outer.last < net.first);
        let rule = around.last().map_or(net.rule, |outer| outer.rule.min(net.rule));
        steps.push(net.first, rule);
        around.push(Net { rule, ..net });
    }
    steps.leave(&mut around, |_| true);
    steps.steps.shrink_to_fit();
    steps.steps
}

struct Steps<K> {
    steps: Vec<(K, u32)>,
}

impl<K: Key> Steps<K> {
    /// Leaves the innermost nets while `gone` says that they end before the next begins.
    fn leave(&mut self, around: &mut Vec<Net<K>>, gone: impl Fn(&Net<K>) -> bool) {
        while let Some(inner) = around.pop_if(|net| gone(net)) {
            if let Some(next) = inner.last.next() {
                self.push(next, around.last().map_or(NONE, |outer| outer.rule));
            }
        }
    }

    fn push(&mut self, key: K, rule: u32) {
        // Of several steps at one place the last counts: the outer net, when inner ones end with it.
        self.steps.pop_if(|step| step.0 == key);
        if self.steps.last().map_or(NONE, |step| step.1) != rule {
            self.steps.push((key, rule));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn net(first: u32, bits: u32, rule: u32) -> Net<u32> {
        let first = first & !0u32.filled(bits);
        Net { first, last: first.filled(bits), rule }
    }

    #[test]
    fn examples() {
        for (nets, steps) in [
            (vec![], vec![]),
            (vec![net(0, 32, 5)], vec![(0, 5)]),
            (vec![net(16, 4, 1)], vec![(16, 1), (32, NONE)]),
            (vec![net(16, 4, 1), net(16, 2, 2)], vec![(16, 1), (32, NONE)]),
            (vec![net(16, 4, 2), net(16, 2, 1)], vec![(16, 1), (20, 2), (32, NONE)]),
            (vec![net(16, 4, 2), net(28, 2, 1)], vec![(16, 2), (28, 1), (32, NONE)]),
            (vec![net(16, 4, 1), net(32, 4, 1)], vec![(16, 1), (48, NONE)]),
            (vec![net(16, 4, 1), net(32, 4, 2)], vec![(16, 1), (32, 2), (48, NONE)]),
            (vec![net(u32::MAX, 0, 3)], vec![(u32::MAX, 3)]),
        ] {
            assert_eq!(flatten(nets.clone()), steps, "{nets:?}");
        }
    }

    proptest! {
        #[test]
        fn each_place_has_the_smallest_rule(
            nets in prop::collection::vec((0u32..64, 0u32..6, 0u32..20), 0..20),
        ) {
            let nets: Vec<_> = nets.into_iter().map(|(first, bits, rule)| net(first, bits, rule)).collect();
            let steps = flatten(nets.clone());
            prop_assert!(steps.is_sorted_by(|a, b| a.0 < b.0 && a.1 != b.1));
            for place in 0u32..70 {
                let covering = nets.iter().filter(|net| net.first <= place && place <= net.last);
                let wanted = covering.map(|net| net.rule).min().unwrap_or(NONE);
                let found = steps.iter().take_while(|step| step.0 <= place).last().map_or(NONE, |step| step.1);
                prop_assert_eq!(found, wanted, "{}", place);
            }
        }
    }
}

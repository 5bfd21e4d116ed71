//! A set of ports, a bit for each.

#[derive(Clone, PartialEq, Eq)]
pub(super) struct Ports(Box<[u64; 1024]>);

impl Default for Ports {
    fn default() -> Self {
        Ports(Box::new([0; 1024]))
    }
}

impl std::fmt::Debug for Ports {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.ranges()).finish()
    }
}

impl Ports {
    pub(super) fn all() -> Self {
        Ports(Box::new([u64::MAX; 1024]))
    }

    pub(super) fn add(&mut self, port: u16) {
        if let Some(word) = self.0.get_mut(usize::from(port / 64)) {
            *word |= 1 << (port % 64);
        }
    }

    pub(super) fn add_range(&mut self, (from, to): (u16, u16)) {
        (from..=to).for_each(|port| self.add(port));
    }

    pub(super) fn has(&self, port: u16) -> bool {
        self.0.get(usize::from(port / 64)).is_some_and(|word| word & (1 << (port % 64)) != 0)
    }

    /// Its ranges, in order; they do not meet.
    pub(super) fn ranges(&self) -> Vec<(u16, u16)> {
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for port in (0..=u16::MAX).filter(|port| self.has(*port)) {
            match ranges.last_mut() {
                Some((_, to)) if to.checked_add(1) == Some(port) => *to = port,
                _ => ranges.push((port, port)),
            }
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_whole_and_in_order() {
        let mut ports = Ports::default();
        assert!(ports.ranges().is_empty());
        [80, 22, 81, 0, 65535].into_iter().for_each(|port| ports.add(port));
        ports.add_range((100, 200));
        ports.add_range((9, 3));
        assert_eq!(ports.ranges(), [(0, 0), (22, 22), (80, 81), (100, 200), (65535, 65535)]);
        assert!(ports.has(150) && !ports.has(82));
        assert_eq!(Ports::all().ranges(), [(0, 65535)]);
    }
}

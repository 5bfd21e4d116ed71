//! Decoys: a scan whose probes come with forged ones, the same port from many senders at the same moment (nmap -D). Remembers
//! for each port who was there last, and tells who was there together.

use super::table::At;
use std::time::Duration;

/// Who probes the same port within this time is there together. nmap sends the probes of one port one after the other.
const TOGETHER: Duration = Duration::from_millis(250);
/// Ports that are remembered, by their hash: what is forgotten is company that is not seen.
const REMEMBERED: usize = 4096;

/// Somebody at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Visitor {
    pub(super) key: u64,
    /// Where he is remembered; nowhere while there is no room.
    pub(super) at: Option<At>,
}

#[derive(Debug)]
pub(super) struct Company(Box<[Option<(u64, Visitor, Duration)>]>);

impl Default for Company {
    fn default() -> Self {
        Company(vec![None; REMEMBERED].into())
    }
}

impl Company {
    /// Somebody comes to a port for the first time. Who else was just there.
    pub(super) fn meet(&mut self, target: u64, visitor: Visitor, now: Duration) -> Option<Visitor> {
        let place = self.0.get_mut((target % REMEMBERED as u64) as usize)?;
        let before = place.replace((target, visitor, now));
        before
            .filter(|(port, other, then)| {
                *port == target && other.key != visitor.key && now.saturating_sub(*then) <= TOGETHER
            })
            .map(|(_, other, _)| other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_to_the_same_port_at_the_same_moment_is_company() {
        let mut company = Company::default();
        let who = |key| Visitor { key, at: None };
        let ms = Duration::from_millis;
        assert_eq!(company.meet(9, who(1), ms(0)), None);
        assert_eq!(company.meet(9, who(2), ms(3)), Some(who(1)));
        assert_eq!(company.meet(9, who(2), ms(4)), None, "nobody is his own company");
        assert_eq!(company.meet(9, who(3), ms(900)), None, "that was long ago");
        assert_eq!(company.meet(9 + REMEMBERED as u64, who(4), ms(901)), None, "another port");
    }
}

//! Which refusals by the rate are written to a service's log: each source once a minute, and so many sources, as for datagrams
//! (reference xinetd §3.2). All are counted. xinetd closes the service instead, which is one line too.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// A source is named again after this long.
const AGAIN: Duration = Duration::from_secs(60);
/// Sources that are remembered as named. When all places are taken no further one is named.
const REMEMBERED: usize = 1024;

/// The sources of one service that were named.
#[derive(Clone, Debug, Default)]
pub struct Named(HashMap<IpAddr, Duration>);

impl Named {
    /// Whether this source, refused now, is to be named; it counts as named then.
    pub fn takes(&mut self, source: IpAddr, now: Duration) -> bool {
        let source = crate::hosts::source_of(source);
        if self.0.get(&source).is_some_and(|at| now < *at + AGAIN) {
            return false;
        }
        if self.0.len() >= REMEMBERED {
            self.0.retain(|_, at| now < *at + AGAIN);
        }
        let room = self.0.len() < REMEMBERED;
        if room {
            self.0.insert(source, now);
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_named_once_a_minute_and_so_many_sources() {
        let at = Duration::from_secs;
        let v4 = |n: u32| IpAddr::V4(n.into());
        let mut named = Named::default();
        assert!(named.takes(v4(0), at(0)));
        for second in 0..60 {
            assert!(!named.takes(v4(0), at(second)), "{second}");
        }
        assert!(named.takes(v4(0), at(60)));
        assert!(!named.takes("::ffff:0.0.0.0".parse().unwrap(), at(60)), "the same, mapped");
        let many = (1..5000).filter(|&n| named.takes(v4(n), at(61))).count();
        assert_eq!(many, REMEMBERED - 1);
        assert!(!named.takes(v4(9000), at(119)));
        assert!(named.takes(v4(9000), at(121)), "a minute later there is room");
    }
}

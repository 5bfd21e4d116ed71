//! Which refusals are written to a service's log where a flood must not cost a line each: each source once a minute, and so many
//! sources, as for datagrams (reference xinetd §3.2). All are counted. By the rate, where xinetd closes the service, which is one
//! line too; and for want of a PROXY header, where the source is a proxy and so all of its clients.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// A source is named again after this long.
const AGAIN: Duration = Duration::from_secs(60);
/// Sources that are remembered as named. When all places are taken no further one is named.
const REMEMBERED: usize = 1024;

/// The sources of one service that were named.
#[derive(Clone, Debug, Default)]
pub struct Named(Option<Box<Sources>>);

/// When each was named, and how often it came since. Of a thousand services few have one: it is made for the first.
#[derive(Clone, Debug, Default)]
struct Sources(HashMap<IpAddr, (Duration, u64)>);

impl Named {
    /// Nobody was.
    pub const NOBODY: Self = Self(None);

    /// Whether this source, refused now, is to be named; it counts as named then. With how many of it were not since the last time.
    pub fn takes(&mut self, source: IpAddr, now: Duration) -> Option<u64> {
        let source = crate::hosts::source_of(source);
        let Sources(named) = &mut **self.0.get_or_insert_default();
        let mut unsaid = 0;
        if let Some((at, more)) = named.get_mut(&source) {
            if now < *at + AGAIN {
                *more += 1;
                return None;
            }
            unsaid = *more;
        } else if named.len() >= REMEMBERED {
            named.retain(|_, (at, _)| now < *at + AGAIN);
            if named.len() >= REMEMBERED {
                return None;
            }
        }
        named.insert(source, (now, 0));
        Some(unsaid)
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
        assert_eq!(named.takes(v4(0), at(0)), Some(0));
        for second in 0..60 {
            assert_eq!(named.takes(v4(0), at(second)), None, "{second}");
        }
        assert_eq!(named.takes(v4(0), at(60)), Some(60));
        assert_eq!(named.takes("::ffff:0.0.0.0".parse().unwrap(), at(60)), None, "the same, mapped");
        let many = (1..5000).filter(|&n| named.takes(v4(n), at(61)).is_some()).count();
        assert_eq!(many, REMEMBERED - 1);
        assert_eq!(named.takes(v4(9000), at(119)), None);
        assert_eq!(named.takes(v4(0), at(120)), Some(1), "the mapped one");
        assert_eq!(named.takes(v4(9000), at(121)), Some(0), "a minute later there is room");
    }
}

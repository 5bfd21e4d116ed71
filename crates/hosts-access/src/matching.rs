//! Whether a daemon list or a client list matches the request (reference A5, A6), asking for names, users, netgroups and
//! files only where a pattern needs them.

use crate::Truth;
use crate::address::{is_space, without_mapping};
use crate::inquiry::{Inquiry, Stop};
use crate::list::{self, Token};
use crate::pattern::{ClientPattern, DaemonName, DaemonPattern, HostPattern};
use crate::text::{TextPattern, in_scope, numeric};
use crate::world::{End, ListFile};

/// How deep `/file` lists may name each other. The original recurses until it crashes.
pub const DEEPEST_LIST: u8 = 8;
/// The longest word of a `/file` list, in bytes. The original overflows its stack beyond.
pub const LONGEST_WORD: usize = 8191;
/// How much of `/file` lists one evaluation reads, in bytes, each opening counted as at least 16 KiB.
pub const MOST_LISTED: u64 = 64 << 20;

/// What the opening of a list counts for at least, in bytes.
pub(crate) const PAGE: u64 = 16 << 10;

impl Inquiry<'_> {
    /// Whether a daemon list matches.
    #[inline]
    pub(crate) fn daemons(&mut self, daemons: &[u8]) -> Result<Truth, Stop> {
        list::matches(daemons, |word| {
            let matches = self.daemon(&DaemonPattern::of(&word))?;
            Ok(self.noted(word, matches))
        })
    }

    /// Whether a client list matches.
    #[inline]
    pub(crate) fn clients(&mut self, clients: &[u8]) -> Result<Truth, Stop> {
        list::matches(clients, |word| {
            let matches = self.client(&ClientPattern::of(&word))?;
            Ok(self.noted(word, matches))
        })
    }

    #[inline]
    fn noted(&mut self, word: Token<'_>, matches: Truth) -> Truth {
        if let Some(words) = &mut self.words
            && matches != Truth::No
        {
            words.push(word.text.to_vec());
        }
        matches
    }

    /// Whether one word of a daemon list matches.
    #[inline]
    pub(crate) fn daemon(&mut self, pattern: &DaemonPattern<'_>) -> Result<Truth, Stop> {
        let matches = match pattern.daemon {
            DaemonName::Port(port) => self.request.server.socket.is_some_and(|socket| socket.port() == port),
            DaemonName::Text(text) => {
                text.matches(self.request.daemon.as_bytes(), &mut |name| self.world.is_interface(name))
            }
        };
        match &pattern.host {
            Some(host) if matches => self.host_matches(host, End::Server, 0),
            _ => Ok(matches.into()),
        }
    }

    /// Whether one word of a client list matches: the host first, and only then the user.
    #[inline]
    pub(crate) fn client(&mut self, pattern: &ClientPattern<'_>) -> Result<Truth, Stop> {
        let host = self.host_matches(&pattern.host, End::Client, 0)?;
        match &pattern.user {
            Some(user) if host != Truth::No => Ok(host.and(self.user_matches(user)?)),
            _ => Ok(host),
        }
    }

    fn user_matches(&mut self, user: &TextPattern<'_>) -> Result<Truth, Stop> {
        if !self.ask_user()? {
            return Ok(Truth::Unknown);
        }
        Ok(user.matches(self.request.user.as_bytes(), &mut |name| self.world.is_interface(name)).into())
    }

    #[inline]
    fn host_matches(&mut self, pattern: &HostPattern<'_>, end: End, depth: u8) -> Result<Truth, Stop> {
        match pattern {
            HostPattern::Text { text, name } => {
                let address = self.request.end(end).address();
                let mut is_interface = |name: &[u8]| self.world.is_interface(name);
                if text.matches_unmapped(without_mapping(address), &mut is_interface) {
                    return Ok(Truth::Yes);
                }
                if *name { self.name_matches(text, end) } else { Ok(Truth::No) }
            }
            HostPattern::Net4 { net, mask } => {
                Ok(self.quad(end).is_some_and(|address| address & mask == *net).into())
            }
            HostPattern::Net6 { net, length } => {
                let address = self.request.end(end).address();
                let mut is_interface = |name: &[u8]| self.world.is_interface(name);
                let mask = u128::MAX.checked_shl(128 - u32::from(*length)).unwrap_or(0);
                let matches = in_scope(net, &mut is_interface)
                    && numeric(without_mapping(address), &mut is_interface)
                        .is_some_and(|address| address & mask == net.bits & mask);
                Ok(matches.into())
            }
            HostPattern::NoNet(_) => Ok(Truth::No),
            HostPattern::Known => self.is_known(end),
            HostPattern::Local => self.is_local(end),
            HostPattern::Netgroup(group) => self.is_member(group, end),
            HostPattern::File(path) => self.file_matches(path, end, depth),
        }
    }

    fn name_matches(&mut self, text: &TextPattern<'_>, end: End) -> Result<Truth, Stop> {
        if !self.ask_name(end)? {
            return Ok(Truth::Unknown);
        }
        let host = self.request.end(end);
        Ok(text.matches(host.name.as_bytes(), &mut |name| self.world.is_interface(name)).into())
    }

    /// Whether a word of a file matches (reference A6.3): words between white space, each a host pattern; no comments, no
    /// EXCEPT, no users.
    #[cold]
    fn file_matches(&mut self, path: &[u8], end: End, depth: u8) -> Result<Truth, Stop> {
        let broken = |what: &str| Stop::Broken([path, b": ", what.as_bytes()].concat());
        if depth >= DEEPEST_LIST {
            return Err(broken("lists nested too deeply"));
        }
        let bytes = match self.world.list(path) {
            ListFile::Bytes(bytes) => bytes.into_owned(),
            ListFile::Absent => return Ok(Truth::No),
            ListFile::Unreadable(reason) => {
                self.warn([b"open ", path, b": ", reason.as_bytes()].concat());
                return Ok(Truth::No);
            }
            ListFile::TooLarge => return Err(broken("list too large")),
        };
        self.listed += PAGE.max(bytes.len() as u64);
        if self.listed > MOST_LISTED {
            return Err(broken("too much to read in lists"));
        }
        let mut matches = Truth::No;
        for word in bytes.split(|byte| is_space(*byte)).filter(|word| !word.is_empty()) {
            if word.len() > LONGEST_WORD {
                return Err(broken("word too long"));
            }
            // The original holds it as a C string.
            let word = word.split(|byte| *byte == 0).next().unwrap_or_default();
            matches = matches.or(self.host_matches(&HostPattern::new(word), end, depth + 1)?);
            if matches == Truth::Yes {
                break;
            }
        }
        Ok(matches)
    }
}

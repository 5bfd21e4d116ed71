//! What one word of a daemon or client list means (reference A5, A6): its classification, which does not depend on the
//! request. Asking and matching are the evaluation's.

use crate::address::{self, V6};
use crate::list::Token;
use crate::marks::{AT, GLOB, SLASH, WORD, marks};
use crate::split::{at_host, at_unbracketed};
use crate::text::TextPattern;

/// A word as a pattern for a host: its address and its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostPattern<'a> {
    /// `@group`: the name is a member of this netgroup.
    Netgroup(&'a [u8]),
    /// `/path`: one of the patterns in that file.
    File(&'a [u8]),
    /// KNOWN: neither the address nor the name is unknown.
    Known,
    /// LOCAL: a name without a dot.
    Local,
    /// `n.n.n.n/…`: the address has these bits under this mask, and the net has no others.
    Net4 {
        /// The net.
        net: u32,
        /// The mask; not always contiguous.
        mask: u32,
    },
    /// `[v6]/length`: both sides under the mask.
    Net6 {
        /// The net.
        net: V6<'a>,
        /// Its length, 0 to 128.
        length: u8,
    },
    /// With a `/`, but no net that could match.
    NoNet(NoNet),
    /// A text: tried on the address, then on the name if `name` says so.
    Text {
        /// The pattern.
        text: TextPattern<'a>,
        /// It has a character outside `0-9 . /`.
        name: bool,
    },
}

/// Why a net can never match; for the linter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoNet {
    /// The part before the slash is no address that can be a net.
    Net,
    /// The part behind it is no mask and no length.
    Mask,
    /// The net has bits outside its mask.
    HostBits {
        /// The net as it stands.
        net: u32,
        /// Its mask.
        mask: u32,
    },
}

/// A word of a client list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientPattern<'a> {
    /// `user@`: what the user must match, after the host did.
    pub user: Option<TextPattern<'a>>,
    /// The host.
    pub host: HostPattern<'a>,
}

/// A word of a daemon list, before an `@`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DaemonName<'a> {
    /// The port that the client came to.
    Port(u16),
    /// The daemon's name.
    Text(TextPattern<'a>),
}

/// A word of a daemon list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DaemonPattern<'a> {
    /// The daemon.
    pub daemon: DaemonName<'a>,
    /// `@host`: what our end must match.
    pub host: Option<HostPattern<'a>>,
}

impl<'a> HostPattern<'a> {
    /// What `word` means as a host pattern. It may be empty (`d@`), and then never matches.
    #[must_use]
    #[inline]
    pub fn new(word: &'a [u8]) -> Self {
        Self::classify(word, marks(word))
    }

    #[inline]
    fn classify(word: &'a [u8], marks: u8) -> Self {
        match word {
            [b'@', group @ ..] => return Self::Netgroup(group),
            [b'/', ..] => return Self::File(word),
            _ => {}
        }
        if marks & WORD != 0 {
            if word.eq_ignore_ascii_case(b"KNOWN") {
                return Self::Known;
            }
            if word.eq_ignore_ascii_case(b"LOCAL") {
                return Self::Local;
            }
        }
        if marks & SLASH != 0
            && let Some((net, mask)) = at_unbracketed(word, b'/')
        {
            return Self::net(net, mask);
        }
        Self::Text { text: TextPattern::classify(word, marks & GLOB != 0), name: marks & WORD != 0 }
    }

    fn net(net: &'a [u8], mask: &[u8]) -> Self {
        if let [b'[', inner @ .., b']'] = net {
            return match (address::v6(inner), u8::try_from(address::atoi(mask))) {
                (Some(net), Ok(length @ 0..=128)) => Self::Net6 { net, length },
                (Some(_), _) => Self::NoNet(NoNet::Mask),
                (None, _) => Self::NoNet(NoNet::Net),
            };
        }
        let Some(net) = address::dot_quad(net) else { return Self::NoNet(NoNet::Net) };
        let Some(mask) = address::dot_quad(mask).or_else(|| length_as_mask(mask)) else {
            return Self::NoNet(NoNet::Mask);
        };
        if net & !mask == 0 { Self::Net4 { net, mask } } else { Self::NoNet(NoNet::HostBits { net, mask }) }
    }

    /// Whether it can only match by the address, so that no name is ever asked for.
    #[must_use]
    pub fn is_address_only(&self) -> bool {
        match self {
            Self::Net4 { .. } | Self::Net6 { .. } | Self::NoNet(_) => true,
            Self::Text { text, name } => !name || *text == TextPattern::All,
            Self::Netgroup(_) | Self::File(_) | Self::Known | Self::Local => false,
        }
    }
}

/// `/1` to `/32`, as `atoi` reads them.
fn length_as_mask(text: &[u8]) -> Option<u32> {
    let length = u32::try_from(address::atoi(text)).ok()?;
    (1..=32).contains(&length).then(|| u32::MAX << (32 - length))
}

impl<'a> ClientPattern<'a> {
    /// What `word` means in a client list.
    #[must_use]
    #[inline]
    pub fn new(word: &'a [u8]) -> Self {
        Self::classify(word, marks(word))
    }

    /// What a word of a list means.
    #[inline]
    pub(crate) fn of(token: &Token<'a>) -> Self {
        Self::classify(token.text, token.marks)
    }

    #[inline]
    fn classify(word: &'a [u8], marks: u8) -> Self {
        if marks & AT != 0
            && let Some((user, host)) = at_host(word)
        {
            return Self { user: Some(TextPattern::new(user)), host: HostPattern::new(host) };
        }
        Self { user: None, host: HostPattern::classify(word, marks) }
    }
}

impl<'a> DaemonPattern<'a> {
    /// What `word` means in a daemon list.
    #[must_use]
    #[inline]
    pub fn new(word: &'a [u8]) -> Self {
        Self::classify(word, marks(word))
    }

    /// What a word of a list means.
    #[inline]
    pub(crate) fn of(token: &Token<'a>) -> Self {
        Self::classify(token.text, token.marks)
    }

    #[inline]
    fn classify(word: &'a [u8], marks: u8) -> Self {
        if marks & AT != 0
            && let Some((daemon, host)) = at_host(word)
        {
            return Self { daemon: DaemonName::new(daemon, marks), host: Some(HostPattern::new(host)) };
        }
        Self { daemon: DaemonName::new(word, marks), host: None }
    }
}

impl<'a> DaemonName<'a> {
    #[inline]
    fn new(word: &'a [u8], marks: u8) -> Self {
        match address::port(word) {
            Some(port) => Self::Port(port),
            None if marks & GLOB != 0 => Self::Text(TextPattern::new(word)),
            None => Self::Text(TextPattern::classify(word, false)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ClientPattern, DaemonName, DaemonPattern, HostPattern, NoNet};
    use crate::text::TextPattern;

    fn host(word: &'static str) -> HostPattern<'static> {
        HostPattern::new(word.as_bytes())
    }

    #[test]
    fn nets_and_masks() {
        let net = |net, mask| HostPattern::Net4 { net, mask };
        for eight in
            ["10.0.0.0/8", "10.0.0.0/08", "10.0.0.0/+8", "10.0.0.0/8x", "10.0.0.0/8.0", "10.0.0.0/8/24"]
        {
            assert_eq!(host(eight), net(0x0a00_0000, 0xff00_0000), "{eight}");
        }
        assert_eq!(host("10.0.0.0/4294967304"), net(0x0a00_0000, 0xff00_0000));
        assert_eq!(host("10.0.0.1/32"), net(0x0a00_0001, u32::MAX));
        assert_eq!(host("012.0.0.0/0xff.0.0.0"), net(0x0a00_0000, 0xff00_0000));
        assert_eq!(host("0.0.0.0/0.0.0.0"), net(0, 0));
        assert_eq!(host("0.0.0.1/0.0.0.1"), net(1, 1));
        for (word, why) in [
            ("10.0.0.1/255.255.255.255", NoNet::Mask),
            ("10.0.0.0/0", NoNet::Mask),
            ("10.0.0.0/33", NoNet::Mask),
            ("10.0.0.0/-1", NoNet::Mask),
            ("10.0.0.0/x", NoNet::Mask),
            ("10.0.0.0/", NoNet::Mask),
            ("10/8", NoNet::Net),
            ("255.255.255.255/32", NoNet::Net),
            ("[10.0.0.0]/8", NoNet::Net),
            ("[::]/129", NoNet::Mask),
            ("[::]/-1", NoNet::Mask),
            ("10.0.0.1/8", NoNet::HostBits { net: 0x0a00_0001, mask: 0xff00_0000 }),
        ] {
            assert_eq!(host(word), HostPattern::NoNet(why), "{word}");
        }
        for (word, wanted) in
            [("[::]/0", 0), ("[::]/", 0), ("[::]/x", 0), ("[::1]/64x", 64), ("[::]/128", 128)]
        {
            assert!(matches!(host(word), HostPattern::Net6 { length, .. } if length == wanted), "{word}");
        }
    }

    #[test]
    fn order_of_the_host_rules() {
        assert_eq!(host("@g"), HostPattern::Netgroup(b"g"));
        assert_eq!(host("/f/g"), HostPattern::File(b"/f/g"));
        assert_eq!(host("known"), HostPattern::Known);
        assert_eq!(host("Local"), HostPattern::Local);
        assert_eq!(host("10.1."), HostPattern::Text { text: TextPattern::Prefix(b"10.1."), name: false });
        assert_eq!(host("a.b"), HostPattern::Text { text: TextPattern::Exact(b"a.b"), name: true });
        assert_eq!(host(""), HostPattern::Text { text: TextPattern::Exact(b""), name: false });
        assert_eq!(
            host("[2001:db8::/32]"),
            HostPattern::Text { text: TextPattern::NoAddress(b"[2001:db8::/32]"), name: true }
        );
    }

    #[test]
    fn users_and_daemons() {
        let joe = ClientPattern::new(b"joe@10.0.0.0/8");
        assert_eq!(joe.user, Some(TextPattern::Exact(b"joe")));
        assert_eq!(joe.host, host("10.0.0.0/8"));
        assert_eq!(ClientPattern::new(b"@grp").user, None);
        assert_eq!(DaemonPattern::new(b"22@ALL").daemon, DaemonName::Port(22));
        assert_eq!(DaemonPattern::new(b"d@").host, Some(host("")));
        assert_eq!(DaemonPattern::new(b"0x16").daemon, DaemonName::Text(TextPattern::Exact(b"0x16")));
        assert_eq!(DaemonPattern::new(b"LOCAL").daemon, DaemonName::Text(TextPattern::Exact(b"LOCAL")));
    }
}

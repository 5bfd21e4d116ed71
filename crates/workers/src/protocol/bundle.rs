//! Several messages in one packet, for the channels that see most of them: what one turn has to say goes with one system call, and
//! the descriptors of its messages beside it, in their order. A bundle holds messages as they are, each behind its length; one
//! message alone is sent as it is. These bytes are the same in every version, as those of `parting` are: what a worker has said
//! before it was told to leave may still stand in its channel.

use super::{BadMessage, MAX_MESSAGE};

/// What a bundle begins with; no message has this tag.
const BUNDLE: u8 = 254;
/// Most messages of one, and so most descriptors.
pub const MOST_IN_BUNDLE: usize = portreeve_sys::seqpacket::MOST_ATTACHED;
/// Bytes before each message.
const LENGTH: usize = 4;

/// A bundle that is being filled. Emptied and filled again, it allocates nothing anew.
#[derive(Debug, Default)]
pub struct Bundle {
    bytes: Vec<u8>,
    count: usize,
}

impl Bundle {
    /// Nothing in it.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.push(BUNDLE);
        self.count = 0;
    }

    /// Messages in it.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Adds a message behind the others. False when there is no room for it; alone every message has room.
    pub fn add(&mut self, message: &[u8]) -> bool {
        let full = self.count >= MOST_IN_BUNDLE || self.bytes.len() + LENGTH + message.len() > MAX_MESSAGE;
        let Some(length) = u32::try_from(message.len()).ok().filter(|_| self.count == 0 || !full) else {
            return false;
        };
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(message);
        self.count += 1;
        true
    }

    /// The packet.
    #[must_use]
    pub fn packet(&self) -> &[u8] {
        let bare = if self.count == 1 { 1 + LENGTH } else { 0 };
        self.bytes.get(bare..).unwrap_or_default()
    }
}

/// The messages of a packet.
#[derive(Debug)]
pub struct Parts<'a> {
    rest: &'a [u8],
    /// More may come.
    left: usize,
    bundled: bool,
}

/// The messages of a packet, one after the other; what is wrong with it comes as the last of them.
#[must_use]
pub fn parts(packet: &[u8]) -> Parts<'_> {
    match packet.split_first() {
        Some((&BUNDLE, rest)) => Parts { rest, left: MOST_IN_BUNDLE, bundled: true },
        _ => Parts { rest: packet, left: 1, bundled: false },
    }
}

impl<'a> Parts<'a> {
    fn part(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.rest.split_first_chunk::<LENGTH>()?;
        let (part, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
        self.rest = rest;
        (!part.is_empty()).then_some(part)
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Result<&'a [u8], BadMessage>;

    fn next(&mut self) -> Option<Self::Item> {
        if !self.bundled {
            return std::mem::take(&mut self.left).checked_sub(1).map(|_| Ok(self.rest));
        }
        if self.rest.is_empty() {
            return None;
        }
        let part = self.left.checked_sub(1).and_then(|left| {
            self.left = left;
            self.part()
        });
        if part.is_none() {
            self.rest = &[];
        }
        Some(part.ok_or(BadMessage::BadValue("bundle")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(packet: &[u8]) -> Result<Vec<Vec<u8>>, BadMessage> {
        parts(packet).map(|part| part.map(<[u8]>::to_vec)).collect()
    }

    #[test]
    fn one_alone_is_sent_as_it_is() {
        let mut bundle = Bundle::default();
        bundle.clear();
        assert!(bundle.add(&[7; MAX_MESSAGE]) && !bundle.add(&[1]));
        assert_eq!(bundle.packet(), [7; MAX_MESSAGE]);
        assert_eq!(read(&[7, 8]), Ok(vec![vec![7, 8]]));
    }

    #[test]
    fn it_has_bounds() {
        let mut bundle = Bundle::default();
        bundle.clear();
        let many = (0..100).take_while(|_| bundle.add(&[1])).count();
        assert_eq!((many, bundle.count()), (MOST_IN_BUNDLE, MOST_IN_BUNDLE));
        let one_more = [bundle.packet(), &[1, 0, 0, 0, 9]].concat();
        assert_eq!(read(bundle.packet()).map(|all| all.len()), Ok(MOST_IN_BUNDLE));
        assert!(read(&one_more).is_err());
        bundle.clear();
        assert!(bundle.add(&[1; 40_000]) && !bundle.add(&[1; 30_000]));
    }

    #[test]
    fn what_is_wrong_is_an_error_and_the_end() {
        for packet in [
            &[254, 1][..],
            &[254, 1, 0, 0, 0],
            &[254, 0, 0, 0, 0],
            &[254, 9, 0, 0, 0, 1],
            &[254, 255, 255, 255, 255, 1],
        ] {
            assert_eq!(parts(packet).map(|part| part.is_ok()).collect::<Vec<_>>(), [false], "{packet:?}");
        }
        assert_eq!(read(&[254]), Ok(vec![]));
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(all in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 2..MOST_IN_BUNDLE)) {
            let mut bundle = Bundle::default();
            bundle.clear();
            for message in &all {
                prop_assert!(bundle.add(message));
            }
            prop_assert_eq!(read(bundle.packet()), Ok(all));
        }

        #[test]
        fn nothing_panics(packet in prop::collection::vec(any::<u8>(), 0..200)) {
            let of_it = parts(&packet).count();
            prop_assert!(of_it <= MOST_IN_BUNDLE + 1);
        }
    }
}

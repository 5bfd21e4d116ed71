//! How addresses look, for the linter: [`crate::address`] says how they are read.

use std::net::Ipv4Addr;

/// Four decimal numbers as the system writes them.
pub(super) fn plain_v4(text: &[u8]) -> Option<Ipv4Addr> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Four numbers whatever leading zeros they have, read in decimal: what a person means by `010.0.0.1`.
pub(super) fn meant_v4(text: &[u8]) -> Option<Ipv4Addr> {
    let number = |part: &[u8]| std::str::from_utf8(part).ok()?.parse::<u8>().ok();
    let parts: Vec<&[u8]> = text.split(|byte| *byte == b'.').collect();
    let [a, b, c, d] = parts.as_slice() else { return None };
    Some(Ipv4Addr::new(number(a)?, number(b)?, number(c)?, number(d)?))
}

/// The mask of a length from 0 to 32.
pub(super) fn v4_mask(length: u32) -> u32 {
    u32::MAX.checked_shl(32 - length.min(32)).unwrap_or(0)
}

/// The mask of a length from 0 to 128.
pub(super) fn v6_mask(length: u32) -> u128 {
    u128::MAX.checked_shl(128 - length.min(128)).unwrap_or(0)
}

/// The length of a mask without holes.
pub(super) fn mask_length(mask: u32) -> Option<u32> {
    let length = mask.leading_ones();
    (v4_mask(length) == mask).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_means() {
        assert_eq!(meant_v4(b"010.0.0.08"), Some(Ipv4Addr::new(10, 0, 0, 8)));
        assert_eq!(meant_v4(b"10.0.0.256"), None);
        assert_eq!(plain_v4(b"10.0.0.01"), None);
    }

    #[test]
    fn masks() {
        assert_eq!((v4_mask(0), v4_mask(8), v4_mask(32)), (0, 0xff00_0000, u32::MAX));
        assert_eq!((v6_mask(0), v6_mask(128)), (0, u128::MAX));
        assert_eq!(
            (mask_length(0xff00_0000), mask_length(0xff00_ff00), mask_length(0)),
            (Some(8), None, Some(0))
        );
    }
}

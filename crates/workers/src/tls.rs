//! How much a worker that serves TLS may hold. The worker itself is `portreeve-tls`: the gate links no TLS.

/// The worker's own limit on descriptors.
pub const DESCRIPTORS: usize = 8_192 + 64;

/// How many connections such a worker holds at once under this limit on descriptors: two descriptors each, and its files. The
/// supervisor leaves more clients in the kernel's queue.
pub fn most_sealed(descriptors: usize) -> usize {
    let others = 64.min(descriptors / 4);
    descriptors.min(DESCRIPTORS).saturating_sub(others) / 2
}

//! The kinds of probes that the sensor tells apart, and sets of them.

/// How a port is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanKind {
    /// A SYN to where nobody listens.
    Syn,
    /// FIN alone.
    Fin,
    /// No flag.
    Null,
    /// FIN, PSH and URG.
    Xmas,
    /// FIN and ACK without a connection.
    Maimon,
    /// ACK without a connection.
    Ack,
    /// A datagram to where nothing is.
    Udp,
    /// Flags that no stack sends, or a TCP header cut to pieces.
    Odd,
}

impl ScanKind {
    /// All of them, in the order of their bits.
    pub const ALL: [ScanKind; 8] = [
        ScanKind::Syn,
        ScanKind::Fin,
        ScanKind::Null,
        ScanKind::Xmas,
        ScanKind::Maimon,
        ScanKind::Ack,
        ScanKind::Udp,
        ScanKind::Odd,
    ];

    /// The word for people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            ScanKind::Syn => "syn",
            ScanKind::Fin => "fin",
            ScanKind::Null => "null",
            ScanKind::Xmas => "xmas",
            ScanKind::Maimon => "maimon",
            ScanKind::Ack => "ack",
            ScanKind::Udp => "udp",
            ScanKind::Odd => "odd",
        }
    }
}

/// Several of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanKinds(pub u8);

impl ScanKinds {
    /// Adds one. Whether it is new.
    pub fn add(&mut self, kind: ScanKind) -> bool {
        let before = self.0;
        self.0 |= 1 << (kind as u8);
        before != self.0
    }

    /// Those that are in it.
    pub fn iter(self) -> impl Iterator<Item = ScanKind> {
        ScanKind::ALL.into_iter().filter(move |kind| self.0 & (1 << (*kind as u8)) != 0)
    }
}

//! The conversation with the sensor: what it watches with, and who it saw scanning. Everything that it says comes from packets
//! whose sender may be forged; it is said in summaries that are bounded in size and number.

use super::referee::{Missing, put_ready, tag, take_ready};
use super::scan_kind::ScanKinds;
use super::wire::{BadMessage, Reader, Writer};
use portreeve_policy::Prefix;

/// The most scans in one message.
pub const MAX_SCANS: usize = 64;
/// The most ports that are named of one scan.
pub const MAX_SCAN_PORTS: usize = 8;

const PACKETS: u8 = 140;
const SOCKETS: u8 = 141;
const ADDRESSES: u8 = 142;
const WATCH: u8 = 143;

/// One that scans: a source (a host, in IPv6 a /64), or a wider network with many of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Who.
    pub network: Prefix,
    /// How.
    pub kinds: ScanKinds,
    /// Others probed the same ports at the same moments: decoys, of which at most one is real.
    pub company: bool,
    /// Sources, counted roughly above a handful: one but for a wider network.
    pub sources: u32,
    /// Different ports of different addresses of this host, counted roughly above a handful.
    pub targets: u32,
    /// Some of the ports, the first ones.
    pub ports: Vec<u16>,
    /// Seconds since the first probe that counts.
    pub since: u32,
}

/// What the sensor has counted since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// Packets that passed the filter.
    pub packets: u64,
    /// Those that the kernel dropped because the sensor was late.
    pub dropped: u64,
    /// Probes.
    pub probes: u64,
    /// Segments of which it could not be told whether there is a connection: too many at once.
    pub unjudged: u64,
    /// Sources that are remembered.
    pub sources: u32,
    /// Networks that are remembered.
    pub networks: u32,
    /// Sources that made room for others before their time.
    pub evicted: u64,
    /// Probes whose source was not remembered since there was no room.
    pub turned_away: u64,
    /// Scans that were not told since there were too many at once.
    pub untold: u64,
    /// What was asked and could not be had: errno; 0 when all is well.
    pub fault: u16,
}

/// What the supervisor tells the sensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToSensor {
    /// The packet socket. Carries its descriptor.
    Packets,
    /// The socket to ask the kernel about sockets with. Carries its descriptor.
    Sockets,
    /// The socket to ask the kernel for this host's addresses with. Carries its descriptor.
    Addresses,
    /// All is there. What is known of this host.
    Watch {
        /// From which ports it connects: the first and the last. What comes there may be an answer.
        ephemeral: (u16, u16),
        /// It carries others' packets: what looks like a part of a connection may be one of theirs.
        forwards: bool,
    },
}

/// What the sensor tells the supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromSensor {
    /// First message: it is confined and waits for its sockets.
    Ready {
        /// What of the confinement is missing.
        missing: Vec<Missing>,
    },
    /// What it has counted. Once a second at most.
    Watching(Watched),
    /// These scan.
    Scans(Vec<Scan>),
}

impl ToSensor {
    /// Whether a descriptor travels with this message.
    pub fn carries_descriptor(&self) -> bool {
        !matches!(self, ToSensor::Watch { .. })
    }

    /// Writes the message into `out`, replacing what it held.
    ///
    /// # Errors
    /// None: no message has a bound to break.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), BadMessage> {
        let writer = match self {
            ToSensor::Packets => Writer::new(out, PACKETS),
            ToSensor::Sockets => Writer::new(out, SOCKETS),
            ToSensor::Addresses => Writer::new(out, ADDRESSES),
            ToSensor::Watch { ephemeral, forwards } => {
                let mut writer = Writer::new(out, WATCH);
                writer.u16(ephemeral.0);
                writer.u16(ephemeral.1);
                writer.flag(*forwards);
                writer
            }
        };
        writer.finish()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// Bytes that are no such message.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadMessage> {
        let (tag, mut input) = Reader::new(bytes)?;
        let message = match tag {
            PACKETS => ToSensor::Packets,
            SOCKETS => ToSensor::Sockets,
            ADDRESSES => ToSensor::Addresses,
            WATCH => {
                ToSensor::Watch { ephemeral: (input.u16()?, input.u16()?), forwards: input.flag("forwards")? }
            }
            other => return Err(BadMessage::UnknownTag(other)),
        };
        input.finish()?;
        Ok(message)
    }
}

impl FromSensor {
    /// Writes the message into `out`, replacing what it held.
    ///
    /// # Errors
    /// A list beyond the protocol's bounds.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), BadMessage> {
        let mut writer;
        match self {
            FromSensor::Ready { missing } => {
                writer = Writer::new(out, tag::READY);
                put_ready(&mut writer, missing);
            }
            FromSensor::Watching(watched) => {
                writer = Writer::new(out, tag::WATCHING);
                for number in [watched.packets, watched.dropped, watched.probes, watched.unjudged] {
                    writer.u64(number);
                }
                writer.u32(watched.sources);
                writer.u32(watched.networks);
                for number in [watched.evicted, watched.turned_away, watched.untold] {
                    writer.u64(number);
                }
                writer.u16(watched.fault);
            }
            FromSensor::Scans(scans) => {
                writer = Writer::new(out, tag::SCANS);
                writer.count("scans", scans.len(), MAX_SCANS)?;
                for scan in scans {
                    writer.prefix(&scan.network);
                    writer.u8(scan.kinds.0);
                    writer.flag(scan.company);
                    writer.u32(scan.sources);
                    writer.u32(scan.targets);
                    writer.count("ports", scan.ports.len(), MAX_SCAN_PORTS)?;
                    scan.ports.iter().for_each(|port| writer.u16(*port));
                    writer.u32(scan.since);
                }
            }
        }
        writer.finish()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// Bytes that are no such message.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadMessage> {
        let (tag, mut input) = Reader::new(bytes)?;
        let message = match tag {
            tag::READY => FromSensor::Ready { missing: take_ready(&mut input)? },
            tag::WATCHING => FromSensor::Watching(Watched {
                packets: input.u64()?,
                dropped: input.u64()?,
                probes: input.u64()?,
                unjudged: input.u64()?,
                sources: input.u32()?,
                networks: input.u32()?,
                evicted: input.u64()?,
                turned_away: input.u64()?,
                untold: input.u64()?,
                fault: input.u16()?,
            }),
            tag::SCANS => FromSensor::Scans(input.list("scans", MAX_SCANS, |input| {
                Ok(Scan {
                    network: input.prefix()?,
                    kinds: ScanKinds(input.u8()?),
                    company: input.flag("company")?,
                    sources: input.u32()?,
                    targets: input.u32()?,
                    ports: input.list("ports", MAX_SCAN_PORTS, Reader::u16)?,
                    since: input.u32()?,
                })
            })?),
            other => return Err(BadMessage::UnknownTag(other)),
        };
        input.finish()?;
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::super::scan_kind::ScanKind;
    use super::*;

    fn scan(network: &str) -> Scan {
        let mut kinds = ScanKinds::default();
        assert!(kinds.add(ScanKind::Syn) && kinds.add(ScanKind::Odd) && !kinds.add(ScanKind::Syn));
        let network = network.parse().unwrap();
        Scan { network, kinds, company: true, sources: 1, targets: 9, ports: vec![1, 65535], since: 7 }
    }

    #[test]
    fn what_is_said_is_heard() {
        let watched = Watched { packets: 1, fault: 13, untold: u64::MAX, networks: 5, ..Watched::default() };
        let scans = vec![scan("192.0.2.1"), scan("2001:db8::/64")];
        for message in [
            FromSensor::Ready { missing: vec![Missing::Seccomp] },
            FromSensor::Watching(watched),
            FromSensor::Scans(scans.clone()),
            FromSensor::Scans(Vec::new()),
        ] {
            let mut bytes = Vec::new();
            message.encode(&mut bytes).unwrap();
            assert_eq!(FromSensor::decode(&bytes), Ok(message));
            for length in 0..bytes.len() {
                assert!(FromSensor::decode(&bytes[..length]).is_err(), "{length}");
            }
        }
        for message in [
            ToSensor::Packets,
            ToSensor::Sockets,
            ToSensor::Addresses,
            ToSensor::Watch { ephemeral: (32768, 60999), forwards: true },
        ] {
            let mut bytes = Vec::new();
            message.encode(&mut bytes).unwrap();
            assert_eq!(ToSensor::decode(&bytes), Ok(message));
        }
        let words: Vec<_> = scans[0].kinds.iter().map(ScanKind::word).collect();
        assert_eq!(words, ["syn", "odd"]);
    }

    #[test]
    fn more_than_the_bounds_is_not_said() {
        let many = FromSensor::Scans(vec![scan("192.0.2.1"); MAX_SCANS + 1]);
        assert!(many.encode(&mut Vec::new()).is_err());
        let ports = Scan { ports: vec![1; MAX_SCAN_PORTS + 1], ..scan("192.0.2.1") };
        assert!(FromSensor::Scans(vec![ports]).encode(&mut Vec::new()).is_err());
    }
}

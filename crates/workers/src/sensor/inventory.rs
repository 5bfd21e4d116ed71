//! What this host has: its addresses, the ports where somebody listens or receives, and whether there is a connection. Asked
//! of the kernel, over sockets that the supervisor made; nothing of it is configured. From it comes the filter of the packet
//! socket, and the verdict whether a packet that passed it is a probe.

use super::packet::Candidate;
use super::ports::Ports;
use crate::protocol::ScanKind;
use portreeve_sys::filter::{self, Silent};
use portreeve_sys::{addresses, ports, sock_diag};
use std::collections::HashSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// What was learnt is asked for again when a probe comes and it is older.
const STALE: Duration = Duration::from_secs(1);
/// And in any case.
pub(super) const ROUTINE: Duration = Duration::from_secs(10);
/// A port that a connection had goes on to be one where something is.
const HELD: Duration = Duration::from_secs(120);
/// Questions about single connections in one second.
const QUESTIONS: u32 = 1000;
/// Below are the ports of servers: what a datagram from there to a high port is, may be a late answer.
const SERVERS: u16 = 1024;

/// What a candidate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    Probe,
    Nothing,
    /// Too many questions at once.
    Unknown,
}

/// Ports, as the filter has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Having {
    listening: Ports,
    /// Where a segment may belong to a connection.
    connected: Ports,
    receiving: Ports,
}

pub(super) struct Inventory {
    sockets: OwnedFd,
    addresses: OwnedFd,
    ephemeral: (u16, u16),
    forwards: bool,
    own: HashSet<IpAddr>,
    having: Having,
    held: Vec<(u16, Duration)>,
    /// When it was asked for.
    learnt: Option<Duration>,
    questions: (Duration, u32),
    /// No filter was made of it yet.
    is_new: bool,
}

impl Inventory {
    pub(super) fn new(sockets: OwnedFd, addresses: OwnedFd, ephemeral: (u16, u16), forwards: bool) -> Self {
        Inventory {
            sockets,
            addresses,
            ephemeral,
            forwards,
            own: HashSet::new(),
            having: Having::default(),
            held: Vec::new(),
            learnt: None,
            questions: (Duration::ZERO, 0),
            is_new: true,
        }
    }

    /// When it is to be asked for without a reason.
    pub(super) fn due(&self) -> Option<Duration> {
        self.learnt.map(|learnt| learnt + ROUTINE)
    }

    /// Whether it is too old to judge by.
    pub(super) fn is_stale(&self, now: Duration) -> bool {
        self.learnt.is_none_or(|learnt| now.saturating_sub(learnt) >= STALE)
    }

    /// Asks the kernel, and gives the packet socket a filter where the old one would not do.
    ///
    /// # Errors
    /// The kernel's. What was known before goes on to be.
    pub(super) fn learn(&mut self, packets: &OwnedFd, now: Duration) -> io::Result<()> {
        self.learnt = Some(now);
        let own = addresses::own(&self.addresses)?;
        let mut having = Having::default();
        for v6 in [false, true] {
            supported(ports::listening(&self.sockets, v6))?
                .into_iter()
                .for_each(|port| having.listening.add(port));
            match ports::receiving(&self.sockets, v6) {
                Ok(ports) => ports.into_iter().for_each(|port| having.receiving.add(port)),
                // Without a list, nobody knows where nothing is.
                Err(error) if sock_diag::is_unsupported(&error) => {
                    having.receiving = if v6 { having.receiving } else { Ports::all() };
                }
                Err(error) => return Err(error),
            }
        }
        self.held.retain(|(_, until)| now < *until);
        having.connected = having.listening.clone();
        self.held.iter().for_each(|(port, _)| having.connected.add(*port));
        if self.forwards {
            having.connected = Ports::all();
        }
        for ports in [&mut having.connected, &mut having.receiving] {
            ports.add_range(self.ephemeral);
        }
        self.own = own.into_iter().collect();
        if self.is_new || having != self.having {
            having.attach(packets)?;
            (self.having, self.is_new) = (having, false);
        }
        Ok(())
    }

    /// What a packet that passed the filter is. `counts` says whether it would be of any consequence: only then the kernel is
    /// asked about a connection.
    pub(super) fn judge(
        &mut self,
        one: &Candidate,
        now: Duration,
        counts: impl FnOnce() -> bool,
    ) -> io::Result<Judged> {
        let (from, to) = (one.from, one.to);
        if !self.own.contains(&to.ip()) || self.own.contains(&from.ip()) {
            return Ok(Judged::Nothing);
        }
        let nothing_there = match one.kind {
            ScanKind::Syn => !self.having.listening.has(to.port()),
            ScanKind::Ack | ScanKind::Maimon => {
                return if self.having.connected.has(to.port()) || !counts() {
                    Ok(Judged::Nothing)
                } else {
                    self.ask(to, from, now)
                };
            }
            ScanKind::Udp => {
                let late_answer = from.port() < SERVERS && to.port() >= SERVERS;
                !late_answer && !self.having.receiving.has(to.port())
            }
            ScanKind::Fin | ScanKind::Null | ScanKind::Xmas | ScanKind::Odd => true,
        };
        Ok(if nothing_there { Judged::Probe } else { Judged::Nothing })
    }

    fn ask(&mut self, local: SocketAddr, peer: SocketAddr, now: Duration) -> io::Result<Judged> {
        if now.saturating_sub(self.questions.0) >= Duration::from_secs(1) {
            self.questions = (now, 0);
        }
        if self.questions.1 >= QUESTIONS {
            return Ok(Judged::Unknown);
        }
        self.questions.1 += 1;
        match ports::is_known(&self.sockets, local, peer) {
            Ok(false) => Ok(Judged::Probe),
            Ok(true) => {
                // More of it will come: the next filter leaves it in the kernel.
                if !self.held.iter().any(|(port, _)| *port == local.port()) {
                    self.held.push((local.port(), now + HELD));
                }
                self.having.connected.add(local.port());
                Ok(Judged::Nothing)
            }
            Err(error) if sock_diag::is_unsupported(&error) => Ok(Judged::Unknown),
            Err(error) => Err(error),
        }
    }
}

fn supported(ports: io::Result<Vec<u16>>) -> io::Result<Vec<u16>> {
    match ports {
        // A kernel without IPv6.
        Err(error) if sock_diag::is_unsupported(&error) => Ok(Vec::new()),
        other => other,
    }
}

impl Having {
    /// The filter of these ports. Where they are too many for the kernel, it is one that lets more pass.
    fn attach(&self, packets: &OwnedFd) -> io::Result<()> {
        let ranges = [&self.listening, &self.connected, &self.receiving].map(Ports::ranges);
        let [opening, answers, datagrams] = &ranges;
        let exact = Silent { opening, answers, datagrams };
        let coarse = Silent { opening: &[], answers: &[(0, u16::MAX)], datagrams: &[(0, u16::MAX)] };
        for silent in [exact, Silent { opening: &[], ..exact }, coarse] {
            let attached = filter::probes(silent)
                .map_err(io::Error::other)
                .and_then(|program| filter::attach(packets, &program));
            if attached.is_ok() {
                return Ok(());
            }
        }
        // Even the last one was refused: then nothing passes that nobody chose.
        Err(io::Error::from(rustix::io::Errno::NOMEM))
    }
}

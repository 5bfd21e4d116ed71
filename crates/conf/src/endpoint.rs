//! Where a service listens, one socket at a time: the product of its addresses and its ports. Pure data and its order; what
//! can be bound is for the kernel to say.

use crate::service::{Bind, BindTo, FamilyFlag, Listen};
use crate::text::Text;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Most sockets of one service.
pub const MOST_LISTENERS: usize = 1024;

/// Sockets that a program is given at once (`listen_fds`).
pub const MOST_PASSED: usize = 16;

/// What one socket is bound to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// An address and a port, and the interface whose packets alone come in.
    Inet {
        /// Address and port; the wildcard of the family where no address was written.
        address: SocketAddr,
        /// Interface.
        device: Option<String>,
    },
    /// The file of a unix socket.
    Path(String),
    /// A name of the abstract namespace of unix sockets, without the `@`.
    Abstract(String),
}

impl Endpoint {
    /// An address of any interface.
    pub fn inet(address: SocketAddr) -> Self {
        Self::Inet { address, device: None }
    }

    /// Address and port; `None` of a unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Inet { address, .. } => Some(*address),
            Self::Path(_) | Self::Abstract(_) => None,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet { address, device: None } => address.fmt(f),
            // As ss(8) shows it.
            Self::Inet { address: SocketAddr::V4(a), device: Some(device) } => {
                write!(f, "{}%{device}:{}", a.ip(), a.port())
            }
            Self::Inet { address: SocketAddr::V6(a), device: Some(device) } => {
                write!(f, "[{}]%{device}:{}", a.ip(), a.port())
            }
            Self::Path(path) => f.write_str(path),
            Self::Abstract(name) => write!(f, "@{name}"),
        }
    }
}

impl Listen {
    /// Every socket of the service, in the order in which they are written: all ports of the first address first.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        let everywhere = [Bind { text: Text::default(), to: BindTo::Inet { address: None, device: None } }];
        let binds = if self.bind.is_empty() { &everywhere[..] } else { &self.bind };
        let mut all = Vec::new();
        for bind in binds {
            match &bind.to {
                BindTo::Path(path) => all.push(Endpoint::Path(path.clone())),
                BindTo::Abstract(name) => all.push(Endpoint::Abstract(name.clone())),
                BindTo::Inet { address, device } => {
                    let ip = address.unwrap_or(self.wildcard());
                    for port in self.port..=self.last_port {
                        let address = SocketAddr::new(ip, port);
                        all.push(Endpoint::Inet { address, device: device.clone() });
                    }
                }
            }
        }
        all
    }

    /// How many sockets the service has.
    pub fn count(&self) -> usize {
        let ports = usize::from(self.last_port.saturating_sub(self.port)) + 1;
        let local = |bind: &&Bind| !matches!(bind.to, BindTo::Inet { .. });
        let files = self.bind.iter().filter(local).count();
        (self.bind.len().max(1) - files) * ports + files
    }

    /// Whether its clients are on this machine and come by unix sockets.
    pub fn is_local(&self) -> bool {
        self.bind.first().is_some_and(|bind| !matches!(bind.to, BindTo::Inet { .. }))
    }

    /// Every address of the family.
    pub(crate) fn wildcard(&self) -> IpAddr {
        match self.family {
            FamilyFlag::V4 => Ipv4Addr::UNSPECIFIED.into(),
            FamilyFlag::Unset | FamilyFlag::V6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    /// Whether IPv4 serves where the kernel has no IPv6: nothing was said of either.
    pub fn may_fall_back(&self) -> bool {
        let unsaid = |bind: &Bind| matches!(bind.to, BindTo::Inet { address: None, .. });
        self.family == FamilyFlag::Unset && self.bind.iter().all(unsaid)
    }

    /// `bind` as it was written.
    pub fn bind_text(&self) -> Option<String> {
        let words: Vec<&str> = self.bind.iter().map(|bind| bind.text.as_str()).collect();
        (!words.is_empty()).then(|| words.join(" "))
    }

    /// Where it listens, for a table: the first addresses and how many there are more.
    pub fn summary(&self) -> String {
        const SHOWN: usize = 3;
        let everywhere = [Bind { text: Text::default(), to: BindTo::Inet { address: None, device: None } }];
        let binds = if self.bind.is_empty() { &everywhere[..] } else { &self.bind };
        let one = |bind: &Bind| match &bind.to {
            BindTo::Path(path) => path.clone(),
            BindTo::Abstract(name) => format!("@{name}"),
            BindTo::Inet { address, device } => {
                let address = SocketAddr::new(address.unwrap_or(self.wildcard()), self.port);
                let mut text = Endpoint::Inet { address, device: device.clone() }.to_string();
                if self.last_port > self.port {
                    text.push_str(&format!("-{}", self.last_port));
                }
                text
            }
        };
        let mut text = binds.iter().take(SHOWN).map(one).collect::<Vec<_>>().join(" ");
        if let Some(more @ 1..) = binds.len().checked_sub(SHOWN) {
            text.push_str(&format!(" and {more} more"));
        }
        text
    }

    /// The port, or the range: `80`, `5000-5010`.
    pub fn port_text(&self) -> String {
        if self.last_port > self.port {
            format!("{}-{}", self.port, self.last_port)
        } else {
            self.port.to_string()
        }
    }
}

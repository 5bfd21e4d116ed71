//! What a line of inetd.conf says, in words common to all dialects: data only, nothing is decided here.

use std::fmt;

/// A file, line by line: each of its lines is in one item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// In the order of the file.
    pub items: Vec<Item>,
}

/// Where an item stands in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lines {
    /// Its first line, from 1.
    pub first: u32,
    /// Its last one, where indented lines continue it.
    pub last: u32,
}

/// One item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Where it stands.
    pub lines: Lines,
    /// What it is.
    pub kind: ItemKind,
}

/// What an item is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemKind {
    /// An empty line.
    Blank,
    /// A comment, its `#` included.
    Comment(String),
    /// A service.
    Service(Box<Entry>),
    /// A service that is switched off by a comment sign (`#<off>#` of Debian's update-inetd, or a plain `#` before what
    /// reads as a whole service).
    Off {
        /// What stands before the service.
        marker: String,
        /// The service.
        entry: Box<Entry>,
    },
    /// `address:` alone on a line: the address of the services that follow and name none (OpenBSD, NetBSD).
    Address(String),
    /// `#@ policy`: an IPsec policy of the services that follow (NetBSD, FreeBSD).
    Policy(String),
    /// A line that is no service, and why.
    Broken {
        /// The line.
        text: String,
        /// What is wrong, at which field.
        problem: Problem,
    },
}

/// Why a line is no service. `Display` is for the person who must mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// The line ends before this field.
    Missing(Field),
    /// A field has a word that it cannot have.
    Bad {
        /// The field.
        field: Field,
        /// The word.
        word: String,
        /// What it may be.
        expected: &'static str,
    },
    /// A quote that is not closed.
    OpenQuote,
    /// More words than a server can be given.
    TooLong,
}

/// The fields, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Field {
    Service,
    SocketType,
    Protocol,
    Wait,
    User,
    Server,
    Arguments,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Service => "service",
            Self::SocketType => "socket type",
            Self::Protocol => "protocol",
            Self::Wait => "wait/nowait",
            Self::User => "user",
            Self::Server => "server program",
            Self::Arguments => "server's name and arguments",
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(field) => write!(f, "the line ends before the {field}"),
            Self::Bad { field, word, expected } => write!(f, "`{word}` is no {field}: expected {expected}"),
            Self::OpenQuote => f.write_str("a quote is not closed"),
            Self::TooLong => f.write_str("the line has more words than a server can be given"),
        }
    }
}

/// The name of a service, in the forms it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// A name of /etc/services, or a port number.
    Port(String),
    /// A Sun RPC program, with its versions.
    Rpc {
        /// Name or number.
        program: String,
        /// First and last version.
        versions: (u32, u32),
    },
    /// The path of a unix-domain socket.
    Path(String),
    /// `tcpmux/NAME`, `tcpmux/+NAME`: reached through tcpmux on port 1.
    Mux {
        /// Name.
        name: String,
        /// tcpmux answers `+` before the server starts.
        plus: bool,
    },
}

/// Which families the socket serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    /// The protocol has no number at its end: IPv4 in the BSDs and in openbsd-inetd, either in others.
    Unsaid,
    /// `tcp4`, `udp4`.
    V4,
    /// `tcp6`, `udp6`.
    V6,
    /// `tcp46`, `udp46`: one socket for both.
    Both,
}

/// The limits that a line sets after `wait` or `nowait`; `None` where it says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// `nowait.N`, `nowait:N`: starts in a minute (OpenBSD, NetBSD, Debian).
    pub starts_a_minute: Option<u32>,
    /// `nowait/N`: at once (FreeBSD). 0 is no limit.
    pub at_once: Option<u32>,
    /// `nowait/N/N`: connections of one address in a minute (FreeBSD). 0 is no limit.
    pub from_one_a_minute: Option<u32>,
    /// `nowait/N/N/N`: at once from one address (FreeBSD). 0 is no limit.
    pub from_one_at_once: Option<u32>,
}

/// What serves the clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// inetd itself.
    Internal,
    /// A program.
    Program {
        /// The path as written.
        path: String,
        /// argv, argv\[0\] included.
        argv: Vec<String>,
    },
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: Name,
    /// The address before the service's name, or of the last `address:` line. `*` is all.
    pub address: Option<String>,
    /// `stream`, `dgram`, `raw`, `seqpacket`, `rdm`.
    pub socket: &'static str,
    /// `tcp`, `udp`, `unix` or another name of /etc/protocols, without `rpc/` and without a family.
    pub protocol: String,
    /// Families.
    pub families: Families,
    /// What follows the protocol or the socket type and has no counterpart (`sndbuf=…`, an accept filter).
    pub extras: Vec<String>,
    /// `wait`.
    pub wait: bool,
    /// Limits after it.
    pub limits: Limits,
    /// User.
    pub user: String,
    /// Group.
    pub group: Option<String>,
    /// Login class (FreeBSD).
    pub class: Option<String>,
    /// Owner and mode of a unix-domain socket (FreeBSD: `:user:group:mode:path`).
    pub socket_mode: Option<String>,
    /// Server.
    pub server: Server,
}

impl Entry {
    /// Whether the server is started by `tcpd`.
    pub fn wrapped(&self) -> bool {
        match &self.server {
            Server::Program { path, .. } => path.rsplit('/').next() == Some("tcpd"),
            Server::Internal => false,
        }
    }
}

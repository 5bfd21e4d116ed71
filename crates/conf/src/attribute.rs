//! What is known about an attribute before its value is read: the shape of a row of the table in `attributes.rs`.

/// Identifies an attribute inside this crate. The order of those that can be missing is the order in which xinetd names
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Id {
    Wait,
    SocketType,
    Protocol,
    User,
    Group,
    Server,
    ServerArgs,
    Instances,
    Ident,
    OnlyFrom,
    AccessTimes,
    RpcVersion,
    LogType,
    NoAccess,
    Type,
    LogOnFailure,
    LogOnSuccess,
    Env,
    Port,
    Passenv,
    Flags,
    RpcNumber,
    Nice,
    Redirect,
    Bind,
    Banner,
    PerSource,
    Groups,
    BannerSuccess,
    BannerFail,
    MaxLoad,
    Cps,
    Disable,
    RlimitAs,
    RlimitCpu,
    RlimitData,
    RlimitRss,
    RlimitStack,
    RlimitFiles,
    V6only,
    DenyTime,
    Umask,
    Enabled,
    Disabled,
    Libwrap,
    PerSourcePrefix,
    StartsPerMinute,
    SourceStartsPerMinute,
    Overload,
    OnRemove,
    Stop,
    IdleTimeout,
    ProxyProtocol,
    Protect,
    WatchScans,
    VerifyServer,
    TrustedPrograms,
    ProxyFrom,
    Transparent,
    TlsCert,
    TlsKey,
    TlsClientCa,
    TlsAlpn,
    Tls,
    TlsCa,
    ListenFds,
    Evidence,
    ProtectOnlyFrom,
    ProtectGroups,
    SocketOwner,
    SocketGroup,
    SocketMode,
    Sandbox,
    RlimitCore,
    RlimitFsize,
    RlimitNproc,
    RlimitMemlock,
    RlimitLocks,
    RlimitSigpending,
    RlimitMsgqueue,
    RlimitNice,
    RlimitRtprio,
    RlimitRttime,
}

/// How many values an attribute takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// This many; another number makes the line void.
    Exactly(usize),
    /// One or more.
    Some,
    /// This many or more, where xinetd takes just so many; fewer make the line void.
    AtLeast(usize),
    /// One or more, where xinetd takes just so many; none makes the line void.
    Forms {
        /// What xinetd takes.
        xinetd: usize,
    },
    /// Any number, none included.
    Any,
}

/// Where an attribute may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// In `service`.
    Service,
    /// In `defaults`.
    Defaults,
    /// In both.
    Both,
}

/// What kind of value an attribute has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any words.
    Text,
    /// The path of a file.
    Path,
    /// A whole number.
    Number,
    /// A number, or UNLIMITED.
    Limit,
    /// A number of bytes with the suffix k or M, or UNLIMITED.
    Size,
    /// Words out of these, in any case of letters.
    Words(&'static [&'static str]),
    /// Addresses, networks and host names.
    Addresses,
}

/// Who knows the attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// xinetd.
    Xinetd,
    /// portreeve alone; xinetd warns about it and ignores it.
    Portreeve,
}

/// A row of the table of attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Name, in lower case. It is compared without case.
    pub name: &'static str,
    pub(crate) id: Id,
    /// How many values it takes.
    pub values: Values,
    /// Whether it is a list, which `+=` and `-=` change.
    pub list: bool,
    /// Where it may stand.
    pub section: Section,
    /// What kind of value it has.
    pub kind: Kind,
    /// How the values are written, e.g. `RATE SECONDS`.
    pub form: &'static str,
    /// What holds where it is not set.
    pub default: &'static str,
    /// Bounds of the value; empty where the kind says it all.
    pub bounds: &'static str,
    /// What it does.
    pub meaning: &'static str,
    /// Who knows it.
    pub origin: Origin,
}

impl Attribute {
    /// The operators that may stand behind the name.
    pub fn operators(&self) -> &'static [&'static str] {
        match (self.list, self.id) {
            (true, Id::Env) => &["=", "+="],
            (true, _) => &["=", "+=", "-="],
            (false, _) => &["="],
        }
    }

    /// The words that are valid as values, where they are a closed set.
    pub fn words(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::Words(words) => words,
            Kind::Limit | Kind::Size => &["UNLIMITED"],
            _ => &[],
        }
    }

    /// Whether it may stand in `service`.
    pub fn in_service(&self) -> bool {
        self.section != Section::Defaults
    }

    /// Whether it may stand in `defaults`.
    pub fn in_defaults(&self) -> bool {
        self.section != Section::Service
    }

    /// Whether a word that starts with `#` behind the values starts a comment. In lists and in the program's arguments
    /// it does not, as in xinetd: there it can be meant.
    pub fn takes_comment(&self) -> bool {
        !self.list && self.id != Id::ServerArgs
    }

    /// How many values stand there at least before a comment can start.
    pub(crate) fn before_comment(&self) -> usize {
        match (self.values, self.id) {
            (Values::Exactly(n), _) => n,
            (_, Id::LogType) => 2,
            _ => 1,
        }
    }
}

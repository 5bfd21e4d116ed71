//! The world of a process that blocks: each question of an evaluation is answered here and now, each act is done to this
//! very process. Owns what rules change for good: the severities, ident's deadline, the group.

use crate::ends::{Ends, said};
use crate::log::{DEBUG, INFO, Log, Paths, WARNING, escaped};
use crate::{banners, ident, names, privilege, shell, who};
use hosts_access::{Act, Answer, Done, End, ExpandError, Field, ListFile, Message, Place, Request, World};
use portreeve_sys::source::{Source, reason};
use rustix::net::sockopt;
use std::borrow::Cow;
use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

/// The longest `/file` list, in bytes; a longer one is an error of its table.
pub const LONGEST_LIST: usize = 64 << 20;

/// With what severity connections are logged. A rule sets both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Severities {
    /// Of connections that are granted.
    pub allow: i32,
    /// Of those that are refused, and of `twist`.
    pub deny: i32,
}

impl Default for Severities {
    fn default() -> Self {
        Self { allow: INFO, deny: WARNING }
    }
}

/// The surroundings of one evaluation in this process. The fields are settings before it and results after it.
pub struct LiveWorld<'a> {
    /// The client's socket, for banners, twist, keepalive and linger; a predictor gives its standard output.
    pub socket: Option<BorrowedFd<'a>>,
    /// The client is known by a datagram: it has no ident, and a failed twist swallows the datagram.
    pub datagram: bool,
    /// Acts on other processes, on the socket and on privileges are checked and left undone. What only changes this process
    /// (severity, setenv, umask) and banners are done, as the original does (reference A13).
    pub dry_run: bool,
    /// How long ident may take; a rule may change it.
    pub ident_timeout: Duration,
    /// Severities; a rule may change them.
    pub severities: Severities,
    log: &'a mut dyn Log,
    paths: Paths<'a>,
    place: Option<Place>,
    group: Option<u32>,
}

impl<'a> LiveWorld<'a> {
    /// A world without a socket, with ten seconds for ident.
    pub fn new(log: &'a mut dyn Log, paths: Paths<'a>) -> Self {
        Self {
            socket: None,
            datagram: false,
            dry_run: false,
            ident_timeout: Duration::from_secs(10),
            severities: Severities::default(),
            log,
            paths,
            place: None,
            group: None,
        }
    }

    /// The same world with the client's socket.
    #[must_use]
    pub fn with_socket(mut self, socket: BorrowedFd<'a>, ends: &Ends) -> Self {
        self.socket = Some(socket);
        self.datagram = ends.datagram;
        self
    }

    /// The log, for what the program itself has to say.
    pub fn log(&mut self) -> &mut dyn Log {
        self.log
    }

    /// Says a warning at the line that is being evaluated.
    pub fn warn(&mut self, text: Vec<u8>) {
        self.say(Message::Warning(self.place, text));
    }

    /// Runs `action` with the means to warn.
    fn warned<T>(&mut self, action: impl FnOnce(&mut dyn FnMut(Vec<u8>)) -> T) -> T {
        let mut warnings = Vec::new();
        let result = action(&mut |text| warnings.push(text));
        for text in warnings {
            self.warn(text);
        }
        result
    }

    fn aclexec(&mut self, command: &[u8]) -> Done {
        if self.dry_run {
            return Done::Done;
        }
        match self.warned(|warn| shell::aclexec(command, warn)) {
            shell::Answer::Stands => Done::Done,
            shell::Answer::Fails => {
                self.log.line(INFO, b"aclexec returned 1");
                Done::Refused
            }
            shell::Answer::Unavailable => Done::Unavailable,
        }
    }

    /// Returns only in a dry run.
    fn twist(&mut self, command: &[u8], request: &Request) -> Done {
        if self.dry_run {
            return Done::Done;
        }
        let line = [b"twist ", &who::client(request)[..], b" to ", command].concat();
        self.log.line(self.severities.deny, &escaped(&line));
        let socket = self.socket;
        self.warned(|warn| shell::twist(command, socket, warn));
        shell::end(socket.filter(|_| self.datagram))
    }

    fn banners(&mut self, directory: &[u8], request: &mut Request) -> Done {
        let daemon = request.daemon;
        let Some(text) = self.warned(|warn| banners::read(directory, daemon.as_bytes(), warn)) else {
            return Done::Done;
        };
        let place = self.place;
        let sent = hosts_access::banner(&text, |line| hosts_access::expand(line, request, self, place));
        match sent {
            Ok(bytes) => {
                if let Some(socket) = self.socket {
                    self.warned(|warn| banners::send(socket, &bytes, warn));
                }
                Done::Done
            }
            Err(ExpandError::TooLong(text)) => Done::Wrong(text),
            // This world never answers so.
            Err(ExpandError::Pending) => Done::Wrong(b"banners: a name is not known yet".to_vec()),
        }
    }

    fn keepalive(&mut self) -> Done {
        if !self.dry_run {
            let set = self
                .socket
                .map_or(Err(rustix::io::Errno::BADF), |socket| sockopt::set_socket_keepalive(socket, true));
            if let Err(errno) = set {
                self.warn(said(b"setsockopt SO_KEEPALIVE: ", errno));
            }
        }
        Done::Done
    }

    fn linger(&mut self, seconds: i32) -> Done {
        if !self.dry_run {
            let wait = u64::try_from(seconds).ok().filter(|s| *s > 0).map(Duration::from_secs);
            let set = self
                .socket
                .map_or(Err(rustix::io::Errno::BADF), |socket| sockopt::set_socket_linger(socket, wait));
            if let Err(errno) = set {
                self.warn(said(format!("setsockopt SO_LINGER {seconds}: ").as_bytes(), errno));
            }
        }
        Done::Done
    }

    fn nice(&mut self, increment: i32) -> Done {
        if !self.dry_run
            && let Err(errno) = rustix::process::nice(increment)
        {
            self.warn(said(format!("nice({increment}): ").as_bytes(), errno));
        }
        Done::Done
    }

    fn become_user(&mut self, name: &[u8], group: Option<&[u8]>) -> Done {
        let done = if self.dry_run {
            privilege::check(name, group)
        } else {
            privilege::become_user(name, group, self.group)
        };
        done.map_or_else(Done::Wrong, |()| Done::Done)
    }

    fn become_group(&mut self, group: &[u8]) -> Done {
        let done = if self.dry_run { privilege::group_id(group) } else { privilege::become_group(group) };
        match done {
            Ok(gid) => {
                self.group = Some(gid);
                Done::Done
            }
            Err(text) => Done::Wrong(text),
        }
    }
}

/// The bytes of a `/file` list as it stands.
#[must_use]
pub fn read_list(path: &[u8]) -> ListFile<Cow<'static, [u8]>> {
    let read = match Source::open(Path::new(OsStr::from_bytes(path))) {
        Ok(Source::Missing | Source::Directory(_)) => return ListFile::Absent,
        Ok(Source::Readable(file)) => file.read(LONGEST_LIST),
        Err(error) => Err(error),
    };
    match read {
        Ok(bytes) => ListFile::Bytes(Cow::Owned(bytes)),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::FBIG.raw_os_error()) => {
            ListFile::TooLarge
        }
        Err(error) => ListFile::Unreadable(reason(&error)),
    }
}

impl World for LiveWorld<'_> {
    fn at(&mut self, place: Option<Place>) {
        self.place = place;
    }

    fn name(&mut self, end: End, request: &Request) -> Answer<Field> {
        let host = match end {
            End::Client => &request.client,
            End::Server => &request.server,
        };
        Answer::Known(match host.socket {
            Some(address) => self.warned(|warn| names::host_name(address, warn)),
            None => Field::from(names::UNKNOWN),
        })
    }

    fn user(&mut self, request: &Request, timeout: Option<u32>) -> Answer<Field> {
        if let Some(seconds) = timeout {
            self.ident_timeout = Duration::from_secs(seconds.into());
        }
        Answer::Known(match (request.client.socket, request.server.socket) {
            (Some(client), Some(server)) if !self.datagram => ident::user(client, server, self.ident_timeout),
            _ => Field::from("unknown"),
        })
    }

    fn in_netgroup(&mut self, group: &[u8], host: &[u8]) -> Answer<bool> {
        Answer::Known(portreeve_sys::names::in_netgroup(group, host).unwrap_or(false))
    }

    fn list(&mut self, path: &[u8]) -> ListFile<Cow<'_, [u8]>> {
        read_list(path)
    }

    fn is_interface(&mut self, name: &[u8]) -> bool {
        portreeve_sys::names::is_interface(name)
    }

    fn act(&mut self, act: &Act, request: &mut Request) -> Done {
        match act {
            Act::Spawn(command) => {
                if !self.dry_run {
                    self.warned(|warn| shell::spawn(command, warn));
                }
                Done::Done
            }
            Act::Twist(command) => self.twist(command, request),
            Act::Aclexec(command) => self.aclexec(command),
            Act::Banners(directory) => self.banners(directory, request),
            Act::Severity(severity) => {
                self.severities = Severities { allow: *severity, deny: *severity };
                Done::Done
            }
            Act::Keepalive => self.keepalive(),
            Act::Linger(seconds) => self.linger(*seconds),
            Act::Nice(increment) => self.nice(*increment),
            Act::Setenv(name, value) => match portreeve_sys::environment::set(name, value) {
                Ok(()) => Done::Done,
                Err(_) => Done::Wrong(b"memory allocation failure".to_vec()),
            },
            Act::Umask(mask) => {
                rustix::process::umask(rustix::fs::Mode::from_raw_mode(*mask));
                Done::Done
            }
            Act::User { name, group } => self.become_user(name, group.as_deref()),
            Act::Group(group) => self.become_group(group),
        }
    }

    fn say(&mut self, message: Message) {
        let (severity, line) = self.paths.line(&message);
        debug_assert!((0..=DEBUG).contains(&severity));
        self.log.line(severity, &line);
    }
}

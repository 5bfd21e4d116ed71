//! Which certificates and keys a TLS worker has: opens their files and hands the descriptors on, and says what is wrong with
//! them. Reads no byte of them.

use crate::staff::Keyed;
use crate::supervisor::Supervisor;
use portreeve_conf::{Level, Tls};
use portreeve_handover::SetState;
use portreeve_workers::protocol::{TlsFile, ToTls, WrongFile};
use rustix::fd::OwnedFd;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

/// Where systems keep the authorities that they trust, in the order in which they are tried.
const SYSTEM_AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// What makes one worker's settings: two services with the same share a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Set {
    pairs: Vec<(String, String)>,
    client_ca: Option<String>,
    alpn: Vec<String>,
    /// `tls = connect`, with the file of authorities where one is named.
    connect: Option<Option<String>>,
}

impl Set {
    /// Of a service.
    pub fn of(tls: &Tls) -> Self {
        let path = |set: &portreeve_conf::Set<String>| set.value.clone();
        Self {
            pairs: tls.pairs.iter().map(|(certificate, key)| (path(certificate), path(key))).collect(),
            client_ca: tls.client_ca.as_ref().map(path),
            alpn: tls.alpn.clone(),
            connect: tls.connect.as_ref().map(|connect| connect.ca.as_ref().map(path)),
        }
    }

    /// As a record.
    pub fn leave(&self) -> SetState {
        let Self { pairs, client_ca, alpn, connect } = self.clone();
        SetState { pairs, client_ca, alpn, connect }
    }

    /// What a record says.
    pub fn left(left: &SetState) -> Self {
        let SetState { pairs, client_ca, alpn, connect } = left.clone();
        Self { pairs, client_ca, alpn, connect }
    }

    fn path(&self, kind: TlsFile, index: u8) -> &str {
        let pair = self.pairs.get(usize::from(index));
        match kind {
            TlsFile::Certificate => pair.map_or("", |(certificate, _)| certificate),
            TlsFile::Key => pair.map_or("", |(_, key)| key),
            TlsFile::ClientAuthorities => self.client_ca.as_deref().unwrap_or_default(),
            TlsFile::TargetAuthorities => self.connect.iter().flatten().next().map_or("", String::as_str),
            TlsFile::SystemAuthorities => "the system's authorities",
        }
    }
}

impl Supervisor {
    /// Opens the files of a worker and hands them over.
    pub fn hand_files(&mut self, index: u32) {
        let Some(set) = self.staff.links.get(index as usize).and_then(|link| link.set.clone()) else {
            return;
        };
        let mut files: Vec<(TlsFile, u8)> = Vec::new();
        for at in 0..u8::try_from(set.pairs.len()).unwrap_or(0) {
            files.extend([(TlsFile::Certificate, at), (TlsFile::Key, at)]);
        }
        files.extend(set.client_ca.is_some().then_some((TlsFile::ClientAuthorities, 0)));
        match &set.connect {
            Some(Some(_)) => files.push((TlsFile::TargetAuthorities, 0)),
            Some(None) => files.push((TlsFile::SystemAuthorities, 0)),
            None => {}
        }
        let mut open = Vec::new();
        for (kind, at) in files {
            let opened = match kind {
                TlsFile::SystemAuthorities => system_authorities(),
                kind => open_file(set.path(kind, at)),
            };
            match opened {
                Ok(fd) => open.push((kind, at, fd)),
                Err(errno) => {
                    let why = format!("it cannot be opened: {}", crate::machine::percent_m(&errno.into()));
                    self.keyed(index, Some(WrongFile { kind, index: at, why }));
                    return;
                }
            }
        }
        for (kind, at, fd) in open {
            self.tell_tls(index, &ToTls::File { kind, index: at }, Some(fd));
        }
        let protocols = set.alpn.iter().map(|name| name.clone().into_bytes()).collect();
        let (accept, connect) = (!set.pairs.is_empty(), set.connect.is_some());
        self.tell_tls(index, &ToTls::Use { accept, connect, protocols }, None);
        if let Some(link) = self.staff.link_mut(index) {
            link.handed += 1;
        }
    }

    /// The worker has said it.
    pub fn has_said_keyed(&mut self, index: u32, wrong: Option<WrongFile>) {
        if let Some(link) = self.staff.link_mut(index) {
            link.handed = link.handed.saturating_sub(1);
        }
        self.keyed(index, wrong);
    }

    /// The worker can use its files, or not.
    pub fn keyed(&mut self, index: u32, wrong: Option<WrongFile>) {
        let Some(link) = self.staff.links.get_mut(index as usize) else { return };
        let Some(set) = link.set.clone() else { return };
        let had = link.keyed == Keyed::Yes;
        let Some(WrongFile { kind, index: at, why }) = wrong else {
            link.keyed = Keyed::Yes;
            link.stale.clear();
            self.tls_has_room(index);
            return;
        };
        let what = format!("{}: {why}", set.path(kind, at));
        if had {
            link.stale.clone_from(&what);
        } else {
            link.keyed = Keyed::Wrong(what.clone());
        }
        let ids: Vec<&str> =
            self.slots.values().filter(|s| s.tls == Some(index)).map(|s| s.service.id.as_str()).collect();
        let then = if had { "what was in use goes on" } else { "held until a reload" };
        let text = format!("TLS of {}: {what}; {then}", ids.join(", "));
        self.say(Level::Error, &text);
    }
}

/// A pipe would wait for its writer, and a terminal might become ours.
fn open_file(path: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = rustix::fs::open(path, flags, Mode::empty())?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&fd)?.st_mode);
    if kind == FileType::RegularFile { Ok(fd) } else { Err(Errno::INVAL) }
}

fn system_authorities() -> Result<OwnedFd, Errno> {
    let mut last = Errno::NOENT;
    for path in SYSTEM_AUTHORITIES {
        match open_file(path) {
            Ok(fd) => return Ok(fd),
            Err(errno) => last = errno,
        }
    }
    Err(last)
}

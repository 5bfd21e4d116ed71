//! The files that a worker was handed, and what it makes of them: the settings of TLS towards clients and targets. New files
//! count for new connections; those that go on keep what they began with.

use crate::choose::Certificates;
use crate::keys::{self, Fault, LONGEST_FILE};
use portreeve_workers::protocol::{MAX_WHY, TlsFile, WrongFile};
use rustls::client::ClientConfig;
use rustls::server::{NoClientAuth, ServerConfig, ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Sessions that may be resumed; the oldest is forgotten.
const RESUMABLE: usize = 1024;

/// What is in use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Material {
    /// Towards clients.
    pub(crate) server: Option<Arc<ServerConfig>>,
    /// Towards targets.
    pub(crate) client: Option<Arc<ClientConfig>>,
}

/// Files that have come and are not in use yet, with their bytes or why they could not be read. A key leaves nothing behind: what
/// held it is overwritten when it is given back.
#[derive(Debug, Default)]
pub(crate) struct Files(BTreeMap<(u8, u8), Content>);

type Content = (TlsFile, Result<Zeroizing<Vec<u8>>, String>);

fn order(kind: TlsFile) -> u8 {
    match kind {
        TlsFile::Certificate => 0,
        TlsFile::Key => 1,
        TlsFile::ClientAuthorities => 2,
        TlsFile::TargetAuthorities | TlsFile::SystemAuthorities => 3,
    }
}

impl Files {
    /// Reads a file and closes it.
    pub(crate) fn take(&mut self, kind: TlsFile, index: u8, fd: &OwnedFd) {
        self.0.insert((order(kind), index), (kind, read(fd)));
    }

    /// One that came without its descriptor: no number was left for it here.
    pub(crate) fn lose(&mut self, kind: TlsFile, index: u8) {
        let why = "the worker has no descriptor left for it".to_owned();
        self.0.insert((order(kind), index), (kind, Err(why)));
    }

    fn get(&self, kind: TlsFile, index: u8) -> Result<&[u8], WrongFile> {
        match self.0.get(&(order(kind), index)) {
            Some((_, Ok(bytes))) => Ok(bytes.as_slice()),
            Some((kind, Err(why))) => Err(wrong(*kind, index, why)),
            None => Err(wrong(kind, index, "it did not come")),
        }
    }

    /// Makes settings of what has come.
    pub(crate) fn make(
        &self,
        accept: bool,
        connect: bool,
        protocols: Vec<Vec<u8>>,
    ) -> Result<Material, WrongFile> {
        let server = if accept { Some(self.server(protocols)?) } else { None };
        let client = if connect { Some(self.client()?) } else { None };
        Ok(Material { server, client })
    }

    fn server(&self, protocols: Vec<Vec<u8>>) -> Result<Arc<ServerConfig>, WrongFile> {
        let indices = self.0.keys().filter(|(kind, _)| *kind == order(TlsFile::Certificate));
        let pairs: Vec<Arc<CertifiedKey>> =
            indices.map(|&(_, index)| self.pair(index).map(Arc::new)).collect::<Result<_, _>>()?;
        let broken = |why: &dyn ToString| wrong(TlsFile::Certificate, 0, &why.to_string());
        let provider = keys::provider();
        let verifier = match self.0.contains_key(&(order(TlsFile::ClientAuthorities), 0)) {
            false => Arc::new(NoClientAuth) as Arc<dyn rustls::server::danger::ClientCertVerifier>,
            true => {
                let kind = TlsFile::ClientAuthorities;
                let roots = keys::authorities(self.get(kind, 0)?, true);
                let roots = roots.map_err(|fault| wrong(kind, 0, &fault.to_string()))?;
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                    .build()
                    .map_err(|error| wrong(kind, 0, &error.to_string()))?
            }
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| broken(&error))?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(Certificates::new(pairs)));
        config.alpn_protocols = protocols;
        config.session_storage = ServerSessionMemoryCache::new(RESUMABLE);
        Ok(Arc::new(config))
    }

    fn pair(&self, index: u8) -> Result<CertifiedKey, WrongFile> {
        let certificate = self.get(TlsFile::Certificate, index)?;
        let key = self.get(TlsFile::Key, index)?;
        keys::pair(certificate, key).map_err(|fault| {
            let kind = match fault {
                Fault::NoCertificate | Fault::BadCertificate | Fault::NoAuthority => TlsFile::Certificate,
                Fault::NoKey | Fault::EncryptedKey | Fault::BadKey | Fault::Mismatch => TlsFile::Key,
            };
            wrong(kind, index, &fault.to_string())
        })
    }

    fn client(&self) -> Result<Arc<ClientConfig>, WrongFile> {
        // A file that was named is to be good as a whole; of the system's what is not understood is passed over.
        let named = self.0.get(&(order(TlsFile::TargetAuthorities), 0)).map(|(kind, _)| *kind);
        let kind = named.unwrap_or(TlsFile::SystemAuthorities);
        let roots = keys::authorities(self.get(kind, 0)?, kind == TlsFile::TargetAuthorities);
        let roots = roots.map_err(|fault| wrong(kind, 0, &fault.to_string()))?;
        let config = ClientConfig::builder_with_provider(keys::provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(kind, 0, &error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(config))
    }
}

fn wrong(kind: TlsFile, index: u8, why: &str) -> WrongFile {
    WrongFile { kind, index, why: reason(why) }
}

/// A text as a reason on the wire: bounded, without control characters.
pub(crate) fn reason(text: &str) -> String {
    let mut out = String::new();
    for letter in text.chars() {
        let letter = if letter.is_control() { '?' } else { letter };
        if out.len() + letter.len_utf8() > MAX_WHY {
            break;
        }
        out.push(letter);
    }
    out
}

/// Into memory that does not grow by being copied by others: each piece of it is overwritten in the end.
fn read(fd: &OwnedFd) -> Result<Zeroizing<Vec<u8>>, String> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(16 * 1024));
    loop {
        if bytes.len() == bytes.capacity() {
            let mut wider = Zeroizing::new(Vec::with_capacity(bytes.capacity() * 2));
            wider.extend_from_slice(&bytes);
            bytes = wider;
        }
        match rustix::io::read(fd, rustix::buffer::spare_capacity(&mut *bytes)) {
            Ok(0) => return Ok(bytes),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(format!("it cannot be read: {}", std::io::Error::from(error))),
        }
        if bytes.len() > LONGEST_FILE {
            return Err("it is longer than 1 MiB".to_owned());
        }
    }
}

//! From the bytes of files to certificates with their keys, and to authorities. Says what is wrong; opens nothing.

use crate::pem::{Broken, Section, sections};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use std::sync::Arc;

/// The longest file of certificates or keys that is read. A bundle of all public authorities has a quarter of it.
pub(crate) const LONGEST_FILE: usize = 1 << 20;

/// What is wrong with the content of a file. Each says what it is without naming the file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("it holds no certificate in PEM (`-----BEGIN CERTIFICATE-----`)")]
    NoCertificate,
    #[error("a certificate in it cannot be read")]
    BadCertificate,
    #[error("it holds no private key in PEM (`-----BEGIN PRIVATE KEY-----`)")]
    NoKey,
    #[error("its private key is encrypted; a daemon has nobody to ask for the passphrase")]
    EncryptedKey,
    #[error(
        "its private key cannot be used: only RSA (2048 to 8192 bits), ECDSA (P-256, P-384) and Ed25519 keys can"
    )]
    BadKey,
    #[error("the key does not belong to the certificate")]
    Mismatch,
    #[error("no certificate in it is one of an authority")]
    NoAuthority,
}

/// The cryptography: ring's, with rustls' own choice of suites (TLS 1.2 and 1.3 without anything that is known to be weak).
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The certificates in a file, the end entity's first.
pub(crate) fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let taken =
        |section: Result<Section<'_>, Broken>| section.map(|(_, mut der)| std::mem::take(&mut *der).into());
    let chain: Result<Vec<_>, _> = sections(pem, &[b"CERTIFICATE"]).map(taken).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(Fault::NoCertificate),
        Ok(chain) => Ok(chain),
        Err(_) => Err(Fault::BadCertificate),
    }
}

/// A certificate with its key, which must belong together.
pub(crate) fn pair(chain_pem: &[u8], key_pem: &[u8]) -> Result<CertifiedKey, Fault> {
    let chain = chain(chain_pem)?;
    let key = private_key(key_pem).ok_or_else(|| {
        let encrypted = key_pem.windows(9).any(|word| word == b"ENCRYPTED");
        if encrypted { Fault::EncryptedKey } else { Fault::NoKey }
    })?;
    let key = provider().key_provider.load_private_key(key).map_err(|_| Fault::BadKey)?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(Error::InconsistentKeys(_)) => Err(Fault::Mismatch),
        Err(_) => Err(Fault::BadCertificate),
    }
}

/// The first private key in a file. It is not overwritten when it is dropped: rustls, which it goes to, does that.
fn private_key(pem: &[u8]) -> Option<PrivateKeyDer<'static>> {
    let (label, mut der) = sections(pem, &[PKCS8, PKCS1, SEC1]).next()?.ok()?;
    let der = std::mem::take(&mut *der);
    Some(match label {
        PKCS1 => PrivateKeyDer::Pkcs1(der.into()),
        SEC1 => PrivateKeyDer::Sec1(der.into()),
        _ => PrivateKeyDer::Pkcs8(der.into()),
    })
}

const PKCS8: &[u8] = b"PRIVATE KEY";
const PKCS1: &[u8] = b"RSA PRIVATE KEY";
const SEC1: &[u8] = b"EC PRIVATE KEY";

/// The authorities in a file. Of the system's own bundle what cannot be used is passed over; a file that was named must hold
/// nothing else.
pub(crate) fn authorities(pem: &[u8], all: bool) -> Result<RootCertStore, Fault> {
    let mut store = RootCertStore::empty();
    for certificate in chain(pem)? {
        let added = store.add(certificate);
        if all && added.is_err() {
            return Err(Fault::BadCertificate);
        }
    }
    if store.is_empty() { Err(Fault::NoAuthority) } else { Ok(store) }
}

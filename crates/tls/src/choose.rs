//! Which certificate a client gets: the first whose names hold the one that it asks for and whose key it can check, else the
//! first of all.

use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::sync::Arc;

#[derive(Debug)]
pub(crate) struct Certificates(Vec<Arc<CertifiedKey>>);

impl Certificates {
    pub(crate) fn new(pairs: Vec<Arc<CertifiedKey>>) -> Self {
        Certificates(pairs)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let fits = |pair: &Arc<CertifiedKey>| {
            let (Some(name), Some(certificate)) = (&name, pair.cert.first()) else { return false };
            ParsedCertificate::try_from(certificate).is_ok_and(|own| verify_server_name(&own, name).is_ok())
        };
        let usable = |pair: &Arc<CertifiedKey>| pair.key.choose_scheme(hello.signature_schemes()).is_some();
        let all = || self.0.iter();
        let best = all().find(|pair| fits(pair) && usable(pair)).or_else(|| all().find(|pair| fits(pair)));
        best.or_else(|| all().find(|pair| usable(pair))).or_else(|| self.0.first()).cloned()
    }
}

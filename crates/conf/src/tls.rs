//! What of TLS fits together: certificates, their keys, and the kinds of services that can stand behind TLS or speak it to
//! their target. Opens no file: what is in them is for `portreeve check` and for the worker that uses them.

use crate::codes;
use crate::draft::{Draft, Flag, Type};
use crate::redirect::Target;
use crate::service::{Set, SocketType, Tls, TlsConnect};
use crate::verdict::{Bench, Refused};

/// TLS as the lines of a section say it.
#[derive(Clone, Debug, Default)]
pub(crate) struct TlsDraft {
    pub(crate) certificates: Option<Vec<Set<String>>>,
    pub(crate) keys: Option<Vec<Set<String>>>,
    pub(crate) client_ca: Option<Set<String>>,
    pub(crate) alpn: Option<Vec<String>>,
    pub(crate) connect: bool,
    pub(crate) target_ca: Option<Set<String>>,
}

/// Refuses what cannot be served as it is written: never in the clear, never without the check that was asked for.
pub(crate) fn refuse(draft: &Draft, bench: &mut Bench<'_>) -> Result<(), Refused> {
    let tls = &draft.tls;
    let id = draft.id();
    let mut missing = |has: &str, needs: &str| {
        let message = format!("service `{id}` has `{has}` and no `{needs}`");
        bench.refuse_ourselves(&codes::MISSING_ATTRIBUTE, draft, message, None)
    };
    match &tls.certificates {
        None if tls.keys.is_some() => missing("tls_key", "tls_cert")?,
        None if tls.client_ca.is_some() => missing("tls_client_ca", "tls_cert")?,
        None if tls.alpn.is_some() => missing("tls_alpn", "tls_cert")?,
        _ => {}
    }
    if tls.connect && !draft.is_redirected() {
        missing("tls = connect", "redirect")?;
    }
    if tls.connect && draft.redirect.iter().any(|target| matches!(target, Target::Path(_))) {
        let message = format!("service `{id}` has `tls = connect` and a unix socket as a target");
        let help = "name a host, whose name the certificate can be checked by; or remove `tls = connect`";
        return bench.refuse_ourselves(&codes::TLS_CONFLICT, draft, message, Some(help));
    }
    if tls.target_ca.is_some() && !tls.connect {
        missing("tls_ca", "tls = connect")?;
    }
    let Some(certificates) = &tls.certificates else { return Ok(()) };
    if let Some(keys) = tls.keys.as_ref().filter(|keys| keys.len() != certificates.len()) {
        let message = format!(
            "service `{id}` has {} in `tls_cert` and {} in `tls_key`",
            files(certificates.len()),
            files(keys.len())
        );
        let help = "name one key for each certificate, in the same order";
        return bench.refuse_ourselves(&codes::TLS_KEYS, draft, message, Some(help));
    }
    conflict(draft, bench)
}

fn conflict(draft: &Draft, bench: &mut Bench<'_>) -> Result<(), Refused> {
    // Its answer for the address it sees would be one for 127.0.0.1.
    let tcpd = draft.server.as_ref().is_some_and(|server| server.value.rsplit('/').next() == Some("tcpd"));
    let (why, help) = if draft.is(Type::Internal) || draft.flag(Flag::Sensor) {
        ("only a `server` or a `redirect` can stand behind TLS", "remove the lines of TLS")
    } else if draft.socket != Some(SocketType::Stream) || draft.wait != Some(false) {
        ("only stream with `wait = no` can stand behind TLS", "write `socket_type = stream` and `wait = no`")
    } else if draft.is_mux() {
        ("a service of tcpmux cannot stand behind TLS", "remove the lines of TLS")
    } else if draft.flag(Flag::Labeled) {
        // The program's client is the worker of TLS, whose context is another one.
        ("behind TLS the security context of a client is not known", "remove LABELED, or the lines of TLS")
    } else if tcpd && !draft.is_redirected() {
        let why = "behind TLS tcpd sees 127.0.0.1 instead of the client";
        (why, "name the program itself: hosts.allow and hosts.deny are asked by portreeve anyway")
    } else {
        return Ok(());
    };
    let message = format!("service `{}`: {why}", draft.id());
    bench.refuse_ourselves(&codes::TLS_CONFLICT, draft, message, Some(help))
}

/// What the service has of TLS.
pub(crate) fn build(draft: &Draft) -> Option<Tls> {
    let TlsDraft { certificates, keys, client_ca, alpn, connect, target_ca } = draft.tls.clone();
    if certificates.is_none() && !connect {
        return None;
    }
    let certificates = certificates.unwrap_or_default();
    // A key in the file of its certificate.
    let keys = keys.unwrap_or_else(|| certificates.clone());
    Some(Tls {
        pairs: certificates.into_iter().zip(keys).collect(),
        client_ca,
        alpn: alpn.unwrap_or_default(),
        connect: connect.then_some(TlsConnect { ca: target_ca }),
    })
}

fn files(count: usize) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

//! Where the clients of a redirected service are carried, and what the next server is told of them: data only.

/// proxy_protocol: whether a PROXY header is read from clients, and sent to the target. One of both is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// Clients are proxies and say on whose behalf they come.
    pub accept: bool,
    /// The target of `redirect` is told who the client is, in this form.
    pub send: Option<ProxyVersion>,
}

/// The forms of the PROXY header (HAProxy's doc/proxy-protocol.txt, sections 2.1 and 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

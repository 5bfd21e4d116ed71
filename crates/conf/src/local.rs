//! Services on unix sockets: what is implied for them, and what cannot be said of clients that have no address. What is about
//! addresses is never passed over in silence.

use crate::attribute::Id;
use crate::check::BuiltinName;
use crate::codes;
use crate::draft::{Draft, Flag, Type};
use crate::fill::Implied;
use crate::service::{BindTo, SocketType};
use crate::verdict::{Bench, Refused};

/// The name of their protocol. It has no number in /etc/protocols.
const UNIX: &str = "unix";

/// Completes a service whose `bind` names unix sockets.
pub(crate) fn fill(draft: &mut Draft, implied: &Implied, bench: &mut Bench<'_>) -> Result<(), Refused> {
    let id = draft.id();
    let said = |what: &str| Some(format!("service `{id}` has `{what}` and listens at a unix socket"));
    let mixed = implied.bind.iter().any(|bind| matches!(bind.to, BindTo::Inet { .. }));
    let (message, help) = if mixed {
        let message = format!("`bind` of service `{id}` has addresses beside unix sockets");
        (Some(message), "write a service for each, with an `id` of its own")
    } else if draft.port.is_some() {
        (said("port"), "remove `port`: the socket's name is all there is")
    } else if draft.protocol.is_some() {
        (said("protocol"), "remove `protocol`: `socket_type` says it all")
    } else if draft.is(Type::Rpc) {
        (said("type = RPC"), "rpcbind is told of ports alone")
    } else if draft.socket == Some(SocketType::Raw) {
        (said("socket_type = raw"), "write stream, seqpacket or dgram")
    } else {
        (None, "")
    };
    if let Some(message) = message {
        return bench.refuse_ourselves(&codes::UNIX_SOCKET, draft, message, Some(help));
    }
    draft.protocol = Some((UNIX.into(), 0));
    Ok(())
}

/// What a service on unix sockets cannot have, and what others cannot have of it.
pub(crate) fn refuse(
    draft: &Draft,
    implied: &Implied,
    builtin: Option<BuiltinName>,
    bench: &mut Bench<'_>,
) -> Result<(), Refused> {
    let has = |id| draft.marks.has(id);
    if draft.is_mux() && implied.is_local() {
        let message = format!("service `{}` is reached through tcpmux and has a unix socket", draft.id());
        return bench.refuse_ourselves(&codes::UNIX_SOCKET, draft, message, Some("remove `bind`"));
    }
    if !implied.is_local() {
        let rights = [Id::SocketMode, Id::SocketOwner, Id::SocketGroup].into_iter().any(has);
        if !rights {
            return Ok(());
        }
        let message =
            format!("service `{}` has no unix socket that could have an owner, group or mode", draft.id());
        let help = "write `bind = /run/NAME.sock`, or remove the lines";
        return bench.refuse_ourselves(&codes::UNIX_SOCKET, draft, message, Some(help));
    }
    let without_file = implied.bind.iter().any(|bind| matches!(bind.to, BindTo::Abstract(_)));
    let rights = [Id::SocketMode, Id::SocketOwner, Id::SocketGroup].into_iter().any(has);
    let serves_datagrams = draft.socket == Some(SocketType::Dgram);
    let (what, help) = if without_file && rights {
        (
            "has an owner, group or mode for a name in the abstract namespace, to which everybody on this host may connect",
            "write `bind = /run/NAME.sock`, or remove the lines",
        )
    } else if has(Id::OnlyFrom) || has(Id::NoAccess) {
        (
            "has a list of addresses, and its clients have none",
            "remove `only_from` and `no_access`; `socket_mode`, `socket_owner` and `socket_group` say who may connect",
        )
    } else if has(Id::V6only) || draft.flag(Flag::Ipv4) || draft.flag(Flag::Ipv6) {
        ("has a family of addresses", "remove IPv4, IPv6 and `v6only`")
    } else if draft.flag(Flag::Sensor) {
        ("is a SENSOR, which denies addresses", "let the sensor listen at a port")
    } else if builtin == Some(BuiltinName::Tcpmux) {
        ("is tcpmux, which is for TCP", "let it listen at a port")
    } else if builtin.is_some() && draft.socket != Some(SocketType::Stream) {
        (
            "is INTERNAL, and most senders of its datagrams have no name to answer to",
            "write `socket_type = stream`",
        )
    } else if draft.is_redirected() && serves_datagrams {
        (
            "redirects datagrams, most of whose senders have no name to answer to",
            "write `socket_type = stream`, or let it listen at a port",
        )
    } else if draft.proxy_protocol.is_some_and(|proxy| proxy.accept) {
        (
            "accepts PROXY headers, for which proxies are told by their addresses",
            "write `send` or remove it, or listen at a port",
        )
    } else if draft.transparent == Some(true) {
        (
            "is `transparent`, and its clients have no address to show",
            "remove `transparent`, or listen at a port",
        )
    } else if draft.tls.certificates.is_some() {
        ("has TLS, and its clients are on this host", "remove `tls_cert`, or listen at a port")
    } else if draft.log_success.userid && has(Id::LogOnSuccess)
        || draft.log_failure.userid && has(Id::LogOnFailure)
        || crate::words::Words::flags(draft.flags).contains("IDONLY")
    {
        (
            "wants ident servers to be asked, which know TCP alone",
            "remove USERID and IDONLY; HOST logs the user and process of each client",
        )
    } else if serves_datagrams && draft.wait == Some(false) {
        ("has datagrams and `wait = no`", "write `wait = yes`: the server then reads the datagrams itself")
    } else {
        ("", "")
    };
    if !what.is_empty() {
        let message = format!("service `{}` listens at a unix socket and {what}", draft.id());
        return bench.refuse_ourselves(&codes::UNIX_SOCKET, draft, message, Some(help));
    }
    tables(draft, bench)?;
    lists_of_defaults(draft, bench);
    Ok(())
}

/// The tables ask for names and addresses.
fn tables(draft: &Draft, bench: &mut Bench<'_>) -> Result<(), Refused> {
    if draft.flag(Flag::Nolibwrap) || !bench.host.hosts_tables_active() {
        return Ok(());
    }
    let message = format!(
        "service `{}` listens at a unix socket, so the rules of hosts.allow and hosts.deny cannot be asked about its clients",
        draft.id()
    );
    let help =
        "write `flags = NOLIBWRAP`; `socket_mode`, `socket_owner` and `socket_group` say who may connect";
    bench.refuse_ourselves(&codes::UNIX_SOCKET, draft, message, Some(help))
}

/// Lists in `defaults` are meant for all who have an address.
fn lists_of_defaults(draft: &Draft, bench: &mut Bench<'_>) {
    if draft.only_from.is_none() && draft.no_access.is_none() {
        return;
    }
    let message = format!(
        "`only_from` and `no_access` of `defaults` do not hold for service `{}`, whose clients have no address",
        draft.id()
    );
    let help = "`socket_mode`, `socket_owner` and `socket_group` say who may connect";
    let finding = bench.finding(&codes::UNIX_LISTS, draft, message, Some(help));
    bench.say(finding);
}

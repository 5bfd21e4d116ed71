//! Whether the attributes of a filled service fit together, by xinetd's rules in xinetd's order (`check_entry`,
//! `service_attr_check`). What only portreeve refuses is in `refuse.rs`.

use crate::attribute::Id;
use crate::attributes;
use crate::codes;
use crate::diagnostic::{Classic, Level};
use crate::draft::{Draft, Flag, Type};
use crate::fill::Implied;
use crate::report::Finding;
use crate::service::{BindTo, Builtin, SocketType};
use crate::text::Text;
use crate::verdict::{Bench, Refused};
use std::collections::BTreeMap;

/// What of an earlier service decides whether a later one is a duplicate.
#[derive(Clone, Debug)]
pub(crate) struct Earlier {
    pub(crate) name: Text,
    pub(crate) id: Text,
    bind: Vec<BindTo>,
    port: Option<(u16, u16)>,
    protocol: Option<i32>,
    rpc: bool,
}

/// The earlier services that have a `bind`, by port and protocol: nobody else is compared with a later one.
pub(crate) type Bound = BTreeMap<(Option<(u16, u16)>, Option<i32>), Vec<Earlier>>;

impl Earlier {
    pub(crate) fn new(draft: &Draft, implied: &Implied) -> Self {
        Self {
            name: draft.name_text(),
            id: draft.id_text(),
            bind: implied.bind.iter().map(|bind| bind.to.clone()).collect(),
            port: draft.port,
            protocol: draft.protocol.as_ref().map(|&(_, number)| number),
            rpc: draft.is(Type::Rpc),
        }
    }

    /// Remembers one that has a `bind` for those that come later.
    pub(crate) fn remember(self, bound: &mut Bound) {
        bound.entry((self.port, self.protocol)).or_default().push(self);
    }
}

/// Checks a service; what it is as a built-in comes back.
pub(crate) fn check(
    draft: &mut Draft,
    implied: &Implied,
    earlier: &Bound,
    bench: &mut Bench<'_>,
) -> Result<Option<BuiltinName>, Refused> {
    duplicate(draft, implied, earlier, bench)?;
    intercept(draft, bench);
    if draft.flag(Flag::Sensor) {
        draft.types.set(Type::Internal as usize, true);
    }
    let builtin = if draft.is(Type::Internal) { Some(builtin(draft, bench)?) } else { None };
    labeled(draft, bench)?;
    mux(draft, bench)?;
    if draft.is(Type::Rpc) && !draft.is(Type::Unlisted) {
        rpc(draft, bench)?;
    } else if !draft.is(Type::Unlisted) && !implied.is_local() {
        listed(draft, bench)?;
    }
    if draft.is_redirected() {
        redirected(draft, bench)?
    } else {
        not_redirected(draft, bench)?
    }
    name_in_args(draft, bench)?;
    missing(draft, implied, bench)?;
    Ok(builtin)
}

/// Only an earlier service with a `bind` is compared; the rest fails at bind(2), see `clash.rs`.
fn duplicate(
    draft: &Draft,
    implied: &Implied,
    earlier: &Bound,
    bench: &mut Bench<'_>,
) -> Result<(), Refused> {
    if earlier.is_empty() {
        return Ok(());
    }
    let own = Earlier::new(draft, implied);
    let same = |other: &&Earlier| {
        (own.bind.is_empty() || other.bind.iter().any(|bind| own.bind.contains(bind)))
            && !(own.rpc && other.rpc)
    };
    let there = earlier.get(&(own.port, own.protocol)).map_or(&[][..], Vec::as_slice);
    let Some(other) = there.iter().find(same) else { return Ok(()) };
    let classic = if other.id.eq_ignore_ascii_case(&own.id) {
        format!("service: {} id: {} not unique or is a duplicate - DISABLING", own.name, own.id)
    } else {
        format!(
            "service: {} id: {} is unique but its identical to service: {} id: {} - DISABLING",
            own.name, own.id, other.name, other.id
        )
    };
    let message = format!("service `{}` listens where the earlier service `{}` does", own.id, other.id);
    bench.refuse(&codes::DUPLICATE, draft, message, classic, Some("give it another `port` or `bind`"))
}

/// What INTERCEPT was for is done without it, for each kind of service that can have it.
const INTERCEPT_REMEDY: &str = "remove INTERCEPT from `flags`: the addresses of a `wait = yes` service are checked without it, of datagrams before its program starts, of streams by a filter on the socket";

/// INTERCEPT is never served; where xinetd clears it, it says so.
fn intercept(draft: &mut Draft, bench: &mut Bench<'_>) {
    if !draft.flag(Flag::Intercept) {
        return;
    }
    let message = format!("INTERCEPT of service `{}` has no effect", draft.id());
    let mut finding = bench.finding(&codes::FLAG_IGNORED, draft, message, Some(INTERCEPT_REMEDY));
    let mut cleared = false;
    if draft.is(Type::Internal) {
        let text = format!("Internal services cannot be intercepted: {} ", draft.id());
        finding = finding.classic(Classic::new(Level::Error, text));
        cleared = true;
    }
    if draft.wait != Some(true) {
        let text = format!("Multi-threaded services cannot be intercepted: {}", draft.id());
        finding = finding.classic(Classic::new(Level::Error, text));
        cleared = true;
    }
    if cleared {
        draft.flags.set(Flag::Intercept as usize, false);
    }
    bench.say(finding);
}

/// A built-in service by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BuiltinName {
    Known(Builtin),
    Sensor,
    Tcpmux,
}

fn builtin(draft: &Draft, bench: &mut Bench<'_>) -> Result<BuiltinName, Refused> {
    let name = if draft.flag(Flag::Sensor) { "sensor" } else { draft.name() };
    let known = match (name.to_ascii_lowercase().as_str(), draft.socket) {
        ("tcpmux", Some(SocketType::Stream)) => Some(BuiltinName::Tcpmux),
        ("trap", Some(SocketType::Stream)) => Some(BuiltinName::Known(Builtin::Trap)),
        ("tarpit", Some(SocketType::Stream)) => Some(BuiltinName::Known(Builtin::Tarpit)),
        (name, Some(SocketType::Stream)) if telling(name).is_some() => telling(name).map(BuiltinName::Known),
        (name, Some(SocketType::Stream | SocketType::Dgram)) => match name {
            "echo" => Some(BuiltinName::Known(Builtin::Echo)),
            "discard" => Some(BuiltinName::Known(Builtin::Discard)),
            "time" => Some(BuiltinName::Known(Builtin::Time)),
            "daytime" => Some(BuiltinName::Known(Builtin::Daytime)),
            "chargen" => Some(BuiltinName::Known(Builtin::Chargen)),
            "sensor" => Some(BuiltinName::Sensor),
            _ => None,
        },
        _ => None,
    };
    if let Some(known) = known {
        return Ok(known);
    }
    let socket = draft.socket.map_or("Unknown socket type", socket_name);
    let message = format!("there is no built-in service `{name}` for {socket}");
    let classic = format!("No such internal service: {name}/{socket} - DISABLING");
    let help = match name.to_ascii_lowercase().as_str() {
        "servers" | "services" | "xadmin" | "trap" | "tarpit" => "it exists for stream",
        name if name.ends_with("-udp") || name.ends_with("-dgram") || name.ends_with("-stream") => {
            "name the service without the suffix and give it an `id`"
        }
        _ => {
            "echo, discard, chargen, daytime and time exist for stream and dgram; tcpmux, servers, services, xadmin, trap and tarpit for stream"
        }
    };
    bench.refuse(&codes::NO_SUCH_BUILTIN, draft, message, classic, Some(help))
}

/// The built-ins that xinetd had until 2003.
fn telling(name: &str) -> Option<Builtin> {
    match name {
        "servers" => Some(Builtin::Servers),
        "services" => Some(Builtin::Services),
        "xadmin" => Some(Builtin::Xadmin),
        _ => None,
    }
}

/// Whether a service is one of them.
pub(crate) fn tells_of_us(draft: &Draft) -> bool {
    draft.is(Type::Internal)
        && !draft.flag(Flag::Sensor)
        && draft.socket == Some(SocketType::Stream)
        && telling(&draft.name().to_ascii_lowercase()).is_some()
}

/// The word for a socket type.
pub(crate) fn socket_name(socket: SocketType) -> &'static str {
    let index = match socket {
        SocketType::Stream => 0,
        SocketType::Dgram => 1,
        SocketType::Raw => 2,
        SocketType::Seqpacket => 3,
    };
    attributes::SOCKET_TYPES.get(index).copied().unwrap_or_default()
}

fn labeled(draft: &Draft, bench: &mut Bench<'_>) -> Result<(), Refused> {
    if !draft.flag(Flag::Labeled) {
        return Ok(());
    }
    let what = if draft.is(Type::Internal) {
        "Internal services"
    } else if draft.socket != Some(SocketType::Stream) {
        "Non-stream socket types"
    } else if draft.wait == Some(true) {
        "Tcp wait services"
    } else if draft.is_redirected() {
        "Redirected services"
    } else {
        return Ok(());
    };
    let message = format!("LABELED does not fit service `{}`: {}", draft.id(), what.to_ascii_lowercase());
    let classic = format!("{what} cannot support labeled networking: {}", draft.id());
    bench.refuse(&codes::FLAG_CONFLICT, draft, message, classic, Some("remove LABELED from `flags`"))
}

fn mux(draft: &Draft, bench: &mut Bench<'_>) -> Result<(), Refused> {
    if !draft.is_mux() {
        return Ok(());
    }
    let name = draft.name();
    if !draft.is(Type::Unlisted) {
        let message = format!("service `{}` of tcpmux must be UNLISTED", draft.id());
        let classic = format!("Service: {name} (tcpmux) should have UNLISTED in type.");
        return bench.refuse(&codes::FLAG_CONFLICT, draft, message, classic, None);
    }
    if !draft.protocol.as_ref().is_some_and(|(protocol, _)| protocol.eq_ignore_ascii_case("tcp")) {
        let message = format!("service `{}` of tcpmux must have the protocol tcp", draft.id());
        let classic = format!("Service: {name} (tcpmux) should have tcp in protocol.");
        return bench.refuse(&codes::FLAG_CONFLICT, draft, message, classic, None);
    }
    Ok(())
}

fn rpc(draft: &Draft, bench: &mut Bench<'_>) -> Result<(), Refused> {
    if bench.host.rpc_number(draft.name()).is_some() {
        return Ok(());
    }
    let message = format!("the RPC service `{}` is not in /etc/rpc", draft.name());
    let classic = format!("unknown RPC service: {}", draft.name());
    bench.refuse(&codes::NOT_LISTED, draft, message, classic, Some("add UNLISTED and `rpc_number`"))
}

fn listed(draft: &Draft, bench: &mut Bench<'_>) -> Result<(), Refused> {
    let name = draft.name();
    let Some((protocol, _)) = &draft.protocol else {
        let message = format!("service `{}` has neither `protocol` nor `socket_type`", draft.id());
        let classic = format!("A protocol or a socket_type must be specified for service: {name}.");
        return bench.refuse(&codes::MISSING_ATTRIBUTE, draft, message, classic, None);
    };
    let Some(port) = bench.host.service_port(name, protocol) else {
        let message = format!("`{name}/{protocol}` is not in /etc/services");
        let classic = format!("service/protocol combination not in /etc/services: {name}/{protocol}");
        let help = "add `type = UNLISTED`, or the service to /etc/services";
        return bench.refuse(&codes::NOT_LISTED, draft, message, classic, Some(help));
    };
    match draft.port {
        Some((own, last)) if (own, last) != (port, port) => {
            let message = format!("service `{name}` has port {port} in /etc/services, not {own}");
            let classic = format!("Service {name} expects port {port}, not {own}");
            let help = "add `type = UNLISTED`, or correct the port";
            bench.refuse(&codes::PORT_DIFFERS, draft, message, classic, Some(help))
        }
        _ => Ok(()),
    }
}

fn redirected(draft: &Draft, bench: &mut Bench<'_>) -> Result<(), Refused> {
    let name = draft.name();
    let datagrams = draft.socket == Some(SocketType::Dgram);
    let classic = if draft.socket != Some(SocketType::Stream) && !datagrams {
        format!("Only tcp sockets are supported for redirected service {name}")
    } else if draft.wait == Some(true) && !datagrams {
        format!("Redirected service {name} must not wait")
    } else if draft.flag(Flag::Nameinargs) {
        format!("Redirected service {name} should not have NAMEINARGS flag set")
    } else {
        return Ok(());
    };
    let message = format!(
        "service `{}` cannot be redirected: only stream with `wait = no`, or dgram, without NAMEINARGS",
        draft.id()
    );
    bench.refuse(&codes::FLAG_CONFLICT, draft, message, classic, None)
}

fn not_redirected(draft: &Draft, bench: &mut Bench<'_>) -> Result<(), Refused> {
    if !draft.log_success.traffic {
        return Ok(());
    }
    let message = format!("service `{}` logs TRAFFIC, which only redirected services can", draft.id());
    let classic =
        format!("Service {} should not have TRAFFIC flag set since its not redirected", draft.name());
    bench.refuse(&codes::TRAFFIC, draft, message, classic, Some("remove TRAFFIC from log_on_success"))
}

fn name_in_args(draft: &Draft, bench: &mut Bench<'_>) -> Result<(), Refused> {
    if !draft.flag(Flag::Nameinargs) {
        return Ok(());
    }
    let name = draft.name();
    if draft.is(Type::Internal) {
        let message = format!("service `{}` is INTERNAL and has NAMEINARGS", draft.id());
        let classic = format!("Service {name} is INTERNAL and has NAMEINARGS flag set");
        return bench.refuse(
            &codes::FLAG_CONFLICT,
            draft,
            message,
            classic,
            Some("remove NAMEINARGS from `flags`"),
        );
    }
    if draft.args.is_none() {
        let message = format!("service `{}` has NAMEINARGS and no `server_args`", draft.id());
        let classic = format!("Service {name} has NAMEINARGS flag set and no server_args");
        return bench.refuse(&codes::MISSING_ATTRIBUTE, draft, message, classic, None);
    }
    Ok(())
}

/// Attributes that must have been given. All missing ones are named, in xinetd's order.
fn missing(draft: &mut Draft, implied: &Implied, bench: &mut Bench<'_>) -> Result<(), Refused> {
    let (internal, unlisted, rpc) = (draft.is(Type::Internal), draft.is(Type::Unlisted), draft.is(Type::Rpc));
    let outside = !internal && unlisted;
    let needed = [
        (Id::Wait, "wait", draft.wait.is_none()),
        (Id::SocketType, "socket_type", draft.socket.is_none()),
        (Id::Protocol, "protocol", (outside || rpc) && draft.protocol.is_none()),
        (Id::User, "user", !internal && draft.user.is_none()),
        (Id::Server, "server", !internal && !draft.is_redirected() && draft.server.is_none()),
        (Id::RpcVersion, "rpc_version", rpc && draft.rpc_versions.is_none()),
        (Id::Port, "port", outside && !draft.is_mux() && !rpc && !implied.is_local() && draft.port.is_none()),
        (Id::RpcNumber, "rpc_number", rpc && unlisted && draft.rpc_number.is_none()),
    ];
    if draft.flag(Flag::Ipv4) && draft.flag(Flag::Ipv6) {
        let message = format!("service `{}` uses IPv6, or IPv4 where there is no IPv6", draft.id());
        let classic = format!("Service {} will use IPv6 or fallback to IPv4", draft.name());
        let finding = bench.finding(&codes::BOTH_FAMILIES, draft, message, None);
        bench.say(finding.classic(Classic::new(Level::Info, classic)));
        draft.flags.set(Flag::Ipv4 as usize, false);
    }
    let mut reason = None;
    for (id, name, _) in needed.into_iter().filter(|&(_, _, missing)| missing) {
        let message = format!("service `{}` has no `{name}`", draft.id());
        let classic = format!("Service {} missing attribute {name} - DISABLING", draft.id());
        let form = attributes().iter().find(|attribute| attribute.id == id).map(|row| row.form);
        let help = form.map(|form| format!("add `{name} = {form}`"));
        let finding = bench.finding(&codes::MISSING_ATTRIBUTE, draft, message.clone(), help.as_deref());
        bench.say(finding.classic(Classic::new(Level::Error, classic)));
        reason.get_or_insert(message);
    }
    reason.map_or(Ok(()), |reason| Err(Refused(reason)))
}

/// The ident service never asks for idents: two daemons would ask each other without end.
pub(crate) fn clear_userid(draft: &mut Draft, bench: &mut Bench<'_>) {
    const IDENT: u16 = 113;
    const TCP: i32 = 6;
    if draft.port != Some((IDENT, IDENT)) || draft.protocol.as_ref().is_none_or(|&(_, number)| number != TCP)
    {
        return;
    }
    for (name, on) in [
        ("log_on_success", std::mem::take(&mut draft.log_success.userid)),
        ("log_on_failure", std::mem::take(&mut draft.log_failure.userid)),
    ] {
        if !on {
            continue;
        }
        let message = format!("USERID of {name} has no effect on the ident service `{}`", draft.id());
        let classic = format!("{} service: clearing USERID option from {name}", draft.id());
        let finding: Finding = bench.finding(&codes::USERID_CLEARED, draft, message, None);
        bench.say(finding.classic(Classic::new(Level::Warning, classic)));
    }
}

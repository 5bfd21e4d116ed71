//! What only portreeve refuses: what xinetd accepts and then does wrongly, what this release cannot do yet, and what it
//! could only do by ignoring a restriction. Each is listed in docs/guide/differences.md.

use crate::address::Pattern;
use crate::attribute::Id;
use crate::check::BuiltinName;
use crate::codes;
use crate::diagnostic::{Classic, Level};
use crate::draft::{AddressSet, Draft, Flag, Type};
use crate::endpoint::{MOST_LISTENERS, MOST_PASSED};
use crate::fill::{Implied, address};
use crate::redirect::Target;
use crate::report::AFTER;
use crate::service::{FamilyFlag, SocketType};
use crate::verdict::{Bench, Refused};
use std::net::IpAddr;
use std::path::Path;

/// Refuses what must not be served although xinetd would try.
pub(crate) fn refuse(
    draft: &Draft,
    implied: &Implied,
    builtin: Option<BuiltinName>,
    bench: &mut Bench<'_>,
) -> Result<(), Refused> {
    crate::local::refuse(draft, implied, builtin, bench)?;
    proxied(draft, bench)?;
    mux(draft, bench)?;
    proxy_protocol(draft, bench)?;
    datagrams(draft, bench)?;
    transparent(draft, bench)?;
    sensor_name(draft, builtin, bench)?;
    no_wait(draft, implied, bench)?;
    socket_mismatch(draft, bench)?;
    rpc_protocol(draft, bench)?;
    bind_family(draft, implied, bench)?;
    group(draft, implied, bench)?;
    several(draft, implied, bench)?;
    listen_fds(draft, bench)?;
    sandbox(draft, bench)?;
    groups(draft, bench)?;
    log_directory(draft, bench)?;
    wait_list(draft, implied, bench)?;
    hosts_rules(draft, bench)?;
    crate::tls::refuse(draft, bench)
}

/// rpcbind has names for these two alone.
fn rpc_protocol(draft: &Draft, bench: &mut Bench<'_>) -> Result<(), Refused> {
    const KNOWN: [i32; 2] = [6, 17];
    let Some((protocol, number)) = draft.protocol.as_ref().filter(|_| draft.is(Type::Rpc)) else {
        return Ok(());
    };
    if KNOWN.contains(number) {
        return Ok(());
    }
    let message = format!("service `{}` is RPC over {protocol}, which rpcbind cannot tell", draft.id());
    bench.refuse_ourselves(&codes::SOCKET_MISMATCH, draft, message, Some("use tcp or udp"))
}

/// Who is to be told there?
fn proxy_protocol(draft: &Draft, bench: &mut Bench<'_>) -> Result<(), Refused> {
    let sends = draft.proxy_protocol.is_some_and(|proxy| proxy.send.is_some());
    if !sends || draft.is_redirected() {
        return Ok(());
    }
    let message = format!(
        "service `{}` has no `redirect`, so there is no target to send a PROXY header to",
        draft.id()
    );
    bench.refuse_ourselves(&codes::FLAG_CONFLICT, draft, message, Some("remove `proxy_protocol`"))
}

/// From whose address, and to where?
fn transparent(draft: &Draft, bench: &mut Bench<'_>) -> Result<(), Refused> {
    let path = draft.redirect.iter().any(|target| matches!(target, Target::Path(_)));
    let what = match draft.transparent {
        Some(true) if !draft.is_redirected() => "has no `redirect`",
        Some(true) if draft.socket != Some(SocketType::Stream) => "is no stream",
        Some(true) if path => "has a unix socket for a target",
        _ => return Ok(()),
    };
    let message = format!("service `{}` is `transparent` and {what}", draft.id());
    bench.refuse_ourselves(&codes::FLAG_CONFLICT, draft, message, Some("remove `transparent`"))
}

/// What a redirected service of datagrams has no way to.
fn datagrams(draft: &Draft, bench: &mut Bench<'_>) -> Result<(), Refused> {
    if draft.socket != Some(SocketType::Dgram) || !draft.is_redirected() {
        return Ok(());
    }
    let path = draft.redirect.iter().find(|target| matches!(target, Target::Path(_)));
    let (what, help) = match (path, draft.proxy_protocol) {
        (Some(path), _) => (format!("a target of datagrams cannot be the unix socket {path}"), "HOST PORT"),
        (None, Some(_)) => ("a PROXY header goes with a stream".to_owned(), "remove `proxy_protocol`"),
        (None, None) => return Ok(()),
    };
    let message = format!("service `{}` cannot be redirected so: {what}", draft.id());
    bench.refuse_ourselves(&codes::FLAG_CONFLICT, draft, message, Some(help))
}

/// Who may send a PROXY header must be said, and somebody must be there to read it.
fn proxied(draft: &Draft, bench: &mut Bench<'_>) -> Result<(), Refused> {
    let accepts = draft.proxy_protocol.is_some_and(|proxy| proxy.accept);
    let named = draft.proxy_from.as_ref().is_some_and(|set| !set.entries.is_empty());
    let (what, help) = if !accepts {
        match &draft.proxy_from {
            None => return Ok(()),
            Some(_) => ("has `proxy_from` and reads no PROXY header", "add `proxy_protocol = accept`"),
        }
    } else if !named {
        (
            "accepts PROXY headers and names no proxy",
            "add `proxy_from = ADDRESS …`: whoever may send one may claim any address",
        )
    } else if draft.socket != Some(SocketType::Stream) || draft.wait == Some(true) {
        ("accepts PROXY headers, but not its clients one by one", "only stream with `wait = no` can")
    } else if draft.flag(Flag::Sensor) {
        ("accepts PROXY headers and is a SENSOR", "a SENSOR goes by the address that connects")
    } else if draft.is_mux() {
        ("accepts PROXY headers and is reached through tcpmux", "let `tcpmux` itself accept them")
    } else {
        return Ok(());
    };
    let message = format!("service `{}` {what}", draft.id());
    bench.refuse_ourselves(&codes::FLAG_CONFLICT, draft, message, Some(help))
}

/// Built-ins that a client of tcpmux may name; the others are about who connects, or about this host.
const THROUGH_TCPMUX: [&str; 5] = ["echo", "discard", "chargen", "daytime", "time"];

/// What a client of tcpmux could not be handed to.
fn mux(draft: &Draft, bench: &mut Bench<'_>) -> Result<(), Refused> {
    if !draft.is_mux() {
        return Ok(());
    }
    let (what, help) = if draft.name().eq_ignore_ascii_case("help") {
        ("is reached through tcpmux, which answers `help` itself", "give it another name")
    } else if draft.wait == Some(true) {
        ("is reached through tcpmux and has `wait = yes`", "write `wait = no`")
    } else if draft.flag(Flag::Sensor) {
        ("is reached through tcpmux and is a SENSOR", "let the sensor listen by itself, or remove the flag")
    } else if draft.is(Type::Internal)
        && !THROUGH_TCPMUX.iter().any(|name| draft.name().eq_ignore_ascii_case(name))
    {
        (
            "is reached through tcpmux and is a built-in that cannot be",
            "echo, discard, chargen, daytime and time can; or name a `server`",
        )
    } else {
        return Ok(());
    };
    let message = format!("service `{}` {what}", draft.id());
    bench.refuse_ourselves(&codes::FLAG_CONFLICT, draft, message, Some(help))
}

fn sensor_name(draft: &Draft, builtin: Option<BuiltinName>, bench: &mut Bench<'_>) -> Result<(), Refused> {
    if builtin != Some(BuiltinName::Sensor) || draft.flag(Flag::Sensor) {
        return Ok(());
    }
    let message = format!("`{}` is no built-in service", draft.name());
    bench.refuse_ourselves(&codes::SENSOR_NAME, draft, message, Some("add `flags = SENSOR`"))
}

fn no_wait(draft: &Draft, implied: &Implied, bench: &mut Bench<'_>) -> Result<(), Refused> {
    if draft.wait != Some(false) || draft.socket == Some(SocketType::Stream) || implied.is_local() {
        return Ok(());
    }
    let socket = draft.socket.map_or("", crate::check::socket_name);
    let message = format!("service `{}` has `socket_type = {socket}` and `wait = no`", draft.id());
    let help = Some("write `wait = yes`: the server then reads the datagrams itself");
    let classic = format!("Service {} has socket_type {socket}, but does not wait", draft.name());
    bench.refuse(&codes::ALWAYS_RUNNING, draft, message, classic, help)
}

/// Pairs that socket(2) always refuses; xinetd finds out when it starts the service.
fn socket_mismatch(draft: &Draft, bench: &mut Bench<'_>) -> Result<(), Refused> {
    const TCP: i32 = 6;
    const UDP: i32 = 17;
    let (Some(socket), Some((protocol, number))) = (draft.socket, &draft.protocol) else { return Ok(()) };
    let impossible = match socket {
        SocketType::Stream => *number == UDP,
        SocketType::Dgram => *number == TCP,
        SocketType::Seqpacket => matches!(*number, TCP | UDP),
        SocketType::Raw => false,
    };
    if !impossible {
        return Ok(());
    }
    let socket = crate::check::socket_name(socket);
    let message =
        format!("service `{}` has `socket_type = {socket}` and `protocol = {protocol}`", draft.id());
    let classic = format!("Service {} failed to start and is deactivated.", draft.id());
    let help = Some("use tcp with stream and udp with dgram");
    bench.refuse(&codes::SOCKET_MISMATCH, draft, message, classic, help)
}

fn bind_family(draft: &Draft, implied: &Implied, bench: &mut Bench<'_>) -> Result<(), Refused> {
    let foreign = |address: &IpAddr| match implied.family {
        FamilyFlag::V4 => address.is_ipv6(),
        FamilyFlag::V6 => address.is_ipv4(),
        FamilyFlag::Unset => false,
    };
    let Some(address) = implied.bind.iter().filter_map(address).find(foreign) else { return Ok(()) };
    let flag = if address.is_ipv6() { "IPv4" } else { "IPv6" };
    let message = format!("service `{}` has the flag {flag}, but `bind` is {address}", draft.id());
    bench.refuse_ourselves(&codes::BIND_FAMILY, draft, message, Some("correct the flag or the address"))
}

/// A group is for datagrams, and a built-in answers none: every host of the network would answer one that may be forged.
fn group(draft: &Draft, implied: &Implied, bench: &mut Bench<'_>) -> Result<(), Refused> {
    let group = implied.bind.iter().filter_map(address).find(|address| address.is_multicast());
    let Some(group) = group else { return Ok(()) };
    let program = !draft.is(Type::Internal) || draft.flag(Flag::Sensor);
    if draft.socket == Some(SocketType::Dgram) && program {
        return Ok(());
    }
    let message = format!("service `{}` cannot listen at {group}, the address of a group", draft.id());
    let help = Some("groups are for `socket_type = dgram` with a `server`; write an address of this host");
    bench.refuse_ourselves(&codes::BAD_ADDRESS, draft, message, help)
}

fn is_program(draft: &Draft) -> bool {
    !draft.is(Type::Internal) && !draft.flag(Flag::Sensor) && draft.redirect.is_empty()
}

/// Descriptors are for a program.
fn listen_fds(draft: &Draft, bench: &mut Bench<'_>) -> Result<(), Refused> {
    if draft.listen_fds.is_none() || is_program(draft) {
        return Ok(());
    }
    let message = format!("service `{}` has `listen_fds` and starts no program", draft.id());
    bench.refuse_ourselves(&codes::FLAG_CONFLICT, draft, message, Some("remove `listen_fds`"))
}

/// What would start a program without its sandbox, or nothing with one.
fn sandbox(draft: &Draft, bench: &mut Bench<'_>) -> Result<(), Refused> {
    let Some(set) = &draft.sandbox else { return Ok(()) };
    if !is_program(draft) {
        // That of `defaults` is for the services that do.
        if !draft.marks.has(Id::Sandbox) || set.value.is_empty() {
            return Ok(());
        }
        let message = format!("service `{}` has a `sandbox` and starts no program", draft.id());
        return bench.refuse_ourselves(&codes::FLAG_CONFLICT, draft, message, Some("remove `sandbox`"));
    }
    match crate::sandbox::build(&set.value, None) {
        Ok(Some(sandbox)) if looks_at_program(draft) && moves_program(draft, &sandbox) => {
            let what = if sandbox.root.is_some() { "a `RootDirectory`" } else { "its program bound" };
            let message = format!(
                "service `{}` has {what}, and `verify_server` and LABELED look at the program of the host",
                draft.id()
            );
            bench.refuse_ourselves(&codes::FLAG_CONFLICT, draft, message, Some("remove one of them"))
        }
        Ok(_) => Ok(()),
        Err(why) => {
            let message = format!("service `{}`: {why}", draft.id());
            bench.refuse_ourselves(&codes::SANDBOX_VOID, draft, message, None)
        }
    }
}

/// Whether what is started is another file than the one that the host has there.
fn moves_program(draft: &Draft, sandbox: &crate::sandbox::Sandbox) -> bool {
    let server = draft.server.as_ref().map_or("", |set| &set.value);
    let mounts = sandbox.mounts.as_deref().unwrap_or_default();
    let other = |place| matches!(place, crate::sandbox::Shown::Host(path) if path != *server);
    sandbox.root.is_some() || other(crate::sandbox::shown(mounts, server, false))
}

/// Whether it is looked at before it is started.
fn looks_at_program(draft: &Draft) -> bool {
    draft.verify_server.is_some_and(|verify| verify != crate::verify::Verify::No) || draft.flag(Flag::Labeled)
}

/// The kernel has a bound for descriptors, and a program that waits is given one socket, as its descriptor 0.
fn several(draft: &Draft, implied: &Implied, bench: &mut Bench<'_>) -> Result<(), Refused> {
    let (first, last) = draft.port.unwrap_or_default();
    let sockets = (usize::from(last.saturating_sub(first)) + 1) * implied.bind.len().max(1);
    if sockets > MOST_LISTENERS {
        let message = format!(
            "service `{}` has {sockets} addresses and ports, and {MOST_LISTENERS} are the most",
            draft.id()
        );
        let help = Some("make the range smaller, or write several services");
        return bench.refuse_ourselves(&codes::TOO_MANY_LISTENERS, draft, message, help);
    }
    let program = is_program(draft);
    if sockets > 1 && draft.is(Type::Rpc) {
        let message = format!(
            "service `{}` is an RPC service with {sockets} sockets; rpcbind has one entry for it",
            draft.id()
        );
        let help = Some("write one address, or none");
        return bench.refuse_ourselves(&codes::SEVERAL_SOCKETS, draft, message, help);
    }
    let given = if draft.listen_fds.is_some() { MOST_PASSED } else { 1 };
    if sockets <= given || draft.wait != Some(true) || !program {
        return Ok(());
    }
    let message = format!(
        "service `{}` has `wait = yes` and {sockets} sockets; its program is given {given}",
        draft.id()
    );
    let help = Some(
        "write a service for each address or port, with an `id` of its own, or `listen_fds` if the program takes several",
    );
    bench.refuse_ourselves(&codes::SEVERAL_SOCKETS, draft, message, help)
}

fn groups(draft: &Draft, bench: &mut Bench<'_>) -> Result<(), Refused> {
    let Some(user) = draft.user.as_ref().filter(|_| draft.groups == Some(true)) else { return Ok(()) };
    let known = match draft.user_is_number {
        true => bench.host.user_by_id(user.uid),
        false => Some(user.clone()),
    };
    if known.is_some_and(|user| bench.host.groups_of(&user.name, user.gid).is_some()) {
        return Ok(());
    }
    let message =
        format!("service `{}` wants the groups of `{}`, which are not known", draft.id(), user.name);
    let help = Some("name a user of the user database, or write `groups = no`");
    bench.refuse_ourselves(&codes::GROUPS_WITHOUT_USER, draft, message, help)
}

/// xinetd creates the log when it starts the service and gives the service up if it cannot.
fn log_directory(draft: &Draft, bench: &mut Bench<'_>) -> Result<(), Refused> {
    const NO_SUCH: [i32; 2] = [2, 20];
    let Some(crate::service::LogType::File { path, .. }) = draft.log_type.as_ref().map(|set| &set.value)
    else {
        return Ok(());
    };
    // That of `defaults` is one for all.
    let of_all = !draft.marks.has(Id::LogType);
    if of_all && *bench.log_is_there {
        return Ok(());
    }
    let Some(directory) = Path::new(path.as_str()).parent() else { return Ok(()) };
    match bench.host.is_directory(directory) {
        Ok(false) => {}
        Err(error) if NO_SUCH.contains(&error.number) => {}
        _ => {
            *bench.log_is_there |= of_all;
            return Ok(());
        }
    }
    let message = format!(
        "the log of service `{}` cannot be created: there is no directory `{}`",
        draft.id(),
        directory.display()
    );
    // And is tried once.
    let owner = if of_all { "default" } else { draft.id() };
    let creation = Classic::new(Level::Error, format!("creation of {owner} log failed"));
    if owner != "default" || !bench.report.has_logged(&creation) {
        bench.report.log(AFTER, creation);
    }
    let classic = format!("Service {} failed to start and is deactivated.", draft.id());
    bench.refuse(
        &codes::LOG_DIRECTORY,
        draft,
        message,
        classic,
        Some("create the directory, or correct `log_type`"),
    )
}

/// The program accepts by itself there, so the kernel must know who may come; it knows addresses only.
fn wait_list(draft: &Draft, implied: &Implied, bench: &mut Bench<'_>) -> Result<(), Refused> {
    if implied.is_local()
        || draft.wait != Some(true)
        || draft.socket != Some(SocketType::Stream)
        || draft.is(Type::Internal)
    {
        return Ok(());
    }
    let named = |set: &Option<AddressSet>| {
        let entries = set.iter().flat_map(|set| &set.entries);
        entries
            .filter(|(pattern, ..)| matches!(pattern, Pattern::Name(_)))
            .map(|(_, text, _)| text.clone())
            .next()
    };
    let Some(name) = named(&draft.only_from).or_else(|| named(&draft.no_access)) else { return Ok(()) };
    let message =
        format!("service `{}` has `wait = yes`, so `{name}` in its lists cannot be enforced", draft.id());
    let help = Some("write addresses instead of names, or `wait = no`");
    bench.refuse_ourselves(&codes::WAIT_LIST, draft, message, help)
}

/// The program accepts by itself there, so nobody knows the clients that the tables are about. A sensor refuses everybody
/// before they would be asked.
fn hosts_rules(draft: &Draft, bench: &mut Bench<'_>) -> Result<(), Refused> {
    let accepts_itself = draft.wait == Some(true)
        && draft.socket == Some(SocketType::Stream)
        && !draft.is(Type::Internal)
        && !draft.flag(Flag::Sensor);
    if !accepts_itself || draft.flag(Flag::Nolibwrap) || !bench.host.hosts_tables_active() {
        return Ok(());
    }
    let message = format!(
        "service `{}` has `wait = yes`, so the rules of hosts.allow and hosts.deny cannot be enforced",
        draft.id()
    );
    let help = "write `wait = no`, or `flags = NOLIBWRAP` if the program asks the tables itself or they are not meant for it";
    bench.refuse_ourselves(&codes::HOSTS_RULES, draft, message, Some(help))
}

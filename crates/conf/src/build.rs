//! A checked draft to a `Service`: the built-in defaults, argv, environment and the name for hosts.allow. Refuses nothing.

use crate::attributes::IDLE_TIMEOUT;
use crate::check::BuiltinName;
use crate::draft::{AddressSet, Draft, Flag, Type};
use crate::fill::Implied;
use crate::host::Host;
use crate::rare::{Nothing, Rare};
use crate::seldom::Seldom;
use crate::service::{
    Action, Ids, Listen, LogFailure, LogSuccess, LogType, Mux, OnRemove, Rpc, Service, Set, SocketRights,
    SocketType,
};
use crate::text::Text;
use crate::usual::{InCommon, Last, Limits, Socket, Usual};
use crate::verdict::Bench;
use crate::verify::Verify;
use crate::words::Words;

/// xinetd's own limits where nothing is set: 50 connections a second, 10 seconds to wait.
const CPS: (u32, u32) = (50, 10);
/// A connection that is carried elsewhere may be silent for a day: an idle login is no error.
const REDIRECT_IDLE: u32 = 86_400;
/// The same of datagrams: nobody says that they are done. More than what clients and routers wait at most (RFC 4787 section 4.3).
const FLOW_IDLE: u32 = 120;
/// The daemon's own user alone.
pub(crate) const SOCKET_MODE: u32 = 0o600;

/// The service; `None` where an attribute is missing that `check` has already missed. What it says as others do it shares with them.
pub(crate) fn build(
    draft: &Draft,
    implied: &Implied,
    builtin: Option<BuiltinName>,
    bench: &Bench<'_>,
    common: &mut InCommon,
) -> Option<Service> {
    let (host, place) = (bench.host, bench.place);
    let action = action(draft, builtin)?;
    let starts_program = matches!(action, Action::External { .. });
    let seldom = seldom(draft, implied, host, starts_program);
    let seldom = if seldom.is_unsaid() { Rare::default() } else { Rare::of(seldom) };
    Some(Service {
        name: draft.name_text(),
        id: draft.id_text(),
        place: place.clone(),
        wrap_name: wrap_name(draft, &action),
        action_place: match &action {
            Action::External { .. } => draft.server.as_ref().and_then(|set| set.place.clone()),
            Action::Redirect(_) => draft.redirect_place.clone(),
            _ => None,
        },
        action,
        listen: listen(draft, implied, &mut common.sockets)?,
        limits: common.limits.share(limits(draft, implied)),
        usual: common.usual.share(usual(draft, implied, host, seldom)?),
    })
}

fn limits(draft: &Draft, implied: &Implied) -> Limits {
    Limits {
        instances: or(&draft.instances, None),
        per_source: or(&draft.per_source, None),
        cps: or(&draft.cps, CPS),
        only_from: about(&draft.only_from, implied).map(|set| set.entries()),
        only_from_place: about(&draft.only_from, implied).and_then(|set| set.place.clone()),
    }
}

fn usual(draft: &Draft, implied: &Implied, host: &dyn Host, seldom: Rare<Seldom>) -> Option<Usual> {
    // Lists and ident are about addresses; `local.rs` has said so where `defaults` has one for a service without any.
    let asks = |userid| userid && !implied.is_local();
    Some(Usual {
        types: Words::types(draft.types),
        flags: Words::flags(draft.flags),
        mux: mux(draft),
        wait: draft.wait?,
        noretry: draft.flag(Flag::Noretry),
        nolibwrap: draft.flag(Flag::Nolibwrap),
        ids: ids(draft, host),
        nice: draft.nice,
        umask: draft.umask,
        rlimits: draft.rlimits.clone(),
        log_type: draft.log_type.as_ref().map_or(LogType::None, |set| set.value.clone()),
        log_success: LogSuccess { userid: asks(draft.log_success.userid), ..draft.log_success },
        log_failure: LogFailure { userid: asks(draft.log_failure.userid), ..draft.log_failure },
        on_remove: draft.on_remove.unwrap_or(OnRemove::Kill),
        stop: draft.stop,
        idle_timeout: draft.idle_timeout.unwrap_or(match draft.is_redirected() {
            true if draft.socket == Some(SocketType::Dgram) => FLOW_IDLE,
            true => REDIRECT_IDLE,
            false => IDLE_TIMEOUT,
        }),
        verify: draft.verify_server.unwrap_or(Verify::No),
        evidence: draft.evidence == Some(true),
        protect_only_from: draft.protect_only_from == Some(true),
        transparent: draft.transparent == Some(true),
        seldom,
    })
}

/// A list of addresses: not of a service whose clients have none.
fn about<'a>(list: &'a Option<AddressSet>, implied: &Implied) -> Option<&'a AddressSet> {
    list.as_ref().filter(|_| !implied.is_local())
}

fn seldom(draft: &Draft, implied: &Implied, host: &dyn Host, starts_program: bool) -> Seldom {
    let unsaid = Seldom::NOTHING;
    let path = |banner: &Option<Set<Text>>| banner.as_ref().map(|set| set.value.clone());
    Seldom {
        rpc: rpc(draft, host),
        proxy_from: draft.proxy_from.as_ref().map(|set| set.entries()).unwrap_or_default(),
        proxy_protocol: draft.proxy_protocol,
        per_source_prefix: or(&draft.per_source_prefix, unsaid.per_source_prefix.value),
        starts_per_minute: or(&draft.starts_per_minute, None),
        source_starts_per_minute: or(&draft.source_starts_per_minute, None),
        overload: or(&draft.overload, unsaid.overload.value),
        max_load: draft.max_load.clone(),
        access_times: draft.access_times.clone(),
        no_access: about(&draft.no_access, implied).map(|set| set.entries()),
        deny_time: or(&draft.deny_time, unsaid.deny_time.value),
        environment: environment(draft, host),
        env_added: draft.env.clone().unwrap_or_default(),
        passenv: draft.passenv.clone(),
        banner: path(&draft.banner),
        banner_success: path(&draft.banner_success),
        banner_fail: path(&draft.banner_fail),
        listen_fds: draft.listen_fds.clone(),
        tls: crate::tls::build(draft).map(Box::new),
        // `refuse` has seen to it that the words fit together.
        sandbox: draft
            .sandbox
            .as_ref()
            .filter(|_| starts_program)
            .and_then(|set| crate::sandbox::build(&set.value, set.place.clone()).ok()?)
            .map(Box::new),
    }
}

fn or<T: Clone>(set: &Option<Set<T>>, default: T) -> Set<T> {
    set.clone().unwrap_or(Set { value: default, place: None })
}

fn action(draft: &Draft, builtin: Option<BuiltinName>) -> Option<Action> {
    if draft.flag(Flag::Sensor) {
        return Some(Action::Sensor);
    }
    match builtin {
        Some(BuiltinName::Known(builtin)) => return Some(Action::Internal(builtin)),
        Some(BuiltinName::Tcpmux) => return Some(Action::Mux),
        Some(BuiltinName::Sensor) => return None,
        None => {}
    }
    // A `server` beside it is ignored, as in xinetd.
    if draft.is_redirected() {
        return Some(Action::Redirect(draft.redirect.clone()));
    }
    let server = draft.server.as_ref()?.value.clone();
    let args = draft.args.clone().unwrap_or_default();
    let argv = match draft.flag(Flag::Nameinargs) {
        true => args,
        false => {
            let mut argv = Vec::with_capacity(1 + args.len());
            argv.push(server.basename());
            argv.extend(args);
            argv
        }
    };
    Some(Action::External { server, argv })
}

fn mux(draft: &Draft) -> Option<Mux> {
    match (draft.is(Type::Tcpmuxplus), draft.is(Type::Tcpmux)) {
        (true, _) => Some(Mux::Plus),
        (false, true) => Some(Mux::Plain),
        (false, false) => None,
    }
}

fn wrap_name(draft: &Draft, action: &Action) -> Text {
    match (&draft.libwrap, action) {
        (Some(name), _) => name.clone(),
        (None, Action::External { server, argv }) => match draft.flag(Flag::Nameinargs) {
            true => argv.first().map(Text::basename).unwrap_or_default(),
            false => server.basename(),
        },
        (None, _) => draft.name_text(),
    }
}

fn listen(draft: &Draft, implied: &Implied, sockets: &mut Last<Socket>) -> Option<Listen> {
    let local = implied.is_local();
    let (port, last_port) = match draft.port {
        // A unix socket has none either; `refuse.rs` has seen to it that none was written.
        _ if local => (0, 0),
        // What is reached through tcpmux has none, whatever was written.
        _ if draft.is_mux() => (0, 0),
        // rpcbind tells the clients of an RPC service whatever port it has.
        None if draft.is(Type::Rpc) => (0, 0),
        ports => ports?,
    };
    let how = Socket {
        socket: draft.socket?,
        protocol: draft.protocol.clone()?,
        rights: SocketRights {
            owner: draft.rights.owner,
            group: draft.rights.group,
            mode: draft.rights.mode.unwrap_or(SOCKET_MODE),
        },
        bind: implied.bind.clone(),
        family: implied.family,
        v6only: !local && draft.v6only.unwrap_or(false),
        // Always on both legs of a redirected service, as in xinetd.
        nodelay: !local && (draft.flag(Flag::Nodelay) || draft.is_redirected()),
        keepalive: draft.flag(Flag::Keepalive),
        freebind: draft.flag(Flag::Freebind),
    };
    Some(Listen { port, last_port, how: sockets.share(how) })
}

fn rpc(draft: &Draft, host: &dyn Host) -> Option<Rpc> {
    let versions = draft.rpc_versions.filter(|_| draft.is(Type::Rpc))?;
    // The number of a listed one is that of /etc/rpc, whatever is written beside it.
    let program = match draft.is(Type::Unlisted) {
        true => draft.rpc_number,
        false => host.rpc_number(draft.name()),
    };
    Some(Rpc { program: program?, versions })
}

fn ids(draft: &Draft, host: &dyn Host) -> Ids {
    let user = draft.user.clone();
    let groups_yes = draft.groups == Some(true);
    let groups = match user.as_ref().filter(|_| groups_yes) {
        None => Vec::new(),
        Some(user) => {
            let known = if draft.user_is_number { host.user_by_id(user.uid) } else { Some(user.clone()) };
            known.and_then(|user| host.groups_of(&user.name, user.gid)).unwrap_or_default()
        }
    };
    Ids {
        gid: draft.group.or(user.as_ref().map(|user| user.gid)),
        group_set: draft.group.is_some(),
        user,
        groups,
        groups_yes,
    }
}

/// With passenv: those variables of the daemon, then env over them. A variable that is there keeps its position.
fn environment(draft: &Draft, host: &dyn Host) -> Option<Vec<(String, String)>> {
    let names = draft.passenv.as_ref()?;
    let passed = names.iter().filter_map(|name| Some((name.clone(), host.variable(name)?)));
    let mut variables: Vec<(String, String)> = Vec::new();
    for (name, value) in passed.chain(draft.env.iter().flatten().cloned()) {
        match variables.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => variables.push((name, value)),
        }
    }
    Some(variables)
}

/// Whether the service is a stream whose program accepts by itself.
pub(crate) fn accepts_itself(service: &Service) -> bool {
    service.wait
        && service.listen.socket == SocketType::Stream
        && matches!(service.action, Action::External { .. })
}

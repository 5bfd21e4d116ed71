//! Completes a service with what `defaults`, its name and its other attributes imply, in the order in which xinetd does
//! it (`service_fill`), because the first thing that is missing decides the message.

use crate::check;
use crate::codes;
use crate::draft::{Bound, Draft, Flag, Type};
use crate::host::Family;
use crate::local;
use crate::service::{Bind, BindTo, FamilyFlag, SocketType};
use crate::verdict::{Bench, Refused};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What is implied and has no place in the draft.
#[derive(Clone, Debug)]
pub(crate) struct Implied {
    /// What the words of `bind` mean.
    pub(crate) bind: Vec<Bind>,
    /// The family flags as they were written.
    pub(crate) family: FamilyFlag,
}

impl Implied {
    /// Whether its clients are on this machine and come by unix sockets.
    pub(crate) fn is_local(&self) -> bool {
        self.bind.first().is_some_and(|bind| !matches!(bind.to, BindTo::Inet { .. }))
    }
}

/// Fills a draft, or says what keeps the service from being served.
pub(crate) fn fill(draft: &mut Draft, defaults: &Draft, bench: &mut Bench<'_>) -> Result<Implied, Refused> {
    if !draft.is(Type::Internal) {
        program(draft, bench)?;
    }
    draft.fill_from(defaults);
    let implied = family(draft, bench)?;
    if !draft.is_mux() && implied.is_local() {
        local::fill(draft, &implied, bench)?;
        return Ok(implied);
    }
    socket(draft, bench);
    port(draft, bench)?;
    Ok(implied)
}

fn program(draft: &Draft, bench: &mut Bench<'_>) -> Result<(), Refused> {
    if draft.server.is_none() && !draft.is_redirected() {
        let message = format!("service `{}` has no `server`", draft.id());
        let classic = format!("Must specify a server in {}", draft.name());
        let help = "add `server = /path/of/program`, or `type = INTERNAL` for a built-in service";
        return bench.refuse(&codes::MISSING_SERVER, draft, message, classic, Some(help));
    }
    if draft.flag(Flag::Nameinargs) && draft.args.is_none() {
        let message = format!("service `{}` has NAMEINARGS and no `server_args`", draft.id());
        let classic = "Must specify server args if using NAMEINARGS flag".to_owned();
        return bench.refuse(
            &codes::MISSING_ATTRIBUTE,
            draft,
            message,
            classic,
            Some("add `server_args = NAME …`"),
        );
    }
    Ok(())
}

/// The family that the flags and `bind` come to, and the one address of a `bind` name that has several.
fn family(draft: &mut Draft, bench: &mut Bench<'_>) -> Result<Implied, Refused> {
    let written = match (draft.flag(Flag::Ipv4), draft.flag(Flag::Ipv6)) {
        (false, false) => FamilyFlag::Unset,
        (true, false) => FamilyFlag::V4,
        _ => FamilyFlag::V6,
    };
    let both = draft.flag(Flag::Ipv4) && draft.flag(Flag::Ipv6);
    let mut bind = Vec::new();
    for (text, bound) in draft.bind.iter().flat_map(|set| set.value.clone()) {
        let to = match bound {
            Bound::Fixed(to) => to,
            Bound::Deferred => {
                let address = Some(deferred(draft, &text, written, bench)?);
                BindTo::Inet { address, device: None }
            }
        };
        bind.push(Bind { text, to });
    }
    if draft.bind.is_none() && check::tells_of_us(draft) {
        let address = match written {
            FamilyFlag::V6 if !both => IpAddr::V6(Ipv6Addr::LOCALHOST),
            _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
        };
        let to = BindTo::Inet { address: Some(address), device: None };
        bind.push(Bind { text: address.to_string().into(), to });
    }
    let addresses = || bind.iter().filter_map(address);
    let v4 = addresses().next().is_some() && addresses().all(|address| address.is_ipv4());
    let local = bind.first().is_some_and(|bind| !matches!(bind.to, BindTo::Inet { .. }));
    if written == FamilyFlag::Unset && !local {
        draft.flags.set(if v4 { Flag::Ipv4 } else { Flag::Ipv6 } as usize, true);
    }
    let family = match addresses().next() {
        // Both flags leave the choice to the addresses.
        Some(_) if both && v4 => FamilyFlag::V4,
        Some(_) if both && addresses().any(|address| address.is_ipv4()) => FamilyFlag::Unset,
        _ => written,
    };
    Ok(Implied { bind, family })
}

/// The address of a word of `bind`, where it is or has one.
pub(crate) fn address(bind: &Bind) -> Option<IpAddr> {
    match bind.to {
        BindTo::Inet { address, .. } => address,
        BindTo::Path(_) | BindTo::Abstract(_) => None,
    }
}

fn deferred(draft: &Draft, name: &str, family: FamilyFlag, bench: &mut Bench<'_>) -> Result<IpAddr, Refused> {
    let wanted = if family == FamilyFlag::V4 { Family::V4 } else { Family::V6 };
    if let Some(&address) = bench.host.addresses(name, wanted).first() {
        return Ok(address);
    }
    let message = format!("`bind = {name}` has several addresses, none of the family that is wanted");
    let classic = format!("bad address given for: {}", draft.name());
    bench.refuse(
        &codes::BAD_ADDRESS,
        draft,
        message,
        classic,
        Some("write an address, or add `flags = IPv4`"),
    )
}

/// socket_type and protocol imply each other for tcp and udp.
fn socket(draft: &mut Draft, bench: &Bench<'_>) {
    if draft.protocol.is_none() {
        let name = match draft.socket {
            Some(SocketType::Stream) => "tcp",
            Some(SocketType::Dgram) => "udp",
            _ => return,
        };
        draft.protocol = bench.host.protocol(name).map(|number| (name.into(), number));
    } else if draft.socket.is_none() {
        let name = draft.protocol.as_ref().map(|(name, _)| name.to_ascii_lowercase());
        draft.socket = match name.as_deref() {
            Some("tcp") => Some(SocketType::Stream),
            Some("udp") => Some(SocketType::Dgram),
            _ => None,
        };
    }
}

fn port(draft: &mut Draft, bench: &mut Bench<'_>) -> Result<(), Refused> {
    if draft.port.is_some() || draft.is_mux() || draft.is(Type::Rpc) {
        return Ok(());
    }
    let name = draft.name().to_owned();
    if draft.is(Type::Unlisted) {
        let message = format!("service `{}` is UNLISTED and has no `port`", draft.id());
        let classic = format!("Unlisted service: {name} must have a port entry");
        return bench.refuse(&codes::MISSING_PORT, draft, message, classic, Some("add `port = NUMBER`"));
    }
    let Some((protocol, _)) = &draft.protocol else {
        let message = format!("service `{}` has neither `port` nor `protocol` nor `socket_type`", draft.id());
        let classic = format!("Port not specified for service: {name} and no protocol given");
        return bench.refuse(
            &codes::MISSING_PORT,
            draft,
            message,
            classic,
            Some("add `socket_type` and `port`"),
        );
    };
    draft.port = bench.host.service_port(&name, protocol).map(|port| (port, port));
    if draft.port.is_none() {
        let message =
            format!("service `{}` has no `port`, and /etc/services has no `{name}/{protocol}`", draft.id());
        let classic = format!("Port not specified and can't find service: {name} with getservbyname");
        let help = "add `type = UNLISTED` and `port = NUMBER`, or the service to /etc/services";
        return bench.refuse(&codes::MISSING_PORT, draft, message, classic, Some(help));
    }
    Ok(())
}

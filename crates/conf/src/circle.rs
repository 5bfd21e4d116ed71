//! Redirected services whose targets lead back to them by way of our own listeners. Decides by addresses and ports as they are
//! written: what goes round through other machines, or by a name that changes, is found out when a client comes.

use crate::codes;
use crate::redirect::Target;
use crate::report::{AFTER, Finding, Report};
use crate::service::{Action, BindTo, Service};
use std::net::{IpAddr, SocketAddr};

/// Warns of each service that has a target by which its clients come back to it.
pub(crate) fn lead_back(services: &[&Service], report: &mut Report) {
    for service in services {
        let Action::Redirect(targets) = &service.action else { continue };
        let back = targets.iter().find_map(|target| {
            let next = services.iter().find(|other| leads_to(target, service, other))?;
            reaches(services, next, service).then_some((target, next))
        });
        let Some((target, next)) = back else { continue };
        let (id, listens) = (&service.id, if next.id == service.id { "it" } else { &next.id });
        let message = format!(
            "the target {target} of service `{id}` is where {listens} listens, so its clients come back to it"
        );
        let finding = Finding::new(&codes::LEADS_BACK, service.place.clone(), message)
            .help("name another `redirect`, or give the service a `port` of its own")
            .service(&service.id);
        report.add(AFTER, finding);
    }
}

/// Whether a client of `from` can come to `to`, from one service to the next.
fn reaches(services: &[&Service], from: &Service, to: &Service) -> bool {
    let (mut seen, mut ahead) = (Vec::new(), vec![from]);
    while let Some(service) = ahead.pop() {
        if std::ptr::eq(service, to) {
            return true;
        }
        if seen.iter().any(|other| std::ptr::eq(*other, service)) {
            continue;
        }
        seen.push(service);
        let Action::Redirect(targets) = &service.action else { continue };
        let next = |other: &&&Service| targets.iter().any(|target| leads_to(target, service, other));
        ahead.extend(services.iter().filter(next).copied());
    }
    false
}

/// Whether a target of `from` is a listener of `to`. Only what is sure: an address that is written there, or one that means this
/// machine and a listener on all of them.
fn leads_to(target: &Target, from: &Service, to: &Service) -> bool {
    let Target::Host { addresses, .. } = target else { return false };
    if from.listen.socket != to.listen.socket {
        return false;
    }
    let bound = |address: &SocketAddr| {
        let ip = address.ip().to_canonical();
        let ports = to.listen.port..=to.listen.last_port;
        let everywhere = to.listen.bind.is_empty().then_some(to.listen.wildcard());
        let written = to.listen.bind.iter().filter_map(|bind| match &bind.to {
            BindTo::Inet { address, device: None } => Some(address.unwrap_or(to.listen.wildcard())),
            _ => None,
        });
        let mut own = everywhere.into_iter().chain(written);
        ports.contains(&address.port()) && own.any(|own| takes(own, to.listen.v6only, ip))
    };
    addresses.iter().any(bound)
}

/// Whether a listener on `own` surely takes what goes to `ip`.
fn takes(own: IpAddr, v6only: bool, ip: IpAddr) -> bool {
    let here = ip.is_loopback() || ip.is_unspecified();
    let family = own.is_ipv4() == ip.is_ipv4() || own.is_ipv6() && !v6only;
    own.to_canonical() == ip || own.is_unspecified() && here && family
}

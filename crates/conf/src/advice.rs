//! What a person would want to know about services that are served: limits that let nobody in, protocols that should not
//! be open to all, files that are missing. Changes nothing, and says nothing about what is merely unusual.

use crate::ast::Operator;
use crate::attribute::Id;
use crate::attributes;
use crate::build::accepts_itself;
use crate::circle;
use crate::codes::{self, Code};
use crate::host::Host;
use crate::inclusion::Found;
use crate::place::Place;
use crate::report::{AFTER, Finding, Order, Report};
use crate::service::{Action, AddressEntry, AddressList, AddressMatch, Builtin, Service, SocketType};
use crate::text::{Caseless, Text};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;

/// Services that send secrets in the clear, by the names they have in /etc/services.
const PLAINTEXT: &[(&str, &str)] = &[
    ("telnet", "telnet"),
    ("ftp", "ftp"),
    ("tftp", "tftp"),
    ("shell", "rsh"),
    ("rsh", "rsh"),
    ("login", "rlogin"),
    ("rlogin", "rlogin"),
    ("exec", "rexec"),
    ("rexec", "rexec"),
];
/// The same by the names of their programs.
const PLAINTEXT_PROGRAMS: &[(&str, &str)] = &[
    ("telnetd", "telnet"),
    ("ftpd", "ftp"),
    ("tftpd", "tftp"),
    ("rshd", "rsh"),
    ("rlogind", "rlogin"),
    ("rexecd", "rexec"),
];

/// A service with what it came from.
pub(crate) struct Served<'a> {
    pub(crate) service: &'a Service,
    pub(crate) found: &'a Found,
}

/// Says what there is to say about each service alone and about all together. Whether all ids differ.
pub(crate) fn advise(host: &dyn Host, served: &[Served<'_>], report: &mut Report) -> bool {
    for Served { service, .. } in served {
        let mut advice = Advice { service, report };
        advice.refuses_everybody();
        advice.plaintext();
        advice.reflector();
        advice.banners(host);
        advice.flags();
        advice.wait();
        advice.transparent();
        advice.evidence();
        advice.verify();
        advice.protects();
    }
    let ids_differ = ids_differ(served, report);
    without_tcpmux(served, report);
    let services: Vec<&Service> = served.iter().map(|served| served.service).collect();
    circle::lead_back(&services, report);
    reuse(served, report);
    ids_differ
}

struct Advice<'a> {
    service: &'a Service,
    report: &'a mut Report,
}

impl Advice<'_> {
    fn warn(&mut self, code: &'static Code, place: Option<&Place>, message: String, help: Option<&str>) {
        let place = place.unwrap_or(&self.service.place).clone();
        let finding = Finding::new(code, place, message).maybe_help(help).service(&self.service.id);
        self.report.add(AFTER, finding);
    }

    fn refuses_everybody(&mut self) {
        let service = self.service;
        let id = &service.id;
        if matches!(service.action, Action::Sensor) {
            return;
        }
        if service.limits.only_from.as_ref().is_some_and(Vec::is_empty) {
            let message = format!("`only_from` of service `{id}` is empty, so it refuses everybody");
            let help = "remove the line to admit everybody, or name who is admitted";
            self.warn(
                &codes::REFUSES_EVERYBODY,
                service.limits.only_from_place.as_ref(),
                message,
                Some(help),
            );
        } else if open_to_all(&service.no_access, false) {
            let message =
                format!("`no_access` of service `{id}` holds every address, so it refuses everybody");
            let place = service.no_access.iter().flatten().next().map(|entry| &entry.place);
            let help = "an address in both lists is refused: name in `only_from` alone who is admitted";
            self.warn(&codes::REFUSES_EVERYBODY, place, message, Some(help));
        }
        for (name, limit) in
            [("instances", &service.limits.instances), ("per_source", &service.limits.per_source)]
        {
            if limit.value == Some(0) {
                let message = format!("`{name} = 0` of service `{id}` refuses everybody");
                self.warn(&codes::REFUSES_EVERYBODY, limit.place.as_ref(), message, None);
            }
        }
        if let Some(load) = service.max_load.as_ref().filter(|load| load.value < 0.0) {
            let message = format!("`max_load = {}` of service `{id}` refuses everybody", load.value);
            self.warn(&codes::REFUSES_EVERYBODY, load.place.as_ref(), message, None);
        }
    }

    /// Whether anybody can reach the service: not bound to loopback, no list in the way, no hosts rules.
    fn is_open(&self) -> bool {
        let local = self
            .service
            .listen
            .endpoints()
            .iter()
            .all(|place| place.address().is_none_or(|a| a.ip().to_canonical().is_loopback()));
        !local && open_to_all(&self.service.limits.only_from, true)
    }

    fn plaintext(&mut self) {
        let name = &self.service.name;
        let by_name = PLAINTEXT.iter().find(|(known, _)| name.eq_ignore_ascii_case(known));
        let program = match &self.service.action {
            Action::External { server, .. } => server.basename(),
            // The target is another server, with or without a name that tells what it speaks.
            Action::Redirect(_) => Text::default(),
            Action::Internal(_) | Action::Mux | Action::Sensor => return,
        };
        let program = program.strip_prefix("in.").unwrap_or(&program);
        let by_program = PLAINTEXT_PROGRAMS.iter().find(|(known, _)| *known == program);
        let Some((_, protocol)) = by_name.or(by_program) else { return };
        if self.is_open() {
            let message =
                format!("service `{}` offers {protocol}, unencrypted, to everybody", self.service.id);
            self.warn(&codes::PLAINTEXT, None, message, Some("add `only_from`, or use an encrypted service"));
        }
    }

    fn reflector(&mut self) {
        let action = matches!(self.service.action, Action::Internal(Builtin::Echo | Builtin::Chargen));
        if action && self.service.listen.socket == SocketType::Dgram && self.is_open() {
            let message = format!("service `{}` answers datagrams from everybody", self.service.id);
            self.warn(&codes::REFLECTOR, None, message, Some("add `only_from`, or switch it off"));
        }
    }

    fn banners(&mut self, host: &dyn Host) {
        const NO_SUCH: [i32; 2] = [2, 20];
        let service = self.service;
        for (name, path) in [
            ("banner", &service.banner),
            ("banner_success", &service.banner_success),
            ("banner_fail", &service.banner_fail),
        ] {
            let Some(path) = path else { continue };
            if host.read(Path::new(path.as_str())).is_err_and(|error| NO_SUCH.contains(&error.number)) {
                let message =
                    format!("`{name}` of service `{}` names `{path}`, which does not exist", service.id);
                self.warn(&codes::BANNER_MISSING, None, message, None);
            }
        }
    }

    fn flags(&mut self) {
        let idonly = self.service.flags.contains("IDONLY");
        if idonly && !self.service.log_success.userid {
            let message = format!("IDONLY of service `{}` has no effect without USERID", self.service.id);
            self.warn(&codes::ID_ONLY, None, message, Some("add USERID to log_on_success"));
        }
    }

    /// What no look at the files can tell.
    fn transparent(&mut self) {
        if !self.service.transparent {
            return;
        }
        let message = format!(
            "the targets of service `{}` answer its clients' addresses: this host must be their gateway and take the answers in",
            self.service.id
        );
        let help = "`ip rule add iif INTERFACE lookup 100` and `ip route add local default dev lo table 100`, with `ip -6` too where IPv6 is carried; INTERFACE leads to the targets";
        self.warn(&codes::TRANSPARENT_ROUTES, None, message, Some(help));
    }

    /// Who would tell of which client?
    fn evidence(&mut self) {
        let service = self.service;
        if !service.evidence {
            return;
        }
        let why = if accepts_itself(service) || service.wait {
            "accepts by itself: there is no instance with one client"
        } else if !matches!(service.action, Action::External { .. }) {
            "starts no program"
        } else {
            return;
        };
        let message = format!("`evidence` has no effect on service `{}`, which {why}", service.id);
        self.warn(&codes::WITHOUT_EFFECT, None, message, Some("remove `evidence`"));
    }

    fn verify(&mut self) {
        if let Some(message) = crate::verify::beyond(self.service) {
            self.warn(&codes::WITHOUT_EFFECT, None, message, Some("name the program itself in `server`"));
        }
    }

    fn protects(&mut self) {
        let service = self.service;
        let wide = |entry: &AddressEntry| match &entry.matches {
            AddressMatch::V4(nets) => nets.iter().any(|(_, bits)| *bits < 8),
            AddressMatch::V6(_, bits) => *bits < 19,
            AddressMatch::Name(_) | AddressMatch::Suffix(_) => false,
        };
        let found =
            service.limits.only_from.iter().flatten().find(|entry| service.protect_only_from && wide(entry));
        if let Some(entry) = found {
            let message =
                format!("`protect_only_from` of service `{}` protects all of {}", service.id, entry.text);
            self.warn(&codes::PROTECTS_EVERYBODY, Some(&entry.place), message, None);
        } else if service.protect_only_from && service.limits.only_from.is_none() {
            let message = format!(
                "`protect_only_from` has no effect on service `{}`, which has no `only_from`",
                service.id
            );
            self.warn(&codes::WITHOUT_EFFECT, None, message, Some("remove it"));
        }
    }

    /// Who comes is not known where the program accepts by itself.
    fn wait(&mut self) {
        let service = self.service;
        if !accepts_itself(service) {
            return;
        }
        if let (Some(_), Some(place)) = (service.limits.per_source.value, &service.limits.per_source.place) {
            let message =
                format!("`per_source` has no effect on service `{}`, which accepts by itself", service.id);
            self.warn(&codes::WITHOUT_EFFECT, Some(place), message, Some("write `wait = no`, or remove it"));
        }
        if service.banner.is_some() || service.banner_success.is_some() || service.banner_fail.is_some() {
            let message =
                format!("banners have no effect on service `{}`, which accepts by itself", service.id);
            self.warn(&codes::WITHOUT_EFFECT, None, message, Some("write `wait = no`, or remove them"));
        }
    }
}

/// Whether a list holds every address. `absent` is the answer for a list that is not set.
fn open_to_all(list: &AddressList, absent: bool) -> bool {
    let Some(list) = list else { return absent };
    let holds = |wanted: fn(&AddressMatch) -> bool| list.iter().any(|entry| wanted(&entry.matches));
    let v4 = holds(
        |matches| matches!(matches, AddressMatch::V4(nets) if nets.iter().any(|&(_, length)| length == 0)),
    );
    let v6 = holds(|matches| matches!(matches, AddressMatch::V6(_, 0)));
    // For a list that admits, all of one family is open enough; one that refuses must hold both.
    if absent { v4 || v6 } else { v4 && v6 }
}

fn ids_differ(served: &[Served<'_>], report: &mut Report) -> bool {
    let mut seen: HashMap<Caseless<&Text>, &Service> = HashMap::with_capacity(served.len());
    for Served { service, .. } in served {
        match seen.entry(Caseless(&service.id)) {
            Entry::Vacant(vacant) => {
                vacant.insert(service);
            }
            Entry::Occupied(first) => {
                let message =
                    format!("the id `{}` is also that of the service at {}", service.id, first.get().place);
                let finding = Finding::new(&codes::SAME_ID, service.place.clone(), message)
                    .help("give one of them an `id` of its own")
                    .service(&service.id);
                report.add(AFTER, finding);
            }
        }
    }
    seen.len() == served.len()
}

/// Clients name these services to tcpmux, and there is none.
fn without_tcpmux(served: &[Served<'_>], report: &mut Report) {
    if served.iter().any(|served| served.service.action == Action::Mux) {
        return;
    }
    for Served { service, .. } in served.iter().filter(|served| served.service.mux.is_some()) {
        let message = format!("nobody can reach service `{}`: no `tcpmux` is served", service.id);
        let finding = Finding::new(&codes::WITHOUT_TCPMUX, service.place.clone(), message)
            .help("add `service tcpmux` with `type = INTERNAL`, `socket_type = stream` and `wait = no`")
            .service(&service.id);
        report.add(AFTER, finding);
    }
}

fn reuse(served: &[Served<'_>], report: &mut Report) {
    let with: Vec<&Service> = served
        .iter()
        .map(|served| served.service)
        .filter(|service| service.flags.contains("REUSE"))
        .collect();
    if let Some(first) = with.first() {
        let count = with.len();
        let message = format!("REUSE has no effect ({count} service{})", if count == 1 { "" } else { "s" });
        report.add(AFTER, Finding::new(&codes::REUSE, first.place.clone(), message));
    }
}

/// A line of `defaults` that took effect.
pub(crate) struct DefaultsLine {
    pub(crate) id: Id,
    pub(crate) name: &'static str,
    pub(crate) place: Place,
    pub(crate) order: Order,
}

/// Says which lines of `defaults` would not reach which earlier services under xinetd, which copies them when a service
/// starts.
pub(crate) fn late_defaults(lines: &[DefaultsLine], served: &[Served<'_>], report: &mut Report) {
    for line in lines {
        let differs =
            |served: &&Served<'_>| served.found.start() < line.order && differs(line.id, served.found);
        let ids: Vec<String> =
            served.iter().filter(differs).map(|served| format!("`{}`", served.service.id)).collect();
        if ids.is_empty() {
            continue;
        }
        let shown = ids.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
        let more = if ids.len() > 3 { format!(" and {} more", ids.len() - 3) } else { String::new() };
        let message =
            format!("xinetd would not apply this `{}` to {shown}{more}, which stand before it", line.name);
        let finding = Finding::new(&codes::DEFAULTS_LATE, line.place.clone(), message)
            .help("move `defaults` to the top of the main file");
        report.add(line.order, finding);
    }
}

/// Whether a service would read differently with this attribute of `defaults` than without.
fn differs(id: Id, found: &Found) -> bool {
    let mut operators = found.entry.assignments.iter().filter_map(|assignment| {
        let attribute = attributes::find(&assignment.name.text)?;
        (attribute.id == id).then_some(assignment.operator)
    });
    match id {
        Id::OnlyFrom | Id::NoAccess => !operators.any(|operator| operator == Operator::Set),
        Id::Banner | Id::BannerSuccess | Id::BannerFail => operators.next().is_none(),
        // Applied after reading where the service says nothing at all.
        Id::LogOnSuccess | Id::LogOnFailure | Id::Passenv => {
            let operators: Vec<Operator> = operators.collect();
            !operators.is_empty() && !operators.contains(&Operator::Set)
        }
        _ => false,
    }
}

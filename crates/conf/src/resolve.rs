//! Sections to services. Two passes: all `defaults` first, then the services in their order, so that the place of
//! `defaults` does not matter. Decides which service is left out; each rule is in a module of its own.

use crate::advice::{self, DefaultsLine, Served};
use crate::assign::assign;
use crate::ast::End;
use crate::build::build;
use crate::check::{self, Bound, Earlier};
use crate::clash::{clash, rpc_clash};
use crate::codes;
use crate::diagnostic::{Classic, Level};
use crate::draft::Draft;
use crate::dump;
use crate::fill::fill;
use crate::foresee::foresee;
use crate::host::{Host, SystemError};
use crate::inclusion::{self, Found, Gathered};
use crate::neighbours::Neighbours;
use crate::reading::{Fatal, LeftOut, Reading, Settings};
use crate::refuse::refuse;
use crate::report::{AFTER, Finding, Order, Report};
use crate::service::Service;
use crate::sources::{Inetd, Sources};
use crate::text::Text;
use crate::usual::InCommon;
use crate::verdict::{Bench, Refused};
use std::path::Path;
use std::rc::Rc;

/// No such file or directory.
const ENOENT: i32 = 2;

/// Reads a configuration: the main file and all that it includes. Never fails: what is wrong is in the diagnostics, and
/// a service that is wrong is left out alone.
pub fn read(host: &dyn Host, main: &Path) -> Reading {
    let mut report = Report::default();
    match inclusion::gather(host, main, &mut report) {
        Ok(gathered) => resolve(host, &gathered, report),
        Err(error) => unreadable(main, &error, report),
    }
}

/// Reads what `sources` names: the services of an inetd.conf and of units are resolved, checked and limited by `defaults` as all
/// others. Never fails, as [`read`].
pub fn read_sources(host: &dyn Host, sources: &Sources) -> Reading {
    match gather(host, sources) {
        Ok(sections) => sections.resolve(host),
        Err(unreadable) => *unreadable,
    }
}

/// What all files of a configuration say, before it is known what it means. Whoever has to wait for what the names mean keeps it
/// meanwhile, and the files are read once.
#[derive(Debug)]
pub struct Sections {
    gathered: Gathered,
    report: Report,
}

impl Sections {
    /// Asks for the users and groups that are written here, so that what [`Self::resolve`] will ask is known before it is done for
    /// nothing. Some of what it asks is not among these.
    pub fn foresee(&self, host: &dyn Host) {
        foresee(host, &self.gathered.found);
    }

    /// The services.
    pub fn resolve(&self, host: &dyn Host) -> Reading {
        resolve(host, &self.gathered, self.report.clone())
    }
}

/// Reads the files that `sources` names.
///
/// # Errors
/// The reading of a configuration whose main file cannot be read.
pub fn gather(host: &dyn Host, sources: &Sources) -> Result<Sections, Box<Reading>> {
    let mut report = Report::default();
    let mut gathered = Gathered::default();
    if let Some(main) = &sources.main {
        match inclusion::gather(host, main, &mut report) {
            Ok(found) => gathered = found,
            Err(error) => return Err(Box::new(unreadable(main, &error, report))),
        }
    }
    if let Some(Inetd { path, usage, optional }) = &sources.inetd {
        match inclusion::gather_inetd(host, path, *usage, &mut gathered, &mut report) {
            Err(error) if !(*optional && error.number == ENOENT) => {
                return Err(Box::new(unreadable(path, &error, report)));
            }
            Err(_) => {
                let message =
                    format!("there is no `{}`; what xinetd's configuration says is served", path.display());
                report.add(AFTER, Finding::new(&codes::INETD_MISSING, None, message));
            }
            Ok(()) => {}
        }
    }
    if !sources.units.is_empty()
        && let Err((path, error)) = inclusion::gather_units(host, &sources.units, &mut gathered, &mut report)
    {
        return Err(Box::new(unreadable(&path, &error, report)));
    }
    Ok(Sections { gathered, report })
}

fn unreadable(main: &Path, error: &SystemError, mut report: Report) -> Reading {
    let message = format!("`{}` cannot be read: {}", main.display(), error.text);
    let classic = format!("open( {} ) failed: {} (errno = {})", main.display(), error.text, error.number);
    let finding =
        Finding::new(&codes::UNREADABLE, None, message).classic(Classic::new(Level::Error, classic));
    report.add(0, finding);
    let (diagnostics, log) = report.finish();
    Reading {
        services: Vec::new(),
        ids_differ: true,
        left_out: Vec::new(),
        settings: Settings::default(),
        diagnostics,
        log,
        files: Vec::new(),
        fatal: Some(Fatal::Unreadable),
    }
}

fn resolve(host: &dyn Host, gathered: &Gathered, mut report: Report) -> Reading {
    let Gathered { found, lost, files } = gathered;
    let mut left_out: Vec<(Order, Box<LeftOut>)> = Vec::new();
    for lost in lost {
        let name = lost.name.text.clone();
        let entry = LeftOut {
            id: name.clone(),
            name,
            place: lost.name.place.clone(),
            reason: lost.reason.clone(),
            intended: lost.intended,
        };
        left_out.push((lost.order, Box::new(entry)));
    }
    let Defaults { draft: defaults, lines, fatal } = read_defaults(host, found, &mut report);
    let mut standing = Standing { served: Vec::with_capacity(found.len()), ..Standing::default() };
    // What is said of services that fit together or not comes behind what is said of those that are not to be served at all.
    let mut verdicts = Report::default();
    let mut log_is_there = false;
    // One for all: it is large.
    let mut draft = Box::<Draft>::default();
    for found in found {
        let outcome = match read_service(host, found, &defaults, &mut draft, &mut report) {
            Some(Ok(())) => {
                let mut bench = Bench {
                    host,
                    report: &mut verdicts,
                    place: &found.entry.place,
                    log_is_there: &mut log_is_there,
                };
                chosen(&mut draft, found, &defaults, &mut report)
                    .and_then(|()| judged(&mut draft, found, &defaults, &mut standing, &mut bench))
            }
            Some(Err(entry)) => Err(entry),
            None => continue,
        };
        if let Err(entry) = outcome {
            left_out.push((found.start(), entry));
        }
    }
    report.append(verdicts);
    let served = standing.served;
    let views: Vec<Served<'_>> = served.iter().map(|(service, found)| Served { service, found }).collect();
    advice::late_defaults(&lines, &views, &mut report);
    let ids_differ = advice::advise(host, &views, &mut report);
    if let Some(order) = fatal {
        let text = "A fatal error was encountered while parsing the default section. xinetd will exit.";
        report.end_log(order, Classic::new(Level::Error, text));
    }
    let reason = "a value in `defaults` is bad, so nothing is served";
    let (services, stopped) = if fatal.is_none() { (served, Vec::new()) } else { (Vec::new(), served) };
    for (service, found) in stopped {
        left_out.push((
            found.start(),
            left(service.name.clone(), service.id.clone(), found, reason.to_owned(), false),
        ));
    }
    left_out.sort_by_key(|&(order, _)| order);
    let settings = Settings {
        protect: defaults.protect.as_ref().map(|set| set.entries()).unwrap_or_default(),
        protect_groups: defaults.protect_groups.clone(),
        watch_scans: defaults.watch_scans.unwrap_or(false),
        trusted_programs: defaults.trusted_programs.clone(),
        dump: dump::defaults(&defaults),
    };
    let (diagnostics, log) = report.finish();
    Reading {
        services: services.into_iter().map(|(service, _)| service).collect(),
        ids_differ,
        left_out: left_out.into_iter().map(|(_, entry)| *entry).collect(),
        settings,
        diagnostics,
        log,
        files: files.clone(),
        fatal: fatal.map(|_| Fatal::Defaults),
    }
}

fn left(name: Text, id: Text, found: &Found, reason: String, intended: bool) -> Box<LeftOut> {
    Box::new(LeftOut { name, id, place: found.entry.place.clone(), reason, intended })
}

/// All `defaults` of all files together.
struct Defaults {
    draft: Draft,
    /// The lines that took effect.
    lines: Vec<DefaultsLine>,
    /// Where a bad value stands, if there is one.
    fatal: Option<Order>,
}

fn read_defaults(host: &dyn Host, found: &[Found], report: &mut Report) -> Defaults {
    let mut defaults = Defaults { draft: Draft::default(), lines: Vec::new(), fatal: None };
    for found in found.iter().filter(|found| found.entry.name.is_none()) {
        for assignment in &found.entry.assignments {
            let place = &assignment.name.place;
            let order = found.order(place.line);
            if let Some(attribute) = assign(host, &mut defaults.draft, assignment, order, report) {
                let line =
                    DefaultsLine { id: attribute.id, name: attribute.name, place: place.clone(), order };
                defaults.lines.push(line);
            }
            if defaults.draft.broken.is_some() {
                defaults.fatal.get_or_insert(order);
            }
        }
    }
    defaults
}

/// Reads the section of a service: `None` for `defaults`, an error for a service that ends here.
fn read_service(
    host: &dyn Host,
    found: &Found,
    defaults: &Draft,
    draft: &mut Draft,
    report: &mut Report,
) -> Option<Result<(), Box<LeftOut>>> {
    let name = found.entry.name.as_ref()?;
    *draft = Draft::starting_from(&name.text, defaults);
    if !name.utf8 {
        let message = "the name of the service is not UTF-8";
        draft.break_off(message);
        report.add(found.start(), Finding::new(&codes::NOT_UTF8, name.place.clone(), message));
    }
    draft.rooted |= crate::values::moves_program(&found.entry.assignments);
    for assignment in &found.entry.assignments {
        assign(host, draft, assignment, found.order(assignment.name.place.line), report);
    }
    let (reason, intended) = match (found.entry.end, draft.broken.take()) {
        (End::Closed, broken) => {
            draft.broken = broken;
            return Some(Ok(()));
        }
        (End::SwitchedOff, _) if draft.disable == Some(true) => ("`disable = yes`".to_owned(), true),
        (End::SwitchedOff | End::Broken, Some(broken)) => (broken, false),
        (End::SwitchedOff | End::Broken, None) => ("its section has a syntax error".to_owned(), false),
    };
    Some(Err(left(name.text.clone(), draft.id_text(), found, reason, intended)))
}

/// Whether `enabled` and `disabled` leave it, and it is not broken.
fn chosen(
    draft: &mut Draft,
    found: &Found,
    defaults: &Draft,
    report: &mut Report,
) -> Result<(), Box<LeftOut>> {
    let names = |list: &Option<Vec<String>>, id: &str| {
        list.as_ref().map(|list| list.iter().any(|name| name.eq_ignore_ascii_case(id)))
    };
    let (reason, intended, silent) = if names(&defaults.enabled, draft.id()) == Some(false) {
        ("`enabled` does not name it".to_owned(), true, false)
    } else if let Some(broken) = draft.broken.take() {
        (broken, false, false)
    } else if names(&defaults.disabled, draft.id()) == Some(true) {
        ("`disabled` names it".to_owned(), true, true)
    } else {
        return Ok(());
    };
    if !silent {
        report.log(AFTER, Classic::new(Level::Debug, format!("removing {}", draft.name())));
    }
    Err(left(draft.name_text(), draft.id_text(), found, reason, intended))
}

/// Whether it passes every rule.
fn judged<'a>(
    draft: &mut Draft,
    found: &'a Found,
    defaults: &Draft,
    standing: &mut Standing<'a>,
    bench: &mut Bench<'_>,
) -> Result<(), Box<LeftOut>> {
    match judge(draft, defaults, standing, bench) {
        Ok(service) => {
            standing.take_in(Rc::new(service), found);
            Ok(())
        }
        Err(Refused(reason)) => Err(left(draft.name_text(), draft.id_text(), found, reason, false)),
    }
}

/// The services so far, and which of them a later one must be compared with.
#[derive(Default)]
struct Standing<'a> {
    served: Vec<(Rc<Service>, &'a Found)>,
    bound: Bound,
    neighbours: Neighbours,
    common: InCommon,
    /// Those that tcpmux finds by name, and those that rpcbind is told of.
    muxed: Vec<usize>,
    rpc: Vec<usize>,
}

impl<'a> Standing<'a> {
    fn take_in(&mut self, service: Rc<Service>, found: &'a Found) {
        let index = self.served.len();
        self.neighbours.add(index, &service.listen);
        if service.mux.is_some() {
            self.muxed.push(index);
        }
        if service.rpc.is_some() {
            self.rpc.push(index);
        }
        self.served.push((service, found));
    }

    /// The first of these services that is such a one.
    fn first(&self, of: &[usize], is: impl Fn(&Service) -> bool) -> Option<&Service> {
        of.iter()
            .filter_map(|&index| self.served.get(index))
            .map(|(service, _)| &**service)
            .find(|other| is(other))
    }
}

fn judge(
    draft: &mut Draft,
    defaults: &Draft,
    standing: &mut Standing<'_>,
    bench: &mut Bench<'_>,
) -> Result<Service, Refused> {
    let implied = fill(draft, defaults, bench)?;
    let builtin = check::check(draft, &implied, &standing.bound, bench)?;
    check::clear_userid(draft, bench);
    if !implied.bind.is_empty() {
        Earlier::new(draft, &implied).remember(&mut standing.bound);
    }
    refuse(draft, &implied, builtin, bench)?;
    let Some(service) = build(draft, &implied, builtin, bench, &mut standing.common) else {
        return Err(Refused("an attribute is missing".to_owned()));
    };
    let same = |other: &Service| other.name.eq_ignore_ascii_case(&service.name);
    if service.mux.is_some()
        && let Some(other) = standing.first(&standing.muxed, same)
    {
        let message = format!(
            "tcpmux finds the earlier service `{}` by the name of service `{}`",
            other.id, service.id
        );
        let help = Some("give it another name: tcpmux does not look at the `id`");
        return bench.refuse_ourselves(&codes::DUPLICATE, draft, message, help);
    }
    let near = standing.neighbours.of(&service.listen);
    if let Some(other) = standing.first(&near, |other| clash(&service.listen, &other.listen)) {
        let message =
            format!("service `{}` listens where the earlier service `{}` does", service.id, other.id);
        let classic = format!("Service {} failed to start and is deactivated.", service.id);
        let help = Some("give it another `port` or `bind`");
        return bench.refuse(&codes::DUPLICATE, draft, message, classic, help);
    }
    if let Some(other) = standing.first(&standing.rpc, |other| rpc_clash(&service, other)) {
        let message = format!(
            "service `{}` has a version of the same RPC program as the earlier service `{}`",
            service.id, other.id
        );
        let classic = format!("Service {} failed to start and is deactivated.", service.id);
        let help = Some("give them versions of their own in `rpc_version`");
        return bench.refuse(&codes::DUPLICATE, draft, message, classic, help);
    }
    Ok(service)
}

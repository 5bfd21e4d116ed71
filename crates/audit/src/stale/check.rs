//! The checks of stale code: from what was found to findings, one for each unit, container, service or program. Pure.

use super::{Stale, StaleProcess};
use crate::checks::{Check, STALE_INSTANCE, STALE_KERNEL, STALE_MICROCODE, STALE_PROCESS};
use crate::exposure::{Outcome, word};
use crate::finding::Finding;
use crate::process::Process;
use std::collections::BTreeMap;

/// Files that a finding names.
const MOST_FILES: usize = 6;

/// Runs the checks.
pub fn check(stale: &Stale) -> Outcome {
    let mut outcome = Outcome::default();
    let mut groups: BTreeMap<Group, Vec<&StaleProcess>> = BTreeMap::new();
    for process in &stale.processes {
        groups.entry(group(process)).or_default().push(process);
    }
    outcome.findings.extend(groups.iter().map(|(group, processes)| finding(group, processes)));
    if let Some(why) = stale.kernel.unknown {
        outcome.not_applicable.push((STALE_KERNEL.id, why));
    } else if let Some(newest) = stale.kernel.awaits() {
        let evidence = vec![("running", stale.kernel.running.clone()), ("installed", newest.to_owned())];
        outcome.findings.push(machine(&STALE_KERNEL, &stale.kernel.running, evidence));
    }
    if let Some(why) = stale.microcode.unknown {
        outcome.not_applicable.push((STALE_MICROCODE.id, why));
    } else if let (Some(running), Some(installed)) = (stale.microcode.running, stale.microcode.awaits()) {
        let hex = |revision: u32| format!("{revision:#x}");
        let evidence = vec![("running", hex(running)), ("installed", hex(installed))];
        outcome.findings.push(machine(&STALE_MICROCODE, &hex(running), evidence));
    }
    outcome
}

fn machine(check: &'static Check, subject: &str, evidence: Vec<(&'static str, String)>) -> Finding {
    let (fix, undo) = ("systemctl reboot".to_owned(), check.undo.to_owned());
    Finding { check, subject: subject.to_owned(), evidence, pid: None, file: None, fix, undo }
}

/// What is restarted together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// The supervisor and its workers.
    Daemon,
    /// Instances of a service of ours.
    Service(String),
    /// A container: its runtime and name.
    Container(String, String),
    /// A unit of systemd.
    Unit(String),
    /// A program, by its path and user.
    Program(String, Option<u32>),
}

impl Group {
    /// What a person calls it.
    pub fn word(&self) -> String {
        match self {
            Group::Daemon => "portreeve itself".to_owned(),
            Group::Service(name) | Group::Unit(name) | Group::Program(name, _) => name.clone(),
            Group::Container(runtime, name) => format!("{runtime} {name}"),
        }
    }
}

/// The group of a process.
pub fn group(stale: &StaleProcess) -> Group {
    let home = &stale.process.home;
    if stale.daemon {
        return Group::Daemon;
    }
    if let Some(instance) = &stale.instance {
        return Group::Service(instance.service.clone());
    }
    if let Some(container) = &home.container {
        return Group::Container(container.runtime.to_owned(), container.name.clone());
    }
    if let Some(unit) = &home.unit {
        return Group::Unit(unit.clone());
    }
    let program = stale.process.executable.clone().unwrap_or_else(|| stale.process.name.clone());
    Group::Program(program, stale.process.uid)
}

fn finding(group: &Group, processes: &[&StaleProcess]) -> Finding {
    let first = processes.first().copied();
    let mut evidence = Vec::new();
    let mut add = |name, value: Option<String>| evidence.extend(value.map(|value| (name, value)));
    add("executable", first.and_then(|stale| stale.process.executable.clone()));
    let mut files: Vec<String> = Vec::new();
    for file in processes.iter().flat_map(|stale| &stale.files) {
        let text = format!("{} ({})", file.path, file.word());
        if !files.contains(&text) {
            files.push(text);
        }
    }
    let more = files.len().saturating_sub(MOST_FILES);
    files.truncate(MOST_FILES);
    if more > 0 {
        files.push(format!("{more} more"));
    }
    add("files", Some(files.join(", ")));
    add("uid", first.and_then(|stale| stale.process.uid).map(|uid| uid.to_string()));
    match group {
        Group::Unit(unit) => add("unit", Some(unit.clone())),
        Group::Container(runtime, name) => add("container", Some(format!("{runtime} {name}"))),
        Group::Service(service) => add("service", Some(service.clone())),
        Group::Program(..) | Group::Daemon => {}
    }
    let check = if matches!(group, Group::Service(_)) { &STALE_INSTANCE } else { &STALE_PROCESS };
    let count = match processes.len() {
        1 => String::new(),
        all => format!(", {all} processes"),
    };
    Finding {
        check,
        subject: format!("{}{count}", group.word()),
        evidence,
        pid: first.map(|stale| stale.process.pid),
        file: None,
        fix: fix(group, first.map(|stale| &stale.process)),
        undo: check.undo.to_owned(),
    }
}

/// Units whose restart takes more with it than it mends: the next boot is better.
pub const BY_REBOOT: [&str; 7] = [
    "dbus.service",
    "dbus-broker.service",
    "systemd-logind.service",
    "init.scope",
    "display-manager.service",
    "elogind.service",
    "user@.service",
];

/// Whether a unit is better restarted by a reboot.
pub fn by_reboot(unit: &str) -> bool {
    BY_REBOOT.contains(&unit)
        || unit.starts_with("user@")
        || unit.starts_with("getty@")
        || unit.starts_with("serial-getty@")
}

/// The command that ends the old code.
fn fix(group: &Group, process: Option<&Process>) -> String {
    let pid = process.map_or(0, |process| process.pid);
    match group {
        Group::Daemon => "portreeve upgrade".to_owned(),
        Group::Service(service) => format!("portreeve stale --retire {}", word(service)),
        Group::Container(runtime, name) if ["docker", "podman"].contains(&runtime.as_str()) => {
            format!("{runtime} restart {} (with a new image, if its own was not upgraded)", word(name))
        }
        Group::Container(..) => "restart the container by its runtime".to_owned(),
        Group::Unit(unit) if unit == "init.scope" || pid == 1 => "systemctl daemon-reexec".to_owned(),
        Group::Unit(unit) if unit.ends_with(".scope") => {
            format!("end the session, or kill {pid}: nothing can start {} again", word(unit))
        }
        Group::Unit(unit) if by_reboot(unit) => {
            format!("systemctl reboot (a restart of {} ends everybody's session)", word(unit))
        }
        Group::Unit(unit) => format!("systemctl restart {}", word(unit)),
        Group::Program(..) if pid == 1 => "telinit u, or a reboot".to_owned(),
        Group::Program(..) => {
            let again = process
                .map(|process| process.arguments.iter().map(|w| word(w)).collect::<Vec<_>>().join(" "));
            format!("kill {pid} && {}", again.unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Instance, OldFile, kernel::Kernel, microcode::Microcode};
    use super::*;
    use crate::cgroup::{Container, Home};
    use crate::process::Image;
    use crate::stale::compare::Fate;

    fn process(pid: u32, unit: Option<&str>) -> StaleProcess {
        let process = Process {
            pid,
            name: "d".to_owned(),
            executable: Some("/usr/sbin/d".to_owned()),
            image: Image::Same,
            arguments: vec!["d".to_owned(), "a b".to_owned()],
            uid: Some(0),
            home: Home { unit: unit.map(str::to_owned), container: None },
            our_root: true,
        };
        let files = vec![OldFile { path: "/usr/lib/x.so".to_owned(), fate: Fate::Gone }];
        StaleProcess { process, files, executable: false, instance: None, daemon: false }
    }

    #[test]
    fn one_finding_for_what_is_restarted_together() {
        let mut ours = process(5, Some("portreeve.service"));
        ours.instance = Some(Instance { pid: 5, service: "echo".to_owned(), ..Instance::default() });
        let mut contained = process(6, None);
        contained.process.home.container = Some(Container { runtime: "podman", name: "web".to_owned() });
        let processes = vec![
            process(2, Some("d.service")),
            process(3, Some("d.service")),
            process(4, Some("session-1.scope")),
            process(7, Some("dbus.service")),
            process(8, None),
            ours,
            contained,
            StaleProcess { daemon: true, ..process(9, Some("portreeve.service")) },
        ];
        let kernel = Kernel { running: "1".to_owned(), newest: Some("2".to_owned()), ..Kernel::default() };
        let microcode = Microcode { unknown: Some("guest"), ..Microcode::default() };
        let outcome = check(&Stale { processes, kernel, microcode, ..Stale::default() });
        let found: Vec<_> =
            outcome.findings.iter().map(|f| (f.check.id, f.subject.as_str(), f.fix.as_str())).collect();
        assert_eq!(
            found,
            [
                ("stale-process", "portreeve itself", "portreeve upgrade"),
                ("stale-instance", "echo", "portreeve stale --retire echo"),
                (
                    "stale-process",
                    "podman web",
                    "podman restart web (with a new image, if its own was not upgraded)"
                ),
                ("stale-process", "d.service, 2 processes", "systemctl restart d.service"),
                (
                    "stale-process",
                    "dbus.service",
                    "systemctl reboot (a restart of dbus.service ends everybody's session)"
                ),
                (
                    "stale-process",
                    "session-1.scope",
                    "end the session, or kill 4: nothing can start session-1.scope again"
                ),
                ("stale-process", "/usr/sbin/d", "kill 8 && d 'a b'"),
                ("stale-kernel", "1", "systemctl reboot"),
            ]
        );
        assert_eq!(outcome.not_applicable, [("stale-microcode", "guest")]);
        assert_eq!(outcome.findings[3].evidence("files"), Some("/usr/lib/x.so (gone)"));
    }
}

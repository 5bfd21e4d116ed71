//! What a word means: a service of ours, a unit, an init script, an entry of a foreign inetd.conf, or a port and who listens there. Looks
//! only.

use super::act;
use super::plan::{self, Step, Unit};
use crate::control::Socket;
use crate::escape;
use crate::failure::{Failure, system_text};
use crate::looking;
use portreeve_audit::inventory::Listener;
use portreeve_conf::switch::of_inetd;
use std::path::Path;
use std::process::{Command, Stdio};

/// inetd's file.
const INETD: &str = "/etc/inetd.conf";
/// Where scripts of init are.
const SCRIPTS: &str = "/etc/init.d";
/// Programs by which scripts are kept from starting.
const TOOLS: [&str; 4] =
    ["/usr/sbin/update-rc.d", "/sbin/update-rc.d", "/usr/sbin/chkconfig", "/sbin/chkconfig"];
/// Short names of foreign inetds.
const INETDS: [&str; 3] = ["inetd", "openbsd-inetd", "inetutils-inetd"];

/// What is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A service of ours, by its id.
    Ours(String),
    /// Units that belong together.
    Units(Vec<Unit>),
    /// An init script, whether it runs.
    Script(String),
    /// An entry of a foreign inetd.conf: its name and its line.
    Entry(String, u32),
}

impl Target {
    /// Its name in the journal.
    pub fn name(&self) -> String {
        match self {
            Target::Ours(id) => format!("service:{id}"),
            Target::Units(units) => format!("unit:{}", units.first().map_or("", |unit| unit.id.as_str())),
            Target::Script(name) => format!("init:{name}"),
            Target::Entry(name, _) => format!("inetd:{name}"),
        }
    }

    /// The word by which people and programs call it.
    pub fn word(&self) -> &str {
        match self {
            Target::Ours(id) => id,
            Target::Units(_) => "",
            Target::Script(name) | Target::Entry(name, _) => name,
        }
    }

    /// Its units' names.
    pub fn units(&self) -> Vec<String> {
        match self {
            Target::Units(units) => units.iter().map(|unit| unit.id.clone()).collect(),
            _ => Vec::new(),
        }
    }
}

/// Where it is looked.
#[derive(Debug)]
pub struct Look<'a> {
    /// Our daemon.
    pub socket: &'a Socket,
    /// systemctl.
    pub systemctl: &'a str,
}

/// A port in `23`, `tcp:23`, `23/udp`.
pub fn port(word: &str) -> Option<(Option<&'static str>, u16)> {
    let protocol = |word: &str| ["tcp", "udp"].into_iter().find(|known| *known == word);
    if let Ok(port) = word.parse() {
        return Some((None, port));
    }
    let (one, other) = word.split_once([':', '/'])?;
    match (protocol(one), protocol(other)) {
        (Some(protocol), _) => Some((Some(protocol), other.parse().ok()?)),
        (_, Some(protocol)) => Some((Some(protocol), one.parse().ok()?)),
        _ => None,
    }
}

impl Look<'_> {
    /// Whom a word means.
    ///
    /// # Errors
    /// Nobody, or several.
    pub fn find(&self, word: &str) -> Result<Target, Failure> {
        if let Some((protocol, number)) = port(word) {
            return self.of_port(word, protocol, number);
        }
        let (kind, name) = match word.split_once(':') {
            Some((kind @ ("service" | "unit" | "init" | "inetd"), name)) => (Some(kind), name),
            _ => (None, word),
        };
        let mut found = Vec::new();
        let mut look = |wanted: &str, target: Option<Target>| {
            if kind.is_none_or(|kind| kind == wanted) {
                found.extend(target);
            }
        };
        let ours = || self.services().into_iter().find(|(_, id)| id == name).map(|(_, id)| Target::Ours(id));
        look("service", ours());
        look("unit", self.units(name));
        look("inetd", entry(name));
        // A script behind a unit is the unit's.
        if !found.iter().any(|target| matches!(target, Target::Units(_))) || kind == Some("init") {
            let script = || {
                let plain = !name.is_empty() && !name.contains('/') && !name.starts_with('.');
                (plain && Path::new(SCRIPTS).join(name).is_file()).then(|| Target::Script(name.to_owned()))
            };
            if kind.is_none_or(|kind| kind == "init") {
                found.extend(script());
            }
        }
        let shown = escape::text(word);
        match found.as_slice() {
            [one] => Ok(one.clone()),
            [] => Err(Failure::with_help(
                format!(
                    "`{shown}` is no service of ours, unit, init script or entry of {INETD}; nothing was done"
                ),
                "name what `portreeve listeners` shows: a service, a unit as telnet.socket, a port as tcp:23",
            )),
            several => {
                let names: Vec<_> = several.iter().map(Target::name).collect();
                Err(Failure::with_help(
                    format!("`{shown}` means several things; nothing was done"),
                    format!("name one of them: {}", names.join(", ")),
                ))
            }
        }
    }

    /// Services of our daemon: address and id.
    fn services(&self) -> Vec<(String, String)> {
        let Ok(status) = self.socket.ask("status") else { return Vec::new() };
        let all = crate::answer::items(&status, "services").iter();
        let word = |service, name| crate::answer::text(service, name).to_owned();
        all.map(|service| (word(service, "address"), word(service, "id"))).collect()
    }

    fn of_port(&self, word: &str, protocol: Option<&str>, number: u16) -> Result<Target, Failure> {
        let inventory = looking::take(self.socket)?;
        let is_it = |listener: &&Listener| {
            listener.namespace == "own"
                && listener.socket.port() == Some(number)
                && protocol.is_none_or(|wanted| listener.socket.protocol.word() == wanted)
        };
        let mut found: Vec<Target> = Vec::new();
        let mut nobody = Vec::new();
        for listener in inventory.listeners.iter().filter(is_it) {
            match self.of_listener(listener, number) {
                Ok(target) if found.contains(&target) => {}
                Ok(target) => found.push(target),
                Err(why) => nobody.push(why),
            }
        }
        let shown = escape::text(word);
        match (found.as_slice(), nobody.as_slice()) {
            ([one], []) => Ok(one.clone()),
            ([], []) => Err(Failure::new(format!("nothing listens at {shown}; nothing was done"))),
            ([], [why, ..]) => Err(Failure::new(format!("{shown}: {why}; nothing was done"))),
            (several, _) => {
                let names: Vec<_> = several.iter().map(Target::name).collect();
                let help = format!("name one of them: {}", names.join(", "));
                Err(Failure::with_help(format!("several things listen at {shown}; nothing was done"), help))
            }
        }
    }

    fn of_listener(&self, listener: &Listener, number: u16) -> Result<Target, String> {
        if let Some(id) = listener.service.as_deref().filter(|id| !id.starts_with('(')) {
            return Ok(Target::Ours(id.to_owned()));
        }
        let Some(process) = listener.process() else {
            return Err("no process holds it (the kernel's own?)".to_owned());
        };
        let shown = format!("{}[{}]", escape::text(&process.name), process.pid);
        if let Some(container) = &process.home.container {
            let name = escape::text(&container.name).into_owned();
            return Err(format!("{shown} runs in the container {name}; stop that by {}", container.runtime));
        }
        if INETDS.contains(&process.name.as_str()) {
            let protocol = listener.socket.protocol.word();
            let name = service_name(number, protocol).unwrap_or_else(|| number.to_string());
            return entry(&name).or_else(|| entry(&number.to_string())).ok_or_else(|| {
                format!("{shown} holds it, and {INETD} has no entry {}", escape::text(&name))
            });
        }
        if let Some(units) = process
            .home
            .unit
            .as_deref()
            .filter(|unit| unit.ends_with(".service") && !unit.starts_with("user@"))
            .and_then(|u| self.units(u))
        {
            return Ok(units);
        }
        if let Some(script) = script_of(process.executable.as_deref().unwrap_or_default(), &process.name) {
            return Ok(Target::Script(script));
        }
        Err(format!(
            "{shown} belongs to no service of ours, unit, init script or inetd: `kill {}` ends it",
            process.pid
        ))
    }

    /// A unit with those that start it or that it starts; the socket first.
    fn units(&self, word: &str) -> Option<Target> {
        let plain = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
        if word.is_empty() || word.starts_with('-') || !word.chars().all(plain) {
            return None;
        }
        let first = match [".service", ".socket"].iter().any(|end| word.ends_with(end)) {
            true => self.show(word)?,
            false => {
                self.show(&format!("{word}.service")).or_else(|| self.show(&format!("{word}.socket")))?
            }
        };
        let others =
            first.triggers.iter().filter(|unit| !unit.ends_with(".timer")).filter_map(|unit| self.show(unit));
        let mut units: Vec<Unit> = others.filter(|other| other.id != first.id).collect();
        units.push(first);
        units.sort_by_key(|unit| (!unit.id.ends_with(".socket"), unit.id.clone()));
        Some(Target::Units(units))
    }

    fn show(&self, unit: &str) -> Option<Unit> {
        let properties = "Id,LoadState,UnitFileState,ActiveState,TriggeredBy,Triggers";
        let output = Command::new(self.systemctl)
            .args(["show", "--no-pager", "-p", properties, "--", unit])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        let unit = plan::unit(&String::from_utf8_lossy(&output.stdout));
        (output.status.success() && unit.load == "loaded" && !unit.id.is_empty()).then_some(unit)
    }

    /// What is to be done.
    ///
    /// # Errors
    /// It cannot be told.
    pub fn plan(&self, target: &Target) -> Result<Vec<Step>, Failure> {
        match target {
            Target::Ours(_) => Ok(Vec::new()),
            Target::Units(units) => Ok(plan::of_units(self.systemctl, units)),
            Target::Script(name) => {
                let tool = TOOLS.into_iter().find(|tool| Path::new(tool).exists());
                let links = act::links(name);
                let status = Command::new(Path::new(SCRIPTS).join(name))
                    .arg("status")
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .status();
                let runs = status.is_ok_and(|status| status.success());
                Ok(plan::of_script(name, tool, links, runs))
            }
            Target::Entry(name, line) => {
                let bytes = std::fs::read(INETD)
                    .map_err(|e| Failure::new(format!("{INETD}: {}", system_text(&e))))?;
                let entry =
                    of_inetd(INETD, &bytes).into_iter().find(|entry| entry.place.line == *line && !entry.off);
                let after = entry.and_then(|entry| entry.switched(&bytes));
                let text = |bytes: Vec<u8>| String::from_utf8(bytes).ok();
                match after.and_then(text).zip(text(bytes)) {
                    Some((after, before)) => Ok(vec![
                        Step::Edit { file: INETD.to_owned(), before, after },
                        Step::Hangup {
                            name: INETDS.into_iter().find(|name| runs(name)).unwrap_or("inetd").to_owned(),
                        },
                    ]),
                    None => Err(Failure::new(format!(
                        "{INETD}: the entry {} cannot be switched off",
                        escape::text(name)
                    ))),
                }
            }
        }
    }
}

fn runs(name: &str) -> bool {
    let all = portreeve_audit::namespaces::processes(Path::new("/proc")).unwrap_or_default();
    all.into_iter().any(|pid| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim_end() == name)
    })
}

/// An entry of inetd's file that is on.
fn entry(name: &str) -> Option<Target> {
    let bytes = std::fs::read(INETD).ok()?;
    let entries = of_inetd(INETD, &bytes);
    let mut found = entries
        .iter()
        .filter(|entry| !entry.off && (entry.name == name || entry.ids.iter().any(|id| id == name)));
    let one = found.next()?;
    Some(Target::Entry(one.ids.first().cloned().unwrap_or_else(|| one.name.clone()), one.place.line))
}

/// The name of a port in /etc/services.
fn service_name(port: u16, protocol: &str) -> Option<String> {
    let text = std::fs::read_to_string("/etc/services").ok()?;
    let wanted = format!("{port}/{protocol}");
    text.lines().find_map(|line| {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let name = words.next()?;
        (words.next() == Some(wanted.as_str())).then(|| name.to_owned())
    })
}

/// The script that a program's package brought: one of its name, or one that names the executable.
fn script_of(executable: &str, name: &str) -> Option<String> {
    let base = executable.rsplit('/').next().unwrap_or_default();
    let direct =
        [base, name].into_iter().find(|word| !word.is_empty() && Path::new(SCRIPTS).join(word).is_file());
    direct.map(str::to_owned).or_else(|| {
        let mut entries = std::fs::read_dir(SCRIPTS).ok()?.flatten();
        let names = |path: &Path| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            text.lines().any(|line| {
                line.strip_prefix("DAEMON=").is_some_and(|path| path.trim_matches('"') == executable)
            })
        };
        let found = entries.find(|entry| !executable.is_empty() && names(&entry.path()))?;
        found.file_name().into_string().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read() {
        assert_eq!(port("23"), Some((None, 23)));
        assert_eq!(port("tcp:23"), Some((Some("tcp"), 23)));
        assert_eq!(port("69/udp"), Some((Some("udp"), 69)));
        for word in ["", "x", "tcp:", "icmp:1", "70000", "unit:1"] {
            assert_eq!(port(word), None, "{word}");
        }
    }
}

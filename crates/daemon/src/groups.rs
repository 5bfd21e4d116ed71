//! The control groups of services: one for all instances of a service whose `sandbox` has something to be kept there, made when the
//! plan of its start is. They are told by their names alone, so an upgrade and a crash hand nothing over: who comes next finds them.
//!
//! Devices are a matter of security: without its group a program does not start. An amount is not kept where the machine cannot, as
//! under systemd, and that is said.

use crate::launch::Plan;
use crate::slot::SlotId;
use crate::supervisor::Supervisor;
use portreeve_conf::{Amount, Device, Devices, Group, Level, Service};
use portreeve_sys::cgroup::{self, Groups};
use portreeve_sys::device_filter::{self, MAKE, READ, Rule, WRITE};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::cell::RefCell;
use std::collections::HashSet;

/// What a unit sets that gives controllers back when the daemon is gone.
pub const GIVEN_BACK: &str = "PORTREEVE_GROUPS_GIVEN_BACK";

thread_local! {
    /// Those of this process, once one was wanted.
    static OURS: RefCell<Option<Groups>> = const { RefCell::new(None) };
}

/// How a program comes into the group of its service.
#[derive(Debug, Default)]
pub struct Joining {
    /// What the child writes to.
    pub procs: Option<OwnedFd>,
    /// Why it may not be started.
    pub refused: Option<String>,
    /// What is not kept, and why.
    pub unkept: Vec<String>,
}

impl Joining {
    /// The same way once more, for another start.
    #[must_use]
    pub fn again(&self) -> Self {
        let mut again = Self { procs: None, refused: self.refused.clone(), unkept: self.unkept.clone() };
        match self.procs.as_ref().map(OwnedFd::try_clone) {
            Some(Ok(procs)) => again.procs = Some(procs),
            Some(Err(error)) => {
                again.refused = Some(format!("its control group: {}", crate::machine::percent_m(&error)));
            }
            None => {}
        }
        again
    }
}

/// The name of a service's group. Several may have one id, and what devices one may have says nothing of another; and whoever is
/// restricted in one stays so, whatever a reload says of those who come later.
fn name(service: &str, number: u32, wanted: &Group) -> String {
    // No name has a full stop of its own.
    let which = if number == 0 { String::new() } else { format!(".{number}") };
    let kind = if wanted.devices.is_some() { "" } else { ".amounts" };
    format!("{}{which}{kind}", cgroup::spelled(service))
}

/// The group of a service, which has this number among those of its id, with the limits that it is to have from now on, for whoever runs
/// in it too.
pub fn join(service: &str, number: u32, wanted: &Group) -> Joining {
    let mut joining = Joining::default();
    if !wanted.is_needed() {
        return joining;
    }
    let made = OURS.with_borrow_mut(|ours| {
        // They may have been removed behind us.
        if !ours.as_ref().is_some_and(Groups::are_there) {
            *ours = Some(Groups::of_this_process(std::env::var_os(GIVEN_BACK).is_some())?);
        }
        let Some(ours) = ours else { return Err(String::new()) };
        set(ours, &name(service, number, wanted), wanted, &mut joining.unkept)
    });
    match made {
        Ok(procs) => joining.procs = Some(procs),
        Err(why) if wanted.devices.is_some() => joining.refused = Some(format!("DeviceAllow: {why}")),
        Err(why) => joining.unkept.push(format!("amounts are not kept: {why}")),
    }
    joining
}

fn set(ours: &Groups, name: &str, wanted: &Group, unkept: &mut Vec<String>) -> Result<OwnedFd, String> {
    let text = |error: std::io::Error| format!("its control group: {}", crate::machine::percent_m(&error));
    let dir = ours.group(name).map_err(text)?;
    if let Some(devices) = &wanted.devices {
        device_filter::restrict(&dir, &rules(devices)).map_err(text)?;
    }
    for (key, controller, file, amount) in [
        ("MemoryMax", "memory", "memory.max", wanted.memory_max),
        ("MemoryHigh", "memory", "memory.high", wanted.memory_high),
        ("MemorySwapMax", "memory", "memory.swap.max", wanted.swap_max),
        ("TasksMax", "pids", "pids.max", wanted.tasks_max),
    ] {
        let value = amount.map_or_else(|| "max".to_owned(), |amount| number(amount, controller).to_string());
        let done = match amount {
            Some(_) => ours.enable(controller).and_then(|()| cgroup::write(&dir, file, &value)),
            // What a former configuration set.
            None => {
                let _ = cgroup::write(&dir, file, &value);
                Ok(())
            }
        };
        if let Err(error) = done {
            let why = if error.raw_os_error().is_none() {
                error.to_string()
            } else {
                crate::machine::percent_m(&error)
            };
            unkept.push(format!("{key} is not kept: {why}"));
        }
    }
    cgroup::joining(&dir).map_err(text)
}

/// How much it is on this machine.
fn number(amount: Amount, controller: &str) -> u64 {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let first = |text: &str| text.split_ascii_whitespace().next().and_then(|n| n.parse::<u64>().ok());
    let (share, all) = match amount {
        Amount::Number(number) => return number,
        Amount::Percent(share) if controller == "memory" => {
            let text = read("/proc/meminfo");
            let total = text.lines().find_map(|line| first(line.strip_prefix("MemTotal:")?));
            (share, total.unwrap_or(u64::MAX).saturating_mul(1024))
        }
        Amount::Percent(share) => {
            let most =
                ["/proc/sys/kernel/threads-max", "/proc/sys/kernel/pid_max"].map(|path| first(&read(path)));
            (share, most.into_iter().flatten().min().unwrap_or(u64::MAX))
        }
    };
    u64::try_from(u128::from(all) * u128::from(share) / 100).unwrap_or(u64::MAX)
}

/// A node that is not there allows nothing.
fn rules(devices: &[Device]) -> Vec<Rule> {
    let known = std::fs::read_to_string("/proc/devices").unwrap_or_default();
    let mut all = Vec::new();
    for device in devices {
        let bits = [(device.make, MAKE), (device.read, READ), (device.write, WRITE)];
        let may = bits.iter().filter(|(on, _)| *on).fold(0, |all, (_, bit)| all | bit);
        match &device.what {
            Devices::Node(path) => {
                let node = device_filter::node(path);
                all.extend(node.map(|(block, major, minor)| Rule {
                    block,
                    major: Some(major),
                    minor: Some(minor),
                    may,
                }));
            }
            Devices::Kind { block, name } if name == "*" => {
                all.push(Rule { block: *block, major: None, minor: None, may });
            }
            Devices::Kind { block, name } => {
                let rule = |major| Rule { block: *block, major: Some(major), minor: None, may };
                all.extend(majors(&known, *block, name).into_iter().map(rule));
            }
        }
    }
    all
}

/// The major numbers of a kind, by the text of /proc/devices.
fn majors(known: &str, block: bool, name: &str) -> Vec<u32> {
    let (mut blocks, mut found) = (false, Vec::new());
    for line in known.lines() {
        match line.trim().split_once(' ') {
            Some(("Block", _)) => blocks = true,
            Some(("Character", _)) => blocks = false,
            Some((major, kind)) if blocks == block && matches(kind.trim(), name) => {
                found.extend(major.parse::<u32>().ok());
            }
            _ => {}
        }
    }
    found
}

/// `*` is any letters, `?` one.
fn matches(text: &str, pattern: &str) -> bool {
    match (pattern.chars().next(), text.chars().next()) {
        (None, None) => true,
        (Some('*'), _) => {
            let rest = pattern.get(1..).unwrap_or_default();
            text.char_indices()
                .map(|(at, _)| at)
                .chain([text.len()])
                .any(|at| matches(text.get(at..).unwrap_or_default(), rest))
        }
        (Some(wanted), Some(letter)) if wanted == letter || wanted == '?' => matches(
            text.get(letter.len_utf8()..).unwrap_or_default(),
            pattern.get(wanted.len_utf8()..).unwrap_or_default(),
        ),
        _ => false,
    }
}

/// Removes what this process has made and what is empty of it.
pub fn end() {
    OURS.with_borrow_mut(|ours| {
        if let Some(ours) = ours.take() {
            ours.end();
        }
    });
}

impl Supervisor {
    /// The least number that no service with this id has; of one that is gone its instances may be in their group still.
    pub fn free_group(&self, service: &Service, nth: u32) -> u32 {
        if self.generation == 0 {
            // At the start they are counted already.
            return nth;
        }
        let same = self.slots.values().filter(|slot| slot.id().eq_ignore_ascii_case(&service.id));
        let taken: HashSet<u32> = same.map(|slot| slot.group).collect();
        (0..=u32::MAX).find(|number| !taken.contains(number)).unwrap_or(nth)
    }

    /// A child could not join the group of its service. Where somebody else has removed it, it is made again; whether it was.
    pub fn regroup(&mut self, id: SlotId, errno: Errno) -> bool {
        let Some(slot) = self.slots.get_mut(&id).filter(|_| errno == Errno::NODEV) else { return false };
        slot.plan = Plan::of(&slot.service, slot.group, &self.inherited);
        let text = format!("service {}: somebody has removed its control group; it is made again", slot.id());
        self.say(Level::Notice, &text);
        true
    }

    /// Groups that no service has any more go when they are empty; one that a service has no use for any more keeps nobody within
    /// anything.
    pub fn tidy_groups(&self) {
        OURS.with_borrow(|ours| {
            let Some(ours) = ours else { return };
            ours.remove_others();
            let (mut wanted, mut idle) = (HashSet::new(), HashSet::new());
            for slot in self.slots.values() {
                let group = slot.service.sandbox.as_ref().map(|sandbox| &sandbox.group);
                match group.filter(|group| group.is_needed()) {
                    Some(group) => drop(wanted.insert(name(slot.id(), slot.group, group))),
                    None => drop(idle.insert(cgroup::spelled(slot.id()))),
                }
            }
            for (name, populated) in ours.all() {
                if wanted.contains(&name) {
                    continue;
                }
                if populated && name.split('.').next().is_some_and(|name| idle.contains(name)) {
                    ours.lift(&name);
                }
                ours.remove(&name);
            }
        });
    }

    /// Says what is not kept.
    pub fn say_unkept(&mut self) {
        let mut lines = Vec::new();
        for slot in self.slots.values() {
            let Some(plan) = slot.service.sandbox.as_ref().and_then(|_| slot.plan(&self.inherited)) else {
                continue;
            };
            lines.extend(plan.unkept.iter().map(|what| format!("service {}: {what}", slot.id())));
        }
        for line in lines {
            self.say(Level::Warning, &line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_devices() {
        let known = "Character devices:\n  1 mem\n  4 /dev/vc/0\n136 pts\n137 ptm\n\nBlock devices:\n  7 loop\n259 blkext\n";
        for (block, name, wanted) in [
            (false, "pts", &[136][..]),
            (false, "pt?", &[136, 137]),
            (false, "*m", &[1, 137]),
            (false, "loop", &[]),
            (true, "loop", &[7]),
            (true, "*l*", &[7, 259]),
            (true, "lo", &[]),
        ] {
            assert_eq!(majors(known, block, name), wanted, "{name}");
        }
    }
}

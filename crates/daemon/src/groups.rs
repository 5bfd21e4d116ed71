//! The control groups of services: one for all instances of a service whose `sandbox` has something to be kept there, made when the
//! plan of its start is. They are told by their names alone, so an upgrade and a crash hand nothing over: who comes next finds them.
//!
//! Devices and addresses are a matter of security: without its group a program does not start. An amount is not kept where the machine cannot, as
//! under systemd, and that is said.

use crate::bounds::{files, write};
use crate::launch::Plan;
use crate::slot::SlotId;
use crate::supervisor::Supervisor;
use portreeve_conf::systemd::Network;
use portreeve_conf::{Addresses, Device, Devices, Group, Level, Service};
use portreeve_sys::address_filter::{self, Net};
use portreeve_sys::cgroup::{self, Groups};
use portreeve_sys::device_filter::{self, MAKE, READ, Rule, WRITE};
use portreeve_sys::onward::Onward;
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
    /// Where it is to be once it runs, if that is another group.
    pub onward: Option<Onward>,
    /// Why it may not be started.
    pub refused: Option<String>,
    /// What is not kept, and why.
    pub unkept: Vec<String>,
}

impl Joining {
    /// The same way once more, for another start.
    #[must_use]
    pub fn again(&self) -> Self {
        let mut again =
            Self { refused: self.refused.clone(), unkept: self.unkept.clone(), ..Self::default() };
        let procs = self.procs.as_ref().map(OwnedFd::try_clone).transpose();
        let onward = self.onward.as_ref().map(Onward::try_clone).transpose();
        match procs.and_then(|procs| Ok((procs, onward?))) {
            Ok((procs, onward)) => (again.procs, again.onward) = (procs, onward),
            Err(error) => {
                again.refused = Some(format!("its control group: {}", crate::machine::percent_m(&error)));
            }
        }
        again
    }
}

/// The name of a service's group. Several may have one id, and what devices one may have says nothing of another; and whoever is
/// restricted in one stays so, whatever a reload says of those who come later.
fn name(service: &str, number: u32, wanted: &Group) -> String {
    // No name has a full stop of its own.
    let which = if number == 0 { String::new() } else { format!(".{number}") };
    let kind = match (&wanted.devices, &wanted.addresses) {
        (None, None) => ".amounts",
        (Some(_), None) => "",
        (None, Some(_)) => ".addresses",
        (Some(_), Some(_)) => ".devices-addresses",
    };
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
        Ok((procs, onward)) => (joining.procs, joining.onward) = (Some(procs), onward),
        Err(why) => match (&wanted.devices, &wanted.addresses) {
            (None, None) => joining.unkept.push(format!("amounts are not kept: {why}")),
            (Some(_), None) => joining.refused = Some(format!("DeviceAllow: {why}")),
            (None, Some(_)) => joining.refused = Some(format!("IPAddressDeny: {why}")),
            (Some(_), Some(_)) => joining.refused = Some(format!("DeviceAllow, IPAddressDeny: {why}")),
        },
    }
    joining
}

/// How a program comes into the group, with all that the group keeps.
type Way = (OwnedFd, Option<Onward>);

fn set(ours: &Groups, name: &str, wanted: &Group, unkept: &mut Vec<String>) -> Result<Way, String> {
    let text = |error: std::io::Error| format!("its control group: {}", crate::machine::percent_m(&error));
    let made = |name: &str| {
        let dir = ours.group(name).map_err(text)?;
        if let Some(devices) = &wanted.devices {
            device_filter::restrict(&dir, &rules(devices)).map_err(|error| untaken("devices", &error))?;
        }
        if let Some(Addresses { allow, deny }) = &wanted.addresses {
            let done = address_filter::restrict(&dir, &nets(allow), &nets(deny));
            done.map_err(|error| untaken("addresses", &error))?;
        }
        Ok::<_, String>(dir)
    };
    let dir = made(name)?;
    let mut slow = false;
    for (key, controller, is_said) in wanted.bounds() {
        let files = files(key, wanted);
        let done = match is_said {
            true => ours.enable(controller).and_then(|()| write(&dir, &files)),
            // What a former configuration set.
            false => {
                let _ = write(&dir, &files);
                continue;
            }
        };
        match done {
            Ok(()) => slow |= controller == "cpu",
            Err(error) => {
                let why = if error.raw_os_error().is_none() {
                    error.to_string()
                } else {
                    crate::machine::percent_m(&error)
                };
                unkept.push(format!("{key} is not kept: {why}"));
            }
        }
    }
    if !slow {
        return cgroup::joining(&dir).map(|procs| (procs, None)).map_err(text);
    }
    let first = made(&beginning(name))?;
    let way = |first| Ok((cgroup::joining(first)?, Some(Onward::new(first, &dir)?)));
    way(&first).map_err(text)
}

/// The group in which programs begin that have few processors: until its program is executed the supervisor waits for a child, and in
/// the group itself it would wait for processors with it. Devices and addresses are kept there too.
fn beginning(name: &str) -> String {
    format!("{name}.starting")
}

/// The kernel takes no such program.
fn untaken(what: &str, error: &std::io::Error) -> String {
    let why = crate::machine::percent_m(error);
    format!("the kernel (CONFIG_CGROUP_BPF) takes no program for the {what} of its control group: {why}")
}

fn nets(networks: &[Network]) -> Vec<Net> {
    networks.iter().map(|network| (network.address(), network.length())).collect()
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
            let nothing = Group::default();
            let unbound: Vec<_> =
                nothing.bounds().iter().flat_map(|(key, ..)| files(key, &nothing)).collect();
            let (mut wanted, mut idle) = (HashSet::new(), HashSet::new());
            for slot in self.slots.values() {
                let group = slot.service.sandbox.as_ref().map(|sandbox| &sandbox.group);
                match group.filter(|group| group.is_needed()) {
                    Some(group) => {
                        let name = name(slot.id(), slot.group, group);
                        let slow =
                            |(_, controller, is_said): &(_, &str, bool)| *is_said && *controller == "cpu";
                        if group.bounds().iter().any(slow) {
                            wanted.insert(beginning(&name));
                        }
                        wanted.insert(name);
                    }
                    None => drop(idle.insert(cgroup::spelled(slot.id()))),
                }
            }
            for (name, populated) in ours.all() {
                if wanted.contains(&name) {
                    continue;
                }
                if populated && name.split('.').next().is_some_and(|name| idle.contains(name)) {
                    ours.lift(&name, unbound.iter().map(|(file, value)| (*file, value.as_str())));
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

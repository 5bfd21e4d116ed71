//! What a program is confined to: the words of `sandbox`, which are settings of systemd.exec(5) with their meaning there, and what they
//! come to. Pure: who applies it is the daemon.

mod addresses;
mod bind;
mod calls;
mod group;
mod key;
mod links;
mod mounts;
mod names;
mod offered;
mod order;
mod shares;

#[cfg(test)]
mod tests;

pub use addresses::{Addresses, MOST_NETWORKS};
pub(crate) use bind::Bind;
pub use group::{Amount, Device, Devices, Group};
pub(crate) use key::{KEYS, OFF, Shape, Word, word};
pub use links::without_links;
pub use mounts::{Mount, MountKind};
pub(crate) use offered::SANDBOX;
pub use order::{Shown, cover_of, executes, in_order, shown};
pub use shares::{Quota, Weight};

use crate::place::Place;
use key::error;
use mounts::plan;
use names::{FAMILIES, NAMESPACES, SECURE_BITS, capability, capability_names, find, known_capabilities};

/// Every capability that there is or will be.
pub const ALL_CAPABILITIES: u64 = u64::MAX;

/// What happens at a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallAnswer {
    /// It is made.
    Allow,
    /// It fails with this error.
    Errno(u16),
    /// The program ends.
    Kill,
}

/// `SystemCallFilter`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calls {
    /// Calls by name, each with what happens.
    pub listed: Vec<(&'static str, CallAnswer)>,
    /// What happens at all others.
    pub otherwise: CallAnswer,
}

/// `KeyringMode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyring {
    /// The session keyring is the daemon's.
    Inherit,
    /// It is a new one.
    Private,
    /// A new one, which leads to the keys of the user.
    Shared,
}

/// `PrivateUsers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Users {
    /// All of outside.
    Outside,
    /// Root and the one that it runs as; all others are nobody.
    Own,
    /// The first 65536.
    Identity,
}

/// `RestrictAddressFamilies`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Families {
    /// Whether those of the list are allowed; else all others are.
    pub allow: bool,
    /// By their numbers.
    pub list: Vec<u16>,
}

/// What a program is confined to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sandbox {
    /// The words that hold.
    pub words: Vec<String>,
    /// The line that said the last of them.
    pub place: Option<Place>,
    /// `NoNewPrivileges`.
    pub no_new_privileges: bool,
    /// Mounts, in their order; `None` leaves the program in the view of the daemon.
    pub mounts: Option<Vec<Mount>>,
    /// The directory that is its root; the paths of `mounts` are below it.
    pub root: Option<String>,
    /// Whether it has /proc, /sys, /dev and /run of outside there (`MountAPIVFS`).
    pub api: bool,
    /// `KeyringMode`.
    pub keyring: Keyring,
    /// A network of its own.
    pub network: bool,
    /// System V IPC of its own.
    pub ipc: bool,
    /// A host name of its own.
    pub host_name: bool,
    /// Which users there are.
    pub users: Users,
    /// It runs as a user of its own that is made for it.
    pub dynamic_user: bool,
    /// What its control group keeps.
    pub group: Group,
    /// The capabilities that it may have; bit n is number n.
    pub bounding: u64,
    /// Those that it has, whoever it runs as.
    pub ambient: u64,
    /// SECBIT_… that it has from the start; none leaves them as they are.
    pub secure_bits: u32,
    /// `SystemCallFilter`.
    pub calls: Option<Calls>,
    /// Calls that other words forbid, by name.
    pub denied: Vec<&'static str>,
    /// `RestrictAddressFamilies`.
    pub families: Option<Families>,
    /// Kinds of namespaces that it may not make or enter: CLONE_NEW….
    pub namespaces: u32,
    /// `LockPersonality`.
    pub personality: bool,
    /// `MemoryDenyWriteExecute`.
    pub write_execute: bool,
    /// `RestrictRealtime`.
    pub realtime: bool,
    /// `RestrictSUIDSGID`.
    pub set_ids: bool,
    /// `SystemCallArchitectures=native`.
    pub native: bool,
}

impl Sandbox {
    /// Whether a filter of system calls is needed.
    pub fn filters(&self) -> bool {
        self.calls.is_some()
            || !self.denied.is_empty()
            || self.families.is_some()
            || self.namespaces != 0
            || self.personality
            || self.write_execute
            || self.realtime
            || self.set_ids
            || self.native
    }
}

/// What words come to; `None` where they ask for nothing. The words of a key stand in the order in which they were said.
///
/// # Errors
/// A sentence, where they contradict each other.
pub(crate) fn build(words: &[Word], place: Option<Place>) -> Result<Option<Sandbox>, String> {
    let words = &implied(words)[..];
    let value = |key: &str| words.iter().rev().find(|word| word.key == key).map(|word| word.value.as_str());
    let on = |key: &str| value(key).is_some_and(|value| value == "yes");
    let of = |key: &'static str| words.iter().filter(move |word| word.key == key);
    let mut bounding = capabilities(of("CapabilityBoundingSet"), ALL_CAPABILITIES);
    let mut denied: Vec<&'static str> = Vec::new();
    for (key, sets, lost) in [
        ("PrivateDevices", "@raw-io", &["CAP_MKNOD", "CAP_SYS_RAWIO"][..]),
        ("ProtectKernelModules", "@module", &["CAP_SYS_MODULE"][..]),
        ("ProtectClock", "@clock", &["CAP_SYS_TIME", "CAP_WAKE_ALARM"][..]),
    ] {
        if on(key) {
            denied.extend(calls::set(sets).unwrap_or_default());
            bounding &= !lost.iter().filter_map(|name| capability(name)).fold(0, |all, bit| all | bit);
        }
    }
    if on("ProtectKernelLogs") {
        denied.push("syslog");
        bounding &= !capability("CAP_SYSLOG").unwrap_or(0);
    }
    if on("ProtectHostname") {
        denied.extend(["sethostname", "setdomainname"]);
    }
    // Of those that nobody knows yet none can be given.
    let ambient = capabilities(of("AmbientCapabilities"), 0) & known_capabilities();
    if ambient & !bounding != 0 {
        let names = capability_names(ambient & !bounding).join(", ");
        return Err(format!("`AmbientCapabilities` gives {names}, which is not in the bounding set"));
    }
    let root = root(words);
    let whole = |word: &&Word| mounts::below_root(&word.value, root).is_some_and(|(path, _)| path == "/");
    if let Some(word) = of("InaccessiblePaths").find(whole) {
        return Err(format!("`{}` covers all that there is", word.text()));
    }
    let sandbox = Sandbox {
        words: told(words),
        place,
        no_new_privileges: on("NoNewPrivileges"),
        mounts: plan(words, root),
        root: root.map(str::to_owned),
        api: root.is_some() && value("MountAPIVFS") != Some("no"),
        keyring: match value("KeyringMode") {
            Some("private") => Keyring::Private,
            Some("shared") => Keyring::Shared,
            _ => Keyring::Inherit,
        },
        network: on("PrivateNetwork"),
        ipc: on("PrivateIPC"),
        host_name: on("ProtectHostname"),
        users: match value("PrivateUsers") {
            Some("yes" | "self") => Users::Own,
            Some("identity") => Users::Identity,
            _ => Users::Outside,
        },
        dynamic_user: on("DynamicUser"),
        group: Group { addresses: addresses::addresses(words)?, ..group::group(words) },
        bounding,
        ambient,
        secure_bits: of("SecureBits")
            .filter_map(|word| find(&SECURE_BITS, &word.value))
            .fold(0, |all, bit| all | bit),
        calls: calls(of("SystemCallFilter"), value("SystemCallErrorNumber"))?,
        denied,
        families: families(of("RestrictAddressFamilies")),
        namespaces: namespaces(of("RestrictNamespaces")),
        personality: on("LockPersonality"),
        write_execute: on("MemoryDenyWriteExecute"),
        realtime: on("RestrictRealtime"),
        set_ids: on("RestrictSUIDSGID"),
        native: value("SystemCallArchitectures").is_some(),
    };
    let nothing = !sandbox.no_new_privileges
        && sandbox.mounts.is_none()
        && sandbox.keyring == Keyring::Inherit
        && !sandbox.network
        && !sandbox.ipc
        && !sandbox.host_name
        && sandbox.users == Users::Outside
        && !sandbox.dynamic_user
        && !sandbox.group.is_needed()
        && sandbox.bounding == ALL_CAPABILITIES
        && sandbox.ambient == 0
        && sandbox.secure_bits == 0
        && !sandbox.filters();
    Ok(Some(sandbox).filter(|_| !nothing))
}

/// The root directory, where it is another one.
fn root(words: &[Word]) -> Option<&str> {
    let last = words.iter().rev().find(|word| word.key == "RootDirectory");
    last.map(|word| word.value.as_str()).filter(|path| *path != "/")
}

/// What `DynamicUser` brings with it, so that nothing is left behind of a user who is another one's next time. It cannot be taken back.
/// Each with what is enough in its place.
const IMPLIED: &[(&str, &[&str])] = &[
    ("NoNewPrivileges", &[]),
    ("ProtectSystem=strict", &[]),
    ("ProtectHome=read-only", &["yes", "tmpfs"]),
    ("PrivateTmp", &["disconnected"]),
    // There systemd removes what is left in the end (RemoveIPC).
    ("PrivateIPC", &[]),
    ("RestrictSUIDSGID", &[]),
];

fn implied(words: &[Word]) -> Vec<Word> {
    let mut all = words.to_vec();
    let value = |key: &str| words.iter().rev().find(|word| word.key == key).map(|word| word.value.as_str());
    if value("DynamicUser") == Some("yes") {
        let words = IMPLIED.iter().filter_map(|(text, enough)| Some((word(text).ok()?, enough)));
        let missing =
            words.filter(|(word, enough)| value(word.key).is_none_or(|said| !enough.contains(&said)));
        all.extend(missing.map(|(word, _)| word));
    }
    all
}

/// The words that count, by the order of the table.
fn told(words: &[Word]) -> Vec<String> {
    let mut all = Vec::new();
    for (key, shape) in KEYS {
        let of: Vec<&Word> = words.iter().filter(|word| counts_at(word, key)).collect();
        match shape.is_list() {
            true => all.extend(of.iter().map(|word| word.text())),
            false => all.extend(of.last().filter(|word| word.asks()).map(|word| word.text())),
        }
    }
    all
}

/// Whether a word is told at this key's place of the table: those that bind stand together, since the first of one place counts.
pub(crate) fn counts_at(word: &Word, key: &str) -> bool {
    match word.shape {
        Shape::Bind => key == "BindPaths",
        _ => word.key == key,
    }
}

/// As systemd merges them: the first word says what the rest is counted from.
fn capabilities<'a>(words: impl Iterator<Item = &'a Word>, full: u64) -> u64 {
    let mut set = full;
    for word in words {
        let (name, inverted) = word.inverted();
        let bit = capability(name).unwrap_or(0);
        set = match (name, inverted) {
            ("none", _) => 0,
            ("", true) => ALL_CAPABILITIES,
            (_, true) if set == full => !bit,
            (_, true) => set & !bit,
            (_, false) if set == full => bit,
            (_, false) => set | bit,
        };
    }
    set
}

/// The first word says whether the list allows or forbids; a later one of the other kind takes out of it.
fn calls<'a>(words: impl Iterator<Item = &'a Word>, failing: Option<&str>) -> Result<Option<Calls>, String> {
    let otherwise = match failing.and_then(error).flatten() {
        Some(number) => CallAnswer::Errno(number),
        None => CallAnswer::Kill,
    };
    let mut allow: Option<bool> = None;
    let mut listed: Vec<(&'static str, CallAnswer)> = Vec::new();
    for word in words {
        let (name, inverted) = word.inverted();
        let (name, answer) = name.split_once(':').map_or((name, None), |(name, answer)| (name, Some(answer)));
        let answer = answer.and_then(error);
        let own = answer.map(|number| number.map_or(CallAnswer::Kill, CallAnswer::Errno));
        if allow.is_none() && !inverted {
            // What every program needs is allowed with any list, until a later word takes it out.
            let needed = calls::set("@default").unwrap_or_default().into_iter().chain(["execve"]);
            listed.extend(needed.map(|name| (name, CallAnswer::Allow)));
        }
        let list = *allow.get_or_insert(!inverted);
        let names = match calls::set(name) {
            Some(all) => all,
            None => calls::known().find(|known| *known == name).into_iter().collect(),
        };
        for name in names {
            let at = listed.iter().position(|(known, _)| *known == name);
            let answer = match (list, inverted, own) {
                // An allowed call with an error of its own, or a forbidden one.
                (_, _, Some(own)) => Some(own),
                (true, false, None) => Some(CallAnswer::Allow),
                (false, true, None) => Some(otherwise),
                (true, true, None) | (false, false, None) => None,
            };
            match (at, answer) {
                (Some(at), Some(answer)) => {
                    if let Some(entry) = listed.get_mut(at) {
                        entry.1 = answer;
                    }
                }
                (Some(at), None) => drop(listed.remove(at)),
                (None, Some(answer)) => listed.push((name, answer)),
                (None, None) => {}
            }
        }
    }
    let Some(allow) = allow else { return Ok(None) };
    let fate = listed
        .iter()
        .find(|(name, _)| *name == "execve")
        .map_or(if allow { otherwise } else { CallAnswer::Allow }, |(_, answer)| *answer);
    if fate != CallAnswer::Allow {
        return Err("`SystemCallFilter` forbids execve, so no program can be started".to_owned());
    }
    Ok(Some(Calls { listed, otherwise: if allow { otherwise } else { CallAnswer::Allow } }))
}

fn families<'a>(words: impl Iterator<Item = &'a Word>) -> Option<Families> {
    let mut all: Option<Families> = None;
    for word in words {
        let (name, inverted) = word.inverted();
        let families = all.get_or_insert_with(|| Families { allow: !inverted, list: Vec::new() });
        let Some(number) = find(FAMILIES, name) else { continue };
        families.list.retain(|known| *known != number);
        if families.allow != inverted {
            families.list.push(number);
        }
    }
    all
}

/// The kinds that are forbidden.
fn namespaces<'a>(words: impl Iterator<Item = &'a Word>) -> u32 {
    let every = NAMESPACES.iter().fold(0, |all, (_, flag)| all | flag);
    let mut allowed: Option<u32> = None;
    for word in words {
        let (name, inverted) = word.inverted();
        let flag = find(NAMESPACES, name).unwrap_or(0);
        allowed = match (name, inverted, allowed) {
            ("yes", false, _) => Some(0),
            ("no", false, _) => None,
            (_, true, allowed) => Some(allowed.unwrap_or(every) & !flag),
            (_, false, allowed) => Some(allowed.unwrap_or(0) | flag),
        };
    }
    allowed.map_or(0, |allowed| every & !allowed)
}

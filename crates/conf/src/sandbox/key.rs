//! THE table of what `sandbox` takes: the settings of systemd.exec(5) that portreeve applies, each with the shape of its value. A word
//! is `Key` or `Key=value`; here its value is checked, what it comes to is `build`'s.

use super::addresses;
use super::bind::Bind;
use super::calls;
use super::group;
use super::names::{self, ERRORS, FAMILIES, NAMESPACES, SECURE_BITS};
use super::shares;
use crate::nearest::nearest;
use crate::systemd::Network;

/// What stands behind the `=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// `yes`, which need not be written, or `no`.
    Switch,
    /// The same, or one of these.
    Choice(&'static [&'static str]),
    /// One of these, none of which is a `yes`.
    Word(&'static [&'static str]),
    /// A path, with `-` where it need not be there, and `+` where it is one below the root directory.
    Path,
    /// The directory that is the root.
    Root,
    /// A path and `:options`.
    Empty,
    /// A path of the host, `:` and the path where it is seen, `:` and how.
    Bind,
    /// A bit of prctl(2) PR_SET_SECUREBITS.
    SecureBit,
    /// A capability, `~` before it, or `none`.
    Capability,
    /// A system call or a set of them, `~` before it, `:error` behind it.
    Call,
    /// What a call that is not allowed fails with.
    Error,
    /// A family, `~` before it, or `none`.
    Family,
    /// A kind of namespace, `~` before it, or `yes`.
    Namespace,
    /// So much of what the machine has, or `infinity`.
    Amount,
    /// A device, and what may be done with it.
    Device,
    /// An address, a network, or the name of some.
    Network,
    /// A share of one processor.
    Quota,
    /// A span of time.
    Span,
    /// What it has beside others; whether `idle` is one.
    Weight(bool),
}

impl Shape {
    /// Whether several words of this key go together; else the last one counts.
    pub(crate) fn is_list(self) -> bool {
        !matches!(self, Self::Switch | Self::Choice(_) | Self::Word(_) | Self::Root | Self::Error)
            && !self.is_bound()
    }

    /// Whether it is one value that a control group keeps.
    pub(crate) fn is_bound(self) -> bool {
        matches!(self, Self::Amount | Self::Quota | Self::Span | Self::Weight(_))
    }
}

/// In the order in which they are told.
pub(crate) const KEYS: &[(&str, Shape)] = &[
    ("NoNewPrivileges", Shape::Switch),
    ("ProtectSystem", Shape::Choice(&["full", "strict"])),
    ("ProtectHome", Shape::Choice(&["read-only", "tmpfs"])),
    ("PrivateTmp", Shape::Choice(&["disconnected"])),
    ("PrivateDevices", Shape::Switch),
    ("PrivateNetwork", Shape::Switch),
    ("PrivateIPC", Shape::Switch),
    ("PrivateUsers", Shape::Choice(&["self", "identity"])),
    ("PrivateMounts", Shape::Switch),
    ("KeyringMode", Shape::Word(&["inherit", "private", "shared"])),
    ("ProtectKernelTunables", Shape::Switch),
    ("ProtectKernelModules", Shape::Switch),
    ("ProtectKernelLogs", Shape::Switch),
    ("ProtectControlGroups", Shape::Switch),
    ("ProtectClock", Shape::Switch),
    ("ProtectHostname", Shape::Switch),
    ("ProtectProc", Shape::Word(&["noaccess", "invisible", "ptraceable", "default"])),
    ("ProcSubset", Shape::Word(&["all", "pid"])),
    ("RootDirectory", Shape::Root),
    ("MountAPIVFS", Shape::Word(&["yes", "no"])),
    ("ReadWritePaths", Shape::Path),
    ("ReadOnlyPaths", Shape::Path),
    ("InaccessiblePaths", Shape::Path),
    ("ExecPaths", Shape::Path),
    ("NoExecPaths", Shape::Path),
    ("TemporaryFileSystem", Shape::Empty),
    ("BindPaths", Shape::Bind),
    ("BindReadOnlyPaths", Shape::Bind),
    ("CapabilityBoundingSet", Shape::Capability),
    ("AmbientCapabilities", Shape::Capability),
    ("SecureBits", Shape::SecureBit),
    ("LockPersonality", Shape::Switch),
    ("MemoryDenyWriteExecute", Shape::Switch),
    ("RestrictRealtime", Shape::Switch),
    ("RestrictSUIDSGID", Shape::Switch),
    ("RestrictNamespaces", Shape::Namespace),
    ("RestrictAddressFamilies", Shape::Family),
    ("SystemCallArchitectures", Shape::Word(&["native"])),
    ("SystemCallFilter", Shape::Call),
    ("SystemCallErrorNumber", Shape::Error),
    ("DevicePolicy", Shape::Word(&["auto", "closed", "strict"])),
    ("DeviceAllow", Shape::Device),
    ("IPAddressAllow", Shape::Network),
    ("IPAddressDeny", Shape::Network),
    ("MemoryMax", Shape::Amount),
    ("MemoryHigh", Shape::Amount),
    ("MemorySwapMax", Shape::Amount),
    ("TasksMax", Shape::Amount),
    ("CPUQuota", Shape::Quota),
    ("CPUQuotaPeriodSec", Shape::Span),
    ("CPUWeight", Shape::Weight(true)),
    ("IOWeight", Shape::Weight(false)),
    ("DynamicUser", Shape::Switch),
];

/// The word that forgets what stands before it.
pub(crate) const OFF: &str = "off";

/// A word of `sandbox` that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) key: &'static str,
    pub(crate) shape: Shape,
    /// `yes` and `no` of what may be written otherwise.
    pub(crate) value: String,
}

impl Word {
    /// As it is told.
    pub(crate) fn text(&self) -> String {
        match (self.shape, self.value.as_str()) {
            (Shape::Switch | Shape::Choice(_), "yes") => self.key.to_owned(),
            (_, value) => format!("{}={value}", self.key),
        }
    }

    /// Whether with it other files than the host's may stand where the program is.
    pub(crate) fn moves(&self) -> bool {
        match self.shape {
            Shape::Root => self.value != "/",
            Shape::Bind => self.bind().is_some_and(|bind| bind.source != bind.destination),
            _ => false,
        }
    }

    /// What it puts where.
    pub(crate) fn bind(&self) -> Option<Bind> {
        Some(&self.value).filter(|_| self.shape == Shape::Bind).and_then(|value| Bind::read(value).ok())
    }

    /// Whether it asks for anything: a switch that is off does not.
    pub(super) fn asks(&self) -> bool {
        self.value != "no" || matches!(self.shape, Shape::Word(_))
    }

    /// Its value without `~`, and whether there was one.
    pub(crate) fn inverted(&self) -> (&str, bool) {
        self.value.strip_prefix('~').map_or((self.value.as_str(), false), |value| (value, true))
    }
}

/// Why a word is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// A sentence.
    pub(crate) message: String,
    /// What is expected.
    pub(crate) help: String,
    /// It is the name of a system call that nobody knows: to allow it allows nothing.
    pub(crate) unknown_call: bool,
}

fn fault<T>(message: impl Into<String>, help: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { message: message.into(), help: help.into(), unknown_call: false })
}

fn near<'a>(word: &str, known: impl IntoIterator<Item = &'a str>, otherwise: &str) -> String {
    nearest(word, known).map_or_else(|| otherwise.to_owned(), |near| format!("did you mean `{near}`?"))
}

/// The shape of a key's values; `None` where portreeve applies no such setting.
fn shape(key: &str) -> Option<(&'static str, Shape)> {
    KEYS.iter().find(|(known, _)| known.eq_ignore_ascii_case(key)).copied()
}

/// Reads a word.
pub(crate) fn word(text: &str) -> Result<Word, Fault> {
    let (key, value) = text.split_once('=').map_or((text, None), |(key, value)| (key, Some(value)));
    let Some((key, shape)) = shape(key) else {
        let known = KEYS.iter().map(|(key, _)| *key).chain([OFF]);
        let help = near(key, known, "the settings are listed by `portreeve attributes sandbox`");
        return fault(format!("`{key}` is no setting of a sandbox"), help);
    };
    let value = match (shape, value) {
        (Shape::Switch | Shape::Choice(_), None) => "yes",
        (_, None | Some("")) => return fault(format!("`{key}` needs a value"), form(key, shape)),
        (_, Some(value)) => value,
    };
    let value = read(key, shape, value)?;
    Ok(Word { key, shape, value })
}

/// How a word with this key is written.
fn form(key: &str, shape: Shape) -> String {
    match shape {
        Shape::Switch => key.to_owned(),
        Shape::Choice(words) => format!("{key} or {key}={}", words.join("|")),
        Shape::Word(words) => format!("{key}={}", words.join("|")),
        Shape::Path => format!("{key}=[-][+]/PATH"),
        Shape::Root => format!("{key}=/PATH"),
        Shape::Empty => format!("{key}=/PATH[:OPTION,…]"),
        Shape::Bind => format!("{key}=[-]/SOURCE[:/PATH[:rbind|norbind]]"),
        Shape::SecureBit => format!("{key}={}", SECURE_BITS.map(|(name, _)| name).join("|")),
        Shape::Capability => format!("{key}=[~]CAP_NAME or {key}=none"),
        Shape::Call => format!("{key}=[~]CALL or {key}=[~]@SET"),
        Shape::Error => format!("{key}=EPERM, another error, or kill"),
        Shape::Family => format!("{key}=[~]AF_NAME or {key}=none"),
        Shape::Namespace => format!("{key}=yes or {key}=[~]KIND"),
        Shape::Amount => format!("{key}=NUMBER, with K, M, G or T, {key}=SHARE% or {key}=infinity"),
        Shape::Network => format!("{key}=ADDRESS[/LENGTH] or {key}={}", addresses::NAMES.join("|")),
        Shape::Quota => format!("{key}=SHARE% of one processor: 200% is two"),
        Shape::Span => format!("{key}=SPAN, as 10ms"),
        Shape::Weight(true) => format!("{key}=1 to 10000, or idle"),
        Shape::Weight(false) => format!("{key}=1 to 10000"),
        Shape::Device => format!("{key}=/dev/NODE[:rwm], {key}=char-KIND[:rwm] or {key}=block-KIND[:rwm]"),
    }
}

fn read(key: &str, shape: Shape, value: &str) -> Result<String, Fault> {
    let (bare, inverted) = value.strip_prefix('~').map_or((value, false), |bare| (bare, true));
    let told = |bare: &str| if inverted { format!("~{bare}") } else { bare.to_owned() };
    let none = bare.eq_ignore_ascii_case("none") && !inverted;
    match shape {
        Shape::Switch | Shape::Choice(_) => {
            if let Some(on) = crate::systemd::boolean(value) {
                return Ok(if on { "yes" } else { "no" }.to_owned());
            }
            let words = if let Shape::Choice(words) = shape { words } else { &[] };
            choice(key, shape, value, words)
        }
        Shape::Word(words) => match crate::systemd::boolean(value).filter(|_| words.contains(&"no")) {
            Some(on) => Ok(if on { "yes" } else { "no" }.to_owned()),
            None => choice(key, shape, value, words),
        },
        Shape::Path => path(key, shape, value),
        Shape::Root => match path(key, shape, value)? {
            path if path.starts_with('/') => Ok(path),
            _ => fault(format!("`{value}` is no absolute path without `..`"), form(key, shape)),
        },
        Shape::Empty => empty(key, shape, value),
        Shape::Bind => bind(key, shape, value),
        Shape::SecureBit => choice(key, shape, value, &SECURE_BITS.map(|(name, _)| name)),
        Shape::Capability if none => Ok("none".to_owned()),
        Shape::Capability if inverted && bare.is_empty() => Ok("~".to_owned()),
        Shape::Capability => match names::capability(bare) {
            Some(_) => Ok(told(&bare.to_ascii_uppercase())),
            None => {
                let help = near(&bare.to_ascii_uppercase(), names::capabilities(), "see capabilities(7)");
                fault(format!("`{bare}` is no capability"), help)
            }
        },
        Shape::Call => call(value, bare),
        Shape::Amount if group::amount(value).is_some() => Ok(value.to_owned()),
        Shape::Amount => fault(format!("`{value}` is no amount"), form(key, shape)),
        Shape::Network => network(key, shape, value),
        Shape::Quota if shares::share(value).is_some() => Ok(value.to_owned()),
        Shape::Quota => fault(format!("`{value}` is no share of a processor"), form(key, shape)),
        Shape::Span if crate::systemd::span(value).is_some() => Ok(value.to_owned()),
        Shape::Span => fault(format!("`{value}` is no span of time"), form(key, shape)),
        Shape::Weight(idle) if shares::weight(value, idle).is_some() => Ok(value.to_owned()),
        Shape::Weight(idle) => {
            let help = near(value, idle.then_some("idle"), &form(key, shape));
            fault(format!("`{value}` is no weight"), help)
        }
        Shape::Device if group::device(value).is_some() => Ok(value.to_owned()),
        Shape::Device => fault(format!("`{value}` names no device"), form(key, shape)),
        Shape::Error => match error(value) {
            Some(_) => Ok(value.to_owned()),
            None => fault(format!("`{value}` is no error"), form(key, shape)),
        },
        Shape::Family if none => Ok("none".to_owned()),
        Shape::Family => match FAMILIES.iter().find(|(name, _)| name.eq_ignore_ascii_case(bare)) {
            Some((name, _)) => Ok(told(name)),
            None => {
                let known = FAMILIES.iter().map(|(name, _)| *name);
                fault(
                    format!("`{bare}` is no address family"),
                    near(&bare.to_ascii_uppercase(), known, "see address_families(7)"),
                )
            }
        },
        Shape::Namespace => {
            if let Some(on) = crate::systemd::boolean(value) {
                return Ok(if on { "yes" } else { "no" }.to_owned());
            }
            match NAMESPACES.iter().find(|(name, _)| *name == bare) {
                Some((name, _)) => Ok(told(name)),
                None => {
                    let known: Vec<&str> = NAMESPACES.iter().map(|(name, _)| *name).collect();
                    fault(format!("`{bare}` is no kind of namespace"), crate::nearest::help(bare, &known))
                }
            }
        }
    }
}

fn network(key: &str, shape: Shape, value: &str) -> Result<String, Fault> {
    match Network::parse(value).map(|networks| addresses::mapped(&networks)) {
        Some(None) => Ok(value.to_owned()),
        Some(Some(meant)) => {
            fault(format!("`{value}` stands on no packet: IPv4 is IPv4 there"), format!("write `{meant}`"))
        }
        None => {
            let help = near(value, addresses::NAMES, &form(key, shape));
            fault(format!("`{value}` is no address and no network"), help)
        }
    }
}

fn choice(key: &str, shape: Shape, value: &str, words: &[&str]) -> Result<String, Fault> {
    match words.iter().find(|word| word.eq_ignore_ascii_case(value)) {
        Some(word) => Ok((*word).to_owned()),
        None => fault(
            format!("`{value}` is no value of {key}"),
            near(value, words.iter().copied(), &form(key, shape)),
        ),
    }
}

/// Absolute, without steps back, so that what it is about can be told from its text.
fn path(key: &str, shape: Shape, value: &str) -> Result<String, Fault> {
    let (dash, rest) = value.strip_prefix('-').map_or(("", value), |rest| ("-", rest));
    let (plus, rest) = rest.strip_prefix('+').map_or(("", rest), |rest| ("+", rest));
    let Some(path) = absolute(rest) else {
        return fault(format!("`{rest}` is no absolute path without `..`"), form(key, shape));
    };
    if path == "/" && key == "InaccessiblePaths" {
        // A cover over the root does not cover who has it as root already.
        return fault("`/` cannot be covered".to_owned(), form(key, shape));
    }
    Ok(format!("{dash}{plus}{path}"))
}

/// Such a path, clean.
pub(super) fn absolute(path: &str) -> Option<String> {
    let fine = path.starts_with('/') && !path.split('/').any(|part| part == "..") && !path.contains('\0');
    fine.then(|| clean(path))
}

/// A path without `.`, doubled slashes and one at its end.
pub(super) fn clean(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    format!("/{}", parts.join("/"))
}

fn empty(key: &str, shape: Shape, value: &str) -> Result<String, Fault> {
    let (place, options) = value.split_once(':').map_or((value, None), |(place, more)| (place, Some(more)));
    let place = path(key, shape, place)?;
    if place == "/" || !place.starts_with('/') {
        return fault(format!("`{place}` cannot be covered"), form(key, shape));
    }
    for option in options.iter().flat_map(|options| options.split(',')) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let number = |suffixes: &str| {
            let digits = value.trim_end_matches(|c| suffixes.contains(c));
            !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) && value.len() - digits.len() < 2
        };
        let fine = match name {
            "ro" | "rw" | "exec" | "noexec" | "suid" | "nosuid" | "dev" | "nodev" => value.is_empty(),
            "size" | "nr_inodes" => number("kKmMgG%"),
            "mode" => !value.is_empty() && value.len() < 6 && value.bytes().all(|b| matches!(b, b'0'..=b'7')),
            "uid" | "gid" => number(""),
            _ => false,
        };
        if !fine {
            let help = "size=, nr_inodes=, mode=, uid=, gid=, ro, noexec, nosuid, nodev";
            return fault(format!("`{option}` is no option of a file system in memory"), help);
        }
    }
    Ok(options.map_or(place.clone(), |options| format!("{place}:{options}")))
}

fn bind(key: &str, shape: Shape, value: &str) -> Result<String, Fault> {
    match Bind::read(value) {
        Ok(bind) => Ok(bind.text()),
        Err((message, how)) => {
            let last = value.rsplit(':').next().filter(|_| how).unwrap_or_default();
            fault(message, near(last, ["rbind", "norbind"], &form(key, shape)))
        }
    }
}

fn call(value: &str, bare: &str) -> Result<String, Fault> {
    let (name, answer) = bare.split_once(':').map_or((bare, None), |(name, answer)| (name, Some(answer)));
    if let Some(answer) = answer.filter(|answer| error(answer).is_none()) {
        return fault(format!("`{answer}` is no error"), "EPERM, another error, or kill");
    }
    if name.starts_with('@') {
        return match calls::set(name) {
            Some(_) => Ok(value.to_owned()),
            None => fault(
                format!("`{name}` is no set of system calls"),
                near(name, calls::sets(), "see `systemd-analyze syscall-filter`"),
            ),
        };
    }
    if calls::known().any(|known| known == name) {
        return Ok(value.to_owned());
    }
    let help = near(name, calls::known(), "see syscalls(2)");
    Err(Fault { message: format!("`{name}` is no system call"), help, unknown_call: true })
}

/// The number of an error, or `None` inside for `kill`.
pub(super) fn error(text: &str) -> Option<Option<u16>> {
    if text.eq_ignore_ascii_case("kill") {
        return Some(None);
    }
    let number = text.parse::<u16>().ok().filter(|number| (1..=4095).contains(number));
    names::find(ERRORS, text).or(number).map(Some)
}

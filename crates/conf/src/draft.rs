//! A section while it is read: what was set, by whom and where. Holds no rule about what fits together.

use crate::address::Pattern;
use crate::attribute::Id;
use crate::host::User;
use crate::place::Place;
use crate::rare::Rare;
use crate::redirect::{ProxyProtocol, Target};
use crate::rlimits::Rlimits;
use crate::sandbox::Word;
use crate::service::{
    AddressEntry, BindTo, DenyTime, Limit, LogFailure, LogSuccess, LogType, OnRemove, Overload, Set,
    SocketType, Stop, Window,
};
use crate::text::Text;
use crate::tls::TlsDraft;
use crate::verify::Verify;

/// A word of `bind` as far as it is known when its line is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    /// What it means.
    Fixed(BindTo),
    /// A name with several addresses: the family flags decide later.
    Deferred,
}

/// An address list while it is edited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AddressSet {
    /// Each pattern with the word it came from.
    pub(crate) entries: Vec<(Pattern, Text, Place)>,
    /// The line that first set it.
    pub(crate) place: Option<Place>,
}

impl AddressSet {
    /// The list as the service has it: one entry for each word.
    pub(crate) fn entries(&self) -> Vec<AddressEntry> {
        self.entries
            .iter()
            .map(|(pattern, text, place)| AddressEntry {
                text: text.clone(),
                place: place.clone(),
                matches: pattern.matches(),
            })
            .collect()
    }
}

/// Attributes that were given a value in this very section, as xinetd marks them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks(u128);

impl Marks {
    pub(crate) fn has(self, id: Id) -> bool {
        self.0 & 1 << id as u64 != 0
    }

    pub(crate) fn add(&mut self, id: Id) {
        self.0 |= 1 << id as u64;
    }
}

/// Bits of the words of a closed set, by their index in its table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WordBits(u16);

impl WordBits {
    pub(crate) fn set(&mut self, index: usize, on: bool) {
        let bit = 1u16.checked_shl(u32::try_from(index).unwrap_or(u32::MAX)).unwrap_or(0);
        self.0 = if on { self.0 | bit } else { self.0 & !bit };
    }

    pub(crate) fn has(self, index: usize) -> bool {
        self.0 >> index.min(15) & 1 == 1
    }
}

/// Words of `type`: indices into `attributes::TYPES`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Type {
    Rpc,
    Internal,
    Unlisted,
    Tcpmux = 4,
    Tcpmuxplus,
}

/// Words of `flags`: indices into `attributes::FLAGS`.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Flag {
    Intercept = 1,
    Noretry,
    Nameinargs = 4,
    Nodelay,
    Keepalive,
    Nolibwrap,
    Sensor,
    Ipv4,
    Ipv6,
    Labeled,
    Freebind,
}

/// What a section says of the file of a unix socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RightsDraft {
    pub(crate) owner: Option<u32>,
    pub(crate) group: Option<u32>,
    pub(crate) mode: Option<u32>,
}

/// What a section says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    /// `None` for `defaults`.
    pub(crate) name: Option<Text>,
    pub(crate) marks: Marks,
    /// Why the service cannot be served; the first reason.
    pub(crate) broken: Option<String>,
    pub(crate) types: WordBits,
    pub(crate) flags: WordBits,
    pub(crate) id: Option<Text>,
    pub(crate) disable: Option<bool>,
    pub(crate) socket: Option<SocketType>,
    pub(crate) protocol: Option<(Text, i32)>,
    pub(crate) port: Option<(u16, u16)>,
    pub(crate) bind: Option<Set<Vec<(Text, Bound)>>>,
    pub(crate) v6only: Option<bool>,
    pub(crate) rights: RightsDraft,
    pub(crate) wait: Option<bool>,
    pub(crate) user: Option<User>,
    /// The user was given as a number.
    pub(crate) user_is_number: bool,
    pub(crate) group: Option<u32>,
    pub(crate) groups: Option<bool>,
    pub(crate) server: Option<Set<Text>>,
    pub(crate) args: Option<Vec<Text>>,
    pub(crate) instances: Option<Set<Limit>>,
    pub(crate) per_source: Option<Set<Limit>>,
    pub(crate) per_source_prefix: Option<Set<(u8, u8)>>,
    pub(crate) starts_per_minute: Option<Set<Limit>>,
    pub(crate) source_starts_per_minute: Option<Set<Limit>>,
    pub(crate) cps: Option<Set<(u32, u32)>>,
    pub(crate) overload: Option<Set<Overload>>,
    pub(crate) max_load: Option<Set<f64>>,
    pub(crate) only_from: Option<AddressSet>,
    pub(crate) no_access: Option<AddressSet>,
    pub(crate) access_times: Option<Set<Vec<Window>>>,
    pub(crate) deny_time: Option<Set<DenyTime>>,
    pub(crate) libwrap: Option<Text>,
    pub(crate) nice: Option<i32>,
    pub(crate) umask: Option<u32>,
    pub(crate) rlimits: Rare<Rlimits>,
    pub(crate) env: Option<Vec<(String, String)>>,
    pub(crate) passenv: Option<Vec<String>>,
    pub(crate) banner: Option<Set<Text>>,
    pub(crate) banner_success: Option<Set<Text>>,
    pub(crate) banner_fail: Option<Set<Text>>,
    pub(crate) log_type: Option<Set<LogType>>,
    pub(crate) log_success: LogSuccess,
    pub(crate) log_failure: LogFailure,
    /// Where to; none where it is not redirected.
    pub(crate) redirect: Vec<Target>,
    /// Where that stands.
    pub(crate) redirect_place: Option<Place>,
    pub(crate) proxy_protocol: Option<ProxyProtocol>,
    pub(crate) rpc_versions: Option<(u32, u32)>,
    pub(crate) rpc_number: Option<u32>,
    pub(crate) on_remove: Option<OnRemove>,
    pub(crate) stop: Option<Stop>,
    pub(crate) idle_timeout: Option<u32>,
    pub(crate) transparent: Option<bool>,
    pub(crate) enabled: Option<Vec<String>>,
    pub(crate) disabled: Option<Vec<String>>,
    pub(crate) protect: Option<AddressSet>,
    pub(crate) watch_scans: Option<bool>,
    pub(crate) proxy_from: Option<AddressSet>,
    pub(crate) tls: TlsDraft,
    pub(crate) listen_fds: Option<Text>,
    pub(crate) sandbox: Option<Set<Vec<Word>>>,
    /// Its program lies where other files than the host's may be.
    pub(crate) rooted: bool,
    pub(crate) evidence: Option<bool>,
    pub(crate) protect_only_from: Option<bool>,
    pub(crate) protect_groups: Option<Vec<String>>,
    pub(crate) verify_server: Option<Verify>,
    pub(crate) trusted_programs: Option<String>,
}

impl Draft {
    pub(crate) fn is(&self, what: Type) -> bool {
        self.types.has(what as usize)
    }

    pub(crate) fn flag(&self, flag: Flag) -> bool {
        self.flags.has(flag as usize)
    }

    /// The service's name.
    pub(crate) fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// The same, to keep.
    pub(crate) fn name_text(&self) -> Text {
        self.name.clone().unwrap_or_default()
    }

    /// The service's id: its name where none was set.
    pub(crate) fn id(&self) -> &str {
        self.id.as_deref().unwrap_or(self.name())
    }

    /// The same, to keep.
    pub(crate) fn id_text(&self) -> Text {
        self.id.clone().unwrap_or_else(|| self.name_text())
    }

    pub(crate) fn is_redirected(&self) -> bool {
        !self.redirect.is_empty()
    }

    /// What xinetd calls the section in its messages.
    pub(crate) fn shown_name(&self) -> &str {
        self.name.as_deref().unwrap_or("(null)")
    }

    pub(crate) fn is_mux(&self) -> bool {
        self.is(Type::Tcpmux) || self.is(Type::Tcpmuxplus)
    }

    /// Keeps the first reason.
    pub(crate) fn break_off(&mut self, reason: &str) {
        self.broken.get_or_insert_with(|| reason.to_owned());
    }

    /// A service that starts from `defaults`: what a line of the service itself then replaces or edits.
    pub(crate) fn starting_from(name: &Text, defaults: &Self) -> Self {
        Self {
            name: Some(name.clone()),
            log_success: defaults.log_success,
            log_failure: defaults.log_failure,
            only_from: defaults.only_from.clone(),
            no_access: defaults.no_access.clone(),
            passenv: defaults.passenv.clone(),
            banner: defaults.banner.clone(),
            banner_success: defaults.banner_success.clone(),
            banner_fail: defaults.banner_fail.clone(),
            sandbox: defaults.sandbox.clone(),
            rooted: defaults.sandbox.as_ref().is_some_and(|set| set.value.iter().any(Word::moves)),
            ..Self::default()
        }
    }

    /// What `defaults` settles where the service itself says nothing.
    pub(crate) fn fill_from(&mut self, defaults: &Self) {
        macro_rules! fill {
            ($($field:ident)*) => { $(if self.$field.is_none() { self.$field = defaults.$field.clone(); })* };
        }
        fill!(instances per_source per_source_prefix cps overload max_load groups umask bind v6only log_type);
        fill!(starts_per_minute source_starts_per_minute);
        fill!(on_remove stop idle_timeout verify_server);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attributes::{FLAGS, TYPES};

    #[test]
    fn indices_fit_their_tables() {
        assert_eq!(TYPES[Type::Tcpmuxplus as usize], "TCPMUXPLUS");
        assert_eq!(TYPES[Type::Unlisted as usize], "UNLISTED");
        assert_eq!(FLAGS[Flag::Labeled as usize], "LABELED");
        assert_eq!(FLAGS[Flag::Freebind as usize], "FREEBIND");
        assert_eq!(FLAGS[Flag::Sensor as usize], "SENSOR");
        assert!((Id::RlimitRttime as usize) < 128);
    }
}

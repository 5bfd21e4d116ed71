//! What a process is to become: path, arguments, environment, ids, limits. Owns every byte that the child of
//! [`crate::spawn`] will read, converted once when the configuration is loaded. Starts nothing.

use crate::onward::Onward;
use crate::sandbox::Sandbox;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char, c_int};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

/// The ids that a process takes. Without root the groups are left alone, as xinetd does (xinetd.md §7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    /// Real, effective and saved user id.
    pub uid: u32,
    /// Real, effective and saved group id.
    pub gid: u32,
    /// Supplementary groups; empty means none at all.
    pub groups: Vec<u32>,
}

/// A resource limit of setrlimit(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RlimitKind {
    /// Address space, bytes.
    As,
    /// CPU time, seconds.
    Cpu,
    /// Data segment, bytes.
    Data,
    /// Resident set, bytes (the kernel ignores it).
    Rss,
    /// Stack, bytes.
    Stack,
    /// Highest descriptor number plus one.
    Nofile,
    /// Core file, bytes.
    Core,
    /// Processes of the user.
    Nproc,
    /// Size of a written file, bytes.
    Fsize,
    /// Locked memory, bytes.
    Memlock,
    /// Locked files.
    Locks,
    /// Queued signals of the user.
    Sigpending,
    /// Message queues of the user, bytes.
    Msgqueue,
    /// How far the niceness may go down: 20 minus it.
    Nice,
    /// Realtime priority.
    Rtprio,
    /// Realtime without a pause, microseconds.
    Rttime,
}

impl RlimitKind {
    fn resource(self) -> c_int {
        // glibc declares the constants unsigned, musl signed; the kernel takes a small number.
        (match self {
            Self::As => libc::RLIMIT_AS,
            Self::Cpu => libc::RLIMIT_CPU,
            Self::Data => libc::RLIMIT_DATA,
            Self::Rss => libc::RLIMIT_RSS,
            Self::Stack => libc::RLIMIT_STACK,
            Self::Nofile => libc::RLIMIT_NOFILE,
            Self::Core => libc::RLIMIT_CORE,
            Self::Nproc => libc::RLIMIT_NPROC,
            Self::Fsize => libc::RLIMIT_FSIZE,
            Self::Memlock => libc::RLIMIT_MEMLOCK,
            Self::Locks => libc::RLIMIT_LOCKS,
            Self::Sigpending => libc::RLIMIT_SIGPENDING,
            Self::Msgqueue => libc::RLIMIT_MSGQUEUE,
            Self::Nice => libc::RLIMIT_NICE,
            Self::Rtprio => libc::RLIMIT_RTPRIO,
            Self::Rttime => libc::RLIMIT_RTTIME,
        }) as c_int
    }
}

/// The fields of an [`Image`], filled by whoever reads the configuration.
#[derive(Debug, Default)]
pub struct ImageBuilder {
    /// The program, as execve takes it: no search in PATH.
    pub path: CString,
    /// Arguments, argv\[0\] included.
    pub argv: Vec<CString>,
    /// Environment, each `KEY=value`; what differs per start is added by `Spawner::spawn`.
    pub env: Vec<CString>,
    /// Ids to take, or none to stay as the supervisor is.
    pub ids: Option<Ids>,
    /// File mode creation mask, or inherited.
    pub umask: Option<u32>,
    /// Relative niceness, as nice(2).
    pub nice: Option<i32>,
    /// Limits in the order they are set: kind, soft, hard; `u64::MAX` is infinity.
    pub rlimits: Vec<(RlimitKind, u64, u64)>,
    /// Working directory; empty leaves the supervisor's.
    pub dir: CString,
    /// Whether to start a session (and process group) of its own.
    pub new_session: bool,
    /// An open `cgroup.procs` that the child joins before it gives up its privileges.
    pub cgroup_procs: Option<OwnedFd>,
    /// The way on from there, for the program: in a group whose processors are few the supervisor would wait with the child.
    pub onward: Option<Onward>,
    /// What the program is confined to; without it not one more system call is made.
    pub sandbox: Option<Box<Sandbox>>,
}

impl ImageBuilder {
    /// Converts the fields into the form that a start reads.
    #[must_use]
    pub fn build(self) -> Image {
        let rlimits = self
            .rlimits
            .iter()
            .map(|&(kind, soft, hard)| Limit { resource: kind.resource(), value: [soft, hard] })
            .collect();
        Image {
            path: self.path,
            argv: Strings::pack(&self.argv),
            env: shared(Strings::pack(&self.env)),
            ids: self.ids,
            umask: self.umask,
            nice: self.nice.filter(|&n| n != 0),
            rlimits,
            dir: self.dir,
            new_session: self.new_session,
            cgroup_procs: self.cgroup_procs,
            onward: self.onward,
            sandbox: self.sandbox,
        }
    }
}

/// A process to be, complete but for what differs per start. Immutable; one per service.
#[derive(Debug)]
pub struct Image {
    pub(crate) path: CString,
    pub(crate) argv: Strings,
    pub(crate) env: Arc<Strings>,
    pub(crate) ids: Option<Ids>,
    pub(crate) umask: Option<u32>,
    pub(crate) nice: Option<i32>,
    pub(crate) rlimits: Box<[Limit]>,
    pub(crate) dir: CString,
    pub(crate) new_session: bool,
    pub(crate) cgroup_procs: Option<OwnedFd>,
    pub(crate) onward: Option<Onward>,
    pub(crate) sandbox: Option<Box<Sandbox>>,
}

impl Image {
    /// The program that will be executed.
    #[must_use]
    pub fn path(&self) -> &CStr {
        &self.path
    }

    /// What the program is confined to.
    #[must_use]
    pub fn sandbox(&self) -> Option<&Sandbox> {
        self.sandbox.as_deref()
    }
}

thread_local! {
    /// The environment that was packed last.
    static LAST: RefCell<Weak<Strings>> = const { RefCell::new(Weak::new()) };
}

/// One copy for neighbours that are equal: a thousand services that inherit the supervisor's environment are built
/// one after the other and hold it once (1.3 of 5 MiB without this).
fn shared(packed: Strings) -> Arc<Strings> {
    LAST.with_borrow_mut(|last| match last.upgrade().filter(|l| **l == packed) {
        Some(same) => same,
        None => {
            let new = Arc::new(packed);
            *last = Arc::downgrade(&new);
            new
        }
    })
}

/// A limit in the kernel's form: `struct rlimit64` is two u64, soft then hard, with all ones for infinity.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    pub(crate) resource: c_int,
    pub(crate) value: [u64; 2],
}

/// NUL-terminated strings end to end in one allocation.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Strings {
    bytes: Box<[u8]>,
    starts: Box<[u32]>,
}

impl Strings {
    fn pack(strings: &[CString]) -> Self {
        let mut bytes = Vec::with_capacity(strings.iter().map(|s| s.as_bytes_with_nul().len()).sum());
        let mut starts = Vec::with_capacity(strings.len());
        for string in strings {
            // execve refuses more than a few MiB in all long before 4 GiB, so saturation is never reached by
            // an image that could run.
            starts.push(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
            bytes.extend_from_slice(string.as_bytes_with_nul());
        }
        Self { bytes: bytes.into(), starts: starts.into() }
    }

    /// The strings' addresses, valid as long as `self` lives.
    pub(crate) fn pointers(&self) -> impl Iterator<Item = *const c_char> {
        self.starts.iter().filter_map(|&start| self.bytes.get(start as usize..)).map(|s| s.as_ptr().cast())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(env: &[&CStr]) -> Image {
        ImageBuilder { env: env.iter().map(|&s| s.into()).collect(), ..ImageBuilder::default() }.build()
    }

    #[test]
    fn strings_keep_order_and_bounds() {
        let packed = Strings::pack(&[c"a".into(), c"".into(), c"long one".into()]);
        assert_eq!(&*packed.starts, &[0, 2, 3]);
        assert_eq!(&*packed.bytes, b"a\0\0long one\0");
        assert_eq!(packed.pointers().count(), 3);
    }

    #[test]
    fn equal_environments_are_shared_and_others_not() {
        let first = image(&[c"PATH=/bin", c"TZ=UTC"]);
        let same = image(&[c"PATH=/bin", c"TZ=UTC"]);
        assert!(Arc::ptr_eq(&first.env, &same.env));
        let other = image(&[c"PATH=/bin"]);
        assert!(!Arc::ptr_eq(&other.env, &first.env));
        assert_eq!((first.env.pointers().count(), other.env.pointers().count()), (2, 1));
        drop((first, same, other));
        assert_eq!(image(&[c"PATH=/bin"]).env.pointers().count(), 1, "nothing is kept for nobody");
    }
}

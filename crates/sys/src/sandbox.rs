//! What a started program is confined to: prepared by the parent, put on by the child of [`crate::spawn`] just before execve. Every
//! byte that the child needs is made here; it allocates nothing. A part that cannot be put on ends the child: the program does not
//! run, and [`Sandbox::failed`] names the part. The parent itself is never confined.
//!
//! Namespaces and mounts come first, while the child is root; then the bounding set, and the ids (`child`); then the secure bits and the
//! ambient capabilities; at the very end `no_new_privs` and the filters, since they forbid what the others need.

mod devices;
mod mounts;
mod points;
mod privileges;
mod root;

pub use devices::is_kept;
pub use mounts::{Link, Mount, MountKind};
pub use points::Point;
pub use root::{Root, path_in};

use crate::filter::Insn;
use std::ffi::{c_int, c_long};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Of [`MountKind::Empty`]: nothing is written there.
pub const READ_ONLY: u64 = libc::MS_RDONLY;
/// A set-user-ID program there is an ordinary one.
pub const NO_SUID: u64 = libc::MS_NOSUID;
/// A device there is none.
pub const NO_DEVICES: u64 = libc::MS_NODEV;
/// No program is executed from there.
pub const NO_PROGRAMS: u64 = libc::MS_NOEXEC;

/// Whether this thread may install filters without `no_new_privs`, and so may what it starts as root.
pub fn may_filter() -> bool {
    let own = rustix::thread::capabilities(None);
    own.is_ok_and(|own| own.effective.contains(rustix::thread::CapabilitySet::SYS_ADMIN))
}

/// Whether the kernel has what [`Sandbox::mounts`] needs: mount_setattr(2), of Linux 5.12.
pub fn kernel_has_views() -> bool {
    // Without attributes it answers EINVAL and changes nothing.
    !matches!(call(libc::SYS_mount_setattr, [usize::MAX, 0, 0, 0, 0]), Err(libc::ENOSYS))
}

/// Capabilities: bit n is number n of capabilities(7).
pub type Capabilities = u64;

/// What to confine a program to. The default confines nothing.
#[derive(Debug)]
pub struct Sandbox {
    /// The directory that becomes its root, before all mounts.
    pub root: Option<Root>,
    /// Mounts in a namespace of its own, in this order; `None` leaves it in the supervisor's.
    pub mounts: Option<Vec<Mount>>,
    /// Names that led to a path of those when they were made: where one leads elsewhere by now, nothing is started.
    pub links: Vec<Link>,
    /// The same of sources of binds, on the host.
    pub sources: Vec<Link>,
    /// Its session keyring.
    pub keyring: Keyring,
    /// A network namespace with a loopback interface of its own and nothing else.
    pub network: bool,
    /// System V IPC and message queues of its own.
    pub ipc: bool,
    /// A host name of its own.
    pub host_name: bool,
    /// The user namespace that it enters.
    pub users: Option<OwnedFd>,
    /// The bounding set.
    pub bounding: Capabilities,
    /// Capabilities that the program has whoever it runs as.
    pub ambient: Capabilities,
    /// SECBIT_… that it has, and no others; none leaves them as they are.
    pub secure_bits: u32,
    /// No set-user-ID program gives it anything.
    pub no_new_privs: bool,
    /// Filters of system calls, in the order in which they are installed: the last one need not allow to install another.
    pub filters: Vec<Vec<Insn>>,
    /// What was asked for and cannot be had on this machine: nothing is started.
    pub impossible: Option<String>,
    /// The part that the child is at.
    pub at: At,
}

/// What session keyring a program has: keys in one are everybody's who has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyring {
    /// The supervisor's.
    Inherit,
    /// A new one.
    Private,
    /// A new one, which leads to the keys of its user.
    Shared,
}

/// A part of a sandbox, as the child tells its parent.
#[derive(Debug, Default)]
pub struct At(AtomicUsize);

impl Default for Sandbox {
    fn default() -> Self {
        Self {
            root: None,
            mounts: None,
            links: Vec::new(),
            sources: Vec::new(),
            keyring: Keyring::Inherit,
            network: false,
            ipc: false,
            host_name: false,
            users: None,
            bounding: Capabilities::MAX,
            ambient: 0,
            secure_bits: 0,
            no_new_privs: false,
            filters: Vec::new(),
            impossible: None,
            at: At::default(),
        }
    }
}

/// Parts that are neither mounts nor links, by their numbers in `at`; behind them a mount is its index, a link its index behind those, then
/// come links of sources, and the source of a mount is its index behind all others.
const PARTS: [&str; 13] = [
    "",
    "a namespace of its own",
    "the loopback interface of its network",
    "its view of the file system",
    "the capability bounding set",
    "the ambient capabilities",
    "no_new_privs",
    "the filter of system calls",
    "",
    "the session keyring",
    "its user namespace",
    "its root directory",
    "the secure bits",
];
const NAMESPACE: usize = 1;
const LOOPBACK: usize = 2;
const VIEW: usize = 3;
const BOUNDING: usize = 4;
const AMBIENT: usize = 5;
const NO_NEW_PRIVS: usize = 6;
const FILTER: usize = 7;
const IMPOSSIBLE: usize = 8;
const KEYRING: usize = 9;
const USERS: usize = 10;
const ROOT: usize = 11;
const SECURE_BITS: usize = 12;

impl Sandbox {
    /// What could not be put on, after a start that failed at [`crate::spawn::Stage::Sandbox`].
    pub fn failed(&self) -> &str {
        let at = self.at.0.load(Ordering::Relaxed);
        match PARTS.get(at) {
            Some(_) if at == IMPOSSIBLE => self.impossible.as_deref().unwrap_or_default(),
            Some(part) => part,
            None => self.step(at - PARTS.len()).unwrap_or_default(),
        }
    }

    fn step(&self, index: usize) -> Option<&str> {
        let mounts = self.mounts.as_deref().unwrap_or_default();
        let mut links = self.links.iter().chain(&self.sources);
        let behind = |count: usize| index.checked_sub(count);
        if let Some(mount) = mounts.get(index) {
            return Some(&mount.because);
        }
        if let Some(link) = links.nth(behind(mounts.len())?) {
            return link.name.to_str().ok();
        }
        match &mounts.get(behind(self.first_source())?)?.kind {
            MountKind::Bind { source, .. } => source.to_str().ok(),
            _ => None,
        }
    }

    /// The number of the source of the first mount, behind the parts.
    fn first_source(&self) -> usize {
        self.mounts.as_ref().map_or(0, Vec::len) + self.links.len() + self.sources.len()
    }

    fn at(&self, part: usize) {
        self.at.0.store(part, Ordering::Relaxed);
    }

    /// In the child, while it is still root.
    pub(crate) fn enter(&self) -> Result<(), c_int> {
        if self.impossible.is_some() {
            self.at(IMPOSSIBLE);
            return Err(libc::ENOSYS);
        }
        self.namespaces()?;
        let mounts = self.mounts.as_deref().unwrap_or_default();
        let step = |index| self.at(PARTS.len() + index);
        if self.root.is_some() || self.mounts.is_some() {
            self.at(VIEW);
            mounts::apart()?;
            mounts::lead_there(&self.sources, |index| step(mounts.len() + self.links.len() + index))?;
            mounts::take_sources(mounts, |index| step(self.first_source() + index))?;
        }
        if let Some(root) = &self.root {
            self.at(ROOT);
            root.enter(mounts, step)?;
        }
        if let Some(mounts) = &self.mounts {
            mounts::lead_there(&self.links, |index| step(mounts.len() + index))?;
            self.at(VIEW);
            mounts::make(mounts, self.ipc, step)?;
        }
        self.at(BOUNDING);
        privileges::bound(self.bounding)?;
        self.keep_over_ids()
    }

    fn keep_over_ids(&self) -> Result<(), c_int> {
        if self.ambient == 0 && self.secure_bits == 0 {
            return Ok(());
        }
        self.at(if self.ambient == 0 { SECURE_BITS } else { AMBIENT });
        privileges::keep_over_ids()
    }

    /// In the child, once it has its groups and before it has its user: those that are not in the namespace can be had from outside
    /// alone. It has all capabilities there, so they are bounded once more.
    pub(crate) fn enter_users(&self) -> Result<(), c_int> {
        let Some(users) = &self.users else { return Ok(()) };
        self.at(USERS);
        let fd = std::os::fd::AsRawFd::as_raw_fd(users) as usize;
        call(libc::SYS_setns, [fd, libc::CLONE_NEWUSER as usize, 0, 0, 0])?;
        self.at(BOUNDING);
        privileges::bound(self.bounding)?;
        self.keep_over_ids()
    }

    /// In the child, once it has its ids.
    pub(crate) fn raise(&self) -> Result<(), c_int> {
        if self.keyring != Keyring::Inherit {
            self.at(KEYRING);
            privileges::keyring(self.keyring)?;
        }
        if self.secure_bits != 0 {
            self.at(SECURE_BITS);
            privileges::secure(self.secure_bits, self.ambient != 0)?;
        }
        if self.ambient == 0 {
            return Ok(());
        }
        self.at(AMBIENT);
        privileges::raise(self.ambient)
    }

    /// In the child, as the last thing before execve.
    pub(crate) fn close(&self) -> Result<(), c_int> {
        if self.no_new_privs {
            self.at(NO_NEW_PRIVS);
            privileges::no_new_privs()?;
        }
        self.at(FILTER);
        self.filters.iter().try_for_each(|filter| privileges::filter(filter))
    }

    fn namespaces(&self) -> Result<(), c_int> {
        let flag = |on: bool, flag: c_int| if on { flag } else { 0 };
        let flags = flag(self.mounts.is_some() || self.root.is_some(), libc::CLONE_NEWNS)
            | flag(self.network, libc::CLONE_NEWNET)
            | flag(self.ipc, libc::CLONE_NEWIPC)
            | flag(self.host_name, libc::CLONE_NEWUTS);
        if flags == 0 {
            return Ok(());
        }
        self.at(NAMESPACE);
        call(libc::SYS_unshare, [flags as usize, 0, 0, 0, 0])?;
        if self.network {
            self.at(LOOPBACK);
            loopback()?;
        }
        Ok(())
    }
}

/// `struct ifreq` as far as flags are concerned.
#[repr(C)]
struct InterfaceFlags {
    name: [u8; 16],
    flags: i16,
    rest: [u8; 22],
}

/// Switches the loopback interface of this namespace on.
fn loopback() -> Result<(), c_int> {
    let mut name = [0; 16];
    name[0] = b'l';
    name[1] = b'o';
    let request = InterfaceFlags { name, flags: (libc::IFF_UP | libc::IFF_RUNNING) as i16, rest: [0; 22] };
    let kind = (libc::SOCK_DGRAM | libc::SOCK_CLOEXEC) as usize;
    let fd = call(libc::SYS_socket, [libc::AF_INET as usize, kind, 0, 0, 0])? as usize;
    let set = call(libc::SYS_ioctl, [fd, libc::SIOCSIFFLAGS as usize, (&raw const request) as usize, 0, 0]);
    call(libc::SYS_close, [fd, 0, 0, 0, 0])?;
    set.map(|_| ())
}

/// A raw system call of the child: its result, or the error. Pointers among the arguments are those of live, NUL-terminated or
/// sized objects of the caller.
fn call(number: c_long, arguments: [usize; 5]) -> Result<c_long, c_int> {
    let [a, b, c, d, e] = arguments;
    // SAFETY: only the functions of this module and its two parts call this, in a child that `spawn` has made; each passes integers and
    // pointers to objects that outlive the call, of the kinds that this system call reads or writes.
    let result = unsafe { libc::syscall(number, a, b, c, d, e) };
    if result >= 0 {
        return Ok(result);
    }
    // SAFETY: __errno_location returns this thread's errno, which is always a valid int.
    Err(unsafe { *libc::__errno_location() })
}

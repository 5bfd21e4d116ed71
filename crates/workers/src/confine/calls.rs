//! Seccomp: which system calls a worker may make. The lists are data, each group with its reason.
//!
//! Three answers. A call on the list passes. One that no library makes by itself, and whose use means that the worker
//! is somebody else's now, kills it ([`DEADLY`]; the supervisor sees it and starts a new one). Every other gets `ENOSYS`,
//! as if the kernel did not have it: C libraries then fall back to an older call, where `EPERM` makes them give up.

use crate::protocol::Worker;
use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use std::collections::BTreeMap;
use std::io;

/// Memory, time, threads' locks, the end: what the runtime needs whatever the worker does.
const RUNTIME: &[c_long] = &[
    // The allocator. mmap and mprotect are on the workers' own lists, with or without PROT_EXEC.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    // Locks; hash maps' seeds.
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_sched_yield,
    // Clocks, where the vDSO does not answer.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_gettimeofday,
    libc::SYS_restart_syscall,
    // Panic and abort: message, backtrace-free, signal to itself, end.
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_tgkill,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Own descriptors.
    libc::SYS_close,
    libc::SYS_fcntl,
];

/// What the builtin worker does with sockets it was given. No socket(2), no connect(2), no open(2) of any kind.
const BUILTIN: &[c_long] = &[
    // Waiting.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_epoll_ctl,
    // The supervisor's channel: messages with descriptors.
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    // Clients and datagrams. rustix reads and writes sockets by these on every architecture.
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_recvmmsg,
    libc::SYS_sendmmsg,
    libc::SYS_shutdown,
    libc::SYS_read,
    // The load average, for max_load.
    libc::SYS_sysinfo,
];

/// What the proxy worker does with pairs of sockets it was given, one connected and one about to be. It opens none and
/// connects none: whoever takes it over reaches nothing that the administrator did not name as a target.
const PROXY: &[c_long] = &[
    // Waiting.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_epoll_ctl,
    // The supervisor's channel: messages with descriptors.
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    // Clients and targets. rustix reads and writes sockets by these on every architecture.
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_shutdown,
];

/// What it does besides for datagram services.
const PROXY_OF_DATAGRAMS: &[c_long] = &[
    // hosts.allow and hosts.deny, as the supervisor hands them over.
    libc::SYS_read,
    // To which port a socket is bound.
    libc::SYS_getsockname,
    // The load average, for max_load.
    libc::SYS_sysinfo,
];

/// What the registrar does with the one connection it was given.
const REGISTRAR: &[c_long] = &[
    // Waiting.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_epoll_ctl,
    // The supervisor's channel: messages with descriptors.
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    // rpcbind.
    libc::SYS_recvfrom,
    libc::SYS_sendto,
];

/// What the firewall worker does: its sockets come to it open.
const FIREWALL: &[c_long] = &[
    // Waiting.
    libc::SYS_ppoll,
    // The supervisor's channel: messages with descriptors.
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    // The kernel.
    libc::SYS_recvfrom,
    libc::SYS_sendto,
];

/// What the sensor does besides: its sockets come to it open.
const SENSOR: &[c_long] = &[
    // Waiting.
    libc::SYS_ppoll,
    // The supervisor's channel: messages with descriptors.
    libc::SYS_recvmsg,
    // Packets.
    libc::SYS_recvmmsg,
    // The kernel's answers.
    libc::SYS_recvfrom,
];

/// Where the channel to the supervisor is.
const CHANNEL: u64 = 3;
/// Bytes of an address of netlink. One of a packet socket has 20, and the kernel takes no shorter one.
const NETLINK_ADDRESS: u64 = 12;

/// What the header worker does: it reads. sendmsg is the channel's.
const HEADER: &[c_long] = &[
    // Waiting.
    libc::SYS_epoll_create1,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_epoll_ctl,
    // The supervisor's channel: messages with descriptors.
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    // Connections: looked at and read, never written to.
    libc::SYS_recvfrom,
];

/// The worker of TLS is that of the proxy, and reads the files of certificates and keys. It opens none.
const FILES_IT_IS_HANDED: &[c_long] = &[libc::SYS_read];

/// What SQLite does in its directory, which Landlock keeps it to. No socket(2): the channel is the only one.
const LEDGER: &[c_long] = &[
    // The supervisor's channel.
    libc::SYS_ppoll,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    // The database, its log and its index: opened, looked at, locked (fcntl), read, written, cut, put on the disk.
    libc::SYS_openat,
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getcwd,
    libc::SYS_ftruncate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_fchmod,
    libc::SYS_unlinkat,
    libc::SYS_renameat2,
    // Who am I: SQLite gives its files to their owner where it is root.
    libc::SYS_geteuid,
    // Waiting for another process that writes.
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
];

/// Older forms of the above that only x86-64 has.
#[cfg(target_arch = "x86_64")]
const LEDGER_X86: &[c_long] = &[
    libc::SYS_poll,
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_unlink,
    libc::SYS_rename,
];
#[cfg(not(target_arch = "x86_64"))]
const LEDGER_X86: &[c_long] = &[];

/// What the name service's plug-ins are known to do: DNS over UDP and TCP, local daemons over Unix sockets (nscd, sssd,
/// systemd-resolved, nslcd), netlink (which address families this host has), tables in files, plug-ins by dlopen.
const RESOLVER: &[c_long] = &[
    // The supervisor's channel, DNS, local daemons, netlink.
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_shutdown,
    libc::SYS_ioctl,
    // Waiting.
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_pipe2,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    // Files that Landlock lets it read.
    libc::SYS_openat,
    libc::SYS_read,
    libc::SYS_pread64,
    libc::SYS_readv,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_getcwd,
    libc::SYS_dup,
    libc::SYS_dup3,
    // Who and where am I: plug-ins ask before they decide whether to trust the environment.
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getppid,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_prlimit64,
    libc::SYS_prctl,
    // Threads of the pool: set-up, names, stacks.
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_set_tid_address,
    libc::SYS_sched_getaffinity,
    libc::SYS_membarrier,
    // Plug-ins are mapped executable.
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_memfd_create,
    libc::SYS_ftruncate,
];

/// Older forms of the above that only x86-64 has and that C libraries still use there.
#[cfg(target_arch = "x86_64")]
const RESOLVER_X86: &[c_long] = &[
    libc::SYS_open,
    libc::SYS_stat,
    libc::SYS_lstat,
    libc::SYS_access,
    libc::SYS_readlink,
    libc::SYS_poll,
    libc::SYS_select,
    libc::SYS_epoll_wait,
    libc::SYS_time,
    libc::SYS_dup2,
    libc::SYS_pipe,
    libc::SYS_arch_prctl,
];
#[cfg(not(target_arch = "x86_64"))]
const RESOLVER_X86: &[c_long] = &[];

/// Nothing a worker links makes these calls. Each is a step out of the confinement, so the first is the last.
const DEADLY: &[c_long] = &[
    // Another program.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Other processes' memory and descriptors.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_userfaultfd,
    // The kernel's own loaders and counters.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_kexec_load,
    // Views of the machine.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_io_uring_setup,
    // Other users.
    libc::SYS_setuid,
    libc::SYS_setreuid,
    libc::SYS_setresuid,
    libc::SYS_setgid,
    libc::SYS_setregid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
];

/// Installs the filters on this thread; threads made later inherit them.
///
/// # Errors
/// A kernel without seccomp filters, or an architecture without a list.
pub(super) fn restrict(worker: Worker) -> io::Result<()> {
    let unknown = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    // The strictest answer of the two counts, whatever their order. Yet the list of what is allowed comes last: it does
    // not allow to install another.
    let filters = [
        compile(plain(DEADLY), SeccompAction::Allow, SeccompAction::KillProcess)?,
        compile(allowed(worker)?, unknown, SeccompAction::Allow)?,
    ];
    filters.iter().try_for_each(|filter| seccompiler::apply_filter(filter).map_err(io::Error::other))
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// The calls without a look at their arguments.
fn plain(list: &[c_long]) -> Rules {
    list.iter().map(|call| (*call, Vec::new())).collect()
}

fn allowed(worker: Worker) -> io::Result<Rules> {
    use SeccompCmpArgLen::{Dword, Qword};
    use SeccompCmpOp::{Eq, MaskedEq};
    let mut rules = plain(RUNTIME);
    match worker {
        Worker::Builtin => {
            rules.extend(plain(BUILTIN));
            // Memory, but never executable.
            let exec = number(libc::PROT_EXEC);
            for call in [libc::SYS_mmap, libc::SYS_mprotect] {
                rules.insert(call, vec![when(&[(2, Dword, MaskedEq(exec), 0)])?]);
            }
            // The filter on a datagram socket that came: no other option of a socket, and no other level.
            let level = (1, Dword, Eq, number(libc::SOL_SOCKET));
            let option = (2, Dword, Eq, number(libc::SO_ATTACH_FILTER));
            rules.insert(libc::SYS_setsockopt, vec![when(&[level, option])?]);
            // Its own limits: to ask (no new value), not to set.
            rules.insert(libc::SYS_prlimit64, vec![when(&[(2, Qword, Eq, 0)])?]);
        }
        Worker::Proxy | Worker::Tls => {
            rules.extend(plain(PROXY));
            rules.extend(plain(match worker {
                Worker::Tls => FILES_IT_IS_HANDED,
                _ => PROXY_OF_DATAGRAMS,
            }));
            let exec = number(libc::PROT_EXEC);
            for call in [libc::SYS_mmap, libc::SYS_mprotect] {
                rules.insert(call, vec![when(&[(2, Dword, MaskedEq(exec), 0)])?]);
            }
            // How a connect ended, and nothing else of a socket.
            let level = (1, Dword, Eq, number(libc::SOL_SOCKET));
            let option = (2, Dword, Eq, number(libc::SO_ERROR));
            rules.insert(libc::SYS_getsockopt, vec![when(&[level, option])?]);
            rules.insert(libc::SYS_prlimit64, vec![when(&[(2, Qword, Eq, 0)])?]);
            if worker == Worker::Proxy {
                // What has ended in one turn is closed at once.
                rules.insert(libc::SYS_close_range, Vec::new());
            }
        }
        Worker::Registrar => {
            rules.extend(plain(REGISTRAR));
            let exec = number(libc::PROT_EXEC);
            for call in [libc::SYS_mmap, libc::SYS_mprotect] {
                rules.insert(call, vec![when(&[(2, Dword, MaskedEq(exec), 0)])?]);
            }
            rules.insert(libc::SYS_prlimit64, vec![when(&[(2, Qword, Eq, 0)])?]);
        }
        Worker::Firewall => {
            rules.extend(plain(FIREWALL));
            let exec = number(libc::PROT_EXEC);
            for call in [libc::SYS_mmap, libc::SYS_mprotect] {
                rules.insert(call, vec![when(&[(2, Dword, MaskedEq(exec), 0)])?]);
            }
            rules.insert(libc::SYS_prlimit64, vec![when(&[(2, Qword, Eq, 0)])?]);
        }
        Worker::Sensor => {
            rules.extend(plain(SENSOR));
            let exec = number(libc::PROT_EXEC);
            for call in [libc::SYS_mmap, libc::SYS_mprotect] {
                rules.insert(call, vec![when(&[(2, Dword, MaskedEq(exec), 0)])?]);
            }
            // It sees packets and sends none: messages go to the channel alone, and what has an address to netlink.
            rules.insert(libc::SYS_sendmsg, vec![when(&[(0, Dword, Eq, CHANNEL)])?]);
            rules.insert(libc::SYS_sendto, vec![when(&[(5, Dword, Eq, NETLINK_ADDRESS)])?]);
            // The filter of the packet socket, its counters, and no other option of a socket.
            let socket = (1, Dword, Eq, number(libc::SOL_SOCKET));
            let filter = (2, Dword, Eq, number(libc::SO_ATTACH_FILTER));
            rules.insert(libc::SYS_setsockopt, vec![when(&[socket, filter])?]);
            let packet = (1, Dword, Eq, number(libc::SOL_PACKET));
            let counters = (2, Dword, Eq, number(libc::PACKET_STATISTICS));
            rules.insert(libc::SYS_getsockopt, vec![when(&[packet, counters])?]);
            rules.insert(libc::SYS_prlimit64, vec![when(&[(2, Qword, Eq, 0)])?]);
        }
        Worker::Header => {
            rules.extend(plain(HEADER));
            let exec = number(libc::PROT_EXEC);
            for call in [libc::SYS_mmap, libc::SYS_mprotect] {
                rules.insert(call, vec![when(&[(2, Dword, MaskedEq(exec), 0)])?]);
            }
            // When a socket has enough to be looked at, and no other option of it.
            let level = (1, Dword, Eq, number(libc::SOL_SOCKET));
            let option = (2, Dword, Eq, number(libc::SO_RCVLOWAT));
            rules.insert(libc::SYS_setsockopt, vec![when(&[level, option])?]);
            rules.insert(libc::SYS_prlimit64, vec![when(&[(2, Qword, Eq, 0)])?]);
        }
        Worker::Ledger => {
            rules.extend(plain(LEDGER));
            rules.extend(plain(LEDGER_X86));
            let exec = number(libc::PROT_EXEC);
            for call in [libc::SYS_mmap, libc::SYS_mprotect] {
                rules.insert(call, vec![when(&[(2, Dword, MaskedEq(exec), 0)])?]);
            }
            rules.insert(libc::SYS_prlimit64, vec![when(&[(2, Qword, Eq, 0)])?]);
        }
        Worker::Resolver => {
            rules.extend(plain(RESOLVER));
            rules.extend(plain(RESOLVER_X86));
            // A thread, never a process. clone3 is not on the list: its flags are in memory, out of a filter's sight,
            // and the C library falls back to this.
            let thread = number(libc::CLONE_THREAD);
            rules.insert(libc::SYS_clone, vec![when(&[(0, Dword, MaskedEq(thread), thread)])?]);
        }
    }
    if !matches!(worker, Worker::Resolver | Worker::Sensor) {
        // Without connect(2), a socket whose connect has failed would still go wherever its next bytes are sent. Landlock does not see it.
        let fastopen = number(libc::MSG_FASTOPEN);
        for (call, flags) in [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)] {
            if let Some(rule) = rules.get_mut(&call) {
                *rule = vec![when(&[(flags, Dword, MaskedEq(fastopen), 0)])?];
            }
        }
    }
    Ok(rules)
}

/// The rule: each of these arguments (by index) compares so to its value.
fn when(arguments: &[(u8, SeccompCmpArgLen, SeccompCmpOp, u64)]) -> io::Result<SeccompRule> {
    let conditions = arguments.iter().map(|(index, length, how, value)| {
        SeccompCondition::new(*index, length.clone(), how.clone(), *value)
    });
    conditions.collect::<Result<Vec<_>, _>>().and_then(SeccompRule::new).map_err(io::Error::other)
}

fn number(constant: libc::c_int) -> u64 {
    u64::from(constant.cast_unsigned())
}

fn compile(rules: Rules, otherwise: SeccompAction, on_match: SeccompAction) -> io::Result<BpfProgram> {
    let arch = std::env::consts::ARCH.try_into().map_err(io::Error::other)?;
    SeccompFilter::new(rules, otherwise, on_match, arch)
        .and_then(BpfProgram::try_from)
        .map_err(io::Error::other)
}

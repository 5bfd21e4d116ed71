//! Names of the kernel that words of `sandbox` hold, and their numbers: capabilities(7), address_families(7), namespaces(7), errno(3).
//! Facts only.

/// By their numbers.
const CAPABILITIES: &str = "CAP_CHOWN CAP_DAC_OVERRIDE CAP_DAC_READ_SEARCH CAP_FOWNER CAP_FSETID CAP_KILL CAP_SETGID CAP_SETUID \
    CAP_SETPCAP CAP_LINUX_IMMUTABLE CAP_NET_BIND_SERVICE CAP_NET_BROADCAST CAP_NET_ADMIN CAP_NET_RAW CAP_IPC_LOCK CAP_IPC_OWNER \
    CAP_SYS_MODULE CAP_SYS_RAWIO CAP_SYS_CHROOT CAP_SYS_PTRACE CAP_SYS_PACCT CAP_SYS_ADMIN CAP_SYS_BOOT CAP_SYS_NICE \
    CAP_SYS_RESOURCE CAP_SYS_TIME CAP_SYS_TTY_CONFIG CAP_MKNOD CAP_LEASE CAP_AUDIT_WRITE CAP_AUDIT_CONTROL CAP_SETFCAP \
    CAP_MAC_OVERRIDE CAP_MAC_ADMIN CAP_SYSLOG CAP_WAKE_ALARM CAP_BLOCK_SUSPEND CAP_AUDIT_READ CAP_PERFMON CAP_BPF \
    CAP_CHECKPOINT_RESTORE";

pub(super) fn capabilities() -> impl Iterator<Item = &'static str> {
    CAPABILITIES.split_ascii_whitespace()
}

/// The bit of a capability.
pub(super) fn capability(name: &str) -> Option<u64> {
    let number = capabilities().position(|known| known.eq_ignore_ascii_case(name))?;
    Some(1 << number)
}

/// The bits of all of them.
pub(super) fn known_capabilities() -> u64 {
    capabilities().fold(0, |all, _| all << 1 | 1)
}

/// Names of a set of capabilities.
pub(super) fn capability_names(set: u64) -> Vec<&'static str> {
    (0u32..).zip(capabilities()).filter(|(number, _)| set >> number & 1 == 1).map(|(_, name)| name).collect()
}

pub(super) const FAMILIES: &[(&str, u16)] = &[
    ("AF_UNIX", 1),
    ("AF_LOCAL", 1),
    ("AF_INET", 2),
    ("AF_AX25", 3),
    ("AF_IPX", 4),
    ("AF_APPLETALK", 5),
    ("AF_NETROM", 6),
    ("AF_BRIDGE", 7),
    ("AF_ATMPVC", 8),
    ("AF_X25", 9),
    ("AF_INET6", 10),
    ("AF_ROSE", 11),
    ("AF_DECnet", 12),
    ("AF_NETBEUI", 13),
    ("AF_SECURITY", 14),
    ("AF_KEY", 15),
    ("AF_NETLINK", 16),
    ("AF_ROUTE", 16),
    ("AF_PACKET", 17),
    ("AF_ASH", 18),
    ("AF_ECONET", 19),
    ("AF_ATMSVC", 20),
    ("AF_RDS", 21),
    ("AF_SNA", 22),
    ("AF_IRDA", 23),
    ("AF_PPPOX", 24),
    ("AF_WANPIPE", 25),
    ("AF_LLC", 26),
    ("AF_IB", 27),
    ("AF_MPLS", 28),
    ("AF_CAN", 29),
    ("AF_TIPC", 30),
    ("AF_BLUETOOTH", 31),
    ("AF_IUCV", 32),
    ("AF_RXRPC", 33),
    ("AF_ISDN", 34),
    ("AF_PHONET", 35),
    ("AF_IEEE802154", 36),
    ("AF_CAIF", 37),
    ("AF_ALG", 38),
    ("AF_NFC", 39),
    ("AF_VSOCK", 40),
    ("AF_KCM", 41),
    ("AF_QIPCRTR", 42),
    ("AF_SMC", 43),
    ("AF_XDP", 44),
    ("AF_MCTP", 45),
];

/// SECBIT_…; not those that are about ambient capabilities, which systemd does not know.
pub(super) const SECURE_BITS: [(&str, u32); 6] = [
    ("keep-caps", 1 << 4),
    ("keep-caps-locked", 1 << 5),
    ("no-setuid-fixup", 1 << 2),
    ("no-setuid-fixup-locked", 1 << 3),
    ("noroot", 1),
    ("noroot-locked", 1 << 1),
];

/// CLONE_NEW….
pub(super) const NAMESPACES: &[(&str, u32)] = &[
    ("cgroup", 0x0200_0000),
    ("ipc", 0x0800_0000),
    ("net", 0x4000_0000),
    ("mnt", 0x0002_0000),
    ("pid", 0x2000_0000),
    ("user", 0x1000_0000),
    ("uts", 0x0400_0000),
    ("time", 0x0000_0080),
];

/// Those that filters of system calls are written with; any other is written as its number.
pub(super) const ERRORS: &[(&str, u16)] = &[
    ("EPERM", 1),
    ("ENOENT", 2),
    ("EINTR", 4),
    ("EIO", 5),
    ("ENXIO", 6),
    ("EBADF", 9),
    ("EAGAIN", 11),
    ("ENOMEM", 12),
    ("EACCES", 13),
    ("EFAULT", 14),
    ("EBUSY", 16),
    ("EEXIST", 17),
    ("ENODEV", 19),
    ("ENOTDIR", 20),
    ("EINVAL", 22),
    ("ENFILE", 23),
    ("EMFILE", 24),
    ("ENOTTY", 25),
    ("EFBIG", 27),
    ("ENOSPC", 28),
    ("EROFS", 30),
    ("EPIPE", 32),
    ("ENOSYS", 38),
    ("EOPNOTSUPP", 95),
    ("ENOTSUP", 95),
    ("EPROTONOSUPPORT", 93),
    ("EAFNOSUPPORT", 97),
    ("ENETUNREACH", 101),
    ("ETIMEDOUT", 110),
    ("ECONNREFUSED", 111),
    ("EHOSTUNREACH", 113),
    ("EUCLEAN", 117),
];

/// The number behind a name, in any case of letters.
pub(super) fn find<T: Copy>(table: &[(&str, T)], name: &str) -> Option<T> {
    table.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, number)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_kernel() {
        assert_eq!(capability("cap_net_bind_service"), Some(1 << 10));
        assert_eq!(capability("CAP_SYS_ADMIN"), Some(1 << 21));
        assert_eq!(capability("CAP_CHECKPOINT_RESTORE"), Some(1 << 40));
        assert_eq!(capability_names(1 << 27 | 1), ["CAP_CHOWN", "CAP_MKNOD"]);
        assert_eq!((find(FAMILIES, "af_inet6"), find(FAMILIES, "AF_X")), (Some(10), None));
        assert_eq!(find(ERRORS, "EPERM"), Some(1));
    }
}

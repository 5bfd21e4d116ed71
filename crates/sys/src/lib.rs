//! Kernel and libc facilities behind safe calls: the only crate with unsafe code.
//!
//! One file per facility. Nothing here knows what a service, a verdict or a log line is; whatever rustix already
//! offers safely (epoll, accept, sockets' options) is used from rustix directly and not wrapped again.
//!
//! | file | facility |
//! |---|---|
//! | [`spawn`] (`image`, `child`, `flight`, `lent`, `raw`) | start a process: clone(VM, FILES), raw calls in the child, execve |
//! | [`farewell`] | sockets of clients, closed without a wait |
//! | [`beside`] | run a program beside a process that is not ours, and wait for it |
//! | [`signals`] | block everything, read signals from a descriptor |
//! | [`sandbox`] | what a started program is confined to: namespaces, mounts, capabilities, filters |
//! | [`seccomp`] ([`calls`]) | filters of system calls, and the calls by name |
//! | [`reap`] | collect ended children, send signals |
//! | [`highfd`] | park long-lived descriptors at high numbers |
//! | [`stdio`] | descriptors 0-2 and what was inherited |
//! | [`label`] | the SELinux context in which a program runs for a client |
//! | [`limits`] | RLIMIT_NOFILE, load average, own size |
//! | [`clock`] | monotonic and wall clock, civil time of this host |
//! | [`names`] | users, groups, services, protocols, networks, addresses |
//! | [`filter`] | packet filters on listeners and on the packet socket |
//! | [`socket`] | listeners and datagram sockets |
//! | [`netlink`] | sockets to the packet filter |
//! | [`interfaces`] (`dump`) | interfaces and their addresses, as the kernel lists them |
//! | [`sock_destroy`] | connections to given networks, found and ended |
//! | [`sock_diag`] | the sockets of a network namespace, as the kernel lists them |
//! | [`ports`] | which ports somebody has |
//! | [`addresses`] | this host's own addresses |
//! | [`packets`] | a socket that sees what comes in, before anything of this host takes it |
//! | [`datagrams`] | many datagrams in one call, and their answers |
//! | [`pktinfo`] | datagrams with the address that they were sent to |
//! | [`seqpacket`] | messages with descriptors between processes |
//! | [`local`] | listening unix sockets: their files and who may connect |
//! | [`unix`] | the control socket and who is on the other side |
//! | [`syslog`] | /dev/log |
//! | [`libc_syslog`] | the C library's syslog, for other people's processes |
//! | [`fanotify`] | what happens to files, and who did it |
//! | [`file`] | log, dump and pid files |
//! | [`parts`] | a file that is replaced whole and read in parts by many |
//! | [`replace`] | a file that people edit, replaced in one step |
//! | [`handover`] | become another version of oneself, with descriptors and a sealed state |
//! | [`source`] | a file that is read whole, and what tells its contents apart |
//! | [`program`] | a program that is hashed, and then executed by its descriptor |
//! | [`mounts`] | where looking up a path may wait for somebody else |
//! | [`systemd`] | readiness and inherited sockets |
//! | [`lifeline`] | workers end with the last who has the other end of a pipe |
//! | [`orphan`] | processes that are no children of ours: signals, and how they ended |
//! | [`vsock`] | a vsock socket that another process holds |
//! | [`watch`] | start the supervisor with the sockets that are held for it |
//! | [`process`] | going to the background, ids, own executable |
//! | [`identity`] | becoming another user for good |
//! | [`idle`] | another process by a descriptor, and its silence |
//! | [`environment`] | the environment that programs will find |
//! | [`ip_options`] | the IP options of a connection |

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
compile_error!("portreeve-sys is written for and tested on Linux with glibc");

pub mod acting;
pub mod address_filter;
pub mod addresses;
pub mod beside;
mod bpf;
pub mod calls;
pub mod cgroup;
mod child;
pub mod clock;
pub mod closing;
pub mod code;
pub mod datagrams;
pub mod device_filter;
mod dump;
pub mod environment;
pub mod fanotify;
pub mod farewell;
pub mod file;
pub mod filter;
mod flight;
pub mod handover;
pub mod highfd;
pub mod identity;
pub mod idle;
mod image;
pub mod interfaces;
pub mod ip_options;
pub mod label;
mod lent;
pub mod libc_syslog;
pub mod lifeline;
pub mod limits;
mod listen_pid;
pub mod local;
pub mod main_process;
pub mod mounts;
pub mod names;
pub mod net_namespace;
pub mod netlink;
pub mod onward;
pub mod orphan;
pub mod packets;
pub mod parts;
pub mod pktinfo;
pub mod ports;
pub mod process;
pub mod program;
mod raw;
pub mod reap;
pub mod replace;
pub mod sandbox;
pub mod seccomp;
pub mod seqpacket;
pub mod signals;
pub mod sock_destroy;
pub mod sock_diag;
pub mod socket;
pub mod source;
pub mod spawn;
pub mod stdio;
pub mod syslog;
pub mod systemd;
pub mod unix;
pub mod user_namespace;
pub mod vsock;
pub mod watch;

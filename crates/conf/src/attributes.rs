//! THE table of attributes. It drives reading, `portreeve attributes`, the reference manual and completions; nothing
//! about an attribute's shape is written anywhere else. What a value does is in the modules of `values`.

use crate::ast::{Assignment, Operator, Word};
use crate::attribute::{Attribute, Id, Kind, Origin, Section, Values};
use crate::sandbox::SANDBOX;

/// Words of `type`, in the order of xinetd's dump.
pub(crate) const TYPES: &[&str] = &["RPC", "INTERNAL", "UNLISTED", "SPECIAL", "TCPMUX", "TCPMUXPLUS"];
/// Words of `flags`, in the order of xinetd's dump.
pub(crate) const FLAGS: &[&str] = &[
    "REUSE",
    "INTERCEPT",
    "NORETRY",
    "IDONLY",
    "NAMEINARGS",
    "NODELAY",
    "KEEPALIVE",
    "NOLIBWRAP",
    "SENSOR",
    "IPv4",
    "IPv6",
    "LABELED",
    "FREEBIND",
];
/// Words of `log_on_success`, in the order of xinetd's dump.
pub(crate) const SUCCESS: &[&str] = &["HOST", "DURATION", "EXIT", "PID", "USERID", "TRAFFIC"];
/// Words of `log_on_failure`, in the order of xinetd's dump.
pub(crate) const FAILURE: &[&str] = &["HOST", "ATTEMPT", "USERID"];
pub(crate) const SOCKET_TYPES: &[&str] = &["stream", "dgram", "raw", "seqpacket"];
/// Words of `verify_server`.
pub(crate) const VERIFY: &[&str] = &["no", "warn", "refuse"];
const OURS_SIZE: &str = "suffix k or M";
const YES_NO: &[&str] = &["yes", "no"];

const ROW: Attribute = Attribute {
    name: "",
    id: Id::Ident,
    values: Values::Exactly(1),
    list: false,
    section: Section::Service,
    kind: Kind::Text,
    form: "",
    default: "",
    bounds: "",
    meaning: "",
    origin: Origin::Xinetd,
};

const fn row(
    id: Id,
    name: &'static str,
    form: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> Attribute {
    Attribute { name, id, form, default, meaning, ..ROW }
}

impl Attribute {
    const fn kind(self, kind: Kind, bounds: &'static str) -> Self {
        Self { kind, bounds, ..self }
    }

    const fn values(self, values: Values) -> Self {
        Self { values, ..self }
    }

    const fn list(self) -> Self {
        Self { values: Values::Any, list: true, ..self }
    }

    const fn also_in_defaults(self) -> Self {
        Self { section: Section::Both, ..self }
    }

    const fn only_in_defaults(self) -> Self {
        Self { section: Section::Defaults, ..self }
    }

    const fn ours(self) -> Self {
        Self { origin: Origin::Portreeve, ..self }
    }
}

const BANNER: &str = "Path of a file that is sent to every client before any check.";

static TABLE: &[Attribute] = &[
    // What and where.
    row(Id::Ident, "id", "NAME", "the service's name",
        "Names the service in the log, in `enabled` and `disabled`, and at a reload. Needed where two services have the same name."),
    row(Id::Type, "type", "WORD …", "none",
        "INTERNAL: answered by the daemon itself (echo, discard, chargen, daytime, time, tcpmux; servers, services and xadmin, which tell what runs and what is served, on loopback unless there is a `bind`; trap, which says nothing, and tarpit, which says a character every ten seconds and reads nothing: a client of theirs is evidence against its address). UNLISTED: need not be in /etc/services; `port` and `protocol` are given. TCPMUX, together with UNLISTED: has no port; a client names the service to `tcpmux`. TCPMUXPLUS: the same, and the client is told `+Go` before the program starts. RPC: registered with rpcbind under its number in /etc/rpc (UNLISTED: `rpc_number`). SPECIAL: accepted, without effect.")
        .values(Values::Some).kind(Kind::Words(TYPES), ""),
    row(Id::Flags, "flags", "WORD …", "none",
        "NAMEINARGS: the first word of `server_args` is argv[0]. NODELAY, KEEPALIVE: set TCP_NODELAY, SO_KEEPALIVE. NOLIBWRAP: hosts.allow and hosts.deny do not apply. SENSOR: refuse every client and deny its address all services for `deny_time`. IPv4, IPv6: the family of the socket. NORETRY: no second attempt when the process cannot be started. IDONLY: only clients with an ident server, together with USERID in log_on_success. REUSE: always on, accepted. INTERCEPT: accepted with a warning, without effect. LABELED: the program runs in the SELinux context of the supervisor with the level range of the client, as the policy has it for the program; whoever has no context is not served. FREEBIND: listen at addresses in `bind` that this host does not have yet, and are served from the moment it has them; without it they are tried again from time to time.")
        .values(Values::Some).kind(Kind::Words(FLAGS), ""),
    row(Id::Disable, "disable", "yes|no", "no",
        "`yes` switches the service off; the rest of the section is not read. `no` never switches on a service with an error.")
        .kind(Kind::Words(YES_NO), ""),
    row(Id::SocketType, "socket_type", "TYPE", "stream for tcp, dgram for udp",
        "The kind of socket.").kind(Kind::Words(SOCKET_TYPES), ""),
    row(Id::Protocol, "protocol", "NAME", "tcp for stream, udp for dgram",
        "The protocol, a name in /etc/protocols."),
    row(Id::Port, "port", "PORT[-PORT]", "the port in /etc/services",
        "The port to listen on, or the first and last of a range. A service that is not UNLISTED must have the port that /etc/services gives it. 0, and an RPC service without `port`: a port of the kernel's choice.")
        .kind(Kind::Number, "0 to 65535; at most 1024 sockets in all"),
    row(Id::Bind, "bind", "ADDRESS …", "all addresses",
        "Where to listen: local addresses or host names; a name is resolved when the file is read. `%eth0` is an interface: only what comes in by it is served, whatever its addresses are or will be. A client on this machine counts as coming in by the interface that has the address it connects to, so `%eth0` serves those who connect to an address of eth0 and not those of 127.0.0.1; `192.0.2.1%eth0` is an address on it. A datagram service joins a group address that stands here. What is not there yet is served as soon as it comes. `/run/NAME.sock` is a unix socket in the file system and `@NAME` one in the abstract namespace, which every process of the host may connect to: such a service has neither `port` nor `protocol`, and `socket_type` is stream, seqpacket or dgram. A socket that nobody serves any more is replaced; its directory must be one that only root (or the socket's owner) can write, or sticky.")
        .values(Values::AtLeast(1)).kind(Kind::Text, "at most 64").also_in_defaults(),
    row(Id::Bind, "interface", "ADDRESS …", "all addresses",
        "Another name of `bind`.").values(Values::AtLeast(1)).kind(Kind::Text, "at most 64").also_in_defaults(),
    row(Id::SocketMode, "socket_mode", "MODE", "600",
        "Permissions of the unix socket that `bind` names, in octal: who may write it may connect.")
        .kind(Kind::Number, "0 to 777, octal").ours(),
    row(Id::SocketOwner, "socket_owner", "NAME|UID", "the daemon's own user",
        "Owner of the unix socket that `bind` names.").kind(Kind::Text, "a user of the user database, or 0 to 4294967294").ours(),
    row(Id::SocketGroup, "socket_group", "NAME|GID", "the daemon's own group",
        "Group of the unix socket that `bind` names.").kind(Kind::Text, "a group of the group database, or 0 to 4294967294").ours(),
    row(Id::V6only, "v6only", "yes|no", "no",
        "Whether an IPv6 socket leaves IPv4 clients alone.")
        .kind(Kind::Words(YES_NO), "").also_in_defaults(),
    row(Id::Wait, "wait", "yes|no", "none, must be given",
        "`no`: one process for each connection. `yes`: one process gets the listening socket and accepts by itself; nothing else is started until it ends. Must be `yes` for dgram.")
        .kind(Kind::Words(YES_NO), ""),
    row(Id::Redirect, "redirect", "HOST PORT|PATH …", "none",
        "Carry each connection to a TCP port of another host, and its answers back. HOST is an address or a name, PORT a number or a name. PATH is that of a unix stream socket on a file system of this machine (`/run/x.sock` or `unix:/run/x.sock`); it is connected to as `user`. Of several targets, up to 16, the first that accepts is taken: one that does not in 5 seconds (the last: 30) is left for the next, and is set aside for 1 second, then 2, up to 60, until a client finds it well again. A HOST that is a name is looked up when the file is read, then when the TTL of its addresses is over (5 seconds to an hour; every minute where none is known) and whenever a target does not accept; all its addresses are tried, 8 at most, and the old ones serve until there is an answer. No program is started, and `server` is ignored. Stream with `wait = no`, or dgram: then each source has a flow of its own to a UDP port of the target, which begins with a datagram that is admitted and ends after `idle_timeout` without one (30 seconds while there was no answer, or the source has said nothing since). `instances` and `per_source` (512) bound the flows; where there are too many, the oldest without an answer makes room. A target that refuses (ICMP) is left for the next; one that is silent is not.").values(Values::Forms { xinetd: 2 }),
    row(Id::ProxyProtocol, "proxy_protocol", "accept|send|both [v1|v2]", "none",
        "The PROXY header, by which a proxy tells the next one who the client is. send: the target of `redirect` is told, in the form v1 (a line of text, the default) or v2 (binary). accept: each client must be a proxy of `proxy_from` and tell us, in either form, within 5 seconds; whom it names is who is checked, counted, logged and told to the program as REMOTE_HOST. both: each.")
        .values(Values::Some).kind(Kind::Words(&["accept", "send", "both", "v1", "v2"]), "").ours(),
    row(Id::ProxyFrom, "proxy_from", "ADDRESS …", "none, must be given for accept",
        "Addresses and networks of the proxies that may send a PROXY header. Everybody else is refused. No host names. No SENSOR denies them.").list().kind(Kind::Addresses, "").ours(),
    row(Id::RpcVersion, "rpc_version", "N[-M]", "none, must be given for RPC",
        "The versions of an RPC service that rpcbind is told: one, or the first and the last.").kind(Kind::Text, "at most 32 versions"),
    row(Id::RpcNumber, "rpc_number", "NUMBER", "the number in /etc/rpc",
        "Program number of an UNLISTED RPC service. The number of any other is that of /etc/rpc.").kind(Kind::Number, "0 to 4294967295"),

    // The program.
    row(Id::Server, "server", "PATH", "none, must be given",
        "The program to start. It must be executable when the file is read. Not needed for INTERNAL.").kind(Kind::Path, ""),
    row(Id::ServerArgs, "server_args", "WORD …", "none",
        "Arguments of the program, without its name; with NAMEINARGS, the name first. Words are separated by white space, there is no quoting, and `#` is an ordinary character.")
        .values(Values::Some),
    row(Id::ListenFds, "listen_fds", "NAME", "none: the client on descriptors 0, 1 and 2",
        "The program gets its sockets as systemd hands them over: sd_listen_fds(3) finds them from descriptor 3 on, under this name. With `wait = yes` they are what the service listens on, up to 16; with `wait = no` the client's connection. Descriptors 0, 1 and 2 are /dev/null.").ours(),
    row(Id::User, "user", "NAME|UID", "none, must be given",
        "The user the program runs as. A number is taken without looking it up, its group is the same number. Not needed for INTERNAL.")
        .kind(Kind::Text, "a user of the user database, or 0 to 4294967294"),
    row(Id::Group, "group", "NAME|GID", "the user's own group",
        "The group the program runs as.").kind(Kind::Text, "a group of the group database, or 0 to 4294967294"),
    row(Id::Groups, "groups", "yes|no", "no",
        "Whether the program gets the user's supplementary groups. `no`: it gets none.")
        .kind(Kind::Words(YES_NO), "").also_in_defaults(),
    row(Id::Umask, "umask", "MODE", "the daemon's own, at least 022",
        "The program's umask, in octal.").kind(Kind::Number, "0 to 777, octal").also_in_defaults(),
    row(Id::Nice, "nice", "NUMBER", "unchanged", "Added to the program's nice value.").kind(Kind::Number, ""),
    row(Id::Env, "env", "NAME=VALUE …", "none",
        "Variables added to the program's environment. A value cannot hold white space, and `#` is an ordinary character. `=` forgets earlier lines, `+=` adds to them.")
        .list(),
    row(Id::Passenv, "passenv", "NAME …", "all",
        "The variables of the daemon's environment that the program gets. Set and empty: none of them.").list().also_in_defaults(),
    row(Id::RlimitAs, "rlimit_as", "SIZE|UNLIMITED", "unchanged", "Address space of the program (RLIMIT_AS, soft and hard).")
        .kind(Kind::Size, "suffix k or M; 0: unchanged"),
    row(Id::RlimitCpu, "rlimit_cpu", "SECONDS|UNLIMITED", "unchanged", "CPU seconds of the program (RLIMIT_CPU, soft and hard).")
        .kind(Kind::Limit, "0: unchanged"),
    row(Id::RlimitData, "rlimit_data", "SIZE|UNLIMITED", "unchanged", "Data segment of the program (RLIMIT_DATA, soft and hard).")
        .kind(Kind::Size, "suffix k or M; 0: unchanged"),
    row(Id::RlimitRss, "rlimit_rss", "SIZE|UNLIMITED", "unchanged", "Resident set of the program (RLIMIT_RSS, soft and hard).")
        .kind(Kind::Size, "suffix k or M; 0: unchanged"),
    row(Id::RlimitStack, "rlimit_stack", "SIZE|UNLIMITED", "unchanged", "Stack of the program (RLIMIT_STACK, soft and hard).")
        .kind(Kind::Size, "suffix k or M; 0: unchanged"),
    row(Id::RlimitFiles, "rlimit_files", "NUMBER|UNLIMITED", "the daemon's hard limit", "Open files of the program (RLIMIT_NOFILE, soft and hard).")
        .kind(Kind::Size, "suffix k or M; 0: unchanged"),
    row(Id::RlimitCore, "rlimit_core", "SIZE|UNLIMITED", "unchanged", "Size of a core file (RLIMIT_CORE, soft and hard). 0: none is written.")
        .kind(Kind::Size, OURS_SIZE).ours(),
    row(Id::RlimitFsize, "rlimit_fsize", "SIZE|UNLIMITED", "unchanged", "Size of a file that the program writes (RLIMIT_FSIZE, soft and hard).")
        .kind(Kind::Size, OURS_SIZE).ours(),
    row(Id::RlimitNproc, "rlimit_nproc", "NUMBER|UNLIMITED", "unchanged", "Processes of the program's user, all of them together (RLIMIT_NPROC, soft and hard).")
        .kind(Kind::Size, OURS_SIZE).ours(),
    row(Id::RlimitMemlock, "rlimit_memlock", "SIZE|UNLIMITED", "unchanged", "Memory that the program may lock (RLIMIT_MEMLOCK, soft and hard).")
        .kind(Kind::Size, OURS_SIZE).ours(),
    row(Id::RlimitLocks, "rlimit_locks", "NUMBER|UNLIMITED", "unchanged", "Locks of files (RLIMIT_LOCKS, soft and hard; Linux has not counted them since 2.4.25).")
        .kind(Kind::Size, OURS_SIZE).ours(),
    row(Id::RlimitSigpending, "rlimit_sigpending", "NUMBER|UNLIMITED", "unchanged", "Signals that may wait for the program's user (RLIMIT_SIGPENDING, soft and hard).")
        .kind(Kind::Size, OURS_SIZE).ours(),
    row(Id::RlimitMsgqueue, "rlimit_msgqueue", "SIZE|UNLIMITED", "unchanged", "Message queues of the program's user (RLIMIT_MSGQUEUE, soft and hard).")
        .kind(Kind::Size, OURS_SIZE).ours(),
    row(Id::RlimitNice, "rlimit_nice", "NUMBER|UNLIMITED", "unchanged", "How far down the program may take its nice value: to 20 minus this (RLIMIT_NICE, soft and hard).")
        .kind(Kind::Size, OURS_SIZE).ours(),
    row(Id::RlimitRtprio, "rlimit_rtprio", "NUMBER|UNLIMITED", "unchanged", "The highest realtime priority (RLIMIT_RTPRIO, soft and hard).")
        .kind(Kind::Size, OURS_SIZE).ours(),
    row(Id::RlimitRttime, "rlimit_rttime", "MICROSECONDS|UNLIMITED", "unchanged", "CPU time in one go under a realtime policy (RLIMIT_RTTIME, soft and hard).")
        .kind(Kind::Size, OURS_SIZE).ours(),
    row(Id::Sandbox, "sandbox", "SETTING …|off", "off",
        "What the program is confined to, by settings of systemd.exec(5) with their names and meanings there, each a word: `NoNewPrivileges ProtectSystem=strict ReadWritePaths=/var/lib/x`. A switch needs no `=yes`; of a setting with several values each is a word of its own (`SystemCallFilter=@system-service SystemCallFilter=~@privileged`). `off` forgets what stands before it, that of `defaults` too. It is put on in the new process just before the program is executed; a part that cannot be put on means that the program does not start. See docs/guide/sandbox.md.")
        .list().kind(Kind::Words(SANDBOX), "at most 1024 words").also_in_defaults().ours(),
    row(Id::VerifyServer, "verify_server", "no|warn|refuse", "no",
        "Whether the program is one that somebody answers for. `refuse`: it is started only where its SHA-256 stands in the list of `trusted_programs` under the path in `server`, and by the descriptor that was hashed, so that nothing comes between. `warn`: it is started all the same, and the log says so. A worker hashes it when the configuration is read and when the file has changed; clients wait in the kernel's queue meanwhile. `portreeve integrity trust` writes the list. Interpreters of scripts, libraries, and what the program itself executes (as tcpd does) are not looked at. See docs/guide/verify.md.")
        .kind(Kind::Words(VERIFY), "").also_in_defaults().ours(),

    // Who may.
    row(Id::OnlyFrom, "only_from", "ADDRESS …", "everybody",
        "Who is admitted. An address (`10.1.2.3`), a network (`10.0.0.0/8`, `2001:db8::/32`), an address whose last numbers are 0 (`10.1.0.0` is 10.1.0.0/16, `0.0.0.0` everybody with IPv4), numbers in braces (`10.1.2.{3,4}`), a host name, or a domain with its dot (`.example.org`). Set and empty: nobody. An address in both lists is refused.")
        .list().kind(Kind::Addresses, "").also_in_defaults(),
    row(Id::NoAccess, "no_access", "ADDRESS …", "nobody", "Who is refused. Written like `only_from`.")
        .list().kind(Kind::Addresses, "").also_in_defaults(),
    row(Id::AccessTimes, "access_times", "H:MM-H:MM …", "always",
        "When clients are admitted, local time, both ends included. A window cannot pass midnight; write two.")
        .values(Values::Some).kind(Kind::Text, "0:00 to 23:59, start before end"),
    row(Id::Libwrap, "libwrap", "NAME", "the program's name, for INTERNAL the service's",
        "The daemon name under which hosts.allow and hosts.deny are asked."),
    row(Id::DenyTime, "deny_time", "MINUTES|FOREVER|NEVER", "NEVER",
        "How long a SENSOR denies all services to an address.").kind(Kind::Text, "0 or more; 0 is NEVER, -1 is FOREVER"),

    // How many and how fast.
    row(Id::Instances, "instances", "NUMBER|UNLIMITED", "UNLIMITED",
        "How many processes of the service run at a time. 0 refuses everybody.").kind(Kind::Limit, "0 or more").also_in_defaults(),
    row(Id::PerSource, "per_source", "NUMBER|UNLIMITED", "UNLIMITED",
        "How many processes of the service run at a time for one source. 0 refuses everybody.")
        .kind(Kind::Limit, "0 or more").also_in_defaults(),
    row(Id::PerSourcePrefix, "per_source_prefix", "V4 V6", "32 64",
        "What counts as one source for `per_source`: the lengths of the IPv4 and IPv6 networks. Who comes through NAT64 or Teredo counts by the address.")
        .values(Values::Exactly(2)).kind(Kind::Number, "1 to 32, 1 to 128").also_in_defaults().ours(),
    row(Id::StartsPerMinute, "starts_per_minute", "NUMBER|UNLIMITED", "UNLIMITED",
        "How often the service is started within a minute: inetd's `nowait.NUMBER`. When it is used up, sources that had more than their share are refused, and if all had theirs, the listener rests until the oldest start is a minute ago. A source that comes when others have used up the number still gets its share, so a minute can have more starts than NUMBER, while hundreds of sources share it; `instances` bounds what runs at once. Each datagram that a built-in answers is a start, and each flow of a redirected service; datagrams have no shares, since their source may be forged.")
        .kind(Kind::Limit, "1 to 32768").also_in_defaults().ours(),
    row(Id::SourceStartsPerMinute, "source_starts_per_minute", "NUMBER|UNLIMITED", "UNLIMITED",
        "How often the service is started for one source within a minute: FreeBSD's third number behind `nowait`. A source is an IPv4 address or an IPv6 /64. Behind a PROXY header the client that it names counts. Without effect on datagrams, whose source may be forged.")
        .kind(Kind::Limit, "1 to 32768").also_in_defaults().ours(),
    row(Id::Cps, "cps", "RATE SECONDS", "50 10",
        "Connections a second, and how long the limit acts when it is exceeded (see `overload`). `0 0` switches it off.")
        .values(Values::Exactly(2)).kind(Kind::Number, "0 or more").also_in_defaults(),
    row(Id::Overload, "overload", "fair|close", "fair",
        "What happens when `cps` is exceeded. fair: sources above their share are refused, then the listener pauses. close: the listener is closed for the wait time, as xinetd does.")
        .kind(Kind::Words(&["fair", "close"]), "").also_in_defaults().ours(),
    row(Id::MaxLoad, "max_load", "LOAD", "none",
        "Clients are refused while the one-minute load average is at least this.").kind(Kind::Number, "a decimal number above 0").also_in_defaults(),

    // What is told.
    row(Id::Banner, "banner", "PATH", "none", BANNER).kind(Kind::Path, "").also_in_defaults(),
    row(Id::BannerSuccess, "banner_success", "PATH", "none", "Path of a file that is sent to a client that is admitted.")
        .kind(Kind::Path, "").also_in_defaults(),
    row(Id::BannerFail, "banner_fail", "PATH", "none", "Path of a file that is sent to a client that is refused.")
        .kind(Kind::Path, "").also_in_defaults(),
    row(Id::LogType, "log_type", "SYSLOG FACILITY [LEVEL] | FILE PATH [SOFT [HARD]]", "no log of the service",
        "Where the service's START, EXIT and FAIL lines go. SOFT and HARD are sizes of the file with the suffix k or M: a warning at the one, an end at the other.")
        .values(Values::Some).kind(Kind::Text, "facility: daemon auth authpriv user mail lpr news uucp ftp local0 to local7; level: emerg alert crit err warning notice info debug")
        .also_in_defaults(),
    row(Id::LogOnSuccess, "log_on_success", "WORD …", "none",
        "What is logged of admitted clients: HOST and PID in START, EXIT (status) and DURATION at the end, USERID by ident, TRAFFIC for redirected services.")
        .list().kind(Kind::Words(SUCCESS), "").also_in_defaults(),
    row(Id::LogOnFailure, "log_on_failure", "WORD …", "none",
        "What is logged of refused clients: HOST, ATTEMPT (the line alone), USERID by ident.")
        .list().kind(Kind::Words(FAILURE), "").also_in_defaults(),

    // TLS.
    row(Id::TlsCert, "tls_cert", "PATH …", "none: clients come in the clear",
        "Clients speak TLS: files of a certificate in PEM, followed by its chain. Of several the first whose names hold the one that the client asks for (SNI) is used, otherwise the first. The `server` or the target of `redirect` is spoken to in the clear. Stream with `wait = no` only. Read again at a reload; connections go on.")
        .values(Values::Some).kind(Kind::Path, "at most 16").ours(),
    row(Id::TlsKey, "tls_key", "PATH …", "the files of tls_cert",
        "Files of the private keys in PEM, one for each file of `tls_cert`, in the same order. Root opens them; the confined process that serves TLS reads them.")
        .values(Values::Some).kind(Kind::Path, "as many as in tls_cert").ours(),
    row(Id::TlsClientCa, "tls_client_ca", "PATH", "none: no certificate is asked for",
        "Clients must have a certificate of one of the authorities in this file (PEM). A program finds its subject in TLS_CLIENT_SUBJECT.")
        .kind(Kind::Path, "").ours(),
    row(Id::TlsAlpn, "tls_alpn", "NAME …", "none",
        "The protocols that are offered in TLS (ALPN), the preferred one first. A client that asks for others only is refused.")
        .values(Values::Some).kind(Kind::Text, "at most 16").ours(),
    row(Id::Tls, "tls", "connect", "none: the target is spoken to in the clear",
        "`connect`: speak TLS to the target of `redirect`, whose certificate must hold the host name or address in `redirect`.")
        .kind(Kind::Words(&["connect"]), "").ours(),
    row(Id::TlsCa, "tls_ca", "PATH", "the system's authorities",
        "The authorities (PEM) that the certificate of the target is checked by, with `tls = connect`.")
        .kind(Kind::Path, "").ours(),

    // Life of the service.
    row(Id::OnRemove, "on_remove", "kill|drain", "kill",
        "What happens to running processes when a reload removes the service: they are killed, as xinetd does, or left to end by themselves.")
        .kind(Kind::Words(&["kill", "drain"]), "").also_in_defaults().ours(),
    row(Id::Transparent, "transparent", "yes|no", "no",
        "The connection to the target of `redirect` is made from the client's address. The target's answers must come back to this host (it is the target's gateway) and be taken in by it; `portreeve check` says by which rule and route. A target of the other family than the client is passed over. Needs CAP_NET_ADMIN. Stream with targets by HOST PORT only.")
        .kind(Kind::Words(YES_NO), "").ours(),
    row(Id::Stop, "stop", "end|leave", "end; leave when called as xinetd",
        "What happens to running programs when the daemon is told to stop: they are ended, or left running.")
        .kind(Kind::Words(&["end", "leave"]), "").also_in_defaults().ours(),
    row(Id::IdleTimeout, "idle_timeout", "SECONDS", "300; 86400 with redirect, 120 of datagrams",
        "When a connection to a built-in or redirected stream service is closed for silence, and a flow of redirected datagrams forgotten.")
        .kind(Kind::Number, "1 to 86400").also_in_defaults().ours(),

    row(Id::Evidence, "evidence", "yes|no", "no",
        "The program may tell us of its own client: a failed login, for instance. It finds the number of a descriptor for that in PORTREEVE_EVIDENCE_FD, and `portreeve evidence` writes to it; programs that it starts inherit both. What is told counts towards a ban of the client's address. Stream with `wait = no` and a `server` only.")
        .kind(Kind::Words(YES_NO), "").ours(),
    row(Id::ProtectOnlyFrom, "protect_only_from", "yes|no", "no",
        "No ban touches the addresses and networks in `only_from` of this service. Names in it protect nobody.")
        .kind(Kind::Words(YES_NO), "").ours(),

    // Of `defaults` alone.
    row(Id::Enabled, "enabled", "ID …", "all", "The ids of the services that are served; all others are not.").list().only_in_defaults(),
    row(Id::Disabled, "disabled", "ID …", "none", "The ids of services that are not served, whatever `enabled` says.").list().only_in_defaults(),
    row(Id::Protect, "protect", "ADDRESS …", "none",
        "Addresses and networks that no ban touches, and no SENSOR denies. No host names.").list().kind(Kind::Addresses, "").only_in_defaults().ours(),
    row(Id::ProtectGroups, "protect_groups", "GROUP …", "sudo wheel admin",
        "Groups whose members' login sessions are protected as root's are: no ban touches the address from which one of them is logged in.").list().only_in_defaults().ours(),
    row(Id::WatchScans, "watch_scans", "yes|no", "no",
        "Whether what comes in is watched for probes of ports where nothing listens, of whatever kind, IPv4 and IPv6: who scans stands in the log, in the ledger and in `portreeve scans`. What is seen may be forged, so nobody is banned for it; see the service `trap`.")
        .kind(Kind::Words(YES_NO), "").only_in_defaults().ours(),
    row(Id::TrustedPrograms, "trusted_programs", "PATH", "/etc/portreeve/trusted-programs",
        "The list that `verify_server` goes by. It counts only where it and the directories above it are root's and nobody else may write there. It is looked at whenever a program of such a service is to be started, so what `portreeve integrity trust` writes holds without a reload.")
        .kind(Kind::Path, "").only_in_defaults().ours(),
];

/// `idle_timeout` where it is not set, in seconds.
pub(crate) const IDLE_TIMEOUT: u32 = 300;

/// Every attribute, by subject.
pub fn attributes() -> &'static [Attribute] {
    TABLE
}

/// The attribute of this name, compared without case.
pub(crate) fn find(name: &str) -> Option<&'static Attribute> {
    let mut at = usize::from(BY_KEY.first[key(name.as_bytes())?]);
    while let Some(attribute) = TABLE.get(at) {
        if attribute.name == name || attribute.name.eq_ignore_ascii_case(name) {
            return Some(attribute);
        }
        at = usize::from(*BY_KEY.next.get(at)?);
    }
    None
}

/// The table by keys of its names: each line of each file asks for one, and hardly two of them have the same.
struct ByKey {
    /// The first of each key; beyond the table where there is none.
    first: [u8; KEYS],
    /// The next of the same key.
    next: [u8; TABLE.len()],
}

const KEYS: usize = 256;
static BY_KEY: ByKey = by_key();

/// What a name's length, its first letter and its last one come to, whatever their case; `None` of the empty name.
const fn key(name: &[u8]) -> Option<usize> {
    let ([first, ..], [.., last]) = (name, name) else { return None };
    let (first, last) = (first.to_ascii_lowercase() as usize, last.to_ascii_lowercase() as usize);
    Some((name.len() * 4 + first * 13 + last * 11) % KEYS)
}

const fn by_key() -> ByKey {
    let mut found = ByKey { first: [u8::MAX; KEYS], next: [u8::MAX; TABLE.len()] };
    assert!(TABLE.len() < u8::MAX as usize, "a number of an attribute has eight bits");
    let mut at = TABLE.len();
    while let Some(before) = at.checked_sub(1) {
        at = before;
        // When this is compiled, or never.
        let Some(key) = key(TABLE[at].name.as_bytes()) else { panic!("an attribute has a name") };
        found.next[at] = found.first[key];
        found.first[key] = at as u8;
    }
    found
}

/// The values of a line without its trailing comment, and whether there was one.
pub(crate) fn without_comment<'a>(attribute: &Attribute, values: &'a [Word]) -> (&'a [Word], bool) {
    let before = attribute.before_comment();
    let start = match attribute.values {
        // Only the word directly behind the last value: anything else is a wrong number of values with or without it.
        Values::Exactly(n) => values.get(n).filter(|word| word.text.starts_with('#')).map(|_| n),
        _ => values.iter().skip(before).position(|word| word.text.starts_with('#')).map(|at| at + before),
    };
    match start.filter(|_| attribute.takes_comment()) {
        Some(at) => (&values[..at], true),
        None => (values, false),
    }
}

/// Whether reading a section stops at its last line so far: `disable` with anything but `no`, unless an earlier
/// `disable` counts.
pub(crate) fn stops_reading(assignments: &[Assignment]) -> bool {
    let Some((last, earlier)) = assignments.split_last() else { return false };
    disable(last).is_some_and(says_off) && !earlier.iter().any(|assignment| disable(assignment).is_some())
}

/// The value of a `disable` that counts.
pub(crate) fn disable(assignment: &Assignment) -> Option<&Word> {
    // Asked of each line: the table only where it is one.
    if !assignment.name.text.eq_ignore_ascii_case("disable") {
        return None;
    }
    let attribute = find(&assignment.name.text)?;
    let (values, _) = without_comment(attribute, &assignment.values);
    match (assignment.operator, values) {
        (Operator::Set, [value]) => Some(value),
        _ => None,
    }
}

/// Whether a value of `disable` ends the reading of its section.
pub(crate) fn says_off(value: &Word) -> bool {
    !value.text.eq_ignore_ascii_case("no")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_lower_case_and_told() {
        let mut seen = HashSet::new();
        for attribute in attributes() {
            assert!(seen.insert(attribute.name), "{} twice", attribute.name);
            assert_eq!(attribute.name, attribute.name.to_ascii_lowercase());
            assert!(
                !attribute.meaning.is_empty() && !attribute.form.is_empty() && !attribute.default.is_empty()
            );
            assert!(attribute.meaning.ends_with('.'), "{}", attribute.name);
        }
    }

    #[test]
    fn each_is_found_by_its_name_in_any_case() {
        for attribute in attributes() {
            assert_eq!(find(&attribute.name.to_ascii_uppercase()), Some(attribute));
            assert_eq!(find(&attribute.name[1..]), None, "{}", attribute.name);
            assert_eq!(find(&format!("{}x", attribute.name)), None);
        }
        assert_eq!((find(""), find(&"x".repeat(99))), (None, None));
    }

    #[test]
    fn lists_take_any_number_and_no_comment() {
        for attribute in attributes() {
            assert_eq!(attribute.list, attribute.values == Values::Any, "{}", attribute.name);
            assert_eq!(attribute.takes_comment(), !attribute.list && attribute.name != "server_args");
        }
    }

    #[test]
    fn reference_counts_hold() {
        // Reference xinetd §2.1: the rows of xinetd's own two tables.
        let of_xinetd = || attributes().iter().filter(|a| a.origin == Origin::Xinetd);
        assert_eq!(of_xinetd().filter(|a| a.in_service()).count(), 44);
        assert_eq!(of_xinetd().filter(|a| a.in_defaults()).count(), 20);
    }
}

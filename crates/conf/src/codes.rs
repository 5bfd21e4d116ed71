//! THE table of findings: the stable word of each, how grave it is, what it means and what to do. The table is the only
//! source of findings, and docs/guide/diagnostics.md is made from it.

use crate::diagnostic::Severity;

/// A kind of finding.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// The stable word, e.g. `unknown-attribute`.
    pub word: &'static str,
    /// How grave.
    pub severity: Severity,
    /// What it means.
    pub meaning: &'static str,
    /// What to do about it.
    pub remedy: &'static str,
}

macro_rules! codes {
    ($($constant:ident $severity:ident $word:literal $meaning:literal $remedy:literal)*) => {
        $(pub(crate) static $constant: Code = Code {
            word: $word, severity: Severity::$severity, meaning: $meaning, remedy: $remedy,
        };)*
        static ALL: &[&Code] = &[$(&$constant),*];
    };
}

codes! {
    // Files.
    UNREADABLE Error "unreadable"
        "The main file cannot be read, so there is no configuration."
        "Name an existing file with `-f`, or correct its permissions."
    INCLUDE_UNREADABLE Error "include-unreadable"
        "A file or directory that is to be included cannot be read. The rest is served without it."
        "Correct the path, or remove the line."
    INCLUDE_CYCLE Error "include-cycle"
        "A file includes itself, directly or through others. xinetd crashes on it; here the inclusion is left out."
        "Remove one of the inclusions."
    INCLUDE_DEPTH Error "include-depth"
        "More than 16 inclusions inside one another, or more than 4096 files. What lies deeper is not read."
        "Include the files directly from the main file."
    RELATIVE_INCLUDE Warning "relative-include"
        "The path of an inclusion does not start with `/`: it means another file when the daemon reads it again, because the daemon works in `/`."
        "Write the whole path."
    SKIPPED_FILE Warning "skipped-file"
        "`includedir` does not read files whose names contain a dot, so `*.conf` files are skipped without a word by xinetd."
        "Rename the files so that their names hold no dot."
    NOT_REGULAR Error "not-regular"
        "An entry of an included directory is neither a regular file nor a link to one, and is skipped."
        "Move it away: `includedir` does not descend."
    CRLF Warning "crlf"
        "The lines end in CR LF. xinetd takes the CR as part of each value and refuses the services; here it is dropped."
        "Convert the file to Unix line ends."
    BYTE_ORDER_MARK Warning "byte-order-mark"
        "The file starts with a byte order mark. xinetd does not recognise the first keyword then; here the mark is dropped."
        "Save the file without the mark."
    NUL Warning "nul"
        "A line holds a NUL byte: as in xinetd, the line ends there."
        "Remove the byte."
    LINE_TOO_LONG Error "line-too-long"
        "A line is longer than 16384 bytes. xinetd breaks such a line in two; here the section is not used."
        "Shorten the line, or move arguments into a script."
    NOT_UTF8 Error "not-utf8"
        "A value that is used is not UTF-8."
        "Write the value in UTF-8."

    // inetd.conf.
    INETD_LOST Error "inetd-lost"
        "A line of inetd.conf, or something it orders, has no counterpart here. A service that cannot be served as the line says is left out."
        "Do what the message says, or write the service in xinetd's language."
    INETD_MISSING Warning "inetd-missing"
        "`-inetd_compat` was given and there is no inetd.conf. xinetd says nothing."
        "Leave the option out, or write the file."
    INETD_READ Note "inetd-read"
        "How a line of inetd.conf was understood, where it could surprise."
        "Nothing needs to be done."

    // Units of systemd.
    UNIT_LOST Error "unit-lost"
        "A socket that cannot be served as its units say is left out; or a setting that keeps clients out, or the program within bounds, has no counterpart, so that more is allowed than under systemd."
        "Do what the message says, or remove the setting if nobody needs it."
    UNIT_DROPPED Warning "unit-dropped"
        "A setting of a unit has no counterpart here and is dropped."
        "Do without it, or write the service in xinetd's language."
    UNIT_READ Note "unit-read"
        "How a setting of a unit was understood, or why nothing is lost with it."
        "Nothing needs to be done."

    // Sections.
    UNKNOWN_SECTION Error "unknown-section"
        "A line at the top level is neither `service NAME`, `defaults`, `include PATH` nor `includedir PATH`. As in xinetd, everything up to the next `}` is skipped."
        "Correct the line, or remove it."
    NAME_MISSING Error "name-missing"
        "`service`, `include` or `includedir` stands alone. As in xinetd, everything up to the next `}` is skipped."
        "Write the name or path behind it."
    BRACE_MISSING Error "brace-missing"
        "The line after `service NAME` or `defaults` must hold `{` and nothing else. As in xinetd, the section is skipped up to the next `}`."
        "Put `{` on a line of its own."
    SECTION_UNFINISHED Error "section-unfinished"
        "The file ends inside a section, which is not used."
        "Close the section with `}` on a line of its own."
    SWALLOWED Error "swallowed"
        "A section is skipped because the one before it has no `}` of its own, as in xinetd."
        "Close the section before it with `}` on a line of its own."
    SYNTAX Error "syntax"
        "A line of a section is not `name = value`. As in xinetd, the whole section is dropped; in `defaults`, everything from this line on is."
        "Write a name, white space, `=`, `+=` or `-=`, and the values."
    SECOND_DEFAULTS Error "second-defaults"
        "A file may hold one `defaults` section; further ones are ignored."
        "Merge the sections."
    EXTRA_WORDS Warning "extra-words"
        "Words behind `service NAME`, `include PATH` or `defaults` are ignored."
        "Remove them. Each inclusion needs a line of its own."
    DEFAULTS_LATE Warning "defaults-late"
        "`defaults` stands after services. xinetd would not apply these of its attributes to them; here the place of `defaults` does not matter."
        "Move `defaults` to the top, so that xinetd and portreeve agree."

    // Attributes.
    UNKNOWN_ATTRIBUTE Warning "unknown-attribute"
        "There is no such attribute; the line is ignored."
        "Correct the name, or remove the line."
    NOT_IN_DEFAULTS Warning "not-in-defaults"
        "The attribute has no meaning in `defaults`; the line is ignored."
        "Write it in each service that needs it."
    ALREADY_SET Warning "already-set"
        "The attribute was set before in this section. The first value counts, this line is ignored."
        "Remove one of the lines."
    OPERATOR Error "operator"
        "`+=` and `-=` change lists only; the line is ignored."
        "Write `=`."
    WRONG_COUNT Error "wrong-count"
        "The attribute takes another number of values; the line is ignored, and the attribute keeps its default."
        "Give as many values as it takes."
    NO_VALUE Warning "no-value"
        "The attribute needs a value and has none; the line is ignored."
        "Give a value, or remove the line."
    TRAILING_COMMENT Warning "trailing-comment"
        "A comment stands behind the value. xinetd counts its words as values and ignores the whole line, so that a limit is void there; here it is a comment."
        "Put the comment on a line of its own, so that xinetd and portreeve agree."
    HASH_IN_LIST Error "hash-in-list"
        "`#` does not start a comment in a list: it and the words behind it are read as entries, as in xinetd."
        "Put the comment on a line of its own."
    HASH_IN_ARGUMENTS Warning "hash-in-arguments"
        "`#` does not start a comment here: it and the words behind it are passed on, as in xinetd."
        "Put the comment on a line of its own, if it is one."

    // Values.
    BAD_VALUE Error "bad-value"
        "A value cannot be used. The service is not served; in `defaults`, nothing is."
        "The message names what was expected."
    UNKNOWN_USER Error "unknown-user"
        "The user database has no such user, so the service is not served."
        "Create the user, or name another. A number is taken as it is."
    UNKNOWN_GROUP Error "unknown-group"
        "The group database has no such group, so the service is not served."
        "Create the group, or name another. A number is taken as it is."
    NOT_EXECUTABLE Error "not-executable"
        "The program does not exist or may not be executed, so the service is not served."
        "Install the program, correct the path or its permissions, then reload."
    SERVER_IS_DIRECTORY Error "server-is-directory"
        "`server` names a directory. xinetd starts the service and fails at each connection; here it is not served."
        "Name the program."
    RELATIVE_PATH Error "relative-path"
        "`server` must be a path that starts with `/`: xinetd checks it in the directory it was started in and executes it from `/`."
        "Write the whole path."
    BAD_ADDRESS Error "bad-address"
        "An address is not one, or a host name does not resolve."
        "Correct the address. A name must resolve when the file is read."
    UNDEFINED_VARIABLE Warning "undefined-variable"
        "`passenv` names a variable that the daemon itself does not have; it is left out."
        "Remove the name, or set the variable for the daemon."

    // Address lists.
    ADDRESS_UNREADABLE Error "address-unreadable"
        "An entry of an address list is neither an address, a network, a domain nor a host name that resolves. As in xinetd it is dropped and the service is served with the rest."
        "Correct the entry. A list that loses all its entries refuses everybody."
    ADDRESS_SHORT Warning "address-short"
        "An address with fewer than four numbers is not a prefix: `10.1` is the single address 10.0.0.1."
        "Write the network with its length, e.g. `10.1.0.0/16`."
    ADDRESS_MASK Error "address-mask"
        "A netmask in dotted form, or a length beyond the address's own, is read as the single address, as in xinetd."
        "Write the length of the network, e.g. `10.0.0.0/8`."
    ADDRESS_ODD Warning "address-odd"
        "An entry is read otherwise than it looks: octal or hexadecimal numbers, numbers over 255 in braces, a scope."
        "Write plain decimal numbers from 0 to 255."
    ADDRESS_WILDCARD Warning "address-wildcard"
        "`::` means every IPv6 address, as the manual says. xinetd matches nobody with it."
        "Write `::/0`, so that xinetd and portreeve agree."
    NETWORK_NAME Warning "network-name"
        "A name from the networks database stands for one address only, unless the database gives a shortened number."
        "Write the network with its length."
    REFUSES_EVERYBODY Warning "refuses-everybody"
        "No client can ever be admitted."
        "Correct the limit or list, or switch the service off with `disable = yes`."

    // The service as a whole.
    MISSING_ATTRIBUTE Error "missing-attribute"
        "An attribute that this service needs was not given, so it is not served."
        "Add the attribute."
    MISSING_SERVER Error "missing-server"
        "The service has neither `server` nor `type = INTERNAL`, so there is nothing to serve."
        "Add `server = /path/of/program`."
    MISSING_PORT Error "missing-port"
        "The service's port is not known, so it is not served."
        "Add `port`, or the service to /etc/services."
    NOT_LISTED Error "not-listed"
        "The service is not in /etc/services with this protocol, and is not declared UNLISTED."
        "Add `type = UNLISTED`, or the service to /etc/services."
    PORT_DIFFERS Error "port-differs"
        "/etc/services gives the service another port."
        "Add `type = UNLISTED`, or correct the port."
    NO_SUCH_BUILTIN Error "no-such-builtin"
        "There is no built-in service of this name and socket type."
        "Use echo, discard, chargen, daytime or time with stream or dgram, tcpmux, servers, services, xadmin, trap or tarpit with stream, or remove INTERNAL."
    DUPLICATE Error "duplicate"
        "An earlier service listens on the same port, protocol and address, or tcpmux finds it by the same name. The first one is served."
        "Remove one, or give it another port or `bind`."
    WITHOUT_TCPMUX Warning "without-tcpmux"
        "Clients reach the service through tcpmux, and no service `tcpmux` is served."
        "Add the built-in `tcpmux`, or give the service a port of its own."
    SAME_ID Warning "same-id"
        "Two services have the same id, so logs, `enabled`, `disabled` and a reload cannot tell them apart."
        "Give one of them an `id` of its own."
    FLAG_CONFLICT Error "flag-conflict"
        "Flags or types of the service exclude each other, so it is not served."
        "Remove one of them."
    TRAFFIC Error "traffic"
        "TRAFFIC can be logged for redirected services only. As in xinetd, the service is not served."
        "Remove TRAFFIC from log_on_success, in `defaults` too."
    TRANSPARENT_ROUTES Warning "transparent-routes"
        "The targets of a transparent service see their clients' addresses and answer them, so the answers reach this host only as their gateway, and are its own only by a rule and a local route."
        "`ip rule add iif INTERFACE lookup 100` and `ip route add local default dev lo table 100`, where INTERFACE leads to the targets."
    LEADS_BACK Warning "leads-back"
        "A target of `redirect` is where this service listens itself, or another one that leads to it. Such a client is hung up on when it comes round."
        "Name another target, or give the service another port or `bind`."
    BIND_FAMILY Error "bind-family"
        "The address of `bind` does not belong to the family of the IPv4 or IPv6 flag. xinetd would listen on another address."
        "Correct the flag or the address."
    TOO_MANY_LISTENERS Error "too-many-listeners"
        "The addresses and ports of the service come to more than 1024 sockets."
        "Make the range smaller, or write several services."
    SEVERAL_SOCKETS Error "several-sockets"
        "A program of a `wait = yes` service is given one socket, rpcbind has one entry for an RPC service, and this service has several."
        "Write a service for each address or port, with an `id` of its own."
    GROUPS_WITHOUT_USER Error "groups-without-user"
        "`groups = yes` needs a user of the user database: the groups of a bare number are not known."
        "Name the user, or write `groups = no`."
    LOG_DIRECTORY Error "log-directory"
        "The directory of the service's log file does not exist. As in xinetd, the service is not served."
        "Create the directory, or correct `log_type`."
    ALWAYS_RUNNING Error "no-wait-datagram"
        "Only stream services can have `wait = no`. xinetd loops at full speed on such a service."
        "Write `wait = yes`: the server then reads the datagrams itself."
    SOCKET_MISMATCH Error "socket-mismatch"
        "The protocol does not go with the socket type, so no socket can be made."
        "Use tcp with stream and udp with dgram."
    WAIT_LIST Error "wait-list"
        "A stream service with `wait = yes` accepts its clients itself. Its lists are enforced by a filter on the socket, which knows addresses only and no host names."
        "Write addresses instead of names, or `wait = no`."
    HOSTS_RULES Error "hosts-rules-wait"
        "A stream service with `wait = yes` accepts its clients itself, and hosts.allow or hosts.deny holds rules. Rather than ignore them, the service is not served."
        "Write `wait = no`, or `flags = NOLIBWRAP` if the program asks the tables itself or they are not meant for it."
    UNIX_SOCKET Error "unix-socket"
        "A service listens at a unix socket and has something that is about ports or addresses, which its clients have not; or it has an owner, group or mode and no unix socket. Nothing that was to keep somebody out is passed over, so the service is not served."
        "Do what the message says; who may connect to a unix socket is what its owner, group and mode say."
    UNIX_LISTS Note "unix-lists"
        "`only_from` and `no_access` of `defaults` do not hold for services on unix sockets, whose clients have no address. Without `socket_mode` only the daemon's own user may connect to one in the file system."
        "Nothing needs to be done if `socket_mode`, `socket_owner` and `socket_group` say who may connect."
    SENSOR_NAME Error "sensor-name"
        "`sensor` is no built-in service. xinetd loses all its listeners with it."
        "Add `flags = SENSOR`."

    // What a person would want to know.
    PLAINTEXT Warning "plaintext-open"
        "The protocol sends passwords or files unencrypted, and everybody may connect."
        "Add `only_from`, or use an encrypted service."
    REFLECTOR Warning "reflector"
        "A datagram echo or chargen service that everybody may reach can be abused against third parties with forged addresses."
        "Add `only_from`, or switch it off."
    BANNER_MISSING Warning "banner-missing"
        "The banner's file does not exist. Clients are served without it."
        "Create the file, or remove the line."
    FLAG_IGNORED Warning "flag-ignored"
        "The flag has no effect here."
        "Remove it."
    REUSE Note "reuse"
        "The flag REUSE has no effect: addresses are always reused."
        "Nothing needs to be done."
    PROTECTS_EVERYBODY Warning "protects-everybody"
        "`protect_only_from` protects the networks of `only_from` from every ban, and one of them holds a good part of the internet."
        "Narrow `only_from`, or remove `protect_only_from` and name in `protect` who is to be protected."
    WITHOUT_EFFECT Warning "without-effect"
        "The attribute has no effect on this kind of service."
        "Remove it, or change the service."
    REMOTE_TARGET Warning "remote-target"
        "A unix socket that `redirect` leads to lies on a network or FUSE filesystem. Looking up a path there waits for that filesystem's server: as long as it does not answer, the clients of this service wait until they go on to the next target or are let go, and at most 64 threads of the supervisor with them. Others are served. Only `portreeve check` looks."
        "Put the socket on a local filesystem, such as /run, or redirect to an address."
    TLS_KEYS Error "tls-keys"
        "`tls_cert` and `tls_key` name different numbers of files. The service is not served: a certificate without its key is of no use."
        "Name one key for each certificate, in the same order; or leave `tls_key` out where the keys are in the files of the certificates."
    TLS_VOID Error "tls-void"
        "A line that was to bring TLS is void: its name is misspelt, or it has no value or another number of values than it takes. Any other void line is ignored; the service of this one is not served, since it would be served in the clear."
        "Write the line as the message says, or take it out."
    SANDBOX_VOID Error "sandbox-void"
        "A line that was to bring a sandbox is void, or its words contradict each other: its name or a word is misspelt, or a value is none. The service is not served, since its program would run with more than was meant."
        "Write the line as the message says, or take it out."
    VERIFY_VOID Error "verify-void"
        "A line that was to have the program verified is void: its name is misspelt, or it has another number of values than it takes. The service is not served, since its program would be started whatever it is."
        "Write the line as the message says, or take it out."
    UNTRUSTED_PROGRAM Error "untrusted-program"
        "With `verify_server = refuse` this program is not started: its content is not in the list of `trusted_programs`, or that list is missing, cannot be understood, or may be written by others than root. Only `portreeve check` looks; the daemon says it in the log when a client comes."
        "Look into what changed (`portreeve integrity check`, `portreeve integrity packages`), then `portreeve integrity trust`."
    UNTRUSTED_PROGRAM_WARNING Warning "untrusted-program-warning"
        "With `verify_server = warn` this program is started although its content is not in the list of `trusted_programs`, or that list cannot be used."
        "As with `untrusted-program`."
    SANDBOX_PATH Error "sandbox-path"
        "A path that a `sandbox` names is not there, or the program itself is not there, or not executed, in the view that it would get. No program starts then. Only `portreeve check` looks; the daemon says it in the log at each start."
        "Make the path, write `-` before it where it need not be there, or take the setting out."
    SANDBOX_KERNEL Error "sandbox-kernel"
        "This kernel cannot put a setting of a `sandbox` on: it is older than Linux 5.12 and gives a program no view of the file system of its own, it makes no user namespaces, or it has no control groups of version 2. No program starts then. Only `portreeve check` looks; the daemon says it in the log."
        "Take the settings that the message names out, use a later kernel, or mount cgroup2."
    SANDBOX_GROUP Warning "sandbox-group"
        "This kernel's control groups cannot keep an amount that a `sandbox` names: the controller is not there, or is one of version 1. The program is started without that bound, as under systemd. Only `portreeve check` looks; the daemon, which must have a control group of its own to divide, says in the log what it does not keep."
        "Boot with control groups of version 2 alone (`systemd.unified_cgroup_hierarchy=1`), or take the setting out."
    TLS_CONFLICT Error "tls-conflict"
        "This kind of service cannot stand behind TLS. It is not served, since it would be served in the clear."
        "Remove the lines of TLS, or change the service as the message says."
    TLS_FILE Error "tls-file"
        "A file of certificates or keys cannot be used: it is missing, unreadable, broken, out of date, or certificate and key do not belong together. The service is held until a reload finds it mended; clients wait in the kernel's queue. Only `portreeve check` looks; the daemon hands the file to the worker that serves TLS, which says in the log what it cannot use."
        "Do what the message says, then reload."
    TLS_FILE_WARNING Warning "tls-file-warning"
        "A certificate expires within 21 days, or a private key can be read or written by others than root."
        "Renew the certificate and reload; take the others' permissions away, and change a key that others may have read."
    TLS_PROGRAM Error "tls-program"
        "TLS is served by workers of the executable `portreeve`, which portreeve-gate looks for beside itself, or in `bin` where it is in `lib/portreeve`. It is not there, so services behind TLS are held: their clients wait in the kernel's queue."
        "Install `portreeve` and `portreeve-gate` of one version in one directory, or as `bin/portreeve` and `lib/portreeve/portreeve-gate` of one prefix."
    ID_ONLY Warning "idonly-without-userid"
        "IDONLY works only together with USERID in log_on_success, as in xinetd."
        "Add USERID to log_on_success."
    USERID_CLEARED Warning "userid-cleared"
        "USERID is not logged for the ident service, which would ask itself without end."
        "Remove USERID."
    BOTH_FAMILIES Note "both-families"
        "Both IPv4 and IPv6 are set: the service uses IPv6, which serves IPv4 clients too, or IPv4 where there is no IPv6."
        "Nothing needs to be done."
}

/// Every kind of finding, by subject.
pub fn codes() -> &'static [&'static Code] {
    ALL
}

/// docs/guide/diagnostics.md.
pub fn codes_manual() -> String {
    let mut text = String::from(
        "# Diagnostics\n\n\
         Every finding of `portreeve check` and of a reload carries one of these words. They are stable: scripts may rely on them.\n\
         An **error** means that something is not served as written, a **warning** that the file may be read otherwise than its\n\
         author thinks, a **note** changes nothing. The daemon's log has xinetd's own text for each condition that xinetd reports.\n\n\
         This page is made from the table in `crates/conf/src/codes.rs`; a test compares the two.\n",
    );
    for code in ALL {
        let severity = match code.severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        text.push_str(&format!(
            "\n## `{}` ({severity})\n\n{}\n\n*Remedy:* {}\n",
            code.word, code.meaning, code.remedy
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unique_and_plain() {
        let mut seen = std::collections::HashSet::new();
        for code in ALL {
            assert!(seen.insert(code.word), "{} twice", code.word);
            assert!(
                code.word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
                "{}",
                code.word
            );
            assert!(code.meaning.ends_with('.') && code.remedy.ends_with('.'), "{}", code.word);
        }
    }
}

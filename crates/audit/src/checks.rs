//! THE table of checks: what each looks for, why it matters, how to mend it. The manual's page is made from it.

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Severity {
    Low,
    Medium,
    High,
}

impl Severity {
    /// The word for people and machines.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
        }
    }
}

/// One check.
#[derive(Debug, PartialEq, Eq)]
pub struct Check {
    /// Its name, for ever.
    pub id: &'static str,
    /// How bad a finding is.
    pub severity: Severity,
    /// What is found, in a few words.
    pub title: &'static str,
    /// When exactly it is a finding.
    pub when: &'static str,
    /// Why that matters.
    pub why: &'static str,
    /// What mends it, in general; a finding has the command for its case.
    pub fix: &'static str,
    /// What the fix may break.
    pub risk: &'static str,
    /// How the fix is undone, in general.
    pub undo: &'static str,
}

/// What stops a listener, in the documentation's words.
const STOP: &str = "`portreeve disable SERVICE` for a service of ours, `systemctl disable --now UNIT` for a unit, the runtime's \
                    `stop` for a container, `kill PID` for anything else.";
/// What starts it again.
const START: &str = "`portreeve enable SERVICE`, `systemctl enable --now UNIT`, the runtime's `start`, or the command line that the \
                     finding shows.";

/// A login or commands in the clear.
pub const PLAINTEXT_LOGIN: Check = Check {
    id: "listener-plaintext-login",
    severity: Severity::High,
    title: "passwords or commands in plaintext, open to everybody",
    when: "A TCP or UDP listener on all addresses or on a public one, which no firewall that is understood keeps to some networks, at a port whose usual protocol sends passwords or takes \
           commands without encryption: telnet, rlogin, rsh, rexec, cvs pserver, vnc, x11, redis, mqtt, uucp, docker's open api.",
    why: "Whoever is on the path reads the password, or changes the command, and nobody notices.",
    fix: STOP,
    risk: "Its clients are cut off; see who they are first (`portreeve events`, `ss -tn`).",
    undo: START,
};

/// Contents in the clear.
pub const PLAINTEXT: Check = Check {
    id: "listener-plaintext",
    severity: Severity::Medium,
    title: "a plaintext service, open to everybody",
    when: "A TCP or UDP listener on all addresses or on a public one, which no firewall that is understood keeps to some networks, at a port whose usual protocol sends its contents without \
           encryption: http, tftp, rsync, finger, nfs, rpcbind, syslog, lpd, memcached, checkmk, elasticsearch. DNS, NTP and the like are none: their \
           answers are for everybody. Protocols that can turn encryption on, as smtp and imap, are none.",
    why: "Whoever is on the path reads and changes what is sent. Often such a service was meant for one network only.",
    fix: STOP,
    risk: "Its clients are cut off. Where they are all local, bind it to 127.0.0.1 in its own configuration instead.",
    undo: START,
};

/// The program on disk is another one.
pub const STALE_EXECUTABLE: Check = Check {
    id: "listener-stale-executable",
    severity: Severity::Medium,
    title: "a listener runs a program that is no longer on disk",
    when: "The executable of the first process that holds a listener of any kind was deleted, or another file has its name (device and \
           inode are compared, in the process's own root), or it never was on disk (memfd). One finding for each process.",
    why: "After an upgrade the old code, with its holes, still answers. A deleted program is also how intruders hide theirs.",
    fix: "`systemctl restart UNIT`, the runtime's `restart`, or `kill PID` and its command line again.",
    risk: "Running connections end.",
    undo: "Nothing to undo: what is on disk runs. To go back, install the former package.",
};

/// Root, everywhere, and nobody's.
pub const ROOT_UNPACKAGED: Check = Check {
    id: "listener-root-unpackaged",
    severity: Severity::High,
    title: "a program of no package listens as root on all addresses",
    when: "A TCP, UDP, SCTP or UDP-Lite listener on all addresses, which no firewall that is understood keeps to some networks, whose first process has effective user 0 and runs an executable of \
           this host's root that is in no list of dpkg and not rpm's. Not asked where neither can be read, nor of a process in a container. One \
           finding for each process.",
    why: "No update will ever mend it, nobody vouches for it, and a hole in it is root.",
    fix: STOP,
    risk: "It may be your own tool: then waive it with an owner, or let it run as a user of its own.",
    undo: START,
};

/// What nobody accepted.
pub const LISTENER_UNEXPECTED: Check = Check {
    id: "listener-unexpected",
    severity: Severity::Medium,
    title: "nobody answers for this listener",
    when: "There is a baseline, and a listener is not in it with the same protocol, address, namespace, executable and user, or the day \
           through which it was accepted has passed. Unix sockets, UDP at the ports that the kernel hands out to clients, and \
           namespaces without a name are not compared.",
    why: "What nobody declared is forgotten, a mistake, or an intruder's.",
    fix: "Stop it as above; or accept it: `portreeve listeners accept --owner OWNER --expires DAY`.",
    risk: "Its clients are cut off; see who they are first (`portreeve events`, `ss -tn`).",
    undo: START,
};

/// What was accepted and is not there.
pub const LISTENER_MISSING: Check = Check {
    id: "listener-missing",
    severity: Severity::Low,
    title: "an accepted listener does not listen",
    when: "The baseline has a listener that is not there with the same protocol, address, namespace, executable and user.",
    why: "A service is down, or has moved; an entry that nothing needs lets the next program in unseen.",
    fix: "Start it again, or drop the entry: `portreeve listeners accept --owner OWNER --expires DAY`.",
    risk: "`accept` takes all that listens now, the unexpected too: look at it first.",
    undo: "Put the former listeners.toml back: `accept` leaves it as listeners.toml.before.",
};

/// What the next start does not have.
const RESTART_RISK: &str = "Its running connections and sessions end. A program whose configuration no longer fits does not come up again: \
                            test it first (`sshd -t`, `nginx -t`).";

/// Old code in a process.
pub const STALE_PROCESS: Check = Check {
    id: "stale-process",
    severity: Severity::Medium,
    title: "runs code that is no longer what is on disk",
    when: "A process executes, from its memory, a program or a library whose file has gone, or whose name now leads to a file of another \
           build-id; where there is none, of other content. Compared in the process's own mount namespace and root. An equal file with another \
           inode or another time stamp is none, nor is memory without a file (memfd, /dev/shm, JIT) or what lies in /tmp. One finding for \
           each unit, container or program.",
    why: "The hole that the upgrade closed is still open in it.",
    fix: "`systemctl restart UNIT`, the runtime's `restart`, the end of the login session, or `kill PID` and its command line again.",
    risk: RESTART_RISK,
    undo: "Nothing to undo: what is on disk runs. To go back, install the former package.",
};

/// Old code in an instance of ours.
pub const STALE_INSTANCE: Check = Check {
    id: "stale-instance",
    severity: Severity::Medium,
    title: "instances of this service run old code",
    when: "As for stale-process, for a process that the running portreeve started for a client, and its descendants. Of a script, the \
           daemon tells that its content has changed since the instance started.",
    why: "New clients already get the new code; these sessions still have the hole that the upgrade closed.",
    fix: "`portreeve stale --retire SERVICE`; with `--idle-first` and `--after 10m` it leaves them time.",
    risk: "The sessions that are retired end.",
    undo: "Nothing to undo: the client connects again.",
};

/// The kernel.
pub const STALE_KERNEL: Check = Check {
    id: "stale-kernel",
    severity: Severity::Medium,
    title: "a newer kernel is installed than runs",
    when: "/boot or the modules' directory has a newer kernel of the running one's flavour, or the running release built again, or not the \
           running one any more. Not asked in a container.",
    why: "The holes of the running kernel stay open until the next boot; modules that are not loaded yet may be gone.",
    fix: "`systemctl reboot`",
    risk: "Everything stops for the time of a boot. What was started by hand does not come back: `portreeve listeners accept` before, \
           `portreeve audit` after it.",
    undo: "Boot the former kernel from the loader's menu.",
};

/// The microcode.
pub const STALE_MICROCODE: Check = Check {
    id: "stale-microcode",
    severity: Severity::Medium,
    title: "newer microcode is installed than the processor runs",
    when: "The firmware directory has a newer revision for this processor, of Intel or AMD, than /proc/cpuinfo shows. Not asked in a guest, \
           whose host loads it.",
    why: "Holes of the processor stay open until the next boot loads it.",
    fix: "`systemctl reboot`",
    risk: "Everything stops for the time of a boot.",
    undo: "Boot with `dis_ucode_ldr`.",
};

/// The former content is not kept anywhere by dpkg or rpm.
const KEPT: &str =
    "Keep a copy first, for whoever has to find out: `cp -a FILE /root/`. Put it back to undo.";

/// Not what the package brought.
pub const INTEGRITY_CHANGED: Check = Check {
    id: "integrity-changed",
    severity: Severity::High,
    title: "a package's file is not what the package brought",
    when: "A file in a list of dpkg has another MD5 sum than the list, is no regular file any more, or has another owner or mode than \
           dpkg-statoverride ordered; or rpm says that it differs. Diverted files are looked at where they were diverted to. Asked with \
           `portreeve integrity packages`, and with `portreeve audit`.",
    why: "Nobody but the package manager has business there: a mistake by hand, a broken disk, or an intruder's program under a \
          trusted name. The lists lie on the same disk, so an intruder who is root can change them too.",
    fix: "`apt-get install --reinstall PACKAGE`, `dnf reinstall PACKAGE`; after an intrusion, install the host anew.",
    risk: "What was changed on purpose is lost.",
    undo: KEPT,
};

/// Not there.
pub const INTEGRITY_MISSING: Check = Check {
    id: "integrity-missing",
    severity: Severity::Medium,
    title: "a package's file is missing",
    when: "A file or directory in a list of dpkg is not there, and no `path-exclude` of dpkg's configuration leaves it out; or rpm says that \
           it is missing. Asked as integrity-changed.",
    why: "Something does not work, or will not when it is needed.",
    fix: "`apt-get install --reinstall PACKAGE`, `dnf reinstall PACKAGE`.",
    risk: "None, where nobody removed it on purpose.",
    undo: "Remove it again; to keep it away from the next upgrade too, `path-exclude=FILE` in /etc/dpkg/dpkg.cfg.d.",
};

/// Changed as it may be.
pub const INTEGRITY_CONFFILE: Check = Check {
    id: "integrity-conffile",
    severity: Severity::Low,
    title: "a file of configuration is not the package's own",
    when: "As integrity-changed and integrity-missing, for a file that the package marks as configuration. Asked with `--conffiles`.",
    why: "It is there to be changed; but a change that nobody remembers is worth a look.",
    fix: "Compare it with the package's own; the command puts that in its place.",
    risk: "Your own settings are lost, in all files of configuration of the package.",
    undo: KEPT,
};

/// How a difference from a baseline is mended.
const ACCEPT: &str = "Where it is right: `portreeve integrity accept PATH`. Where nobody knows why: put it back from a backup or its package; after \
                      an intrusion, install the host anew.";
/// What may go wrong with that.
const ACCEPT_RISK: &str = "What is accepted is what is right from then on: see first who changed it.";
/// How it is undone.
const ACCEPT_UNDO: &str =
    "`portreeve integrity check --baseline NUMBER` still compares with the former baseline.";

/// Not what was signed.
pub const BASELINE_CHANGED: Check = Check {
    id: "integrity-baseline-changed",
    severity: Severity::High,
    title: "a file is not what the signed baseline says",
    when: "A property that counts, by the rules that were signed, differs from the baseline, and no package explains it; or a file is new and set-uid \
           or set-gid. Asked with `portreeve integrity check`.",
    why: "Somebody changed it, a disk is broken, or an intruder has put his own in its place.",
    fix: ACCEPT,
    risk: ACCEPT_RISK,
    undo: ACCEPT_UNDO,
};

/// Not in the baseline.
pub const BASELINE_ADDED: Check = Check {
    id: "integrity-baseline-added",
    severity: Severity::Medium,
    title: "a path is not in the signed baseline",
    when: "A path that the rules look at is not in the baseline, and no package explains it. Asked with `portreeve integrity check`.",
    why: "What is new below /etc, /usr or /boot is run or read by root sooner or later.",
    fix: ACCEPT,
    risk: ACCEPT_RISK,
    undo: ACCEPT_UNDO,
};

/// Gone.
pub const BASELINE_REMOVED: Check = Check {
    id: "integrity-baseline-removed",
    severity: Severity::Medium,
    title: "a path of the signed baseline is gone",
    when: "A path of the baseline that the rules look at is not there, and the directory that it was in could be read. Asked with `portreeve integrity check`.",
    why: "Something does not work, or no longer keeps anybody out.",
    fix: ACCEPT,
    risk: ACCEPT_RISK,
    undo: ACCEPT_UNDO,
};

/// Cannot be looked at.
pub const BASELINE_UNSEEN: Check = Check {
    id: "integrity-baseline-unseen",
    severity: Severity::Medium,
    title: "a path cannot be looked at",
    when: "The kernel says nothing of a path that is there. Asked with `portreeve integrity check`.",
    why: "Nobody knows whether it is what it was; a broken disk or a broken file system looks like this.",
    fix: "See with `ls -ld PATH`, `namei -l PATH` and `dmesg` why.",
    risk: "None.",
    undo: "Nothing to undo.",
};

/// All checks, in the order of the report.
pub const CHECKS: [&Check; 17] = [
    &PLAINTEXT_LOGIN,
    &ROOT_UNPACKAGED,
    &PLAINTEXT,
    &STALE_EXECUTABLE,
    &LISTENER_UNEXPECTED,
    &LISTENER_MISSING,
    &STALE_INSTANCE,
    &STALE_PROCESS,
    &STALE_KERNEL,
    &STALE_MICROCODE,
    &INTEGRITY_CHANGED,
    &INTEGRITY_MISSING,
    &INTEGRITY_CONFFILE,
    &BASELINE_CHANGED,
    &BASELINE_ADDED,
    &BASELINE_REMOVED,
    &BASELINE_UNSEEN,
];

/// What a finding's evidence may hold, and what a waiver may match; the number of a process is shown but never matched, since
/// a restart is no change.
pub const EVIDENCE: [(&str, &str); 19] = [
    ("protocol", "`tcp`, `udp`, …, as in `portreeve listeners`"),
    ("address", "address and port, as in `portreeve listeners`; of several, the first"),
    ("namespace", "`own`, a name, or `net:[number]`"),
    ("reach", "who reaches it, as in `portreeve listeners`"),
    ("usual", "the port's usual protocol"),
    ("executable", "the path of what runs"),
    ("image", "`deleted`, `replaced` or `memory`"),
    ("uid", "the effective user's number"),
    ("unit", "the systemd unit"),
    ("container", "runtime and name"),
    ("service", "the service of ours"),
    ("files", "what is old in the process, and how: `gone`, `rebuilt`, `replaced`"),
    ("path", "the file"),
    ("package", "the package that brought it"),
    ("columns", "rpm's nine columns, or `missing`, `added`, `unseen`"),
    ("kind", "`file`, `directory`, `link` and so on"),
    ("properties", "what differs: what it was and what it is"),
    ("running", "the release or revision that runs"),
    ("installed", "the one that the next boot would bring"),
];

/// The manual's page of the checks.
pub fn page() -> String {
    let mut page = String::from(
        "# The checks of `portreeve audit`\n\n\
         This page is generated from the table in `crates/audit/src/checks.rs`. An id never changes its meaning. What a finding \
         holds, and how one is waived, stands in [the guide](../guide/listeners.md).\n\n\
         | id | severity | found |\n|---|---|---|\n",
    );
    for check in CHECKS {
        page.push_str(&format!(
            "| [{0}](#{0}) | {1} | {2} |\n",
            check.id,
            check.severity.word(),
            check.title
        ));
    }
    for check in CHECKS {
        page.push_str(&format!(
            "\n## {}\n\n{} ({}).\n\n- **When**: {}\n- **Why it matters**: {}\n- **Fix**: {}\n- **Risk of the fix**: {}\n- **Undo**: {}\n",
            check.id,
            check.title,
            check.severity.word(),
            check.when,
            check.why,
            check.fix,
            check.risk,
            check.undo
        ));
    }
    page.push_str("\n## Evidence\n\nA waiver matches these by name. A finding has those that are known.\n\n| name | what |\n|---|---|\n");
    for (name, what) in EVIDENCE {
        page.push_str(&format!("| `{name}` | {what} |\n"));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `PORTREEVE_BLESS=1 cargo test -p portreeve-audit --lib documents` writes the page.
    #[test]
    fn documents() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/man/checks.md");
        if std::env::var_os("PORTREEVE_BLESS").is_some() {
            std::fs::write(&path, page()).unwrap();
        }
        let found = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == page(), "{} is out of date: run with PORTREEVE_BLESS=1", path.display());
    }

    #[test]
    fn ids_are_unique_and_plain() {
        let mut ids: Vec<_> = CHECKS.iter().map(|check| check.id).collect();
        assert!(ids.iter().all(|id| id.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')));
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), CHECKS.len());
    }
}

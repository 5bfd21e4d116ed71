//! The sandbox of a service in the form in which `sys` puts it on. What the words mean is `portreeve_conf`'s; here are the rules about
//! arguments of system calls that they come to. Touches nothing: an error shows when a program is started.

use crate::sandbox_view;
use portreeve_conf::{CallAnswer, Keyring, Sandbox, Users};
use portreeve_sys::calls::number;
use portreeve_sys::sandbox as sys;
use portreeve_sys::seccomp::{Answer, KNOWN, Rule, Test, compile};
use portreeve_sys::user_namespace;
use rustix::fd::OwnedFd;

const EPERM: u16 = 1;
const ENOSYS: u16 = 38;
const EAFNOSUPPORT: u16 = 97;
const CAP_SYS_ADMIN: u64 = 1 << 21;
/// CLONE_NEWTIME. In the flags of clone(2) the bit is of the signal.
const NEW_TIME: u32 = 0x80;
const PROT_WRITE: u32 = 2;
const PROT_EXEC: u32 = 4;
const SHM_EXEC: u32 = 0o100_000;
/// Set-user-ID and set-group-ID.
const SET_IDS: u32 = 0o6000;
/// O_CREAT, and the bit of O_TMPFILE that is not O_DIRECTORY.
const MAKES: u32 = 0o100 | 0o20_000_000;
/// SCHED_OTHER, SCHED_BATCH, SCHED_IDLE, and the same with SCHED_RESET_ON_FORK.
const NOT_REALTIME: [u32; 6] = [0, 3, 5, 0x4000_0000, 0x4000_0003, 0x4000_0005];
/// The question which personality there is.
const WHICH_PERSONALITY: u32 = u32::MAX;
/// PER_LINUX, and that question.
const PERSONALITIES: [u32; 2] = [0, WHICH_PERSONALITY];
/// READ_IMPLIES_EXEC, of personality(2).
const READ_IS_EXEC: u32 = 0x40_0000;

/// The sandbox of a program that runs as this user and group. `refused`: why it cannot be started.
pub fn prepare(sandbox: &Sandbox, (uid, gid): (u32, u32), refused: Option<String>) -> sys::Sandbox {
    let filters = filters(sandbox);
    let no_filter = filters.is_none().then(|| "a filter of system calls on this machine".to_owned());
    let (users, no_users) = match users(sandbox.users, uid, gid) {
        Ok(users) => (users, None),
        Err(error) => (None, Some(format!("PrivateUsers: {}", crate::machine::percent_m(&error)))),
    };
    // Without either the kernel takes no filter. Root keeps what set-user-ID programs give, as under systemd.
    let ambient = sandbox.ambient == 0 || sandbox.ambient & CAP_SYS_ADMIN != 0;
    let may_filter = uid == 0 && ambient && sandbox.bounding & CAP_SYS_ADMIN != 0 && sys::may_filter();
    let needed = sandbox.filters() && !may_filter;
    let view = sandbox_view::prepare(sandbox);
    sys::Sandbox {
        root: view.root,
        mounts: view.mounts,
        links: view.links,
        sources: view.sources,
        keyring: match sandbox.keyring {
            Keyring::Inherit => sys::Keyring::Inherit,
            Keyring::Private => sys::Keyring::Private,
            Keyring::Shared => sys::Keyring::Shared,
        },
        network: sandbox.network,
        ipc: sandbox.ipc,
        host_name: sandbox.host_name,
        bounding: sandbox.bounding,
        ambient: sandbox.ambient,
        secure_bits: sandbox.secure_bits,
        no_new_privs: sandbox.no_new_privileges || needed,
        users,
        impossible: refused.or(no_users).or(no_filter),
        filters: filters.unwrap_or_default(),
        at: sys::At::default(),
    }
}

fn users(which: Users, uid: u32, gid: u32) -> std::io::Result<Option<OwnedFd>> {
    /// As systemd's `identity`.
    const FIRST: u32 = 65_536;
    let first = match which {
        Users::Outside => return Ok(None),
        Users::Own => 1,
        Users::Identity => FIRST,
    };
    // One beyond those that are there anyway.
    let more = |id: u32| if id >= first { vec![(0, first), (id, 1)] } else { vec![(0, first)] };
    user_namespace::make(&more(uid), &more(gid)).map(Some)
}

/// The same, and a program that may be executed may be so by its descriptor: it is the same right by another call.
pub fn with_execveat(sandbox: &Sandbox) -> Sandbox {
    let mut sandbox = sandbox.clone();
    if let Some(calls) = &mut sandbox.calls {
        calls.listed.retain(|(name, _)| *name != "execveat");
        calls.listed.push(("execveat", CallAnswer::Allow));
    }
    sandbox
}

type Filter = Vec<portreeve_sys::filter::Insn>;

/// The filters in the order in which they are installed; `None` where they cannot be made on this machine.
fn filters(sandbox: &Sandbox) -> Option<Vec<Filter>> {
    if !sandbox.filters() {
        return Some(Vec::new());
    }
    if !KNOWN {
        return None;
    }
    let mut filters = vec![compile(&restrictions(sandbox), Answer::Allow).ok()?];
    if let Some(calls) = &sandbox.calls {
        let rule = |(name, said): &(&str, CallAnswer)| {
            Some(Rule { call: number(name)?, when: Vec::new(), answer: answer(*said) })
        };
        let rules: Vec<Rule> = calls.listed.iter().filter_map(rule).collect();
        filters.push(compile(&rules, answer(calls.otherwise)).ok()?);
    }
    Some(filters)
}

fn answer(answer: CallAnswer) -> Answer {
    match answer {
        CallAnswer::Allow => Answer::Allow,
        CallAnswer::Errno(errno) => Answer::Errno(errno),
        CallAnswer::Kill => Answer::Kill,
    }
}

#[derive(Default)]
struct Rules(Vec<Rule>);

impl Rules {
    /// A call that this machine has; of others there is nothing to say.
    fn add(&mut self, name: &str, when: &[(u8, Test)], answer: Answer) {
        let rule = |call| Rule { call, when: when.to_vec(), answer };
        self.0.extend(number(name).map(rule));
    }

    fn deny(&mut self, name: &str, when: &[(u8, Test)]) {
        self.add(name, when, Answer::Errno(EPERM));
    }
}

/// All but the list of `SystemCallFilter`.
fn restrictions(sandbox: &Sandbox) -> Vec<Rule> {
    let mut rules = Rules::default();
    for name in &sandbox.denied {
        rules.deny(name, &[]);
    }
    if sandbox.families.is_some() || sandbox.set_ids {
        // It opens files and sockets out of a filter's sight.
        rules.deny("io_uring_setup", &[]);
    }
    if let Some(families) = &sandbox.families {
        let listed = [(0, Test::In(families.list.iter().map(|&family| u32::from(family)).collect()))];
        if families.allow {
            rules.add("socket", &listed, Answer::Allow);
            rules.add("socket", &[], Answer::Errno(EAFNOSUPPORT));
        } else {
            rules.add("socket", &listed, Answer::Errno(EAFNOSUPPORT));
        }
    }
    if sandbox.namespaces != 0 {
        let flags = sandbox.namespaces;
        rules.deny("unshare", &[(0, Test::AnyOf(flags))]);
        // Of clone(2) the flags are the first argument on all machines that there are filters for.
        rules.deny("clone", &[(0, Test::AnyOf(flags & !NEW_TIME))]);
        // Its flags are in memory. The C library falls back to clone.
        rules.add("clone3", &[], Answer::Errno(ENOSYS));
        // 0 is any kind.
        rules.deny("setns", &[(1, Test::In(vec![0]))]);
        rules.deny("setns", &[(1, Test::AnyOf(flags))]);
    }
    if sandbox.personality {
        rules.add("personality", &[(0, Test::In(PERSONALITIES.to_vec()))], Answer::Allow);
        rules.deny("personality", &[]);
    }
    if sandbox.write_execute {
        // Memory that can be read is executable there, whatever is asked for.
        rules.add("personality", &[(0, Test::In(vec![WHICH_PERSONALITY]))], Answer::Allow);
        rules.deny("personality", &[(0, Test::AnyOf(READ_IS_EXEC))]);
        rules.deny("mmap", &[(2, Test::AllOf(PROT_WRITE | PROT_EXEC))]);
        rules.deny("mprotect", &[(2, Test::AnyOf(PROT_EXEC))]);
        rules.deny("pkey_mprotect", &[(2, Test::AnyOf(PROT_EXEC))]);
        rules.deny("shmat", &[(2, Test::AnyOf(SHM_EXEC))]);
    }
    if sandbox.realtime {
        rules.add("sched_setscheduler", &[(1, Test::In(NOT_REALTIME.to_vec()))], Answer::Allow);
        rules.deny("sched_setscheduler", &[]);
        // The policy is in memory.
        rules.deny("sched_setattr", &[]);
    }
    if sandbox.set_ids {
        let mode = |index| (index, Test::AnyOf(SET_IDS));
        for (name, index) in [
            ("chmod", 1),
            ("fchmod", 1),
            ("fchmodat", 2),
            ("fchmodat2", 2),
            ("mkdir", 1),
            ("mkdirat", 2),
            ("mknod", 1),
            ("mknodat", 2),
            ("creat", 1),
        ] {
            rules.deny(name, &[mode(index)]);
        }
        rules.deny("open", &[(1, Test::AnyOf(MAKES)), mode(2)]);
        rules.deny("openat", &[(2, Test::AnyOf(MAKES)), mode(3)]);
        // The mode is in memory. The C library does not use it by itself.
        rules.add("openat2", &[], Answer::Errno(ENOSYS));
    }
    rules.0
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use portreeve_conf::ALL_CAPABILITIES;

    pub fn nothing() -> Sandbox {
        Sandbox {
            words: Vec::new(),
            place: None,
            no_new_privileges: false,
            mounts: None,
            root: None,
            api: false,
            keyring: Keyring::Inherit,
            network: false,
            ipc: false,
            host_name: false,
            users: Users::Outside,
            dynamic_user: false,
            group: portreeve_conf::Group::default(),
            bounding: ALL_CAPABILITIES,
            ambient: 0,
            secure_bits: 0,
            calls: None,
            denied: Vec::new(),
            families: None,
            namespaces: 0,
            personality: false,
            write_execute: false,
            realtime: false,
            set_ids: false,
            native: false,
        }
    }

    fn prepare(sandbox: &Sandbox, uid: u32) -> sys::Sandbox {
        super::prepare(sandbox, (uid, uid), None)
    }

    #[test]
    fn a_filter_needs_no_new_privs_but_of_root_that_may_anything() {
        let filtered = Sandbox { personality: true, ..nothing() };
        assert!(!prepare(&nothing(), 1000).no_new_privs);
        assert!(prepare(&filtered, 1000).no_new_privs);
        assert_eq!(prepare(&filtered, 0).no_new_privs, !sys::may_filter());
        let bounded = Sandbox { bounding: !CAP_SYS_ADMIN, ..filtered };
        assert!(prepare(&bounded, 0).no_new_privs);
        assert!(prepare(&Sandbox { no_new_privileges: true, ..nothing() }, 0).no_new_privs);
    }

    /// A filter of every rule, and of every set of calls, fits into what the kernel takes.
    #[test]
    fn what_forbids_most_can_be_compiled() {
        let most = Sandbox {
            denied: vec!["iopl", "init_module", "settimeofday"],
            families: Some(portreeve_conf::Families { allow: true, list: (0..46).collect() }),
            namespaces: 0x7e02_0080,
            personality: true,
            write_execute: true,
            realtime: true,
            set_ids: true,
            native: true,
            calls: Some(portreeve_conf::Calls {
                listed: vec![
                    ("mount", CallAnswer::Kill),
                    ("no_number", CallAnswer::Kill),
                    ("read", CallAnswer::Errno(1)),
                ],
                otherwise: CallAnswer::Allow,
            }),
            ..nothing()
        };
        let made = prepare(&most, 1000);
        assert_eq!((made.impossible.is_some(), made.filters.len()), (!KNOWN, if KNOWN { 2 } else { 0 }));
        assert!(made.filters.iter().all(|filter| filter.len() < 500));
    }
}

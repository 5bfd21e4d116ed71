//! What a control group and a user namespace keep (`sandbox`): users, devices, memory, processes; a reload while instances run; what is
//! left behind a crash. xinetd has nothing like it.

use portreeve_compliance::client::{dial, talk};
use portreeve_compliance::hierarchy::{has_controllers, hierarchy};
use portreeve_compliance::init::PROBE;
use portreeve_compliance::skip::{Reason, skip};
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, Connection, Entry, Start, World, ours, signals};
use std::path::PathBuf;

fn script(world: &World, id: &str, port: u16, text: &str, sandbox: &str) -> Entry {
    let name = format!("{id}.sh");
    world.write_mode(&name, format!("#!/bin/sh\n{text}\n"), 0o755);
    let entry = Entry::program(id, port).set("server", &format!("/run/w/{name}")).unset("server_args");
    entry.set("sandbox", sandbox)
}

fn said(port: u16) -> String {
    talk("127.0.0.1", port, b"").text()
}

/// A line to somebody who answers with one.
fn ask(connection: &mut Connection, line: &str) -> String {
    connection.send(format!("{line}\n").as_bytes());
    connection.read_until(b"\n").text()
}

#[test]
fn a_program_has_users_of_its_own() {
    ours(|world| {
        world.write("theirs", "");
        std::os::unix::fs::chown(world.path("theirs"), Some(1234), Some(1234)).expect("to give away");
        let look = "tr -s ' ' ' ' </proc/self/uid_map; tr -s ' ' ' ' </proc/self/gid_map; id -u; id -g; stat -c '%u %g' /run/w/theirs /\n\
            grep -E '^Cap(Eff|Bnd)' /proc/self/status | cut -f2; mount -t tmpfs none /mnt 2>/dev/null && echo mounts";
        let who = |id: &str, port, user: &str, words: &str| {
            script(world, id, port, look, words).set("user", user).set("group", user)
        };
        let config = Config::of(who("own", 2001, "65534", "PrivateUsers"))
            .with(who("root", 2002, "0", "PrivateUsers CapabilityBoundingSet=CAP_CHOWN CapabilityBoundingSet=CAP_SETUID"))
            .with(who("identity", 2003, "1234", "PrivateUsers=identity"))
            .with(who(
                "ambient",
                2004,
                "65534",
                "PrivateUsers AmbientCapabilities=CAP_CHOWN CapabilityBoundingSet=CAP_CHOWN NoNewPrivileges",
            ))
            .with(who("plain", 2005, "0", "NoNewPrivileges"))
            .with(who("filtered", 2006, "65534", "PrivateUsers ProtectSystem=strict SystemCallFilter=@system-service SystemCallErrorNumber=EPERM"));
        let _daemon = world.start(&config);
        let maps = |more: &str| format!(" 0 0 1\n{more} 0 0 1\n{more}");
        let own = format!("{}65534\n65534\n65534 65534\n0 0\n", maps(" 65534 65534 1\n"));
        let full = std::fs::read_to_string("/proc/self/status").expect("a status");
        let full = full.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).expect("a set").to_owned();
        let known = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").expect("a number");
        let known = (1_u64 << (known.trim().parse::<u32>().expect("a number") + 1)) - 1;
        let nothing = "0".repeat(16);
        assert_eq!(said(2001), format!("{own}{nothing}\n{known:016x}\n"));
        // Root there is nobody's root outside, and no more than its bounding set.
        assert_eq!(said(2002), format!("{}0\n0\n65534 65534\n0 0\n{1:016x}\n{1:016x}\n", maps(""), 0x81));
        let identity = " 0 0 65536\n 0 0 65536\n1234\n1234\n1234 1234\n0 0\n";
        assert_eq!(said(2003), format!("{identity}{nothing}\n{known:016x}\n"));
        assert_eq!(said(2004), format!("{own}{:016x}\n{:016x}\n", 1, 1));
        let plain = said(2005);
        assert!(
            plain.contains("4294967295") && plain.contains("1234 1234") && plain.contains(&full),
            "{plain}"
        );
        assert_eq!(said(2006), format!("{own}{nothing}\n{known:016x}\n"));
    });
}

const DEVICES: &str = "try() { \"$@\" 2>&- && echo \"$name\"; }
name=null; try sh -c ': </dev/null'
name=null-written; try sh -c 'echo x >/dev/null'
name=zero; try sh -c 'head -c 1 /dev/zero >/run/w/out'
name=full; try sh -c ': </dev/full'
name=made; try mknod /run/w/made c 1 5; rm -f /run/w/made
name=elsewhere; try sh -c 'head -c 1 /run/w/zero >/run/w/out'
exit 0";

/// The kernel keeps devices, wherever their nodes lie.
#[test]
fn a_program_has_the_devices_that_it_is_allowed() {
    let Some((place, _)) = hierarchy() else { return skip(Reason::NoControlGroups) };
    ours(|world| {
        let (_, made) = world.run(&["/bin/sh", "-c", "mknod -m 666 /run/w/zero c 1 5 && echo made"], &[]);
        assert_eq!(made, "made\n");
        let all = "null\nnull-written\nzero\nfull\nmade\nelsewhere\n";
        let table = [
            ("off", all),
            ("DevicePolicy=auto NoNewPrivileges", all),
            ("DevicePolicy=strict", ""),
            ("DevicePolicy=strict DeviceAllow=/dev/null", "null\nnull-written\n"),
            ("DevicePolicy=strict DeviceAllow=/dev/null:r", "null\n"),
            ("DevicePolicy=strict DeviceAllow=/run/../dev/null", ""),
            ("DevicePolicy=strict DeviceAllow=/dev/no-such DeviceAllow=block-*", ""),
            ("DevicePolicy=strict DeviceAllow=char-m?m:r", "null\nzero\nfull\nelsewhere\n"),
            ("DevicePolicy=strict DeviceAllow=char-*", all),
            (
                "DevicePolicy=strict DeviceAllow=/dev/null DeviceAllow=/dev/zero:m",
                "null\nnull-written\nmade\n",
            ),
            ("DevicePolicy=closed", all),
            // A node that is bound is a device where the group keeps them.
            ("PrivateDevices BindPaths=/run/w/zero", "null\nnull-written\nzero\nfull\n"),
            (
                "PrivateDevices BindPaths=/run/w/zero DeviceAllow=char-*",
                "null\nnull-written\nzero\nfull\nelsewhere\n",
            ),
        ];
        let mut config = Config::of(Entry::program("other", 2001));
        let rows = || (2002u16..).zip(table);
        for (port, (words, _)) in rows() {
            config = config.with(script(world, &format!("s{port}"), port, DEVICES, words));
        }
        let daemon = world.start(&config);
        for (port, (words, wanted)) in rows() {
            if words.contains("..") {
                // No path of a device: the line is void, and nobody is served.
                assert_eq!(talk("127.0.0.1", port, b""), Answer::refused(), "{words}");
            } else {
                assert_eq!(said(port), wanted, "{words}");
            }
        }
        assert_eq!(daemon.stop(), portreeve_compliance::Ended::Status(0));
        let left = std::fs::read_dir(&place).expect("groups").flatten();
        let left: Vec<_> = left.filter(|entry| entry.path().join("service-s2004").exists()).collect();
        assert!(left.is_empty(), "{left:?}");
    });
}

const LOOP: &str = "while read -r line; do
if (: </dev/zero) 2>/dev/null; then echo \"zero $(sed -n 's/^0:://p' /proc/self/cgroup)\"; else echo none; fi
done";

/// A reload reaches whoever runs; a name is a name and no path; behind a crash groups are in force as long as somebody is in them.
#[test]
fn groups_live_as_long_as_who_is_in_them() {
    let Some((place, _)) = hierarchy() else { return skip(Reason::NoControlGroups) };
    ours(|world| {
        let entry = |words: &str| {
            script(world, "odd", 2001, LOOP, words)
                .set("id", "../../cgroup.procs/x")
                .set("log_type", "FILE /run/w/log/odd")
        };
        let strict = || Config::of(entry("DevicePolicy=strict DeviceAllow=/dev/null"));
        let allowed = || Config::of(entry("DevicePolicy=strict DeviceAllow=/dev/zero DeviceAllow=/dev/null"));
        let start = Start { options: vec!["-watch".to_owned()], ..Start::default() };
        let daemon = world.start_with(&strict(), start);
        let mut one = dial("127.0.0.1", 2001).expect("a connection");
        assert_eq!(ask(&mut one, "x"), "none\n");
        daemon.reload(&allowed());
        let told = ask(&mut one, "x");
        let path = told.trim().strip_prefix("zero /").expect("it may now").to_owned();
        assert!(path.ends_with("/service-%2e%2e%2f%2e%2e%2fcgroup%2eprocs%2fx"), "{path}");
        let group = place.join(&path);
        assert!(group.is_dir(), "{group:?}");
        daemon.reload(&strict());
        assert_eq!(ask(&mut one, "x"), "none\n");
        // Killed: the group stays in force, and the next one makes its own.
        let pid = || {
            let (_, answer) = world.run(&[PROBE, "control", "/run/w/control", "status"], &[]);
            let status: Option<serde_json::Value> = serde_json::from_str(&answer).ok();
            status.and_then(|status| status["pid"].as_u64()).and_then(|pid| u32::try_from(pid).ok())
        };
        let before = pid().expect("its number");
        assert!(world.signal(before, signals::KILL));
        must("another one serves", || pid().is_some_and(|pid| pid != before));
        assert_eq!(ask(&mut one, "x"), "none\n");
        let mut two = dial("127.0.0.1", 2001).expect("a connection");
        assert_eq!(ask(&mut two, "x"), "none\n");
        assert!(group.is_dir());
        one.finish();
        assert_eq!(one.read_all(), Answer::closed(""));
        // What is left of the one that was killed goes, now that nobody is in it.
        daemon.reload(&allowed());
        must("the group is gone", || !group.exists() && !group.parent().is_some_and(|dir| dir.exists()));
        let told = ask(&mut two, "x");
        let group = place.join(told.trim().strip_prefix("zero /").expect("it may now"));
        // A service without one keeps nobody; a service that is gone leaves no group.
        daemon.reload(&Config::of(Entry::program("other", 2002)));
        two.finish();
        assert_eq!(two.read_all(), Answer::closed(""));
        must("its group goes with its last instance", || !group.exists());
        assert_eq!(daemon.stop(), portreeve_compliance::Ended::Status(0));
        assert!(!group.parent().is_some_and(|dir| dir.exists()));
    });
}

/// Where the kernel cannot keep devices, nothing is started that was to have few; where it cannot keep an amount, that is said, as systemd
/// would not keep it either.
#[test]
fn without_control_groups_devices_refuse_and_amounts_are_said() {
    ours(|world| {
        let config = Config::of(Entry::program("devices", 2001).set("sandbox", "DevicePolicy=closed"))
            .with(Entry::program("amounts", 2002).set("sandbox", "MemoryMax=64M TasksMax=50%"));
        // Without a mount in its view there is none.
        let covered = "for m in $(sed -n 's/^[^ ]* [^ ]* [^ ]* [^ ]* \\([^ ]*\\) .* - cgroup2 .*/\\1/p' /proc/self/mountinfo); do umount -l \"$m\"; done; exec \"$@\"";
        let through = ["unshare", "-m", "/bin/sh", "-c", covered, "sh"].map(str::to_owned).to_vec();
        let daemon = world.start_with(&config, Start { through, ..Start::default() });
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(""));
        let refused = "devices: /bin/echo is not started, sandbox: DeviceAllow: no file system of control groups, version 2, is mounted";
        must("the log says why", || world.daemon_log_count(refused) == 1);
        assert_eq!(daemon.count("devices", "/start_failures"), 1);
        assert_eq!(talk("127.0.0.1", 2002, b""), Answer::closed("served\n"));
        let unkept =
            "service amounts: amounts are not kept: no file system of control groups, version 2, is mounted";
        assert_eq!(world.daemon_log_count(unkept), 1);
    });
}

/// A program that takes too much is ended, and nobody else is; one that multiplies reaches its bound; a reload sets other bounds for who runs.
#[test]
fn memory_and_processes_are_bounded() {
    if !has_controllers(&["memory", "pids"]) {
        return skip(Reason::NoMemoryController);
    }
    ours(|world| {
        let hog = "exec perl -e 'my $x = \"x\" x (200 << 20); print \"had it\\n\"'";
        let forks = "n=0; for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 2>/dev/null & done; cat /proc/self/status >/dev/null && echo more";
        let counts = "while read -r line; do d=/sys/fs/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup); \
            test -e \"$d/memory.max\" || d=/sys/fs/cgroup/unified${d#/sys/fs/cgroup}; cat $d/$line; done";
        let bounds = |words: &str| {
            Config::of(script(world, "hog", 2001, hog, "MemoryMax=32M MemorySwapMax=0"))
                .with(script(world, "free", 2002, hog, "MemoryMax=infinity TasksMax=100"))
                .with(script(world, "forks", 2003, forks, "TasksMax=4"))
                .with(script(world, "counts", 2004, counts, words))
                .with(Entry::program("other", 2005))
        };
        let daemon = world.start(&bounds("MemoryMax=64M MemoryHigh=48M TasksMax=20"));
        let mut one = dial("127.0.0.1", 2004).expect("a connection");
        assert_eq!(ask(&mut one, "memory.max"), format!("{}\n", 64 << 20));
        assert_eq!(ask(&mut one, "memory.high"), format!("{}\n", 48 << 20));
        assert_eq!(ask(&mut one, "pids.max"), "20\n");
        assert_eq!(said(2001), "");
        must("the hog was ended", || world.service_log("hog").iter().any(|line| line.contains("signal=9")));
        assert_eq!(said(2002), "had it\n");
        assert!(!said(2003).contains("more"), "no process beyond its bound");
        assert_eq!(talk("127.0.0.1", 2005, b""), Answer::closed("served\n"));
        daemon.reload(&bounds("MemoryMax=80M"));
        assert_eq!(ask(&mut one, "memory.max"), format!("{}\n", 80 << 20));
        assert_eq!(ask(&mut one, "memory.high"), "max\n");
        assert_eq!(ask(&mut one, "pids.max"), "max\n");
        daemon.reload(&bounds("NoNewPrivileges"));
        assert_eq!(ask(&mut one, "memory.max"), "max\n");
        one.finish();
    });
}

/// A user of its own: in its range, the same over a reload and a crash, of nobody else; and what comes with it.
#[test]
fn a_user_is_made_for_a_service() {
    const LOOK: &str = "echo \"$(id -u) $(id -g) $(id -G)\"
touch /run/w/open/file 2>/dev/null && echo writes
touch /tmp/mine 2>/dev/null && echo tmp
grep -q '^NoNewPrivs:.1' /proc/self/status && echo none-new
exit 0";
    let first = std::sync::Mutex::new(None);
    for round in 0..2 {
        ours(|world| {
            std::fs::create_dir(world.path("open")).expect("a directory");
            world.write_mode("open/x", "", 0o666);
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
            std::fs::set_permissions(world.path("open"), mode).expect("its mode");
            let dynamic = |id: &str, port| script(world, id, port, LOOK, "DynamicUser");
            let config = || {
                Config::of(dynamic("a", 2001))
                    .with(dynamic("b", 2002).set("id", "../a").set("log_type", "FILE /run/w/log/b"))
            };
            let start = Start { options: vec!["-watch".to_owned()], ..Start::default() };
            // Somebody has the number that it would have.
            if let Some(id) = *first.lock().expect("its number") {
                let text: String = format!("exec setpriv --reuid {id} --clear-groups sleep 60");
                world.spawn("theirs", &["/bin/sh", "-c", &text], &["PATH=/usr/bin:/bin"]);
                must("it runs", || !world.processes("sleep").is_empty());
            }
            let daemon = world.start_with(&config(), start);
            let id = |port| {
                let text = said(port);
                let id = text.split(' ').next().and_then(|id| id.parse::<u32>().ok()).expect("a number");
                assert_eq!(text, format!("{id} {id} {id}\ntmp\nnone-new\n"));
                assert!((61_184..=65_519).contains(&id), "{id}");
                id
            };
            let (one, other) = (id(2001), id(2002));
            assert_ne!(one, other);
            daemon.reload(&config());
            assert_eq!((id(2001), id(2002)), (one, other));
            let pid = || {
                let (_, answer) = world.run(&[PROBE, "control", "/run/w/control", "status"], &[]);
                let status: Option<serde_json::Value> = serde_json::from_str(&answer).ok();
                status.and_then(|status| status["pid"].as_u64()).and_then(|pid| u32::try_from(pid).ok())
            };
            let before = pid().expect("its number");
            assert!(world.signal(before, signals::KILL));
            must("another one serves", || pid().is_some_and(|pid| pid != before));
            assert_eq!((id(2001), id(2002)), (one, other));
            let seen = *first.lock().expect("its number");
            match seen {
                None => *first.lock().expect("its number") = Some(one),
                Some(theirs) => assert!(one != theirs && other != theirs, "round {round}"),
            }
            assert_eq!(daemon.stop(), portreeve_compliance::Ended::Status(0));
        });
    }
}

/// Services of one id have a group each; and who is restricted stays so, whatever a reload says.
#[test]
fn nobody_frees_another_of_devices() {
    if hierarchy().is_none() {
        return skip(Reason::NoControlGroups);
    }
    ours(|world| {
        let strict =
            || script(world, "a", 2001, LOOP, "DevicePolicy=strict DeviceAllow=/dev/null").set("id", "x");
        let other = || script(world, "b", 2002, LOOP, "TasksMax=100").set("id", "x");
        let daemon = world.start(&Config::of(strict()).with(other()));
        let mut one = dial("127.0.0.1", 2001).expect("a connection");
        assert_eq!(ask(&mut one, "x"), "none\n");
        let mut two = dial("127.0.0.1", 2002).expect("a connection");
        assert!(ask(&mut two, "x").starts_with("zero "));
        // Without devices, and with an amount: for those who come later.
        let amount = script(world, "a", 2001, LOOP, "TasksMax=100").set("id", "x");
        daemon.reload(&Config::of(amount).with(other()));
        assert_eq!(ask(&mut one, "x"), "none\n");
        let mut later = dial("127.0.0.1", 2001).expect("a connection");
        assert!(ask(&mut later, "x").starts_with("zero "));
        // Groups that are removed behind the daemon are made again.
        for connection in [&mut one, &mut two, &mut later] {
            connection.finish();
            connection.read_all();
        }
        daemon.reload(&Config::of(strict()).with(other()));
        let (place, _) = hierarchy().expect("as before");
        let dirs = || {
            let all = std::fs::read_dir(&place).expect("the groups").flatten().map(|entry| entry.path());
            all.filter(|path| path.join("service-x").is_dir()).collect::<Vec<_>>()
        };
        must("nobody is in them", || {
            dirs().iter().all(|dir| {
                let inner = std::fs::read_dir(dir).expect("its groups").flatten().map(|entry| entry.path());
                inner.filter(|path| path.is_dir()).for_each(|path| drop(std::fs::remove_dir(path)));
                std::fs::remove_dir(dir).is_ok()
            })
        });
        assert_eq!(dirs(), Vec::<PathBuf>::new());
        // At the next start, for the client that comes, and each once.
        let mut one = dial("127.0.0.1", 2001).expect("a connection");
        assert_eq!(ask(&mut one, "x"), "none\n");
        let mut two = dial("127.0.0.1", 2002).expect("a connection");
        assert!(ask(&mut two, "x").starts_with("zero "));
        assert_eq!(world.daemon_log_count("somebody has removed its control group"), 2);
        assert_eq!(daemon.count("x", "/start_failures"), 0);
        daemon.reload(&Config::of(strict()).with(other()));
        assert_eq!(ask(&mut one, "x"), "none\n");
    });
}

/// Wherever a reload moves its entry, and whoever comes or goes before it, a service keeps its group.
#[test]
fn a_group_stays_with_its_service() {
    if hierarchy().is_none() {
        return skip(Reason::NoControlGroups);
    }
    ours(|world| {
        let of = |id: &str, port| script(world, id, port, LOOP, "TasksMax=100").set("id", "x");
        let group = |port| {
            let mut connection = dial("127.0.0.1", port).expect("a connection");
            ask(&mut connection, "x")
        };
        let (a, b, c) = (|| of("a", 2001), || of("b", 2002), || of("c", 2003));
        let daemon = world.start(&Config::of(a()).with(b()));
        let before = [group(2001), group(2002)];
        assert_ne!(before[0], before[1]);
        let mut runs = dial("127.0.0.1", 2002).expect("a connection");
        assert_eq!(ask(&mut runs, "x"), before[1]);
        daemon.reload(&Config::of(c()).with(b()).with(a()));
        assert_eq!([group(2001), group(2002)], before);
        let third = group(2003);
        assert!(!before.contains(&third), "{third}");
        let answer = daemon.control("upgrade");
        assert!(answer.contains("\"ok\":true"), "{answer}");
        assert_eq!(
            [group(2001), group(2002), group(2003)],
            [&before[0], &before[1], &third].map(String::clone)
        );
        daemon.reload(&Config::of(b()));
        assert_eq!((group(2002), ask(&mut runs, "x")), (before[1].clone(), before[1].clone()));
    });
}

/// Where systemd is, its file of the number is locked: over an upgrade too, and one that it has locked is not taken.
#[test]
fn systemd_is_kept_from_giving_a_number_twice() {
    ours(|world| {
        let place = world.inside("/run/systemd/dynamic-uid");
        std::fs::create_dir_all(&place).expect("a directory");
        let free = |id: u32| {
            let file = std::fs::File::open(place.join(id.to_string())).expect("its file");
            let lock = rustix::fs::FlockOperation::NonBlockingLockExclusive;
            rustix::fs::flock(&file, lock).is_ok().then_some(file)
        };
        let id = || said(2001).trim().parse::<u32>().expect("a number");
        let config = Config::of(script(world, "a", 2001, "id -u", "DynamicUser"));
        let daemon = world.start(&config);
        let one = id();
        assert!(free(one).is_none());
        let answer = daemon.control("upgrade");
        assert!(answer.contains("\"ok\":true"), "{answer}");
        assert!(id() == one && free(one).is_none());
        daemon.reload(&config);
        assert!(id() == one && free(one).is_none());
        assert_eq!(daemon.stop(), portreeve_compliance::Ended::Status(0));
        let theirs = free(one).expect("it is free");
        let _daemon = world.start(&config);
        let other = id();
        assert!(other != one && free(other).is_none());
        drop(theirs);
    });
}

/// Shared memory by name goes with the process.
#[test]
fn a_user_that_is_made_leaves_nothing_in_memory() {
    ours(|world| {
        let name = format!("portreeve-left-{}", std::process::id());
        world.run(&["/bin/sh", "-c", "mkdir -p /dev/shm && chmod 1777 /dev/shm"], &[]);
        let write = format!("echo x >/dev/shm/{name} && cat /dev/shm/{name}");
        let config = Config::of(script(world, "bare", 2001, &write, "DynamicUser")).with(script(
            world,
            "devices",
            2002,
            &write,
            "DynamicUser PrivateDevices",
        ));
        let _daemon = world.start(&config);
        for port in [2001, 2002] {
            assert_eq!(said(port), "x\n");
            let look = format!("ls /dev/shm; rm -f /dev/shm/{name}");
            let (_, left) = world.run(&["/bin/sh", "-c", &look], &[]);
            assert_eq!(left, "", "{port}");
        }
    });
}

/// Where it cannot be told who has a number nobody is started, as nobody else either.
#[test]
fn without_its_user_no_program_starts() {
    ours(|world| {
        let config = Config::of(Entry::program("dynamic", 2001).set("sandbox", "DynamicUser"));
        // Others may write there.
        let through =
            ["/bin/sh", "-c", "mkdir -m 777 /run/portreeve; exec \"$@\"", "sh"].map(str::to_owned).to_vec();
        let daemon = world.start_with(&config, Start { through, ..Start::default() });
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(""));
        let why = "dynamic: /bin/echo is not started, sandbox: DynamicUser: /run/portreeve is no directory that is ours alone to write";
        must("the log says why", || world.daemon_log_count(why) == 1);
        assert_eq!(daemon.count("dynamic", "/start_failures"), 1);
    });
}

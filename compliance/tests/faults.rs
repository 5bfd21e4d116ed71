//! What goes wrong around the super-server: it survives, heals, and says so in `status`.

use portreeve_compliance::client::{dial, talk};
use portreeve_compliance::wait::{must, never};
use portreeve_compliance::{
    Answer, Config, Connection, DEADLINE, Daemon, End, Ended, Entry, Reason, Start, World, both, ours,
    signals, skip, until,
};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const SERVED: &str = "served\n";

/// A cgroup of its own with a limit of processes, removed at the end. `None` where the machine has no such controller.
struct PidsGroup(PathBuf);

impl PidsGroup {
    fn new(name: &str) -> Option<PidsGroup> {
        // Version 1, or the unified hierarchy with the controller switched on.
        for root in ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"] {
            let path = Path::new(root).join(format!("portreeve-{name}-{}", std::process::id()));
            if std::fs::create_dir(&path).is_ok() {
                if path.join("pids.max").exists() && std::fs::write(path.join("pids.max"), "max").is_ok() {
                    return Some(PidsGroup(path));
                }
                let _ = std::fs::remove_dir(&path);
            }
        }
        skip(Reason::NoPidsController);
        None
    }

    fn set(&self, limit: &str) {
        std::fs::write(self.0.join("pids.max"), limit).expect("to set the limit");
    }

    /// A shell that puts itself into the group and becomes the super-server.
    fn through(&self) -> Vec<String> {
        let line = format!("echo $$ > {}/cgroup.procs || exit 99; exec \"$@\"", self.0.display());
        vec!["/bin/sh".into(), "-c".into(), line, "sh".into()]
    }

    fn used(&self) -> u32 {
        let text = std::fs::read_to_string(self.0.join("pids.current")).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }
}

impl Drop for PidsGroup {
    fn drop(&mut self) {
        // All that is in the group was started by this test, and the world that would end it outlives the group.
        until(DEADLINE, || {
            let text = std::fs::read_to_string(self.0.join("cgroup.procs")).unwrap_or_default();
            for pid in text.lines().filter_map(|line| line.parse().ok()).filter_map(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
            }
            std::fs::remove_dir(&self.0).ok()
        });
    }
}

/// The kernel refuses a new process (form 1: a limit of the control group). xinetd tries again every five seconds, five
/// times; the client waits meanwhile, and is served when there is room.
#[test]
fn no_process_can_be_started_and_then_it_can() {
    both(|world| {
        let Some(group) = PidsGroup::new(&format!("retry-{}", world.side.name())) else { return };
        {
            let start = Start { through: group.through(), ..Start::default() };
            let daemon = world.start_with(&Config::of(Entry::program("s1", 2001)), start);
            settle(&group);
            group.set(&group.used().to_string());
            let mut client = dial("127.0.0.1", 2001).expect("a connection");
            must("the refusal is logged", || fork_failures(world) >= 1);
            assert_eq!(client.read_for(Duration::from_millis(200)).end, End::Open, "it waits");
            group.set("max");
            assert_eq!(client.read_all(), Answer::closed(SERVED));
            if world.is_ours() {
                assert!(daemon.count("s1", "/start_failures") >= 1);
            }
            assert!(daemon.runs());
            daemon.signal(signals::KILL);
            world.wait(daemon.pid);
        }
    });
}

/// Five times in vain: `FAIL: s1 fork`, and the client's connection ends after about twenty seconds. NORETRY: at once.
#[test]
fn no_process_can_be_started_at_all() {
    both(|world| {
        let Some(group) = PidsGroup::new(&format!("never-{}", world.side.name())) else { return };
        let start = Start { through: group.through(), ..Start::default() };
        let config = Config::new()
            .with(Entry::program("s1", 2001))
            .with(Entry::program("once", 2002).first("flags = NORETRY"));
        let daemon = world.start_with(&config, start);
        settle(&group);
        group.set(&group.used().to_string());

        assert_eq!(talk("127.0.0.1", 2002, b""), Answer::closed(""), "NORETRY");
        world.expect_log("once", &["FAIL: once fork from=::ffff:127.0.0.1"]);

        let begin = Instant::now();
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(""));
        assert!(begin.elapsed() > Duration::from_secs(15), "tried again for a while: {:?}", begin.elapsed());
        world.expect_log("s1", &["FAIL: s1 fork from=::ffff:127.0.0.1"]);
        world.expect_daemon_log(&["ERROR: service s1: too many consecutive fork failures"]);
        assert!(fork_failures(world) >= 5, "{:?}", world.daemon_log());
        if world.is_ours() {
            assert!(daemon.count("s1", "/start_failures") >= 5);
            assert_eq!(daemon.count("s1", "/refused/fork"), 1);
        }
        group.set("max");
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(SERVED), "and serves the next");
        daemon.signal(signals::KILL);
        world.wait(daemon.pid);
    });
}

/// The same to many clients at once: as many as the bound says wait and are served when there is room, the others are turned
/// away, and `status` tells of both.
#[test]
fn no_process_for_many_clients() {
    ours(|world| {
        let Some(group) = PidsGroup::new("many") else { return };
        let start = Start { through: group.through(), ..Start::default() };
        let daemon = world.start_with(&Config::of(Entry::program("s1", 2001).set("cps", "0 0")), start);
        settle(&group);
        group.set(&group.used().to_string());
        let dial_from = |n: usize| dial(&format!("127.0.1.{}", n % 250 + 1), 2001).expect("in the queue");
        let mut clients: Vec<Connection> = (0..600).map(dial_from).collect();
        let waiting = || {
            let status = daemon.status();
            let bounds =
                status.get("bounds").and_then(serde_json::Value::as_array).cloned().unwrap_or_default();
            let bound = bounds.into_iter().find(|bound| bound["name"] == "clients waiting for a process");
            let bound = bound.expect("the bound is shown");
            (bound["used"].as_u64().unwrap_or(0), bound["limit"].as_u64().unwrap_or(0))
        };
        must("all of them were looked at", || {
            let refused = daemon.count("s1", "/refused/fork");
            waiting().0 + refused >= 600
        });
        let (used, limit) = waiting();
        assert!((1..=limit).contains(&used), "{used} of {limit}");
        assert!(daemon.count("s1", "/start_failures") >= 600, "status says so");
        group.set("max");
        let answers: Vec<Answer> = clients.iter_mut().map(Connection::read_all).collect();
        let served = answers.iter().filter(|answer| **answer == Answer::closed(SERVED)).count();
        let shed = answers.iter().filter(|answer| **answer == Answer::closed("")).count();
        assert_eq!(served + shed, 600, "nobody is left hanging");
        assert_eq!(served as u64, used, "whoever waited is served");
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(SERVED), "and the next");
        daemon.signal(signals::KILL);
        world.wait(daemon.pid);
    });
}

fn fork_failures(world: &World) -> usize {
    let text = "fork failed: Resource temporarily unavailable (errno = 11)";
    world.daemon_log_count(&format!("s1: {text}"))
}

/// Workers that are still starting would count later.
fn settle(group: &PidsGroup) {
    let mut last = (group.used(), Instant::now());
    must("the number of processes is steady", || {
        let now = group.used();
        if now != last.0 {
            last = (now, Instant::now());
        }
        last.1.elapsed() > Duration::from_millis(300)
    });
}

/// Form 2: the user has too many processes. Linux lets the change of user pass and refuses the exec after it.
#[test]
fn the_user_has_too_many_processes() {
    const MOST: usize = 12;
    both(|world| {
        // The limit counts all processes of the uid over the whole machine, so one that nobody else has.
        let user = (100_000 + std::process::id() * 2 + u32::from(world.is_ours())).to_string();
        let through = ["/usr/bin/prlimit".to_owned(), format!("--nproc={MOST}")];
        let start = Start { through: through.to_vec(), ..Start::default() };
        let config = Config::new()
            .with(Entry::probe("many", 2001, "hold").set("user", &user).first("flags = NORETRY"))
            .with(Entry::program("root", 2002));
        let daemon = world.start_with(&config, start);
        let mut held = Vec::new();
        let refused = (0..2 * MOST).find_map(|_| {
            let mut connection = dial("127.0.0.1", 2001).expect("a connection");
            let answer = connection.read_until(b"\n");
            if answer.text() == "held\n" {
                held.push(connection);
                None
            } else {
                Some(answer)
            }
        });
        assert_eq!(refused, Some(Answer::closed("")), "refused by the kernel after {}", held.len());
        assert!((MOST - 1..=MOST + 1).contains(&held.len()), "{}", held.len());
        must("the reason is logged", || {
            world.daemon_log_count("Resource temporarily unavailable (errno = 11)") >= 1
        });
        assert_eq!(talk("127.0.0.1", 2002, b""), Answer::closed(SERVED), "others are served");
        if world.is_ours() {
            assert!(daemon.count("many", "/start_failures") >= 1);
        }
        held.clear();
        must("room again", || {
            let Ok(mut connection) = dial("127.0.0.1", 2001) else { return false };
            connection.read_until(b"\n").text() == "held\n"
        });
    });
}

/// The resolver's process cannot start: what needs no name is served all the same.
#[test]
fn no_resolver() {
    ours(|world| {
        // Not even one process for any user but root.
        let start = Start {
            through: ["/usr/bin/prlimit", "--nproc=1"].map(str::to_owned).to_vec(),
            ..Start::default()
        };
        let config = Config::of(Entry::program("s1", 2001).set("user", "0").set("group", "0"));
        let daemon = world.start_with(&config, start);
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(SERVED));
        assert!(daemon.runs());
    });
}

/// Form 3: the super-server is not root, the service's user is another: the ids cannot be set.
#[test]
fn a_supervisor_without_privileges() {
    both(|world| {
        let (how, output) = world.run(&["/bin/chown", "61234:61234", "/run/w", "/run/w/log"], &[]);
        assert_eq!(how, Ended::Status(0), "{output}");
        let through = ["/usr/bin/setpriv", "--reuid=61234", "--regid=61234", "--clear-groups"];
        let start = Start { through: through.map(str::to_owned).to_vec(), ..Start::default() };
        let config = Config::new()
            .with(Entry::probe("own", 2001, "report").set("user", "61234"))
            .with(Entry::program("other", 2002).set("user", "nobody").first("flags = NORETRY"));
        let daemon = world.start_with(&config, start);
        let report: serde_json::Value =
            serde_json::from_slice(&talk("127.0.0.1", 2001, b"").bytes).expect("its own uid works");
        assert_eq!(report["uid"], "61234 61234 61234 61234");
        let answer = talk("127.0.0.1", 2002, b"");
        assert_eq!(
            (answer.text().as_str(), answer.end),
            ("", End::Closed),
            "not as another user, and never as this one"
        );
        must("the reason is logged", || world.daemon_log_count("Operation not permitted") >= 1);
        if world.is_ours() {
            assert!(daemon.count("other", "/start_failures") >= 1);
        }
        assert!(daemon.runs());
    });
}

/// The program is taken away while the service runs.
#[test]
fn exec_missing() {
    ours(|world| {
        let script = world.write_mode("gone", "#!/bin/sh\necho here\n", 0o755);
        let config = Config::of(Entry::program("s1", 2001).set("server", &script).unset("server_args"));
        let daemon = world.start(&config);
        std::fs::remove_file(world.path("gone")).expect("to remove it");
        for _ in 0..10 {
            assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(""));
        }
        assert_eq!(daemon.count("s1", "/start_failures"), 10);
        assert_eq!(daemon.count("s1", "/running"), 0, "no instance is left");
        world.write_mode("gone", "#!/bin/sh\necho back\n", 0o755);
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed("back\n"));
    });
}

/// No descriptors left: the clients wait in the kernel's queue; when there are some again, all are served.
#[test]
fn no_descriptors_left() {
    ours(|world| {
        let through = ["/usr/bin/prlimit", "--nofile=64:64"].map(str::to_owned).to_vec();
        let echo = Entry::internal("echo", "echo", 2001, "stream").set("cps", "0 0");
        let config = Config::of(echo).with(Entry::program("s1", 2002));
        let daemon = world.start_with(&config, Start { through, ..Start::default() });
        let mut clients: Vec<Connection> =
            (0..150).map(|_| dial("127.0.0.1", 2001).expect("in the queue")).collect();
        for client in &mut clients {
            client.send(b"x");
        }
        assert!(daemon.runs());
        let busy = Instant::now();
        let before = processor_time(world, daemon.pid);
        never("it spins", Duration::from_secs(1), || false);
        let used = processor_time(world, daemon.pid) - before;
        assert!(
            used < busy.elapsed().as_millis() as u64 / 2,
            "{used} ms of processor time in a second of waiting"
        );
        // The first ones leave, the others come.
        let mut served = 0;
        for mut client in clients {
            let answer = client.read_count(1);
            served += usize::from(answer.bytes == b"x");
        }
        assert_eq!(served, 150, "each of them in the end");
        assert_eq!(talk("127.0.0.1", 2002, b""), Answer::closed(SERVED));
    });
}

/// Milliseconds of processor time of a process.
fn processor_time(world: &World, pid: u32) -> u64 {
    let stat = std::fs::read_to_string(world.inside(&format!("/proc/{pid}/stat"))).unwrap_or_default();
    let words: Vec<u64> =
        stat.rsplit(')').next().unwrap_or("").split_whitespace().filter_map(|w| w.parse().ok()).collect();
    // After the state, which is no number: utime and stime are the 11th and 12th; a tick is 10 ms.
    words.get(10).zip(words.get(11)).map(|(user, system)| (user + system) * 10).unwrap_or(0)
}

/// The disk is full: service goes on, lost records are counted, and logging goes on when there is room.
#[test]
fn disk_full_on_the_log() {
    ours(|world| {
        let (how, output) =
            world.run(&["/bin/mount", "-t", "tmpfs", "-o", "size=8k", "tiny", "/run/w/log"], &[]);
        assert_eq!(how, Ended::Status(0), "{output}");
        let daemon = world.start(&Config::of(Entry::program("s1", 2001).set("cps", "0 0")));
        // It keeps some back; what is more than that is lost, and counted.
        must("lost records are counted", || {
            for _ in 0..100 {
                assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(SERVED));
            }
            daemon.status().pointer("/log/dropped").and_then(serde_json::Value::as_u64).unwrap_or(0) > 0
        });
        let (how, output) = world.run(&["/bin/mount", "-o", "remount,size=1m", "/run/w/log"], &[]);
        assert_eq!(how, Ended::Status(0), "{output}");
        let size = || std::fs::metadata(world.inside("/run/w/log/s1")).map(|m| m.len()).unwrap_or(0);
        let before = size();
        must("written again", || {
            assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(SERVED));
            size() > before
        });
    });
}

fn worker(daemon: &Daemon<'_>, name: &str) -> (String, u32, u64) {
    let status = daemon.status();
    let all = status.get("workers").and_then(serde_json::Value::as_array).cloned().unwrap_or_default();
    let found = all.iter().find(|w| w.get("name").and_then(serde_json::Value::as_str) == Some(name));
    let worker = found.unwrap_or_else(|| panic!("no worker {name} in {status}"));
    let number = |key: &str| worker.get(key).and_then(serde_json::Value::as_u64).unwrap_or(0);
    let state = worker.get("state").and_then(serde_json::Value::as_str).unwrap_or("").to_owned();
    (state, u32::try_from(number("pid")).unwrap_or(0), number("restarts"))
}

/// A worker is killed under load: the supervisor starts another one, programs are not concerned.
#[test]
fn a_worker_is_killed() {
    ours(|world| {
        let config = Config::new()
            .with(Entry::internal("echo", "echo", 2001, "stream").set("cps", "0 0"))
            .with(Entry::program("s1", 2002).set("cps", "0 0"));
        let daemon = world.start(&config);
        let echoes = || {
            let Ok(mut connection) = dial("127.0.0.1", 2001) else { return false };
            connection.send(b"x");
            connection.read_count(1).bytes == b"x"
        };
        assert!(echoes());
        for round in 1..=3 {
            let (state, pid, restarts) = worker(&daemon, "builtin");
            assert_eq!((state.as_str(), restarts), ("ready", round - 1));
            let _clients: Vec<_> = (0..20).filter_map(|_| dial("127.0.0.1", 2001).ok()).collect();
            assert!(world.signal(pid, signals::KILL));
            assert_eq!(talk("127.0.0.1", 2002, b""), Answer::closed(SERVED), "programs are not concerned");
            must("another one serves", echoes);
            must("and status says so", || {
                let (state, now, restarts) = worker(&daemon, "builtin");
                state == "ready" && now != pid && restarts == round
            });
        }
        assert_eq!(daemon.count("s1", "/accepted"), 3);
    });
}

/// Ten thousand connections that send nothing, in waves, are nothing.
#[test]
fn connections_that_send_nothing() {
    ours(|world| {
        let config = Config::new()
            .with(Entry::program("refused", 2001).set("cps", "0 0").set("instances", "0"))
            .with(Entry::internal("discard", "discard", 2002, "stream").set("cps", "0 0"))
            .with(Entry::program("s1", 2003));
        let daemon = world.start(&config);
        assert_eq!(talk("127.0.0.1", 2003, b""), Answer::closed(SERVED));
        let before = daemon.descriptors();
        for wave in 0..20 {
            let port = if wave % 2 == 0 { 2001 } else { 2002 };
            let from = format!("127.0.3.{}", wave + 1);
            let clients: Vec<_> = (0..500).filter_map(|_| dial(&from, port).ok()).collect();
            assert!(clients.len() > 450, "{} of 500 came through", clients.len());
        }
        assert_eq!(talk("127.0.0.2", 2003, b""), Answer::closed(SERVED));
        must("all are counted", || daemon.count("refused", "/refused/service_limit") >= 4500);
        must("nothing is left", || {
            daemon.descriptors() <= before + 1 && daemon.count("discard", "/running") == 0
        });
    });
}

/// A thousand services: they all come up, answer, and survive a reload.
#[test]
fn a_thousand_services() {
    ours(|world| {
        let entries = || (0..1000_u16).map(|n| Entry::program(&format!("s{n}"), 3000 + n).unset("log_type"));
        let config = Config::new().with_all(entries());
        let daemon = world.start(&config);
        world.expect_daemon_log(&["NOTICE: Started working: 1000 available services"]);
        for port in (3000..4000).step_by(97) {
            assert_eq!(talk("127.0.0.1", port, b""), Answer::closed(SERVED), "{port}");
        }
        let status = daemon.status();
        assert_eq!(status.pointer("/services").and_then(|s| s.as_array()).map(Vec::len), Some(1000));
        let half = Config::new().with_all(entries().take(500));
        daemon.reload(&half);
        world.expect_daemon_log(&["NOTICE: Reconfigured: new=0 old=500 dropped=500 (services)"]);
        assert_eq!(talk("127.0.0.1", 3000, b""), Answer::closed(SERVED));
        assert_eq!(talk("127.0.0.1", 3999, b""), Answer::refused());
    });
}

/// A hard limit of a billion descriptors: up at once, no loop over them. The program gets a sane number.
#[test]
fn unlimited_descriptors() {
    ours(|world| {
        // Only where this machine's root may raise the limit.
        let through = [
            "/bin/sh",
            "-c",
            "ulimit -Hn 1073741816 2>/dev/null; ulimit -n $(ulimit -Hn); exec \"$@\"",
            "sh",
        ];
        let start = Start { through: through.map(str::to_owned).to_vec(), ..Start::default() };
        let daemon = world.start_with(&Config::of(Entry::probe("s1", 2001, "report")), start);
        assert!(!talk("127.0.0.1", 2001, b"").bytes.is_empty());
        assert!(processor_time(world, daemon.pid) < 1000, "no loop over all numbers");
    });
}

/// Clients that go away at every possible moment.
#[test]
fn clients_that_go_away() {
    both(|world| {
        let big = "x".repeat(100_000);
        let banner = world.write("big", &big);
        let config = Config::new()
            .with(Entry::program("s1", 2001).set("cps", "0 0"))
            .with(Entry::program("limit", 2002).set("cps", "0 0").set("instances", "0"))
            .with(Entry::probe("hold", 2003, "hold").set("cps", "0 0"))
            .with(Entry::program("banner", 2004).set("cps", "0 0").set("banner_success", &banner));
        let daemon = world.start(&config);
        for round in 0..40 {
            for port in 2001..=2004 {
                if let Ok(mut connection) = dial("127.0.0.1", port) {
                    if round % 2 == 0 {
                        connection.send(b"unread");
                    }
                    // Linger of zero would need a socket option; dropping with unread data resets as well.
                    drop(connection);
                }
            }
        }
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(SERVED));
        must("programs see the end of their clients", || world.processes("hold").is_empty());
        assert!(daemon.runs());
    });
}

/// A banner to a client that does not read: xinetd's loop stands still, ours serves the others.
#[test]
fn a_banner_to_a_client_that_does_not_read() {
    ours(|world| {
        let banner = world.write("big", "x".repeat(60_000_000));
        let config = Config::new()
            .with(Entry::program("banner", 2001).set("banner", &banner))
            .with(Entry::program("other", 2002));
        let daemon = world.start(&config);
        let _silent = dial("127.0.0.1", 2001).expect("a connection");
        assert_eq!(talk("127.0.0.1", 2002, b""), Answer::closed(SERVED));
        assert!(daemon.runs());
    });
}

/// The control socket cannot be used to stop the service: garbage, long lines, silence.
#[test]
fn a_control_client_that_misbehaves() {
    ours(|world| {
        let daemon = world.start(&Config::of(Entry::program("s1", 2001)));
        let silent: Vec<UnixStream> =
            (0..50).filter_map(|_| UnixStream::connect(world.path("control")).ok()).collect();
        let mut long = UnixStream::connect(world.path("control")).expect("the control socket");
        let _ = long.set_write_timeout(Some(Duration::from_secs(5)));
        let _ = long.write_all(&vec![b'x'; 10_000_000]);
        for bytes in [&b"\n"[..], b"\xff\xfe\n", b"status status status\n", b"no-such-verb\n"] {
            if let Ok(mut socket) = UnixStream::connect(world.path("control")) {
                let _ = socket.write_all(bytes);
            }
        }
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(SERVED));
        drop((silent, long));
        let status = || world.run(&["/run/probe", "control", "/run/w/control", "status"], &[]).1;
        must("it answers again", || status().contains("\"services\""));
        assert!(daemon.runs());
    });
}

/// An administrator of the machine asks a super-server in a container: the kernel names no process for the peer then.
#[test]
fn a_control_client_of_another_process_namespace() {
    ours(|world| {
        let _daemon = world.start(&Config::of(Entry::program("s1", 2001)));
        let mut socket = UnixStream::connect(world.path("control")).expect("the control socket");
        socket.set_read_timeout(Some(DEADLINE)).expect("a deadline");
        let mut text = String::new();
        let asked = writeln!(socket, "status").and_then(|()| socket.read_to_string(&mut text));
        assert!(asked.is_ok() && text.contains("\"services\""), "{asked:?} {text}");
    });
}

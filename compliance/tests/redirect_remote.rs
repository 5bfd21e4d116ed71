//! A unix socket as target on a filesystem whose server does not answer (a real FUSE mount that nobody serves): its own clients wait and go on
//! to the next target, and nobody else notices.

use portreeve_compliance::client::{dial, talk};
use portreeve_compliance::init::PROBE;
use portreeve_compliance::side::workspace;
use portreeve_compliance::skip::has_programs;
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, Daemon, Ended, Entry, Reason, Side, Start, World, ours, skip};
use serde_json::Value;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

/// Mounts a filesystem of its own at /run/w/dead and answers nothing, not even the first request; with `stuck` that one alone, and takes all
/// others: who waits for one of those cannot be killed.
const MOUNT: &str = r#"
my $arm = `uname -m` =~ /aarch64/;
mkdir "/run/w/nodes";
system("mount -t tmpfs -o dev tmpfs /run/w/nodes && mknod /run/w/nodes/fuse c 10 229");
sysopen(my $fuse, "/run/w/nodes/fuse", 2) or do { print "none\n"; exit 0 };
my @all = ("dead\0", "/run/w/dead\0", "fuse\0");
my $options = "fd=" . fileno($fuse) . ",rootmode=40000,user_id=0,group_id=0,allow_other\0";
syscall($arm ? 40 : 165, @all, 0, $options) == 0 or do { print "none\n"; exit 0 };
$| = 1; print "mounted\n";
while (@ARGV) {
    defined sysread($fuse, my $request, 1 << 20) or next;
    my (undef, $opcode, $unique) = unpack("LLQ", $request);
    $opcode == 26 and syswrite($fuse, pack("LlQ LLLL SSLL x36", 80, 0, $unique, 7, 31, 0, 0, 0, 0, 4096, 1));
}
sleep 1 while 1;
"#;

/// The process that holds the mount; `None` where there can be none.
fn dead(world: &World, how: &[&str]) -> Option<u32> {
    if !has_programs(&["perl"]) {
        return None;
    }
    std::fs::create_dir_all(world.path("dead")).expect("a directory");
    world.write("mount.pl", MOUNT);
    let env = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"];
    let pid = world.spawn("fuse", &[&["/usr/bin/perl", "/run/w/mount.pl"], how].concat(), &env);
    must("the mount is there or cannot be", || !world.read("fuse.out").is_empty());
    if world.read("fuse.out") != "mounted\n" {
        skip(Reason::NoFuse);
        return None;
    }
    Some(pid)
}

/// A target that says its name.
fn live(world: &World, name: &'static str) -> String {
    let listener = UnixListener::bind(world.path(name)).expect("the target's socket");
    std::fs::set_permissions(world.path(name), std::fs::Permissions::from_mode(0o777)).expect("its mode");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let _ = stream.write_all(b"live\n");
                let mut rest = Vec::new();
                let _ = std::io::Read::read_to_end(&mut stream, &mut rest);
            });
        }
    });
    format!("/run/w/{name}")
}

fn redirected(id: &str, port: u16, targets: &str) -> Entry {
    Entry::redirected(id, port, targets).set("instances", "UNLIMITED")
}

/// The first line that a port says.
fn line(port: u16) -> String {
    dial("127.0.0.1", port).map_or_else(|_| String::new(), |mut client| client.read_until(b"\n").text())
}

fn under_way(daemon: &Daemon<'_>) -> u64 {
    let status = daemon.status();
    let bounds = status["bounds"].as_array().cloned().unwrap_or_default();
    let of = |bound: &&Value| bound["name"] == "connections to unix sockets being begun";
    bounds.iter().find(of).expect("the bound")["used"].as_u64().expect("a number")
}

#[test]
fn a_target_whose_filesystem_does_not_answer_holds_nobody_else_up() {
    ours(|world| {
        let Some(server) = dead(world, &[]) else { return };
        let target = live(world, "live.sock");
        let config = Config::of(Entry::program("plain", 2001))
            .with(redirected("dead", 2002, "/run/w/dead/socket"))
            .with(redirected("next", 2003, &format!("/run/w/dead/other {target}")))
            .with(redirected("well", 2004, &target));
        let daemon = world.start(&config);
        // More than may be on the way to one path at once.
        let waiting: Vec<_> = (0..70).map(|_| dial("127.0.0.1", 2002).expect("a connection")).collect();
        let mut second = dial("127.0.0.1", 2003).expect("a connection");
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed("served\n"));
        must("they are under way", || under_way(&daemon) == 65);
        for _ in 0..20 {
            assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed("served\n"));
            assert_eq!(line(2004), "live\n");
        }
        assert_eq!(second.read_until(b"\n").text(), "live\n", "after its patience");
        let said = "ERROR: can't connect to /run/w/dead/other: Connection timed out (errno = 110)";
        must("the log says so", || world.daemon_log().iter().any(|known| known == said));
        assert_eq!(under_way(&daemon), 65, "the threads wait as long as the filesystem does");
        drop(waiting);
        // The server's end is an error for whoever waits.
        assert!(world.signal(server, 9));
        must("all come back", || under_way(&daemon) == 0);
        assert_eq!(line(2004), "live\n");
    });
}

/// Starts a daemon whose executable has a place of its own, to which it can be upgraded.
fn upgradable<'a>(world: &'a World, config: &Config) -> Daemon<'a> {
    world.copy_program(Side::Ours.executable(), "gate");
    let through = ["/bin/sh", "-c", "shift; exec /run/w/gate \"$@\"", "sh"].map(str::to_owned).to_vec();
    world.start_with(config, Start { through, ..Start::default() })
}

/// Begins `portreeve upgrade`.
fn ask_for_upgrade(world: &World, name: &str) -> u32 {
    let own = std::env::var_os("PORTREEVE").map_or_else(|| workspace().join("dist/portreeve"), PathBuf::from);
    world.spawn(name, &[own.to_str().expect("UTF-8"), "upgrade", "--control", "/run/w/control"], &[])
}

/// An upgrade would wait for a thread that cannot be killed, and the ports with it: it does not go before that thread has come back.
#[test]
fn an_upgrade_does_not_wait_for_a_filesystem_for_ever() {
    ours(|world| {
        let Some(server) = dead(world, &["stuck"]) else { return };
        let target = live(world, "live.sock");
        let config = Config::of(Entry::program("plain", 2001))
            .with(redirected("dead", 2002, "/run/w/dead/socket"))
            .with(redirected("well", 2004, &target));
        let daemon = upgradable(world, &config);
        let waits = dial("127.0.0.1", 2002).expect("a connection");
        must("it is under way", || under_way(&daemon) == 1);
        let pid = daemon.status()["pid"].clone();
        let refused = ask_for_upgrade(world, "refused");
        assert_ne!(world.wait(refused), Ended::Status(0));
        let said = world.read("refused.err");
        let why = "1 connection(s) to a unix socket at /run/w/dead/socket on a filesystem that does not answer: \
                   the upgrade would wait for them for ever; nothing was changed; the running version goes on";
        assert!(said.contains(why), "{said}");
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed("served\n"));
        assert_eq!(line(2004), "live\n");
        let status = daemon.status();
        assert_eq!((&status["pid"], &status["upgrades"]), (&pid, &Value::from(0)));
        drop(waits);
        assert!(world.signal(server, 9));
        must("it has come back", || under_way(&daemon) == 0);
        let done = ask_for_upgrade(world, "done");
        assert_eq!(world.wait(done), Ended::Status(0), "{}", world.read("done.err"));
        let status = daemon.status();
        assert_eq!((&status["pid"], &status["upgrades"]), (&pid, &Value::from(1)));
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed("served\n"));
        assert_eq!(line(2004), "live\n");
    });
}

/// An upgrade while clients are on the way: it waits for their threads, who comes meanwhile is sent there afterwards, and who has been carried is
/// left alone.
#[test]
fn an_upgrade_loses_nobody_who_is_on_the_way() {
    ours(|world| {
        let Some(server) = dead(world, &[]) else { return };
        let target = live(world, "live.sock");
        let config = Config::of(redirected("next", 2003, &format!("/run/w/dead/other {target}")))
            .with(redirected("well", 2004, &target));
        let daemon = upgradable(world, &config);
        let mut carried = dial("127.0.0.1", 2004).expect("a connection");
        assert_eq!(carried.read_until(b"\n").text(), "live\n");
        let mut waits = dial("127.0.0.1", 2003).expect("a connection");
        must("it is under way", || under_way(&daemon) == 1);
        let asks = world.spawn("asks", &[PROBE, "control", "/run/w/control", "upgrade"], &[]);
        must("it has begun", || world.daemon_log().iter().any(|line| line.contains("Upgrade: asking")));
        let mut comes = dial("127.0.0.1", 2004).expect("a connection");
        // Its threads come back.
        assert!(world.signal(server, 9));
        assert_eq!(world.wait(asks), Ended::Status(0));
        let answer: Value = serde_json::from_str(&world.read("asks.out")).expect("JSON");
        assert_eq!(answer["ok"], true, "{answer}");
        assert_eq!(waits.read_until(b"\n").text(), "live\n");
        assert_eq!(comes.read_until(b"\n").text(), "live\n");
        carried.finish();
        assert_eq!(carried.read_all(), Answer::closed(""));
    });
}

/// A target whose queue was full for a moment: once it has accepted, an upgrade does not send its client away.
#[test]
fn who_had_to_wait_for_a_full_queue_survives_an_upgrade() {
    ours(|world| {
        use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, connect, listen, socket};
        let socket_of = || socket(AddressFamily::UNIX, SocketType::STREAM, None).expect("a socket");
        let address = SocketAddrUnix::new(world.path("full.sock")).expect("an address");
        let listener = socket_of();
        bind(&listener, &address).expect("to bind");
        listen(&listener, 0).expect("to listen");
        let first = socket_of();
        connect(&first, &address).expect("the only place in the queue");
        let daemon = upgradable(world, &Config::of(redirected("full", 2001, "/run/w/full.sock")));
        let mut client = dial("127.0.0.1", 2001).expect("a connection");
        must("it is waiting", || daemon.count("full", "/running") == 1);
        std::thread::sleep(std::time::Duration::from_millis(200)); // it has found the queue full; if not, this proves less
        let listener = UnixListener::from(listener);
        drop(listener.accept().expect("the first"));
        let (mut target, _) = listener.accept().expect("the client");
        target.write_all(b"here\n").expect("to write");
        assert_eq!(client.read_until(b"\n").text(), "here\n");
        for _ in 0..2 {
            let answer: Value = serde_json::from_str(&daemon.control("upgrade")).expect("JSON");
            assert_eq!(answer["ok"], true, "{answer}");
            target.write_all(b"still\n").expect("to write");
            assert_eq!(client.read_until(b"\n").text(), "still\n");
        }
    });
}

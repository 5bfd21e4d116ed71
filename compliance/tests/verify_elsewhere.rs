//! A verified program on a file system that answers and then does not (a real FUSE mount): it is served from what was read, nobody else
//! notices, and neither a reload nor an upgrade waits for it. xinetd has nothing like it.

use portreeve_compliance::client::{dial, talk};
use portreeve_compliance::side::workspace;
use portreeve_compliance::skip::has_programs;
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, Daemon, End, Ended, Entry, Reason, World, ours, signals, skip};
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

const LIST: &str = "/run/w/trusted";
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A file system at /run/w/far with one file, `program`, which is /run/w/near. While /run/w/hang is there it takes every request and answers none.
const FAR: &str = r#"
my $arm = `uname -m` =~ /aarch64/;
mkdir "/run/w/nodes";
system("mount -t tmpfs -o dev tmpfs /run/w/nodes && mknod /run/w/nodes/fuse c 10 229");
sysopen(my $fuse, "/run/w/nodes/fuse", 2) or do { print "none\n"; exit 0 };
my @all = ("far\0", "/run/w/far\0", "fuse\0");
my $options = "fd=" . fileno($fuse) . ",rootmode=40000,user_id=0,group_id=0\0";
syscall($arm ? 40 : 165, @all, 0, $options) == 0 or do { print "none\n"; exit 0 };
$| = 1; print "mounted\n";
sub attributes {
    my ($root) = @_;
    my @there = $root ? (0, 1, 040755, 2, 0, 0, 0, 0, 0, 0, 0) : stat("/run/w/near");
    my ($inode, $mode, $size, $mtime, $ctime) = @there[1, 2, 7, 9, 10];
    return pack("Q6 L10", $inode, $size, 0, $mtime, $mtime, $ctime, 0, 0, 0, $mode, 1, 0, 0, 0, 4096, 0);
}
while (1) {
    my $length = sysread($fuse, my $request, 1 << 20);
    defined $length or next;
    my (undef, $opcode, $unique, $node) = unpack("LLQQ", $request);
    my $body = substr($request, 40);
    if (-e "/run/w/hang") { sleep 1 while -e "/run/w/hang" }
    my $answer = sub { my $data = shift; syswrite($fuse, pack("LlQ", 16 + length($data), 0, $unique) . $data) };
    my $refuse = sub { syswrite($fuse, pack("LlQ", 16, -shift(), $unique)) };
    if ($opcode == 26) { $answer->(pack("LLLL SSLL x36", 7, 31, 0, 0, 0, 0, 4096, 1)) }
    elsif ($opcode == 2 or $opcode == 42 or $opcode == 36) { }
    elsif ($opcode == 1) {
        my ($name) = unpack("Z*", $body);
        $name eq "program" && -e "/run/w/near" ? $answer->(pack("QQQQLL", 2, 0, 0, 0, 0, 0) . attributes(0)) : $refuse->(2);
    }
    elsif ($opcode == 3) { $answer->(pack("QLL", 0, 0, 0) . attributes($node == 1)) }
    elsif ($opcode == 14) { $answer->(pack("QLL", 1, 0, 0)) }
    elsif ($opcode == 15) {
        my (undef, $offset, $size) = unpack("QQL", $body);
        open(my $near, "<", "/run/w/near"); binmode($near); seek($near, $offset, 0); read($near, my $data, $size); $answer->($data);
    }
    elsif ($opcode == 18 or $opcode == 25) { $answer->("") }
    else { $refuse->(38) }
}
"#;

/// The process that answers; `None` where there can be none.
fn far(world: &World) -> Option<u32> {
    if !has_programs(&["perl"]) {
        return None;
    }
    std::fs::create_dir_all(world.path("far")).expect("a directory");
    world.write("far.pl", FAR);
    let pid = world.spawn("far", &["/usr/bin/perl", "/run/w/far.pl"], &[PATH]);
    must("the mount is there or cannot be", || !world.read("far.out").is_empty());
    if world.read("far.out") != "mounted\n" {
        skip(Reason::NoFuse);
        return None;
    }
    Some(pid)
}

fn own() -> PathBuf {
    let own = std::env::var_os("PORTREEVE").map_or_else(|| workspace().join("dist/portreeve"), PathBuf::from);
    own.canonicalize().unwrap_or(own)
}

/// Another program under the name.
fn put(world: &World, program: &str) {
    world.write_mode("beside", std::fs::read(program).expect("a program"), 0o755);
    std::fs::rename(world.path("beside"), world.path("near")).expect("a rename");
}

fn config(verify: &str) -> Config {
    let often = |id: &str, port| Entry::program(id, port).set("cps", "0 0").set("instances", "UNLIMITED");
    let far = often("far", 2001).set("server", "/run/w/far/program").set("verify_server", verify);
    Config::new().defaults(&format!("trusted_programs = {LIST}")).with_all([far, often("near", 2002)])
}

fn trust(world: &World) {
    let own = own();
    let words = ["integrity", "trust", "--file", "/run/w/xinetd.conf", "--answer-for", "/run/w/far/program"];
    let (how, said) = world.run(&[&[own.to_str().expect("UTF-8")], &words[..]].concat(), &[PATH]);
    assert_eq!(how, Ended::Status(0), "{said}");
}

fn served(port: u16) -> bool {
    talk("127.0.0.1", port, b"") == Answer::closed("served\n")
}

fn why(daemon: &Daemon<'_>) -> String {
    daemon.service_status("far")["program"]["why"].as_str().unwrap_or_default().to_owned()
}

fn looks(daemon: &Daemon<'_>) -> u64 {
    let bounds = daemon.status()["bounds"].as_array().cloned().unwrap_or_default();
    let of = |bound: &&Value| bound["name"] == "programs elsewhere being looked at";
    bounds.iter().find(of).expect("the bound")["used"].as_u64().expect("a number")
}

#[test]
fn it_is_served_from_what_was_read_when_nobody_answers_any_more() {
    ours(|world| {
        let Some(server) = far(world) else { return };
        put(world, "/bin/echo");
        let all = config("refuse");
        world.write("xinetd.conf", all.text(world.side));
        trust(world);
        let daemon = world.start(&all);
        assert!(served(2001) && served(2002));
        // Another content is seen, by a look that is a second old at most.
        put(world, "/usr/bin/printf");
        must("it is refused", || talk("127.0.0.1", 2001, b"") == Answer::closed(""));
        assert!(why(&daemon).starts_with("its SHA-256 "), "{}", why(&daemon));
        put(world, "/bin/echo");
        must("it is served again", || served(2001));

        world.write("hang", "");
        must("a look waits", || served(2001) && looks(&daemon) == 1);
        for _ in 0..20 {
            assert!(served(2002) && served(2001));
        }
        assert_eq!(looks(&daemon), 1, "one of a program at a time");
        let pid = daemon.status()["pid"].clone();
        daemon.reload(&all);
        let instances: Value = serde_json::from_str(&daemon.control("instances")).expect("JSON");
        assert_eq!(instances["ok"], true, "{instances}");
        assert!(served(2001) && served(2002), "after a reload");
        daemon.signal(signals::USR2);
        must("the upgrade is over", || daemon.status()["upgrades"] == 1);
        assert_eq!(daemon.status()["pid"], pid);
        assert!(served(2002) && served(2001), "the next version has what was read");

        // It answers again, with something else by now.
        put(world, "/usr/bin/printf");
        std::fs::remove_file(world.path("hang")).expect("gone");
        must("it is refused again", || talk("127.0.0.1", 2001, b"") == Answer::closed(""));
        put(world, "/bin/echo");
        must("it is served once more", || served(2001));
        assert!(world.signal(server, 9));
        must("nobody is there", || why(&daemon).starts_with("it cannot be opened: ") || !served(2001));
        assert!(served(2002));
    });
}

#[test]
fn what_never_answers_is_not_waited_for() {
    ours(|world| {
        let Some(_server) = far(world) else { return };
        put(world, "/bin/echo");
        for verify in ["refuse", "warn"] {
            let all = config(verify);
            world.write("xinetd.conf", all.text(world.side));
            if verify == "refuse" {
                trust(world);
                world.write("hang", "");
            }
            let daemon = world.start(&all);
            assert!(served(2002));
            assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(""), "{verify}");
            assert_eq!(why(&daemon), "its file system does not answer");
            let said = "service far: /run/w/far/program is not started: its file system does not answer";
            must("it is said", || world.daemon_log_count(said) >= 1);
            assert!(served(2002) && daemon.count("far", "/refused/program") == 1);
            assert_eq!(daemon.stop(), Ended::Status(0));
        }
    });
}

/// A warning keeps nobody out there either, and a script is read from the memory too.
#[test]
fn a_script_is_read_from_memory() {
    ours(|world| {
        let Some(_server) = far(world) else { return };
        let script = "#!/bin/sh\necho $1\n";
        world.write_mode("near", script, 0o755);
        let all = config("warn");
        let _daemon = world.start(&all);
        assert!(served(2001));
        must("it is told", || world.daemon_log_count("/run/w/far/program is started although ") == 1);
        // One that others may write to is started with a warning, too, as it is where it lies here.
        world.write_mode("near", script, 0o775);
        let said = "is started although others than root may write to it";
        must("it is told", || served(2001) && world.daemon_log_count(said) == 1);
        world.write("hang", "");
        must("a look waits", || served(2001));
        for _ in 0..10 {
            assert!(served(2001) && served(2002));
        }
    });
}

/// Programs that are under way at the same time, one of them where nobody answers: who was served is let go at once, not when that one is
/// given up.
#[test]
fn who_is_started_beside_it_is_let_go() {
    ours(|world| {
        let Some(server) = far(world) else { return };
        put(world, "/bin/echo");
        let often = |id: &str, port| Entry::program(id, port).set("cps", "0 0").set("instances", "UNLIMITED");
        let near = [often("near", 2002), often("behind", 2003)];
        let daemon = world.start(
            &Config::new().with_all(near).with(often("far", 2001).set("server", "/run/w/far/program")),
        );
        assert!(served(2002) && served(2001) && served(2003));
        world.write("hang", "");
        daemon.signal(signals::STOP);
        // One before it, whose descriptor it could hold, and one behind it, which nobody may keep from being started.
        let [mut first, mut stuck, mut last] =
            [2002, 2001, 2003].map(|port| dial("127.0.0.1", port).expect("in the queue"));
        daemon.signal(signals::CONT);
        for client in [&mut first, &mut last] {
            assert_eq!(client.read_all(), Answer::closed("served\n"));
        }
        assert_eq!(stuck.read_for(Duration::from_millis(500)).end, End::Open, "it has not been given up yet");
        std::fs::remove_file(world.path("hang")).expect("to remove it");
        must("it is served again", || served(2001) && served(2002));
        assert!(daemon.runs());
        world.signal(server, signals::KILL);
    });
}

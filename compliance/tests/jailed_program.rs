//! A program that knows only standard input and output, given to strangers in a changed root with limits: what organisers
//! of contests run from a super-server. The limits must hold, as written and as they are found in the wild.

use portreeve_compliance::client::{dial, talk};
use portreeve_compliance::skip::has_programs;
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, Connection, End, Entry, Reason, World, both, skip};
use std::os::unix::fs::symlink;

const CHALLENGE: &str = r#"
echo "ids $(id -u) $(id -g) $(id -G)"
echo "limits $(ulimit -t) $(ulimit -v)"
echo "files" $(ls /)
echo "name?"
read -r word
case $word in
spin) while :; do :; done ;;
eat) exec dd bs=512M count=1 ;;
*) echo "hello $word" ;;
esac
"#;
const GREETING: &str = "ids 65534 65534 65534\nlimits 1 65536\nfiles bin challenge flag\nname?\n";

/// The tree that a challenge lives in: one static executable under the names it is called by. False where there is none.
fn challenge_tree(world: &World) -> bool {
    let busybox = std::fs::read("/bin/busybox").expect("busybox");
    // A dynamic one names its loader among its first bytes.
    if busybox.get(..1024).unwrap_or_default().windows(7).any(|w| w == b"/lib/ld" || w == b"/lib64/") {
        skip(Reason::absent("a static busybox"));
        return false;
    }
    world.write_mode("ctf/bin/busybox", busybox, 0o755);
    for name in ["sh", "id", "ls", "dd"] {
        symlink("busybox", world.path("ctf/bin").join(name)).expect("a link");
    }
    world.write("ctf/challenge", CHALLENGE);
    world.write("ctf/flag", "flag{}\n");
    true
}

fn greeted(from: &str) -> Connection {
    let mut connection = dial(from, 9999).unwrap_or_else(|end| panic!("{from}: {end:?}"));
    let answer = connection.read_until(b"name?\n");
    assert_eq!((answer.text().as_str(), answer.end), (GREETING, End::Open), "{from}");
    connection
}

/// A program that knows only standard input and output, given to strangers: changed root, changed user, bounded CPU
/// time and memory, two sessions for each source.
#[test]
fn challenge_in_a_chroot() {
    if !has_programs(&["/usr/sbin/chroot", "/bin/busybox"]) {
        return;
    }
    both(|world| {
        if !challenge_tree(world) {
            return;
        }
        let banner = world.write("banner_fail", "you are already here\n");
        let entry = Entry::program("ctf", 9999)
            .set("server", "/usr/sbin/chroot")
            .set("server_args", "--userspec=65534:65534 --groups= /run/w/ctf /bin/sh /challenge")
            .set("banner_fail", &banner)
            .set("per_source", "2")
            .set("rlimit_cpu", "1")
            .set("rlimit_as", "64M");
        let daemon = world.start(&Config::of(entry));
        let before = daemon.descriptors();
        let (mut first, mut second) = (greeted("127.0.0.2"), greeted("127.0.0.2"));
        assert_eq!(talk("127.0.0.2", 9999, b""), Answer::closed("you are already here\n"));
        let mut other = greeted("127.0.0.3");

        other.send(b"world\n");
        assert_eq!(other.read_all(), Answer::closed("hello world\n"));
        first.send(b"spin\n");
        assert_eq!(first.read_all(), Answer::closed(""), "out of time");
        second.send(b"eat\n");
        let answer = second.read_all();
        assert!(answer.text().starts_with("dd: ") && answer.text().contains("memory"), "{answer:?}");

        let mut lines = ["127.0.0.2", "127.0.0.2", "127.0.0.3"]
            .map(|from| format!("START: ctf pid=N from=::ffff:{from}"))
            .to_vec();
        lines.extend(
            ["status=0", "signal=9", "status=1"].map(|how| format!("EXIT: ctf {how} pid=N duration=N(sec)")),
        );
        lines.push("FAIL: ctf per_source_limit from=::ffff:127.0.0.2".to_owned());
        world.expect_log("ctf", &lines);
        must("every descriptor is closed", || daemon.descriptors() <= before);
        let again = greeted("127.0.0.2");
        if world.is_ours() {
            assert_eq!((daemon.count("ctf", "/running"), daemon.count("ctf", "/accepted")), (1, 4));
        }
        drop(again);
    });
}

/// The same as organisers copy it from one another, with words behind the limits: void in xinetd, kept in ours.
#[test]
fn challenge_with_comments_behind_the_limits() {
    if !has_programs(&["/usr/sbin/chroot", "/bin/busybox"]) {
        return;
    }
    let file = "service ctf\n{\n    disable = no\n    socket_type = stream\n    protocol    = tcp\n    wait        = no\n    \
        user        = root\n    type        = UNLISTED\n    port        = 9999\n    bind        = 0.0.0.0\n    \
        server      = /usr/sbin/chroot\n    # replace helloworld to your program\n    \
        server_args = --userspec=65534:65534 /run/w/ctf /bin/sh /challenge\n    \
        banner_fail = /run/w/banner_fail\n    # safety options\n    \
        per_source\t= 1 # the maximum instances of this service per source IP address\n    \
        rlimit_cpu\t= 20 # the maximum number of CPU seconds that the service may use\n    \
        #rlimit_as  = 1024M # the Address Space resource limit for the service\n    \
        #access_times = 2:00-9:00 12:00-24:00\n}\n";
    both(|world| {
        if !challenge_tree(world) {
            return;
        }
        world.write("banner_fail", "you are already here\n");
        let _daemon = world.start(&Config::new().raw(file));
        let session = || {
            let mut connection = dial("127.0.0.2", 9999).expect("a connection");
            let text = connection.read_until(b"name?\n").text();
            (connection, text)
        };
        let greeting = |cpu: &str| GREETING.replace("limits 1 65536", &format!("limits {cpu} unlimited"));
        let (_first, text) = session();
        assert_eq!(text, world.fix("trailing-comments", greeting("unlimited"), greeting("20")));
        let (_second, text) = session();
        let refused = "you are already here\n".to_owned();
        assert_eq!(text, world.fix("trailing-comments", greeting("unlimited"), refused));
    });
}

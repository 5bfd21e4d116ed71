//! Where programs are executed from (`ExecPaths`, `NoExecPaths`), and secure bits (`SecureBits`), each looked at from inside.

use portreeve_compliance::client::talk;
use portreeve_compliance::skip::has_programs;
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, Ended, Entry, Start, World, ours};

const ENV: &[&str] = &["PATH=/usr/sbin:/usr/bin:/sbin:/bin"];

/// What can be executed, mapped and written, by name.
const TRY: &str = "for place in /run/w/a /run/w/a/b /run/w/a/b/c /run/w/bare /run/w/dst /tmp; do\n\
      cp /run/w/true $place/portreeve-true 2>/dev/null\n\
      $place/portreeve-true 2>/dev/null && printf '%s ' $place\n\
      test $place != /tmp || rm -f /tmp/portreeve-true\n\
    done\n\
    test -w /usr && printf 'usr+ '\n\
    test -w /run/w/a && printf 'a+ '\n\
    /lib64/ld-linux-x86-64.so.2 /run/w/a/true 2>/dev/null && printf 'mapped '\n\
    exit 0\n";

fn prepare(world: &World) {
    let program = std::fs::read("/usr/bin/true").expect("true");
    for name in ["true", "a/true"] {
        world.write_mode(name, &program, 0o755);
    }
    world.write("try.sh", TRY);
    let command = "cd /run/w; mkdir -p a/b/c bare dst src; mount -t tmpfs -o noexec tmpfs bare; \
                   for d in a a/b a/b/c bare dst; do cp true $d/portreeve-true; done";
    let (how, said) = world.run(&["/bin/sh", "-ec", command], ENV);
    assert_eq!(how, Ended::Status(0), "{said}");
}

fn trying(id: &str, port: u16, sandbox: &str) -> Entry {
    let entry = Entry::program(id, port).set("server", "/bin/sh").set("server_args", "/run/w/try.sh");
    if sandbox.is_empty() { entry } else { entry.set("sandbox", sandbox) }
}

/// What any shell needs.
const NEEDED: &str = "ExecPaths=/usr ExecPaths=-/lib ExecPaths=-/lib64 ExecPaths=-/bin";

#[test]
fn programs_are_executed_where_they_may_be() {
    if !has_programs(&["mount"]) {
        return;
    }
    let a = "/run/w/a /run/w/a/b /run/w/a/b/c";
    let table = [
        ("", format!("{a} /run/w/dst /tmp usr+ a+ mapped")),
        ("NoExecPaths=/run/w/a", "/run/w/dst /tmp usr+ a+".to_owned()),
        (
            "NoExecPaths=/run/w/a ExecPaths=/run/w/a/b",
            "/run/w/a/b /run/w/a/b/c /run/w/dst /tmp usr+ a+".to_owned(),
        ),
        (
            "NoExecPaths=/run/w/a ExecPaths=/run/w/a/b NoExecPaths=/run/w/a/b/c",
            "/run/w/a/b /run/w/dst /tmp usr+ a+".to_owned(),
        ),
        // Of one path the one that forbids; a file by itself.
        ("NoExecPaths=/run/w/a ExecPaths=/run/w/a", "/run/w/dst /tmp usr+ a+".to_owned()),
        (
            "NoExecPaths=/run/w/a ExecPaths=/run/w/a/portreeve-true",
            "/run/w/a /run/w/dst /tmp usr+ a+".to_owned(),
        ),
        // Everything but what is named, /tmp of its own too.
        ("NoExecPaths=/ NEEDED", "usr+ a+".to_owned()),
        ("NoExecPaths=/ NEEDED PrivateTmp", "usr+ a+".to_owned()),
        ("NoExecPaths=/ NEEDED ExecPaths=/tmp PrivateTmp", "/tmp usr+ a+".to_owned()),
        ("NoExecPaths=/ NEEDED BindPaths=/run/w/src:/run/w/dst", "usr+ a+".to_owned()),
        (
            "NoExecPaths=/ NEEDED BindPaths=/run/w/src:/run/w/dst ExecPaths=/run/w/dst",
            "/run/w/dst usr+ a+".to_owned(),
        ),
        // It lifts what the host has there, and nothing that another word asks for.
        ("ExecPaths=/run/w/bare", format!("{a} /run/w/bare /run/w/dst /tmp usr+ a+ mapped")),
        (
            "ExecPaths=/run TemporaryFileSystem=/run/w/dst:noexec",
            format!("{a} /run/w/bare /tmp usr+ a+ mapped"),
        ),
        // What can be written is another matter.
        ("ProtectSystem=strict ExecPaths=/usr NoExecPaths=/run/w/a", "/run/w/dst".to_owned()),
        (
            "NoExecPaths=-/run/w/none InaccessiblePaths=/run/w/a ExecPaths=/run/w/a/b",
            "/run/w/dst /tmp usr+".to_owned(),
        ),
    ];
    ours(|world| {
        prepare(world);
        let table = || (2001..).zip(&table);
        let entries = table()
            .map(|(port, (words, _))| trying(&format!("e{port}"), port, &words.replace("NEEDED", NEEDED)));
        let _daemon = world.start(&Config::new().with_all(entries));
        let said = |port| talk("127.0.0.1", port, b"").text().trim().to_owned();
        let all = said(2001);
        assert!(all.starts_with(a), "{all}");
        // What is not so without a sandbox is nothing that it takes away: a /tmp without programs, another architecture.
        let here = |wanted: &str| {
            let has = |word: &&str| *word == "/run/w/bare" || all.split(' ').any(|known| known == *word);
            wanted.split(' ').filter(has).collect::<Vec<_>>().join(" ")
        };
        for (port, (words, wanted)) in table() {
            assert_eq!(said(port), here(wanted), "{words}");
        }
    });
}

/// The program itself, what loads it and its libraries must be where programs are executed.
#[test]
fn a_program_and_what_it_needs() {
    let table = [
        ("NoExecPaths=/", ""),
        ("NoExecPaths=/ ExecPaths=/usr/bin/echo", ""),
        ("NoExecPaths=/ ExecPaths=/usr/lib ExecPaths=-/lib64 ExecPaths=-/lib", ""),
        (
            "NoExecPaths=/ ExecPaths=/usr/bin/echo ExecPaths=/usr/lib ExecPaths=-/lib64 ExecPaths=-/lib",
            "served\n",
        ),
        ("NoExecPaths=/usr/bin/echo", ""),
        (
            "NoExecPaths=/ ExecPaths=-/no/such ExecPaths=/usr/bin/echo ExecPaths=/usr/lib ExecPaths=-/lib64",
            "served\n",
        ),
        ("NoExecPaths=/no/such", ""),
    ];
    ours(|world| {
        let entries = (2001..).zip(table).map(|(port, (words, _))| {
            Entry::program(&format!("e{port}"), port).set("server", "/usr/bin/echo").set("sandbox", words)
        });
        let daemon = world.start(&Config::new().with_all(entries));
        for (port, (words, wanted)) in (2001..).zip(table) {
            assert_eq!(talk("127.0.0.1", port, b""), Answer::closed(wanted), "{words}");
        }
        let denied = "execv( /usr/bin/echo ) failed: Permission denied";
        must("the log says it", || world.daemon_log().iter().any(|line| line.contains(denied)));
        assert_eq!(daemon.count("e2001", "/start_failures"), 1);
        must("and of a path that is not there", || {
            world.daemon_log().iter().any(|line| line.contains("sandbox: NoExecPaths=/no/such: No such file"))
        });
    });
}

/// prctl(2) PR_GET_SECUREBITS, and what it can do.
const BITS: &str = "my $n = `uname -m` =~ /aarch64/ ? 167 : 157; printf '%x ', syscall($n, 27, 0, 0, 0, 0); \
    open my $s, '<', '/proc/self/status'; while (<$s>) { print \"$1 \" if /^Cap(?:Eff|Amb):\\s*0*(\\w*[1-9a-f]\\w*|0)$/ }";

#[test]
fn secure_bits_are_those_that_are_named() {
    if !has_programs(&["perl"]) {
        return;
    }
    let all = "SecureBits=keep-caps SecureBits=keep-caps-locked SecureBits=no-setuid-fixup SecureBits=no-setuid-fixup-locked \
               SecureBits=noroot SecureBits=noroot-locked";
    let root = "CapabilityBoundingSet=CAP_CHOWN CapabilityBoundingSet=CAP_KILL";
    let table = [
        // Root by its number alone.
        ("root", root, "0 21 0"),
        ("root", "SecureBits=noroot", "1 0 0"),
        ("root", "SecureBits=noroot AmbientCapabilities=CAP_KILL", "1 20 20"),
        ("root", "SecureBits=noroot SecureBits=noroot-locked NoNewPrivileges LockPersonality", "3 0 0"),
        // keep-caps ends with execve(2); what locks it stays.
        ("65534", "SecureBits=keep-caps", "0 0 0"),
        ("65534", "SecureBits=keep-caps-locked", "20 0 0"),
        ("65534", "SecureBits=no-setuid-fixup SecureBits=no-setuid-fixup-locked", "c 0 0"),
        ("65534", all, "2f 0 0"),
        ("65534", "SecureBits=noroot AmbientCapabilities=CAP_NET_BIND_SERVICE", "1 400 400"),
        ("65534", "SecureBits=noroot CapabilityBoundingSet=none", "1 0 0"),
        ("65534", "SecureBits=noroot PrivateUsers", "1 0 0"),
        ("65534", "SecureBits=noroot PrivateUsers AmbientCapabilities=CAP_KILL", "1 20 20"),
    ];
    ours(|world| {
        world.write("bits.pl", BITS);
        let entries = (2001..).zip(table).map(|(port, (user, words, _))| {
            let entry = Entry::program(&format!("s{port}"), port).set("server", "/usr/bin/perl");
            entry.set("server_args", "/run/w/bits.pl").set("user", user).set("sandbox", words)
        });
        let _daemon = world.start(&Config::new().with_all(entries));
        for (port, (user, words, wanted)) in (2001..).zip(table) {
            assert_eq!(talk("127.0.0.1", port, b"").text().trim(), wanted, "{user}: {words}");
        }
    });
}

#[test]
fn a_supervisor_without_the_right_sets_no_secure_bits() {
    if !has_programs(&["setpriv"]) {
        return;
    }
    ours(|world| {
        let without = "-setpcap";
        let through = ["/usr/bin/setpriv", "--bounding-set", without, "--inh-caps", without];
        let through = through.map(str::to_owned).to_vec();
        let entry = |id: &str, port, user: &str| {
            Entry::program(id, port).set("user", user).set("sandbox", "SecureBits=noroot")
        };
        let config = Config::of(entry("root", 2001, "root")).with(entry("user", 2002, "65534"));
        let daemon = world.start_with(&config, Start { through, ..Start::default() });
        for (id, port) in [("root", 2001), ("user", 2002)] {
            assert_eq!(talk("127.0.0.1", port, b""), Answer::closed(""), "{id}");
            assert_eq!(daemon.count(id, "/start_failures"), 1, "{id}");
            let line =
                format!("{id}: /bin/echo is not started, sandbox: the secure bits: Operation not permitted");
            must("the log names the part", || world.daemon_log().iter().any(|known| known.contains(&line)));
        }
    });
}

//! A sandbox beside everything else that a service can be: behind TLS, behind tcpmux, with the socket itself, a witness, in a changed root;
//! and that an upgrade and a reload keep or change it as they say.

use portreeve_compliance::client::{dial, talk};
use portreeve_compliance::skip::has_programs;
use portreeve_compliance::tls::{certificates, curl, keyed, spawned};
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, Connection, Daemon, Entry, Side, Start, World, ours};
use serde_json::Value;

/// What can be written, whether privileges can be gained, and whether the network is everybody's.
const TELL: &str = "#!/bin/sh\n\
    test -w /usr && echo usr\n\
    test -w /etc && echo etc\n\
    grep -q '^NoNewPrivs:.0' /proc/self/status && echo privileges\n\
    test \"$(readlink /proc/self/ns/net)\" = \"$(cat /run/w/network)\" && echo network\n\
    exit 0\n";

fn telling(id: &str, port: u16, words: &str) -> Entry {
    Entry::program(id, port).set("server", "/run/w/tell-all.sh").unset("server_args").set("sandbox", words)
}

fn said(port: u16) -> String {
    talk("127.0.0.1", port, b"").text().lines().collect::<Vec<_>>().join(" ")
}

fn prepare(world: &World) {
    world.write_mode("tell-all.sh", TELL, 0o755);
    let network = std::fs::read_link(world.inside("/proc/1/ns/net")).expect("the world's network");
    world.write("network", network.to_str().expect("text"));
}

#[test]
fn behind_tls() {
    if !has_programs(&["curl", "openssl"]) {
        return;
    }
    ours(|world| {
        prepare(world);
        certificates(world);
        world.write(
            "http.sh",
            "read line; printf 'HTTP/1.0 200 OK\\r\\n\\r\\n'; sh /run/w/tell-all.sh; env | grep ^REMOTE_HOST",
        );
        let words = "ProtectSystem=strict NoNewPrivileges PrivateNetwork RestrictAddressFamilies=none";
        let config = Config::of(spawned("open", 2001, "/run/w/http.sh"))
            .with(spawned("closed", 2002, "/run/w/http.sh").set("sandbox", words))
            .with(spawned("never", 2003, "/run/w/http.sh").set("sandbox", "InaccessiblePaths=/no/such"));
        let daemon = world.start(&config);
        keyed(&daemon, "closed");
        let get = |port| curl(world, "one.example", port, &[]);
        assert_eq!(get(2001), (true, "usr\netc\nprivileges\nnetwork\nREMOTE_HOST=127.0.0.1\n".to_owned()));
        assert_eq!(get(2002), (true, "REMOTE_HOST=127.0.0.1\n".to_owned()));
        assert!(!get(2003).0, "nothing answers there");
        must("it is counted", || daemon.count("never", "/start_failures") == 1);
        must("nothing is left", || daemon.count("never", "/running") == 0);
    });
}

#[test]
fn behind_tcpmux() {
    ours(|world| {
        prepare(world);
        let muxed =
            |id: &str, words: &str| telling(id, 0, words).unset("port").set("type", "TCPMUXPLUS UNLISTED");
        let config = Config::of(Entry::internal("tcpmux", "tcpmux", 2001, "stream").first("flags = IPv4"))
            .with(muxed("open", "off"))
            .with(muxed("closed", "ProtectSystem=full PrivateNetwork NoNewPrivileges"))
            .with(muxed("never", "ReadOnlyPaths=/no/such"));
        let daemon = world.start(&config);
        let asked = |name: &str| talk("127.0.0.1", 2001, format!("{name}\r\n").as_bytes());
        assert_eq!(asked("open"), Answer::closed("+Go\r\nusr\netc\nprivileges\nnetwork\n"));
        assert_eq!(asked("closed"), Answer::closed("+Go\r\n"));
        asked("never");
        must("it is counted", || daemon.count("never", "/start_failures") == 1);
    });
}

/// It accepts by itself, in a network of its own: the socket is that of the world.
#[test]
fn with_the_socket_itself() {
    if !has_programs(&["perl"]) {
        return;
    }
    ours(|world| {
        prepare(world);
        world.write(
            "accept.pl",
            "use Socket; my $fd = $ENV{LISTEN_FDS} ? 3 : 0; open my $l, '+<&=', $fd or die; \
             for (1..2) { accept(my $c, $l) or die; print $c `sh /run/w/tell-all.sh`, \"end\\n\"; close $c }",
        );
        let perl = |id: &str, port| {
            let entry = Entry::program(id, port).set("wait", "yes").set("server", "/usr/bin/perl");
            let entry = entry.set("server_args", "/run/w/accept.pl").line("flags = NOLIBWRAP");
            entry
                .set("sandbox", "ProtectSystem=full PrivateNetwork NoNewPrivileges PrivateDevices PrivateTmp")
        };
        let config = Config::of(perl("classic", 2001)).with(perl("handed", 2002).set("listen_fds", "here"));
        let _daemon = world.start(&config);
        for port in [2001, 2001, 2002, 2002, 2001, 2002] {
            assert_eq!(talk("127.0.0.1", port, b""), Answer::closed("end\n"), "{port}");
        }
    });
}

/// The witness' descriptor is open already: no word takes it away.
#[test]
fn with_a_witness() {
    ours(|world| {
        let script = "#!/bin/sh\nprintf login >&$PORTREEVE_EVIDENCE_FD && echo failed\n";
        let path = world.write_mode("fail.sh", script, 0o755);
        let words = "ProtectSystem=strict PrivateNetwork PrivateDevices PrivateTmp RestrictAddressFamilies=none \
            NoNewPrivileges SystemCallFilter=@system-service CapabilityBoundingSet=none";
        let entry = Entry::program("ftp", 2001).set("server", &path).unset("server_args");
        let daemon = world.start(&Config::of(entry.set("evidence", "yes").set("sandbox", words)));
        assert_eq!(talk("127.0.0.7", 2001, b""), Answer::closed("failed\n"));
        let why = || serde_json::from_str::<Value>(&daemon.control("why 127.0.0.7")).expect("JSON");
        must("it is heard", || why()["evidence"][0]["score_percent"].as_u64().unwrap_or(0) > 0);
    });
}

/// A program that changes its root by itself needs the right to, and takes its sandbox along.
#[test]
fn in_a_changed_root() {
    if !has_programs(&["chroot"]) {
        return;
    }
    ours(|world| {
        prepare(world);
        let changed = |id: &str, port, words: &str| {
            let entry = telling(id, port, words).set("server", "/usr/sbin/chroot");
            entry.set("server_args", "/ /bin/sh /run/w/tell-all.sh")
        };
        let config = Config::of(changed("open", 2001, "off"))
            .with(changed("closed", 2002, "ProtectSystem=full NoNewPrivileges"))
            .with(changed("never", 2003, "CapabilityBoundingSet=~CAP_SYS_CHROOT"));
        let _daemon = world.start(&config);
        assert_eq!(said(2001), "usr etc privileges network");
        assert_eq!(said(2002), "network");
        assert!(said(2003).contains("Operation not permitted"), "{}", said(2003));
    });
}

fn install(world: &World) {
    world.copy_program(Side::Ours.executable(), "gate.new");
    std::fs::rename(world.path("gate.new"), world.path("gate")).expect("to rename");
}

fn held(port: u16) -> Connection {
    let mut connection = dial("127.0.0.1", port).expect("a connection");
    assert_eq!(connection.read_until(b"\n").text(), "held\n");
    connection
}

fn upgraded(daemon: &Daemon<'_>) {
    let answer: Value = serde_json::from_str(&daemon.control("upgrade")).expect("JSON");
    assert_eq!(answer["ok"], true, "{answer}");
}

/// What is in force goes on over an upgrade, not what the file holds by then; who runs keeps what he has.
#[test]
fn over_an_upgrade() {
    ours(|world| {
        prepare(world);
        let hold = format!("#!/bin/sh\necho held\nread go\n{}", TELL.trim_start_matches("#!/bin/sh\n"));
        world.write_mode("hold.sh", hold, 0o755);
        let config = |words: &str| {
            Config::of(telling("full", 2001, words))
                .with(telling("hold", 2002, words).set("server", "/run/w/hold.sh"))
                .with(telling(
                    "strict",
                    2003,
                    "ProtectSystem=strict PrivateNetwork KeyringMode=private MemoryDenyWriteExecute",
                ))
                .with(telling("never", 2004, "InaccessiblePaths=/no/such"))
        };
        let words = "ProtectSystem=full PrivateNetwork NoNewPrivileges";
        install(world);
        let through = ["/bin/sh", "-c", "shift; exec /run/w/gate \"$@\"", "sh"].map(str::to_owned).to_vec();
        let daemon = world.start_with(&config(words), Start { through, ..Start::default() });
        let shown =
            || ["full", "hold", "strict", "never"].map(|id| daemon.service_status(id)["sandbox"].clone());
        let before = shown();
        assert_eq!((said(2001), said(2003)), (String::new(), "privileges".to_owned()));
        let mut old = held(2002);
        // Not read again.
        world.write("xinetd.conf", config("off").text(Side::Ours));
        install(world);
        for round in 0..2 {
            upgraded(&daemon);
            assert_eq!(shown(), before, "{round}");
            assert_eq!((said(2001), said(2003)), (String::new(), "privileges".to_owned()), "{round}");
            assert_eq!(talk("127.0.0.1", 2004, b""), Answer::closed(""));
        }
        old.send(b"\n");
        assert_eq!(old.read_all(), Answer::closed(""));
        must("it is counted", || daemon.count("never", "/start_failures") == 2);
    });
}

/// A reload: added, changed, taken away; who runs keeps what he has; a wrong one leaves what was.
#[test]
fn over_a_reload() {
    ours(|world| {
        prepare(world);
        let hold = format!("#!/bin/sh\necho held\nread go\n{}", TELL.trim_start_matches("#!/bin/sh\n"));
        world.write_mode("hold.sh", hold, 0o755);
        let config = |words: &str| {
            Config::of(telling("s1", 2001, words))
                .with(telling("hold", 2002, words).set("server", "/run/w/hold.sh").set("instances", "9"))
        };
        let daemon = world.start(&config("off"));
        assert_eq!(said(2001), "usr etc privileges network");
        let mut first = held(2002);
        daemon.reload(&config("ProtectSystem"));
        assert_eq!(said(2001), "etc privileges network");
        let mut second = held(2002);
        daemon.reload(&config("ProtectSystem=full PrivateNetwork"));
        assert_eq!(said(2001), "privileges");
        // A slip of the pen: the service goes on as it was.
        daemon.reload(&config("ProtectSystem=ful"));
        assert_eq!(said(2001), "privileges");
        assert_eq!(
            daemon.service_status("s1")["sandbox"],
            serde_json::json!(["ProtectSystem=full", "PrivateNetwork"])
        );
        daemon.reload(&config("off"));
        assert_eq!(said(2001), "usr etc privileges network");
        for (client, wanted) in
            [(&mut first, "usr\netc\nprivileges\nnetwork\n"), (&mut second, "etc\nprivileges\nnetwork\n")]
        {
            client.send(b"\n");
            assert_eq!(client.read_all(), Answer::closed(wanted));
        }
    });
}

//! TLS in front of services, spoken to by curl, `openssl s_client` and socat, with OpenSSL as target. xinetd has
//! nothing of the kind, so these run against ours alone.

use portreeve_compliance::client::{dial, talk};
use portreeve_compliance::skip::has_programs;
use portreeve_compliance::tls::{ENV, behind, certificates, curl, keyed, spawned, workers};
use portreeve_compliance::wait::must;
use portreeve_compliance::{Config, Daemon, Ended, Entry, Side, Start, World, ours};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// `openssl s_client` with this on its standard input; what it printed.
fn s_client(world: &World, port: u16, input: &str, more: &str) -> String {
    let script = format!(
        "{input} | openssl s_client -connect 127.0.0.1:{port} -CAfile /run/w/ca.pem {more} 2>&1 || true"
    );
    world.run(&["/bin/sh", "-c", &script], ENV).1
}

/// A target: each connection gets a thread that runs `serve`.
fn target(address: &str, serve: impl Fn(TcpStream) + Send + Sync + 'static) {
    let listener = TcpListener::bind(address).expect("the target's socket");
    let serve = std::sync::Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            std::thread::spawn(move || {
                let _ = stream.set_read_timeout(Some(Duration::from_secs(60)));
                serve(stream);
            });
        }
    });
}

fn echo(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..n]).is_err() {
            return;
        }
    }
}

fn count(mut stream: TcpStream) {
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all);
    let _ = write!(stream, "{} bytes", all.len());
}

/// A script that knows nothing of TLS is an HTTPS server; the log is xinetd's, the client's address is the real one.
#[test]
fn a_script_behind_tls() {
    if !has_programs(&["curl", "openssl"]) {
        return;
    }
    ours(|world| {
        certificates(world);
        let daemon = world.start(&Config::new().with(spawned("s1", 2001, "/run/w/tell.sh")));
        keyed(&daemon, "s1");
        let (fine, said) = curl(world, "one.example", 2001, &[]);
        assert!(fine, "{said}");
        assert_eq!(said, "REMOTE_HOST=127.0.0.1\nTLS_PROTOCOL=TLSv1.3\nTLS_SERVER_NAME=one.example\n");
        let (fine, said) = curl(world, "one.example", 2001, &["--tls-max", "1.2"]);
        assert!(fine && said.contains("TLS_PROTOCOL=TLSv1.2\n"), "{said}");
        let (fine, said) = curl(world, "wrong.example", 2001, &[]);
        assert!(!fine, "{said}");
        must("all have ended", || daemon.count("s1", "/running") == 0);
        let log = world.service_log("s1");
        let start = "START: s1 pid=N from=127.0.0.1".to_owned();
        let exit = "EXIT: s1 status=0 pid=N duration=N(sec)".to_owned();
        // Who did not like the certificate had shaken hands as far as anybody here can tell.
        assert_eq!(log.iter().filter(|line| **line == start).count(), 3, "{log:#?}");
        assert!(log.iter().filter(|line| **line == exit).count() >= 2, "{log:#?}");
    });
}

/// More than all buffers on the way hold, both ways, and the end of one half while the other goes on.
#[test]
fn all_bytes_and_both_halves() {
    if !has_programs(&["openssl"]) {
        return;
    }
    ours(|world| {
        certificates(world);
        target("127.0.0.1:3001", count);
        let config = Config::new()
            .with(behind("r1", 2001).set("redirect", "127.0.0.1 3001"))
            .with(spawned("s1", 2002, "-c wc${IFS}-c"))
            .with(spawned("s2", 2003, "-c seq${IFS}1${IFS}300000"));
        let daemon = world.start(&config);
        keyed(&daemon, "s2");
        // s_client says close_notify when its input ends, and goes on reading (-ign_eof is the opposite).
        let send = "head -c 3000000 /dev/zero";
        for (port, wanted) in [(2001, "3000000 bytes"), (2002, "3000000\n")] {
            let relay = format!(
                "{send} | socat -t30 - OPENSSL:127.0.0.1:{port},cafile=/run/w/ca.pem,commonname=one.example"
            );
            let (_, said) = world.run(&["/bin/sh", "-c", &relay], ENV);
            assert!(said.ends_with(wanted), "{port}: {said}");
        }
        let (how, sum) =
            world.run(&["/bin/sh", "-c", "(sleep 30 & echo) | timeout 60 socat -u OPENSSL:127.0.0.1:2003,cafile=/run/w/ca.pem,commonname=one.example - | md5sum; seq 1 300000 | md5sum"], ENV);
        assert_eq!(how, Ended::Status(0));
        let sums: Vec<&str> = sum.lines().collect();
        assert!(matches!(sums[..], [one, other] if one == other), "{sum}");
        world.expect_log(
            "r1",
            &[
                "START: r1 pid=0 from=127.0.0.1",
                "TRAFFIC: r1 in=3000000(bytes) out=13(bytes)",
                "EXIT: r1 status=0 pid=0 duration=N(sec)",
            ],
        );
    });
}

/// Who has no certificate of the authority starts nothing; who has one is named to the program.
#[test]
fn mutual_tls() {
    if !has_programs(&["curl", "openssl"]) {
        return;
    }
    ours(|world| {
        certificates(world);
        let entry = spawned("s1", 2001, "/run/w/tell.sh").set("tls_client_ca", "/run/w/ca.pem");
        let daemon = world.start(&Config::new().with(entry));
        keyed(&daemon, "s1");
        let with = |name: &str| {
            let (cert, key) = (format!("/run/w/{name}.pem"), format!("/run/w/{name}.key"));
            curl(world, "one.example", 2001, &["--cert", &cert, "--key", &key])
        };
        let (fine, said) = with("client");
        assert!(fine && said.contains("TLS_CLIENT_SUBJECT=CN=reeve,O=Market\\, Town\n"), "{said}");
        assert!(!with("stranger").0);
        assert!(!curl(world, "one.example", 2001, &[]).0);
        must("both refusals are counted", || daemon.count("s1", "/refused/tls") == 2);
        assert_eq!(daemon.count("s1", "/accepted"), 1, "nothing was started for them");
        let log = world.service_log("s1");
        assert_eq!(log.iter().filter(|line| *line == "FAIL: s1 tls from=127.0.0.1").count(), 2, "{log:#?}");
    });
}

/// The certificate by the name that is asked for, the first where none fits; protocols by ALPN.
#[test]
fn names_and_protocols() {
    if !has_programs(&["openssl"]) {
        return;
    }
    ours(|world| {
        certificates(world);
        let entry = spawned("s1", 2001, "/run/w/tell.sh")
            .set("tls_cert", "/run/w/one.pem /run/w/two.pem")
            .set("tls_key", "/run/w/one.key /run/w/two.key")
            .set("tls_alpn", "x/2 x/1");
        let daemon = world.start(&Config::new().with(entry));
        keyed(&daemon, "s1");
        for (more, subject) in [
            ("-servername one.example", "CN = one.example"),
            ("-servername two.example", "CN = two.example"),
            ("-servername three.example", "CN = one.example"),
            ("-noservername", "CN = one.example"),
        ] {
            let said = s_client(world, 2001, "echo", more);
            assert!(said.contains(&format!("subject={subject}")), "{more}: {said}");
        }
        let said = s_client(world, 2001, "echo", "-alpn x/1,x/2 -ign_eof");
        assert!(said.contains("ALPN protocol: x/2") && said.contains("TLS_ALPN=x/2"), "{said}");
        let said = s_client(world, 2001, "echo", "-alpn other");
        assert!(said.contains("no application protocol"), "{said}");
    });
}

/// TLS towards the target, checked: by name, by authority; in the clear on our side, or by TLS on both.
#[test]
fn the_target_by_tls() {
    if !has_programs(&["openssl", "curl"]) {
        return;
    }
    ours(|world| {
        certificates(world);
        let serve = |port: &str, name: &str| {
            let argv = ["/usr/bin/openssl", "s_server", "-accept", port, "-www", "-cert"];
            let (cert, key) = (format!("/run/w/{name}.pem"), format!("/run/w/{name}.key"));
            world.spawn(&format!("s_server{port}"), &[&argv[..], &[&cert, "-key", &key]].concat(), ENV);
            let port: u16 = port.parse().expect("a port");
            must("the target listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        };
        serve("3001", "one");
        serve("3002", "two");
        let clear = |id: &str, port: u16, target: &str| {
            behind(id, port)
                .unset("tls_cert")
                .unset("tls_key")
                .set("redirect", target)
                .set("tls", "connect")
                .set("tls_ca", "/run/w/ca.pem")
        };
        let config = Config::new()
            .with(clear("good", 2001, "127.0.0.1 3001"))
            .with(clear("othername", 2002, "127.0.0.1 3002"))
            .with(clear("stranger", 2003, "127.0.0.1 3001").set("tls_ca", "/run/w/strange.pem"))
            .with(
                behind("both", 2004)
                    .set("redirect", "localhost 3001")
                    .set("tls", "connect")
                    .set("tls_ca", "/run/w/ca.pem"),
            );
        let daemon = world.start(&config);
        for id in ["good", "othername", "stranger", "both"] {
            keyed(&daemon, id);
        }
        let ask = b"GET / HTTP/1.0\r\n\r\n";
        assert!(talk("127.0.0.1", 2001, ask).text().contains("200 ok"));
        for port in [2002, 2003] {
            assert_eq!(talk("127.0.0.1", port, ask).text(), "", "nothing of an unchecked target is told");
        }
        let (fine, said) = curl(world, "one.example", 2004, &["--http1.0"]);
        assert!(fine && said.contains("s_server"), "{said}");
        must("why is said", || {
            let log = world.daemon_log().join("\n");
            log.contains("service othername: TLS with the target")
                && log.contains("service stranger: TLS with")
        });
    });
}

/// Has it read its files again, and gives the first thing that is not in force.
fn reload(daemon: &Daemon<'_>) -> Value {
    let answer: Value = serde_json::from_str(&daemon.control("reload")).expect("JSON");
    assert_eq!(answer["applied"], true, "{answer}");
    answer["diagnostics"][0].clone()
}

/// A reload takes new certificates for new clients; a session goes on through it. Broken files change nothing.
#[test]
fn certificates_change_under_a_session() {
    if !has_programs(&["openssl", "socat"]) {
        return;
    }
    ours(|world| {
        certificates(world);
        target("127.0.0.1:3001", echo);
        let config = Config::new().with(behind("r1", 2001).set("redirect", "127.0.0.1 3001"));
        let daemon = world.start(&config);
        keyed(&daemon, "r1");
        // A client of ours in the clear, over socat's TLS.
        let relay = "OPENSSL:127.0.0.1:2001,cafile=/run/w/ca.pem,commonname=one.example";
        world.spawn("relay", &["/usr/bin/socat", "TCP4-LISTEN:4001,reuseaddr", relay], ENV);
        let mut client = None;
        must("the relay listens", || {
            client = dial("127.0.0.1", 4001).ok();
            client.is_some()
        });
        let mut client = client.expect("a client");
        client.send(b"before ");
        assert_eq!(client.read_count(7).text(), "before ");
        let worker = workers(world);
        let subject = || {
            let said = s_client(world, 2001, "sleep 0.2", "-servername one.example");
            said.lines().find(|line| line.starts_with("subject=")).unwrap_or_default().to_owned()
        };
        for name in ["next.pem", "next.key"] {
            std::fs::copy(world.path(name), world.path(&name.replace("next", "one"))).expect("to copy");
        }
        daemon.reload(&config);
        must("the new certificate is shown", || subject() == "subject=CN = next.example");
        world.write("one.pem", "rubbish");
        daemon.reload(&config);
        must("it is said", || {
            world.daemon_log().join("\n").contains("/run/w/one.pem: it holds no certificate")
        });
        assert_eq!(subject(), "subject=CN = next.example");
        let note = || daemon.service_status("r1")["note"].to_string();
        assert!(note().contains("new TLS cannot be used: /run/w/one.pem"), "{}", note());
        // Whoever asks for the reload is told, and that it is not in force.
        let found = reload(&daemon);
        assert_eq!(found["severity"], "error", "{found}");
        let message = found["message"].as_str().unwrap_or_default();
        assert!(message.starts_with("service r1: its new TLS cannot be used: /run/w/one.pem"), "{message}");
        std::fs::copy(world.path("next.pem"), world.path("one.pem")).expect("to copy");
        assert_eq!(reload(&daemon), Value::Null);
        must("it is in order", || note() == "\"\"");
        client.send(b"after");
        assert_eq!(client.read_count(5).text(), "after", "the session goes on");
        assert_eq!(workers(world), worker, "in the same process");
    });
}

/// Rubbish, silence, and half a handshake harm nobody else, start nothing and end.
#[test]
fn strangers_who_speak_no_tls() {
    if !has_programs(&["openssl", "curl"]) {
        return;
    }
    ours(|world| {
        certificates(world);
        let daemon = world.start(&Config::new().with(spawned("s1", 2001, "/run/w/tell.sh")));
        keyed(&daemon, "s1");
        let silent: Vec<_> = (0..20).map(|_| dial("127.0.0.1", 2001).expect("a connection")).collect();
        let mut slow = dial("127.0.0.1", 2001).expect("a connection");
        slow.send(&[0x16, 3, 1, 2, 0, 1, 0, 1]);
        let _ = talk("127.0.0.1", 2001, b"GET / HTTP/1.0\r\n\r\n");
        let _ = talk("127.0.0.1", 2001, &[0xff; 4096]);
        let _ = talk("127.0.0.1", 2001, &[0x16, 3, 1, 0xff, 0xff]);
        let (fine, said) = curl(world, "one.example", 2001, &[]);
        assert!(fine, "{said}");
        drop(silent);
        drop(slow);
        must("all are refused", || daemon.count("s1", "/refused/tls") == 24);
        assert_eq!(daemon.count("s1", "/accepted"), 1);
        let log = world.daemon_log();
        let said = log.iter().filter(|line| line.contains("service s1: no TLS with 127.0.0.1")).count();
        assert!((1..24).contains(&said), "reasons are few: {log:#?}");
    });
}

/// A client that does not shake hands is let go without a word from it.
#[test]
fn a_handshake_has_a_deadline() {
    if !has_programs(&["openssl"]) {
        return;
    }
    ours(|world| {
        certificates(world);
        let daemon =
            world.start(&Config::new().with(spawned("s1", 2001, "/run/w/tell.sh").set("instances", "1")));
        keyed(&daemon, "s1");
        let mut silent = dial("127.0.0.1", 2001).expect("a connection");
        must("it has a seat", || daemon.count("s1", "/running") == 1);
        assert_eq!(silent.read_for(Duration::from_secs(40)).text(), "", "it is closed");
        must("the seat is free", || daemon.count("s1", "/running") == 0);
    });
}

/// The worker is a user of its own behind its walls; killed under load it comes back, and the service with it.
#[test]
fn the_worker_dies() {
    if !has_programs(&["openssl", "curl"]) {
        return;
    }
    ours(|world| {
        certificates(world);
        target("127.0.0.1:3001", echo);
        let config = Config::new()
            .with(spawned("s1", 2001, "/run/w/tell.sh"))
            .with(behind("r1", 2002).set("redirect", "127.0.0.1 3001"));
        let daemon = world.start(&config);
        keyed(&daemon, "s1");
        let pid = match workers(world)[..] {
            [pid] => pid,
            ref other => panic!("one worker for one set of certificates: {other:?}"),
        };
        let status =
            std::fs::read_to_string(world.inside(&format!("/proc/{pid}/status"))).expect("its status");
        let line = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        assert!(line("Uid:").contains("61106"), "{status}");
        assert!(
            line("CapEff:").ends_with("0000000000000000") && line("NoNewPrivs:").ends_with('1'),
            "{status}"
        );
        for _ in 0..3 {
            let waiting: Vec<_> = (0..30).map(|_| dial("127.0.0.1", 2002).expect("a connection")).collect();
            for pid in workers(world) {
                world.signal(pid, portreeve_compliance::signals::KILL);
            }
            drop(waiting);
            must("it serves again", || curl(world, "one.example", 2001, &[]).0);
        }
        must("nothing is left behind", || {
            daemon.count("s1", "/running") == 0 && daemon.count("r1", "/running") == 0
        });
        assert!(daemon.runs());
    });
}

/// What is left of the file of a key, in the memory of whoever read it: nothing.
#[test]
fn no_file_of_a_key_stays_in_memory() {
    if !has_programs(&["openssl"]) {
        return;
    }
    ours(|world| {
        certificates(world);
        let rsa = "cd /run/w && openssl req -x509 -newkey rsa:2048 -nodes -keyout rsa.key -out rsa.pem -subj /CN=rsa -days 30";
        assert_eq!(world.run(&["/bin/sh", "-c", rsa], ENV).0, Ended::Status(0));
        let second = "/run/w/one.pem /run/w/rsa.pem";
        let config = Config::of(
            spawned("s1", 2001, "/run/w/tell.sh")
                .set("tls_cert", second)
                .set("tls_key", "/run/w/one.key /run/w/rsa.key"),
        );
        let daemon = world.start(&config);
        keyed(&daemon, "s1");
        daemon.reload(&config);
        keyed(&daemon, "s1");
        let pid = workers(world)[0];
        let found = |text: &str| memory(world, pid).windows(text.len()).any(|bytes| bytes == text.as_bytes());
        assert!(found("no TLS without an application protocol") || found("portreeve"), "its memory is read");
        for file in ["one.key", "rsa.key"] {
            let key = world.read(file);
            for line in key.lines().skip(2).filter(|line| line.len() >= 32 && !line.starts_with('-')) {
                assert!(!found(&line[..32]), "a line of {file} is there");
            }
        }
    });
}

/// All memory of a process that can be read.
fn memory(world: &World, pid: u32) -> Vec<u8> {
    use std::io::{Seek, SeekFrom};
    let file = |name: &str| world.inside(&format!("/proc/{pid}/{name}"));
    let maps = std::fs::read_to_string(file("maps")).expect("its map");
    let mut memory = std::fs::File::open(file("mem")).expect("its memory");
    let mut all = Vec::new();
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (from, to) = line.split_once(' ').and_then(|(range, _)| range.split_once('-')).expect("a range");
        let number = |text: &str| u64::from_str_radix(text, 16).expect("a number");
        let mut part = vec![0; usize::try_from(number(to) - number(from)).expect("small")];
        if memory.seek(SeekFrom::Start(number(from))).is_ok() && memory.read_exact(&mut part).is_ok() {
            all.extend(part);
        }
    }
    all
}

/// Without a certificate that can be used the clients wait in the queue, other services serve, and a reload mends it.
#[test]
fn held_until_it_can_be_served() {
    if !has_programs(&["openssl", "curl"]) {
        return;
    }
    ours(|world| {
        certificates(world);
        let config = Config::new()
            .with(spawned("s1", 2001, "/run/w/tell.sh"))
            .with(spawned("s2", 2002, "/run/w/tell.sh").set("tls_key", "/run/w/two.key"))
            .with(spawned("s3", 2003, "/run/w/tell.sh").set("tls_cert", "/run/w/absent.pem"));
        let daemon = world.start(&config);
        keyed(&daemon, "s1");
        for (id, why) in [("s2", "does not belong"), ("s3", "No such file")] {
            must("it is held", || {
                daemon.service_status(id)["note"].as_str().unwrap_or_default().contains(why)
            });
            assert_eq!(daemon.service_status(id)["tls_unusable"], true, "{id}");
        }
        let found = reload(&daemon);
        assert!(found["message"].as_str().unwrap_or_default().contains("does not belong"), "{found}");
        assert_eq!(
            (&found["code"], &found["file"]),
            (&"tls-file".into(), &"/run/w/xinetd.conf".into()),
            "{found}"
        );
        let dump = || {
            daemon.control("dump");
            world.read("portreeve.dump")
        };
        let said = dump();
        let states: Vec<&str> = said.lines().filter(|line| line.starts_with("\tState = ")).collect();
        assert_eq!(states, ["\tState = Active", "\tState = Held", "\tState = Held"], "{said}");
        let mut held = dial("127.0.0.1", 2002).expect("the kernel takes it");
        held.send(b"GET / HTTP/1.0\r\n\r\n");
        assert!(curl(world, "one.example", 2001, &[]).0);
        std::fs::copy(world.path("one.key"), world.path("two.key")).expect("to copy");
        let found = reload(&daemon);
        assert!(found["message"].as_str().unwrap_or_default().contains("absent.pem"), "{found}");
        keyed(&daemon, "s2");
        assert_eq!(daemon.service_status("s2")["tls_unusable"], false);
        assert!(curl(world, "one.example", 2002, &[]).0);
        assert!(!held.read_all().text().contains("REMOTE_HOST"), "nobody is served in the clear");
    });
}

/// A gate without `portreeve` beside it serves the rest, and says why it does not serve TLS.
#[test]
fn nobody_to_serve_tls() {
    if !has_programs(&["openssl"]) {
        return;
    }
    ours(|world| {
        certificates(world);
        std::fs::copy(Side::Ours.executable(), world.path("gate")).expect("to copy the gate");
        let plain = Entry::program("plain", 2002);
        let config = Config::new().with(spawned("s1", 2001, "/run/w/tell.sh")).with(plain);
        let through = ["/bin/sh", "-c", "shift; exec /run/w/gate \"$@\"", "sh"].map(str::to_owned).to_vec();
        let daemon = world.start_with(&config, Start { through, ..Start::default() });
        let why = "the executable portreeve is not there: neither /run/w/portreeve";
        must("the service's note says it", || {
            daemon.service_status("s1")["note"].as_str().unwrap_or_default().contains(why)
        });
        let workers = daemon.status()["workers"].clone();
        let tls = workers.as_array().expect("a list").iter().find(|worker| worker["name"] == "tls");
        assert!(tls.expect("a worker of TLS")["why"].as_str().unwrap_or_default().contains(why), "{workers}");
        assert_eq!(talk("127.0.0.1", 2002, b"").text(), "served\n");
    });
}

/// Passes one connection on, but holds back all but the first bytes of what the client says until it is released.
fn hesitant(at: &str, to: &'static str, released: &std::sync::Arc<AtomicBool>) {
    let (listener, released) = (TcpListener::bind(at).expect("the relay's socket"), released.clone());
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("a client");
        let mut server = TcpStream::connect(to).expect("the daemon");
        let mut buffer = [0; 8192];
        let n = client.read(&mut buffer).expect("a hello");
        server.write_all(&buffer[..40]).expect("to begin");
        while !released.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(10));
        }
        server.write_all(&buffer[40..n]).expect("to go on");
        let (mut back, mut from) = (client.try_clone().expect("a copy"), server.try_clone().expect("a copy"));
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut back);
            let _ = back.shutdown(std::net::Shutdown::Write);
        });
        let _ = std::io::copy(&mut client, &mut server);
    });
}

/// The daemon becomes another version of itself: sessions behind TLS go on, so does a handshake that is not done, the limits count
/// them, their EXIT lines come, and the worker is the same process.
#[test]
fn an_upgrade_leaves_sessions_alone() {
    if !has_programs(&["openssl", "socat", "curl"]) {
        return;
    }
    ours(|world| {
        certificates(world);
        target("127.0.0.1:3001", echo);
        let redirected = behind("r1", 2001).set("redirect", "127.0.0.1 3001").set("instances", "1");
        let spawned = spawned("s1", 2002, "/run/w/tell.sh").set("instances", "1");
        let daemon = world.start(&Config::new().with(redirected).with(spawned));
        keyed(&daemon, "r1");
        let before = workers(world);
        let relay = "OPENSSL:127.0.0.1:2001,cafile=/run/w/ca.pem,commonname=one.example";
        world.spawn("relay", &["/usr/bin/socat", "TCP4-LISTEN:4001,reuseaddr", relay], ENV);
        let mut client = None;
        must("the relay listens", || {
            client = dial("127.0.0.1", 4001).ok();
            client.is_some()
        });
        let mut client = client.expect("a client");
        client.send(b"before ");
        assert_eq!(client.read_count(7).text(), "before ");
        let released = std::sync::Arc::new(AtomicBool::new(false));
        hesitant("127.0.0.1:4002", "127.0.0.1:2002", &released);
        let (url, there) = ("https://one.example:4002/", "one.example:4002:127.0.0.1");
        let argv = ["/usr/bin/curl", "-sS", "--max-time", "60", "--cacert", "/run/w/ca.pem", "--resolve"];
        let argv = [&argv[..], &[there, url]].concat();
        std::thread::scope(|scope| {
            let shaking = scope.spawn(|| {
                world.enter();
                world.run(&argv, ENV)
            });
            must("it shakes hands", || daemon.count("s1", "/running") == 1);
            for _ in 0..2 {
                let said = daemon.control("upgrade");
                assert!(said.contains("\"ok\":true"), "{said}");
            }
            assert_eq!(workers(world), before, "the same worker");
            for id in ["r1", "s1"] {
                assert_eq!(daemon.count(id, "/running"), 1, "{id}: its place is held");
            }
            let refused = daemon.count("r1", "/refused/service_limit");
            talk("127.0.0.1", 2001, b"");
            assert_eq!(daemon.count("r1", "/refused/service_limit"), refused + 1, "and counts");
            released.store(true, Ordering::Relaxed);
            let (how, output) = shaking.join().expect("curl");
            assert_eq!(how, Ended::Status(0), "{output}");
            assert!(output.contains("TLS_SERVER_NAME=one.example"), "{output}");
        });
        client.send(b"after");
        assert_eq!(client.read_count(5).text(), "after");
        must("it has ended", || daemon.count("s1", "/running") == 0);
        must("the next one is served", || curl(world, "one.example", 2002, &[]).0);
        drop(client);
        must("the session's end is noticed", || daemon.count("r1", "/running") == 0);
        let exits = |id: &str| {
            world.service_log(id).iter().filter(|line| line.starts_with(&format!("EXIT: {id}"))).count()
        };
        must("each end has its line", || exits("r1") == 1 && exits("s1") >= 2);
    });
}

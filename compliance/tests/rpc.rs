//! RPC services with the real rpcbind and rpcinfo (reference xinetd §13): registered for each version and kind of address,
//! found and called, told again to an rpcbind that comes back, taken away at the end; what is somebody else's stays.

use portreeve_compliance::init::HERE;
use portreeve_compliance::skip::{Reason, has_programs, skip};
use portreeve_compliance::wait::{must, never};
use portreeve_compliance::{Config, Ended, Entry, Start, World, both, ours, signals};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

const RPCBIND: &str = "/usr/sbin/rpcbind";
const RPCINFO: &str = "/usr/sbin/rpcinfo";
const PATH: &str = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
/// A program number that users may give themselves (RFC 5531 §8.4).
const OWN: u32 = 0x2000_0000;

fn available() -> bool {
    if !has_programs(&["rpcbind", "rpcinfo", "cc"]) {
        return false;
    }
    if !std::path::Path::new("/usr/include/tirpc/rpc/rpc.h").exists() {
        skip(Reason::absent("libtirpc-dev"));
        return false;
    }
    true
}

/// The RPC program, compiled; its path inside.
fn answerer(world: &World) -> String {
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("c/answerer.c");
    let output = Command::new("cc")
        .args(["-O1", "-I/usr/include/tirpc", "-o"])
        .arg(world.path("answerer"))
        .arg(source)
        .arg("-ltirpc")
        .output()
        .expect("cc starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    format!("{HERE}/answerer")
}

fn rpcbind(world: &World) -> u32 {
    let (how, output) = world.run(&["/bin/mkdir", "-p", "/run/rpcbind"], &[PATH]);
    assert_eq!(how, Ended::Status(0), "{output}");
    let pid = world.spawn("rpcbind", &[RPCBIND, "-f"], &[PATH]);
    must("rpcbind answers", || world.run(&[RPCINFO], &[PATH]).0 == Ended::Status(0));
    pid
}

/// rpcbind's entries of a program: `version netid port`, sorted.
fn entries(world: &World, program: u32) -> Vec<String> {
    let (_, text) = world.run(&[RPCINFO], &[PATH]);
    let mut found: Vec<String> = text
        .lines()
        .filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [number, version, netid, address, ..] = words[..] else { return None };
            let mut parts = address.rsplit('.').map(str::parse::<u16>);
            let (low, high) = (parts.next()?.ok()?, parts.next()?.ok()?);
            (number == program.to_string()).then(|| format!("{version} {netid} {}", high * 256 + low))
        })
        .collect();
    found.sort();
    found
}

fn kinds(entries: &[String]) -> Vec<&str> {
    entries.iter().filter_map(|entry| entry.rsplit_once(' ').map(|(kind, _)| kind)).collect()
}

fn expect_kinds(world: &World, program: u32, expected: &[&str]) -> Vec<String> {
    must("rpcbind has the entries", || kinds(&entries(world, program)) == expected);
    entries(world, program)
}

fn datagrams(server: &str) -> Entry {
    Entry::bare("rstatd", 0)
        .unset("port")
        .first("flags = IPv4")
        .set("type", "RPC")
        .set("socket_type", "dgram")
        .set("protocol", "udp")
        .set("wait", "yes")
        .set("user", "nobody")
        .set("server", server)
        .set("server_args", "100001 1 3")
        .set("rpc_version", "1-3")
}

fn stream(server: &str, id: &str) -> Entry {
    Entry::bare(id, 0)
        .unset("port")
        .set("type", "RPC UNLISTED")
        .set("socket_type", "stream")
        .set("protocol", "tcp")
        .set("wait", "no")
        .set("user", "nobody")
        .set("server", server)
        .set("server_args", &format!("{OWN} 1 1"))
        .set("rpc_number", &OWN.to_string())
        .set("rpc_version", "1")
}

fn call(world: &World, words: &[&str]) {
    let argv: Vec<&str> = [RPCINFO].iter().chain(words).copied().collect();
    let (how, output) = world.run(&argv, &[PATH]);
    assert_eq!(how, Ended::Status(0), "{words:?}: {output}");
    assert!(output.contains("ready and waiting"), "{words:?}: {output}");
}

/// The tables are asked about RPC over connections as about all services; xinetd leaves them out there.
#[test]
fn the_tables_are_asked() {
    if !available() {
        return;
    }
    both(|world| {
        let server = answerer(world);
        rpcbind(world);
        world.write("etc/hosts.deny", "answerer: ALL\n");
        let _daemon = world.start(&Config::new().with(stream(&server, "own").first("flags = IPv4")));
        expect_kinds(world, OWN, &["1 tcp"]);
        let number = OWN.to_string();
        let (how, output) = world.run(&[RPCINFO, "-T", "tcp", "127.0.0.1", &number, "1"], &[PATH]);
        let served = how == Ended::Status(0) && output.contains("ready and waiting");
        assert_eq!(served, world.fix("rpc-asks-the-tables", true, false), "{output}");
        if !served {
            world.expect_log("own", &["FAIL: own libwrap from=127.0.0.1"]);
        }
    });
}

/// Over datagrams with `wait = yes` and over connections with `wait = no`: registered, called, logged.
#[test]
fn registered_and_called() {
    if !available() {
        return;
    }
    both(|world| {
        let server = answerer(world);
        rpcbind(world);
        let config =
            Config::new().with(datagrams(&server)).with(stream(&server, "own").first("flags = IPv4"));
        let daemon = world.start(&config);
        let udp = expect_kinds(world, 100_001, &["1 udp", "2 udp", "3 udp"]);
        let port = udp[0].rsplit(' ').next().unwrap_or_default().to_owned();
        assert!(udp.iter().all(|entry| entry.ends_with(&port)), "one socket: {udp:?}");
        expect_kinds(world, OWN, &["1 tcp"]);
        for version in ["1", "2", "3"] {
            call(world, &["-u", "127.0.0.1", "100001", version]);
        }
        call(world, &["-t", "127.0.0.1", &OWN.to_string(), "1"]);
        must("the connection's end is logged", || {
            world.service_log("own").iter().any(|line| line.starts_with("EXIT: own status=0"))
        });
        assert!(world.service_log("own").contains(&"START: own pid=N from=127.0.0.1".to_owned()));
        // The dump has what xinetd's has of it; ours also the port that the kernel has chosen.
        daemon.signal(signals::USR1);
        must("the dump is announced", || world.daemon_log_count("generated state dump in file ") >= 1);
        let line =
            world.daemon_log().into_iter().find(|l| l.contains(" state dump in file ")).unwrap_or_default();
        let path = line.split_once(" in file ").map(|(_, path)| path.replace("/var/run/", "/run/"));
        let text = std::fs::read_to_string(world.inside(&path.unwrap_or_default())).expect("a dump");
        for data in
            ["100001\n\t\t\trpc_version = 1-3\n".to_owned(), format!("{OWN}\n\t\t\trpc_version = 1\n")]
        {
            let wanted = format!("\t\tRPC data\n\t\t\tprogram number = {data}");
            assert!(text.contains(&wanted), "no {wanted} in\n{text}");
        }
        assert!(!text.contains("port = 0"), "{text}");
        if world.is_ours() {
            assert!(text.contains(&format!("\t\tport = {port}\n")), "{text}");
            assert!(text.contains("\tentries at rpcbind = 3 of 3\n"), "{text}");
            assert_eq!(daemon.count("rstatd", "/rpc/port").to_string(), port);
        }
    });
}

/// A socket for both families is told as both, an IPv6 address as such.
#[test]
fn each_kind_of_address() {
    if !available() {
        return;
    }
    ours(|world| {
        let server = answerer(world);
        rpcbind(world);
        let six = stream(&server, "six").first("flags = IPv6").set("v6only", "yes").set("rpc_version", "2");
        let fixed = datagrams(&server).set("port", "2049").set("rpc_version", "1");
        let config = Config::new().with(stream(&server, "dual")).with(six).with(fixed);
        let daemon = world.start(&config);
        expect_kinds(world, OWN, &["1 tcp", "1 tcp6", "2 tcp6"]);
        assert_eq!(expect_kinds(world, 100_001, &["1 udp"]), ["1 udp 2049"], "a fixed port");
        call(world, &["-T", "tcp6", "::1", &OWN.to_string(), "1"]);
        call(world, &["-T", "tcp", "127.0.0.1", &OWN.to_string(), "1"]);
        assert_eq!(daemon.count("dual", "/rpc/registered"), 2);
    });
}

/// The port stays over a reload; what is removed is taken away; at the end nothing is left. Entries that were lost come back.
#[test]
fn life_of_the_entries() {
    if !available() {
        return;
    }
    ours(|world| {
        let server = answerer(world);
        rpcbind(world);
        let (udp, tcp) = (datagrams(&server), stream(&server, "own"));
        let config = Config::new().with(udp.clone()).with(tcp.clone());
        let daemon = world.start(&config);
        let before = expect_kinds(world, OWN, &["1 tcp", "1 tcp6"]);
        expect_kinds(world, 100_001, &["1 udp", "2 udp", "3 udp"]);

        // Somebody removes an entry: a reload tells it again. Fewer versions are fewer entries.
        let (how, _) = world.run(&[RPCINFO, "-d", &OWN.to_string(), "1"], &[PATH]);
        assert_eq!(how, Ended::Status(0));
        daemon.reload(&Config::new().with(udp.clone().set("rpc_version", "3")).with(tcp.clone()));
        assert_eq!(expect_kinds(world, OWN, &["1 tcp", "1 tcp6"]), before, "the port is the same");
        expect_kinds(world, 100_001, &["3 udp"]);

        daemon.reload(&Config::of(tcp));
        expect_kinds(world, 100_001, &[]);
        assert_eq!(entries(world, OWN), before);
        assert_eq!(daemon.stop(), Ended::Status(0));
        assert_eq!(entries(world, OWN), Vec::<String>::new());
    });
}

/// It starts before rpcbind, serves all the same, and tells each rpcbind that comes.
#[test]
fn rpcbind_comes_and_goes() {
    if !available() {
        return;
    }
    ours(|world| {
        let server = answerer(world);
        let config = Config::new().with(stream(&server, "own")).with(Entry::program("s1", 2001));
        let daemon = world.start(&config);
        must("the log says why", || world.daemon_log_count("rpcbind: ") == 1);
        assert!(daemon.service_status("own").to_string().contains("not registered yet"));
        let first = rpcbind(world);
        let before = expect_kinds(world, OWN, &["1 tcp", "1 tcp6"]);
        assert!(world.signal(first, signals::KILL));
        world.wait(first);
        let served = portreeve_compliance::client::talk("127.0.0.1", 2001, b"");
        assert_eq!(served.text(), "served\n");
        rpcbind(world);
        assert_eq!(expect_kinds(world, OWN, &["1 tcp", "1 tcp6"]), before);
        // A registrar that dies is replaced, and the next compares what is there. The entries go first: it may be at work
        // before anything else could be done.
        let [worker] = world.processes("worker registrar")[..] else { panic!("one registrar") };
        let (how, _) = world.run(&[RPCINFO, "-d", &OWN.to_string(), "1"], &[PATH]);
        assert_eq!(how, Ended::Status(0));
        assert!(world.signal(worker, signals::KILL));
        assert_eq!(expect_kinds(world, OWN, &["1 tcp", "1 tcp6"]), before);
    });
}

/// Says to rpcbind, over its local socket, that a program is at this universal address.
fn enter(world: &World, program: u32, version: u32, netid: &str, address: &str) {
    fn text(out: &mut Vec<u8>, text: &str) {
        out.extend(u32::try_from(text.len()).expect("short").to_be_bytes());
        out.extend(text.bytes());
        out.resize(out.len().next_multiple_of(4), 0);
    }
    let mut body = Vec::new();
    for word in [1, 0, 2, 100_000, 4, 1, 0, 0, 0, 0, program, version] {
        body.extend(word.to_be_bytes());
    }
    text(&mut body, netid);
    text(&mut body, address);
    text(&mut body, "");
    let mut stream = UnixStream::connect(world.inside("/run/rpcbind.sock")).expect("rpcbind");
    let mark = u32::try_from(body.len()).expect("short") | 1 << 31;
    stream.write_all(&[&mark.to_be_bytes()[..], &body].concat()).expect("to send");
    let mut answer = [0; 32];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer[31], 1, "rpcbind takes it");
}

/// What a former run left is replaced. What somebody serves stays, and the log says whose it is.
#[test]
fn entries_of_others() {
    if !available() {
        return;
    }
    ours(|world| {
        let server = answerer(world);
        rpcbind(world);
        let config = Config::new().with(stream(&server, "own").first("flags = IPv4"));
        let first = world.start(&config);
        let before = expect_kinds(world, OWN, &["1 tcp"]);
        first.signal(signals::KILL);
        world.wait(first.pid);
        assert_eq!(entries(world, OWN), before, "nobody could take it away");
        let second = world.start(&config);
        must("the dead entry is replaced", || {
            let now = entries(world, OWN);
            kinds(&now) == ["1 tcp"] && now != before
        });
        assert_eq!(second.stop(), Ended::Status(0));

        let alive = std::net::TcpListener::bind("127.0.0.1:2561").expect("a listener");
        enter(world, OWN, 1, "tcp", "127.0.0.1.10.1");
        let daemon = world.start(&config);
        must("the log names it", || world.daemon_log_count("127.0.0.1:2561") == 1);
        assert_eq!(entries(world, OWN), ["1 tcp 2561"]);
        assert_eq!(daemon.count("own", "/rpc/registered"), 0);
        drop(alive);
        daemon.reload(&config);
        must("its end is noticed", || daemon.count("own", "/rpc/registered") == 1);
        let last = entries(world, OWN);
        assert_eq!(kinds(&last), ["1 tcp"]);
        assert_ne!(last, ["1 tcp 2561"]);
    });
}

/// Whatever sits at rpcbind's socket and says whatever it likes: services are served, and it is told.
#[test]
fn hostile_rpcbind() {
    ours(|world| {
        let socket = UnixListener::bind(world.inside("/run/rpcbind.sock")).expect("rpcbind's place");
        std::thread::spawn(move || {
            let answers: [&[u8]; 4] = [
                b"\x80\0\0\x04\0\0\0\x01",
                b"\xff\xff\xff\xff",
                b"HTTP/1.1 200 OK\r\n\r\n",
                b"\0\0\0\0\0\0\0\0",
            ];
            for (answer, stream) in answers.into_iter().cycle().zip(socket.incoming().map_while(Result::ok)) {
                let mut stream = stream;
                let _ = stream.read(&mut [0; 256]);
                let _ = stream.write_all(answer);
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let config =
            Config::new().with(stream("/bin/true", "own")).with(Entry::program("s1", 2001).set("cps", "0 0"));
        let daemon = world.start(&config);
        must("it is told once", || world.daemon_log_count("what it answers is no answer") == 1);
        never("the registrar dies of it", Duration::from_secs(3), || {
            let answer = portreeve_compliance::client::talk("127.0.0.1", 2001, b"");
            answer.text() != "served\n" || world.daemon_log_count("worker registrar lost") > 0
        });
        assert_eq!(world.daemon_log_count("what it answers is no answer"), 1);
        assert_eq!(daemon.stop(), Ended::Status(0), "and nobody waits for it");
    });
}

/// hosts.deny holds for RPC over TCP too.
#[test]
fn tables_hold() {
    if !available() {
        return;
    }
    both(|world| {
        let server = answerer(world);
        world.write("etc/hosts.deny", "ALL: ALL\n");
        rpcbind(world);
        let _daemon = world.start(&Config::of(stream(&server, "own").first("flags = IPv4")));
        expect_kinds(world, OWN, &["1 tcp"]);
        let (how, output) = world.run(&[RPCINFO, "-t", "127.0.0.1", &OWN.to_string(), "1"], &[PATH]);
        let served = how == Ended::Status(0) && output.contains("ready and waiting");
        assert!(!served, "{output}");
    });
}

/// The lines of an inetd.conf, as they are.
#[test]
fn inetd_lines() {
    if !available() {
        return;
    }
    ours(|world| {
        let server = answerer(world);
        rpcbind(world);
        let lines = format!(
            "rstatd/1-3 dgram rpc/udp wait nobody {server} answerer 100001 1 3\n\
             {OWN}/1 stream rpc/tcp nowait nobody {server} answerer {OWN} 1 1\n"
        );
        world.cover("/etc/rpc", "rstatd 100001 rstat rup perfmeter rstat_svc\n");
        let copy = "mkdir /run/etc; mount -t tmpfs -o mode=755 etc /run/etc; cp -a /etc/. /run/etc/; mount --move /run/etc /etc";
        let (how, output) = world.run(&["/bin/sh", "-c", copy], &[PATH]);
        assert_eq!(how, Ended::Status(0), "{output}");
        std::fs::write(world.inside("/etc/inetd.conf"), lines).expect("to write");
        let start = Start { options: vec!["-inetd_compat".into()], ..Start::default() };
        let _daemon = world.start_with(&Config::new(), start);
        expect_kinds(world, 100_001, &["1 udp", "1 udp6", "2 udp", "2 udp6", "3 udp", "3 udp6"]);
        expect_kinds(world, OWN, &["1 tcp", "1 tcp6"]);
        call(world, &["-u", "127.0.0.1", "100001", "3"]);
        call(world, &["-t", "127.0.0.1", &OWN.to_string(), "1"]);
    });
}

//! `portreeve listeners` and `portreeve audit` beside ss(8): known listeners in two network namespaces, the same facts from both, and the
//! findings that they must give.

#[path = "../../../compliance/src/skip.rs"]
#[allow(dead_code, unreachable_pub)]
mod skip;

mod executable;
mod network_space;

use network_space::Space;
use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, Protocol, SocketType, bind, listen, socket};
use rustix::net::{SocketAddrUnix, SocketAddrV4};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

fn portreeve(arguments: &[&str]) -> (Value, Option<i32>) {
    let output = Command::new(env!("CARGO_BIN_EXE_portreeve"))
        .args(arguments)
        .args(["--control", "/nonexistent/control"])
        .output()
        .expect("portreeve runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let value = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    (value, output.status.code())
}

/// Protocol and address of what `portreeve listeners` shows in a namespace.
fn ours(answer: &Value, space: &Space, keep: &[&str]) -> BTreeSet<(String, String)> {
    let all = answer["listeners"].as_array().expect("listeners").iter();
    let text = |listener: &Value, name: &str| listener[name].as_str().expect("text").to_owned();
    all.filter(|listener| listener["namespace"] == space.0.as_str())
        .map(|listener| (text(listener, "protocol"), text(listener, "address")))
        .filter(|(protocol, _)| keep.contains(&protocol.as_str()))
        .collect()
}

/// A directory that is removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(word: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("portreeve-inventory-{word}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_same_facts_as_ss() {
    let Some((one, other)) = network_space::pair(&["ss"]) else { return };
    if !Path::new("/proc/net/if_inet6").exists() {
        return skip::skip(skip::Reason::NoIpv6);
    }
    let folder = Folder::new("ss");
    let (stream, packets) = (folder.0.join("stream"), folder.0.join("seqpacket"));
    let _held = one.inside(|| {
        let raw = |family, protocol: u32| -> OwnedFd {
            socket(family, SocketType::RAW, Some(Protocol::from_raw(protocol.try_into().expect("not 0"))))
                .expect("a socket")
        };
        let icmp = raw(AddressFamily::INET, 1);
        bind(&icmp, &SocketAddrV4::new([127, 0, 0, 1].into(), 0)).expect("bound");
        let seqpacket = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).expect("a socket");
        bind(&seqpacket, &SocketAddrUnix::new(&packets).expect("short")).expect("bound");
        listen(&seqpacket, 1).expect("listens");
        let tcp = ["0.0.0.0:2301", "[::1]:2302"].map(|address| TcpListener::bind(address).expect("tcp"));
        let udp = ["127.0.0.1:2303", "[::]:2304"].map(|address| UdpSocket::bind(address).expect("udp"));
        // A peer: no listener.
        let connected = UdpSocket::bind("127.0.0.1:2305").expect("udp");
        connected.connect("127.0.0.1:2303").expect("connected");
        let unix = (
            UnixListener::bind(&stream).expect("unix"),
            UnixDatagram::bind(folder.0.join("datagram")).expect("unix"),
            UnixDatagram::unbound().expect("unix"),
        );
        // ETH_P_ALL.
        let all = raw(AddressFamily::PACKET, u32::from(3u16.to_be()));
        (icmp, seqpacket, tcp, udp, connected, unix, all)
    });
    let _second = other.inside(|| TcpListener::bind("127.0.0.1:2306").expect("tcp"));
    let (answer, code) = portreeve(&["listeners", "--json"]);
    assert_eq!(code, Some(0));

    for space in [&one, &other] {
        let from_ss: BTreeSet<_> = space
            .lines("ss", &["-H", "-ltun"])
            .into_iter()
            .map(|words| {
                (words[0].clone(), words[4].replacen('*', "[::]", usize::from(words[4].starts_with('*'))))
            })
            .collect();
        assert!(!from_ss.is_empty());
        assert_eq!(ours(&answer, space, &["tcp", "udp"]), from_ss, "{}", space.0);
    }
    let unix = |words: Vec<String>| {
        let kind = match words[0].as_str() {
            "u_str" => "unix-stream",
            "u_seq" => "unix-seqpacket",
            _ => "unix-dgram",
        };
        (kind.to_owned(), words[4].clone())
    };
    let from_ss: BTreeSet<_> =
        one.lines("ss", &["-H", "-lx"]).into_iter().map(unix).filter(|(_, name)| name != "*").collect();
    assert_eq!(from_ss.len(), 3);
    assert_eq!(ours(&answer, &one, &["unix-stream", "unix-seqpacket", "unix-dgram"]), from_ss);
    let from_ss: BTreeSet<_> = one
        .lines("ss", &["-H", "-lwn"])
        .into_iter()
        .map(|words| ("raw".to_owned(), words[3].clone()))
        .collect();
    assert_eq!(from_ss.len(), 1);
    assert_eq!(ours(&answer, &one, &["raw"]), from_ss);
    assert_eq!(one.lines("ss", &["-H", "-l0"]).len(), 1);
    assert_eq!(ours(&answer, &one, &["packet"]), [("packet".to_owned(), "*:*".to_owned())].into());

    // Who holds it, as ss says, and as this test knows.
    let pid = u64::from(std::process::id());
    let marker = format!("pid={pid},");
    assert!(
        one.lines("ss", &["-H", "-ltnup"])
            .iter()
            .all(|words| words.last().is_some_and(|users| users.contains(&marker)))
    );
    for listener in answer["listeners"].as_array().expect("listeners") {
        if listener["namespace"] == one.0.as_str() {
            let process = &listener["processes"][0];
            assert_eq!(
                (process["pid"].as_u64(), process["image"].as_str()),
                (Some(pid), Some("same")),
                "{listener}"
            );
            let own = std::env::current_exe().expect("own path");
            assert_eq!(process["executable"].as_str().map(Path::new), Some(own.as_path()));
            assert_eq!(listener["uid"], 0);
        }
    }
    let scope = |address: &str| {
        let all = answer["listeners"].as_array().expect("listeners");
        all.iter().find(|listener| listener["address"] == address).map(|listener| listener["scope"].clone())
    };
    assert_eq!(scope("0.0.0.0:2301"), Some("all".into()));
    assert_eq!(scope("[::1]:2302"), Some("host".into()));
}

/// A process that listens in a namespace; it is killed when dropped.
struct Listening(Child);

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_deleted_program_of_nobody_on_a_telnet_port_is_found_and_waived() {
    let Some((space, _)) = network_space::pair(&[]) else { return };
    let folder = Folder::new("audit");
    // cat inherits the listener as its standard input and waits on a pipe that nobody writes to.
    let program = folder.0.join("nobodys");
    executable::copy("/bin/cat", &program);
    let listener = space.inside(|| TcpListener::bind("0.0.0.0:23").expect("tcp"));
    let pipe = folder.0.join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().is_ok_and(|status| status.success()));
    let child = Command::new(&program).arg(&pipe).stdin(OwnedFd::from(listener)).spawn().expect("starts");
    let child = Listening(child);
    let pid = u64::from(child.0.id());
    let waivers = folder.0.join("waivers.toml");
    let audit = |extra: &[&str]| {
        let mut arguments = vec!["audit", "--quick", "--waivers", waivers.to_str().expect("UTF-8")];
        arguments.extend(extra);
        portreeve(&arguments)
    };
    let own = |answer: &Value| -> Vec<Value> {
        let all = answer["findings"].as_array().expect("findings");
        all.iter().filter(|finding| finding["pid"] == pid).cloned().collect()
    };
    let ids = |findings: &[Value]| {
        findings.iter().map(|f| f["id"].as_str().expect("id").to_owned()).collect::<Vec<_>>()
    };

    let (answer, code) = audit(&["--json"]);
    let packages = Path::new("/var/lib/dpkg/info").is_dir();
    let mut wanted = vec!["listener-plaintext-login"];
    wanted.extend(packages.then_some("listener-root-unpackaged"));
    assert_eq!((ids(&own(&answer)), code), (wanted.iter().map(|id| (*id).to_owned()).collect(), Some(1)));

    std::fs::remove_file(&program).expect("removed");
    wanted.push("listener-stale-executable");
    let (answer, _) = audit(&["--json"]);
    let findings = own(&answer);
    assert_eq!(ids(&findings), wanted);
    let first = &findings[0];
    assert_eq!(first["evidence"]["executable"], program.to_str().expect("UTF-8"));
    assert_eq!(first["evidence"]["image"], "deleted");
    for field in ["title", "why", "fix", "risk", "undo", "severity"] {
        assert!(first[field].as_str().is_some_and(|text| !text.is_empty()), "{field}");
    }
    if first["evidence"]["unit"].is_null() && first["evidence"]["container"].is_null() {
        assert_eq!(first["fix"], format!("kill {pid}"));
    }

    let waive = |expires: &str| {
        let text = format!(
            "[[waiver]]\nid = \"listener-plaintext-login\"\nmatch = {{ executable = \"{}\" }}\nowner = \"tests\"\nreason = \"r\"\nexpires = \"{expires}\"\n",
            program.display()
        );
        std::fs::write(&waivers, text).expect("written");
        std::fs::set_permissions(&waivers, std::fs::Permissions::from_mode(0o644)).expect("mode");
    };
    waive("2999-12-31");
    let (answer, _) = audit(&["--json"]);
    assert_eq!(own(&answer)[0]["waived"], "yes");
    let (sarif, _) = audit(&["--sarif"]);
    let results = sarif["runs"][0]["results"].as_array().expect("results");
    let result = results.iter().find(|result| result["properties"]["pid"] == pid).expect("a result");
    assert_eq!((&sarif["version"], &result["ruleId"]), (&"2.1.0".into(), &"listener-plaintext-login".into()));
    assert_eq!(result["suppressions"][0]["justification"], "tests: r (until 2999-12-31)");

    waive("2020-01-01");
    let (answer, code) = audit(&["--json"]);
    assert_eq!((&own(&answer)[0]["waived"], code), (&"expired".into(), Some(1)));
    assert_eq!(own(&answer)[0]["waiver"]["owner"], "tests");

    waive("soon");
    let output =
        Command::new(env!("CARGO_BIN_EXE_portreeve")).arg("audit").arg("--waivers").arg(&waivers).output();
    let output = output.expect("runs");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("waivers.toml:6:") && told.contains("a day of the calendar"), "{told}");
}

/// A namespace in which no process is and that has no name, as long as somebody has it open, or a socket of it.
#[test]
fn a_namespace_that_only_a_descriptor_keeps_is_looked_into() {
    let Some((named, _)) = network_space::pair(&[]) else { return };
    let (space, _listener) = named.inside(|| {
        let space = File::open("/proc/thread-self/ns/net").expect("its file");
        (space, TcpListener::bind("0.0.0.0:4711").expect("tcp"))
    });
    drop(named);
    let number = std::os::unix::fs::MetadataExt::ino(&space.metadata().expect("its number"));
    let inside = || {
        let (answer, _) = portreeve(&["listeners", "--json"]);
        let all = answer["listeners"].as_array().expect("listeners").iter();
        let inside = all.filter(|one| one["namespace"] == format!("net:[{number}]").as_str());
        inside.map(|one| (one["address"].clone(), one["processes"][0]["pid"].as_u64())).collect::<Vec<_>>()
    };
    let wanted = [("0.0.0.0:4711".into(), Some(u64::from(std::process::id())))];
    assert_eq!(inside(), wanted);
    drop(space);
    assert_eq!(inside(), wanted, "by the socket alone");
}

#[test]
fn what_is_accepted_is_no_drift() {
    let Some((space, _)) = network_space::pair(&[]) else { return };
    let folder = Folder::new("baseline");
    let file = folder.0.join("listeners.toml");
    let file = file.to_str().expect("UTF-8");
    let audit = |id: &str| -> Vec<String> {
        let (answer, _) = portreeve(&[
            "audit",
            "--quick",
            "--json",
            "--waivers",
            "/nonexistent/waivers",
            "--baseline",
            file,
        ]);
        let all = answer["findings"].as_array().expect("findings").iter();
        all.filter(|finding| finding["id"] == id && finding["evidence"]["namespace"] == space.0.as_str())
            .map(|finding| finding["evidence"]["address"].as_str().expect("an address").to_owned())
            .collect()
    };
    let accept = |expires: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve"));
        command.args(["listeners", "accept", "--owner", "tests", "--expires", expires, "--baseline", file]);
        command.args(["--control", "/nonexistent/control"]).output().expect("runs").status.code()
    };
    let first = space.inside(|| TcpListener::bind("0.0.0.0:2310").expect("tcp"));
    assert!(audit("listener-unexpected").is_empty(), "without a baseline there is no drift");
    assert_eq!(accept("2020-01-01"), Some(2), "a day that has passed");
    assert_eq!(accept("2999-12-31"), Some(0));
    assert!(audit("listener-unexpected").is_empty() && audit("listener-missing").is_empty());
    let second = space.inside(|| TcpListener::bind("127.0.0.1:2311").expect("tcp"));
    drop(first);
    assert_eq!(audit("listener-unexpected"), ["127.0.0.1:2311"]);
    assert_eq!(audit("listener-missing"), ["0.0.0.0:2310"]);
    // Accepted until yesterday is not accepted.
    assert_eq!(accept("2999-12-31"), Some(0));
    assert!(audit("listener-unexpected").is_empty() && audit("listener-missing").is_empty());
    let text = std::fs::read_to_string(file).expect("written");
    assert!(text.contains("owner = \"tests\"") && !text.contains("pid"));
    std::fs::write(file, text.replace("2999", "2020")).expect("written");
    assert_eq!(audit("listener-unexpected"), ["127.0.0.1:2311"]);
    assert!(Path::new(&format!("{file}.before")).exists());
    drop(second);
}

/// A command of portreeve that goes on; it is killed when dropped.
fn going_on(arguments: &[&str]) -> (Listening, std::sync::mpsc::Receiver<Value>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_portreeve"))
        .args(arguments)
        .args(["--control", "/nonexistent/control"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("portreeve runs");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let _ = tell.send(serde_json::from_str(&line).expect("JSON"));
        }
    });
    (Listening(child), told)
}

#[test]
fn verify_and_watch_tell_what_changed() {
    let Some((space, _)) = network_space::pair(&[]) else { return };
    let folder = Folder::new("verify");
    let file = folder.0.join("listeners.toml");
    let file = file.to_str().expect("UTF-8");
    let verify = || portreeve(&["listeners", "verify", "--since-boot", "--json", "--baseline", file]);
    let none = Command::new(env!("CARGO_BIN_EXE_portreeve"))
        .args(["listeners", "verify", "--baseline", file])
        .output();
    assert_eq!(none.expect("runs").status.code(), Some(2), "nothing is declared");
    let entry = |port: u16| {
        let own = std::env::current_exe().expect("own path");
        format!(
            "[[listener]]\nprotocol = \"tcp\"\naddress = \"0.0.0.0:{port}\"\nnamespace = \"{}\"\nexecutable = \"{}\"\nuid = \"0\"\n\
             owner = \"tests\"\nexpires = \"2999-12-31\"\n",
            space.0,
            own.display()
        )
    };
    std::fs::write(file, entry(2320)).expect("written");
    let missing = |answer: &Value| answer["missing"].as_array().expect("a list").len();
    let (answer, code) = verify();
    assert_eq!((missing(&answer), code), (1, Some(1)));
    let here = |answer: &Value| {
        let all = answer["unexpected"].as_array().expect("a list").iter();
        all.filter(|finding| finding["evidence"]["namespace"] == space.0.as_str()).count()
    };
    // It is waited for until it is up.
    let late = std::thread::scope(|scope| {
        let waiting = scope
            .spawn(|| portreeve(&["listeners", "verify", "--wait", "60s", "--json", "--baseline", file]));
        let held = space.inside(|| TcpListener::bind("0.0.0.0:2320").expect("tcp"));
        assert_eq!(missing(&waiting.join().expect("no panic").0), 0);
        held
    });
    let (answer, _) = verify();
    assert_eq!((missing(&answer), here(&answer)), (0, 0));
    assert!(answer["boot"].as_i64().is_some_and(|at| at > 0));

    let (_child, told) = going_on(&["listeners", "watch", "--every", "1s", "--json", "--baseline", file]);
    // The first look has no event: what is made until one comes is tried again.
    let patience = std::time::Duration::from_secs(20);
    let mut extra = Vec::new();
    let came = loop {
        let port = 2330 + u16::try_from(extra.len()).expect("few");
        extra.push(space.inside(|| TcpListener::bind(("0.0.0.0", port)).expect("tcp")));
        let wanted = |event: &Value| event["namespace"] == space.0.as_str();
        if let Ok(event) = told.recv_timeout(patience / 20)
            && wanted(&event)
        {
            break event;
        }
        assert!(extra.len() < 60, "no event came");
    };
    assert_eq!((&came["change"], &came["accepted"], came.get("pid")), (&"came".into(), &false.into(), None));
    drop(late);
    let until = std::time::Instant::now() + patience * 2;
    let gone = std::iter::from_fn(|| {
        told.recv_timeout(until.saturating_duration_since(std::time::Instant::now())).ok()
    });
    let gone = gone.into_iter().find(|event| event["change"] == "gone" && event["address"] == "0.0.0.0:2320");
    assert_eq!(gone.expect("an event")["accepted"], true);
}

/// A real one, whether the kernel lists such sockets (vsock_diag) or not.
#[test]
fn a_vsock_listener_is_found_with_its_process() {
    if !skip::has_programs(&["python3"]) {
        return;
    }
    let script = "import socket, sys\n\
                  try:\n  bound = socket.socket(socket.AF_VSOCK); bound.bind((socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY))\n\
                  except OSError: sys.exit(3)\n\
                  listens = socket.socket(socket.AF_VSOCK); listens.bind((socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY)); listens.listen()\n\
                  print(bound.getsockname()[1], listens.getsockname()[1], flush=True)\n\
                  sys.stdin.read()\n";
    let mut command = Command::new("python3");
    command.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("python3 runs");
    let mut line = String::new();
    let output = child.stdout.take().expect("a pipe");
    BufReader::new(output).read_line(&mut line).expect("a line");
    let ports: Vec<&str> = line.split_whitespace().collect();
    let [bound, listens] = ports.as_slice() else {
        assert_eq!(child.wait().expect("its end").code(), Some(3));
        return skip::skip(skip::Reason::NoVsock);
    };
    let (answer, _) = portreeve(&["listeners", "--json"]);
    let all = answer["listeners"].as_array().expect("a list");
    let at = |port: &str| {
        let address = format!("*:{port}");
        all.iter().find(|one| one["protocol"] == "vsock" && one["address"] == address.as_str())
    };
    let found = at(listens).unwrap_or_else(|| panic!("no listener at {listens}: {}", answer["gaps"]));
    assert_eq!(found["processes"][0]["pid"], child.id());
    assert_eq!((found["scope"].as_str(), found["namespace"].as_str()), (Some("link"), Some("own")));
    assert!(at(bound).is_none(), "a stream that only is bound does not listen");
    // Whoever hides may hold more of them.
    let gaps = answer["gaps"].to_string();
    assert_eq!(gaps.contains("vsock"), gaps.contains("hide what they hold"), "{gaps}");
    drop(child.stdin.take());
    child.wait().expect("its end");
}

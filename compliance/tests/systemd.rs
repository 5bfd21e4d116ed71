//! The contracts with a service manager, which xinetd does not know: readiness, and sockets that are handed in.

use portreeve_compliance::client::talk;
use portreeve_compliance::init::PROBE;
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, Ended, Entry, Start, ours, signals};
use std::io::Read;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::time::Duration;

/// READY when it listens, RELOADING and READY around a reload, STOPPING at the end.
#[test]
fn readiness() {
    ours(|world| {
        let socket = UnixDatagram::bind(world.path("notify")).expect("the manager's socket");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a deadline");
        let mut heard = String::new();
        let mut hear = |wanted: &str| {
            must(wanted, || {
                let mut buffer = [0_u8; 4096];
                if let Ok(count) = socket.recv(&mut buffer) {
                    heard.push_str(&String::from_utf8_lossy(&buffer[..count]));
                    heard.push('\n');
                }
                heard.lines().any(|line| line == wanted)
            });
            heard.clear();
        };
        let mut start = Start::default();
        start.env.push("NOTIFY_SOCKET=/run/w/notify".to_owned());
        let config = Config::of(Entry::probe("s1", 2001, "report"));
        let daemon = world.start_with(&config, start);
        hear("READY=1");
        assert_eq!(
            talk("127.0.0.1", 2001, b"").text().matches("NOTIFY_SOCKET").count(),
            0,
            "not for programs"
        );
        daemon.signal(signals::HUP);
        hear("READY=1");
        daemon.signal(signals::TERM);
        hear("STOPPING=1");
        assert_eq!(world.wait(daemon.pid), Ended::Status(0));
    });
}

/// A socket that is handed in serves the service with its address; clients that were in its queue are served.
#[test]
fn sockets_that_are_handed_in() {
    ours(|world| {
        let start = Start {
            // Listens at 2001, lets a client in, and becomes the super-server.
            through: [PROBE, "listen-and-run", "2001"].map(str::to_owned).to_vec(),
            ..Start::default()
        };
        let config =
            Config::of(Entry::probe("s1", 2001, "report").first("flags = IPv4").set("bind", "127.0.0.1"))
                .with(Entry::program("own", 2002));
        let daemon = world.start_with(&config, start);
        let report = talk("127.0.0.1", 2001, b"").text();
        assert!(report.contains("\"argv\""), "{report}");
        assert!(!report.contains("LISTEN_FDS"), "not for programs: {report}");
        assert_eq!(talk("127.0.0.1", 2002, b""), Answer::closed("served\n"));
        assert_eq!(world.daemon_log_count("bind failed"), 0);
        assert!(daemon.runs());
    });
}

/// So do unix sockets; the file of one is left as its maker has made it, with a watcher and without.
#[test]
fn unix_sockets_that_are_handed_in() {
    for options in [&[][..], &["-watch"]] {
        for place in ["/run/w/given", "@portreeve-given"] {
            ours(|world| {
                let start = Start {
                    through: [PROBE, "listen-and-run", place].map(str::to_owned).to_vec(),
                    options: options.iter().map(|word| (*word).to_owned()).collect(),
                    ..Start::default()
                };
                let service = Entry::shell("s1", 1, "echo${IFS}served");
                let service = service.unset("port").unset("protocol").unset("type").set("bind", place);
                let config = |mode| match place.strip_prefix('@') {
                    Some(_) => Config::of(service.clone()),
                    None => Config::of(service.clone().set("socket_mode", mode)),
                };
                let daemon = world.start_with(&config("600"), start);
                let file =
                    || std::fs::symlink_metadata(world.path("given")).ok().map(|m| (m.ino(), m.mode()));
                let before = file();
                assert_eq!(before.is_some(), place.starts_with('/'));
                let get = || {
                    let mut stream = match place.strip_prefix('@') {
                        Some(name) => SocketAddr::from_abstract_name(name)
                            .and_then(|name| UnixStream::connect_addr(&name)),
                        None => UnixStream::connect(world.path("given")),
                    }?;
                    let mut text = String::new();
                    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
                    stream.read_to_string(&mut text).map(|_| text)
                };
                assert_eq!(get().expect("an answer"), "served\n");
                if !options.is_empty() {
                    let status = daemon.control("status");
                    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
                    let pid =
                        status["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a number");
                    assert!(world.signal(pid, signals::KILL));
                    must("the next one serves", || get().is_ok_and(|text| text == "served\n"));
                }
                daemon.reload(&config("640"));
                assert_eq!(get().expect("an answer"), "served\n");
                assert_eq!((file(), world.daemon_log_count("bind failed")), (before, 0), "its maker's");
                assert_eq!(daemon.stop(), Ended::Status(0));
                assert_eq!(file(), before, "it stays");
            });
        }
    }
}

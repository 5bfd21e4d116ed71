//! The contracts with a service manager, which xinetd does not know: readiness, and sockets that are handed in.

use portreeve_compliance::client::talk;
use portreeve_compliance::init::PROBE;
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, Ended, Entry, Start, ours, signals};
use std::os::unix::net::UnixDatagram;
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

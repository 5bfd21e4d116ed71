//! `proxy_protocol = accept`: a proxy of `proxy_from` says who the client is, and that client is who is checked, counted,
//! logged and told to the program. Senders: bytes in every cut, HAProxy, curl.

use portreeve_compliance::client::{dial, talk};
use portreeve_compliance::skip::has_programs;
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, Entry, ours};
use std::time::Duration;

const V1: &str = "PROXY TCP4 192.0.2.7 198.51.100.1 4567 443\r\n";

fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).expect("short").to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, family], &length, block].concat()
}

/// 192.0.2.7:4567 to 198.51.100.1:443, and a field behind it.
fn block() -> Vec<u8> {
    vec![192, 0, 2, 7, 198, 51, 100, 1, 0x11, 0xd7, 0x01, 0xbb, 4, 0, 1, 9]
}

fn accepting(entry: Entry) -> Entry {
    entry.first("flags = IPv4").set("proxy_protocol", "accept").set("proxy_from", "127.0.0.0/30")
}

fn whole(header: &[u8], rest: &[u8]) -> Answer {
    let mut client = dial("127.0.0.1", 2001).expect("a connection");
    client.send(&[header, rest].concat());
    client.finish();
    client.read_all()
}

/// Both forms, in every cut; what follows the header is the program's.
#[test]
fn headers_in_every_cut() {
    ours(|world| {
        let cat =
            Entry::program("cat", 2001).set("server", "/bin/cat").set("server_args", "-").set("cps", "0 0");
        let _daemon = world.start(&Config::of(accepting(cat)));
        for header in [V1.as_bytes().to_vec(), v2(0x21, 0x11, &block()), v2(0x20, 0, &[])] {
            for cut in 1..header.len() {
                let mut client = dial("127.0.0.1", 2001).expect("a connection");
                client.stream.set_nodelay(true).expect("no delay");
                client.send(&header[..cut]);
                client.send(&header[cut..]);
                client.send(b"\r\nthe rest");
                client.finish();
                assert_eq!(client.read_all(), Answer::closed("\r\nthe rest"), "{cut}");
            }
        }
    });
}

/// The client that the header names is in the log, in the environment, in the lists, in the limits and in the tables.
#[test]
fn the_named_client_is_who_counts() {
    ours(|world| {
        world.cover("/etc/hosts.deny", "wrapped: 192.0.2.7\n");
        let only = |id: &str, port, list: &str| accepting(Entry::program(id, port)).set("only_from", list);
        let config = Config::new()
            .with(accepting(Entry::probe("probe", 2001, "report")))
            .with(only("listed", 2002, "192.0.2.7"))
            .with(only("unlisted", 2003, "127.0.0.1"))
            .with(accepting(Entry::program("wrapped", 2004)).set("libwrap", "wrapped"))
            .with(accepting(Entry::probe("single", 2005, "hold")).set("per_source", "1"));
        let daemon = world.start(&config);
        for header in [V1.as_bytes().to_vec(), v2(0x21, 0x11, &block())] {
            let report = whole(&header, b"").text();
            for variable in ["REMOTE_HOST=192.0.2.7", "REMOTE_PORT=4567", "TCPREMOTEIP=192.0.2.7"] {
                assert!(report.contains(variable), "{variable}: {report}");
            }
        }
        let itself = whole(b"PROXY UNKNOWN\r\n", b"").text();
        assert!(itself.contains("REMOTE_HOST=127.0.0.1"), "{itself}");
        must("it is logged", || world.service_log("probe").iter().any(|l| l.ends_with("from=192.0.2.7")));
        assert_eq!(talk("127.0.0.1", 2002, V1.as_bytes()), Answer::closed("served\n"));
        assert_eq!(talk("127.0.0.1", 2003, V1.as_bytes()).text(), "");
        world.expect_log("unlisted", &["FAIL: unlisted address from=192.0.2.7"]);
        assert_eq!(talk("127.0.0.1", 2004, V1.as_bytes()).text(), "");
        world.expect_log("wrapped", &["FAIL: wrapped libwrap from=192.0.2.7"]);
        let mut first = dial("127.0.0.1", 2005).expect("a connection");
        first.send(V1.as_bytes());
        must("it runs", || daemon.service_status("single")["running"] == 1);
        assert_eq!(talk("127.0.0.1", 2005, V1.as_bytes()).text(), "");
        must("the source is full", || {
            let wanted = "FAIL: single per_source_limit from=192.0.2.7".to_owned();
            world.service_log("single").contains(&wanted)
        });
        let mut other = dial("127.0.0.1", 2005).expect("a connection");
        other.send(b"PROXY TCP4 192.0.2.8 198.51.100.1 4567 443\r\n");
        must("another source has room", || daemon.service_status("single")["running"] == 2);
    });
}

/// The limits of a minute count the client that is named, not the proxy: of two behind one proxy each has its own starts.
#[test]
fn starts_a_minute_are_the_clients() {
    ours(|world| {
        let config = Config::new()
            .with(accepting(Entry::program("source", 2001)).set("source_starts_per_minute", "2"))
            .with(accepting(Entry::program("all", 2002)).set("starts_per_minute", "4"));
        let daemon = world.start(&config);
        let from = |port, client: &str| {
            talk("127.0.0.1", port, format!("PROXY TCP4 {client} 198.51.100.1 4567 443\r\n").as_bytes())
        };
        let served = |port, client: &str| (0..6).filter(|_| from(port, client).text() == "served\n").count();
        assert_eq!([served(2001, "192.0.2.7"), served(2001, "192.0.2.8")], [2, 2]);
        assert_eq!(daemon.count("source", "/refused/connections per second"), 8);
        assert_eq!(
            [served(2002, "192.0.2.7"), served(2002, "192.0.2.8")],
            [4, 2],
            "all, then the share of two"
        );
    });
}

/// A flood of peers that are no proxies is counted by the rate as any other is: it costs a few lines, and clients of the proxy
/// are served meanwhile.
#[test]
fn a_flood_of_strangers() {
    ours(|world| {
        let daemon = world.start(&Config::of(accepting(Entry::program("s", 2001)).set("cps", "5 60")));
        for _ in 0..200 {
            assert_eq!(talk("127.0.0.9", 2001, b"").text(), "");
        }
        must("all are counted", || {
            daemon.count("s", "/refused/address") + daemon.count("s", "/refused/connections per second")
                == 200
        });
        assert_eq!(talk("127.0.0.1", 2001, V1.as_bytes()).text(), "served\n");
        let log = world.service_log("s");
        let lines = |word: &str| log.iter().filter(|line| line.contains(word)).count();
        assert_eq!(lines("FAIL: s connections per second from=127.0.0.9"), 1, "{log:?}");
        assert!(lines("FAIL: s address") <= 10, "{log:?}");
    });
}

/// A peer that is no proxy is refused whatever it sends; a proxy that sends no header is refused too.
#[test]
fn who_is_no_proxy_and_what_is_no_header() {
    ours(|world| {
        let daemon = world.start(&Config::of(accepting(Entry::program("s", 2001))));
        assert_eq!(talk("127.0.0.9", 2001, V1.as_bytes()).text(), "");
        must("it is logged", || {
            world.service_log("s").contains(&"FAIL: s address from=127.0.0.9".to_owned())
        });
        let long = v2(0x21, 0x11, &vec![0; 5000]);
        for bad in [&b"GET / HTTP/1.0\r\n\r\n"[..], b"PROXY TCP4 1.2.3 4 5 6\r\n", &long, b"PROXY TC", b""] {
            let mut client = dial("127.0.0.1", 2001).expect("a connection");
            client.send(bad);
            client.finish();
            assert_eq!(client.read_all().text(), "", "{:?}", bad.escape_ascii().to_string());
        }
        must("all are counted", || daemon.count("s", "/refused/header") == 5);
        // All are counted, and a proxy is named once a minute: its clients shall not fill the log.
        let named = |line: &&String| line.as_str() == "FAIL: s header from=127.0.0.1";
        assert_eq!(world.service_log("s").iter().filter(named).count(), 1);
        // A byte a second and silence end by the deadline.
        let mut slow = dial("127.0.0.1", 2001).expect("a connection");
        let mut silent = dial("127.0.0.1", 2001).expect("a connection");
        for byte in V1.as_bytes().iter().take(8) {
            slow.send(&[*byte]);
            std::thread::sleep(Duration::from_secs(1));
        }
        assert_eq!((slow.read_all().text(), silent.read_all().text()), (String::new(), String::new()));
        assert_eq!(talk("127.0.0.1", 2001, V1.as_bytes()), Answer::closed("served\n"));
    });
}

/// Silence holds `instances` and no more; the proxy's address is no source.
#[test]
fn silence_is_bounded_by_instances() {
    ours(|world| {
        let entry = accepting(Entry::program("s", 2001)).set("instances", "3").set("per_source", "1");
        let daemon = world.start(&Config::of(entry));
        let silent: Vec<_> = (0..3).map(|_| dial("127.0.0.1", 2001).expect("a connection")).collect();
        must("three are awaited", || daemon.service_status("s")["running"] == 3);
        assert_eq!(talk("127.0.0.1", 2001, V1.as_bytes()).text(), "");
        assert_eq!(daemon.count("s", "/refused/service_limit"), 1);
        drop(silent);
        must("the places are free", || daemon.service_status("s")["running"] == 0);
        assert_eq!(talk("127.0.0.1", 2001, V1.as_bytes()), Answer::closed("served\n"));
    });
}

/// Built-in and redirected services, and tcpmux, behind a proxy; what a redirect is told goes on to its target.
#[test]
fn other_kinds_of_service() {
    ours(|world| {
        let redirect = accepting(Entry::program("r", 2002).unset("server").unset("server_args"))
            .set("redirect", "127.0.0.1 2003")
            .set("proxy_protocol", "both v2");
        let config = Config::new()
            .with(accepting(Entry::internal("echo", "echo", 2001, "stream")))
            .with(redirect)
            .with(accepting(Entry::probe("behind", 2003, "report")))
            .with(accepting(Entry::internal("tcpmux", "tcpmux", 2004, "stream")))
            .with(Entry::probe("muxed", 0, "report").unset("port").set("type", "TCPMUX UNLISTED"));
        let _daemon = world.start(&config);
        assert_eq!(whole(V1.as_bytes(), b"hello"), Answer::closed("hello"));
        world.expect_log(
            "echo",
            &["START: echo pid=0 from=192.0.2.7", "EXIT: echo status=0 pid=0 duration=N(sec)"],
        );
        let behind = talk("127.0.0.1", 2002, V1.as_bytes()).text();
        assert!(behind.contains("REMOTE_HOST=192.0.2.7"), "{behind}");
        let muxed = talk("127.0.0.1", 2004, format!("{V1}muxed\r\n").as_bytes()).text();
        assert!(muxed.contains("REMOTE_HOST=192.0.2.7"), "{muxed}");
    });
}

/// A sensor denies neither a proxy nor, on its word, anybody.
#[test]
fn a_proxy_is_never_denied() {
    ours(|world| {
        let sensor = Entry::program("trap", 2002).first("flags = SENSOR IPv4").set("deny_time", "FOREVER");
        let daemon = world.start(&Config::new().with(accepting(Entry::program("s", 2001))).with(sensor));
        assert_eq!(talk("127.0.0.1", 2002, b"").text(), "");
        must("it was said", || world.daemon_log_count("is protected: not denied") == 1);
        assert_eq!(talk("127.0.0.1", 2001, V1.as_bytes()), Answer::closed("served\n"));
        assert!(daemon.runs());
    });
}

/// HAProxy sends both forms; curl sends the first.
#[test]
fn haproxy_and_curl() {
    ours(|world| {
        if !has_programs(&["haproxy", "curl"]) {
            return;
        }
        let answer = "#!/bin/sh\nwhile read -r line && [ ${#line} -gt 1 ]; do :; done\n\
                      printf 'HTTP/1.0 200 OK\\r\\n\\r\\n%s' \"$REMOTE_HOST:$REMOTE_PORT\"\n";
        world.write_mode("web", answer, 0o755);
        let web = Entry::program("web", 2002).unset("server_args");
        let web = web.set("server", &format!("{}/web", portreeve_compliance::init::HERE));
        let config =
            Config::new().with(accepting(Entry::probe("probe", 2001, "report"))).with(accepting(web));
        let _daemon = world.start(&config);
        let proxy = "defaults\n\tmode tcp\n\ttimeout connect 5s\n\ttimeout client 30s\n\ttimeout server 30s\n\
                     listen one\n\tbind 127.0.0.1:3001\n\tserver s 127.0.0.1:2001 send-proxy\n\
                     listen two\n\tbind 127.0.0.1:3002\n\tserver s 127.0.0.1:2001 send-proxy-v2 proxy-v2-options unique-id,crc32c\n\
                     \tunique-id-format %[uuid()]\n";
        world.write("haproxy.cfg", proxy);
        let file = format!("{}/haproxy.cfg", portreeve_compliance::init::HERE);
        let haproxy = world.spawn("haproxy", &["/usr/sbin/haproxy", "-db", "-f", &file], &[]);
        must("haproxy listens", || dial("127.0.0.1", 3001).is_ok() && dial("127.0.0.1", 3002).is_ok());
        for port in [3001, 3002] {
            let report = talk("127.0.0.5", port, b"").text();
            assert!(report.contains("REMOTE_HOST=127.0.0.5"), "{port}: {report}");
        }
        world.signal(haproxy, 15);
        let curl = ["/usr/bin/curl", "-sS", "--haproxy-protocol", "http://127.0.0.1:2002/"];
        let (_, text) = world.run(&curl, &[]);
        assert!(text.starts_with("127.0.0.1:"), "{text}");
    });
}

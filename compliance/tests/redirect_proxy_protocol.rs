//! `proxy_protocol = send`: who the client is, told to receivers that people really have (HAProxy, nginx). xinetd knows
//! no such header.

use portreeve_compliance::client::{dial_to, talk};
use portreeve_compliance::skip::has_programs;
use portreeve_compliance::wait::must;
use portreeve_compliance::{Config, Entry, ours};
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

const ENV: &[&str] = &["PATH=/usr/sbin:/usr/bin:/sbin:/bin"];

fn sending(id: &str, port: u16, target: &str, how: &str) -> Entry {
    Entry::bare(id, port)
        .set("type", "UNLISTED")
        .set("socket_type", "stream")
        .set("protocol", "tcp")
        .set("wait", "no")
        .set("user", "root")
        .set("cps", "0 0")
        .set("log_on_success", "HOST PID EXIT DURATION TRAFFIC")
        .set("redirect", target)
        .set("proxy_protocol", how)
}

/// What an HTTP server that is asked there says of its client.
fn asked(from: &str, to: &str, port: u16) -> String {
    let mut client = dial_to(from, to, port, Duration::from_secs(20)).expect("a connection");
    client.send(b"GET / HTTP/1.0\r\n\r\n");
    let text = client.read_all().text();
    text.rsplit("\r\n\r\n").next().unwrap_or_default().trim().to_owned()
}

fn listening(port: u16) {
    must("the receiver listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
}

/// HAProxy takes both forms, over IPv4 and IPv6, and sees the client and the address that it came to.
#[test]
fn haproxy_sees_the_client() {
    if !has_programs(&["haproxy"]) {
        return;
    }
    ours(|world| {
        let config = world.write(
            "haproxy.cfg",
            "defaults\n mode http\n timeout client 20s\n timeout server 20s\n timeout connect 20s\n\
             frontend f\n bind 127.0.0.1:3001 accept-proxy\n bind [::1]:3001 accept-proxy\n\
             http-request return status 200 content-type text/plain \
             lf-string \"%[src] %[src_port] %[dst] %[dst_port]\"\n",
        );
        world.spawn("haproxy", &["/usr/sbin/haproxy", "-db", "-f", &config], ENV);
        listening(3001);
        let services = Config::new()
            .with(sending("r1", 2001, "127.0.0.1 3001", "send"))
            .with(sending("r2", 2002, "127.0.0.1 3001", "send v2"))
            .with(sending("r3", 2003, "::1 3001", "send v1"));
        let _daemon = world.start(&services);
        for port in [2001, 2002, 2003] {
            for (from, to) in [("127.0.0.7", "127.0.0.8"), ("::1", "::1")] {
                let said = asked(from, to, port);
                let words: Vec<&str> = said.split(' ').collect();
                let own = port.to_string();
                assert!(
                    matches!(words[..], [f, p, t, at] if f == from && t == to && at == own && p != own),
                    "{port} from {from}: {said}"
                );
            }
        }
    });
}

/// nginx takes both forms too.
#[test]
fn nginx_sees_the_client() {
    if !has_programs(&["nginx"]) {
        return;
    }
    ours(|world| {
        let at = world.path("");
        let config = world.write(
            "nginx.conf",
            format!(
                "daemon off;\nmaster_process off;\nuser root;\npid {0}/nginx.pid;\nerror_log {0}/nginx.log;\nevents {{}}\n\
                 http {{\n access_log off;\n client_body_temp_path {0}/t1;\n proxy_temp_path {0}/t2;\n\
                 fastcgi_temp_path {0}/t3;\n uwsgi_temp_path {0}/t4;\n scgi_temp_path {0}/t5;\n\
                 server {{\n listen 127.0.0.1:3001 proxy_protocol;\n location / {{\n\
                 return 200 \"$proxy_protocol_addr $proxy_protocol_server_addr $proxy_protocol_server_port\";\n}}\n}}\n}}\n",
                at.display()
            ),
        );
        world.spawn("nginx", &["/usr/sbin/nginx", "-c", &config], ENV);
        listening(3001);
        let services = Config::new().with(sending("r1", 2001, "127.0.0.1 3001", "send v1")).with(sending(
            "r2",
            2002,
            "127.0.0.1 3001",
            "send v2",
        ));
        let _daemon = world.start(&services);
        for port in [2001, 2002] {
            assert_eq!(asked("127.0.0.7", "127.0.0.8", port), format!("127.0.0.7 127.0.0.8 {port}"));
        }
    });
}

/// The header is the first that the target hears, also of a client that says nothing, and counts as no traffic.
#[test]
fn the_header_comes_first_and_is_no_traffic() {
    ours(|world| {
        let listener = TcpListener::bind("127.0.0.1:3001").expect("the target's socket");
        let _daemon = world.start(&Config::of(sending("r", 2001, "127.0.0.1 3001", "send")));
        let client = std::thread::spawn(|| {
            let mut client =
                dial_to("127.0.0.7", "127.0.0.8", 2001, Duration::from_secs(20)).expect("a connection");
            let port = client.stream.local_addr().expect("its address").port();
            client.send(b"hello");
            client.finish();
            let _ = client.read_all();
            port
        });
        let (mut target, _) = listener.accept().expect("a connection");
        let mut heard = String::new();
        target.read_to_string(&mut heard).expect("to hear");
        drop(target);
        let port = client.join().expect("the client");
        assert_eq!(heard, format!("PROXY TCP4 127.0.0.7 127.0.0.8 {port} 2001\r\nhello"));
        must("the traffic is told", || {
            world.service_log("r").contains(&"TRAFFIC: r in=5(bytes) out=0(bytes)".to_owned())
        });
        let silent = std::thread::spawn(|| talk("127.0.0.7", 2001, b""));
        let (mut target, _) = listener.accept().expect("a connection");
        let mut heard = [0; 11];
        target.read_exact(&mut heard).expect("to hear");
        assert_eq!(heard, *b"PROXY TCP4 ");
        drop(target);
        silent.join().expect("the client");
    });
}

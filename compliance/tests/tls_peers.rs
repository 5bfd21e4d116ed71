//! Servers of others around TLS of ours: HAProxy, which says who its client is, in front of services behind TLS; nginx in front of
//! one, and as the target of one; rsync, whose relay speaks TLS. xinetd has nothing of the kind, so these run against ours alone.

use portreeve_compliance::client::talk;
use portreeve_compliance::skip::{Reason, has_programs, skip};
use portreeve_compliance::tls::{ENV, behind, certificates, curl, keyed, spawned};
use portreeve_compliance::wait::must;
use portreeve_compliance::{Config, Ended, Entry, World, ours};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

fn accepting(entry: Entry) -> Entry {
    entry.set("proxy_protocol", "accept").set("proxy_from", "127.0.0.1")
}

fn listens(ports: &[u16]) {
    for &port in ports {
        must("the peer listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    }
}

/// curl without TLS, from this address; what it got.
fn plain(world: &World, from: &str, port: u16) -> String {
    let url = format!("http://127.0.0.1:{port}/");
    world.run(&["/usr/bin/curl", "-sS", "--max-time", "30", "--interface", from, &url], ENV).1
}

/// HAProxy tells the client in a header of version 2, then passes its TLS on, or speaks TLS itself. The client that it names is
/// who is judged, logged, and told to the program, and to the next one in the row.
#[test]
fn haproxy_in_front() {
    if !has_programs(&["openssl", "curl", "haproxy"]) {
        return;
    }
    ours(|world| {
        certificates(world);
        let next = TcpListener::bind("127.0.0.1:3009").expect("a socket");
        let told = std::thread::spawn(move || {
            let (mut stream, _) = next.accept().expect("a client");
            let mut head = [0; 64];
            let n = stream.read(&mut head).unwrap_or_default();
            let _ = stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nnext");
            String::from_utf8_lossy(&head[..n]).into_owned()
        });
        let config = Config::new()
            .with(accepting(spawned("web", 2001, "/run/w/tell.sh")).set("only_from", "127.0.0.5"))
            .with(
                accepting(behind("row", 2002))
                    .set("proxy_protocol", "both v1")
                    .set("redirect", "127.0.0.1 3009"),
            );
        let daemon = world.start(&config);
        ["web", "row"].iter().for_each(|id| keyed(&daemon, id));
        let proxy = "defaults\n\tmode tcp\n\ttimeout connect 5s\n\ttimeout client 30s\n\ttimeout server 30s\n\
                     listen passed\n\tbind 127.0.0.1:3001\n\tserver s 127.0.0.1:2001 send-proxy-v2\n\
                     listen row\n\tbind 127.0.0.1:3002\n\tserver s 127.0.0.1:2002 send-proxy-v2-ssl-cn\n\
                     listen own\n\tbind 127.0.0.1:3003\n\tserver s 127.0.0.1:2001 send-proxy-v2 ssl verify required \
                     ca-file /run/w/ca.pem sni str(one.example) verifyhost one.example\n";
        let file = world.write("haproxy.cfg", proxy);
        let haproxy = world.spawn("haproxy", &["/usr/sbin/haproxy", "-db", "-f", &file], ENV);
        listens(&[3001, 3002, 3003]);
        // Who only looked whether HAProxy listens has come with a header and without TLS.
        must("they are gone", || daemon.service_status("web")["running"] == 0);

        let (fine, said) = curl(world, "one.example", 3001, &["--interface", "127.0.0.5"]);
        assert!(fine && said.contains("REMOTE_HOST=127.0.0.5"), "{said}");
        assert!(said.contains("TLS_SERVER_NAME=one.example"), "{said}");
        let said = plain(world, "127.0.0.5", 3003);
        assert!(
            said.contains("REMOTE_HOST=127.0.0.5") && said.contains("TLS_PROTOCOL"),
            "HAProxy's own TLS: {said}"
        );
        let (fine, said) = curl(world, "one.example", 3001, &["--interface", "127.0.0.6"]);
        assert!(!fine, "only_from is about the client that is named: {said}");
        must("it is logged", || {
            let log = world.service_log("web");
            log.contains(&"FAIL: web address from=127.0.0.6".to_owned())
                && log.iter().any(|line| line.starts_with("START: web") && line.ends_with("from=127.0.0.5"))
        });
        let (fine, said) = curl(world, "one.example", 3002, &["--interface", "127.0.0.7"]);
        assert!(fine && said.contains("next"), "{said}");
        let head = told.join().expect("it was told");
        assert!(head.starts_with("PROXY TCP4 127.0.0.7 127.0.0.1 "), "{head}");
        // Not a proxy: neither with TLS nor with a header.
        assert!(!curl(world, "one.example", 2001, &["--interface", "127.0.0.5"]).0);
        assert!(world.signal(haproxy, 15));
    });
}

fn nginx(world: &World, modules: &str, text: &str) {
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary: String = temporary.map(|what| format!("{what}_temp_path /run/w/nginx-{what};\n")).concat();
    let text = text.replace("TEMPORARY", &format!("access_log off;\n{temporary}"));
    let main = "daemon off;\nmaster_process off;\nuser root;\npid /run/w/nginx.pid;\nerror_log /run/w/nginx.log;\nevents {}\n";
    let file = world.write("nginx.conf", format!("{modules}{main}{text}"));
    world.spawn("nginx", &["/usr/sbin/nginx", "-e", "/run/w/nginx.err", "-c", &file], ENV);
}

/// nginx speaks TLS to a service of ours, and checks its certificate.
#[test]
fn nginx_in_front() {
    if !has_programs(&["openssl", "curl", "nginx"]) {
        return;
    }
    ours(|world| {
        certificates(world);
        let config = Config::new()
            .with(spawned("web", 2001, "/run/w/tell.sh"))
            .with(spawned("mutual", 2002, "/run/w/tell.sh").set("tls_client_ca", "/run/w/ca.pem"));
        let daemon = world.start(&config);
        ["web", "mutual"].iter().for_each(|id| keyed(&daemon, id));
        let verified =
            "proxy_ssl_server_name on;\nproxy_ssl_verify on;\nproxy_ssl_trusted_certificate /run/w/ca.pem;\n";
        let own = "proxy_ssl_certificate /run/w/client.pem;\nproxy_ssl_certificate_key /run/w/client.key;\n";
        let server = |port: u16, name: &str, to: u16, more: &str| {
            format!(
                "server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass https://127.0.0.1:{to}; proxy_ssl_name {name};\n{verified}{more} }} }}\n"
            )
        };
        let servers = [
            server(3001, "one.example", 2001, ""),
            server(3002, "two.example", 2001, ""),
            server(3003, "one.example", 2002, own),
            // nginx has one store of sessions for all who go to one place: it would go on with that of 3003.
            server(3004, "one.example", 2002, "proxy_ssl_session_reuse off;\n"),
        ];
        nginx(world, "", &format!("http {{ TEMPORARY {} }}\n", servers.concat()));
        listens(&[3001, 3002, 3003, 3004]);
        let said = plain(world, "127.0.0.1", 3001);
        assert!(said.contains("TLS_SERVER_NAME=one.example"), "{said} {}", world.read("nginx.log"));
        assert!(plain(world, "127.0.0.1", 3002).contains("502 Bad Gateway"), "a certificate of another name");
        let said = plain(world, "127.0.0.1", 3003);
        assert!(said.contains("TLS_CLIENT_SUBJECT=") && said.contains("CN=reeve"), "{said}");
        let said = plain(world, "127.0.0.1", 3004);
        assert!(!said.contains("REMOTE_HOST"), "without a certificate nobody is served: {said}");
    });
}

/// nginx as the target of `tls = connect`.
#[test]
fn nginx_behind() {
    if !has_programs(&["openssl", "nginx"]) {
        return;
    }
    ours(|world| {
        certificates(world);
        let server = |port: u16, name: &str, protocols: &str| {
            format!(
                "server {{ listen 127.0.0.1:{port} ssl; ssl_certificate /run/w/{name}.pem; ssl_certificate_key /run/w/{name}.key;\nssl_protocols {protocols};\nreturn 200 \"$ssl_protocol of {name}\"; }}\n"
            )
        };
        let servers = [
            server(3001, "one", "TLSv1.3"),
            server(3002, "one", "TLSv1.2"),
            server(3003, "two", "TLSv1.2 TLSv1.3"),
        ];
        nginx(world, "", &format!("http {{ TEMPORARY {} }}\n", servers.concat()));
        listens(&[3001, 3002, 3003]);
        let clear = |id: &str, port: u16, target: u16| {
            behind(id, port)
                .unset("tls_cert")
                .unset("tls_key")
                .set("redirect", &format!("127.0.0.1 {target}"))
                .set("tls", "connect")
                .set("tls_ca", "/run/w/ca.pem")
        };
        let config = Config::new()
            .with(clear("new", 2001, 3001))
            .with(clear("old", 2002, 3002))
            .with(clear("other", 2003, 3003));
        let daemon = world.start(&config);
        ["new", "old", "other"].iter().for_each(|id| keyed(&daemon, id));
        let ask = b"GET / HTTP/1.0\r\n\r\n";
        for (port, wanted) in [(2001, "TLSv1.3 of one"), (2002, "TLSv1.2 of one")] {
            let said = talk("127.0.0.1", port, ask).text();
            assert!(said.contains(wanted), "{port}: {said}");
        }
        assert_eq!(talk("127.0.0.1", 2003, ask).text(), "", "its certificate is of another host");
    });
}

/// nginx's stream proxy says who its client is in a PROXY header, and then speaks TLS.
#[test]
fn nginx_streams_in_front() {
    const MODULE: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";
    if !has_programs(&["openssl", "nginx"]) {
        return;
    }
    if !std::path::Path::new(MODULE).exists() {
        skip(Reason::absent("libnginx-mod-stream"));
        return;
    }
    ours(|world| {
        certificates(world);
        let daemon = world.start(&Config::of(accepting(spawned("web", 2001, "/run/w/tell.sh"))));
        keyed(&daemon, "web");
        let stream = "stream { server { listen 127.0.0.1:3001; proxy_pass 127.0.0.1:2001; proxy_protocol on; proxy_ssl on;\n\
                      proxy_ssl_name one.example; proxy_ssl_server_name on; proxy_ssl_verify on; proxy_ssl_trusted_certificate /run/w/ca.pem; } }\n";
        nginx(world, &format!("load_module {MODULE};\n"), stream);
        listens(&[3001]);
        let said = talk("127.0.0.5", 3001, b"GET / HTTP/1.0\r\n\r\n").text();
        assert!(said.contains("REMOTE_HOST=127.0.0.5"), "{said} {}", world.read("nginx.log"));
        assert!(said.contains("TLS_SERVER_NAME=one.example"), "{said}");
    });
}

/// rsync over its own TLS relay, to an rsync daemon that knows none.
#[test]
fn rsync_behind_tls() {
    if !has_programs(&["openssl", "/usr/bin/rsync"]) {
        return;
    }
    ours(|world| {
        certificates(world);
        let text: String = (0..60_000).map(|n| format!("line {n}\n")).collect();
        world.write("share/disk.img", &text);
        let conf = "use chroot = no\n[mirror]\npath = /run/w/share\n";
        world.write("rsyncd.conf", conf);
        let entry = spawned("s1", 2001, "x")
            .set("server", "/usr/bin/rsync")
            .set("server_args", "--daemon --config=/run/w/rsyncd.conf");
        let daemon = world.start(&Config::new().with(entry));
        keyed(&daemon, "s1");
        let relay = "RSYNC_CONNECT_PROG=openssl s_client -quiet -verify_quiet -verify_return_error \
                     -CAfile /run/w/ca.pem -servername one.example -connect 127.0.0.1:2001";
        let env = [ENV, &[relay]].concat();
        let (how, output) =
            world.run(&["/usr/bin/rsync", "-a", "rsync://one.example/mirror/", "/run/w/copy/"], &env);
        assert_eq!(how, Ended::Status(0), "{output}");
        assert!(world.read("copy/disk.img") == text, "the copy is whole");
    });
}

//! Services behind TLS: their entries, certificates of an authority that the test makes, and curl.

use crate::wait::must;
use crate::{Daemon, Ended, Entry, World};

/// What peers are started with.
pub const ENV: &[&str] = &["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/run/w", "TZ=UTC", "LC_ALL=C"];

/// A service behind TLS, without what it does.
pub fn behind(id: &str, port: u16) -> Entry {
    Entry::bare(id, port)
        .first("flags = IPv4")
        .set("type", "UNLISTED")
        .set("socket_type", "stream")
        .set("protocol", "tcp")
        .set("wait", "no")
        .set("user", "root")
        .set("cps", "0 0")
        .set("log_on_success", "HOST PID EXIT DURATION TRAFFIC")
        .set("log_on_failure", "HOST")
        .set("tls_cert", "/run/w/one.pem")
        .set("tls_key", "/run/w/one.key")
}

/// A program behind TLS.
pub fn spawned(id: &str, port: u16, script: &str) -> Entry {
    behind(id, port)
        .set("log_on_success", "HOST PID EXIT DURATION")
        .set("server", "/bin/sh")
        .set("server_args", script)
}

/// An HTTP answer with what the program knows of its client.
const TELL: &str =
    "read line\nprintf 'HTTP/1.0 200 OK\\r\\n\\r\\n'\nenv | grep -E '^(REMOTE_HOST|TLS_)' | sort\n";

/// An authority, and certificates of it for one.example, two.example and a client; another authority that nobody trusts.
///
/// # Panics
/// When openssl fails.
pub fn certificates(world: &World) {
    let script = r#"set -e; cd /run/w
ca() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $1.key -out $1.pem -subj "/CN=$2" -days 30; }
leaf() { # name, subject, names, authority, days
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $1.key -out $1.csr -subj "$2"
  printf 'subjectAltName=%s\n' "$3" > $1.ext
  openssl x509 -req -in $1.csr -CA $4.pem -CAkey $4.key -CAcreateserial -out $1.pem -days $5 -extfile $1.ext; }
ca ca "Market CA"; ca strange "Strange CA"
leaf one /CN=one.example DNS:one.example,DNS:localhost,IP:127.0.0.1 ca 30
leaf two /CN=two.example DNS:two.example ca 30
leaf next /CN=next.example DNS:one.example ca 30
leaf late /CN=late DNS:one.example ca 3
leaf gone /CN=gone DNS:one.example ca 30
openssl x509 -req -in gone.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out gone.pem -extfile gone.ext -not_before 20200101000000Z -not_after 20200201000000Z 2>/dev/null || openssl x509 -req -in gone.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out gone.pem -extfile gone.ext -days -1
leaf client "/O=Market, Town/CN=reeve" DNS:reeve ca 30
leaf stranger /CN=reeve DNS:reeve strange 30
chmod 600 *.key"#;
    let (how, output) = world.run(&["/bin/sh", "-c", script], ENV);
    assert_eq!(how, Ended::Status(0), "{output}");
    world.write("tell.sh", TELL);
}

/// curl by this name; its output, and whether it was content.
pub fn curl(world: &World, name: &str, port: u16, more: &[&str]) -> (bool, String) {
    let (url, there) = (format!("https://{name}:{port}/"), format!("{name}:{port}:127.0.0.1"));
    let mut argv = vec!["/usr/bin/curl", "-sS", "--max-time", "30", "--cacert", "/run/w/ca.pem"];
    argv.extend(["--resolve", &there, &url]);
    argv.extend(more);
    let (how, output) = world.run(&argv, ENV);
    (how == Ended::Status(0), output)
}

/// The processes that serve TLS.
pub fn workers(world: &World) -> Vec<u32> {
    world.processes("portreeve worker tls")
}

/// Waits until the worker of a service has its certificates.
///
/// # Panics
/// When it does not within the deadline.
pub fn keyed(daemon: &Daemon<'_>, id: &str) {
    must("the worker has its certificates", || daemon.service_status(id)["note"] == "");
}

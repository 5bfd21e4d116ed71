//! Programs that people really run from a super-server, spoken to by their own clients. Each test is a configuration of
//! its own, under xinetd and under ours, with the same answers, the same log and nothing left behind.

use portreeve_compliance::client::{dial, talk};
use portreeve_compliance::init::HERE;
use portreeve_compliance::skip::has_programs;
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, Daemon, Ended, Entry, World, both};

const CLIENT_ENV: &[&str] = &["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/run/w", "TZ=UTC", "LC_ALL=C"];

/// Runs a client inside to its end and gives what it printed.
fn client(world: &World, argv: &[&str]) -> String {
    let (how, output) = world.run(argv, CLIENT_ENV);
    assert_eq!(how, Ended::Status(0), "{argv:?}: {output}");
    output
}

/// Runs a client that must fail and gives what it printed.
fn failing_client(world: &World, argv: &[&str]) -> String {
    let (how, output) = world.run(argv, CLIENT_ENV);
    assert!(matches!(how, Ended::Status(1..)), "{argv:?} ended with {how:?}: {output}");
    output
}

/// A service under its name in /etc/services, with that name's port.
fn known(name: &str) -> Entry {
    Entry::bare(name, 0)
        .unset("port")
        .set("socket_type", "stream")
        .set("protocol", "tcp")
        .set("wait", "no")
        .set("user", "root")
}

fn start(id: &str, from: &str) -> String {
    format!("START: {id} pid=N from=::ffff:{from}")
}

fn exit(id: &str, how: &str) -> String {
    format!("EXIT: {id} {how} pid=N duration=N(sec)")
}

/// The lines of a client that the super-server refuses by its address: xinetd has started a process by then.
fn refused(world: &World, id: &str, from: &str) -> Vec<String> {
    let fail = format!("FAIL: {id} address from={from}");
    let theirs = vec![format!("START: {id} pid=N from={from}"), fail.clone(), exit(id, "status=0")];
    world.fix("refused-before-any-process", theirs, vec![fail])
}

/// Text that no buffer along the way holds at once.
fn long_text() -> String {
    (0..60_000).map(|n| format!("line {n}\n")).collect()
}

/// All servers are gone, the super-server has as many descriptors as before, and ours counted what it served.
fn nothing_left(daemon: &Daemon<'_>, id: &str, descriptors: usize, served: u64) {
    must("every descriptor is closed", || daemon.descriptors() <= descriptors);
    if daemon.world.is_ours() {
        must("nothing runs", || daemon.count(id, "/running") == 0);
        assert_eq!(daemon.count(id, "/accepted"), served);
    }
}

/// rsync --daemon: it asks its socket who calls, changes root and user, and moves more than the socket buffers hold.
#[test]
fn rsync_daemon() {
    if !has_programs(&["/usr/bin/rsync"]) {
        return;
    }
    both(|world| {
        world.write("share/disk.img", long_text());
        world.write("share/sub/read.me", "read me\n");
        let conf = "uid = nobody\ngid = nogroup\nuse chroot = yes\nreverse lookup = no\n\
                    log file = /run/w/rsyncd.log\n\
                    [mirror]\npath = /run/w/share\ncomment = what we mirror\n\
                    [inner]\npath = /run/w/share/sub\nhosts allow = 127.0.0.2\n";
        let conf = world.write("rsyncd.conf", conf);
        let entry = known("rsync")
            .set("server", "/usr/bin/rsync")
            .set("server_args", &format!("--daemon --config={conf}"))
            .set("no_access", "127.0.0.66");
        let daemon = world.start(&Config::of(entry));
        let before = daemon.descriptors();
        let rsync = |from: &str, words: &[&str]| {
            let address = format!("--address={from}");
            let argv: Vec<&str> =
                ["/usr/bin/rsync", &address, "--timeout=30"].iter().chain(words).copied().collect();
            world.run(&argv, CLIENT_ENV)
        };

        let (how, list) = rsync("127.0.0.2", &["rsync://127.0.0.1/"]);
        assert_eq!(how, Ended::Status(0), "{list}");
        let modules: Vec<&str> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(modules, ["mirror", "inner"], "{list}");

        let (how, output) = rsync("127.0.0.3", &["-r", "rsync://127.0.0.1/mirror/", "/run/w/copy/"]);
        assert_eq!(how, Ended::Status(0), "{output}");
        assert!(world.read("copy/disk.img") == long_text(), "the whole file came");
        assert_eq!(world.read("copy/sub/read.me"), "read me\n");

        // The program's own access list sees the client's address through the socket.
        let (how, output) = rsync("127.0.0.2", &["rsync://127.0.0.1/inner/read.me"]);
        assert_eq!(how, Ended::Status(0), "{output}");
        let (how, output) = rsync("127.0.0.3", &["rsync://127.0.0.1/inner/read.me"]);
        assert_eq!(how, Ended::Status(5), "{output}");
        assert!(output.contains("@ERROR: access denied to inner"), "{output}");
        // The super-server's: the client meets a closed connection where it wants a greeting.
        let (how, output) = rsync("127.0.0.66", &["rsync://127.0.0.1/"]);
        assert!(matches!(how, Ended::Status(1..)), "{how:?}: {output}");

        let from = ["127.0.0.2", "127.0.0.3", "127.0.0.2", "127.0.0.3"];
        let mut lines: Vec<String> = from.iter().map(|from| start("rsync", from)).collect();
        // rsync ends with 255 after a list and after a refusal of its own.
        lines.extend([255, 0, 0, 255].map(|status| exit("rsync", &format!("status={status}"))));
        lines.extend(refused(world, "rsync", "::ffff:127.0.0.66"));
        world.expect_log("rsync", &lines);
        nothing_left(&daemon, "rsync", before, 4);
    });
}

/// in.tftpd: a datagram server that takes over the socket, changes root and user, answers from sockets of its own, and
/// ends when nobody asks for a while. The next question starts it again.
#[test]
fn tftp_server() {
    if !has_programs(&["/usr/sbin/in.tftpd", "/usr/bin/tftp", "/usr/bin/curl"]) {
        return;
    }
    both(|world| {
        world.write("tftpboot/pxelinux.0", long_text());
        world.write("tftpboot/pxelinux.cfg/default", "DEFAULT install\n");
        let entry = known("tftp")
            .set("socket_type", "dgram")
            .set("protocol", "udp")
            .set("wait", "yes")
            .set("server", "/usr/sbin/in.tftpd")
            .set("server_args", "-t 1 -s /run/w/tftpboot");
        let daemon = world.start(&Config::of(entry));
        let before = daemon.descriptors();
        let mut lines = Vec::new();
        let mut served = |from: &str| {
            lines.extend([format!("START: tftp pid=N from={from}"), exit("tftp", "status=0")]);
            world.expect_log("tftp", &lines);
        };

        let url = "tftp://127.0.0.1/pxelinux.0";
        client(
            world,
            &["/usr/bin/curl", "-sS", "-m", "60", "--interface", "127.0.0.2", "-o", "/run/w/first", url],
        );
        assert!(world.read("first") == long_text(), "the whole file came");
        served("::ffff:127.0.0.2");

        let get = ["-m", "binary", "::1", "-c", "get", "pxelinux.cfg/default", "/run/w/second"];
        let argv: Vec<&str> = ["/usr/bin/tftp"].iter().chain(&get).copied().collect();
        let output = client(world, &argv);
        assert_eq!(world.read("second"), "DEFAULT install\n", "{output}");
        served("::1");

        let url = "tftp://127.0.0.1/none";
        failing_client(world, &["/usr/bin/curl", "-sS", "-m", "60", "--interface", "127.0.0.3", url]);
        served("::ffff:127.0.0.3");
        nothing_left(&daemon, "tftp", before, 3);
    });
}

/// vsftpd with listen=NO: two processes of two users on one connection, data on connections of its own.
#[test]
fn ftp_server() {
    if !has_programs(&["/usr/sbin/vsftpd", "/usr/bin/curl"]) {
        return;
    }
    both(|world| {
        world.write("ftp/pub/release.txt", long_text());
        world.write("empty/.keep", "");
        let conf = "listen=NO\nlisten_ipv6=NO\nanonymous_enable=YES\nlocal_enable=NO\nno_anon_password=YES\n\
                    anon_root=/run/w/ftp\nsecure_chroot_dir=/run/w/empty\nftpd_banner=the old files\n";
        let conf = world.write("vsftpd.conf", conf);
        let entry = known("ftp").set("server", "/usr/sbin/vsftpd").set("server_args", &conf);
        let daemon = world.start(&Config::of(entry));
        let before = daemon.descriptors();

        let answer = talk("127.0.0.2", 21, b"QUIT\r\n");
        assert_eq!(answer, Answer::closed("220 the old files\r\n221 Goodbye.\r\n"));
        let curl = ["/usr/bin/curl", "-sS", "-m", "60", "--interface", "127.0.0.3"];
        let list: Vec<&str> = curl.iter().copied().chain(["-l", "ftp://127.0.0.1/pub/"]).collect();
        assert_eq!(client(world, &list), "release.txt\n");
        let url = "ftp://127.0.0.1/pub/release.txt";
        let fetch: Vec<&str> = curl.iter().copied().chain(["-o", "/run/w/fetched", url]).collect();
        client(world, &fetch);
        assert!(world.read("fetched") == long_text(), "the whole file came");

        // vsftpd ends with 0 or 2, as its two processes happen to see each other's end.
        let lines = || {
            let log = world.service_log("ftp");
            let mut lines: Vec<String> = log.iter().map(|l| l.replace("status=2", "status=0")).collect();
            lines.sort();
            lines
        };
        let mut expected = vec![exit("ftp", "status=0"); 3];
        expected.extend(["127.0.0.2", "127.0.0.3", "127.0.0.3"].map(|from| start("ftp", from)));
        must("all sessions end", || lines().len() >= expected.len());
        assert_eq!(lines(), expected);
        nothing_left(&daemon, "ftp", before, 3);
    });
}

/// git daemon --inetd, as a user of its own; it starts programs that inherit the connection.
#[test]
fn git_daemon() {
    if !has_programs(&["/usr/bin/git", "/usr/lib/git-core/git-daemon"]) {
        return;
    }
    both(|world| {
        world.write("work/source.txt", long_text());
        let make = "set -e; cd /run/w/work; git init -q -b main .; git add source.txt; \
                    git -c user.name=n -c user.email=e commit -q -m first; \
                    git clone -q --bare . ../git/project.git; chown -R nobody ../git; git rev-parse HEAD";
        let commit = client(world, &["/bin/sh", "-c", make]);
        let commit = commit.lines().last().unwrap_or("").to_owned();
        let entry = known("git")
            .set("user", "nobody")
            .set("server", "/usr/bin/git")
            .set("server_args", "daemon --inetd --export-all --base-path=/run/w/git");
        let daemon = world.start(&Config::of(entry));
        let before = daemon.descriptors();

        let refs = client(world, &["/usr/bin/git", "ls-remote", "git://127.0.0.1/project.git"]);
        assert_eq!(refs, format!("{commit}\tHEAD\n{commit}\trefs/heads/main\n"));
        client(world, &["/usr/bin/git", "clone", "-q", "git://127.0.0.1/project.git", "/run/w/clone"]);
        assert!(world.read("clone/source.txt") == long_text(), "the whole file came");
        failing_client(world, &["/usr/bin/git", "ls-remote", "git://127.0.0.1/none.git"]);

        let mut lines = vec![start("git", "127.0.0.1"); 3];
        lines.extend([0, 0, 255].map(|status| exit("git", &format!("status={status}"))));
        world.expect_log("git", &lines);
        nothing_left(&daemon, "git", before, 3);
    });
}

/// sshd -i: its key is seen by a scan, and a login runs a command with the client's address and status.
#[test]
fn ssh_server() {
    if !has_programs(&["/usr/sbin/sshd", "/usr/bin/ssh", "/usr/bin/ssh-keyscan", "/usr/bin/ssh-keygen"]) {
        return;
    }
    both(|world| {
        for key in ["host_key", "user_key"] {
            let path = format!("{HERE}/{key}");
            client(world, &["/usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", &path]);
        }
        // Whatever this machine thinks of root's password: no login by it, yet no lock.
        world.cover("/etc/shadow", "root:*:20000:0:99999:7:::\n");
        let conf = "PidFile none\nUsePAM no\nUseDNS no\nStrictModes no\nPasswordAuthentication no\n\
                    PermitRootLogin prohibit-password\nAuthorizedKeysFile /run/w/user_key.pub\n";
        let conf = world.write("sshd_config", conf);
        // By its full name: newer ones start themselves again under it.
        let entry = known("ssh")
            .first("flags = NAMEINARGS")
            .set("server", "/usr/sbin/sshd")
            .set("server_args", &format!("/usr/sbin/sshd -i -f {conf} -h {HERE}/host_key"));
        let daemon = world.start(&Config::of(entry));
        let before = daemon.descriptors();

        let mut connection = dial("127.0.0.2", 22).expect("a connection");
        let banner = connection.read_until(b"\n");
        assert!(banner.text().starts_with("SSH-2.0-"), "{banner:?}");
        drop(connection);

        let scan = client(world, &["/usr/bin/ssh-keyscan", "-t", "ed25519", "127.0.0.1"]);
        let found = scan.lines().find(|line| !line.starts_with('#')).unwrap_or("").to_owned();
        let host_key = world.read("host_key.pub");
        let key = |text: &str, at: usize| text.split(' ').skip(at).take(2).collect::<Vec<_>>().join(" ");
        assert_eq!(key(&found, 1), key(&host_key, 0), "{scan}");

        world.write("known_hosts", format!("{found}\n"));
        let ssh = "/usr/bin/ssh -F none -T -i /run/w/user_key -b 127.0.0.3 -o BatchMode=yes -o ConnectTimeout=30 \
                   -o StrictHostKeyChecking=yes -o UserKnownHostsFile=/run/w/known_hosts root@127.0.0.1";
        let words: Vec<&str> = ssh.split(' ').chain(["echo $SSH_CLIENT; exit 7"]).collect();
        let (how, output) = world.run(&words, CLIENT_ENV);
        assert_eq!(how, Ended::Status(7), "{output}");
        assert!(output.starts_with("127.0.0.3 "), "{output}");

        let mut lines = ["127.0.0.2", "127.0.0.1", "127.0.0.3"].map(|from| start("ssh", from)).to_vec();
        lines.extend(vec![exit("ssh", "status=255"); 3]);
        world.expect_log("ssh", &lines);
        nothing_left(&daemon, "ssh", before, 3);
    });
}

/// The health check of database clusters: a script that answers a load balancer in HTTP. Polls come several at once.
/// Each instance waits for the others here, so they do run side by side.
#[test]
fn http_health_check() {
    if !has_programs(&["/usr/bin/curl"]) {
        return;
    }
    const POLLS: usize = 6;
    let script = r#"#!/bin/sh
# Answers with 200 while /run/w/synced is there.
while read -r line && [ "$line" != "$(printf '\r')" ]; do :; done
: >"/run/w/polls/$$"
while [ "$(ls /run/w/polls | wc -l)" -lt "$(cat /run/w/together)" ]; do sleep 0.02; done
if [ -e /run/w/synced ]; then status='200 OK' text='node is synced.'
else status='503 Service Unavailable' text='node is not synced.'; fi
printf 'HTTP/1.1 %s\r\nContent-Type: text/plain\r\nConnection: close\r\n' "$status"
printf 'Content-Length: %d\r\n\r\n%s\r\n' $((${#text} + 2)) "$text"
"#;
    both(|world| {
        world.write("polls/.keep", "");
        client(world, &["/bin/chmod", "1777", "/run/w/polls"]);
        world.write("synced", "");
        world.write("together", POLLS.to_string());
        let script = world.write_mode("clustercheck", script, 0o755);
        let entry = Entry::bare("mysqlchk", 9200)
            .set("type", "UNLISTED")
            .first("flags = REUSE")
            .set("socket_type", "stream")
            .set("protocol", "tcp")
            .set("wait", "no")
            .set("user", "nobody")
            .set("server", &script)
            .set("only_from", "127.0.0.0/8")
            .set("per_source", "UNLIMITED");
        let daemon = world.start(&Config::of(entry));
        let before = daemon.descriptors();
        let curl = ["/usr/bin/curl", "-sS", "-m", "60", "-w", "%{http_code}", "http://127.0.0.1:9200/"];

        let polls: Vec<(String, u32)> = (0..POLLS)
            .map(|n| format!("poll{n}"))
            .map(|name| (name.clone(), world.spawn(&name, &curl, CLIENT_ENV)))
            .collect();
        for (name, pid) in polls {
            let how = world.wait(pid);
            let got = (how, world.read(&format!("{name}.out")));
            let error = world.read(&format!("{name}.err"));
            assert_eq!(got, (Ended::Status(0), "node is synced.\r\n200".to_owned()), "{error}");
        }
        std::fs::remove_file(world.path("synced")).expect("to remove it");
        assert_eq!(client(world, &curl), "node is not synced.\r\n503");
        failing_client(world, &["/usr/bin/curl", "-sS", "-m", "60", "http://[::1]:9200/"]);

        let mut lines = vec![start("mysqlchk", "127.0.0.1"); POLLS + 1];
        lines.extend(vec![exit("mysqlchk", "status=0"); POLLS + 1]);
        lines.extend(refused(world, "mysqlchk", "::1"));
        world.expect_log("mysqlchk", &lines);
        nothing_left(&daemon, "mysqlchk", before, POLLS as u64 + 1);
    });
}

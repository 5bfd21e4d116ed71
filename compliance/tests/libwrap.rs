//! Programs that are linked to libwrap.so.0, unmodified, on the original and on ours: who is let in and who is not, and the
//! tables are read again for each client.

use portreeve_compliance::client::{Connection, End, ask, datagram_socket, dial, talk};
use portreeve_compliance::init::HERE;
use portreeve_compliance::libwrap::Wrapped;
use portreeve_compliance::skip::has_programs;
use portreeve_compliance::wait::{DEADLINE, must, until};
use portreeve_compliance::{Answer, Ended, both};
use std::time::Duration;

fn reset_or_closed(answer: &Answer) -> bool {
    answer.bytes.is_empty() && matches!(answer.end, End::Closed | End::Reset)
}

fn greeting(connection: &mut Connection) -> String {
    connection.read_until(b"\n").text()
}

/// socat takes the tables' variables by copy relocation and asks in a child for each connection.
#[test]
fn socat() {
    if !has_programs(&["/usr/bin/socat"]) {
        return;
    }
    both(|world| {
        let wrapped = Wrapped::new(world);
        let listen = "TCP4-LISTEN:7001,bind=127.0.0.1,reuseaddr,fork,tcpwrap=mysvc";
        let pid = wrapped.start("socat", &["/usr/bin/socat", "-d", "-d", listen, "SYSTEM:echo OK"], 7001);
        wrapped.uses_library(pid);
        assert_eq!(talk("127.0.0.2", 7001, b""), Answer::closed("OK\n"), "without rules");

        wrapped.tables("mysvc: 127.0.0.2\n", "ALL: ALL\n");
        assert_eq!(talk("127.0.0.2", 7001, b""), Answer::closed("OK\n"));
        let refused = talk("127.0.0.3", 7001, b"");
        assert!(reset_or_closed(&refused), "{refused:?}");

        wrapped.tables("other: ALL\nmysvc: nine.example.org\n", "mysvc: ALL\n");
        let refused = talk("127.0.0.2", 7001, b"");
        assert!(reset_or_closed(&refused), "another name, and the tables were read again: {refused:?}");
        assert_eq!(talk("127.0.0.9", 7001, b""), Answer::closed("OK\n"), "by its confirmed name");

        wrapped.tables("mysvc: ALL: spawn echo %c %d %n >>/run/w/spawned\n", "");
        assert_eq!(talk("127.0.0.9", 7001, b""), Answer::closed("OK\n"));
        assert_eq!(world.read("spawned"), "127.0.0.9 mysvc nine.example.org\n");

        wrapped.tables("", "broken");
        assert!(reset_or_closed(&talk("127.0.0.2", 7001, b"")), "a deny table in error refuses everybody");

        // Tables of its own, through the variables.
        let allow = world.write("own.allow", "own: 127.0.0.4\n");
        let deny = world.write("own.deny", "ALL: ALL\n");
        let listen = format!(
            "TCP4-LISTEN:7002,bind=127.0.0.1,reuseaddr,fork,tcpwrap=own,allow-table={allow},deny-table={deny}"
        );
        wrapped.start("own", &["/usr/bin/socat", &listen, "SYSTEM:echo OWN"], 7002);
        assert_eq!(talk("127.0.0.4", 7002, b""), Answer::closed("OWN\n"));
        assert!(reset_or_closed(&talk("127.0.0.2", 7002, b"")));
    });
}

/// vsftpd by itself asks after fork, and says so to the client.
#[test]
fn vsftpd() {
    if !has_programs(&["/usr/sbin/vsftpd"]) {
        return;
    }
    both(|world| {
        let wrapped = Wrapped::new(world);
        world.write("empty/.keep", "");
        let conf = "listen=YES\nlisten_port=7003\nbackground=NO\nanonymous_enable=YES\nlocal_enable=NO\n\
                    anon_root=/run/w/empty\nsecure_chroot_dir=/run/w/empty\nftpd_banner=here\n\
                    tcp_wrappers=YES\nseccomp_sandbox=NO\n";
        let conf = world.write("vsftpd.conf", conf);
        wrapped.tables("vsftpd: 127.0.0.0/255.255.255.252\n", "ALL: ALL\n");
        let pid = wrapped.start("vsftpd", &["/usr/sbin/vsftpd", &conf], 7003);
        wrapped.uses_library(pid);
        let quit = |from| talk(from, 7003, b"QUIT\r\n").text();
        assert_eq!(quit("127.0.0.2"), "220 here\r\n221 Goodbye.\r\n");
        assert_eq!(quit("127.0.0.5"), "421 Service not available.\r\n");
        wrapped.tables("vsftpd: 127.0.0.5\n", "ALL: ALL\n");
        assert_eq!(quit("127.0.0.5"), "220 here\r\n221 Goodbye.\r\n");
        assert_eq!(quit("127.0.0.2"), "421 Service not available.\r\n");
    });
}

/// sshd ends its child through `refuse`, which waits for five seconds before it closes.
#[test]
fn sshd() {
    if !has_programs(&["/usr/sbin/sshd", "/usr/bin/ssh-keygen"]) {
        return;
    }
    both(|world| {
        let wrapped = Wrapped::new(world);
        let key = format!("{HERE}/host_key");
        let keygen = ["/usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", &key];
        assert_eq!(world.run(&keygen, &wrapped.env()).0, Ended::Status(0));
        let conf = format!(
            "Port 7004\nListenAddress 127.0.0.1\nHostKey {key}\nPidFile none\nUsePAM no\nUseDNS no\nStrictModes no\n"
        );
        let conf = world.write("sshd_config", conf);
        wrapped.tables("sshd: 127.0.0.2\n", "sshd: ALL\n");
        let pid = wrapped.start("sshd", &["/usr/sbin/sshd", "-D", "-f", &conf], 7004);
        wrapped.uses_library(pid);
        let mut let_in = dial("127.0.0.2", 7004).expect("a connection");
        assert!(greeting(&mut let_in).starts_with("SSH-2.0-"));
        wrapped.logged();
        let mut refused = dial("127.0.0.9", 7004).expect("a connection");
        let lines = wrapped.expect_logged("refused connect");
        let line = lines.last().expect("a line");
        // sshd sets the priority of refusals itself, to auth.info or auth.notice.
        assert!(line.ends_with("sshd[N]: refused connect from 127.0.0.9 (127.0.0.9)"), "{lines:?}");
        let answer = refused.read_all();
        assert!(reset_or_closed(&answer), "{answer:?}");
        wrapped.tables("sshd: .example.org\n", "sshd: ALL: severity local5.alert\n");
        let mut named = dial("127.0.0.9", 7004).expect("a connection");
        assert!(greeting(&mut named).starts_with("SSH-2.0-"), "by its name, at the next connection");
        let _refused = dial("127.0.0.11", 7004).expect("a connection");
        let lines = wrapped.expect_logged("refused connect");
        // local5 is 21, alert 1.
        let wanted = "<169>sshd[N]: refused connect from eleven.other.test (127.0.0.11)";
        assert!(lines.iter().any(|line| line == wanted), "{lines:?}");
    });
}

/// xinetd itself, for a service that it starts.
#[test]
fn xinetd() {
    if !has_programs(&["/usr/sbin/xinetd"]) {
        return;
    }
    both(|world| {
        let wrapped = Wrapped::new(world);
        let conf = "defaults\n{\nlog_type = SYSLOG daemon\nlog_on_failure = HOST\n}\n\
                    service mysvc\n{\ntype = UNLISTED\nsocket_type = stream\nprotocol = tcp\nport = 7005\nwait = no\n\
                    user = root\nflags = IPv4\nserver = /bin/echo\nserver_args = served\n}\n";
        let conf = world.write("xinetd.conf", conf);
        wrapped.tables("echo: 127.0.0.2\n", "ALL: ALL\n");
        let pid = wrapped.start("xinetd", &["/usr/sbin/xinetd", "-dontfork", "-f", &conf], 7005);
        wrapped.uses_library(pid);
        assert_eq!(talk("127.0.0.2", 7005, b""), Answer::closed("served\n"));
        wrapped.logged();
        let refused = talk("127.0.0.3", 7005, b"");
        assert!(reset_or_closed(&refused), "{refused:?}");
        let lines = wrapped.expect_logged("libwrap refused connection");
        let wanted = "libwrap refused connection to mysvc (libwrap=echo) from 127.0.0.3";
        assert!(lines.iter().any(|line| line.ends_with(wanted)), "{lines:?}");
        wrapped.tables("mysvc: ALL\n", "echo: 127.0.0.2\n");
        assert!(reset_or_closed(&talk("127.0.0.2", 7005, b"")), "the tables were read again");
        assert_eq!(talk("127.0.0.3", 7005, b""), Answer::closed("served\n"));
        wrapped.tables("echo: ALL: banners /run/w/banners: twist echo turned away %a; exit 3\n", "");
        world.write("banners/echo", "hello %a\n");
        let turned = Answer::closed("hello 127.0.0.3\r\nturned away 127.0.0.3\n");
        assert_eq!(talk("127.0.0.3", 7005, b""), turned);
        let asks = "echo: ALL: aclexec test %a = 127.0.0.3\n";
        wrapped.tables(asks, "ALL: ALL\n");
        assert_eq!(talk("127.0.0.3", 7005, b""), Answer::closed("served\n"));
        assert!(reset_or_closed(&talk("127.0.0.4", 7005, b"")));
    });
}

/// Debian's own tcpd: it execs the server, after the pause it ends; the datagram of a refused client is swallowed.
#[test]
fn tcpd() {
    if !has_programs(&["/usr/sbin/xinetd", "/usr/sbin/tcpd"]) {
        return;
    }
    both(|world| {
        let wrapped = Wrapped::new(world);
        let service = |name: &str, port: u16, more: &str| {
            format!(
                "service {name}\n{{\ntype = UNLISTED\nport = {port}\nuser = root\nflags = NAMEINARGS NOLIBWRAP IPv4\n\
                 server = /usr/sbin/tcpd\n{more}}}\n"
            )
        };
        let stream = "socket_type = stream\nprotocol = tcp\nwait = no\nserver_args = /bin/echo served\n";
        let datagrams = "socket_type = dgram\nprotocol = udp\nwait = yes\n\
                         server_args = /run/probe first-datagram\n";
        let conf = service("stream", 7006, stream) + &service("datagrams", 7007, datagrams);
        let conf = world.write("xinetd.conf", conf);
        wrapped.tables("echo: .example.org\nprobe: 127.0.0.2\n", "ALL: ALL\n");
        wrapped.start("xinetd", &["/usr/sbin/xinetd", "-dontfork", "-f", &conf], 7006);
        assert_eq!(talk("127.0.0.9", 7006, b""), Answer::closed("served\n"));
        let lines = wrapped.expect_logged("connect from");
        let wanted = "<30>echo[N]: connect from nine.example.org (127.0.0.9)";
        assert!(lines.iter().any(|line| line == wanted), "{lines:?}");
        let refused = talk("127.0.0.11", 7006, b"");
        assert!(reset_or_closed(&refused), "{refused:?}");
        let lines = wrapped.expect_logged("refused connect");
        let wanted = "<28>echo[N]: refused connect from eleven.other.test (127.0.0.11)";
        assert!(lines.iter().any(|line| line == wanted), "{lines:?}");

        let refused = datagram_socket("127.0.0.3", 7007);
        assert_eq!(ask(&refused, b"no", Duration::from_millis(500)), None);
        wrapped.expect_logged("refused connect from 127.0.0.3");
        must("tcpd ends after its pause", || world.processes("first-datagram").is_empty());
        let granted = datagram_socket("127.0.0.2", 7007);
        let answer = until(DEADLINE, || ask(&granted, b"yes", Duration::from_millis(500)));
        assert!(answer.is_some_and(|bytes| !bytes.is_empty()), "the datagram of the refused client is gone");
    });
}

/// in.tftpd, by itself, tells by datagrams who asks.
#[test]
fn tftpd() {
    if !has_programs(&["/usr/sbin/in.tftpd"]) {
        return;
    }
    both(|world| {
        let wrapped = Wrapped::new(world);
        world.write("tftp/file", "content");
        wrapped.tables("in.tftpd: 127.0.0.2\n", "ALL: ALL\n");
        // It does not bind where all addresses are loopback ones.
        let address = ["/usr/bin/env", "ip", "address", "add", "192.0.2.1/32", "dev", "lo"];
        assert_eq!(world.run(&address, &wrapped.env()).0, Ended::Status(0));
        let argv = ["/usr/sbin/in.tftpd", "-4", "-L", "-a", "127.0.0.1:6969", "-s", "/run/w/tftp"];
        let pid = world.spawn("tftpd", &argv, &wrapped.env());
        let question = b"\0\x01file\0octet\0";
        let answer = |from: &str| {
            let socket = std::net::UdpSocket::bind((from, 0)).expect("a socket");
            socket.send_to(question, "127.0.0.1:6969").expect("to send");
            socket.set_read_timeout(Some(Duration::from_millis(700))).expect("a deadline");
            let mut bytes = [0_u8; 600];
            // The answer comes from a port of its own.
            socket.recv_from(&mut bytes).ok().map(|(count, _)| bytes[..count].to_vec())
        };
        let first = until(DEADLINE, || answer("127.0.0.2"));
        assert_eq!(first.as_deref(), Some(&b"\0\x03\0\x01content"[..]), "{}", world.read("tftpd.err"));
        wrapped.uses_library(pid);
        assert_eq!(answer("127.0.0.3"), None);
        wrapped.tables("in.tftpd: 127.0.0.3\n", "ALL: ALL\n");
        assert_eq!(answer("127.0.0.3").as_deref(), Some(&b"\0\x03\0\x01content"[..]));
        assert_eq!(answer("127.0.0.2"), None);
    });
}

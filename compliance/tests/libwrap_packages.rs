//! Programs linked to libwrap.so.0 that come with packages of their own, unmodified, on the original and on ours.

use portreeve_compliance::client::{End, ask, datagram_socket, dial, talk};
use portreeve_compliance::libwrap::Wrapped;
use portreeve_compliance::skip::{Reason, find_program, has_programs, skip};
use portreeve_compliance::wait::{DEADLINE, must};
use portreeve_compliance::{Answer, Ended, both};
use std::path::PathBuf;
use std::process::{Command, Stdio};

fn reset_or_closed(answer: &Answer) -> bool {
    answer.bytes.is_empty() && matches!(answer.end, End::Closed | End::Reset)
}

/// Where the inetd of OpenBSD is. Its package excludes xinetd's, so scripts/test unpacks it instead of installing it.
fn openbsd_inetd() -> Option<PathBuf> {
    let unpacked = std::env::var_os("PORTREEVE_UNPACKED").map(PathBuf::from).unwrap_or_default();
    let found = [unpacked.join("usr/sbin/inetd"), PathBuf::from("/usr/sbin/inetd")]
        .into_iter()
        .find(|path| path.is_absolute() && path.is_file());
    if found.is_none() {
        skip(Reason::absent("openbsd-inetd"));
    }
    found
}

/// inetd asks for the name in `argv[0]` of a service, and rules may name the port.
#[test]
fn inetd() {
    let Some(inetd) = openbsd_inetd() else { return };
    both(|world| {
        let wrapped = Wrapped::new(world);
        let inetd = world.write_mode("inetd", std::fs::read(&inetd).expect("inetd"), 0o755);
        let conf =
            world.write("inetd.conf", "127.0.0.1:7010 stream tcp nowait root /bin/echo myecho hello\n");
        wrapped.tables("myecho: 127.0.0.2\n7010: .example.org\n", "ALL: ALL\n");
        let pid = wrapped.start("inetd", &[&inetd, "-i", "-l", &conf], 7010);
        wrapped.uses_library(pid);
        assert_eq!(talk("127.0.0.2", 7010, b""), Answer::closed("hello\n"));
        assert_eq!(talk("127.0.0.9", 7010, b""), Answer::closed("hello\n"), "by its port and its name");
        wrapped.logged();
        let refused = talk("127.0.0.3", 7010, b"");
        assert!(reset_or_closed(&refused), "{refused:?}");
        let lines = wrapped.expect_logged("refused connection");
        let wanted = "refused connection from 127.0.0.3, service 7010 (tcp)";
        assert!(lines.iter().any(|line| line.ends_with(wanted)), "{lines:?}");
        wrapped.tables("echo: ALL\n", "ALL: ALL\n");
        assert!(reset_or_closed(&talk("127.0.0.2", 7010, b"")), "the path is not the name");
    });
}

/// inetd asks in the process that becomes the server: what a rule orders stays with the server, or replaces it.
#[test]
fn inetd_keeps_what_rules_order() {
    let Some(inetd) = openbsd_inetd() else { return };
    both(|world| {
        let wrapped = Wrapped::new(world);
        let inetd = world.write_mode("inetd", std::fs::read(&inetd).expect("inetd"), 0o755);
        let script = world.write("script", "echo \"$WHO\" $(umask) $(id -u)\n");
        let service = format!("127.0.0.1:7012 stream tcp nowait root /bin/sh mysh {script}\n");
        let conf = world.write("inetd.conf", service);
        wrapped.start("inetd", &[&inetd, "-i", "-l", &conf], 7012);
        let plain = talk("127.0.0.2", 7012, b"");
        assert!(plain.text().starts_with(' ') && plain.text().ends_with(" 0\n"), "without rules: {plain:?}");
        let orders = "mysh: 127.0.0.9: setenv WHO %n-%a: umask 0351: user nobody\n";
        wrapped.tables(orders, "");
        let uid = world.fix("user-and-group-are-obeyed", 0, 65534);
        let ordered = format!("nine.example.org-127.0.0.9 0351 {uid}\n");
        assert_eq!(talk("127.0.0.9", 7012, b""), Answer::closed(&ordered));
        assert_eq!(talk("127.0.0.2", 7012, b""), plain, "for that client only");
        wrapped.tables("mysh: .example.org: twist echo no %d for %c\n", "");
        assert_eq!(talk("127.0.0.9", 7012, b""), Answer::closed("no mysh for nine.example.org\n"));
        wrapped.logged();
        wrapped.tables("mysh: .example.org: severity local5.alert: deny\n", "");
        assert!(reset_or_closed(&talk("127.0.0.9", 7012, b"")));
        let lines = wrapped.expect_logged("refused connection");
        // local5 is 21, alert 1.
        let wanted = "<169>inetd[N]: refused connection from nine.example.org, service 7012 (tcp)";
        assert!(lines.iter().any(|line| line == wanted), "{lines:?}");
    });
}

/// stunnel asks in processes of its own, by the service's name.
#[test]
fn stunnel() {
    if !has_programs(&["/usr/bin/stunnel4"]) {
        return;
    }
    both(|world| {
        let wrapped = Wrapped::new(world);
        let secrets = world.write_mode("psk", "client:000102030405060708090a0b0c0d0e0f\n", 0o600);
        let conf = format!(
            "foreground = yes\ndebug = info\nsyslog = no\noutput = /run/w/stunnel.log\npid =\n\
             [mytls]\naccept = 127.0.0.1:7011\nconnect = 127.0.0.1:9\nlibwrap = yes\nciphers = PSK\nPSKsecrets = {secrets}\n"
        );
        let conf = world.write("stunnel.conf", conf);
        wrapped.tables("mytls: 127.0.0.2\n", "ALL: ALL\n");
        let pid = wrapped.start("stunnel", &["/usr/bin/stunnel4", &conf], 7011);
        wrapped.uses_library(pid);
        let logged = |words: &str| {
            must(words, || world.read("stunnel.log").contains(words));
        };
        let refused = talk("127.0.0.3", 7011, b"not TLS\r\n");
        assert!(reset_or_closed(&refused), "{refused:?}");
        logged("Service [mytls] REFUSED by libwrap from 127.0.0.3:");
        let _granted = talk("127.0.0.2", 7011, b"not TLS\r\n");
        logged("Service [mytls] accepted connection from 127.0.0.2:");
        assert!(!world.read("stunnel.log").contains("REFUSED by libwrap from 127.0.0.2:"));

        wrapped.tables("mytls: .example.org: spawn echo %c %d >>/run/w/spawned\n", "mytls: ALL\n");
        let refused = talk("127.0.0.2", 7011, b"not TLS\r\n");
        assert!(reset_or_closed(&refused), "the tables were read again: {refused:?}");
        logged("Service [mytls] REFUSED by libwrap from 127.0.0.2:");
        // More clients than the five processes that ask, in one moment.
        std::thread::scope(|scope| {
            for from in ["127.0.0.9", "127.0.0.11"].repeat(6) {
                scope.spawn(move || {
                    world.enter();
                    talk(from, 7011, b"not TLS\r\n")
                });
            }
        });
        let verdicts = |words: &str| world.read("stunnel.log").matches(words).count();
        must("six are refused", || verdicts("REFUSED by libwrap from 127.0.0.11:") == 6);
        must("six are let in", || verdicts("accepted connection from 127.0.0.9:") == 6);
        assert_eq!(verdicts("REFUSED by libwrap from 127.0.0.9:"), 0);
        assert_eq!(verdicts("accepted connection from 127.0.0.11:"), 0);
        must("six hooks ran", || world.read("spawned") == "nine.example.org mytls\n".repeat(6));
    });
}

/// rpcbind asks for each call, and answers a refused one with an error of authentication.
#[test]
fn rpcbind() {
    if !has_programs(&["/usr/sbin/rpcbind"]) {
        return;
    }
    both(|world| {
        let wrapped = Wrapped::new(world);
        let directory = ["/bin/mkdir", "-p", "-m", "777", "/run/rpcbind"];
        assert_eq!(world.run(&directory, &wrapped.env()).0, Ended::Status(0));
        wrapped.tables("rpcbind: 127.0.0.2\n", "ALL: ALL\n");
        let path = find_program("/usr/sbin/rpcbind").expect("rpcbind");
        let pid = wrapped.start("rpcbind", &[path.to_str().expect("a path"), "-f", "-w"], 111);
        wrapped.uses_library(pid);
        // A call of program 100000, version 2, procedure 4 (DUMP), in one record, without credentials.
        let words: [u32; 11] = [0x8000_0028, 0x1234, 0, 2, 100_000, 2, 4, 0, 0, 0, 0];
        let call: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        // Record, number, REPLY, and whether it was accepted (0) or denied (1).
        let reply = |from: &str| {
            let mut connection = dial(from, 111).expect("a connection");
            connection.send(&call);
            let answer = connection.read_count(16).bytes;
            let word =
                |at: usize| answer.get(at..at + 4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]));
            (word(4), word(8), word(12))
        };
        assert_eq!(reply("127.0.0.2"), (Some(0x1234), Some(1), Some(0)));
        wrapped.logged();
        assert_eq!(reply("127.0.0.3"), (Some(0x1234), Some(1), Some(1)));
        let lines = wrapped.expect_logged("unauthorized host");
        let wanted = "connect from 127.0.0.3 to dump(): request from unauthorized host";
        assert!(lines.iter().any(|line| line.ends_with(wanted)), "{lines:?}");

        wrapped.tables("rpcbind: .example.org [::1]\n", "rpcbind: ALL: severity local5.alert\n");
        assert_eq!(reply("127.0.0.9"), (Some(0x1234), Some(1), Some(0)), "by its name");
        assert_eq!(reply("::1"), (Some(0x1234), Some(1), Some(0)));
        wrapped.logged();
        assert_eq!(reply("127.0.0.2"), (Some(0x1234), Some(1), Some(1)), "the tables were read again");
        let lines = wrapped.expect_logged("unauthorized host");
        // local5 is 21, alert 1.
        let wanted = "<169>rpcbind[N]: connect from 127.0.0.2 to dump(): request from unauthorized host";
        assert!(lines.iter().any(|line| line == wanted), "{lines:?}");

        // A datagram has no record before the call; the answer's third word tells the same.
        let by_datagram = |from: &str| {
            let answer = ask(&datagram_socket(from, 111), &call[4..], DEADLINE).unwrap_or_default();
            answer.get(8..12).map(<[u8]>::to_vec)
        };
        assert_eq!(by_datagram("127.0.0.9"), Some(vec![0, 0, 0, 0]));
        assert_eq!(by_datagram("127.0.0.2"), Some(vec![0, 0, 0, 1]));
    });
}

/// Authen::Libwrap of perl: hosts_ctl alone.
#[test]
fn perl() {
    if !has_programs(&["/usr/bin/perl"]) {
        return;
    }
    let there =
        Command::new("/usr/bin/perl").args(["-MAuthen::Libwrap", "-e", "1"]).stderr(Stdio::null()).status();
    if !there.is_ok_and(|status| status.success()) {
        return skip(Reason::absent("libauthen-libwrap-perl"));
    }
    both(|world| {
        let wrapped = Wrapped::new(world);
        wrapped.tables("mysvc: 127.0.0.1\n", "ALL: ALL\n");
        let script = r#"for (["mysvc", "127.0.0.1"], ["mysvc", "127.0.0.2"], ["other", "127.0.0.1"]) {
            print Authen::Libwrap::hosts_ctl($_->[0], "unknown", $_->[1], "unknown") ? "yes\n" : "no\n";
        }
        print join("\n", grep { m(libwrap) } do { open my $maps, "<", "/proc/self/maps"; <$maps> });"#;
        let (how, output) = world.run(&["/usr/bin/perl", "-MAuthen::Libwrap", "-e", script], &wrapped.env());
        assert_eq!(how, Ended::Status(0), "{output}");
        assert!(output.starts_with("yes\nno\nno\n"), "{output}");
        let original = output.contains("x86_64-linux-gnu/libwrap.so");
        assert!(output.contains("/libwrap.so.0") && original != world.is_ours(), "{output}");

        // One process, tables that change under it, names and users as they are told, and a rule that ends it.
        let script = r#"use Authen::Libwrap "hosts_ctl"; $| = 1;
        sub tables { open my $to, ">", "/etc/hosts.allow" or die; print $to @_; close $to }
        sub asks { print hosts_ctl(@_) ? "yes\n" : "no\n" }
        tables "mysvc: me@.example.org\n";
        asks "mysvc", "nine.example.org", "127.0.0.9", "me";
        asks "mysvc", "nine.example.org", "127.0.0.9", "you";
        asks "mysvc", "eleven.other.test", "127.0.0.11", "me";
        tables "mysvc: 127.0.0.: setenv WHO %u@%h\n";
        asks "mysvc", "eleven.other.test", "127.0.0.11", "me";
        system "echo \$WHO";
        asks "mysvc", "six.example.org", "fd00:0:0:1::1", "me";
        tables "mysvc: broken";
        asks "mysvc", "nine.example.org", "127.0.0.9";
        tables "mysvc: ALL: twist echo turned away %a; exit 3\n";
        exec $^X, "-MAuthen::Libwrap=hosts_ctl", "-e",
            "hosts_ctl 'mysvc', 'nine.example.org', '127.0.0.9'; print 'still there'" unless @ARGV;
        asks "mysvc", "nine.example.org", "127.0.0.9";"#;
        wrapped.tables("", "ALL: ALL\n");
        let told = "yes\nno\nno\nyes\nme@eleven.other.test\nno\nno\n";
        let (how, output) = world.run(&["/usr/bin/perl", "-e", script], &wrapped.env());
        // Without a connection there is nothing to hand over: neither the command nor perl goes on.
        assert_eq!((how, output.as_str()), (Ended::Status(0), told));
        // Who asked before is resident and stays: the client is refused.
        let (how, output) = world.run(&["/usr/bin/perl", "-e", script, "resident"], &wrapped.env());
        assert_eq!((how, output), (Ended::Status(0), format!("{told}no\n")));
    });
}

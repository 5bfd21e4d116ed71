//! Programs linked to libwrap.so.0 that come with packages of their own, unmodified, on the original and on ours.

use portreeve_compliance::client::{End, dial, talk};
use portreeve_compliance::libwrap::Wrapped;
use portreeve_compliance::skip::{Reason, find_program, has_programs, skip};
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
            portreeve_compliance::wait::must(words, || world.read("stunnel.log").contains(words));
        };
        let refused = talk("127.0.0.3", 7011, b"not TLS\r\n");
        assert!(reset_or_closed(&refused), "{refused:?}");
        logged("Service [mytls] REFUSED by libwrap from 127.0.0.3:");
        let _granted = talk("127.0.0.2", 7011, b"not TLS\r\n");
        logged("Service [mytls] accepted connection from 127.0.0.2:");
        assert!(!world.read("stunnel.log").contains("REFUSED by libwrap from 127.0.0.2:"));
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
    });
}

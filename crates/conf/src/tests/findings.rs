//! What `check` says about services that are served, and that it keeps quiet otherwise.

use super::{FakeHost, codes, reading, reading_on, stream};
use crate::Severity;

fn served_with(name: &str, program: &str, more: &str) -> Vec<&'static str> {
    let mut host = FakeHost::debian();
    host.programs.insert(program.into());
    codes(&reading_on(host, stream(name, 2000, more).replace("/bin/sh", program)))
}

#[test]
fn an_ordinary_service_gets_no_finding() {
    let more = "\tinstances = 60\n\tper_source = 10\n\tlog_type = SYSLOG daemon info\n\tlog_on_success = PID HOST\n\
                \tlog_on_failure = HOST\n\tbind = 0.0.0.0\n\tonly_from = 10.0.0.0/8 127.0.0.1\n\tdisable = no\n";
    assert_eq!(codes(&reading(stream("s1", 2000, more))), [""; 0]);
}

#[test]
fn plaintext_open_to_all() {
    assert_eq!(served_with("telnet", "/bin/x", ""), ["plaintext-open"]);
    assert_eq!(served_with("other", "/usr/sbin/in.telnetd", ""), ["plaintext-open"]);
    assert_eq!(served_with("shell", "/bin/x", "\tonly_from = 0.0.0.0/0\n"), ["plaintext-open"]);
    assert_eq!(served_with("telnet", "/bin/x", "\tonly_from = 10.0.0.0/8\n"), [""; 0]);
    assert_eq!(served_with("telnet", "/bin/x", "\tbind = 127.0.0.1\n"), [""; 0]);
    assert_eq!(served_with("ssh", "/usr/sbin/sshd", ""), [""; 0]);
}

#[test]
fn datagram_reflectors() {
    let text = |name: &str, more: &str| {
        format!(
            "service {name}\n{{\n\ttype = INTERNAL UNLISTED\n\tport = 7\n\tsocket_type = dgram\n\twait = yes\n{more}}}\n"
        )
    };
    assert_eq!(codes(&reading(text("chargen", ""))), ["reflector"]);
    assert_eq!(codes(&reading(text("echo", "\tonly_from = 10.0.0.1\n"))), [""; 0]);
    assert_eq!(codes(&reading(text("daytime", ""))), [""; 0]);
}

#[test]
fn limits_that_let_nobody_in() {
    for line in
        ["instances = 0", "per_source = 0", "max_load = -1", "no_access = 0.0.0.0/0 ::/0", "only_from ="]
    {
        let reading = reading(stream("s1", 2000, &format!("\t{line}\n")));
        assert_eq!(codes(&reading), ["refuses-everybody"], "{line}");
        assert_eq!(reading.diagnostics[0].place.as_ref().unwrap().line, 10);
        assert_eq!(reading.diagnostics[0].severity, Severity::Warning);
    }
}

#[test]
fn banners_that_do_not_exist() {
    let reading = reading(stream("s1", 2000, "\tbanner_fail = /etc/nosuch\n\tbanner = /etc/xinetd.conf\n"));
    assert_eq!(codes(&reading), ["banner-missing"]);
}

#[test]
fn what_has_no_effect() {
    assert_eq!(codes(&reading(stream("s1", 2000, "\tflags = IDONLY\n"))), ["idonly-without-userid"]);
    assert_eq!(codes(&reading(stream("s1", 2000, "\tflags = IDONLY\n\tlog_on_success = USERID\n"))), [""; 0]);
    let wait = stream("s1", 2000, "\tper_source = 3\n\tbanner = /etc/xinetd.conf\n")
        .replace("wait = no", "wait = yes");
    assert_eq!(codes(&reading(wait)), ["without-effect", "without-effect"]);
    let reuse = stream("s1", 1, "\tflags = REUSE\n") + &stream("s2", 2, "\tflags = REUSE\n");
    assert_eq!(codes(&reading(reuse)), ["reuse"], "once, not for each service");
}

#[test]
fn a_finding_points_at_the_word() {
    let reading = reading(stream("s1", 2000, "\tonly_from = 10.0.0.1 10.1\n"));
    let finding = &reading.diagnostics[0];
    let place = finding.place.as_ref().unwrap();
    assert_eq!((&*place.file, place.line, place.column, place.length), ("/etc/xinetd.conf", 10, 23, 4));
    assert_eq!(finding.source_line.as_deref(), Some("\tonly_from = 10.0.0.1 10.1"));
    assert_eq!(finding.service.as_deref(), Some("s1"));
}

#[test]
fn control_bytes_reach_no_log() {
    let reading = reading(stream("s1", 2000, "\tnice = \x1b[2J\n"));
    assert!(reading.log[0].text.starts_with("Error parsing: \\x1b[2J [file="), "{}", reading.log[0].text);
    assert!(reading.log.iter().all(|line| !line.text.chars().any(char::is_control)));
}

#[test]
fn targets_that_lead_back() {
    let redirected = |name: &str, port: u16, to: &str, more: &str| {
        format!(
            "service {name}\n{{\n\ttype = UNLISTED\n\tport = {port}\n\tsocket_type = stream\n\tprotocol = tcp\n\twait = no\n\
             \tuser = root\n\tredirect = {to}\n{more}}}\n"
        )
    };
    let one = |to: &str, more: &str| codes(&reading(redirected("a", 80, to, more)));
    for to in ["127.0.0.1 80", "127.0.0.2 80", "::1 80", "192.0.2.1 80 127.0.0.1 80"] {
        assert_eq!(one(to, ""), ["leads-back"], "{to}");
    }
    assert_eq!(one("192.0.2.1 80", "\tbind = 192.0.2.1\n"), ["leads-back"]);
    for (to, more) in [
        ("127.0.0.1 81", ""),
        ("192.0.2.1 80", ""),
        ("127.0.0.1 80", "\tbind = 127.0.0.2\n"),
        ("127.0.0.1 80", "\tflags = IPv6\n\tv6only = yes\n"),
        ("/run/x", ""),
    ] {
        assert_eq!(one(to, more), [""; 0], "{to} {more}");
    }
    let there = redirected("a", 80, "127.0.0.1 81", "");
    let on = redirected("b", 81, "192.0.2.1 80", "");
    assert_eq!(codes(&reading(format!("{there}{on}"))), [""; 0], "one behind the other is no circle");
    let back = redirected("b", 81, "127.0.0.1 80", "");
    assert_eq!(codes(&reading(format!("{there}{back}"))), ["leads-back", "leads-back"]);
}

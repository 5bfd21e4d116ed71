//! What only portreeve refuses. Each is a row of docs/guide/differences.md.

use super::{FakeHost, codes, left_out, log, names, reading, reading_on, service, stream};
use crate::{Action, Mux};

/// A service whose program accepts by itself.
fn waiting(more: &str) -> String {
    stream("s1", 2000, more).replace("wait = no", "wait = yes")
}

#[test]
fn datagrams_need_wait() {
    for (socket, protocol) in [("dgram", "udp"), ("raw", "icmp")] {
        let text =
            stream("s1", 2000, "").replace("stream", socket).replace("= tcp", &format!("= {protocol}"));
        let no = reading(&text);
        assert_eq!(log(&no), [format!("Error: Service s1 has socket_type {socket}, but does not wait")]);
        assert_eq!(codes(&no), ["no-wait-datagram"]);
        assert_eq!(names(&reading(text.replace("wait = no", "wait = yes"))), ["s1"]);
    }
}

#[test]
fn a_group_is_for_datagrams_of_a_program() {
    let group = "\tbind = 239.1.2.3%eth0\n";
    assert_eq!(codes(&reading(stream("s1", 2000, group))), ["bad-address"]);
    let datagrams = waiting(group).replace("stream", "dgram").replace("= tcp", "= udp");
    assert_eq!(names(&reading(datagrams)), ["s1"]);
}

#[test]
fn a_program_that_waits_is_given_one_socket() {
    for (lines, ports, code) in [
        ("\tbind = 127.0.0.1 127.0.0.2\n", "2000", Some("several-sockets")),
        ("", "2000-2001", Some("several-sockets")),
        ("\tbind = 127.0.0.1\n", "2000", None),
        ("", "2000-3024", Some("too-many-listeners")),
    ] {
        let text = waiting(lines).replace("= 2000", &format!("= {ports}"));
        let reading = reading(text);
        assert_eq!(
            codes(&reading).contains(&code.unwrap_or("several-sockets")),
            code.is_some(),
            "{lines}{ports}"
        );
    }
    for port in ["2001-2000", "0-5", "2000-", "-5", "1-65536", "1-2-3"] {
        let text = stream("s1", 2000, "").replace("= 2000", &format!("= {port}"));
        assert!(names(&reading(text)).is_empty(), "{port}");
    }
    for bind in
        ["%", "%a/b", "%sixteen-bytes-xx", "1.2.3.4%", "host%eth0", "127.0.0.1 127.0.0.1", "/run/s", "@s"]
    {
        assert!(names(&reading(stream("s1", 2000, &format!("\tbind = {bind}\n")))).is_empty(), "{bind}");
    }
}

#[test]
fn sockets_that_cannot_be_made() {
    for (socket, protocol) in [("stream", "udp"), ("dgram", "tcp"), ("seqpacket", "tcp")] {
        let text = waiting("").replace("stream", socket).replace("= tcp", &format!("= {protocol}"));
        assert_eq!(codes(&reading(text)), ["socket-mismatch"], "{socket} {protocol}");
    }
}

#[test]
fn proxies_must_be_named() {
    let accept = "\tproxy_protocol = accept\n";
    let from = "\tproxy_from = 192.0.2.0/24 2001:db8::1\n";
    let good = reading(stream("s1", 2000, &format!("{accept}{from}")));
    assert_eq!((codes(&good), good.services[0].proxy_from.len()), (vec![], 2));
    let both = format!("{accept}{from}");
    for bad in [
        stream("s1", 2000, accept),
        stream("s1", 2000, from),
        waiting(&both),
        stream("s1", 2000, &format!("\tflags = SENSOR\n{both}")),
        muxed("s1", &both),
    ] {
        assert_eq!(codes(&reading(&bad)), ["flag-conflict"], "{bad}");
    }
    let named = stream("s1", 2000, &format!("{accept}\tproxy_from = localhost\n"));
    assert_eq!(codes(&reading(named)), ["bad-value"]);
}

fn rpc(name: &str, protocol: &str, lines: &str) -> String {
    let socket = if protocol == "udp" { "dgram" } else { "stream" };
    format!(
        "service {name}\n{{\n\tid = {name}-{protocol}\n\ttype = RPC\n\tsocket_type = {socket}\n\tprotocol = {protocol}\n\
         \twait = yes\n\tuser = root\n\tserver = /bin/sh\n{lines}}}\n"
    )
}

#[test]
fn rpc_services() {
    let read = reading(rpc("rstatd", "udp", "\trpc_version = 1-3\n"));
    assert_eq!((codes(&read), read.services.len()), (vec![], 1));
    let service = &read.services[0];
    assert_eq!(service.rpc, Some(crate::Rpc { program: 100_001, versions: (1, 3) }));
    assert_eq!(service.listen.port, 0, "the kernel chooses");
    let fixed = reading(rpc("rstatd", "udp", "\trpc_version = 2\n\tport = 2049\n"));
    assert_eq!((fixed.services[0].rpc.unwrap().versions, fixed.services[0].listen.port), ((2, 2), 2049));
    let unlisted = rpc("own", "tcp", "\trpc_version = 1\n\trpc_number = 536870912\n")
        .replace("type = RPC", "type = RPC UNLISTED");
    assert_eq!(reading(unlisted).services[0].rpc.unwrap().program, 0x2000_0000);
    // The same versions over another protocol are other entries; over the same one they are not.
    let both = rpc("rstatd", "udp", "\trpc_version = 1-3\n") + &rpc("rstatd", "tcp", "\trpc_version = 1-3\n");
    assert_eq!(reading(&both).services.len(), 2);
    let twice = rpc("rstatd", "udp", "\trpc_version = 1-3\n")
        + &rpc("rstatd", "udp", "\trpc_version = 3-4\n").replace("rstatd-udp", "other");
    assert_eq!(codes(&reading(&twice)), ["duplicate"]);
    let apart = rpc("rstatd", "udp", "\trpc_version = 1-3\n\tflags = IPv4\n")
        + &rpc("rstatd", "udp", "\trpc_version = 1-3\n\tflags = IPv6\n\tv6only = yes\n")
            .replace("rstatd-udp", "six");
    assert_eq!(reading(&apart).services.len(), 2);
    for (bad, code) in [
        ("\trpc_version = 1-33\n", "bad-value"),
        ("\trpc_version = 4294967296\n", "bad-value"),
        ("\trpc_version = -1\n", "bad-value"),
        ("", "missing-attribute"),
    ] {
        assert_eq!(codes(&reading(rpc("rstatd", "udp", bad))), [code], "{bad}");
    }
}

/// A service of tcpmux, and tcpmux.
fn muxed(name: &str, lines: &str) -> String {
    let mux = stream(name, 2000, lines).replace("UNLISTED", "TCPMUX UNLISTED");
    format!("{mux}{MUXER}")
}

const MUXER: &str =
    "service tcpmux\n{\n\ttype = INTERNAL UNLISTED\n\tport = 1\n\tsocket_type = stream\n\twait = no\n}\n";

#[test]
fn services_of_tcpmux() {
    let good = reading(muxed("s1", ""));
    assert_eq!(codes(&good), [""; 0]);
    let (service, mux) = (&good.services[0], &good.services[1]);
    assert_eq!((service.mux, service.listen.port), (Some(Mux::Plain), 0), "it has no port");
    assert_eq!((mux.mux, mux.action.clone(), mux.listen.port), (None, Action::Mux, 1));
    let plus = reading(muxed("s1", "").replace("TCPMUX", "TCPMUXPLUS"));
    assert_eq!(plus.services[0].mux, Some(Mux::Plus));
    for (name, lines) in [("help", ""), ("Help", ""), ("s1", "\tflags = SENSOR\n")] {
        assert_eq!(codes(&reading(muxed(name, lines))), ["flag-conflict"], "{name} {lines}");
    }
    for (name, fine) in [("echo", true), ("DAYTIME", true), ("servers", false), ("tarpit", false)] {
        let built_in = muxed(name, "").replace("TCPMUX UNLISTED", "TCPMUX INTERNAL UNLISTED");
        let built_in = built_in.replace("\tserver = /bin/cat\n", "");
        assert_eq!(codes(&reading(built_in)).contains(&"flag-conflict"), !fine, "{name}");
    }
    let waits = muxed("s1", "").replacen("wait = no", "wait = yes", 1);
    assert_eq!(codes(&reading(waits)), ["flag-conflict"]);
    let twice = format!(
        "{}{}",
        muxed("S1", ""),
        stream("s1", 2000, "\tid = other\n").replace("UNLISTED", "TCPMUX UNLISTED")
    );
    assert_eq!(codes(&reading(twice)), ["duplicate"]);
    let alone = reading(muxed("s1", "").replace(MUXER, ""));
    assert_eq!((codes(&alone), alone.services.len()), (vec!["without-tcpmux"], 1));
}

#[test]
fn a_wait_list_must_be_addresses() {
    for (lines, fine) in [
        ("", true),
        ("\tonly_from = 10.0.0.0/8 ::1\n\tno_access = 10.0.0.{1,2}\n", true),
        ("\tonly_from = localhost\n", false),
        ("\tno_access = .example.org\n", false),
    ] {
        assert_eq!(codes(&reading(waiting(lines))).contains(&"wait-list"), !fine, "{lines}");
    }
    assert_eq!(
        service("\tonly_from = localhost\n").limits.only_from.clone().unwrap().len(),
        1,
        "with wait = no names are fine"
    );
}

#[test]
fn hosts_rules_are_not_ignored() {
    let with_rules = |text: String| {
        let mut host = FakeHost::debian();
        host.rules = true;
        reading_on(host, text)
    };
    assert_eq!(names(&with_rules(stream("s1", 2000, ""))), ["s1"], "asked for each client");
    let refused = with_rules(stream("s1", 2000, "").replace("wait = no", "wait = yes"));
    assert_eq!((names(&refused), codes(&refused)), (vec![], vec!["hosts-rules-wait"]));
    assert!(refused.diagnostics[0].help.as_ref().unwrap().contains("flags = NOLIBWRAP"));
    let flagged = stream("s1", 2000, "\tflags = NOLIBWRAP\n").replace("wait = no", "wait = yes");
    assert_eq!(names(&with_rules(flagged)), ["s1"]);
    assert_eq!(
        names(&with_rules(stream("s1", 2000, "\tflags = SENSOR\n"))),
        ["s1"],
        "it refuses everybody anyway"
    );
    assert!(!service("").nolibwrap, "rules may come while it is served");
}

#[test]
fn bind_must_fit_its_flag() {
    assert!(left_out("\tflags = IPv6\n\tbind = 127.0.0.1\n").contains("IPv6"));
    assert!(left_out("\tflags = IPv4\n\tbind = ::1\n").contains("IPv4"));
    assert_eq!(service("\tflags = IPv4 IPv6\n\tbind = 127.0.0.1\n").listen.family, crate::FamilyFlag::V4);
}

#[test]
fn groups_need_a_known_user() {
    let numeric = |uid: &str| stream("s1", 2000, "\tgroups = yes\n").replace("nobody", uid);
    assert_eq!(codes(&reading(numeric("54321"))), ["groups-without-user"]);
    assert_eq!(reading(numeric("1000")).services[0].ids.groups, [1000, 100]);
}

#[test]
fn a_log_needs_its_directory() {
    let reading = reading(stream("s1", 2000, "\tlog_type = FILE /var/log/none/x\n"));
    assert_eq!((names(&reading), codes(&reading)), (vec![], vec!["log-directory"]));
    assert_eq!(
        log(&reading),
        ["Error: creation of s1 log failed", "Error: Service s1 failed to start and is deactivated."]
    );
    let defaults = "defaults\n{\n\tlog_type = FILE /var/log/none/x\n}\n";
    let shared = super::reading(format!("{defaults}{}{}", stream("s1", 2000, ""), stream("s2", 2001, "")));
    assert_eq!(
        log(&shared),
        [
            "Error: creation of default log failed",
            "Error: Service s1 failed to start and is deactivated.",
            "Error: Service s2 failed to start and is deactivated.",
        ]
    );
}

#[test]
fn programs_are_absolute_executable_and_no_directories() {
    let mut host = FakeHost::debian();
    host.programs.insert("/var/log".into());
    host.programs.insert("bin/sh".into());
    for (server, code) in
        [("/var/log", "server-is-directory"), ("bin/sh", "relative-path"), ("/bin/nosuch", "not-executable")]
    {
        let reading = reading_on(host.clone(), stream("s1", 2000, "").replace("/bin/sh", server));
        assert_eq!(codes(&reading), [code]);
        assert_eq!(
            log(&reading)[0],
            format!("Error: Server {server} is not executable [file=/etc/xinetd.conf] [line=9]")
        );
    }
}

#[test]
fn a_built_in_named_sensor_needs_the_flag() {
    let text =
        "service sensor\n{\n\ttype = INTERNAL UNLISTED\n\tport = 5\n\tsocket_type = stream\n\twait = no\n}\n";
    assert_eq!(codes(&reading(text)), ["sensor-name"]);
    assert_eq!(names(&reading(text.replace("wait", "flags = SENSOR\n\twait"))), ["sensor"]);
}

#[test]
fn numbers_that_do_not_fit_are_not_wrapped() {
    for line in ["instances = 4294967297", "cps = 4294967297 1", "nice = 99999999999", "deny_time = -7"] {
        assert!(!left_out(&format!("\t{line}\n")).is_empty(), "{line}");
    }
    assert!(!left_out("\tlog_type = FILE relative\n").is_empty());
    assert!(!left_out("\tonly_from = 1.2.3.4.{5}\n").is_empty(), "xinetd shifts by a negative count");
}

#[test]
fn intercept_is_ignored() {
    let intercept = reading(waiting("\tflags = INTERCEPT\n"));
    assert_eq!((names(&intercept), codes(&intercept)), (vec!["s1"], vec!["flag-ignored"]));
    let cleared = reading(stream("s1", 2000, "\tflags = INTERCEPT\n"));
    assert_eq!(log(&cleared), ["Error: Multi-threaded services cannot be intercepted: s1"]);
}

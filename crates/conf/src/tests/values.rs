//! Reference xinetd §2.1: each attribute's values, bounds, and xinetd's message for a bad one.

use super::{codes, left_out, log, reading, service, stream, with_line};
use crate::{
    Action, Classic, DenyTime, Level, LogType, OnRemove, Overload, ProxyProtocol, ProxyVersion, Stop, Verify,
};

/// xinetd's messages for a line of a service, without places.
fn complaints(line: &str) -> Vec<(Level, String)> {
    let reading = reading(with_line(line));
    let bare =
        |line: &Classic| (line.level, line.text.split(" [file=").next().unwrap_or_default().to_owned());
    reading.log.iter().map(bare).collect()
}

#[test]
fn bad_values_are_told_in_xinetds_words_and_drop_the_service() {
    for (line, message) in [
        ("type = BOGUS", "Bad service type: BOGUS"),
        ("flags = DISABLE", "Bad service flag: DISABLE"),
        ("nice = x", "Error parsing: x"),
        ("instances = -1", "Number of instances is invalid: -1"),
        ("per_source = 5x", "Number of per source instances is invalid: 5x"),
        ("cps = x 1", "cps argument not a number"),
        ("cps = 1 x", "cps time argument not a number"),
        ("cps = -5 10", "cps arguments invalid"),
        ("max_load = 0", "error parsing max_load argument"),
        ("max_load = x", "error reading max_load argument"),
        ("max_load = inf", "error reading max_load argument"),
        ("max_load = nan", "error reading max_load argument"),
        ("umask = 8", "umask argument is invalid."),
        ("umask = 1000", "umask argument is invalid."),
        ("rlimit_as = 1G", "Address space limit is invalid: 1G"),
        ("rlimit_as = xM", "Address space limit is invalid: x"),
        ("rlimit_cpu = 10M", "CPU limit is invalid: 10M"),
        ("rlimit_data = x", "Data limit is invalid: x"),
        ("rlimit_rss = x", "RSS limit is invalid: x"),
        ("rlimit_stack = -1", "Stack limit is invalid: -1"),
        ("rlimit_files = x", "Max files limit is invalid: x"),
        ("v6only = x", "Bad value for v6only: x"),
        ("deny_time = x", "Error parsing: x"),
        ("access_times = 22:00-02:00", "invalid time interval: 22:00-02:00"),
        ("access_times = 00:00-24:00", "invalid time interval"),
        ("access_times = x", "incorrect time interval"),
        ("bind = nohost.invalid", "bad address"),
        ("groups = x", "Bad value for groups: x"),
        ("group = ghost", "Unknown group: ghost"),
        ("group = 4294967295", "Error parsing group as a number: 4294967295"),
        ("log_type = FILE", "wrong number of arguments"),
        ("log_type = BOGUS x", "Unknown log type: BOGUS"),
        ("log_type = SYSLOG nosuch", "Unknown syslog facility: nosuch"),
        ("log_type = SYSLOG daemon nosuch", "Unknown syslog level: nosuch"),
        ("log_type = FILE /var/log/x y", "soft limit is invalid"),
        ("log_type = FILE /var/log/x 1 y", "hard limit is invalid"),
        ("log_type = FILE /var/log/x 9 8", "hard limit (8) is less than soft limit (9)"),
        ("log_on_failure = RECORD", "Bad log_on_failure flag: RECORD"),
        ("log_on_success = FOO", "Bad log_on_success flag: FOO"),
        ("env = A", "A has no '='"),
        ("env -= A=1", "operator '-=' not supported for env attribute"),
        ("redirect = 127.0.0.1 70000", "port number too large"),
        ("redirect = 127.0.0.1 nosuch", "port number invalid"),
        ("redirect = nohost.invalid 80", "bad address"),
        (
            "redirect = 127.0.0.1 80 localhost",
            "attribute redirect expects 2 values and 3 values were specified",
        ),
        ("redirect = 127.0.0.1 80 localhost nosuch", "port number invalid"),
        ("rpc_version = 3-1", "bad version range: 3"),
        ("rpc_number = x", "Error parsing: x"),
    ] {
        let name = line.split(' ').next().unwrap();
        let texts: Vec<String> = complaints(line).into_iter().map(|(_, text)| text).collect();
        let disabling = format!("Error parsing attribute {name} - DISABLING SERVICE");
        assert_eq!(texts, [message, &disabling, "removing s1"], "{line}");
    }
}

#[test]
fn lists_of_words_complain_as_warnings() {
    for line in
        ["type = BOGUS", "flags = BOGUS", "log_on_success = BOGUS", "log_on_failure = BOGUS", "env -= A=1"]
    {
        assert_eq!(complaints(line)[0].0, Level::Warning, "{line}");
    }
    for line in ["type =", "flags =", "server_args =", "log_type =", "access_times ="] {
        let name = line.trim_end_matches(" =");
        let text = format!("attribute {name} expects at least 1 value and none was given.");
        assert_eq!(complaints(line)[0], (Level::Warning, text));
    }
}

#[test]
fn lines_that_are_void_leave_the_service() {
    for (line, message) in [
        ("foo = 1", "bad service attribute: foo"),
        ("port = 5", "Service s1: attribute already set: port"),
        ("nice += 5", "Service s1: operator '+=' cannot be used for attribute 'nice'"),
        ("nice -= 5", "Service s1: operator '-=' cannot be used for attribute 'nice'"),
        ("nice =", "attribute nice expects 1 values and 0 values were specified"),
        ("cps = 1 2 3", "attribute cps expects 2 values and 3 values were specified"),
        ("passenv = GHOST", "undefined environment variable: GHOST"),
        ("only_from = nohost.invalid 10.0.0.1", "failed to parse nohost.invalid"),
    ] {
        let reading = reading(stream("s1", 2000, &format!("\t{line}\n")));
        assert_eq!(reading.services.len(), 1, "{line}");
        assert!(
            log(&reading)[0].contains(&format!(": {message} [file=/etc/xinetd.conf] [line=10]")),
            "{line}"
        );
    }
}

#[test]
fn numbers_limits_and_sizes() {
    let service = service(
        "\tinstances = unlimited\n\tper_source = 0\n\tcps = 0 0\n\tnice = -5\n\tumask = 002\n\tmax_load = 99.5x\n\
         \trlimit_as = 512M\n\trlimit_cpu = UNLIMITED\n\trlimit_stack = 0\n\trlimit_files = 1k\n",
    );
    assert_eq!((service.limits.instances.value, service.limits.per_source.value), (None, Some(0)));
    assert_eq!((service.limits.cps.value, service.nice, service.umask), ((0, 0), Some(-5), Some(2)));
    assert_eq!(service.max_load.clone().unwrap().value, 99.5);
    assert_eq!(service.rlimits.address_space, Some(Some(512 << 20)));
    assert_eq!(service.rlimits.cpu_seconds, Some(None));
    assert_eq!(service.rlimits.stack, None, "0 is how xinetd marks a limit that is not set");
    assert_eq!(service.rlimits.files, Some(Some(1024)));
}

#[test]
fn what_holds_where_nothing_is_set() {
    let service = service("");
    assert_eq!(
        (service.limits.instances.value, service.limits.per_source.value, service.limits.cps.value),
        (None, None, (50, 10))
    );
    assert_eq!((service.per_source_prefix.value, service.overload.value), ((32, 64), Overload::Fair));
    assert_eq!(
        (service.deny_time.value, service.on_remove, service.stop),
        (DenyTime::Never, OnRemove::Kill, None)
    );
    assert_eq!(
        (service.log_type.clone(), service.environment.clone(), service.passenv.clone()),
        (LogType::None, None, None)
    );
    assert_eq!((service.id.as_str(), service.wrap_name.as_str(), service.nolibwrap), ("s1", "sh", false));
    assert_eq!((service.limits.cps.place.clone(), service.nice, service.umask), (None, None, None));
}

#[test]
fn our_own_attributes() {
    let service = service(
        "\tper_source_prefix = 24 56\n\toverload = close\n\ton_remove = DRAIN\n\tstop = leave\n\tidle_timeout = 60\n",
    );
    assert_eq!((service.per_source_prefix.value, service.overload.value), ((24, 56), Overload::Close));
    assert_eq!(
        (service.on_remove, service.stop, service.idle_timeout),
        (OnRemove::Drain, Some(Stop::Leave), 60)
    );
    for line in
        ["per_source_prefix = 33 64", "overload = slow", "on_remove = drian", "stop = x", "idle_timeout = 0"]
    {
        let reading = reading(stream("s1", 2000, &format!("\t{line}\n")));
        assert_eq!((reading.services.len(), codes(&reading)), (0, vec!["bad-value"]), "{line}");
    }
}

#[test]
fn a_program_is_verified_where_that_is_written_and_nowhere_for_a_misspelling() {
    assert_eq!(service("").verify, Verify::No);
    assert_eq!(service("\tverify_server = REFUSE\n").verify, Verify::Refuse);
    let defaults = "defaults\n{\n\tverify_server = warn\n\ttrusted_programs = /x/list\n}\n";
    let read = reading(format!("{defaults}{}", stream("s1", 2000, "")));
    assert_eq!(read.services.first().map(|service| service.verify), Some(Verify::Warn));
    assert_eq!(read.settings.trusted_programs.as_deref(), Some("/x/list"));
    let read = reading(format!("{defaults}{}", stream("s1", 2000, "\tverify_server = no\n")));
    assert_eq!(read.services.first().map(|service| service.verify), Some(Verify::No));
    for (line, code) in [
        ("verify_server = refues", "bad-value"),
        ("verify_serve = refuse", "verify-void"),
        ("verify = refuse", "verify-void"),
        ("verify_server =", "verify-void"),
    ] {
        let read = reading(stream("s1", 2000, &format!("\t{line}\n")));
        assert_eq!((read.services.len(), codes(&read)), (0, vec![code]), "{line}");
    }
    let read = reading(stream("s1", 2000, "\tserver = /usr/sbin/tcpd\n\tverify_server = warn\n"));
    assert!(codes(&read).contains(&"without-effect"), "{:?}", codes(&read));
}

#[test]
fn proxy_protocol_has_a_direction_and_a_form() {
    let read = |value: &str| {
        let lines = format!("\tredirect = 192.0.2.7 80\n\tproxy_protocol = {value}\n");
        reading(stream("s1", 2000, &lines))
    };
    for (value, version) in [
        ("send", ProxyVersion::V1),
        ("SEND v1", ProxyVersion::V1),
        ("send v2", ProxyVersion::V2),
        ("v2 send", ProxyVersion::V2),
        ("send v2 # binary", ProxyVersion::V2),
    ] {
        let wanted = Some(ProxyProtocol { accept: false, send: Some(version) });
        assert_eq!(read(value).services[0].proxy_protocol, wanted, "{value}");
    }
    for (value, code) in [
        ("v2", "bad-value"),
        ("accept v2", "bad-value"),
        ("send both", "bad-value"),
        ("send v1 v2", "bad-value"),
        ("sned", "bad-value"),
        ("", "bad-value"),
    ] {
        assert_eq!(codes(&read(value)), [code], "{value}");
    }
    assert!(left_out("\tproxy_protocol = send\n").contains("no target to send a PROXY header to"));
}

#[test]
fn targets_are_bounded_and_differ() {
    let many = (1..=17).map(|n| format!("192.0.2.{n} 80")).collect::<Vec<_>>().join(" ");
    for (value, code) in [
        ("192.0.2.1 80 192.0.2.1 80", "bad-value"),
        (many.as_str(), "bad-value"),
        ("unix:x.sock", "bad-address"),
        ("unix:@x", "bad-address"),
        (&format!("/{}", "x".repeat(107)), "bad-address"),
    ] {
        assert_eq!(
            codes(&reading(stream("s1", 2000, &format!("\tredirect = {value}\n")))),
            [code],
            "{value}"
        );
    }
}

#[test]
fn deny_time_and_log_type() {
    for (text, time) in [
        ("FOREVER", DenyTime::Forever),
        ("-1", DenyTime::Forever),
        ("never", DenyTime::Never),
        ("0", DenyTime::Never),
        ("7", DenyTime::Minutes(7)),
    ] {
        assert_eq!(service(&format!("\tdeny_time = {text}\n")).deny_time.value, time);
    }
    let log_type = |text: &str| service(&format!("\tlog_type = {text}\n")).log_type.clone();
    assert_eq!(log_type("syslog AUTHPRIV"), LogType::Syslog { facility: 10 << 3, level: 6 });
    assert_eq!(log_type("SYSLOG local7 debug"), LogType::Syslog { facility: 23 << 3, level: 7 });
    let file = |soft, hard| LogType::File { path: "/var/log/x".into(), soft, hard };
    assert_eq!(log_type("FILE /var/log/x"), file(None, None));
    assert_eq!(log_type("FILE /var/log/x 1k"), file(Some(1024), Some(1024 + 5 * 1024)));
    assert_eq!(log_type("FILE /var/log/x 1M"), file(Some(1 << 20), Some((1 << 20) + (1 << 20) / 100)));
    assert_eq!(log_type("FILE /var/log/x 100M"), file(Some(100 << 20), Some((100 << 20) + 20 * 1024)));
    assert_eq!(log_type("FILE /var/log/x 1k 2k"), file(Some(1024), Some(2048)));
    assert_eq!(log_type("FILE /var/log/x 0"), file(None, None));
    assert_eq!(log_type("FILE /var/log/x 0 100"), file(None, None));
}

#[test]
fn ids_of_the_program() {
    let with = |lines: &str| {
        let text = stream("s1", 2000, lines).replace("\tuser = nobody\n", "");
        reading(text).services.remove(0).ids.clone()
    };
    let ids = with("\tuser = ctf\n");
    assert_eq!((ids.user.as_ref().unwrap().uid, ids.gid, ids.group_set), (1000, Some(1000), false));
    assert!(ids.groups.is_empty() && !ids.groups_yes, "no supplementary groups by default");
    let ids = with("\tuser = ctf\n\tgroup = root\n\tgroups = yes\n");
    assert_eq!((ids.gid, ids.group_set, ids.groups), (Some(0), true, vec![1000, 100]));
    let ids = with("\tuser = 12345\n");
    let user = ids.user.unwrap();
    assert_eq!((user.name.as_str(), user.uid, user.gid, ids.gid), ("12345", 12345, 12345, Some(12345)));
    assert_eq!(with("\tuser = 1000\n").user.unwrap().name, "ctf");
}

#[test]
fn the_environment_is_built_in_xinetds_order() {
    let pairs = |list: &[(&str, &str)]| {
        list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<Vec<_>>()
    };
    let plain = service("\tenv = A=1\n\tenv += B=2\n");
    assert_eq!(
        (plain.environment.clone(), plain.env_added.clone()),
        (None, pairs(&[("A", "1"), ("B", "2")]))
    );
    assert_eq!(service("\tenv = A=1\n\tenv = B=2\n").env_added, pairs(&[("B", "2")]));
    let passed = service("\tpassenv = PATH HOME\n\tenv = PATH=/x A=1\n");
    assert_eq!(passed.environment, Some(pairs(&[("PATH", "/x"), ("HOME", "/"), ("A", "1")])));
    assert_eq!(service("\tpassenv =\n").environment, Some(Vec::new()));
    assert_eq!(service("\tpassenv = PATH HOME\n\tpassenv -= path\n").passenv, Some(vec!["HOME".to_owned()]));
    assert_eq!(service("\tenv = A=1=2 =x\n").env_added, pairs(&[("A", "1=2"), ("", "x")]));
}

#[test]
fn log_flags_accumulate() {
    let log = service("\tlog_on_success = HOST pid\n\tlog_on_success += EXIT\n\tlog_on_success -= HOST\n")
        .log_success;
    assert!(log.pid && log.exit && !log.host && !log.duration);
    let log = service("\tlog_on_failure = HOST ATTEMPT\n\tlog_on_failure = USERID\n").log_failure;
    assert!(log.userid && !log.host && !log.attempt);
}

#[test]
fn nearest_words_are_named() {
    for (line, help) in [
        ("log_on_failer = HOST", "did you mean `log_on_failure`?"),
        ("flags = NODLAY", "did you mean `NODELAY`?"),
        ("log_type = SYSLOG deamon", "did you mean `daemon`?"),
        ("overload = clsoe", "did you mean `close`?"),
        ("protocol = tcp6", "write `tcp`, and `flags = IPv6` or `flags = IPv4`"),
        ("flags = DISABLE", "write `disable = yes`"),
    ] {
        let text = stream("s1", 2000, &format!("\t{line}\n")).replace("\tprotocol = tcp\n", "");
        let reading = reading(text);
        assert_eq!(reading.diagnostics[0].help.as_deref(), Some(help), "{line}");
    }
}

#[test]
fn redirects_of_datagrams() {
    let text = |socket: &str, wait: &str, more: &str| {
        format!(
            "service a\n{{\n\ttype = UNLISTED\n\tport = 5353\n\tsocket_type = {socket}\n\twait = {wait}\n\tuser = root\n{more}}}\n"
        )
    };
    let fine = reading(text("dgram", "yes", "\tredirect = 192.0.2.1 53 192.0.2.2 tftp\n"));
    assert_eq!(codes(&fine), [""; 0]);
    let service = &fine.services[0];
    assert_eq!(service.idle_timeout, 120);
    let Action::Redirect(targets) = &service.action else { panic!("{:?}", service.action) };
    assert_eq!(targets.iter().map(|t| t.to_string()).collect::<Vec<_>>(), ["192.0.2.1:53", "192.0.2.2:69"]);
    let local =
        text("dgram", "yes", "\tredirect = 192.0.2.1 53\n\tbind = /run/y\n").replace("\tport = 5353\n", "");
    assert_eq!(codes(&reading(local)), ["unix-socket"]);
    for (socket, wait, more, code) in [
        ("dgram", "yes", "\tredirect = /run/x\n", "flag-conflict"),
        ("dgram", "yes", "\tredirect = 192.0.2.1 53\n\tproxy_protocol = send\n", "flag-conflict"),
        ("dgram", "no", "\tredirect = 192.0.2.1 53\n", "no-wait-datagram"),
        ("stream", "yes", "\tredirect = 192.0.2.1 53\n", "flag-conflict"),
    ] {
        let refused = reading(text(socket, wait, more));
        assert_eq!(codes(&refused), [code], "{socket} {wait} {more}");
        assert!(refused.services.is_empty());
    }
}

#[test]
fn transparent_redirects() {
    let text = |more: &str| {
        format!(
            "service a\n{{\n\ttype = UNLISTED\n\tport = 80\n\tsocket_type = stream\n\twait = no\n\tuser = root\n{more}\ttransparent = yes\n}}\n"
        )
    };
    let fine = reading(text("\tredirect = 192.0.2.1 80\n"));
    assert_eq!(codes(&fine), ["transparent-routes"]);
    assert!(fine.services[0].transparent);
    for more in ["\tserver = /bin/sh\n", "\tredirect = 192.0.2.1 80 /run/x\n"] {
        let refused = reading(text(more));
        assert_eq!((codes(&refused), refused.services.len()), (vec!["flag-conflict"], 0), "{more}");
    }
    let datagrams =
        text("\tredirect = 192.0.2.1 53\n").replace("stream", "dgram").replace("wait = no", "wait = yes");
    assert_eq!(codes(&reading(datagrams)), ["flag-conflict"]);
}

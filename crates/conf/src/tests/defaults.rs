//! Reference xinetd §1.6, and what is fixed of it: the place of `defaults` does not matter.

use super::{FakeHost, codes, log, names, reading, reading_on, stream};
use crate::{Fatal, LogType, Service};
use std::rc::Rc;

const ALL: &str = "defaults\n{\n\tonly_from = 127.0.0.1\n\tbanner = /etc/b\n\tinstances = 3\n\tlog_on_success = HOST\n\
                   \tlog_type = SYSLOG daemon\n\tpassenv = PATH\n\tcps = 5 6\n\tgroups = yes\n\tumask = 077\n\
                   \tv6only = yes\n\tmax_load = 2.5\n\tper_source = 4\n\tbind = 127.0.0.1\n}\n";

#[test]
fn the_place_of_defaults_does_not_matter() {
    let service = stream("s1", 2000, "");
    let before = reading(format!("{ALL}{service}"));
    let after = reading(format!("{service}{ALL}"));
    let (a, b) = (&before.services[0], &after.services[0]);
    assert_eq!(a.limits.only_from.as_ref().unwrap().len(), b.limits.only_from.as_ref().unwrap().len());
    assert_eq!((&a.banner, &a.log_success, &a.passenv), (&b.banner, &b.log_success, &b.passenv));
    assert_eq!((&a.log_type, a.umask, &a.listen), (&b.log_type, b.umask, &b.listen));
    assert_eq!(
        (a.limits.cps.value, a.limits.instances.value, a.limits.per_source.value),
        ((5, 6), Some(3), Some(4))
    );
    assert_eq!(
        (b.limits.cps.value, b.limits.instances.value, b.limits.per_source.value),
        ((5, 6), Some(3), Some(4))
    );
    assert_eq!(a.max_load.clone().unwrap().value, b.max_load.clone().unwrap().value);
}

#[test]
fn a_late_defaults_is_told_where_xinetd_would_differ() {
    let late = |more: &str, line: &str| {
        let text = format!("{}defaults\n{{\n\t{line}\n}}\n", stream("s1", 2000, more));
        codes(&reading(text)).contains(&"defaults-late")
    };
    assert!(late("", "only_from = 10.0.0.1"));
    assert!(late("\tonly_from += 10.0.0.2\n", "only_from = 10.0.0.1"));
    assert!(!late("\tonly_from = 10.0.0.2\n", "only_from = 10.0.0.1"));
    assert!(late("", "banner = /etc/passwd"));
    assert!(!late("\tbanner = /etc/group\n", "banner = /etc/passwd"));
    assert!(!late("", "instances = 5"), "applied after reading by xinetd, too");
    assert!(!late("", "log_on_success = HOST"));
    assert!(late("\tlog_on_success += PID\n", "log_on_success = HOST"));
    let many: String = (0..5).map(|i| stream(&format!("s{i}"), 2000 + i, "")).collect();
    let reading = reading(format!("{many}defaults\n{{\n\tonly_from = 10.0.0.1\n}}\n"));
    let message = &reading.diagnostics.iter().find(|f| f.code == "defaults-late").unwrap().message;
    assert_eq!(
        message,
        "xinetd would not apply this `only_from` to `s0`, `s1`, `s2` and 2 more, which stand before it"
    );
}

#[test]
fn a_bad_value_is_fatal_and_ends_the_log_where_xinetd_exits() {
    let reading = reading(format!(
        "{}defaults\n{{\n\tinstances = x\n\tcps = y 1\n}}\n{}",
        stream("s1", 1, ""),
        stream("s2", 2, "\tfoo = 1\n")
    ));
    assert_eq!(reading.fatal, Some(Fatal::Defaults));
    assert_eq!(names(&reading), [""; 0], "nothing may be served with other limits than were meant");
    assert_eq!(reading.left_out.len(), 2);
    assert_eq!(
        log(&reading),
        [
            "Error: Number of instances is invalid: x [file=/etc/xinetd.conf] [line=13]",
            "Error: A fatal error was encountered while parsing the default section. xinetd will exit.",
        ]
    );
    assert_eq!(codes(&reading), ["bad-value", "bad-value", "unknown-attribute"], "people see all of it");
}

#[test]
fn one_defaults_in_a_file_and_one_more_in_each_included() {
    let mut host = FakeHost::debian();
    host.file("/etc/a", "defaults\n{\n\tinstances = 7\n\tonly_from = 10.0.0.2\n}\n");
    let text = "defaults\n{\n\tinstances = 3\n\tonly_from = 10.0.0.1\n}\ndefaults\n{\n\tcps = 1 1\n}\ninclude /etc/a\n";
    let reading = reading_on(host, format!("{text}{}", stream("s1", 2000, "")));
    let service = &reading.services[0];
    assert_eq!((service.limits.instances.value, service.limits.cps.value), (Some(3), (50, 10)));
    assert_eq!(service.limits.only_from.as_ref().unwrap().len(), 2, "lists accumulate");
    assert_eq!(
        log(&reading),
        [
            "Error: only 1 defaults entry is allowed. This entry will be ignored [file=/etc/xinetd.conf] [line=7]",
            "Debug: Reading included configuration file: /etc/a [file=/etc/xinetd.conf] [line=10]",
            "Warning: Service (null): attribute already set: instances [file=/etc/a] [line=3]",
        ]
    );
}

#[test]
fn a_set_in_defaults_adds() {
    let text = "defaults\n{\n\tonly_from = 10.0.0.1\n\tonly_from = 10.0.0.2\n\tonly_from -= 10.0.0.1\n}\n";
    let reading = reading(format!("{text}{}", stream("s1", 2000, "")));
    let list: Vec<&str> =
        reading.services[0].limits.only_from.iter().flatten().map(|entry| entry.text.as_str()).collect();
    assert_eq!(list, ["10.0.0.2"]);
}

#[test]
fn a_service_replaces_adds_or_removes() {
    let list = |more: &str| {
        let text = format!("defaults\n{{\n\tonly_from = 10.0.0.1 10.0.0.2\n}}\n{}", stream("s1", 2000, more));
        let reading = reading(text);
        let entries = reading.services[0].limits.only_from.clone().unwrap();
        entries.into_iter().map(|entry| entry.text).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(list(""), "10.0.0.1 10.0.0.2");
    assert_eq!(list("\tonly_from = 10.0.0.3\n"), "10.0.0.3");
    assert_eq!(list("\tonly_from += 10.0.0.3\n"), "10.0.0.1 10.0.0.2 10.0.0.3");
    assert_eq!(list("\tonly_from -= 10.0.0.1\n"), "10.0.0.2");
}

#[test]
fn what_has_no_meaning_there_is_ignored() {
    let reading = reading(format!("defaults\n{{\n\twait = no\n\tmdns = yes\n}}\n{}", stream("s1", 2000, "")));
    assert_eq!(names(&reading), ["s1"]);
    assert_eq!(
        log(&reading),
        [
            "Warning: attribute: wait should not be in default section [file=/etc/xinetd.conf] [line=3]",
            "Warning: attribute: mdns should not be in default section [file=/etc/xinetd.conf] [line=4]",
        ]
    );
    assert_eq!(codes(&reading), ["not-in-defaults", "unknown-attribute"]);
}

#[test]
fn enabled_and_disabled_go_by_id() {
    let with = |lines: &str| {
        let services = stream("a", 1, "") + &stream("b", 2, "\tid = bee\n") + &stream("c", 3, "\tnice = x\n");
        reading(format!("{services}defaults\n{{\n{lines}}}\n"))
    };
    assert_eq!(names(&with("\tenabled = A nobody\n")), ["a"]);
    assert_eq!(names(&with("\tenabled = bee c\n")), ["b"], "a broken one is not revived");
    assert_eq!(names(&with("\tdisabled = bee\n")), ["a"]);
    assert_eq!(names(&with("\tdisabled = b\n")), ["a", "b"]);
    assert_eq!(names(&with("\tenabled = a bee\n\tdisabled = a\n")), ["b"]);
    let reading = with("\tenabled = bee\n");
    let intended: Vec<bool> = reading.left_out.iter().map(|left| left.intended).collect();
    assert_eq!(intended, [true, true]);
    let removing: Vec<String> = log(&reading).into_iter().filter(|line| line.starts_with("Debug")).collect();
    assert_eq!(removing, ["Debug: removing a", "Debug: removing c"]);
}

#[test]
fn two_log_types_are_fatal_there_only() {
    let two = "\tlog_type = SYSLOG daemon\n\tlog_type = FILE /var/log/x\n";
    assert_eq!(reading(format!("defaults\n{{\n{two}}}\n")).fatal, Some(Fatal::Defaults));
    let service = super::service(two);
    assert_eq!(service.log_type, LogType::Syslog { facility: 24, level: 6 });
}

#[test]
fn the_dump_shows_them_as_xinetd_does() {
    let lines = |text: &str| reading(text).settings.dump;
    assert_eq!(
        lines(""),
        ["Bind = All addresses.", "Only from: All sites", "No access: No blocked sites", "No logging"]
    );
    let text = "defaults\n{\n\tinstances = 7\n\tonly_from = 127.0.0.0 localhost 10.0.0.0/8\n\tlog_type = FILE /var/log/x 10k\n\
                \tlog_on_success = PID HOST\n\tumask = 022\n\tcps = 1 2\n\tper_source = UNLIMITED\n\tpassenv = PATH\n}\n";
    assert_eq!(
        lines(text),
        [
            "Instances = 7",
            "umask = 22",
            "CPS = max conn:1 wait:2",
            "PER_SOURCE = -1",
            "Bind = All addresses.",
            "Only from:  127.0.0.0(NUMERIC) localhost(HOST) 10.0.0.0/255.0.0.0(NET)",
            "No access: No blocked sites",
            "Logging to file: /var/log/x (soft=10240 hard=15360)",
            "Log_on_success flags = HOST PID",
            "Log_on_failure flags =",
            "Passenv = PATH",
        ]
    );
}

#[test]
fn what_services_say_alike_they_have_in_common_with_its_places() {
    let three = |defaults: &str| {
        let own = stream("s3", 2002, "\tinstances = 3\n\tnice = 5\n\tflags = KEEPALIVE\n");
        reading(format!("{defaults}{}{}{own}", stream("s1", 2000, ""), stream("s2", 2001, ""))).services
    };
    let limited = three(ALL);
    assert!(Rc::ptr_eq(&limited[0].limits, &limited[1].limits));
    assert_eq!(limited[0].limits, limited[2].limits);
    assert_ne!(limited[0].limits.instances.place, limited[2].limits.instances.place);
    let plain = three("");
    assert!(Rc::ptr_eq(&plain[0].usual, &plain[1].usual));
    assert!(Rc::ptr_eq(&plain[0].listen.how, &plain[1].listen.how));
    assert_eq!((plain[1].nice, plain[2].nice), (None, Some(5)));
    assert_eq!((plain[1].listen.keepalive, plain[2].listen.keepalive), (false, true));
    assert!(size_of::<Service>() <= 160, "{}", size_of::<Service>());
}

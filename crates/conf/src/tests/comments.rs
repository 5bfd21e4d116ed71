//! Trailing comments: where `#` starts one, where it is an ordinary word, and that both are told.

use super::{codes, reading, service, stream};
use crate::{Action, Severity};

#[test]
fn behind_a_value_of_a_bounded_attribute_a_comment_is_one() {
    let service = service(
        "\tper_source = 10 # the maximum instances of this service per source\n\trlimit_cpu = 20\t#seconds\n\
         \tcps = 25 30 # slow\n\tinstances = 60 ## many\n\tlog_type = SYSLOG daemon info # not a file\n\
         \tflags = NODELAY # fast\n\taccess_times = 8:00-17:00 # office\n",
    );
    assert_eq!(service.limits.per_source.value, Some(10));
    assert_eq!(service.rlimits.cpu_seconds, Some(Some(20)));
    assert_eq!((service.limits.cps.value, service.limits.instances.value), ((25, 30), Some(60)));
    assert!(service.listen.nodelay);
    assert_eq!(service.access_times.clone().unwrap().value.len(), 1);
}

#[test]
fn it_is_told_and_named() {
    let reading = reading(stream("s1", 2000, "\tper_source = 10 # max\n"));
    let finding = &reading.diagnostics[0];
    assert_eq!((finding.code, finding.severity), ("trailing-comment", Severity::Warning));
    assert_eq!(finding.place.as_ref().unwrap().column, 18);
    assert_eq!(finding.message, "xinetd ignores this line because of the comment; here `per_source` is `10`");
}

#[test]
fn disable_yes_with_a_comment_switches_off() {
    let reading = reading(stream("s1", 2000, "\tdisable = yes # for now\n\tnice = x\n"));
    assert!(reading.left_out[0].intended);
    assert_eq!(codes(&reading), ["trailing-comment"]);
}

#[test]
fn only_directly_behind_the_values() {
    // Otherwise the number of values is wrong with and without the comment.
    let reading = reading(stream("s1", 2000, "\tnice = 5 6 # x\n\tcps = 5 # 6\n\tumask = 022# x\n"));
    assert_eq!(codes(&reading), ["wrong-count"; 3]);
    assert_eq!(reading.services[0].nice, None);
    assert_eq!(
        super::log(&reading)[0],
        "Warning: attribute nice expects 1 values and 4 values were specified [file=/etc/xinetd.conf] [line=10]"
    );
    assert_eq!(service("\tid = #1\n").id, "#1", "a value is no comment");
}

#[test]
fn arguments_and_environment_keep_it() {
    let reading = reading(stream("s1", 2000, "\tserver_args = -v # loud\n\tenv = A=#1 #B=2\n"));
    let Action::External { argv, .. } = &reading.services[0].action else { panic!() };
    assert_eq!(argv, &["sh", "-v", "#", "loud"]);
    assert_eq!(reading.services[0].env_added[1], ("#B".to_owned(), "2".to_owned()));
    assert_eq!(codes(&reading), ["hash-in-arguments", "hash-in-arguments"]);
}

#[test]
fn lists_keep_xinetds_reading_and_say_what_takes_effect() {
    let reading = reading(stream("s1", 2000, "\tonly_from = 10.0.0.1 # was 10.0.0.2\n"));
    let list: Vec<&str> =
        reading.services[0].limits.only_from.iter().flatten().map(|entry| entry.text.as_str()).collect();
    assert_eq!(list, ["10.0.0.1", "10.0.0.2"]);
    let finding = reading.diagnostics.iter().find(|finding| finding.code == "hash-in-list").unwrap();
    assert_eq!(finding.severity, Severity::Error);
    assert!(
        finding.message.contains("what takes effect in `only_from` is `10.0.0.1 10.0.0.2`"),
        "{}",
        finding.message
    );
    assert_eq!(
        super::log(&reading)[..2],
        [
            "Error: failed to parse # [file=/etc/xinetd.conf] [line=10]",
            "Error: failed to parse was [file=/etc/xinetd.conf] [line=10]",
        ]
    );
    assert!(super::left_out("\tlog_on_success = HOST # x\n").contains("`#`"));
}

#[test]
fn ids_behind_a_hash_are_ids() {
    let reading = reading(format!(
        "defaults\n{{\n\tenabled = s1 # s2\n}}\n{}{}",
        stream("s1", 1, ""),
        stream("s2", 2, "")
    ));
    assert_eq!(super::names(&reading), ["s1", "s2"]);
    assert!(codes(&reading).contains(&"hash-in-list"));
}

//! The resolver answers every question from behind its walls, and tells a negative answer from none.

use crate::hired::Hired;
use crate::skip::{Reason, skip};
use crate::{has_namespaces, zone};
use portreeve_workers::protocol::{
    Answer, Family, FromResolver, NamesAnswer, Question, Referee, ToResolver, Worker,
};
use std::process::Command;

pub(crate) fn a_confined_resolver_answers_everything() {
    let worker = Hired::new(Worker::Resolver);
    let mut referee = Referee::new(Worker::Resolver);
    assert!(matches!(referee.from_resolver(&worker.hear()), Ok(FromResolver::Ready { .. })));
    let ask = |question: &ToResolver| {
        let mut bytes = Vec::new();
        question.encode(&mut bytes).unwrap();
        worker.send(&bytes, None);
        referee.clone().from_resolver(&worker.hear()).unwrap()
    };
    let lookup = |question| match ask(&ToResolver::Lookup { ticket: 5, question }) {
        FromResolver::Answer { ticket: 5, answer } => answer,
        other => panic!("{other:?}"),
    };
    let root = Answer::User { name: "root".into(), uid: 0, gid: 0 };
    assert_eq!(lookup(Question::User("root".into())), root);
    assert_eq!(lookup(Question::UserById(0)), root);
    assert_eq!(lookup(Question::User("no-such-user".into())), Answer::NotFound);
    assert_eq!(lookup(Question::Group("root".into())), Answer::Group(0));
    match lookup(Question::GroupsOf("root".into(), 0)) {
        Answer::Groups(groups) => assert!(groups.contains(&0)),
        other => panic!("{other:?}"),
    }
    assert_eq!(lookup(Question::ServicePort("no-such-service".into(), "tcp".into())), Answer::NotFound);
    if std::path::Path::new("/etc/protocols").exists() {
        assert_eq!(lookup(Question::Protocol("udp".into())), Answer::Protocol(17));
        assert_eq!(lookup(Question::ServicePort("telnet".into(), "tcp".into())), Answer::Port(23));
    } else {
        skip(Reason::absent("netbase"));
    }
    let _ = (lookup(Question::RpcNumber("portmapper".into())), lookup(Question::Network("loopback".into())));
    match lookup(Question::Addresses("localhost".into(), Family::Any)) {
        Answer::Addresses(list) => assert!(list.iter().all(std::net::IpAddr::is_loopback)),
        other => panic!("{other:?}"),
    }
    match ask(&ToResolver::Reverse { ticket: 6, address: [127, 0, 0, 1].into() }) {
        FromResolver::Names { ticket: 6, names: NamesAnswer::Known(names) } => assert!(names.len() <= 1),
        other => panic!("{other:?}"),
    }
    // No name server may be reachable here: then it is "unavailable", and a slow "no" elsewhere. Never a crash.
    let _ = lookup(Question::Addresses("no-such-host.invalid".into(), Family::V4));
    worker.dismiss();
}

pub(crate) fn a_confined_resolver_asks_dns_and_tells_no_from_nobody() {
    if !has_namespaces() {
        return;
    }
    let conf = std::env::temp_dir().join(format!("portreeve-resolv-{}", std::process::id()));
    std::fs::write(&conf, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n").unwrap();
    // Where there is no such file, libc asks the same address.
    let script = "ip link set lo up && { [ ! -e /etc/resolv.conf ] || mount --bind \"$1\" /etc/resolv.conf; } \
                  && exec \"$0\" --child dns";
    let ended = Command::new("unshare")
        .args(["-n", "-m", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .arg(&conf)
        .status();
    let _ = std::fs::remove_file(&conf);
    assert!(ended.unwrap().success());
}

/// The child of that test, beside the name server.
pub(crate) fn dns_answers() {
    let worker = Hired::new(Worker::Resolver);
    let mut referee = Referee::new(Worker::Resolver);
    assert!(matches!(referee.from_resolver(&worker.hear()), Ok(FromResolver::Ready { .. })));
    let names = |last: u8| {
        let mut bytes = Vec::new();
        let address = [192, 0, 2, last].into();
        ToResolver::Reverse { ticket: u64::from(last), address }.encode(&mut bytes).unwrap();
        worker.send(&bytes, None);
        match referee.clone().from_resolver(&worker.hear()).unwrap() {
            FromResolver::Names { ticket, names } if ticket == u64::from(last) => names,
            other => panic!("{other:?}"),
        }
    };
    let none = NamesAnswer::Known(Vec::new());
    assert_eq!(names(zone::HONEST), NamesAnswer::Known(vec!["honest.example".into()]));
    assert_eq!(names(zone::LIAR), none, "its name leads elsewhere");
    assert_eq!(names(zone::NAMELESS), none, "a true negative");
    assert_eq!(names(zone::FAILING), NamesAnswer::Unavailable, "the server fails");
    assert_eq!(names(zone::SILENT), NamesAnswer::Unavailable, "nobody answers");
    worker.dismiss();
}

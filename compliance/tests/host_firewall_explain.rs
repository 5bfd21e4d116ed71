//! `portreeve explain PORT/PROTOCOL ADDRESS` beside what a client really gets: bans, the host firewall, other tables, ports that are sent
//! elsewhere, and the daemon's own checks. And what `firewall plan` says of ports that bypass it.

use portreeve_compliance::client::dial_to;
use portreeve_compliance::house::House;
use portreeve_compliance::neighbour::HERE;
use portreeve_compliance::skip::has_programs;
use portreeve_compliance::wait::must;
use portreeve_compliance::{Config, Daemon, Entry, World, ours};
use serde_json::Value;
use std::net::TcpListener;
use std::time::Duration;

const ONE: &str = "10.7.0.2";
const OTHER: &str = "10.7.0.3";

fn explain(house: &House<'_>, daemon: &Daemon<'_>, port: &str, from: &str) -> (String, Vec<Value>) {
    assert!(daemon.pid > 0);
    let said = house
        .shell(&format!("exec {} explain {port} {from} --json --control /run/w/control", house.program()));
    let answer: Value =
        serde_json::from_str(&said.text).unwrap_or_else(|error| panic!("{error}: {}", said.text));
    let verdict = answer["verdict"].as_str().unwrap_or_default().to_owned();
    assert_eq!(said.code, i64::from(verdict != "admit"), "{answer}");
    (verdict, answer["stages"].as_array().cloned().unwrap_or_default())
}

/// The stage that has this outcome.
fn stage<'a>(stages: &'a [Value], outcome: &str) -> &'a Value {
    stages
        .iter()
        .find(|stage| stage["outcome"] == outcome)
        .unwrap_or_else(|| panic!("no {outcome}: {stages:#?}"))
}

fn name(stage: &Value) -> &str {
    stage["name"].as_str().unwrap_or_default()
}

/// Whether a client from there is served by the service at this port.
fn served(house: &House<'_>, from: &str, port: u16) -> bool {
    house.next.within(|| {
        dial_to(from, HERE, port, Duration::from_millis(600))
            .is_ok_and(|mut connection| connection.read_all().bytes == b"served\n")
    })
}

#[test]
fn what_is_explained_is_what_a_client_gets() {
    if !has_programs(&["nft", "ssh", "sshd", "ssh-keygen", "iptables"]) {
        return;
    }
    ours(|world: &World| {
        let house = House::new(world, &[ONE, OTHER]);
        let config = Config::new()
            .with(Entry::program("s1", 2003).set("only_from", "10.7.0.0/24"))
            .with(Entry::program("s2", 2004).set("no_access", OTHER))
            .with(Entry::program("s3", 2005).set("access_times", "00:00-00:01"));
        let daemon = world.start(&config);
        let stranger = TcpListener::bind((HERE, 2100)).expect("a port that is not ours");
        let agree = |port: u16, from: &str| {
            let (verdict, stages) = explain(&house, &daemon, &format!("{port}/tcp"), from);
            assert_eq!(served(&house, from, port), verdict == "admit", "{port} from {from}: {stages:#?}");
            (verdict, stages)
        };
        // Without any rule the daemon decides.
        assert_eq!(agree(2003, ONE).0, "admit");
        let (verdict, stages) = agree(2004, OTHER);
        assert_eq!((verdict.as_str(), name(stage(&stages, "refuse"))), ("refuse", "no_access"));
        let (_, stages) = explain(&house, &daemon, "2005/tcp", ONE);
        {
            let hours = stages.iter().find(|stage| name(stage) == "access_times").expect("the hours");
            assert!(hours["detail"].as_str().is_some_and(|text| !text.is_empty()), "{stages:#?}");
        }
        let (verdict, stages) = explain(&house, &daemon, "9/tcp", ONE);
        assert_eq!((verdict.as_str(), name(stage(&stages, "none"))), ("refuse", "listener"));
        assert_eq!(explain(&house, &daemon, "2100/tcp", ONE).0, "admit");

        // The host firewall, made from the very configuration.
        world.write("portreeve.toml", format!("[firewall]\nmanagement = [\"{ONE}\"]\n"));
        let options = "--file /run/w/xinetd.conf --settings /run/w/portreeve.toml --control /run/w/control";
        let applied = house.portreeve(&format!("apply {options} --probe true"));
        assert_eq!(applied.code, 0, "{applied:?}");
        assert_eq!(agree(2003, ONE).0, "admit");
        let (verdict, stages) = agree(2004, OTHER);
        let refused = stage(&stages, "refuse");
        assert!(
            verdict == "refuse" && name(refused).starts_with("host firewall (inet portreeve_host"),
            "{stages:#?}"
        );
        assert!(
            stages.iter().any(|stage| name(stage) == "no_access" && stage["outcome"] == "not reached"),
            "{stages:#?}"
        );
        let (_, stages) = agree(2004, ONE);
        let by = stages.iter().find(|stage| name(stage).starts_with("host firewall")).expect("a stage");
        assert!(
            by["detail"].as_str().is_some_and(|text| text.contains("s2 (") && text.contains("xinetd.conf:")),
            "{by}"
        );
        let (verdict, stages) = explain(&house, &daemon, "2100/tcp", ONE);
        assert!(
            verdict == "refuse" && name(stage(&stages, "refuse")).starts_with("host firewall"),
            "{stages:#?}"
        );
        assert_eq!(explain(&house, &daemon, "2222/tcp", ONE).0, "admit");
        assert_eq!(explain(&house, &daemon, "2222/tcp", OTHER).0, "refuse");
        drop(stranger);

        // A ban comes before it all.
        let ban: Value =
            serde_json::from_str(&daemon.control(&format!("ban {OTHER} 600 test"))).expect("JSON");
        assert_eq!(ban["ok"], true, "{ban}");
        must("the kernel has it", || daemon.status()["bans"]["enforced"] == 1);
        let (verdict, stages) = agree(2003, OTHER);
        assert_eq!(verdict, "refuse");
        assert!(name(stage(&stages, "refuse")).starts_with("bans (inet portreeve"), "{stages:#?}");
        let unban: Value = serde_json::from_str(&daemon.control("unban all")).expect("JSON");
        assert_eq!(unban["ok"], true);
        must("it is let in again", || served(&house, OTHER, 2003));

        // Somebody else's table.
        let foreign = "nft add table ip theirs; nft add chain ip theirs input '{ type filter hook input priority 10; policy accept; }'; \
                       nft add set ip theirs bad '{ type ipv4_addr; flags interval; elements = { 10.7.0.3/32 }; }'; \
                       nft add rule ip theirs input ip saddr @bad tcp dport 2000-2010 drop comment '\"not them\"'";
        assert_eq!(house.shell(foreign).code, 0);
        let (verdict, stages) = agree(2003, OTHER);
        let refused = stage(&stages, "refuse");
        assert_eq!((verdict.as_str(), name(refused)), ("refuse", "ip theirs input"));
        assert!(refused["detail"].as_str().is_some_and(|text| text.contains("not them")), "{refused}");
        assert_eq!(agree(2003, ONE).0, "admit");
        // What cannot be judged is said, not guessed.
        assert_eq!(
            house.shell("nft flush chain ip theirs input; nft add rule ip theirs input ip ttl 3 drop").code,
            0
        );
        let (verdict, stages) = explain(&house, &daemon, "2003/tcp", ONE);
        assert_eq!((verdict.as_str(), name(stage(&stages, "unclear"))), ("unclear", "ip theirs input"));
        assert_eq!(house.shell("nft delete table ip theirs").code, 0);

        // Ports that are sent elsewhere, as Docker publishes them: by iptables, and by nft itself.
        let docker = "iptables -t nat -N DOCKER && iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER && \
                      iptables -t nat -A DOCKER ! -i docker0 -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.7.0.2:80 && \
                      nft add table ip pods && nft add chain ip pods pre '{ type nat hook prerouting priority -99; }' && \
                      nft add rule ip pods pre tcp dport 8081 dnat to 10.7.0.2:81";
        assert_eq!(house.shell(docker).code, 0);
        let plan = house.portreeve(&format!("plan {options} --json"));
        let plan: Value = serde_json::from_str(&plan.text).expect("JSON");
        let bypass = plan["cut"]["bypass"].to_string();
        assert!(
            bypass.contains("tcp 8080") && bypass.contains("tcp 8081") && bypass.contains("10.7.0.2:81"),
            "{bypass}"
        );
        let (verdict, stages) = explain(&house, &daemon, "8081/tcp", OTHER);
        assert_eq!(verdict, "sent elsewhere", "{stages:#?}");
        assert!(stage(&stages, "sent")["detail"].as_str().is_some_and(|text| text.contains("10.7.0.2:81")));
        // addrtype of iptables is not told by nft: in doubt it may be sent.
        let (verdict, stages) = explain(&house, &daemon, "8080/tcp", OTHER);
        assert_eq!(verdict, "unclear", "{stages:#?}");
        assert!(
            stage(&stages, "may be sent")["detail"]
                .as_str()
                .is_some_and(|text| text.contains("xt by the rule")),
            "{stages:#?}"
        );
    });
}

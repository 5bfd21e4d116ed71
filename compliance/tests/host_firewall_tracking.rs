//! What connection tracking adds to the proof of a trial, over real logins: an entry from before the rules, translation, rules of
//! notrack, IPv6 with and without a scope, a server behind a dual-stack listener.

use portreeve_compliance::house::{House, SSH, Said};
use portreeve_compliance::skip::{Reason, has_programs, skip};
use portreeve_compliance::wait::must;
use portreeve_compliance::{World, ours};

const ONE: &str = "10.7.0.2";
const HERE: &str = "10.7.0.1";
const APPLY: &str = "apply --settings /run/w/portreeve.toml --no-wait --confirm-within 10m --force";
const ALONE: &str = "known from its socket alone";
/// A login from a port of its own.
const FROM_4000: &str = "-o \"ProxyCommand=socat - TCP:10.7.0.1:2222,sourceport=4000,reuseaddr\"";

fn house(management: &str, body: impl Fn(&House<'_>) + Sync) {
    if !has_programs(&["nft", "ssh", "sshd", "ssh-keygen", "socat", "conntrack", "ss"]) {
        return;
    }
    ours(|world: &World| {
        let house = House::new(world, &[ONE]);
        world.write("portreeve.toml", format!("[firewall]\nmanagement = [{management}]\n"));
        // Tracking is at work before there is a trial, as beside any other firewall.
        sh(
            &house,
            "nft add table inet strangers; nft add chain inet strangers input '{ type filter hook input priority -10; }'; \
                    nft add rule inet strangers input ct state established accept",
        );
        body(&house);
    });
}

fn sh(house: &House<'_>, line: &str) -> String {
    let said = house.shell(&format!("set -e; {line}"));
    assert_eq!(said.code, 0, "{line}: {said:?}");
    said.text
}

fn apply(house: &House<'_>) -> String {
    let applied = house.portreeve(APPLY);
    assert_eq!(applied.code, 0, "{applied:?}");
    let at =
        applied.text.split("firewall confirm ").nth(1).unwrap_or_else(|| panic!("no token: {applied:?}"));
    at.split_whitespace().next().expect("a word").to_owned()
}

/// What somebody is told who confirms over a login with these options at this place.
fn confirm(house: &House<'_>, options: &[&str], at: &str, token: &str) -> Said {
    let login = house.login(options, &format!("{} firewall confirm {token}", house.program()));
    house.shell(&login.replace(&format!("root@{HERE}"), &format!("root@{at}")))
}

/// Confirmed, with this note or with none.
fn confirmed(said: &Said, by: &str, note: Option<&str>) {
    assert!(
        said.code == 0 && said.text.contains(&format!("confirmed by a new connection from {by}")),
        "{said:?}"
    );
    match note {
        None => assert!(!said.text.contains("note:"), "{said:?}"),
        Some(note) => assert!(said.text.contains(note), "{said:?}"),
    }
}

fn refused(said: &Said, why: &str) {
    assert!(said.code == 2 && said.text.contains(why), "{said:?}");
}

/// Begins another trial, whatever became of the last one.
fn anew(house: &House<'_>) -> String {
    house.portreeve("rollback --if-pending");
    apply(house)
}

/// Lets nobody tell anybody that a connection is over: what tracking has of it stays.
const QUIET: &str = "nft add table inet quiet; nft add chain inet quiet out '{ type filter hook output priority -500; }'; \
                     nft add chain inet quiet in '{ type filter hook prerouting priority -500; }'; \
                     nft add rule inet quiet out tcp flags '&' '(rst|fin)' != 0 drop; nft add rule inet quiet in tcp flags '&' '(rst|fin)' != 0 drop";

/// Ends every connection of ssh at both of its ends, unseen.
fn vanish(house: &House<'_>) {
    sh(house, QUIET);
    for end in
        ["ss -K state established sport = :2222", "ip netns exec next ss -K state established dport = :2222"]
    {
        sh(house, &format!("{end} >/dev/null"));
    }
    must("no end is left", || {
        let of = |place: &str| {
            house
                .shell(&format!("{place} ss -Htn state established '( sport = :2222 or dport = :2222 )'"))
                .text
        };
        of("").is_empty() && of("ip netns exec next").is_empty()
    });
    sh(house, "nft delete table inet quiet");
}

#[test]
fn an_entry_from_before_the_rules_lets_nobody_confirm() {
    // The rules let nobody in: whoever comes in does by what tracking had.
    house("\"192.0.2.0/24\"", |house| {
        let entries = || sh(house, "conntrack -L -p tcp --dport 2222 2>/dev/null");
        let master = house.login(&["-M", "-S", "/run/w/master", "-N", "-f", FROM_4000], "");
        assert_eq!(house.shell(&master).code, 0);
        assert!(entries().contains("ESTABLISHED src=10.7.0.2 dst=10.7.0.1 sport=4000"), "{}", entries());
        let token = apply(house);
        assert_ne!(house.ssh(&[], "true").code, 0, "nobody else comes in");
        vanish(house);
        let again = confirm(house, &[FROM_4000], HERE, &token);
        refused(&again, "by an entry of connection tracking that was there before the rules were loaded");
        assert!(again.text.contains("held by sshd"), "{again:?}");
        // The entry without any connection when the rules are loaded: where the kernel keeps when it began.
        sh(
            house,
            "sysctl -qw net.netfilter.nf_conntrack_timestamp=1; conntrack -F 2>/dev/null; nft delete table inet portreeve_host",
        );
        house.portreeve("rollback");
        assert_eq!(
            house.shell(&house.login(&["-M", "-S", "/run/w/second", "-N", "-f", FROM_4000], "")).code,
            0
        );
        vanish(house);
        let token = apply(house);
        refused(&confirm(house, &[FROM_4000], HERE, &token), "before the rules were loaded");
    });
    // And where they let it in: another connection does, with times or without.
    house("\"10.7.0.2\"", |house| {
        for times in [0, 1] {
            sh(house, &format!("sysctl -qw net.netfilter.nf_conntrack_timestamp={times}"));
            assert_eq!(
                house.shell(&house.login(&["-M", "-S", "/run/w/master", "-N", "-f", FROM_4000], "")).code,
                0
            );
            let token = anew(house);
            vanish(house);
            refused(&confirm(house, &[FROM_4000], HERE, &token), "before the rules were loaded");
            confirmed(&confirm(house, &[], HERE, &token), ONE, None);
        }
    });
}

#[test]
fn untracked_connections_confirm_when_they_are_new() {
    house("\"10.7.0.2\"", |house| {
        sh(
            house,
            &format!(
                "nft add table inet raw; nft add chain inet raw in '{{ type filter hook prerouting priority raw; }}'; \
             nft add chain inet raw out '{{ type filter hook output priority raw; }}'; \
             nft add rule inet raw in tcp dport {SSH} notrack; nft add rule inet raw out tcp sport {SSH} notrack"
            ),
        );
        assert_eq!(house.shell(&house.login(&["-M", "-S", "/run/w/master", "-N", "-f"], "")).code, 0);
        let token = apply(house);
        let old = confirm(house, &["-S", "/run/w/master"], HERE, &token);
        refused(&old, "was there before the rules were loaded");
        assert_eq!(sh(house, "conntrack -L -p tcp 2>/dev/null"), "");
        confirmed(&confirm(house, &[], HERE, &token), ONE, Some(ALONE));
        // Only what comes in is untracked: tracking has what this host sends, as if it had begun it.
        sh(house, "nft flush chain inet raw out");
        let token = apply(house);
        let half = confirm(house, &[], HERE, &token);
        confirmed(&half, ONE, Some(ALONE));
        // A zone of its own: its entry is not found by the addresses alone.
        sh(
            house,
            &format!(
                "nft flush chain inet raw in; nft add rule inet raw in tcp dport {SSH} ct zone set 7; \
                            nft add rule inet raw out tcp sport {SSH} ct zone set 7"
            ),
        );
        let token = apply(house);
        confirmed(&confirm(house, &[], HERE, &token), ONE, Some(ALONE));
    });
}

#[test]
fn translated_connections_are_found() {
    house("\"10.7.0.2\", \"10.7.0.77\"", |house| {
        // To another port, to another address, and with the sender's translated on the way in, too.
        sh(
            house,
            &format!(
                "ip address add 10.7.0.9/24 dev wire0; nft add table ip nat; \
             nft add chain ip nat in '{{ type nat hook prerouting priority dstnat; }}'; \
             nft add chain ip nat for '{{ type nat hook input priority 100; }}'; \
             nft add rule ip nat in tcp dport 2200 redirect to :{SSH}; \
             nft add rule ip nat in ip daddr 10.7.0.9 tcp dport 2201 dnat to {HERE}:{SSH}; \
             nft add rule ip nat for meta l4proto tcp ct original proto-dst 2201 snat to 10.7.0.77"
            ),
        );
        for (at, port, peer) in
            [(HERE, "2200", ONE), ("10.7.0.9", "2200", ONE), ("10.7.0.9", "2201", "10.7.0.77")]
        {
            let token = apply(house);
            // Both options are given; the first port counts for ssh.
            let port = format!("-o Port={port}");
            let login = house.login(&[&port], &format!("{} firewall confirm {token}", house.program()));
            let said = house.shell(
                &login
                    .replace(&format!("-p {SSH} "), "")
                    .replace(&format!("root@{HERE}"), &format!("root@{at}")),
            );
            confirmed(&said, peer, None);
            let entry = sh(house, "conntrack -L -p tcp 2>/dev/null");
            assert!(entry.contains("dport=220"), "{entry}");
        }
    });
}

#[test]
fn connections_of_ipv6_are_found_mapped_ones_too() {
    house("\"10.7.0.2\", \"fe80::/64\", \"2001:db8:7::/64\"", |house| {
        if !std::path::Path::new("/proc/net/if_inet6").exists() {
            return skip(Reason::NoIpv6);
        }
        sh(
            house,
            "ip address add 2001:db8:7::1/64 dev wire0 nodad; ip -n next address add 2001:db8:7::2/64 dev wire1 nodad",
        );
        let of = |place: &str, device: &str| {
            let line =
                format!("ip {place} -6 -o address show dev {device} scope link | sed 's/.*inet6 //;s:/.*::'");
            sh(house, &line).trim().to_owned()
        };
        let (here, there) = (of("", "wire0"), of("-n next", "wire1"));
        must("the link has its address", || {
            !sh(house, "ip -6 -o address show dev wire0").contains("tentative")
        });
        for (at, peer) in
            [("2001:db8:7::1", "[2001:db8:7::2]:"), (&format!("{here}%wire1"), &format!("[{there}]:"))]
        {
            let token = apply(house);
            confirmed(&confirm(house, &[], at, &token), peer, None);
        }
        // A server behind a listener of both families: its sockets have mapped addresses.
        let both = "exec socat TCP6-LISTEN:2222,ipv6only=0,fork,reuseaddr EXEC:'/usr/sbin/sshd -i -f /run/w/sshd_config',nofork";
        let path = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"];
        let both = both.replace("2222", "2223");
        let server = house.world.spawn("both", &["/bin/sh", "-c", &both], &path);
        must("it listens", || house.shell("ss -Htnl sport = :2223").text.contains("2223"));
        house.world.write("portreeve.toml", "[firewall]\nmanagement = [\"10.7.0.2\"]\n[[firewall.allow]]\nport = \"2223/tcp\"\nfrom = [\"10.7.0.2\"]\n");
        let token = apply(house);
        let login = house.login(&[], &format!("{} firewall confirm {token}", house.program()));
        let said = house.shell(&login.replace(&format!("-p {SSH} "), "-p 2223 "));
        confirmed(&said, ONE, None);
        assert!(house.world.signal(server, 15));
    });
}

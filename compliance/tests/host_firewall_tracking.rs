//! Which logins began under rules on trial, by real ones: beside entries of connection tracking that outlive their connections, in zones
//! and without, untracked, translated, over IPv6; and beside crowds, other programs and an nft that fails.

use portreeve_compliance::house::{House, SSH, Said};
use portreeve_compliance::skip::{Reason, has_programs, skip};
use portreeve_compliance::wait::must;
use portreeve_compliance::{World, ours};

const ONE: &str = "10.7.0.2";
const HERE: &str = "10.7.0.1";
const APPLY: &str = "apply --settings /run/w/portreeve.toml --no-wait --confirm-within 10m --force";
const UNSEEN: &str =
    "was not seen to begin under the rules on trial (it came in by an older entry of connection tracking";
const WITNESS: &str = "portreeve_trial";
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

/// Confirmed, and the witness is gone.
fn confirmed(house: &House<'_>, said: &Said, by: &str) {
    assert!(
        said.code == 0 && said.text.contains(&format!("confirmed by a new connection from {by}")),
        "{said:?}"
    );
    assert!(!house.ruleset().contains(WITNESS), "{}", house.ruleset());
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
        refused(&again, UNSEEN);
        assert!(again.text.contains("held by sshd"), "{again:?}");
        // The entry without any connection when the rules are loaded, whether the kernel keeps when it began or not.
        for times in [0, 1] {
            sh(house, &format!("sysctl -qw net.netfilter.nf_conntrack_timestamp={times}"));
            house.portreeve("rollback");
            sh(house, "conntrack -F 2>/dev/null");
            let socket = format!("-S /run/w/again{times}");
            assert_eq!(house.shell(&house.login(&["-M", &socket, "-N", "-f", FROM_4000], "")).code, 0);
            vanish(house);
            let token = apply(house);
            refused(&confirm(house, &[FROM_4000], HERE, &token), UNSEEN);
        }
    });
    // And where they let it in: another connection does, and that one not.
    house("\"10.7.0.2\"", |house| {
        assert_eq!(
            house.shell(&house.login(&["-M", "-S", "/run/w/master", "-N", "-f", FROM_4000], "")).code,
            0
        );
        let token = anew(house);
        vanish(house);
        refused(&confirm(house, &[FROM_4000], HERE, &token), UNSEEN);
        confirmed(house, &confirm(house, &[], HERE, &token), ONE);
    });
}

/// Puts ssh into a zone of its own.
fn zone(house: &House<'_>) {
    sh(
        house,
        &format!(
            "nft add table inet raw; nft add chain inet raw in '{{ type filter hook prerouting priority raw; }}'; \
             nft add chain inet raw out '{{ type filter hook output priority raw; }}'; \
             nft add rule inet raw in tcp dport {SSH} ct zone set 7; nft add rule inet raw out tcp sport {SSH} ct zone set 7"
        ),
    );
}

#[test]
fn an_entry_of_a_zone_lets_nobody_confirm() {
    house("\"192.0.2.0/24\"", |house| {
        zone(house);
        assert_eq!(
            house.shell(&house.login(&["-M", "-S", "/run/w/master", "-N", "-f", FROM_4000], "")).code,
            0
        );
        let token = apply(house);
        let entry = sh(house, "conntrack -L -p tcp --dport 2222 2>/dev/null");
        assert!(entry.contains("sport=4000") && entry.contains("zone=7"), "{entry}");
        assert_ne!(house.ssh(&[], "true").code, 0, "nobody else comes in");
        vanish(house);
        refused(&confirm(house, &[FROM_4000], HERE, &token), UNSEEN);
    });
    house("\"10.7.0.2\"", |house| {
        zone(house);
        let token = apply(house);
        confirmed(house, &confirm(house, &[FROM_4000], HERE, &token), ONE);
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
        confirmed(house, &confirm(house, &[], HERE, &token), ONE);
        // Only what comes in is untracked: tracking has what this host sends, as if it had begun it.
        sh(house, "nft flush chain inet raw out");
        let token = apply(house);
        confirmed(house, &confirm(house, &[], HERE, &token), ONE);
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
            confirmed(house, &said, peer);
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
            confirmed(house, &confirm(house, &[], at, &token), peer);
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
        confirmed(house, &said, ONE);
        assert!(house.world.signal(server, 15));
    });
}

/// Fills a set of the witness.
fn fill(house: &House<'_>, set: &str) {
    // Others fill it, too.
    for first in (0..65_536).step_by(1024) {
        let element = |n: i32| format!("192.0.{}.{} . 9 . {HERE} . 9", n / 256, n % 256);
        let elements: Vec<String> = (first..first + 1024).map(element).collect();
        let line = format!("add element inet {WITNESS} {set} {{ {} }}\n", elements.join(", "));
        house.world.write(&format!("fill{first:05}"), line);
    }
    sh(house, "for part in /run/w/fill*; do nft -f $part 2>/dev/null || :; done");
    let one_more = format!("nft -c create element inet {WITNESS} {set} '{{ 192.0.2.1 . 7 . {HERE} . 7 }}'");
    must("it is full", || house.shell(&one_more).text.contains("Too many open files"));
}

#[test]
fn a_crowd_keeps_nobody_from_confirming() {
    house("\"10.7.0.2\"", |house| {
        // Those at other ports are none of ssh's.
        let token = apply(house);
        fill(house, "rest4");
        confirmed(house, &confirm(house, &[], HERE, &token), ONE);
        let token = apply(house);
        let state = sh(house, &format!("nft -s list set inet {WITNESS} ssh4"));
        assert!(state.contains("size 65536") && state.contains("timeout 10m1s"), "{state}");
        // Who was there first stays, whoever comes.
        let hold = house.login(&["-M", "-S", "/run/w/first", "-N", "-f", FROM_4000], "");
        assert_eq!(house.shell(&hold).code, 0);
        sh(
            house,
            &format!("nft list set inet {WITNESS} ssh4 | grep -q '{ONE} . 4000 . {HERE} . {SSH} expires'"),
        );
        sh(house, &format!("nft flush set inet {WITNESS} ssh4"));
        fill(house, "ssh4");
        // Nobody was watched: whoever tries is from then on, and what came before is not taken for seen.
        refused(&confirm(house, &[], HERE, &token), CROWDED);
        refused(&confirm(house, &["-S", "/run/w/first"], HERE, &token), CROWDED);
        confirmed(house, &confirm(house, &[], HERE, &token), ONE);
    });
}

const CROWDED: &str =
    "so many begin that it may not have been noted. One that comes from 10.7.0.2 from now on will be";

/// Sends SYNs to ssh from forged addresses of 10.0.0.0/8, as fast as it can.
const FORGER: &str = r#"
import os, random, socket, struct
def total(data):
    words = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while words >> 16:
        words = (words & 0xffff) + (words >> 16)
    return ~words & 0xffff
to = socket.inet_aton('10.7.0.1')
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
while True:
    source = bytes([10]) + os.urandom(3)
    head = struct.pack('!HHIIBBHHH', random.randrange(1024, 65536), 2222, random.getrandbits(32), 0, 0x50, 2, 64240, 0, 0)
    check = total(source + to + struct.pack('!HH', 6, 20) + head)
    head = head[:16] + struct.pack('!H', check) + head[18:]
    s.sendto(struct.pack('!BBHHHBBH', 0x45, 0, 40, 0, 0, 64, 6, 0) + source + to + head, ('10.7.0.1', 0))
"#;

#[test]
fn a_flood_of_forged_senders_keeps_nobody_from_confirming() {
    house("\"10.0.0.0/8\"", |house| {
        house.world.write("forger.py", FORGER);
        let path = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"];
        let forge = ["ip", "netns", "exec", "next", "python3", "/run/w/forger.py"];
        let (one, other) =
            (house.world.spawn("forger", &forge, &path), house.world.spawn("another", &forge, &path));
        // From a session, which is watched from the first moment on.
        let applied = house.ssh(&[], &format!("{} firewall {APPLY}", house.program()));
        let token =
            applied.text.split("firewall confirm ").nth(1).and_then(|rest| rest.split_whitespace().next());
        let token = token.unwrap_or_else(|| panic!("{applied:?}")).to_owned();
        fill(house, "ssh4");
        confirmed(house, &confirm(house, &[], HERE, &token), ONE);
        // From none: whoever tries is watched, should there be no room for once.
        let token = apply(house);
        fill(house, "ssh4");
        let first = confirm(house, &[], HERE, &token);
        if first.code == 0 {
            confirmed(house, &first, ONE);
        } else {
            refused(&first, CROWDED);
            confirmed(house, &confirm(house, &[], HERE, &token), ONE);
        }
        assert!(house.world.signal(one, 9) && house.world.signal(other, 9), "both have run");
    });
}

#[test]
fn only_what_the_rules_let_in_is_noted() {
    house("\"10.7.0.2\"", |house| {
        let token = apply(house);
        // Refused, or of this host to itself.
        house.shell("ip netns exec next socat -u OPEN:/dev/null TCP:10.7.0.1:9,connect-timeout=1");
        house.ssh(&["-b", "10.7.0.3"], "true");
        house.shell(&format!("socat -u OPEN:/dev/null TCP:127.0.0.1:{SSH}"));
        house.shell(&format!("socat -u OPEN:/dev/null TCP:{HERE}:{SSH}"));
        let noted = sh(house, &format!("nft list table inet {WITNESS}"));
        assert!(!noted.contains("expires"), "{noted}");
        confirmed(house, &confirm(house, &[], HERE, &token), ONE);
    });
}

#[test]
fn the_witness_is_no_part_of_the_rules_and_goes_with_the_trial() {
    house("\"10.7.0.2\"", |house| {
        let exported = "export --settings /run/w/portreeve.toml --to nft";
        let before = house.portreeve(exported);
        let ruleset = house.ruleset();
        apply(house);
        assert!(house.ruleset().contains(WITNESS));
        assert_eq!(house.portreeve(exported), before);
        let plan = house.portreeve("plan --settings /run/w/portreeve.toml");
        assert!(!plan.text.contains(WITNESS) && !plan.text.contains("all of this is new"), "{plan:?}");
        let explained = house.shell(&format!("{} explain {SSH}/tcp {ONE}", house.program())).text;
        assert!(explained.contains("the witness of the trial"), "{explained}");
        assert_eq!(house.portreeve("rollback").code, 0);
        assert_eq!(house.ruleset(), ruleset);
        let timed = house.portreeve("apply --settings /run/w/portreeve.toml --confirm-within 1s --force");
        assert_eq!(timed.code, 1, "{timed:?}");
        assert_eq!(house.ruleset(), ruleset);
        // Another program removes it: nothing is proven.
        let token = apply(house);
        sh(house, &format!("nft delete table inet {WITNESS}"));
        refused(&confirm(house, &[], HERE, &token), "another program removed it");
    });
}

/// Puts an nft before the one of the system, which does this with its arguments and its input.
fn other_nft(house: &House<'_>, what: &str) {
    sh(house, "mountpoint -q /usr/local/sbin || mount -t tmpfs tmpfs /usr/local/sbin");
    let script = format!(
        "#!/bin/sh\ncase $* in *-f*) cat > /run/w/input.$$;; *) : > /run/w/input.$$;; esac\n{what}\nexec /usr/sbin/nft \"$@\" < /run/w/input.$$\n"
    );
    house.world.write_mode("other-nft", &script, 0o755);
    sh(house, "cp /run/w/other-nft /usr/local/sbin/nft");
}

#[test]
fn an_nft_that_fails_confirms_nothing() {
    house("\"10.7.0.2\"", |house| {
        // It does not know such sets: that is said at once, and the rules are tried.
        other_nft(
            house,
            "grep -q dynamic /run/w/input.$$ && { echo 'Error: syntax error, unexpected dynamic' >&2; exit 1; }",
        );
        let applied = house.portreeve(APPLY);
        assert!(
            applied.code == 0
                && applied.text.contains("unexpected dynamic): no login confirms; --console and --probe do"),
            "{applied:?}"
        );
        let at = applied.text.split("firewall confirm ").nth(1).expect("a token");
        refused(&confirm(house, &[], HERE, at.split_whitespace().next().expect("a word")), "--console");
        house.portreeve("rollback");
        let probed = house
            .portreeve("apply --settings /run/w/portreeve.toml --confirm-within 10m --force --probe true");
        assert_eq!(probed.code, 0, "{probed:?}");
        // An answer that is none.
        other_nft(
            house,
            "case $* in *create*) [ -e /run/w/well ] || { echo 'Error: Out of memory' >&2; exit 1; };; esac",
        );
        let token = apply(house);
        refused(
            &confirm(house, &[], HERE, &token),
            "cannot be asked for (nft: Error: Out of memory): try again",
        );
        house.world.write("well", "");
        confirmed(house, &confirm(house, &[], HERE, &token), ONE);
        // Whoever confirms cannot send the witness away: a watchdog does.
        other_nft(
            house,
            "case $*-$(wc -l < /run/w/input.$$) in -f*-2) [ -e /run/w/once ] || { : > /run/w/once; echo 'Error: Busy' >&2; exit 1; };; esac",
        );
        let token = apply(house);
        let said = confirm(house, &[], HERE, &token);
        assert_eq!(said.code, 0, "{said:?}");
        must("the witness is sent away", || !house.ruleset().contains(WITNESS));
        assert!(sh(house, "ls /run/w/once").contains("once"));
    });
}

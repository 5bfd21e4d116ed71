//! only_from and no_access: which address matches which word (reference xinetd §4). One super-server a test, one service
//! a row.

use portreeve_compliance::client::talk;
use portreeve_compliance::{Answer, Config, Daemon, Entry, World, both};
use serde_json::Value;

/// One row: how the lists are set, who connects, whether xinetd serves, whether ours serves, and under which name the
/// difference is known.
struct Row {
    lines: &'static [&'static str],
    from: &'static str,
    theirs: bool,
    ours: bool,
    difference: &'static str,
}

/// Both agree.
const fn row(lines: &'static [&'static str], from: &'static str, served: bool) -> Row {
    Row { lines, from, theirs: served, ours: served, difference: "" }
}

/// They differ on purpose; ours does the opposite of xinetd.
const fn fixed(
    difference: &'static str,
    lines: &'static [&'static str],
    from: &'static str,
    theirs: bool,
) -> Row {
    Row { lines, from, theirs, ours: !theirs, difference }
}

fn check(world: &World, rows: &[Row], change: impl Fn(Entry) -> Entry) {
    let mut config = Config::new().defaults("cps = 0 0");
    for (number, row) in rows.iter().enumerate() {
        let entry = Entry::program(&format!("r{number}"), 3000 + number as u16).unset("log_type");
        config = config.with(row.lines.iter().fold(change(entry), |entry, line| entry.line(line)));
    }
    let daemon = world.start(&config);
    let mut wrong = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        let expected = match row.difference {
            "" => row.theirs,
            _ => world.fix(row.difference, row.theirs, row.ours),
        };
        let answer = talk(row.from, 3000 + number as u16, b"");
        let wanted = if expected { "served\n" } else { "" };
        if answer != Answer::closed(wanted) {
            wrong.push(format!("{:?} from {}: {answer:?}, expected {wanted:?}", row.lines, row.from));
        }
        // `explain` must foretell what the client then meets. (Where a name decides it says that, without asking.)
        if world.is_ours() {
            let told = explained(&daemon, &format!("r{number}"), row.from);
            let verdict = if expected { "admit" } else { "refuse" };
            if told != verdict && told != "needs names" {
                wrong.push(format!(
                    "{:?} from {}: explain says {told}, and it was {verdict}",
                    row.lines, row.from
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} rows:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}

/// The verdict of `explain`.
fn explained(daemon: &Daemon<'_>, id: &str, from: &str) -> String {
    let answer = daemon.control(&format!("explain {id} {from}"));
    let value: Value = serde_json::from_str(&answer).unwrap_or_else(|e| panic!("{e}: {answer}"));
    value["verdict"].as_str().unwrap_or(&answer).to_owned()
}

/// Numeric IPv4: whole addresses, trailing zero octets, and what inet_aton reads.
#[test]
fn numeric_ipv4() {
    const ROWS: &[Row] = &[
        row(&["only_from = 127.0.0.2"], "127.0.0.2", true),
        row(&["only_from = 127.0.0.2"], "127.0.0.3", false),
        row(&["only_from = 127.0.0.0"], "127.200.3.4", true),
        row(&["only_from = 127.1.0.0"], "127.1.200.4", true),
        row(&["only_from = 127.1.0.0"], "127.2.0.1", false),
        row(&["only_from = 127.1.2.0"], "127.1.2.77", true),
        row(&["only_from = 127.1.2.0"], "127.1.3.1", false),
        row(&["only_from = 0.0.0.0"], "127.0.0.1", true),
        // An inner zero is literal.
        row(&["only_from = 127.0.0.1"], "127.9.9.1", false),
        row(&["only_from = 127.0.5.0"], "127.0.5.9", true),
        row(&["only_from = 127.0.5.0"], "127.1.5.9", false),
        // Short and other-based forms mean hosts, not networks.
        row(&["only_from = 127.1"], "127.0.0.1", true),
        row(&["only_from = 127.1"], "127.1.0.1", false),
        row(&["only_from = 127"], "127.0.0.1", false),
        row(&["only_from = 2130706433"], "127.0.0.1", true),
        row(&["only_from = 0x7f.0.0.2"], "127.0.0.2", true),
        row(&["only_from = 0177.0.0.2"], "127.0.0.2", true),
        row(&["no_access = 127.0.0.2"], "127.0.0.2", false),
        row(&["no_access = 127.0.0.2"], "127.0.0.3", true),
        row(&["no_access = 127.0.0.0"], "127.3.2.1", false),
        row(&["only_from = 10.0.0.1 127.0.0.3 192.168.0.0"], "127.0.0.3", true),
    ];
    both(|world| check(world, ROWS, |e| e));
}

/// The same rows mean the same on an IPv4 socket.
#[test]
fn numeric_ipv4_on_an_ipv4_socket() {
    const ROWS: &[Row] = &[
        row(&["only_from = 127.0.0.2"], "127.0.0.2", true),
        row(&["only_from = 127.0.0.2"], "127.0.0.3", false),
        row(&["only_from = 127.0.0.0"], "127.200.3.4", true),
        row(&["only_from = 127.0.0.0/8"], "127.200.3.4", true),
        row(&["only_from = 0.0.0.0"], "127.0.0.1", true),
        // IPv6 words never match there.
        row(&["only_from = ::/0"], "127.0.0.1", false),
        row(&["only_from = ::ffff:127.0.0.1"], "127.0.0.1", false),
        row(&["no_access = ::/0"], "127.0.0.1", true),
    ];
    both(|world| check(world, ROWS, |e| e.first("flags = IPv4")));
}

/// address/bits.
#[test]
fn prefixes() {
    const ROWS: &[Row] = &[
        row(&["only_from = 127.0.0.0/8"], "127.3.2.1", true),
        row(&["only_from = 127.0.0.2/32"], "127.0.0.2", true),
        row(&["only_from = 127.0.0.2/32"], "127.0.0.3", false),
        row(&["only_from = 1.2.3.4/0"], "127.0.0.1", true),
        // Host bits are ignored.
        row(&["only_from = 127.1.2.3/16"], "127.1.9.9", true),
        row(&["only_from = 127.0.0.4/30"], "127.0.0.7", true),
        row(&["only_from = 127.0.0.4/30"], "127.0.0.8", false),
        // A short network goes through inet_aton: 127.1/16 is 127.0.0.0/16.
        row(&["only_from = 127.1/16"], "127.0.9.9", true),
        row(&["only_from = 127.1/16"], "127.1.0.1", false),
        row(&["no_access = 127.0.0.0/24"], "127.0.0.200", false),
        row(&["no_access = 127.0.0.0/24"], "127.0.1.1", true),
        // A network mask is read as its first number, and more than 32 as 32.
        row(&["only_from = 127.0.0.2/255.0.0.0"], "127.0.0.2", true),
        row(&["only_from = 127.0.0.2/255.0.0.0"], "127.0.0.3", false),
        row(&["only_from = 127.0.0.2/33"], "127.0.0.2", true),
        row(&["only_from = 127.0.0.2/33"], "127.0.0.3", false),
    ];
    both(|world| check(world, ROWS, |e| e));
}

/// a.b.{c,d}
#[test]
fn factorized() {
    const ROWS: &[Row] = &[
        row(&["only_from = 127.0.0.{1,3}"], "127.0.0.1", true),
        row(&["only_from = 127.0.0.{1,3}"], "127.0.0.3", true),
        row(&["only_from = 127.0.0.{1,3}"], "127.0.0.2", false),
        row(&["only_from = 127.1.{0,2}"], "127.1.0.200", true),
        row(&["only_from = 127.1.{0,2}"], "127.1.2.1", true),
        row(&["only_from = 127.1.{0,2}"], "127.1.1.1", false),
        row(&["only_from = {127,10}"], "127.77.0.1", true),
        row(&["only_from = {126,10}"], "127.77.0.1", false),
        // {0} is a literal zero.
        row(&["only_from = 127.0.{0}"], "127.0.0.9", true),
        row(&["only_from = 127.0.{0}"], "127.0.1.9", false),
        // A number over 255 overflows into the next octet, whoever may have meant it.
        row(&["only_from = 127.0.0.{300}"], "127.0.1.44", true),
        row(&["only_from = 127.0.0.{300}"], "127.0.0.44", false),
        row(&["no_access = 127.0.0.{1,3}"], "127.0.0.3", false),
        row(&["no_access = 127.0.0.{1,3}"], "127.0.0.2", true),
    ];
    both(|world| check(world, ROWS, |e| e));
}

/// IPv6 peers, and IPv4 peers of a socket that serves both.
#[test]
fn ipv6_and_mapped_peers() {
    const ROWS: &[Row] = &[
        row(&["only_from = ::1"], "::1", true),
        row(&["only_from = ::1"], "fd00:0:0:1::1", false),
        row(&["only_from = fd00:0:0:1::1"], "fd00:0:0:1::1", true),
        row(&["only_from = fd00:0:0:1::/64"], "fd00:0:0:1::2", true),
        row(&["only_from = fd00:0:0:1::/64"], "fd00:0:0:2::1", false),
        row(&["only_from = fd00::/8"], "fd00:0:0:2::1", true),
        row(&["only_from = fd00:0:0:1::/127"], "fd00:0:0:1::1", true),
        row(&["only_from = fd00:0:0:1::/127"], "fd00:0:0:1::2", false),
        row(&["only_from = ::/0"], "::1", true),
        row(&["only_from = ::/0"], "127.0.0.1", true),
        row(&["only_from = ::/1"], "fd00:0:0:1::1", false),
        row(&["only_from = ::ffff:127.0.0.1"], "127.0.0.1", true),
        row(&["only_from = ::ffff:127.0.0.0/104"], "127.9.9.9", true),
        row(&["only_from = ::ffff:127.0.0.0/104"], "::1", false),
        row(&["only_from = 127.0.0.2"], "127.0.0.2", true),
        row(&["only_from = 0.0.0.0"], "::1", false),
        row(&["only_from = 0.0.0.0/0"], "::1", false),
        row(&["no_access = 127.0.0.0/8"], "::1", true),
        row(&["no_access = ::1"], "::1", false),
        row(&["no_access = ::1"], "127.0.0.1", true),
        // What 0.0.0.0 is for IPv4.
        fixed("v6-any-is-a-wildcard", &["only_from = ::"], "::1", false),
        fixed("v6-prefix-128", &["only_from = ::1/128"], "::1", false),
        fixed("v6-prefix-128", &["only_from = fd00:0:0:1::1/128"], "fd00:0:0:1::1", false),
        row(&["only_from = fd00:0:0:1::1/128"], "fd00:0:0:1::2", false),
        fixed("v6-prefix-128", &["no_access = ::1/128"], "::1", true),
    ];
    both(|world| check(world, ROWS, |e| e));
}

/// Both lists; a word in each is a refusal however exact the words are.
#[test]
fn both_lists() {
    const ROWS: &[Row] = &[
        row(&["only_from = 127.0.0.2", "no_access = 127.0.0.0"], "127.0.0.2", false),
        row(&["only_from = 127.0.0.0", "no_access = 127.0.0.2"], "127.0.0.2", false),
        row(&["only_from = 127.0.0.0", "no_access = 127.0.0.2"], "127.0.0.3", true),
        row(&["only_from = 127.0.0.2", "no_access = 127.0.0.3"], "127.0.0.4", false),
        row(&["only_from = 127.0.0.2", "no_access = 127.0.0.2"], "127.0.0.2", false),
    ];
    both(|world| {
        check(world, ROWS, |e| e);
        world.expect_daemon_log(&[
            "ERROR: Service=r0: only_from list and no_access list match equally the address ::ffff:127.0.0.2",
            "ERROR: Service=r1: only_from list and no_access list match equally the address ::ffff:127.0.0.2",
            "ERROR: Service=r4: only_from list and no_access list match equally the address ::ffff:127.0.0.2",
        ]);
    });
}

/// Lists that are set and empty, and lists whose only words cannot be read: they fail closed.
#[test]
fn empty_lists() {
    const ROWS: &[Row] = &[
        row(&["only_from ="], "127.0.0.1", false),
        row(&["only_from ="], "::1", false),
        row(&["no_access ="], "127.0.0.1", true),
        row(&["only_from = 127.0.0.1", "only_from -= 127.0.0.1"], "127.0.0.1", false),
        row(&["no_access = 127.0.0.1", "no_access -= 127.0.0.1"], "127.0.0.1", true),
        row(&["only_from = no.such.name.invalid"], "127.0.0.1", false),
        row(&["no_access = no.such.name.invalid"], "127.0.0.1", true),
        row(&["only_from = no.such.name.invalid 127.0.0.1"], "127.0.0.1", true),
        // A name of /etc/networks becomes one address that nobody has.
        row(&["only_from = loopback"], "127.0.0.1", false),
        row(&["no_access = loopback"], "127.0.0.1", true),
    ];
    both(|world| check(world, ROWS, |e| e));
}

/// =, += and -= within a service.
#[test]
fn operators() {
    const ROWS: &[Row] = &[
        row(&["only_from = 127.0.0.2", "only_from = 127.0.0.3"], "127.0.0.2", false),
        row(&["only_from = 127.0.0.2", "only_from = 127.0.0.3"], "127.0.0.3", true),
        row(&["only_from = 127.0.0.2", "only_from += 127.0.0.3"], "127.0.0.2", true),
        row(&["only_from = 127.0.0.2", "only_from += 127.0.0.3"], "127.0.0.3", true),
        row(&["only_from += 127.0.0.3"], "127.0.0.3", true),
        row(&["only_from += 127.0.0.3"], "127.0.0.2", false),
        row(&["only_from = 127.0.0.2 127.0.0.3", "only_from -= 127.0.0.2"], "127.0.0.2", false),
        row(&["only_from = 127.0.0.2 127.0.0.3", "only_from -= 127.0.0.2"], "127.0.0.3", true),
        // The same network in another spelling is the same entry; another mask is another.
        row(&["only_from = 127.0.0.0 10.0.0.1", "only_from -= 127.0.0.0/8"], "127.0.0.1", false),
        row(&["only_from = 127.0.0.0 10.0.0.1", "only_from -= 127.0.0.0/9"], "127.0.0.1", true),
    ];
    both(|world| check(world, ROWS, |e| e));
}

/// What the defaults section says, and how a service changes it.
#[test]
fn defaults_and_operators() {
    both(|world| {
        let config = Config::new()
            .defaults("cps = 0 0")
            .defaults("only_from = 127.0.0.2")
            .defaults("only_from = 127.0.0.3")
            .with(Entry::program("plain", 2001))
            .with(Entry::program("more", 2002).line("only_from += 127.0.0.4"))
            .with(Entry::program("other", 2003).line("only_from = 127.0.0.4"))
            .with(Entry::program("less", 2004).line("only_from -= 127.0.0.2"));
        let _daemon = world.start(&config);
        let table = [
            (2001, [false, true, true, false]),
            (2002, [false, true, true, true]),
            (2003, [false, false, false, true]),
            (2004, [false, false, true, false]),
        ];
        for (port, served) in table {
            for (number, served) in (1..=4).zip(served) {
                let from = format!("127.0.0.{number}");
                let wanted = if served { "served\n" } else { "" };
                assert_eq!(talk(&from, port, b""), Answer::closed(wanted), "{from} at {port}");
            }
        }
    });
}

/// xinetd applies the lists of `defaults` only to services that stand after it.
#[test]
fn defaults_after_the_service() {
    both(|world| {
        let config = Config::of(Entry::program("before", 2001))
            .raw("defaults\n{\n\tonly_from = 127.0.0.2\n}\n")
            .with(Entry::program("after", 2002));
        let _daemon = world.start(&config);
        let expected = world.fix("defaults-in-any-position", "served\n", "");
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(expected));
        assert_eq!(talk("127.0.0.1", 2002, b""), Answer::closed(""));
        assert_eq!(talk("127.0.0.2", 2002, b""), Answer::closed("served\n"));
    });
}

/// Names: the first name of the reverse lookup, compared without case; ours also needs the forward lookup to agree.
#[test]
fn names() {
    const ROWS: &[Row] = &[
        row(&["only_from = nine.example.org"], "127.0.0.9", true),
        row(&["only_from = NINE.example.ORG"], "127.0.0.9", true),
        row(&["only_from = nine.example.org"], "127.0.0.10", false),
        row(&["only_from = nine.example.org"], "127.0.0.77", false),
        row(&["only_from = localhost"], "127.0.0.1", true),
        // Only the first name of the line counts.
        row(&["only_from = vm"], "127.0.0.1", false),
        row(&["no_access = nine.example.org"], "127.0.0.9", false),
        row(&["no_access = nine.example.org"], "127.0.0.10", true),
        // An address that matches needs no name.
        row(&["only_from = 127.0.0.77 nine.example.org"], "127.0.0.77", true),
    ];
    both(|world| check(world, ROWS, |e| e.first("flags = IPv4")));
}

/// On a socket for both families. The hosts file does not know mapped addresses, so xinetd finds no name there; ours asks
/// for the address that is meant.
#[test]
fn names_of_mapped_peers() {
    const MAPPED: &str = "names-of-mapped-peers";
    const ROWS: &[Row] = &[
        row(&["only_from = six.example.org"], "fd00:0:0:1::1", true),
        row(&["only_from = six.example.org"], "fd00:0:0:1::2", false),
        row(&["only_from = .example.org"], "fd00:0:0:1::1", true),
        fixed(MAPPED, &["only_from = nine.example.org"], "127.0.0.9", false),
        fixed(MAPPED, &["only_from = .example.org"], "127.0.0.9", false),
        fixed(MAPPED, &["no_access = nine.example.org"], "127.0.0.9", true),
        row(&["only_from = nine.example.org"], "127.0.0.10", false),
    ];
    both(|world| check(world, ROWS, |e| e));
}

/// `.domain`
#[test]
fn domains() {
    const ROWS: &[Row] = &[
        row(&["only_from = .example.org"], "127.0.0.9", true),
        row(&["only_from = .example.org"], "127.0.0.10", true),
        row(&["only_from = .EXAMPLE.org"], "127.0.0.10", true),
        row(&["only_from = .sub.example.org"], "127.0.0.9", false),
        row(&["only_from = .example.org"], "127.0.0.11", false),
        row(&["only_from = .example.org"], "127.0.0.77", false),
        row(&["no_access = .example.org"], "127.0.0.9", false),
        row(&["no_access = .example.org"], "127.0.0.11", true),
    ];
    both(|world| check(world, ROWS, |e| e.first("flags = IPv4")));
}

/// A name admits its own address and no other. (Reverse names that do not lead back: names.rs, with a name server of its
/// own.)
#[test]
fn a_name_of_another_address() {
    both(|world| {
        let entry = Entry::program("s1", 2001).first("flags = IPv4").set("only_from", "ten.sub.example.org");
        let _daemon = world.start(&Config::of(entry));
        assert_eq!(talk("127.0.0.10", 2001, b""), Answer::closed("served\n"));
        assert_eq!(talk("127.0.0.9", 2001, b""), Answer::closed(""));
    });
}

/// Words that disable the service.
#[test]
fn words_that_disable_the_service() {
    const WORDS: &[(&str, &str)] = &[
        ("127.0.0.1,127.0.0.2", "has a comma in it - remove the comma"),
        ("127.{0,1}.0.1", "Bad address: 127.{0,1}.0.1"),
    ];
    both(|world| {
        let mut config = Config::of(Entry::program("good", 2000));
        for (number, (word, _)) in (1..).zip(WORDS) {
            config =
                config.with(Entry::program(&format!("bad{number}"), 2000 + number).set("only_from", word));
        }
        let _daemon = world.start(&config);
        assert_eq!(talk("127.0.0.1", 2000, b""), Answer::closed("served\n"));
        for (number, (word, message)) in (1..).zip(WORDS) {
            assert_eq!(talk("127.0.0.1", 2000 + number, b""), Answer::refused(), "{word}");
            assert!(world.daemon_log_count(message) >= 1, "{word}: {:?}", world.daemon_log());
        }
        assert_eq!(
            world.daemon_log_count("Error parsing attribute only_from - DISABLING SERVICE"),
            WORDS.len()
        );
    });
}

//! With whom a program may exchange packets (`IPAddressAllow=`, `IPAddressDeny=` of a service): what it connects to and what it listens on
//! itself, never the client's connection. xinetd has nothing like it.

use portreeve_compliance::client::{ask_again, datagram_socket, dial, dial_to, talk};
use portreeve_compliance::hierarchy::hierarchy;
use portreeve_compliance::skip::{Reason, skip};
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, Connection, Entry, Start, World, ours, signals};

/// Connects to services of this host by each kind of address, and sends a datagram; says what succeeded. TCP that is dropped would be
/// tried for minutes.
const TRY: &str = r#"use Socket qw(:all);
$SIG{ALRM} = sub { exit 0 };
my %all = (
    v4 => [AF_INET, "127.0.0.1", 2101], other => [AF_INET, "127.1.2.3", 2101],
    v6 => [AF_INET6, "::1", 2102], mapped => [AF_INET6, "::ffff:127.0.0.1", 2101],
);
sub tries {
    my ($out) = @_;
    my @said;
    for my $name (sort keys %all) {
        my ($family, $text, $port) = @{$all{$name}};
        my $address = inet_pton($family, $text);
        pipe(my $from, my $to);
        if (!fork) {
            alarm 1;
            socket(my $s, $family, SOCK_STREAM, 0);
            my $place = $family == AF_INET ? pack_sockaddr_in($port, $address) : pack_sockaddr_in6($port, $address);
            connect($s, $place) && print {$to} scalar(<$s>);
            exit 0;
        }
        close $to;
        push @said, $name if (<$from> // "") eq "served\n";
        wait;
    }
    socket(my $s, AF_INET, SOCK_DGRAM, 0);
    push @said, "datagram" if send($s, "x", 0, pack_sockaddr_in(9, inet_aton("127.0.0.1")));
    syswrite $out, "@said\n";
}
"#;

const ALL: &str = "mapped other v4 v6 datagram\n";

/// A program of the service that runs `text` behind the tries.
fn perl(world: &World, id: &str, port: u16, text: &str, sandbox: &str) -> Entry {
    let name = format!("{id}.pl");
    world.write_mode(&name, format!("#!/usr/bin/perl\n{TRY}{text}\n"), 0o755);
    let entry = Entry::program(id, port).set("server", &format!("/run/w/{name}")).unset("server_args");
    entry.set("sandbox", sandbox)
}

/// Whom the programs connect to.
fn served() -> Config {
    Config::of(Entry::program("four", 2101)).with(Entry::program("six", 2102).set("flags", "IPv6"))
}

fn ask(connection: &mut Connection) -> String {
    connection.send(b"x\n");
    connection.read_until(b"\n").text()
}

const ONCE: &str = "tries(STDOUT);";
const LOOP: &str = "while (<STDIN>) { tries(STDOUT) }";

#[test]
fn packets_go_where_the_lists_let_them() {
    if hierarchy().is_none() {
        return skip(Reason::NoControlGroups);
    }
    ours(|world| {
        let table = [
            ("NoNewPrivileges", ALL),
            ("IPAddressDeny=10.0.0.0/8", ALL),
            ("IPAddressDeny=any", "\n"),
            ("IPAddressDeny=any IPAddressAllow=localhost", ALL),
            ("IPAddressDeny=127.0.0.1", "other v6\n"),
            ("IPAddressDeny=localhost IPAddressAllow=127.1.0.0/16", "other\n"),
            ("IPAddressDeny=::1 IPAddressDeny=multicast", "mapped other v4 datagram\n"),
            ("IPAddressDeny=any IPAddressAllow=::1", "v6\n"),
            ("IPAddressDeny=any IPAddressAllow=127.0.0.0/31", "mapped v4 datagram\n"),
            ("IPAddressDeny=any DevicePolicy=closed", "\n"),
        ];
        let rows = || (2001u16..).zip(table);
        let mut config = served();
        for (port, (words, _)) in rows() {
            config = config.with(perl(world, &format!("s{port}"), port, ONCE, words));
        }
        // What is misspelt, and what denies nobody, is served to nobody.
        let void = ["IPAddressDeny=localhots", "IPAddressAllow=10.0.0.0/8", "IPAddressDeny=::ffff:127.0.0.1"];
        let voids = || (2051u16..).zip(void);
        for (port, words) in voids() {
            config = config.with(perl(world, &format!("s{port}"), port, ONCE, words));
        }
        let daemon = world.start(&config);
        for (port, (words, wanted)) in rows() {
            // The client is answered in any case: its connection is of whoever made the listener.
            assert_eq!(talk("127.0.0.1", port, b"").text(), wanted, "{words}");
        }
        for (port, words) in voids() {
            assert_eq!(talk("127.0.0.1", port, b""), Answer::refused(), "{words}");
        }
        assert_eq!(daemon.stop(), portreeve_compliance::Ended::Status(0));
    });
}

/// Sockets that the daemon made, as those that systemd makes for a unit, are not the program's; those that the program makes are.
#[test]
fn sockets_belong_to_whoever_made_them() {
    if hierarchy().is_none() {
        return skip(Reason::NoControlGroups);
    }
    ours(|world| {
        let deny = "IPAddressDeny=any";
        let listens = "socket(my $l, AF_INET, SOCK_STREAM, 0); setsockopt($l, SOL_SOCKET, SO_REUSEADDR, 1);
            bind($l, pack_sockaddr_in(2301, INADDR_ANY)); listen($l, 5); syswrite STDOUT, \"listens\\n\";
            accept(my $c, $l) && syswrite $c, \"in\\n\"; syswrite STDOUT, \"accepted\\n\";";
        let echoes = "open(my $s, '+<&=0'); while (my $from = recv($s, my $text, 99, 0)) { send($s, \"back $text\", 0, $from) }";
        let accepts = "while (accept(my $c, STDIN)) { tries($c) }";
        let config = served()
            .with(perl(world, "listens", 2001, listens, deny))
            .with(perl(world, "free", 2002, listens, "IPAddressDeny=10.0.0.0/8"))
            .with(
                perl(world, "echoes", 2003, echoes, deny)
                    .set("socket_type", "dgram")
                    .set("protocol", "udp")
                    .set("wait", "yes"),
            )
            .with(perl(world, "accepts", 2004, accepts, deny).set("wait", "yes"));
        let _daemon = world.start(&config);
        let socket = datagram_socket("127.0.0.1", 2003);
        let answer = ask_again(&socket, b"x");
        assert_eq!(answer.as_deref(), Some(&b"back x"[..]));
        assert_eq!(talk("127.0.0.1", 2004, b"").text(), "\n");
        for (port, wanted) in [(2001, false), (2002, true)] {
            let mut one = dial("127.0.0.1", port).expect("a connection");
            assert_eq!(one.read_until(b"\n").text(), "listens\n");
            let patience = std::time::Duration::from_millis(700);
            let reached = dial_to("127.0.0.1", "127.0.0.1", 2301, patience);
            assert_eq!(reached.is_ok(), wanted, "{port}");
            drop(reached);
            one.finish();
            drop(one);
            if !wanted {
                world
                    .processes("listens.pl")
                    .into_iter()
                    .for_each(|pid| assert!(world.signal(pid, signals::KILL)));
                must("it is gone", || world.processes("listens.pl").is_empty());
            }
        }
    });
}

/// A reload and an upgrade reach whoever runs, and the program of before is gone; taken out, the lists stay for who runs.
#[test]
fn a_reload_changes_the_lists_of_who_runs() {
    if hierarchy().is_none() {
        return skip(Reason::NoControlGroups);
    }
    ours(|world| {
        let of = |words: &str| served().with(perl(world, "a", 2001, LOOP, words));
        let daemon = world.start(&of("IPAddressDeny=any"));
        let mut one = dial("127.0.0.1", 2001).expect("a connection");
        assert_eq!(ask(&mut one), "\n");
        daemon.reload(&of("IPAddressDeny=any IPAddressAllow=::1"));
        assert_eq!(ask(&mut one), "v6\n");
        let answer = daemon.control("upgrade");
        assert!(answer.contains("\"ok\":true"), "{answer}");
        assert_eq!(ask(&mut one), "v6\n");
        daemon.reload(&of("IPAddressDeny=::1"));
        assert_eq!(ask(&mut one), "mapped other v4 datagram\n");
        daemon.reload(&of("TasksMax=100"));
        assert_eq!(ask(&mut one), "mapped other v4 datagram\n");
        let mut two = dial("127.0.0.1", 2001).expect("a connection");
        assert_eq!(ask(&mut two), ALL);
        one.finish();
        two.finish();
    });
}

#[test]
fn without_control_groups_nothing_is_started() {
    ours(|world| {
        let config = Config::of(Entry::program("lists", 2001).set("sandbox", "IPAddressDeny=any"));
        // Without a mount in its view there is none.
        let covered = "for m in $(sed -n 's/^[^ ]* [^ ]* [^ ]* [^ ]* \\([^ ]*\\) .* - cgroup2 .*/\\1/p' /proc/self/mountinfo); do umount -l \"$m\"; done; exec \"$@\"";
        let through = ["unshare", "-m", "/bin/sh", "-c", covered, "sh"].map(str::to_owned).to_vec();
        let daemon = world.start_with(&config, Start { through, ..Start::default() });
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(""));
        let refused = "lists: /bin/echo is not started, sandbox: IPAddressDeny: no file system of control groups, version 2, is mounted";
        must("the log says why", || world.daemon_log_count(refused) == 1);
        assert_eq!(daemon.count("lists", "/start_failures"), 1);
    });
}

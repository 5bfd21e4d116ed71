//! hosts.allow and hosts.deny in front of the services: verdicts, names of daemons, tables that are broken or change
//! (reference tcp-wrappers A1-A6, xinetd §14).

use portreeve_compliance::client::talk;
use portreeve_compliance::{Answer, Config, Entry, World, both};

const SERVED: &str = "served\n";

fn four(id: &str, port: u16) -> Entry {
    Entry::program(id, port).first("flags = IPv4")
}

fn tables(world: &World, allow: &str, deny: &str) {
    world.write("etc/hosts.allow", allow);
    world.write("etc/hosts.deny", deny);
}

/// Each table, and who gets in. `echo` is the program's name.
#[test]
fn verdicts_are_those_of_the_original() {
    type Clients = &'static [(&'static str, bool)];
    let cases: &[(&str, &str, Clients)] = &[
        ("", "", &[("127.0.0.1", true)]),
        ("echo: 127.0.0.1\n", "ALL: ALL\n", &[("127.0.0.1", true), ("127.0.0.2", false)]),
        ("ALL: 127.0.0. EXCEPT 127.0.0.2\n", "ALL: ALL\n", &[("127.0.0.1", true), ("127.0.0.2", false)]),
        ("ALL: 127.0.0.0/30\n", "ALL: ALL\n", &[("127.0.0.3", true), ("127.0.0.4", false)]),
        ("", "ech*: 127.?.0.2\n", &[("127.0.0.1", true), ("127.0.0.2", false)]),
        ("", "other: ALL\n", &[("127.0.0.1", true)]),
        ("ALL: 127.0.0.1 : deny\n", "", &[("127.0.0.1", false), ("127.0.0.2", true)]),
        ("", "ALL: 127.0.0.1 : allow\nALL: ALL\n", &[("127.0.0.1", true), ("127.0.0.2", false)]),
        ("echo@127.0.0.2: 127.0.0.1\n", "ALL: ALL\n", &[("127.0.0.1", false)]),
        ("echo@127.0.0.1: 127.0.0.2\n", "ALL: ALL\n", &[("127.0.0.2", true)]),
        ("2001: 127.0.0.1\n", "ALL: ALL\n", &[("127.0.0.1", true), ("127.0.0.2", false)]),
        // Broken tables: a line without an end, in hosts.allow and in hosts.deny; a rule that ends in a colon.
        ("ALL: ALL", "", &[("127.0.0.1", true)]),
        ("ALL: ALL", "ALL: 127.0.0.2\n", &[("127.0.0.1", true), ("127.0.0.2", false)]),
        ("", "other: ALL", &[("127.0.0.1", false)]),
        ("ALL: ALL :\n", "", &[("127.0.0.1", false)]),
        ("ALL: ALL : bogus\n", "", &[("127.0.0.1", false)]),
        ("no colon\nALL: 127.0.0.1\n", "ALL: ALL\n", &[("127.0.0.1", true), ("127.0.0.2", false)]),
    ];
    both(|world| {
        let _daemon = world.start(&Config::of(four("s1", 2001).set("cps", "0 0")));
        for (allow, deny, clients) in cases {
            // An edit counts from the next connection on.
            tables(world, allow, deny);
            for (from, expected) in *clients {
                let expected = Answer::closed(if *expected { SERVED } else { "" });
                assert_eq!(talk(from, 2001, b""), expected, "{from}: allow {allow:?}, deny {deny:?}");
            }
        }
    });
}

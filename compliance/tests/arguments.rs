//! What a program gets besides ids and limits: its words, its standard error, the options of its socket (reference xinetd
//! §2.1, §2.2, §7).

use portreeve_compliance::client::talk;
use portreeve_compliance::{Answer, Config, Entry, both};
use serde_json::{Value, json};

/// What the probe says about its start as service `port`.
fn report(port: u16) -> Value {
    let answer = talk("127.0.0.1", port, b"");
    serde_json::from_slice(&answer.bytes).unwrap_or_else(|e| panic!("no report ({e}): {answer:?}"))
}

fn strings(value: &Value) -> Vec<String> {
    value
        .as_array()
        .map(|all| all.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        .unwrap_or_default()
}

/// argv: the name of the program, then the words of server_args as they are; with NAMEINARGS the words are all of it.
#[test]
fn arguments() {
    both(|world| {
        let config = Config::new()
            .with(Entry::probe("words", 2001, r#""a b" 'c' $HOME %d \ *"#))
            .with(Entry::probe("comment", 2002, "one # two"))
            .with(Entry::probe("named", 2003, "tcpd /x/y z").first("flags = NAMEINARGS"))
            .with(Entry::probe("none", 2004, "x").unset("server_args"))
            .with(Entry::probe("tabs", 2005, "a\tb   c"));
        let _daemon = world.start(&config);
        let table: Vec<(u16, Vec<&str>)> = vec![
            (2001, vec!["probe", "\"a", "b\"", "'c'", "$HOME", "%d", "\\", "*"]),
            (2002, vec!["probe", "one", "#", "two"]),
            (2003, vec!["tcpd", "/x/y", "z"]),
            (2004, vec!["probe"]),
            (2005, vec!["probe", "a", "b", "c"]),
        ];
        for (port, expected) in table {
            assert_eq!(strings(&report(port)["argv"]), expected, "{port}");
        }
    });
}

/// NAMEINARGS after server_args: xinetd's child crashes ten times in a row and ends the daemon's patience.
#[test]
fn nameinargs_after_server_args() {
    both(|world| {
        let entry = Entry::probe("s1", 2001, "tcpd z").line("flags = NAMEINARGS");
        let _daemon = world.start(&Config::of(entry));
        let answer = talk("127.0.0.1", 2001, b"");
        let served =
            serde_json::from_slice::<Value>(&answer.bytes).map(|v| strings(&v["argv"])).unwrap_or_default();
        let expected: Vec<String> =
            world.fix("flags-in-any-position", vec![], vec!["tcpd".to_owned(), "z".to_owned()]);
        assert_eq!(served, expected);
    });
}

/// What the program writes to its standard error goes to the client.
#[test]
fn standard_error_goes_to_the_client() {
    both(|world| {
        let _daemon = world.start(&Config::of(Entry::shell("s1", 2001, "echo${IFS}out;echo${IFS}err>&2")));
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed("out\nerr\n"));
    });
}

/// NODELAY and KEEPALIVE reach the accepted socket.
#[test]
fn socket_flags() {
    both(|world| {
        let config = Config::new()
            .with(Entry::probe("nodelay", 2001, "report").first("flags = NODELAY"))
            .with(Entry::probe("keepalive", 2002, "report").first("flags = KEEPALIVE"))
            .with(Entry::probe("reuse", 2003, "report").first("flags = REUSE"));
        let _daemon = world.start(&config);
        for (port, nodelay, keepalive) in [(2001, true, false), (2002, false, true), (2003, false, false)] {
            let got = report(port);
            assert_eq!((&got["nodelay"], &got["keepalive"]), (&json!(nodelay), &json!(keepalive)), "{port}");
        }
    });
}

//! `explain` foretells the whole way of a client: through the checks on a proxy, its header, tcpmux, to the target. What it says is
//! what the client then meets, and the daemon and the file say the same.

use portreeve_compliance::client::talk;
use portreeve_compliance::{Config, Daemon, Entry, Side, ours};
use serde_json::Value;

const PATH: &str = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";

fn asked(daemon: &Daemon<'_>, words: &str) -> Value {
    serde_json::from_str(&daemon.control(&format!("explain {words}"))).expect("JSON")
}

/// The check of this part and name: outcome and line.
fn check(answer: &Value, part: &str, name: &str) -> (String, u64) {
    let checks = answer["checks"].as_array().expect("a list");
    let found = checks.iter().find(|check| check["part"] == part && check["name"] == name);
    let found = found.unwrap_or_else(|| panic!("no {part} {name} in {answer}"));
    (found["outcome"].as_str().unwrap_or_default().to_owned(), found["line"].as_u64().unwrap_or_default())
}

#[test]
fn the_whole_way() {
    ours(|world| {
        let proxied = Entry::program("proxied", 2001)
            .first("flags = IPv4")
            .set("proxy_protocol", "accept")
            .set("proxy_from", "127.0.0.1")
            .set("only_from", "192.0.2.0/24");
        let mux = Entry::internal("tcpmux", "tcpmux", 2002, "stream").set("no_access", "127.0.0.3");
        let muxed = Entry::program("muxed", 0)
            .unset("port")
            .set("type", "TCPMUX UNLISTED")
            .set("only_from", "127.0.0.1 127.0.0.3");
        let carried = Entry::bare("carried", 2003)
            .first("flags = IPv4")
            .set("type", "UNLISTED")
            .set("socket_type", "stream")
            .set("protocol", "tcp")
            .set("wait", "no")
            .set("user", "root")
            .set("redirect", "127.0.0.1 2009 127.0.0.1 2001")
            .set("proxy_protocol", "send");
        let config = Config::new().with(proxied).with(mux).with(muxed).with(carried);
        let daemon = world.start(&config);
        let text = config.text(Side::Ours);
        let at = |id: &str, name: &str| {
            let mut lines = text.lines().enumerate().skip_while(|(_, line)| *line != format!("service {id}"));
            let starts = |line: &str| line.trim_start().starts_with(name);
            lines.find(|(_, line)| starts(line)).map_or(0, |(n, _)| n as u64 + 1)
        };
        let header = |client: &str| format!("PROXY TCP4 {client} 198.51.100.1 4567 443\r\n");
        let is = |outcome: &str, line: u64| (outcome.to_owned(), line);

        for (peer, client, verdict, deciding) in [
            ("127.0.0.1", "192.0.2.7", "admit", ("client", "only_from")),
            ("127.0.0.1", "198.51.100.7", "refuse", ("client", "only_from")),
            ("127.0.0.9", "192.0.2.7", "refuse", ("peer", "proxy_from")),
        ] {
            let answer = asked(&daemon, &format!("proxied {peer} for {client}"));
            assert_eq!(answer["verdict"], verdict, "{answer}");
            let outcome = if verdict == "admit" { "pass" } else { "refuse" };
            assert_eq!(
                check(&answer, deciding.0, deciding.1),
                is(outcome, at("proxied", deciding.1)),
                "{answer}"
            );
            let met = talk(peer, 2001, header(client).as_bytes()).text();
            assert_eq!(met == "served\n", verdict == "admit", "{peer} for {client}: {met}");
        }
        let itself = asked(&daemon, "proxied 127.0.0.1");
        assert_eq!(check(&itself, "client", "only_from").0, "refuse", "the proxy itself is judged: {itself}");
        let nobody = asked(&daemon, "tcpmux 127.0.0.1 for 192.0.2.7");
        assert_eq!(check(&nobody, "peer", "header").0, "refuse", "{nobody}");

        for (peer, part, name, outcome) in [
            ("127.0.0.1", "service", "only_from", "pass"),
            ("127.0.0.2", "service", "only_from", "refuse"),
            ("127.0.0.3", "tcpmux", "no_access", "refuse"),
        ] {
            let answer = asked(&daemon, &format!("muxed {peer}"));
            let id = if part == "tcpmux" { "tcpmux" } else { "muxed" };
            let line = check(&answer, part, name);
            assert_eq!(line, is(outcome, at(id, name)), "{answer}");
            let met = talk(peer, 2002, b"muxed\r\n").text();
            assert_eq!(met.contains("served"), answer["verdict"] == "admit", "{peer}: {met}");
        }
        let answer = asked(&daemon, "muxed 127.0.0.1");
        assert_eq!(check(&answer, "service", "server"), is("pass", at("muxed", "server")));

        // The first target is not there, which the daemon knows once it has tried.
        let _ = talk("127.0.0.1", 2003, b"");
        let answer = asked(&daemon, "carried 127.0.0.1");
        assert_eq!(check(&answer, "", "redirect"), is("pass", at("carried", "redirect")), "{answer}");
        let shown = answer.to_string();
        assert!(shown.contains("to 127.0.0.1:2009, else 127.0.0.1:2001, behind a PROXY header"), "{shown}");
        assert!(shown.contains("127.0.0.1:2009 failed 1 times in a row"), "{shown}");

        daemon.control("stop muxed");
        assert!(asked(&daemon, "muxed 127.0.0.1")["note"].as_str().is_some_and(|note| !note.is_empty()));

        // The file says the same of what does not hang on counts.
        let executable = Side::Ours.executable().with_file_name("portreeve");
        let portreeve = executable.to_str().expect("a path in UTF-8");
        for words in
            ["proxied 127.0.0.1 for 192.0.2.7", "proxied 127.0.0.9", "muxed 127.0.0.1", "muxed 127.0.0.3"]
        {
            let options = words.replace(" for ", " --client ");
            let line = format!("{portreeve} explain {options} --json -f /run/w/xinetd.conf");
            let (_, output) = world.run(&["/bin/sh", "-c", &line], &[PATH]);
            let file: Value =
                serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {output}"));
            let running = asked(&daemon, words);
            assert_eq!(file["verdict"], running["verdict"], "{words}");
            let rows = |answer: &Value| {
                let checks = answer["checks"].as_array().expect("a list").iter();
                let row =
                    |check: &Value| ["part", "name", "outcome", "line"].map(|field| check[field].clone());
                checks.map(row).collect::<Vec<_>>()
            };
            assert_eq!(rows(&file), rows(&running), "{words}");
        }
    });
}

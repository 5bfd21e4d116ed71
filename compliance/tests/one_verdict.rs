//! One verdict for one request, whoever is asked: a connection through the super-server, tcpdmatch, a program linked to
//! libwrap.so.0, and of ours `explain`. And the same verdict on both sides. The tables are drawn; the seed is fixed.

use portreeve_compliance::client::talk;
use portreeve_compliance::init::HERE;
use portreeve_compliance::libwrap::ours as our_library;
use portreeve_compliance::predictors::draw::Draw;
use portreeve_compliance::skip::{Reason, find_program, has_programs, skip};
use portreeve_compliance::tcpd::program;
use portreeve_compliance::{Config, Daemon, Ended, Entry, World, both};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// Tables that are drawn.
const TABLES: u64 = 60;
/// `PORTREEVE_DRAWN` draws as many instead; for a long run by hand.
fn tables() -> u64 {
    std::env::var("PORTREEVE_DRAWN").ok().and_then(|text| text.parse().ok()).unwrap_or(TABLES)
}
/// Clients, and what tcpdmatch is asked about: given an address it predicts what happens when nobody knows the name. The last
/// one is left out, since its name has another address too.
const CLIENTS: &[(&str, &str)] = &[
    ("127.0.0.2", "127.0.0.2"),
    ("127.0.0.9", "nine.example.org"),
    ("127.0.0.10", "ten.sub.example.org"),
    ("127.0.1.3", "127.0.1.3"),
    ("127.0.0.1", ""),
];
const DAEMONS: &[&str] = &[
    "echo",
    "echo",
    "ALL",
    "ech*",
    "other",
    "echo@127.0.0.1",
    "echo@127.0.0.2",
    "ALL@127.",
    "ALL EXCEPT echo",
    "ALL EXCEPT other",
    "ech",
    "ECHO",
    "echo@[::1]",
    "echo@ALL",
    "?cho@127.0.0.0/8",
];
const HOSTS: &[&str] = &[
    "ALL",
    "127.0.0.1",
    "127.0.0.2",
    "127.0.0.",
    "127.",
    "127.0.0.0/30",
    "127.0.0.0/255.255.255.252",
    "127.0.0.1/32",
    "127.0.0.1/255.255.255.255",
    "127.0.0.9/24",
    "127.?.0.2",
    "*",
    "*.3",
    "127.0.0.1?",
    "LOCAL",
    "KNOWN",
    "UNKNOWN",
    "PARANOID",
    ".example.org",
    "nine.example.org",
    "NINE.example.org",
    "nine.*",
    "localhost",
    ".org",
    "x@ALL",
    "UNKNOWN@127.0.0.2",
    "KNOWN@ALL",
    "/run/w/list",
    "/run/w/none",
    "[127.0.0.1]",
    "[::ffff:127.0.0.2]",
    "::1",
    "10.0.0.0/8",
    "127.1",
    ".1",
    "nine",
    "127.0.0.10",
    "0.0.0.0/0",
    "127.0.1.0/24",
];
const OPTIONS: &[&str] = &[
    "allow",
    "deny",
    "allow",
    "deny",
    "twist /bin/echo twisted",
    "spawn /bin/true",
    "spawn /bin/true : deny",
    "severity debug",
    "severity nonsense",
    "keepalive",
    "linger 1",
    "linger x",
    "setenv A %a",
    "umask 022",
    "umask 9",
    "nice 1",
    "rfc931 1",
    "rfc931 0",
    "user root",
    "user nosuchuser",
    "banners /run/w/none",
    "bogus",
    "",
    "allow : deny",
    "deny : allow",
    "allow : twist /bin/echo twisted",
    "twist /bin/echo twisted : deny",
    "severity mail.info : allow",
    "group nosuchgroup",
];

fn words(draw: &mut Draw, of: &[&str], most: usize) -> String {
    let mut list = draw.pick(of).to_owned();
    for _ in 0..draw.below(most) {
        list += draw.pick(&[" ", ", ", " ", " EXCEPT "]);
        list += draw.pick(of);
    }
    list
}

fn table(draw: &mut Draw) -> String {
    let mut text = String::new();
    for _ in 0..draw.below(4) {
        if draw.chance(6) {
            text += draw.pick(&[
                "# a comment\n",
                "no colon\n",
                "echo: ALL",
                "\n",
                "echo:\\\n 127.0.0.2\n",
                ": ALL\n",
                "echo :\n",
            ]);
            continue;
        }
        text += &format!("{}: {}", words(draw, DAEMONS, 3), words(draw, HOSTS, 4));
        if draw.chance(40) {
            text += &format!(" : {}", draw.pick(OPTIONS));
        }
        text += "\n";
    }
    text
}

/// The program that asks libwrap.so.0; `None` where it cannot be built.
fn asker() -> Option<PathBuf> {
    if !has_programs(&["cc", "tcpdmatch"]) {
        return None;
    }
    if !Path::new("/usr/include/tcpd.h").exists() {
        skip(Reason::absent("libwrap0-dev"));
        return None;
    }
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("verdicts");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("c/verdicts.c");
    let mut command = Command::new(find_program("cc").expect("cc"));
    command.args(["-std=gnu11", "-Wall", "-Wextra", "-o"]).arg(&program).arg(source).arg("-lwrap");
    let output = command.output().expect("cc starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(program)
}

fn by_connection(client: &str) -> &'static str {
    match talk(client, 2001, b"").text().as_str() {
        "served\n" => "granted",
        "twisted\n" => "delegated",
        "" => "denied",
        other => panic!("{client} was told {other:?}"),
    }
}

/// The last word of each prediction; one run for all clients.
fn by_tcpdmatch(world: &World, tcpdmatch: &str) -> Vec<String> {
    let script = format!(
        "cd {HERE}/etc && for client in {}; do {tcpdmatch} -d echo@127.0.0.1 $client 2>/dev/null; done",
        CLIENTS.iter().map(|(_, asked)| *asked).collect::<Vec<_>>().join(" ")
    );
    let (_, output) = world.run(&["/bin/sh", "-c", &script], &[]);
    let verdicts = output.lines().filter_map(|line| line.strip_prefix("access:"));
    verdicts.map(|verdict| verdict.trim().to_owned()).collect()
}

fn by_libwrap(world: &World, asker: &str, env: &[&str]) -> Vec<String> {
    let clients: Vec<&str> = CLIENTS.iter().map(|(address, _)| *address).collect();
    let script = format!("cd {HERE}/etc && {asker} echo 127.0.0.1 2001 {}", clients.join(" "));
    let (how, output) = world.run(&["/bin/sh", "-c", &script], env);
    assert_eq!(how, Ended::Status(0), "{output}");
    output.lines().map(str::to_owned).collect()
}

/// `None` where it hangs on something that `explain` does not ask for.
fn by_explain(daemon: &Daemon<'_>, client: &str) -> Option<&'static str> {
    let answer: Value = serde_json::from_str(&daemon.control(&format!("explain s1 {client}"))).expect("JSON");
    let detail =
        answer["checks"].as_array().and_then(|checks| checks.last()?["detail"].as_str()).unwrap_or("");
    match answer["verdict"].as_str() {
        Some("admit") if detail.contains("answers instead of the service") => Some("delegated"),
        Some("admit") => Some("granted"),
        Some("refuse") => Some("denied"),
        Some("needs names") => None,
        _ => panic!("{client}: {answer}"),
    }
}

#[test]
fn whoever_is_asked() {
    let Some(asker) = asker() else { return };
    let sides = Mutex::new(Vec::new());
    both(|world| {
        let asker = world.write_mode("verdicts", std::fs::read(&asker).expect("the program"), 0o755);
        let mut env = Vec::new();
        if world.is_ours() {
            let library = std::fs::read(our_library()).expect("dist/libwrap.so.0; scripts/build makes it");
            world.write_mode("lib/libwrap.so.0", library, 0o755);
            env.push("LD_LIBRARY_PATH=/run/w/lib");
        }
        let tcpdmatch = program(world, "tcpdmatch");
        world.write("list", "127.0.0.2 .example.org\n127.0.1.\n");
        let service = Entry::program("s1", 2001).first("flags = IPv4").set("cps", "0 0");
        let daemon = world.start(&Config::of(service));
        let (mut all, mut explained) = (Vec::new(), 0);
        for number in 0..tables() {
            let mut draw = Draw::new(number);
            let allow = table(&mut draw);
            let deny = if draw.chance(40) { "ALL: ALL\n".to_owned() } else { table(&mut draw) };
            world.write("etc/hosts.allow", &allow);
            world.write("etc/hosts.deny", &deny);
            let about = format!("table {number}: allow {allow:?}, deny {deny:?}");
            let live: Vec<&str> = CLIENTS.iter().map(|(client, _)| by_connection(client)).collect();
            assert_eq!(
                by_tcpdmatch(world, &tcpdmatch),
                live[..CLIENTS.len() - 1],
                "tcpdmatch (left) and connections (right), {about}"
            );
            assert_eq!(
                by_libwrap(world, &asker, &env),
                live,
                "libwrap.so.0 (left) and connections (right), {about}"
            );
            if world.is_ours() {
                for ((client, _), &verdict) in CLIENTS.iter().zip(&live) {
                    let Some(said) = by_explain(&daemon, client) else { continue };
                    assert_eq!(said, verdict, "explain (left) and a connection (right) of {client}, {about}");
                    explained += 1;
                }
            }
            all.push((about, live));
        }
        assert!(!world.is_ours() || explained > all.len(), "explain knew too little: {explained}");
        sides.lock().expect("no panic").push(all);
    });
    if let [one, other] = sides.into_inner().expect("no panic").as_slice() {
        for (one, other) in one.iter().zip(other) {
            assert_eq!(one, other, "the two sides");
        }
    }
}

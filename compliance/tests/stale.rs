//! `portreeve stale --retire` under a running super-server: the programs of services are really replaced, whoever runs the old ones is
//! ended, and nobody else notices. xinetd has nothing like it.

use portreeve_compliance::client::{dial, talk};
use portreeve_compliance::init::HERE;
use portreeve_compliance::side::workspace;
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, Connection, Daemon, End, Ended, Entry, World, ours};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Says a word and waits for its client's end; with STUBBORN it does not heed SIGTERM.
const SERVER: &str = r#"
#include <signal.h>
#include <string.h>
#include <unistd.h>
int main(void) {
  char byte;
#ifdef STUBBORN
  signal(SIGTERM, SIG_IGN);
#endif
  if (write(1, WORD, strlen(WORD)) < 0) return 1;
  while (read(0, &byte, 1) > 0) {}
  return 0;
}
"#;
const SCRIPT: &str = "#!/bin/sh\necho held\nread line\n";

fn executable() -> String {
    let own = std::env::var_os("PORTREEVE").map_or_else(|| workspace().join("dist/portreeve"), PathBuf::from);
    own.to_str().expect("UTF-8").to_owned()
}

fn portreeve(world: &World, words: &[&str]) -> (Ended, String) {
    let own = executable();
    let control = format!("--control={HERE}/control");
    world.run(&[&[own.as_str()], words, &[control.as_str()]].concat(), &["PATH=/usr/bin:/bin"])
}

/// Puts a program into the place of another, as package managers do: whole, under another name, by rename.
fn install(world: &World, name: &str, flags: &[&str]) {
    let (source, new) = (world.path("server.c"), world.path("server.new"));
    std::fs::write(&source, SERVER).expect("written");
    let status = Command::new("cc").args(flags).arg("-o").args([&new, &source]).status();
    assert!(status.expect("cc runs").success());
    std::fs::rename(new, world.path(name)).expect("renamed");
}

fn install_script(world: &World, name: &str, text: &str) {
    world.write_mode("script.new", text, 0o755);
    std::fs::rename(world.path("script.new"), world.path(name)).expect("renamed");
    // Who starts within a tick of the clock of files counts as before it.
    std::thread::sleep(Duration::from_millis(30));
}

fn entry(id: &str, port: u16, server: &str) -> Entry {
    Entry::program(id, port).set("server", &format!("{HERE}/{server}")).unset("server_args")
}

fn says(port: u16, word: &str) -> Connection {
    let mut connection = dial("127.0.0.1", port).expect("a connection");
    assert_eq!(connection.read_until(b"\n").text(), format!("{word}\n"));
    connection
}

fn alive(connection: &mut Connection) -> bool {
    connection.read_for(Duration::from_millis(50)).end == End::Open
}

/// What `instances` says of the programs of a service.
fn programs(daemon: &Daemon<'_>, service: &str) -> Vec<String> {
    let answer: Value = serde_json::from_str(&daemon.control(&format!("instances {service}"))).expect("JSON");
    let all = answer["instances"].as_array().expect("a list").iter();
    let mut found: Vec<_> = all.map(|i| i["program"].as_str().unwrap_or_default().to_owned()).collect();
    found.sort();
    found
}

/// Old sessions end, by SIGKILL where they must; new ones, those of other services and those of a program that was only reinstalled
/// or touched go on, and everybody who comes meanwhile is served.
#[test]
fn old_instances_end_and_nobody_else() {
    ours(|world| {
        install(world, "plain", &["-DWORD=\"one\\n\""]);
        install(world, "stubborn", &["-DWORD=\"one\\n\"", "-DSTUBBORN"]);
        install(world, "same", &["-DWORD=\"one\\n\""]);
        install_script(world, "script", SCRIPT);
        install_script(world, "touched", SCRIPT);
        let config = Config::of(entry("plain", 2001, "plain"))
            .with(entry("stubborn", 2002, "stubborn"))
            .with(entry("same", 2003, "same"))
            .with(entry("script", 2004, "script"))
            .with(entry("touched", 2005, "touched"))
            .with(Entry::probe("other", 2006, "hold"))
            .with(Entry::program("quick", 2007).set("cps", "100000 1"));
        let daemon = world.start(&config);
        let mut old = vec![says(2001, "one"), says(2001, "one"), says(2002, "one"), says(2004, "held")];
        let mut stay = vec![says(2003, "one"), says(2005, "held"), says(2006, "held")];
        assert_eq!(portreeve(world, &["stale", "--retire"]).0, Ended::Status(0));
        assert_eq!(programs(&daemon, "plain"), ["current", "current"]);

        install(world, "plain", &["-DWORD=\"two\\n\""]);
        install(world, "stubborn", &["-DWORD=\"two\\n\""]);
        install(world, "same", &["-DWORD=\"one\\n\""]);
        install_script(world, "script", &SCRIPT.replace("held", "new"));
        install_script(world, "touched", SCRIPT);
        stay.push(says(2001, "two"));
        stay.push(says(2004, "new"));
        assert_eq!(programs(&daemon, "plain"), ["current", "older", "older"]);
        assert_eq!(programs(&daemon, "script"), ["current", "older"]);
        assert_eq!(programs(&daemon, "touched"), ["current"]);
        assert_eq!(daemon.service_status("script")["older"], 1);

        let (how, text) = portreeve(world, &["stale", "--json"]);
        let answer: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let findings = answer["findings"].as_array().expect("findings").iter();
        let mut services: Vec<_> = findings
            .filter(|finding| finding["id"] == "stale-instance")
            .map(|finding| finding["evidence"]["service"].as_str().unwrap_or_default().to_owned())
            .collect();
        services.sort();
        assert_eq!((how, services.join(" ").as_str()), (Ended::Status(1), "plain script stubborn"), "{text}");

        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let load = scope.spawn(|| {
                world.enter();
                let mut served = 0;
                while !over.load(Ordering::Relaxed) {
                    assert_eq!(talk("127.0.0.1", 2007, b""), Answer::closed("served\n"));
                    served += 1;
                }
                served
            });
            let (how, text) = portreeve(world, &["stale", "--retire", "--grace", "1s"]);
            over.store(true, Ordering::Relaxed);
            assert!(load.join().expect("nobody was refused") > 0);
            assert_eq!(how, Ended::Status(0), "{text}");
            assert_eq!(text.matches("ended\n").count(), 3, "{text}");
            assert_eq!(text.matches("killed").count(), 1, "{text}");
        });
        for connection in &mut old {
            assert_eq!(connection.read_all().text(), "");
        }
        for connection in &mut stay {
            assert!(alive(connection));
        }
        assert_eq!(portreeve(world, &["stale", "plain"]).0, Ended::Status(0));
        // Nobody is to believe that what was mistyped runs no old code.
        for words in [&["stale", "plian"][..], &["stale", "plian", "--retire"]] {
            let (how, text) = portreeve(world, words);
            assert_eq!(how, Ended::Status(2), "{text}");
            assert!(text.contains("no service `plian`") && text.contains("did you mean plain?"), "{text}");
        }
    });
}

/// A session on which something goes is left by `--idle-only`; the one from which the command is called is left in any case.
#[test]
fn the_busy_ones_and_ones_own_stay() {
    ours(|world| {
        let own = format!(
            "#!/bin/sh\necho held\nread line\n[ \"$line\" ] || exit\n{} stale --retire --control {HERE}/control 2>&1\necho over\nread line\n",
            executable()
        );
        install(world, "plain", &["-DWORD=\"one\\n\""]);
        install_script(world, "own", &own);
        let daemon = world.start(&Config::of(entry("plain", 2001, "plain")).with(entry("own", 2002, "own")));
        let (mut silent, mut busy, mut caller) = (says(2001, "one"), says(2001, "one"), says(2002, "held"));
        install(world, "plain", &["-DWORD=\"two\\n\""]);
        install_script(world, "own", &format!("{own}# new\n"));
        let over = AtomicBool::new(false);
        let mut busy = std::thread::scope(|scope| {
            let over = &over;
            let sends = scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    busy.send(b"x");
                    std::thread::sleep(Duration::from_millis(50));
                }
                busy
            });
            let words = ["stale", "plain", "--retire", "--idle-only", "--idle", "4s", "--after", "60s"];
            // It goes on for as long as the busy one is: so it is told to look for a minute, and ended before.
            let own = executable();
            let control = format!("--control={HERE}/control");
            let argv = [&[own.as_str()], &words[..], &[control.as_str()]].concat();
            let pid = world.spawn("retire", &argv, &["PATH=/usr/bin:/bin"]);
            assert_eq!(silent.read_all().text(), "", "the silent one ends");
            must("it waits for the other", || programs(&daemon, "plain") == ["older"]);
            assert!(world.alive(pid));
            world.signal(pid, 15);
            over.store(true, Ordering::Relaxed);
            let mut busy = sends.join().expect("it sends");
            assert!(alive(&mut busy));
            busy
        });
        caller.send(b"go\n");
        let text = caller.read_until(b"over\n").text();
        assert!(text.contains("left: this is the session that you are in"), "{text}");
        assert!(text.contains("plain"), "{text}");
        assert_eq!(busy.read_all().text(), "");
        assert_eq!(programs(&daemon, "own"), ["older"]);
        assert!(alive(&mut caller));
    });
}

//! The host firewall on trial, over real logins: who may confirm, what is taken back, whatever dies or is booted meanwhile.

use portreeve_compliance::house::{House, SSH};
use portreeve_compliance::skip::{Reason, has_programs, skip};
use portreeve_compliance::wait::{must, until};
use portreeve_compliance::{World, ours};
use std::time::Duration;

const ONE: &str = "10.7.0.2";
const OTHER: &str = "10.7.0.3";
const FROM_OTHER: &[&str] = &["-b", OTHER];

fn house(body: impl Fn(&House<'_>) + Sync) {
    if !has_programs(&["nft", "ssh", "sshd", "ssh-keygen"]) {
        return;
    }
    ours(|world: &World| {
        let house = House::new(world, &[ONE, OTHER]);
        settings(&house, &format!("management = [\"{ONE}\"]\n"));
        // What is not ours, and the bans, which are in another table.
        let others = "nft add table inet strangers; nft add chain inet strangers input '{ type filter hook input priority 5; }'; \
                      nft add rule inet strangers input tcp dport 9 drop; nft add table inet portreeve; \
                      nft add set inet portreeve v4_32 '{ type ipv4_addr; flags timeout; }'; \
                      nft add element inet portreeve v4_32 '{ 192.0.2.77 timeout 1h, 192.0.2.78 }'";
        assert_eq!(house.shell(others).code, 0);
        body(&house);
        let left = house.ruleset();
        assert!(
            left.contains("tcp dport 9 drop") && left.contains("192.0.2.77") && left.contains("192.0.2.78"),
            "{left}"
        );
    });
}

fn settings(house: &House<'_>, text: &str) {
    house.world.write("portreeve.toml", format!("[firewall]\n{text}"));
}

const APPLY: &str = "apply --settings /run/w/portreeve.toml";

/// The token that `apply --no-wait` printed.
fn token(text: &str) -> String {
    let at = text.split("firewall confirm ").nth(1).unwrap_or_else(|| panic!("no token: {text}"));
    at.split_whitespace().next().expect("a word").to_owned()
}

fn ours_is_loaded(house: &House<'_>) -> bool {
    house.ruleset().contains("table inet portreeve_host")
}

/// Reached through the rules, or not.
fn comes_in(house: &House<'_>, options: &[&str]) -> bool {
    house.ssh(options, "true").code == 0
}

/// All at once: stopped first, so that none replaces another.
fn kill(house: &House<'_>, all: &[u32]) {
    for signal in [19, 9] {
        for pid in all {
            house.world.signal(*pid, signal);
        }
    }
}

fn taken_back(house: &House<'_>) {
    must("it is taken back", || !ours_is_loaded(house));
    must("the watchdogs end", || house.watchdogs().is_empty());
}

#[test]
fn a_new_connection_confirms_and_nothing_else_does() {
    house(|house| {
        let master = house.login(&["-M", "-S", "/run/w/master", "-N", "-f"], "");
        assert_eq!(house.shell(&master).code, 0);
        let channel = ["-S", "/run/w/master"];
        let applied = house.portreeve_by_ssh(&channel, &format!("{APPLY} --no-wait --confirm-within 10m"));
        assert_eq!(applied.code, 0, "{applied:?}");
        let token = token(&applied.text);
        assert!(ours_is_loaded(house) && !comes_in(house, FROM_OTHER));
        assert_eq!(house.watchdogs().len(), 2);

        // A further channel of the connection that was there before.
        let old = house.portreeve_by_ssh(&channel, &format!("confirm {token}"));
        assert!(old.code == 2 && old.text.contains("was there before the rules were loaded"), "{old:?}");
        // Nobody above it holds a connection, whatever the environment says.
        let forged = house.shell(&format!(
            "SSH_CONNECTION='{ONE} 40000 10.7.0.1 {SSH}' SSH_CLIENT='{ONE} 40000 {SSH}' {} firewall confirm {token}",
            house.program()
        ));
        assert!(forged.code == 2 && forged.text.contains("no process above this one"), "{forged:?}");
        let console = house.portreeve("confirm --console");
        assert!(console.code == 2 && console.text.contains("no console of the machine"), "{console:?}");
        let console = house.portreeve_by_ssh(&[], "confirm --console");
        assert!(console.code == 2 && console.text.contains("came over the network"), "{console:?}");
        // This host to itself: no rule is asked.
        for to in ["127.0.0.1", "10.7.0.1"] {
            let login = house.login(&[], &format!("{} firewall confirm {token}", house.program()));
            let own = house.shell(
                &login.replace("ip netns exec next ", "").replace("root@10.7.0.1", &format!("root@{to}")),
            );
            assert!(own.code == 2 && own.text.contains("comes from this host itself"), "{own:?}");
        }
        let wrong = house.portreeve_by_ssh(&[], "confirm abcdefgh");
        assert!(wrong.code == 2 && wrong.text.contains("not the token"), "{wrong:?}");
        assert_eq!(house.portreeve("show").code, 1);

        let new = house.portreeve_by_ssh(&[], &format!("confirm {token}"));
        assert_eq!(new.code, 0, "{new:?}");
        assert!(new.text.contains(&format!("a new connection from {ONE}:")), "{new:?}");
        must("the watchdogs end", || house.watchdogs().is_empty());
        let shown = house.portreeve("show");
        assert!(shown.code == 0 && shown.text.contains("confirmed and loaded"), "{shown:?}");
        // What was there goes on.
        assert_eq!(house.ssh(&channel, "echo there").text, "there\n");
        let again = house.portreeve_by_ssh(&[], &format!("confirm {token}"));
        assert!(again.code == 2 && again.text.contains("no rules are on trial"), "{again:?}");
        // Others may flush; that is told, and mended by command.
        assert_eq!(house.shell("nft delete table inet portreeve_host").code, 0);
        assert!(house.portreeve("show").text.contains("NOT loaded"));
        assert_eq!(house.portreeve("load").code, 0);
        assert_eq!(house.portreeve("show").code, 0);
        assert_eq!(house.portreeve("rollback --confirmed").code, 0);
        assert!(!ours_is_loaded(house));
    });
}

#[test]
fn who_would_be_cut_off_is_refused() {
    house(|house| {
        let before = house.ruleset();
        let refused = house.portreeve_by_ssh(FROM_OTHER, APPLY);
        assert!(
            refused.code == 2 && refused.text.contains(&format!("could not come back: {OTHER}:")),
            "{refused:?}"
        );
        assert_eq!(house.ruleset(), before);
        // Without a login above it, every session of ssh counts.
        let held = house.world.spawn(
            "held",
            &["/bin/sh", "-c", &house.login(FROM_OTHER, "sleep 600")],
            &["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
        );
        must("it is held", || house.shell("ss -Htn state established sport = :2222").text.contains(OTHER));
        let plan = house.portreeve("plan --settings /run/w/portreeve.toml");
        assert!(plan.code == 1 && plan.text.contains(&format!("cut: {OTHER}:")), "{plan:?}");
        assert_eq!(house.portreeve(APPLY).code, 2);
        assert!(house.world.signal(held, 15));

        let forced = house.portreeve_by_ssh(FROM_OTHER, &format!("{APPLY} --force --confirm-within 3s"));
        assert!(forced.code == 1 && forced.text.contains("nobody confirmed in time"), "{forced:?}");
        taken_back(house);
        assert!(comes_in(house, FROM_OTHER));
        assert_eq!(house.ruleset(), before);
    });
}

#[test]
fn bad_settings_load_nothing() {
    house(|house| {
        let before = house.ruleset();
        for (text, place) in [
            ("management = [\"0.0.0.0/0\"]\n", ":2:16: 0.0.0.0/0 is no management network"),
            ("managment = []\n", ":2:1: there is no managment in [firewall]"),
            (
                "management = [\"10.7.0.0/24\"]\n[[firewall.allow]]\nport = \"http\"\nfrom = \"any\"\n",
                ":4:9: \"http\" is no port",
            ),
            ("management = [\n", ":"),
        ] {
            settings(house, text);
            let said = house.portreeve(APPLY);
            assert!(said.code == 2 && said.text.contains(place), "{said:?}");
        }
        assert_eq!(house.ruleset(), before);
        assert!(house.watchdogs().is_empty());
        assert_eq!(house.portreeve("show").code, 0);
        assert_eq!(house.portreeve("rollback --if-pending").code, 0);
        assert_eq!(house.portreeve("rollback").code, 2);
    });
}

/// At a virtual console that nobody uses; a terminal of somebody is not taken from them.
#[test]
fn a_console_of_the_machine_confirms() {
    house(|house| {
        house.world.write_mode(
            "console",
            "#!/usr/bin/python3\nimport fcntl, os, sys, termios\nif os.fork():\n    sys.exit(os.wait()[1] >> 8)\n\
             os.setsid()\ntry:\n    at = os.open('/dev/tty60', os.O_RDWR | os.O_NOCTTY)\n    os.set_inheritable(at, True)\n    fcntl.ioctl(at, termios.TIOCSCTTY, 0)\n\
             except OSError as failed:\n    print('no console:', failed)\n    sys.exit(77)\nos.execv(sys.argv[1], sys.argv[1:])\n",
            0o755,
        );
        let at_console =
            |words: &str| house.shell(&format!("/run/w/console {} firewall {words}", house.program()));
        assert_eq!(house.shell("mknod -m 600 /dev/tty60 c 4 60").code, 0);
        if at_console("--help").code == 77 {
            return skip(Reason::NoConsole);
        }
        let applied = house.portreeve(&format!("{APPLY} --no-wait --confirm-within 10m"));
        assert_eq!(applied.code, 0, "{applied:?}");
        let without = at_console(&format!("confirm {}", token(&applied.text)));
        assert!(without.code == 2 && without.text.contains("--console confirms from there"), "{without:?}");
        let confirmed = at_console("confirm --console");
        assert!(confirmed.code == 0 && confirmed.text.contains("the console tty60"), "{confirmed:?}");
        must("the watchdogs end", || house.watchdogs().is_empty());
        assert_eq!(house.portreeve("show").code, 0);
        assert_eq!(house.portreeve("rollback --confirmed").code, 0);
        assert!(!ours_is_loaded(house));
    });
}

#[test]
fn a_probe_confirms_or_takes_back() {
    house(|house| {
        let no = house.portreeve(&format!("{APPLY} --probe 'exit 3'"));
        assert!(no.code == 1 && no.text.contains("the probe ended with"), "{no:?}");
        taken_back(house);
        let slow = house.portreeve(&format!("{APPLY} --confirm-within 2s --probe 'sleep 600'"));
        assert_eq!(slow.code, 1, "{slow:?}");
        taken_back(house);
        // A real one: somebody who may come in does, and who may not does not.
        house.world.write_mode("probe", format!("#!/bin/sh\n{}\n", house.login(&[], "true")), 0o755);
        let yes = house.portreeve(&format!("{APPLY} --probe /run/w/probe"));
        assert!(yes.code == 0 && yes.text.contains("confirmed by the probe"), "{yes:?}");
        assert!(comes_in(house, &[]) && !comes_in(house, FROM_OTHER));
        // A second plan, taken back: what was confirmed is there again.
        let first = house.ruleset();
        settings(house, &format!("management = [\"{ONE}\", \"{OTHER}\"]\n"));
        let no = house.portreeve(&format!("{APPLY} --probe /bin/false"));
        assert_eq!(no.code, 1, "{no:?}");
        must("it is restored", || house.ruleset() == first);
        assert_eq!(house.portreeve("show").code, 0);
    });
}

#[test]
fn a_trial_is_taken_back_whatever_dies() {
    house(|house| {
        let path = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"];
        let apply = |name: &str, within: &str| {
            let line = format!("exec {} firewall {APPLY} --confirm-within {within}", house.program());
            house.world.spawn(name, &["/bin/sh", "-c", &line], &path)
        };
        // The process that applies, once the rules are loaded.
        let applier = apply("one", "6s");
        must("loaded", || house.world.read("one.out").contains("confirm "));
        assert!(house.world.signal(applier, 9));
        assert!(ours_is_loaded(house));
        taken_back(house);

        // One watchdog after the other: each is replaced, and the trial ends.
        let applier = apply("two", "20s");
        must("loaded", || house.world.read("two.out").contains("confirm "));
        for seat in ["firewall watch 0", "firewall watch 1"] {
            let dead = house.world.processes(seat);
            assert_eq!(dead.len(), 1, "{seat}");
            assert!(house.world.signal(dead[0], 9));
            must("another sits there", || {
                let now = house.world.processes(seat);
                now.len() == 1 && now != dead
            });
        }
        assert!(house.world.signal(applier, 9));
        taken_back(house);

        // Both at once: the process that applies does it.
        let applier = apply("three", "3s");
        must("loaded", || house.world.read("three.out").contains("confirm "));
        let all = house.watchdogs();
        kill(house, &all);
        must("it ends", || house.world.ended(applier).is_some());
        taken_back(house);

        // All of them: the next command does it, and says so before.
        let applier = apply("four", "8s");
        must("loaded", || house.world.read("four.out").contains("confirm "));
        let all: Vec<u32> = house.watchdogs().into_iter().chain([applier]).collect();
        kill(house, &all);
        must("its time is over", || house.portreeve("show").text.contains("its time is over"));
        assert_eq!(house.portreeve("rollback --if-pending").code, 0);
        taken_back(house);
    });
}

/// Starts a trial under an nft that is slow to load, covered over the real one, and waits until it runs.
fn slow_load(house: &House<'_>) -> u32 {
    assert_eq!(house.shell("cp /usr/sbin/nft /run/w/nft").code, 0);
    let slow = "#!/bin/sh\n[ \"$1 $2\" = '-f -' ] && [ -e /run/w/slow ] && { cat > /run/w/text; rm /run/w/slow; \
                touch /run/w/begun; while [ -e /run/w/begun ]; do sleep 0.1; done; exec /run/w/nft -f /run/w/text; }\nexec /run/w/nft \"$@\"\n";
    let slow = house.world.write_mode("nft.slow", slow, 0o755);
    assert_eq!(house.shell(&format!("mount --bind {slow} /usr/sbin/nft")).code, 0);
    house.world.write("slow", "");
    let line = format!("exec {} firewall {APPLY} --confirm-within 2s", house.program());
    let applier =
        house.world.spawn("cut", &["/bin/sh", "-c", &line], &["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
    must("nft runs", || house.world.path("begun").exists());
    applier
}

#[test]
fn a_load_that_is_cut_short_is_taken_back() {
    house(|house| {
        let applier = slow_load(house);
        assert!(house.world.signal(applier, 9));
        // nft goes on alone, and loads the rules when nobody expects it.
        std::fs::remove_file(house.world.path("begun")).expect("a flag");
        must("it is over", || house.portreeve("show").text.contains("the process that applied it ended"));
        taken_back(house);
        assert_eq!(house.portreeve("show").code, 0);
    });
}

/// Whoever holds the lock beyond the end is killed: stopped, it would keep the way back closed.
#[test]
fn a_load_that_is_stopped_is_taken_back() {
    house(|house| {
        let before = house.ruleset();
        let applier = slow_load(house);
        assert!(house.world.signal(applier, 19));
        let over = || house.portreeve_state().contains("nobody confirmed in time").then_some(());
        assert!(until(Duration::from_secs(300), over).is_some(), "it is taken back");
        must("who held it is gone", || !house.world.alive(applier));
        taken_back(house);
        assert_eq!(house.ruleset(), before);
    });
}

#[test]
fn a_boot_takes_a_trial_back_and_loads_what_was_confirmed() {
    house(|house| {
        let boot = |number: u32| {
            // Nothing of the kernel's or of the processes' is left after one.
            kill(house, &house.watchdogs());
            house.shell("nft delete table inet portreeve_host");
            house.world.cover(
                "/proc/sys/kernel/random/boot_id",
                &format!("00000000-0000-0000-0000-00000000000{number}\n"),
            );
        };
        // A trial alone: a boot loads nothing.
        let tried = house.portreeve(&format!("{APPLY} --no-wait --confirm-within 1h"));
        assert_eq!(tried.code, 0, "{tried:?}");
        boot(1);
        let loaded = house.portreeve("load");
        assert!(loaded.code == 0 && loaded.text.contains("no rules were ever confirmed"), "{loaded:?}");
        assert!(!ours_is_loaded(house));
        assert!(house.portreeve("show").text.contains("booted before anybody confirmed"));

        // One confirmed, another on trial: a boot loads the first.
        assert_eq!(house.portreeve(&format!("{APPLY} --probe true")).code, 0);
        let first = house.ruleset();
        settings(house, &format!("management = [\"{OTHER}\"]\n"));
        let tried = house.portreeve(&format!("{APPLY} --no-wait --confirm-within 1h"));
        assert_eq!(tried.code, 0, "{tried:?}");
        assert!(!comes_in(house, &[]));
        boot(2);
        assert_eq!(house.portreeve("load").code, 0);
        assert_eq!(house.ruleset(), first);
        assert!(comes_in(house, &[]) && !comes_in(house, FROM_OTHER));
        assert_eq!(house.portreeve("show").code, 0);
    });
}

#[test]
fn rules_that_others_change_prove_nothing() {
    house(|house| {
        let applied = house.portreeve(&format!("{APPLY} --no-wait --confirm-within 1h"));
        let token = token(&applied.text);
        let second = house.portreeve(APPLY);
        assert!(second.code == 2 && second.text.contains("a trial is under way"), "{second:?}");
        assert_eq!(house.shell("nft insert rule inet portreeve_host input accept").code, 0);
        let no = house.portreeve_by_ssh(&[], &format!("confirm {token}"));
        assert!(no.code == 2 && no.text.contains("another program changed them"), "{no:?}");
        assert_eq!(house.portreeve("rollback").code, 0);
        taken_back(house);
    });
}

/// However long the watchdogs of the trial before take to leave their seats.
#[test]
fn the_trial_after_a_trial_is_guarded_too() {
    house(|house| {
        let line = format!("{APPLY} --no-wait --confirm-within 10m");
        assert_eq!(house.portreeve(&line).code, 0);
        let former = house.watchdogs();
        former.iter().for_each(|pid| assert!(house.world.signal(*pid, 19)));
        assert_eq!(house.portreeve("rollback").code, 0);
        let apply = format!("exec {} firewall {line} > /run/w/applied 2>&1", house.program());
        house.world.spawn("apply", &["/bin/sh", "-c", &apply], &["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]);
        let said = || std::fs::read_to_string(house.world.inside("/run/w/applied")).unwrap_or_default();
        must("it is done, or waits for a seat", || {
            !said().is_empty() || house.watchdogs().iter().any(|pid| !former.contains(pid))
        });
        former.iter().for_each(|pid| assert!(house.world.signal(*pid, 18)));
        must("the former watchdogs end", || !house.watchdogs().iter().any(|pid| former.contains(pid)));
        must("it is done", || said().contains("firewall confirm "));
        for seat in 0..2 {
            let there = house.world.processes(&format!("firewall watch {seat} {}", token(&said())));
            assert_eq!(there.len(), 1, "{}", said());
        }
        assert_eq!(house.portreeve("rollback").code, 0);
        taken_back(house);
    });
}

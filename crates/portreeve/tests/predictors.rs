//! tcpdmatch and tcpdchk where they differ from the originals on purpose, and what their callers rely on. That they are
//! alike everywhere else is shown by compliance/tests/predictors.rs.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A working directory with tables, removed at its end.
struct Room(PathBuf);

impl Room {
    fn new(name: &str, tables: &[(&str, &str)]) -> Self {
        let path = std::env::temp_dir().join(format!("portreeve-predict-{}-{name}", std::process::id()));
        fs::create_dir(&path).expect("a new directory");
        let room = Self(fs::canonicalize(path).expect("an absolute path"));
        for (name, text) in tables {
            fs::write(room.0.join(name), text.replace("HERE", &room.shown())).expect("writable");
        }
        room
    }

    fn shown(&self) -> String {
        self.0.display().to_string()
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portreeve"));
        command.args(words).current_dir(&self.0).stdin(Stdio::null());
        command.output().expect("it runs")
    }

    /// Standard output, our directory as HERE; the call must have ended with this status.
    fn out(&self, words: &[&str], status: i32) -> String {
        // The machine's own inetd.conf must not matter.
        let words = [words, &["-i", "/dev/null"][..]].concat();
        let output = self.run(&words);
        assert_eq!(output.status.code(), Some(status), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).expect("UTF-8").replace(&self.shown(), "HERE")
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Without the lines that depend on programs and names that the machine knows.
fn steady(text: &str) -> String {
    let depends = |line: &&str| line.contains("no such process name") || line.contains("name lookup failed");
    text.lines().filter(|line| !depends(line)).map(|line| format!("{line}\n")).collect()
}

#[test]
fn nothing_that_a_rule_orders_is_done() {
    let rule = "d: ALL: spawn touch HERE/made: aclexec touch HERE/made: setenv A b: umask 777: nice 5: twist touch HERE/made\n";
    let room = Room::new("nothing", &[("hosts.allow", rule)]);
    let told = room.out(&["tcpdmatch", "-d", "d", "10.0.0.1"], 0);
    assert!(told.ends_with("option:   twist touch HERE/made\naccess:   delegated\n"), "{told}");
    let told = room.out(&["tcpdchk", "-d", "-v"], 0);
    assert!(told.ends_with("option:   twist touch HERE/made\naccess:   granted\n"), "{told}");
    assert!(!room.0.join("made").exists());
}

#[test]
fn a_user_option_takes_no_ids() {
    // Whoever runs the test: a prediction changes no ids, so it cannot fail to.
    let room = Room::new("user", &[("hosts.allow", "d: ALL: user root.root: group root\n")]);
    let told = steady(&room.out(&["tcpdmatch", "-d", "d", "10.0.0.1"], 0));
    let wanted = "client:   address  10.0.0.1\nserver:   process  d\nmatched:  hosts.allow line 1\n\
        option:   user root.root\noption:   group root\naccess:   granted\n";
    assert_eq!(told, wanted);
    for wrong in ["user no-such-user", "user root.no-such-group", "group no-such-group"] {
        let room = Room::new("nobody", &[("hosts.allow", &format!("d: ALL: {wrong}\n"))]);
        let told = room.out(&["tcpdmatch", "-d", "d", "10.0.0.1"], 0);
        assert!(told.contains("error: hosts.allow, line 1: unknown "), "{told}");
        assert!(told.ends_with("access:   denied\n"), "{told}");
    }
}

#[test]
fn a_list_that_includes_itself_is_an_error() {
    let room = Room::new("loop", &[("hosts.deny", "d: HERE/loop\n"), ("loop", "[::9] HERE/loop\n")]);
    let told = steady(&room.out(&["tcpdmatch", "-d", "d", "10.0.0.1"], 0));
    assert!(told.contains("error: hosts.deny, line 1: HERE/loop: "), "{told}");
    assert!(told.ends_with("access:   denied\n"), "{told}");
    let told = steady(&room.out(&["tcpdchk", "-d"], 0));
    assert_eq!(told, "warning: HERE/loop, line 1: open HERE/loop: it includes itself\n");
}

#[test]
fn lists_are_followed_a_bounded_way() {
    let mut files = vec![("hosts.allow".to_owned(), "d: HERE/0\n".to_owned())];
    files.extend((0..40).map(|number| (number.to_string(), format!("HERE/{}\n", number + 1))));
    let files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let room = Room::new("deep", &files);
    let told = steady(&room.out(&["tcpdchk", "-d"], 0));
    assert_eq!(told, "warning: HERE/15, line 1: open HERE/16: lists that include lists are too deep\n");
}

#[test]
fn a_percent_sign_in_a_path_is_a_percent_sign() {
    let room = Room::new("percent", &[("hosts.allow", "d: HERE/%s%n\n"), ("%s%n", "x. [::]/129\n")]);
    let told = steady(&room.out(&["tcpdchk", "-d"], 0));
    let wanted = "warning: HERE/%s%n, line 1: x.: domain or host name ends in dot\n\
        warning: HERE/%s%n, line 1: [::]/129: bad net/mask pattern\n";
    assert_eq!(told, wanted);
}

#[test]
fn wrong_calls_end_with_1() {
    let room = Room::new("calls", &[]);
    for (words, wanted) in [
        (&["tcpdmatch"][..], "usage: portreeve tcpdmatch [-d] [-i inet_conf] daemon[@host] [user@]host\n"),
        (&["tcpdmatch", "-z", "d", "c"], "portreeve tcpdmatch: invalid option -- 'z'\nusage: "),
        (&["tcpdmatch", "-i", "none", "d", "c"], "open none: No such file or directory\n"),
        (&["tcpdchk", "x"], "usage: portreeve tcpdchk [-a] [-d] [-i inet_conf] [-v]\n"),
        (&["tcpdchk", "-i"], "portreeve tcpdchk: option requires an argument -- 'i'\nusage: "),
        (&["tcpdchk", "-i", "/"], ""),
    ] {
        let output = room.run(words);
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.starts_with(wanted), "{words:?}: {told}");
        assert_eq!(output.status.code(), Some(i32::from(!wanted.is_empty())), "{words:?}");
    }
}

#[test]
fn pipes_are_not_waited_for() {
    let room = Room::new("pipes", &[]);
    for name in ["hosts.allow", "pipe"] {
        let made = Command::new("mkfifo").arg(room.0.join(name)).status();
        assert!(made.is_ok_and(|status| status.success()), "mkfifo");
    }
    let told = room.out(&["tcpdchk", "-d"], 0);
    assert_eq!(told, "warning: cannot open hosts.allow: Invalid argument\n");
    let told = room.out(&["tcpdmatch", "-d", "d", "10.0.0.1"], 0);
    assert!(
        told.ends_with("warning: cannot open hosts.allow: Invalid argument\naccess:   granted\n"),
        "{told}"
    );
    let output = room.run(&["tcpdchk", "-i", "pipe"]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "open pipe: Invalid argument\n");
}

#[test]
fn hostile_tables_end() {
    let many = "d EXCEPT ".repeat(200);
    let line = "d ".repeat(200_000);
    let tables = [
        format!("{many}: ALL\n"),
        format!("{line}: ALL\n"),
        "\0".repeat(100_000),
        "d: [[[[[[:::::]]]]]]\n".repeat(5000),
        "d: ALL: spawn %%%%%%%%%%%%%%%%%%%%%%%%%%: bogus\n".repeat(100),
        "\\\n".repeat(100_000),
    ];
    for (number, table) in tables.iter().enumerate() {
        let room = Room::new(&format!("hostile{number}"), &[("hosts.allow", table), ("hosts.deny", table)]);
        room.out(&["tcpdmatch", "-d", "d", "10.0.0.1"], 0);
        room.out(&["tcpdmatch", "-d", "d", "fe80::1"], 0);
    }
}

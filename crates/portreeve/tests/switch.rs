//! `portreeve disable` and `enable` as a person calls them: what changes in the file, what does not, and when nothing is
//! written. A thread plays the daemon where one must answer.

use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const PORTREEVE: &str = env!("CARGO_BIN_EXE_portreeve");

/// A directory of this test's own, removed at its end.
struct Room(PathBuf);

impl Room {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("portreeve-switch-{}-{name}", std::process::id()));
        fs::create_dir(&path).expect("a new directory");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
        Self(path)
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.0.join(name);
        fs::write(&path, bytes).expect("writable");
        path.into_os_string().into_string().expect("UTF-8")
    }

    /// Every name in it.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("readable");
        let mut names: Vec<String> =
            entries.map(|e| e.expect("entry").file_name().into_string().expect("UTF-8")).collect();
        names.sort();
        names
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs it where no daemon answers, unless the arguments name one.
fn portreeve(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(PORTREEVE);
    command.args(arguments).env_remove("XDG_RUNTIME_DIR");
    if !arguments.contains(&"--control") {
        command.env("PORTREEVE_CONTROL", "/nonexistent/portreeve/control");
    }
    told(&command.stdin(Stdio::null()).output().expect("portreeve runs"))
}

fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (output.status.code().expect("an exit"), text(&output.stdout), text(&output.stderr))
}

/// Succeeds, and gives what it printed.
fn fine(arguments: &[&str]) -> String {
    let (code, out, err) = portreeve(arguments);
    assert_eq!((code, err.as_str()), (0, ""), "{arguments:?}: {out}");
    out
}

/// Changes nothing, and gives what it said.
fn refused(arguments: &[&str], file: &str) -> String {
    let before = fs::read(file).expect("readable");
    let (code, out, err) = portreeve(arguments);
    assert_eq!(code, 2, "{arguments:?}: {out}{err}");
    assert_eq!(fs::read(file).expect("readable"), before, "{err}");
    format!("{out}{err}")
}

fn read(file: &str) -> String {
    fs::read_to_string(file).expect("readable")
}

fn entry(id: &str, port: u16) -> String {
    format!(
        "service {id}\n{{\n\ttype\t\t= UNLISTED\n\tsocket_type\t= stream\n\tprotocol\t= tcp\n\tport\t\t= {port}\n\twait\t\t= no\n\
\tuser\t\t= root\n\tserver\t\t= /bin/echo\n}}\n"
    )
}

#[test]
fn off_and_on_again_in_the_file_that_has_the_entry() {
    let room = Room::new("off");
    fs::create_dir(room.0.join("d")).expect("a directory");
    let tail = "# \u{e4} comment, and no line end";
    let whole =
        format!("{}\r\n# b\t\r\n{}{tail}", entry("a", 20501).replace('\n', "\r\n"), entry("b", 20502));
    let real = room.file("d/real", &whole);
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).expect("its mode");
    let main = room.file("main", format!("includedir {}\n", room.0.join("inc").display()));
    fs::create_dir(room.0.join("inc")).expect("a directory");
    symlink("../d/real", room.0.join("inc/both")).expect("a link");

    let shown = fine(&["disable", "a", "-f", &main, "--dry-run"]);
    assert!(shown.contains("\n+\tdisable\t\t= yes\\r\n") && !shown.contains("\n-\t"), "{shown}");
    assert_eq!(read(&real), whole, "a dry run");

    let out = fine(&["disable", "a", "-f", &main]);
    assert!(out.contains("a: switched off in ") && out.contains("inc/both:1\n"), "{out}");
    assert!(out.contains("no daemon answers: it counts from the next start on"), "{out}");
    let off = whole.replacen("{\r\n", "{\r\n\tdisable\t\t= yes\r\n", 1);
    assert_eq!(read(&real), off);
    assert_eq!(fs::metadata(&real).expect("there").mode() & 0o7777, 0o640);
    assert!(fs::symlink_metadata(room.0.join("inc/both")).expect("there").is_symlink());
    assert!(fine(&["disable", "a", "-f", &main]).contains("already off"));
    assert_eq!(read(&real), off);
    assert!(fine(&["check", "-f", &main]).contains("1 served, 0 not served, 1 switched off"));

    let answer: Value = serde_json::from_str(&fine(&["enable", "a", "-f", &main, "--json"])).expect("JSON");
    assert_eq!((&answer["written"], &answer["wanted"]), (&true.into(), &"on".into()), "{answer}");
    assert_eq!(read(&real), off.replacen("= yes", "= no", 1));
    assert!(fine(&["check", "-f", &main]).contains("2 served, 0 not served, 0 switched off"));
    assert_eq!(fs::read_dir(room.0.join("d")).expect("readable").count(), 1, "nothing is left beside it");
}

#[test]
fn who_is_meant() {
    let room = Room::new("who");
    let day = |id: &str, port: u16| entry("day", port).replace("{\n", &format!("{{\n\tid = {id}\n"));
    let file = room.file("f", [day("day-a", 20511), day("day-b", 20512), day("day-c", 20513)].concat());
    let said = refused(&["disable", "day", "-f", &file], &file);
    assert!(said.contains("3 entries are meant by `day`"), "{said}");
    for (line, id) in [(1, "day-a"), (12, "day-b"), (23, "day-c")] {
        assert!(said.contains(&format!("{file}:{line}: {id}, served")), "{said}");
    }
    assert!(refused(&["enable", "nobody", "-f", &file], &file).contains("there are day-a, day-b, day-c"));
    fine(&["disable", "day-b", "-f", &file]);
    fine(&["disable", &format!("{file}:1"), "-f", &file]);
    // Only one of that name is left to be changed; and the id of one that is off is still known.
    assert!(fine(&["disable", "day", "-f", &file]).contains("day-c: switched off"));
    assert!(fine(&["disable", "day", "-f", &file]).matches("already off").count() == 3);
    fine(&["enable", "day-b", "-f", &file]);
    assert!(fine(&["check", "-f", &file]).contains("1 served, 0 not served, 2 switched off"));
}

#[test]
fn what_would_not_be_served_is_not_switched_on() {
    let room = Room::new("not");
    let off = |id: &str, port: u16| entry(id, port).replace("{\n", "{\n\tdisable = yes\n");
    let broken = off("broken", 20522).replace("wait\t\t= no", "wait\t\t= perhaps");
    let twin = off("twin", 20521);
    let lists = "defaults\n{\n\tenabled = a broken twin\n\tdisabled = listed\n}\n";
    let text = [lists, &twin, &entry("a", 20521), &broken, &entry("listed", 20523), &entry("left", 20524)];
    let file = room.file("f", text.concat());
    let said = refused(&["enable", "broken", "-f", &file], &file);
    assert!(said.contains("perhaps") && said.contains("nothing was changed"), "{said}");
    // On its port another service would no longer be served.
    let said = refused(&["enable", "twin", "-f", &file], &file);
    assert!(said.contains("listens where the earlier service `twin` does"), "{said}");
    let said = refused(&["enable", "listed", "-f", &file], &file);
    assert!(
        said.contains(&format!("add it to `enabled` at {file}:3"))
            || said.contains(&format!("take it out of `disabled` at {file}:4")),
        "{said}"
    );
    let said = refused(&["enable", "left", "-f", &file], &file);
    assert!(said.contains(&format!("add it to `enabled` at {file}:3")), "{said}");
    assert!(fine(&["disable", "left", "-f", &file]).contains("already off: `enabled` does not name it"));
}

#[test]
fn lines_of_inetd_get_debians_mark() {
    let room = Room::new("inetd");
    let text = "# services\nftp stream tcp nowait root /bin/echo echo\n\tone two\n20531 stream tcp nowait root /bin/echo echo\n\
#20532 stream tcp nowait root /bin/echo echo";
    let file = room.file("inetd.conf", text);
    fine(&["disable", "20531", "--inetd", &file]);
    let off = text.replace("\n20531", "\n#<off># 20531");
    assert_eq!(read(&file), off);
    assert!(fine(&["disable", "20531", "--inetd", &file]).contains("already off"));
    assert!(refused(&["enable", "20532", "--inetd", &file], &file).contains("the line is a comment"));
    assert!(fine(&["disable", "20532", "--inetd", &file]).contains("already off"));
    fine(&["disable", "ftp", "--inetd", &file]);
    assert_eq!(read(&file), off.replace("\nftp", "\n#<off># ftp").replace("\n\tone", "\n#<off># \tone"));
    fine(&["enable", "ftp", "--inetd", &file]);
    fine(&["enable", "20531", "--inetd", &file]);
    assert_eq!(read(&file), text);
}

#[test]
fn a_write_that_fails_leaves_the_file_as_it_was() {
    let room = Room::new("full");
    let file = room.file("f", entry("a", 20541));
    let command = "trap '' XFSZ; ulimit -f 0; exec \"$0\" disable a -f \"$1\"";
    let output = Command::new("sh")
        .args(["-c", command, PORTREEVE, &file])
        .env("PORTREEVE_CONTROL", "/nonexistent/portreeve/control")
        .output()
        .expect("sh runs");
    let (code, _, err) = told(&output);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("the new contents cannot be written: File too large; nothing was changed"), "{err}");
    assert_eq!(read(&file), entry("a", 20541));
    assert_eq!(room.names(), ["f"]);
    fs::set_permissions(&room.0, fs::Permissions::from_mode(0o777)).expect("its mode");
    assert!(refused(&["disable", "a", "-f", &file], &file).contains("everybody may write its directory"));
}

/// A daemon that gives these answers, one after the other; and what it was asked.
fn daemon(path: &Path, answers: Vec<Value>) -> std::thread::JoinHandle<Vec<String>> {
    let listener = UnixListener::bind(path).expect("a socket");
    std::thread::spawn(move || {
        let asked = answers.into_iter().map(|answer| {
            let (mut stream, _) = listener.accept().expect("a client");
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).expect("a request");
            write!(stream, "{answer}").expect("an answer");
            line.trim_end().to_owned()
        });
        asked.collect()
    })
}

#[test]
fn the_daemon_reads_it_or_says_why_not() {
    let room = Room::new("daemon");
    let file = room.file("f", [entry("a", 20551), entry("b", 20552)].concat());
    let socket = room.0.join("control");
    let control = socket.to_str().expect("UTF-8");
    let status = json!({"ok": true, "config": file, "inetd": null, "services": [{"id": "a", "state": "active"}, {"id": "b", "state": "active"}]});
    let busy = json!({"ok": false, "error": "a reload is under way; it is followed by another"});
    let applied = json!({"ok": true, "applied": true, "dropped": ["a"], "kept": ["b"]});

    let thread = daemon(&socket, vec![status.clone(), busy, applied.clone()]);
    let out = fine(&["disable", "a", "--control", control]);
    assert!(out.ends_with("applied\n  dropped: a\n  unchanged: b\n"), "{out}");
    assert_eq!(thread.join().expect("asked"), ["status", "reload", "reload"]);
    fs::remove_file(&socket).expect("removable");

    // The file says it already, the daemon does not do it yet.
    let thread = daemon(&socket, vec![status.clone(), applied]);
    let out = fine(&["disable", "a", "--control", control]);
    assert!(out.contains("already off") && out.contains("has not read it yet"), "{out}");
    assert_eq!(thread.join().expect("asked"), ["status", "reload"]);
    fs::remove_file(&socket).expect("removable");

    let no =
        json!({"ok": true, "applied": false, "why_not": "a value in defaults is wrong", "diagnostics": []});
    let thread = daemon(&socket, vec![status.clone(), no]);
    let (code, out, _) = portreeve(&["disable", "b", "--control", control]);
    assert_eq!(code, 1);
    assert!(
        out.contains("not applied: a value in defaults is wrong")
            && out.contains("the file stays as it is now"),
        "{out}"
    );
    thread.join().expect("asked");
    fs::remove_file(&socket).expect("removable");
    assert_eq!(read(&file).matches("disable\t\t= yes").count(), 2);

    // It may not be asked to reload; and it is not asked where it reads another file.
    let thread = daemon(&socket, vec![status.clone(), json!({"ok": false, "error": "this needs root"})]);
    let (code, out, _) = portreeve(&["enable", "b", "--control", control]);
    assert_eq!(code, 1);
    assert!(out.contains("the daemon has not read it: the daemon refused: this needs root"), "{out}");
    thread.join().expect("asked");
    fs::remove_file(&socket).expect("removable");
    let other = room.file("other", entry("c", 20553));
    let thread = daemon(&socket, vec![status]);
    let out = fine(&["disable", "c", "-f", &other, "--control", control]);
    assert!(out.contains(&format!("the daemon that runs reads {file}, and was left alone")), "{out}");
    assert_eq!(thread.join().expect("asked"), ["status"]);
    fs::remove_file(&socket).expect("removable");

    let (code, _, err) = portreeve(&["disable", "a", "--control", control]);
    assert_eq!(code, 2, "who names a daemon means its files");
    assert!(err.contains("no daemon answers"), "{err}");
}

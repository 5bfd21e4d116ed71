//! libwrap.so.0 as programs link it: the list of its symbols, its structures, and each function called from C, against the
//! original and against ours. What no program should do, and threads, against ours alone: the original does not survive it.

use portreeve_compliance::init::HERE;
use portreeve_compliance::libwrap::{Wrapped, ours as our_library};
use portreeve_compliance::skip::{Reason, find_program, has_programs, skip};
use portreeve_compliance::{Ended, World, both, ours};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

const ORIGINAL: &[&str] = &["/usr/lib/x86_64-linux-gnu/libwrap.so.0", "/lib/x86_64-linux-gnu/libwrap.so.0"];

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("c").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(source(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn readelf(arguments: &[&str], library: &Path) -> String {
    let output = Command::new("readelf").args(arguments).arg(library).output().expect("readelf starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// `name kind binding size` of everything that a library defines for others; the size counts for data alone.
fn symbols(library: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in readelf(&["-W", "--dyn-syms"], library).lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, _, size, kind, binding, visibility, section, name] = words[..] else { continue };
        if section.parse::<u32>().is_ok() && visibility != "HIDDEN" {
            let size = if kind == "OBJECT" { size } else { "-" };
            found.insert(format!("{name} {kind} {binding} {size}"));
        }
    }
    found
}

fn listed() -> BTreeSet<String> {
    text("symbols.txt").lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

fn original() -> Option<PathBuf> {
    ORIGINAL.iter().map(PathBuf::from).find(|path| path.exists())
}

#[test]
fn symbols_are_those_of_the_original() {
    if !has_programs(&["readelf"]) {
        return;
    }
    let listed = listed();
    assert_eq!(listed.len(), 40);
    assert_eq!(symbols(&our_library()), listed, "ours");
    match original() {
        Some(library) => assert_eq!(symbols(&library), listed, "the original"),
        None => skip(Reason::absent("libwrap.so.0")),
    }
    let map = std::fs::read_to_string(source("../../crates/libwrap/libwrap.map")).expect("the map");
    let names: BTreeSet<&str> = map.lines().filter_map(|line| line.trim().strip_suffix(';')).collect();
    let names: BTreeSet<&str> = names.into_iter().filter(|name| !matches!(*name, "*" | "}")).collect();
    let listed: BTreeSet<&str> = listed.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, listed, "the map");
}

#[test]
fn it_needs_libc_alone_and_binds_at_once() {
    if !has_programs(&["readelf"]) {
        return;
    }
    let dynamic = readelf(&["-W", "-d"], &our_library());
    let values = |tag: &str| -> Vec<String> {
        let lines = dynamic.lines().filter(|line| line.contains(&format!("({tag})")));
        lines.filter_map(|line| Some(line.split_once('[')?.1.trim_end_matches(']').to_owned())).collect()
    };
    assert_eq!(values("SONAME"), ["libwrap.so.0"]);
    for needed in values("NEEDED") {
        assert!(matches!(&*needed, "libc.so.6" | "ld-linux-x86-64.so.2"), "needs {needed}");
    }
    assert!(dynamic.contains("BIND_NOW") && dynamic.contains("NODELETE"), "{dynamic}");
    for never in ["(TEXTREL)", "(RPATH)", "(RUNPATH)", "(VERDEF)"] {
        assert!(!dynamic.contains(never), "{never}: {dynamic}");
    }
    let segments = readelf(&["-W", "-l"], &our_library());
    let stack = segments.lines().find(|line| line.contains("GNU_STACK")).expect("GNU_STACK");
    assert!(!stack.contains("RWE"), "{stack}");
    assert!(segments.contains("GNU_RELRO"), "{segments}");
    // A program's copy counts, so each variable that the library itself uses is reached through the GOT.
    let relocations = readelf(&["-W", "-r"], &our_library());
    let used = [
        "allow_severity",
        "deny_severity",
        "hosts_allow_table",
        "hosts_deny_table",
        "hosts_access_verbose",
        "rfc931_timeout",
        "resident",
        "dry_run",
        "tcpd_context",
        "tcpd_buf",
    ];
    for name in used {
        let mut lines = relocations.lines().filter(|line| line.contains(&format!(" {name} ")));
        assert!(lines.any(|line| line.contains("GLOB_DAT")), "{name}: {relocations}");
    }
}

/// Compiles one of the programs in C against the system's header; `None` when that is not installed.
fn compiled(name: &str) -> Option<PathBuf> {
    if !has_programs(&["cc"]) {
        return None;
    }
    if !Path::new("/usr/include/tcpd.h").exists() {
        skip(Reason::absent("libwrap0-dev"));
        return None;
    }
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let mut command = Command::new(find_program("cc").expect("cc"));
    // The header and the symbols of the library that is installed, as whoever built a program once had them.
    command.args(["-std=gnu11", "-Wall", "-Wextra", "-O1", "-pthread", "-o"]);
    command.arg(&program).arg(source(&format!("{name}.c"))).arg("-lwrap");
    let output = command.output().expect("cc starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(program)
}

/// Puts a program into a world; gives its path inside.
fn lodge(world: &World, program: &Path) -> String {
    let name = program.file_name().and_then(|name| name.to_str()).expect("a name");
    world.write_mode(name, std::fs::read(program).expect("the program"), 0o755)
}

/// All parts of interface.c, with what they print on both channels.
const PARTS: &[&str] = &[
    "variables",
    "attributes",
    "methods",
    "ports",
    "split",
    "numbers",
    "errors",
    "lines",
    "messages",
    "options",
    "expansion",
    "verdicts",
    "sockets",
    "idents",
    "commands",
    "state",
    "ends",
];

#[test]
fn every_function_answers_as_the_original() {
    let Some(program) = compiled("interface") else { return };
    both(|world| {
        let wrapped = Wrapped::new(world);
        let program = lodge(world, &program);
        let mut printed = String::new();
        for part in PARTS {
            let directory = format!("{HERE}/{part}");
            std::fs::create_dir(world.path(part)).expect("a directory");
            let name = format!("part-{part}");
            let pid = world.spawn(&name, &[&program, part, &directory], &wrapped.env());
            assert_eq!(world.wait(pid), Ended::Status(0), "{part}");
            let (out, err) = (world.read(&format!("{name}.out")), world.read(&format!("{name}.err")));
            let _ = write!(printed, "== {part}\n{out}-- messages\n{err}");
        }
        // The original keeps the place of an earlier call and puts it before messages that have nothing to do with it.
        let stale = "interface: warning: /run/w/verdicts/allow, line 4: cannot open";
        let place = world.fix("no-stale-place", stale, "interface: warning: cannot open");
        let expected = text("interface.expected").replace(stale, place);
        if std::env::var_os("PORTREEVE_RECORD").is_some() && !world.is_ours() {
            std::fs::write(source("interface.expected"), &printed).expect("to record");
        }
        let differ = |(wanted, got): &(&str, &str)| wanted != got;
        let difference = expected.lines().zip(printed.lines()).find(differ);
        assert!(printed == expected, "expected, got: {difference:?}");
    });
}

/// As `cc program.c -lwrap` does where ours stands in for the library that is installed.
#[test]
fn programs_can_be_linked_to_it() {
    if compiled("interface").is_none() {
        return;
    }
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("interface-of-ours");
    let mut command = Command::new(find_program("cc").expect("cc"));
    command.arg("-o").arg(&program).arg(source("interface.c")).arg(our_library());
    let output = command.output().expect("cc starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(readelf(&["-W", "-d"], &program).contains("[libwrap.so.0]"), "by the name of the original");
    ours(|world| {
        let wrapped = Wrapped::new(world);
        let program = lodge(world, &program);
        let (how, output) = world.run(&[&program, "variables", HERE], &wrapped.env());
        assert_eq!(how, Ended::Status(0), "{output}");
        assert!(output.starts_with("severities 6 4, tables /etc/hosts.allow /etc/hosts.deny\n"), "{output}");
    });
}

#[test]
fn programs_hold_copies_of_the_variables() {
    let Some(program) = compiled("interface") else { return };
    if !has_programs(&["readelf"]) {
        return;
    }
    let relocations = readelf(&["-W", "-r"], &program);
    for name in
        ["hosts_allow_table", "resident", "dry_run", "tcpd_buf", "tcpd_context", "unknown", "paranoid"]
    {
        let copied = |line: &str| line.contains("R_X86_64_COPY") && line.contains(&format!(" {name} "));
        assert!(relocations.lines().any(copied), "{name} is not copied: the other test shows nothing");
    }
}

fn says(name: &str, arguments: &[&str], word: &str) {
    let Some(program) = compiled(name) else { return };
    ours(|world| {
        let wrapped = Wrapped::new(world);
        let program = lodge(world, &program);
        let argv: Vec<&str> = [program.as_str(), HERE].iter().chain(arguments).copied().collect();
        let (how, output) = world.run(&argv, &wrapped.env());
        assert_eq!((how, output.as_str()), (Ended::Status(0), word));
    });
}

#[test]
fn it_survives_what_no_program_should_do() {
    says("hostile", &[], "survived\n");
}

#[test]
fn threads_and_children_stay_apart() {
    says("threads", &["3000"], "apart\n");
}

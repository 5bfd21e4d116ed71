//! Reference xinetd §1.5: include and includedir, and the bounds that xinetd lacks.

use super::{FakeHost, MAIN, codes, log, names, reading_on, stream};
use crate::read;
use std::path::Path;

fn with(files: &[(&str, &str)]) -> FakeHost {
    let mut host = FakeHost::debian();
    for (path, text) in files {
        host.file(path, text);
    }
    host
}

#[test]
fn a_file_is_read_where_it_is_included() {
    let host = with(&[("/etc/a", &stream("a", 2001, ""))]);
    let text = format!("{}include /etc/a\n{}", stream("first", 2000, ""), stream("last", 2002, ""));
    let reading = reading_on(host, text);
    assert_eq!(names(&reading), ["first", "a", "last"]);
    assert_eq!(
        log(&reading),
        ["Debug: Reading included configuration file: /etc/a [file=/etc/xinetd.conf] [line=11]"]
    );
    let files: Vec<&Path> = reading.files.iter().map(|file| file.as_path()).collect();
    assert_eq!(files, [Path::new(MAIN), Path::new("/etc/a")]);
}

#[test]
fn findings_come_in_the_order_of_reading() {
    let host = with(&[("/etc/a", "defaults\n{\n\twait = no\n}\n")]);
    let text =
        format!("{}include /etc/a\n{}", stream("s1", 1, "\tfoo = 1\n"), stream("s2", 2, "\tbar = 1\n"));
    let reading = reading_on(host, text);
    let places: Vec<String> =
        reading.diagnostics.iter().map(|finding| finding.place.as_ref().unwrap().to_string()).collect();
    assert_eq!(places, ["/etc/xinetd.conf:10:2", "/etc/a:3:2", "/etc/xinetd.conf:22:2"]);
    assert_eq!(reading.diagnostics[1].source_line.as_deref(), Some("\twait = no"));
}

#[test]
fn a_missing_file_stops_nothing() {
    let reading =
        reading_on(FakeHost::debian(), format!("include /etc/a\nincludedir /etc/d\n{}", stream("s1", 1, "")));
    assert_eq!(names(&reading), ["s1"]);
    assert_eq!(
        log(&reading),
        [
            "Error: Unable to open included configuration file: /etc/a [file=/etc/xinetd.conf] [line=1]",
            "Error: Unable to read included directory: /etc/d [file=/etc/xinetd.conf] [line=2]",
        ]
    );
}

#[test]
fn a_directory_is_read_by_bytes_without_dots_and_tildes() {
    let mut host = FakeHost::debian();
    let files = ["b", "a", "#x#", "_x-A", "c.conf", ".hidden.conf", "d~", "Z"];
    for (port, name) in files.iter().enumerate() {
        host.file(&format!("/etc/d/{name}"), stream(name, 3000 + port as u16, ""));
    }
    let mut entries: Vec<(&str, bool)> = files.iter().map(|name| (*name, true)).collect();
    entries.push(("sub", false));
    host.directory("/etc/d", &entries);
    let reading = reading_on(host, "includedir /etc/d\n");
    assert_eq!(names(&reading), ["#x#", "Z", "_x-A", "a", "b"]);
    assert_eq!(codes(&reading), ["skipped-file", "not-regular"]);
    assert!(reading.diagnostics[0].message.contains("`c.conf` in `/etc/d` is skipped"));
    assert!(!reading.diagnostics[0].message.contains("hidden"));
    assert!(
        log(&reading).contains(&"Error: /etc/d/sub is not a regular file. It is being skipped.".to_owned())
    );
}

#[test]
fn a_cycle_is_an_error_and_no_crash() {
    for path in ["/etc/xinetd.conf", "/etc//./xinetd.conf"] {
        let reading = reading_on(FakeHost::debian(), format!("include {path}\n{}", stream("s1", 1, "")));
        assert_eq!((names(&reading), codes(&reading)), (vec!["s1"], vec!["include-cycle"]), "{path}");
    }
    let host = with(&[("/etc/a", "include /etc/b\n"), ("/etc/b", "include /etc/a\n")]);
    let reading = reading_on(host, "include /etc/a\n");
    assert_eq!(
        reading.diagnostics[0].message,
        "a file includes itself: `/etc/a` includes `/etc/b` includes `/etc/a`"
    );
}

#[test]
fn depth_and_number_are_bounded() {
    let mut host = FakeHost::debian();
    for depth in 0..30 {
        host.file(
            &format!("/f{depth}"),
            format!("include /f{}\n{}", depth + 1, stream("s", 3000 + depth, "")),
        );
    }
    let reading = reading_on(host, "include /f0\n");
    assert_eq!(reading.services.len(), 16);
    assert_eq!(codes(&reading)[0], "include-depth");

    // Two inclusions of the next file in each of 16 would be 65536 readings.
    let mut host = FakeHost::debian();
    for depth in 0..16 {
        host.file(&format!("/f{depth}"), format!("include /f{}\n", depth + 1).repeat(2));
    }
    host.file(MAIN, "include /f0\n");
    let reading = read(&host, Path::new(MAIN));
    assert_eq!(reading.files.len(), 4096);
    assert!(codes(&reading).contains(&"include-depth"));
}

#[test]
fn an_unreadable_main_file_is_fatal() {
    let reading = read(&FakeHost::debian(), Path::new("/nowhere"));
    assert_eq!(reading.fatal, Some(crate::Fatal::Unreadable));
    assert_eq!(log(&reading), ["Error: open( /nowhere ) failed: No such file or directory (errno = 2)"]);
}

#[test]
fn relative_paths_are_doubtful() {
    let host = with(&[("a", &stream("s1", 1, ""))]);
    let reading = reading_on(host, "include a\n");
    assert_eq!((names(&reading), codes(&reading)), (vec!["s1"], vec!["relative-include"]));
}

#[test]
fn an_included_directory_is_no_file() {
    let mut host = FakeHost::debian();
    host.directory("/etc/d", &[]);
    let reading = reading_on(host, format!("include /etc/d\n{}", stream("s1", 1, "")));
    assert_eq!((names(&reading), codes(&reading)), (vec!["s1"], vec!["include-unreadable"]));
}

#[test]
fn files_of_a_directory_are_logged_at_its_line() {
    let mut host = with(&[("/etc/d/a", "# a\n# b\n"), ("/etc/d/b", "")]);
    host.directory("/etc/d", &[("a", true), ("b", true)]);
    assert_eq!(
        log(&reading_on(host, "\nincludedir /etc/d\n")),
        [
            "Debug: Reading included configuration file: /etc/d/a [file=/etc/xinetd.conf] [line=2]",
            "Debug: Reading included configuration file: /etc/d/b [file=/etc/xinetd.conf] [line=2]",
        ]
    );
}

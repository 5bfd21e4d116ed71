//! Reference xinetd §1.1 and §1.2: what ends a line, a section, and what an error swallows.

use super::{codes, log, names, reading, stream};

#[test]
fn a_section_needs_its_braces_alone() {
    for (text, line, what) in [
        ("service s1 {\n\ttype = INTERNAL\n}\n", 2, "Service s1: missing '{'"),
        ("service s1\n{ type = INTERNAL\n}\n", 2, "Service s1: missing '{'"),
        ("defaults {\n\tinstances = 1\n}\n", 2, "Service (null): missing '{'"),
    ] {
        let reading = reading(format!("{text}{}", stream("s2", 2000, "")));
        assert_eq!(log(&reading)[0], format!("Error: {what} [file=/etc/xinetd.conf] [line={line}]"));
        assert_eq!(names(&reading), ["s2"], "{text}");
        assert_eq!(codes(&reading), ["brace-missing"], "{text}");
    }
}

#[test]
fn blanks_and_comments_may_stand_anywhere() {
    let text = stream("s1", 2000, "\n  # comment\n").replace("service s1\n{", "service s1\n\n # x\n\t{ ");
    assert_eq!(names(&reading(text)), ["s1"]);
}

#[test]
fn keywords_and_attributes_have_no_case() {
    let text = stream("s1", 2000, "").replace("service", "SERVICE").replace("wait = no", "WAIT = NO");
    assert_eq!(names(&reading(text)), ["s1"]);
}

#[test]
fn a_missing_end_swallows_the_next_service() {
    let text = stream("s1", 2000, "").replace("}\n", "") + &stream("s2", 2001, "") + &stream("s3", 2002, "");
    let reading = reading(text);
    assert_eq!(names(&reading), ["s3"]);
    let lost: Vec<&str> = reading.left_out.iter().map(|left| left.name.as_str()).collect();
    assert_eq!(lost, ["s1", "s2"]);
    assert_eq!(
        log(&reading),
        [
            "Error: Bad operator for attribute: service [file=/etc/xinetd.conf] [line=10]",
            "Error: service `s2` is skipped with the section before it [file=/etc/xinetd.conf] [line=10]"
        ]
    );
    assert_eq!(codes(&reading), ["syntax", "swallowed"]);
    assert_eq!(
        reading.diagnostics[0].help.as_deref(),
        Some("service `s1` that starts at line 1 has no `}` before this line")
    );
}

#[test]
fn the_end_of_the_file_ends_no_section() {
    let reading = reading(stream("s1", 2000, "\tnice = x\n").replace("}\n", ""));
    assert_eq!(names(&reading), [""; 0]);
    assert_eq!(
        log(&reading),
        [
            "Error: Error parsing: x [file=/etc/xinetd.conf] [line=10]",
            "Error: Error parsing attribute nice - DISABLING SERVICE [file=/etc/xinetd.conf] [line=10]",
            "Error: incomplete entry [file=/etc/xinetd.conf] [line=10]",
            "Warning: missing } in last service entry [file=/etc/xinetd.conf] [line=10]",
        ]
    );
}

#[test]
fn a_last_line_needs_no_line_end() {
    assert_eq!(names(&reading(stream("s1", 2000, "").trim_end())), ["s1"]);
}

#[test]
fn a_stray_line_swallows_a_service() {
    for (stray, message, code) in [
        ("stray", "missing service keyword", "unknown-section"),
        ("}", "missing service keyword", "unknown-section"),
        ("include", "service name missing", "name-missing"),
        ("service", "service name missing", "name-missing"),
    ] {
        let reading = reading(format!("{stray}\n{}{}", stream("s1", 2000, ""), stream("s2", 2001, "")));
        assert_eq!(names(&reading), ["s2"], "{stray}");
        assert_eq!(log(&reading)[0], format!("Error: {message} [file=/etc/xinetd.conf] [line=1]"));
        assert_eq!(codes(&reading), [code, "swallowed"]);
        assert_eq!(reading.left_out[0].name, "s1");
    }
}

#[test]
fn lines_that_are_no_assignment_drop_the_section() {
    for (line, message) in [
        ("port= 1", "Attribute port needs a space before operator"),
        ("port 20101", "Bad operator for attribute: port"),
        ("port + = 1", "Bad operator for attribute: port"),
        ("port", "Bad operator for attribute: port"),
        ("port ", "Nothing after attribute: port"),
        ("= 1", "Attribute  needs a space before operator"),
    ] {
        let reading = reading(stream("s1", 2000, &format!("{line}\n")) + &stream("s2", 2001, ""));
        assert_eq!(names(&reading), ["s2"], "{line}");
        assert_eq!(log(&reading), [format!("Error: {message} [file=/etc/xinetd.conf] [line=10]")]);
    }
    assert_eq!(names(&reading(stream("s1", 2000, "").replace("port = ", "port ="))), ["s1"]);
}

#[test]
fn a_syntax_error_in_defaults_discards_its_rest() {
    let rest = stream("s1", 2000, "") + &stream("s2", 2001, "");
    // The `}` of defaults is read as a stray word, which swallows the service behind it.
    let reading = reading(format!("defaults\n{{\n\tinstances = 3\n\tumask=002\n}}\n{rest}"));
    assert_eq!(names(&reading), ["s2"]);
    assert_eq!(reading.services[0].limits.instances.value, Some(3), "what stood before the error holds");
    assert_eq!(reading.fatal, None);
    assert_eq!(
        log(&reading)[..2],
        [
            "Error: Attribute umask needs a space before operator [file=/etc/xinetd.conf] [line=4]",
            "Error: missing service keyword [file=/etc/xinetd.conf] [line=5]",
        ]
    );
}

#[test]
fn crlf_and_byte_order_mark_are_accepted_with_a_warning() {
    let text = format!("\u{feff}{}", stream("s1", 2000, "").replace('\n', "\r\n"));
    let reading = reading(text);
    assert_eq!(names(&reading), ["s1"]);
    assert_eq!(codes(&reading), ["byte-order-mark", "crlf"]);
    assert_eq!(reading.services[0].ids.user.as_ref().unwrap().name, "nobody");
}

#[test]
fn a_nul_ends_the_line() {
    let reading = reading(stream("s1", 2000, "\tnice = 5\0 6 7\n"));
    assert_eq!(reading.services[0].nice, Some(5));
    assert_eq!(codes(&reading), ["nul"]);
}

#[test]
fn long_lines_have_a_bound() {
    let line = |length: usize| format!("\tserver_args = {}\n", "x".repeat(length - 15));
    assert_eq!(names(&reading(stream("s1", 2000, &line(16 * 1024)))), ["s1"]);
    let over = reading(stream("s1", 2000, &line(16 * 1024 + 1)) + &stream("s2", 2001, ""));
    assert_eq!((names(&over), codes(&over)), (vec!["s2"], vec!["line-too-long"]));
    let comment = format!("#{}\n{}", "x".repeat(100_000), stream("s1", 2000, ""));
    assert_eq!(names(&reading(comment)), ["s1"]);
}

#[test]
fn disable_yes_stops_reading() {
    let reading =
        reading(stream("s1", 2000, "\tdisable = yes\n\tnice = bad\n\tnonsense\n") + &stream("s2", 2001, ""));
    assert_eq!(names(&reading), ["s2"]);
    assert_eq!(reading.log, []);
    assert!(reading.left_out[0].intended);
}

#[test]
fn disable_no_never_revives() {
    for bad in ["user = ghost", "nice = x", "access_times = 8"] {
        let text = super::with_line(bad).replace("}\n", "\tdisable = no\n}\n");
        assert_eq!(names(&reading(text)), [""; 0], "{bad}");
    }
    // The first `disable` counts, as for every attribute.
    assert_eq!(names(&reading(stream("s1", 2000, "\tdisable = no\n\tdisable = yes\n"))), ["s1"]);
    assert!(super::left_out("\tdisable = maybe\n").contains("maybe"));
}

#[test]
fn words_are_split_at_blanks_and_tabs_only() {
    let service = super::service("\tserver_args = \"a b\" 'c' $HOME \\ %d\n");
    let crate::Action::External { argv, .. } = service.action else { panic!() };
    assert_eq!(argv, ["sh", "\"a", "b\"", "'c'", "$HOME", "\\", "%d"]);
}

#[test]
fn values_that_are_used_must_be_utf8() {
    let reading = reading(
        [stream("s1", 2000, "").trim_end_matches("}\n").as_bytes(), b"\tserver_args = caf\xe9\n}\n"].concat(),
    );
    assert!(codes(&reading).contains(&"not-utf8"));
    let comment = reading_comment();
    assert_eq!(names(&comment), ["s1"]);
}

fn reading_comment() -> crate::Reading {
    reading([b"# caf\xe9\n".as_slice(), stream("s1", 2000, "").as_bytes()].concat())
}

//! What is switched, and that nothing else of a file changes.

use super::{Switch, of_inetd, of_xinetd};
use proptest::prelude::*;

fn only(entries: &[Switch]) -> &Switch {
    assert_eq!(entries.len(), 1, "{entries:?}");
    &entries[0]
}

/// The file with its only service on the other side.
fn turned(text: &str) -> String {
    let found = of_xinetd("f", text.as_bytes()).entries;
    String::from_utf8(only(&found).switched(text.as_bytes()).unwrap()).unwrap()
}

#[test]
fn the_line_that_counts_is_changed() {
    for (before, after) in [
        ("\tdisable\t\t= no\n", "\tdisable\t\t= yes\n"),
        ("  DISABLE  =  No  \n", "  DISABLE  =  yes  \n"),
        ("\tdisable = yes # for now\n", "\tdisable = no # for now\n"),
        ("\tdisable = maybe\n", "\tdisable = no\n"),
        ("\tdisable = no\n\tdisable = yes\n", "\tdisable = yes\n\tdisable = yes\n"),
        // Lines that xinetd takes no notice of either.
        (
            "\tdisable = yes no\n\tdisable += yes\n\tdisable = no\n",
            "\tdisable = yes no\n\tdisable += yes\n\tdisable = yes\n",
        ),
        // xinetd does not see a `disable` with a comment behind it.
        ("\tdisable = no  # since\tMay \n", "\t# since\tMay \n\tdisable = yes\n"),
        ("\tdisable = no #\r\n", "\t#\r\n\tdisable = yes\r\n"),
    ] {
        let whole = |lines: &str| format!("# top\nservice a\n{{\n\tport = 7\n{lines}\tuser = root\n}}\n");
        assert_eq!(turned(&whole(before)), whole(after));
    }
}

#[test]
fn a_line_is_added_in_the_form_of_the_file() {
    for (before, after) in [
        ("service a\n{\n}\n", "service a\n{\n\tdisable = yes\n}\n"),
        ("service a\n\n# x\n  {  \n  port = 7\n}", "service a\n\n# x\n  {  \n  disable = yes\n  port = 7\n}"),
        (
            "service a\r\n{\r\n\tsocket_type\t\t= stream\r\n}\r\n",
            "service a\r\n{\r\n\tdisable\t\t\t= yes\r\n\tsocket_type\t\t= stream\r\n}\r\n",
        ),
        (
            "service a\n{\n    socket_type     = stream\n    wait            = no\n}\n",
            "service a\n{\n    disable         = yes\n    socket_type     = stream\n    wait            = no\n}\n",
        ),
        ("service a\n{\n\n# note\n id += b\n}\n", "service a\n{\n disable = yes\n\n# note\n id += b\n}\n"),
        ("\u{feff}service a\n{\n}\n", "\u{feff}service a\n{\n\tdisable = yes\n}\n"),
        // The file ends with its brace, and with half a line end.
        ("service a\n{", "service a\n{\n\tdisable = yes"),
        ("service a\n{\r", "service a\n{\r\n\tdisable = yes"),
    ] {
        assert_eq!(turned(before), after);
    }
    let odd = b"\xef\xbb\xbfservice a\n{\n\tdisable = no\0\xff\r\n\tx = \xff\0}\n}";
    let found = of_xinetd("f", odd).entries;
    let wanted = b"\xef\xbb\xbfservice a\n{\n\tdisable = yes\0\xff\r\n\tx = \xff\0}\n}";
    assert_eq!(only(&found).switched(odd).unwrap(), wanted);
}

#[test]
fn what_is_off_is_read_to_its_end() {
    let text = "defaults\n{\n\tenabled = a b\n\tinstances = 3\n\tdisabled += c\n}\nservice day\n{\n\tdisable = yes\n\
\tid = day-dgram\n}\nservice broken\n{\n\tdisable = yes\n\tnonsense\n}\nservice next\n{\n}\n";
    let found = of_xinetd("/x", text.as_bytes());
    let shown: Vec<_> = found
        .entries
        .iter()
        .map(|e| (e.name.as_str(), e.ids[0].as_str(), e.off, e.place.to_string()))
        .collect();
    assert_eq!(
        shown,
        [
            ("day", "day-dgram", true, "/x:7".to_owned()),
            ("broken", "broken", true, "/x:12".to_owned()),
            ("next", "next", false, "/x:17".to_owned())
        ]
    );
    let lists: Vec<_> = found.lists.iter().map(|l| (l.attribute, l.place.line, l.ids.join(" "))).collect();
    assert_eq!(lists, [("enabled", 3, "a b".to_owned()), ("disabled", 5, "c".to_owned())]);
}

const INETD: &str = "#:STANDARD:\n\
time stream tcp nowait root internal\n\
#<off># time dgram udp wait root internal\n\
# ftp stream tcp nowait root /usr/sbin/tcpd in.ftpd\n\
#<off>#discard stream tcp nowait root internal\n\
a,b:finger stream tcp nowait nobody /usr/sbin/tcpd\n\tin.fingerd -w\n\
#<off># rsync stream tcp nowait root\n#<off>#   /usr/bin/rsync rsync --daemon\nlast line";

#[test]
fn lines_of_inetd() {
    let found = of_inetd("/i", INETD.as_bytes());
    let shown: Vec<_> = found.iter().map(|e| (e.place.line, e.ids.join(" "), e.off)).collect();
    let on = |line, ids: &str| (line, ids.to_owned(), false);
    let off = |line, ids: &str| (line, ids.to_owned(), true);
    assert_eq!(
        shown,
        [
            on(2, "time-stream"),
            off(3, "time-dgram"),
            off(4, "ftp"),
            off(5, "discard"),
            on(6, "finger-stream finger-stream-2"),
            off(8, "rsync")
        ]
    );
    for (index, before, after) in [
        (0, "\ntime stream", "\n#<off># time stream"),
        (1, "#<off># time dgram", "time dgram"),
        (3, "#<off>#discard", "discard"),
        (
            4,
            "a,b:finger stream tcp nowait nobody /usr/sbin/tcpd\n\tin",
            "#<off># a,b:finger stream tcp nowait nobody /usr/sbin/tcpd\n#<off># \tin",
        ),
        (5, "#<off># rsync stream tcp nowait root\n#<off>#   /usr", "rsync stream tcp nowait root\n  /usr"),
    ] {
        let switched = found[index].switched(INETD.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(switched).unwrap(), INETD.replace(before, after));
    }
    assert_eq!(found[2].switched(INETD.as_bytes()), None, "a person's own `#`");
}

#[test]
fn a_marked_line_goes_on_with_no_line_that_is_on() {
    let text =
        b"a stream tcp nowait root /bin/a\n#<off>#  more\n#<off>#  b stream tcp nowait root internal\n";
    let found = of_inetd("/i", text);
    assert_eq!(found.iter().map(|e| (e.place.line, e.off)).collect::<Vec<_>>(), [(1, false), (3, true)]);
    assert_eq!(found[0].switched(text).unwrap(), [b"#<off># ", &text[..]].concat());
}

#[test]
fn a_marked_line_below_a_comment_is_an_entry() {
    for above in ["# note\n", "\u{b}# note\n", "", "\n"] {
        let text = format!("{above}#<off>#  internal\n#<off>#  stream tcp nowait root internal\n");
        let found = of_inetd("/i", text.as_bytes());
        assert_eq!(
            found.iter().map(|e| (&*e.name, e.off)).collect::<Vec<_>>(),
            [("internal", true)],
            "{above:?}"
        );
        let on = format!("{above} internal\n stream tcp nowait root internal\n");
        assert_eq!(found[0].switched(text.as_bytes()).unwrap(), on.into_bytes());
    }
}

proptest! {
    /// There and back gives the same bytes, whatever surrounds the entry.
    #[test]
    fn there_and_back(junk: Vec<u8>, crlf: bool, value in prop::sample::select(vec!["no", "yes"])) {
        let end = if crlf { "\r\n" } else { "\n" };
        let own = format!("service own{end}{{{end}\tdisable = {value}{end}\tport = 7{end}}}{end}");
        let mut text = own.into_bytes();
        text.extend(junk);
        let found = of_xinetd("f", &text).entries;
        let once = found[0].switched(&text).unwrap();
        prop_assert_ne!(&once, &text);
        let found = of_xinetd("f", &once).entries;
        prop_assert_eq!(found[0].switched(&once).unwrap(), text);
    }

    #[test]
    fn lines_there_and_back(junk in "[ -~\t\r\n]{0,60}", off: bool) {
        let mark = if off { "#<off># " } else { "" };
        let text = format!("{mark}own stream tcp nowait root internal\nother stream tcp nowait root internal\n{junk}");
        let found = of_inetd("f", text.as_bytes());
        let once = found[0].switched(text.as_bytes()).unwrap();
        let found = of_inetd("f", &once);
        prop_assert_eq!(String::from_utf8(found[0].switched(&once).unwrap()).unwrap(), text);
    }

    /// No file is too odd; and each entry differs from the file in its own bytes.
    #[test]
    fn any_bytes(text: Vec<u8>, lines in "(service a|\\{|\\}|\tdisable = no|\tdisable = yes # x|#<off># |a stream tcp nowait root internal|\n){0,30}") {
        for bytes in [&text[..], lines.as_bytes()] {
            for switch in of_xinetd("f", bytes).entries.into_iter().chain(of_inetd("f", bytes)) {
                let _ = switch.switched(bytes);
            }
        }
    }
}

/// A file whose last line has no end: what is written behind it begins a line of its own.
#[test]
fn a_last_line_without_an_end() {
    let of = |text: &str| of_xinetd("f", text.as_bytes()).entries[0].switched(text.as_bytes()).unwrap();
    assert_eq!(of("service a\n{"), b"service a\n{\n\tdisable = yes");
    assert_eq!(of("service a\n{\n\tdisable = no # why"), b"service a\n{\n\t# why\n\tdisable = yes");
}

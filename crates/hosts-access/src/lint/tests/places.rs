//! One row for each kind of finding: the text, where it is pointed at, what is to be written instead; and a text that is so
//! near that it must not be told.

use super::*;

/// Code, table, text, what is pointed at, what to write in its place, and a near miss.
type Row = (&'static str, Which, &'static str, &'static str, Option<&'static str>, &'static str);

const A: Which = Which::Allow;
const D: Which = Which::Deny;

const ROWS: &[Row] = &[
    ("unterminated-line", D, "a: b\nd: ALL", "L", None, "d: ALL\n"),
    ("nul-byte", A, "d: 1.2.3\0x\n.4\n", "\0", None, "d: 1.2.3.4\n"),
    ("crlf", A, "d: ALL\r\n", "\r", None, "d: ALL\n"),
    ("broken-continuation", A, "d: 10.0.0.1 \\ \n10.0.0.2: x\n", "\\", None, "d: 10.0.0.1 \\\n 10.0.0.2\n"),
    ("comment-continues", A, "# no \\\nd: ALL\n", "\\", None, "# yes \\\n# no\nd: ALL\n"),
    ("indented-comment", A, " # d: ALL\n", "#", None, "# d: ALL\n"),
    ("hash-is-no-comment", A, "d: ALL # all of them\n", "#", None, "# d: ALL # all of them\n"),
    ("hash-is-no-comment", A, "d: ALL: allow # them\n", "# them", None, "d: ALL: spawn x # them &\n"),
    ("odd-blank", A, "d: 10.0.0.1\u{a0}10.0.0.2\n", "\u{a0}", None, "d: 10.0.0.1 10.0.0.2\n"),
    ("odd-blank", A, "\u{feff}# d\n", "\u{feff}", Some(""), "# \u{feff}\n"),
    ("missing-colon", A, "sshd ALL\n", "sshd ALL", Some("sshd: ALL"), "sshd:ALL\n"),
    ("unbalanced-bracket", A, "d: [::1 10.0.0.1 : deny\n", "[", None, "d: [::1] 10.0.0.1 : deny\n"),
    ("unbalanced-bracket", A, "d]: ALL\n", "]", None, "d: ALL\n"),
    ("unbracketed-ipv6", D, "d: *::1\n", "*::1", Some("[::1]"), "d: [::1]\n"),
    (
        "unbracketed-ipv6",
        D,
        "d:2001:db8::/32\n",
        "2001:db8::/32",
        Some("[2001:db8::]/32"),
        "d: ALL:spawn a b::c\n",
    ),
    ("unbracketed-ipv6", A, "d: ALL, ::1\n", "::1", Some("[::1]"), "d: ALL::\n"),
    ("unbracketed-ipv6", A, "d: ::1:allow\n", "::1:allow", Some("[::1]: allow"), "d: x:allow\n"),
    ("unbracketed-ipv6", A, "d@fe80::1: ALL\n", "fe80::1", Some("[fe80::1]"), "d@[fe80::1]: ALL\n"),
    ("no-daemon", A, " : ALL\n", " ", None, "d: ALL\n"),
    ("no-client", A, "d: ,\n", ":", None, "d: ALL\n"),
    ("except-first", A, "d: EXCEPT 10.0.0.1\n", "EXCEPT", None, "d: ALL EXCEPT 10.0.0.1\n"),
    ("except-first", A, "d: ALL except EXCEPT x\n", "EXCEPT", None, "d: ALL EXCEPTx\n"),
    ("except-last", A, "ALL EXCEPT: ALL\n", "EXCEPT", None, "ALL EXCEPT d: ALL\n"),
    ("except-twice", A, "d: ALL EXCEPT 10. EXCEPT 10.1.\n", "EXCEPT", None, "a EXCEPT b: ALL EXCEPT 10.\n"),
    (
        "unreachable-rule",
        A,
        "d: 10.\nd: 10.1.2.3: deny\n",
        "d: 10.1.2.3: deny",
        None,
        "d: 10.1.\nd: 10.2.3.4: deny\n",
    ),
    (
        "unreachable-rule",
        D,
        "ALL: ALL\nd: x.org: allow\ne: ALL: allow\n",
        "d: x.org: allow",
        None,
        "ALL EXCEPT d: ALL\nd: 10.0.0.1: allow\n",
    ),
    (
        "redundant-rule",
        D,
        "ALL: 10.0.0.1\nd: 10.0.0.1\n",
        "d: 10.0.0.1",
        None,
        "d: 10.0.0.1\nALL: 10.0.0.1\n",
    ),
    ("no-such-negation", A, "d: !10.0.0.1\n", "!10.0.0.1", None, "d: ALL EXCEPT 10.0.0.1\n"),
    ("odd-character", A, "d: 10.0.0.1; 10.0.0.2\n", "10.0.0.1;", None, "d: my_host.example-1.org\n"),
    ("nearly-a-wildcard", A, "d: ANY\n", "ANY", Some("ALL"), "d: any\n"),
    ("nearly-a-wildcard", A, "d: ALL EXECPT 10.0.0.1\n", "EXECPT", Some("EXCEPT"), "d: all HOST\n"),
    ("fail-is-gone", A, "d: FAIL\n", "FAIL", None, "d: fail.example.org\n"),
    ("double-star", A, "d: 10.**\n", "10.**", Some("10.*"), "d: 10.*.*\n"),
    ("daemon-path", A, "/usr/sbin/sshd: ALL\n", "/usr/sbin/sshd", Some("sshd"), "sub/sshd: ALL\n"),
    ("daemon-wildcard", A, "LOCAL: ALL\n", "LOCAL", None, "local1: ALL\n"),
    ("daemon-netgroup", A, "@d: ALL\n", "@d", None, "d@@grp: ALL\n"),
    ("daemon-is-address", A, "10.0.0.1: sshd\n", "10.0.0.1", None, "sshd: 10.0.0.1\n"),
    ("port-pattern", A, "22: ALL\n", "22", None, "p22: ALL\n"),
    ("odd-port", A, "022: ALL\n", "022", Some("22"), "22: ALL\n"),
    ("odd-port", A, "65536: ALL\n", "65536", None, "65535: ALL\n"),
    ("odd-port", A, "22-80: ALL\n", "22-80", None, "9pfs: ALL\n"),
    ("empty-host", A, "d: joe@\n", "joe@", None, "d: joe@ALL\n"),
    (
        "mask-never-matches",
        A,
        "d: 10.0.0.1/255.255.255.255\n",
        "10.0.0.1/255.255.255.255",
        Some("10.0.0.1"),
        "d: 10.0.0.1/32\n",
    ),
    ("host-bits", A, "d: 10.0.0.1/8\n", "10.0.0.1/8", Some("10.0.0.0/8"), "d: 10.0.0.0/8\n"),
    (
        "host-bits",
        A,
        "d: 10.0.0.1/255.0.0.0\n",
        "10.0.0.1/255.0.0.0",
        Some("10.0.0.0/255.0.0.0"),
        "d: [2001:db8::1]/32\n",
    ),
    ("odd-mask", A, "d: 10.0.0.0/255.0.255.0\n", "10.0.0.0/255.0.255.0", None, "d: 0.0.0.0/0.0.0.0\n"),
    ("prefix-never-matches", A, "d: 0.0.0.0/0\n", "0.0.0.0/0", Some("0.0.0.0/0.0.0.0"), "d: [::]/0\n"),
    ("prefix-never-matches", A, "d: 10.0.0.0/33\n", "10.0.0.0/33", None, "d: 10.0.0.0/32\n"),
    ("prefix-never-matches", A, "d: [::]/129\n", "[::]/129", None, "d: [::]/128\n"),
    ("odd-prefix", A, "d: 10.0.0.0/08\n", "10.0.0.0/08", Some("10.0.0.0/8"), "d: 10.0.0.0/8\n"),
    ("odd-prefix", A, "d: [fe80::]/10x\n", "[fe80::]/10x", Some("[fe80::]/10"), "d: [fe80::]/10\n"),
    ("prefix-matches-all", A, "d: [2001:db8::]/x\n", "[2001:db8::]/x", None, "d: [2001:db8::]/0\n"),
    ("bad-network", A, "d: 10/8\n", "10/8", Some("10.0.0.0/8"), "d: 10.0.0.0/8\n"),
    ("bad-network", A, "d: host.example.org/24\n", "host.example.org/24", None, "d: host.example.org\n"),
    ("octal-network", A, "d: 010.0.0.0/8\n", "010.0.0.0/8", Some("10.0.0.0/8"), "d: 10.0.0.00/8\n"),
    ("address-spelling", A, "d: 10.0.0.01\n", "10.0.0.01", Some("10.0.0.1"), "d: 10.0.0.10\n"),
    ("address-spelling", A, "d: 010.\n", "010.", Some("10."), "d: 0.\n"),
    ("short-address", A, "d: 10.1\n", "10.1", None, "d: 10.1.\n"),
    ("short-address", A, "d: 192,168,1.5\n", "192,168,1.5", Some("192.168.1.5"), "d: 10.0.0.1,10.0.0.2\n"),
    ("bad-address", A, "d: 10.0.0.256\n", "10.0.0.256", None, "d: 10.0.0.255\n"),
    ("address-range", A, "d: 10.0.0.1-9\n", "10.0.0.1-9", None, "d: 10-0-0-1.example.org\n"),
    ("dot-behind-address", A, "d: 10.0.0.1.\n", "10.0.0.1.", Some("10.0.0.1"), "d: 10.0.0.\n"),
    ("numeric-suffix", A, "d: .1\n", ".1", None, "d: .1.example.org\n"),
    (
        "dot-behind-name",
        A,
        "d: www.example.org.\n",
        "www.example.org.",
        Some("www.example.org"),
        "d: www.example.org\n",
    ),
    ("bracketed-ipv4", A, "d: [10.0.0.0]/8\n", "[10.0.0.0]/8", Some("10.0.0.0/8"), "d: [::a00:1]\n"),
    ("bad-ipv6", A, "d: [2001:db8::*]\n", "[2001:db8::*]", Some("[2001:db8::]/32"), "d: [2001:DB8:0::0]\n"),
    (
        "mapped-ipv6",
        A,
        "d: [::ffff:10.0.0.0]/104\n",
        "[::ffff:10.0.0.0]/104",
        Some("10.0.0.0/8"),
        "d: [::]/0\n",
    ),
    ("ipv6-scope", A, "d: [fe80::1%eth0]\n", "[fe80::1%eth0]", Some("[fe80::1]"), "d: [fe80::1]\n"),
    ("refused-by-name", D, "d: .evil.org\n", ".evil.org", None, "d: ALL EXCEPT .good.org\n"),
    ("refused-by-name", A, "d: ALL EXCEPT .evil.org\n", ".evil.org", None, "d: .good.org\n"),
    (
        "numeric-pattern-for-names",
        A,
        "d: 10.0.0.*\n",
        "10.0.0.*",
        Some("10.0.0."),
        "d: 10.0.0. *.example.org\n",
    ),
    ("numeric-pattern-for-names", A, "d: 10.0.*.1\n", "10.0.*.1", None, "d: 10.0.*.1: deny\n"),
    ("numeric-pattern-for-names", A, "d: 10.*.*\n", "10.*.*", Some("10."), "d: ALL EXCEPT 10.*.*\n"),
    ("name-wildcard", A, "d: LOCAL\n", "LOCAL", None, "d: LOCAL.org\n"),
    ("netgroup", A, "d: @hosts\n", "@hosts", None, "d: hosts\n"),
    ("empty-netgroup", A, "d: @\n", "@", None, "d: @@ALL\n"),
    ("client-user", A, "d: joe@10.0.0.1\n", "joe@10.0.0.1", None, "d@10.0.0.1: ALL\n"),
    ("user-is-text", A, "d: @grp@ALL\n", "@grp", None, "d: grp@ALL\n"),
    ("list-missing", A, "d: /none\n", "/none", None, "d: /fine\n"),
    ("list-unreadable", A, "d: /closed\n", "/closed", None, "d: /fine\n"),
    ("list-nested", A, "d: /big\n", "/big", None, "d: /fine\n"),
    ("option-among-clients", A, "d: 10.0.0.1 Deny\n", "Deny", Some(": Deny"), "d: deny\n"),
    ("address-range", A, "d: 10.0.0.1 - 10.0.0.9\n", "-", None, "d: 10.0.0.1 a-b\n"),
    ("colon-in-value", A, "d: ALL: twist echo %h: %a\n", ":", Some("\\:"), "d: ALL: twist echo %h\\: %a\n"),
    ("trailing-colon", A, "d: ALL :\n", ":", Some(""), "d: ALL\n"),
    ("trailing-colon", A, "d: ALL: allow:\n", ":", Some(""), "d: ALL: allow\n"),
    ("empty-option", A, "d: ALL:: allow\n", ":", Some(""), "d: ALL: allow\n"),
    ("empty-option", A, "d: ALL: =allow\n", "=", None, "d: ALL: allow =\n"),
    ("unknown-option", A, "d: ALL: alow\n", "alow", Some("allow"), "d: ALL: ALLOW\n"),
    (
        "command-without-option",
        A,
        "d: ALL: /bin/echo x\n",
        "/bin/echo",
        Some("spawn /bin/echo"),
        "d: ALL: spawn /bin/echo x &\n",
    ),
    ("colon-in-value", A, "d: ALL: spawn echo a:b &\n", ":", Some("\\:"), "d: ALL: spawn echo a\\:b &\n"),
    ("missing-value", A, "d: ALL: linger\n", "linger", None, "d: ALL: nice\n"),
    ("needless-value", A, "d: ALL: keepalive yes\n", "yes", None, "d: ALL: keepalive =\n"),
    (
        "bad-value",
        A,
        "d: ALL: severity auth.warn\n",
        "warn",
        Some("warning"),
        "d: ALL: severity AUTH.warning\n",
    ),
    ("bad-value", A, "d: ALL: severity authpriv.info\n", "authpriv", Some("auth"), "d: ALL: severity info\n"),
    ("bad-value", A, "d: ALL: umask 888\n", "888", None, "d: ALL: umask 0777\n"),
    ("bad-value", A, "d: ALL: setenv A=b\n", "A=b", Some("A b"), "d: ALL: setenv A = b\n"),
    ("bad-value", A, "d: ALL: rfc931 0\n", "0", None, "d: ALL: linger 0\n"),
    ("not-last", A, "d: ALL: allow: keepalive\n", "keepalive", None, "d: ALL: keepalive: allow\n"),
    ("command-decides-nothing", A, "d: ALL: aclexec x: allow\n", "allow", None, "d: ALL: spawn x &: allow\n"),
    ("aclexec-in-deny", D, "d: ALL: aclexec x\n", "aclexec", None, "d: ALL: spawn x &\n"),
    ("command-is-waited-for", A, "d: ALL: spawn x\n", "spawn", None, "d: ALL: spawn (x | y) &\n"),
    ("unknown-percent", A, "d: ALL: spawn echo %x &\n", "%x", None, "d: ALL: spawn echo %a 100%% %\n"),
];

/// What stands in a list `/list`, that `d: /list` names.
const LISTS: &[(&str, &str, &str, Option<&str>, &str)] = &[
    ("list-comment", "10.0.0.1 # d: me\n", "#", None, "10.0.0.1\n"),
    ("list-word", "10.0.0.1,10.0.0.2\n", "10.0.0.1,10.0.0.2", None, "10.0.0.1 10.0.0.2\n"),
    ("list-word", "ALL EXCEPT x\n", "EXCEPT", None, "EXCEPT.example.org\n"),
    ("list-word", "joe@ALL\n", "joe@ALL", None, "@joe\n"),
    ("list-ipv6-text", "2001:db8::1\n", "2001:db8::1", Some("[2001:db8::1]"), "[2001:db8::1]\n"),
    ("list-nested", "/list\n", "/list", None, "/fine\n"),
    ("host-bits", "\n10.0.0.1/8\n", "10.0.0.1/8", Some("10.0.0.0/8"), "10.0.0.0/8\n"),
];

/// What is pointed at.
fn pointed(finding: &Finding) -> &str {
    let start = finding.column as usize - 1;
    let bytes = finding.source_line.get(start..start + finding.length as usize).unwrap();
    std::str::from_utf8(bytes).unwrap()
}

fn check(findings: &[Finding], code: &str, word: &str, write: Option<&str>, text: &str) {
    let finding = findings.iter().find(|finding| finding.code.word == code);
    let finding = finding.unwrap_or_else(|| panic!("no {code} in {text:?}: {:?}", words(findings)));
    assert_eq!(pointed(finding), word, "{code} in {text:?}");
    assert_eq!(finding.replacement.as_deref(), write, "{code} in {text:?}");
    assert!(!finding.message.is_empty() && !finding.help.is_empty());
}

#[test]
fn each_stands_where_it_belongs_and_not_where_it_is_near() {
    for (code, which, text, word, write, near) in ROWS {
        check(&of(*which, text.as_bytes(), b""), code, word, *write, text);
        let near_findings = of(*which, near.as_bytes(), b"");
        assert!(!words(&near_findings).contains(code), "{code} in {near:?}: {near_findings:?}");
    }
}

#[test]
fn lists_of_hosts_are_looked_at() {
    for (code, list, word, write, near) in LISTS {
        let findings = of(Which::Allow, b"d: /list\n", list.as_bytes());
        check(&findings, code, word, *write, list);
        assert_eq!(
            findings.iter().find(|f| f.code.word == *code).map(|f| f.path.as_slice()),
            Some(&b"/list"[..])
        );
        assert!(
            !words(&of(Which::Allow, b"d: /list\n", near.as_bytes())).contains(code),
            "{code} in {near:?}"
        );
    }
}

#[test]
fn what_is_written_instead_is_right() {
    for (code, which, text, _, write, _) in ROWS {
        let Some(write) = write else { continue };
        let findings = of(*which, text.as_bytes(), b"");
        let finding = findings.iter().find(|finding| finding.code.word == *code).unwrap();
        let mut lines: Vec<Vec<u8>> =
            text.as_bytes().split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
        let line = lines.get_mut(finding.line as usize - 1).unwrap();
        let start = finding.column as usize - 1;
        line.splice(start..start + finding.length as usize, write.bytes());
        let mended = lines.join(&b'\n');
        let left = of(*which, &mended, b"");
        assert!(
            !words(&left).contains(code),
            "{code}: {text:?} → {:?}: {left:?}",
            String::from_utf8_lossy(&mended)
        );
    }
}

#[test]
fn tables_are_compared_with_each_other() {
    assert_eq!(words(&both(b"d: 10.\n", b"")), ["nobody-refused"]);
    assert_eq!(words(&both(b"d: 10.\n", b"ALL: ALL\n")), [""; 0]);
    assert_eq!(words(&both(b"d: 10.: allow\nd: ALL: deny\n", b"")), [""; 0]);
    assert_eq!(words(&both(b"d: ALL\n", b"d: 10.0.0.1\n")), ["unreachable-rule"]);
    // The command may say no, and then hosts.deny is asked.
    assert_eq!(words(&both(b"d: ALL: aclexec x\n", b"d: ALL\n")), [""; 0]);
    // What stands behind a broken line is not in force.
    assert_eq!(words(&both(b"e: ALL\nd: ALL", b"d: 10.0.0.1\n")), ["unterminated-line"]);
    let unreadable = Table { path: b"deny", content: Content::Unreadable("Permission denied") };
    let missing = Table { path: b"allow", content: Content::Missing };
    let findings = lint_both(&Tables { allow: missing, deny: unreadable }, &mut |_| None);
    assert_eq!(words(&findings), ["table-unreadable"]);
    assert_eq!((findings[0].line, findings[0].message.contains("everybody is refused")), (0, true));
}

#[test]
fn bounds() {
    let long = [b"d: ".to_vec(), b"10.0.0.1 ".repeat(300), b"\nd: 10.2\n".to_vec()].concat();
    assert_eq!(words(&of(Which::Deny, &long, b"")), ["line-too-long", "short-address"]);
    let many = b"d: 10.2\n".repeat(2000);
    let findings = of(Which::Deny, &many, b"");
    assert_eq!(findings.len(), 1000);
    assert_eq!(findings.last().map(|finding| finding.code.word), Some("more-findings"));
    // What a colon cut off is not waited for.
    assert_eq!(words(&of(Which::Allow, b"d: ALL: spawn echo 12:30 &\n", b"")), ["colon-in-value"]);
    // A note is told once.
    let notes = of(Which::Allow, b"22: ALL\n23: ALL\n24: ALL\n", b"");
    assert_eq!(words(&notes), ["port-pattern"]);
    assert!(notes[0].message.ends_with("(and 2 more places)"), "{}", notes[0].message);
}

#[test]
fn sane_tables_are_fine() {
    for text in [
        "",
        "# a comment\n\n",
        "sshd: 10.1.2.3, 10.4.\nALL: [2001:db8::]/32 192.0.2.0/24 198.51.100.0/255.255.255.0\n",
        "in.telnetd@192.0.2.1 sshd: .example.org host.example.net 10.*.1.example.*\n",
        "sshd: ALL EXCEPT 10.0.0.1: severity mail.info: allow\n",
        "ALL: \\\n  10.0.0.1 \\\n  10.0.0.2\n",
        "vsftpd: 192.168.,172.17.,127.0.0.1 : setenv VSFTPD_LOAD_CONF /etc/vsftpd.anon.conf\n",
        "sshd: ALL: aclexec /usr/local/bin/sshfilter %a\n",
    ] {
        assert_eq!(words(&of(Which::Allow, text.as_bytes(), b"")), [""; 0], "{text:?}");
    }
    assert_eq!(words(&of(Which::Deny, b"ALL: ALL\n", b"")), [""; 0]);
}

#[test]
fn every_kind_is_tested() {
    let elsewhere = ["table-unreadable", "line-too-long", "nobody-refused", "more-findings"];
    for code in codes() {
        let tested = ROWS.iter().any(|row| row.0 == code.word) || LISTS.iter().any(|row| row.0 == code.word);
        assert!(tested || elsewhere.contains(&code.word), "{} has no test", code.word);
    }
}

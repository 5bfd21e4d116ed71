//! The linter against the evaluation: what it calls dead or refused is, for whatever table a generator makes.

use super::*;
use crate::field::Field;
use crate::message::Message;
use crate::request::{Host, Request};
use crate::verdict::{Decision, Verdict, Why};
use crate::world::{Act, Answer, Done, End, World};
use crate::{Settings, evaluate};
use proptest::prelude::*;
use std::borrow::Cow;

/// Who comes: address and name.
const CLIENTS: &[(&str, &str)] = &[
    ("10.0.0.1", "a.example.org"),
    ("10.1.2.3", "localhost"),
    ("8.0.0.1", "unknown"),
    ("192.0.2.1", "paranoid"),
    ("2001:db8::1", "b.example.org"),
    ("::1", "host"),
    ("::ffff:10.0.0.1", "c.example.net"),
    ("fe80::1", "x"),
];

struct Known(&'static str);

impl World for Known {
    fn name(&mut self, _: End, _: &Request) -> Answer<Field> {
        Answer::Known(Field::from(self.0))
    }
    fn user(&mut self, _: &Request, _: Option<u32>) -> Answer<Field> {
        Answer::Known(Field::from("joe"))
    }
    fn in_netgroup(&mut self, _: &[u8], _: &[u8]) -> Answer<bool> {
        Answer::Known(false)
    }
    fn list(&mut self, _: &[u8]) -> ListFile<Cow<'_, [u8]>> {
        ListFile::Absent
    }
    fn act(&mut self, _: &Act, _: &mut Request) -> Done {
        Done::Done
    }
    fn say(&mut self, _: Message) {}
}

fn decide(allow: &[u8], deny: &[u8], daemon: &str, client: (&'static str, &'static str)) -> Decision {
    let table = |path: &'static [u8], text| Table { path, content: Content::Text(text) };
    let tables = Tables { allow: table(b"allow", allow), deny: table(b"deny", deny) };
    let mut request = Request {
        daemon: Field::from(daemon),
        client: Host { addr: Field::from(client.0), ..Host::default() },
        ..Request::default()
    };
    let settings = Settings { options: true, verbose: 0, resident: false };
    evaluate(&tables, &mut request, &mut Known(client.1), &settings)
}

/// A line of a table made of pieces that meet its corners.
fn line() -> impl Strategy<Value = String> {
    let daemon = prop::sample::select(vec![
        "d",
        "e",
        "ALL",
        "*",
        "D",
        "22",
        "@d",
        "/d",
        "d@10.0.0.1",
        "EXCEPT",
        "LOCAL",
        "KNOWN",
        "d.",
        ".d",
        "d@",
        "#",
        "!d",
    ]);
    let client = prop::sample::select(vec![
        "ALL",
        "*",
        "10.",
        "10.0.0.1",
        "10.0.0.0/8",
        "10.0.0.1/8",
        "10/8",
        "0.0.0.0/0",
        "0.0.0.0/0.0.0.0",
        "10.0.0.1/255.255.255.255",
        "010.0.0.0/8",
        "10.0.0.0/08",
        "10.1",
        "10.0.0.01",
        ".1",
        ".example.org",
        "a.example.org",
        "B.Example.ORG",
        "EXCEPT",
        "[2001:db8::]/32",
        "[2001:db8::1]",
        "[::]/0",
        "[::]/x",
        "[::1]",
        "::1",
        "*::1",
        "2001:db8::1",
        "[10.0.0.1]",
        "[::ffff:10.0.0.1]",
        "[fe80::1%lo]",
        "UNKNOWN",
        "PARANOID",
        "LOCAL",
        "KNOWN",
        "joe@ALL",
        "joe@10.",
        "@grp",
        "@",
        "/none",
        "10.0.0.1.",
        "#",
        "!ALL",
        "[::1",
        "10.0.0.0/33",
        "*.1",
        "10.0.0.256",
        "www.example.org.",
        "10.0.0.1;",
        "10.**",
        "10.0.0.1-9",
        "FAIL",
        "a@",
        "255.255.255.255/32",
    ]);
    let option = prop::sample::select(vec![
        "",
        ": allow",
        ": deny",
        ":",
        ": keepalive",
        ": bogus",
        ": severity warn",
        ": umask 1000",
        ": nice: allow",
        ": allow: deny",
        ": spawn a:b",
        ": twist x",
        ": setenv A=b",
        ": linger",
        ": keepalive 1",
        ": aclexec x: allow",
        ": allow # x",
        ": /bin/x",
        ": rfc931 -1",
        ": =x",
        "::",
        ": spawn %a",
        ": banners /x",
    ]);
    let words = |word| prop::collection::vec(word, 0..3).prop_map(|words: Vec<&str>| words.join(" "));
    (words(daemon.boxed()), words(client.boxed()), option, prop::bool::weighted(0.95)).prop_map(
        |(daemons, clients, options, colon)| {
            format!("{daemons}{}{clients}{options}\n", if colon { ": " } else { " " })
        },
    )
}

/// Codes that say of a word that it never matches.
const NEVER: &[&str] = &[
    "mask-never-matches",
    "host-bits",
    "prefix-never-matches",
    "bad-network",
    "address-spelling",
    "short-address",
    "bad-address",
    "address-range",
    "dot-behind-address",
    "bracketed-ipv4",
    "empty-host",
    "empty-netgroup",
    "no-such-negation",
    "odd-character",
    "fail-is-gone",
];
/// Codes that say of a rule that whom it matches is refused.
const REFUSES: &[&str] = &[
    "trailing-colon",
    "empty-option",
    "unknown-option",
    "command-without-option",
    "colon-in-value",
    "missing-value",
    "needless-value",
    "bad-value",
    "not-last",
];

#[test]
fn a_pattern_of_numbers_is_met_by_a_name() {
    let client = ("192.0.2.1", "10.0.0.1.example.org");
    assert_eq!(decide(b"d: 10.0.0.*\n", b"ALL: ALL\n", "d", client).verdict, Verdict::Granted);
    assert_eq!(decide(b"d: 10.0.0.\n", b"ALL: ALL\n", "d", client).verdict, Verdict::Denied);
}

proptest! {
    #[test]
    fn nothing_panics_and_places_are_in_the_text(
        text in prop::collection::vec(prop_oneof![
            4 => prop::sample::select(b"ALL:@/[].*?!#\\\0\r\n\t ,dx019-%=".to_vec()), 1 => any::<u8>()], 0..300),
        deny in any::<bool>(),
    ) {
        let which = if deny { Which::Deny } else { Which::Allow };
        for finding in of(which, &text, b"10.1 [x # \0\n /list /none") {
            if finding.path == b"table" && finding.line > 0 {
                let line = text.split(|byte| *byte == b'\n').nth(finding.line as usize - 1);
                prop_assert_eq!(line.map(<[u8]>::to_vec), Some(finding.source_line.clone()));
                let end = finding.column as usize - 1 + finding.length as usize;
                prop_assert!(end <= finding.source_line.len(), "{:?}", finding);
            }
        }
    }

    /// A rule that can never decide is one that may be removed.
    #[test]
    fn unreachable_rules_decide_nothing(
        allow in prop::collection::vec(line(), 0..5), deny in prop::collection::vec(line(), 0..5),
    ) {
        let whole = (allow.concat(), deny.concat());
        let dead: Vec<(Vec<u8>, u32)> = both(whole.0.as_bytes(), whole.1.as_bytes())
            .into_iter()
            .filter(|finding| ["unreachable-rule", "redundant-rule"].contains(&finding.code.word))
            .map(|finding| (finding.path, finding.line))
            .collect();
        let without = |path: &[u8], lines: &[String]| {
            let kept = lines.iter().zip(1..).filter(|(_, number)| !dead.contains(&(path.to_vec(), *number)));
            kept.map(|(line, _)| line.as_str()).collect::<String>()
        };
        let left = (without(b"allow", &allow), without(b"deny", &deny));
        for daemon in ["d", "e", "22"] {
            for client in CLIENTS {
                let before = decide(whole.0.as_bytes(), whole.1.as_bytes(), daemon, *client);
                let after = decide(left.0.as_bytes(), left.1.as_bytes(), daemon, *client);
                prop_assert_eq!(before.verdict, after.verdict, "{} {:?}: {:?} {:?}", daemon, client, whole, dead);
            }
        }
    }

    /// What is said to never match does not, and what is said to refuse does.
    #[test]
    fn what_is_said_of_a_rule_is_so(text in line()) {
        let findings = of(Which::Allow, text.as_bytes(), b"");
        let said = words(&findings);
        let Some((daemons, rest)) = text.split_once(": ") else { return Ok(()) };
        let alone = rest.trim_end().split(": ").next().unwrap_or_default();
        for daemon in ["d", "e"] {
            for client in CLIENTS {
                let decision = decide(text.as_bytes(), b"", daemon, *client);
                if decision.by.is_some() {
                    let wrong = decision.why == Why::BadOption;
                    let told = said.iter().any(|code| REFUSES.contains(code) || *code == "hash-is-no-comment" || *code == "unbracketed-ipv6" || *code == "unbalanced-bracket" || *code == "indented-comment");
                    prop_assert!(!wrong || told, "{:?} refuses untold: {:?}", text, said);
                    let refuses = said.iter().any(|code| REFUSES.contains(code));
                    prop_assert!(!refuses || decision.verdict == Verdict::Denied || decision.verdict == Verdict::Delegated, "{:?}", text);
                }
                // One word alone, which is said to never match.
                let one_word = !alone.trim().contains(' ') && findings.iter().any(|f| {
                    NEVER.contains(&f.code.word) && f.column as usize > daemons.len()
                });
                prop_assert!(!one_word || decision.by.is_none(), "{:?} matches {:?}: {:?}", text, client, said);
            }
        }
    }
}

//! What the recorded answers cannot show: answers that are missing or late, acts and their outcomes, limits where the original
//! crashes, and the mode with shell commands.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use hosts_access::{
    Act, Answer, Content, Decision, Done, End, Field, ListFile, Message, Outcome, Place, Processed, Request,
    Settings, Table, Tables, Verdict, Which, Why, World, evaluate, explain, process_options,
};
use std::borrow::Cow;
use std::collections::BTreeMap;

const SETTINGS: Settings = Settings { options: true, verbose: 0, resident: false };

/// A world that answers as told and notes what it is ordered.
struct Scripted {
    client: Answer<&'static str>,
    user: Answer<&'static str>,
    member: Answer<bool>,
    aclexec: Done,
    lists: BTreeMap<Vec<u8>, Vec<u8>>,
    acts: Vec<String>,
    said: Vec<String>,
    asked: Vec<&'static str>,
}

impl Scripted {
    fn new() -> Self {
        Self {
            client: Answer::Known("host.example.com"),
            user: Answer::Known("joe"),
            member: Answer::Known(false),
            aclexec: Done::Done,
            lists: BTreeMap::new(),
            acts: Vec::new(),
            said: Vec::new(),
            asked: Vec::new(),
        }
    }

    /// Whose names cannot be asked for.
    fn overloaded() -> Self {
        Self {
            client: Answer::Unavailable,
            user: Answer::Unavailable,
            member: Answer::Unavailable,
            ..Self::new()
        }
    }
}

fn field(answer: &Answer<&'static str>) -> Answer<Field> {
    match answer {
        Answer::Known(name) => Answer::Known(Field::from(*name)),
        Answer::Unavailable => Answer::Unavailable,
        Answer::Pending => Answer::Pending,
    }
}

impl World for Scripted {
    fn name(&mut self, end: End, _: &Request) -> Answer<Field> {
        self.asked.push(if end == End::Client { "client" } else { "server" });
        field(&self.client)
    }
    fn user(&mut self, _: &Request, timeout: Option<u32>) -> Answer<Field> {
        self.asked.push(if timeout == Some(3) { "user in 3 s" } else { "user" });
        field(&self.user)
    }
    fn in_netgroup(&mut self, _: &[u8], _: &[u8]) -> Answer<bool> {
        self.asked.push("netgroup");
        self.member
    }
    fn list(&mut self, path: &[u8]) -> ListFile<Cow<'_, [u8]>> {
        match self.lists.get(path) {
            Some(bytes) if bytes == b"huge" => ListFile::TooLarge,
            Some(bytes) => ListFile::Bytes(Cow::Borrowed(bytes)),
            None => ListFile::Absent,
        }
    }
    fn act(&mut self, act: &Act, _: &mut Request) -> Done {
        self.acts.push(format!("{act:?}"));
        match act {
            Act::Aclexec(_) => self.aclexec.clone(),
            _ => Done::Done,
        }
    }
    fn say(&mut self, message: Message) {
        self.said.push(match message {
            Message::Warning(_, text) => format!("warning: {}", String::from_utf8_lossy(&text)),
            Message::Error(_, text) => format!("error: {}", String::from_utf8_lossy(&text)),
            Message::Matched(place) => format!("matched: {place:?}"),
            Message::Option(key, value) => format!("option: {} {}", key.escape_ascii(), value.escape_ascii()),
            other => format!("{other:?}"),
        });
    }
}

fn client() -> Request {
    let mut request = Request { daemon: Field::from("d"), ..Request::default() };
    request.client.addr = Field::from("10.0.0.1");
    request
}

fn tables<'a>(allow: &'a str, deny: &'a str) -> Tables<'a> {
    let table = |path, text: &'a str| Table { path, content: Content::Text(text.as_bytes()) };
    Tables { allow: table(b"hosts.allow", allow), deny: table(b"hosts.deny", deny) }
}

fn decide(world: &mut Scripted, allow: &str, deny: &str) -> Decision {
    evaluate(&tables(allow, deny), &mut client(), world, &SETTINGS)
}

fn at(verdict: Verdict, why: Why, which: Which, line: u32) -> Decision {
    Decision { verdict, why, by: Some(Place { which, line }) }
}

const NO_RULE: Decision = Decision { verdict: Verdict::Granted, why: Why::NoRule, by: None };

#[test]
fn an_unavailable_name_opens_nothing() {
    let unavailable = |which, line| at(Verdict::Denied, Why::Unavailable, which, line);
    for (allow, deny, wanted) in [
        // The exception cannot be judged.
        ("", "d: ALL EXCEPT .good.com\n", unavailable(Which::Deny, 1)),
        ("d: ALL EXCEPT .evil.com\n", "d: .x\n", unavailable(Which::Deny, 1)),
        ("d: ALL EXCEPT .evil.com\n", "ALL: ALL\n", at(Verdict::Denied, Why::Rule, Which::Deny, 1)),
        // Neither can a refusal that stands before the grant.
        ("d: .evil.com: deny\nd: ALL\n", "", unavailable(Which::Allow, 1)),
        ("", "\nd: .evil.com\n", unavailable(Which::Deny, 2)),
        ("", "d: joe@ALL\n", unavailable(Which::Deny, 1)),
        ("", "d: @crew\n", unavailable(Which::Deny, 1)),
        ("", "d: LOCAL\n", unavailable(Which::Deny, 1)),
        ("", "d: KNOWN\n", unavailable(Which::Deny, 1)),
        ("d: .evil.com: aclexec true\nd: ALL\n", "", unavailable(Which::Allow, 1)),
        ("d: .evil.com: twist echo\nd: ALL\n", "", unavailable(Which::Allow, 1)),
        ("d: .evil.com: bogus\nd: ALL\n", "", unavailable(Which::Allow, 1)),
        ("d: .evil.com: user x\nd: ALL\n", "", unavailable(Which::Allow, 1)),
        ("d: .evil.com: deny\nd: ALL: twist echo\n", "", unavailable(Which::Allow, 1)),
        // What would plainly have granted, too, changes nothing.
        ("d: .good.com\nd: ALL\n", "", at(Verdict::Granted, Why::Rule, Which::Allow, 2)),
        ("d: .good.com\n", "", NO_RULE),
        ("d: ALL EXCEPT .evil.com\n", "", NO_RULE),
        (
            "d: .good.com: severity mail.info: allow\nd: ALL\n",
            "",
            at(Verdict::Granted, Why::Rule, Which::Allow, 2),
        ),
        ("", "d: .good.com: allow\n", NO_RULE),
        // What does not need it is decided without it.
        ("d: 10.0.0.1\n", "ALL: ALL\n", at(Verdict::Granted, Why::Rule, Which::Allow, 1)),
        ("d: ALL EXCEPT .evil.com 10.0.0.1\n", "", NO_RULE),
        ("d: .evil.com 10.0.0.1\n", "ALL: ALL\n", at(Verdict::Granted, Why::Rule, Which::Allow, 1)),
        ("e: ALL EXCEPT .evil.com\n", "", NO_RULE),
        ("d: joe@10.9.9.9\n", "", NO_RULE),
    ] {
        let mut world = Scripted::overloaded();
        assert_eq!(decide(&mut world, allow, deny), wanted, "{allow:?} {deny:?}");
        assert!(
            world.acts.iter().all(|act| wanted.why == Why::Rule && act.starts_with("Severity")),
            "{allow:?}"
        );
        assert!(world.asked.iter().filter(|asked| **asked == "client").count() <= 1, "asked twice");
    }
}

#[test]
fn nothing_is_done_for_a_rule_that_may_not_be_the_one() {
    let mut world = Scripted::overloaded();
    let decision =
        decide(&mut world, "d: .evil.com: deny\nd: ALL: spawn echo: banners /b\n", "ALL: ALL: spawn x\n");
    assert_eq!(decision, at(Verdict::Denied, Why::Unavailable, Which::Allow, 1));
    assert_eq!(world.acts, [""; 0]);
    // A refusal stands, whichever rule it is.
    let mut world = Scripted::overloaded();
    let decision = decide(&mut world, "d: .evil.com: deny\n", "ALL: ALL: spawn x\n");
    assert_eq!(decision, at(Verdict::Denied, Why::Rule, Which::Deny, 1));
    assert_eq!(world.acts, ["Spawn([120])"]);
}

#[test]
fn a_late_answer_ends_the_evaluation() {
    for rule in ["d: .evil.com\n", "d: joe@ALL\n", "d: ALL: rfc931\n", "d: ALL: spawn %n\n", "d@.x: ALL\n"] {
        let mut world = Scripted { client: Answer::Pending, user: Answer::Pending, ..Scripted::new() };
        let decision = decide(&mut world, rule, "ALL: ALL\n");
        assert_eq!(decision.verdict, Verdict::Pending, "{rule}");
        assert_eq!(world.acts, [""; 0]);
    }
    let mut world = Scripted { aclexec: Done::Pending, ..Scripted::new() };
    assert_eq!(decide(&mut world, "d: ALL: aclexec x\n", "").verdict, Verdict::Pending);
}

#[test]
fn names_are_asked_for_only_when_a_rule_needs_them() {
    for (rule, asked) in [
        ("d: ALL\n", &[][..]),
        ("d: *\n", &[]),
        ("d: 10.0.0.1\n", &[]),
        ("d: 10.0.0.0/8 .x\n", &[]),
        ("d: .x 10.\n", &["client"]),
        ("e: .x\n", &[]),
        ("d: 10.0.0.1/255.255.255.255 1.2.3.4 10.0.0\n", &[]),
        ("d: KNOWN\n", &["client"]),
        ("d: joe@10.\n", &["user"]),
        ("d: joe@9.\n", &[]),
        ("d: @g\n", &["client", "netgroup"]),
        ("d: @\n", &["client"]),
        ("d@10.: ALL\n", &[]),
        ("d@.x: ALL\n", &["server"]),
        ("d: ALL: spawn %h %c %H %s\n", &[]),
        ("d: ALL: spawn %n %n %N\n", &["client", "server"]),
        ("d: ALL: rfc931 3: spawn %u\n", &["user in 3 s"]),
        ("d: [::1]\n", &["client"]),
    ] {
        let mut world = Scripted::new();
        decide(&mut world, rule, "");
        assert_eq!(world.asked, asked, "{rule}");
    }
}

#[test]
fn aclexec_is_asked_for_each_request_anew() {
    for (allow, deny, refused, wanted) in [
        ("d: ALL: aclexec x\n", "ALL: ALL\n", false, at(Verdict::Granted, Why::Rule, Which::Allow, 1)),
        ("d: ALL: aclexec x\nd: ALL\n", "ALL: ALL\n", true, at(Verdict::Denied, Why::Rule, Which::Deny, 1)),
        ("d: ALL: aclexec x\n", "", true, NO_RULE),
        ("", "d: ALL: aclexec x\nALL: ALL\n", true, NO_RULE),
        ("", "d: ALL: aclexec x\n", false, at(Verdict::Denied, Why::Rule, Which::Deny, 1)),
        ("d: ALL: aclexec x: allow\n", "ALL: ALL\n", true, at(Verdict::Granted, Why::Rule, Which::Allow, 1)),
        ("d: ALL: aclexec x: deny\n", "", false, at(Verdict::Denied, Why::Rule, Which::Allow, 1)),
        // Another table's rule with options is not withdrawn by it.
        (
            "d: ALL: aclexec x\n",
            "ALL: ALL: keepalive\n",
            true,
            at(Verdict::Denied, Why::Rule, Which::Deny, 1),
        ),
    ] {
        let aclexec = if refused { Done::Refused } else { Done::Done };
        let mut world = Scripted { aclexec, ..Scripted::new() };
        assert_eq!(decide(&mut world, allow, deny), wanted, "{allow:?} {deny:?} {refused}");
    }
    let mut world = Scripted { aclexec: Done::Unavailable, ..Scripted::new() };
    let unavailable = at(Verdict::Denied, Why::Unavailable, Which::Allow, 1);
    assert_eq!(decide(&mut world, "d: ALL: aclexec x\n", ""), unavailable);
    let mut world = Scripted::overloaded();
    assert_eq!(decide(&mut world, "d: ALL: aclexec x %n\n", ""), unavailable);
    assert_eq!(world.acts, [""; 0]);
}

#[test]
fn an_error_does_not_undo_what_stood_before_it() {
    let mut world = Scripted::new();
    let decision = decide(&mut world, "d: ALL: umask 77: severity info: bogus: spawn x\n", "");
    assert_eq!(decision, at(Verdict::Denied, Why::BadOption, Which::Allow, 1));
    assert_eq!(world.acts, ["Umask(63)", "Severity(6)"]);
    assert_eq!(world.said, ["error: bad option name: \"bogus\""]);
}

#[test]
fn a_resident_process_does_not_twist() {
    let settings = Settings { resident: true, ..SETTINGS };
    let tables = tables("d: ALL: twist echo\n", "");
    let mut world = Scripted::new();
    let decision = evaluate(&tables, &mut client(), &mut world, &settings);
    assert_eq!(decision, at(Verdict::Denied, Why::BadOption, Which::Allow, 1));
    assert_eq!(world.said, ["error: twist option in resident process"]);
    let decision = evaluate(&tables, &mut client(), &mut world, &SETTINGS);
    assert_eq!(decision, at(Verdict::Delegated, Why::Rule, Which::Allow, 1));
}

#[test]
fn where_the_original_crashes_the_table_is_in_error() {
    let lists = [
        (&b"/loop"[..], b"/loop".to_vec()),
        (b"/huge", b"huge".to_vec()),
        (b"/word", vec![b'x'; 8192]),
        (b"/fits", [vec![b'x'; 8191], b" 10.0.0.1".to_vec()].concat()),
        (b"/groups", b"@g ".repeat(20_000)),
    ];
    let world = || {
        let lists = lists.iter().map(|(path, bytes)| (path.to_vec(), bytes.clone())).collect();
        Scripted { lists, ..Scripted::new() }
    };
    let long = format!("d: ALL: spawn {}\n", "%n".repeat(600));
    for (rule, said) in [
        ("d: /loop\n", "error: /loop: lists nested too deeply"),
        ("d: /huge\n", "error: /huge: list too large"),
        ("d: /word\n", "error: /word: word too long"),
        ("d: /groups\n", "error: too many netgroups to ask about"),
        (long.as_str(), "error: percent_x: expansion too long: host.example.comhost.example.com..."),
    ] {
        // hosts.allow has no more rules; hosts.deny refuses everybody.
        let mut asked = world();
        assert_eq!(decide(&mut asked, &format!("{rule}d: ALL\n"), ""), NO_RULE, "{rule}");
        assert_eq!(asked.said.len(), 1);
        assert!(asked.said[0].starts_with(&said[..30.min(said.len())]), "{:?}", asked.said);
        let broken = at(Verdict::Denied, Why::BrokenTable, Which::Deny, 1);
        assert_eq!(decide(&mut world(), "", &format!("{rule}e: ALL\n")), broken, "{rule}");
    }
    assert_eq!(decide(&mut world(), "d: /fits\n", "ALL: ALL\n").verdict, Verdict::Granted);
}

#[test]
fn lists_may_name_lists() {
    let lists: BTreeMap<Vec<u8>, Vec<u8>> = (0..20)
        .map(|depth| (format!("/{depth}").into_bytes(), format!("9.9.9.9 /{}", depth + 1).into_bytes()))
        .chain([(b"/20".to_vec(), b"10.0.0.1 10.0.0.0/33 EXCEPT # x".to_vec())])
        .collect();
    let decide =
        |rule: &str| decide(&mut Scripted { lists: lists.clone(), ..Scripted::new() }, rule, "ALL: ALL\n");
    assert_eq!(decide("d: /13\n").verdict, Verdict::Granted);
    assert_eq!(decide("d: /12\n").verdict, Verdict::Denied);
    assert_eq!(decide("d: ALL EXCEPT /19\n").verdict, Verdict::Denied);
    // Each names the next so often that nobody could read them all.
    let fan_out: BTreeMap<Vec<u8>, Vec<u8>> = (0..8)
        .map(|depth| (format!("/{depth}").into_bytes(), format!("/{} ", depth + 1).repeat(100).into_bytes()))
        .collect();
    let mut world = Scripted { lists: fan_out, ..Scripted::new() };
    assert_eq!(evaluate(&tables("d: /1\n", ""), &mut client(), &mut world, &SETTINGS), NO_RULE);
    assert_eq!(world.said, ["error: /7: too much to read in lists"]);
}

#[test]
fn the_third_field_may_be_a_shell_command() {
    let settings = Settings { options: false, ..SETTINGS };
    let mut world = Scripted::new();
    let tables = tables("", "d: ALL: (echo %h:%d | mail root) &\n");
    let decision = evaluate(&tables, &mut client(), &mut world, &settings);
    assert_eq!(decision, at(Verdict::Denied, Why::Rule, Which::Deny, 1));
    assert_eq!(world.acts, [format!("{:?}", Act::Spawn(b"(echo 10.0.0.1:d | mail root) &".to_vec()))]);
}

#[test]
fn a_text_of_options_may_end_in_a_colon() {
    for (text, wanted, said) in [
        ("", Processed::Through, &[][..]),
        ("allow", Processed::Granted, &[]),
        ("allow:", Processed::Granted, &["warning: rule ends in \":\""]),
        ("umask 22:allow:", Processed::Granted, &["warning: rule ends in \":\""]),
        ("deny\n", Processed::Denied, &[]),
        ("keepalive:\n", Processed::Wrong, &["error: missing option name"]),
        ("bogus:", Processed::Wrong, &["warning: rule ends in \":\"", "error: bad option name: \"bogus\""]),
    ] {
        let mut world = Scripted::new();
        let processed = process_options(text.as_bytes(), None, &mut client(), &mut world, &SETTINGS);
        assert_eq!(
            (processed, world.said),
            (wanted, said.iter().map(|said| (*said).to_owned()).collect()),
            "{text}"
        );
    }
}

#[test]
fn tables_that_are_not_there_or_cannot_be_read() {
    let unreadable = |path| Table { path, content: Content::Unreadable("Permission denied") };
    let missing = |path| Table { path, content: Content::Missing };
    let mut world = Scripted::new();
    let tables = Tables { allow: unreadable(b"/a"), deny: missing(b"/d") };
    assert_eq!(evaluate(&tables, &mut client(), &mut world, &SETTINGS), NO_RULE);
    assert_eq!(world.said, ["warning: cannot open /a: Permission denied"]);
    let tables = Tables { allow: missing(b"/a"), deny: unreadable(b"/d") };
    let decision = evaluate(&tables, &mut client(), &mut world, &SETTINGS);
    assert_eq!(decision, Decision { verdict: Verdict::Denied, why: Why::BrokenTable, by: None });
}

#[test]
fn expansion_cleans_what_later_rules_see() {
    let mut world = Scripted { client: Answer::Known("a;b"), aclexec: Done::Refused, ..Scripted::new() };
    let decision = decide(&mut world, "d: ALL: aclexec %n\n", "d: a_b\n");
    assert_eq!(decision, at(Verdict::Denied, Why::Rule, Which::Deny, 1));
}

#[test]
fn an_explanation_is_the_evaluation() {
    let allow = "e: ALL\nd: 9.\nd: ALL EXCEPT 10. 11.\nbad\nd: .example.com: umask 22\n";
    let tables = tables(allow, "ALL: ALL\n");
    let mut world = Scripted::new();
    let told = explain(&tables, &mut client(), &mut world, &SETTINGS);
    assert_eq!(told.decision, at(Verdict::Granted, Why::Rule, Which::Allow, 5));
    assert_eq!(told.decision, evaluate(&tables, &mut client(), &mut Scripted::new(), &SETTINGS));
    let steps: Vec<_> = told
        .steps
        .iter()
        .map(|step| {
            let words: Vec<_> = step.words.iter().map(|word| String::from_utf8_lossy(word)).collect();
            (step.place.line, words.join(" "), step.outcome)
        })
        .collect();
    assert_eq!(
        steps,
        [
            (2, "d".to_owned(), Outcome::OtherClient),
            (3, "d ALL 10.".to_owned(), Outcome::OtherClient),
            (4, String::new(), Outcome::NoColon),
            (5, "d .example.com".to_owned(), Outcome::Matched(Processed::Through)),
        ]
    );
    assert_eq!(told.steps.last().unwrap().rule, b"d: .example.com: umask 22");
    assert_eq!(world.acts, ["Umask(18)"]);
}

//! What both tables decide for one daemon on one port, as far as addresses tell: a list of sets of addresses in which the
//! first that holds the client decides, as the language wants it; and what had to be left out.

use super::clients::{self, Lists};
use crate::escape;
use crate::ranges::{Addresses, Ranges};
use hosts_access::lines::Lines;
use hosts_access::list::matches;
use hosts_access::option_syntax::fields;
use hosts_access::option_value::order;
use hosts_access::pattern::{DaemonName, DaemonPattern};
use hosts_access::split::Rule;
use hosts_access::{Content, OptionName, Table, Tables, Takes, Truth, Which, find_option};
use std::convert::Infallible;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Neighbouring rules with one verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Granted, or refused.
    pub(super) grants: bool,
    /// Whom they match; an earlier step may decide for some of them.
    pub(super) clients: Addresses,
    /// Where they stand: table and first line.
    pub(super) from: Vec<(Which, u32)>,
}

/// Something that cannot be said in the other language.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LeftOut {
    /// The file, escaped.
    pub(super) file: String,
    /// The line; 0 for the file as a whole.
    pub(super) line: u32,
    /// Why.
    pub(super) reason: String,
}

/// What is decided for one daemon on one port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Decisions {
    /// In order; who is in none is granted.
    pub(super) steps: Vec<Step>,
    /// What is not in them.
    pub(super) left_out: Vec<LeftOut>,
}

/// What a rule's options make of its verdict.
enum Verdict {
    Is(bool),
    /// They decide by something else.
    Other(&'static str),
}

/// Decides for `daemon` on `port`.
pub(super) fn decide(
    tables: &Tables<'_>,
    daemon: &[u8],
    port: Option<u16>,
    lists: &mut Lists<'_>,
) -> Decisions {
    let mut builder = Builder { daemon, port, found: Decisions::default(), rules: Vec::new() };
    builder.table(Which::Allow, &tables.allow, lists);
    builder.table(Which::Deny, &tables.deny, lists);
    builder.finish()
}

struct Builder<'d> {
    daemon: &'d [u8],
    port: Option<u16>,
    found: Decisions,
    rules: Vec<Step>,
}

impl Builder<'_> {
    fn table(&mut self, which: Which, table: &Table<'_>, lists: &mut Lists<'_>) {
        let file = escape::os(OsStr::from_bytes(table.path));
        let text = match table.content {
            Content::Text(text) => text,
            Content::Unreadable(why) => {
                self.broken(which, 0);
                let reason = format!("cannot be read: {why}");
                return self.found.left_out.push(LeftOut { file, line: 0, reason });
            }
            Content::Missing | Content::Compiled(_) => return,
        };
        let mut lines = Lines::new(text);
        while let Some(line) = lines.next() {
            // A line without an end does not count as one.
            let number = if line.complete { line.number } else { line.number.saturating_add(1) };
            if !line.complete {
                self.broken(which, number);
                let reason = match which {
                    Which::Allow => "the line is broken: it and what follows allows nobody",
                    Which::Deny => "the line is broken: everybody is refused from here on",
                };
                return self.found.left_out.push(LeftOut { file, line: number, reason: reason.to_owned() });
            }
            let rule = (!line.is_comment() && !line.is_blank()).then(|| Rule::new(line.text)).flatten();
            if let Some(rule) = rule {
                self.rule(which, &file, number, &rule, lists);
            }
        }
    }

    /// A table that cannot be read further.
    fn broken(&mut self, which: Which, line: u32) {
        if which == Which::Deny {
            self.rules.push(Step { grants: false, clients: Addresses::all(), from: vec![(which, line)] });
        }
    }

    fn rule(&mut self, which: Which, file: &str, line: u32, rule: &Rule<'_>, lists: &mut Lists<'_>) {
        let mut open = Vec::new();
        let subject = self.is_subject(rule.daemons, &mut open);
        if subject == Truth::No {
            return;
        }
        let mut leave_out = |reason: String| {
            self.found.left_out.push(LeftOut { file: file.to_owned(), line, reason });
        };
        let mut effects = Vec::new();
        let verdict = options(which, rule.options, &mut effects);
        let grants = match (subject, verdict) {
            (Truth::Yes, Verdict::Is(grants)) => grants,
            (Truth::Yes, Verdict::Other(why)) => return leave_out(why.to_owned()),
            _ => return leave_out(open.join(", ")),
        };
        let clients = clients::list(rule.clients, lists);
        if clients.least.is_empty() && clients.most.is_empty() {
            return;
        }
        for reason in clients.open.into_iter().chain(effects) {
            leave_out(reason);
        }
        if !clients.least.is_empty() {
            self.rules.push(Step { grants, clients: clients.least, from: vec![(which, line)] });
        }
    }

    /// Whether a daemon list names the daemon.
    fn is_subject(&self, daemons: &[u8], open: &mut Vec<String>) -> Truth {
        let one = |word: hosts_access::list::Token<'_>| {
            let pattern = DaemonPattern::new(word.text);
            let named = match pattern.daemon {
                DaemonName::Port(port) => self.port == Some(port),
                DaemonName::Text(text) => text.matches(self.daemon, &mut |_| false),
            };
            let host = pattern.host.filter(|_| named);
            Ok::<_, Infallible>(match host {
                None => named.into(),
                Some(_) => {
                    open.push(format!(
                        "`{}` depends on our own address",
                        escape::os(OsStr::from_bytes(word.text))
                    ));
                    Truth::Unknown
                }
            })
        };
        matches(daemons, one).unwrap_or(Truth::Unknown)
    }

    /// Joins neighbours with one verdict, and leaves out steps to which nobody is left.
    fn finish(mut self) -> Decisions {
        let mut decided = Addresses::default();
        for group in self.rules.chunk_by(|a, b| a.grants == b.grants) {
            let all = |of: fn(&Addresses) -> &Ranges| {
                Ranges::joined(group.iter().flat_map(|rule| of(&rule.clients).iter()).collect())
            };
            let clients = Addresses { v4: all(|a| &a.v4), v6: all(|a| &a.v6) };
            let left = clients.without(&decided);
            decided = decided.or(&clients);
            if let Some(first) = group.first().filter(|_| !left.is_empty()) {
                let from = group.iter().flat_map(|rule| rule.from.iter().copied()).collect();
                self.found.steps.push(Step { grants: first.grants, clients, from });
            }
        }
        // Whom nothing matches is granted: a last step that grants says nothing.
        while self.found.steps.last().is_some_and(|step| step.grants) {
            self.found.steps.pop();
        }
        self.found.left_out.sort();
        self.found.left_out.dedup();
        self.found
    }
}

impl Decisions {
    /// Whom the steps refuse in the end.
    pub(super) fn refused(&self) -> Addresses {
        let mut decided = Addresses::default();
        let mut refused = Addresses::default();
        for step in &self.steps {
            if !step.grants {
                refused = refused.or(&step.clients.without(&decided));
            }
            decided = decided.or(&step.clients);
        }
        refused
    }
}

/// The verdict of a rule with these options; what else they do goes to `effects`.
fn options(which: Which, text: Option<&[u8]>, effects: &mut Vec<String>) -> Verdict {
    let Some(text) = text else { return Verdict::Is(which == Which::Allow) };
    for field in fields(text) {
        let (keyword, value) = field.parts();
        let Some(rule) = find_option(keyword) else { return Verdict::Is(false) };
        let wrong = match rule.takes {
            Takes::Nothing => value.is_some(),
            Takes::Value => value.is_none(),
            Takes::Perhaps => false,
        };
        let value = value.unwrap_or_default();
        // An error refuses.
        if wrong || (rule.last && !field.last) || (!value.contains(&b'%') && order(rule.name, value).is_err())
        {
            return Verdict::Is(false);
        }
        match rule.name {
            OptionName::Allow => return Verdict::Is(true),
            OptionName::Deny => return Verdict::Is(false),
            OptionName::Twist => return Verdict::Other("`twist` answers instead of the server"),
            OptionName::Aclexec => return Verdict::Other("`aclexec` lets a command decide"),
            _ => effects.push(format!("the option `{}` is not converted", rule.keyword)),
        }
    }
    Verdict::Is(which == Which::Allow)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ranges::Family;
    use hosts_access::{
        Act, Answer, Done, End, Field, Host, ListFile, Message, Request, Settings, Verdict, World, evaluate,
    };
    use std::borrow::Cow;
    use std::net::{IpAddr, SocketAddr};

    fn of(allow: &str, deny: &str) -> Decisions {
        let table = |path: &'static [u8], text| Table { path, content: Content::Text(text) };
        let tables =
            Tables { allow: table(b"allow", allow.as_bytes()), deny: table(b"deny", deny.as_bytes()) };
        decide(&tables, b"d", Some(22), &mut Lists::new(&mut |_| ListFile::Absent))
    }

    fn shown(found: &Decisions) -> Vec<String> {
        let step = |step: &Step| {
            let networks = |family: Family| {
                let text = move |(net, length)| format!(" {}/{length}", family.text(net));
                step.clients.of(family).networks(family).into_iter().map(text).collect::<String>()
            };
            format!("{}{}{}", if step.grants { "+" } else { "-" }, networks(Family::V4), networks(Family::V6))
        };
        found.steps.iter().map(step).collect()
    }

    #[test]
    fn the_first_match_decides() {
        for (allow, deny, steps) in [
            ("", "", &[][..]),
            ("d: 10.\n", "", &[]),
            ("d: 10.\n", "ALL: ALL\n", &["+ 10.0.0.0/8", "- 0.0.0.0/0 ::/0"]),
            (
                "",
                "d: 10.1.\nD: 10.2.\ne: 10.3.\n22: 10.4.\n23: 10.5.\n",
                &["- 10.1.0.0/16 10.2.0.0/16 10.4.0.0/16"],
            ),
            (
                "d: 10.0.0.1: deny\nd: 10.0.0.0/31\n",
                "d: 10.0.0.0/30: allow\nd: 10.\n",
                &["- 10.0.0.1/32", "+ 10.0.0.0/30", "- 10.0.0.0/8"],
            ),
            ("ALL EXCEPT d: ALL\n", "ALL EXCEPT e: 10.0.0.1\n", &["- 10.0.0.1/32"]),
            ("d: 10.0.0.1:\nd: 10.0.0.2: bogus\n", "", &["- 10.0.0.1/32 10.0.0.2/32"]),
            ("no colon\n# d: ALL\n", "d: 10.0.0.1\n", &["- 10.0.0.1/32"]),
        ] {
            let found = of(allow, deny);
            assert_eq!(shown(&found), steps, "{allow:?} {deny:?}");
            assert_eq!(found.left_out, [], "{allow:?} {deny:?}");
        }
    }

    #[test]
    fn what_is_left_out_is_named() {
        for (allow, deny, steps, reason) in [
            ("", "d: .org 10.0.0.1\n", &["- 10.0.0.1/32"][..], "deny:1: `.org` is a name"),
            ("", "\nd: 10.0.0.1: twist x\n", &[], "deny:2: `twist` answers instead of the server"),
            ("d: ALL: aclexec x\n", "", &[], "allow:1: `aclexec` lets a command decide"),
            ("", "d@10.0.0.1: ALL\n", &[], "deny:1: `d@10.0.0.1` depends on our own address"),
            ("", "d: 10.0.0.1: spawn x\n", &["- 10.0.0.1/32"], "deny:1: the option `spawn` is not converted"),
            (
                "",
                "d: 10.0.0.1",
                &["- 0.0.0.0/0 ::/0"],
                "deny:1: the line is broken: everybody is refused from here on",
            ),
            ("d: ALL", "", &[], "allow:1: the line is broken: it and what follows allows nobody"),
        ] {
            let found = of(allow, deny);
            assert_eq!(shown(&found), steps, "{allow:?} {deny:?}");
            let told: Vec<_> = found
                .left_out
                .iter()
                .map(|left| format!("{}:{}: {}", left.file, left.line, left.reason))
                .collect();
            assert_eq!(told, [reason], "{allow:?} {deny:?}");
        }
    }

    struct NoNames;

    impl World for NoNames {
        fn name(&mut self, _: End, _: &Request) -> Answer<Field> {
            Answer::Known(Field::from("unknown"))
        }
        fn user(&mut self, _: &Request, _: Option<u32>) -> Answer<Field> {
            Answer::Known(Field::from("unknown"))
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

    /// Tables out of pieces, in a fixed order of chance: where nothing is left out, the verdicts are those of the language.
    #[test]
    fn tables_by_chance_decide_alike() {
        const DAEMONS: [&str; 8] = ["d", "ALL", "e", "22", "D e", "ALL EXCEPT d", "ALL EXCEPT e", "23"];
        const CLIENTS: [&str; 16] = [
            "10.",
            "10.1.2.3",
            "10.1.0.0/16",
            "10.0.0.1/8",
            "0.0.0.0/0",
            "0.0.0.0/0.0.0.0",
            "ALL",
            "[2001:db8::]/32",
            "[::1]",
            "[::]/0",
            "EXCEPT",
            "EXCEPT",
            "10.1",
            "192.0.2.0/255.255.255.0",
            "*",
            "010.0.0.0/8",
        ];
        const OPTIONS: [&str; 8] = ["", "", "", ": allow", ": deny", ":", ": bogus", ": nice x: allow"];
        let mut seed = 1_u64;
        let mut pick = |of: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from((seed >> 33) % of).unwrap()
        };
        for _ in 0..3000 {
            let mut table = || {
                let rules = 1 + pick(4);
                let rule = |_| {
                    let daemon = DAEMONS[pick(8)];
                    let words = 1 + pick(4);
                    let clients: Vec<&str> = (0..words).map(|_| CLIENTS[pick(16)]).collect();
                    format!("{daemon}: {}{}\n", clients.join(" "), OPTIONS[pick(8)])
                };
                (0..rules).map(rule).collect::<String>()
            };
            let (allow, deny) = (table(), table());
            let found = of(&allow, &deny);
            assert_eq!(found.left_out, []);
            let refused = found.refused();
            for source in [
                "10.1.2.3",
                "10.9.9.9",
                "8.0.0.1",
                "192.0.2.200",
                "1.1.1.1",
                "2001:db8::1",
                "::1",
                "2001:db9::",
            ] {
                let address: IpAddr = source.parse().unwrap();
                let (family, number) = match address {
                    IpAddr::V4(v4) => (Family::V4, u128::from(u32::from(v4))),
                    IpAddr::V6(v6) => (Family::V6, v6.to_bits()),
                };
                let step = found.steps.iter().find(|step| step.clients.of(family).contains(number));
                let grants = step.is_none_or(|step| step.grants);
                let table = |path: &'static [u8], text| Table { path, content: Content::Text(text) };
                let tables = Tables {
                    allow: table(b"allow", allow.as_bytes()),
                    deny: table(b"deny", deny.as_bytes()),
                };
                let mut request = Request {
                    daemon: Field::from("d"),
                    client: Host { addr: Field::from(source), ..Host::default() },
                    server: Host { socket: Some(SocketAddr::new(address, 22)), ..Host::default() },
                    ..Request::default()
                };
                let settings = Settings { options: true, verbose: 0, resident: false };
                let verdict = evaluate(&tables, &mut request, &mut NoNames, &settings).verdict;
                assert_eq!(grants, verdict == Verdict::Granted, "{source}: {allow}|{deny}");
                assert_eq!(grants, !refused.of(family).contains(number), "{source}: {allow}|{deny}");
            }
        }
    }
}

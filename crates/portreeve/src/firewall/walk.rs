//! What becomes of the first packet of a client in the kernel's chains, as far as it can be told: each chain of a hook in its order,
//! with jumps, sets and maps. Whatever is not understood makes the answer `unclear` and never a guess. Pure.

use super::matching::{Truth, matches, value_holds};
use super::port::Transport;
use super::ruleset::{Chain, Rule, Ruleset, destination};
use serde_json::Value;
use std::net::IpAddr;

/// Jumps within jumps; the kernel allows 16.
const DEEPEST: usize = 16;
/// Rules that are asked: a ruleset with more is not walked to its end.
const MOST_RULES: usize = 200_000;
/// Rules of one chain that may decide and cannot be judged; more are not listed.
const MOST_DOUBTS: usize = 5;

/// The first packet of a client.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct Probe<'a> {
    pub transport: Transport,
    pub port: u16,
    pub source: IpAddr,
    /// Where to, where that is known.
    pub to: Option<IpAddr>,
    /// By which interface, where that is known.
    pub interface: Option<&'a str>,
}

/// What a chain does with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on.
    Passes,
    /// It is dropped or rejected.
    Refused,
    /// It goes there, and no chain of `input` sees it as it was.
    Sent(String),
    /// It cannot be told.
    Unclear,
    /// It cannot be told whether it is sent elsewhere: what later chains say may never count.
    MaySend,
}

/// A chain's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// `inet portreeve_host input`.
    pub chain: String,
    /// The table.
    pub table: String,
    /// What it does.
    pub fate: Fate,
    /// The rule that decides, or the policy; rules that cannot be judged.
    pub detail: String,
}

/// How far a chain was walked.
enum Flow {
    /// To its end, or to a `return`.
    Through,
    /// A verdict, and the rule.
    Ended(Fate, String),
}

struct Walk<'a> {
    ruleset: &'a Ruleset,
    probe: &'a Probe<'a>,
    /// Rules that may or may not match, and what they would do.
    doubts: Vec<(Fate, String)>,
    asked: usize,
}

/// Asks every chain that sees the packet before a listener does, until one refuses it or sends it away.
pub fn walk(ruleset: &Ruleset, probe: &Probe<'_>) -> Vec<Step> {
    let mut steps = Vec::new();
    for hook in ["prerouting", "input"] {
        for chain in ruleset.hooked(hook, probe.source.to_canonical().is_ipv4()) {
            let step = ask(ruleset, probe, chain);
            let last = matches!(step.fate, Fate::Refused | Fate::Sent(_));
            steps.push(step);
            if last {
                return steps;
            }
        }
    }
    steps
}

fn ask(ruleset: &Ruleset, probe: &Probe<'_>, chain: &Chain) -> Step {
    let mut walk = Walk { ruleset, probe, doubts: Vec::new(), asked: 0 };
    let (fate, by) = match walk.chain(chain, 0) {
        Flow::Ended(fate, by) => (fate, by),
        Flow::Through if chain.policy == "drop" => (Fate::Refused, "its policy is drop".to_owned()),
        Flow::Through => (Fate::Passes, "no rule refuses it, and its policy is accept".to_owned()),
    };
    // A doubt that would end the same way is none.
    let doubts: Vec<&(Fate, String)> = walk.doubts.iter().filter(|(would, _)| *would != fate).collect();
    let (fate, detail) = match &doubts[..] {
        [] => (fate, by),
        doubts => {
            let shown: Vec<&str> = doubts.iter().take(MOST_DOUBTS).map(|(_, rule)| rule.as_str()).collect();
            let sends = doubts.iter().any(|(would, _)| matches!(would, Fate::Sent(_)));
            let fate = if sends { Fate::MaySend } else { Fate::Unclear };
            (fate, format!("{by}, unless {} decides, which cannot be judged here", shown.join(" or ")))
        }
    };
    let name = format!("{} {} {}", chain.family, chain.table, chain.name);
    Step { chain: name, table: format!("{} {}", chain.family, chain.table), fate, detail }
}

impl Walk<'_> {
    fn chain(&mut self, chain: &Chain, depth: usize) -> Flow {
        for rule in &chain.rules {
            self.asked += 1;
            if self.asked > MOST_RULES {
                return Flow::Ended(Fate::Unclear, format!("more than {MOST_RULES} rules"));
            }
            match self.rule(chain, rule, depth) {
                Some(Flow::Through) => return Flow::Through,
                Some(ended) => return ended,
                None => {}
            }
        }
        Flow::Through
    }

    /// `None`: the next rule is asked.
    fn rule(&mut self, chain: &Chain, rule: &Rule, depth: usize) -> Option<Flow> {
        let mut sure = true;
        for expression in &rule.expressions {
            if let Some(matched) = expression.get("match") {
                match matches(self.ruleset, chain, self.probe, matched) {
                    Truth::Yes => {}
                    Truth::No => return None,
                    Truth::Unknown => sure = false,
                }
            } else if let Some(map) = expression.get("vmap") {
                return self.map(chain, rule, map, sure, depth);
            } else if let Some(flow) = self.statement(chain, rule, expression, sure, depth) {
                return flow;
            } else if doubtful(expression) {
                sure = false;
            }
        }
        None
    }

    /// `Some` where the statement ends the rule.
    fn statement(
        &mut self,
        chain: &Chain,
        rule: &Rule,
        expression: &Value,
        sure: bool,
        depth: usize,
    ) -> Option<Option<Flow>> {
        let object = expression.as_object()?;
        let (word, value) = object.iter().next()?;
        let fate = match word.as_str() {
            "accept" => Fate::Passes,
            "drop" | "reject" => Fate::Refused,
            "queue" | "tproxy" | "synproxy" | "dup" | "fwd" => Fate::Unclear,
            "return" if sure => return Some(Some(Flow::Through)),
            "return" => {
                self.doubts.push((Fate::Unclear, shown(rule, expression)));
                return Some(None);
            }
            "jump" | "goto" => {
                let target = value.get("target").and_then(Value::as_str).unwrap_or_default();
                return Some(self.jump(chain, target, word == "goto", sure, depth));
            }
            _ => Fate::Sent(destination(expression)?),
        };
        let by = shown(rule, expression);
        if sure {
            return Some(Some(Flow::Ended(fate, by)));
        }
        self.doubts.push((fate, by));
        Some(None)
    }

    fn jump(&mut self, from: &Chain, target: &str, goes: bool, sure: bool, depth: usize) -> Option<Flow> {
        let key = (from.family.clone(), from.table.clone(), target.to_owned());
        let ruleset = self.ruleset;
        let Some(chain) = ruleset.chains.get(&key).filter(|_| depth < DEEPEST) else {
            self.doubts.push((Fate::Unclear, format!("chain {target}")));
            return None;
        };
        match self.chain(chain, depth + 1) {
            Flow::Ended(fate, by) if sure => Some(Flow::Ended(fate, by)),
            Flow::Ended(fate, by) => {
                self.doubts.push((fate, by));
                None
            }
            Flow::Through if goes && sure => Some(Flow::Through),
            Flow::Through => None,
        }
    }

    /// A map of verdicts.
    fn map(&mut self, chain: &Chain, rule: &Rule, map: &Value, sure: bool, depth: usize) -> Option<Flow> {
        let key = map.get("key")?;
        let data = map.get("data")?;
        let named = data.as_str().and_then(|name| self.ruleset.named(chain, name));
        let entries =
            data.get("set").and_then(Value::as_array).map(Vec::as_slice).or(named).unwrap_or_default();
        for entry in entries {
            let Some([value, verdict]) = entry.as_array().map(Vec::as_slice) else { continue };
            let value = value.get("elem").and_then(|elem| elem.get("val")).unwrap_or(value);
            match value_holds(self.ruleset, chain, self.probe, key, value) {
                Truth::No => {}
                truth => {
                    let sure = sure && truth == Truth::Yes;
                    let flow = self.statement(chain, rule, verdict, sure, depth).flatten();
                    if flow.is_some() || truth == Truth::Yes {
                        return flow;
                    }
                }
            }
        }
        None
    }
}

/// Statements after which the rest of a rule holds only sometimes.
fn doubtful(expression: &Value) -> bool {
    let harmless = [
        "counter",
        "log",
        "comment",
        "mangle",
        "notrack",
        "set",
        "ct helper",
        "ct timeout",
        "last",
        "masquerade",
    ];
    let Some(word) = expression.as_object().and_then(|object| object.keys().next()) else { return true };
    if word == "xt" {
        let text = |name: &str| expression["xt"].get(name).and_then(Value::as_str).unwrap_or_default();
        return !(text("type") == "match" && text("name") == "comment"
            || text("type") == "target"
                && ["LOG", "NFLOG", "MARK", "CONNMARK", "CT", "TCPMSS", "SET"].contains(&text("name")));
    }
    !harmless.contains(&word.as_str())
}

/// A rule for people: what it does, and its comment or its number.
fn shown(rule: &Rule, expression: &Value) -> String {
    let word = expression.as_object().and_then(|object| object.keys().next()).map_or("", String::as_str);
    match rule.comment.as_str() {
        "" => format!("{word} by the rule of handle {}", rule.handle),
        comment => format!("{word} by the rule \"{comment}\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ruleset(rules: &str) -> Ruleset {
        let chain = r#"{"chain": {"family": "inet", "table": "t", "name": "input", "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}},
            {"chain": {"family": "inet", "table": "t", "name": "more"}},
            {"set": {"family": "inet", "table": "t", "name": "good", "elem": ["192.0.2.1", {"prefix": {"addr": "198.51.100.0", "len": 24}}, {"elem": {"val": "203.0.113.9", "timeout": 5}}]}}"#;
        Ruleset::read(&format!("{{\"nftables\": [{chain}, {rules}]}}")).unwrap()
    }

    fn rule(chain: &str, expressions: &str) -> String {
        format!(
            r#"{{"rule": {{"family": "inet", "table": "t", "chain": "{chain}", "handle": 7, "expr": [{expressions}]}}}}"#
        )
    }

    fn fate(rules: &[String], source: &str) -> Fate {
        let ruleset = ruleset(&rules.join(","));
        let probe = Probe {
            transport: Transport::Tcp,
            port: 22,
            source: source.parse().unwrap(),
            to: None,
            interface: None,
        };
        walk(&ruleset, &probe).pop().unwrap().fate
    }

    #[test]
    fn rules_are_judged_or_called_unclear() {
        let dport = |value: &str| {
            format!(
                r#"{{"match": {{"op": "==", "left": {{"payload": {{"protocol": "tcp", "field": "dport"}}}}, "right": {value}}}}}"#
            )
        };
        let from = |op: &str, value: &str| {
            format!(
                r#"{{"match": {{"op": "{op}", "left": {{"payload": {{"protocol": "ip", "field": "saddr"}}}}, "right": {value}}}}}"#
            )
        };
        let accept = r#"{"accept": null}"#;
        let with = |matches: &str| vec![rule("input", &format!("{matches}, {accept}"))];
        for (rules, source, wanted) in [
            (vec![rule("more", accept)], "192.0.2.1", Fate::Refused),
            (with(&dport("22")), "192.0.2.1", Fate::Passes),
            (with(&dport("23")), "192.0.2.1", Fate::Refused),
            (with(&dport(r#"{"set": [1, {"range": [20, 25]}]}"#)), "192.0.2.1", Fate::Passes),
            (with(&from("==", "\"@good\"")), "198.51.100.77", Fate::Passes),
            (with(&from("==", "\"@good\"")), "203.0.113.9", Fate::Passes),
            (with(&from("==", "\"@good\"")), "192.0.2.2", Fate::Refused),
            (with(&from("==", "\"@unknown\"")), "192.0.2.2", Fate::Unclear),
            (with(&from("!=", "\"192.0.2.2\"")), "192.0.2.2", Fate::Refused),
            // A field of another family never matches, whatever the sign.
            (with(&from("!=", "\"192.0.2.2\"")), "2001:db8::1", Fate::Refused),
            (
                with(r#"{"match": {"op": "==", "left": {"meta": {"key": "iif"}}, "right": "lo"}}"#),
                "192.0.2.1",
                Fate::Refused,
            ),
            (
                with(r#"{"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "eth0"}}"#),
                "192.0.2.1",
                Fate::Unclear,
            ),
            (
                with(
                    r#"{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}"#,
                ),
                "192.0.2.1",
                Fate::Refused,
            ),
            (
                with(r#"{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": "new"}}"#),
                "192.0.2.1",
                Fate::Passes,
            ),
            (with(r#"{"limit": {"rate": 5, "per": "second"}}"#), "192.0.2.1", Fate::Unclear),
            (with(r#"{"xt": {"type": "match", "name": "comment"}}"#), "192.0.2.1", Fate::Passes),
            (with(r#"{"xt": {"type": "match", "name": "recent"}}"#), "192.0.2.1", Fate::Unclear),
            // A drop in doubt, under a policy that drops: no doubt.
            (vec![rule("input", r#"{"limit": {"rate": 5}}, {"drop": null}"#)], "192.0.2.1", Fate::Refused),
            (
                vec![rule("input", r#"{"jump": {"target": "more"}}"#), rule("more", accept)],
                "192.0.2.1",
                Fate::Passes,
            ),
            (
                vec![
                    rule("input", r#"{"goto": {"target": "more"}}"#),
                    rule("input", accept),
                    rule("more", r#"{"return": null}"#),
                ],
                "192.0.2.1",
                Fate::Refused,
            ),
            (vec![rule("input", r#"{"jump": {"target": "input"}}"#)], "192.0.2.1", Fate::Unclear),
            (
                vec![rule(
                    "input",
                    r#"{"vmap": {"key": {"payload": {"protocol": "tcp", "field": "dport"}}, "data": {"set": [[21, {"drop": null}], [22, {"accept": null}]]}}}"#,
                )],
                "192.0.2.1",
                Fate::Passes,
            ),
            (
                vec![rule("input", r#"{"dnat": {"addr": "10.0.0.1", "port": 80}}"#)],
                "192.0.2.1",
                Fate::Sent("10.0.0.1:80".to_owned()),
            ),
            (
                vec![rule("input", r#"{"limit": {"rate": 5}}, {"dnat": {"addr": "10.0.0.1"}}"#)],
                "192.0.2.1",
                Fate::MaySend,
            ),
            (with(r#"{"match": 7}, {"xyz": []}, 5"#), "192.0.2.1", Fate::Unclear),
        ] {
            assert_eq!(fate(&rules, source), wanted, "{source}: {rules:#?}");
        }
    }
}

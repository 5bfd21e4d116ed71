//! The answer of `nft -j list ruleset`, read into [`super::model`]. Pure. What is not known here stays in it as unknown.

use super::model::{Base, Chain, Hook, Rule, Ruleset, Sees, Test, Verdict};
use super::nft_test::{self, Sets};
use serde_json::Value;
use std::collections::BTreeSet;

/// A ruleset, and the tables that iptables knows better.
#[derive(Debug, Default)]
pub struct Listed {
    /// The chains.
    pub ruleset: Ruleset,
    /// Tables with parts that only iptables can show.
    pub foreign: BTreeSet<(&'static str, String)>,
}

/// Reads it.
///
/// # Errors
/// It is no such answer.
pub fn read(text: &[u8]) -> Result<Listed, String> {
    let answer: Value =
        serde_json::from_slice(text).map_err(|error| format!("nft's answer is no JSON: {error}"))?;
    let objects =
        answer.get("nftables").and_then(Value::as_array).ok_or("nft's answer has no list `nftables`")?;
    let mut listed = Listed::default();
    let mut sets = Sets::default();
    for object in objects {
        for kind in ["set", "map"] {
            if let Some(set) = object.get(kind) {
                let word = |name| set.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
                sets.all.insert((word("family"), word("table"), word("name")), set);
            }
        }
        if let Some(chain) = object.get("chain").and_then(chain) {
            listed.ruleset.add(chain);
        }
    }
    // Marks and notrack count wherever they are set.
    sets.marks = objects.iter().any(|object| {
        let text = || object.get("rule").and_then(|rule| rule.get("expr"));
        text().and_then(Value::as_array).is_some_and(|expr| {
            expr.iter().any(|statement| {
                statement.get("mangle").is_some_and(|mangle| {
                    let key = mangle.get("key");
                    key.and_then(|key| key.get("meta").or_else(|| key.get("ct")))
                        .is_some_and(|meta| meta.get("key").and_then(Value::as_str) == Some("mark"))
                })
            })
        })
    });
    sets.untracked = objects.iter().any(|object| {
        let expr = object.get("rule").and_then(|rule| rule.get("expr")).and_then(Value::as_array);
        expr.is_some_and(|expr| expr.iter().any(|statement| statement.get("notrack").is_some()))
    });
    for object in objects {
        let Some(rule) = object.get("rule") else { continue };
        let word = |name| rule.get(name).and_then(Value::as_str).unwrap_or_default();
        let Some(sees) = sees(word("family")) else { continue };
        let (table, name) = (word("table"), word("chain"));
        let empty = Vec::new();
        let statements = rule.get("expr").and_then(Value::as_array).unwrap_or(&empty);
        if statements.iter().any(|statement| statement.get("xt").is_some()) {
            listed.foreign.insert((sees.word(), table.to_owned()));
        }
        sets.here = (word("family").to_owned(), table.to_owned());
        let read = self::rule(statements, &sets);
        if let Some(chain) = listed.ruleset.chain(sees, table, name) {
            let number = chain.rules.len() + 1;
            chain.rules.push(Rule { number, ..read });
        }
    }
    Ok(listed)
}

fn sees(family: &str) -> Option<Sees> {
    match family {
        "ip" => Some(Sees::Ip),
        "ip6" => Some(Sees::Ip6),
        "inet" => Some(Sees::Inet),
        "netdev" => Some(Sees::Netdev),
        // arp and bridge: they see no packet to an address of this host as such.
        _ => None,
    }
}

fn chain(chain: &Value) -> Option<Chain> {
    let word = |name| chain.get(name).and_then(Value::as_str);
    let hook = match word("hook") {
        Some("ingress") => Some(Hook::Ingress),
        Some("prerouting") => Some(Hook::Prerouting),
        Some("input") => Some(Hook::Input),
        Some("forward") => Some(Hook::Forward),
        _ => None,
    };
    // The chains of `nat` at input change sources: they keep nobody out.
    let devices = match chain.get("dev") {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    Some(Chain {
        sees: sees(word("family")?)?,
        table: word("table")?.to_owned(),
        name: word("name")?.to_owned(),
        base: hook.map(|hook| Base {
            hook,
            priority: chain.get("prio").and_then(Value::as_i64).unwrap_or(0),
            accepts: word("policy") != Some("drop"),
            devices,
        }),
        rules: Vec::new(),
    })
}

fn rule(statements: &[Value], sets: &Sets<'_>) -> Rule {
    let (mut tests, mut verdicts) = (Vec::new(), Vec::new());
    for statement in statements {
        let Some((kind, what)) = statement.as_object().and_then(|object| object.iter().next()) else {
            // nft prints a word, or nothing, for what it cannot show.
            if let Some(verdict) = plain(statement.as_str().unwrap_or_default()) {
                verdicts.push((Test::Is(true), verdict));
            } else {
                tests.push(Test::Unknown("a part that nft does not show".to_owned()));
            }
            continue;
        };
        match kind.as_str() {
            "match" => tests.push(nft_test::read(what, sets)),
            // Rates, counts and quotas are taken as not used up: one connection, at a quiet moment.
            "limit" | "quota" | "ct count" => {
                let over = what.get("inv").and_then(Value::as_bool).unwrap_or(false);
                tests.push(Test::Is(!over));
            }
            "counter" | "log" | "ct helper" | "ct timeout" | "ct expectation" | "notrack" | "mangle"
            | "dup" | "comment" | "secmark" | "last" | "flow" | "snat" | "masquerade" => {}
            // Adding to a set: with a rate behind it, it passes where that is exceeded.
            "set" | "meter" => {
                let inner = what.get("stmt");
                let all = inner.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
                for one in all.iter().chain(inner.filter(|inner| inner.is_object())) {
                    if let Some(limit) = one.get("limit").or_else(|| one.get("ct count")) {
                        let over = limit.get("inv").and_then(Value::as_bool).unwrap_or(false);
                        tests.push(Test::Is(!over));
                    }
                }
            }
            "vmap" => map(what, sets, &mut verdicts),
            "jump" | "goto" => {
                let target = what.get("target").and_then(Value::as_str).unwrap_or_default().to_owned();
                let verdict = if kind == "jump" { Verdict::Jump(target) } else { Verdict::Goto(target) };
                verdicts.push((Test::Is(true), verdict));
            }
            "dnat" => verdicts.push((Test::Is(true), nat(what))),
            "redirect" => {
                let verdict = match what.get("port") {
                    None => Verdict::To(None, None),
                    Some(port) => match port.as_u64().and_then(|port| u16::try_from(port).ok()) {
                        Some(port) => Verdict::To(None, Some(port)),
                        None => Verdict::Unknown("redirect to a port that varies".to_owned()),
                    },
                };
                verdicts.push((Test::Is(true), verdict));
            }
            "xt" => xt(what, &mut tests, &mut verdicts),
            other => match plain(other) {
                Some(verdict) => verdicts.push((Test::Is(true), verdict)),
                None => verdicts.push((Test::Is(true), Verdict::Unknown(other.to_owned()))),
            },
        }
    }
    // An extension header of IPv6: whoever is dropped for one sends none.
    let header = |statement: &Value| {
        let found =
            statement.get("match").filter(|found| found.get("op").and_then(Value::as_str) != Some("!="));
        found.and_then(|found| found.get("left")).is_some_and(|left| left.get("exthdr").is_some())
    };
    let drops = verdicts.iter().all(|(_, verdict)| *verdict == Verdict::Drop);
    if drops && statements.iter().any(header) {
        tests = vec![Test::Is(false)];
    }
    Rule { number: 0, test: Test::All(tests), verdicts }
}

fn plain(word: &str) -> Option<Verdict> {
    match word {
        "accept" => Some(Verdict::Accept),
        "drop" | "reject" => Some(Verdict::Drop),
        "return" => Some(Verdict::Return),
        "continue" => Some(Verdict::Continue),
        _ => None,
    }
}

/// What iptables-nft wrote and nft cannot show.
fn xt(what: &Value, tests: &mut Vec<Test>, verdicts: &mut Vec<(Test, Verdict)>) {
    let name = what.get("name").and_then(Value::as_str).unwrap_or("?");
    match what.get("type").and_then(Value::as_str) {
        Some("target" | "watcher") => match name {
            "LOG" | "NFLOG" | "ULOG" => {}
            "REJECT" => verdicts.push((Test::Is(true), Verdict::Drop)),
            _ => verdicts.push((Test::Is(true), Verdict::Unknown(format!("target {name} of iptables")))),
        },
        Some("match") if name == "comment" => {}
        _ => tests.push(Test::Unknown(format!("match {name} of iptables"))),
    }
}

fn map(what: &Value, sets: &Sets<'_>, verdicts: &mut Vec<(Test, Verdict)>) {
    let unknown = || (Test::Is(true), Verdict::Unknown("a map of verdicts".to_owned()));
    let (Some(key), Some(data)) = (what.get("key"), what.get("data")) else {
        return verdicts.push(unknown());
    };
    let pairs = match data.as_str() {
        Some(name) => sets.elements(name),
        None => data.get("set").and_then(Value::as_array).map(Vec::as_slice),
    };
    for pair in pairs.unwrap_or_default() {
        let parts = pair.as_array().map(Vec::as_slice);
        let Some([one, verdict]) = parts else { return verdicts.push(unknown()) };
        let verdict = verdict.as_object().and_then(|object| object.iter().next());
        let Some((kind, target)) = verdict else { return verdicts.push(unknown()) };
        let target = || target.get("target").and_then(Value::as_str).unwrap_or_default().to_owned();
        let verdict = match kind.as_str() {
            "jump" => Verdict::Jump(target()),
            "goto" => Verdict::Goto(target()),
            word => plain(word).unwrap_or_else(|| Verdict::Unknown(word.to_owned())),
        };
        verdicts.push((nft_test::equal(key, one, sets), verdict));
    }
}

fn nat(what: &Value) -> Verdict {
    let unknown = |what: &str| Verdict::Unknown(format!("dnat to {what}"));
    let address = match what.get("addr") {
        None => None,
        Some(address) => match address.as_str().and_then(|text| text.parse().ok()) {
            Some(address) => Some(address),
            None => return unknown("an address that varies"),
        },
    };
    match what.get("port") {
        None => Verdict::To(address, None),
        Some(port) => match port.as_u64().and_then(|port| u16::try_from(port).ok()) {
            Some(port) => Verdict::To(address, Some(port)),
            None => unknown("a port that varies"),
        },
    }
}

//! The kernel's whole ruleset as nft(8) tells it in JSON, and where it sends ports elsewhere: what is translated before the input
//! chains is never asked for by ours. Reads leniently: what is not understood is kept as such, and never left out.

use serde_json::Value;
use std::collections::BTreeMap;

/// A chain of a table.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chain {
    /// `inet`, `ip`, `ip6`.
    pub family: String,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// `prerouting`, `input`, ...; empty for one that is only jumped to.
    pub hook: String,
    /// `filter` or `nat`.
    pub kind: String,
    /// Lower ones come first.
    pub priority: i64,
    /// `accept` or `drop`.
    pub policy: String,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
}

/// A rule.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    /// Its number in its table.
    pub handle: u64,
    /// Its comment.
    pub comment: String,
    /// Its statements.
    pub expressions: Vec<Value>,
}

/// Chains by family, table and name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ruleset {
    /// All of them.
    pub chains: BTreeMap<(String, String, String), Chain>,
    /// The elements of named sets, by family, table and name.
    pub sets: BTreeMap<(String, String, String), Vec<Value>>,
}

/// A port that is sent elsewhere before this host's input chains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirection {
    /// `ip nat DOCKER`.
    pub chain: String,
    /// `tcp 8080`, as far as the rule says.
    pub what: String,
    /// Where to, as far as nft tells.
    pub to: String,
}

fn text(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

impl Ruleset {
    /// Reads nft's JSON.
    ///
    /// # Errors
    /// It is none.
    pub fn read(json: &str) -> Result<Self, String> {
        let document: Value = serde_json::from_str(json).map_err(|error| format!("nft's JSON: {error}"))?;
        let entries =
            document.get("nftables").and_then(Value::as_array).ok_or("nft's JSON has no list `nftables`")?;
        let mut ruleset = Self::default();
        for entry in entries {
            if let Some(chain) = entry.get("chain") {
                let made = Chain {
                    family: text(chain, "family"),
                    table: text(chain, "table"),
                    name: text(chain, "name"),
                    hook: text(chain, "hook"),
                    kind: text(chain, "type"),
                    priority: chain.get("prio").and_then(Value::as_i64).unwrap_or(0),
                    policy: text(chain, "policy"),
                    rules: Vec::new(),
                };
                ruleset.chains.insert((made.family.clone(), made.table.clone(), made.name.clone()), made);
            } else if let Some(set) = entry.get("set").or_else(|| entry.get("map")) {
                let elements = set.get("elem").and_then(Value::as_array).cloned().unwrap_or_default();
                ruleset.sets.insert((text(set, "family"), text(set, "table"), text(set, "name")), elements);
            } else if let Some(rule) = entry.get("rule") {
                let key = (text(rule, "family"), text(rule, "table"), text(rule, "chain"));
                let made = Rule {
                    handle: rule.get("handle").and_then(Value::as_u64).unwrap_or(0),
                    comment: text(rule, "comment"),
                    expressions: rule.get("expr").and_then(Value::as_array).cloned().unwrap_or_default(),
                };
                if let Some(chain) = ruleset.chains.get_mut(&key) {
                    chain.rules.push(made);
                }
            }
        }
        Ok(ruleset)
    }

    /// The chains of a hook that see this family, in the order in which the kernel asks them.
    pub fn hooked(&self, hook: &str, v4: bool) -> Vec<&Chain> {
        let family = if v4 { "ip" } else { "ip6" };
        let sees = |chain: &&Chain| chain.hook == hook && (chain.family == "inet" || chain.family == family);
        let mut found: Vec<&Chain> = self.chains.values().filter(sees).collect();
        found.sort_by_key(|chain| chain.priority);
        found
    }

    /// The elements of a set that rules of this chain name.
    pub fn named(&self, chain: &Chain, name: &str) -> Option<&[Value]> {
        let name = name.strip_prefix('@').unwrap_or(name).to_owned();
        self.sets.get(&(chain.family.clone(), chain.table.clone(), name)).map(Vec::as_slice)
    }

    /// Where ports are sent elsewhere: by translation of the destination.
    pub fn redirections(&self) -> Vec<Redirection> {
        let mut found = Vec::new();
        for chain in self.chains.values() {
            // What this host sends itself is not our question.
            if chain.hook == "output" || chain.hook == "postrouting" || chain.hook == "input" {
                continue;
            }
            for rule in &chain.rules {
                if let Some(to) = rule.expressions.iter().find_map(destination) {
                    found.push(Redirection {
                        chain: format!("{} {} {}", chain.family, chain.table, chain.name),
                        what: matched_port(rule),
                        to,
                    });
                }
            }
        }
        found
    }
}

/// Where a statement sends a packet, if that is what it does.
pub fn destination(expression: &Value) -> Option<String> {
    if let Some(dnat) = expression.get("dnat") {
        let address = dnat.get("addr").map(shown).unwrap_or_default();
        let port = dnat.get("port").map(|port| format!(":{}", shown(port))).unwrap_or_default();
        return Some(format!("{address}{port}"));
    }
    if let Some(redirect) = expression.get("redirect") {
        let port = redirect.get("port").map(|port| format!(" port {}", shown(port))).unwrap_or_default();
        return Some(format!("this host{port}"));
    }
    let xt = expression.get("xt").filter(|xt| text(xt, "type") == "target")?;
    match text(xt, "name").as_str() {
        name @ ("DNAT" | "REDIRECT" | "NETMAP" | "TPROXY") => Some(format!("where {name} of iptables says")),
        _ => None,
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// `tcp 8080`, from the matches of a rule.
fn matched_port(rule: &Rule) -> String {
    let mut found = Vec::new();
    for expression in &rule.expressions {
        let Some(matched) = expression.get("match") else { continue };
        let Some(payload) = matched.get("left").and_then(|left| left.get("payload")) else { continue };
        if text(payload, "field") == "dport" {
            let right = matched.get("right").map(shown).unwrap_or_default();
            let sign = if text(matched, "op") == "!=" { "!= " } else { "" };
            found.push(format!("{} {sign}{right}", text(payload, "protocol")));
        }
    }
    if found.is_empty() { "every port".to_owned() } else { found.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCKER: &str = r#"{"nftables": [{"metainfo": {"json_schema_version": 1}}, {"table": {"family": "ip", "name": "nat", "handle": 1}},
        {"chain": {"family": "ip", "table": "nat", "name": "DOCKER", "handle": 1}},
        {"chain": {"family": "ip", "table": "nat", "name": "PREROUTING", "handle": 2, "type": "nat", "hook": "prerouting", "prio": -100, "policy": "accept"}},
        {"rule": {"family": "ip", "table": "nat", "chain": "DOCKER", "handle": 4, "expr": [{"match": {"op": "!=", "left": {"meta": {"key": "iifname"}}, "right": "docker0"}}, {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 8080}}, {"counter": {"packets": 0, "bytes": 0}}, {"xt": {"type": "target", "name": "DNAT"}}]}},
        {"rule": {"family": "ip", "table": "nat", "chain": "DOCKER", "handle": 5, "expr": [{"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 81}}, {"dnat": {"addr": "172.17.0.3", "port": 80}}]}},
        {"rule": {"family": "ip", "table": "nat", "chain": "PREROUTING", "handle": 3, "expr": [{"xt": {"type": "match", "name": "addrtype"}}, {"jump": {"target": "DOCKER"}}]}}]}"#;

    #[test]
    fn published_ports_are_seen() {
        let ruleset = Ruleset::read(DOCKER).unwrap();
        let found = ruleset.redirections();
        assert_eq!((found[0].chain.as_str(), found[0].what.as_str()), ("ip nat DOCKER", "tcp 8080"));
        assert_eq!(found[0].to, "where DNAT of iptables says");
        assert_eq!((found[1].what.as_str(), found[1].to.as_str()), ("tcp 81", "172.17.0.3:80"));
        assert_eq!(ruleset.hooked("prerouting", true).len(), 1);
        assert!(ruleset.hooked("prerouting", false).is_empty());
    }

    #[test]
    fn rubbish_is_an_error_or_nothing() {
        assert!(Ruleset::read("").is_err() && Ruleset::read("{}").is_err());
        assert_eq!(
            Ruleset::read("{\"nftables\": [1, {\"rule\": 3}, {\"chain\": []}]}").unwrap().redirections(),
            []
        );
    }
}

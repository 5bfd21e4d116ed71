//! Findings with their waivers: what counts, and the forms for machines, JSON and SARIF 2.1.0. Pure.

use crate::checks::{CHECKS, Severity};
use crate::exposure::Outcome;
use crate::finding::Finding;
use crate::inventory::Inventory;
use crate::waivers::{Day, Waiver};
use serde_json::{Value, json};

/// What a waiver does to a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waived {
    /// Nobody answers for it.
    No,
    /// Somebody does.
    By(Waiver),
    /// Somebody did, until a day that has passed: it counts again.
    Expired(Waiver),
}

/// The report.
#[derive(Debug)]
pub struct Report {
    /// Findings, the worst first.
    pub findings: Vec<(Finding, Waived)>,
    /// Checks that say nothing on this host, and why.
    pub not_applicable: Vec<(&'static str, &'static str)>,
    /// Waivers that no finding needs.
    pub unused: Vec<Waiver>,
    /// What could not be looked at.
    pub gaps: Vec<String>,
    /// Listeners that were looked at.
    pub listeners: usize,
}

impl Report {
    /// Puts it together.
    pub fn new(inventory: &Inventory, outcome: Outcome, waivers: &[Waiver], today: Day) -> Report {
        let mut used = vec![false; waivers.len()];
        let mut waive = |finding: &Finding| {
            let mut expired = None;
            for (waiver, used) in waivers.iter().zip(&mut used) {
                if !waiver.is_for(finding) {
                    continue;
                }
                *used = true;
                if waiver.expires >= today {
                    return Waived::By(waiver.clone());
                }
                expired = Some(waiver.clone());
            }
            expired.map_or(Waived::No, Waived::Expired)
        };
        let mut findings: Vec<_> = outcome
            .findings
            .into_iter()
            .map(|finding| (waive(&finding), finding))
            .map(|(w, f)| (f, w))
            .collect();
        findings.sort_by_key(|(finding, _)| std::cmp::Reverse(finding.severity()));
        let unused = waivers.iter().zip(used).filter(|(_, used)| !used).map(|(waiver, _)| waiver.clone());
        Report {
            findings,
            not_applicable: outcome.not_applicable,
            unused: unused.collect(),
            gaps: inventory.gaps.clone(),
            listeners: inventory.listeners.len(),
        }
    }

    /// Findings that count.
    pub fn open(&self) -> impl Iterator<Item = &(Finding, Waived)> {
        self.findings.iter().filter(|(_, waived)| !matches!(waived, Waived::By(_)))
    }

    /// Checks that apply, and those of them that found nothing that counts.
    pub fn score(&self) -> (usize, usize) {
        let applies =
            CHECKS.iter().filter(|check| !self.not_applicable.iter().any(|(id, _)| *id == check.id));
        let clean = |id: &str| !self.open().any(|(finding, _)| finding.check.id == id);
        applies.fold((0, 0), |(all, good), check| (all + 1, good + usize::from(clean(check.id))))
    }

    /// The report as JSON.
    pub fn json(&self) -> Value {
        let (apply, clean) = self.score();
        let finding = |(finding, waived): &(Finding, Waived)| {
            let mut value = finding.json();
            if let Some(fields) = value.as_object_mut() {
                let (word, by) = match waived {
                    Waived::No => ("no", None),
                    Waived::By(waiver) => ("yes", Some(waiver)),
                    Waived::Expired(waiver) => ("expired", Some(waiver)),
                };
                fields.insert("waived".to_owned(), json!(word));
                fields.insert("waiver".to_owned(), by.map_or(Value::Null, waiver));
            }
            value
        };
        json!({
            "findings": self.findings.iter().map(finding).collect::<Vec<_>>(),
            "open": self.open().count(),
            "checks": {"apply": apply, "clean": clean},
            "not_applicable": self.not_applicable.iter().map(|(id, why)| json!({"id": id, "why": why})).collect::<Vec<_>>(),
            "unused_waivers": self.unused.iter().map(waiver).collect::<Vec<_>>(),
            "listeners": self.listeners,
            "gaps": self.gaps,
        })
    }

    /// The report as SARIF 2.1.0 (OASIS). `version` is this program's.
    pub fn sarif(&self, version: &str) -> Value {
        let rules = CHECKS.map(|check| {
            let text = |text: &str| json!({"text": text});
            let help = format!(
                "When: {}\nFix: {}\nRisk of the fix: {}\nUndo: {}",
                check.when, check.fix, check.risk, check.undo
            );
            json!({
                "id": check.id,
                "shortDescription": text(check.title),
                "fullDescription": text(check.why),
                "help": text(&help),
                "defaultConfiguration": {"level": level(check.severity)},
            })
        });
        let notes = self.gaps.iter().map(|gap| json!({"level": "warning", "message": {"text": gap}}));
        json!({
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{
                "tool": {"driver": {"name": "portreeve", "semanticVersion": version, "rules": rules}},
                "invocations": [{"executionSuccessful": true, "toolExecutionNotifications": notes.collect::<Vec<_>>()}],
                "results": self.findings.iter().map(result).collect::<Vec<_>>(),
            }],
        })
    }
}

fn waiver(waiver: &Waiver) -> Value {
    json!({
        "id": waiver.id,
        "line": waiver.line,
        "owner": waiver.owner,
        "reason": waiver.reason,
        "expires": waiver.expires.to_string(),
    })
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::High => "error",
        Severity::Medium => "warning",
        Severity::Low => "note",
    }
}

fn result((finding, waived): &(Finding, Waived)) -> Value {
    let index = CHECKS.iter().position(|check| check.id == finding.check.id);
    let mut message = format!("{}: {}. Fix: {}", finding.subject, finding.check.title, finding.fix);
    let mut suppressions = Vec::new();
    match waived {
        Waived::No => {}
        Waived::By(waiver) => suppressions.push(json!({
            "kind": "external",
            "status": "accepted",
            "justification": format!("{}: {} (until {})", waiver.owner, waiver.reason, waiver.expires),
        })),
        Waived::Expired(waiver) => {
            message.push_str(&format!(". The waiver of {} expired on {}", waiver.owner, waiver.expires));
        }
    }
    let mut location =
        json!({"logicalLocations": [{"fullyQualifiedName": finding.subject, "kind": "resource"}]});
    let executable = || finding.evidence("executable").map(str::as_bytes);
    if let (Some(path), Some(fields)) = (
        finding.file.as_deref().or_else(executable).filter(|path| path.starts_with(b"/")),
        location.as_object_mut(),
    ) {
        let uri = json!({"artifactLocation": {"uri": uri(path)}});
        fields.insert("physicalLocation".to_owned(), uri);
    }
    json!({
        "ruleId": finding.check.id,
        "ruleIndex": index,
        "level": level(finding.severity()),
        "message": {"text": message},
        "locations": [location],
        "partialFingerprints": {"listener/v1": finding.identity()},
        "suppressions": suppressions,
        "properties": finding.json(),
    })
}

/// A path as a URI (RFC 3986).
fn uri(path: &[u8]) -> String {
    let mut uri = String::from("file://");
    for &byte in path {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::{PLAINTEXT, PLAINTEXT_LOGIN};

    fn finding(check: &'static crate::checks::Check, address: &str) -> Finding {
        let evidence = vec![("address", address.to_owned()), ("executable", "/opt/a b".to_owned())];
        let (fix, undo) = ("kill 7".to_owned(), "x".to_owned());
        Finding { check, subject: format!("tcp {address}"), evidence, pid: Some(7), file: None, fix, undo }
    }

    fn report(expires: i32) -> Report {
        let day = |year| Day { year, month: 1, day: 1 };
        let waiver = |id: &str, address: &str, year| Waiver {
            id: id.to_owned(),
            matches: vec![("address".to_owned(), address.to_owned())],
            owner: "web".to_owned(),
            reason: "r".to_owned(),
            expires: day(year),
            line: 1,
        };
        let findings = vec![finding(&PLAINTEXT, "a"), finding(&PLAINTEXT_LOGIN, "b")];
        let outcome = Outcome { findings, not_applicable: vec![("listener-root-unpackaged", "none")] };
        let waivers = [waiver(PLAINTEXT.id, "a", expires), waiver(PLAINTEXT.id, "c", expires)];
        Report::new(&Inventory::default(), outcome, &waivers, day(2026))
    }

    #[test]
    fn a_waiver_holds_through_its_last_day() {
        for (expires, open, word) in [(2026, 1, "yes"), (2025, 2, "expired")] {
            let report = report(expires);
            assert_eq!(report.open().count(), open);
            assert_eq!(report.findings[0].0.check.id, PLAINTEXT_LOGIN.id, "the worst first");
            assert_eq!(report.json()["findings"][1]["waived"], word);
            assert_eq!((report.unused.len(), report.unused[0].matches[0].1.as_str()), (1, "c"));
            assert_eq!(report.score(), (CHECKS.len() - 1, CHECKS.len() - 1 - open));
        }
    }

    #[test]
    fn sarif_names_rule_place_and_waiver() {
        let sarif = report(2026).sarif("1.2.3");
        let run = &sarif["runs"][0];
        let results = run["results"].as_array().unwrap();
        for result in results {
            let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(run["tool"]["driver"]["rules"][index]["id"], result["ruleId"]);
        }
        assert_eq!(results[0]["level"], "error");
        assert_eq!(results[0]["suppressions"], json!([]));
        assert_eq!(results[1]["suppressions"][0]["kind"], "external");
        assert_eq!(
            results[1]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"],
            "file:///opt/a%20b"
        );
        // Of a file its own bytes, whatever stands for them in the evidence.
        let path = b"/etc/a b\xff\\x20";
        let found = Finding { file: Some(path.to_vec()), ..finding(&PLAINTEXT, "a") };
        let location = &result(&(found, Waived::No))["locations"][0]["physicalLocation"];
        assert_eq!(location["artifactLocation"]["uri"], "file:///etc/a%20b%FF%5Cx20");
    }
}

//! Real tables (`../shared/corpus`) with what the real tcpdmatch made of them: verdicts, and the diagnostics as far as they were
//! kept.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test ends at the first surprise")]

mod machine;

use hosts_access::{Content, Field, Request, Settings, Table, Tables, Verdict, evaluate};
use machine::Machine;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn corpus() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus");
    if !path.is_dir() {
        println!("skipped: the corpus is not at hand");
        return None;
    }
    Some(path)
}

/// The verdict for a numeric client of which nothing else is known, and what is said on the way.
fn predict(
    allow: Option<&[u8]>,
    deny: Option<&[u8]>,
    daemon: &str,
    client: &str,
) -> (&'static str, Vec<String>) {
    let table = |path, text: Option<_>| Table { path, content: text.map_or(Content::Missing, Content::Text) };
    let tables = Tables { allow: table(b"hosts.allow", allow), deny: table(b"hosts.deny", deny) };
    let mut request =
        Request { daemon: Field::from(daemon), user: Field::from("unknown"), ..Request::default() };
    request.client.addr = Field::from(client);
    let mut machine = Machine::new(BTreeMap::new(), &[], false);
    let settings = Settings { options: true, verbose: 2, resident: false };
    let verdict = match evaluate(&tables, &mut request, &mut machine, &settings).verdict {
        Verdict::Granted => "granted",
        Verdict::Denied => "denied",
        Verdict::Delegated => "delegated",
        Verdict::Pending => "pending",
    };
    (verdict, String::from_utf8_lossy(&machine.said).lines().map(str::to_owned).collect())
}

/// Puts the questions of one golden line; how many there were.
fn ask(golden: &Value, allow: Option<&[u8]>, deny: Option<&[u8]>) -> usize {
    let queries = golden["queries"].as_array().unwrap();
    for query in queries {
        let text = |index: usize| query[index].as_str().unwrap();
        let (verdict, said) = predict(allow, deny, text(0), text(1));
        assert_eq!(verdict, text(2), "{} {query} {said:?}", golden["file"]);
        // The first few messages were kept, those about inetd.conf among them.
        let kept = query[3].as_array().into_iter().flatten().map(|line| line.as_str().unwrap());
        let kept: Vec<_> = kept
            .filter_map(|line| line.strip_prefix("tcpdmatch: "))
            .filter(|line| !line.contains("no such process name") && !line.ends_with("not wrapped"))
            .collect();
        assert_eq!(said.iter().take(kept.len()).collect::<Vec<_>>(), kept, "{} {query}", golden["file"]);
    }
    queries.len()
}

fn golden(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn real_tables_decide_as_recorded() {
    let Some(corpus) = corpus() else { return };
    let read = |name: &Value| std::fs::read(corpus.join(name.as_str().unwrap())).unwrap();
    let mut asked = 0;
    for table in golden(&corpus.join("golden/tcpdmatch.jsonl")) {
        let text = read(&table["file"]);
        let text = Some(text.as_slice());
        let (allow, deny) = if table["role"] == "hosts.allow" { (text, None) } else { (None, text) };
        asked += ask(&table, allow, deny);
    }
    for pair in golden(&corpus.join("golden/tcpdmatch_pairs.jsonl")) {
        asked += ask(&pair, Some(&read(&pair["allow"])), Some(&read(&pair["deny"])));
    }
    println!("{asked} questions");
    assert!(asked > 3000, "only {asked} questions");
}

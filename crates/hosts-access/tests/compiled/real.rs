//! The same law on tables that people wrote.

use super::{Surroundings, compile, request_of, run, run_image, silent};
use hosts_access::{Answer, Content, Field, Request};

/// Every table of the recorded answers and of the corpus, for every daemon that it names and clients of all kinds.
#[test]
fn recorded_and_real_tables() {
    let shared = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    if let Ok(recorded) = std::fs::read_to_string(shared.join("oracle/public.jsonl")) {
        for line in recorded.lines() {
            let case: serde_json::Value = serde_json::from_str(line).expect("a case");
            // Latin-1 as the recording writes bytes.
            let table = |name: &str| -> Vec<u8> {
                let text = case[name].as_str().unwrap_or_default();
                text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
            };
            pairs.push((table("allow"), table("deny")));
        }
    }
    if let Ok(corpus) = std::fs::read_dir(shared.join("corpus/hosts_access")) {
        for entry in corpus {
            let text = std::fs::read(entry.expect("an entry").path()).expect("a table");
            pairs.push((text.clone(), b"ALL: ALL\n".to_vec()));
            pairs.push((Vec::new(), text));
        }
    }
    if pairs.is_empty() {
        println!("skipped: neither the recorded answers nor the corpus are at hand");
        return;
    }
    pairs.sort();
    pairs.dedup();
    for (allow, deny) in &pairs {
        for client_name in [Answer::Known("host.example"), Answer::Unavailable] {
            let around = Surroundings { client_name, ..silent() };
            let image = compile(allow, deny, &around);
            for daemon in daemons(allow, deny) {
                for address in
                    ["10.0.0.1", "192.168.1.1", "1.2.3.4", "::ffff:10.0.0.1", "2001:db8::1", "::1", "x"]
                {
                    let request = Request { daemon: Field::new(&daemon), ..request_of(address) };
                    let walked = run([Content::Text(allow), Content::Text(deny)], &request, &around);
                    let found = run_image(&image, [allow, deny], &request, &around);
                    let shown = String::from_utf8_lossy(allow);
                    assert_eq!(found, Some(walked), "{request:?} {shown}");
                }
            }
        }
    }
}

/// Up to four of the words that stand before a colon, and one that does not.
fn daemons(allow: &[u8], deny: &[u8]) -> Vec<Vec<u8>> {
    let lines = allow.split(|byte| *byte == b'\n').chain(deny.split(|byte| *byte == b'\n'));
    let lists = lines.filter_map(|line| line.split(|byte| *byte == b':').next());
    let words = lists.flat_map(|list| list.split(|byte| byte.is_ascii_whitespace() || *byte == b','));
    let mut words: Vec<Vec<u8>> = words.filter(|word| !word.is_empty()).map(<[u8]>::to_vec).collect();
    words.sort();
    words.dedup();
    words.truncate(4);
    words.push(b"other".to_vec());
    words
}

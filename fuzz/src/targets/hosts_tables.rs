//! Any bytes as both tables and a list: the evaluation ends, never panics, asks for each name once, and its explanation
//! comes to the same decision.

use crate::tables::{AnyWorld, parts, request};
use hosts_access::{Content, Settings, Table, Tables, evaluate, explain};

/// One input: `hosts.allow`, `hosts.deny`, a `/file` list and the request, parted by 0xff.
pub fn run(input: &[u8]) {
    let [allow, deny, list, who] = parts(input);
    let table = |path, text| Table { path, content: Content::Text(text) };
    let tables = Tables { allow: table(b"hosts.allow", allow), deny: table(b"hosts.deny", deny) };
    let settings = Settings { options: who.len() % 8 != 0, verbose: 2, resident: who.len() % 2 == 0 };
    let mut world = AnyWorld::new(who, list);
    let decision = evaluate(&tables, &mut request(who), &mut world, &settings);
    assert!(world.names <= 2, "a name was asked for twice");
    assert!(world.users <= 1, "the user was asked for twice");
    let told = explain(&tables, &mut request(who), &mut AnyWorld::new(who, list), &settings);
    assert_eq!(told.decision, decision);
}

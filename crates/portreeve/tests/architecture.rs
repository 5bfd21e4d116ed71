//! Holds the crates to the edges of ARCHITECTURE.md §3, and the privileged path to its short list of dependencies.
//! Reads `cargo metadata`; builds nothing.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What each privileged crate may take from outside, itself included in the gate.
const PRIVILEGED: &[(&str, &[&str])] = &[
    ("portreeve-conf", &[]),
    ("hosts-access", &[]),
    ("portreeve-policy", &[]),
    ("portreeve-handover", &[]),
    ("portreeve-sys", &["rustix", "libc", "thiserror"]),
    ("portreeve-daemon", &["rustix", "libc", "thiserror"]),
    ("portreeve-libwrap", &["libc"]),
    ("portreeve-workers", &["rustix", "libc", "thiserror", "landlock", "seccompiler"]),
    ("portreeve-gate", &[]),
];

/// What the executable `portreeve-gate` never links, however indirectly.
const NEVER_IN_THE_GATE: &[&str] = &[
    "tokio",
    "rustls",
    "rusqlite",
    "libsqlite3-sys",
    "hyper",
    "axum",
    "serde",
    "serde_core",
    "serde_json",
    "clap",
    "regex",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

struct Graph {
    /// Package id → name.
    names: BTreeMap<String, String>,
    /// Package id → ids of its normal and build dependencies.
    edges: BTreeMap<String, BTreeSet<String>>,
    members: BTreeSet<String>,
}

fn graph() -> Graph {
    // Only what is built here: a fresh machine has never fetched what the dependencies want on other systems.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", &platform])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let text = |value: &Value, name: &str| value[name].as_str().expect(name).to_owned();
    let list = |value: &Value, name: &str| value[name].as_array().expect(name).clone();
    let names = list(&metadata, "packages").iter().map(|p| (text(p, "id"), text(p, "name"))).collect();
    let members =
        list(&metadata, "workspace_members").iter().map(|id| id.as_str().expect("id").to_owned()).collect();
    let mut edges = BTreeMap::new();
    for node in list(&metadata["resolve"], "nodes") {
        let shipped = |dep: &&Value| list(dep, "dep_kinds").iter().any(|kind| kind["kind"] != "dev");
        let to = list(&node, "deps").iter().filter(shipped).map(|dep| text(dep, "pkg")).collect();
        edges.insert(text(&node, "id"), to);
    }
    Graph { names, edges, members }
}

impl Graph {
    fn id(&self, name: &str) -> &str {
        let found = self.members.iter().find(|id| self.names[*id] == name);
        found.unwrap_or_else(|| panic!("{name} is no member of the workspace"))
    }

    /// Names of the direct dependencies, inside or outside of the workspace.
    fn direct(&self, name: &str, inside: bool) -> BTreeSet<&str> {
        let to = &self.edges[self.id(name)];
        to.iter()
            .filter(|id| self.members.contains(*id) == inside)
            .map(|id| self.names[id].as_str())
            .collect()
    }

    /// Names of all that a member links, with the way to each.
    fn closure(&self, name: &str) -> BTreeMap<&str, String> {
        let mut found = BTreeMap::new();
        let mut open = vec![(self.id(name), name.to_owned())];
        while let Some((id, way)) = open.pop() {
            for next in &self.edges[id] {
                let next_name = self.names[next].as_str();
                if !found.contains_key(next_name) {
                    let way = format!("{way} → {next_name}");
                    found.insert(next_name, way.clone());
                    open.push((next, way));
                }
            }
        }
        found
    }
}

/// The block ```edges of ARCHITECTURE.md: crate → what it may depend on.
fn allowed() -> BTreeMap<String, BTreeSet<String>> {
    let page = std::fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let block =
        page.split("```edges\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a block ```edges");
    let edges = block.lines().map(|line| {
        let (from, to) = line.split_once("->").unwrap_or_else(|| panic!("no `->` in `{line}`"));
        (from.trim().to_owned(), to.split_whitespace().map(str::to_owned).collect())
    });
    edges.collect()
}

#[test]
fn crates_depend_on_each_other_as_the_architecture_says() {
    let graph = graph();
    let allowed = allowed();
    let members: BTreeSet<_> = graph.members.iter().map(|id| graph.names[id].clone()).collect();
    assert_eq!(
        members,
        allowed.keys().cloned().collect(),
        "members of the workspace and of ARCHITECTURE.md §3"
    );
    for (from, to) in &allowed {
        for name in graph.direct(from, true) {
            assert!(to.contains(name), "{from} depends on {name}; ARCHITECTURE.md §3 allows it {to:?}");
        }
    }
}

#[test]
fn the_privileged_path_takes_only_what_is_listed() {
    let graph = graph();
    for (member, listed) in PRIVILEGED {
        for name in graph.direct(member, false) {
            assert!(listed.contains(&name), "{member} takes {name} from outside; the list allows {listed:?}");
        }
    }
    for name in graph.direct("portreeve-gate", true) {
        assert!(
            PRIVILEGED.iter().any(|(member, _)| *member == name),
            "portreeve-gate links {name}, which has no list"
        );
    }
}

#[test]
fn the_gate_links_none_of_the_heavy_crates() {
    let graph = graph();
    let linked = graph.closure("portreeve-gate");
    for name in NEVER_IN_THE_GATE {
        assert!(!linked.contains_key(name), "{}", linked[name]);
    }
    assert!(linked.contains_key("portreeve-sys"), "the closure was computed");
}

#[test]
fn every_dependency_says_what_it_is_for() {
    let mut manifests = vec![root().join("Cargo.toml"), root().join("compliance/Cargo.toml")];
    let crates = std::fs::read_dir(root().join("crates")).expect("crates");
    manifests.extend(crates.map(|entry| entry.expect("entry").path().join("Cargo.toml")));
    for manifest in manifests {
        let text = std::fs::read_to_string(&manifest).expect("a manifest");
        let (mut section, mut above) = (String::new(), "");
        for line in text.lines() {
            if line.starts_with('[') {
                section = line.to_owned();
            }
            let declares = section.ends_with("dependencies]") && line.contains('=') && !line.starts_with('#');
            let ours = line.starts_with("portreeve-") || line.contains("workspace = true");
            assert!(
                !declares || ours || above.starts_with("# "),
                "{}: no reason above `{line}`",
                manifest.display()
            );
            above = line;
        }
    }
}

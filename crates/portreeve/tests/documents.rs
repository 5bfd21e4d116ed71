//! Keeps the documents in step with the commands: the manual pages are the commands' own, and no page names a command
//! or an option that does not exist. `PORTREEVE_BLESS=1 cargo test -p portreeve --test documents` writes the pages.

use clap::CommandFactory;
use portreeve::commands::Cli;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The commands, built, with their full names: `portreeve`, `portreeve check`, `portreeve ban list`.
fn commands() -> Vec<(String, clap::Command)> {
    fn collect(command: &clap::Command, name: String, found: &mut Vec<(String, clap::Command)>) {
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            collect(sub, format!("{name} {}", sub.get_name()), found);
        }
        found.push((name, command.clone()));
    }
    // Without `help` as a command: its pages would only repeat the others.
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut found = Vec::new();
    collect(&command, "portreeve".to_owned(), &mut found);
    found
}

fn pages() -> BTreeMap<String, String> {
    let page = |(name, command): (String, clap::Command)| {
        let file = format!("{}.1", name.replace(' ', "-"));
        let command = command.display_name(name.replace(' ', "-"));
        let mut text = Vec::new();
        let source = concat!("portreeve ", env!("CARGO_PKG_VERSION"));
        clap_mangen::Man::new(command)
            .source(source)
            .manual("portreeve")
            .render(&mut text)
            .expect("a page renders");
        (file, String::from_utf8(text).expect("a page is UTF-8"))
    };
    commands().into_iter().map(page).collect()
}

#[test]
fn the_manual_pages_are_the_commands_own() {
    let directory = root().join("docs/man");
    let pages = pages();
    let there = fs::read_dir(&directory).expect("docs/man");
    let there = there.map(|entry| entry.expect("entry").file_name().into_string().expect("UTF-8"));
    let ours =
        |name: &String| name.ends_with(".1") && (name == "portreeve.1" || name.starts_with("portreeve-"));
    let stale: Vec<_> = there.filter(ours).filter(|name| !pages.contains_key(name)).collect();
    if std::env::var_os("PORTREEVE_BLESS").is_some() {
        for name in &stale {
            fs::remove_file(directory.join(name)).expect("removable");
        }
        for (name, text) in &pages {
            fs::write(directory.join(name), text).expect("writable");
        }
        return;
    }
    let again = "write them with PORTREEVE_BLESS=1 cargo test -p portreeve --test documents";
    assert!(stale.is_empty(), "pages without a command: {stale:?}; {again}");
    for (name, text) in &pages {
        let written = fs::read_to_string(directory.join(name)).unwrap_or_default();
        assert!(written == *text, "docs/man/{name} is not what the command says; {again}");
    }
}

/// What stands between backticks or in fenced blocks of a page: lines of code.
fn code(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut fenced = false;
    for line in page.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced {
            found.push(line.to_owned());
        } else {
            found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    found
}

/// The command and the long options of each call of portreeve in a line of code.
fn calls(line: &str) -> Vec<(String, Vec<String>)> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    for part in line.split(['|', ';', '&', '#', '(', ')']) {
        let mut words = part.split_whitespace();
        let Some(_) = words.by_ref().find(|word| word.rsplit('/').next() == Some("portreeve")) else {
            continue;
        };
        let rest: Vec<_> = words.map(|word| word.trim_end_matches([',', '.', ':'])).collect();
        let Some(first) = rest.first().filter(|word| word.bytes().all(|b| b.is_ascii_lowercase())) else {
            continue;
        };
        let long = rest.iter().filter(|word| word.starts_with("--") && word.len() > 2);
        let long =
            long.map(|word| word.trim_start_matches('-').split('=').next().unwrap_or_default().to_owned());
        found.push(((*first).to_owned(), long.collect()));
    }
    found
}

#[test]
fn pages_name_only_what_exists() {
    let commands = commands();
    let mut pages =
        vec![root().join("README.md"), root().join("SECURITY.md"), root().join("CONTRIBUTING.md")];
    let guide = fs::read_dir(root().join("docs/guide")).expect("docs/guide");
    pages.extend(
        guide
            .map(|entry| entry.expect("entry").path())
            .filter(|path| path.extension().is_some_and(|e| e == "md")),
    );
    let mut checked = 0;
    for path in pages {
        let Ok(page) = fs::read_to_string(&path) else { continue };
        for (command, options) in code(&page).iter().flat_map(|line| calls(line)) {
            checked += 1;
            let full = format!("portreeve {command}");
            let known: Vec<_> = commands
                .iter()
                .filter(|(name, _)| *name == full || name.starts_with(&format!("{full} ")))
                .collect();
            assert!(!known.is_empty(), "{}: there is no command `{full}`", path.display());
            if command == "run" {
                continue; // its options are the gate's
            }
            for option in options {
                let has = |(_, c): &&(String, clap::Command)| {
                    c.get_arguments().any(|a| a.get_long() == Some(&option))
                };
                assert!(known.iter().any(has), "{}: `{full}` has no --{option}", path.display());
            }
        }
    }
    assert!(checked > 0, "the pages were read");
}

#[test]
fn every_command_is_in_the_guide() {
    let mut text = String::new();
    for entry in fs::read_dir(root().join("docs/guide")).expect("docs/guide") {
        text.push_str(&fs::read_to_string(entry.expect("entry").path()).expect("a page"));
    }
    for (name, command) in commands() {
        assert!(command.is_hide_set() || text.contains(&name), "docs/guide says nothing of `{name}`");
    }
}

#[test]
fn calls_are_found() {
    let found = calls("sudo /opt/portreeve check -f x --json | jq . ; portreeve ban remove all --control=/x");
    let wanted = [("check", vec!["json"]), ("ban", vec!["control"])];
    let found: Vec<_> =
        found.iter().map(|(c, o)| (c.as_str(), o.iter().map(String::as_str).collect::<Vec<_>>())).collect();
    assert_eq!(found, wanted);
    assert_eq!(code("a `b` c\n```\nd\n```\n`e`"), ["b", "d", "e"]);
}

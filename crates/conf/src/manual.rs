//! The reference manual of the attributes, made from the table. Holds no fact about an attribute.

use crate::attribute::{Attribute, Kind, Origin, Section, Values};
use crate::attributes::attributes;
use std::fmt::Write;

const HEAD: &str = "\
# Attributes

Every attribute that a configuration may hold. Names, words and ids are compared without case. This page is made from the
table in `crates/conf/src/attributes.rs`, which also drives reading and completions; a test compares the two.

A section is

```
service NAME            defaults
{                       {
    name = value            name = value
}                       }
```

with each brace alone on its line and white space before the operator. Lines whose first character is `#` are comments.
Behind the values of an attribute a word that starts with `#` starts a comment too, except in lists, in `server_args` and
in `env`, where it is an ordinary word, as in xinetd.

`include PATH` reads a file, `includedir PATH` every file of a directory whose name holds no dot and does not end in `~`,
in the order of their bytes.

Attributes marked *portreeve* are unknown to xinetd, which warns about them and ignores them.
";

/// The manual page of the attributes, as Markdown.
pub fn manual() -> String {
    let mut text = String::from(HEAD);
    text.push_str("\n| attribute | values | operators | in defaults | default |\n|---|---|---|---|---|\n");
    for attribute in attributes() {
        let _ = writeln!(
            text,
            "| [`{}`](#{}) | `{}` | `{}` | {} | {} |",
            attribute.name,
            attribute.name,
            attribute.form.replace('|', "\\|"),
            attribute.operators().join("` `"),
            in_defaults(attribute),
            attribute.default,
        );
    }
    for attribute in attributes() {
        section(&mut text, attribute);
    }
    text
}

fn in_defaults(attribute: &Attribute) -> &'static str {
    match attribute.section {
        Section::Service => "no",
        Section::Both => "yes",
        Section::Defaults => "only there",
    }
}

fn section(text: &mut String, attribute: &Attribute) {
    let origin = if attribute.origin == Origin::Portreeve { " *portreeve*" } else { "" };
    let _ = writeln!(text, "\n## `{}`{origin}\n", attribute.name);
    let _ = writeln!(text, "```\n{} = {}\n```\n", attribute.name, attribute.form);
    let _ = writeln!(text, "{}\n", attribute.meaning);
    let _ = writeln!(text, "- values: {}", values(attribute));
    if let Kind::Words(words) = attribute.kind {
        let _ = writeln!(
            text,
            "- words: {}",
            words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" ")
        );
    }
    if !attribute.bounds.is_empty() {
        let _ = writeln!(text, "- bounds: {}", attribute.bounds);
    }
    let _ = writeln!(text, "- operators: `{}`", attribute.operators().join("` `"));
    let _ = writeln!(text, "- in `defaults`: {}", in_defaults(attribute));
    let _ = writeln!(text, "- default: {}", attribute.default);
}

fn values(attribute: &Attribute) -> String {
    match attribute.values {
        Values::Exactly(1) => "one".to_owned(),
        Values::Exactly(2) => "two".to_owned(),
        Values::Exactly(number) => number.to_string(),
        Values::Some | Values::AtLeast(_) | Values::Forms { .. } => "one or more".to_owned(),
        Values::Any => "any number, none included".to_owned(),
    }
}

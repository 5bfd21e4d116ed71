//! `portreeve attributes`: what may stand in a configuration, from the one table that the reader itself uses.

use crate::failure::{Exit, Failure};
use crate::output::{Output, Paint, wrap};
use crate::table::{Cell, Table};
use clap::builder::PossibleValuesParser;
use portreeve_conf::{Attribute, Kind, Origin, Section, Values};
use serde_json::{Value, json};
use std::io::{self, Write};

/// Columns of running text.
const WIDTH: usize = 96;

/// Say what attributes there are, what they take and what they do
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// One attribute only
    #[arg(value_parser = names(), ignore_case = true, hide_possible_values = true)]
    pub name: Option<String>,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
    /// The reference manual, as docs/man/attributes.md has it
    #[arg(long, conflicts_with_all = ["json", "name"])]
    pub markdown: bool,
}

/// Prints the table, or one row of it.
pub fn run(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    if arguments.markdown {
        out.write_all(portreeve_conf::manual().as_bytes())?;
        return Ok(Exit::Fine);
    }
    let all = portreeve_conf::attributes();
    match &arguments.name {
        Some(name) => {
            let found = all.iter().filter(|attribute| attribute.name.eq_ignore_ascii_case(name));
            for attribute in found {
                if arguments.json {
                    out.json(&to_json(attribute))?;
                } else {
                    write_one(out, attribute)?;
                }
            }
        }
        None if arguments.json => {
            out.json(&json!({ "attributes": all.iter().map(to_json).collect::<Vec<_>>() }))?
        }
        None => write_all(out, all)?,
    }
    Ok(Exit::Fine)
}

/// The names, so that a wrong one is answered with the nearest, and shells complete them.
fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(portreeve_conf::attributes().iter().map(|attribute| attribute.name))
}

fn where_allowed(section: Section) -> &'static str {
    match section {
        Section::Service => "service",
        Section::Defaults => "defaults",
        Section::Both => "service, defaults",
    }
}

fn ours(attribute: &Attribute) -> bool {
    attribute.origin == Origin::Portreeve
}

fn to_json(attribute: &Attribute) -> Value {
    json!({
        "name": attribute.name,
        "form": attribute.form,
        "values": match attribute.values {
            Values::Exactly(n) => json!(n),
            Values::Some | Values::AtLeast(_) | Values::Forms { .. } => json!("some"),
            Values::Any => json!("any"),
        },
        "operators": attribute.operators(),
        "sections": where_allowed(attribute.section).split(", ").collect::<Vec<_>>(),
        "words": match attribute.kind {
            Kind::Words(words) => words,
            _ => attribute.words(),
        },
        "default": attribute.default,
        "bounds": attribute.bounds,
        "meaning": attribute.meaning,
        "origin": if ours(attribute) { "portreeve" } else { "xinetd" },
    })
}

fn write_all(out: &mut Output<'_>, all: &[Attribute]) -> io::Result<()> {
    let mut table = Table::new(&["attribute", "values", "default", "in"]);
    for attribute in all {
        let name = if ours(attribute) { format!("{} +", attribute.name) } else { attribute.name.to_owned() };
        table.row(vec![
            Cell::painted(name, Paint::Bold),
            attribute.form.into(),
            attribute.default.into(),
            where_allowed(attribute.section).into(),
        ]);
    }
    table.write(out, 0)?;
    writeln!(
        out,
        "\n+ portreeve's own: xinetd warns about it and ignores it\nportreeve attributes NAME says what one does"
    )
}

fn write_one(out: &mut Output<'_>, attribute: &Attribute) -> io::Result<()> {
    let name = out.paint(Paint::Bold, attribute.name);
    writeln!(out, "{name} {} {}", attribute.operators().join("|"), attribute.form)?;
    for line in wrap(attribute.meaning, WIDTH) {
        writeln!(out, "  {line}")?;
    }
    writeln!(out, "  default: {}", attribute.default)?;
    if !attribute.bounds.is_empty() {
        writeln!(out, "  bounds: {}", attribute.bounds)?;
    }
    if !attribute.words().is_empty() {
        writeln!(out, "  words: {}", attribute.words().join(" "))?;
    }
    writeln!(out, "  in: {}", where_allowed(attribute.section))?;
    if ours(attribute) {
        writeln!(out, "  portreeve's own: xinetd warns about it and ignores it")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(name: Option<&str>) -> Result<String, Failure> {
        let mut sink = Vec::new();
        let arguments = Arguments { name: name.map(str::to_owned), json: false, markdown: false };
        run(&arguments, &mut Output::plain(&mut sink))?;
        Ok(String::from_utf8(sink).unwrap())
    }

    #[test]
    fn one_and_all_are_shown() {
        assert!(shown(Some("ONLY_FROM")).unwrap().starts_with("only_from =|+=|-= "));
        let all = shown(None).unwrap();
        for attribute in portreeve_conf::attributes() {
            assert!(all.contains(attribute.name));
        }
    }
}

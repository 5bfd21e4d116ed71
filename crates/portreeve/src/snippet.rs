//! Diagnostics for people: the message, the source line, the place in it, the remedy; in the shape rustc made familiar.

use crate::escape;
use crate::finding::Finding;
use crate::output::Output;
use annotate_snippets::{Annotation, AnnotationKind, Group, Level, Origin, Renderer, Snippet};
use portreeve_conf::Severity;
use std::io::{self, Write};

/// Writes a diagnostic and an empty line.
pub fn write(out: &mut Output<'_>, finding: &Finding) -> io::Result<()> {
    let renderer = if out.colour { Renderer::styled() } else { Renderer::plain() };
    let text = renderer.render(&[group(finding)]);
    writeln!(out, "{text}\n")
}

fn group(finding: &Finding) -> Group<'_> {
    let level = match finding.severity {
        Severity::Note => Level::NOTE,
        Severity::Warning => Level::WARNING,
        Severity::Error => Level::ERROR,
    };
    let mut title = level.primary_title(escape::text(&finding.message));
    if !finding.code.is_empty() {
        title = title.id(escape::text(&finding.code));
    }
    let mut group = match &finding.source_line {
        _ if finding.file.is_empty() => Group::with_title(title),
        Some(line) if finding.line > 0 => title.element(source(finding, line)),
        _ => title.element(origin(finding)),
    };
    if let Some(help) = &finding.help {
        group = group.element(Level::HELP.message(escape::lines(help)));
    }
    group
}

fn source<'a>(finding: &Finding, line: &str) -> Snippet<'a, Annotation<'a>> {
    let (start, length) = match finding.column {
        0 => whole(line),
        column => (column as usize - 1, finding.length as usize),
    };
    let (shown, span) = escape::source_line(line, start, length);
    Snippet::source(shown)
        .path(escape::text(&finding.file).into_owned())
        .line_start(finding.line as usize)
        .annotation(AnnotationKind::Primary.span(span))
}

/// A diagnostic about a whole line points at its words, not at the blanks around them.
fn whole(line: &str) -> (usize, usize) {
    (line.len() - line.trim_start().len(), line.trim().len())
}

fn origin<'a>(finding: &Finding) -> Origin<'a> {
    let origin = Origin::path(escape::text(&finding.file).into_owned());
    match (finding.line, finding.column) {
        (0, _) => origin,
        (line, 0) => origin.line(line as usize),
        (line, column) => origin.line(line as usize).char_column(column as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(finding: &Finding) -> String {
        let mut sink = Vec::new();
        write(&mut Output::plain(&mut sink), finding).unwrap();
        String::from_utf8(sink).unwrap()
    }

    fn finding(column: u32, length: u32, line: Option<&str>) -> Finding {
        Finding::from_json(
            &json!({"severity": "error", "code": "unknown-user", "file": "/etc/xinetd.d/a", "line": 6,
            "column": column, "length": length, "message": "there is no user `joe`", "help": "the nearest is `john`",
            "source_line": line, "service": "a"}),
        )
    }

    #[test]
    fn a_word_is_pointed_at() {
        let text = shown(&finding(9, 3, Some("\tuser = joe")));
        assert!(text.starts_with("error[unknown-user]: there is no user `joe`\n"), "{text}");
        assert!(text.contains("/etc/xinetd.d/a:6:9"), "{text}");
        assert!(text.contains("user = joe"), "{text}");
        assert!(text.contains("^^^"), "{text}");
        assert!(text.contains("help: the nearest is `john`"), "{text}");
    }

    #[test]
    fn odd_places_and_control_bytes_do_no_harm() {
        for (column, length, line) in [
            (0, 0, Some("  user = \x1b[2Jjoe")),
            (900, 900, Some("user")),
            (2, 1, Some("äö\u{9b}")),
            (1, 1, Some("")),
            (0, 0, Some("")),
            (u32::MAX, u32::MAX, Some("user")),
            (0, 0, None),
        ] {
            let mut given = finding(column, length, line);
            given.message.push('\x1b');
            let text = shown(&given);
            assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
            assert!(text.contains("/etc/xinetd.d/a"), "{text}");
        }
        let mut nowhere = finding(0, 0, None);
        nowhere.file.clear();
        assert!(shown(&nowhere).contains("there is no user"));
    }
}

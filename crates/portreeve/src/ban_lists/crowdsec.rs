//! Decisions of CrowdSec, as `cscli decisions list` writes them. Bans alone, in force, and not simulated; of addresses and networks alone.

use super::{Listed, Time, Wrong, cut, network, place, span};
use serde_json::Value;

/// `cscli decisions list -o raw`: CSV with a heading.
pub(super) fn raw(text: &str) -> Result<Vec<Listed>, Wrong> {
    let mut rows = text.lines().enumerate().filter(|(_, row)| !row.trim().is_empty());
    let heading: Vec<String> = rows.next().map(|(_, row)| cells(row)).unwrap_or_default();
    let place = |name: &str| {
        let what =
            || format!("no column {name:?} in the heading of what should be `cscli decisions list -o raw`");
        heading.iter().position(|cell| cell == name).ok_or_else(|| Wrong { line: 1, column: 1, what: what() })
    };
    let (whom, reason, action, expiration) =
        (place("ip")?, place("reason")?, place("action")?, place("expiration")?);
    let mut list = Vec::new();
    for (number, row) in rows {
        let cells = cells(row);
        let cell = |at: usize| cells.get(at).map(String::as_str).unwrap_or_default();
        let simulated = heading.iter().position(|cell| cell == "simulated").map(cell) == Some("true");
        // One that is over and still listed (`--all`) has a negative time.
        if cell(action) != "ban" || simulated || cell(expiration).starts_with('-') {
            continue;
        }
        let line = number + 1;
        let column = |word: &str| row.find(word).map_or(1, |at| at + 1);
        let word = cell(whom);
        let plain = word.strip_prefix("Ip:").or_else(|| word.strip_prefix("Range:")).unwrap_or(word);
        let network = network(plain, line, column(word))?;
        let time = span(cell(expiration)).ok_or_else(|| Wrong {
            line,
            column: column(cell(expiration)),
            what: format!("{:?} is no time as 3h59m57s", cell(expiration)),
        })?;
        let reason = cut(format!("crowdsec {}", cell(reason)));
        list.push(Listed { network, time: Some(Time::Seconds(time)), reason, line });
    }
    Ok(list)
}

/// The cells of a row of CSV; quotation marks go.
fn cells(row: &str) -> Vec<String> {
    let (mut cells, mut quoted) = (vec![String::new()], false);
    for c in row.chars() {
        match (c, cells.last_mut()) {
            ('"', _) => quoted = !quoted,
            (',', _) if !quoted => cells.push(String::new()),
            (c, Some(cell)) => cell.push(c),
            (_, None) => {}
        }
    }
    cells
}

/// `cscli decisions list -o json`: alerts with their decisions.
pub(super) fn json(text: &str) -> Result<Vec<Listed>, Wrong> {
    let wrong = |error: serde_json::Error| Wrong {
        line: error.line(),
        column: error.column(),
        what: format!("no JSON: {error}"),
    };
    let value: Value = serde_json::from_str(text).map_err(wrong)?;
    if value.is_null() {
        return Ok(Vec::new());
    }
    let alerts = value.as_array().cloned().unwrap_or_else(|| vec![value]);
    let mut list = Vec::new();
    let mut searched = 0;
    for alert in &alerts {
        let decisions = alert.get("decisions").and_then(Value::as_array);
        let Some(decisions) = decisions else {
            let what = "no `decisions`: what `cscli decisions list -o json` writes was expected".to_owned();
            return Err(Wrong { line: 1, column: 1, what });
        };
        for decision in decisions {
            let field = |name: &str| decision.get(name).and_then(Value::as_str).unwrap_or_default();
            let simulated = decision.get("simulated").and_then(Value::as_bool) == Some(true);
            if field("type") != "ban" || simulated || field("duration").starts_with('-') {
                continue;
            }
            let word = field("value");
            // Decisions come in the order of the text.
            let quoted = format!("\"{word}\"");
            let at =
                text.get(searched..).and_then(|rest| rest.find(&quoted)).map_or(searched, |at| searched + at);
            let (line, column) = place(text, at);
            searched = at;
            let network = network(word, line, column)?;
            let time = span(field("duration")).ok_or_else(|| Wrong {
                line,
                column,
                what: format!("its duration {:?} is no time as 3h59m57s", field("duration")),
            })?;
            let reason = cut(format!("crowdsec {}", field("scenario")));
            list.push(Listed { network, time: Some(Time::Seconds(time)), reason, line });
        }
    }
    Ok(list)
}

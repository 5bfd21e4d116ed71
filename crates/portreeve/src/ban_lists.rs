//! Lists of bans as files have them: our own, one network a line; of fail2ban and CrowdSec; hosts.deny. Reads all of a text or says
//! where it is wrong; who may be banned is the daemon's to decide.

use portreeve_policy::Prefix;
use serde_json::Value;
use std::net::Ipv4Addr;

/// Entries at most.
pub const MOST: usize = 200_000;
/// The longest reason, as the daemon takes it.
const LONGEST_REASON: usize = 200;

/// One ban of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Whom it is about.
    pub network: Prefix,
    /// For how many seconds more; `None` where the list does not say.
    pub time: Option<Time>,
    /// What for.
    pub reason: String,
    /// On which line.
    pub line: usize,
}

/// How long one is banned by its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time {
    /// So many seconds.
    Seconds(u64),
    /// For ever.
    Forever,
}

/// Why a text is no list, and where: line and column from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Line.
    pub line: usize,
    /// Column, in bytes.
    pub column: usize,
    /// What was found and expected.
    pub what: String,
}

/// Reads a list, whichever form it has.
///
/// # Errors
/// The first place that is no part of one, or one entry too many.
pub fn read(text: &str) -> Result<Vec<Listed>, Wrong> {
    let start = text.trim_start();
    let list = if start.starts_with(['[', '{']) {
        crowdsec_json(text)?
    } else if start.starts_with("id,") {
        crowdsec_raw(text)?
    } else if start.starts_with("Status for the jail") {
        fail2ban(text)?
    } else {
        lines(text)?
    };
    match list.get(MOST) {
        Some(surplus) => {
            let what = format!("more than {MOST} bans; use wider networks or fewer");
            Err(Wrong { line: surplus.line, column: 1, what })
        }
        None => Ok(list),
    }
}

fn network(word: &str, line: usize, column: usize) -> Result<Prefix, Wrong> {
    word.parse().map_err(|bad: portreeve_policy::BadPrefix| Wrong { line, column, what: bad.to_string() })
}

/// The words of a line with their columns.
fn words(line: &str) -> impl Iterator<Item = (usize, &str)> {
    line.split_ascii_whitespace().map(|word| (word.as_ptr() as usize - line.as_ptr() as usize + 1, word))
}

/// `NETWORK [SECONDS|forever [REASON]]`, or `ALL: NETWORK...`. A comment is a line, or stands behind a network alone.
fn lines(text: &str) -> Result<Vec<Listed>, Wrong> {
    let mut list = Vec::new();
    for (number, whole) in text.lines().enumerate() {
        let line = number + 1;
        let content = whole.trim_start();
        if content.is_empty() || is_comment(content) {
            continue;
        }
        let content = whole;
        if let Some((daemons, _)) = content.split_once(':').filter(|(front, _)| is_daemons(front)) {
            hosts_deny(daemons, content, line, &mut list)?;
            continue;
        }
        let mut words = words(content);
        let Some((column, word)) = words.next() else { continue };
        let network = network(word, line, column)?;
        let time = match words.next() {
            None => None,
            Some((_, word)) if is_comment(word) => {
                list.push(Listed { network, time: None, reason: String::new(), line });
                continue;
            }
            Some((_, "forever")) => Some(Time::Forever),
            Some((column, word)) => {
                let seconds = word.parse().ok().filter(|seconds| *seconds > 0).map(Time::Seconds);
                let what = format!("{word:?}: seconds, `forever` or the end of the line was expected");
                Some(seconds.ok_or(Wrong { line, column, what })?)
            }
        };
        let reason = words.map(|(_, word)| word).collect::<Vec<_>>().join(" ");
        list.push(Listed { network, time, reason: cut(reason), line });
    }
    Ok(list)
}

fn is_comment(word: &str) -> bool {
    word.starts_with(['#', ';'])
}

/// Whether what stands before the colon is a list of daemons, and no IPv6 address.
fn is_daemons(front: &str) -> bool {
    let front = front.trim();
    !front.is_empty() && !front.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn hosts_deny(daemons: &str, content: &str, line: usize, list: &mut Vec<Listed>) -> Result<(), Wrong> {
    if !daemons.trim().eq_ignore_ascii_case("ALL") {
        let what = format!("{:?}: of hosts.deny only rules for ALL daemons are bans", daemons.trim());
        return Err(Wrong { line, column: 1, what });
    }
    let behind = daemons.len() + 1;
    for (column, word) in words(content.get(behind..).unwrap_or_default()) {
        let column = column + behind;
        if is_comment(word) {
            break;
        }
        if word == ":" || word.eq_ignore_ascii_case("DENY") || word.eq_ignore_ascii_case(":DENY") {
            continue;
        }
        for word in word.split(',').filter(|word| !word.is_empty()) {
            let network = client(word).map_or_else(|| network(word, line, column), Ok)?;
            list.push(Listed { network, time: None, reason: "hosts.deny".to_owned(), line });
        }
    }
    Ok(())
}

/// The forms that hosts.deny alone has: `192.0.2.`, `192.0.2.0/255.255.255.0`, `[2001:db8::]/32`.
fn client(word: &str) -> Option<Prefix> {
    if let Some(rest) = word.strip_prefix('[') {
        return rest.replacen(']', "", 1).parse().ok();
    }
    if let Some((address, mask)) = word.split_once('/')
        && let Ok(mask) = mask.parse::<Ipv4Addr>()
    {
        let length = mask.to_bits().leading_ones();
        let whole = mask.to_bits().count_ones() == length;
        return format!("{address}/{length}").parse().ok().filter(|_| whole);
    }
    let octets = word.strip_suffix('.')?.split('.').count();
    let filled = format!("{word}{}", vec!["0"; 4_usize.checked_sub(octets)?].join("."));
    format!("{filled}/{}", octets * 8).parse().ok().filter(|_| octets < 4)
}

/// `fail2ban-client status JAIL`.
fn fail2ban(text: &str) -> Result<Vec<Listed>, Wrong> {
    const LABEL: &str = "Banned IP list:";
    let mut list = Vec::new();
    let mut jail = String::new();
    for (number, content) in text.lines().enumerate() {
        if let Some(name) = content.trim().strip_prefix("Status for the jail:") {
            jail = format!("fail2ban {}", name.trim());
        }
        let Some(at) = content.find(LABEL).map(|at| at + LABEL.len()) else { continue };
        for (column, word) in words(content.get(at..).unwrap_or_default()) {
            let network = network(word, number + 1, at + column)?;
            list.push(Listed { network, time: None, reason: cut(jail.clone()), line: number + 1 });
        }
    }
    Ok(list)
}

/// `cscli decisions list -o raw`: CSV with a heading.
fn crowdsec_raw(text: &str) -> Result<Vec<Listed>, Wrong> {
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
        if cell(action) != "ban" {
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
fn crowdsec_json(text: &str) -> Result<Vec<Listed>, Wrong> {
    let wrong = |error: serde_json::Error| Wrong {
        line: error.line(),
        column: error.column(),
        what: format!("no JSON: {error}"),
    };
    let value: Value = serde_json::from_str(text).map_err(wrong)?;
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
            if field("type") != "ban" {
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

fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or_default();
    let begin = before.rfind('\n').map_or(0, |end| end + 1);
    (before.matches('\n').count() + 1, at - begin + 1)
}

/// A span as Go writes it, in whole seconds, at least one: `3h59m57.12s`.
fn span(text: &str) -> Option<u64> {
    let mut seconds = 0u64;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|c: char| c.is_ascii_alphabetic())?;
        let (number, behind) = rest.split_at(end);
        let whole: u64 = number.split('.').next()?.parse().ok()?;
        let unit_end = behind.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(unit_end);
        let size = match unit {
            "h" => 3600,
            "m" => 60,
            "s" => 1,
            "ms" | "us" | "ns" => 0,
            _ => return None,
        };
        seconds = seconds.checked_add(whole.checked_mul(size)?)?;
        rest = behind;
    }
    (!text.is_empty()).then_some(seconds.max(1))
}

fn cut(reason: String) -> String {
    let short = reason.char_indices().take_while(|(at, c)| at + c.len_utf8() <= LONGEST_REASON);
    short.map(|(_, c)| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let time = |time: Option<Time>| match time {
            None => "-".to_owned(),
            Some(Time::Forever) => "forever".to_owned(),
            Some(Time::Seconds(seconds)) => seconds.to_string(),
        };
        let show = |one: Listed| format!("{} {} {}", one.network, time(one.time), one.reason);
        read(text).unwrap().into_iter().map(show).collect()
    }

    #[test]
    fn each_form_is_read() {
        assert_eq!(
            shown("# ours\n192.0.2.0/24 forever two #words\n\n ::ffff:192.0.2.9\n2001:db8::/32 ; SBL1\n"),
            ["192.0.2.0/24 forever two #words", "192.0.2.9 - ", "2001:db8::/32 - "]
        );
        assert_eq!(
            shown("ALL: 192.0.2. 198.51.100.0/255.255.255.0, [2001:db8::]/32\nall : 10.0.0.1 : DENY\n"),
            [
                "192.0.2.0/24 - hosts.deny",
                "198.51.100.0/24 - hosts.deny",
                "2001:db8::/32 - hosts.deny",
                "10.0.0.1 - hosts.deny"
            ]
        );
        let status = "Status for the jail: sshd\n|- Filter\n|  `- File list:\t/var/log/auth.log\n`- Actions\n   |- Currently banned:\t2\n   `- Banned IP list:\t192.0.2.1 2001:db8::1\n";
        assert_eq!(shown(status), ["192.0.2.1 - fail2ban sshd", "2001:db8::1 - fail2ban sshd"]);
        let raw = "id,source,ip,reason,action,country,as,events_count,expiration,simulated,alert_id\n\
                   7,crowdsec,Ip:192.0.2.1,crowdsecurity/ssh-bf,ban,US,\"4242 A, Inc\",6,3h59m57.6s,false,2\n\
                   8,cscli,Range:198.51.100.0/24,manual,captcha,,,1,1m0s,false,3\n";
        assert_eq!(shown(raw), ["192.0.2.1 14397 crowdsec crowdsecurity/ssh-bf"]);
        let json = r#"[{"id":1,"decisions":[{"duration":"59m1s","scenario":"x/y","scope":"Ip","type":"ban","value":"192.0.2.1"}]}]"#;
        assert_eq!(shown(json), ["192.0.2.1 3541 crowdsec x/y"]);
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, line, column, what) in [
            ("192.0.2.1\n  192.0.2.1/24 60\n", 2, 3, "bits set behind"),
            ("host.example\n", 1, 1, "no IPv4 or IPv6 address"),
            ("192.0.2.1 soon\n", 1, 11, "`forever`"),
            ("192.0.2.1 0\n", 1, 11, "seconds"),
            ("ALL: 192.0.2.1 ALL\n", 1, 16, "\"ALL\" is no"),
            ("sshd: 192.0.2.1\n", 1, 1, "only rules for ALL"),
            ("ALL: 192.0.2.0/255.0.255.0\n", 1, 6, "no length"),
            ("Status for the jail: a\n`- Banned IP list: x\n", 2, 20, "no IPv4"),
            ("id,source\n", 1, 1, "no column"),
            ("[{\"decisions\":\n[{\"type\":\"ban\",\"value\":\"x\"}]}]", 2, 24, "no IPv4"),
            ("[{}]", 1, 1, "no `decisions`"),
            ("[1,", 1, 3, "no JSON"),
        ] {
            let wrong = read(text).unwrap_err();
            assert_eq!((wrong.line, wrong.column), (line, column), "{text}: {wrong:?}");
            assert!(wrong.what.contains(what), "{text}: {wrong:?}");
        }
        let long: String =
            (0..=MOST as u32).map(|n| format!("{}\n", Ipv4Addr::from(n + (1 << 24)))).collect();
        assert_eq!(read(&long).unwrap_err().line, MOST + 1);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(\\PC|[\n\t,:\\[{\"]|ALL: |id,ip,reason,action,expiration\n|Status for the jail:)*") {
            let _ = read(&text);
        }
    }
}

//! Lists of bans as files have them: our own, one network a line; of fail2ban and CrowdSec; sets of ipset and nft; hosts.deny. Reads all
//! of a text or says where it is wrong; who may be banned is the daemon's to decide.

mod crowdsec;
mod fail2ban;
mod sets;

use portreeve_policy::{MOST_BANS, Prefix};
use std::net::Ipv4Addr;

/// Entries at most: the daemon takes no more.
pub const MOST: usize = MOST_BANS;
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

/// The bytes of a list as text.
///
/// # Errors
/// The first place that is none.
pub fn utf8(bytes: Vec<u8>) -> Result<String, Wrong> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(error.as_bytes().get(..at).unwrap_or_default());
        let (line, column) = place(&before, at);
        Wrong { line, column, what: "it is not UTF-8".to_owned() }
    })
}

/// Reads a list, whichever form it has. `now`: seconds since 1970, for lists that name moments.
///
/// # Errors
/// The first place that is no part of one, or one entry too many.
pub fn read(text: &str, now: i64) -> Result<Vec<Listed>, Wrong> {
    let start = text.trim_start();
    let begins = |words: &[&str]| words.iter().any(|word| start.starts_with(word));
    let list = if begins(&["[{'", "[]"]) {
        fail2ban::banned(text)?
    } else if begins(&["{\"nftables\""]) {
        sets::nft_json(text)?
    } else if begins(&["[", "{", "null"]) {
        crowdsec::json(text)?
    } else if begins(&["id,"]) {
        crowdsec::raw(text)?
    } else if begins(&["Status for the jail"]) {
        fail2ban::status(text)?
    } else if text.lines().any(|line| line.starts_with("INSERT INTO ")) {
        fail2ban::dump(text, now)?
    } else if begins(&["Name: "]) {
        sets::ipset_list(text)?
    } else if begins(&["create ", "add "]) {
        sets::ipset_save(text)?
    } else if begins(&["table "]) {
        sets::nft(text)?
    } else {
        lines(text, now)?
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
    word.parse().map_err(|bad: portreeve_policy::BadPrefix| {
        let what = match word.split_once('%') {
            Some((address, _)) if address.parse::<Prefix>().is_ok() => {
                format!("{word:?} has a zone: an address of one link only, which is never banned")
            }
            _ => bad.to_string(),
        };
        Wrong { line, column, what }
    })
}

/// The words of a line with their columns.
fn words(line: &str) -> impl Iterator<Item = (usize, &str)> {
    line.split_ascii_whitespace().map(|word| (word.as_ptr() as usize - line.as_ptr() as usize + 1, word))
}

/// `NETWORK [SECONDS|forever [REASON]]`, or `ALL: NETWORK...`. A comment is a line, or stands behind a network alone.
fn lines(text: &str, now: i64) -> Result<Vec<Listed>, Wrong> {
    let mut list = Vec::new();
    for (number, whole) in text.lines().enumerate() {
        let line = number + 1;
        let content = whole.trim_start();
        if content.is_empty() || is_comment(content) {
            continue;
        }
        let content = whole;
        if let Some((daemons, _)) =
            content.split_once(':').filter(|(front, _)| is_daemons(front) && !fail2ban::is_with_time(content))
        {
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
            // `fail2ban-client get JAIL banip --with-time`.
            Some((column, _)) if fail2ban::is_with_time(content) => {
                match fail2ban::with_time(content, now) {
                    Some(time) => list.push(Listed { network, time, reason: "fail2ban".to_owned(), line }),
                    None => {
                        let what = "a moment, ` + SECONDS = ` and a moment were expected".to_owned();
                        return Err(Wrong { line, column, what });
                    }
                }
                continue;
            }
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

fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or_default();
    let begin = before.rfind('\n').map_or(0, |end| end + 1);
    (before.matches('\n').count() + 1, at - begin + 1)
}

/// A span as Go and nft write it, in whole seconds, at least one: `3h59m57.12s`, `1d2h3s992ms`.
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
            "w" => 604_800,
            "d" => 86_400,
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
mod tests;

//! A list of bans that comes over the control socket behind `import BYTES`, checked line by line as it comes. All of it is applied,
//! or, where one line is not right, nothing.

use crate::ban_orders::term;
use crate::control::failure;
use crate::json::Json;
use crate::supervisor::Supervisor;
use portreeve_conf::Level;
use portreeve_policy::{Ban, MOST_BANS, Prefix};
use portreeve_workers::protocol::MAX_REASON;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

/// The longest list, in bytes.
const LONGEST: usize = 16 << 20;
/// The longest line.
const LONGEST_LINE: usize = 512;

/// A list on its way.
#[derive(Debug)]
pub struct BanImport {
    /// Bytes to come.
    left: usize,
    /// The begin of a line.
    rest: Vec<u8>,
    lines: usize,
    bans: Vec<(Prefix, Option<Duration>, Rc<str>)>,
    /// Reasons repeat.
    reasons: HashMap<String, Rc<str>>,
    /// What is wrong with which line.
    wrong: Option<(usize, String)>,
}

impl BanImport {
    /// One of so many bytes.
    ///
    /// # Errors
    /// No number, or too large a one.
    pub fn begin(bytes: &str) -> Result<Self, String> {
        let left: usize = bytes.parse().map_err(|_| format!("{bytes:?} is no number of bytes"))?;
        if left == 0 || left > LONGEST {
            return Err(format!("a list has 1 to {LONGEST} bytes"));
        }
        let (rest, bans, reasons) = (Vec::new(), Vec::new(), HashMap::new());
        Ok(BanImport { left, rest, lines: 0, bans, reasons, wrong: None })
    }

    fn reason(&mut self, words: &str) -> Rc<str> {
        if let Some(known) = self.reasons.get(words) {
            return known.clone();
        }
        let reason: Rc<str> = words.into();
        self.reasons.insert(words.to_owned(), reason.clone());
        reason
    }
}

impl Supervisor {
    /// Takes more of a list; the answer when it was the last of it.
    pub fn import(&mut self, list: &mut BanImport, bytes: &[u8]) -> Option<String> {
        let bytes = bytes.get(..list.left).unwrap_or(bytes);
        list.left -= bytes.len();
        list.rest.extend_from_slice(bytes);
        if list.left == 0 {
            list.rest.push(b'\n');
        }
        let rest = std::mem::take(&mut list.rest);
        let end = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let (whole, begun) = rest.split_at(end);
        list.rest = begun.to_vec();
        for line in whole.split_inclusive(|byte| *byte == b'\n') {
            list.lines += 1;
            if list.wrong.is_none()
                && let Err(why) = self.import_line(list, line.trim_ascii())
            {
                list.wrong = Some((list.lines, why));
            }
        }
        if list.wrong.is_none() && list.rest.len() > LONGEST_LINE {
            list.wrong = Some((list.lines + 1, format!("a line has at most {LONGEST_LINE} bytes")));
        }
        (list.left == 0).then(|| match &list.wrong {
            Some((line, why)) => Json::object(|j| {
                j.plain("ok", false);
                j.plain("line", line);
                j.text("error", format!("line {line}: {why}; nothing was banned"));
            }),
            None => self.apply_import(list),
        })
    }

    fn import_line(&mut self, list: &mut BanImport, line: &[u8]) -> Result<(), String> {
        if line.is_empty() {
            return Ok(());
        }
        let text = std::str::from_utf8(line).map_err(|_| "it is not UTF-8".to_owned())?;
        if text.len() > LONGEST_LINE || text.chars().any(char::is_control) {
            return Err(format!("a line has at most {LONGEST_LINE} bytes, and no control characters"));
        }
        let (network, rest) = text.split_once(' ').unwrap_or((text, ""));
        let (time, reason) = rest.split_once(' ').unwrap_or((rest, ""));
        let network: Prefix = network.parse().map_err(|bad: portreeve_policy::BadPrefix| bad.to_string())?;
        let time = term(time)?;
        if reason.len() > MAX_REASON {
            return Err(format!("the reason has {} bytes; {MAX_REASON} are the most", reason.len()));
        }
        self.bannable_by_hand(&network)?;
        if list.bans.len() >= MOST_BANS {
            return Err(format!("more than {MOST_BANS} bans"));
        }
        let reason = list.reason(reason);
        list.bans.push((network, time, reason));
        Ok(())
    }

    fn apply_import(&mut self, list: &mut BanImport) -> String {
        let now = self.stamp.mono();
        let ended = self.host.denied.expire(now);
        self.bans_changed(&ended);
        list.bans.sort_by_key(|(network, ..)| *network);
        // Of one that is named twice the last one counts.
        list.bans.reverse();
        list.bans.dedup_by_key(|(network, ..)| *network);
        let new = list.bans.iter().filter(|(network, ..)| self.host.denied.get(*network).is_none()).count();
        if self.host.denied.len() + new > MOST_BANS {
            return failure(&format!(
                "{new} new bans do not fit beside the {} that there are: {MOST_BANS} are the most; nothing was banned",
                self.host.denied.len()
            ));
        }
        let mut networks = Vec::with_capacity(list.bans.len());
        for (network, time, reason) in std::mem::take(&mut list.bans) {
            let ban = Ban { reason, ..Ban::by_hand(time.map(|time| now.saturating_add(time)), "") };
            if self.host.denied.deny(network, ban).is_ok() {
                networks.push(network);
            }
        }
        self.bans_changed(&networks);
        self.keep_bans(&networks);
        self.say(Level::Notice, &format!("{} ban(s) imported by command", networks.len()));
        Json::object(|j| {
            j.plain("ok", true);
            j.plain("imported", networks.len());
            j.plain("new", new);
            self.bans_view(j);
            self.not_kept_view(j);
        })
    }
}

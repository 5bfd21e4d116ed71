//! A list of bans that comes over the control socket behind `import BYTES`, checked line by line as it comes. All of it is applied,
//! or, where one line is not right, nothing. It is applied a part in each turn of the loop, since others are served and banned meanwhile,
//! and goes on when the kernel has what it was told. Room for all of it is set aside first, so that nothing can fail on the way.

use crate::ban_orders::{By, micros, term};
use crate::control::failure;
use crate::json::Json;
use crate::ledger::Journal;
use crate::supervisor::Supervisor;
use crate::timers::Alarm;
use portreeve_conf::Level;
use portreeve_policy::{Ban, MOST_BANS, Prefix};
use portreeve_workers::protocol::{Banned, EventKind, MAX_REASON, Worker};
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::time::Duration;

/// The longest list, in bytes.
const LONGEST: usize = 64 << 20;
/// The longest line.
const LONGEST_LINE: usize = 512;
/// Bans that are applied in one turn: a millisecond of this process, and two of the kernel. The time until the next turn.
const PART: usize = 250;
const TURN: Duration = Duration::from_millis(1);
/// Changes that the kernel may have to come: whoever is banned for what he does now waits for them.
const AHEAD: u64 = 250;
/// So many messages may wait for the ledger or the firewall worker; while more do, the list waits, but not longer than this.
const CROWDED: usize = 8;
const PATIENCE: Duration = Duration::from_secs(5);

type Term = (Option<Duration>, Rc<str>);

/// A list on its way.
#[derive(Debug)]
pub struct BanImport {
    by: By,
    /// Bytes to come.
    left: usize,
    /// The begin of a line.
    rest: Vec<u8>,
    lines: usize,
    /// Of one that is named twice the last one counts.
    bans: BTreeMap<Prefix, Term>,
    /// Reasons repeat.
    reasons: HashMap<String, Rc<str>>,
    /// What is wrong with which line.
    wrong: Option<(usize, String)>,
}

/// What came of a part of a list.
#[derive(Debug)]
pub enum Imported {
    /// More is to come.
    NotYet,
    /// It is whole and right; its client is answered when all is applied.
    Whole,
    /// It will not be applied: the answer.
    Not(String),
}

/// A list that is applied; its client is answered when it is kept, too.
#[derive(Debug)]
pub struct Applied {
    client: u32,
    imported: usize,
    new: usize,
    ended: Option<usize>,
    /// But not later than this.
    until: Duration,
}

/// A list that was found right, and is being applied.
#[derive(Debug)]
pub struct Importing {
    by: By,
    client: u32,
    left: BTreeMap<Prefix, Term>,
    applied: Vec<Prefix>,
    new: usize,
    /// When its ends are counted from, and when it last went on.
    since: Duration,
    moved: Duration,
}

impl BanImport {
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
    /// One of so many bytes.
    ///
    /// # Errors
    /// No number, or too large a one.
    pub fn begin_import(&self, by: By, bytes: &str) -> Result<BanImport, String> {
        let left: usize = bytes.parse().map_err(|_| format!("{bytes:?} is no number of bytes"))?;
        if left == 0 || left > LONGEST {
            return Err(format!("a list has 1 to {LONGEST} bytes"));
        }
        let (rest, bans, reasons) = (Vec::new(), BTreeMap::new(), HashMap::new());
        Ok(BanImport { by, left, rest, lines: 0, bans, reasons, wrong: None })
    }

    /// Takes more of a list.
    pub fn import(&mut self, client: u32, list: &mut BanImport, bytes: &[u8]) -> Imported {
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
        if list.wrong.is_some() {
            // What is behind it is read and thrown away: the client hears of it when it has sent everything.
            list.rest.clear();
            list.bans.clear();
        }
        if list.left > 0 {
            return Imported::NotYet;
        }
        let refused = match &list.wrong {
            Some((line, why)) => Some(Json::object(|j| {
                j.plain("ok", false);
                j.plain("line", line);
                j.text("error", format!("line {line}: {why}; nothing was banned"));
            })),
            None => self.begin_to_apply(client, list).err(),
        };
        refused.map_or(Imported::Whole, Imported::Not)
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
        list.bans.insert(network, (time, reason));
        Ok(())
    }

    fn begin_to_apply(&mut self, client: u32, list: &mut BanImport) -> Result<(), String> {
        if self.bans.importing.is_some() || self.bans.applied.is_some() || self.bans.removing.is_some() {
            return Err(failure(
                "another list is being applied or removed; try again in a moment; nothing was banned",
            ));
        }
        self.drop_ended_bans();
        let left = std::mem::take(&mut list.bans);
        // Counted one by one only where that matters.
        let room = MOST_BANS.saturating_sub(self.host.denied.len());
        if left.len() > room {
            let new = left.keys().filter(|network| self.host.denied.get(**network).is_none()).count();
            if new > room {
                return Err(failure(&format!(
                    "{new} new bans do not fit beside the {} that there are: {MOST_BANS} are the most; nothing was banned",
                    self.host.denied.len()
                )));
            }
        }
        self.set_aside_for(left.len());
        let now = self.stamp.mono();
        let importing =
            Importing { by: list.by, client, left, applied: Vec::new(), new: 0, since: now, moved: now };
        self.bans.importing = Some(importing);
        self.go_on_with_import();
        Ok(())
    }

    /// Applies a part of the list that is being applied.
    pub fn go_on_with_import(&mut self) {
        let now = self.stamp.mono();
        if self.bans.applied.as_ref().is_some_and(|applied| applied.until <= now) {
            self.list_is_kept();
        }
        let Some(importing) = &self.bans.importing else { return };
        let crowded = self.kernel_is_crowded(AHEAD)
            || self.staff.link(Worker::Firewall).backlog() > CROWDED
            || self.ledger_is_crowded();
        if crowded && now.saturating_sub(importing.moved) < PATIENCE {
            self.timers.set(now + TURN, Alarm::Import);
            return;
        }
        if self.apply_part(PART) {
            self.timers.set(now + TURN, Alarm::Import);
        }
    }

    /// Whether the ledger has enough to do, so that more would be lost. One that is not there, or takes nothing, is not waited for.
    pub fn ledger_is_crowded(&self) -> bool {
        let ledger = &self.announcer.ledger;
        ledger.journal == Journal::Open
            && ledger.trouble.is_empty()
            && (self.staff.link(Worker::Ledger).backlog() > CROWDED || ledger.waiting() > CROWDED)
    }

    /// The rest at once: what follows cannot wait for it.
    pub fn end_import(&mut self) {
        while self.apply_part(usize::MAX) {}
        self.list_is_kept();
    }

    /// Applies so many at most; whether any are left.
    fn apply_part(&mut self, most: usize) -> bool {
        let now = self.stamp.mono();
        let Some(mut importing) = self.bans.importing.take() else { return false };
        importing.moved = now;
        let mut networks = Vec::new();
        // What was set aside is for these.
        self.host.denied.set_aside(0);
        while networks.len() < most
            && let Some((network, (time, reason))) = importing.left.pop_first()
        {
            // Somebody's session may have begun since the line was read.
            if let Some(why) = self.protected_in(&network) {
                self.say(
                    Level::Warning,
                    &format!("{network} of the list is not banned: it is protected: {why}"),
                );
                continue;
            }
            let until = time.map(|time| importing.since.saturating_add(time));
            let is_new = self.host.denied.get(network).is_none();
            let banned =
                Banned { network, origin: "import", uid: importing.by.uid, for_us: time.map(micros) };
            if self
                .host
                .denied
                .deny(network, Ban { reason: reason.clone(), ..Ban::by_hand(until, "") })
                .is_ok()
            {
                self.announcer.of_ban(&self.stamp, EventKind::Ban, banned, &reason);
                importing.new += usize::from(is_new);
                networks.push(network);
            }
        }
        self.bans_changed(&networks);
        let last = importing.left.is_empty();
        self.keep_together(&networks, last);
        importing.applied.extend(networks);
        if !last {
            let done = importing.applied.len();
            self.tell_progress(importing.client, done, done + importing.left.len());
            self.set_aside_for(importing.left.len());
            self.bans.importing = Some(importing);
            return true;
        }
        let Importing { by, client, applied, new, .. } = importing;
        let ended = by.cut.then(|| self.cut_off(&applied));
        let who = by.uid.map_or_else(String::new, |uid| format!(" of uid {uid}"));
        self.say(Level::Notice, &format!("{} ban(s) imported by command{who}", applied.len()));
        let until = now + PATIENCE;
        self.bans.applied = Some(Applied { client, imported: applied.len(), new, ended, until });
        if self.not_kept().is_none() && self.announcer.ledger.journal == Journal::Open {
            self.timers.set(until, Alarm::Import);
        } else {
            self.list_is_kept();
        }
        false
    }

    /// The ledger has the list that was applied last, or is not waited for: the client is answered.
    pub fn list_is_kept(&mut self) {
        let Some(Applied { client, imported, new, ended, .. }) = self.bans.applied.take() else { return };
        let answer = Json::object(|j| {
            j.plain("ok", true);
            j.plain("imported", imported);
            j.plain("new", new);
            j.optional("ended", ended);
            self.bans_view(j);
            self.not_kept_view(j);
        });
        self.answer(client, answer);
    }

    /// An order about a network, or about all, that comes while a list is applied is the later word. Whether anybody was still to be banned
    /// by it.
    pub fn spare_from_import(&mut self, network: Option<Prefix>) -> bool {
        let Some(importing) = &mut self.bans.importing else { return false };
        let before = importing.left.len();
        match network {
            Some(network) => drop(importing.left.remove(&network)),
            None => importing.left.clear(),
        }
        let left = importing.left.len();
        self.set_aside_for(left);
        left < before
    }

    /// Not all of them may be new, so there may be less room, and it is enough.
    fn set_aside_for(&mut self, left: usize) {
        let room = MOST_BANS.saturating_sub(self.host.denied.len());
        self.host.denied.set_aside(left.min(room));
    }
}

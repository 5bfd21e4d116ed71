//! The supervisor's end of the ledger: events are written where they wait, sent a batch at a time, and dropped and counted when
//! the ledger does not take them. An event never waits for anything, and costs what copying it costs.
//!
//! The worker reads the settings when it starts, while it is still root; so a change of them is a new worker.

use crate::hire::companion;
use crate::json::Json;
use crate::staff::{Presence, Staff};
use crate::supervisor::Supervisor;
use crate::timers::Alarm;
use portreeve_conf::Level;
use portreeve_handover::LedgerState;
use portreeve_sys::{clock, process};
use portreeve_workers::protocol::{Event, EventBatch, FromLedger, Worker};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

/// How long an event waits for others to be sent with.
const DELAY: Duration = Duration::from_millis(50);
/// The same while many come: the database has as much work with a batch as with a hundred events. What a kill can cost is a batch of
/// 32 KiB, as before.
const CROWD_DELAY: Duration = Duration::from_millis(200);
/// Events of a batch that make the next one wait longer.
const CROWD: u16 = 64;
/// Most batches that wait here, 32 KiB each.
pub const MOST_BATCHES: usize = 32;
/// So many of them wait for the channel; the others before it.
const CROWDED: usize = 4;
/// After how long a ledger that could not be opened is tried again.
const AGAIN: Duration = Duration::from_secs(60);
/// How long serving goes on at its end until the ledger has what happened last.
const FAREWELL: Duration = Duration::from_secs(2);

/// Where the settings are, and where the ledger is unless they say otherwise. As the command line has them.
pub const SETTINGS: &str = "/etc/portreeve/portreeve.toml";
const PLACE: &str = "/var/lib/portreeve";

/// What the ledger is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Journal {
    /// Nobody wants it, and why.
    #[default]
    Off,
    /// Wanted, and not open yet: started by the first event.
    Wanted,
    /// Open.
    Open,
    /// It could not be opened; tried again later.
    Failed,
}

/// The journal as the supervisor has it.
#[derive(Debug, Default)]
pub struct Ledger {
    /// What it is doing.
    pub journal: Journal,
    /// Where the database is; or why there is none.
    pub place: String,
    /// The most bytes of it.
    pub most_bytes: u64,
    /// For how many seconds events are kept.
    pub keep_seconds: u64,
    /// Bytes that it has.
    pub bytes: u64,
    /// Events in the database by this supervisor and those before it.
    pub written: u64,
    /// Events that were lost.
    pub dropped: u64,
    /// What is wrong; empty when nothing is.
    pub trouble: String,
    /// The last event's number.
    pub last_id: u64,
    /// Of the dropped ones those that the database does not know of.
    pub untold: u64,
    /// The list of bans has learned what the store has.
    pub recalled: bool,
    /// What was sent and not answered: events, and lost ones that were told with them.
    pub sent: VecDeque<(u64, u64)>,
    batch: EventBatch,
    full: VecDeque<(Vec<u8>, (u64, u64))>,
    due: Option<Duration>,
    /// When the last batch was made up, if it had many.
    crowded: Option<Duration>,
    settings: Option<(u64, i64, i64, u64)>,
    farewell: Option<Duration>,
}

impl Ledger {
    /// Numbers begin with the microseconds since 1970: whatever restarts, new ones are above old ones.
    pub fn new() -> Self {
        Self { last_id: u64::try_from(clock::wall().as_micros()).unwrap_or(0), ..Self::default() }
    }

    /// A number for a connection.
    pub fn id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Whether there is one, or shall be.
    pub fn is_on(&self) -> bool {
        matches!(self.journal, Journal::Wanted | Journal::Open)
    }

    /// Takes an event down.
    pub fn note(&mut self, event: &Event<'_>) {
        if !self.is_on() {
            return;
        }
        if self.batch.is_full() {
            self.seal();
        }
        if !self.batch.push(event) {
            (self.dropped, self.untold) = (self.dropped + 1, self.untold + 1);
        }
    }

    /// The events so far become a message, where there is room for it.
    fn seal(&mut self) {
        if self.batch.count() == 0 || self.full.len() >= MOST_BATCHES - CROWDED {
            return;
        }
        let wall_at_zero = clock::wall().saturating_sub(clock::monotonic());
        self.crowded = (self.batch.count() >= CROWD).then(clock::monotonic);
        let (count, told) = (u64::from(self.batch.count()), std::mem::take(&mut self.untold));
        self.full.push_back((self.batch.seal(wall_at_zero, told), (count, told)));
        self.due = None;
    }

    /// How long the batch that begins now waits for more.
    fn delay(&self, now: Duration) -> Duration {
        let crowded = self.crowded.is_some_and(|made_up| now < made_up + CROWD_DELAY);
        if crowded { CROWD_DELAY } else { DELAY }
    }

    /// Takes the first message of all that there is, and at the end the events for which there was no room beside those that wait.
    fn draw(&mut self) -> Option<(Vec<u8>, (u64, u64))> {
        if self.full.is_empty() {
            self.seal();
        }
        self.full.pop_front()
    }

    /// Batches that wait.
    pub fn waiting(&self) -> usize {
        self.full.len() + usize::from(self.batch.count() > 0)
    }

    /// For `status`.
    pub fn status(&self, j: &mut Json) {
        let state = match self.journal {
            Journal::Off => "off",
            Journal::Wanted => "ready",
            Journal::Open => "open",
            Journal::Failed => "failed",
        };
        let open = self.journal == Journal::Open;
        j.text("state", state);
        j.text("path", if open { &self.place } else { "" });
        j.text("note", if open { &self.trouble } else { &self.place });
        j.plain("bytes", self.bytes);
        j.plain("most_bytes", self.most_bytes);
        j.plain("keep_seconds", self.keep_seconds);
        j.plain("written", self.written);
        j.plain("dropped", self.dropped);
    }

    /// What was sent and not answered is lost.
    fn lose_sent(&mut self) {
        for (count, told) in self.sent.drain(..) {
            self.dropped += count;
            self.untold += count + told;
        }
    }

    /// Nobody wants it, or it cannot be had: what waits goes.
    fn close(&mut self, journal: Journal, why: String) {
        self.lose_sent();
        for (_, (count, told)) in self.full.drain(..) {
            self.dropped += count;
            self.untold += count + told;
        }
        let rest = u64::from(self.batch.count());
        (self.dropped, self.untold) = (self.dropped + rest, self.untold + rest);
        self.batch = EventBatch::default();
        self.due = None;
        if journal == Journal::Off {
            // Nobody has lost what nobody wanted.
            (self.dropped, self.untold) = (0, 0);
        }
        (self.journal, self.place) = (journal, why);
    }
}

impl Ledger {
    /// As a record.
    pub fn leave(&self) -> LedgerState {
        LedgerState {
            journal: match self.journal {
                Journal::Off => 0,
                Journal::Wanted => 1,
                Journal::Open => 2,
                Journal::Failed => 3,
            },
            place: self.place.clone(),
            most_bytes: self.most_bytes,
            keep_seconds: self.keep_seconds,
            bytes: self.bytes,
            written: self.written,
            dropped: self.dropped,
            untold: self.untold,
            last_id: self.last_id,
            sent: self.sent.iter().copied().collect(),
            recalled: self.recalled,
            ..LedgerState::default()
        }
    }

    /// What a former version left.
    pub fn take_over(&mut self, left: &LedgerState) {
        self.journal = match left.journal {
            1 => Journal::Wanted,
            2 => Journal::Open,
            // The alarm that would try it again has gone.
            3 => Journal::Wanted,
            _ => Journal::Off,
        };
        self.place.clone_from(&left.place);
        (self.most_bytes, self.keep_seconds, self.bytes) = (left.most_bytes, left.keep_seconds, left.bytes);
        (self.written, self.dropped, self.untold) = (left.written, left.dropped, left.untold);
        self.last_id = self.last_id.max(left.last_id);
        self.sent = left.sent.iter().copied().collect();
        self.recalled = left.recalled;
        self.settings = settings_mark();
    }
}

impl Ledger {
    /// A worker of another version writes what it has, and goes; the messages that wait for it are not for the next one.
    pub fn left_by(&mut self, waiting: usize) {
        let given = self.sent.len().saturating_sub(waiting);
        self.written += self.sent.drain(..given).map(|(count, _)| count).sum::<u64>();
        self.lose_sent();
        if self.journal == Journal::Open {
            self.journal = Journal::Wanted;
        }
    }
}

/// What tells one version of the settings from another.
pub fn settings_mark() -> Option<(u64, i64, i64, u64)> {
    let meta = std::fs::metadata(SETTINGS).ok()?;
    Some((meta.ino(), meta.mtime(), meta.ctime_nsec(), meta.len()))
}

impl Supervisor {
    /// Whether there is to be a ledger, as far as that can be told without reading the settings. Here and at a reload that finds
    /// other settings.
    pub fn want_ledger(&mut self) {
        let ordered = self.options.ledger.as_deref();
        let why_not = if ordered.is_some_and(|word| word == "off") {
            Some("it is switched off")
        } else if ordered.is_none() && !process::is_root() {
            Some("without root there is one only where it is asked for")
        } else if ordered.is_none() && !Path::new(PLACE).is_dir() && !Path::new(SETTINGS).exists() {
            Some("there is no directory /var/lib/portreeve")
        } else {
            companion().is_err().then_some("the executable portreeve is not there")
        };
        let ledger = &mut self.announcer.ledger;
        ledger.settings = settings_mark();
        match why_not {
            Some(why) => ledger.close(Journal::Off, why.to_owned()),
            None => ledger.journal = Journal::Wanted,
        }
        self.want_bans_kept();
    }

    /// The words for the worker that say where.
    pub fn ledger_words(&self) -> Vec<OsString> {
        let directory = self.options.ledger.clone().into_iter();
        directory.flat_map(|directory| ["--directory".into(), directory]).collect()
    }

    /// The configuration was read again: other settings, or none that is written, mean a new worker.
    pub fn ledger_reloaded(&mut self) {
        let ledger = &self.announcer.ledger;
        if ledger.settings == settings_mark() && ledger.is_on() {
            return;
        }
        self.dismiss_ledger();
        self.want_ledger();
    }

    /// The worker writes what it has, and goes.
    fn dismiss_ledger(&mut self) {
        let index = Staff::index(Worker::Ledger);
        self.pass_on(true);
        if let Some(link) = self.staff.link_mut(index) {
            let unsent = std::mem::take(&mut link.waiting);
            let ledger = &mut self.announcer.ledger;
            // The last ones that were sent are those that wait; the others it has, and writes.
            let given = ledger.sent.len().saturating_sub(unsent.len());
            ledger.written += ledger.sent.drain(..given).map(|(count, _)| count).sum::<u64>();
            let sent = std::mem::take(&mut ledger.sent);
            for ((message, _), counts) in unsent.into_iter().zip(sent).rev() {
                ledger.full.push_front((message, counts));
            }
        }
        self.staff.retire_link(index);
    }

    /// Once a turn of the loop: sends what has waited long enough, or is enough.
    pub fn pass_on_events(&mut self) {
        let ledger = &mut self.announcer.ledger;
        if ledger.full.is_empty() && ledger.batch.count() == 0 {
            return;
        }
        let now = self.stamp.mono();
        let due = match ledger.due {
            Some(due) => due <= now,
            None if ledger.batch.count() > 0 => {
                let due = now + ledger.delay(now);
                ledger.due = Some(due);
                self.timers.set(due, Alarm::Events);
                false
            }
            None => false,
        };
        if due || !self.announcer.ledger.full.is_empty() {
            self.pass_on(due);
        }
    }

    /// Everything goes to the worker's own queue, for an upgrade.
    pub fn hand_over_events(&mut self) {
        self.pass_on(true);
        while let Some((message, counts)) = self.announcer.ledger.draw() {
            self.announcer.ledger.sent.push_back(counts);
            self.tell(Worker::Ledger, message, None);
        }
    }

    /// Sends what there is; `all`: the batch that is not full too.
    pub fn pass_on(&mut self, all: bool) {
        if all {
            self.announcer.ledger.seal();
        }
        if self.announcer.ledger.full.is_empty() {
            return;
        }
        self.need_worker(Worker::Ledger);
        while self.staff.link(Worker::Ledger).backlog() < CROWDED {
            let ledger = &mut self.announcer.ledger;
            let Some((message, counts)) = ledger.full.pop_front() else { break };
            // First: should the worker be lost over it, it is counted.
            ledger.sent.push_back(counts);
            self.tell(Worker::Ledger, message, None);
        }
    }

    /// The ledger has spoken.
    pub fn heard_ledger(&mut self, message: FromLedger) {
        let ledger = &mut self.announcer.ledger;
        match message {
            FromLedger::Ready { .. } => {}
            FromLedger::Opened { path, most_bytes, keep_seconds, bytes, last_id, note } => {
                ledger.journal = Journal::Open;
                (ledger.place, ledger.most_bytes, ledger.keep_seconds) = (path, most_bytes, keep_seconds);
                ledger.bytes = bytes;
                // The clock may have been put back since.
                ledger.last_id = ledger.last_id.max(last_id);
                ledger.trouble.clear();
                if !note.is_empty() {
                    self.say(Level::Error, &format!("ledger: {note}"));
                }
                // Whatever a former one was asked it will not tell.
                self.keeping_lost();
                self.compare_kept_bans();
            }
            FromLedger::Closed { wanted, why } => {
                self.keeping_lost();
                let ledger = &mut self.announcer.ledger;
                let known = ledger.place == why;
                ledger.close(if wanted { Journal::Off } else { Journal::Failed }, why.clone());
                // It waits to be dismissed.
                self.staff.retire_link(Staff::index(Worker::Ledger));
                if !wanted {
                    self.timers.set(self.stamp.mono() + AGAIN, Alarm::Ledger);
                    if !known {
                        self.say(
                            Level::Error,
                            &format!("ledger: {why}; there is none until that is put right"),
                        );
                    }
                }
            }
            FromLedger::Kept { trouble, gathered } => {
                ledger.sent.pop_front();
                self.heard_kept(trouble, gathered);
            }
            FromLedger::Recalled { bans, last, trouble } => {
                if last {
                    ledger.sent.pop_front();
                }
                self.heard_recalled(bans, last, trouble);
            }
            FromLedger::Written { written, lost, bytes, trouble } => {
                let Some((count, told)) = ledger.sent.pop_front() else {
                    let index = Staff::index(Worker::Ledger);
                    self.lose_worker(index, "it has written what it was not sent");
                    return;
                };
                ledger.bytes = bytes;
                ledger.written += u64::from(written);
                ledger.dropped += u64::from(lost);
                ledger.untold += u64::from(lost);
                if lost > 0 && u64::from(lost) == count {
                    ledger.untold += told;
                }
                if let Some(trouble) = trouble {
                    ledger.trouble.clone_from(&trouble);
                    let text = if trouble.is_empty() { "it is written again".to_owned() } else { trouble };
                    let level =
                        if self.announcer.ledger.trouble.is_empty() { Level::Notice } else { Level::Error };
                    self.say(level, &format!("ledger: {text}"));
                }
            }
        }
    }

    /// A ledger that could not be opened is tried again.
    pub fn ledger_again(&mut self) {
        if self.announcer.ledger.journal == Journal::Failed && self.stopping.is_none() {
            self.announcer.ledger.journal = Journal::Wanted;
            self.want_bans_kept();
        }
    }

    /// The worker is gone.
    pub fn ledger_lost(&mut self) {
        let ledger = &mut self.announcer.ledger;
        ledger.lose_sent();
        if ledger.journal == Journal::Open {
            ledger.journal = Journal::Wanted;
        }
        self.keeping_lost();
    }

    /// Serving ends: the ledger is given what happened last.
    pub fn part_from_ledger(&mut self) {
        self.end_import();
        self.end_removal();
        if self.announcer.ledger.is_on() && self.announcer.ledger.farewell.is_none() {
            let until = self.stamp.mono() + FAREWELL;
            self.announcer.ledger.farewell = Some(until);
            self.timers.set(until, Alarm::Events);
        }
    }

    /// Whether it still is.
    pub fn is_parting_from_ledger(&mut self) -> bool {
        let ledger = &self.announcer.ledger;
        if ledger.farewell.is_none_or(|until| until <= self.stamp.mono()) || !ledger.is_on() {
            return false;
        }
        self.pass_on(true);
        let down = self.staff.link(Worker::Ledger).presence == Presence::Down;
        !(self.announcer.ledger.sent.is_empty() || down)
    }
}

#[cfg(test)]
mod tests;

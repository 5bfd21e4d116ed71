//! The way in, and the loop: waits for batches, writes what has come as one, tells what became of it, and deletes what is too old
//! while nothing comes.

use crate::bans::{Ban, Change};
use crate::directory::{Place, prepare};
use crate::fault::Fault;
use crate::settings::{Keep, Settings};
use crate::store::{Batch, Store};
use portreeve_policy::MOST_BANS;
use portreeve_sys::{clock, seqpacket};
use portreeve_workers::protocol::{
    BanOrder, Event, Events, FromLedger, KeptBan, MAX_KEPT, MAX_MESSAGE, Maker, Worker, sentence,
};
use portreeve_workers::{complain, enter, supervisor_has_gone};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Mode;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// Messages before it may be time to look for what is to be deleted.
const MESSAGES: usize = 64;
/// So often is a store that cannot be opened tried, with this time between.
const TRIES: usize = 10;
const BETWEEN: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// How long it is quiet before old events are looked for.
const QUIET: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };
/// How long nothing comes before it keeps no more in memory than it needs to wait.
const REST: Timespec = Timespec { tv_sec: 1, tv_nsec: 0 };
/// So often they are while events come. A look costs as much as writing a dozen events.
const LOOK: Duration = Duration::from_secs(1);

/// `portreeve worker ledger [--directory DIR]`: runs until the supervisor closes the channel, which is descriptor 3.
/// `arguments` are the words after `worker`; `settings` are those of portreeve.toml, or what is wrong with it.
pub fn main(
    arguments: impl IntoIterator<Item = OsString>,
    channel: OwnedFd,
    settings: Result<Settings, String>,
) -> ExitCode {
    let mut words: Vec<OsString> = arguments.into_iter().collect();
    let ordered = ordered_directory(&mut words);
    // Its files are the group's to read, and nobody else's.
    rustix::process::umask(Mode::from_raw_mode(0o027));
    let settings = settings.map(|settings| match ordered {
        Some(directory) => Settings { keep: Keep::In(directory), ..settings },
        None => settings,
    });
    let place = match &settings {
        Ok(settings) => prepare(settings),
        Err(why) => Place::None(false, why.clone()),
    };
    let keeps = match &place {
        Place::Here(directory) => Some(directory.as_path()),
        Place::None(..) => None,
    };
    if let Err(code) = enter(words, &channel, &[Worker::Ledger], keeps) {
        return code;
    }
    let ended = match (place, settings) {
        (Place::Here(directory), Ok(settings)) => match open(&channel, &directory, &settings) {
            Ok((store, note)) => Clerk {
                channel,
                store: Some(store),
                settings,
                trouble: String::new(),
                gathered: BTreeMap::new(),
                leaving: BTreeSet::new(),
                bans_trouble: String::new(),
                is_too_large: false,
                looked: Duration::ZERO,
            }
            .begin(note.unwrap_or_default())
            .and_then(Clerk::serve),
            Err(fault) => {
                closed(&channel, false, &format!("{}: {fault}", directory.join(crate::FILE).display()))
            }
        },
        (Place::None(wanted, why), _) => closed(&channel, wanted, &why),
        (Place::Here(_), Err(why)) => closed(&channel, false, &why),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if supervisor_has_gone(&error) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("worker ledger: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Opens the store. Root's own sqlite3 that looks at it in this moment makes files beside it which are root's for an instant, so what may
/// pass is waited for.
fn open(channel: &OwnedFd, directory: &Path, settings: &Settings) -> Result<(Store, Option<String>), Fault> {
    for _ in 1..TRIES {
        match Store::open(directory, settings) {
            Err(Fault::Passing(_)) => {}
            other => return other,
        }
        // Not by sleep(3): the worker has no such call. What the supervisor says meanwhile is heard later, and is no reason not to wait.
        let _ = poll(&mut [PollFd::new(channel, PollFlags::empty())], Some(&BETWEEN));
    }
    Store::open(directory, settings)
}

/// `--directory DIR` of the command line, taken out of it.
fn ordered_directory(words: &mut Vec<OsString>) -> Option<PathBuf> {
    let at = words.iter().position(|word| word == "--directory")?;
    let directory = words.get(at + 1).cloned()?;
    words.drain(at..=at + 1);
    Some(directory.into())
}

/// There is no ledger: says so and waits to be dismissed, so that the supervisor need not tell this end from another.
fn closed(channel: &OwnedFd, wanted: bool, why: &str) -> io::Result<()> {
    tell(channel, &FromLedger::Closed { wanted, why: sentence(why) })?;
    let mut bytes = vec![0; MAX_MESSAGE];
    while wait(channel, None)? {
        if seqpacket::recv(channel.as_fd(), &mut bytes)?.len == 0 {
            break;
        }
    }
    Ok(())
}

fn tell(channel: &OwnedFd, message: &FromLedger) -> io::Result<()> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes).map_err(io::Error::other)?;
    loop {
        match seqpacket::send(channel.as_fd(), &bytes, None) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                poll(&mut [PollFd::new(channel, PollFlags::OUT)], None)?;
            }
            other => return other,
        }
    }
}

/// Whether there is something to read before the time is over.
fn wait(channel: &OwnedFd, limit: Option<&Timespec>) -> io::Result<bool> {
    match poll(&mut [PollFd::new(channel, PollFlags::IN)], limit) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Writes.
struct Clerk {
    channel: OwnedFd,
    /// None once it was damaged and no new one could be begun: then this worker ends, and the next one tries.
    store: Option<Store>,
    settings: Settings,
    /// What was said last to be wrong.
    trouble: String,
    /// Bans that are to be kept together with those that follow; nothing of them is in the database.
    gathered: BTreeMap<String, KeptBan>,
    /// The same of those that are to be forgotten together.
    leaving: BTreeSet<String>,
    /// What was wrong when bans were written last.
    bans_trouble: String,
    /// The database has grown beyond its bound.
    is_too_large: bool,
    /// When it was looked last for what is to be deleted: the monotonic clock.
    looked: Duration,
}

impl Clerk {
    fn begin(self, note: String) -> io::Result<Self> {
        let Some(store) = &self.store else { return Ok(self) };
        let opened = FromLedger::Opened {
            path: sentence(&store.path().display().to_string()),
            most_bytes: self.settings.most_bytes,
            keep_seconds: self.settings.keep_for.as_secs(),
            bytes: store.bytes().unwrap_or(0),
            last_id: store.last_id().unwrap_or(0),
            note: sentence(&note),
        };
        tell(&self.channel, &opened)?;
        Ok(self)
    }

    fn serve(mut self) -> io::Result<()> {
        let mut bytes = vec![0; MAX_MESSAGE];
        let (mut busy, mut rests) = (true, false);
        loop {
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            let limit = match (busy, rests) {
                (true, _) => &now,
                (false, false) => &REST,
                (false, true) => &QUIET,
            };
            let has_come = wait(&self.channel, Some(limit))?;
            if has_come && !self.take_messages(&mut bytes)? {
                if let Some(store) = &self.store {
                    store.settle();
                }
                return Ok(());
            }
            let since = clock::monotonic().saturating_sub(self.looked);
            busy = (busy || is_to_look(self.is_too_large, since)) && self.retain();
            if self.store.is_none() {
                return Err(io::Error::other("the damaged database cannot be replaced"));
            }
            rests = !has_come && !busy;
            if rests {
                self.rest();
            }
        }
    }

    /// SQLite is two megabytes of code, and keeps a megabyte of pages.
    fn rest(&self) {
        if let Some(store) = &self.store {
            store.shrink();
        }
        portreeve_sys::process::trim_heap();
        portreeve_sys::code::let_go();
    }

    /// One step of deleting; true when there is more. What cannot be deleted now is tried again with the next look.
    fn retain(&mut self) -> bool {
        (self.looked, self.is_too_large) = (clock::monotonic(), false);
        match self.store.as_mut().map(Store::retain) {
            Some(Ok(more)) => more,
            Some(Err(Fault::Damaged(_))) => {
                let _ = self.renew();
                false
            }
            Some(Err(_)) | None => false,
        }
    }

    /// A damaged database goes aside, and a new one is begun.
    fn renew(&mut self) -> Result<String, Fault> {
        let Some(damaged) = self.store.take() else {
            return Err(Fault::Passing("there is no database".to_owned()));
        };
        let (store, note) = damaged.begin_anew(&self.settings)?;
        self.store = Some(store);
        Ok(note)
    }

    /// Deals with what has come; false when the supervisor has closed the channel.
    fn take_messages(&mut self, bytes: &mut [u8]) -> io::Result<bool> {
        // Orders about bans that come together are one transaction: each waits for the disk.
        let mut orders = Vec::new();
        let goes_on = self.take_some(bytes, &mut orders);
        self.obey(&mut orders)?;
        goes_on
    }

    fn take_some(&mut self, bytes: &mut [u8], orders: &mut Vec<BanOrder>) -> io::Result<bool> {
        for _ in 0..MESSAGES {
            let received = match seqpacket::recv(self.channel.as_fd(), bytes) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) if supervisor_has_gone(&error) => return Ok(false),
                Err(error) => return Err(error),
            };
            if received.len == 0 {
                return Ok(false);
            }
            let message = bytes.get(..received.len).unwrap_or_default();
            if BanOrder::is_one(message) {
                match BanOrder::decode(message).map_err(io::Error::other)? {
                    BanOrder::Recall => {
                        self.obey(orders)?;
                        self.gathered.clear();
                        self.leaving.clear();
                        self.answer_recall()?;
                    }
                    order => orders.push(order),
                }
                continue;
            }
            // Answers are in the order of the questions.
            self.obey(orders)?;
            let events = Events::decode(message).map_err(io::Error::other)?;
            let (wall_at_zero, dropped) = (events.wall_at_zero, events.dropped);
            let events = events.collect::<Result<Vec<Event<'_>>, _>>().map_err(io::Error::other)?;
            let batch = Batch { wall_at_zero, dropped, events: &events };
            let said = self.write(&batch);
            tell_unless_gone(&self.channel, &said)?;
            if self.is_too_large {
                break;
            }
        }
        Ok(true)
    }

    /// Does what is asked about bans, all or nothing, and answers each.
    fn obey(&mut self, orders: &mut Vec<BanOrder>) -> io::Result<()> {
        if orders.is_empty() {
            return Ok(());
        }
        let gathered: Vec<bool> = orders.iter().map(|order| *order == BanOrder::KeepGathered).collect();
        let mut bans = Vec::new();
        for order in orders.drain(..) {
            match order {
                BanOrder::Keep(list) => bans.extend(list.into_iter().map(|one| {
                    self.gathered.remove(&one.network);
                    self.leaving.remove(&one.network);
                    Ok(ban(one))
                })),
                BanOrder::Forget(list) => bans.extend(list.into_iter().map(|network| {
                    self.gathered.remove(&network);
                    Err(network)
                })),
                BanOrder::Gather(list) => {
                    self.gathered.extend(list.into_iter().map(|one| (one.network.clone(), one)));
                    if self.gathered.len() > MOST_BANS {
                        return Err(io::Error::other("more bans were gathered than there can be"));
                    }
                }
                BanOrder::KeepGathered => {
                    let gathered = std::mem::take(&mut self.gathered);
                    self.leaving.retain(|network| !gathered.contains_key(network));
                    bans.extend(gathered.into_values().map(|one| Ok(ban(one))));
                }
                BanOrder::GatherForgotten(list) => {
                    self.leaving.extend(list);
                    if self.leaving.len() > MOST_BANS {
                        return Err(io::Error::other("more bans were to be forgotten than there can be"));
                    }
                }
                BanOrder::ForgetGathered => {
                    bans.extend(std::mem::take(&mut self.leaving).into_iter().map(Err));
                }
                BanOrder::Recall => {}
            }
        }
        let changes = bans.iter().map(|change| match change {
            Ok(ban) => Change::Ban(ban),
            Err(network) => Change::Unban(network),
        });
        let mut damaged = false;
        if !bans.is_empty() {
            let done = match &mut self.store {
                Some(store) => store.change(changes),
                None => Err(Fault::Passing("there is no database".to_owned())),
            };
            damaged = matches!(done, Err(Fault::Damaged(_)));
            self.measure();
            self.bans_trouble = done.err().map(|fault| sentence(&fault.to_string())).unwrap_or_default();
        }
        let trouble = self.bans_trouble.clone();
        for gathered in gathered {
            tell_unless_gone(&self.channel, &FromLedger::Kept { trouble: trouble.clone(), gathered })?;
        }
        if damaged {
            let _ = self.renew();
        }
        Ok(())
    }

    fn answer_recall(&mut self) -> io::Result<()> {
        let bans = match &self.store {
            Some(store) => store.bans_and_strikes(now()),
            None => Err(Fault::Passing("there is no database".to_owned())),
        };
        match bans {
            Ok(bans) => self.recall(bans, String::new()),
            Err(fault) => self.recall(Vec::new(), sentence(&fault.to_string())),
        }
    }

    fn recall(&self, bans: Vec<Ban>, trouble: String) -> io::Result<()> {
        let mut bans = bans.into_iter().map(kept).peekable();
        loop {
            let part: Vec<KeptBan> = bans.by_ref().take(MAX_KEPT).collect();
            let last = bans.peek().is_none();
            tell_unless_gone(
                &self.channel,
                &FromLedger::Recalled { bans: part, last, trouble: trouble.clone() },
            )?;
            if last {
                return Ok(());
            }
        }
    }

    fn write(&mut self, batch: &Batch<'_>) -> FromLedger {
        let count = u32::try_from(batch.events.len()).unwrap_or(u32::MAX);
        let (written, trouble) = match self.try_to_write(batch) {
            Ok(note) => (count, note.unwrap_or_default()),
            Err(fault) => (0, fault.to_string()),
        };
        let changed = std::mem::replace(&mut self.trouble, trouble.clone()) != trouble;
        self.measure();
        FromLedger::Written {
            written,
            lost: count - written,
            bytes: self.store.as_ref().and_then(|store| store.bytes().ok()).unwrap_or(0),
            trouble: changed.then(|| sentence(&trouble)),
        }
    }

    fn measure(&mut self) {
        self.is_too_large = self.store.as_ref().is_some_and(|store| store.is_too_large().unwrap_or(false));
    }

    /// A damaged database is replaced at once, and the batch written into the new one.
    fn try_to_write(&mut self, batch: &Batch<'_>) -> Result<Option<String>, Fault> {
        let Some(store) = &mut self.store else {
            return Err(Fault::Passing("there is no database".to_owned()));
        };
        match store.write(batch) {
            Err(Fault::Damaged(_)) => {}
            other => return other.map(|()| None),
        }
        let note = self.renew()?;
        match &mut self.store {
            Some(store) => store.write(batch).map(|()| Some(note)),
            None => Ok(None),
        }
    }
}

/// Whether it is time to look for what is to be deleted.
fn is_to_look(is_too_large: bool, since: Duration) -> bool {
    is_too_large || since >= LOOK
}

fn ban(kept: KeptBan) -> Ban {
    Ban {
        prefix: kept.network,
        since: kept.since,
        until: kept.until,
        origin: kept.maker.word().to_owned(),
        reason: kept.reason,
        strikes: kept.strikes.max(1),
    }
}

fn kept(ban: Ban) -> KeptBan {
    KeptBan {
        network: ban.prefix,
        since: ban.since,
        until: ban.until,
        maker: Maker::of_word(&ban.origin),
        strikes: ban.strikes,
        reason: ban.reason,
    }
}

/// Microseconds since 1970.
fn now() -> i64 {
    i64::try_from(clock::wall().as_micros()).unwrap_or(i64::MAX)
}

/// An answer that nobody hears is no reason not to write what is still in the channel.
fn tell_unless_gone(channel: &OwnedFd, message: &FromLedger) -> io::Result<()> {
    match tell(channel, message) {
        Err(error) if supervisor_has_gone(&error) => Ok(()),
        other => other,
    }
}

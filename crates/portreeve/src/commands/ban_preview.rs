//! `portreeve ban preview`: a policy run over what the ledger holds of the last days: who would have been banned, when, for what,
//! and what that would have kept out. Reads, and bans nobody.

use super::events;
use crate::answer::text;
use crate::control::Socket;
use crate::escape;
use crate::failure::{Exit, Failure};
use crate::output::{Output, Paint};
use crate::settings;
use crate::since;
use crate::table::Table;
use portreeve_ledger::{Filter, Reader, Record};
use portreeve_policy::evidence::{
    BanPolicy, Evidence, Grade, Kind, Outcome, Scorebook, Sentence, Wider, of_reason,
};
use portreeve_policy::{Ban, Denied, Prefix};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Days that are looked back at, at most.
const MOST_DAYS: i64 = 3650;
/// Sources whose logins and connections are counted.
const MOST_SOURCES: usize = 200_000;
/// Hits about which the daemon is asked whether they are protected.
const MOST_ASKED: usize = 200;

/// `ban preview`.
#[derive(clap::Args, Debug)]
pub struct Preview {
    /// So many days back
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(i64).range(1..=MOST_DAYS))]
    pub days: i64,
    /// A file with a table [bans], instead of portreeve.toml
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// A directory with a ledger, instead of the one that portreeve.toml names
    #[arg(long, value_name = "DIR")]
    pub ledger: Option<PathBuf>,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub socket: Socket,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// Somebody who would have been banned.
#[derive(Clone, Debug, PartialEq)]
struct Hit {
    at: i64,
    network: Prefix,
    time: Duration,
    strikes: u32,
    why: String,
    /// Connections of it that were served while it would have been banned.
    kept_out: u64,
    /// The policy would only have said so, or a bound would have been reached.
    not_done: Option<String>,
    protected: Option<String>,
}

/// The ledger, run through once.
struct Run {
    book: Scorebook,
    denied: Denied,
    hits: Vec<Hit>,
    /// The hit whose ban holds now, by network.
    open: BTreeMap<Prefix, usize>,
    successes: BTreeMap<Prefix, u64>,
    pieces: u64,
}

/// Runs and prints.
pub(super) fn run(what: &Preview, out: &mut Output<'_>) -> Result<Exit, Failure> {
    portreeve_sys::clock::load_zone();
    let path = what.policy.as_deref().unwrap_or(Path::new(settings::PATH));
    if what.policy.is_some() && !path.exists() {
        return Err(Failure::new(format!("{}: there is no such file", escape::os(path.as_os_str()))));
    }
    let policy = settings::bans(path).map_err(Failure::new)?;
    let directory = events::directory_of(what.ledger.as_ref())?;
    let failed = |fault| events::failure(&directory, &fault);
    let reader = Reader::open(&directory).map_err(failed)?;
    let now = portreeve_sys::clock::wall_seconds();
    let filter = Filter { since: Some((now - what.days * 86_400) * 1_000_000), ..Filter::default() };
    let place = reader.place_of_first(&filter).map_err(failed)?;
    let mut run = Run::new(policy);
    reader
        .read(&filter, place, |record| {
            run.take(record);
            true
        })
        .map_err(failed)?;
    run.ask_who_is_protected(&what.socket);
    run.write(what, out)?;
    Ok(if run.hits.is_empty() { Exit::Fine } else { Exit::Found })
}

impl Run {
    fn new(policy: BanPolicy) -> Self {
        Self {
            book: Scorebook::new(policy),
            denied: Denied::default(),
            hits: Vec::new(),
            open: BTreeMap::new(),
            successes: BTreeMap::new(),
            pieces: 0,
        }
    }

    fn take(&mut self, record: &Record) {
        let Some(source) = record.source.as_deref().and_then(|source| source.parse::<IpAddr>().ok()) else {
            return;
        };
        let now = Duration::from_micros(u64::try_from(record.time).unwrap_or(0));
        for ended in self.denied.expire(now) {
            self.open.remove(&ended);
        }
        let banned = self.denied.of(source).map(|(network, _)| network).next();
        match record.kind.as_str() {
            "start" => {
                let hit =
                    banned.and_then(|network| self.open.get(&network)).and_then(|at| self.hits.get_mut(*at));
                if let Some(hit) = hit {
                    hit.kept_out += 1;
                }
            }
            // Its program ended well, and nothing was held against it before that: it has behaved.
            "exit" if record.status == Some(0) && banned.is_none() => self.book.behaves_well(source, now),
            "evidence" => {
                if let Some((grade, kind, proxied)) = record.reason.as_deref().and_then(of_reason) {
                    self.weigh(record, (source, grade, kind, proxied), banned.is_some(), now);
                }
            }
            _ => {}
        }
    }

    fn weigh(
        &mut self,
        record: &Record,
        (source, grade, kind, proxied): (IpAddr, Grade, Kind, bool),
        banned: bool,
        now: Duration,
    ) {
        let network = Prefix::subscriber(source);
        if kind == Kind::Success && self.successes.len() < MOST_SOURCES {
            *self.successes.entry(network).or_default() += 1;
        }
        self.pieces += u64::from(kind != Kind::Success);
        if banned {
            return;
        }
        let service = record.service.as_deref().unwrap_or_default();
        let count = u32::try_from(record.count).unwrap_or(1);
        let Outcome::Due(due) =
            self.book.weigh(&Evidence { source, grade, kind, service, count, proxied }, now)
        else {
            return;
        };
        let sentence = self.book.sentence(&due, self.denied.for_evidence(), now);
        self.sentenced(record.time, network, sentence, due.why, proxied, now);
        if proxied {
            return;
        }
        for wider in self.book.wider(&network, &self.denied, now) {
            if let Wider::Ban(found) = wider {
                let why = format!("{} of {} known sources of it are banned", found.banned, found.known);
                let sentence = self.book.sentence_wide(found.network, self.denied.rolled_up(), now);
                self.sentenced(record.time, found.network, sentence, why, false, now);
            }
        }
    }

    fn sentenced(
        &mut self,
        at: i64,
        network: Prefix,
        sentence: Sentence,
        why: String,
        proxied: bool,
        now: Duration,
    ) {
        let (time, strikes, not_done) = match sentence {
            Sentence::Ban(time, strikes) => (time, strikes, None),
            Sentence::OnlyReported => (Duration::ZERO, 0, Some("`act = false`".to_owned())),
            Sentence::TooMany(most) => (Duration::ZERO, 0, Some(format!("more than {most} bans at once"))),
            Sentence::TooFast(most) => (Duration::ZERO, 0, Some(format!("more than {most} bans a minute"))),
        };
        if not_done.is_none() {
            let ban = Ban::for_evidence(now.saturating_add(time), strikes, proxied, "");
            if self.denied.deny(network, ban).is_ok() {
                self.open.insert(network, self.hits.len());
            }
        }
        self.hits.push(Hit { at, network, time, strikes, why, kept_out: 0, not_done, protected: None });
    }

    /// What the daemon protects now it would have protected then; where none runs, that is not known.
    fn ask_who_is_protected(&mut self, socket: &Socket) {
        for hit in self.hits.iter_mut().take(MOST_ASKED) {
            let Ok(answer) = socket.ask(&format!("why {}", hit.network.address())) else { return };
            hit.protected = Some(text(&answer, "protected").to_owned()).filter(|why| !why.is_empty());
        }
    }

    fn successes_of(&self, network: &Prefix) -> u64 {
        self.successes.iter().filter(|(one, _)| network.covers(one)).map(|(_, count)| count).sum()
    }

    fn write(&self, what: &Preview, out: &mut Output<'_>) -> Result<(), Failure> {
        if what.json {
            let hits = self.hits.iter().map(|hit| {
                json!({
                    "time": hit.at,
                    "network": hit.network.to_string(),
                    "seconds": hit.not_done.is_none().then_some(hit.time.as_secs()),
                    "ban": hit.strikes,
                    "why": hit.why,
                    "successful_logins": self.successes_of(&hit.network),
                    "kept_out": hit.kept_out,
                    "not_done": hit.not_done,
                    "protected": hit.protected,
                })
            });
            out.json(&json!({ "days": what.days, "pieces": self.pieces, "hits": hits.collect::<Vec<_>>() }))?;
            return Ok(());
        }
        let days = if what.days == 1 { "day".to_owned() } else { format!("{} days", what.days) };
        if self.hits.is_empty() {
            writeln!(
                out,
                "nobody would have been banned in the last {days}; pieces of evidence: {}",
                self.pieces
            )?;
            return Ok(());
        }
        let mut table = Table::new(&["when", "network", "for", "why", "but"]);
        for hit in &self.hits {
            let time = match &hit.not_done {
                None => crate::answer::span(hit.time.as_secs()),
                Some(_) => "-".to_owned(),
            };
            let mut but = Vec::new();
            let successes = self.successes_of(&hit.network);
            if successes > 0 {
                but.push(Kind::Success.counted(u32::try_from(successes).unwrap_or(u32::MAX)));
            }
            if hit.kept_out > 0 {
                but.push(format!("connections that were served: {}", hit.kept_out));
            }
            but.extend(hit.protected.as_ref().map(|why| format!("protected: {why}")));
            but.extend(hit.not_done.clone());
            let again = if hit.strikes > 1 { format!(", ban {} of it", hit.strikes) } else { String::new() };
            table.row(vec![
                since::local(hit.at).into(),
                hit.network.to_string().into(),
                time.into(),
                format!("{}{again}", hit.why).into(),
                but.join("; ").into(),
            ]);
        }
        table.write(out, 0)?;
        let logged_in = self.hits.iter().filter(|hit| self.successes_of(&hit.network) > 0).count();
        let text =
            format!("{} in the last {days}, {logged_in} of them with successful logins", self.hits.len());
        let paint = if logged_in > 0 { Paint::Yellow } else { Paint::Plain };
        writeln!(out, "would have been banned: {}", out.paint(paint, &text))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000_000;

    fn record(at: i64, kind: &str, source: &str, reason: &str) -> Record {
        Record {
            time: at * MINUTE,
            kind: kind.into(),
            source: Some(source.into()),
            service: Some("s1".into()),
            reason: Some(reason.into()),
            count: 1,
            ..Record::default()
        }
    }

    #[test]
    fn who_would_have_been_hit_and_what_that_would_have_cost() {
        let mut run = Run::new(BanPolicy::default());
        for at in 0..5 {
            run.take(&record(100 + at, "evidence", "192.0.2.1", "authenticated login"));
            run.take(&record(100 + at, "evidence", "192.0.2.2", "forgeable scan"));
        }
        run.take(&record(110, "evidence", "192.0.2.1", "authenticated success"));
        run.take(&record(110, "start", "192.0.2.1", ""));
        run.take(&record(120, "start", "192.0.2.3", ""));
        // The ban of an hour is over.
        run.take(&record(170, "start", "192.0.2.1", ""));
        assert_eq!(run.hits.len(), 1, "{:?}", run.hits);
        let hit = &run.hits[0];
        assert_eq!((hit.network.to_string(), hit.at), ("192.0.2.1".to_owned(), 104 * MINUTE));
        assert_eq!((hit.kept_out, run.successes_of(&hit.network)), (1, 1));
        for at in 0..5 {
            run.take(&record(200 + at, "evidence", "::ffff:192.0.2.1", "authenticated login"));
        }
        assert_eq!((run.hits[1].strikes, run.hits[1].time.as_secs()), (2, 4 * 3600));
        for at in 0..9 {
            run.take(&record(300 + 60 * at, "evidence", "192.0.2.3", "authenticated login"));
        }
        assert_eq!(run.hits.len(), 2, "one an hour is none");
    }

    #[test]
    fn rubbish_in_the_ledger_hits_nobody() {
        let mut run = Run::new(BanPolicy::default());
        for reason in ["", "authenticated", "proven nothing", "login", "authenticated login extra words"] {
            for _ in 0..4 {
                run.take(&record(1, "evidence", "192.0.2.1", reason));
            }
        }
        run.take(&record(1, "evidence", "no address", "authenticated login"));
        run.take(&Record { time: -1, kind: "evidence".into(), ..Record::default() });
        assert_eq!(run.hits, []);
    }
}

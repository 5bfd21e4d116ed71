//! What the supervisor tells the ledger: events, many in one message, written where they wait. An event costs the supervisor a
//! few copied bytes; whatever can be computed from them is the ledger's work.

use super::MAX_NAME;
use super::wire::{BadMessage, Reader, Writer};
use portreeve_policy::Prefix;
use std::net::SocketAddr;
use std::time::Duration;

const EVENTS: u8 = 112;

/// The longest batch, in bytes: half a second of a few hundred events, and a message that needs no large block of memory.
pub const MAX_BATCH: usize = 32 * 1024;
/// Tag, offset, dropped, count.
const HEAD: usize = 1 + 8 + 8 + 2;
/// No event is longer: four texts and the numbers.
const MAX_EVENT: usize = 4 * (1 + MAX_NAME) + 160;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A client is served from now on.
    Start,
    /// What served it has ended.
    Exit,
    /// A client was refused.
    Refuse,
    /// A source was denied by a sensor.
    Deny,
    /// A network was banned, other than by a sensor.
    Ban,
    /// A ban has ended, or was ended.
    Unban,
    /// Something is held against a source.
    Evidence,
    /// A source would have been banned, but is protected, or a bound was reached.
    Spared,
    /// A source, or a network, scans; its address may be forged.
    Scan,
}

const KINDS: [EventKind; 9] = [
    EventKind::Start,
    EventKind::Exit,
    EventKind::Refuse,
    EventKind::Deny,
    EventKind::Ban,
    EventKind::Unban,
    EventKind::Evidence,
    EventKind::Spared,
    EventKind::Scan,
];

impl EventKind {
    /// The word in the database.
    pub fn word(self) -> &'static str {
        match self {
            EventKind::Start => "start",
            EventKind::Exit => "exit",
            EventKind::Refuse => "refuse",
            EventKind::Deny => "deny",
            EventKind::Ban => "ban",
            EventKind::Unban => "unban",
            EventKind::Evidence => "evidence",
            EventKind::Spared => "spared",
            EventKind::Scan => "scan",
        }
    }
}

/// How an instance ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It exited with this status.
    Exited(i32),
    /// A signal ended it.
    Signaled(i32),
}

/// What a process has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time in user mode, microseconds.
    pub user_us: u64,
    /// CPU time in the kernel, microseconds.
    pub system_us: u64,
    /// Largest resident size, KiB.
    pub max_rss_kib: u64,
}

/// The end of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub how: Ending,
    /// How long it lasted, microseconds.
    pub duration_us: u64,
    /// What its process used, where it had one of its own.
    pub usage: Option<Usage>,
    /// Bytes from the client and to it, where they went through us.
    pub bytes: Option<(u64, u64)>,
}

/// What an event says of a ban.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Banned<'a> {
    /// Whom.
    pub network: Prefix,
    /// By what: `operator`, `import`, `sensor`, `expired`, ...
    pub origin: &'a str,
    /// The user who has ordered it, where one did.
    pub uid: Option<u32>,
    /// For how long, microseconds; for ever without.
    pub for_us: Option<u64>,
}

/// One event. Texts longer than 255 bytes are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// What it is about.
    pub kind: EventKind,
    /// The number that all events of one connection share.
    pub id: u64,
    /// When: the monotonic clock.
    pub at: Duration,
    /// The service's id.
    pub service: &'a str,
    /// The client.
    pub peer: Option<SocketAddr>,
    /// Why it was refused, in xinetd's word; otherwise empty.
    pub reason: &'a str,
    /// File and line of the rule that decided.
    pub rule: Option<(&'a str, u32)>,
    /// The process; 0 where there is none of its own.
    pub pid: i32,
    /// For how many arrivals of a kind this stands.
    pub count: u32,
    /// An exit's end.
    pub ended: Option<Ended>,
    /// A ban's, or its end's.
    pub banned: Option<Banned<'a>>,
}

impl Event<'_> {
    fn put(&self, out: &mut Writer<'_>) {
        out.u8(KINDS.iter().position(|kind| *kind == self.kind).unwrap_or(0) as u8);
        out.u64(self.id);
        out.u64(micros(self.at));
        out.short(self.service);
        out.option(self.peer, Writer::socket_address);
        out.short(self.reason);
        out.option(self.rule, |out, (file, line)| {
            out.short(file);
            out.u32(line);
        });
        out.u32(self.pid.cast_unsigned());
        out.u32(self.count);
        out.option(self.ended, |out, ended| {
            let (signaled, number) = match ended.how {
                Ending::Exited(status) => (false, status),
                Ending::Signaled(signal) => (true, signal),
            };
            out.flag(signaled);
            out.u32(number.cast_unsigned());
            out.u64(ended.duration_us);
            out.option(ended.usage, |out, usage| {
                out.u64(usage.user_us);
                out.u64(usage.system_us);
                out.u64(usage.max_rss_kib);
            });
            out.option(ended.bytes, |out, (from, to)| {
                out.u64(from);
                out.u64(to);
            });
        });
        out.option(self.banned, |out, banned| {
            out.prefix(&banned.network);
            out.short(banned.origin);
            out.option(banned.uid, Writer::u32);
            out.option(banned.for_us, Writer::u64);
        });
    }

    fn take<'a>(input: &mut Reader<'a>) -> Result<Event<'a>, BadMessage> {
        let kind = usize::from(input.u8()?);
        Ok(Event {
            kind: *KINDS.get(kind).ok_or(BadMessage::BadValue("kind of event"))?,
            id: input.u64()?,
            at: Duration::from_micros(input.u64()?),
            service: input.short("service")?,
            peer: input.option("peer", Reader::socket_address)?,
            reason: input.short("reason")?,
            rule: input.option("rule", |input| Ok((input.short("file")?, input.u32()?)))?,
            pid: input.u32()?.cast_signed(),
            count: input.u32()?,
            ended: input.option("end", |input| {
                let signaled = input.flag("end")?;
                let number = input.u32()?.cast_signed();
                Ok(Ended {
                    how: if signaled { Ending::Signaled(number) } else { Ending::Exited(number) },
                    duration_us: input.u64()?,
                    usage: input.option("usage", |input| {
                        Ok(Usage {
                            user_us: input.u64()?,
                            system_us: input.u64()?,
                            max_rss_kib: input.u64()?,
                        })
                    })?,
                    bytes: input.option("bytes", |input| Ok((input.u64()?, input.u64()?)))?,
                })
            })?,
            banned: input.option("ban", |input| {
                Ok(Banned {
                    network: input.prefix()?,
                    origin: input.short("origin")?,
                    uid: input.option("uid", Reader::u32)?,
                    for_us: input.option("span", Reader::u64)?,
                })
            })?,
        })
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Events that wait to be sent, as the message that they will be.
#[derive(Debug, Default)]
pub struct EventBatch {
    bytes: Vec<u8>,
    count: u16,
}

impl EventBatch {
    /// How many are in it.
    pub fn count(&self) -> u16 {
        self.count
    }

    /// Whether another event might not fit.
    pub fn is_full(&self) -> bool {
        self.bytes.len() + MAX_EVENT > MAX_BATCH || self.count == u16::MAX
    }

    /// Adds an event. One that does not fit is not taken, which [`EventBatch::is_full`] says beforehand.
    pub fn push(&mut self, event: &Event<'_>) -> bool {
        if self.is_full() {
            return false;
        }
        if self.count == 0 {
            self.bytes.clear();
            self.bytes.resize(HEAD, 0);
        }
        event.put(&mut Writer::after(&mut self.bytes));
        self.count += 1;
        true
    }

    /// The message. `wall_at_zero` is when the monotonic clock stood at zero, by the clock on the wall; `dropped` how many
    /// events were lost before these. The batch is empty afterwards.
    pub fn seal(&mut self, wall_at_zero: Duration, dropped: u64) -> Vec<u8> {
        let mut head = Vec::with_capacity(HEAD);
        let mut writer = Writer::new(&mut head, EVENTS);
        writer.u64(micros(wall_at_zero));
        writer.u64(dropped);
        writer.u16(self.count);
        if self.bytes.len() < HEAD {
            self.bytes.resize(HEAD, 0);
        }
        self.bytes.iter_mut().zip(head).for_each(|(byte, new)| *byte = new);
        self.count = 0;
        std::mem::take(&mut self.bytes)
    }
}

/// A batch as the ledger reads it: one event after the other.
pub struct Events<'a> {
    /// What is added to an event's time to have the wall's.
    pub wall_at_zero: Duration,
    /// Events that were lost before these.
    pub dropped: u64,
    left: u16,
    input: Option<Reader<'a>>,
}

impl<'a> Events<'a> {
    /// Reads the head of a message.
    ///
    /// # Errors
    /// Bytes that are no such message.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, BadMessage> {
        let (tag, mut input) = Reader::new(bytes)?;
        if tag != EVENTS {
            return Err(BadMessage::UnknownTag(tag));
        }
        Ok(Self {
            wall_at_zero: Duration::from_micros(input.u64()?),
            dropped: input.u64()?,
            left: input.u16()?,
            input: Some(input),
        })
    }

    /// How many are still to be read.
    pub fn len(&self) -> usize {
        usize::from(self.left)
    }

    /// Whether all have been read.
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }
}

impl<'a> Iterator for Events<'a> {
    type Item = Result<Event<'a>, BadMessage>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut input = self.input.take()?;
        if self.left == 0 {
            return input.finish().err().map(Err);
        }
        self.left -= 1;
        let event = Event::take(&mut input);
        // After a bad one nothing can be read.
        if event.is_ok() {
            self.input = Some(input);
        }
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event<'static> {
        Event {
            kind: EventKind::Exit,
            id: 7,
            at: Duration::from_micros(12),
            service: "s1",
            peer: Some("[2001:db8::1]:9".parse().unwrap()),
            reason: "",
            rule: Some(("/etc/x", 3)),
            pid: 41,
            count: 1,
            ended: Some(Ended {
                how: Ending::Signaled(9),
                duration_us: 5,
                usage: Some(Usage { user_us: 1, system_us: 2, max_rss_kib: 3 }),
                bytes: Some((4, 5)),
            }),
            banned: None,
        }
    }

    #[test]
    fn what_is_put_in_comes_out() {
        let plain = Event { kind: EventKind::Refuse, peer: None, rule: None, ended: None, ..event() };
        let banned = Banned {
            network: "2001:db8::/32".parse().unwrap(),
            origin: "operator",
            uid: Some(0),
            for_us: Some(u64::MAX),
        };
        let ban = Event { kind: EventKind::Ban, banned: Some(banned), ..plain };
        let mut batch = EventBatch::default();
        assert!(batch.push(&event()) && batch.push(&plain) && batch.push(&ban));
        assert_eq!(batch.count(), 3);
        let message = batch.seal(Duration::from_secs(1), 6);
        assert_eq!(batch.count(), 0);
        let events = Events::decode(&message).unwrap();
        assert_eq!((events.wall_at_zero, events.dropped, events.len()), (Duration::from_secs(1), 6, 3));
        assert_eq!(events.collect::<Result<Vec<_>, _>>(), Ok(vec![event(), plain, ban]));
        let none = batch.seal(Duration::ZERO, 1);
        assert_eq!(Events::decode(&none).unwrap().count(), 0, "a message that only counts the lost");
    }

    #[test]
    fn a_batch_has_a_bound_and_long_texts_are_cut() {
        let long = "\u{e9}".repeat(400);
        let banned = Banned {
            network: Prefix::host([0xffff; 8].into()),
            origin: &long,
            uid: Some(0),
            for_us: Some(0),
        };
        let longest =
            Event { service: &long, reason: &long, rule: Some((&long, 1)), banned: Some(banned), ..event() };
        let mut batch = EventBatch::default();
        let mut taken = 0;
        while batch.push(&longest) {
            taken += 1;
        }
        assert!(batch.is_full() && taken > 25, "{taken}");
        let message = batch.seal(Duration::ZERO, 0);
        assert!(message.len() <= MAX_BATCH, "{}", message.len());
        let first = Events::decode(&message).unwrap().next().unwrap().unwrap();
        assert_eq!(first.service, "\u{e9}".repeat(127), "cut between two letters");
    }

    proptest::proptest! {
        /// Whatever comes: an end, no panic, and no more events than bytes.
        #[test]
        fn any_bytes_are_read(mut bytes in proptest::collection::vec(0u8.., 0..400)) {
            if let Some(first) = bytes.first_mut() {
                *first = EVENTS;
            }
            if let Ok(events) = Events::decode(&bytes) {
                proptest::prop_assert!(events.count() <= bytes.len());
            }
        }
    }

    #[test]
    fn bytes_that_are_no_batch_are_refused() {
        let mut batch = EventBatch::default();
        batch.push(&event());
        let message = batch.seal(Duration::ZERO, 0);
        for length in 0..message.len() {
            let read =
                Events::decode(&message[..length]).and_then(|events| events.collect::<Result<Vec<_>, _>>());
            assert!(read.is_err(), "{length}");
        }
        let surplus = [&message[..], &[0]].concat();
        assert!(Events::decode(&surplus).unwrap().any(|event| event.is_err()));
    }
}

//! How long events wait for others, and that an upgrade takes all of them along. Without a worker.

use super::*;
use portreeve_workers::protocol::EventKind;

fn open() -> Ledger {
    Ledger { journal: Journal::Open, ..Ledger::default() }
}

fn start() -> Event<'static> {
    Event {
        kind: EventKind::Start,
        id: 1,
        at: Duration::ZERO,
        service: "s",
        peer: None,
        reason: "",
        rule: None,
        pid: 1,
        count: 1,
        ended: None,
        banned: None,
    }
}

#[test]
fn many_events_wait_longer_for_more_and_few_do_not() {
    let mut ledger = open();
    let mut batch_of = |count, later| {
        (0..count).for_each(|_| ledger.note(&start()));
        ledger.seal();
        ledger.delay(clock::monotonic() + later)
    };
    assert_eq!(batch_of(CROWD - 1, Duration::ZERO), DELAY);
    assert_eq!(batch_of(CROWD, Duration::ZERO), CROWD_DELAY);
    assert_eq!(batch_of(CROWD, CROWD_DELAY), DELAY, "nobody has come for a while");
    assert_eq!(batch_of(1, Duration::ZERO), DELAY, "once they have gone");
}

#[test]
fn what_waits_is_drawn_to_the_last_event() {
    let mut ledger = open();
    let mut noted = 0;
    while ledger.full.len() < MOST_BATCHES - CROWDED {
        ledger.note(&start());
        noted += 1;
    }
    ledger.seal();
    assert!(ledger.batch.count() > 0, "there is no room for it");
    let drawn: u64 = std::iter::from_fn(|| ledger.draw()).map(|(_, (count, _))| count).sum();
    assert_eq!((drawn, ledger.dropped, ledger.waiting()), (noted, 0, 0));
}

//! What is deleted and when: what is too old, and the oldest while the database is too large. The last event stays.

use super::*;

#[test]
fn old_events_go_and_the_last_stays() {
    let scratch = Scratch::new();
    let mut store = scratch.store_with(&Settings { keep_for: HOUR, ..Settings::default() });
    fill(&mut store, 0, 2500);
    // Event n is of HOUR + n seconds.
    let now = HOUR * 2 + Duration::from_secs(2200);
    let mut steps = 0;
    while store.retain_at(now).unwrap() {
        steps += 1;
    }
    assert_eq!(steps, 2, "at most a thousand at once");
    let left = scratch.records(&Filter::default());
    assert_eq!((left.len(), left[0].id), (300, 2200));
    while store.retain_at(now * 2).unwrap() {}
    assert_eq!(scratch.records(&Filter::default()).len(), 1, "numbers go on from the last one");
}

#[test]
fn the_size_is_bounded_however_much_comes() {
    let scratch = Scratch::new();
    let settings = Settings { most_bytes: LEAST_SIZE, ..Settings::default() };
    let mut store = scratch.store_with(&settings);
    let mut most = 0;
    for first in (0..60_000).step_by(300) {
        fill(&mut store, first, first + 300);
        store.retain_at(HOUR).unwrap();
        most = most.max(std::fs::metadata(scratch.0.join(FILE)).unwrap().len());
    }
    let count = store.count().unwrap();
    assert!((1000..30_000).contains(&count), "{count} events are left");
    assert!(most <= LEAST_SIZE * 2, "{most}");
    assert!(store.bytes().unwrap() <= LEAST_SIZE * 2 + (8 << 20), "with its log");
    let records = scratch.records(&Filter::default());
    assert_eq!(records.last().unwrap().id, 59_999, "the newest are there");
    assert_eq!(records[0].id + i64::try_from(count).unwrap(), 60_000, "and none is missing between");
}

#[test]
fn a_step_deletes_a_thousand_at_most_and_the_last_event_stays() {
    let scratch = Scratch::new();
    fill(&mut scratch.store(), 0, 20_000);
    let settings = Settings { most_bytes: LEAST_SIZE, ..Settings::default() };
    let mut store = scratch.store_with(&settings);
    assert!(store.is_too_large().unwrap() && store.retain_at(HOUR).unwrap());
    assert_eq!(store.count().unwrap(), 19_000);
    // What else there is takes all the room.
    let ban = |n: u32| Ban {
        prefix: format!("2001:db8::{n:x}/128"),
        since: 1,
        until: None,
        origin: "sensor".into(),
        reason: "tripped".into(),
        strikes: 1,
    };
    for first in (0..18_000).step_by(2000) {
        store.ban(&(first..first + 2000).map(ban).collect::<Vec<_>>()).unwrap();
        while store.retain_at(HOUR).unwrap() {}
    }
    assert!(store.is_too_large().unwrap());
    assert_eq!(store.count().unwrap(), 1);
    assert_eq!(store.last_id().unwrap(), 19_999, "numbers go on from it");
}

#[test]
fn free_pages_below_the_bound_stay_for_the_events_to_come() {
    let scratch = Scratch::new();
    let mut store = scratch.store_with(&Settings { keep_for: HOUR, ..Settings::default() });
    fill(&mut store, 0, 5000);
    let pages =
        |store: &Store| store.db.query_row("PRAGMA page_count", [], |row| row.get::<_, i64>(0)).unwrap();
    let before = pages(&store);
    while store.retain_at(HOUR * 9).unwrap() {}
    assert_eq!((store.count().unwrap(), pages(&store)), (1, before));
    fill(&mut store, 5000, 9000);
    assert_eq!(pages(&store), before, "they are used again");
    assert!(!store.is_too_large().unwrap());
}

#[test]
fn a_smaller_bound_gives_the_room_back() {
    let scratch = Scratch::new();
    fill(&mut scratch.store(), 0, 30_000);
    let settings = Settings { most_bytes: LEAST_SIZE, ..Settings::default() };
    let mut store = scratch.store_with(&settings);
    let mut steps = 0;
    while store.retain_at(HOUR).unwrap() {
        steps += 1;
        assert!(steps < 100);
    }
    for _ in 0..20 {
        store.retain_at(HOUR).unwrap();
    }
    store.settle();
    let bytes = std::fs::metadata(scratch.0.join(FILE)).unwrap().len();
    assert!(bytes <= LEAST_SIZE + (64 << 10), "{bytes}");
}

//! access_times: which words are windows, and who is let in when (reference xinetd §3.4).

use portreeve_compliance::client::{dial, talk};
use portreeve_compliance::wait::{closed_hours, must};
use portreeve_compliance::{Answer, Config, End, Entry, both};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const SERVED: &str = "served\n";

/// Minute of the day, UTC, this many minutes from now.
fn minute(ahead: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    (i64::try_from(now / 60).unwrap_or(0) + ahead).rem_euclid(1440)
}

fn clock(minute: i64) -> String {
    format!("{}:{:02}", minute / 60, minute % 60)
}

/// `from`-`to` in minutes from now; the whole day where that would cross midnight.
fn window(from: i64, to: i64) -> String {
    let (from, to) = (minute(from), minute(to));
    if from < to { format!("{}-{}", clock(from), clock(to)) } else { "0:00-23:59".to_owned() }
}

/// Windows around this moment, in all spellings.
#[test]
fn open() {
    both(|world| {
        let closed = closed_hours();
        let values = [
            "0:00-23:59".to_owned(),
            "00:00-23:59".to_owned(),
            window(-30, 30),
            // Union of several words, in any order.
            format!("{closed} {}", window(-30, 30)),
            format!("{} {closed}", window(-30, 30)),
            "0:0-23:59".to_owned(),
        ];
        let entries = (0..).zip(&values).map(|(number, value)| {
            Entry::program(&format!("s{number}"), 2001 + number).set("access_times", value)
        });
        let _daemon = world.start(&Config::new().with_all(entries));
        for (number, value) in (0..).zip(&values) {
            assert_eq!(talk("127.0.0.1", 2001 + number, b""), Answer::closed(SERVED), "{value}");
        }
    });
}

/// Windows that this moment is not in; what runs already is not stopped by them.
#[test]
fn closed() {
    both(|world| {
        let value = closed_hours();
        let config = Config::of(Entry::program("s1", 2001).set("access_times", &value))
            .with(Entry::probe("held", 2002, "hold"));
        let daemon = world.start(&config);
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(""));
        world.expect_log("s1", &["FAIL: s1 time from=::ffff:127.0.0.1"]);
        let mut held = dial("127.0.0.1", 2002).expect("a connection");
        assert_eq!(held.read_until(b"\n").text(), "held\n");
        daemon.reload(&Config::of(Entry::probe("held", 2002, "hold").set("access_times", &value)));
        assert_eq!(talk("127.0.0.1", 2002, b""), Answer::closed(""));
        assert_eq!(held.read_for(Duration::from_millis(100)).end, End::Open, "what runs goes on");
    });
}

/// The hour is local: what is open in one zone is closed in another.
#[test]
fn local_hours() {
    both(|world| {
        // Between one and three hours ago in UTC is now in a zone two hours behind.
        let value = window(-180, -60);
        if value == "0:00-23:59" {
            return; // Around midnight there is no such window, and nothing to see.
        }
        let env = ["PATH=/usr/bin:/bin", "TZ=AAA2"].map(str::to_owned).to_vec();
        let start = portreeve_compliance::Start { env, ..Default::default() };
        let _daemon =
            world.start_with(&Config::of(Entry::program("s1", 2001).set("access_times", &value)), start);
        assert_eq!(talk("127.0.0.1", 2001, b""), Answer::closed(SERVED), "{value} two hours behind");
    });
}

/// Words that are no windows take the service out.
#[test]
fn no_windows() {
    const VALUES: &[&str] = &[
        "22:00-02:00",
        "00:00-24:00",
        "8:00",
        "8-9",
        "8:60-9:00",
        "25:00-26:00",
        "9:00-8:00",
        "8:00-8:00",
        "a:b-c:d",
        "8:00-9:00,10:00-11:00",
    ];
    both(|world| {
        let entries = (0..).zip(VALUES).map(|(number, value)| {
            Entry::program(&format!("s{number}"), 2001 + number).set("access_times", value)
        });
        let _daemon = world.start(&Config::of(Entry::program("good", 2000)).with_all(entries));
        assert_eq!(talk("127.0.0.1", 2000, b""), Answer::closed(SERVED));
        for (number, value) in (0..).zip(VALUES) {
            assert_eq!(talk("127.0.0.1", 2001 + number, b""), Answer::refused(), "{value}");
        }
        let lines = "Error parsing attribute access_times - DISABLING SERVICE";
        must("each is told", || world.daemon_log_count(lines) == VALUES.len());
    });
}

/// Once only, with `=` only, and not in the defaults.
#[test]
fn where_it_may_stand() {
    both(|world| {
        let config = Config::new()
            .defaults(&format!("access_times = {}", closed_hours()))
            .with(Entry::program("plain", 2001))
            .with(
                Entry::program("twice", 2002)
                    .line("access_times = 0:00-23:59")
                    .line(&format!("access_times = {}", closed_hours())),
            )
            .with(Entry::program("plus", 2003).line(&format!("access_times += {}", closed_hours())));
        let _daemon = world.start(&config);
        for (port, id) in [(2001, "plain"), (2002, "twice"), (2003, "plus")] {
            assert_eq!(talk("127.0.0.1", port, b""), Answer::closed(SERVED), "{id}");
        }
        for text in [
            "attribute: access_times should not be in default section",
            "Service twice: attribute already set: access_times",
            "Service plus: operator '+=' cannot be used for attribute 'access_times'",
        ] {
            assert!(world.daemon_log_count(text) >= 1, "{text}: {:?}", world.daemon_log());
        }
    });
}

//! How much of the processors a service has (`CPUQuota=`, `CPUWeight=`), and that nobody waits for one that has spent it. xinetd has nothing like it.

use portreeve_compliance::client::{dial, talk};
use portreeve_compliance::hierarchy::{has_controllers, hierarchy};
use portreeve_compliance::skip::{Reason, skip};
use portreeve_compliance::wait::must;
use portreeve_compliance::{Answer, Config, Connection, Entry, ours};

/// How long a client of another service waits behind each of some who come first, in the middle; milliseconds.
fn waits(first: &mut dyn FnMut()) -> u128 {
    let mut all = Vec::new();
    for _ in 0..15 {
        first();
        let asked = std::time::Instant::now();
        assert_eq!(talk("127.0.0.1", 2002, b""), Answer::closed("served\n"));
        all.push(asked.elapsed().as_millis());
        std::thread::sleep(std::time::Duration::from_millis(70));
    }
    all.sort_unstable();
    all[7]
}

/// A program has its share of the processors and no more, and one that has spent it makes no other client wait; a reload sets another for
/// who runs, and takes it back.
#[test]
fn processors_are_bounded() {
    if !has_controllers(&["cpu", "memory", "pids"]) {
        return skip(Reason::NoMemoryController);
    }
    let (place, _) = hierarchy().expect("as before");
    ours(|world| {
        let spins = "sed -n 's/^0:://p' /proc/self/cgroup
            read -r line && for n in 1 2; do perl -e '1 while 1' & done
            read -r line; kill $(jobs -p)";
        world.write_mode("spins.sh", format!("#!/bin/sh\n{spins}\n"), 0o755);
        let of = |words: &str| {
            let entry = Entry::program("spins", 2001).set("server", "/run/w/spins.sh").unset("server_args");
            Config::of(entry.set("sandbox", words)).with(Entry::program("other", 2002))
        };
        let daemon = world.start(&of("CPUQuota=5% CPUQuotaPeriodSec=200ms CPUWeight=7"));
        let mut one = dial("127.0.0.1", 2001).expect("a connection");
        let told = one.read_until(b"\n").text();
        let group = place.join(told.trim().trim_start_matches('/'));
        assert!(group.ends_with("service-spins.amounts"), "{group:?}");
        let read = |file: &str| std::fs::read_to_string(group.join(file)).unwrap_or_default();
        let bounds = || ["cpu.max", "cpu.idle", "cpu.weight"].map(|file| read(file).trim().to_owned());
        assert_eq!(bounds(), ["10000 200000", "0", "7"]);
        let mut idle = Vec::new();
        let free = waits(&mut || idle.push(dial("127.0.0.1", 2001).expect("a connection")));
        one.send(b"spin\n");
        let number = |key: &str| {
            let text = read("cpu.stat");
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
            line.and_then(|number| number.parse::<u64>().ok()).expect("a number")
        };
        must("they are held back", || number("nr_throttled") > 3);
        let (begin, used) = (std::time::Instant::now(), number("usage_usec"));
        // Clients who have something started in that group, and one after each who has not.
        let mut others = Vec::new();
        let held = waits(&mut || others.push(dial("127.0.0.1", 2001).expect("a connection")));
        assert!(held < free * 2 + 30, "the others waited {held} ms, and {free} ms without");
        let share = u128::from(number("usage_usec") - used) * 100 / begin.elapsed().as_micros();
        assert!((1..15).contains(&share), "{share} %");
        let starting = group.with_file_name("service-spins.amounts.starting");
        assert_eq!(std::fs::read_to_string(starting.join("cgroup.procs")).expect("its processes"), "");
        daemon.reload(&of("CPUWeight=idle"));
        assert_eq!(bounds(), ["max 100000", "1", "0"]);
        daemon.reload(&of("TasksMax=100"));
        assert_eq!(bounds(), ["max 100000", "0", "100"]);
        must("nobody begins elsewhere", || !starting.exists());
        one.send(b"end\n");
        others.iter_mut().chain(&mut idle).for_each(Connection::finish);
    });
}

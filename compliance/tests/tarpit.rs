//! The tarpit holds thousands of clients, each for a few hundred bytes of its worker: what keeps a scanner waiting must not keep us.

use portreeve_compliance::client::{Connection, dial};
use portreeve_compliance::wait::must;
use portreeve_compliance::{Config, Daemon, Entry, World, ours};
use rustix::process::{Resource, getrlimit, setrlimit};

/// The worker's own pages and tables are there after these.
const FIRST: usize = 200;
const MANY: usize = 2400;
/// More than two thousand in a MiB.
const BYTES_EACH: u64 = 500;

/// Bytes of memory that the process has.
fn resident(world: &World, pid: u32) -> u64 {
    let status = std::fs::read_to_string(world.inside(&format!("/proc/{pid}/status"))).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    let kib: u64 = line.split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number");
    kib * 1024
}

fn held(daemon: &Daemon<'_>) -> u64 {
    daemon.service_status("pit")["running"].as_u64().unwrap_or(0)
}

#[test]
fn thousands_are_held_for_less_than_a_mebibyte_and_a_half() {
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum.map_or(Some(8192), |most| Some(most.min(8192)));
    setrlimit(Resource::Nofile, files).expect("room for descriptors");
    ours(|world| {
        let pit =
            Entry::internal("tarpit", "pit", 2100, "stream").set("cps", "0 0").set("instances", "UNLIMITED");
        let daemon = world.start(&Config::of(pit));
        let mut clients: Vec<Connection> = Vec::new();
        let mut hold = |count: usize| {
            while clients.len() < count {
                clients.push(dial("127.0.0.1", 2100).expect("a connection"));
            }
            must("all are held", || held(&daemon) == count as u64);
        };
        hold(FIRST);
        let worker = world.processes("worker builtin")[0];
        let before = resident(world, worker);
        hold(FIRST + MANY);
        let each = resident(world, worker).saturating_sub(before) / MANY as u64;
        assert!(each <= BYTES_EACH, "{each} bytes for each");
        eprintln!("{each} bytes of the worker for each of {MANY}");
    });
}

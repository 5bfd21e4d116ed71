//! For scripts/bench: the kernel's part of bans alone, without a daemon.
//!
//! `enforce hold COUNT ADDRESS` bans so many networks and the address in one transaction, says how long that, the next ones, and a comparison with
//! the kernel and its longest step took, and holds them until its input ends.
//!
//! `enforce repair COUNT` runs the firewall worker's loop on a table without an owner, as on a kernel before 5.12, has nft(8) do to it what others
//! do, and says after how many milliseconds, counted from the kernel's word of the change, the worker reports that all is in force again; and how
//! long one ban waits meanwhile.

use portreeve_policy::Prefix;
use portreeve_sys::{clock, netlink, seqpacket};
use portreeve_workers::protocol::{FromFirewall, MAX_BANS, MAX_MESSAGE, ToFirewall};
use portreeve_workers::{Enforcer, Scope, run_firewall_openly};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, Error, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const HOUR: Duration = Duration::from_secs(3600);
/// Between two bans while the worker repairs.
const BETWEEN: Duration = Duration::from_millis(5);
/// For a report that does not come.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().collect();
    let count: u32 = words.get(2).and_then(|word| word.parse().ok()).unwrap_or(0);
    match words.get(1).map(String::as_str) {
        Some("repair") => repair(count),
        _ => hold(count, words.get(3).and_then(|word| word.parse().ok())),
    }
}

fn network(n: u32) -> Prefix {
    Prefix::host(((100 << 24) + n * 3).to_be_bytes().into())
}

fn another(n: u32) -> Prefix {
    Prefix::host(((10 << 24) + n).to_be_bytes().into())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn hold(count: u32, address: Option<Prefix>) -> io::Result<()> {
    let now = clock::monotonic();
    let end = Some(now + HOUR);
    let many = (0..count).map(|n| (network(n), end));
    let bans: Vec<_> = many.chain(address.map(|address| (address, None))).collect();
    let begun = Instant::now();
    let mut enforcer = Enforcer::begin((netlink::asking()?, netlink::asking()?), bans, now)?;
    let load = begun.elapsed();
    let mut one = Vec::new();
    for n in 0..1000u32 {
        let begun = Instant::now();
        enforcer.ban(&[(another(n), end)], now)?;
        one.push(begun.elapsed());
    }
    one.sort_unstable();
    let mut looks = String::new();
    for (name, scope) in [("look", Scope::Wanted), ("dump", Scope::Strangers)] {
        let (begun, mut longest) = (Instant::now(), Duration::ZERO);
        enforcer.begin_to_compare(scope);
        while enforcer.compares() {
            let step = Instant::now();
            enforcer.compare_on(clock::monotonic())?;
            longest = longest.max(step.elapsed());
        }
        looks += &format!(", \"{name}_ms\": {:.1}, \"{name}_step\": {:.3}", ms(begun.elapsed()), ms(longest));
    }
    let one = |at: usize| one.get(at).map_or(0.0, |time| ms(*time));
    writeln!(
        io::stdout(),
        "{{\"load_ms\": {:.1}, \"add_p50\": {:.3}, \"add_p99\": {:.3}{looks}}}",
        ms(load),
        one(500),
        one(990)
    )?;
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// The worker, as the supervisor sees it.
struct Worker {
    channel: OwnedFd,
    changes: u64,
}

impl Worker {
    fn tell(&self, message: &ToFirewall, fd: Option<&OwnedFd>) -> io::Result<()> {
        let mut bytes = Vec::new();
        message.encode(&mut bytes).map_err(Error::other)?;
        loop {
            match seqpacket::send(&self.channel, &bytes, fd.map(AsFd::as_fd)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::yield_now(),
                other => return other.map(drop),
            }
        }
    }

    fn hear(&self) -> io::Result<Option<FromFirewall>> {
        let mut bytes = vec![0; MAX_MESSAGE];
        match seqpacket::recv(self.channel.as_fd(), &mut bytes) {
            Ok(received) => FromFirewall::decode(bytes.get(..received.len).unwrap_or_default())
                .map(Some)
                .map_err(Error::other),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Until the worker has said this.
    fn until(&self, mut wanted: impl FnMut(&FromFirewall) -> bool) -> io::Result<()> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            match self.hear()? {
                Some(said) if wanted(&said) => return Ok(()),
                Some(FromFirewall::Refused { errno, .. }) => {
                    return Err(Error::from_raw_os_error(i32::from(errno)));
                }
                Some(_) => {}
                None => std::thread::sleep(Duration::from_micros(50)),
            }
        }
        Err(Error::other("the worker does not say it"))
    }

    /// Bans one more; when the kernel has it.
    fn ban(&mut self) -> io::Result<Duration> {
        self.changes += 1;
        let (wanted, begun) = (self.changes, Instant::now());
        let network = another(u32::try_from(wanted).map_err(Error::other)?);
        self.tell(&ToFirewall::Bans { bans: vec![(network, Some(3_600_000))], more: false }, None)?;
        self.until(|said| matches!(said, FromFirewall::Standing { changes, .. } if *changes >= wanted))?;
        Ok(begun.elapsed())
    }
}

fn repair(count: u32) -> io::Result<()> {
    let (channel, theirs) = seqpacket::pair()?;
    std::thread::spawn(move || run_firewall_openly(theirs));
    let mut worker = Worker { channel, changes: 0 };
    let asking = netlink::asking()?;
    worker.tell(&ToFirewall::Asking, Some(&asking))?;
    worker.tell(&ToFirewall::Looking, Some(&netlink::asking()?))?;
    worker.tell(&ToFirewall::Listening, Some(&netlink::listening_but_to(&asking)?))?;
    let all: Vec<_> = (0..count).map(|n| (network(n), Some(3_600_000))).collect();
    for bans in all.chunks(MAX_BANS) {
        worker.tell(&ToFirewall::Bans { bans: bans.to_vec(), more: true }, None)?;
    }
    worker.tell(&ToFirewall::Bans { bans: Vec::new(), more: false }, None)?;
    worker.tell(&ToFirewall::Stand, None)?;
    worker.until(|said| matches!(said, FromFirewall::Standing { enforced, .. } if *enforced == count))?;
    let mut said = Vec::new();
    for (name, script) in [
        ("one", "delete element inet portreeve v4_32 { 100.0.0.0 }".to_owned()),
        ("set", "flush set inet portreeve v4_32".to_owned()),
        ("chain", "flush chain inet portreeve v4; delete set inet portreeve v4_32".to_owned()),
        ("table", "delete table inet portreeve".to_owned()),
        ("ruleset", "flush ruleset".to_owned()),
        ("half", every_other(count)),
        ("stranger", "add element inet portreeve v4_32 { 192.0.2.1 }".to_owned()),
    ] {
        // What the last one has brought to an end is quiet now.
        std::thread::sleep(Duration::from_millis(500));
        while worker.hear()?.is_some() {}
        let (mut nft, begun) = disturb(&script)?;
        let mut whole = None;
        // A ban's own word counts all as enforced, so what is mended is what is said without one.
        while whole.is_none() && begun.elapsed() < PATIENCE {
            if let Some(FromFirewall::Standing { wanted, enforced, strange, rebuilt, .. }) = worker.hear()?
                && (enforced < wanted || strange > 0 || rebuilt)
            {
                whole = Some(begun.elapsed());
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        if !nft.wait()?.success() {
            return Err(Error::other(script.chars().take(80).collect::<String>()));
        }
        said.push(format!("\"{name}\": {:.1}", whole.map_or(-1.0, ms)));
        // The same again, with bans that come meanwhile.
        std::thread::sleep(Duration::from_millis(500));
        let (mut nft, begun) = disturb(&script)?;
        let mut longest = Duration::ZERO;
        while begun.elapsed() < Duration::from_millis(800) {
            longest = longest.max(worker.ban()?);
            std::thread::sleep(BETWEEN);
        }
        nft.wait()?;
        said.push(format!("\"{name}_ban\": {:.3}", ms(longest)));
    }
    writeln!(io::stdout(), "{{{}}}", said.join(", "))
}

/// Has nft(8) do this; that, and when the kernel had done it: nft takes its time to end.
fn disturb(script: &str) -> io::Result<(Child, Instant)> {
    let changes = netlink::listening()?;
    let mut nft = Command::new("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn()?;
    nft.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?.write_all(script.as_bytes())?;
    let mut fds = [PollFd::new(&changes, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 60, tv_nsec: 0 }))?;
    Ok((nft, Instant::now()))
}

fn every_other(count: u32) -> String {
    let some: Vec<String> = (0..count).step_by(2).map(|n| network(n).address().to_string()).collect();
    format!("delete element inet portreeve v4_32 {{ {} }}", some.join(", "))
}

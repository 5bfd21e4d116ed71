//! Runs every target on changed seeds for a while: `smoke [SECONDS [NUMBER [TARGET]]]`, where NUMBER starts the same sequence
//! again and TARGET runs alone. Blind where libFuzzer is guided, but it needs no download and ends by itself. An input that makes a target
//! panic is written to `artifacts/` and named, and the run fails.
#![forbid(unsafe_code)]

use portreeve_fuzz::targets::{ALL, Target};
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

const LONGEST: usize = 4096;

/// xorshift64*: enough to choose where to bite.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        usize::try_from(high).unwrap_or(0) % sides.max(1)
    }
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let seconds = words.next().and_then(|w| w.parse().ok()).unwrap_or(20);
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let number = words.next().and_then(|w| w.parse().ok()).unwrap_or(clock.as_micros() as u64 | 1);
    let only = words.next();
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "fuzz smoke: {seconds} s for each target, number {number}");
    std::panic::set_hook(Box::new(|_| {})); // told below, with the input
    let mut crashed = false;
    for target in ALL.iter().filter(|(name, _)| only.as_deref().is_none_or(|only| only == *name)) {
        let outcome = run(target, Duration::from_secs(seconds), &mut Dice(number | 1));
        crashed |= outcome.crash.is_some();
        let _ = match outcome.crash {
            None => {
                writeln!(out, "{}: {} inputs from {} seeds, no crash", target.0, outcome.runs, outcome.seeds)
            }
            Some((path, said)) => {
                writeln!(
                    out,
                    "{}: CRASH after {} inputs: {said}\n  input: {}",
                    target.0,
                    outcome.runs,
                    path.display()
                )
            }
        };
    }
    if crashed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

struct Ran {
    runs: u64,
    seeds: usize,
    crash: Option<(PathBuf, String)>,
}

fn run(&(name, target): &Target, time: Duration, dice: &mut Dice) -> Ran {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let seeds = seeds(&root.join("seeds").join(name));
    let tokens = tokens();
    let mut pool = seeds.clone();
    let until = Instant::now() + time;
    let mut runs = 0;
    while Instant::now() < until {
        let input = changed(&pool, &tokens, dice);
        runs += 1;
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(&input))) {
            let said = panic.downcast_ref::<String>().cloned();
            let said =
                said.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default();
            let path = root.join("artifacts").join(format!("{name}-{runs}"));
            let _ = std::fs::create_dir_all(root.join("artifacts"));
            let _ = std::fs::write(&path, &input);
            return Ran { runs, seeds: seeds.len(), crash: Some((path, said.escape_debug().to_string())) };
        }
        // Some inputs become seeds, so that changes add up.
        if dice.roll(16) == 0 {
            if pool.len() < 256 {
                pool.push(input);
            } else {
                let at = seeds.len() + dice.roll(pool.len() - seeds.len());
                pool[at] = input;
            }
        }
    }
    Ran { runs, seeds: seeds.len(), crash: None }
}

fn seeds(folder: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let mut seeds: Vec<Vec<u8>> = paths.iter().filter_map(|path| std::fs::read(path).ok()).collect();
    seeds.push(Vec::new());
    seeds
}

/// What the language is made of, so that a change often still means something.
fn tokens() -> Vec<Vec<u8>> {
    let fixed = [
        "service s1\n{\n",
        "}\n",
        "defaults\n{\n",
        "include /etc/d/a\n",
        "includedir /etc/d\n",
        " = ",
        " += ",
        " -= ",
        "#",
        "\n",
        "\r\n",
        "\t",
        "\0",
        "\u{feff}",
        "yes",
        "no",
        "0",
        "-1",
        "65536",
        "UNLIMITED",
        "INTERNAL",
        "UNLISTED",
        "SENSOR",
        "NAMEINARGS",
        "127.0.0.{1,3}",
        "10.0.0.0/8",
        "::/0",
        "::1/128",
        "0.0.0.0",
        ".example.org",
        "1:00-2:00",
        "stream",
        "dgram",
        "tcp",
        "udp",
        "root",
        "/bin/sh",
        "FILE /l 1k 2k",
        "SYSLOG daemon info",
        "HOST PID",
        "{",
        "99999999999999999999",
    ];
    let mut tokens: Vec<Vec<u8>> = fixed.iter().map(|t| t.as_bytes().to_vec()).collect();
    tokens.extend(portreeve_conf::attributes().iter().map(|a| a.name.as_bytes().to_vec()));
    tokens.push(vec![0xff]);
    tokens
}

fn changed(pool: &[Vec<u8>], tokens: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut input = pool[dice.roll(pool.len())].clone();
    for _ in 0..=dice.roll(6) {
        let at = dice.roll(input.len() + 1);
        match dice.roll(7) {
            0 => {
                let token = &tokens[dice.roll(tokens.len())];
                input.splice(at..at, token.iter().copied());
            }
            1 => input.insert(at, u8::try_from(dice.roll(256)).unwrap_or(0)),
            2 if at < input.len() => input[at] ^= 1 << dice.roll(8),
            3 => {
                let end = (at + dice.roll(32)).min(input.len());
                input.drain(at..end);
            }
            4 => {
                // A line again, elsewhere.
                let lines: Vec<&[u8]> = input.split_inclusive(|&b| b == b'\n').collect();
                let line = if lines.is_empty() { Vec::new() } else { lines[dice.roll(lines.len())].to_vec() };
                input.splice(at..at, line);
            }
            5 => {
                let other = &pool[dice.roll(pool.len())];
                let from = dice.roll(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => input.truncate(at.max(1)),
        }
    }
    input.truncate(LONGEST);
    input
}

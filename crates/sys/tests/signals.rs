//! Signals and reaping belong to the whole process: this test has a process of its own and no harness, whose main
//! thread would take the signals.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]
#![allow(clippy::print_stdout, reason = "a test with its own main reports by what it prints")]

use portreeve_sys::reap::{Signal, Status, kill, kill_group, reap_next, reap_one};
use portreeve_sys::signals;
use portreeve_sys::spawn::{ImageBuilder, Spawner, Stdio};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::ffi::CString;
use std::os::fd::AsFd;

fn readable(fd: impl AsFd) -> bool {
    let limit = Timespec { tv_sec: 20, tv_nsec: 0 };
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&limit)).unwrap() == 1
}

fn main() {
    let fd = signals::take_over(&[Signal::CHILD, Signal::USR1]).unwrap();
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|l| l.starts_with(name)).unwrap();
        u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
    };
    assert_eq!(field("SigIgn"), 0);
    // All but KILL and STOP; libc keeps its own two out (32 and 33).
    assert_eq!(field("SigBlk") & 0x7fff_ffff, 0x7fff_ffff & !(1 << 8) & !(1 << 18));
    assert_eq!(fd.read(), None);
    assert_eq!(reap_next(), None, "no child yet");

    let null = std::fs::File::options().read(true).write(true).open("/dev/null").unwrap();
    let mut spawner = Spawner::new().unwrap();
    let mut start = |script: &str| {
        let image = ImageBuilder {
            path: c"/bin/sh".into(),
            argv: vec![c"sh".into(), c"-c".into(), CString::new(script).unwrap()],
            new_session: true,
            ..Default::default()
        };
        spawner.spawn(&image.build(), &[], Stdio::Client(null.as_fd())).unwrap()
    };

    // A sender other than the kernel is named.
    let me = std::process::id().cast_signed();
    let teller = start(&format!("kill -USR1 {me}; exit 7"));
    let mut told = None;
    let mut ended = None;
    while told.is_none() || ended.is_none() {
        assert!(readable(&fd), "no signal");
        while let Some((signo, pid, uid)) = fd.read() {
            if signo == Signal::USR1.as_raw() {
                told = Some((pid, uid));
            }
        }
        ended = ended.or_else(reap_next);
    }
    assert_eq!(told, Some((teller.as_raw_nonzero().get(), rustix::process::getuid().as_raw())));
    let ended = ended.unwrap();
    assert_eq!((ended.pid, ended.status), (teller, Status::Exited(7)));
    assert!(ended.max_rss_kib > 0);

    // More kinds than one read brings, each once, and then the end.
    let own = rustix::process::getpid();
    let all = [
        Signal::HUP,
        Signal::INT,
        Signal::QUIT,
        Signal::USR1,
        Signal::USR2,
        Signal::ALARM,
        Signal::TERM,
        Signal::CONT,
        Signal::WINCH,
        Signal::URG,
    ];
    let many = signals::take_over(&all).unwrap();
    for signal in all {
        kill(own, signal).unwrap();
    }
    let mut seen: Vec<i32> = std::iter::from_fn(|| many.read()).map(|(signo, ..)| signo).collect();
    seen.sort_unstable();
    let mut expected: Vec<i32> = all.iter().map(|s| s.as_raw()).collect();
    expected.sort_unstable();
    assert_eq!(seen, expected);
    kill(own, Signal::HUP).unwrap();
    assert!(readable(&many));
    assert_eq!(many.read().map(|s| s.0), Some(Signal::HUP.as_raw()));
    assert_eq!((many.read(), many.read()), (None, None));

    // Many at once, one signal: every one is found.
    let mut many: Vec<_> = (0..20).map(|_| start("exit 0")).collect();
    let asleep = start("exec sleep 60");
    let group = start("sleep 60 & wait");
    kill(asleep, Signal::TERM).unwrap();
    kill_group(group, Signal::KILL).unwrap();
    many.extend([asleep, group]);
    while !many.is_empty() {
        assert!(readable(&fd), "no signal, {} left", many.len());
        while fd.read().is_some() {}
        while let Some(reaped) = reap_next() {
            many.retain(|&p| p != reaped.pid);
            let expected = match reaped.pid {
                p if p == asleep => Status::Signaled(Signal::TERM.as_raw()),
                p if p == group => Status::Signaled(Signal::KILL.as_raw()),
                _ => Status::Exited(0),
            };
            assert_eq!(reaped.status, expected);
        }
    }
    assert_eq!(reap_next(), None);

    // Taken alone, before its turn: who has ended is named, and what else has come stays.
    while fd.read().is_some() {}
    assert_eq!(signals::take_child(), None);
    let ended = start("exit 3");
    kill(own, Signal::USR1).unwrap();
    let pending = || signals::pending(&[Signal::CHILD, Signal::USR1]);
    let limit = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while pending().len() < 2 && std::time::Instant::now() < limit {
        std::thread::yield_now();
    }
    assert_eq!(signals::take_child(), Some(ended.as_raw_nonzero().get()));
    assert_eq!((signals::take_child(), pending()), (None, vec![Signal::USR1]));
    assert_eq!(reap_one(ended).map(|reaped| reaped.status), Some(Status::Exited(3)));
    assert_eq!(fd.read().map(|signal| signal.0), Some(Signal::USR1.as_raw()));
    assert!(kill(teller, Signal::TERM).is_err(), "a reaped process is gone");
    // As libtest says it: scripts/test adds these lines up.
    println!("test result: ok. 1 passed; 0 failed; 0 ignored");
}

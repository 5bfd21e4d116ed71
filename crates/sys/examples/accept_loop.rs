//! The least super-server over this crate: accepts, starts, reaps; no policy, no log. What it costs beside the
//! harness's `lim-contract` is what `sys` itself costs; what the daemon costs beside it is policy and log.
//!
//!     accept_loop PORT PROGRAM [LISTENERS]

use portreeve_sys::reap::{Signal, reap_next};
use portreeve_sys::signals;
use portreeve_sys::socket::{ListenOptions, listen_stream};
use portreeve_sys::spawn::{Ids, ImageBuilder, RlimitKind, Spawner, Stdio};
use portreeve_sys::{clock, highfd};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use std::ffi::CString;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments.next().ok_or("PORT")?.parse()?;
    let program = CString::new(arguments.next().ok_or("PROGRAM")?)?;
    let listeners: u16 = arguments.next().unwrap_or_else(|| "1".into()).parse()?;

    let wanted = signals::take_over(&[Signal::CHILD, Signal::TERM])?;
    let poll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &wanted, EventData::new_u64(u64::MAX), EventFlags::IN)?;
    let mut sockets: Vec<OwnedFd> = Vec::new();
    for number in 0..listeners {
        let address = SocketAddr::from(([0, 0, 0, 0], port + number));
        let fd = highfd::park(listen_stream(address, 0, ListenOptions::default())?, 2000)?;
        epoll::add(&poll, &fd, EventData::new_u64(sockets.len() as u64), EventFlags::IN)?;
        sockets.push(fd);
    }
    let image = ImageBuilder {
        argv: vec![program.clone()],
        path: program,
        env: std::env::vars().filter_map(|(k, v)| CString::new(format!("{k}={v}")).ok()).collect(),
        ids: Some(Ids { uid: 65534, gid: 65534, groups: vec![] }),
        umask: Some(0o22),
        rlimits: vec![(RlimitKind::Nofile, 20000, 20000)],
        new_session: true,
        ..ImageBuilder::default()
    }
    .build();
    let mut spawner = Spawner::new()?;
    let mut events = Vec::with_capacity(64);
    loop {
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None)?;
        for Event { data, .. } in events.drain(..) {
            if data.u64() == u64::MAX {
                while let Some((signo, ..)) = wanted.read() {
                    if signo == Signal::TERM.as_raw() {
                        return Ok(());
                    }
                }
                while reap_next().is_some() {}
                continue;
            }
            let Some(listener) = sockets.get(usize::try_from(data.u64())?) else { continue };
            for _ in 0..64 {
                let flags = rustix::net::SocketFlags::CLOEXEC;
                let Ok((client, _)) = rustix::net::acceptfrom_with(listener, flags) else { break };
                let _now = clock::monotonic_coarse();
                let _ = spawner.spawn(&image, &[c"REMOTE_HOST=127.0.0.1"], Stdio::Client(client.as_fd()));
            }
        }
    }
}

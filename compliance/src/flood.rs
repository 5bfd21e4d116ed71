//! A flood: threads that connect from one source after the other, as fast as they can, until they are told to stop. They
//! count what they did and what they met; what that should be is the test's affair.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// What a flooder does with a connection that it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Resets it.
    Reset,
    /// Closes it.
    Close,
    /// Keeps it open; each thread so many at once.
    Hold(usize),
}

/// How the flood fared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fared {
    /// Connections that came about.
    pub connected: usize,
    /// Attempts that met a closed port.
    pub refused: usize,
    /// Attempts without an answer in twenty milliseconds.
    pub unanswered: usize,
}

/// A flood that runs.
pub struct Flood {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Fared>>,
}

impl Flood {
    /// Floods the port from `sources`, over and over.
    pub fn start(sources: &[IpAddr], port: u16, then: Then) -> Flood {
        Flood::with(sources, port, then, usize::MAX)
    }

    /// One round of all sources.
    pub fn once(sources: &[IpAddr], port: u16, then: Then) -> Fared {
        let flood = Flood::with(sources, port, then, 1);
        flood.threads.into_iter().map(|thread| thread.join().expect("a flooder")).fold(Fared::default(), add)
    }

    fn with(sources: &[IpAddr], port: u16, then: Then, rounds: usize) -> Flood {
        const THREADS: usize = 4;
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..THREADS.min(sources.len()).max(1))
            .map(|number| {
                let mine: Vec<IpAddr> = sources.iter().copied().skip(number).step_by(THREADS).collect();
                let stop = Arc::clone(&stop);
                std::thread::spawn(move || flood(&mine, port, then, rounds, &stop))
            })
            .collect();
        Flood { stop, threads }
    }

    /// Ends it.
    pub fn end(self) -> Fared {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().expect("a flooder")).fold(Fared::default(), add)
    }
}

fn add(one: Fared, other: Fared) -> Fared {
    Fared {
        connected: one.connected + other.connected,
        refused: one.refused + other.refused,
        unanswered: one.unanswered + other.unanswered,
    }
}

fn flood(sources: &[IpAddr], port: u16, then: Then, rounds: usize, stop: &AtomicBool) -> Fared {
    let mut fared = Fared::default();
    let mut held = VecDeque::new();
    for _ in 0..rounds {
        for source in sources {
            if stop.load(Ordering::Relaxed) {
                return fared;
            }
            match attempt(*source, port) {
                Ok(socket) => {
                    fared.connected += 1;
                    match then {
                        Then::Reset => {
                            let _ = sockopt::set_socket_linger(&socket, Some(Duration::ZERO));
                        }
                        Then::Close => {}
                        Then::Hold(most) => {
                            held.push_back(socket);
                            if held.len() > most {
                                held.pop_front();
                            }
                        }
                    }
                }
                Err(Errno::CONNREFUSED) => fared.refused += 1,
                Err(_) => fared.unanswered += 1,
            }
        }
    }
    fared
}

fn attempt(from: IpAddr, port: u16) -> Result<OwnedFd, Errno> {
    let (family, to) = match from {
        IpAddr::V4(_) => (AddressFamily::INET, IpAddr::from([127, 0, 0, 1])),
        IpAddr::V6(_) => (AddressFamily::INET6, IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1_u16])),
    };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    bind(&socket, &SocketAddr::new(from, 0))?;
    match connect(&socket, &SocketAddr::new(to, port)) {
        Ok(()) => {}
        Err(Errno::INPROGRESS) => {
            let patience = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            if poll(&mut [PollFd::new(&socket, PollFlags::OUT)], Some(&patience))? == 0 {
                return Err(Errno::TIMEDOUT);
            }
            sockopt::socket_error(&socket)??;
        }
        Err(error) => return Err(error),
    }
    Ok(socket)
}

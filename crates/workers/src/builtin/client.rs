//! One client of a stream service: what it is owed and how far that has come. Reads and writes its socket without ever
//! waiting; knows no epoll and no clock.

use super::shell::{Reports, Shell};
use super::texts::{self, PERIOD};
use crate::protocol::{BuiltinKind, Outcome};
use portreeve_sys::datagrams::Batch;
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use std::os::fd::OwnedFd;

/// Bytes taken from a client at once; what it does not take back yet is kept, and nothing more is read meanwhile.
pub(super) const READ: usize = 16 * 1024;

/// Reads and writes of one client before the others get their turn.
const ROUNDS: usize = 16;

/// What all clients share: the worker has one thread, so one buffer is enough.
pub(super) struct Desk {
    pub(super) scratch: Box<[u8]>,
    /// Made with the first datagram.
    pub(super) datagrams: Option<Batch>,
    pub(super) chargen: Box<[u8]>,
}

/// What comes next for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Wake it when this is possible.
    Wait(EventFlags),
    /// It is over.
    End(Outcome),
}

#[derive(Debug)]
enum Task {
    /// Bytes that were read and not yet written, and whether the client has said that no more come.
    Echo {
        kept: Vec<u8>,
        sent: usize,
        eof: bool,
    },
    Discard,
    /// Place in the pattern, and whether the client has said that no more come.
    Chargen {
        at: usize,
        eof: bool,
    },
    /// A text, then the end.
    Say {
        text: Vec<u8>,
        sent: usize,
    },
    /// Lines that are answered.
    Shell(Shell),
    /// A character at a time, by the clock. Whether it is waited for.
    Tarpit(bool),
}

/// A client.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) fd: OwnedFd,
    task: Task,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

/// A socket that takes or gives nothing now is no error.
enum Moved {
    Bytes(usize),
    Later,
    Gone,
}

impl Client {
    /// A client of `kind`; `text` is what daytime and time say, `reports` what the others tell of this host.
    pub(super) fn new(fd: OwnedFd, kind: BuiltinKind, text: Vec<u8>, reports: Reports) -> Self {
        let task = match kind {
            BuiltinKind::Echo => Task::Echo { kept: Vec::new(), sent: 0, eof: false },
            BuiltinKind::Discard | BuiltinKind::Trap => Task::Discard,
            BuiltinKind::Tarpit => Task::Tarpit(false),
            BuiltinKind::Chargen => Task::Chargen { at: 0, eof: false },
            BuiltinKind::Daytime | BuiltinKind::Time => Task::Say { text, sent: 0 },
            BuiltinKind::Servers => Task::Say { text: reports.servers, sent: 0 },
            BuiltinKind::Services => Task::Say { text: reports.services, sent: 0 },
            BuiltinKind::Xadmin => Task::Shell(Shell::new(reports)),
        };
        Client { fd, task, bytes_in: 0, bytes_out: 0 }
    }

    /// The bytes that count as progress. What a client of chargen sends does not: it would keep a client for ever that
    /// never reads.
    pub(super) fn progress(&self) -> u64 {
        match self.task {
            Task::Chargen { .. } => self.bytes_out,
            _ => self.bytes_in.wrapping_add(self.bytes_out),
        }
    }

    /// Does what can be done now.
    pub(super) fn step(&mut self, desk: &mut Desk) -> Next {
        match &self.task {
            Task::Echo { .. } => self.echo(desk),
            Task::Discard => self.discard(desk),
            Task::Chargen { .. } => self.chargen(desk),
            Task::Say { .. } => self.say(desk),
            Task::Shell(_) => self.shell(desk),
            // Nothing but its end is waited for.
            Task::Tarpit(true) => Next::End(Outcome::Complete),
            Task::Tarpit(false) => {
                self.task = Task::Tarpit(true);
                Next::Wait(EventFlags::RDHUP)
            }
        }
    }

    /// The next character of a tarpit. Whether the client is still there.
    pub(super) fn drip(&mut self) -> bool {
        match write(&self.fd, &[texts::drop_at(self.bytes_out)]) {
            Moved::Bytes(n) => self.bytes_out += n as u64,
            Moved::Later => {}
            Moved::Gone => return false,
        }
        true
    }

    fn echo(&mut self, desk: &mut Desk) -> Next {
        for _ in 0..ROUNDS {
            let Task::Echo { kept, sent, eof } = &mut self.task else { return Next::End(Outcome::Broken) };
            if let Some(rest) = kept.get(*sent..).filter(|rest| !rest.is_empty()) {
                match write(&self.fd, rest) {
                    Moved::Bytes(n) => {
                        *sent += n;
                        self.bytes_out += n as u64;
                        if *sent >= kept.len() {
                            // Given back, not kept for later: thousands of idle clients cost nothing.
                            (*kept, *sent) = (Vec::new(), 0);
                        }
                    }
                    Moved::Later => return Next::Wait(EventFlags::OUT),
                    Moved::Gone => return Next::End(Outcome::Broken),
                }
                continue;
            }
            if *eof {
                return Next::End(Outcome::Complete);
            }
            let n = match read(&self.fd, &mut desk.scratch) {
                Moved::Bytes(0) => {
                    *eof = true;
                    continue;
                }
                Moved::Bytes(n) => n,
                Moved::Later => return Next::Wait(EventFlags::IN),
                Moved::Gone => return Next::End(Outcome::Broken),
            };
            self.bytes_in += n as u64;
            let got = desk.scratch.get(..n).unwrap_or_default();
            let written = match write(&self.fd, got) {
                Moved::Bytes(n) => n,
                Moved::Later => 0,
                Moved::Gone => return Next::End(Outcome::Broken),
            };
            self.bytes_out += written as u64;
            if let Some(rest) = got.get(written..).filter(|rest| !rest.is_empty()) {
                *kept = rest.to_vec();
                return Next::Wait(EventFlags::OUT);
            }
            if n < desk.scratch.len() {
                // It had no more: the next read would say so at the price of a system call.
                return Next::Wait(EventFlags::IN);
            }
        }
        let owes = matches!(&self.task, Task::Echo { kept, .. } if !kept.is_empty());
        Next::Wait(if owes { EventFlags::OUT } else { EventFlags::IN })
    }

    fn discard(&mut self, desk: &mut Desk) -> Next {
        for _ in 0..ROUNDS {
            match read(&self.fd, &mut desk.scratch) {
                Moved::Bytes(0) => return Next::End(Outcome::Complete),
                Moved::Bytes(n) => {
                    self.bytes_in += n as u64;
                    if n < desk.scratch.len() {
                        break;
                    }
                }
                Moved::Later => break,
                Moved::Gone => return Next::End(Outcome::Broken),
            }
        }
        Next::Wait(EventFlags::IN)
    }

    fn chargen(&mut self, desk: &mut Desk) -> Next {
        let Task::Chargen { at, eof } = &mut self.task else { return Next::End(Outcome::Broken) };
        if !*eof {
            // What it says is thrown away (RFC 864), but not left in the kernel.
            match read(&self.fd, &mut desk.scratch) {
                Moved::Bytes(0) => *eof = true,
                Moved::Bytes(n) => self.bytes_in += n as u64,
                Moved::Later => {}
                Moved::Gone => return Next::End(Outcome::Complete),
            }
        }
        for _ in 0..ROUNDS {
            match write(&self.fd, desk.chargen.get(*at..).unwrap_or_default()) {
                Moved::Bytes(n) => {
                    *at = (*at + n) % PERIOD;
                    self.bytes_out += n as u64;
                }
                Moved::Later => break,
                // Going away is how a client of chargen says that it has enough.
                Moved::Gone => return Next::End(Outcome::Complete),
            }
        }
        Next::Wait(if *eof { EventFlags::OUT } else { EventFlags::OUT | EventFlags::IN })
    }

    fn shell(&mut self, desk: &mut Desk) -> Next {
        for _ in 0..ROUNDS {
            let Task::Shell(shell) = &mut self.task else { return Next::End(Outcome::Broken) };
            let rest = shell.owes();
            if !rest.is_empty() {
                match write(&self.fd, rest) {
                    Moved::Bytes(n) => {
                        shell.sent(n);
                        self.bytes_out += n as u64;
                    }
                    Moved::Later => return Next::Wait(EventFlags::OUT),
                    Moved::Gone => return Next::End(Outcome::Broken),
                }
                continue;
            }
            if shell.is_over() {
                return Next::End(Outcome::Complete);
            }
            // What came together with the last line, and only then more.
            if shell.go_on() {
                continue;
            }
            let room = desk.scratch.len().min(super::shell::LINE);
            match read(&self.fd, desk.scratch.get_mut(..room).unwrap_or_default()) {
                Moved::Bytes(0) => return Next::End(Outcome::Complete),
                Moved::Bytes(n) => {
                    self.bytes_in += n as u64;
                    shell.hear(desk.scratch.get(..n).unwrap_or_default());
                }
                Moved::Later => return Next::Wait(EventFlags::IN),
                Moved::Gone => return Next::End(Outcome::Broken),
            }
        }
        let owes = matches!(&self.task, Task::Shell(shell) if !shell.owes().is_empty());
        Next::Wait(if owes { EventFlags::OUT } else { EventFlags::IN })
    }

    fn say(&mut self, desk: &mut Desk) -> Next {
        let Task::Say { text, sent } = &mut self.task else { return Next::End(Outcome::Broken) };
        while let Some(rest) = text.get(*sent..).filter(|rest| !rest.is_empty()) {
            match write(&self.fd, rest) {
                Moved::Bytes(n) => {
                    *sent += n;
                    self.bytes_out += n as u64;
                }
                Moved::Later => return Next::Wait(EventFlags::OUT),
                Moved::Gone => return Next::End(Outcome::Broken),
            }
        }
        // What the client may have sent is read first: closing over it would answer with a reset.
        if let Moved::Bytes(n) = read(&self.fd, &mut desk.scratch) {
            self.bytes_in += n as u64;
        }
        Next::End(Outcome::Complete)
    }

    /// Ends the connection whoever else may still hold the descriptor.
    pub(super) fn hang_up(self) {
        let _ = rustix::net::shutdown(&self.fd, Shutdown::Both);
    }
}

fn read(fd: &OwnedFd, buffer: &mut [u8]) -> Moved {
    loop {
        return match rustix::net::recv(fd, &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((n, _)) => Moved::Bytes(n),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => Moved::Later,
            Err(_) => Moved::Gone,
        };
    }
}

fn write(fd: &OwnedFd, bytes: &[u8]) -> Moved {
    loop {
        return match rustix::net::send(fd, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(n) => Moved::Bytes(n),
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN | Errno::NOBUFS) => Moved::Later,
            Err(_) => Moved::Gone,
        };
    }
}

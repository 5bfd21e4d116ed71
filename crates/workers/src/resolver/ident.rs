//! Asks ident servers (RFC 1413). A server that is slow belongs to a client, so no thread waits for it: one thread polls all
//! connections, each with its own deadline, and there are only so many.

use super::pool::say;
use crate::protocol::{FromResolver, IdentAnswer, IdentFailure, MAX_IDENT};
use hosts_access::ident::{LONGEST, PORT, Question, Reply};
use portreeve_sys::clock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Most servers that are asked at once.
pub(super) const ASKED: usize = 384;
/// The longest that one may take.
const LONGEST_WAIT: u16 = 60;

/// A question that waits for the thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    pub(super) ticket: u64,
    pub(super) ours: SocketAddr,
    pub(super) theirs: SocketAddr,
    pub(super) seconds: u16,
}

/// The thread that asks ident servers; started at the first question.
#[derive(Default)]
pub(super) struct Idents {
    line: Option<Line>,
}

/// The way to the thread.
struct Line {
    inbox: Arc<Mutex<Inbox>>,
    /// Written to when there is something in the inbox.
    bell: OwnedFd,
}

#[derive(Default)]
struct Inbox {
    jobs: Vec<Job>,
    /// Those in the inbox and those under way.
    open: usize,
}

fn lock(inbox: &Mutex<Inbox>) -> MutexGuard<'_, Inbox> {
    inbox.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Idents {
    /// Takes a question in. False when there is no room.
    pub(super) fn ask(&mut self, channel: &Arc<OwnedFd>, job: Job) -> bool {
        if self.line.is_none() {
            self.line = start(channel).ok();
        }
        let Some(line) = &self.line else { return false };
        let mut inbox = lock(&line.inbox);
        if inbox.open >= ASKED {
            return false;
        }
        inbox.open += 1;
        inbox.jobs.push(job);
        drop(inbox);
        // A pipe that is full rings already.
        let _ = rustix::io::write(&line.bell, b".");
        true
    }
}

fn start(channel: &Arc<OwnedFd>) -> std::io::Result<Line> {
    use rustix::pipe::PipeFlags;
    let (heard, bell) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
    let inbox = Arc::<Mutex<Inbox>>::default();
    let (theirs, channel) = (inbox.clone(), channel.clone());
    std::thread::Builder::new().name("ident".to_owned()).stack_size(256 * 1024).spawn(move || {
        serve(&heard, &theirs, &channel);
    })?;
    Ok(Line { inbox, bell })
}

/// One server that is being asked.
struct Asked {
    job: Job,
    socket: OwnedFd,
    sent: bool,
    received: Vec<u8>,
    until: Duration,
}

fn serve(heard: &OwnedFd, inbox: &Mutex<Inbox>, channel: &OwnedFd) {
    let mut open: Vec<Asked> = Vec::new();
    loop {
        let now = clock::monotonic();
        let first = open.iter().map(|asked| asked.until).min();
        let wait = first.map(|until| {
            let left = until.saturating_sub(now);
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(60),
                tv_nsec: i64::from(left.subsec_nanos()),
            }
        });
        let mut watched = vec![PollFd::new(heard, PollFlags::IN)];
        watched.extend(open.iter().map(|asked| {
            PollFd::new(&asked.socket, if asked.sent { PollFlags::IN } else { PollFlags::OUT })
        }));
        match poll(&mut watched, wait.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return,
        }
        let ready: Vec<bool> = watched.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(watched);
        if ready.first() == Some(&true) {
            let mut away = [0u8; 64];
            let _ = rustix::io::read(heard, &mut away);
        }
        let now = clock::monotonic();
        let mut ready = ready.into_iter().skip(1);
        let mut answers = Vec::new();
        open.retain_mut(|asked| {
            let answer = match ready.next() {
                Some(true) => asked.go_on(),
                _ if now >= asked.until => Some(IdentAnswer::Failed(IdentFailure::Timeout)),
                _ => None,
            };
            match answer {
                Some(answer) => {
                    answers.push((asked.job.ticket, answer));
                    false
                }
                None => true,
            }
        });
        for job in std::mem::take(&mut lock(inbox).jobs) {
            match Asked::begin(job, now) {
                Ok(asked) => open.push(asked),
                Err(why) => answers.push((job.ticket, IdentAnswer::Failed(why))),
            }
        }
        let mut waiting = lock(inbox);
        waiting.open = open.len() + waiting.jobs.len();
        drop(waiting);
        for (ticket, answer) in answers {
            if say(channel, &FromResolver::User { ticket, answer }).is_err() {
                return; // the supervisor has gone
            }
        }
    }
}

impl Asked {
    /// From the address that the client came to, so that its server finds the connection (reference tcp-wrappers A11).
    fn begin(job: Job, now: Duration) -> Result<Self, IdentFailure> {
        let system = |_: Errno| IdentFailure::System;
        let family = if job.theirs.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None).map_err(system)?;
        let (mut from, mut to) = (job.ours, job.theirs);
        from.set_port(0);
        to.set_port(PORT);
        rustix::net::bind(&socket, &from).map_err(system)?;
        match rustix::net::connect(&socket, &to) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(errno) => return Err(failure(errno)),
        }
        let until = now + Duration::from_secs(u64::from(job.seconds.clamp(1, LONGEST_WAIT)));
        Ok(Self { job, socket, sent: false, received: Vec::new(), until })
    }

    /// Its socket is ready. The answer, once there is one.
    fn go_on(&mut self) -> Option<IdentAnswer> {
        let question = Question { theirs: self.job.theirs.port(), ours: self.job.ours.port() };
        if !self.sent {
            if let Ok(Err(errno)) = rustix::net::sockopt::socket_error(&self.socket) {
                return Some(IdentAnswer::Failed(failure(errno)));
            }
            // So short a line goes into the empty buffer of a new connection whole.
            return match rustix::net::send(
                &self.socket,
                question.line().as_bytes(),
                rustix::net::SendFlags::NOSIGNAL,
            ) {
                Ok(_) => {
                    self.sent = true;
                    None
                }
                Err(Errno::AGAIN | Errno::INTR) => None,
                Err(errno) => Some(IdentAnswer::Failed(failure(errno))),
            };
        }
        let mut chunk = [0u8; LONGEST];
        match rustix::net::recv(&self.socket, &mut chunk[..], rustix::net::RecvFlags::empty()) {
            // A line without an end is none.
            Ok((_, 0)) => Some(IdentAnswer::Failed(IdentFailure::Receiving)),
            Ok((_, count)) => {
                self.received.extend_from_slice(chunk.get(..count).unwrap_or_default());
                let whole = self.received.len() >= LONGEST || self.received.contains(&b'\n');
                whole.then(|| line(question, &self.received))
            }
            Err(Errno::AGAIN | Errno::INTR) => None,
            Err(_) => Some(IdentAnswer::Failed(IdentFailure::Receiving)),
        }
    }
}

fn failure(errno: Errno) -> IdentFailure {
    match errno {
        Errno::CONNREFUSED => IdentFailure::NoServer,
        Errno::TIMEDOUT => IdentFailure::Timeout,
        Errno::CONNRESET | Errno::PIPE => IdentFailure::Receiving,
        _ => IdentFailure::System,
    }
}

/// What a server wrote, as both originals read it.
fn line(question: Question, received: &[u8]) -> IdentAnswer {
    let user = match question.reply(received) {
        Reply::User(user) => {
            Some(user.as_bytes().to_vec()).filter(|user| !user.iter().any(u8::is_ascii_control))
        }
        Reply::Incomplete | Reply::Unknown => None,
    };
    let line = received.split(|&byte| byte == b'\n').next().unwrap_or_default().trim_ascii();
    let logged = logged(question, line);
    let clean = |text: &[u8]| {
        let clean = text.iter().map(|byte| if byte.is_ascii_control() { b'_' } else { *byte });
        clean.take(MAX_IDENT).collect()
    };
    IdentAnswer::Line { user, good: logged.is_some(), text: clean(logged.unwrap_or(line)) }
}

/// What xinetd logs of a reply: all after the second colon (reference xinetd §10.3).
fn logged(question: Question, line: &[u8]) -> Option<&[u8]> {
    let mut fields = line.splitn(3, |&byte| byte == b':');
    let ports = std::str::from_utf8(fields.next()?).ok()?;
    let (theirs, ours) = ports.split_once(',')?;
    let same = |text: &str, port: u16| text.trim().parse() == Ok(port);
    let kind = fields.next()?.trim_ascii();
    let text = fields.next()?.trim_ascii();
    let good = same(theirs, question.theirs) && same(ours, question.ours) && kind == b"USERID";
    (good && !text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &[u8]) -> (Option<String>, bool, String) {
        let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match line(Question { theirs: 40000, ours: 79 }, text) {
            IdentAnswer::Line { user, good, text } => (user.map(|user| words(&user)), good, words(&text)),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_line_has_a_user_for_the_tables_and_a_text_for_the_log() {
        let joe = (Some("joe".to_owned()), true, "UNIX : joe".to_owned());
        assert_eq!(said(b"40000 , 79 : USERID : UNIX : joe\r\n"), joe);
        for bad in [
            "40000 , 79 : ERROR : NO-USER",
            "79 , 40000 : USERID : UNIX : joe",
            "nonsense",
            "40000 , 79 : USERID :",
        ] {
            assert_eq!(said(format!("{bad}\r\n").as_bytes()), (None, false, bad.to_owned()));
        }
        let odd = (None, true, "UNIX : a_[2Jb".to_owned());
        assert_eq!(said(b"40000,79:USERID:UNIX : a\x1b[2Jb\r\n"), odd);
    }
}

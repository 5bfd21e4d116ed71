//! A netlink socket to nf_tables: sends a batch and hears whether it took effect, asks for what is there, and listens for
//! changes by others. Never waits: the kernel answers within the call.

use super::attribute::{ACK, Attributes, DUMP, Message, Messages, REQUEST, messages};
use super::table::{INET, kind};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{RecvFlags, SendFlags};
use std::io;

/// A message of an error, or an acknowledgement.
const ERROR: u16 = 2;
/// The end of a dump.
const DONE: u16 = 3;
/// Changes that are read at once.
const HEARD: usize = 256;

/// A socket to nf_tables.
#[derive(Debug)]
pub(super) struct Netlink {
    fd: OwnedFd,
    sequence: u32,
    /// The number of this socket, as the kernel's answers have it.
    port: Option<u32>,
    /// The question whose answer comes in portions, and has not ended.
    telling: Option<u32>,
    buffer: Box<[u8]>,
}

/// What came of a change elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Heard {
    /// Something in our own table changed, by another socket than ours.
    pub(super) ours: bool,
    /// Among that an element that was put into one of our sets.
    pub(super) added: bool,
    /// More changed than could be kept for us.
    pub(super) lost: bool,
}

impl Netlink {
    /// Over a socket that is bound.
    pub(super) fn over(fd: OwnedFd) -> Self {
        // Not from 1: over a socket that another process had before, answers to its last question may wait.
        let sequence = portreeve_sys::clock::monotonic().subsec_nanos();
        Netlink { fd, sequence, port: None, telling: None, buffer: vec![0; 64 * 1024].into() }
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Has a batch take effect as a whole. `fill` writes what stands between its begin and its end.
    ///
    /// # Errors
    /// Nothing took effect; the first reason that the kernel gave.
    pub(super) fn transact(&mut self, fill: impl FnOnce(&mut Messages)) -> io::Result<()> {
        let mut batch = Messages::starting_at(self.sequence);
        batch.batch_begin();
        fill(&mut batch);
        // Acknowledged once the whole batch stands.
        let last = batch.acknowledge();
        batch.batch_end();
        self.sequence = batch.next_sequence();
        self.send(batch.bytes())?;
        let (mut failure, mut acknowledged) = (None, false);
        self.receive(|message| {
            if message.kind == ERROR {
                let errno = message.error().unwrap_or(-libc::EPROTO);
                acknowledged |= errno == 0 && message.sequence == last;
                if errno != 0 && failure.is_none() {
                    failure = Some(io::Error::from_raw_os_error(-errno));
                }
            }
            Ok(())
        })?;
        match failure {
            Some(failure) => Err(failure),
            None if !acknowledged => Err(io::Error::other("the kernel has not acknowledged a change")),
            None => Ok(()),
        }
    }

    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let to = SocketAddrNetlink::new(0, 0);
        let sent = rustix::net::sendto(&self.fd, bytes, SendFlags::DONTWAIT, &to)?;
        if sent == bytes.len() { Ok(()) } else { Err(io::Error::other("the kernel took half a message")) }
    }

    /// Everything that the kernel has said by now.
    fn receive(&mut self, mut each: impl FnMut(Message<'_>) -> io::Result<()>) -> io::Result<()> {
        loop {
            let count = match rustix::net::recv(&self.fd, &mut self.buffer[..], RecvFlags::DONTWAIT) {
                Ok((_, count)) => count,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            for message in messages(self.buffer.get(..count).unwrap_or_default()) {
                each(message)?;
            }
        }
    }

    /// Asks for one thing or for all of a kind. What `fill` writes narrows the question.
    ///
    /// # Errors
    /// The kernel's refusal; `NotFound` for what is not there, `Interrupted` when it changed while it was told.
    pub(super) fn ask(
        &mut self,
        kind: u16,
        all: bool,
        fill: impl FnOnce(&mut Messages),
        each: impl FnMut(Message<'_>),
    ) -> io::Result<()> {
        let family = if kind == kind::GET_GENERATION { 0 } else { INET };
        self.ask_of(family, kind, all, fill, each)
    }

    /// Everything of a kind, of whichever family, with its family.
    ///
    /// # Errors
    /// As [`Netlink::ask`].
    pub(super) fn list(&mut self, kind: u16, mut each: impl FnMut(u8, Attributes<'_>)) -> io::Result<()> {
        self.ask_of(0, kind, true, |_| {}, |message| each(message.family(), message.attributes()))
    }

    fn ask_of(
        &mut self,
        family: u8,
        kind: u16,
        all: bool,
        fill: impl FnOnce(&mut Messages),
        mut each: impl FnMut(Message<'_>),
    ) -> io::Result<()> {
        let mut question = Messages::starting_at(self.sequence);
        question.begin(kind, REQUEST | if all { DUMP } else { ACK }, family, 0);
        fill(&mut question);
        let asked = self.sequence;
        self.sequence = question.next_sequence();
        self.send(question.bytes())?;
        let (mut ended, mut port) = (false, None);
        self.receive(|message| {
            if message.sequence != asked {
                return Ok(());
            }
            port = Some(message.port);
            match message.kind {
                ERROR => {
                    ended = true;
                    match message.error().unwrap_or(-libc::EPROTO) {
                        0 => Ok(()),
                        errno => Err(io::Error::from_raw_os_error(-errno)),
                    }
                }
                DONE => {
                    ended = true;
                    match message.error().unwrap_or(0) {
                        0 => Ok(()),
                        errno => Err(io::Error::from_raw_os_error(-errno)),
                    }
                }
                _ => {
                    each(message);
                    Ok(())
                }
            }
        })?;
        self.port = port.or(self.port);
        if ended { Ok(()) } else { Err(io::Error::other("the kernel's answer has no end")) }
    }

    /// Asks for all of a kind, which [`Netlink::portion`] then reads: the kernel makes each portion when the one before it is read, so
    /// nobody waits for all of it.
    ///
    /// # Errors
    /// The socket's.
    pub(super) fn ask_for_portions(&mut self, kind: u16, fill: impl FnOnce(&mut Messages)) -> io::Result<()> {
        // A socket has one answer at a time: what is left of one that nobody wants any more goes first.
        while self.telling.is_some() && !matches!(self.portion(|_| {}), Ok(false)) {}
        self.telling = None;
        let mut question = Messages::starting_at(self.sequence);
        question.begin(kind, REQUEST | DUMP, INET, 0);
        fill(&mut question);
        let asked = self.sequence;
        self.sequence = question.next_sequence();
        self.send(question.bytes())?;
        self.telling = Some(asked);
        Ok(())
    }

    /// Reads the next portion; false when the answer has ended. What has changed since it began may be missing in it, or be there twice.
    ///
    /// # Errors
    /// The kernel's refusal; `NotFound` for what is not there. Then it has ended, too.
    pub(super) fn portion(&mut self, mut each: impl FnMut(Message<'_>)) -> io::Result<bool> {
        let Some(asked) = self.telling else { return Ok(false) };
        let count = match rustix::net::recv(&self.fd, &mut self.buffer[..], RecvFlags::DONTWAIT) {
            Ok((_, count)) => count,
            Err(Errno::INTR) => return Ok(true),
            Err(error) => {
                self.telling = None;
                return Err(error.into());
            }
        };
        let mut ended = None;
        for message in messages(self.buffer.get(..count).unwrap_or_default()) {
            match message.kind {
                _ if message.sequence != asked => {}
                ERROR => ended = Some(message.error().unwrap_or(-libc::EPROTO)),
                DONE => ended = Some(message.error().unwrap_or(0)),
                _ => each(message),
            }
        }
        let Some(errno) = ended else { return Ok(true) };
        self.telling = None;
        if errno == 0 { Ok(false) } else { Err(io::Error::from_raw_os_error(-errno)) }
    }

    /// The number of the tables' generation: whoever changes anything makes it one more.
    ///
    /// # Errors
    /// As [`Netlink::ask`].
    pub(super) fn generation(&mut self) -> io::Result<u32> {
        let mut generation = None;
        self.ask(
            kind::GET_GENERATION,
            false,
            |_| {},
            |message| {
                generation = generation.or_else(|| message.attributes().u32(1));
            },
        )?;
        generation.ok_or_else(|| io::Error::other("the kernel names no generation"))
    }

    /// The number of this socket, once it has been answered.
    pub(super) fn port(&self) -> Option<u32> {
        self.port
    }

    /// What has changed, as told to a listening socket, by others than the socket `own`: some of it, where there is much, so that nobody
    /// waits for all of a storm to be read.
    ///
    /// # Errors
    /// The socket is of no use any more.
    pub(super) fn heard(&mut self, own: Option<u32>) -> io::Result<Heard> {
        let mut heard = Heard::default();
        for _ in 0..HEARD {
            let count = match rustix::net::recv(&self.fd, &mut self.buffer[..], RecvFlags::DONTWAIT) {
                Ok((_, count)) => count,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => break,
                Err(Errno::NOBUFS) => {
                    heard.lost = true;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            for message in messages(self.buffer.get(..count).unwrap_or_default()) {
                let table = message.family() == INET
                    && message.kind != kind::GENERATION
                    && message.attributes().str(1) == Some(super::table::TABLE);
                let ours = table && Some(message.port) != own;
                heard.ours |= ours;
                heard.added |= ours && message.kind == kind::NEW_ELEMENTS;
            }
        }
        Ok(heard)
    }
}

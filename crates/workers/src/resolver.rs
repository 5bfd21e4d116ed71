//! The worker that asks the name services: every call that can wait for a network or run a plug-in is made here, so that
//! neither the supervisor nor a client of another name waits for it.
//!
//! Ident servers are asked here too, by a thread of their own that waits for none of them.
//!
//! The C library's calls block and cannot be told to stop, so a small fixed pool of threads makes them; the queue before it
//! is bounded, and what does not fit is answered `Unavailable` at once. Deadlines are the supervisor's.

mod ident;
mod lifetime;
mod lookup;
mod pool;
mod queue;

use crate::protocol::{FromResolver, MAX_MESSAGE, ToResolver};
use pool::{Pool, say};
use portreeve_sys::seqpacket;
use rustix::event::{PollFd, PollFlags, poll};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;
use std::sync::Arc;

/// Answers questions until the supervisor closes `channel`. `Ready` was sent by the caller.
pub fn run_resolver(channel: OwnedFd) -> ExitCode {
    match run(channel, Arc::new(lookup::NameService)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if crate::entry::supervisor_has_gone(&error) => ExitCode::SUCCESS,
        Err(error) => {
            crate::entry::complain(&format!("worker resolver: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(channel: OwnedFd, names: Arc<dyn lookup::Lookup>) -> io::Result<()> {
    let channel = Arc::new(channel);
    let pool = Pool::start(&channel, &names);
    let mut idents = ident::Idents::default();
    let mut buffer = vec![0; MAX_MESSAGE];
    loop {
        match seqpacket::recv(channel.as_fd(), &mut buffer) {
            Ok(received) if received.len == 0 => return Ok(()),
            Ok(received) => {
                let bytes = buffer.get(..received.len).unwrap_or_default();
                let question = ToResolver::decode(bytes).map_err(io::Error::other)?;
                let answer = match question {
                    ToResolver::Ident { ticket, ours, theirs, seconds } => {
                        let job = ident::Job { ticket, ours, theirs, seconds };
                        (!idents.ask(&channel, job)).then(|| unavailable(&question))
                    }
                    ToResolver::Ping { ticket } => Some(FromResolver::Pong { ticket }),
                    question => pool.ask(question),
                };
                if let Some(answer) = answer {
                    say(&channel, &answer)?;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let mut wait = [PollFd::new(&channel, PollFlags::IN)];
                match poll(&mut wait, None) {
                    Ok(_) | Err(rustix::io::Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Err(error) => return Err(error),
        }
    }
}

/// The answer to a question that is not put to anybody.
fn unavailable(question: &ToResolver) -> FromResolver {
    use crate::protocol::{Answer, HostName, IdentAnswer, NamesAnswer};
    match question {
        ToResolver::Reverse { ticket, .. } => {
            FromResolver::Names { ticket: *ticket, names: NamesAnswer::Unavailable }
        }
        ToResolver::Lookup { ticket, .. } => {
            FromResolver::Answer { ticket: *ticket, answer: Answer::Unavailable }
        }
        ToResolver::Host { ticket, .. } => {
            FromResolver::Host { ticket: *ticket, host: HostName::Unavailable }
        }
        ToResolver::Ping { ticket } => FromResolver::Pong { ticket: *ticket },
        ToResolver::Ident { ticket, .. } => {
            FromResolver::User { ticket: *ticket, answer: IdentAnswer::Unavailable }
        }
    }
}

#[cfg(test)]
mod tests;

//! What the built-ins servers, services and xadmin tell of this host, in xinetd's form. Written when a client comes, into a file for the
//! builtin worker, which sends it; the client's bytes are read there and nowhere else.

use crate::slot::{Slot, State};
use crate::supervisor::Supervisor;
use portreeve_conf::{Action, Builtin, Target};
use portreeve_workers::protocol::MAX_REPORT;
use rustix::fd::OwnedFd;
use rustix::fs::MemfdFlags;
use std::fmt::Write as _;
use std::io::{Result, Seek, Write as _};

/// Room for the line that says how much is not told.
const LAST_LINE: usize = 64;

/// A text that does not grow beyond what the worker takes.
#[derive(Default)]
struct Bounded {
    text: String,
    left_out: usize,
}

impl Bounded {
    fn add(&mut self, part: &str) {
        if self.left_out > 0 || self.text.len() + part.len() > MAX_REPORT - LAST_LINE {
            self.left_out += 1;
        } else {
            // A configuration may hold control bytes; a terminal shows this.
            self.text
                .extend(part.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '?' } else { c }));
        }
    }

    fn end(mut self) -> String {
        if self.left_out > 0 {
            let _ = writeln!(self.text, "... and {} more", self.left_out);
        }
        self.text
    }
}

impl Supervisor {
    /// The texts for a client of such a built-in and their lengths: what runs (but for that client, which is session `own`), and what
    /// is served.
    ///
    /// # Errors
    /// No descriptor or no memory is left.
    pub fn tell_of_us(&self, kind: Builtin, own: u64) -> Result<(OwnedFd, u32, u32)> {
        let servers = if kind == Builtin::Services { String::new() } else { self.servers(own) };
        let services = match kind {
            Builtin::Servers => String::new(),
            Builtin::Services => self.each_service(|o, slot| {
                let (name, protocol) = (&slot.service.name, &slot.service.listen.protocol.0);
                let _ = writeln!(o, "{name} {protocol} {}", port(slot));
            }),
            _ => self.each_service(available),
        };
        let file = rustix::fs::memfd_create("report", MemfdFlags::CLOEXEC)?;
        let mut file = std::fs::File::from(file);
        file.write_all(servers.as_bytes())?;
        file.write_all(services.as_bytes())?;
        file.rewind()?;
        let length = |text: &str| u32::try_from(text.len()).unwrap_or(0);
        Ok((file.into(), length(&servers), length(&services)))
    }

    fn servers(&self, own: u64) -> String {
        let children = &self.children;
        let programs =
            children.programs.iter().map(|(pid, c)| (*pid, c.slot, c.peer.as_ref(), c.started_wall));
        // What has no process of its own has number 0 here, as in the log.
        let sessions = children.sessions.iter().filter(|(ticket, _)| **ticket != own);
        let others =
            sessions.chain(&children.carried).map(|(_, s)| (0, s.slot, s.peer.as_ref(), s.started_wall));
        let mut out = Bounded::default();
        for (pid, slot, peer, started) in programs.chain(others) {
            let mut part = String::new();
            self.dump_server(&mut part, pid, slot, peer, started);
            part.push('\n');
            out.add(&part);
        }
        out.end()
    }

    fn each_service(&self, line: impl Fn(&mut String, &Slot)) -> String {
        let mut out = Bounded::default();
        for slot in self.slots.values().filter(|slot| slot.status != State::Removed) {
            let mut part = String::new();
            line(&mut part, slot);
            out.add(&part);
        }
        out.end()
    }
}

fn port(slot: &Slot) -> u16 {
    slot.port().unwrap_or(slot.service.listen.port)
}

/// A line of xadmin's `show avail`.
fn available(o: &mut String, slot: &Slot) {
    let service = &slot.service;
    let uid = service.ids.user.as_ref().map_or(0, |user| user.uid);
    let bind = service.listen.bind_text().unwrap_or_default();
    let _ = write!(o, "{:<10} {:<6} {bind:<16} {uid:<6}", service.name, port(slot));
    if let Action::Redirect(targets) = &service.action
        && let Some(target) = targets.first()
    {
        let _ = match target {
            Target::Host { host, .. } => write!(o, " {host:<16} {:<6}", target.port().unwrap_or_default()),
            Target::Path(path) => write!(o, " {path}"),
        };
    }
    o.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_an_end_that_says_so() {
        let mut out = Bounded::default();
        out.add("a\x1bb\tc\n");
        let line = "x".repeat(1023) + "\n";
        (0..200).for_each(|_| out.add(&line));
        let text = out.end();
        assert!(text.len() <= MAX_REPORT && text.starts_with("a?b\tc\n"));
        let told = text.lines().filter(|l| l.starts_with('x')).count();
        assert!(text.ends_with(&format!("\n... and {} more\n", 200 - told)), "{told}");
    }
}

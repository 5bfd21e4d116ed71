//! `xadmin`: lines of a client and what they are answered with. It reads and tells, and changes nothing (reference: xinetd until 2003). Knows no
//! socket.

use crate::protocol::MAX_REPORT;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;

/// The longest line that is understood, as in xinetd; what is longer is answered as unknown, and read to its end.
pub(super) const LINE: usize = 100;

const PROMPT: &[u8] = b"> ";
const HELP: &[u8] = b"xinetd admin help:\n\
show run  :   shows information about running services\n\
show avail:   shows what services are currently available\n\
bye, exit :   exits the admin shell\n";
const SHOW_HELP: &[u8] = b"Relevant commands:\n\
run   : Show currently running servers\n\
avail : Show currently available servers\n";
const RUN: &[u8] = b"Running services:\nservice  run retry attempts descriptor\n";
const AVAILABLE: &[u8] =
    b"Available services:\nservice    port   bound address    uid redir addr redir port\n";
const BYE: &[u8] = b"bye bye\n";

/// What is told of this host: as it was when the client came.
#[derive(Debug, Default)]
pub(super) struct Reports {
    pub(super) servers: Vec<u8>,
    pub(super) services: Vec<u8>,
}

impl Reports {
    /// The texts of a file; empty ones where it does not hold them.
    pub(super) fn read(file: OwnedFd, servers: u32, services: u32) -> Self {
        let mut file = File::from(file);
        let mut take = |length: u32| {
            let mut text = vec![0; (length as usize).min(MAX_REPORT)];
            if file.read_exact(&mut text).is_ok() { text } else { Vec::new() }
        };
        Self { servers: take(servers), services: take(services) }
    }
}

/// A client's session.
#[derive(Debug)]
pub(super) struct Shell {
    reports: Reports,
    /// Of a line that has not ended, at most [`LINE`] bytes; then what came behind it, at most as many.
    heard: Vec<u8>,
    /// The line that is being read is too long.
    too_long: bool,
    answer: Vec<u8>,
    sent: usize,
    over: bool,
}

impl Shell {
    pub(super) fn new(reports: Reports) -> Self {
        Self { reports, heard: Vec::new(), too_long: false, answer: PROMPT.to_vec(), sent: 0, over: false }
    }

    /// What is still to be sent.
    pub(super) fn owes(&self) -> &[u8] {
        self.answer.get(self.sent..).unwrap_or_default()
    }

    /// So many bytes of it were.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent += bytes;
        if self.sent >= self.answer.len() {
            (self.answer, self.sent) = (Vec::new(), 0);
        }
    }

    /// Whether the session ends once everything is sent.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Takes bytes of the client, at most [`LINE`] at once.
    pub(super) fn hear(&mut self, bytes: &[u8]) {
        self.heard.extend_from_slice(bytes);
        self.go_on();
    }

    /// Answers the next line, if it is there.
    pub(super) fn go_on(&mut self) -> bool {
        let Some(end) = self.heard.iter().position(|&byte| byte == b'\n') else {
            if self.heard.len() > LINE {
                self.heard.clear();
                self.too_long = true;
            }
            return false;
        };
        let rest = self.heard.split_off(end + 1);
        let line = std::mem::replace(&mut self.heard, rest);
        let line = if std::mem::take(&mut self.too_long) { &[][..] } else { line.trim_ascii() };
        self.obey(line);
        true
    }

    fn obey(&mut self, line: &[u8]) {
        if [&b"bye"[..], b"exit", b"quit"].iter().any(|word| line.starts_with(word)) {
            self.answer.extend_from_slice(BYE);
            self.over = true;
            return;
        }
        if line.starts_with(b"help") {
            self.answer.extend_from_slice(HELP);
        } else if let Some(what) = line.strip_prefix(b"show").map(<[u8]>::trim_ascii_start) {
            let parts = match what {
                [] => [&b""[..], b""],
                what if what.starts_with(b"run") => [RUN, &self.reports.servers],
                what if what.starts_with(b"avail") => [AVAILABLE, &self.reports.services],
                _ => [SHOW_HELP, b""],
            };
            parts.iter().for_each(|part| self.answer.extend_from_slice(part));
        }
        self.answer.extend_from_slice(PROMPT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is sent in the end, however the input is cut.
    fn told(input: &[u8], piece: usize) -> (String, bool) {
        let reports = Reports { servers: b"a server\n".to_vec(), services: b"a 7\n".to_vec() };
        let mut shell = Shell::new(reports);
        let mut out = Vec::new();
        let mut drain = |shell: &mut Shell| {
            while !shell.owes().is_empty() {
                out.push(shell.owes()[0]);
                shell.sent(1);
            }
        };
        for bytes in input.chunks(piece) {
            drain(&mut shell);
            if shell.is_over() {
                break;
            }
            shell.hear(bytes);
            drain(&mut shell);
            while !shell.is_over() && shell.go_on() {
                drain(&mut shell);
            }
            assert!(shell.heard.len() <= 2 * LINE);
        }
        drain(&mut shell);
        (String::from_utf8(out).unwrap(), shell.is_over())
    }

    #[test]
    fn lines_are_answered_however_they_come() {
        let all = "> xinetd admin help:\nshow run  :   shows information about running services\n\
show avail:   shows what services are currently available\nbye, exit :   exits the admin shell\n\
> Running services:\nservice  run retry attempts descriptor\na server\n\
> Available services:\nservice    port   bound address    uid redir addr redir port\na 7\n\
> Relevant commands:\nrun   : Show currently running servers\navail : Show currently available servers\n\
> > > bye bye\n";
        let input = b"help\r\nshow run\n show avail \nshow x\nnonsense\nshow\nbye\nhelp\n";
        for piece in [1, 7, LINE] {
            assert_eq!(told(input, piece), (all.to_owned(), true), "{piece}");
        }
        assert_eq!(told(b"exit", 1), ("> ".to_owned(), false), "a line has an end");
    }

    #[test]
    fn a_line_that_is_too_long_is_read_to_its_end_and_not_kept() {
        let mut input = vec![b'h'; 10 * LINE + 1];
        input.extend_from_slice(b"help\nquit\n");
        for piece in [1, 63, LINE] {
            assert_eq!(told(&input, piece), ("> > bye bye\n".to_owned(), true));
        }
    }
}

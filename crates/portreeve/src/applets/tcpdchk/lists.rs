//! The words of a rule's lists, checked one after the other: what looks like a mistake is said, what names a host is looked
//! up (reference A14). Knows nothing of globs and port patterns, as the original.

use crate::applets::hosts::{self, is_paranoid, is_unknown, is_v6};
use crate::applets::inetd::{Programs, Wrapped};
use crate::applets::notice::Notice;
use hosts_access::pattern::{HostPattern, NoNet};
use hosts_access::split::{at_host, at_unbracketed};
use portreeve_sys::names::netgroup_has_members;
use portreeve_sys::source::{Source, reason};
use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The longest part of a line of a `/file` list that is read at once, in bytes.
const PART: usize = 8191;

/// The longest `/file` list that is read, in bytes.
const LONGEST_FILE: usize = 64 << 20;

/// Files that name each other are followed this far.
const DEEPEST: usize = 16;

/// Whether the rest of a list is still read. Where a `/file` had a line, it is not: the original reads files and lists with
/// one and the same tokenizer, which the file has used up.
type Flow = ControlFlow<()>;

/// What the checks of the lists know.
pub(super) struct Lists {
    programs: Programs,
    /// The files that are being read, the outermost first.
    open: Vec<Vec<u8>>,
}

/// The words of a list. Unlike the evaluation it does not take CR for a separator.
pub(super) fn words(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b',')).filter(|word| !word.is_empty())
}

/// `TITLE  a b c`.
pub(super) fn print(title: &[u8], list: &[u8], notice: &mut Notice<'_>) {
    let joined = words(list).collect::<Vec<_>>().join(&b' ');
    notice.line(&[title, &joined]);
}

impl Lists {
    /// With what is known of the programs.
    pub(super) fn new(programs: Programs) -> Self {
        Self { programs, open: Vec::new() }
    }

    /// Checks a daemon list.
    pub(super) fn daemons(&mut self, list: &[u8], notice: &mut Notice<'_>) {
        self.list(list, b"daemon", notice, |this, word, notice| {
            let Some((daemon, host)) = at_host(word) else {
                this.daemon(word, notice);
                return Flow::Continue(());
            };
            let (addresses, flow) = this.host(host, notice);
            if addresses > 1 {
                notice.warn(&[b"host ", host, b" has more than one address"]);
                notice.warn(&[b"(consider using an address instead)"]);
            }
            this.daemon(daemon, notice);
            flow
        });
    }

    /// Checks a client list.
    pub(super) fn clients(&mut self, list: &[u8], notice: &mut Notice<'_>) {
        self.list(list, b"client", notice, |this, word, notice| {
            let host = match at_host(word) {
                Some((user, host)) => {
                    check_user(user, notice);
                    host
                }
                None => word,
            };
            this.host(host, notice).1
        });
    }

    fn list(
        &mut self,
        list: &[u8],
        kind: &[u8],
        notice: &mut Notice<'_>,
        mut check: impl FnMut(&mut Self, &[u8], &mut Notice<'_>) -> Flow,
    ) {
        let mut any = false;
        for word in words(list) {
            any = !word.eq_ignore_ascii_case(b"EXCEPT");
            if any && check(self, word, notice).is_break() {
                break;
            }
        }
        if !any {
            notice.warn(&[kind, b" list is empty or ends in EXCEPT"]);
        }
    }

    fn daemon(&mut self, name: &[u8], notice: &mut Notice<'_>) {
        if shape(name, b"daemon", notice)
            || name.eq_ignore_ascii_case(b"ALL")
            || is_unknown(name)
            || is_obsolete(name, notice)
        {
            return;
        }
        if is_reserved(name) {
            notice.warn(&[name, b": daemon name may be reserved word"]);
            return;
        }
        match self.programs.get(name) {
            Wrapped::Unknown => {
                notice.warn(&[name, b": no such process name in ", self.programs.file_name()]);
            }
            Wrapped::No => notice.warn(&[name, b": service possibly not wrapped"]),
            Wrapped::Yes | Wrapped::Perhaps => return,
        }
        // Once is enough.
        self.programs.set(name, Wrapped::Yes);
    }

    /// Checks a host pattern; how many addresses it stands for, one if it is not looked up.
    fn host(&mut self, word: &[u8], notice: &mut Notice<'_>) -> (usize, Flow) {
        let one = (1, Flow::Continue(()));
        match word {
            [b'@', group @ ..] => {
                if !netgroup_has_members(group).unwrap_or(false) {
                    notice.warn(&[group, b": unknown or empty netgroup"]);
                }
            }
            [b'/', ..] => return (1, self.file(word, notice)),
            _ if at_unbracketed(word, b'/').is_some() => check_net(word, notice),
            _ if is_obsolete(word, notice) => {}
            _ if word.eq_ignore_ascii_case(b"ALL") || is_unknown(word) || is_reserved(word) => {}
            [b'[', inner @ .., b']'] if is_v6(inner) => {}
            [rest @ .., last] if word.iter().any(|byte| !is_number(*byte)) => {
                if *last == b'.' {
                    notice.warn(&[word, b": domain or host name ends in dot"]);
                } else if !rest.starts_with(b".") {
                    return (hosts::check(word, notice), Flow::Continue(()));
                }
            }
            b"0.0.0.0" | b"255.255.255.255" => {}
            [b'.', ..] => notice.warn(&[word, b": network number begins with dot"]),
            [.., b'.'] => {}
            _ => return (hosts::check(word, notice), Flow::Continue(())),
        }
        one
    }

    /// Checks the words of a `/file` list.
    fn file(&mut self, path: &[u8], notice: &mut Notice<'_>) -> Flow {
        let refuse = |notice: &mut Notice<'_>, why: &str| {
            notice.warn(&[b"open ", path, b": ", why.as_bytes()]);
            Flow::Continue(())
        };
        if self.open.iter().any(|open| open == path) {
            return refuse(notice, "it includes itself");
        }
        if self.open.len() == DEEPEST {
            return refuse(notice, "lists that include lists are too deep");
        }
        let text = match Source::open(Path::new(OsStr::from_bytes(path))) {
            Ok(Source::Missing | Source::Directory(_)) => return Flow::Continue(()),
            Ok(Source::Readable(file)) => file.read(LONGEST_FILE),
            Err(error) => Err(error),
        };
        let text = match text {
            Ok(text) => text,
            Err(error) => return refuse(notice, &reason(&error)),
        };
        let outer = notice.context.take();
        self.open.push(path.to_vec());
        let mut flow = Flow::Continue(());
        let parts = text.split_inclusive(|byte| *byte == b'\n').flat_map(|line| line.chunks(PART));
        for (number, part) in (1..).zip(parts) {
            notice.context = Some((path.to_vec(), number));
            flow = Flow::Break(());
            // The original holds it as a C string.
            let part = part.split(|byte| *byte == 0).next().unwrap_or_default();
            let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
            for word in part.split(blank).filter(|word| !word.is_empty()) {
                if self.host(word, notice).1.is_break() {
                    break;
                }
            }
        }
        self.open.pop();
        notice.context = outer;
        flow
    }
}

/// What can stand in a number with dots.
fn is_number(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'.' | b'/')
}

/// What the first and the last byte of a name give away, said; whether there was anything to say.
fn shape(name: &[u8], kind: &[u8], notice: &mut Notice<'_>) -> bool {
    let what: &[u8] = match name {
        [b'@', ..] => b" name begins with \"@\"",
        [b'/', ..] => b" name begins with \"/\"",
        [b'.', ..] => b" name begins with dot",
        [.., b'.'] => b" name ends in dot",
        _ => return false,
    };
    notice.warn(&[name, b": ", kind, what]);
    true
}

fn check_user(name: &[u8], notice: &mut Notice<'_>) {
    let known = name.eq_ignore_ascii_case(b"ALL") || name.eq_ignore_ascii_case(b"KNOWN") || is_unknown(name);
    if !shape(name, b"user", notice) && !known && !is_obsolete(name, notice) && is_reserved(name) {
        notice.warn(&[name, b": user name may be reserved word"]);
    }
}

/// A word of the language before 1992.
fn is_obsolete(word: &[u8], notice: &mut Notice<'_>) -> bool {
    let obsolete = word.eq_ignore_ascii_case(b"FAIL");
    if obsolete {
        notice.warn(&[b"FAIL is no longer recognized"]);
        notice.warn(&[b"(use EXCEPT or DENY instead)"]);
    }
    obsolete
}

/// A word that has a meaning of its own, but for ALL and UNKNOWN.
fn is_reserved(word: &[u8]) -> bool {
    word.eq_ignore_ascii_case(b"KNOWN") || word.eq_ignore_ascii_case(b"LOCAL") || is_paranoid(word)
}

/// A net that can never match because one of its sides is none. That it may have bits outside its mask is not noticed.
fn check_net(word: &[u8], notice: &mut Notice<'_>) {
    let bad = match HostPattern::new(word) {
        HostPattern::NoNet(NoNet::HostBits { .. }) => false,
        HostPattern::NoNet(_) => true,
        // A scope is only valid where this host has it.
        HostPattern::Net6 { .. } => {
            let net = at_unbracketed(word, b'/').map_or(word, |(net, _)| net);
            !matches!(net, [b'[', inner @ .., b']'] if is_v6(inner))
        }
        _ => false,
    };
    if bad {
        notice.warn(&[word, b": bad net/mask pattern"]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the check of one client list says.
    fn clients(list: &str) -> String {
        let mut sink = Vec::new();
        let mut notice = Notice::new(&mut sink, false);
        Lists::new(Programs::default()).clients(list.as_bytes(), &mut notice);
        notice.end().unwrap();
        String::from_utf8(sink).unwrap().replace("warning: ", "")
    }

    #[test]
    fn patterns_that_need_no_name_service() {
        for (list, wanted) in [
            ("ALL LOCAL KNOWN UNKNOWN PARANOID .dom 10. 0.0.0.0 255.255.255.255", ""),
            ("10.0.0.0/8 10.0.0.1/8 10.0.0.0/8x 010.0.0.0/255.0.0.0 0.0.0.0/0.0.0.0", ""),
            ("[::1] [::]/0 [::]/x [::ffff:10.0.0.1]", ""),
            ("10/8", "10/8: bad net/mask pattern\n"),
            ("10.0.0.0/0", "10.0.0.0/0: bad net/mask pattern\n"),
            ("10.0.0.0/255.255.255.255", "10.0.0.0/255.255.255.255: bad net/mask pattern\n"),
            ("[::]/129", "[::]/129: bad net/mask pattern\n"),
            ("[10.0.0.0]/8", "[10.0.0.0]/8: bad net/mask pattern\n"),
            ("[::1%no-such-interface]/8", "[::1%no-such-interface]/8: bad net/mask pattern\n"),
            (".1", ".1: network number begins with dot\n"),
            ("com.", "com.: domain or host name ends in dot\n"),
            ("fail", "FAIL is no longer recognized\n(use EXCEPT or DENY instead)\n"),
            ("@no-such-group", "no-such-group: unknown or empty netgroup\n"),
            ("@joe@ALL", "@joe: user name begins with \"@\"\n"),
            ("joe.@ALL", "joe.: user name ends in dot\n"),
            ("LOCAL@ALL", "LOCAL: user name may be reserved word\n"),
            ("", "client list is empty or ends in EXCEPT\n"),
            ("ALL except", "client list is empty or ends in EXCEPT\n"),
            ("EXCEPT,ALL", ""),
        ] {
            assert_eq!(clients(list), wanted, "{list}");
        }
    }

    #[test]
    fn behind_a_file_with_lines_nothing_is_checked() {
        let path = std::env::temp_dir().join(format!("portreeve-lists-{}", std::process::id()));
        let list = format!("{} com. EXCEPT", path.display());
        std::fs::write(&path, "").unwrap();
        assert!(clients(&list).starts_with("com.: "));
        std::fs::write(&path, "\n").unwrap();
        assert_eq!(clients(&list), "");
        std::fs::write(&path, "ALL x.\nlocal y.\n").unwrap();
        let shown = path.display();
        let wanted = format!(
            "{shown}, line 1: x.: domain or host name ends in dot\n{shown}, line 2: y.: domain or host name ends in dot\n"
        );
        assert_eq!(clients(&list), wanted);
        std::fs::remove_file(&path).unwrap();
    }
}

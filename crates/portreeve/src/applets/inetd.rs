//! What inetd.conf says about the programs it starts: which go through tcpd, which do not, and what is wrong with its
//! lines. For tcpdmatch and tcpdchk (reference A13, A14). Starts nothing and resolves no name.

use super::inspect::{executable, look};
use super::notice::Notice;
use crate::settings;
use hosts_access::lines::Lines;
use portreeve_sys::source::{Source, reason};
use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Where the file is looked for when no option names one.
const GUESSES: &[&[u8]] = &[b"/etc/inetd.conf"];

/// The longest logical line that is read in one piece, in bytes, without its newline.
const LONGEST_LINE: usize = 8190;

/// The longest file that is read, in bytes; of a longer one nothing is known.
const LONGEST: usize = 64 << 20;

/// Whether a service goes through tcpd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrapped {
    /// It does, or evaluates the tables itself.
    Yes,
    /// It does not.
    No,
    /// It may be a wrapped program under its old name.
    Perhaps,
    /// Nobody has heard of it.
    Unknown,
}

/// Where tcpd looks for a daemon that inetd.conf names without a path. Settings that cannot be read are pointed out.
pub(super) fn real_daemon_dir(notice: &mut Notice<'_>) -> Vec<u8> {
    let directory = settings::real_daemon_dir(Path::new(settings::PATH)).unwrap_or_else(|why| {
        notice.warn(&[why.as_bytes()]);
        settings::REAL_DAEMON_DIR.into()
    });
    directory.into_os_string().into_vec()
}

/// The process names that are known, the latest word on each counting.
#[derive(Debug, Default)]
pub(super) struct Programs {
    /// The file that was read.
    pub file: Option<Vec<u8>>,
    /// Where tcpd looks for daemons.
    daemons: Vec<u8>,
    known: Vec<(Vec<u8>, Wrapped)>,
}

impl Programs {
    /// Reads the file at `path`, or where it is usually found; none is no error then. `daemons` is where tcpd looks.
    ///
    /// # Errors
    /// The system's word, when the file of that name cannot be opened.
    pub(super) fn read(
        path: Option<&[u8]>,
        daemons: Vec<u8>,
        notice: &mut Notice<'_>,
    ) -> Result<Self, String> {
        let mut programs = Self { daemons, ..Self::default() };
        let (path, text) = if let Some(path) = path {
            (path, text(path)?)
        } else {
            let found = GUESSES.iter().find_map(|path| Some((*path, text(path).ok()?)));
            let Some((path, text)) = found else { return Ok(programs) };
            // A file that was asked for by name is trusted; one that was found is looked at.
            let _ = look(path, notice);
            (path, text)
        };
        let outer = notice.context.take();
        let mut lines = Lines::with_longest(&text, LONGEST_LINE);
        while let Some(line) = lines.next() {
            notice.context = Some((path.to_vec(), line.number));
            programs.take(line.text, notice);
        }
        notice.context = outer;
        programs.file = Some(path.to_vec());
        Ok(programs)
    }

    /// What is known of this process name; ASCII case does not count.
    pub(super) fn get(&self, name: &[u8]) -> Wrapped {
        // Without any knowledge there is nothing to complain of.
        if self.known.is_empty() {
            return Wrapped::Perhaps;
        }
        let found = self.known.iter().rev().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or(Wrapped::Unknown, |(_, wrapped)| *wrapped)
    }

    /// From now on this is known of it.
    pub(super) fn set(&mut self, name: &[u8], wrapped: Wrapped) {
        self.known.push((name.to_vec(), wrapped));
    }

    /// The file's name as diagnostics print it.
    pub(super) fn file_name(&self) -> &[u8] {
        self.file.as_deref().unwrap_or(b"(null)")
    }

    /// One line of the file, in any of the forms that inetds have had.
    fn take(&mut self, line: &[u8], notice: &mut Notice<'_>) {
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        let mut words = line.split(blank).filter(|word| !word.is_empty());
        let Some(service) = words.next().filter(|word| !word.starts_with(b"#")) else { return };
        // Some forms begin with the socket type; in the others it is the second word.
        if !service.eq_ignore_ascii_case(b"stream") && !service.eq_ignore_ascii_case(b"dgram") {
            words.next();
        }
        let protocol = words.next();
        words.next(); // wait or nowait
        let Some(user) = words.next() else { return };
        // Some forms have no user.
        let Some(path) = Some(user).filter(|word| word.starts_with(b"/")).or_else(|| words.next()) else {
            return;
        };
        // IRIX marks a service that may be absent.
        let path = path.strip_prefix(b"?").unwrap_or(path);
        if path.eq_ignore_ascii_case(b"internal") {
            return;
        }
        // ConvexOS has the versions of an RPC program before the path.
        let versions = path.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-');
        let Some(path) = Some(path).filter(|_| !versions).or_else(|| words.next()) else { return };
        let name = words.next();
        // tlid.conf has a number before the name.
        let number = name.is_some_and(|name| name.iter().all(u8::is_ascii_digit));
        let Some(name) = name.filter(|_| !number).or_else(|| if number { words.next() } else { None }) else {
            notice.warn(&[b"incomplete line"]);
            return;
        };
        self.check(protocol.unwrap_or_default(), path, name, words.next().unwrap_or_default(), notice);
    }

    fn check(&mut self, protocol: &[u8], path: &[u8], name: &[u8], argument: &[u8], notice: &mut Notice<'_>) {
        let mut marked = false;
        match look(path, notice) {
            Err(reason) => notice.warn(&[path, b": not found: ", reason.as_bytes()]),
            Ok(found) => {
                marked = found.permissions().mode() & 0o6000 != 0;
                if !executable(&found) {
                    notice.warn(&[path, b": not executable"]);
                }
            }
        }
        // A wrapper of its own, of old.
        if base(path).eq_ignore_ascii_case(b"miscd") {
            self.set(name, Wrapped::Yes);
            return;
        }
        let process = if name.starts_with(b"/") { base(name) } else { name };
        if process.eq_ignore_ascii_case(b"rexd") || process.eq_ignore_ascii_case(b"rpc.rexd") {
            notice.warn(&[process, b" may be an insecure service"]);
        }
        let wrapped = if base(path).eq_ignore_ascii_case(b"tcpd") {
            if process.eq_ignore_ascii_case(b"tcpd") {
                notice.warn(&[process, b" is recursively calling itself"]);
            }
            if marked {
                notice.warn(&[path, b": file is set-uid or set-gid"]);
            }
            if name.starts_with(b"/") && process.eq_ignore_ascii_case(base(argument)) {
                notice.warn(&[path, b" inserted before ", name]);
            }
            check_wrapped(name, &self.daemons, notice);
            if protocol.eq_ignore_ascii_case(b"rpc/tcp") {
                notice.warn(&[process, b": cannot wrap rpc/tcp services"]);
            }
            Wrapped::Yes
        } else {
            judge_unwrapped(path, name, &self.daemons, notice)
        };
        self.set(process, wrapped);
    }
}

/// The bytes of the file, or the system's word for why it cannot be opened. A directory opens and has none.
fn text(path: &[u8]) -> Result<Vec<u8>, String> {
    let open = Source::open(Path::new(OsStr::from_bytes(path))).map_err(|error| reason(&error))?;
    match open {
        Source::Missing => Err("No such file or directory".to_owned()),
        Source::Directory(_) => Ok(Vec::new()),
        Source::Readable(file) => file.read(LONGEST).map_err(|error| reason(&error)),
    }
}

/// The daemon behind tcpd: is it there, may it be executed?
fn check_wrapped(name: &[u8], daemons: &[u8], notice: &mut Notice<'_>) {
    let absolute = name.starts_with(b"/");
    let path = if absolute { name.to_vec() } else { [daemons, b"/", name].concat() };
    match look(&path, notice) {
        Err(reason) if absolute => notice.warn(&[name, b": not found: ", reason.as_bytes()]),
        Err(reason) => {
            notice.warn(&[name, b": not found in ", daemons, b": ", reason.as_bytes()]);
        }
        Ok(found) if !executable(&found) => notice.warn(&[&path, b": not executable"]),
        Ok(_) => {}
    }
}

/// Without tcpd in the line, the program may still be tcpd in the place of the daemon: then a daemon of that name lies where
/// tcpd looks for it.
fn judge_unwrapped(path: &[u8], name: &[u8], daemons: &[u8], notice: &mut Notice<'_>) -> Wrapped {
    let real = [daemons, b"/", name].concat();
    if path.eq_ignore_ascii_case(&real) {
        return Wrapped::No;
    }
    match look(&real, notice) {
        Ok(_) => Wrapped::Perhaps,
        Err(reason) if reason == "No such file or directory" => Wrapped::No,
        Err(reason) => {
            notice.warn(&[&real, b": file lookup: ", reason.as_bytes()]);
            Wrapped::Perhaps
        }
    }
}

/// What follows the last slash.
pub(super) fn base(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is known after this file, and what was said while it was read.
    fn read(text: &str) -> (Programs, String) {
        static FILES: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = FILES.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("portreeve-inetd-{}-{number}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let name = path.as_os_str().as_bytes().to_vec();
        let mut sink = Vec::new();
        let mut notice = Notice::new(&mut sink, false);
        let programs = Programs::read(Some(&name), b"/nonexistent".to_vec(), &mut notice).unwrap();
        notice.end().unwrap();
        std::fs::remove_file(&path).unwrap();
        let said = String::from_utf8(sink).unwrap().replace(&path.display().to_string(), "FILE");
        (programs, said)
    }

    #[test]
    fn lines_are_read_in_every_dialect() {
        for (line, name, wanted) in [
            ("a stream tcp nowait root /nonexistent/tcpd in.a", "IN.A", Wrapped::Yes),
            ("stream tcp nowait root /nonexistent/tcpd in.a", "in.a", Wrapped::Yes),
            ("a stream tcp nowait /nonexistent/tcpd in.a", "in.a", Wrapped::Yes),
            ("a stream tcp nowait root ?/nonexistent/tcpd in.a", "in.a", Wrapped::Yes),
            ("a stream rpc/tcp wait root 1-3 /nonexistent/tcpd in.a", "in.a", Wrapped::Yes),
            ("a stream tcp nowait root /nonexistent/tcpd 12 in.a", "in.a", Wrapped::Yes),
            ("a stream tcp nowait root /nonexistent/tcpd /x/in.a", "in.a", Wrapped::Yes),
            ("a stream tcp nowait root /nonexistent/miscd in.a", "in.a", Wrapped::Yes),
            ("a stream tcp nowait root /nonexistent/x no-such-daemon", "no-such-daemon", Wrapped::No),
            ("a stream tcp nowait root internal in.a", "in.a", Wrapped::Unknown),
            ("a stream tcp nowait root \\\n /nonexistent/tcpd in.a", "in.a", Wrapped::Yes),
            ("#a stream tcp nowait root /nonexistent/tcpd in.a", "in.a", Wrapped::Unknown),
        ] {
            let (mut programs, _) = read(&format!("{line}\n"));
            programs.known.insert(0, (b"something".to_vec(), Wrapped::No));
            assert_eq!(programs.get(name.as_bytes()), wanted, "{line}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_line_is_said_at_that_line() {
        for (line, wanted) in [
            ("a stream tcp", ""),
            ("a stream tcp nowait root /nonexistent/tcpd", "incomplete line"),
            ("a stream tcp nowait root /nonexistent/tcpd 12", "incomplete line"),
            (
                "a stream tcp nowait root /nonexistent/miscd x",
                "/nonexistent/miscd: not found: No such file or directory",
            ),
            ("a stream tcp nowait root /nonexistent/x rexd", "rexd may be an insecure service"),
            ("a stream tcp nowait root /nonexistent/tcpd tcpd", "tcpd is recursively calling itself"),
            ("a stream tcp nowait root /nonexistent/tcpd /x/y y", "/nonexistent/tcpd inserted before /x/y"),
            ("a stream rpc/tcp nowait root /nonexistent/tcpd in.a", "in.a: cannot wrap rpc/tcp services"),
        ] {
            let (_, said) = read(&format!("# first\n{line}\n"));
            if wanted.is_empty() {
                assert_eq!(said, "", "{line}");
            } else {
                assert!(said.contains(&format!("warning: FILE, line 2: {wanted}\n")), "{line}: {said}");
            }
        }
    }

    #[test]
    fn a_file_that_was_named_must_open() {
        let mut sink = Vec::new();
        let mut notice = Notice::new(&mut sink, false);
        let failed = Programs::read(Some(b"/nonexistent/inetd.conf"), Vec::new(), &mut notice).err();
        assert_eq!(failed.as_deref(), Some("No such file or directory"));
        assert_eq!(
            Programs::default().get(b"x"),
            Wrapped::Perhaps,
            "without any knowledge nothing is complained of"
        );
    }
}

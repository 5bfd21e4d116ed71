//! The filter `itox`: an inetd.conf in, a xinetd.conf out, byte for byte as xinetd's own wrote it (reference xinetd §12.2).
//!
//! Decides no more than the original: it knows one dialect, drops comments and believes what it reads. What it cannot
//! carry over is said in the original's words; `portreeve convert inetd` is the tool that keeps everything.

use std::fmt;

/// What a line without an error came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Converted {
    /// The sections, for standard output.
    pub sections: Vec<u8>,
    /// The warnings, for standard error.
    pub warnings: Vec<u8>,
}

/// Why the conversion stopped. `Display` is the original's line on standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// A line ends before this field.
    Missing {
        /// Line, from 1.
        line: usize,
        /// The original's name of the field.
        field: &'static str,
    },
    /// A line runs its server through tcpd, and nobody said where the servers are.
    NoDaemonDirectory,
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The blank before the end is the original's.
            Self::Missing { line, field } => write!(f, "Line {line}: {field} missing "),
            Self::NoDaemonDirectory => f.write_str("You must use option -daemon_dir if you use tcpd"),
        }
    }
}

/// Converts a whole file. `daemon_dir` is where the servers are that tcpd starts.
///
/// # Errors
/// [`Stopped`] at the first line that cannot be read, with the warnings said before it.
pub fn convert(text: &[u8], daemon_dir: Option<&[u8]>) -> Result<Converted, (Stopped, Vec<u8>)> {
    let daemon_dir = daemon_dir.map(|path| path.strip_suffix(b"/").unwrap_or(path));
    let mut converted = Converted::default();
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    for (line, bytes) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        // A C string ends at its first NUL.
        let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        if bytes.is_empty() || bytes.starts_with(b"#") {
            continue;
        }
        let mut words = Words { line, rest: bytes };
        if let Err(stopped) = section(&mut words, daemon_dir, &mut converted) {
            return Err((stopped, converted.warnings));
        }
    }
    Ok(converted)
}

struct Words<'a> {
    line: usize,
    rest: &'a [u8],
}

impl<'a> Words<'a> {
    fn next(&mut self, field: &'static str) -> Result<&'a [u8], Stopped> {
        self.word().ok_or(Stopped::Missing { line: self.line, field })
    }

    fn word(&mut self) -> Option<&'a [u8]> {
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        let start = self.rest.iter().position(|byte| !blank(byte))?;
        let rest = self.rest.get(start..)?;
        let end = rest.iter().position(blank).unwrap_or(rest.len());
        let (word, rest) = rest.split_at_checked(end)?;
        self.rest = rest;
        Some(word)
    }
}

fn section(
    words: &mut Words<'_>,
    daemon_dir: Option<&[u8]>,
    converted: &mut Converted,
) -> Result<(), Stopped> {
    let out = &mut converted.sections;
    let warnings = &mut converted.warnings;
    let (service, rpc) = cut(words.next("service name")?, b'/');
    out.extend([b"service ", service, b"\n{\n"].concat());
    if let Some(versions) = rpc {
        line(out, "type", &[b"RPC"]);
        line(out, "rpc_version", &[versions]);
    }
    let socket = words.next("socket type")?;
    line(out, "socket_type", &[socket]);
    let protocol = match cut(words.next("protocol")?, b'/') {
        (_, Some(transport)) => transport,
        (protocol, None) => protocol,
    };
    line(out, "protocol", &[protocol]);
    let (wait, max) = cut(words.next("wait/nowait")?, b'.');
    if max.is_some() {
        warnings.extend(
            [b"The entry for service ", service, b"/", protocol, b" may be wrong, because\n"].concat(),
        );
        warnings.extend(b"we can't convert .max option for wait/nowait field\n");
    }
    line(out, "wait", &[if wait == b"wait" { b"yes" } else { b"no" }]);
    let (user, group) = cut(words.next("user[.group]")?, b'.');
    line(out, "user", &[user]);
    if let Some(group) = group {
        line(out, "group", &[group]);
    }
    let server = words.next("server")?;
    if server != b"internal" {
        program(server, words, daemon_dir, out)?;
    } else if rpc.is_some() {
        warnings.extend([b"The entry for service ", service, b" will be wrong because\n"].concat());
        warnings.extend(b"we can't handle internal RPC services\n");
    } else {
        line(out, "type", &[b"INTERNAL"]);
        line(out, "id", &[service, b"-", socket]);
    }
    out.extend(b"}\n\n");
    Ok(())
}

fn program(
    path: &[u8],
    words: &mut Words<'_>,
    daemon_dir: Option<&[u8]>,
    out: &mut Vec<u8>,
) -> Result<(), Stopped> {
    let name = words.next("server name")?;
    if basename(path) != b"tcpd" {
        line(out, "server", &[path]);
    } else {
        let directory = daemon_dir.ok_or(Stopped::NoDaemonDirectory)?;
        if name.starts_with(b"/") {
            line(out, "server", &[name]);
        } else {
            line(out, "server", &[directory, b"/", name]);
        }
    }
    if let Some(first) = words.word() {
        let mut arguments = vec![first];
        while let Some(word) = words.word() {
            arguments.extend([&b" "[..], word]);
        }
        line(out, "server_args", &arguments);
    }
    Ok(())
}

/// `name = value`, the names in a column of 15.
fn line(out: &mut Vec<u8>, name: &str, value: &[&[u8]]) {
    out.extend(format!("\t{name:<15} = ").as_bytes());
    value.iter().for_each(|part| out.extend(*part));
    out.push(b'\n');
}

/// The word up to the first `at`, and what follows it.
fn cut(word: &[u8], at: u8) -> (&[u8], Option<&[u8]>) {
    let mut parts = word.splitn(2, |byte| *byte == at);
    (parts.next().unwrap_or_default(), parts.next())
}

/// basename(3).
fn basename(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    let path = path.get(..end).unwrap_or_default();
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Stopped, convert};

    fn converted(text: &str, directory: Option<&str>) -> (String, String) {
        let result = convert(text.as_bytes(), directory.map(str::as_bytes)).unwrap();
        (String::from_utf8(result.sections).unwrap(), String::from_utf8(result.warnings).unwrap())
    }

    #[test]
    fn a_program_behind_tcpd() {
        let line = "ftp stream tcp6 nowait root.wheel /usr/sbin/tcpd in.ftpd -l\t-a\n";
        let expected = "service ftp\n{\n\tsocket_type     = stream\n\tprotocol        = tcp6\n\twait            = no\n\
            \tuser            = root\n\tgroup           = wheel\n\tserver          = /opt/in.ftpd\n\
            \tserver_args     = -l -a\n}\n\n";
        assert_eq!(converted(line, Some("/opt/")), (expected.into(), String::new()));
        let stopped = convert(line.as_bytes(), None).unwrap_err().0;
        assert_eq!(stopped.to_string(), "You must use option -daemon_dir if you use tcpd");
    }

    #[test]
    fn rpc_and_built_in() {
        let text = "a/1-2 dgram rpc/udp wait.30 nobody internal\necho stream tcp nowait root internal";
        let (sections, warnings) = converted(text, None);
        assert!(sections.starts_with("service a\n{\n\ttype            = RPC\n\trpc_version     = 1-2\n"));
        assert!(sections.ends_with("\ttype            = INTERNAL\n\tid              = echo-stream\n}\n\n"));
        assert_eq!(
            warnings,
            "The entry for service a/udp may be wrong, because\nwe can't convert .max option for wait/nowait field\n\
             The entry for service a will be wrong because\nwe can't handle internal RPC services\n"
        );
    }

    #[test]
    fn a_line_that_ends_early_stops_the_filter() {
        let (stopped, _) = convert(b"# x\n\na stream tcp nowait root /x\n", None).unwrap_err();
        assert_eq!(stopped, Stopped::Missing { line: 3, field: "server name" });
        assert_eq!(stopped.to_string(), "Line 3: server name missing ");
        let (stopped, _) = convert(b"  \n", None).unwrap_err();
        assert_eq!(stopped, Stopped::Missing { line: 1, field: "service name" });
    }
}

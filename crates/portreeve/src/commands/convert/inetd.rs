//! `portreeve convert inetd`: inetd.conf in xinetd's language, comments kept. The translation is conf's; this file reads,
//! prints, and says line by line what could not be carried over.

use crate::escape;
use crate::failure::{Exit, Failure, system_text};
use crate::output::Output;
use portreeve_conf::inetd::{Note, parse, translate};
use serde_json::json;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// The longest file that is read, in bytes. A real one has a few KiB.
const LONGEST: u64 = 16 << 20;

/// Say what inetd.conf serves in xinetd's language
///
/// Every dialect is read: those of the BSDs, of Debian and of Solaris. The result serves what `portreeve inetd` serves: with
/// the user's groups, the tables asked only where tcpd asked them. Comments stay, services that are switched off stay off.
/// `tcp` is both address families, as on Linux, unless a line beside it serves IPv6; a BSD's was IPv4 alone. What has no counterpart is named with its line. Exit codes: 0 all was converted, 1 something was left
/// out, 2 could not run.
#[derive(clap::Args, Debug)]
pub struct Inetd {
    /// The file, `-` for standard input
    #[arg(value_name = "FILE", default_value = "/etc/inetd.conf")]
    pub file: PathBuf,
    /// Where the servers are that tcpd starts without a path
    #[arg(long, value_name = "DIRECTORY", default_value = "/usr/sbin")]
    pub daemon_dir: String,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// Converts and prints.
pub(super) fn run(inetd: &Inetd, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let bytes = read(&inetd.file)?;
    let (text, notes) = translate(&parse(&bytes), &inetd.daemon_dir);
    let lost = notes.iter().any(|note| note.lost);
    if inetd.json {
        let note =
            |note: &Note| json!({ "line": note.lines.first, "left_out": note.lost, "message": note.text });
        out.json(&json!({ "text": text, "notes": notes.iter().map(note).collect::<Vec<_>>() }))?;
    } else {
        out.write_all(text.as_bytes())?;
        let file = escape::os(inetd.file.as_os_str());
        for note in &notes {
            let word = if note.lost { "left out: " } else { "" };
            let line = format!("portreeve: {file}:{}: {word}{}", note.lines.first, note.text);
            // Nothing can be done about a standard error that fails.
            let _ = writeln!(std::io::stderr(), "{}", escape::lines(&line));
        }
    }
    Ok(if lost { Exit::Found } else { Exit::Fine })
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let failed = |error: std::io::Error| {
        Failure::new(format!("{}: {}", escape::os(file.as_os_str()), system_text(&error)))
    };
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().lock().take(LONGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
    } else {
        std::fs::File::open(file)
            .and_then(|opened| opened.take(LONGEST + 1).read_to_end(&mut bytes))
            .map_err(failed)?;
    }
    if bytes.len() as u64 > LONGEST {
        return Err(Failure::new(format!(
            "{} is longer than 16 MiB: that is no inetd.conf",
            escape::os(file.as_os_str())
        )));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_on_standard_output_and_1_when_something_was_left_out() {
        let file = std::env::temp_dir().join(format!("portreeve-convert-inetd-{}", std::process::id()));
        for (text, exit, expected) in [
            ("# c\necho stream tcp nowait root internal\n", Exit::Fine, "# c\nservice echo\n{\n"),
            ("/run/x stream unix nowait root /bin/x x\n", Exit::Found, "# not carried over: /run/x\n"),
        ] {
            std::fs::write(&file, text).unwrap();
            let inetd = Inetd { file: file.clone(), daemon_dir: "/usr/sbin".into(), json: false };
            let mut printed = Vec::new();
            assert_eq!(run(&inetd, &mut Output::plain(&mut printed)).unwrap(), exit);
            let printed = String::from_utf8(printed).unwrap();
            assert!(printed.starts_with(expected), "{printed}");
        }
        std::fs::remove_file(&file).unwrap();
        let inetd = Inetd { file, daemon_dir: String::new(), json: true };
        assert!(run(&inetd, &mut Output::plain(&mut Vec::new())).is_err(), "no such file");
    }
}

//! `portreeve compile-hosts`: writes the compiled form of hosts.allow and hosts.deny, which tcpd and libwrap.so.0 map
//! instead of reading long tables. The JSON names are a promise to scripts.

use crate::failure::{Exit, Failure};
use crate::output::Output;
use portreeve_wrap::compiled::{self, Error, Places};
use portreeve_wrap::tables;
use serde_json::json;
use std::io::Write;

/// Compile long hosts.allow and hosts.deny for tcpd and libwrap.so.0
///
/// Reads /etc/hosts.allow, /etc/hosts.deny and the /file lists that they name, and writes
/// /var/cache/portreeve/hosts.map, from which a fresh process decides as fast on 100,000 lines as on ten. The map is used
/// only as long as none of these files has changed; otherwise the text is read, as ever. So run it after each edit, unless
/// the daemon runs: it writes the map itself where /var/cache/portreeve is. Tables of at most 16 KiB need no map.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Write nothing; say whether the map that is there is used: exit code 1 if one would help
    #[arg(long)]
    pub check: bool,
    /// Answer in JSON
    #[arg(long)]
    pub json: bool,
}

/// Writes, or looks.
pub fn run(arguments: &Arguments, out: &mut Output<'_>) -> Result<Exit, Failure> {
    if arguments.check { check(arguments.json, out) } else { write(arguments.json, out) }
}

fn write(as_json: bool, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let written = compiled::write(&Places::default()).map_err(failure)?;
    let readers = if written.public { "everybody" } else { "root" };
    if as_json {
        out.json(&json!({
            "map": compiled::MAP,
            "text_bytes": written.text,
            "map_bytes": written.compiled,
            "readers": readers,
        }))?;
        return Ok(Exit::Fine);
    }
    writeln!(
        out,
        "{}: written, {} bytes from {} bytes of tables, readable by {readers}",
        compiled::MAP,
        written.compiled,
        written.text
    )?;
    if !written.public {
        writeln!(
            out,
            "  not everybody may read the tables, so other users' programs read what they may as text"
        )?;
    }
    if u64::try_from(written.text).unwrap_or(u64::MAX) <= compiled::SMALL {
        writeln!(
            out,
            "  tables this short are walked faster than this is opened: it is not used until they are longer"
        )?;
    }
    Ok(Exit::Fine)
}

fn failure(error: Error) -> Failure {
    match error {
        Error::Map(..) if !portreeve_sys::process::is_root() => {
            Failure::with_help(error.to_string(), "run it as root")
        }
        Error::Map(..) | Error::Table(..) | Error::TooLarge => Failure::new(error.to_string()),
    }
}

fn check(as_json: bool, out: &mut Output<'_>) -> Result<Exit, Failure> {
    let opened = tables::open(compiled::ALLOW.as_bytes(), compiled::DENY.as_bytes());
    let (state, text, exit) = match (opened.is_compiled(), opened.is_long()) {
        (true, _) => ("used", "is used", Exit::Fine),
        (false, true) => ("stale", "is missing or older than the tables: they are read as text", Exit::Found),
        (false, false) => ("not needed", "is not needed: the tables are short", Exit::Fine),
    };
    if as_json {
        out.json(&json!({ "map": compiled::MAP, "state": state }))?;
    } else {
        writeln!(out, "{}: {text}", compiled::MAP)?;
    }
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_file_and_the_remedy() {
        let shown = failure(Error::Map(compiled::MAP.into(), "Permission denied".to_owned())).to_string();
        // Root has to look at what the system says.
        let remedy = if portreeve_sys::process::is_root() { "" } else { "\n  help: run it as root" };
        assert_eq!(
            shown,
            format!("/var/cache/portreeve/hosts.map cannot be written: Permission denied{remedy}")
        );
        let shown = failure(Error::Table(compiled::DENY.into(), "Is a directory".to_owned())).to_string();
        assert_eq!(shown, "/etc/hosts.deny: Is a directory; nothing was written");
    }
}

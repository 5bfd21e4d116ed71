//! The command line of a program that is called `inetd`: the options of openbsd-inetd, single letters as getopt(3) reads
//! them. What is not among them is an error.

use crate::options::{Call, INETD_CONF, Options, Program, UsageError, number};
use portreeve_conf::{InetdUse, Sources};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// Where openbsd-inetd leaves its process id.
const PID_FILE: &str = "/run/inetd.pid";

/// The usage text.
pub const USAGE: &str = "\
Usage: inetd [-d] [-E] [-i] [-l] [-q LENGTH] [-R RATE] [FILE]
  -d                   stay in the foreground and log to standard error
  -E                   programs get all of inetd's environment
  -i                   stay in the foreground
  -l                   ask hosts.allow and hosts.deny for every program
  -q LENGTH            accepted for inetd's sake, without effect
  -R RATE              how often a service may be started within a minute; 0: no limit
  FILE                 default /etc/inetd.conf
";

/// Reads the command line.
pub fn parse(args: &[OsString]) -> Result<Call, UsageError> {
    let mut options = Options { stayalive: true, ..Options::of(Program::Inetd) };
    let mut usage = InetdUse { few_variables: true, ..InetdUse::default() };
    let mut file: Option<PathBuf> = None;
    let mut rest = args.iter();
    let mut only_files = false;
    while let Some(word) = rest.next() {
        let bytes = word.as_bytes();
        let letters = match bytes.strip_prefix(b"-") {
            Some(b"-") if !only_files => {
                only_files = true;
                continue;
            }
            Some(letters) if !only_files && !letters.is_empty() => letters,
            _ if file.is_some() => {
                return Err(UsageError::Extra(crate::escape::escaped(&word.to_string_lossy()).into_owned()));
            }
            _ => {
                file = Some(PathBuf::from(word));
                continue;
            }
        };
        let mut letters = letters.iter();
        while let Some(letter) = letters.next() {
            match letter {
                b'd' => (options.foreground, options.log_to_stderr) = (true, true),
                b'i' => options.foreground = true,
                b'E' => usage.few_variables = false,
                b'l' => usage.tables = true,
                b'q' | b'R' => {
                    let (name, wanted) = if *letter == b'q' { ("q", "LENGTH") } else { ("R", "RATE") };
                    let attached: Vec<u8> = letters.by_ref().copied().collect();
                    let value = match attached.is_empty() {
                        false => OsString::from_vec(attached),
                        true => rest.next().cloned().ok_or(UsageError::Missing(name, wanted))?,
                    };
                    let value = number(name, &value)?;
                    if *letter == b'R' {
                        usage.starts_per_minute = Some(value).filter(|value| (1..=32_768).contains(value));
                    }
                }
                _ => {
                    let shown = OsStr::from_bytes(std::slice::from_ref(letter)).to_string_lossy();
                    let shown = format!("-{}", crate::escape::escaped(&shown));
                    return Err(UsageError::Unknown(shown, String::new()));
                }
            }
        }
    }
    options.sources = Sources::of_inetd(file.unwrap_or_else(|| INETD_CONF.into()), usage);
    if !options.foreground && portreeve_sys::process::is_root() {
        options.pidfile = Some(PID_FILE.into());
    }
    Ok(Call::Serve(Box::new(options)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(words: &[&str]) -> Result<Options, UsageError> {
        match parse(&words.iter().map(OsString::from).collect::<Vec<_>>())? {
            Call::Serve(options) => Ok(*options),
            Call::Version => panic!("no such option"),
        }
    }

    #[test]
    fn openbsd_inetds_options() {
        let plain = call(&[]).unwrap();
        assert!(!plain.foreground && plain.stayalive && plain.program == Program::Inetd);
        let usage = InetdUse { few_variables: true, ..InetdUse::default() };
        assert_eq!(plain.sources, Sources::of_inetd(INETD_CONF, usage));
        let all = call(&["-diEl", "-q64", "-R", "40", "/x"]).unwrap();
        assert!(all.foreground && all.log_to_stderr && all.pidfile.is_none());
        let usage = InetdUse { tables: true, starts_per_minute: Some(40), ..InetdUse::default() };
        assert_eq!(all.sources, Sources::of_inetd("/x", usage));
        assert_eq!(call(&["--", "-x"]).unwrap().sources.main(), std::path::Path::new("-x"));
    }

    #[test]
    fn what_openbsd_inetd_does_not_know_is_an_error() {
        for (words, wanted) in [
            (&["-w"][..], "unknown option -w"),
            (&["-x", "-i"], "unknown option -x"),
            (&["--help"], "unknown option --"),
            (&["-R"], "option R needs a value: R RATE"),
            (&["-R", "many"], "option R: many is not a number"),
            (&["/a", "/b"], "/b is one file too many"),
        ] {
            assert_eq!(call(words).unwrap_err().to_string(), wanted, "{words:?}");
        }
    }
}

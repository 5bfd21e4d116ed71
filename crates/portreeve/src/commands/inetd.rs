//! `portreeve inetd`: becomes the supervisor for an inetd.conf. Its options are those of `portreeve run`.

use crate::failure::{Exit, Failure};
use crate::gate;
use std::ffi::OsString;

/// What is served where no file is named.
pub const DEFAULT_FILE: &str = "/etc/inetd.conf";

const LONG: &str = "\
Run the daemon for an inetd.conf (replaces this process by portreeve-gate)

Every dialect is read: those of the BSDs, of Debian and of Solaris. `portreeve check --inetd FILE` says before what would be \
served. SIGHUP and `portreeve reload` read the file again. It is `portreeve run -inetd FILE`, and takes the options of `portreeve run` \
after the file. A link named inetd (see `portreeve links`) goes to the background and takes the options of openbsd-inetd: \
-d -E -i -l -q LENGTH -R RATE [FILE].";

#[allow(missing_docs)]
#[derive(clap::Args, Debug)]
#[command(about = "Run the daemon for an inetd.conf (replaces this process by portreeve-gate)", long_about = LONG)]
#[command(override_usage = "portreeve inetd [FILE] [OPTION]...")]
pub struct Arguments {
    /// The file [default: /etc/inetd.conf], then options of `portreeve run`
    #[arg(value_name = "FILE", trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<OsString>,
}

/// Replaces this process; comes back only when that failed.
pub fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    Err(gate::become_gate("run", &gate_arguments(&arguments.words)))
}

fn gate_arguments(words: &[OsString]) -> Vec<OsString> {
    let (file, options) = match words.split_first() {
        Some((first, rest)) if !first.as_encoded_bytes().starts_with(b"-") => (first.clone(), rest),
        _ => (DEFAULT_FILE.into(), words),
    };
    ["-inetd".into(), file].into_iter().chain(options.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_comes_first_or_is_the_default() {
        for (words, wanted) in [
            (&[][..], &["-inetd", "/etc/inetd.conf"][..]),
            (&["/x"], &["-inetd", "/x"]),
            (&["/x", "-limit", "3"], &["-inetd", "/x", "-limit", "3"]),
            (&["-limit", "3"], &["-inetd", "/etc/inetd.conf", "-limit", "3"]),
        ] {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            assert_eq!(gate_arguments(&words), wanted, "{words:?}");
        }
    }
}

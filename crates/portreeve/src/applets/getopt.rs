//! Arguments as getopt(3) of glibc takes them: single letters, clustered, values attached or apart, options also after
//! operands, `--` ends them. For the programs whose command lines are older than this project.

use crate::failure::Exit;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;

/// What stands on a command line.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Option letters in their order, each with its value if it takes one.
    pub options: Vec<(u8, Option<Vec<u8>>)>,
    /// What is no option, in order.
    pub operands: Vec<Vec<u8>>,
    /// What is wrong with the first bad option, as getopt words it after the program's name; what follows is not read.
    pub wrong: Option<String>,
}

/// Reads `arguments`. `letters` are the options without a value, `valued` those with one.
pub(super) fn read(arguments: &[OsString], letters: &[u8], valued: &[u8]) -> Found {
    let mut found = Found::default();
    // The environment can ask for the older rule: the first operand ends the options.
    let strict = std::env::var_os("POSIXLY_CORRECT").is_some();
    let mut words = arguments.iter().map(|word| OsStr::as_bytes(word));
    while let Some(word) = words.next() {
        let cluster = match word {
            b"--" => {
                found.operands.extend(words.map(<[u8]>::to_vec));
                break;
            }
            [b'-', cluster @ ..] if !cluster.is_empty() => cluster,
            operand => {
                found.operands.push(operand.to_vec());
                if strict {
                    found.operands.extend(words.map(<[u8]>::to_vec));
                    break;
                }
                continue;
            }
        };
        let mut rest = cluster;
        while let [letter, after @ ..] = rest {
            rest = after;
            if letters.contains(letter) {
                found.options.push((*letter, None));
            } else if valued.contains(letter) {
                let attached = Some(rest).filter(|rest| !rest.is_empty());
                let Some(value) = attached.or_else(|| words.next()) else {
                    found.wrong = Some(format!("option requires an argument -- '{}'", shown(*letter)));
                    return found;
                };
                found.options.push((*letter, Some(value.to_vec())));
                break;
            } else {
                found.wrong = Some(format!("invalid option -- '{}'", shown(*letter)));
                return found;
            }
        }
    }
    found
}

fn shown(letter: u8) -> String {
    crate::escape::text(&String::from_utf8_lossy(&[letter])).into_owned()
}

/// Says on standard error what is wrong with a call, if it is an option, and how the program is called.
pub(super) fn usage(called: &OsStr, wrong: Option<&str>, usage: &[u8]) -> Exit {
    let called = crate::escape::os(called);
    let mut text = wrong.map(|wrong| format!("{called}: {wrong}\n").into_bytes()).unwrap_or_default();
    text.extend_from_slice(format!("usage: {called}").as_bytes());
    text.extend_from_slice(usage);
    // Nothing can be done about a standard error that fails.
    let _ = std::io::stderr().write_all(&text);
    Exit::Found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(words: &[&str]) -> Found {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        read(&words, b"adv", b"i")
    }

    fn operands(words: &[&str]) -> Vec<Vec<u8>> {
        words.iter().map(|word| word.as_bytes().to_vec()).collect()
    }

    #[test]
    fn options_are_found_wherever_they_stand() {
        for words in [
            &["-d", "-i", "f", "x", "y"][..],
            &["x", "y", "-d", "-if"],
            &["x", "-dif", "y"],
            &["-dif", "--", "x", "y"],
        ] {
            let found = given(words);
            assert_eq!(found.options, [(b'd', None), (b'i', Some(b"f".to_vec()))], "{words:?}");
            assert_eq!(found.operands, operands(&["x", "y"]), "{words:?}");
            assert_eq!(found.wrong, None);
        }
        assert_eq!(given(&["-", "x", "--", "-d"]).operands, operands(&["-", "x", "-d"]));
    }

    #[test]
    fn the_first_bad_option_is_named() {
        assert_eq!(given(&["-dz"]).wrong.as_deref(), Some("invalid option -- 'z'"));
        assert_eq!(given(&["--help"]).wrong.as_deref(), Some("invalid option -- '-'"));
        assert_eq!(given(&["x", "-i"]).wrong.as_deref(), Some("option requires an argument -- 'i'"));
        assert_eq!(given(&["-i", "-d"]).options, [(b'i', Some(b"-d".to_vec()))]);
    }
}

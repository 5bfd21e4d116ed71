//! The text of the list that `verify_server` goes by: lines in, lines out. Reads no file; who may have written it is not known here.
//!
//! ```text
//! portreeve-trusted 1
//! sha256 DIGEST WHO PATH
//! ```
//!
//! `DIGEST` is 64 hexadecimal digits; `WHO` one word that says who answers for the program (`package:NAME`, `baseline:NUMBER`,
//! `person:NAME`), for people; `PATH` is that of `server`, as the configuration has it. A line that begins with `#` says nothing.

/// The first line.
const HEAD: &str = "portreeve-trusted 1";

/// SHA-256.
pub type ProgramDigest = [u8; 32];

/// A program that somebody answers for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedProgram {
    /// Its content.
    pub digest: ProgramDigest,
    /// Who answers for it.
    pub who: String,
    /// Its path, as a service names it.
    pub server: String,
}

/// The list of a text.
///
/// # Errors
/// A sentence that begins with the line.
pub fn trusted_programs(text: &[u8]) -> Result<Vec<TrustedProgram>, String> {
    let text = std::str::from_utf8(text).map_err(|_| "it is no text".to_owned())?;
    let mut lines = text.lines().enumerate();
    if lines.next().map(|(_, line)| line) != Some(HEAD) {
        return Err(format!("line 1: `{HEAD}` was expected"));
    }
    let mut programs = Vec::new();
    for (at, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
        let mut words = line.splitn(4, ' ');
        let parts = (words.next(), words.next().and_then(program_digest), words.next(), words.next());
        let (Some("sha256"), Some(digest), Some(who), Some(server)) = parts else {
            return Err(format!("line {}: `sha256 DIGEST WHO PATH` was expected", at + 1));
        };
        if !server.starts_with('/') {
            return Err(format!("line {}: an absolute path was expected", at + 1));
        }
        programs.push(TrustedProgram { digest, who: who.to_owned(), server: server.to_owned() });
    }
    Ok(programs)
}

/// The text of a list.
pub fn trusted_text(programs: &[TrustedProgram]) -> String {
    let mut text = format!("{HEAD}\n# written by `portreeve integrity trust`\n");
    for program in programs {
        text.push_str(&format!(
            "sha256 {} {} {}\n",
            digest_text(&program.digest),
            program.who,
            program.server
        ));
    }
    text
}

/// A digest as text.
pub fn digest_text(digest: &ProgramDigest) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The digest of 64 hexadecimal digits.
pub fn program_digest(text: &str) -> Option<ProgramDigest> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
        let value = |digit: u8| char::from(digit).to_digit(16);
        let [high, low] = [value(*pair.first()?)?, value(*pair.last()?)?];
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGITS: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    #[test]
    fn what_is_written_is_read() {
        let one = TrustedProgram {
            digest: program_digest(DIGITS).unwrap(),
            who: "package:x".to_owned(),
            server: "/usr/sbin/x y".to_owned(),
        };
        assert_eq!(digest_text(&one.digest), DIGITS);
        let text = trusted_text(std::slice::from_ref(&one));
        assert_eq!(trusted_programs(text.as_bytes()), Ok(vec![one]));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, said) in [
            ("", "line 1: `portreeve-trusted 1`"),
            ("portreeve-trusted 2\n", "line 1:"),
            (&format!("{HEAD}\nsha256 {} w /x", DIGITS.replace('f', "g")), "line 2: `sha256 DIGEST"),
            (&format!("{HEAD}\nsha256 {} w /x", &DIGITS[1..]), "line 2:"),
            (&format!("{HEAD}\nsha256 {DIGITS} /x"), "line 2:"),
            (&format!("{HEAD}\n#\nsha256 {DIGITS} w x"), "line 3: an absolute"),
            (&format!("{HEAD}\nmd5 {DIGITS} w /x"), "line 2:"),
        ] {
            let why = trusted_programs(text.as_bytes()).unwrap_err();
            assert!(why.starts_with(said), "{text}: {why}");
        }
        assert!(trusted_programs(b"portreeve-trusted 1\n\xff").is_err());
    }
}

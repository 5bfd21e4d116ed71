//! `ExecStart=` both ways: prefixes, quotes, variables (systemd.service(5), "COMMAND LINES").

use super::specifier::expand;
use super::words::{argument, split};

/// A command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) path: String,
    /// argv, argv\[0\] included.
    pub(crate) argv: Vec<String>,
    /// `+` or `!`: it keeps root's ids whatever `User=` says.
    pub(crate) privileged: bool,
}

/// Reads a command of the unit `unit`.
///
/// # Errors
/// A sentence that says why it cannot be carried over.
pub(crate) fn read(value: &str, unit: &str, variables: &[(String, String)]) -> Result<Command, String> {
    if value.split_ascii_whitespace().any(|word| word == ";") {
        return Err("it is more than one command".to_owned());
    }
    let mut words = split(value)?.into_iter();
    let first = words.next().unwrap_or_default();
    let path = first.trim_start_matches(['-', '@', ':', '+', '!', '|']);
    let prefixes = first.get(..first.len() - path.len()).unwrap_or_default();
    if prefixes.contains('|') {
        return Err("`|` runs it by a shell of the user".to_owned());
    }
    let path = expand(path, unit)?;
    if !path.starts_with('/') {
        return Err(format!("`{path}` is looked up in systemd's own path: write where it is"));
    }
    let mut argv: Vec<String> = Vec::new();
    if !prefixes.contains('@') {
        argv.push(path.rsplit('/').next().unwrap_or(&path).to_owned());
    }
    for word in words {
        let word = expand(&word, unit)?;
        match prefixes.contains(':') {
            true => argv.push(word),
            false => replaced(&word, variables, &mut argv)?,
        }
    }
    if argv.is_empty() {
        return Err("`@` wants the name of the program behind the path".to_owned());
    }
    Ok(Command { path, argv, privileged: prefixes.contains(['+', '!']) })
}

/// `$NAME` alone is split into words, `${NAME}` is replaced within its word, `$$` is a dollar.
fn replaced(word: &str, variables: &[(String, String)], argv: &mut Vec<String>) -> Result<(), String> {
    let known = |name: &str| {
        let found = variables.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        found.ok_or_else(|| format!("`${name}` comes from outside of the unit"))
    };
    let is_name = |name: &str| {
        !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && !name.starts_with(|c: char| c.is_ascii_digit())
    };
    if let Some(name) = word.strip_prefix('$').filter(|name| is_name(name)) {
        argv.extend(known(name)?.split_ascii_whitespace().map(str::to_owned));
        return Ok(());
    }
    let mut text = String::with_capacity(word.len());
    let mut rest = word;
    while let Some(at) = rest.find('$') {
        text.push_str(rest.get(..at).unwrap_or_default());
        rest = rest.get(at + 1..).unwrap_or_default();
        if let Some(after) = rest.strip_prefix('$') {
            text.push('$');
            rest = after;
        } else if let Some((name, after)) =
            rest.strip_prefix('{').and_then(|rest| rest.split_once('}')).filter(|(name, _)| is_name(name))
        {
            text.push_str(&known(name)?);
            rest = after;
        } else {
            text.push('$');
        }
    }
    text.push_str(rest);
    argv.push(text);
    Ok(())
}

/// Writes it. A failure of one connection is no failure of the unit: `-`.
pub(crate) fn write(path: &str, argv: &[&str]) -> String {
    let last = path.rsplit('/').next().unwrap_or(path);
    let (first, rest) = argv.split_first().map_or((last, &[][..]), |(first, rest)| (*first, rest));
    // The path is no word that variables are replaced in.
    let mut words = vec![super::words::quoted(&format!("{}{path}", if first == last { "-" } else { "-@" }))];
    if first != last {
        words.push(argument(first));
    }
    words.extend(rest.iter().map(|word| argument(word)));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> Vec<(String, String)> {
        vec![("OPTS".into(), "-a  b".into()), ("X".into(), "y z".into())]
    }

    #[test]
    fn commands_in_their_forms() {
        for (value, argv, privileged) in [
            ("/bin/a", vec!["a"], false),
            ("-/bin/a b 'c d'", vec!["a", "b", "c d"], false),
            ("@/bin/a zero one", vec!["zero", "one"], false),
            ("+-/bin/a", vec!["a"], true),
            ("!!/bin/a", vec!["a"], true),
            (
                "/bin/a $OPTS ${X} a${X}b $$X 5$ %%",
                vec!["a", "-a", "b", "y z", "ay zb", "$X", "5$", "%"],
                false,
            ),
            (":/bin/a $OPTS", vec!["a", "$OPTS"], false),
        ] {
            let read = read(value, "a@.service", &variables()).unwrap();
            assert_eq!(
                (read.argv, read.privileged),
                (argv.iter().map(|w| (*w).to_owned()).collect(), privileged),
                "{value}"
            );
        }
        for (value, why) in [
            ("a b", "path"),
            ("/bin/a $UNKNOWN", "outside"),
            ("/bin/a ${UNKNOWN}", "outside"),
            ("/bin/a ; /bin/b", "more than one"),
            ("/bin/a %i", "each connection"),
            ("@/bin/a", "name of the program"),
            ("|/bin/a", "shell"),
            ("/bin/a \"", "quote"),
            ("", "path"),
        ] {
            let said = read(value, "a@.service", &variables()).unwrap_err();
            assert!(said.contains(why), "{value}: {said}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_reads_the_same(name in "/[a-z$%\"' ;-]{1,8}", argv in proptest::collection::vec("[^\0]{1,10}", 1..6)) {
            let words: Vec<&str> = argv.iter().map(String::as_str).collect();
            // A lone `;` between words would part commands: it is quoted, and read with care.
            proptest::prop_assume!(!name.contains(" ; ") && !words.iter().any(|w| w.split_ascii_whitespace().any(|w| w == ";")));
            let line = write(&name, &words);
            let command = read(&line, "x@.service", &[]).unwrap();
            proptest::prop_assert_eq!((command.path, command.argv), (name, argv));
        }
    }
}

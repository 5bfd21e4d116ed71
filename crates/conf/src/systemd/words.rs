//! Words of a value: quotes and C escapes both ways (systemd.service(5) "COMMAND LINES", systemd.exec(5) `Environment=`).

/// Splits a value into words. Quotes of either kind hold blanks together; backslashes escape.
///
/// # Errors
/// A sentence, where a quote is open or an escape is none.
pub(crate) fn split(value: &str) -> Result<Vec<String>, String> {
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut rest = value.chars();
    while let Some(c) = rest.next() {
        match (quote, c) {
            (_, '\\') => word.get_or_insert_default().push(escape(&mut rest)?),
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_ascii_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed".to_owned());
    }
    words.extend(word);
    Ok(words)
}

fn escape(rest: &mut std::str::Chars<'_>) -> Result<char, String> {
    let c = rest.next().ok_or("a backslash ends the value")?;
    let mut number = |digits: usize, radix: u32, first: Option<char>| {
        let text: String =
            first.into_iter().chain(rest.by_ref().take(digits - first.iter().count())).collect();
        let number = u32::from_str_radix(&text, radix).ok().filter(|_| text.len() == digits);
        // A byte alone above 127 is no character.
        let fine =
            number.filter(|number| *number != 0 && (digits > 3 || *number < 128)).and_then(char::from_u32);
        fine.ok_or_else(|| format!("`\\{c}{text}` is no character that can be carried over"))
    };
    Ok(match c {
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        's' => ' ',
        't' => '\t',
        'v' => '\x0b',
        '\\' | '"' | '\'' | ';' => c,
        'x' => number(2, 16, None)?,
        'u' => number(4, 16, None)?,
        'U' => number(8, 16, None)?,
        '0'..='7' => number(3, 8, Some(c))?,
        _ => return Err(format!("`\\{c}` is no escape")),
    })
}

/// A word as it is written: quoted where it must be, `%` doubled.
pub(crate) fn quoted(word: &str) -> String {
    let safe = |c: char| {
        c.is_ascii_alphanumeric()
            || "-_./:,=+@%$^~#?&*()[]{}<>|!".contains(c)
            || !(c.is_ascii() || c.is_control())
    };
    let mut text = String::with_capacity(word.len() + 2);
    for c in word.chars() {
        match c {
            '"' | '\\' => {
                text.push('\\');
                text.push(c);
            }
            '%' => text.push_str("%%"),
            c if c.is_ascii_control() => text.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => text.push(c),
        }
    }
    if word.is_empty() || !word.chars().all(safe) || word.starts_with(['#', ';']) {
        format!("\"{text}\"")
    } else {
        text
    }
}

/// A word of a command line: as [`quoted`], and `$` doubled, since `$NAME` is replaced there.
pub(crate) fn argument(word: &str) -> String {
    quoted(&word.replace('$', "$$"))
}

/// Text that is one value, `%` doubled, with no end that would continue the line.
pub(crate) fn text(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.trim().replace('%', "%%").trim_end_matches('\\').to_owned()
}

/// A name as the name of a unit (systemd.unit(5), "STRING ESCAPING", but `-` stays): what a unit cannot have is `\xNN`.
pub(crate) fn unit_name(name: &str) -> String {
    let mut escaped = String::new();
    for (at, byte) in name.bytes().enumerate() {
        if byte.is_ascii_alphanumeric() || b":_-".contains(&byte) || (byte == b'.' && at > 0) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("\\x{byte:02x}"));
        }
    }
    escaped
}

/// The name behind one of a unit.
pub(crate) fn name_of_unit(unit: &str) -> String {
    let mut bytes = Vec::with_capacity(unit.len());
    let mut rest = unit;
    while let Some(first) = rest.as_bytes().first() {
        let hex = rest.strip_prefix("\\x").and_then(|rest| rest.get(..2));
        match hex
            .filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|hex| u8::from_str_radix(hex, 16).ok())
        {
            Some(byte) => {
                bytes.push(byte);
                rest = rest.get(4..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                // A byte of a longer character is followed by the others.
                let length = rest.chars().next().map_or(1, char::len_utf8);
                bytes.extend(rest.as_bytes().get(1..length).unwrap_or_default());
                rest = rest.get(length..).unwrap_or_default();
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_as_systemd_does() {
        let of = |text: &str| split(text);
        assert_eq!(of("a  b\tc").unwrap(), ["a", "b", "c"]);
        assert_eq!(of(r#""a b" 'c "d' e"f g"h"#).unwrap(), ["a b", "c \"d", "ef gh"]);
        assert_eq!(of(r"a\x20b \s \101 \u00e9").unwrap(), ["a b", " ", "A", "é"]);
        assert_eq!(of(r#""""#).unwrap(), [""]);
        for bad in ["\"a", "a\\", r"\q", r"\xZZ", r"\xff", r"\x00", r"\u12"] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_of_units_are_safe_and_come_back() {
        for (name, unit) in [
            ("rsync", "rsync"),
            ("a b", r"a\x20b"),
            ("../etc", r"\x2e./etc".replace('/', r"\x2f").as_str()),
            ("x@y", r"x\x40y"),
        ] {
            assert_eq!(unit_name(name), unit);
            assert_eq!(name_of_unit(unit), name);
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_quoted_reads_the_same(words in proptest::collection::vec("[^\0]{0,12}", 0..5)) {
            let line = words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
            proptest::prop_assert_eq!(split(&line.replace("%%", "%")).unwrap(), words);
        }
    }
}

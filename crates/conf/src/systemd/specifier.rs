//! `%` specifiers (systemd.unit(5)): those that follow from the unit's name or are the same on every machine. Others cannot be
//! carried over.

use super::words::name_of_unit;

/// The longest value after replacement, in bytes.
const LONGEST: usize = 64 << 10;

/// Replaces the specifiers of a value of the unit `unit` (`X.socket`, `X@.service`).
///
/// # Errors
/// A sentence that names the first that cannot be known.
pub(crate) fn expand(value: &str, unit: &str) -> Result<String, String> {
    if !value.contains('%') {
        return Ok(value.to_owned());
    }
    let full = unit.rsplit_once('.').map_or(unit, |(name, _)| name);
    let (prefix, instance) = full.split_once('@').map_or((full, None), |(prefix, rest)| (prefix, Some(rest)));
    // Of a template the instance is another for each connection.
    let template = instance == Some("");
    let mut text = String::with_capacity(value.len());
    let mut rest = value.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            text.push(c);
            continue;
        }
        let specifier = rest.next().ok_or("a `%` ends the value")?;
        match specifier {
            '%' => text.push('%'),
            'n' | 'N' if template => return Err(unknown(specifier)),
            'n' => text.push_str(unit),
            'N' => text.push_str(full),
            'p' => text.push_str(prefix),
            'P' => text.push_str(&name_of_unit(prefix)),
            'i' if !template => text.push_str(instance.unwrap_or_default()),
            'I' if !template => text.push_str(&name_of_unit(instance.unwrap_or_default())),
            'j' => text.push_str(prefix.rsplit('-').next().unwrap_or(prefix)),
            't' => text.push_str("/run"),
            'S' => text.push_str("/var/lib"),
            'C' => text.push_str("/var/cache"),
            'L' => text.push_str("/var/log"),
            'E' => text.push_str("/etc"),
            'T' => text.push_str("/tmp"),
            'V' => text.push_str("/var/tmp"),
            'h' => text.push_str("/root"),
            's' => text.push_str("/bin/sh"),
            'u' | 'g' => text.push_str("root"),
            'U' | 'G' => text.push('0'),
            other => return Err(unknown(other)),
        }
        if text.len() > LONGEST {
            return Err("it is too long once its specifiers are replaced".to_owned());
        }
    }
    Ok(text)
}

fn unknown(specifier: char) -> String {
    let why = match specifier {
        'i' | 'I' | 'n' | 'N' | 'f' => "is another for each connection",
        'H' | 'l' | 'q' | 'm' | 'b' | 'v' | 'a' | 'A' | 'B' | 'M' | 'o' | 'w' | 'W' => {
            "is another on each machine"
        }
        _ => "is not known",
    };
    format!("the specifier `%{}` {why}", specifier.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::expand;

    #[test]
    fn what_follows_from_the_name_is_replaced() {
        for (value, unit, wanted) in [
            ("50%%", "a.socket", "50%"),
            ("%n %N %p", "a-b.socket", "a-b.socket a-b a-b"),
            ("%p %P %j", r"x\x20y-z@.service", r"x\x20y-z x y-z z"),
            ("%t/%p", "a@.service", "/run/a"),
            (r"%p %i %I %n", r"a@b\x2dc.socket", r"a b\x2dc b-c a@b\x2dc.socket"),
            ("<%i>", "a.socket", "<>"),
        ] {
            assert_eq!(expand(value, unit).unwrap(), wanted);
        }
        for value in ["%i", "%I", "%H", "%", "%y"] {
            assert!(expand(value, "a@.service").is_err(), "{value}");
        }
        assert!(expand("%n", "a@.service").is_err());
        assert!(expand(&"%S".repeat(20_000), "a@.service").is_err());
    }
}

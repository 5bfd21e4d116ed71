//! `BindPaths=` and `BindReadOnlyPaths=` of a unit: one list under two keys, whose words are parted at blanks and colons. Quotes of either
//! kind hold those together, and a backslash takes what follows as it is (systemd.exec(5)); other escapes are none here.

use super::pair::Out;
use super::specifier::expand;
use super::unit::Setting;
use crate::sandbox::Bind;

pub(super) const KEYS: [&str; 2] = ["BindPaths", "BindReadOnlyPaths"];

/// The words of both, as they count: an empty assignment of either forgets all that stands before it.
pub(super) fn read(settings: &[&Setting], name: &str, out: &mut Out<'_>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for setting in settings {
        if setting.value.is_empty() {
            all.clear();
            continue;
        }
        match parts(&setting.value) {
            Err(why) => out.lost(setting, why),
            Ok(binds) => {
                for bind in binds {
                    match word(&setting.key, &bind, name) {
                        Ok(word) => all.push(word),
                        Err(why) => out.lost(setting, &why),
                    }
                }
            }
        }
    }
    all
}

fn word(key: &str, parts: &[String], name: &str) -> Result<String, String> {
    let parts = parts.iter().map(|part| expand(part, name)).collect::<Result<Vec<_>, _>>()?;
    let bind = match parts.as_slice() {
        [source] => Bind::new(source, None, None),
        [source, destination] => Bind::new(source, Some(destination), None),
        [source, destination, how] => Bind::new(source, Some(destination), Some(how)),
        _ => return Err("a bind has at most three parts".to_owned()),
    };
    let bind = bind.map_err(|(message, _)| message)?;
    Ok(format!("{key}={}", bind.text()))
}

/// The binds of a value, each as its parts.
fn parts(value: &str) -> Result<Vec<Vec<String>>, &'static str> {
    let mut all: Vec<Vec<String>> = Vec::new();
    let mut bind: Vec<String> = Vec::new();
    let mut part = String::new();
    let (mut quote, mut said) = (None, false);
    let mut rest = value.chars();
    while let Some(c) = rest.next() {
        match (quote, c) {
            (_, '\\') => {
                part.push(rest.next().ok_or("a backslash ends the value")?);
                said = true;
            }
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => (quote, said) = (Some(c), true),
            (None, ':') => {
                bind.push(std::mem::take(&mut part));
                said = true;
            }
            (None, c) if c.is_ascii_whitespace() => {
                if said {
                    bind.push(std::mem::take(&mut part));
                    all.push(std::mem::take(&mut bind));
                }
                said = false;
            }
            (_, c) => {
                part.push(c);
                said = true;
            }
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed");
    }
    if said {
        bind.push(part);
        all.push(bind);
    }
    Ok(all)
}

/// Paths, whose backslashes are doubled already, as a unit has them.
pub(super) fn write(value: &str) -> String {
    let value: String = value.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    value.replace('%', "%%").replace('"', "\\\"").replace('\'', "\\'")
}

#[cfg(test)]
mod tests {
    use super::parts;

    #[test]
    fn words_are_parted_at_blanks_and_colons() {
        for (value, wanted) in [
            ("/a  -/b:/c\t/d:/e:norbind", "/a -/b|/c /d|/e|norbind"),
            (r#""/a:x":'/b y' /c"#, "/a:x|/b y /c"),
            (r"/a\:b:/c\ d /e\\f", r"/a:b|/c d /e\f"),
            (r"/\x", "/x"),
            ("/a:", "/a|"),
            ("/a: /b", "/a| /b"),
            ("  ", ""),
        ] {
            let binds: Vec<String> = parts(value).unwrap().iter().map(|bind| bind.join("|")).collect();
            assert_eq!(binds.join(" "), wanted, "{value}");
        }
        for value in ["/a\\", "\"/a", "/a:'/b"] {
            assert!(parts(value).is_err(), "{value}");
        }
    }
}

//! Host name rules: whole names and suffixes, compared without case (reference xinetd §4.2).
//!
//! The names compared are forward-confirmed by the resolver; nothing is looked up here.

#[derive(Clone, Debug)]
struct NameRule {
    rule: usize,
    text: Box<str>,
    suffix: bool,
}

/// The name rules of one list, in order. Short: most lists have none.
#[derive(Clone, Debug, Default)]
pub(crate) struct NameList(Vec<NameRule>);

impl NameList {
    pub(crate) fn push_name(&mut self, rule: usize, name: &str) {
        self.0.push(NameRule { rule, text: without_root(name).into(), suffix: false });
    }

    pub(crate) fn push_suffix(&mut self, rule: usize, suffix: &str) {
        self.0.push(NameRule { rule, text: without_root(suffix).into(), suffix: true });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The index of the first rule that matches one of `names`.
    pub(crate) fn first(&self, names: &[String]) -> Option<usize> {
        self.0
            .iter()
            .find(|rule| names.iter().any(|name| rule.matches(without_root(name))))
            .map(|rule| rule.rule)
    }
}

impl NameRule {
    fn matches(&self, name: &str) -> bool {
        if self.text.is_empty() {
            return false; // "" and "." mean no name; without this a lone dot would be everybody's suffix
        }
        let (name, text) = (name.as_bytes(), self.text.as_bytes());
        if !self.suffix {
            return name.eq_ignore_ascii_case(text);
        }
        // Strictly longer: a name is not its own suffix.
        match name.len().checked_sub(text.len()) {
            Some(at) if at > 0 => name.get(at..).is_some_and(|tail| tail.eq_ignore_ascii_case(text)),
            _ => false,
        }
    }
}

/// A name without the dot that stands for the root of the name space.
fn without_root(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::NameList;

    fn first(suffix: bool, rule: &str, name: &str) -> bool {
        let mut list = NameList::default();
        if suffix {
            list.push_suffix(0, rule)
        } else {
            list.push_name(0, rule)
        }
        list.first(&[name.to_owned()]).is_some()
    }

    #[test]
    fn table() {
        for (suffix, rule, name, expected) in [
            (false, "a.example.org", "a.example.org", true),
            (false, "A.Example.ORG", "a.eXample.org", true),
            (false, "a.example.org", "a.example.org.", true),
            (false, "a.example.org.", "a.example.org", true),
            (false, "example.org", "a.example.org", false),
            (false, "", "", false),
            (true, ".example.org", "a.example.org", true),
            (true, ".example.org", "a.b.EXAMPLE.org", true),
            (true, ".example.org", "example.org", false),
            (true, ".example.org", ".example.org", false),
            (true, ".example.org", "a.example.org.evil.net", false),
            (true, ".example.org", "aexample.org", false),
            // xinetd looks at the first occurrence only and misses this one
            (true, ".a", "x.a.a", true),
            (true, ".", "a.example.org", false),
            (true, ".", "a.example.org.", false),
            (true, "", "a.example.org", false),
            (true, ".münchen.de", "x.münchen.de", true),
            (true, ".b", "é.b", true),
        ] {
            assert_eq!(first(suffix, rule, name), expected, "{rule} against {name}");
        }
    }
}

//! rpm's nine columns, `SM5DLUGTP`: a letter where it differs, a dot where it does not, a question mark where nothing is known. Pure.

use std::fmt;

/// What is known of one property.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Property {
    /// Nothing to compare with.
    #[default]
    Unknown,
    /// As it was.
    Same,
    /// Another one.
    Differs,
}

impl Property {
    /// Of a comparison.
    pub fn of(same: bool) -> Property {
        if same { Property::Same } else { Property::Differs }
    }
}

/// The properties that dpkg knows of: mode and type, content, owner, group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Columns {
    pub mode: Property,
    pub content: Property,
    pub user: Property,
    pub group: Property,
}

impl Columns {
    /// Whether something differs.
    pub fn differ(self) -> bool {
        [self.mode, self.content, self.user, self.group].contains(&Property::Differs)
    }

    /// What differs, in words.
    pub fn words(self) -> Vec<&'static str> {
        let all =
            [(self.mode, "mode"), (self.content, "content"), (self.user, "owner"), (self.group, "group")];
        all.into_iter().filter(|(property, _)| *property == Property::Differs).map(|(_, word)| word).collect()
    }
}

impl fmt::Display for Columns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = |property, letter| match property {
            Property::Unknown => '?',
            Property::Same => '.',
            Property::Differs => letter,
        };
        let (mode, content) = (letter(self.mode, 'M'), letter(self.content, '5'));
        write!(f, "?{mode}{content}??{}{}??", letter(self.user, 'U'), letter(self.group, 'G'))
    }
}

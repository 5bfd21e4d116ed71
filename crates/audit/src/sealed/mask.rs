//! Which properties of a path count: THE table of them, with the letters of Tripwire's masks and the columns of rpm.

/// A property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Property {
    /// Its letter in a mask; Tripwire's where that has one.
    pub letter: char,
    /// Its name, for people and machines.
    pub name: &'static str,
    /// The column of `rpm -V` that shows it, and the letter there.
    pub rpm: Option<(usize, char)>,
    /// Whether it counts unless a rule says otherwise.
    pub usual: bool,
    /// What it is.
    pub about: &'static str,
}

const fn property(
    letter: char,
    name: &'static str,
    rpm: Option<(usize, char)>,
    usual: bool,
    about: &'static str,
) -> Property {
    Property { letter, name, rpm, usual, about }
}

/// All of them. The place of one here is its bit in a [`Mask`].
pub const PROPERTIES: [Property; 18] = [
    property('t', "type", Some((1, 'M')), true, "file, directory, link, device, pipe or socket"),
    property('p', "mode", Some((1, 'M')), true, "permissions, set-uid, set-gid and sticky bits"),
    property('u', "user", Some((5, 'U')), true, "number of the owner"),
    property('g', "group", Some((6, 'G')), true, "number of the group"),
    property('s', "size", Some((0, 'S')), true, "bytes of a file"),
    property(
        'm',
        "mtime",
        Some((7, 'T')),
        true,
        "when the content was last changed, as the owner may set it",
    ),
    property('S', "digest", Some((2, '5')), true, "digest of the content"),
    property('k', "target", Some((4, 'L')), true, "where a symbolic link leads"),
    property('r', "device", Some((3, 'D')), true, "major and minor number of a device"),
    property('n', "links", None, true, "number of names, of a file"),
    property('A', "acl", None, true, "access control lists, of POSIX and NFSv4"),
    property(
        'P',
        "capabilities",
        Some((8, 'P')),
        true,
        "capabilities that a program gets when it is executed",
    ),
    property('Z', "label", None, true, "SELinux label"),
    property('x', "attributes", None, true, "all other extended attributes"),
    property('e', "flags", None, true, "flags of chattr(1): immutable, append-only, no-dump and their like"),
    property('c', "ctime", None, false, "when anything was last changed; nobody sets it"),
    property('i', "inode", None, false, "number of the inode"),
    property('d', "filesystem", None, false, "number of the device that it is on"),
];

/// A set of properties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mask(u32);

impl Mask {
    /// What counts unless a rule says otherwise.
    pub fn usual() -> Self {
        let bits = PROPERTIES.iter().enumerate().filter(|(_, property)| property.usual);
        Mask(bits.fold(0, |mask, (at, _)| mask | 1 << at))
    }

    /// Every property.
    pub const ALL: Self = Mask((1 << PROPERTIES.len()) - 1);

    /// The mask of these letters, as `+ptugs-m`: from nothing where a letter or `+` comes first, from the usual one where `-` does.
    ///
    /// # Errors
    /// A letter that no property has.
    pub fn read(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::ALL);
        }
        let mut mask = if text.starts_with('-') { Self::usual() } else { Mask(0) };
        let mut on = true;
        for letter in text.chars() {
            match letter {
                '+' => on = true,
                '-' => on = false,
                _ => {
                    let at = PROPERTIES.iter().position(|property| property.letter == letter);
                    let bit = 1 << at.ok_or_else(|| unknown(letter))?;
                    mask.0 = if on { mask.0 | bit } else { mask.0 & !bit };
                }
            }
        }
        Ok(mask)
    }

    /// The letters.
    pub fn letters(self) -> String {
        self.properties().map(|property| property.letter).collect()
    }

    /// Whether it has the property of this letter.
    pub fn has(self, letter: char) -> bool {
        self.properties().any(|property| property.letter == letter)
    }

    /// With the property of this letter.
    #[must_use]
    pub fn with(self, letter: char) -> Self {
        let at = PROPERTIES.iter().position(|property| property.letter == letter);
        Mask(self.0 | at.map_or(0, |at| 1 << at))
    }

    /// Without the property of this letter.
    #[must_use]
    pub fn without(self, letter: char) -> Self {
        let at = PROPERTIES.iter().position(|property| property.letter == letter);
        Mask(self.0 & !at.map_or(0, |at| 1 << at))
    }

    /// What either has.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Mask(self.0 | other.0)
    }

    /// Without what the other has.
    #[must_use]
    pub fn and_not(self, other: Self) -> Self {
        Mask(self.0 & !other.0)
    }

    /// What both have.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Mask(self.0 & other.0)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its properties, in the table's order.
    pub fn properties(self) -> impl Iterator<Item = &'static Property> {
        PROPERTIES
            .iter()
            .enumerate()
            .filter(move |(at, _)| self.0 >> at & 1 == 1)
            .map(|(_, property)| property)
    }
}

fn unknown(letter: char) -> String {
    let known: String = PROPERTIES.iter().map(|property| property.letter).collect();
    let other = match letter {
        'a' => "; the time of access is not recorded: looking would change it",
        'b' => "; blocks say how a file is stored, not what it holds: use s",
        'M' | 'C' | 'H' => "; the only digest is S",
        'l' => "; files that grow are left to the log watcher: use -smS",
        _ => "",
    };
    format!("`{letter}` is no property: expected letters of {known}{other}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_read_as_tripwire_writes_them() {
        assert_eq!(Mask::read("+ptug").unwrap().letters(), "tpug");
        assert_eq!(Mask::read("ptug-t").unwrap().letters(), "pug");
        let without = Mask::read("-m").unwrap();
        assert!(!without.has('m') && without.has('S'));
        assert_eq!(without.with('m'), Mask::usual());
        assert!(Mask::read("").unwrap().is_empty());
        assert!(Mask::read("+pz").unwrap_err().contains("`z` is no property"));
        assert!(Mask::read("+a").unwrap_err().contains("access"));
    }

    #[test]
    fn letters_are_used_once() {
        for (at, property) in PROPERTIES.iter().enumerate() {
            assert!(
                PROPERTIES[..at]
                    .iter()
                    .all(|other| other.letter != property.letter && other.name != property.name)
            );
        }
    }
}

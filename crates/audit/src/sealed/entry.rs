//! What is recorded of one path, and what of it differs from another record. Data only; reads nothing.

use super::mask::Mask;

/// What a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    File,
    Directory,
    Link,
    CharacterDevice,
    BlockDevice,
    Pipe,
    Socket,
}

impl Kind {
    /// All, with their letter in a baseline: that of `ls -l`.
    pub const ALL: [(Kind, char, &'static str); 7] = [
        (Kind::File, '-', "file"),
        (Kind::Directory, 'd', "directory"),
        (Kind::Link, 'l', "link"),
        (Kind::CharacterDevice, 'c', "character device"),
        (Kind::BlockDevice, 'b', "block device"),
        (Kind::Pipe, 'p', "pipe"),
        (Kind::Socket, 's', "socket"),
    ];

    /// The letter.
    pub fn letter(self) -> char {
        Self::ALL.iter().find(|(kind, ..)| *kind == self).map_or('?', |(_, letter, _)| *letter)
    }

    /// The word.
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(kind, ..)| *kind == self).map_or("?", |(.., word)| word)
    }

    /// The kind of a letter.
    pub fn of(letter: char) -> Option<Self> {
        Self::ALL.iter().find(|(_, own, _)| *own == letter).map(|(kind, ..)| *kind)
    }
}

/// The content of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// It is no file.
    None,
    /// By the baseline's hash; of SHA-512 the first half.
    Digest([u8; 32]),
    /// The same over the blocks of a huge file that are not all zeros, with their places: see [`super::huge`].
    Blocks([u8; 32]),
    /// It was changed each time while it was read.
    Changing,
    /// It could not be read; errno.
    Unreadable(i32),
}

/// A moment: seconds since 1970 and nanoseconds.
pub type Moment = (i64, u32);

/// One path as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The path, absolute, as the kernel has it.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permissions with set-uid, set-gid and sticky: 12 bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of a file, else 0.
    pub size: u64,
    /// Last change of the content.
    pub mtime: Moment,
    /// Last change of anything.
    pub ctime: Moment,
    /// Inode.
    pub inode: u64,
    /// Number of the file system's device.
    pub device: u64,
    /// Names of a file, else 1.
    pub links: u64,
    /// Of a device its number, else 0.
    pub rdev: u64,
    /// Content of a file.
    pub content: Content,
    /// Where a link leads.
    pub target: Vec<u8>,
    /// Extended attributes by name, with the first 16 bytes of the SHA-256 of each value.
    pub attributes: Vec<(Vec<u8>, [u8; 16])>,
    /// Flags of chattr(1); none where the file system has none.
    pub flags: Option<u32>,
    /// Which properties this record knows: all, unless it comes from another program's database.
    pub known: Mask,
}

type Attribute = (Vec<u8>, [u8; 16]);

/// The letter of the property that an extended attribute belongs to.
fn letter_of(name: &[u8]) -> char {
    match name {
        b"system.posix_acl_access" | b"system.posix_acl_default" | b"system.nfs4_acl" => 'A',
        b"security.capability" => 'P',
        b"security.selinux" => 'Z',
        _ => 'x',
    }
}

/// Flags that a file system sets by itself (extents, index, inline data, a file's verity or encryption state is no change of ours).
const OF_THE_FILE_SYSTEM: u32 = 0x0008_0000 | 0x0000_1000 | 0x1000_0000;

impl Entry {
    /// Which properties differ from an earlier record of the same path.
    pub fn differs(&self, before: &Entry) -> Mask {
        let mut mask = Mask::default();
        let mut note = |letter, differs: bool| {
            if differs {
                mask = mask.with(letter);
            }
        };
        note('t', self.kind != before.kind);
        note('p', self.mode != before.mode);
        note('u', self.uid != before.uid);
        note('g', self.gid != before.gid);
        note('s', self.size != before.size);
        // Another program's database has whole seconds.
        let precise = before.known == Mask::ALL;
        let differs = |now: Moment, then: Moment| if precise { now != then } else { now.0 != then.0 };
        note('m', differs(self.mtime, before.mtime));
        note('S', self.content != before.content);
        note('k', self.target != before.target);
        note('r', self.rdev != before.rdev);
        note('n', self.links != before.links);
        for letter in ['x', 'A', 'P', 'Z'] {
            note(letter, !self.attributes_of(letter).eq(before.attributes_of(letter)));
        }
        note('e', self.chattr() != before.chattr());
        note('c', differs(self.ctime, before.ctime));
        note('i', self.inode != before.inode);
        note('d', self.device != before.device);
        mask.and(before.known).and(self.known)
    }

    /// Its extended attributes that belong to a property.
    fn attributes_of(&self, letter: char) -> impl Iterator<Item = &Attribute> {
        self.attributes.iter().filter(move |(name, _)| letter_of(name) == letter)
    }

    fn chattr(&self) -> Option<u32> {
        self.flags.map(|flags| flags & !OF_THE_FILE_SYSTEM)
    }

    /// Whether the content is what it was for all that one look can tell: nobody sets the time of a change of the inode.
    pub fn is_untouched(&self, before: &Entry) -> bool {
        (self.device, self.inode, self.size, self.mtime, self.ctime)
            == (before.device, before.inode, before.size, before.mtime, before.ctime)
    }

    /// A property as people read it.
    pub fn value(&self, letter: char) -> String {
        let moment = |(seconds, nanos): Moment| format!("{seconds}.{nanos:09}");
        match letter {
            't' => self.kind.word().to_owned(),
            'p' => format!("{:04o}", self.mode),
            'u' => self.uid.to_string(),
            'g' => self.gid.to_string(),
            's' => self.size.to_string(),
            'm' => moment(self.mtime),
            'c' => moment(self.ctime),
            'S' => match &self.content {
                Content::None => "-".to_owned(),
                Content::Digest(digest) => hex(digest),
                Content::Blocks(digest) => format!("blocks:{}", hex(digest)),
                Content::Changing => "changed while it was read".to_owned(),
                Content::Unreadable(number) => {
                    let error = std::io::Error::from_raw_os_error(*number);
                    format!("unreadable: {}", crate::bounded::words(&error))
                }
            },
            'k' => String::from_utf8_lossy(&self.target).into_owned(),
            'r' => format!("{:#x}", self.rdev),
            'n' => self.links.to_string(),
            'x' | 'A' | 'P' | 'Z' => {
                let one = |(name, digest): &Attribute| {
                    format!("{}={}", String::from_utf8_lossy(name), hex(digest.get(..4).unwrap_or_default()))
                };
                let all: Vec<_> = self.attributes_of(letter).map(one).collect();
                if all.is_empty() { "none".to_owned() } else { all.join(" ") }
            }
            'e' => self.chattr().map_or("-".to_owned(), |flags| format!("{flags:#x}")),
            'i' => self.inode.to_string(),
            'd' => format!("{:#x}", self.device),
            _ => String::new(),
        }
    }
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for half in [byte >> 4, byte & 15] {
            text.push(char::from_digit(half.into(), 16).unwrap_or('0'));
        }
    }
    text
}

/// The bytes of hexadecimal digits.
pub fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let &[high, low] = pair else { return None };
        *byte = value(high)? << 4 | value(low)?;
    }
    Some(bytes)
}

/// The order of a baseline: that of a walk which tells of a directory and then of what is in it, by name.
pub fn order(a: &[u8], b: &[u8]) -> std::cmp::Ordering {
    let rank = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    a.iter().map(rank).cmp(b.iter().map(rank))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cmp::Ordering::{Greater, Less};

    #[test]
    fn what_is_in_a_directory_comes_before_its_neighbours() {
        assert_eq!(order(b"/usr/bin", b"/usr/bin/a"), Less);
        assert_eq!(order(b"/usr/bin/a", b"/usr/bin-old"), Less);
        assert_eq!(order(b"/usr/bin.d", b"/usr/bin/a"), Greater);
    }

    #[test]
    fn digits_there_and_back() {
        assert_eq!(unhex::<3>(&hex(&[0, 0xAB, 0xFF])), Some([0, 0xAB, 0xFF]));
        assert_eq!(unhex::<2>("00a"), None);
        assert_eq!(unhex::<1>("g0"), None);
        assert_eq!(unhex::<1>("+f"), None);
    }
}

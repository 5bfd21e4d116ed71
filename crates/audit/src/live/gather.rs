//! Many events as few lines: one for each path and process, with what happened to it together and how often. Bounded; what finds no
//! room is counted. Pure.

use super::who::Who;
use portreeve_sys::fanotify as kernel;
use std::collections::HashMap;

/// Lines that are kept between two looks.
const MOST: usize = 4096;

/// What happened to a path, several things at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deed(u8);

impl Deed {
    /// Its content was written to.
    pub const WRITTEN: Deed = Deed(1);
    /// Its owner, mode, times, links or extended attributes.
    pub const ATTRIBUTES: Deed = Deed(2);
    /// Each with the kernel's bits and its word.
    const ALL: [(Deed, u64, &'static str); 6] = [
        (Deed(4), kernel::CREATED, "created"),
        (Deed(8), kernel::MOVED_HERE, "moved-here"),
        (Self::WRITTEN, kernel::WRITTEN, "written"),
        (Self::ATTRIBUTES, kernel::ATTRIBUTES, "attributes"),
        (Deed(16), kernel::MOVED_AWAY, "moved-away"),
        (Deed(32), kernel::REMOVED, "removed"),
    ];

    /// What the kernel says.
    pub fn of(mask: u64) -> Self {
        Self::ALL
            .iter()
            .filter(|(_, bits, _)| mask & bits != 0)
            .fold(Self(0), |all, (deed, ..)| all.with(*deed))
    }

    /// Both.
    #[must_use]
    pub fn with(self, other: Deed) -> Self {
        Self(self.0 | other.0)
    }

    /// The one and not the other.
    #[must_use]
    pub fn without(self, other: Deed) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether nothing happened.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The words, in the order in which such things happen.
    pub fn words(self) -> Vec<&'static str> {
        Self::ALL.iter().filter(|(deed, ..)| self.0 & deed.0 != 0).map(|(.., word)| *word).collect()
    }
}

/// What one process did to one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The path, as bytes.
    pub path: Vec<u8>,
    /// What happened.
    pub deed: Deed,
    /// Events.
    pub count: u64,
    /// By whom.
    pub who: Who,
}

/// What has happened since the last look.
#[derive(Debug, Default)]
pub struct Gathered {
    lines: Vec<Line>,
    places: HashMap<(Vec<u8>, u32), usize>,
    unkept: u64,
}

impl Gathered {
    /// Takes an event in.
    pub fn add(&mut self, path: Vec<u8>, deed: Deed, who: &Who) {
        let key = (path, who.pid);
        if let Some(line) = self.places.get(&key).and_then(|at| self.lines.get_mut(*at)) {
            line.deed = line.deed.with(deed);
            line.count += 1;
            // A later event of a process that still runs knows more than one of its last moments.
            if line.who.executable.is_none() && who.executable.is_some() {
                line.who = who.clone();
            }
        } else if self.lines.len() < MOST {
            self.places.insert(key.clone(), self.lines.len());
            self.lines.push(Line { path: key.0, deed, count: 1, who: who.clone() });
        } else {
            self.unkept += 1;
        }
    }

    /// The lines, in the order of their first event, and how many events found no room.
    pub fn take(&mut self) -> (Vec<Line>, u64) {
        self.places.clear();
        (std::mem::take(&mut self.lines), std::mem::take(&mut self.unkept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(pid: u32) -> Who {
        Who { pid, ..Who::default() }
    }

    #[test]
    fn events_of_one_path_and_process_are_one_line() {
        let mut gathered = Gathered::default();
        let path = || b"/x".to_vec();
        gathered.add(path(), Deed::of(kernel::CREATED), &who(1));
        gathered.add(
            path(),
            Deed::of(kernel::WRITTEN),
            &Who { executable: Some("/bin/sh".into()), ..who(1) },
        );
        gathered.add(path(), Deed::of(kernel::WRITTEN), &who(2));
        let (lines, unkept) = gathered.take();
        assert_eq!((lines.len(), unkept), (2, 0));
        assert_eq!((lines[0].deed.words(), lines[0].count), (vec!["created", "written"], 2));
        assert_eq!(lines[0].who.executable.as_deref(), Some("/bin/sh"));
        assert!(gathered.take().0.is_empty());
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let mut gathered = Gathered::default();
        for number in 0..MOST + 5 {
            gathered.add(number.to_string().into_bytes(), Deed::WRITTEN, &who(1));
        }
        gathered.add(b"0".to_vec(), Deed::WRITTEN, &who(1));
        let (lines, unkept) = gathered.take();
        assert_eq!((lines.len(), unkept, lines[0].count), (MOST, 5, 2));
    }

    #[test]
    fn the_bits_of_the_kernel_have_words() {
        assert!(Deed::of(kernel::LOST).is_empty());
        let all = Deed::of(u64::MAX);
        assert_eq!(all.words().len(), 6);
        assert_eq!(all.without(Deed::WRITTEN).words().len(), 5);
    }
}

//! Three-valued truth: what could not be asked (a full queue, a passed deadline) is neither a match nor its absence, so that
//! `ALL EXCEPT .evil.com` does not open because somebody filled the lookup queue.

/// Whether a pattern, a list or a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Truth {
    /// It does not.
    No,
    /// It depends on what could not be asked.
    Unknown,
    /// It does.
    Yes,
}

impl Truth {
    /// Both (Kleene).
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        self.min(other)
    }

    /// Either (Kleene).
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        self.max(other)
    }
}

impl std::ops::Not for Truth {
    type Output = Self;

    /// The contrary; unknown stays unknown.
    fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Unknown => Self::Unknown,
            Self::Yes => Self::No,
        }
    }
}

impl From<bool> for Truth {
    fn from(matches: bool) -> Self {
        if matches { Self::Yes } else { Self::No }
    }
}
